#include "agent/picture/decode.h"

#include "agent/picture/file.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t PNG_SIGNATURE[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const uint8_t JPEG_SIGNATURE[3] = {0xff, 0xd8, 0xff};

static bool begins(const void *data, size_t bytes, const uint8_t *signature, size_t length)
{
    return bytes >= length && memcmp(data, signature, length) == 0;
}

bool picture_recognise(const void *data, size_t bytes)
{
    return begins(data, bytes, PNG_SIGNATURE, sizeof(PNG_SIGNATURE)) ||
           begins(data, bytes, JPEG_SIGNATURE, sizeof(JPEG_SIGNATURE));
}

int picture_check_size(uint32_t width, uint32_t height, const char *name, struct lego_diag *diag)
{
    if (width == 0 || height == 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: the picture has no pixels (%ux%u)", name, width,
                         height);
    if (width > PICTURE_MAX_SIDE || height > PICTURE_MAX_SIDE ||
        (uint64_t)width * height > PICTURE_MAX_PIXELS)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "%s: the picture is %ux%u, the limit is %u a side and %u pixels", name,
                         width, height, PICTURE_MAX_SIDE, PICTURE_MAX_PIXELS);
    return LEGO_OK;
}

int picture_allocate(struct lego_picture *picture, uint32_t width, uint32_t height,
                     uint32_t channels, const char *name, struct lego_diag *diag)
{
    int status = picture_check_size(width, height, name, diag);
    if (status != LEGO_OK)
        return status;
    size_t stride = (size_t)width * channels;
    uint8_t *pixels = malloc(stride * height);
    if (!pixels)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory for a picture of %ux%u", name, width,
                         height);
    *picture = (struct lego_picture){
        .width = width, .height = height, .channels = channels, .stride = stride, .pixels = pixels};
    return LEGO_OK;
}

int picture_decode(const void *data, size_t bytes, const char *name,
                   struct lego_picture *ret_picture, struct lego_diag *diag)
{
    if (begins(data, bytes, PNG_SIGNATURE, sizeof(PNG_SIGNATURE)))
        return picture_decode_png(data, bytes, name, ret_picture, diag);
    if (begins(data, bytes, JPEG_SIGNATURE, sizeof(JPEG_SIGNATURE)))
        return picture_decode_jpeg(data, bytes, name, ret_picture, diag);
    return lego_fail(diag, LEGO_E_FORMAT, "%s: neither a PNG nor a JPEG picture", name);
}

int picture_load(const char *path, struct lego_picture *ret_picture, struct lego_diag *diag)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    int status = picture_read_file(path, PICTURE_MAX_FILE_BYTES, &data, &bytes, diag);
    if (status != LEGO_OK)
        return status;
    status = picture_decode(data, bytes, path, ret_picture, diag);
    free(data);
    return status;
}

void picture_clear(struct lego_picture *picture)
{
    free(picture->pixels);
    *picture = (struct lego_picture){0};
}
