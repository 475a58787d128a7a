/*
 * Inside codec/graph: the operators that run graphs (If, Loop, Scan).
 *
 * What a subgraph needs of the values around it are inputs of the node behind ONNX's own, and
 * inputs of the subgraph behind ONNX's own; graph.h says how they are matched. So every pass sees
 * them as what they are: inputs.
 */
#ifndef LEGO_GRAPH_FLOW_H
#define LEGO_GRAPH_FLOW_H

#include "codec/graph/graph.h"

/* What all evaluations inside one outermost Loop or Scan may take together. */
#define FLOW_MAX_STEPS (1u << 22)        /* nodes and iterations */
#define FLOW_MAX_BYTES ((size_t)1 << 30) /* of arrays that are alive at the same time */

struct flow_budget {
    uint64_t steps;
    size_t bytes;
};

/*
 * Arenas under a budget (NULL: no bounds): opened with what is left, charged when their content
 * stays, freed with the charge given back. One that was not kept is freed as any other arena.
 */
struct lego_arena *flow_arena_open(const struct flow_budget *budget);
void flow_arena_keep(struct flow_budget *budget, const struct lego_arena *arena);
void flow_arena_close(struct flow_budget *budget, struct lego_arena *arena);

/* Counts one step; E_LIMIT with the node named when there have been too many. */
int flow_step(struct flow_budget *budget, const struct lego_node *node, struct lego_diag *diag);

/* The branches of an If; the node's inputs are the condition, then those of either. */
struct flow_if {
    const struct lego_graph *branch[2]; /* [1]: then */
    uint32_t first_input[2];
};

/*
 * Loop and Scan. The body's inputs: `fixed` (Loop: iteration and condition), `carried`, `scanned`,
 * `captured`; its outputs: `conditions` (Loop: 1), `carried`, `stacked`. The node has the same
 * inputs and no output for the condition.
 */
struct flow_body {
    const struct lego_graph *body;
    uint32_t fixed, carried, scanned, captured;
    uint32_t conditions, stacked;
};

static inline bool flow_is(enum lego_op op)
{
    return op == LEGO_OP_If || op == LEGO_OP_Loop || op == LEGO_OP_Scan;
}

/* Reads the node; counts are checked against each other. E_FORMAT with the node named. */
int flow_read_if(const struct lego_node *node, struct flow_if *ret_flow, struct lego_diag *diag);
int flow_read_body(const struct lego_node *node, struct flow_body *ret_flow,
                   struct lego_diag *diag);

/* The axis of a Scan's input or output `index` ("scan_input_axes", "scan_output_axes"), and whether
 * it goes backwards ("scan_input_directions", ...). */
int64_t flow_axis(const struct lego_node *node, const char *axes, uint32_t index);
bool flow_backwards(const struct lego_node *node, const char *directions, uint32_t index);

/* Puts the branch in place of every If whose condition is constant; true where there was one. The
 * graph is to be inferred again. LEGO_OK or E_NOMEM, E_LIMIT. */
int flow_inline(struct lego_graph *graph, bool *ret_changed, struct lego_diag *diag);

#endif
