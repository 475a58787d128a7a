#include "tests/agent/wire_regions.h"

#include "tests/agent/models.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

typedef Inference__ModelInferRequest__InferInputTensor input_tensor;
typedef Inference__ModelInferRequest__InferRequestedOutputTensor output_tensor;

int region_memfd(const void *data, size_t bytes, unsigned seals)
{
    int fd = memfd_create("legonet-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    if (data)
        ck_assert_int_eq(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
    if (seals)
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

void wire_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t count)
{
    size_t control_bytes = CMSG_SPACE(sizeof(int) * count);
    char *control = calloc(1, control_bytes);
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    ck_assert_int_gt(sent, 0);
    wire_send(fd, (const char *)data + sent, bytes - (size_t)sent);
    free(control);
}

static void expect(int fd, int status, const char *text)
{
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_msg(ipc_status_from_wire(response->status) == status, "status %d: %s",
                  (int)response->status, response->message);
    ck_assert_msg(!text || strstr(response->message, text), "%s", response->message);
    ipc_response_free(response);
}

void wire_register(int fd, const char *name, int memory, uint64_t bytes, bool writable, int status,
                   const char *text)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RegionRegisterRequest call = LEGONET__REGION_REGISTER_REQUEST__INIT;
    Legonet__RegionRegisterRequest__Region region = LEGONET__REGION_REGISTER_REQUEST__REGION__INIT;
    Legonet__RegionRegisterRequest__Region *regions[] = {&region};
    uint8_t *frame = NULL;
    size_t frame_bytes;
    region.name = (char *)(uintptr_t)name;
    region.byte_size = bytes;
    region.writable = writable;
    call.n_regions = 1;
    call.regions = regions;
    request.id = 77;
    request.call_case = LEGONET__REQUEST__CALL_REGION_REGISTER;
    request.region_register = &call;
    ck_assert_int_eq(ipc_frame_pack(&request.base, 1 << 20, &frame, &frame_bytes, NULL), LEGO_OK);
    if (memory >= 0)
        wire_send_fds(fd, frame, frame_bytes, &memory, 1);
    else
        wire_send(fd, frame, frame_bytes);
    free(frame);
    expect(fd, status, text);
}

void wire_unregister(int fd, const char *name, int status)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RegionUnregisterRequest call = LEGONET__REGION_UNREGISTER_REQUEST__INIT;
    char *names[] = {(char *)(uintptr_t)name};
    call.n_names = name ? 1 : 0;
    call.names = names;
    request.id = 78;
    request.call_case = LEGONET__REQUEST__CALL_REGION_UNREGISTER;
    request.region_unregister = &call;
    wire_send_request(fd, &request);
    expect(fd, status, NULL);
}

/* The protocol's parameters of one place; entries of both messages are laid out alike. */
struct place_parameters {
    Inference__InferParameter values[3];
    Inference__ModelInferRequest__InferInputTensor__ParametersEntry in[3], *in_list[3];
    Inference__ModelInferRequest__InferRequestedOutputTensor__ParametersEntry out[3], *out_list[3];
};

static size_t fill_parameters(struct place_parameters *p, const char *region, int64_t offset,
                              int64_t bytes)
{
    static char keys[][24] = {"shared_memory_region", "shared_memory_offset",
                              "shared_memory_byte_size"};
    size_t count = bytes < 0 ? 2 : 3;
    for (size_t i = 0; i < 3; i++) {
        inference__infer_parameter__init(&p->values[i]);
        inference__model_infer_request__infer_input_tensor__parameters_entry__init(&p->in[i]);
        inference__model_infer_request__infer_requested_output_tensor__parameters_entry__init(
            &p->out[i]);
        p->in[i].key = p->out[i].key = keys[i];
        p->in[i].value = p->out[i].value = &p->values[i];
        p->in_list[i] = &p->in[i];
        p->out_list[i] = &p->out[i];
        p->values[i].parameter_choice_case =
            INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_INT64_PARAM;
    }
    p->values[0].parameter_choice_case = INFERENCE__INFER_PARAMETER__PARAMETER_CHOICE_STRING_PARAM;
    p->values[0].string_param = (char *)(uintptr_t)region;
    p->values[1].int64_param = offset;
    p->values[2].int64_param = bytes;
    return count;
}

Legonet__Response *wire_infer_places(int fd, const struct wire_places *places)
{
    static char model[] = "tiny", x[] = "x", y[] = "y", datatype[] = "FP32";
    int64_t shape[] = {1, TINY_INPUTS};
    float values[TINY_INPUTS];
    struct place_parameters in, out;
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelInferRequest infer = INFERENCE__MODEL_INFER_REQUEST__INIT;
    input_tensor tensor = INFERENCE__MODEL_INFER_REQUEST__INFER_INPUT_TENSOR__INIT;
    input_tensor *tensors[] = {&tensor};
    output_tensor wanted = INFERENCE__MODEL_INFER_REQUEST__INFER_REQUESTED_OUTPUT_TENSOR__INIT;
    output_tensor *wanted_list[] = {&wanted};
    ProtobufCBinaryData raw = {sizeof(values), (uint8_t *)values};
    wire_infer_input(1, 1, values);
    request.id = 79;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_INFER;
    request.model_infer = &infer;
    infer.model_name = model;
    infer.n_inputs = infer.n_outputs = 1;
    infer.inputs = tensors;
    infer.outputs = wanted_list;
    tensor.name = x;
    tensor.datatype = datatype;
    tensor.n_shape = 2;
    tensor.shape = shape;
    wanted.name = y;
    if (places->in) {
        tensor.n_parameters = fill_parameters(&in, places->in, places->in_offset, places->in_bytes);
        tensor.parameters = in.in_list;
    } else {
        infer.n_raw_input_contents = 1;
        infer.raw_input_contents = &raw;
    }
    if (places->out) {
        wanted.n_parameters =
            fill_parameters(&out, places->out, places->out_offset, places->out_bytes);
        wanted.parameters = out.out_list;
    }
    return wire_call(fd, &request);
}

size_t agent_map_count(const struct agent *agent, const char *text)
{
    char path[64], line[512];
    size_t count = 0;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)agent->pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}
