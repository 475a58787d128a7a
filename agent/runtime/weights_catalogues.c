#include "agent/runtime/weights_catalogues.h"
#include "agent/runtime/weights_low.h"

#include "codec/kernels/kernels.h"

#include <stdlib.h>

/* Of tables of integers in all: a file may have many catalogues of one entry. */
#define CATALOGUE_TABLE_BYTES ((size_t)4 << 20)

/* Row-major as in the file to column-major as in kernels. */
static const float *catalogue_floats(const struct lego_catalogue *source, size_t *total)
{
    const uint32_t height = source->brick_rows, width = source->brick_columns;
    const size_t area = (size_t)height * width;
    float brick[LEGO_BRICK_MAX_SIDE * LEGO_BRICK_MAX_SIDE];
    const size_t elems = area * source->entries + WEIGHTS_CATALOGUE_TAIL;
    float *entries = weights_zeroed(elems, sizeof(*entries));

    for (uint32_t entry = 0; entries && entry < source->entries; entry++) {
        lego_catalogue_entry(source, entry, brick);
        for (uint32_t r = 0; r < height; r++)
            for (uint32_t c = 0; c < width; c++)
                entries[entry * area + c * height + r] = brick[r * width + c];
    }
    *total += elems * sizeof(*entries);
    return entries;
}

/* The same, element by element. */
static const int8_t *catalogue_integers(const struct lego_catalogue *source, size_t *total)
{
    const uint32_t height = source->brick_rows, width = source->brick_columns;
    const size_t area = (size_t)height * width;
    const int8_t *data = source->data;
    int8_t *integers = weights_zeroed(area, KERN_CATALOGUE_S8);

    for (uint32_t r = 0; integers && r < height; r++)
        for (uint32_t c = 0; c < width; c++)
            for (uint32_t entry = 0; entry < source->entries; entry++)
                integers[(c * height + r) * KERN_CATALOGUE_S8 + entry] =
                    data[entry * area + r * width + c];
    *total += area * KERN_CATALOGUE_S8;
    return integers;
}

/* `tables`: bytes of tables so far. */
static int catalogue_make(const struct lego_catalogue *source, struct weights_catalogue *made,
                          size_t *tables, size_t *total)
{
    const size_t table = (size_t)source->brick_rows * source->brick_columns * KERN_CATALOGUE_S8;

    made->step = source->scale;
    made->entries = catalogue_floats(source, total);
    if (!made->entries)
        return LEGO_E_NOMEM;
    if (source->dtype != LEGO_DTYPE_INT8 || source->entries > KERN_CATALOGUE_S8 ||
        *tables + table > CATALOGUE_TABLE_BYTES)
        return LEGO_OK;
    *tables += table;
    made->integers = catalogue_integers(source, total);
    return made->integers ? LEGO_OK : LEGO_E_NOMEM;
}

int weights_catalogues_make(struct weights_catalogues *catalogues,
                            const struct lego_catalogue *source, uint32_t count,
                            struct lego_diag *diag)
{
    size_t tables = 0;

    *catalogues = (struct weights_catalogues){.source = source, .count = count};
    if (!count)
        return LEGO_OK;
    catalogues->made = calloc(count, sizeof(*catalogues->made));
    if (!catalogues->made) {
        catalogues->count = 0;
        return lego_fail(diag, LEGO_E_NOMEM, "%u catalogues", count);
    }
    for (uint32_t i = 0; i < count; i++)
        if (catalogue_make(&source[i], &catalogues->made[i], &tables, &catalogues->bytes))
            return lego_fail(diag, LEGO_E_NOMEM, "catalogue %u", i);
    return LEGO_OK;
}

void weights_catalogues_clear(struct weights_catalogues *catalogues)
{
    for (uint32_t i = 0; i < catalogues->count; i++) {
        free((void *)catalogues->made[i].entries);
        free((void *)catalogues->made[i].integers);
    }
    free(catalogues->made);
    free(catalogues->slots);
    *catalogues = (struct weights_catalogues){0};
}

const struct weights_catalogue *weights_catalogue_find(const struct weights_catalogues *catalogues,
                                                       const struct lego_catalogue *catalogue)
{
    for (uint32_t i = 0; i < catalogues->count; i++)
        if (&catalogues->source[i] == catalogue || catalogues->source[i].data == catalogue->data)
            return &catalogues->made[i];
    return NULL;
}
