/* Keys in minisign's formats, and files that are signed, changed and checked. */
#include "codec/sign/sign.h"

#include "codec/base/status.h"
#include "codec/format/internal.h"
#include "tests/support/container.h"
#include "tests/support/sample.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[32], file[64], other[64];
static struct sign_secret_key secret;
static struct sign_public_key public;

static void set_up(void)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    snprintf(folder, sizeof(folder), "/tmp/lego-sign-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/a.lego", folder);
    snprintf(other, sizeof(other), "%s/b.lego", folder);
    ck_assert_msg(!sign_keys_make(&secret, &public, &diag), "%s", diag.text);
    struct lego_package *package = sample_full();
    ck_assert_msg(!lego_package_write(package, file, NULL, &diag), "%s", diag.text);
    lego_package_destroy(package);
}

static void tear_down(void)
{
    unlink(file);
    unlink(other);
    ck_assert_int_eq(rmdir(folder), 0);
}

static struct container read_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat info;
    ck_assert(fd >= 0 && fstat(fd, &info) == 0);
    uint8_t *data = malloc((size_t)info.st_size);
    ck_assert_int_eq(read(fd, data, (size_t)info.st_size), info.st_size);
    close(fd);
    struct container container = container_copy(data, (size_t)info.st_size);
    free(data);
    return container;
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert(fd >= 0);
    ck_assert_int_eq(write(fd, data, bytes), (ssize_t)bytes);
    close(fd);
}

static void sign(const char *from, const char *to)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_msg(!sign_file(from, to, &secret, &diag), "%s", diag.text);
}

/* What opens and is whole is judged; *ret_verdict is untouched where it does not open. */
static int judge(const char *path, const struct sign_public_key *keys, size_t count,
                 enum sign_verdict *ret_verdict)
{
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct sign_result result;
    int fd = open(path, O_RDONLY);
    ck_assert(fd >= 0);
    int status = lego_package_open_fd(fd, path, LEGO_VERIFY_CHECKSUMS, &package, &diag);
    if (status == LEGO_OK)
        status = sign_verify_fd(fd, path, keys, count, &result, &diag);
    lego_package_destroy(package);
    close(fd);
    if (status == LEGO_OK)
        *ret_verdict = result.verdict;
    return status;
}

static void expect(const char *path, const struct sign_public_key *keys, size_t count,
                   enum sign_verdict wanted)
{
    enum sign_verdict verdict = SIGN_NONE;
    ck_assert_int_eq(judge(path, keys, count, &verdict), LEGO_OK);
    ck_assert_int_eq(verdict, wanted);
}

START_TEST(signed_files_hold)
{
    struct sign_secret_key unused;
    struct sign_public_key keys[2];
    struct lego_diag diag = LEGO_DIAG_INIT;
    ck_assert_int_eq(sign_keys_make(&unused, &keys[0], &diag), LEGO_OK);
    keys[1] = public;
    expect(file, keys, 2, SIGN_NONE); /* the sample's section SIGNATURE is of no known kind */
    sign(file, other);
    expect(file, keys, 2, SIGN_NONE);
    expect(other, keys, 2, SIGN_GOOD);
    expect(other, keys, 1, SIGN_UNKNOWN);
    expect(other, NULL, 0, SIGN_UNKNOWN);
    memcpy(keys[0].id, public.id, sizeof(public.id)); /* ids may collide */
    expect(other, keys, 1, SIGN_BAD);
    expect(other, keys, 2, SIGN_GOOD);
}
END_TEST

/* Signing again, in place, gives the same bytes: Ed25519 is deterministic. */
START_TEST(signing_is_stable)
{
    sign(file, other);
    struct container once = read_file(other);
    sign(other, other);
    struct container twice = read_file(other);
    ck_assert_uint_eq(once.bytes, twice.bytes);
    ck_assert_mem_eq(once.data, twice.data, once.bytes);
    container_free(&once);
    container_free(&twice);
}
END_TEST

/* What was in the file is in the signed one, section by section. */
START_TEST(sections_are_kept)
{
    sign(file, other);
    struct container before = read_file(file), after = read_file(other);
    for (unsigned kind = 1; kind < FORMAT_KIND_COUNT; kind++) {
        size_t a_bytes = 0, b_bytes = 0;
        const uint8_t *a = container_section(&before, format_kinds[kind].name, &a_bytes);
        const uint8_t *b = container_section(&after, format_kinds[kind].name, &b_bytes);
        if (kind == FORMAT_KIND_SIGNATURE)
            continue;
        ck_assert_int_eq(a != NULL, b != NULL);
        ck_assert_uint_eq(a_bytes, b_bytes);
        if (a)
            ck_assert_mem_eq(a, b, a_bytes);
    }
    container_free(&before);
    container_free(&after);
}
END_TEST

/* Bytes of the file changed, every one of header, table and signature, all checksums made right
 * again: nothing passes as signed. */
START_TEST(no_change_passes)
{
    sign(file, other);
    struct container whole = read_file(other);
    size_t bad = 0, tried = 0;
    const size_t head = 1024, tail = whole.bytes - 256;
    for (size_t i = 0; i < whole.bytes; i += i < head || i >= tail ? 1 : 13) {
        struct container changed = container_copy(whole.data, whole.bytes);
        changed.data[i] ^= 1;
        container_mend(changed.data, changed.bytes);
        if (memcmp(changed.data, whole.data, whole.bytes) != 0) {
            enum sign_verdict verdict = SIGN_BAD;
            write_file(other, changed.data, changed.bytes);
            if (judge(other, &public, 1, &verdict) == LEGO_OK)
                bad += verdict == SIGN_BAD;
            tried++;
            ck_assert_msg(verdict != SIGN_GOOD, "byte %zu changed and the signature holds", i);
        }
        container_free(&changed);
    }
    ck_assert_uint_gt(bad, tried / 4); /* that many changes were the signature's to find */
    container_free(&whole);
}
END_TEST

START_TEST(pairs_of_files)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct sign_secret_key secret_again;
    struct sign_public_key public_again;
    struct stat info;
    ck_assert_msg(!sign_keys_write(&secret, &public, other, file, &diag) ||
                      strstr(diag.text, file) != NULL,
                  "%s", diag.text);
    ck_assert_int_ne(access(other, F_OK), 0); /* the second was there: neither is written */
    unlink(file);
    ck_assert_msg(!sign_keys_write(&secret, &public, other, file, &diag), "%s", diag.text);
    ck_assert_int_eq(stat(other, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0600);
    ck_assert_int_eq(sign_secret_load(other, &secret_again, &diag), LEGO_OK);
    ck_assert_int_eq(sign_public_load(file, &public_again, &diag), LEGO_OK);
    ck_assert_mem_eq(&secret, &secret_again, sizeof(secret));
    ck_assert_mem_eq(&public, &public_again, sizeof(public));
    ck_assert_int_eq(sign_secret_load(file, &secret_again, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(sign_public_load(other, &public_again, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(sign_public_load("/nowhere", &public_again, &diag), LEGO_E_NOT_FOUND);
}
END_TEST

/* A pair that `minisign -G -W` (0.11) has made, and one with a password. */
static const char minisign_public[] = "RWSrWBgCxdQKgTPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbAAvx8";
static const char minisign_secret[] =
    "untrusted comment: minisign encrypted secret key\n"
    "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAq1gYAsXUCoHJOmc8KGRZ"
    "0mj5W36y2EBO9ZVKaqHJN2/u5cFheG1EezPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbAAvx8AAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

START_TEST(keys_of_minisign)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct sign_public_key key;
    ck_assert_int_eq(sign_public_parse(minisign_public, SIGN_PUBLIC_CHARS, &key, &diag), LEGO_OK);
    ck_assert_str_eq(sign_id_text(key.id).text, "810AD4C5021858AB");
    ck_assert_str_eq(sign_public_text(&key).text, minisign_public);
    write_file(other, minisign_secret, sizeof(minisign_secret) - 1);
    ck_assert_msg(!sign_secret_load(other, &secret, &diag), "%s", diag.text);
    sign(file, file);
    expect(file, &key, 1, SIGN_GOOD);

    char text[sizeof(minisign_secret)];
    memcpy(text, minisign_secret, sizeof(text));
    char *key_text = strchr(text, '\n') + 1;
    memcpy(key_text, "RWRTY0Iy", 8); /* "Sc": derived from a password */
    write_file(other, text, sizeof(text) - 1);
    ck_assert_int_eq(sign_secret_load(other, &secret, &diag), LEGO_E_UNSUPPORTED);
    memcpy(text, minisign_secret, sizeof(text));
    key_text[120] = key_text[120] == 'A' ? 'B' : 'A';
    write_file(other, text, sizeof(text) - 1);
    ck_assert_int_eq(sign_secret_load(other, &secret, &diag), LEGO_E_CHECKSUM);
}
END_TEST

START_TEST(lists_of_keys)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct sign_public_key *keys = NULL;
    size_t count = 0;
    char text[256];
    snprintf(text, sizeof(text), " %s  %s\n", minisign_public, sign_public_text(&public).text);
    ck_assert_int_eq(sign_public_list(text, &keys, &count, &diag), LEGO_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_mem_eq(&keys[1], &public, sizeof(public));
    free(keys);
    ck_assert_int_eq(sign_public_list("", &keys, &count, &diag), LEGO_OK);
    ck_assert_uint_eq(count, 0);
    free(keys);
    static const char *const wrong[] = {"a",
                                        "RWSrWBgC xdQKgTPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbA",
                                        "XXSrWBgCxdQKgTPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbAAvx8",
                                        "RWSrWBgCxdQKgTPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbAAvx!"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        ck_assert_int_eq(sign_public_list(wrong[i], NULL, NULL, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(sign_public_list(minisign_public, NULL, NULL, &diag), LEGO_OK);
}
END_TEST

START_TEST(what_cannot_be_signed)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    write_file(other, "no model", 8);
    ck_assert_int_eq(sign_file(other, other, &secret, &diag), LEGO_E_FORMAT);
    ck_assert_int_eq(sign_file("/nowhere", other, &secret, &diag), LEGO_E_NOT_FOUND);
    ck_assert_int_eq(sign_file(file, "/nowhere/a", &secret, &diag), LEGO_E_NOT_FOUND);
    struct container whole = read_file(file);
    whole.data[whole.bytes - 1] ^= 1;
    write_file(file, whole.data, whole.bytes);
    ck_assert_int_eq(sign_file(file, other, &secret, &diag), LEGO_E_CHECKSUM);
    container_free(&whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sign");
    TCase *tests = tcase_create("sign");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, signed_files_hold);
    tcase_add_test(tests, signing_is_stable);
    tcase_add_test(tests, sections_are_kept);
    tcase_add_test(tests, no_change_passes);
    tcase_add_test(tests, pairs_of_files);
    tcase_add_test(tests, keys_of_minisign);
    tcase_add_test(tests, lists_of_keys);
    tcase_add_test(tests, what_cannot_be_signed);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
