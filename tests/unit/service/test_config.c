/* The configuration: defaults, every complaint with its place, the shipped files. */
#include "agent/service/config.h"
#include "agent/service/log.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct config *parse_ok(const char *text)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config = NULL;
    int status = config_parse(text, strlen(text), "dir/f.yaml", &config, &diag);
    ck_assert_msg(status == LEGO_OK, "%s\n%s", diag.text, text);
    return config;
}

static void parse_fails(const char *text, const char *expected)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config = NULL;
    int status = config_parse(text, strlen(text), "f.yaml", &config, &diag);
    ck_assert_msg(status == LEGO_E_CONFIG, "status %d for\n%s", status, text);
    ck_assert_ptr_null(config);
    ck_assert_msg(strstr(diag.text, expected), "\"%s\" lacks \"%s\"", diag.text, expected);
}

static const struct {
    const char *text, *expected;
} mistakes[] = {
    {"engines:\n  thread: 3\n",
     "f.yaml:2:3: unknown key \"thread\" in \"engines\"; did you mean \"threads\"?"},
    {"engins:\n  threads: 3\n", "f.yaml:1:1: unknown key \"engins\"; did you mean \"engines\"?"},
    {"model:\n  - name: a\n", "f.yaml:1:1: unknown key \"model\"; did you mean \"models\"?"},
    {"log_levl: info\n", "f.yaml:1:1: unknown key \"log_levl\"; did you mean \"log_level\"?"},
    {"zzzzzzzzzz: 1\n", "f.yaml:1:1: unknown key \"zzzzzzzzzz\""},
    {"models:\n  - name: a\n    path: b\n    warmup: 2\n",
     "f.yaml:4:5: unknown key \"warmup\" in \"models\"; did you mean \"warm_up\"?"},
    {"engines: [1]\n", "f.yaml:1:10: \"engines\" must be a group of keys, not a list"},
    {"engines: 3\n", "f.yaml:1:10: \"engines\" must be a group of keys, not a single value"},
    {"engines:\n  threads: [1]\n", "f.yaml:2:12: \"threads\" must be a single value, not a list"},
    {"models: {a: 1}\n", "f.yaml:1:9: \"models\" must be a list, not a group of keys"},
    {"models: [1]\n", "f.yaml:1:10: an entry of \"models\" must be a group of keys"},
    {"- 1\n", "f.yaml:1:1: the configuration must be a group of keys, not a list"},
    {"? [a]\n: 1\n", "f.yaml:1:3: a key must be a word, not a list"},
    {"engines:\n  threads: 1\n  threads: 4\n",
     "f.yaml:3:3: \"threads\" is given twice; the first is in line 2"},
    {"log_level: info\nlog_level: info\n", "f.yaml:2:1: \"log_level\" is given twice"},
    {"models: []\nmodels: []\n", "f.yaml:2:1: \"models\" is given twice"},
    {"engines:\n  threads: x\n",
     "f.yaml:2:12: \"threads\": \"x\" is not a whole number, from 0 to 256"},
    {"engines:\n  threads: -1\n", "f.yaml:2:12: \"threads\""},
    {"engines:\n  threads: 1.5\n", "f.yaml:2:12: \"threads\""},
    {"engines:\n  threads: 99999999999999999999999\n", "f.yaml:2:12: \"threads\""},
    {"engines:\n  threads:\n", "\"threads\""},
    {"limits:\n  frame: 16MB\n", "f.yaml:2:10: \"frame\": \"16MB\" is not a size, as 4096, 64KiB, "
                                 "16MiB or 1GiB, from 1KiB to 1GiB"},
    {"limits:\n  frame: 17179869184GiB\n", "f.yaml:2:10: \"frame\""},
    {"limits:\n  stall: 30\n", "f.yaml:2:10: \"stall\": \"30\" is not a time with its unit"},
    {"drain_timeout: 1h\n", "f.yaml:1:16: \"drain_timeout\""},
    {"socket:\n  mode: 0888\n",
     "f.yaml:2:9: \"mode\": \"0888\" is not an octal mode, as 0660, from 0000 to 0777"},
    {"socket:\n  path: \"\"\n", "f.yaml:2:9: \"path\""},
    {"log_level: loud\n",
     "f.yaml:1:12: \"log_level\": \"loud\" is none of error, warning, info, debug"},
    {"models:\n  - name: a/b\n    path: x\n", "f.yaml:2:11: \"name\": \"a/b\" is no name"},
    {"models:\n  - name: .a\n    path: x\n", "f.yaml:2:11: \"name\": \".a\" is no name"},
    {"models:\n  - name: a\n", "f.yaml:2:5: an entry of \"models\" lacks \"path\""},
    {"models:\n  - path: a\n", "f.yaml:2:5: an entry of \"models\" lacks \"name\""},
    {"models:\n  - name: a\n    path: b\n    version: 0\n", "f.yaml:4:14: \"version\""},
    {"signatures: {policy: maybe}\n",
     "f.yaml:1:22: \"policy\": \"maybe\" is none of off, warn, require"},
    {"signatures:\n  keys: RWSrWBgC\n",
     "f.yaml:2:9: \"keys\": \"RWSrWBgC\" is no public key: want the 56 characters"},
    {"models:\n  - name: a\n    path: b\n    resident: disk\n",
     "f.yaml:4:15: \"resident\": \"disk\" is none of auto, coded, panels"},
    {"models:\n  - name: a\n    path: b\n    compute: int4\n",
     "f.yaml:4:14: \"compute\": \"int4\" is none of auto, fp32, int8, fp16"},
    {"models:\n  - {name: a, path: b}\n  - {name: a, path: c}\n",
     "f.yaml:3:5: model \"a\" version 1 is given twice"},
    {"limits: {models: 1}\nmodels:\n  - {name: a, path: b}\n  - {name: b, path: c}\n",
     "f.yaml:1:1: there are 2 models, \"limits.models\" allows 1"},
    {"engines:\n  threads: 1\n bad\n", "f.yaml:3:"},
    {"engines:\n\tthreads: 1\n", "f.yaml:2:1"},
    {"a: [1, 2\n", "f.yaml:"},
    {"a: *nothing\n", "f.yaml:1:4"},
    {"log_level: info\n---\nlog_level: info\n", "f.yaml:3:1: a second YAML document begins"},
    {"log_level: \"in\\0fo\"\n",
     "f.yaml:1:12: \"log_level\" must be a single value, not text with a NUL byte"},
    {"log_level: \xff\n", "f.yaml"},
};

START_TEST(mistake)
{
    parse_fails(mistakes[_i].text, mistakes[_i].expected);
}
END_TEST

/* YAML that sets one key. */
static void write_key(const struct config_key *key, const char *value, char *buffer, size_t bytes)
{
    if (*key->section)
        snprintf(buffer, bytes, "%s:\n  %s: \"%s\"\n", key->section, key->key, value);
    else
        snprintf(buffer, bytes, "%s: \"%s\"\n", key->key, value);
}

static const char *unit_of(const struct config_key *key)
{
    return key->type == CONFIG_TIME ? "ms" : "";
}

START_TEST(every_number_has_its_range)
{
    const struct config_key *key = &config_keys[_i];
    char value[64], text[256];
    if (key->type != CONFIG_COUNT && key->type != CONFIG_SIZE && key->type != CONFIG_TIME)
        return;
    for (int high = 0; high < 2; high++) {
        uint64_t edge = high ? key->maximum : key->minimum;
        snprintf(value, sizeof(value), "%" PRIu64 "%s", edge, unit_of(key));
        write_key(key, value, text, sizeof(text));
        struct config *config = parse_ok(text);
        uint64_t got;
        memcpy(&got, (char *)config + key->offset, sizeof(got));
        ck_assert_uint_eq(got, edge);
        config_free(config);
        if (!high && edge == 0)
            continue;
        snprintf(value, sizeof(value), "%" PRIu64 "%s", high ? edge + 1 : edge - 1, unit_of(key));
        write_key(key, value, text, sizeof(text));
        char expected[96];
        snprintf(expected, sizeof(expected), "f.yaml:%d:%zu: \"%s\"", *key->section ? 2 : 1,
                 strlen(key->key) + (*key->section ? 5 : 3), key->key);
        parse_fails(text, expected);
    }
}
END_TEST

START_TEST(every_key_twice_or_misspelt_is_refused)
{
    const struct config_key *key = &config_keys[_i];
    char text[512], misspelt[64], expected[160];
    const char *value = key->fallback;
    const char *indent = *key->section ? "  " : "";
    snprintf(text, sizeof(text), "%s%s%s%s: \"%s\"\n%s%s: \"%s\"\n", key->section,
             *key->section ? ":\n" : "", indent, key->key, value, indent, key->key, value);
    snprintf(expected, sizeof(expected), "\"%s\" is given twice", key->key);
    parse_fails(text, expected);
    snprintf(misspelt, sizeof(misspelt), "%sx", key->key);
    snprintf(text, sizeof(text), "%s%s%s%s: \"%s\"\n", key->section, *key->section ? ":\n" : "",
             indent, misspelt, value);
    snprintf(expected, sizeof(expected), "did you mean \"%s\"?", key->key);
    parse_fails(text, expected);
}
END_TEST

static void assert_same(const struct config *a, const struct config *b)
{
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        ck_assert_msg(config_same_value(a, b, key), "%s.%s", key->section, key->key);
    }
    ck_assert_uint_eq(a->model_count, b->model_count);
}

START_TEST(shipped_yaml_equals_the_defaults)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *shipped = NULL, *built_in = NULL;
    ck_assert_msg(config_load(LEGO_CONFIG_DIR "/legonetd.yaml", &shipped, &diag) == LEGO_OK, "%s",
                  diag.text);
    ck_assert_int_eq(config_default(&built_in, &diag), LEGO_OK);
    assert_same(shipped, built_in);
    config_free(shipped);
    config_free(built_in);
}
END_TEST

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    char *text = calloc(1, 1 << 18);
    ck_assert_uint_lt(fread(text, 1, (1 << 18) - 1, file), (1 << 18) - 1);
    fclose(file);
    return text;
}

static void assert_printed(void (*print)(FILE *out), const char *path)
{
    char *printed = NULL;
    size_t bytes;
    FILE *out = open_memstream(&printed, &bytes);
    print(out);
    fclose(out);
    char *shipped = read_file(path);
    ck_assert_msg(!strcmp(printed, shipped), "%s is not what the program prints: make it anew",
                  path);
    free(printed);
    free(shipped);
}

START_TEST(shipped_files_are_what_is_printed)
{
    assert_printed(config_print_yaml, LEGO_CONFIG_DIR "/legonetd.yaml");
    assert_printed(config_print_reference, LEGO_CONFIG_DIR "/REFERENCE.md");
    assert_printed(config_print_manual, LEGO_MAN_DIR "/legonetd.yaml.5");
}
END_TEST

START_TEST(values_are_taken)
{
    struct config *config = parse_ok("socket: {path: /tmp/s, mode: 0600, group: video}\n"
                                     "limits: {frame: 2 MiB, stall: 5min}\n"
                                     "log_level: debug\n"
                                     "model_directory: m\n"
                                     "models:\n"
                                     "  - {name: a, path: x/y.lego, version: 7, warm_up: 0}\n"
                                     "  - {name: b, path: /z.lego, resident: panels, "
                                     "compute: int8}\n");
    ck_assert_str_eq(config->socket_path, "/tmp/s");
    ck_assert_uint_eq(config->socket_mode, 0600);
    ck_assert_str_eq(config->socket_group, "video");
    ck_assert_uint_eq(config->max_frame_bytes, 2 << 20);
    ck_assert_uint_eq(config->client_stall_ms, 300000);
    ck_assert_uint_eq(config->log_level, LOG_LEVEL_DEBUG);
    ck_assert_str_eq(config->model_directory, "dir/m");
    ck_assert_uint_eq(config->model_count, 2);
    ck_assert_str_eq(config->models[0].path, "dir/x/y.lego");
    ck_assert_uint_eq(config->models[0].version, 7);
    ck_assert_uint_eq(config->models[0].warm_up, 0);
    ck_assert_uint_eq(config->models[1].warm_up, 1);
    ck_assert_str_eq(config->models[1].path, "/z.lego");
    ck_assert_uint_eq(config->models[1].resident, 2);
    ck_assert_uint_eq(config->models[1].compute, 2);
    config_free(config);
}
END_TEST

START_TEST(empty_files_are_all_defaults)
{
    static const char *const texts[] = {"", "# nothing\n", "models:\n", "---\n...\n"};
    struct config *built_in = NULL;
    ck_assert_int_eq(config_default(&built_in, NULL), LEGO_OK);
    for (size_t i = 0; i < 3; i++) {
        struct config *config = parse_ok(texts[i]);
        assert_same(config, built_in);
        config_free(config);
    }
    config_free(built_in);
}
END_TEST

START_TEST(overrides)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config = parse_ok("");
    ck_assert_int_eq(config_set(config, "limits.batch=16", &diag), LEGO_OK);
    ck_assert_uint_eq(config->max_batch, 16);
    ck_assert_int_eq(config_set(config, "model_directory=", &diag), LEGO_OK);
    ck_assert_str_eq(config->model_directory, "");
    ck_assert_int_eq(config_set(config, "limits.batch", &diag), LEGO_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(diag.text, "want KEY=VALUE"));
    ck_assert_int_eq(config_set(config, "limits.bach=1", &diag), LEGO_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(diag.text, "no such key"));
    ck_assert_int_eq(config_set(config, "limits.batch=0", &diag), LEGO_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(diag.text, "from 1 to 65536"));
    config_free(config);
}
END_TEST

START_TEST(restart_keys_are_told)
{
    char changes[256];
    struct config *from = parse_ok(""), *to = parse_ok("limits: {batch: 3}\nengines: {count: 2}\n"
                                                       "log_level: debug\n");
    ck_assert_uint_eq(config_restart_changes(from, to, changes, sizeof(changes)), 2);
    ck_assert_str_eq(changes, "engines.count, limits.batch");
    char small[8];
    ck_assert_uint_eq(config_restart_changes(from, to, small, sizeof(small)), 2);
    ck_assert_uint_eq(strlen(small), 7);
    ck_assert_uint_eq(config_restart_changes(from, from, changes, sizeof(changes)), 0);
    config_free(from);
    config_free(to);
}
END_TEST

START_TEST(files_that_are_none)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct config *config = NULL;
    ck_assert_int_eq(config_load("/nonexistent/legonetd.yaml", &config, &diag), LEGO_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(diag.text, "/nonexistent/legonetd.yaml"));
    ck_assert_int_ne(config_load("/", &config, &diag), LEGO_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("config");
    tcase_add_loop_test(tests, mistake, 0, (int)(sizeof(mistakes) / sizeof(*mistakes)));
    tcase_add_loop_test(tests, every_number_has_its_range, 0, (int)config_key_count);
    tcase_add_loop_test(tests, every_key_twice_or_misspelt_is_refused, 0, (int)config_key_count);
    tcase_add_test(tests, shipped_yaml_equals_the_defaults);
    tcase_add_test(tests, shipped_files_are_what_is_printed);
    tcase_add_test(tests, values_are_taken);
    tcase_add_test(tests, empty_files_are_all_defaults);
    tcase_add_test(tests, overrides);
    tcase_add_test(tests, restart_keys_are_told);
    tcase_add_test(tests, files_that_are_none);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
