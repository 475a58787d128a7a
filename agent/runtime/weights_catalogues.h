/*
 * The catalogues of a model as kernels read them, made once and shared by all its weights.
 *
 * Threads: immutable once they are made.
 */
#ifndef LEGO_RUNTIME_WEIGHTS_CATALOGUES_H
#define LEGO_RUNTIME_WEIGHTS_CATALOGUES_H

#include "codec/base/diag.h"
#include "codec/format/package.h"
#include "codec/format/trellis.h"

#define WEIGHTS_CATALOGUE_TAIL 16 /* floats that are readable behind the entries */

/* Of struct kern_brick_decode: catalogue, catalogue_s8 and catalogue_step. */
struct weights_catalogue {
    const float *entries;
    const int8_t *integers; /* NULL: the file has none, or too many in all */
    float step;
};

/* With the slots of the model's trellis tables. */
struct weights_catalogues {
    uint32_t count;
    const struct lego_catalogue *source;
    struct weights_catalogue *made;
    const struct lego_trellis_table *tables;
    uint32_t *slots; /* [table][KERN_TRELLIS_SLOTS] */
    size_t bytes;
};

/* LEGO_E_NOMEM; what is made so far is to be cleared then, too. */
int weights_catalogues_make(struct weights_catalogues *catalogues,
                            const struct lego_catalogue *source, uint32_t count,
                            struct lego_diag *diag);
void weights_catalogues_clear(struct weights_catalogues *catalogues);

/* NULL where the model has it not. */
const struct weights_catalogue *weights_catalogue_find(const struct weights_catalogues *catalogues,
                                                       const struct lego_catalogue *catalogue);

#endif
