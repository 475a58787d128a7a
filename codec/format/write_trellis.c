/*
 * Writing what trellis-coded tensors need: tables, rotations, streams, log scales.
 */
#include "codec/format/trellis.h"
#include "codec/format/writer.h"

#include "codec/base/status.h"

#include <string.h>

#define TABLE_BYTES 4

static int refuse(struct writer *writer, const struct lego_tensor *tensor, const char *what)
{
    return lego_fail(writer->diag, LEGO_E_INVALID, "tensor '%s': %s", tensor->name, what);
}

static int write_tables(struct writer *writer)
{
    const struct lego_package *package = writer->package;
    ProtobufCBinaryData *bytes = &writer->model.trellis_tables;

    bytes->len = (size_t)package->trellis_table_count * TABLE_BYTES;
    bytes->data = write_alloc(writer, bytes->len, 1);
    if (!bytes->data)
        return LEGO_E_NOMEM;
    writer->model.has_trellis_tables = true;
    for (uint32_t i = 0; i < package->trellis_table_count; i++) {
        const struct lego_trellis_table *table = &package->trellis_tables[i];
        struct lego_trellis_table copy = *table;
        uint8_t *at = bytes->data + (size_t)i * TABLE_BYTES;
        if (!lego_trellis_table_fill(&copy) ||
            memcmp(copy.frequency, table->frequency, sizeof(copy.frequency)) != 0)
            return lego_fail(writer->diag, LEGO_E_INVALID, "trellis table %u is not filled", i);
        at[0] = table->zero;
        at[1] = table->ratio;
        at[2] = table->bend;
        at[3] = table->most;
    }
    return LEGO_OK;
}

static int write_rotation(struct writer *writer, const struct lego_rotation *rotation)
{
    LegoPb__Model *model = &writer->model;
    LegoPb__Rotation *message = write_alloc(writer, 1, sizeof(*message));

    if (!message)
        return LEGO_E_NOMEM;
    if (rotation->taps < 2 || rotation->taps > KERN_TRELLIS_MAX_TAPS || !rotation->matrix ||
        !rotation->classes)
        return lego_fail(writer->diag, LEGO_E_INVALID, "a rotation of %u taps", rotation->taps);
    uint32_t classes = 0;
    for (uint32_t i = 0; i < rotation->taps; i++)
        classes = rotation->classes[i] >= classes ? rotation->classes[i] + 1u : classes;
    if (classes != rotation->class_count || classes > LEGO_TRELLIS_MAX_CLASSES)
        return lego_fail(writer->diag, LEGO_E_INVALID, "a rotation of %u classes", classes);
    lego_pb__rotation__init(message);
    message->taps = rotation->taps;
    message->matrix.len = (size_t)rotation->taps * rotation->taps * sizeof(uint16_t);
    message->matrix.data = (uint8_t *)(uintptr_t)rotation->matrix;
    message->classes.len = rotation->taps;
    message->classes.data = (uint8_t *)(uintptr_t)rotation->classes;
    model->rotations = write_append(writer, model->rotations, &model->n_rotations, message);
    return model->rotations ? LEGO_OK : LEGO_E_NOMEM;
}

int write_trellis_parts(struct writer *writer)
{
    const struct lego_package *package = writer->package;
    int status = LEGO_OK;

    if (package->trellis_table_count > FORMAT_MAX_TABLES ||
        package->rotation_count > FORMAT_MAX_ROTATIONS)
        return lego_fail(writer->diag, LEGO_E_LIMIT, "%u trellis tables, %u rotations",
                         package->trellis_table_count, package->rotation_count);
    if (package->trellis_table_count > 0 || package->rotation_count > 0)
        writer->features |= FORMAT_FEATURE_TRELLIS;
    if (package->trellis_table_count > 0)
        status = write_tables(writer);
    for (uint32_t i = 0; status == LEGO_OK && i < package->rotation_count; i++)
        status = write_rotation(writer, &package->rotations[i]);
    return status;
}

/* Position in the package's rotations, from 1; 0: none. */
uint32_t write_rotation_number(const struct writer *writer, const struct lego_coded *coded)
{
    const struct lego_rotation *rotation = coded->trellis->rotation;

    return rotation ? 1 + (uint32_t)(rotation - writer->package->rotations) : 0;
}

static bool is_packages(const struct writer *writer, const struct lego_trellis *trellis)
{
    const struct lego_package *package = writer->package;
    bool found = !trellis->rotation;

    for (uint32_t i = 0; i < package->rotation_count; i++)
        found = found || trellis->rotation == &package->rotations[i];
    for (uint32_t c = 0; found && c < 2 * lego_trellis_classes(trellis); c++) {
        found = false;
        for (uint32_t i = 0; !found && i < package->trellis_table_count; i++)
            found = trellis->tables[c / 2][c % 2] == &package->trellis_tables[i];
    }
    return found;
}

int write_check_trellis(struct writer *writer, const struct lego_tensor *tensor)
{
    const struct lego_coded *coded = tensor->coded;
    struct lego_coded derived = *coded;

    if (lego_coded_layout(&derived, &tensor->shape) != LEGO_OK || derived.rows != coded->rows ||
        derived.columns != coded->columns || derived.taps != coded->taps ||
        coded->brick_rows != 1 || coded->brick_columns != 1)
        return refuse(writer, tensor, "its shape and its trellis do not match");
    if (!lego_trellis_is_sound(coded) || !coded->trellis->stream)
        return refuse(writer, tensor, "its trellis does not fit its shape, scales and tiles");
    if (!is_packages(writer, coded->trellis))
        return refuse(writer, tensor, "its trellis has tables that are not the package's");
    return LEGO_OK;
}

int write_trellis(struct writer *writer, const struct lego_tensor *tensor, LegoPb__Tensor *message)
{
    const struct lego_trellis *trellis = tensor->coded->trellis;
    uint32_t tiles = lego_coded_tiles(tensor->coded);

    message->n_tile_words = tiles;
    message->tile_words = write_alloc(writer, tiles, sizeof(*message->tile_words));
    message->n_tables = 2 * lego_trellis_classes(trellis);
    message->tables = write_alloc(writer, message->n_tables, sizeof(*message->tables));
    if (!message->tile_words || !message->tables)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < tiles; i++) {
        uint64_t words = (trellis->tile_offsets[i + 1] - trellis->tile_offsets[i]) / 2;
        if (words > UINT32_MAX)
            return refuse(writer, tensor, "a tile of more than 8 GiB");
        message->tile_words[i] = (uint32_t)words;
    }
    for (size_t i = 0; i < message->n_tables; i++)
        message->tables[i] =
            (uint32_t)(trellis->tables[i / 2][i % 2] - writer->package->trellis_tables);
    return write_add_part(writer, FORMAT_KIND_INDICES, trellis->stream, trellis->stream_bytes, 1,
                          false);
}

int write_log_scales(struct writer *writer, const struct lego_tensor *tensor)
{
    const struct lego_coded *coded = tensor->coded;
    const bool whole = writer->package->squeeze;
    size_t bytes = whole ? coded->rows : ((size_t)coded->rows * 5 + 7) / 8;
    uint8_t *packed = write_alloc(writer, bytes, 1);

    if (!packed)
        return LEGO_E_NOMEM;
    if (!coded->row_codes)
        return refuse(writer, tensor, "its row scales are missing");
    for (uint32_t i = 0; i < coded->rows; i++) {
        if (coded->row_codes[i] >= LEGO_LOG_SCALES)
            return refuse(writer, tensor, "a row scale is out of range");
        if (whole)
            packed[i] = coded->row_codes[i];
        else
            lego_index_put(packed, 5, i, coded->row_codes[i]);
    }
    writer->features |= FORMAT_FEATURE_TRELLIS | (whole ? FORMAT_FEATURE_SQUEEZE : 0);
    return write_add_part(writer, FORMAT_KIND_SCALES, packed, bytes, 1, false);
}
