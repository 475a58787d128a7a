#include "agent/cli/compare.h"

#include "agent/cli/element.h"

#include <math.h>

static bool is_float(enum lego_dtype dtype)
{
    return dtype == LEGO_DTYPE_FLOAT32 || dtype == LEGO_DTYPE_FLOAT64 ||
           dtype == LEGO_DTYPE_FLOAT16 || dtype == LEGO_DTYPE_BFLOAT16;
}

/* |a-b| of element `index`, never 0 for 64-bit integers that differ beyond a double's precision. */
static double difference(enum lego_dtype dtype, const void *got, const void *expected, size_t index)
{
    double a = element_value(dtype, got, index), b = element_value(dtype, expected, index);
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b) ? 0.0 : (double)INFINITY;
    if (a == b) {
        bool wide = dtype == LEGO_DTYPE_INT64 || dtype == LEGO_DTYPE_UINT64;
        return wide && ((const int64_t *)got)[index] != ((const int64_t *)expected)[index];
    }
    return fabs(a - b);
}

static double largest(const struct lego_tensor *tensor, size_t elems)
{
    double max = 0.0;
    for (size_t i = 0; i < elems; i++) {
        double value = fabs(element_value(tensor->dtype, tensor->data, i));
        if (isfinite(value) && value > max)
            max = value;
    }
    return max;
}

/* What element `index` may differ by. */
static double allowed(const struct compare_tolerance *tolerance, const struct lego_tensor *expected,
                      double max, size_t index)
{
    if (tolerance->rule == COMPARE_RELATIVE) {
        double value = fabs(element_value(expected->dtype, expected->data, index));
        return tolerance->absolute + (isfinite(value) ? tolerance->relative * value : 0.0);
    }
    if (tolerance->rule == COMPARE_DEFAULT)
        return is_float(expected->dtype) ? COMPARE_TOLERANCE * fmax(1.0, max) : 0.0;
    return tolerance->tolerance * fmax(1.0, max);
}

static int check_same_kind(const struct lego_io *got, const struct lego_tensor *expected,
                           struct lego_diag *diag)
{
    char got_shape[256], expected_shape[256];
    if (got->dtype != expected->dtype)
        return lego_fail(diag, LEGO_E_TYPE, "it is %s, %s is expected", lego_dtype_name(got->dtype),
                         lego_dtype_name(expected->dtype));
    if (!lego_shape_equal(&got->shape, &expected->shape))
        return lego_fail(
            diag, LEGO_E_SHAPE, "its shape is %s, %s is expected",
            lego_shape_format(&got->shape, NULL, got_shape, sizeof(got_shape)),
            lego_shape_format(&expected->shape, NULL, expected_shape, sizeof(expected_shape)));
    return LEGO_OK;
}

int compare_tensors(const struct lego_io *got, const struct lego_tensor *expected,
                    const struct compare_tolerance *tolerance, struct compare_result *ret_result,
                    struct lego_diag *diag)
{
    size_t elems = 0;
    int status = check_same_kind(got, expected, diag);
    if (status == LEGO_OK)
        status = lego_shape_elems(&expected->shape, &elems);
    if (status != LEGO_OK)
        return status;

    struct compare_result result = {.ok = true};
    double max = largest(expected, elems);
    for (size_t i = 0; i < elems; i++) {
        double error = difference(expected->dtype, got->data, expected->data, i);
        result.max_abs_error = fmax(result.max_abs_error, error);
        if (error <= allowed(tolerance, expected, max, i))
            continue;
        if (result.wrong++ == 0) {
            result.ok = false;
            result.first_wrong = i;
            result.first_got = element_value(got->dtype, got->data, i);
            result.first_expected = element_value(expected->dtype, expected->data, i);
        }
    }
    result.max_rel_error = result.max_abs_error / fmax(max, 1e-30);
    *ret_result = result;
    return LEGO_OK;
}
