#include "kernels-arm/arm.h"
#include "kernels-arm/fp16/fp16.h"

void kern_init_fp16(struct kern_table *table)
{
    table->gemm_f16 = kern_fp16_gemm_f16;
    table->isa.gemm_f16 = "fp16";
}
