/*
 * Tensors in files of their own: TensorProto (.pb).
 */
#include "codec/base/file_out.h"
#include "codec/import/import.h"
#include "codec/import/tensor.h"
#include "codec/import/wire_out.h"

#include <stdlib.h>
#include <string.h>

void import_tensor_clear(struct lego_tensor *tensor)
{
    free((void *)(uintptr_t)tensor->name);
    free((void *)(uintptr_t)tensor->data);
    *tensor = (struct lego_tensor){0};
}

int import_tensor_memory(const void *data, size_t bytes, struct lego_tensor *ret_tensor,
                         struct lego_diag *diag)
{
    enum { ALIGN = 64 };
    struct import_tensor parsed;
    int status = import_tensor_parse(data, bytes, &parsed, diag);
    if (status)
        return status;
    if (parsed.external)
        return lego_fail(diag, LEGO_E_UNSUPPORTED, "a tensor file with external data");
    if (!parsed.raw && parsed.elems > bytes)
        return lego_fail(diag, LEGO_E_FORMAT, "it has fewer elements than its shape says");
    struct lego_tensor tensor = {
        .name = strndup(parsed.name ? parsed.name : "", parsed.name_bytes),
        .dtype = parsed.dtype,
        .shape = parsed.shape,
        .bytes = parsed.bytes,
    };
    /* The size is bounded by the file's by now: rounding up cannot overflow. */
    void *content = aligned_alloc(ALIGN, (parsed.bytes + ALIGN) / ALIGN * ALIGN);
    tensor.data = content;
    if (!tensor.name || !content)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    else if (parsed.raw)
        memcpy(content, parsed.raw, parsed.bytes);
    else
        status = import_tensor_typed(&parsed, content, diag);
    if (status)
        import_tensor_clear(&tensor);
    else
        *ret_tensor = tensor;
    return status;
}

int import_tensor_pb(const char *path, struct lego_tensor *ret_tensor, struct lego_diag *diag)
{
    struct import_file file;
    int status = import_file_open(path, &file, diag);
    if (status)
        return status;
    if (file.bytes == 0)
        status = lego_fail(diag, LEGO_E_FORMAT, "%s: the file is empty", path);
    else if ((status = import_tensor_memory(file.data, file.bytes, ret_tensor, diag)) != 0)
        lego_diag_prefix(diag, status, "%s", path);
    import_file_close(&file);
    return status;
}

int export_tensor_pb(const char *path, const struct lego_tensor *tensor, struct lego_diag *diag)
{
    if (tensor->coded || (!tensor->data && tensor->bytes))
        return lego_fail(diag, LEGO_E_INVALID, "tensor '%s' is not dense", tensor->name);
    struct wire_out head = {0};
    for (int i = 0; i < tensor->shape.rank; i++)
        wire_put_int(&head, TENSOR_DIMS, tensor->shape.dim[i]);
    wire_put_int(&head, TENSOR_DATA_TYPE, tensor->dtype);
    if (tensor->name && *tensor->name)
        wire_put_text(&head, TENSOR_NAME, tensor->name);
    wire_put_header(&head, TENSOR_RAW, tensor->bytes);
    struct file_out out;
    int status = head.failed ? lego_fail(diag, LEGO_E_NOMEM, "out of memory")
                             : file_out_open(&out, path, diag);
    if (!status) {
        file_out_write(&out, head.data, head.bytes);
        file_out_write(&out, tensor->data, tensor->bytes);
        status = file_out_close(&out, 0, diag);
    }
    wire_out_clear(&head);
    return status;
}
