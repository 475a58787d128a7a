/*
 * A matrix of bricks of integers times a vector in fixed point for AVX-512 VBMI with VNNI: an
 * instruction looks 64 weights up, another multiplies and adds as many bytes, and the sums are
 * exact. Of floats, each brick would be a load of its own.
 */
#include "kernels-x86/vbmi/bytes.h"
#include "kernels-x86/vbmi/vbmi.h"

#include "codec/kernels/ref/ref.h"
#include "codec/kernels/simd/unroll.h"

enum {
    FIXED_LANES = 16,  /* sums in a vector */
    FIXED_TABLES = 64, /* elements of a brick, at most */
    FIXED_PACKED = 16, /* entries up to which brick_gemv_f32 is as fast for bricks of one row */
    FIXED_BIAS = 128,  /* makes an integer of a catalogue one without a sign */
    FIXED_VECTORS = 4, /* of sums for a digit, at most */
    FIXED_BYTES = KERN_FIXED_BLOCK * KERN_FIXED_DIGITS,
};

/* Bytes of v as digits with signs: 128 more in the lower three, which carries where one is 128 or
 * more, then taken off them again, without a carry: that is what the exclusive or does. */
VEC_INLINE __m512i fixed_split(__m512i v)
{
    const __m512i carry = _mm512_set1_epi32(0x808080);

    return _mm512_xor_si512(_mm512_add_epi32(v, carry), carry);
}

static void fixed_digits(const struct kern_fixed_digits *f)
{
    const vec inverse = vec_set1(f->inverse);
    const __m512i ones = _mm512_set1_epi8(1);
    /* Eight numbers' lowest bytes, their next, and so on, then those of eight more: of these, lane
     * 4 begins at byte 32. */
    const int64_t more = 0x1c1c1c1c1c1c1c1c;
    const __m512i order = _mm512_add_epi64(byte_ramp64(0x1c1814100c080400, 1),
                                           _mm512_setr_epi64(0, 0, 0, 0, more, more, more, more));
    int32_t lane[FIXED_LANES];
    __m512i sum = _mm512_setzero_si512();

    for (size_t c = 0; c < f->count; c += VEC_LANES) {
        const size_t left = f->count - c;
        const vec_mask mask = vec_mask_first(left < VEC_LANES ? (uint32_t)left : VEC_LANES);
        const __m512i v = _mm512_cvtps_epi32(vec_mul(vec_load_mask(f->x + c, mask), inverse));
        const __m512i digits = _mm512_permutexvar_epi8(order, fixed_split(v));

        sum = _mm512_dpbusd_epi32(sum, ones, digits);
        if (left > KERN_FIXED_BLOCK)
            _mm512_storeu_si512(f->digits + c * KERN_FIXED_DIGITS, digits);
        else
            _mm256_storeu_si256((__m256i *)(f->digits + c * KERN_FIXED_DIGITS),
                                _mm512_castsi512_si256(digits));
    }
    _mm512_storeu_si512(lane, sum);
    for (uint32_t d = 0; d < KERN_FIXED_DIGITS; d++)
        f->sum[d] = lane[2 * d] + lane[2 * d + 1] + lane[2 * d + 8] + lane[2 * d + 9];
}

/*
 * Eight columns are 256 / rows indices, column by column, in 4 / rows vectors. In ret_index the
 * indices of four columns of the same bricks lie together, as a sum adds four products: in one
 * vector for all eight columns, or in those of the first four columns, then of the others.
 */
VEC_INLINE void fixed_turn(const __m512i *index, const uint32_t rows, const __m512i order[2],
                           __m512i ret_index[FIXED_VECTORS])
{
    if (rows == 4) {
        ret_index[0] = _mm512_permutexvar_epi8(order[0], index[0]);
    } else if (rows == 2) {
        ret_index[0] = _mm512_permutexvar_epi8(order[0], index[0]);
        ret_index[1] = _mm512_permutexvar_epi8(order[0], index[1]);
    } else {
        ret_index[0] = _mm512_permutex2var_epi8(index[0], order[0], index[1]);
        ret_index[1] = _mm512_permutex2var_epi8(index[0], order[1], index[1]);
        ret_index[2] = _mm512_permutex2var_epi8(index[2], order[0], index[3]);
        ret_index[3] = _mm512_permutex2var_epi8(index[2], order[1], index[3]);
    }
}

VEC_INLINE void fixed_order(const uint32_t rows, __m512i ret_order[2])
{
    if (rows == 4) /* of eight columns of eight */
        ret_order[0] = byte_ramp64(0x3830282018100800, 1);
    else if (rows == 2) /* of four of sixteen */
        ret_order[0] = byte_ramp32(0x30201000);
    else /* of four of 32 */
        ret_order[0] = byte_fours(0);
    ret_order[1] = byte_fours(1); /* for one row alone */
}

/* Digit d of the columns that vector v of fixed_turn() is of: for four rows, of eight. */
VEC_INLINE __m512i fixed_digit(const int8_t *digits, const uint32_t rows, uint32_t d, uint32_t v)
{
    int64_t eight;
    int32_t four;

    digits += d * KERN_FIXED_BLOCK;
    if (rows == 4) {
        __builtin_memcpy(&eight, digits, sizeof(eight));
        return _mm512_set1_epi64(eight);
    }
    __builtin_memcpy(&four, digits + (rows == 2 ? v : v / 2) * sizeof(four), sizeof(four));
    return _mm512_set1_epi32(four);
}

/* Eight columns into the sums [vector][digit]. Vectors of a digit are the rows of a brick, or where
 * that is one, two halves. */
VEC_INLINE void fixed_block(const uint8_t *tables, const __m512i *index, const int8_t *digits,
                            const uint32_t rows, const uint32_t kind,
                            __m512i sum[FIXED_VECTORS][KERN_FIXED_DIGITS])
{
    const uint32_t vectors = 4 / rows;

    GEMM_UNROLL
    for (uint32_t v = 0; v < vectors; v++) {
        __m512i digit[KERN_FIXED_DIGITS];

        GEMM_UNROLL
        for (uint32_t d = 0; d < KERN_FIXED_DIGITS; d++)
            digit[d] = fixed_digit(digits, rows, d, v);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t to = rows == 1 ? v % 2 : r;
            const __m512i w =
                byte_lookup((const int8_t *)tables + r * KERN_CATALOGUE_S8, kind, index[v]);
            GEMM_UNROLL
            for (uint32_t d = 0; d < KERN_FIXED_DIGITS; d++)
                sum[to][d] = _mm512_dpbusd_epi32(sum[to][d], w, digit[d]);
        }
    }
}

/* What row `row` of the tile has in the sums of digit d. */
VEC_INLINE int32_t fixed_sum(int32_t sum[FIXED_VECTORS][KERN_FIXED_DIGITS][FIXED_LANES],
                             const uint32_t rows, uint32_t row, uint32_t d)
{
    if (rows == 4)
        return sum[row % 4][d][row / 4 * 2] + sum[row % 4][d][row / 4 * 2 + 1];
    if (rows == 2)
        return sum[row % 2][d][row / 2];
    return sum[row / FIXED_LANES][d][row % FIXED_LANES];
}

VEC_INLINE void fixed_give(const struct kern_brick_gemv_fixed *g, const uint32_t rows,
                           const __m512i sum[FIXED_VECTORS][KERN_FIXED_DIGITS])
{
    const struct kern_brick_decode *b = &g->bricks;
    const double scale = (double)g->scale * b->catalogue_step;
    int32_t lane[FIXED_VECTORS][KERN_FIXED_DIGITS][FIXED_LANES];

    GEMM_UNROLL
    for (uint32_t v = 0; v < FIXED_VECTORS * KERN_FIXED_DIGITS; v++)
        _mm512_storeu_si512(lane[v / KERN_FIXED_DIGITS][v % KERN_FIXED_DIGITS],
                            sum[v / KERN_FIXED_DIGITS][v % KERN_FIXED_DIGITS]);
    for (uint32_t row = 0; row < BYTES_ROWS; row++) {
        int64_t total = 0;
        float y;

        for (uint32_t d = KERN_FIXED_DIGITS; d-- > 0;)
            total = total * 256 + fixed_sum(lane, rows, row, d) - FIXED_BIAS * (int64_t)g->sum[d];
        y = (float)((double)total * scale);
        y = b->row_scale ? y * b->row_scale[row] : y;
        g->y[row] = b->accumulate ? g->y[row] + y : y;
    }
}

VEC_INLINE void fixed_tile(const struct kern_brick_gemv_fixed *g, const uint32_t rows,
                           const uint32_t kind)
{
    const struct kern_brick_decode *b = &g->bricks;
    const uint32_t vectors = 4 / rows; /* of 64 indices in eight columns */
    const uint32_t width = b->brick_columns, area = rows * width;
    const size_t blocks = (b->tile_brick_columns + KERN_FIXED_BLOCK - 1) / KERN_FIXED_BLOCK;
    const int8_t *digits = g->digits;
    struct byte_stream stream = byte_stream_make(b, rows);
    uint8_t tables[FIXED_TABLES * KERN_CATALOGUE_S8] __attribute__((aligned(64)));
    __m512i sum[FIXED_VECTORS][KERN_FIXED_DIGITS], order[2];

    for (uint32_t i = 0; i < area * KERN_CATALOGUE_S8; i++)
        tables[i] = (uint8_t)(b->catalogue_s8[i] + FIXED_BIAS);
    fixed_order(rows, order);
    GEMM_UNROLL
    for (uint32_t v = 0; v < FIXED_VECTORS * KERN_FIXED_DIGITS; v++)
        sum[v / KERN_FIXED_DIGITS][v % KERN_FIXED_DIGITS] = _mm512_setzero_si512();
    for (size_t block = 0; block < blocks; block++, digits += FIXED_BYTES) {
        __m512i index[FIXED_VECTORS], turned[FIXED_VECTORS];
        const uint8_t *table = tables;

        /* Registers are for sums: tables come from L1, each time. */
        __asm__("" : "+r"(table));

        GEMM_UNROLL
        for (uint32_t v = 0; v < vectors; v++)
            index[v] = byte_stream_next(&stream, kind == 256);
        fixed_turn(index, rows, order, turned);
        for (uint32_t i = 0; i < width; i++)
            fixed_block(table + i * rows * KERN_CATALOGUE_S8, turned,
                        digits + i * blocks * FIXED_BYTES, rows, kind, sum);
    }
    fixed_give(g, rows, sum);
}

BYTE_ROWS_INSTANCES(fixed_tile, struct kern_brick_gemv_fixed, 1)
BYTE_ROWS_INSTANCES(fixed_tile, struct kern_brick_gemv_fixed, 2)
BYTE_ROWS_INSTANCES(fixed_tile, struct kern_brick_gemv_fixed, 4)

static bool fixed_takes(const struct kern_brick_decode *b)
{
    return b->brick_rows <= 4 && kern_bricks_are_bytes(b);
}

static bool fixed_faster(const struct kern_brick_decode *b)
{
    return fixed_takes(b) && (b->brick_rows > 1 || b->entries > FIXED_PACKED);
}

static void fixed_gemv(const struct kern_brick_gemv_fixed *g)
{
    const uint32_t rows = g->bricks.brick_rows, kind = byte_kind(&g->bricks);

    if (!fixed_takes(&g->bricks))
        kern_ref_brick_gemv_fixed.run(g);
    else if (rows == 1)
        BYTE_KIND(fixed_tile, 1, kind, g)
    else if (rows == 2)
        BYTE_KIND(fixed_tile, 2, kind, g)
    else
        BYTE_KIND(fixed_tile, 4, kind, g)
}

const kern_fixed_digits_fn kern_vbmi_fixed_digits = fixed_digits;
const struct kern_brick_gemv_fixed_variant kern_vbmi_brick_gemv_fixed = {fixed_gemv, fixed_faster};
