#include "codec/base/arena.h"
#include "codec/base/arith.h"
#include "codec/base/diag.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

START_TEST(statuses_have_names_texts_and_pinned_values)
{
    ck_assert_int_eq(LEGO_E_NOMEM, -1);
    ck_assert_int_eq(LEGO_E_INTERNAL, -24);
    ck_assert_str_eq(lego_status_name(LEGO_E_FORMAT), "E_FORMAT");
    ck_assert_str_eq(lego_status_text(LEGO_E_CHECKSUM), "checksum mismatch");
    ck_assert_str_eq(lego_status_name(-999), "E_?");
    ck_assert_int_eq(lego_status_from_errno(ENOENT), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(lego_status_from_errno(EXDEV), LEGO_E_IO);
}
END_TEST

START_TEST(a_diag_holds_the_sentence_and_its_context)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_str_eq(lego_diag_text(&diag, LEGO_E_IO), "input/output error");
    ck_assert_int_eq(lego_fail(&diag, LEGO_E_SHAPE, "rank %d", 9), LEGO_E_SHAPE);
    ck_assert_int_eq(lego_diag_prefix(&diag, diag.status, "node '%s'", "Conv_1"), LEGO_E_SHAPE);
    ck_assert_str_eq(diag.text, "node 'Conv_1': rank 9");
    ck_assert_int_eq(lego_fail_errno(&diag, ENOENT, "open"), LEGO_E_NOT_FOUND);
    ck_assert_str_eq(diag.text, "open: No such file or directory");
    ck_assert_int_eq(lego_fail(NULL, LEGO_E_IO, "nobody reads"), LEGO_E_IO);
}
END_TEST

START_TEST(a_long_sentence_is_cut_visibly)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    char *text = malloc(2 * LEGO_DIAG_BYTES);
    memset(text, 'x', 2 * LEGO_DIAG_BYTES - 1);
    text[2 * LEGO_DIAG_BYTES - 1] = '\0';
    lego_fail(&diag, LEGO_E_IO, "%s", text);
    ck_assert_uint_eq(strlen(diag.text), LEGO_DIAG_BYTES - 1);
    ck_assert_str_eq(diag.text + LEGO_DIAG_BYTES - 4, "...");
    lego_diag_prefix(&diag, LEGO_E_IO, "in front");
    ck_assert_uint_eq(strncmp(diag.text, "in front: xxx", 13), 0);
    ck_assert_str_eq(diag.text + LEGO_DIAG_BYTES - 4, "...");
    free(text);
}
END_TEST

START_TEST(checked_arithmetic_refuses_overflow)
{
    size_t size = 7;
    int64_t wide = 7;
    ck_assert(lego_add_size(1, 2, &size) && size == 3);
    ck_assert(!lego_add_size(SIZE_MAX, 1, &size) && size == 3);
    ck_assert(!lego_mul_size(SIZE_MAX / 2, 3, &size) && size == 3);
    ck_assert(!lego_mul_i64(INT64_MIN, -1, &wide) && wide == 7);
    ck_assert(!lego_add_i64(INT64_MAX, 1, &wide) && wide == 7);
    ck_assert(lego_align_up(65, 64, &size) && size == 128);
    ck_assert(lego_align_up(128, 64, &size) && size == 128);
    ck_assert(!lego_align_up(SIZE_MAX, 64, &size) && size == 128);
    ck_assert_uint_eq(lego_div_up(SIZE_MAX, 2), SIZE_MAX / 2 + 1);
}
END_TEST

START_TEST(an_arena_hands_out_aligned_zeroed_memory)
{
    struct lego_arena *arena = lego_arena_create(0);
    for (size_t bytes = 0; bytes < 200000; bytes = bytes * 2 + 1) {
        unsigned char *memory = lego_arena_calloc(arena, bytes, 1);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % 16, 0);
        for (size_t i = 0; i < bytes; i++)
            ck_assert_uint_eq(memory[i], 0);
        memset(memory, 0xff, bytes);
    }
    ck_assert_str_eq(lego_arena_printf(arena, "%s-%d", "conv", 12), "conv-12");
    ck_assert_str_eq(lego_arena_strndup(arena, "weights", 6), "weight");
    lego_arena_destroy(arena);
}
END_TEST

START_TEST(an_arena_keeps_to_its_limit)
{
    struct lego_arena *arena = lego_arena_create(1000);
    ck_assert_ptr_nonnull(lego_arena_calloc(arena, 900, 1));
    ck_assert_ptr_null(lego_arena_calloc(arena, 200, 1));
    ck_assert_ptr_null(lego_arena_calloc(arena, SIZE_MAX / 2, 4));
    ck_assert_ptr_null(lego_arena_strndup(arena, "", SIZE_MAX));
    ck_assert_ptr_nonnull(lego_arena_calloc(arena, 50, 1));
    ck_assert_uint_le(lego_arena_used_bytes(arena), 1000);
    lego_arena_destroy(arena);
    lego_arena_destroy(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tests = tcase_create("base");
    tcase_add_test(tests, statuses_have_names_texts_and_pinned_values);
    tcase_add_test(tests, a_diag_holds_the_sentence_and_its_context);
    tcase_add_test(tests, a_long_sentence_is_cut_visibly);
    tcase_add_test(tests, checked_arithmetic_refuses_overflow);
    tcase_add_test(tests, an_arena_hands_out_aligned_zeroed_memory);
    tcase_add_test(tests, an_arena_keeps_to_its_limit);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
