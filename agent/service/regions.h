/*
 * Memory that clients share with the agent: memfds and dma-bufs, mapped, named per connection.
 *
 * A connection has a table of its regions. A table never changes: registering and removing make a
 * new one, and a request that is under way keeps the one of its arrival. A region is unmapped when
 * the last table that holds it goes. The loop thread makes tables; any thread reads and releases
 * them.
 *
 * What lies in a region may change at any moment, and memory may vanish under the map: reading
 * gives bytes without promise, and `region_is_lost` says afterwards whether they were there.
 */
#ifndef LEGO_SERVICE_REGIONS_H
#define LEGO_SERVICE_REGIONS_H

#include "codec/base/diag.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGION_NAME_BYTES 128

enum region_kind { REGION_MEMFD, REGION_DMA_BUF };

struct region;

/*
 * Maps `bytes` bytes (0: all) of a descriptor, which is taken, also on failure. `limit_bytes`
 * bounds the map. E_UNSUPPORTED: neither a memfd nor a dma-buf; E_PERMISSION: a memfd without
 * F_SEAL_SHRINK, or one that may not be mapped so; E_INVALID: it is smaller than `bytes`, or empty;
 * E_LIMIT; E_NOMEM; E_IO. The diag names the region.
 */
int region_map(const char *name, int fd, uint64_t bytes, bool writable, uint64_t limit_bytes,
               struct region **ret_region, struct lego_diag *diag);
void region_release(struct region *region); /* one reference */

const char *region_name(const struct region *region);
enum region_kind region_kind(const struct region *region);
size_t region_bytes(const struct region *region);
bool region_is_writable(const struct region *region);

/* True once memory was missing under the map; it stays true. */
bool region_is_lost(const struct region *region);

/*
 * Access from the CPU, around which a dma-buf is synchronised. `offset` + `bytes` lie inside.
 * region_read_begin returns the memory, to be given back by region_read_end with E_INVALID where
 * part of it was missing. region_write copies. Any thread.
 */
const uint8_t *region_read_begin(struct region *region, size_t offset);
int region_read_end(struct region *region, struct lego_diag *diag);
int region_write(struct region *region, size_t offset, const void *data, size_t bytes,
                 struct lego_diag *diag);

struct region_table {
    atomic_int refs;
    size_t count;
    size_t bytes; /* of all its regions */
    struct region *items[];
};

/* NULL is the empty table, everywhere. */
struct region_table *region_table_ref(struct region_table *table);
void region_table_unref(struct region_table *table);
struct region *region_table_find(const struct region_table *table, const char *name);

/* A new table with `region`, whose reference it takes on success. E_NOMEM. */
int region_table_with(const struct region_table *table, struct region *region,
                      struct region_table **ret_table);

/* A new table without the region of that name. E_NOMEM. */
int region_table_without(const struct region_table *table, const char *name,
                         struct region_table **ret_table);

#endif
