#include "codec/import/names.h"

#include "codec/base/status.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define FIRST_CAPACITY 64

void names_clear(struct names *names)
{
    free(names->slots);
    *names = (struct names){0};
}

/* The slot that holds `name`, or the free one where it belongs. */
static struct names_slot *find_slot(const struct names *names, const char *name)
{
    uint32_t mask = names->capacity - 1;
    uint32_t at = (uint32_t)XXH3_64bits_withSeed(name, strlen(name), names->seed) & mask;
    while (names->slots[at].name && strcmp(names->slots[at].name, name) != 0)
        at = (at + 1) & mask;
    return &names->slots[at];
}

int32_t names_find(const struct names *names, const char *name)
{
    if (names->capacity == 0)
        return -1;
    const struct names_slot *slot = find_slot(names, name);
    return slot->name ? slot->number : -1;
}

static int grow(struct names *names)
{
    struct names larger = {.capacity = names->capacity ? 2 * names->capacity : FIRST_CAPACITY,
                           .count = names->count,
                           .seed = names->seed};
    if (names->capacity == 0 &&
        getrandom(&larger.seed, sizeof larger.seed, GRND_NONBLOCK) != sizeof larger.seed)
        larger.seed = (uint64_t)(uintptr_t)names; /* early boot: address randomisation will do */
    if (larger.capacity > UINT32_MAX / 2)
        return LEGO_E_NOMEM;
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < names->capacity; i++)
        if (names->slots[i].name)
            *find_slot(&larger, names->slots[i].name) = names->slots[i];
    free(names->slots);
    *names = larger;
    return 0;
}

static int put(struct names *names, const char *name, int32_t number, int if_there)
{
    if (names->count >= names->capacity / 4 * 3) {
        int status = grow(names);
        if (status)
            return status;
    }
    struct names_slot *slot = find_slot(names, name);
    if (slot->name) {
        if (!if_there)
            slot->number = number;
        return if_there;
    }
    *slot = (struct names_slot){.name = name, .number = number};
    names->count++;
    return 0;
}

int names_add(struct names *names, const char *name, int32_t number)
{
    return put(names, name, number, LEGO_E_EXISTS);
}

int names_set(struct names *names, const char *name, int32_t number)
{
    return put(names, name, number, 0);
}
