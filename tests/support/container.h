/*
 * Bytes of `.lego` files for tests: written to memory, mended, rebuilt with another graph message.
 */
#ifndef LEGO_TESTS_SUPPORT_CONTAINER_H
#define LEGO_TESTS_SUPPORT_CONTAINER_H

#include "codec/format/package.h"

struct container {
    uint8_t *data; /* 64-byte aligned, malloc'ed, exactly `bytes` long */
    size_t bytes;
};

/* Writes the package to a temporary file and reads that; aborts on failure. */
struct container container_write(const struct lego_package *package);

struct container container_copy(const void *data, size_t bytes);
void container_free(struct container *container);

/* Makes magic, version, size and all checksums right, as far as the table lies in the file. */
void container_mend(uint8_t *data, size_t bytes);

/* The bytes of a section, NULL where there is none. */
uint8_t *container_section(const struct container *container, const char *name, size_t *ret_bytes);

/* The same file with other bytes in section `name`, checksums right. */
struct container container_replace(const struct container *container, const char *name,
                                   const void *data, size_t bytes);

#endif
