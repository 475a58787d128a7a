/*
 * The reader on hostile bytes. Random changes would stop at the checksums, so that each input is
 * opened as it is and then again with its checksums put right; what opens is decoded as its users
 * would. Squeezed sections that claim many bytes are made to claim fewer: legal, but their decoder
 * is slow, and with a few such inputs all of a fuzzer's time goes there.
 */
#include "codec/base/arith.h"
#include "codec/format/internal.h"
#include "codec/format/squeeze.h"
#include "tests/support/container.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUT_BYTES   ((size_t)1 << 20)
#define MAX_DECODED_ELEMS ((size_t)1 << 20)
#define MAX_CLAIM_BYTES   8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void decode(const struct lego_package *package)
{
    const struct lego_graph *graph = package->graph;
    for (uint32_t i = 0; i < graph->tensor_count; i++) {
        const struct lego_tensor *tensor = &graph->tensors[i];
        size_t elems = tensor->bytes / sizeof(float);
        if (!tensor->coded || elems > MAX_DECODED_ELEMS)
            continue;
        float *dense = malloc(tensor->bytes);
        if (dense && lego_coded_decode(tensor, dense, elems, NULL) != 0)
            abort();
        free(dense);
    }
}

static void open_once(const uint8_t *data, size_t bytes, enum lego_verify verify)
{
    struct lego_package *package;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = lego_package_open_memory(data, bytes, verify, &package, &diag);
    if (status != LEGO_OK) {
        if (diag.status != status || diag.text[0] == '\0')
            abort(); /* every failure has its sentence */
        return;
    }
    decode(package);
    lego_package_destroy(package);
}

/* What is over the limit stays so. */
static void bound_claims(uint8_t *data, size_t bytes)
{
    struct format_header header;
    struct format_section section;
    if (bytes < sizeof(header))
        return;
    memcpy(&header, data, sizeof(header));
    for (uint32_t i = 0; i < header.section_count; i++) {
        size_t at = sizeof(header) + i * sizeof(section);
        if (at > bytes - lego_min_size(bytes, sizeof(section)))
            return;
        memcpy(&section, data + at, sizeof(section));
        uint32_t claim;
        if (!(section.flags & FORMAT_SECTION_SQUEEZED) || section.offset > bytes ||
            bytes - section.offset < sizeof(claim))
            continue;
        memcpy(&claim, data + section.offset, sizeof(claim));
        if (claim <= SQUEEZE_MAX_BYTES)
            claim %= MAX_CLAIM_BYTES;
        memcpy(data + section.offset, &claim, sizeof(claim));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    void *memory;
    if (bytes > MAX_INPUT_BYTES || posix_memalign(&memory, FORMAT_SECTION_ALIGN, bytes) != 0)
        return 0;
    memcpy(memory, data, bytes);
    bound_claims(memory, bytes);
    open_once(memory, bytes, LEGO_VERIFY_CHECKSUMS);
    container_mend(memory, bytes);
    open_once(memory, bytes, LEGO_VERIFY_STRUCTURE);
    free(memory);
    return 0;
}
