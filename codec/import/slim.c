#include "codec/import/slim.h"

#include "codec/base/arith.h"
#include "codec/import/wire.h"

#include <stdlib.h>
#include <string.h>

enum message {
    MSG_MODEL,
    MSG_OPERATOR_SET,
    MSG_GRAPH,
    MSG_NODE,
    MSG_ATTRIBUTE,
    MSG_VALUE_INFO,
    MSG_VALUE_TYPE,
    MSG_TENSOR_TYPE,
    MSG_TENSOR_SHAPE,
    MSG_SHAPE_DIM,
    MSG_COUNT,
};

/* What becomes of a field; RULE_DESCEND + child: a message, by the rules of that one. */
enum rule {
    RULE_DROP = 0, /* what the table does not name */
    RULE_COPY,     /* numbers and texts */
    RULE_TENSOR,   /* a TensorProto: a TensorRef takes its place */
    RULE_PRESENT,  /* a message of which only its being there matters */
    RULE_DESCEND,
};

#define MAX_FIELD 24
static const uint8_t rules[MSG_COUNT][MAX_FIELD] = {
    [MSG_MODEL] = {[1] = RULE_COPY,
                   [2] = RULE_COPY,
                   [3] = RULE_COPY,
                   [7] = RULE_DESCEND + MSG_GRAPH,
                   [8] = RULE_DESCEND + MSG_OPERATOR_SET},
    [MSG_OPERATOR_SET] = {[1] = RULE_COPY, [2] = RULE_COPY},
    [MSG_GRAPH] = {[1] = RULE_DESCEND + MSG_NODE,
                   [2] = RULE_COPY,
                   [5] = RULE_TENSOR,
                   [11] = RULE_DESCEND + MSG_VALUE_INFO,
                   [12] = RULE_DESCEND + MSG_VALUE_INFO,
                   [15] = RULE_PRESENT},
    [MSG_NODE] = {[1] = RULE_COPY,
                  [2] = RULE_COPY,
                  [3] = RULE_COPY,
                  [4] = RULE_COPY,
                  [5] = RULE_DESCEND + MSG_ATTRIBUTE,
                  [7] = RULE_COPY},
    [MSG_ATTRIBUTE] = {[1] = RULE_COPY,
                       [2] = RULE_COPY,
                       [3] = RULE_COPY,
                       [4] = RULE_COPY,
                       [5] = RULE_TENSOR,
                       [6] = RULE_DESCEND + MSG_GRAPH,
                       [7] = RULE_COPY,
                       [8] = RULE_COPY,
                       [9] = RULE_COPY,
                       [10] = RULE_PRESENT,
                       [11] = RULE_PRESENT,
                       [14] = RULE_PRESENT,
                       [15] = RULE_PRESENT,
                       [20] = RULE_COPY,
                       [21] = RULE_COPY,
                       [22] = RULE_PRESENT,
                       [23] = RULE_PRESENT},
    [MSG_VALUE_INFO] = {[1] = RULE_COPY, [2] = RULE_DESCEND + MSG_VALUE_TYPE},
    [MSG_VALUE_TYPE] = {[1] = RULE_DESCEND + MSG_TENSOR_TYPE,
                        [4] = RULE_PRESENT,
                        [5] = RULE_PRESENT,
                        [7] = RULE_PRESENT,
                        [8] = RULE_PRESENT,
                        [9] = RULE_PRESENT},
    [MSG_TENSOR_TYPE] = {[1] = RULE_COPY, [2] = RULE_DESCEND + MSG_TENSOR_SHAPE},
    [MSG_TENSOR_SHAPE] = {[1] = RULE_DESCEND + MSG_SHAPE_DIM},
    [MSG_SHAPE_DIM] = {[1] = RULE_COPY, [2] = RULE_COPY},
};

struct slimmer {
    const uint8_t *base;
    uint8_t *out; /* malloc'ed, grows */
    size_t used, capacity, limit;
    struct lego_diag *diag;
};

static int malformed(const struct slimmer *slimmer, const uint8_t *at)
{
    return lego_fail(slimmer->diag, LEGO_E_FORMAT,
                     "not an ONNX model, or a damaged one: malformed protobuf near byte %zu",
                     (size_t)(at - slimmer->base));
}

static int emit(struct slimmer *slimmer, const void *data, size_t bytes)
{
    size_t need;
    if (!lego_add_size(slimmer->used, bytes, &need) || need > slimmer->limit)
        return lego_fail(slimmer->diag, LEGO_E_LIMIT,
                         "the model's graph (without weights) is larger than the limit of %zu "
                         "bytes",
                         slimmer->limit);
    if (need > slimmer->capacity) {
        size_t capacity = lego_max_size(need, lego_min_size(slimmer->limit, 2 * need));
        uint8_t *out = realloc(slimmer->out, capacity);
        if (!out)
            return lego_fail(slimmer->diag, LEGO_E_NOMEM, "out of memory reading the model");
        slimmer->out = out;
        slimmer->capacity = capacity;
    }
    if (bytes)
        memcpy(slimmer->out + slimmer->used, data, bytes);
    slimmer->used = need;
    return 0;
}

static int emit_varint(struct slimmer *slimmer, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count] = (uint8_t)(value & 0x7f);
        value >>= 7;
        if (value)
            bytes[count] |= 0x80;
        count++;
    } while (value);
    return emit(slimmer, bytes, count);
}

static int emit_tag(struct slimmer *slimmer, uint32_t number, enum wire_type type)
{
    return emit_varint(slimmer, (uint64_t)number << 3 | type);
}

static int emit_copy(struct slimmer *slimmer, const struct wire_field *field)
{
    int status = emit_tag(slimmer, field->number, field->type);
    if (!status && field->type == WIRE_BYTES)
        status = emit_varint(slimmer, field->bytes);
    return status ? status : emit(slimmer, field->data, field->bytes);
}

static int emit_tensor_ref(struct slimmer *slimmer, const struct wire_field *field)
{
    enum { TAG_OFFSET = 1 << 3 | WIRE_FIXED64, TAG_BYTES = 2 << 3 | WIRE_FIXED64, REF_BYTES = 18 };
    uint64_t numbers[2] = {(uint64_t)(field->data - slimmer->base), field->bytes};
    uint8_t ref[REF_BYTES] = {[0] = TAG_OFFSET, [9] = TAG_BYTES};
    for (unsigned i = 0; i < 8; i++) {
        ref[1 + i] = (uint8_t)(numbers[0] >> (8 * i));
        ref[10 + i] = (uint8_t)(numbers[1] >> (8 * i));
    }
    int status = emit_tag(slimmer, field->number, WIRE_BYTES);
    if (!status)
        status = emit_varint(slimmer, REF_BYTES);
    return status ? status : emit(slimmer, ref, REF_BYTES);
}

static int slim_message(struct slimmer *slimmer, const struct wire_field *whole,
                        enum message message, unsigned graphs);

/*
 * A nested message: its length is known only afterwards, so it is written as a varint of the fixed
 * width 5 (padded with empty continuation bytes, which the format allows).
 */
static int emit_nested(struct slimmer *slimmer, const struct wire_field *field, enum message child,
                       unsigned graphs)
{
    enum { LENGTH_BYTES = 5 };
    static const uint8_t room[LENGTH_BYTES];
    int status = emit_tag(slimmer, field->number, WIRE_BYTES);
    size_t length_at = slimmer->used;
    if (!status)
        status = emit(slimmer, room, LENGTH_BYTES);
    if (!status)
        status = slim_message(slimmer, field, child, graphs);
    if (status)
        return status;
    uint64_t length = slimmer->used - length_at - LENGTH_BYTES;
    for (unsigned i = 0; i < LENGTH_BYTES; i++, length >>= 7)
        slimmer->out[length_at + i] =
            (uint8_t)((length & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
    return 0;
}

static int slim_field(struct slimmer *slimmer, const struct wire_field *field, unsigned rule,
                      unsigned graphs)
{
    if (rule == RULE_COPY)
        return emit_copy(slimmer, field);
    if (field->type != WIRE_BYTES)
        return malformed(slimmer, field->data);
    if (rule == RULE_TENSOR)
        return emit_tensor_ref(slimmer, field);
    if (rule >= RULE_DESCEND)
        return emit_nested(slimmer, field, (enum message)(rule - RULE_DESCEND), graphs);
    struct wire_field empty = *field;
    empty.bytes = 0;
    return emit_copy(slimmer, &empty);
}

static int slim_message(struct slimmer *slimmer, const struct wire_field *whole,
                        enum message message, unsigned graphs)
{
    if (message == MSG_GRAPH && ++graphs > SLIM_MAX_GRAPHS)
        return lego_fail(slimmer->diag, LEGO_E_LIMIT,
                         "subgraphs nest deeper than the limit of %d levels", SLIM_MAX_GRAPHS);
    struct wire wire = wire_open(whole->data, whole->bytes);
    struct wire_field field;
    int more;
    while ((more = wire_next(&wire, &field)) > 0) {
        if (field.number >= MAX_FIELD || rules[message][field.number] == RULE_DROP)
            continue;
        int status = slim_field(slimmer, &field, rules[message][field.number], graphs);
        if (status)
            return status;
    }
    return more < 0 ? malformed(slimmer, wire.at) : 0;
}

struct budget {
    struct lego_arena *arena;
    bool exhausted;
};

static void *arena_alloc(void *context, size_t bytes)
{
    struct budget *budget = context;
    void *memory = lego_arena_calloc(budget->arena, 1, bytes);
    budget->exhausted |= !memory;
    return memory;
}

static void arena_free(void *context, void *memory)
{
    (void)context; /* the arena goes as a whole */
    (void)memory;
}

int slim_model(const void *data, size_t bytes, struct lego_arena *arena, Onnx__Model **ret_model,
               struct lego_diag *diag)
{
    /* A graph of more than this, weights apart, is no model: the largest known ones need a
       hundredth. It keeps the 5-byte lengths above in range, too. */
    struct slimmer slimmer = {.base = data, .limit = (size_t)256 << 20, .diag = diag};
    struct wire_field whole = {.type = WIRE_BYTES, .data = data, .bytes = bytes};
    int status = slim_message(&slimmer, &whole, MSG_MODEL, 0);
    if (!status) {
        struct budget budget = {.arena = arena};
        ProtobufCAllocator allocator = {arena_alloc, arena_free, &budget};
        Onnx__Model *model = onnx__model__unpack(&allocator, slimmer.used, slimmer.out);
        if (model)
            *ret_model = model;
        else if (budget.exhausted)
            status = lego_fail(diag, LEGO_E_NOMEM,
                               "reading the model's graph needs more memory than there is, or than "
                               "its limit allows");
        else
            status = lego_fail(diag, LEGO_E_FORMAT,
                               "not an ONNX model, or a damaged one: a field has the wrong type");
    }
    free(slimmer.out);
    return status;
}
