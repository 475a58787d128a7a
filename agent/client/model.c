#include "agent/client/connection.h"

#include "agent/picture/picture.h"
#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

/* What an agent may make us keep of one model. */
#define MODEL_MAX_BYTES ((size_t)64 << 20)

/* A model; all that it points to lies in the arena. */
struct owned_model {
    struct lego_client_model model; /* first: the two have one address */
    struct lego_arena *arena;
    struct lego_preprocess preprocess;
};

void lego_client_model_free(struct lego_client_model *model)
{
    struct owned_model *owned = (struct owned_model *)model;
    if (!owned)
        return;
    lego_arena_destroy(owned->arena);
    free(owned);
}

static int no_memory(struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_NOMEM, "no memory for the model's description");
}

static int copy_tensors(struct lego_arena *arena, size_t count,
                        Inference__ModelMetadataResponse__TensorMetadata *const *from,
                        const struct lego_client_tensor **ret_tensors, struct lego_diag *diag)
{
    struct lego_client_tensor *tensors = lego_arena_calloc(arena, count + 1, sizeof(*tensors));
    if (!tensors)
        return no_memory(diag);
    for (size_t i = 0; i < count; i++) {
        tensors[i].name = lego_arena_strdup(arena, from[i]->name);
        tensors[i].dtype = lego_dtype_from_name(from[i]->datatype);
        if (!tensors[i].name)
            return no_memory(diag);
        if (from[i]->n_shape > LEGO_MAX_RANK)
            return lego_fail(diag, LEGO_E_FORMAT,
                             "the agent's model has a tensor of %zu dimensions", from[i]->n_shape);
        tensors[i].shape.rank = (int)from[i]->n_shape;
        for (size_t d = 0; d < from[i]->n_shape; d++)
            tensors[i].shape.dim[d] = from[i]->shape[d] < 0 ? LEGO_DIM_UNKNOWN : from[i]->shape[d];
    }
    *ret_tensors = tensors;
    return LEGO_OK;
}

/* Cuts `text` (in the arena) at its newlines. */
static int split_labels(struct owned_model *owned, char *text, struct lego_diag *diag)
{
    size_t count = 1;
    for (const char *p = text; *p; p++)
        count += *p == '\n';
    const char **labels = lego_arena_calloc(owned->arena, count, sizeof(*labels));
    if (!labels)
        return no_memory(diag);
    for (size_t i = 0; i < count; i++) {
        labels[i] = text;
        text += strcspn(text, "\n");
        if (*text)
            *text++ = '\0';
    }
    owned->model.labels = labels;
    owned->model.label_count = (uint32_t)count;
    return LEGO_OK;
}

static int take_property(struct owned_model *owned, const char *key, const char *value,
                         struct lego_diag *diag)
{
    if (strcmp(key, "labels") == 0 && value[0]) {
        char *text = lego_arena_strdup(owned->arena, value);
        return text ? split_labels(owned, text, diag) : no_memory(diag);
    }
    if (strcmp(key, "preprocess") == 0 && value[0]) {
        owned->model.takes_pictures = true;
        return preprocess_parse(value, strlen(value), "the model's preprocessing", owned->arena,
                                &owned->preprocess, diag);
    }
    return LEGO_OK;
}

static int take_properties(struct owned_model *owned, const Inference__ModelMetadataResponse *from,
                           struct lego_diag *diag)
{
    size_t count = from->n_properties;
    const char **names = lego_arena_calloc(owned->arena, count + 1, sizeof(*names));
    const char **values = lego_arena_calloc(owned->arena, count + 1, sizeof(*values));
    if (!names || !values)
        return no_memory(diag);
    for (size_t i = 0; i < count; i++) {
        names[i] = lego_arena_strdup(owned->arena, from->properties[i]->key);
        values[i] = lego_arena_strdup(owned->arena, from->properties[i]->value);
        if (!names[i] || !values[i])
            return no_memory(diag);
        int status = take_property(owned, names[i], values[i], diag);
        if (status != LEGO_OK)
            return status;
    }
    owned->model.property_names = names;
    owned->model.property_values = values;
    owned->model.property_count = (uint32_t)count;
    return LEGO_OK;
}

static int take_metadata(struct owned_model *owned, const Inference__ModelMetadataResponse *from,
                         const char *version, struct lego_diag *diag)
{
    struct lego_client_model *model = &owned->model;
    owned->arena = lego_arena_create(MODEL_MAX_BYTES);
    if (!owned->arena)
        return no_memory(diag);
    model->name = lego_arena_strdup(owned->arena, from->name);
    /* The version that was asked for: none stays none, so that a newer one is used when it comes.
     */
    model->version = lego_arena_strdup(owned->arena, version ? version : "");
    if (!model->name || !model->version)
        return no_memory(diag);
    int status = copy_tensors(owned->arena, from->n_inputs, from->inputs, &model->inputs, diag);
    if (status == LEGO_OK)
        status = copy_tensors(owned->arena, from->n_outputs, from->outputs, &model->outputs, diag);
    if (status != LEGO_OK)
        return status;
    model->input_count = (uint32_t)from->n_inputs;
    model->output_count = (uint32_t)from->n_outputs;
    return take_properties(owned, from, diag);
}

int lego_client_model_get(struct lego_client *client, const char *name, const char *version,
                          struct lego_client_model **ret_model, struct lego_diag *diag)
{
    Legonet__Request request = LEGONET__REQUEST__INIT;
    Inference__ModelMetadataRequest metadata = INFERENCE__MODEL_METADATA_REQUEST__INIT;
    Legonet__Response *response = NULL;

    metadata.name = (char *)name;
    if (version)
        metadata.version = (char *)version;
    request.call_case = LEGONET__REQUEST__CALL_MODEL_METADATA;
    request.model_metadata = &metadata;
    int status = connection_call(client, &request, &response, diag);
    if (status != LEGO_OK)
        return status;

    struct owned_model *owned = calloc(1, sizeof(*owned));
    status =
        owned ? take_metadata(owned, response->model_metadata, version, diag) : no_memory(diag);
    ipc_response_free(response);
    if (status != LEGO_OK) {
        lego_client_model_free(owned ? &owned->model : NULL);
        return status;
    }
    *ret_model = &owned->model;
    return LEGO_OK;
}

/* ---- pictures ---- */

/* A request around a picture; `data` holds the input and is freed by the caller. */
struct picture_request {
    struct lego_client_request request;
    struct lego_client_tensor input;
    const char *output;
    float *data;
};

static const char *input_name(const struct owned_model *owned)
{
    if (owned->preprocess.input)
        return owned->preprocess.input;
    return owned->model.input_count ? owned->model.inputs[0].name : "";
}

static struct lego_shape input_shape(const struct lego_preprocess *p)
{
    if (p->nhwc)
        return (struct lego_shape){.rank = 4, .dim = {1, p->height, p->width, p->channels}};
    return (struct lego_shape){.rank = 4, .dim = {1, p->channels, p->height, p->width}};
}

static int build_picture(const struct owned_model *owned, const struct lego_picture *picture,
                         uint32_t top, struct picture_request *ret_built, struct lego_diag *diag)
{
    const struct lego_preprocess *p = &owned->preprocess;
    if (!owned->model.takes_pictures || owned->model.output_count == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "model '%s' does not say how a picture becomes its input",
                         owned->model.name);
    size_t elems = preprocess_elems(p), bytes;
    if (!lego_mul_size(elems, sizeof(float), &bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "the model's input is too large");
    float *data = malloc(bytes);
    if (!data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for an input of %zu bytes", bytes);
    int status = preprocess_apply(p, picture, data, elems, diag);
    if (status != LEGO_OK) {
        free(data);
        return status;
    }
    ret_built->data = data;
    ret_built->output = owned->model.outputs[0].name;
    ret_built->input = (struct lego_client_tensor){.name = input_name(owned),
                                                   .dtype = LEGO_DTYPE_FLOAT32,
                                                   .shape = input_shape(p),
                                                   .data = data,
                                                   .bytes = bytes};
    ret_built->request = (struct lego_client_request){.model = owned->model.name,
                                                      .version = owned->model.version,
                                                      .inputs = &ret_built->input,
                                                      .input_count = 1,
                                                      .outputs = &ret_built->output,
                                                      .output_count = top ? 1 : 0,
                                                      .top = top};
    return LEGO_OK;
}

/* The caller's pixels as the picture module sees them; it does not write them. */
static struct lego_picture borrow(const struct lego_client_picture *picture)
{
    return (struct lego_picture){.width = picture->width,
                                 .height = picture->height,
                                 .channels = picture->channels,
                                 .stride = picture->stride,
                                 .pixels = (uint8_t *)picture->pixels};
}

static int infer(struct lego_client *client, const struct lego_client_model *model,
                 const struct lego_picture *picture, uint32_t top,
                 struct lego_client_result **ret_result, struct lego_diag *diag)
{
    struct picture_request built;
    int status = build_picture((const struct owned_model *)model, picture, top, &built, diag);
    if (status != LEGO_OK)
        return status;
    status = lego_client_infer(client, &built.request, ret_result, diag);
    free(built.data);
    return status;
}

int lego_client_infer_picture(struct lego_client *client, const struct lego_client_model *model,
                              const struct lego_client_picture *picture, uint32_t top,
                              struct lego_client_result **ret_result, struct lego_diag *diag)
{
    struct lego_picture borrowed = borrow(picture);
    return infer(client, model, &borrowed, top, ret_result, diag);
}

int lego_client_submit_picture(struct lego_client *client, const struct lego_client_model *model,
                               const struct lego_client_picture *picture, uint32_t top,
                               uint64_t *ret_id, struct lego_diag *diag)
{
    struct lego_picture borrowed = borrow(picture);
    struct picture_request built;
    int status = build_picture((const struct owned_model *)model, &borrowed, top, &built, diag);
    if (status != LEGO_OK)
        return status;
    status = lego_client_submit(client, &built.request, ret_id, diag);
    free(built.data);
    return status;
}

int lego_client_infer_file(struct lego_client *client, const struct lego_client_model *model,
                           const char *path, uint32_t top, struct lego_client_result **ret_result,
                           struct lego_diag *diag)
{
    struct lego_picture picture;
    int status = picture_load(path, &picture, diag);
    if (status != LEGO_OK)
        return status;
    status = infer(client, model, &picture, top, ret_result, diag);
    picture_clear(&picture);
    return status;
}
