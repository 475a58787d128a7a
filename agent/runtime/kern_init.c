#include "agent/runtime/kern_init.h"

#include <stdlib.h>

int kern_init(struct kern_table *ret_table, const char *mask, struct lego_diag *diag)
{
    uint32_t allowed = UINT32_MAX;

    if (!mask)
        mask = getenv("LEGO_CPU");
    if (mask && *mask && !kern_cpu_parse(mask, &allowed))
        return lego_fail(diag, LEGO_E_INVALID,
                         "LEGO_CPU '%s': unknown instruction set; use names separated by commas "
                         "(avx2, avx512, neon, ...), 'all' or 'c'",
                         mask);
    kern_init_reference(ret_table);
#if defined(HAVE_lego_kernels_x86)
    allowed &= kern_cpu_detect_x86();
    ret_table->cpu = allowed;
    kern_init_x86(ret_table, allowed);
#elif defined(HAVE_lego_kernels_arm)
    allowed &= kern_cpu_detect_arm();
    ret_table->cpu = allowed;
    kern_init_arm(ret_table, allowed);
#else
    ret_table->cpu = 0;
#endif
    return LEGO_OK;
}
