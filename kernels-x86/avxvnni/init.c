#include "kernels-x86/avxvnni/avxvnni.h"
#include "kernels-x86/x86.h"

void kern_init_avxvnni(struct kern_table *table)
{
    table->gemm_s8 = kern_avxvnni_gemm_s8;
    table->isa.gemm_s8 = "avxvnni";
}
