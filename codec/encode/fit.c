#include "codec/encode/fit.h"
#include "codec/base/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_PART   20 /* of all weights: a last layer that is more is coded as others are */
#define HUGE_PART    4  /* of all weights: so is a first or last layer that is more than this */
#define REFINE_WALKS 5
#define DRAFT_WALKS  1

/* In falling size. Vectors only where the kernels decode them fast; those of less than a bit have
 * one scale for the layer. */
const struct gptq_format fit_formats[FIT_FORMATS] = {
    {"8-bit", 1, 1, 256, 1, 128}, {"6-bit", 1, 1, 64, 1, 32},   {"5-bit", 1, 1, 32, 1, 16},
    {"4-bit", 1, 1, 16, 1, 8},    {"2x1/256", 2, 1, 256, 1, 0}, {"2x1/64", 2, 1, 64, 1, 0},
    {"1x3/256", 1, 3, 256, 1, 0}, {"4x1/256", 4, 1, 256, 1, 0}, {"1x9/256+256", 1, 9, 256, 2, 0},
    {"8x1/256", 8, 1, 256, 1, 0}, {"1x9/256", 1, 9, 256, 1, 0}, {"1x9/64", 1, 9, 64, 1, 0},
};

bool fit_scales_layer(uint32_t format)
{
    const struct gptq_format *f = &fit_formats[format];

    return f->stages * lego_index_bits(f->entries) <= f->rows * f->columns;
}

/* Bytes of a layer in a format; UINT64_MAX where the format does not fit it. */
static uint64_t format_bytes(const struct fit_layer *layer, uint32_t index)
{
    const struct gptq_format *f = &fit_formats[index];
    const struct encode_weight *w = layer->weight;
    const uint32_t bits = lego_index_bits(f->entries);
    const uint32_t tile_rows = lego_default_tile_rows(f->rows);
    uint64_t bytes = fit_scales_layer(index) ? sizeof(float) : w->rows * sizeof(uint16_t);

    if (f->levels == 0 && (layer->edge || !layer->calibrated || w->columns < 16))
        return UINT64_MAX;
    if (layer->edge && f->levels < 16)
        return UINT64_MAX;
    if ((layer->group_rows < w->rows && layer->group_rows % f->rows != 0) ||
        w->columns % f->columns != 0 ||
        (f->columns > 1 && (w->taps == 1 || w->taps % f->columns != 0)))
        return UINT64_MAX;
    for (uint32_t row = 0; row < w->rows; row += tile_rows) {
        const uint32_t rows = w->rows - row < tile_rows ? w->rows - row : tile_rows;
        const uint64_t bricks =
            (uint64_t)((rows + f->rows - 1) / f->rows) * (w->columns / f->columns);

        bytes += f->stages * ((bricks * bits + 7) / 8);
    }
    return bytes;
}

static float deviation_of(const struct encode_weight *w)
{
    const size_t elems = (size_t)w->rows * w->columns;
    double sum = 0, squares = 0;

    for (size_t i = 0; i < elems; i++) {
        sum += (double)w->data[i];
        squares += (double)w->data[i] * (double)w->data[i];
    }
    const double mean = sum / (double)elems;
    const float deviation = (float)sqrt(fmax(squares / (double)elems - mean * mean, 1e-12));
    return lego_half_to_float(lego_half_from_float(fminf(deviation, 60000)));
}

static void describe_layers(struct fit *fit)
{
    uint64_t weights = 0;
    uint32_t count;
    const struct layer *layers = calibrate_layers(fit->calibration, &count);

    for (uint32_t i = 0; i < fit->weight_count; i++) {
        struct fit_layer *layer = &fit->layers[i];

        layer->weight = &fit->weights[i];
        layer->group_rows = layer->weight->rows / layer->weight->groups;
        layer->deviation = deviation_of(layer->weight);
        layer->sensitivity = 1;
        weights += (uint64_t)layer->weight->rows * layer->weight->columns;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct fit_layer *layer = &fit->layers[layers[i].weight];

        layer->calibrated = true;
        if (layers[i].group_rows < layer->group_rows)
            layer->group_rows = layers[i].group_rows;
        /* A classifier of many classes is too much of a network to be spared, and where features
           are pooled more is known of what it sees. */
        const uint64_t own = (uint64_t)layer->weight->rows * layer->weight->columns;
        const bool huge = own > weights / HUGE_PART;
        const bool large = huge || (layers[i].pooled >= 0 && own > weights / LARGE_PART);
        /* What a recurrent layer sees is known well, wherever it stands. */
        layer->edge = layer->edge || (layers[i].directions == 0 &&
                                      ((i == 0 && !huge) || (i + 1 == count && !large)));
    }
    for (uint32_t i = 0; i < fit->weight_count; i++) {
        for (uint32_t f = 0; f < FIT_FORMATS; f++)
            fit->layers[i].bytes[f] = format_bytes(&fit->layers[i], f);
    }
}

static uint32_t refine_walks(const struct fit *fit)
{
    return fit->options->draft ? DRAFT_WALKS : REFINE_WALKS;
}

static int prepare(struct fit *fit, struct encode_report *report, struct lego_diag *diag)
{
    uint32_t count;
    int status = encode_weights_find(fit->package->graph, &fit->weights, &fit->weight_count, diag);

    if (status != LEGO_OK)
        return status;
    if (fit->weight_count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "the model has no weights to compress");
    fit->layers = calloc(fit->weight_count, sizeof(*fit->layers));
    report->layers = calloc(fit->weight_count, sizeof(*report->layers));
    if (!fit->layers || !report->layers)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for layers");
    report->layer_count = fit->weight_count;
    describe_layers(fit);
    calibrate_layers(fit->calibration, &count);
    fit->bias = calloc(count + 1, sizeof(*fit->bias));
    if (!fit->bias)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for biases");
    fit->steps = count * ((fit->session->explored ? 0 : 1) + refine_walks(fit));
    return LEGO_OK;
}

/* Keeps each layer's bias change as the walk goes on. */
struct listener {
    struct fit *fit;
    uint32_t next;
};

static int quantise_and_note(void *context, const struct calibrate_stats *stats, float *ret_weights,
                             float *ret_bias, struct lego_diag *diag)
{
    struct listener *listener = context;
    struct fit *fit = listener->fit;
    const uint32_t i = listener->next++;
    const int status = fit_quantise(fit, stats, ret_weights, ret_bias, diag);

    if (status != LEGO_OK)
        return status;
    free(fit->bias[i]);
    fit->bias[i] = malloc(stats->layer->rows * sizeof(float));
    if (!fit->bias[i])
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for biases");
    memcpy(fit->bias[i], ret_bias, stats->layer->rows * sizeof(float));
    return LEGO_OK;
}

static int walk(struct fit *fit, struct lego_diag *diag)
{
    struct listener listener = {.fit = fit};
    int status;

    for (uint32_t i = 0; i < fit->weight_count; i++)
        fit->layers[i].done = false;
    status = calibrate_walk(fit->calibration, quantise_and_note, &listener, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < fit->weight_count; i++) {
        if (!fit->layers[i].done)
            status = fit_quantise_alone(fit, &fit->layers[i], diag);
    }
    return status;
}

static int take_sensitivity(struct fit *fit, struct lego_diag *diag)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(fit->calibration, &count);
    const double *sensitivity;
    const int status = encode_session_sensitivity(fit->session, &sensitivity, diag);

    for (uint32_t i = 0; status == LEGO_OK && i < count; i++)
        fit->layers[layers[i].weight].sensitivity = sqrt(sensitivity[i]);
    return status;
}

static void clear_catalogues(struct fit_catalogue *catalogues)
{
    for (uint32_t f = 0; f < FIT_FORMATS; f++) {
        for (int s = 0; s < GPTQ_MAX_STAGES; s++) {
            free(catalogues[f].data[s]);
            free(catalogues[f].values[s]);
        }
    }
}

/* Copies catalogues; to what holds none. */
static bool copy_catalogues(const struct fit_catalogue *from, struct fit_catalogue *to)
{
    bool good = true;

    for (uint32_t f = 0; f < FIT_FORMATS; f++) {
        const size_t elems = (size_t)from[f].entries * fit_formats[f].rows * fit_formats[f].columns;

        to[f] = from[f];
        for (int s = 0; s < GPTQ_MAX_STAGES; s++) {
            to[f].data[s] = from[f].data[s] ? malloc(elems + 1) : NULL;
            to[f].values[s] = from[f].values[s] ? malloc((elems + 1) * sizeof(float)) : NULL;
            if (to[f].data[s])
                memcpy(to[f].data[s], from[f].data[s], elems);
            if (to[f].values[s])
                memcpy(to[f].values[s], from[f].values[s], elems * sizeof(float));
            good = good && !to[f].data[s] == !from[f].data[s] &&
                   !to[f].values[s] == !from[f].values[s];
        }
    }
    return good;
}

void fit_exploration_destroy(struct fit_exploration *exploration)
{
    if (!exploration)
        return;
    clear_catalogues(exploration->catalogues);
    free(exploration->distortion);
    free(exploration);
}

/* One walk with the catalogues of the plain weights; the session keeps what it found. */
static int explore(struct fit *fit, struct lego_diag *diag)
{
    struct fit_exploration *found = calloc(1, sizeof(*found));
    int status = fit_train(fit, diag);

    if (found)
        found->distortion = calloc(fit->weight_count + 1, sizeof(*found->distortion));
    if (status == LEGO_OK &&
        (!found || !found->distortion || !copy_catalogues(fit->catalogues, found->catalogues)))
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory for catalogues");
    fit->exploring = true;
    if (status == LEGO_OK)
        status = walk(fit, diag);
    fit->exploring = false;
    if (status != LEGO_OK) {
        fit_exploration_destroy(found);
        return status;
    }
    for (uint32_t i = 0; i < fit->weight_count; i++)
        memcpy(found->distortion[i], fit->layers[i].distortion, sizeof(fit->layers[i].distortion));
    fit->session->explored = found;
    return LEGO_OK;
}

static int recall(struct fit *fit, struct lego_diag *diag)
{
    const struct fit_exploration *found = fit->session->explored;

    for (uint32_t i = 0; i < fit->weight_count; i++)
        memcpy(fit->layers[i].distortion, found->distortion[i], sizeof(fit->layers[i].distortion));
    return copy_catalogues(found->catalogues, fit->catalogues)
               ? LEGO_OK
               : lego_fail(diag, LEGO_E_NOMEM, "out of memory for catalogues");
}

static int run(struct fit *fit, struct encode_report *report, struct lego_diag *diag)
{
    uint64_t weights = 0;
    int status = prepare(fit, report, diag);

    if (status == LEGO_OK)
        status = take_sensitivity(fit, diag);
    for (uint32_t i = 0; i < fit->weight_count; i++)
        weights += (uint64_t)fit->weights[i].rows * fit->weights[i].columns;
    fit->explore_bits = 8.0 * (double)fit->options->weight_bytes / (double)weights;
    if (status == LEGO_OK)
        status = fit->session->explored ? recall(fit, diag) : explore(fit, diag);
    if (status == LEGO_OK)
        status = fit_allocate(fit, fit->options->weight_bytes, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < refine_walks(fit); i++) {
        if (i > 0)
            status = fit_retrain(fit, diag);
        if (status == LEGO_OK)
            status = walk(fit, diag);
    }
    if (status == LEGO_OK)
        status = fit_store(fit, report, diag);
    return status;
}

static void fit_clear(struct fit *fit)
{
    uint32_t count = 0;

    if (fit->calibration)
        calibrate_layers(fit->calibration, &count);
    for (uint32_t i = 0; fit->bias && i < count; i++)
        free(fit->bias[i]);
    free(fit->bias);
    for (uint32_t i = 0; fit->layers && i < fit->weight_count; i++) {
        struct fit_layer *layer = &fit->layers[i];

        free(layer->index[0]);
        free(layer->index[1]);
        free(layer->scales);
        free(layer->decoded);
        free(layer->compensated);
    }
    clear_catalogues(fit->catalogues);
    free(fit->layers);
    free(fit->weights);
}

int fit_package(struct lego_package *package, const struct encode_options *options,
                struct encode_session *session, struct encode_report *ret_report,
                struct lego_diag *diag)
{
    struct fit fit = {.package = package,
                      .options = options,
                      .session = session,
                      .workers = session->workers,
                      .calibration = session->calibration};
    struct encode_report report = {0};
    const int status = run(&fit, &report, diag);

    if (status == LEGO_OK)
        *ret_report = report;
    else
        encode_report_clear(&report);
    fit_clear(&fit);
    return status;
}
