#include "agent/runtime/weights_split.h"

#include "codec/base/arith.h"

/* k of stored column `column`: depthwise taps go down the kernel's columns. */
static uint32_t weights_k(const struct weights *weights, uint32_t column)
{
    const struct lego_coded *coded = weights->coded;
    uint32_t at = coded->permutation ? coded->permutation[column] : column;
    uint32_t tap = at / weights->channels, channel = at % weights->channels;

    if (coded->column_order == LEGO_COLUMNS_CHANNEL_MAJOR) {
        tap = at % weights->taps;
        channel = at / weights->taps;
    }
    if (weights->tap_at)
        tap = weights->tap_at[tap];
    else if (!weights->key.nr)
        tap = tap % weights->key.kernel_width * weights->key.kernel_height +
              tap / weights->key.kernel_width;
    return tap * weights->channels + channel;
}

static bool weights_in_order(const struct weights *weights)
{
    uint32_t column = 0, columns = weights->channels * weights->taps;

    while (weights->coded && column < columns && weights_k(weights, column) == column)
        column++;
    return !weights->coded || column == columns;
}

int weights_split_none(struct weights *weights)
{
    uint32_t columns = weights->channels * weights->taps;
    struct weights_split *split = lego_arena_calloc(weights->memory, 1, sizeof(*split));
    uint32_t *column_k = NULL;

    if (!split)
        return LEGO_E_NOMEM;
    if (!weights_in_order(weights)) {
        column_k = lego_arena_calloc(weights->memory, columns, sizeof(*column_k));
        if (!column_k)
            return LEGO_E_NOMEM;
        for (uint32_t column = 0; column < columns; column++)
            column_k[column] = weights_k(weights, column);
    }
    *split = (struct weights_split){.columns = columns,
                                    .taps = weights->taps,
                                    .channels = weights->channels,
                                    .column_k = column_k};
    weights->splits = split;
    weights->split_count = 1;
    return LEGO_OK;
}

/* The map of a split of `channels` channels that are stored channel by channel. */
static const uint32_t *split_map(struct weights *weights, uint32_t channels)
{
    uint32_t taps = weights->taps, columns = channels * taps;
    uint32_t *column_k = lego_arena_calloc(weights->memory, columns, sizeof(*column_k));

    for (uint32_t column = 0; column_k && column < columns; column++)
        column_k[column] = column % taps * channels + column / taps;
    return column_k;
}

/* Parts of `step` units (channels, or whole taps where they are stored tap by tap). */
static int weights_split_by(struct weights *weights, uint32_t units, uint32_t step, bool by_taps)
{
    uint32_t count = (units + step - 1) / step;
    struct weights_split *splits = lego_arena_calloc(weights->memory, count, sizeof(*splits));
    const uint32_t *map = NULL;

    if (!splits)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = i * step, size = units - first < step ? units - first : step;
        uint32_t per_unit = by_taps ? weights->channels : weights->taps;
        splits[i] = (struct weights_split){.first_column = first * per_unit,
                                           .columns = size * per_unit,
                                           .taps = weights->taps,
                                           .channels = weights->channels};
        if (by_taps) {
            splits[i].first_tap = first;
            splits[i].taps = size;
            continue;
        }
        splits[i].first_channel = first;
        splits[i].channels = size;
        if (weights->taps == 1)
            continue;
        if (i == 0 || size != step)
            map = split_map(weights, size);
        if (!map)
            return LEGO_E_NOMEM;
        splits[i].column_k = map;
    }
    weights->splits = splits;
    weights->split_count = count;
    return LEGO_OK;
}

/* Parts of all taps of `step` channels, of columns that are stored tap by tap. */
static int weights_split_taps(struct weights *weights, uint32_t step)
{
    uint32_t count = (uint32_t)lego_div_up(weights->channels, step);
    struct weights_split *splits = lego_arena_calloc(weights->memory, count, sizeof(*splits));

    if (!splits)
        return LEGO_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = i * step;
        splits[i] = (struct weights_split){
            .first_column = first,
            .taps = weights->taps,
            .first_channel = first,
            .channels = (uint32_t)lego_min_size(weights->channels - first, step),
            .tap_columns = weights->channels};
        splits[i].columns = splits[i].channels;
    }
    weights->splits = splits;
    weights->split_count = count;
    return LEGO_OK;
}

/* Whether parts of its columns can be decoded by themselves. */
static bool weights_can_split(const struct weights *weights)
{
    return weights->groups == 1 && !weights->coded->permutation && !weights->coded->trellis;
}

/* The parts that the key asks for. */
static int weights_split_parts(struct weights *weights)
{
    const struct lego_coded *coded = weights->coded;
    const uint32_t step = weights->key.part_channels, width = coded->brick_columns;
    const bool by_taps = coded->column_order == LEGO_COLUMNS_TAP_MAJOR && weights->taps > 1;

    if (step >= weights->channels || !weights_can_split(weights) ||
        step * (by_taps ? 1 : weights->taps) % width || (by_taps && weights->channels % width))
        return weights_split_none(weights);
    return by_taps ? weights_split_taps(weights, step)
                   : weights_split_by(weights, weights->channels, step, false);
}

int weights_split_columns(struct weights *weights)
{
    const struct lego_coded *coded = weights->coded;
    size_t k_bytes = (size_t)weights->nr * weights->tile_blocks * sizeof(float);
    uint32_t columns = weights->channels * weights->taps, width = coded->brick_columns, step;
    bool by_taps = coded->column_order == LEGO_COLUMNS_TAP_MAJOR && weights->taps > 1;

    if (weights->key.part_channels)
        return weights_split_parts(weights);
    if (!weights->key.nr || weights->key.whole || !weights_can_split(weights) ||
        columns * k_bytes <= 2 * WEIGHTS_PANEL_BYTES)
        return weights_split_none(weights);
    if (by_taps) {
        step = (uint32_t)(WEIGHTS_PANEL_BYTES / (k_bytes * weights->channels));
        step = step ? step : 1;
        while (step < weights->taps && (size_t)step * weights->channels % width)
            step++;
        if (step >= weights->taps)
            return weights_split_none(weights);
        return weights_split_by(weights, weights->taps, step, true);
    }
    step = (uint32_t)(WEIGHTS_PANEL_BYTES / (k_bytes * weights->taps)) / width * width;
    step = step ? step : width;
    if (step >= weights->channels)
        return weights_split_none(weights);
    return weights_split_by(weights, weights->channels, step, false);
}
