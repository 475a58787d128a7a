#include "codec/base/diag.h"

#include <stdio.h>
#include <string.h>

/* Marks a text that vsnprintf cut, so that a reader knows that there was more. */
static void mark_cut(char *text, int wanted)
{
    if (wanted >= LEGO_DIAG_BYTES)
        memcpy(text + LEGO_DIAG_BYTES - 4, "...", 4);
}

int lego_fail(struct lego_diag *diag, int status, const char *format, ...)
{
    if (!diag)
        return status;
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(diag->text, sizeof diag->text, format, args);
    va_end(args);
    mark_cut(diag->text, wanted);
    diag->status = status;
    return status;
}

int lego_fail_errno(struct lego_diag *diag, int error, const char *format, ...)
{
    int status = lego_status_from_errno(error);
    if (!diag)
        return status;
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(diag->text, sizeof diag->text, format, args);
    va_end(args);
    if (wanted >= 0 && wanted < LEGO_DIAG_BYTES)
        wanted += snprintf(diag->text + wanted, sizeof diag->text - (size_t)wanted, ": %s",
                           strerrordesc_np(error) ? strerrordesc_np(error) : "unknown error");
    mark_cut(diag->text, wanted);
    diag->status = status;
    return status;
}

int lego_diag_prefix(struct lego_diag *diag, int status, const char *format, ...)
{
    if (!diag)
        return status;
    char context[512];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);

    char rest[LEGO_DIAG_BYTES];
    memcpy(rest, lego_diag_text(diag, status), strlen(lego_diag_text(diag, status)) + 1);
    int wanted = snprintf(diag->text, sizeof diag->text, "%s: %s", context, rest);
    mark_cut(diag->text, wanted);
    diag->status = status;
    return status;
}

const char *lego_diag_text(const struct lego_diag *diag, int status)
{
    return diag && diag->text[0] ? diag->text : lego_status_text(status);
}
