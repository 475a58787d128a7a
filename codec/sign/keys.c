/* Keys as texts and files, in minisign's formats. */
#include "codec/sign/sign.h"

#include "codec/base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_FILE_BYTES 4096 /* the two lines are far shorter */

/* What the second lines of the files are base64 of. */
struct public_blob {
    uint8_t algorithm[2]; /* "Ed" */
    uint8_t id[SIGN_ID_BYTES];
    uint8_t key[32];
};
_Static_assert(sizeof(struct public_blob) == 42, "minisign's layout");

struct secret_blob {
    uint8_t algorithm[2];       /* "Ed" */
    uint8_t derivation[2];      /* zeros: no password; "Sc": scrypt */
    uint8_t check_algorithm[2]; /* "B2" */
    uint8_t salt[32], operations[8], memory[8];
    uint8_t id[SIGN_ID_BYTES];
    uint8_t key[64];
    uint8_t check[32]; /* of what a password hides; without one zeros */
};
_Static_assert(sizeof(struct secret_blob) == 158, "minisign's layout");

#define SECRET_CHARS ((sizeof(struct secret_blob) + 2) / 3 * 4)

struct sign_id_text sign_id_text(const uint8_t id[SIGN_ID_BYTES])
{
    struct sign_id_text text;
    for (size_t i = 0; i < SIGN_ID_BYTES; i++)
        snprintf(text.text + 2 * i, 3, "%02X", id[SIGN_ID_BYTES - 1 - i]);
    return text;
}

struct sign_public_text sign_public_text(const struct sign_public_key *key)
{
    struct public_blob blob = {.algorithm = "Ed"};
    struct sign_public_text text;
    memcpy(blob.id, key->id, sizeof(blob.id));
    memcpy(blob.key, key->key, sizeof(blob.key));
    sodium_bin2base64(text.text, sizeof(text.text), (const uint8_t *)&blob, sizeof(blob),
                      sodium_base64_VARIANT_ORIGINAL);
    return text;
}

int sign_keys_make(struct sign_secret_key *ret_secret, struct sign_public_key *ret_public,
                   struct lego_diag *diag)
{
    if (sodium_init() < 0)
        return lego_fail(diag, LEGO_E_INTERNAL, "libsodium finds no source of randomness");
    crypto_sign_keypair(ret_public->key, ret_secret->key);
    randombytes_buf(ret_public->id, sizeof(ret_public->id));
    memcpy(ret_secret->id, ret_public->id, sizeof(ret_secret->id));
    return LEGO_OK;
}

/* Decodes exactly `bytes` bytes of base64. */
static bool decode(const char *text, size_t length, void *blob, size_t bytes)
{
    size_t got;
    return sodium_base642bin(blob, bytes, text, length, NULL, &got, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           got == bytes;
}

int sign_public_parse(const char *text, size_t length, struct sign_public_key *ret_key,
                      struct lego_diag *diag)
{
    struct public_blob blob;
    if (length != SIGN_PUBLIC_CHARS || !decode(text, length, &blob, sizeof(blob)) ||
        memcmp(blob.algorithm, "Ed", sizeof(blob.algorithm)) != 0)
        return lego_fail(diag, LEGO_E_FORMAT,
                         "\"%.*s\" is no public key: want the %d characters of a .pub file's "
                         "second line",
                         (int)(length < 64 ? length : 64), text, SIGN_PUBLIC_CHARS);
    memcpy(ret_key->id, blob.id, sizeof(blob.id));
    memcpy(ret_key->key, blob.key, sizeof(blob.key));
    return LEGO_OK;
}

int sign_public_list(const char *text, struct sign_public_key **ret_keys, size_t *ret_count,
                     struct lego_diag *diag)
{
    size_t count = 0, room = strlen(text) / (SIGN_PUBLIC_CHARS + 1) + 1;
    struct sign_public_key *keys = calloc(room, sizeof(*keys));
    int status = keys ? LEGO_OK : lego_fail(diag, LEGO_E_NOMEM, "no memory for public keys");
    while (status == LEGO_OK && *(text += strspn(text, " \t\n"))) {
        size_t length = strcspn(text, " \t\n");
        /* One that is accepted has its full length: there is room for it. */
        struct sign_public_key key;
        status = sign_public_parse(text, length, &key, diag);
        if (status == LEGO_OK)
            keys[count++] = key;
        text += length;
    }
    if (status != LEGO_OK || !ret_keys) {
        free(keys);
    } else {
        *ret_keys = keys;
        *ret_count = count;
    }
    return status;
}

/* The file's second line, the first being a comment; `text` is KEY_FILE_BYTES long. */
static int read_line(const char *path, char *text, const char **ret_line, size_t *ret_length,
                     struct lego_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    ssize_t bytes = read(fd, text, KEY_FILE_BYTES - 1);
    int error = errno;
    close(fd);
    if (bytes < 0)
        return lego_fail_errno(diag, error, "%s", path);
    text[bytes] = '\0';
    const char *line = strchr(text, '\n');
    if (!line || strncmp(text, "untrusted comment:", 18) != 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: no key: it does not begin with a comment's line",
                         path);
    *ret_line = ++line;
    *ret_length = strcspn(line, "\r\n");
    return LEGO_OK;
}

int sign_public_load(const char *path, struct sign_public_key *ret_key, struct lego_diag *diag)
{
    char text[KEY_FILE_BYTES];
    const char *line = NULL;
    size_t length = 0;
    int status = read_line(path, text, &line, &length, diag);
    if (status != LEGO_OK)
        return status;
    status = sign_public_parse(line, length, ret_key, diag);
    return status == LEGO_OK ? status : lego_diag_prefix(diag, status, "%s", path);
}

static int take_secret(const struct secret_blob *blob, const char *path,
                       struct sign_secret_key *ret_key, struct lego_diag *diag)
{
    uint8_t key[sizeof(blob->key)], public[32];
    if (memcmp(blob->algorithm, "Ed", 2) != 0 || memcmp(blob->check_algorithm, "B2", 2) != 0)
        return lego_fail(diag, LEGO_E_FORMAT, "%s: no secret key", path);
    if (blob->derivation[0] || blob->derivation[1])
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "%s: the key has a password; take it off a copy with \"minisign -C -W\"",
                         path);
    crypto_sign_seed_keypair(public, key, blob->key); /* the key begins with its seed */
    bool whole = memcmp(key, blob->key, sizeof(key)) == 0;
    sodium_memzero(key, sizeof(key));
    if (!whole)
        return lego_fail(diag, LEGO_E_CHECKSUM, "%s: the secret key is damaged", path);
    memcpy(ret_key->id, blob->id, sizeof(blob->id));
    memcpy(ret_key->key, blob->key, sizeof(blob->key));
    return LEGO_OK;
}

int sign_secret_load(const char *path, struct sign_secret_key *ret_key, struct lego_diag *diag)
{
    char text[KEY_FILE_BYTES];
    const char *line = NULL;
    size_t length = 0;
    struct secret_blob blob;
    int status = read_line(path, text, &line, &length, diag);
    if (status == LEGO_OK)
        status = length == SECRET_CHARS && decode(line, length, &blob, sizeof(blob))
                     ? take_secret(&blob, path, ret_key, diag)
                     : lego_fail(diag, LEGO_E_FORMAT, "%s: no secret key", path);
    sodium_memzero(text, sizeof(text));
    sodium_memzero(&blob, sizeof(blob));
    return status;
}

static int write_new(const char *path, mode_t mode, const char *text, struct lego_diag *diag)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    size_t bytes = strlen(text);
    int error = 0;
    while (bytes > 0 && error == 0) {
        ssize_t done = write(fd, text, bytes);
        if (done >= 0) {
            text += done;
            bytes -= (size_t)done;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0)
        return LEGO_OK;
    unlink(path);
    return lego_fail_errno(diag, error, "%s", path);
}

int sign_keys_write(const struct sign_secret_key *secret, const struct sign_public_key *public,
                    const char *secret_path, const char *public_path, struct lego_diag *diag)
{
    struct secret_blob blob = {.algorithm = "Ed", .check_algorithm = "B2"};
    char base64[SECRET_CHARS + 1], text[256 + sizeof(base64)];
    const struct sign_id_text id = sign_id_text(public->id);
    memcpy(blob.id, secret->id, sizeof(blob.id));
    memcpy(blob.key, secret->key, sizeof(blob.key));
    sodium_bin2base64(base64, sizeof(base64), (const uint8_t *)&blob, sizeof(blob),
                      sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof(text), "untrusted comment: legonet secret key %s\n%s\n", id.text, base64);
    int status = write_new(secret_path, 0600, text, diag);
    sodium_memzero(&blob, sizeof(blob));
    sodium_memzero(base64, sizeof(base64));
    sodium_memzero(text, sizeof(text));
    if (status != LEGO_OK)
        return status;
    snprintf(text, sizeof(text), "untrusted comment: legonet public key %s\n%s\n", id.text,
             sign_public_text(public).text);
    status = write_new(public_path, 0666, text, diag);
    if (status != LEGO_OK)
        unlink(secret_path);
    return status;
}

void sign_secret_clear(struct sign_secret_key *key)
{
    sodium_memzero(key, sizeof(*key));
}
