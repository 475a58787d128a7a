/*
 * How threads share a Winograd step: whatever there is to share, every tile meets every unit once,
 * and parts keep to their own inputs.
 */
#include "agent/runtime/winograd_parts.h"

#include <check.h>
#include <stdlib.h>

#define MOST_TILES 40
#define MOST_UNITS 12

/* The parts of one case, for a room that is the least or has `spare` floats more. */
static struct winograd_parts check_parts(size_t tiles, uint32_t units, uint32_t channels,
                                         uint32_t slots, size_t spare)
{
    unsigned met[MOST_TILES][MOST_UNITS] = {{0}};
    const struct winograd_whole whole = {.tiles = tiles,
                                         .units = units,
                                         .unit_rows = 64,
                                         .channels = channels,
                                         .elems = winograd_room(tiles, channels) + spare};
    const struct winograd_parts parts = winograd_cut(&whole, slots);
    size_t end = 0;

    ck_assert_uint_ge(parts.count, 1);
    ck_assert_uint_le(parts.count, slots < WINOGRAD_PARTS ? slots : WINOGRAD_PARTS);
    for (uint32_t number = 0; number < parts.count; number++) {
        const struct winograd_part part = winograd_part(&parts, number);
        ck_assert_uint_ge(part.at, end);
        ck_assert_uint_le(part.units, parts.units);
        ck_assert_uint_ge(part.stride, part.tiles * channels);
        end = part.at + WINOGRAD_POSITIONS * part.stride;
        for (size_t tile = 0; tile < part.tiles; tile++)
            for (uint32_t unit = 0; unit < part.units; unit++)
                met[part.first + tile][part.unit + unit]++;
    }
    ck_assert_uint_le(end, whole.elems);
    for (size_t tile = 0; tile < tiles; tile++)
        for (uint32_t unit = 0; unit < units; unit++)
            ck_assert_uint_eq(met[tile][unit], 1);
    return parts;
}

START_TEST(test_every_tile_meets_every_unit)
{
    for (size_t tiles = 1; tiles <= MOST_TILES; tiles++)
        for (uint32_t units = 1; units <= MOST_UNITS; units++)
            for (uint32_t slots = 1; slots <= 12; slots++)
                for (uint32_t channels = 3; channels <= 259; channels += 128) {
                    const size_t room = winograd_room(tiles, channels);
                    check_parts(tiles, units, channels, slots, 0);
                    check_parts(tiles, units, channels, slots, room / 3);
                    check_parts(tiles, units, channels, slots, room * slots);
                }
}
END_TEST

/* One thread has no use for parts; few tiles and many weights are shared by weights where there is
 * room for the tiles twice, many tiles by tiles. */
START_TEST(test_the_cheaper_way)
{
    const size_t room = winograd_room(16, 256);
    struct winograd_parts parts = check_parts(16, 4, 256, 1, room);

    ck_assert_uint_eq(parts.count, 1);
    parts = check_parts(16, 4, 256, 2, room);
    ck_assert_uint_eq(parts.count, 2);
    ck_assert(parts.by_units);
    parts = check_parts(16, 4, 256, 2, 0);
    ck_assert(!parts.by_units);
    parts = check_parts(40, 1, 64, 2, winograd_room(40, 64));
    ck_assert_uint_eq(parts.count, 2);
    ck_assert(!parts.by_units);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("winograd_parts");
    TCase *tests = tcase_create("winograd_parts");
    SRunner *runner = srunner_create(suite);
    int failed;

    suite_add_tcase(suite, tests);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_every_tile_meets_every_unit);
    tcase_add_test(tests, test_the_cheaper_way);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
