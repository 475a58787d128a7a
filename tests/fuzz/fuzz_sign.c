/*
 * Texts of public keys, and files with signatures. Checksums are put right, as in fuzz_package:
 * what a checksum refuses no signature sees. No file that a fuzzer makes is signed by our key.
 */
#include "codec/format/package.h"
#include "codec/sign/sign.h"
#include "tests/support/container.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_INPUT_BYTES ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A key of which nobody has the secret half; its id is the one in the corpus' signed file. */
static const char key_text[] = "RWSrWBgCxdQKgTPlD40U7SZPLK41hEqqoy8mClan1XRn/nc/+pbAAvx8";

static void take_list(const uint8_t *data, size_t size)
{
    struct sign_public_key *keys = NULL;
    size_t count = 0;
    char *text = strndup((const char *)data, size);
    if (text && sign_public_list(text, &keys, &count, NULL) == LEGO_OK)
        for (size_t i = 0; i < count; i++) {
            struct sign_public_key again;
            const struct sign_public_text printed = sign_public_text(&keys[i]);
            if (sign_public_parse(printed.text, SIGN_PUBLIC_CHARS, &again, NULL) != LEGO_OK ||
                memcmp(&again, &keys[i], sizeof(again)) != 0)
                abort();
        }
    free(keys);
    free(text);
}

static void take_file(const uint8_t *data, size_t size)
{
    struct sign_public_key key;
    struct sign_result result;
    struct lego_package *package = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (sign_public_parse(key_text, SIGN_PUBLIC_CHARS, &key, NULL) != LEGO_OK || fd < 0)
        abort();
    if (write(fd, data, size) == (ssize_t)size &&
        lego_package_open_fd(fd, "fuzz", LEGO_VERIFY_CHECKSUMS, &package, NULL) == LEGO_OK &&
        sign_verify_fd(fd, "fuzz", &key, 1, &result, NULL) == LEGO_OK &&
        result.verdict == SIGN_GOOD)
        abort();
    lego_package_destroy(package);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > MAX_INPUT_BYTES)
        return 0;
    take_list(data, size);
    struct container copy = container_copy(data, size);
    container_mend(copy.data, copy.bytes);
    take_file(copy.data, copy.bytes);
    container_free(&copy);
    return 0;
}
