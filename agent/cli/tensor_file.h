/*
 * Files that hold a tensor, or a picture that becomes one.
 */
#ifndef LEGO_CLI_TENSOR_FILE_H
#define LEGO_CLI_TENSOR_FILE_H

#include "agent/picture/picture.h"

/* True where the file's content begins as a PNG or JPEG does. */
bool cli_is_picture(const char *path);

/*
 * Loads one file: a TensorProto (.pb), a numpy array (.npy), or a picture (anything that begins as
 * a PNG or JPEG) brought to a batch of one by `preprocess` (NULL: pictures are refused). The
 * tensor's name and data are malloc'ed: free with import_tensor_clear.
 */
int cli_tensor_load(const char *path, const struct lego_preprocess *preprocess,
                    struct lego_tensor *ret_tensor, struct lego_diag *diag);

#endif
