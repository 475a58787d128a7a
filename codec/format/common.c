/*
 * What reader and writer share.
 */
#include "codec/format/checksum.h"
#include "codec/format/internal.h"

#include <stddef.h>

/* As PNG's: a byte that is no text, line ends that text modes would change, a stop for `type`. */
const uint8_t format_magic[8] = {0x89, 'L', 'E', 'G', 'O', '\r', '\n', 0x1a};

const struct format_kind_info format_kinds[FORMAT_KIND_COUNT] = {
#define FORMAT_SECTION(kind, value, bulk) [value] = {#kind, bulk},
#include "codec/format/sections.def"
#undef FORMAT_SECTION
};

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. */
bool format_is_utf8(const char *text, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + bytes;
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80)
            continue;
        unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || (size_t)(end - at) < more)
            return false;
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (*at < low || *at > high)
            return false;
        for (unsigned i = 1; i < more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return false;
        }
        at += more;
    }
    return true;
}

bool format_permutation_is_sound(const uint32_t *permutation, uint32_t columns, uint8_t *seen)
{
    for (uint32_t i = 0; i < columns; i++) {
        uint32_t column = permutation[i];
        if (column >= columns || (seen[column / 8] >> column % 8 & 1))
            return false;
        seen[column / 8] |= (uint8_t)(1u << column % 8);
    }
    return true;
}

/* Walks a stage's stream once; the accumulator holds fewer than 8 + 16 bits. */
static bool tile_in_range(const uint8_t *tile, uint64_t indices, uint32_t bits, uint32_t entries)
{
    uint32_t pending = 0, have = 0, mask = (1u << bits) - 1;
    for (uint64_t i = 0; i < indices; i++) {
        for (; have < bits; have += 8)
            pending |= (uint32_t)*tile++ << have;
        if ((pending & mask) >= entries)
            return false;
        pending >>= bits;
        have -= bits;
    }
    return true;
}

bool format_indices_in_range(const struct lego_coded *coded, const struct lego_stage *stage)
{
    uint32_t entries = stage->catalogue->entries;
    if (entries == 1u << stage->index_bits)
        return true;
    for (uint32_t t = 0; t < lego_coded_tiles(coded); t++) {
        size_t bytes;
        const uint8_t *tile = lego_stage_tile(coded, stage, t, &bytes);
        uint64_t indices =
            (uint64_t)lego_coded_tile_brick_rows(coded, t) * lego_coded_brick_columns(coded);
        if (!tile_in_range(tile, indices, stage->index_bits, entries))
            return false;
    }
    return true;
}

size_t format_catalogue_bytes(const struct lego_catalogue *catalogue)
{
    return (size_t)catalogue->entries * catalogue->brick_rows * catalogue->brick_columns *
           lego_dtype_bytes(catalogue->dtype);
}

uint64_t format_checksum(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

/* The checksum of the concatenation without a streaming state, which would have to be allocated:
 * the table's checksum is seeded with the header's. */
uint64_t format_header_checksum(const struct format_header *header,
                                const struct format_section *table)
{
    uint64_t seed = XXH3_64bits(header, offsetof(struct format_header, checksum));
    return XXH3_64bits_withSeed(table, header->section_count * sizeof(*table), seed);
}

const char *format_check_preprocess(const struct lego_preprocess *p)
{
    if (p->channels != 1 && p->channels != 3)
        return "channels must be 1 or 3";
    if (p->width < 1 || p->width > 16384 || p->height < 1 || p->height > 16384)
        return "width and height must be 1 to 16384";
    if (p->resize < LEGO_RESIZE_STRETCH || p->resize > LEGO_RESIZE_LETTERBOX ||
        p->resize_side > 16384)
        return "unknown resize, or a side over 16384";
    if (!isfinite(p->scale) || !isfinite(p->pad_value))
        return "scale and pad value must be finite";
    for (uint32_t c = 0; c < p->channels; c++) {
        if (!isfinite(p->mean[c]) || !isfinite(p->std[c]) || p->std[c] == 0.0f)
            return "mean and std must be finite, std not zero";
    }
    return NULL;
}
