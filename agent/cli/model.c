#include "agent/cli/model.h"

#include "codec/import/import.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* A model without preprocessing takes what lies beside it; none there is no error. */
static int add_preprocess_beside(struct lego_package *package, const char *path,
                                 struct lego_diag *diag)
{
    struct lego_diag ignored = LEGO_DIAG_INIT;
    if (package->preprocess.present)
        return LEGO_OK;
    int status =
        preprocess_load_beside(path, package->graph->arena, &package->preprocess, &ignored);
    if (status == LEGO_OK || status == LEGO_E_NOT_FOUND)
        return LEGO_OK;
    return lego_fail(diag, status, "%s", lego_diag_text(&ignored, status));
}

/* The index of `word` among `count` words, or -1. */
static int find_word(const char *word, const char *const *words, int count)
{
    while (--count >= 0 && strcmp(word, words[count]) != 0)
        continue;
    return count;
}

static bool read_resident(const char *word, enum lego_resident *ret_resident)
{
    static const char *const words[] = {[LEGO_RESIDENT_AUTO] = "auto",
                                        [LEGO_RESIDENT_CODED] = "coded",
                                        [LEGO_RESIDENT_PANELS] = "panels"};
    int found = find_word(word, words, 3);
    if (found >= 0)
        *ret_resident = (enum lego_resident)found;
    return found >= 0;
}

static bool read_verify(const char *word, enum lego_verify *ret_verify)
{
    static const char *const words[] = {[LEGO_VERIFY_STRUCTURE] = "off",
                                        [LEGO_VERIFY_CHECKSUMS] = "open",
                                        [LEGO_VERIFY_LAZY] = "lazy"};
    int found = find_word(word, words, 3);
    if (found >= 0)
        *ret_verify = (enum lego_verify)found;
    return found >= 0;
}

bool cli_compute(const char *word, enum lego_compute *ret_compute)
{
    static const char *const words[] = {[LEGO_COMPUTE_AUTO] = "auto",
                                        [LEGO_COMPUTE_FP32] = "fp32",
                                        [LEGO_COMPUTE_INT8] = "int8",
                                        [LEGO_COMPUTE_FP16] = "fp16"};
    int found = find_word(word, words, 4);
    if (found >= 0)
        *ret_compute = (enum lego_compute)found;
    return found >= 0;
}

const char *cli_model_options(const char *resident, const char *verify, const char *compute,
                              struct lego_model_options *ret_options)
{
    if (!read_resident(resident, &ret_options->resident))
        return "--resident is auto, coded or panels";
    if (!read_verify(verify, &ret_options->verify))
        return "--verify is open, lazy or off";
    if (!cli_compute(compute, &ret_options->compute))
        return "--compute is auto, fp32, fp16 or int8";
    return NULL;
}

static void print_refused(void *context, const char *text)
{
    (void)context;
    fprintf(stderr, "not supported, too: %s\n", text);
}

int cli_import(const char *path, struct lego_package **ret_package, struct lego_diag *diag)
{
    const struct import_options options = {.refused = print_refused};

    return import_onnx(path, &options, ret_package, diag);
}

int cli_model_open(const char *path, const struct lego_model_options *options,
                   struct lego_model **ret_model, struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    int status;

    if (ends_with(path, ".onnx"))
        status = cli_import(path, &package, diag);
    else if (ends_with(path, ".lego"))
        status = lego_package_open(path, options->verify, &package, diag);
    else
        return lego_fail(diag, LEGO_E_INVALID, "%s: a model's name ends in .onnx or .lego", path);
    if (status != LEGO_OK)
        return status;
    status = add_preprocess_beside(package, path, diag);
    if (status != LEGO_OK) {
        lego_package_destroy(package);
        return status;
    }
    return lego_model_from_package(package, options, ret_model, diag);
}

int cli_preprocess(const struct lego_model *model, const char *path, struct lego_arena *arena,
                   struct lego_preprocess *ret_preprocess, struct lego_diag *diag)
{
    if (path)
        return preprocess_load(path, arena, ret_preprocess, diag);
    if (!lego_model_package(model)->preprocess.present)
        return lego_fail(diag, LEGO_E_NOT_FOUND,
                         "the model does not say how a picture becomes its input; give "
                         "--preprocess FILE.json");
    *ret_preprocess = lego_model_package(model)->preprocess;
    return LEGO_OK;
}

int cli_preprocess_input(const struct lego_model *model, const struct lego_preprocess *preprocess,
                         uint32_t *ret_index, struct lego_diag *diag)
{
    if (!preprocess->input) {
        *ret_index = 0;
        return LEGO_OK;
    }
    for (uint32_t i = 0; i < lego_model_input_count(model); i++) {
        if (strcmp(lego_model_input(model, i)->name, preprocess->input) == 0) {
            *ret_index = i;
            return LEGO_OK;
        }
    }
    return lego_fail(diag, LEGO_E_NOT_FOUND,
                     "the preprocessing is for the input '%s', which the model has not",
                     preprocess->input);
}

void cli_binding_clear(struct cli_binding *binding)
{
    for (uint32_t i = 0; i < binding->count; i++) {
        if (binding->given[i])
            import_tensor_clear(&binding->tensors[i]);
    }
    free(binding->tensors);
    free(binding->given);
    *binding = (struct cli_binding){0};
}

/* The slot whose name is the first `length` bytes of `name`, or the count where there is none. */
static uint32_t find_slot(const struct lego_model *model, cli_slot slot, const char *name,
                          size_t length)
{
    uint32_t i = 0;
    for (const struct lego_value *value; (value = slot(model, i)) != NULL; i++) {
        if (strlen(value->name) == length && memcmp(value->name, name, length) == 0)
            break;
    }
    return i;
}

/*
 * Splits "NAME=FILE": the file, and the slot of NAME. A '=' whose left side is no slot's name
 * belongs to the file's name where such a file exists.
 */
static int split_name(const struct lego_model *model, cli_slot slot, const char *text,
                      uint32_t slots, const char **ret_file, uint32_t *ret_slot,
                      struct lego_diag *diag)
{
    *ret_file = text;
    *ret_slot = slots;
    for (const char *equal = strchr(text, '='); equal; equal = strchr(equal + 1, '=')) {
        uint32_t found = find_slot(model, slot, text, (size_t)(equal - text));
        if (found < slots) {
            *ret_file = equal + 1;
            *ret_slot = found;
            return LEGO_OK;
        }
    }
    const char *equal = strchr(text, '=');
    if (equal && access(text, F_OK) != 0)
        return lego_fail(diag, LEGO_E_INVALID, "the model has nothing named '%.*s'",
                         (int)(equal - text), text);
    return LEGO_OK;
}

/* A file that was loaded, and the slot that it names. */
struct loaded {
    const char *file;
    struct lego_tensor tensor;
    uint32_t slot; /* the count of slots: none */
    bool by_user;  /* NAME=FILE, not the name in the file */
};

static int load(const struct lego_model *model, cli_slot slot, uint32_t slots, const char *text,
                const struct lego_preprocess *preprocess, struct loaded *ret_loaded,
                struct lego_diag *diag)
{
    struct loaded loaded = {0};
    int status = split_name(model, slot, text, slots, &loaded.file, &loaded.slot, diag);
    if (status == LEGO_OK)
        status = cli_tensor_load(loaded.file, preprocess, &loaded.tensor, diag);
    if (status != LEGO_OK)
        return status;
    loaded.by_user = loaded.slot < slots;
    if (!loaded.by_user)
        loaded.slot = find_slot(model, slot, loaded.tensor.name, strlen(loaded.tensor.name));
    *ret_loaded = loaded;
    return LEGO_OK;
}

static void take(struct cli_binding *binding, uint32_t at, struct loaded *loaded)
{
    binding->tensors[at] = loaded->tensor;
    binding->given[at] = true;
    loaded->tensor = (struct lego_tensor){0};
}

/* First those that name a free slot, then the others in order. */
static int assign(struct cli_binding *binding, struct loaded *loaded, size_t count,
                  struct lego_diag *diag)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t at = loaded[i].slot;
        if (at < binding->count && !binding->given[at])
            take(binding, at, &loaded[i]);
        else if (loaded[i].by_user)
            return lego_fail(diag, LEGO_E_INVALID, "%s is for what another file is given for",
                             loaded[i].file);
    }
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (!loaded[i].tensor.name)
            continue;
        while (at < binding->count && binding->given[at])
            at++;
        if (at == binding->count)
            return lego_fail(diag, LEGO_E_INVALID, "%s is one file too many: the model has %u",
                             loaded[i].file, binding->count);
        take(binding, at, &loaded[i]);
    }
    return LEGO_OK;
}

static int bind_files(const struct lego_model *model, cli_slot slot, const struct cli_list *files,
                      const struct lego_preprocess *preprocess, struct cli_binding *binding,
                      struct lego_diag *diag)
{
    struct loaded *loaded = calloc(files->count + 1, sizeof(*loaded));
    if (!loaded)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < files->count; i++)
        status = load(model, slot, binding->count, files->items[i], preprocess, &loaded[i], diag);
    if (status == LEGO_OK)
        status = assign(binding, loaded, files->count, diag);
    for (size_t i = 0; i < files->count; i++) {
        if (loaded[i].tensor.name)
            import_tensor_clear(&loaded[i].tensor);
    }
    free(loaded);
    return status;
}

int cli_bind(const struct lego_model *model, cli_slot slot, const struct cli_list *files,
             const struct lego_preprocess *preprocess, struct cli_binding *ret_binding,
             struct lego_diag *diag)
{
    struct cli_binding binding = {0};
    uint32_t count = 0;
    while (slot(model, count))
        count++;
    binding.tensors = calloc((size_t)count + 1, sizeof(*binding.tensors));
    binding.given = calloc((size_t)count + 1, sizeof(*binding.given));
    int status;
    if (!binding.tensors || !binding.given) {
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    } else {
        binding.count = count;
        status = bind_files(model, slot, files, preprocess, &binding, diag);
    }
    if (status != LEGO_OK) {
        cli_binding_clear(&binding);
        return status;
    }
    *ret_binding = binding;
    return LEGO_OK;
}

uint32_t cli_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}
