/*
 * A camera application in miniature: frames go to the agent without waiting, a few at a time, and
 * the best class of each is printed as its answer comes.
 *
 *     cc example.c $(pkg-config --cflags --libs legonet-client) -o example && ./example resnet20
 */
#include <legonet_client.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH     640
#define HEIGHT    480
#define FRAMES    30
#define IN_FLIGHT 4

/* Stands for the camera: a gradient that moves. */
static void capture(uint8_t *pixels, int frame)
{
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++, pixels += 3) {
            pixels[0] = (uint8_t)(x + frame * 8);
            pixels[1] = (uint8_t)(y - frame * 8);
            pixels[2] = (uint8_t)(x ^ y);
        }
    }
}

static void show(const struct lego_client_result *result)
{
    if (result->status != LEGO_OK)
        printf("frame %llu: %s\n", (unsigned long long)result->id, result->message);
    else if (result->class_count)
        printf("frame %llu: class %u %s (%.3f)\n", (unsigned long long)result->id,
               result->classes[0].index, result->classes[0].label, result->classes[0].score);
}

static int stream(struct lego_client *client, const struct lego_client_model *model,
                  uint8_t *pixels, struct lego_diag *diag)
{
    const struct lego_client_picture picture = {
        .width = WIDTH, .height = HEIGHT, .channels = 3, .stride = WIDTH * 3, .pixels = pixels};
    int status = LEGO_OK, sent = 0;

    while (status == LEGO_OK && (sent < FRAMES || lego_client_pending(client))) {
        struct pollfd wait = {.fd = lego_client_fd(client), .events = lego_client_events(client)};
        struct lego_client_result *result;
        uint64_t id;
        if (sent < FRAMES && lego_client_pending(client) < IN_FLIGHT) {
            capture(pixels, sent++);
            status = lego_client_submit_picture(client, model, &picture, 1, &id, diag);
            continue;
        }
        poll(&wait, 1, 1000); /* a real application waits here for its camera, too */
        status = lego_client_process(client, diag);
        while ((result = lego_client_next(client)) != NULL) {
            show(result);
            lego_client_result_free(result);
        }
    }
    return status;
}

int main(int argc, char **argv)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client = NULL;
    struct lego_client_model *model = NULL;
    uint8_t *pixels = malloc((size_t)WIDTH * HEIGHT * 3);

    int status = lego_client_connect(NULL, NULL, &client, &diag);
    if (status == LEGO_OK)
        status = lego_client_model_get(client, argc > 1 ? argv[1] : "demo", NULL, &model, &diag);
    if (status == LEGO_OK)
        status = pixels ? stream(client, model, pixels, &diag) : LEGO_E_NOMEM;
    if (status != LEGO_OK)
        fprintf(stderr, "example: %s\n", lego_diag_text(&diag, status));
    lego_client_model_free(model);
    lego_client_close(client);
    free(pixels);
    return status == LEGO_OK ? 0 : 1;
}
