/*
 * What examples are before they are made: the sizes of open dimensions, and what integers are.
 */
#include "codec/encode/examples_shape.h"
#include "codec/encode/examples.h"

#include <stdlib.h>
#include <string.h>

bool examples_is_picture(const struct lego_package *package, uint32_t input)
{
    const struct lego_value *value = &package->graph->values[package->graph->inputs[input]];
    const struct lego_preprocess *p = &package->preprocess;

    return p->present && value->shape.rank == 4 &&
           (p->input ? strcmp(p->input, value->name) == 0 : input == 0);
}

/* The size of an open dimension that stands for the batch: the first of an input, and all that
 * have its symbol. */
static bool is_batch(const struct lego_graph *graph, int64_t size, int axis)
{
    for (uint32_t i = 0; i < graph->input_count; i++) {
        const struct lego_shape *shape = &graph->values[graph->inputs[i]].shape;

        if (shape->rank > 0 && size != LEGO_DIM_UNKNOWN && shape->dim[0] == size)
            return true;
    }
    return axis == 0;
}

/* An input's shape where open sizes are `size`: all but the batch, or only the last one. */
static struct lego_shape close_shape(const struct lego_package *package, uint32_t input,
                                     int64_t size, bool last)
{
    const struct lego_graph *graph = package->graph;
    const struct lego_preprocess *p = &package->preprocess;
    const int64_t sizes[LEGO_MAX_RANK] = {1, p->nhwc ? p->height : p->channels,
                                          p->nhwc ? p->width : p->height,
                                          p->nhwc ? p->channels : p->width};
    struct lego_shape shape = graph->values[graph->inputs[input]].shape;

    for (int d = 0; d < shape.rank; d++) {
        if (shape.dim[d] >= 0)
            continue;
        if (examples_is_picture(package, input))
            shape.dim[d] = sizes[d];
        else
            shape.dim[d] =
                is_batch(graph, shape.dim[d], d) || (last && d != shape.rank - 1) ? 1 : size;
    }
    return shape;
}

/* Rows of the smallest constant table that a Gather looks an integer input up in; 0: in none. */
uint64_t examples_rows(const struct lego_graph *graph, int32_t input)
{
    uint64_t rows = 0;

    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        if (node->op != LEGO_OP_Gather || node->inputs[1] != input || node->inputs[0] < 0 ||
            graph->values[node->inputs[0]].tensor < 0)
            continue;
        const struct lego_shape *table = &graph->values[node->inputs[0]].shape;
        const int64_t axis = lego_node_int(node, "axis", 0);
        const int64_t size = table->dim[axis < 0 ? axis + table->rank : axis];

        if (size > 0 && size <= INT32_MAX && (rows == 0 || (uint64_t)size < rows))
            rows = (uint64_t)size;
    }
    return rows;
}

/* What integers and truth values that are no indices are in every example: what the model compares
 * them with, else one, as in the mask of a text without gaps. */
int64_t examples_number(const struct lego_graph *graph, int32_t input)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        for (uint32_t i = 0; node->op == LEGO_OP_Equal && i < 2; i++) {
            const struct lego_tensor *other = lego_node_constant(graph, node, 1 - i);

            if (node->inputs[i] != input || !other || !other->data)
                continue;
            if (other->dtype == LEGO_DTYPE_INT64 && other->bytes == sizeof(int64_t))
                return *(const int64_t *)other->data;
            if (other->dtype == LEGO_DTYPE_INT32 && other->bytes == sizeof(int32_t))
                return *(const int32_t *)other->data;
        }
    }
    return 1;
}

bool examples_is_integer(enum lego_dtype dtype)
{
    return dtype == LEGO_DTYPE_INT64 || dtype == LEGO_DTYPE_INT32 || dtype == LEGO_DTYPE_INT8 ||
           dtype == LEGO_DTYPE_UINT8 || dtype == LEGO_DTYPE_BOOL;
}

/* What all examples have in an input, where that is one number. */
bool examples_is_known(const struct lego_graph *graph, uint32_t input,
                       const struct lego_shape *shape, int64_t *number,
                       struct lego_array *ret_array)
{
    const int32_t value = graph->inputs[input];
    const enum lego_dtype dtype = graph->values[value].dtype;
    size_t elems;

    if (!examples_is_integer(dtype) || lego_shape_elems(shape, &elems) != LEGO_OK || elems != 1 ||
        examples_rows(graph, value) > 0)
        return false;
    *number = examples_number(graph, value);
    *ret_array = (struct lego_array){dtype, *shape, number};
    return true;
}

/* Room for one choice of sizes, [graph->input_count] each. */
struct closing {
    struct lego_shape *shapes;
    struct lego_array *arrays;
    const struct lego_array **known;
    int64_t *numbers;
};

/* True where the whole graph can be inferred with these sizes. */
static bool fits(const struct lego_package *package, struct closing *closing, int64_t size,
                 bool last)
{
    struct lego_graph *graph = NULL;

    for (uint32_t i = 0; i < package->graph->input_count; i++) {
        closing->shapes[i] = close_shape(package, i, size, last);
        closing->known[i] = examples_is_known(package->graph, i, &closing->shapes[i],
                                              &closing->numbers[i], &closing->arrays[i])
                                ? &closing->arrays[i]
                                : NULL;
    }
    const int status =
        lego_graph_specialise_known(package->graph, closing->shapes, closing->known, &graph, NULL);
    lego_graph_destroy(graph);
    return status == LEGO_OK;
}

/*
 * A size for open dimensions that the model's windows fit in: 64, or else the next that does, times
 * four so that there is more than one window; the smallest ones are for what takes few elements.
 */
static void choose_size(const struct lego_package *package, struct closing *closing,
                        int64_t *ret_size, bool *ret_last)
{
    static const int64_t sizes[] = {64,    128, 256, 512, 1024, 2048, 4096, 8192,
                                    16384, 32,  16,  8,   4,    2,    1};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (int last = 0; last < 2; last++) {
            if (!fits(package, closing, sizes[i], last))
                continue;
            *ret_last = last;
            *ret_size = sizes[i] > 64 && fits(package, closing, 4 * sizes[i], last) ? 4 * sizes[i]
                                                                                    : sizes[i];
            return;
        }
    }
    *ret_size = 1;
    *ret_last = false;
}

int encode_example_shape(const struct lego_package *package, uint32_t input,
                         struct lego_shape *ret_shape, struct lego_diag *diag)
{
    const struct lego_graph *graph = package->graph;
    int64_t size = 1;
    bool last = false, open = false;

    for (uint32_t i = 0; i < graph->input_count; i++) {
        const struct lego_value *value = &graph->values[graph->inputs[i]];

        if (value->shape.rank < 0)
            return lego_fail(diag, LEGO_E_UNSUPPORTED, "the rank of input '%s' is open",
                             value->name);
        for (int d = 0; d < value->shape.rank && !examples_is_picture(package, i); d++)
            open = open || (value->shape.dim[d] < 0 && !is_batch(graph, value->shape.dim[d], d));
    }
    if (open) {
        struct closing closing = {
            .shapes = calloc(graph->input_count, sizeof(*closing.shapes)),
            .arrays = calloc(graph->input_count, sizeof(*closing.arrays)),
            .known = calloc(graph->input_count, sizeof(const struct lego_array *)),
            .numbers = calloc(graph->input_count, sizeof(*closing.numbers)),
        };
        const bool enough = closing.shapes && closing.arrays && closing.known && closing.numbers;
        if (enough)
            choose_size(package, &closing, &size, &last);
        free(closing.shapes);
        free(closing.arrays);
        free(closing.known);
        free(closing.numbers);
        if (!enough)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for %u inputs", graph->input_count);
    }
    *ret_shape = close_shape(package, input, size, last);
    return LEGO_OK;
}
