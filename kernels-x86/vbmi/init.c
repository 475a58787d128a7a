#include "kernels-x86/vbmi/vbmi.h"
#include "kernels-x86/x86.h"

void kern_init_vbmi(struct kern_table *table)
{
    table->brick_decode = kern_vbmi_brick_decode;
    table->isa.brick_decode = "vbmi";
}
