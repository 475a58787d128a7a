/*
 * Real models against the answers of an independent runtime: every vector under
 * $LEGONET_DATA/models, skipped where LEGONET_DATA is not set.
 */
#include "agent/runtime/legonet.h"
#include "codec/import/import.h"

#include <check.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 16
#define TOLERANCE   1e-4

struct vectors {
    struct lego_tensor tensors[MAX_TENSORS];
    uint32_t count;
};

static void vectors_read(struct vectors *vectors, const char *folder, const char *kind)
{
    char path[1024];
    FILE *file;

    for (vectors->count = 0; vectors->count < MAX_TENSORS; vectors->count++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        int status;
        snprintf(path, sizeof(path), "%s/%s_%u.pb", folder, kind, vectors->count);
        file = fopen(path, "rb");
        if (!file)
            return;
        fclose(file);
        status = import_tensor_pb(path, &vectors->tensors[vectors->count], &diag);
        ck_assert_msg(!status, "%s: %s", path, lego_diag_text(&diag, status));
    }
}

static void vectors_clear(struct vectors *vectors)
{
    for (uint32_t i = 0; i < vectors->count; i++)
        import_tensor_clear(&vectors->tensors[i]);
}

/* The tensor of that name; where names are missing the one at that place. */
static const struct lego_tensor *vectors_find(const struct vectors *vectors, const char *name,
                                              uint32_t index)
{
    for (uint32_t i = 0; i < vectors->count; i++)
        if (!strcmp(vectors->tensors[i].name, name))
            return &vectors->tensors[i];
    ck_assert_uint_lt(index, vectors->count);
    return &vectors->tensors[index];
}

static void check_output(const struct lego_tensor *want, const struct lego_io *have,
                         const char *what)
{
    const float *a = want->data, *b = have->data;
    double error = 0, largest = 0;

    ck_assert_msg(lego_shape_equal(&want->shape, &have->shape), "%s: shape", what);
    ck_assert_int_eq(want->dtype, have->dtype);
    ck_assert_int_eq(want->dtype, LEGO_DTYPE_FLOAT32);
    for (size_t i = 0; i < want->bytes / sizeof(float); i++) {
        ck_assert_msg(!isnan(b[i]), "%s: NaN", what);
        error = fmax(error, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
    }
    ck_assert_msg(error <= TOLERANCE * largest, "%s: off by %g of %g", what, error, largest);
}

static void check_vectors(struct lego_session *session, const struct lego_model *model,
                          const char *folder)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_io inputs[MAX_TENSORS], outputs[MAX_TENSORS] = {{0}};
    struct vectors given, wanted;
    int status;

    vectors_read(&given, folder, "input");
    vectors_read(&wanted, folder, "output");
    for (uint32_t i = 0; i < lego_model_input_count(model); i++) {
        const struct lego_tensor *tensor =
            vectors_find(&given, lego_model_input(model, i)->name, i);
        inputs[i] = (struct lego_io){.dtype = tensor->dtype,
                                     .shape = tensor->shape,
                                     .data = (void *)tensor->data,
                                     .bytes = tensor->bytes};
    }
    status = lego_session_run(session, inputs, lego_model_input_count(model), outputs,
                              lego_model_output_count(model), &diag);
    ck_assert_msg(!status, "%s: %s", folder, lego_diag_text(&diag, status));
    for (uint32_t i = 0; i < lego_model_output_count(model); i++)
        check_output(vectors_find(&wanted, lego_model_output(model, i)->name, i), &outputs[i],
                     folder);
    vectors_clear(&given);
    vectors_clear(&wanted);
}

/* All test_data_set_K beside `path`, with one thread and with three. */
static uint32_t check_model(const char *path)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_package *package;
    struct lego_model *model;
    char pattern[1024];
    glob_t found;
    uint32_t count = 0;
    int status = import_onnx(path, NULL, &package, &diag);

    ck_assert_msg(!status, "%s: %s", path, lego_diag_text(&diag, status));
    status = lego_model_from_package(package, NULL, &model, &diag);
    ck_assert_msg(!status, "%s: %s", path, lego_diag_text(&diag, status));
    snprintf(pattern, sizeof(pattern), "%.*s/test_data_set_*", (int)(strlen(path) - 5), path);
    if (!glob(pattern, 0, NULL, &found)) {
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            struct lego_session_options options = {.threads = threads};
            struct lego_session *session;
            ck_assert_int_eq(lego_session_create(model, &options, &session, NULL), LEGO_OK);
            for (size_t i = 0; i < found.gl_pathc; i++, count++)
                check_vectors(session, model, found.gl_pathv[i]);
            lego_session_destroy(session);
        }
        globfree(&found);
    }
    lego_model_close(model);
    return count;
}

START_TEST(test_models)
{
    const char *data = getenv("LEGONET_DATA");
    char pattern[1024];
    uint32_t count = 0;
    glob_t found;

    if (!data || !*data) {
        printf("skipped: LEGONET_DATA is not set\n");
        return;
    }
    snprintf(pattern, sizeof(pattern), "%s/models/*/*.onnx", data);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        count += check_model(found.gl_pathv[i]);
    globfree(&found);
    ck_assert_uint_gt(count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vectors");
    TCase *tests = tcase_create("vectors");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, test_models);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
