#include "agent/service/regions.h"

#include "agent/runtime/fault_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

struct region {
    atomic_int refs;
    char name[REGION_NAME_BYTES + 1];
    enum region_kind kind;
    bool writable;
    uint8_t *memory; /* NULL: not mapped */
    size_t bytes;
    int fd; /* of a dma-buf, which is synchronised by it; else -1 */
    struct fault_region *guard;
};

/* ---- one region ---- */

void region_release(struct region *region)
{
    if (!region || atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) != 1)
        return;
    fault_guard_remove(region->guard);
    if (region->memory)
        munmap(region->memory, region->bytes);
    if (region->fd >= 0)
        close(region->fd);
    free(region);
}

/* What the descriptor is, how large, and that it cannot shrink by anybody's will. */
static int examine(const char *name, int fd, enum region_kind *ret_kind, uint64_t *ret_bytes,
                   struct lego_diag *diag)
{
    struct statfs system;
    struct stat info;
    if (fstatfs(fd, &system) != 0 || fstat(fd, &info) != 0)
        return lego_fail_errno(diag, errno, "region \"%s\"", name);
    if ((unsigned long)system.f_type == DMA_BUF_MAGIC) {
        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0)
            return lego_fail_errno(diag, errno, "region \"%s\": the size of the dma-buf", name);
        *ret_kind = REGION_DMA_BUF;
        *ret_bytes = (uint64_t)end;
        return LEGO_OK;
    }
    int seals = S_ISREG(info.st_mode) ? fcntl(fd, F_GET_SEALS) : -1;
    if (seals < 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "region \"%s\": the descriptor is neither a memfd nor a dma-buf", name);
    if (!(seals & F_SEAL_SHRINK))
        return lego_fail(diag, LEGO_E_PERMISSION,
                         "region \"%s\": the memfd must be sealed with F_SEAL_SHRINK", name);
    *ret_kind = REGION_MEMFD;
    *ret_bytes = (uint64_t)info.st_size;
    return LEGO_OK;
}

static int map_memory(struct region *region, int fd, struct lego_diag *diag)
{
    int protection = region->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, region->bytes, protection, MAP_SHARED, fd, 0);
    /* Older kernels refuse to share a memfd that is sealed against writing; for a reader a private
     * map shows the same. */
    if (memory == MAP_FAILED && errno == EPERM && !region->writable)
        memory = mmap(NULL, region->bytes, protection, MAP_PRIVATE, fd, 0);
    if (memory == MAP_FAILED)
        return lego_fail_errno(diag, errno, "region \"%s\" cannot be mapped%s", region->name,
                               region->writable ? " for writing" : "");
    region->memory = memory;
    return fault_guard_add(memory, region->bytes, &region->guard, diag);
}

static int set_size(struct region *region, uint64_t wanted, uint64_t has, uint64_t limit,
                    struct lego_diag *diag)
{
    uint64_t bytes = wanted ? wanted : has;
    if (bytes == 0 || bytes > has)
        return lego_fail(diag, LEGO_E_INVALID,
                         "region \"%s\": the descriptor has %llu bytes, %llu were announced",
                         region->name, (unsigned long long)has, (unsigned long long)bytes);
    if (bytes > limit || bytes > SIZE_MAX)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "region \"%s\": %llu bytes are over what is left of the client's memory, "
                         "%llu (limits.region_memory)",
                         region->name, (unsigned long long)bytes, (unsigned long long)limit);
    region->bytes = (size_t)bytes;
    return LEGO_OK;
}

int region_map(const char *name, int fd, uint64_t bytes, bool writable, uint64_t limit_bytes,
               struct region **ret_region, struct lego_diag *diag)
{
    struct region *region = calloc(1, sizeof(*region));
    uint64_t has = 0;
    if (!region) {
        close(fd);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a region");
    }
    atomic_init(&region->refs, 1);
    region->fd = fd;
    region->writable = writable;
    memcpy(region->name, name, strnlen(name, REGION_NAME_BYTES));
    int status = examine(region->name, fd, &region->kind, &has, diag);
    if (status == LEGO_OK)
        status = set_size(region, bytes, has, limit_bytes, diag);
    if (status == LEGO_OK)
        status = map_memory(region, fd, diag);
    if (status != LEGO_OK) {
        region_release(region);
        return status;
    }
    if (region->kind == REGION_MEMFD) { /* the map keeps the memory */
        close(fd);
        region->fd = -1;
    }
    *ret_region = region;
    return LEGO_OK;
}

const char *region_name(const struct region *region)
{
    return region->name;
}

enum region_kind region_kind(const struct region *region)
{
    return region->kind;
}

size_t region_bytes(const struct region *region)
{
    return region->bytes;
}

bool region_is_writable(const struct region *region)
{
    return region->writable;
}

bool region_is_lost(const struct region *region)
{
    return fault_guard_faulted(region->guard);
}

/* ---- access ---- */

/* A driver that offers no synchronisation needs none. */
static void synchronise(const struct region *region, uint64_t flags)
{
    struct dma_buf_sync sync = {.flags = flags};
    int tries = 0;
    if (region->fd < 0)
        return;
    while (ioctl(region->fd, DMA_BUF_IOCTL_SYNC, &sync) != 0 &&
           (errno == EINTR || errno == EAGAIN) && ++tries < 100)
        ;
}

static int check_lost(const struct region *region, struct lego_diag *diag)
{
    if (region_is_lost(region))
        return lego_fail(diag, LEGO_E_INVALID,
                         "region \"%s\": its memory went away under the agent: register it anew",
                         region->name);
    return LEGO_OK;
}

const uint8_t *region_read_begin(struct region *region, size_t offset)
{
    synchronise(region, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
    return region->memory + offset;
}

int region_read_end(struct region *region, struct lego_diag *diag)
{
    synchronise(region, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
    return check_lost(region, diag);
}

int region_write(struct region *region, size_t offset, const void *data, size_t bytes,
                 struct lego_diag *diag)
{
    synchronise(region, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
    if (bytes > 0)
        memcpy(region->memory + offset, data, bytes);
    synchronise(region, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
    return check_lost(region, diag);
}

/* ---- tables ---- */

struct region_table *region_table_ref(struct region_table *table)
{
    if (table)
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
    return table;
}

void region_table_unref(struct region_table *table)
{
    if (!table || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < table->count; i++)
        region_release(table->items[i]);
    free(table);
}

struct region *region_table_find(const struct region_table *table, const char *name)
{
    for (size_t i = 0; table && i < table->count; i++)
        if (!strcmp(table->items[i]->name, name))
            return table->items[i];
    return NULL;
}

/* A copy without `left_out` (may be NULL), with room for one more. */
static struct region_table *copy(const struct region_table *table, const char *left_out)
{
    size_t count = table ? table->count : 0;
    struct region_table *made = calloc(1, sizeof(*made) + (count + 1) * sizeof(struct region *));
    if (!made)
        return NULL;
    atomic_init(&made->refs, 1);
    for (size_t i = 0; i < count; i++) {
        struct region *region = table->items[i];
        if (left_out && !strcmp(region->name, left_out))
            continue;
        atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
        made->items[made->count++] = region;
        made->bytes += region->bytes;
    }
    return made;
}

int region_table_with(const struct region_table *table, struct region *region,
                      struct region_table **ret_table)
{
    struct region_table *made = copy(table, NULL);
    if (!made)
        return LEGO_E_NOMEM;
    made->items[made->count++] = region;
    made->bytes += region->bytes;
    *ret_table = made;
    return LEGO_OK;
}

int region_table_without(const struct region_table *table, const char *name,
                         struct region_table **ret_table)
{
    struct region_table *made = copy(table, name);
    if (!made)
        return LEGO_E_NOMEM;
    *ret_table = made;
    return LEGO_OK;
}
