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

/* P[r][j] = sum over k of Q[r][k] * H[k][j], r < rows, j < n. LEGO_E_NOMEM. */
int linear_product(const float *q, const double *h, size_t rows, size_t n,
                   struct encode_workers *workers, double *ret_product);

/*
 * The lower Cholesky factor of a symmetric positive definite matrix, in place (the upper triangle
 * is left alone). LEGO_E_INVALID where it is not positive definite, LEGO_E_NOMEM.
 */
int linear_cholesky(double *a, size_t n, struct encode_workers *workers);

/* Solves L L^T x = b in place for `count` right-hand sides, each a row of n. LEGO_E_NOMEM. */
int linear_solve(const double *l, size_t n, double *b, size_t count,
                 struct encode_workers *workers);

/*
 * The weights that bring inputs of moment H as near as a ridge allows to targets that have the
 * cross moment TX with them: W += (TX - W H) (H + ridge)^-1, all [rows][n]. W stays where H + ridge
 * is not positive definite. LEGO_E_NOMEM.
 */
int linear_aim(const double *h, const double *tx, size_t rows, size_t n, double ridge,
               struct encode_workers *workers, float *w);

/* What scales are fitted by, for each row: ret_along[r] = TX[r] . Q[r], ret_square[r] = Q[r] H
 * Q[r]. LEGO_E_NOMEM. */
int linear_scales(const double *h, const double *tx, const float *q, size_t rows, size_t n,
                  struct encode_workers *workers, double *ret_along, double *ret_square);

/*
 * The upper triangular U with H^-1 = U^T U, H taken in `order` (row i is H's row order[i]) with
 * `damping` added to the diagonal. LEGO_E_NOMEM, LEGO_E_INVALID where H is not positive definite.
 */
int linear_inverse_factor(const double *h, const uint32_t *order, size_t n, double damping,
                          struct encode_workers *workers, float *ret_u);

/* Zeros above the diagonal. */
void linear_keep_diagonal(float *u, size_t n);

#endif
