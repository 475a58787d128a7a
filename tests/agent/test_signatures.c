/* Whose models serve: policies of signatures, in a real agent, over reloads. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include "codec/sign/sign.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct agent agent;
static struct sign_secret_key secret;
static struct sign_public_key public;

static void write_policy(const char *policy)
{
    char yaml[256];
    snprintf(yaml, sizeof(yaml), "engines: {threads: 1}\nsignatures: {policy: %s, keys: %s}\n",
             policy, sign_public_text(&public).text);
    agent_write_config(&agent, yaml);
}

static void set_up(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!sign_keys_make(&secret, &public, &diag), "%s", diag.text);
    agent_prepare(&agent, "");
    write_policy("require");
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
}

static void sign(const char *name)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    const char *path = agent_model(&agent, name);
    ck_assert_msg(!sign_file(path, path, &secret, &diag), "%s", diag.text);
}

static void tear_down(void)
{
    wire_expect_alive(&agent);
    agent_stop(&agent);
}

static void expect_state(const char *model, const char *state, const char *reason)
{
    char is_state[512], is_reason[512];
    int fd = wire_connect(&agent);
    wire_index(fd, model, is_state, is_reason, sizeof(is_state));
    close(fd);
    ck_assert_str_eq(is_state, state);
    ck_assert_msg(strstr(is_reason, reason) != NULL, "\"%s\" does not say \"%s\"", is_reason,
                  reason);
}

START_TEST(unsigned_models_do_not_serve)
{
    char text[64];
    set_up();
    model_tiny(agent_model(&agent, "nobody.lego"), 2);
    sign("tiny.lego");
    agent_start(&agent, true);
    expect_state("tiny", "READY", "");
    expect_state("nobody", "UNAVAILABLE", "nobody.lego: it is not signed");
    snprintf(text, sizeof(text), "signed by key %s", sign_id_text(public.id).text);
    ck_assert(agent_logged(&agent, text));
    sign("nobody.lego");
    agent_reload(&agent);
    expect_state("nobody", "READY", "");
    tear_down();
}
END_TEST

START_TEST(strangers_do_not_serve)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct sign_secret_key mine = secret;
    struct sign_public_key unused;
    char reason[64];
    set_up();
    sign("tiny.lego");
    mine = secret;
    ck_assert_int_eq(sign_keys_make(&secret, &unused, &diag), LEGO_OK);
    model_tiny(agent_model(&agent, "stranger.lego"), 2);
    sign("stranger.lego");
    snprintf(reason, sizeof(reason), "signed by key %s, which is none of the 1",
             sign_id_text(secret.id).text);
    memcpy(secret.id, mine.id, sizeof(mine.id)); /* another's key under our name */
    model_tiny(agent_model(&agent, "forged.lego"), 2);
    sign("forged.lego");
    agent_start(&agent, true);
    expect_state("tiny", "READY", "");
    expect_state("stranger", "UNAVAILABLE", reason);
    expect_state("forged", "UNAVAILABLE", "does not hold: the file is not what was signed");
    tear_down();
}
END_TEST

/* A new file without a signature does not replace a signed one. */
START_TEST(the_signed_one_goes_on)
{
    set_up();
    sign("tiny.lego");
    agent_start(&agent, true);
    model_tiny(agent_model(&agent, "tiny.lego"), 7);
    agent_reload(&agent);
    expect_state("tiny", "READY", "it is not signed");
    tear_down();
}
END_TEST

START_TEST(policies_change_with_a_reload)
{
    set_up();
    write_policy("off");
    agent_start(&agent, true);
    expect_state("tiny", "READY", "");
    ck_assert(!agent_logged(&agent, "it is not signed"));
    write_policy("warn");
    agent_reload(&agent);
    expect_state("tiny", "READY", "");
    ck_assert(agent_logged(&agent, "<4>") && agent_logged(&agent, "it is not signed"));
    write_policy("require"); /* a reload that one model fails changes nothing */
    agent_reload(&agent);
    expect_state("tiny", "READY", "it is not signed");
    sign("tiny.lego");
    agent_reload(&agent);
    expect_state("tiny", "READY", "");
    ck_assert(agent_logged(&agent, "signed by key"));
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signatures");
    TCase *tests = tcase_create("signatures");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, unsigned_models_do_not_serve);
    tcase_add_test(tests, strangers_do_not_serve);
    tcase_add_test(tests, the_signed_one_goes_on);
    tcase_add_test(tests, policies_change_with_a_reload);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
