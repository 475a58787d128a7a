/* legonet infer on pictures: one after the other, each answer printed and drawn. */
#include "agent/cli/infer.h"
#include "agent/cli/source.h"
#include "agent/client/drawing.h"
#include "agent/picture/draw.h"
#include "agent/runtime/kern_init.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TOP_OF_PICTURES 5
#define TOP_OF_STREAMS  3

struct pictures {
    const struct infer_options *options;
    struct lego_client *client;
    const struct lego_client_model *model;
    struct kern_table kernels;
    uint32_t top;
    bool heads;  /* the model describes what its outputs mean: answers instead of classes */
    bool single; /* one picture and no more: its answer is printed whole */
    bool draw_folder;
};

static struct lego_client_frame frame_of(const struct picture_frame *frame)
{
    return (struct lego_client_frame){.fourcc = frame->fourcc,
                                      .width = frame->width,
                                      .height = frame->height,
                                      .data = frame->data,
                                      .bytes = frame->bytes,
                                      .full_range = frame->full_range};
}

static int ask_frame(const struct pictures *pictures, const struct picture_frame *from,
                     struct lego_client_result **ret_result, struct lego_diag *diag)
{
    const struct lego_client_frame frame = frame_of(from);
    const struct lego_client_results wanted = {.top = pictures->top};
    const struct lego_client_model *model = pictures->model;
    const char *output = model->output_count ? model->outputs[0].name : "";
    const struct lego_client_request request = {.model = model->name,
                                                .version = model->version,
                                                .outputs = &output,
                                                .output_count = !pictures->heads && pictures->top,
                                                .top = pictures->heads ? 0 : pictures->top,
                                                .results = pictures->heads ? &wanted : NULL,
                                                .frames = &frame,
                                                .frame_count = 1};
    return lego_client_infer(pictures->client, &request, ret_result, diag);
}

static int ask_picture(const struct pictures *pictures, const struct lego_picture *picture,
                       struct lego_client_result **ret_result, struct lego_diag *diag)
{
    const struct picture_frame frame = {
        .fourcc = picture->channels == 1 ? PICTURE_GREY : PICTURE_RGB24,
        .width = picture->width,
        .height = picture->height,
        .data = picture->pixels,
        .bytes = picture->stride * picture->height,
    };
    if (pictures->heads)
        return ask_frame(pictures, &frame, ret_result, diag);
    const struct lego_client_picture pixels = {.width = picture->width,
                                               .height = picture->height,
                                               .channels = picture->channels,
                                               .stride = picture->stride,
                                               .pixels = picture->pixels};
    return lego_client_infer_picture(pictures->client, pictures->model, &pixels, pictures->top,
                                     ret_result, diag);
}

static bool has_heads(const struct lego_client_model *model)
{
    uint32_t i = 0;
    while (i < model->property_count && strcmp(model->property_names[i], "meta.postprocess") != 0)
        i++;
    return i < model->property_count;
}

/* ---- Drawing ---- */

/* Where the picture is written to. */
static bool drawing_path(const struct pictures *pictures, const struct source_item *item,
                         char path[PATH_MAX])
{
    const char *name = strrchr(item->path, '/');
    int length;
    name = name ? name + 1 : item->path;
    if (!pictures->draw_folder)
        length = snprintf(path, PATH_MAX, "%s", pictures->options->draw);
    else if (item->number)
        length = snprintf(path, PATH_MAX, "%s/%s-%06llu.png", pictures->options->draw, name,
                          (unsigned long long)item->number);
    else
        length = snprintf(path, PATH_MAX, "%s/%s.png", pictures->options->draw, name);
    return length > 0 && length < PATH_MAX;
}

static int draw(const struct pictures *pictures, struct source_item *item,
                const struct lego_client_result *result, double us, struct lego_diag *diag)
{
    char path[PATH_MAX];
    struct lego_picture decoded = {0}, *picture = &item->picture;
    int status = LEGO_OK;
    if (!drawing_path(pictures, item, path))
        return lego_fail(diag, LEGO_E_LIMIT, "the path of a drawing is too long");
    if (item->number) {
        status = picture_frame_check(&item->frame, item->path, diag);
        if (status == LEGO_OK)
            status = picture_of_frame(&pictures->kernels, &item->frame, item->path, &decoded, diag);
        picture = &decoded;
    }
    if (status == LEGO_OK)
        status = drawing_add(picture, result, us, diag);
    if (status == LEGO_OK)
        status = picture_save(picture, path, diag);
    picture_clear(&decoded);
    return status;
}

/* ---- One by one ---- */

/* Asks; once again where the agent was replaced by another since the last picture. */
static int ask(const struct pictures *pictures, const struct source_item *item,
               struct lego_client_result **ret_result, struct lego_diag *diag)
{
    int status = LEGO_E_CLOSED;
    for (int tries = 0; status == LEGO_E_CLOSED && tries < 2; tries++) {
        if (tries > 0 && lego_client_reconnect(pictures->client, diag) != LEGO_OK)
            break;
        status = item->number ? ask_frame(pictures, &item->frame, ret_result, diag)
                              : ask_picture(pictures, &item->picture, ret_result, diag);
    }
    return status;
}

/* Asks, prints, draws. */
static int infer_item(const struct pictures *pictures, struct source_item *item, int *ret_code,
                      struct lego_diag *diag)
{
    const struct infer_options *options = pictures->options;
    struct lego_client_result *result = NULL;
    double start = infer_now_us();
    int status = ask(pictures, item, &result, diag);
    double us = infer_now_us() - start;
    if (status != LEGO_OK)
        return status;
    *ret_code = pictures->single ? infer_print(result, pictures->top > 0, options->agent.json, us)
                                 : infer_print_line(item->path, item->number, result,
                                                    pictures->top > 0, options->agent.json, us);
    if (options->draw)
        status = draw(pictures, item, result, us, diag);
    lego_client_result_free(result);
    return status;
}

/* A picture that cannot be read among many is told and passed over. */
static bool pass_over(const struct pictures *pictures, const struct source_item *item, int status,
                      struct lego_diag *diag)
{
    if (pictures->single || item->number || !item->path || status == LEGO_E_NOMEM)
        return false;
    cli_fail_diag(INFER_COMMAND, status, diag);
    *diag = (struct lego_diag)LEGO_DIAG_INIT;
    return true;
}

static int infer_all(const struct pictures *pictures, struct source *source, int *ret_code,
                     struct lego_diag *diag)
{
    int code = CLI_DONE;
    uint64_t limit = pictures->options->frames ? pictures->options->frames : UINT64_MAX;
    for (uint64_t count = 0; count < limit && code == CLI_DONE; count++) {
        struct source_item item = {0};
        bool end = false;
        int status = source_next(source, &item, &end, diag);
        if (end)
            return LEGO_OK;
        if (status != LEGO_OK && pass_over(pictures, &item, status, diag)) {
            *ret_code = CLI_FAILED;
            continue;
        }
        if (status == LEGO_OK)
            status = infer_item(pictures, &item, &code, diag);
        if (status != LEGO_OK)
            return status;
    }
    if (code != CLI_DONE)
        *ret_code = code;
    return LEGO_OK;
}

/* Where drawings go: a file where OUT is one or ends as one, else a folder, which is made. */
static int prepare_drawing(const char *out, bool *ret_folder, struct lego_diag *diag)
{
    static const char ending[] = ".png";
    struct stat info;
    size_t length = strlen(out);
    if (stat(out, &info) == 0) {
        *ret_folder = S_ISDIR(info.st_mode);
        return LEGO_OK;
    }
    *ret_folder = length < sizeof(ending) || strcmp(out + length - sizeof(ending) + 1, ending) != 0;
    if (*ret_folder && mkdir(out, 0777) != 0)
        return lego_fail_errno(diag, errno, "%s", out);
    return LEGO_OK;
}

int infer_pictures(const struct infer_options *options, struct lego_client *client,
                   const struct lego_client_model *model, const struct cli_list *paths,
                   struct lego_diag *diag, int *ret_code)
{
    struct source *source = NULL;
    struct pictures pictures = {.options = options,
                                .client = client,
                                .model = model,
                                .single = paths->count == 1 && !options->watch &&
                                          source_is_picture(paths->items[0])};
    pictures.top = options->top != INFER_TOP_NOT_GIVEN ? (uint32_t)options->top
                   : pictures.single                   ? TOP_OF_PICTURES
                                                       : TOP_OF_STREAMS;
    pictures.heads = pictures.top > 0 && has_heads(model);
    int status = options->draw ? kern_init(&pictures.kernels, NULL, diag) : LEGO_OK;
    if (status == LEGO_OK && options->draw)
        status = prepare_drawing(options->draw, &pictures.draw_folder, diag);
    if (status == LEGO_OK)
        status = source_open(paths, options->watch, &source, diag);
    *ret_code = CLI_DONE;
    if (status == LEGO_OK)
        status = infer_all(&pictures, source, ret_code, diag);
    source_close(source);
    return status;
}
