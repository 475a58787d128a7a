#include "codec/import/tensor.h"

#include "codec/base/arith.h"
#include "codec/import/wire.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct import_tensor *tensor, struct lego_diag *diag, int status,
                const char *what)
{
    int length = tensor->name_bytes > 200 ? 200 : (int)tensor->name_bytes;
    return lego_fail(diag, status, "tensor '%.*s': %s", length, tensor->name ? tensor->name : "",
                     what);
}

static int add_dim(void *context, uint64_t value)
{
    struct lego_shape *shape = context;
    if (shape->rank >= LEGO_MAX_RANK)
        return LEGO_E_UNSUPPORTED;
    if ((int64_t)value < 0)
        return LEGO_E_FORMAT;
    shape->dim[shape->rank++] = (int64_t)value;
    return 0;
}

/* One entry of external_data: key and value, both strings. */
static int read_external(struct import_tensor *tensor, const struct wire_field *entry)
{
    struct wire wire = wire_open(entry->data, entry->bytes);
    struct wire_field field, key = {0}, value = {0};
    int more;
    while ((more = wire_next(&wire, &field)) > 0) {
        if (field.type == WIRE_BYTES && field.number == 1)
            key = field;
        else if (field.type == WIRE_BYTES && field.number == 2)
            value = field;
    }
    if (more < 0)
        return more;
    if (key.bytes == 8 && memcmp(key.data, "location", 8) == 0) {
        tensor->location = (const char *)value.data;
        tensor->location_bytes = value.bytes;
        return 0;
    }
    bool is_offset = key.bytes == 6 && memcmp(key.data, "offset", 6) == 0;
    bool is_length = key.bytes == 6 && memcmp(key.data, "length", 6) == 0;
    if (!is_offset && !is_length)
        return 0; /* a checksum, for instance */
    uint64_t number = 0;
    if (value.bytes == 0 || value.bytes > 18)
        return LEGO_E_FORMAT;
    for (size_t i = 0; i < value.bytes; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return LEGO_E_FORMAT;
        number = 10 * number + (value.data[i] - '0');
    }
    if (is_offset)
        tensor->offset = number;
    else
        tensor->length = number;
    tensor->has_length |= is_length;
    return 0;
}

static int read_field(struct import_tensor *tensor, const struct wire_field *field,
                      struct lego_diag *diag)
{
    int status = 0;
    switch (field->number) {
    case TENSOR_DIMS:
        status = wire_each(field, WIRE_VARINT, add_dim, &tensor->shape);
        if (status == LEGO_E_UNSUPPORTED)
            return fail(tensor, diag, status, "more than 8 dimensions");
        break;
    case TENSOR_DATA_TYPE:
        /* Numbers past int are no types; keep them from wrapping into one. */
        tensor->dtype = field->value <= INT_MAX ? (enum lego_dtype)field->value : INT_MAX;
        break;
    case TENSOR_SEGMENT:
        return fail(tensor, diag, LEGO_E_UNSUPPORTED, "stored in segments");
    case TENSOR_NAME:
    case TENSOR_RAW:
    case TENSOR_EXTERNAL:
        if (field->type != WIRE_BYTES)
            status = LEGO_E_FORMAT;
        else if (field->number == TENSOR_EXTERNAL)
            status = read_external(tensor, field);
        else if (field->number == TENSOR_NAME) {
            tensor->name = (const char *)field->data;
            tensor->name_bytes = field->bytes;
        } else {
            tensor->raw = field->data;
            tensor->raw_bytes = field->bytes;
        }
        break;
    case TENSOR_LOCATION:
        tensor->external = field->value == 1;
        break;
    }
    return status ? fail(tensor, diag, LEGO_E_FORMAT, "malformed dimensions or fields") : 0;
}

/* The name may come after what is wrong: find it first, for the sentences. */
static void find_name(struct import_tensor *tensor)
{
    struct wire wire = wire_open(tensor->message, tensor->message_bytes);
    struct wire_field field;
    while (wire_next(&wire, &field) > 0)
        if (field.number == TENSOR_NAME && field.type == WIRE_BYTES) {
            tensor->name = (const char *)field.data;
            tensor->name_bytes = field.bytes;
        }
}

int import_tensor_parse(const uint8_t *message, size_t bytes, struct import_tensor *ret_tensor,
                        struct lego_diag *diag)
{
    struct import_tensor tensor = {.message = message, .message_bytes = bytes};
    find_name(&tensor);
    struct wire wire = wire_open(message, bytes);
    struct wire_field field;
    int more, status;
    while ((more = wire_next(&wire, &field)) > 0) {
        status = read_field(&tensor, &field, diag);
        if (status)
            return status;
    }
    if (more < 0)
        return fail(&tensor, diag, LEGO_E_FORMAT, "malformed protobuf");
    size_t elem_bytes = lego_dtype_bytes(tensor.dtype);
    if (elem_bytes == 0) {
        char what[64];
        snprintf(what, sizeof what, "element type %d is not supported%s", (int)tensor.dtype,
                 tensor.dtype == 8 ? " (strings)" : "");
        return fail(&tensor, diag, LEGO_E_UNSUPPORTED, what);
    }
    status = lego_shape_elems(&tensor.shape, &tensor.elems);
    if (status || !lego_mul_size(tensor.elems, elem_bytes, &tensor.bytes))
        return fail(&tensor, diag, LEGO_E_OVERFLOW, "its dimensions are too large");
    if (tensor.raw && tensor.raw_bytes != tensor.bytes && !tensor.external &&
        (tensor.raw_bytes > 0 || tensor.elems == 0)) {
        char what[96];
        snprintf(what, sizeof what, "raw_data has %zu bytes, its shape wants %zu", tensor.raw_bytes,
                 tensor.bytes);
        return fail(&tensor, diag, LEGO_E_FORMAT, what);
    }
    if (tensor.raw_bytes == 0)
        tensor.raw = NULL; /* some writers leave it empty beside typed data */
    *ret_tensor = tensor;
    return 0;
}

struct typed {
    uint8_t *out;
    size_t count, elems, elem_bytes;
};

/* Integers are stored in their own or a wider field: the low bytes are the value. */
static int put_typed(void *context, uint64_t value)
{
    struct typed *typed = context;
    if (typed->count >= typed->elems)
        return LEGO_E_FORMAT;
    for (size_t i = 0; i < typed->elem_bytes; i++)
        typed->out[typed->count * typed->elem_bytes + i] = (uint8_t)(value >> (8 * i));
    typed->count++;
    return 0;
}

/* Which field holds elements of a type, and how they are encoded there. */
static uint32_t typed_field(enum lego_dtype dtype, enum wire_type *ret_type)
{
    *ret_type = WIRE_VARINT;
    switch (dtype) {
    case LEGO_DTYPE_FLOAT32:
        *ret_type = WIRE_FIXED32;
        return TENSOR_FLOATS;
    case LEGO_DTYPE_FLOAT64:
        *ret_type = WIRE_FIXED64;
        return TENSOR_DOUBLES;
    case LEGO_DTYPE_INT64:
        return TENSOR_INT64S;
    case LEGO_DTYPE_UINT32:
    case LEGO_DTYPE_UINT64:
        return TENSOR_UINT64S;
    default:
        return TENSOR_INT32S;
    }
}

int import_tensor_typed(const struct import_tensor *tensor, void *ret_data, struct lego_diag *diag)
{
    enum wire_type type;
    uint32_t number = typed_field(tensor->dtype, &type);
    struct typed typed = {
        .out = ret_data, .elems = tensor->elems, .elem_bytes = lego_dtype_bytes(tensor->dtype)};
    struct wire wire = wire_open(tensor->message, tensor->message_bytes);
    struct wire_field field;
    int status = 0;
    while (!status && wire_next(&wire, &field) > 0)
        if (field.number == number)
            status = wire_each(&field, type, put_typed, &typed);
    if (status || typed.count != typed.elems)
        return fail(tensor, diag, LEGO_E_FORMAT,
                    "it has more or fewer elements than its shape says");
    return 0;
}

static int external_data(struct import_source *source, const struct import_tensor *tensor,
                         const uint8_t **ret_data, struct lego_diag *diag)
{
    if (!tensor->location || tensor->location_bytes == 0 || tensor->location_bytes >= PATH_MAX ||
        memchr(tensor->location, '\0', tensor->location_bytes))
        return fail(tensor, diag, LEGO_E_FORMAT, "external data without a valid location");
    if (tensor->has_length && tensor->length != tensor->bytes)
        return fail(tensor, diag, LEGO_E_FORMAT,
                    "the length of its external data does not match its shape");
    char location[PATH_MAX];
    memcpy(location, tensor->location, tensor->location_bytes);
    location[tensor->location_bytes] = '\0';
    int status =
        import_source_external(source, location, tensor->offset, tensor->bytes, ret_data, diag);
    if (status)
        lego_diag_prefix(diag, status, "tensor '%.*s'",
                         tensor->name_bytes > 200 ? 200 : (int)tensor->name_bytes,
                         tensor->name ? tensor->name : "");
    return status;
}

int import_tensor_data(struct import_source *source, const struct import_tensor *tensor,
                       const void **ret_data, struct lego_diag *diag)
{
    const uint8_t *found = tensor->raw;
    if (tensor->external) {
        int status = external_data(source, tensor, &found, diag);
        if (status)
            return status;
    }
    if (tensor->bytes == 0) {
        *ret_data = NULL;
        return 0;
    }
    if (found && (uintptr_t)found % lego_dtype_bytes(tensor->dtype) == 0) {
        *ret_data = found;
        return 0;
    }
    /* Typed data takes at least a byte an element in the file: refuse a lying shape before
       allocating for it. */
    if (!found && tensor->elems > tensor->message_bytes)
        return fail(tensor, diag, LEGO_E_FORMAT, "it has fewer elements than its shape says");
    void *copy = import_source_copy(source, tensor->bytes);
    if (!copy)
        return fail(tensor, diag, LEGO_E_NOMEM, "no memory for its data");
    int status = 0;
    if (found) {
        memcpy(copy, found, tensor->bytes);
        import_source_forget(source, found, tensor->bytes);
    } else {
        status = import_tensor_typed(tensor, copy, diag);
    }
    if (!status)
        *ret_data = copy;
    return status;
}
