/*
 * One inference request: from the protocol's message to the session's tensors and back. Runs on an
 * engine's thread.
 */
#ifndef LEGO_SERVICE_INFERENCE_H
#define LEGO_SERVICE_INFERENCE_H

#include "agent/proto/frame.h"
#include "agent/runtime/legonet.h"
#include "agent/service/engine.h"

/* An output that the client wants. */
struct inference_wanted {
    uint32_t output;
    int64_t classes; /* of the classification parameter; 0: the tensor itself */
};

/* A request bound to a model: tensors in the model's order. Data is borrowed from the message or in
 * `owned`. */
struct inference_call {
    struct lego_io *inputs;
    void **owned; /* [input_count], NULL where borrowed */
    uint32_t input_count;
    struct lego_io *outputs;
    uint32_t output_count;
    struct inference_wanted *wanted;
    uint32_t wanted_count;
    uint64_t rows;
};

/*
 * Checks the request against the model's inputs and outputs and binds it. E_NOT_FOUND, E_INVALID,
 * E_TYPE, E_SHAPE, E_LIMIT, E_UNSUPPORTED or E_NOMEM: the sentence names the tensor.
 */
int inference_bind(const struct lego_model *model, const Inference__ModelInferRequest *request,
                   uint64_t max_batch, struct inference_call *ret_call, struct lego_diag *diag);
void inference_call_clear(struct inference_call *call);

/* Typed contents -> `elems` dense elements in a malloc'ed block. E_INVALID, E_TYPE, E_UNSUPPORTED,
 * E_NOMEM. */
int inference_contents(const char *input, enum lego_dtype dtype, size_t elems,
                       const Inference__InferTensorContents *contents, void **ret_data,
                       struct lego_diag *diag);

/*
 * The `classes` largest of each row as raw BYTES elements "value:index[:label]" in a malloc'ed
 * block, with the shape that they have. `rows` of an output with one dimension is 1. E_UNSUPPORTED
 * for types that are no numbers; E_SHAPE where there are no classes; E_NOMEM.
 */
int inference_classify(const struct lego_package *package, const char *output,
                       const struct lego_io *tensor, int64_t classes, struct lego_shape *ret_shape,
                       uint8_t **ret_data, size_t *ret_bytes, struct lego_diag *diag);

/* Packs the answer into a frame. E_LIMIT where it is over job->max_frame_bytes. */
int inference_answer(const struct inference_job *job, const Inference__ModelInferRequest *request,
                     const struct inference_call *call, uint8_t **ret_frame,
                     size_t *ret_frame_bytes, struct lego_diag *diag);

/* Does the job: unpacks, binds, runs, packs. Always leaves an answer, but where memory is out. */
void inference_run(struct inference_job *job, struct lego_session *session);

/* Answers a job whose deadline has passed while it waited. */
void inference_expire(struct inference_job *job);

#endif
