/* What this ISA brings to the table. */
#include "kernels-x86/avx512/vec.h"
#include "kernels-x86/x86.h"

#define SET(name)                     \
    do {                              \
        table->name = KERN_ISA(name); \
        table->isa.name = "avx512";   \
    } while (0)

void kern_init_avx512(struct kern_table *table)
{
    SET(gemm_f32);
    SET(gemm_f32_narrow);
    SET(gemm_f32_row);
}
