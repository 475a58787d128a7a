#include "peer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void *serve(void *argument)
{
    struct peer *peer = argument;
    for (int i = 0; i < peer->connections; i++) {
        int fd = accept(peer->listener, NULL, NULL);
        if (fd < 0)
            break;
        peer->script(fd, peer->context);
        close(fd);
    }
    return NULL;
}

void peer_start(struct peer *peer, int connections, void (*script)(int fd, void *context),
                void *context)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *peer = (struct peer){.script = script, .context = context, .connections = connections};
    snprintf(peer->folder, sizeof(peer->folder), "/tmp/lego-client-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(peer->folder));
    snprintf(peer->path, sizeof(peer->path), "%s/socket", peer->folder);
    memcpy(address.sun_path, peer->path, strlen(peer->path) + 1);
    peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(peer->listener, 0);
    ck_assert_int_eq(bind(peer->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(peer->listener, 8), 0);
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, serve, peer), 0);
}

void peer_stop(struct peer *peer)
{
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    unlink(peer->path);
    rmdir(peer->folder);
}

static bool receive_bytes(int fd, void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t got = recv(fd, (char *)data + at, bytes - at, 0);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

Legonet__Request *peer_receive(int fd)
{
    uint8_t header[IPC_FRAME_HEADER_BYTES];
    size_t bytes = 0;
    Legonet__Request *request = NULL;
    if (!receive_bytes(fd, header, sizeof(header)) ||
        ipc_frame_length(header, IPC_FRAME_MAX_BYTES, &bytes, NULL) != LEGO_OK)
        return NULL;
    uint8_t *body = malloc(bytes);
    if (receive_bytes(fd, body, bytes))
        ipc_request_unpack(body, bytes, &request, NULL);
    free(body);
    return request;
}

bool peer_send_bytes(int fd, const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t sent = send(fd, (const char *)data + at, bytes - at, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        at += (size_t)sent;
    }
    return true;
}

bool peer_send(int fd, const Legonet__Response *response)
{
    uint8_t *frame = NULL;
    size_t bytes = 0;
    if (ipc_frame_pack(&response->base, UINT32_MAX, &frame, &bytes, NULL) != LEGO_OK)
        return false;
    bool sent = peer_send_bytes(fd, frame, bytes);
    free(frame);
    return sent;
}

bool peer_refuse(int fd, uint64_t id, int status, const char *message)
{
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    response.id = id;
    response.status = ipc_status_to_wire(status);
    response.message = (char *)message;
    return peer_send(fd, &response);
}

bool peer_answer_output(int fd, uint64_t id, const char *datatype, const int64_t *shape,
                        size_t rank, const void *data, size_t bytes)
{
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    Inference__ModelInferResponse infer = INFERENCE__MODEL_INFER_RESPONSE__INIT;
    Inference__ModelInferResponse__InferOutputTensor output =
        INFERENCE__MODEL_INFER_RESPONSE__INFER_OUTPUT_TENSOR__INIT;
    Inference__ModelInferResponse__InferOutputTensor *outputs[] = {&output};
    ProtobufCBinaryData raw = {.len = bytes, .data = (uint8_t *)data};

    output.name = (char *)"out";
    output.datatype = (char *)datatype;
    output.n_shape = rank;
    output.shape = (int64_t *)shape;
    infer.model_name = (char *)"net";
    infer.model_version = (char *)"3";
    infer.n_outputs = 1;
    infer.outputs = outputs;
    infer.n_raw_output_contents = 1;
    infer.raw_output_contents = &raw;
    response.id = id;
    response.result_case = LEGONET__RESPONSE__RESULT_MODEL_INFER;
    response.model_infer = &infer;
    return peer_send(fd, &response);
}

bool peer_answer_floats(int fd, uint64_t id, const float *values, size_t count)
{
    int64_t shape = (int64_t)count;
    return peer_answer_output(fd, id, "FP32", &shape, 1, values, count * sizeof(*values));
}
