#include "codec/import/import.h"

#include "codec/base/arena.h"
#include "codec/graph/infer.h"
#include "codec/import/build.h"
#include "codec/import/passes.h"
#include "codec/import/slim.h"

#include <string.h>

#define DEFAULT_LIMIT_BYTES ((size_t)1 << 30)

static int read_model(struct import_source *source, struct lego_graph *graph,
                      const struct import_options *options, struct lego_diag *diag)
{
    size_t limit = options && options->limit_bytes ? options->limit_bytes : DEFAULT_LIMIT_BYTES;
    struct lego_arena *scratch = lego_arena_create(limit);
    if (!scratch)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    struct import_builder builder = {
        .graph = graph, .source = source, .scratch = scratch, .diag = diag};
    Onnx__Model *model;
    int status = slim_model(source->model.data, source->model.bytes, scratch, &model, diag);
    if (!status)
        status = import_build(&builder, model);
    names_clear(&builder.values);
    names_clear(&builder.symbols);
    lego_arena_destroy(scratch);
    if (!status)
        status = lego_graph_check(graph, diag);
    if (!status)
        status = lego_graph_infer(graph, diag);
    if (!status && !(options && options->keep_graph))
        status = passes_run(graph, source, diag);
    return status;
}

/* Takes the source, whatever happens. */
static int import_from(struct import_source *source, const struct import_options *options,
                       struct lego_package **ret_package, struct lego_diag *diag)
{
    size_t limit = options && options->limit_bytes ? options->limit_bytes : DEFAULT_LIMIT_BYTES;
    struct lego_graph *graph = NULL;
    struct lego_package *package = NULL;
    if (lego_graph_create(limit, &graph) != 0 ||
        lego_graph_adopt(graph, source, import_source_close) != 0) {
        import_source_close(source);
        lego_graph_destroy(graph);
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    }
    int status = read_model(source, graph, options, diag);
    if (!status && lego_package_create(&package) != 0)
        status = lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    if (status) {
        lego_graph_destroy(graph);
        return status;
    }
    lego_graph_destroy(package->graph);
    package->graph = graph;
    *ret_package = package;
    return 0;
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
