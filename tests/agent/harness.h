/*
 * A real legonetd for each test: in a folder of its own, on a private socket, with a private notify
 * socket; and a raw client. All abort the test on failure.
 */
#ifndef LEGO_TESTS_AGENT_HARNESS_H
#define LEGO_TESTS_AGENT_HARNESS_H

#include "agent/proto/frame.h"

#include <stdbool.h>
#include <sys/types.h>

struct agent {
    char folder[64];
    char socket[96], config[96], log[96], models[96];
    pid_t pid;
    int notify_fd;
    bool passed_socket; /* the agent is given a listening socket, as systemd does */
    int socket_fd;      /* that one, where the test holds it (agent_listen); 0: one of its own */
    const char *watchdog_usec;
    bool watches; /* takes up changes of files soon; else only when told to */
};

/* Makes the folder and writes the configuration: `extra` is YAML that is added. All fields but
 * `watches` are set here. */
void agent_prepare(struct agent *agent, const char *extra);
void agent_write_config(const struct agent *agent, const char *extra);
/* Path of a file in the models' folder; valid until the next call but one. */
const char *agent_model(const struct agent *agent, const char *name);
/* A listening socket at the agent's path, the test's; for `socket_fd`, which passes it on. */
int agent_listen(struct agent *agent);
/* Starts the program and, where `ready` is set, waits until it says so. */
void agent_start(struct agent *agent, bool ready);
/* Waits for a notification that begins with `text`, up to 60 s; `buffer` (512 bytes) may be NULL.
 */
void agent_wait_notify(struct agent *agent, const char *text, char *buffer);
/* SIGHUP, and waits for the reload's end. */
void agent_reload(struct agent *agent);
/* Waits for the end; returns the exit status, or -signal. */
int agent_wait(struct agent *agent);
/* SIGTERM, expects a clean end, removes the folder. */
void agent_stop(struct agent *agent);
/* Removes the folder of an agent that has ended. */
void agent_remove(struct agent *agent);
/* Descriptors that the agent has open, and the memory that it holds. */
size_t agent_fd_count(const struct agent *agent);
long agent_resident_kib(const struct agent *agent);
/* True where the log holds that text. */
bool agent_logged(const struct agent *agent, const char *text);

/* ---- The raw client ---- */

int wire_connect(const struct agent *agent);
void wire_send(int fd, const void *data, size_t bytes);
/* The next answer, within 60 s; NULL where the agent has closed the connection. */
Legonet__Response *wire_receive(int fd);
void wire_send_request(int fd, const Legonet__Request *request);
Legonet__Response *wire_call(int fd, const Legonet__Request *request);

/* An inference of the test models: `rows` rows of inputs made from `seed`. The frame is malloc'ed.
 */
uint8_t *wire_infer_frame(const char *model, uint64_t id, uint32_t seed, uint32_t rows,
                          size_t *ret_bytes);
/* The same with parameters: 0 and NULL leave one out. */
struct wire_schedule {
    int64_t priority, timeout_us;
    const char *stream;
};
uint8_t *wire_schedule_frame(const char *model, uint64_t id, uint32_t seed, uint32_t rows,
                             const struct wire_schedule *schedule, size_t *ret_bytes);
/* A cancellation of `target`. */
void wire_cancel(int fd, uint64_t id, uint64_t target);
void wire_infer_input(uint32_t seed, uint32_t rows, float *ret_values);

/* Asks for an empty-parameter call and checks the status. */
Legonet__Response *wire_expect(int fd, const Legonet__Request *request, int status);
/* Loads or unloads a model. */
Legonet__Response *wire_load(int fd, bool load, const char *model);
/* Rolls a model back; the agent must answer with that status. */
void wire_rollback(int fd, const char *model, int status);
/* State and reason of a model in the index; "" where it is not listed. */
void wire_index(int fd, const char *model, char *state, char *reason, size_t bytes);
/* One good inference of "tiny": the agent lives. */
void wire_expect_alive(const struct agent *agent);

#endif
