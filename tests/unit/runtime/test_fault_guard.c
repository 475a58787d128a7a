/*
 * The guard against mapped files that shrink: on a real file.
 */
#include "agent/runtime/fault_guard.h"

#include <check.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_BYTES (64 * 1024)

struct mapped {
    int fd;
    volatile uint8_t *bytes;
};

static struct mapped map_file(void)
{
    char name[] = "/tmp/fault_guard_XXXXXX";
    struct mapped file = {.fd = mkstemp(name)};
    uint8_t ones[FILE_BYTES];

    ck_assert_int_ge(file.fd, 0);
    unlink(name);
    for (size_t i = 0; i < sizeof(ones); i++)
        ones[i] = 1;
    ck_assert_int_eq(write(file.fd, ones, sizeof(ones)), sizeof(ones));
    file.bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, file.fd, 0);
    ck_assert_ptr_ne((void *)file.bytes, MAP_FAILED);
    return file;
}

static int sum_of(const struct mapped *file)
{
    int sum = 0;

    for (size_t i = 0; i < FILE_BYTES; i += 64)
        sum += file->bytes[i];
    return sum;
}

START_TEST(test_truncated_file_reads_zeros)
{
    struct mapped file = map_file(), other = map_file();
    struct fault_region *region, *other_region;

    ck_assert_int_eq(fault_guard_add((void *)file.bytes, FILE_BYTES, &region, NULL), LEGO_OK);
    ck_assert_int_eq(fault_guard_add((void *)other.bytes, FILE_BYTES, &other_region, NULL),
                     LEGO_OK);
    ck_assert_int_eq(sum_of(&file), FILE_BYTES / 64);
    ck_assert(!fault_guard_faulted(region));
    ck_assert_int_eq(ftruncate(file.fd, 16384), 0);
    ck_assert_int_eq(sum_of(&file), 16384 / 64);
    ck_assert(fault_guard_faulted(region));
    ck_assert_int_eq(sum_of(&other), FILE_BYTES / 64);
    ck_assert(!fault_guard_faulted(other_region));
    fault_guard_remove(region);
    fault_guard_remove(other_region);
    fault_guard_remove(NULL);
    ck_assert(!fault_guard_faulted(NULL));
}
END_TEST

START_TEST(test_region_is_used_again)
{
    struct mapped file = map_file();
    struct fault_region *first, *second;

    ck_assert_int_eq(fault_guard_add((void *)file.bytes, FILE_BYTES, &first, NULL), LEGO_OK);
    ck_assert_int_eq(ftruncate(file.fd, 0), 0);
    ck_assert_int_eq(sum_of(&file), 0);
    ck_assert(fault_guard_faulted(first));
    fault_guard_remove(first);
    ck_assert_int_eq(fault_guard_add((void *)file.bytes, FILE_BYTES, &second, NULL), LEGO_OK);
    ck_assert_ptr_eq(first, second);
    ck_assert(!fault_guard_faulted(second));
    fault_guard_remove(second);
}
END_TEST

START_TEST(test_writes_go_on_too)
{
    struct mapped file = map_file();
    struct fault_region *region;
    volatile uint8_t *bytes =
        mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);

    ck_assert_ptr_ne((void *)bytes, MAP_FAILED);
    ck_assert_int_eq(fault_guard_add((void *)bytes, FILE_BYTES, &region, NULL), LEGO_OK);
    ck_assert_int_eq(ftruncate(file.fd, 0), 0);
    for (size_t i = 0; i < FILE_BYTES; i += 64)
        bytes[i] = 3;
    ck_assert_int_eq(bytes[FILE_BYTES - 64], 3);
    ck_assert(fault_guard_faulted(region));
    fault_guard_remove(region);
}
END_TEST

static void exit_seven(int signal_number)
{
    (void)signal_number;
    _exit(7);
}

START_TEST(test_other_faults_go_to_the_previous_handler)
{
    struct mapped guarded = map_file(), file = map_file();
    struct fault_region *region;

    signal(SIGBUS, exit_seven);
    ck_assert_int_eq(fault_guard_add((void *)guarded.bytes, FILE_BYTES, &region, NULL), LEGO_OK);
    ck_assert_int_eq(ftruncate(file.fd, 0), 0);
    sum_of(&file);
    ck_abort_msg("the fault was swallowed");
}
END_TEST

START_TEST(test_other_faults_stay_fatal)
{
    struct mapped guarded = map_file(), file = map_file();
    struct fault_region *region;

    signal(SIGBUS, SIG_DFL);
    ck_assert_int_eq(fault_guard_add((void *)guarded.bytes, FILE_BYTES, &region, NULL), LEGO_OK);
    ck_assert_int_eq(ftruncate(file.fd, 0), 0);
    sum_of(&file);
    ck_abort_msg("the fault was swallowed");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fault_guard");
    TCase *tests = tcase_create("guard");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_add_test(tests, test_truncated_file_reads_zeros);
    tcase_add_test(tests, test_region_is_used_again);
    tcase_add_test(tests, test_writes_go_on_too);
    tcase_add_exit_test(tests, test_other_faults_go_to_the_previous_handler, 7);
    tcase_add_test_raise_signal(tests, test_other_faults_stay_fatal, SIGBUS);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
