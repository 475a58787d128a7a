#include "agent/runtime/model.h"

#include "agent/runtime/weights_trellis.h"

#include "agent/runtime/kern_init.h"
#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_PLAN_CACHE    8
#define MODEL_DECIDED_PLANS 16 /* past it inputs decide too much to plan for */

static void model_free(struct lego_model *model)
{
    while (model->plans) {
        struct plan *plan = model->plans;
        model->plans = plan->next;
        plan_destroy(plan);
    }
    while (model->weights) {
        struct weights *weights = model->weights;
        model->weights = weights->next;
        weights_destroy(weights);
    }
    while (model->integers) {
        struct weights_s8 *integers = model->integers;
        model->integers = integers->next;
        weights_s8_destroy(integers);
    }
    while (model->halves) {
        struct weights_f16 *halves = model->halves;
        model->halves = halves->next;
        weights_f16_destroy(halves);
    }
    while (model->dense) {
        struct model_dense *dense = model->dense;
        model->dense = dense->next;
        free(dense->data);
        free(dense);
    }
    weights_catalogues_clear(&model->catalogues);
    free(model->decides);
    fault_guard_remove(model->guard);
    lego_package_destroy(model->package);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

static int model_guard(struct lego_model *model, struct lego_diag *diag)
{
    size_t bytes;
    const void *mapping = lego_package_mapping(model->package, &bytes);

    return mapping ? fault_guard_add(mapping, bytes, &model->guard, diag) : LEGO_OK;
}

/* Which inputs Ifs are decided by. */
static int model_find_deciding(struct lego_model *model, struct lego_diag *diag)
{
    const struct lego_graph *graph = model->package->graph;
    bool any = false;

    model->decides = calloc(graph->input_count + 1u, sizeof(*model->decides));
    if (!model->decides || lego_graph_deciding_inputs(graph, model->decides))
        return lego_fail(diag, LEGO_E_NOMEM, "opening a model");
    for (uint32_t i = 0; i < graph->input_count; i++)
        any |= model->decides[i];
    if (!any) {
        free(model->decides);
        model->decides = NULL;
    }
    return LEGO_OK;
}

/* Every operator must have a fast path or a reference evaluation: says so at once, for all nodes.
 */
static int model_check_operators(const struct lego_graph *graph, struct lego_diag *diag)
{
    char missing[512] = "";
    size_t used = 0;

    for (uint32_t i = 0; i < graph->node_count && used < sizeof(missing); i++) {
        const struct lego_node *node = &graph->nodes[i];
        if (!lego_op_evaluates(node->op))
            used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s (%s)",
                                     used ? ", " : "", node->name, lego_op_name(node->op));
    }
    return used ? lego_fail(diag, LEGO_E_UNSUPPORTED, "operators that cannot run: %s", missing)
                : LEGO_OK;
}

/* What the coded weights of a model (all, or only the entropy-coded ones) take as fp32. */
static size_t model_coded_bytes(const struct lego_graph *graph, bool entropy_coded)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const struct lego_tensor *tensor = &graph->tensors[i];
        if (!tensor->coded || (entropy_coded && !tensor->coded->trellis))
            continue;
        if (!lego_add_size(bytes, tensor->bytes, &bytes))
            return SIZE_MAX;
    }
    return bytes;
}

int lego_model_from_package(struct lego_package *package, const struct lego_model_options *options,
                            struct lego_model **ret_model, struct lego_diag *diag)
{
    static const struct lego_model_options defaults;
    struct lego_model *model = calloc(1, sizeof(*model));
    int status;

    if (!model) {
        lego_package_destroy(package);
        return lego_fail(diag, LEGO_E_NOMEM, "opening a model");
    }
    options = options ? options : &defaults;
    atomic_init(&model->references, 1);
    pthread_mutex_init(&model->lock, NULL);
    model->package = package;
    model->resident = options->resident;
    model->compute = options->compute;
    model->small_panels = model_coded_bytes(package->graph, false) <= LEGO_RESIDENT_SMALL_BYTES;
    model->entropy_panels = model_coded_bytes(package->graph, true) <= LEGO_RESIDENT_ENTROPY_BYTES;
    model->plan_cache = options->plan_cache ? options->plan_cache : MODEL_PLAN_CACHE;
    model->unverified = options->verify == LEGO_VERIFY_LAZY;
    status = model_guard(model, diag);
    if (!status)
        status = kern_init(&model->kernels, options->cpu, diag);
    if (!status)
        status = model_check_operators(package->graph, diag);
    if (!status)
        status = model_find_deciding(model, diag);
    if (!status)
        status = weights_catalogues_make(&model->catalogues, package->catalogues,
                                         package->catalogue_count, diag);
    if (!status)
        status = weights_slots_make(&model->catalogues, package, diag);
    if (!status && fault_guard_faulted(model->guard))
        status = lego_fail(diag, LEGO_E_FAULT, "the model's file became shorter while it was read");
    if (status) {
        model_free(model);
        return status;
    }
    kern_cpu_format(model->kernels.cpu, model->cpu, sizeof(model->cpu));
    model->resident_bytes = model->catalogues.bytes;
    *ret_model = model;
    return LEGO_OK;
}

int lego_model_open(const char *path, const struct lego_model_options *options,
                    struct lego_model **ret_model, struct lego_diag *diag)
{
    struct lego_package *package;
    int status =
        lego_package_open(path, options ? options->verify : LEGO_VERIFY_STRUCTURE, &package, diag);

    if (status)
        return status;
    status = lego_model_from_package(package, options, ret_model, diag);
    return status ? lego_diag_prefix(diag, status, "%s", path) : LEGO_OK;
}

struct lego_model *lego_model_ref(struct lego_model *model)
{
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void lego_model_close(struct lego_model *model)
{
    if (model && atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) == 1)
        model_free(model);
}

const struct lego_package *lego_model_package(const struct lego_model *model)
{
    return model->package;
}

const struct lego_value *lego_model_input(const struct lego_model *model, uint32_t index)
{
    const struct lego_graph *graph = model->package->graph;

    return index < graph->input_count ? &graph->values[graph->inputs[index]] : NULL;
}

const struct lego_value *lego_model_output(const struct lego_model *model, uint32_t index)
{
    const struct lego_graph *graph = model->package->graph;

    return index < graph->output_count ? &graph->values[graph->outputs[index]] : NULL;
}

uint32_t lego_model_input_count(const struct lego_model *model)
{
    return model->package->graph->input_count;
}

uint32_t lego_model_output_count(const struct lego_model *model)
{
    return model->package->graph->output_count;
}

size_t lego_model_resident_bytes(const struct lego_model *model)
{
    struct lego_model *shared = (struct lego_model *)model; /* only to lock it */
    size_t bytes;

    pthread_mutex_lock(&shared->lock);
    bytes = shared->resident_bytes;
    pthread_mutex_unlock(&shared->lock);
    return bytes;
}

const char *lego_model_cpu(const struct lego_model *model)
{
    return model->cpu;
}

bool model_owns(const struct lego_model *model, const struct lego_tensor *tensor)
{
    const struct lego_graph *graph = model->package->graph;

    for (uint32_t i = 0; i < graph->tensor_count; i++)
        if (tensor->coded ? graph->tensors[i].coded == tensor->coded
                          : graph->tensors[i].data == tensor->data)
            return true;
    return false;
}

static bool model_keeps_panels(const struct lego_model *model, const struct lego_tensor *tensor)
{
    if (model->resident != LEGO_RESIDENT_AUTO || !tensor->coded)
        return model->resident == LEGO_RESIDENT_PANELS;
    return tensor->coded->trellis ? model->entropy_panels : model->small_panels;
}

static bool weights_key_equal(const struct weights_key *a, const struct weights_key *b)
{
    return a->source == b->source && a->view == b->view && a->groups == b->groups &&
           a->nr == b->nr && a->whole == b->whole && a->part_channels == b->part_channels &&
           a->kernel_height == b->kernel_height && a->kernel_width == b->kernel_width &&
           a->stride_y == b->stride_y && a->stride_x == b->stride_x &&
           a->dilation_y == b->dilation_y && a->dilation_x == b->dilation_x;
}

int model_weights(struct lego_model *model, const struct lego_tensor *tensor,
                  const struct weights_key *key, const struct weights **ret_weights,
                  struct lego_diag *diag)
{
    struct weights *weights = model->weights;
    int status;

    while (weights && !weights_key_equal(&weights->key, key))
        weights = weights->next;
    if (!weights) {
        status = weights_make(&model->kernels, tensor, key, &model->catalogues,
                              model_keeps_panels(model, tensor), &weights, diag);
        if (status)
            return status;
        weights->next = model->weights;
        model->weights = weights;
        model->resident_bytes += weights->bytes;
    }
    *ret_weights = weights;
    return LEGO_OK;
}

int model_weights_s8(struct lego_model *model, const struct lego_tensor *tensor,
                     enum lego_matrix_view view, const struct weights_s8 **ret_weights,
                     struct lego_diag *diag)
{
    const void *source = tensor->coded ? (const void *)tensor->coded : tensor->data;
    struct weights_s8 *weights = model->integers;
    int status;

    while (weights && (weights->source != source || weights->view != view))
        weights = weights->next;
    if (!weights) {
        status = weights_s8_make(&model->kernels, tensor, view, &model->catalogues,
                                 model_keeps_panels(model, tensor), &weights, diag);
        if (status)
            return status;
        weights->source = source;
        weights->next = model->integers;
        model->integers = weights;
        model->resident_bytes += weights->bytes;
    }
    *ret_weights = weights;
    return LEGO_OK;
}

int model_weights_f16(struct lego_model *model, const struct lego_tensor *tensor,
                      enum lego_matrix_view view, const struct weights_f16 **ret_weights,
                      struct lego_diag *diag)
{
    const void *source = tensor->coded ? (const void *)tensor->coded : tensor->data;
    struct weights_f16 *weights = model->halves;
    int status;

    while (weights && (weights->source != source || weights->view != view))
        weights = weights->next;
    if (!weights) {
        status =
            weights_f16_make(&model->kernels, tensor, view, &model->catalogues, &weights, diag);
        if (status)
            return status;
        weights->source = source;
        weights->next = model->halves;
        model->halves = weights;
        model->resident_bytes += weights->bytes;
    }
    *ret_weights = weights;
    return LEGO_OK;
}

int model_dense(struct lego_model *model, const struct lego_tensor *tensor, const void **ret_data,
                struct lego_diag *diag)
{
    struct model_dense *dense = model->dense;
    int status;

    while (dense && dense->coded != tensor->coded)
        dense = dense->next;
    if (!dense) {
        dense = calloc(1, sizeof(*dense));
        if (!dense || !(dense->data = malloc(tensor->bytes ? tensor->bytes : 1))) {
            free(dense);
            return lego_fail(diag, LEGO_E_NOMEM, "decoding '%s'", tensor->name);
        }
        status = lego_coded_decode(tensor, dense->data, tensor->bytes / sizeof(float), diag);
        if (status) {
            free(dense->data);
            free(dense);
            return status;
        }
        dense->coded = tensor->coded;
        dense->bytes = tensor->bytes;
        dense->next = model->dense;
        model->dense = dense;
        model->resident_bytes += dense->bytes;
    }
    *ret_data = dense->data;
    return LEGO_OK;
}

static struct plan *model_find_plan(struct lego_model *model, const struct plan_key *key)
{
    struct plan **link = &model->plans;

    for (; *link; link = &(*link)->next) {
        struct plan *plan = *link;
        if (!plan_matches(plan, key))
            continue;
        *link = plan->next;
        plan->next = model->plans;
        model->plans = plan;
        return plan;
    }
    return NULL;
}

/* Drops what is over the cache's size and in nobody's use, oldest first. */
static void model_trim_plans(struct lego_model *model)
{
    struct plan **link = &model->plans;
    size_t kept = 0;

    while (*link) {
        struct plan *plan = *link;
        if (kept < model->plan_cache || plan->references) {
            kept++;
            link = &plan->next;
            continue;
        }
        *link = plan->next;
        model->resident_bytes -= plan->weights_bytes;
        plan_destroy(plan);
    }
}

/* What was put off when the file was opened. */
static int model_verify(struct lego_model *model, struct lego_diag *diag)
{
    int status = model->unverified ? lego_package_verify(model->package, diag) : LEGO_OK;

    if (fault_guard_faulted(model->guard))
        return lego_fail(diag, LEGO_E_FAULT, "the model's file became shorter after it was opened");
    model->unverified = status != LEGO_OK;
    return status;
}

int model_plan(struct lego_model *model, struct plan_key key, struct plan **ret_plan,
               struct lego_diag *diag)
{
    struct plan *plan;
    int status;

    pthread_mutex_lock(&model->lock);
    status = model_verify(model, diag);
    plan = status ? NULL : model_find_plan(model, &key);
    if (!status && !plan && key.decisions && model->decided_plans >= MODEL_DECIDED_PLANS) {
        key.decisions = NULL;
        plan = model_find_plan(model, &key);
    }
    if (!status && !plan) {
        status = plan_create(model, &key, &plan, diag);
        if (!status) {
            model->decided_plans += key.decisions != NULL;
            plan->next = model->plans;
            model->plans = plan;
        }
    }
    if (!status) {
        plan->references++;
        model_trim_plans(model);
        *ret_plan = plan;
    }
    pthread_mutex_unlock(&model->lock);
    return status;
}

void model_release_plan(struct lego_model *model, struct plan *plan)
{
    if (!plan)
        return;
    pthread_mutex_lock(&model->lock);
    plan->references--;
    model_trim_plans(model);
    pthread_mutex_unlock(&model->lock);
}
