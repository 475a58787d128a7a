/*
 * Test vectors in the ONNX layout: NAME/model.onnx (or NAME.onnx beside NAME/) and
 * NAME/test_data_set_K/{input,output}_J.pb.
 */
#ifndef TESTS_GRAPH_VECTORS_H
#define TESTS_GRAPH_VECTORS_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>

/* The outcome of one model with all its data sets. */
struct vector_result {
    int sets;     /* data sets that agreed */
    double worst; /* largest |a-b| / (absolute + relative * |b|) seen */
    struct lego_diag diag;
};

/*
 * Imports the model (`keep_graph`: without fusion), specialises it to the input's shapes, evaluates
 * every data set of `folder` and compares: |a-b| <= absolute + relative * |b|. True where all
 * agree.
 */
bool vector_check(const char *model, const char *folder, bool keep_graph, double absolute,
                  double relative, struct vector_result *ret_result);

#endif
