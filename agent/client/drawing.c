#include "agent/client/drawing.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAWN_CLASSES 3

static void draw_detection(struct lego_picture *picture, const struct lego_client_detection *found,
                           uint32_t scale, struct draw_color color)
{
    char text[256];
    const int64_t left = (int64_t)found->left, top = (int64_t)found->top;
    draw_box(picture, left, top, (int64_t)found->right, (int64_t)found->bottom, scale, color);
    for (uint32_t i = 0; i < found->keypoint_count; i++)
        draw_box(picture, (int64_t)found->keypoints[i].x - scale,
                 (int64_t)found->keypoints[i].y - scale, (int64_t)found->keypoints[i].x + scale,
                 (int64_t)found->keypoints[i].y + scale, scale, color);
    snprintf(text, sizeof(text), "%s%s%.2f", found->label, found->label[0] ? " " : "",
             (double)found->score);
    draw_text(picture, left, top, scale, text, color);
}

/* Shades what the mask shows. */
static int draw_mask(struct lego_picture *picture, const struct lego_client_mask *mask,
                     struct lego_diag *diag)
{
    size_t pixels = (size_t)mask->width * mask->height;
    uint16_t *values = malloc(pixels * sizeof(*values));
    if (!values)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a mask of %zu pixels", pixels);
    int status = lego_client_mask_read(mask, values, pixels, diag);
    const struct draw_mask shade = {mask->left,  mask->top,    mask->right, mask->bottom,
                                    mask->width, mask->height, values};
    if (status == LEGO_OK)
        draw_shade(picture, &shade);
    free(values);
    return status;
}

static int draw_masks(struct lego_picture *picture, const struct lego_client_result *result,
                      struct lego_diag *diag)
{
    int status = LEGO_OK;
    for (uint32_t i = 0; status == LEGO_OK && i < result->answer_count; i++)
        if (result->answers[i].mask)
            status = draw_mask(picture, result->answers[i].mask, diag);
    return status;
}

int drawing_add(struct lego_picture *picture, const struct lego_client_result *result, double us,
                struct lego_diag *diag)
{
    static const struct draw_color bar = {255, 220, 0}, times = {32, 32, 32};
    const uint32_t scale = draw_scale(picture);
    char text[256];
    int64_t y = 0;
    int status = draw_masks(picture, result, diag);
    for (uint32_t i = 0; i < result->class_count && i < DRAWN_CLASSES; i++) {
        const struct lego_client_class *one = &result->classes[i];
        snprintf(text, sizeof(text), "%s %.2f", one->label[0] ? one->label : "class",
                 (double)one->score);
        y += draw_text(picture, 0, y, scale, text, bar);
    }
    for (uint32_t i = 0; i < result->answer_count; i++) {
        const struct lego_client_answer *answer = &result->answers[i];
        const uint32_t most = answer->mask ? answer->class_count : DRAWN_CLASSES;
        for (uint32_t c = 0; c < answer->class_count && c < most; c++) {
            snprintf(text, sizeof(text), "%s %.2f", answer->classes[c].label,
                     (double)answer->classes[c].score);
            y += draw_text(picture, 0, y, scale, text,
                           answer->mask ? draw_class_color(answer->classes[c].index) : bar);
        }
        for (uint32_t d = 0; d < answer->detection_count; d++)
            draw_detection(picture, &answer->detections[d], scale, bar);
        if (answer->text[0])
            y += draw_text(picture, 0, y, scale, answer->text, bar);
    }
    snprintf(text, sizeof(text), "%s %.1f ms", result->model, us * 1e-3);
    draw_text(picture, 0, y, scale, text, times);
    return status;
}
