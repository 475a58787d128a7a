/*
 * Overflow-checked arithmetic for sizes and offsets that come from outside. Each returns true when
 * the result fits and is written, false (result untouched) when it does not.
 */
#ifndef LEGO_BASE_ARITH_H
#define LEGO_BASE_ARITH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool lego_add_size(size_t a, size_t b, size_t *ret_sum)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret_sum = sum;
    return true;
}

static inline bool lego_mul_size(size_t a, size_t b, size_t *ret_product)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret_product = product;
    return true;
}

static inline bool lego_mul_i64(int64_t a, int64_t b, int64_t *ret_product)
{
    int64_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret_product = product;
    return true;
}

static inline bool lego_add_i64(int64_t a, int64_t b, int64_t *ret_sum)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret_sum = sum;
    return true;
}

/* Rounds `value` up to a multiple of `align` (a power of two). */
static inline bool lego_align_up(size_t value, size_t align, size_t *ret_aligned)
{
    size_t sum;
    if (!lego_add_size(value, align - 1, &sum))
        return false;
    *ret_aligned = sum & ~(align - 1);
    return true;
}

static inline size_t lego_div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

static inline size_t lego_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t lego_max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

#endif
