/*
 * A soak: paced clients keep the agent at a share of what it can do while its model is switched
 * every ten seconds; memory, descriptors and latency must stay flat.
 * usage: agent_soak [SECONDS [PERCENT]]   (default: 300 s at 80 %)
 *
 * Latencies count from the time at which a request was due, not from when it was sent, so that a
 * pause shows in all the requests that it delays. A window is the time between two switches; the
 * first two are left out, as the version that is kept to go back to comes with them. Flat: in the
 * last third of the windows the least memory is at most 2 % above that of the first third (what is
 * over it are pages of files that a switch maps for a while), the median of the descriptors the
 * same, and the median of the p99 at most half above; where few windows make a third, whose p99 is
 * what the machine's other work makes it, that of the p50 at most three times as much. Where the
 * machine had less for the agent than when its capacity was measured, so that more than a tenth of
 * the windows fell behind the pace, latency says nothing, and is not judged.
 */
#include "tests/agent/bench_times.h"
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS      4
#define WINDOW_MS    10000
#define CAPACITY_MS  4000
#define MAX_WINDOWS  10000
#define MAX_TIMES    200000u /* of one client in one window */
#define WIDTH        512
#define LAYERS       4  /* and one more, in turns */
#define WARM_WINDOWS 2  /* that are not judged */
#define LEAST_JUDGED 9  /* fewer windows have no thirds that say anything */
#define FEW_WINDOWS  30 /* in a third */

static struct agent agent;
static unsigned seconds = 300, percent = 80;
static atomic_bool stop;
static double period_us; /* of one client; 0: as fast as it goes */

struct client {
    pthread_t thread;
    pthread_mutex_t mutex;
    double *times; /* of this window */
    unsigned count;
    uint64_t answers;
};

static struct client clients[CLIENTS];

struct window {
    double p50, p99;
    long kib;
    unsigned files, answers;
};

static struct window windows[MAX_WINDOWS];
static unsigned window_count;

static void *client_main(void *argument)
{
    struct client *client = argument;
    size_t bytes;
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("m", 1, 1, 1, &bytes);
    double due = now_us();
    while (!atomic_load(&stop)) {
        double now = now_us();
        if (now < due) {
            const struct timespec wait = {.tv_nsec = (long)((due - now) * 1e3)};
            nanosleep(&wait, NULL);
        }
        wire_send(fd, frame, bytes);
        Legonet__Response *response = wire_receive(fd);
        if (!response || response->status != LEGONET__STATUS__OK) {
            fprintf(stderr, "a request failed: %s\n", response ? response->message : "closed");
            abort();
        }
        ipc_response_free(response);
        pthread_mutex_lock(&client->mutex);
        if (client->count < MAX_TIMES)
            client->times[client->count++] = now_us() - due;
        client->answers++;
        pthread_mutex_unlock(&client->mutex);
        due = period_us > 0 ? due + period_us : now_us();
    }
    free(frame);
    close(fd);
    return NULL;
}

static void start_clients(double period)
{
    period_us = period;
    atomic_store(&stop, false);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].count = 0;
        clients[i].answers = 0;
        if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
            abort();
    }
}

static uint64_t stop_clients(void)
{
    uint64_t answers = 0;
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        answers += clients[i].answers;
    }
    return answers;
}

/* What the clients have seen since the last window. */
static void take_window(void)
{
    static double all[CLIENTS * MAX_TIMES];
    unsigned count = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_mutex_lock(&clients[i].mutex);
        memcpy(all + count, clients[i].times, clients[i].count * sizeof(double));
        count += clients[i].count;
        clients[i].count = 0;
        pthread_mutex_unlock(&clients[i].mutex);
    }
    if (count == 0)
        abort();
    sort_times(all, count);
    struct window *window = &windows[window_count++];
    *window = (struct window){.p50 = all[count / 2],
                              .p99 = all[(uint64_t)count * 99 / 100],
                              .kib = agent_resident_kib(&agent),
                              .files = (unsigned)agent_fd_count(&agent),
                              .answers = count};
    printf("%6u s  p50 %8.1f us  p99 %8.1f us  %7u answers  %6ld KiB  %3u descriptors\n",
           window_count * WINDOW_MS / 1000, window->p50, window->p99, count, window->kib,
           window->files);
    fflush(stdout);
}

static void switch_model(unsigned turn)
{
    char next[160], path[160];
    snprintf(next, sizeof(next), "%s/next", agent.models);
    snprintf(path, sizeof(path), "%s/m.lego", agent.models);
    model_large(next, WIDTH, LAYERS + turn % 2); /* another file, another size */
    if (rename(next, path) != 0)
        abort();
    agent_reload(&agent);
}

/* The median of a third of the windows, or its least: 0 the first third, 2 the last. */
static double third(unsigned which, double (*value)(const struct window *window), bool least)
{
    static double values[MAX_WINDOWS];
    unsigned count = (window_count - WARM_WINDOWS) / 3;
    unsigned first = which == 0 ? WARM_WINDOWS : window_count - count;
    for (unsigned i = 0; i < count; i++)
        values[i] = value(&windows[first + i]);
    sort_times(values, count);
    return values[least ? 0 : count / 2];
}

static double kib_of(const struct window *window)
{
    return (double)window->kib;
}

static double files_of(const struct window *window)
{
    return window->files;
}

static double p50_of(const struct window *window)
{
    return window->p50;
}

static double p99_of(const struct window *window)
{
    return window->p99;
}

static bool few_windows(void)
{
    return (window_count - WARM_WINDOWS) / 3 < FEW_WINDOWS;
}

/* Whether the machine let the agent answer what was asked. */
static bool kept_pace(double answers_a_window)
{
    unsigned behind = 0;
    for (unsigned i = 0; i < window_count; i++)
        behind += windows[i].answers < 0.98 * answers_a_window;
    if (behind * 10 > window_count)
        printf("%u of %u windows fell behind the pace: latency is not judged\n", behind,
               window_count);
    return behind * 10 <= window_count;
}

static bool report(const char *what, double (*value)(const struct window *window), bool least,
                   double most)
{
    double first = third(0, value, least), last = third(2, value, least);
    bool flat = last <= first * most;
    printf("%-12s first third %10.1f, last third %10.1f: %.3f, at most %.2f: %s\n", what, first,
           last, last / first, most, flat ? "flat" : "GROWS");
    fflush(stdout);
    return flat;
}

START_TEST(soak)
{
    agent_prepare(&agent, "engines: {count: 1, threads: 1}\nmemory: {pressure: \"\"}\n");
    /* What it can do is measured with the slower of the two. */
    model_large(agent_model(&agent, "m.lego"), WIDTH, LAYERS + 1);
    agent_start(&agent, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_mutex_init(&clients[i].mutex, NULL);
        clients[i].times = calloc(MAX_TIMES, sizeof(double));
        ck_assert_ptr_nonnull(clients[i].times);
    }
    start_clients(0);
    poll(NULL, 0, CAPACITY_MS);
    double capacity = (double)stop_clients() * 1000 / CAPACITY_MS;
    printf("%.0f requests/s at most; %u %% of them for %u s\n", capacity, percent, seconds);
    start_clients(CLIENTS * 1e6 / (capacity * percent / 100));
    double start = now_us();
    for (unsigned turn = 0; turn < seconds * 1000 / WINDOW_MS && turn < MAX_WINDOWS; turn++) {
        double end = start + (turn + 1) * WINDOW_MS * 1e3;
        switch_model(turn);
        for (double now = now_us(); now < end; now = now_us())
            poll(NULL, 0, (int)((end - now) / 1e3) + 1);
        take_window();
    }
    stop_clients();
    if (window_count >= WARM_WINDOWS + LEAST_JUDGED) {
        bool flat = report("KiB", kib_of, true, 1.02);
        flat = report("descriptors", files_of, false, 1) && flat;
        if (kept_pace(capacity * percent / 100 * WINDOW_MS / 1000))
            flat = (few_windows() ? report("p50 us", p50_of, false, 3)
                                  : report("p99 us", p99_of, false, 1.5)) &&
                   flat;
        ck_assert(flat);
    }
    agent_stop(&agent);
}
END_TEST

/* The harness reports by Check, so this is a test in form. */
int main(int argc, char **argv)
{
    if (argc > 1)
        seconds = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        percent = (unsigned)strtoul(argv[2], NULL, 10);
    if (seconds < WINDOW_MS / 1000 || percent < 1 || percent > 100)
        return 2;
    Suite *suite = suite_create("soak");
    TCase *tests = tcase_create("soak");
    tcase_add_test(tests, soak);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    /* In this process: a test of its own says how long it took in 31 bits of microseconds. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
