/* What the runtime sizes its blocks by. */
#ifndef LEGO_RUNTIME_CACHE_H
#define LEGO_RUNTIME_CACHE_H

#include <stddef.h>

/*
 * Bytes of second-level cache that the first core has to itself: its threads share them, other
 * cores' parts of a common cache do not count. As Linux tells in sysfs; 256 KiB where it does not.
 * Asked once. For any thread.
 */
size_t cache_l2_share(void);

#endif
