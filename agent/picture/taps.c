#include "agent/picture/taps.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>

#define ONE (1 << KERN_RESIZE_WEIGHT_BITS)

/* Where an output gets its samples from. */
struct reach {
    double scale, centre;
    double half; /* of the filter's width */
    int64_t first, end;
};

static double weight_at(const struct taps_axis *axis, const struct reach *reach, int64_t sample)
{
    if (axis->filter == PICTURE_FILTER_AREA && reach->scale > 1.0) {
        double left = fmax((double)sample, reach->centre - reach->half);
        double right = fmin((double)sample + 1.0, reach->centre + reach->half);
        return fmax(right - left, 0.0);
    }
    double distance = fabs((double)sample + 0.5 - reach->centre) / reach->half;
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

/* Filters reach no further than the part that is resized: what is cut off does not shine in. */
static struct reach reach_of(const struct taps_axis *axis, uint32_t output)
{
    struct reach reach = {.scale = axis->size / axis->outputs};
    bool shrinks = reach.scale > 1.0;
    int64_t low = (int64_t)floor(axis->start), high = (int64_t)ceil(axis->start + axis->size);
    if (high > (int64_t)axis->samples)
        high = axis->samples;
    if (low > high - 1)
        low = high - 1;
    reach.centre = axis->start + (output + 0.5) * reach.scale;
    reach.half = 1.0;
    if (shrinks && axis->filter == PICTURE_FILTER_MODEL)
        reach.half = reach.scale;
    if (shrinks && axis->filter == PICTURE_FILTER_AREA)
        reach.half = reach.scale / 2;
    reach.first = (int64_t)floor(reach.centre - reach.half);
    reach.end = (int64_t)ceil(reach.centre + reach.half);
    reach.first = reach.first < low ? low : reach.first > high - 1 ? high - 1 : reach.first;
    reach.end = reach.end > high ? high : reach.end <= reach.first ? reach.first + 1 : reach.end;
    return reach;
}

/* Rounds running sums, so that the weights of an output add up to one exactly. */
static void fill_weights(const struct taps_axis *axis, const struct reach *reach, int16_t *weights)
{
    double total = 0.0, sum = 0.0;
    int32_t given = 0;
    for (int64_t s = reach->first; s < reach->end; s++)
        total += weight_at(axis, reach, s);
    if (total <= 0.0) {
        weights[0] = ONE;
        return;
    }
    for (int64_t s = reach->first; s < reach->end; s++) {
        sum += weight_at(axis, reach, s);
        int32_t until = s + 1 == reach->end ? ONE : (int32_t)lround(sum / total * ONE);
        weights[(uint64_t)(s - reach->first) * axis->step] = (int16_t)(until - given);
        given = until;
    }
}

int resize_taps_make(const struct taps_axis *axis, struct resize_taps *ret_taps)
{
    struct resize_taps made = {0};
    size_t widest = 1, elems;
    made.first = calloc(axis->count, sizeof(*made.first));
    made.samples = calloc(axis->count, sizeof(*made.samples));
    if (!made.first || !made.samples) {
        resize_taps_clear(&made);
        return LEGO_E_NOMEM;
    }
    for (uint32_t i = 0; i < axis->count; i++) {
        struct reach reach = reach_of(axis, axis->from + i);
        made.first[i] = (uint32_t)reach.first;
        made.samples[i] = (uint32_t)(reach.end - reach.first);
        widest = lego_max_size(widest, made.samples[i]);
    }
    widest = lego_div_up((widest - 1) * axis->step + 1, axis->align) * axis->align;
    made.taps = (uint32_t)widest;
    if (lego_mul_size(widest, axis->count, &elems))
        made.weights = calloc(elems, sizeof(*made.weights));
    if (!made.weights) {
        resize_taps_clear(&made);
        return LEGO_E_NOMEM;
    }
    for (uint32_t i = 0; i < axis->count; i++) {
        struct reach reach = reach_of(axis, axis->from + i);
        fill_weights(axis, &reach, made.weights + (size_t)i * widest);
    }
    *ret_taps = made;
    return LEGO_OK;
}

void resize_taps_clear(struct resize_taps *taps)
{
    free(taps->first);
    free(taps->samples);
    free(taps->weights);
    *taps = (struct resize_taps){0};
}
