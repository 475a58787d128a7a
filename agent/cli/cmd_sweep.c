/*
 * legonet sweep: one model at several ratios, with one calibration.
 */
#include "agent/cli/commands.h"
#include "agent/cli/measure.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_RATIOS 64

struct sweep_options {
    const char *output, *ratios, *codec, *labels, *preprocess, *calibrate, *eval, *report;
    uint64_t seed, threads;
    bool no_selftest, quiet, json;
};

#define OPTION(field_) .offset = offsetof(struct sweep_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     OPTION(output),
     .value = "DIR",
     .help = "the folder for NAME-RATIOx.lego; made where it is not there"},
    {.name = "ratios",
     .letter = 'r',
     .type = CLI_STRING,
     OPTION(ratios),
     .value = "R,R,...",
     .otherwise = "4,8,12,16",
     .help = "how many times smaller, each 1 to 1000"},
    {.name = "codec",
     .letter = 'c',
     .type = CLI_STRING,
     OPTION(codec),
     .value = "CODEC",
     .otherwise = "bricks",
     .help = "bricks or small, as of compress"},
    {.name = "calibrate",
     .type = CLI_STRING,
     OPTION(calibrate),
     .value = "DIR|FILE",
     .help = "fit on real examples, as of compress"},
    {.name = "eval",
     .type = CLI_STRING,
     OPTION(eval),
     .value = "DATA",
     .help = "measure each file: a CIFAR-10 binary file, a CSV with the columns file and class,\n"
             "a folder with labels.csv, or a folder of tensors (without accuracy)"},
    {.name = "report",
     .type = CLI_STRING,
     OPTION(report),
     .value = "FILE.html",
     .help = "write a page with the curve, and the layers of the last file"},
    {.name = "seed",
     .type = CLI_UINT,
     OPTION(seed),
     .value = "N",
     .otherwise = "0",
     .help = "of all that is drawn at random"},
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 256,
     .help = "threads, 0: one a core"},
    {.name = "labels",
     .type = CLI_STRING,
     OPTION(labels),
     .value = "FILE",
     .help = "class labels, as of compress"},
    {.name = "preprocess",
     .letter = 'p',
     .type = CLI_STRING,
     OPTION(preprocess),
     .value = "FILE",
     .help = "how a picture becomes the input, as of compress"},
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
         "print JSON: {\"files\": [...]}, each with \"asked\" and \"file\" beside what compress\n"
         "prints, or with \"error\" where it could not be made"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "sweep",
    .arguments = "IN.onnx",
    .about =
        "Compresses a model to several ratios in one run: calibration is done once. Prints a\n"
        "table of what each file costs. A ratio that cannot be reached is said with its reason\n"
        "and is no failure, unless none can.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct sweep {
    struct sweep_options options;
    struct coder coder;
    struct measure measure;
    double ratios[MOST_RATIOS];
    struct html_point points[MOST_RATIOS];
    size_t count, made;
    struct coded last; /* the last file that was made */
    json_t *files;
};

static int read_ratios(struct sweep *s)
{
    const char *text = s->options.ratios;

    for (;;) {
        char *end;
        const double ratio = strtod(text, &end);

        if (end == text || !(ratio >= 1 && ratio <= 1000) || (*end && *end != ','))
            return cli_usage(&SPEC, "--ratios takes numbers from 1 to 1000 with commas, not '%s'",
                             s->options.ratios);
        if (s->count == MOST_RATIOS)
            return cli_usage(&SPEC, "--ratios takes at most %d", MOST_RATIOS);
        s->ratios[s->count++] = ratio;
        if (!*end)
            return CLI_GO_ON;
        text = end + 1;
    }
}

static int read_options(struct sweep *s, struct coder_options *ret_options)
{
    const struct sweep_options *o = &s->options;
    const bool small = strcmp(o->codec, "small") == 0;

    if (!o->output)
        return cli_usage(&SPEC, "say where to write: -o DIR");
    if (!small && strcmp(o->codec, "bricks") != 0)
        return cli_usage(&SPEC, "--codec takes bricks or small, not '%s'", o->codec);
    *ret_options = (struct coder_options){
        .labels = o->labels,
        .preprocess = o->preprocess,
        .calibrate = o->calibrate,
        .codec = o->codec,
        .compute = LEGO_COMPUTE_FP32,
        .no_selftest = o->no_selftest,
        .quiet = o->quiet,
        .encode = {.codec = small ? ENCODE_CODEC_SMALL : ENCODE_CODEC_BRICKS,
                   .seed = o->seed,
                   .threads = (uint32_t)o->threads},
    };
    return read_ratios(s);
}

static char *file_name(const struct sweep *s, const char *model, double ratio)
{
    const char *slash = strrchr(model, '/'), *name = slash ? slash + 1 : model;
    const char *dot = strrchr(name, '.');
    char *path;

    return asprintf(&path, "%s/%.*s-%gx.lego", s->options.output,
                    (int)(dot ? (size_t)(dot - name) : strlen(name)), name, ratio) < 0
               ? NULL
               : path;
}

static void print_row(const struct html_point *p, const struct measure *measure)
{
    if (!p->made) {
        printf("%6.3gx  not made: %s\n", p->asked, p->why);
        return;
    }
    printf("%6.3gx %7.2fx %10" PRIu64, p->asked, p->ratio, p->bytes);
    if (p->prediction.classes)
        printf(" %10.2f %9.2f %8.4f", p->prediction.drop, p->prediction.changed,
               p->prediction.divergence);
    else
        printf(" %10s %9s %8s", "-", "-", "-");
    printf(" %9.2f", p->prediction.error);
    if (p->evaluated && p->evaluation.labelled)
        printf(" %7.2f (full %.2f)", p->evaluation.top1, measure->full.top1);
    printf(" %7.1f s\n", p->seconds);
}

/* One ratio; what cannot be reached is noted and is no error. */
static int sweep_one(struct sweep *s, size_t index, const char *model, struct lego_diag *diag)
{
    const double ratio = s->ratios[index];
    struct html_point *point = &s->points[index];
    struct lego_diag why = LEGO_DIAG_INIT;
    struct coded coded = {0};
    char *file = file_name(s, model, ratio);
    json_t *entry = NULL;

    if (!file)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = coder_write(&s->coder, (uint64_t)((double)s->coder.original_bytes / ratio), false,
                             file, &coded, &why);
    if (status == LEGO_E_INVALID) {
        snprintf(point->why, sizeof(point->why), "%.250s", lego_diag_text(&why, status));
        entry = json_pack("{s:s}", "error", point->why);
        status = LEGO_OK;
    } else if (status == LEGO_OK) {
        status = measure_point(&s->measure, &s->coder, &coded, file, point, &why);
        entry = coded_json(&s->coder, &coded);
        json_object_set_new(entry, "file", json_string(file));
        json_object_set_new(entry, "measured", measure_json(&s->measure, point));
        coded_clear(&s->last);
        s->last = coded;
        s->made++;
    }
    point->asked = ratio;
    json_object_set_new(entry, "asked", cli_json_real(ratio));
    json_array_append_new(s->files, entry);
    free(file);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "%s", lego_diag_text(&why, status));
    if (!s->options.json)
        print_row(point, &s->measure);
    fflush(stdout);
    return LEGO_OK;
}

static int sweep(struct sweep *s, const char *model, const struct coder_options *options,
                 struct lego_diag *diag)
{
    int status = coder_open(&s->coder, model, options, diag);

    if (status == LEGO_OK)
        status = measure_open(&s->measure, s->options.eval, diag);
    if (status == LEGO_OK && mkdir(s->options.output, 0777) != 0 && errno != EEXIST)
        status = lego_fail_errno(diag, errno, "%s", s->options.output);
    if (status == LEGO_OK && !s->options.json)
        printf("%7s %8s %10s %10s %9s %8s %9s %7s\n", "asked", "ratio", "bytes", "loss",
               "changed %", "KL", "RMS %", s->options.eval ? "top-1 %" : "");
    for (size_t i = 0; status == LEGO_OK && i < s->count; i++)
        status = sweep_one(s, i, model, diag);
    if (status == LEGO_OK && s->made == 0)
        status = lego_fail(diag, LEGO_E_INVALID, "none of the ratios can be reached: %s",
                           s->points[0].why);
    if (status == LEGO_OK && s->options.report) {
        const struct html_report report = {.model = model,
                                           .coder = &s->coder,
                                           .coded = &s->last,
                                           .points = s->points,
                                           .point_count = s->count,
                                           .full_evaluated = s->measure.full_known,
                                           .full = s->measure.full};
        status = html_write(&report, s->options.report, diag);
    }
    return status;
}

int cmd_sweep(int argc, char **argv)
{
    struct sweep s = {.files = json_array()};
    struct coder_options options;
    struct cli_list files;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int code = cli_parse(&SPEC, argc, argv, &s.options, &files);

    if (code != CLI_GO_ON) {
        json_decref(s.files);
        return code;
    }
    code = read_options(&s, &options);
    if (code == CLI_GO_ON) {
        const int status = sweep(&s, files.items[0], &options, &diag);

        if (status != LEGO_OK)
            code = cli_fail_diag(SPEC.command, status, &diag);
        else
            code = s.options.json
                       ? cli_print_json(SPEC.command, json_pack("{s:O}", "files", s.files))
                       : cli_finish(SPEC.command, CLI_DONE);
    }
    json_decref(s.files);
    coded_clear(&s.last);
    measure_close(&s.measure);
    coder_close(&s.coder);
    cli_list_clear(&files);
    return code;
}
