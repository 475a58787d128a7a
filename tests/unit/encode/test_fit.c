#include "agent/runtime/kern_init.h"
#include "codec/encode/encode.h"
#include "codec/encode/gptq.h"
#include "codec/encode/images.h"
#include "codec/encode/linear.h"
#include "codec/encode/portable.h"
#include "codec/format/trellis.h"
#include "codec/graph/infer.h"
#include "tests/unit/encode/models.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fill_normal(float *out, size_t count, uint64_t seed)
{
    struct encode_random random;

    encode_random_seed(&random, seed);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)random_normal(&random);
}

START_TEST(portable_functions_agree_with_the_library)
{
    for (int i = -3000; i < 3000; i++) {
        const double x = i * 0.0437;
        double sine, cosine;

        portable_sincos(x, &sine, &cosine);
        ck_assert_double_eq_tol(portable_exp(x), exp(x), 1e-14 * exp(x));
        ck_assert_double_eq_tol(portable_log(x * x + 1e-9), log(x * x + 1e-9), 1e-14);
        ck_assert_double_eq_tol(sine, sin(x * 2 * M_PI), 1e-12);
        ck_assert_double_eq_tol(cosine, cos(x * 2 * M_PI), 1e-12);
    }
}
END_TEST

START_TEST(products_and_moments_are_right_at_every_size)
{
    const size_t m = (size_t)_i % 7 + 1, n = (size_t)(_i / 7) % 19 + 1, depth = 13;
    float a[13 * 7], b[13 * 19], c[7 * 19];

    fill_normal(a, depth * m, 1);
    fill_normal(b, depth * n, 2);
    linear_gemm(encode_workers_kernels(NULL), &(struct kern_gemm_exact_f32){.m = m,
                                                                            .n = n,
                                                                            .depth = depth,
                                                                            .a = a,
                                                                            .a_stride = m,
                                                                            .b = b,
                                                                            .b_stride = n,
                                                                            .c = c,
                                                                            .c_stride = n});
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < depth; k++)
                sum += (double)a[k * m + i] * (double)b[k * n + j];
            ck_assert_double_eq_tol((double)c[i * n + j], sum, 1e-4);
        }
    }
}
END_TEST

/* Correlated samples: each column is mostly the one before it. */
static float *make_samples(size_t samples, size_t n)
{
    float *x = malloc(samples * n * sizeof(float));

    ck_assert_ptr_nonnull(x);
    fill_normal(x, samples * n, 5);
    for (size_t s = 0; s < samples; s++) {
        for (size_t j = 1; j < n; j++)
            x[s * n + j] = 0.9f * x[s * n + j - 1] + 0.44f * x[s * n + j];
    }
    return x;
}

START_TEST(the_factor_of_the_inverse_is_one)
{
    enum { N = 70, SAMPLES = 1000 };
    float *x = make_samples(SAMPLES, N);
    double *h = malloc(sizeof(double) * N * N);
    float *u = malloc(sizeof(float) * N * N);
    uint32_t order[N];

    for (uint32_t i = 0; i < N; i++)
        order[i] = i * 31 % N;
    ck_assert_int_eq(linear_moment(x, SAMPLES, N, NULL, h), LEGO_OK);
    ck_assert_int_eq(linear_inverse_factor(h, order, N, 0.05, NULL, u), LEGO_OK);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < N; j++) { /* (U^T U) H = 1 */
            double sum = 0;

            for (size_t k = 0; k < N; k++) {
                double inverse = 0;
                for (size_t t = 0; t < N; t++)
                    inverse += (double)u[t * N + i] * (double)u[t * N + k];
                sum += inverse * (h[(size_t)order[k] * N + order[j]] + (k == j ? 0.05 : 0));
            }
            ck_assert_double_eq_tol(sum, i == j, 1e-4);
        }
    }
    for (size_t i = 0; i < (size_t)N * N; i++)
        h[i] = -h[i];
    ck_assert_int_eq(linear_inverse_factor(h, order, N, 0, NULL, u), LEGO_E_INVALID);
    free(x);
    free(h);
    free(u);
}
END_TEST

START_TEST(pictures_are_the_same_again_and_differ_from_one_another)
{
    enum { WIDTH = 40, HEIGHT = 24, ELEMS = 3 * WIDTH * HEIGHT };
    struct encode_workers *workers = encode_workers_create(3, NULL);
    struct image_pool *pool = image_pool_create(WIDTH, HEIGHT, 7, workers);
    struct image_pool *again = image_pool_create(WIDTH, HEIGHT, 7, NULL);
    static float a[ELEMS], b[ELEMS];
    double mean = 0, spread = 0;

    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(image_draw(pool, i, a), LEGO_OK);
        ck_assert_int_eq(image_draw(again, i, b), LEGO_OK);
        ck_assert_mem_eq(a, b, sizeof(a));
        for (size_t k = 0; k < ELEMS; k++) {
            ck_assert(a[k] >= 0 && a[k] <= 1);
            mean += (double)a[k];
            spread += (double)a[k] * (double)a[k];
        }
    }
    mean /= 20.0 * ELEMS;
    spread = sqrt(spread / (20.0 * ELEMS) - mean * mean);
    ck_assert(mean > 0.3 && mean < 0.65);
    ck_assert(spread > 0.15 && spread < 0.4);
    ck_assert_int_eq(image_draw(pool, 0, b), LEGO_OK);
    ck_assert_mem_ne(a, b, sizeof(a));
    image_pool_destroy(pool);
    image_pool_destroy(again);
    encode_workers_destroy(workers);
}
END_TEST

enum { ROWS = 37, COLUMNS = 36 };

static const struct gptq_format FORMATS[] = {
    {"levels", 1, 1, 16, 1, 8}, {"2x1", 2, 1, 64, 1, 0},  {"1x3", 1, 3, 64, 1, 0},
    {"1x9+", 1, 9, 64, 2, 0},   {"4x1", 4, 1, 200, 1, 0},
};

/* The squared error of outputs whose inputs have the second moment h. */
static double output_error(const float *target, const float *decoded, const float *scales,
                           const double *h)
{
    double error = 0;

    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t i = 0; i < COLUMNS; i++) {
            for (uint32_t j = 0; j < COLUMNS; j++)
                error += ((double)target[r * COLUMNS + i] -
                          (double)(decoded[r * COLUMNS + i] * scales[r])) *
                         h[i * COLUMNS + j] *
                         ((double)target[r * COLUMNS + j] -
                          (double)(decoded[r * COLUMNS + j] * scales[r]));
        }
    }
    return error;
}

/* What is done to a random problem. */
struct method {
    bool feedback;
    uint32_t passes; /* of descent, with scales that differ from row to row */
};

/* Solves a random problem; the mean squared error of its outputs on the samples. */
static double solve(const struct gptq_format *format, struct method method, uint32_t threads,
                    uint32_t *ret_index)
{
    enum { SAMPLES = 600 };
    struct encode_workers *workers = encode_workers_create(threads, NULL);
    float *x = make_samples(SAMPLES, COLUMNS), target[ROWS * COLUMNS], scales[ROWS];
    float catalogue[2][200 * 9], compensated[ROWS * COLUMNS], decoded[ROWS * COLUMNS];
    double h[COLUMNS * COLUMNS];
    float single[COLUMNS * COLUMNS];
    float u[COLUMNS * COLUMNS] = {0};
    uint32_t order[COLUMNS], second[ROWS * COLUMNS];

    fill_normal(target, ROWS * COLUMNS, 11);
    fill_normal(catalogue[0], 200 * 9, 12);
    fill_normal(catalogue[1], 200 * 9, 13);
    for (uint32_t i = 0; i < ROWS; i++)
        scales[i] = format->levels ? 0.4f : 1;
    for (uint32_t i = 0; i < COLUMNS; i++)
        order[i] = i;
    ck_assert_int_eq(linear_moment(x, SAMPLES, COLUMNS, NULL, h), LEGO_OK);
    for (uint32_t i = 0; i < COLUMNS * COLUMNS; i++)
        single[i] = (float)h[i];
    if (method.feedback)
        ck_assert_int_eq(linear_inverse_factor(h, order, COLUMNS, 0.01, NULL, u), LEGO_OK);
    for (uint32_t i = 0; i < COLUMNS && !method.feedback; i++)
        u[i * COLUMNS + i] = 1;
    const struct gptq_problem problem = {
        .rows = ROWS, .columns = COLUMNS, .target = target, .order = order, .u = u, .h = single};
    const struct gptq_catalogues catalogues = {.stage = {catalogue[0], catalogue[1]}};
    struct gptq_result result = {
        .index = {ret_index, second}, .compensated = compensated, .decoded = decoded};
    ck_assert_int_eq(gptq_solve(&problem, format, &catalogues, scales, workers, &result), LEGO_OK);
    for (uint32_t i = 0; i < ROWS && method.passes > 0; i++)
        scales[i] *= 1 + 0.01f * (float)(i % 7);
    double error = output_error(target, decoded, scales, h);
    for (uint32_t pass = 0; pass < method.passes; pass++) {
        ck_assert_int_eq(gptq_descend(&problem, format, &catalogues, scales, 1, workers, &result),
                         LEGO_OK);
        const double now = output_error(target, decoded, scales, h);
        ck_assert_double_lt(now, pass == 0 ? error : error * 1.0001);
        ck_assert_double_eq_tol(now, result.distortion, 1e-3 * now);
        error = now;
    }
    free(x);
    encode_workers_destroy(workers);
    return error;
}

START_TEST(passing_errors_on_serves_the_output)
{
    uint32_t index[ROWS * COLUMNS];
    const double with = solve(&FORMATS[_i], (struct method){.feedback = true}, 1, index);
    const double without = solve(&FORMATS[_i], (struct method){.feedback = false}, 1, index);

    ck_assert_double_lt(with, 0.7 * without);
}
END_TEST

START_TEST(solutions_do_not_depend_on_threads)
{
    static uint32_t one[ROWS * COLUMNS], more[ROWS * COLUMNS];
    const struct method method = {.feedback = true, .passes = 2};
    const double a = solve(&FORMATS[_i], method, 1, one), b = solve(&FORMATS[_i], method, 4, more);

    ck_assert(a == b);
    ck_assert_mem_eq(one, more, sizeof(one) / (FORMATS[_i].rows * FORMATS[_i].columns) / 2);
}
END_TEST

/* A small residual network for 8x8 pictures. */
static struct lego_package *make_network(void)
{
    struct lego_package *package;
    const struct lego_shape picture = {.rank = 4, .dim = {1, 3, 8, 8}};
    const int64_t stem[] = {16, 3, 3, 3}, body[] = {16, 16, 3, 3}, head[] = {10, 16 * 64};
    struct lego_diag diag = LEGO_DIAG_INIT;

    package = model_create();
    package->graph->values[package->graph->inputs[0]].shape = picture;
    model_node(package, "stem", LEGO_OP_Conv, model_constant(package, "stem.w", 0.3, 4, stem), NULL,
               0);
    model_node(package, "a", LEGO_OP_Conv, model_constant(package, "a.w", 0.1, 4, body), NULL, 0);
    model_node(package, "b", LEGO_OP_Conv, model_constant(package, "b.w", 0.1, 4, body), NULL, 0);
    for (uint32_t i = 0; i < 3; i++) {
        static const int64_t pads[] = {1, 1, 1, 1};
        struct lego_node *node = &package->graph->nodes[i];

        node->attrs = lego_arena_calloc(package->graph->arena, 1, sizeof(*node->attrs));
        node->attrs[0] =
            (struct lego_attr){.name = "pads", .type = LEGO_ATTR_INTS, .ints = pads, .count = 4};
        node->attr_count = 1;
        node->activation = LEGO_ACT_CLAMP;
        node->act_lo = 0;
        node->act_hi = INFINITY;
    }
    model_node(package, "flat", LEGO_OP_Flatten, -1, NULL, 0);
    package->graph->nodes[3].input_count = 1;
    model_node(package, "head", LEGO_OP_Gemm, model_constant(package, "head.w", 0.05, 2, head),
               "transB", 1);
    model_finish(package);
    const int status = lego_graph_infer(package->graph, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    return package;
}

/* One thread works with the references, several with this machine's kernels. */
static const struct kern_table *choose_kernels(uint32_t threads)
{
    static struct kern_table table;

    ck_assert_int_eq(kern_init(&table, "all", NULL), LEGO_OK);
    return threads > 1 ? &table : NULL;
}

static uint64_t fit(uint64_t bytes, uint32_t threads, unsigned char *ret_streams, size_t capacity,
                    double *ret_error)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .weight_bytes = bytes,
                                           .threads = threads,
                                           .kernels = choose_kernels(threads)};
    struct lego_package *package = make_network();
    struct encode_report report;
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t used = 0;
    const int status = encode_package(package, &options, &report, &diag);

    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert_uint_le(report.bytes, bytes);
    ck_assert_int_eq(lego_graph_check(package->graph, &diag), LEGO_OK);
    *ret_error = 0;
    for (uint32_t i = 0; i < report.layer_count; i++) {
        const struct lego_tensor *tensor = model_tensor(package, report.layers[i].name);
        const struct lego_stage *stage = &tensor->coded->stages[0];
        const size_t take = stage->stream_bytes < 4096 ? stage->stream_bytes : 4096;

        *ret_error += report.layers[i].mse;
        ck_assert_uint_le(used + take, capacity);
        memcpy(ret_streams + used, stage->stream, take);
        used += take;
    }
    encode_report_clear(&report);
    lego_package_destroy(package);
    return used;
}

START_TEST(a_fit_keeps_to_its_bytes_and_does_not_depend_on_threads_or_kernels)
{
    static unsigned char one[32768], more[32768];
    double error, again, smaller;
    const uint64_t used = fit(13000, 1, one, sizeof(one), &error);

    ck_assert_uint_eq(fit(13000, 3, more, sizeof(more), &again), used);
    ck_assert(error == again);
    ck_assert_mem_eq(one, more, used);
    fit(17000, 2, more, sizeof(more), &smaller);
    ck_assert_double_lt(smaller, error);
}
END_TEST

START_TEST(too_few_bytes_are_refused_and_change_nothing)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS, .weight_bytes = 500};
    struct lego_package *package = make_network();
    struct lego_diag diag = LEGO_DIAG_INIT;

    ck_assert_int_eq(encode_package(package, &options, NULL, &diag), LEGO_E_INVALID);
    ck_assert_msg(strstr(diag.text, "at least"), "%s", diag.text);
    ck_assert_uint_eq(package->catalogue_count, 0);
    for (uint32_t i = 0; i < package->graph->tensor_count; i++)
        ck_assert_ptr_null(package->graph->tensors[i].coded);
    lego_package_destroy(package);
}
END_TEST

/* The same network by the small codec; the bytes of its streams go to `ret_streams`. */
static size_t fit_small(uint64_t bytes, uint32_t threads, unsigned char *ret_streams,
                        size_t capacity, double *ret_error, bool *ret_rotated)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_SMALL,
                                           .weight_bytes = bytes,
                                           .threads = threads,
                                           .kernels = choose_kernels(threads)};
    struct lego_package *package = make_network();
    struct encode_report report;
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t used = 0;
    const int status = encode_package(package, &options, &report, &diag);

    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    ck_assert_uint_le(report.bytes, bytes + 64); /* biases of a byte leave that much more */
    ck_assert_uint_ge(report.bytes, bytes * 9 / 10);
    ck_assert_int_eq(lego_graph_check(package->graph, &diag), LEGO_OK);
    *ret_error = 0;
    *ret_rotated = package->rotation_count > 0;
    for (uint32_t i = 0; i < report.layer_count; i++) {
        const struct lego_trellis *trellis =
            model_tensor(package, report.layers[i].name)->coded->trellis;

        *ret_error += report.layers[i].mse;
        ck_assert_uint_le(used + trellis->stream_bytes, capacity);
        memcpy(ret_streams + used, trellis->stream, trellis->stream_bytes);
        used += trellis->stream_bytes;
    }
    encode_report_clear(&report);
    lego_package_destroy(package);
    return used;
}

START_TEST(a_small_fit_keeps_to_its_bytes_and_does_not_depend_on_threads_or_kernels)
{
    static unsigned char one[32768], more[32768];
    double error, again;
    bool rotated;

    for (uint64_t bytes = 2000; bytes < 14000; bytes *= 4) {
        const size_t used = fit_small(bytes, 1, one, sizeof(one), &error, &rotated);
        ck_assert_int_eq(rotated, bytes <= 2000);
        ck_assert_uint_eq(fit_small(bytes, 3, more, sizeof(more), &again, &rotated), used);
        ck_assert(error == again);
        ck_assert_mem_eq(one, more, used);
    }
}
END_TEST

START_TEST(too_few_bytes_for_a_small_fit_change_nothing)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_SMALL, .weight_bytes = 20};
    struct lego_package *package = make_network();
    struct lego_diag diag = LEGO_DIAG_INIT;

    ck_assert_int_eq(encode_package(package, &options, NULL, &diag), LEGO_E_INVALID);
    ck_assert_uint_eq(package->trellis_table_count, 0);
    ck_assert_uint_eq(package->rotation_count, 0);
    for (uint32_t i = 0; i < package->graph->tensor_count; i++) {
        ck_assert_ptr_null(package->graph->tensors[i].coded);
        ck_assert_ptr_nonnull(package->graph->tensors[i].data);
    }
    lego_package_destroy(package);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fit");
    TCase *tests = tcase_create("fit");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, portable_functions_agree_with_the_library);
    tcase_add_loop_test(tests, products_and_moments_are_right_at_every_size, 0, 7 * 19);
    tcase_add_test(tests, the_factor_of_the_inverse_is_one);
    tcase_add_test(tests, pictures_are_the_same_again_and_differ_from_one_another);
    tcase_add_loop_test(tests, passing_errors_on_serves_the_output, 0, 5);
    tcase_add_loop_test(tests, solutions_do_not_depend_on_threads, 0, 5);
    tcase_add_test(tests, a_fit_keeps_to_its_bytes_and_does_not_depend_on_threads_or_kernels);
    tcase_add_test(tests, too_few_bytes_are_refused_and_change_nothing);
    tcase_add_test(tests, a_small_fit_keeps_to_its_bytes_and_does_not_depend_on_threads_or_kernels);
    tcase_add_test(tests, too_few_bytes_for_a_small_fit_change_nothing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
