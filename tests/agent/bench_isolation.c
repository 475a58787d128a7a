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

#define PHASES    10 /* of each kind, in turns */
#define PHASE_US  600e3
#define MAX_TIMES 1000000u

static const struct agent *agent;
static atomic_bool loading, stopping;
static atomic_uint loads;

struct times {
    double *us;
    unsigned count;
};

static double percentile(const struct times *times, unsigned percent)
{
    return times->us[(uint64_t)times->count * percent / 100];
}

/* Unloads and loads "b" while it is told to. */
static void *loader_main(void *argument)
{
    int fd = wire_connect(agent);
    (void)argument;
    while (!atomic_load(&stopping)) {
        if (!atomic_load(&loading)) {
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

static void run_phase(int fd, const uint8_t *frame, size_t bytes, struct times *times)
{
    double end = now_us() + PHASE_US;
    for (double start = now_us(); start < end && times->count < MAX_TIMES; start = now_us()) {
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        times->us[times->count++] = now_us() - start;
        if (!response || response->status != LEGONET__STATUS__OK)
            abort();
        ipc_response_free(response);
    }
}

static void print(const char *what, struct times *times)
{
    sort_times(times->us, times->count);
    printf("%-28s p50 %7.1f us   p99 %7.1f us   (%u)\n", what, percentile(times, 50),
           percentile(times, 99), times->count);
}

void bench_isolation(const struct agent *of)
{
    struct times alone = {.us = calloc(MAX_TIMES, sizeof(double))};
    struct times beside = {.us = calloc(MAX_TIMES, sizeof(double))};
    pthread_t loader;
    size_t bytes;
    agent = of;
    if (!alone.us || !beside.us || pthread_create(&loader, NULL, loader_main, NULL) != 0)
        abort();
    int fd = wire_connect(agent);
    uint8_t *frame = wire_infer_frame("a", 1, 1, 1, &bytes);
    for (unsigned i = 0; i < 2 * PHASES; i++) {
        atomic_store(&loading, i % 2 == 1);
        run_phase(fd, frame, bytes, i % 2 ? &beside : &alone);
    }
    atomic_store(&stopping, true);
    pthread_join(loader, NULL);
    print("model a alone", &alone);
    print("a while b loads", &beside);
    printf("%u loads of 25 M parameters    ratio of p99 %.2f\n", atomic_load(&loads),
           percentile(&beside, 99) / percentile(&alone, 99));
    free(frame);
    free(alone.us);
    free(beside.us);
    close(fd);
}
