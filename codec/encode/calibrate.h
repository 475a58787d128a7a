/*
 * Calibration: two copies of a network, the teacher with its own weights and the student with
 * quantised ones, walk through the graph side by side on examples. Each layer is
 * quantised when the walk reaches it, for the inputs that the student really sees and towards the
 * outputs of the teacher, so that it also mends what the layers before it broke (after GPTQ:
 * Frantar et al., arXiv 2210.17323, and its sequential, asymmetric forms).
 */
#ifndef LEGO_ENCODE_CALIBRATE_H
#define LEGO_ENCODE_CALIBRATE_H

#include "codec/encode/encode.h"
#include "codec/encode/examples.h"
#include "codec/encode/layer.h"
#include "codec/encode/workers.h"
#include "codec/format/package.h"

struct calibration;

/* What a layer's samples say. All matrices row-major, columns channel-major within the group. */
struct calibrate_stats {
    const struct layer *layer;
    const struct encode_weight *weight;
    const float *weights; /* [rows][columns]: the teacher's */
    const double *h;      /* [groups][columns][columns] second moment of the student's inputs */
    const double *mean_x; /* [groups][columns] */
    const double *tx;     /* [rows][columns] cross moment of targets and inputs, means removed */
    const double *mean_t; /* [rows] of the targets */
    uint32_t without;     /* steps that are left out, ENCODE_WITHOUT(..) */
    bool pooled;          /* inputs are means over places, whose moment h has been blended in */
    bool moved;           /* the student's inputs or targets differ from the teacher's */
};

/* True where a step may be taken: there are statistics, and it is not left out. */
static inline bool calibrate_takes(const struct calibrate_stats *stats, enum encode_step step)
{
    return stats && !(stats->without >> step & 1);
}

/* Quantises a layer: `ret_weights` [rows][columns], and what is added to the output in place of a
 * bias change: `ret_bias` [rows]. */
typedef int (*calibrate_quantise)(void *context, const struct calibrate_stats *stats,
                                  float *ret_weights, float *ret_bias, struct lego_diag *diag);

/*
 * Prepares: closes the graph's shapes for one example, finds the layers among `weights` (which
 * stay the caller's, as the package does), and reads the examples. Of the options `seed` counts,
 * which is of what is sampled, and `without`.
 * Errors: E_UNSUPPORTED (an operator cannot be evaluated ahead), E_NOMEM, what reading says, ...
 */
int calibrate_create(const struct lego_package *package, const struct encode_weight *weights,
                     uint32_t weight_count, const struct encode_options *options,
                     const struct encode_examples *examples, struct encode_workers *workers,
                     struct calibration **ret_calibration, struct lego_diag *diag);
void calibrate_destroy(struct calibration *calibration);

/* The layers, in the order of the walk, and how many examples there are. */
const struct layer *calibrate_layers(const struct calibration *calibration, uint32_t *ret_count);
uint32_t calibrate_images(const struct calibration *calibration);

/*
 * Changes synthetic examples so that the network's layers see the statistics that their
 * BatchNormalizations had learnt (calibrate_match.h), in `steps` steps, or fewer where those take
 * more than `most_work` multiplications. Before the first walk. ret_matched: false, and nothing is
 * changed, where there are none to match, where gradients do not go through an operator before
 * them, or where the steps that are left are too few. LEGO_E_NOMEM, what evaluation says.
 */
int calibrate_match(struct calibration *calibration, uint32_t steps, double most_work,
                    bool *ret_matched, struct lego_diag *diag);

/* Layers that have no BatchNormalization to be adapted by, where the examples are synthetic. */
uint32_t calibrate_unadapted(const struct calibration *calibration);

/* One walk: calls quantise for each layer once. */
int calibrate_walk(struct calibration *calibration, calibrate_quantise quantise, void *context,
                   struct lego_diag *diag);

/*
 * How far the student's answers were from the teacher's in the last walk, on the examples of
 * calibration: the mean KL(teacher || student), in nats, where the first output is one row of
 * logits, else its squared difference over its square.
 */
double calibrate_divergence(const struct calibration *calibration);

/*
 * How much the (centred) outputs change per change of each layer's output:
 * ret_sensitivity[layer] > 0, scaled to a geometric mean of 1.
 */
int calibrate_sensitivity(struct calibration *calibration, double *ret_sensitivity,
                          struct lego_diag *diag);

#endif
