/*
 * A record of the agent's captures: a ZIP archive without compression of about.json and NumPy
 * arrays (agent/service/capture_archive.c writes them). Files are taken for hostile.
 */
#ifndef LEGO_CLI_CAPTURE_RECORD_H
#define LEGO_CLI_CAPTURE_RECORD_H

#include "codec/base/diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct capture_member {
    char name[256]; /* "inputs/x.npy" */
    const uint8_t *data;
    size_t bytes;
};

struct capture_record {
    uint8_t *data; /* the file */
    size_t bytes;
    struct capture_member *members;
    size_t member_count;
    /* From about.json: */
    char model[129], version[24];
    uint64_t time_ns;  /* since the epoch */
    double confidence; /* percent; negative: none */
};

/* Reads a record; capture_record_clear frees it, also after a failure. E_FORMAT, E_LIMIT (over
 * 1 GiB), E_NOMEM, E_IO, E_NOT_FOUND, with the file and what is wrong with it. */
int capture_record_read(const char *path, struct capture_record *ret_record,
                        struct lego_diag *diag);
void capture_record_clear(struct capture_record *record);

#endif
