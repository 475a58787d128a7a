/* The classification extension: the largest of each row with their labels. */
#include "agent/service/inference.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ranked {
    double value;
    uint32_t index;
};

/* Largest first, the lower index first among equals, NaN last: a total order. */
static int compare(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (isnan(a->value) != isnan(b->value))
        return isnan(a->value) ? 1 : -1;
    if (a->value != b->value && !isnan(a->value))
        return a->value > b->value ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool read_element(const struct lego_io *tensor, size_t i, double *ret_value)
{
    switch (tensor->dtype) {
#define READ(DTYPE, type)                                     \
    case LEGO_DTYPE_##DTYPE:                                  \
        *ret_value = (double)((const type *)tensor->data)[i]; \
        return true;
        READ(FLOAT32, float)
        READ(FLOAT64, double)
        READ(INT8, int8_t)
        READ(UINT8, uint8_t)
        READ(INT16, int16_t)
        READ(UINT16, uint16_t)
        READ(INT32, int32_t)
        READ(UINT32, uint32_t)
        READ(INT64, int64_t)
        READ(UINT64, uint64_t)
#undef READ
    default:
        return false;
    }
}

/* A growing block of raw BYTES elements. */
struct elements {
    uint8_t *data;
    size_t bytes, capacity;
};

static bool append(struct elements *out, const char *text, size_t length)
{
    size_t wanted = out->bytes + 4 + length;
    if (wanted > out->capacity) {
        size_t capacity = lego_max_size(wanted, out->capacity * 2);
        uint8_t *data = realloc(out->data, capacity);
        if (!data)
            return false;
        out->data = data;
        out->capacity = capacity;
    }
    ipc_frame_header(out->data + out->bytes, length); /* the same 4 bytes, little-endian */
    memcpy(out->data + out->bytes + 4, text, length);
    out->bytes = wanted;
    return true;
}

static bool append_class(struct elements *out, const struct lego_package *package,
                         const struct ranked *entry)
{
    char text[512];
    const char *label = entry->index < package->label_count ? package->labels[entry->index] : NULL;
    int length = snprintf(text, sizeof(text), "%.9g:%u%s%s", entry->value, entry->index,
                          label ? ":" : "", label ? label : "");
    return append(out, text, lego_min_size((size_t)length, sizeof(text) - 1));
}

/* Ranks the classes of one row; `skip` entries before class 0 are left out. */
static bool rank_row(const struct lego_io *tensor, size_t row, size_t width, size_t skip,
                     struct ranked *ranked)
{
    for (size_t c = skip; c < width; c++) {
        ranked[c - skip].index = (uint32_t)(c - skip);
        if (!read_element(tensor, row * width + c, &ranked[c - skip].value))
            return false;
    }
    qsort(ranked, width - skip, sizeof(*ranked), compare);
    return true;
}

int inference_classify(const struct lego_package *package, const char *output,
                       const struct lego_io *tensor, int64_t classes, struct lego_shape *ret_shape,
                       uint8_t **ret_data, size_t *ret_bytes, struct lego_diag *diag)
{
    size_t elems = 0, skip = 0;
    bool batched = tensor->shape.rank > 1;
    size_t rows = batched ? (size_t)tensor->shape.dim[0] : 1;
    if (package->preprocess.present && package->preprocess.class_offset > 0)
        skip = (size_t)package->preprocess.class_offset;
    if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK || rows == 0 || elems / rows <= skip ||
        elems / rows > UINT32_MAX)
        return lego_fail(diag, LEGO_E_SHAPE, "output \"%s\" holds no classes to rank", output);
    size_t width = elems / rows, available = width - skip;
    size_t wanted = (uint64_t)classes < available ? (size_t)classes : available;
    struct elements out = {0};
    struct ranked *ranked = calloc(available, sizeof(*ranked));
    int status = ranked ? LEGO_OK : LEGO_E_NOMEM;
    for (size_t row = 0; status == LEGO_OK && row < rows; row++) {
        if (!rank_row(tensor, row, width, skip, ranked))
            status = LEGO_E_UNSUPPORTED;
        for (size_t k = 0; status == LEGO_OK && k < wanted; k++)
            if (!append_class(&out, package, &ranked[k]))
                status = LEGO_E_NOMEM;
    }
    free(ranked);
    if (status != LEGO_OK) {
        free(out.data);
        return lego_fail(diag, status, "output \"%s\" of %s cannot be ranked: %s", output,
                         lego_dtype_name(tensor->dtype), lego_status_text(status));
    }
    *ret_shape = batched ? (struct lego_shape){.rank = 2, .dim = {(int64_t)rows, (int64_t)wanted}}
                         : (struct lego_shape){.rank = 1, .dim = {(int64_t)wanted}};
    *ret_data = out.data;
    *ret_bytes = out.bytes;
    return LEGO_OK;
}
