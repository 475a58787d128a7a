/*
 * Looks into a packed request without unpacking it: which call, and for which model. So the loop
 * can route an inference of any size without touching its data.
 */
#ifndef LEGO_SERVICE_PEEK_H
#define LEGO_SERVICE_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEEK_NAME_BYTES 129

struct peek {
    uint64_t id;
    uint32_t call; /* the number of the last field from 8 on, as in Request; 0: none */
    bool pictures; /* there are some */
    /* Of a model_infer, "" where they do not fit: no model has such a name. */
    char model[PEEK_NAME_BYTES];
    char version[PEEK_NAME_BYTES];
    /* Its parameters that say when it runs; 0 and "": not given. */
    uint64_t priority, timeout_us;
    char stream[PEEK_NAME_BYTES];
    const char *wrong; /* the first of them that has a value of the wrong kind, else NULL */
};

/* LEGO_E_FORMAT where the bytes are no protobuf message; `ret_peek->id` may be known even then. */
int peek_request(const uint8_t *body, size_t bytes, struct peek *ret_peek);

#endif
