/*
 * What reader and writer share; FORMAT.md has the meaning of every number.
 */
#ifndef LEGO_FORMAT_INTERNAL_H
#define LEGO_FORMAT_INTERNAL_H

#include "codec/format/package.h"

#include <math.h>

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
#define FORMAT_FEATURE_TRELLIS UINT64_C(1) /* entropy-coded trellis levels, log scales */
#define FORMAT_FEATURE_PACKED  UINT64_C(2) /* dense tensors as bytes with an fp16 step */
#define FORMAT_FEATURE_SQUEEZE UINT64_C(4) /* squeezed sections, log scales of a byte each */
#define FORMAT_FEATURE_INTEGER UINT64_C(8) /* weights whose products compute in integers */
#define FORMAT_FEATURES_KNOWN                                                  \
    (FORMAT_FEATURE_TRELLIS | FORMAT_FEATURE_PACKED | FORMAT_FEATURE_SQUEEZE | \
     FORMAT_FEATURE_INTEGER)

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
#define FORMAT_SECTION_SQUEEZED 2u /* its bytes are squeezed: squeeze.h */
#define FORMAT_SQUEEZE_HEAD     4u /* bytes before them: how many they were */

/* In a message only: codes of LEGO_SCALE_LOG that take a byte each. */
#define FORMAT_SCALE_LOG_BYTES 4u

/* kind, its name, and whether it is bulk: checked only at LEGO_VERIFY_CHECKSUMS. */
enum format_kind {
#define FORMAT_SECTION(name, value, bulk) FORMAT_KIND_##name = (value),
#include "codec/format/sections.def"
#undef FORMAT_SECTION
    FORMAT_KIND_COUNT
};

struct format_kind_info {
    const char *name; /* NULL: no such kind */
    bool bulk;
};
extern const struct format_kind_info format_kinds[FORMAT_KIND_COUNT];
extern const uint8_t format_magic[8];

bool format_is_utf8(const char *text, size_t bytes);

/* True where it holds each of 0 to columns-1 once; `seen` is zeroed, a bit a column. */
bool format_permutation_is_sound(const uint32_t *permutation, uint32_t columns, uint8_t *seen);

/* True where all indices of a fixed-width stage are below its catalogue's entries; looks at them
 * only where the width allows others. */
bool format_indices_in_range(const struct lego_coded *coded, const struct lego_stage *stage);

/* True for small integer tensors, which go into the message. */
bool format_is_inline(const struct lego_tensor *tensor);

size_t format_catalogue_bytes(const struct lego_catalogue *catalogue);

/* Of a section's bytes. */
uint64_t format_checksum(const void *data, size_t bytes);

/* Of a header (but its last field) and the table of its section_count sections. */
uint64_t format_header_checksum(const struct format_header *header,
                                const struct format_section *table);

/* What is wrong with it, NULL where nothing is. */
const char *format_check_preprocess(const struct lego_preprocess *preprocess);

/* A package with what belongs to its file. */
struct format_package {
    struct lego_package package; /* first: the public pointer is this one */
    const void *mapping;
    size_t mapping_bytes;
    bool mapping_owned;
    void *unsqueezed[FORMAT_KIND_COUNT]; /* malloc'ed; NULL: used where it is mapped */
    uint32_t section_count;
    struct lego_section_info sections[FORMAT_MAX_SECTIONS];
};

/* lego_graph_destroy in lego_graph_adopt's form. */
void format_release_graph(void *graph);

int format_package_create(size_t graph_limit_bytes, struct format_package **ret_self);

/* How a dense tensor's elements lie in the file. */
enum format_storage {
    FORMAT_STORAGE_RAW = 0,    /* as in memory */
    FORMAT_STORAGE_HALF = 1,   /* FLOAT32 elements stored as FLOAT16 */
    FORMAT_STORAGE_INLINE = 2, /* integers in the message itself */
    FORMAT_STORAGE_PACKED = 3, /* FLOAT32 elements stored as INT8 after their FLOAT16 step */
};

/* Alignment of raw bytes within their section: small parts are packed, large ones on cache lines.
 */
#define FORMAT_LARGE_BYTES 1024
static inline size_t format_align(size_t bytes, size_t small_align)
{
    return bytes >= FORMAT_LARGE_BYTES ? FORMAT_SECTION_ALIGN : small_align;
}

/* The kinds of section that may be squeezed. */
static inline bool format_may_squeeze(uint32_t kind)
{
    return kind == FORMAT_KIND_GRAPH || kind == FORMAT_KIND_SCALES || kind == FORMAT_KIND_DENSE;
}

/* Limits that reader and writer agree on. */
#define FORMAT_MAX_INLINE_ELEMS    64
#define FORMAT_MAX_GRAPHS          1024
#define FORMAT_MAX_NODE_ATTRIBUTES 64
#define FORMAT_MAX_NODE_OUTPUTS    1024
#define FORMAT_MAX_VALUES          (1u << 22)
#define FORMAT_MAX_SYMBOLS         1024
#define FORMAT_MAX_GENERATED_BYTES ((size_t)64 << 20)
#define FORMAT_MAX_LABELS          (1u << 20)
#define FORMAT_MAX_NAMES_BYTES     ((size_t)16 << 20) /* of all front-coded names, decoded */
#define FORMAT_ARENA_BYTES \
    ((size_t)256 << 20) /* of a graph read from a file, without its tensors */
#define FORMAT_MAX_CATALOGUES  65536
#define FORMAT_MAX_TABLES      4096
#define FORMAT_MAX_ROTATIONS   64
#define FORMAT_MAX_CODED_ELEMS (UINT64_C(1) << 32)
/* A front-coded name's first byte: how much of an earlier name it keeps, and of which. */
#define FORMAT_MAX_SHARED    127
#define FORMAT_SHARED_BEFORE 128 /* of the name before the last */

#endif
