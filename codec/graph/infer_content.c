/*
 * Shape arithmetic, followed element by element: Shape -> Gather -> Mul -> Concat -> Reshape.
 *
 * An element is a number, a symbol of the graph, or open. Arithmetic knows the few laws that
 * exported shape chains need (x + 0, x * 1, x - x, ...). Operators that only move elements are
 * evaluated for real, on the numbers of the elements in place of the elements.
 */
#include "codec/graph/infer_content.h"

#include "codec/graph/eval_node.h"

#include <string.h>

static const struct infer_elem open_elem = {.kind = INFER_OPEN};

static struct infer_elem number(int64_t value)
{
    return (struct infer_elem){INFER_VALUE, value};
}

static bool is_number(struct infer_elem e, int64_t value)
{
    return e.kind == INFER_VALUE && e.value == value;
}

static bool same_symbol(struct infer_elem a, struct infer_elem b)
{
    return a.kind == INFER_SYMBOL && b.kind == INFER_SYMBOL && a.value == b.value;
}

bool infer_content_is_constant(const struct infer_content *content)
{
    for (size_t i = 0; i < content->count; i++) {
        if (content->elems[i].kind != INFER_VALUE)
            return false;
    }
    return true;
}

/* Two numbers; `real`: they stand for floating values, so that a quotient must be whole. */
static struct infer_elem compute_numbers(enum lego_op op, int64_t a, int64_t b, bool real)
{
    int64_t out = 0;
    bool fits = true;
    switch (op) {
    case LEGO_OP_Add:
        fits = lego_add_i64(a, b, &out);
        break;
    case LEGO_OP_Sub:
        fits = b != INT64_MIN && lego_add_i64(a, -b, &out);
        break;
    case LEGO_OP_Mul:
        fits = lego_mul_i64(a, b, &out);
        break;
    case LEGO_OP_Div:
        fits = b > 0 && (!real || a % b == 0);
        out = fits ? a / b : 0;
        break;
    case LEGO_OP_Max:
        out = a > b ? a : b;
        break;
    case LEGO_OP_Min:
        out = a < b ? a : b;
        break;
    case LEGO_OP_Equal:
        out = a == b;
        break;
    default:
        fits = false;
    }
    return fits ? number(out) : open_elem;
}

static struct infer_elem compute(enum lego_op op, struct infer_elem a, struct infer_elem b,
                                 bool real)
{
    if (a.kind == INFER_VALUE && b.kind == INFER_VALUE)
        return compute_numbers(op, a.value, b.value, real);
    bool same = same_symbol(a, b);
    switch (op) {
    case LEGO_OP_Add:
        return is_number(b, 0) ? a : is_number(a, 0) ? b : open_elem;
    case LEGO_OP_Sub:
        return is_number(b, 0) ? a : same ? number(0) : open_elem;
    case LEGO_OP_Mul:
        if (is_number(a, 0) || is_number(b, 0))
            return number(0);
        return is_number(b, 1) ? a : is_number(a, 1) ? b : open_elem;
    case LEGO_OP_Div:
        return is_number(b, 1) ? a : same ? number(1) : open_elem;
    case LEGO_OP_Max:
    case LEGO_OP_Min:
        return same ? a : open_elem;
    case LEGO_OP_Equal: /* sizes are never negative */
        if (same)
            return number(1);
        return (a.kind == INFER_VALUE && a.value < 0 && b.kind == INFER_SYMBOL) ||
                       (b.kind == INFER_VALUE && b.value < 0 && a.kind == INFER_SYMBOL)
                   ? number(0)
                   : open_elem;
    default:
        return open_elem;
    }
}

/* Flat index into an input that is broadcast to the output's shape. */
static size_t broadcast_index(const struct lego_shape *in, const struct lego_shape *out, size_t at)
{
    int64_t strides[LEGO_MAX_RANK];
    size_t index = 0;
    eval_broadcast_strides(in, out, strides);
    for (int d = out->rank - 1; d >= 0; d--) {
        index += at % (size_t)out->dim[d] * (size_t)strides[d];
        at /= (size_t)out->dim[d];
    }
    return index;
}

static struct infer_elem broadcast_element(const struct infer_context *c, uint32_t input, size_t at)
{
    const struct lego_shape *shape = infer_input(c, input);
    if (!lego_shape_is_static(shape))
        return open_elem; /* its strides are not known */
    return infer_element(c, input, broadcast_index(shape, &c->io->ret_shapes[0], at));
}

static void content_elementwise(const struct infer_context *c, struct infer_content *out)
{
    enum lego_op op = c->io->node->op;
    bool real = infer_type_in(infer_dtype(c, 0), LEGO_TYPES_REAL);
    for (size_t i = 0; i < out->count; i++) {
        if (op == LEGO_OP_Where) {
            struct infer_elem pick = broadcast_element(c, 0, i);
            out->elems[i] =
                pick.kind != INFER_VALUE ? open_elem : broadcast_element(c, pick.value ? 1 : 2, i);
        } else {
            out->elems[i] =
                compute(op, broadcast_element(c, 0, i), broadcast_element(c, 1, i), real);
        }
    }
}

/* Floor, Ceil, Cast: whole numbers stay what they are. */
static void content_same(const struct infer_context *c, struct infer_content *out)
{
    for (size_t i = 0; i < out->count; i++)
        out->elems[i] = infer_element(c, 0, i);
}

static void content_shape(const struct infer_context *c, struct infer_content *out)
{
    const struct lego_shape *x = infer_input(c, 0);
    if (x->rank == LEGO_RANK_UNKNOWN)
        return;
    int64_t start = lego_node_int(c->io->node, "start", 0);
    start = start < 0 ? start + x->rank : start;
    start = start < 0 ? 0 : start;
    for (size_t i = 0; i < out->count; i++) {
        int64_t dim = x->dim[(size_t)start + i];
        if (dim >= 0)
            out->elems[i] = number(dim);
        else if (dim != LEGO_DIM_UNKNOWN)
            out->elems[i] = (struct infer_elem){INFER_SYMBOL, dim};
    }
}

static void content_size(const struct infer_context *c, struct infer_content *out)
{
    size_t elems;
    if (infer_count(c, 0, &elems))
        out->elems[0] = number((int64_t)elems);
}

/*
 * Evaluates a node that only moves elements: its data inputs (`first` up to `last`) become arrays
 * of element numbers, the output says where each element came from.
 */
static void content_move(const struct infer_context *c, uint32_t last, struct lego_arena *arena,
                         struct infer_content *out)
{
    const struct lego_node *node = c->io->node;
    uint32_t inputs = node->input_count;
    const struct lego_array **arrays =
        lego_arena_calloc(arena, inputs, sizeof(const struct lego_array *));
    struct lego_array *numbers = lego_arena_calloc(arena, inputs, sizeof(*numbers));
    size_t *bases = lego_arena_calloc(arena, (size_t)inputs + 1, sizeof(*bases));
    int64_t *moved = lego_arena_calloc(arena, out->count, sizeof(*moved));
    if (!arrays || !numbers || !bases || !moved)
        return;
    size_t total = 0;
    for (uint32_t i = 0; i < inputs; i++) {
        size_t count;
        bases[i] = total;
        arrays[i] = c->io->constants[i];
        if (i > last || !infer_has(c, i)) {
            if (infer_has(c, i) && !arrays[i])
                return;
            continue;
        }
        if (!infer_count(c, i, &count) || count > INFER_CONTENT_MAX)
            return;
        int64_t *data = lego_arena_calloc(arena, count ? count : 1, sizeof(*data));
        if (!data)
            return;
        for (size_t k = 0; k < count; k++)
            data[k] = (int64_t)(total + k);
        numbers[i] = (struct lego_array){LEGO_DTYPE_INT64, *infer_input(c, i), data};
        arrays[i] = &numbers[i];
        total += count;
    }
    bases[inputs] = total;
    struct lego_array result = {LEGO_DTYPE_INT64, c->io->ret_shapes[0], moved};
    if (lego_eval_node(c->io->graph, node, arrays, &result, arena, NULL) != LEGO_OK)
        return;
    for (size_t i = 0; i < out->count; i++) {
        uint32_t input = 0;
        while ((size_t)moved[i] >= bases[input + 1])
            input++;
        out->elems[i] = infer_element(c, input, (size_t)moved[i] - bases[input]);
    }
}

/* ConstantOfShape repeats a number; of any other dtype than integers nothing is followed. */
static void content_fill(const struct infer_context *c, struct infer_content *out)
{
    const struct lego_attr *attr = lego_node_attr(c->io->node, "value");
    struct infer_elem elem = number(0);
    if (attr && attr->type == LEGO_ATTR_TENSOR) {
        const struct lego_tensor *tensor = &c->io->graph->tensors[attr->tensor];
        struct lego_array array = {tensor->dtype, tensor->shape, (void *)(uintptr_t)tensor->data};
        elem = number(eval_get_int(&array, 0));
    }
    for (size_t i = 0; i < out->count; i++)
        out->elems[i] = elem;
}

static void fill_content(const struct infer_context *c, struct lego_arena *arena,
                         struct infer_content *out)
{
    switch (c->io->node->op) {
    case LEGO_OP_Shape:
        content_shape(c, out);
        break;
    case LEGO_OP_Size:
        content_size(c, out);
        break;
    case LEGO_OP_ConstantOfShape:
        content_fill(c, out);
        break;
    case LEGO_OP_Cast:
    case LEGO_OP_Floor:
    case LEGO_OP_Ceil:
        content_same(c, out);
        break;
    case LEGO_OP_Add:
    case LEGO_OP_Sub:
    case LEGO_OP_Mul:
    case LEGO_OP_Div:
    case LEGO_OP_Equal:
    case LEGO_OP_Where:
        content_elementwise(c, out);
        break;
    case LEGO_OP_Max:
    case LEGO_OP_Min:
        if (c->io->node->input_count == 2)
            content_elementwise(c, out);
        break;
    case LEGO_OP_Concat:
        content_move(c, UINT32_MAX, arena, out);
        break;
    case LEGO_OP_Gather:
    case LEGO_OP_Slice:
    case LEGO_OP_Reshape:
    case LEGO_OP_Flatten:
    case LEGO_OP_Squeeze:
    case LEGO_OP_Unsqueeze:
    case LEGO_OP_Transpose:
    case LEGO_OP_Expand:
    case LEGO_OP_Tile:
    case LEGO_OP_Identity:
        content_move(c, 0, arena, out);
        break;
    default:
        break;
    }
}

/* What is left of an element in an array of that type. */
static struct infer_elem narrowed(struct infer_elem elem, enum lego_dtype dtype)
{
    if (dtype == LEGO_DTYPE_BOOL)
        return elem.kind == INFER_VALUE ? number(elem.value != 0) : open_elem;
    int64_t limit = dtype == LEGO_DTYPE_INT32     ? INT32_MAX
                    : dtype == LEGO_DTYPE_FLOAT32 ? 1 << 24
                                                  : INT64_MAX;
    bool fits = elem.kind != INFER_VALUE || (elem.value <= limit && elem.value >= -limit);
    return fits ? elem : open_elem;
}

/* True where something is known that an element of the output could be made of. */
static bool any_known(const struct infer_context *c)
{
    const struct lego_node *node = c->io->node;
    if (node->op == LEGO_OP_Shape || node->op == LEGO_OP_Size ||
        node->op == LEGO_OP_ConstantOfShape)
        return true;
    for (uint32_t i = 0; i < node->input_count; i++)
        if ((c->io->constants && c->io->constants[i]) || (c->contents && c->contents[i]))
            return true;
    return false;
}

void infer_content(const struct infer_context *c, struct lego_arena *arena,
                   struct infer_content **ret_content)
{
    const struct lego_infer_io *io = c->io;
    size_t count;
    unsigned followed = LEGO_TYPES_INDEX | LEGO_TYPES_BOOL | INFER_TYPE(FLOAT32);
    *ret_content = NULL;
    if (!infer_type_in(io->ret_dtypes[0], followed) || io->ret_shapes[0].rank < 0 ||
        lego_shape_elems(&io->ret_shapes[0], &count) != LEGO_OK || count > INFER_CONTENT_MAX)
        return;
    bool makes_real = io->ret_dtypes[0] == LEGO_DTYPE_FLOAT32;
    if (makes_real && (io->node->op == LEGO_OP_ConstantOfShape || count > INFER_REAL_MAX))
        return;
    if (!any_known(c))
        return;
    struct infer_content *out = lego_arena_calloc(arena, 1, sizeof(*out));
    struct infer_elem *elems = lego_arena_calloc(arena, count ? count : 1, sizeof(*elems));
    if (!out || !elems)
        return;
    *out = (struct infer_content){count, elems};
    fill_content(c, arena, out);
    bool known = count == 0;
    for (size_t i = 0; i < count; i++) {
        elems[i] = narrowed(elems[i], io->ret_dtypes[0]);
        known |= elems[i].kind != INFER_OPEN;
    }
    *ret_content = known ? out : NULL;
}
