#include "agent/cli/coder.h"
#include "agent/cli/heads.h"

#include "agent/cli/compute.h"
#include "agent/cli/labels.h"
#include "agent/cli/model.h"
#include "agent/cli/output.h"
#include "agent/cli/selftest.h"
#include "codec/import/import.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A self-test may take this much, or 1/64 of the bricks or of the file that is asked for. */
#define SELFTEST_BYTES 1024

/* How often more a file is made that came out too large, by this part of it: each time costs as
 * much as the first. */
#define FITS      3
#define TOO_LARGE 128

/* What several catalogues add to the graph and to the alignment of sections. */
#define SLACK_BYTES 256

/* What a self-test takes in a file beside its outputs: its section's entry in the table, alignment,
 * its message. */
#define SELFTEST_AROUND 128

#define HELD      256 /* examples that predictions are made on */
#define HELD_SEED 0x5eed

#define FIRST_RATIO   10.0 /* of a search */
#define STEP_RATIO    1.6  /* from one to the next, until the limit lies between two */
#define HIGHEST_RATIO 200.0
#define DRAFTS        5
#define FINALS        3    /* files that are made in full, each a little larger than the last */
#define BACK_RATIO    1.12 /* between them */

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Labels, preprocessing and heads, from where the options say or from beside the model. */
static int add_companions(const struct coder *c, struct lego_package *package,
                          struct lego_diag *diag)
{
    struct lego_arena *arena = package->graph->arena;
    struct lego_diag beside = LEGO_DIAG_INIT;
    int status = c->options.labels ? labels_load(c->options.labels, package, diag)
                                   : labels_load_beside(c->path, package, diag);

    if (status == LEGO_OK)
        status = c->options.postprocess ? heads_load(c->options.postprocess, package, diag)
                                        : heads_load_beside(c->path, package, diag);
    if (status != LEGO_OK)
        return status;
    if (c->options.preprocess)
        return preprocess_load(c->options.preprocess, arena, &package->preprocess, diag);
    status = preprocess_load_beside(c->path, arena, &package->preprocess, &beside);
    if (status == LEGO_OK || status == LEGO_E_NOT_FOUND)
        return LEGO_OK;
    return lego_fail(diag, status, "%s", lego_diag_text(&beside, status));
}

static int import(const struct coder *c, struct lego_package **ret_package, struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    int status = cli_import(c->path, &package, diag);

    if (status == LEGO_OK)
        status = add_companions(c, package, diag);
    if (status == LEGO_OK)
        *ret_package = package;
    else
        lego_package_destroy(package);
    return status;
}

int coder_open(struct coder *coder, const char *path, const struct coder_options *options,
               struct lego_diag *diag)
{
    struct lego_package *package = NULL;

    *coder = (struct coder){.options = *options, .path = path, .progress = cli_progress_start()};
    int status = kern_init(&coder->kernels, NULL, diag);
    if (status == LEGO_OK)
        status = import(coder, &package, diag);
    if (status != LEGO_OK)
        return status;
    coder->original_bytes = package->graph->original_bytes;
    coder->original_weights = package->graph->original_weights;
    return lego_model_from_package(package, NULL, &coder->full, diag);
}

void coder_close(struct coder *coder)
{
    predict_destroy(coder->predict);
    encode_session_destroy(coder->session);
    encode_synthetic_destroy(coder->held);
    cli_examples_close(coder->examples);
    lego_model_close(coder->full);
    *coder = (struct coder){0};
}

void coded_clear(struct coded *coded)
{
    encode_report_clear(&coded->report);
    if (coded->model)
        lego_model_close(coded->model);
    else
        lego_package_destroy(coded->package);
    *coded = (struct coded){0};
}

static int add_metadata(const struct coder *c, struct lego_package *package,
                        const struct encode_options *encode)
{
    const char *slash = strrchr(c->path, '/');
    char text[256];
    int status = lego_package_set_metadata(package, "producer", "legonet " LEGONET_VERSION);

    if (status == LEGO_OK)
        status = lego_package_set_metadata(package, "source", slash ? slash + 1 : c->path);
    if (status == LEGO_OK)
        status = lego_package_set_metadata(package, "codec", c->options.codec);
    if (encode->codec == ENCODE_CODEC_SMALL || package->catalogue_count == 0) {
        snprintf(text, sizeof(text), "seed=%" PRIu64, encode->seed);
    } else {
        const struct lego_catalogue *first = &package->catalogues[0];

        snprintf(
            text, sizeof(text), "brick=%ux%u catalogue=%u type=%s scope=%s scales=%s seed=%" PRIu64,
            first->brick_rows, first->brick_columns, first->entries, lego_dtype_name(first->dtype),
            encode->scope == ENCODE_SCOPE_MODEL ? "model" : "layer",
            encode->scales == LEGO_SCALE_NONE    ? "none"
            : encode->scales == LEGO_SCALE_LAYER ? "layer"
                                                 : "row",
            encode->seed);
    }
    return status == LEGO_OK ? lego_package_set_metadata(package, "options", text) : status;
}

/* Runs the coded model as any reader will, and keeps what it answered. */
static int add_selftest(const struct coder *c, uint64_t whole, struct coded *coded,
                        struct lego_diag *diag)
{
    struct lego_diag why = LEGO_DIAG_INIT;
    const size_t part = (size_t)((whole > 0 ? whole : coded->report.bytes) / 64);
    /* By the reference kernels: the file's bytes must not depend on the machine's instruction set.
     */
    const struct lego_model_options options = {.resident = LEGO_RESIDENT_CODED, .cpu = "c"};
    struct lego_package *package = coded->package;

    coded->package = NULL; /* the model's from here on */
    int status = lego_model_from_package(package, &options, &coded->model, diag);
    if (status != LEGO_OK)
        return status;
    coded->package = package;
    if (c->options.no_selftest) {
        snprintf(coded->selftest, sizeof(coded->selftest), "--no-selftest");
        return LEGO_OK;
    }
    status = selftest_attach(package, coded->model, c->options.encode.seed,
                             part > SELFTEST_BYTES ? part : SELFTEST_BYTES,
                             c->options.encode.threads, &why);
    if (status == LEGO_E_UNSUPPORTED) {
        snprintf(coded->selftest, sizeof(coded->selftest), "%.250s", lego_diag_text(&why, status));
        return LEGO_OK;
    }
    if (status != LEGO_OK)
        return lego_fail(diag, status, "%s", lego_diag_text(&why, status));
    return LEGO_OK;
}

static void show_progress(void *context, const char *layer, uint32_t done, uint32_t total,
                          const char *text)
{
    cli_progress_step(context, layer, done, total, text);
}

/* Decides which of the marked layers compute in integers. */
static int choose_compute(const struct coder *c, const char *output, struct coded *coded,
                          struct lego_diag *diag)
{
    const struct encode_options *encode = &c->options.encode;
    const struct encode_examples *examples = c->examples ? cli_examples_held(c->examples) : NULL;
    struct encode_synthetic *synthetic = NULL;
    char *trial = NULL;
    int status = LEGO_OK;

    if (!examples) {
        status = encode_synthetic_create(lego_model_package(c->full), encode->seed ^ HELD_SEED,
                                         HELD, true, NULL, &synthetic, diag);
        if (status != LEGO_OK)
            return lego_diag_prefix(diag, status, "choosing the layers for --compute auto");
        examples = encode_synthetic_examples(synthetic);
    }
    if (asprintf(&trial, "%s.%d.compute", output, (int)getpid()) < 0)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (status == LEGO_OK)
        status = compute_choose(coded->package, examples, trial, encode->threads,
                                &coded->integer_layers, diag);
    free(trial);
    encode_synthetic_destroy(synthetic);
    return status;
}

/* From the imported model to the written file; `quick`: one that is thrown away. */
static int write_once(struct coder *c, const struct encode_options *encode, uint64_t whole,
                      bool quick, const char *output, struct coded *coded, struct lego_diag *diag)
{
    int status = import(c, &coded->package, diag);

    /* Before the encoder counts the file's bytes. */
    if (status == LEGO_OK && c->options.compute != LEGO_COMPUTE_FP32)
        coded->integer_layers = compute_mark(coded->package);

    /* The small codec counts all of the file, the others name their catalogues in the metadata. */
    const bool before = encode->codec == ENCODE_CODEC_SMALL;
    if (status == LEGO_OK && before)
        status = add_metadata(c, coded->package, encode);
    if (status == LEGO_OK)
        status = encode_package(coded->package, encode, &coded->report, diag);
    if (status == LEGO_OK && !before)
        status = add_metadata(c, coded->package, encode);
    if (status == LEGO_OK && !quick && c->options.compute == LEGO_COMPUTE_AUTO)
        status = choose_compute(c, output, coded, diag);
    if (status == LEGO_OK)
        status = add_selftest(c, whole, coded, diag);
    if (status == LEGO_OK)
        status = lego_package_write(coded->package, output, &coded->file_bytes, diag);
    cli_progress_end(&c->progress);
    return status;
}

/* What a file of this model takes beside its weights, which a quick plain encoding shows. */
static int find_beside(struct coder *c, uint64_t whole, const char *trial, struct lego_diag *diag)
{
    struct encode_options plain = {.codec = ENCODE_CODEC_BRICKS,
                                   .max_iterations = 1,
                                   .scales = LEGO_SCALE_ROW,
                                   .seed = c->options.encode.seed,
                                   .threads = c->options.encode.threads,
                                   .kernels = &c->kernels};
    struct coded coded = {0};
    const int status = write_once(c, &plain, whole, true, trial, &coded, diag);

    if (status == LEGO_OK) {
        const int64_t change = encode_bias_change(coded.package);

        c->beside =
            coded.file_bytes > coded.report.bytes ? coded.file_bytes - coded.report.bytes : 0;
        c->beside = change < 0 && (uint64_t)-change > c->beside ? 0 : c->beside + (uint64_t)change;
        c->beside += SLACK_BYTES;
        c->selftest = SELFTEST_AROUND;
        for (uint32_t i = 0; i < coded.package->selftest.output_count; i++)
            c->selftest += coded.package->selftest.outputs[i].bytes;
    }
    unlink(trial);
    coded_clear(&coded);
    return status;
}

/* Examples, calibration and what the full weights answer. */
static int start_session(struct coder *c, const struct encode_options *encode,
                         struct lego_diag *diag)
{
    const struct lego_package *package = lego_model_package(c->full);
    const uint64_t seed = c->options.encode.seed;
    const struct encode_examples *examples = NULL, *held;
    int status = LEGO_OK;

    if (c->options.calibrate && !c->examples)
        status = cli_examples_open(c->options.calibrate, package, seed,
                                   encode_examples_wanted(package, ENCODE_EXAMPLES), HELD,
                                   &c->examples, diag);
    if (status == LEGO_OK && c->examples)
        examples = cli_examples_calibration(c->examples);
    if (status == LEGO_OK)
        status = encode_session_create(package, examples, encode, &c->session, diag);
    if (status != LEGO_OK)
        return status;
    if (c->examples) {
        held = cli_examples_held(c->examples);
    } else {
        status =
            encode_synthetic_create(package, seed ^ HELD_SEED, HELD, true, NULL, &c->held, diag);
        if (status != LEGO_OK)
            return status;
        held = encode_synthetic_examples(c->held);
    }
    return predict_create(c->full, held, c->options.encode.threads, &c->predict, diag);
}

static int predict_file(struct coder *c, const char *output, struct coded *coded,
                        struct lego_diag *diag)
{
    struct lego_model *model = NULL;
    int status = lego_model_open(output, NULL, &model, diag);

    if (status == LEGO_OK)
        status = predict_measure(c->predict, model, &coded->prediction, diag);
    lego_model_close(model);
    coded->predicted = status == LEGO_OK;
    return status;
}

static int write_fitted(struct coder *c, uint64_t bytes, bool draft, const char *output,
                        struct coded *coded, struct lego_diag *diag)
{
    struct encode_options encode = c->options.encode;
    char *trial = NULL;
    int status = LEGO_OK;

    if (asprintf(&trial, "%s.%d.trial", output, (int)getpid()) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (c->beside == 0)
        status = find_beside(c, bytes, trial, diag);
    if (status == LEGO_OK && bytes <= c->beside)
        status = lego_fail(diag, LEGO_E_INVALID,
                           "a file of %" PRIu64 " bytes is too small: the graph and what else is "
                           "not weights take %" PRIu64,
                           bytes, c->beside);
    encode.weight_bytes = bytes - c->beside;
    if (encode.codec == ENCODE_CODEC_SMALL)
        encode.file_bytes = bytes - c->selftest;
    if (status == LEGO_OK && !c->predict)
        status = start_session(c, &encode, diag);
    if (status == LEGO_OK) {
        encode.session = c->session;
        encode.draft = draft;
        status = write_once(c, &encode, bytes, draft, draft ? trial : output, coded, diag);
    }
    /* What there is beside the weights was more than expected: again, with what it was, and a
     * little for what of it is different then. */
    for (int again = 0; again < FITS && status == LEGO_OK && !draft &&
                        coded->file_bytes > bytes + bytes / TOO_LARGE &&
                        2 * (coded->file_bytes - bytes) < encode.weight_bytes;
         again++) {
        c->beside += coded->file_bytes - bytes + bytes / 256;
        encode.weight_bytes = bytes - c->beside;
        coded_clear(coded);
        status = write_once(c, &encode, bytes, draft, output, coded, diag);
    }
    if (status == LEGO_OK)
        status = predict_file(c, draft ? trial : output, coded, diag);
    if (draft)
        unlink(trial);
    free(trial);
    return status;
}

int coder_write(struct coder *c, uint64_t bytes, bool draft, const char *output,
                struct coded *ret_coded, struct lego_diag *diag)
{
    const double start = now_seconds();
    struct coded coded = {0};
    int status;

    c->options.encode.kernels = &c->kernels;
    if (!c->options.quiet) {
        c->options.encode.progress = show_progress;
        c->options.encode.context = &c->progress;
    }
    status = bytes > 0 ? write_fitted(c, bytes, draft, output, &coded, diag)
                       : write_once(c, &c->options.encode, 0, false, output, &coded, diag);
    coded.seconds = now_seconds() - start;
    if (status == LEGO_OK)
        *ret_coded = coded;
    else
        coded_clear(&coded);
    return status;
}

static uint64_t bytes_at(const struct coder *c, double ratio)
{
    return (uint64_t)((double)c->original_bytes / ratio);
}

static double loss_of(const struct coded *coded)
{
    return coded->prediction.classes ? coded->prediction.drop : coded->prediction.error;
}

static double limit_of(const struct coder_limit *limit, const struct coded *coded)
{
    return coded->prediction.classes ? limit->points : limit->percent;
}

/* Makes a file at this ratio; *ret_good where there is one that costs at most `limit`. */
static int try_ratio(struct coder *c, double ratio, bool draft, const struct coder_limit *limit,
                     const char *output, struct coded *ret_coded, bool *ret_good,
                     struct lego_diag *diag)
{
    struct lego_diag why = LEGO_DIAG_INIT;
    const int status = coder_write(c, bytes_at(c, ratio), draft, output, ret_coded, &why);

    *ret_good = status == LEGO_OK && loss_of(ret_coded) <= limit_of(limit, ret_coded);
    if (status == LEGO_OK || status == LEGO_E_INVALID)
        return status;
    return lego_fail(diag, status, "%s", lego_diag_text(&why, status));
}

/* The highest ratio whose draft is good: steps until the limit lies between two, then halves. */
static int search_drafts(struct coder *c, const struct coder_limit *limit, const char *output,
                         double *ret_ratio, uint32_t *tried, struct lego_diag *diag)
{
    double good = 0, bad = 0, ratio = FIRST_RATIO;

    while (*tried < DRAFTS && ratio >= 1.2 && ratio <= HIGHEST_RATIO) {
        struct coded coded = {0};
        bool fits = false;
        const int status = try_ratio(c, ratio, true, limit, output, &coded, &fits, diag);

        coded_clear(&coded);
        if (status != LEGO_OK && status != LEGO_E_INVALID)
            return status;
        ++*tried;
        if (fits)
            good = ratio;
        else
            bad = ratio;
        ratio = good > 0 && bad > 0 ? sqrt(good * bad)
                : good > 0          ? good * STEP_RATIO
                                    : bad / STEP_RATIO;
    }
    *ret_ratio = good > 0 ? good : ratio;
    return LEGO_OK;
}

int coder_search(struct coder *c, const struct coder_limit *limit, const char *output,
                 struct coded *ret_coded, uint32_t *ret_tried, struct lego_diag *diag)
{
    double ratio = 0;
    struct coded coded = {0};
    bool good = false;
    uint32_t tried = 0;
    int status = search_drafts(c, limit, output, &ratio, &tried, diag);

    for (int i = 0; status == LEGO_OK && i < FINALS && !good; i++) {
        coded_clear(&coded);
        status = try_ratio(c, ratio, false, limit, output, &coded, &good, diag);
        if (status == LEGO_E_INVALID)
            status = LEGO_OK;
        ratio /= BACK_RATIO;
        tried++;
    }
    *ret_tried = tried;
    if (status == LEGO_OK && !good) {
        unlink(output);
        status = lego_fail(diag, LEGO_E_INVALID,
                           "no file was found whose predicted loss is at most %g: at %.3g times "
                           "smaller it is %.3g; give a --ratio, or a higher --max-drop",
                           limit_of(limit, &coded), ratio * BACK_RATIO, loss_of(&coded));
    }
    if (status == LEGO_OK)
        *ret_coded = coded;
    else
        coded_clear(&coded);
    return status;
}

const char *coder_predicted_on(const struct coder *c)
{
    return c->examples && cli_examples_reused(c->examples) ? "that calibration has seen, too"
                                                           : "that were held out";
}

void coder_describe(const struct coder *c, char *text, size_t bytes)
{
    if (!c->session) {
        snprintf(text, bytes, "none");
        return;
    }
    const uint32_t count = encode_session_examples(c->session);
    if (c->examples)
        snprintf(text, bytes, "%u examples of %s", count, c->options.calibrate);
    else
        snprintf(text, bytes, "%u synthetic examples (%s%s)", count,
                 encode_session_text(c->session),
                 encode_session_matched(c->session) ? ", matched to the BatchNorms" : "");
}

static json_t *prediction_json(const struct coded *coded)
{
    const struct prediction *p = &coded->prediction;

    if (!coded->predicted)
        return json_null();
    return json_pack("{s:I,s:o,s:o,s:o,s:o}", "examples", (json_int_t)p->examples, "drop",
                     p->classes ? cli_json_real(p->drop) : json_null(), "changed",
                     p->classes ? cli_json_real(p->changed) : json_null(), "kl",
                     p->classes ? cli_json_real(p->divergence) : json_null(), "output_error",
                     cli_json_real(p->error));
}

static json_t *layers_json(const struct encode_report *report)
{
    json_t *layers = json_array();

    for (uint32_t i = 0; i < report->layer_count; i++) {
        const struct encode_layer *layer = &report->layers[i];

        json_array_append_new(
            layers, json_pack("{s:s,s:I,s:I,s:o,s:o,s:s,s:b}", "name", layer->name, "weights",
                              (json_int_t)layer->weights, "bytes", (json_int_t)layer->bytes,
                              "bits_per_weight", cli_json_real(layer->bits_per_weight),
                              "relative_error", cli_json_real(layer->mse), "format", layer->format,
                              "calibrated", layer->calibrated));
    }
    return layers;
}

json_t *coded_json(const struct coder *c, const struct coded *coded)
{
    char text[512];

    coder_describe(c, text, sizeof(text));
    return json_pack(
        "{s:I,s:I,s:o,s:o,s:o,s:s,s:I,s:I,s:I,s:I,s:b,s:s,s:I,s:I,s:o,s:o}", "original_bytes",
        (json_int_t)c->original_bytes, "file_bytes", (json_int_t)coded->file_bytes, "ratio",
        cli_json_real((double)c->original_bytes / (double)coded->file_bytes), "bits_per_weight",
        cli_json_real(8.0 * (double)coded->file_bytes / (double)c->original_weights), "seconds",
        cli_json_real(coded->seconds), "codec", c->options.codec, "weights",
        (json_int_t)coded->report.weights, "weight_bytes", (json_int_t)coded->report.bytes,
        "catalogue_bytes", (json_int_t)coded->report.catalogue_bytes, "int8_layers",
        (json_int_t)coded->integer_layers, "selftest", coded->selftest[0] == '\0', "calibration",
        text, "skipped_examples", (json_int_t)(c->examples ? cli_examples_skipped(c->examples) : 0),
        "layers_without_batchnorm",
        (json_int_t)(c->session ? encode_session_unadapted(c->session) : 0), "predicted",
        prediction_json(coded), "layers", layers_json(&coded->report));
}

void coded_print(const struct coder *c, const struct coded *coded)
{
    const struct prediction *p = &coded->prediction;
    char text[512];
    uint32_t alone = 0;

    printf("%" PRIu64 " bytes, %.2f times smaller than %" PRIu64 " (%.2f bits a weight, everything "
           "counted), %.1f s\n",
           coded->file_bytes, (double)c->original_bytes / (double)coded->file_bytes,
           c->original_bytes, 8.0 * (double)coded->file_bytes / (double)c->original_weights,
           coded->seconds);
    if (c->options.compute != LEGO_COMPUTE_FP32)
        printf("layers that compute in int8: %u\n", coded->integer_layers);
    if (coded->selftest[0])
        printf("no self-test: %s\n", coded->selftest);
    if (!coded->predicted)
        return;
    for (uint32_t i = 0; i < coded->report.layer_count; i++)
        alone += !coded->report.layers[i].calibrated;
    coder_describe(c, text, sizeof(text));
    printf("calibrated on %s", text);
    if (encode_session_unadapted(c->session) > 0)
        printf("; layers without a BatchNorm to correct them by: %u",
               encode_session_unadapted(c->session));
    if (alone > 0)
        printf("; layers coded by themselves, as no walk reaches them: %u", alone);
    if (p->classes)
        printf("\npredicted: %.2f points lost, another class for %.2f %% of %u examples %s, "
               "KL %.4f\n",
               p->drop, p->changed, p->examples, coder_predicted_on(c), p->divergence);
    else
        printf("\npredicted: outputs %.2f %% RMS away on %u examples %s\n", p->error, p->examples,
               coder_predicted_on(c));
}
