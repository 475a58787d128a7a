#include "agent/runtime/cache.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define CACHE_CPU     "/sys/devices/system/cpu/cpu0/"
#define CACHE_DEFAULT (256u << 10)
#define CACHE_LEAST   (64u << 10)
#define CACHE_MOST    (16u << 20)

static size_t l2_share = CACHE_DEFAULT;

static bool cache_read(const char *path, char line[128])
{
    FILE *file = fopen(path, "re");
    bool read = file && fgets(line, 128, file);

    if (file)
        fclose(file);
    return read;
}

/* How many processors a list like "0-3,8" names; 0: it is none. */
static unsigned long cache_cpus(const char *path)
{
    char line[128], *at = line;
    unsigned long count = 0;

    if (!cache_read(path, line))
        return 0;
    for (;;) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (end == at)
            return 0;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        count += last >= first ? last - first + 1 : 0;
        if (*end != ',')
            return count;
        at = end + 1;
    }
}

static void cache_ask(void)
{
    char line[128], level[128];
    unsigned long threads = cache_cpus(CACHE_CPU "topology/thread_siblings_list");
    unsigned long sharing = cache_cpus(CACHE_CPU "cache/index2/shared_cpu_list");
    size_t bytes;

    if (!cache_read(CACHE_CPU "cache/index2/level", level) || level[0] != '2' ||
        !cache_read(CACHE_CPU "cache/index2/size", line))
        return;
    bytes = strtoul(line, NULL, 10) << 10; /* "512K" */
    if (threads && sharing > threads)
        bytes = bytes * threads / sharing;
    if (bytes >= CACHE_LEAST && bytes <= CACHE_MOST)
        l2_share = bytes;
}

size_t cache_l2_share(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, cache_ask);
    return l2_share;
}
