/*
 * k-means over many short vectors: k-means++ (Arthur and Vassilvitskii, 2007), then Lloyd (1982).
 *
 * Deterministic: the same vectors, options and seed give the same bits with any number of threads
 * and on any instruction set. Distances are sums of squares in fp32, always in the order of the
 * components; what is added up over vectors is added in double, in fixed chunks and a fixed order.
 */
#ifndef LEGO_ENCODE_KMEANS_H
#define LEGO_ENCODE_KMEANS_H

#include "codec/base/diag.h"
#include "codec/encode/workers.h"

#include <stddef.h>
#include <stdint.h>

#define ENCODE_KMEANS_MAX_DIM 256

struct encode_kmeans_options {
    uint32_t entries;        /* centroids wanted, 1 to 65,536 */
    uint32_t max_iterations; /* of Lloyd; it stops early when it gains less than 1e-5 */
    size_t max_vectors;      /* train on an even sample of at most this many; 0: on all */
    uint64_t seed;
};

struct encode_kmeans {
    uint32_t entries;    /* found: fewer than wanted where the vectors have fewer distinct values */
    uint32_t iterations; /* of Lloyd */
    double inertia;      /* sum of squared distances of the training vectors, after the last one */
    float *centroids;    /* [entries][dim], malloc'ed */
};

/*
 * Finds centroids of `count` (1 and up) finite vectors [count][dim] with magnitudes below 2^50.
 * Every centroid is the nearest of some vector. `ret_kmeans` is the caller's to clear.
 * LEGO_E_NOMEM.
 */
int encode_kmeans_train(const float *vectors, size_t count, uint32_t dim,
                        const struct encode_kmeans_options *options, struct encode_workers *workers,
                        struct encode_kmeans *ret_kmeans);

void encode_kmeans_clear(struct encode_kmeans *kmeans);

/*
 * The nearest of `entries` centroids for each vector (the lowest of equals) and the sum of squared
 * distances. ret_index[i] and ret_inertia as named; ret_inertia may be NULL. LEGO_E_NOMEM.
 */
int encode_kmeans_assign(const float *vectors, size_t count, uint32_t dim, const float *centroids,
                         uint32_t entries, struct encode_workers *workers, uint32_t *ret_index,
                         double *ret_inertia);

#endif
