/* The registry and the catalogue: what is found, listed, replaced. Models that serve are tested
 * with the whole agent; here they are absent ones, which take the same ways. */
#include "agent/service/catalogue.h"
#include "agent/service/registry.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct registry registry;

static void ignore(void *context)
{
    (void)context;
}

static void set_up(void)
{
    registry = (struct registry){0};
    ck_assert_int_eq(loader_start(ignore, NULL, &registry.loader, NULL), LEGO_OK);
}

static void tear_down(void)
{
    registry_clear(&registry);
    loader_stop(registry.loader);
}

static struct model_set make_set(const char *name, uint64_t version, const char *reason)
{
    char path[] = "/x.lego";
    struct model_spec spec = {.name = (char *)(uintptr_t)name, .version = version, .path = path};
    struct served_model *model;
    struct model_set set = {0};
    ck_assert_int_eq(model_create_absent(&spec, reason, &model), LEGO_OK);
    ck_assert_int_eq(model_set_add(&set, model), LEGO_OK);
    return set;
}

static void find_fails(const char *name, const char *version, int expected, const char *text)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct served_model *model;
    ck_assert_int_eq(registry_find(&registry, name, version, &model, &diag), expected);
    ck_assert_msg(strstr(diag.text, text), "%s", diag.text);
}

START_TEST(what_is_not_there_is_named)
{
    registry.loading = true;
    find_fails("a", "", LEGO_E_UNAVAILABLE, "still loading");
    ck_assert(!registry_is_ready(&registry));
    struct model_set set = make_set("a", 2, "the file is broken");
    registry_replace_all(&registry, &set);
    ck_assert_uint_eq(set.count, 0);
    find_fails("b", "", LEGO_E_NOT_FOUND, "there is no model \"b\"");
    find_fails("a", "1", LEGO_E_NOT_FOUND, "model \"a\" has no version 1");
    find_fails("a", "x", LEGO_E_INVALID, "\"x\" is not a number");
    find_fails("a", "", LEGO_E_UNAVAILABLE, "model \"a\" version 2 does not serve: the file is");
    find_fails("a", "2", LEGO_E_UNAVAILABLE, "the file is broken");
    ck_assert(!registry_is_ready(&registry));
}
END_TEST

START_TEST(names_are_replaced_alone)
{
    struct model_set set = make_set("a", 1, "old"), other = make_set("b", 1, "kept");
    registry_replace_all(&registry, &set);
    ck_assert_int_eq(registry_replace_name(&registry, "b", &other), LEGO_OK);
    struct model_set fresh = make_set("a", 3, "new");
    ck_assert_int_eq(registry_replace_name(&registry, "a", &fresh), LEGO_OK);
    ck_assert_uint_eq(registry.set.count, 2);
    find_fails("a", "1", LEGO_E_NOT_FOUND, "no version 1");
    find_fails("a", "3", LEGO_E_UNAVAILABLE, "new");
    find_fails("b", "1", LEGO_E_UNAVAILABLE, "kept");
}
END_TEST

START_TEST(unloaded_models_stay_listed)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct model_set set = make_set("a", 1, NULL);
    registry_replace_all(&registry, &set);
    ck_assert_int_eq(registry_unload(&registry, "b", &diag), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(registry_unload(&registry, "a", &diag), LEGO_OK);
    find_fails("a", "", LEGO_E_UNAVAILABLE, "unloaded by a client");
    ck_assert(registry_is_ready(&registry));
}
END_TEST

START_TEST(failures_are_remembered_until_a_success)
{
    char name[] = "a", path[] = "/x.lego";
    struct model_spec failed = {.name = name, .version = 1, .path = path};
    registry_note_failure(&registry, &failed, "why");
    ck_assert_str_eq(registry.failure, "why");
    ck_assert_str_eq(registry.failed.name, "a");
    struct model_set other = make_set("b", 1, NULL), same = make_set("a", 1, NULL);
    ck_assert_int_eq(registry_replace_name(&registry, "b", &other), LEGO_OK);
    ck_assert_str_eq(registry.failure, "why");
    ck_assert_int_eq(registry_replace_name(&registry, "a", &same), LEGO_OK);
    ck_assert_ptr_null(registry.failure);
}
END_TEST

/* ---- The catalogue ---- */

static char folder[] = "/tmp/lego-catalogue-XXXXXX";

static void touch(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
}

static void make_folder(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static struct config *make_config(const char *models)
{
    char text[1024];
    struct config *config = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    snprintf(text, sizeof(text), "model_directory: %s\nlimits: {models: 4}\n%s", folder, models);
    ck_assert_msg(config_parse(text, strlen(text), "f", &config, &diag) == LEGO_OK, "%s",
                  diag.text);
    return config;
}

static void assert_spec(const struct catalogue *catalogue, size_t i, const char *name,
                        uint64_t version, const char *path)
{
    ck_assert_str_eq(catalogue->specs[i].name, name);
    ck_assert_uint_eq(catalogue->specs[i].version, version);
    ck_assert_ptr_nonnull(strstr(catalogue->specs[i].path, path));
}

START_TEST(directories_are_read)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct catalogue catalogue;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    touch("doors.lego");
    touch("notes.txt");
    touch(".hidden.lego");
    touch("bad name.lego");
    make_folder("faces");
    make_folder("faces/2");
    touch("faces/2/model.lego");
    make_folder("faces/10");
    touch("faces/10/model.lego");
    make_folder("faces/latest");
    struct config *config = make_config("");
    ck_assert_int_eq(catalogue_list(config, NULL, &catalogue, &diag), LEGO_OK);
    ck_assert_uint_eq(catalogue.count, 3);
    assert_spec(&catalogue, 0, "doors", 1, "/doors.lego");
    assert_spec(&catalogue, 1, "faces", 10, "/faces/10/model.lego");
    assert_spec(&catalogue, 2, "faces", 2, "/faces/2/model.lego");
    ck_assert_uint_eq(catalogue.folder_count, 4);
    catalogue_clear(&catalogue);
    ck_assert_int_eq(catalogue_list(config, "faces", &catalogue, &diag), LEGO_OK);
    ck_assert_uint_eq(catalogue.count, 2);
    catalogue_clear(&catalogue);
    config_free(config);

    config = make_config("models: [{name: doors, path: /elsewhere.lego, warm_up: 5}]\n");
    ck_assert_int_eq(catalogue_list(config, NULL, &catalogue, &diag), LEGO_OK);
    ck_assert_uint_eq(catalogue.count, 3);
    assert_spec(&catalogue, 0, "doors", 1, "/elsewhere.lego");
    ck_assert_uint_eq(catalogue.specs[0].warm_up, 5);
    catalogue_clear(&catalogue);

    make_folder("doors");
    make_folder("doors/1");
    touch("doors/1/model.lego");
    ck_assert_int_eq(catalogue_list(config, NULL, &catalogue, &diag), LEGO_OK);
    catalogue_clear(&catalogue);
    config_free(config);
    config = make_config("");
    ck_assert_int_eq(catalogue_list(config, NULL, &catalogue, &diag), LEGO_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(diag.text, "are both model \"doors\" version 1"));
    touch("x1.lego");
    touch("x2.lego");
    ck_assert_int_ne(catalogue_list(config, NULL, &catalogue, &diag), LEGO_OK);
    config_free(config);
    char command[300];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *tests = tcase_create("registry");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, what_is_not_there_is_named);
    tcase_add_test(tests, names_are_replaced_alone);
    tcase_add_test(tests, unloaded_models_stay_listed);
    tcase_add_test(tests, failures_are_remembered_until_a_success);
    suite_add_tcase(suite, tests);
    TCase *catalogue = tcase_create("catalogue");
    tcase_add_test(catalogue, directories_are_read);
    suite_add_tcase(suite, catalogue);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
