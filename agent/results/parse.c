#include "agent/results/heads.h"

#include "codec/base/arith.h"

#include <jansson.h>

#include <math.h>
#include <string.h>

struct reader {
    const char *name;
    struct lego_arena *arena;
    struct lego_diag *diag;
    uint32_t index; /* of the head */
    struct head *head;
};

static int complain(const struct reader *r, const char *key, const char *wants)
{
    return lego_fail(r->diag, LEGO_E_FORMAT, "%s: heads[%u]: '%s' must be %s", r->name, r->index,
                     key, wants);
}

static int out_of_memory(const struct reader *r)
{
    return lego_fail(r->diag, LEGO_E_NOMEM, "%s: out of memory", r->name);
}

static int read_choice(const struct reader *r, const char *key, const json_t *value,
                       const char *const *names, const char *wants, int *ret_index)
{
    const char *text = json_string_value(value);
    for (int i = 0; text && names[i]; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_index = i;
            return LEGO_OK;
        }
    return complain(r, key, wants);
}

static bool as_float(const json_t *value, double low, double high, float *ret_value)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= low && number <= high))
        return false;
    *ret_value = (float)number;
    return true;
}

static int read_text(const struct reader *r, const char *key, const json_t *value,
                     const char **ret_text)
{
    const char *text = json_string_value(value);
    if (!text || !*text)
        return complain(r, key, "a text");
    *ret_text = lego_arena_strdup(r->arena, text);
    return *ret_text ? LEGO_OK : out_of_memory(r);
}

/* One name, or an array of them. */
static int read_outputs(const struct reader *r, const char *key, const json_t *value,
                        struct head_outputs *outputs)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count < 1 || count > HEADS_MAX_OUTPUTS)
        return complain(r, key, "1 to 16 names of outputs");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        int status = read_text(r, key, item, &outputs->names[i]);
        if (status != LEGO_OK)
            return status;
    }
    outputs->count = (uint32_t)count;
    return LEGO_OK;
}

static int read_anchor_sizes(const struct reader *r, const json_t *grid, float cell_width,
                             float cell_height, uint32_t cells, uint32_t columns, float offset,
                             struct head_anchor *out)
{
    const json_t *sizes = json_object_get(grid, "sizes");
    size_t per_cell = json_array_size(sizes);
    for (size_t s = 0; s < per_cell; s++) {
        const json_t *size = json_array_get(sizes, s);
        float width, height;
        if (json_array_size(size) != 2 || !as_float(json_array_get(size, 0), 0, 1e6, &width) ||
            !as_float(json_array_get(size, 1), 0, 1e6, &height))
            return complain(r, "anchors.sizes", "pairs of a width and a height");
        for (uint32_t cell = 0; cell < cells; cell++)
            out[cell * per_cell + s] =
                (struct head_anchor){.x = ((float)(cell % columns) + offset) * cell_width,
                                     .y = ((float)(cell / columns) + offset) * cell_height,
                                     .width = width,
                                     .height = height,
                                     .cell_width = cell_width,
                                     .cell_height = cell_height};
    }
    return LEGO_OK;
}

/* Anchors of one grid: cell by cell, row by row, in each all sizes. */
static int read_grid(const struct reader *r, const json_t *grid, float offset,
                     struct head_anchor *out, uint32_t *count)
{
    int64_t columns = json_integer_value(json_object_get(grid, "columns"));
    int64_t rows = json_integer_value(json_object_get(grid, "rows"));
    size_t sizes = json_array_size(json_object_get(grid, "sizes"));
    if (!json_is_object(grid) || json_object_size(grid) != 3 || columns < 1 || rows < 1 ||
        columns > 4096 || rows > 4096 || sizes < 1 ||
        (uint64_t)columns * (uint64_t)rows * sizes > HEADS_MAX_ANCHORS - *count)
        return complain(r, "anchors",
                        "grids of columns and rows (1 to 4096) and sizes, 1048576 anchors at most");
    if (out) {
        int status =
            read_anchor_sizes(r, grid, 1.0f / (float)columns, 1.0f / (float)rows,
                              (uint32_t)(columns * rows), (uint32_t)columns, offset, out + *count);
        if (status != LEGO_OK)
            return status;
    }
    *count += (uint32_t)((uint64_t)columns * (uint64_t)rows * sizes);
    return LEGO_OK;
}

static int read_anchors(const struct reader *r, const json_t *root)
{
    const json_t *grids = json_object_get(root, "anchors");
    const json_t *given = json_object_get(root, "anchor_offset");
    struct head_anchor *anchors = NULL;
    uint32_t count = 0;
    float offset = 0.5f;
    if (!grids)
        return LEGO_OK;
    if (given && !as_float(given, 0, 1, &offset))
        return complain(r, "anchor_offset", "a number from 0 to 1");
    for (int pass = 0; pass < 2; pass++) {
        uint32_t at = 0;
        for (size_t i = 0; i < json_array_size(grids); i++) {
            int status = read_grid(r, json_array_get(grids, i), offset, anchors, &at);
            if (status != LEGO_OK)
                return status;
        }
        if (at == 0)
            return complain(r, "anchors", "an array of grids");
        count = at;
        if (pass == 0)
            anchors = lego_arena_calloc(r->arena, count, sizeof(*anchors));
        if (!anchors)
            return out_of_memory(r);
    }
    r->head->anchors = anchors;
    r->head->anchor_count = count;
    return LEGO_OK;
}

static int read_box_scale(const struct reader *r, const char *key, const json_t *value)
{
    bool array = json_is_array(value);
    if (array && json_array_size(value) != 4)
        return complain(r, key, "a number or four, none of them 0");
    for (size_t i = 0; i < 4; i++)
        if (!as_float(array ? json_array_get(value, i) : value, 1e-6, 1e6, &r->head->box_scale[i]))
            return complain(r, key, "a number or four, none of them 0");
    return LEGO_OK;
}

/* Whole numbers, by place. */
static const struct whole {
    const char *key;
    size_t offset;
    int64_t low, high;
    const char *wants;
} WHOLES[] = {
#define WHOLE(name, low, high)                                                              \
    {                                                                                       \
#name, offsetof(struct head, name), low, high, "an integer from " #low " to " #high \
    }
    WHOLE(box_at, 0, 65535),      WHOLE(score_at, 0, 65535),      WHOLE(class_count, 1, 65536),
    WHOLE(background, 0, 65535),  WHOLE(objectness_at, 0, 65535), WHOLE(keypoints, 0, 64),
    WHOLE(keypoint_at, 0, 65535), WHOLE(keypoint_values, 2, 3),   WHOLE(max, 1, 10000),
    WHOLE(blank, 0, 1048575),
#undef WHOLE
};

static const struct real {
    const char *key;
    size_t offset;
    double low, high;
    const char *wants;
} REALS[] = {
    {"threshold", offsetof(struct head, threshold), 0, 1, "a number from 0 to 1"},
    {"overlap", offsetof(struct head, overlap), 0, 1, "a number from 0 to 1"},
    {"score_clip", offsetof(struct head, score_clip), 0, 1e6, "a number from 0 to 1000000"},
};

static int read_enumeration(const struct reader *r, const char *key, const json_t *value)
{
    static const char *const ACTIVATIONS[] = {"none", "sigmoid", "softmax", NULL};
    static const char *const CODINGS[] = {"decoded", "linear", "exponential", "yolo", NULL};
    static const char *const ORDERS[] = {"xywh", "yxhw", "xyxy", "yxyx", NULL};
    static const char *const NMS[] = {"hard", "blend", "none", NULL};
    static const char *const LAYOUTS[] = {"rows", "columns", NULL};
    int index = 0, status;
    if (!strcmp(key, "activation")) {
        status = read_choice(r, key, value, ACTIVATIONS, "none, sigmoid or softmax", &index);
        r->head->activation = (enum head_activation)index;
    } else if (!strcmp(key, "coding")) {
        status =
            read_choice(r, key, value, CODINGS, "decoded, linear, exponential or yolo", &index);
        r->head->coding = (enum head_coding)index;
    } else if (!strcmp(key, "order")) {
        status = read_choice(r, key, value, ORDERS, "xywh, yxhw, xyxy or yxyx", &index);
        r->head->order = (enum head_order)index;
    } else if (!strcmp(key, "nms")) {
        status = read_choice(r, key, value, NMS, "hard, blend or none", &index);
        r->head->nms = (enum head_nms)index;
    } else {
        status = read_choice(r, key, value, LAYOUTS, "rows or columns", &index);
        r->head->columns = index == 1;
    }
    return status;
}

static int read_key(const struct reader *r, const char *key, const json_t *value)
{
    static const char *const CHOICES[] = {"activation", "coding", "order", "nms", "layout"};
    char *base = (char *)r->head;
    for (size_t i = 0; i < sizeof(CHOICES) / sizeof(CHOICES[0]); i++)
        if (!strcmp(key, CHOICES[i]))
            return read_enumeration(r, key, value);
    for (size_t i = 0; i < sizeof(WHOLES) / sizeof(WHOLES[0]); i++) {
        int64_t number = json_integer_value(value);
        if (strcmp(key, WHOLES[i].key))
            continue;
        if (!json_is_integer(value) || number < WHOLES[i].low || number > WHOLES[i].high)
            return complain(r, key, WHOLES[i].wants);
        int32_t stored = (int32_t)number;
        memcpy(base + WHOLES[i].offset, &stored, sizeof(stored));
        return LEGO_OK;
    }
    for (size_t i = 0; i < sizeof(REALS) / sizeof(REALS[0]); i++) {
        if (strcmp(key, REALS[i].key))
            continue;
        return as_float(value, REALS[i].low, REALS[i].high, (float *)(base + REALS[i].offset))
                   ? LEGO_OK
                   : complain(r, key, REALS[i].wants);
    }
    if (!strcmp(key, "name"))
        return read_text(r, key, value, &r->head->name);
    if (!strcmp(key, "output") || !strcmp(key, "scores"))
        return read_outputs(r, key, value, &r->head->scores);
    if (!strcmp(key, "boxes"))
        return read_outputs(r, key, value, &r->head->boxes);
    if (!strcmp(key, "box_scale"))
        return read_box_scale(r, key, value);
    if (!strcmp(key, "per_class") && json_is_boolean(value)) {
        r->head->per_class = json_is_true(value);
        return LEGO_OK;
    }
    if (!strcmp(key, "kind") || !strcmp(key, "anchors") || !strcmp(key, "anchor_offset"))
        return LEGO_OK;
    return lego_fail(r->diag, LEGO_E_FORMAT, "%s: heads[%u]: there is no key '%.64s'", r->name,
                     r->index, key);
}

/* What belongs together is there. */
static int check_head(const struct reader *r)
{
    const struct head *head = r->head;
    if (head->scores.count == 0 || (head->kind != HEAD_DETECTION && head->scores.count != 1))
        return complain(r, head->kind == HEAD_DETECTION ? "scores" : "output",
                        "there, and name what the model gives");
    if (head->kind == HEAD_SEGMENTATION && head->activation == HEAD_SOFTMAX)
        return complain(r, "activation", "none or sigmoid: softmax does not change which is first");
    if (head->kind != HEAD_DETECTION)
        return LEGO_OK;
    if (head->boxes.count == 0)
        return complain(r, "boxes", "there, and name what the model gives");
    if (head->coding != HEAD_DECODED && (head->anchor_count == 0 || head->order > HEAD_YXHW))
        return complain(r, "coding", "decoded where there are no anchors, or corners");
    if (head->activation == HEAD_SOFTMAX && head->objectness_at >= 0)
        return complain(r, "activation", "none or sigmoid beside objectness_at");
    return LEGO_OK;
}

static int read_head(struct reader *r, json_t *root)
{
    static const char *const KINDS[] = {"classification", "detection", "text", "segmentation",
                                        NULL};
    int kind = 0;
    const char *key;
    json_t *value;
    *r->head = (struct head){.name = "",
                             .class_count = 1,
                             .objectness_at = -1,
                             .box_scale = {1, 1, 1, 1},
                             .keypoint_values = 2,
                             .threshold = 0.5f,
                             .overlap = 0.5f,
                             .per_class = true,
                             .max = 100};
    int status = read_choice(r, "kind", json_object_get(root, "kind"), KINDS,
                             "classification, detection, text or segmentation", &kind);
    r->head->kind = (enum head_kind)kind;
    r->head->columns = r->head->kind == HEAD_SEGMENTATION;
    if (status == LEGO_OK)
        status = read_anchors(r, root);
    if (status != LEGO_OK)
        return status;
    json_object_foreach(root, key, value)
    {
        status = read_key(r, key, value);
        if (status != LEGO_OK)
            return status;
    }
    return check_head(r);
}

int heads_parse(const char *text, size_t bytes, const char *name, struct lego_arena *arena,
                struct heads *ret_heads, struct lego_diag *diag)
{
    struct reader reader = {.name = name, .arena = arena, .diag = diag};
    struct heads heads = {0};
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return lego_fail(diag, LEGO_E_FORMAT, "%s:%d:%d: %s", name, error.line, error.column,
                         error.text);
    json_t *list = json_object_get(root, "heads");
    size_t count = json_array_size(list);
    int status = LEGO_OK;
    if (json_object_size(root) != 1 || count < 1 || count > HEADS_MAX)
        status = lego_fail(diag, LEGO_E_FORMAT,
                           "%s: it must be one JSON object with an array 'heads' of 1 to %d", name,
                           HEADS_MAX);
    else if (!(heads.items = lego_arena_calloc(arena, count, sizeof(*heads.items))))
        status = out_of_memory(&reader);
    for (; status == LEGO_OK && reader.index < count; reader.index++) {
        reader.head = &heads.items[reader.index];
        status = read_head(&reader, json_array_get(list, reader.index));
    }
    json_decref(root);
    if (status != LEGO_OK)
        return status;
    heads.count = (uint32_t)count;
    *ret_heads = heads;
    return LEGO_OK;
}

static bool has_output(const struct lego_graph *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->output_count; i++)
        if (!strcmp(graph->values[graph->outputs[i]].name, name))
            return true;
    return false;
}

int heads_check(const struct heads *heads, const struct lego_graph *graph, const char *name,
                struct lego_diag *diag)
{
    for (uint32_t i = 0; i < heads->count; i++) {
        const struct head_outputs *lists[] = {&heads->items[i].scores, &heads->items[i].boxes};
        for (size_t l = 0; l < 2; l++)
            for (uint32_t k = 0; k < lists[l]->count; k++)
                if (!has_output(graph, lists[l]->names[k]))
                    return lego_fail(diag, LEGO_E_NOT_FOUND,
                                     "%s: heads[%u]: the model has no output '%s'", name, i,
                                     lists[l]->names[k]);
    }
    return LEGO_OK;
}
