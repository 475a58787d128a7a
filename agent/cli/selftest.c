#include "agent/cli/selftest.h"

#include "codec/base/half.h"
#include "codec/encode/examples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_LIMIT_BYTES ((size_t)256 << 20)

/* Kernels of different machines add in different orders; this is far above what that does and far
 * below what a wrong weight does. */
#define TOLERANCE 1e-3f
/* Where products are of integers, such a difference may move an activation to the next one. */
#define TOLERANCE_INTEGER 0.1f

static bool has_integers(const struct lego_graph *graph)
{
    for (uint32_t i = 0; i < graph->tensor_count; i++)
        if (graph->tensors[i].integer)
            return true;
    return false;
}

static int make_input(struct lego_package *package, uint32_t index, uint64_t seed,
                      struct lego_tensor *tensor, struct lego_diag *diag)
{
    const struct lego_graph *graph = package->graph;
    const struct lego_value *value = &graph->values[graph->inputs[index]];
    size_t elems;

    tensor->name = value->name;
    tensor->dtype = value->dtype;
    int status = encode_example_shape(package, index, &tensor->shape, diag);
    if (status != LEGO_OK)
        return status;
    if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK || elems == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the size of input '%s' is open", value->name);
    tensor->bytes = elems * lego_dtype_bytes(tensor->dtype);
    if (tensor->bytes == 0 || tensor->bytes > INPUT_LIMIT_BYTES)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "input '%s' is too large", value->name);
    void *data = lego_arena_calloc(graph->arena, tensor->bytes, 1);
    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for input '%s'", value->name);
    lego_selftest_fill(seed, index, tensor, data);
    tensor->data = data;
    return LEGO_OK;
}

static bool is_finite(const struct lego_io *io)
{
    const size_t size = lego_dtype_bytes(io->dtype);

    for (size_t i = 0; size > 0 && i < io->bytes / size; i++) {
        double value = 0;

        if (io->dtype == LEGO_DTYPE_FLOAT32)
            value = (double)((const float *)io->data)[i];
        else if (io->dtype == LEGO_DTYPE_FLOAT64)
            value = ((const double *)io->data)[i];
        else if (io->dtype == LEGO_DTYPE_FLOAT16)
            value = (double)lego_half_to_float(((const uint16_t *)io->data)[i]);
        if (!isfinite(value))
            return false;
    }
    return true;
}

static int keep_output(struct lego_package *package, uint32_t index, const struct lego_io *io,
                       struct lego_tensor *tensor, struct lego_diag *diag)
{
    const struct lego_graph *graph = package->graph;
    const char *name = graph->values[graph->outputs[index]].name;

    if (!is_finite(io))
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "output '%s' is not finite", name);
    *tensor = (struct lego_tensor){
        .name = name, .dtype = io->dtype, .shape = io->shape, .bytes = io->bytes};
    tensor->data = lego_arena_memdup(graph->arena, io->data, io->bytes);
    if (!tensor->data)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for output '%s'", name);
    return LEGO_OK;
}

static int run(struct lego_package *package, struct lego_model *model,
               struct lego_selftest *selftest, size_t limit_bytes, uint32_t threads,
               struct lego_diag *diag)
{
    struct lego_session *session = NULL;
    const struct lego_session_options options = {.threads = threads};
    struct lego_io *inputs = calloc(selftest->input_count + 1, sizeof(*inputs));
    struct lego_io *outputs = calloc(selftest->output_count + 1, sizeof(*outputs));
    size_t bytes = 0;
    int status = LEGO_OK;

    if (!inputs || !outputs)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for a self-test");
    if (status == LEGO_OK)
        status = lego_session_create(model, &options, &session, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < selftest->input_count; i++) {
        const struct lego_tensor *tensor = &selftest->inputs[i];

        inputs[i] = (struct lego_io){.dtype = tensor->dtype,
                                     .shape = tensor->shape,
                                     .data = (void *)tensor->data,
                                     .bytes = tensor->bytes};
    }
    if (status == LEGO_OK)
        status = lego_session_run(session, inputs, selftest->input_count, outputs,
                                  selftest->output_count, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < selftest->output_count; i++) {
        bytes += outputs[i].bytes;
        status = keep_output(package, i, &outputs[i], &selftest->outputs[i], diag);
    }
    if (status == LEGO_OK && bytes > limit_bytes)
        status = lego_fail(diag, LEGO_E_UNSUPPORTED, "its outputs take %zu bytes", bytes);
    lego_session_destroy(session);
    free(inputs);
    free(outputs);
    return status;
}

int selftest_attach(struct lego_package *package, struct lego_model *model, uint64_t seed,
                    size_t limit_bytes, uint32_t threads, struct lego_diag *diag)
{
    const struct lego_graph *graph = package->graph;
    struct lego_selftest selftest = {
        .input_count = graph->input_count,
        .output_count = graph->output_count,
        .inputs = lego_arena_calloc(graph->arena, graph->input_count + 1, sizeof(*selftest.inputs)),
        .outputs =
            lego_arena_calloc(graph->arena, graph->output_count + 1, sizeof(*selftest.outputs)),
        .tolerance = has_integers(graph) ? TOLERANCE_INTEGER : TOLERANCE,
        .generated = true,
        .seed = seed,
    };
    int status = LEGO_OK;

    if (!selftest.inputs || !selftest.outputs)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a self-test");
    if (graph->input_count == 0 || graph->output_count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the model has no inputs or no outputs");
    for (uint32_t i = 0; status == LEGO_OK && i < selftest.input_count; i++)
        status = make_input(package, i, seed, &selftest.inputs[i], diag);
    if (status == LEGO_OK)
        status = run(package, model, &selftest, limit_bytes, threads, diag);
    if (status == LEGO_OK)
        package->selftest = selftest;
    return status == LEGO_OK || status == LEGO_E_NOMEM ? status : LEGO_E_UNSUPPORTED;
}
