/*
 * What the machine could do at most: fused multiply-adds on registers alone, with the widest
 * vectors that kernels use. The yardstick of `legonet bench --layers`.
 */
#include "tests/kernels/bench_peak.h"

#include "codec/kernels/kernels.h"

/* Chains that do not wait for one another: more than any core's latency times its units. */
enum { CHAINS = 12, STEPS = 1000 };

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static uint64_t peak_avx512(void)
{
    __m512 sum[CHAINS], x = _mm512_set1_ps(0.5f);

#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = _mm512_fmadd_ps(sum[i], x, x);
            __asm__ volatile("" : "+v"(sum[i]));
        }
    }
    return (uint64_t)16 * CHAINS * STEPS;
}

__attribute__((target("avx2,fma"))) static uint64_t peak_avx2(void)
{
    __m256 sum[CHAINS], x = _mm256_set1_ps(0.5f);

#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = _mm256_fmadd_ps(sum[i], x, x);
            __asm__ volatile("" : "+x"(sum[i]));
        }
    }
    return (uint64_t)8 * CHAINS * STEPS;
}
#elif defined(__aarch64__)
#include <arm_neon.h>

static uint64_t peak_neon(void)
{
    float32x4_t sum[CHAINS], x = vdupq_n_f32(0.5f);

#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sum[i] = vdupq_n_f32((float)i);
    for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = vfmaq_f32(sum[i], x, x);
            __asm__ volatile("" : "+w"(sum[i]));
        }
    }
    return (uint64_t)4 * CHAINS * STEPS;
}
#endif

#if !defined(__aarch64__)
static uint64_t peak_scalar(void)
{
    float sum[CHAINS], x = 0.5f;

    for (int i = 0; i < CHAINS; i++)
        sum[i] = (float)i;
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = sum[i] * x + x;
            __asm__ volatile("" : "+m"(sum[i]));
        }
    }
    return (uint64_t)CHAINS * STEPS;
}
#endif

bench_peak_fn bench_peak_choose(const char **ret_isa)
{
    uint32_t cpu = kern_cpu_detect();

    (void)cpu;
#if defined(__x86_64__)
    if (cpu & KERN_CPU_AVX512) {
        *ret_isa = "avx512";
        return peak_avx512;
    }
    if (cpu & KERN_CPU_AVX2) {
        *ret_isa = "avx2";
        return peak_avx2;
    }
#endif
#if defined(__aarch64__)
    *ret_isa = "neon";
    return peak_neon;
#else
    *ret_isa = "c";
    return peak_scalar;
#endif
}
