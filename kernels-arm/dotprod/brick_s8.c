/*
 * Bricks of integers to panels of the integer GEMMs: indices are looked up in tables of bytes by
 * TBL, sixteen at a time, which gives columns of 32 bytes; rows of four or eight columns are then
 * put together.
 */
#include "kernels-arm/dotprod/dotprod.h"

#include "codec/kernels/ref/ref.h"
#include "codec/kernels/simd/unroll.h"

#include <arm_neon.h>
#include <string.h>

enum {
    ROWS = 32,   /* of a tile */
    NR = 8,      /* of a row block */
    GROUP = 32,  /* indices at a time: as many columns as a brick has rows */
    TALLEST = 8, /* rows of a brick */
    TABLE = 64,  /* bytes that an instruction looks up */
};

/* How eight indices come out of as many bits as one has bytes. */
struct bits {
    uint8x16_t byte; /* two for each */
    int16x8_t shift;
    uint16x8_t mask;
    uint32_t count;
};

static struct bits bits_make(uint32_t count)
{
    uint8_t byte[16];
    int16_t shift[8];

    for (uint32_t i = 0; i < 8; i++) {
        byte[2 * i] = (uint8_t)(i * count / 8);
        byte[2 * i + 1] = (uint8_t)(i * count / 8 + 1);
        shift[i] = (int16_t) - (int32_t)(i * count % 8);
    }
    return (struct bits){vld1q_u8(byte), vld1q_s16(shift),
                         vdupq_n_u16((uint16_t)((1u << count) - 1)), count};
}

GEMM_INLINE uint8x8_t bits_eight(const struct bits *bits, const uint8_t *at)
{
    const uint16x8_t pairs = vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8(at), bits->byte));

    return vmovn_u16(vandq_u16(vshlq_u16(pairs, bits->shift), bits->mask));
}

/* A group from `at`, of which `left` bytes are there; 16 more are readable. */
GEMM_INLINE void load_group(const struct bits *bits, const uint8_t *at, size_t left,
                            uint8x16_t ret_index[2])
{
    uint8_t last[GROUP + 16];
    const uint32_t step = bits->count;

    if (left < (size_t)GROUP * step / 8) {
        memset(last, 0, sizeof(last));
        memcpy(last, at, left);
        at = last;
    }
    for (uint32_t v = 0; v < 2; v++, at += 2 * step)
        ret_index[v] = step == 8 ? vld1q_u8(at)
                                 : vcombine_u8(bits_eight(bits, at), bits_eight(bits, at + step));
}

/*
 * A table of 64 bytes is a run of four registers, and so are the rows that are stored: compilers
 * move them there, half of all instructions, so that these are written out. A row: 32 lookups, in
 * two registers, x and y, by the indices i0 and j0; i1 to i3 are as many less 64, 128 and 192, and
 * what lies beyond a part of a table stays as it was.
 */
#define PART_A "{v24.16b, v25.16b, v26.16b, v27.16b}"
#define PART_B "{v28.16b, v29.16b, v30.16b, v31.16b}"
#define ROW_64(x, y)                           \
    "ld1 " PART_A ", [%[table]], %[next]\n\t"  \
    "tbl " x ".16b, " PART_A ", %[i0].16b\n\t" \
    "tbl " y ".16b, " PART_A ", %[j0].16b\n\t"
#define ROW_256(x, y)                          \
    "ld1 " PART_A ", [%[table]], #64\n\t"      \
    "ld1 " PART_B ", [%[table]], #64\n\t"      \
    "tbl " x ".16b, " PART_A ", %[i0].16b\n\t" \
    "tbl " y ".16b, " PART_A ", %[j0].16b\n\t" \
    "tbx " x ".16b, " PART_B ", %[i1].16b\n\t" \
    "tbx " y ".16b, " PART_B ", %[j1].16b\n\t" \
    "ld1 " PART_A ", [%[table]], #64\n\t"      \
    "ld1 " PART_B ", [%[table]], #64\n\t"      \
    "tbx " x ".16b, " PART_A ", %[i2].16b\n\t" \
    "tbx " y ".16b, " PART_A ", %[j2].16b\n\t" \
    "tbx " x ".16b, " PART_B ", %[i3].16b\n\t" \
    "tbx " y ".16b, " PART_B ", %[j3].16b\n\t"

#define STORE_1                        \
    "st1 {v16.16b}, [%[out]], #16\n\t" \
    "st1 {v20.16b}, [%[out]]"
#define STORE_2                                 \
    "st2 {v16.16b, v17.16b}, [%[out]], #32\n\t" \
    "st2 {v20.16b, v21.16b}, [%[out]]"
#define STORE_4                                                   \
    "st4 {v16.16b, v17.16b, v18.16b, v19.16b}, [%[out]], #64\n\t" \
    "st4 {v20.16b, v21.16b, v22.16b, v23.16b}, [%[out]]"

/* 32 bricks of so many rows, one after the other. */
#define LOOK_UP(name, rows, store)                                                           \
    GEMM_INLINE void name(const int8_t *table, const uint8x16_t i[4], const uint8x16_t j[4], \
                          uint8_t *out)                                                      \
    {                                                                                        \
        __asm__ volatile(rows store                                                          \
                         : [table] "+r"(table), [out] "+r"(out)                              \
                         : [i0] "w"(i[0]), [i1] "w"(i[1]), [i2] "w"(i[2]), [i3] "w"(i[3]),   \
                           [j0] "w"(j[0]), [j1] "w"(j[1]), [j2] "w"(j[2]), [j3] "w"(j[3]),   \
                           [next] "r"((uint64_t)KERN_CATALOGUE_S8)                           \
                         : "memory", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", \
                           "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");          \
    }

LOOK_UP(look_up_1_64, ROW_64("v16", "v20"), STORE_1)
LOOK_UP(look_up_1_256, ROW_256("v16", "v20"), STORE_1)
LOOK_UP(look_up_2_64, ROW_64("v16", "v20") ROW_64("v17", "v21"), STORE_2)
LOOK_UP(look_up_2_256, ROW_256("v16", "v20") ROW_256("v17", "v21"), STORE_2)
LOOK_UP(look_up_4_64,
        ROW_64("v16", "v20") ROW_64("v17", "v21") ROW_64("v18", "v22") ROW_64("v19", "v23"),
        STORE_4)
LOOK_UP(look_up_4_256,
        ROW_256("v16", "v20") ROW_256("v17", "v21") ROW_256("v18", "v22") ROW_256("v19", "v23"),
        STORE_4)

/* Of 32 bricks the upper four rows and the lower four to eight. */
GEMM_INLINE void put_eights(const uint8_t *upper, const uint8_t *lower, uint8_t *out)
{
    for (uint32_t n = 0; n < GROUP * 4; n += 16) {
        const uint32x4_t a = vreinterpretq_u32_u8(vld1q_u8(upper + n));
        const uint32x4_t b = vreinterpretq_u32_u8(vld1q_u8(lower + n));

        vst1q_u8(out + 2 * n, vreinterpretq_u8_u32(vzip1q_u32(a, b)));
        vst1q_u8(out + 2 * n + 16, vreinterpretq_u8_u32(vzip2q_u32(a, b)));
    }
}

/* A column of a group's bricks: as many columns of 32 bytes as `rows` (a constant, as `kind`). */
GEMM_INLINE void look_up(const int8_t *table, const uint32_t rows, const uint32_t kind,
                         const uint8x16_t i[4], const uint8x16_t j[4], uint8_t *out)
{
    uint8_t half[2][GROUP * 4];

    if (rows == 1)
        (kind == TABLE ? look_up_1_64 : look_up_1_256)(table, i, j, out);
    else if (rows == 2)
        (kind == TABLE ? look_up_2_64 : look_up_2_256)(table, i, j, out);
    else if (rows == 4)
        (kind == TABLE ? look_up_4_64 : look_up_4_256)(table, i, j, out);
    if (rows != 8)
        return;
    for (uint32_t n = 0; n < 2; n++)
        (kind == TABLE ? look_up_4_64 : look_up_4_256)(table + n * 4 * KERN_CATALOGUE_S8, i, j,
                                                       half[n]);
    put_eights(half[0], half[1], out);
}

/* All columns of a tile as bytes: [column][ROWS]. `rows` and `kind` are constants. */
GEMM_INLINE void decode_columns(const struct kern_brick_decode_s8 *s, const uint32_t rows,
                                const uint32_t kind)
{
    const struct kern_brick_decode *d = &s->bricks;
    const struct bits bits = bits_make(d->index_bits);
    const uint32_t width = d->brick_columns, each = GROUP * d->index_bits / 8;
    const uint32_t count = d->tile_brick_columns;
    const int8_t *catalogue = d->catalogue_s8;
    const uint8_t *at = d->stream;
    size_t left = ((size_t)d->tile_brick_columns * d->tile_brick_rows * d->index_bits + 7) / 8;
    uint8_t *out = (uint8_t *)s->bytes;

    for (uint32_t b = 0; b < count; b += rows, out += (size_t)rows * width * ROWS) {
        const int8_t *table = catalogue;
        uint8x16_t index[2], i[4], j[4];

        load_group(&bits, at, left, index);
        at += left < each ? left : each;
        left -= left < each ? left : each;
        GEMM_UNROLL
        for (uint32_t part = 0; part < 4; part++) {
            i[part] = vsubq_u8(index[0], vdupq_n_u8((uint8_t)(part * TABLE)));
            j[part] = vsubq_u8(index[1], vdupq_n_u8((uint8_t)(part * TABLE)));
        }
        for (uint32_t c = 0; c < width; c++, table += rows * KERN_CATALOGUE_S8) {
            uint8_t columns[TALLEST * ROWS];

            look_up(table, rows, kind, i, j, width == 1 ? out : columns);
            for (uint32_t n = 0; width > 1 && n < rows; n++)
                memcpy(out + ((size_t)n * width + c) * ROWS, columns + n * ROWS, ROWS);
        }
    }
}

/* The sums of rows, four in each. */
struct sums {
    int32x4_t row[ROWS / 4];
};

/* Columns as bytes, and which of them each k is; in registers: what is stored could change more. */
struct columns {
    const uint8_t *bytes;
    const uint32_t *stored;
    uint32_t count;
};

/* Column k: zeros where there is none. `mapped`, a constant: k's do not lie in order. */
GEMM_INLINE const uint8_t *column_at(struct columns c, uint32_t k, const bool mapped)
{
    static const uint8_t nothing[ROWS];
    const uint32_t at = mapped ? c.stored[k] : k;

    return !mapped || at < c.count ? c.bytes + (size_t)at * ROWS : nothing;
}

/* Four columns from k on: of rows 4 * i to 4 * i + 3, four bytes each, in ret_x[i]. */
GEMM_INLINE void four_columns(struct columns from, uint32_t k, const bool mapped, struct sums *sums,
                              uint8x16_t ret_x[ROWS / 4])
{
    const uint8_t *column[4];

    GEMM_UNROLL
    for (uint32_t i = 0; i < 4; i++)
        column[i] = column_at(from, k + i, mapped);
    GEMM_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
        const uint8x16_t x0 = vld1q_u8(column[0] + 16 * half), x1 = vld1q_u8(column[1] + 16 * half);
        const uint8x16_t x2 = vld1q_u8(column[2] + 16 * half), x3 = vld1q_u8(column[3] + 16 * half);
        const uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(x0, x1));
        const uint16x8_t b = vreinterpretq_u16_u8(vzip2q_u8(x0, x1));
        const uint16x8_t c = vreinterpretq_u16_u8(vzip1q_u8(x2, x3));
        const uint16x8_t d = vreinterpretq_u16_u8(vzip2q_u8(x2, x3));

        ret_x[4 * half] = vreinterpretq_u8_u16(vzip1q_u16(a, c));
        ret_x[4 * half + 1] = vreinterpretq_u8_u16(vzip2q_u16(a, c));
        ret_x[4 * half + 2] = vreinterpretq_u8_u16(vzip1q_u16(b, d));
        ret_x[4 * half + 3] = vreinterpretq_u8_u16(vzip2q_u16(b, d));
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < ROWS / 4; i++)
        sums->row[i] = vdotq_s32(sums->row[i], vreinterpretq_s8_u8(ret_x[i]), vdupq_n_s8(1));
}

/* Columns of bytes to panels of kg = 4, or of 8: rows of four columns, and four more. */
GEMM_INLINE void put_panel(const struct kern_brick_decode_s8 *s, const uint32_t kg,
                           const bool mapped)
{
    const struct columns from = {(const uint8_t *)s->bytes, s->stored, s->bricks.columns};
    const uint32_t depth = s->depth;
    const size_t block = (size_t)depth * NR;
    uint8_t *panel = (uint8_t *)s->panel;
    struct sums sums;

    GEMM_UNROLL
    for (uint32_t i = 0; i < ROWS / 4; i++)
        sums.row[i] = vdupq_n_s32(0);
    for (uint32_t k = 0; k < depth; k += kg, panel += NR * kg) {
        uint8x16_t x[ROWS / 4], y[ROWS / 4];

        four_columns(from, k, mapped, &sums, x);
        if (kg == 8)
            four_columns(from, k + 4, mapped, &sums, y);
        GEMM_UNROLL
        for (uint32_t i = 0; i < ROWS / 4; i++) {
            uint8_t *out = panel + i / 2 * block + i % 2 * 4 * kg;

            if (kg == 4) {
                vst1q_u8(out, x[i]);
                continue;
            }
            const uint32x4_t a = vreinterpretq_u32_u8(x[i]), b = vreinterpretq_u32_u8(y[i]);
            vst1q_u8(out, vreinterpretq_u8_u32(vzip1q_u32(a, b)));
            vst1q_u8(out + 16, vreinterpretq_u8_u32(vzip2q_u32(a, b)));
        }
    }
    GEMM_UNROLL
    for (uint32_t i = 0; i < ROWS / 4; i++)
        vst1q_s32(s->sum + 4 * i, sums.row[i]);
}

#define DECODE(rows)                                                \
    static void decode_##rows(const struct kern_brick_decode_s8 *s) \
    {                                                               \
        if (s->bricks.entries <= TABLE)                             \
            decode_columns(s, rows, TABLE);                         \
        else                                                        \
            decode_columns(s, rows, KERN_CATALOGUE_S8);             \
    }

DECODE(1)
DECODE(2)
DECODE(4)
DECODE(8)

static void brick_decode_s8(const struct kern_brick_decode_s8 *s)
{
    const uint32_t rows = s->bricks.brick_rows;

    if (!kern_bricks_are_bytes(&s->bricks) || s->bricks.first_index || s->nr != NR ||
        (s->kg != 4 && s->kg != 8) || (!s->stored && s->depth != s->bricks.columns)) {
        kern_ref_brick_decode_s8.run(s);
        return;
    }
    (rows == 1 ? decode_1 : rows == 2 ? decode_2 : rows == 4 ? decode_4 : decode_8)(s);
    if (s->kg == 4 && !s->stored)
        put_panel(s, 4, false);
    else if (s->kg == 4)
        put_panel(s, 4, true);
    else if (!s->stored)
        put_panel(s, 8, false);
    else
        put_panel(s, 8, true);
}

const struct kern_brick_decode_s8_variant kern_dotprod_brick_decode_s8 = {brick_decode_s8,
                                                                          kern_bricks_are_bytes};
