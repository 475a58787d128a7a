/* Which inferences are kept, and the thread that writes them. */
#include "agent/service/capture.h"

#include "agent/service/clock.h"
#include "agent/service/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_WAITING       16
#define MAX_WAITING_BYTES ((size_t)64 << 20)
#define WARNING_EVERY_NS  60000000000ull

struct record {
    struct record *next;
    char model[132];
    uint64_t time_ns;
    uint8_t *data;
    size_t bytes;
};

struct capture {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping;
    struct record *first, **last;
    size_t waiting, waiting_bytes;
    uint64_t rate, share, tokens_at_ns;
    double confidence;
    uint64_t tokens, credit; /* records that may be taken now; percent of an inference */
    const char *models;      /* the configuration's */
    struct capture_counts counts;
    /* The writer's: */
    struct capture_ring ring;
    uint64_t warned_ns;
};

static bool lists(const char *names, const char *name)
{
    size_t length = strlen(name);
    if (!*names)
        return true;
    for (const char *at = names; *(at += strspn(at, " "));) {
        size_t word = strcspn(at, " ");
        if (word == length && !memcmp(at, name, length))
            return true;
        at += word;
    }
    return false;
}

/* By the share and the rate. The mutex is held. */
static bool wanted(struct capture *capture)
{
    uint64_t now = clock_ns();
    capture->credit += capture->share;
    if (capture->credit < 100)
        return false;
    capture->credit -= 100;
    uint64_t fresh = (now - capture->tokens_at_ns) / (1000000000u / capture->rate);
    if (fresh > 0) {
        capture->tokens = fresh > capture->rate ? capture->rate : capture->tokens + fresh;
        if (capture->tokens > capture->rate)
            capture->tokens = capture->rate;
        capture->tokens_at_ns = now;
    }
    if (capture->tokens == 0)
        return false;
    capture->tokens--;
    return true;
}

static bool hand_over(struct capture *capture, struct record *record)
{
    pthread_mutex_lock(&capture->mutex);
    bool room = capture->waiting < MAX_WAITING &&
                record->bytes <= MAX_WAITING_BYTES - capture->waiting_bytes;
    if (room) {
        *capture->last = record;
        capture->last = &record->next;
        capture->waiting++;
        capture->waiting_bytes += record->bytes;
        pthread_cond_signal(&capture->wake);
    } else {
        capture->counts.dropped++;
    }
    pthread_mutex_unlock(&capture->mutex);
    return room;
}

void capture_offer(struct capture *capture, const struct capture_about *about,
                   const struct lego_io *inputs, const struct lego_io *outputs)
{
    if (!lists(capture->models, about->name))
        return;
    double confidence =
        lego_model_output_count(about->model) > 0 ? capture_confidence(&outputs[0]) : -1;
    if (capture->confidence > 0 && (confidence < 0 || confidence >= capture->confidence))
        return;
    pthread_mutex_lock(&capture->mutex);
    bool take = wanted(capture);
    pthread_mutex_unlock(&capture->mutex);
    if (!take)
        return;
    struct timespec now;
    struct record *record = calloc(1, sizeof(*record));
    clock_gettime(CLOCK_REALTIME, &now);
    if (record) {
        record->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        strncpy(record->model, about->name, sizeof(record->model) - 1);
    }
    if (record && capture_archive(about, confidence, record->time_ns, inputs, outputs,
                                  &record->data, &record->bytes) == LEGO_OK) {
        if (hand_over(capture, record))
            return;
    } else {
        pthread_mutex_lock(&capture->mutex);
        capture->counts.dropped++;
        pthread_mutex_unlock(&capture->mutex);
    }
    if (record)
        free(record->data);
    free(record);
}

/* A full disk stays full for a while: one line a minute says so. */
static void warn(struct capture *capture, int error)
{
    uint64_t now = clock_ns();
    if (capture->warned_ns && now - capture->warned_ns < WARNING_EVERY_NS)
        return;
    capture->warned_ns = now;
    log_warning("capture.folder: an inference is not kept: %s", strerror(error));
}

static void write_record(struct capture *capture, struct record *record)
{
    int error = capture_ring_add(&capture->ring, record->model, record->time_ns, record->data,
                                 record->bytes);
    if (error)
        warn(capture, error);
    pthread_mutex_lock(&capture->mutex);
    capture->waiting--;
    capture->waiting_bytes -= record->bytes;
    if (error)
        capture->counts.dropped++;
    else
        capture->counts.written++;
    capture->counts.bytes = capture->ring.bytes;
    pthread_mutex_unlock(&capture->mutex);
    free(record->data);
    free(record);
}

static void *capture_main(void *argument)
{
    struct capture *capture = argument;
    pthread_setname_np(pthread_self(), "lego-capture");
    pthread_mutex_lock(&capture->mutex);
    for (;;) {
        struct record *record = capture->first;
        if (!record && capture->stopping)
            break;
        if (!record) {
            pthread_cond_wait(&capture->wake, &capture->mutex);
            continue;
        }
        capture->first = record->next;
        if (!capture->first)
            capture->last = &capture->first;
        pthread_mutex_unlock(&capture->mutex);
        write_record(capture, record);
        pthread_mutex_lock(&capture->mutex);
    }
    pthread_mutex_unlock(&capture->mutex);
    return NULL;
}

/* Signals are the loop's. */
static int start_thread(struct capture *capture)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&capture->thread, NULL, capture_main, capture);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int capture_start(const struct config *config, struct capture **ret_capture, struct lego_diag *diag)
{
    *ret_capture = NULL;
    if (!*config->capture_folder)
        return LEGO_OK;
    struct capture *capture = calloc(1, sizeof(*capture));
    if (!capture)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for captures");
    capture->models = config->capture_models;
    capture->rate = capture->tokens = config->capture_rate;
    capture->share = config->capture_share;
    capture->confidence = (double)config->capture_confidence;
    capture->tokens_at_ns = clock_ns();
    capture->last = &capture->first;
    pthread_mutex_init(&capture->mutex, NULL);
    pthread_cond_init(&capture->wake, NULL);
    int status = capture_ring_open(&capture->ring, config->capture_folder,
                                   config->capture_quota_bytes, diag);
    capture->counts.bytes = capture->ring.bytes;
    int error = status == LEGO_OK ? start_thread(capture) : 0;
    if (error)
        status = lego_fail_errno(diag, error, "cannot start the thread of captures");
    if (status != LEGO_OK) {
        capture_ring_close(&capture->ring);
        pthread_cond_destroy(&capture->wake);
        pthread_mutex_destroy(&capture->mutex);
        free(capture);
        return status;
    }
    *ret_capture = capture;
    return LEGO_OK;
}

struct capture_counts capture_count(struct capture *capture)
{
    struct capture_counts counts = {0};
    if (!capture)
        return counts;
    pthread_mutex_lock(&capture->mutex);
    counts = capture->counts;
    pthread_mutex_unlock(&capture->mutex);
    return counts;
}

void capture_stop(struct capture *capture)
{
    if (!capture)
        return;
    pthread_mutex_lock(&capture->mutex);
    capture->stopping = true;
    pthread_cond_signal(&capture->wake);
    pthread_mutex_unlock(&capture->mutex);
    pthread_join(capture->thread, NULL);
    capture_ring_close(&capture->ring);
    pthread_cond_destroy(&capture->wake);
    pthread_mutex_destroy(&capture->mutex);
    free(capture);
}
