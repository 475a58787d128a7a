/*
 * XXH3 by the processor's widest vectors: on x86 the library has them only behind names of their
 * own, which its second header puts in the place of the first's.
 */
#ifndef LEGO_FORMAT_CHECKSUM_H
#define LEGO_FORMAT_CHECKSUM_H

#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>
#endif

#endif
