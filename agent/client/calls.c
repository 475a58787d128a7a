/*
 * Calls about the agent itself. Each result keeps the answer that its texts lie in.
 */
#include "agent/client/connection.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
}

/* ---- server ---- */

struct owned_server {
    struct lego_client_server server; /* first: the two have one address */
    Legonet__Response *metadata;
};

void lego_client_server_free(struct lego_client_server *server)
{
    struct owned_server *owned = (struct owned_server *)server;
    if (!owned)
        return;
    ipc_response_free(owned->metadata);
    free(owned);
}

static int ask_live(struct lego_client *client, bool *ret_live, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerLiveRequest live = INFERENCE__SERVER_LIVE_REQUEST__INIT;
    Legonet__Response *response = NULL;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_LIVE;
    request.server_live = &live;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;
    *ret_live = response->server_live->live;
    ipc_response_free(response);
    return LEGO_OK;
}

static int ask_ready(struct lego_client *client, bool *ret_ready, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerReadyRequest ready = INFERENCE__SERVER_READY_REQUEST__INIT;
    Legonet__Response *response = NULL;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_READY;
    request.server_ready = &ready;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;
    *ret_ready = response->server_ready->ready;
    ipc_response_free(response);
    return LEGO_OK;
}

static int ask_metadata(struct lego_client *client, struct owned_server *owned,
                        struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ServerMetadataRequest metadata = INFERENCE__SERVER_METADATA_REQUEST__INIT;
    request.call_case = LEGONET__REQUEST__CALL_SERVER_METADATA;
    request.server_metadata = &metadata;
    int status = connection_call(client, &request, &owned->metadata, diag);
    if (status != LEGO_OK)
        return status;
    const Inference__ServerMetadataResponse *answer = owned->metadata->server_metadata;
    owned->server.name = answer->name;
    owned->server.version = answer->version;
    owned->server.extension_count = (uint32_t)answer->n_extensions;
    owned->server.extensions = (const char *const *)answer->extensions;
    return LEGO_OK;
}

int lego_client_server_get(struct lego_client *client, struct lego_client_server **ret_server,
                           struct lego_diag *diag)
{
    struct owned_server *owned = calloc(1, sizeof(*owned));
    if (!owned)
        return no_memory(diag);
    int status = ask_live(client, &owned->server.live, diag);
    if (status == LEGO_OK)
        status = ask_ready(client, &owned->server.ready, diag);
    if (status == LEGO_OK)
        status = ask_metadata(client, owned, diag);
    if (status != LEGO_OK) {
        lego_client_server_free(&owned->server);
        return status;
    }
    *ret_server = &owned->server;
    return LEGO_OK;
}

/* ---- list ---- */

struct owned_list {
    struct lego_client_list list; /* first: the two have one address */
    struct lego_client_list_entry *entries;
    Legonet__Response *response;
};

void lego_client_list_free(struct lego_client_list *list)
{
    struct owned_list *owned = (struct owned_list *)list;
    if (!owned)
        return;
    ipc_response_free(owned->response);
    free(owned->entries);
    free(owned);
}

int lego_client_list_get(struct lego_client *client, struct lego_client_list **ret_list,
                         struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__RepositoryIndexRequest index = INFERENCE__REPOSITORY_INDEX_REQUEST__INIT;
    Legonet__Response *response = NULL;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_INDEX;
    request.repository_index = &index;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;

    const Inference__RepositoryIndexResponse *answer = response->repository_index;
    struct owned_list *owned = calloc(1, sizeof(*owned));
    struct lego_client_list_entry *entries = calloc(answer->n_models + 1, sizeof(*entries));
    if (!owned || !entries) {
        free(owned);
        free(entries);
        ipc_response_free(response);
        return no_memory(diag);
    }
    for (size_t i = 0; i < answer->n_models; i++)
        entries[i] = (struct lego_client_list_entry){.name = answer->models[i]->name,
                                                     .version = answer->models[i]->version,
                                                     .state = answer->models[i]->state,
                                                     .reason = answer->models[i]->reason};
    owned->response = response;
    owned->entries = entries;
    owned->list = (struct lego_client_list){.count = (uint32_t)answer->n_models, .models = entries};
    *ret_list = &owned->list;
    return LEGO_OK;
}

/* ---- load and unload ---- */

static int call_and_drop(struct lego_client *client, Legonet__Request *request,
                         struct lego_diag *diag)
{
    Legonet__Response *response = NULL;
    int status = connection_call(client, request, &response, diag);
    if (status == LEGO_OK)
        ipc_response_free(response);
    return status;
}

int lego_client_load(struct lego_client *client, const char *name, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__RepositoryModelLoadRequest load = INFERENCE__REPOSITORY_MODEL_LOAD_REQUEST__INIT;
    load.model_name = (char *)name;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_LOAD;
    request.repository_model_load = &load;
    return call_and_drop(client, &request, diag);
}

int lego_client_unload(struct lego_client *client, const char *name, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__RepositoryModelUnloadRequest unload =
        INFERENCE__REPOSITORY_MODEL_UNLOAD_REQUEST__INIT;
    unload.model_name = (char *)name;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_UNLOAD;
    request.repository_model_unload = &unload;
    return call_and_drop(client, &request, diag);
}

int lego_client_rollback(struct lego_client *client, const char *name, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__RepositoryModelRollbackRequest rollback =
        LEGONET__REPOSITORY_MODEL_ROLLBACK_REQUEST__INIT;
    rollback.model_name = (char *)name;
    request.call_case = LEGONET__REQUEST__CALL_REPOSITORY_MODEL_ROLLBACK;
    request.repository_model_rollback = &rollback;
    return call_and_drop(client, &request, diag);
}

/* ---- metrics ---- */

int lego_client_metrics_get(struct lego_client *client, char **ret_text, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Legonet__MetricsRequest metrics = LEGONET__METRICS_REQUEST__INIT;
    Legonet__Response *response = NULL;
    request.call_case = LEGONET__REQUEST__CALL_METRICS;
    request.metrics = &metrics;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;
    char *text = strdup(response->metrics->text);
    ipc_response_free(response);
    if (!text)
        return no_memory(diag);
    *ret_text = text;
    return LEGO_OK;
}

/* ---- statistics ---- */

struct owned_stats {
    struct lego_client_stats stats; /* first: the two have one address */
    struct lego_client_stats_entry *entries;
    Legonet__Response *response;
};

void lego_client_stats_free(struct lego_client_stats *stats)
{
    struct owned_stats *owned = (struct owned_stats *)stats;
    if (!owned)
        return;
    ipc_response_free(owned->response);
    free(owned->entries);
    free(owned);
}

static uint64_t duration_ns(const Inference__StatisticDuration *duration)
{
    return duration ? duration->ns : 0;
}

static uint64_t duration_count(const Inference__StatisticDuration *duration)
{
    return duration ? duration->count : 0;
}

static struct lego_client_stats_entry stats_entry(const Inference__ModelStatistics *from)
{
    const Inference__InferStatistics empty = INFERENCE__INFER_STATISTICS__INIT;
    const Inference__InferStatistics *infer =
        from->inference_stats ? from->inference_stats : &empty;
    struct lego_client_stats_entry entry = {
        .name = from->name,
        .version = from->version,
        .inference_count = from->inference_count,
        .execution_count = from->execution_count,
        .last_inference_ms = from->last_inference,
        .success_count = duration_count(infer->success),
        .success_ns = duration_ns(infer->success),
        .fail_count = duration_count(infer->fail),
        .fail_ns = duration_ns(infer->fail),
        .queue_ns = duration_ns(infer->queue),
        .compute_input_ns = duration_ns(infer->compute_input),
        .compute_infer_ns = duration_ns(infer->compute_infer),
        .compute_output_ns = duration_ns(infer->compute_output),
    };
    for (size_t i = 0; i < from->n_memory_usage; i++)
        entry.memory_bytes += from->memory_usage[i]->byte_size;
    return entry;
}

int lego_client_stats_get(struct lego_client *client, const char *name,
                          struct lego_client_stats **ret_stats, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelStatisticsRequest statistics = INFERENCE__MODEL_STATISTICS_REQUEST__INIT;
    Legonet__Response *response = NULL;
    if (name)
        statistics.name = (char *)name;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_STATISTICS;
    request.model_statistics = &statistics;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;

    const Inference__ModelStatisticsResponse *answer = response->model_statistics;
    struct owned_stats *owned = calloc(1, sizeof(*owned));
    struct lego_client_stats_entry *entries = calloc(answer->n_model_stats + 1, sizeof(*entries));
    if (!owned || !entries) {
        free(owned);
        free(entries);
        ipc_response_free(response);
        return no_memory(diag);
    }
    for (size_t i = 0; i < answer->n_model_stats; i++)
        entries[i] = stats_entry(answer->model_stats[i]);
    owned->response = response;
    owned->entries = entries;
    owned->stats =
        (struct lego_client_stats){.count = (uint32_t)answer->n_model_stats, .models = entries};
    *ret_stats = &owned->stats;
    return LEGO_OK;
}
