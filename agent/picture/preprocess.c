#include "agent/picture/file.h"
#include "agent/picture/picture.h"

#include <jansson.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES   ((size_t)1 << 20)
#define CLASS_OFFSET_MAX 65535

/* What the readers of single keys share. */
struct reader {
    const char *name; /* of the file */
    const char *text;
    size_t bytes;
    struct lego_arena *arena;
    struct lego_diag *diag;
    struct lego_preprocess preprocess;
};

/* The line of `"key"` in the text; jansson does not keep where a value came from. */
static int line_of(const struct reader *reader, const char *key)
{
    size_t length = strlen(key);
    int line = 1;
    for (size_t i = 0; i + length + 2 <= reader->bytes; i++) {
        if (reader->text[i] == '"' && memcmp(reader->text + i + 1, key, length) == 0 &&
            reader->text[i + 1 + length] == '"')
            return line;
        line += reader->text[i] == '\n';
    }
    return 1;
}

static int complain(const struct reader *reader, const char *key, const char *wants)
{
    return lego_fail(reader->diag, LEGO_E_FORMAT, "%s:%d: '%s' must be %s", reader->name,
                     line_of(reader, key), key, wants);
}

static int read_choice(const struct reader *reader, const char *key, const json_t *value,
                       const char *const *names, const char *wants, int *ret_index)
{
    const char *text = json_string_value(value);
    for (int i = 0; text && names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_index = i;
            return LEGO_OK;
        }
    }
    return complain(reader, key, wants);
}

static int read_integer(const struct reader *reader, const char *key, const json_t *value,
                        int64_t min, int64_t max, const char *wants, int64_t *ret_value)
{
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < min || number > max)
        return complain(reader, key, wants);
    *ret_value = number;
    return LEGO_OK;
}

static bool as_float(const json_t *value, float *ret_value)
{
    if (!json_is_number(value))
        return false;
    float number = (float)json_number_value(value);
    if (!isfinite(number))
        return false;
    *ret_value = number;
    return true;
}

static int read_layout(struct reader *reader, const char *key, const json_t *value)
{
    static const char *const NAMES[] = {"NCHW", "NHWC", NULL};
    int index = 0;
    int status = read_choice(reader, key, value, NAMES, "\"NCHW\" or \"NHWC\"", &index);
    reader->preprocess.nhwc = index == 1;
    return status;
}

static int read_channels(struct reader *reader, const char *key, const json_t *value)
{
    static const char *const NAMES[] = {"RGB", "BGR", "GREY", NULL};
    int index = 0;
    int status = read_choice(reader, key, value, NAMES, "\"RGB\", \"BGR\" or \"GREY\"", &index);
    reader->preprocess.bgr = index == 1;
    reader->preprocess.channels = index == 2 ? 1 : 3;
    return status;
}

static int read_resize(struct reader *reader, const char *key, const json_t *value)
{
    static const char *const NAMES[] = {"stretch", "shortest", "letterbox", NULL};
    static const enum lego_resize KINDS[] = {LEGO_RESIZE_STRETCH, LEGO_RESIZE_SHORTEST,
                                             LEGO_RESIZE_LETTERBOX};
    int index = 0;
    int status = read_choice(reader, key, value, NAMES,
                             "\"stretch\", \"shortest\" or \"letterbox\"", &index);
    reader->preprocess.resize = KINDS[index];
    return status;
}

static int read_side(const struct reader *reader, const char *key, const json_t *value, int64_t min,
                     uint32_t *ret_side)
{
    int64_t number = 0;
    int status =
        read_integer(reader, key, value, min, PICTURE_MAX_SIDE,
                     min ? "an integer from 1 to 16384" : "an integer from 0 to 16384", &number);
    *ret_side = (uint32_t)number;
    return status;
}

static int read_width(struct reader *reader, const char *key, const json_t *value)
{
    return read_side(reader, key, value, 1, &reader->preprocess.width);
}

static int read_height(struct reader *reader, const char *key, const json_t *value)
{
    return read_side(reader, key, value, 1, &reader->preprocess.height);
}

static int read_resize_side(struct reader *reader, const char *key, const json_t *value)
{
    return read_side(reader, key, value, 0, &reader->preprocess.resize_side);
}

static int read_scale(struct reader *reader, const char *key, const json_t *value)
{
    if (!as_float(value, &reader->preprocess.scale) || reader->preprocess.scale == 0.0f)
        return complain(reader, key, "a number other than 0");
    return LEGO_OK;
}

static int read_pad_value(struct reader *reader, const char *key, const json_t *value)
{
    float *pad = &reader->preprocess.pad_value;
    if (!as_float(value, pad) || *pad < 0.0f || *pad > 255.0f)
        return complain(reader, key, "a number from 0 to 255");
    return LEGO_OK;
}

static int read_class_offset(struct reader *reader, const char *key, const json_t *value)
{
    int64_t number = 0;
    int status = read_integer(reader, key, value, 0, CLASS_OFFSET_MAX, "an integer from 0 to 65535",
                              &number);
    reader->preprocess.class_offset = (int32_t)number;
    return status;
}

static int read_input(struct reader *reader, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if (json_is_null(value))
        return LEGO_OK;
    if (!text || text[0] == '\0')
        return complain(reader, key, "the name of an input, or null for the first");
    reader->preprocess.input = lego_arena_strdup(reader->arena, text);
    if (!reader->preprocess.input)
        return lego_fail(reader->diag, LEGO_E_NOMEM, "%s: out of memory", reader->name);
    return LEGO_OK;
}

/* One number for all channels, or an array of one a channel. */
static int read_per_channel(struct reader *reader, const char *key, const json_t *value,
                            bool not_zero, float *ret_values)
{
    uint32_t channels = reader->preprocess.channels;
    char wants[80];
    snprintf(wants, sizeof(wants), "%u number%s%s", channels,
             channels == 1 ? "" : "s, one a channel", not_zero ? ", none of them 0" : "");
    if (json_is_array(value) && json_array_size(value) != channels)
        return complain(reader, key, wants);
    for (uint32_t c = 0; c < channels; c++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, c) : value;
        if (!as_float(item, &ret_values[c]) || (not_zero && ret_values[c] == 0.0f))
            return complain(reader, key, wants);
    }
    return LEGO_OK;
}

static int read_mean(struct reader *reader, const char *key, const json_t *value)
{
    return read_per_channel(reader, key, value, false, reader->preprocess.mean);
}

static int read_std(struct reader *reader, const char *key, const json_t *value)
{
    return read_per_channel(reader, key, value, true, reader->preprocess.std);
}

/* In the order in which they are read: mean and std want to know the channels. */
static const struct key {
    const char *name;
    bool required;
    int (*read)(struct reader *reader, const char *key, const json_t *value);
} KEYS[] = {
    {"layout", false, read_layout},
    {"channels", false, read_channels},
    {"width", true, read_width},
    {"height", true, read_height},
    {"scale", false, read_scale},
    {"mean", false, read_mean},
    {"std", false, read_std},
    {"resize", false, read_resize},
    {"resize_side", false, read_resize_side},
    {"pad_value", false, read_pad_value},
    {"class_offset", false, read_class_offset},
    {"input", false, read_input},
};

#define KEY_COUNT (sizeof(KEYS) / sizeof(KEYS[0]))

static int check_keys(const struct reader *reader, json_t *root)
{
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        size_t k = 0;
        while (k < KEY_COUNT && strcmp(name, KEYS[k].name) != 0)
            k++;
        if (k == KEY_COUNT)
            return lego_fail(
                reader->diag, LEGO_E_FORMAT,
                "%s:%d: there is no key '%.64s' (the keys are layout, channels, width, "
                "height, scale, mean, std, resize, resize_side, pad_value, "
                "class_offset and input)",
                reader->name, line_of(reader, name), name);
    }
    return LEGO_OK;
}

static int read_object(struct reader *reader, json_t *root)
{
    if (!json_is_object(root))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "%s:1: it must be one JSON object",
                         reader->name);
    int status = check_keys(reader, root);
    for (size_t k = 0; status == LEGO_OK && k < KEY_COUNT; k++) {
        const json_t *value = json_object_get(root, KEYS[k].name);
        if (value)
            status = KEYS[k].read(reader, KEYS[k].name, value);
        else if (KEYS[k].required)
            status = lego_fail(reader->diag, LEGO_E_FORMAT, "%s: the key '%s' is missing",
                               reader->name, KEYS[k].name);
    }
    return status;
}

int preprocess_parse(const char *text, size_t bytes, const char *name, struct lego_arena *arena,
                     struct lego_preprocess *ret_preprocess, struct lego_diag *diag)
{
    struct reader reader = {
        .name = name,
        .text = text,
        .bytes = bytes,
        .arena = arena,
        .diag = diag,
        .preprocess = {.present = true,
                       .channels = 3,
                       .scale = 1.0f,
                       .std = {1.0f, 1.0f, 1.0f, 1.0f}},
    };
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return lego_fail(diag, LEGO_E_FORMAT, "%s:%d:%d: %s", name, error.line, error.column,
                         error.text);
    int status = read_object(&reader, root);
    json_decref(root);
    if (status == LEGO_OK)
        *ret_preprocess = reader.preprocess;
    return status;
}

int preprocess_load(const char *path, struct lego_arena *arena,
                    struct lego_preprocess *ret_preprocess, struct lego_diag *diag)
{
    uint8_t *text = NULL;
    size_t bytes = 0;
    int status = picture_read_file(path, FILE_MAX_BYTES, &text, &bytes, diag);
    if (status != LEGO_OK)
        return status;
    status = preprocess_parse((const char *)text, bytes, path, arena, ret_preprocess, diag);
    free(text);
    return status;
}

int preprocess_load_beside(const char *model_path, struct lego_arena *arena,
                           struct lego_preprocess *ret_preprocess, struct lego_diag *diag)
{
    char *path = picture_file_beside(model_path, ".preprocess.json");

    if (!path)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", model_path);
    int status = preprocess_load(path, arena, ret_preprocess, diag);
    free(path);
    return status;
}

static json_t *floats(const float *values, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < count; i++) {
        if (json_array_append_new(array, json_real(values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

int preprocess_format(const struct lego_preprocess *p, char **ret_text)
{
    static const char *const RESIZES[] = {"stretch", "shortest", "letterbox"};
    json_t *root =
        json_pack("{s:s?, s:s, s:s, s:i, s:i, s:f, s:o, s:o, s:s, s:i, s:f, s:i}", "input",
                  p->input, "layout", p->nhwc ? "NHWC" : "NCHW", "channels",
                  p->channels == 1 ? "GREY"
                  : p->bgr         ? "BGR"
                                   : "RGB",
                  "width", (int)p->width, "height", (int)p->height, "scale", (double)p->scale,
                  "mean", floats(p->mean, p->channels), "std", floats(p->std, p->channels),
                  "resize", RESIZES[p->resize], "resize_side", (int)p->resize_side, "pad_value",
                  (double)p->pad_value, "class_offset", (int)p->class_offset);
    /* 9 digits bring every float back. */
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text)
        return LEGO_E_NOMEM;
    *ret_text = text;
    return LEGO_OK;
}
