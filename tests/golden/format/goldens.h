/*
 * The golden files of container version 1: what made them, and what they decode to.
 */
#ifndef LEGO_TESTS_GOLDEN_FORMAT_GOLDENS_H
#define LEGO_TESTS_GOLDEN_FORMAT_GOLDENS_H

#include "tests/support/sample.h"

static const struct golden {
    const char *name;
    struct sample_matrix matrix; /* stages 0: sample_full */
    uint64_t checksum;           /* XXH3-64 of the first coded tensor, decoded to fp32 */
} goldens[] = {
    {"full.lego", {.stages = 0}, UINT64_C(0x495be9ff18b2ba66)},
    {"paper_4x4_k16_fp32.lego",
     {.stages = 1, .shape = {4, {40, 8, 3, 3}}},
     UINT64_C(0xd0c96937b290fd62)},
    {"int8_5x3_k37_layer_scale.lego",
     {.stages = 1,
      .brick_rows = 5,
      .brick_columns = 3,
      .entries = 37,
      .dtype = LEGO_DTYPE_INT8,
      .scale_kind = LEGO_SCALE_LAYER,
      .shape = {2, {33, 40}}},
     UINT64_C(0xf6fa9fecef95c4f3)},
    {"fp16_2x8_k256_3_stages_row_scale.lego",
     {.stages = 3,
      .brick_rows = 2,
      .brick_columns = 8,
      .entries = 256,
      .dtype = LEGO_DTYPE_FLOAT16,
      .scale_kind = LEGO_SCALE_ROW,
      .shape = {4, {10, 5, 3, 3}}},
     UINT64_C(0xcd45a04f95f3c636)},
    {"grouped_tap_major_permuted.lego",
     {.stages = 1,
      .groups = 4,
      .column_order = LEGO_COLUMNS_TAP_MAJOR,
      .permuted = true,
      .entries = 8,
      .dtype = LEGO_DTYPE_INT8,
      .shape = {4, {40, 6, 3, 2}}},
     UINT64_C(0xde790e5c1595cbe1)},
    {"transposed_conv_tile16.lego",
     {.stages = 1,
      .groups = 2,
      .view = LEGO_VIEW_TRANSPOSED_CONV,
      .tile_rows = 16,
      .entries = 64,
      .shape = {4, {6, 20, 3, 3}}},
     UINT64_C(0x6448b12266418426)},
    {"out_last_1x1_k16.lego",
     {.stages = 1,
      .brick_rows = 1,
      .brick_columns = 1,
      .view = LEGO_VIEW_OUT_LAST,
      .shape = {2, {24, 10}}},
     UINT64_C(0x1df441410ca0f691)},
    {"one_entry_16x16.lego",
     {.stages = 1, .brick_rows = 16, .brick_columns = 16, .entries = 1, .dtype = LEGO_DTYPE_INT8},
     UINT64_C(0xce8bcb5659401a92)},
};

#define GOLDEN_COUNT (sizeof(goldens) / sizeof(goldens[0]))

static inline struct lego_package *golden_package(const struct golden *golden)
{
    return golden->matrix.stages ? sample_package(&golden->matrix) : sample_full();
}

#endif
