/*
 * Inputs and outputs of inferences, kept in a folder: each record a NumPy archive (.npz) with
 * "inputs/NAME", "outputs/NAME" and "about.json". A ring: the oldest records go where the quota is
 * full. Engines hand records over and never wait: what the writer's thread cannot keep up with, or
 * the disk does not take, is dropped and counted.
 */
#ifndef LEGO_SERVICE_CAPTURE_H
#define LEGO_SERVICE_CAPTURE_H

#include "agent/runtime/legonet.h"
#include "agent/service/config.h"

#include <stdint.h>

struct capture;

/* What is known of an inference beside its tensors. Borrowed for the call. */
struct capture_about {
    const struct lego_model *model;
    const char *name, *version;
    uint64_t queue_ns, infer_ns;
};

struct capture_counts {
    uint64_t written, dropped, bytes; /* bytes: of the folder's records now */
};

/*
 * Starts the writer's thread; *ret_capture is NULL where no folder is configured. Makes the folder
 * (not those above it). E_PERMISSION, E_NOT_FOUND, E_IO: the folder cannot be used.
 */
int capture_start(const struct config *config, struct capture **ret_capture,
                  struct lego_diag *diag);

/* Keeps an inference that has succeeded, if it is one of those that are wanted. Any thread. */
void capture_offer(struct capture *capture, const struct capture_about *about,
                   const struct lego_io *inputs, const struct lego_io *outputs);

/* Zeros for NULL. Any thread. */
struct capture_counts capture_count(struct capture *capture);

/* Writes what waits and ends the thread. NULL is ignored. */
void capture_stop(struct capture *capture);

/* capture_archive.c: the bytes of a record, malloc'ed. E_NOMEM; E_UNSUPPORTED: a type that NumPy
 * has not; E_LIMIT: over 1 GiB. */
int capture_archive(const struct capture_about *about, double confidence, uint64_t time_ns,
                    const struct lego_io *inputs, const struct lego_io *outputs, uint8_t **ret_data,
                    size_t *ret_bytes);

/* The smallest of the rows' largest class probabilities, in percent: of the softmax, where a row is
 * no distribution already. Negative where the tensor is none of FP32 with classes. */
double capture_confidence(const struct lego_io *output);

/* capture_ring.c: the folder. All by the writer's thread alone, but open. */
struct capture_ring {
    int folder; /* descriptor */
    uint64_t quota_bytes, bytes;
    uint32_t sequence;
};
int capture_ring_open(struct capture_ring *ring, const char *path, uint64_t quota_bytes,
                      struct lego_diag *diag);
/* Adds a record, whole or not at all, and removes the oldest over the quota. Returns 0 or an errno
 * value. */
int capture_ring_add(struct capture_ring *ring, const char *model, uint64_t time_ns,
                     const uint8_t *data, size_t bytes);
void capture_ring_close(struct capture_ring *ring);

#endif
