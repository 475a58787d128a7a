/*
 * The writer's parts: package -> message and parts -> file.
 */
#ifndef LEGO_FORMAT_WRITER_H
#define LEGO_FORMAT_WRITER_H

#include "codec/format/internal.h"
#include "lego_graph.pb-c.h"

/* Raw bytes of a section, in the order in which the reader takes them. */
struct write_part {
    const void *data;
    size_t bytes; /* as stored */
    size_t align;
    bool half; /* `data` is fp32, stored as fp16 */
};

struct write_section {
    struct write_part *parts;
    size_t count, capacity;
    size_t tail_bytes; /* zeros behind the last part */
    uint32_t flags;    /* of its entry in the table */
};

struct writer {
    const struct lego_package *package;
    struct lego_arena *arena; /* of everything that only writing needs */
    LegoPb__Model model;
    struct write_section sections[FORMAT_KIND_COUNT];
    const struct lego_graph **graphs; /* in the file's order: parents before children */
    size_t graph_count;
    size_t names_left_bytes;
    uint64_t features; /* that the file needs */
    bool keep_names;   /* subgraphs see values by name: all names are stored */
    struct lego_diag *diag;
};

/* Checks the package and builds message and parts. */
int write_model(struct writer *writer);

/* Builds the message of graph number `index`; appends the subgraphs that it finds. */
int write_graph(struct writer *writer, size_t index);

/* Builds a tensor's message and appends its parts; `section` is for dense elements. */
int write_tensor(struct writer *writer, const struct lego_tensor *tensor, enum format_kind section,
                 LegoPb__Tensor *message);
void write_tensor_shape(struct writer *writer, const struct lego_tensor *tensor,
                        LegoPb__Tensor *message);

int write_add_part(struct writer *writer, enum format_kind kind, const void *data, size_t bytes,
                   size_t align, bool half);

/* The number of a string of the model's table, which gets it if it is new. */
int write_string(struct writer *writer, const char *text, uint32_t *ret_number);

/* E_INVALID where the text is not UTF-8. */
int write_check_text(struct writer *writer, const char *text);

/* `count` zeroed elements; on failure NULL with the diag written. */
void *write_alloc(struct writer *writer, size_t count, size_t size);

/*
 * Appends `item` to an array of pointers as protobuf-c wants it: room doubles at powers of two.
 * Returns the array or NULL (diag written).
 */
void *write_append(struct writer *writer, void *array, size_t *count, void *item);

/* write_trellis.c: tables and rotations of the model; a coded tensor's share of them. */
int write_trellis_parts(struct writer *writer);
int write_check_trellis(struct writer *writer, const struct lego_tensor *tensor);
int write_trellis(struct writer *writer, const struct lego_tensor *tensor, LegoPb__Tensor *message);
uint32_t write_rotation_number(const struct writer *writer, const struct lego_coded *coded);
int write_log_scales(struct writer *writer, const struct lego_tensor *tensor);

/* write_squeeze.c: squeezes what may be and becomes smaller. */
int write_squeeze(struct writer *writer);

/* Bytes of a section as write_sections lays it out, without padding behind it. */
size_t write_section_bytes(const struct write_section *section);

/* Writes header, table and sections to `fd`. */
int write_sections(struct writer *writer, int fd, uint64_t *ret_bytes);

#endif
