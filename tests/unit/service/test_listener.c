/* The socket: stale ones are replaced, live ones and other files never. */
#include "agent/service/listener.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static void set_up(void)
{
    snprintf(folder, sizeof(folder), "/tmp/lego-listener-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    unsetenv("LISTEN_FDS");
}

static void tear_down(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void bind_socket(bool listening, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    *ret_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (listening)
        ck_assert_int_eq(listen(*ret_fd, 1), 0);
}

static int open_at(const char *where, uint64_t mode, const char *group,
                   struct listener *ret_listener, struct lego_diag *diag)
{
    const struct listener_place place = {where, group, mode};
    return listeners_open(&place, 1, ret_listener, diag);
}

static void open_fails(const char *where, const char *group, int expected, const char *text)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct listener listener;
    ck_assert_int_eq(open_at(where, 0660, group, &listener, &diag), expected);
    ck_assert_msg(strstr(diag.text, text), "%s", diag.text);
}

START_TEST(a_socket_is_made_with_its_mode_and_removed)
{
    struct listener listener;
    struct stat info;
    ck_assert_int_eq(open_at(path, 0620, "", &listener, NULL), LEGO_OK);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert(S_ISSOCK(info.st_mode));
    ck_assert_uint_eq(info.st_mode & 0777, 0620);
    listener_unlink(&listener);
    ck_assert_int_ne(stat(path, &info), 0);
    listener_close(&listener);
}
END_TEST

START_TEST(a_stale_socket_is_replaced)
{
    int fd;
    struct listener listener;
    bind_socket(true, &fd);
    close(fd);
    ck_assert_int_eq(open_at(path, 0660, "", &listener, NULL), LEGO_OK);
    listener_unlink(&listener);
    listener_close(&listener);
}
END_TEST

START_TEST(a_live_socket_is_not_stolen)
{
    int fd;
    struct stat before, after;
    bind_socket(true, &fd);
    ck_assert_int_eq(stat(path, &before), 0);
    open_fails(path, "", LEGO_E_EXISTS, "another program listens there");
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    close(fd);
}
END_TEST

START_TEST(two_agents_do_not_share)
{
    struct listener listener;
    ck_assert_int_eq(open_at(path, 0660, "", &listener, NULL), LEGO_OK);
    open_fails(path, "", LEGO_E_EXISTS, "another agent serves this socket");
    listener_unlink(&listener);
    listener_close(&listener);
}
END_TEST

START_TEST(other_files_stay)
{
    FILE *file = fopen(path, "w");
    fputs("precious", file);
    fclose(file);
    open_fails(path, "", LEGO_E_EXISTS, "is there and is no socket");
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(info.st_size, 8);
}
END_TEST

START_TEST(bad_paths_and_groups_are_named)
{
    char longest[200];
    memset(longest, 'a', sizeof(longest));
    longest[0] = '/';
    longest[108] = '\0';
    open_fails(longest, "", LEGO_E_LIMIT, "108 bytes long, a socket address takes 107");
    open_fails("/nonexistent/s", "", LEGO_E_NOT_FOUND, "/nonexistent/s.lock");
    open_fails(path, "no-such-group", LEGO_E_NOT_FOUND, "there is no group \"no-such-group\"");
    struct stat info;
    ck_assert_int_ne(stat(path, &info), 0);
}
END_TEST

START_TEST(a_socket_that_was_replaced_is_not_removed)
{
    struct listener listener;
    struct stat info;
    int fd;
    ck_assert_int_eq(open_at(path, 0660, "", &listener, NULL), LEGO_OK);
    /* Made before the old one goes, so that it gets another inode. */
    char other[128];
    snprintf(other, sizeof(other), "%s/other", folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, other, strlen(other));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(rename(other, path), 0);
    listener_unlink(&listener);
    ck_assert_int_eq(stat(path, &info), 0);
    listener_close(&listener);
    close(fd);
}
END_TEST

/* Of two places and three passed sockets: by path, the first that is left, and one that nobody
 * wants. In a process of its own, whose descriptors 3 to 5 are free to be taken. */
START_TEST(passed_sockets_find_their_places)
{
    char second[128];
    snprintf(second, sizeof(second), "%s/second", folder);
    pid_t child = fork();
    if (child == 0) {
        static const char *const names[] = {"unwanted", "second", "left"};
        char number[16];
        for (int i = 0; i < 3; i++) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};
            snprintf(address.sun_path, sizeof(address.sun_path), "%.64s/%s", folder,
                     names[(i + 2) % 3]);
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1) != 0 ||
                dup2(fd, 100 + i) < 0)
                _exit(10);
        }
        for (int i = 0; i < 3; i++) /* left, unwanted, second */
            if (dup2(100 + i, 3 + i) < 0)
                _exit(11);
        snprintf(number, sizeof(number), "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
        setenv("LISTEN_FDS", "3", 1);
        struct listener listeners[2];
        const struct listener_place places[] = {{path, "", 0660}, {second, "", 0660}};
        if (listeners_open(places, 2, listeners, NULL) != LEGO_OK)
            _exit(12);
        bool right = listeners[0].fd == 3 && listeners[1].fd == 5 && listeners[0].lock_fd < 0 &&
                     fcntl(4, F_GETFD) < 0;
        _exit(right ? 0 : 13);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listener");
    TCase *tests = tcase_create("listener");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_socket_is_made_with_its_mode_and_removed);
    tcase_add_test(tests, a_stale_socket_is_replaced);
    tcase_add_test(tests, a_live_socket_is_not_stolen);
    tcase_add_test(tests, two_agents_do_not_share);
    tcase_add_test(tests, other_files_stay);
    tcase_add_test(tests, bad_paths_and_groups_are_named);
    tcase_add_test(tests, a_socket_that_was_replaced_is_not_removed);
    tcase_add_test(tests, passed_sockets_find_their_places);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
