/* Depthwise convolution and pooling: windows of pixels by pointers. */
#include "codec/kernels/ref/ref.h"

static void dwconv(const struct kern_dwconv_f32 *d)
{
    for (uint32_t p = 0; p < d->pixels; p++) {
        const float *const *a = d->a + (size_t)p * d->a_step;
        float *out = d->out + (ptrdiff_t)p * d->out_stride;
        for (uint32_t c = 0; c < d->channels; c++) {
            float acc = d->bias ? d->bias[c] : 0.0f;
            for (uint32_t t = 0; t < d->taps; t++)
                acc += a[t][c] * d->weights[(size_t)t * d->weight_stride + c];
            out[c] = kern_ref_clamp(acc, d->lo, d->hi);
        }
    }
}

static void maxpool(const struct kern_pool_f32 *d)
{
    for (uint32_t p = 0; p < d->pixels; p++) {
        const float *const *a = d->a + (size_t)p * d->a_step;
        float *out = d->out + (ptrdiff_t)p * d->out_stride;
        for (uint32_t c = 0; c < d->channels; c++) {
            float acc = a[0][c];
            for (uint32_t t = 1; t < d->taps; t++) {
                float x = a[t][c];
                acc = acc > x || acc != acc ? acc : x;
            }
            out[c] = kern_ref_clamp(acc, d->lo, d->hi);
        }
    }
}

static void avgpool(const struct kern_pool_f32 *d)
{
    for (uint32_t p = 0; p < d->pixels; p++) {
        const float *const *a = d->a + (size_t)p * d->a_step;
        float *out = d->out + (ptrdiff_t)p * d->out_stride;
        for (uint32_t c = 0; c < d->channels; c++) {
            float acc = a[0][c];
            for (uint32_t t = 1; t < d->taps; t++)
                acc += a[t][c];
            out[c] = kern_ref_clamp(acc * d->scale[p], d->lo, d->hi);
        }
    }
}

const kern_dwconv_f32_fn kern_ref_dwconv_f32 = dwconv;
const kern_pool_f32_fn kern_ref_maxpool_f32 = maxpool;
const kern_pool_f32_fn kern_ref_avgpool_f32 = avgpool;
