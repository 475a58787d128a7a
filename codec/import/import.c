#include "codec/import/import.h"

#include "codec/base/arena.h"
#include "codec/graph/infer.h"
#include "codec/import/build.h"
#include "codec/import/passes.h"
#include "codec/import/slim.h"

#include <string.h>

#define DEFAULT_LIMIT_BYTES ((size_t)1 << 30)

/* Where the model comes from, for people: kept in the package's metadata. Not the file's name: the
 * same model gives the same bytes. */
static int describe(struct lego_package *package, const Onnx__Model *model, int64_t opset,
                    struct lego_arena *scratch)
{
    const char *producer = model->producer_name ? model->producer_name : "";
    const char *version = model->producer_version ? model->producer_version : "";
    char *text = lego_arena_printf(scratch, "ONNX opset %lld%s%s%s%s", (long long)opset,
                                   *producer ? ", " : "", producer,
                                   *producer && *version ? " " : "", version);
    return text ? lego_package_set_metadata(package, "source", text) : LEGO_E_NOMEM;
}

static int read_model(struct import_builder *builder, struct lego_package *package,
                      const struct import_options *options)
{
    struct lego_diag *diag = builder->diag;
    Onnx__Model *model;
    bool changed = false;
    int status = slim_model(builder->source->model.data, builder->source->model.bytes,
                            builder->scratch, &model, diag);
    if (!status)
        status = import_build(builder, model);
    if (!status && describe(package, model, builder->opset, builder->scratch) != 0)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    names_clear(&builder->values);
    names_clear(&builder->symbols);
    if (!status)
        status = lego_graph_check(builder->graph, diag);
    if (!status)
        status = lego_graph_infer(builder->graph, diag);
    if (options && options->keep_graph)
        return status;
    if (!status)
        status = pass_half(builder->graph, builder->source, &changed, diag);
    if (!status && changed)
        status = lego_graph_infer(builder->graph, diag);
    if (!status)
        status = passes_run(builder->graph, builder->source, false, diag);
    return status;
}

/* Makes the package around a graph of its own limit. */
static int create_package(size_t limit, struct lego_package **ret_package)
{
    struct lego_graph *graph;
    struct lego_package *package;
    int status = lego_graph_create(limit, &graph);
    if (status)
        return status;
    status = lego_package_create(&package);
    if (status) {
        lego_graph_destroy(graph);
        return status;
    }
    lego_graph_destroy(package->graph);
    package->graph = graph;
    *ret_package = package;
    return 0;
}

/* Takes the source, whatever happens. */
static int import_from(struct import_source *source, const struct import_options *options,
                       struct lego_package **ret_package, struct lego_diag *diag)
{
    size_t limit = options && options->limit_bytes ? options->limit_bytes : DEFAULT_LIMIT_BYTES;
    struct lego_package *package = NULL;
    if (create_package(limit, &package) != 0 ||
        lego_graph_adopt(package->graph, source, import_source_close) != 0) {
        import_source_close(source);
        lego_package_destroy(package);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    struct import_builder builder = {.graph = package->graph,
                                     .source = source,
                                     .limit_bytes = limit,
                                     .options = options,
                                     .scratch = lego_arena_create(limit),
                                     .diag = diag};
    int status = builder.scratch ? read_model(&builder, package, options)
                                 : lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    lego_arena_destroy(builder.scratch);
    if (status)
        lego_package_destroy(package);
    else
        *ret_package = package;
    return status;
}

int import_onnx(const char *path, const struct import_options *options,
                struct lego_package **ret_package, struct lego_diag *diag)
{
    struct import_source *source;
    int status = import_source_open(path, &source, diag);
    if (status)
        return status;
    status = import_from(source, options, ret_package, diag);
    return status ? lego_diag_prefix(diag, status, "%s", path) : 0;
}

int import_onnx_memory(const void *data, size_t bytes, const char *name,
                       const struct import_options *options, struct lego_package **ret_package,
                       struct lego_diag *diag)
{
    struct import_source *source;
    if (import_source_memory(data, bytes, &source) != 0)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    int status = import_from(source, options, ret_package, diag);
    return status ? lego_diag_prefix(diag, status, "%s", name) : 0;
}
