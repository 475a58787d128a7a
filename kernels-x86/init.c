/* Which kernels this x86 machine can run. */
#include "kernels-x86/x86.h"

#include <cpuid.h>

static bool has_f16c(void)
{
    unsigned int eax, ebx, ecx, edx;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool has_avxvnni(void)
{
    unsigned int eax, ebx, ecx, edx;

    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & bit_AVXVNNI);
}

/* The builtins ask the operating system too, whether it saves the wide registers. */
uint32_t kern_cpu_detect_x86(void)
{
    uint32_t cpu = 0;

    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        cpu |= KERN_CPU_AVX2;
    if ((cpu & KERN_CPU_AVX2) && has_avxvnni())
        cpu |= KERN_CPU_AVXVNNI;
    if ((cpu & KERN_CPU_AVX2) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        cpu |= KERN_CPU_AVX512;
    if ((cpu & KERN_CPU_AVX512) && __builtin_cpu_supports("avx512vnni"))
        cpu |= KERN_CPU_VNNI;
    if ((cpu & KERN_CPU_AVX512) && __builtin_cpu_supports("avx512vbmi"))
        cpu |= KERN_CPU_VBMI;
    return cpu;
}

void kern_init_x86(struct kern_table *table, uint32_t cpu)
{
    table->cpu = cpu & kern_cpu_detect_x86();
    if (table->cpu & KERN_CPU_AVX2)
        kern_init_avx2(table);
    if ((table->cpu & KERN_CPU_AVX2) && (table->cpu & KERN_CPU_AVXVNNI))
        kern_init_avxvnni(table);
    if (table->cpu & KERN_CPU_AVX512)
        kern_init_avx512(table);
    if ((table->cpu & KERN_CPU_AVX512) && (table->cpu & KERN_CPU_VNNI))
        kern_init_vnni(table);
    if ((table->cpu & KERN_CPU_AVX512) && (table->cpu & KERN_CPU_VBMI))
        kern_init_vbmi(table);
}
