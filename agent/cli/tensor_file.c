#include "agent/cli/tensor_file.h"

#include "codec/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNIFF_BYTES 16

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

bool cli_is_picture(const char *path)
{
    uint8_t start[SNIFF_BYTES];
    FILE *file = fopen(path, "rbe");
    if (!file)
        return false;
    size_t bytes = fread(start, 1, sizeof(start), file);
    fclose(file);
    return picture_recognise(start, bytes);
}

static int tensor_from_picture(const char *path, const struct lego_preprocess *p,
                               struct lego_tensor *ret_tensor, struct lego_diag *diag)
{
    struct lego_picture picture;
    int status = picture_load(path, &picture, diag);
    if (status != LEGO_OK)
        return status;

    size_t elems = preprocess_elems(p);
    float *data = calloc(elems, sizeof(*data));
    char *name = strdup(p->input ? p->input : "");
    if (!data || !name)
        status = lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    else
        status = preprocess_apply(p, &picture, data, elems, diag);
    picture_clear(&picture);
    if (status != LEGO_OK) {
        free(data);
        free(name);
        return status;
    }
    *ret_tensor =
        (struct lego_tensor){.name = name,
                             .dtype = LEGO_DTYPE_FLOAT32,
                             .shape = {.rank = 4, .dim = {1, p->channels, p->height, p->width}},
                             .bytes = elems * sizeof(*data),
                             .data = data};
    if (p->nhwc)
        ret_tensor->shape =
            (struct lego_shape){.rank = 4, .dim = {1, p->height, p->width, p->channels}};
    return LEGO_OK;
}

int cli_tensor_load(const char *path, const struct lego_preprocess *preprocess,
                    struct lego_tensor *ret_tensor, struct lego_diag *diag)
{
    if (ends_with(path, ".npy"))
        return import_tensor_npy(path, ret_tensor, diag);
    if (!ends_with(path, ".pb") && cli_is_picture(path)) {
        if (preprocess)
            return tensor_from_picture(path, preprocess, ret_tensor, diag);
        return lego_fail(diag, LEGO_E_INVALID,
                         "%s: to run on a picture, the model must say how it becomes its input "
                         "(give --preprocess FILE.json)",
                         path);
    }
    return import_tensor_pb(path, ret_tensor, diag);
}
