#include "codec/base/file_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int file_write_all(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t written = write(fd, at, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        at += written;
        bytes -= (size_t)written;
    }
    return 0;
}

int file_out_open(struct file_out *ret_out, const char *path, struct lego_diag *diag)
{
    enum { TRIES = 100 };
    struct file_out out = {.fd = -1, .path = path};
    int error = EEXIST;
    for (int i = 0; out.fd < 0 && error == EEXIST && i < TRIES; i++) {
        free(out.temporary);
        if (asprintf(&out.temporary, "%s.%ld.%d.tmp", path, (long)getpid(), i) < 0)
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory writing '%s'", path);
        /* Not mkstemp: a model is as readable as any other file, by the umask. */
        out.fd = open(out.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        error = errno;
    }
    if (out.fd < 0) {
        free(out.temporary);
        return lego_fail_errno(diag, error, "cannot write '%s'", path);
    }
    *ret_out = out;
    return 0;
}

void file_out_write(struct file_out *out, const void *data, size_t bytes)
{
    if (!out->error)
        out->error = file_write_all(out->fd, data, bytes);
}

int file_out_close(struct file_out *out, int status, struct lego_diag *diag)
{
    if (!out->error && fsync(out->fd) != 0)
        out->error = errno;
    if (close(out->fd) != 0 && !out->error)
        out->error = errno;
    if (!status && !out->error && rename(out->temporary, out->path) != 0)
        out->error = errno;
    if (status || out->error)
        unlink(out->temporary);
    if (!status && out->error)
        status = lego_fail_errno(diag, out->error, "cannot write '%s'", out->path);
    free(out->temporary);
    *out = (struct file_out){.fd = -1};
    return status;
}
