/*
 * Compression: dense weights of a package's graph become bricks.
 */
#ifndef LEGO_ENCODE_ENCODE_H
#define LEGO_ENCODE_ENCODE_H

#include "codec/format/package.h"

enum encode_codec {
    /* The paper's method to the letter: one catalogue for the whole model, 4x4 bricks, every layer
       alike. */
    ENCODE_CODEC_LEGONET = 0,
    /* Plain brick clustering: shape, K, scope and scales as options. */
    ENCODE_CODEC_BRICKS = 1,
};

enum encode_scope {
    ENCODE_SCOPE_MODEL = 0, /* one catalogue for all layers */
    ENCODE_SCOPE_LAYER = 1, /* one for each layer */
};

struct encode_options {
    enum encode_codec codec;
    uint32_t brick_rows, brick_columns; /* 0: the codec's default */
    uint32_t catalogue_entries;         /* K, 1 to 65,536; 0: the codec's default */
    enum encode_scope scope;
    enum lego_scale_kind scales;
    enum lego_dtype catalogue_dtype; /* FLOAT32, FLOAT16 or INT8; UNKNOWN: the codec's default */
    uint32_t max_iterations;         /* of Lloyd; 0: 50 */
    uint64_t seed;
    uint32_t threads; /* 0: all cores */
    /* Called from the calling thread, in order; `done` of `total` layers. NULL: silent. */
    void (*progress)(void *context, const char *layer, uint32_t done, uint32_t total,
                     const char *text);
    void *context;
};

struct encode_layer {
    const char *name; /* the weight's */
    uint64_t weights;
    uint64_t bytes; /* of indices and scales */
    double bits_per_weight;
    double mse; /* mean squared error over the mean square */
};

struct encode_report {
    uint32_t layer_count;
    struct encode_layer *layers; /* malloc'ed; encode_report_clear frees */
};

/*
 * Codes every weight of the package that an operator multiplies with (Conv, ConvTranspose, Gemm,
 * MatMul with a constant side) in place: afterwards those tensors are coded and package->catalogues
 * holds what they use. Deterministic: the same package, options and seed give the same result with
 * any number of threads and on any instruction set.
 *
 * Errors: E_INVALID (options, with the legal range), E_UNSUPPORTED (nothing to compress), E_FORMAT
 * (a weight is NaN or infinite: the diag names it), E_NOMEM.
 */
int encode_package(struct lego_package *package, const struct encode_options *options,
                   struct encode_report *ret_report, struct lego_diag *diag);

void encode_report_clear(struct encode_report *report);

#endif
