/*
 * Bricks of integers to panels of the integer GEMM for AVX-512 VBMI with VNNI: columns as bytes
 * first, four of which one instruction puts together for a column of sums.
 */
#include "kernels-x86/vbmi/bytes.h"
#include "kernels-x86/vbmi/vbmi.h"

#include "codec/kernels/ref/ref.h"

enum { PANEL_KG = 4 }; /* k's of a lane */

struct panel {
    __m512i order[2]; /* of rows 0 to 15, and 16 to 31 */
    __m512i ones, sum[2];
    int8_t *out;
};

static struct panel panel_make(int8_t *out)
{
    return (struct panel){
        .order = {byte_fours(0), byte_fours(1)},
        .ones = _mm512_set1_epi8(1),
        .sum = {_mm512_setzero_si512(), _mm512_setzero_si512()},
        .out = out,
    };
}

/* Four columns, two in each vector. */
VEC_INLINE void panel_put(struct panel *p, __m512i first, __m512i second)
{
    GEMM_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        const __m512i x = _mm512_permutex2var_epi8(first, p->order[half], second);

        _mm512_store_si512(p->out + half * BYTES_GROUP, x);
        p->sum[half] = _mm512_dpbusd_epi32(p->sum[half], p->ones, x);
    }
    p->out += 2 * BYTES_GROUP;
}

/* Column `c` as bytes, zeros where there is none. */
VEC_INLINE __m256i panel_column(const struct kern_brick_decode_s8 *s, uint32_t c)
{
    if (c >= s->bricks.columns)
        return _mm256_setzero_si256();
    return _mm256_load_si256((const __m256i *)(s->bytes + (size_t)c * BYTES_ROWS));
}

/* k's in order: columns of a whole number of groups at a time, each as soon as it is decoded. */
VEC_INLINE void panel_in_order(const struct kern_brick_decode_s8 *s, struct panel *p,
                               const uint32_t rows, const uint32_t kind)
{
    const struct kern_brick_decode *d = &s->bricks;
    const uint32_t width = d->brick_columns;
    const uint32_t at_once = byte_at_once(rows, width);
    struct byte_stream stream = byte_stream_make(d, rows);

    for (uint32_t k = 0; k < s->depth; k += at_once * width) {
        const uint32_t left = s->depth - k;
        const uint32_t count = left < at_once * width ? left : at_once * width;
        const int8_t *at = s->bytes;

        byte_columns(d, &stream, at_once, rows, kind, s->bytes);
        for (uint32_t c = 0; c < count; c += PANEL_KG, at += 2 * BYTES_GROUP)
            panel_put(p, _mm512_load_si512(at), _mm512_load_si512(at + BYTES_GROUP));
    }
}

/* Any order: all columns, then those that a group of k's is made of. */
VEC_INLINE void panel_by_map(const struct kern_brick_decode_s8 *s, struct panel *p,
                             const uint32_t rows, const uint32_t kind)
{
    struct byte_stream stream = byte_stream_make(&s->bricks, rows);

    byte_columns(&s->bricks, &stream, s->bricks.tile_brick_columns, rows, kind, s->bytes);
    for (uint32_t k = 0; k < s->depth; k += PANEL_KG) {
        __m512i pair[2];

        GEMM_UNROLL
        for (uint32_t i = 0; i < 2; i++)
            pair[i] =
                _mm512_inserti64x4(_mm512_castsi256_si512(panel_column(s, s->stored[k + 2 * i])),
                                   panel_column(s, s->stored[k + 2 * i + 1]), 1);
        panel_put(p, pair[0], pair[1]);
    }
}

VEC_INLINE void panel_tile(const struct kern_brick_decode_s8 *s, const uint32_t rows,
                           const uint32_t kind)
{
    struct panel panel = panel_make(s->panel);

    if (s->stored)
        panel_by_map(s, &panel, rows, kind);
    else
        panel_in_order(s, &panel, rows, kind);
    GEMM_UNROLL
    for (uint32_t half = 0; half < 2; half++)
        _mm512_storeu_si512(s->sum + half * VEC_LANES, panel.sum[half]);
}

BYTE_INSTANCES(panel_tile, struct kern_brick_decode_s8)

/* Where k's lie in order there are as many columns: nothing is to be zero. */
static void panel_decode(const struct kern_brick_decode_s8 *s)
{
    if (!kern_bricks_are_bytes(&s->bricks) || s->nr != BYTES_ROWS || s->kg != PANEL_KG ||
        (!s->stored && s->depth != s->bricks.columns))
        kern_ref_brick_decode_s8.run(s);
    else
        BYTE_CALL(panel_tile, &s->bricks, s)
}

const struct kern_brick_decode_s8_variant kern_vbmi_brick_decode_s8 = {panel_decode,
                                                                       kern_bricks_are_bytes};
