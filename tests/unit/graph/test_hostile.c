/*
 * Random nodes: any operator, with inputs, types, shapes and attributes drawn without regard for
 * what they mean. Inference and evaluation must refuse them or compute something, under ASan and
 * UBSan without a word; where evaluation succeeds, its outputs are those that inference promised.
 */
#include "codec/graph/eval_node.h"
#include "codec/graph/infer_node.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUTS   9
#define MAX_OUTPUTS  5
#define MAX_ATTRS    6
#define MAX_BYTES    (1u << 21) /* of arrays and temporaries */
#define NODES_A_SEED 20000

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static const char *const attr_names[] = {
    "axis",
    "axes",
    "keepdims",
    "perm",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "group",
    "auto_pad",
    "ceil_mode",
    "mode",
    "blocksize",
    "batch_dims",
    "reduction",
    "to",
    "alpha",
    "beta",
    "epsilon",
    "hidden_size",
    "direction",
    "layout",
    "num_outputs",
    "equation",
    "largest",
    "k",
    "upper",
    "output_padding",
    "output_shape",
    "num_groups",
    "size",
    "p",
    "block_size",
    "exclusive",
    "reverse",
    "nearest_mode",
    "antialias",
    "allowzero",
    "storage_order",
    "sampling_ratio",
    "output_height",
    "output_width",
    "spatial_scale",
    "clip",
    "center_point_box",
    "dtype",
    "batch_axis",
    "time_axis",
    "fmod",
    "lego.coerce_2d",
    "transA",
    "transB",
    "exclude_outside",
    "start",
    "end",
    "noop_with_empty_axes",
    "coordinate_transformation_mode",
    "keep_aspect_ratio_policy",
    "count_include_pad",
    "select_last_index",
    "linear_before_reset",
};

static const char *const words[] = {
    "NOTSET",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "constant",
    "reflect",
    "edge",
    "wrap",
    "linear",
    "cubic",
    "nearest",
    "bidirectional",
    "reverse",
    "ij,jk->ik",
    "...i,...j->ij",
    "bij->bji",
    "ii->i",
    "a,b,c,d->",
    "add",
    "max",
    "tf_crop_and_resize",
    "align_corners",
    "ceil",
    "not_larger",
    "CRD",
    "avg",
    "half_pixel",
    "",
};

static int64_t wild_number(void)
{
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX, INT64_MIN + 1, INT32_MAX,
                                       INT32_MIN, 1 << 20,   -(1 << 20),    INT64_C(1) << 40};
    return draw(12) == 0 ? extremes[draw(8)] : (int64_t)draw(8) - 2;
}

static const int64_t *wild_ints(struct lego_arena *arena, size_t *ret_count)
{
    size_t count = draw(7);
    int64_t *ints = lego_arena_calloc(arena, count + 1, sizeof(*ints));
    for (size_t i = 0; i < count; i++)
        ints[i] = draw(3) ? (int64_t)draw(4) : wild_number();
    *ret_count = count;
    return ints;
}

static void wild_attr(struct lego_arena *arena, struct lego_attr *attr)
{
    *attr = (struct lego_attr){.name = attr_names[draw(sizeof(attr_names) / sizeof(*attr_names))]};
    switch (draw(4)) {
    case 0:
        attr->type = LEGO_ATTR_FLOAT;
        attr->f = draw(4) ? (float)draw(5) * 0.5f : draw(2) ? INFINITY : -1e30f;
        break;
    case 1:
        attr->type = LEGO_ATTR_INTS;
        attr->ints = wild_ints(arena, &attr->count);
        break;
    case 2:
        attr->type = LEGO_ATTR_STRING;
        attr->s = words[draw(sizeof(words) / sizeof(*words))];
        attr->count = strlen(attr->s);
        break;
    default:
        attr->type = LEGO_ATTR_INT;
        attr->i = wild_number();
    }
}

static enum lego_dtype wild_type(void)
{
    static const enum lego_dtype types[] = {
        LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT32, LEGO_DTYPE_FLOAT16,
        LEGO_DTYPE_FLOAT64, LEGO_DTYPE_INT64,   LEGO_DTYPE_INT64,   LEGO_DTYPE_INT32,
        LEGO_DTYPE_UINT8,   LEGO_DTYPE_INT8,    LEGO_DTYPE_BOOL,    LEGO_DTYPE_UINT64,
    };
    return types[draw(12)];
}

static void fill_array(struct lego_arena *arena, struct lego_array *array)
{
    size_t elems = 0, bytes = lego_dtype_bytes(array->dtype);
    ck_assert_int_eq(lego_shape_elems(&array->shape, &elems), LEGO_OK);
    if (elems == 0)
        return;
    array->data = lego_arena_calloc(arena, elems, bytes);
    bool tame = draw(3) != 0; /* no extremes: more nodes get through */
    for (size_t i = 0; i < elems; i++) {
        double real = tame || draw(30) ? (double)draw(9) - 3 : draw(2) ? (double)NAN : 1e30;
        int64_t integer = tame ? (int64_t)draw(4) : wild_number();
        if (eval_is_real(array->dtype))
            eval_store_real(array, i, 1, &real);
        else
            eval_store_int(array, i, 1, &integer);
    }
}

/* The first input is free; those that follow often suit it, so that more nodes get through. */
static struct lego_array wild_array(struct lego_arena *arena, const struct lego_array *first)
{
    struct lego_array array = {.dtype = wild_type(), .shape = {.rank = (int)draw(5)}};
    for (int d = 0; d < array.shape.rank; d++)
        array.shape.dim[d] = draw(20) ? 1 + draw(4) : 0;
    if (first && draw(3)) {
        array.dtype = first->dtype;
        if (draw(2))
            array.shape = first->shape;
    } else if (first && draw(2)) {
        array.dtype = LEGO_DTYPE_INT64;
        array.shape = (struct lego_shape){.rank = 1, .dim = {1 + draw(4)}};
    }
    fill_array(arena, &array);
    return array;
}

/*
 * Nodes that are sound, to be spoilt here and there: inputs as type and shape, attributes as
 * name=ints or name=word. Types: f fp32, h fp16, l int64, i int32, b uint8, s int8, o bool.
 */
struct recipe {
    enum lego_op op;
    const char *inputs, *attrs;
};

static const struct recipe recipes[] = {
    {LEGO_OP_Conv, "f1,4,5,6 f6,2,3,3 f6", "group=2 pads=1,1,1,1 strides=1,2 dilations=1,1"},
    {LEGO_OP_Conv, "h1,2,7 h3,2,2 h3", "auto_pad=SAME_LOWER strides=2"},
    {LEGO_OP_Conv, "f1,2,4,4,4 f2,2,2,2,2", "pads=0,1,0,1,0,1 strides=2,1,1"},
    {LEGO_OP_ConvTranspose, "f1,4,3,3 f4,2,3,3 f4", "group=2 strides=2,2 output_padding=1,1"},
    {LEGO_OP_ConvTranspose, "f1,2,3,3 f2,2,3,3",
     "auto_pad=SAME_UPPER strides=2,1 output_shape=7,4"},
    {LEGO_OP_ConvInteger, "b1,2,4,4 s3,2,2,2 b s3", "pads=1,1,0,0"},
    {LEGO_OP_QLinearConv, "b1,2,4,4 f b s3,2,2,2 f3 s3 f b i3", "pads=1,1,0,0"},
    {LEGO_OP_QLinearMatMul, "b2,4,3 f b s3,5 f5 s5 f b", ""},
    {LEGO_OP_MatMulInteger, "b4,3 s3,5 b4 s5", ""},
    {LEGO_OP_Gemm, "f3,4 f5,4 f5", "transB=1 alpha=2"},
    {LEGO_OP_MatMul, "f2,1,3,4 f3,4,2", ""},
    {LEGO_OP_MatMul, "h4 h2,4,3", ""},
    {LEGO_OP_Einsum, "f2,3 f3,4", "equation=ij,jk->ik"},
    {LEGO_OP_Einsum, "f2,5,3 f3,2", "equation=...i,ij->...j"},
    {LEGO_OP_AveragePool, "f1,2,5,5",
     "kernel_shape=3,2 ceil_mode=1 count_include_pad=1 pads=1,1,0,1"},
    {LEGO_OP_MaxPool, "s1,2,5,5", "kernel_shape=3,2 strides=2,2 storage_order=1 dilations=2,1"},
    {LEGO_OP_LpPool, "f1,2,5", "kernel_shape=3 p=3 strides=2"},
    {LEGO_OP_BatchNormalization, "f2,3,4 f3 f3 f3 f3", ""},
    {LEGO_OP_InstanceNormalization, "h2,3,4 h3 h3", ""},
    {LEGO_OP_GroupNormalization, "f2,4,3 f4 f4", "num_groups=2"},
    {LEGO_OP_LayerNormalization, "f2,3,4 f3,4 f4", "axis=1"},
    {LEGO_OP_LRN, "f1,5,2,2", "size=3"},
    {LEGO_OP_MeanVarianceNormalization, "f2,3,2,2", "axes=0,2"},
    {LEGO_OP_Softmax, "f2,3,4", "axis=1 lego.coerce_2d=1"},
    {LEGO_OP_CumSum, "f2,3 l", "exclusive=1 reverse=1"},
    {LEGO_OP_TopK, "l2,5 l1", "axis=1 largest=0"},
    {LEGO_OP_Reshape, "f2,3,4 l3", "allowzero=1"},
    {LEGO_OP_Slice, "f4,5 l2 l2 l2 l2", ""},
    {LEGO_OP_Pad, "f3,4 l4 f", "mode=reflect"},
    {LEGO_OP_Pad, "f3,4 l2 f l1", "mode=wrap"},
    {LEGO_OP_Tile, "b2,3 l2", ""},
    {LEGO_OP_Expand, "f1,3 l3", ""},
    {LEGO_OP_DepthToSpace, "f1,8,2,3", "blocksize=2 mode=CRD"},
    {LEGO_OP_SpaceToDepth, "f1,2,4,6", "blocksize=2"},
    {LEGO_OP_ReverseSequence, "f4,2,3 l2", ""},
    {LEGO_OP_Trilu, "f2,4,3 l", "upper=0"},
    {LEGO_OP_OneHot, "l2,3 l1 f2", "axis=0"},
    {LEGO_OP_Range, "l l l", ""},
    {LEGO_OP_Compress, "f3,4 o3", "axis=0"},
    {LEGO_OP_Split, "f6,2 l2", "axis=0"},
    {LEGO_OP_Transpose, "b2,3,4", "perm=2,0,1"},
    {LEGO_OP_Gather, "f4,3 l2,2", "axis=0"},
    {LEGO_OP_GatherND, "f2,3,4 l2,1", "batch_dims=1"},
    {LEGO_OP_GatherElements, "f3,3 l2,3", "axis=0"},
    {LEGO_OP_ScatterElements, "f3,3 l2,3 f2,3", "axis=0 reduction=add"},
    {LEGO_OP_ScatterND, "i4,3 l2,1 i2,3", "reduction=max"},
    {LEGO_OP_Resize, "f1,2,3,4 f0 f4", "mode=linear coordinate_transformation_mode=align_corners"},
    {LEGO_OP_Resize, "f1,2,3,4 f8 f4",
     "mode=nearest coordinate_transformation_mode=tf_crop_and_resize"},
    {LEGO_OP_Resize, "b3,4 f0 f0 l2", "mode=cubic antialias=1 keep_aspect_ratio_policy=not_larger"},
    {LEGO_OP_GridSample, "f1,2,3,4 f1,2,2,2", "mode=cubic padding_mode=reflection"},
    {LEGO_OP_GridSample, "f1,2,3,4 f1,2,2,2", "mode=linear padding_mode=border align_corners=1"},
    {LEGO_OP_RoiAlign, "f2,2,4,4 f2,4 l2", "output_height=2 output_width=3 mode=max"},
    {LEGO_OP_NonMaxSuppression, "f1,5,4 f1,2,5 l1 f1 f1", "center_point_box=1"},
    {LEGO_OP_RNN, "f3,2,4 f1,3,4 f1,3,3 f1,6", "hidden_size=3 direction=reverse"},
    {LEGO_OP_GRU, "f3,2,4 f2,9,4 f2,9,3 f2,18 i2", "hidden_size=3 direction=bidirectional"},
    {LEGO_OP_LSTM, "f2,3,4 f1,12,4 f1,12,3 f1,24 i2 f2,1,3 f2,1,3 f1,9", "hidden_size=3 layout=1"},
    {LEGO_OP_QuantizeLinear, "f2,3,4 f3 b3", "axis=1"},
    {LEGO_OP_DequantizeLinear, "s2,4 f2,2 s2,2", "axis=1 block_size=2"},
    {LEGO_OP_DynamicQuantizeLinear, "f3,2", ""},
    {LEGO_OP_ReduceMean, "f2,3,4 l2", "keepdims=0"},
    {LEGO_OP_ReduceMax, "b2,3 l1", "noop_with_empty_axes=1"},
    {LEGO_OP_ArgMin, "i2,3", "select_last_index=1"},
    {LEGO_OP_Where, "o3,1 f3 f1,3", ""},
};

static enum lego_dtype type_of(char letter)
{
    static const struct {
        char letter;
        enum lego_dtype dtype;
    } types[] = {{'f', LEGO_DTYPE_FLOAT32}, {'h', LEGO_DTYPE_FLOAT16}, {'l', LEGO_DTYPE_INT64},
                 {'i', LEGO_DTYPE_INT32},   {'b', LEGO_DTYPE_UINT8},   {'s', LEGO_DTYPE_INT8},
                 {'o', LEGO_DTYPE_BOOL}};
    size_t i = 0;
    while (types[i].letter != letter)
        i++;
    return types[i].dtype;
}

/* Reads "f1,2,3" and spoils it now and then; returns what follows. */
static const char *spoilt_array(const char *text, struct lego_arena *arena,
                                struct lego_array *ret_array)
{
    struct lego_array array = {.dtype = draw(40) ? type_of(*text) : wild_type()};
    char *at = (char *)(uintptr_t)text;
    for (at++; *at && *at != ' '; at += *at == ',') {
        int64_t dim = strtol(at, &at, 10);
        array.shape.dim[array.shape.rank++] = draw(40) ? dim : (int64_t)draw(5);
    }
    if (draw(60) == 0)
        array.shape.rank = (int)draw(5);
    fill_array(arena, &array);
    *ret_array = array;
    return *at == ' ' ? at + 1 : at;
}

/* Reads "name=1,2" or "name=word" and spoils it now and then. */
static const char *spoilt_attr(const char *text, struct lego_arena *arena, struct lego_attr *attr)
{
    const char *equal = strchr(text, '='), *end = strchr(text, ' ');
    end = end ? end : text + strlen(text);
    wild_attr(arena, attr);
    attr->name = lego_arena_strndup(arena, text, (size_t)(equal - text));
    if (draw(8)) {
        char *at = (char *)(uintptr_t)equal + 1;
        if ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '.') {
            attr->type = LEGO_ATTR_STRING;
            attr->s = lego_arena_strndup(arena, at, (size_t)(end - at));
            attr->count = strlen(attr->s);
        } else {
            int64_t *ints = lego_arena_calloc(arena, 8, sizeof(*ints));
            for (attr->count = 0; at < end; at += *at == ',')
                ints[attr->count++] =
                    draw(20) ? strtol(at, &at, 10) : (strtol(at, &at, 10), wild_number());
            static const char *const lists[] = {"pads",           "strides",     "dilations",
                                                "kernel_shape",   "axes",        "perm",
                                                "output_padding", "output_shape"};
            attr->type = LEGO_ATTR_INT;
            for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
                if (strcmp(attr->name, lists[i]) == 0)
                    attr->type = LEGO_ATTR_INTS;
            }
            if (attr->type == LEGO_ATTR_INTS)
                attr->ints = ints;
            else
                attr->i = ints[0];
        }
    }
    return *end == ' ' ? end + 1 : end;
}

static void spoilt_recipe(struct lego_arena *arena, struct lego_node *node,
                          struct lego_array *arrays)
{
    const struct recipe *recipe = &recipes[draw(sizeof(recipes) / sizeof(*recipes))];
    node->op = recipe->op;
    node->input_count = node->attr_count = 0;
    for (const char *at = recipe->inputs; *at;)
        at = spoilt_array(at, arena, &arrays[node->input_count++]);
    for (const char *at = recipe->attrs; *at;) {
        at = spoilt_attr(at, arena, &node->attrs[node->attr_count]);
        node->attr_count += draw(10) != 0;
    }
}

static void wild_node(struct lego_arena *arena, struct lego_node *node, struct lego_array *arrays)
{
    node->op = (enum lego_op)(1 + draw(LEGO_OP_COUNT - 1));
    const struct infer_rule *rule = infer_rule(node->op);
    uint32_t most = rule->inputs_max < MAX_INPUTS ? rule->inputs_max : MAX_INPUTS;
    node->input_count =
        draw(8) ? rule->inputs_min + draw(most - rule->inputs_min + 1) : draw(MAX_INPUTS);
    node->attr_count = draw(MAX_ATTRS);
    for (uint32_t i = 0; i < node->attr_count; i++)
        wild_attr(arena, &node->attrs[i]);
    for (uint32_t i = 0; i < node->input_count; i++)
        arrays[i] = wild_array(arena, i ? &arrays[0] : NULL);
}

/* One node; true where it was evaluated. */
static bool try_node(const struct lego_graph *graph)
{
    struct lego_arena *arena = lego_arena_create(MAX_BYTES),
                      *scratch = lego_arena_create(MAX_BYTES);
    struct lego_attr attrs[MAX_ATTRS];
    struct lego_array arrays[MAX_INPUTS], outputs[MAX_OUTPUTS];
    const struct lego_array *inputs[MAX_INPUTS];
    int32_t in[MAX_INPUTS], out[MAX_OUTPUTS];
    struct lego_node node = {.name = "wild", .attrs = attrs, .inputs = in, .outputs = out};
    if (draw(2))
        spoilt_recipe(arena, &node, arrays);
    else
        wild_node(arena, &node, arrays);
    const struct infer_rule *rule = infer_rule(node.op);
    uint32_t most = rule->outputs_max < MAX_OUTPUTS ? rule->outputs_max : MAX_OUTPUTS;
    node.output_count = rule->outputs_min + draw(most - rule->outputs_min + 1);
    if (draw(10) == 0)
        node.activation = (enum lego_activation)draw(10);
    for (uint32_t i = 0; i < node.input_count; i++) {
        in[i] = draw(30) ? (int32_t)i : -1;
        inputs[i] = in[i] >= 0 ? &arrays[i] : NULL;
    }
    for (uint32_t i = 0; i < node.output_count; i++)
        out[i] = draw(8) ? (int32_t)i : -1;
    struct lego_diag diag = LEGO_DIAG_INIT;
    memset(outputs, 0xab, sizeof(outputs));
    int status = lego_eval_node_alloc(graph, &node, inputs, outputs, arena, scratch, &diag);
    if (status == LEGO_OK) {
        for (uint32_t i = 0; i < node.output_count; i++)
            ck_assert(out[i] < 0 || lego_shape_is_static(&outputs[i].shape));
    } else {
        ck_assert_int_lt(status, 0);
        ck_assert_msg(strstr(diag.text, "wild") != NULL, "%s: '%s' does not name the node",
                      lego_op_name(node.op), diag.text);
        ck_assert_int_eq(diag.status, status);
    }
    lego_arena_destroy(arena);
    lego_arena_destroy(scratch);
    return status == LEGO_OK;
}

START_TEST(test_wild_nodes)
{
    struct lego_graph *graph;
    int good = 0;
    ck_assert_int_eq(lego_graph_create(0, &graph), LEGO_OK);
    state = (uint64_t)_i * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < NODES_A_SEED; i++)
        good += try_node(graph);
    lego_graph_destroy(graph);
    /* the generator must not only make what is refused at the door */
    ck_assert_int_gt(good, NODES_A_SEED / 10);
    ck_assert_int_lt(good, NODES_A_SEED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_hostile");
    TCase *tcase = tcase_create("nodes");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, test_wild_nodes, 0, 8);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
