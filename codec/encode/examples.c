#include "codec/encode/examples.h"
#include "codec/base/half.h"
#include "codec/encode/examples_shape.h"
#include "codec/encode/images.h"
#include "codec/encode/portable.h"
#include "codec/graph/infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXAMPLE_BYTES ((uint64_t)512 << 20) /* of the largest value of all examples */
#define PICTURE_SIDE  16                    /* what is smaller is no picture */
#define EXAMPLE_WORK  4e10 /* multiplications of all examples, where 256 are asked for, ... */
#define FEW_EXAMPLES  32   /* ... where there are no fewer than this */
#define CORRELATION   0.8  /* of neighbours in noise */

/* How one input is made. */
struct source {
    int32_t value;
    int32_t read;                      /* the value, or what a Cast makes of halves */
    struct lego_preprocess preprocess; /* of a picture */
    bool picture;
    struct image_pool *pool; /* of a picture; NULL: white noise */
    float scale, offset;     /* of what was drawn with mean 0 and variance 1 */
    uint64_t rows;           /* of the table that these indices choose from; 0: no indices */
    bool fixed;              /* integers or truth values, all `number` */
    int64_t number;
    struct lego_array array; /* of one such */
};

struct encode_synthetic {
    const struct lego_package *package;
    struct encode_examples examples;
    struct lego_shape *shapes;
    struct source *sources;          /* [graph->input_count] */
    const struct lego_array **known; /* [graph->input_count], NULL where examples differ */
    uint64_t seed;
    bool leaves;
    char text[160];
};

/* Elements, an open dimension counted as one. */
static uint64_t count_elems(const struct lego_shape *shape)
{
    uint64_t elems = 1;

    for (int d = 0; d < shape->rank; d++)
        elems *= shape->dim[d] > 0 && shape->dim[d] < 1 << 20 ? (uint64_t)shape->dim[d] : 1;
    return elems;
}

/* Those of W and R at all steps; an open number of steps is counted as one. */
static double recurrent_work(const struct lego_graph *graph, const struct lego_node *node,
                             const struct lego_tensor *weight)
{
    const struct lego_tensor *states = lego_node_constant(graph, node, 2);
    const double inputs = fmax((double)weight->shape.dim[2], 1);
    const double steps = (double)count_elems(&graph->values[node->inputs[0]].shape) / inputs;

    return steps *
           (double)(count_elems(&weight->shape) + (states ? count_elems(&states->shape) : 0));
}

/* Multiplications of a layer for one example, 0 where the node is none. */
static double node_work(const struct lego_graph *graph, const struct lego_node *node)
{
    const struct lego_tensor *weight =
        node->input_count > 1 ? lego_node_constant(graph, node, 1) : NULL;

    if (weight && weight->shape.rank == 3 && lego_recurrent_kinds(node) > 0)
        return recurrent_work(graph, node, weight);
    if (!weight || weight->shape.rank < 2 || node->outputs[0] < 0)
        return 0;
    const double out = (double)count_elems(&graph->values[node->outputs[0]].shape);
    const int64_t *dim = weight->shape.dim;

    if (node->op == LEGO_OP_Conv)
        return out * (double)count_elems(&weight->shape) / fmax((double)dim[0], 1);
    if (node->op == LEGO_OP_Gemm || node->op == LEGO_OP_MatMul)
        return out * (double)dim[lego_node_int(node, "transB", 0) ? 1 : 0];
    return 0;
}

/* The largest values are held a few times over; large maps show a layer enough in fewer examples.
 */
uint32_t encode_examples_wanted(const struct lego_package *package, uint32_t most)
{
    const struct lego_graph *graph = package->graph;
    uint64_t largest = 1;
    double work = 1;

    for (uint32_t v = 0; v < graph->value_count; v++) {
        const uint64_t bytes = sizeof(float) * count_elems(&graph->values[v].shape);

        if (graph->values[v].tensor < 0 && bytes > largest)
            largest = bytes;
    }
    for (uint32_t n = 0; n < graph->node_count; n++)
        work += node_work(graph, &graph->nodes[n]);
    const uint64_t held = EXAMPLE_BYTES / largest;
    const uint64_t worked =
        (uint64_t)fmax(EXAMPLE_WORK * most / ENCODE_EXAMPLES / work, FEW_EXAMPLES);
    const uint64_t count = held < worked ? held : worked;
    return count > most ? most : count < 8 ? 8 : (uint32_t)count;
}

/* What a rank-4 input of 1 or 3 channels looks like when nothing says so. */
static bool guess_preprocess(const struct lego_shape *shape, struct lego_preprocess *ret)
{
    struct lego_preprocess p = {.present = true, .scale = 1.0f / 255};
    const int64_t *dim = shape->dim;

    if (shape->rank != 4)
        return false;
    p.nhwc = dim[1] != 3 && dim[1] != 1 && (dim[3] == 3 || dim[3] == 1);
    p.channels = (uint32_t)dim[p.nhwc ? 3 : 1];
    p.height = (uint32_t)dim[p.nhwc ? 1 : 2];
    p.width = (uint32_t)dim[p.nhwc ? 2 : 3];
    if ((p.channels != 1 && p.channels != 3) || p.height < PICTURE_SIDE || p.width < PICTURE_SIDE ||
        p.height > 4096 || p.width > 4096)
        return false;
    for (int i = 0; i < 4; i++) {
        p.mean[i] = 0.47f;
        p.std[i] = 0.25f;
    }
    *ret = p;
    return true;
}

/* Variance of one row's product with noise of unit variance whose neighbours along a kernel's last
 * axis agree by CORRELATION; ret_sum is the row's sum. */
static double row_variance(const float *row, size_t columns, size_t width, double *ret_sum)
{
    double variance = 0, sum = 0;

    for (size_t line = 0; line + width <= columns; line += width) {
        for (size_t a = 0; a < width; a++) {
            double correlation = 1;

            sum += (double)row[line + a];
            for (size_t b = a; b < width; b++) {
                variance +=
                    (a == b ? 1 : 2) * correlation * (double)row[line + a] * (double)row[line + b];
                correlation *= CORRELATION;
            }
        }
    }
    *ret_sum = sum;
    return variance;
}

/* The range under which the outputs of a first convolution have the deviations |gamma| and the
 * means beta that the BatchNormalization folded into it had learnt. */
static bool range_by_fold(const struct lego_graph *graph, const struct lego_node *node,
                          struct source *source)
{
    const struct lego_tensor *weight = lego_node_constant(graph, node, 1);
    const struct lego_tensor *bias = lego_node_constant(graph, node, 2);
    double logs = 0, cross = 0, squares = 0;
    uint64_t used = 0;

    if (node->op != LEGO_OP_Conv || !weight || weight->shape.rank < 3 || weight->shape.dim[0] < 1)
        return false;
    const uint64_t rows = (uint64_t)weight->shape.dim[0];
    const size_t columns = weight->bytes / sizeof(float) / rows;
    const size_t width = (size_t)weight->shape.dim[weight->shape.rank - 1];
    const float *gamma = lego_node_floats(node, "lego.bn_scale", rows);
    const float *beta = lego_node_floats(node, "lego.bn_bias", rows);
    if (!gamma || !beta || columns == 0 || (bias && bias->bytes != rows * sizeof(float)))
        return false;
    for (uint64_t r = 0; r < rows; r++) {
        double sum;
        const double variance =
            row_variance((const float *)weight->data + r * columns, columns, width, &sum);
        const double shift =
            (double)beta[r] - (bias ? (double)((const float *)bias->data)[r] : 0.0);

        cross += shift * sum;
        squares += sum * sum;
        if (variance > 1e-12 && fabs((double)gamma[r]) > 1e-6) {
            logs += portable_log(fabs((double)gamma[r]) / sqrt(variance));
            used++;
        }
    }
    if (used == 0 || squares < 1e-12)
        return false;
    source->scale = (float)portable_exp(logs / (double)used);
    source->offset = (float)(cross / squares);
    return true;
}

/* The range that a BatchNormalization of the input itself had learnt. */
static bool range_by_norm(const struct lego_graph *graph, const struct lego_node *node,
                          struct source *source)
{
    const struct lego_tensor *mean = lego_node_constant(graph, node, 3);
    const struct lego_tensor *variance = lego_node_constant(graph, node, 4);
    double means = 0, squares = 0;

    if (node->op != LEGO_OP_BatchNormalization || !mean || !variance ||
        mean->dtype != LEGO_DTYPE_FLOAT32 || variance->dtype != LEGO_DTYPE_FLOAT32 ||
        mean->bytes != variance->bytes || mean->bytes == 0)
        return false;
    const size_t count = mean->bytes / sizeof(float);
    for (size_t i = 0; i < count; i++) {
        means += (double)((const float *)mean->data)[i];
        squares += (double)((const float *)variance->data)[i];
    }
    source->scale = (float)sqrt(fmax(squares / (double)count, 1e-12));
    source->offset = (float)(means / (double)count);
    return true;
}

static void find_range(const struct lego_graph *graph, struct source *source)
{
    source->scale = 1;
    source->offset = 0;
    for (uint32_t n = 0; n < graph->node_count; n++) {
        const struct lego_node *node = &graph->nodes[n];

        if (node->input_count > 1 && node->inputs[0] == source->read &&
            (range_by_fold(graph, node, source) || range_by_norm(graph, node, source)))
            break;
    }
    if (!isfinite(source->scale) || !isfinite(source->offset)) {
        source->scale = 1;
        source->offset = 0;
    }
}

/* From picture planes (red, green, blue in 0 to 1) to the model's input. */
static void place_picture(const struct source *source, const float *planes, float *out)
{
    const struct lego_preprocess *p = &source->preprocess;
    const size_t plane = (size_t)p->width * p->height;

    for (uint32_t ch = 0; ch < p->channels; ch++) {
        const uint32_t from = p->bgr ? 2 - ch : ch;

        for (size_t i = 0; i < plane; i++) {
            float x = planes[from * plane + i];

            if (p->channels == 1)
                x = 0.299f * planes[i] + 0.587f * planes[plane + i] +
                    0.114f * planes[2 * plane + i];
            x = (x * 255.0f * p->scale - p->mean[ch]) / p->std[ch];
            out[p->nhwc ? i * p->channels + ch : ch * plane + i] =
                x * source->scale + source->offset;
        }
    }
}

/* Noise with unit variance whose neighbours along the last two axes agree: for sound and the like.
 */
static void draw_noise(const struct encode_synthetic *s, const struct source *source,
                       const struct lego_shape *shape, uint32_t index, float *out, size_t count)
{
    const double fresh = sqrt(1 - CORRELATION * CORRELATION);
    const size_t width = shape->rank > 0 ? (size_t)shape->dim[shape->rank - 1] : 1;
    const size_t height = shape->rank > 1 ? (size_t)shape->dim[shape->rank - 2] : 1;
    struct encode_random random;

    encode_random_seed(&random,
                       s->seed + 0x51ed270b * (uint64_t)(index + 1) + (uint64_t)source->value);
    for (size_t i = 0; i < count; i++) {
        const double draw = random_normal(&random);

        out[i] = (float)(i % width == 0 ? draw : CORRELATION * (double)out[i - 1] + fresh * draw);
    }
    for (size_t i = width; i < count; i++) {
        if (i / width % height != 0)
            out[i] = (float)(CORRELATION * (double)out[i - width] + fresh * (double)out[i]);
    }
    for (size_t i = 0; i < count; i++)
        out[i] = out[i] * source->scale + source->offset;
}

/* What real pictures have of mean and deviation, and nothing else. */
static int draw_white(uint64_t seed, size_t count, float *out)
{
    struct encode_random random;

    encode_random_seed(&random, 0x3c6ef372fe94f82au ^ seed);
    for (size_t i = 0; i < count; i++)
        out[i] = (float)fmin(fmax(0.47 + 0.25 * random_normal(&random), 0), 1);
    return LEGO_OK;
}

/* Indices, each row as likely as another. */
static void draw_indices(const struct encode_synthetic *s, const struct source *source,
                         uint32_t index, void *out, size_t bytes)
{
    const bool wide = s->package->graph->values[source->value].dtype == LEGO_DTYPE_INT64;
    const size_t count = bytes / (wide ? sizeof(int64_t) : sizeof(int32_t));
    struct encode_random random;

    encode_random_seed(&random, 0x9b05688c2b3e6c1fu ^ (s->seed + index));
    for (size_t i = 0; i < count; i++) {
        const uint64_t row = encode_random_u64(&random) % source->rows;

        if (wide)
            ((int64_t *)out)[i] = (int64_t)row;
        else
            ((int32_t *)out)[i] = (int32_t)row;
    }
}

/* The low bytes of the number: hosts are little-endian. */
static void repeat_number(const struct encode_synthetic *s, const struct source *source, char *out,
                          size_t bytes)
{
    const size_t size = lego_dtype_bytes(s->package->graph->values[source->value].dtype);

    for (size_t at = 0; at + size <= bytes; at += size)
        memcpy(out + at, &source->number, size);
}

static int read_floats(const struct encode_synthetic *s, uint32_t index, uint32_t input, float *out,
                       size_t bytes, struct lego_diag *diag)
{
    const struct source *source = &s->sources[input];
    const struct lego_preprocess *p = &source->preprocess;
    int status = LEGO_E_NOMEM;

    if (!source->picture) {
        draw_noise(s, source, &s->shapes[input], index, out, bytes / sizeof(float));
        return LEGO_OK;
    }
    float *planes = malloc(sizeof(float) * 3 * p->width * p->height);
    if (planes && source->pool)
        status = image_draw(source->pool, index, planes);
    else if (planes)
        status = draw_white(s->seed + index, (size_t)3 * p->width * p->height, planes);
    if (status == LEGO_OK)
        place_picture(source, planes, out);
    else
        lego_fail(diag, status, "out of memory for pictures");
    free(planes);
    return status;
}

static int read_halves(const struct encode_synthetic *s, uint32_t index, uint32_t input,
                       uint16_t *out, size_t bytes, struct lego_diag *diag)
{
    const size_t elems = bytes / sizeof(*out);
    float *floats = malloc(elems * sizeof(*floats) + 1);
    const int status = floats ? read_floats(s, index, input, floats, elems * sizeof(*floats), diag)
                              : lego_fail(diag, LEGO_E_NOMEM, "out of memory for an example");

    for (size_t i = 0; status == LEGO_OK && i < elems; i++)
        out[i] = lego_half_from_float(floats[i]);
    free(floats);
    return status;
}

static int read_example(void *context, uint32_t index, uint32_t input, void *out, size_t bytes,
                        struct lego_diag *diag)
{
    const struct encode_synthetic *s = context;
    const struct source *source = &s->sources[input];

    if (source->rows > 0)
        draw_indices(s, source, index, out, bytes);
    else if (source->fixed)
        repeat_number(s, source, out, bytes);
    else if (s->package->graph->values[source->value].dtype == LEGO_DTYPE_FLOAT16)
        return read_halves(s, index, input, out, bytes, diag);
    else
        return read_floats(s, index, input, out, bytes, diag);
    return LEGO_OK;
}

/* What a Cast alone makes of an input, else the input. */
static int32_t behind_cast(const struct lego_graph *graph, int32_t input)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (graph->nodes[n].op == LEGO_OP_Cast && graph->nodes[n].inputs[0] == input)
            return graph->nodes[n].outputs[0];
    }
    return input;
}

static int create_source(struct encode_synthetic *s, uint32_t input, struct encode_workers *workers,
                         struct lego_diag *diag)
{
    const struct lego_graph *graph = s->package->graph;
    struct source *source = &s->sources[input];
    const struct lego_value *value = &graph->values[graph->inputs[input]];
    struct lego_preprocess *p = &source->preprocess;
    size_t elems;
    int status = encode_example_shape(s->package, input, &s->shapes[input], diag);

    if (status != LEGO_OK)
        return status;
    source->value = graph->inputs[input];
    if (value->dtype == LEGO_DTYPE_INT64 || value->dtype == LEGO_DTYPE_INT32)
        source->rows = examples_rows(graph, source->value);
    if (source->rows > 0) {
        snprintf(s->text, sizeof(s->text), "indices below %llu", (unsigned long long)source->rows);
        return LEGO_OK;
    }
    if (examples_is_integer(value->dtype)) {
        source->fixed = true;
        source->number = examples_number(graph, source->value);
        if (examples_is_known(graph, input, &s->shapes[input], &source->number, &source->array))
            s->known[input] = &source->array;
        return LEGO_OK;
    }
    source->read = behind_cast(graph, source->value);
    if (value->dtype != LEGO_DTYPE_FLOAT32 && value->dtype != LEGO_DTYPE_FLOAT16)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "no examples can be made for input '%s' (%s); give real ones", value->name,
                         lego_dtype_name(value->dtype));
    if (lego_shape_elems(&s->shapes[input], &elems) != LEGO_OK)
        return lego_fail(diag, LEGO_E_SHAPE, "input '%s' is too large", value->name);
    source->scale = 1;
    const bool theirs = examples_is_picture(s->package, input);
    if (theirs)
        *p = s->package->preprocess;
    else
        find_range(graph, source);
    if (theirs || guess_preprocess(&s->shapes[input], p)) {
        if ((size_t)p->width * p->height * p->channels != elems)
            return lego_fail(diag, LEGO_E_SHAPE,
                             "the preprocessing makes %ux%u pictures, which input '%s' does not "
                             "take",
                             p->width, p->height, value->name);
        source->picture = true;
        if (s->leaves)
            source->pool = image_pool_create(p->width, p->height, s->seed, workers);
        if (s->leaves && !source->pool)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for pictures");
        snprintf(s->text, sizeof(s->text), "%s%s", s->leaves ? "textured leaves" : "white noise",
                 theirs ? "" : ", as no preprocessing is known with unit variance");
    } else {
        snprintf(s->text, sizeof(s->text), "noise of deviation %.3g and mean %.3g",
                 (double)source->scale, (double)source->offset);
    }
    return LEGO_OK;
}

int encode_synthetic_create(const struct lego_package *package, uint64_t seed, uint32_t count,
                            bool leaves, struct encode_workers *workers,
                            struct encode_synthetic **ret_synthetic, struct lego_diag *diag)
{
    const uint32_t inputs = package->graph->input_count;
    struct encode_synthetic *s = calloc(1, sizeof(*s));
    int status = LEGO_OK;

    if (!s)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for examples");
    s->package = package;
    s->seed = seed;
    s->leaves = leaves;
    s->sources = calloc(inputs + 1, sizeof(*s->sources));
    s->shapes = calloc(inputs + 1, sizeof(*s->shapes));
    s->known = calloc(inputs + 1, sizeof(*s->known));
    if (!s->sources || !s->shapes || !s->known)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for examples");
    for (uint32_t i = 0; status == LEGO_OK && i < inputs; i++)
        status = create_source(s, i, workers, diag);
    if (status != LEGO_OK) {
        encode_synthetic_destroy(s);
        return status;
    }
    s->examples = (struct encode_examples){.count = count,
                                           .synthetic = true,
                                           .shapes = s->shapes,
                                           .known = s->known,
                                           .read = read_example,
                                           .context = s};
    *ret_synthetic = s;
    return LEGO_OK;
}

void encode_synthetic_destroy(struct encode_synthetic *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->sources && i < s->package->graph->input_count; i++)
        image_pool_destroy(s->sources[i].pool);
    free(s->sources);
    free(s->known);
    free(s->shapes);
    free(s);
}

const struct encode_examples *encode_synthetic_examples(const struct encode_synthetic *s)
{
    return &s->examples;
}

const char *encode_synthetic_text(const struct encode_synthetic *s)
{
    return s->text;
}
