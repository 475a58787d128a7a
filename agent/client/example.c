/*
 * A camera application in miniature: NV12 frames lie in memory that the agent maps, too, and go to
 * it by their place, without a copy and without waiting, a few at a time; the best class of each is
 * printed as its answer comes. A camera's dma-buf is registered as the memfd is here.
 *
 *     cc example.c $(pkg-config --cflags --libs legonet-client) -o example && ./example resnet20
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, F_ADD_SEALS */
#endif
#include <legonet_client.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define WIDTH       640
#define HEIGHT      480
#define FRAME_BYTES (WIDTH * HEIGHT * 3 / 2)
#define FRAMES      30
#define IN_FLIGHT   4

struct camera {
    struct lego_client *client;
    const char *model;
    uint8_t *memory;            /* IN_FLIGHT frames, which the agent maps, too */
    uint64_t reader[IN_FLIGHT]; /* the request that reads a place; 0: it may be written */
};

/* Memory that nobody can take away while the agent reads it: the seal is the agent's condition. */
static int share_memory(struct camera *camera, struct lego_diag *diag)
{
    const size_t bytes = (size_t)IN_FLIGHT * FRAME_BYTES;
    int fd = memfd_create("frames", MFD_CLOEXEC | MFD_ALLOW_SEALING), status = LEGO_E_IO;
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0) {
        camera->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (camera->memory != MAP_FAILED)
            status = lego_client_region_register(camera->client, "frames", fd, bytes, false, diag);
    }
    if (fd >= 0)
        close(fd); /* the maps stay */
    return status;
}

/* Stands for the camera: a gradient that moves, and colours that do not. */
static void capture(uint8_t *nv12, int frame)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            *nv12++ = (uint8_t)(x + y + frame * 8);
    for (int y = 0; y < HEIGHT / 2; y++)
        for (int x = 0; x < WIDTH; x++)
            *nv12++ = (uint8_t)(x & 1 ? x : y);
}

static void show(const struct lego_client_result *result)
{
    if (result->status != LEGO_OK)
        printf("frame %llu: %s\n", (unsigned long long)result->id, result->message);
    for (uint32_t i = 0; i < result->answer_count; i++)
        if (result->answers[i].class_count > 0)
            printf("frame %llu: class %u %s (%.3f)\n", (unsigned long long)result->id,
                   result->answers[i].classes[0].index, result->answers[i].classes[0].label,
                   (double)result->answers[i].classes[0].score);
}

/* Captures into a place that nobody reads and asks about it. */
static int submit(struct camera *camera, int number, uint32_t place, struct lego_diag *diag)
{
    static const struct lego_client_results results = {.top = 1};
    const struct lego_client_frame frame = {.fourcc = LEGO_CLIENT_NV12,
                                            .width = WIDTH,
                                            .height = HEIGHT,
                                            .region = "frames",
                                            .offset = (uint64_t)place * FRAME_BYTES,
                                            .byte_size = FRAME_BYTES};
    const struct lego_client_request request = {
        .model = camera->model, .frames = &frame, .frame_count = 1, .results = &results};
    capture(camera->memory + (size_t)place * FRAME_BYTES, number);
    return lego_client_submit(camera->client, &request, &camera->reader[place], diag);
}

/* Shows the answers that have come; their places are free again. */
static void take_answers(struct camera *camera)
{
    struct lego_client_result *result;
    while ((result = lego_client_next(camera->client)) != NULL) {
        for (uint32_t place = 0; place < IN_FLIGHT; place++)
            if (camera->reader[place] == result->id)
                camera->reader[place] = 0;
        show(result);
        lego_client_result_free(result);
    }
}

static int stream(struct camera *camera, struct lego_diag *diag)
{
    int status = LEGO_OK, sent = 0;
    while (status == LEGO_OK && (sent < FRAMES || lego_client_pending(camera->client))) {
        for (uint32_t place = 0; place < IN_FLIGHT && sent < FRAMES && status == LEGO_OK; place++)
            if (camera->reader[place] == 0)
                status = submit(camera, sent++, place, diag);
        struct pollfd wait = {.fd = lego_client_fd(camera->client),
                              .events = lego_client_events(camera->client)};
        poll(&wait, 1, 1000); /* a real application waits here for its camera, too */
        if (status == LEGO_OK)
            status = lego_client_process(camera->client, diag);
        take_answers(camera);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct camera camera = {.model = argc > 1 ? argv[1] : "demo"};
    int status = lego_client_connect(NULL, NULL, &camera.client, &diag);
    if (status == LEGO_OK)
        status = share_memory(&camera, &diag);
    if (status == LEGO_OK)
        status = stream(&camera, &diag);
    if (status != LEGO_OK)
        fprintf(stderr, "example: %s\n", lego_diag_text(&diag, status));
    lego_client_close(camera.client);
    return status == LEGO_OK ? 0 : 1;
}
