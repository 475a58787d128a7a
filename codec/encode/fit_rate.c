#include "codec/encode/fit.h"

#include <math.h>
#include <stdlib.h>

#define HALVINGS 50 /* of the price of a byte */

/* A choice of formats for all layers. */
struct allocation {
    uint32_t *format; /* [weight_count] */
    double error;
    uint64_t bytes;
};

static bool uses_vectors(uint32_t format)
{
    return fit_formats[format].levels == 0;
}

/* The least error + price * bytes for each layer, formats in `allowed` only. False where a layer
 * has none. */
static bool choose(const struct fit *fit, uint32_t allowed, double price, struct allocation *a)
{
    uint32_t used = 0;

    a->error = 0;
    a->bytes = 0;
    for (uint32_t i = 0; i < fit->weight_count; i++) {
        const struct fit_layer *layer = &fit->layers[i];
        double best = INFINITY;

        for (uint32_t f = 0; f < FIT_FORMATS; f++) {
            if (!(allowed >> f & 1) || layer->bytes[f] == UINT64_MAX)
                continue;
            const double cost =
                layer->sensitivity * layer->distortion[f] + price * (double)layer->bytes[f];
            if (cost < best) {
                best = cost;
                a->format[i] = f;
            }
        }
        if (best == INFINITY)
            return false;
        a->error += layer->sensitivity * layer->distortion[a->format[i]];
        a->bytes += layer->bytes[a->format[i]];
        used |= 1u << a->format[i];
    }
    for (uint32_t f = 0; f < FIT_FORMATS; f++)
        a->bytes += used >> f & 1 ? fit_catalogue_bytes(f) : 0;
    return true;
}

/*
 * One price leaves bytes over: single layers take the next formats that fit, of those whose
 * catalogues are there, what saves most error a byte first.
 */
static void spend(const struct fit *fit, uint64_t bytes, struct allocation *a)
{
    uint32_t used = 0;
    bool found = true;

    for (uint32_t i = 0; i < fit->weight_count; i++)
        used |= 1u << a->format[i];
    while (found) {
        double most = 0;
        uint32_t layer = 0, format = 0;

        for (uint32_t i = 0; i < fit->weight_count; i++) {
            const struct fit_layer *l = &fit->layers[i];
            const uint64_t now = l->bytes[a->format[i]];

            for (uint32_t f = 0; f < FIT_FORMATS; f++) {
                if (!(used >> f & 1) || l->bytes[f] <= now || l->bytes[f] - now > bytes - a->bytes)
                    continue;
                const double gain = l->sensitivity *
                                    (l->distortion[a->format[i]] - l->distortion[f]) /
                                    (double)(l->bytes[f] - now);
                if (gain > most) {
                    most = gain;
                    layer = i;
                    format = f;
                }
            }
        }
        found = most > 0;
        if (found) {
            const struct fit_layer *l = &fit->layers[layer];
            const uint32_t old = a->format[layer];

            a->bytes += l->bytes[format] - l->bytes[old];
            a->error += l->sensitivity * (l->distortion[format] - l->distortion[old]);
            a->format[layer] = format;
        }
    }
}

/* The lowest price at which the bytes suffice. */
static bool allocate_with(const struct fit *fit, uint32_t allowed, uint64_t bytes,
                          struct allocation *a)
{
    double low = -60, high = 60; /* powers of two */

    if (!choose(fit, allowed, exp2(high), a) || a->bytes > bytes)
        return false;
    for (int i = 0; i < HALVINGS; i++) {
        const double middle = (low + high) / 2;

        if (choose(fit, allowed, exp2(middle), a) && a->bytes <= bytes)
            high = middle;
        else
            low = middle;
    }
    if (!choose(fit, allowed, exp2(high), a))
        return false;
    spend(fit, bytes, a);
    return true;
}

static uint64_t least_bytes(const struct fit *fit, struct allocation *a)
{
    return choose(fit, (1u << FIT_FORMATS) - 1, exp2(60), a) ? a->bytes : 0;
}

/* Every subset of the formats that need a catalogue, with all the others. */
int fit_allocate(struct fit *fit, uint64_t bytes, struct lego_diag *diag)
{
    struct allocation a = {.format = calloc(fit->weight_count + 1, sizeof(uint32_t))};
    double best = INFINITY;

    if (!a.format)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for an allocation");
    for (uint32_t allowed = 0; allowed < 1u << FIT_FORMATS; allowed++) {
        bool whole = true;

        for (uint32_t f = 0; f < FIT_FORMATS; f++)
            whole = whole && (uses_vectors(f) || allowed >> f & 1);
        if (!whole || !allocate_with(fit, allowed, bytes, &a) || a.error >= best)
            continue;
        best = a.error;
        for (uint32_t i = 0; i < fit->weight_count; i++)
            fit->layers[i].format = a.format[i];
    }
    const uint64_t least = least_bytes(fit, &a);
    free(a.format);
    if (best == INFINITY)
        return lego_fail(diag, LEGO_E_INVALID,
                         "the weights cannot be coded in %llu bytes by this codec: it takes %llu "
                         "at least; ask for a lower ratio",
                         (unsigned long long)bytes, (unsigned long long)least);
    return LEGO_OK;
}
