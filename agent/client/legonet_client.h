/*
 * liblegonet-client: asks the agent (legonetd) over its Unix socket.
 *
 *     struct lego_client *client;
 *     struct lego_client_model *model;
 *     struct lego_client_result *result;
 *     lego_client_connect(NULL, NULL, &client, &diag);
 *     lego_client_model_get(client, "resnet20", NULL, &model, &diag);
 *     lego_client_infer_file(client, model, "cat.jpg", 5, &result, &diag);
 *     for (uint32_t i = 0; i < result->class_count; i++)
 *         printf("%s %.2f\n", result->classes[i].label, result->classes[i].score);
 *
 * Errors: every call returns 0 or a negative LEGO_E_*; the optional diag last gets the sentence.
 * Outputs (ret_*) are untouched on failure. What the agent refuses keeps the agent's code and
 * sentence. Codes that any call may give: E_CLOSED (the agent went away), E_IO, E_DEADLINE (the
 * timeout passed), E_FORMAT or E_LIMIT (the agent answers what is no valid frame), E_NOMEM.
 *
 * Threads: one thread at a time uses a client, different clients are independent. Results, models
 * and lists that a call returns are the caller's, never change, need no client any more and may be
 * read and freed on any thread.
 *
 * A connection that breaks stays broken: E_CLOSED, E_IO, E_FORMAT and E_LIMIT from the connection
 * itself are for good, every later call says E_CLOSED, and all requests that wait are completed
 * with that status. lego_client_reconnect starts again; requests are never sent twice by the
 * library, the caller decides that.
 *
 * No signal is raised or handled (no SIGPIPE), no thread is started, descriptors are close-on-exec.
 */
#ifndef LEGONET_CLIENT_H
#define LEGONET_CLIENT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "codec/base/diag.h"
#include "codec/graph/graph.h"

#define LEGO_CLIENT_SOCKET     "/run/legonet/legonet.sock"
#define LEGO_CLIENT_SOCKET_ENV "LEGONET_SOCKET"

/* ---- Connection ---- */

struct lego_client_options {
    int timeout_ms;         /* of connecting and of each blocking call; 0: 30,000; negative: none */
    size_t max_frame_bytes; /* of a request or an answer; 0: 16 MiB */
    uint32_t max_pending;   /* requests without an answer at a time; 0: 1,024 */
};

struct lego_client;

/*
 * Connects to the agent's socket. `path` NULL: the environment's LEGONET_SOCKET, else
 * LEGO_CLIENT_SOCKET. `options` may be NULL. E_NOT_FOUND: no such socket; E_PERMISSION;
 * E_UNAVAILABLE: nobody listens; E_LIMIT: the path is too long for a socket; E_DEADLINE.
 */
int lego_client_connect(const char *path, const struct lego_client_options *options,
                        struct lego_client **ret_client, struct lego_diag *diag);

/* Connects again to the same path. Requests that wait are completed with E_CLOSED, completed ones
 * stay to be fetched. On failure the client stays disconnected and this may be called again. */
int lego_client_reconnect(struct lego_client *client, struct lego_diag *diag);

/* Closes and frees; requests without an answer are lost. NULL is ignored. */
void lego_client_close(struct lego_client *client);

/* ---- Inference ---- */

/* A tensor: dense, row-major, little-endian. */
struct lego_client_tensor {
    const char *name;
    enum lego_dtype dtype; /* UNKNOWN in a result: BYTES, which only classification gives */
    struct lego_shape shape;
    const void *data;
    size_t bytes;
    const char *region; /* a registered region where the data lie at `offset`, instead of `data` */
    uint64_t offset;
};

/* Where in a registered region, which must be writable, an output is to be put. */
struct lego_client_place {
    const char *region;     /* NULL: in the answer */
    uint64_t offset, bytes; /* bytes: the room that there is; 0: up to the region's end */
};

/* Where a plane of a frame lies. */
struct lego_client_plane {
    uint64_t offset; /* bytes from the frame's first */
    uint64_t stride; /* bytes from row to row; 0: rows without gaps */
};

struct lego_client_rectangle {
    uint32_t x, y, width, height;
};

/* The agent's formats: V4L2's numbers, which are four characters. */
#define LEGO_CLIENT_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define LEGO_CLIENT_RGB24 LEGO_CLIENT_FOURCC('R', 'G', 'B', '3')
#define LEGO_CLIENT_BGR24 LEGO_CLIENT_FOURCC('B', 'G', 'R', '3')
#define LEGO_CLIENT_RGBA  LEGO_CLIENT_FOURCC('A', 'B', '2', '4') /* R, G, B, A in memory */
#define LEGO_CLIENT_GREY  LEGO_CLIENT_FOURCC('G', 'R', 'E', 'Y')
#define LEGO_CLIENT_NV12  LEGO_CLIENT_FOURCC('N', 'V', '1', '2')
#define LEGO_CLIENT_NV21  LEGO_CLIENT_FOURCC('N', 'V', '2', '1')
#define LEGO_CLIENT_I420  LEGO_CLIENT_FOURCC('Y', 'U', '1', '2')
#define LEGO_CLIENT_YUYV  LEGO_CLIENT_FOURCC('Y', 'U', 'Y', 'V')
#define LEGO_CLIENT_MJPEG LEGO_CLIENT_FOURCC('M', 'J', 'P', 'G')

enum lego_client_resize {
    LEGO_CLIENT_RESIZE_MODEL = 0, /* as the model says */
    LEGO_CLIENT_RESIZE_STRETCH = 1,
    LEGO_CLIENT_RESIZE_FIT_SHORTEST = 2, /* the shorter side fits, the middle is cut out */
    LEGO_CLIENT_RESIZE_FIT_LONGEST = 3,  /* the longer side fits, upper left, the rest is padded */
    LEGO_CLIENT_RESIZE_LETTERBOX = 4,    /* the same, in the middle */
};

enum lego_client_filter {
    LEGO_CLIENT_FILTER_MODEL = 0,    /* as the model was trained: smooth, whatever the scale */
    LEGO_CLIENT_FILTER_BILINEAR = 1, /* the nearest 2x2 pixels: fast, aliases where it shrinks */
    LEGO_CLIENT_FILTER_AREA = 2,     /* the mean of what shrinks into a pixel */
};

/* A frame as a camera or a decoder leaves it, which the agent resizes and converts. */
struct lego_client_frame {
    uint32_t fourcc, width, height; /* of MJPEG the size may be 0: as the picture says */
    const char *region;             /* a registered region, or NULL: `data` */
    uint64_t offset, byte_size;     /* of the frame in its region; byte_size 0: up to its end */
    const void *data;               /* sent along; borrowed for the call */
    size_t bytes;
    uint32_t plane_count; /* 0: planes one after the other without gaps; else the format's */
    struct lego_client_plane planes[3];
    const char *plane_regions[3];      /* of planes with memory of their own; NULL: the frame's */
    struct lego_client_rectangle crop; /* all 0: the whole frame */
    uint32_t rotation;                 /* degrees clockwise, after the crop: 0, 90, 180, 270 */
    enum lego_client_resize resize;
    enum lego_client_filter filter;
    bool bt709, full_range; /* of luma and chroma; else BT.601, limited */
    const char *input;      /* of the model; NULL: the one that takes pictures */
};

/* Asks for what the model's heads say; 0: as the model says, `top` 0: 5. */
struct lego_client_results {
    uint32_t top;            /* classes of each row */
    float score;             /* detections below it are left out */
    uint32_t max_detections; /* of each row */
    uint32_t max_mask_side;  /* pixels of a mask's longer side; 0: those of the frame */
};

struct lego_client_request {
    const char *model;
    const char *version;                     /* NULL or "": the highest that serves */
    const struct lego_client_tensor *inputs; /* all of the model's, in any order */
    uint32_t input_count;
    const char *const *outputs; /* names of those wanted; none: all */
    uint32_t output_count;
    const struct lego_client_place *places; /* one for each of `outputs`; NULL: in the answer */
    uint32_t top; /* > 0: the `top` best classes of outputs[0] (which must be named) instead of
                     its numbers */
    const struct lego_client_frame *frames; /* in place of an input: its batch, in order */
    uint32_t frame_count;
    /* NULL: outputs alone; else answers come, too, and of the outputs those that are named. */
    const struct lego_client_results *results;
};

struct lego_client_class {
    float score;
    uint32_t index;    /* from 0 */
    const char *label; /* "" where the model has none */
};

struct lego_client_keypoint {
    float x, y;
    float score; /* 0 where the model gives none */
};

/* In pixels of the frame as it was sent, before crop and rotation, (0, 0) its upper left corner;
 * without a frame in pixels of the model's input. Boxes may reach beyond. */
struct lego_client_detection {
    float left, top, right, bottom, score;
    uint32_t index;    /* of its class */
    const char *label; /* "" where the model has none */
    uint32_t keypoint_count;
    const struct lego_client_keypoint *keypoints;
};

/*
 * What each pixel shows, of the part of the frame that the model has seen: [left, right) x
 * [top, bottom), in whole pixels of the frame as it was sent, before crop and rotation. Without a
 * frame it is in pixels of the model's input, or of its output where the input is no picture. The
 * mask has width x height pixels, all of one size; a frame's pixel (x, y) is in the mask's at
 * ((x - left) * width / (right - left), (y - top) * height / (bottom - top)).
 */
struct lego_client_mask {
    uint32_t left, top, right, bottom;
    uint32_t width, height; /* 1 to 16384 */
    uint32_t run_count;
    const uint32_t *runs; /* [2 * run_count], row by row: a value (0: no class, k + 1: class k, at
                             most 65535), how often, ...; in all width * height */
};

/* Writes the mask's width * height values, row by row. E_LIMIT: `elems` are not enough. */
int lego_client_mask_read(const struct lego_client_mask *mask, uint16_t *values, size_t elems,
                          struct lego_diag *diag);

enum lego_client_kind {
    LEGO_CLIENT_CLASSES = 0,
    LEGO_CLIENT_DETECTIONS = 1,
    LEGO_CLIENT_TEXT = 2,
    LEGO_CLIENT_MASK = 3,
};

/* What one head of the model says of one row of the batch. */
struct lego_client_answer {
    uint32_t row;
    const char *head; /* the model's name for it */
    enum lego_client_kind kind;
    uint32_t class_count; /* the best first; of a mask those that it shows, scores being parts */
    const struct lego_client_class *classes;
    uint32_t detection_count; /* the best first */
    const struct lego_client_detection *detections;
    const char *text; /* "" but for LEGO_CLIENT_TEXT */
    float text_score;
    const struct lego_client_mask *mask; /* NULL but for LEGO_CLIENT_MASK */
};

struct lego_client_result {
    uint64_t id;
    int status;          /* LEGO_OK, else nothing below `message` is set */
    const char *message; /* the sentence of a failure, "" otherwise */
    const char *model, *version;
    uint32_t output_count;
    const struct lego_client_tensor *outputs;
    uint32_t class_count; /* of all images of the batch, one after the other, best first */
    const struct lego_client_class *classes;
    /* Where the time went in the agent: waiting, unpacking and checking, computing; 0: unknown. */
    uint64_t queue_ns, decode_ns, compute_ns;
    uint32_t answer_count; /* where `results` were asked for: row by row, in each the heads */
    const struct lego_client_answer *answers;
};

void lego_client_result_free(struct lego_client_result *result); /* NULL is ignored */

/* Asks and waits. The result's status is LEGO_OK: failures are what this returns. */
int lego_client_infer(struct lego_client *client, const struct lego_client_request *request,
                      struct lego_client_result **ret_result, struct lego_diag *diag);

/* ---- Many requests at once, without waiting ---- */

/*
 * Queues a request, sends what the socket takes, and returns its id (never 0). The request and its
 * data are not needed any more afterwards. E_EXHAUSTED: max_pending requests wait for answers;
 * E_INVALID; E_LIMIT: larger than a frame.
 */
int lego_client_submit(struct lego_client *client, const struct lego_client_request *request,
                       uint64_t *ret_id, struct lego_diag *diag);

/* For poll or epoll: the descriptor (-1 while disconnected; it changes with lego_client_reconnect)
 * and what to wait for, POLLIN or POLLIN | POLLOUT. */
int lego_client_fd(const struct lego_client *client);
short lego_client_events(const struct lego_client *client);

/* Sends and receives what is possible without blocking. An error means that the connection broke;
 * what had been completed before can still be fetched. */
int lego_client_process(struct lego_client *client, struct lego_diag *diag);

/* The next completed request in the order in which answers came, or NULL. The caller frees it. */
struct lego_client_result *lego_client_next(struct lego_client *client);

/* Waits until lego_client_next has something; E_DEADLINE after timeout_ms (negative: never),
 * E_STATE where no request waits. */
int lego_client_wait(struct lego_client *client, int timeout_ms, struct lego_diag *diag);

/* Requests submitted whose results have not been completed yet. */
uint32_t lego_client_pending(const struct lego_client *client);

/*
 * When the agent runs what this client asks from now on, pictures included, until it is set again.
 * All zero, as at first: as the model is configured.
 */
struct lego_client_schedule {
    uint32_t priority;   /* 1 (first) to 10 (last) */
    uint64_t timeout_us; /* a request that has waited so long is not run: E_DEADLINE */
    const char *stream;  /* a newer request replaces those of its stream that wait: E_CANCELLED */
};

/* Copies the schedule; NULL: all zero. E_INVALID, E_NOMEM: nothing has changed. */
int lego_client_set_schedule(struct lego_client *client,
                             const struct lego_client_schedule *schedule, struct lego_diag *diag);

/*
 * Tells the agent that the answer of a submitted request is not wanted any more. The request still
 * completes: with E_CANCELLED, or as always where the answer was under way. E_NOT_FOUND: no request
 * of that id waits.
 */
int lego_client_cancel(struct lego_client *client, uint64_t id, struct lego_diag *diag);

/* ---- Models and pictures ---- */

struct lego_client_model {
    const char *name, *version;
    uint32_t input_count, output_count;
    const struct lego_client_tensor *inputs, *outputs; /* without data; open sizes are negative */
    uint32_t label_count;
    const char *const *labels; /* class k is labels[k] */
    bool takes_pictures;       /* it says how a picture becomes its input */
    uint32_t property_count;
    const char *const *property_names;
    const char *const *property_values; /* "bytes", "meta.codec", ... */
};

/*
 * Asks what a model takes and gives. The answer describes the version that serves now: ask again
 * after a reload. `version` may be NULL. E_NOT_FOUND, E_UNAVAILABLE.
 */
int lego_client_model_get(struct lego_client *client, const char *name, const char *version,
                          struct lego_client_model **ret_model, struct lego_diag *diag);
void lego_client_model_free(struct lego_client_model *model); /* NULL is ignored */

/* 8-bit pixels as a camera gives them, interleaved; borrowed for the call. */
struct lego_client_picture {
    uint32_t width, height; /* 1 to 16384 */
    uint32_t channels;      /* 1 (grey) or 3 (RGB) */
    size_t stride;          /* bytes from row to row */
    const uint8_t *pixels;
};

/*
 * Resizes, crops and normalises the picture here, as the model says, and asks the agent. `top` > 0:
 * the best classes, 0: the model's outputs. E_UNSUPPORTED where the model takes no pictures.
 */
int lego_client_infer_picture(struct lego_client *client, const struct lego_client_model *model,
                              const struct lego_client_picture *picture, uint32_t top,
                              struct lego_client_result **ret_result, struct lego_diag *diag);

/* The same without waiting: see lego_client_submit. */
int lego_client_submit_picture(struct lego_client *client, const struct lego_client_model *model,
                               const struct lego_client_picture *picture, uint32_t top,
                               uint64_t *ret_id, struct lego_diag *diag);

/* The same for a PNG or JPEG file. */
int lego_client_infer_file(struct lego_client *client, const struct lego_client_model *model,
                           const char *path, uint32_t top, struct lego_client_result **ret_result,
                           struct lego_diag *diag);

/* ---- Shared memory ---- */

/*
 * Shares memory with the agent under a name (1 to 128 bytes) of this connection: a memfd, sealed
 * with F_SEAL_SHRINK, or a dma-buf. `bytes` 0: all of it. The descriptor stays the caller's and is
 * not needed afterwards. What a request reads must not be written before its answer has come.
 * Regions end with the connection: register them again after lego_client_reconnect. E_UNSUPPORTED,
 * E_PERMISSION, E_INVALID, E_EXISTS, E_LIMIT.
 */
int lego_client_region_register(struct lego_client *client, const char *name, int fd,
                                uint64_t bytes, bool writable, struct lego_diag *diag);

/* `name` NULL: all. Requests that are under way keep the memory. E_NOT_FOUND. */
int lego_client_region_unregister(struct lego_client *client, const char *name,
                                  struct lego_diag *diag);

/* ---- The agent ---- */

struct lego_client_server {
    bool live, ready; /* ready: all configured models serve */
    const char *name, *version;
    uint32_t extension_count;
    const char *const *extensions;
};

int lego_client_server_get(struct lego_client *client, struct lego_client_server **ret_server,
                           struct lego_diag *diag);
void lego_client_server_free(struct lego_client_server *server); /* NULL is ignored */

struct lego_client_list_entry {
    const char *name, *version, *state, *reason; /* state: READY, LOADING or UNAVAILABLE */
};

struct lego_client_list {
    uint32_t count;
    const struct lego_client_list_entry *models;
};

/* Every model that the agent knows. */
int lego_client_list_get(struct lego_client *client, struct lego_client_list **ret_list,
                         struct lego_diag *diag);
void lego_client_list_free(struct lego_client_list *list); /* NULL is ignored */

/* Loads a model (again) from its configured path; returns when it serves, or with the reason why it
 * does not. Loading may take longer than the client's timeout: the agent goes on then. */
int lego_client_load(struct lego_client *client, const char *name, struct lego_diag *diag);

/* Goes back to what served before the last switch. E_STATE where there is nothing to go back to. */
int lego_client_rollback(struct lego_client *client, const char *name, struct lego_diag *diag);

/* The model stops serving. */
int lego_client_unload(struct lego_client *client, const char *name, struct lego_diag *diag);

/* Totals since the model was loaded; times in nanoseconds. */
struct lego_client_stats_entry {
    const char *name, *version;
    uint64_t inference_count, execution_count, last_inference_ms; /* since the epoch; 0: never */
    uint64_t success_count, success_ns, fail_count, fail_ns;
    uint64_t queue_ns, compute_input_ns, compute_infer_ns, compute_output_ns;
    uint64_t memory_bytes; /* of weights in private memory */
};

struct lego_client_stats {
    uint32_t count;
    const struct lego_client_stats_entry *models;
};

/* All that the agent counts, in Prometheus' text format; malloc'ed, the caller frees it. */
int lego_client_metrics_get(struct lego_client *client, char **ret_text, struct lego_diag *diag);

/* `name` NULL: all models. */
int lego_client_stats_get(struct lego_client *client, const char *name,
                          struct lego_client_stats **ret_stats, struct lego_diag *diag);
void lego_client_stats_free(struct lego_client_stats *stats); /* NULL is ignored */

#ifdef __cplusplus
}
#endif

#endif
