/*
 * Frames of the agent's socket, for both ends: 4 bytes little-endian length, then that many bytes
 * of one protobuf envelope (legonet.proto). No state, no threads: safe from anywhere.
 */
#ifndef LEGO_PROTO_FRAME_H
#define LEGO_PROTO_FRAME_H

#include "codec/base/diag.h"

#include "legonet.pb-c.h"

#include <stddef.h>
#include <stdint.h>

#define IPC_FRAME_HEADER_BYTES 4u

/* What both ends accept unless they are configured otherwise, without the header. */
#define IPC_FRAME_MAX_BYTES (16u << 20)

/* Reads a header. LEGO_E_LIMIT where the length is over `limit_bytes`, LEGO_E_FORMAT where it is 0
 * (an envelope is never empty). */
int ipc_frame_length(const uint8_t header[IPC_FRAME_HEADER_BYTES], size_t limit_bytes,
                     size_t *ret_body_bytes, struct lego_diag *diag);

/* Writes a header for a body of `body_bytes` (at most UINT32_MAX). */
void ipc_frame_header(uint8_t header[IPC_FRAME_HEADER_BYTES], size_t body_bytes);

/*
 * Packs a message with its header into one malloc'ed block, which the caller frees. LEGO_E_LIMIT
 * where its body is over `limit_bytes`, LEGO_E_NOMEM.
 */
int ipc_frame_pack(const ProtobufCMessage *message, size_t limit_bytes, uint8_t **ret_frame,
                   size_t *ret_frame_bytes, struct lego_diag *diag);

/*
 * How much memory unpacking a body of that many bytes may take, all blocks ever allocated counted:
 * 20 times its size and 64 KiB for small bodies, 4 times and 16 MiB for large ones. Enough for
 * every honest message; 1 MiB of empty submessages would want 80 MB.
 */
size_t ipc_unpack_budget(size_t body_bytes);

/*
 * Unpacks an envelope, allocating at most ipc_unpack_budget(bytes). The result owns all that it
 * points to, borrows nothing of `body`, and is freed by ipc_request_free / ipc_response_free, on
 * any thread. LEGO_E_FORMAT where the bytes are no such message, LEGO_E_LIMIT over the budget,
 * LEGO_E_NOMEM.
 */
int ipc_request_unpack(const uint8_t *body, size_t bytes, Legonet__Request **ret_request,
                       struct lego_diag *diag);
int ipc_response_unpack(const uint8_t *body, size_t bytes, Legonet__Response **ret_response,
                        struct lego_diag *diag);
void ipc_request_free(Legonet__Request *request);    /* NULL is ignored */
void ipc_response_free(Legonet__Response *response); /* NULL is ignored */

/* The id of a request that could not be unpacked whole, 0 where even that cannot be read: so that
 * its refusal can be told apart from others. */
uint64_t ipc_request_peek_id(const uint8_t *body, size_t bytes);

/* LEGO_OK or LEGO_E_* <-> the wire. A number that this build does not know is LEGO_E_INTERNAL. */
Legonet__Status ipc_status_to_wire(int status);
int ipc_status_from_wire(Legonet__Status status);

#endif
