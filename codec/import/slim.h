/*
 * The model without its weights: a copy of the file's messages that is small enough for protobuf-c.
 *
 * ONNX puts weights inside the message, and protobuf-c copies them. So the file is walked once by
 * wire.c along the messages that onnx.proto knows; each TensorProto becomes a TensorRef (where it
 * lies), fields that nobody reads are dropped, and how deep graphs may nest is bounded here, before
 * protobuf-c recurses. What protobuf-c then unpacks is bounded by the arena it allocates from.
 */
#ifndef LEGO_IMPORT_SLIM_H
#define LEGO_IMPORT_SLIM_H

#include "codec/base/arena.h"
#include "codec/base/diag.h"

#include "onnx.pb-c.h"

/* Graphs inside attributes of nodes inside graphs ...: how many levels are read. */
#define SLIM_MAX_GRAPHS 8

/*
 * Reads the model that lies in `data`. The result lies in `arena` (no separate free) and its
 * TensorRefs are offsets from `data`, each checked to lie inside.
 *
 * Errors: E_FORMAT (with the offset), E_LIMIT (arena's limit, nesting), E_NOMEM.
 */
int slim_model(const void *data, size_t bytes, struct lego_arena *arena, Onnx__Model **ret_model,
               struct lego_diag *diag);

#endif
