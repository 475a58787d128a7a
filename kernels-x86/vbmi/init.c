#include "kernels-x86/vbmi/vbmi.h"
#include "kernels-x86/x86.h"

void kern_init_vbmi(struct kern_table *table)
{
    table->brick_decode = kern_vbmi_brick_decode;
    table->isa.brick_decode = "vbmi";
    if (!(table->cpu & KERN_CPU_VNNI))
        return;
    table->brick_decode_s8 = kern_vbmi_brick_decode_s8;
    table->isa.brick_decode_s8 = "vbmi";
    table->fixed_digits = kern_vbmi_fixed_digits;
    table->isa.fixed_digits = "vbmi";
    table->brick_gemv_fixed = kern_vbmi_brick_gemv_fixed;
    table->isa.brick_gemv_fixed = "vbmi";
}
