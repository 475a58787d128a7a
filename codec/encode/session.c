#include "codec/encode/session.h"
#include "codec/encode/fit.h"

#include <math.h>
#include <stdlib.h>

#define FEW_BITS    0.8 /* a weight, below which what is left is fragile */
#define MATCH_BITS  1.3 /* a weight, below which examples are worth the time of matching them, */
#define BRICK_BITS  1.2 /* in bricks: above it they are no better by it */
#define MATCH_STEPS 20
#define MATCH_WORK  1e12 /* multiplications of all steps: some 20 seconds */
#define MUCH_WORK   4e12 /* the same where so little is left that the time is worth it */

/*
 * How many synthetic examples a compression asks for at most. The fewer bits there are for a
 * weight, the more examples pay: what is left out is chosen by them.
 */
static double bits_of(const struct encode_session *s, const struct encode_options *options)
{
    uint64_t weights = 0;

    for (uint32_t i = 0; i < s->weight_count; i++)
        weights += (uint64_t)s->weights[i].rows * s->weights[i].columns;
    return options->weight_bytes > 0 ? 8.0 * (double)options->weight_bytes / (double)weights
                                     : INFINITY;
}

/* Whether examples are matched to what BatchNormalizations learnt. */
static bool matches(const struct encode_session *s, const struct encode_options *options)
{
    const double most = options->codec == ENCODE_CODEC_SMALL ? MATCH_BITS : BRICK_BITS;

    return s->synthetic && bits_of(s, options) < most &&
           !(options->without & ENCODE_WITHOUT(MATCHING));
}

static uint32_t most_examples(const struct encode_session *s, const struct encode_options *options)
{
    const double bits = bits_of(s, options);

    if (options->codec != ENCODE_CODEC_SMALL || bits > 1.2 ||
        options->without & ENCODE_WITHOUT(EXAMPLES))
        return ENCODE_EXAMPLES;
    return bits > FEW_BITS ? 2 * ENCODE_EXAMPLES : 4 * ENCODE_EXAMPLES;
}

static int create(struct encode_session *s, const struct lego_package *package,
                  const struct encode_examples *examples, const struct encode_options *options,
                  struct lego_diag *diag)
{
    int status = encode_weights_find(package->graph, &s->weights, &s->weight_count, diag);

    if (status != LEGO_OK)
        return status;
    if (s->weight_count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "the model has no weights to compress: no Conv, ConvTranspose, Gemm, "
                         "MatMul, RNN, GRU, LSTM or Gather with a constant fp32 matrix");
    s->alike = options->without & ENCODE_WITHOUT(SENSITIVITY);
    s->workers = encode_workers_create(options->threads, options->kernels);
    if (!s->workers)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for threads");
    if (!examples) {
        status = encode_synthetic_create(
            package, options->seed, encode_examples_wanted(package, most_examples(s, options)),
            !(options->without & ENCODE_WITHOUT(LEAVES)), s->workers, &s->synthetic, diag);
        if (status != LEGO_OK)
            return status;
        examples = encode_synthetic_examples(s->synthetic);
    }
    status = calibrate_create(package, s->weights, s->weight_count, options, examples, s->workers,
                              &s->calibration, diag);
    if (status == LEGO_OK && matches(s, options))
        status = calibrate_match(s->calibration, MATCH_STEPS,
                                 bits_of(s, options) > FEW_BITS ? MATCH_WORK : MUCH_WORK,
                                 &s->matched, diag);
    return status;
}

int encode_session_create(const struct lego_package *package,
                          const struct encode_examples *examples,
                          const struct encode_options *options, struct encode_session **ret_session,
                          struct lego_diag *diag)
{
    struct encode_session *s = calloc(1, sizeof(*s));
    const int status = s ? create(s, package, examples, options, diag)
                         : lego_fail(diag, LEGO_E_NOMEM, "out of memory for calibration");

    if (status == LEGO_OK)
        *ret_session = s;
    else
        encode_session_destroy(s);
    return status;
}

void encode_session_destroy(struct encode_session *s)
{
    if (!s)
        return;
    calibrate_destroy(s->calibration);
    encode_synthetic_destroy(s->synthetic);
    fit_exploration_destroy(s->explored);
    encode_workers_destroy(s->workers);
    free(s->sensitivity);
    free(s->weights);
    free(s);
}

const char *encode_session_text(const struct encode_session *s)
{
    return s->synthetic ? encode_synthetic_text(s->synthetic) : NULL;
}

bool encode_session_matched(const struct encode_session *s)
{
    return s->matched;
}

uint32_t encode_session_examples(const struct encode_session *s)
{
    return calibrate_images(s->calibration);
}

uint32_t encode_session_unadapted(const struct encode_session *s)
{
    return s->synthetic ? calibrate_unadapted(s->calibration) : 0;
}

int encode_session_sensitivity(struct encode_session *s, const double **ret_sensitivity,
                               struct lego_diag *diag)
{
    uint32_t count;

    calibrate_layers(s->calibration, &count);
    if (!s->sensitivity) {
        double *sensitivity = calloc(count + 1, sizeof(*sensitivity));
        int status = LEGO_OK;

        if (!sensitivity)
            status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for sensitivities");
        else if (!s->alike)
            status = calibrate_sensitivity(s->calibration, sensitivity, diag);
        for (uint32_t i = 0; sensitivity && s->alike && i < count; i++)
            sensitivity[i] = 1;

        if (status != LEGO_OK) {
            free(sensitivity);
            return status;
        }
        s->sensitivity = sensitivity;
    }
    *ret_sensitivity = s->sensitivity;
    return LEGO_OK;
}
