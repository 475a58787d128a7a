/*
 * Diagnostics: the sentence that a person reads beside a status code.
 *
 * Every function that can fail on outside data takes an optional `struct lego_diag *diag` last. The
 * function that finds the fault writes what is wrong and where (file, layer, line:column) and what
 * to do; its callers may put context in front of it. A NULL diag is legal everywhere.
 */
#ifndef LEGO_BASE_DIAG_H
#define LEGO_BASE_DIAG_H

#include "codec/base/status.h"

#include <stdarg.h>

#define LEGO_DIAG_BYTES 4096

struct lego_diag {
    int status;                 /* the status of the failure, LEGO_OK while there is none */
    char text[LEGO_DIAG_BYTES]; /* UTF-8, NUL-terminated, cut with "..." where it would not fit */
};

#define LEGO_DIAG_INIT                \
    {                                 \
        .status = LEGO_OK, .text = "" \
    }

/* Writes the sentence and returns `status`, so that a caller can `return lego_fail(...)`. */
int lego_fail(struct lego_diag *diag, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As lego_fail, and adds ": " and the text of errno value `error`; the status comes from `error`.
 */
int lego_fail_errno(struct lego_diag *diag, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the sentence that is there; returns the diag's status. */
int lego_diag_prefix(struct lego_diag *diag, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The sentence if there is one, else the text of `status`. Valid while `diag` is. */
const char *lego_diag_text(const struct lego_diag *diag, int status);

#endif
