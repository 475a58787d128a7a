/* GEMM of half-precision numbers, and what brings activations to them. */
#include "codec/base/half.h"
#include "codec/kernels/ref/ref.h"

enum { MR = 4, NR = 16 };

static void gemm(const struct kern_gemm_f16 *g)
{
    float acc[MR][NR];
    const uint16_t *b = g->panel;

    for (uint32_t i = 0; i < MR; i++)
        for (uint32_t j = 0; j < NR; j++)
            acc[i][j] = g->bias && j < g->n ? g->bias[j] : 0.0f;
    for (uint32_t t = 0; t < g->taps; t++) {
        const uint16_t *const *a = g->a + (size_t)t * MR;
        for (uint32_t k = 0; k < g->channels; k++, b += NR)
            for (uint32_t i = 0; i < g->m; i++)
                for (uint32_t j = 0; j < NR; j++)
                    acc[i][j] += lego_half_to_float(a[i][k]) * lego_half_to_float(b[j]);
    }
    for (uint32_t i = 0; i < g->m; i++) {
        float *c = g->c + (ptrdiff_t)i * g->c_stride;
        const float *add = g->add ? g->add + (ptrdiff_t)i * g->add_stride : NULL;
        for (uint32_t j = 0; j < g->n; j++)
            c[j] = kern_ref_clamp(add ? acc[i][j] + add[j] : acc[i][j], g->lo, g->hi);
    }
}

static void halve(const struct kern_halve_f32 *h)
{
    for (size_t r = 0; r < h->rows; r++)
        for (size_t c = 0; c < h->out_stride; c++)
            h->out[r * h->out_stride + c] =
                c < h->channels ? lego_half_from_float(h->x[r * h->channels + c]) : 0;
}

const struct kern_gemm_f16_variant kern_ref_gemm_f16 = {gemm, MR, NR};
const kern_halve_f32_fn kern_ref_halve_f32 = halve;
