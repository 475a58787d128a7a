/*
 * picture_bench FILTER [RUNS [FORMAT]]: how long a picture of 1080p takes to become a 224x224
 * input, RGB, normalised: the fastest of RUNS, in microseconds of CPU time, one thread. FILTER:
 * model, bilinear or area. FORMAT: nv12, rgb, or a JPEG file of any size.
 */
#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 1920, HEIGHT = 1080, SIDE = 224, MAX_RUNS = 10000 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static uint8_t pixels[WIDTH * HEIGHT * 3];

static bool read_frame(const char *format, struct picture_frame *frame)
{
    bool rgb = strcmp(format, "rgb") == 0;
    *frame = (struct picture_frame){.fourcc = rgb ? PICTURE_RGB24 : PICTURE_NV12,
                                    .width = WIDTH,
                                    .height = HEIGHT,
                                    .data = pixels,
                                    .bytes = rgb ? sizeof(pixels) : sizeof(pixels) / 2};
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    if (rgb || strcmp(format, "nv12") == 0)
        return true;
    FILE *file = fopen(format, "rb");
    if (!file)
        return false;
    frame->fourcc = PICTURE_MJPEG;
    frame->width = frame->height = 0;
    frame->bytes = fread(pixels, 1, sizeof(pixels), file);
    fclose(file);
    return frame->bytes > 0;
}

int main(int argc, char **argv)
{
    static const char *const filters[] = {"model", "bilinear", "area"};
    static float out[3 * SIDE * SIDE];
    double fastest = INFINITY;
    const struct lego_preprocess preprocess = {.present = true,
                                               .channels = 3,
                                               .width = SIDE,
                                               .height = SIDE,
                                               .scale = 1.0f / 255,
                                               .mean = {0.485f, 0.456f, 0.406f},
                                               .std = {0.229f, 0.224f, 0.225f}};
    struct picture_frame frame;
    struct kern_table kernels;
    int filter = 0, runs = argc > 2 ? atoi(argv[2]) : 200;
    while (filter < 3 && (argc < 2 || strcmp(argv[1], filters[filter])))
        filter++;
    if (filter == 3 || runs < 1 || runs > MAX_RUNS ||
        !read_frame(argc > 3 ? argv[3] : "nv12", &frame)) {
        fprintf(stderr, "usage: picture_bench model|bilinear|area [RUNS [nv12|rgb|FILE.jpg]]\n");
        return 2;
    }
    frame.filter = (enum picture_filter)filter;
    if (kern_init(&kernels, NULL, NULL) != LEGO_OK ||
        picture_frame_check(&frame, "frame", NULL) != LEGO_OK)
        return 1;
    for (int i = 0; i < runs; i++) {
        double start = now_us();
        if (picture_frame_apply(&kernels, &preprocess, &frame, "frame", out, 3 * SIDE * SIDE, NULL,
                                NULL) != LEGO_OK)
            return 1;
        fastest = fmin(fastest, now_us() - start);
    }
    printf("%.1f\n", fastest);
    return 0;
}
