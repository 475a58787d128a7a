/* Winograd's transforms, as the three products with their matrices. */
#include "codec/kernels/ref/ref.h"

#define A 0.70710678118654752f /* the points are 0, A, -A, B, -B and infinity; A B is 1 */
#define B 1.41421356237309505f

enum { IN = KERN_WINOGRAD_IN, OUT = KERN_WINOGRAD_OUT, KERNEL = 3 };

static const float input_matrix[IN][IN] = {
    {1, 0, -2.5f, 0, 1, 0},         {0, -2 * A, -2, A, 1, 0},       {0, 2 * A, -2, -A, 1, 0},
    {0, -0.5f * B, -0.5f, B, 1, 0}, {0, 0.5f * B, -0.5f, -B, 1, 0}, {0, 1, 0, -2.5f, 0, 1},
};
static const float weights_matrix[IN][KERNEL] = {
    {1, 0, 0},
    {1 / -1.5f, A / -1.5f, 0.5f / -1.5f},
    {1 / -1.5f, A / 1.5f, 0.5f / -1.5f},
    {1 / 6.0f, B / 6.0f, 2 / 6.0f},
    {1 / 6.0f, B / -6.0f, 2 / 6.0f},
    {0, 0, 1},
};
static const float output_matrix[OUT][IN] = {
    {1, 1, 1, 1, 1, 0},
    {0, A, -A, B, -B, 0},
    {0, 0.5f, 0.5f, 2, 2, 0},
    {0, 0.5f * A, -0.5f * A, 2 * B, -2 * B, 1},
};

/* out[i * out_step] = sum over j of matrix[i][j] * x[j * x_step]. A zero of the matrix hides even
 * infinities: the vectors have no such product. */
static void product(const float *matrix, int rows, int columns, const float *x, int x_step,
                    float *out, int out_step)
{
    for (int i = 0; i < rows; i++) {
        float sum = 0.0f;
        for (int j = 0; j < columns; j++)
            if (matrix[i * columns + j] != 0.0f)
                sum += matrix[i * columns + j] * x[j * x_step];
        out[i * out_step] = sum;
    }
}

/* out = matrix x matrix^T, squares of `from` to squares of `to`. */
static void square(const float *matrix, int to, int from, const float *x, float *out)
{
    float half[IN * IN];

    for (int column = 0; column < from; column++)
        product(matrix, to, from, x + column, from, half + column, from);
    for (int row = 0; row < to; row++)
        product(matrix, to, from, half + row * from, 1, out + row * to, 1);
}

static void winograd_input(const struct kern_winograd_input_f32 *w)
{
    for (uint32_t c = 0; c < w->channels; c++) {
        float x[IN * IN], out[IN * IN];
        for (int p = 0; p < IN * IN; p++)
            x[p] = w->a[p][c];
        square(&input_matrix[0][0], IN, IN, x, out);
        for (int p = 0; p < IN * IN; p++)
            w->out[(size_t)p * w->out_stride + c] = out[p];
    }
}

static void winograd_weights(const struct kern_winograd_weights_f32 *w)
{
    for (size_t i = 0; i < w->elems; i++) {
        float x[KERNEL * KERNEL], out[IN * IN];
        for (int t = 0; t < KERNEL * KERNEL; t++)
            x[t] = w->taps[(size_t)t * w->tap_stride + i];
        square(&weights_matrix[0][0], IN, KERNEL, x, out);
        for (int p = 0; p < IN * IN; p++)
            w->out[(size_t)p * w->out_stride + i] = out[p];
    }
}

static void winograd_few(const struct kern_winograd_few_f32 *w)
{
    for (uint32_t i = 0; i < w->elems; i++) {
        float sums[IN * IN][KERN_WINOGRAD_FEW] = {{0}};
        for (uint32_t c = 0; c < w->channels; c++) {
            float x[KERNEL * KERNEL], out[IN * IN];
            for (int t = 0; t < KERNEL * KERNEL; t++)
                x[t] = w->taps[(size_t)t * w->tap_stride + (size_t)c * w->elems + i];
            square(&weights_matrix[0][0], IN, KERNEL, x, out);
            for (size_t p = 0; p < IN * IN; p++)
                for (uint32_t t = 0; t < w->tiles; t++)
                    sums[p][t] +=
                        w->input[((size_t)c * IN * IN + p) * KERN_WINOGRAD_FEW + t] * out[p];
        }
        for (int p = 0; p < IN * IN; p++)
            for (uint32_t t = 0; t < w->tiles; t++) {
                float *to = w->products + (size_t)p * w->product_stride + (size_t)t * w->elems + i;
                *to = sums[p][t] + (w->accumulate ? *to : 0.0f);
            }
    }
}

static void winograd_output(const struct kern_winograd_output_f32 *w)
{
    for (uint32_t c = 0; c < w->channels; c++) {
        float x[IN * IN], out[OUT * OUT];
        for (int p = 0; p < IN * IN; p++)
            x[p] = w->products[(size_t)p * w->product_stride + c];
        square(&output_matrix[0][0], OUT, IN, x, out);
        for (int p = 0; p < OUT * OUT; p++) {
            float sum = out[p] + (w->bias ? w->bias[c] : 0.0f);
            if (!w->out[p])
                continue;
            sum += w->add ? w->add[p][c] : 0.0f;
            w->out[p][c] = kern_ref_clamp(sum, w->lo, w->hi);
        }
    }
}

const kern_winograd_input_f32_fn kern_ref_winograd_input_f32 = winograd_input;
const kern_winograd_weights_f32_fn kern_ref_winograd_weights_f32 = winograd_weights;
const kern_winograd_few_f32_fn kern_ref_winograd_few_f32 = winograd_few;
const kern_winograd_output_f32_fn kern_ref_winograd_output_f32 = winograd_output;
