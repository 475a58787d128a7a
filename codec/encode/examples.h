/*
 * Examples of a network's inputs, which calibration looks at: synthetic ones that are made here, or
 * real ones that the caller reads.
 */
#ifndef LEGO_ENCODE_EXAMPLES_H
#define LEGO_ENCODE_EXAMPLES_H

#include "codec/encode/workers.h"
#include "codec/format/package.h"
#include "codec/graph/infer.h"

struct encode_examples {
    uint32_t count;                        /* at least 1 */
    bool synthetic;                        /* what BatchNorms learnt corrects their statistics */
    const struct lego_shape *shapes;       /* [graph inputs] of one example, all dimensions known */
    const struct lego_array *const *known; /* [graph inputs] what is the same in all, else NULL */
    /* Writes input number `input` of example `index` < count, dense, of the graph's type and of
     * `bytes` bytes, to `out`. Any number of threads at once; the same index gives the same. */
    int (*read)(void *context, uint32_t index, uint32_t input, void *out, size_t bytes,
                struct lego_diag *diag);
    void *context;
};

/*
 * The shape of one example of input number `input`: open dimensions are what the preprocessing
 * says, 1 for the batch, else a size, 64 first, that all windows of the model fit in.
 * E_UNSUPPORTED where the rank of an input is open.
 */
int encode_example_shape(const struct lego_package *package, uint32_t input,
                         struct lego_shape *ret_shape, struct lego_diag *diag);

/* How many examples calibration asks for: as many as it holds in the memory that it is meant to
 * take, 8 to `most`. */
#define ENCODE_EXAMPLES 256
uint32_t encode_examples_wanted(const struct lego_package *package, uint32_t most);

struct encode_synthetic;

/*
 * Prepares synthetic examples for all inputs of a package, which must outlive them: textured leaves
 * (images.h) for pictures, brought to the input by the preprocessing or, where none is said, to
 * unit variance; noise whose neighbours agree for others, with the range that the first BatchNorm
 * speaks of; indices of the tables that integers choose from; what other integers and truth values
 * are compared with, else 1. Without `leaves` pictures are white noise (an ablation). `workers` may
 * be NULL and is used here alone. Errors: E_UNSUPPORTED (an input is of another type), E_SHAPE (the
 * preprocessing makes other pictures than the input takes), E_NOMEM.
 */
int encode_synthetic_create(const struct lego_package *package, uint64_t seed, uint32_t count,
                            bool leaves, struct encode_workers *workers,
                            struct encode_synthetic **ret_synthetic, struct lego_diag *diag);
void encode_synthetic_destroy(struct encode_synthetic *synthetic);

/* The examples; valid as long as `synthetic` is. */
const struct encode_examples *encode_synthetic_examples(const struct encode_synthetic *synthetic);

/* What they are, "textured leaves" or "noise of deviation 1 and mean 0". */
const char *encode_synthetic_text(const struct encode_synthetic *synthetic);

#endif
