/*
 * What reader and writer share; FORMAT.md has the meaning of every number.
 */
#ifndef LEGO_FORMAT_INTERNAL_H
#define LEGO_FORMAT_INTERNAL_H

#include "codec/format/package.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "a .lego is little-endian and used where it is mapped");

#define FORMAT_VERSION_MAJOR 1
#define FORMAT_VERSION_MINOR 0

#define FORMAT_SECTION_ALIGN       64
#define FORMAT_MAX_SECTIONS        32
#define FORMAT_MAX_GRAPH_BYTES     (8u << 20)
#define FORMAT_MAX_SIGNATURE_BYTES 4096
#define FORMAT_MAX_FILE_BYTES      (UINT64_C(64) << 30)

/* What a reader must understand; the bits that this library does. */
#define FORMAT_FEATURES_KNOWN UINT64_C(0)

struct format_header {
    uint8_t magic[8];
    uint16_t version_major, version_minor;
    uint32_t section_count;
    uint64_t features;
    uint64_t hints; /* may be ignored */
    uint64_t file_bytes;
    uint64_t reserved[2];
    uint64_t checksum; /* of the header up to here and of the section table */
};
_Static_assert(sizeof(struct format_header) == 64, "on-disk layout");

struct format_section {
    uint32_t kind;
    uint32_t flags;
    uint64_t offset, bytes, checksum;
};
_Static_assert(sizeof(struct format_section) == 32, "on-disk layout");

#define FORMAT_SECTION_REQUIRED 1u /* flags: a reader that does not know the kind must refuse */

/* kind, its name, and whether it is bulk: checked only at LEGO_VERIFY_CHECKSUMS. */
enum format_kind {
#define FORMAT_SECTION(name, value, bulk) FORMAT_KIND_##name = (value),
#include "codec/format/sections.def"
#undef FORMAT_SECTION
    FORMAT_KIND_COUNT
};

extern const uint8_t format_magic[8];

/* A package with what belongs to its file. */
struct format_package {
    struct lego_package package; /* first: the public pointer is this one */
    const void *mapping;
    size_t mapping_bytes;
    bool mapping_owned;
    uint32_t section_count;
    struct lego_section_info sections[FORMAT_MAX_SECTIONS];
};

int format_package_create(size_t graph_limit_bytes, struct format_package **ret_self);

/* How a dense tensor's elements lie in the file. */
enum format_storage {
    FORMAT_STORAGE_RAW = 0,    /* as in memory */
    FORMAT_STORAGE_HALF = 1,   /* FLOAT32 elements stored as FLOAT16 */
    FORMAT_STORAGE_INLINE = 2, /* integers in the message itself */
};

/* Alignment of raw bytes within their section: small parts are packed, large ones on cache lines.
 */
#define FORMAT_LARGE_BYTES 1024
static inline size_t format_align(size_t bytes, size_t small_align)
{
    return bytes >= FORMAT_LARGE_BYTES ? FORMAT_SECTION_ALIGN : small_align;
}

/* Shape and type limits that reader and writer agree on. */
#define FORMAT_MAX_INLINE_ELEMS 64

#endif
