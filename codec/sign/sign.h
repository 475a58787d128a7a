/*
 * Signed `.lego` files: Ed25519 (RFC 8032) over a BLAKE2b-512 (RFC 7693) of header, section table
 * and sections; FORMAT.md, section 11. Keys are minisign's (https://jedisct1.github.io/minisign).
 * Any thread.
 */
#ifndef LEGO_SIGN_H
#define LEGO_SIGN_H

#include "codec/base/diag.h"

#include <stddef.h>
#include <stdint.h>

#define SIGN_ID_BYTES     8
#define SIGN_PUBLIC_CHARS 56 /* of a public key's text: base64 of "Ed", id and key */

struct sign_public_key {
    uint8_t id[SIGN_ID_BYTES]; /* chosen at random when the pair was made: a name, no secret */
    uint8_t key[32];
};

struct sign_secret_key {
    uint8_t id[SIGN_ID_BYTES];
    uint8_t key[64];
};

/* An id as minisign shows it, and a public key's text, both with NUL. */
struct sign_id_text {
    char text[2 * SIGN_ID_BYTES + 1];
};
struct sign_public_text {
    char text[SIGN_PUBLIC_CHARS + 1];
};
struct sign_id_text sign_id_text(const uint8_t id[SIGN_ID_BYTES]);
struct sign_public_text sign_public_text(const struct sign_public_key *key);

/* Makes a pair. LEGO_E_INTERNAL where the library has no randomness. */
int sign_keys_make(struct sign_secret_key *ret_secret, struct sign_public_key *ret_public,
                   struct lego_diag *diag);

/* Writes a pair as two new files, the secret one for its owner alone, without a password.
 * LEGO_E_EXISTS where one is there already; then neither is written. */
int sign_keys_write(const struct sign_secret_key *secret, const struct sign_public_key *public,
                    const char *secret_path, const char *public_path, struct lego_diag *diag);

/* Reads a public key's text of `length` characters. LEGO_E_FORMAT. */
int sign_public_parse(const char *text, size_t length, struct sign_public_key *ret_key,
                      struct lego_diag *diag);

/* Reads the files of `legonet keygen` and `minisign -G`. A secret key must have no password
 * (LEGO_E_UNSUPPORTED). LEGO_E_FORMAT, and those of files. */
int sign_public_load(const char *path, struct sign_public_key *ret_key, struct lego_diag *diag);
int sign_secret_load(const char *path, struct sign_secret_key *ret_key, struct lego_diag *diag);

/* Reads texts of public keys with spaces between them; `keys` (malloc'ed) may be NULL where only
 * their soundness is asked for. LEGO_E_FORMAT, LEGO_E_NOMEM. */
int sign_public_list(const char *text, struct sign_public_key **ret_keys, size_t *ret_count,
                     struct lego_diag *diag);

/* Overwrites a secret key. */
void sign_secret_clear(struct sign_secret_key *key);

/*
 * Writes the `.lego` of `path` with a signature as `output`, which may be the same path: it appears
 * whole or not at all. A signature that is there is replaced. Every checksum is verified first.
 * Errors as lego_package_open, and those of writing.
 */
int sign_file(const char *path, const char *output, const struct sign_secret_key *key,
              struct lego_diag *diag);

enum sign_verdict {
    SIGN_NONE,    /* no signature, or none of a kind that is known here */
    SIGN_UNKNOWN, /* by none of the keys */
    SIGN_BAD,     /* by one of the keys, says the file, but it does not hold */
    SIGN_GOOD,
};

struct sign_result {
    enum sign_verdict verdict;
    uint8_t id[SIGN_ID_BYTES]; /* of the key, as the file says; zeros for SIGN_NONE */
};

/*
 * Checks the signature of a file that lego_package_open_fd has taken, reading all of it. `name` is
 * for diags. LEGO_OK with any verdict; LEGO_E_IO, E_FAULT (it shrank), E_FORMAT, E_NOMEM.
 */
int sign_verify_fd(int fd, const char *name, const struct sign_public_key *keys, size_t count,
                   struct sign_result *ret_result, struct lego_diag *diag);

#endif
