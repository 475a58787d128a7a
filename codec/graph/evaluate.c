/*
 * lego_graph_evaluate: a whole graph, node by node.
 */
#include "codec/graph/eval_node.h"

#include <stdlib.h>
#include <string.h>

/* A value while the graph is evaluated: its array, and the arena that holds it if it was computed.
 */
struct slot {
    struct lego_array array;
    struct lego_arena *arena; /* shared by the outputs of one node; the first output owns it */
    int32_t owner;            /* the value whose slot has the arena, -1: none */
    uint32_t uses;
    bool known;
};

struct evaluation {
    const struct lego_graph *graph;
    struct slot *slots;
    struct flow_budget *budget; /* NULL: not inside a Loop */
    struct lego_diag *diag;
};

static int no_memory(const struct evaluation *e)
{
    return lego_fail(e->diag, LEGO_E_NOMEM, "no memory to evaluate graph '%s'", e->graph->name);
}

static void count_uses(struct evaluation *e)
{
    for (uint32_t n = 0; n < e->graph->node_count; n++) {
        const struct lego_node *node = &e->graph->nodes[n];
        for (uint32_t i = 0; i < node->input_count; i++) {
            if (node->inputs[i] >= 0)
                e->slots[node->inputs[i]].uses++;
        }
    }
    for (uint32_t i = 0; i < e->graph->output_count; i++)
        e->slots[e->graph->outputs[i]].uses++;
}

/* An array of a node's outputs is freed when none of them is needed any more. */
static void drop_use(struct evaluation *e, int32_t value)
{
    struct slot *slot = &e->slots[value];
    if (--slot->uses > 0 || slot->owner < 0)
        return;
    struct slot *owner = &e->slots[slot->owner];
    slot->owner = -1;
    for (uint32_t v = 0; v < e->graph->value_count; v++) {
        if (e->slots[v].owner >= 0 && &e->slots[e->slots[v].owner] == owner)
            return;
    }
    flow_arena_close(e->budget, owner->arena);
    owner->arena = NULL;
}

static int take_constant(const struct evaluation *e, uint32_t v)
{
    const struct lego_tensor *tensor = &e->graph->tensors[e->graph->values[v].tensor];
    if (tensor->coded)
        return lego_fail(e->diag, LEGO_E_UNSUPPORTED, "constant '%s' is coded", tensor->name);
    e->slots[v].array =
        (struct lego_array){tensor->dtype, tensor->shape, (void *)(uintptr_t)tensor->data};
    e->slots[v].known = true;
    return LEGO_OK;
}

static int take_inputs(const struct evaluation *e, const struct lego_array *inputs)
{
    int status = LEGO_OK;
    for (uint32_t v = 0; v < e->graph->value_count && status == LEGO_OK; v++) {
        e->slots[v].owner = -1;
        if (e->graph->values[v].tensor >= 0)
            status = take_constant(e, v);
    }
    for (uint32_t i = 0; i < e->graph->input_count && status == LEGO_OK; i++) {
        const struct lego_value *value = &e->graph->values[e->graph->inputs[i]];
        e->slots[e->graph->inputs[i]].array = inputs[i];
        e->slots[e->graph->inputs[i]].known = true;
        if (value->dtype != LEGO_DTYPE_UNKNOWN && inputs[i].dtype != value->dtype)
            status =
                lego_fail(e->diag, LEGO_E_TYPE, "input '%s' is %s, the model wants %s", value->name,
                          lego_dtype_name(inputs[i].dtype), lego_dtype_name(value->dtype));
    }
    return status;
}

static int run_node(struct evaluation *e, const struct lego_node *node)
{
    struct lego_arena *arena = flow_arena_open(e->budget), *scratch = flow_arena_open(e->budget);
    const struct lego_array **inputs = NULL;
    struct lego_array *outputs = NULL;
    int status = LEGO_OK;
    if (scratch) {
        inputs = lego_arena_calloc(scratch, node->input_count + 1u, sizeof(*inputs));
        outputs = lego_arena_calloc(scratch, node->output_count + 1u, sizeof(*outputs));
    }
    if (!arena || !inputs || !outputs)
        status = no_memory(e);
    for (uint32_t i = 0; i < node->input_count && status == LEGO_OK; i++) {
        if (node->inputs[i] < 0)
            continue;
        inputs[i] = &e->slots[node->inputs[i]].array;
        if (!e->slots[node->inputs[i]].known)
            status = lego_fail(e->diag, LEGO_E_FORMAT, "node '%s': input %u is not computed yet",
                               node->name, i);
    }
    if (status == LEGO_OK)
        status = flow_step(e->budget, node, e->diag);
    if (status == LEGO_OK)
        status =
            eval_node_within(e->graph, node, inputs, outputs, arena, scratch, e->budget, e->diag);
    int32_t owner = -1;
    for (uint32_t i = 0; i < node->output_count && status == LEGO_OK; i++) {
        if (node->outputs[i] < 0)
            continue;
        struct slot *slot = &e->slots[node->outputs[i]];
        owner = owner < 0 ? node->outputs[i] : owner;
        slot->array = outputs[i];
        slot->known = true;
        slot->owner = slot->uses > 0 ? owner : -1;
    }
    if (owner >= 0) {
        flow_arena_keep(e->budget, arena);
        e->slots[owner].arena = arena;
    } else {
        lego_arena_destroy(arena);
    }
    lego_arena_destroy(scratch);
    for (uint32_t i = 0; i < node->input_count && status == LEGO_OK; i++) {
        if (node->inputs[i] >= 0)
            drop_use(e, node->inputs[i]);
    }
    return status;
}

/* Copies the outputs to the caller's arena. */
static int give_outputs(const struct evaluation *e, struct lego_arena *arena,
                        struct lego_array *ret_outputs)
{
    for (uint32_t i = 0; i < e->graph->output_count; i++) {
        struct lego_array array = e->slots[e->graph->outputs[i]].array;
        size_t bytes = eval_elems(&array) * lego_dtype_bytes(array.dtype);
        if (!e->slots[e->graph->outputs[i]].known)
            return lego_fail(e->diag, LEGO_E_FORMAT, "graph output %u is not computed", i);
        if (bytes > 0) {
            char *room = lego_arena_calloc(arena, 1, bytes + 63);
            if (!room)
                return no_memory(e);
            room += (64 - (uintptr_t)room % 64) % 64;
            memcpy(room, array.data, bytes);
            array.data = room;
        }
        ret_outputs[i] = array;
    }
    return LEGO_OK;
}

int eval_graph_within(const struct lego_graph *graph, const struct lego_array *inputs,
                      struct lego_array *ret_outputs, struct lego_arena *arena,
                      struct flow_budget *budget, struct lego_diag *diag)
{
    struct evaluation e = {.graph = graph, .budget = budget, .diag = diag};
    e.slots = calloc(graph->value_count + 1u, sizeof(*e.slots));
    struct lego_array *outputs =
        lego_arena_calloc(arena, graph->output_count + 1u, sizeof(*outputs));
    if (!e.slots || !outputs) {
        free(e.slots);
        return no_memory(&e);
    }
    count_uses(&e);
    int status = take_inputs(&e, inputs);
    for (uint32_t n = 0; n < graph->node_count && status == LEGO_OK; n++)
        status = run_node(&e, &graph->nodes[n]);
    if (status == LEGO_OK)
        status = give_outputs(&e, arena, outputs);
    if (status == LEGO_OK)
        memcpy(ret_outputs, outputs, graph->output_count * sizeof(*outputs));
    for (uint32_t v = 0; v < graph->value_count; v++)
        flow_arena_close(budget, e.slots[v].arena);
    free(e.slots);
    return status;
}

int lego_graph_evaluate(const struct lego_graph *graph, const struct lego_array *inputs,
                        struct lego_array *ret_outputs, struct lego_arena *arena,
                        struct lego_diag *diag)
{
    return eval_graph_within(graph, inputs, ret_outputs, arena, NULL, diag);
}
