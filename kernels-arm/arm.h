/* What each ISA of the family offers to its init: one function that overwrites table entries. */
#ifndef LEGO_KERNELS_ARM_ARM_H
#define LEGO_KERNELS_ARM_ARM_H

#include "codec/kernels/kernels.h"

void kern_init_neon(struct kern_table *table);
void kern_init_dotprod(struct kern_table *table);
void kern_init_i8mm(struct kern_table *table);
void kern_init_fp16(struct kern_table *table);

#endif
