#include "codec/base/status.h"

#include <errno.h>
#include <stddef.h>

const char *lego_status_name(int status)
{
    switch (status) {
#define LEGO_STATUS(name, value, text) \
    case (value):                      \
        return #name;
#include "codec/base/status.def"
#undef LEGO_STATUS
    default:
        return "E_?";
    }
}

const char *lego_status_text(int status)
{
    switch (status) {
#define LEGO_STATUS(name, value, text) \
    case (value):                      \
        return text;
#include "codec/base/status.def"
#undef LEGO_STATUS
    default:
        return "unknown status";
    }
}

int lego_status_from_errno(int error)
{
    switch (error) {
    case 0:
        return LEGO_OK;
    case ENOMEM:
        return LEGO_E_NOMEM;
    case EINVAL:
    case ENAMETOOLONG:
        return LEGO_E_INVALID;
    case ENOENT:
    case ENOTDIR:
        return LEGO_E_NOT_FOUND;
    case EEXIST:
        return LEGO_E_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return LEGO_E_PERMISSION;
    case EFBIG:
    case EMFILE:
    case ENFILE:
        return LEGO_E_LIMIT;
    case ENOSYS:
    case EOPNOTSUPP:
        return LEGO_E_UNSUPPORTED;
    case ECONNREFUSED:
    case EAGAIN:
        return LEGO_E_UNAVAILABLE;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return LEGO_E_CLOSED;
    case ETIMEDOUT:
        return LEGO_E_DEADLINE;
    case ECANCELED:
        return LEGO_E_CANCELLED;
    default:
        return LEGO_E_IO;
    }
}
