#include "codec/encode/encode.h"
#include "tests/unit/encode/models.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void encode(struct lego_package *package, const struct encode_options *options,
                   struct encode_report *ret_report)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    const int status = encode_package(package, options, ret_report, &diag);

    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
}

static float *decode(const struct lego_package *package, const char *name, size_t *ret_elems)
{
    const struct lego_tensor *tensor = model_tensor(package, name);
    const size_t elems = tensor->bytes / sizeof(float);
    float *dense = malloc(tensor->bytes);

    ck_assert_ptr_nonnull(tensor->coded);
    ck_assert_ptr_null(tensor->data);
    ck_assert_int_eq(lego_coded_decode(tensor, dense, elems, NULL), LEGO_OK);
    *ret_elems = elems;
    return dense;
}

/* Squared error over energy of what the package decodes to, against the same model. */
static double relative_error(const struct lego_package *package, const char *name)
{
    struct lego_package *original = model_small();
    const float *expected = model_data(original, name);
    size_t elems;
    float *dense = decode(package, name, &elems);
    double error = 0, energy = 0;

    for (size_t i = 0; i < elems; i++) {
        const double e = (double)dense[i] - (double)expected[i];
        error += e * e;
        energy += (double)expected[i] * (double)expected[i];
    }
    free(dense);
    lego_package_destroy(original);
    return error / energy;
}

START_TEST(the_papers_method_has_one_catalogue_of_4x4_for_all_layers)
{
    struct lego_package *package = model_small();
    struct encode_report report;

    encode(package, &(struct encode_options){.codec = ENCODE_CODEC_LEGONET}, &report);
    ck_assert_uint_eq(package->catalogue_count, 1);
    ck_assert_uint_eq(package->catalogues[0].brick_rows, 4);
    ck_assert_uint_eq(package->catalogues[0].brick_columns, 4);
    ck_assert_uint_eq(package->catalogues[0].entries, 32);
    ck_assert_int_eq(package->catalogues[0].dtype, LEGO_DTYPE_FLOAT32);
    ck_assert_uint_eq(report.layer_count, 5);
    ck_assert_uint_eq(report.weights, 16 * 27 + 16 * 9 + 24 * 16 + 240 + 70);
    for (uint32_t i = 0; i < report.layer_count; i++) {
        const struct lego_coded *coded = model_tensor(package, report.layers[i].name)->coded;

        ck_assert_ptr_eq(coded->stages[0].catalogue, &package->catalogues[0]);
        ck_assert_int_eq(coded->scale_kind, LEGO_SCALE_NONE);
        ck_assert_int_eq(coded->column_order, LEGO_COLUMNS_CHANNEL_MAJOR);
        ck_assert_uint_eq(coded->stages[0].index_bits, 5);
        ck_assert_double_eq_tol(relative_error(package, report.layers[i].name),
                                report.layers[i].mse, 1e-6);
    }
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

START_TEST(every_combination_of_options_decodes_to_what_the_report_says)
{
    static const uint8_t shapes[][2] = {{1, 1}, {4, 4}, {1, 3}, {1, 9}, {3, 2}, {16, 16}, {5, 7}};
    static const enum lego_dtype types[] = {LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT16,
                                            LEGO_DTYPE_INT8};
    const struct encode_options options = {
        .codec = ENCODE_CODEC_BRICKS,
        .brick_rows = shapes[_i % 7][0],
        .brick_columns = shapes[_i % 7][1],
        .catalogue_entries = 64,
        .catalogue_dtype = types[_i / 7 % 3],
        .scales = (enum lego_scale_kind)(_i / 21 % 3),
        .scope = (enum encode_scope)(_i / 63),
    };
    struct lego_package *package = model_small();
    struct encode_report report;
    uint64_t bytes = 0;

    encode(package, &options, &report);
    ck_assert_uint_eq(package->catalogue_count, _i / 63 ? 5 : 1);
    for (uint32_t l = 0; l < report.layer_count; l++) {
        const double mse = relative_error(package, report.layers[l].name);

        ck_assert_double_eq_tol(mse, report.layers[l].mse, 1e-5);
        ck_assert_double_lt(mse, 1);
        bytes += report.layers[l].bytes;
    }
    ck_assert_uint_eq(report.bytes, bytes + report.catalogue_bytes);
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

START_TEST(a_catalogue_that_is_large_enough_loses_nothing)
{
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .brick_rows = 4,
                                           .brick_columns = 4,
                                           .catalogue_entries = 65536,
                                           .catalogue_dtype = LEGO_DTYPE_FLOAT32};
    struct lego_package *package = model_small();
    struct encode_report report;

    encode(package, &options, &report);
    ck_assert_uint_lt(package->catalogues[0].entries, 120);
    for (uint32_t l = 0; l < report.layer_count; l++)
        ck_assert(report.layers[l].mse == 0);
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

START_TEST(index_bits_are_as_few_as_the_entries_need)
{
    struct lego_package *package = model_create();
    const int64_t dims[] = {8, 8};
    struct encode_report report;

    model_node(package, "fc", LEGO_OP_MatMul, model_constant(package, "w", 1, 2, dims), NULL, 0);
    model_finish(package);
    for (int i = 0; i < 64; i++)
        model_data(package, "w")[i] = (float)(i % 5);
    encode(package,
           &(struct encode_options){.codec = ENCODE_CODEC_BRICKS, .catalogue_entries = 4096},
           &report);
    ck_assert_uint_eq(package->catalogues[0].entries, 5);
    ck_assert_uint_eq(model_tensor(package, "w")->coded->stages[0].index_bits, 3);
    ck_assert(report.layers[0].mse == 0);
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

/* A layer without a bias gets one of two bytes an output; one that there is takes half. */
START_TEST(biases_to_come_are_counted)
{
    struct lego_package *package = model_small();
    const int64_t without = encode_bias_change(package), outputs = 10;
    const int64_t dims[] = {outputs};
    struct lego_node *fc = &package->graph->nodes[3];
    int32_t inputs[3] = {fc->inputs[0], fc->inputs[1]};

    ck_assert_int_ge(without, 2 * (16 + 16 + 24 + outputs));
    inputs[2] = model_constant(package, "fc.b", 1, 1, dims);
    fc->inputs = inputs;
    fc->input_count = 3;
    ck_assert_int_le(encode_bias_change(package), without - 4 * outputs);
    lego_package_destroy(package);
}
END_TEST

START_TEST(catalogues_are_of_integers_where_indices_are_short)
{
    const struct {
        uint32_t rows, entries;
        enum lego_dtype dtype;
    } cases[] = {{1, 16, LEGO_DTYPE_INT8},
                 {1, 17, LEGO_DTYPE_FLOAT16},
                 {2, 256, LEGO_DTYPE_INT8},
                 {2, 257, LEGO_DTYPE_FLOAT16},
                 {4, 4096, LEGO_DTYPE_INT8}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct lego_package *package = model_small();
        struct encode_report report;

        encode(package,
               &(struct encode_options){.codec = ENCODE_CODEC_BRICKS,
                                        .brick_rows = cases[i].rows,
                                        .catalogue_entries = cases[i].entries},
               &report);
        ck_assert_int_eq(package->catalogues[0].dtype, cases[i].dtype);
        encode_report_clear(&report);
        lego_package_destroy(package);
    }
}
END_TEST

START_TEST(one_value_everywhere_needs_no_bits)
{
    struct lego_package *package = model_create();
    const int64_t dims[] = {40, 3, 3, 3};
    size_t elems;

    model_node(package, "c", LEGO_OP_Conv, model_constant(package, "w", 0, 4, dims), NULL, 0);
    model_finish(package);
    encode(package, &(struct encode_options){.codec = ENCODE_CODEC_LEGONET}, NULL);
    const struct lego_coded *coded = model_tensor(package, "w")->coded;
    ck_assert_uint_eq(coded->stages[0].index_bits, 0);
    ck_assert_uint_eq(coded->stages[0].stream_bytes, 0);
    float *dense = decode(package, "w", &elems);
    for (size_t i = 0; i < elems; i++)
        ck_assert(dense[i] == 0);
    free(dense);
    lego_package_destroy(package);
}
END_TEST

/* All bytes that the encoder chose, in one buffer. */
static size_t choices(const struct lego_package *package, unsigned char *out, size_t capacity)
{
    size_t used = 0;

    for (uint32_t i = 0; i < package->catalogue_count; i++) {
        const struct lego_catalogue *c = &package->catalogues[i];
        const size_t bytes =
            (size_t)c->entries * c->brick_rows * c->brick_columns * lego_dtype_bytes(c->dtype);

        ck_assert_uint_le(used + bytes + sizeof(float), capacity);
        memcpy(out + used, c->data, bytes);
        memcpy(out + used + bytes, &c->scale, sizeof(float));
        used += bytes + sizeof(float);
    }
    for (uint32_t i = 0; i < package->graph->tensor_count; i++) {
        const struct lego_stage *stage = &package->graph->tensors[i].coded->stages[0];

        ck_assert_uint_le(used + stage->stream_bytes, capacity);
        memcpy(out + used, stage->stream, stage->stream_bytes);
        used += stage->stream_bytes;
    }
    return used;
}

START_TEST(the_same_bytes_for_any_number_of_threads_and_others_for_another_seed)
{
    static unsigned char bytes[4][1 << 16];
    size_t used[4];

    for (uint32_t i = 0; i < 4; i++) {
        const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                               .brick_rows = 2,
                                               .brick_columns = 2,
                                               .catalogue_entries = 20,
                                               .scales = LEGO_SCALE_LAYER,
                                               .catalogue_dtype = LEGO_DTYPE_INT8,
                                               .threads = i + 1,
                                               .seed = i == 3};
        struct lego_package *package = model_small();

        encode(package, &options, NULL);
        used[i] = choices(package, bytes[i], sizeof(bytes[i]));
        lego_package_destroy(package);
    }
    for (uint32_t i = 1; i < 3; i++) {
        ck_assert_uint_eq(used[i], used[0]);
        ck_assert_mem_eq(bytes[i], bytes[0], used[0]);
    }
    ck_assert(used[3] != used[0] || memcmp(bytes[3], bytes[0], used[0]) != 0);
}
END_TEST

START_TEST(bricks_are_cut_where_the_order_says)
{
    /* 1x3 bricks of a 3x3 kernel are rows of it, 1x2 bricks are two channels of one tap. */
    const uint32_t width = _i == 0 ? 3 : 2;
    struct lego_package *package = model_create();
    const int64_t dims[] = {1, 2, 3, 3};
    float entry[3];

    model_node(package, "c", LEGO_OP_Conv, model_constant(package, "w", 1, 4, dims), NULL, 0);
    model_finish(package);
    const float *w = model_data(package, "w");
    encode(package,
           &(struct encode_options){.codec = ENCODE_CODEC_BRICKS,
                                    .brick_columns = width,
                                    .catalogue_entries = 99,
                                    .catalogue_dtype = LEGO_DTYPE_FLOAT32},
           NULL);
    const struct lego_coded *coded = model_tensor(package, "w")->coded;
    const struct lego_stage *stage = &coded->stages[0];
    ck_assert_int_eq(coded->column_order,
                     _i == 0 ? LEGO_COLUMNS_CHANNEL_MAJOR : LEGO_COLUMNS_TAP_MAJOR);
    lego_catalogue_entry(stage->catalogue, lego_index_get(stage->stream, stage->index_bits, 1),
                         entry);
    for (uint32_t c = 0; c < width; c++)
        ck_assert_float_eq(entry[c], _i == 0 ? w[3 + c] : w[9 * c + 1]);
    lego_package_destroy(package);
}
END_TEST

START_TEST(a_weight_that_two_nodes_use_is_coded_once)
{
    struct lego_package *package = model_create();
    const int64_t dims[] = {8, 8};
    const int32_t w = model_constant(package, "w", 1, 2, dims);
    struct encode_report report;

    model_node(package, "a", LEGO_OP_MatMul, w, NULL, 0);
    model_node(package, "b", LEGO_OP_MatMul, w, NULL, 0);
    model_finish(package);
    encode(package, &(struct encode_options){.codec = ENCODE_CODEC_BRICKS}, &report);
    ck_assert_uint_eq(report.layer_count, 1);
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

START_TEST(a_weight_that_something_else_reads_stays_dense)
{
    struct lego_package *package = model_create();
    const int64_t dims[] = {8, 8};
    const int32_t w = model_constant(package, "w", 1, 2, dims);
    const int32_t v = model_constant(package, "v", 1, 2, dims);
    struct encode_report report;

    model_node(package, "a", LEGO_OP_MatMul, w, NULL, 0);
    model_node(package, "b", LEGO_OP_MatMul, v, NULL, 0);
    if (_i == 0)
        model_node(package, "c", LEGO_OP_Add, w, NULL, 0);
    else if (_i == 1)
        model_node(package, "c", LEGO_OP_Gemm, w, "transB", 1);
    model_finish(package);
    if (_i == 2)
        ck_assert_int_eq(lego_graph_add_output(package->graph, w), LEGO_OK);
    encode(package, &(struct encode_options){.codec = ENCODE_CODEC_BRICKS}, &report);
    ck_assert_uint_eq(report.layer_count, 1);
    ck_assert_str_eq(report.layers[0].name, "v");
    ck_assert_ptr_nonnull(model_tensor(package, "w")->data);
    encode_report_clear(&report);
    lego_package_destroy(package);
}
END_TEST

static void expect_failure(struct lego_package *package, const struct encode_options *options,
                           int status, const char *word)
{
    struct lego_diag diag = LEGO_DIAG_INIT;

    ck_assert_int_eq(encode_package(package, options, NULL, &diag), status);
    ck_assert_msg(diag.text[0] && strstr(diag.text, word), "'%s' lacks '%s'", diag.text, word);
    ck_assert_uint_eq(package->catalogue_count, 0);
    for (uint32_t i = 0; i < package->graph->tensor_count; i++)
        ck_assert_ptr_null(package->graph->tensors[i].coded);
    lego_package_destroy(package);
}

START_TEST(bad_weights_are_named)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct lego_package *package = model_small();

    model_data(package, "pw.w")[77] = bad[_i];
    expect_failure(package, &(struct encode_options){0}, LEGO_E_FORMAT, "'pw.w'");
}
END_TEST

START_TEST(a_model_without_weights_is_refused)
{
    struct lego_package *package = model_create();
    const int64_t dims[] = {4};

    model_node(package, "a", LEGO_OP_Add, model_constant(package, "c", 1, 1, dims), NULL, 0);
    model_finish(package);
    expect_failure(package, &(struct encode_options){0}, LEGO_E_UNSUPPORTED, "no weights");
}
END_TEST

START_TEST(options_out_of_range_are_refused)
{
    const struct encode_options bad[] = {
        {.codec = ENCODE_CODEC_BRICKS, .brick_rows = 17},
        {.codec = ENCODE_CODEC_BRICKS, .brick_columns = 17},
        {.codec = ENCODE_CODEC_BRICKS, .catalogue_entries = 65537},
        {.codec = ENCODE_CODEC_BRICKS, .catalogue_dtype = LEGO_DTYPE_INT64},
        {.codec = ENCODE_CODEC_BRICKS, .scales = (enum lego_scale_kind)3},
        {.codec = ENCODE_CODEC_BRICKS, .scope = (enum encode_scope)2},
        {.codec = ENCODE_CODEC_LEGONET, .brick_rows = 2},
        {.codec = ENCODE_CODEC_LEGONET, .scope = ENCODE_SCOPE_LAYER},
        {.codec = ENCODE_CODEC_LEGONET, .scales = LEGO_SCALE_ROW},
        {.codec = (enum encode_codec)99},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_failure(model_small(), &bad[i], LEGO_E_INVALID, "");
}
END_TEST

START_TEST(huge_weights_need_an_fp32_catalogue)
{
    struct encode_options options = {.codec = ENCODE_CODEC_BRICKS, .catalogue_entries = 256};
    struct lego_package *package = model_small();
    size_t elems;

    model_data(package, "out.w")[0] = 1e38f;
    expect_failure(package, &options, LEGO_E_INVALID, "fp16");
    package = model_small();
    model_data(package, "out.w")[0] = -3e38f;
    options.catalogue_dtype = LEGO_DTYPE_FLOAT32;
    encode(package, &options, NULL);
    float *dense = decode(package, "out.w", &elems);
    ck_assert_float_eq(dense[0], -3e38f);
    free(dense);
    lego_package_destroy(package);
}
END_TEST

struct told {
    uint32_t done, total, calls;
};

static void listen(void *context, const char *layer, uint32_t done, uint32_t total,
                   const char *text)
{
    struct told *told = context;

    ck_assert_uint_ge(done, told->done);
    ck_assert_ptr_nonnull(text);
    ck_assert(layer != NULL || done == 0);
    *told = (struct told){.done = done, .total = total, .calls = told->calls + 1};
}

START_TEST(progress_counts_up_to_all_layers)
{
    struct told told = {0};
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .scope = (enum encode_scope)_i,
                                           .progress = listen,
                                           .context = &told};
    struct lego_package *package = model_small();

    encode(package, &options, NULL);
    ck_assert_uint_eq(told.done, 5);
    ck_assert_uint_eq(told.total, 5);
    ck_assert_uint_ge(told.calls, 5);
    lego_package_destroy(package);
}
END_TEST

START_TEST(transposed_convolutions_and_groups_decode_in_place)
{
    struct lego_package *package = model_create();
    const int64_t transposed[] = {6, 4, 2, 3}, grouped[] = {12, 5, 3, 1};
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .brick_rows = 2,
                                           .brick_columns = 3,
                                           .catalogue_entries = 4096,
                                           .catalogue_dtype = LEGO_DTYPE_FLOAT32};
    float before[2][180];
    static const char *const names[] = {"t.w", "g.w"};

    model_node(package, "t", LEGO_OP_ConvTranspose,
               model_constant(package, "t.w", 1, 4, transposed), "group", 3);
    model_node(package, "g", LEGO_OP_Conv, model_constant(package, "g.w", 1, 4, grouped), "group",
               4);
    model_finish(package);
    for (int i = 0; i < 2; i++)
        memcpy(before[i], model_data(package, names[i]), model_tensor(package, names[i])->bytes);
    encode(package, &options, NULL);
    for (int i = 0; i < 2; i++) {
        size_t elems;
        float *dense = decode(package, names[i], &elems);

        for (size_t e = 0; e < elems; e++)
            ck_assert_float_eq(dense[e], before[i][e]);
        free(dense);
    }
    lego_package_destroy(package);
}
END_TEST

/* What is no convolution and no matrix on the right: one node after the other, which no shape
 * inference sees. */
START_TEST(other_weights_decode_in_place)
{
    static const struct {
        enum lego_op op;
        uint32_t input, rows;
        int rank;
        int64_t dims[4];
        const char *attr;
    } cases[] = {
        {LEGO_OP_LSTM, 1, 80, 3, {2, 40, 16}, "hidden_size"},
        {LEGO_OP_LSTM, 2, 160, 3, {2, 80, 10}, "hidden_size"},
        {LEGO_OP_GRU, 1, 30, 3, {1, 30, 40}, NULL},
        {LEGO_OP_RNN, 2, 40, 3, {1, 40, 40}, NULL},
        {LEGO_OP_Gather, 0, 100, 2, {100, 16}, NULL},
        {LEGO_OP_Gather, 0, 100, 3, {100, 4, 4}, NULL},
        {LEGO_OP_MatMul, 0, 30, 2, {30, 40}, NULL},
        {LEGO_OP_MatMul, 0, 20, 3, {3, 20, 20}, NULL},
        {LEGO_OP_MatMul, 1, 30, 3, {2, 20, 30}, NULL},
        {LEGO_OP_Gemm, 0, 40, 2, {30, 40}, "transA"},
        {LEGO_OP_Gemm, 0, 30, 2, {30, 40}, NULL},
    };
    const struct encode_options options = {.codec = ENCODE_CODEC_BRICKS,
                                           .catalogue_entries = 8192,
                                           .catalogue_dtype = LEGO_DTYPE_FLOAT32};
    struct lego_package *package = model_create();
    const int32_t w = model_constant(package, "w", 1, cases[_i].rank, cases[_i].dims);
    const size_t bytes = model_tensor(package, "w")->bytes;
    float *before = malloc(bytes);
    size_t elems;

    model_node(package, "n", cases[_i].op, w, cases[_i].attr, 1);
    struct lego_node *node = &package->graph->nodes[0];
    int32_t *inputs = lego_arena_calloc(package->graph->arena, 3, sizeof(*inputs));
    for (uint32_t i = 0; i < 3; i++)
        inputs[i] = i == cases[_i].input ? w : package->graph->inputs[0];
    node->inputs = inputs;
    node->input_count = cases[_i].op == LEGO_OP_Gather || cases[_i].op == LEGO_OP_MatMul ? 2 : 3;
    model_finish(package);
    memcpy(before, model_data(package, "w"), bytes);
    encode(package, &options, NULL);
    ck_assert_uint_eq(model_tensor(package, "w")->coded->rows, cases[_i].rows);
    float *dense = decode(package, "w", &elems);
    for (size_t e = 0; e < elems; e++)
        ck_assert_float_eq(dense[e], before[e]);
    free(dense);
    free(before);
    lego_package_destroy(package);
}
END_TEST

START_TEST(tables_that_are_no_weights_stay_dense)
{
    /* Too small, another axis of Gather, the bias of an LSTM. */
    const int64_t small[] = {16, 8}, large[] = {64, 64};
    struct lego_package *package = model_create();
    const int32_t w = model_constant(package, "w", 1, 2, _i == 0 ? small : large);

    model_node(package, "n", _i == 2 ? LEGO_OP_LSTM : LEGO_OP_Gather, w, "axis", _i);
    package->graph->nodes[0].inputs[0] = _i == 2 ? package->graph->inputs[0] : w;
    package->graph->nodes[0].inputs[1] = _i == 2 ? w : package->graph->inputs[0];
    model_finish(package);
    expect_failure(package, &(struct encode_options){.codec = ENCODE_CODEC_BRICKS},
                   LEGO_E_UNSUPPORTED, "no weights");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode");
    TCase *tests = tcase_create("encode");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, the_papers_method_has_one_catalogue_of_4x4_for_all_layers);
    tcase_add_loop_test(tests, every_combination_of_options_decodes_to_what_the_report_says, 0,
                        126);
    tcase_add_test(tests, a_catalogue_that_is_large_enough_loses_nothing);
    tcase_add_test(tests, index_bits_are_as_few_as_the_entries_need);
    tcase_add_test(tests, catalogues_are_of_integers_where_indices_are_short);
    tcase_add_test(tests, one_value_everywhere_needs_no_bits);
    tcase_add_test(tests, the_same_bytes_for_any_number_of_threads_and_others_for_another_seed);
    tcase_add_loop_test(tests, bricks_are_cut_where_the_order_says, 0, 2);
    tcase_add_test(tests, a_weight_that_two_nodes_use_is_coded_once);
    tcase_add_loop_test(tests, a_weight_that_something_else_reads_stays_dense, 0, 3);
    tcase_add_loop_test(tests, bad_weights_are_named, 0, 3);
    tcase_add_test(tests, a_model_without_weights_is_refused);
    tcase_add_test(tests, biases_to_come_are_counted);
    tcase_add_test(tests, options_out_of_range_are_refused);
    tcase_add_test(tests, huge_weights_need_an_fp32_catalogue);
    tcase_add_loop_test(tests, progress_counts_up_to_all_layers, 0, 2);
    tcase_add_test(tests, transposed_convolutions_and_groups_decode_in_place);
    tcase_add_loop_test(tests, other_weights_decode_in_place, 0, 11);
    tcase_add_loop_test(tests, tables_that_are_no_weights_stay_dense, 0, 3);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
