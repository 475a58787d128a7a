/*
 * Compressing one ONNX model, once or several times: what compress and sweep share. The
 * calibration, the outputs of the full weights and the bytes that are not weights are found once.
 */
#ifndef LEGO_CLI_CODER_H
#define LEGO_CLI_CODER_H

#include "agent/cli/examples.h"
#include "agent/cli/predict.h"
#include "agent/cli/progress.h"
#include "agent/runtime/kern_init.h"
#include "codec/encode/encode.h"

#include <jansson.h>

struct coder_options {
    const char *labels, *preprocess, *postprocess, *calibrate,
        *codec;                /* NULL: none; codec as it is written */
    enum lego_compute compute; /* FP32, INT8: all layers that can, AUTO: those that cost little */
    bool no_selftest, quiet;
    struct encode_options encode; /* codec, plain bricks' options, seed, threads */
};

struct coder {
    struct coder_options options;
    const char *path;
    struct kern_table kernels; /* that the encoder computes with */
    struct cli_progress progress;
    struct lego_model *full; /* with all its weights */
    uint64_t original_bytes, original_weights;
    uint64_t beside;   /* bytes of a file that are not weights; 0: not known yet */
    uint64_t selftest; /* bytes that a self-test adds to a file */
    /* Once something was fitted: */
    struct cli_examples *examples; /* NULL: synthetic ones */
    struct encode_session *session;
    struct encode_synthetic *held; /* synthetic ones that calibration does not see */
    struct predict *predict;
};

/* One compressed file. */
struct coded {
    struct lego_package *package; /* of `model`, once there is one */
    struct lego_model *model;
    struct encode_report report;
    char selftest[256]; /* why there is none; empty: there is one */
    uint64_t file_bytes;
    uint32_t integer_layers; /* that compute in integers */
    bool predicted;
    struct prediction prediction;
    double seconds;
};

/* Imports the model. `path` and what the options point to must outlive the coder. */
int coder_open(struct coder *coder, const char *path, const struct coder_options *options,
               struct lego_diag *diag);
void coder_close(struct coder *coder);

/*
 * Writes a `.lego`. `bytes` 0: plain clustering or the paper's method, as the options say; else
 * fitted by calibration to a file of at most so many bytes, and what that costs is predicted.
 * `draft`: in less time, to see what the size costs. E_INVALID where it cannot be so small.
 */
int coder_write(struct coder *coder, uint64_t bytes, bool draft, const char *output,
                struct coded *ret_coded, struct lego_diag *diag);
void coded_clear(struct coded *coded);

/* The loss (predict.h) that is allowed: where the outputs are classes, and where they are not. */
struct coder_limit {
    double points, percent;
};

/*
 * Writes the smallest `.lego` whose predicted loss is at most `limit`: a search over drafts, then
 * the file itself. `ret_tried` says how many were made. E_INVALID where none was found.
 */
int coder_search(struct coder *coder, const struct coder_limit *limit, const char *output,
                 struct coded *ret_coded, uint32_t *ret_tried, struct lego_diag *diag);

/* What is known of a file, as --json and as a few lines of text on stdout. */
json_t *coded_json(const struct coder *coder, const struct coded *coded);
void coded_print(const struct coder *coder, const struct coded *coded);

/* What the calibration looked at, "256 synthetic examples (textured leaves)". */
void coder_describe(const struct coder *coder, char *text, size_t bytes);

/* Which examples the prediction was made on, after their number. */
const char *coder_predicted_on(const struct coder *coder);

#endif
