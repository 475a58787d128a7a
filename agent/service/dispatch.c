/* From frames to answers. */
#include "agent/service/service.h"

#include "agent/service/answer.h"
#include "agent/service/clock.h"
#include "agent/service/log.h"
#include "agent/service/region_calls.h"
#include "agent/service/sleep.h"

#include <stdlib.h>

/* Of a request that is answered on the loop: larger ones could only be there to keep it busy. */
#define CONTROL_MAX_BYTES ((size_t)64 << 10)

void dispatch_error(struct connection *connection, uint64_t id, int status, const char *text)
{
    size_t bytes;
    uint8_t *frame = answer_error_frame(id, status, text, &bytes);
    if (frame)
        connection_send(connection, frame, bytes);
    else
        connection_close(connection); /* better no connection than a request without an answer */
}

static int dispatch_repository(struct service *service, struct connection *connection,
                               const Legonet__Request *request, struct lego_diag *diag)
{
    bool load = request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD;
    bool back = request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_ROLLBACK;
    const char *name = load   ? request->repository_model_load->model_name
                       : back ? request->repository_model_rollback->model_name
                              : request->repository_model_unload->model_name;
    if (!connection->is_admin)
        return lego_fail(diag, LEGO_E_PERMISSION,
                         "user %u may not change what is served by this socket (its role, "
                         "access.admin_users, access.admin_groups)",
                         (unsigned)connection->uid);
    if (service->draining)
        return lego_fail(diag, LEGO_E_UNAVAILABLE, "the agent is stopping");
    if (load && request->repository_model_load->n_parameters > 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "loading takes no parameters (\"%.64s\"): models come from the agent's "
                         "configuration and model directory",
                         request->repository_model_load->parameters[0]->key);
    if (!config_name_is_valid(name))
        return lego_fail(diag, LEGO_E_INVALID, "\"%.128s\" is no name of a model", name);
    return reload_one(service,
                      load   ? LOAD_ONE
                      : back ? LOAD_BACK
                             : LOAD_DROP,
                      name, connection, request->id, diag);
}

static int dispatch_cancel(struct service *service, struct connection *connection,
                           const Legonet__Request *request, struct lego_diag *diag)
{
    Legonet__CancelResponse result = LEGONET__CANCEL_RESPONSE__INIT;
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    uint8_t *frame;
    size_t bytes;
    result.found = jobs_cancel(service, connection, request->cancel->id);
    response.id = request->id;
    response.result_case = LEGONET__RESPONSE__RESULT_CANCEL;
    response.cancel = &result;
    int status =
        ipc_frame_pack(&response.base, service->start->max_frame_bytes, &frame, &bytes, diag);
    if (status == LEGO_OK)
        connection_send(connection, frame, bytes);
    return status;
}

/* The sleeping model that a request wants to know of; NULL: none. */
static struct served_model *find_asleep(const struct service *service,
                                        const Legonet__Request *request)
{
    struct served_model *model;
    if (request->call_case != LEGONET__REQUEST__CALL_MODEL_METADATA || service->draining ||
        registry_find(&service->registry, request->model_metadata->name,
                      request->model_metadata->version, &model, NULL) != LEGO_OK)
        return NULL;
    return model->asleep ? model : NULL;
}

/* The body is taken, and NULL then, where the answer has to wait. */
static int dispatch_control(struct service *service, struct connection *connection,
                            const struct peek *peek, uint8_t **body, size_t bytes,
                            uint64_t arrived_ns, struct lego_diag *diag)
{
    Legonet__Request *request;
    struct served_model *asleep;
    if (bytes > CONTROL_MAX_BYTES)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "a request of this kind has at most %zu bytes, not %zu", CONTROL_MAX_BYTES,
                         bytes);
    int status = ipc_request_unpack(*body, bytes, &request, diag);
    if (status != LEGO_OK)
        return status;
    if ((asleep = find_asleep(service, request))) {
        status = sleep_wait(service, connection, asleep, peek, *body, bytes, arrived_ns, diag);
        *body = NULL;
    } else if (region_call_is(request)) {
        status = region_call(connection, request, diag);
        if (connection->account)
            service_holds(connection, NULL); /* no more than before */
    } else if (request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD ||
               request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_UNLOAD ||
               request->call_case == LEGONET__REQUEST__CALL_REPOSITORY_MODEL_ROLLBACK) {
        status = dispatch_repository(service, connection, request, diag);
    } else if (request->call_case == LEGONET__REQUEST__CALL_CANCEL) {
        status = dispatch_cancel(service, connection, request, diag);
    } else {
        uint8_t *frame;
        size_t frame_bytes;
        status = control_answer(service, request, &frame, &frame_bytes, diag);
        if (status == LEGO_OK)
            connection_send(connection, frame, frame_bytes);
    }
    ipc_request_free(request);
    return status;
}

void dispatch_request(struct connection *connection, uint8_t *body, size_t bytes,
                      uint64_t arrived_ns)
{
    struct service *service = connection->host->context;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct peek peek;
    int status = peek_request(body, bytes, &peek);
    if (status != LEGO_OK) {
        lego_fail(&diag, status, "the frame holds no valid request (%zu bytes)", bytes);
        free(body);
    } else if (peek.call == LEGONET__REQUEST__CALL_MODEL_INFER) {
        if (service->draining) {
            status = lego_fail(&diag, LEGO_E_UNAVAILABLE, "the agent is stopping");
            free(body);
        } else {
            status = jobs_submit(service, connection, &peek, body, bytes, arrived_ns, &diag);
        }
    } else {
        status = dispatch_control(service, connection, &peek, &body, bytes, arrived_ns, &diag);
        free(body);
    }
    if (status != LEGO_OK)
        dispatch_error(connection, peek.id, status, lego_diag_text(&diag, status));
}

void dispatch_frame(struct connection *connection, uint8_t *body, size_t bytes)
{
    dispatch_request(connection, body, bytes, clock_ns());
}

void dispatch_closed(struct connection *connection)
{
    struct service *service = connection->host->context;
    jobs_drop_connection(service, connection);
    service->connection_count--;
    log_debug("pid %d disconnected", (int)connection->pid);
}
