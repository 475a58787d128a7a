/*
 * The kernel table: what each kernel promises.
 *
 * kern_init() fills the table with the C references and then lets the machine's family
 * (kernels-arm, kernels-x86) overwrite entries by CPU feature. The table is passed around, never
 * global. kernels.def is the single list: table, init, checker and bench expand from it.
 *
 * Common rules. Sizes count elements unless their name says bytes. Pointers to fp32 need 4-byte
 * alignment only. No kernel reads or writes outside the ranges stated here, whatever the tail.
 * Integer results are the same on every ISA; floating-point ones within the tolerance in
 * kernels.def (different order of sums, FMA). The same table on the same machine gives the same
 * bits every time.
 *
 * Activations are channels-last: [pixel][channel].
 */
#ifndef LEGO_KERNELS_KERNELS_H
#define LEGO_KERNELS_KERNELS_H

#include "codec/kernels/coded.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CPU features, one bit each, for detection, masks (LEGO_CPU) and tests; cpu.def lists the names.
 */
enum kern_cpu {
#define KERN_CPU(name, bit, text) KERN_CPU_##name = 1u << (bit),
#include "codec/kernels/cpu.def"
#undef KERN_CPU
    KERN_CPU_ALL = -1
};

/*
 * Packs dense fp32 weights into the same panel: element (r, k) of the tile from
 * source[r * row_stride + channel * channel_stride + tap * tap_stride] with k = tap * channels +
 * channel. Rows beyond `rows` in the last row block become 0.
 */
struct kern_panel_pack {
    const float *source;
    uint32_t rows, channels, taps;
    ptrdiff_t row_stride, channel_stride, tap_stride; /* elements */
    float *panel;
    uint32_t panel_nr, panel_k;
};

/*
 * Indirect GEMM of one output block: for i < m (1..mr), j < n (1..nr):
 *   acc(i,j) = accumulate ? c[i][j] : (bias ? bias[j] : 0)
 *   acc(i,j) += sum over tap t < taps, channel k < channels of
 *               a[t * mr + i][k] * panel[(t * channels + k) * nr + j]
 *   if (add) acc(i,j) += add[i][j];  c[i][j] = min(max(acc, lo), hi)
 * a[t * mr + i] with i >= m must be a readable pointer (repeat the last row). Padding pixels point
 * at zeros.
 */
struct kern_gemm_f32 {
    uint32_t m, n;
    uint32_t taps, channels;
    const float *const *a; /* [taps][mr] pointers to `channels` floats */
    const float *panel;    /* [taps * channels][nr], 64-byte aligned */
    const float *bias;     /* [n], NULL: 0; not used when accumulating */
    float *c;              /* [m], row i at c + i * c_stride */
    ptrdiff_t c_stride;    /* elements */
    const float *add; /* residual, row i at add + i * add_stride; NULL: none; may be c itself */
    ptrdiff_t add_stride;
    bool accumulate;
    float lo, hi; /* clamp; -INFINITY and INFINITY for none. NaN passes through. */
};

/*
 * The same of nr rows whose panel does not exist yet: it is decoded on the way, by instructions
 * that a processor has time for between multiplications, and stored for the blocks to come. Bricks
 * are 4x1 and lie column by column:
 *   panel[k][4 * i + r] = scale[4 * i + r] * catalogue[4 * index[k * index_step + i] + r]
 * for i < nr / 4, r < 4
 */
struct kern_gemm_bricks_f32 {
    struct kern_gemm_f32 gemm; /* n is nr; its panel is not looked at */
    const uint8_t *index;
    size_t index_step; /* >= nr / 4 */
    const float *catalogue;
    const float *scale; /* [nr], NULL: 1 */
    float *panel;       /* [taps * channels][nr], 64-byte aligned */
};
typedef void (*kern_gemm_f32_fn)(const struct kern_gemm_f32 *args);

/*
 * Indirect GEMM of one output block in integers: for i < m (1..mr), j < n (1..nr):
 *   sum(i,j) = start[j] + sum over tap t < taps, channel k < channels of
 *              a[t * mr + i][k] * element(t, k, j), in 32 bits
 *   c[i][j] = min(max(sum(i,j) * scale[j] + bias[j] + add[i][j], lo), hi), each step rounded (no
 *   FMA)
 * where element(t, k, j) = panel[((t * channels + k) / kg * nr + j) * kg + k % kg].
 *
 * Activations are 0 to 127 and weights -64 to 64: the products of two pairs, or of four single
 * ones, then fit 16 bits, where machines without a dot product add them up; one sum of
 * KERN_S8_MAX_DEPTH products and a start of that many fit 32 bits. Where the variant is `wide`,
 * weights may be any bytes: start and products may pass 32 bits then, but what they add up to may
 * not. a[t * mr + i] with i >= m must be a readable pointer (repeat the last row).
 */
#define KERN_U7_MAX       127
#define KERN_S8_MAX       64
#define KERN_S8_MAX_DEPTH 131072

struct kern_gemm_s8 {
    uint32_t m, n;
    uint32_t taps, channels;   /* channels: a multiple of kg; padding is 0 in the panel */
    const uint8_t *const *a;   /* [taps][mr] pointers to `channels` bytes */
    const int8_t *panel;       /* [taps * channels / kg][nr][kg], 64-byte aligned */
    const int32_t *start;      /* [n] */
    const float *scale, *bias; /* [n] */
    float *c;                  /* [m], row i at c + i * c_stride */
    ptrdiff_t c_stride;        /* elements */
    const float *add; /* residual, row i at add + i * add_stride; NULL: none; may be c itself */
    ptrdiff_t add_stride;
    float lo, hi; /* clamp; -INFINITY and INFINITY for none. NaN passes through. */
};

/*
 * Indirect GEMM of one output block of half-precision numbers (binary16, as bits): for i < m
 * (1..mr), j < n (1..nr), k through taps and channels as above:
 *   sum(i,j) = (bias ? bias[j] : 0) + sum of a[t * mr + i][k] * panel[(t * channels + k) * nr + j]
 *   c[i][j] = min(max(sum(i,j) + add[i][j], lo), hi)
 * Products and the sums of up to KERN_F16_RUN of them may be rounded to halves, whose largest is
 * 65504; what is beyond is in fp32. a[t * mr + i] with i >= m must be a readable pointer.
 */
#define KERN_F16_RUN   128
#define KERN_F16_GROUP 8 /* channels are a multiple: padding is 0 in the panel */

struct kern_gemm_f16 {
    uint32_t m, n;
    uint32_t taps, channels;
    const uint16_t *const *a; /* [taps][mr] pointers to `channels` halves */
    const uint16_t *panel;    /* [taps * channels][nr], 64-byte aligned */
    const float *bias;        /* [n], NULL: 0 */
    float *c;                 /* [m], row i at c + i * c_stride */
    ptrdiff_t c_stride;       /* elements */
    const float *add; /* residual, row i at add + i * add_stride; NULL: none; may be c itself */
    ptrdiff_t add_stride;
    float lo, hi; /* clamp; -INFINITY and INFINITY for none. NaN passes through. */
};

/* out[r * out_stride + c] = the half nearest to x[r * channels + c], c < channels, and 0 from there
 * to out_stride. */
struct kern_halve_f32 {
    size_t rows, channels;
    const float *x;
    uint16_t *out;
    size_t out_stride; /* >= channels */
};

/* The smallest and the greatest of x[0..n), n >= 1; two NaN where one is infinite or NaN. */
typedef void (*kern_range_f32_fn)(size_t n, const float *x, float ret_range[2]);

/*
 * out[r * out_stride + c] = min(max(the integer nearest to x[r * channels + c] * inverse, half to
 * even, -zero), 127 - zero) + zero, c < channels, and 0 from there to out_stride. x is finite.
 */
struct kern_quantize_u7 {
    size_t rows, channels;
    const float *x;
    float inverse; /* finite */
    int32_t zero;  /* 0 to 127 */
    uint8_t *out;
    size_t out_stride; /* >= channels */
};

/*
 * GEMM in one order of sums, for whoever needs the same bits everywhere: for i < m, j < n
 *   acc(i,j) = accumulate ? c[i][j] : 0
 *   acc(i,j) = acc(i,j) + a[k][i] * b[k][j] for k = 0, 1, ... depth - 1 in turn, the product
 * rounded before the sum (no FMA);  c[i][j] = acc(i,j) Both factors lie k-major. c overlaps
 * neither.
 */
struct kern_gemm_exact_f32 {
    size_t m, n, depth;
    const float *a; /* k at a + k * a_stride */
    size_t a_stride;
    const float *b; /* k at b + k * b_stride */
    size_t b_stride;
    float *c; /* row i at c + i * c_stride */
    size_t c_stride;
    bool accumulate;
};
typedef void (*kern_gemm_exact_f32_fn)(const struct kern_gemm_exact_f32 *args);

/* The same in double. */
struct kern_gemm_exact_f64 {
    size_t m, n, depth;
    const double *a;
    size_t a_stride;
    const double *b;
    size_t b_stride;
    double *c;
    size_t c_stride;
    bool accumulate;
};
typedef void (*kern_gemm_exact_f64_fn)(const struct kern_gemm_exact_f64 *args);

/*
 * Squared distances of a vector from each column of a table, for k < entries (1 to 2^24)
 *   distance[k] = sum over d = 0, 1, ... dim - 1 in turn of (x[d] - table[d * stride + k])^2
 * every operation rounded (no FMA), and the first k of the smallest one; 0 where none is below
 * infinity.
 */
typedef uint32_t (*kern_nearest_f32_fn)(uint32_t dim, const float *x, uint32_t entries,
                                        const float *table, size_t stride, float *distance);

/*
 * Winograd's convolution F(4x4, 3x3) with stride 1 (Lavin, Gray: "Fast Algorithms for Convolutional
 * Neural Networks", CVPR 2016): a tile of 4x4 outputs comes from 6x6 inputs by 36 products for each
 * pair of channels instead of 144. The points are 0, +-1/sqrt(2), +-sqrt(2) and infinity: their
 * matrices amplify rounding less than those of 0, +-1, +-2. Each transform is M x M^T with
 *   input    1  0   -5/2   0   1  0       weights   1    0    0        output  1  1    1    1  1 0
 *            0 -2a   -2    a   1  0               -2/3 -2a/3 -1/3              0  a   -a    b -b 0
 *            0  2a   -2   -a   1  0               -2/3  2a/3 -1/3              0 1/2  1/2   2  2 0
 *            0 -b/2 -1/2   b   1  0                1/6  b/6   1/3              0 a/2 -a/2  2b -2b 1
 *            0  b/2 -1/2  -b   1  0                1/6 -b/6   1/3
 *            0  1     0  -5/2  0  1                 0    0    1             a = 1/sqrt(2), b = 1/a
 * and goes channel by channel. Between them, position by position, a GEMM over the channels.
 */
#define KERN_WINOGRAD_IN  6
#define KERN_WINOGRAD_OUT 4

/* One tile: position (row, column) of channel c to out[(row * 6 + column) * out_stride + c]. */
struct kern_winograd_input_f32 {
    const float *const *a; /* [36] pixels row by row; those outside the image point at zeros */
    uint32_t channels;
    float *out;
    size_t out_stride; /* >= channels */
};

/*
 * Weights in panels: element i of tap (ky * 3 + kx) is taps[tap * tap_stride + i], of position
 * (row, column) out[(row * 6 + column) * out_stride + i], i < elems.
 */
struct kern_winograd_weights_f32 {
    const float *taps;
    size_t elems, tap_stride;
    float *out;
    size_t out_stride;
};

/*
 * The products of at most KERN_WINOGRAD_FEW tiles with the transform of weights in panels, whose
 * transform is not stored: so few tiles use it too seldom. For position p, tile t, element i:
 *   products[p * product_stride + t * elems + i] = sum over channel c < channels of
 *       input[(c * 36 + p) * KERN_WINOGRAD_FEW + t] * the transform at p of the nine
 *       taps[tap * tap_stride + c * elems + i]
 * or, where `accumulate`, that is added to what is there. The input holds KERN_WINOGRAD_FEW tiles;
 * what those from `tiles` on hold makes no difference.
 */
#define KERN_WINOGRAD_FEW 4

struct kern_winograd_few_f32 {
    uint32_t tiles, channels, elems;
    bool accumulate;
    const float *input;
    const float *taps;
    size_t tap_stride;
    float *products;
    size_t product_stride; /* >= tiles * elems */
};

/*
 * One tile: sum(p, c) = the transform of products[position * product_stride + c] + bias[c];
 * out[p][c] = min(max(sum + add[p][c], lo), hi), p = y * 4 + x. NaN passes the clamp.
 */
struct kern_winograd_output_f32 {
    const float *products;
    size_t product_stride;
    uint32_t channels;
    const float *bias;       /* NULL: 0 */
    float *const *out;       /* [16], NULL: that pixel is outside the image */
    const float *const *add; /* [16] where out is not NULL; may be out; NULL: none */
    float lo, hi;
};

/*
 * Depthwise convolution of `pixels` neighbouring outputs: for p < pixels, c < channels:
 *   out[p * out_stride + c] = clamp(bias[c] + sum over tap t < taps of
 *                                   a[p * a_step + t][c] * weights[t * weight_stride + c])
 * where a[] are pointers to input pixels (`a_step` pointers from one output pixel's taps to the
 * next). NaN passes the clamp.
 */
struct kern_dwconv_f32 {
    uint32_t pixels, channels, taps;
    const float *const *a;
    uint32_t a_step;
    const float *weights;   /* [taps][weight_stride] */
    uint32_t weight_stride; /* >= channels */
    const float *bias;      /* NULL: 0 */
    float *out;
    ptrdiff_t out_stride; /* elements */
    float lo, hi;
};

/*
 * Pooling over `taps` (1 and up) pixels by pointers, as depthwise: out = clamp(the maximum), which
 * is NaN where one tap is; out = clamp(the sum * scale[p]).
 */
struct kern_pool_f32 {
    uint32_t pixels, channels, taps;
    const float *const *a; /* [pixels * a_step]; taps a pixel lacks repeat one it has (max) or point
                              at zeros (average) */
    uint32_t a_step;
    const float *scale; /* average: [pixels], what the sum is multiplied by */
    float *out;
    ptrdiff_t out_stride;
    float lo, hi;
};

struct kern_gemm_variant {
    kern_gemm_f32_fn run;
    uint32_t mr, nr; /* nr divides LEGO's tile of 32 rows */
};

/* The same for gemm_bricks_f32, which the table's gemm_f32 goes on with: same mr and nr. */
struct kern_gemm_bricks_variant {
    void (*run)(const struct kern_gemm_bricks_f32 *args);
    uint32_t mr, nr;
};

struct kern_gemm_s8_variant {
    void (*run)(const struct kern_gemm_s8 *args);
    uint32_t mr, nr, kg;
    bool wide;
};

struct kern_gemm_f16_variant {
    void (*run)(const struct kern_gemm_f16 *args);
    uint32_t mr, nr; /* nr divides 32 */
};

typedef void (*kern_halve_f32_fn)(const struct kern_halve_f32 *args);
typedef void (*kern_quantize_u7_fn)(const struct kern_quantize_u7 *args);
typedef void (*kern_panel_pack_fn)(const struct kern_panel_pack *args);
typedef void (*kern_winograd_input_f32_fn)(const struct kern_winograd_input_f32 *args);
typedef void (*kern_winograd_weights_f32_fn)(const struct kern_winograd_weights_f32 *args);
typedef void (*kern_winograd_few_f32_fn)(const struct kern_winograd_few_f32 *args);
typedef void (*kern_winograd_output_f32_fn)(const struct kern_winograd_output_f32 *args);
typedef void (*kern_dwconv_f32_fn)(const struct kern_dwconv_f32 *args);
typedef void (*kern_pool_f32_fn)(const struct kern_pool_f32 *args);
/*
 * out[i] = f(x[i]); in place (out == x) is legal. lo and hi: clamp's range; leaky_relu's slope for
 * x < 0 is lo; hard_sigmoid is min(max(lo * x + hi, 0), 1), hard_swish is
 * lo * (x * min(max(x / 6 + 0.5, 0), 1)) + hi; the others use neither. NaN gives NaN, and so does
 * -infinity where the function is x times something that tends to 0.
 */
typedef void (*kern_unary_f32_fn)(size_t n, const float *x, float *out, float lo, float hi);
/*
 * out[i] = clamp(x[i] op y[i * ystep]); `ystep` 0: y is one scalar, 1: a vector; in place is legal
 * (out == x, out == y). The maximum and the minimum of anything and NaN are NaN.
 */
typedef void (*kern_binary_f32_fn)(size_t n, const float *x, const float *y, size_t ystep,
                                   float *out, float lo, float hi);
/* The sum / the maximum of x[0..n): 0 / -INFINITY when n is 0, NaN where an element is. */
typedef float (*kern_reduce_f32_fn)(size_t n, const float *x);
/* out[c * out_stride + r] = x[r * x_stride + c] for r < rows, c < columns (NCHW <-> NHWC). */
typedef void (*kern_transpose_f32_fn)(size_t rows, size_t columns, const float *x, size_t x_stride,
                                      float *out, size_t out_stride);
/* out[i] = exp(x[i] - max) / sum of those, i < n; in place is legal. */
typedef void (*kern_softmax_f32_fn)(size_t n, const float *x, float *out);
/* sums[c] = sum over r < rows of x[r * x_stride + c], c < columns. */
typedef void (*kern_colsum_f32_fn)(size_t rows, size_t columns, const float *x, size_t x_stride,
                                   float *sums);

/*
 * Pictures, resized by weighted sums of rows, then of columns, then brought to the model's input.
 * Weights are fixed-point numbers of 14 fractional bits, none negative, the sum of an output's at
 * most 1. What lies between the passes has 7 fractional bits: 0 to 255 * 128.
 */
#define KERN_RESIZE_WEIGHT_BITS 14
#define KERN_RESIZE_VALUE_BITS  7
#define KERN_RESIZE_TAPS        16 /* the columns' taps come in multiples of this */

/* out[x] = sum over t < taps of weights[t] * rows[t * stride + x], rounded to nearest, x < n. */
typedef void (*kern_resize_rows_u8_fn)(size_t n, uint32_t taps, const int16_t *weights,
                                       const uint8_t *rows, size_t stride, int16_t *out);

/*
 * out[i] = sum over t < taps of weights[i * taps + t] * x[first[i] + t], rounded to nearest, i < n.
 * taps is a multiple of KERN_RESIZE_TAPS: weights are filled up with zeros, and x is readable so
 * far.
 */
typedef void (*kern_resize_columns_i16_fn)(size_t n, uint32_t taps, const int16_t *weights,
                                           const uint32_t *first, const int16_t *x, int16_t *out);

/*
 * The same as PIL resamples 8-bit pictures, to the bit, 8 bits between the passes: weights of 22
 * fractional bits, 0 to 1, sum to nearly 1. In groups of four taps, filled up with zeros, they are
 * [groups][2][4]: four times weight >> 11, then four times weight & 2047.
 */
#define KERN_RESAMPLE_BITS 22
#define KERN_RESAMPLE_LOW  11 /* of those bits */
#define KERN_RESAMPLE_TAPS 4  /* in a group */
#define KERN_RESAMPLE_OVER 16 /* bytes that may be read behind a group's pixels */

/*
 * out[i * channels + c] = sum over t < taps of weight[i][t] * x[(first[i] + t) * channels + c],
 * rounded to nearest, 255 at most, i < n, c < channels; the same of each row. `taps` is a multiple
 * of four, and rows are readable KERN_RESAMPLE_OVER bytes beyond the last.
 */
struct kern_resample_u8 {
    size_t n;
    uint32_t channels; /* 1 or 3, interleaved */
    uint32_t taps;
    const int16_t *weights; /* [n][taps / 4][2][4] */
    const uint32_t *first;
    uint32_t rows;
    const uint8_t *x;
    size_t x_stride;
    uint8_t *out;
    size_t out_stride;
};
typedef void (*kern_resample_across_u8_fn)(const struct kern_resample_u8 *resample);

/* out[x] = sum over t < taps of weight[t] * rows[t * stride + x], rounded to nearest, 255 at most,
 * x < n; taps may be any number of the weights' groups. */
typedef void (*kern_resample_down_u8_fn)(size_t n, uint32_t taps, const int16_t *weights,
                                         const uint8_t *rows, size_t stride, uint8_t *out);

/*
 * y = min(max(offset[c] + sum over k < 3 of matrix[c][k] * x[k][i] / 128, 0), 255)
 * out[c][i] = y * scale[c] + shift[c], i < n, c < channels.
 */
struct kern_colour_f32 {
    size_t n;
    uint32_t channels;   /* 1 or 3 */
    const int16_t *x[3]; /* the same row may be given more than once */
    float matrix[3][3], offset[3], scale[3], shift[3];
    float *out[3];
};
typedef void (*kern_colour_f32_fn)(const struct kern_colour_f32 *colour);

/*
 * The table. `isa` of each entry (KERN_REFERENCE, "avx2", "neon", ...) is kept beside it for
 * benches and logs, and for those who want a kernel only where it is fast.
 */
#define KERN_REFERENCE "c"

struct kern_table {
    uint32_t cpu; /* the features that were used */
#define KERN_ENTRY(name, type, ...) type name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
    struct {
#define KERN_ENTRY(name, type, ...) const char *name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
    } isa;
};

/*
 * Parses a mask: names of cpu.def separated by commas ("avx2,avx512"), "all", "none" or "c"
 * (references only), a leading "-" removes ("all,-avx512"; a list that starts with a removal starts
 * from all). Returns false on an unknown or empty name, *ret_mask untouched. Used for LEGO_CPU.
 */
bool kern_cpu_parse(const char *text, uint32_t *ret_mask);
/* "avx2,avx512" into buffer ("c" for none), cut where it does not fit; returns buffer. */
const char *kern_cpu_format(uint32_t cpu, char *buffer, size_t bytes);

/* Fills the table with the C references. */
void kern_init_reference(struct kern_table *table);

/*
 * Each family overwrites the entries that `cpu` allows and the machine has; on a machine of another
 * family the function is absent. Only agent/runtime (kern_init there) and the checker call them.
 */
void kern_init_x86(struct kern_table *table, uint32_t cpu);
void kern_init_arm(struct kern_table *table, uint32_t cpu);
uint32_t kern_cpu_detect_x86(void);
uint32_t kern_cpu_detect_arm(void);

/* The features of this machine that kernels know of. Its caller links the machine's family. */
static inline uint32_t kern_cpu_detect(void)
{
#if defined(__x86_64__)
    return kern_cpu_detect_x86();
#elif defined(__aarch64__)
    return kern_cpu_detect_arm();
#else
    return 0;
#endif
}

#endif
