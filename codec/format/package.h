/*
 * A `.lego` file: opened (mapped and validated once) or written.
 *
 * A package is the graph plus what travels with it: labels, preprocessing, self-test vector, free
 * metadata. FORMAT.md is normative for the bytes.
 */
#ifndef LEGO_FORMAT_PACKAGE_H
#define LEGO_FORMAT_PACKAGE_H

#include "codec/format/bricks.h"
#include "codec/graph/graph.h"

enum lego_resize {
    LEGO_RESIZE_STRETCH = 0, /* to width x height, whatever the aspect */
    LEGO_RESIZE_SHORTEST =
        1, /* shorter side to `resize_side`, then crop width x height at the centre */
    LEGO_RESIZE_LETTERBOX = 2, /* longer side fits, the rest is padded with `pad_value` */
};

/*
 * From a picture to the model's input: decode, resize, crop, y = (x * scale - mean[c]) / std[c]
 * with x in 0..255, in the layout and channel order that the model wants.
 */
struct lego_preprocess {
    bool present;
    bool nhwc;              /* layout "NHWC", else "NCHW" */
    uint32_t channels;      /* 1 (GREY) or 3 */
    bool bgr;               /* channel order "BGR", else "RGB" */
    uint32_t width, height; /* of the model's input, 1 to 16384 */
    float scale;
    float mean[4], std[4]; /* std never 0 */
    enum lego_resize resize;
    uint32_t resize_side; /* LEGO_RESIZE_SHORTEST; 0: the shorter of width and height */
    float pad_value;
    int32_t class_offset; /* how many outputs come before class 0 */
    const char *input;    /* the graph input it is for; NULL: the first */
};

/* A stored input with what the model answered at writing; a reader that runs it must agree. */
struct lego_selftest {
    uint32_t input_count, output_count;
    struct lego_tensor *inputs, *outputs; /* dense, named as the graph's inputs and outputs */
    float tolerance; /* |a - b| <= tolerance * largest |expected| of the output */
    /* The inputs are lego_selftest_fill(seed, k, inputs[k]): the file then holds only the seed, and
     * a package that was read from it no data of theirs. lego_selftest_input has it either way. */
    bool generated;
    uint64_t seed;
};

struct lego_metadata_entry {
    const char *key, *value; /* UTF-8; keys are unique */
};

struct lego_package {
    struct lego_graph *graph; /* owned */
    uint32_t label_count;
    const char **labels; /* class k is labels[k] */
    struct lego_preprocess preprocess;
    struct lego_selftest selftest; /* input_count 0: none */
    uint32_t metadata_count;
    struct lego_metadata_entry *metadata; /* "producer", "codec", "source", ... */
    uint32_t catalogue_count;
    struct lego_catalogue *catalogues;
    uint32_t trellis_table_count, rotation_count;
    struct lego_trellis_table *trellis_tables; /* codec/format/trellis.h; tensors point to them */
    struct lego_rotation *rotations;
    /* Writing: FP32 constants that are whole multiples (up to 127) of an fp16 take a byte each. */
    bool pack_dense;
    /* Writing: graph, scales and dense constants are squeezed where that makes them smaller. */
    bool squeeze;
    uint64_t file_bytes; /* of the file that was opened or written; 0 for a package in the making */
    uint64_t peak_bytes; /* what the writer says that running it takes at most; 0: not known */
    const void *signature; /* codec/sign makes and checks it; NULL: none */
    size_t signature_bytes;
};

enum lego_verify {
    LEGO_VERIFY_STRUCTURE =
        0, /* everything but the checksums of bulk sections: does not touch weights */
    LEGO_VERIFY_CHECKSUMS = 1, /* every section's checksum, too */
    LEGO_VERIFY_LAZY = 2,      /* as STRUCTURE; who uses the weights calls lego_package_verify */
};

/*
 * Makes an empty package around an empty graph. What the package points to (labels, metadata,
 * catalogues, ...) lies in the graph's arena.
 */
int lego_package_create(struct lego_package **ret_package);

/* Frees the package, its graph and its mapping; NULL is ignored. */
void lego_package_destroy(struct lego_package *package);

/*
 * Maps and validates a `.lego`. What it returns may be trusted: every offset, size and index range
 * has been checked. Weights are borrowed from the mapping: pages are clean and shared, and opening
 * touches none of them. Types and shapes of values that nodes compute are unknown (but for graph
 * outputs): inference derives them. Errors: E_IO, E_NOT_FOUND, E_PERMISSION, E_INVALID (no regular
 * file), E_FORMAT, E_SHAPE, E_OVERFLOW, E_VERSION, E_UNSUPPORTED (an operator), E_CHECKSUM,
 * E_LIMIT, E_FAULT (it shrank meanwhile), E_NOMEM; the diag names the file, the section and the
 * offset.
 */
int lego_package_open(const char *path, enum lego_verify verify, struct lego_package **ret_package,
                      struct lego_diag *diag);

/* As lego_package_open, on a descriptor (not consumed; the mapping outlives it). `name` is for
 * diags. */
int lego_package_open_fd(int fd, const char *name, enum lego_verify verify,
                         struct lego_package **ret_package, struct lego_diag *diag);

/* As lego_package_open, on memory that outlives the package (64-byte aligned): for tests and
 * fuzzing. */
int lego_package_open_memory(const void *data, size_t bytes, enum lego_verify verify,
                             struct lego_package **ret_package, struct lego_diag *diag);

/*
 * Writes a package, atomically: a temporary file beside `path`, fsync, rename. The same package
 * gives the same bytes. Coded tensors must lie in stages whose catalogues are in
 * package->catalogues. FP32 constants whose values are all exact in FP16 take half the bytes.
 * Attributes "lego.bn_*" and nodes' names are not written. Errors: E_INVALID (an unsound package),
 * E_FORMAT (an unsound graph), E_LIMIT, E_NOMEM, and those of files. ret_bytes may be NULL.
 */
int lego_package_write(const struct lego_package *package, const char *path, uint64_t *ret_bytes,
                       struct lego_diag *diag);

/* The bytes that lego_package_write would write now. Its errors but those of files. */
int lego_package_measure(const struct lego_package *package, uint64_t *ret_bytes,
                         struct lego_diag *diag);

/* The value of a metadata key, NULL where there is none. Valid until the package changes. */
const char *lego_package_metadata(const struct lego_package *package, const char *key);

/* Sets a metadata key (in place where it exists), copying both. LEGO_E_NOMEM or LEGO_E_INVALID. */
int lego_package_set_metadata(struct lego_package *package, const char *key, const char *value);

/*
 * Fills a self-test input with the numbers that FORMAT.md defines for `seed` and `input`: floating
 * point in [-1, 1), integers 0 to 127, the same on every machine. `data` holds tensor->bytes bytes.
 */
void lego_selftest_fill(uint64_t seed, uint32_t input, const struct lego_tensor *tensor,
                        void *data);

/* Writes input `input` of the self-test, stored or generated, to `data`: inputs[input].bytes. */
void lego_selftest_input(const struct lego_selftest *selftest, uint32_t input, void *data);

/* A row for each section of the opened file, for `legonet inspect`. */
struct lego_section_info {
    const char *name;
    uint64_t offset, bytes;
    uint64_t checksum;
};
const struct lego_section_info *lego_package_sections(const struct lego_package *package,
                                                      uint32_t *ret_count);

/*
 * The checksums of all sections of an opened file, read where it is mapped (a file that shrinks
 * raises SIGBUS: guard the mapping). Errors: E_CHECKSUM, the diag names the section.
 */
int lego_package_verify(const struct lego_package *package, struct lego_diag *diag);

/* The opened file's mapping: NULL and 0 for a package in the making. For the SIGBUS guard. */
const void *lego_package_mapping(const struct lego_package *package, size_t *ret_bytes);

#endif
