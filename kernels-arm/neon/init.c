/* What this ISA brings to the table: what the templates make. */
#include "kernels-arm/arm.h"
#include "kernels-arm/neon/vec.h"

void kern_init_neon(struct kern_table *table)
{
    /* Not winograd_few_f32: two registers make a vector here, and 32 do not hold what it sums; by
     * the template, 7x7x512 took 0.45 instructions for a multiply-accumulate, by the direct method
     * 0.32. Nor gemm_bricks_f32: decoding takes as many between multiplications as before them. */
#define KERN_ENTRY_WIDE(...)
#define KERN_ENTRY_BYTES(...)
#define KERN_ENTRY(name, type, ...) \
    table->name = KERN_ISA(name);   \
    table->isa.name = "neon";
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
}
