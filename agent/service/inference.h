/*
 * One inference request: from the protocol's message to the session's tensors and back. Runs on an
 * engine's thread.
 */
#ifndef LEGO_SERVICE_INFERENCE_H
#define LEGO_SERVICE_INFERENCE_H

#include "agent/picture/frame.h"
#include "agent/proto/frame.h"
#include "agent/runtime/legonet.h"
#include "agent/service/engine.h"
#include "agent/service/regions.h"

/* Where in shared memory a tensor lies or is to be put, by its shared_memory_* parameters. */
struct inference_place {
    bool given, sized;      /* at least one parameter is there; the size is */
    const char *name;       /* of the region, borrowed */
    uint64_t offset, bytes; /* inside the region, once it is resolved */
    struct region *region;  /* borrowed from the job's table; NULL: not in shared memory */
};

/* An output that the client wants. */
struct inference_wanted {
    uint32_t output;
    int64_t classes; /* of the classification parameter; 0: the tensor itself */
    struct inference_place place;
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
    struct picture_map *maps; /* [map_count] where the rows of a batch of pictures come from */
    uint32_t map_count;
};

/* The value of a parameter of that kind; false, NULL: it is of another. */
bool inference_parameter_int(const Inference__InferParameter *parameter, int64_t *ret_value);
const char *inference_parameter_text(const Inference__InferParameter *parameter);

/* Takes one parameter of a tensor, if it is one of a place. E_INVALID, E_UNSUPPORTED. */
int inference_place_parameter(struct inference_place *place, const char *tensor, const char *key,
                              const Inference__InferParameter *value, struct lego_diag *diag);

/* Finds the region, where one is given, and checks the bounds. E_INVALID, E_NOT_FOUND,
 * E_PERMISSION: it is to be written to and may not be. */
int inference_place_resolve(struct inference_place *place, const struct region_table *regions,
                            const char *tensor, bool writes, struct lego_diag *diag);

/*
 * A private copy of an input's `bytes` bytes, malloc'ed: what the client writes meanwhile must not
 * change an index between its check and its use. E_SHAPE, E_INVALID (the memory went away),
 * E_NOMEM.
 */
int inference_place_copy(const struct inference_place *place, const char *tensor, size_t bytes,
                         void **ret_data, struct lego_diag *diag);

/* Puts an output there. E_LIMIT: it does not fit; E_INVALID: the memory went away. */
int inference_place_store(const struct inference_place *place, const char *tensor, const void *data,
                          size_t bytes, struct lego_diag *diag);

/*
 * Makes the request's pictures the rows of their input. What is wrong with a picture is named as
 * pictures[i].field. E_INVALID, E_NOT_FOUND, E_UNSUPPORTED, E_LIMIT, E_FORMAT, E_NOMEM.
 */
int inference_bind_pictures(const struct lego_model *model, const Legonet__Request *request,
                            const struct region_table *regions, uint64_t max_batch,
                            struct inference_call *call, struct lego_diag *diag);

/*
 * Checks the request (a model_infer) against the model's inputs and outputs and binds it.
 * E_NOT_FOUND, E_INVALID, E_TYPE, E_SHAPE, E_LIMIT, E_UNSUPPORTED or E_NOMEM: the sentence names
 * the tensor.
 */
int inference_bind(const struct lego_model *model, const Legonet__Request *request,
                   const struct region_table *regions, uint64_t max_batch,
                   struct inference_call *ret_call, struct lego_diag *diag);
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

/*
 * What the model's heads say of each row, where the request asks: set in the response, in an arena
 * that the caller destroys once that is packed, also on failure. E_SHAPE: an output is not what its
 * head says; E_LIMIT, E_NOMEM.
 */
int inference_results(const struct inference_job *job, const Legonet__Request *request,
                      const struct inference_call *call, struct lego_arena **ret_arena,
                      Legonet__Response *response, struct lego_diag *diag);

/* Packs the answer into a frame, and keeps the inference where that is asked for. E_LIMIT where it
 * is over job->max_frame_bytes. */
int inference_answer(const struct inference_job *job, const Legonet__Request *request,
                     const struct inference_call *call, uint8_t **ret_frame,
                     size_t *ret_frame_bytes, struct lego_diag *diag);

/* The request's own message, the caller's, once it is known to be for this job's model. */
int inference_unpack(struct inference_job *job, Legonet__Request **ret_request,
                     struct lego_diag *diag);

/* Runs a bound request and packs its answer: the job's frame on success. */
int inference_compute(struct inference_job *job, struct lego_session *session,
                      const Legonet__Request *request, struct inference_call *call,
                      struct lego_diag *diag);

/* Does the job: unpacks, binds, runs, packs. Always leaves an answer, but where memory is out. */
void inference_run(struct inference_job *job, struct lego_session *session);

/* The same where the session is steady for these shapes (lego_session_is_steady); false, and
 * nothing is done, where it is not. */
bool inference_run_steady(struct inference_job *job, struct lego_session *session);

/*
 * Does several jobs of one model that may be batched (model_batch_check): those whose inputs are
 * alike but for the number of rows in one run, of at most `max_rows` rows. Each is answered as
 * alone; one that fails leaves the others as they are.
 */
void inference_run_batch(struct inference_job *const *jobs, size_t count, uint64_t max_rows,
                         struct lego_session *session);

/* Answers a job whose deadline has passed while it waited. */
void inference_expire(struct inference_job *job);

#endif
