/*
 * What run, eval and bench share: opening models, and binding tensors to their inputs and outputs.
 */
#ifndef LEGO_CLI_MODEL_H
#define LEGO_CLI_MODEL_H

#include "agent/cli/options.h"
#include "agent/cli/tensor_file.h"
#include "agent/picture/picture.h"
#include "agent/runtime/legonet.h"

/*
 * Opens a model by the ending of its name: `.onnx` is imported, `.lego` is mapped. Where it brings
 * no preprocessing but one lies beside it (NAME.preprocess.json), that one is taken.
 */
int cli_model_open(const char *path, const struct lego_model_options *options,
                   struct lego_model **ret_model, struct lego_diag *diag);

/* Imports an ONNX model. What is not supported goes into the diag, and onto standard error what the
 * diag has no room for. */
int cli_import(const char *path, struct lego_package **ret_package, struct lego_diag *diag);

/* The option --resident, read into a `const char *resident` of the command's struct. */
#define CLI_RESIDENT(options_)                                                                     \
    {                                                                                              \
        .name = "resident", .type = CLI_STRING, .offset = offsetof(options_, resident),            \
        .value = "WHAT", .otherwise = "auto",                                                      \
        .help = "weights in memory: coded (as in the file, smallest), panels (decoded at load,\n"  \
                "fastest), or auto: panels for models of at most 4 MiB of fp32 weights, and for\n" \
                "entropy-coded weights of up to 32 MiB",                                           \
    }

/* The option --verify, read into a `const char *verify` of the command's struct. */
#define CLI_VERIFY(options_)                                                                       \
    {                                                                                              \
        .name = "verify", .type = CLI_STRING, .offset = offsetof(options_, verify),                \
        .value = "WHEN", .otherwise = "open",                                                      \
        .help = "checksums of a .lego's weights: when it is opened (open), before the first run\n" \
                "(lazy), or not at all (off)",                                                     \
    }

/* The option --compute, read into a `const char *compute` of the command's struct. */
#define CLI_COMPUTE(options_)                                                                    \
    {                                                                                            \
        .name = "compute", .type = CLI_STRING, .offset = offsetof(options_, compute),            \
        .value = "WHAT", .otherwise = "auto",                                                    \
        .help =                                                                                  \
            "numbers of convolutions and matrix products: fp32, fp16 or int8 (all that can,\n"   \
            "weights in memory as two bytes or one, bricks of integers as in the file where a\n" \
            "processor has VBMI or ARM's dot products), or auto: each layer as the file says",   \
    }

/* Its word's meaning; false where it is none of the four. */
bool cli_compute(const char *word, enum lego_compute *ret_compute);

/* What the words of the three options say; returns NULL, or what to say of the first that is none
 * of its option's. */
const char *cli_model_options(const char *resident, const char *verify, const char *compute,
                              struct lego_model_options *ret_options);

/*
 * The preprocessing to use: `path` where it is not NULL, else the model's own. E_NOT_FOUND where
 * there is none. Strings live in `arena` or the model.
 */
int cli_preprocess(const struct lego_model *model, const char *path, struct lego_arena *arena,
                   struct lego_preprocess *ret_preprocess, struct lego_diag *diag);

/* Index of the input that a preprocessing is for. E_NOT_FOUND where the model has none such. */
int cli_preprocess_input(const struct lego_model *model, const struct lego_preprocess *preprocess,
                         uint32_t *ret_index, struct lego_diag *diag);

/* Tensors that were given for a model's inputs or outputs, in the model's order. */
struct cli_binding {
    uint32_t count; /* slots: the model's inputs or outputs */
    struct lego_tensor *tensors;
    bool *given;
};

/* The n-th input or output of a model; NULL past the end. */
typedef const struct lego_value *(*cli_slot)(const struct lego_model *model, uint32_t index);

/*
 * Loads `files` ("FILE" or "NAME=FILE") and gives each its slot: by NAME, else by the name in a .pb
 * where the model has a slot of that name, else the first free one in order. E_INVALID where there
 * is a file too many or a slot is given twice.
 */
int cli_bind(const struct lego_model *model, cli_slot slot, const struct cli_list *files,
             const struct lego_preprocess *preprocess, struct cli_binding *ret_binding,
             struct lego_diag *diag);
void cli_binding_clear(struct cli_binding *binding);

/* Cores of the process's affinity mask, at least 1. */
uint32_t cli_cores(void);

#endif
