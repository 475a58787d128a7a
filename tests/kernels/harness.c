#include "tests/kernels/harness.h"

void harness_table(struct kern_table *table, uint32_t cpu)
{
    kern_init_reference(table);
#if defined(__x86_64__)
    kern_init_x86(table, cpu);
#elif defined(__aarch64__)
    kern_init_arm(table, cpu);
#else
    (void)cpu;
#endif
}
