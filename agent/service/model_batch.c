/* Whether a model may answer several requests in one run: tried out, not only read from shapes. */
#include "agent/service/model_batch.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_ROWS      2
#define PROBE_TOLERANCE 1e-3f /* kernels for one row may add up in another order */

/* Inputs and outputs of one run of the probe; outputs are copies. */
struct probe {
    struct lego_io *inputs, *outputs;
};

static void probe_clear(const struct lego_model *model, struct probe *probe)
{
    for (uint32_t i = 0; probe->inputs && i < lego_model_input_count(model); i++)
        free(probe->inputs[i].data);
    for (uint32_t i = 0; probe->outputs && i < lego_model_output_count(model); i++)
        free(probe->outputs[i].data);
    free(probe->inputs);
    free(probe->outputs);
}

/* Numbers between -1 and 1, the same for the same row; integers are zeros, which are no index out
 * of range. */
static void fill(struct lego_io *io, int64_t first_row)
{
    size_t row_bytes = io->bytes / (size_t)io->shape.dim[0];
    if (io->dtype != LEGO_DTYPE_FLOAT32)
        return;
    for (int64_t row = 0; row < io->shape.dim[0]; row++) {
        uint32_t state = (uint32_t)(first_row + row + 1) * 2654435761u;
        float *values = (float *)((uint8_t *)io->data + (size_t)row * row_bytes);
        for (size_t i = 0; i < row_bytes / sizeof(float); i++) {
            state = state * 1664525u + 1013904223u;
            values[i] = (float)(state >> 16) / 32768.0f - 1.0f;
        }
    }
}

static int make_input(const struct lego_model *model, uint32_t index, int64_t first_row,
                      int64_t rows, struct lego_io *io, struct lego_diag *diag)
{
    const struct lego_value *value = lego_model_input(model, index);
    size_t elems;
    io->dtype = value->dtype;
    io->shape = value->shape;
    for (int d = 0; d < io->shape.rank; d++)
        io->shape.dim[d] = d == 0 ? rows : io->shape.dim[d] < 1 ? 1 : io->shape.dim[d];
    if (lego_shape_elems(&io->shape, &elems) != LEGO_OK ||
        !lego_mul_size(elems, lego_dtype_bytes(io->dtype), &io->bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "input \"%s\" is too large", value->name);
    io->data = calloc(1, io->bytes ? io->bytes : 1);
    if (!io->data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory to try a batch");
    fill(io, first_row);
    return LEGO_OK;
}

static int keep_output(struct lego_io *io, struct lego_diag *diag)
{
    void *copy = malloc(io->bytes ? io->bytes : 1);
    if (copy && io->bytes > 0)
        memcpy(copy, io->data, io->bytes);
    io->data = copy;
    return copy ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "no memory to try a batch");
}

static int probe_run(const struct lego_model *model, struct lego_session *session,
                     int64_t first_row, int64_t rows, struct probe *probe, struct lego_diag *diag)
{
    uint32_t inputs = lego_model_input_count(model), outputs = lego_model_output_count(model);
    probe->inputs = calloc(inputs + 1u, sizeof(*probe->inputs));
    struct lego_io *found = calloc(outputs + 1u, sizeof(*found));
    probe->outputs = calloc(outputs + 1u, sizeof(*probe->outputs));
    int status = probe->inputs && found && probe->outputs
                     ? LEGO_OK
                     : lego_fail(diag, LEGO_E_NOMEM, "no memory to try a batch");
    for (uint32_t i = 0; status == LEGO_OK && i < inputs; i++)
        status = make_input(model, i, first_row, rows, &probe->inputs[i], diag);
    if (status == LEGO_OK)
        status = lego_session_run(session, probe->inputs, inputs, found, outputs, diag);
    for (uint32_t k = 0; status == LEGO_OK && k < outputs; k++) {
        status = keep_output(&found[k], diag);
        if (status == LEGO_OK)
            probe->outputs[k] = found[k];
    }
    free(found);
    return status;
}

static bool same_numbers(const struct lego_io *alone, const uint8_t *row)
{
    const float *a = alone->data, *b = (const float *)row;
    if (alone->dtype != LEGO_DTYPE_FLOAT32)
        return alone->bytes == 0 || !memcmp(alone->data, row, alone->bytes);
    for (size_t i = 0; i < alone->bytes / sizeof(float); i++)
        if (!(fabsf(a[i] - b[i]) <= PROBE_TOLERANCE * (1 + fabsf(a[i]))) &&
            !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static int compare_row(const struct lego_model *model, const struct probe *alone,
                       const struct probe *both, int64_t row, struct lego_diag *diag)
{
    for (uint32_t k = 0; k < lego_model_output_count(model); k++) {
        const struct lego_io *one = &alone->outputs[k], *all = &both->outputs[k];
        const char *name = lego_model_output(model, k)->name;
        if (one->shape.rank < 1 || one->shape.dim[0] != 1 || all->shape.rank != one->shape.rank ||
            all->shape.dim[0] != PROBE_ROWS || all->bytes != PROBE_ROWS * one->bytes)
            return lego_fail(
                diag, LEGO_E_UNSUPPORTED,
                "it cannot be batched: output \"%s\" has no row for each of its inputs'", name);
        if (!same_numbers(one, (const uint8_t *)all->data + (size_t)row * one->bytes))
            return lego_fail(diag, LEGO_E_UNSUPPORTED,
                             "it cannot be batched: in output \"%s\" a row depends on the others",
                             name);
    }
    return LEGO_OK;
}

static int check_inputs(const struct lego_model *model, struct lego_diag *diag)
{
    for (uint32_t i = 0; i < lego_model_input_count(model); i++) {
        const struct lego_value *value = lego_model_input(model, i);
        if (value->shape.rank < 1 || value->shape.dim[0] >= 0)
            return lego_fail(diag, LEGO_E_UNSUPPORTED,
                             "it cannot be batched: input \"%s\" does not leave its first "
                             "dimension open",
                             value->name);
    }
    return LEGO_OK;
}

int model_batch_check(const struct lego_model *model, struct lego_session *session,
                      struct lego_diag *diag)
{
    struct probe both = {0};
    int status = check_inputs(model, diag);
    if (status == LEGO_OK)
        status = probe_run(model, session, 0, PROBE_ROWS, &both, diag);
    for (int64_t row = 0; status == LEGO_OK && row < PROBE_ROWS; row++) {
        struct probe alone = {0};
        status = probe_run(model, session, row, 1, &alone, diag);
        if (status == LEGO_OK)
            status = compare_row(model, &alone, &both, row, diag);
        probe_clear(model, &alone);
    }
    probe_clear(model, &both);
    return status;
}
