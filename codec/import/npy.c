/*
 * NumPy's .npy files, versions 1 to 3 (NEP 1, and the format page of numpy.lib.format): a header
 * that is a Python dictionary, then the elements.
 */
#include "codec/base/arith.h"
#include "codec/base/file_out.h"
#include "codec/import/import.h"
#include "codec/import/source.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC       "\x93NUMPY"
#define MAGIC_BYTES 6

static const struct {
    char descr[4];
    enum lego_dtype dtype;
} types[] = {
    {"f4", LEGO_DTYPE_FLOAT32}, {"f2", LEGO_DTYPE_FLOAT16}, {"f8", LEGO_DTYPE_FLOAT64},
    {"i1", LEGO_DTYPE_INT8},    {"i2", LEGO_DTYPE_INT16},   {"i4", LEGO_DTYPE_INT32},
    {"i8", LEGO_DTYPE_INT64},   {"u1", LEGO_DTYPE_UINT8},   {"u2", LEGO_DTYPE_UINT16},
    {"u4", LEGO_DTYPE_UINT32},  {"u8", LEGO_DTYPE_UINT64},  {"b1", LEGO_DTYPE_BOOL},
};

#define TYPE_COUNT (sizeof types / sizeof *types)

struct header {
    const char *text;
    size_t bytes;
};

/* What follows 'key': in the dictionary, NULL where the key is not there. */
static const char *find_key(const struct header *header, const char *key)
{
    char quoted[32];
    size_t length = (size_t)snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = memmem(header->text, header->bytes, quoted, length);
    if (!at)
        return NULL;
    at += length;
    while (at < header->text + header->bytes && *at == ' ')
        at++;
    return at;
}

static int read_descr(const struct header *header, enum lego_dtype *ret_dtype,
                      struct lego_diag *diag)
{
    const char *at = find_key(header, "descr"), *end = header->text + header->bytes;
    if (!at || end - at < 5 || at[0] != '\'' || at[4] != '\'')
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the element type is not a plain number");
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        bool little = at[1] == '<' || at[1] == '=' || at[1] == '|';
        if (little && memcmp(at + 2, types[i].descr, 2) == 0) {
            *ret_dtype = types[i].dtype;
            return 0;
        }
    }
    return lego_fail(diag, LEGO_E_UNSUPPORTED, "element type '%.3s' is not supported%s", at + 1,
                     at[1] == '>' ? " (big-endian)" : "");
}

static int read_shape(const struct header *header, struct lego_shape *ret_shape,
                      struct lego_diag *diag)
{
    const char *at = find_key(header, "shape"), *end = header->text + header->bytes;
    struct lego_shape shape = {.rank = 0};
    if (!at || at == end || *at++ != '(')
        return lego_fail(diag, LEGO_E_FORMAT, "the header has no shape");
    for (;;) {
        while (at < end && (*at == ' ' || *at == ','))
            at++;
        if (at == end || (*at != ')' && !isdigit((unsigned char)*at)))
            return lego_fail(diag, LEGO_E_FORMAT, "the shape is malformed");
        if (*at == ')')
            break;
        if (shape.rank == LEGO_MAX_RANK)
            return lego_fail(diag, LEGO_E_UNSUPPORTED, "more than %d dimensions", LEGO_MAX_RANK);
        int64_t size = 0;
        for (; at < end && isdigit((unsigned char)*at); at++)
            if (!lego_mul_i64(size, 10, &size) || !lego_add_i64(size, *at - '0', &size))
                return lego_fail(diag, LEGO_E_OVERFLOW, "a dimension is too large");
        shape.dim[shape.rank++] = size;
    }
    *ret_shape = shape;
    return 0;
}

/* Finds the dictionary and the data after it. */
static int find_header(const uint8_t *data, size_t bytes, struct header *ret_header,
                       size_t *ret_data_at, struct lego_diag *diag)
{
    if (bytes < 12 || memcmp(data, MAGIC, MAGIC_BYTES) != 0 || data[6] < 1 || data[6] > 3)
        return lego_fail(diag, LEGO_E_FORMAT, "not a .npy file of version 1 to 3");
    size_t at = data[6] == 1 ? 10 : 12;
    size_t length = (size_t)data[8] | (size_t)data[9] << 8;
    if (data[6] > 1)
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (length > bytes - at)
        return lego_fail(diag, LEGO_E_FORMAT, "the header is cut off");
    *ret_header = (struct header){.text = (const char *)data + at, .bytes = length};
    *ret_data_at = at + length;
    return 0;
}

int import_npy_memory(const void *data, size_t bytes, struct lego_tensor *ret_tensor,
                      struct lego_diag *diag)
{
    enum { ALIGN = 64 };
    struct header header = {0};
    struct lego_tensor tensor = {0};
    size_t data_at = 0, elems;
    int status = find_header(data, bytes, &header, &data_at, diag);
    if (!status)
        status = read_descr(&header, &tensor.dtype, diag);
    if (!status)
        status = read_shape(&header, &tensor.shape, diag);
    if (status)
        return status;
    const char *order = find_key(&header, "fortran_order");
    if (!order || order == header.text + header.bytes || (*order != 'F' && tensor.shape.rank > 1))
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "only C order is supported; save it with numpy.ascontiguousarray");
    if (lego_shape_elems(&tensor.shape, &elems) != 0 ||
        !lego_mul_size(elems, lego_dtype_bytes(tensor.dtype), &tensor.bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "the dimensions are too large");
    if (tensor.bytes != bytes - data_at)
        return lego_fail(diag, LEGO_E_FORMAT, "%zu bytes of data, the shape wants %zu",
                         bytes - data_at, tensor.bytes);
    void *content = aligned_alloc(ALIGN, (tensor.bytes + ALIGN) / ALIGN * ALIGN);
    tensor.name = strdup("");
    tensor.data = content;
    if (!content || !tensor.name) {
        import_tensor_clear(&tensor);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    memcpy(content, (const uint8_t *)data + data_at, tensor.bytes);
    *ret_tensor = tensor;
    return 0;
}

int import_tensor_npy(const char *path, struct lego_tensor *ret_tensor, struct lego_diag *diag)
{
    struct import_file file;
    int status = import_file_open(path, &file, diag);
    if (status)
        return status;
    status =
        import_npy_memory(file.data ? file.data : (const void *)"", file.bytes, ret_tensor, diag);
    if (status)
        lego_diag_prefix(diag, status, "%s", path);
    import_file_close(&file);
    return status;
}

/* The dictionary, padded with spaces so that the data starts at a multiple of 64. */
static size_t format_header(const struct lego_tensor *tensor, const char *descr, char *text,
                            size_t room)
{
    size_t used =
        (size_t)snprintf(text, room, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                         lego_dtype_bytes(tensor->dtype) == 1 ? '|' : '<', descr);
    for (int i = 0; i < tensor->shape.rank; i++)
        used +=
            (size_t)snprintf(text + used, room - used, "%lld,%s", (long long)tensor->shape.dim[i],
                             i + 1 < tensor->shape.rank ? " " : "");
    used += (size_t)snprintf(text + used, room - used, "), }");
    while ((10 + used + 1) % 64 != 0)
        text[used++] = ' ';
    text[used++] = '\n';
    return used;
}

int export_tensor_npy(const char *path, const struct lego_tensor *tensor, struct lego_diag *diag)
{
    const char *descr = NULL;
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (types[i].dtype == tensor->dtype)
            descr = types[i].descr;
    if (!descr)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "NumPy has no element type %s",
                         lego_dtype_name(tensor->dtype));
    if (tensor->coded || (!tensor->data && tensor->bytes))
        return lego_fail(diag, LEGO_E_INVALID, "tensor '%s' is not dense", tensor->name);
    char text[512];
    size_t length = format_header(tensor, descr, text, sizeof text - 64);
    uint8_t start[10] = MAGIC "\x01";
    start[8] = (uint8_t)length;
    start[9] = (uint8_t)(length >> 8);
    struct file_out out;
    int status = file_out_open(&out, path, diag);
    if (status)
        return status;
    file_out_write(&out, start, sizeof start);
    file_out_write(&out, text, length);
    file_out_write(&out, tensor->data, tensor->bytes);
    return file_out_close(&out, 0, diag);
}
