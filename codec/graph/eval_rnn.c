/*
 * RNN, GRU and LSTM: one direction after the other, all batches of a step together.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

/* An activation of the `activations` attribute. */
struct gate_fn {
    const char *name;
    double (*apply)(double x, double a, double b);
    float alpha, beta; /* defaults */
};

static double gate_sigmoid(double x, double a, double b)
{
    (void)a;
    (void)b;
    return 1 / (1 + exp(-x));
}

static double gate_tanh(double x, double a, double b)
{
    (void)a;
    (void)b;
    return tanh(x);
}

static double gate_relu(double x, double a, double b)
{
    (void)a;
    (void)b;
    return x > 0 ? x : 0;
}

static double gate_affine(double x, double a, double b)
{
    return a * x + b;
}

static double gate_leaky(double x, double a, double b)
{
    (void)b;
    return x < 0 ? a * x : x;
}

static double gate_thresholded(double x, double a, double b)
{
    (void)b;
    return x > a ? x : 0;
}

static double gate_scaled_tanh(double x, double a, double b)
{
    return a * tanh(b * x);
}

static double gate_hard_sigmoid(double x, double a, double b)
{
    double y = a * x + b;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

static double gate_elu(double x, double a, double b)
{
    (void)b;
    return x < 0 ? a * expm1(x) : x;
}

static double gate_softsign(double x, double a, double b)
{
    (void)a;
    (void)b;
    return x / (1 + fabs(x));
}

static double gate_softplus(double x, double a, double b)
{
    (void)a;
    (void)b;
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static const struct gate_fn gate_fns[] = {
    {"Sigmoid", gate_sigmoid, 0, 0},
    {"Tanh", gate_tanh, 0, 0},
    {"Relu", gate_relu, 0, 0},
    {"Affine", gate_affine, 1, 0},
    {"LeakyRelu", gate_leaky, 0.01f, 0},
    {"ThresholdedRelu", gate_thresholded, 1, 0},
    {"ScaledTanh", gate_scaled_tanh, 1, 1},
    {"HardSigmoid", gate_hard_sigmoid, 0.2f, 0.5f},
    {"Elu", gate_elu, 1, 0},
    {"Softsign", gate_softsign, 0, 0},
    {"Softplus", gate_softplus, 0, 0},
};

struct gate {
    const struct gate_fn *fn;
    double alpha, beta;
};

struct rnn {
    enum lego_op op;
    size_t gates, dirs, hidden, batch, steps, width;
    size_t kinds; /* of what R sees */
    bool batch_first, reset_after, coupled;
    double clip; /* 0: none */
    struct gate gate[6];
};

static double apply(const struct rnn *r, const struct gate *gate, double x)
{
    if (r->clip > 0)
        x = x < -r->clip ? -r->clip : x > r->clip ? r->clip : x;
    return gate->fn->apply(x, gate->alpha, gate->beta);
}

static const struct gate_fn *find_gate(const char *name)
{
    for (size_t i = 0; i < sizeof(gate_fns) / sizeof(gate_fns[0]); i++) {
        if (strcasecmp(gate_fns[i].name, name) == 0)
            return &gate_fns[i];
    }
    return NULL;
}

static float nth_float(const struct lego_node *node, const char *name, size_t index,
                       float otherwise)
{
    const struct lego_attr *attr = lego_node_attr(node, name);
    return attr && attr->type == LEGO_ATTR_FLOATS && index < attr->count ? attr->floats[index]
                                                                         : otherwise;
}

static int read_gates(const struct eval_context *c, struct rnn *r)
{
    static const char *const lstm[] = {"Sigmoid", "Tanh", "Tanh"};
    static const char *const gru[] = {"Sigmoid", "Tanh"};
    static const char *const plain[] = {"Tanh"};
    const struct lego_attr *attr = lego_node_attr(c->node, "activations");
    size_t each = r->op == LEGO_OP_LSTM ? 3 : r->op == LEGO_OP_GRU ? 2 : 1;
    const char *const *usual = r->op == LEGO_OP_LSTM ? lstm : r->op == LEGO_OP_GRU ? gru : plain;
    bool given = attr && attr->type == LEGO_ATTR_STRINGS && attr->count > 0;
    if (given && attr->count < each * r->dirs)
        return eval_fail(c, LEGO_E_INVALID, "%zu activations, not %zu", attr->count,
                         each * r->dirs);
    for (size_t i = 0; i < each * r->dirs; i++) {
        const char *name = given ? attr->strings[i] : usual[i % each];
        r->gate[i].fn = find_gate(name);
        if (!r->gate[i].fn)
            return eval_fail(c, LEGO_E_UNSUPPORTED, "activation '%s'", name);
        r->gate[i].alpha = (double)nth_float(c->node, "activation_alpha", i, r->gate[i].fn->alpha);
        r->gate[i].beta = (double)nth_float(c->node, "activation_beta", i, r->gate[i].fn->beta);
    }
    return LEGO_OK;
}

uint32_t lego_recurrent_kinds(const struct lego_node *node)
{
    switch (node->op) {
    case LEGO_OP_RNN:
    case LEGO_OP_LSTM:
        return 1;
    case LEGO_OP_GRU:
        return lego_node_int(node, "linear_before_reset", 0) ? 1 : 2;
    default:
        return 0;
    }
}

static int read_rnn(const struct eval_context *c, struct rnn *r)
{
    const struct lego_array *x = eval_in(c, 0), *w = eval_in(c, 2);
    *r = (struct rnn){.op = c->node->op};
    r->gates = r->op == LEGO_OP_LSTM ? 4 : r->op == LEGO_OP_GRU ? 3 : 1;
    r->batch_first = lego_node_int(c->node, "layout", 0) != 0;
    r->dirs = (size_t)w->shape.dim[0];
    r->hidden = (size_t)w->shape.dim[2];
    r->steps = (size_t)x->shape.dim[r->batch_first];
    r->batch = (size_t)x->shape.dim[!r->batch_first];
    r->width = (size_t)x->shape.dim[2];
    r->clip = (double)lego_node_float(c->node, "clip", 0);
    r->kinds = lego_recurrent_kinds(c->node);
    r->reset_after = lego_node_int(c->node, "linear_before_reset", 0) != 0;
    r->coupled = lego_node_int(c->node, "input_forget", 0) != 0;
    return read_gates(c, r);
}

/* The state and temporaries of one direction. */
struct pass {
    const float *w, *r, *bias, *peepholes; /* of this direction; bias and peepholes may be NULL */
    const struct gate *gate;
    float *h, *cell; /* [batch][hidden] */
    double *wx, *rh; /* [gates * hidden] of one batch */
    float *reset;    /* GRU: r (.) h of one batch */
};

static double dot(const float *a, const float *b, size_t n)
{
    float sum[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t k = 0; k < 4; k++)
            sum[k] += a[i + k] * b[i + k];
    }
    double total = ((double)sum[0] + (double)sum[1]) + ((double)sum[2] + (double)sum[3]);
    for (; i < n; i++)
        total += (double)(a[i] * b[i]);
    return total;
}

/* Rows `from` to `to` of out = matrix * x + bias. */
static void affine(const float *matrix, const float *bias, const float *x, size_t columns,
                   size_t from, size_t to, double *out)
{
    for (size_t i = from; i < to; i++)
        out[i] = dot(matrix + i * columns, x, columns) + (bias ? (double)bias[i] : 0);
}

static void step_rnn(const struct rnn *r, const struct pass *p, float *h)
{
    for (size_t i = 0; i < r->hidden; i++)
        h[i] = (float)apply(r, &p->gate[0], p->wx[i] + p->rh[i]);
}

/* Gates in the order update (z), reset (r), hidden (h). */
static void step_gru(const struct rnn *r, const struct pass *p, float *h)
{
    size_t n = r->hidden;
    const float *recurrent_bias = p->bias ? p->bias + 3 * n : NULL;
    for (size_t i = 0; i < n; i++) {
        double reset = apply(r, &p->gate[0], p->wx[n + i] + p->rh[n + i]);
        p->reset[i] = (float)reset * (r->reset_after ? 1 : h[i]);
    }
    if (!r->reset_after)
        affine(p->r, recurrent_bias, p->reset, n, 2 * n, 3 * n, p->rh);
    for (size_t i = 0; i < n; i++) {
        double recurrent = p->rh[2 * n + i] * (r->reset_after ? (double)p->reset[i] : 1);
        double update = apply(r, &p->gate[0], p->wx[i] + p->rh[i]);
        double candidate = apply(r, &p->gate[1], p->wx[2 * n + i] + recurrent);
        h[i] = (float)((1 - update) * candidate + update * (double)h[i]);
    }
}

/* Gates in the order input, output, forget, cell. */
static void step_lstm(const struct rnn *r, const struct pass *p, float *h, float *cell)
{
    size_t n = r->hidden;
    for (size_t i = 0; i < n; i++) {
        double gates[4], old = (double)cell[i];
        for (size_t g = 0; g < 4; g++)
            gates[g] = p->wx[g * n + i] + p->rh[g * n + i];
        if (p->peepholes) {
            gates[0] += (double)p->peepholes[i] * old;
            gates[2] += (double)p->peepholes[2 * n + i] * old;
        }
        double input = apply(r, &p->gate[0], gates[0]);
        double forget = r->coupled ? 1 - input : apply(r, &p->gate[0], gates[2]);
        double next = forget * old + input * apply(r, &p->gate[1], gates[3]);
        if (p->peepholes)
            gates[1] += (double)p->peepholes[n + i] * next;
        double output = apply(r, &p->gate[0], gates[1]);
        cell[i] = (float)next;
        h[i] = (float)(output * p->gate[2].fn->apply(next, p->gate[2].alpha, p->gate[2].beta));
    }
}

/* `states`: where what R sees goes to; NULL: nowhere. */
static void step(const struct rnn *r, const struct pass *p, const float *x, size_t batch,
                 float *states)
{
    size_t rows = r->gates * r->hidden;
    float *h = p->h + batch * r->hidden;
    if (states)
        memcpy(states, h, r->hidden * sizeof(float));
    affine(p->w, p->bias, x, r->width, 0, rows, p->wx);
    affine(p->r, p->bias ? p->bias + rows : NULL, h, r->hidden, 0, rows, p->rh);
    if (r->op == LEGO_OP_LSTM)
        step_lstm(r, p, h, p->cell + batch * r->hidden);
    else if (r->op == LEGO_OP_GRU)
        step_gru(r, p, h);
    else
        step_rnn(r, p, h);
    if (states && r->kinds > 1)
        memcpy(states + r->hidden, p->reset, r->hidden * sizeof(float));
}

/* Copies a state [dirs][batch][hidden] (or [batch][dirs][hidden]) from or to one direction. */
static void move_state(const struct rnn *r, size_t dir, float *state, float *outside, bool out)
{
    for (size_t b = 0; b < r->batch; b++) {
        float *there =
            outside + (r->batch_first ? b * r->dirs + dir : dir * r->batch + b) * r->hidden;
        float *here = state + b * r->hidden;
        memcpy(out ? there : here, out ? here : there, r->hidden * sizeof(float));
    }
}

static int64_t length_of(const struct eval_context *c, const struct rnn *r, size_t batch)
{
    const struct lego_array *lengths = eval_in(c, 4);
    return lengths ? eval_get_int(lengths, batch) : (int64_t)r->steps;
}

static void run_direction(const struct eval_context *c, const struct rnn *r, size_t dir,
                          bool reverse, const struct pass *p)
{
    const float *x = eval_in(c, 0)->data;
    struct lego_array *y = eval_out(c, 0);
    for (size_t b = 0; b < r->batch; b++) {
        size_t length = (size_t)length_of(c, r, b);
        for (size_t t = 0; t < length; t++) {
            size_t at = reverse ? length - 1 - t : t;
            size_t row = r->batch_first ? b * r->steps + at : at * r->batch + b;
            step(r, p, x + row * r->width, b,
                 c->states ? c->states + (row * r->dirs + dir) * r->kinds * r->hidden : NULL);
            if (!y)
                continue;
            size_t to = r->batch_first ? (b * r->steps + at) * r->dirs + dir
                                       : (at * r->dirs + dir) * r->batch + b;
            memcpy((float *)y->data + to * r->hidden, p->h + b * r->hidden,
                   r->hidden * sizeof(float));
        }
    }
}

/* The weights of one direction, and its state as it is given or zero. */
static int begin_pass(const struct eval_context *c, const struct rnn *r, size_t dir, struct pass *p)
{
    const struct lego_array *bias = eval_in(c, 3), *h = eval_in(c, 5), *cell = eval_in(c, 6);
    const struct lego_array *peepholes = eval_in(c, 7);
    size_t rows = r->gates * r->hidden, each = r->op == LEGO_OP_LSTM  ? 3
                                               : r->op == LEGO_OP_GRU ? 2
                                                                      : 1;
    *p = (struct pass){
        .w = (const float *)eval_in(c, 1)->data + dir * rows * r->width,
        .r = (const float *)eval_in(c, 2)->data + dir * rows * r->hidden,
        .bias = bias ? (const float *)bias->data + dir * 2 * rows : NULL,
        .peepholes = peepholes ? (const float *)peepholes->data + dir * 3 * r->hidden : NULL,
        .gate = r->gate + dir * each,
        .h = eval_scratch(c, r->batch * r->hidden, sizeof(float)),
        .cell = eval_scratch(c, r->batch * r->hidden, sizeof(float)),
        .wx = eval_scratch(c, rows, sizeof(double)),
        .rh = eval_scratch(c, rows, sizeof(double)),
        .reset = eval_scratch(c, r->hidden, sizeof(float)),
    };
    if (!p->h || !p->cell || !p->wx || !p->rh || !p->reset)
        return LEGO_E_NOMEM;
    if (h)
        move_state(r, dir, p->h, h->data, false);
    if (cell)
        move_state(r, dir, p->cell, cell->data, false);
    return LEGO_OK;
}

int eval_rnn(const struct eval_context *c)
{
    struct rnn r;
    struct lego_array *y = eval_out(c, 0), *h = eval_out(c, 1), *cell = eval_out(c, 2);
    bool reverse = strcmp(lego_node_string(c->node, "direction", "forward"), "reverse") == 0;
    int status = read_rnn(c, &r);
    for (size_t b = 0; b < r.batch && status == LEGO_OK; b++) {
        int64_t length = length_of(c, &r, b);
        if (length < 0 || length > (int64_t)r.steps)
            status = eval_fail(c, LEGO_E_INVALID, "sequence length %lld of %zu", (long long)length,
                               r.steps);
    }
    if (status != LEGO_OK)
        return status;
    if (y && eval_elems(y) > 0)
        memset(y->data, 0, eval_elems(y) * sizeof(float)); /* behind the end of short sequences */
    for (size_t dir = 0; dir < r.dirs; dir++) {
        struct pass pass;
        status = begin_pass(c, &r, dir, &pass);
        if (status != LEGO_OK)
            return status;
        run_direction(c, &r, dir, reverse || dir == 1, &pass);
        if (h)
            move_state(&r, dir, pass.h, h->data, true);
        if (cell)
            move_state(&r, dir, pass.cell, cell->data, true);
    }
    return LEGO_OK;
}
