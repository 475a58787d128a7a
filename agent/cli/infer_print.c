/* What legonet infer prints. */
#include "agent/cli/element.h"
#include "agent/cli/infer.h"
#include "agent/cli/output.h"

#include <stdio.h>

#define SHOWN_ELEMS 8

static json_t *class_json(const struct lego_client_class *class)
{
    return json_pack("{s:I, s:o, s:s}", "index", (json_int_t) class->index, "score",
                     cli_json_real(class->score), "label", class->label);
}

static json_t *detection_json(const struct lego_client_detection *found)
{
    json_t *keypoints = json_array();
    for (uint32_t i = 0; i < found->keypoint_count; i++)
        json_array_append_new(keypoints, json_pack("[f, f, f]", (double)found->keypoints[i].x,
                                                   (double)found->keypoints[i].y,
                                                   (double)found->keypoints[i].score));
    return json_pack("{s:[f, f, f, f], s:f, s:I, s:s, s:o}", "box", (double)found->left,
                     (double)found->top, (double)found->right, (double)found->bottom, "score",
                     (double)found->score, "index", (json_int_t)found->index, "label", found->label,
                     "keypoints", keypoints);
}

static json_t *mask_json(const struct lego_client_mask *mask)
{
    json_t *runs = json_array();
    for (uint32_t i = 0; i < 2 * mask->run_count; i++)
        json_array_append_new(runs, json_integer(mask->runs[i]));
    return json_pack("{s:[I, I, I, I], s:[I, I], s:o}", "box", (json_int_t)mask->left,
                     (json_int_t)mask->top, (json_int_t)mask->right, (json_int_t)mask->bottom,
                     "size", (json_int_t)mask->width, (json_int_t)mask->height, "runs", runs);
}

/* What the heads say. */
static json_t *answers_json(const struct lego_client_result *result)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < result->answer_count; i++) {
        const struct lego_client_answer *answer = &result->answers[i];
        json_t *classes = json_array(), *detections = json_array();
        for (uint32_t c = 0; c < answer->class_count; c++)
            json_array_append_new(classes, class_json(&answer->classes[c]));
        for (uint32_t d = 0; d < answer->detection_count; d++)
            json_array_append_new(detections, detection_json(&answer->detections[d]));
        json_t *json = json_pack("{s:s, s:o, s:o, s:s}", "head", answer->head, "classes", classes,
                                 "detections", detections, "text", answer->text);
        if (json && answer->mask)
            json_object_set_new(json, "mask", mask_json(answer->mask));
        json_array_append_new(list, json);
    }
    return list;
}

static json_t *element_json(enum lego_dtype dtype, const void *data, size_t index)
{
    double value = element_value(dtype, data, index);
    if (dtype == LEGO_DTYPE_INT64 || dtype == LEGO_DTYPE_UINT64)
        return json_integer(((const int64_t *)data)[index]);
    if (dtype == LEGO_DTYPE_FLOAT32 || dtype == LEGO_DTYPE_FLOAT64 || dtype == LEGO_DTYPE_FLOAT16 ||
        dtype == LEGO_DTYPE_BFLOAT16)
        return cli_json_real(value);
    return json_integer((json_int_t)value);
}

static json_t *output_json(const struct lego_client_tensor *tensor)
{
    json_t *shape = json_array(), *data = json_array();
    size_t elems = 0;
    for (int d = 0; d < tensor->shape.rank; d++)
        json_array_append_new(shape, json_integer(tensor->shape.dim[d]));
    if (lego_shape_elems(&tensor->shape, &elems) == LEGO_OK) {
        for (size_t i = 0; i < elems; i++)
            json_array_append_new(data, element_json(tensor->dtype, tensor->data, i));
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "name", tensor->name, "datatype",
                     lego_dtype_name(tensor->dtype), "shape", shape, "data", data);
}

/* All that came, a new reference; NULL when out of memory. */
static json_t *result_json(const struct lego_client_result *result, bool classes, double us)
{
    json_t *list = json_array();
    if (result->answer_count > 0) {
        json_decref(list);
        list = answers_json(result);
    } else if (classes) {
        for (uint32_t i = 0; i < result->class_count; i++)
            json_array_append_new(list, class_json(&result->classes[i]));
    } else {
        for (uint32_t i = 0; i < result->output_count; i++)
            json_array_append_new(list, output_json(&result->outputs[i]));
    }
    return json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:o}", "model", result->model, "version",
                     result->version, "us", us, "queue_us", (double)result->queue_ns * 1e-3,
                     "decode_us", (double)result->decode_ns * 1e-3, "compute_us",
                     (double)result->compute_ns * 1e-3,
                     result->answer_count ? "answers"
                     : classes            ? "classes"
                                          : "outputs",
                     list);
}

static void print_tensor(const struct lego_client_tensor *tensor)
{
    char shape[256];
    size_t elems = 0;
    printf("%s %s %s:", tensor->name, lego_dtype_name(tensor->dtype),
           lego_shape_format(&tensor->shape, NULL, shape, sizeof(shape)));
    if (lego_shape_elems(&tensor->shape, &elems) != LEGO_OK)
        elems = 0;
    for (size_t i = 0; i < elems && i < SHOWN_ELEMS; i++)
        printf(" %.6g", element_value(tensor->dtype, tensor->data, i));
    printf(elems > SHOWN_ELEMS ? " ...\n" : "\n");
}

static void print_answers(const struct lego_client_result *result)
{
    for (uint32_t i = 0; i < result->answer_count; i++) {
        const struct lego_client_answer *answer = &result->answers[i];
        for (uint32_t c = 0; c < answer->class_count; c++)
            printf("%10.6f  %5u  %s\n", (double)answer->classes[c].score, answer->classes[c].index,
                   answer->classes[c].label);
        for (uint32_t d = 0; d < answer->detection_count; d++) {
            const struct lego_client_detection *found = &answer->detections[d];
            printf("%10.6f  %5u  %s  box %.1f %.1f %.1f %.1f\n", (double)found->score, found->index,
                   found->label, (double)found->left, (double)found->top, (double)found->right,
                   (double)found->bottom);
        }
        if (answer->kind == LEGO_CLIENT_TEXT)
            printf("%10.6f  %s\n", (double)answer->text_score, answer->text);
    }
}

static int print_text(const struct lego_client_result *result, bool classes, double us)
{
    for (uint32_t i = 0; classes && i < result->class_count; i++)
        printf("%10.6f  %5u  %s\n", (double)result->classes[i].score, result->classes[i].index,
               result->classes[i].label);
    for (uint32_t i = 0; !classes && i < result->output_count; i++)
        print_tensor(&result->outputs[i]);
    print_answers(result);
    printf("%s version %s: %.2f ms (in the agent: queue %.3f, decode %.3f, compute %.3f)\n",
           result->model, result->version, us * 1e-3, (double)result->queue_ns * 1e-6,
           (double)result->decode_ns * 1e-6, (double)result->compute_ns * 1e-6);
    return cli_finish(INFER_COMMAND, CLI_DONE);
}

int infer_print(const struct lego_client_result *result, bool classes, bool json, double us)
{
    return json ? cli_print_json(INFER_COMMAND, result_json(result, classes, us))
                : print_text(result, classes, us);
}

static int print_json_line(const char *path, uint64_t frame,
                           const struct lego_client_result *result, bool classes, double us)
{
    json_t *json = result_json(result, classes, us), *line = json_object();
    bool bad = !json || !line || json_object_set_new(line, "source", json_string(path)) != 0 ||
               (frame && json_object_set_new(line, "frame", json_integer((json_int_t)frame))) ||
               json_object_update(line, json) != 0;
    json_decref(json);
    if (bad) {
        json_decref(line);
        line = NULL;
    }
    return cli_print_json_line(INFER_COMMAND, line);
}

int infer_print_line(const char *path, uint64_t frame, const struct lego_client_result *result,
                     bool classes, bool json, double us)
{
    if (json)
        return print_json_line(path, frame, result, classes, us);
    printf("%s", path);
    if (frame)
        printf(" %llu", (unsigned long long)frame);
    printf(": %.2f ms", us * 1e-3);
    for (uint32_t i = 0; classes && i < result->class_count; i++)
        printf("%s %s (%u) %.3f", i ? "," : ":", result->classes[i].label, result->classes[i].index,
               (double)result->classes[i].score);
    printf("\n");
    print_answers(result);
    for (uint32_t i = 0; !classes && i < result->output_count; i++)
        print_tensor(&result->outputs[i]);
    return cli_finish(INFER_COMMAND, CLI_DONE);
}
