/*
 * OPERATORS.md names the operators of operators.def, all of them and no others. Called with
 * "--write FILE", writes the table into the file.
 */
#include "codec/graph/infer_node.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char table_begin[] = "<!-- table: ", table_end[] = "<!-- end of table -->";

/* "2", "1 to 3" or "1 or more". */
static void put_range(FILE *out, uint32_t min, uint32_t max)
{
    if (max == LEGO_MANY)
        fprintf(out, "%u or more", min);
    else if (min == max)
        fprintf(out, "%u", min);
    else
        fprintf(out, "%u to %u", min, max);
}

static void put_row(FILE *out, const char *name, const char *domain, const uint32_t arity[4],
                    const char *types)
{
    fprintf(out, "| %s%s%s | ", domain, *domain ? "." : "", name);
    put_range(out, arity[0], arity[1]);
    fprintf(out, " | ");
    put_range(out, arity[2], arity[3]);
    fprintf(out, " | %s |\n", types);
}

/* The table, malloc'ed. */
static char *make_table(void)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        abort();
    fprintf(out, "\n| operator | inputs | outputs | first input |\n| --- | --- | --- | --- |\n");
#define LEGO_OPERATOR(op, domain, imin, imax, omin, omax, infer, eval, types) \
    put_row(out, #op, domain, (const uint32_t[]){imin, imax, omin, omax}, #types);
#include "codec/graph/operators.def"
#undef LEGO_OPERATOR
    fprintf(out, "\n");
    if (fclose(out) != 0)
        abort();
    return text;
}

/* The whole file, malloc'ed; NULL where it cannot be read. */
static char *read_file(const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    if (getdelim(&text, &bytes, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

/* Where the table stands in the file; false where the marks are missing. */
static bool find_table(char *text, char **ret_from, char **ret_to)
{
    char *mark = strstr(text, table_begin), *line = mark ? strchr(mark, '\n') : NULL;
    char *end = line ? strstr(line, table_end) : NULL;
    if (!end)
        return false;
    *ret_from = line + 1;
    *ret_to = end;
    return true;
}

START_TEST(page_is_the_table)
{
    char *text = read_file(OPERATORS_PAGE), *table = make_table(), *from, *to;
    ck_assert_ptr_nonnull(text);
    ck_assert(find_table(text, &from, &to));
    *to = '\0';
    ck_assert_msg(strcmp(from, table) == 0,
                  "codec/graph/OPERATORS.md is not of today: run test_graph_operators --write %s",
                  OPERATORS_PAGE);
    free(text);
    free(table);
}
END_TEST

static int write_page(const char *path)
{
    char *text = read_file(path), *table = make_table(), *from, *to;
    FILE *file = NULL;
    if (text && find_table(text, &from, &to))
        file = fopen(path, "w");
    if (file) {
        fwrite(text, 1, (size_t)(from - text), file);
        fputs(table, file);
        fputs(to, file);
    }
    bool written = file && fclose(file) == 0;
    free(text);
    free(table);
    return written ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return write_page(argv[2]);
    Suite *suite = suite_create("graph_operators");
    TCase *tcase = tcase_create("page");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, page_is_the_table);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
