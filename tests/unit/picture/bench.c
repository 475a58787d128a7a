/*
 * picture_bench FILTER [RUNS]: how long 1080p NV12 takes to become a 224x224 input, RGB,
 * normalised: the median in microseconds, one thread. FILTER: model, bilinear or area.
 */
#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 1920, HEIGHT = 1080, SIDE = 224, MAX_RUNS = 10000 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static const char *const filters[] = {"model", "bilinear", "area"};
    static uint8_t pixels[WIDTH * HEIGHT * 3 / 2];
    static float out[3 * SIDE * SIDE];
    static double times[MAX_RUNS];
    const struct lego_preprocess preprocess = {.present = true,
                                               .channels = 3,
                                               .width = SIDE,
                                               .height = SIDE,
                                               .scale = 1.0f / 255,
                                               .mean = {0.485f, 0.456f, 0.406f},
                                               .std = {0.229f, 0.224f, 0.225f}};
    struct picture_frame frame = {.fourcc = PICTURE_NV12,
                                  .width = WIDTH,
                                  .height = HEIGHT,
                                  .data = pixels,
                                  .bytes = sizeof(pixels)};
    struct kern_table kernels;
    int filter = 0, runs = argc > 2 ? atoi(argv[2]) : 200;
    while (filter < 3 && (argc < 2 || strcmp(argv[1], filters[filter])))
        filter++;
    if (filter == 3 || runs < 1 || runs > MAX_RUNS) {
        fprintf(stderr, "usage: picture_bench model|bilinear|area [RUNS]\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    frame.filter = (enum picture_filter)filter;
    if (kern_init(&kernels, NULL, NULL) != LEGO_OK ||
        picture_frame_check(&frame, "frame", NULL) != LEGO_OK)
        return 1;
    for (int i = 0; i < runs; i++) {
        double start = now_us();
        if (picture_frame_apply(&kernels, &preprocess, &frame, "frame", out, 3 * SIDE * SIDE, NULL,
                                NULL) != LEGO_OK)
            return 1;
        times[i] = now_us() - start;
    }
    qsort(times, (size_t)runs, sizeof(*times), compare);
    printf("%.1f\n", times[runs / 2]);
    return 0;
}
