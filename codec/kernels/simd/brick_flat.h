/*
 * Bricks of one row into panels: a part of brick.h, of the same template. Small catalogues are
 * tables in registers, from others bricks are loaded and turned.
 */
#ifndef LEGO_KERNELS_SIMD_BRICK_FLAT_H
#define LEGO_KERNELS_SIMD_BRICK_FLAT_H

#include "codec/kernels/simd/brick_patch.h"

#ifdef BRICK_LARGE
static bool brick_is_large(const struct kern_brick_decode *d)
{
    return d->brick_rows == 1 && d->brick_columns <= BRICK_LARGE_COLUMNS &&
           d->entries > BRICK_TABLE && d->entries <= BRICK_LARGE;
}

static void brick_tables_large(struct brick_tables *tables, const struct kern_brick_decode *d)
{
    memset(tables->large, 0, sizeof(tables->large));
    for (uint32_t e = 0; e < d->entries; e++)
        for (uint32_t c = 0; c < d->brick_columns; c++)
            tables->large[c][e] = d->catalogue[e * d->brick_columns + c];
}

/* Bricks of two rows and one column from few entries: a table for each row. */
static bool brick_is_twos(const struct kern_brick_decode *d)
{
    return d->brick_rows == 2 && d->brick_columns == 1 && d->entries <= BRICK_MEDIUM;
}

static void brick_tables_twos(struct brick_tables *tables, const struct kern_brick_decode *d)
{
    memset(tables->large, 0, sizeof(tables->large));
    for (uint32_t e = 0; e < d->entries; e++) {
        tables->large[0][e] = d->catalogue[2 * e];
        tables->large[1][e] = d->catalogue[2 * e + 1];
    }
}
#endif

/* Small catalogues of one-row bricks become a table for each of their columns. */
static void brick_tables_init(struct brick_tables *tables, const struct kern_brick_decode *d)
{
#ifdef BRICK_LARGE
    if (brick_is_large(d))
        brick_tables_large(tables, d);
    if (brick_is_twos(d))
        brick_tables_twos(tables, d);
#endif
    if (d->brick_rows != 1 || d->entries > BRICK_TABLE)
        return;
    for (uint32_t e = 0; e < d->entries; e++)
        for (uint32_t c = 0; c < d->brick_columns; c++)
            tables->column[c][e] = d->catalogue[e * d->brick_columns + c];
    /* Lookups that take more bits than an index has find the same whatever these are. */
    for (uint32_t e = 4; d->index_bits == 2 && e < 16; e++)
        for (uint32_t c = 0; c < d->brick_columns; c++)
            tables->column[c][e] = tables->column[c][e % 4 < d->entries ? e % 4 : 0];
}

/* One column of bricks from number j on, `count` of them, by their scales, and onto what is there.
 * A vector is whole where count is VEC_LANES. */
VEC_INLINE void brick_lanes_put(const struct brick_patch *p, vec x, uint32_t j, uint32_t count,
                                const bool plain, const bool accumulate, float *out)
{
    const vec_mask mask = vec_mask_first(count);
    const float *scale = p->scale + j;

    out += j;
    if (count >= VEC_LANES) {
        brick_vector_put(x, plain ? x : vec_load(scale), plain, accumulate, out);
        return;
    }
    if (!plain)
        x = vec_mul(x, vec_load_mask(scale, mask));
    if (accumulate)
        x = vec_add(vec_load_mask(out, mask), x);
    vec_store_mask(out, x, mask);
}

/* A vector of lookups in one column's table: of `kind` entries, from number j on. */
VEC_INLINE vec brick_lanes_look(const struct brick_patch *p, const float *table,
                                const uint32_t kind, const uint32_t bits, const uint32_t *index,
                                const uint8_t *packed, uint32_t j)
{
    return bits ? brick_lookup_bits(table, packed + j * bits / 8, bits)
                : brick_lookup(table, kind, p->d->brick_columns, index + j);
}

/*
 * Bricks of one row: lanes are bricks, each of their columns a lookup. `kind`, a constant, is the
 * size of the table that the lookup takes; 0: the catalogue itself. So are `bits` (of indices that
 * are read in place, 0: they are not), `plain` and `accumulate`.
 */
VEC_INLINE void brick_lanes_how(const struct brick_patch *p, const uint32_t kind,
                                const uint32_t bits, const bool plain, const bool accumulate)
{
    const struct kern_brick_decode *d = p->d;
    const uint32_t pitch = d->brick_columns, width = p->width, step = p->index_step;
    const uint32_t count = p->count, whole = count - count % VEC_LANES;
    const uint32_t *index = p->index, *k = d->column_k ? d->column_k + p->column : NULL;
    const uint8_t *packed = p->bytes;
    const size_t nr = d->panel_nr;
    float *next = p->out + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++, next += pitch * nr) {
        for (uint32_t i = 0; i < width; i++) {
            const float *table = p->tables->column[i];
            float *out = k ? p->out + k[i] * nr : next + i * nr;

            for (uint32_t j = 0; j < whole; j += VEC_LANES)
                brick_lanes_put(p, brick_lanes_look(p, table, kind, bits, index, packed, j), j,
                                VEC_LANES, plain, accumulate, out);
            if (whole < count)
                brick_lanes_put(p, brick_lanes_look(p, table, kind, bits, index, packed, whole),
                                whole, count - whole, plain, accumulate, out);
        }
        index += bits ? 0 : step;
        packed += step * bits / 8;
        k = k ? k + pitch : NULL;
    }
}

VEC_INLINE void brick_lanes(const struct brick_patch *p, const uint32_t kind, const uint32_t bits)
{
    BRICK_HOW(brick_lanes_how, p, kind, bits)
}

#ifdef BRICK_LARGE
/* Where columns i of the bricks of a patch go: by a map, or `step` apart. In registers: stores
 * could change what the patch says. */
struct brick_large_places {
    float *base;
    const uint32_t *k; /* NULL: none */
    size_t nr, step;
    uint32_t columns; /* of a brick */
};

VEC_INLINE struct brick_large_places brick_large_places(const struct brick_patch *p, uint32_t i)
{
    const struct kern_brick_decode *d = p->d;
    const uint32_t first = p->column + i;

    return (struct brick_large_places){
        .base = p->out + (d->column_k ? 0 : (size_t)first * d->panel_nr),
        .k = d->column_k ? d->column_k + first : NULL,
        .nr = d->panel_nr,
        .step = (size_t)d->brick_columns * d->panel_nr,
        .columns = d->brick_columns,
    };
}

VEC_INLINE float *brick_large_out(const struct brick_large_places *at, uint32_t column)
{
    return at->base + (at->k ? at->k[column * at->columns] * at->nr : column * at->step);
}

#ifdef BRICK_HALVES
/* Column i from the largest table, two vectors of bytes at a time. */
VEC_INLINE void brick_halves_how(const struct brick_patch *p, uint32_t i, const bool plain,
                                 const bool accumulate)
{
    const struct brick_large_places places = brick_large_places(p, i);
    const uint32_t columns = p->columns, step = p->index_step;
    const uint8_t *byte = p->bytes;
    struct brick_halves halves;

    brick_halves_init(&halves, p->tables->large[i]);
    for (uint32_t column = 0; column < columns; column++, byte += step) {
        float *out = brick_large_out(&places, column);
        vec x[2];

        brick_lookup_halves(&halves, byte, x);
        brick_lanes_put(p, x[0], 0, VEC_LANES, plain, accumulate, out);
        brick_lanes_put(p, x[1], VEC_LANES, VEC_LANES, plain, accumulate, out);
    }
}
#endif

/*
 * Column i of bricks of one row from a table of `kind` (a constant) entries, which registers hold.
 * `bytes`, a constant, too: indices are read in place.
 */
VEC_INLINE void brick_large_how(const struct brick_patch *p, uint32_t i, const uint32_t kind,
                                const bool bytes, const bool plain, const bool accumulate)
{
    const struct brick_large_places places = brick_large_places(p, i);
    const uint32_t count = p->count, columns = p->columns, step = p->index_step;
    const uint32_t *index = p->index;
    const uint8_t *byte = p->bytes;
    vec table[BRICK_LARGE / VEC_LANES];

#ifdef BRICK_HALVES
    if (kind == BRICK_LARGE && bytes && count == 2 * VEC_LANES) {
        brick_halves_how(p, i, plain, accumulate);
        return;
    }
#endif
    for (uint32_t n = 0; n < kind / VEC_LANES; n++)
        table[n] = vec_load(p->tables->large[i] + n * VEC_LANES);
    for (uint32_t column = 0; column < columns; column++) {
        float *out = brick_large_out(&places, column);

        for (uint32_t j = 0; j < count; j += VEC_LANES) {
            const ivec at = bytes ? ivec_load_bytes(byte + j) : ivec_load(index + j);
            const vec x = brick_lookup_large(table, kind, at);

            if (count - j >= VEC_LANES)
                brick_lanes_put(p, x, j, VEC_LANES, plain, accumulate, out);
            else
                brick_lanes_put(p, x, j, count - j, plain, accumulate, out);
        }
        byte += bytes ? step : 0;
        index += bytes ? 0 : step;
    }
}

VEC_INLINE void brick_large_of(const struct brick_patch *p, const uint32_t kind, const bool bytes)
{
    for (uint32_t i = 0; i < p->width; i++)
        BRICK_HOW(brick_large_how, p, i, kind, bytes)
}

static void brick_large(const struct brick_patch *p)
{
    if (p->d->entries <= BRICK_MEDIUM && p->bytes)
        brick_large_of(p, BRICK_MEDIUM, true);
    else if (p->d->entries <= BRICK_MEDIUM)
        brick_large_of(p, BRICK_MEDIUM, false);
    else if (p->bytes)
        brick_large_of(p, BRICK_LARGE, true);
    else
        brick_large_of(p, BRICK_LARGE, false);
}

/* Bricks of two rows, whole vectors of them, from a table of BRICK_MEDIUM entries for each row. */
VEC_INLINE void brick_twos_how(const struct brick_patch *p, const bool plain, const bool accumulate)
{
    enum { VECTORS = BRICK_MEDIUM / VEC_LANES };
    const struct brick_large_places places = brick_large_places(p, 0);
    const uint32_t count = p->count, columns = p->columns, step = p->index_step;
    const uint32_t *index = p->index;
    vec first[VECTORS], second[VECTORS];

    for (uint32_t n = 0; n < VECTORS; n++) {
        first[n] = vec_load(p->tables->large[0] + n * VEC_LANES);
        second[n] = vec_load(p->tables->large[1] + n * VEC_LANES);
    }
    for (uint32_t column = 0; column < columns; column++, index += step) {
        float *out = brick_large_out(&places, column);

        for (uint32_t j = 0; j < count; j += VEC_LANES) {
            const ivec at = ivec_load(index + j);
            const vec a = brick_lookup_large(first, BRICK_MEDIUM, at);
            const vec b = brick_lookup_large(second, BRICK_MEDIUM, at);

            brick_lanes_put(p, vec_zip_low(a, b), 2 * j, VEC_LANES, plain, accumulate, out);
            brick_lanes_put(p, vec_zip_high(a, b), 2 * j + VEC_LANES, VEC_LANES, plain, accumulate,
                            out);
        }
    }
}

static void brick_twos(const struct brick_patch *p)
{
    BRICK_HOW(brick_twos_how, p)
}
#endif

/* Four rows' column by their scales, and onto what is there, as brick_patch_how. */
VEC_INLINE void brick_singles_put(vec_quad x, const float *scale, const bool plain,
                                  const bool accumulate, float *out)
{
    if (!plain)
        x *= vec_quad_load(scale);
    if (accumulate)
        x += vec_quad_load(out);
    vec_quad_store(out, x);
}

/* Columns become rows. */
VEC_INLINE void brick_turn(vec_quad x[4])
{
    const vec_quad a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    const vec_quad b = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    const vec_quad c = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    const vec_quad d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);

    x[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    x[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    x[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    x[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* Two floats from each of two places. */
VEC_INLINE vec_quad brick_pairs(const float *first, const float *second)
{
    typedef double doubles __attribute__((vector_size(16))); /* which are moved and no more */
    doubles both;

    memcpy(&both, first, 2 * sizeof(*first));
    memcpy((char *)&both + sizeof(both) / 2, second, 2 * sizeof(*second));
    return (vec_quad)both;
}

/* Four bricks below each other, from number j on, with their scales; `out`: for each of `width`
 * columns. */
VEC_INLINE void brick_singles_four(const float *const x[4], uint32_t width, uint32_t j,
                                   const float *scale, const bool plain, const bool accumulate,
                                   float *const *out)
{
    uint32_t i = 0;

    for (; i + 4 <= width; i += 4) {
        vec_quad v[4] = {vec_quad_load(x[0] + i), vec_quad_load(x[1] + i), vec_quad_load(x[2] + i),
                         vec_quad_load(x[3] + i)};

        brick_turn(v);
        for (uint32_t n = 0; n < 4; n++)
            brick_singles_put(v[n], scale, plain, accumulate, out[i + n] + j);
    }
    if (i + 2 <= width) {
        const vec_quad a = brick_pairs(x[0] + i, x[1] + i), b = brick_pairs(x[2] + i, x[3] + i);

        brick_singles_put(__builtin_shufflevector(a, b, 0, 2, 4, 6), scale, plain, accumulate,
                          out[i] + j);
        brick_singles_put(__builtin_shufflevector(a, b, 1, 3, 5, 7), scale, plain, accumulate,
                          out[i + 1] + j);
        i += 2;
    }
    if (i < width)
        brick_singles_put((vec_quad){x[0][i], x[1][i], x[2][i], x[3][i]}, scale, plain, accumulate,
                          out[i] + j);
}

/*
 * Bricks of one row and `columns` (a constant, 0: as many as p says) columns from a catalogue that
 * fits no table, four bricks at a time: loads of single floats, which are faster than what gathers.
 * `bytes` (a constant, too): the indices are read in place.
 */
VEC_INLINE void brick_singles_how(const struct brick_patch *p, const uint32_t columns,
                                  const bool bytes, const bool plain, const bool accumulate)
{
    const struct kern_brick_decode *d = p->d;
    const size_t pitch = columns ? columns : d->brick_columns, nr = d->panel_nr;
    const uint32_t width = columns ? columns : p->width, count = p->count;
    const uint32_t *k = d->column_k ? d->column_k + p->column : NULL;
    const float *catalogue = d->catalogue, *scale = p->scale;
    const uint32_t *index = p->index;
    const uint8_t *byte = p->bytes;
    float *base = p->out, *next = base + p->column * nr;

    for (uint32_t column = 0; column < p->columns; column++) {
        float *out[BRICK_SIDE];
        uint32_t j = 0;

        for (uint32_t i = 0; i < width; i++)
            out[i] = k ? base + k[i] * nr : next + i * nr;
#ifdef BRICK_WIDE
        for (; j + VEC_LANES <= count; j += VEC_LANES) {
            const float *x[VEC_LANES];

            for (uint32_t n = 0; n < VEC_LANES; n++)
                x[n] = catalogue + pitch * (bytes ? byte[j + n] : index[j + n]);
            brick_singles_wide(x, width, j, scale + j, plain, accumulate, out);
        }
#endif
        for (; j + 4 <= count; j += 4) {
            const float *x[4];

            for (uint32_t n = 0; n < 4; n++)
                x[n] = catalogue + pitch * (bytes ? byte[j + n] : index[j + n]);
            brick_singles_four(x, width, j, scale + j, plain, accumulate, out);
        }
        for (; j < count; j++) {
            const float *x = catalogue + pitch * (bytes ? byte[j] : index[j]);

            for (uint32_t i = 0; i < width; i++) {
                const float value = x[i] * (plain ? 1.0f : scale[j]);
                out[i][j] = accumulate ? out[i][j] + value : value;
            }
        }
        index += p->index_step;
        byte += bytes ? p->index_step : 0;
        next += pitch * nr;
        k = k ? k + pitch : NULL;
    }
}

VEC_INLINE void brick_singles(const struct brick_patch *p, const uint32_t columns, const bool bytes)
{
    BRICK_HOW(brick_singles_how, p, columns, bytes)
}

static void brick_patch_1x0(const struct brick_patch *p)
{
    if (p->d->entries <= 16 && p->bytes && p->d->index_bits == 4)
        brick_lanes(p, 16, 4);
    else if (p->d->entries <= 16 && p->bytes)
        brick_lanes(p, 16, 2);
    else if (p->d->entries <= 16)
        brick_lanes(p, 16, 0);
    else if (p->d->entries <= BRICK_TABLE)
        brick_lanes(p, BRICK_TABLE, 0);
#ifdef BRICK_LARGE
    else if (brick_is_large(p->d))
        brick_large(p);
#endif
    else if (p->bytes && p->d->brick_columns == 1)
        brick_singles(p, 1, true);
    else if (p->bytes && p->d->brick_columns == 2 && p->width == 2)
        brick_singles(p, 2, true);
    else if (p->bytes && p->d->brick_columns == 4 && p->width == 4)
        brick_singles(p, 4, true);
    else if (p->bytes)
        brick_singles(p, 0, true);
    else
        brick_singles(p, 0, false);
}

#endif
