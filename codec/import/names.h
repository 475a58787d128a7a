/*
 * A hash table from names to numbers, so that graphs of many thousand nodes stay linear. Seeded
 * from the kernel: a hostile model cannot aim at one bucket.
 */
#ifndef LEGO_IMPORT_NAMES_H
#define LEGO_IMPORT_NAMES_H

#include <stdint.h>

struct names_slot {
    const char *name; /* NULL: free */
    int32_t number;
};

struct names {
    struct names_slot *slots; /* malloc'ed */
    uint32_t count, capacity; /* capacity: 0 or a power of two */
    uint64_t seed;
};

/* An empty table is all zeroes. */
void names_clear(struct names *names);

/* The number of `name`, -1 where it is not in the table. */
int32_t names_find(const struct names *names, const char *name);

/* Adds `name` (borrowed as long as the table lives) with `number` >= 0. Returns 0, LEGO_E_EXISTS
 * (nothing changed) or LEGO_E_NOMEM. */
int names_add(struct names *names, const char *name, int32_t number);

/* As names_add, but replaces the number where the name is there. */
int names_set(struct names *names, const char *name, int32_t number);

#endif
