/*
 * Every allocation of an import, an export and a tensor fails once: E_NOMEM, nothing leaked (the
 * leak check of AddressSanitizer sees to that), no half-written file.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_reallocarray(void *old, size_t count, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);

/* Allocations until one fails; negative: never. */
static long countdown = -1;

static int fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_reallocarray(void *old, size_t count, size_t bytes)
{
    return fails() ? NULL : __real_reallocarray(old, count, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
    return fails() ? NULL : __real_aligned_alloc(align, bytes);
}

static void make_model(struct model *model)
{
    static const int64_t shape[] = {-1, 4};
    model_open(model, 10);
    model_input(model, "x", LEGO_DTYPE_FLOAT32, "N,3,4,4");
    model_floats(model, "w", "4,3,3,3", NULL);
    model_floats(model, "k", "4,1,1", NULL);
    model_ints(model, "shape", "2", shape);
    node_begin(model, "Conv", "x,w", "c");
    node_ints(model, "strides", 2, (const int64_t[]){2, 2});
    node_end(model);
    model_node(model, "Add", "c,k", "d");
    node_begin(model, "Clip", "d", "r");
    node_float(model, "min", 0);
    node_end(model);
    model_node(model, "Reshape", "r,shape", "y");
    model_output(model, "y");
    model_finish(model);
}

START_TEST(import_and_export)
{
    char path[] = "/tmp/lego-nomem-XXXXXX", command[64];
    struct model model;
    make_model(&model);
    ck_assert_ptr_nonnull(mkdtemp(path));
    ck_assert_int_eq(chdir(path), 0);
    long n;
    for (n = 0; n < 100000; n++) {
        struct lego_package *package = NULL;
        struct lego_diag diag = LEGO_DIAG_INIT;
        countdown = n;
        int status =
            import_onnx_memory(model.bytes, model.byte_count, "test", NULL, &package, &diag);
        if (status == 0)
            status = export_onnx(package, "out.onnx", &diag);
        int survived = countdown >= 0;
        countdown = -1;
        ck_assert_msg(status == 0 || status == LEGO_E_NOMEM, "allocation %ld: %s: %s", n,
                      lego_status_name(status), diag.text);
        ck_assert(status != 0 || access("out.onnx", R_OK) == 0);
        lego_package_destroy(package);
        if (survived)
            break;
    }
    ck_assert_int_gt(n, 10);
    ck_assert_int_lt(n, 100000);
    model_free(&model);
    ck_assert_int_eq(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(one_tensor)
{
    static const float data[2] = {1, 2};
    struct wire_out message = {0};
    put_tensor(&message, "t", LEGO_DTYPE_FLOAT32, "2", data, sizeof data);
    for (long n = 0;; n++) {
        struct lego_tensor tensor;
        struct lego_diag diag = LEGO_DIAG_INIT;
        countdown = n;
        int status = import_tensor_memory(message.data, message.bytes, &tensor, &diag);
        int survived = countdown >= 0;
        countdown = -1;
        if (status == 0)
            import_tensor_clear(&tensor);
        else
            ck_assert_int_eq(status, LEGO_E_NOMEM);
        if (survived)
            break;
    }
    wire_out_clear(&message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: out of memory");
    TCase *tcase = tcase_create("out of memory");
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, import_and_export);
    tcase_add_test(tcase, one_tensor);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
