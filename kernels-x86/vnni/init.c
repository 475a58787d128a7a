#include "kernels-x86/vnni/vnni.h"
#include "kernels-x86/x86.h"

void kern_init_vnni(struct kern_table *table)
{
    table->gemm_s8 = kern_vnni_gemm_s8;
    table->isa.gemm_s8 = "vnni";
}
