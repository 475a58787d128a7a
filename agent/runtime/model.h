/*
 * Inside the runtime: what sessions and plans share of a model.
 */
#ifndef LEGO_RUNTIME_MODEL_H
#define LEGO_RUNTIME_MODEL_H

#include "agent/runtime/fault_guard.h"
#include "agent/runtime/legonet.h"
#include "agent/runtime/weights.h"
#include "agent/runtime/weights_f16.h"
#include "agent/runtime/weights_s8.h"
#include "codec/kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>

struct plan;

/* What a plan is made for. */
struct plan_key {
    const struct lego_shape *shapes; /* [input_count] */
    const int64_t *decisions; /* [input_count] contents of the inputs that decide, 0 for others;
                                 NULL: not known, or not worth a plan */
};

/* A coded constant that an operator without a kernel needs dense. */
struct model_dense {
    struct model_dense *next;
    const struct lego_coded *coded;
    void *data;
    size_t bytes;
};

struct lego_model {
    atomic_uint references;
    struct lego_package *package;
    struct kern_table kernels;
    char cpu[64];
    enum lego_resident resident;
    enum lego_compute compute;
    bool small_panels, entropy_panels; /* AUTO: bricks, entropy-coded weights stay decoded */
    size_t plan_cache;
    bool *decides;   /* [input_count] inputs from whose content Ifs are decided; NULL: none */
    bool unverified; /* LEGO_VERIFY_LAZY: no plan was asked for so far; under the lock */
    struct fault_region *guard;
    struct weights_catalogues catalogues;
    pthread_mutex_t lock;    /* of what follows */
    struct weights *weights; /* prepared so far, shared by all plans */
    struct weights_s8 *integers;
    struct weights_f16 *halves;
    struct model_dense *dense;
    struct plan *plans;     /* most recently used first */
    uint32_t decided_plans; /* made so far for what inputs decide */
    size_t resident_bytes;
};

/*
 * The weights of `tensor` for `key`, prepared by the first who asks. Owned by the model. `tensor`
 * must be a constant of the model (its data live as long). The model's lock is held.
 */
int model_weights(struct lego_model *model, const struct lego_tensor *tensor,
                  const struct weights_key *key, const struct weights **ret_weights,
                  struct lego_diag *diag);

/* The same as integers, for the view in which the node uses them. */
int model_weights_s8(struct lego_model *model, const struct lego_tensor *tensor,
                     enum lego_matrix_view view, const struct weights_s8 **ret_weights,
                     struct lego_diag *diag);

/* The same as halves. */
int model_weights_f16(struct lego_model *model, const struct lego_tensor *tensor,
                      enum lego_matrix_view view, const struct weights_f16 **ret_weights,
                      struct lego_diag *diag);

/* A dense copy of a coded constant, made by the first who asks. The model's lock is held. */
int model_dense(struct lego_model *model, const struct lego_tensor *tensor, const void **ret_data,
                struct lego_diag *diag);

/* True where the constant lives as long as the model (not folded for one plan only). */
bool model_owns(const struct lego_model *model, const struct lego_tensor *tensor);

/*
 * The plan for these input shapes (and decisions, unless inputs decide too many different things),
 * from the cache or made now, with a reference that the caller gives back by model_release_plan.
 */
int model_plan(struct lego_model *model, struct plan_key key, struct plan **ret_plan,
               struct lego_diag *diag);
void model_release_plan(struct lego_model *model, struct plan *plan);

#endif
