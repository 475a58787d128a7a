/* Small models for the agent's tests, written as `.lego` files. All abort on failure. */
#ifndef LEGO_TESTS_AGENT_MODELS_H
#define LEGO_TESTS_AGENT_MODELS_H

#include "codec/format/package.h"

#include <stdint.h>

#define TINY_INPUTS  16
#define TINY_OUTPUTS 5

/*
 * "x" FP32 [N,16] -> Gemm -> "y" FP32 [N,5]. Weights depend on `seed`. Labels "zero" to
 * "four", metadata "codec" = "none".
 */
void model_tiny(const char *path, uint32_t seed);

/* The same with that description of its outputs. */
void model_described(const char *path, const char *postprocess);

/* The same network with its weights coded as bricks, 4x4, 16 entries. */
void model_coded(const char *path, uint32_t seed);

/* "x" FP32 [N,16] -> Gemm to `width` -> `layers` Gemms of width x width -> "y" [N,width]: takes
 * time and gives large answers. */
void model_large(const char *path, uint32_t width, uint32_t layers);

/* "x" FP32 [N,16] -> Softmax over N -> "y": each row depends on all. */
void model_mixed(const char *path);

/* "a" FP32 [2] + "b" FP32 [2] -> "sum" [2]; "n" INT64 [1] -> Cast -> "m" FP32 [1]. */
void model_pair(const char *path);
struct lego_package *model_pair_package(void);

/* "x" FP32 [N,3,ECHO_HEIGHT,ECHO_WIDTH] of RGB pictures, x / 255, letterboxed -> Relu -> "y", the
 * same numbers. */
#define ECHO_WIDTH  24
#define ECHO_HEIGHT 16
#define ECHO_ELEMS  ((size_t)3 * ECHO_WIDTH * ECHO_HEIGHT)
struct lego_preprocess model_echo_preprocess(void);
void model_echo(const char *path);

/* The same as a segmentation of red, green and blue (its labels): the largest of the three wins. */
void model_colors(const char *path);

#endif
