/* Typed contents: the protocol's repeated fields to dense elements. */
#include "agent/service/inference.h"

#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

typedef Inference__InferTensorContents contents_message;

/* The field that a datatype is carried in. */
enum field { FIELD_BOOL, FIELD_INT, FIELD_INT64, FIELD_UINT, FIELD_UINT64, FIELD_FP32, FIELD_FP64 };

static const char *const field_names[] = {"bool_contents", "int_contents",    "int64_contents",
                                          "uint_contents", "uint64_contents", "fp32_contents",
                                          "fp64_contents"};

static size_t field_count(const contents_message *contents, enum field field)
{
    const size_t counts[] = {contents->n_bool_contents,   contents->n_int_contents,
                             contents->n_int64_contents,  contents->n_uint_contents,
                             contents->n_uint64_contents, contents->n_fp32_contents,
                             contents->n_fp64_contents};
    return counts[field];
}

static size_t total_count(const contents_message *contents)
{
    size_t total = contents->n_bytes_contents;
    for (int field = FIELD_BOOL; field <= FIELD_FP64; field++)
        total += field_count(contents, (enum field)field);
    return total;
}

static int field_of(enum lego_dtype dtype, enum field *ret_field)
{
    switch (dtype) {
    case LEGO_DTYPE_BOOL:
        *ret_field = FIELD_BOOL;
        return LEGO_OK;
    case LEGO_DTYPE_INT8:
    case LEGO_DTYPE_INT16:
    case LEGO_DTYPE_INT32:
        *ret_field = FIELD_INT;
        return LEGO_OK;
    case LEGO_DTYPE_INT64:
        *ret_field = FIELD_INT64;
        return LEGO_OK;
    case LEGO_DTYPE_UINT8:
    case LEGO_DTYPE_UINT16:
    case LEGO_DTYPE_UINT32:
        *ret_field = FIELD_UINT;
        return LEGO_OK;
    case LEGO_DTYPE_UINT64:
        *ret_field = FIELD_UINT64;
        return LEGO_OK;
    case LEGO_DTYPE_FLOAT32:
        *ret_field = FIELD_FP32;
        return LEGO_OK;
    case LEGO_DTYPE_FLOAT64:
        *ret_field = FIELD_FP64;
        return LEGO_OK;
    default:
        return LEGO_E_UNSUPPORTED;
    }
}

/* Signed values that must fit into `bits`; false at the first that does not. */
static bool narrow_signed(const int32_t *values, size_t elems, size_t width, uint8_t *out)
{
    int32_t high = width == 1 ? INT8_MAX : width == 2 ? INT16_MAX : INT32_MAX;
    for (size_t i = 0; i < elems; i++) {
        if (values[i] > high || values[i] < -high - 1)
            return false;
        memcpy(out + i * width, &values[i], width); /* little-endian: the low bytes come first */
    }
    return true;
}

static bool narrow_unsigned(const uint32_t *values, size_t elems, size_t width, uint8_t *out)
{
    uint32_t high = width == 1 ? UINT8_MAX : width == 2 ? UINT16_MAX : UINT32_MAX;
    for (size_t i = 0; i < elems; i++) {
        if (values[i] > high)
            return false;
        memcpy(out + i * width, &values[i], width);
    }
    return true;
}

static bool copy_elements(const contents_message *contents, enum field field, size_t width,
                          size_t elems, uint8_t *out)
{
    const void *source = NULL;
    switch (field) {
    case FIELD_BOOL:
        for (size_t i = 0; i < elems; i++)
            out[i] = contents->bool_contents[i] != 0;
        return true;
    case FIELD_INT:
        return narrow_signed(contents->int_contents, elems, width, out);
    case FIELD_UINT:
        return narrow_unsigned(contents->uint_contents, elems, width, out);
    case FIELD_INT64:
        source = contents->int64_contents;
        break;
    case FIELD_UINT64:
        source = contents->uint64_contents;
        break;
    case FIELD_FP32:
        source = contents->fp32_contents;
        break;
    case FIELD_FP64:
        source = contents->fp64_contents;
        break;
    }
    if (elems > 0)
        memcpy(out, source, elems * width);
    return true;
}

int inference_contents(const char *input, enum lego_dtype dtype, size_t elems,
                       const contents_message *contents, void **ret_data, struct lego_diag *diag)
{
    enum field field;
    size_t width = lego_dtype_bytes(dtype), bytes;
    if (field_of(dtype, &field) != LEGO_OK)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "input \"%s\": %s goes only as raw_input_contents", input,
                         lego_dtype_name(dtype));
    if (field_count(contents, field) != total_count(contents))
        return lego_fail(diag, LEGO_E_TYPE, "input \"%s\": %s is carried in %s and in no other",
                         input, lego_dtype_name(dtype), field_names[field]);
    if (field_count(contents, field) != elems)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "input \"%s\": %zu elements came in %s, the shape wants %zu", input,
                         field_count(contents, field), field_names[field], elems);
    if (!lego_mul_size(elems, width, &bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "input \"%s\" is too large", input);
    uint8_t *data = malloc(bytes ? bytes : 1);
    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for input \"%s\"", input);
    if (!copy_elements(contents, field, width, elems, data)) {
        free(data);
        return lego_fail(diag, LEGO_E_TYPE, "input \"%s\": a value does not fit into %s", input,
                         lego_dtype_name(dtype));
    }
    *ret_data = data;
    return LEGO_OK;
}
