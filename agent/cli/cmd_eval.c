/*
 * legonet eval: accuracy over labelled pictures.
 */
#include "agent/cli/commands.h"
#include "agent/cli/dataset.h"
#include "agent/cli/model.h"
#include "agent/cli/output.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Images in one run where the model leaves the batch open. */
#define BATCH 16

#define TOP_CLASSES 5

struct eval_options {
    const char *cifar10, *images, *labels, *preprocess;
    uint64_t limit, threads;
    bool json;
};

#define OPTION(field_) .offset = offsetof(struct eval_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "cifar10",
     .type = CLI_STRING,
     OPTION(cifar10),
     .value = "FILE",
     .help = "images and labels in CIFAR-10's binary format"},
    {.name = "images",
     .type = CLI_STRING,
     OPTION(images),
     .value = "DIR",
     .help = "a folder of pictures, PNG or JPEG; needs --labels"},
    {.name = "labels",
     .type = CLI_STRING,
     OPTION(labels),
     .value = "FILE",
     .help = "CSV with the columns file and class (from 0)"},
    {.name = "preprocess",
     .letter = 'p',
     .type = CLI_STRING,
     OPTION(preprocess),
     .value = "FILE",
     .help = "how a picture becomes the input, instead of what the model says"},
    {.name = "limit",
     .letter = 'n',
     .type = CLI_UINT,
     OPTION(limit),
     .value = "N",
     .otherwise = "0",
     .help = "only the first N images, 0: all"},
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 1024,
     .help = "images that are worked on at once, 0: one a core"},
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help = "print JSON: {\"images\", \"top1\", \"top5\", \"seconds\"}, percent"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "eval",
    .arguments = "MODEL",
    .about =
        "Runs a classifier (.onnx or .lego) over labelled pictures, --cifar10 FILE or --images\n"
        "DIR --labels FILE, and prints how many percent are right: the class with the largest\n"
        "output (top-1), and the five largest (top-5). The model's first output counts, after\n"
        "its preprocessing's class_offset.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

/* What all workers share. */
struct eval {
    struct lego_model *model;
    const struct dataset *dataset;
    struct lego_preprocess preprocess;
    size_t count;
    struct lego_shape input; /* of one run */
    size_t batch, elems;     /* images in a run, elements of one */
    atomic_size_t next;      /* first image that nobody has taken */
    atomic_size_t top1, top5;
    pthread_mutex_t lock; /* of the two below */
    int status;
    struct lego_diag *diag;
};

/* One thread's own. */
struct worker {
    struct eval *eval;
    pthread_t thread;
    struct lego_session *session;
    float *input;
};

static bool stopped(struct eval *eval)
{
    pthread_mutex_lock(&eval->lock);
    bool failed = eval->status != LEGO_OK;
    pthread_mutex_unlock(&eval->lock);
    return failed;
}

/* The first failure is the one that is told. */
static void stop(struct eval *eval, int status, const struct lego_diag *diag)
{
    pthread_mutex_lock(&eval->lock);
    if (eval->status == LEGO_OK) {
        eval->status = status;
        *eval->diag = *diag;
    }
    pthread_mutex_unlock(&eval->lock);
}

static int load_images(struct worker *worker, size_t first, size_t count, struct lego_diag *diag)
{
    struct eval *eval = worker->eval;
    for (size_t i = 0; i < count; i++) {
        struct lego_picture picture;
        int status = dataset_picture(eval->dataset, first + i, &picture, diag);
        if (status != LEGO_OK)
            return status;
        status = preprocess_apply(&eval->preprocess, &picture, worker->input + i * eval->elems,
                                  eval->elems, diag);
        picture_clear(&picture);
        if (status != LEGO_OK)
            return status;
    }
    return LEGO_OK;
}

/* How many classes come before `right`: those that score more, or as much with a lower number. */
static size_t rank_of(const float *scores, size_t count, size_t right)
{
    size_t rank = 0;
    if (scores[right] != scores[right])
        return count; /* NaN is never an answer */
    for (size_t i = 0; i < count; i++)
        rank += scores[i] > scores[right] || (scores[i] == scores[right] && i < right);
    return rank;
}

static int count_hits(struct eval *eval, size_t first, size_t count, const struct lego_io *output,
                      struct lego_diag *diag)
{
    size_t elems = 0, offset = (size_t)eval->preprocess.class_offset;
    int status = lego_shape_elems(&output->shape, &elems);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "the first output's shape is not known");
    if (output->dtype != LEGO_DTYPE_FLOAT32 || elems == 0 || elems % eval->batch != 0 ||
        elems / eval->batch <= offset)
        return lego_fail(diag, LEGO_E_SHAPE,
                         "the model's first output is not one row of FP32 scores an image");
    size_t classes = elems / eval->batch - offset;
    for (size_t i = 0; i < count; i++) {
        const float *scores = (const float *)output->data + i * (classes + offset) + offset;
        size_t right = dataset_class(eval->dataset, first + i);
        char name[256];
        if (right >= classes)
            return lego_fail(diag, LEGO_E_SHAPE, "%s has class %zu, the model has %zu classes",
                             dataset_name(eval->dataset, first + i, name, sizeof(name)), right,
                             classes);
        size_t rank = rank_of(scores, classes, right);
        atomic_fetch_add(&eval->top1, rank == 0);
        atomic_fetch_add(&eval->top5, rank < TOP_CLASSES);
    }
    return LEGO_OK;
}

/* One batch; a last one that is not full runs over what the one before left behind it. */
static int run_batch(struct worker *worker, size_t first, size_t count, struct lego_diag *diag)
{
    struct eval *eval = worker->eval;
    uint32_t output_count = lego_model_output_count(eval->model);
    int status = load_images(worker, first, count, diag);
    if (status != LEGO_OK)
        return status;

    struct lego_io *outputs = calloc(output_count, sizeof(*outputs));
    if (!outputs)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    struct lego_io input = {.dtype = LEGO_DTYPE_FLOAT32,
                            .shape = eval->input,
                            .data = worker->input,
                            .bytes = eval->batch * eval->elems * sizeof(float)};
    status = lego_session_run(worker->session, &input, 1, outputs, output_count, diag);
    if (status == LEGO_OK)
        status = count_hits(eval, first, count, &outputs[0], diag);
    free(outputs);
    return status;
}

static int start_session(struct worker *worker, struct lego_diag *diag)
{
    struct eval *eval = worker->eval;
    struct lego_session_options options = {.threads = 1};
    worker->input = calloc(eval->batch * eval->elems, sizeof(float));
    if (!worker->input)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %zu images", eval->batch);
    return lego_session_create(eval->model, &options, &worker->session, diag);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct eval *eval = worker->eval;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = start_session(worker, &diag);

    while (status == LEGO_OK && !stopped(eval)) {
        size_t first = atomic_fetch_add(&eval->next, eval->batch);
        if (first >= eval->count)
            break;
        size_t left = eval->count - first;
        status = run_batch(worker, first, left < eval->batch ? left : eval->batch, &diag);
    }
    if (status != LEGO_OK)
        stop(eval, status, &diag);
    lego_session_destroy(worker->session);
    free(worker->input);
    return NULL;
}

/* The caller is the first worker. */
static int run_workers(struct eval *eval, uint32_t threads)
{
    struct worker *workers = calloc(threads, sizeof(*workers));
    uint32_t started = 1;
    if (!workers)
        return lego_fail(eval->diag, LEGO_E_NOMEM, "out of memory");
    for (uint32_t i = 0; i < threads; i++)
        workers[i].eval = eval;
    while (started < threads &&
           pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
        started++;
    work(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
    return eval->status;
}

/* The shape of one run: the batch that the model asks for, or BATCH where it leaves it open. */
static int set_shape(struct eval *eval, struct lego_diag *diag)
{
    const struct lego_preprocess *p = &eval->preprocess;
    if (lego_model_input_count(eval->model) != 1)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "eval takes models of one input, this has %u",
                         lego_model_input_count(eval->model));
    const struct lego_value *value = lego_model_input(eval->model, 0);
    uint32_t index;
    int status = cli_preprocess_input(eval->model, p, &index, diag);
    if (status != LEGO_OK)
        return status;
    if (value->dtype != LEGO_DTYPE_FLOAT32 || (value->shape.rank != 4 && value->shape.rank >= 0))
        return lego_fail(diag, LEGO_E_SHAPE, "the input '%s' does not take pictures", value->name);

    int64_t batch = value->shape.rank == 4 ? value->shape.dim[0] : LEGO_DIM_UNKNOWN;
    eval->batch = batch > 0 ? (size_t)batch : BATCH;
    eval->elems = preprocess_elems(p);
    eval->input = (struct lego_shape){
        .rank = 4, .dim = {(int64_t)eval->batch, p->channels, p->height, p->width}};
    if (p->nhwc)
        eval->input = (struct lego_shape){
            .rank = 4, .dim = {(int64_t)eval->batch, p->height, p->width, p->channels}};
    return LEGO_OK;
}

static double now_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int print_result(const struct eval *eval, const struct eval_options *options, double seconds)
{
    double images = (double)eval->count;
    double top1 = 100.0 * (double)atomic_load(&eval->top1) / images;
    double top5 = 100.0 * (double)atomic_load(&eval->top5) / images;
    if (options->json)
        return cli_print_json(SPEC.command,
                              json_pack("{s:I, s:f, s:f, s:f}", "images", (json_int_t)eval->count,
                                        "top1", top1, "top5", top5, "seconds", seconds));
    printf("%zu images: top-1 %.2f %%, top-5 %.2f %% (%.1f s)\n", eval->count, top1, top5, seconds);
    return cli_finish(SPEC.command, CLI_DONE);
}

static int evaluate(const struct eval_options *options, struct eval *eval, const char *model_path,
                    struct lego_arena *arena, struct lego_diag *diag)
{
    int status = cli_model_open(model_path, &eval->model, diag);
    if (status == LEGO_OK)
        status = cli_preprocess(eval->model, options->preprocess, arena, &eval->preprocess, diag);
    if (status == LEGO_OK)
        status = set_shape(eval, diag);
    if (status != LEGO_OK)
        return status;
    eval->count = dataset_count(eval->dataset);
    if (options->limit && options->limit < eval->count)
        eval->count = options->limit;
    return run_workers(eval, options->threads ? (uint32_t)options->threads : cli_cores());
}

static int check_usage(const struct eval_options *options)
{
    if (!options->cifar10 == !options->images)
        return cli_usage(&SPEC, "give either --cifar10 FILE or --images DIR --labels FILE");
    if (!options->images != !options->labels)
        return cli_usage(&SPEC, "--images and --labels go together");
    return CLI_GO_ON;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_options options = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct eval eval = {.lock = PTHREAD_MUTEX_INITIALIZER, .diag = &diag};
    struct cli_list positional = {0};
    struct dataset *dataset = NULL;
    int code = cli_parse(&SPEC, argc, argv, &options, &positional);
    if (code != CLI_GO_ON)
        return code;
    code = check_usage(&options);
    if (code == CLI_GO_ON) {
        struct lego_arena *arena = lego_arena_create(0);
        double start = now_seconds();
        int status = options.cifar10
                         ? dataset_open_cifar10(options.cifar10, &dataset, &diag)
                         : dataset_open_images(options.images, options.labels, &dataset, &diag);
        eval.dataset = dataset;
        if (status == LEGO_OK)
            status =
                arena ? evaluate(&options, &eval, positional.items[0], arena, &diag) : LEGO_E_NOMEM;
        code = status == LEGO_OK ? print_result(&eval, &options, now_seconds() - start)
                                 : cli_fail_diag(SPEC.command, status, &diag);
        lego_model_close(eval.model);
        lego_arena_destroy(arena);
    }
    dataset_close(dataset);
    cli_list_clear(&positional);
    return code;
}
