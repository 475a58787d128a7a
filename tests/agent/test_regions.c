/* Memory shared by file descriptor: what goes, and what hostile clients cannot do with it. */
#include "tests/agent/models.h"
#include "tests/agent/wire_regions.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMFD    "memfd:legonet-test"
#define IN_BYTES (TINY_INPUTS * sizeof(float))
#define OUT_AT   4096

static struct agent agent;
static size_t fds_at_start;

static void set_up(void)
{
    agent.watches = false;
    agent_prepare(&agent, "engines: {threads: 1}\n"
                          "limits: {regions: 8, region_memory: 1MiB}\n");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_large(agent_model(&agent, "slow.lego"), 1024, 8);
    agent_start(&agent, true);
    wire_expect_alive(&agent);
    fds_at_start = agent_fd_count(&agent);
}

/* Asks until the agent has taken notice of clients that have gone; bounded, as nothing says when.
 */
static void expect_no_leak(void)
{
    for (int tries = 0; tries < 600; tries++) {
        if (agent_fd_count(&agent) <= fds_at_start && agent_map_count(&agent, MEMFD) == 0)
            return;
        usleep(50000);
    }
    ck_abort_msg("%zu descriptors, %zu at the start; %zu maps", agent_fd_count(&agent),
                 fds_at_start, agent_map_count(&agent, MEMFD));
}

static void tear_down(void)
{
    wire_expect_alive(&agent);
    expect_no_leak();
    agent_stop(&agent);
}

static void expect_status(Legonet__Response *response, int status, const char *text)
{
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "status %d: %s",
                  (int)response->status, response->message);
    ck_assert_msg(strstr(response->message, text), "%s", response->message);
    ipc_response_free(response);
}

static void expect_refused(int fd, int status, const char *text)
{
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    expect_status(response, status, text);
    ck_assert_ptr_null(wire_receive(fd));
    close(fd);
}

/* A sealed memfd with the tiny model's input at its start and room for the output. */
static int frame_memfd(void)
{
    uint8_t page[2 * OUT_AT] = {0};
    float values[TINY_INPUTS];
    wire_infer_input(1, 1, values);
    memcpy(page, values, sizeof(values));
    return region_memfd(page, sizeof(page), F_SEAL_SHRINK | F_SEAL_GROW);
}

START_TEST(tensors_in_regions_are_those_in_frames)
{
    float expected[TINY_OUTPUTS];
    int fd = wire_connect(&agent), memory = frame_memfd();
    Legonet__Response *response = wire_infer_places(fd, &(struct wire_places){0});
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    memcpy(expected, response->model_infer->raw_output_contents[0].data, sizeof(expected));
    ipc_response_free(response);

    wire_register(fd, "frame", memory, 0, true, LEGO_OK, NULL);
    ck_assert_uint_eq(agent_map_count(&agent, MEMFD), 1);
    const struct wire_places both = {
        .in = "frame", .in_bytes = IN_BYTES, .out = "frame", .out_offset = OUT_AT, .out_bytes = -1};
    response = wire_infer_places(fd, &both);
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    ck_assert_uint_eq(response->model_infer->n_raw_output_contents, 1);
    ck_assert_uint_eq(response->model_infer->raw_output_contents[0].len, 0);
    ck_assert_uint_eq(response->model_infer->outputs[0]->n_parameters, 3);
    ck_assert_int_eq(response->model_infer->outputs[0]->parameters[2]->value->int64_param,
                     sizeof(expected));
    ipc_response_free(response);
    float got[TINY_OUTPUTS];
    ck_assert_int_eq(pread(memory, got, sizeof(got), OUT_AT), sizeof(got));
    ck_assert_mem_eq(got, expected, sizeof(got));

    /* What the client writes next is what the next request reads. */
    float zeros[TINY_INPUTS] = {0};
    ck_assert_int_eq(pwrite(memory, zeros, sizeof(zeros), 0), sizeof(zeros));
    ipc_response_free(wire_infer_places(fd, &both));
    ck_assert_int_eq(pread(memory, got, sizeof(got), OUT_AT), sizeof(got));
    ck_assert_mem_ne(got, expected, sizeof(got));

    wire_unregister(fd, "frame", LEGO_OK);
    ck_assert_uint_eq(agent_map_count(&agent, MEMFD), 0);
    wire_unregister(fd, "frame", LEGO_E_NOT_FOUND);
    close(memory);
    close(fd);
}
END_TEST

START_TEST(regions_are_listed_and_belong_to_their_connection)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RegionStatusRequest status = LEGONET__REGION_STATUS_REQUEST__INIT;
    request.id = 5;
    request.call_case = LEGONET__REQUEST__CALL_REGION_STATUS;
    request.region_status = &status;
    int fd = wire_connect(&agent), other = wire_connect(&agent), memory = frame_memfd();
    wire_register(fd, "a", memory, 100, false, LEGO_OK, NULL);
    wire_register(fd, "a", memory, 100, false, LEGO_E_EXISTS, "\"a\" is registered already");
    wire_register(fd, "b", memory, 0, true, LEGO_OK, NULL);
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    ck_assert_uint_eq(response->region_status->n_regions, 2);
    ck_assert_str_eq(response->region_status->regions[0]->name, "a");
    ck_assert_uint_eq(response->region_status->regions[0]->byte_size, 100);
    ck_assert_str_eq(response->region_status->regions[1]->kind, "memfd");
    ck_assert(response->region_status->regions[1]->writable);
    ipc_response_free(response);
    expect_status(wire_infer_places(other, &(struct wire_places){.in = "a", .in_bytes = -1}),
                  LEGO_E_NOT_FOUND, "no region \"a\" is registered");
    wire_unregister(fd, NULL, LEGO_OK);
    response = wire_expect(fd, &request, LEGO_OK);
    ck_assert_uint_eq(response->region_status->n_regions, 0);
    ipc_response_free(response);
    close(memory);
    close(other);
    close(fd);
}
END_TEST

START_TEST(places_outside_of_regions_are_named)
{
    int fd = wire_connect(&agent), memory = frame_memfd();
    wire_register(fd, "r", memory, 0, false, LEGO_OK, NULL);
    static const struct {
        struct wire_places places;
        int status;
        const char *text;
    } cases[] = {
        {{.in = "r", .in_offset = 8193, .in_bytes = -1}, LEGO_E_INVALID, "do not lie in region"},
        {{.in = "r", .in_offset = 8190, .in_bytes = 64}, LEGO_E_INVALID, "do not lie in region"},
        {{.in = "r", .in_offset = 64, .in_bytes = INT64_MAX}, LEGO_E_INVALID, "do not lie"},
        {{.in = "r", .in_offset = -1, .in_bytes = 64}, LEGO_E_INVALID, "an integer from 0 on"},
        {{.in = "r", .in_bytes = 60}, LEGO_E_SHAPE, "60 bytes are given in region"},
        {{.in = "r", .in_offset = 8190, .in_bytes = -1}, LEGO_E_SHAPE, "the shape wants 64"},
        {{.in = "s", .in_bytes = 64}, LEGO_E_NOT_FOUND, "no region \"s\""},
        {{.out = "r", .out_bytes = -1}, LEGO_E_PERMISSION, "not registered as writable"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_status(wire_infer_places(fd, &cases[i].places), cases[i].status, cases[i].text);
    wire_register(fd, "w", memory, 0, true, LEGO_OK, NULL);
    expect_status(
        wire_infer_places(fd, &(struct wire_places){.out = "w", .out_offset = 4, .out_bytes = 8}),
        LEGO_E_LIMIT, "there is room for 8");
    close(memory);
    close(fd);
}
END_TEST

START_TEST(descriptors_that_are_not_shared_memory)
{
    char path[128];
    int pipe_fds[2];
    ck_assert_int_eq(pipe(pipe_fds), 0);
    snprintf(path, sizeof(path), "%s/file", agent.folder);
    int file = open(path, O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDWR);
    int zero = open("/dev/zero", O_RDWR), folder = open(agent.folder, O_RDONLY | O_DIRECTORY);
    int fd = wire_connect(&agent);
    const int others[] = {pipe_fds[0], null, zero, folder, fd};
    ck_assert_int_eq(ftruncate(file, 8192), 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        wire_register(fd, "r", others[i], 0, false, LEGO_E_UNSUPPORTED, "neither a memfd nor");
    /* On a tmpfs a file has seals, but cannot be sealed against shrinking. */
    wire_register(fd, "r", file, 0, false,
                  fcntl(file, F_GET_SEALS) < 0 ? LEGO_E_UNSUPPORTED : LEGO_E_PERMISSION, "region");
    int unsealed = region_memfd(NULL, 8192, 0), empty = region_memfd(NULL, 0, F_SEAL_SHRINK);
    int small = region_memfd(NULL, 100, F_SEAL_SHRINK);
    int huge = region_memfd(NULL, 1 << 21, F_SEAL_SHRINK);
    int fixed = region_memfd(NULL, 8192, F_SEAL_SHRINK | F_SEAL_WRITE);
    wire_register(fd, "r", unsealed, 0, false, LEGO_E_PERMISSION, "F_SEAL_SHRINK");
    wire_register(fd, "r", empty, 0, false, LEGO_E_INVALID, "0 bytes");
    wire_register(fd, "r", small, 101, false, LEGO_E_INVALID, "101 were announced");
    wire_register(fd, "r", huge, 0, false, LEGO_E_LIMIT, "limits.region_memory");
    wire_register(fd, "r", fixed, 0, true, LEGO_E_PERMISSION, "cannot be mapped for writing");
    wire_register(fd, "r", -1, 0, false, LEGO_E_INVALID, "but 0 file descriptors came");
    wire_register(fd, "", small, 0, false, LEGO_E_INVALID, "the name of a region");
    wire_register(fd, "fixed", fixed, 0, false, LEGO_OK, NULL);
    const int all[] = {pipe_fds[0], pipe_fds[1], null,  zero, folder, file,
                       unsealed,    empty,       small, huge, fixed,  fd};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        close(all[i]);
}
END_TEST

START_TEST(regions_are_counted)
{
    int fd = wire_connect(&agent), memory = frame_memfd();
    char name[8] = "r0";
    for (int i = 0; i < 8; i++, name[1]++)
        wire_register(fd, name, memory, 0, false, LEGO_OK, NULL);
    wire_register(fd, name, memory, 0, false, LEGO_E_LIMIT, "limits.regions");
    wire_unregister(fd, "r3", LEGO_OK);
    wire_register(fd, name, memory, 0, false, LEGO_OK, NULL);
    close(memory);
    close(fd);
}
END_TEST

START_TEST(floods_of_descriptors_end_the_connection)
{
    int fds[253], fd = wire_connect(&agent);
    char byte = 1;
    for (size_t i = 0; i < 253; i++)
        fds[i] = STDERR_FILENO;
    wire_send_fds(fd, &byte, 1, fds, 253);
    expect_refused(fd, LEGO_E_LIMIT, "253 file descriptors wait to be registered");
    /* One at a time comes to the same. */
    fd = wire_connect(&agent);
    for (size_t i = 0; i < 9; i++) {
        static const uint8_t half[] = {200, 0, 0, 0, 0, 0, 0, 0, 0};
        wire_send_fds(fd, &half[i], 1, fds, 1);
    }
    expect_refused(fd, LEGO_E_LIMIT, "9 file descriptors wait");
    expect_no_leak();
    /* Those that nobody registers go with the connection. */
    fd = wire_connect(&agent);
    size_t bytes;
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    wire_send_fds(fd, frame, bytes, fds, 3);
    ipc_response_free(wire_receive(fd));
    free(frame);
    close(fd);
}
END_TEST

/* The kernel leaves descriptors out when the receiver has no room for them: MSG_CTRUNC. */
START_TEST(truncated_control_messages_end_the_connection)
{
    int memory = frame_memfd(), fd = wire_connect(&agent);
    wire_register(fd, "before", memory, 0, false, LEGO_OK, NULL);
    /* The agent may open no descriptor more from now on. */
    struct rlimit before, none;
    ck_assert_int_eq(prlimit(agent.pid, RLIMIT_NOFILE, NULL, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    ck_assert_int_eq(prlimit(agent.pid, RLIMIT_NOFILE, &none, NULL), 0);
    char byte = 1;
    wire_send_fds(fd, &byte, 1, &memory, 1);
    expect_refused(fd, LEGO_E_LIMIT, "more file descriptors came");
    ck_assert_int_eq(prlimit(agent.pid, RLIMIT_NOFILE, &before, NULL), 0);
    close(memory);
}
END_TEST

/* A hole may be punched into sealed memory, and its pages may be written while they are read. */
START_TEST(memory_that_changes_while_it_is_read)
{
    int fd = wire_connect(&agent), memory = frame_memfd();
    wire_register(fd, "frame", memory, 0, true, LEGO_OK, NULL);
    pid_t scribbler = fork();
    if (scribbler == 0) {
        for (;;) {
            if (fallocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * OUT_AT))
                _exit(1);
            usleep(100);
        }
    }
    for (int i = 0; i < 200; i++) {
        Legonet__Response *response =
            wire_infer_places(fd, &(struct wire_places){.in = "frame",
                                                        .in_bytes = IN_BYTES,
                                                        .out = "frame",
                                                        .out_offset = OUT_AT,
                                                        .out_bytes = -1});
        ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
        ipc_response_free(response);
    }
    /* Nobody can take the pages themselves away from under the map. */
    ck_assert_int_eq(ftruncate(memory, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    kill(scribbler, SIGKILL);
    ck_assert_int_eq(waitpid(scribbler, NULL, 0), scribbler);
    close(memory);
    close(fd);
}
END_TEST

START_TEST(clients_that_die_with_regions_in_flight)
{
    for (int round = 0; round < 5; round++) {
        int pipe_fds[2];
        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid_t client = fork();
        if (client == 0) {
            size_t bytes;
            int fd = wire_connect(&agent), memory = frame_memfd();
            uint8_t *frame = wire_infer_frame("slow", 1, 1, 8, &bytes);
            wire_register(fd, "frame", memory, 0, true, LEGO_OK, NULL);
            for (int i = 0; i < 4; i++)
                wire_send(fd, frame, bytes);
            ck_assert_int_eq(write(pipe_fds[1], "x", 1), 1);
            pause();
            _exit(0);
        }
        char byte;
        ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
        kill(client, SIGKILL);
        ck_assert_int_eq(waitpid(client, NULL, 0), client);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("regions");
    TCase *tests = tcase_create("regions");
    tcase_set_timeout(tests, 180);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, tensors_in_regions_are_those_in_frames);
    tcase_add_test(tests, regions_are_listed_and_belong_to_their_connection);
    tcase_add_test(tests, places_outside_of_regions_are_named);
    tcase_add_test(tests, descriptors_that_are_not_shared_memory);
    tcase_add_test(tests, regions_are_counted);
    tcase_add_test(tests, floods_of_descriptors_end_the_connection);
    tcase_add_test(tests, truncated_control_messages_end_the_connection);
    tcase_add_test(tests, memory_that_changes_while_it_is_read);
    tcase_add_test(tests, clients_that_die_with_regions_in_flight);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
