#include "agent/cli/html_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char STYLE[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1a1d21;--soft:#5c6670;--line:#dde1e6;"
    "--card:#f6f7f9;--a:#1c7ed6;--b:#e8590c;--c:#868e96}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e7eaed;--soft:#9aa4ae;"
    "--line:#31373d;--card:#1d2125;--a:#4dabf7;--b:#ff922b;--c:#868e96}}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:1040px;padding:24px 20px 60px;"
    "background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}"
    "h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:19px;margin:36px 0 8px}"
    "h3{font-size:15px;margin:18px 0 4px;color:var(--soft)}p{margin:4px 0;color:var(--soft)}"
    ".facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;"
    "margin:20px 0}.facts div{background:var(--card);border:1px solid var(--line);"
    "border-radius:8px;padding:12px}.facts b{display:block;font-size:24px}"
    ".facts span{color:var(--soft);font-size:13px}svg{display:block;width:100%;height:auto}"
    ".plot{overflow-x:auto}.plot "
    "svg{min-width:560px}svg.tiles{max-width:100%;width:auto;margin:6px 0}svg "
    "text{fill:var(--soft);"
    "font:12px system-ui,sans-serif}.grid{stroke:var(--line)}.c1{fill:var(--a)}.c2{fill:var(--b)}"
    ".c3{fill:var(--c)}.line{fill:none;stroke-width:2}.line.c1{stroke:var(--a)}"
    ".line.c2{stroke:var(--b)}.key{list-style:none;margin:6px 0;padding:0;display:flex;"
    "flex-wrap:wrap;gap:4px 20px;font-size:14px;color:var(--soft)}.key i{display:inline-block;"
    "width:11px;height:11px;border-radius:2px;margin-right:6px}.key i.c1{background:var(--a)}"
    ".key i.c2{background:var(--b)}.key i.c3{background:var(--c)}.wide{overflow-x:auto;"
    "max-height:560px;overflow-y:auto;border:1px solid var(--line);border-radius:8px}"
    "table{border-collapse:collapse;width:100%;font-size:14px}th,td{padding:5px 10px;"
    "text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{position:sticky;top:0;background:var(--card);font-weight:600}"
    "th:first-child,td:first-child{text-align:left;max-width:340px;overflow:hidden;"
    "text-overflow:ellipsis}td.why{text-align:left;white-space:normal;color:var(--soft)}";

void html_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;

        if (c == '&')
            fputs("&amp;", out);
        else if (c == '<')
            fputs("&lt;", out);
        else if (c == '>')
            fputs("&gt;", out);
        else if (c == '"')
            fputs("&quot;", out);
        else if (c == '\'')
            fputs("&#39;", out);
        else
            fputc(c < 0x20 || c == 0x7f ? '.' : c, out);
    }
}

static void fact(FILE *out, const char *what, double value, int digits, const char *unit)
{
    fprintf(out, "<div><b>%.*f%s</b><span>%s</span></div>", digits, value, unit, what);
}

static void write_facts(FILE *out, const struct html_report *r)
{
    const struct coded *coded = r->coded;
    const struct html_point *p = r->point_count > 0 ? &r->points[r->point_count - 1] : NULL;

    fprintf(out, "<div class=\"facts\">");
    fact(out, "times smaller", (double)r->coder->original_bytes / (double)coded->file_bytes, 2,
         "x");
    fact(out, "bytes in the file", (double)coded->file_bytes, 0, "");
    fact(out, "bits a weight, everything counted",
         8 * (double)coded->file_bytes / (double)r->coder->original_weights, 2, "");
    if (coded->predicted && coded->prediction.classes) {
        fact(out, "points of accuracy lost, predicted", coded->prediction.drop, 2, "");
        fact(out, "of examples get another class", coded->prediction.changed, 2, " %");
        fact(out, "KL divergence, nats", coded->prediction.divergence, 4, "");
    } else if (coded->predicted) {
        fact(out, "RMS error of the outputs, predicted", coded->prediction.error, 2, " %");
    }
    if (p && p->evaluated && p->evaluation.labelled) {
        fact(out, "top-1, measured", p->evaluation.top1, 2, " %");
        if (r->full_evaluated)
            fact(out, "top-1 of the full weights", r->full.top1, 2, " %");
    } else if (p && p->evaluated) {
        fact(out, "RMS error of the outputs, measured", p->evaluation.output_error, 3, "");
    }
    fprintf(out, "</div>");
}

static void write_calibration(FILE *out, const struct coder *coder, const struct coded *coded)
{
    char text[512];
    uint32_t alone = 0;

    coder_describe(coder, text, sizeof(text));
    fprintf(out, "<p>Codec ");
    html_text(out, coder->options.codec);
    fprintf(out, ", calibrated on ");
    html_text(out, text);
    fprintf(out, ".");
    if (coder->examples && cli_examples_skipped(coder->examples) > 0)
        fprintf(out, " %u files of it could not be used.", cli_examples_skipped(coder->examples));
    if (coder->session && encode_session_unadapted(coder->session) > 0)
        fprintf(out,
                " Layers without a BatchNormalization that would correct synthetic examples: %u.",
                encode_session_unadapted(coder->session));
    for (uint32_t i = 0; coded && i < coded->report.layer_count; i++)
        alone += !coded->report.layers[i].calibrated;
    if (coded && coded->predicted && alone > 0)
        fprintf(out, " Layers coded by themselves, as no calibration reaches them: %u.", alone);
    if (coded && coded->predicted)
        fprintf(out, " Predictions are made on %u examples %s.", coded->prediction.examples,
                coder_predicted_on(coder));
    if (coded && coded->selftest[0]) {
        fprintf(out, " No self-test: ");
        html_text(out, coded->selftest);
        fprintf(out, ".");
    }
    fprintf(out, "</p>");
}

static void write_layers(FILE *out, const struct encode_report *report)
{
    fprintf(out, "<div class=\"wide\"><table><tr><th>layer</th><th>coded as</th><th>weights</th>"
                 "<th>bytes</th><th>bits a weight</th><th>relative error</th><th>calibrated</th>"
                 "</tr>");
    for (uint32_t i = 0; i < report->layer_count; i++) {
        const struct encode_layer *l = &report->layers[i];

        fprintf(out, "<tr><td>");
        html_text(out, l->name);
        fprintf(out, "</td><td>");
        html_text(out, l->format);
        fprintf(out,
                "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%.2f</td><td>%.3g</td>"
                "<td>%s</td></tr>",
                l->weights, l->bytes, l->bits_per_weight, l->mse, l->calibrated ? "yes" : "no");
    }
    fprintf(out, "</table></div>");
}

static void write_points(FILE *out, const struct html_report *r)
{
    fprintf(out, "<div class=\"wide\"><table><tr><th>asked</th><th>ratio</th><th>bytes</th>"
                 "<th>predicted loss</th><th>another class</th><th>KL</th><th>output RMS</th>"
                 "<th>top-1</th></tr>");
    if (r->full_evaluated && r->full.labelled)
        fprintf(out,
                "<tr><td>full weights</td><td>1</td><td>%" PRIu64
                "</td><td>0</td><td>0</td><td>0</td><td>0</td><td>%.2f %%</td></tr>",
                r->coder->original_bytes, r->full.top1);
    for (size_t i = 0; i < r->point_count; i++) {
        const struct html_point *p = &r->points[i];

        fprintf(out, "<tr><td>%.3gx</td>", p->asked);
        if (!p->made) {
            fprintf(out, "<td colspan=\"7\" class=\"why\">not made: ");
            html_text(out, p->why);
            fprintf(out, "</td></tr>");
            continue;
        }
        fprintf(out, "<td>%.2f</td><td>%" PRIu64 "</td>", p->ratio, p->bytes);
        if (p->predicted && p->prediction.classes)
            fprintf(out, "<td>%.2f</td><td>%.2f %%</td><td>%.4f</td><td>%.2f %%</td>",
                    p->prediction.drop, p->prediction.changed, p->prediction.divergence,
                    p->prediction.error);
        else
            fprintf(out, "<td></td><td></td><td></td><td>%.2f %%</td>", p->prediction.error);
        if (p->evaluated && p->evaluation.labelled)
            fprintf(out, "<td>%.2f %%</td></tr>", p->evaluation.top1);
        else
            fprintf(out, "<td></td></tr>");
    }
    fprintf(out, "</table></div>");
}

static void write_page(FILE *out, const struct html_report *r)
{
    const char *slash = strrchr(r->model, '/'), *name = slash ? slash + 1 : r->model;

    fprintf(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                 "name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>");
    html_text(out, name);
    fprintf(out, "</title><style>%s</style></head><body><h1>", STYLE);
    html_text(out, name);
    fprintf(out,
            "</h1><p>Compressed by legonet " LEGONET_VERSION " from %" PRIu64
            " bytes of weights.</p>",
            r->coder->original_bytes);
    if (r->coded)
        write_facts(out, r);
    write_calibration(out, r->coder, r->coded);
    if (r->point_count > 1) {
        fprintf(out, "<h2>Loss against ratio</h2>");
        html_plot_curve(out, r);
        write_points(out, r);
    }
    if (r->coded) {
        fprintf(out, "<h2>Where the bytes went</h2>");
        html_plot_bytes(out, r->coded);
        fprintf(out, "<h2>Layers</h2><p>From the input to the output, each as wide as its share of "
                     "the weights: the area is its bytes.</p>");
        html_plot_layers(out, &r->coded->report);
        fprintf(out, "<h3>All layers</h3>");
        write_layers(out, &r->coded->report);
        fprintf(out, "<h2>Bricks</h2>");
        html_tiles(out, r->coded->package);
    }
    fprintf(out, "</body></html>\n");
}

int html_write(const struct html_report *report, const char *path, struct lego_diag *diag)
{
    char *trial = NULL;

    if (asprintf(&trial, "%s.%d.part", path, (int)getpid()) < 0)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    FILE *out = fopen(trial, "wbe");
    int error = out ? 0 : errno;
    if (out) {
        write_page(out, report);
        if (fflush(out) != 0 || ferror(out))
            error = errno ? errno : EIO;
        if (fclose(out) != 0 && !error)
            error = errno;
        if (!error && rename(trial, path) != 0)
            error = errno;
        if (error)
            unlink(trial);
    }
    free(trial);
    return error ? lego_fail_errno(diag, error, "%s", path) : LEGO_OK;
}
