/* The small codec: walks under a price, the search for the price that meets the size. */
#include "codec/encode/small.h"

#include "codec/base/status.h"
#include "codec/encode/biases.h"
#include "codec/encode/fit.h"
#include "codec/encode/portable.h"
#include "codec/encode/trellis_math.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALKS       6
#define DRAWS       4   /* walks that meet the size, of which the best is kept */
#define DRAW_BITS   0.8 /* a weight, below which walks differ by so much that drawing pays */
#define DRAFT_WALKS 3
#define MORE_WALKS  3     /* where none has met the size, which then aim lower */
#define AIM         0.997 /* of the bytes */
#define LOW_AIM     0.98
#define ENOUGH      0.992 /* of the bytes: a walk that takes more of them is not improved on */
#define STEER       1.5   /* by which the price may leave a walk's own on the way */
#define MUCH        0.15  /* of the bits that are left */
#define NEAR        0.01  /* of them */
#define TRIES       4
#define LAYER_BYTES 14   /* of a layer's message beside its shape: step, tables, sizes */
#define ROTATE_BITS 1.3  /* a weight, below which kernels are rotated */
#define WHOLE_BITS  3    /* a weight, above which biases are fp16 */
#define REAL_RIDGE  0.1  /* of the mean moment, where examples are data */
#define SHARE       0.7  /* power of the sensitivity that weighs a layer's error */
#define FIRST_PRICE 1e-5 /* of a bit at 28 times smaller */
#define FIRST_SLOPE 1.5  /* of the logarithms, price over bits */
#define MAX_SLOPE   4
#define MANY_BITS   4    /* a weight, above which slopes are those of high rates: ... */
#define STEEP       1.39 /* ... this a bit, as each makes squared errors four times smaller */

struct small {
    struct lego_package *package;
    const struct encode_options *options;
    struct encode_session *session;
    struct small_settings settings;
    struct encode_weight *weights;
    struct small_layer *layers; /* [weight_count] */
    uint32_t weight_count;
    struct calibration *calibration; /* the session's */
    uint32_t layer_count;            /* of the walk */
    const struct layer *walked;
    float **bias;                   /* [layer_count] */
    float **best_bias;              /* of the best walk that fits */
    struct lego_coded const **best; /* [weight_count] */
    struct lego_trellis_table *best_tables;
    uint32_t best_table_count;
    uint64_t best_bytes;
    double best_divergence;
    uint32_t draws; /* walks to meet the size with: 1, or DRAWS */
    /* Of the walk before this one, by which this one is steered: bits of each weight; of all that
       are still to come, at the walk's price; and how many there are to be. */
    double *last_bits; /* [weight_count] */
    double expected, wanted;
    double slope, max_slope; /* of the logarithms, price over bits */
    double prices;           /* of this walk: logarithms to base 2, by bits */
    uint32_t next, step;
};

static void forget(struct small_layer *layer)
{
    free(layer->levels);
    free(layer->codes);
    free(layer->row_scales);
    free(layer->decoded);
    layer->levels = NULL;
    layer->codes = NULL;
    layer->row_scales = NULL;
    layer->decoded = NULL;
}

/*
 * Quantises at the price that brings what is left of the walk to the bits that are left. A layer
 * that is much of what is left is tried until it keeps to its share: none behind it could mend it.
 */
static int quantise_steered(struct small *s, uint32_t weight, const struct calibrate_stats *stats,
                            float *ret_bias)
{
    struct small_settings settings = s->settings;
    struct small_layer *layer = &s->layers[weight];
    const double last = s->last_bits[weight];
    const double share = s->expected > 0 ? last / s->expected : 0;
    const double most = trellis_log2(STEER);
    const double aim = fmax(share * s->wanted, 1);
    double off = share > 0 ? s->slope * trellis_log2(last / aim) : 0;
    int status = LEGO_OK;

    for (int i = 0; status == LEGO_OK && i < TRIES; i++) {
        off = fmin(fmax(off, -most), most);
        settings.price = s->settings.price * trellis_exp2(off);
        status = small_quantise(&settings, layer, stats, ret_bias);
        if (share < MUCH || fabs(layer->bits - aim) < NEAR * fmax(s->wanted, aim))
            break;
        off += s->slope * trellis_log2(fmax(layer->bits, 1) / aim);
    }
    s->prices += layer->bits * trellis_log2(settings.price);
    s->expected -= last;
    s->wanted -= layer->bits;
    s->last_bits[weight] = layer->bits;
    return status;
}

/* A calibrate_quantise. A weight that several nodes share keeps what the first made of it. */
static int quantise(void *context, const struct calibrate_stats *stats, float *ret_weights,
                    float *ret_bias, struct lego_diag *diag)
{
    struct small *s = context;
    struct small_layer *layer = &s->layers[stats->layer->weight];
    const uint32_t index = s->next++, rows = layer->weight->rows;
    const bool first = !layer->levels;
    int status = LEGO_OK;

    s->settings.old_bias = stats->layer->directions > 0
                               ? NULL
                               : fit_old_bias(s->package, s->calibration, s->weights, index);
    memset(ret_bias, 0, rows * sizeof(*ret_bias));
    if (first)
        status = quantise_steered(s, stats->layer->weight, stats, ret_bias);
    if (status == LEGO_OK && !s->bias[index])
        s->bias[index] = malloc(rows * sizeof(**s->bias));
    if (status == LEGO_OK && !s->bias[index])
        status = LEGO_E_NOMEM;
    if (status != LEGO_OK)
        return lego_fail(diag, status, "weight '%s': %s", layer->weight->name,
                         lego_status_text(status));
    memcpy(ret_weights, layer->decoded, (size_t)rows * layer->weight->columns * sizeof(float));
    memcpy(s->bias[index], ret_bias, rows * sizeof(*ret_bias));
    if (s->options->progress) {
        char text[64];
        snprintf(text, sizeof(text), "%.2f bits a weight",
                 layer->bits / ((double)rows * layer->weight->columns));
        s->options->progress(s->options->context, layer->weight->name, ++s->step,
                             s->layer_count * WALKS, text);
    }
    return LEGO_OK;
}

static uint64_t scale_bytes(const struct lego_coded *coded)
{
    const uint64_t bits = coded->scale_kind == LEGO_SCALE_ROW ? 16 : 5;

    return (coded->rows * bits + 7) / 8;
}

/* Makes the tensors coded; returns the bytes that this takes. */
static int store(struct small *s, uint64_t *ret_bytes, struct lego_diag *diag)
{
    struct lego_graph *graph = s->package->graph;
    struct trellis_layer *layers = calloc(s->weight_count, sizeof(*layers));
    uint64_t bytes = 0;
    int status = LEGO_E_NOMEM;

    for (uint32_t i = 0; layers && i < s->weight_count; i++) {
        const struct small_layer *from = &s->layers[i];
        layers[i] = (struct trellis_layer){.tensor = from->weight->tensor,
                                           .view = from->weight->view,
                                           .groups = from->weight->groups,
                                           .tile_rows = from->tile_rows,
                                           .step = from->step,
                                           .levels = from->levels,
                                           .row_codes = from->codes,
                                           .row_scales = from->uneven ? from->row_scales : NULL,
                                           .rotation = from->rotation};
    }
    if (layers)
        status = trellis_store(s->package, layers, s->weight_count, s->settings.workers, diag);
    else
        lego_fail(diag, status, "out of memory for %u layers", s->weight_count);
    for (uint32_t i = 0; status == LEGO_OK && i < s->weight_count; i++)
        bytes += graph->tensors[s->weights[i].tensor].coded->trellis->stream_bytes + LAYER_BYTES +
                 scale_bytes(graph->tensors[s->weights[i].tensor].coded);
    bytes += 4 * (uint64_t)s->package->trellis_table_count;
    for (uint32_t i = 0; i < s->package->rotation_count; i++) {
        const uint64_t taps = s->package->rotations[i].taps;

        bytes += 2 * taps * taps + taps + 12;
    }
    *ret_bytes = bytes;
    free(layers);
    return status;
}

/* Takes the stored walk as the best one. */
static int keep(struct small *s, uint64_t bytes, struct lego_diag *diag)
{
    for (uint32_t i = 0; i < s->weight_count; i++)
        s->best[i] = s->package->graph->tensors[s->weights[i].tensor].coded;
    s->best_tables = s->package->trellis_tables;
    s->best_table_count = s->package->trellis_table_count;
    s->best_bytes = bytes;
    s->best_divergence = calibrate_divergence(s->calibration);
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const size_t size = s->walked[i].rows * sizeof(float);
        if (!s->best_bias[i])
            s->best_bias[i] = malloc(size);
        if (!s->best_bias[i])
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory for biases");
        memcpy(s->best_bias[i], s->bias[i], size);
    }
    return LEGO_OK;
}

/* The constant of the graph that a layer's bias is, NULL: there is none. */
static struct lego_tensor *bias_tensor(const struct small *s, uint32_t index)
{
    const struct lego_graph *graph = s->package->graph;
    const float *old = fit_old_bias(s->package, s->calibration, s->weights, index);

    for (uint32_t t = 0; old && t < graph->tensor_count; t++)
        if (graph->tensors[t].data == old)
            return &graph->tensors[t];
    return NULL;
}

/* The bytes of the file with the stored walk and its biases. */
static int measure(const struct small *s, uint64_t *ret_bytes, struct lego_diag *diag)
{
    const void **old = calloc(s->layer_count + 1, sizeof(*old));
    struct lego_tensor **tensors = calloc(s->layer_count + 1, sizeof(struct lego_tensor *));
    uint64_t bytes = 0;
    int status = old && tensors ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory");

    for (uint32_t i = 0; status == LEGO_OK && i < s->layer_count; i++)
        tensors[i] = bias_is_own(s->calibration, i) ? bias_tensor(s, i) : NULL;
    for (uint32_t i = 0; status == LEGO_OK && i < s->layer_count; i++) {
        const uint32_t rows = s->walked[i].rows;
        size_t elems;
        float *whole = tensors[i] ? bias_make(s->package, s->calibration, s->weights, s->bias,
                                              s->settings.bias_levels, i, &elems)
                                  : NULL;

        if (!whole) {
            /* It will have one, of a byte or two a row. */
            bytes += bias_is_own(s->calibration, i)
                         ? rows * (s->settings.bias_levels > 0 ? 1u : 2u) + 16
                         : 0;
            tensors[i] = NULL;
            continue;
        }
        old[i] = tensors[i]->data;
        tensors[i]->data = whole;
    }
    if (status == LEGO_OK)
        status = lego_package_measure(s->package, ret_bytes, diag);
    *ret_bytes += bytes;
    for (uint32_t i = s->layer_count; tensors && old && i-- > 0;) {
        if (!tensors[i])
            continue;
        free((void *)(uintptr_t)tensors[i]->data);
        tensors[i]->data = old[i];
    }
    free(old);
    free(tensors);
    return status;
}

static void unstore(struct small *s)
{
    for (uint32_t i = 0; i < s->weight_count; i++) {
        struct lego_tensor *tensor = &s->package->graph->tensors[s->weights[i].tensor];
        tensor->coded = NULL;
        tensor->data = s->weights[i].data;
    }
}

static int walk(struct small *s, uint64_t *ret_bytes, struct lego_diag *diag)
{
    for (uint32_t i = 0; i < s->weight_count; i++)
        forget(&s->layers[i]);
    s->next = 0;
    int status = calibrate_walk(s->calibration, quantise, s, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < s->weight_count; i++) {
        if (s->layers[i].levels)
            continue;
        status = quantise_steered(s, i, NULL, NULL);
        if (status != LEGO_OK)
            lego_fail(diag, status, "weight '%s': out of memory", s->weights[i].name);
    }
    if (status == LEGO_OK)
        status = store(s, ret_bytes, diag);
    if (status == LEGO_OK && s->options->file_bytes > 0)
        status = measure(s, ret_bytes, diag);
    return status;
}

/*
 * Walks at prices that a secant through the logarithms of price and bytes gives, each steered to
 * the bytes by what the one before it took, until one takes nearly all the bytes that there are.
 * Far below a bit a weight, chance decides what is left of a network, and so it is tried some
 * times, with other ridges, and the walk is kept whose answers are nearest to the teacher's.
 */
/* Fuller is better, until the size is met; then what answers as the teacher does is. */
static bool is_better(const struct small *s, uint64_t bytes, uint64_t taken)
{
    const double enough = ENOUGH * (double)bytes;

    if (taken > bytes || taken == 0)
        return false;
    if ((double)taken >= enough && (double)s->best_bytes >= enough)
        return calibrate_divergence(s->calibration) < s->best_divergence;
    return taken > s->best_bytes;
}

static int search(struct small *s, uint64_t bytes, struct lego_diag *diag)
{
    static const double ridges[DRAWS] = {0.2, 0.1, 0.15, 0.4};
    double last_price = 0, last_bits = 0;
    uint64_t taken = 0;

    for (uint32_t i = 0, met = 0; i < WALKS + s->draws - 1 + (s->best_bytes == 0 ? MORE_WALKS : 0);
         i++) {
        s->settings.ridge = met > 0 || s->session->synthetic ? ridges[met] : REAL_RIDGE;
        int status = walk(s, &taken, diag);
        const bool meets = taken <= bytes && (double)taken >= ENOUGH * (double)bytes;
        if (status == LEGO_OK && is_better(s, bytes, taken))
            status = keep(s, taken, diag);
        unstore(s);
        if (status != LEGO_OK)
            return status;
        met += meets;
        if (met >= s->draws || (s->options->draft && s->best_bytes > 0 && i + 1 >= DRAFT_WALKS))
            break;
        double bits = 0;
        for (uint32_t k = 0; k < s->weight_count; k++)
            bits += s->last_bits[k];
        const double price = trellis_exp2(s->prices / fmax(bits, 1));
        const double aim = i + 1 < WALKS || s->best_bytes > 0 ? AIM : LOW_AIM;
        const double wanted = fmax(bits + 8 * (aim * (double)bytes - (double)taken), bits / 16);
        if (i > 0 && fabs(trellis_log2(bits / last_bits)) > 0.1)
            s->slope = -trellis_log2(price / last_price) / trellis_log2(bits / last_bits);
        s->slope = fmin(fmax(s->slope, 0.5), s->max_slope);
        last_price = price;
        last_bits = bits;
        s->settings.price = price * trellis_exp2(s->slope * trellis_log2(bits / wanted));
        s->expected = s->wanted = wanted;
        s->prices = 0;
        for (uint32_t k = 0; k < s->weight_count; k++)
            s->last_bits[k] *= wanted / bits;
    }
    if (s->best_bytes == 0)
        return lego_fail(diag, LEGO_E_INVALID,
                         "the weights cannot be coded in %llu bytes by this codec; ask for a lower "
                         "ratio",
                         (unsigned long long)bytes);
    return LEGO_OK;
}

static void describe(const struct small *s, struct encode_report *report)
{
    for (uint32_t i = 0; i < s->weight_count; i++) {
        const struct lego_coded *coded = s->best[i];
        struct encode_layer *entry = &report->layers[i];
        struct lego_tensor tensor = s->package->graph->tensors[s->weights[i].tensor];
        float *dense = malloc(tensor.bytes);
        double error = 0, energy = 0;

        entry->name = s->weights[i].name;
        snprintf(entry->format, sizeof(entry->format), "trellis%s",
                 s->layers[i].rotation ? ", rotated" : "");
        entry->weights = (uint64_t)coded->rows * coded->columns;
        entry->bytes = coded->trellis->stream_bytes + scale_bytes(coded) + sizeof(float);
        entry->bits_per_weight = 8.0 * (double)entry->bytes / (double)entry->weights;
        tensor.coded = coded;
        if (dense && lego_coded_decode(&tensor, dense, entry->weights, NULL) == LEGO_OK) {
            for (size_t k = 0; k < entry->weights; k++) {
                const double exact = (double)s->weights[i].data[k];
                error += (exact - (double)dense[k]) * (exact - (double)dense[k]);
                energy += exact * exact;
            }
        }
        free(dense);
        entry->mse = energy > 0 ? error / energy : 0;
        report->weights += entry->weights;
        report->bytes += entry->bytes;
    }
    for (uint32_t i = 0; i < s->layer_count; i++)
        report->layers[s->walked[i].weight].calibrated = true;
    report->catalogue_bytes = 4 * (uint64_t)s->best_table_count;
    report->bytes += report->catalogue_bytes;
}

static int commit(struct small *s, struct encode_report *report, struct lego_diag *diag)
{
    describe(s, report);
    const int status = fit_store_biases(s->package, s->calibration, s->weights, s->best_bias,
                                        s->settings.bias_levels, diag);
    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 0; i < s->weight_count; i++) {
        struct lego_tensor *tensor = &s->package->graph->tensors[s->weights[i].tensor];
        tensor->coded = s->best[i];
        tensor->data = NULL;
    }
    s->package->trellis_tables = s->best_tables;
    s->package->trellis_table_count = s->best_table_count;
    return LEGO_OK;
}

static int prepare(struct small *s, struct encode_report *report, struct lego_diag *diag)
{
    int status = encode_weights_find(s->package->graph, &s->weights, &s->weight_count, diag);

    if (status != LEGO_OK)
        return status;
    if (s->weight_count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the model has no weights to compress");
    s->layers = calloc(s->weight_count, sizeof(*s->layers));
    s->best = calloc(s->weight_count, sizeof(*s->best));
    s->last_bits = calloc(s->weight_count, sizeof(*s->last_bits));
    report->layers = calloc(s->weight_count, sizeof(*report->layers));
    if (!s->layers || !s->best || !s->last_bits || !report->layers)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for layers");
    report->layer_count = s->weight_count;
    s->walked = calibrate_layers(s->calibration, &s->layer_count);
    s->bias = calloc(s->layer_count + 1, sizeof(*s->bias));
    s->best_bias = calloc(s->layer_count + 1, sizeof(*s->best_bias));
    const double *sensitivity = NULL;
    if (!s->bias || !s->best_bias)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for layers");
    if (status == LEGO_OK)
        status = encode_session_sensitivity(s->session, &sensitivity, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < s->weight_count; i++) {
        s->layers[i].weight = &s->weights[i];
        s->layers[i].sensitivity = 1;
    }
    for (uint32_t i = 0; status == LEGO_OK && i < s->layer_count; i++) {
        s->layers[s->walked[i].weight].sensitivity = portable_pow(sensitivity[i], SHARE);
        s->layers[s->walked[i].weight].last = i + 1 == s->layer_count;
    }
    return status;
}

static int run(struct small *s, struct encode_report *report, struct lego_diag *diag)
{
    uint64_t weights = 0, biases = 0;
    int status = prepare(s, report, diag);

    if (status != LEGO_OK)
        return status;
    for (uint32_t i = 0; i < s->weight_count; i++)
        weights += (uint64_t)s->weights[i].rows * s->weights[i].columns;
    /* The budget counts biases of two bytes; ours take one. */
    for (uint32_t i = 0; i < s->layer_count; i++)
        biases += s->walked[i].can_bias && s->walked[i].rows > 2 ? s->walked[i].rows - 2 : 0;
    const uint64_t bytes = s->options->weight_bytes + biases;
    const double bits = 8.0 * (double)bytes / (double)weights, ratio = 32 / bits;
    for (uint32_t i = 0; i < s->weight_count; i++)
        s->layers[i].tile_rows = trellis_tile_rows(s->weights[i].rows, s->weights[i].columns, bits);
    if (bits < ROTATE_BITS && !(s->options->without & ENCODE_WITHOUT(ROTATION)) &&
        small_rotate(s->package, s->weights, s->weight_count, s->layers) != LEGO_OK)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for a rotation");
    s->draws =
        bits < DRAW_BITS && !s->options->draft && !(s->options->without & ENCODE_WITHOUT(DRAWS))
            ? DRAWS
            : 1;
    s->settings.gain = ratio <= 12 ? 0.85 : ratio <= 20 ? 0.8 : 0.9;
    s->settings.price = FIRST_PRICE * trellis_exp2(2.2 * trellis_log2(ratio / 28));
    s->settings.bias_levels = bits > WHOLE_BITS ? 0 : bits > 1.2 ? 127 : bits > 0.8 ? 63 : 31;
    s->slope = bits > MANY_BITS ? STEEP * bits : FIRST_SLOPE;
    s->max_slope = bits > MANY_BITS ? STEEP * bits : MAX_SLOPE;
    s->package->pack_dense = true;
    s->package->squeeze = s->options->file_bytes > 0;
    status = search(s, s->options->file_bytes > 0 ? s->options->file_bytes : bytes, diag);
    return status == LEGO_OK ? commit(s, report, diag) : status;
}

static void small_clear(struct small *s)
{
    for (uint32_t i = 0; i < s->layer_count; i++) {
        if (s->bias)
            free(s->bias[i]);
        if (s->best_bias)
            free(s->best_bias[i]);
    }
    free(s->bias);
    free(s->best_bias);
    for (uint32_t i = 0; s->layers && i < s->weight_count; i++)
        forget(&s->layers[i]);
    free(s->layers);
    free(s->best);
    free(s->last_bits);
    free(s->weights);
}

int small_package(struct lego_package *package, const struct encode_options *options,
                  struct encode_session *session, struct encode_report *ret_report,
                  struct lego_diag *diag)
{
    struct small s = {.package = package,
                      .options = options,
                      .session = session,
                      .calibration = session->calibration,
                      .settings = {.graph = package->graph, .workers = session->workers}};
    struct encode_report report = {0};
    const int status = run(&s, &report, diag);

    if (status == LEGO_OK) {
        *ret_report = report;
    } else {
        package->pack_dense = false;
        package->squeeze = false;
        package->rotations = NULL;
        package->rotation_count = 0;
        package->trellis_tables = NULL;
        package->trellis_table_count = 0;
        encode_report_clear(&report);
    }
    small_clear(&s);
    return status;
}
