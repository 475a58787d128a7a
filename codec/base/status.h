/*
 * Status codes: 0 or a negative LEGO_E_*, shared by every library, the tool and the protocol.
 */
#ifndef LEGO_BASE_STATUS_H
#define LEGO_BASE_STATUS_H

enum lego_status {
#define LEGO_STATUS(name, value, text) LEGO_##name = (value),
#include "codec/base/status.def"
#undef LEGO_STATUS
};

/* The name of a status without its prefix ("E_FORMAT"), "E_?" where the value is none. Static. */
const char *lego_status_name(int status);

/* The text of a status, for a person. Static, never NULL. */
const char *lego_status_text(int status);

/* Translates an errno value (positive) into a status; what has no better one is LEGO_E_IO. */
int lego_status_from_errno(int error);

#endif
