/*
 * The reader's parts: file -> sections -> message -> package. Everything here works on hostile
 * bytes until it has checked them.
 */
#ifndef LEGO_FORMAT_READER_H
#define LEGO_FORMAT_READER_H

#include "codec/format/internal.h"
#include "lego_graph.pb-c.h"

/* Raw bytes of a section, taken from front to back. */
struct read_cursor {
    enum format_kind kind;
    const uint8_t *data; /* NULL where the file has no such section */
    size_t bytes, at;
    uint64_t file_offset;
};

/* Header and table, read once: what was checked is what is used, whatever the file does. */
struct read_head {
    struct format_header header;
    struct format_section table[FORMAT_MAX_SECTIONS];
};

struct reader {
    struct format_package *self;
    const uint8_t *mapping;
    size_t mapping_bytes;
    int fd; /* of the mapping, -1: memory */
    struct read_head head;
    struct lego_arena *scratch; /* what only opening needs; bounded */
    const LegoPb__Model *model;
    struct read_cursor cursors[FORMAT_KIND_COUNT];
    size_t names_left_bytes; /* front-coded names may still grow by this */
    struct lego_graph *
        *graphs; /* [model->n_graphs] NULL until made, and when claimed by a parent */
    struct lego_diag *diag;
};

/*
 * The next `bytes` bytes of a section after alignment; never NULL on success. E_FORMAT with section
 * and offset where they are not there.
 */
int read_take(struct reader *reader, enum format_kind kind, size_t bytes, size_t align,
              const void **ret_data);

/*
 * Copies mapped bytes. Opening never touches the pages of a mapped file, it reads the file instead:
 * one that shrinks meanwhile is an error (E_FAULT) and no SIGBUS.
 */
int read_copy(struct reader *reader, const void *mapped, void *buffer, size_t bytes);

/* Unpacks the GRAPH section and builds the package from it. */
int read_model(struct reader *reader);

/* Builds graph number `index` with all its tensors. */
int read_graph(struct reader *reader, size_t index);

/* A tensor's type, shape and dense elements, or bricks. `name` must outlive the package. */
int read_tensor(struct reader *reader, const LegoPb__Tensor *message, enum format_kind section,
                struct lego_tensor *ret_tensor);
int read_tensor_shape(struct reader *reader, const LegoPb__Tensor *message,
                      struct lego_tensor *ret_tensor);

/* read_trellis.c: tables and rotations of the model; a coded tensor's share of them, before and
 * after its sizes are derived; logarithmic row scales, of 5 bits or (`whole`) a byte each. */
int read_trellis_parts(struct reader *reader);
int read_trellis_layout(struct reader *reader, const LegoPb__Tensor *message,
                        const LegoPb__Layout *layout, struct lego_coded *coded);
int read_trellis_stream(struct reader *reader, const LegoPb__Tensor *message,
                        struct lego_coded *coded);
int read_log_scales(struct reader *reader, bool whole, struct lego_coded *coded);

int read_nomem(struct reader *reader);

#endif
