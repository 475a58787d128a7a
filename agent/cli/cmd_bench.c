/*
 * legonet bench: how long loading and inference take, and what memory.
 */
#include "agent/cli/commands.h"
#include "agent/cli/model.h"
#include "agent/cli/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Runs of which --layers takes the median, at most. */
#define PROFILE_RUNS 200

struct bench_options {
    uint64_t threads, runs;
    struct cli_list shapes, values;
    const char *resident, *verify, *compute;
    bool layers, json;
};

#define OPTION(field_) .offset = offsetof(struct bench_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 1024,
     .help = "threads, 0: one a core"},
    {.name = "runs",
     .letter = 'n',
     .type = CLI_UINT,
     OPTION(runs),
     .value = "N",
     .otherwise = "50",
     .min = 1,
     .max = 1000000,
     .help = "timed runs after the first"},
    {.name = "input-shape",
     .type = CLI_LIST,
     OPTION(shapes),
     .value = "NAME=1,3,224,224",
     .help = "the shape of an input; otherwise open dimensions are 1; may be repeated"},
    {.name = "input-value",
     .type = CLI_LIST,
     OPTION(values),
     .value = "NAME=16000",
     .help = "what an integer input is full of; may be repeated"},
    CLI_RESIDENT(struct bench_options),
    CLI_VERIFY(struct bench_options),
    CLI_COMPUTE(struct bench_options),
    {.name = "layers",
     .type = CLI_FLAG,
     OPTION(layers),
     .help = "time of each step, median of up to 200 further runs; JSON has the shortest, too"},
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help = "print JSON: {\"load_us\", \"ready_us\", \"first_us\", \"median_us\", \"min_us\",\n"
             "\"mean_us\", \"p90_us\", \"runs\", \"threads\", \"cpu\", \"peak_rss_bytes\",\n"
             "\"weights_resident_bytes\", \"session_bytes\", \"layers\": [...]}"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "bench",
    .arguments = "MODEL",
    .about =
        "Measures a model (.onnx or .lego): loading it, making it ready (which plans, allocates\n"
        "and decodes what stays decoded), the first inference, and many more. Float inputs are\n"
        "sin(i), others 0 or what --input-value says. Peak memory is that of the whole process.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

struct bench {
    struct bench_options options;
    uint32_t threads;
    struct lego_model_options how;
    struct lego_model *model;
    struct lego_session *session;
    struct lego_io *inputs, *outputs;
    uint32_t input_count, output_count;
    double load_us, ready_us, first_us;
    double *times_us;    /* [runs], ascending when measured */
    double *step_us;     /* [step_count], medians */
    double *step_min_us; /* the shortest */
    uint32_t step_count;
};

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

/* VmHWM: ru_maxrss would count what the parent had before it became us. */
static uint64_t peak_rss_bytes(void)
{
    unsigned long long kib = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    }
    fclose(file);
    return kib * 1024;
}

/* Reads "1,3,224,224" into `shape`. */
static bool parse_shape(const char *text, struct lego_shape *shape)
{
    shape->rank = 0;
    while (*text) {
        char *end = NULL;
        long long dim = strtoll(text, &end, 10);
        if (end == text || dim < 0 || (*end && *end != ',') || shape->rank == LEGO_MAX_RANK)
            return false;
        shape->dim[shape->rank++] = dim;
        if (*end == ',' && end[1] == '\0')
            return false;
        text = *end ? end + 1 : end;
    }
    return true;
}

/* What stands behind "NAME=" in the first entry for that input, NULL where there is none. */
static const char *find_entry(const struct cli_list *list, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->items[i];
        if (strncmp(text, name, length) == 0 && text[length] == '=')
            return text + length + 1;
    }
    return NULL;
}

/* The declared shape with 1 for open dimensions, or what --input-shape says. */
static int choose_shape(const struct bench *bench, uint32_t index, struct lego_shape *ret_shape,
                        struct lego_diag *diag)
{
    const struct lego_value *value = lego_model_input(bench->model, index);
    struct lego_shape shape = value->shape;
    const char *text = find_entry(&bench->options.shapes, value->name);
    if (text && !parse_shape(text, ret_shape))
        return lego_fail(diag, LEGO_E_INVALID, "--input-shape '%s=%s' is no shape", value->name,
                         text);
    if (text)
        return LEGO_OK;
    if (shape.rank == LEGO_RANK_UNKNOWN)
        return lego_fail(diag, LEGO_E_INVALID, "the rank of '%s' is open: give --input-shape",
                         value->name);
    for (int d = 0; d < shape.rank; d++)
        shape.dim[d] = shape.dim[d] < 0 ? 1 : shape.dim[d];
    *ret_shape = shape;
    return LEGO_OK;
}

/* Every entry must be for some input. */
static int check_names(const struct bench *bench, const struct cli_list *list, const char *option,
                       const char *takes, struct lego_diag *diag)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *text = list->items[i];
        bool found = false;
        for (uint32_t k = 0; k < bench->input_count; k++) {
            const char *name = lego_model_input(bench->model, k)->name;
            size_t length = strlen(name);
            found |= strncmp(text, name, length) == 0 && text[length] == '=';
        }
        if (!found)
            return lego_fail(diag, LEGO_E_INVALID,
                             "--%s '%s' names no input of the model; it takes NAME=%s", option,
                             text, takes);
    }
    return LEGO_OK;
}

/* Fills an input by its type. */
static int fill_input(const struct bench *bench, uint32_t index, size_t elems,
                      struct lego_diag *diag)
{
    const struct lego_io *io = &bench->inputs[index];
    const char *name = lego_model_input(bench->model, index)->name;
    const char *text = find_entry(&bench->options.values, name);
    const bool wide = io->dtype == LEGO_DTYPE_INT64;
    char *end = NULL;
    int64_t value = text ? strtoll(text, &end, 10) : 0;
    memset(io->data, 0, io->bytes);
    if (text && (end == text || *end || (!wide && io->dtype != LEGO_DTYPE_INT32)))
        return lego_fail(diag, LEGO_E_INVALID,
                         "--input-value '%s=%s' is no number, or the input not INT64 or INT32",
                         name, text);
    for (size_t i = 0; i < elems; i++) {
        if (io->dtype == LEGO_DTYPE_FLOAT32)
            ((float *)io->data)[i] = (float)sin((double)i);
        else if (text && wide)
            ((int64_t *)io->data)[i] = value;
        else if (text)
            ((int32_t *)io->data)[i] = (int32_t)value;
    }
    return LEGO_OK;
}

static int make_input(struct bench *bench, uint32_t index, struct lego_diag *diag)
{
    struct lego_io *io = &bench->inputs[index];
    size_t elems = 0;
    io->dtype = lego_model_input(bench->model, index)->dtype;
    int status = choose_shape(bench, index, &io->shape, diag);
    if (status == LEGO_OK && (status = lego_shape_elems(&io->shape, &elems)) != LEGO_OK)
        status = lego_fail(diag, status, "an input is too large");
    if (status != LEGO_OK)
        return status;
    io->bytes = elems * lego_dtype_bytes(io->dtype);
    if (posix_memalign(&io->data, 64, io->bytes + 1) != 0) {
        io->data = NULL;
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for an input of %zu bytes", io->bytes);
    }
    return fill_input(bench, index, elems, diag);
}

static int make_inputs(struct bench *bench, struct lego_diag *diag)
{
    bench->input_count = lego_model_input_count(bench->model);
    bench->output_count = lego_model_output_count(bench->model);
    bench->inputs = calloc((size_t)bench->input_count + 1, sizeof(*bench->inputs));
    bench->outputs = calloc((size_t)bench->output_count + 1, sizeof(*bench->outputs));
    bench->times_us = calloc(bench->options.runs, sizeof(*bench->times_us));
    if (!bench->inputs || !bench->outputs || !bench->times_us)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = check_names(bench, &bench->options.shapes, "input-shape", "1,2,3", diag);
    if (status == LEGO_OK)
        status = check_names(bench, &bench->options.values, "input-value", "1", diag);
    for (uint32_t i = 0; status == LEGO_OK && i < bench->input_count; i++)
        status = make_input(bench, i, diag);
    return status;
}

static int run_once(struct bench *bench, double *ret_us, struct lego_diag *diag)
{
    /* Data NULL: the outputs stay in the session, no copy is timed. */
    memset(bench->outputs, 0, bench->output_count * sizeof(*bench->outputs));
    double start = now_us();
    int status = lego_session_run(bench->session, bench->inputs, bench->input_count, bench->outputs,
                                  bench->output_count, diag);
    *ret_us = now_us() - start;
    return status;
}

static int by_time(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static int measure(struct bench *bench, const char *path, struct lego_diag *diag)
{
    struct lego_session_options options = {.threads = bench->threads};
    double start = now_us();
    int status = cli_model_open(path, &bench->how, &bench->model, diag);
    if (status == LEGO_OK)
        status = lego_session_create(bench->model, &options, &bench->session, diag);
    bench->load_us = now_us() - start;
    if (status == LEGO_OK)
        status = make_inputs(bench, diag);
    start = now_us();
    if (status == LEGO_OK)
        status =
            lego_session_prepare(bench->session, bench->inputs, bench->input_count, NULL, 0, diag);
    bench->ready_us = bench->load_us + now_us() - start;
    if (status == LEGO_OK)
        status = run_once(bench, &bench->first_us, diag);
    for (uint64_t i = 0; status == LEGO_OK && i < bench->options.runs; i++)
        status = run_once(bench, &bench->times_us[i], diag);
    if (status == LEGO_OK)
        qsort(bench->times_us, bench->options.runs, sizeof(*bench->times_us), by_time);
    return status;
}

/* Runs again with the profile on; times come step by step: [step][run]. */
static int collect_steps(struct bench *bench, uint64_t runs, double **times, struct lego_diag *diag)
{
    for (uint64_t i = 0; i < runs; i++) {
        double us;
        uint32_t count = 0;
        int status = run_once(bench, &us, diag);
        if (status != LEGO_OK)
            return status;
        const struct lego_step_time *steps = lego_session_steps(bench->session, &count);
        if (!*times) {
            *times = calloc((size_t)count * runs + 1, sizeof(**times));
            bench->step_us = calloc((size_t)count + 1, sizeof(*bench->step_us));
            bench->step_min_us = calloc((size_t)count + 1, sizeof(*bench->step_min_us));
            bench->step_count = count;
        }
        if (!*times || !bench->step_us || !bench->step_min_us)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
        for (uint32_t s = 0; s < count && s < bench->step_count; s++)
            (*times)[s * runs + i] = steps[s].us;
    }
    return LEGO_OK;
}

static int profile(struct bench *bench, struct lego_diag *diag)
{
    if (!bench->options.layers)
        return LEGO_OK;
    uint64_t runs = bench->options.runs < PROFILE_RUNS ? bench->options.runs : PROFILE_RUNS;
    double *times = NULL;
    lego_session_profile(bench->session, true);
    int status = collect_steps(bench, runs, &times, diag);
    for (uint32_t s = 0; status == LEGO_OK && s < bench->step_count; s++) {
        qsort(times + s * runs, runs, sizeof(*times), by_time);
        bench->step_us[s] = times[s * runs + runs / 2];
        bench->step_min_us[s] = times[s * runs];
    }
    free(times);
    return status;
}

static double mean_us(const struct bench *bench)
{
    double sum = 0;
    for (uint64_t i = 0; i < bench->options.runs; i++)
        sum += bench->times_us[i];
    return sum / (double)bench->options.runs;
}

static json_t *layers_json(const struct bench *bench)
{
    uint32_t count = 0;
    const struct lego_step_time *steps = lego_session_steps(bench->session, &count);
    json_t *layers = json_array();
    for (uint32_t s = 0; s < count && s < bench->step_count; s++)
        json_array_append_new(layers,
                              json_pack("{s:s, s:s, s:f, s:f, s:I}", "name", steps[s].name, "op",
                                        steps[s].op, "us", bench->step_us[s], "min_us",
                                        bench->step_min_us[s], "macs", (json_int_t)steps[s].macs));
    return layers;
}

static int print_json(const struct bench *bench)
{
    const double *times = bench->times_us;
    uint64_t runs = bench->options.runs;
    json_t *root = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:s, s:I, s:I, s:I}", "load_us",
        bench->load_us, "ready_us", bench->ready_us, "first_us", bench->first_us, "median_us",
        times[runs / 2], "min_us", times[0], "mean_us", mean_us(bench), "p90_us",
        times[(runs - 1) * 9 / 10], "runs", (json_int_t)runs, "threads", (json_int_t)bench->threads,
        "cpu", lego_model_cpu(bench->model), "peak_rss_bytes", (json_int_t)peak_rss_bytes(),
        "weights_resident_bytes", (json_int_t)lego_model_resident_bytes(bench->model),
        "session_bytes", (json_int_t)lego_session_bytes(bench->session));
    if (root && bench->options.layers)
        json_object_set_new(root, "layers", layers_json(bench));
    return cli_print_json(SPEC.command, root);
}

static void print_layers(const struct bench *bench)
{
    uint32_t count = 0;
    const struct lego_step_time *steps = lego_session_steps(bench->session, &count);
    double sum = 0;
    for (uint32_t s = 0; s < bench->step_count; s++)
        sum += bench->step_us[s];
    printf("\n%10s %6s %10s %8s  %-18s %s\n", "us", "share", "MMAC", "GMAC/s", "operator", "step");
    for (uint32_t s = 0; s < count && s < bench->step_count; s++) {
        double us = bench->step_us[s];
        printf("%10.1f %5.1f%% ", us, sum > 0 ? 100 * bench->step_us[s] / sum : 0);
        if (steps[s].macs && us > 0)
            printf("%10.3f %8.2f", (double)steps[s].macs * 1e-6, (double)steps[s].macs / us * 1e-3);
        else
            printf("%10s %8s", "-", "-");
        printf("  %-18s %s\n", steps[s].op, steps[s].name);
    }
    printf("%10.1f in all\n", sum);
}

static int print_text(const struct bench *bench)
{
    const double *times = bench->times_us;
    uint64_t runs = bench->options.runs;
    printf("load       %12.1f us\nready      %12.1f us\nfirst run  %12.1f us\n"
           "median     %12.1f us of %llu runs\nleast      %12.1f us\nmean       %12.1f us\n"
           "90 %% under %11.1f us\n",
           bench->load_us, bench->ready_us, bench->first_us, times[runs / 2],
           (unsigned long long)runs, times[0], mean_us(bench), times[(runs - 1) * 9 / 10]);
    printf("memory     %12.2f MB at most, of it weights %.2f MB, activations %.2f MB\n",
           (double)peak_rss_bytes() * 1e-6, (double)lego_model_resident_bytes(bench->model) * 1e-6,
           (double)lego_session_bytes(bench->session) * 1e-6);
    printf("threads    %12u, kernels: %s\n", bench->threads, lego_model_cpu(bench->model));
    if (bench->options.layers)
        print_layers(bench);
    return cli_finish(SPEC.command, CLI_DONE);
}

static void clear(struct bench *bench)
{
    for (uint32_t i = 0; bench->inputs && i < bench->input_count; i++)
        free(bench->inputs[i].data);
    free(bench->inputs);
    free(bench->outputs);
    free(bench->times_us);
    free(bench->step_us);
    free(bench->step_min_us);
    lego_session_destroy(bench->session);
    lego_model_close(bench->model);
    cli_options_clear(&SPEC, &bench->options);
}

int cmd_bench(int argc, char **argv)
{
    struct bench bench = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, &bench.options, &positional);
    if (code != CLI_GO_ON)
        return code;
    const struct bench_options *o = &bench.options;
    const char *wrong = cli_model_options(o->resident, o->verify, o->compute, &bench.how);
    if (wrong) {
        cli_options_clear(&SPEC, &bench.options);
        cli_list_clear(&positional);
        return cli_usage(&SPEC, "%s", wrong);
    }
    bench.threads = bench.options.threads ? (uint32_t)bench.options.threads : cli_cores();
    int status = measure(&bench, positional.items[0], &diag);
    if (status == LEGO_OK)
        status = profile(&bench, &diag);
    if (status != LEGO_OK)
        code = cli_fail_diag(SPEC.command, status, &diag);
    else
        code = bench.options.json ? print_json(&bench) : print_text(&bench);
    clear(&bench);
    cli_list_clear(&positional);
    return code;
}
