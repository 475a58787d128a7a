/*
 * Small sections, squeezed: each bit of a byte is predicted by a mixture of what followed the last
 * zero to three bytes and the longest repetition, and coded arithmetically by that prediction
 * (context mixing: Mahoney, "Adaptive weighing of context models for lossless data compression",
 * 2005). Whole numbers only. FORMAT.md, section 3a, is normative.
 */
#ifndef LEGO_FORMAT_SQUEEZE_H
#define LEGO_FORMAT_SQUEEZE_H

#include <stddef.h>
#include <stdint.h>

/* The most that may be squeezed: a reader needs about a second for a few megabytes. */
#define SQUEEZE_MAX_BYTES ((size_t)256 << 10)

/*
 * Squeezes `bytes` (up to SQUEEZE_MAX_BYTES) bytes into at most `capacity`; ret_bytes is what they
 * take. LEGO_E_NOMEM, LEGO_E_LIMIT (they take more).
 */
int squeeze(const uint8_t *data, size_t bytes, uint8_t *ret_squeezed, size_t capacity,
            size_t *ret_bytes);

/*
 * The inverse, of bytes that may be anything: fills ret_data [bytes]. LEGO_E_NOMEM; LEGO_E_FORMAT:
 * not all of the squeezed bytes are needed for that.
 */
int squeeze_undo(const uint8_t *squeezed, size_t squeezed_bytes, uint8_t *ret_data, size_t bytes);

#endif
