#include "tests/agent/bench_isolation.h"

#include "tests/agent/bench_times.h"
#include "tests/agent/models.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS      12 /* each: alone, then as long beside loads */
#define PHASE_US    500e3
#define PATIENCE_US 5e6  /* for the one load that a phase must see */
#define LOAD_US     60e6 /* that a load may take: one of low priority starves on a busy machine */
#define MAX_TIMES   1000000u

static const struct agent *agent;
static atomic_bool loading, busy, stopping;
static atomic_uint loads;

struct times {
    double *us;
    unsigned count;
};

/* Of the times from `first` on, which it sorts. */
static double percentile(const struct times *times, unsigned first, unsigned percent)
{
    unsigned count = times->count - first;
    sort_times(times->us + first, count);
    return times->us[first + (uint64_t)count * percent / 100];
}

/* Unloads and loads "b" while it is told to. */
static void *loader_main(void *argument)
{
    int fd = wire_connect(agent);
    (void)argument;
    while (!atomic_load(&stopping)) {
        atomic_store(&busy, true);
        if (!atomic_load(&loading)) {
            atomic_store(&busy, false);
            poll(NULL, 0, 1);
            continue;
        }
        for (int load = 0; load < 2; load++) {
            Legonet__Response *response = wire_load(fd, load, "b");
            if (response->status != LEGONET__STATUS__OK)
                abort();
            ipc_response_free(response);
        }
        atomic_fetch_add(&loads, 1);
    }
    close(fd);
    return NULL;
}

/* For at least that long and until `loads` is at least that; returns how long it took. */
static double run_phase(int fd, const uint8_t *frame, size_t bytes, double phase_us,
                        unsigned least_loads, struct times *times)
{
    double began = now_us(), start = began;
    while ((start < began + phase_us ||
            (atomic_load(&loads) < least_loads && start < began + PATIENCE_US)) &&
           times->count < MAX_TIMES) {
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        double end = now_us();
        times->us[times->count++] = end - start;
        if (!response || response->status != LEGONET__STATUS__OK)
            abort();
        ipc_response_free(response);
        start = now_us();
    }
    return start - began;
}

/* The round's p99 beside loads over that alone: what else the machine does changes more slowly. */
static double run_round(int fd, const uint8_t *frame, size_t bytes, struct times *alone,
                        struct times *beside)
{
    static double phase_us = PHASE_US;
    unsigned first_alone = alone->count, first_beside = beside->count;
    run_phase(fd, frame, bytes, phase_us, 0, alone);
    atomic_store(&loading, true);
    phase_us = run_phase(fd, frame, bytes, PHASE_US, atomic_load(&loads) + 1, beside);
    atomic_store(&loading, false);
    for (double began = now_us(); atomic_load(&busy); poll(NULL, 0, 1)) {
        if (now_us() - began < LOAD_US)
            continue;
        fprintf(stderr, "a load took over %.0f s: the machine is too busy\n", LOAD_US * 1e-6);
        abort();
    }
    return percentile(beside, first_beside, 99) / percentile(alone, first_alone, 99);
}

static void print(const char *what, struct times *times)
{
    double p50 = percentile(times, 0, 50), p99 = percentile(times, 0, 99);
    printf("%-28s p50 %7.1f us   p99 %7.1f us   (%u)\n", what, p50, p99, times->count);
}

void bench_isolation(const struct agent *of)
{
    struct times alone = {.us = calloc(MAX_TIMES, sizeof(double))};
    struct times beside = {.us = calloc(MAX_TIMES, sizeof(double))};
    double ratios[ROUNDS];
    pthread_t loader;
    size_t bytes;
    agent = of;
    if (!alone.us || !beside.us || pthread_create(&loader, NULL, loader_main, NULL) != 0)
        abort();
    int fd = wire_connect(agent);
    uint8_t *frame = wire_infer_frame("a", 1, 1, 1, &bytes);
    for (unsigned i = 0; i < ROUNDS; i++)
        ratios[i] = run_round(fd, frame, bytes, &alone, &beside);
    atomic_store(&stopping, true);
    pthread_join(loader, NULL);
    print("model a alone", &alone);
    print("a while b loads", &beside);
    sort_times(ratios, ROUNDS);
    printf("%u loads of 25 M parameters    p99 over that alone, of %u rounds: median %.2f, least "
           "%.2f, most %.2f\n",
           atomic_load(&loads), ROUNDS, ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    free(frame);
    free(alone.us);
    free(beside.us);
    close(fd);
}
