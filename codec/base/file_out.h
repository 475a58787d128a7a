/*
 * A file that appears whole or not at all: written beside its place, then renamed.
 */
#ifndef LEGO_BASE_FILE_OUT_H
#define LEGO_BASE_FILE_OUT_H

#include "codec/base/diag.h"

#include <stddef.h>

struct file_out {
    int fd;
    const char *path; /* borrowed */
    char *temporary;  /* malloc'ed */
    int error;        /* the first errno; later writes do nothing */
};

/* Writes all bytes, however many calls that takes; 0 or an errno. */
int file_write_all(int fd, const void *data, size_t bytes);

int file_out_open(struct file_out *ret_out, const char *path, struct lego_diag *diag);
void file_out_write(struct file_out *out, const void *data, size_t bytes);

/* Closes; renames to `path` if `status` is 0 and all went well, else removes what was written.
 * Returns `status` or the error. */
int file_out_close(struct file_out *out, int status, struct lego_diag *diag);

#endif
