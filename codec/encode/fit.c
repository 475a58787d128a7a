#include "codec/encode/fit.h"
#include "codec/base/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES       256
#define IMAGE_BYTES  ((uint64_t)640 << 20) /* of the largest value of all examples, times 8 */
#define REFINE_WALKS 5

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
    if ((w->groups > 1 && layer->group_rows % f->rows != 0) || w->columns % f->columns != 0 ||
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

/* As many examples as memory is meant for: the largest values are held a few times over. */
uint32_t fit_choose_images(const struct lego_package *package)
{
    uint64_t largest = 1;

    for (uint32_t v = 0; v < package->graph->value_count; v++) {
        const struct lego_shape *shape = &package->graph->values[v].shape;
        uint64_t bytes = sizeof(float);

        for (int d = 0; d < shape->rank; d++)
            bytes *= shape->dim[d] > 0 && shape->dim[d] < 1 << 20 ? (uint64_t)shape->dim[d] : 1;
        if (package->graph->values[v].tensor < 0 && bytes > largest)
            largest = bytes;
    }
    const uint64_t images = IMAGE_BYTES / 8 / largest;
    return images > IMAGES ? IMAGES : images < 8 ? 8 : (uint32_t)images;
}

static void describe_layers(struct fit *fit)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(fit->calibration, &count);

    for (uint32_t i = 0; i < fit->weight_count; i++) {
        struct fit_layer *layer = &fit->layers[i];

        layer->weight = &fit->weights[i];
        layer->group_rows = layer->weight->rows / layer->weight->groups;
        layer->deviation = deviation_of(layer->weight);
        layer->sensitivity = 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct fit_layer *layer = &fit->layers[layers[i].weight];

        layer->calibrated = true;
        layer->edge = layer->edge || i == 0 || i + 1 == count;
    }
    for (uint32_t i = 0; i < fit->weight_count; i++) {
        for (uint32_t f = 0; f < FIT_FORMATS; f++)
            fit->layers[i].bytes[f] = format_bytes(&fit->layers[i], f);
    }
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
    status =
        calibrate_create(fit->package, fit->weights, fit->weight_count, fit->options->seed,
                         fit_choose_images(fit->package), fit->workers, &fit->calibration, diag);
    if (status != LEGO_OK)
        return status;
    describe_layers(fit);
    calibrate_layers(fit->calibration, &count);
    fit->bias = calloc(count + 1, sizeof(*fit->bias));
    if (!fit->bias)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for biases");
    fit->steps = count * (1 + REFINE_WALKS);
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

static int measure_sensitivity(struct fit *fit, struct lego_diag *diag)
{
    uint32_t count;
    const struct layer *layers = calibrate_layers(fit->calibration, &count);
    double *sensitivity = calloc(count + 1, sizeof(*sensitivity));
    int status = sensitivity ? calibrate_sensitivity(fit->calibration, sensitivity, diag)
                             : lego_fail(diag, LEGO_E_NOMEM, "out of memory for sensitivities");

    for (uint32_t i = 0; status == LEGO_OK && i < count; i++)
        fit->layers[layers[i].weight].sensitivity = sqrt(sensitivity[i]);
    free(sensitivity);
    return status;
}

static int run(struct fit *fit, struct encode_report *report, struct lego_diag *diag)
{
    uint64_t weights = 0;
    int status = prepare(fit, report, diag);

    if (status == LEGO_OK)
        status = fit_train(fit, diag);
    if (status == LEGO_OK)
        status = measure_sensitivity(fit, diag);
    for (uint32_t i = 0; i < fit->weight_count; i++)
        weights += (uint64_t)fit->weights[i].rows * fit->weights[i].columns;
    fit->explore_bits = 8.0 * (double)fit->options->weight_bytes / (double)weights;
    fit->exploring = true;
    if (status == LEGO_OK)
        status = walk(fit, diag);
    fit->exploring = false;
    if (status == LEGO_OK)
        status = fit_allocate(fit, fit->options->weight_bytes, diag);
    for (uint32_t i = 0; status == LEGO_OK && i < REFINE_WALKS; i++) {
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
    calibrate_destroy(fit->calibration);
    for (uint32_t i = 0; fit->layers && i < fit->weight_count; i++) {
        struct fit_layer *layer = &fit->layers[i];

        free(layer->index[0]);
        free(layer->index[1]);
        free(layer->scales);
        free(layer->decoded);
        free(layer->compensated);
    }
    for (uint32_t f = 0; f < FIT_FORMATS; f++) {
        for (int s = 0; s < GPTQ_MAX_STAGES; s++) {
            free(fit->catalogues[f].data[s]);
            free(fit->catalogues[f].values[s]);
        }
    }
    free(fit->layers);
    free(fit->weights);
}

int fit_package(struct lego_package *package, const struct encode_options *options,
                struct encode_workers *workers, struct encode_report *ret_report,
                struct lego_diag *diag)
{
    struct fit fit = {.package = package, .options = options, .workers = workers};
    struct encode_report report = {0};
    const int status = run(&fit, &report, diag);

    if (status == LEGO_OK)
        *ret_report = report;
    else
        encode_report_clear(&report);
    fit_clear(&fit);
    return status;
}
