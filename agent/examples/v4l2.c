#include "agent/examples/v4l2.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFERS    4
#define WIDTH      640
#define HEIGHT     480
#define TIMEOUT_MS 5000

struct buffer {
    void *memory;
    size_t bytes;
    char region[16]; /* "" where the driver exports no dma-buf */
};

struct v4l2_camera {
    const char *path;
    int fd;
    struct v4l2_pix_format format;
    struct buffer buffers[BUFFERS];
    uint32_t buffer_count;
    int held; /* the buffer that was given; -1: none */
};

static int call(int fd, unsigned long request, void *argument)
{
    int status;
    do
        status = ioctl(fd, request, argument);
    while (status < 0 && errno == EINTR);
    return status;
}

static int set_format(struct v4l2_camera *camera, struct lego_diag *diag)
{
    static const uint32_t known[] = {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_MJPEG};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
        format.fmt.pix.width = WIDTH;
        format.fmt.pix.height = HEIGHT;
        format.fmt.pix.pixelformat = known[i];
        if (call(camera->fd, VIDIOC_S_FMT, &format) == 0 &&
            format.fmt.pix.pixelformat == known[i]) {
            camera->format = format.fmt.pix;
            return LEGO_OK;
        }
    }
    struct v4l2_capability can = {0};
    if (call(camera->fd, VIDIOC_QUERYCAP, &can) == 0 &&
        (can.device_caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE))
        return lego_fail(diag, LEGO_E_UNSUPPORTED,
                         "%s captures by V4L2's multi-planar interface alone, which this example "
                         "does not use",
                         camera->path);
    return lego_fail(diag, LEGO_E_UNSUPPORTED, "%s captures neither YUYV nor NV12 nor MJPEG",
                     camera->path);
}

/* Shares a buffer with the agent, which then reads it where it is; without, frames are sent. */
static void share(struct v4l2_camera *camera, uint32_t index, struct lego_client *client)
{
    struct v4l2_exportbuffer dma = {
        .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .index = index, .flags = O_RDONLY | O_CLOEXEC};
    struct buffer *buffer = &camera->buffers[index];
    if (call(camera->fd, VIDIOC_EXPBUF, &dma) != 0)
        return;
    snprintf(buffer->region, sizeof(buffer->region), "camera%u", index);
    if (lego_client_region_register(client, buffer->region, dma.fd, 0, false, NULL) != LEGO_OK)
        buffer->region[0] = '\0';
    close(dma.fd);
}

static int map_buffers(struct v4l2_camera *camera, struct lego_client *client,
                       struct lego_diag *diag)
{
    struct v4l2_requestbuffers request = {
        .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (call(camera->fd, VIDIOC_REQBUFS, &request) != 0 || request.count == 0)
        return lego_fail_errno(diag, errno, "%s", camera->path);
    for (uint32_t i = 0; i < request.count && i < BUFFERS; i++) {
        struct v4l2_buffer buffer = {
            .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = i};
        if (call(camera->fd, VIDIOC_QUERYBUF, &buffer) != 0)
            return lego_fail_errno(diag, errno, "%s", camera->path);
        void *memory =
            mmap(NULL, buffer.length, PROT_READ, MAP_SHARED, camera->fd, (off_t)buffer.m.offset);
        if (memory == MAP_FAILED)
            return lego_fail_errno(diag, errno, "%s", camera->path);
        camera->buffers[i].memory = memory;
        camera->buffers[i].bytes = buffer.length;
        camera->buffer_count = i + 1;
        share(camera, i, client);
        if (call(camera->fd, VIDIOC_QBUF, &buffer) != 0)
            return lego_fail_errno(diag, errno, "%s", camera->path);
    }
    return LEGO_OK;
}

int v4l2_open(const char *path, struct lego_client *client, struct v4l2_camera **ret_camera,
              struct lego_diag *diag)
{
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    struct v4l2_camera *camera = calloc(1, sizeof(*camera));
    if (!camera)
        return lego_fail(diag, LEGO_E_NOMEM, "out of memory");
    camera->path = path;
    camera->held = -1;
    camera->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int status = camera->fd < 0 ? lego_fail_errno(diag, errno, "%s", path) : LEGO_OK;
    if (status == LEGO_OK)
        status = set_format(camera, diag);
    if (status == LEGO_OK)
        status = map_buffers(camera, client, diag);
    if (status == LEGO_OK && call(camera->fd, VIDIOC_STREAMON, &type) != 0)
        status = lego_fail_errno(diag, errno, "%s", path);
    if (status != LEGO_OK)
        v4l2_close(camera);
    else
        *ret_camera = camera;
    return status;
}

void v4l2_close(struct v4l2_camera *camera)
{
    if (!camera)
        return;
    for (uint32_t i = 0; i < camera->buffer_count; i++)
        munmap(camera->buffers[i].memory, camera->buffers[i].bytes);
    if (camera->fd >= 0)
        close(camera->fd);
    free(camera);
}

static int give_back(struct v4l2_camera *camera, struct lego_diag *diag)
{
    struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
                                 .memory = V4L2_MEMORY_MMAP,
                                 .index = (uint32_t)camera->held};
    if (camera->held >= 0 && call(camera->fd, VIDIOC_QBUF, &buffer) != 0)
        return lego_fail_errno(diag, errno, "%s", camera->path);
    camera->held = -1;
    return LEGO_OK;
}

int v4l2_next(struct v4l2_camera *camera, struct lego_client_frame *ret_frame,
              const void **ret_data, size_t *ret_bytes, uint64_t *ret_dropped,
              struct lego_diag *diag)
{
    struct pollfd wait = {.fd = camera->fd, .events = POLLIN};
    struct v4l2_buffer buffer = {0}, next;
    int status = give_back(camera, diag);
    if (status != LEGO_OK)
        return status;
    if (poll(&wait, 1, TIMEOUT_MS) <= 0)
        return lego_fail(diag, LEGO_E_DEADLINE, "%s gives no frame", camera->path);
    for (;;) {
        next =
            (struct v4l2_buffer){.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
        if (call(camera->fd, VIDIOC_DQBUF, &next) != 0)
            break;
        if (next.index >= camera->buffer_count)
            return lego_fail(diag, LEGO_E_IO, "%s gives a buffer that it has not", camera->path);
        *ret_dropped += camera->held >= 0;
        status = give_back(camera, diag);
        if (status != LEGO_OK)
            return status;
        camera->held = (int)next.index;
        buffer = next;
    }
    if (camera->held < 0)
        return lego_fail_errno(diag, errno, "%s", camera->path);
    const struct buffer *held = &camera->buffers[camera->held];
    *ret_data = held->memory;
    *ret_bytes = buffer.bytesused < held->bytes ? buffer.bytesused : held->bytes;
    *ret_frame = (struct lego_client_frame){.fourcc = camera->format.pixelformat,
                                            .width = camera->format.width,
                                            .height = camera->format.height,
                                            .region = held->region[0] ? held->region : NULL,
                                            .byte_size = *ret_bytes,
                                            .data = *ret_data,
                                            .bytes = *ret_bytes};
    if (camera->format.pixelformat == V4L2_PIX_FMT_YUYV) {
        ret_frame->plane_count = 1;
        ret_frame->planes[0].stride = camera->format.bytesperline;
    }
    return LEGO_OK;
}
