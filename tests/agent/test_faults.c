/* What goes wrong around the agent: it is killed, memory runs out, the clock jumps. */
#include "tests/agent/faults.h"
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "agent/runtime/legonet.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS     4
#define KILLS       8
#define BETWEEN     200 /* answers from one kill to the next */
#define KINDS       16
#define JUMP_S      (10 * 365 * 86400)
#define PATIENCE_MS 60000

static struct agent agent;
static float expected[KINDS][TINY_OUTPUTS];
static atomic_uint answered, refused, lost;
static atomic_bool stop_clients;

/* For threads, which cannot end a test. */
#define DIE(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort())

/* What a session of this process answers. */
static void expect_from(const char *path)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_model *model;
    struct lego_session *session;
    const struct lego_session_options options = {.threads = 1};
    ck_assert_msg(!lego_model_open(path, NULL, &model, &diag), "%s", diag.text);
    ck_assert_int_eq(lego_session_create(model, &options, &session, &diag), LEGO_OK);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        float input[TINY_INPUTS];
        wire_infer_input(kind, 1, input);
        struct lego_io in = {.dtype = LEGO_DTYPE_FLOAT32,
                             .shape = {.rank = 2, .dim = {1, TINY_INPUTS}},
                             .data = input,
                             .bytes = sizeof(input)};
        struct lego_io out = {.data = expected[kind], .bytes = sizeof(expected[kind])};
        ck_assert_msg(!lego_session_run(session, &in, 1, &out, 1, &diag), "%s", diag.text);
    }
    lego_session_destroy(session);
    lego_model_close(model);
}

/* -1 where the agent takes nobody just now. */
static int try_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, agent.socket, strlen(agent.socket));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        abort();
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool receive_all(int fd, uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        struct pollfd state = {.fd = fd, .events = POLLIN};
        if (poll(&state, 1, PATIENCE_MS) != 1)
            DIE("neither answered nor closed");
        ssize_t got = recv(fd, data, bytes, 0);
        if (got <= 0)
            return false;
        data += got;
        bytes -= (size_t)got;
    }
    return true;
}

/* The answer, NULL where the connection ended before it was whole. */
static Legonet__Response *try_exchange(int fd, const uint8_t *frame, size_t bytes)
{
    uint8_t header[IPC_FRAME_HEADER_BYTES], body[4096];
    size_t length = 0;
    Legonet__Response *response = NULL;
    if (send(fd, frame, bytes, MSG_NOSIGNAL) != (ssize_t)bytes ||
        !receive_all(fd, header, sizeof(header)))
        return NULL;
    if (ipc_frame_length(header, sizeof(body), &length, NULL) != LEGO_OK)
        DIE("a frame of %zu bytes", length);
    if (receive_all(fd, body, length) && ipc_response_unpack(body, length, &response, NULL))
        DIE("an answer that is none");
    return response;
}

/* Counts an answer; one that is wrong ends the test. */
static void count(const Legonet__Response *response, uint64_t id, uint32_t kind)
{
    if (response->status != LEGONET__STATUS__OK) {
        if (response->id != id && response->id != 0)
            DIE("%s to %u, not %u", response->message, (unsigned)response->id, (unsigned)id);
        atomic_fetch_add(&refused, 1);
        return;
    }
    if (response->id != id || !response->model_infer ||
        response->model_infer->n_raw_output_contents != 1 ||
        response->model_infer->raw_output_contents[0].len != sizeof(expected[kind]) ||
        memcmp(response->model_infer->raw_output_contents[0].data, expected[kind],
               sizeof(expected[kind])) != 0)
        DIE("a wrong answer");
    atomic_fetch_add(&answered, 1);
}

/* Asks again and again, and connects anew where the agent has gone. */
static void *client_main(void *argument)
{
    (void)argument;
    int fd = -1;
    for (uint64_t id = 1; !atomic_load(&stop_clients); id++) {
        uint32_t kind = (uint32_t)id % KINDS;
        size_t bytes;
        while (fd < 0 && (fd = try_connect()) < 0)
            poll(NULL, 0, 1);
        uint8_t *frame = wire_infer_frame("m", id, kind, 1, &bytes);
        Legonet__Response *response = try_exchange(fd, frame, bytes);
        free(frame);
        if (response) {
            count(response, id, kind);
            ipc_response_free(response);
            continue;
        }
        atomic_fetch_add(&lost, 1);
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static pthread_t clients[CLIENTS];

static void start_clients(void)
{
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&clients[i], NULL, client_main, NULL), 0);
}

static void join_clients(void)
{
    atomic_store(&stop_clients, true);
    for (int i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(pthread_join(clients[i], NULL), 0);
}

static void wait_for(atomic_uint *counter, unsigned more)
{
    unsigned goal = atomic_load(counter) + more;
    for (unsigned i = 0; atomic_load(counter) < goal; i++) {
        ck_assert_msg(i < PATIENCE_MS, "%u of %u", atomic_load(counter), goal);
        poll(NULL, 0, 1);
    }
}

static void prepare(const char *extra)
{
    agent_prepare(&agent, extra);
    model_coded(agent_model(&agent, "m.lego"), 1);
    model_tiny(agent_model(&agent, "tiny.lego"), 2);
    expect_from(agent_model(&agent, "m.lego"));
}

/* Under a socket that outlives it, as systemd's: clients lose at most what was under way. */
START_TEST(a_killed_agent_is_succeeded)
{
    prepare("engines: {count: 2, threads: 1}\n");
    int listening = agent_listen(&agent);
    agent_start(&agent, true);
    start_clients();
    for (int i = 0; i < KILLS; i++) {
        wait_for(&answered, BETWEEN);
        ck_assert_int_eq(kill(agent.pid, SIGKILL), 0);
        ck_assert_int_eq(agent_wait(&agent), -SIGKILL);
        agent_start(&agent, true);
    }
    wait_for(&answered, BETWEEN);
    join_clients();
    printf("%u answers, %u connections lost by %d kills\n", atomic_load(&answered),
           atomic_load(&lost), KILLS);
    ck_assert_uint_eq(atomic_load(&refused), 0);
    /* Each client has one request under way, and may meet a socket whose agent dies before it is
     * taken: twice a kill is the most. */
    ck_assert_uint_le(atomic_load(&lost), 2 * CLIENTS * KILLS);
    wire_expect_alive(&agent);
    agent_stop(&agent);
    close(listening);
}
END_TEST

static struct faults *faults;

/* Starts the agent with the library; false where that cannot be (an emulator, a sanitizer). */
static bool start_with_faults(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/faults", agent.folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, sizeof(*faults)), 0);
    faults = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(faults, MAP_FAILED);
    close(fd);
    setenv(FAULTS_ENV, path, 1);
    setenv("LD_PRELOAD", FAULTS_LIBRARY, 1);
    agent_start(&agent, true);
    unsetenv("LD_PRELOAD");
    if (atomic_load(&faults->loaded))
        return true;
    printf("skipped: the agent does not load %s\n", FAULTS_LIBRARY);
    agent_stop(&agent);
    return false;
}

/* What the agent tells systemd is taken, or it would wait for systemd. */
static void take_notifications(void)
{
    char message[512];
    while (recv(agent.notify_fd, message, sizeof(message), MSG_DONTWAIT) > 0) {
    }
}

/* One of 300, then one of 30 allocations fails, while clients ask and models are loaded. */
START_TEST(memory_runs_out)
{
    static const unsigned rates[] = {300, 30};
    prepare("engines: {count: 2, threads: 1}\n");
    if (!start_with_faults())
        return;
    wire_expect_alive(&agent);
    size_t files = agent_fd_count(&agent);
    start_clients();
    wait_for(&answered, BETWEEN);
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
        atomic_store(&faults->rate, rates[i]);
        for (int round = 0; round < 20; round++) {
            unsigned before = atomic_load(&faults->failed);
            ck_assert_int_eq(kill(agent.pid, SIGHUP), 0);
            for (int wait = 0; wait < PATIENCE_MS && atomic_load(&faults->failed) < before + 10;
                 wait++) {
                take_notifications();
                poll(NULL, 0, 1);
            }
            ck_assert_msg(waitpid(agent.pid, NULL, WNOHANG) == 0, "the agent has ended");
        }
    }
    atomic_store(&faults->rate, 0);
    wait_for(&answered, BETWEEN);
    join_clients();
    printf("%u allocations failed; %u answers, %u refused, %u connections lost\n",
           atomic_load(&faults->failed), atomic_load(&answered), atomic_load(&refused),
           atomic_load(&lost));
    ck_assert_uint_ge(atomic_load(&faults->failed), 400);
    take_notifications();
    agent_reload(&agent);
    wire_expect_alive(&agent);
    for (int i = 0; i < 1000 && agent_fd_count(&agent) > files;
         i++) /* clients' ends are noticed soon */
        poll(NULL, 0, 10);
    ck_assert_uint_le(agent_fd_count(&agent), files);
    agent_stop(&agent);
}
END_TEST

/* The hour of the day is nothing that the agent waits by. */
START_TEST(clock_jumps_disturb_nothing)
{
    prepare("limits: {stall: 5min}\n");
    if (!start_with_faults())
        return;
    start_clients();
    int fd = wire_connect(&agent);
    for (int i = 0; i < 40; i++) {
        const struct wire_schedule schedule = {.timeout_us = 600000000};
        size_t bytes;
        uint8_t *frame = wire_schedule_frame("m", 1, 1, 1, &schedule, &bytes);
        atomic_store(&faults->jump_s, i % 4 == 0 ? JUMP_S : i % 4 == 2 ? -JUMP_S : 0);
        wire_send(fd, frame, bytes);
        free(frame);
        Legonet__Response *response = wire_receive(fd);
        ck_assert_ptr_nonnull(response);
        ck_assert_int_eq(response->status, LEGONET__STATUS__OK);
        ipc_response_free(response);
        wait_for(&answered, 5);
    }
    join_clients();
    ck_assert_uint_eq(atomic_load(&refused), 0);
    ck_assert_uint_eq(atomic_load(&lost), 0);
    close(fd);
    agent_stop(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tests = tcase_create("faults");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_killed_agent_is_succeeded);
    tcase_add_test(tests, memory_runs_out);
    tcase_add_test(tests, clock_jumps_disturb_nothing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
