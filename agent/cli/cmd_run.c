/*
 * legonet run: one inference in this process, compared with what is expected.
 */
#include "agent/cli/commands.h"
#include "agent/cli/compare.h"
#include "agent/cli/element.h"
#include "agent/cli/model.h"
#include "agent/cli/output.h"
#include "codec/import/import.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SHOWN_ELEMS 8

struct run_options {
    struct cli_list inputs, expects;
    double tol, rtol, atol;
    const char *output, *preprocess, *resident, *verify, *compute;
    uint64_t threads;
    bool json;
};

#define OPTION(field_) .offset = offsetof(struct run_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "input",
     .letter = 'i',
     .type = CLI_LIST,
     OPTION(inputs),
     .value = "[NAME=]FILE",
     .help = "an input: .pb (TensorProto), .npy, .png or .jpg; bound by NAME, else by\n"
             "the tensor's name in a .pb, else by order; may be repeated"},
    {.name = "expect",
     .letter = 'e',
     .type = CLI_LIST,
     OPTION(expects),
     .value = "[NAME=]FILE",
     .help = "an expected output, .pb or .npy, bound in the same way; may be repeated"},
    {.name = "tol",
     .type = CLI_DOUBLE,
     OPTION(tol),
     .value = "T",
     .max = 1e30,
     .help = "agree where |a-b| <= T * largest |expected| of that output, at least T\n"
             "(without any tolerance: 1e-4 for floats, integers and bools exact)"},
    {.name = "rtol",
     .type = CLI_DOUBLE,
     OPTION(rtol),
     .value = "R",
     .max = 1e30,
     .help = "with --atol: agree where |a-b| <= A + R*|b|, b expected; R is 0 if left out"},
    {.name = "atol",
     .type = CLI_DOUBLE,
     OPTION(atol),
     .value = "A",
     .max = 1e30,
     .help = "see --rtol; A is 0 if left out"},
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     OPTION(output),
     .value = "DIR",
     .help = "write each output there as output_K.pb (the folder is made if needed)"},
    {.name = "preprocess",
     .type = CLI_STRING,
     OPTION(preprocess),
     .value = "FILE",
     .help = "how a picture becomes the input, instead of what the model says"},
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 1024,
     .help = "threads, 0: one a core"},
    CLI_RESIDENT(struct run_options),
    CLI_VERIFY(struct run_options),
    CLI_COMPUTE(struct run_options),
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help = "print JSON: {\"max_abs_error\", \"max_rel_error\", \"ok\", \"outputs\": [...]}"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "run",
    .arguments = "MODEL",
    .about =
        "Runs a model (.onnx or .lego) once and prints its outputs, or, with --expect, the\n"
        "largest error of each: absolute, and relative to the largest |expected| of the output.\n"
        "Exit status 1 where an output does not agree. NaN agrees with NaN.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct run {
    struct run_options options;
    struct lego_model_options how;
    struct compare_tolerance tolerance;
    struct lego_model *model;
    struct lego_session *session;
    struct lego_arena *arena;
    struct cli_binding inputs, expects;
    struct lego_io *outputs;
    uint32_t output_count;
    json_t *report; /* of the outputs; NULL unless --json */
    bool ok;
    double max_abs_error, max_rel_error;
};

static int read_choices(struct run *run)
{
    const struct run_options *o = &run->options;
    const char *wrong = cli_model_options(o->resident, o->verify, o->compute, &run->how);
    if (wrong)
        return cli_usage(&SPEC, "%s", wrong);
    if (o->tol >= 0 && (o->rtol >= 0 || o->atol >= 0))
        return cli_usage(&SPEC, "--tol excludes --rtol and --atol");
    if (o->tol >= 0) {
        run->tolerance.rule = COMPARE_LARGEST;
        run->tolerance.tolerance = o->tol;
    } else if (o->rtol >= 0 || o->atol >= 0) {
        run->tolerance.rule = COMPARE_RELATIVE;
        run->tolerance.relative = fmax(o->rtol, 0);
        run->tolerance.absolute = fmax(o->atol, 0);
    }
    return CLI_GO_ON;
}

static int open_model(struct run *run, const char *path, struct lego_diag *diag)
{
    struct lego_session_options options = {.threads = (uint32_t)run->options.threads};
    int status = cli_model_open(path, &run->how, &run->model, diag);
    if (status == LEGO_OK)
        status = lego_session_create(run->model, &options, &run->session, diag);
    return status;
}

static int bind_all(struct run *run, struct lego_diag *diag)
{
    struct lego_preprocess preprocess = {0};
    struct lego_diag ignored = LEGO_DIAG_INIT;
    run->arena = lego_arena_create(0);
    if (!run->arena)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = cli_preprocess(run->model, run->options.preprocess, run->arena, &preprocess,
                                run->options.preprocess ? diag : &ignored);
    if (status != LEGO_OK && run->options.preprocess)
        return status;
    status = cli_bind(run->model, lego_model_input, &run->options.inputs,
                      preprocess.present ? &preprocess : NULL, &run->inputs, diag);
    if (status == LEGO_OK)
        status = cli_bind(run->model, lego_model_output, &run->options.expects, NULL, &run->expects,
                          diag);
    return status;
}

static int infer(struct run *run, struct lego_diag *diag)
{
    struct lego_io *inputs = calloc((size_t)run->inputs.count + 1, sizeof(*inputs));
    run->output_count = lego_model_output_count(run->model);
    run->outputs = calloc((size_t)run->output_count + 1, sizeof(*run->outputs));
    int status = inputs && run->outputs ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "out of memory");

    for (uint32_t i = 0; status == LEGO_OK && i < run->inputs.count; i++) {
        const struct lego_value *value = lego_model_input(run->model, i);
        const struct lego_tensor *tensor = &run->inputs.tensors[i];
        char shape[256];
        if (!run->inputs.given[i])
            status =
                lego_fail(diag, LEGO_E_INVALID, "the input '%s' (%s %s) is not given: --input",
                          value->name, lego_dtype_name(value->dtype),
                          lego_shape_format(&value->shape, lego_model_package(run->model)->graph,
                                            shape, sizeof(shape)));
        inputs[i] = (struct lego_io){.dtype = tensor->dtype,
                                     .shape = tensor->shape,
                                     .data = (void *)tensor->data,
                                     .bytes = tensor->bytes};
    }
    if (status == LEGO_OK)
        status = lego_session_run(run->session, inputs, run->inputs.count, run->outputs,
                                  run->output_count, diag);
    free(inputs);
    return status;
}

static int write_outputs(const struct run *run, struct lego_diag *diag)
{
    const char *folder = run->options.output;
    if (!folder)
        return LEGO_OK;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return lego_fail_errno(diag, errno, "%s", folder);
    for (uint32_t i = 0; i < run->output_count; i++) {
        struct lego_tensor tensor = {.name = lego_model_output(run->model, i)->name,
                                     .dtype = run->outputs[i].dtype,
                                     .shape = run->outputs[i].shape,
                                     .bytes = run->outputs[i].bytes,
                                     .data = run->outputs[i].data};
        char *path = NULL;
        if (asprintf(&path, "%s/output_%u.pb", folder, i) < 0)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
        int status = export_tensor_pb(path, &tensor, diag);
        free(path);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

static void print_values(const struct lego_io *io)
{
    size_t elems = 0;
    if (lego_shape_elems(&io->shape, &elems) != LEGO_OK)
        return;
    for (size_t i = 0; i < elems && i < SHOWN_ELEMS; i++)
        printf(" %.6g", element_value(io->dtype, io->data, i));
    printf(elems > SHOWN_ELEMS ? " ...\n" : "\n");
}

/* Adds an output's object to the report; `result` is NULL where nothing was expected of it. */
static void report_output(struct run *run, const char *name, const struct lego_io *io,
                          const char *why, const struct compare_result *result)
{
    json_t *dims = json_array();
    for (int d = 0; d < io->shape.rank; d++)
        json_array_append_new(dims, json_integer(io->shape.dim[d]));
    json_t *entry = json_pack("{s:s, s:s, s:o}", "name", name, "datatype",
                              lego_dtype_name(io->dtype), "shape", dims);
    if (why)
        json_object_set_new(entry, "error", json_string(why));
    if (result) {
        json_object_set_new(entry, "max_abs_error", cli_json_real(result->max_abs_error));
        json_object_set_new(entry, "max_rel_error", cli_json_real(result->max_rel_error));
        json_object_set_new(entry, "ok", json_boolean(result->ok));
    }
    json_array_append_new(run->report, entry);
}

/* Compares output `index` where something is expected of it, and prints a line. */
static void judge_output(struct run *run, uint32_t index)
{
    const char *name = lego_model_output(run->model, index)->name;
    const struct lego_io *io = &run->outputs[index];
    bool expected = index < run->expects.count && run->expects.given[index];
    struct compare_result result = {.ok = true};
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = LEGO_OK;
    char shape[256];

    if (expected)
        status = compare_tensors(io, &run->expects.tensors[index], &run->tolerance, &result, &diag);
    if (status != LEGO_OK)
        result = (struct compare_result){.max_abs_error = (double)INFINITY,
                                         .max_rel_error = (double)INFINITY};
    run->ok &= result.ok;
    run->max_abs_error = fmax(run->max_abs_error, result.max_abs_error);
    run->max_rel_error = fmax(run->max_rel_error, result.max_rel_error);
    if (run->report) {
        report_output(run, name, io, status == LEGO_OK ? NULL : diag.text,
                      expected ? &result : NULL);
        return;
    }
    printf("%s %s %s:", name, lego_dtype_name(io->dtype),
           lego_shape_format(&io->shape, NULL, shape, sizeof(shape)));
    if (!expected)
        print_values(io);
    else if (status != LEGO_OK)
        printf(" %s\n", diag.text);
    else if (result.ok)
        printf(" largest error %.3g (relative %.3g)\n", result.max_abs_error, result.max_rel_error);
    else
        printf(" largest error %.3g (relative %.3g), %zu elements out of tolerance, the first is "
               "element %zu: %.9g, expected %.9g\n",
               result.max_abs_error, result.max_rel_error, result.wrong, result.first_wrong,
               result.first_got, result.first_expected);
}

static int report(struct run *run)
{
    run->ok = true;
    if (run->options.json)
        run->report = json_array();
    for (uint32_t i = 0; i < run->output_count; i++)
        judge_output(run, i);
    int code = run->ok ? CLI_DONE : CLI_FAILED;
    if (run->options.json) {
        int printed = cli_print_json(SPEC.command,
                                     json_pack("{s:o, s:o, s:b, s:o}", "max_abs_error",
                                               cli_json_real(run->max_abs_error), "max_rel_error",
                                               cli_json_real(run->max_rel_error), "ok", run->ok,
                                               "outputs", run->report));
        return printed == CLI_DONE ? code : printed;
    }
    if (run->options.expects.count)
        printf("%s: max_abs_error %.6g, max_rel_error %.6g\n", run->ok ? "ok" : "NOT ok",
               run->max_abs_error, run->max_rel_error);
    return cli_finish(SPEC.command, code);
}

int cmd_run(int argc, char **argv)
{
    struct run run = {.options = {.tol = -1, .rtol = -1, .atol = -1}};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, &run.options, &positional);
    if (code != CLI_GO_ON)
        return code;
    code = read_choices(&run);
    if (code == CLI_GO_ON) {
        int status = open_model(&run, positional.items[0], &diag);
        if (status == LEGO_OK)
            status = bind_all(&run, &diag);
        if (status == LEGO_OK)
            status = infer(&run, &diag);
        if (status == LEGO_OK)
            status = write_outputs(&run, &diag);
        code = status == LEGO_OK ? report(&run) : cli_fail_diag(SPEC.command, status, &diag);
    }
    free(run.outputs);
    cli_binding_clear(&run.inputs);
    cli_binding_clear(&run.expects);
    lego_session_destroy(run.session);
    lego_model_close(run.model);
    lego_arena_destroy(run.arena);
    cli_options_clear(&SPEC, &run.options);
    cli_list_clear(&positional);
    return code;
}
