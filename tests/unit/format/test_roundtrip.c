/*
 * What is written is what is read: every feature, to the byte and to the value.
 */
#include "codec/base/status.h"
#include "codec/format/internal.h"
#include "tests/support/container.h"
#include "tests/support/sample.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lego_package *open_or_fail(const struct container *container)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_package_open_memory(container->data, container->bytes, LEGO_VERIFY_CHECKSUMS,
                                          &package, &diag);
    ck_assert_msg(status == LEGO_OK, "%s", diag.text);
    return package;
}

static void assert_same_bytes(const struct container *a, const struct container *b)
{
    ck_assert_uint_eq(a->bytes, b->bytes);
    ck_assert_mem_eq(a->data, b->data, a->bytes);
}

static void assert_same_values(const struct lego_tensor *a, const struct lego_tensor *b)
{
    ck_assert_int_eq(a->dtype, b->dtype);
    ck_assert(lego_shape_equal(&a->shape, &b->shape));
    ck_assert_uint_eq(a->bytes, b->bytes);
    ck_assert_int_eq(a->coded != NULL, b->coded != NULL);
    if (!a->coded) {
        ck_assert_mem_eq(a->data, b->data, a->bytes);
        return;
    }
    float *x = calloc(a->bytes + 1, 1), *y = calloc(a->bytes + 1, 1);
    sample_decode(a, x);
    ck_assert_int_eq(lego_coded_decode(b, y, b->bytes / sizeof(float), NULL), LEGO_OK);
    ck_assert_mem_eq(x, y, a->bytes);
    free(x);
    free(y);
}

/* Writes, reads, compares the weight, writes again. */
static void assert_round_trip(const struct sample_matrix *matrix)
{
    struct lego_package *package = sample_package(matrix);
    struct container first = container_write(package);
    struct lego_package *read = open_or_fail(&first);
    ck_assert_uint_eq(read->graph->tensor_count, 1);
    assert_same_values(&package->graph->tensors[0], &read->graph->tensors[0]);
    struct container second = container_write(read);
    assert_same_bytes(&first, &second);
    lego_package_destroy(package);
    lego_package_destroy(read);
    container_free(&first);
    container_free(&second);
}

START_TEST(every_brick_shape)
{
    for (uint32_t columns = 1; columns <= 16; columns++)
        assert_round_trip(&(struct sample_matrix){
            .brick_rows = (uint32_t)_i, .brick_columns = columns, .shape = {4, {37, 5, 3, 1}}});
}
END_TEST

static const uint32_t entry_counts[] = {1,   2,    3,    15,    16,    17,   255,
                                        256, 1000, 4096, 32767, 65535, 65536};

START_TEST(every_catalogue)
{
    static const enum lego_dtype dtypes[] = {LEGO_DTYPE_INT8, LEGO_DTYPE_FLOAT16,
                                             LEGO_DTYPE_FLOAT32};
    for (int i = 0; i < 3; i++)
        assert_round_trip(&(struct sample_matrix){
            .entries = entry_counts[_i], .dtype = dtypes[i], .brick_rows = 2, .brick_columns = 3});
}
END_TEST

START_TEST(every_layout)
{
    for (uint32_t stages = 1; stages <= LEGO_MAX_STAGES; stages++) {
        for (int scale = 0; scale <= LEGO_SCALE_ROW; scale++) {
            for (int bits = 0; bits < 4; bits++) {
                struct sample_matrix matrix = {
                    .shape = {4, {48, 6, 3, 3}},
                    .stages = stages,
                    .scale_kind = (enum lego_scale_kind)scale,
                    .permuted = bits & 1,
                    .column_order = (enum lego_column_order)(bits >> 1),
                    .groups = 3,
                    .view = scale == 1 ? LEGO_VIEW_TRANSPOSED_CONV : LEGO_VIEW_OUT_FIRST,
                };
                assert_round_trip(&matrix);
                matrix.groups = 1;
                matrix.tile_rows = 16;
                matrix.view = LEGO_VIEW_OUT_LAST;
                assert_round_trip(&matrix);
            }
        }
    }
}
END_TEST

START_TEST(edges)
{
    assert_round_trip(&(struct sample_matrix){.shape = {1, {1}}});
    assert_round_trip(&(struct sample_matrix){.shape = {2, {1, 1}}, .permuted = true});
    assert_round_trip(&(struct sample_matrix){.shape = {2, {65, 1}}, .brick_rows = 16});
    assert_round_trip(&(struct sample_matrix){.shape = {2, {1, 65}}, .brick_columns = 16});
    assert_round_trip(&(struct sample_matrix){.shape = {8, {2, 1, 2, 1, 2, 1, 2, 1}}});
    assert_round_trip(&(struct sample_matrix){.shape = {2, {33, 1000}}, .permuted = true});
}
END_TEST

static void assert_texts(const struct lego_package *a, const struct lego_package *b)
{
    ck_assert_uint_eq(b->label_count, a->label_count);
    for (uint32_t i = 0; i < a->label_count; i++)
        ck_assert_str_eq(b->labels[i], a->labels[i]);
    ck_assert_str_eq(lego_package_metadata(b, "producer"), "sample");
    ck_assert_str_eq(lego_package_metadata(b, "codec"), "bricks");
    ck_assert_ptr_null(lego_package_metadata(b, "other"));
    ck_assert_uint_eq(b->peak_bytes, a->peak_bytes);
    ck_assert_uint_eq(b->graph->original_bytes, a->graph->original_bytes);
    ck_assert_uint_eq(b->graph->original_weights, a->graph->original_weights);
    ck_assert_uint_eq(b->signature_bytes, a->signature_bytes);
    ck_assert_mem_eq(b->signature, a->signature, a->signature_bytes);

    struct lego_preprocess x = a->preprocess, y = b->preprocess;
    ck_assert_str_eq(x.input, y.input);
    ck_assert(x.present == y.present && x.nhwc == y.nhwc && x.bgr == y.bgr);
    ck_assert(x.channels == y.channels && x.width == y.width && x.height == y.height);
    ck_assert(x.scale == y.scale && x.resize == y.resize && x.resize_side == y.resize_side);
    ck_assert(x.pad_value == y.pad_value && x.class_offset == y.class_offset);
    ck_assert_mem_eq(x.mean, y.mean, sizeof(x.mean));
    ck_assert_mem_eq(x.std, y.std, sizeof(x.std));
}

static void assert_selftest(const struct lego_selftest *a, const struct lego_selftest *b)
{
    ck_assert_uint_eq(b->input_count, 1);
    ck_assert_uint_eq(b->output_count, 1);
    ck_assert(b->generated && b->seed == a->seed && b->tolerance == a->tolerance);
    float expected[192], input[192];
    ck_assert_uint_eq(b->inputs[0].bytes, sizeof(expected));
    lego_selftest_fill(7, 0, &b->inputs[0], expected);
    lego_selftest_input(b, 0, input);
    ck_assert_mem_eq(input, expected, sizeof(expected));
    assert_same_values(&a->outputs[0], &b->outputs[0]);
}

static void assert_convolution(const struct lego_graph *graph)
{
    const struct lego_node *conv = &graph->nodes[0];
    size_t count;
    ck_assert_int_eq(conv->op, LEGO_OP_Conv);
    ck_assert_str_eq(conv->name, "conv1");
    ck_assert_int_eq(conv->activation, LEGO_ACT_CLAMP);
    ck_assert(conv->act_lo == 0.0f && conv->act_hi == 6.0f);
    ck_assert_int_eq(lego_node_ints(conv, "pads", &count)[3], 1);
    ck_assert_uint_eq(count, 4);
    ck_assert_int_eq(lego_node_int(conv, "group", 0), 1);
    ck_assert_str_eq(lego_node_string(conv, "auto_pad", ""), "NOTSET");
    ck_assert_ptr_null(lego_node_attr(conv, "lego.bn_scale")); /* calibration only */
    const struct lego_tensor *bias = lego_node_constant(graph, conv, 2);
    ck_assert_str_eq(bias->name, "conv1.bias");
    ck_assert(((const float *)bias->data)[2] == 2.0f);
}

static void assert_attributes(const struct lego_graph *graph)
{
    const struct lego_node *node = &graph->nodes[1];
    ck_assert_uint_eq(node->attr_count, 5);
    ck_assert(lego_node_float(node, "alpha", 0) == 0.1f);
    const struct lego_attr *value = lego_node_attr(node, "value");
    ck_assert(((const float *)graph->tensors[value->tensor].data)[1] == 0.3f);
    ck_assert(lego_node_attr(node, "table")->floats[0] == 0.1f);
    ck_assert_str_eq(lego_node_attr(node, "words")->strings[1], "two");
    const struct lego_graph *body = lego_node_attr(node, "body")->graph;
    ck_assert_uint_eq(body->node_count, 1);
    ck_assert_str_eq(body->values[body->nodes[0].inputs[0]].name, "conv");
}

START_TEST(everything_at_once)
{
    struct lego_package *package = sample_full();
    struct container first = container_write(package);
    struct lego_package *read = open_or_fail(&first);
    const struct lego_graph *graph = read->graph;

    assert_texts(package, read);
    assert_selftest(&package->selftest, &read->selftest);
    ck_assert_str_eq(graph->name, "full");
    ck_assert_uint_eq(graph->node_count, package->graph->node_count);
    ck_assert_uint_eq(graph->value_count, package->graph->value_count + 1); /* the table's */
    const struct lego_value *image = &graph->values[graph->inputs[0]];
    ck_assert_str_eq(image->name, "image");
    ck_assert_int_eq(image->shape.dim[0], -1);
    ck_assert_str_eq(graph->symbols[0], "N");
    const struct lego_value *logits = &graph->values[graph->outputs[0]];
    ck_assert_str_eq(logits->name, "logits");
    ck_assert_int_eq(logits->shape.dim[1], 10);
    assert_convolution(graph);
    assert_attributes(graph);
    assert_same_values(lego_node_constant(package->graph, &package->graph->nodes[0], 1),
                       lego_node_constant(graph, &graph->nodes[0], 1));
    const struct lego_node *gemm = &graph->nodes[graph->node_count - 1];
    ck_assert_uint_eq(gemm->input_count, 3);
    ck_assert_int_eq(gemm->inputs[2], -1);

    struct container second = container_write(read);
    assert_same_bytes(&first, &second);
    lego_package_destroy(package);
    lego_package_destroy(read);
    container_free(&first);
    container_free(&second);
}
END_TEST

START_TEST(stored_selftest)
{
    struct lego_package *package = sample_full();
    float input[192];
    for (int i = 0; i < 192; i++)
        input[i] = (float)i / 7.0f;
    package->selftest.generated = false;
    package->selftest.inputs[0].data = input;
    struct container file = container_write(package);
    struct lego_package *read = open_or_fail(&file);
    ck_assert(!read->selftest.generated);
    assert_same_values(&package->selftest.inputs[0], &read->selftest.inputs[0]);
    float again[192];
    lego_selftest_input(&read->selftest, 0, again);
    ck_assert_mem_eq(again, input, sizeof(input));
    lego_package_destroy(package);
    lego_package_destroy(read);
    container_free(&file);
}
END_TEST

START_TEST(dense_types)
{
    static const enum lego_dtype dtypes[] = {
        LEGO_DTYPE_FLOAT32, LEGO_DTYPE_UINT8,   LEGO_DTYPE_INT8,   LEGO_DTYPE_UINT16,
        LEGO_DTYPE_INT16,   LEGO_DTYPE_INT32,   LEGO_DTYPE_INT64,  LEGO_DTYPE_BOOL,
        LEGO_DTYPE_FLOAT16, LEGO_DTYPE_FLOAT64, LEGO_DTYPE_UINT32, LEGO_DTYPE_UINT64,
        LEGO_DTYPE_BFLOAT16};
    static const int64_t sizes[] = {0, 1, 3, 64, 65, 700};
    struct lego_shape shape = {1, {sizes[_i]}};
    uint8_t data[8 * 700];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 37 + 11);
    struct lego_package *package;
    ck_assert_int_eq(lego_package_create(&package), LEGO_OK);
    struct lego_graph *graph = package->graph;
    for (uint32_t i = 0; i < 13; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%u", i);
        int32_t tensor = lego_graph_add_tensor(graph, name, dtypes[i], &shape);
        int32_t value = lego_graph_add_value(graph, name, dtypes[i], &shape);
        graph->tensors[tensor].data = data;
        graph->values[value].tensor = tensor;
        ck_assert_int_eq(lego_graph_add_output(graph, value), LEGO_OK);
    }
    struct container file = container_write(package);
    struct lego_package *read = open_or_fail(&file);
    ck_assert_uint_eq(read->graph->tensor_count, 13);
    for (uint32_t i = 0; i < 13; i++) {
        const struct lego_tensor *tensor = &read->graph->tensors[i];
        assert_same_values(&graph->tensors[i], tensor);
        ck_assert_uint_eq((uintptr_t)tensor->data % lego_dtype_bytes(tensor->dtype), 0);
    }
    lego_package_destroy(package);
    lego_package_destroy(read);
    container_free(&file);
}
END_TEST

/* Opens and decodes a file whose end is the end of readable memory. */
static void assert_guarded(const struct container *file)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (file->bytes + page - 1) / page * page;
    ck_assert_uint_eq(file->bytes % FORMAT_SECTION_ALIGN, 0);
    uint8_t *memory =
        mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    ck_assert_int_eq(mprotect(memory + pages, page, PROT_NONE), 0);
    struct container guarded = {memory + pages - file->bytes, file->bytes};
    memcpy(guarded.data, file->data, file->bytes);
    struct lego_package *read = open_or_fail(&guarded);
    for (uint32_t i = 0; i < read->graph->tensor_count; i++)
        assert_same_values(&read->graph->tensors[i], &read->graph->tensors[i]);
    const struct lego_coded *coded = read->graph->tensors[0].coded;
    if (coded) {
        const struct lego_stage *last = &coded->stages[coded->stage_count - 1];
        volatile uint8_t tail = last->stream[last->stream_bytes + LEGO_STREAM_TAIL_BYTES - 1];
        (void)tail; /* a kernel may read so far */
    }
    lego_package_destroy(read);
    munmap(memory, pages + page);
}

START_TEST(nothing_is_read_behind_the_end)
{
    /* 48 bricks of one byte and the tail: 64 bytes of indices, the file's last section. */
    struct lego_package *package = sample_package(
        &(struct sample_matrix){.entries = 256, .shape = {2, {32, 24}}, .dtype = LEGO_DTYPE_INT8});
    struct container file = container_write(package);
    assert_guarded(&file);
    container_free(&file);
    lego_package_destroy(package);

    package = sample_full(); /* ends in a signature of 64 bytes */
    file = container_write(package);
    assert_guarded(&file);
    container_free(&file);
    lego_package_destroy(package);
}
END_TEST

START_TEST(files_and_descriptors)
{
    char path[] = "/tmp/lego-roundtrip-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    struct lego_package *package = sample_full(), *read = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t bytes = 0;
    ck_assert_int_eq(lego_package_write(package, path, &bytes, &diag), LEGO_OK);
    close(fd);
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(bytes, (uint64_t)info.st_size);

    ck_assert_int_eq(lego_package_open(path, LEGO_VERIFY_STRUCTURE, &read, &diag), LEGO_OK);
    ck_assert_uint_eq(read->file_bytes, bytes);
    size_t mapped = 0;
    ck_assert_ptr_nonnull(lego_package_mapping(read, &mapped));
    ck_assert_uint_eq(mapped, bytes);
    uint32_t count = 0;
    const struct lego_section_info *sections = lego_package_sections(read, &count);
    ck_assert_uint_eq(count, 8);
    ck_assert_str_eq(sections[0].name, "GRAPH");
    lego_package_destroy(read);

    fd = open(path, O_RDONLY);
    ck_assert_int_eq(lego_package_open_fd(fd, "given", LEGO_VERIFY_CHECKSUMS, &read, &diag),
                     LEGO_OK);
    close(fd); /* the mapping stays */
    ck_assert_str_eq(read->labels[0], "cat");
    lego_package_destroy(read);
    unlink(path);
    lego_package_destroy(package);
}
END_TEST

static void assert_open_fails(const char *path, int expected, const char *word)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(lego_package_open(path, LEGO_VERIFY_STRUCTURE, &package, &diag), expected);
    ck_assert_ptr_null(package);
    ck_assert_msg(strstr(diag.text, path) && strstr(diag.text, word), "%s", diag.text);
}

START_TEST(what_is_no_file)
{
    char folder[] = "/tmp/lego-folder-XXXXXX", fifo[64], missing[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    snprintf(missing, sizeof(missing), "%s/missing", folder);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    assert_open_fails(fifo, LEGO_E_INVALID, "regular");
    assert_open_fails(folder, LEGO_E_INVALID, "regular");
    assert_open_fails(missing, LEGO_E_NOT_FOUND, "");

    struct lego_package *package = sample_full();
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t bytes = 42;
    ck_assert_int_eq(lego_package_write(package, fifo, &bytes, &diag), LEGO_E_INVALID);
    snprintf(missing, sizeof(missing), "%s/no/model.lego", folder);
    ck_assert_int_eq(lego_package_write(package, missing, &bytes, &diag), LEGO_E_NOT_FOUND);
    ck_assert_uint_eq(bytes, 42);
    lego_package_destroy(package);
    unlink(fifo);
    ck_assert_int_eq(rmdir(folder), 0); /* no temporary file is left */
}
END_TEST

/* What the writer must not put into a file. */
static void assert_refused(struct lego_package *package, const char *word)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_package_write(package, "/tmp/lego-never-written", NULL, &diag);
    ck_assert_msg(status == LEGO_E_INVALID, "%d: %s", status, diag.text);
    ck_assert_msg(strstr(diag.text, word), "%s", diag.text);
    ck_assert_int_ne(access("/tmp/lego-never-written", F_OK), 0);
    lego_package_destroy(package);
}

START_TEST(writer_refuses_unsound_packages)
{
    struct lego_package *package = sample_package(&(struct sample_matrix){.entries = 5});
    memset((uint8_t *)(uintptr_t)package->graph->tensors[0].coded->stages[0].stream, 0xff, 1);
    assert_refused(package, "index");

    package = sample_package(&(struct sample_matrix){.permuted = true});
    ((uint32_t *)(uintptr_t)package->graph->tensors[0].coded->permutation)[0] = 1;
    assert_refused(package, "permuted");

    package = sample_package(&(struct sample_matrix){.entries = 5});
    package->catalogue_count = 0;
    assert_refused(package, "catalogue");

    package = sample_package(&(struct sample_matrix){.entries = 5});
    package->catalogues[0].scale = 2.0f;
    assert_refused(package, "catalogue");

    package = sample_full();
    package->labels[1] = "\xff";
    assert_refused(package, "UTF-8");

    package = sample_full();
    package->preprocess.std[0] = 0.0f;
    assert_refused(package, "std");

    package = sample_full();
    float other[192] = {0};
    package->selftest.inputs[0].data = other;
    assert_refused(package, "seed");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("roundtrip");
    TCase *tests = tcase_create("roundtrip");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, every_brick_shape, 1, 17);
    tcase_add_loop_test(tests, every_catalogue, 0,
                        (int)(sizeof(entry_counts) / sizeof(entry_counts[0])));
    tcase_add_test(tests, every_layout);
    tcase_add_test(tests, edges);
    tcase_add_test(tests, everything_at_once);
    tcase_add_test(tests, stored_selftest);
    tcase_add_loop_test(tests, dense_types, 0, 6);
    tcase_add_test(tests, nothing_is_read_behind_the_end);
    tcase_add_test(tests, files_and_descriptors);
    tcase_add_test(tests, what_is_no_file);
    tcase_add_test(tests, writer_refuses_unsound_packages);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
