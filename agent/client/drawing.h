/*
 * Results in the picture that they are of. For the programs and examples of this project: it is no
 * part of the client library.
 */
#ifndef LEGO_CLIENT_DRAWING_H
#define LEGO_CLIENT_DRAWING_H

#include "agent/client/legonet_client.h"
#include "agent/picture/draw.h"

/* Draws the best classes, boxes with their labels and keypoints, masks with a legend, texts, and
 * how long it took. The picture is that which was asked about, of the same size. E_NOMEM: masks are
 * missing. */
int drawing_add(struct lego_picture *picture, const struct lego_client_result *result, double us,
                struct lego_diag *diag);

#endif
