#include "kernels-arm/arm.h"
#include "kernels-arm/i8mm/i8mm.h"

void kern_init_i8mm(struct kern_table *table)
{
    table->gemm_s8 = kern_i8mm_gemm_s8;
    table->isa.gemm_s8 = "i8mm";
}
