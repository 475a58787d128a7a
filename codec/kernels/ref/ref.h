/*
 * The C references: one constant for each entry of kernels.def, kern_ref_<name>. An entry without
 * a reference does not link. Plain loops without contraction: what every ISA is checked against,
 * what machines without a family run, and what a family may call for shapes it does not speed up.
 */
#ifndef LEGO_KERNELS_REF_REF_H
#define LEGO_KERNELS_REF_REF_H

#include "codec/kernels/kernels.h"

#define KERN_ENTRY(name, type, ...) extern const type kern_ref_##name;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY

/* min(max(x, lo), hi) that lets NaN pass. */
static inline float kern_ref_clamp(float x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

#endif
