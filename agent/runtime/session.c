#include "agent/runtime/plan.h"

#include "codec/base/arith.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define SESSION_ALIGN 64
/* From this size on memory asks for huge pages: activations are walked from end to end in each
 * step, and there are more pages of 4 KiB than a TLB holds. */
#define SESSION_HUGE (2u << 20)
/* What a self-test allows in numbers that are not those the file was written for. */
#define SELFTEST_OTHER_COMPUTE 0.25f

struct lego_session {
    struct lego_model *model;
    struct workers *workers;
    struct plan *plan; /* of the last shapes, NULL before the first */
    void *allocation;  /* what memory lies in */
    char *memory;      /* arena, shared scratch, slots, zeros: of the current plan */
    size_t memory_bytes;
    struct plan_run run;
    uint32_t value_capacity; /* of run.address and run.dynamic */
    uint32_t input_count;
    struct lego_shape *shapes; /* the inputs of the call in hand, and what they decide */
    int64_t *decisions;
    bool decided; /* all that decide have data */
    bool profile;
    struct lego_step_time *times;
    uint32_t time_capacity, time_count;
};

int lego_session_create(struct lego_model *model, const struct lego_session_options *options,
                        struct lego_session **ret_session, struct lego_diag *diag)
{
    struct lego_session *session = calloc(1, sizeof(*session));
    int status;

    if (!session)
        return lego_fail(diag, LEGO_E_NOMEM, "making a session");
    session->model = lego_model_ref(model);
    session->input_count = lego_model_input_count(model);
    session->shapes = calloc(session->input_count + 1, sizeof(*session->shapes));
    session->decisions = calloc(session->input_count + 1, sizeof(*session->decisions));
    status = session->shapes && session->decisions
                 ? workers_create(options ? options->threads : 0, &session->workers, diag)
                 : lego_fail(diag, LEGO_E_NOMEM, "making a session");
    if (status) {
        lego_session_destroy(session);
        return status;
    }
    session->run.kernels = &model->kernels;
    session->run.workers = session->workers;
    session->run.slots = workers_count(session->workers);
    *ret_session = session;
    return LEGO_OK;
}

/* Forgets the values of the last run whose size depended on the data. */
static int session_new_dynamic(struct lego_session *session, struct lego_diag *diag)
{
    lego_arena_destroy(session->run.dynamic_memory);
    session->run.dynamic_memory = lego_arena_create(0);
    return session->run.dynamic_memory ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "running");
}

void lego_session_destroy(struct lego_session *session)
{
    if (!session)
        return;
    lego_arena_destroy(session->run.dynamic_memory);
    workers_destroy(session->workers);
    model_release_plan(session->model, session->plan);
    free(session->allocation);
    free(session->run.address);
    free(session->run.dynamic);
    free(session->shapes);
    free(session->decisions);
    free(session->times);
    lego_model_close(session->model);
    free(session);
}

size_t lego_session_bytes(const struct lego_session *session)
{
    return session->memory_bytes;
}

/* Declared and given shape of input `index`, for a person. */
static int session_refuse_input(const struct lego_session *session, uint32_t index, int status,
                                const struct lego_io *io, struct lego_diag *diag)
{
    const struct lego_value *declared = lego_model_input(session->model, index);
    const struct lego_graph *graph = session->model->package->graph;
    char want[128], have[128];

    return lego_fail(diag, status, "input '%s' takes %s %s, not %s %s", declared->name,
                     lego_dtype_name(declared->dtype),
                     lego_shape_format(&declared->shape, graph, want, sizeof(want)),
                     lego_dtype_name(io->dtype),
                     lego_shape_format(&io->shape, NULL, have, sizeof(have)));
}

static bool shape_accepted(const struct lego_shape *declared, const struct lego_shape *given)
{
    if (!lego_shape_is_static(given))
        return false;
    if (declared->rank == LEGO_RANK_UNKNOWN)
        return true;
    if (declared->rank != given->rank)
        return false;
    for (int i = 0; i < given->rank; i++)
        if (declared->dim[i] >= 0 && declared->dim[i] != given->dim[i])
            return false;
    return true;
}

static int session_check_input(const struct lego_session *session, uint32_t index,
                               const struct lego_io *io, bool with_data, struct lego_diag *diag)
{
    const struct lego_value *declared = lego_model_input(session->model, index);
    size_t elems, size = lego_dtype_bytes(io->dtype), bytes;

    if (io->shape.rank < 0 || io->shape.rank > LEGO_MAX_RANK)
        return lego_fail(diag, LEGO_E_SHAPE, "input '%s': a shape of rank %d", declared->name,
                         io->shape.rank);
    if (io->dtype != declared->dtype)
        return session_refuse_input(session, index, LEGO_E_TYPE, io, diag);
    if (!shape_accepted(&declared->shape, &io->shape) || lego_shape_elems(&io->shape, &elems) ||
        !lego_mul_size(elems, size, &bytes))
        return session_refuse_input(session, index, LEGO_E_SHAPE, io, diag);
    if (!with_data)
        return LEGO_OK;
    if (io->bytes != bytes || (!io->data && bytes))
        return lego_fail(diag, LEGO_E_SHAPE, "input '%s': its shape needs %zu bytes, %zu are given",
                         declared->name, bytes, io->data ? io->bytes : 0);
    if (size && (uintptr_t)io->data % size)
        return lego_fail(diag, LEGO_E_INVALID, "input '%s': its data are not aligned",
                         declared->name);
    return LEGO_OK;
}

/* Reads an input that decides an If. */
static void session_read_decision(struct lego_session *session, uint32_t index,
                                  const struct lego_io *io)
{
    const bool *decides = session->model->decides;
    const size_t bytes = lego_dtype_bytes(io->dtype);

    session->decisions[index] = 0;
    if (!decides || !decides[index])
        return;
    if (io->data && io->bytes == bytes)
        memcpy(&session->decisions[index], io->data, bytes);
    else
        session->decided = false;
}

static struct plan_key session_key(const struct lego_session *session)
{
    return (struct plan_key){.shapes = session->shapes,
                             .decisions = session->decided ? session->decisions : NULL};
}

static int session_check_inputs(struct lego_session *session, const struct lego_io *inputs,
                                uint32_t input_count, bool with_data, struct lego_diag *diag)
{
    if (input_count != session->input_count)
        return lego_fail(diag, LEGO_E_INVALID, "the model has %u inputs, %u are given",
                         session->input_count, input_count);
    session->decided = session->model->decides != NULL;
    for (uint32_t i = 0; i < input_count; i++) {
        int status = session_check_input(session, i, &inputs[i], with_data, diag);
        if (status)
            return status;
        session->shapes[i] = inputs[i].shape;
        session_read_decision(session, i, &inputs[i]);
    }
    return LEGO_OK;
}

static int session_grow(struct lego_session *session, const struct plan *plan, size_t bytes)
{
    if (plan->value_count > session->value_capacity) {
        void **address = realloc(session->run.address, plan->value_count * sizeof(*address));
        struct lego_array *dynamic;
        if (!address)
            return LEGO_E_NOMEM;
        session->run.address = address;
        dynamic = realloc(session->run.dynamic, plan->value_count * sizeof(*dynamic));
        if (!dynamic)
            return LEGO_E_NOMEM;
        session->run.dynamic = dynamic;
        memset(dynamic + session->value_capacity, 0,
               (plan->value_count - session->value_capacity) * sizeof(*dynamic));
        session->value_capacity = plan->value_count;
    }
    if (bytes > session->memory_bytes) {
        /* Zeros of many pages come as they are first touched: making ready takes no time for them.
         */
        const size_t align = bytes >= SESSION_HUGE ? SESSION_HUGE : SESSION_ALIGN;
        void *allocation = calloc(1, bytes + align);
        if (!allocation)
            return LEGO_E_NOMEM;
        free(session->allocation);
        session->allocation = allocation;
        session->memory = (char *)allocation + (-(uintptr_t)allocation & (align - 1));
        if (align == SESSION_HUGE)
            madvise(session->memory, bytes, MADV_HUGEPAGE); /* where the kernel has them */
        session->memory_bytes = bytes;
    }
    return LEGO_OK;
}

static int session_grow_times(struct lego_session *session, const struct plan *plan)
{
    struct lego_step_time *times;

    if (!session->profile || plan->step_count <= session->time_capacity)
        return LEGO_OK;
    times = realloc(session->times, plan->step_count * sizeof(*times));
    if (!times)
        return LEGO_E_NOMEM;
    session->times = times;
    session->time_capacity = plan->step_count;
    return LEGO_OK;
}

/* Where everything of the plan lies in the session's memory. */
static void session_bind(struct lego_session *session)
{
    const struct plan *plan = session->plan;
    struct plan_run *run = &session->run;

    run->plan = plan;
    run->shared = session->memory + plan->arena_bytes;
    run->slot = run->shared + plan->shared_bytes;
    run->zeros = (const float *)(run->slot + run->slots * plan->slot_bytes);
    memset((void *)run->zeros, 0, plan->zero_elems * sizeof(float));
    for (uint32_t i = 0; i < plan->value_count; i++) {
        size_t offset;
        const struct plan_value *root = &plan->values[plan_root(plan, (int32_t)i, &offset)];
        run->address[i] = NULL;
        if (root->storage == PLAN_ARENA)
            run->address[i] = session->memory + root->offset + offset;
        else if (root->storage == PLAN_CONSTANT)
            run->address[i] = (char *)root->constant + offset;
    }
}

/* Makes the session's plan the one for session->shapes. */
static int session_plan(struct lego_session *session, struct lego_diag *diag)
{
    const struct plan_key key = session_key(session);
    struct plan *plan;
    size_t bytes;
    int status;

    if (session->plan && plan_matches(session->plan, &key)) {
        if (session_grow_times(session, session->plan))
            return lego_fail(diag, LEGO_E_NOMEM, "profiling");
        return LEGO_OK;
    }
    status = model_plan(session->model, key, &plan, diag);
    if (status)
        return status;
    bytes = plan->arena_bytes + plan->shared_bytes + session->run.slots * plan->slot_bytes +
            plan->zero_elems * sizeof(float);
    bytes = (bytes + SESSION_ALIGN) & ~(size_t)(SESSION_ALIGN - 1);
    if (session_grow(session, plan, bytes) || session_grow_times(session, plan)) {
        model_release_plan(session->model, plan);
        return lego_fail(diag, LEGO_E_NOMEM, "%zu bytes for activations", bytes);
    }
    model_release_plan(session->model, session->plan);
    session->plan = plan;
    session_bind(session);
    return LEGO_OK;
}

static int session_check_fault(const struct lego_session *session, struct lego_diag *diag)
{
    return fault_guard_faulted(session->model->guard)
               ? lego_fail(diag, LEGO_E_FAULT,
                           "the model's file became shorter while it was mapped; open it again")
               : LEGO_OK;
}

static struct lego_array session_output(const struct lego_session *session, uint32_t index)
{
    const struct plan *plan = session->plan;
    const struct plan_value *value = &plan->values[plan->outputs[index]];

    if (value->storage == PLAN_DYNAMIC)
        return session->run.dynamic[plan->outputs[index]];
    return (struct lego_array){.dtype = value->dtype,
                               .shape = value->shape,
                               .data = session->run.address[plan->outputs[index]]};
}

int lego_session_prepare(struct lego_session *session, const struct lego_io *inputs,
                         uint32_t input_count, struct lego_io *ret_outputs, uint32_t output_count,
                         struct lego_diag *diag)
{
    int status = session_check_inputs(session, inputs, input_count, false, diag);

    if (!status)
        status = session_plan(session, diag);
    if (!status)
        status = session_check_fault(session, diag);
    if (status)
        return status;
    for (uint32_t i = 0; ret_outputs && i < output_count; i++) {
        const struct plan_value *value;
        if (i >= session->plan->graph->output_count)
            break;
        value = &session->plan->values[session->plan->outputs[i]];
        ret_outputs[i].dtype = value->dtype;
        ret_outputs[i].shape = value->shape;
        ret_outputs[i].bytes = value->bytes;
        if (value->storage == PLAN_DYNAMIC)
            ret_outputs[i].shape.rank = LEGO_RANK_UNKNOWN;
    }
    return LEGO_OK;
}

bool lego_session_is_steady(struct lego_session *session, const struct lego_io *inputs,
                            uint32_t input_count)
{
    const struct plan *plan = session->plan;

    if (!plan || plan->dynamic || plan->evaluated ||
        session_check_inputs(session, inputs, input_count, true, NULL) != LEGO_OK)
        return false;
    const struct plan_key key = session_key(session);
    return plan_matches(plan, &key);
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

/* All steps of a run, and how they ended. */
struct session_body {
    struct lego_session *session;
    struct lego_diag *diag;
    int status;
};

static void session_steps(void *argument)
{
    struct session_body *body = argument;
    struct lego_session *session = body->session;
    const struct plan *plan = session->plan;
    double start = session->profile ? now_us() : 0;

    for (uint32_t i = 0; i < plan->step_count; i++) {
        const struct plan_step *step = &plan->steps[i];
        body->status = step->run(step, &session->run, body->diag);
        if (body->status)
            return;
        if (session->profile && i < session->time_capacity) {
            double end = now_us();
            session->times[i] = (struct lego_step_time){
                .name = step->name, .op = step->op, .us = end - start, .macs = step->macs};
            session->time_count = i + 1;
            start = end;
        }
    }
}

/* Hands one output over: a copy into the caller's memory, or a look into the session. */
static int session_give(const struct lego_session *session, uint32_t index, struct lego_io *io,
                        struct lego_diag *diag)
{
    struct lego_array array = session_output(session, index);
    size_t elems, bytes = 0, capacity = io->bytes;
    int status = lego_shape_elems(&array.shape, &elems);

    if (status || !lego_mul_size(elems, lego_dtype_bytes(array.dtype), &bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "output %u", index);
    io->dtype = array.dtype;
    io->shape = array.shape;
    io->bytes = bytes;
    if (!io->data) {
        io->data = array.data;
        return LEGO_OK;
    }
    if (capacity < bytes)
        return lego_fail(diag, LEGO_E_LIMIT, "output '%s' needs %zu bytes, %zu are given",
                         lego_model_output(session->model, index)->name, bytes, capacity);
    if (bytes)
        memcpy(io->data, array.data, bytes);
    return LEGO_OK;
}

/* Views of inputs point into the caller's memory: set anew for each run. */
static void session_set_inputs(struct lego_session *session, const struct lego_io *inputs)
{
    const struct plan *plan = session->plan;

    for (uint32_t i = 0; i < plan->value_count; i++) {
        size_t offset;
        const struct plan_value *root = &plan->values[plan_root(plan, (int32_t)i, &offset)];
        if (root->storage == PLAN_INPUT)
            session->run.address[i] = (char *)inputs[root->input].data + offset;
    }
}

int lego_session_run(struct lego_session *session, const struct lego_io *inputs,
                     uint32_t input_count, struct lego_io *outputs, uint32_t output_count,
                     struct lego_diag *diag)
{
    struct session_body body = {.session = session, .diag = diag};
    int status = session_check_inputs(session, inputs, input_count, true, diag), given = LEGO_OK;

    if (!status && output_count > lego_model_output_count(session->model))
        status = lego_fail(diag, LEGO_E_INVALID, "the model has %u outputs, %u are asked for",
                           lego_model_output_count(session->model), output_count);
    if (!status)
        status = session_plan(session, diag);
    if (!status)
        status = session_check_fault(session, diag);
    if (!status && session->plan->dynamic)
        status = session_new_dynamic(session, diag);
    if (status)
        return status;
    session_set_inputs(session, inputs);
    workers_enter(session->workers, session->plan->parallel, session_steps, &body);
    status = body.status;
    if (!status)
        status = session_check_fault(session, diag);
    for (uint32_t i = 0; !status && i < output_count; i++) {
        int one = session_give(session, i, &outputs[i], diag);
        given = given ? given : one;
    }
    return status ? status : given;
}

void lego_session_profile(struct lego_session *session, bool enable)
{
    session->profile = enable;
    session->time_count = 0;
}

const struct lego_step_time *lego_session_steps(const struct lego_session *session,
                                                uint32_t *ret_count)
{
    *ret_count = session->time_count;
    return session->times;
}

/* The tensor of the self-test that is named as this value, NULL where there is none. */
static const struct lego_tensor *selftest_find(const struct lego_tensor *tensors, uint32_t count,
                                               const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(tensors[i].name, name))
            return &tensors[i];
    return NULL;
}

static int selftest_compare(const struct lego_tensor *want, const struct lego_io *have,
                            float tolerance, struct lego_diag *diag)
{
    const float *a = have->data, *b = want->data;
    size_t elems = want->bytes / sizeof(float);
    double largest = 0, error = 0;

    if (have->dtype != want->dtype || have->bytes != want->bytes)
        return lego_fail(diag, LEGO_E_MISMATCH, "output '%s' has another type or size", want->name);
    if (want->dtype != LEGO_DTYPE_FLOAT32)
        return memcmp(have->data, want->data, want->bytes)
                   ? lego_fail(diag, LEGO_E_MISMATCH, "output '%s' differs", want->name)
                   : LEGO_OK;
    for (size_t i = 0; i < elems; i++) {
        double size = fabs((double)b[i]), difference = fabs((double)a[i] - (double)b[i]);
        if (size > largest)
            largest = size;
        if (isnan(difference))
            difference = isnan(a[i]) && isnan(b[i]) ? 0 : INFINITY;
        if (difference > error)
            error = difference;
    }
    if (error > (double)tolerance * largest)
        return lego_fail(diag, LEGO_E_MISMATCH,
                         "output '%s' is off by %g where %g is allowed (largest value %g)",
                         want->name, error, (double)tolerance * largest, largest);
    return LEGO_OK;
}

static int selftest_outputs(const struct lego_session *session, const struct lego_selftest *test,
                            const struct lego_io *outputs, struct lego_diag *diag)
{
    float tolerance = test->tolerance;

    if (session->model->compute != LEGO_COMPUTE_AUTO && tolerance < SELFTEST_OTHER_COMPUTE)
        tolerance = SELFTEST_OTHER_COMPUTE;
    for (uint32_t i = 0; i < lego_model_output_count(session->model); i++) {
        const struct lego_tensor *want = selftest_find(test->outputs, test->output_count,
                                                       lego_model_output(session->model, i)->name);
        int status = want ? selftest_compare(want, &outputs[i], tolerance, diag) : LEGO_OK;
        if (status)
            return status;
    }
    return LEGO_OK;
}

/* An input of the self-test, in memory of its own. */
static int selftest_input(const struct lego_selftest *test, const char *name, struct lego_io *input,
                          struct lego_diag *diag)
{
    const struct lego_tensor *tensor = selftest_find(test->inputs, test->input_count, name);

    if (!tensor)
        return lego_fail(diag, LEGO_E_FORMAT, "the self-test has no input '%s'", name);
    *input = (struct lego_io){.dtype = tensor->dtype,
                              .shape = tensor->shape,
                              .data = malloc(tensor->bytes + 1),
                              .bytes = tensor->bytes};
    if (!input->data)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the self-test's input '%s'", name);
    lego_selftest_input(test, (uint32_t)(tensor - test->inputs), input->data);
    return LEGO_OK;
}

int lego_session_selftest(struct lego_session *session, struct lego_diag *diag)
{
    const struct lego_selftest *test = &session->model->package->selftest;
    uint32_t output_count = lego_model_output_count(session->model);
    struct lego_io *inputs, *outputs;
    int status = LEGO_OK;

    if (!test->input_count)
        return lego_fail(diag, LEGO_E_NOT_FOUND, "the model has no self-test");
    inputs = calloc(session->input_count + output_count + 1, sizeof(*inputs));
    if (!inputs)
        return lego_fail(diag, LEGO_E_NOMEM, "self-test");
    outputs = inputs + session->input_count;
    for (uint32_t i = 0; !status && i < session->input_count; i++)
        status = selftest_input(test, lego_model_input(session->model, i)->name, &inputs[i], diag);
    if (!status)
        status =
            lego_session_run(session, inputs, session->input_count, outputs, output_count, diag);
    if (!status)
        status = selftest_outputs(session, test, outputs, diag);
    for (uint32_t i = 0; i < session->input_count; i++)
        free(inputs[i].data);
    free(inputs);
    return status;
}
