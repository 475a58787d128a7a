/*
 * ONNX -> package: parse, bring to opset 21 semantics, infer shapes, fold constants, bring weights
 * in half precision to single precision, fold BatchNormalization, fuse activations, residual adds
 * and LayerNormalization.
 */
#ifndef LEGO_IMPORT_IMPORT_H
#define LEGO_IMPORT_IMPORT_H

#include "codec/format/package.h"

struct import_options {
    bool keep_graph;    /* no BatchNorm folding, no fusion (for export and for tests) */
    size_t limit_bytes; /* of the graph's arena; 0: 1 GiB. Weights do not count. */
    /* Called once for each thing that is not supported and that the diag has no more room for;
     * `text` is gone after the call. NULL: nobody is told. */
    void (*refused)(void *context, const char *text);
    void *refused_context;
};

/*
 * Imports an ONNX model, opset 1 to 21; codec/graph/OPERATORS.md says what it may use. Weights are
 * borrowed from the mapped file (and its external data files, which must lie in the model's folder
 * or below), but for those that folding changes and those that lie misaligned in the file: these
 * are copied, once.
 *
 * Errors: E_IO, E_NOT_FOUND, E_FORMAT (malformed protobuf or graph), E_UNSUPPORTED (the diag lists
 * ALL nodes whose operator, opset, type or attribute is not supported: name, operator, opset),
 * E_SHAPE, E_LIMIT.
 */
int import_onnx(const char *path, const struct import_options *options,
                struct lego_package **ret_package, struct lego_diag *diag);

/* The same from memory that outlives the package. Models with external data are refused. */
int import_onnx_memory(const void *data, size_t bytes, const char *name,
                       const struct import_options *options, struct lego_package **ret_package,
                       struct lego_diag *diag);

/*
 * Reads one serialised TensorProto (`.pb`): a dense tensor whose name and data are malloc'ed; free
 * with import_tensor_clear. All dtypes of enum lego_dtype, raw_data and typed fields.
 */
int import_tensor_pb(const char *path, struct lego_tensor *ret_tensor, struct lego_diag *diag);
void import_tensor_clear(struct lego_tensor *tensor);

/* The same from memory, which is not kept. */
int import_tensor_memory(const void *data, size_t bytes, struct lego_tensor *ret_tensor,
                         struct lego_diag *diag);

/*
 * Reads a NumPy file (`.npy`): little-endian fp16/32/64, integers and bool in C order. The tensor
 * has an empty name; free it with import_tensor_clear.
 */
int import_tensor_npy(const char *path, struct lego_tensor *ret_tensor, struct lego_diag *diag);
int import_npy_memory(const void *data, size_t bytes, struct lego_tensor *ret_tensor,
                      struct lego_diag *diag);

/* Writes a NumPy file, version 1. E_UNSUPPORTED for bfloat16, which NumPy lacks. */
int export_tensor_npy(const char *path, const struct lego_tensor *tensor, struct lego_diag *diag);

/* Writes a TensorProto with raw_data. */
int export_tensor_pb(const char *path, const struct lego_tensor *tensor, struct lego_diag *diag);

/*
 * Writes a package as an ONNX model, so that any other runtime runs what the `.lego` holds: fused
 * forms are taken apart, coded weights decoded to fp32 one at a time, symbolic dimensions kept. The
 * default domain alone, in opset 17 where every node has a form there (more runtimes and checkers
 * read it), else in opset 21. The file appears whole or not at all.
 *
 * Errors: E_IO and others of the file system, E_LIMIT (over the 2 GiB that protobuf allows),
 * E_UNSUPPORTED (an operator that opset 21 lacks), E_NOMEM.
 */
int export_onnx(const struct lego_package *package, const char *path, struct lego_diag *diag);

#endif
