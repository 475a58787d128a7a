/*
 * Reading what trellis-coded tensors need: tables, rotations, streams, log scales.
 */
#include "codec/format/reader.h"
#include "codec/format/trellis.h"

#include "codec/base/status.h"

#include <string.h>

#define TABLE_BYTES 4

static struct lego_arena *arena_of(struct reader *reader)
{
    return reader->self->package.graph->arena;
}

static int read_tables(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    const ProtobufCBinaryData *bytes = &reader->model->trellis_tables;
    size_t count = bytes->len / TABLE_BYTES;

    if (bytes->len % TABLE_BYTES != 0 || count > FORMAT_MAX_TABLES)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "trellis tables of %zu bytes", bytes->len);
    struct lego_trellis_table *tables = lego_arena_calloc(arena_of(reader), count, sizeof(*tables));
    if (!tables)
        return read_nomem(reader);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = bytes->data + i * TABLE_BYTES;
        tables[i] = (struct lego_trellis_table){
            .zero = at[0], .ratio = at[1], .bend = at[2], .most = at[3]};
        if (!lego_trellis_table_fill(&tables[i]))
            return lego_fail(reader->diag, LEGO_E_FORMAT, "trellis table %zu has %u levels", i,
                             at[3]);
    }
    package->trellis_tables = tables;
    package->trellis_table_count = (uint32_t)count;
    return LEGO_OK;
}

static int read_rotation(struct reader *reader, const LegoPb__Rotation *message,
                         struct lego_rotation *rotation)
{
    size_t taps = message->taps, square = taps * taps;

    if (taps < 2 || taps > KERN_TRELLIS_MAX_TAPS || message->classes.len != taps ||
        message->matrix.len != square * sizeof(uint16_t))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "a rotation of %zu taps", taps);
    rotation->taps = message->taps;
    rotation->matrix =
        lego_arena_memdup(arena_of(reader), message->matrix.data, message->matrix.len);
    rotation->classes = lego_arena_memdup(arena_of(reader), message->classes.data, taps);
    if (!rotation->matrix || !rotation->classes)
        return read_nomem(reader);
    for (size_t i = 0; i < square; i++)
        if ((rotation->matrix[i] & 0x7c00) == 0x7c00)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "a rotation is not finite");
    for (size_t i = 0; i < taps; i++) {
        if (rotation->classes[i] >= LEGO_TRELLIS_MAX_CLASSES)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "class %u does not exist",
                             rotation->classes[i]);
        if (rotation->classes[i] >= rotation->class_count)
            rotation->class_count = rotation->classes[i] + 1u;
    }
    return LEGO_OK;
}

int read_trellis_parts(struct reader *reader)
{
    struct lego_package *package = &reader->self->package;
    size_t count = reader->model->n_rotations;
    bool allowed = reader->head.header.features & FORMAT_FEATURE_TRELLIS;

    if (!allowed && (count > 0 || reader->model->trellis_tables.len > 0))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "trellis tables without their feature bit");
    int status = read_tables(reader);
    if (status == LEGO_OK && count > FORMAT_MAX_ROTATIONS)
        status = lego_fail(reader->diag, LEGO_E_LIMIT, "%zu rotations", count);
    if (status != LEGO_OK)
        return status;
    package->rotations = lego_arena_calloc(arena_of(reader), count, sizeof(*package->rotations));
    if (!package->rotations)
        return read_nomem(reader);
    package->rotation_count = (uint32_t)count;
    for (size_t i = 0; status == LEGO_OK && i < count; i++)
        status = read_rotation(reader, reader->model->rotations[i], &package->rotations[i]);
    return status;
}

int read_trellis_layout(struct reader *reader, const LegoPb__Tensor *message,
                        const LegoPb__Layout *layout, struct lego_coded *coded)
{
    const struct lego_package *package = &reader->self->package;
    struct lego_trellis *trellis = lego_arena_calloc(arena_of(reader), 1, sizeof(*trellis));

    if (!trellis)
        return read_nomem(reader);
    if (!(reader->head.header.features & FORMAT_FEATURE_TRELLIS))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "a trellis without its feature bit");
    if (layout->rotation > package->rotation_count)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "rotation %u does not exist",
                         layout->rotation);
    trellis->lanes = layout->lanes;
    if (layout->rotation > 0)
        trellis->rotation = &package->rotations[layout->rotation - 1];
    if (layout->n_codings > 0 || message->n_catalogues > 0 || message->permuted ||
        message->n_tables != 2 * lego_trellis_classes(trellis))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "a trellis with %zu tables, or with bricks",
                         message->n_tables);
    for (size_t i = 0; i < message->n_tables; i++) {
        if (message->tables[i] >= package->trellis_table_count)
            return lego_fail(reader->diag, LEGO_E_FORMAT, "trellis table %u does not exist",
                             message->tables[i]);
        trellis->tables[i / 2][i % 2] = &package->trellis_tables[message->tables[i]];
    }
    coded->trellis = trellis;
    return LEGO_OK;
}

int read_trellis_stream(struct reader *reader, const LegoPb__Tensor *message,
                        struct lego_coded *coded)
{
    /* The layout above made it; nobody else has seen it yet. */
    struct lego_trellis *trellis = (struct lego_trellis *)(uintptr_t)coded->trellis;
    size_t tiles = lego_coded_tiles(coded);
    const void *stream;

    if (message->n_tile_words != tiles)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "%zu sizes for %zu tiles",
                         message->n_tile_words, tiles);
    uint64_t *offsets = lego_arena_calloc(arena_of(reader), tiles + 1, sizeof(*offsets));
    if (!offsets)
        return read_nomem(reader);
    for (size_t i = 0; i < tiles; i++)
        offsets[i + 1] = offsets[i] + UINT64_C(2) * message->tile_words[i];
    int status = read_take(reader, FORMAT_KIND_INDICES, offsets[tiles], 1, &stream);
    if (status != LEGO_OK)
        return status;
    trellis->stream = stream;
    trellis->stream_bytes = offsets[tiles];
    trellis->tile_offsets = offsets;
    if (!lego_trellis_is_sound(coded))
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "its trellis does not fit its shape, scales and tiles");
    return LEGO_OK;
}

int read_log_scales(struct reader *reader, bool whole, struct lego_coded *coded)
{
    size_t bytes = whole ? coded->rows : ((size_t)coded->rows * 5 + 7) / 8;
    uint8_t *codes = lego_arena_calloc(arena_of(reader), coded->rows, 1);
    uint8_t *packed = lego_arena_calloc(reader->scratch, bytes, 1);
    const void *stored;

    if (!(reader->head.header.features & FORMAT_FEATURE_TRELLIS))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "log scales without their feature bit");
    if (!codes || !packed)
        return read_nomem(reader);
    int status = read_take(reader, FORMAT_KIND_SCALES, bytes, 1, &stored);
    if (status == LEGO_OK)
        status = read_copy(reader, stored, packed, bytes);
    for (uint32_t i = 0; status == LEGO_OK && i < coded->rows; i++) {
        codes[i] = whole ? packed[i] : (uint8_t)lego_index_get(packed, 5, i);
        if (codes[i] >= LEGO_LOG_SCALES)
            status =
                lego_fail(reader->diag, LEGO_E_FORMAT, "the scale of row %u is %u, not below %d", i,
                          codes[i], LEGO_LOG_SCALES);
    }
    coded->row_codes = codes;
    return status;
}
