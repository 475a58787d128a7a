#include "pictures.h"

#include <check.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static int decode(const struct encoded *encoded, struct lego_picture *picture,
                  struct lego_diag *diag)
{
    return picture_decode(encoded->data, encoded->bytes, "test", picture, diag);
}

static const struct png_case {
    int colour_type, bit_depth;
    bool interlaced;
    uint32_t channels; /* of the decoded picture */
} PNG_CASES[] = {
    {PNG_COLOR_TYPE_RGB, 8, false, 3},        {PNG_COLOR_TYPE_RGB, 8, true, 3},
    {PNG_COLOR_TYPE_RGB, 16, false, 3},       {PNG_COLOR_TYPE_RGB_ALPHA, 8, false, 3},
    {PNG_COLOR_TYPE_RGB_ALPHA, 16, true, 3},  {PNG_COLOR_TYPE_GRAY, 8, false, 1},
    {PNG_COLOR_TYPE_GRAY, 16, false, 1},      {PNG_COLOR_TYPE_GRAY, 4, false, 1},
    {PNG_COLOR_TYPE_GRAY, 2, true, 1},        {PNG_COLOR_TYPE_GRAY, 1, false, 1},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, 1}, {PNG_COLOR_TYPE_PALETTE, 8, false, 3},
    {PNG_COLOR_TYPE_PALETTE, 8, true, 3},
};

/* What the sample of a `bits` deep grey picture is after it was spread to 8 bits. */
static uint8_t spread(uint8_t value, int bits)
{
    return bits >= 8 ? value : (uint8_t)((value >> (8 - bits)) * 255 / ((1 << bits) - 1));
}

START_TEST(png_of_every_kind_is_exact)
{
    const struct png_case *c = &PNG_CASES[_i];
    struct lego_picture from = pattern(37, 23, 3), to = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encoded encoded = encode_png(&from, c->colour_type, c->bit_depth, c->interlaced);

    ck_assert_msg(decode(&encoded, &to, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(to.width, 37);
    ck_assert_uint_eq(to.height, 23);
    ck_assert_uint_eq(to.channels, c->channels);
    bool grey = c->channels == 1 || c->colour_type == PNG_COLOR_TYPE_PALETTE;
    for (uint32_t y = 0; y < 23; y++) {
        for (uint32_t x = 0; x < 37; x++) {
            for (uint32_t k = 0; k < to.channels; k++) {
                uint8_t wanted = from.pixels[y * from.stride + x * 3 + (grey ? 0 : k)];
                ck_assert_uint_eq(to.pixels[y * to.stride + x * to.channels + k],
                                  spread(wanted, c->bit_depth));
            }
        }
    }
    picture_clear(&from);
    picture_clear(&to);
    ck_assert_ptr_null(to.pixels);
    free(encoded.data);
}
END_TEST

static const struct jpeg_case {
    enum jpeg_kind kind;
    uint32_t channels;
} JPEG_CASES[] = {{JPEG_BASELINE, 3}, {JPEG_BASELINE, 1}, {JPEG_PROGRESSIVE, 3}, {JPEG_CMYK, 3}};

START_TEST(jpeg_of_every_kind_is_near)
{
    const struct jpeg_case *c = &JPEG_CASES[_i];
    struct lego_picture from = smooth(61, 45, c->channels), to = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encoded encoded = encode_jpeg(&from, c->kind);

    ck_assert_msg(decode(&encoded, &to, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_uint_eq(to.width, 61);
    ck_assert_uint_eq(to.height, 45);
    ck_assert_uint_eq(to.channels, c->channels);
    for (size_t i = 0; i < from.stride * 45; i++)
        ck_assert_int_le(abs(from.pixels[i] - to.pixels[i]), 6);
    picture_clear(&from);
    picture_clear(&to);
    free(encoded.data);
}
END_TEST

/* The pictures that the hostile tests cut and damage. */
static struct encoded victim(int index)
{
    struct lego_picture picture = pattern(29, 19, 3);
    struct encoded encoded;
    if (index == 0)
        encoded = encode_png(&picture, PNG_COLOR_TYPE_RGB, 8, false);
    else if (index == 1)
        encoded = encode_png(&picture, PNG_COLOR_TYPE_PALETTE, 8, true);
    else
        encoded = encode_jpeg(&picture, index == 2 ? JPEG_BASELINE : JPEG_PROGRESSIVE);
    picture_clear(&picture);
    return encoded;
}

START_TEST(a_file_that_ends_early_is_refused)
{
    struct encoded encoded = victim(_i);
    for (size_t bytes = 0; bytes < encoded.bytes; bytes++) {
        struct lego_picture picture = {.width = 77};
        struct lego_diag diag = LEGO_DIAG_INIT;
        /* A block of its own, so that AddressSanitizer sees any byte too many. */
        uint8_t *cut = malloc(bytes + 1);
        memcpy(cut, encoded.data, bytes);
        struct encoded part = {cut, bytes};
        ck_assert_int_eq(decode(&part, &picture, &diag), LEGO_E_FORMAT);
        ck_assert_uint_eq(picture.width, 77);
        ck_assert_ptr_null(picture.pixels);
        ck_assert_int_eq(strncmp(diag.text, "test: ", 6), 0);
        free(cut);
    }
    free(encoded.data);
}
END_TEST

START_TEST(damage_never_crashes)
{
    struct encoded encoded = victim(_i);
    size_t refused = 0;
    for (size_t at = 0; at < encoded.bytes; at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct lego_picture picture = {0};
            encoded.data[at] ^= (uint8_t)(1 << bit);
            int status = decode(&encoded, &picture, NULL);
            encoded.data[at] ^= (uint8_t)(1 << bit);
            if (status == LEGO_OK)
                ck_assert_uint_ge((uint64_t)picture.width * picture.height, 1);
            refused += status != LEGO_OK;
            picture_clear(&picture);
        }
    }
    ck_assert_uint_gt(refused, 0);
    free(encoded.data);
}
END_TEST

START_TEST(jpeg_size_over_the_limit_is_refused)
{
    struct lego_picture from = smooth(16, 16, 3), to = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encoded encoded = encode_jpeg(&from, JPEG_BASELINE);
    uint8_t *frame = NULL;
    for (size_t i = 0; i + 9 < encoded.bytes && !frame; i++) {
        if (encoded.data[i] == 0xff && encoded.data[i + 1] == 0xc0)
            frame = encoded.data + i;
    }
    ck_assert_ptr_nonnull(frame);
    frame[5] = frame[7] = 0xff; /* height and width 65,296 */
    frame[6] = frame[8] = 0x10;
    ck_assert_int_eq(decode(&encoded, &to, &diag), LEGO_E_LIMIT);
    picture_clear(&from);
    free(encoded.data);
}
END_TEST

START_TEST(png_size_over_the_limit_is_refused)
{
    /* The signature and an IHDR of 2,000,000,000 x 16 pixels, with the right CRC. */
    static const uint8_t HEADER[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0,    0,
                                     13,   'I', 'H', 'D', 'R',  0x77, 0x35, 0x94, 0x00, 0,    0,
                                     0,    16,  8,   2,   0,    0,    0,    0xc2, 0xcb, 0x62, 0xd7};
    uint8_t data[256] = {0};
    struct lego_picture picture = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    memcpy(data, HEADER, sizeof(HEADER));
    uint32_t crc = (uint32_t)crc32(0, data + 12, 17);
    for (int i = 0; i < 4; i++)
        data[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    /* An empty IDAT, at which the header is complete. */
    memcpy(data + 33, "\0\0\0\0IDAT\x35\xaf\x06\x1e", 12);
    ck_assert_msg(picture_decode(data, sizeof(data), "huge", &picture, &diag) == LEGO_E_LIMIT, "%s",
                  diag.text);
}
END_TEST

START_TEST(what_is_no_picture_is_refused)
{
    static const char *const TEXTS[] = {
        "", "G", "GIF89a..........", "\x89PNG", "\xff\xd8", "\xff\xd8\xff", "\x89PNG\r\n\x1a\n"};
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        struct lego_picture picture = {0};
        struct lego_diag diag = LEGO_DIAG_INIT;
        ck_assert_int_eq(picture_decode(TEXTS[i], strlen(TEXTS[i]), "x", &picture, &diag),
                         LEGO_E_FORMAT);
        ck_assert_int_eq(diag.status, LEGO_E_FORMAT);
    }
    ck_assert(!picture_recognise("GIF89a", 6));
    ck_assert(picture_recognise("\xff\xd8\xff\xe0", 4));
    ck_assert(!picture_recognise("\xff\xd8\xff", 2));
}
END_TEST

START_TEST(files_are_read_whole)
{
    struct lego_picture from = pattern(200, 150, 3), to = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct encoded encoded = encode_png(&from, PNG_COLOR_TYPE_RGB, 8, false);
    char path[] = "/tmp/lego-picture-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, encoded.data, encoded.bytes), (ssize_t)encoded.bytes);
    close(fd);
    ck_assert_msg(picture_load(path, &to, &diag) == LEGO_OK, "%s", diag.text);
    ck_assert_mem_eq(from.pixels, to.pixels, from.stride * from.height);
    unlink(path);
    picture_clear(&to);
    ck_assert_int_eq(picture_load(path, &to, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, path));
    ck_assert_int_ne(picture_load("/", &to, &diag), LEGO_OK);
    picture_clear(&from);
    free(encoded.data);
}
END_TEST

Suite *decode_suite(void)
{
    Suite *suite = suite_create("decode");
    TCase *tcase = tcase_create("decode");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, png_of_every_kind_is_exact, 0,
                        sizeof(PNG_CASES) / sizeof(PNG_CASES[0]));
    tcase_add_loop_test(tcase, jpeg_of_every_kind_is_near, 0,
                        sizeof(JPEG_CASES) / sizeof(JPEG_CASES[0]));
    tcase_add_loop_test(tcase, a_file_that_ends_early_is_refused, 0, 4);
    tcase_add_loop_test(tcase, damage_never_crashes, 0, 4);
    tcase_add_test(tcase, jpeg_size_over_the_limit_is_refused);
    tcase_add_test(tcase, png_size_over_the_limit_is_refused);
    tcase_add_test(tcase, what_is_no_picture_is_refused);
    tcase_add_test(tcase, files_are_read_whole);
    suite_add_tcase(suite, tcase);
    return suite;
}
