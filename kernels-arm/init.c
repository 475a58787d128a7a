/* Which kernels this ARM machine can run. */
#include "kernels-arm/arm.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

uint32_t kern_cpu_detect_arm(void)
{
    unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
    uint32_t cpu = 0;

    if (hwcap & HWCAP_ASIMD)
        cpu |= KERN_CPU_NEON;
    if ((hwcap & HWCAP_ASIMDHP) && (hwcap & HWCAP_FPHP))
        cpu |= KERN_CPU_FP16;
    if (hwcap & HWCAP_ASIMDDP)
        cpu |= KERN_CPU_DOTPROD;
    if (hwcap2 & HWCAP2_I8MM)
        cpu |= KERN_CPU_I8MM;
    return cpu;
}

void kern_init_arm(struct kern_table *table, uint32_t cpu)
{
    table->cpu = cpu & kern_cpu_detect_arm();
    if (table->cpu & KERN_CPU_NEON)
        kern_init_neon(table);
    if ((table->cpu & KERN_CPU_NEON) && (table->cpu & KERN_CPU_DOTPROD))
        kern_init_dotprod(table);
    if ((table->cpu & KERN_CPU_NEON) && (table->cpu & KERN_CPU_I8MM))
        kern_init_i8mm(table);
    if ((table->cpu & KERN_CPU_NEON) && (table->cpu & KERN_CPU_FP16))
        kern_init_fp16(table);
}
