/*
 * Reading tensors: shapes, dense elements, bricks.
 */
#include "codec/format/reader.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>

static struct lego_arena *arena_of(struct reader *reader)
{
    return reader->self->package.graph->arena;
}

int read_tensor_shape(struct reader *reader, const LegoPb__Tensor *message,
                      struct lego_tensor *ret_tensor)
{
    enum lego_dtype dtype = message->has_dtype ? message->dtype : LEGO_DTYPE_FLOAT32;
    size_t elems, bytes;
    if (lego_dtype_bytes(dtype) == 0)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "unknown element type %u", dtype);
    if (message->n_dims > LEGO_MAX_RANK)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "rank %zu is over %d", message->n_dims,
                         LEGO_MAX_RANK);
    struct lego_shape shape = {.rank = (int)message->n_dims};
    for (size_t i = 0; i < message->n_dims; i++) {
        if (message->dims[i] > INT64_MAX)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "dimension %zu is too large", i);
        shape.dim[i] = (int64_t)message->dims[i];
    }
    if (lego_shape_elems(&shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(dtype), &bytes))
        return lego_fail(reader->diag, LEGO_E_OVERFLOW, "the shape's size overflows");
    ret_tensor->dtype = dtype;
    ret_tensor->shape = shape;
    ret_tensor->bytes = bytes;
    return LEGO_OK;
}

static int read_half(struct reader *reader, enum format_kind section, struct lego_tensor *tensor)
{
    size_t elems = tensor->bytes / sizeof(float);
    size_t bytes = elems * sizeof(uint16_t);
    const void *stored;
    if (tensor->dtype != LEGO_DTYPE_FLOAT32)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "only FP32 can be stored as FP16");
    int status = read_take(reader, section, bytes, format_align(bytes, sizeof(uint16_t)), &stored);
    if (status != LEGO_OK)
        return status;
    float *data = lego_arena_calloc(arena_of(reader), elems, sizeof(*data));
    if (!data)
        return read_nomem(reader);
    uint16_t halves[256];
    for (size_t i = 0; status == LEGO_OK && i < elems;) {
        size_t some = lego_min_size(elems - i, sizeof(halves) / sizeof(halves[0]));
        status = read_copy(reader, (const uint16_t *)stored + i, halves, some * sizeof(halves[0]));
        for (size_t k = 0; status == LEGO_OK && k < some; k++)
            data[i + k] = lego_half_to_float(halves[k]);
        i += some;
    }
    tensor->data = data;
    return status;
}

/* An fp16 step, then a byte an element. */
static int read_packed(struct reader *reader, enum format_kind section, struct lego_tensor *tensor)
{
    size_t elems = tensor->bytes / sizeof(float), bytes;
    const void *stored;
    if (tensor->dtype != LEGO_DTYPE_FLOAT32 ||
        !(reader->head.header.features & FORMAT_FEATURE_PACKED))
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "only FP32 can be stored as bytes, with their feature bit");
    if (!lego_add_size(elems, sizeof(uint16_t), &bytes))
        return lego_fail(reader->diag, LEGO_E_OVERFLOW, "the shape's size overflows");
    int status = read_take(reader, section, bytes, format_align(bytes, sizeof(uint16_t)), &stored);
    if (status != LEGO_OK)
        return status;
    float *data = lego_arena_calloc(arena_of(reader), elems, sizeof(*data));
    if (!data)
        return read_nomem(reader);
    uint16_t half;
    int8_t levels[256];
    status = read_copy(reader, stored, &half, sizeof(half));
    float step = lego_half_to_float(half);
    if (status == LEGO_OK && !isfinite(step))
        status = lego_fail(reader->diag, LEGO_E_FORMAT, "its step is not finite");
    for (size_t i = 0; status == LEGO_OK && i < elems;) {
        size_t some = lego_min_size(elems - i, sizeof(levels));
        status = read_copy(reader, (const int8_t *)stored + sizeof(half) + i, levels, some);
        for (size_t k = 0; status == LEGO_OK && k < some; k++)
            data[i + k] = (float)levels[k] * step;
        i += some;
    }
    tensor->data = data;
    return status;
}

static int read_inline(struct reader *reader, const LegoPb__Tensor *message,
                       struct lego_tensor *tensor)
{
    size_t size = lego_dtype_bytes(tensor->dtype), elems = tensor->bytes / size;
    if ((tensor->dtype != LEGO_DTYPE_INT64 && tensor->dtype != LEGO_DTYPE_INT32) ||
        elems > FORMAT_MAX_INLINE_ELEMS || message->n_ints != elems)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "%zu inline elements do not fit its shape",
                         message->n_ints);
    char *data = lego_arena_calloc(arena_of(reader), elems, size);
    if (!data)
        return read_nomem(reader);
    for (size_t i = 0; i < elems; i++) {
        int64_t value = message->ints[i];
        if (size == sizeof(int32_t) && (value < INT32_MIN || value > INT32_MAX))
            return lego_fail(reader->diag, LEGO_E_FORMAT, "inline element %zu overflows", i);
        memcpy(data + i * size, &value, size); /* little-endian: the low bytes come first */
    }
    tensor->data = data;
    return LEGO_OK;
}

static int read_dense(struct reader *reader, const LegoPb__Tensor *message,
                      enum format_kind section, struct lego_tensor *tensor)
{
    switch (message->has_storage ? message->storage : FORMAT_STORAGE_RAW) {
    case FORMAT_STORAGE_RAW:
        return read_take(reader, section, tensor->bytes,
                         format_align(tensor->bytes, lego_dtype_bytes(tensor->dtype)),
                         &tensor->data);
    case FORMAT_STORAGE_HALF:
        return read_half(reader, section, tensor);
    case FORMAT_STORAGE_INLINE:
        return read_inline(reader, message, tensor);
    case FORMAT_STORAGE_PACKED:
        return read_packed(reader, section, tensor);
    default:
        return lego_fail(reader->diag, LEGO_E_VERSION, "unknown storage %u", message->storage);
    }
}

static int read_permutation(struct reader *reader, struct lego_coded *coded)
{
    uint32_t columns = coded->columns, bits = lego_index_bits(columns);
    size_t bytes = (size_t)(((uint64_t)columns * bits + 7) / 8);
    const void *stored;
    int status = read_take(reader, FORMAT_KIND_PERMUTATIONS, bytes, 1, &stored);
    if (status != LEGO_OK)
        return status;
    uint32_t *permutation = lego_arena_calloc(arena_of(reader), columns, sizeof(*permutation));
    uint8_t *seen = lego_arena_calloc(reader->scratch, columns / 8 + 1, 1);
    uint8_t *packed = lego_arena_calloc(reader->scratch, bytes, 1);
    if (!permutation || !seen || !packed)
        return read_nomem(reader);
    status = read_copy(reader, stored, packed, bytes);
    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 0; i < columns; i++)
        permutation[i] = lego_index_get(packed, bits, i);
    if (!format_permutation_is_sound(permutation, columns, seen))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "its columns are not permuted one to one");
    coded->permutation = permutation;
    return LEGO_OK;
}

static int read_scales(struct reader *reader, const LegoPb__Tensor *message,
                       struct lego_coded *coded)
{
    switch (coded->scale_kind) {
    case LEGO_SCALE_NONE:
        return LEGO_OK;
    case LEGO_SCALE_LAYER:
    case LEGO_SCALE_LOG:
        coded->layer_scale = message->has_layer_scale ? message->layer_scale : 1.0f;
        if (!isfinite(coded->layer_scale))
            return lego_fail(reader->diag, LEGO_E_FORMAT, "its scale is not finite");
        if (coded->scale_kind == LEGO_SCALE_LAYER)
            return LEGO_OK;
        return read_log_scales(
            reader, reader->model->layouts[message->layout]->scale_kind == FORMAT_SCALE_LOG_BYTES,
            coded);
    case LEGO_SCALE_ROW: {
        const void *scales;
        size_t bytes = (size_t)coded->rows * sizeof(uint16_t);
        int status = read_take(reader, FORMAT_KIND_SCALES, bytes, sizeof(uint16_t), &scales);
        coded->row_scales = status == LEGO_OK ? scales : NULL;
        return status;
    }
    default:
        return lego_fail(reader->diag, LEGO_E_VERSION, "unknown scale kind %u",
                         (unsigned)coded->scale_kind);
    }
}

/* What a layout message and the tensor say, before sizes are derived. */
static int read_layout(struct reader *reader, const LegoPb__Tensor *message,
                       struct lego_coded *coded)
{
    const LegoPb__Model *model = reader->model;
    if (message->layout >= model->n_layouts)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "layout %u does not exist", message->layout);
    const LegoPb__Layout *layout = model->layouts[message->layout];
    uint32_t stages = layout->n_codings > 0 ? (uint32_t)layout->n_codings : 1;
    if (layout->n_codings > LEGO_MAX_STAGES ||
        (message->n_catalogues > 0 && message->n_catalogues != stages))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "stages and catalogues do not match");
    if (layout->view > LEGO_VIEW_TRANSPOSED_CONV || layout->column_order > LEGO_COLUMNS_TAP_MAJOR)
        return lego_fail(reader->diag, LEGO_E_VERSION, "unknown matrix view or column order");

    coded->view = (enum lego_matrix_view)layout->view;
    coded->column_order = (enum lego_column_order)layout->column_order;
    coded->tile_rows = layout->tile_rows;
    coded->scale_kind = layout->scale_kind == FORMAT_SCALE_LOG_BYTES
                            ? LEGO_SCALE_LOG
                            : (enum lego_scale_kind)layout->scale_kind;
    if (layout->scale_kind == FORMAT_SCALE_LOG_BYTES &&
        !(reader->head.header.features & FORMAT_FEATURE_SQUEEZE))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "scales of kind 4 without their feature bit");
    coded->layer_scale = 1.0f;
    coded->groups = message->has_groups ? message->groups : 1;
    if (layout->has_lanes)
        return read_trellis_layout(reader, message, layout, coded);
    coded->stage_count = stages;
    for (uint32_t i = 0; i < stages; i++) {
        uint32_t catalogue = message->n_catalogues > 0 ? message->catalogues[i] : 0;
        if (catalogue >= reader->self->package.catalogue_count)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "catalogue %u does not exist", catalogue);
        coded->stages[i].catalogue = &reader->self->package.catalogues[catalogue];
        coded->stages[i].coding =
            layout->n_codings > 0 ? (enum lego_index_coding)layout->codings[i] : LEGO_INDEX_FIXED;
    }
    return LEGO_OK;
}

/* Indices are looked at only where their width allows ones that are too large. */
static int check_indices(struct reader *reader, const struct lego_coded *coded, uint32_t number)
{
    struct lego_stage stage = coded->stages[number];
    if (stage.catalogue->entries == 1u << stage.index_bits)
        return LEGO_OK;
    uint8_t *stream = malloc(stage.stream_bytes);
    if (!stream)
        return read_nomem(reader);
    int status = read_copy(reader, stage.stream, stream, stage.stream_bytes);
    stage.stream = stream;
    if (status == LEGO_OK && !format_indices_in_range(coded, &stage))
        status = lego_fail(reader->diag, LEGO_E_FORMAT,
                           "stage %u has an index that is not below its catalogue's %u entries",
                           number, stage.catalogue->entries);
    free(stream);
    return status;
}

static int read_coded(struct reader *reader, const LegoPb__Tensor *message,
                      struct lego_tensor *tensor)
{
    struct lego_coded *coded = lego_arena_calloc(arena_of(reader), 1, sizeof(*coded));
    if (!coded)
        return read_nomem(reader);
    if (tensor->dtype != LEGO_DTYPE_FLOAT32)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "bricks of a type that is not FP32");
    if (tensor->bytes / sizeof(float) > FORMAT_MAX_CODED_ELEMS)
        return lego_fail(reader->diag, LEGO_E_LIMIT, "more than 2^32 coded elements");
    int status = read_layout(reader, message, coded);
    if (status != LEGO_OK)
        return status;
    status = lego_coded_layout(coded, &tensor->shape);
    if (status != LEGO_OK)
        return lego_fail(reader->diag, status, "its shape, bricks and catalogues do not match");

    for (uint32_t i = 0; i < coded->stage_count; i++) {
        struct lego_stage *stage = &coded->stages[i];
        const void *stream;
        status = read_take(reader, FORMAT_KIND_INDICES, stage->stream_bytes, 1, &stream);
        if (status != LEGO_OK)
            return status;
        stage->stream = stream;
        status = check_indices(reader, coded, i);
        if (status != LEGO_OK)
            return status;
    }
    if (coded->trellis)
        status = read_trellis_stream(reader, message, coded);
    if (status == LEGO_OK)
        status = read_scales(reader, message, coded);
    if (status == LEGO_OK && message->permuted)
        status = read_permutation(reader, coded);
    tensor->coded = coded;
    return status;
}

static int read_integer(struct reader *reader, const LegoPb__Tensor *message,
                        enum format_kind section, struct lego_tensor *tensor)
{
    tensor->integer = message->integer;
    if (!tensor->integer)
        return LEGO_OK;
    if (!(reader->head.header.features & FORMAT_FEATURE_INTEGER))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "integer weights without their feature bit");
    if (tensor->dtype != LEGO_DTYPE_FLOAT32 || section == FORMAT_KIND_SELFTEST)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "integer weights that are no FP32 constant of a graph");
    return LEGO_OK;
}

int read_tensor(struct reader *reader, const LegoPb__Tensor *message, enum format_kind section,
                struct lego_tensor *ret_tensor)
{
    struct lego_tensor tensor = {.name = ret_tensor->name};
    int status = read_tensor_shape(reader, message, &tensor);
    if (status == LEGO_OK)
        status = read_integer(reader, message, section, &tensor);
    if (status == LEGO_OK && message->has_layout)
        status = read_coded(reader, message, &tensor);
    else if (status == LEGO_OK)
        status = read_dense(reader, message, section, &tensor);
    if (status == LEGO_OK)
        *ret_tensor = tensor;
    return status;
}
