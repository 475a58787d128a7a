#include "agent/proto/frame.h"

#include "codec/base/arith.h"

#include <stddef.h>
#include <stdlib.h>

#define LEGO_STATUS(name, value, text) \
    _Static_assert(LEGONET__STATUS__##name == -(value), "legonet.proto differs from status.def");
#include "codec/base/status.def"
#undef LEGO_STATUS

/* What each block costs beside its bytes, about: or many small blocks would look cheap. */
#define BLOCK_OVERHEAD_BYTES 16

#define IPC_UNPACK_BASE_BYTES  ((size_t)64 << 10)
#define IPC_UNPACK_EXTRA_BYTES ((size_t)16 << 20)

/* Of the first block, which holds a small message whole: then there is one malloc for it, small
 * enough for the allocator's cache of freed blocks. */
#define POOL_BASE_BYTES 512u
#define POOL_MAX_BYTES  ((size_t)8 << 10)
#define POOL_ALIGN      16u

/* A block that the first one had no room for. */
struct pool_block {
    _Alignas(POOL_ALIGN) struct pool_block *next;
};

/* The memory of one message, which is the first thing in it: so its pool is found again. */
struct pool {
    struct pool_block *blocks;
    size_t used_bytes, capacity_bytes;
    size_t left_bytes; /* of the budget */
    bool exceeded, out_of_memory;
    _Alignas(POOL_ALIGN) uint8_t data[];
};

static void *pool_alloc(void *context, size_t bytes)
{
    struct pool *pool = context;
    size_t cost;
    if (!lego_add_size(bytes, BLOCK_OVERHEAD_BYTES, &cost) || cost > pool->left_bytes) {
        pool->exceeded = true;
        return NULL;
    }
    pool->left_bytes -= cost;
    if (bytes <= pool->capacity_bytes - pool->used_bytes) {
        void *place = pool->data + pool->used_bytes;
        pool->used_bytes += (bytes + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1);
        return place;
    }
    struct pool_block *block = malloc(sizeof(*block) + bytes);
    if (!block) {
        pool->out_of_memory = true;
        return NULL;
    }
    block->next = pool->blocks;
    pool->blocks = block;
    return block + 1;
}

/* All goes at once. Memory that is given back is not credited: total work is bounded, too. */
static void pool_keep(void *context, void *place)
{
    (void)context;
    (void)place;
}

static struct pool *pool_create(size_t body_bytes)
{
    size_t capacity =
        lego_min_size(body_bytes, POOL_MAX_BYTES / 4) * 4 + POOL_BASE_BYTES; /* a multiple */
    capacity = lego_min_size(capacity, POOL_MAX_BYTES) & ~(size_t)(POOL_ALIGN - 1);
    struct pool *pool = malloc(sizeof(*pool) + capacity);
    if (pool)
        *pool =
            (struct pool){.capacity_bytes = capacity, .left_bytes = ipc_unpack_budget(body_bytes)};
    return pool;
}

static void pool_free(struct pool *pool)
{
    while (pool->blocks) {
        struct pool_block *block = pool->blocks;
        pool->blocks = block->next;
        free(block);
    }
    free(pool);
}

static void free_message(void *message)
{
    if (message)
        pool_free((struct pool *)((uint8_t *)message - offsetof(struct pool, data)));
}

int ipc_frame_length(const uint8_t header[IPC_FRAME_HEADER_BYTES], size_t limit_bytes,
                     size_t *ret_body_bytes, struct lego_diag *diag)
{
    uint32_t length = (uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 |
                      (uint32_t)header[3] << 24;
    if (length == 0)
        return lego_fail(diag, LEGO_E_FORMAT, "the frame is empty: its length field is 0");
    if (length > limit_bytes)
        return lego_fail(diag, LEGO_E_LIMIT, "the frame claims %u bytes, the limit is %zu", length,
                         limit_bytes);
    *ret_body_bytes = length;
    return LEGO_OK;
}

void ipc_frame_header(uint8_t header[IPC_FRAME_HEADER_BYTES], size_t body_bytes)
{
    for (unsigned i = 0; i < IPC_FRAME_HEADER_BYTES; i++)
        header[i] = (uint8_t)(body_bytes >> (8 * i));
}

int ipc_frame_pack(const ProtobufCMessage *message, size_t limit_bytes, uint8_t **ret_frame,
                   size_t *ret_frame_bytes, struct lego_diag *diag)
{
    size_t body_bytes = protobuf_c_message_get_packed_size(message);
    size_t frame_bytes;
    if (body_bytes > limit_bytes || body_bytes > UINT32_MAX ||
        !lego_add_size(body_bytes, IPC_FRAME_HEADER_BYTES, &frame_bytes))
        return lego_fail(diag, LEGO_E_LIMIT,
                         "the message is %zu bytes, the limit of a frame is %zu", body_bytes,
                         limit_bytes);
    uint8_t *frame = malloc(frame_bytes);
    if (!frame)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a frame of %zu bytes", frame_bytes);
    ipc_frame_header(frame, body_bytes);
    protobuf_c_message_pack(message, frame + IPC_FRAME_HEADER_BYTES);
    *ret_frame = frame;
    *ret_frame_bytes = frame_bytes;
    return LEGO_OK;
}

/* Values grow at most fourfold but for small integers in 64-bit fields (8) and small messages
 * (about 20), of which an honest sender has few: what they may take on top is capped. */
size_t ipc_unpack_budget(size_t body_bytes)
{
    size_t extra_bytes, budget;
    if (!lego_mul_size(body_bytes, 16, &extra_bytes) || !lego_mul_size(body_bytes, 4, &budget) ||
        !lego_add_size(budget, lego_min_size(extra_bytes, IPC_UNPACK_EXTRA_BYTES), &budget) ||
        !lego_add_size(budget, IPC_UNPACK_BASE_BYTES, &budget))
        return SIZE_MAX;
    return budget;
}

static int unpack_failure(const struct pool *pool, const ProtobufCMessageDescriptor *descriptor,
                          size_t bytes, struct lego_diag *diag)
{
    if (pool->out_of_memory)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to unpack a message of %zu bytes", bytes);
    if (pool->exceeded)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "a message of %zu bytes would take more than %zu bytes of memory", bytes,
                         ipc_unpack_budget(bytes));
    return lego_fail(diag, LEGO_E_FORMAT, "the frame holds no valid %s message (%zu bytes)",
                     descriptor->name, bytes);
}

static int unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *body, size_t bytes,
                  ProtobufCMessage **ret_message, struct lego_diag *diag)
{
    struct pool *pool = pool_create(bytes);
    if (!pool)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to unpack a message of %zu bytes", bytes);
    ProtobufCAllocator allocator = {.alloc = pool_alloc, .free = pool_keep, .allocator_data = pool};
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, bytes, body);
    if (message && (uint8_t *)message == pool->data) {
        *ret_message = message;
        return LEGO_OK;
    }
    int status = unpack_failure(pool, descriptor, bytes, diag);
    pool_free(pool);
    return status;
}

int ipc_request_unpack(const uint8_t *body, size_t bytes, Legonet__Request **ret_request,
                       struct lego_diag *diag)
{
    ProtobufCMessage *message = NULL;
    int status = unpack(&legonet__request__descriptor, body, bytes, &message, diag);
    if (status == LEGO_OK)
        *ret_request = (Legonet__Request *)message;
    return status;
}

int ipc_response_unpack(const uint8_t *body, size_t bytes, Legonet__Response **ret_response,
                        struct lego_diag *diag)
{
    ProtobufCMessage *message = NULL;
    int status = unpack(&legonet__response__descriptor, body, bytes, &message, diag);
    if (status == LEGO_OK)
        *ret_response = (Legonet__Response *)message;
    return status;
}

void ipc_request_free(Legonet__Request *request)
{
    free_message(request);
}

void ipc_response_free(Legonet__Response *response)
{
    free_message(response);
}

uint64_t ipc_request_peek_id(const uint8_t *body, size_t bytes)
{
    if (bytes < 2 || body[0] != (1 << 3 | 0)) /* field 1, varint: every writer puts it first */
        return 0;
    uint64_t id = 0;
    for (size_t i = 1; i < bytes && i <= 10; i++) {
        id |= (uint64_t)(body[i] & 0x7f) << (7 * (i - 1));
        if (!(body[i] & 0x80))
            return id;
    }
    return 0;
}

Legonet__Status ipc_status_to_wire(int status)
{
    switch (status) {
#define LEGO_STATUS(name, value, text) \
    case value:                        \
        return LEGONET__STATUS__##name;
#include "codec/base/status.def"
#undef LEGO_STATUS
    default:
        return LEGONET__STATUS__E_INTERNAL;
    }
}

int ipc_status_from_wire(Legonet__Status status)
{
    switch ((int)status) {
#define LEGO_STATUS(name, value, text) \
    case -(value):                     \
        return value;
#include "codec/base/status.def"
#undef LEGO_STATUS
    default:
        return LEGO_E_INTERNAL;
    }
}
