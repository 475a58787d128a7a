#include "kernels-arm/arm.h"
#include "kernels-arm/dotprod/dotprod.h"

void kern_init_dotprod(struct kern_table *table)
{
    table->gemm_s8 = kern_dotprod_gemm_s8;
    table->isa.gemm_s8 = "dotprod";
    table->brick_decode_s8 = kern_dotprod_brick_decode_s8;
    table->isa.brick_decode_s8 = "dotprod";
}
