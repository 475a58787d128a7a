/*
 * Classifies pictures by the agent: classify MODEL PICTURE...
 *
 *     cc classify.c $(pkg-config --cflags --libs legonet-client) -o classify
 */
#include <legonet_client.h>

#include <stdio.h>

#define TOP 3

static int classify(struct lego_client *client, const struct lego_client_model *model,
                    const char *path, struct lego_diag *diag)
{
    struct lego_client_result *result;
    int status = lego_client_infer_file(client, model, path, TOP, &result, diag);
    if (status != LEGO_OK)
        return status;
    printf("%s (%.2f ms):\n", path, (double)result->compute_ns * 1e-6);
    for (uint32_t i = 0; i < result->class_count; i++)
        printf("    %s %.3f\n", result->classes[i].label, (double)result->classes[i].score);
    lego_client_result_free(result);
    return LEGO_OK;
}

int main(int argc, char **argv)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct lego_client *client = NULL;
    struct lego_client_model *model = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: classify MODEL PICTURE...\n");
        return 2;
    }
    int status = lego_client_connect(NULL, NULL, &client, &diag);
    if (status == LEGO_OK)
        status = lego_client_model_get(client, argv[1], NULL, &model, &diag);
    for (int i = 2; status == LEGO_OK && i < argc; i++)
        status = classify(client, model, argv[i], &diag);
    if (status != LEGO_OK)
        fprintf(stderr, "classify: %s\n", lego_diag_text(&diag, status));
    lego_client_model_free(model);
    lego_client_close(client);
    return status == LEGO_OK ? 0 : 1;
}
