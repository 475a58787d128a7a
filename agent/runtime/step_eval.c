/*
 * Nodes without a fast path: the reference evaluation, on plain layouts. Its temporaries are the
 * one thing that is allocated while running, beside values whose size depends on the data.
 */
#include "agent/runtime/plan.h"

#include <stdlib.h>
#include <string.h>

struct eval_detail {
    const struct lego_node *node;
    bool dynamic; /* shapes are known only now */
};

/* The arrays of one call, in the scratch of slot 0. */
struct eval_call {
    struct lego_array *inputs, *outputs;
    const struct lego_array **input_pointers;
};

static size_t eval_scratch_bytes(uint32_t inputs, uint32_t outputs)
{
    uint32_t all = inputs + outputs + 2;

    return all * (sizeof(struct lego_array) + sizeof(struct lego_array *));
}

static void eval_carve(struct eval_call *call, void *scratch, uint32_t inputs, uint32_t outputs)
{
    char *at = scratch;

    call->inputs = (struct lego_array *)at;
    at += (inputs + 1) * sizeof(struct lego_array);
    call->outputs = (struct lego_array *)at;
    at += (outputs + 1) * sizeof(struct lego_array);
    call->input_pointers = (const struct lego_array **)at;
}

static struct lego_array eval_array(const struct plan_run *run, int32_t value)
{
    const struct plan_value *of = &run->plan->values[value];

    if (of->storage == PLAN_DYNAMIC)
        return run->dynamic[value];
    return (struct lego_array){.dtype = of->dtype, .shape = of->shape, .data = run->address[value]};
}

/* Runs a node whose outputs' sizes depend on the data: they live until the session's next run. */
static int eval_open(const struct plan_step *step, struct plan_run *run, struct eval_call *call,
                     struct lego_arena *scratch, struct lego_diag *diag)
{
    const struct eval_detail *detail = step->detail;
    int status = lego_eval_node_alloc(run->plan->graph, detail->node, call->input_pointers,
                                      call->outputs, run->dynamic_memory, scratch, diag);

    for (uint32_t i = 0; !status && i < step->output_count; i++) {
        int32_t output = step->outputs[i];
        const struct plan_value *value = output < 0 ? NULL : &run->plan->values[output];
        if (!value)
            continue;
        if (value->storage == PLAN_DYNAMIC) {
            run->dynamic[output] = call->outputs[i];
            run->address[output] = call->outputs[i].data;
        } else if (call->outputs[i].dtype != value->dtype ||
                   !lego_shape_equal(&call->outputs[i].shape, &value->shape)) {
            status = lego_fail(diag, LEGO_E_SHAPE,
                               "output %u has another type or shape than planned", i);
        } else if (value->bytes) {
            memcpy(run->address[output], call->outputs[i].data, value->bytes);
        }
    }
    return status;
}

static int eval_run(const struct plan_step *step, struct plan_run *run, struct lego_diag *diag)
{
    const struct eval_detail *detail = step->detail;
    struct eval_call call;
    struct lego_arena *scratch = lego_arena_create(0);
    int status;

    if (!scratch)
        return lego_fail(diag, LEGO_E_NOMEM, "%s (%s)", step->name, step->op);
    eval_carve(&call, run_slot(run, 0), step->input_count, step->output_count);
    for (uint32_t i = 0; i < step->input_count; i++) {
        call.input_pointers[i] = NULL;
        if (step->inputs[i] < 0)
            continue;
        call.inputs[i] = eval_array(run, step->inputs[i]);
        call.input_pointers[i] = &call.inputs[i];
    }
    for (uint32_t i = 0; i < step->output_count; i++)
        call.outputs[i] =
            step->outputs[i] < 0 ? (struct lego_array){0} : eval_array(run, step->outputs[i]);
    status = detail->dynamic ? eval_open(step, run, &call, scratch, diag)
                             : lego_eval_node(run->plan->graph, detail->node, call.input_pointers,
                                              call.outputs, scratch, diag);
    lego_arena_destroy(scratch);
    return status ? lego_diag_prefix(diag, status, "%s (%s)", step->name, step->op) : LEGO_OK;
}

static int eval_operands(struct plan_builder *b, const struct lego_node *node, int32_t *inputs)
{
    for (uint32_t i = 0; i < node->input_count; i++) {
        int32_t of = node->inputs[i];
        inputs[i] = -1;
        if (of < 0)
            continue;
        inputs[i] = plan_operand(b, of, PLAN_PLAIN);
        if (inputs[i] < 0)
            return inputs[i];
        if (plan_is_constant(b, of)) {
            int status = plan_constant_data(b, of, &b->plan->values[inputs[i]].constant);
            if (status)
                return status;
        }
    }
    return LEGO_OK;
}

int plan_eval(struct plan_builder *b, const struct lego_node *node)
{
    int32_t *values = calloc(node->input_count + node->output_count + 1, sizeof(*values));
    int32_t *outputs = values + node->input_count;
    struct plan_step *step;
    bool dynamic = false;
    int status;

    if (!values)
        return lego_fail(b->diag, LEGO_E_NOMEM, "planning");
    status = eval_operands(b, node, values);
    for (uint32_t i = 0; !status && i < node->output_count; i++) {
        outputs[i] = node->outputs[i] < 0 ? -1 : plan_output(b, node->outputs[i], PLAN_PLAIN);
        if (outputs[i] < -1)
            status = outputs[i];
        else if (outputs[i] >= 0)
            dynamic = dynamic || b->plan->values[outputs[i]].storage == PLAN_DYNAMIC;
    }
    if (!status) {
        plan_need_slot(b, eval_scratch_bytes(node->input_count, node->output_count));
        step = plan_step_add(b, node, eval_run, sizeof(struct eval_detail), values,
                             node->input_count, outputs, node->output_count);
        b->plan->evaluated = true;
        if (step)
            *(struct eval_detail *)step->detail =
                (struct eval_detail){.node = node, .dynamic = dynamic};
        else
            status = LEGO_E_NOMEM;
    }
    free(values);
    return status;
}
