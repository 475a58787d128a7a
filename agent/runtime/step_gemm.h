/*
 * The one matrix product behind Conv, Gemm and MatMul: out[pixel][row] = sum over k of
 * a[pixel][k] * weights[row][k], where the pixels' a come by pointers (implicit GEMM) and the
 * weights by panels, packed at load or decoded tile by tile.
 */
#ifndef LEGO_RUNTIME_STEP_GEMM_H
#define LEGO_RUNTIME_STEP_GEMM_H

#include "agent/runtime/plan.h"
#include "agent/runtime/window.h"

enum gemm_source {
    GEMM_ROWS = 0,        /* pixel p is at a + p * a_stride */
    GEMM_WINDOW = 1,      /* a pointer for each tap */
    GEMM_WINDOW_ROWS = 2, /* a pointer for each row of the kernel: few input channels */
};

struct gemm_detail {
    const struct weights *weights;
    const struct kern_gemm_variant *variant;
    enum gemm_source source;
    struct window window; /* GEMM_WINDOW* */
    size_t pixels;
    ptrdiff_t a_stride;   /* GEMM_ROWS, elements */
    ptrdiff_t out_stride; /* elements from one pixel's outputs to the next */
    const float *bias;    /* of all rows, NULL: 0 */
    float lo, hi;
    kern_unary_f32_fn activation; /* after the clamp; NULL: none */
    float act_lo, act_hi;
    size_t gated_pixels; /* of an image, whose inputs are multiplied by gates; 0: not */
    uint32_t unit_tiles; /* at most: what a panel holds at a time */
    bool bricks;         /* the kernel decodes panels while it multiplies */
    bool fixed;          /* one row of inputs goes in fixed point (step_gemv.h) */
    /* Where in a slot's scratch: */
    size_t panel_at, pointers_at, edge_at, block_at, gated_at;
};

/* The kernel for `rows` weight rows (of one group) and `pixels`: the least padded work. */
const struct kern_gemm_variant *gemm_choose(const struct kern_table *kernels, uint32_t rows,
                                            size_t pixels);

/* Fills in what the node fuses behind the product: clamp and activation. */
void gemm_finish(const struct plan_builder *b, const struct lego_node *node,
                 struct gemm_detail *detail);

/* Applies the activation to rows [row, row + rows) of pixels [pixel, pixel + m) of `out`. */
void gemm_activate_rows(const struct gemm_detail *detail, float *out, size_t pixel, uint32_t m,
                        uint32_t row, uint32_t rows);

/* Fills in what follows from the weights and the variant: scratch, of which a slot needs as many
 * bytes as this returns, and units. */
size_t gemm_scratch(struct plan_builder *b, struct gemm_detail *detail);

/* For steps that compute parts of a product themselves, after gemm_scratch and gemm_finish: whether
 * all weights fit the panel in a slot's scratch. */
bool gemm_fits_panel(const struct gemm_detail *detail);

/* Then, all rows for pixels [pixel, end) of `a` to `out`, which begins with the first of them.
 * *decoded: false before a task's first call. */
void gemm_band(const struct plan_run *run, const struct gemm_detail *detail, char *scratch,
               bool *decoded, const float *a, size_t pixel, size_t end, float *out);

/*
 * Adds the step: inputs are `a` and, unless -1, `add` (a value of the output's layout), output is
 * `out`. Fills what follows from the weights and the variant: scratch and units.
 */
int gemm_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
              int32_t a, int32_t add, int32_t out);

/* Whether it is worth multiplying `a`, rows of pixels, by gates while they are read: once for each
 * panel of weights. */
bool gemm_takes_gates(const struct gemm_detail *detail);

/* The same step, of inputs that are multiplied by `gate`, [batch][channels], for images of `pixels`
 * pixels. */
int gemm_gated_step(struct plan_builder *b, const struct lego_node *node, struct gemm_detail detail,
                    size_t pixels, int32_t a, int32_t gate, int32_t add, int32_t out);

#endif
