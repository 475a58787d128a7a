/* Records in their three forms, and that none ever blocks. */
#include "agent/service/log.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[32], socket_path[64];
static int journal, file;

/* stderr becomes a file, and JOURNAL_STREAM says that it is the journal's. */
static void set_up(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    char stream[64];
    snprintf(folder, sizeof(folder), "/tmp/lego-log-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(socket_path, sizeof(socket_path), "%s/journal", folder);
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(journal, (struct sockaddr *)&address, sizeof(address)), 0);
    file = open(folder, O_RDWR | O_TMPFILE, 0600);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(dup2(file, STDERR_FILENO), STDERR_FILENO);
    ck_assert_int_eq(fstat(file, &info), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)info.st_dev, (uintmax_t)info.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open(socket_path);
}

static void tear_down(void)
{
    log_close();
    close(journal);
    unlink(socket_path);
    rmdir(folder);
}

static void expect_file(const char *wanted)
{
    static char text[1 << 17];
    ssize_t bytes = pread(file, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(bytes, 0);
    text[bytes] = '\0';
    ck_assert_msg(strstr(text, wanted) != NULL, "\"%.400s\" lacks \"%s\"", text, wanted);
}

/* The next datagram, false where there is none. */
static bool receive(char *text, size_t bytes)
{
    ssize_t got = recv(journal, text, bytes - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

START_TEST(fields_for_the_journal)
{
    char text[8192];
    const uint32_t uid = 0;
    const struct log_subject subject = {
        .event = "model-loaded", .model = "doors", .version = 7, .pid = 12, .uid = &uid};
    log_about(LOG_LEVEL_WARNING, &subject, "two\nlines, %d", 1);
    ck_assert(receive(text, sizeof(text)));
    ck_assert_str_eq(text, "PRIORITY=4\nSYSLOG_IDENTIFIER=legonetd\nLEGONET_EVENT=model-loaded\n"
                           "LEGONET_MODEL=doors\nLEGONET_VERSION=7\nLEGONET_CLIENT_PID=12\n"
                           "LEGONET_CLIENT_UID=0\nMESSAGE=two?lines, 1\n");
    log_debug("not at this level");
    log_error("plain");
    ck_assert(receive(text, sizeof(text)));
    ck_assert_str_eq(text, "PRIORITY=3\nSYSLOG_IDENTIFIER=legonetd\nMESSAGE=plain\n");
    ck_assert(!receive(text, sizeof(text)));
}
END_TEST

START_TEST(lines_where_the_journal_is_not)
{
    log_set_format(LOG_FORMAT_TEXT);
    log_warning("a line");
    expect_file("<4>a line\n");
    log_set_format(LOG_FORMAT_AUTO);
    setenv("JOURNAL_STREAM", "1:1", 1); /* stderr is something else now */
    log_open(socket_path);
    log_info("another");
    expect_file("<6>another\n");
    close(journal);
    unlink(socket_path);
}
END_TEST

START_TEST(the_journal_goes_away)
{
    close(journal);
    log_info("to whom");
    expect_file("<6>to whom\n");
}
END_TEST

START_TEST(json)
{
    const struct log_subject subject = {.event = "ready", .model = "a"};
    log_set_format(LOG_FORMAT_JSON);
    log_about(LOG_LEVEL_INFO, &subject, "say \"%s\" \\ \xff\x01", "yes");
    expect_file("Z\",\"level\":\"info\",\"event\":\"ready\",\"model\":\"a\","
                "\"message\":\"say \\\"yes\\\" \\\\ ??\"}\n");
    expect_file("{\"time\":\"20");
}
END_TEST

/* Nobody reads: what the socket does not take is dropped, and that is said. */
START_TEST(a_slow_journal_does_not_block)
{
    char text[8192];
    size_t records = 0;
    for (int i = 0; i < 400; i++)
        log_info("record %d", i);
    while (receive(text, sizeof(text)))
        records++;
    ck_assert_uint_gt(records, 0);
    ck_assert_uint_lt(records, 400);
    log_info("after");
    ck_assert(receive(text, sizeof(text)));
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "MESSAGE=%zu log records were dropped\n", 400 - records);
    ck_assert_msg(strstr(text, wanted) != NULL, "\"%s\" lacks \"%s\"", text, wanted);
    ck_assert(receive(text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "MESSAGE=after\n"));
}
END_TEST

START_TEST(a_flood_is_bounded)
{
    static char text[1 << 17];
    size_t lines = 0;
    log_set_format(LOG_FORMAT_TEXT);
    for (int i = 0; i < 100000; i++)
        log_info("r");
    ssize_t bytes = pread(file, text, sizeof(text), 0);
    for (ssize_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    ck_assert_uint_ge(lines, 500);
    ck_assert_uint_lt(lines, 20000); /* 100 a second, however slow the machine */
}
END_TEST

START_TEST(long_records_are_cut)
{
    char text[16384], long_text[9000];
    memset(long_text, '"', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    log_info("%s", long_text);
    ck_assert(receive(text, sizeof(text)));
    ck_assert_uint_lt(strlen(text), 4100);
    log_set_format(LOG_FORMAT_JSON);
    log_info("%s", long_text);
    expect_file("\\\"\\\"\"}\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("log");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, fields_for_the_journal);
    tcase_add_test(tests, lines_where_the_journal_is_not);
    tcase_add_test(tests, the_journal_goes_away);
    tcase_add_test(tests, json);
    tcase_add_test(tests, a_slow_journal_does_not_block);
    tcase_add_test(tests, a_flood_is_bounded);
    tcase_add_test(tests, long_records_are_cut);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
