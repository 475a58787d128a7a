/* What a signature covers, how it is made, attached and checked. */
#include "codec/sign/sign.h"

#include "codec/base/arith.h"
#include "codec/base/file_out.h"
#include "codec/base/status.h"
#include "codec/format/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES   ((size_t)64 << 10)
#define DIGEST_BYTES  64
#define ALGORITHM     1u /* Ed25519 of the BLAKE2b-512 that `digest` makes */
#define SIGNED_HEADER offsetof(struct format_header, checksum)

/* Section SIGNATURE. */
struct signature {
    uint64_t algorithm;
    uint8_t id[SIGN_ID_BYTES];
    uint8_t signature[64];
};
_Static_assert(sizeof(struct signature) == 80, "on-disk layout");

/* Header and table of a file as it is or, with `from` where its sections lie now, as it will be. */
struct layout {
    int fd;
    const char *name;
    struct lego_diag *diag;
    struct format_header header;
    struct format_section table[FORMAT_MAX_SECTIONS];
    uint64_t from[FORMAT_MAX_SECTIONS];
    uint8_t *chunk; /* CHUNK_BYTES */
};

static int read_at(const struct layout *layout, void *data, size_t bytes, uint64_t offset)
{
    uint8_t *at = data;
    while (bytes > 0) {
        ssize_t got = pread(layout->fd, at, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lego_fail_errno(layout->diag, errno, "%s", layout->name);
        if (got == 0)
            return lego_fail(layout->diag, LEGO_E_FAULT, "%s: it shrank while it was read",
                             layout->name);
        at += got;
        bytes -= (size_t)got;
        offset += (uint64_t)got;
    }
    return LEGO_OK;
}

static int read_layout(struct layout *layout)
{
    int status = read_at(layout, &layout->header, sizeof(layout->header), 0);
    if (status != LEGO_OK)
        return status;
    uint32_t count = layout->header.section_count;
    if (count < 1 || count > FORMAT_MAX_SECTIONS)
        return lego_fail(layout->diag, LEGO_E_FORMAT, "%s: a table of %" PRIu32 " sections",
                         layout->name, count);
    status = read_at(layout, layout->table, count * sizeof(*layout->table), sizeof(layout->header));
    for (uint32_t i = 0; i < count; i++)
        layout->from[i] = layout->table[i].offset;
    return status;
}

/* Gives all bytes of a section to `take`. */
static int visit_section(const struct layout *layout, uint32_t i,
                         void (*take)(void *context, const void *data, size_t bytes), void *context)
{
    int status = LEGO_OK;
    for (uint64_t at = 0; status == LEGO_OK && at < layout->table[i].bytes;) {
        uint64_t left = layout->table[i].bytes - at;
        size_t some = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        status = read_at(layout, layout->chunk, some, layout->from[i] + at);
        if (status == LEGO_OK)
            take(context, layout->chunk, some);
        at += some;
    }
    return status;
}

static void hash_bytes(void *context, const void *data, size_t bytes)
{
    crypto_generichash_update(context, data, bytes);
}

/* The sections' checksums would not do: they are made to find accidents, not forgeries. */
static int digest(const struct layout *layout, uint8_t ret_digest[DIGEST_BYTES])
{
    static const char domain[16] = "lego signature 1";
    crypto_generichash_state state;
    int status = LEGO_OK;
    crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
    hash_bytes(&state, domain, sizeof(domain));
    hash_bytes(&state, &layout->header, SIGNED_HEADER);
    for (uint32_t i = 0; i < layout->header.section_count; i++) {
        struct format_section entry = layout->table[i];
        if (entry.kind == FORMAT_KIND_SIGNATURE)
            entry.checksum = 0; /* not known before there is a signature */
        hash_bytes(&state, &entry, sizeof(entry));
    }
    for (uint32_t i = 0; status == LEGO_OK && i < layout->header.section_count; i++)
        if (layout->table[i].kind != FORMAT_KIND_SIGNATURE)
            status = visit_section(layout, i, hash_bytes, &state);
    crypto_generichash_final(&state, ret_digest, DIGEST_BYTES);
    return status;
}

static uint64_t align_section(uint64_t offset)
{
    return (offset + FORMAT_SECTION_ALIGN - 1) & ~(uint64_t)(FORMAT_SECTION_ALIGN - 1);
}

/* Lays the file out anew with a signature of our size as its last section. */
static int make_room(struct layout *layout)
{
    struct format_header *header = &layout->header;
    uint32_t count = 0;
    for (uint32_t i = 0; i < header->section_count; i++)
        if (layout->table[i].kind != FORMAT_KIND_SIGNATURE) {
            layout->table[count] = layout->table[i];
            layout->from[count++] = layout->from[i];
        }
    if (count == FORMAT_MAX_SECTIONS)
        return lego_fail(layout->diag, LEGO_E_LIMIT, "%s: there is no room for another section",
                         layout->name);
    layout->table[count++] =
        (struct format_section){.kind = FORMAT_KIND_SIGNATURE, .bytes = sizeof(struct signature)};
    header->section_count = count;
    uint64_t end = sizeof(*header) + count * sizeof(*layout->table);
    for (uint32_t i = 0; i < count; i++) {
        layout->table[i].offset = align_section(end);
        end = layout->table[i].offset + layout->table[i].bytes;
    }
    header->file_bytes = end;
    return LEGO_OK;
}

static int make_signature(const struct layout *layout, const struct sign_secret_key *key,
                          struct signature *ret_signature)
{
    uint8_t hash[DIGEST_BYTES];
    *ret_signature = (struct signature){.algorithm = ALGORITHM};
    memcpy(ret_signature->id, key->id, sizeof(key->id));
    int status = digest(layout, hash);
    if (status == LEGO_OK)
        crypto_sign_detached(ret_signature->signature, NULL, hash, sizeof(hash), key->key);
    return status;
}

static void write_bytes(void *context, const void *data, size_t bytes)
{
    file_out_write(context, data, bytes);
}

static int write_layout(struct layout *layout, const struct signature *signature,
                        struct file_out *out)
{
    static const uint8_t zeros[FORMAT_SECTION_ALIGN];
    struct format_header *header = &layout->header;
    struct format_section *last = &layout->table[header->section_count - 1];
    last->checksum = format_checksum(signature, sizeof(*signature));
    header->checksum = format_header_checksum(header, layout->table);
    uint64_t at = sizeof(*header) + header->section_count * sizeof(*layout->table);
    file_out_write(out, header, sizeof(*header));
    file_out_write(out, layout->table, header->section_count * sizeof(*layout->table));
    int status = LEGO_OK;
    for (uint32_t i = 0; status == LEGO_OK && i < header->section_count; i++) {
        const struct format_section *section = &layout->table[i];
        file_out_write(out, zeros, (size_t)(section->offset - at));
        if (section == last)
            file_out_write(out, signature, sizeof(*signature));
        else
            status = visit_section(layout, i, write_bytes, out);
        at = section->offset + section->bytes;
    }
    return status;
}

static int sign_layout(struct layout *layout, const char *output, const struct sign_secret_key *key)
{
    struct signature signature;
    struct file_out out;
    int status = read_layout(layout);
    if (status == LEGO_OK)
        status = make_room(layout);
    if (status == LEGO_OK)
        status = make_signature(layout, key, &signature);
    if (status == LEGO_OK)
        status = file_out_open(&out, output, layout->diag);
    if (status == LEGO_OK)
        status = file_out_close(&out, write_layout(layout, &signature, &out), layout->diag);
    return status;
}

static int start(struct layout *layout)
{
    if (sodium_init() < 0)
        return lego_fail(layout->diag, LEGO_E_INTERNAL, "libsodium finds no source of randomness");
    layout->chunk = malloc(CHUNK_BYTES);
    return layout->chunk ? LEGO_OK
                         : lego_fail(layout->diag, LEGO_E_NOMEM, "%s: out of memory", layout->name);
}

int sign_file(const char *path, const char *output, const struct sign_secret_key *key,
              struct lego_diag *diag)
{
    struct lego_package *package = NULL;
    struct layout layout = {.name = path, .diag = diag};
    layout.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (layout.fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    int status = lego_package_open_fd(layout.fd, path, LEGO_VERIFY_CHECKSUMS, &package, diag);
    if (status == LEGO_OK)
        status = start(&layout);
    if (status == LEGO_OK)
        status = sign_layout(&layout, output, key);
    free(layout.chunk);
    lego_package_destroy(package);
    close(layout.fd);
    return status;
}

/* The file's signature; algorithm 0 where there is none of a kind that is known. */
static int read_signature(const struct layout *layout, struct signature *ret_signature)
{
    *ret_signature = (struct signature){0};
    for (uint32_t i = 0; i < layout->header.section_count; i++) {
        const struct format_section *section = &layout->table[i];
        if (section->kind != FORMAT_KIND_SIGNATURE || section->bytes != sizeof(*ret_signature))
            continue;
        int status = read_at(layout, ret_signature, sizeof(*ret_signature), section->offset);
        if (status != LEGO_OK)
            return status;
        if (ret_signature->algorithm != ALGORITHM)
            ret_signature->algorithm = 0;
    }
    return LEGO_OK;
}

static int check(const struct layout *layout, const struct signature *signature,
                 const struct sign_public_key *keys, size_t count, enum sign_verdict *ret_verdict)
{
    uint8_t hash[DIGEST_BYTES];
    bool hashed = false;
    *ret_verdict = SIGN_UNKNOWN;
    for (size_t i = 0; i < count && *ret_verdict != SIGN_GOOD; i++) {
        if (memcmp(keys[i].id, signature->id, sizeof(signature->id)) != 0)
            continue;
        int status = hashed ? LEGO_OK : digest(layout, hash);
        if (status != LEGO_OK)
            return status;
        hashed = true;
        *ret_verdict =
            crypto_sign_verify_detached(signature->signature, hash, sizeof(hash), keys[i].key) == 0
                ? SIGN_GOOD
                : SIGN_BAD;
    }
    return LEGO_OK;
}

int sign_verify_fd(int fd, const char *name, const struct sign_public_key *keys, size_t count,
                   struct sign_result *ret_result, struct lego_diag *diag)
{
    struct layout layout = {.fd = fd, .name = name, .diag = diag};
    struct signature signature;
    struct sign_result result = {.verdict = SIGN_NONE};
    int status = start(&layout);
    if (status == LEGO_OK)
        status = read_layout(&layout);
    if (status == LEGO_OK)
        status = read_signature(&layout, &signature);
    if (status == LEGO_OK && signature.algorithm) {
        memcpy(result.id, signature.id, sizeof(result.id));
        status = check(&layout, &signature, keys, count, &result.verdict);
    }
    free(layout.chunk);
    if (status == LEGO_OK)
        *ret_result = result;
    return status;
}
