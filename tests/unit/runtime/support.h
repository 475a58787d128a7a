/*
 * Small graphs for the runtime's tests: built node by node, run by the runtime and by the
 * reference evaluation, compared.
 */
#ifndef TESTS_RUNTIME_SUPPORT_H
#define TESTS_RUNTIME_SUPPORT_H

#include "agent/runtime/legonet.h"

#include <check.h>

/* A repeatable stream of numbers. */
struct random {
    uint64_t state;
};
uint32_t random_next(struct random *random);
uint32_t random_below(struct random *random, uint32_t bound);
float random_float(struct random *random); /* -1 to 1 */

struct lego_shape shape_of(int rank, ...); /* int dimensions */

/* A package with an empty graph; the functions below abort the test when something fails. */
struct lego_package *build_package(void);
int32_t build_input(struct lego_package *package, const char *name, struct lego_shape shape);
int32_t build_constant(struct lego_package *package, struct lego_shape shape, const float *data);
int32_t build_random(struct lego_package *package, struct lego_shape shape, struct random *random);
int32_t build_integers(struct lego_package *package, int count, ...); /* int values */
/* A node with one output; inputs end with -2, -1 is an absent one. Returns the output. */
int32_t build_node(struct lego_package *package, enum lego_op op, ...);
/* Attributes of the node added last. */
void build_ints(struct lego_package *package, const char *name, int count, ...);
void build_int(struct lego_package *package, const char *name, int64_t value);
void build_string(struct lego_package *package, const char *name, const char *text);
void build_act(struct lego_package *package, enum lego_activation act, float lo, float hi);
void build_output(struct lego_package *package, int32_t value);
/* Infers the shapes. Call once, when all is there. */
void build_finish(struct lego_package *package);

/* How a constant is coded. */
struct coding {
    enum lego_matrix_view view;
    uint32_t groups;
    uint32_t brick_rows, brick_columns, entries, stages, tile_rows;
    enum lego_column_order order;
    enum lego_scale_kind scale;
    bool permute;
    bool integers; /* catalogues are of type INT8 */
};
/* Makes the constant `value` a coded one with random bricks; its dense data are gone. */
void build_coded(struct lego_package *package, int32_t value, const struct coding *coding,
                 struct random *random);

/* Random fp32 inputs for the model's inputs with these shapes, malloc'ed. */
struct lego_io *make_inputs(const struct lego_model *model, const struct lego_shape *shapes,
                            struct random *random);
void free_inputs(struct lego_io *inputs, uint32_t count);

/* Runs the graph by lego_eval_node alone; outputs are malloc'ed. */
struct lego_io *reference_run(const struct lego_graph *graph, const struct lego_io *inputs);

/* Fails the test where an output differs by more than `tolerance` of its largest value. */
void compare_outputs(const struct lego_io *want, const struct lego_io *have, uint32_t count,
                     double tolerance, const char *what);

/* Makes a package from a stream of numbers: the same one for the same stream. */
typedef struct lego_package *(*build_fn)(struct random *random, const void *argument);

/*
 * Runs the package with random inputs of these shapes by the reference and by the runtime with 1 to
 * 4 threads, as mapped and with resident panels, and compares: the reference within `tolerance`,
 * the threads bit by bit. shapes NULL: the declared ones.
 */
void check_build(build_fn build, const void *argument, const struct lego_shape *shapes,
                 uint64_t seed, double tolerance, const char *what);

/* The same in the numbers of `compute`. */
void check_build_compute(build_fn build, const void *argument, const struct lego_shape *shapes,
                         uint64_t seed, double tolerance, enum lego_compute compute,
                         const char *what);

/* How many steps of a run of the package are called `op`; NULL: all that there are. */
uint32_t count_steps(build_fn build, const void *argument, uint64_t seed, const char *op);

#endif
