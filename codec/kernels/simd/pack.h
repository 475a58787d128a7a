/* Dense weights into panels: a template over the vectors of an ISA's vec.h. */
#ifndef LEGO_KERNELS_SIMD_PACK_H
#define LEGO_KERNELS_SIMD_PACK_H

#include "codec/kernels/ref/ref.h"

/*
 * Transposes a block of `height` rows by `width` neighbouring elements; element j goes to k
 * `first + j * step` of the panel, where `out` is the block's first lane at k 0.
 */
struct pack_block {
    const float *source;
    ptrdiff_t row_stride;
    size_t height, width;
    float *out;
    uint32_t nr;
};

/* A source whose neighbouring elements are columns q: k(q) = q % taps * channels + q / taps. */
struct pack_columns {
    size_t count;
    uint32_t taps, channels, first_k;
};

VEC_INLINE void pack_square(const struct pack_block *b, const struct pack_columns *columns,
                            size_t q)
{
    vec_mask mask = vec_mask_first(b->width);
    vec square[VEC_LANES];

    for (size_t i = 0; i < VEC_LANES; i++)
        square[i] = i < b->height
                        ? vec_load_mask(b->source + (ptrdiff_t)i * b->row_stride + q, mask)
                        : vec_set1(0.0f);
    vec_transpose(square);
    size_t tap = q % columns->taps, channel = q / columns->taps;
    for (size_t j = 0; j < b->width; j++) {
        size_t k = columns->first_k + tap * columns->channels + channel;
        vec_store(b->out + k * b->nr, square[j]);
        if (++tap == columns->taps) {
            tap = 0;
            channel++;
        }
    }
}

/* All row blocks of one set of columns. */
static void pack_transposed(const struct kern_panel_pack *p, const float *source,
                            const struct pack_columns *columns)
{
    uint32_t end = (p->rows + p->panel_nr - 1) / p->panel_nr * p->panel_nr;

    for (uint32_t r = 0; r < end; r += VEC_LANES) {
        struct pack_block b = {.source = source + (ptrdiff_t)r * p->row_stride,
                               .row_stride = p->row_stride,
                               .nr = p->panel_nr};
        b.height = r >= p->rows ? 0 : p->rows - r < VEC_LANES ? p->rows - r : VEC_LANES;
        b.out = p->panel + (size_t)(r / p->panel_nr) * p->panel_k * p->panel_nr + r % p->panel_nr;
        for (size_t q = 0; q < columns->count; q += VEC_LANES) {
            b.width = columns->count - q < VEC_LANES ? columns->count - q : VEC_LANES;
            pack_square(&b, columns, q);
        }
    }
}

/* Rows are neighbours already: lanes are copied. */
static void pack_rows(const struct kern_panel_pack *p)
{
    uint32_t end = (p->rows + p->panel_nr - 1) / p->panel_nr * p->panel_nr;

    for (uint32_t r = 0; r < end; r += VEC_LANES) {
        vec_mask mask = vec_mask_first(r < p->rows ? p->rows - r : 0);
        float *out =
            p->panel + (size_t)(r / p->panel_nr) * p->panel_k * p->panel_nr + r % p->panel_nr;
        for (uint32_t t = 0; t < p->taps; t++) {
            const float *x = p->source + r + (ptrdiff_t)t * p->tap_stride;
            for (uint32_t c = 0; c < p->channels; c++, x += p->channel_stride, out += p->panel_nr)
                vec_store(out, vec_load_mask(x, mask));
        }
    }
}

static void simd_panel_pack(const struct kern_panel_pack *p)
{
    if (p->panel_nr % VEC_LANES != 0) {
        kern_ref_panel_pack(p);
    } else if (p->row_stride == 1) {
        pack_rows(p);
    } else if (p->tap_stride == 1 && p->channel_stride == (ptrdiff_t)p->taps) {
        struct pack_columns all = {(size_t)p->taps * p->channels, p->taps, p->channels, 0};
        pack_transposed(p, p->source, &all);
    } else if (p->channel_stride == 1 || p->channels == 1) {
        for (uint32_t t = 0; t < p->taps; t++) {
            struct pack_columns tap = {p->channels, 1, p->channels, t * p->channels};
            pack_transposed(p, p->source + (ptrdiff_t)t * p->tap_stride, &tap);
        }
    } else {
        kern_ref_panel_pack(p);
    }
}

const kern_panel_pack_fn KERN_ISA(panel_pack) = simd_panel_pack;

#endif
