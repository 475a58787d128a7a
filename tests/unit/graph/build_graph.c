#include "tests/unit/graph/build_graph.h"

#include "codec/graph/eval_node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lego_shape make_shape(struct lego_graph *graph, const char *text)
{
    struct lego_shape shape = {.rank = 0};
    if (strcmp(text, "*") == 0)
        return (struct lego_shape){.rank = LEGO_RANK_UNKNOWN};
    while (*text) {
        size_t length = strcspn(text, ",");
        char word[32];
        ck_assert_uint_lt(length, sizeof(word));
        memcpy(word, text, length);
        word[length] = '\0';
        int64_t dim = LEGO_DIM_UNKNOWN;
        if (strcmp(word, "?") != 0) {
            char *end;
            dim = strtol(word, &end, 10);
            if (*end)
                dim = -1 - lego_graph_add_symbol(graph, word);
        }
        shape.dim[shape.rank++] = dim;
        text += length + (text[length] == ',');
    }
    return shape;
}

struct lego_array make_array(struct lego_arena *arena, enum lego_dtype dtype, const char *shape,
                             const double *values)
{
    struct lego_array array = {dtype, make_shape(NULL, shape), NULL};
    size_t count = eval_elems(&array);
    if (count > 0)
        array.data = lego_arena_calloc(arena, count, lego_dtype_bytes(dtype));
    eval_store_real(&array, 0, count, values);
    return array;
}

static enum lego_dtype dtype_of(char letter)
{
    static const char letters[] = "fhdlibsou";
    static const enum lego_dtype dtypes[] = {
        LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT16, LEGO_DTYPE_FLOAT64,
        LEGO_DTYPE_INT64,   LEGO_DTYPE_INT32,   LEGO_DTYPE_UINT8,
        LEGO_DTYPE_INT8,    LEGO_DTYPE_BOOL,    LEGO_DTYPE_UINT64,
    };
    const char *found = strchr(letters, letter);
    ck_assert_msg(found && letter, "type '%c'", letter);
    return dtypes[found - letters];
}

/* Reads "f2,2=1,2,3,4" up to a blank; false at the end of the text. */
static bool read_array(struct lego_arena *arena, const char **text, struct lego_array *ret_array,
                       bool *ret_absent)
{
    char word[512], *values;
    double numbers[128] = {0};
    size_t length = strcspn(*text, " ");
    if (length == 0)
        return false;
    ck_assert_uint_lt(length, sizeof(word));
    memcpy(word, *text, length);
    word[length] = '\0';
    *text += length + ((*text)[length] == ' ');
    *ret_absent = strcmp(word, "-") == 0;
    if (*ret_absent)
        return true;
    values = strchr(word, '=');
    if (values)
        *values++ = '\0';
    for (size_t i = 0; values && *values; i++, values += *values == ',')
        numbers[i] = strtod(values, &values);
    *ret_array = make_array(arena, dtype_of(word[0]), word + 1, numbers);
    return true;
}

uint32_t make_arrays(struct lego_arena *arena, const char *text, struct lego_array *arrays,
                     int32_t *ret_numbers)
{
    uint32_t count = 0;
    bool absent;
    while (read_array(arena, &text, &arrays[count], &absent)) {
        ret_numbers[count] = absent ? -1 : (int32_t)count;
        count++;
    }
    return count;
}

static const char *make_attr(struct lego_arena *arena, const char *text, struct lego_attr *attr)
{
    const char *equal = strchr(text, '=');
    char *at = (char *)(uintptr_t)equal + 1;
    ck_assert_ptr_nonnull(equal);
    *attr = (struct lego_attr){.name = lego_arena_strndup(arena, text, (size_t)(equal - text))};
    if (*at == '[') {
        int64_t *ints = lego_arena_calloc(arena, 16, sizeof(*ints));
        attr->type = LEGO_ATTR_INTS;
        for (at++; *at && *at != ']'; at += *at == ',')
            ints[attr->count++] = strtol(at, &at, 10);
        attr->ints = ints;
        at++;
    } else if (*at == '\'') {
        size_t length = strcspn(at + 1, "'");
        attr->type = LEGO_ATTR_STRING;
        attr->s = lego_arena_strndup(arena, at + 1, length);
        attr->count = length;
        at += length + 2;
    } else if (at[strcspn(at, ". ")] == '.') {
        attr->type = LEGO_ATTR_FLOAT;
        attr->f = strtof(at, &at);
    } else {
        attr->type = LEGO_ATTR_INT;
        attr->i = strtol(at, &at, 10);
    }
    return at + (*at == ' ');
}

void make_attrs(struct lego_arena *arena, const char *text, struct lego_node *node)
{
    node->attrs = lego_arena_calloc(arena, 16, sizeof(*node->attrs));
    node->attr_count = 0;
    while (*text)
        text = make_attr(arena, text, &node->attrs[node->attr_count++]);
}

/* Value numbers of "a,b,-"; those that do not exist yet are added. */
static uint32_t find_values(struct lego_graph *graph, const char *text, int32_t *ret_values)
{
    uint32_t count = 0;
    while (*text) {
        char name[64];
        size_t length = strcspn(text, ",");
        memcpy(name, text, length);
        name[length] = '\0';
        int32_t value = lego_graph_find_value(graph, name);
        struct lego_shape open = {.rank = LEGO_RANK_UNKNOWN};
        if (strcmp(name, "-") == 0)
            value = -1;
        else if (value < 0)
            value = lego_graph_add_value(graph, name, LEGO_DTYPE_UNKNOWN, &open);
        ret_values[count++] = value;
        text += length + (text[length] == ',');
    }
    return count;
}

void add_node(struct lego_graph *graph, enum lego_op op, const char *inputs, const char *outputs,
              const char *attrs)
{
    int32_t in[16], out[16];
    char name[64];
    uint32_t ins = find_values(graph, inputs, in), outs = find_values(graph, outputs, out);
    snprintf(name, sizeof(name), "%s_%u", lego_op_name(op), graph->node_count);
    int32_t index = lego_graph_add_node(graph, name, op, ins, outs, 0);
    ck_assert_int_ge(index, 0);
    struct lego_node *node = &graph->nodes[index];
    memcpy(node->inputs, in, ins * sizeof(*in));
    memcpy(node->outputs, out, outs * sizeof(*out));
    make_attrs(graph->arena, attrs, node);
}

void add_input(struct lego_graph *graph, const char *name, enum lego_dtype dtype, const char *shape)
{
    struct lego_shape made = make_shape(graph, shape);
    int32_t value = lego_graph_add_value(graph, name, dtype, &made);
    ck_assert_int_eq(lego_graph_add_input(graph, value), LEGO_OK);
}

void add_constant(struct lego_graph *graph, const char *name, struct lego_array array)
{
    int32_t tensor = lego_graph_add_tensor(graph, name, array.dtype, &array.shape);
    int32_t value = lego_graph_add_value(graph, name, array.dtype, &array.shape);
    ck_assert_int_ge(tensor, 0);
    graph->tensors[tensor].data = array.data;
    graph->values[value].tensor = tensor;
}

void add_output(struct lego_graph *graph, const char *name)
{
    ck_assert_int_eq(lego_graph_add_output(graph, lego_graph_find_value(graph, name)), LEGO_OK);
}
