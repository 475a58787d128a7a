#include "agent/picture/file.h"

#include "codec/base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_BYTES 65536u

/* Room for at least one more byte than `used`; one byte over the limit shows that a file is. */
static int grow(uint8_t **data, size_t *capacity, size_t used, size_t limit_bytes)
{
    if (used < *capacity)
        return LEGO_OK;
    size_t wanted = *capacity ? *capacity * 2 : FIRST_BYTES;
    wanted = lego_min_size(wanted, limit_bytes + 1);
    uint8_t *bigger = realloc(*data, wanted);
    if (!bigger)
        return LEGO_E_NOMEM;
    *data = bigger;
    *capacity = wanted;
    return LEGO_OK;
}

static int read_all(int fd, const char *path, size_t limit_bytes, uint8_t **data, size_t *ret_bytes,
                    struct lego_diag *diag)
{
    size_t capacity = 0, used = 0;
    for (;;) {
        if (grow(data, &capacity, used, limit_bytes) != LEGO_OK)
            return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory to read it", path);
        ssize_t got = read(fd, *data + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lego_fail_errno(diag, errno, "%s", path);
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > limit_bytes)
            return lego_fail(diag, LEGO_E_LIMIT, "%s: it is larger than %zu bytes", path,
                             limit_bytes);
    }
    *ret_bytes = used;
    return LEGO_OK;
}

int picture_read_file(const char *path, size_t limit_bytes, uint8_t **ret_data, size_t *ret_bytes,
                      struct lego_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    uint8_t *data = NULL;
    size_t bytes = 0;
    int status = read_all(fd, path, limit_bytes, &data, &bytes, diag);
    close(fd);
    if (status != LEGO_OK) {
        free(data);
        return status;
    }
    *ret_data = data;
    *ret_bytes = bytes;
    return LEGO_OK;
}

char *picture_file_beside(const char *model_path, const char *ending)
{
    const char *slash = strrchr(model_path, '/');
    const char *name = slash ? slash + 1 : model_path;
    const char *dot = strrchr(name, '.');
    const size_t stem = dot && dot != name ? (size_t)(dot - model_path) : strlen(model_path);
    char *path = NULL;

    return asprintf(&path, "%.*s%s", (int)stem, model_path, ending) < 0 ? NULL : path;
}
