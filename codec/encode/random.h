/*
 * Random numbers that are the same on every machine for a seed: xoshiro256** (Blackman and Vigna,
 * "Scrambled linear pseudorandom number generators", 2021), seeded by splitmix64.
 */
#ifndef LEGO_ENCODE_RANDOM_H
#define LEGO_ENCODE_RANDOM_H

#include <stdint.h>

struct encode_random {
    uint64_t state[4];
};

static inline void encode_random_seed(struct encode_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        random->state[i] = z ^ (z >> 31);
    }
}

static inline uint64_t encode_random_u64(struct encode_random *random)
{
    uint64_t *s = random->state;
    const uint64_t times5 = s[1] * 5;
    const uint64_t result = ((times5 << 7) | (times5 >> 57)) * 9;
    const uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* Uniform in [0, 1). */
static inline double encode_random_unit(struct encode_random *random)
{
    return (double)(encode_random_u64(random) >> 11) * 0x1p-53;
}

#endif
