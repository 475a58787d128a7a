/*
 * What the parts of the HTML report share: the page (html.c), its plots (html_plot.c).
 */
#ifndef LEGO_CLI_HTML_INTERNAL_H
#define LEGO_CLI_HTML_INTERNAL_H

#include "agent/cli/html.h"

#include <stdio.h>

/* Text with the five characters of markup escaped, control characters shown as a dot. */
void html_text(FILE *out, const char *text);

/* The file's bytes as one bar: weights by layer, catalogues, the rest. */
void html_plot_bytes(FILE *out, const struct coded *coded);

/* Bits a weight and relative error, one bar a layer, as wide as its share of the weights. */
void html_plot_layers(FILE *out, const struct encode_report *report);

/* Predicted loss, and measured where it is known, against the ratio. */
void html_plot_curve(FILE *out, const struct html_report *report);

/* Bricks of the catalogues, or the basis that kernels were rotated by. */
void html_tiles(FILE *out, const struct lego_package *package);

#endif
