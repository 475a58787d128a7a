/* What steps expect. */
#include "tests/clients/conformance/conformance.h"

#include <stdio.h>
#include <string.h>

/* Prints what does not hold. */
static bool holds(bool condition, const char *what, const char *text)
{
    if (!condition)
        printf("    %s: %s\n", what, text);
    return condition;
}

static bool check_shape(const json_t *wanted, const struct lego_client_tensor *tensor)
{
    bool same = json_array_size(wanted) == (size_t)tensor->shape.rank;
    for (int i = 0; same && i < tensor->shape.rank; i++) {
        int64_t want = json_integer_value(json_array_get(wanted, (size_t)i));
        same = want < 0 ? tensor->shape.dim[i] < 0 : tensor->shape.dim[i] == want;
    }
    return holds(same, "shape", tensor->name);
}

static bool check_info(const json_t *wanted, const struct lego_client_tensor *tensor)
{
    return holds(strcmp(step_text(wanted, "name"), tensor->name) == 0, "name", tensor->name) &&
           holds(dtype_of(step_text(wanted, "datatype")) == tensor->dtype, "datatype",
                 tensor->name) &&
           check_shape(json_object_get(wanted, "shape"), tensor);
}

static double element(const struct lego_client_tensor *tensor, const void *data, size_t index)
{
    return tensor->dtype == LEGO_DTYPE_FLOAT32 ? (double)((const float *)data)[index]
                                               : (double)((const int64_t *)data)[index];
}

static bool check_values(const struct runner *runner, const json_t *wanted,
                         const struct lego_client_tensor *tensor)
{
    const json_t *values = json_object_get(wanted, "values");
    const char *data = tensor->data, *region = step_text(wanted, "region");
    if (region) {
        if (!holds(tensor->region && strcmp(tensor->region, region) == 0, "region", tensor->name))
            return false;
        data = (const char *)region_find(runner, region)->memory + tensor->offset;
    }
    size_t elems = tensor->bytes / lego_dtype_bytes(tensor->dtype);
    if (json_is_string(values)) { /* "same rows" */
        size_t row = tensor->bytes / (size_t)tensor->shape.dim[0];
        return holds(element(tensor, data, 0) != 0 && memcmp(data, data + row, row) == 0, "rows",
                     tensor->name);
    }
    bool same = elems == json_array_size(values);
    for (size_t i = 0; same && i < elems; i++)
        same = element(tensor, data, i) == json_number_value(json_array_get(values, i));
    return holds(same, "values", tensor->name);
}

static bool check_outputs(const struct runner *runner, const json_t *wanted,
                          const struct lego_client_result *result)
{
    bool same = holds(json_array_size(wanted) == result->output_count, "outputs", "count");
    for (uint32_t i = 0; same && i < result->output_count; i++) {
        const json_t *want = json_array_get(wanted, i);
        same = check_info(want, &result->outputs[i]) &&
               check_values(runner, want, &result->outputs[i]);
    }
    return same;
}

static bool check_classes(struct runner *runner, const struct lego_client_result *result,
                          json_int_t count)
{
    struct lego_client_model *model;
    bool same = holds(result->class_count == count, "classes", "count") &&
                holds(!lego_client_model_get(runner->client, result->model, NULL, &model, NULL),
                      "model", result->model);
    for (uint32_t i = 0; same && i < result->class_count; i++)
        same = holds(strcmp(model->labels[result->classes[i].index], result->classes[i].label) == 0,
                     "label", result->classes[i].label);
    if (result->class_count == count)
        lego_client_model_free(model);
    return same;
}

/* Where it lies, and its values row by row. */
static bool check_mask(const json_t *wanted, const struct lego_client_mask *mask)
{
    if (!wanted || !mask)
        return holds(!wanted && !mask, "mask", wanted ? "none" : "one");
    const uint32_t got[] = {mask->left,   mask->top,   mask->right,
                            mask->bottom, mask->width, mask->height};
    const json_t *place = json_object_get(wanted, "place"),
                 *values = json_object_get(wanted, "rows");
    uint16_t read[4096];
    bool same = holds(lego_client_mask_read(mask, read, 4096, NULL) == LEGO_OK, "mask", "size");
    for (size_t i = 0; same && i < 6; i++)
        same = holds(json_integer_value(json_array_get(place, i)) == got[i], "mask", "place");
    /* All rows are alike, each as a text with a digit for a pixel. */
    const char *row = json_string_value(values);
    same = same && holds(strlen(row) == mask->width, "mask", "width");
    for (size_t i = 0; same && i < (size_t)mask->width * mask->height; i++)
        same = holds(read[i] == row[i % mask->width] - '0', "mask", "value");
    return same;
}

static bool check_answers(struct runner *runner, const json_t *wanted,
                          const struct lego_client_result *result)
{
    struct lego_client_model *model;
    if (!holds(json_array_size(wanted) == result->answer_count, "answers", "count") ||
        !holds(!lego_client_model_get(runner->client, result->model, NULL, &model, NULL), "model",
               result->model))
        return false;
    bool same = true;
    for (uint32_t i = 0; same && i < result->answer_count; i++) {
        const struct lego_client_answer *one = &result->answers[i];
        const json_t *want = json_array_get(wanted, i);
        const json_t *mask = json_object_get(want, "mask");
        same = holds(one->kind == (mask ? LEGO_CLIENT_MASK : LEGO_CLIENT_CLASSES) &&
                         one->row == json_integer_value(json_object_get(want, "row")) &&
                         one->class_count == json_integer_value(json_object_get(want, "classes")),
                     "answer", one->head) &&
               check_mask(mask, one->mask);
        for (uint32_t c = 0; same && c < one->class_count; c++)
            same = holds(!strcmp(model->labels[one->classes[c].index], one->classes[c].label),
                         "label", one->classes[c].label);
    }
    lego_client_model_free(model);
    return same;
}

static bool check_result(struct runner *runner, const json_t *expect,
                         const struct lego_client_result *result)
{
    const json_t *outputs = json_object_get(expect, "outputs");
    const json_t *classes = json_object_get(expect, "classes");
    const json_t *answers = json_object_get(expect, "answers");
    const char *label = step_text(expect, "label");
    return (!answers || check_answers(runner, answers, result)) &&
           (!outputs || check_outputs(runner, outputs, result)) &&
           (!classes || check_classes(runner, result, json_integer_value(classes))) &&
           (!label || (holds(result->class_count > 0, "classes", "none") &&
                       holds(strcmp(result->classes[0].label, label) == 0, "label",
                             result->classes[0].label)));
}

static bool check_model(const json_t *expect, const struct lego_client_model *model)
{
    const json_t *inputs = json_object_get(expect, "inputs");
    const json_t *outputs = json_object_get(expect, "outputs");
    const json_t *labels = json_object_get(expect, "labels");
    bool same =
        holds(json_array_size(inputs) == model->input_count &&
                  json_array_size(outputs) == model->output_count &&
                  json_array_size(labels) == model->label_count &&
                  json_is_true(json_object_get(expect, "pictures")) == model->takes_pictures,
              "model", model->name);
    for (uint32_t i = 0; same && i < model->input_count; i++)
        same = check_info(json_array_get(inputs, i), &model->inputs[i]);
    for (uint32_t i = 0; same && i < model->output_count; i++)
        same = check_info(json_array_get(outputs, i), &model->outputs[i]);
    for (uint32_t i = 0; same && i < model->label_count; i++)
        same = holds(!strcmp(json_string_value(json_array_get(labels, i)), model->labels[i]),
                     "label", model->labels[i]);
    return same;
}

static bool check_server(const json_t *expect, const struct lego_client_server *server)
{
    const json_t *extensions = json_object_get(expect, "extensions");
    bool same = holds(strcmp(step_text(expect, "name"), server->name) == 0 && server->live, "name",
                      server->name);
    for (size_t i = 0; same && i < json_array_size(extensions); i++) {
        const char *want = json_string_value(json_array_get(extensions, i));
        uint32_t at = 0;
        while (at < server->extension_count && strcmp(server->extensions[at], want) != 0)
            at++;
        same = holds(at < server->extension_count, "no extension", want);
    }
    return same;
}

static bool check_list(json_t *expect, const struct lego_client_list *list)
{
    const char *name;
    json_t *state;
    json_object_foreach(json_object_get(expect, "models"), name, state)
    {
        uint32_t at = 0;
        while (at < list->count && strcmp(list->models[at].name, name) != 0)
            at++;
        if (!holds(at < list->count, "not listed", name) ||
            !holds(strcmp(list->models[at].state, json_string_value(state)) == 0, name,
                   list->models[at].state))
            return false;
    }
    return true;
}

bool outcome_check(struct runner *runner, const json_t *step, const struct outcome *outcome)
{
    json_t *expect = json_object_get(step, "expect");
    const char *status = step_text(expect, "status"), *text = step_text(expect, "text");
    if (!holds(strcmp(lego_status_name(outcome->status), status ? status : "OK") == 0,
               lego_status_name(outcome->status), outcome->text))
        return false;
    if (text && !holds(strstr(outcome->text, text) != NULL, "text", outcome->text))
        return false;
    if (outcome->status != LEGO_OK || !expect)
        return true;
    return (!outcome->result || check_result(runner, expect, outcome->result)) &&
           (!outcome->model || check_model(expect, outcome->model)) &&
           (!outcome->server || check_server(expect, outcome->server)) &&
           (!outcome->list || check_list(expect, outcome->list));
}
