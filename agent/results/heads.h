/*
 * Heads: what a model's outputs mean, as a `.lego` says in its metadata (key `postprocess`, see
 * FORMAT.md), and how they become classes, boxes, texts and masks.
 */
#ifndef LEGO_RESULTS_HEADS_H
#define LEGO_RESULTS_HEADS_H

#include "codec/base/arena.h"
#include "codec/base/diag.h"
#include "codec/graph/graph.h"

#define HEADS_METADATA_KEY  "postprocess"
#define HEADS_MAX           16
#define HEADS_MAX_OUTPUTS   16
#define HEADS_MAX_ANCHORS   (1u << 20)
#define HEADS_MAX_KEYPOINTS 64
#define HEADS_MAX_RUNS      (2u << 20) /* of a mask */

enum head_kind { HEAD_CLASSIFICATION, HEAD_DETECTION, HEAD_TEXT, HEAD_SEGMENTATION };
enum head_activation { HEAD_NONE, HEAD_SIGMOID, HEAD_SOFTMAX };
enum head_coding { HEAD_DECODED, HEAD_LINEAR, HEAD_EXPONENTIAL, HEAD_YOLO };
enum head_order { HEAD_XYWH, HEAD_YXHW, HEAD_XYXY, HEAD_YXYX };
enum head_nms { HEAD_NMS_HARD, HEAD_NMS_BLEND, HEAD_NMS_NONE };

/* A box that others are told relative to; all relative to the input's size. */
struct head_anchor {
    float x, y, width, height;     /* of its centre; its size */
    float cell_width, cell_height; /* of its grid */
};

struct head_outputs {
    uint32_t count;
    const char *names[HEADS_MAX_OUTPUTS];
};

struct head {
    enum head_kind kind;
    const char *name;
    enum head_activation activation;
    struct head_outputs scores; /* of all but a detection: its only output */
    bool columns; /* outputs are [values][candidates or pixels], else the other way round */
    uint32_t background;
    float threshold; /* of a detection, and of a segmentation of one class */
    /* Of a detection: */
    struct head_outputs boxes;
    uint32_t box_at, score_at, class_count;
    int32_t objectness_at; /* -1: none */
    float score_clip;      /* 0: none */
    enum head_order order;
    enum head_coding coding;
    float box_scale[4]; /* what x, y, width and height are divided by */
    uint32_t anchor_count;
    const struct head_anchor *anchors;
    uint32_t keypoints, keypoint_at, keypoint_values;
    float overlap;
    enum head_nms nms;
    bool per_class;
    uint32_t max;
    /* Of a text: */
    uint32_t blank;
};

struct heads {
    uint32_t count;
    struct head *items;
};

/*
 * Reads the JSON text; everything lies in `arena`. `name` stands for the file in the diag. E_FORMAT
 * with line or key, E_LIMIT, E_NOMEM.
 */
int heads_parse(const char *text, size_t bytes, const char *name, struct lego_arena *arena,
                struct heads *ret_heads, struct lego_diag *diag);

/* E_NOT_FOUND where a head names an output that the graph has not. */
int heads_check(const struct heads *heads, const struct lego_graph *graph, const char *name,
                struct lego_diag *diag);

/* One row of an output: FP32. */
struct head_tensor {
    const char *name;
    const float *data;
    struct lego_shape shape; /* of all rows; data is of the one */
};

struct head_class {
    uint32_t index;
    float score;
};

/* The best `top` classes of a classification, the best first, in the arena. `skip` outputs stand
 * before class 0. */
int head_classify(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                  uint32_t skip, uint32_t top, struct lego_arena *arena,
                  struct head_class **ret_classes, uint32_t *ret_count, struct lego_diag *diag);

struct head_keypoint {
    float x, y, score;
};

/* Relative to the input's size. */
struct head_detection {
    float left, top, right, bottom, score;
    uint32_t index;
    struct head_keypoint *keypoints; /* [head->keypoints] */
};

/* Boxes of at least `threshold`, after suppression, the best first, in the arena. Numbers that are
 * not finite make no box. E_SHAPE, E_NOMEM. */
int head_detect(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                float threshold, uint32_t max, struct lego_arena *arena,
                struct head_detection **ret_detections, uint32_t *ret_count,
                struct lego_diag *diag);

/* The text of a CTC output [steps][classes]: the best class of each step, repetitions and blanks
 * left out. Class k is labels[k], or labels[k - 1] behind the blank. */
int head_read_text(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                   const char *const *labels, uint32_t label_count, struct lego_arena *arena,
                   const char **ret_text, float *ret_score, struct lego_diag *diag);

/* Of a mask: the middle of pixel (x, y) is at u = u[0] * (x + .5) + u[1] * (y + .5) + u[2] of the
 * input's width, so v of its height. One of u[0] and u[1] is 0, of v the other. */
struct head_sampling {
    uint32_t width, height;
    double u[3], v[3];
};

struct head_mask {
    uint32_t run_count;
    const uint32_t *runs; /* [2 * run_count], row by row: a value, how often, ... */
    uint32_t class_count;
    const struct head_class *classes; /* the largest first; scores are parts of the mask */
};

/* Pixels of a segmentation's output. E_SHAPE. */
int head_segment_size(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                      uint32_t *ret_width, uint32_t *ret_height, struct lego_diag *diag);

/*
 * A mask in the arena: 0 where a pixel is of no class, k + 1 where it is of class k. Numbers are
 * interpolated bilinearly between the middles of the output's pixels before they are compared, as
 * if the output had been enlarged first. Numbers that are no numbers win nothing. E_SHAPE, E_LIMIT:
 * over HEADS_MAX_RUNS; E_NOMEM.
 */
int head_segment(const struct head *head, const struct head_tensor *tensors, uint32_t count,
                 const struct head_sampling *sampling, struct lego_arena *arena,
                 struct head_mask *ret_mask, struct lego_diag *diag);

#endif
