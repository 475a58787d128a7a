#include "agent/runtime/winograd_parts.h"

#include "codec/base/arith.h"

#include <math.h>

/* What it costs that tiles are in other threads' caches, and that rows of outputs are. */
#define WINOGRAD_APART_COST 1.2
#define WINOGRAD_UNITS_COST 1.15

size_t winograd_room(size_t tiles, uint32_t channels)
{
    return WINOGRAD_POSITIONS * (tiles * channels + WINOGRAD_PARTS * WINOGRAD_PAD);
}

/* Takes so many parts of so many tiles where they have room and take less time than *least. */
static void winograd_try(struct winograd_parts *parts, uint32_t count, size_t tiles, bool by_units,
                         double time, double *least)
{
    const struct winograd_whole *whole = &parts->whole;
    const size_t area = whole->elems / count / WINOGRAD_PAD * WINOGRAD_PAD;

    if (WINOGRAD_POSITIONS * (tiles * whole->channels + WINOGRAD_PAD) > area || time >= *least)
        return;
    *least = time;
    parts->by_units = by_units;
    parts->count = by_units ? count : (uint32_t)lego_div_up(whole->tiles, tiles);
    parts->tiles = tiles;
    parts->units = by_units ? (uint32_t)lego_div_up(whole->units, count) : whole->units;
    parts->area = area;
}

/*
 * In multiply-accumulates for each position, channel and row of a unit. Parts of the tiles
 * transform all weights anew, parts of the units all inputs; threads that share a part find its
 * tiles in one another's caches.
 */
struct winograd_parts winograd_cut(const struct winograd_whole *whole, uint32_t slots)
{
    const size_t most = lego_min_size(lego_min_size(slots, WINOGRAD_PARTS), whole->tiles);
    struct winograd_parts parts = {.whole = *whole};
    double least = INFINITY;

    for (uint32_t count = 1; count <= most; count++) {
        const size_t tiles = lego_div_up(whole->tiles, count);
        const double unit = WINOGRAD_WEIGHTS_COST + WINOGRAD_GEMM_COST * (double)tiles;
        double time = (double)lego_div_up((size_t)whole->units * count, slots) * unit;

        if (count < slots)
            time *= WINOGRAD_APART_COST;
        winograd_try(&parts, count, tiles, false, time, &least);
    }
    if (slots > 1 && slots <= WINOGRAD_PARTS && slots <= whole->units) {
        const double all = (double)whole->tiles;
        const double unit = WINOGRAD_WEIGHTS_COST + WINOGRAD_GEMM_COST * all;
        const double time = (double)lego_div_up(whole->units, slots) * unit +
                            WINOGRAD_PIXEL_COST * all / whole->unit_rows;

        winograd_try(&parts, slots, whole->tiles, true, time * WINOGRAD_UNITS_COST, &least);
    }
    return parts;
}

struct winograd_part winograd_part(const struct winograd_parts *parts, size_t number)
{
    const struct winograd_whole *whole = &parts->whole;
    struct winograd_part part = {.units = whole->units, .at = number * parts->area};

    if (parts->by_units) {
        part.unit = (uint32_t)lego_min_size(number * parts->units, whole->units);
        part.units = (uint32_t)lego_min_size(whole->units - part.unit, parts->units);
    } else {
        part.first = number * parts->tiles;
    }
    part.tiles = lego_min_size(whole->tiles - part.first, parts->tiles);
    part.stride = part.tiles * whole->channels + WINOGRAD_PAD;
    return part;
}
