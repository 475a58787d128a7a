/*
 * Failing memory and failing files. Each allocation of opening and of writing fails once: the
 * answer is E_NOMEM and nothing leaks (AddressSanitizer's leak check sees to that).
 */
#include "codec/base/status.h"
#include "tests/support/container.h"
#include "tests/support/sample.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The linker sends the library's calls here (-Wl,--wrap). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *pointer, size_t bytes);

static long allocations_left = LONG_MAX;

static bool allowed(void)
{
    return allocations_left > 0 && allocations_left-- > 0;
}

void *__wrap_malloc(size_t bytes)
{
    return allowed() ? __real_malloc(bytes) : NULL;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return allowed() ? __real_calloc(count, bytes) : NULL;
}

void *__wrap_realloc(void *pointer, size_t bytes)
{
    return allowed() ? __real_realloc(pointer, bytes) : NULL;
}

START_TEST(open_survives)
{
    struct lego_package *sample = sample_full();
    struct container file = container_write(sample);
    int status = LEGO_E_NOMEM;
    long allocations = 0;
    for (; status != LEGO_OK; allocations++) {
        struct lego_package *package = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        allocations_left = allocations;
        status =
            lego_package_open_memory(file.data, file.bytes, LEGO_VERIFY_CHECKSUMS, &package, &diag);
        allocations_left = LONG_MAX;
        ck_assert_msg(status == LEGO_OK || status == LEGO_E_NOMEM, "%d: %s", status, diag.text);
        ck_assert_int_eq(package != NULL, status == LEGO_OK);
        ck_assert_int_eq(diag.status, status);
        lego_package_destroy(package);
        ck_assert_int_lt(allocations, 10000);
    }
    ck_assert_int_gt(allocations, 5); /* there was something to fail */
    container_free(&file);
    lego_package_destroy(sample);
}
END_TEST

START_TEST(write_survives)
{
    char folder[] = "/tmp/lego-memory-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/model.lego", folder);
    struct lego_package *sample = sample_full();
    int status = LEGO_E_NOMEM;
    long allocations = 0;
    for (; status != LEGO_OK; allocations++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        uint64_t bytes = 42;
        allocations_left = allocations;
        status = lego_package_write(sample, path, &bytes, &diag);
        allocations_left = LONG_MAX;
        ck_assert_msg(status == LEGO_OK || status == LEGO_E_NOMEM, "%d: %s", status, diag.text);
        ck_assert_int_eq(access(path, F_OK) == 0, status == LEGO_OK);
        ck_assert_int_eq(bytes != 42, status == LEGO_OK);
        ck_assert_int_lt(allocations, 10000);
    }
    ck_assert_int_gt(allocations, 3);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* no temporary file is left */
    lego_package_destroy(sample);
}
END_TEST

ssize_t __real_pread(int fd, void *buffer, size_t bytes, off_t offset);

static long reads_left = LONG_MAX;
static int read_error; /* 0: the file has shrunk */

ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    if (reads_left > 0 && reads_left-- > 0)
        return __real_pread(fd, buffer, bytes < 100 ? bytes : 100, offset); /* short is legal */
    errno = read_error;
    return read_error ? -1 : 0;
}

/* A file that shrinks, or whose disk fails, at any of the reads that opening does. */
START_TEST(shrinking_file_is_an_error)
{
    char path[] = "/tmp/lego-shrinks-XXXXXX";
    int fd = mkstemp(path), status = LEGO_E_IO;
    struct lego_package *sample = sample_full();
    ck_assert_int_eq(lego_package_write(sample, path, NULL, NULL), LEGO_OK);
    read_error = _i;
    long reads = 0;
    for (; status != LEGO_OK; reads++) {
        struct lego_package *package = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        reads_left = reads;
        status = lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &package, &diag);
        reads_left = LONG_MAX;
        ck_assert_msg(status == LEGO_OK || status == (_i ? LEGO_E_IO : LEGO_E_FAULT), "%d: %s",
                      status, diag.text);
        ck_assert_int_eq(package != NULL, status == LEGO_OK);
        lego_package_destroy(package);
        ck_assert_int_lt(reads, 1000);
    }
    ck_assert_int_gt(reads, 10);
    close(fd);
    unlink(path);
    lego_package_destroy(sample);
}
END_TEST

START_TEST(graph_limit_holds)
{
    struct lego_graph *graph;
    const struct lego_shape shape = {.rank = 0};
    char name[32];
    int32_t value = 0;
    ck_assert_int_eq(lego_graph_create((size_t)64 << 10, &graph), LEGO_OK);
    for (int i = 0; value >= 0; i++) {
        snprintf(name, sizeof(name), "v%d", i);
        value = lego_graph_add_value(graph, name, LEGO_DTYPE_FLOAT32, &shape);
        ck_assert_int_lt(i, 100000);
    }
    ck_assert_int_eq(value, LEGO_E_NOMEM);
    ck_assert_int_eq(lego_graph_check(graph, NULL), LEGO_OK); /* what is there is whole */
    lego_graph_destroy(graph);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, open_survives);
    tcase_add_test(tests, write_survives);
    tcase_add_test(tests, graph_limit_holds);
    tcase_add_loop_test(tests, shrinking_file_is_an_error, 0, 1);
    tcase_add_loop_test(tests, shrinking_file_is_an_error, EIO, EIO + 1);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
