/* Descriptions of outputs as any file may hold them; what parses meets numbers of every kind. */
#include "agent/results/heads.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const float numbers[] = {0, 1, -1, 0.5f, INFINITY, -INFINITY, NAN, 1e30f,
                                    3, 2, 4,  8,    0.25f,    -4,        7,   1e-30f};
    struct lego_arena *arena = lego_arena_create((size_t)16 << 20);
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct heads heads;
    if (heads_parse((const char *)data, size, "fuzz", arena, &heads, &diag) != LEGO_OK) {
        lego_arena_destroy(arena);
        return 0;
    }
    for (uint32_t i = 0; i < heads.count; i++) {
        const struct head *head = &heads.items[i];
        /* A mask of as many pixels as the text has bytes, turned and flipped by its length. */
        const struct head_sampling sampling = {
            .width = 1 + (uint32_t)size % 64,
            .height = 1 + (uint32_t)size / 64 % 64,
            .u = {size % 2 ? 1.0 / 64 : 0, size % 2 ? 0 : -1.0 / 64, 0.25},
            .v = {size % 2 ? 0 : 1.0 / 64, size % 2 ? -1.0 / 64 : 0, 0.75}};
        struct head_tensor tensors[2] = {
            {head->scores.names[0], numbers,
             head->kind == HEAD_SEGMENTATION
                 ? (struct lego_shape){.rank = 4, .dim = {1, size % 3 ? 4 : 1, 2, 2}}
                 : (struct lego_shape){.rank = 3, .dim = {1, 2, 8}}},
            {head->boxes.count ? head->boxes.names[0] : "",
             numbers,
             {.rank = 3, .dim = {1, 2, 8}}}};
        static const char *const labels[] = {"a", "b"};
        struct head_class *classes;
        struct head_detection *detections;
        struct head_mask mask;
        const char *text;
        uint32_t count;
        float score;
        if (head->kind == HEAD_CLASSIFICATION)
            head_classify(head, tensors, 2, 1, 3, arena, &classes, &count, &diag);
        else if (head->kind == HEAD_TEXT)
            head_read_text(head, tensors, 2, labels, 2, arena, &text, &score, &diag);
        else if (head->kind == HEAD_SEGMENTATION)
            head_segment(head, tensors, 2, &sampling, arena, &mask, &diag);
        else
            head_detect(head, tensors, 2, head->threshold, head->max, arena, &detections, &count,
                        &diag);
    }
    lego_arena_destroy(arena);
    return 0;
}
