/*
 * Arrays of any element type as doubles, as int64, and element by element by strides.
 */
#include "codec/graph/eval_node.h"

#include <math.h>
#include <string.h>

float eval_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u;
    uint32_t mantissa = half & 1023u, bits;
    if (exponent == 0) {
        float small = ldexpf((float)mantissa, -24);
        return sign ? -small : small;
    }
    bits = exponent == 31 ? sign | 0x7f800000u | mantissa << 13
                          : sign | (exponent + 112u) << 23 | mantissa << 13;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Round to nearest, ties to even. */
uint16_t eval_float_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00u);
    if (bits < 0x38800000u) { /* subnormal: in units of 2^-24 */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof(magnitude));
        return (uint16_t)(sign | (uint16_t)lrint((double)magnitude * 16777216.0));
    }
    uint32_t rounded = bits + 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000u) >> 13));
}

static float bfloat_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint16_t float_to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

size_t eval_elems(const struct lego_array *array)
{
    size_t elems = 0;
    return lego_shape_elems(&array->shape, &elems) == LEGO_OK ? elems : 0;
}

size_t eval_extent(const struct lego_shape *shape, int from, int to)
{
    size_t extent = 1;
    for (int d = from; d < to; d++)
        extent *= (size_t)shape->dim[d];
    return extent;
}

/* Loads with a conversion: `data` points at the first element, `at` steps through. */
#define LOAD_LOOP(type, convert)                               \
    do {                                                       \
        const type *from = (const type *)array->data + offset; \
        for (size_t i = 0; i < count; i++)                     \
            out[i] = convert(from[(int64_t)i * step]);         \
    } while (0)

void eval_load_real(const struct lego_array *array, int64_t offset, int64_t step, size_t count,
                    double *out)
{
    if (count == 0)
        return;
    switch (array->dtype) {
    case LEGO_DTYPE_FLOAT32:
        LOAD_LOOP(float, (double));
        break;
    case LEGO_DTYPE_FLOAT64:
        LOAD_LOOP(double, (double));
        break;
    case LEGO_DTYPE_FLOAT16:
        LOAD_LOOP(uint16_t, (double)eval_half_to_float);
        break;
    case LEGO_DTYPE_BFLOAT16:
        LOAD_LOOP(uint16_t, (double)bfloat_to_float);
        break;
    case LEGO_DTYPE_UINT8:
    case LEGO_DTYPE_BOOL:
        LOAD_LOOP(uint8_t, (double));
        break;
    case LEGO_DTYPE_INT8:
        LOAD_LOOP(int8_t, (double));
        break;
    case LEGO_DTYPE_UINT16:
        LOAD_LOOP(uint16_t, (double));
        break;
    case LEGO_DTYPE_INT16:
        LOAD_LOOP(int16_t, (double));
        break;
    case LEGO_DTYPE_INT32:
        LOAD_LOOP(int32_t, (double));
        break;
    case LEGO_DTYPE_UINT32:
        LOAD_LOOP(uint32_t, (double));
        break;
    case LEGO_DTYPE_INT64:
        LOAD_LOOP(int64_t, (double));
        break;
    case LEGO_DTYPE_UINT64:
        LOAD_LOOP(uint64_t, (double));
        break;
    case LEGO_DTYPE_UNKNOWN:
        memset(out, 0, count * sizeof(*out));
        break;
    }
}

int64_t eval_real_to_int(double value)
{
    if (isnan(value))
        return 0;
    if (value >= 9223372036854775808.0)
        return INT64_MAX;
    if (value <= -9223372036854775808.0)
        return INT64_MIN;
    return (int64_t)value;
}

static int64_t half_to_int(uint16_t half)
{
    return eval_real_to_int((double)eval_half_to_float(half));
}

static int64_t bfloat_to_int(uint16_t half)
{
    return eval_real_to_int((double)bfloat_to_float(half));
}

void eval_load_int(const struct lego_array *array, int64_t offset, int64_t step, size_t count,
                   int64_t *out)
{
    if (count == 0)
        return;
    switch (array->dtype) {
    case LEGO_DTYPE_UINT8:
    case LEGO_DTYPE_BOOL:
        LOAD_LOOP(uint8_t, (int64_t));
        break;
    case LEGO_DTYPE_INT8:
        LOAD_LOOP(int8_t, (int64_t));
        break;
    case LEGO_DTYPE_UINT16:
        LOAD_LOOP(uint16_t, (int64_t));
        break;
    case LEGO_DTYPE_INT16:
        LOAD_LOOP(int16_t, (int64_t));
        break;
    case LEGO_DTYPE_INT32:
        LOAD_LOOP(int32_t, (int64_t));
        break;
    case LEGO_DTYPE_UINT32:
        LOAD_LOOP(uint32_t, (int64_t));
        break;
    case LEGO_DTYPE_INT64:
    case LEGO_DTYPE_UINT64:
        LOAD_LOOP(int64_t, (int64_t));
        break;
    case LEGO_DTYPE_FLOAT32:
        LOAD_LOOP(float, eval_real_to_int);
        break;
    case LEGO_DTYPE_FLOAT64:
        LOAD_LOOP(double, eval_real_to_int);
        break;
    case LEGO_DTYPE_FLOAT16:
        LOAD_LOOP(uint16_t, half_to_int);
        break;
    case LEGO_DTYPE_BFLOAT16:
        LOAD_LOOP(uint16_t, bfloat_to_int);
        break;
    case LEGO_DTYPE_UNKNOWN:
        memset(out, 0, count * sizeof(*out));
        break;
    }
}

int64_t eval_get_int(const struct lego_array *array, size_t index)
{
    int64_t value;
    eval_load_int(array, (int64_t)index, 0, 1, &value);
    return value;
}

double eval_get_real(const struct lego_array *array, size_t index)
{
    double value;
    eval_load_real(array, (int64_t)index, 0, 1, &value);
    return value;
}

#define STORE_LOOP(type, convert)                \
    do {                                         \
        type *to = (type *)array->data + offset; \
        for (size_t i = 0; i < count; i++)       \
            to[i] = (type)convert(values[i]);    \
    } while (0)

static double clamp_real(double value, double low, double high)
{
    return isnan(value) ? 0 : value < low ? low : value > high ? high : value;
}

#define STORE_CLAMPED(type, low, high)                          \
    do {                                                        \
        type *to = (type *)array->data + offset;                \
        for (size_t i = 0; i < count; i++)                      \
            to[i] = (type)clamp_real(values[i], (low), (high)); \
    } while (0)

static uint64_t real_to_uint(double value)
{
    if (isnan(value) || value <= 0)
        return 0;
    return value >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)value;
}

static uint16_t real_to_half(double value)
{
    return eval_float_to_half((float)value);
}

static uint16_t real_to_bfloat(double value)
{
    return float_to_bfloat((float)value);
}

void eval_store_real(struct lego_array *array, size_t offset, size_t count, const double *values)
{
    if (count == 0)
        return;
    switch (array->dtype) {
    case LEGO_DTYPE_FLOAT32:
        STORE_LOOP(float, );
        break;
    case LEGO_DTYPE_FLOAT64:
        STORE_LOOP(double, );
        break;
    case LEGO_DTYPE_FLOAT16:
        STORE_LOOP(uint16_t, real_to_half);
        break;
    case LEGO_DTYPE_BFLOAT16:
        STORE_LOOP(uint16_t, real_to_bfloat);
        break;
    case LEGO_DTYPE_BOOL:
        STORE_LOOP(uint8_t, 0 !=);
        break;
    case LEGO_DTYPE_UINT8:
        STORE_CLAMPED(uint8_t, 0, UINT8_MAX);
        break;
    case LEGO_DTYPE_INT8:
        STORE_CLAMPED(int8_t, INT8_MIN, INT8_MAX);
        break;
    case LEGO_DTYPE_UINT16:
        STORE_CLAMPED(uint16_t, 0, UINT16_MAX);
        break;
    case LEGO_DTYPE_INT16:
        STORE_CLAMPED(int16_t, INT16_MIN, INT16_MAX);
        break;
    case LEGO_DTYPE_INT32:
        STORE_CLAMPED(int32_t, INT32_MIN, INT32_MAX);
        break;
    case LEGO_DTYPE_UINT32:
        STORE_CLAMPED(uint32_t, 0, UINT32_MAX);
        break;
    case LEGO_DTYPE_INT64:
        STORE_LOOP(int64_t, eval_real_to_int);
        break;
    case LEGO_DTYPE_UINT64:
        STORE_LOOP(uint64_t, real_to_uint);
        break;
    case LEGO_DTYPE_UNKNOWN:
        break;
    }
}

void eval_store_int(struct lego_array *array, size_t offset, size_t count, const int64_t *values)
{
    if (count == 0)
        return;
    switch (array->dtype) {
    case LEGO_DTYPE_BOOL:
        STORE_LOOP(uint8_t, 0 !=);
        break;
    case LEGO_DTYPE_UINT8:
    case LEGO_DTYPE_INT8:
        STORE_LOOP(uint8_t, );
        break;
    case LEGO_DTYPE_UINT16:
    case LEGO_DTYPE_INT16:
        STORE_LOOP(uint16_t, );
        break;
    case LEGO_DTYPE_INT32:
    case LEGO_DTYPE_UINT32:
        STORE_LOOP(uint32_t, );
        break;
    case LEGO_DTYPE_INT64:
    case LEGO_DTYPE_UINT64:
        STORE_LOOP(uint64_t, );
        break;
    case LEGO_DTYPE_FLOAT32:
        STORE_LOOP(float, );
        break;
    case LEGO_DTYPE_FLOAT64:
        STORE_LOOP(double, );
        break;
    case LEGO_DTYPE_FLOAT16:
        STORE_LOOP(uint16_t, real_to_half);
        break;
    case LEGO_DTYPE_BFLOAT16:
        STORE_LOOP(uint16_t, real_to_bfloat);
        break;
    case LEGO_DTYPE_UNKNOWN:
        break;
    }
}

void eval_strides(const struct lego_shape *shape, int64_t *ret_strides)
{
    int64_t stride = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        ret_strides[d] = stride;
        stride *= shape->dim[d];
    }
}

void eval_broadcast_strides(const struct lego_shape *in, const struct lego_shape *out,
                            int64_t *ret_strides)
{
    int64_t own[LEGO_MAX_RANK];
    eval_strides(in, own);
    for (int d = 0; d < out->rank; d++) {
        int at = d - (out->rank - in->rank);
        ret_strides[d] = at < 0 || in->dim[at] == 1 ? 0 : own[at];
    }
}

bool eval_advance(struct eval_odometer *o, int count, int64_t *offsets,
                  const int64_t (*strides)[LEGO_MAX_RANK])
{
    for (int d = o->rank - 1; d >= 0; d--) {
        if (++o->at[d] < o->dims[d]) {
            for (int k = 0; k < count; k++)
                offsets[k] += strides[k][d];
            return true;
        }
        o->at[d] = 0;
        for (int k = 0; k < count; k++)
            offsets[k] -= strides[k][d] * (o->dims[d] - 1);
    }
    return false;
}

/* One line of a strided copy. */
static void copy_line(size_t bytes, size_t count, unsigned char *dst, int64_t dst_step,
                      const unsigned char *src, int64_t src_step)
{
#define COPY_LINE(type)                                              \
    do {                                                             \
        type *to = (type *)(void *)dst;                              \
        const type *from = (const type *)(const void *)src;          \
        for (size_t i = 0; i < count; i++)                           \
            to[(int64_t)i * dst_step] = from[(int64_t)i * src_step]; \
    } while (0)
    if (dst_step == 1 && src_step == 1)
        memcpy(dst, src, count * bytes);
    else if (bytes == 1)
        COPY_LINE(uint8_t);
    else if (bytes == 2)
        COPY_LINE(uint16_t);
    else if (bytes == 4)
        COPY_LINE(uint32_t);
    else
        COPY_LINE(uint64_t);
#undef COPY_LINE
}

void eval_copy_strided(size_t bytes, int rank, const int64_t *dims, void *dst,
                       const int64_t *dst_strides, const void *src, const int64_t *src_strides)
{
    int64_t size[2 * LEGO_MAX_RANK + 1], to[2 * LEGO_MAX_RANK + 1], from[2 * LEGO_MAX_RANK + 1];
    int64_t at[2 * LEGO_MAX_RANK + 1] = {0};
    int used = 0;
    /* neighbours that are one run in both arrays become one axis; axes of one element vanish */
    for (int d = 0; d < rank; d++) {
        if (dims[d] == 0)
            return;
        if (dims[d] == 1)
            continue;
        if (used > 0 && to[used - 1] == dst_strides[d] * dims[d] &&
            from[used - 1] == src_strides[d] * dims[d]) {
            size[used - 1] *= dims[d];
            to[used - 1] = dst_strides[d];
            from[used - 1] = src_strides[d];
            continue;
        }
        size[used] = dims[d];
        to[used] = dst_strides[d];
        from[used++] = src_strides[d];
    }
    if (used == 0) {
        size[0] = to[0] = from[0] = 1;
        used = 1;
    }
    unsigned char *dst_at = dst;
    const unsigned char *src_at = src;
    int64_t unit = (int64_t)bytes;
    for (;;) {
        copy_line(bytes, (size_t)size[used - 1], dst_at, to[used - 1], src_at, from[used - 1]);
        int d = used - 2;
        for (; d >= 0; d--) {
            dst_at += to[d] * unit;
            src_at += from[d] * unit;
            if (++at[d] < size[d])
                break;
            dst_at -= to[d] * unit * size[d];
            src_at -= from[d] * unit * size[d];
            at[d] = 0;
        }
        if (d < 0)
            return;
    }
}
