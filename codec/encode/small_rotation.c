/* Rotation of kernels by the eigenvectors of their taps' second moment. */
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/encode/small.h"

#include <math.h>
#include <stdlib.h>

#define JACOBI_SWEEPS 40

/* Eigenvectors of a symmetric matrix (Jacobi), one a row, by falling eigenvalue. */
static void eigenvectors(double *a, uint32_t n, double *v)
{
    for (uint32_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
        for (uint32_t p = 0; p < n; p++) {
            for (uint32_t q = p + 1; q < n; q++) {
                if (a[p * n + q] == 0)
                    continue;
                const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                const double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                for (uint32_t k = 0; k < n; k++) {
                    const double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (uint32_t k = 0; k < n; k++) {
                    const double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                    const double e = v[p * n + k], f = v[q * n + k];
                    v[p * n + k] = c * e - s * f;
                    v[q * n + k] = s * e + c * f;
                }
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t most = i;
        for (uint32_t k = i + 1; k < n; k++)
            most = a[k * n + k] > a[most * n + most] ? k : most;
        const double value = a[most * n + most];
        a[most * n + most] = a[i * n + i];
        a[i * n + i] = value;
        for (uint32_t k = 0; k < n && most != i; k++) {
            const double x = v[i * n + k];
            v[i * n + k] = v[most * n + k];
            v[most * n + k] = x;
        }
    }
}

/* The taps that most weights' kernels have; 1: no kernels. */
static uint32_t common_taps(const struct encode_weight *weights, uint32_t count)
{
    uint64_t elems[KERN_TRELLIS_MAX_TAPS + 1] = {0};
    uint32_t best = 1;

    for (uint32_t i = 0; i < count; i++) {
        const struct encode_weight *w = &weights[i];
        if (w->taps > 1 && w->taps <= KERN_TRELLIS_MAX_TAPS && w->columns > w->taps)
            elems[w->taps] += (uint64_t)w->rows * w->columns;
    }
    for (uint32_t t = 2; t <= KERN_TRELLIS_MAX_TAPS; t++)
        best = elems[t] > elems[best] ? t : best;
    return best;
}

/* Adds a layer's second moment of taps, over its variance. */
static void add_moment(const struct lego_graph *graph, const struct encode_weight *w,
                       double *moment)
{
    const uint32_t taps = w->taps;
    const size_t elems = (size_t)w->rows * w->columns;
    double square = 0, *own = calloc((size_t)taps * taps, sizeof(*own));
    float kernel[KERN_TRELLIS_MAX_TAPS];

    for (size_t i = 0; own && i < elems; i += taps) {
        for (uint32_t t = 0; t < taps; t++) {
            kernel[t] = w->data[encode_weight_elem(graph, w, LEGO_COLUMNS_CHANNEL_MAJOR,
                                                   (uint32_t)(i / w->columns),
                                                   (uint32_t)(i % w->columns) + t)];
            square += (double)kernel[t] * (double)kernel[t];
        }
        for (uint32_t a = 0; a < taps * taps; a++)
            own[a] += (double)kernel[a / taps] * (double)kernel[a % taps];
    }
    for (uint32_t a = 0; own && a < taps * taps && square > 0; a++)
        moment[a] += own[a] / square;
    free(own);
}

int small_rotate(struct lego_package *package, const struct encode_weight *weights, uint32_t count,
                 struct small_layer *layers)
{
    struct lego_arena *arena = package->graph->arena;
    const uint32_t taps = common_taps(weights, count), square = taps * taps;
    double *moment = calloc(square, sizeof(*moment)), *vectors = calloc(square, sizeof(*vectors));
    uint16_t *matrix = lego_arena_calloc(arena, square, sizeof(*matrix));
    float *floats = lego_arena_calloc(arena, square, sizeof(*floats));
    uint8_t *classes = lego_arena_calloc(arena, taps, 1);

    struct lego_rotation *rotation = lego_arena_calloc(arena, 1, sizeof(*rotation));
    const bool enough = moment && vectors && matrix && floats && classes && rotation;
    for (uint32_t i = 0; enough && taps > 1 && i < count; i++)
        if (weights[i].taps == taps && weights[i].columns > taps)
            add_moment(package->graph, &weights[i], moment);
    if (enough && taps > 1) {
        eigenvectors(moment, taps, vectors);
        for (uint32_t i = 0; i < square; i++) {
            matrix[i] = lego_half_from_float((float)vectors[i]);
            floats[i] = lego_half_to_float(matrix[i]);
        }
        /* One coefficient, two, three, the rest: those of a rank have tables of their own. */
        for (uint32_t i = 0; i < taps; i++)
            classes[i] = i < 1 ? 0 : i < 3 ? 1 : i < 6 ? 2 : 3;
        *rotation = (struct lego_rotation){.taps = taps,
                                           .class_count = classes[taps - 1] + 1u,
                                           .matrix = matrix,
                                           .classes = classes};
        for (uint32_t i = 0; i < count; i++) {
            if (weights[i].taps != taps || weights[i].columns == taps)
                continue;
            layers[i].rotation = rotation;
            layers[i].rotation_matrix = floats;
        }
        package->rotations = rotation;
        package->rotation_count = 1;
    }
    free(moment);
    free(vectors);
    return enough ? LEGO_OK : LEGO_E_NOMEM;
}
