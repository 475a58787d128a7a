#include "agent/cli/evaluate.h"

#include "agent/cli/model.h"
#include "agent/cli/score.h"
#include "codec/import/import.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Images in one run where the model leaves the batch open. */
#define BATCH 16

#define TOP_CLASSES 5

enum { MODEL, REFERENCE, MODELS };

/* What all workers share. */
struct evaluate {
    struct lego_model *models[MODELS]; /* the reference may be NULL */
    const struct dataset *dataset;
    struct lego_preprocess preprocess; /* of pictures */
    size_t count;
    struct lego_shape input; /* of one run; tensors have their own */
    size_t batch, elems;     /* examples in a run, elements of one */
    struct score *scores;    /* [count] */
    atomic_bool no_classes;  /* some first output is no row of scores */
    atomic_size_t next;      /* first example that nobody has taken */
    pthread_mutex_t lock;    /* of the two below */
    int status;
    struct lego_diag *diag;
};

/* One thread's own. */
struct worker {
    struct evaluate *evaluate;
    pthread_t thread;
    struct lego_session *sessions[MODELS];
    struct lego_io *outputs[MODELS];
    float *input;              /* [batch] pictures */
    struct lego_tensor tensor; /* the example, where examples are tensors */
};

static bool stopped(struct evaluate *evaluate)
{
    pthread_mutex_lock(&evaluate->lock);
    bool failed = evaluate->status != LEGO_OK;
    pthread_mutex_unlock(&evaluate->lock);
    return failed;
}

/* The first failure is the one that is told. */
static void stop(struct evaluate *evaluate, int status, const struct lego_diag *diag)
{
    pthread_mutex_lock(&evaluate->lock);
    if (evaluate->status == LEGO_OK) {
        evaluate->status = status;
        *evaluate->diag = *diag;
    }
    pthread_mutex_unlock(&evaluate->lock);
}

static int load_pictures(struct worker *worker, size_t first, size_t count, struct lego_io *io,
                         struct lego_diag *diag)
{
    struct evaluate *evaluate = worker->evaluate;
    for (size_t i = 0; i < count; i++) {
        struct lego_picture picture;
        int status = dataset_picture(evaluate->dataset, first + i, &picture, diag);
        if (status != LEGO_OK)
            return status;
        status = preprocess_apply(&evaluate->preprocess, &picture,
                                  worker->input + i * evaluate->elems, evaluate->elems, diag);
        picture_clear(&picture);
        if (status != LEGO_OK)
            return status;
    }
    *io = (struct lego_io){.dtype = LEGO_DTYPE_FLOAT32,
                           .shape = evaluate->input,
                           .data = worker->input,
                           .bytes = evaluate->batch * evaluate->elems * sizeof(float)};
    return LEGO_OK;
}

static int load_tensor(struct worker *worker, size_t index, struct lego_io *io,
                       struct lego_diag *diag)
{
    int status = dataset_tensor(worker->evaluate->dataset, index, &worker->tensor, diag);
    if (status == LEGO_OK)
        *io = (struct lego_io){.dtype = worker->tensor.dtype,
                               .shape = worker->tensor.shape,
                               .data = (void *)worker->tensor.data,
                               .bytes = worker->tensor.bytes};
    return status;
}

/* Accuracy of the examples of one batch. */
static int score_labels(struct worker *worker, size_t first, size_t count, struct lego_diag *diag)
{
    struct evaluate *evaluate = worker->evaluate;
    for (size_t i = 0; i < count; i++) {
        struct score_row row;
        int status = score_find_row(&worker->outputs[MODEL][0], evaluate->batch, i,
                                    (size_t)evaluate->preprocess.class_offset, &row, diag);
        if (status != LEGO_OK)
            return status;
        size_t right = dataset_class(evaluate->dataset, first + i);
        char name[256];
        if (right >= row.classes)
            return lego_fail(diag, LEGO_E_SHAPE, "%s has class %zu, the model has %zu classes",
                             dataset_name(evaluate->dataset, first + i, name, sizeof(name)), right,
                             row.classes);
        size_t rank = score_rank(&row, right);
        evaluate->scores[first + i].top1 = rank == 0;
        evaluate->scores[first + i].top5 = rank < TOP_CLASSES;
    }
    return LEGO_OK;
}

/* Agreement of the examples of one batch with the reference. */
static int score_agreement(struct worker *worker, size_t first, size_t count,
                           struct lego_diag *diag)
{
    struct evaluate *evaluate = worker->evaluate;
    struct lego_diag ignored = LEGO_DIAG_INIT;
    uint32_t outputs = lego_model_output_count(evaluate->models[MODEL]);
    size_t offset = (size_t)evaluate->preprocess.class_offset;
    for (size_t i = 0; i < count; i++) {
        struct score *score = &evaluate->scores[first + i];
        struct score_row rows[MODELS];
        int status = LEGO_OK;
        for (uint32_t o = 0; status == LEGO_OK && o < outputs; o++)
            status =
                score_compare_outputs(&worker->outputs[MODEL][o], &worker->outputs[REFERENCE][o],
                                      evaluate->batch, i, score, diag);
        if (status != LEGO_OK)
            return status;
        bool classes = outputs == 1;
        for (int m = 0; m < MODELS && classes; m++)
            classes = score_find_row(&worker->outputs[m][0], evaluate->batch, i, offset, &rows[m],
                                     &ignored) == LEGO_OK;
        if (classes)
            score_compare_rows(&rows[MODEL], &rows[REFERENCE], score);
        else
            atomic_store(&evaluate->no_classes, true);
    }
    return LEGO_OK;
}

/* One batch; a last one that is not full runs over what the one before left behind it. */
static int run_batch(struct worker *worker, size_t first, size_t count, struct lego_diag *diag)
{
    struct evaluate *evaluate = worker->evaluate;
    struct lego_io input;
    int status = dataset_holds_tensors(evaluate->dataset)
                     ? load_tensor(worker, first, &input, diag)
                     : load_pictures(worker, first, count, &input, diag);
    for (int m = 0; m < MODELS && status == LEGO_OK; m++) {
        if (!worker->sessions[m])
            continue;
        uint32_t outputs = lego_model_output_count(evaluate->models[m]);
        memset(worker->outputs[m], 0, outputs * sizeof(struct lego_io));
        status =
            lego_session_run(worker->sessions[m], &input, 1, worker->outputs[m], outputs, diag);
    }
    if (status == LEGO_OK && dataset_labelled(evaluate->dataset))
        status = score_labels(worker, first, count, diag);
    if (status == LEGO_OK && worker->sessions[REFERENCE])
        status = score_agreement(worker, first, count, diag);
    import_tensor_clear(&worker->tensor);
    return status;
}

static int start_sessions(struct worker *worker, struct lego_diag *diag)
{
    struct evaluate *evaluate = worker->evaluate;
    struct lego_session_options options = {.threads = 1};
    int status = LEGO_OK;
    worker->input = calloc(evaluate->batch * evaluate->elems + 1, sizeof(float));
    if (!worker->input)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %zu images", evaluate->batch);
    for (int m = 0; m < MODELS && status == LEGO_OK; m++) {
        if (!evaluate->models[m])
            continue;
        worker->outputs[m] =
            calloc(lego_model_output_count(evaluate->models[m]) + 1, sizeof(*worker->outputs[m]));
        if (!worker->outputs[m])
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
        status = lego_session_create(evaluate->models[m], &options, &worker->sessions[m], diag);
    }
    return status;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct evaluate *evaluate = worker->evaluate;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = start_sessions(worker, &diag);

    while (status == LEGO_OK && !stopped(evaluate)) {
        size_t first = atomic_fetch_add(&evaluate->next, evaluate->batch);
        if (first >= evaluate->count)
            break;
        size_t left = evaluate->count - first;
        status = run_batch(worker, first, left < evaluate->batch ? left : evaluate->batch, &diag);
    }
    if (status != LEGO_OK)
        stop(evaluate, status, &diag);
    for (int m = 0; m < MODELS; m++) {
        lego_session_destroy(worker->sessions[m]);
        free(worker->outputs[m]);
    }
    free(worker->input);
    return NULL;
}

/* The caller is the first worker. */
static int run_workers(struct evaluate *evaluate, uint32_t threads)
{
    struct worker *workers = calloc(threads, sizeof(*workers));
    uint32_t started = 1;
    if (!workers)
        return lego_fail(evaluate->diag, LEGO_E_NOMEM, "out of memory");
    for (uint32_t i = 0; i < threads; i++)
        workers[i].evaluate = evaluate;
    while (started < threads &&
           pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
        started++;
    work(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
    return evaluate->status;
}

/* The shape of one run of pictures: the batch that the model asks for, or BATCH where it leaves it
 * open. */
static int set_shape(struct evaluate *evaluate, struct lego_diag *diag)
{
    const struct lego_preprocess *p = &evaluate->preprocess;
    const struct lego_value *value = lego_model_input(evaluate->models[MODEL], 0);
    uint32_t index;
    int status = cli_preprocess_input(evaluate->models[MODEL], p, &index, diag);
    if (status != LEGO_OK)
        return status;
    if (value->dtype != LEGO_DTYPE_FLOAT32 || (value->shape.rank != 4 && value->shape.rank >= 0))
        return lego_fail(diag, LEGO_E_SHAPE, "the input '%s' does not take pictures", value->name);

    int64_t batch = value->shape.rank == 4 ? value->shape.dim[0] : LEGO_DIM_UNKNOWN;
    evaluate->batch = batch > 0 ? (size_t)batch : BATCH;
    evaluate->elems = preprocess_elems(p);
    evaluate->input = (struct lego_shape){
        .rank = 4, .dim = {(int64_t)evaluate->batch, p->channels, p->height, p->width}};
    if (p->nhwc)
        evaluate->input = (struct lego_shape){
            .rank = 4, .dim = {(int64_t)evaluate->batch, p->height, p->width, p->channels}};
    return LEGO_OK;
}

/* Both models, and how an example becomes their input. */
static int prepare(struct evaluate *evaluate, const struct evaluate_options *options,
                   struct lego_arena *arena, struct lego_diag *diag)
{
    struct lego_model **models = evaluate->models;
    for (int m = 0; m < MODELS; m++) {
        if (models[m] && lego_model_input_count(models[m]) != 1)
            return lego_fail(diag, LEGO_E_UNSUPPORTED,
                             "eval takes models of one input, this has %u",
                             lego_model_input_count(models[m]));
    }
    if (models[REFERENCE] &&
        lego_model_output_count(models[MODEL]) != lego_model_output_count(models[REFERENCE]))
        return lego_fail(diag, LEGO_E_SHAPE, "the model has %u outputs, the reference has %u",
                         lego_model_output_count(models[MODEL]),
                         lego_model_output_count(models[REFERENCE]));
    evaluate->batch = 1;
    if (dataset_holds_tensors(evaluate->dataset))
        return LEGO_OK;
    int status =
        cli_preprocess(models[MODEL], options->preprocess, arena, &evaluate->preprocess, diag);
    return status == LEGO_OK ? set_shape(evaluate, diag) : status;
}

static double now_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* In the order of the examples, so that the sums are the same with any number of threads. */
static void sum_up(const struct evaluate *evaluate, struct evaluation *ret)
{
    size_t top1 = 0, top5 = 0, agree = 0;
    double divergence = 0, error = 0, energy = 0;
    for (size_t i = 0; i < evaluate->count; i++) {
        const struct score *score = &evaluate->scores[i];
        top1 += score->top1;
        top5 += score->top5;
        agree += score->agrees;
        divergence += score->divergence;
        error += score->error;
        energy += score->energy;
    }
    double images = (double)evaluate->count;
    ret->images = evaluate->count;
    ret->labelled = dataset_labelled(evaluate->dataset);
    ret->top1 = 100.0 * (double)top1 / images;
    ret->top5 = 100.0 * (double)top5 / images;
    ret->compared = evaluate->models[REFERENCE] != NULL;
    ret->classes = !atomic_load(&evaluate->no_classes);
    ret->agreement = 100.0 * (double)agree / images;
    ret->divergence = divergence / images;
    ret->output_error = energy > 0 ? sqrt(error / energy) : 0;
}

int evaluate_model(struct lego_model *model, struct lego_model *reference,
                   const struct dataset *dataset, const struct evaluate_options *options,
                   struct evaluation *ret_evaluation, struct lego_diag *diag)
{
    struct evaluate evaluate = {.models = {model, reference},
                                .dataset = dataset,
                                .count = dataset_count(dataset),
                                .lock = PTHREAD_MUTEX_INITIALIZER,
                                .diag = diag};
    struct lego_arena *arena = lego_arena_create(0);
    const double start = now_seconds();
    struct evaluation result = {0};

    if (options->limit && options->limit < evaluate.count)
        evaluate.count = options->limit;
    evaluate.scores = calloc(evaluate.count, sizeof(*evaluate.scores));
    int status = arena && evaluate.scores ? prepare(&evaluate, options, arena, diag)
                                          : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (status == LEGO_OK)
        status = run_workers(&evaluate, options->threads ? options->threads : cli_cores());
    if (status == LEGO_OK) {
        sum_up(&evaluate, &result);
        result.seconds = now_seconds() - start;
        *ret_evaluation = result;
    }
    free(evaluate.scores);
    lego_arena_destroy(arena);
    return status;
}
