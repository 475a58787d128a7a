/* What systemd is told is sent without waiting, kept while nobody reads, and sent then in order. */
#include "agent/service/notify.h"

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int receiver;

/* A socket of its own, at a path or abstract, as systemd's. */
static void listen_at(bool abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64];
    snprintf(name, sizeof(name), "%s/tmp/legonet-notify-%d", abstract ? "@" : "", (int)getpid());
    size_t length = strlen(name);
    memcpy(address.sun_path, name, length);
    if (abstract)
        address.sun_path[0] = '\0';
    receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(receiver, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ck_assert_int_eq(bind(receiver, (struct sockaddr *)&address, bytes), 0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void stop_listening(void)
{
    close(receiver);
    if (getenv("NOTIFY_SOCKET")[0] == '/')
        unlink(getenv("NOTIFY_SOCKET"));
}

static bool next(char message[512])
{
    ssize_t bytes = recv(receiver, message, 511, MSG_DONTWAIT);
    if (bytes < 0)
        return false;
    message[bytes] = '\0';
    return true;
}

static void expect(const char *text)
{
    char message[512];
    ck_assert_msg(next(message), "no %s", text);
    ck_assert_msg(!strncmp(message, text, strlen(text)), "%s, not %s", message, text);
}

START_TEST(all_is_sent)
{
    char message[512];
    listen_at(_i);
    notify_ready("2 models serve");
    notify_reloading();
    notify_watchdog();
    notify_stopping();
    expect("READY=1\nSTATUS=2 models serve");
    expect("RELOADING=1\nMONOTONIC_USEC=");
    expect("WATCHDOG=1");
    expect("STOPPING=1");
    ck_assert(!next(message));
    stop_listening();
}
END_TEST

/* The kernel bounds how many datagrams wait: far more are told than fit. */
START_TEST(nobody_reads)
{
    char message[512];
    unsigned fed = 0;
    listen_at(false);
    for (int i = 0; i < 5000; i++)
        notify_watchdog();
    notify_reloading();
    notify_ready("at last");
    notify_watchdog(); /* would overtake what is kept */
    while (next(message)) {
        ck_assert_str_eq(message, "WATCHDOG=1");
        fed++;
    }
    ck_assert_uint_gt(fed, 0);
    ck_assert_uint_lt(fed, 5000);
    notify_flush();
    expect("RELOADING=1");
    expect("READY=1\nSTATUS=at last");
    ck_assert(!next(message));
    stop_listening();
}
END_TEST

/* Of more than can be kept the last ones are. */
START_TEST(little_is_kept)
{
    char message[512], last[512] = "";
    listen_at(false);
    for (int i = 0; i < 5000; i++) {
        char status[32];
        snprintf(status, sizeof(status), "%d", i);
        notify_ready(status);
    }
    for (int round = 0; round < 8; round++) {
        while (next(message))
            memcpy(last, message, sizeof(last));
        notify_flush();
    }
    ck_assert_str_eq(last, "READY=1\nSTATUS=4999");
    stop_listening();
}
END_TEST

START_TEST(nobody_is_there)
{
    static const char *const places[] = {"", "/", "@", "relative/path", "/tmp/no/such/socket"};
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        ck_assert_int_eq(setenv("NOTIFY_SOCKET", places[i], 1), 0);
        notify_ready("on");
        notify_watchdog();
    }
    char far[300] = "/";
    memset(far + 1, 'x', sizeof(far) - 2);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", far, 1), 0);
    notify_stopping();
    ck_assert_int_eq(unsetenv("NOTIFY_SOCKET"), 0);
    notify_stopping();
    listen_at(false);
    notify_flush(); /* nothing was kept for it */
    char message[512];
    ck_assert(!next(message));
    stop_listening();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("notify");
    TCase *tests = tcase_create("notify");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, all_is_sent, 0, 2);
    tcase_add_test(tests, nobody_reads);
    tcase_add_test(tests, little_is_kept);
    tcase_add_test(tests, nobody_is_there);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
