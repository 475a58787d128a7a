/*
 * TensorProto: read in place, by wire.c, so that weights are not copied.
 */
#ifndef LEGO_IMPORT_TENSOR_H
#define LEGO_IMPORT_TENSOR_H

#include "codec/graph/graph.h"
#include "codec/import/source.h"

/* TensorProto's field numbers. */
enum {
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOATS = 4,
    TENSOR_INT32S = 5,
    TENSOR_INT64S = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLES = 10,
    TENSOR_UINT64S = 11,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14,
};

/* What the message says, before its data is looked at. Borrows from the message. */
struct import_tensor {
    const uint8_t *message;
    size_t message_bytes;
    const char *name; /* not terminated */
    size_t name_bytes;
    enum lego_dtype dtype;
    struct lego_shape shape; /* static */
    size_t elems, bytes;
    const uint8_t *raw; /* raw_data, NULL where the data is typed or external */
    size_t raw_bytes;
    bool external;
    const char *location; /* external: not terminated */
    size_t location_bytes;
    uint64_t offset, length;
    bool has_length;
};

/* Reads a TensorProto's fields. E_FORMAT, E_UNSUPPORTED (element type, rank), E_OVERFLOW. */
int import_tensor_parse(const uint8_t *message, size_t bytes, struct import_tensor *ret_tensor,
                        struct lego_diag *diag);

/*
 * Finds or makes the tensor's data. Aligned raw and external data is borrowed from `source`;
 * misaligned data is copied and typed data (float_data, ...) decoded into a copy that the source
 * keeps, at most one for each tensor. *ret_data is NULL for an empty tensor.
 */
int import_tensor_data(struct import_source *source, const struct import_tensor *tensor,
                       const void **ret_data, struct lego_diag *diag);

/* Decodes the typed fields into `ret_data` (tensor->bytes of it). */
int import_tensor_typed(const struct import_tensor *tensor, void *ret_data, struct lego_diag *diag);

#endif
