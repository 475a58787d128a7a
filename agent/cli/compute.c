#include "agent/cli/compute.h"

#include "agent/cli/predict.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXAMPLES     4
#define MIN_CHANNELS 8
#define MAX_DEPTH    131072 /* products in a sum, with the channels' padding */
#define PADDING      16

/* A marked constant of the package and what its layer costs alone, in percent. */
struct candidate {
    struct lego_tensor *tensor;
    double error;
};

struct choice {
    const char *trial;
    struct candidate *candidates; /* the cheapest first, once they are measured */
    uint32_t count;
    struct predict *predict;
};

/* True where the node's product with `weights` can be of integers. */
static bool node_fits(const struct lego_node *node, const struct lego_tensor *weights)
{
    const struct lego_shape *shape = &weights->shape;
    int64_t channels, taps = 1;

    if (weights->dtype != LEGO_DTYPE_FLOAT32 || shape->rank < 2)
        return false;
    channels = shape->dim[1];
    if (node->op == LEGO_OP_Conv) {
        for (int d = 2; d < shape->rank; d++)
            taps *= shape->dim[d];
        if (lego_node_int(node, "group", 1) != 1)
            return false;
    } else if (node->op == LEGO_OP_Gemm || node->op == LEGO_OP_MatMul) {
        if (node->op == LEGO_OP_MatMul || !lego_node_int(node, "transB", 0))
            channels = shape->dim[0];
        if (shape->rank != 2 || lego_node_int(node, "transA", 0) ||
            lego_node_float(node, "alpha", 1) != 1 || lego_node_float(node, "beta", 1) != 1)
            return false;
    } else {
        return false;
    }
    return channels >= MIN_CHANNELS && taps > 0 && channels + PADDING <= MAX_DEPTH / taps;
}

uint32_t compute_mark(struct lego_package *package)
{
    struct lego_graph *graph = package->graph;
    uint32_t count = 0;

    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];
        const struct lego_tensor *weights =
            node->input_count > 1 ? lego_node_constant(graph, node, 1) : NULL;
        if (!weights || !node_fits(node, weights))
            continue;
        struct lego_tensor *tensor = &graph->tensors[weights - graph->tensors];
        count += !tensor->integer;
        tensor->integer = true;
    }
    return count;
}

/* Opens the trial file with integers in candidates [first, end) alone. */
static int open_trial(const struct choice *choice, uint32_t first, uint32_t end,
                      struct lego_model **ret_model, struct lego_diag *diag)
{
    const struct lego_model_options options = {.cpu = "c"};
    struct lego_package *package;
    int status = lego_package_open(choice->trial, LEGO_VERIFY_STRUCTURE, &package, diag);

    if (status != LEGO_OK)
        return status;
    for (uint32_t t = 0; t < package->graph->tensor_count; t++) {
        struct lego_tensor *tensor = &package->graph->tensors[t];
        tensor->integer = false;
        for (uint32_t i = first; i < end; i++)
            if (!strcmp(choice->candidates[i].tensor->name, tensor->name))
                tensor->integer = true;
    }
    return lego_model_from_package(package, &options, ret_model, diag);
}

static int measure(const struct choice *choice, uint32_t first, uint32_t end, double *ret_error,
                   struct lego_diag *diag)
{
    struct prediction prediction;
    struct lego_model *model = NULL;
    int status = open_trial(choice, first, end, &model, diag);

    if (status == LEGO_OK)
        status = predict_measure(choice->predict, model, &prediction, diag);
    lego_model_close(model);
    if (status == LEGO_OK)
        *ret_error = prediction.error;
    return status;
}

static int by_error(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->error != y->error)
        return x->error < y->error ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* How many of the cheapest layers are within the limit together. */
static int choose(struct choice *choice, uint32_t *ret_count, struct lego_diag *diag)
{
    const double limit = COMPUTE_LIMIT_PERCENT * COMPUTE_LIMIT_PERCENT;
    double sum = 0, error = 0;
    uint32_t count = 0;
    int status = measure(choice, 0, choice->count, &error, diag);

    *ret_count = choice->count;
    if (status != LEGO_OK || error <= COMPUTE_LIMIT_PERCENT)
        return status;
    for (uint32_t i = 0; status == LEGO_OK && i < choice->count; i++)
        status = measure(choice, i, i + 1, &choice->candidates[i].error, diag);
    qsort(choice->candidates, choice->count, sizeof(*choice->candidates), by_error);
    while (count < choice->count &&
           sum + choice->candidates[count].error * choice->candidates[count].error <= limit) {
        sum += choice->candidates[count].error * choice->candidates[count].error;
        count++;
    }
    for (; status == LEGO_OK && count > 0; count -= (count + 7) / 8) {
        status = measure(choice, 0, count, &error, diag);
        if (error <= COMPUTE_LIMIT_PERCENT)
            break;
    }
    *ret_count = count;
    return status;
}

static int open_choice(struct choice *choice, struct lego_package *package,
                       const struct encode_examples *examples, uint32_t threads,
                       struct lego_model **ret_teacher, struct lego_diag *diag)
{
    struct lego_graph *graph = package->graph;
    int status;

    choice->candidates = calloc(graph->tensor_count + 1, sizeof(*choice->candidates));
    if (!choice->candidates)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a choice of layers");
    for (uint32_t t = 0; t < graph->tensor_count; t++)
        if (graph->tensors[t].integer)
            choice->candidates[choice->count++].tensor = &graph->tensors[t];
    status = lego_package_write(package, choice->trial, NULL, diag);
    if (status == LEGO_OK)
        status = open_trial(choice, 0, 0, ret_teacher, diag);
    if (status == LEGO_OK)
        status = predict_create(*ret_teacher, examples, threads, &choice->predict, diag);
    return status;
}

int compute_choose(struct lego_package *package, const struct encode_examples *examples,
                   const char *trial, uint32_t threads, uint32_t *ret_count, struct lego_diag *diag)
{
    struct encode_examples some = *examples;
    struct choice choice = {.trial = trial};
    struct lego_model *teacher = NULL;
    uint32_t count = 0;
    int status;

    if (some.count > EXAMPLES)
        some.count = EXAMPLES;
    status = open_choice(&choice, package, &some, threads, &teacher, diag);
    if (status == LEGO_OK && choice.count > 0)
        status = choose(&choice, &count, diag);
    for (uint32_t i = count; status == LEGO_OK && i < choice.count; i++)
        choice.candidates[i].tensor->integer = false;
    predict_destroy(choice.predict);
    lego_model_close(teacher);
    unlink(trial);
    free(choice.candidates);
    if (status == LEGO_OK)
        *ret_count = count;
    return status;
}
