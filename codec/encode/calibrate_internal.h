/*
 * What the parts of calibration share: examples and values (calibrate_values.c), running nodes
 * (calibrate_run.c), the walk (calibrate.c), what it samples (calibrate_sample.c), recurrent nodes
 * (calibrate_recurrent.c), sensitivity (calibrate_sense.c), and what the student answers
 * (calibrate_compare.c).
 */
#ifndef LEGO_ENCODE_CALIBRATE_INTERNAL_H
#define LEGO_ENCODE_CALIBRATE_INTERNAL_H

#include "codec/encode/calibrate.h"
#include "codec/graph/infer.h"

#define NO_LAYER UINT32_MAX

/* One value for all examples, one after the other; the student's is the teacher's until they
 * differ. */
struct cal_value {
    size_t bytes; /* of one example */
    char *teacher, *student;
    uint32_t last_use; /* node after which it may go */
    bool keep;         /* graph inputs and outputs, and all where the teacher is kept whole */
};

/* A layer with its weights as layer_forward wants them. */
struct cal_layer {
    struct layer layer;
    float *teacher_t, *student_t; /* [group][column][group_rows]; student_t NULL: the teacher's */
    float *ratio, *offset;        /* [rows]: out = ratio * z + offset (BatchNorm adapted) */
    float *student_offset;        /* [rows] */
    /* [samples][rows] the teacher's z and, where the layer mends its residual's error, that
       residual: what later walks want of the teacher. NULL: not kept. */
    float *targets, *residuals;
    bool moved; /* its inputs differ between teacher and student, as the first walk shows */
    bool mends; /* so does its residual */
};

struct calibration {
    struct lego_graph *graph; /* closed for one example */
    const struct encode_weight *weights;
    struct encode_workers *workers;
    uint32_t images; /* at present: all, or a batch of them from `first` on (cal_take) */
    uint32_t first;
    uint64_t seed;
    struct cal_value *values; /* [graph->value_count] */
    struct cal_layer *layers; /* [layer_count], with `layer` first in each */
    struct layer *public_layers;
    uint32_t layer_count;
    uint32_t *layer_of; /* [graph->node_count], NO_LAYER: no product of a matrix and its input */
    uint32_t *recurrent_of; /* [graph->node_count] the first of an RNN's, GRU's or LSTM's layers,
                               which follow one another; NO_LAYER: none */
    uint32_t without;       /* steps that are left out, ENCODE_WITHOUT(..) */
    bool synthetic;         /* the examples are drawn */
    bool adapts;            /* BatchNorms are adapted to the examples */
    bool adapted;           /* ratio and offset are known */
    bool keeps_targets;     /* the first walk keeps what the later ones want of the teacher */
    bool alone;             /* it has: the student walks alone, in the teacher's buffers */
    float *answers;         /* [images][logits] the teacher's, from the first walk on */
    double divergence;      /* calibrate_divergence */
    int32_t logits;         /* value before a last Softmax, or the first output */
};

/* Reads the examples into the graph inputs' teacher buffers. */
int cal_draw(struct calibration *c, const struct encode_examples *examples, struct lego_diag *diag);

/* Makes `count` examples from number `first` on all that there are, as the graph's inputs see it.
 */
void cal_take(struct calibration *c, uint32_t first, uint32_t count);

/* Allocates a value for all examples; `student`: the student's own. LEGO_E_NOMEM with a diag. */
int cal_allocate(struct calibration *c, int32_t value, bool student, struct lego_diag *diag);
/* The same for all outputs of a node. */
int cal_allocate_outputs(struct calibration *c, uint32_t n, bool student, struct lego_diag *diag);
void cal_free(struct calibration *c, int32_t value);
/* Drops the student's own copy. */
void cal_free_student(struct calibration *c, int32_t value);

static inline bool cal_value_differs(const struct calibration *c, int32_t value)
{
    return c->values[value].student != c->values[value].teacher;
}

/* True where any input of the node differs between teacher and student. */
bool cal_node_differs(const struct calibration *c, uint32_t node);

/* Keeps the first failure of many threads in `held` (LEGO_OK: none yet) and its diag. */
void cal_fail_once(int *held, struct lego_diag *held_diag, int status,
                   const struct lego_diag *diag);

/* A value of one example, or a constant. */
struct lego_array cal_value_array(const struct calibration *c, int32_t value, size_t image,
                                  bool student);

#define CAL_MAX_OPERANDS 64

/* Constants of a recurrent node in the student: W, R and B by the input that they are, in the
 * tensors' own order; NULL: the graph's own. */
#define CAL_REPLACED 4
struct cal_operands {
    float *data[CAL_REPLACED];
};

/* What the student has of a node in place of the graph's constants; nothing for a teacher, or for
 * a node that is not recurrent. LEGO_E_NOMEM. */
int cal_operands_open(const struct calibration *c, uint32_t node, bool student,
                      struct cal_operands *ret_operands, struct lego_diag *diag);
void cal_operands_close(struct cal_operands *operands);

/* A node's inputs of one example: [CAL_MAX_OPERANDS] each; absent ones are NULL. */
void cal_node_inputs(const struct calibration *c, const struct lego_node *node, size_t image,
                     bool student, const struct cal_operands *operands, struct lego_array *inputs,
                     const struct lego_array **ret_pointers);

/* Runs a node for all examples on the teacher's or the student's inputs into their own outputs,
 * which are allocated. */
int cal_run_node(struct calibration *c, uint32_t node, bool student, struct lego_diag *diag);

/* z = W x for all examples of a layer: [images][rows][positions] in the output's own layout. */
int cal_linear(struct calibration *c, const struct cal_layer *layer, bool student, float *z,
               struct lego_diag *diag);

/* From z to the layer's output, which may be z itself: ratio, offset, residual, activation. */
void cal_finish(struct calibration *c, const struct cal_layer *layer, bool student, const float *z);

/* What the layer's folded BatchNormalization had learnt, [rows] each; false: it has none. */
bool cal_statistics(const struct calibration *c, const struct cal_layer *layer,
                    const float **ret_scale, const float **ret_shift);

/* Mean and variance of one row of z over all examples and positions. */
void cal_row_moments(const struct calibration *c, const struct layer *l, uint32_t row,
                     const float *z, double *ret_mean, double *ret_variance);

/* The ratio and offset that give the teacher's output the statistics that BatchNormalization had
 * learnt (METHOD: BN adaptation); ratio 1 and the bias where there was none, or where the
 * calibration does not adapt: then z may be NULL. */
void cal_adapt(struct calibration *c, struct cal_layer *layer, const float *z);

/* True where what all layers' samples want of the teacher fits the memory meant for it. */
bool cal_keeps_targets(const struct calibration *c);

/* Gathers a layer's statistics and has it quantised; `z`: the teacher's output, NULL where the
 * layer has kept its targets, or is recurrent. */
int cal_quantise_layer(struct calibration *c, struct cal_layer *layer, const float *z,
                       calibrate_quantise quantise, void *context, struct lego_diag *diag);

/*
 * The squared change of a layer's outputs, their means removed, summed over its rows, mean over
 * samples of the teacher's inputs, where `change` [rows][columns] is added to its weights. Of a
 * recurrent layer. LEGO_E_NOMEM, what evaluation says.
 */
int cal_change_energy(struct calibration *c, const struct cal_layer *layer, const float *change,
                      double *ret_energy, struct lego_diag *diag);

/* Of a recurrent layer: what it sees at one position, in floats, and where among them is what the
 * rows of a group see. */
size_t cal_seen_elems(const struct layer *layer);
size_t cal_seen_by(const struct layer *layer, uint32_t group);

/* What a recurrent layer sees at places [images][per_image] of its positions: ret_seen [images]
 * [per_image][cal_seen_elems]. LEGO_E_NOMEM, what evaluation says. */
int cal_gather(struct calibration *c, const struct layer *layer, const uint32_t *places,
               uint32_t per_image, bool student, float *ret_seen, struct lego_diag *diag);

/* What the teacher's weights make of that: ret_products [images][per_image][rows]. LEGO_E_NOMEM. */
int cal_multiply(const struct calibration *c, const struct cal_layer *layer, const float *seen,
                 uint32_t per_image, float *ret_products);

/* The pass of both networks through a recurrent node, with its weights quantised in between. */
int cal_walk_recurrent(struct calibration *c, uint32_t n, calibrate_quantise quantise,
                       void *context, struct lego_diag *diag);

/* At the end of a walk: how far the student's logits are from the teacher's. */
int cal_compare_answers(struct calibration *c, struct lego_diag *diag);

/* Elements of the layer's output for one example. */
static inline size_t cal_layer_elems(const struct layer *layer)
{
    return (size_t)layer->rows * layer->positions;
}

/* [rows][columns] -> [group][column][group_rows]. */
void cal_transpose(const struct layer *layer, const float *weights, float *ret_transposed);
/* And back. */
void cal_transpose_back(const struct layer *layer, const float *transposed, float *ret_weights);

#endif
