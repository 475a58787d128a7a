/*
 * Frames as any client may describe them: numbers first, then the bytes that they speak of. What
 * passes the check is resized, for a small input and within its bytes.
 */
#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Larger ones take the same way, only longer. */
#define MAX_SIDE 512u

/* The numbers of a frame as they stand at the begin of the data. */
struct numbers {
    uint32_t fourcc, width, height, planes, rotation, resize, filter, flags;
    uint64_t offsets[PICTURE_MAX_PLANES], strides[PICTURE_MAX_PLANES];
    uint32_t x, y, crop_width, crop_height;
};

static const struct kern_table *kernels(void)
{
    static struct kern_table table;
    if (!table.resize_rows_u8 && kern_init(&table, NULL, NULL) != LEGO_OK)
        abort();
    return &table;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { WIDTH = 24, HEIGHT = 16, ELEMS = 3 * WIDTH * HEIGHT };
    struct numbers n;
    struct lego_diag diag = LEGO_DIAG_INIT;
    static float out[ELEMS];
    if (size < sizeof(n))
        return 0;
    memcpy(&n, data, sizeof(n));
    /* A copy of exactly the bytes: a sanitizer sees every step outside. */
    size_t bytes = size - sizeof(n);
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy || n.planes > PICTURE_MAX_PLANES) {
        free(copy);
        return 0;
    }
    memcpy(copy, data + sizeof(n), bytes);
    /* The second plane may have memory of its own, as large as what the frame has. */
    uint8_t *second = malloc(bytes ? bytes : 1);
    if (second)
        memcpy(second, copy, bytes);
    struct picture_frame frame = {.fourcc = n.fourcc,
                                  .width = n.width,
                                  .height = n.height,
                                  .data = copy,
                                  .bytes = bytes,
                                  .plane_count = n.planes,
                                  .crop = {n.x, n.y, n.crop_width, n.crop_height},
                                  .rotation = n.rotation,
                                  .resize = (enum picture_resize)n.resize,
                                  .filter = (enum picture_filter)n.filter,
                                  .bt709 = n.flags & 1,
                                  .full_range = n.flags & 2};
    for (size_t i = 0; i < PICTURE_MAX_PLANES; i++)
        frame.planes[i] = (struct picture_plane){n.offsets[i], n.strides[i]};
    if (second && n.flags & 16)
        frame.apart[1] = (struct picture_memory){second, bytes};
    const struct lego_preprocess preprocess = {.present = true,
                                               .nhwc = n.flags & 4,
                                               .channels = n.flags & 8 ? 1 : 3,
                                               .width = WIDTH,
                                               .height = HEIGHT,
                                               .scale = 1,
                                               .std = {1, 1, 1, 1}};
    struct picture_map map;
    if (picture_frame_check(&frame, "fuzz", &diag) == LEGO_OK && frame.width <= MAX_SIDE &&
        frame.height <= MAX_SIDE)
        picture_frame_apply(kernels(), &preprocess, &frame, "fuzz", out,
                            preprocess_elems(&preprocess), &map, &diag);
    else if (!diag.text[0] && frame.width <= MAX_SIDE && frame.height <= MAX_SIDE)
        abort(); /* every refusal has its sentence */
    free(second);
    free(copy);
    return 0;
}
