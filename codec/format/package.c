/*
 * A package in memory: made, asked and freed.
 */
#include "codec/format/checksum.h"
#include "codec/format/internal.h"

#include "codec/base/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void format_release_graph(void *graph)
{
    lego_graph_destroy(graph);
}

int format_package_create(size_t graph_limit_bytes, struct format_package **ret_self)
{
    struct format_package *self = calloc(1, sizeof(*self));
    if (!self)
        return LEGO_E_NOMEM;
    int status = lego_graph_create(graph_limit_bytes, &self->package.graph);
    if (status != LEGO_OK) {
        free(self);
        return status;
    }
    *ret_self = self;
    return LEGO_OK;
}

int lego_package_create(struct lego_package **ret_package)
{
    struct format_package *self;
    int status = format_package_create(0, &self);
    if (status == LEGO_OK)
        *ret_package = &self->package;
    return status;
}

void lego_package_destroy(struct lego_package *package)
{
    if (!package)
        return;
    struct format_package *self = (struct format_package *)package;
    lego_graph_destroy(package->graph); /* first: it borrows from the mapping */
    if (self->mapping_owned)
        munmap((void *)(uintptr_t)self->mapping, self->mapping_bytes);
    for (unsigned kind = 0; kind < FORMAT_KIND_COUNT; kind++)
        free(self->unsqueezed[kind]);
    free(self);
}

const struct lego_section_info *lego_package_sections(const struct lego_package *package,
                                                      uint32_t *ret_count)
{
    const struct format_package *self = (const struct format_package *)package;
    *ret_count = self->section_count;
    return self->sections;
}

int lego_package_verify(const struct lego_package *package, struct lego_diag *diag)
{
    const struct format_package *self = (const struct format_package *)package;
    for (uint32_t i = 0; i < self->section_count; i++) {
        const struct lego_section_info *section = &self->sections[i];
        const uint8_t *data = (const uint8_t *)self->mapping + section->offset;
        if (XXH3_64bits(data, (size_t)section->bytes) != section->checksum)
            return lego_fail(diag, LEGO_E_CHECKSUM,
                             "section %s at offset %" PRIu64 " (%" PRIu64
                             " bytes): checksum mismatch",
                             section->name, section->offset, section->bytes);
    }
    return LEGO_OK;
}

const void *lego_package_mapping(const struct lego_package *package, size_t *ret_bytes)
{
    const struct format_package *self = (const struct format_package *)package;
    *ret_bytes = self->mapping_bytes;
    return self->mapping;
}

static struct lego_metadata_entry *find_metadata(const struct lego_package *package,
                                                 const char *key)
{
    for (uint32_t i = 0; i < package->metadata_count; i++) {
        if (strcmp(package->metadata[i].key, key) == 0)
            return &package->metadata[i];
    }
    return NULL;
}

const char *lego_package_metadata(const struct lego_package *package, const char *key)
{
    const struct lego_metadata_entry *entry = find_metadata(package, key);
    return entry ? entry->value : NULL;
}

int lego_package_set_metadata(struct lego_package *package, const char *key, const char *value)
{
    struct lego_arena *arena = package->graph->arena;
    if (!*key)
        return LEGO_E_INVALID;
    const char *copy = lego_arena_strdup(arena, value);
    if (!copy)
        return LEGO_E_NOMEM;
    struct lego_metadata_entry *entry = find_metadata(package, key);
    if (entry) {
        entry->value = copy;
        return LEGO_OK;
    }
    uint32_t count = package->metadata_count;
    struct lego_metadata_entry *grown = lego_arena_calloc(arena, (size_t)count + 1, sizeof(*grown));
    const char *key_copy = lego_arena_strdup(arena, key);
    if (!grown || !key_copy)
        return LEGO_E_NOMEM;
    if (count > 0)
        memcpy(grown, package->metadata, count * sizeof(*grown));
    grown[count] = (struct lego_metadata_entry){.key = key_copy, .value = copy};
    package->metadata = grown;
    package->metadata_count = count + 1;
    return LEGO_OK;
}
