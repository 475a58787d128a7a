/*
 * Nodes whose attributes and constants ask for the impossible: each is refused when the model is
 * read, by a sentence that names the node, and nothing of that size is made.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

#define HUGE_I64 ((int64_t)1 << 62)
#define LARGE    ((int64_t)1 << 40)

enum { MAX_INTS = 11 };

struct bad_node {
    const char *op, *inputs; /* x [1,4,8,8], w [4,4,3,3], v [8], p [2], i [1], r [2,1,8], g [1,8,8],
                               s: `ints` */
    const char *attr;        /* NULL: none */
    size_t count;            /* of values: 0 one number, else a list */
    int64_t values[4];
    size_t int_count;
    int64_t ints[MAX_INTS];
    const char *word;
};

/* clang-format off */
static const struct bad_node nodes[] = {
    {"Conv", "x,w", "strides", 2, {0, 1}, 0, {0}, "strides has the value 0"},
    {"Conv", "x,w", "strides", 2, {-1, 1}, 0, {0}, "strides has the value -1"},
    {"Conv", "x,w", "strides", 1, {1}, 0, {0}, "strides"},
    {"Conv", "x,w", "dilations", 2, {0, 0}, 0, {0}, "dilations has the value 0"},
    {"Conv", "x,w", "dilations", 2, {HUGE_I64, HUGE_I64}, 0, {0}, "dilations"},
    {"Conv", "x,w", "pads", 4, {HUGE_I64, 0, 0, HUGE_I64}, 0, {0}, "pads"},
    {"Conv", "x,w", "pads", 4, {-9, -9, -9, -9}, 0, {0}, "pads has the value -9"},
    {"Conv", "x,w", "pads", 1, {1}, 0, {0}, "pads"},
    {"Conv", "x,w", "group", 0, {0}, 0, {0}, "group is 0"},
    {"Conv", "x,w", "group", 0, {-4}, 0, {0}, "group is -4"},
    {"Conv", "x,w", "group", 0, {3}, 0, {0}, "group"},
    {"Conv", "x,w", "group", 0, {HUGE_I64}, 0, {0}, "group"},
    {"Conv", "x,w", "kernel_shape", 2, {9, 9}, 0, {0}, "kernel_shape contradicts"},
    {"ConvTranspose", "x,w", "strides", 2, {LARGE, LARGE}, 0, {0}, "strides"},
    {"ConvTranspose", "x,w", "output_shape", 2, {LARGE, LARGE}, 0, {0}, "output_shape"},
    {"ConvTranspose", "x,w", "group", 0, {HUGE_I64}, 0, {0}, "group"},
    {"MaxPool", "x", "kernel_shape", 2, {0, 0}, 0, {0}, "kernel_shape has the value 0"},
    {"MaxPool", "x", "kernel_shape", 2, {9, 9}, 0, {0}, "does not fit"},
    {"MaxPool", "x", "kernel_shape", 2, {LARGE, LARGE}, 0, {0}, "kernel_shape"},
    {"AveragePool", "x", "kernel_shape", 1, {2}, 0, {0}, "kernel_shape"},
    {"LRN", "x", "size", 0, {-2}, 0, {0}, "size"},
    {"DepthToSpace", "x", "blocksize", 0, {0}, 0, {0}, "blocksize"},
    {"DepthToSpace", "x", "blocksize", 0, {LARGE}, 0, {0}, "blocksize"},
    {"Concat", "x,x", "axis", 0, {LARGE}, 0, {0}, "axis"},
    {"Softmax", "x", "axis", 0, {-5}, 0, {0}, "axis"},
    {"Flatten", "x", "axis", 0, {9}, 0, {0}, "axis"},
    {"Transpose", "x", "perm", 4, {0, 0, 1, LARGE}, 0, {0}, "given twice"},
    {"Transpose", "x", "perm", 2, {0, 1}, 0, {0}, "perm"},
    {"Split", "x,s", "axis", 0, {1}, 1, {HUGE_I64}, "sum up"},
    {"Reshape", "x,s", NULL, 0, {0}, 2, {HUGE_I64, HUGE_I64}, "cannot become"},
    {"Reshape", "x,s", NULL, 0, {0}, 2, {-1, -1}, "dimension 1 is -1"},
    {"Reshape", "x,s", NULL, 0, {0}, 1, {-2}, "dimension 0 is -2"},
    {"Reshape", "x,s", NULL, 0, {0}, 11, {0}, "11 dimensions"},
    {"Unsqueeze", "x,s", NULL, 0, {0}, 2, {0, 0}, "given twice"},
    {"Unsqueeze", "x,s", NULL, 0, {0}, 11, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "more than 8"},
    {"Squeeze", "x,s", NULL, 0, {0}, 1, {1}, "size 4, not 1"},
    {"Expand", "x,s", NULL, 0, {0}, 2, {-8, 8}, "size -8"},
    {"Tile", "x,s", NULL, 0, {0}, 4, {-1, 1, 1, 1}, "negative repeats"},
    {"Tile", "x,s", NULL, 0, {0}, 4, {HUGE_I64, HUGE_I64, 1, 1}, "too large"},
    {"Pad", "x,s", NULL, 0, {0}, 8, {HUGE_I64, 0, 0, 0, HUGE_I64, 0, 0, 0}, "too large"},
    {"Pad", "x,s", NULL, 0, {0}, 8, {0, 0, -HUGE_I64, 0, 0, 0, -9, 0}, "with pads"},
    {"Pad", "x,s", NULL, 0, {0}, 3, {1, 1, 1}, "3 pads for 4 axes"},
    {"Gather", "v,s", NULL, 0, {0}, 1, {LARGE}, "outside an axis of 8"},
    {"GatherElements", "v,s", NULL, 0, {0}, 1, {-9}, "outside an axis of 8"},
    {"GatherND", "w,s", NULL, 0, {0}, 4, {9, 9, 9, 9}, "outside an axis of 4"},
    {"ScatterND", "v,s,i", NULL, 0, {0}, 2, {-99, 0}, "indices"},
    {"ConstantOfShape", "s", NULL, 0, {0}, 1, {-3}, "size -3"},
    {"ReduceSum", "x,s", NULL, 0, {0}, 1, {LARGE}, "outside rank 4"},
    {"Slice", "x,s,s,s,s", NULL, 0, {0}, 1, {0}, "step 0"},
    {"LSTM", "r,g,g", "hidden_size", 0, {LARGE}, 0, {0}, "hidden_size"},
    {"GRU", "r,g,g", "hidden_size", 0, {-4}, 0, {0}, "hidden_size"},
    {"Cast", "x", "to", 0, {LARGE}, 0, {0}, "element type"},
    {"OneHot", "s,s,p", NULL, 0, {0}, 1, {-1}, "depth"},
};
/* clang-format on */
enum { NODES = sizeof nodes / sizeof *nodes };

START_TEST(impossible_node)
{
    const struct bad_node *bad = &nodes[_i];
    static const float numbers[8] = {0};
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct model model;
    char size[16];

    model_open(&model, 13);
    model_input(&model, "x", LEGO_DTYPE_FLOAT32, "1,4,8,8");
    model_floats(&model, "w", "4,4,3,3", NULL);
    model_floats(&model, "v", "8", numbers);
    model_floats(&model, "p", "2", numbers);
    model_floats(&model, "i", "1", numbers);
    model_floats(&model, "r", "2,1,8", NULL);
    model_floats(&model, "g", "1,8,8", NULL);
    snprintf(size, sizeof size, "%zu", bad->int_count);
    model_ints(&model, "s", size, bad->ints);
    node_begin(&model, bad->op, bad->inputs, "y");
    if (bad->attr && bad->count)
        node_ints(&model, bad->attr, bad->count, bad->values);
    else if (bad->attr)
        node_int(&model, bad->attr, bad->values[0]);
    node_end(&model);
    model_output(&model, "y");
    model_finish(&model);
    int status = import_onnx_memory(model.bytes, model.byte_count, "test", NULL, &package, &diag);
    ck_assert_msg(status != 0 && status != LEGO_E_NOMEM, "%s is taken: %s", bad->op, diag.text);
    ck_assert_msg(strstr(diag.text, bad->op) && strstr(diag.text, bad->word), "%s", diag.text);
    lego_package_destroy(package);
    model_free(&model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("import: hostile nodes");
    TCase *tcase = tcase_create("nodes");
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, impossible_node, 0, NODES);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
