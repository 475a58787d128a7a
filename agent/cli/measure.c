#include "agent/cli/measure.h"

#include "agent/cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_folder(const char *path, struct dataset **ret_dataset, struct lego_diag *diag)
{
    char *labels = NULL;
    int status;

    if (asprintf(&labels, "%s/labels.csv", path) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    status = access(labels, F_OK) == 0 ? dataset_open_images(path, labels, ret_dataset, diag)
                                       : dataset_open_tensors(path, ret_dataset, diag);
    free(labels);
    return status;
}

static int open_labels(const char *path, struct dataset **ret_dataset, struct lego_diag *diag)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int status = folder ? dataset_open_images(folder, path, ret_dataset, diag)
                        : lego_fail(diag, LEGO_E_NOMEM, "out of memory");

    free(folder);
    return status;
}

int measure_open(struct measure *measure, const char *path, struct lego_diag *diag)
{
    const size_t length = path ? strlen(path) : 0;
    struct stat about;

    if (!path)
        return LEGO_OK;
    if (stat(path, &about) != 0)
        return lego_fail_errno(diag, errno, "%s", path);
    if (S_ISDIR(about.st_mode))
        return open_folder(path, &measure->dataset, diag);
    if (length > 4 && strcmp(path + length - 4, ".csv") == 0)
        return open_labels(path, &measure->dataset, diag);
    return dataset_open_cifar10(path, &measure->dataset, diag);
}

void measure_close(struct measure *measure)
{
    dataset_close(measure->dataset);
    *measure = (struct measure){0};
}

static int evaluate(struct measure *measure, const struct coder *coder, const char *file,
                    struct evaluation *ret_evaluation, struct lego_diag *diag)
{
    const struct evaluate_options options = {.preprocess = coder->options.preprocess,
                                             .threads = coder->options.encode.threads};
    struct lego_model *model = NULL;
    int status = LEGO_OK;

    if (!measure->full_known && dataset_labelled(measure->dataset))
        status =
            evaluate_model(coder->full, NULL, measure->dataset, &options, &measure->full, diag);
    measure->full_known = status == LEGO_OK && dataset_labelled(measure->dataset);
    if (status == LEGO_OK)
        status = lego_model_open(file, NULL, &model, diag);
    if (status == LEGO_OK)
        status =
            evaluate_model(model, coder->full, measure->dataset, &options, ret_evaluation, diag);
    lego_model_close(model);
    return status;
}

int measure_point(struct measure *measure, const struct coder *coder, const struct coded *coded,
                  const char *file, struct html_point *ret_point, struct lego_diag *diag)
{
    const double ratio = (double)coder->original_bytes / (double)coded->file_bytes;
    struct html_point point = {.made = true,
                               .asked = ratio,
                               .bytes = coded->file_bytes,
                               .ratio = ratio,
                               .seconds = coded->seconds,
                               .predicted = coded->predicted,
                               .prediction = coded->prediction};
    int status = LEGO_OK;

    if (measure->dataset) {
        status = evaluate(measure, coder, file, &point.evaluation, diag);
        point.evaluated = status == LEGO_OK;
    }
    if (status == LEGO_OK)
        *ret_point = point;
    return status;
}

static json_t *known(bool holds, double value)
{
    return holds ? cli_json_real(value) : json_null();
}

json_t *measure_json(const struct measure *measure, const struct html_point *point)
{
    const struct evaluation *e = &point->evaluation;
    const bool classes = e->compared && e->classes;

    if (!point->evaluated)
        return json_null();
    return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "images", (json_int_t)e->images, "top1",
                     known(e->labelled, e->top1), "top5", known(e->labelled, e->top5), "full_top1",
                     known(measure->full_known, measure->full.top1), "agreement",
                     known(classes, e->agreement), "kl", known(classes, e->divergence),
                     "output_error", known(e->compared, e->output_error));
}
