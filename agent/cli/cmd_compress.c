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
#include "codec/encode/encode.h"
#include "codec/import/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A self-test may take this much of the file, or 1/64 of what the bricks take. */
#define SELFTEST_BYTES 1024

struct compress_options {
    const char *output, *codec, *brick, *scope, *scales, *type, *labels, *preprocess;
    uint64_t entries, iterations, seed, threads;
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
             "model): the smallest file, but accuracy falls to chance on the networks tried"},
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
    static const char *const codecs[] = {"legonet", "bricks", NULL};
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
        return cli_usage(&SPEC, "--codec takes legonet or bricks, not '%s'", o->codec);
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
        (c->options.brick || c->encode.scope != ENCODE_SCOPE_MODEL ||
         c->encode.scales != LEGO_SCALE_NONE))
        code = cli_usage(&SPEC, "--codec legonet has 4x4 bricks, one catalogue for the model and "
                                "no scales; --codec bricks takes others");
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
    const uint64_t part = c->report.bytes / 64;
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

static int compress(struct compress *c, const char *path, struct lego_diag *diag)
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
        status = lego_package_write(c->package, c->options.output, &c->file_bytes, diag);
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
    encode_report_clear(&c.report);
    if (c.model)
        lego_model_close(c.model);
    else
        lego_package_destroy(c.package);
    cli_list_clear(&files);
    return code;
}
