/*
 * Element types and shapes.
 */
#include "codec/graph/graph.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    enum lego_dtype dtype;
    size_t bytes;
    const char *name;
} dtypes[] = {
    {LEGO_DTYPE_FLOAT32, 4, "FP32"},  {LEGO_DTYPE_UINT8, 1, "UINT8"},
    {LEGO_DTYPE_INT8, 1, "INT8"},     {LEGO_DTYPE_UINT16, 2, "UINT16"},
    {LEGO_DTYPE_INT16, 2, "INT16"},   {LEGO_DTYPE_INT32, 4, "INT32"},
    {LEGO_DTYPE_INT64, 8, "INT64"},   {LEGO_DTYPE_BOOL, 1, "BOOL"},
    {LEGO_DTYPE_FLOAT16, 2, "FP16"},  {LEGO_DTYPE_FLOAT64, 8, "FP64"},
    {LEGO_DTYPE_UINT32, 4, "UINT32"}, {LEGO_DTYPE_UINT64, 8, "UINT64"},
    {LEGO_DTYPE_BFLOAT16, 2, "BF16"},
};

#define DTYPE_COUNT (sizeof(dtypes) / sizeof(dtypes[0]))

size_t lego_dtype_bytes(enum lego_dtype dtype)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (dtypes[i].dtype == dtype)
            return dtypes[i].bytes;
    }
    return 0;
}

const char *lego_dtype_name(enum lego_dtype dtype)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    }
    return "?";
}

enum lego_dtype lego_dtype_from_name(const char *name)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0)
            return dtypes[i].dtype;
    }
    return LEGO_DTYPE_UNKNOWN;
}

bool lego_shape_is_static(const struct lego_shape *shape)
{
    if (shape->rank < 0)
        return false;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0)
            return false;
    }
    return true;
}

int lego_shape_elems(const struct lego_shape *shape, size_t *ret_elems)
{
    if (!lego_shape_is_static(shape))
        return LEGO_E_SHAPE;

    /* An empty tensor is empty however large its other sides are. */
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 0) {
            *ret_elems = 0;
            return LEGO_OK;
        }
    }
    size_t elems = 1;
    for (int i = 0; i < shape->rank; i++) {
        if ((uint64_t)shape->dim[i] > SIZE_MAX ||
            !lego_mul_size(elems, (size_t)shape->dim[i], &elems) || elems > SIZE_MAX / 16)
            return LEGO_E_OVERFLOW;
    }
    *ret_elems = elems;
    return LEGO_OK;
}

bool lego_shape_equal(const struct lego_shape *a, const struct lego_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i])
            return false;
    }
    return true;
}

static int format_dim(char *buffer, size_t bytes, int64_t dim, const struct lego_graph *graph)
{
    if (dim >= 0)
        return snprintf(buffer, bytes, "%" PRId64, dim);
    if (dim == LEGO_DIM_UNKNOWN)
        return snprintf(buffer, bytes, "?");
    uint64_t symbol = (uint64_t)(-1 - dim);
    if (graph && symbol < graph->symbol_count)
        return snprintf(buffer, bytes, "%s", graph->symbols[symbol]);
    return snprintf(buffer, bytes, "s%" PRIu64, symbol);
}

const char *lego_shape_format(const struct lego_shape *shape, const struct lego_graph *graph,
                              char *buffer, size_t bytes)
{
    if (bytes == 0)
        return buffer;
    if (shape->rank < 0) {
        snprintf(buffer, bytes, "[...]");
        return buffer;
    }
    size_t used = (size_t)snprintf(buffer, bytes, "[");
    for (int i = 0; i < shape->rank && used < bytes; i++) {
        if (i > 0)
            used += (size_t)snprintf(buffer + used, bytes - used, ",");
        if (used < bytes)
            used += (size_t)format_dim(buffer + used, bytes - used, shape->dim[i], graph);
    }
    if (used < bytes)
        snprintf(buffer + used, bytes - used, "]");
    return buffer;
}
