/*
 * The numbers of a generated self-test input.
 */
#include "codec/format/package.h"

#include "codec/base/half.h"

#include <string.h>

/* SplitMix64 (Steele, Lea, Flood 2014): a counter through a mixer, so that it is easy to specify.
 */
static uint64_t split_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* 24 bits: exact in fp32, and what half and double get derives from the same number. */
static float real_of(uint64_t random)
{
    return (float)((int32_t)(random >> 40) - (1 << 23)) * 0x1p-23f;
}

static void store(enum lego_dtype dtype, uint64_t random, void *to)
{
    const float real = real_of(random);
    const double real64 = real;
    const uint16_t real16 = lego_half_from_float(real);
    uint32_t bits;
    memcpy(&bits, &real, sizeof(bits));
    const uint16_t brain16 = (uint16_t)(bits >> 16);
    uint64_t integer = random >> 57;
    const void *source = &integer;

    if (dtype == LEGO_DTYPE_FLOAT32)
        source = &real;
    else if (dtype == LEGO_DTYPE_FLOAT64)
        source = &real64;
    else if (dtype == LEGO_DTYPE_FLOAT16)
        source = &real16;
    else if (dtype == LEGO_DTYPE_BFLOAT16)
        source = &brain16;
    else if (dtype == LEGO_DTYPE_BOOL)
        integer &= 1;
    memcpy(to, source, lego_dtype_bytes(dtype));
}

void lego_selftest_fill(uint64_t seed, uint32_t input, const struct lego_tensor *tensor, void *data)
{
    const size_t size = lego_dtype_bytes(tensor->dtype);
    const size_t elems = size ? tensor->bytes / size : 0;
    uint64_t state = seed + ((uint64_t)input << 48);

    for (size_t i = 0; i < elems; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15);
        const uint64_t random = split_mix(state);

        /* Nearly all inputs are. */
        if (tensor->dtype == LEGO_DTYPE_FLOAT32)
            ((float *)data)[i] = real_of(random);
        else
            store(tensor->dtype, random, (char *)data + i * size);
    }
}

void lego_selftest_input(const struct lego_selftest *selftest, uint32_t input, void *data)
{
    const struct lego_tensor *tensor = &selftest->inputs[input];

    if (selftest->generated)
        lego_selftest_fill(selftest->seed, input, tensor, data);
    else if (tensor->bytes > 0)
        memcpy(data, tensor->data, tensor->bytes);
}
