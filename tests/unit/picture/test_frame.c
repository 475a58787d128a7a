/* Frames as cameras leave them: against exact arithmetic, turned ones, and wrong descriptions. */
#include "pictures.h"

#include "agent/picture/frame.h"
#include "agent/runtime/kern_init.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t FORMATS[] = {PICTURE_RGB24, PICTURE_BGR24, PICTURE_RGBA, PICTURE_GREY,
                                   PICTURE_NV12,  PICTURE_NV21,  PICTURE_I420, PICTURE_YUYV};
#define FORMAT_COUNT (sizeof(FORMATS) / sizeof(FORMATS[0]))

static struct lego_preprocess plain(uint32_t width, uint32_t height)
{
    return (struct lego_preprocess){.present = true,
                                    .channels = 3,
                                    .width = width,
                                    .height = height,
                                    .scale = 1.0f,
                                    .std = {1, 1, 1, 1},
                                    .pad_value = 77.0f};
}

static float *apply(const struct lego_preprocess *p, struct picture_frame frame,
                    struct picture_map *ret_map)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct kern_table kernels;
    size_t elems = preprocess_elems(p);
    float *out = malloc(elems * sizeof(*out));
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_OK);
    ck_assert_msg(picture_frame_check(&frame, "frame", &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_msg(picture_frame_apply(&kernels, p, &frame, "frame", out, elems, ret_map, &diag) ==
                      LEGO_OK,
                  "%s", diag.text);
    return out;
}

/* ---- what it should be: every output by its definition, in double ---- */

/* Sample (x, y) of channel c, as the format says where it lies. */
static double sample(const struct picture_frame *f, int c, uint32_t x, uint32_t y)
{
    const uint8_t *row[3] = {f->data, f->data, f->data};
    for (uint32_t i = 0; i < f->plane_count; i++)
        row[i] = f->data + f->planes[i].offset + y * f->planes[i].stride;
    switch (f->fourcc) {
    case PICTURE_RGB24:
        return row[0][3 * x + (uint32_t)c];
    case PICTURE_BGR24:
        return row[0][3 * x + 2 - (uint32_t)c];
    case PICTURE_RGBA:
        return row[0][4 * x + (uint32_t)c];
    case PICTURE_GREY:
        return row[0][x];
    case PICTURE_NV12:
        return c ? row[1][2 * x + (uint32_t)c - 1] : row[0][x];
    case PICTURE_NV21:
        return c ? row[1][2 * x + 2 - (uint32_t)c] : row[0][x];
    case PICTURE_I420:
        return row[c][x];
    default:
        return c ? row[0][4 * x + (c == 1 ? 1 : 3)] : row[0][2 * x];
    }
}

static bool is_luma_chroma(uint32_t fourcc)
{
    return fourcc == PICTURE_NV12 || fourcc == PICTURE_NV21 || fourcc == PICTURE_I420 ||
           fourcc == PICTURE_YUYV;
}

/* The weight of a sample for an output, not yet normalised. */
static double weight(enum picture_filter filter, double start, double size, uint32_t outputs,
                     uint32_t output, uint32_t at)
{
    double scale = size / outputs, centre = start + (output + 0.5) * scale;
    if (at < floor(start) || at >= ceil(start + size))
        return 0;
    if (filter == PICTURE_FILTER_AREA && scale > 1)
        return fmax(0, fmin(at + 1.0, centre + scale / 2) - fmax(at, centre - scale / 2));
    double half = filter == PICTURE_FILTER_MODEL ? fmax(1, scale) : 1;
    return fmax(0, 1 - fabs(at + 0.5 - centre) / half);
}

/* Channel c of pixel (x, y) of the whole frame, stretched to width x height. */
static double resized(const struct picture_frame *f, int c, uint32_t width, uint32_t height,
                      uint32_t x, uint32_t y)
{
    bool sub = c > 0 && is_luma_chroma(f->fourcc);
    double sx = sub ? 2 : 1, sy = sub && f->fourcc != PICTURE_YUYV ? 2 : 1, sum = 0, total = 0;
    uint32_t columns = (uint32_t)ceil(f->width / sx), rows = (uint32_t)ceil(f->height / sy);
    for (uint32_t j = 0; j < rows; j++) {
        double wy = weight(f->filter, f->crop.y / sy, f->crop.height / sy, height, y, j);
        for (uint32_t i = 0; wy > 0 && i < columns; i++) {
            double w = wy * weight(f->filter, f->crop.x / sx, f->crop.width / sx, width, x, i);
            if (w <= 0)
                continue;
            sum += w * sample(f, c, i, j);
            total += w;
        }
    }
    return sum / total;
}

static void to_rgb(const struct picture_frame *f, const double in[3], double rgb[3])
{
    if (!is_luma_chroma(f->fourcc)) {
        for (int c = 0; c < 3; c++)
            rgb[c] = in[f->fourcc == PICTURE_GREY ? 0 : c];
        return;
    }
    double kr = f->bt709 ? 0.2126 : 0.299, kb = f->bt709 ? 0.0722 : 0.114;
    double luma = f->full_range ? in[0] : (in[0] - 16) * 255 / 219;
    double cb = (in[1] - 128) * (f->full_range ? 1 : 255.0 / 224);
    double cr = (in[2] - 128) * (f->full_range ? 1 : 255.0 / 224);
    rgb[0] = luma + 2 * (1 - kr) * cr;
    rgb[2] = luma + 2 * (1 - kb) * cb;
    rgb[1] = (luma - kr * rgb[0] - kb * rgb[2]) / (1 - kr - kb);
    for (int c = 0; c < 3; c++)
        rgb[c] = fmin(fmax(rgb[c], 0), 255);
}

static void expect_near(const struct picture_frame *f, uint32_t width, uint32_t height,
                        double tolerance)
{
    struct lego_preprocess p = plain(width, height);
    float *got = apply(&p, *f, NULL);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            double in[3], rgb[3];
            for (int c = 0; c < 3; c++)
                in[c] = f->fourcc == PICTURE_GREY && c ? 0 : resized(f, c, width, height, x, y);
            to_rgb(f, in, rgb);
            for (uint32_t c = 0; c < 3; c++) {
                double value = (double)got[(c * height + y) * width + x];
                ck_assert_msg(fabs(value - rgb[c]) <= tolerance,
                              "%.4s filter %d, (%u, %u) channel %u: %f, expected %f",
                              (const char *)&f->fourcc, (int)f->filter, x, y, c, value, rgb[c]);
            }
        }
    }
    free(got);
}

/* A frame of random bytes with gaps between rows and planes; `data` is to be freed. */
static struct picture_frame random_frame(uint32_t fourcc, uint32_t width, uint32_t height,
                                         uint8_t **ret_data)
{
    struct picture_frame f = {.fourcc = fourcc, .width = width, .height = height};
    size_t bytes = (size_t)(width + 40) * (height + 4) * 5;
    uint8_t *data = malloc(bytes);
    uint32_t state = fourcc + width;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (uint8_t)(state >> 24);
    }
    f.data = data;
    f.bytes = bytes;
    ck_assert_int_eq(picture_frame_check(&f, "frame", NULL), LEGO_OK);
    for (uint32_t i = 0; i < f.plane_count; i++) {
        f.planes[i].stride += 7;
        f.planes[i].offset = f.planes[i].offset * 2 + 3;
    }
    *ret_data = data;
    return f;
}

START_TEST(every_format_and_filter_is_as_exact_arithmetic_gives)
{
    static const struct {
        uint32_t width, height, to_width, to_height;
    } sizes[] = {{61, 47, 16, 12}, {8, 6, 21, 17}, {33, 20, 33, 20}, {5, 3, 1, 1}, {1, 1, 4, 3}};
    for (size_t k = 0; k < FORMAT_COUNT; k++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            uint8_t *data;
            struct picture_frame f =
                random_frame(FORMATS[k], sizes[s].width, sizes[s].height, &data);
            for (int filter = 0; filter < 3; filter++) {
                f.filter = (enum picture_filter)filter;
                f.bt709 = s & 1;
                f.full_range = s & 2;
                /* 8 bits between the passes of whole pictures. */
                bool coarse = filter == 0 && !is_luma_chroma(FORMATS[k]);
                f.crop = (struct picture_rectangle){.width = f.width, .height = f.height};
                expect_near(&f, sizes[s].to_width, sizes[s].to_height, coarse ? 1.01 : 0.25);
                if (f.width < 8)
                    continue;
                f.crop = (struct picture_rectangle){3, 1, f.width - 4, f.height - 3};
                expect_near(&f, sizes[s].to_width, sizes[s].to_height, coarse ? 1.01 : 0.25);
            }
            free(data);
        }
    }
}
END_TEST

/* What PIL does with the pixels is what frames of pixels get, to the bit. */
START_TEST(pixels_are_what_pictures_are)
{
    struct lego_picture picture = pattern(41, 29, 3);
    struct lego_preprocess p = plain(16, 16);
    p.resize = LEGO_RESIZE_LETTERBOX;
    p.bgr = true;
    p.mean[1] = 3.5f;
    p.std[2] = 0.3f;
    size_t elems = preprocess_elems(&p);
    float *expected = malloc(elems * sizeof(*expected));
    ck_assert_int_eq(preprocess_apply(&p, &picture, expected, elems, NULL), LEGO_OK);
    uint8_t *bgr = malloc(41 * 29 * 3), *rgba = malloc(41 * 29 * 4);
    for (size_t i = 0; i < 41 * 29; i++) {
        for (size_t c = 0; c < 3; c++) {
            bgr[3 * i + c] = picture.pixels[3 * i + 2 - c];
            rgba[4 * i + c] = picture.pixels[3 * i + c];
        }
        rgba[4 * i + 3] = (uint8_t)i;
    }
    const struct picture_frame frames[] = {
        {.fourcc = PICTURE_RGB24, .data = picture.pixels, .bytes = 41 * 29 * 3},
        {.fourcc = PICTURE_BGR24, .data = bgr, .bytes = 41 * 29 * 3},
        {.fourcc = PICTURE_RGBA, .data = rgba, .bytes = 41 * 29 * 4}};
    for (size_t i = 0; i < 3; i++) {
        struct picture_frame f = frames[i];
        f.width = 41;
        f.height = 29;
        float *got = apply(&p, f, NULL);
        ck_assert_mem_eq(got, expected, elems * sizeof(*got));
        free(got);
    }
    free(expected);
    free(bgr);
    free(rgba);
    picture_clear(&picture);
}
END_TEST

START_TEST(jpeg_frames_are_decoded)
{
    struct lego_picture picture = smooth(40, 30, 3), decoded;
    struct encoded jpeg = encode_jpeg(&picture, JPEG_BASELINE);
    struct lego_preprocess p = plain(16, 16);
    size_t elems = preprocess_elems(&p);
    float *expected = malloc(elems * sizeof(*expected));
    ck_assert_int_eq(picture_decode(jpeg.data, jpeg.bytes, "jpeg", &decoded, NULL), LEGO_OK);
    ck_assert_int_eq(preprocess_apply(&p, &decoded, expected, elems, NULL), LEGO_OK);
    struct picture_frame f = {.fourcc = PICTURE_MJPEG, .data = jpeg.data, .bytes = jpeg.bytes};
    float *got = apply(&p, f, NULL);
    ck_assert_mem_eq(got, expected, elems * sizeof(*got));

    struct kern_table kernels;
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(kern_init(&kernels, NULL, NULL), LEGO_OK);
    f.width = 41;
    ck_assert_int_eq(picture_frame_apply(&kernels, &p, &f, "f", got, elems, NULL, &diag),
                     LEGO_E_INVALID);
    ck_assert_ptr_nonnull(strstr(diag.text, "the JPEG picture is 40x30"));
    f.width = 0;
    f.crop = (struct picture_rectangle){20, 0, 21, 30};
    ck_assert_int_eq(picture_frame_apply(&kernels, &p, &f, "f", got, elems, NULL, &diag),
                     LEGO_E_INVALID);
    ck_assert_ptr_nonnull(strstr(diag.text, "f: crop"));
    f.bytes = jpeg.bytes / 2;
    ck_assert_int_eq(picture_frame_apply(&kernels, &p, &f, "f", got, elems, NULL, &diag),
                     LEGO_E_FORMAT);
    free(got);
    free(expected);
    free(jpeg.data);
    picture_clear(&decoded);
    picture_clear(&picture);
}
END_TEST

/* A turned copy of RGB pixels, clockwise. */
static uint8_t *turn(const struct picture_frame *f, uint32_t rotation)
{
    bool swap = rotation % 180 != 0;
    uint32_t width = swap ? f->height : f->width, height = swap ? f->width : f->height;
    uint8_t *out = malloc((size_t)width * height * 3);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint32_t fx = rotation == 90    ? y
                          : rotation == 180 ? f->width - 1 - x
                                            : f->width - 1 - y;
            uint32_t fy = rotation == 90    ? f->height - 1 - x
                          : rotation == 180 ? f->height - 1 - y
                                            : x;
            for (int c = 0; c < 3; c++)
                out[(y * width + x) * 3 + (uint32_t)c] = (uint8_t)sample(f, c, fx, fy);
        }
    }
    return out;
}

START_TEST(turned_frames_are_frames_of_turned_pixels)
{
    uint8_t *data;
    struct picture_frame f = random_frame(PICTURE_RGB24, 23, 14, &data);
    for (int resize = 1; resize <= 4; resize++) {
        for (uint32_t rotation = 90; rotation <= 270; rotation += 90) {
            for (int filter = 0; filter < 3; filter++) {
                for (int nhwc = 0; nhwc < 2; nhwc++) {
                    struct lego_preprocess p = plain(9, 12);
                    p.nhwc = nhwc;
                    uint8_t *turned = turn(&f, rotation);
                    bool swap = rotation % 180 != 0;
                    struct picture_frame t = {.fourcc = PICTURE_RGB24,
                                              .width = swap ? 14 : 23,
                                              .height = swap ? 23 : 14,
                                              .data = turned,
                                              .bytes = 23 * 14 * 3};
                    t.resize = f.resize = (enum picture_resize)resize;
                    t.filter = f.filter = (enum picture_filter)filter;
                    f.rotation = rotation;
                    float *got = apply(&p, f, NULL), *expected = apply(&p, t, NULL);
                    for (size_t i = 0; i < preprocess_elems(&p); i++)
                        ck_assert_msg(fabsf(got[i] - expected[i]) < 0.1f,
                                      "rotation %u, resize %d, filter %d, element %zu: %f, %f",
                                      rotation, resize, filter, i, (double)got[i],
                                      (double)expected[i]);
                    free(got);
                    free(expected);
                    free(turned);
                }
            }
        }
    }
    free(data);
}
END_TEST

/* All of the crop, but where the longer side is cut: those pixels whose middle is in the input. */
static void expect_seen(const struct picture_map *map, const struct picture_frame *f)
{
    double size = map->x[0] * map->y[1] - map->x[1] * map->y[0];
    for (uint32_t y = 0; y < f->height; y++)
        for (uint32_t x = 0; x < f->width; x++) {
            double dx = x + 0.5 - map->x[2], dy = y + 0.5 - map->y[2];
            double u = (map->y[1] * dx - map->x[1] * dy) / size;
            double v = (map->x[0] * dy - map->y[0] * dx) / size;
            bool crop = x >= 4 && x < 44 && y >= 6 && y < 34;
            bool wanted = crop && u > 0 && u < 32 && v > 0 && v < 24;
            bool seen = x - map->seen.x < map->seen.width && y - map->seen.y < map->seen.height;
            ck_assert_msg(wanted == seen, "rotation %u, resize %d: (%u, %u): %d", f->rotation,
                          (int)f->resize, x, y, wanted);
        }
}

/* Each pixel says where it is: what arrives must map back there. */
START_TEST(points_map_back_to_the_frame)
{
    uint8_t pixels[50 * 40 * 3];
    for (uint32_t i = 0; i < 50 * 40; i++) {
        pixels[3 * i] = (uint8_t)(i % 50 * 4);
        pixels[3 * i + 1] = (uint8_t)(i / 50 * 4);
        pixels[3 * i + 2] = 200;
    }
    for (int resize = 1; resize <= 4; resize++) {
        for (uint32_t rotation = 0; rotation <= 270; rotation += 90) {
            struct lego_preprocess p = plain(32, 24);
            struct picture_map map;
            struct picture_frame f = {.fourcc = PICTURE_RGB24,
                                      .width = 50,
                                      .height = 40,
                                      .data = pixels,
                                      .bytes = sizeof(pixels),
                                      .crop = {4, 6, 40, 28},
                                      .rotation = rotation,
                                      .resize = (enum picture_resize)resize,
                                      .filter = PICTURE_FILTER_BILINEAR};
            float *got = apply(&p, f, &map);
            uint32_t seen = 0;
            for (uint32_t v = 0; v < 24; v++) {
                for (uint32_t u = 0; u < 32; u++) {
                    float *at = got + v * 32 + u;
                    if (at[2 * 32 * 24] != 200.0f)
                        continue; /* padding */
                    double x = map.x[0] * (u + 0.5) + map.x[1] * (v + 0.5) + map.x[2];
                    double y = map.y[0] * (u + 0.5) + map.y[1] * (v + 0.5) + map.y[2];
                    seen++;
                    if (x < 5 || x > 43 || y < 7 || y > 33)
                        continue; /* at the border the nearest pixel is what there is */
                    ck_assert_msg(fabs(x - 0.5 - (double)at[0] / 4) < 0.05 &&
                                      fabs(y - 0.5 - (double)at[32 * 24] / 4) < 0.05,
                                  "rotation %u, resize %d: (%u, %u) maps to (%f, %f), is (%f, %f)",
                                  rotation, resize, u, v, x - 0.5, y - 0.5, (double)at[0] / 4,
                                  (double)at[32 * 24] / 4);
                }
            }
            ck_assert_uint_ge(seen, 300);
            expect_seen(&map, &f);
            free(got);
        }
    }
}
END_TEST

START_TEST(wrong_descriptions_are_named)
{
    static const struct {
        struct picture_frame frame;
        int status;
        const char *text;
    } cases[] = {
        {{.fourcc = 0x31323334, .width = 8, .height = 8, .bytes = 192},
         LEGO_E_UNSUPPORTED,
         "f: fourcc: 0x31323334"},
        {{.fourcc = PICTURE_RGB24, .width = 0, .height = 8, .bytes = 192},
         LEGO_E_INVALID,
         "f: width and height: 0x8"},
        {{.fourcc = PICTURE_RGB24, .width = 8, .height = 16385, .bytes = 1 << 20},
         LEGO_E_INVALID,
         "width and height"},
        {{.fourcc = PICTURE_RGB24, .width = 8, .height = 8, .bytes = 191},
         LEGO_E_INVALID,
         "f: planes[0]"},
        {{.fourcc = PICTURE_NV12, .width = 8, .height = 7, .bytes = 8 * 7 + 8 * 4 - 1},
         LEGO_E_INVALID,
         "f: planes[1]"},
        {{.fourcc = PICTURE_NV12, .width = 8, .height = 8, .bytes = 96, .plane_count = 1},
         LEGO_E_INVALID,
         "planes: NV12 has 2, 1 are given"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .plane_count = 1,
          .planes = {{0, 7}}},
         LEGO_E_INVALID,
         "planes[0].stride: 7 bytes are less than a row's 8"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .plane_count = 1,
          .planes = {{0, UINT64_MAX / 7 + 1}}},
         LEGO_E_INVALID,
         "planes[0]: 8 rows of stride"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .plane_count = 1,
          .planes = {{UINT64_MAX - 63, 8}}},
         LEGO_E_INVALID,
         "planes[0]: 8 rows"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .plane_count = 1,
          .planes = {{1, 8}}},
         LEGO_E_INVALID,
         "planes[0]: 8 rows"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .crop = {UINT32_MAX, 0, 2, 8}},
         LEGO_E_INVALID,
         "f: crop"},
        {{.fourcc = PICTURE_GREY, .width = 8, .height = 8, .bytes = 64, .crop = {1, 0, 8, 8}},
         LEGO_E_INVALID,
         "f: crop"},
        {{.fourcc = PICTURE_GREY, .width = 8, .height = 8, .bytes = 64, .crop = {1, 1, 0, 0}},
         LEGO_E_INVALID,
         "is empty"},
        {{.fourcc = PICTURE_GREY, .width = 8, .height = 8, .bytes = 64, .rotation = 45},
         LEGO_E_INVALID,
         "f: rotation: 45"},
        {{.fourcc = PICTURE_GREY, .width = 8, .height = 8, .bytes = 64, .rotation = 360},
         LEGO_E_INVALID,
         "f: rotation: 360"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .resize = (enum picture_resize)5},
         LEGO_E_INVALID,
         "f: resize"},
        {{.fourcc = PICTURE_GREY,
          .width = 8,
          .height = 8,
          .bytes = 64,
          .filter = (enum picture_filter) - 1},
         LEGO_E_INVALID,
         "f: filter"},
        {{.fourcc = PICTURE_MJPEG}, LEGO_E_INVALID, "the picture has no bytes"},
        {{.fourcc = PICTURE_MJPEG, .bytes = 10, .plane_count = 1},
         LEGO_E_INVALID,
         "planes: MJPG has none"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct picture_frame frame = cases[i].frame;
        struct lego_diag diag = LEGO_DIAG_INIT;
        int status = picture_frame_check(&frame, "f", &diag);
        ck_assert_msg(status == cases[i].status && strstr(diag.text, cases[i].text),
                      "case %zu: %d, %s", i, status, diag.text);
    }
}
END_TEST

Suite *frame_suite(void)
{
    Suite *suite = suite_create("frame");
    TCase *tests = tcase_create("frame");
    tcase_add_test(tests, every_format_and_filter_is_as_exact_arithmetic_gives);
    tcase_add_test(tests, pixels_are_what_pictures_are);
    tcase_add_test(tests, jpeg_frames_are_decoded);
    tcase_add_test(tests, turned_frames_are_frames_of_turned_pixels);
    tcase_add_test(tests, points_map_back_to_the_frame);
    tcase_add_test(tests, wrong_descriptions_are_named);
    suite_add_tcase(suite, tests);
    return suite;
}
