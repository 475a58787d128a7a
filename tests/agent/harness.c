#include "tests/agent/harness.h"

#include "tests/agent/models.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* not a measure of speed: a bound on hanging */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ck_assert_uint_lt(strlen(path), sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

void agent_write_config(const struct agent *agent, const char *extra)
{
    char next[160];
    snprintf(next, sizeof(next), "%s.next", agent->config);
    FILE *file = fopen(next, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "socket: {path: %s}\nmodel_directory: %s\nwatch_delay: %s\nlog_level: debug\n%s",
            agent->socket, agent->models, agent->watches ? "50ms" : "60s", extra);
    fclose(file);
    ck_assert_int_eq(rename(next, agent->config), 0);
}

void agent_prepare(struct agent *agent, const char *extra)
{
    *agent = (struct agent){.folder = "/tmp/legonetd-test-XXXXXX", .watches = agent->watches};
    ck_assert_ptr_nonnull(mkdtemp(agent->folder));
    snprintf(agent->socket, sizeof(agent->socket), "%s/s", agent->folder);
    snprintf(agent->log, sizeof(agent->log), "%s/log", agent->folder);
    snprintf(agent->models, sizeof(agent->models), "%s/models", agent->folder);
    char etc[96], notify[96];
    snprintf(etc, sizeof(etc), "%s/etc", agent->folder);
    snprintf(notify, sizeof(notify), "%s/notify", agent->folder);
    snprintf(agent->config, sizeof(agent->config), "%.80s/c.yaml", etc);
    ck_assert_int_eq(mkdir(agent->models, 0700), 0);
    ck_assert_int_eq(mkdir(etc, 0700), 0);
    struct sockaddr_un address = address_of(notify);
    agent->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(agent->notify_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    agent_write_config(agent, extra);
}

const char *agent_model(const struct agent *agent, const char *name)
{
    static char paths[2][160];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof(paths[turn]), "%s/%s", agent->models, name);
    return paths[turn];
}

static int open_listening(const struct agent *agent, int flags)
{
    struct sockaddr_un address = address_of(agent->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);
    return bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64) ? -1 : fd;
}

int agent_listen(struct agent *agent)
{
    int fd = open_listening(agent, SOCK_CLOEXEC);
    ck_assert_int_gt(fd, 3);
    agent->passed_socket = true;
    agent->socket_fd = fd;
    return fd;
}

/* What systemd does for a socket unit. */
static void pass_socket(const struct agent *agent)
{
    char number[16];
    int fd = agent->socket_fd ? agent->socket_fd : open_listening(agent, 0);
    if (fd < 0 || (fd != 3 && dup2(fd, 3) < 0))
        _exit(99);
    snprintf(number, sizeof(number), "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    setenv("LISTEN_FDS", "1", 1);
}

static void become_agent(const struct agent *agent)
{
    char notify[96];
    int log = open(agent->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    snprintf(notify, sizeof(notify), "%.64s/notify", agent->folder);
    setenv("NOTIFY_SOCKET", notify, 1);
    if (agent->watchdog_usec) {
        char pid[16];
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("WATCHDOG_USEC", agent->watchdog_usec, 1);
        setenv("WATCHDOG_PID", pid, 1);
    }
    dup2(log, STDERR_FILENO);
    if (agent->passed_socket)
        pass_socket(agent);
    execl(LEGONETD, LEGONETD, "--config", agent->config, (char *)NULL);
    _exit(98);
}

void agent_start(struct agent *agent, bool ready)
{
    agent->pid = fork();
    ck_assert_int_ge(agent->pid, 0);
    if (agent->pid == 0)
        become_agent(agent);
    if (ready)
        agent_wait_notify(agent, "READY=1", NULL);
}

void agent_wait_notify(struct agent *agent, const char *text, char *buffer)
{
    char message[512];
    for (;;) {
        struct pollfd poll_fd = {.fd = agent->notify_fd, .events = POLLIN};
        ck_assert_msg(poll(&poll_fd, 1, PATIENCE_MS) == 1, "no %s", text);
        ssize_t bytes = recv(agent->notify_fd, message, sizeof(message) - 1, 0);
        ck_assert_int_gt(bytes, 0);
        message[bytes] = '\0';
        if (!strncmp(message, text, strlen(text)))
            break;
    }
    if (buffer)
        memcpy(buffer, message, sizeof(message));
}

void agent_reload(struct agent *agent)
{
    ck_assert_int_eq(kill(agent->pid, SIGHUP), 0);
    agent_wait_notify(agent, "RELOADING=1", NULL);
    agent_wait_notify(agent, "READY=1", NULL);
}

int agent_wait(struct agent *agent)
{
    int status;
    ck_assert_int_eq(waitpid(agent->pid, &status, 0), agent->pid);
    agent->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void print_log(const struct agent *agent)
{
    char line[1024];
    FILE *file = fopen(agent->log, "r");
    while (file && fgets(line, sizeof(line), file))
        fputs(line, stderr);
    if (file)
        fclose(file);
}

void agent_stop(struct agent *agent)
{
    ck_assert_int_eq(kill(agent->pid, SIGTERM), 0);
    int status = agent_wait(agent);
    if (status != 0)
        print_log(agent);
    ck_assert_int_eq(status, 0);
    struct stat info;
    ck_assert(agent->passed_socket || stat(agent->socket, &info) != 0);
    agent_remove(agent);
}

void agent_remove(struct agent *agent)
{
    char command[128];
    close(agent->notify_fd);
    snprintf(command, sizeof(command), "rm -rf %s", agent->folder);
    ck_assert_int_eq(system(command), 0);
}

size_t agent_fd_count(const struct agent *agent)
{
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)agent->pid);
    DIR *folder = opendir(path);
    ck_assert_ptr_nonnull(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

long agent_resident_kib(const struct agent *agent)
{
    char path[64];
    long all = 0, resident = 0;
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)agent->pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%ld %ld", &all, &resident) != 2)
        abort();
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

bool agent_logged(const struct agent *agent, const char *text)
{
    char line[8192];
    bool found = false;
    FILE *file = fopen(agent->log, "r");
    ck_assert_ptr_nonnull(file);
    while (!found && fgets(line, sizeof(line), file))
        found = strstr(line, text) != NULL;
    fclose(file);
    return found;
}

int wire_connect(const struct agent *agent)
{
    struct sockaddr_un address = address_of(agent->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect: %s",
                  strerror(errno));
    return fd;
}

void wire_send(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL);
        ck_assert_msg(sent > 0, "send: %s", strerror(errno));
        at += sent;
        bytes -= (size_t)sent;
    }
}

/* False at the end of the stream. */
static bool receive_all(int fd, uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ck_assert_msg(poll(&poll_fd, 1, PATIENCE_MS) == 1, "no answer");
        ssize_t got = recv(fd, data, bytes, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return false;
        ck_assert_msg(got > 0, "recv: %s", strerror(errno));
        data += got;
        bytes -= (size_t)got;
    }
    return true;
}

Legonet__Response *wire_receive(int fd)
{
    uint8_t header[IPC_FRAME_HEADER_BYTES];
    size_t bytes;
    struct lego_diag diag = LEGO_DIAG_INIT;
    Legonet__Response *response = NULL;
    if (!receive_all(fd, header, sizeof(header)))
        return NULL;
    ck_assert_msg(ipc_frame_length(header, 256u << 20, &bytes, &diag) == LEGO_OK, "%s", diag.text);
    uint8_t *body = malloc(bytes);
    ck_assert_ptr_nonnull(body);
    ck_assert_msg(receive_all(fd, body, bytes), "an answer was cut");
    ck_assert_msg(ipc_response_unpack(body, bytes, &response, &diag) == LEGO_OK, "%s", diag.text);
    free(body);
    return response;
}

void wire_send_request(int fd, const Legonet__Request *request)
{
    uint8_t *frame = NULL;
    size_t bytes;
    ck_assert_int_eq(ipc_frame_pack(&request->base, 256u << 20, &frame, &bytes, NULL), LEGO_OK);
    wire_send(fd, frame, bytes);
    free(frame);
}

Legonet__Response *wire_call(int fd, const Legonet__Request *request)
{
    wire_send_request(fd, request);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->id, request->id);
    return response;
}

Legonet__Response *wire_expect(int fd, const Legonet__Request *request, int status)
{
    Legonet__Response *response = wire_call(fd, request);
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "%s, not %s: %s",
                  lego_status_name(ipc_status_from_wire(response->status)),
                  lego_status_name(status), response->message);
    ck_assert_msg((status == LEGO_OK) == (response->message[0] == '\0'), "message \"%s\"",
                  response->message);
    return response;
}

void wire_infer_input(uint32_t seed, uint32_t rows, float *ret_values)
{
    uint32_t state = seed * 2654435761u + 12345;
    for (uint32_t i = 0; i < rows * TINY_INPUTS; i++) {
        state = state * 1664525 + 1013904223;
        ret_values[i] = (float)(state >> 16) / 32768.0f - 1.0f;
    }
}

typedef Inference__ModelInferRequest__ParametersEntry parameter_entry;

static void add_parameter(Inference__ModelInferRequest *infer, parameter_entry *entry,
                          Inference__InferParameter *value, const char *key)
{
    inference__model_infer_request__parameters_entry__init(entry);
    inference__infer_parameter__init(value);
    entry->key = (char *)(uintptr_t)key;
    entry->value = value;
    infer->parameters[infer->n_parameters++] = entry;
}

static void add_number(Inference__ModelInferRequest *infer, parameter_entry *entry,
                       Inference__InferParameter *value, const char *key, int64_t number)
{
    if (!number)
        return;
    add_parameter(infer, entry, value, key);
    value->parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
    value->int64_param = number;
}

uint8_t *wire_infer_frame(const char *model, uint64_t id, uint32_t seed, uint32_t rows,
                          size_t *ret_bytes)
{
    return wire_schedule_frame(model, id, seed, rows, &(struct wire_schedule){0}, ret_bytes);
}

void wire_cancel(int fd, uint64_t id, uint64_t target)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__CancelRequest cancel = LEGONET__CANCEL_REQUEST__INIT;
    request.id = id;
    request.call_case = LEGONET__REQUEST__CALL_CANCEL;
    request.cancel = &cancel;
    cancel.id = target;
    wire_send_request(fd, &request);
}

uint8_t *wire_schedule_frame(const char *model, uint64_t id, uint32_t seed, uint32_t rows,
                             const struct wire_schedule *schedule, size_t *ret_bytes)
{
    static char name[] = "x", datatype[] = "FP32";
    char text[32];
    float *values = calloc(rows * TINY_INPUTS + 1u, sizeof(float));
    int64_t shape[] = {rows, TINY_INPUTS};
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelInferRequest infer = INFERENCE__MODEL_INFER_REQUEST__INIT;
    Inference__ModelInferRequest__InferInputTensor tensor =
        INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT;
    Inference__ModelInferRequest__InferInputTensor *tensors[] = {&tensor};
    ProtobufCBinaryData raw = {rows * TINY_INPUTS * sizeof(float), (uint8_t *)values};
    wire_infer_input(seed, rows, values);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    request.id = id;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    request.model_infer = &infer;
    infer.model_name = (char *)(uintptr_t)model;
    infer.id = text;
    infer.n_inputs = 1;
    infer.inputs = tensors;
    infer.n_raw_input_contents = 1;
    infer.raw_input_contents = &raw;
    tensor.name = name;
    tensor.datatype = datatype;
    tensor.n_shape = 2;
    tensor.shape = shape;
    parameter_entry entries[3], *list[3];
    Inference__InferParameter parameters[3];
    infer.parameters = list;
    add_number(&infer, &entries[0], &parameters[0], "priority", schedule->priority);
    add_number(&infer, &entries[1], &parameters[1], "timeout", schedule->timeout_us);
    if (schedule->stream) {
        add_parameter(&infer, &entries[2], &parameters[2], "stream");
        parameters[2].parameter_choice_case =
            INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
        parameters[2].string_param = (char *)(uintptr_t)schedule->stream;
    }
    uint8_t *frame = NULL;
    ck_assert_int_eq(ipc_frame_pack(&request.base, 256u << 20, &frame, ret_bytes, NULL), LEGO_OK);
    free(values);
    return frame;
}

Legonet__Response *wire_load(int fd, bool load, const char *model)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__RepositoryModelLoadRequest loading = INFERENCE__REPOSITORY_MODEL_LOAD_REQUEST__INIT;
    Inference__RepositoryModelUnloadRequest unloading =
        INFERENCE__REPOSITORY_MODEL_UNLOAD_REQUEST__INIT;
    request.id = 4711;
    loading.model_name = unloading.model_name = (char *)(uintptr_t)model;
    if (load) {
        request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD;
        request.repository_model_load = &loading;
    } else {
        request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_UNLOAD;
        request.repository_model_unload = &unloading;
    }
    return wire_call(fd, &request);
}

void wire_rollback(int fd, const char *model, int status)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RepositoryModelRollbackRequest rollback =
        LEGONET__REPOSITORY_MODEL_ROLLBACK_REQUEST__INIT;
    request.id = 4713;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_ROLLBACK;
    request.repository_model_rollback = &rollback;
    rollback.model_name = (char *)(uintptr_t)model;
    ipc_response_free(wire_expect(fd, &request, status));
}

void wire_index(int fd, const char *model, char *state, char *reason, size_t bytes)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__RepositoryIndexRequest index = INFERENCE__REPOSITORY_INDEX_REQUEST__INIT;
    request.id = 4712;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_INDEX;
    request.repository_index = &index;
    Legonet__Response *response = wire_expect(fd, &request, LEGO_OK);
    state[0] = reason[0] = '\0';
    for (size_t i = 0; i < response->repository_index->n_models; i++) {
        const Inference__RepositoryIndexResponse__ModelIndex *entry =
            response->repository_index->models[i];
        if (strcmp(entry->name, model))
            continue;
        snprintf(state, bytes, "%s", entry->state);
        snprintf(reason, bytes, "%s", entry->reason);
    }
    ipc_response_free(response);
}

void wire_expect_alive(const struct agent *agent)
{
    size_t bytes;
    int fd = wire_connect(agent);
    uint8_t *frame = wire_infer_frame("tiny", 1, 1, 1, &bytes);
    wire_send(fd, frame, bytes);
    free(frame);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_msg(response->status == LEGONET__STATUS__OK, "%s", response->message);
    ck_assert_uint_eq(response->model_infer->raw_output_contents[0].len,
                      TINY_OUTPUTS * sizeof(float));
    ipc_response_free(response);
    close(fd);
}
