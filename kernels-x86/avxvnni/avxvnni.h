/* What AVX-VNNI brings to the table: VNNI for processors without AVX-512. */
#ifndef LEGO_KERNELS_X86_AVXVNNI_AVXVNNI_H
#define LEGO_KERNELS_X86_AVXVNNI_AVXVNNI_H

#include "codec/kernels/kernels.h"

extern const struct kern_gemm_s8_variant kern_avxvnni_gemm_s8;

#endif
