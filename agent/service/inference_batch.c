/* Several requests in one run: their inputs one behind the other, each answered with its rows. */
#include "agent/service/inference.h"

#include "agent/service/answer.h"
#include "agent/service/clock.h"
#include "codec/base/arith.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_ALIGN 64u

struct entry {
    struct inference_job *job;
    Legonet__Request *request;
    struct inference_call call; /* cleared as soon as the job is answered */
    bool open;                  /* bound, and not yet answered */
};

/* Jobs that run together: entries[members[0]] leads. */
struct group {
    struct entry **members;
    size_t count;
    uint64_t rows;
};

static void fail(struct inference_job *job, int status, const struct lego_diag *diag)
{
    job->status = status;
    job->frame = answer_error_frame(job->request_id, status, lego_diag_text(diag, status),
                                    &job->frame_bytes);
}

static void close_entry(struct entry *entry)
{
    if (entry->open)
        inference_call_clear(&entry->call);
    entry->open = false;
}

static void open_entry(struct entry *entry, struct inference_job *job)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    uint64_t start = clock_ns();
    entry->job = job;
    int status = inference_unpack(job, &entry->request, &diag);
    if (status == LEGO_OK)
        status = inference_bind(job->model->model, entry->request, job->regions, job->max_batch,
                                &entry->call, &diag);
    job->times.input = clock_ns() - start;
    entry->open = status == LEGO_OK;
    if (!entry->open)
        fail(job, status, &diag);
    else
        job->rows = entry->call.rows;
}

/* A request whose inputs have as many rows each, one at least. */
static bool has_rows(const struct inference_call *call)
{
    for (uint32_t i = 0; i < call->input_count; i++)
        if (call->inputs[i].shape.rank < 1 || call->inputs[i].shape.dim[0] < 1 ||
            call->inputs[i].shape.dim[0] != call->inputs[0].shape.dim[0])
            return false;
    return call->input_count > 0;
}

/* Alike but for the number of rows. */
static bool fits(const struct inference_call *call, const struct inference_call *leader)
{
    if (!has_rows(call))
        return false;
    for (uint32_t i = 0; i < call->input_count; i++) {
        const struct lego_shape *a = &call->inputs[i].shape, *b = &leader->inputs[i].shape;
        if (a->rank != b->rank ||
            memcmp(a->dim + 1, b->dim + 1, sizeof(*a->dim) * (size_t)(a->rank - 1)))
            return false;
    }
    return true;
}

static void form_group(struct entry *entries, size_t count, size_t first, uint64_t max_rows,
                       struct group *group)
{
    const struct entry *leader = &entries[first];
    group->members[0] = &entries[first];
    group->count = 1;
    group->rows = leader->call.rows;
    if (!has_rows(&leader->call))
        return;
    for (size_t i = first + 1; i < count; i++) {
        struct entry *entry = &entries[i];
        if (!entry->open || !fits(&entry->call, &leader->call) ||
            entry->call.rows > max_rows - lego_min_size(group->rows, max_rows))
            continue;
        group->members[group->count++] = entry;
        group->rows += entry->call.rows;
    }
}

/* One input of the whole group. */
static int join_input(const struct group *group, uint32_t index, struct lego_io *ret_io,
                      struct lego_diag *diag)
{
    const struct lego_io *first = &group->members[0]->call.inputs[index];
    struct lego_io io = {.dtype = first->dtype, .shape = first->shape};
    io.shape.dim[0] = (int64_t)group->rows;
    for (size_t i = 0; i < group->count; i++)
        if (!lego_add_size(io.bytes, group->members[i]->call.inputs[index].bytes, &io.bytes))
            return lego_fail(diag, LEGO_E_OVERFLOW, "a batch of %zu requests", group->count);
    io.data = aligned_alloc(BATCH_ALIGN, (io.bytes + BATCH_ALIGN) & ~(size_t)(BATCH_ALIGN - 1));
    if (!io.data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for a batch");
    uint8_t *at = io.data;
    for (size_t i = 0; i < group->count; i++) {
        const struct lego_io *part = &group->members[i]->call.inputs[index];
        if (part->bytes > 0)
            memcpy(at, part->data, part->bytes);
        at += part->bytes;
    }
    *ret_io = io;
    return LEGO_OK;
}

static int run_joined(const struct group *group, struct lego_session *session,
                      struct lego_io *outputs, uint64_t *ret_ns, struct lego_diag *diag)
{
    const struct inference_call *leader = &group->members[0]->call;
    struct lego_io *inputs = calloc(leader->input_count, sizeof(*inputs));
    int status = inputs ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "no memory for a batch");
    for (uint32_t i = 0; status == LEGO_OK && i < leader->input_count; i++)
        status = join_input(group, i, &inputs[i], diag);
    uint64_t start = clock_ns();
    if (status == LEGO_OK)
        status = lego_session_run(session, inputs, leader->input_count, outputs,
                                  leader->output_count, diag);
    *ret_ns = clock_ns() - start;
    for (uint32_t i = 0; inputs && i < leader->input_count; i++)
        free(inputs[i].data);
    free(inputs);
    for (uint32_t k = 0; status == LEGO_OK && k < leader->output_count; k++)
        if (outputs[k].shape.rank < 1 || (uint64_t)outputs[k].shape.dim[0] != group->rows)
            status = LEGO_E_INTERNAL; /* checked when the model was loaded, for its shapes then */
    return status;
}

/* The part of an output that is one request's. */
static struct lego_io slice(const struct lego_io *whole, uint64_t all_rows, uint64_t from,
                            uint64_t rows)
{
    struct lego_io part = *whole;
    size_t row_bytes = whole->bytes / all_rows;
    part.shape.dim[0] = (int64_t)rows;
    part.data = (uint8_t *)whole->data + from * row_bytes;
    part.bytes = rows * row_bytes;
    return part;
}

static void answer_group(const struct group *group, const struct lego_io *outputs, uint64_t ns)
{
    uint64_t from = 0;
    for (size_t i = 0; i < group->count; i++) {
        struct entry *entry = group->members[i];
        struct lego_diag diag = LEGO_DIAG_INIT;
        uint64_t start = clock_ns();
        for (uint32_t k = 0; k < entry->call.output_count; k++)
            entry->call.outputs[k] = slice(&outputs[k], group->rows, from, entry->call.rows);
        from += entry->call.rows;
        entry->job->times.infer = ns;
        entry->job->rides = i > 0;
        entry->job->status = inference_answer(entry->job, entry->request, &entry->call,
                                              &entry->job->frame, &entry->job->frame_bytes, &diag);
        if (entry->job->status != LEGO_OK)
            fail(entry->job, entry->job->status, &diag);
        entry->job->times.output = clock_ns() - start;
        close_entry(entry);
    }
}

static void run_alone(struct entry *entry, struct lego_session *session)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = inference_compute(entry->job, session, entry->request, &entry->call, &diag);
    if (status == LEGO_OK)
        entry->job->status = status;
    else
        fail(entry->job, status, &diag);
    close_entry(entry);
}

/* What fails together may succeed alone: one request's bad index is not the others' fault. */
static void run_group(const struct group *group, struct lego_session *session)
{
    uint32_t output_count = group->members[0]->call.output_count;
    struct lego_io *outputs = group->count > 1 ? calloc(output_count + 1u, sizeof(*outputs)) : NULL;
    uint64_t ns;
    if (outputs && run_joined(group, session, outputs, &ns, NULL) == LEGO_OK) {
        answer_group(group, outputs, ns);
    } else {
        for (size_t i = 0; i < group->count; i++)
            run_alone(group->members[i], session);
    }
    free(outputs);
}

void inference_run_batch(struct inference_job *const *jobs, size_t count, uint64_t max_rows,
                         struct lego_session *session)
{
    struct entry *entries = calloc(count, sizeof(*entries));
    struct group group = {.members = calloc(count, sizeof(struct entry *))};
    if (!entries || !group.members) {
        for (size_t i = 0; i < count; i++)
            inference_run(jobs[i], session);
    } else {
        for (size_t i = 0; i < count; i++)
            open_entry(&entries[i], jobs[i]);
        for (size_t i = 0; i < count; i++) {
            if (!entries[i].open)
                continue;
            form_group(entries, count, i, max_rows, &group);
            run_group(&group, session);
        }
        for (size_t i = 0; i < count; i++)
            ipc_request_free(entries[i].request);
    }
    free(entries);
    free(group.members);
}
