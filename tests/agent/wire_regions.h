/* What a raw client needs to share memory with the agent. All abort the test on failure. */
#ifndef LEGO_TESTS_AGENT_WIRE_REGIONS_H
#define LEGO_TESTS_AGENT_WIRE_REGIONS_H

#include "tests/agent/harness.h"

/* A memfd of `bytes` bytes that begins with `data` (of as many bytes, or NULL), sealed with
 * `seals`. */
int region_memfd(const void *data, size_t bytes, unsigned seals);

/* Sends bytes with descriptors along; they stay the caller's. */
void wire_send_fds(int fd, const void *data, size_t bytes, const int *fds, size_t count);

/* Registers one region of `bytes` bytes (0: all) and checks the status, and that a failure's
 * sentence holds `text` where it is not NULL. */
void wire_register(int fd, const char *name, int memory, uint64_t bytes, bool writable, int status,
                   const char *text);
/* `name` NULL: all. */
void wire_unregister(int fd, const char *name, int status);

/* An inference of "tiny" with both tensors where the names say (NULL: in the frame), one row. */
struct wire_places {
    const char *in, *out;
    int64_t in_offset, in_bytes, out_offset, out_bytes; /* sizes negative: not given */
};
Legonet__Response *wire_infer_places(int fd, const struct wire_places *places);

/* Lines of the agent's maps that hold `text`. */
size_t agent_map_count(const struct agent *agent, const char *text);

#endif
