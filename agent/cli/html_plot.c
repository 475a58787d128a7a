#include "agent/cli/html_internal.h"

#include "codec/base/half.h"
#include "codec/format/trellis.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define WIDTH      960.0
#define HEIGHT     200.0
#define LEFT       52.0
#define SHADES     16  /* of a brick's values, each side of zero */
#define SHOWN      256 /* bricks of a catalogue */
#define TILE_WIDTH 640.0

void html_plot_bytes(FILE *out, const struct coded *coded)
{
    const uint64_t layers = coded->report.bytes - coded->report.catalogue_bytes;
    const uint64_t rest =
        coded->file_bytes > coded->report.bytes ? coded->file_bytes - coded->report.bytes : 0;
    const struct {
        const char *name, *class;
        uint64_t bytes;
    } parts[] = {{"weights: indices or coded levels, and scales", "c1", layers},
                 {"catalogues or tables", "c2", coded->report.catalogue_bytes},
                 {"graph, biases, labels, self-test", "c3", rest}};
    double x = 0;

    fprintf(out, "<svg viewBox=\"0 0 960 34\" role=\"img\" aria-label=\"where the bytes went\">");
    for (size_t i = 0; i < 3; i++) {
        const double width = WIDTH * (double)parts[i].bytes / (double)coded->file_bytes;

        fprintf(out,
                "<rect class=\"%s\" x=\"%.1f\" y=\"2\" width=\"%.1f\" height=\"30\"><title>%s: "
                "%" PRIu64 " bytes</title></rect>",
                parts[i].class, x, fmax(width, 0.5), parts[i].name, parts[i].bytes);
        x += width;
    }
    fprintf(out, "</svg><ul class=\"key\">");
    for (size_t i = 0; i < 3; i++)
        fprintf(out, "<li><i class=\"%s\"></i>%s: <b>%" PRIu64 "</b> bytes (%.1f %%)</li>",
                parts[i].class, parts[i].name, parts[i].bytes,
                100 * (double)parts[i].bytes / (double)coded->file_bytes);
    fprintf(out, "</ul>");
}

/* Lines at five values from `low` to `high`; `log`: at the powers of ten. */
static void axis(FILE *out, double low, double high, bool log)
{
    const int steps = log ? (int)lround(high - low) : 4;

    for (int i = 0; i <= steps; i++) {
        const double part = (double)i / steps, value = low + part * (high - low);
        const double y = HEIGHT - part * HEIGHT + 10;

        fprintf(out,
                "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/><text x=\"%.0f\" y=\"%.1f\" "
                "text-anchor=\"end\">%.3g</text>",
                LEFT, y, WIDTH, LEFT - 6, y + 4, log ? pow(10, value) : value);
    }
}

static void plot_layers(FILE *out, const struct encode_report *report, bool error)
{
    double low = error ? -6 : 0, high = error ? -6 : 1, x = LEFT;
    const double unit = (WIDTH - LEFT) / (double)(report->weights > 0 ? report->weights : 1);
    const double least = (WIDTH - LEFT) / 600 / report->layer_count;

    for (uint32_t i = 0; i < report->layer_count; i++) {
        const struct encode_layer *l = &report->layers[i];
        const double value = error ? ceil(log10(fmax(l->mse, 1e-6))) : ceil(l->bits_per_weight);

        high = fmax(high, value);
    }
    if (error)
        high = fmax(high, low + 1);
    fprintf(out,
            "<div class=\"plot\"><svg viewBox=\"0 0 960 222\" role=\"img\" aria-label=\"%s of each "
            "layer\">",
            error ? "relative error" : "bits a weight");
    axis(out, low, high, error);
    for (uint32_t i = 0; i < report->layer_count; i++) {
        const struct encode_layer *l = &report->layers[i];
        const double value = error ? log10(fmax(l->mse, 1e-6)) : l->bits_per_weight;
        const double width = fmax(unit * (double)l->weights, least);
        const double height = HEIGHT * (value - low) / (high - low);

        fprintf(out,
                "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"><title>",
                error ? "c2" : "c1", x, HEIGHT - height + 10, width > 2 ? width - 0.6 : width,
                fmax(height, 0.5));
        html_text(out, l->name);
        fprintf(out, ": %.2f bits a weight, relative error %.3g</title></rect>", l->bits_per_weight,
                l->mse);
        x += width;
    }
    fprintf(out, "</svg></div>");
}

void html_plot_layers(FILE *out, const struct encode_report *report)
{
    if (report->layer_count == 0)
        return;
    fprintf(out, "<h3>Bits a weight</h3>");
    plot_layers(out, report, false);
    fprintf(out, "<h3>Relative error of the weights (squared, log scale)</h3>");
    plot_layers(out, report, true);
}

/* One line of the curve: of the prediction, or of what was measured. */
static void plot_line(FILE *out, const struct html_report *r, bool measured, double high,
                      double widest, const char *class)
{
    bool first = true;

    fprintf(out, "<path class=\"line %s\" d=\"", class);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < r->point_count; i++) {
            const struct html_point *p = &r->points[i];
            const double loss = measured                ? r->full.top1 - p->evaluation.top1
                                : p->prediction.classes ? p->prediction.drop
                                                        : p->prediction.error;
            const bool known =
                p->made && (measured ? p->evaluated && p->evaluation.labelled && r->full_evaluated
                                     : p->predicted);
            const double x = LEFT + (WIDTH - LEFT - 12) * p->ratio / widest;
            const double y = HEIGHT + 10 - HEIGHT * fmax(loss, 0) / high;

            if (!known)
                continue;
            if (pass == 0)
                fprintf(out, "%c%.1f %.1f", first ? 'M' : 'L', x, y);
            else
                fprintf(out,
                        "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"><title>%.2f times "
                        "smaller: %.3g</title></circle>",
                        class, x, y, p->ratio, loss);
            first = false;
        }
        if (pass == 0)
            fprintf(out, "\"/>");
    }
}

void html_plot_curve(FILE *out, const struct html_report *r)
{
    double widest = 1, high = 1;
    bool measured = false, classes = true;

    for (size_t i = 0; i < r->point_count; i++) {
        const struct html_point *p = &r->points[i];

        if (!p->made)
            continue;
        widest = fmax(widest, 1.05 * p->ratio);
        if (p->predicted) {
            classes = p->prediction.classes;
            high = fmax(high, classes ? p->prediction.drop : p->prediction.error);
        }
        if (p->evaluated && p->evaluation.labelled && r->full_evaluated) {
            measured = true;
            high = fmax(high, r->full.top1 - p->evaluation.top1);
        }
    }
    high = isfinite(high) ? ceil(high) : 100;
    fprintf(out, "<div class=\"plot\"><svg viewBox=\"0 0 960 240\" role=\"img\" aria-label=\"loss "
                 "against ratio\">");
    axis(out, 0, high, false);
    for (int i = 1; i <= 5; i++)
        fprintf(out, "<text x=\"%.0f\" y=\"232\" text-anchor=\"middle\">%.1fx</text>",
                LEFT + (WIDTH - LEFT - 12) * i / 5 - (i == 5 ? 14 : 0), widest * i / 5);
    plot_line(out, r, false, high, widest, "c1");
    if (measured)
        plot_line(out, r, true, high, widest, "c2");
    fprintf(out, "</svg></div><ul class=\"key\"><li><i class=\"c1\"></i>predicted, %s</li>",
            classes ? "points of accuracy" : "percent RMS of the outputs");
    if (measured)
        fprintf(out,
                "<li><i class=\"c2\"></i>measured, points of top-1 below the full weights</li>");
    fprintf(out, "</ul>");
}

/* Values of `count` tiles [rows][columns], as squares of 2 * SHADES + 1 colours: a path each. */
static void draw_tiles(FILE *out, const float *values, uint32_t count, uint32_t rows,
                       uint32_t columns)
{
    const double cell = columns >= 6 || rows >= 6 ? 5 : 9;
    const double wide = cell * columns + 4, high = cell * rows + 4;
    const uint32_t fit = (uint32_t)fmax(TILE_WIDTH / wide, 1), across = count < fit ? count : fit;
    const uint32_t lines = (count + across - 1) / across;
    const size_t each = (size_t)rows * columns;
    float most = 0;

    for (size_t i = 0; i < count * each; i++)
        most = fmaxf(most, fabsf(values[i]));
    fprintf(out, "<svg class=\"tiles\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\">", wide * across,
            high * lines, wide * across);
    for (int shade = -SHADES; shade <= SHADES; shade++) {
        bool begun = false;

        for (size_t i = 0; i < count * each; i++) {
            const int own = most > 0 ? (int)lroundf(values[i] / most * SHADES) : 0;
            const uint32_t tile = (uint32_t)(i / each), at = (uint32_t)(i % each);

            if (own != shade)
                continue;
            if (!begun)
                fprintf(out, "<path fill=\"%s\" fill-opacity=\"%.3f\" d=\"",
                        shade < 0 ? "#d9480f" : "#1c7ed6",
                        0.06 + 0.94 * abs(shade) / (double)SHADES);
            begun = true;
            fprintf(out, "M%.0f %.0fh%.0fv%.0fh-%.0fz", tile % across * wide + at % columns * cell,
                    tile / across * high + at / columns * cell, cell, cell, cell);
        }
        if (begun)
            fprintf(out, "\"/>");
    }
    fprintf(out, "</svg>");
}

static void draw_catalogue(FILE *out, const struct lego_catalogue *catalogue)
{
    const uint32_t count = catalogue->entries < SHOWN ? catalogue->entries : SHOWN;
    const size_t each = (size_t)catalogue->brick_rows * catalogue->brick_columns;
    float *values = malloc((count * each + 1) * sizeof(*values));

    fprintf(out, "<h3>Catalogue %u: %u bricks of %ux%u</h3>", catalogue->id, catalogue->entries,
            catalogue->brick_rows, catalogue->brick_columns);
    if (count < catalogue->entries)
        fprintf(out, "<p>The first %u of them.</p>", count);
    for (uint32_t i = 0; values && i < count; i++)
        lego_catalogue_entry(catalogue, i, values + i * each);
    /* Kernels of nine or twenty-five taps are squares. */
    const uint32_t side = (uint32_t)lround(sqrt((double)each));
    const bool square = catalogue->brick_rows == 1 && side > 1 && side * side == each;
    if (values)
        draw_tiles(out, values, count, square ? side : catalogue->brick_rows,
                   square ? side : catalogue->brick_columns);
    free(values);
}

static void draw_rotation(FILE *out, const struct lego_rotation *rotation)
{
    const uint32_t taps = rotation->taps, square = taps * taps;
    const uint32_t side = (uint32_t)lround(sqrt((double)taps));
    float *values = malloc((square + 1) * sizeof(*values));

    fprintf(out,
            "<h3>The basis of the kernels</h3><p>Kernels of %u taps are sums of these, the "
            "most frequent first.</p>",
            taps);
    for (uint32_t i = 0; values && i < square; i++)
        values[i] = lego_half_to_float(rotation->matrix[i]);
    if (values)
        draw_tiles(out, values, taps, side * side == taps ? side : 1,
                   side * side == taps ? side : taps);
    free(values);
}

void html_tiles(FILE *out, const struct lego_package *package)
{
    for (uint32_t i = 0; i < package->catalogue_count; i++)
        draw_catalogue(out, &package->catalogues[i]);
    for (uint32_t i = 0; i < package->rotation_count; i++)
        draw_rotation(out, &package->rotations[i]);
    if (package->catalogue_count + package->rotation_count == 0)
        fprintf(out,
                "<p>This codec has no catalogue: each weight is a level of a trellis behind an "
                "entropy coder.</p>");
}
