/*
 * Parts of `legonet infer`.
 */
#ifndef LEGO_CLI_INFER_H
#define LEGO_CLI_INFER_H

#include "agent/cli/agent.h"

#define INFER_COMMAND "infer"

struct infer_options {
    struct agent_options agent; /* first: AGENT_OPTIONS says so */
    const char *model, *version;
    uint64_t top; /* INFER_TOP_NOT_GIVEN: chosen by the kind of file */
    uint64_t priority;
    double deadline_ms;
    const char *stream;
    const char *draw; /* a PNG, or a folder for them */
    bool watch;
    uint64_t frames; /* 0: all that come */
};

#define INFER_TOP_NOT_GIVEN UINT64_MAX

double infer_now_us(void);

/* What came of one request, whole, as text or as an indented JSON document. Returns an exit code.
 */
int infer_print(const struct lego_client_result *result, bool classes, bool json, double us);

/* The same on one line that begins with the picture's path and frame (0: none). */
int infer_print_line(const char *path, uint64_t frame, const struct lego_client_result *result,
                     bool classes, bool json, double us);

/* Runs the model on all pictures of the paths, and prints and draws what comes of them. `*ret_code`
 * is the exit code: CLI_FAILED also where single pictures could not be read. */
int infer_pictures(const struct infer_options *options, struct lego_client *client,
                   const struct lego_client_model *model, const struct cli_list *paths,
                   struct lego_diag *diag, int *ret_code);

#endif
