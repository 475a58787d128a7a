/*
 * Progress on stderr: a bar that is redrawn on a terminal, else one line a step.
 */
#ifndef LEGO_CLI_PROGRESS_H
#define LEGO_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct cli_progress {
    bool terminal; /* redraw one line */
    bool drawn;    /* there is a bar that must be cleared */
};

struct cli_progress cli_progress_start(void);

/* Shows that `done` of `total` steps are done, `name` (NULL: none in particular) being the last. */
void cli_progress_step(struct cli_progress *progress, const char *name, uint32_t done,
                       uint32_t total, const char *text);

/* Clears the bar. Call it before anything else is printed. */
void cli_progress_end(struct cli_progress *progress);

#endif
