/*
 * Where pictures come from: files, folders of them (by name, later ones, too, where they are
 * watched), streams.
 */
#ifndef LEGO_CLI_SOURCE_H
#define LEGO_CLI_SOURCE_H

#include "agent/cli/options.h"
#include "agent/picture/frame.h"

struct source_item {
    const char *path; /* of the file or stream */
    uint64_t number;  /* of the frame in its stream, from 1; 0: a picture of its own */
    /* A decoded picture (pixels set), or a frame of a stream. */
    struct lego_picture picture;
    struct picture_frame frame;
};

struct source;

/* True where the path is what a source takes: a folder, a PNG or JPEG, a stream or "-". */
bool source_takes(const char *path);
/* True where it gives one picture and no more. */
bool source_is_picture(const char *path);

/* `paths` are borrowed. `watch`: they are folders, and pictures that come later are given, too. */
int source_open(const struct cli_list *paths, bool watch, struct source **ret_source,
                struct lego_diag *diag);

/*
 * The next picture, valid until the next call; `*ret_end` is set where there is none. An error
 * about one picture (of a file, not a stream) does not end the source: `*ret_item` names it.
 */
int source_next(struct source *source, struct source_item *ret_item, bool *ret_end,
                struct lego_diag *diag);

void source_close(struct source *source); /* NULL is ignored */

#endif
