/* What each ISA of the family offers to its init: one function that overwrites table entries. */
#ifndef LEGO_KERNELS_X86_X86_H
#define LEGO_KERNELS_X86_X86_H

#include "codec/kernels/kernels.h"

void kern_init_avx2(struct kern_table *table);
void kern_init_avxvnni(struct kern_table *table);
void kern_init_avx512(struct kern_table *table);
void kern_init_vbmi(struct kern_table *table);
void kern_init_vnni(struct kern_table *table);

#endif
