#include "tests/support/container.h"

#include "codec/format/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static struct container allocate(size_t bytes)
{
    void *memory;
    if (posix_memalign(&memory, FORMAT_SECTION_ALIGN, bytes ? bytes : 1) != 0)
        abort();
    memset(memory, 0, bytes);
    return (struct container){memory, bytes};
}

struct container container_copy(const void *data, size_t bytes)
{
    struct container copy = allocate(bytes);
    memcpy(copy.data, data, bytes);
    return copy;
}

void container_free(struct container *container)
{
    free(container->data);
    container->data = NULL;
}

struct container container_write(const struct lego_package *package)
{
    char path[] = "/tmp/lego-container-XXXXXX";
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t bytes;
    int fd = mkstemp(path);
    if (fd < 0 || lego_package_write(package, path, &bytes, &diag) != LEGO_OK) {
        fprintf(stderr, "container: %s\n", diag.text);
        abort();
    }
    close(fd);
    FILE *file = fopen(path, "rb");
    struct container container = allocate(bytes);
    if (!file || fread(container.data, 1, bytes, file) != bytes || fgetc(file) != EOF)
        abort();
    fclose(file);
    unlink(path);
    return container;
}

void container_mend(uint8_t *data, size_t bytes)
{
    struct format_header *header = (struct format_header *)data;
    struct format_section *table = (struct format_section *)(header + 1);
    if (bytes < sizeof(*header) || header->section_count > FORMAT_MAX_SECTIONS ||
        header->section_count * sizeof(*table) > bytes - sizeof(*header))
        return;
    memcpy(header->magic, format_magic, sizeof(header->magic));
    header->version_major = FORMAT_VERSION_MAJOR;
    header->file_bytes = bytes;
    for (uint32_t i = 0; i < header->section_count; i++) {
        if (table[i].offset <= bytes && table[i].bytes <= bytes - table[i].offset)
            table[i].checksum = XXH3_64bits(data + table[i].offset, (size_t)table[i].bytes);
    }
    header->checksum = format_header_checksum(header, table);
}

static struct format_section *find_section(const struct container *container, const char *name)
{
    struct format_header *header = (struct format_header *)container->data;
    struct format_section *table = (struct format_section *)(header + 1);
    for (uint32_t i = 0; i < header->section_count; i++) {
        if (strcmp(format_kinds[table[i].kind].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

uint8_t *container_section(const struct container *container, const char *name, size_t *ret_bytes)
{
    const struct format_section *section = find_section(container, name);
    if (!section)
        return NULL;
    *ret_bytes = (size_t)section->bytes;
    return container->data + section->offset;
}

struct container container_replace(const struct container *container, const char *name,
                                   const void *data, size_t bytes)
{
    const struct format_header *header = (struct format_header *)container->data;
    const struct format_section *table = (const struct format_section *)(header + 1);
    const struct format_section *replaced = find_section(container, name);
    struct container result = allocate(container->bytes + bytes + FORMAT_SECTION_ALIGN);
    size_t at = sizeof(*header) + header->section_count * sizeof(*table);
    memcpy(result.data, container->data, at);
    struct format_section *out = (struct format_section *)(result.data + sizeof(*header));
    for (uint32_t i = 0; i < header->section_count; i++) {
        bool other = &table[i] == replaced;
        const void *source = other ? data : container->data + table[i].offset;
        at = (at + FORMAT_SECTION_ALIGN - 1) & ~(size_t)(FORMAT_SECTION_ALIGN - 1);
        out[i].offset = at;
        out[i].bytes = other ? bytes : table[i].bytes;
        memcpy(result.data + at, source, (size_t)out[i].bytes);
        at += (size_t)out[i].bytes;
    }
    struct container exact = container_copy(result.data, at);
    container_free(&result);
    container_mend(exact.data, exact.bytes);
    return exact;
}
