/*
 * Pictures as an application may get them from anywhere: whatever decodes is prepared, too.
 */
#include "agent/picture/picture.h"

#include <stdint.h>
#include <stdlib.h>

/* Larger ones are decoded in the same way, only slower. */
#define MAX_PIXELS (1u << 18)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Width and height, from where both formats keep them, are not known before decoding: the size of a
 * PNG is read from its header here, so that the fuzzer does not spend its time on large ones. */
static bool large_png(const uint8_t *data, size_t size)
{
    if (size < 24 || data[0] != 0x89)
        return false;
    uint64_t width = (uint32_t)data[16] << 24 | data[17] << 16 | data[18] << 8 | data[19];
    uint64_t height = (uint32_t)data[20] << 24 | data[21] << 16 | data[22] << 8 | data[23];
    return width <= PICTURE_MAX_SIDE && height <= PICTURE_MAX_SIDE && width * height > MAX_PIXELS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum lego_resize RESIZES[] = {LEGO_RESIZE_STRETCH, LEGO_RESIZE_SHORTEST,
                                               LEGO_RESIZE_LETTERBOX};
    struct lego_picture picture;
    struct lego_diag diag = LEGO_DIAG_INIT;
    float out[3 * 32 * 24];
    if (large_png(data, size) || picture_decode(data, size, "fuzz", &picture, &diag) != LEGO_OK)
        return 0;
    for (int i = 0; i < 3; i++) {
        struct lego_preprocess preprocess = {.present = true,
                                             .channels = 3,
                                             .width = 32,
                                             .height = 24,
                                             .scale = 1.0f,
                                             .std = {1, 1, 1, 1},
                                             .resize = RESIZES[i]};
        preprocess_apply(&preprocess, &picture, out, 3 * 32 * 24, &diag);
    }
    picture_clear(&picture);
    return 0;
}
