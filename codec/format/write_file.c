/*
 * Writing a `.lego`: sections from parts, checksums on the way, the header last, and the file under
 * its name only when it is whole.
 */
#include "codec/format/checksum.h"
#include "codec/format/writer.h"

#include "codec/base/arith.h"
#include "codec/base/half.h"
#include "codec/base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BUFFER_BYTES ((size_t)64 << 10)

/* A file that is written from front to back. */
struct out {
    int fd;
    uint64_t offset;    /* of what comes next */
    XXH3_state_t *hash; /* of the section so far */
    size_t buffered;
    uint8_t buffer[OUT_BUFFER_BYTES];
};

static int write_all(int fd, const uint8_t *data, size_t bytes, off_t offset)
{
    while (bytes > 0) {
        ssize_t done = pwrite(fd, data, bytes, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        data += done;
        bytes -= (size_t)done;
        offset += done;
    }
    return 0;
}

static int out_flush(struct out *out)
{
    int error =
        write_all(out->fd, out->buffer, out->buffered, (off_t)(out->offset - out->buffered));
    out->buffered = 0;
    return error;
}

/* Returns 0 or an errno value. */
static int out_bytes(struct out *out, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    XXH3_64bits_update(out->hash, data, bytes);
    while (bytes > 0) {
        size_t room = OUT_BUFFER_BYTES - out->buffered;
        size_t some = lego_min_size(room, bytes);
        memcpy(out->buffer + out->buffered, at, some);
        out->buffered += some;
        out->offset += some;
        at += some;
        bytes -= some;
        if (out->buffered == OUT_BUFFER_BYTES) {
            int error = out_flush(out);
            if (error)
                return error;
        }
    }
    return 0;
}

static int out_zeros(struct out *out, size_t bytes)
{
    static const uint8_t zeros[FORMAT_SECTION_ALIGN];
    return out_bytes(out, zeros, bytes); /* never more than an alignment's or the tail's */
}

static int out_halves(struct out *out, const float *data, size_t elems)
{
    uint16_t halves[256];
    int error = 0;
    for (size_t i = 0; error == 0 && i < elems;) {
        size_t some = lego_min_size(elems - i, 256);
        for (size_t k = 0; k < some; k++)
            halves[k] = lego_half_from_float(data[i + k]);
        error = out_bytes(out, halves, some * sizeof(halves[0]));
        i += some;
    }
    return error;
}

static size_t padding(uint64_t offset, size_t align)
{
    return (size_t)(-offset & (align - 1));
}

static int out_section(struct out *out, const struct write_section *section, uint32_t kind,
                       struct format_section *entry)
{
    int error = out_zeros(out, padding(out->offset, FORMAT_SECTION_ALIGN));
    *entry = (struct format_section){.kind = kind, .flags = section->flags, .offset = out->offset};
    XXH3_64bits_reset(out->hash);
    for (size_t i = 0; error == 0 && i < section->count; i++) {
        const struct write_part *part = &section->parts[i];
        error = out_zeros(out, padding(out->offset, part->align));
        if (error == 0 && part->half)
            error = out_halves(out, part->data, part->bytes / sizeof(uint16_t));
        else if (error == 0)
            error = out_bytes(out, part->data, part->bytes);
    }
    if (error == 0)
        error = out_zeros(out, section->tail_bytes);
    entry->bytes = out->offset - entry->offset;
    entry->checksum = XXH3_64bits_digest(out->hash);
    return error;
}

/* The order of sections in the file: what is small and read first stands in front. */
static const enum format_kind section_order[] = {
    FORMAT_KIND_GRAPH,   FORMAT_KIND_CATALOGUES, FORMAT_KIND_SCALES,   FORMAT_KIND_PERMUTATIONS,
    FORMAT_KIND_INDICES, FORMAT_KIND_DENSE,      FORMAT_KIND_SELFTEST, FORMAT_KIND_SIGNATURE,
};

size_t write_section_bytes(const struct write_section *section)
{
    size_t bytes = 0;
    for (size_t i = 0; i < section->count; i++)
        bytes += padding(bytes, section->parts[i].align) + section->parts[i].bytes;
    return bytes + section->tail_bytes;
}

static int out_file(struct writer *writer, struct out *out)
{
    struct {
        struct format_header header;
        struct format_section table[FORMAT_KIND_COUNT];
    } head = {.header = {.version_major = FORMAT_VERSION_MAJOR,
                         .version_minor = FORMAT_VERSION_MINOR,
                         .features = writer->features}};
    memcpy(head.header.magic, format_magic, sizeof(format_magic));
    for (size_t i = 0; i < sizeof(section_order) / sizeof(section_order[0]); i++)
        head.header.section_count += writer->sections[section_order[i]].count > 0;
    size_t head_bytes =
        sizeof(head.header) + head.header.section_count * sizeof(struct format_section);

    int error = 0;
    uint32_t at = 0;
    out->offset = head_bytes; /* header and table come last, in the hole that this leaves */
    for (size_t i = 0; error == 0 && i < sizeof(section_order) / sizeof(section_order[0]); i++) {
        enum format_kind kind = section_order[i];
        if (writer->sections[kind].count > 0)
            error = out_section(out, &writer->sections[kind], kind, &head.table[at++]);
    }
    if (error == 0)
        error = out_flush(out);
    if (error != 0)
        return error;
    head.header.file_bytes = out->offset;
    head.header.checksum = format_header_checksum(&head.header, head.table);
    return write_all(out->fd, (const uint8_t *)&head, head_bytes, 0);
}

int write_sections(struct writer *writer, int fd, uint64_t *ret_bytes)
{
    struct out *out = write_alloc(writer, 1, sizeof(*out));
    if (!out)
        return LEGO_E_NOMEM;
    out->fd = fd;
    out->hash = XXH3_createState();
    if (!out->hash)
        return lego_fail(writer->diag, LEGO_E_NOMEM, "out of memory while writing");
    XXH3_64bits_reset(out->hash);
    int error = out_file(writer, out);
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    XXH3_freeState(out->hash);
    if (error != 0)
        return lego_fail_errno(writer->diag, error, "cannot be written");
    *ret_bytes = out->offset;
    return LEGO_OK;
}

/* Makes a file beside `path`; returns its descriptor and its name in `temporary`. */
static int create_beside(const char *path, char *temporary, size_t bytes, struct lego_diag *diag)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        uint32_t random;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return lego_fail_errno(diag, errno, "%s", path);
        snprintf(temporary, bytes, "%s.%08x.tmp", path, (unsigned)random);
        int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            return lego_fail_errno(diag, errno, "%s: cannot be created", temporary);
    }
    return lego_fail(diag, LEGO_E_EXISTS, "%s: no free name beside it", path);
}

/* The rename must survive a power cut, too. */
static void sync_directory(const char *path)
{
    char *copy = strdup(path);
    char *slash = copy ? strrchr(copy, '/') : NULL;
    if (slash)
        slash[slash == copy] = '\0';
    int fd = copy ? open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* not every file system can; the file is whole in any case */
        close(fd);
    }
    free(copy);
}

static int write_beside(struct writer *writer, const char *path, char *temporary, size_t bytes,
                        uint64_t *ret_bytes)
{
    int fd = create_beside(path, temporary, bytes, writer->diag);
    if (fd < 0)
        return fd;
    int status = write_sections(writer, fd, ret_bytes);
    if (close(fd) != 0 && status == LEGO_OK)
        status = lego_fail_errno(writer->diag, errno, "cannot be closed");
    if (status == LEGO_OK && rename(temporary, path) != 0)
        status = lego_fail_errno(writer->diag, errno, "cannot be renamed");
    if (status != LEGO_OK)
        unlink(temporary);
    else
        sync_directory(path);
    return status;
}

static int write_file(struct writer *writer, const char *path, uint64_t *ret_bytes)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return lego_fail(writer->diag, LEGO_E_INVALID, "it exists and is no regular file");
    size_t bytes = strlen(path) + sizeof(".00000000.tmp");
    char *temporary = write_alloc(writer, bytes, 1);
    return temporary ? write_beside(writer, path, temporary, bytes, ret_bytes) : LEGO_E_NOMEM;
}

int lego_package_measure(const struct lego_package *package, uint64_t *ret_bytes,
                         struct lego_diag *diag)
{
    struct lego_diag own = LEGO_DIAG_INIT;
    struct writer writer = {.package = package, .diag = diag ? diag : &own};
    writer.arena = lego_arena_create(0);
    if (!writer.arena)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    const int status = write_model(&writer);
    uint64_t bytes = sizeof(struct format_header);
    for (unsigned kind = 0; kind < FORMAT_KIND_COUNT; kind++)
        bytes += writer.sections[kind].count > 0 ? sizeof(struct format_section) : 0;
    for (size_t i = 0; i < sizeof(section_order) / sizeof(section_order[0]); i++) {
        const struct write_section *section = &writer.sections[section_order[i]];
        if (section->count > 0)
            bytes += padding(bytes, FORMAT_SECTION_ALIGN) + write_section_bytes(section);
    }
    lego_arena_destroy(writer.arena);
    if (status == LEGO_OK)
        *ret_bytes = bytes;
    return status;
}

int lego_package_write(const struct lego_package *package, const char *path, uint64_t *ret_bytes,
                       struct lego_diag *diag)
{
    struct lego_diag own = LEGO_DIAG_INIT;
    struct writer writer = {.package = package, .diag = diag ? diag : &own};
    uint64_t bytes;
    writer.arena = lego_arena_create(0);
    if (!writer.arena)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    int status = write_model(&writer);
    if (status == LEGO_OK)
        status = write_file(&writer, path, &bytes);
    lego_arena_destroy(writer.arena);
    if (status != LEGO_OK)
        return lego_diag_prefix(writer.diag, status, "%s", path);
    if (ret_bytes)
        *ret_bytes = bytes;
    return LEGO_OK;
}
