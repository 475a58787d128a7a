/* Requests and shared memory as steps describe them. */
#include "tests/clients/conformance/conformance.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum lego_dtype dtype_of(const char *name)
{
    static const enum lego_dtype known[] = {LEGO_DTYPE_FLOAT32, LEGO_DTYPE_INT64};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(lego_dtype_name(known[i]), name) == 0)
            return known[i];
    }
    abort();
}

static uint64_t number(const json_t *step, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(step, key));
}

static void store(enum lego_dtype dtype, void *data, size_t index, const json_t *value)
{
    if (dtype == LEGO_DTYPE_FLOAT32)
        ((float *)data)[index] = (float)json_number_value(value);
    else
        ((int64_t *)data)[index] = json_integer_value(value);
}

static struct lego_client_tensor input_of(const json_t *spec)
{
    struct lego_client_tensor tensor = {.name = step_text(spec, "name"),
                                        .dtype = dtype_of(step_text(spec, "datatype"))};
    const json_t *shape = json_object_get(spec, "shape"), *fill = json_object_get(spec, "fill");
    size_t elems = 1;
    tensor.shape.rank = (int)json_array_size(shape);
    for (int i = 0; i < tensor.shape.rank; i++) {
        tensor.shape.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
        elems *= (size_t)tensor.shape.dim[i];
    }
    tensor.bytes = elems * lego_dtype_bytes(tensor.dtype);
    tensor.region = step_text(spec, "region");
    tensor.offset = number(spec, "offset");
    if (tensor.region)
        return tensor;
    void *data = malloc(tensor.bytes);
    if (!data)
        abort();
    for (size_t i = 0; i < elems; i++)
        store(tensor.dtype, data, i,
              fill ? fill : json_array_get(json_object_get(spec, "values"), i));
    tensor.data = data;
    return tensor;
}

static int set_schedule(struct runner *runner, const json_t *step, struct lego_diag *diag)
{
    char stream[256] = "";
    const double deadline_ms = json_number_value(json_object_get(step, "deadline_ms"));
    memset(stream, 's', number(step, "stream_bytes"));
    const struct lego_client_schedule schedule = {
        .priority = (uint32_t)number(step, "priority"),
        .timeout_us = (uint64_t)(deadline_ms * 1000 + 0.5),
        .stream = step_text(step, "stream") ? step_text(step, "stream") : stream};
    return lego_client_set_schedule(runner->client, &schedule, diag);
}

static void set_outputs(struct built *built, const json_t *step)
{
    const json_t *outputs = json_object_get(step, "outputs");
    const json_t *places = json_object_get(step, "places");
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        built->outputs[i] = json_string_value(json_array_get(outputs, i));
        const json_t *place = json_object_get(places, built->outputs[i]);
        built->places[i] = (struct lego_client_place){.region = step_text(place, "region"),
                                                      .offset = number(place, "offset")};
    }
    built->request.outputs = built->outputs;
    built->request.output_count = (uint32_t)json_array_size(outputs);
    built->request.places = places ? built->places : NULL;
}

static uint32_t choice(const json_t *spec, const char *key, const char *const *names)
{
    const char *name = step_text(spec, key);
    uint32_t i = 0;
    while (name && names[i] && strcmp(names[i], name) != 0)
        i++;
    return name ? i : 0;
}

static uint32_t element_of(const json_t *list, size_t index)
{
    return (uint32_t)json_integer_value(json_array_get(list, index));
}

/* A byte of rows of RGB pixels, in upright stripes of one colour each. */
static uint8_t stripe(const json_t *stripes, size_t index, size_t width)
{
    size_t column = index / 3 % width;
    const json_t *color = json_array_get(stripes, column * json_array_size(stripes) / width);
    return (uint8_t)element_of(color, index % 3);
}

static struct lego_client_frame frame_of(const json_t *spec)
{
    static const char *const resizes[] = {"MODEL",       "STRETCH",   "FIT_SHORTEST",
                                          "FIT_LONGEST", "LETTERBOX", NULL};
    static const char *const filters[] = {"MODEL", "BILINEAR", "AREA", NULL};
    const char *fourcc = step_text(spec, "fourcc");
    const json_t *stripes = json_object_get(spec, "stripes");
    const json_t *planes = json_object_get(spec, "planes"), *crop = json_object_get(spec, "crop");
    struct lego_client_frame frame = {
        .fourcc = LEGO_CLIENT_FOURCC(fourcc[0], fourcc[1], fourcc[2], fourcc[3]),
        .width = (uint32_t)number(spec, "width"),
        .height = (uint32_t)number(spec, "height"),
        .region = step_text(spec, "region"),
        .offset = number(spec, "offset"),
        .byte_size = number(spec, "byte_size"),
        .bytes = number(spec, "bytes"),
        .plane_count = (uint32_t)json_array_size(planes),
        .rotation = (uint32_t)number(spec, "rotation"),
        .resize = (enum lego_client_resize)choice(spec, "resize", resizes),
        .filter = (enum lego_client_filter)choice(spec, "filter", filters),
        .bt709 = json_is_true(json_object_get(spec, "bt709")),
        .full_range = json_is_true(json_object_get(spec, "full_range")),
        .crop = {element_of(crop, 0), element_of(crop, 1), element_of(crop, 2),
                 element_of(crop, 3)}};
    for (size_t i = 0; i < frame.plane_count && i < 3; i++) {
        frame.planes[i].offset = element_of(json_array_get(planes, i), 0);
        frame.planes[i].stride = element_of(json_array_get(planes, i), 1);
        frame.plane_regions[i] = json_string_value(json_array_get(json_array_get(planes, i), 2));
    }
    if (frame.region || !json_object_get(spec, "bytes"))
        return frame;
    uint8_t *data = malloc(frame.bytes + 1);
    if (!data)
        abort();
    for (size_t i = 0; i < frame.bytes; i++)
        data[i] = stripes ? stripe(stripes, i, frame.width) : (uint8_t)(i * 7 % 251);
    frame.data = data;
    return frame;
}

int request_build(struct runner *runner, const json_t *step, struct built *ret_built,
                  struct lego_diag *diag)
{
    const json_t *inputs = json_object_get(step, "inputs");
    const json_t *frames = json_object_get(step, "frames");
    *ret_built = (struct built){.request = {.model = step_text(step, "model"),
                                            .version = step_text(step, "version"),
                                            .top = (uint32_t)number(step, "top")}};
    if (json_array_size(inputs) > MAX_TENSORS || json_array_size(frames) > MAX_TENSORS)
        abort();
    for (size_t i = 0; i < json_array_size(inputs); i++)
        ret_built->inputs[i] = input_of(json_array_get(inputs, i));
    ret_built->request.inputs = ret_built->inputs;
    ret_built->request.input_count = (uint32_t)json_array_size(inputs);
    for (size_t i = 0; i < json_array_size(frames); i++)
        ret_built->frames[i] = frame_of(json_array_get(frames, i));
    ret_built->request.frames = ret_built->frames;
    ret_built->request.frame_count = (uint32_t)json_array_size(frames);
    set_outputs(ret_built, step);
    ret_built->results.top = (uint32_t)number(json_object_get(step, "answers"), "top");
    ret_built->results.max_mask_side =
        (uint32_t)number(json_object_get(step, "answers"), "max_mask_side");
    ret_built->request.results = json_object_get(step, "answers") ? &ret_built->results : NULL;
    return set_schedule(runner, step, diag);
}

void request_free(struct built *built)
{
    for (uint32_t i = 0; i < built->request.input_count; i++)
        free((void *)(uintptr_t)built->inputs[i].data);
    for (uint32_t i = 0; i < built->request.frame_count; i++)
        free((void *)(uintptr_t)built->frames[i].data);
}

/* ---- Shared memory ---- */

struct outcome step_region(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    const json_t *values = json_object_get(step, "values");
    struct shared region = {.name = step_text(step, "name"), .bytes = number(step, "bytes")};
    int fd = memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)region.bytes) != 0)
        abort();
    if (!json_is_true(json_object_get(step, "unsealed")) &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
        abort();
    region.memory = mmap(NULL, region.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (region.memory == MAP_FAILED)
        abort();
    for (size_t i = 0; i < json_array_size(values); i++)
        store(LEGO_DTYPE_FLOAT32, region.memory, i, json_array_get(values, i));
    int status = lego_client_region_register(
        runner->client, region.name, fd, 0, json_is_true(json_object_get(step, "writable")), &diag);
    close(fd);
    if (status != LEGO_OK) {
        munmap(region.memory, region.bytes);
        return step_failed(status, &diag);
    }
    if (runner->region_count == MAX_REGIONS)
        abort();
    runner->regions[runner->region_count++] = region;
    return (struct outcome){0};
}

struct outcome step_unregister(struct runner *runner, const json_t *step)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_client_region_unregister(runner->client, step_text(step, "name"), &diag);
    return status == LEGO_OK ? (struct outcome){0} : step_failed(status, &diag);
}

const struct shared *region_find(const struct runner *runner, const char *name)
{
    for (uint32_t i = 0; i < runner->region_count; i++) {
        if (strcmp(runner->regions[i].name, name) == 0)
            return &runner->regions[i];
    }
    abort();
}

void regions_close(struct runner *runner)
{
    for (uint32_t i = 0; i < runner->region_count; i++)
        munmap(runner->regions[i].memory, runner->regions[i].bytes);
}
