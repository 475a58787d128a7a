/*
 * A V4L2 camera: frames in the driver's memory, shared with the agent as dma-bufs where the driver
 * can.
 */
#ifndef LEGO_EXAMPLES_V4L2_H
#define LEGO_EXAMPLES_V4L2_H

#include "agent/client/legonet_client.h"

struct v4l2_camera;

/* Opens "/dev/video0" or the like for YUYV, NV12 or MJPEG, whichever it has, and starts it. */
int v4l2_open(const char *path, struct lego_client *client, struct v4l2_camera **ret_camera,
              struct lego_diag *diag);

/* Waits for a frame and gives the newest one, which stays until the next call; `*ret_dropped` grows
 * by the older ones. `*ret_data` is where it is mapped. */
int v4l2_next(struct v4l2_camera *camera, struct lego_client_frame *ret_frame,
              const void **ret_data, size_t *ret_bytes, uint64_t *ret_dropped,
              struct lego_diag *diag);

void v4l2_close(struct v4l2_camera *camera); /* NULL is ignored */

#endif
