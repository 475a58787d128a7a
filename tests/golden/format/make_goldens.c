/*
 * Writes the golden files into a folder and prints each one's checksum for goldens.h. To be run
 * once for a version of the container: files of a version never change.
 */
#include "tests/golden/format/goldens.h"

#include "codec/base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static int make(const struct golden *golden, const char *folder)
{
    char path[4096];
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_package *package = golden_package(golden);
    const struct lego_tensor *tensor = &package->graph->tensors[0];
    float *dense = malloc(tensor->bytes);
    snprintf(path, sizeof(path), "%s/%s", folder, golden->name);
    int status = dense ? lego_package_write(package, path, NULL, &diag) : LEGO_E_NOMEM;
    if (status == LEGO_OK) {
        sample_decode(tensor, dense);
        printf("%s 0x%016" PRIx64 "\n", golden->name, XXH3_64bits(dense, tensor->bytes));
    } else {
        fprintf(stderr, "%s\n", lego_diag_text(&diag, status));
    }
    free(dense);
    lego_package_destroy(package);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_goldens FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        if (make(&goldens[i], argv[1]) != LEGO_OK)
            return 1;
    }
    return 0;
}
