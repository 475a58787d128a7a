/*
 * The importer on hostile bytes: the first byte says what the rest is, a model, a TensorProto or a
 * .npy file. What a model imports to must be sound and can be written again.
 */
#include "codec/import/import.h"

#include <stdint.h>
#include <stdlib.h>

#define MAX_INPUT_BYTES ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_failure(int status, const struct lego_diag *diag)
{
    if (diag->status != status || diag->text[0] == '\0')
        abort(); /* every failure has its sentence */
}

static void read_model(const uint8_t *data, size_t bytes, bool keep_graph)
{
    struct import_options options = {.keep_graph = keep_graph, .limit_bytes = (size_t)64 << 20};
    struct lego_package *package = NULL;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = import_onnx_memory(data, bytes, "input", &options, &package, &diag);
    if (status != 0)
        check_failure(status, &diag);
    else if (lego_graph_check(package->graph, &diag) != 0)
        abort();
    lego_package_destroy(package);
}

static void read_tensor(const uint8_t *data, size_t bytes, bool npy)
{
    struct lego_tensor tensor;
    struct lego_diag diag = LEGO_DIAG_INIT;
    int status = npy ? import_npy_memory(data, bytes, &tensor, &diag)
                     : import_tensor_memory(data, bytes, &tensor, &diag);
    if (status != 0)
        check_failure(status, &diag);
    else
        import_tensor_clear(&tensor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1 || bytes > MAX_INPUT_BYTES)
        return 0;
    switch (data[0]) {
    case 'm':
    case 'k':
        read_model(data + 1, bytes - 1, data[0] == 'k');
        break;
    case 't':
    case 'n':
        read_tensor(data + 1, bytes - 1, data[0] == 'n');
        break;
    default:
        break;
    }
    return 0;
}
