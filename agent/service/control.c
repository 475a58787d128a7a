/* Answers that need no engine: health, metadata, the repository's index, statistics. */
#include "agent/service/metrics.h"
#include "agent/service/service.h"

#include "agent/picture/picture.h"
#include "codec/base/arena.h"
#include "codec/base/arith.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX_BYTES ((size_t)64 << 20)

typedef Inference__ModelMetadataResponse__TensorMetadata tensor_metadata;
typedef Inference__ModelMetadataResponse__PropertiesEntry property;
typedef Inference__RepositoryIndexResponse__ModelIndex index_entry;

static char empty[] = "";

struct control {
    const struct service *service;
    struct lego_arena *arena; /* what the answer's message points to */
    Legonet__Response response;
    struct lego_diag *diag;
};

static int out_of_memory(const struct control *control)
{
    return lego_fail(control->diag, LEGO_E_NOMEM, "no memory for the answer");
}

static int answer_live(struct control *control, const Legonet__Request *request)
{
    (void)request;
    Inference__ServerLiveResponse *result = lego_arena_calloc(control->arena, 1, sizeof(*result));
    if (!result)
        return out_of_memory(control);
    inference__server_live_response__init(result);
    result->live = true;
    control->response.server_live = result;
    return LEGO_OK;
}

static int answer_ready(struct control *control, const Legonet__Request *request)
{
    (void)request;
    Inference__ServerReadyResponse *result = lego_arena_calloc(control->arena, 1, sizeof(*result));
    if (!result)
        return out_of_memory(control);
    inference__server_ready_response__init(result);
    result->ready = registry_is_ready(&control->service->registry) && !control->service->draining;
    control->response.server_ready = result;
    return LEGO_OK;
}

static int answer_server(struct control *control, const Legonet__Request *request)
{
    static char name[] = "legonet", version[] = LEGO_VERSION;
    static char classification[] = "classification", repository[] = "model_repository",
                statistics[] = "statistics", schedule[] = "schedule_policy",
                parameters[] = "parameters", shared_memory[] = "shared_memory_fd",
                pictures[] = "pictures", results[] = "results";
    static char *extensions[] = {classification, repository,    statistics, schedule,
                                 parameters,     shared_memory, pictures,   results};
    (void)request;
    Inference__ServerMetadataResponse *result =
        lego_arena_calloc(control->arena, 1, sizeof(*result));
    if (!result)
        return out_of_memory(control);
    inference__server_metadata_response__init(result);
    result->name = name;
    result->version = version;
    result->n_extensions = sizeof(extensions) / sizeof(*extensions);
    result->extensions = extensions;
    control->response.server_metadata = result;
    return LEGO_OK;
}

static int answer_model_ready(struct control *control, const Legonet__Request *request)
{
    Inference__ModelReadyResponse *result = lego_arena_calloc(control->arena, 1, sizeof(*result));
    struct served_model *model;
    if (!result)
        return out_of_memory(control);
    inference__model_ready_response__init(result);
    result->ready = registry_find(&control->service->registry, request->model_ready->name,
                                  request->model_ready->version, &model, NULL) == LEGO_OK;
    control->response.model_ready = result;
    return LEGO_OK;
}

static tensor_metadata *describe_value(const struct control *control,
                                       const struct lego_value *value)
{
    tensor_metadata *tensor = lego_arena_calloc(control->arena, 1, sizeof(*tensor));
    size_t rank = value->shape.rank > 0 ? (size_t)value->shape.rank : 0;
    int64_t *shape = lego_arena_calloc(control->arena, rank + 1, sizeof(*shape));
    if (!tensor || !shape)
        return NULL;
    inference__model_metadata_response__tensor_metadata__init(tensor);
    tensor->name = (char *)(uintptr_t)value->name;
    tensor->datatype = (char *)(uintptr_t)lego_dtype_name(value->dtype);
    for (size_t d = 0; d < rank; d++)
        shape[d] = value->shape.dim[d] < 0 ? -1 : value->shape.dim[d];
    tensor->n_shape = rank;
    tensor->shape = shape;
    return tensor;
}

/* Adds one property; a NULL key or value is one that there was no memory for. */
static bool add_property(const struct control *control, Inference__ModelMetadataResponse *result,
                         const char *key, const char *value)
{
    property *entry = lego_arena_calloc(control->arena, 1, sizeof(*entry));
    if (!entry || !key || !value)
        return false;
    inference__model_metadata_response__properties_entry__init(entry);
    entry->key = (char *)(uintptr_t)key;
    entry->value = (char *)(uintptr_t)value;
    result->properties[result->n_properties++] = entry;
    return true;
}

static const char *join_labels(const struct control *control, const struct lego_package *package)
{
    size_t bytes = 1;
    for (uint32_t i = 0; i < package->label_count; i++)
        bytes += strlen(package->labels[i]) + 1;
    char *text = lego_arena_calloc(control->arena, bytes, 1), *end = text;
    for (uint32_t i = 0; text && i < package->label_count; i++) {
        size_t length = strlen(package->labels[i]);
        if (i > 0)
            *end++ = '\n';
        memcpy(end, package->labels[i], length);
        end += length;
    }
    return text;
}

static const char *format_preprocess(const struct control *control,
                                     const struct lego_preprocess *preprocess)
{
    char *text;
    if (preprocess_format(preprocess, &text) != LEGO_OK)
        return NULL;
    char *copy = lego_arena_strdup(control->arena, text);
    free(text);
    return copy;
}

static bool add_properties(const struct control *control, const struct lego_package *package,
                           Inference__ModelMetadataResponse *result)
{
    struct lego_arena *arena = control->arena;
    result->properties =
        lego_arena_calloc(arena, package->metadata_count + 4u, sizeof(*result->properties));
    if (!result->properties ||
        !add_property(control, result, "bytes",
                      lego_arena_printf(arena, "%" PRIu64, package->file_bytes)))
        return false;
    if (package->peak_bytes > 0 &&
        !add_property(control, result, "peak_bytes",
                      lego_arena_printf(arena, "%" PRIu64, package->peak_bytes)))
        return false;
    if (package->label_count > 0 &&
        !add_property(control, result, "labels", join_labels(control, package)))
        return false;
    if (package->preprocess.present &&
        !add_property(control, result, "preprocess",
                      format_preprocess(control, &package->preprocess)))
        return false;
    for (uint32_t i = 0; i < package->metadata_count; i++) {
        const struct lego_metadata_entry *entry = &package->metadata[i];
        if (!add_property(control, result, lego_arena_printf(arena, "meta.%s", entry->key),
                          entry->value))
            return false;
    }
    return true;
}

/* The versions of that name that serve. */
static bool list_versions(const struct control *control, const char *name,
                          Inference__ModelMetadataResponse *result)
{
    const struct model_set *set = &control->service->registry.set;
    result->versions = lego_arena_calloc(control->arena, set->count + 1, sizeof(char *));
    for (size_t i = 0; result->versions && i < set->count; i++)
        if (model_serves(set->items[i]) && !strcmp(set->items[i]->spec.name, name))
            result->versions[result->n_versions++] = set->items[i]->version_text;
    return result->versions != NULL;
}

static int answer_model(struct control *control, const Legonet__Request *request)
{
    static char platform[] = "legonet_lego";
    struct served_model *served;
    int status = registry_find(&control->service->registry, request->model_metadata->name,
                               request->model_metadata->version, &served, control->diag);
    if (status != LEGO_OK)
        return status;
    const struct lego_model *model = served->model;
    uint32_t inputs = lego_model_input_count(model), outputs = lego_model_output_count(model);
    Inference__ModelMetadataResponse *result =
        lego_arena_calloc(control->arena, 1, sizeof(*result));
    tensor_metadata **tensors =
        lego_arena_calloc(control->arena, (size_t)inputs + outputs + 1, sizeof(*tensors));
    if (!result || !tensors)
        return out_of_memory(control);
    inference__model_metadata_response__init(result);
    result->name = served->spec.name;
    result->platform = platform;
    result->inputs = tensors;
    result->outputs = tensors + inputs;
    for (uint32_t i = 0; i < inputs + outputs; i++) {
        const struct lego_value *value =
            i < inputs ? lego_model_input(model, i) : lego_model_output(model, i - inputs);
        tensors[i] = describe_value(control, value);
        if (!tensors[i])
            return out_of_memory(control);
    }
    result->n_inputs = inputs;
    result->n_outputs = outputs;
    if (!list_versions(control, served->spec.name, result) ||
        !add_properties(control, lego_model_package(model), result))
        return out_of_memory(control);
    control->response.model_metadata = result;
    return LEGO_OK;
}

/* Why a model is as it is: its own reason, or that the last reload did not bring it further. */
static char *reason_of(const struct control *control, const struct served_model *model)
{
    const struct registry *registry = &control->service->registry;
    const struct model_spec *failed = &registry->failed;
    bool concerned =
        registry->failure && (!failed->name || (!strcmp(failed->name, model->spec.name) &&
                                                failed->version == model->spec.version));
    if (!concerned)
        return model->reason ? model->reason : empty;
    return lego_arena_printf(control->arena, "the last load failed: %s", registry->failure);
}

static const char *state_of(const struct control *control, const struct served_model *model)
{
    const struct load_job *running = control->service->load_running;
    if (model_serves(model))
        return "READY";
    bool loading = running && running->kind == LOAD_ONE && !strcmp(running->name, model->spec.name);
    return loading ? "LOADING" : "UNAVAILABLE";
}

static index_entry *add_index(struct control *control, Inference__RepositoryIndexResponse *result,
                              const char *name, const char *version, const char *state,
                              const char *reason)
{
    index_entry *entry = lego_arena_calloc(control->arena, 1, sizeof(*entry));
    if (!entry || !version || !reason)
        return NULL;
    inference__repository_index_response__model_index__init(entry);
    entry->name = (char *)(uintptr_t)name;
    entry->version = (char *)(uintptr_t)version;
    entry->state = (char *)(uintptr_t)state;
    entry->reason = (char *)(uintptr_t)reason;
    result->models[result->n_models++] = entry;
    return entry;
}

static int answer_index(struct control *control, const Legonet__Request *request)
{
    const struct registry *registry = &control->service->registry;
    const struct model_set *set = &registry->set;
    const struct model_spec *failed = &registry->failed;
    Inference__RepositoryIndexResponse *result =
        lego_arena_calloc(control->arena, 1, sizeof(*result));
    index_entry **entries = lego_arena_calloc(control->arena, set->count + 1, sizeof(*entries));
    if (!result || !entries)
        return out_of_memory(control);
    inference__repository_index_response__init(result);
    result->models = entries;
    for (size_t i = 0; i < set->count; i++) {
        const struct served_model *model = set->items[i];
        if (request->repository_index->ready && !model_serves(model))
            continue;
        if (!add_index(control, result, model->spec.name, model->version_text,
                       state_of(control, model), reason_of(control, model)))
            return out_of_memory(control);
    }
    /* A model that has never served, as its first load failed. */
    if (failed->name && !request->repository_index->ready &&
        !model_set_find(set, failed->name, failed->version) &&
        !add_index(control, result, failed->name,
                   lego_arena_printf(control->arena, "%" PRIu64, failed->version), "UNAVAILABLE",
                   registry->failure ? registry->failure : "out of memory"))
        return out_of_memory(control);
    control->response.repository_index = result;
    return LEGO_OK;
}

static Inference__StatisticDuration *duration(struct control *control, const struct stats_sum *sum)
{
    Inference__StatisticDuration *message = lego_arena_calloc(control->arena, 1, sizeof(*message));
    if (!message)
        return NULL;
    inference__statistic_duration__init(message);
    message->count = sum->count;
    message->ns = sum->ns;
    return message;
}

/* Every model answers once a request: its responses are those of index 0. */
static bool add_response_stats(struct control *control, const struct stats *stats,
                               Inference__ModelStatistics *entry)
{
    static char index[] = "0";
    Inference__InferResponseStatistics *values =
        lego_arena_calloc(control->arena, 1, sizeof(*values));
    Inference__ModelStatistics__ResponseStatsEntry *response =
        lego_arena_calloc(control->arena, 1, sizeof(*response));
    Inference__ModelStatistics__ResponseStatsEntry **list =
        lego_arena_calloc(control->arena, 1, sizeof(*list));
    if (!values || !response || !list)
        return false;
    inference__infer_response_statistics__init(values);
    inference__model_statistics__response_stats_entry__init(response);
    values->compute_infer = duration(control, &stats->infer);
    values->compute_output = duration(control, &stats->output);
    values->success = duration(control, &stats->success);
    values->fail = duration(control, &stats->fail);
    values->cancel = duration(control, &stats->cancelled);
    response->key = index;
    response->value = values;
    list[0] = response;
    entry->n_response_stats = 1;
    entry->response_stats = list;
    return values->compute_infer && values->compute_output && values->success && values->fail &&
           values->cancel;
}

static Inference__ModelStatistics *statistics_of(struct control *control,
                                                 const struct served_model *model)
{
    static char cpu[] = "CPU";
    struct lego_arena *arena = control->arena;
    const struct stats *stats = &model->stats;
    Inference__ModelStatistics *entry = lego_arena_calloc(arena, 1, sizeof(*entry));
    Inference__InferStatistics *times = lego_arena_calloc(arena, 1, sizeof(*times));
    Inference__MemoryUsage *usage = lego_arena_calloc(arena, 1, sizeof(*usage));
    Inference__MemoryUsage **usages = lego_arena_calloc(arena, 1, sizeof(*usages));
    if (!entry || !times || !usage || !usages)
        return NULL;
    inference__model_statistics__init(entry);
    inference__infer_statistics__init(times);
    inference__memory_usage__init(usage);
    entry->name = model->spec.name;
    entry->version = (char *)(uintptr_t)model->version_text;
    entry->last_inference = stats->last_inference_ms;
    entry->inference_count = stats->inferences;
    entry->execution_count = stats->executions;
    times->success = duration(control, &stats->success);
    times->fail = duration(control, &stats->fail);
    times->queue = duration(control, &stats->queue);
    times->compute_input = duration(control, &stats->input);
    times->compute_infer = duration(control, &stats->infer);
    times->compute_output = duration(control, &stats->output);
    entry->inference_stats = times;
    usage->type = cpu;
    usage->byte_size = model->model ? lego_model_resident_bytes(model->model) : 0;
    usages[0] = usage;
    entry->n_memory_usage = 1;
    entry->memory_usage = usages;
    return times->success && times->fail && times->queue && times->compute_input &&
                   times->compute_infer && times->compute_output &&
                   add_response_stats(control, stats, entry)
               ? entry
               : NULL;
}

static int answer_statistics(struct control *control, const Legonet__Request *request)
{
    const struct model_set *set = &control->service->registry.set;
    const Inference__ModelStatisticsRequest *wanted = request->model_statistics;
    Inference__ModelStatisticsResponse *result =
        lego_arena_calloc(control->arena, 1, sizeof(*result));
    Inference__ModelStatistics **entries =
        lego_arena_calloc(control->arena, set->count + 1, sizeof(*entries));
    struct served_model *model;
    int status = *wanted->name ? registry_find(&control->service->registry, wanted->name,
                                               wanted->version, &model, control->diag)
                               : LEGO_OK;
    if (status != LEGO_OK)
        return status;
    if (!result || !entries)
        return out_of_memory(control);
    inference__model_statistics_response__init(result);
    result->model_stats = entries;
    for (size_t i = 0; i < set->count; i++) {
        model = set->items[i];
        if ((!model->model && !model->asleep) ||
            (*wanted->name && strcmp(wanted->name, model->spec.name)) ||
            (*wanted->version && strcmp(wanted->version, model->version_text)))
            continue;
        Inference__ModelStatistics *entry = statistics_of(control, model);
        if (!entry)
            return out_of_memory(control);
        entries[result->n_model_stats++] = entry;
    }
    control->response.model_statistics = result;
    return LEGO_OK;
}

static int answer_metrics(struct control *control, const Legonet__Request *request)
{
    (void)request;
    Legonet__MetricsResponse *result = lego_arena_calloc(control->arena, 1, sizeof(*result));
    char *text;
    if (!result)
        return out_of_memory(control);
    int status = metrics_text(control->service, &text, control->diag);
    if (status != LEGO_OK)
        return status;
    legonet__metrics_response__init(result);
    result->text = lego_arena_strdup(control->arena, text);
    free(text);
    if (!result->text)
        return out_of_memory(control);
    control->response.metrics = result;
    return LEGO_OK;
}

static const struct {
    Legonet__Request__CallCase call;
    Legonet__Response__ResultCase result;
    int (*answer)(struct control *control, const Legonet__Request *request);
} calls[] = {
#define CALL(NAME, answer)                                                      \
    {                                                                           \
        LEGONET__REQUEST__CALL_##NAME, LEGONET__RESPONSE__RESULT_##NAME, answer \
    }
    CALL(SERVER_LIVE, answer_live),
    CALL(SERVER_READY, answer_ready),
    CALL(SERVER_METADATA, answer_server),
    CALL(MODEL_READY, answer_model_ready),
    CALL(MODEL_METADATA, answer_model),
    CALL(REPOSITORY_INDEX, answer_index),
    CALL(MODEL_STATISTICS, answer_statistics),
    CALL(METRICS, answer_metrics),
#undef CALL
};

int control_answer(const struct service *service, const Legonet__Request *request,
                   uint8_t **ret_frame, size_t *ret_bytes, struct lego_diag *diag)
{
    struct control control = {.service = service, .diag = diag};
    for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
        if (calls[i].call != request->call_case)
            continue;
        control.arena = lego_arena_create(ANSWER_MAX_BYTES);
        if (!control.arena)
            return out_of_memory(&control);
        legonet__response__init(&control.response);
        control.response.id = request->id;
        control.response.result_case = calls[i].result;
        int status = calls[i].answer(&control, request);
        if (status == LEGO_OK)
            status = ipc_frame_pack(&control.response.base, service->start->max_frame_bytes,
                                    ret_frame, ret_bytes, diag);
        lego_arena_destroy(control.arena);
        return status;
    }
    if (request->call_case != LEGONET__REQUEST__CALL__NOT_SET ||
        request->base.n_unknown_fields == 0)
        return lego_fail(diag, LEGO_E_INVALID, "the request holds no call");
    return lego_fail(diag, LEGO_E_UNSUPPORTED, "this agent does not know call %u",
                     request->base.unknown_fields[0].tag);
}
