/*
 * Prints, for one trivial model: the round trip of one request at a time (median, 99th percentile),
 * the same for bare bytes over a socket pair, requests a second of several pipelining clients, how
 * evenly busy clients are served, memory with many idle ones, and what one model notices of another
 * that is loaded.
 * usage: agent_bench [REQUESTS [CLIENTS]]; CK_RUN_CASE=round_trip, clients or isolation in the
 * environment: only that.
 */
#include "tests/agent/bench_isolation.h"
#include "tests/agent/bench_times.h"
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 64
#define MAX_IDLE    10000
#define FAIR_MS     1000
#define WINDOW      24 /* requests under way of a pipelining client */

static struct agent agent;
static unsigned requests = 20000, clients = 4;

static double print_times(const char *what, double *times, unsigned count)
{
    sort_times(times, count);
    printf("%-28s p50 %7.1f us   p99 %7.1f us\n", what, times[count / 2], times[count * 99 / 100]);
    return times[count / 2];
}

static void exchange(int fd, const uint8_t *frame, size_t bytes)
{
    wire_send(fd, frame, bytes);
    ipc_response_free(wire_receive(fd));
}

/* The least that a client can do: one blocking read for an answer that comes in one piece. */
static void exchange_small(int fd, const uint8_t *frame, size_t bytes)
{
    uint8_t answer[4096];
    size_t body = 0;
    Legonet__Response *response = NULL;
    if (send(fd, frame, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        abort();
    ssize_t got = recv(fd, answer, sizeof(answer), 0);
    if (got <= IPC_FRAME_HEADER_BYTES ||
        ipc_frame_length(answer, sizeof(answer), &body, NULL) != LEGO_OK ||
        (size_t)got != IPC_FRAME_HEADER_BYTES + body ||
        ipc_response_unpack(answer + IPC_FRAME_HEADER_BYTES, body, &response, NULL) != LEGO_OK ||
        response->status != LEGONET__STATUS__OK)
        abort();
    ipc_response_free(response);
}

/* A process that sends back what it gets; returns the other end. */
static int start_echo(pid_t *ret_pid)
{
    int pair[2];
    char data[64];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        abort();
    *ret_pid = fork();
    if (*ret_pid == 0) {
        close(pair[0]);
        for (ssize_t n; (n = recv(pair[1], data, sizeof(data), 0)) > 0;)
            if (send(pair[1], data, (size_t)n, MSG_NOSIGNAL) != n)
                break;
        _exit(0);
    }
    close(pair[1]);
    return pair[0];
}

static void exchange_echo(int fd)
{
    char data[64] = {0};
    if (send(fd, data, sizeof(data), 0) != sizeof(data) ||
        recv(fd, data, sizeof(data), MSG_WAITALL) != sizeof(data))
        abort();
}

/* In turns, a hundred each: what else the machine does hits both alike. */
static void bench_round_trip(double *times, double *echo_times)
{
    size_t bytes;
    pid_t pid;
    int echo = start_echo(&pid), fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    for (unsigned i = 0; i < requests;) {
        unsigned end = requests - i < 100 ? requests : i + 100;
        for (unsigned k = i; k < end; k++) {
            double start = now_us();
            exchange_echo(echo);
            echo_times[k] = now_us() - start;
        }
        for (; i < end; i++) {
            double start = now_us();
            exchange_small(fd, frame, bytes);
            times[i] = now_us() - start;
        }
    }
    double bare = print_times("socket pair, 64 bytes", echo_times, requests);
    double whole = print_times("agent, one at a time", times, requests);
    printf("%-28s %.2f\n", "ratio of the medians", whole / bare);
    free(frame);
    close(fd);
    close(echo);
    waitpid(pid, NULL, 0);
}

static void *pipeline(void *argument)
{
    (void)argument;
    size_t bytes;
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    for (unsigned i = 0; i < requests + WINDOW; i++) {
        if (i < requests)
            wire_send(fd, frame, bytes);
        if (i >= WINDOW)
            ipc_response_free(wire_receive(fd));
    }
    free(frame);
    close(fd);
    return NULL;
}

static void bench_pipeline(unsigned count)
{
    pthread_t threads[MAX_CLIENTS];
    double start = now_us();
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, pipeline, NULL) != 0)
            abort();
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("%u pipelining clients         %.0f requests/s\n", count,
           (double)requests * count / (now_us() - start) * 1e6);
}

/* Connections that do nothing, as many as this process may have descriptors for. */
static void bench_idle(void)
{
    static int fds[MAX_IDLE];
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    unsigned count = limit.rlim_cur > MAX_IDLE + 64 ? MAX_IDLE : (unsigned)limit.rlim_cur - 64;
    long before = agent_resident_kib(&agent);
    for (unsigned i = 0; i < count; i++)
        fds[i] = wire_connect(&agent);
    wire_expect_alive(&agent); /* accepted after all of them */
    printf("%u idle connections       %.1f MB resident, %.1f before\n", count,
           (double)agent_resident_kib(&agent) / 1024, (double)before / 1024);
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

static atomic_bool fair_stop;

static void *busy_client(void *argument)
{
    size_t bytes;
    int fd = wire_connect(&agent);
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    while (!atomic_load(&fair_stop)) {
        exchange(fd, frame, bytes);
        ++*(unsigned *)argument;
    }
    free(frame);
    close(fd);
    return NULL;
}

static void bench_fairness(void)
{
    pthread_t threads[MAX_CLIENTS];
    static unsigned answers[MAX_CLIENTS];
    unsigned least = UINT_MAX, most = 0;
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        if (pthread_create(&threads[i], NULL, busy_client, &answers[i]) != 0)
            abort();
    poll(NULL, 0, FAIR_MS);
    atomic_store(&fair_stop, true);
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        least = answers[i] < least ? answers[i] : least;
        most = answers[i] > most ? answers[i] : most;
    }
    printf("%u busy clients              %u to %u answers each (%.2f)\n", MAX_CLIENTS, least, most,
           (double)most / least);
}

static void start_tiny(void)
{
    agent_prepare(&agent, "engines: {threads: 1}\nlimits: {connections: 20000}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    agent_start(&agent, true);
}

START_TEST(round_trip)
{
    double *times = calloc(requests, 2 * sizeof(*times));
    ck_assert_ptr_nonnull(times);
    start_tiny();
    bench_round_trip(times, times + requests);
    agent_stop(&agent);
    free(times);
}
END_TEST

START_TEST(many_clients)
{
    start_tiny();
    bench_pipeline(1);
    bench_pipeline(clients);
    bench_fairness();
    bench_idle();
    agent_stop(&agent);
}
END_TEST

/* 4 layers of 2,500 x 2,500. */
START_TEST(isolation)
{
    static const char *const priorities[] = {"low", "normal", "idle"};
    char extra[128];
    snprintf(extra, sizeof(extra), "engines: {count: 1, threads: 1}\nloading: {priority: %s}\n",
             priorities[_i]);
    printf("loading.priority: %s\n", priorities[_i]);
    agent_prepare(&agent, extra);
    model_large(agent_model(&agent, "a.lego"), 256, 2);
    model_large(agent_model(&agent, "b.lego"), 2500, 4);
    agent_start(&agent, true);
    bench_isolation(&agent);
    agent_stop(&agent);
}
END_TEST

static void add_part(Suite *suite, const char *name, const TTest *part, int turns)
{
    TCase *bench = tcase_create(name);
    tcase_set_timeout(bench, 600);
    tcase_add_loop_test(bench, part, 0, turns);
    suite_add_tcase(suite, bench);
}

/* The harness reports by Check, so this is a test in form. */
int main(int argc, char **argv)
{
    if (argc > 1)
        requests = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        clients = (unsigned)strtoul(argv[2], NULL, 10);
    if (requests == 0 || clients == 0 || clients > MAX_CLIENTS)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    Suite *suite = suite_create("bench");
    add_part(suite, "round_trip", round_trip, 1);
    add_part(suite, "clients", many_clients, 1);
    add_part(suite, "isolation", isolation, 3);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
