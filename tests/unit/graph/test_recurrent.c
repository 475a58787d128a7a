/*
 * RNN, GRU and LSTM against the equations of the ONNX specification, written down a second time, in
 * double and number by number, for random sizes, directions, layouts, lengths and activations.
 */
#include "codec/graph/infer.h"

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CASES     300
#define MAX_ELEMS 512 /* of any tensor here */

static uint64_t state;

static int below(int bound)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)((state >> 33) % (uint64_t)bound);
}

/* The specification's names: X [steps, batch, inputs], W, R, B and P of each direction, and so on.
 */
struct recurrent {
    enum lego_op op;
    int gates, directions, steps, batch, inputs, hidden;
    bool reverse, batch_first, linear_before_reset, input_forget;
    double clip; /* 0: none */
    const char *activations[6], *direction;
    float x[MAX_ELEMS], w[MAX_ELEMS], r[MAX_ELEMS], b[MAX_ELEMS], h0[MAX_ELEMS], c0[MAX_ELEMS],
        p[MAX_ELEMS];
    int32_t lengths[8];
    bool has_b, has_lengths, has_h0, has_c0, has_p;
};

static double activation(const struct recurrent *c, int direction, int index, double x)
{
    int each = c->op == LEGO_OP_LSTM ? 3 : c->op == LEGO_OP_GRU ? 2 : 1;
    const char *name = c->activations[direction * each + index];

    if (!strcmp(name, "Sigmoid"))
        return 1 / (1 + exp(-x));
    if (!strcmp(name, "Tanh"))
        return tanh(x);
    ck_assert_str_eq(name, "Relu");
    return x > 0 ? x : 0;
}

static double clipped(const struct recurrent *c, double x)
{
    return c->clip > 0 ? fmin(fmax(x, -c->clip), c->clip) : x;
}

/* Xt * W[gate]^T + Wb[gate] of unit i. */
static double from_input(const struct recurrent *c, int d, int gate, int i, int t, int batch)
{
    int row = (d * c->gates + gate) * c->hidden + i;
    double sum = c->has_b ? (double)c->b[(2 * d * c->gates + gate) * c->hidden + i] : 0;

    for (int k = 0; k < c->inputs; k++)
        sum += (double)c->x[(t * c->batch + batch) * c->inputs + k] *
               (double)c->w[row * c->inputs + k];
    return sum;
}

/* vector * R[gate]^T + Rb[gate] of unit i. */
static double from_state(const struct recurrent *c, int d, int gate, int i, const double *vector)
{
    int row = (d * c->gates + gate) * c->hidden + i;
    double sum = c->has_b ? (double)c->b[((2 * d + 1) * c->gates + gate) * c->hidden + i] : 0;

    for (int k = 0; k < c->hidden; k++)
        sum += vector[k] * (double)c->r[row * c->hidden + k];
    return sum;
}

static double peephole(const struct recurrent *c, int d, int gate, int i)
{
    return c->has_p ? (double)c->p[(d * 3 + gate) * c->hidden + i] : 0;
}

/* Ht = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Wbi + Rbi) */
static void rnn_step(const struct recurrent *c, int d, int t, int batch, double *h)
{
    double next[8];

    for (int i = 0; i < c->hidden; i++)
        next[i] = activation(
            c, d, 0, clipped(c, from_input(c, d, 0, i, t, batch) + from_state(c, d, 0, i, h)));
    memcpy(h, next, sizeof(next));
}

/* zt, rt = f(...); ht = g(Xt*(Wh^T) + (rt (.) Ht-1)*(Rh^T) + Rbh + Wbh), or with the reset behind
 * the product; Ht = (1 - zt) (.) ht + zt (.) Ht-1 */
static void gru_step(const struct recurrent *c, int d, int t, int batch, double *h, double *gated)
{
    double reset[8], next[8];

    for (int i = 0; i < c->hidden; i++) {
        reset[i] = activation(
            c, d, 0, clipped(c, from_input(c, d, 1, i, t, batch) + from_state(c, d, 1, i, h)));
        gated[i] = reset[i] * h[i];
    }
    for (int i = 0; i < c->hidden; i++) {
        double z = activation(
            c, d, 0, clipped(c, from_input(c, d, 0, i, t, batch) + from_state(c, d, 0, i, h)));
        double recurrent = c->linear_before_reset ? reset[i] * from_state(c, d, 2, i, h)
                                                  : from_state(c, d, 2, i, gated);
        double candidate =
            activation(c, d, 1, clipped(c, from_input(c, d, 2, i, t, batch) + recurrent));
        next[i] = (1 - z) * candidate + z * h[i];
    }
    memcpy(h, next, sizeof(next));
}

/* it, ft, ct, Ct = ft (.) Ct-1 + it (.) ct, ot with the new Ct, Ht = ot (.) h(Ct) */
static void lstm_step(const struct recurrent *c, int d, int t, int batch, double *h, double *cell)
{
    double next[8];

    for (int i = 0; i < c->hidden; i++) {
        double gate[4];
        for (int g = 0; g < 4; g++)
            gate[g] = from_input(c, d, g, i, t, batch) + from_state(c, d, g, i, h);
        double in = activation(c, d, 0, clipped(c, gate[0] + peephole(c, d, 0, i) * cell[i]));
        double forget = activation(c, d, 0, clipped(c, gate[2] + peephole(c, d, 2, i) * cell[i]));
        if (c->input_forget)
            forget = 1 - in;
        cell[i] = forget * cell[i] + in * activation(c, d, 1, clipped(c, gate[3]));
        next[i] = activation(c, d, 0, clipped(c, gate[1] + peephole(c, d, 1, i) * cell[i])) *
                  activation(c, d, 2, cell[i]);
    }
    memcpy(h, next, sizeof(next));
}

struct answer {
    double y[MAX_ELEMS], h[MAX_ELEMS], c[MAX_ELEMS]; /* as if layout were 0; padding of y is 0 */
    double states[MAX_ELEMS]; /* [steps][batch][directions][kinds][hidden]; so is theirs */
};

/* What R sees: the state before a step, and what a GRU's reset gate leaves of it. */
static int kinds(const struct recurrent *c)
{
    return c->op == LEGO_OP_GRU && !c->linear_before_reset ? 2 : 1;
}

static void specified(const struct recurrent *c, struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    for (int d = 0; d < c->directions; d++)
        for (int batch = 0; batch < c->batch; batch++) {
            int length = c->has_lengths ? c->lengths[batch] : c->steps;
            int at = (d * c->batch + batch) * c->hidden;
            double h[8] = {0}, cell[8] = {0}, gated[8];
            for (int i = 0; i < c->hidden; i++) {
                h[i] = c->has_h0 ? (double)c->h0[at + i] : 0;
                cell[i] = c->has_c0 ? (double)c->c0[at + i] : 0;
            }
            for (int s = 0; s < length; s++) {
                int t = c->reverse || d == 1 ? length - 1 - s : s;
                double *seen = answer->states +
                               ((t * c->batch + batch) * c->directions + d) * kinds(c) * c->hidden;
                memcpy(seen, h, (size_t)c->hidden * sizeof(*h));
                if (c->op == LEGO_OP_RNN)
                    rnn_step(c, d, t, batch, h);
                else if (c->op == LEGO_OP_GRU)
                    gru_step(c, d, t, batch, h, gated);
                else
                    lstm_step(c, d, t, batch, h, cell);
                if (kinds(c) == 2)
                    memcpy(seen + c->hidden, gated, (size_t)c->hidden * sizeof(*h));
                memcpy(answer->y + ((t * c->directions + d) * c->batch + batch) * c->hidden, h,
                       (size_t)c->hidden * sizeof(*h));
            }
            memcpy(answer->h + at, h, (size_t)c->hidden * sizeof(*h));
            memcpy(answer->c + at, cell, (size_t)c->hidden * sizeof(*h));
        }
}

static void fill(float *values)
{
    for (int i = 0; i < MAX_ELEMS; i++)
        values[i] = (float)(below(2001) - 1000) / 900.0f;
}

static void draw(struct recurrent *c)
{
    static const enum lego_op ops[] = {LEGO_OP_RNN, LEGO_OP_GRU, LEGO_OP_LSTM};
    static const char *const names[] = {"Sigmoid", "Tanh", "Relu"};
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    int direction = below(3);

    *c = (struct recurrent){.op = ops[below(3)], .direction = directions[direction]};
    c->gates = c->op == LEGO_OP_LSTM ? 4 : c->op == LEGO_OP_GRU ? 3 : 1;
    c->reverse = direction == 1;
    c->directions = direction == 2 ? 2 : 1;
    c->steps = 1 + below(5);
    c->batch = 1 + below(3);
    c->inputs = 1 + below(6);
    c->hidden = 1 + below(5);
    c->batch_first = below(2);
    c->linear_before_reset = c->op == LEGO_OP_GRU && below(2);
    c->input_forget = c->op == LEGO_OP_LSTM && !below(4);
    c->clip = below(3) ? 0 : 0.5;
    for (int i = 0; i < 6; i++)
        c->activations[i] = names[below(3)];
    float *const tensors[] = {c->x, c->w, c->r, c->b, c->h0, c->c0, c->p};
    for (size_t i = 0; i < sizeof(tensors) / sizeof(*tensors); i++)
        fill(tensors[i]);
    for (int i = 0; i < c->batch; i++)
        c->lengths[i] = 1 + below(c->steps);
    c->has_b = below(2);
    c->has_lengths = below(2);
    c->has_h0 = below(2);
    c->has_c0 = c->op == LEGO_OP_LSTM && below(2);
    c->has_p = c->op == LEGO_OP_LSTM && below(2);
}

static struct lego_array array_of(const void *data, enum lego_dtype dtype, int rank, int a, int b,
                                  int c, int e)
{
    return (struct lego_array){dtype, {.rank = rank, .dim = {a, b, c, e}}, (void *)(uintptr_t)data};
}

/* [a, b, rest] as [b, a, rest], for layout 1: the other way to lie, and back. */
static void swap(int a, int b, int rest, const float *from, float *to)
{
    for (int i = 0; i < a; i++)
        for (int j = 0; j < b; j++)
            memcpy(to + (j * a + i) * rest, from + (i * b + j) * rest, (size_t)rest * sizeof(*to));
}

static void add_attr(struct lego_node *node, const struct lego_attr *attr)
{
    node->attrs[node->attr_count++] = *attr;
}

static void attributes(const struct recurrent *c, struct lego_node *node)
{
    int each = c->op == LEGO_OP_LSTM ? 3 : c->op == LEGO_OP_GRU ? 2 : 1;
    const struct lego_attr all[] = {
        {.name = "hidden_size", .type = LEGO_ATTR_INT, .i = c->hidden},
        {.name = "layout", .type = LEGO_ATTR_INT, .i = c->batch_first},
        {.name = "direction",
         .type = LEGO_ATTR_STRING,
         .s = c->direction,
         .count = strlen(c->direction)},
        {.name = "activations",
         .type = LEGO_ATTR_STRINGS,
         .strings = c->activations,
         .count = (size_t)(each * c->directions)},
        {.name = "clip", .type = LEGO_ATTR_FLOAT, .f = (float)c->clip},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(*all) - (c->clip > 0 ? 0 : 1); i++)
        add_attr(node, &all[i]);
    if (c->linear_before_reset)
        add_attr(node,
                 &(struct lego_attr){.name = "linear_before_reset", .type = LEGO_ATTR_INT, .i = 1});
    if (c->input_forget)
        add_attr(node, &(struct lego_attr){.name = "input_forget", .type = LEGO_ATTR_INT, .i = 1});
}

static void expect(const struct lego_array *have, const double *want, int count, const char *what)
{
    const float *values = have->data;
    size_t elems;

    ck_assert_int_eq(lego_shape_elems(&have->shape, &elems), LEGO_OK);
    ck_assert_uint_eq(elems, (size_t)count);
    for (int i = 0; i < count; i++)
        ck_assert_msg(fabs((double)values[i] - want[i]) <= 2e-5 * fmax(1, fabs(want[i])),
                      "%s[%d] is %g, not %g", what, i, (double)values[i], want[i]);
}

/* What the evaluation makes of it, brought to layout 0. */
static void evaluated(const struct recurrent *c, const struct lego_graph *graph,
                      struct lego_arena *arena, struct lego_array *ret_outputs, float *ret_states)
{
    static float x[MAX_ELEMS], h0[MAX_ELEMS], c0[MAX_ELEMS];
    int d = c->directions, rows = c->gates * c->hidden;
    struct lego_attr attrs[8];
    int32_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7}, outs[] = {8, 9, 10};
    struct lego_node node = {.name = "case",
                             .op = c->op,
                             .inputs = numbers,
                             .input_count = c->op == LEGO_OP_LSTM ? 8 : 6,
                             .outputs = outs,
                             .output_count = c->op == LEGO_OP_LSTM ? 3 : 2,
                             .attrs = attrs};
    const bool swapped = c->batch_first;
    const struct lego_array arrays[] = {
        array_of(swapped ? x : c->x, LEGO_DTYPE_FLOAT32, 3, swapped ? c->batch : c->steps,
                 swapped ? c->steps : c->batch, c->inputs, 0),
        array_of(c->w, LEGO_DTYPE_FLOAT32, 3, d, rows, c->inputs, 0),
        array_of(c->r, LEGO_DTYPE_FLOAT32, 3, d, rows, c->hidden, 0),
        array_of(c->b, LEGO_DTYPE_FLOAT32, 2, d, 2 * rows, 0, 0),
        array_of(c->lengths, LEGO_DTYPE_INT32, 1, c->batch, 0, 0, 0),
        array_of(swapped ? h0 : c->h0, LEGO_DTYPE_FLOAT32, 3, swapped ? c->batch : d,
                 swapped ? d : c->batch, c->hidden, 0),
        array_of(swapped ? c0 : c->c0, LEGO_DTYPE_FLOAT32, 3, swapped ? c->batch : d,
                 swapped ? d : c->batch, c->hidden, 0),
        array_of(c->p, LEGO_DTYPE_FLOAT32, 2, d, 3 * c->hidden, 0, 0),
    };
    const bool present[] = {true,           true,      true,      c->has_b,
                            c->has_lengths, c->has_h0, c->has_c0, c->has_p};
    const struct lego_array *inputs[8];
    struct lego_diag diag = LEGO_DIAG_INIT;

    attributes(c, &node);
    swap(c->steps, c->batch, c->inputs, c->x, x);
    swap(d, c->batch, c->hidden, c->h0, h0);
    swap(d, c->batch, c->hidden, c->c0, c0);
    for (int i = 0; i < 8; i++) {
        inputs[i] = present[i] ? &arrays[i] : NULL;
        numbers[i] = present[i] ? i : -1;
    }
    ck_assert_msg(lego_eval_node_alloc(graph, &node, inputs, ret_outputs, arena, arena, &diag) ==
                      LEGO_OK,
                  "%s", diag.text);
    const int seen = d * kinds(c) * c->hidden;
    float *states = lego_arena_calloc(arena, MAX_ELEMS, sizeof(*states));
    ck_assert_uint_eq(lego_recurrent_kinds(&node), (unsigned)kinds(c));
    ck_assert_int_eq(lego_eval_recurrent_states(graph, &node, inputs, states, arena, &diag),
                     LEGO_OK);
    memcpy(ret_states, states, (size_t)(c->steps * c->batch * seen) * sizeof(*states));
    if (swapped)
        swap(c->batch, c->steps, seen, states, ret_states);
    for (uint32_t i = 0; swapped && i < node.output_count; i++) {
        float *data = ret_outputs[i].data,
              *plain = lego_arena_calloc(arena, MAX_ELEMS, sizeof(*plain));
        /* Y is [batch, steps, directions, hidden], the states [batch, directions, hidden]. */
        swap(c->batch, i == 0 ? c->steps * d : d, c->hidden, data, plain);
        ret_outputs[i].data = plain;
    }
}

START_TEST(test_recurrent)
{
    static struct recurrent c;
    static struct answer want;
    struct lego_graph *graph;
    struct lego_arena *arena = lego_arena_create(0);
    struct lego_array have[3];
    static float states[MAX_ELEMS];

    state = (uint64_t)_i;
    draw(&c);
    ck_assert_int_eq(lego_graph_create(0, &graph), LEGO_OK);
    specified(&c, &want);
    evaluated(&c, graph, arena, have, states);
    expect(&have[0], want.y, c.steps * c.directions * c.batch * c.hidden, "Y");
    expect(&have[1], want.h, c.directions * c.batch * c.hidden, "Y_h");
    const int count = c.steps * c.batch * c.directions * kinds(&c) * c.hidden;
    const struct lego_array seen = array_of(states, LEGO_DTYPE_FLOAT32, 1, count, 0, 0, 0);
    expect(&seen, want.states, count, "what R sees");
    if (c.op == LEGO_OP_LSTM)
        expect(&have[2], want.c, c.directions * c.batch * c.hidden, "Y_c");
    lego_graph_destroy(graph);
    lego_arena_destroy(arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recurrent");
    TCase *tests = tcase_create("recurrent");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tests, test_recurrent, 0, CASES);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
