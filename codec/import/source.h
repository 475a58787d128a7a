/*
 * Where the bytes come from: the mapped model file and the mapped files of external data.
 */
#ifndef LEGO_IMPORT_SOURCE_H
#define LEGO_IMPORT_SOURCE_H

#include "codec/base/diag.h"
#include "codec/import/names.h"

#include <stdbool.h>
#include <stddef.h>

struct import_file {
    const uint8_t *data; /* NULL where the file is empty */
    size_t bytes;
};

/* Maps a regular file read-only (a directory, pipe or device is E_INVALID). Free with
 * import_file_close. */
int import_file_open(const char *path, struct import_file *ret_file, struct lego_diag *diag);
void import_file_close(struct import_file *file);

/* Data that could not be borrowed: misaligned, typed or changed by folding. */
struct import_copy {
    void *data;
    size_t bytes;
};

/*
 * The model's bytes with what they point to. Opened by one call, then tied to the graph (borrowed
 * weights live as long as the source), closed by import_source_close.
 */
struct import_source {
    struct import_file model;
    bool borrowed; /* the model's bytes are the caller's */
    int folder;    /* the model's folder, -1: no external data */
    struct names names;
    struct import_file *external;
    const char **external_names; /* malloc'ed copies */
    uint32_t external_count, external_capacity;
    struct import_copy *copies; /* malloc'ed, each and the list */
    size_t copy_count, copy_capacity, copied_bytes;
};

int import_source_open(const char *path, struct import_source **ret_source, struct lego_diag *diag);
int import_source_memory(const void *data, size_t bytes, struct import_source **ret_source);
void import_source_close(void *source);

/*
 * Memory of `bytes` bytes (not cleared), aligned to 64, that lives as long as the source. All
 * copies together may be five times what the files hold and a little more: without this bound, a
 * small file whose tensors all name the same gigabyte of external data could take any amount of
 * memory. NULL over that bound or out of memory.
 */
void *import_source_copy(struct import_source *source, size_t bytes);

/* Tells the kernel that mapped bytes are not needed for now: they have been copied. They can still
 * be read. Does nothing to memory that is the caller's. */
void import_source_forget(const struct import_source *source, const uint8_t *data, size_t bytes);

/* Sorts the copies for import_source_owns; to be called after the last copy. */
void import_source_sort(struct import_source *source);

/* True where `data` is the start of such a copy: it may be changed in place. */
bool import_source_owns(const struct import_source *source, const void *data);

/*
 * The bytes [offset, offset + bytes) of the external file `location`, mapped at its first use. The
 * location is a relative path that stays in the model's folder: no "..", no symbolic link anywhere
 * on it, so that a model cannot read other files of its user.
 */
int import_source_external(struct import_source *source, const char *location, uint64_t offset,
                           uint64_t bytes, const uint8_t **ret_data, struct lego_diag *diag);

#endif
