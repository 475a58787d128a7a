/* What this ISA brings to the table: everything but two. */
#include "kernels-arm/arm.h"
#include "kernels-arm/neon/vec.h"

/* Two registers make a vector here, and 32 do not hold what it sums: by the template, 7x7x512 took
 * 0.45 instructions for a multiply-accumulate, by the direct method 0.32. */
const kern_winograd_few_f32_fn KERN_ISA(winograd_few_f32) = NULL;

/* Decoding takes as many instructions between multiplications as before them. */
const struct kern_gemm_bricks_variant KERN_ISA(gemm_bricks_f32) = {NULL, 0, 0};

void kern_init_neon(struct kern_table *table)
{
    const struct kern_table before = *table;

#define KERN_ENTRY(name, type, ...) \
    table->name = KERN_ISA(name);   \
    table->isa.name = "neon";
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
    table->winograd_few_f32 = before.winograd_few_f32;
    table->isa.winograd_few_f32 = before.isa.winograd_few_f32;
    table->gemm_bricks_f32 = before.gemm_bricks_f32;
    table->isa.gemm_bricks_f32 = before.isa.gemm_bricks_f32;
}
