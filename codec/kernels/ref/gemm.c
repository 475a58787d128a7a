/* Indirect GEMM. A block small enough that a compiler keeps it in any machine's registers. */
#include "codec/kernels/ref/ref.h"

enum { MR = 4, NR = 8 };

static void store_row(const struct kern_gemm_f32 *g, uint32_t i, const float acc[NR])
{
    float *c = g->c + (ptrdiff_t)i * g->c_stride;
    const float *add = g->add ? g->add + (ptrdiff_t)i * g->add_stride : NULL;

    for (uint32_t j = 0; j < g->n; j++)
        c[j] = kern_ref_clamp(add ? acc[j] + add[j] : acc[j], g->lo, g->hi);
}

static void load_row(const struct kern_gemm_f32 *g, uint32_t i, float acc[NR])
{
    const float *from = g->accumulate ? g->c + (ptrdiff_t)i * g->c_stride : g->bias;

    for (uint32_t j = 0; j < NR; j++)
        acc[j] = from && j < g->n ? from[j] : 0.0f;
}

static void gemm(const struct kern_gemm_f32 *g)
{
    float acc[MR][NR];
    const float *b = g->panel;

    for (uint32_t i = 0; i < MR; i++)
        load_row(g, i < g->m ? i : g->m - 1, acc[i]);
    for (uint32_t t = 0; t < g->taps; t++) {
        const float *const *a = g->a + (size_t)t * MR;
        for (uint32_t k = 0; k < g->channels; k++, b += NR)
            for (uint32_t i = 0; i < MR; i++)
                for (uint32_t j = 0; j < NR; j++)
                    acc[i][j] += a[i][k] * b[j];
    }
    for (uint32_t i = 0; i < g->m; i++)
        store_row(g, i, acc[i]);
}

static void gemm_bricks(const struct kern_gemm_bricks_f32 *w)
{
    struct kern_gemm_f32 g = w->gemm;

    for (size_t k = 0; k < (size_t)g.taps * g.channels; k++)
        for (size_t i = 0; i < NR; i++)
            w->panel[k * NR + i] =
                w->catalogue[4 * (size_t)w->index[k * w->index_step + i / 4] + i % 4] *
                (w->scale ? w->scale[i] : 1.0f);
    g.panel = w->panel;
    gemm(&g);
}

static void gemm_row(const struct kern_gemm_f32 *g)
{
    float acc[NR];
    const float *b = g->panel;

    load_row(g, 0, acc);
    for (uint32_t t = 0; t < g->taps; t++)
        for (uint32_t k = 0; k < g->channels; k++, b += NR)
            for (uint32_t j = 0; j < NR; j++)
                acc[j] += g->a[t][k] * b[j];
    store_row(g, 0, acc);
}

const struct kern_gemm_variant kern_ref_gemm_f32 = {gemm, MR, NR};
const struct kern_gemm_bricks_variant kern_ref_gemm_bricks_f32 = {gemm_bricks, MR, NR};
const struct kern_gemm_variant kern_ref_gemm_f32_narrow = {gemm, MR, NR};
const struct kern_gemm_variant kern_ref_gemm_f32_row = {gemm_row, 1, NR};
