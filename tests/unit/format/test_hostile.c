/*
 * Hostile files: each flipped bit, each truncation, and messages that say what cannot be. Always a
 * clear error or a sound package, never a crash; run it under AddressSanitizer, too.
 */
#include "codec/base/status.h"
#include "codec/format/internal.h"
#include "lego_graph.pb-c.h"
#include "tests/support/container.h"
#include "tests/support/sample.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static int try_open(const struct container *file, enum lego_verify verify, struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    int status = lego_package_open_memory(file->data, file->bytes, verify, &package, diag);
    ck_assert_int_eq(status == LEGO_OK, package != NULL);
    if (status != LEGO_OK) {
        ck_assert_int_eq(diag->status, status);
        ck_assert_msg(strncmp(diag->text, "(memory): ", 10) == 0, "%s", diag->text);
        return status;
    }
    for (uint32_t i = 0; i < package->graph->tensor_count; i++) {
        const struct lego_tensor *tensor = &package->graph->tensors[i];
        size_t elems = tensor->bytes / sizeof(float);
        if (!tensor->coded || elems > 1u << 20)
            continue;
        float *dense = malloc(tensor->bytes);
        ck_assert_int_eq(lego_coded_decode(tensor, dense, elems, NULL), LEGO_OK);
        free(dense);
    }
    lego_package_destroy(package);
    return LEGO_OK;
}

static struct container full_file(void)
{
    struct lego_package *package = sample_full();
    struct container file = container_write(package);
    lego_package_destroy(package);
    return file;
}

START_TEST(every_flipped_bit_is_seen)
{
    struct container file = full_file();
    for (size_t bit = 0; bit < 8 * file.bytes; bit++) {
        struct lego_diag diag = LEGO_DIAG_INIT;
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_ne(try_open(&file, LEGO_VERIFY_CHECKSUMS, &diag), LEGO_OK);
        diag = (struct lego_diag)LEGO_DIAG_INIT;
        try_open(&file, LEGO_VERIFY_STRUCTURE, &diag);
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    container_free(&file);
}
END_TEST

/* The same with checksums that match, so that the parser behind them is reached. */
START_TEST(every_changed_byte_is_survived)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff, 0x7f};
    struct container file = full_file();
    for (size_t at = 0; at < file.bytes; at++) {
        for (size_t i = 0; i < sizeof(changes); i++) {
            struct container changed = container_copy(file.data, file.bytes);
            struct lego_diag diag = LEGO_DIAG_INIT;
            changed.data[at] ^= changes[i];
            container_mend(changed.data, changed.bytes);
            try_open(&changed, LEGO_VERIFY_CHECKSUMS, &diag);
            container_free(&changed);
        }
    }
    container_free(&file);
}
END_TEST

START_TEST(every_truncation_is_seen)
{
    struct container file = full_file();
    for (size_t bytes = 0; bytes < file.bytes; bytes++) {
        struct container cut = container_copy(file.data, bytes);
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_int_eq(try_open(&cut, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
        /* A file that claims to be as long as it is: the table still says otherwise. */
        container_mend(cut.data, cut.bytes);
        ck_assert_int_ne(try_open(&cut, LEGO_VERIFY_STRUCTURE, &diag), LEGO_OK);
        container_free(&cut);
    }
    container_free(&file);
}
END_TEST

START_TEST(appended_bytes_are_seen)
{
    struct container file = full_file(), longer = container_copy(file.data, file.bytes);
    struct lego_diag diag = LEGO_DIAG_INIT;
    longer.data = realloc(longer.data, file.bytes + 64);
    struct container aligned = container_copy(longer.data, file.bytes + 1);
    aligned.data[file.bytes] = 0;
    ck_assert_int_eq(try_open(&aligned, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
    container_mend(aligned.data, aligned.bytes);
    ck_assert_int_eq(try_open(&aligned, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
    container_free(&longer);
    container_free(&aligned);
    container_free(&file);
}
END_TEST

/* Changes of header and table behind a right checksum. */
static const struct {
    size_t offset;
    uint8_t bytes[8];
    size_t count;
    int status;
    const char *word;
} headers[] = {
    {0, {'P'}, 1, LEGO_E_FORMAT, "magic"},
    {8, {2, 0}, 2, LEGO_E_VERSION, "version 1"},
    {12, {0}, 1, LEGO_E_FORMAT, "0 sections"},
    {12, {33}, 1, LEGO_E_FORMAT, "33 sections"},
    {12, {0xff, 0xff, 0xff, 0xff}, 4, LEGO_E_FORMAT, "sections"},
    {16, {16}, 1, LEGO_E_VERSION, "0x10"},
    {23, {0x80}, 1, LEGO_E_VERSION, "0x8000000000000000"},
    {32, {0xff, 0xff}, 2, LEGO_E_FORMAT, "truncated"},
    {64 + 8, {1}, 1, LEGO_E_FORMAT, "offset"},
    {64 + 15, {0xff}, 1, LEGO_E_FORMAT, "offset"},
    {64 + 16, {0, 0, 0, 0, 0, 0, 0, 0x80}, 8, LEGO_E_FORMAT, "do not fit"},
    {64 + 16, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8, LEGO_E_FORMAT, "do not fit"},
    {64 + 32, {1}, 1, LEGO_E_FORMAT, "second section GRAPH"},
    {64 + 32, {99, 0, 0, 0, 1}, 5, LEGO_E_VERSION, "kind 99"},
    {64, {99}, 1, LEGO_E_FORMAT, "no section GRAPH"},
};

START_TEST(hostile_headers)
{
    struct container file = full_file();
    struct format_header *header = (struct format_header *)file.data;
    struct lego_diag diag = LEGO_DIAG_INIT;
    memcpy(file.data + headers[_i].offset, headers[_i].bytes, headers[_i].count);
    if (header->section_count <= FORMAT_MAX_SECTIONS)
        header->checksum = format_header_checksum(header, (struct format_section *)(header + 1));
    int status = try_open(&file, LEGO_VERIFY_STRUCTURE, &diag);
    ck_assert_msg(status == headers[_i].status && strstr(diag.text, headers[_i].word), "%d: %s",
                  status, diag.text);
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

static char extra_name[] = "extra";
static uint32_t two_zeros[2];
static uint64_t vast_dims[2] = {UINT64_C(1) << 20, UINT64_C(1) << 20};
static uint64_t overflowing_dims[2] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
static uint64_t negative_dims[1] = {UINT64_C(1) << 63};

CHANGE(no_graph, model->n_graphs = 0)
CHANGE(no_entries, model->catalogues[0]->entries = 0)
CHANGE(many_entries, model->catalogues[0]->entries = 65537)
CHANGE(more_entries, model->catalogues[0]->entries += 1)
CHANGE(fewer_entries, model->catalogues[0]->entries -= 1)
CHANGE(few_entries, model->catalogues[0]->entries = 33)
CHANGE(tall_bricks, model->catalogues[0]->has_rows = true; model->catalogues[0]->rows = 17)
CHANGE(no_bricks, model->catalogues[0]->has_rows = true; model->catalogues[0]->rows = 0)
CHANGE(odd_bricks, model->catalogues[1]->has_rows = model->catalogues[1]->has_columns = true;
       model->catalogues[1]->rows = 2; model->catalogues[1]->columns = 8)
CHANGE(odd_dtype, model->catalogues[0]->dtype = LEGO_DTYPE_INT64)
CHANGE(infinite_scale, model->catalogues[0]->has_scale = true;
       model->catalogues[0]->scale = INFINITY)
CHANGE(no_layout, weight_of(model)->layout = 7)
CHANGE(no_catalogue, weight_of(model)->catalogues[1] = 2)
CHANGE(one_catalogue, weight_of(model)->n_catalogues = 1)
CHANGE(odd_view, model->layouts[0]->has_view = true; model->layouts[0]->view = 3)
CHANGE(odd_order, model->layouts[0]->column_order = 2)
CHANGE(odd_scales, model->layouts[0]->scale_kind = 9)
CHANGE(odd_coding, model->layouts[0]->codings[1] = 1)
CHANGE(odd_tile, model->layouts[0]->has_tile_rows = true; model->layouts[0]->tile_rows = 31)
CHANGE(tall_tile, model->layouts[0]->has_tile_rows = true; model->layouts[0]->tile_rows = 1024)
CHANGE(odd_groups, weight_of(model)->has_groups = true; weight_of(model)->groups = 3)
CHANGE(no_groups, weight_of(model)->has_groups = true; weight_of(model)->groups = 0)
CHANGE(not_permuted, weight_of(model)->permuted = false)
CHANGE(vast, weight_of(model)->n_dims = 2; weight_of(model)->dims = vast_dims)
CHANGE(overflowing, weight_of(model)->n_dims = 2; weight_of(model)->dims = overflowing_dims)
CHANGE(negative, weight_of(model)->n_dims = 1; weight_of(model)->dims = negative_dims)
CHANGE(int_bricks, weight_of(model)->has_dtype = true; weight_of(model)->dtype = LEGO_DTYPE_INT32)
CHANGE(odd_storage, model->graphs[0]->tensors[1]->storage = 4)
CHANGE(more_inline, model->graphs[0]->tensors[2]->dims[0] = 3)
CHANGE(no_operator, model->graphs[0]->nodes[0]->op = 1000)
CHANGE(odd_operator, model->strings[model->graphs[0]->nodes[0]->op][0] = 'X')
CHANGE(odd_string, model->strings[0][0] = (char)0xff)
CHANGE(no_attributes, model->graphs[0]->nodes[0]->attributes = 100)
CHANGE(no_attribute_name, model->graphs[0]->attributes[0]->items[0]->name = 100)
CHANGE(odd_attribute, model->graphs[0]->attributes[0]->items[0]->type = 9)
CHANGE(repeated_attribute, model->graphs[0]->attributes[0]->items[0]->name =
                               model->graphs[0]->attributes[0]->items[1]->name)
CHANGE(no_tensor, model->graphs[0]->attributes[1]->items[0]->i = 100)
CHANGE(own_graph, model->graphs[0]->attributes[1]->items[4]->i = 0)
CHANGE(no_subgraph, model->graphs[0]->attributes[1]->items[4]->i = 2)
CHANGE(orphan, model->graphs[0]->attributes[1]->n_items = 4)
CHANGE(shared_subgraph, model->graphs[0]->nodes[2]->has_attributes = true;
       model->graphs[0]->nodes[2]->attributes = 2)
CHANGE(no_value, model->graphs[0]->nodes[0]->inputs[0] = 100)
CHANGE(huge_value, model->graphs[0]->nodes[0]->inputs[0] = UINT32_MAX)
CHANGE(later_value, model->graphs[0]->nodes[0]->inputs[0] = 10)
CHANGE(absent_value, model->graphs[0]->nodes[0]->inputs[0] = 0)
CHANGE(odd_activation, model->graphs[0]->nodes[0]->activation = 77)
CHANGE(odd_arity, model->graphs[0]->nodes[0]->n_inputs = 1)
CHANGE(many_outputs, model->graphs[0]->nodes[0]->has_outputs = true;
       model->graphs[0]->nodes[0]->outputs = UINT32_MAX)
CHANGE(odd_absent, model->graphs[0]->names.len = 0; model->graphs[0]->outputs[0]->value = 1;
       model->graphs[0]->nodes[0]->n_absent_outputs = 1;
       model->graphs[0]->nodes[0]->absent_outputs = two_zeros + 1; two_zeros[1] = 7)
CHANGE(no_output, model->graphs[0]->outputs[0]->value = 100)
CHANGE(second_name, model->graphs[0]->outputs[0]->name = extra_name)
CHANGE(long_names, model->graphs[0]->names.len--)
CHANGE(shared_names, model->graphs[0]->names.data[0] = 9)
CHANGE(no_symbol, model->graphs[0]->inputs[0]->dims[0] = -3)
CHANGE(odd_dtype_of_input, model->graphs[0]->inputs[0]->has_dtype = true;
       model->graphs[0]->inputs[0]->dtype = 99)
CHANGE(no_capture, model->graphs[1]->captures[0][0] = 'x')
CHANGE(odd_labels, model->labels.len--)
CHANGE(odd_width, model->preprocess->width = 0)
CHANGE(zero_std, model->preprocess->std[0] = 0)
CHANGE(odd_mean, model->preprocess->n_mean = 2)
CHANGE(odd_channels, model->preprocess->has_channels = true; model->preprocess->channels = 400)
CHANGE(repeated_key, memcpy(model->metadata[0]->key, "codec", 6))
CHANGE(no_port, model->selftest->outputs[0]->name[0] = 'x')
CHANGE(odd_selftest, model->selftest->inputs[0]->tensor->dims[1] = 4)
CHANGE(vast_selftest, model->selftest->inputs[0]->tensor->dims[0] = 1 << 20)
CHANGE(odd_tolerance, model->selftest->tolerance = NAN)

static const struct {
    void (*change)(LegoPb__Model *model);
    int status;
    const char *word;
} messages[] = {
    {no_graph, LEGO_E_FORMAT, "0 graphs"},
    {no_entries, LEGO_E_FORMAT, "catalogue 0: 0 entries"},
    {many_entries, LEGO_E_FORMAT, "65537"},
    {more_entries, LEGO_E_FORMAT, "CATALOGUES"},
    {fewer_entries, LEGO_E_FORMAT, ""},
    {few_entries, LEGO_E_FORMAT, "not below its catalogue's 33"},
    {tall_bricks, LEGO_E_FORMAT, "17x4"},
    {no_bricks, LEGO_E_FORMAT, "0x4"},
    {odd_bricks, LEGO_E_FORMAT, "do not match"},
    {odd_dtype, LEGO_E_VERSION, "element type 7"},
    {infinite_scale, LEGO_E_FORMAT, "scale inf"},
    {no_layout, LEGO_E_FORMAT, "layout 7"},
    {no_catalogue, LEGO_E_FORMAT, "catalogue 2"},
    {one_catalogue, LEGO_E_FORMAT, "stages"},
    {odd_view, LEGO_E_VERSION, "view"},
    {odd_order, LEGO_E_VERSION, "order"},
    {odd_scales, LEGO_E_VERSION, "scale kind 9"},
    {odd_coding, LEGO_E_VERSION, "conv1.weight"},
    {odd_tile, LEGO_E_FORMAT, "conv1.weight"},
    {tall_tile, LEGO_E_FORMAT, "conv1.weight"},
    {odd_groups, LEGO_E_SHAPE, "conv1.weight"},
    {no_groups, LEGO_E_SHAPE, "conv1.weight"},
    {not_permuted, LEGO_E_FORMAT, "PERMUTATIONS"},
    {vast, LEGO_E_LIMIT, "2^32"},
    {overflowing, LEGO_E_OVERFLOW, "overflows"},
    {negative, LEGO_E_FORMAT, "dimension 0"},
    {int_bricks, LEGO_E_FORMAT, "FP32"},
    {odd_storage, LEGO_E_VERSION, "storage 4"},
    {more_inline, LEGO_E_FORMAT, "inline"},
    {no_operator, LEGO_E_FORMAT, "operator"},
    {odd_operator, LEGO_E_UNSUPPORTED, "'Xonv'"},
    {odd_string, LEGO_E_FORMAT, "UTF-8"},
    {no_attributes, LEGO_E_FORMAT, "attributes at node 0"},
    {no_attribute_name, LEGO_E_FORMAT, "name, 100"},
    {odd_attribute, LEGO_E_FORMAT, "type of attribute, 9"},
    {repeated_attribute, LEGO_E_FORMAT, "same name twice"},
    {no_tensor, LEGO_E_FORMAT, "tensor"},
    {own_graph, LEGO_E_FORMAT, "subgraph 0"},
    {no_subgraph, LEGO_E_FORMAT, "subgraph 2"},
    {orphan, LEGO_E_FORMAT, "subgraph 1"},
    {shared_subgraph, LEGO_E_FORMAT, "subgraph that another has"},
    {no_value, LEGO_E_FORMAT, "input out of range"},
    {huge_value, LEGO_E_FORMAT, "input out of range"},
    {later_value, LEGO_E_FORMAT, "before it is computed"},
    {absent_value, LEGO_E_FORMAT, "no value at input 0"},
    {odd_activation, LEGO_E_FORMAT, "activation 77"},
    {odd_arity, LEGO_E_FORMAT, "number of inputs"},
    {many_outputs, LEGO_E_FORMAT, "outputs"},
    {odd_absent, LEGO_E_FORMAT, "absent outputs"},
    {no_output, LEGO_E_FORMAT, "output"},
    {second_name, LEGO_E_FORMAT, "second name"},
    {long_names, LEGO_E_FORMAT, "names"},
    {shared_names, LEGO_E_FORMAT, "names"},
    {no_symbol, LEGO_E_FORMAT, "symbol"},
    {odd_dtype_of_input, LEGO_E_FORMAT, "type 99"},
    {no_capture, LEGO_E_FORMAT, "before it is computed"},
    {odd_labels, LEGO_E_FORMAT, "labels"},
    {odd_width, LEGO_E_FORMAT, "width"},
    {zero_std, LEGO_E_FORMAT, "std"},
    {odd_mean, LEGO_E_FORMAT, "mean"},
    {odd_channels, LEGO_E_FORMAT, "400 channels"},
    {repeated_key, LEGO_E_FORMAT, "repeated key"},
    {no_port, LEGO_E_FORMAT, "matches no port"},
    {odd_selftest, LEGO_E_FORMAT, "'image'"},
    {vast_selftest, LEGO_E_LIMIT, "generated input"},
    {odd_tolerance, LEGO_E_FORMAT, "tolerance"},
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
    /* An arena frees messages whose lengths and arrays were changed, too. */
    struct lego_arena *arena = lego_arena_create(0);
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    struct container file = full_file();
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t bytes = 0;
    const uint8_t *packed = container_section(&file, "GRAPH", &bytes);
    LegoPb__Model *model = lego_pb__model__unpack(&allocator, bytes, packed);
    ck_assert_ptr_nonnull(model);
    messages[_i].change(model);
    size_t changed_bytes = lego_pb__model__get_packed_size(model);
    uint8_t *changed = malloc(changed_bytes);
    lego_pb__model__pack(model, changed);
    struct container rebuilt = container_replace(&file, "GRAPH", changed, changed_bytes);
    int status = try_open(&rebuilt, LEGO_VERIFY_STRUCTURE, &diag);
    ck_assert_msg(status == messages[_i].status && strstr(diag.text, messages[_i].word), "%d: %s",
                  status, diag.text);
    ck_assert_msg(strstr(diag.text, "section"), "%s", diag.text);
    lego_arena_destroy(arena);
    free(changed);
    container_free(&rebuilt);
    container_free(&file);
}
END_TEST

/* A megabyte of empty submessages would unpack to a hundred. */
START_TEST(exploding_messages)
{
    static const uint8_t tags[] = {0x0a, 0x22, 0x42}; /* graphs, layouts, metadata */
    struct container file = full_file();
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t bytes = (size_t)4 << 20;
    uint8_t *message = calloc(bytes, 1);
    for (size_t i = 0; i < bytes; i += 2)
        message[i] = tags[_i];
    struct container rebuilt = container_replace(&file, "GRAPH", message, bytes);
    int status = try_open(&rebuilt, LEGO_VERIFY_STRUCTURE, &diag);
    ck_assert_msg(status == LEGO_E_LIMIT || status == LEGO_E_FORMAT, "%d: %s", status, diag.text);
    container_free(&rebuilt);

    rebuilt = container_replace(&file, "GRAPH", message, 1);
    ck_assert_int_eq(try_open(&rebuilt, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_FORMAT);
    container_free(&rebuilt);
    free(message);
    container_free(&file);
}
END_TEST

START_TEST(too_large_a_graph)
{
    struct container file = full_file();
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint8_t *message = calloc(FORMAT_MAX_GRAPH_BYTES + 1, 1);
    struct container rebuilt =
        container_replace(&file, "GRAPH", message, FORMAT_MAX_GRAPH_BYTES + 1);
    ck_assert_int_eq(try_open(&rebuilt, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_LIMIT);
    container_free(&rebuilt);
    container_free(&file);
    free(message);
}
END_TEST

START_TEST(only_bulk_waits_for_checksums)
{
    static const char *const bulk[] = {"INDICES", "DENSE", "SELFTEST"};
    static const char *const checked[] = {"GRAPH", "CATALOGUES", "SCALES", "PERMUTATIONS",
                                          "SIGNATURE"};
    struct container file = full_file();
    struct lego_diag diag = LEGO_DIAG_INIT;
    size_t bytes;
    for (size_t i = 0; i < 3; i++) {
        /* The last byte: of the indices' tail, of a float. */
        container_section(&file, bulk[i], &bytes);
        uint8_t *last = container_section(&file, bulk[i], &bytes) + bytes - 1;
        *last ^= 1;
        ck_assert_msg(try_open(&file, LEGO_VERIFY_STRUCTURE, &diag) == LEGO_OK, "%s", diag.text);
        ck_assert_int_eq(try_open(&file, LEGO_VERIFY_CHECKSUMS, &diag), LEGO_E_CHECKSUM);
        ck_assert_ptr_nonnull(strstr(diag.text, bulk[i]));
        *last ^= 1;
    }
    for (size_t i = 0; i < 5; i++) {
        uint8_t *first = container_section(&file, checked[i], &bytes);
        *first ^= 1;
        ck_assert_int_eq(try_open(&file, LEGO_VERIFY_STRUCTURE, &diag), LEGO_E_CHECKSUM);
        ck_assert_ptr_nonnull(strstr(diag.text, checked[i]));
        *first ^= 1;
    }
    container_free(&file);
}
END_TEST

START_TEST(misaligned_memory)
{
    struct container file = full_file();
    struct lego_package *package = NULL;
    ck_assert_int_eq(lego_package_open_memory(file.data + 8, file.bytes - 8, LEGO_VERIFY_STRUCTURE,
                                              &package, NULL),
                     LEGO_E_INVALID);
    container_free(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hostile");
    TCase *tests = tcase_create("hostile");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, every_flipped_bit_is_seen);
    tcase_add_test(tests, every_changed_byte_is_survived);
    tcase_add_test(tests, every_truncation_is_seen);
    tcase_add_test(tests, appended_bytes_are_seen);
    tcase_add_loop_test(tests, hostile_headers, 0, (int)(sizeof(headers) / sizeof(headers[0])));
    tcase_add_loop_test(tests, hostile_messages, 0, (int)(sizeof(messages) / sizeof(messages[0])));
    tcase_add_loop_test(tests, exploding_messages, 0, 3);
    tcase_add_test(tests, too_large_a_graph);
    tcase_add_test(tests, only_bulk_waits_for_checksums);
    tcase_add_test(tests, misaligned_memory);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
