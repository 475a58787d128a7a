/*
 * Einsum: parsing of the equation, inference and evaluation.
 *
 * Every label is an axis with a size; an operand is an array with a stride for each label (0 where
 * it has not got it). The output is a sum over the labels that it lacks.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <ctype.h>
#include <string.h>

#define EINSUM_MAX_LABELS   32 /* letters, and the axes of an ellipsis */
#define EINSUM_MAX_OPERANDS 8
#define EINSUM_MAX_STEPS    (INT64_C(1) << 36) /* of the innermost loop: minutes */

struct einsum {
    uint32_t operands;
    int labels;        /* in use */
    int letter[256];   /* label of a letter, -1 */
    int ellipsis;      /* first of the ellipsis' labels */
    int ellipsis_rank; /* how many */
    int64_t size[EINSUM_MAX_LABELS];
    int output_rank;
    int output[LEGO_MAX_RANK]; /* labels of the output's axes */
    int rank[EINSUM_MAX_OPERANDS];
    int axis[EINSUM_MAX_OPERANDS][LEGO_MAX_RANK];
};

/* Ends an operand: at ',' or "->" or the end. */
static const char *term_end(const char *at)
{
    while (*at && *at != ',' && *at != '-')
        at++;
    return at;
}

static int count_letters(const char *from, const char *to, bool *ret_ellipsis)
{
    int letters = 0;
    *ret_ellipsis = false;
    for (const char *p = from; p < to; p++) {
        letters += isalpha((unsigned char)*p) != 0;
        *ret_ellipsis |= *p == '.';
    }
    return letters;
}

static int add_label(struct einsum *e, unsigned char letter)
{
    if (e->letter[letter] < 0 && e->labels < EINSUM_MAX_LABELS)
        e->letter[letter] = e->labels++;
    return e->letter[letter];
}

/* Writes the labels of one term to `axes`; false where it is malformed or has too many. */
static bool read_term(struct einsum *e, const char *from, const char *to, int *axes, int *ret_rank)
{
    int rank = 0;
    bool seen = false;
    for (const char *p = from; p < to; p++) {
        if (*p == ' ')
            continue;
        if (*p == '.') {
            if (seen || to - p < 3 || p[1] != '.' || p[2] != '.')
                return false;
            seen = true;
            p += 2;
            for (int i = 0; i < e->ellipsis_rank; i++) {
                if (rank == LEGO_MAX_RANK)
                    return false;
                axes[rank++] = e->ellipsis + i;
            }
            continue;
        }
        if (!isalpha((unsigned char)*p) || rank == LEGO_MAX_RANK)
            return false;
        axes[rank] = add_label(e, (unsigned char)*p);
        if (axes[rank++] < 0)
            return false;
    }
    *ret_rank = rank;
    return true;
}

/* Right-aligned, an operand may lack the first axes of the ellipsis. */
static int read_operand(const struct infer_context *c, struct einsum *e, uint32_t index,
                        const char *from, const char *to)
{
    const struct lego_shape *shape = infer_input(c, index);
    int full = 0, axes[LEGO_MAX_RANK], *kept = e->axis[index];
    bool has_ellipsis;
    int letters = count_letters(from, to, &has_ellipsis);
    if (!read_term(e, from, to, axes, &full))
        return infer_fail(c, LEGO_E_INVALID, "term %u of the equation is malformed", index);
    int missing = full - shape->rank;
    if ((missing != 0 && !has_ellipsis) || missing < 0 || missing > e->ellipsis_rank ||
        letters > shape->rank)
        return infer_fail(c, LEGO_E_SHAPE, "operand %u has rank %d", index, shape->rank);
    int rank = 0, dropped = 0;
    for (int i = 0; i < full; i++) {
        bool of_ellipsis = e->ellipsis_rank > 0 && axes[i] >= e->ellipsis &&
                           axes[i] < e->ellipsis + e->ellipsis_rank;
        if (of_ellipsis && dropped < missing)
            dropped++;
        else
            kept[rank++] = axes[i];
    }
    e->rank[index] = rank;
    for (int d = 0; d < rank; d++) {
        int64_t *size = &e->size[kept[d]], have = shape->dim[d];
        if (*size == 1 || *size == LEGO_DIM_UNKNOWN)
            *size = have;
        else if (have != 1 && !infer_dim_merge(*size, have, size))
            return infer_fail(c, LEGO_E_SHAPE, "axis %d of operand %u has %lld, not %lld", d, index,
                              (long long)have, (long long)*size);
    }
    return LEGO_OK;
}

/* Without "->": the ellipsis, then letters that occur once, in the order of the alphabet. */
static void implicit_output(struct einsum *e, const char *equation)
{
    e->output_rank = 0;
    for (int i = 0; i < e->ellipsis_rank && e->output_rank < LEGO_MAX_RANK; i++)
        e->output[e->output_rank++] = e->ellipsis + i;
    for (int letter = 'A'; letter <= 'z'; letter++) {
        const char *first = isalpha(letter) ? strchr(equation, letter) : NULL;
        if (first && !strchr(first + 1, letter) && e->output_rank < LEGO_MAX_RANK)
            e->output[e->output_rank++] = e->letter[letter];
    }
}

/* The rank of the ellipsis: what the letters of an operand leave. */
static int ellipsis_rank(const struct infer_context *c, const char *equation)
{
    int most = 0;
    const char *at = equation;
    for (uint32_t i = 0; i < c->io->node->input_count; i++) {
        const char *end = term_end(at);
        bool has;
        int letters = count_letters(at, end, &has), rank = infer_rank(c, i);
        if (has && rank - letters > most)
            most = rank - letters;
        if (*end != ',')
            break;
        at = end + 1;
    }
    return most;
}

static int parse(const struct infer_context *c, struct einsum *e)
{
    const char *equation = lego_node_string(c->io->node, "equation", ""), *at = equation;
    *e = (struct einsum){.operands = c->io->node->input_count};
    if (e->operands > EINSUM_MAX_OPERANDS)
        return infer_fail(c, LEGO_E_LIMIT, "%u operands", e->operands);
    memset(e->letter, -1, sizeof(e->letter));
    for (int i = 0; i < EINSUM_MAX_LABELS; i++)
        e->size[i] = LEGO_DIM_UNKNOWN;
    e->ellipsis_rank = ellipsis_rank(c, equation);
    e->labels = e->ellipsis_rank;
    for (uint32_t i = 0; i < e->operands; i++) {
        const char *end = term_end(at);
        int status = read_operand(c, e, i, at, end);
        if (status != LEGO_OK)
            return status;
        if ((i + 1 < e->operands) != (*end == ','))
            return infer_fail(c, LEGO_E_INVALID, "'%s' does not have %u terms", equation,
                              e->operands);
        at = *end == ',' ? end + 1 : end;
    }
    if (*at == '\0') {
        implicit_output(e, equation);
        return LEGO_OK;
    }
    int labels = e->labels;
    if (at[0] != '-' || at[1] != '>' ||
        !read_term(e, at + 2, at + strlen(at), e->output, &e->output_rank) || e->labels != labels)
        return infer_fail(c, LEGO_E_INVALID, "'%s' has a malformed output", equation);
    for (int i = 0; i < e->output_rank; i++) {
        for (int k = 0; k < i; k++) {
            if (e->output[i] == e->output[k])
                return infer_fail(c, LEGO_E_INVALID, "'%s' repeats a label in its output",
                                  equation);
        }
    }
    return LEGO_OK;
}

int infer_einsum(const struct infer_context *c)
{
    struct einsum e;
    int status = infer_want_same_type(c, 0, 1, UINT32_MAX - 1);
    infer_set_open(c, 0, infer_dtype(c, 0));
    for (uint32_t i = 0; i < c->io->node->input_count; i++) {
        if (infer_has(c, i) && infer_rank(c, i) == LEGO_RANK_UNKNOWN)
            return status;
        if (!infer_has(c, i))
            return infer_fail(c, LEGO_E_FORMAT, "input %u is missing", i);
    }
    if (status == LEGO_OK)
        status = parse(c, &e);
    if (status != LEGO_OK)
        return status;
    struct lego_shape out = {.rank = e.output_rank};
    for (int d = 0; d < out.rank; d++)
        out.dim[d] = e.size[e.output[d]];
    infer_set(c, 0, infer_dtype(c, 0), &out);
    return LEGO_OK;
}

/* Loops over labels, those of the output first. */
struct loops {
    int count;
    int64_t size[EINSUM_MAX_LABELS];
    int64_t stride[EINSUM_MAX_OPERANDS][EINSUM_MAX_LABELS];
};

static void make_loops(const struct eval_context *c, const struct einsum *e, struct loops *l,
                       int *ret_outer)
{
    bool in_output[EINSUM_MAX_LABELS] = {false};
    int label_of[EINSUM_MAX_LABELS];
    *l = (struct loops){.count = 0};
    for (int d = 0; d < e->output_rank; d++) {
        in_output[e->output[d]] = true;
        label_of[l->count++] = e->output[d];
    }
    *ret_outer = l->count;
    for (int label = 0; label < e->labels; label++) {
        if (!in_output[label])
            label_of[l->count++] = label;
    }
    for (int i = 0; i < l->count; i++) {
        /* a label of an ellipsis that no operand has counts once */
        l->size[i] = e->size[label_of[i]] == LEGO_DIM_UNKNOWN ? 1 : e->size[label_of[i]];
        for (uint32_t k = 0; k < e->operands; k++) {
            int64_t strides[LEGO_MAX_RANK];
            const struct lego_shape *shape = &eval_in(c, k)->shape;
            eval_strides(shape, strides);
            for (int d = 0; d < e->rank[k]; d++) { /* a label twice: the diagonal */
                if (e->axis[k][d] == label_of[i] && shape->dim[d] != 1)
                    l->stride[k][i] += strides[d];
            }
        }
    }
}

/* Steps loops `from` to `to`; false after the last position. */
static bool next(const struct loops *l, int from, int to, uint32_t operands, int64_t *at,
                 int64_t *offsets)
{
    for (int i = to - 1; i >= from; i--) {
        bool more = ++at[i] < l->size[i];
        for (uint32_t k = 0; k < operands; k++)
            offsets[k] += more ? l->stride[k][i] : -l->stride[k][i] * (l->size[i] - 1);
        if (more)
            return true;
        at[i] = 0;
    }
    return false;
}

int eval_einsum(const struct eval_context *c)
{
    struct lego_array *out = eval_out(c, 0);
    struct lego_infer_io io;
    struct infer_context infer;
    struct einsum e;
    struct loops l;
    int outer, status = eval_inference(c, &io, &infer);
    if (status == LEGO_OK)
        status = parse(&infer, &e);
    if (status != LEGO_OK || !out)
        return status;
    make_loops(c, &e, &l, &outer);
    int64_t steps = 1;
    for (int i = 0; i < l.count; i++) {
        if (!lego_mul_i64(steps, l.size[i], &steps) || steps > EINSUM_MAX_STEPS)
            return eval_fail(c, LEGO_E_LIMIT, "more than %lld products",
                             (long long)EINSUM_MAX_STEPS);
    }
    int64_t at[EINSUM_MAX_LABELS] = {0}, offsets[EINSUM_MAX_OPERANDS] = {0};
    bool real = eval_is_real(out->dtype), empty = false;
    for (int i = outer; i < l.count; i++)
        empty |= l.size[i] == 0;
    for (size_t i = 0; i < eval_elems(out); i++) {
        double sum = 0;
        uint64_t integer = 0;
        bool more = !empty;
        while (more) {
            double product = 1;
            uint64_t whole = 1;
            for (uint32_t k = 0; k < e.operands; k++) {
                if (real)
                    product *= eval_get_real(eval_in(c, k), (size_t)offsets[k]);
                else
                    whole *= (uint64_t)eval_get_int(eval_in(c, k), (size_t)offsets[k]);
            }
            sum += product;
            integer += whole;
            more = next(&l, outer, l.count, e.operands, at, offsets);
        }
        int64_t stored = (int64_t)integer;
        if (real)
            eval_store_real(out, i, 1, &sum);
        else
            eval_store_int(out, i, 1, &stored);
        next(&l, 0, outer, e.operands, at, offsets);
    }
    return LEGO_OK;
}
