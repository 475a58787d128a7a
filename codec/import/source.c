#include "codec/import/source.h"

#include "codec/base/arith.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files of external data: models of many gigabytes come in a few hundred parts at most. */
#define MAX_EXTERNAL_FILES 4096

/* Maps what `fd` is open on; does not close it. `name` is for the diag. */
static int map_descriptor(int fd, const char *name, struct import_file *ret_file,
                          struct lego_diag *diag)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return lego_fail_errno(diag, errno, "cannot read '%s'", name);
    if (!S_ISREG(stat.st_mode))
        return lego_fail(diag, LEGO_E_INVALID, "'%s' is not a regular file", name);
    if ((uint64_t)stat.st_size > SIZE_MAX)
        return lego_fail(diag, LEGO_E_LIMIT, "'%s' is too large for this machine", name);
    struct import_file file = {.bytes = (size_t)stat.st_size};
    if (file.bytes > 0) {
        void *data = mmap(NULL, file.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            return lego_fail_errno(diag, errno, "cannot map '%s'", name);
        file.data = data;
    }
    *ret_file = file;
    return 0;
}

int import_file_open(const char *path, struct import_file *ret_file, struct lego_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "cannot open '%s'", path);
    int status = map_descriptor(fd, path, ret_file, diag);
    close(fd);
    return status;
}

void import_file_close(struct import_file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->bytes);
    *file = (struct import_file){0};
}

static int open_folder(const char *path, struct lego_diag *diag)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));
    if (!folder)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    free(folder);
    return fd >= 0 ? fd : lego_fail_errno(diag, error, "cannot open the folder of '%s'", path);
}

int import_source_memory(const void *data, size_t bytes, struct import_source **ret_source)
{
    struct import_source *source = calloc(1, sizeof *source);
    if (!source)
        return LEGO_E_NOMEM;
    *source = (struct import_source){
        .model = {.data = data, .bytes = bytes}, .borrowed = true, .folder = -1};
    *ret_source = source;
    return 0;
}

int import_source_open(const char *path, struct import_source **ret_source, struct lego_diag *diag)
{
    struct import_source *source;
    struct import_file file;
    int status = import_file_open(path, &file, diag);
    if (status)
        return status;
    if (import_source_memory(file.data, file.bytes, &source) != 0) {
        import_file_close(&file);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory opening '%s'", path);
    }
    source->borrowed = false;
    source->folder = open_folder(path, diag);
    if (source->folder < 0) {
        status = source->folder;
        import_source_close(source);
        return status;
    }
    *ret_source = source;
    return 0;
}

void import_source_close(void *closing)
{
    struct import_source *source = closing;
    if (!source)
        return;
    if (!source->borrowed)
        import_file_close(&source->model);
    for (uint32_t i = 0; i < source->external_count; i++) {
        import_file_close(&source->external[i]);
        free((void *)(uintptr_t)source->external_names[i]);
    }
    free(source->external);
    free(source->external_names);
    names_clear(&source->names);
    if (source->folder >= 0)
        close(source->folder);
    for (size_t i = 0; i < source->copy_count; i++)
        free(source->copies[i].data);
    free(source->copies);
    free(source);
}

static size_t mapped_bytes(const struct import_source *source)
{
    size_t bytes = source->model.bytes;
    for (uint32_t i = 0; i < source->external_count; i++)
        if (!lego_add_size(bytes, source->external[i].bytes, &bytes))
            return SIZE_MAX;
    return bytes;
}

static bool reserve_copies(struct import_source *source)
{
    if (source->copy_count < source->copy_capacity)
        return true;
    size_t capacity = source->copy_capacity ? 2 * source->copy_capacity : 64;
    struct import_copy *copies = reallocarray(source->copies, capacity, sizeof *copies);
    if (!copies)
        return false;
    source->copies = copies;
    source->copy_capacity = capacity;
    return true;
}

/* Halves become floats, and passes may change these: folded, they are copied once more. */
#define COPY_FACTOR 5

void *import_source_copy(struct import_source *source, size_t bytes)
{
    enum { ALIGN = 64 };
    size_t allowed, rounded, total;
    if (!lego_mul_size(mapped_bytes(source), COPY_FACTOR, &allowed) ||
        !lego_add_size(allowed, (size_t)64 << 20, &allowed) ||
        !lego_align_up(bytes ? bytes : 1, ALIGN, &rounded) ||
        !lego_add_size(source->copied_bytes, rounded, &total) || total > allowed ||
        !reserve_copies(source))
        return NULL;
    void *data = aligned_alloc(ALIGN, rounded);
    if (!data)
        return NULL;
    source->copies[source->copy_count++] = (struct import_copy){.data = data, .bytes = bytes};
    source->copied_bytes = total;
    return data;
}

void import_source_forget(const struct import_source *source, const uint8_t *data, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), first, skipped;
    if (source->borrowed || !lego_align_up((uintptr_t)data, page, &first))
        return;
    skipped = first - (uintptr_t)data;
    if (bytes >= skipped + page)
        madvise((void *)first, (bytes - skipped) / page * page, MADV_DONTNEED);
}

static int by_address(const void *a, const void *b)
{
    const struct import_copy *x = a, *y = b;
    return ((uintptr_t)x->data > (uintptr_t)y->data) - ((uintptr_t)x->data < (uintptr_t)y->data);
}

void import_source_sort(struct import_source *source)
{
    if (source->copy_count)
        qsort(source->copies, source->copy_count, sizeof *source->copies, by_address);
}

bool import_source_owns(const struct import_source *source, const void *data)
{
    struct import_copy key = {.data = (void *)(uintptr_t)data};
    return source->copy_count && bsearch(&key, source->copies, source->copy_count,
                                         sizeof *source->copies, by_address) != NULL;
}

/* Takes the next component off a relative path into `component`; false where it is not allowed. */
static bool next_component(const char **path, char component[NAME_MAX + 1])
{
    size_t length = strcspn(*path, "/");
    if (length == 0 || length > NAME_MAX)
        return false;
    memcpy(component, *path, length);
    component[length] = '\0';
    *path += length;
    while (**path == '/')
        (*path)++;
    return strcmp(component, "..") != 0;
}

/*
 * Opens `location` below `folder`, one component at a time and never through a symbolic link. (The
 * system call openat2 would do this in one step, but it is missing in kernels and sandboxes that
 * edge devices still have, and one way is better tested than two.)
 */
static int open_beneath(int folder, const char *location, struct lego_diag *diag)
{
    char component[NAME_MAX + 1];
    const char *rest = location;
    int at = folder;
    for (;;) {
        if (!next_component(&rest, component)) {
            if (at != folder)
                close(at);
            return lego_fail(diag, LEGO_E_PERMISSION,
                             "external data '%s' does not lie in the model's folder", location);
        }
        int flags = *rest ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK;
        int next = openat(at, component, flags | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        if (at != folder)
            close(at);
        if (next < 0 && (error == ELOOP || error == ENOTDIR))
            return lego_fail(diag, LEGO_E_PERMISSION,
                             "external data '%s': '%s' is a symbolic link or no folder", location,
                             component);
        if (next < 0)
            return lego_fail_errno(diag, error, "cannot open external data '%s'", location);
        if (!*rest)
            return next;
        at = next;
    }
}

static int reserve_external(struct import_source *source)
{
    if (source->external_count < source->external_capacity)
        return 0;
    uint32_t capacity = source->external_capacity ? 2 * source->external_capacity : 8;
    struct import_file *files = realloc(source->external, capacity * sizeof *files);
    if (!files)
        return LEGO_E_NOMEM;
    source->external = files;
    const char **texts = realloc(source->external_names, capacity * sizeof *texts);
    if (!texts)
        return LEGO_E_NOMEM;
    source->external_names = texts;
    source->external_capacity = capacity;
    return 0;
}

static int map_external(struct import_source *source, const char *location, int32_t *ret_index,
                        struct lego_diag *diag)
{
    if (source->folder < 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "the model has external data ('%s'): it must be read from a file",
                         location);
    if (source->external_count >= MAX_EXTERNAL_FILES)
        return lego_fail(diag, LEGO_E_LIMIT, "more than %d files of external data",
                         MAX_EXTERNAL_FILES);
    int fd = open_beneath(source->folder, location, diag);
    if (fd < 0)
        return fd;
    struct import_file file;
    int status = map_descriptor(fd, location, &file, diag);
    close(fd);
    if (status)
        return status;
    char *name = strdup(location);
    int32_t index = (int32_t)source->external_count;
    if (!name || reserve_external(source) != 0 || names_add(&source->names, name, index) != 0) {
        free(name);
        import_file_close(&file);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    source->external[index] = file;
    source->external_names[index] = name;
    source->external_count++;
    *ret_index = index;
    return 0;
}

int import_source_external(struct import_source *source, const char *location, uint64_t offset,
                           uint64_t bytes, const uint8_t **ret_data, struct lego_diag *diag)
{
    int32_t index = names_find(&source->names, location);
    if (index < 0) {
        int status = map_external(source, location, &index, diag);
        if (status)
            return status;
    }
    const struct import_file *file = &source->external[index];
    if (offset > file->bytes || bytes > file->bytes - offset)
        return lego_fail(diag, LEGO_E_FORMAT,
                         "external data '%s' has %zu bytes, but %llu at offset %llu are wanted",
                         location, file->bytes, (unsigned long long)bytes,
                         (unsigned long long)offset);
    *ret_data = file->data ? file->data + offset : NULL;
    return 0;
}
