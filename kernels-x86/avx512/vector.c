/* Everything that is the same code on every vector, here in this ISA's. */
#include "kernels-x86/avx512/vec.h"

#include "codec/kernels/simd/activation.h"
#include "codec/kernels/simd/elementwise.h"
#include "codec/kernels/simd/exact.h"
#include "codec/kernels/simd/half.h"
#include "codec/kernels/simd/quantize.h"
#include "codec/kernels/simd/reduce.h"
#include "codec/kernels/simd/window.h"
#include "codec/kernels/simd/winograd_few_registers.h"
