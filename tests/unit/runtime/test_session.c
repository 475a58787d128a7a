/*
 * Models and sessions from the outside: shapes, plans, memory, sharing, faults.
 */
#include "tests/unit/runtime/support.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* glibc's own allocator, counted: what runs in between must not call it. */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);
static _Atomic int allocations;

/* Sanitizers bring an allocator of their own. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifndef SANITIZED
#define COUNTS_ALLOCATIONS 1
void *malloc(size_t bytes)
{
    allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    allocations++;
    return __libc_calloc(count, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    allocations++;
    return __libc_memalign(align, bytes);
}
#else
#define COUNTS_ALLOCATIONS 0
#endif

/* A small classifier with an open batch: conv, depthwise, pool, concat, gemm, softmax. */
static struct lego_package *build_classifier(struct random *random, const void *argument)
{
    struct lego_package *package = build_package();
    struct lego_shape shape = shape_of(4, 1, 3, 16, 16);
    const struct coding coding = {LEGO_VIEW_OUT_FIRST, 1, 4, 4, 16, 1, 32, 0, 0, false, false};
    int32_t x, y, w;

    (void)argument;
    shape.dim[0] = -1 - lego_graph_add_symbol(package->graph, "N");
    x = build_input(package, "image", shape);
    w = build_random(package, shape_of(4, 24, 3, 3, 3), random);
    build_coded(package, w, &coding, random);
    y = build_node(package, LEGO_OP_Conv, x, w, -1, -2);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    build_act(package, LEGO_ACT_CLAMP, 0, 6);
    x = build_node(package, LEGO_OP_Conv, y,
                   build_random(package, shape_of(4, 24, 1, 3, 3), random), -1, -2);
    build_int(package, "group", 24);
    build_ints(package, "pads", 4, 1, 1, 1, 1);
    x = build_node(package, LEGO_OP_Concat, x, y, -2);
    build_int(package, "axis", 1);
    x = build_node(package, LEGO_OP_GlobalAveragePool, x, -2);
    x = build_node(package, LEGO_OP_Flatten, x, -2);
    x = build_node(package, LEGO_OP_Gemm, x, build_random(package, shape_of(2, 10, 48), random), -1,
                   -2);
    build_int(package, "transB", 1);
    x = build_node(package, LEGO_OP_Softmax, x, -2);
    package->graph->values[x].name = "probs";
    build_output(package, x);
    build_finish(package);
    return package;
}

struct fixture {
    struct lego_model *model;
    struct lego_session *session;
    struct random random;
    struct lego_diag diag;
};

static struct fixture open_classifier(const struct lego_model_options *options, uint32_t threads)
{
    struct fixture f = {.random = {7}};
    struct lego_session_options session_options = {.threads = threads};

    ck_assert_int_eq(
        lego_model_from_package(build_classifier(&f.random, NULL), options, &f.model, &f.diag),
        LEGO_OK);
    ck_assert_int_eq(lego_session_create(f.model, &session_options, &f.session, &f.diag), LEGO_OK);
    return f;
}

static void close_fixture(struct fixture *f)
{
    lego_model_close(f->model); /* the session keeps it */
    lego_session_destroy(f->session);
}

static struct lego_io *images(struct fixture *f, int count)
{
    struct lego_shape shape = shape_of(4, count, 3, 16, 16);

    return make_inputs(f->model, &shape, &f->random);
}

START_TEST(test_wrong_inputs_are_named)
{
    struct fixture f = open_classifier(NULL, 1);
    struct lego_io *inputs = images(&f, 1);
    struct lego_io wrong = *inputs;

    wrong.shape.dim[2] = 17;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_SHAPE);
    ck_assert_msg(strstr(f.diag.text, "image") && strstr(f.diag.text, "17"), "%s", f.diag.text);
    wrong = *inputs;
    wrong.dtype = LEGO_DTYPE_UINT8;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_TYPE);
    ck_assert_msg(strstr(f.diag.text, "UINT8") && strstr(f.diag.text, "FP32"), "%s", f.diag.text);
    wrong = *inputs;
    wrong.shape.rank = 3;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_SHAPE);
    wrong.shape.rank = 99;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_SHAPE);
    wrong = *inputs;
    wrong.bytes -= 4;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_SHAPE);
    wrong = *inputs;
    wrong.data = (char *)wrong.data + 1;
    ck_assert_int_eq(lego_session_run(f.session, &wrong, 1, NULL, 0, &f.diag), LEGO_E_INVALID);
    ck_assert_int_eq(lego_session_run(f.session, inputs, 0, NULL, 0, &f.diag), LEGO_E_INVALID);
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, NULL, 0, &f.diag), LEGO_OK);
    free_inputs(inputs, 1);
    close_fixture(&f);
}
END_TEST

START_TEST(test_outputs_by_copy_and_by_look)
{
    struct fixture f = open_classifier(NULL, 1);
    struct lego_io *inputs = images(&f, 2), copy = {0}, look = {0};
    float probs[20], sum = 0;

    ck_assert_int_eq(lego_session_prepare(f.session, inputs, 1, &copy, 1, &f.diag), LEGO_OK);
    ck_assert_uint_eq(copy.bytes, sizeof(probs));
    ck_assert_int_eq(copy.shape.dim[0], 2);
    ck_assert_ptr_null(copy.data);
    copy.data = probs;
    copy.bytes = sizeof(probs) - 1;
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &copy, 1, &f.diag), LEGO_E_LIMIT);
    ck_assert_uint_eq(copy.bytes, sizeof(probs));
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &copy, 1, &f.diag), LEGO_OK);
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &look, 1, &f.diag), LEGO_OK);
    ck_assert_mem_eq(look.data, probs, sizeof(probs));
    for (int i = 0; i < 10; i++)
        sum += probs[i];
    ck_assert(fabsf(sum - 1.0f) < 1e-5f);
    free_inputs(inputs, 1);
    close_fixture(&f);
}
END_TEST

START_TEST(test_steady_where_it_ran_with_the_shapes)
{
    struct fixture f = open_classifier(NULL, 1);
    struct lego_io *two = images(&f, 2), *three = images(&f, 3);

    ck_assert(!lego_session_is_steady(f.session, two, 1));
    ck_assert_int_eq(lego_session_run(f.session, two, 1, NULL, 0, &f.diag), LEGO_OK);
    ck_assert(lego_session_is_steady(f.session, two, 1));
    ck_assert(!lego_session_is_steady(f.session, three, 1));
    ck_assert(!lego_session_is_steady(f.session, two, 0));
    ck_assert_int_eq(lego_session_prepare(f.session, three, 1, NULL, 0, &f.diag), LEGO_OK);
    ck_assert(lego_session_is_steady(f.session, three, 1));
    ck_assert(!lego_session_is_steady(f.session, two, 1));
    free_inputs(two, 1);
    free_inputs(three, 1);
    close_fixture(&f);
}
END_TEST

/* More shapes than the cache holds, back and forth: the answers stay those of fresh sessions. */
START_TEST(test_plan_cache)
{
    struct lego_model_options options = {.plan_cache = 2};
    struct fixture f = open_classifier(&options, 2);

    for (int round = 0; round < 12; round++) {
        struct lego_io *inputs = images(&f, 1 + round % 5), have = {0}, want = {0};
        struct lego_session *fresh;
        ck_assert_int_eq(lego_session_create(f.model, NULL, &fresh, NULL), LEGO_OK);
        ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &have, 1, &f.diag), LEGO_OK);
        ck_assert_int_eq(lego_session_run(fresh, inputs, 1, &want, 1, &f.diag), LEGO_OK);
        compare_outputs(&want, &have, 1, 0, "plan cache");
        lego_session_destroy(fresh);
        free_inputs(inputs, 1);
    }
    close_fixture(&f);
}
END_TEST

START_TEST(test_a_prepared_run_allocates_nothing)
{
    for (uint32_t threads = 1; threads <= 2; threads++) {
        struct fixture f = open_classifier(NULL, threads);
        struct lego_io *inputs = images(&f, 3), output = {0};
        int before, after, status;
        ck_assert_int_eq(lego_session_prepare(f.session, inputs, 1, NULL, 0, &f.diag), LEGO_OK);
        before = allocations;
        status = lego_session_run(f.session, inputs, 1, &output, 1, &f.diag);
        after = allocations; /* Check's own assertions allocate */
        ck_assert_int_eq(status, LEGO_OK);
        ck_assert_int_eq(after, before);
        ck_assert(!COUNTS_ALLOCATIONS || before > 0);
        free_inputs(inputs, 1);
        close_fixture(&f);
    }
}
END_TEST

struct shared {
    struct lego_model *model;
    const struct lego_io *inputs;
    const struct lego_io *want;
};

static void *run_shared(void *argument)
{
    const struct shared *shared = argument;
    struct lego_session_options options = {.threads = 1};
    struct lego_session *session;

    if (lego_session_create(shared->model, &options, &session, NULL))
        return (void *)"create";
    for (int i = 0; i < 20; i++) {
        struct lego_io have = {0};
        if (lego_session_run(session, shared->inputs, 1, &have, 1, NULL))
            return (void *)"run";
        if (have.bytes != shared->want->bytes || memcmp(have.data, shared->want->data, have.bytes))
            return (void *)"compare";
    }
    lego_session_destroy(session);
    return NULL;
}

START_TEST(test_threads_share_a_model)
{
    struct fixture f = open_classifier(NULL, 1);
    struct lego_io *inputs = images(&f, 1), want = {0};
    struct shared shared = {f.model, inputs, &want};
    pthread_t threads[4];

    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &want, 1, &f.diag), LEGO_OK);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_shared, &shared), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = (void *)"join";
        pthread_join(threads[i], &failed);
        ck_assert_msg(!failed, "%s", (const char *)failed);
    }
    free_inputs(inputs, 1);
    close_fixture(&f);
}
END_TEST

START_TEST(test_profile)
{
    struct fixture f = open_classifier(NULL, 1);
    struct lego_io *inputs = images(&f, 1);
    const struct lego_step_time *steps;
    uint64_t macs = 0;
    uint32_t count;

    lego_session_profile(f.session, true);
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, NULL, 0, &f.diag), LEGO_OK);
    steps = lego_session_steps(f.session, &count);
    ck_assert_uint_gt(count, 4);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(steps[i].us >= 0 && steps[i].name && steps[i].op);
        macs += steps[i].macs;
    }
    ck_assert_uint_eq(macs, 256u * 24 * 27 + 256 * 24 * 9 + 480);
    ck_assert_uint_gt(lego_session_bytes(f.session), 256 * 24 * 4);
    free_inputs(inputs, 1);
    close_fixture(&f);
}
END_TEST

/* Puts a self-test that the model passes (or, with `off`, does not) into a package. */
static void add_selftest(struct lego_package *package, const struct lego_io *input,
                         const struct lego_io *output, float off)
{
    struct lego_arena *arena = package->graph->arena;
    struct lego_tensor *tensors = lego_arena_calloc(arena, 2, sizeof(*tensors));
    float *want = lego_arena_memdup(arena, output->data, output->bytes);

    want[3] += off;
    tensors[0] = (struct lego_tensor){.name = "image",
                                      .dtype = input->dtype,
                                      .shape = input->shape,
                                      .bytes = input->bytes,
                                      .data = lego_arena_memdup(arena, input->data, input->bytes)};
    tensors[1] = (struct lego_tensor){.name = "probs",
                                      .dtype = output->dtype,
                                      .shape = output->shape,
                                      .bytes = output->bytes,
                                      .data = want};
    package->selftest = (struct lego_selftest){.input_count = 1,
                                               .output_count = 1,
                                               .inputs = tensors,
                                               .outputs = tensors + 1,
                                               .tolerance = 1e-4f};
}

START_TEST(test_selftest)
{
    struct fixture f = open_classifier(NULL, 1), again;
    struct lego_io *inputs = images(&f, 1), output = {0};
    struct lego_package *package;

    ck_assert_int_eq(lego_session_selftest(f.session, &f.diag), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(lego_session_run(f.session, inputs, 1, &output, 1, &f.diag), LEGO_OK);
    for (int off = 0; off <= 1; off++) {
        again.random = (struct random){7};
        package = build_classifier(&again.random, NULL);
        add_selftest(package, inputs, &output, off ? 0.01f : 0.0f);
        ck_assert_int_eq(lego_model_from_package(package, NULL, &again.model, NULL), LEGO_OK);
        ck_assert_int_eq(lego_session_create(again.model, NULL, &again.session, NULL), LEGO_OK);
        ck_assert_int_eq(lego_session_selftest(again.session, &f.diag),
                         off ? LEGO_E_MISMATCH : LEGO_OK);
        close_fixture(&again);
    }
    ck_assert_msg(strstr(f.diag.text, "probs"), "%s", f.diag.text);
    free_inputs(inputs, 1);
    close_fixture(&f);
}
END_TEST

/* A .lego that is cut short under a model whose weights stay coded: that model fails, another one
 * and the process live. */
START_TEST(test_truncated_file)
{
    char paths[2][64] = {"/tmp/truncated_XXXXXX", "/tmp/whole_XXXXXX"};
    struct random random = {7};
    struct lego_package *package = build_classifier(&random, NULL);
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct fixture f[2] = {{.random = {1}}, {.random = {1}}};
    /* Weights that are decoded when the model is opened are not read from the file again. */
    const struct lego_model_options options = {.resident = LEGO_RESIDENT_CODED};
    struct lego_io *inputs;

    for (int i = 0; i < 2; i++) {
        uint64_t bytes;
        int status;
        close(mkstemp(paths[i]));
        status = lego_package_write(package, paths[i], &bytes, &diag);
        ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
        status = lego_model_open(paths[i], &options, &f[i].model, &diag);
        ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
        ck_assert_int_eq(lego_session_create(f[i].model, NULL, &f[i].session, NULL), LEGO_OK);
    }
    inputs = images(&f[0], 1);
    ck_assert_int_eq(lego_session_run(f[0].session, inputs, 1, NULL, 0, NULL), LEGO_OK);
    ck_assert_int_eq(truncate(paths[0], 0), 0);
    ck_assert_int_eq(lego_session_run(f[0].session, inputs, 1, NULL, 0, &diag), LEGO_E_FAULT);
    ck_assert_int_eq(lego_session_run(f[0].session, inputs, 1, NULL, 0, &diag), LEGO_E_FAULT);
    ck_assert_int_eq(lego_session_run(f[1].session, inputs, 1, NULL, 0, &diag), LEGO_OK);
    free_inputs(inputs, 1);
    for (int i = 0; i < 2; i++) {
        close_fixture(&f[i]);
        unlink(paths[i]);
    }
    lego_package_destroy(package);
}
END_TEST

/* A byte of the weights is wrong: found when the file is opened, at the first run, or never. */
START_TEST(test_when_checksums_are_checked)
{
    char path[] = "/tmp/damaged_XXXXXX";
    struct random random = {7};
    struct lego_package *package = build_classifier(&random, NULL);
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_model_options options = {.verify = LEGO_VERIFY_CHECKSUMS};
    uint64_t bytes;
    uint8_t last;
    int fd = mkstemp(path);

    ck_assert_int_eq(lego_package_write(package, path, &bytes, &diag), LEGO_OK);
    lego_package_destroy(package);
    close(fd);
    ck_assert_int_ge(fd = open(path, O_RDWR), 0);
    ck_assert_int_eq(pread(fd, &last, 1, (off_t)bytes - 1), 1);
    last ^= 1;
    ck_assert_int_eq(pwrite(fd, &last, 1, (off_t)bytes - 1), 1);
    close(fd);

    struct lego_model *model;
    ck_assert_int_eq(lego_model_open(path, &options, &model, &diag), LEGO_E_CHECKSUM);
    for (int off = 0; off < 2; off++) {
        struct fixture f = {.random = {1}};
        options.verify = off ? LEGO_VERIFY_STRUCTURE : LEGO_VERIFY_LAZY;
        ck_assert_int_eq(lego_model_open(path, &options, &f.model, &diag), LEGO_OK);
        ck_assert_int_eq(lego_session_create(f.model, NULL, &f.session, NULL), LEGO_OK);
        struct lego_io *inputs = images(&f, 1);
        int want = off ? LEGO_OK : LEGO_E_CHECKSUM;
        ck_assert_int_eq(lego_session_prepare(f.session, inputs, 1, NULL, 0, &diag), want);
        ck_assert_int_eq(lego_session_run(f.session, inputs, 1, NULL, 0, &diag), want);
        ck_assert(off || strstr(diag.text, "section "));
        free_inputs(inputs, 1);
        close_fixture(&f);
    }
    unlink(path);
}
END_TEST

/* NonZero's output has a size that only the data decide. */
START_TEST(test_size_depends_on_data)
{
    const float values[6] = {0, 3, 0, 0, 5, 7};
    const int64_t want[6] = {0, 1, 1, 1, 1, 2};
    struct lego_package *package = build_package();
    struct lego_io output = {0}, input;
    struct lego_model *model;
    struct lego_session *session;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int32_t x = build_input(package, "x", shape_of(2, 2, 3));

    build_output(package, build_node(package, LEGO_OP_NonZero, x, -2));
    build_finish(package);
    ck_assert_int_eq(lego_model_from_package(package, NULL, &model, &diag), LEGO_OK);
    ck_assert_int_eq(lego_session_create(model, NULL, &session, &diag), LEGO_OK);
    input = (struct lego_io){LEGO_DTYPE_FLOAT32, shape_of(2, 2, 3), (void *)values, sizeof(values)};
    ck_assert_int_eq(lego_session_prepare(session, &input, 1, &output, 1, &diag), LEGO_OK);
    ck_assert_int_eq(output.shape.rank, LEGO_RANK_UNKNOWN);
    for (int i = 0; i < 2; i++) {
        int status = lego_session_run(session, &input, 1, &output, 1, &diag);
        ck_assert_msg(!status, "%s", lego_diag_text(&diag, status));
        ck_assert_uint_eq(output.bytes, sizeof(want));
        ck_assert_int_eq(output.shape.dim[1], 3);
        ck_assert_mem_eq(output.data, want, sizeof(want));
        output.data = NULL;
    }
    ck_assert(!lego_session_is_steady(session, &input, 1));
    lego_session_destroy(session);
    lego_model_close(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tests = tcase_create("session");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_wrong_inputs_are_named);
    tcase_add_test(tests, test_outputs_by_copy_and_by_look);
    tcase_add_test(tests, test_steady_where_it_ran_with_the_shapes);
    tcase_add_test(tests, test_plan_cache);
    tcase_add_test(tests, test_a_prepared_run_allocates_nothing);
    tcase_add_test(tests, test_threads_share_a_model);
    tcase_add_test(tests, test_profile);
    tcase_add_test(tests, test_selftest);
    tcase_add_test(tests, test_truncated_file);
    tcase_add_test(tests, test_when_checksums_are_checked);
    tcase_add_test(tests, test_size_depends_on_data);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
