/*
 * Compression: dense weights of a package's graph become bricks.
 *
 * Which weights: the dense fp32 ones of Conv, ConvTranspose, Gemm, MatMul, RNN, GRU and LSTM, and
 * the tables that Gather reads (weights.h), each tensor once, however many nodes use it. Biases,
 * normalisation parameters, and what some other operator, a subgraph or the graph's output reads
 * too, stay dense.
 *
 * Column order. ENCODE_CODEC_LEGONET cuts the paper's view, [O][I * kh * kw] (channel-major), in
 * 4x4. ENCODE_CODEC_BRICKS cuts tap-major columns, which is the order in which the runtime's panels
 * lie (a brick is then neighbouring channels of one tap), unless brick_columns divides the taps or
 * is a multiple of them: then a brick is a row of a kernel or whole kernels, channel-major. A brick
 * that sticks out of its matrix is padded with zeros.
 */
#ifndef LEGO_ENCODE_ENCODE_H
#define LEGO_ENCODE_ENCODE_H

#include "codec/encode/examples.h"
#include "codec/kernels/kernels.h"

enum encode_codec {
    /* The paper's method to the letter (Bingham, Green, Zonouz, arXiv 2603.06606): one catalogue
       for the whole model, 4x4 bricks, raw weights, k-means++ and Lloyd, every layer alike.
       Defaults: K 32, fp32. Only K and the catalogue's type may be chosen. */
    ENCODE_CODEC_LEGONET = 0,
    /* Plain brick clustering: shape, K, scope and scales as options. Defaults: 1x1, K 16, fp16. */
    ENCODE_CODEC_BRICKS = 1,
    /* Trellis levels behind an entropy coder, fitted to weight_bytes by calibration: the smallest
       files at a given accuracy. */
    ENCODE_CODEC_SMALL = 2,
};

/* Steps of fitting that may be left out (steps.def): a mask in encode_options.without. */
enum encode_step {
#define ENCODE_STEP(constant, name, effect) ENCODE_STEP_##constant,
#include "codec/encode/steps.def"
#undef ENCODE_STEP
    ENCODE_STEPS
};
#define ENCODE_WITHOUT(step) (1u << ENCODE_STEP_##step)

enum encode_scope {
    ENCODE_SCOPE_MODEL = 0, /* one catalogue for all layers */
    ENCODE_SCOPE_LAYER = 1, /* one for each layer */
};

struct encode_options {
    enum encode_codec codec;
    uint32_t brick_rows, brick_columns; /* 1 to 16; 0: the codec's default */
    uint32_t catalogue_entries;         /* K, 1 to 65,536; 0: the codec's default */
    enum encode_scope scope;
    enum lego_scale_kind scales;
    enum lego_dtype catalogue_dtype; /* FLOAT32, FLOAT16 or INT8; UNKNOWN: FLOAT32 for
                                        the paper's method, else INT8 where an index is of up to 4
                                        bits for each weight, FLOAT16 where it is longer */
    uint32_t max_iterations;         /* of Lloyd; 0: 50, fewer for huge catalogues */
    uint64_t seed;
    uint32_t threads; /* 0: all cores */
    /* What to compute with, NULL: the C references; it changes the time and nothing else. */
    const struct kern_table *kernels;
    /* ENCODE_CODEC_BRICKS: 0: plain clustering as above. Else bricks are fitted by calibration,
       formats chosen for each layer so that indices, scales and catalogues take at most this many
       bytes; of the options above only seed, threads and kernels then count. */
    uint64_t weight_bytes;
    /* ENCODE_CODEC_SMALL, in place of weight_bytes where that is not 0: the bytes of the whole file
       as lego_package_write would write the package, which has all that is to be in it but for what
       the caller keeps bytes back for. weight_bytes then is what of it is for weights, roughly. */
    uint64_t file_bytes;
    uint32_t without; /* steps of fitting that are left out, ENCODE_WITHOUT(..) | ...; 0: none */
    struct encode_session *session; /* calibration to use; NULL: one on synthetic examples */
    bool draft; /* fit with fewer walks: to see what a size costs, not to keep */
    /* Called from the calling thread, in order; `done` of `total` layers. `layer` is the weight's
       name, NULL while a catalogue is trained; `text` says what was done. NULL: silent. */
    void (*progress)(void *context, const char *layer, uint32_t done, uint32_t total,
                     const char *text);
    void *context;
};

struct encode_layer {
    const char *name; /* the weight's, borrowed from the package */
    char format[24];  /* how its weights are coded: "1x9/256+256" is rows x columns / K + K */
    bool calibrated;  /* fitted to what the layer sees; false: by itself, no walk reaches it */
    uint64_t weights;
    uint64_t bytes; /* of indices and scales */
    double bits_per_weight;
    double mse; /* mean squared error over the mean square */
};

struct encode_report {
    uint64_t weights; /* coded, in all layers */
    uint64_t bytes;   /* of indices, scales and catalogues */
    uint64_t catalogue_bytes;
    uint32_t layer_count;
    struct encode_layer *layers; /* malloc'ed; encode_report_clear frees */
};

/*
 * Calibration that several compressions of one network share. It keeps `package`, the network with
 * its dense weights, and `examples` as long as it lives; each compression is then of a package of
 * its own that was read from the same file. `examples` NULL: synthetic ones. Of the options seed,
 * threads, kernels and without count, and must be those of the compressions.
 *
 * Errors: E_UNSUPPORTED (no weights, an input for which no synthetic examples can be made, an
 * operator or a shape that cannot be evaluated ahead), E_FORMAT (a weight is NaN or infinite),
 * E_NOMEM, and what reading the examples says.
 */
struct encode_session;
int encode_session_create(const struct lego_package *package,
                          const struct encode_examples *examples,
                          const struct encode_options *options, struct encode_session **ret_session,
                          struct lego_diag *diag);
void encode_session_destroy(struct encode_session *session);

/* What the synthetic examples are, "textured leaves"; NULL where they are the caller's. */
const char *encode_session_text(const struct encode_session *session);

/* Whether they have been changed to fit what BatchNormalizations had learnt (METHOD.md). */
bool encode_session_matched(const struct encode_session *session);

/* How many examples there are; layers without a BatchNormalization that tells how far synthetic
 * examples are from real ones (0 with real ones). */
uint32_t encode_session_examples(const struct encode_session *session);
uint32_t encode_session_unadapted(const struct encode_session *session);

/*
 * Codes every weight of the package (see above) in place: afterwards those tensors are coded,
 * package->catalogues holds what they use, and the parameters of folded BatchNormalizations
 * ("lego.bn_*" attributes), which only encoding wants, are gone. On failure the package is as it
 * was, but for memory taken from its arena. Deterministic: the same package, options and seed give
 * the same result with any number of threads and on any instruction set.
 *
 * ret_report may be NULL. Errors: E_INVALID (options, with the legal range; weights past an fp16
 * catalogue), E_UNSUPPORTED (nothing to compress), E_FORMAT (a weight is NaN or infinite: the diag
 * names it), E_SHAPE, E_OVERFLOW, E_NOMEM.
 */
int encode_package(struct lego_package *package, const struct encode_options *options,
                   struct encode_report *ret_report, struct lego_diag *diag);

/*
 * By how many bytes fitting to a size changes a file beside the weights, about: it rounds the
 * biases of the layers that it calibrates to what fp16 holds, and the writer stores them so; layers
 * without a bias get one.
 */
int64_t encode_bias_change(const struct lego_package *package);

void encode_report_clear(struct encode_report *report);

#endif
