#include "agent/cli/examples.h"

#include "agent/cli/dataset.h"
#include "codec/import/import.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FEWEST_HELD 8 /* fewer say nothing: then those of calibration are looked at again */

struct part {
    struct cli_examples *whole;
    uint32_t first;
    struct encode_examples examples;
};

struct cli_examples {
    const struct lego_package *package;
    struct dataset *dataset;
    struct lego_shape shape; /* of one example */
    bool shaped;
    uint32_t *order; /* indices in the dataset: those that are good come first */
    uint32_t good, skipped;
    struct part calibration, held;
};

static const struct lego_value *input_of(const struct cli_examples *e)
{
    return &e->package->graph->values[e->package->graph->inputs[0]];
}

static int read_picture(const struct cli_examples *e, uint32_t index, float *out, size_t elems,
                        struct lego_diag *diag)
{
    struct lego_picture picture;
    int status = dataset_picture(e->dataset, index, &picture, diag);

    if (status != LEGO_OK)
        return status;
    status = preprocess_apply(&e->package->preprocess, &picture, out, elems, diag);
    picture_clear(&picture);
    return status;
}

/* Whether a tensor can be an example: of the type, one in a batch, of the first one's shape. */
static int check_tensor(struct cli_examples *e, const struct lego_tensor *tensor, const char *name,
                        struct lego_diag *diag)
{
    const struct lego_value *value = input_of(e);

    if (tensor->dtype != value->dtype)
        return lego_fail(diag, LEGO_E_TYPE, "%s: it is %s, input '%s' is %s", name,
                         lego_dtype_name(tensor->dtype), value->name,
                         lego_dtype_name(value->dtype));
    if (value->shape.rank >= 0 && tensor->shape.rank != value->shape.rank)
        return lego_fail(diag, LEGO_E_SHAPE, "%s: it has rank %d, input '%s' has %d", name,
                         tensor->shape.rank, value->name, value->shape.rank);
    for (int d = 0; d < value->shape.rank; d++) {
        const int64_t declared = value->shape.dim[d], has = tensor->shape.dim[d];

        if ((declared >= 0 && declared != has) || has < 1 || (d == 0 && declared < 0 && has != 1))
            return lego_fail(diag, LEGO_E_SHAPE,
                             "%s: dimension %d is %lld, which input '%s' does not take for one "
                             "example",
                             name, d, (long long)has, value->name);
    }
    for (size_t i = 0; tensor->dtype == LEGO_DTYPE_FLOAT32 && i < tensor->bytes / sizeof(float);
         i++) {
        if (!isfinite(((const float *)tensor->data)[i]))
            return lego_fail(diag, LEGO_E_FORMAT, "%s: element %zu is not finite", name, i);
    }
    if (e->shaped && !lego_shape_equal(&tensor->shape, &e->shape))
        return lego_fail(diag, LEGO_E_SHAPE, "%s: its shape differs from the other examples'",
                         name);
    e->shape = tensor->shape;
    e->shaped = true;
    return LEGO_OK;
}

/* Reads an example once, to see whether it is good. */
static int try_example(struct cli_examples *e, uint32_t index, struct lego_diag *diag)
{
    char buffer[256];
    int status;

    if (dataset_holds_tensors(e->dataset)) {
        struct lego_tensor tensor = {0};

        status = dataset_tensor(e->dataset, index, &tensor, diag);
        if (status == LEGO_OK)
            status = check_tensor(e, &tensor,
                                  dataset_name(e->dataset, index, buffer, sizeof(buffer)), diag);
        import_tensor_clear(&tensor);
        return status;
    }
    const size_t elems = preprocess_elems(&e->package->preprocess);
    float *out = malloc((elems + 1) * sizeof(*out));

    status = out ? read_picture(e, index, out, elems, diag)
                 : lego_fail(diag, LEGO_E_NOMEM, "out of memory for a picture");
    free(out);
    return status;
}

static int read_example(void *context, uint32_t index, uint32_t input, void *out, size_t bytes,
                        struct lego_diag *diag)
{
    const struct part *part = context;
    const struct cli_examples *e = part->whole;
    const uint32_t at = e->order[part->first + index];
    struct lego_tensor tensor = {0};

    (void)input;
    if (!dataset_holds_tensors(e->dataset))
        return read_picture(e, at, out, bytes / sizeof(float), diag);
    int status = dataset_tensor(e->dataset, at, &tensor, diag);
    if (status == LEGO_OK && tensor.bytes != bytes)
        status = lego_fail(diag, LEGO_E_SHAPE, "an example changed while it was used");
    if (status == LEGO_OK)
        memcpy(out, tensor.data, bytes);
    import_tensor_clear(&tensor);
    return status;
}

static int open_dataset(struct cli_examples *e, const char *path, struct lego_diag *diag)
{
    struct lego_diag pictures = LEGO_DIAG_INIT;
    struct stat about;

    if (stat(path, &about) != 0)
        return lego_fail_errno(diag, errno, "%s", path);
    if (!S_ISDIR(about.st_mode))
        return dataset_open_cifar10(path, &e->dataset, diag);
    if (dataset_open_images(path, NULL, &e->dataset, &pictures) == LEGO_OK)
        return LEGO_OK;
    if (dataset_open_tensors(path, &e->dataset, diag) == LEGO_OK)
        return LEGO_OK;
    return lego_fail(diag, LEGO_E_NOT_FOUND,
                     "%s: no example in it: neither PNG or JPEG pictures nor .pb or .npy tensors",
                     path);
}

/* Pictures need a preprocessing, and one whose pictures the input takes. */
static int check_model(struct cli_examples *e, struct lego_diag *diag)
{
    const struct lego_package *package = e->package;
    size_t elems;

    if (package->graph->input_count != 1)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "--calibrate takes models of one input, this has %u",
                         package->graph->input_count);
    if (dataset_holds_tensors(e->dataset))
        return LEGO_OK;
    if (!package->preprocess.present)
        return lego_fail(diag, LEGO_E_NOT_FOUND,
                         "--calibrate: the model does not say how a picture becomes its input; "
                         "give --preprocess FILE.json");
    const int status = encode_example_shape(package, 0, &e->shape, diag);
    if (status != LEGO_OK)
        return status;
    if (input_of(e)->dtype != LEGO_DTYPE_FLOAT32 ||
        lego_shape_elems(&e->shape, &elems) != LEGO_OK ||
        elems != preprocess_elems(&package->preprocess))
        return lego_fail(diag, LEGO_E_SHAPE,
                         "input '%s' does not take the preprocessing's pictures",
                         input_of(e)->name);
    return LEGO_OK;
}

static void shuffle(uint32_t *order, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint64_t x = seed += 0x9e3779b97f4a7c15u; /* splitmix64 */

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        const uint32_t k = (uint32_t)((x ^ (x >> 31)) % i), other = order[k];

        order[k] = order[i - 1];
        order[i - 1] = other;
    }
}

static int choose(struct cli_examples *e, const char *path, uint64_t seed, uint32_t most,
                  struct lego_diag *diag)
{
    const size_t all = dataset_count(e->dataset);
    const uint32_t count = all < UINT32_MAX ? (uint32_t)all : UINT32_MAX;

    e->order = malloc(((size_t)count + 1) * sizeof(*e->order));
    if (!e->order)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for examples");
    shuffle(e->order, count, seed);
    for (uint32_t i = 0; i < count && e->good < most; i++) {
        struct lego_diag why = LEGO_DIAG_INIT;
        const int status = try_example(e, e->order[i], &why);

        if (status == LEGO_E_NOMEM)
            return lego_fail(diag, status, "%s", lego_diag_text(&why, status));
        if (status == LEGO_OK) {
            e->order[e->good++] = e->order[i];
            continue;
        }
        e->skipped++;
        fprintf(stderr, "legonet: warning: skipped for calibration: %s\n",
                lego_diag_text(&why, status));
    }
    if (e->good == 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: none of its %u examples can be used", path,
                         count);
    return LEGO_OK;
}

int cli_examples_open(const char *path, const struct lego_package *package, uint64_t seed,
                      uint32_t wanted, uint32_t held, struct cli_examples **ret_examples,
                      struct lego_diag *diag)
{
    struct cli_examples *e = calloc(1, sizeof(*e));
    int status = LEGO_OK;

    if (!e)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory for examples");
    e->package = package;
    status = open_dataset(e, path, diag);
    if (status == LEGO_OK)
        status = check_model(e, diag);
    if (status == LEGO_OK)
        status = choose(e, path, seed, wanted + held, diag);
    if (status != LEGO_OK) {
        cli_examples_close(e);
        return status;
    }
    if (held > e->good / 4)
        held = e->good / 4;
    if (held < FEWEST_HELD)
        held = 0;
    const uint32_t used = e->good - held < wanted ? e->good - held : wanted;
    const struct encode_examples both = {.shapes = &e->shape, .read = read_example};
    e->calibration = (struct part){.whole = e, .examples = both};
    e->calibration.examples.count = used;
    e->calibration.examples.context = &e->calibration;
    e->held = e->calibration;
    if (held > 0) {
        e->held.first = used;
        e->held.examples.count = held;
    }
    e->held.examples.context = &e->held;
    *ret_examples = e;
    return LEGO_OK;
}

void cli_examples_close(struct cli_examples *e)
{
    if (!e)
        return;
    dataset_close(e->dataset);
    free(e->order);
    free(e);
}

const struct encode_examples *cli_examples_calibration(const struct cli_examples *e)
{
    return &e->calibration.examples;
}

const struct encode_examples *cli_examples_held(const struct cli_examples *e)
{
    return &e->held.examples;
}

bool cli_examples_reused(const struct cli_examples *e)
{
    return e->held.first == e->calibration.first;
}

uint32_t cli_examples_skipped(const struct cli_examples *e)
{
    return e->skipped;
}
