/*
 * legonet compress: a trained ONNX model becomes a .lego.
 */
#include "agent/cli/commands.h"
#include "agent/cli/measure.h"
#include "agent/cli/model.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is not seen as a loss: less than examples of this number can tell from none. */
#define NO_LOSS_POINTS  0.3 /* of accuracy */
#define NO_LOSS_PERCENT 3.0 /* of the outputs' RMS */
/* Networks with BatchNormalizations are in doubt about synthetic examples as they are not about
 * data, and far too much is predicted: at this nothing was lost (codec/encode/METHOD.md). */
#define NO_LOSS_SYNTHETIC 3.0

struct compress_options {
    const char *output, *codec, *brick, *scope, *scales, *type, *labels, *preprocess, *postprocess;
    const char *compute, *size, *calibrate, *eval, *report, *without;
    uint64_t entries, iterations, seed, threads;
    double ratio, bits, max_drop;
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
     .help = "bricks: fitted by calibration, or clustered plainly by the options below;\n"
             "legonet: the paper's method to the letter (4x4 bricks, one catalogue for the\n"
             "model): the smallest file, but accuracy falls to chance on the networks tried;\n"
             "small: levels of a trellis behind an entropy coder, fitted as bricks are: the\n"
             "most accurate at a size, slower to decode"},
    {.name = "ratio",
     .letter = 'r',
     .type = CLI_DOUBLE,
     OPTION(ratio),
     .value = "R",
     .min = 1,
     .max = 1000,
     .help = "bricks, small: the most accurate file R times smaller than the weights: fitted by\n"
             "calibration, the coding chosen for each layer. At most one of --ratio, --bits,\n"
             "--size and --max-drop; of the options below only seed, threads, labels,\n"
             "preprocess and calibrate go with them"},
    {.name = "bits",
     .type = CLI_DOUBLE,
     OPTION(bits),
     .value = "B",
     .min = 0.01,
     .max = 32,
     .help = "the same by the whole file's bits over the number of weights, everything counted"},
    {.name = "size",
     .type = CLI_STRING,
     OPTION(size),
     .value = "BYTES",
     .help = "the same by the file's bytes; 64K and 1.5M are 1024 and 1024x1024 of them"},
    {.name = "max-drop",
     .type = CLI_DOUBLE,
     OPTION(max_drop),
     .value = "P",
     .otherwise = "-1",
     .min = -1,
     .max = 100,
     .help = "the smallest file whose predicted loss is at most P: points of accuracy, were the\n"
             "full weights' probabilities true, on examples that calibration has not seen; for\n"
             "outputs that are no classes, percent RMS. Far too much is predicted for networks\n"
             "with BatchNormalization on synthetic examples: give --calibrate, or --eval. If no\n"
             "rate and no option of plain bricks is given: no predicted loss (0.3 points, 3\n"
             "percent; 3 points where it is predicted too high)"},
    {.name = "compute",
     .type = CLI_STRING,
     OPTION(compute),
     .value = "NUMBERS",
     .otherwise = "fp32",
     .help = "what convolutions and matrix products compute in: fp32; int8: all that can, faster,\n"
             "their weights a byte each in memory; auto: int8 for as many layers as move the\n"
             "outputs by 3 % RMS at most, on a few examples. Older readers refuse such files"},
    {.name = "calibrate",
     .type = CLI_STRING,
     OPTION(calibrate),
     .value = "DIR|FILE",
     .help = "fit on real examples, not synthetic ones: a folder of PNG and JPEG pictures, a\n"
             "CIFAR-10 binary file, or a folder of inputs as .pb or .npy; no labels are used"},
    {.name = "eval",
     .type = CLI_STRING,
     OPTION(eval),
     .value = "DATA",
     .help = "measure the file: a CIFAR-10 binary file, a CSV with the columns file and class, a\n"
             "folder with labels.csv, or a folder of tensors (without accuracy)"},
    {.name = "report",
     .type = CLI_STRING,
     OPTION(report),
     .value = "FILE.html",
     .help = "write a page: where the bytes went, bits and error of each layer, the bricks, what\n"
             "is predicted and measured"},
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
     .help =
         "fp32, fp16 or int8; if not given, int8 for indices of up to 4 bits a weight, else fp16\n"
         "(fp32 with legonet)"},
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
    {.name = "postprocess",
     .type = CLI_STRING,
     OPTION(postprocess),
     .value = "FILE",
     .help =
         "what the outputs mean: classes, boxes, text, masks; else IN.postprocess.json beside the\n"
         "model"},
    {.name = "without",
     .type = CLI_STRING,
     OPTION(without),
     .value = "STEPS",
     .help = "leave steps of fitting out, to see what each is worth, with commas between them:"
#define ENCODE_STEP(constant, name, effect) "\n" name ": " effect
#include "codec/encode/steps.def"
#undef ENCODE_STEP
    },
    {.name = "no-selftest", .type = CLI_FLAG, OPTION(no_selftest), .help = "store no self-test"},
    {.name = "quiet",
     .letter = 'q',
     .type = CLI_FLAG,
     OPTION(quiet),
     .help = "no progress on standard error"},
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help = "print JSON: {\"original_bytes\", \"file_bytes\", \"ratio\", \"bits_per_weight\",\n"
             "\"seconds\", \"codec\", \"weights\", \"weight_bytes\", \"int8_layers\", "
             "\"selftest\", \"calibration\",\n"
             "\"predicted\": {...}, \"measured\": {...}, \"layers\": [...]}"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "compress",
    .arguments = "IN.onnx",
    .about = "Compresses a trained ONNX model: its weights are cut into bricks, the bricks are\n"
             "clustered, and the file holds a catalogue of bricks and an index for each. No data\n"
             "is needed, and nothing is retrained. The ratio is 4 bytes for every floating-point "
             "constant of the\n"
             "ONNX model over the bytes of the whole file.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct compress {
    struct compress_options options;
    struct coder_options coder;
    uint64_t bytes; /* of the file; 0: as they come */
    bool search;    /* for the smallest file without a loss that counts */
    struct coder machine;
    struct coded coded;
    uint32_t tried; /* files that were made in a search */
    struct measure measure;
    struct html_point point;
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
    c->coder.encode.brick_rows = rows;
    c->coder.encode.brick_columns = columns;
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
    c->coder.encode.codec = (enum encode_codec)codec;
    c->coder.encode.scope = (enum encode_scope)scope;
    c->coder.encode.scales = (enum lego_scale_kind)scale;
    c->coder.encode.catalogue_dtype = o->type ? dtypes[type] : LEGO_DTYPE_UNKNOWN;
    return CLI_GO_ON;
}

static int read_compute(struct compress *c)
{
    if (cli_compute(c->options.compute, &c->coder.compute) &&
        c->coder.compute != LEGO_COMPUTE_FP16) /* no part of a file: any reader may take it */
        return CLI_GO_ON;
    return cli_usage(&SPEC, "--compute takes fp32, int8 or auto, not '%s'", c->options.compute);
}

static bool is_plain(const struct compress_options *o)
{
    return o->brick || o->entries > 0 || o->iterations > 0 || o->scales || o->type ||
           strcmp(o->scope, "model") != 0;
}

/* Bytes in "64K", "1.5M"; 0 where it is none. */
static uint64_t read_size(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || !isdigit((unsigned char)text[0]) || !(value > 0))
        return 0;
    if (*end == 'K' || *end == 'k')
        value *= 1024;
    else if (*end == 'M' || *end == 'm')
        value *= 1024 * 1024;
    else if (*end == 'G' || *end == 'g')
        value *= 1024.0 * 1024 * 1024;
    if (*end && end[1])
        return 0;
    if (*end && !strchr("KkMmGg", *end))
        return 0;
    return value >= 1 && value < 1e15 ? (uint64_t)value : 0;
}

/* How large the file shall be, and that no two options say so. */
static int read_rate(struct compress *c)
{
    const struct compress_options *o = &c->options;
    const int rates = (o->ratio > 0) + (o->bits > 0) + (o->size != NULL) + (o->max_drop >= 0);
    const bool plain = is_plain(o), legonet = c->coder.encode.codec == ENCODE_CODEC_LEGONET;

    if (rates > 1)
        return cli_usage(&SPEC, "--ratio, --bits, --size and --max-drop exclude one another");
    if (legonet &&
        (o->brick || rates > 0 || o->calibrate || c->coder.encode.scope != ENCODE_SCOPE_MODEL ||
         c->coder.encode.scales != LEGO_SCALE_NONE))
        return cli_usage(&SPEC, "--codec legonet has 4x4 bricks, one catalogue for the model, no "
                                "scales and no rate; --codec bricks takes others");
    if (c->coder.encode.codec == ENCODE_CODEC_SMALL && plain)
        return cli_usage(&SPEC, "--codec small takes a rate (--ratio, --bits, --size, --max-drop) "
                                "and none of the options of plain bricks");
    if (plain && (rates > 0 || o->calibrate) && !legonet)
        return cli_usage(&SPEC,
                         "%s fits bricks by calibration; --brick, --catalogue, --scope, "
                         "--scales, --catalogue-type and --iterations are for plain ones",
                         rates > 0 ? "a rate" : "--calibrate");
    if (o->size) {
        c->bytes = read_size(o->size);
        if (c->bytes == 0)
            return cli_usage(&SPEC, "--size takes bytes, 64K or 1.5M, not '%s'", o->size);
    }
    c->search = o->max_drop >= 0 || (rates == 0 && !plain && !legonet);
    return CLI_GO_ON;
}

static int read_steps(struct compress *c)
{
    static const char *const steps[] = {
#define ENCODE_STEP(constant, name, effect) name,
#include "codec/encode/steps.def"
#undef ENCODE_STEP
    };
    const char *rest = c->options.without;

    if (rest && (c->coder.encode.codec == ENCODE_CODEC_LEGONET || is_plain(&c->options)))
        return cli_usage(&SPEC, "--without is for what is fitted by calibration");
    while (rest) {
        const size_t length = strcspn(rest, ",");
        uint32_t step = 0;

        while (step < ENCODE_STEPS &&
               (strlen(steps[step]) != length || memcmp(steps[step], rest, length) != 0))
            step++;
        if (step == ENCODE_STEPS)
            return cli_usage(&SPEC, "--without: there is no step '%.*s'", (int)length, rest);
        c->coder.encode.without |= 1u << step;
        rest = rest[length] ? rest + length + 1 : NULL;
    }
    return CLI_GO_ON;
}

static int read_options(struct compress *c)
{
    const struct compress_options *o = &c->options;
    int code = CLI_GO_ON;

    if (!o->output)
        return cli_usage(&SPEC, "say where to write: -o OUT.lego");
    code = read_choices(c);
    if (code == CLI_GO_ON)
        code = read_brick(c);
    if (code == CLI_GO_ON)
        code = read_rate(c);
    if (code == CLI_GO_ON)
        code = read_steps(c);
    if (code == CLI_GO_ON)
        code = read_compute(c);
    c->coder.encode.catalogue_entries = (uint32_t)o->entries;
    c->coder.encode.max_iterations = (uint32_t)o->iterations;
    c->coder.encode.seed = o->seed;
    c->coder.encode.threads = (uint32_t)o->threads;
    c->coder.labels = o->labels;
    c->coder.preprocess = o->preprocess;
    c->coder.postprocess = o->postprocess;
    c->coder.calibrate = o->calibrate;
    c->coder.codec = o->codec;
    c->coder.no_selftest = o->no_selftest;
    c->coder.quiet = o->quiet;
    return code;
}

/* Without a rate and where no calibration is possible: plain bricks, and a word about it. */
static int fall_back(struct compress *c, int status, struct lego_diag *diag)
{
    const struct compress_options *o = &c->options;

    if (status != LEGO_E_UNSUPPORTED || o->max_drop >= 0 || o->calibrate ||
        c->coder.encode.codec != ENCODE_CODEC_BRICKS || c->machine.session)
        return status;
    fprintf(stderr, "legonet: warning: plain bricks, as nothing can be calibrated: %s\n",
            lego_diag_text(diag, status));
    return coder_write(&c->machine, 0, false, o->output, &c->coded, diag);
}

/* True where a convolution knows what its BatchNormalization had learnt. */
static bool has_batch_norm(const struct lego_graph *graph)
{
    for (uint32_t n = 0; n < graph->node_count; n++) {
        if (lego_node_attr(&graph->nodes[n], "lego.bn_scale"))
            return true;
    }
    return false;
}

static int compress(struct compress *c, const char *path, struct lego_diag *diag)
{
    const struct compress_options *o = &c->options;
    int status = coder_open(&c->machine, path, &c->coder, diag);

    if (status != LEGO_OK)
        return status;
    if (o->ratio > 0)
        c->bytes = (uint64_t)((double)c->machine.original_bytes / o->ratio);
    if (o->bits > 0)
        c->bytes = (uint64_t)(o->bits * (double)c->machine.original_weights / 8);
    if (!c->search)
        return coder_write(&c->machine, c->bytes, false, o->output, &c->coded, diag);
    struct coder_limit limit = {.points = NO_LOSS_POINTS, .percent = NO_LOSS_PERCENT};
    if (!o->calibrate && has_batch_norm(lego_model_package(c->machine.full)->graph))
        limit.points = NO_LOSS_SYNTHETIC;
    if (o->max_drop >= 0)
        limit.points = limit.percent = o->max_drop;
    status = coder_search(&c->machine, &limit, o->output, &c->coded, &c->tried, diag);
    return status == LEGO_OK ? LEGO_OK : fall_back(c, status, diag);
}

/* What is done with the file once it is there: --eval and --report. */
static int look_at_file(struct compress *c, const char *path, struct lego_diag *diag)
{
    int status =
        measure_point(&c->measure, &c->machine, &c->coded, c->options.output, &c->point, diag);

    if (status == LEGO_OK && c->options.report) {
        const struct html_report report = {.model = path,
                                           .coder = &c->machine,
                                           .coded = &c->coded,
                                           .points = &c->point,
                                           .point_count = 1,
                                           .full_evaluated = c->measure.full_known,
                                           .full = c->measure.full};
        status = html_write(&report, c->options.report, diag);
    }
    return status;
}

static json_t *report_json(const struct compress *c)
{
    json_t *root = coded_json(&c->machine, &c->coded);

    json_object_set_new(root, "tried", json_integer(c->tried));
    json_object_set_new(root, "measured", measure_json(&c->measure, &c->point));
    return root;
}

static int print_text(const struct compress *c)
{
    printf("%s: ", c->options.output);
    coded_print(&c->machine, &c->coded);
    if (c->point.evaluated && c->point.evaluation.labelled)
        printf("measured: top-1 %.2f %% of %zu, the full weights %.2f %%\n",
               c->point.evaluation.top1, c->point.evaluation.images, c->measure.full.top1);
    else if (c->point.evaluated)
        printf("measured: outputs %.2f %% RMS away on %zu examples\n",
               100 * c->point.evaluation.output_error, c->point.evaluation.images);
    return cli_finish(SPEC.command, CLI_DONE);
}

int cmd_compress(int argc, char **argv)
{
    struct compress c = {0};
    struct cli_list files;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int code = cli_parse(&SPEC, argc, argv, &c.options, &files);

    if (code != CLI_GO_ON)
        return code;
    code = read_options(&c);
    if (code == CLI_GO_ON) {
        int status = measure_open(&c.measure, c.options.eval, &diag);

        if (status == LEGO_OK)
            status = compress(&c, files.items[0], &diag);
        if (status == LEGO_OK)
            status = look_at_file(&c, files.items[0], &diag);

        if (status != LEGO_OK)
            code = cli_fail_diag(SPEC.command, status, &diag);
        else
            code = c.options.json ? cli_print_json(SPEC.command, report_json(&c)) : print_text(&c);
    }
    measure_close(&c.measure);
    coded_clear(&c.coded);
    coder_close(&c.machine);
    cli_list_clear(&files);
    return code;
}
