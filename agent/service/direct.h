/*
 * Writing a whole answer from the engine that made it, while the loop sleeps: it saves the client
 * one wake-up of a thread, and the loop learns of it when it is awake anyway,
 * or at once where it waits for that. Only one side writes
 * at a time, and answers never mix: an engine writes only where nothing waits to be written, and
 * what it could not write whole the loop goes on with.
 */
#ifndef LEGO_SERVICE_DIRECT_H
#define LEGO_SERVICE_DIRECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct direct {
    int fd;               /* stays open while the connection has unanswered requests */
    atomic_bool taken;    /* somebody writes */
    atomic_bool has_more; /* the loop has something to write: set and cleared by it alone */
    atomic_bool awaited;  /* the loop waits for an answer: set and cleared by it alone */
};

enum direct_result {
    DIRECT_NOT,    /* nothing was written */
    DIRECT_ALL,    /* the whole frame */
    DIRECT_PART,   /* its first bytes; `taken` stays set until the loop clears it */
    DIRECT_FAILED, /* the client is gone */
};

/* True where the caller may write now; it releases afterwards. */
bool direct_take(struct direct *direct);
void direct_release(struct direct *direct);

/* An engine's attempt, without blocking; *ret_sent is set for DIRECT_PART. */
enum direct_result direct_send(struct direct *direct, const uint8_t *frame, size_t bytes,
                               size_t *ret_sent);

#endif
