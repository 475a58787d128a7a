/*
 * Trellis-coded tensors and packed dense ones: through a file and back, decoded as FORMAT.md says
 * by a second decoder; hostile files; and a file of today that must always load.
 */
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/format/internal.h"
#include "lego_graph.pb-c.h"
#include "tests/support/container.h"
#include "tests/support/sample_trellis.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lego_package *open_or_fail(const struct container *file)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status =
        lego_package_open_memory(file->data, file->bytes, LEGO_VERIFY_CHECKSUMS, &package, &diag);

    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    return package;
}

/* The second decoder: section 8a, word for word. */
static int32_t find_level(const struct lego_trellis_table *t, uint32_t slot, uint32_t *ret_first,
                          uint32_t *ret_frequency)
{
    uint32_t first = 0;

    for (int32_t i = 0;; i++) {
        int32_t level = i % 2 ? (i + 1) / 2 : -(i / 2);
        uint32_t frequency = t->frequency[abs(level)];
        if (slot < first + frequency) {
            *ret_first = first;
            *ret_frequency = frequency;
            return level;
        }
        first += frequency;
    }
}

static void decode_tile(const struct lego_coded *coded, uint32_t tile, float *coefficients)
{
    static const uint32_t next[8] = {0, 2, 5, 7, 1, 3, 4, 6};
    const struct lego_trellis *trellis = coded->trellis;
    const uint8_t *at = trellis->stream + trellis->tile_offsets[tile];
    const uint8_t *end = trellis->stream + trellis->tile_offsets[tile + 1];
    uint32_t lanes = trellis->lanes, x[32], state[32];
    uint32_t first = tile * coded->tile_rows, rows = coded->rows - first;

    rows = rows < coded->tile_rows ? rows : coded->tile_rows;
    for (uint32_t i = 0; i < lanes; i++, at += 4)
        memcpy(&x[i], at, 4);
    for (uint32_t group = 0; group < coded->columns; group += lanes) {
        memset(state, 0, sizeof(state));
        for (uint32_t row = 0; row < rows; row++) {
            for (uint32_t i = 0; i < lanes && group + i < coded->columns; i++) {
                uint32_t column = group + i, start, frequency;
                uint32_t class =
                    trellis->rotation ? trellis->rotation->classes[column % coded->taps] : 0;
                int32_t k = find_level(trellis->tables[class][state[i] % 2], x[i] % 4096, &start,
                                       &frequency);
                x[i] = frequency * (x[i] / 4096) + x[i] % 4096 - start;
                if (x[i] < 65536 && end - at >= 2) {
                    x[i] = x[i] * 65536 + (uint32_t)at[0] + 256u * at[1];
                    at += 2;
                }
                int32_t value = state[i] % 2 ? 2 * k - (k > 0) + (k < 0) : 2 * k;
                coefficients[(size_t)(first + row) * coded->columns + column] = (float)value;
                state[i] = next[state[i]] ^ ((uint32_t)k & 1);
            }
        }
    }
}

static void assert_decodes(const struct lego_tensor *tensor)
{
    const struct lego_coded *coded = tensor->coded;
    const struct lego_rotation *rotation = coded->trellis->rotation;
    size_t elems = (size_t)coded->rows * coded->columns;
    float *coefficients = calloc(elems, sizeof(float)), *dense = calloc(elems, sizeof(float));

    for (uint32_t tile = 0; tile < lego_coded_tiles(coded); tile++)
        decode_tile(coded, tile, coefficients);
    ck_assert_int_eq(lego_coded_decode(tensor, dense, elems, NULL), LEGO_OK);
    for (uint32_t r = 0; r < coded->rows; r++) {
        double scale =
            coded->scale_kind == LEGO_SCALE_ROW ? (double)lego_half_to_float(coded->row_scales[r])
            : coded->scale_kind == LEGO_SCALE_LAYER
                ? (double)coded->layer_scale
                : (double)coded->layer_scale * (double)lego_log_scale[coded->row_codes[r]];
        for (uint32_t c = 0; c < coded->columns; c++) {
            uint32_t tap = c % coded->taps;
            const float *channel = coefficients + (size_t)r * coded->columns + c - tap;
            double expected = channel[tap];
            for (uint32_t j = 0; rotation && j < coded->taps; j++)
                expected = (j ? expected : 0) +
                           (double)channel[j] *
                               (double)lego_half_to_float(rotation->matrix[j * coded->taps + tap]);
            size_t at = lego_matrix_elem(&tensor->shape, coded->view, coded->groups, r, c);
            ck_assert_double_eq_tol((double)dense[at], expected * scale, 1e-4);
        }
    }
    free(coefficients);
    free(dense);
}

static void assert_round_trip(const struct sample_trellis *sample)
{
    struct lego_package *package = sample_trellis_package(sample);
    struct container first = container_write(package);
    struct lego_package *read = open_or_fail(&first);
    struct container second = container_write(read);

    ck_assert_uint_eq(first.bytes, second.bytes);
    ck_assert_mem_eq(first.data, second.data, first.bytes);
    ck_assert_ptr_nonnull(read->graph->tensors[0].coded->trellis);
    assert_decodes(&read->graph->tensors[0]);
    lego_package_destroy(package);
    lego_package_destroy(read);
    container_free(&first);
    container_free(&second);
}

START_TEST(every_layout)
{
    for (uint32_t lanes = 1; lanes <= 32; lanes *= 2) {
        for (int scale = LEGO_SCALE_LAYER; scale <= LEGO_SCALE_LOG; scale++) {
            struct sample_trellis sample = {.scale_kind = (enum lego_scale_kind)scale,
                                            .lanes = lanes};
            assert_round_trip(&sample);
            sample.rotated = true;
            sample.tile_rows = 7;
            assert_round_trip(&sample);
            sample.view = LEGO_VIEW_TRANSPOSED_CONV;
            sample.groups = 4;
            assert_round_trip(&sample);
        }
    }
    assert_round_trip(&(struct sample_trellis){.shape = {2, {33, 70}}, .view = LEGO_VIEW_OUT_LAST});
    assert_round_trip(&(struct sample_trellis){.shape = {1, {1}}, .tile_rows = 256});
    assert_round_trip(&(struct sample_trellis){.shape = {4, {64, 1, 5, 5}}, .rotated = true});
}
END_TEST

/* All 2^24 tables would take long: each byte through its range, with the others at extremes. */
START_TEST(every_table_fills_its_slots)
{
    uint32_t *slots = malloc(KERN_TRELLIS_SLOTS * sizeof(*slots));

    for (uint32_t i = 0; i < 27 * 256; i++) {
        static const uint8_t extremes[3] = {0, 64, 255};
        uint8_t bytes[3] = {extremes[i % 3], extremes[i / 3 % 3], extremes[i / 9 % 3]};
        bytes[i / 9 % 3] = (uint8_t)(i / 27);
        for (uint32_t most = 0; most < 123; most += most ? 61 : 1) {
            struct lego_trellis_table table = {
                .zero = bytes[0], .ratio = bytes[1], .bend = bytes[2], .most = (uint8_t)most};
            uint32_t sum;
            ck_assert_int_eq(lego_trellis_table_fill(&table),
                             most >= 1 && most <= LEGO_TRELLIS_MAX_LEVEL);
            if (most < 1 || most > LEGO_TRELLIS_MAX_LEVEL)
                continue;
            sum = table.frequency[0];
            for (uint32_t k = 1; k <= most; k++) {
                ck_assert_uint_ge(table.frequency[k], 1);
                sum += 2u * table.frequency[k];
            }
            ck_assert_uint_eq(sum, KERN_TRELLIS_SLOTS);
        }
    }
    free(slots);
}
END_TEST

START_TEST(slots_agree_with_first_slots)
{
    uint32_t *slots = malloc(KERN_TRELLIS_SLOTS * sizeof(*slots));
    struct lego_trellis_table table = {.zero = 100, .ratio = 200, .bend = 66, .most = 120};

    ck_assert(lego_trellis_table_fill(&table));
    lego_trellis_slots(&table, slots);
    for (int32_t level = -120; level <= 120; level++) {
        uint32_t first = lego_trellis_first_slot(&table, level);
        uint32_t frequency = table.frequency[abs(level)];
        for (uint32_t j = 0; j < frequency; j++) {
            ck_assert_int_eq((int32_t)slots[first + j] >> 24, level);
            ck_assert_uint_eq(slots[first + j] & 0xffffff, frequency << 12 | j);
        }
    }
    free(slots);
}
END_TEST

static struct container small_file(void)
{
    const struct sample_trellis sample = {.shape = {4, {34, 2, 3, 1}}, .rotated = true, .lanes = 2};
    struct lego_package *package = sample_trellis_package(&sample);
    struct container file = container_write(package);

    lego_package_destroy(package);
    return file;
}

static int try_open(const struct container *file, enum lego_verify verify, struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    int status = lego_package_open_memory(file->data, file->bytes, verify, &package, diag);

    ck_assert_int_eq(status == LEGO_OK, package != NULL);
    if (status != LEGO_OK)
        return status;
    const struct lego_tensor *tensor = &package->graph->tensors[0];
    if (tensor->coded && tensor->bytes < 1u << 20) {
        float *dense = malloc(tensor->bytes);
        ck_assert_int_eq(lego_coded_decode(tensor, dense, tensor->bytes / sizeof(float), NULL),
                         LEGO_OK);
        free(dense);
    }
    lego_package_destroy(package);
    return LEGO_OK;
}

START_TEST(every_changed_byte_is_survived)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff, 0x7f};
    struct container file = small_file();

    for (size_t at = 0; at < file.bytes; at++) {
        for (size_t i = 0; i < sizeof(changes); i++) {
            struct container changed = container_copy(file.data, file.bytes);
            struct lego_diag diag = LEGO_DIAG_INIT;
            changed.data[at] ^= changes[i];
            ck_assert_int_ne(try_open(&changed, LEGO_VERIFY_CHECKSUMS, &diag), LEGO_OK);
            container_mend(changed.data, changed.bytes);
            try_open(&changed, LEGO_VERIFY_CHECKSUMS, &diag);
            container_free(&changed);
        }
    }
    container_free(&file);
}
END_TEST

static LegoPb__Tensor *weight_of(LegoPb__Model *model)
{
    return model->graphs[0]->tensors[0];
}

#define CHANGE(name, statement)            \
    static void name(LegoPb__Model *model) \
    {                                      \
        statement;                         \
    }

CHANGE(cut_table, model->trellis_tables.len--)
CHANGE(no_levels, model->trellis_tables.data[3] = 0)
CHANGE(many_levels, model->trellis_tables.data[3] = 121)
CHANGE(no_table, weight_of(model)->tables[0] = 4)
CHANGE(few_tables, weight_of(model)->n_tables = 2)
CHANGE(no_rotation, model->layouts[0]->rotation = 2)
CHANGE(odd_lanes, model->layouts[0]->lanes = 3)
CHANGE(no_lanes, model->layouts[0]->lanes = 0)
CHANGE(many_lanes, model->layouts[0]->lanes = 64)
CHANGE(wide_lanes, model->layouts[0]->lanes = 32)
CHANGE(few_sizes, weight_of(model)->n_tile_words = 1)
CHANGE(small_tile, weight_of(model)->tile_words[0] = 1)
CHANGE(larger_tile, weight_of(model)->tile_words[0] += 1)
CHANGE(vast_tile, weight_of(model)->tile_words[0] = UINT32_MAX)
CHANGE(one_tap, model->rotations[0]->taps = 1)
CHANGE(many_taps, model->rotations[0]->taps = 26)
CHANGE(short_matrix, model->rotations[0]->matrix.len -= 2)
CHANGE(infinite_matrix, model->rotations[0]->matrix.data[1] = 0x7c)
CHANGE(odd_class, model->rotations[0]->classes.data[2] = 4)
CHANGE(third_class, model->rotations[0]->classes.data[2] = 2)
CHANGE(unscaled, model->layouts[0]->scale_kind = LEGO_SCALE_NONE)
CHANGE(permuted, weight_of(model)->has_permuted = weight_of(model)->permuted = true)
CHANGE(tap_major, model->layouts[0]->has_column_order = true; model->layouts[0]->column_order = 1)
CHANGE(tall_tile, model->layouts[0]->has_tile_rows = true; model->layouts[0]->tile_rows = 257)
CHANGE(infinite_step, weight_of(model)->layer_scale = 1.0f / 0.0f)

static const struct {
    void (*change)(LegoPb__Model *model);
    int status;
    const char *word;
} messages[] = {
    {cut_table, LEGO_E_FORMAT, "trellis tables of 15 bytes"},
    {no_levels, LEGO_E_FORMAT, "0 levels"},
    {many_levels, LEGO_E_FORMAT, "121 levels"},
    {no_table, LEGO_E_FORMAT, "table 4 does not exist"},
    {few_tables, LEGO_E_FORMAT, "2 tables"},
    {no_rotation, LEGO_E_FORMAT, "rotation 2"},
    {odd_lanes, LEGO_E_FORMAT, "does not fit"},
    {no_lanes, LEGO_E_FORMAT, "does not fit"},
    {many_lanes, LEGO_E_FORMAT, "does not fit"},
    {wide_lanes, LEGO_E_FORMAT, ""},
    {few_sizes, LEGO_E_FORMAT, "1 sizes for 2 tiles"},
    {small_tile, LEGO_E_FORMAT, "does not fit"},
    {larger_tile, LEGO_E_FORMAT, ""},
    {vast_tile, LEGO_E_FORMAT, "INDICES"},
    {one_tap, LEGO_E_FORMAT, "rotation of 1 taps"},
    {many_taps, LEGO_E_FORMAT, "rotation of 26 taps"},
    {short_matrix, LEGO_E_FORMAT, "rotation of 3 taps"},
    {infinite_matrix, LEGO_E_FORMAT, "not finite"},
    {odd_class, LEGO_E_FORMAT, "class 4"},
    {third_class, LEGO_E_FORMAT, "4 tables"},
    {unscaled, LEGO_E_FORMAT, "does not fit"},
    {permuted, LEGO_E_FORMAT, "or with bricks"},
    {tap_major, LEGO_E_FORMAT, "does not fit"},
    {tall_tile, LEGO_E_FORMAT, "do not match"},
    {infinite_step, LEGO_E_FORMAT, "not finite"},
};

static void *arena_alloc(void *arena, size_t bytes)
{
    return lego_arena_calloc(arena, 1, bytes);
}

static void arena_free(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

START_TEST(hostile_messages)
{
    struct lego_arena *arena = lego_arena_create(0);
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    struct container file = small_file();
    size_t bytes;
    const uint8_t *graph = container_section(&file, "GRAPH", &bytes);
    LegoPb__Model *model = lego_pb__model__unpack(&allocator, bytes, graph);

    ck_assert_ptr_nonnull(model);
    messages[_i].change(model);
    bytes = lego_pb__model__get_packed_size(model);
    uint8_t *packed = malloc(bytes);
    lego_pb__model__pack(model, packed);
    struct container changed = container_replace(&file, "GRAPH", packed, bytes);
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = try_open(&changed, LEGO_VERIFY_STRUCTURE, &diag);
    ck_assert_msg(status == messages[_i].status && strstr(diag.text, messages[_i].word),
                  "%d: %d: %s", _i, status, diag.text);
    free(packed);
    container_free(&file);
    container_free(&changed);
    lego_arena_destroy(arena);
}
END_TEST

START_TEST(features_must_be_set)
{
    struct container file = small_file();
    struct format_header *header = (struct format_header *)file.data;
    struct lego_diag diag = LEGO_DIAG_INIT;

    ck_assert_uint_eq(header->features, FORMAT_FEATURE_TRELLIS);
    header->features = 0;
    container_mend(file.data, file.bytes);
    ck_assert_int_eq(try_open(&file, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(diag.text, "feature"));
    container_free(&file);
}
END_TEST

/* Weights whose products are of integers: kept, behind a bit that a reader must know. */
START_TEST(integer_weights)
{
    for (int dense = 0; dense < 2; dense++) {
        struct lego_package *package = sample_trellis_package(&(struct sample_trellis){.lanes = 1});
        struct lego_tensor *tensor = &package->graph->tensors[0];
        struct lego_diag diag = LEGO_DIAG_INIT;

        if (dense) {
            tensor->coded = NULL;
            tensor->data = lego_arena_calloc(package->graph->arena, tensor->bytes, 1);
            package->trellis_table_count = 0;
        }
        struct container plain = container_write(package);
        tensor->integer = true;
        struct container file = container_write(package);
        struct format_header *header = (struct format_header *)file.data;
        const uint64_t before = ((const struct format_header *)plain.data)->features;
        ck_assert_uint_eq(before & FORMAT_FEATURE_INTEGER, 0);
        ck_assert_uint_eq(header->features, before | FORMAT_FEATURE_INTEGER);
        struct lego_package *read = open_or_fail(&file);
        ck_assert(read->graph->tensors[0].integer);
        lego_package_destroy(read);
        header->features &= ~FORMAT_FEATURE_INTEGER;
        container_mend(file.data, file.bytes);
        ck_assert_int_eq(try_open(&file, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
        ck_assert_ptr_nonnull(strstr(diag.text, "feature"));
        lego_package_destroy(package);
        container_free(&plain);
        container_free(&file);
    }
}
END_TEST

/* The writer refuses what the reader would. */
START_TEST(unsound_packages)
{
    for (int kind = 0; kind < 6; kind++) {
        const struct sample_trellis sample = {.rotated = true};
        struct lego_package *package = sample_trellis_package(&sample);
        struct lego_coded *coded = (struct lego_coded *)(uintptr_t)package->graph->tensors[0].coded;
        struct lego_trellis *trellis = (struct lego_trellis *)(uintptr_t)coded->trellis;
        struct lego_trellis_table foreign = package->trellis_tables[0];
        struct lego_diag diag = LEGO_DIAG_INIT;
        switch (kind) {
        case 0:
            trellis->lanes = 5;
            break;
        case 1:
            trellis->tables[1][0] = &foreign;
            break;
        case 2:
            package->trellis_tables[2].frequency[1]++;
            break;
        case 3:
            trellis->stream_bytes += 2;
            break;
        case 4:
            package->rotations[0].class_count = 3;
            break;
        default:
            ((uint8_t *)(uintptr_t)coded->row_codes)[1] = LEGO_LOG_SCALES;
            break;
        }
        ck_assert_int_eq(lego_package_write(package, "unsound.lego", NULL, &diag), LEGO_E_INVALID);
        lego_package_destroy(package);
    }
}
END_TEST

/* FP32 constants that are whole multiples of an fp16 step, and others. */
START_TEST(packed_dense)
{
    for (int kind = 0; kind < 5; kind++) {
        struct lego_package *package = sample_trellis_package(&(struct sample_trellis){.lanes = 1});
        struct lego_tensor *tensor = &package->graph->tensors[0];
        size_t elems = tensor->bytes / sizeof(float);
        float *data = lego_arena_calloc(package->graph->arena, elems, sizeof(*data));
        for (size_t i = 0; i < elems; i++)
            data[i] = kind == 0   ? (float)((int)(i % 255) - 127) * 0.0123291015625f
                      : kind == 1 ? 0.0f
                      : kind == 2 ? (float)i
                      : kind == 3 ? (i == 3 ? -0.0f : 1.0f) / 3.0f
                                  : 1e30f;
        tensor->coded = NULL;
        tensor->data = data;
        package->trellis_table_count = 0;
        package->pack_dense = true;
        struct container file = container_write(package);
        struct lego_package *read = open_or_fail(&file);
        ck_assert_mem_eq(read->graph->tensors[0].data, data, kind == 3 ? 3 : tensor->bytes);
        const struct format_header *header = (const struct format_header *)file.data;
        ck_assert_int_eq(header->features == FORMAT_FEATURE_PACKED, kind < 2);
        lego_package_destroy(read);
        lego_package_destroy(package);
        container_free(&file);
    }
}
END_TEST

/* A file of the release that brought the trellis. */
START_TEST(golden_file)
{
    const char *path = GOLDEN_FOLDER "/trellis_rotated_lanes8.lego";
    const struct sample_trellis sample = {.lanes = 8, .rotated = true};
    struct lego_package *package = sample_trellis_package(&sample), *read = NULL;
    struct container today = container_write(package);
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint8_t *bytes = malloc(today.bytes + 1);
    FILE *file = fopen(path, "rb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(bytes, 1, today.bytes + 1, file), today.bytes);
    fclose(file);
    ck_assert_mem_eq(bytes, today.data, today.bytes);
    ck_assert_int_eq(lego_package_open(path, LEGO_VERIFY_CHECKSUMS, &read, &diag), LEGO_OK);
    assert_decodes(&read->graph->tensors[0]);
    lego_package_destroy(read);
    lego_package_destroy(package);
    container_free(&today);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trellis");
    TCase *tcase = tcase_create("all");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_layout);
    tcase_add_test(tcase, every_table_fills_its_slots);
    tcase_add_test(tcase, slots_agree_with_first_slots);
    tcase_add_test(tcase, every_changed_byte_is_survived);
    tcase_add_loop_test(tcase, hostile_messages, 0, sizeof(messages) / sizeof(messages[0]));
    tcase_add_test(tcase, features_must_be_set);
    tcase_add_test(tcase, integer_weights);
    tcase_add_test(tcase, unsound_packages);
    tcase_add_test(tcase, packed_dense);
    tcase_add_test(tcase, golden_file);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
