/* Pictures of a request: each becomes a row of the model's input. */
#include "agent/service/inference.h"

#include "agent/runtime/model.h"
#include "codec/base/arith.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The index of the input that all pictures are for. */
static int find_input(const struct lego_model *model, const Legonet__Request *request,
                      uint32_t *ret_index, struct lego_diag *diag)
{
    const struct lego_preprocess *preprocess = &lego_model_package(model)->preprocess;
    uint32_t index = 0;
    if (!preprocess->present || lego_model_input_count(model) == 0)
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "the model does not say how a picture becomes its input");
    while (preprocess->input && index < lego_model_input_count(model) &&
           strcmp(lego_model_input(model, index)->name, preprocess->input))
        index++;
    if (index == lego_model_input_count(model))
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "the model's preprocessing is for an input that it has not");
    const struct lego_value *value = lego_model_input(model, index);
    for (size_t i = 0; i < request->n_pictures; i++)
        if (*request->pictures[i]->input && strcmp(request->pictures[i]->input, value->name))
            return lego_fail(diag, LEGO_E_NOT_FOUND,
                             "pictures[%zu].input: \"%.128s\" takes no pictures, \"%s\" does", i,
                             request->pictures[i]->input, value->name);
    if (value->dtype != LEGO_DTYPE_FLOAT32)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "input \"%s\" is %s: pictures become FP32",
                         value->name, lego_dtype_name(value->dtype));
    *ret_index = index;
    return LEGO_OK;
}

static int find_named(const char *region, const char *name, const struct region_table *regions,
                      struct region **ret_region, struct lego_diag *diag)
{
    struct region *found = region_table_find(regions, region);
    if (!found)
        return lego_fail(diag, LEGO_E_NOT_FOUND, "%s.region: no region \"%.128s\" is registered",
                         name, region);
    if (region_is_lost(found))
        return lego_fail(diag, LEGO_E_INVALID,
                         "region \"%s\": its memory went away under the agent: register it anew",
                         region);
    *ret_region = found;
    return LEGO_OK;
}

/* The part of a region that a picture may lie in. */
static int find_region(const Legonet__Picture *picture, const char *name,
                       const struct region_table *regions, struct region **ret_region,
                       size_t *ret_bytes, struct lego_diag *diag)
{
    int status = find_named(picture->region, name, regions, ret_region, diag);
    if (status != LEGO_OK)
        return status;
    uint64_t has = region_bytes(*ret_region);
    if (picture->offset > has || picture->byte_size > has - picture->offset)
        return lego_fail(diag, LEGO_E_INVALID,
                         "%s.offset: %" PRIu64 " bytes at %" PRIu64
                         " do not lie in region \"%s\" of %" PRIu64,
                         name, picture->byte_size, picture->offset, picture->region, has);
    *ret_bytes = (size_t)(picture->byte_size ? picture->byte_size : has - picture->offset);
    return LEGO_OK;
}

/* Where a picture lies: in a region or the message, and planes in regions of their own. */
struct memory {
    struct region *whole; /* NULL: in the message, or nowhere */
    struct region *apart[PICTURE_MAX_PLANES];
};

static int find_memory(const Legonet__Picture *picture, const char *name,
                       const struct region_table *regions, struct picture_frame *frame,
                       struct memory *memory, struct lego_diag *diag)
{
    uint32_t apart = 0;
    int status = LEGO_OK;
    for (uint32_t i = 0; status == LEGO_OK && i < frame->plane_count; i++) {
        char plane[64];
        if (!*picture->planes[i]->region)
            continue;
        snprintf(plane, sizeof(plane), "%s.planes[%u]", name, i);
        status = find_named(picture->planes[i]->region, plane, regions, &memory->apart[i], diag);
        if (status == LEGO_OK)
            frame->apart[i].bytes = region_bytes(memory->apart[i]);
        apart++;
    }
    if (status != LEGO_OK)
        return status;
    if (picture->memory_case == LEGONET__PICTURE__MEMORY_REGION)
        return find_region(picture, name, regions, &memory->whole, &frame->bytes, diag);
    if (picture->memory_case == LEGONET__PICTURE__MEMORY_DATA)
        frame->bytes = picture->data.len;
    else if (apart == 0 || apart < frame->plane_count)
        return lego_fail(diag, LEGO_E_INVALID, "%s has no memory: neither region nor data", name);
    return LEGO_OK;
}

static void begin_reading(const struct memory *memory, const Legonet__Picture *picture,
                          struct picture_frame *frame)
{
    frame->data = picture->memory_case == LEGONET__PICTURE__MEMORY_DATA ? picture->data.data : NULL;
    if (memory->whole)
        frame->data = region_read_begin(memory->whole, (size_t)picture->offset);
    for (uint32_t i = 0; i < PICTURE_MAX_PLANES; i++)
        if (memory->apart[i])
            frame->apart[i].data = region_read_begin(memory->apart[i], 0);
}

static int end_reading(const struct memory *memory, struct lego_diag *diag)
{
    int lost = memory->whole ? region_read_end(memory->whole, diag) : LEGO_OK;
    for (uint32_t i = 0; i < PICTURE_MAX_PLANES; i++) {
        int status = memory->apart[i] ? region_read_end(memory->apart[i], diag) : LEGO_OK;
        lost = status != LEGO_OK ? status : lost;
    }
    return lost;
}

static int describe(const Legonet__Picture *picture, const char *name,
                    struct picture_frame *ret_frame, struct lego_diag *diag)
{
    struct picture_frame frame = {.fourcc = picture->fourcc,
                                  .width = picture->width,
                                  .height = picture->height,
                                  .rotation = picture->rotation,
                                  .resize = (enum picture_resize)picture->resize,
                                  .filter = (enum picture_filter)picture->filter,
                                  .bt709 = picture->matrix == LEGONET__PICTURE__MATRIX__BT709,
                                  .full_range = picture->range == LEGONET__PICTURE__RANGE__FULL};
    if (picture->n_planes > PICTURE_MAX_PLANES)
        return lego_fail(diag, LEGO_E_INVALID, "%s.planes: there are %zu, at most %d go", name,
                         picture->n_planes, PICTURE_MAX_PLANES);
    if ((unsigned)picture->matrix > LEGONET__PICTURE__MATRIX__BT709)
        return lego_fail(diag, LEGO_E_INVALID, "%s.matrix: there is none of number %d", name,
                         (int)picture->matrix);
    if ((unsigned)picture->range > LEGONET__PICTURE__RANGE__FULL)
        return lego_fail(diag, LEGO_E_INVALID, "%s.range: there is none of number %d", name,
                         (int)picture->range);
    frame.plane_count = (uint32_t)picture->n_planes;
    for (size_t i = 0; i < picture->n_planes; i++)
        frame.planes[i] = (struct picture_plane){.offset = picture->planes[i]->offset,
                                                 .stride = picture->planes[i]->stride};
    if (picture->crop)
        frame.crop = (struct picture_rectangle){picture->crop->x, picture->crop->y,
                                                picture->crop->width, picture->crop->height};
    *ret_frame = frame;
    return LEGO_OK;
}

static int bind_picture(const struct lego_model *model, const Legonet__Picture *picture,
                        const char *name, const struct region_table *regions, float *out,
                        struct picture_map *ret_map, struct lego_diag *diag)
{
    const struct lego_preprocess *preprocess = &lego_model_package(model)->preprocess;
    struct memory memory = {0};
    struct picture_frame frame;
    int status = describe(picture, name, &frame, diag);
    if (status == LEGO_OK)
        status = find_memory(picture, name, regions, &frame, &memory, diag);
    if (status == LEGO_OK)
        status = picture_frame_check(&frame, name, diag);
    if (status != LEGO_OK)
        return status;
    begin_reading(&memory, picture, &frame);
    status = picture_frame_apply(&model->kernels, preprocess, &frame, name, out,
                                 preprocess_elems(preprocess), ret_map, diag);
    /* That the memory went away explains whatever else is wrong. */
    int lost = end_reading(&memory, diag);
    return lost != LEGO_OK ? lost : status;
}

static int allocate(const struct lego_preprocess *preprocess, const char *input, size_t count,
                    struct lego_io *io, struct picture_map **ret_maps, struct lego_diag *diag)
{
    size_t bytes;
    if (!lego_mul_size(preprocess_elems(preprocess), sizeof(float), &bytes) ||
        !lego_mul_size(bytes, count, &bytes))
        return lego_fail(diag, LEGO_E_OVERFLOW, "input \"%s\" is too large", input);
    int64_t width = preprocess->width, height = preprocess->height;
    int64_t channels = preprocess->channels;
    io->dtype = LEGO_DTYPE_FLOAT32;
    io->shape = (struct lego_shape){.rank = 4, .dim = {(int64_t)count, channels, height, width}};
    if (preprocess->nhwc)
        io->shape =
            (struct lego_shape){.rank = 4, .dim = {(int64_t)count, height, width, channels}};
    io->bytes = bytes;
    io->data = malloc(bytes);
    *ret_maps = calloc(count, sizeof(**ret_maps));
    if (!io->data || !*ret_maps)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for input \"%s\" of %zu pictures", input,
                         count);
    return LEGO_OK;
}

int inference_bind_pictures(const struct lego_model *model, const Legonet__Request *request,
                            const struct region_table *regions, uint64_t max_batch,
                            struct inference_call *call, struct lego_diag *diag)
{
    const struct lego_preprocess *preprocess = &lego_model_package(model)->preprocess;
    size_t count = request->n_pictures;
    uint32_t index = 0;
    if (count == 0)
        return LEGO_OK;
    int status = find_input(model, request, &index, diag);
    if (status != LEGO_OK)
        return status;
    const char *input = lego_model_input(model, index)->name;
    struct lego_io *io = &call->inputs[index];
    if (io->dtype != LEGO_DTYPE_UNKNOWN)
        return lego_fail(diag, LEGO_E_INVALID, "input \"%s\" is given twice: as a tensor, too",
                         input);
    if (count > max_batch)
        return lego_fail(diag, LEGO_E_LIMIT,
                         "pictures: a batch of %zu is over the limit of %" PRIu64, count,
                         max_batch);
    status = allocate(preprocess, input, count, io, &call->maps, diag);
    call->owned[index] = io->data;
    call->map_count = (uint32_t)count;
    for (size_t i = 0; status == LEGO_OK && i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "pictures[%zu]", i);
        status = bind_picture(model, request->pictures[i], name, regions,
                              (float *)io->data + i * preprocess_elems(preprocess), &call->maps[i],
                              diag);
    }
    return status;
}
