/*
 * Opening a `.lego`: mapping, header, section table, checksums. FORMAT.md, sections 2 and 3.
 */
#include "codec/format/checksum.h"
#include "codec/format/reader.h"
#include "codec/format/squeeze.h"

#include "codec/base/arith.h"
#include "codec/base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)64 << 10)

int read_nomem(struct reader *reader)
{
    return lego_fail(reader->diag, LEGO_E_NOMEM, "out of memory, or over the limit of a graph");
}

int read_take(struct reader *reader, enum format_kind kind, size_t bytes, size_t align,
              const void **ret_data)
{
    /* Empty tensors and catalogues of one entry store nothing, not even alignment. */
    static const uint8_t nothing[LEGO_STREAM_TAIL_BYTES] __attribute__((aligned(16)));
    struct read_cursor *cursor = &reader->cursors[kind];
    size_t first, end;
    if (bytes == 0) {
        *ret_data = nothing;
        return LEGO_OK;
    }
    if (!lego_align_up(cursor->at, align, &first) || !lego_add_size(first, bytes, &end) ||
        end > cursor->bytes)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "section %s at offset %" PRIu64 ": %zu bytes are wanted behind %zu of %zu",
                         format_kinds[kind].name, cursor->file_offset, bytes, cursor->at,
                         cursor->bytes);
    cursor->at = end;
    *ret_data = cursor->data + first;
    return LEGO_OK;
}

int read_copy(struct reader *reader, const void *mapped, void *buffer, size_t bytes)
{
    const uintptr_t from = (uintptr_t)mapped, mapping = (uintptr_t)reader->mapping;
    if (reader->fd < 0 || from < mapping || from - mapping >= reader->mapping_bytes) {
        memcpy(buffer, mapped, bytes); /* memory, or what was squeezed */
        return LEGO_OK;
    }
    off_t offset = (const uint8_t *)mapped - reader->mapping;
    uint8_t *at = buffer;
    while (bytes > 0) {
        ssize_t got = pread(reader->fd, at, bytes, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lego_fail_errno(reader->diag, errno, "reading at offset %lld",
                                   (long long)offset);
        if (got == 0)
            return lego_fail(reader->diag, LEGO_E_FAULT,
                             "it ends at offset %lld: it shrank while it was read",
                             (long long)offset);
        at += got;
        bytes -= (size_t)got;
        offset += got;
    }
    return LEGO_OK;
}

static int check_magic(struct reader *reader)
{
    struct format_header *header = &reader->head.header;
    if (reader->mapping_bytes < sizeof(*header))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "no .lego: %zu bytes are less than a header",
                         reader->mapping_bytes);
    int status = read_copy(reader, reader->mapping, header, sizeof(*header));
    if (status != LEGO_OK)
        return status;
    if (memcmp(header->magic, format_magic, sizeof(header->magic)) != 0)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "no .lego: it does not begin with the magic bytes");
    if (header->version_major != FORMAT_VERSION_MAJOR)
        return lego_fail(reader->diag, LEGO_E_VERSION,
                         "written as version %u.%u, this library reads version %u",
                         header->version_major, header->version_minor, FORMAT_VERSION_MAJOR);
    if (header->file_bytes != reader->mapping_bytes)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "it should have %" PRIu64 " bytes and has %zu: truncated or extended",
                         header->file_bytes, reader->mapping_bytes);
    return LEGO_OK;
}

/* The header's checksum covers itself and the section table. */
static int check_header(struct reader *reader)
{
    const struct format_header *header = &reader->head.header;
    int status = check_magic(reader);
    if (status != LEGO_OK)
        return status;
    size_t table = (size_t)header->section_count * sizeof(struct format_section);
    if (header->section_count < 1 || header->section_count > FORMAT_MAX_SECTIONS ||
        table > reader->mapping_bytes - sizeof(*header))
        return lego_fail(reader->diag, LEGO_E_FORMAT, "a table of %u sections",
                         header->section_count);
    status = read_copy(reader, reader->mapping + sizeof(*header), reader->head.table, table);
    if (status != LEGO_OK)
        return status;
    if (format_header_checksum(header, reader->head.table) != header->checksum)
        return lego_fail(reader->diag, LEGO_E_CHECKSUM,
                         "the checksum of header and section table does not match");
    if (header->features & ~FORMAT_FEATURES_KNOWN)
        return lego_fail(reader->diag, LEGO_E_VERSION,
                         "it uses features 0x%" PRIx64 " that this library does not know",
                         header->features & ~FORMAT_FEATURES_KNOWN);
    return LEGO_OK;
}

static bool is_zero(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i])
            return false;
    }
    return true;
}

/* `end`: where the section before this one ends. */
static int check_section(struct reader *reader, const struct format_section *section, uint32_t i,
                         uint64_t end)
{
    uint64_t offset = section->offset, bytes = reader->mapping_bytes;
    uint8_t gap[FORMAT_SECTION_ALIGN];
    if (offset < end || offset - end >= FORMAT_SECTION_ALIGN ||
        offset % FORMAT_SECTION_ALIGN != 0 || offset > bytes || section->bytes > bytes - offset)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "section %u: offset %" PRIu64 " and %" PRIu64 " bytes do not fit", i,
                         offset, section->bytes);
    int status = read_copy(reader, reader->mapping + end, gap, (size_t)(offset - end));
    if (status != LEGO_OK)
        return status;
    if (!is_zero(gap, (size_t)(offset - end)))
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "section %u at offset %" PRIu64 ": the padding before it is not zero", i,
                         offset);
    bool known = section->kind > 0 && section->kind < FORMAT_KIND_COUNT;
    if (!known && (section->flags & FORMAT_SECTION_REQUIRED))
        return lego_fail(reader->diag, LEGO_E_VERSION,
                         "section %u at offset %" PRIu64 " is of kind %u, which is not known here",
                         i, offset, section->kind);
    if (known && reader->cursors[section->kind].data)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "a second section %s at offset %" PRIu64,
                         format_kinds[section->kind].name, offset);
    return LEGO_OK;
}

static int hash_section(struct reader *reader, const struct format_section *section,
                        XXH3_state_t *state, uint8_t *buffer)
{
    XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < section->bytes;) {
        size_t some = CHUNK_BYTES;
        if (section->bytes - at < some)
            some = (size_t)(section->bytes - at);
        int status = read_copy(reader, reader->mapping + section->offset + at, buffer, some);
        if (status != LEGO_OK)
            return status;
        XXH3_64bits_update(state, buffer, some);
        at += some;
    }
    return LEGO_OK;
}

static int check_section_checksum(struct reader *reader, const struct format_section *section,
                                  const char *name)
{
    XXH3_state_t *state = XXH3_createState();
    uint8_t *buffer = malloc(CHUNK_BYTES);
    int status =
        state && buffer ? hash_section(reader, section, state, buffer) : read_nomem(reader);
    if (status == LEGO_OK && XXH3_64bits_digest(state) != section->checksum)
        status =
            lego_fail(reader->diag, LEGO_E_CHECKSUM,
                      "section %s at offset %" PRIu64 " (%" PRIu64 " bytes): checksum mismatch",
                      name, section->offset, section->bytes);
    XXH3_freeState(state);
    free(buffer);
    return status;
}

static int unsqueeze(struct reader *reader, const struct format_section *section,
                     const uint8_t *squeezed, struct read_cursor *cursor)
{
    uint32_t bytes;
    memcpy(&bytes, squeezed, sizeof(bytes));
    if (bytes > SQUEEZE_MAX_BYTES)
        return lego_fail(reader->diag, LEGO_E_LIMIT, "%" PRIu32 " bytes, squeezed, are too many",
                         bytes);
    const size_t room =
        ((size_t)bytes + FORMAT_SECTION_ALIGN) & ~(size_t)(FORMAT_SECTION_ALIGN - 1);
    uint8_t *data = aligned_alloc(FORMAT_SECTION_ALIGN, room);
    if (!data)
        return read_nomem(reader);
    reader->self->unsqueezed[section->kind] = data;
    cursor->data = data;
    cursor->bytes = bytes;
    const int status = squeeze_undo(squeezed + FORMAT_SQUEEZE_HEAD,
                                    (size_t)section->bytes - FORMAT_SQUEEZE_HEAD, data, bytes);
    return status == LEGO_E_FORMAT
               ? lego_fail(reader->diag, status, "more squeezed bytes than are needed")
           : status == LEGO_OK ? LEGO_OK
                               : read_nomem(reader);
}

/* A squeezed section becomes memory of the package's. */
static int read_squeezed(struct reader *reader, const struct format_section *section,
                         struct read_cursor *cursor)
{
    int status;
    if (!format_may_squeeze(section->kind) || section->bytes < FORMAT_SQUEEZE_HEAD ||
        section->bytes > SQUEEZE_MAX_BYTES + FORMAT_SQUEEZE_HEAD)
        status = lego_fail(reader->diag, LEGO_E_FORMAT, "it cannot be squeezed");
    else {
        uint8_t *squeezed = malloc((size_t)section->bytes);
        status = squeezed ? read_copy(reader, cursor->data, squeezed, (size_t)section->bytes)
                          : read_nomem(reader);
        if (status == LEGO_OK)
            status = unsqueeze(reader, section, squeezed, cursor);
        free(squeezed);
    }
    if (status == LEGO_OK)
        return LEGO_OK;
    return lego_diag_prefix(reader->diag, status, "section %s at offset %" PRIu64,
                            format_kinds[section->kind].name, section->offset);
}

static int read_sections(struct reader *reader, enum lego_verify verify)
{
    struct format_package *self = reader->self;
    const uint8_t *data = reader->mapping;
    const struct format_header *header = &reader->head.header;
    const struct format_section *table = reader->head.table;
    uint64_t end = sizeof(*header) + header->section_count * sizeof(*table);
    for (uint32_t i = 0; i < header->section_count; i++) {
        const struct format_section *section = &table[i];
        int status = check_section(reader, section, i, end);
        if (status != LEGO_OK)
            return status;
        bool known = section->kind > 0 && section->kind < FORMAT_KIND_COUNT;
        const char *name = known ? format_kinds[section->kind].name : "?";
        bool bulk = !known || format_kinds[section->kind].bulk;
        const bool squeezed = known && (header->features & FORMAT_FEATURE_SQUEEZE) &&
                              (section->flags & FORMAT_SECTION_SQUEEZED);
        if (verify == LEGO_VERIFY_CHECKSUMS || !bulk || squeezed)
            status = check_section_checksum(reader, section, name);
        if (status != LEGO_OK)
            return status;
        if (known)
            reader->cursors[section->kind] = (struct read_cursor){
                .kind = (enum format_kind)section->kind,
                .data = data + section->offset,
                .bytes = (size_t)section->bytes,
                .file_offset = section->offset,
            };
        if (squeezed)
            status = read_squeezed(reader, section, &reader->cursors[section->kind]);
        if (status != LEGO_OK)
            return status;
        self->sections[i] =
            (struct lego_section_info){name, section->offset, section->bytes, section->checksum};
        self->section_count = i + 1;
        end = section->offset + section->bytes;
    }
    if (end != reader->mapping_bytes)
        return lego_fail(reader->diag, LEGO_E_FORMAT,
                         "the last section ends at %" PRIu64 ", not at the file's end", end);
    return LEGO_OK;
}

/* Every byte of every section must belong to something. */
static int check_leftovers(struct reader *reader)
{
    for (unsigned kind = 1; kind < FORMAT_KIND_COUNT; kind++) {
        const struct read_cursor *cursor = &reader->cursors[kind];
        size_t used = cursor->at;
        if (!cursor->data || kind == FORMAT_KIND_GRAPH || kind == FORMAT_KIND_SIGNATURE)
            continue;
        if (kind == FORMAT_KIND_INDICES)
            used += LEGO_STREAM_TAIL_BYTES;
        if (used != cursor->bytes)
            return lego_fail(reader->diag, LEGO_E_FORMAT,
                             "section %s at offset %" PRIu64 ": %zu bytes are used of %zu",
                             format_kinds[kind].name, cursor->file_offset, used, cursor->bytes);
    }
    return LEGO_OK;
}

static int read_all(struct reader *reader, enum lego_verify verify)
{
    int status = read_sections(reader, verify);
    if (status != LEGO_OK)
        return status;
    struct read_cursor *graph = &reader->cursors[FORMAT_KIND_GRAPH];
    struct read_cursor *indices = &reader->cursors[FORMAT_KIND_INDICES];
    struct read_cursor *signature = &reader->cursors[FORMAT_KIND_SIGNATURE];
    if (!graph->data)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "it has no section GRAPH");
    if (graph->bytes > FORMAT_MAX_GRAPH_BYTES || signature->bytes > FORMAT_MAX_SIGNATURE_BYTES)
        return lego_fail(reader->diag, LEGO_E_LIMIT, "section %s is too large",
                         graph->bytes > FORMAT_MAX_GRAPH_BYTES ? "GRAPH" : "SIGNATURE");
    if (indices->data && indices->bytes < LEGO_STREAM_TAIL_BYTES)
        return lego_fail(reader->diag, LEGO_E_FORMAT, "section INDICES lacks its tail");
    if (indices->data)
        indices->bytes -= LEGO_STREAM_TAIL_BYTES;
    status = read_model(reader);
    if (status != LEGO_OK)
        return lego_diag_prefix(reader->diag, status, "section GRAPH at offset %" PRIu64,
                                graph->file_offset);
    if (indices->data)
        indices->bytes += LEGO_STREAM_TAIL_BYTES;
    reader->self->package.signature = signature->data;
    reader->self->package.signature_bytes = signature->bytes;
    return check_leftovers(reader);
}

/* Takes the mapping of a descriptor, whatever the outcome; memory (fd < 0) stays the caller's. */
static int open_mapping(const void *data, size_t bytes, int fd, const char *name,
                        enum lego_verify verify, struct lego_package **ret_package,
                        struct lego_diag *diag)
{
    bool owned = fd >= 0;
    struct lego_diag own = LEGO_DIAG_INIT;
    struct reader reader = {
        .diag = diag ? diag : &own, .mapping = data, .mapping_bytes = bytes, .fd = fd};
    size_t limit = SIZE_MAX;
    if (bytes < (SIZE_MAX - FORMAT_ARENA_BYTES) / 4)
        limit = FORMAT_ARENA_BYTES + 4 * bytes; /* what is stored as FP16 is held as FP32 */
    int status = check_header(&reader);
    if (status == LEGO_OK && format_package_create(limit, &reader.self) != LEGO_OK)
        status = read_nomem(&reader);
    if (status != LEGO_OK) {
        if (owned)
            munmap((void *)(uintptr_t)data, bytes);
        return lego_diag_prefix(reader.diag, status, "%s", name);
    }
    reader.self->mapping = data;
    reader.self->mapping_bytes = bytes;
    reader.self->mapping_owned = owned;
    status = read_all(&reader, verify);
    if (status != LEGO_OK) {
        lego_package_destroy(&reader.self->package);
        return lego_diag_prefix(reader.diag, status, "%s", name);
    }
    reader.self->package.file_bytes = bytes;
    *ret_package = &reader.self->package;
    return LEGO_OK;
}

int lego_package_open_memory(const void *data, size_t bytes, enum lego_verify verify,
                             struct lego_package **ret_package, struct lego_diag *diag)
{
    if ((uintptr_t)data % FORMAT_SECTION_ALIGN != 0)
        return lego_fail(diag, LEGO_E_INVALID, "the memory is not aligned to %d bytes",
                         FORMAT_SECTION_ALIGN);
    return open_mapping(data, bytes, -1, "(memory)", verify, ret_package, diag);
}

int lego_package_open_fd(int fd, const char *name, enum lego_verify verify,
                         struct lego_package **ret_package, struct lego_diag *diag)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return lego_fail_errno(diag, errno, "%s", name);
    if (!S_ISREG(info.st_mode))
        return lego_fail(diag, LEGO_E_INVALID, "%s: not a regular file", name);
    if (info.st_size < (off_t)sizeof(struct format_header))
        return lego_fail(diag, LEGO_E_FORMAT, "%s: no .lego: %lld bytes are less than a header",
                         name, (long long)info.st_size);
    if ((uint64_t)info.st_size > FORMAT_MAX_FILE_BYTES || (uint64_t)info.st_size > SIZE_MAX)
        return lego_fail(diag, LEGO_E_LIMIT, "%s: %lld bytes are too many", name,
                         (long long)info.st_size);
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return lego_fail_errno(diag, errno, "%s: cannot be mapped", name);
    return open_mapping(data, (size_t)info.st_size, fd, name, verify, ret_package, diag);
}

int lego_package_open(const char *path, enum lego_verify verify, struct lego_package **ret_package,
                      struct lego_diag *diag)
{
    /* O_NONBLOCK: a FIFO must not hold us up; for regular files it means nothing. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    int status = lego_package_open_fd(fd, path, verify, ret_package, diag);
    close(fd);
    return status;
}
