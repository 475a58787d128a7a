/*
 * What matrix products in fewer bits share (step_gemm_s8.h, step_gemm_f16.h): pixels of a value
 * that an own step has brought to those bits, panels of weights, pointers to the former, and the
 * cut of the work into blocks of rows and chunks of pixels.
 */
#ifndef LEGO_RUNTIME_STEP_GEMM_LOW_H
#define LEGO_RUNTIME_STEP_GEMM_LOW_H

#include "agent/runtime/step_gemm.h"

/* How a value in fewer bits begins; behind it, 64-byte aligned each, the pixel that stands for
 * those outside and the pixels. */
#define LOW_HEAD 64

static inline size_t low_pixels_at(size_t pixel_bytes)
{
    return LOW_HEAD + (pixel_bytes + 63) / 64 * 64;
}

/* The step that brings a value to fewer bits, in chunks of pixels. */
struct low_bring {
    size_t pixels, channels, padded; /* of a pixel; padded with zeros */
    size_t chunk_pixels, chunks;
};

static inline size_t low_chunk_pixels(const struct low_bring *bring, size_t chunk)
{
    const size_t left = bring->pixels - chunk * bring->chunk_pixels;

    return left < bring->chunk_pixels ? left : bring->chunk_pixels;
}

/* How plan value `value` is cut. */
struct low_bring low_bring_of(const struct plan_builder *b, int32_t value, uint32_t channels,
                              uint32_t padded);

/*
 * Plan value `value` in elements of `elem_bytes`, by step `run` with a struct low_bring for its
 * detail, which is added where there is none yet; a negative status.
 */
int32_t low_value(struct plan_builder *b, const struct lego_node *node, int32_t value,
                  uint32_t channels, uint32_t padded, size_t elem_bytes, plan_step_fn run,
                  const char *op);

/* A planned product. */
struct low_product {
    struct gemm_detail conv;
    struct window window;          /* counts four bytes of a pixel as a float */
    uint32_t mr, nr;               /* of the kernel */
    uint32_t rows, channels, taps; /* of the weights */
    size_t pixel_bytes;            /* a multiple of 4 */
    size_t block_bytes;            /* nr rows of the weights */
    uint32_t tile_blocks; /* units are whole tiles of so many, where they are decoded; else 1 */
    size_t unit_bytes;    /* of scratch, beside the panels where units are decoded; 0: no unit() */
    bool decoded;         /* by unit(), of which there should not be many */
    uint32_t unit_blocks; /* at most: panels that fit L2 */
    size_t pointers_at, rows_at, unit_at;
};

struct low_call;

/* What a task needs of rows [row, end) before it begins, in `scratch`, of unit_bytes and, where
 * units are decoded, panels behind that. */
typedef const void *(*low_unit_fn)(const struct low_call *call, char *scratch, uint32_t row,
                                   uint32_t end);

/* Blocks of rows [row, end) for pixels [pixel, pixel + m), m <= mr; `rows`: [taps][mr]; `unit`:
 * what the other returned. */
typedef void (*low_pixels_fn)(const struct low_call *call, const void *unit,
                              const void *const *rows, size_t pixel, uint32_t m, uint32_t row,
                              uint32_t end);

/* One run of it, shared by its threads. The last lines are low_run's. */
struct low_call {
    const struct plan_run *run;
    const struct low_product *product;
    const void *detail; /* what `pixels` knows more */
    const char *a;      /* as LOW_HEAD says */
    const float *add;
    float *out;
    low_unit_fn unit; /* NULL: nothing */
    low_pixels_fn pixels;
    uint32_t unit_blocks;
    size_t chunks, chunk_pixels;
};

void low_run(struct low_call *call, uint64_t work);

/* Fills in what follows from the other members, and asks for scratch. */
void low_prepare(struct plan_builder *b, struct low_product *product);

/* Adds the step with inputs `a` and, unless -1, `add`; NULL where memory is out. */
struct plan_step *low_step(struct plan_builder *b, const struct lego_node *node, plan_step_fn run,
                           const struct low_product *product, const void *detail,
                           size_t detail_bytes, int32_t a, int32_t add, int32_t out);

#endif
