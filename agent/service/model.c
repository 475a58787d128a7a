#include "agent/service/model.h"

#include "agent/service/cpus.h"
#include "agent/service/model_batch.h"
#include "codec/base/arith.h"
#include "codec/sign/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HEADS_BYTES ((size_t)64 << 20)

void model_spec_clear(struct model_spec *spec)
{
    free(spec->name);
    free(spec->path);
    free(spec->signature_keys);
    *spec = (struct model_spec){0};
}

int model_spec_copy(struct model_spec *ret_copy, const struct model_spec *spec)
{
    struct model_spec copy = *spec;
    copy.name = strdup(spec->name);
    copy.path = strdup(spec->path);
    copy.signature_keys = strdup(spec->signature_keys ? spec->signature_keys : "");
    if (!copy.name || !copy.path || !copy.signature_keys) {
        model_spec_clear(&copy);
        return LEGO_E_NOMEM;
    }
    *ret_copy = copy;
    return LEGO_OK;
}

void model_log(enum log_level level, const struct served_model *model, const char *event,
               const char *format, ...)
{
    char text[1024];
    const struct log_subject subject = {
        .event = event, .model = model->spec.name, .version = model->spec.version};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_about(level, &subject, "model \"%s\" version %s: %s", model->spec.name, model->version_text,
              text);
}

static int file_identity(const char *path, struct model_file *ret_file)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return lego_status_from_errno(errno);
    *ret_file = (struct model_file){.device = info.st_dev,
                                    .inode = info.st_ino,
                                    .bytes = info.st_size,
                                    .changed = info.st_mtim};
    return LEGO_OK;
}

static bool same_file(const struct model_file *a, const struct model_file *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

bool model_is_of_same_file(const struct served_model *a, const struct served_model *b)
{
    return same_file(&a->file, &b->file);
}

bool model_is_overwritten(const struct served_model *model)
{
    struct model_file now = {0};
    return file_identity(model->spec.path, &now) == LEGO_OK && now.device == model->file.device &&
           now.inode == model->file.inode && !same_file(&now, &model->file);
}

bool model_is_current(const struct served_model *model, const struct model_spec *spec,
                      bool as_it_is)
{
    struct model_file now = {0};
    return (model_serves(model) || (model->asleep && as_it_is)) &&
           !strcmp(model->spec.path, spec->path) && model->spec.warm_up == spec->warm_up &&
           model->spec.resident == spec->resident && model->spec.verify == spec->verify &&
           model->spec.compute == spec->compute &&
           !memcmp(&model->spec.queue, &spec->queue, sizeof(spec->queue)) &&
           !memcmp(&model->spec.batch, &spec->batch, sizeof(spec->batch)) &&
           model->spec.canary_percent == spec->canary_percent &&
           model->spec.previous == spec->previous && model->spec.trial == spec->trial &&
           model->spec.engines == spec->engines && model->spec.threads == spec->threads &&
           model->spec.idle_ms == spec->idle_ms && model->spec.pinned == spec->pinned &&
           model->spec.signature_policy == spec->signature_policy &&
           !strcmp(model->spec.signature_keys, spec->signature_keys ? spec->signature_keys : "") &&
           file_identity(spec->path, &now) == LEGO_OK &&
           (same_file(&now, &model->file) || (as_it_is && same_file(&now, &model->rejected)));
}

static int create(const struct model_spec *spec, struct served_model **ret_model)
{
    struct served_model *model = calloc(1, sizeof(*model));
    if (!model)
        return LEGO_E_NOMEM;
    int status = model_spec_copy(&model->spec, spec);
    if (status != LEGO_OK) {
        free(model);
        return status;
    }
    atomic_init(&model->refs, 1);
    snprintf(model->version_text, sizeof(model->version_text), "%" PRIu64, spec->version);
    *ret_model = model;
    return LEGO_OK;
}

int model_create_absent(const struct model_spec *spec, const char *reason,
                        struct served_model **ret_model)
{
    struct served_model *model;
    int status = create(spec, &model);
    if (status != LEGO_OK)
        return status;
    if (reason && !(model->reason = strdup(reason))) {
        model_destroy(model);
        return LEGO_E_NOMEM;
    }
    *ret_model = model;
    return LEGO_OK;
}

int model_create_asleep(const struct served_model *model, const char *reason,
                        struct served_model **ret_model)
{
    struct served_model *sleeper;
    int status = model_create_absent(&model->spec, reason, &sleeper);
    if (status != LEGO_OK)
        return status;
    sleeper->asleep = true;
    sleeper->file = model->file;
    sleeper->stats = model->stats;
    *ret_model = sleeper;
    return LEGO_OK;
}

static void free_inputs(struct lego_io *inputs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(inputs[i].data);
    free(inputs);
}

/* Inputs to warm up with: the self-test's, else zeros with every open dimension 1. */
static int warm_up_inputs(const struct lego_model *model, struct lego_io **ret_inputs,
                          struct lego_diag *diag)
{
    const struct lego_selftest *test = &lego_model_package(model)->selftest;
    uint32_t count = lego_model_input_count(model);
    struct lego_io *inputs = calloc(count ? count : 1, sizeof(*inputs));
    if (!inputs)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to warm up");
    for (uint32_t i = 0; i < count; i++) {
        const struct lego_value *value = lego_model_input(model, i);
        const struct lego_tensor *tensor = NULL;
        uint32_t stored = 0;
        while (stored < test->input_count && strcmp(test->inputs[stored].name, value->name) != 0)
            stored++;
        if (stored < test->input_count)
            tensor = &test->inputs[stored];
        struct lego_io *input = &inputs[i];
        input->dtype = value->dtype;
        input->shape = tensor ? tensor->shape : value->shape;
        for (int d = 0; d < input->shape.rank; d++)
            if (input->shape.dim[d] < 0)
                input->shape.dim[d] = 1;
        size_t elems = 0;
        int status = lego_shape_elems(&input->shape, &elems);
        if (status == LEGO_OK &&
            !lego_mul_size(elems, lego_dtype_bytes(input->dtype), &input->bytes))
            status = LEGO_E_OVERFLOW;
        if (status == LEGO_OK && !(input->data = calloc(1, input->bytes ? input->bytes : 1)))
            status = LEGO_E_NOMEM;
        if (status != LEGO_OK) {
            free_inputs(inputs, count);
            return lego_fail(diag, status, "cannot make up input \"%s\" to warm up with (%s)",
                             value->name, lego_status_text(status));
        }
        if (tensor && tensor->bytes == input->bytes)
            lego_selftest_input(test, stored, input->data);
    }
    *ret_inputs = inputs;
    return LEGO_OK;
}

/* Runs in `trial`; the engines' sessions are made ready for the same. */
static int warm_up(struct served_model *served, struct lego_session *trial, struct lego_diag *diag)
{
    struct lego_model *model = served->model;
    if (served->spec.warm_up == 0)
        return LEGO_OK;
    struct lego_io *inputs = NULL;
    uint32_t input_count = lego_model_input_count(model);
    uint32_t output_count = lego_model_output_count(model);
    int status = warm_up_inputs(model, &inputs, diag);
    if (status != LEGO_OK)
        return status;
    struct lego_io *outputs = calloc(output_count ? output_count : 1, sizeof(*outputs));
    if (!outputs)
        status = lego_fail(diag, LEGO_E_NOMEM, "no memory to warm up");
    for (uint64_t n = 0; status == LEGO_OK && n < served->spec.warm_up; n++) {
        memset(outputs, 0, output_count * sizeof(*outputs));
        status = lego_session_run(trial, inputs, input_count, outputs, output_count, diag);
    }
    for (uint32_t e = 0; status == LEGO_OK && e < served->session_count; e++)
        if (served->sessions[e])
            status = lego_session_prepare(served->sessions[e], inputs, input_count, NULL, 0, diag);
    free(outputs);
    free_inputs(inputs, input_count);
    return status == LEGO_OK ? status : lego_diag_prefix(diag, status, "warming up");
}

/* The file's own word for its peak, once for each engine; of a file that says nothing its size. */
static int admit(struct served_model *served, const struct model_admission *admission,
                 struct lego_diag *diag)
{
    const struct lego_package *package = lego_model_package(served->model);
    uint64_t one = package->peak_bytes ? package->peak_bytes : package->file_bytes;
    uint64_t limit = admission->limit_bytes, used = admission->used_bytes;
    uint64_t engines = (uint64_t)__builtin_popcountll(served->engines);
    if (__builtin_mul_overflow(one, engines, &served->peak_bytes))
        served->peak_bytes = UINT64_MAX;
    if (limit == 0 || (used <= limit && served->peak_bytes <= limit - used))
        return LEGO_OK;
    return lego_fail(diag, LEGO_E_LIMIT,
                     "%s: it may take %" PRIu64 " bytes, %" PRIu64 " are taken by others, and "
                     "limits.memory is %" PRIu64,
                     served->spec.path, served->peak_bytes, used, limit);
}

/* Whether the policy lets a file serve, by its signature. */
static int judge(const struct served_model *served, const struct sign_result *result, size_t keys,
                 struct lego_diag *diag)
{
    const struct model_spec *spec = &served->spec;
    const struct sign_id_text id = sign_id_text(result->id);
    switch (result->verdict) {
    case SIGN_GOOD:
        model_log(LOG_LEVEL_INFO, served, "signature-good", "%s: signed by key %s", spec->path,
                  id.text);
        return LEGO_OK;
    case SIGN_NONE:
        return lego_fail(diag, LEGO_E_PERMISSION, "%s: it is not signed", spec->path);
    case SIGN_UNKNOWN:
        return lego_fail(diag, LEGO_E_PERMISSION,
                         "%s: signed by key %s, which is none of the %zu in signatures.keys",
                         spec->path, id.text, keys);
    case SIGN_BAD:
        break;
    }
    return lego_fail(diag, LEGO_E_CHECKSUM,
                     "%s: the signature by key %s does not hold: the file is not what was signed",
                     spec->path, id.text);
}

static int check_signature(const struct served_model *served, int fd, struct lego_diag *diag)
{
    const struct model_spec *spec = &served->spec;
    struct sign_public_key *keys = NULL;
    struct sign_result result;
    size_t count = 0;
    if (spec->signature_policy == SIGNATURES_OFF)
        return LEGO_OK;
    int status = sign_public_list(spec->signature_keys, &keys, &count, diag);
    if (status == LEGO_OK)
        status = sign_verify_fd(fd, spec->path, keys, count, &result, diag);
    free(keys);
    if (status != LEGO_OK)
        return status;
    status = judge(served, &result, count, diag);
    if (status == LEGO_OK || spec->signature_policy == SIGNATURES_REQUIRE)
        return status;
    model_log(LOG_LEVEL_WARNING, served, "signature-missing", "%s", lego_diag_text(diag, status));
    return LEGO_OK;
}

/* What the file says that its outputs mean. */
static int read_heads(struct served_model *served, struct lego_diag *diag)
{
    const struct lego_package *package = lego_model_package(served->model);
    const char *text = lego_package_metadata(package, HEADS_METADATA_KEY);
    if (!text)
        return LEGO_OK;
    served->heads_arena = lego_arena_create(MAX_HEADS_BYTES);
    if (!served->heads_arena)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for heads");
    int status = heads_parse(text, strlen(text), HEADS_METADATA_KEY, served->heads_arena,
                             &served->heads, diag);
    return status == LEGO_OK ? heads_check(&served->heads, package->graph, HEADS_METADATA_KEY, diag)
                             : status;
}

/* By one descriptor: what is checked is what is mapped. A signature is of the checksums: it says
 * nothing of bytes that are not checked. */
static int open_model(struct served_model *served, struct lego_diag *diag)
{
    const bool is_signed = served->spec.signature_policy != SIGNATURES_OFF;
    const struct lego_model_options options = {.verify = is_signed ? LEGO_VERIFY_CHECKSUMS
                                                                   : served->spec.verify,
                                               .resident = served->spec.resident,
                                               .compute = served->spec.compute};
    const char *path = served->spec.path;
    struct lego_package *package = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    int status = lego_package_open_fd(fd, path, options.verify, &package, diag);
    if (status == LEGO_OK)
        status = check_signature(served, fd, diag);
    close(fd);
    if (status != LEGO_OK) {
        lego_package_destroy(package);
        return status;
    }
    status = lego_model_from_package(package, &options, &served->model, diag);
    if (status == LEGO_OK)
        status = read_heads(served, diag);
    return status == LEGO_OK ? status : lego_diag_prefix(diag, status, "%s", path);
}

/* What is done in the background for a model, in two parts. */
struct errand {
    struct served_model *served;
    const struct model_loading *loading;
    int status;
    struct lego_diag *diag;
};

static void open_and_verify(void *context)
{
    struct errand *errand = context;
    struct served_model *served = errand->served;
    errand->status = file_identity(served->spec.path, &served->file);
    if (errand->status != LEGO_OK)
        errand->status = lego_fail_errno(errand->diag, errno, "%s", served->spec.path);
    if (errand->status == LEGO_OK)
        errand->status = open_model(served, errand->diag);
    if (errand->status == LEGO_OK)
        errand->status = admit(served, &errand->loading->admission, errand->diag);
}

/* Self-test, trial of batches, warm-up: in a session of one thread, for others would be made here
 * and be as slow for ever. */
static void try_out(void *context)
{
    struct errand *errand = context;
    struct served_model *served = errand->served;
    struct lego_diag *diag = errand->diag;
    const struct lego_session_options options = {.threads = 1};
    struct lego_session *trial;
    int status = lego_session_create(served->model, &options, &trial, diag);
    errand->status = status;
    if (status != LEGO_OK)
        return;
    status = lego_session_selftest(trial, diag);
    if (status == LEGO_E_NOT_FOUND)
        status = LEGO_OK;
    else if (status != LEGO_OK)
        status = lego_diag_prefix(diag, status, "%s: self-test", served->spec.path);
    if (status == LEGO_OK && served->spec.batch.rows > 1)
        status = model_batch_check(served->model, trial, diag);
    if (status == LEGO_OK)
        status = warm_up(served, trial, diag);
    lego_session_destroy(trial);
    errand->status = status;
}

/* Threads are made with the affinity of the one that makes them. */
static int create_session(struct served_model *served, const struct model_loading *loading,
                          uint32_t engine, struct lego_diag *diag)
{
    const struct lego_session_options options = {
        .threads = served->spec.threads ? (uint32_t)served->spec.threads : loading->threads};
    cpu_set_t before;
    bool moved = cpus_enter(loading->cpus, engine, &before);
    int status = lego_session_create(served->model, &options, &served->sessions[engine], diag);
    if (moved)
        cpus_leave(&before);
    return status;
}

static int create_sessions(struct served_model *served, const struct model_loading *loading,
                           struct lego_diag *diag)
{
    int status = LEGO_OK;
    served->sessions = calloc(loading->engines, sizeof(*served->sessions));
    if (!served->sessions)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for %u sessions", loading->engines);
    served->session_count = loading->engines;
    for (uint32_t e = 0; status == LEGO_OK && e < loading->engines; e++)
        if (served->engines >> e & 1)
            status = create_session(served, loading, e, diag);
    return status;
}

static int choose_engines(struct served_model *served, const struct model_loading *loading,
                          struct lego_diag *diag)
{
    const uint64_t all = loading->engines < 64 ? ((uint64_t)1 << loading->engines) - 1 : UINT64_MAX;
    served->engines = served->spec.engines ? served->spec.engines & all : all;
    if (served->engines == 0)
        return lego_fail(diag, LEGO_E_CONFIG,
                         "none of the engines that it names is there: there are %u, from 0 on "
                         "(engines.count)",
                         loading->engines);
    return LEGO_OK;
}

static int make_ready(struct served_model *served, const struct model_loading *loading,
                      struct lego_diag *diag)
{
    struct errand errand = {.served = served, .loading = loading, .diag = diag};
    errand.status = choose_engines(served, loading, diag);
    if (errand.status != LEGO_OK)
        return errand.status;
    background_run(loading->priority, open_and_verify, &errand);
    if (errand.status == LEGO_OK)
        errand.status = create_sessions(served, loading, diag);
    if (errand.status == LEGO_OK)
        background_run(loading->priority, try_out, &errand);
    return errand.status;
}

int model_load(const struct model_spec *spec, const struct model_loading *loading,
               struct served_model **ret_model, struct lego_diag *diag)
{
    struct served_model *model;
    int status = create(spec, &model);
    if (status != LEGO_OK)
        return lego_fail(diag, status, "no memory for model \"%s\"", spec->name);
    status = make_ready(model, loading, diag);
    if (status != LEGO_OK) {
        model_destroy(model);
        return lego_diag_prefix(diag, status, "model \"%s\" version %" PRIu64, spec->name,
                                spec->version);
    }
    *ret_model = model;
    return LEGO_OK;
}

struct served_model *model_ref(struct served_model *model)
{
    atomic_fetch_add_explicit(&model->refs, 1, memory_order_relaxed);
    return model;
}

bool model_unref(struct served_model *model)
{
    return atomic_fetch_sub_explicit(&model->refs, 1, memory_order_acq_rel) == 1;
}

void model_destroy(struct served_model *model)
{
    for (uint32_t e = 0; e < model->session_count; e++)
        lego_session_destroy(model->sessions[e]);
    free(model->sessions);
    lego_arena_destroy(model->heads_arena);
    lego_model_close(model->model);
    if (model->previous && model_unref(model->previous))
        model_destroy(model->previous); /* one deep: what replaces lets go of its own */
    model_spec_clear(&model->spec);
    free(model->reason);
    free(model);
}

int model_set_add(struct model_set *set, struct served_model *model)
{
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? set->capacity * 2 : 8;
        struct served_model **items = realloc(set->items, capacity * sizeof(struct served_model *));
        if (!items)
            return LEGO_E_NOMEM;
        set->items = items;
        set->capacity = capacity;
    }
    set->items[set->count++] = model;
    return LEGO_OK;
}

int model_set_add_ref(struct model_set *set, struct served_model *model)
{
    int status = model_set_add(set, model);
    if (status == LEGO_OK)
        model_ref(model);
    return status;
}

struct served_model *model_set_find(const struct model_set *set, const char *name, uint64_t version)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i]->spec.version == version && !strcmp(set->items[i]->spec.name, name))
            return set->items[i];
    return NULL;
}
