/* Preloaded into an agent: allocations fail and the clock jumps, as the test says. */
#include "tests/agent/faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* glibc's own, under names that nobody replaces. */
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static struct faults *faults;

__attribute__((constructor)) static void set_up(void)
{
    const char *path = getenv(FAULTS_ENV);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    faults = map;
    atomic_store(&faults->loaded, 1);
}

/* Scattered, and the same for the same count. */
static int fails(void)
{
    uint32_t rate = faults ? atomic_load(&faults->rate) : 0;
    if (rate == 0)
        return 0;
    uint32_t number = atomic_fetch_add(&faults->count, 1) * 2654435761u;
    if ((number >> 8) % rate != 0)
        return 0;
    atomic_fetch_add(&faults->failed, 1);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(block, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(align, bytes);
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, ret_time);
    if (result == 0 && faults && clock == CLOCK_REALTIME)
        ret_time->tv_sec += atomic_load(&faults->jump_s);
    return result;
}
