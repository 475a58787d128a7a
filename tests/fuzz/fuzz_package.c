/*
 * The reader on hostile bytes. Random changes would stop at the checksums, so that each input is
 * opened as it is and then again with its checksums put right; what opens is decoded as its users
 * would.
 */
#include "codec/format/internal.h"
#include "tests/support/container.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUT_BYTES   ((size_t)1 << 20)
#define MAX_DECODED_ELEMS ((size_t)1 << 20)

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    void *memory;
    if (bytes > MAX_INPUT_BYTES || posix_memalign(&memory, FORMAT_SECTION_ALIGN, bytes) != 0)
        return 0;
    memcpy(memory, data, bytes);
    open_once(memory, bytes, LEGO_VERIFY_CHECKSUMS);
    container_mend(memory, bytes);
    open_once(memory, bytes, LEGO_VERIFY_STRUCTURE);
    free(memory);
    return 0;
}
