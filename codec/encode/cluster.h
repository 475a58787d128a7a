/*
 * Plain brick clustering of a group of weights that share one catalogue.
 */
#ifndef LEGO_ENCODE_CLUSTER_H
#define LEGO_ENCODE_CLUSTER_H

#include "codec/encode/encode.h"
#include "codec/encode/weights.h"
#include "codec/encode/workers.h"

/* One weight on its way: view, column_order, groups and the brick's shape are set beforehand. */
struct cluster_layer {
    const struct encode_weight *weight;
    struct lego_coded coded; /* geometry known; cluster_group adds scales, stage and stream */
    size_t first_brick;      /* in the group's list, in the order of the stream */
    double error, energy;    /* sums of squares over the weights: what coding lost, what there is */
};

struct cluster_options {
    uint32_t entries;
    uint32_t max_iterations; /* 0: as many as pay, fewer for huge catalogues */
    enum lego_dtype dtype;
    enum lego_scale_kind scales;
    uint64_t seed;
};

/*
 * Clusters the bricks of `count` layers of `graph` into `catalogue` and codes them with it. Results
 * lie in the graph's arena. Errors: E_NOMEM, E_OVERFLOW, E_INVALID (entries past fp16's range).
 */
int cluster_group(const struct lego_graph *graph, struct cluster_layer *layers, uint32_t count,
                  const struct cluster_options *options, struct encode_workers *workers,
                  struct lego_catalogue *catalogue, struct lego_diag *diag);

#endif
