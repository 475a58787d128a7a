/*
 * Bricks in memory: halves, indices, sizes and decoding against the definition.
 */
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "tests/support/sample.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

START_TEST(half_survives_float)
{
    for (uint32_t half = 0; half <= 0xffff; half++) {
        float value = lego_half_to_float((uint16_t)half);
        uint16_t back = lego_half_from_float(value);
        if (isnan(value))
            ck_assert(isnan(lego_half_to_float(back)));
        else
            ck_assert_uint_eq(back, half);
    }
}
END_TEST

START_TEST(half_rounds_to_nearest_even)
{
    ck_assert_uint_eq(lego_half_from_float(1.0f + 0x1p-11f), 0x3c00); /* tie: down to even */
    ck_assert_uint_eq(lego_half_from_float(1.0f + 0x3p-11f), 0x3c02); /* tie: up to even */
    ck_assert_uint_eq(lego_half_from_float(1.0f + 0x1.002p-11f), 0x3c01);
    ck_assert_uint_eq(lego_half_from_float(65519.0f), 0x7bff);
    ck_assert_uint_eq(lego_half_from_float(65520.0f), 0x7c00);
    ck_assert_uint_eq(lego_half_from_float(-1e30f), 0xfc00);
    ck_assert_uint_eq(lego_half_from_float(0x1p-25f), 0x0000); /* tie: down to even */
    ck_assert_uint_eq(lego_half_from_float(0x1.8p-25f), 0x0001);
    ck_assert_uint_eq(lego_half_from_float(0x1.ff8p-15f), 0x03ff);
    ck_assert_uint_eq(lego_half_from_float(0x1.ffcp-15f), 0x0400); /* tie: up, into the normals */
    ck_assert_uint_eq(lego_half_from_float(-0.0f), 0x8000);
}
END_TEST

START_TEST(indices_pack_at_every_width)
{
    uint32_t bits = (uint32_t)_i;
    uint8_t tile[4 * 41 + 1] = {0};
    uint32_t mask = bits == 32 ? UINT32_MAX : (1u << bits) - 1;
    for (uint32_t i = 0; i < 41; i++)
        lego_index_put(tile, bits, i, (i * 2654435761u) & mask);
    for (uint32_t i = 0; i < 41; i++)
        ck_assert_uint_eq(lego_index_get(tile, bits, i), (i * 2654435761u) & mask);
    ck_assert_uint_eq(tile[(41 * bits + 7) / 8], 0); /* nothing behind the last */
}
END_TEST

START_TEST(index_bits_are_enough)
{
    ck_assert_uint_eq(lego_index_bits(1), 0);
    ck_assert_uint_eq(lego_index_bits(2), 1);
    ck_assert_uint_eq(lego_index_bits(3), 2);
    ck_assert_uint_eq(lego_index_bits(256), 8);
    ck_assert_uint_eq(lego_index_bits(257), 9);
    ck_assert_uint_eq(lego_index_bits(65536), 16);
}
END_TEST

static const struct {
    struct lego_shape shape;
    enum lego_matrix_view view;
    uint32_t groups;
    int status;
    uint32_t rows, columns, taps;
} shapes[] = {
    {{4, {8, 3, 5, 2}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_OK, 8, 30, 10},
    {{4, {8, 3, 5, 2}}, LEGO_VIEW_OUT_FIRST, 4, LEGO_OK, 8, 30, 10},
    {{4, {8, 3, 5, 2}}, LEGO_VIEW_OUT_FIRST, 3, LEGO_E_SHAPE, 0, 0, 0},
    {{4, {8, 3, 5, 2}}, LEGO_VIEW_OUT_FIRST, 0, LEGO_E_SHAPE, 0, 0, 0},
    {{2, {10, 64}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_OK, 10, 64, 1},
    {{1, {7}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_OK, 7, 1, 1},
    {{0, {0}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_E_SHAPE, 0, 0, 0},
    {{2, {0, 4}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_E_SHAPE, 0, 0, 0},
    {{2, {64, 10}}, LEGO_VIEW_OUT_LAST, 1, LEGO_OK, 10, 64, 1},
    {{3, {2, 32, 10}}, LEGO_VIEW_OUT_LAST, 1, LEGO_OK, 10, 64, 1},
    {{2, {64, 10}}, LEGO_VIEW_OUT_LAST, 2, LEGO_E_SHAPE, 0, 0, 0},
    {{1, {64}}, LEGO_VIEW_OUT_LAST, 1, LEGO_E_SHAPE, 0, 0, 0},
    {{4, {6, 5, 3, 3}}, LEGO_VIEW_TRANSPOSED_CONV, 2, LEGO_OK, 10, 27, 9},
    {{4, {6, 5, 3, 3}}, LEGO_VIEW_TRANSPOSED_CONV, 4, LEGO_E_SHAPE, 0, 0, 0},
    {{2, {1, INT64_C(1) << 40}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_E_OVERFLOW, 0, 0, 0},
    {{2, {INT64_C(1) << 40, INT64_C(1) << 40}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_E_OVERFLOW, 0, 0, 0},
    {{2, {-1, 4}}, LEGO_VIEW_OUT_FIRST, 1, LEGO_E_SHAPE, 0, 0, 0},
};

START_TEST(matrix_shapes)
{
    uint32_t rows = 0, columns = 0, taps = 0;
    int status = lego_matrix_shape(&shapes[_i].shape, shapes[_i].view, shapes[_i].groups, &rows,
                                   &columns, &taps);
    ck_assert_int_eq(status, shapes[_i].status);
    ck_assert_uint_eq(rows, shapes[_i].rows);
    ck_assert_uint_eq(columns, shapes[_i].columns);
    ck_assert_uint_eq(taps, shapes[_i].taps);
}
END_TEST

static void assert_decodes(const struct sample_matrix *matrix)
{
    struct lego_package *package = sample_package(matrix);
    const struct lego_tensor *tensor = &package->graph->tensors[0];
    size_t elems = tensor->bytes / sizeof(float);
    float *decoded = calloc(elems, sizeof(*decoded)), *expected = calloc(elems, sizeof(*expected));
    ck_assert(decoded && expected);
    for (size_t i = 0; i < elems; i++)
        decoded[i] = expected[i] = NAN; /* each must be written */
    ck_assert_int_eq(lego_coded_decode(tensor, decoded, elems, NULL), LEGO_OK);
    sample_decode(tensor, expected);
    for (size_t i = 0; i < elems; i++)
        ck_assert_msg(decoded[i] == expected[i], "element %zu: %g, not %g", i, (double)decoded[i],
                      (double)expected[i]);
    ck_assert_int_eq(lego_coded_decode(tensor, decoded, elems - 1, NULL), LEGO_E_INVALID);
    free(decoded);
    free(expected);
    lego_package_destroy(package);
}

START_TEST(decodes_every_brick_shape)
{
    for (uint32_t columns = 1; columns <= 16; columns++)
        assert_decodes(&(struct sample_matrix){
            .brick_rows = (uint32_t)_i, .brick_columns = columns, .shape = {4, {67, 3, 3, 3}}});
}
END_TEST

START_TEST(decodes_every_view)
{
    for (int order = 0; order <= LEGO_COLUMNS_TAP_MAJOR; order++) {
        for (int permuted = 0; permuted <= 1; permuted++) {
            struct sample_matrix matrix = {.column_order = (enum lego_column_order)order,
                                           .permuted = permuted,
                                           .scale_kind = LEGO_SCALE_ROW,
                                           .stages = 3};
            matrix.shape = (struct lego_shape){4, {40, 6, 3, 2}};
            matrix.groups = 4;
            assert_decodes(&matrix);
            matrix.view = LEGO_VIEW_TRANSPOSED_CONV;
            matrix.scale_kind = LEGO_SCALE_LAYER;
            assert_decodes(&matrix);
            matrix.groups = 1;
            matrix.view = LEGO_VIEW_OUT_LAST;
            assert_decodes(&matrix);
        }
    }
}
END_TEST

START_TEST(layout_refuses_what_does_not_fit)
{
    struct lego_catalogue catalogue = {.brick_rows = 4, .brick_columns = 4, .entries = 16};
    struct lego_catalogue other = {.brick_rows = 2, .brick_columns = 4, .entries = 16};
    const struct lego_shape shape = {2, {8, 8}};
    struct lego_coded coded = {.groups = 1, .stage_count = 2};
    coded.stages[0].catalogue = &catalogue;
    coded.stages[1].catalogue = &other;
    ck_assert_int_eq(lego_coded_layout(&coded, &shape), LEGO_E_FORMAT);
    coded.stages[1].catalogue = &catalogue;
    ck_assert_int_eq(lego_coded_layout(&coded, &shape), LEGO_OK);
    ck_assert_uint_eq(coded.tile_rows, 32);
    coded.tile_rows = 30;
    ck_assert_int_eq(lego_coded_layout(&coded, &shape), LEGO_E_FORMAT);
    coded.tile_rows = 32;
    coded.stages[1].coding = (enum lego_index_coding)1;
    ck_assert_int_eq(lego_coded_layout(&coded, &shape), LEGO_E_VERSION);
    coded.stage_count = LEGO_MAX_STAGES + 1;
    ck_assert_int_eq(lego_coded_layout(&coded, &shape), LEGO_E_FORMAT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bricks");
    TCase *tests = tcase_create("bricks");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, half_survives_float);
    tcase_add_test(tests, half_rounds_to_nearest_even);
    tcase_add_loop_test(tests, indices_pack_at_every_width, 0, 33);
    tcase_add_test(tests, index_bits_are_enough);
    tcase_add_loop_test(tests, matrix_shapes, 0, (int)(sizeof(shapes) / sizeof(shapes[0])));
    tcase_add_loop_test(tests, decodes_every_brick_shape, 1, 17);
    tcase_add_test(tests, decodes_every_view);
    tcase_add_test(tests, layout_refuses_what_does_not_fit);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
