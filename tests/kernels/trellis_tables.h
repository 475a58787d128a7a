/* Random tables of the trellis decoder, for checker and bench. */
#ifndef LEGO_TESTS_KERNELS_TRELLIS_TABLES_H
#define LEGO_TESTS_KERNELS_TRELLIS_TABLES_H

#include "tests/kernels/check.h"

/*
 * Fills a table with levels -most to most in random order; `peak` slots more than one go to level
 * 0, the others' are drawn.
 */
static inline void trellis_table(uint32_t *slots, uint32_t most, uint32_t peak)
{
    uint32_t at = 0, levels = 2 * most + 1;

    for (uint32_t i = 0; i < levels; i++) {
        int32_t level = (int32_t)((i + most) % levels) - (int32_t)most;
        uint32_t left = KERN_TRELLIS_SLOTS - at - (levels - 1 - i), frequency;
        if (i == levels - 1)
            frequency = left;
        else if (level == 0)
            frequency = 1 + (peak < left ? peak : left - 1);
        else
            frequency = 1 + rng_below(left / 2 ? left / 2 : 1);
        if (frequency == KERN_TRELLIS_SLOTS)
            frequency--;
        for (uint32_t j = 0; j < frequency; j++)
            slots[at++] = (uint32_t)level << 24 | frequency << 12 | j;
    }
}

#endif
