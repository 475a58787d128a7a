/* Inferences that are kept: what is in the files, the ring's quota, a disk that takes no more. */
#include "tests/agent/harness.h"
#include "tests/agent/models.h"

#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct agent agent;
static char folder[128];

static void set_up(const char *more)
{
    char yaml[512];
    agent_prepare(&agent, "");
    snprintf(folder, sizeof(folder), "%s/capture", agent.folder);
    snprintf(yaml, sizeof(yaml),
             "engines: {threads: 1}\nlimits: {batch: 5000}\ncapture: {folder: %s, %s}\n", folder,
             more);
    agent_write_config(&agent, yaml);
    model_tiny(agent_model(&agent, "tiny.lego"), 1);
    model_tiny(agent_model(&agent, "other.lego"), 2);
}

static void tear_down(void)
{
    wire_expect_alive(&agent);
    agent_stop(&agent);
}

static Legonet__Response *infer(int fd, const char *model, uint32_t seed, uint32_t rows)
{
    size_t bytes;
    uint8_t *frame = wire_infer_frame(model, seed, seed, rows, &bytes);
    wire_send(fd, frame, bytes);
    free(frame);
    Legonet__Response *response = wire_receive(fd);
    ck_assert_ptr_nonnull(response);
    ck_assert_int_eq((int)response->status, 0);
    return response;
}

static void infer_many(const char *model, uint32_t count, uint32_t rows)
{
    int fd = wire_connect(&agent);
    for (uint32_t i = 1; i <= count; i++)
        ipc_response_free(infer(fd, model, i, rows));
    close(fd);
}

static int is_record(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && !strcmp(dot, ".npz");
}

/* How many records there are, what they take, and the path of the last. */
static int count_records(uint64_t *ret_bytes, char *last, size_t last_bytes)
{
    struct dirent **entries;
    uint64_t sum = 0;
    int count = scandir(folder, &entries, is_record, alphasort);
    for (int i = 0; i < count; i++) {
        char path[512];
        struct stat info;
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (stat(path, &info) == 0)
            sum += (uint64_t)info.st_size;
        if (last)
            snprintf(last, last_bytes, "%s", path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (ret_bytes)
        *ret_bytes = sum;
    return count;
}

/* Waits until so many are there, or until the number of those that are has been so for a while. */
static int wait_records(int wanted)
{
    int count = count_records(NULL, NULL, 0);
    for (int i = 0; i < 600 && count < wanted; i++) {
        poll(NULL, 0, 100);
        count = count_records(NULL, NULL, 0);
    }
    return count;
}

/* Member `name` of an archive without compression: where its data begins. */
static const uint8_t *find_member(const uint8_t *data, size_t bytes, const char *name,
                                  size_t *ret_bytes)
{
    size_t at = 0;
    while (at + 30 < bytes && !memcmp(data + at, "PK\x03\x04", 4)) {
        uint32_t size, length = data[at + 26] + 256u * data[at + 27];
        memcpy(&size, data + at + 22, sizeof(size));
        const uint8_t *start = data + at + 30 + length;
        if (strlen(name) == length && !memcmp(data + at + 30, name, length)) {
            *ret_bytes = size;
            return start;
        }
        at += 30 + length + size;
    }
    return NULL;
}

START_TEST(what_was_asked_and_answered_is_kept)
{
    static uint8_t data[1 << 16];
    char path[512];
    float input[3 * TINY_INPUTS];
    size_t bytes;
    set_up("models: nobody tiny");
    agent_start(&agent, true);
    infer_many("other", 3, 1);
    int fd = wire_connect(&agent);
    Legonet__Response *response = infer(fd, "tiny", 7, 3);
    ck_assert_int_eq(wait_records(1), 1);
    count_records(NULL, path, sizeof(path));
    ck_assert_ptr_nonnull(strstr(path, "-tiny.npz"));
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    const uint8_t *member = find_member(data, size, "inputs/x.npy", &bytes);
    ck_assert_ptr_nonnull(member);
    ck_assert_mem_eq(member, "\x93NUMPY\x01\x00", 8);
    ck_assert_ptr_nonnull(memmem(member, bytes, "'shape': (3,16,)", 16));
    wire_infer_input(7, 3, input);
    ck_assert_mem_eq(member + bytes - sizeof(input), input, sizeof(input));
    member = find_member(data, size, "outputs/y.npy", &bytes);
    ck_assert_ptr_nonnull(member);
    const ProtobufCBinaryData *raw = &response->model_infer->raw_output_contents[0];
    ck_assert_mem_eq(member + bytes - raw->len, raw->data, raw->len);
    member = find_member(data, size, "about.json", &bytes);
    ck_assert_ptr_nonnull(member);
    ck_assert_ptr_nonnull(memmem(member, bytes, "{\"model\": \"tiny\", \"version\": \"1\"", 32));
    ck_assert_int_eq(count_records(NULL, NULL, 0), 1);
    ipc_response_free(response);
    close(fd);
    tear_down();
}
END_TEST

/* A hundred records of 13 KiB into 256 KiB: the folder keeps to its quota, the newest stay; a start
 * clears what a crash has left and keeps to a smaller quota. */
START_TEST(the_oldest_go)
{
    uint64_t bytes;
    char first[512], last[512], left[192];
    set_up("quota: 256KiB, rate: 1000");
    agent_start(&agent, true);
    infer_many("tiny", 1, 150);
    ck_assert_int_eq(wait_records(1), 1);
    count_records(NULL, first, sizeof(first));
    for (int i = 0; i < 20; i++) {
        infer_many("tiny", 5, 150);
        count_records(&bytes, last, sizeof(last));
        ck_assert_uint_le(bytes, 256 << 10);
        poll(NULL, 0, 20); /* the writer may be slower than we are; then records are dropped */
    }
    ck_assert_int_ge(wait_records(10), 10);
    ck_assert_int_ne(access(first, F_OK), 0);
    tear_down();
    set_up("quota: 64KiB, rate: 1000");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    snprintf(left, sizeof(left), "%s/.20200101T000000.000000000-00000000-tiny.npz.tmp", folder);
    ck_assert_int_eq(fclose(fopen(left, "w")), 0);
    snprintf(first, sizeof(first), "%s/20200101T000000.000000000-00000000-tiny.npz", folder);
    ck_assert_int_eq(fclose(fopen(first, "w")), 0);
    ck_assert_int_eq(truncate(first, 60 << 10), 0);
    agent_start(&agent, true);
    ck_assert_int_ne(access(left, F_OK), 0);
    ck_assert_int_eq(access(first, F_OK), 0);
    infer_many("tiny", 1, 150);
    for (int i = 0; i < 600 && access(first, F_OK) == 0; i++)
        poll(NULL, 0, 100);
    ck_assert_int_ne(access(first, F_OK), 0);
    tear_down();
}
END_TEST

/* Files may not grow over 64 KiB: larger records are dropped, nothing is left of them, and smaller
 * ones are kept as before. */
START_TEST(a_full_disk_is_survived)
{
    const struct rlimit small = {64 << 10, RLIM_INFINITY};
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    set_up("rate: 1000");
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    agent_start(&agent, true);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    infer_many("tiny", 3, 2000);
    for (int i = 0; i < 600 && !agent_logged(&agent, "an inference is not kept: "); i++)
        poll(NULL, 0, 100);
    ck_assert(agent_logged(&agent, "an inference is not kept: File too large"));
    infer_many("tiny", 1, 1);
    ck_assert_int_eq(wait_records(1), 1);
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, NULL);
    ck_assert_int_eq(count, 3); /* ".", ".." and the small one */
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    tear_down();
}
END_TEST

/* The tiny model's answers are logits of five classes: none is sure to 100 %, some are below. */
START_TEST(only_what_is_unsure)
{
    set_up("models: tiny, confidence: 1, rate: 1000");
    agent_start(&agent, true);
    infer_many("tiny", 20, 1);
    tear_down(); /* five classes: the likeliest has 20 % at least */
    set_up("models: tiny, confidence: 100, rate: 1000");
    agent_start(&agent, true);
    ck_assert_int_eq(count_records(NULL, NULL, 0), 0);
    infer_many("tiny", 5, 1);
    ck_assert_int_ge(wait_records(1), 1);
    tear_down();
}
END_TEST

START_TEST(a_share_is_a_share)
{
    set_up("share: 25, rate: 1000");
    agent_start(&agent, true);
    infer_many("tiny", 40, 1);
    ck_assert_int_eq(wait_records(10), 10);
    poll(NULL, 0, 200);
    ck_assert_int_eq(count_records(NULL, NULL, 0), 10);
    tear_down();
}
END_TEST

START_TEST(a_folder_that_cannot_be_used)
{
    set_up("rate: 1");
    FILE *file = fopen(folder, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    agent_start(&agent, false);
    ck_assert_int_eq(agent_wait(&agent), 1);
    ck_assert(agent_logged(&agent, "capture.folder: "));
    agent_remove(&agent);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("capture");
    TCase *tests = tcase_create("capture");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, what_was_asked_and_answered_is_kept);
    tcase_add_test(tests, the_oldest_go);
    tcase_add_test(tests, a_full_disk_is_survived);
    tcase_add_test(tests, only_what_is_unsure);
    tcase_add_test(tests, a_share_is_a_share);
    tcase_add_test(tests, a_folder_that_cannot_be_used);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
