/* The parts of the C library's runner of conformance cases. All abort where a case makes no sense.
 */
#ifndef LEGO_TESTS_CONFORMANCE_H
#define LEGO_TESTS_CONFORMANCE_H

#include "agent/client/legonet_client.h"

#include <jansson.h>
#include <stdbool.h>

#define MAX_HANDLES 16
#define MAX_REGIONS 8
#define MAX_TENSORS 8

struct handle {
    const char *name;
    uint64_t id;
    struct lego_client_result *result; /* came while another was waited for */
};

/* Memory of this process that was registered. */
struct shared {
    const char *name;
    void *memory;
    size_t bytes;
};

struct runner {
    struct lego_client *client;
    struct handle handles[MAX_HANDLES];
    uint32_t handle_count;
    struct shared regions[MAX_REGIONS];
    uint32_t region_count;
};

/* What a step gave: a status, the text that goes with it, and one of the rest. */
struct outcome {
    int status;
    char text[2048];
    struct lego_client_result *result;
    struct lego_client_server *server;
    struct lego_client_list *list;
    struct lego_client_model *model;
};

struct outcome step_failed(int status, const struct lego_diag *diag);
const char *step_text(const json_t *step, const char *key); /* NULL where there is none */

/* A request as a step describes it. */
struct built {
    struct lego_client_request request;
    struct lego_client_tensor inputs[MAX_TENSORS];
    struct lego_client_place places[MAX_TENSORS];
    const char *outputs[MAX_TENSORS];
    struct lego_client_frame frames[MAX_TENSORS];
    struct lego_client_results results;
};

/* Also sets the client's schedule. `ret_built` is to be freed, also on failure. */
int request_build(struct runner *runner, const json_t *step, struct built *ret_built,
                  struct lego_diag *diag);
void request_free(struct built *built);
enum lego_dtype dtype_of(const char *name);

struct outcome step_region(struct runner *runner, const json_t *step);
struct outcome step_unregister(struct runner *runner, const json_t *step);
const struct shared *region_find(const struct runner *runner, const char *name);
void regions_close(struct runner *runner);

/* True where all that the step expects holds; prints what does not. */
bool outcome_check(struct runner *runner, const json_t *step, const struct outcome *outcome);

#endif
