/*
 * Examples for eval: a CIFAR-10 binary file, a folder of pictures with or without a CSV of labels,
 * or a folder of tensors.
 */
#ifndef LEGO_CLI_DATASET_H
#define LEGO_CLI_DATASET_H

#include "agent/picture/picture.h"
#include "codec/graph/graph.h"

struct dataset;

/* Opens the CIFAR-10 binary format: for each image a label byte and 3,072 bytes, 32x32, R, G, B
 * planes. E_FORMAT where the size is no multiple of that or a label is over 9. */
int dataset_open_cifar10(const char *path, struct dataset **ret_dataset, struct lego_diag *diag);

/*
 * Opens a folder of pictures with a CSV file: a header line that names the columns `file` (relative
 * to the folder; where there is none such, its last part is) and `class` (from 0) among any others;
 * without a header they are the first two. `labels` NULL: all PNG and JPEG files of the folder, by
 * name, without classes.
 */
int dataset_open_images(const char *folder, const char *labels, struct dataset **ret_dataset,
                        struct lego_diag *diag);

/*
 * Opens a folder of inputs: its .npy and .pb files, by name, but for those whose names begin with
 * "output"; where there is none, input_0.pb of its folders test_data_set_*, as ONNX lays tests out.
 */
int dataset_open_tensors(const char *folder, struct dataset **ret_dataset, struct lego_diag *diag);

void dataset_close(struct dataset *dataset);

size_t dataset_count(const struct dataset *dataset);

/* Name of image `index` for messages: its path, or "FILE image 17". Valid until `buffer` changes.
 */
const char *dataset_name(const struct dataset *dataset, size_t index, char *buffer, size_t bytes);

/* True where examples are tensors (dataset_tensor), not pictures (dataset_picture). */
bool dataset_holds_tensors(const struct dataset *dataset);

/* True where images have classes. */
bool dataset_labelled(const struct dataset *dataset);

/* The class of image `index` < dataset_count of a labelled set. */
uint32_t dataset_class(const struct dataset *dataset, size_t index);

/* Decodes image `index`; picture_clear frees it. Any number of threads at once. */
int dataset_picture(const struct dataset *dataset, size_t index, struct lego_picture *ret_picture,
                    struct lego_diag *diag);

/* Loads tensor `index`; import_tensor_clear frees it. Any number of threads at once. */
int dataset_tensor(const struct dataset *dataset, size_t index, struct lego_tensor *ret_tensor,
                   struct lego_diag *diag);

#endif
