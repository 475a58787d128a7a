/*
 * legonet compress: a trained ONNX model becomes a .lego.
 */
#include "agent/cli/commands.h"
#include "agent/cli/labels.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "agent/cli/progress.h"
#include "agent/cli/selftest.h"
#include "agent/picture/picture.h"
#include "agent/runtime/kern_init.h"
#include "codec/encode/encode.h"
#include "codec/import/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A self-test may take this much, or 1/64 of the bricks or of the file that is asked for. */
#define SELFTEST_BYTES 1024

/* What several catalogues add to the graph and to the alignment of sections. */
#define SLACK_BYTES 256

struct compress_options {
    const char *output, *codec, *brick, *scope, *scales, *type, *labels, *preprocess;
    uint64_t entries, iterations, seed, threads;
    double ratio;
    bool no_selftest, quiet, json;
};

#define OPTION(field_) .offset = offsetof(struct compress_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     OPTION(output),
     .value = "OUT.lego",
     .help = "the file to write; replaced at once when all is done"},
    {.name = "codec",
     .letter = 'c',
     .type = CLI_STRING,
     OPTION(codec),
     .value = "CODEC",
     .otherwise = "bricks",
     .help = "bricks: plain brick clustering, the options below;\n"
             "legonet: the paper's method to the letter (4x4 bricks, one catalogue for the\n"
             "model): the smallest file, but accuracy falls to chance on the networks tried;\n"
             "small: levels of a trellis behind an entropy coder, fitted to --ratio as bricks\n"
             "are: the most accurate at a size, slower to decode"},
    {.name = "ratio",
     .letter = 'r',
     .type = CLI_DOUBLE,
     OPTION(ratio),
     .value = "R",
     .min = 1,
     .max = 1000,
     .help = "bricks: keep as much accuracy as a file R times smaller allows: bricks are fitted\n"
             "by calibration on synthetic pictures, their shapes chosen for each layer; of the\n"
             "options below only seed, threads, labels and preprocess then count"},
    {.name = "catalogue",
     .letter = 'k',
     .type = CLI_UINT,
     OPTION(entries),
     .value = "K",
     .otherwise = "0",
     .max = LEGO_CATALOGUE_MAX_ENTRIES,
     .help = "bricks in a catalogue, 1 to 65536; 0: 16 (bricks) or 32 (legonet)"},
    {.name = "brick",
     .letter = 'b',
     .type = CLI_STRING,
     OPTION(brick),
     .value = "RxC",
     .help = "rows (output channels) by columns of a brick, 1 to 16 each; 1x1 if not given"},
    {.name = "scope",
     .type = CLI_STRING,
     OPTION(scope),
     .value = "SCOPE",
     .otherwise = "model",
     .help = "model: one catalogue; layer: one for each layer"},
    {.name = "scales",
     .type = CLI_STRING,
     OPTION(scales),
     .value = "SCALES",
     .help = "none, layer or row: what weights are divided by before they are clustered;\n"
             "layer if not given (none with legonet)"},
    {.name = "catalogue-type",
     .type = CLI_STRING,
     OPTION(type),
     .value = "TYPE",
     .help = "fp32, fp16 or int8; fp16 if not given (fp32 with legonet)"},
    {.name = "iterations",
     .type = CLI_UINT,
     OPTION(iterations),
     .value = "N",
     .otherwise = "0",
     .max = 10000,
     .help = "k-means rounds at most, 0: up to 50"},
    {.name = "seed",
     .type = CLI_UINT,
     OPTION(seed),
     .value = "N",
     .otherwise = "0",
     .help = "of the random start; the same seed gives the same file"},
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 256,
     .help = "threads, 0: one a core; the file does not depend on it"},
    {.name = "labels",
     .type = CLI_STRING,
     OPTION(labels),
     .value = "FILE",
     .help = "class labels, one a line; else IN.labels.txt or labels.txt beside the model"},
    {.name = "preprocess",
     .letter = 'p',
     .type = CLI_STRING,
     OPTION(preprocess),
     .value = "FILE",
     .help = "how a picture becomes the input; else IN.preprocess.json beside the model"},
    {.name = "no-selftest", .type = CLI_FLAG, OPTION(no_selftest), .help = "store no self-test"},
    {.name = "quiet",
     .letter = 'q',
     .type = CLI_FLAG,
     OPTION(quiet),
     .help = "no progress on standard error"},
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help =
         "print JSON: {\"original_bytes\", \"file_bytes\", \"ratio\", \"bits_per_weight\",\n"
         "\"seconds\", \"codec\", \"weights\", \"weight_bytes\", \"selftest\", \"layers\": [...]}"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "compress",
    .arguments = "IN.onnx",
    .about = "Compresses a trained ONNX model: its weights are cut into bricks, the bricks are\n"
             "clustered, and the file holds a catalogue of bricks and an index for each. No data\n"
             "and no retraining. The ratio is 4 bytes for every floating-point constant of the\n"
             "ONNX model over the bytes of the whole file.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct compress {
    struct compress_options options;
    struct encode_options encode;
    struct kern_table kernels;    /* that the encoder computes with */
    struct lego_package *package; /* the model's, once there is one */
    struct lego_model *model;
    struct encode_report report;
    struct cli_progress progress;
    char selftest[256]; /* why there is none; empty: there is one */
    uint64_t file_bytes;
    double seconds;
};

/* Index of `text` in a NULL-terminated list, -1 where it is not there. */
static int choice(const char *text, const char *const *names)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
    }
    return -1;
}

static int read_brick(struct compress *c)
{
    unsigned rows, columns;
    char end;

    if (!c->options.brick)
        return CLI_GO_ON;
    if (sscanf(c->options.brick, "%3ux%3u%c", &rows, &columns, &end) != 2 || rows < 1 ||
        rows > LEGO_BRICK_MAX_SIDE || columns < 1 || columns > LEGO_BRICK_MAX_SIDE)
        return cli_usage(&SPEC, "--brick takes RxC, 1x1 to %dx%d, not '%s'", LEGO_BRICK_MAX_SIDE,
                         LEGO_BRICK_MAX_SIDE, c->options.brick);
    c->encode.brick_rows = rows;
    c->encode.brick_columns = columns;
    return CLI_GO_ON;
}

static int read_choices(struct compress *c)
{
    static const char *const codecs[] = {"legonet", "bricks", "small", NULL};
    static const char *const scopes[] = {"model", "layer", NULL};
    static const char *const scales[] = {"none", "layer", "row", NULL};
    static const char *const types[] = {"fp32", "fp16", "int8", NULL};
    static const enum lego_dtype dtypes[] = {LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT16,
                                             LEGO_DTYPE_INT8};
    const struct compress_options *o = &c->options;
    const int codec = choice(o->codec, codecs), scope = choice(o->scope, scopes);
    const char *default_scales = codec == ENCODE_CODEC_LEGONET ? "none" : "layer";
    const int scale = choice(o->scales ? o->scales : default_scales, scales);
    const int type = o->type ? choice(o->type, types) : 0;

    if (codec < 0)
        return cli_usage(&SPEC, "--codec takes legonet, bricks or small, not '%s'", o->codec);
    if (scope < 0)
        return cli_usage(&SPEC, "--scope takes model or layer, not '%s'", o->scope);
    if (scale < 0)
        return cli_usage(&SPEC, "--scales takes none, layer or row, not '%s'", o->scales);
    if (type < 0)
        return cli_usage(&SPEC, "--catalogue-type takes fp32, fp16 or int8, not '%s'", o->type);
    c->encode.codec = (enum encode_codec)codec;
    c->encode.scope = (enum encode_scope)scope;
    c->encode.scales = (enum lego_scale_kind)scale;
    c->encode.catalogue_dtype = o->type ? dtypes[type] : LEGO_DTYPE_UNKNOWN;
    return CLI_GO_ON;
}

static void show_progress(void *context, const char *layer, uint32_t done, uint32_t total,
                          const char *text)
{
    cli_progress_step(context, layer, done, total, text);
}

static int read_options(struct compress *c)
{
    int code = CLI_GO_ON;

    if (!c->options.output)
        return cli_usage(&SPEC, "say where to write: -o OUT.lego");
    code = read_choices(c);
    if (code == CLI_GO_ON)
        code = read_brick(c);
    if (code == CLI_GO_ON && c->encode.codec == ENCODE_CODEC_LEGONET &&
        (c->options.brick || c->options.ratio > 0 || c->encode.scope != ENCODE_SCOPE_MODEL ||
         c->encode.scales != LEGO_SCALE_NONE))
        code = cli_usage(&SPEC, "--codec legonet has 4x4 bricks, one catalogue for the model, no "
                                "scales and no --ratio; --codec bricks takes others");
    if (code == CLI_GO_ON && c->encode.codec == ENCODE_CODEC_SMALL &&
        (c->options.brick || c->options.ratio <= 0))
        code = cli_usage(&SPEC, "--codec small takes a --ratio and no --brick");
    c->encode.catalogue_entries = (uint32_t)c->options.entries;
    c->encode.max_iterations = (uint32_t)c->options.iterations;
    c->encode.seed = c->options.seed;
    c->encode.threads = (uint32_t)c->options.threads;
    c->progress = cli_progress_start();
    if (!c->options.quiet) {
        c->encode.progress = show_progress;
        c->encode.context = &c->progress;
    }
    return code;
}

/* Labels and preprocessing, from where the options say or from beside the model. */
static int add_companions(struct compress *c, const char *path, struct lego_diag *diag)
{
    struct lego_package *package = c->package;
    struct lego_arena *arena = package->graph->arena;
    int status = c->options.labels ? labels_load(c->options.labels, package, diag)
                                   : labels_load_beside(path, package, diag);

    if (status != LEGO_OK)
        return status;
    if (c->options.preprocess)
        return preprocess_load(c->options.preprocess, arena, &package->preprocess, diag);
    struct lego_diag beside = LEGO_DIAG_INIT;
    status = preprocess_load_beside(path, arena, &package->preprocess, &beside);
    if (status == LEGO_OK || status == LEGO_E_NOT_FOUND)
        return LEGO_OK;
    return lego_fail(diag, status, "%s", lego_diag_text(&beside, status));
}

static int add_metadata(struct compress *c, const char *path)
{
    const struct lego_catalogue *first = &c->package->catalogues[0];
    const char *slash = strrchr(path, '/');
    char text[256];
    int status = lego_package_set_metadata(c->package, "producer", "legonet " LEGONET_VERSION);

    if (status == LEGO_OK)
        status = lego_package_set_metadata(c->package, "source", slash ? slash + 1 : path);
    if (status == LEGO_OK)
        status = lego_package_set_metadata(c->package, "codec", c->options.codec);
    if (c->encode.codec == ENCODE_CODEC_SMALL) {
        snprintf(text, sizeof(text), "seed=%" PRIu64, c->options.seed);
        return status == LEGO_OK ? lego_package_set_metadata(c->package, "options", text) : status;
    }
    snprintf(text, sizeof(text),
             "brick=%ux%u catalogue=%u type=%s scope=%s scales=%s seed=%" PRIu64, first->brick_rows,
             first->brick_columns, first->entries, lego_dtype_name(first->dtype),
             c->encode.scope == ENCODE_SCOPE_MODEL ? "model" : "layer",
             c->encode.scales == LEGO_SCALE_NONE    ? "none"
             : c->encode.scales == LEGO_SCALE_LAYER ? "layer"
                                                    : "row",
             c->options.seed);
    if (status == LEGO_OK)
        status = lego_package_set_metadata(c->package, "options", text);
    return status;
}

/* Runs the coded model as any reader will, and keeps what it answered. */
static int add_selftest(struct compress *c, struct lego_diag *diag)
{
    struct lego_diag why = LEGO_DIAG_INIT;
    const double whole = c->options.ratio > 0
                             ? (double)c->package->graph->original_bytes / c->options.ratio
                             : (double)c->report.bytes;
    const size_t part = (size_t)(whole / 64);
    /* By the reference kernels: the file's bytes must not depend on the machine's instruction set.
     */
    const struct lego_model_options options = {.resident = LEGO_RESIDENT_CODED, .cpu = "c"};
    struct lego_package *package = c->package;

    c->package = NULL; /* the model's from here on */
    int status = lego_model_from_package(package, &options, &c->model, diag);
    if (status != LEGO_OK)
        return status;
    c->package = package;
    if (c->options.no_selftest) {
        snprintf(c->selftest, sizeof(c->selftest), "--no-selftest");
        return LEGO_OK;
    }
    status =
        selftest_attach(package, c->model, c->options.seed,
                        part > SELFTEST_BYTES ? part : SELFTEST_BYTES, c->encode.threads, &why);
    if (status == LEGO_E_UNSUPPORTED) {
        snprintf(c->selftest, sizeof(c->selftest), "%.250s", lego_diag_text(&why, status));
        return LEGO_OK;
    }
    if (status != LEGO_OK)
        return lego_fail(diag, status, "%s", lego_diag_text(&why, status));
    return LEGO_OK;
}

/* From the imported model to the written file. */
static int write_coded(struct compress *c, const char *path, const char *output,
                       struct lego_diag *diag)
{
    int status = import_onnx(path, NULL, &c->package, diag);

    if (status == LEGO_OK)
        status = add_companions(c, path, diag);
    if (status == LEGO_OK)
        status = encode_package(c->package, &c->encode, &c->report, diag);
    if (status == LEGO_OK)
        status = add_metadata(c, path);
    if (status == LEGO_OK)
        status = add_selftest(c, diag);
    if (status == LEGO_OK)
        status = lego_package_write(c->package, output, &c->file_bytes, diag);
    return status;
}

static void clear_coded(struct compress *c)
{
    encode_report_clear(&c->report);
    if (c->model)
        lego_model_close(c->model);
    else
        lego_package_destroy(c->package);
    c->model = NULL;
    c->package = NULL;
    c->selftest[0] = '\0';
}

/* How many bytes the weights may take: what the ratio leaves, less what a file of this model takes
 * beside its weights, which a quick plain encoding shows. */
static int find_budget(struct compress *c, const char *path, struct lego_diag *diag)
{
    const struct encode_options asked = c->encode;
    char *trial = NULL;

    if (asprintf(&trial, "%s.%d.trial", c->options.output, (int)getpid()) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    c->encode.codec = ENCODE_CODEC_BRICKS;
    c->encode.max_iterations = 1;
    c->encode.progress = NULL;
    c->encode.scales = LEGO_SCALE_ROW;
    const int status = write_coded(c, path, trial, diag);
    uint64_t beside = c->file_bytes > c->report.bytes ? c->file_bytes - c->report.bytes : 0;
    const double whole =
        status == LEGO_OK ? (double)c->package->graph->original_bytes / c->options.ratio : 0;
    const uint64_t saving = status == LEGO_OK ? encode_bias_saving(c->package) : 0;
    unlink(trial);
    free(trial);
    clear_coded(c);
    c->encode = asked;
    if (status != LEGO_OK)
        return status;
    beside -= saving < beside ? saving : beside;
    beside += SLACK_BYTES;
    if (whole <= (double)beside)
        return lego_fail(diag, LEGO_E_INVALID,
                         "a ratio of %g leaves %.0f bytes, but the graph and what else is not "
                         "weights take %" PRIu64,
                         c->options.ratio, whole, beside);
    c->encode.weight_bytes = (uint64_t)(whole - (double)beside);
    return LEGO_OK;
}

static int compress(struct compress *c, const char *path, struct lego_diag *diag)
{
    int status = kern_init(&c->kernels, NULL, diag);

    c->encode.kernels = &c->kernels;
    if (status == LEGO_OK && c->options.ratio > 0)
        status = find_budget(c, path, diag);

    if (status == LEGO_OK)
        status = write_coded(c, path, c->options.output, diag);
    return status;
}

static int print_json(const struct compress *c)
{
    const struct lego_graph *graph = c->package->graph;
    json_t *layers = json_array();

    for (uint32_t i = 0; i < c->report.layer_count; i++) {
        const struct encode_layer *layer = &c->report.layers[i];

        json_array_append_new(layers, json_pack("{s:s,s:I,s:I,s:o,s:o}", "name", layer->name,
                                                "weights", (json_int_t)layer->weights, "bytes",
                                                (json_int_t)layer->bytes, "bits_per_weight",
                                                cli_json_real(layer->bits_per_weight),
                                                "relative_error", cli_json_real(layer->mse)));
    }
    return cli_print_json(
        SPEC.command,
        json_pack("{s:I,s:I,s:o,s:o,s:o,s:s,s:I,s:I,s:I,s:b,s:o}", "original_bytes",
                  (json_int_t)graph->original_bytes, "file_bytes", (json_int_t)c->file_bytes,
                  "ratio", cli_json_real((double)graph->original_bytes / (double)c->file_bytes),
                  "bits_per_weight",
                  cli_json_real(8.0 * (double)c->file_bytes / (double)graph->original_weights),
                  "seconds", cli_json_real(c->seconds), "codec", c->options.codec, "weights",
                  (json_int_t)c->report.weights, "weight_bytes", (json_int_t)c->report.bytes,
                  "catalogue_bytes", (json_int_t)c->report.catalogue_bytes, "selftest",
                  c->selftest[0] == '\0', "layers", layers));
}

static int print_text(const struct compress *c)
{
    const struct lego_graph *graph = c->package->graph;

    printf("%s: %" PRIu64 " bytes, %.2f times smaller than %" PRIu64 " (%.2f bits a weight, "
           "everything counted), %.1f s\n",
           c->options.output, c->file_bytes, (double)graph->original_bytes / (double)c->file_bytes,
           graph->original_bytes, 8.0 * (double)c->file_bytes / (double)graph->original_weights,
           c->seconds);
    if (c->selftest[0])
        printf("no self-test: %s\n", c->selftest);
    return cli_finish(SPEC.command, CLI_DONE);
}

static double now_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int cmd_compress(int argc, char **argv)
{
    struct compress c = {0};
    struct cli_list files;
    struct lego_diag diag = LEGO_DIAG_INIT;
    const double start = now_seconds();
    int code = cli_parse(&SPEC, argc, argv, &c.options, &files);

    if (code != CLI_GO_ON)
        return code;
    code = read_options(&c);
    if (code == CLI_GO_ON) {
        const int status = compress(&c, files.items[0], &diag);

        cli_progress_end(&c.progress);
        c.seconds = now_seconds() - start;
        if (status != LEGO_OK)
            code = cli_fail_diag(SPEC.command, status, &diag);
        else
            code = c.options.json ? print_json(&c) : print_text(&c);
    }
    clear_coded(&c);
    cli_list_clear(&files);
    return code;
}
