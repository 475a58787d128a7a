/*
 * liblegonet: runs compressed models in this process.
 *
 *     struct lego_model *model;
 *     struct lego_session *session;
 *     lego_model_open("resnet20.lego", NULL, &model, &diag);
 *     lego_session_create(model, NULL, &session, &diag);
 *     lego_session_run(session, inputs, 1, outputs, 1, &diag);
 *
 * A model is immutable once it is open: any number of threads and sessions share it. A session
 * holds the activations and the threads of one run at a time: one thread uses it at a time. A
 * session keeps its model alive; close in any order.
 */
#ifndef LEGONET_H
#define LEGONET_H

#include "codec/base/diag.h"
#include "codec/format/package.h"
#include "codec/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What stays in memory for the weights of a model. */
enum lego_resident {
    LEGO_RESIDENT_AUTO = 0,   /* coded, but decoded as PANELS in a model of few weights, at most
                                 LEGO_RESIDENT_SMALL_BYTES, and entropy-coded weights, slow to
                                 decode at every run, up to LEGO_RESIDENT_ENTROPY_BYTES */
    LEGO_RESIDENT_CODED = 1,  /* as mapped: every run decodes tiles into a small panel */
    LEGO_RESIDENT_PANELS = 2, /* decoded once at load: fastest, as large as the fp32 weights */
};

/* In which numbers convolutions and matrix products with constant weights compute. */
enum lego_compute {
    LEGO_COMPUTE_AUTO = 0, /* each layer as the file says: fp32 where it says nothing */
    LEGO_COMPUTE_FP32 = 1,
    LEGO_COMPUTE_INT8 = 2, /* all layers that can: products and sums of integers, an activation to 7
                              bits, a weight to 7 bits; panels of a byte a weight stay in memory.
                              Where kernels decode integers fast (VBMI with VNNI, ARM's dot
                              products), bricks with one catalogue of INT8 are taken as they are,
                              exactly, and only panels that RESIDENT asks for stay */
    LEGO_COMPUTE_FP16 = 3, /* all layers that can: activations and weights rounded to halves, whose
                              products machines with such arithmetic (ARMv8.2) sum so, too; panels
                              of two bytes a weight stay in memory */
};

/* What all coded weights of a model may take as fp32 for AUTO to keep them so: of any kind, and of
 * the entropy-coded ones. */
#define LEGO_RESIDENT_SMALL_BYTES   ((size_t)4 << 20)
#define LEGO_RESIDENT_ENTROPY_BYTES ((size_t)32 << 20)

struct lego_model_options {
    enum lego_verify verify; /* of the file's bulk sections: STRUCTURE never, CHECKSUMS when it is
                                opened, LAZY before the first run of the model */
    enum lego_resident resident;
    enum lego_compute compute;
    const char *cpu;   /* kernel mask as LEGO_CPU; NULL: the environment's LEGO_CPU, else all */
    size_t plan_cache; /* plans kept for different input shapes; 0: 8 */
};

struct lego_model;
struct lego_session;

/*
 * Opens a `.lego`. options may be NULL. Errors as lego_package_open, and E_UNSUPPORTED for an
 * operator that the runtime has not.
 */
int lego_model_open(const char *path, const struct lego_model_options *options,
                    struct lego_model **ret_model, struct lego_diag *diag);

/* The same around a package in memory (an imported ONNX model); takes the package, also on failure.
 */
int lego_model_from_package(struct lego_package *package, const struct lego_model_options *options,
                            struct lego_model **ret_model, struct lego_diag *diag);

/* Drops one reference; the last one frees. NULL is ignored. lego_model_ref returns its argument. */
void lego_model_close(struct lego_model *model);
struct lego_model *lego_model_ref(struct lego_model *model);

/* The package (graph, labels, preprocessing, metadata). Valid while the model is. */
const struct lego_package *lego_model_package(const struct lego_model *model);

/* Declared inputs and outputs. Valid while the model is; NULL past the end. */
const struct lego_value *lego_model_input(const struct lego_model *model, uint32_t index);
const struct lego_value *lego_model_output(const struct lego_model *model, uint32_t index);
uint32_t lego_model_input_count(const struct lego_model *model);
uint32_t lego_model_output_count(const struct lego_model *model);

/* Bytes of weights that are held in private memory (panels, catalogues, biases), not counting clean
 * maps. */
size_t lego_model_resident_bytes(const struct lego_model *model);

/* The kernels in use, "avx2,avx512". Static in the model. */
const char *lego_model_cpu(const struct lego_model *model);

struct lego_session_options {
    uint32_t threads; /* 0: one for each core of the process's affinity mask */
};

int lego_session_create(struct lego_model *model, const struct lego_session_options *options,
                        struct lego_session **ret_session, struct lego_diag *diag);
void lego_session_destroy(struct lego_session *session);

/* A tensor that the caller owns: dense, row-major, little-endian, in the model's (ONNX) layout. */
struct lego_io {
    enum lego_dtype dtype;
    struct lego_shape shape;
    void *data;   /* 16-byte alignment is enough, 64 is best */
    size_t bytes; /* of data */
};

/*
 * Makes ready for these input shapes (plans, allocates): so that the run itself allocates nothing.
 * Fills ret_outputs[k].dtype, shape and bytes (not data) where sizes are known before running;
 * shape.rank is LEGO_RANK_UNKNOWN for outputs whose size depends on the data. ret_outputs may be
 * NULL.
 */
int lego_session_prepare(struct lego_session *session, const struct lego_io *inputs,
                         uint32_t input_count, struct lego_io *ret_outputs, uint32_t output_count,
                         struct lego_diag *diag);

/*
 * True where the session is ready for these shapes (it ran with them last, or was prepared for
 * them) and takes about the same time for any data: no step depends on values, as loops do.
 */
bool lego_session_is_steady(struct lego_session *session, const struct lego_io *inputs,
                            uint32_t input_count);

/*
 * Runs the model on all its inputs, in the model's order. Each outputs[k] comes with data and bytes
 * (capacity) and leaves with dtype, shape and bytes used; data NULL: not wanted by copy, and left
 * pointing into the session until its next run. Errors: E_SHAPE and E_TYPE name the input; E_LIMIT
 * where `bytes` is too small (then bytes is what is needed); E_FAULT where the mapped file
 * vanished; E_CHECKSUM where LEGO_VERIFY_LAZY finds the file damaged, now or when prepared.
 */
int lego_session_run(struct lego_session *session, const struct lego_io *inputs,
                     uint32_t input_count, struct lego_io *outputs, uint32_t output_count,
                     struct lego_diag *diag);

/* Bytes of the session's arena and scratch for its largest plan so far. */
size_t lego_session_bytes(const struct lego_session *session);

/*
 * Runs the package's self-test vector: LEGO_OK, E_MISMATCH with the numbers, or E_NOT_FOUND where
 * the file has none. In other numbers than the file asks for (lego_compute), outputs may be off by
 * a quarter of their largest value.
 */
int lego_session_selftest(struct lego_session *session, struct lego_diag *diag);

/* Time of each step of the last run, for `legonet bench --layers`; enabled by
 * lego_session_profile(.., true). */
struct lego_step_time {
    const char *name; /* the node's */
    const char *op;
    double us;
    uint64_t macs; /* multiply-accumulates, 0 where that is no measure */
};
void lego_session_profile(struct lego_session *session, bool enable);
const struct lego_step_time *lego_session_steps(const struct lego_session *session,
                                                uint32_t *ret_count);

#ifdef __cplusplus
}
#endif

#endif
