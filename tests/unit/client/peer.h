/*
 * The other end for the client's tests: a thread behind a Unix socket that plays a script.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include "agent/client/legonet_client.h"
#include "agent/proto/frame.h"

#include <pthread.h>

struct peer {
    char folder[64], path[96];
    int listener;
    pthread_t thread;
    void (*script)(int fd, void *context);
    void *context;
    int connections; /* how many are served, one after the other */
};

/* Starts a thread that accepts `connections` times and plays `script` on each, then closes it. */
void peer_start(struct peer *peer, int connections, void (*script)(int fd, void *context),
                void *context);

/* Waits for the script's end and removes the socket. */
void peer_stop(struct peer *peer);

/* For scripts. The next request (ipc_request_free), NULL where the client has closed. */
Legonet__Request *peer_receive(int fd);

/* Sends a response as one frame; false where the client has closed. */
bool peer_send(int fd, const Legonet__Response *response);

/* Sends bytes as they are. */
bool peer_send_bytes(int fd, const void *data, size_t bytes);

/* Answers a request: with the failure, or, for ModelInfer, with one output `out` FP32 [n] of the
 * floats. */
bool peer_refuse(int fd, uint64_t id, int status, const char *message);
bool peer_answer_floats(int fd, uint64_t id, const float *values, size_t count);

/* Answers ModelInfer with one output of any sort. */
bool peer_answer_output(int fd, uint64_t id, const char *datatype, const int64_t *shape,
                        size_t rank, const void *data, size_t bytes);

#endif
