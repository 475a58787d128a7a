/*
 * legonet eval: accuracy over labelled pictures, agreement with another model.
 */
#include "agent/cli/commands.h"
#include "agent/cli/evaluate.h"
#include "agent/cli/model.h"
#include "agent/cli/output.h"

struct eval_options {
    const char *cifar10, *images, *inputs, *labels, *against, *preprocess, *compute;
    uint64_t limit, threads;
    bool json;
};

#define OPTION(field_) .offset = offsetof(struct eval_options, field_)

static const struct cli_option OPTIONS[] = {
    {.name = "cifar10",
     .type = CLI_STRING,
     OPTION(cifar10),
     .value = "FILE",
     .help = "images and labels in CIFAR-10's binary format"},
    {.name = "images",
     .type = CLI_STRING,
     OPTION(images),
     .value = "DIR",
     .help = "a folder of pictures, PNG or JPEG; needs --labels or --against"},
    {.name = "inputs",
     .type = CLI_STRING,
     OPTION(inputs),
     .value = "DIR",
     .help = "a folder of inputs as tensors, .pb or .npy; needs --against"},
    {.name = "labels",
     .type = CLI_STRING,
     OPTION(labels),
     .value = "FILE",
     .help = "CSV with the columns file and class (from 0)"},
    {.name = "against",
     .letter = 'a',
     .type = CLI_STRING,
     OPTION(against),
     .value = "MODEL",
     .help = "compare the outputs with this model's, the ONNX one that was compressed"},
    {.name = "preprocess",
     .letter = 'p',
     .type = CLI_STRING,
     OPTION(preprocess),
     .value = "FILE",
     .help = "how a picture becomes the input, instead of what the model says"},
    CLI_COMPUTE(struct eval_options),
    {.name = "limit",
     .letter = 'n',
     .type = CLI_UINT,
     OPTION(limit),
     .value = "N",
     .otherwise = "0",
     .help = "only the first N images, 0: all"},
    {.name = "threads",
     .letter = 't',
     .type = CLI_UINT,
     OPTION(threads),
     .value = "N",
     .otherwise = "0",
     .max = 1024,
     .help = "images that are worked on at once, 0: one a core"},
    {.name = "json",
     .type = CLI_FLAG,
     OPTION(json),
     .help =
         "print JSON: {\"images\", \"top1\", \"top5\", \"agreement\", \"kl\", \"output_error\",\n"
         "\"seconds\"}, shares in percent, null where there is none"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "eval",
    .arguments = "MODEL",
    .about =
        "Runs a model (.onnx or .lego) over pictures, --cifar10 FILE or --images DIR, and prints\n"
        "how good it is. With labels: how many percent are right, the class with the largest\n"
        "output (top-1) and the five largest (top-5); the model's first output counts, after its\n"
        "preprocessing's class_offset. With --against: in how many percent both models have the\n"
        "same class, the mean Kullback-Leibler divergence of their classes' distributions (nats),\n"
        "and the outputs' RMS difference over the reference's RMS.",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 1,
};

static json_t *number(bool holds, double value)
{
    return holds ? cli_json_real(value) : json_null();
}

static int print_result(const struct evaluation *e, bool json)
{
    const bool classes = e->compared && e->classes;
    if (json)
        return cli_print_json(
            SPEC.command,
            json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:f}", "images", (json_int_t)e->images,
                      "top1", number(e->labelled, e->top1), "top5", number(e->labelled, e->top5),
                      "agreement", number(classes, e->agreement), "kl",
                      number(classes, e->divergence), "output_error",
                      number(e->compared, e->output_error), "seconds", e->seconds));
    printf("%zu images:", e->images);
    if (e->labelled)
        printf(" top-1 %.2f %%, top-5 %.2f %%", e->top1, e->top5);
    if (classes)
        printf("%s same class %.2f %%, KL %.4f", e->labelled ? "," : "", e->agreement,
               e->divergence);
    if (e->compared)
        printf("%s output error %.4f", e->labelled || classes ? "," : "", e->output_error);
    printf(" (%.1f s)\n", e->seconds);
    return cli_finish(SPEC.command, CLI_DONE);
}

static int open_dataset(const struct eval_options *options, struct dataset **ret_dataset,
                        struct lego_diag *diag)
{
    if (options->cifar10)
        return dataset_open_cifar10(options->cifar10, ret_dataset, diag);
    if (options->inputs)
        return dataset_open_tensors(options->inputs, ret_dataset, diag);
    return dataset_open_images(options->images, options->labels, ret_dataset, diag);
}

static int run(const struct eval_options *options, const char *path,
               struct evaluation *ret_evaluation, struct lego_diag *diag)
{
    const struct evaluate_options how = {.preprocess = options->preprocess,
                                         .limit = options->limit,
                                         .threads = (uint32_t)options->threads};
    struct lego_model *model = NULL, *reference = NULL;
    struct dataset *dataset = NULL;
    const struct lego_model_options as_filed = {.verify = LEGO_VERIFY_CHECKSUMS};
    struct lego_model_options as_asked = as_filed;
    int status = open_dataset(options, &dataset, diag);

    cli_compute(options->compute, &as_asked.compute);
    if (status == LEGO_OK)
        status = cli_model_open(path, &as_asked, &model, diag);
    if (status == LEGO_OK && options->against)
        status = cli_model_open(options->against, &as_filed, &reference, diag);
    if (status == LEGO_OK)
        status = evaluate_model(model, reference, dataset, &how, ret_evaluation, diag);
    lego_model_close(reference);
    lego_model_close(model);
    dataset_close(dataset);
    return status;
}

static int check_usage(const struct eval_options *options)
{
    enum lego_compute compute;

    if (!cli_compute(options->compute, &compute))
        return cli_usage(&SPEC, "--compute is auto, fp32, fp16 or int8");
    if (!!options->cifar10 + !!options->images + !!options->inputs != 1)
        return cli_usage(&SPEC, "give one of --cifar10 FILE, --images DIR and --inputs DIR");
    if (options->labels && !options->images)
        return cli_usage(&SPEC, "--labels goes with --images");
    if (options->images && !options->labels && !options->against)
        return cli_usage(&SPEC, "--images needs --labels, --against or both");
    if (options->inputs && !options->against)
        return cli_usage(&SPEC, "--inputs needs --against");
    return CLI_GO_ON;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_options options = {0};
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct evaluation evaluation;
    struct cli_list positional = {0};
    int code = cli_parse(&SPEC, argc, argv, &options, &positional);
    if (code != CLI_GO_ON)
        return code;
    code = check_usage(&options);
    if (code == CLI_GO_ON) {
        int status = run(&options, positional.items[0], &evaluation, &diag);
        code = status == LEGO_OK ? print_result(&evaluation, options.json)
                                 : cli_fail_diag(SPEC.command, status, &diag);
    }
    cli_list_clear(&positional);
    return code;
}
