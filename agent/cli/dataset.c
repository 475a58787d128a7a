#include "agent/cli/dataset.h"

#include "agent/cli/tensor_file.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define CIFAR_SIDE         32u
#define CIFAR_PLANE_BYTES  (CIFAR_SIDE * CIFAR_SIDE)
#define CIFAR_RECORD_BYTES (1 + 3 * CIFAR_PLANE_BYTES)
#define CIFAR_CLASSES      10

struct entry {
    char *path;
    uint32_t class;
};

struct dataset {
    size_t count;
    char *name;       /* of the CIFAR-10 file; NULL for a folder */
    uint8_t *records; /* CIFAR-10: the whole file */
    struct entry *entries;
    size_t capacity;
    bool tensors, labelled;
};

void dataset_close(struct dataset *dataset)
{
    if (!dataset)
        return;
    for (size_t i = 0; dataset->entries && i < dataset->count; i++)
        free(dataset->entries[i].path);
    free(dataset->entries);
    free(dataset->records);
    free(dataset->name);
    free(dataset);
}

size_t dataset_count(const struct dataset *dataset)
{
    return dataset->count;
}

const char *dataset_name(const struct dataset *dataset, size_t index, char *buffer, size_t bytes)
{
    if (dataset->entries)
        return dataset->entries[index].path;
    snprintf(buffer, bytes, "%s image %zu", dataset->name, index);
    return buffer;
}

static const uint8_t *cifar_record(const struct dataset *dataset, size_t index)
{
    return dataset->records + index * CIFAR_RECORD_BYTES;
}

bool dataset_holds_tensors(const struct dataset *dataset)
{
    return dataset->tensors;
}

bool dataset_labelled(const struct dataset *dataset)
{
    return dataset->labelled;
}

uint32_t dataset_class(const struct dataset *dataset, size_t index)
{
    return dataset->entries ? dataset->entries[index].class : *cifar_record(dataset, index);
}

static int read_records(FILE *file, const char *path, struct dataset *dataset,
                        struct lego_diag *diag)
{
    if (fseek(file, 0, SEEK_END) != 0)
        return lego_fail_errno(diag, errno, "%s", path);
    long bytes = ftell(file);
    rewind(file);
    if (bytes <= 0 || bytes % CIFAR_RECORD_BYTES != 0)
        return lego_fail(diag, LEGO_E_FORMAT,
                         "%s: %ld bytes are no CIFAR-10 file, whose images take %u each", path,
                         bytes, CIFAR_RECORD_BYTES);
    dataset->count = (size_t)bytes / CIFAR_RECORD_BYTES;
    dataset->labelled = true;
    dataset->name = strdup(path);
    dataset->records = malloc((size_t)bytes);
    if (!dataset->records || !dataset->name)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: no memory for %ld bytes", path, bytes);
    if (fread(dataset->records, 1, (size_t)bytes, file) != (size_t)bytes)
        return lego_fail(diag, LEGO_E_IO, "%s: cannot be read to its end", path);
    for (size_t i = 0; i < dataset->count; i++) {
        if (*cifar_record(dataset, i) >= CIFAR_CLASSES)
            return lego_fail(diag, LEGO_E_FORMAT,
                             "%s: image %zu has the label %u: no CIFAR-10 file", path, i,
                             *cifar_record(dataset, i));
    }
    return LEGO_OK;
}

int dataset_open_cifar10(const char *path, struct dataset **ret_dataset, struct lego_diag *diag)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return lego_fail_errno(diag, errno, "%s", path);
    struct dataset *dataset = calloc(1, sizeof(*dataset));
    int status = dataset ? read_records(file, path, dataset, diag)
                         : lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", path);
    fclose(file);
    if (status != LEGO_OK) {
        dataset_close(dataset);
        return status;
    }
    *ret_dataset = dataset;
    return LEGO_OK;
}

static int cifar_picture(const struct dataset *dataset, size_t index,
                         struct lego_picture *ret_picture, struct lego_diag *diag)
{
    const uint8_t *planes = cifar_record(dataset, index) + 1;
    uint8_t *pixels = malloc(3 * CIFAR_PLANE_BYTES);
    if (!pixels)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    for (size_t i = 0; i < CIFAR_PLANE_BYTES; i++) {
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = planes[c * CIFAR_PLANE_BYTES + i];
    }
    *ret_picture = (struct lego_picture){.width = CIFAR_SIDE,
                                         .height = CIFAR_SIDE,
                                         .channels = 3,
                                         .stride = 3 * (size_t)CIFAR_SIDE,
                                         .pixels = pixels};
    return LEGO_OK;
}

int dataset_picture(const struct dataset *dataset, size_t index, struct lego_picture *ret_picture,
                    struct lego_diag *diag)
{
    if (dataset->entries)
        return picture_load(dataset->entries[index].path, ret_picture, diag);
    return cifar_picture(dataset, index, ret_picture, diag);
}

int dataset_tensor(const struct dataset *dataset, size_t index, struct lego_tensor *ret_tensor,
                   struct lego_diag *diag)
{
    return cli_tensor_load(dataset->entries[index].path, NULL, ret_tensor, diag);
}

/*
 * Cuts the next field off a CSV line in place (RFC 4180: a quoted field may hold commas, "" is a
 * quote) and moves `*line` behind it, to NULL after the last.
 */
static char *next_field(char **line)
{
    char *start = *line, *out = start, *in = start;
    bool quoted = *in == '"';
    if (quoted)
        in++;
    while (*in) {
        if (quoted && *in == '"') {
            if (in[1] == '"')
                in++;
            else {
                quoted = false;
                in++;
                continue;
            }
        } else if (!quoted && *in == ',') {
            break;
        }
        *out++ = *in++;
    }
    *line = *in == ',' ? in + 1 : NULL;
    *out = '\0';
    return start;
}

struct columns {
    size_t file, class;
};

/* Looks for a header; true where the line is one. */
static bool read_header(const char *line, struct columns *columns)
{
    char *copy = strdup(line), *rest = copy;
    bool file = false, class = false;
    for (size_t i = 0; rest; i++) {
        const char *field = next_field(&rest);
        if (strcmp(field, "file") == 0) {
            columns->file = i;
            file = true;
        } else if (strcmp(field, "class") == 0) {
            columns->class = i;
            class = true;
        }
    }
    free(copy);
    return file && class;
}

/* Lists name their pictures from where they lie, or from the folder above: both are found. */
static char *find_picture(const char *folder, const char *file)
{
    const char *slash = strrchr(file, '/');
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, file) < 0)
        return NULL;
    if (!slash || access(path, F_OK) == 0)
        return path;
    free(path);
    return asprintf(&path, "%s%s", folder, slash) < 0 ? NULL : path;
}

/* Takes `path`, which may be NULL: out of memory. */
static int add_entry(struct dataset *dataset, char *path, uint32_t class, struct lego_diag *diag)
{
    if (!path)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (dataset->count == dataset->capacity) {
        size_t capacity = dataset->capacity ? 2 * dataset->capacity : 256;
        struct entry *entries = realloc(dataset->entries, capacity * sizeof(*entries));
        if (!entries) {
            free(path);
            return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
        }
        dataset->entries = entries;
        dataset->capacity = capacity;
    }
    dataset->entries[dataset->count++] = (struct entry){.path = path, .class = class};
    return LEGO_OK;
}

static int read_row(struct dataset *dataset, const char *folder, char *line,
                    const struct columns *columns, const char *labels, size_t number,
                    struct lego_diag *diag)
{
    const char *file = NULL, *class = NULL;
    for (size_t i = 0; line; i++) {
        const char *field = next_field(&line);
        if (i == columns->file)
            file = field;
        else if (i == columns->class)
            class = field;
    }
    char *end = NULL;
    unsigned long value = class && *class ? strtoul(class, &end, 10) : 0;
    if (!file || !*file || !end || *end || value > UINT16_MAX)
        return lego_fail(diag, LEGO_E_FORMAT, "%s:%zu: a line must have a file and a class number",
                         labels, number);
    return add_entry(dataset, find_picture(folder, file), (uint32_t)value, diag);
}

static int read_labels(FILE *file, const char *folder, const char *labels, struct dataset *dataset,
                       struct lego_diag *diag)
{
    struct columns columns = {.file = 0, .class = 1};
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    int status = LEGO_OK;

    while (status == LEGO_OK && (length = getline(&line, &capacity, file)) >= 0) {
        number++;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0' || (number == 1 && read_header(line, &columns)))
            continue;
        status = read_row(dataset, folder, line, &columns, labels, number, diag);
    }
    free(line);
    if (status == LEGO_OK && ferror(file))
        status = lego_fail(diag, LEGO_E_IO, "%s: cannot be read to its end", labels);
    if (status == LEGO_OK && dataset->count == 0)
        status = lego_fail(diag, LEGO_E_FORMAT, "%s: it names no image", labels);
    return status;
}

static int open_labels(const char *folder, const char *labels, struct dataset *dataset,
                       struct lego_diag *diag)
{
    FILE *file = fopen(labels, "re");
    if (!file)
        return lego_fail_errno(diag, errno, "%s", labels);
    dataset->labelled = true;
    int status = read_labels(file, folder, labels, dataset, diag);
    fclose(file);
    return status;
}

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    }
    return false;
}

static bool is_input_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && strncmp(name, "output", 6) != 0 &&
           (strcmp(dot, ".npy") == 0 || strcmp(dot, ".pb") == 0);
}

/* `folder`/`pattern`, with what glob would take for a pattern in the folder's name escaped. */
static char *make_pattern(const char *folder, const char *pattern)
{
    char *whole = malloc(2 * strlen(folder) + strlen(pattern) + 2), *out = whole;
    if (!whole)
        return NULL;
    for (const char *c = folder; *c; c++) {
        if (strchr("*?[\\", *c))
            *out++ = '\\';
        *out++ = *c;
    }
    *out++ = '/';
    strcpy(out, pattern);
    return whole;
}

/* Adds what `folder`/`pattern` matches and `accept` takes, by name. No match is no error. */
static int add_matches(struct dataset *dataset, const char *folder, const char *pattern,
                       bool (*accept)(const char *name), struct lego_diag *diag)
{
    glob_t found = {0};
    char *whole = make_pattern(folder, pattern);
    int status = LEGO_OK;
    if (!whole)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int code = glob(whole, 0, NULL, &found);
    if (code != 0 && code != GLOB_NOMATCH)
        status = lego_fail(diag, code == GLOB_NOSPACE ? LEGO_E_NOMEM : LEGO_E_IO,
                           "%s: the folder cannot be read", folder);
    for (size_t i = 0; status == LEGO_OK && i < found.gl_pathc; i++) {
        if (accept(strrchr(found.gl_pathv[i], '/') + 1))
            status = add_entry(dataset, strdup(found.gl_pathv[i]), 0, diag);
    }
    globfree(&found);
    free(whole);
    return status;
}

static int check_folder(const char *folder, struct lego_diag *diag)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return lego_fail_errno(diag, errno, "%s", folder);
    return S_ISDIR(info.st_mode) ? LEGO_OK
                                 : lego_fail(diag, LEGO_E_INVALID, "%s is no folder", folder);
}

static int list_pictures(const char *folder, struct dataset *dataset, struct lego_diag *diag)
{
    int status = check_folder(folder, diag);
    if (status == LEGO_OK)
        status = add_matches(dataset, folder, "*", is_picture_name, diag);
    if (status == LEGO_OK && dataset->count == 0)
        status = lego_fail(diag, LEGO_E_NOT_FOUND, "%s: no PNG or JPEG in it", folder);
    return status;
}

int dataset_open_images(const char *folder, const char *labels, struct dataset **ret_dataset,
                        struct lego_diag *diag)
{
    struct dataset *dataset = calloc(1, sizeof(*dataset));
    int status;
    if (!dataset)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", folder);
    status =
        labels ? open_labels(folder, labels, dataset, diag) : list_pictures(folder, dataset, diag);
    if (status != LEGO_OK) {
        dataset_close(dataset);
        return status;
    }
    *ret_dataset = dataset;
    return LEGO_OK;
}

int dataset_open_tensors(const char *folder, struct dataset **ret_dataset, struct lego_diag *diag)
{
    struct dataset *dataset = calloc(1, sizeof(*dataset));
    if (!dataset)
        return lego_fail(diag, LEGO_E_NOMEM, "%s: out of memory", folder);
    dataset->tensors = true;
    int status = check_folder(folder, diag);
    if (status == LEGO_OK)
        status = add_matches(dataset, folder, "*", is_input_name, diag);
    if (status == LEGO_OK && dataset->count == 0)
        status = add_matches(dataset, folder, "test_data_set_*/input_0.pb", is_input_name, diag);
    if (status == LEGO_OK && dataset->count == 0)
        status = lego_fail(diag, LEGO_E_NOT_FOUND, "%s: no .npy or .pb input in it", folder);
    if (status != LEGO_OK) {
        dataset_close(dataset);
        return status;
    }
    *ret_dataset = dataset;
    return LEGO_OK;
}
