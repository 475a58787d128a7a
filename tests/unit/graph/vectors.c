#include "tests/unit/graph/vectors.h"

#include "codec/graph/eval_node.h"
#include "codec/graph/infer.h"
#include "codec/import/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TENSORS 64

/* input_0.pb, input_1.pb, ... of a data set. */
static int read_tensors(const char *folder, int set, const char *kind, struct lego_tensor *tensors)
{
    char path[4096];
    int count = 0;
    for (; count < MAX_TENSORS; count++) {
        snprintf(path, sizeof(path), "%s/test_data_set_%d/%s_%d.pb", folder, set, kind, count);
        if (access(path, R_OK) != 0)
            break;
        struct lego_diag diag = LEGO_DIAG_INIT;
        if (import_tensor_pb(path, &tensors[count], &diag) != LEGO_OK) {
            printf("    %s\n", diag.text);
            return -1;
        }
    }
    return count;
}

static void clear_tensors(struct lego_tensor *tensors, int count)
{
    for (int i = 0; i < count; i++)
        import_tensor_clear(&tensors[i]);
}

static struct lego_array array_of(const struct lego_tensor *tensor)
{
    return (struct lego_array){tensor->dtype, tensor->shape, (void *)(uintptr_t)tensor->data};
}

/* Binds tensors to graph inputs by name, else by order. */
static bool bind(const struct lego_graph *graph, const struct lego_tensor *tensors, int count,
                 struct lego_array *inputs, struct lego_shape *shapes)
{
    for (uint32_t i = 0; i < graph->input_count; i++) {
        const char *name = graph->values[graph->inputs[i]].name;
        int found = -1;
        for (int t = 0; t < count && found < 0; t++) {
            if (strcmp(tensors[t].name, name) == 0)
                found = t;
        }
        if (found < 0 && (int)i < count)
            found = (int)i;
        if (found < 0)
            return false;
        inputs[i] = array_of(&tensors[found]);
        shapes[i] = inputs[i].shape;
    }
    return true;
}

static bool compare(const struct lego_array *have, const struct lego_array *want, double absolute,
                    double relative, struct vector_result *result)
{
    char a[128], b[128];
    if (have->dtype != want->dtype || !lego_shape_equal(&have->shape, &want->shape)) {
        lego_fail(&result->diag, LEGO_E_MISMATCH, "%s%s instead of %s%s",
                  lego_dtype_name(have->dtype), lego_shape_format(&have->shape, NULL, a, sizeof(a)),
                  lego_dtype_name(want->dtype),
                  lego_shape_format(&want->shape, NULL, b, sizeof(b)));
        return false;
    }
    for (size_t i = 0; i < eval_elems(want); i++) {
        double x = eval_get_real(have, i), y = eval_get_real(want, i);
        if (x == y || (isnan(x) && isnan(y)))
            continue;
        double error = fabs(x - y) / (absolute + relative * fabs(y));
        result->worst = error > result->worst ? error : result->worst;
        if (!(error <= 1)) {
            lego_fail(&result->diag, LEGO_E_MISMATCH, "element %zu is %g instead of %g", i, x, y);
            return false;
        }
    }
    return true;
}

static bool check_set(const struct lego_graph *graph, const char *folder, int set, double absolute,
                      double relative, struct vector_result *result)
{
    struct lego_tensor in[MAX_TENSORS], want[MAX_TENSORS];
    struct lego_array inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    struct lego_shape shapes[MAX_TENSORS];
    struct lego_graph *special = NULL;
    struct lego_arena *arena = lego_arena_create(0);
    int ins = read_tensors(folder, set, "input", in), outs = -1;
    bool same = false;
    if (ins >= 0)
        outs = read_tensors(folder, set, "output", want);
    if (outs < 0 || graph->output_count > MAX_TENSORS || graph->input_count > MAX_TENSORS)
        goto out;
    if (!bind(graph, in, ins, inputs, shapes)) {
        lego_fail(&result->diag, LEGO_E_NOT_FOUND, "an input has no tensor");
        goto out;
    }
    if (lego_graph_specialise(graph, shapes, &special, &result->diag) != LEGO_OK ||
        lego_graph_check(special, &result->diag) != LEGO_OK ||
        lego_graph_evaluate(special, inputs, outputs, arena, &result->diag) != LEGO_OK)
        goto out;
    same = (int)special->output_count >= outs;
    for (int i = 0; i < outs && same; i++) {
        struct lego_array array = array_of(&want[i]);
        same = compare(&outputs[i], &array, absolute, relative, result);
    }
out:
    lego_graph_destroy(special);
    lego_arena_destroy(arena);
    clear_tensors(in, ins > 0 ? ins : 0);
    clear_tensors(want, outs > 0 ? outs : 0);
    return same;
}

bool vector_check(const char *model, const char *folder, bool keep_graph, double absolute,
                  double relative, struct vector_result *ret_result)
{
    struct import_options options = {.keep_graph = keep_graph};
    struct lego_package *package;
    *ret_result = (struct vector_result){.sets = 0};
    if (import_onnx(model, &options, &package, &ret_result->diag) != LEGO_OK)
        return false;
    bool good = true;
    for (int set = 0; good; set++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/test_data_set_%d", folder, set);
        if (access(path, R_OK) != 0)
            break;
        good = check_set(package->graph, folder, set, absolute, relative, ret_result);
        ret_result->sets += good;
    }
    lego_package_destroy(package);
    return good && ret_result->sets > 0;
}
