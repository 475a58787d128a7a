/* What this ISA brings to the table: all but products of bytes in fixed point. */
#include "kernels-x86/avx2/vec.h"
#include "kernels-x86/x86.h"

void kern_init_avx2(struct kern_table *table)
{
#define KERN_ENTRY_BYTES(...)
#define KERN_ENTRY(name, type, ...) \
    table->name = KERN_ISA(name);   \
    table->isa.name = "avx2";
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
}
