#include "agent/cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS 24
#define NAME_MAX  40

struct cli_progress cli_progress_start(void)
{
    const char *kind = getenv("TERM");

    return (struct cli_progress){.terminal =
                                     isatty(STDERR_FILENO) && !(kind && strcmp(kind, "dumb") == 0)};
}

static int terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void draw(struct cli_progress *progress, const char *name, uint32_t done, uint32_t total,
                 const char *text)
{
    static const char full[] = "########################", empty[] = "........................";
    char line[512];
    const int cells = total > 0 ? (int)((uint64_t)done * BAR_CELLS / total) : 0;
    const int columns = terminal_columns();

    snprintf(line, sizeof(line), "[%.*s%.*s] %u/%u %.*s%s%s", cells, full, BAR_CELLS - cells, empty,
             done, total, NAME_MAX, name ? name : "", name ? "  " : "", text);
    if (columns > 1 && (size_t)columns <= sizeof(line))
        line[columns - 1] = '\0';
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    progress->drawn = true;
}

void cli_progress_step(struct cli_progress *progress, const char *name, uint32_t done,
                       uint32_t total, const char *text)
{
    if (progress->terminal)
        draw(progress, name, done, total, text);
    else if (name)
        fprintf(stderr, "[%u/%u] %s: %s\n", done, total, name, text);
    else
        fprintf(stderr, "%s\n", text);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
