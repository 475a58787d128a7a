/*
 * Files of version 1 load, decode to the same values, and are what the writer makes today.
 */
#include "tests/golden/format/goldens.h"

#include "codec/base/status.h"
#include "tests/support/container.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

START_TEST(loads_and_decodes)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_FOLDER, goldens[_i].name);
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &package, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    const struct lego_tensor *tensor = &package->graph->tensors[0];
    float *dense = malloc(tensor->bytes);
    ck_assert_ptr_nonnull(dense);
    ck_assert_int_eq(lego_coded_decode(tensor, dense, tensor->bytes / sizeof(float), &diag),
                     LEGO_OK);
    ck_assert_uint_eq(XXH3_64bits(dense, tensor->bytes), goldens[_i].checksum);
    free(dense);
    lego_package_destroy(package);
}
END_TEST

START_TEST(is_written_today)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_FOLDER, goldens[_i].name);
    struct lego_package *package = golden_package(&goldens[_i]);
    struct container written = container_write(package);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    uint8_t *golden = malloc(written.bytes);
    ck_assert_ptr_nonnull(golden);
    ck_assert_uint_eq(fread(golden, 1, written.bytes, file), written.bytes);
    ck_assert_int_eq(fgetc(file), EOF);
    ck_assert_mem_eq(golden, written.data, written.bytes);
    fclose(file);
    free(golden);
    container_free(&written);
    lego_package_destroy(package);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("goldens");
    TCase *tests = tcase_create("goldens");
    tcase_add_loop_test(tests, loads_and_decodes, 0, (int)GOLDEN_COUNT);
    tcase_add_loop_test(tests, is_written_today, 0, (int)GOLDEN_COUNT);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
