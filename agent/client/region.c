/* Memory that the agent reads where it is. */
#include "agent/client/connection.h"

#include <string.h>
#include <sys/socket.h>

ssize_t connection_send(int fd, const void *data, size_t bytes, int passed)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)data, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &passed, sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

int lego_client_region_register(struct lego_client *client, const char *name, int fd,
                                uint64_t bytes, bool writable, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RegionRegisterRequest call = LEGONET__REGION_REGISTER_REQUEST__INIT;
    Legonet__RegionRegisterRequest__Region region = LEGONET__REGION_REGISTER_REQUEST__REGION__INIT;
    Legonet__RegionRegisterRequest__Region *regions[] = {&region};
    Legonet__Response *response = NULL;
    if (!name || fd < 0)
        return lego_fail(diag, LEGO_E_INVALID, "a region needs a name and a file descriptor");
    region.name = (char *)name;
    region.byte_size = bytes;
    region.writable = writable;
    call.n_regions = 1;
    call.regions = regions;
    request.call_case = LEGONET__REQUEST__CALL_REGION_REGISTER;
    request.region_register = &call;
    int status = connection_call_fd(client, &request, fd, &response, diag);
    if (status == LEGO_OK)
        ipc_response_free(response);
    return status;
}

int lego_client_region_unregister(struct lego_client *client, const char *name,
                                  struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RegionUnregisterRequest call = LEGONET__REGION_UNREGISTER_REQUEST__INIT;
    Legonet__Response *response = NULL;
    char *names[] = {(char *)name};
    call.n_names = name ? 1 : 0;
    call.names = names;
    request.call_case = LEGONET__REQUEST__CALL_REGION_UNREGISTER;
    request.region_unregister = &call;
    int status = connection_call(client, &request, &response, diag);
    if (status == LEGO_OK)
        ipc_response_free(response);
    return status;
}
