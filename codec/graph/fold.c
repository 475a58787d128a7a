/*
 * lego_graph_infer: shapes and types through the whole graph, and folding of what is constant.
 *
 * Folded results live on the heap while the pass runs and are freed when their last reader is
 * folded too, so that long chains (Shape -> Gather -> ... -> Pad) cost nothing; what is still read
 * in the end is copied to the graph's arena.
 */
#include "codec/graph/fold.h"

#include "codec/graph/eval_node.h"
#include "codec/graph/flow.h"

#include <stdlib.h>
#include <string.h>

/* Folded results that may be alive together; past it nodes stay nodes. */
#define FOLD_HELD_MAX_BYTES (256u << 20)
/* Growth that folding may cause where all inputs die: int8 weights become fp32. */
#define FOLD_GROWTH 4
/* Temporaries of one evaluation. */
#define FOLD_SCRATCH_MAX_BYTES (256u << 20)
/* All contents of the pass. */
#define FOLD_CONTENT_MAX_BYTES (64u << 20)

static int no_memory(const struct fold_pass *pass)
{
    return lego_fail(pass->diag, LEGO_E_NOMEM, "no memory to infer graph '%s'", pass->graph->name);
}

/* Values of a graph that a subgraph sees by name count as used. */
static void count_captures(struct fold_pass *pass, const struct lego_graph *sub, unsigned depth)
{
    if (depth > 16)
        return;
    for (uint32_t v = 0; v < sub->value_count; v++) {
        int32_t outer = lego_graph_find_value(pass->graph, sub->values[v].name);
        if (outer >= 0)
            pass->facts[outer].uses++;
    }
    for (uint32_t n = 0; n < sub->node_count; n++) {
        for (uint32_t a = 0; a < sub->nodes[n].attr_count; a++) {
            if (sub->nodes[n].attrs[a].type == LEGO_ATTR_GRAPH)
                count_captures(pass, sub->nodes[n].attrs[a].graph, depth + 1);
        }
    }
}

static void count_uses(struct fold_pass *pass)
{
    const struct lego_graph *graph = pass->graph;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        for (uint32_t i = 0; i < node->input_count; i++) {
            if (node->inputs[i] >= 0)
                pass->facts[node->inputs[i]].uses++;
        }
        for (uint32_t a = 0; a < node->attr_count; a++) {
            if (node->attrs[a].type == LEGO_ATTR_GRAPH)
                count_captures(pass, node->attrs[a].graph, 0);
        }
    }
    for (uint32_t i = 0; i < graph->output_count; i++)
        pass->facts[graph->outputs[i]].uses++;
}

static void take_tensors(struct fold_pass *pass)
{
    struct lego_graph *graph = pass->graph;
    for (uint32_t v = 0; v < graph->value_count; v++) {
        struct lego_value *value = &graph->values[v];
        if (value->tensor < 0)
            continue;
        const struct lego_tensor *tensor = &graph->tensors[value->tensor];
        value->dtype = tensor->dtype;
        value->shape = tensor->shape;
        if (tensor->coded)
            continue;
        pass->facts[v].constant = true;
        pass->facts[v].array =
            (struct lego_array){tensor->dtype, tensor->shape, (void *)(uintptr_t)tensor->data};
    }
}

/* One reader less; what nobody reads is freed. */
static void drop_use(struct fold_pass *pass, int32_t value)
{
    struct fold_fact *fact = &pass->facts[value];
    if (fact->uses > 0 && --fact->uses == 0 && fact->owned) {
        pass->folded_bytes -= eval_elems(&fact->array) * lego_dtype_bytes(fact->array.dtype);
        free(fact->array.data);
        *fact = (struct fold_fact){0};
    }
}

static void remove_node(struct fold_pass *pass, uint32_t n)
{
    const struct lego_node *node = &pass->graph->nodes[n];
    pass->removed[n] = true;
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= 0)
            drop_use(pass, node->inputs[i]);
    }
}

/* A node's io in arrays of the pass's arena. */
struct fold_io {
    struct lego_infer_io io;
    struct infer_context context;
};

static int make_io(struct fold_pass *pass, const struct lego_node *node, struct lego_arena *arena,
                   struct fold_io *ret_io)
{
    uint32_t ins = node->input_count ? node->input_count : 1, outs = node->output_count;
    enum lego_dtype *dtypes = lego_arena_calloc(arena, ins, sizeof(*dtypes));
    struct lego_shape *shapes = lego_arena_calloc(arena, ins, sizeof(*shapes));
    const struct lego_array **constants =
        lego_arena_calloc(arena, ins, sizeof(const struct lego_array *));
    const struct infer_content **contents =
        lego_arena_calloc(arena, ins, sizeof(const struct infer_content *));
    enum lego_dtype *out_dtypes = lego_arena_calloc(arena, outs + 1u, sizeof(*out_dtypes));
    struct lego_shape *out_shapes = lego_arena_calloc(arena, outs + 1u, sizeof(*out_shapes));
    if (!dtypes || !shapes || !constants || !contents || !out_dtypes || !out_shapes)
        return no_memory(pass);
    for (uint32_t i = 0; i < node->input_count; i++) {
        shapes[i].rank = LEGO_RANK_UNKNOWN;
        if (node->inputs[i] < 0)
            continue;
        const struct fold_fact *fact = &pass->facts[node->inputs[i]];
        dtypes[i] = pass->graph->values[node->inputs[i]].dtype;
        shapes[i] = pass->graph->values[node->inputs[i]].shape;
        constants[i] = fact->constant ? &fact->array : NULL;
        contents[i] = fact->content;
    }
    ret_io->io = (struct lego_infer_io){
        .graph = pass->graph,
        .node = node,
        .dtypes = dtypes,
        .shapes = shapes,
        .constants = constants,
        .ret_dtypes = out_dtypes,
        .ret_shapes = out_shapes,
    };
    ret_io->context =
        (struct infer_context){.io = &ret_io->io, .contents = contents, .diag = pass->diag};
    return LEGO_OK;
}

static void set_values(struct fold_pass *pass, const struct lego_node *node,
                       const struct lego_infer_io *io)
{
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            continue;
        struct lego_value *value = &pass->graph->values[node->outputs[i]];
        if (io->ret_dtypes[i] != LEGO_DTYPE_UNKNOWN)
            value->dtype = io->ret_dtypes[i];
        value->shape = io->ret_shapes[i];
    }
}

/* Keeps a heap array as the constant of a value. */
static void own_constant(struct fold_pass *pass, int32_t value, const struct lego_array *array)
{
    struct fold_fact *fact = &pass->facts[value];
    fact->array = *array;
    fact->constant = true;
    fact->owned = true;
    pass->folded_bytes += eval_elems(array) * lego_dtype_bytes(array->dtype);
}

/* A heap array for an output; false where memory is short. */
static bool make_array(enum lego_dtype dtype, const struct lego_shape *shape,
                       struct lego_array *ret_array)
{
    size_t elems, bytes;
    if (lego_shape_elems(shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(dtype), &bytes) ||
        !lego_align_up(bytes ? bytes : 1, 64, &bytes))
        return false;
    void *data = aligned_alloc(64, bytes);
    if (!data)
        return false;
    memset(data, 0, bytes);
    *ret_array = (struct lego_array){dtype, *shape, data};
    return true;
}

/* A content of numbers alone is a constant (Shape of what is static, say). */
static bool fold_content(struct fold_pass *pass, int32_t value, const struct infer_content *content)
{
    const struct lego_value *v = &pass->graph->values[value];
    struct lego_array array;
    if (!infer_type_in(v->dtype, LEGO_TYPES_INDEX | LEGO_TYPES_BOOL) ||
        !infer_content_is_constant(content) || !make_array(v->dtype, &v->shape, &array))
        return false;
    for (size_t i = 0; i < content->count; i++)
        eval_store_int(&array, i, 1, &content->elems[i].value);
    own_constant(pass, value, &array);
    return true;
}

/* True where all inputs are known and the result is worth its bytes. */
static bool may_fold(const struct fold_pass *pass, const struct lego_node *node)
{
    size_t in_bytes = 0, out_bytes = 0;
    bool all_die = true;
    for (uint32_t a = 0; a < node->attr_count; a++) {
        if (node->attrs[a].type == LEGO_ATTR_GRAPH)
            return false;
    }
    for (uint32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] < 0)
            continue;
        const struct fold_fact *fact = &pass->facts[node->inputs[i]];
        if (!fact->constant)
            return false;
        all_die &= fact->uses == 1;
        in_bytes += eval_elems(&fact->array) * lego_dtype_bytes(fact->array.dtype);
    }
    for (uint32_t i = 0; i < node->output_count; i++) {
        size_t elems, bytes;
        if (node->outputs[i] < 0)
            continue;
        const struct lego_value *value = &pass->graph->values[node->outputs[i]];
        if (lego_shape_elems(&value->shape, &elems) != LEGO_OK ||
            !lego_mul_size(elems, lego_dtype_bytes(value->dtype), &bytes) ||
            !lego_add_size(out_bytes, bytes, &out_bytes) || lego_dtype_bytes(value->dtype) == 0)
            return false;
    }
    if (out_bytes > LEGO_FOLD_MAX_BYTES && !(all_die && out_bytes / FOLD_GROWTH <= in_bytes))
        return false;
    return out_bytes <= FOLD_HELD_MAX_BYTES &&
           pass->folded_bytes <= FOLD_HELD_MAX_BYTES - out_bytes;
}

/* Evaluates a node whose inputs are known. Out of memory only leaves the node as it is. */
static int fold_node(struct fold_pass *pass, const struct lego_node *node, const struct fold_io *io,
                     bool *ret_folded)
{
    struct lego_arena *scratch = lego_arena_create(FOLD_SCRATCH_MAX_BYTES);
    struct lego_array *outputs =
        scratch ? lego_arena_calloc(scratch, node->output_count, sizeof(*outputs)) : NULL;
    bool enough = outputs != NULL;
    for (uint32_t i = 0; i < node->output_count && enough; i++) {
        if (node->outputs[i] < 0)
            continue;
        const struct lego_value *value = &pass->graph->values[node->outputs[i]];
        enough = make_array(value->dtype, &value->shape, &outputs[i]);
    }
    int status = LEGO_E_NOMEM;
    if (enough)
        status = lego_eval_node(pass->graph, node, io->io.constants, outputs, scratch, pass->diag);
    for (uint32_t i = 0; outputs && i < node->output_count; i++) {
        if (node->outputs[i] < 0)
            continue;
        if (status == LEGO_OK)
            own_constant(pass, node->outputs[i], &outputs[i]);
        else
            free(outputs[i].data);
    }
    lego_arena_destroy(scratch);
    *ret_folded = status == LEGO_OK;
    return status == LEGO_E_NOMEM ? LEGO_OK : status;
}

static int visit_node(struct fold_pass *pass, uint32_t n)
{
    const struct lego_node *node = &pass->graph->nodes[n];
    struct lego_arena *scratch = lego_arena_create(0);
    struct fold_io io;
    if (!scratch)
        return no_memory(pass);
    int status = make_io(pass, node, scratch, &io);
    if (status == LEGO_OK)
        status = infer_one(&io.context);
    bool folded = false;
    if (status == LEGO_OK) {
        set_values(pass, node, &io.io);
        if (may_fold(pass, node))
            status = fold_node(pass, node, &io, &folded);
    }
    bool single = node->output_count > 0 && node->outputs[0] >= 0;
    for (uint32_t i = 1; i < node->output_count; i++)
        single &= node->outputs[i] < 0;
    if (status == LEGO_OK && !folded && single) {
        struct infer_content *content;
        infer_content(&io.context, pass->arena, &content);
        pass->facts[node->outputs[0]].content = content;
        folded = content && fold_content(pass, node->outputs[0], content);
    }
    if (folded)
        remove_node(pass, n);
    lego_arena_destroy(scratch);
    return status;
}

/* Makes tensors of the folded values that something still reads. */
static int keep_constants(struct fold_pass *pass)
{
    struct lego_graph *graph = pass->graph;
    for (uint32_t v = 0; v < graph->value_count; v++) {
        struct fold_fact *fact = &pass->facts[v];
        if (!fact->owned || fact->uses == 0)
            continue;
        int32_t tensor = lego_graph_add_tensor(graph, graph->values[v].name, fact->array.dtype,
                                               &fact->array.shape);
        if (tensor < 0)
            return tensor == LEGO_E_NOMEM ? no_memory(pass) : tensor;
        struct lego_tensor *made = &graph->tensors[tensor];
        if (made->bytes > 0) {
            /* 64-byte alignment, which the arena does not promise */
            char *room = lego_arena_calloc(graph->arena, 1, made->bytes + 63);
            if (!room)
                return no_memory(pass);
            room += (64 - (uintptr_t)room % 64) % 64;
            memcpy(room, fact->array.data, made->bytes);
            made->data = room;
        }
        graph->values[v].tensor = tensor;
    }
    return LEGO_OK;
}

static void drop_removed(struct fold_pass *pass)
{
    struct lego_graph *graph = pass->graph;
    uint32_t kept = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (!pass->removed[n])
            graph->nodes[kept++] = graph->nodes[n];
    }
    graph->node_count = kept;
}

static int fold_once(struct lego_graph *graph, struct lego_diag *diag)
{
    struct fold_pass pass = {.graph = graph, .diag = diag};
    uint32_t values = graph->value_count;
    int status = LEGO_OK;
    pass.arena = lego_arena_create(FOLD_CONTENT_MAX_BYTES);
    pass.facts = calloc(values + 1u, sizeof(*pass.facts));
    pass.removed = calloc(graph->node_count + 1u, sizeof(*pass.removed));
    if (!pass.arena || !pass.facts || !pass.removed) {
        status = no_memory(&pass);
        goto out;
    }
    count_uses(&pass);
    take_tensors(&pass);
    for (uint32_t n = 0; n < graph->node_count && status == LEGO_OK; n++)
        status = visit_node(&pass, n);
    if (status == LEGO_OK)
        status = keep_constants(&pass);
    if (status == LEGO_OK) {
        drop_removed(&pass);
        status = fold_compact(graph, diag);
    }
out:
    for (uint32_t v = 0; pass.facts && v < values; v++) {
        if (pass.facts[v].owned)
            free(pass.facts[v].array.data);
    }
    free(pass.facts);
    free(pass.removed);
    lego_arena_destroy(pass.arena);
    return status;
}

/* Deciding an If may decide others: those in its branch, and those that its outputs lead to. Each
 * round removes one at least. */
int fold_run(struct lego_graph *graph, struct lego_diag *diag)
{
    bool again = true;
    int status = LEGO_OK;
    while (again && status == LEGO_OK) {
        again = false;
        status = fold_once(graph, diag);
        if (status == LEGO_OK)
            status = flow_inline(graph, &again, diag);
    }
    return status;
}

int lego_graph_infer(struct lego_graph *graph, struct lego_diag *diag)
{
    return fold_run(graph, diag);
}
