/* What the encoder needs in one order of sums. Blocks small enough for any machine's registers. */
#include "codec/kernels/ref/ref.h"

#include <math.h>

#define EXACT_REAL  float
#define EXACT(name) name##_f32
#include "codec/kernels/ref/exact.h"
#undef EXACT_REAL
#undef EXACT

#define EXACT_REAL  double
#define EXACT(name) name##_f64
#include "codec/kernels/ref/exact.h"
#undef EXACT_REAL
#undef EXACT

const kern_gemm_exact_f32_fn kern_ref_gemm_exact_f32 = gemm_exact_f32;
const kern_gemm_exact_f64_fn kern_ref_gemm_exact_f64 = gemm_exact_f64;

static uint32_t nearest(uint32_t dim, const float *x, uint32_t entries, const float *table,
                        size_t stride, float *distance)
{
    float best = INFINITY;
    uint32_t best_k = 0;

    for (uint32_t k = 0; k < entries; k++)
        distance[k] = 0;
    for (uint32_t d = 0; d < dim; d++) {
        for (uint32_t k = 0; k < entries; k++) {
            const float e = x[d] - table[d * stride + k];
            distance[k] += e * e;
        }
    }
    for (uint32_t k = 0; k < entries; k++) {
        if (distance[k] < best) {
            best = distance[k];
            best_k = k;
        }
    }
    return best_k;
}

const kern_nearest_f32_fn kern_ref_nearest_f32 = nearest;
