/*
 * Squeezed sections: there and back, bytes that must never change, whole files, and hostile ones.
 */
#include "codec/base/status.h"
#include "codec/format/internal.h"
#include "codec/format/squeeze.h"
#include "tests/support/container.h"
#include "tests/support/sample_trellis.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of several kinds, the same every time. */
static void fill(uint8_t *data, size_t bytes)
{
    uint32_t x = 1;

    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)((i / 100) % 3 == 0 ? (x >> 24) & 7 : i % 2 ? x >> 28 : i / 16);
    }
}

START_TEST(there_and_back)
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 100, 5000, SQUEEZE_MAX_BYTES};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const size_t bytes = sizes[i], capacity = bytes + 100;
        uint8_t *data = malloc(bytes + 1), *back = malloc(bytes + 1), *to = malloc(capacity + 1);
        size_t squeezed;

        fill(data, bytes);
        ck_assert_int_eq(squeeze(data, bytes, to, capacity, &squeezed), LEGO_OK);
        ck_assert_int_eq(squeeze_undo(to, squeezed, back, bytes), LEGO_OK);
        ck_assert(memcmp(back, data, bytes) == 0);
        if (bytes >= 100)
            ck_assert_uint_lt(squeezed, bytes * 3 / 4);
        if (squeezed > 0)
            ck_assert_int_eq(squeeze(data, bytes, to, squeezed - 1, &squeezed), LEGO_E_LIMIT);
        memset(to + squeezed, 0, 8);
        ck_assert_int_eq(squeeze_undo(to, squeezed + 8, back, bytes), LEGO_E_FORMAT);
        free(data);
        free(back);
        free(to);
    }
}
END_TEST

/* Files of today must always load: what these bytes mean is fixed. */
START_TEST(pinned)
{
    static const char names[] = "layer2.0.conv1.weight\0layer2.0.conv2.weight\0\1\2\3\4";
    static const uint8_t squeezed[] = {0x00, 0x55, 0x39, 0x3e, 0x20, 0xc0,
                                       0x5f, 0xa2, 0xc0, 0x75, 0x50, 0x13};
    static uint8_t data[5000], back[5000], to[6000];
    uint32_t hash = 2166136261u;
    size_t bytes;

    ck_assert_int_eq(squeeze_undo(squeezed, sizeof(squeezed), back, 48), LEGO_OK);
    ck_assert_mem_eq(back, names, 48);
    fill(data, sizeof(data));
    ck_assert_int_eq(squeeze(data, sizeof(data), to, sizeof(to), &bytes), LEGO_OK);
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ to[i]) * 16777619u;
    ck_assert_uint_eq(bytes, 2804);
    ck_assert_uint_eq(hash, 0xd9b0512bu);
}
END_TEST

static int open_file(const struct container *file, struct lego_package **ret_package)
{
    struct lego_diag diag = LEGO_DIAG_INIT;

    return lego_package_open_memory(file->data, file->bytes, LEGO_VERIFY_STRUCTURE, ret_package,
                                    &diag);
}

static const struct sample_trellis SAMPLE = {
    .scale_kind = LEGO_SCALE_LOG, .lanes = 4, .rotated = true};

static struct container write_squeezed(void)
{
    struct lego_package *package = sample_trellis_package(&SAMPLE);
    uint64_t measured = 0;

    package->squeeze = true;
    struct container file = container_write(package);
    ck_assert_int_eq(lego_package_measure(package, &measured, NULL), LEGO_OK);
    ck_assert_uint_eq(measured, file.bytes);
    lego_package_destroy(package);
    return file;
}

START_TEST(whole_files)
{
    struct lego_package *package = sample_trellis_package(&SAMPLE), *read;
    struct container plain = container_write(package), file = write_squeezed();
    const struct format_header *header = (const struct format_header *)file.data;
    const struct lego_coded *was = package->graph->tensors[0].coded, *is;

    ck_assert(header->features & FORMAT_FEATURE_SQUEEZE);
    ck_assert_uint_lt(file.bytes, plain.bytes);
    ck_assert_int_eq(open_file(&file, &read), LEGO_OK);
    is = read->graph->tensors[0].coded;
    ck_assert_int_eq(is->scale_kind, LEGO_SCALE_LOG);
    ck_assert_uint_eq(is->rows, was->rows);
    ck_assert_mem_eq(is->row_codes, was->row_codes, was->rows);
    ck_assert_mem_eq(is->trellis->stream, was->trellis->stream, was->trellis->stream_bytes);
    lego_package_destroy(read);
    lego_package_destroy(package);
    container_free(&plain);
    container_free(&file);
}
END_TEST

/* Any change behind a right checksum ends in an error or in a sound package. */
START_TEST(hostile_files)
{
    struct container file = write_squeezed();
    struct lego_package *read;
    size_t bytes;
    uint8_t *graph = container_section(&file, "GRAPH", &bytes);
    const uint32_t lengths[] = {0, 1, 100, SQUEEZE_MAX_BYTES, SQUEEZE_MAX_BYTES + 1, UINT32_MAX};

    for (size_t i = FORMAT_SQUEEZE_HEAD; i < bytes; i += 3) {
        graph[i] ^= 0x41;
        container_mend(file.data, file.bytes);
        if (open_file(&file, &read) == LEGO_OK)
            lego_package_destroy(read);
        graph[i] ^= 0x41;
    }
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memcpy(graph, &lengths[i], sizeof(lengths[i]));
        container_mend(file.data, file.bytes);
        ck_assert_int_ne(open_file(&file, &read), LEGO_OK);
    }
    container_free(&file);
}
END_TEST

/* Only the three kinds may be squeezed, and a file without the feature bit has no such flag. */
START_TEST(flags)
{
    struct container file = write_squeezed();
    struct format_header *header = (struct format_header *)file.data;
    struct format_section *table = (struct format_section *)(header + 1);
    struct lego_package *read;

    for (uint32_t i = 0; i < header->section_count; i++) {
        if (format_may_squeeze(table[i].kind))
            continue;
        table[i].flags |= FORMAT_SECTION_SQUEEZED;
        container_mend(file.data, file.bytes);
        ck_assert_int_eq(open_file(&file, &read), LEGO_E_FORMAT);
        table[i].flags &= ~FORMAT_SECTION_SQUEEZED;
    }
    header->features &= ~FORMAT_FEATURE_SQUEEZE;
    container_mend(file.data, file.bytes);
    ck_assert_int_eq(open_file(&file, &read), LEGO_E_FORMAT);
    container_free(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("squeeze");
    TCase *tcase = tcase_create("all");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, there_and_back);
    tcase_add_test(tcase, pinned);
    tcase_add_test(tcase, whole_files);
    tcase_add_test(tcase, hostile_files);
    tcase_add_test(tcase, flags);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
