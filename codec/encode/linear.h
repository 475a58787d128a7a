/*
 * Dense linear algebra for calibration: the same bits on every machine and with any number of
 * threads, because each result is one sum in a fixed order.
 */
#ifndef LEGO_ENCODE_LINEAR_H
#define LEGO_ENCODE_LINEAR_H

#include "codec/encode/workers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The gemm_exact_f32 kernel, cut so that its factors are read from a cache. One thread.
 */
void linear_gemm(const struct kern_table *kernels, const struct kern_gemm_exact_f32 *gemm);

/*
 * The second moment H[i][j] = mean over samples of X[s][i] * X[s][j] of `samples` rows of n; fp32
 * sums over 256 samples, double beyond. `ret_h` [n][n], symmetric. LEGO_E_NOMEM.
 */
int linear_moment(const float *x, size_t samples, size_t n, struct encode_workers *workers,
                  double *ret_h);

/* The cross moment G[i][j] = mean over samples of R[s][i] * X[s][j], i < m, j < n. LEGO_E_NOMEM. */
int linear_cross(const float *r, const float *x, size_t samples, size_t m, size_t n,
                 struct encode_workers *workers, double *ret_g);

/*
 * The lower Cholesky factor of a symmetric positive definite matrix, in place (the upper triangle
 * is left alone). False where it is not positive definite.
 */
bool linear_cholesky(double *a, size_t n, struct encode_workers *workers);

/* Solves L L^T x = b in place for `count` right-hand sides, each a row of n. */
void linear_solve(const double *l, size_t n, double *b, size_t count,
                  struct encode_workers *workers);

/*
 * The upper triangular U with H^-1 = U^T U, H taken in `order` (row i is H's row order[i]) with
 * `damping` added to the diagonal. LEGO_E_NOMEM, LEGO_E_INVALID where H is not positive definite.
 */
int linear_inverse_factor(const double *h, const uint32_t *order, size_t n, double damping,
                          struct encode_workers *workers, float *ret_u);

#endif
