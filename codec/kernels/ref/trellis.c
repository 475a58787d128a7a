/* Entropy-coded trellis levels into panels. */
#include "codec/kernels/trellis.h"
#include "codec/kernels/ref/ref.h"

static float *panel_at(const struct kern_trellis_decode *d, uint32_t row, uint32_t column)
{
    uint32_t nr = d->panel_nr;
    size_t k = d->column_k ? d->column_k[column] : column;

    return d->panel + ((size_t)(row / nr) * d->panel_k + k) * nr + row % nr;
}

/* From a channel's coefficients to its elements, in place. */
static void rotate(const struct kern_trellis_decode *d, uint32_t row, uint32_t first_column)
{
    float coefficient[KERN_TRELLIS_MAX_TAPS];

    for (uint32_t j = 0; j < d->taps; j++)
        coefficient[j] = *panel_at(d, row, first_column + j);
    for (uint32_t tap = 0; tap < d->taps; tap++) {
        float sum = 0.0f;
        for (uint32_t j = 0; j < d->taps; j++)
            sum += coefficient[j] * d->rotation[j * d->taps + tap];
        *panel_at(d, row, first_column + tap) = sum;
    }
}

static void trellis_decode(const struct kern_trellis_decode *d)
{
    uint32_t end = (d->rows + d->panel_nr - 1) / d->panel_nr * d->panel_nr;
    struct kern_trellis_lanes lanes;
    float value[KERN_TRELLIS_MAX_LANES];

    kern_trellis_open(&lanes, d);
    for (uint32_t column = 0; column < d->columns; column += d->lanes) {
        uint32_t count = d->columns - column < d->lanes ? d->columns - column : d->lanes;
        kern_trellis_group(&lanes, d, column, count);
        for (uint32_t row = 0; row < end; row++) {
            if (row < d->rows)
                kern_trellis_row(&lanes, d->slots, count, value);
            for (uint32_t i = 0; i < count; i++)
                *panel_at(d, row, column + i) = row < d->rows ? value[i] * d->row_scale[row] : 0.0f;
        }
    }
    for (uint32_t row = 0; row < d->rows && d->rotation; row++)
        for (uint32_t column = 0; column < d->columns; column += d->taps)
            rotate(d, row, column);
}

const kern_trellis_decode_fn kern_ref_trellis_decode = trellis_decode;
