/* Small sections of a package that wants it, squeezed. FORMAT.md, section 3a. */
#include "codec/base/half.h"
#include "codec/base/status.h"
#include "codec/format/squeeze.h"
#include "codec/format/writer.h"

#include <string.h>

/* A section's bytes as they would lie in the file. */
static uint8_t *lay_out(struct writer *writer, const struct write_section *section, size_t bytes)
{
    uint8_t *data = write_alloc(writer, bytes, 1);
    size_t at = 0;

    for (size_t i = 0; data && i < section->count; i++) {
        const struct write_part *part = &section->parts[i];

        at = (at + part->align - 1) / part->align * part->align;
        if (part->half) {
            for (size_t k = 0; k < part->bytes / sizeof(uint16_t); k++) {
                const uint16_t half = lego_half_from_float(((const float *)part->data)[k]);
                memcpy(data + at + k * sizeof(half), &half, sizeof(half));
            }
        } else if (part->bytes > 0) {
            memcpy(data + at, part->data, part->bytes);
        }
        at += part->bytes;
    }
    return data;
}

static int squeeze_section(struct writer *writer, enum format_kind kind)
{
    struct write_section *section = &writer->sections[kind];
    const size_t bytes = write_section_bytes(section);

    if (bytes <= FORMAT_SQUEEZE_HEAD || bytes > SQUEEZE_MAX_BYTES)
        return LEGO_OK;
    uint8_t *data = lay_out(writer, section, bytes);
    uint8_t *squeezed = write_alloc(writer, bytes, 1);
    if (!data || !squeezed)
        return LEGO_E_NOMEM;
    const uint32_t head = (uint32_t)bytes;
    size_t squeezed_bytes;
    memcpy(squeezed, &head, sizeof(head));
    int status = squeeze(data, bytes, squeezed + FORMAT_SQUEEZE_HEAD, bytes - FORMAT_SQUEEZE_HEAD,
                         &squeezed_bytes);
    if (status == LEGO_E_LIMIT)
        return LEGO_OK; /* it would not become smaller */
    if (status != LEGO_OK)
        return lego_fail(writer->diag, status, "out of memory while squeezing");
    section->count = 0;
    section->flags |= FORMAT_SECTION_SQUEEZED;
    writer->features |= FORMAT_FEATURE_SQUEEZE;
    return write_add_part(writer, kind, squeezed, FORMAT_SQUEEZE_HEAD + squeezed_bytes, 1, false);
}

int write_squeeze(struct writer *writer)
{
    int status = LEGO_OK;

    for (unsigned kind = 1; status == LEGO_OK && kind < FORMAT_KIND_COUNT; kind++)
        if (format_may_squeeze(kind) && writer->sections[kind].count > 0)
            status = squeeze_section(writer, (enum format_kind)kind);
    return status;
}
