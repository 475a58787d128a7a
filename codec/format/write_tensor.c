/*
 * Writing tensors: shapes, dense elements, bricks.
 */
#include "codec/format/trellis.h"
#include "codec/format/writer.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/base/status.h"

#include <string.h>

static int refuse(struct writer *writer, const struct lego_tensor *tensor, const char *what)
{
    return lego_fail(writer->diag, LEGO_E_INVALID, "tensor '%s': %s", tensor->name, what);
}

int write_add_part(struct writer *writer, enum format_kind kind, const void *data, size_t bytes,
                   size_t align, bool half)
{
    struct write_section *section = &writer->sections[kind];
    if (bytes == 0)
        return LEGO_OK;
    if (section->count == section->capacity) {
        size_t capacity = section->capacity ? 2 * section->capacity : 16;
        struct write_part *parts = write_alloc(writer, capacity, sizeof(*parts));
        if (!parts)
            return LEGO_E_NOMEM;
        if (section->count > 0)
            memcpy(parts, section->parts, section->count * sizeof(*parts));
        section->parts = parts;
        section->capacity = capacity;
    }
    section->parts[section->count++] = (struct write_part){data, bytes, align, half};
    return LEGO_OK;
}

void write_tensor_shape(struct writer *writer, const struct lego_tensor *tensor,
                        LegoPb__Tensor *message)
{
    (void)writer;
    message->has_dtype = tensor->dtype != LEGO_DTYPE_FLOAT32;
    message->dtype = tensor->dtype;
    message->n_dims = (size_t)tensor->shape.rank;
    message->dims = (uint64_t *)(uintptr_t)tensor->shape.dim; /* sizes: not negative */
}

/* True where every element survives the way to fp16 and back with all its bits. */
static bool fits_half(const struct lego_tensor *tensor)
{
    size_t elems = tensor->bytes / sizeof(float);
    for (size_t i = 0; i < elems; i++) {
        uint32_t bits, back_bits;
        float value;
        memcpy(&value, (const char *)tensor->data + i * sizeof(value), sizeof(value));
        float back = lego_half_to_float(lego_half_from_float(value));
        memcpy(&bits, &value, sizeof(bits));
        memcpy(&back_bits, &back, sizeof(back_bits));
        if (bits != back_bits)
            return false;
    }
    return true;
}

static int write_inline(struct writer *writer, const struct lego_tensor *tensor,
                        LegoPb__Tensor *message)
{
    size_t size = lego_dtype_bytes(tensor->dtype), elems = tensor->bytes / size;
    message->has_storage = true;
    message->storage = FORMAT_STORAGE_INLINE;
    message->n_ints = elems;
    message->ints = write_alloc(writer, elems, sizeof(*message->ints));
    if (!message->ints)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < elems; i++) {
        int32_t narrow;
        const char *at = (const char *)tensor->data + i * size;
        if (size == sizeof(narrow)) {
            memcpy(&narrow, at, sizeof(narrow));
            message->ints[i] = narrow;
        } else {
            memcpy(&message->ints[i], at, sizeof(message->ints[i]));
        }
    }
    return LEGO_OK;
}

bool format_is_inline(const struct lego_tensor *tensor)
{
    return tensor->data &&
           (tensor->dtype == LEGO_DTYPE_INT64 || tensor->dtype == LEGO_DTYPE_INT32) &&
           tensor->bytes / lego_dtype_bytes(tensor->dtype) <= FORMAT_MAX_INLINE_ELEMS;
}

/* True where all elements are whole multiples of `step`, which `ret_levels` then holds. */
static bool find_levels(const float *data, size_t elems, float step, int8_t *ret_levels)
{
    for (size_t i = 0; i < elems; i++) {
        float level = step > 0.0f ? rintf(data[i] / step) : 0.0f;
        if (!(fabsf(level) <= 127) || level * step != data[i])
            return false;
        ret_levels[i] = (int8_t)level;
    }
    return true;
}

/*
 * Stores a tensor as a byte an element behind an fp16 step where that loses nothing; *ret_part NULL
 * where it does, or saves nothing. The largest element is 127 steps, or 63, 31 or 15.
 */
static int pack_dense(struct writer *writer, const struct lego_tensor *tensor, uint8_t **ret_part)
{
    const float *data = tensor->data;
    size_t elems = tensor->bytes / sizeof(float);
    float most = 0.0f;
    *ret_part = NULL;
    for (size_t i = 0; i < elems; i++)
        most = fmaxf(most, fabsf(data[i]));
    if (elems <= sizeof(uint16_t) || !isfinite(most))
        return LEGO_OK;
    uint8_t *part = write_alloc(writer, elems + sizeof(uint16_t), 1);
    if (!part)
        return LEGO_E_NOMEM;
    for (int levels = 127; levels >= 15 && !*ret_part; levels /= 2) {
        uint16_t half = lego_half_from_float(most / (float)levels);
        float step = lego_half_to_float(half);
        if (!isfinite(step) || !find_levels(data, elems, step, (int8_t *)part + sizeof(half)))
            continue;
        memcpy(part, &half, sizeof(half));
        *ret_part = part;
    }
    return LEGO_OK;
}

static int write_dense(struct writer *writer, const struct lego_tensor *tensor,
                       enum format_kind section, LegoPb__Tensor *message)
{
    size_t bytes = tensor->bytes, align = lego_dtype_bytes(tensor->dtype);
    if (!tensor->data && bytes > 0)
        return refuse(writer, tensor, "it has no data");
    if (format_is_inline(tensor))
        return write_inline(writer, tensor, message);
    if (writer->package->pack_dense && tensor->dtype == LEGO_DTYPE_FLOAT32 && bytes > 0) {
        uint8_t *part;
        int status = pack_dense(writer, tensor, &part);
        if (status != LEGO_OK)
            return status;
        if (part) {
            message->has_storage = true;
            message->storage = FORMAT_STORAGE_PACKED;
            writer->features |= FORMAT_FEATURE_PACKED;
            bytes = bytes / sizeof(float) + sizeof(uint16_t);
            return write_add_part(writer, section, part, bytes,
                                  format_align(bytes, sizeof(uint16_t)), false);
        }
    }
    bool half = tensor->dtype == LEGO_DTYPE_FLOAT32 && fits_half(tensor);
    if (half) {
        bytes /= 2;
        align = sizeof(uint16_t);
        message->has_storage = true;
        message->storage = FORMAT_STORAGE_HALF;
    }
    return write_add_part(writer, section, tensor->data, bytes, format_align(bytes, align), half);
}

static int find_catalogue(struct writer *writer, const struct lego_catalogue *catalogue,
                          uint32_t *ret_number)
{
    const struct lego_package *package = writer->package;
    for (uint32_t i = 0; i < package->catalogue_count; i++) {
        if (&package->catalogues[i] == catalogue) {
            *ret_number = i;
            return LEGO_OK;
        }
    }
    return LEGO_E_INVALID;
}

static bool layouts_equal(const LegoPb__Layout *a, const LegoPb__Layout *b)
{
    return a->view == b->view && a->column_order == b->column_order &&
           a->tile_rows == b->tile_rows && a->scale_kind == b->scale_kind &&
           a->n_codings == b->n_codings && a->has_lanes == b->has_lanes && a->lanes == b->lanes &&
           a->rotation == b->rotation &&
           (a->n_codings == 0 ||
            memcmp(a->codings, b->codings, a->n_codings * sizeof(*a->codings)) == 0);
}

/* Finds the layout among those that other tensors have, or appends it. */
static int write_layout(struct writer *writer, const struct lego_coded *coded, uint32_t *ret_number)
{
    LegoPb__Layout layout = LEGO_PB__LAYOUT__INIT;
    uint32_t codings[LEGO_MAX_STAGES] = {0};
    layout.view = coded->view;
    layout.has_view = layout.view != 0;
    layout.column_order = coded->column_order;
    layout.has_column_order = layout.column_order != 0;
    if (coded->tile_rows != lego_default_tile_rows(coded->brick_rows))
        layout.tile_rows = coded->tile_rows;
    layout.has_tile_rows = layout.tile_rows != 0;
    layout.scale_kind = coded->scale_kind == LEGO_SCALE_LOG && writer->package->squeeze
                            ? FORMAT_SCALE_LOG_BYTES
                            : coded->scale_kind;
    layout.has_scale_kind = layout.scale_kind != 0;
    for (uint32_t i = 0; i < coded->stage_count; i++)
        codings[i] = coded->stages[i].coding;
    if (coded->trellis) {
        layout.has_lanes = true;
        layout.lanes = coded->trellis->lanes;
        layout.rotation = write_rotation_number(writer, coded);
        layout.has_rotation = layout.rotation != 0;
    }
    bool plain = coded->stage_count <= 1 && codings[0] == 0;
    layout.n_codings = plain ? 0 : coded->stage_count;
    layout.codings = codings;

    LegoPb__Model *model = &writer->model;
    for (size_t i = 0; i < model->n_layouts; i++) {
        if (layouts_equal(&layout, model->layouts[i])) {
            *ret_number = (uint32_t)i;
            return LEGO_OK;
        }
    }
    *ret_number = (uint32_t)model->n_layouts;
    LegoPb__Layout *copy = lego_arena_memdup(writer->arena, &layout, sizeof(layout));
    if (copy)
        copy->codings = lego_arena_memdup(writer->arena, codings, sizeof(codings));
    model->layouts = write_append(writer, model->layouts, &model->n_layouts,
                                  copy && copy->codings ? copy : NULL);
    return model->layouts ? LEGO_OK : LEGO_E_NOMEM;
}

static int write_permutation(struct writer *writer, const struct lego_tensor *tensor,
                             LegoPb__Tensor *message)
{
    const struct lego_coded *coded = tensor->coded;
    uint32_t bits = lego_index_bits(coded->columns);
    size_t bytes = (size_t)(((uint64_t)coded->columns * bits + 7) / 8);
    uint8_t *packed = write_alloc(writer, bytes, 1);
    uint8_t *seen = write_alloc(writer, coded->columns / 8 + 1, 1);
    if (!packed || !seen)
        return LEGO_E_NOMEM;
    if (!format_permutation_is_sound(coded->permutation, coded->columns, seen))
        return refuse(writer, tensor, "its columns are not permuted one to one");
    for (uint32_t i = 0; i < coded->columns; i++)
        lego_index_put(packed, bits, i, coded->permutation[i]);
    message->has_permuted = true;
    message->permuted = true;
    return write_add_part(writer, FORMAT_KIND_PERMUTATIONS, packed, bytes, 1, false);
}

static int write_scales(struct writer *writer, const struct lego_tensor *tensor,
                        LegoPb__Tensor *message)
{
    const struct lego_coded *coded = tensor->coded;
    if (coded->scale_kind == LEGO_SCALE_LAYER || coded->scale_kind == LEGO_SCALE_LOG) {
        if (!isfinite(coded->layer_scale))
            return refuse(writer, tensor, "its scale is not finite");
        message->has_layer_scale = coded->layer_scale != 1.0f;
        message->layer_scale = coded->layer_scale;
    }
    if (coded->scale_kind == LEGO_SCALE_LOG)
        return write_log_scales(writer, tensor);
    if (coded->scale_kind != LEGO_SCALE_ROW)
        return LEGO_OK;
    if (!coded->row_scales)
        return refuse(writer, tensor, "its row scales are missing");
    return write_add_part(writer, FORMAT_KIND_SCALES, coded->row_scales,
                          coded->rows * sizeof(uint16_t), sizeof(uint16_t), false);
}

/* What lego_coded_layout derives must be what the encoder used. */
static int check_coded(struct writer *writer, const struct lego_tensor *tensor)
{
    const struct lego_coded *coded = tensor->coded;
    if (tensor->dtype != LEGO_DTYPE_FLOAT32)
        return refuse(writer, tensor, "bricks of a type that is not FP32");
    if (tensor->bytes / sizeof(float) > FORMAT_MAX_CODED_ELEMS)
        return refuse(writer, tensor, "more than 2^32 coded elements");
    if ((coded->stage_count < 1 && !coded->trellis) || coded->stage_count > LEGO_MAX_STAGES ||
        coded->tile_rows == 0 || coded->scale_kind < LEGO_SCALE_NONE ||
        coded->scale_kind > LEGO_SCALE_LOG)
        return refuse(writer, tensor, "stages, tile rows or scales are out of range");
    if (coded->trellis)
        return write_check_trellis(writer, tensor);
    uint32_t number;
    for (uint32_t i = 0; i < coded->stage_count; i++) {
        if (find_catalogue(writer, coded->stages[i].catalogue, &number) != LEGO_OK)
            return refuse(writer, tensor, "a stage's catalogue is not the package's");
    }
    struct lego_coded derived = *coded;
    if (lego_coded_layout(&derived, &tensor->shape) != LEGO_OK || derived.rows != coded->rows ||
        derived.columns != coded->columns || derived.taps != coded->taps ||
        derived.brick_rows != coded->brick_rows || derived.brick_columns != coded->brick_columns)
        return refuse(writer, tensor, "its shape, bricks and catalogues do not match");
    for (uint32_t i = 0; i < coded->stage_count; i++) {
        const struct lego_stage *stage = &coded->stages[i], *expected = &derived.stages[i];
        if (stage->index_bits != expected->index_bits ||
            stage->tile_stride_bytes != expected->tile_stride_bytes ||
            stage->stream_bytes != expected->stream_bytes || stage->tile_offsets ||
            (!stage->stream && stage->stream_bytes > 0))
            return refuse(writer, tensor, "a stage's stream has not the size of its indices");
        if (!format_indices_in_range(coded, stage))
            return refuse(writer, tensor, "an index is not below its catalogue's entries");
    }
    return LEGO_OK;
}

static int write_stages(struct writer *writer, const struct lego_coded *coded,
                        LegoPb__Tensor *message)
{
    message->catalogues = write_alloc(writer, coded->stage_count, sizeof(*message->catalogues));
    if (!message->catalogues)
        return LEGO_E_NOMEM;
    bool all_first = true;
    for (uint32_t i = 0; i < coded->stage_count; i++) {
        const struct lego_stage *stage = &coded->stages[i];
        find_catalogue(writer, stage->catalogue, &message->catalogues[i]);
        all_first = all_first && message->catalogues[i] == 0;
        int status = write_add_part(writer, FORMAT_KIND_INDICES, stage->stream, stage->stream_bytes,
                                    1, false);
        if (status != LEGO_OK)
            return status;
    }
    message->n_catalogues = all_first ? 0 : coded->stage_count;
    return LEGO_OK;
}

static int write_coded(struct writer *writer, const struct lego_tensor *tensor,
                       LegoPb__Tensor *message)
{
    const struct lego_coded *coded = tensor->coded;
    int status = check_coded(writer, tensor);
    if (status == LEGO_OK)
        status = write_layout(writer, coded, &message->layout);
    if (status == LEGO_OK)
        status = coded->trellis ? write_trellis(writer, tensor, message)
                                : write_stages(writer, coded, message);
    if (status == LEGO_OK)
        status = write_scales(writer, tensor, message);
    if (status == LEGO_OK && coded->permutation)
        status = write_permutation(writer, tensor, message);
    message->has_layout = true;
    message->has_groups = coded->groups != 1;
    message->groups = coded->groups;
    return status;
}

int write_tensor(struct writer *writer, const struct lego_tensor *tensor, enum format_kind section,
                 LegoPb__Tensor *message)
{
    write_tensor_shape(writer, tensor, message);
    if (tensor->integer) {
        if (tensor->dtype != LEGO_DTYPE_FLOAT32 || section == FORMAT_KIND_SELFTEST)
            return refuse(writer, tensor, "integer weights that are no FP32 constant of a graph");
        message->has_integer = message->integer = true;
        writer->features |= FORMAT_FEATURE_INTEGER;
    }
    return tensor->coded ? write_coded(writer, tensor, message)
                         : write_dense(writer, tensor, section, message);
}
