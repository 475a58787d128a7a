/* What this ISA brings to the table: everything. */
#include "kernels-arm/arm.h"
#include "kernels-arm/neon/vec.h"

void kern_init_neon(struct kern_table *table)
{
#define KERN_ENTRY(name, type, ...) \
    table->name = KERN_ISA(name);   \
    table->isa.name = "neon";
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
}
