/*
 * A record as NumPy's archive: a ZIP without compression (PKWARE's APPNOTE 6.3.3, sections 4.3.7,
 * 4.3.12 and 4.3.16) of .npy files, format 1.0 (numpy.lib.format).
 */
#include "agent/service/capture.h"
#include "codec/base/arith.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_BYTES      ((size_t)1 << 30)
#define MAX_MEMBERS    512
#define MAX_NAME_BYTES 200
#define ENTRY_BYTES    46 /* of the central directory, without the name */
#define LOCAL_BYTES    30
#define END_BYTES      22

struct member {
    char name[MAX_NAME_BYTES];
    char head[256]; /* what stands before the data */
    size_t head_bytes;
    const void *data;
    size_t bytes;
    uint32_t crc, offset;
};

struct archive {
    struct member *members;
    size_t count;
};

static const char *numpy_type(enum lego_dtype dtype)
{
    switch (dtype) {
    case LEGO_DTYPE_FLOAT32:
        return "<f4";
    case LEGO_DTYPE_FLOAT64:
        return "<f8";
    case LEGO_DTYPE_FLOAT16:
        return "<f2";
    case LEGO_DTYPE_UINT8:
        return "|u1";
    case LEGO_DTYPE_INT8:
        return "|i1";
    case LEGO_DTYPE_UINT16:
        return "<u2";
    case LEGO_DTYPE_INT16:
        return "<i2";
    case LEGO_DTYPE_UINT32:
        return "<u4";
    case LEGO_DTYPE_INT32:
        return "<i4";
    case LEGO_DTYPE_UINT64:
        return "<u8";
    case LEGO_DTYPE_INT64:
        return "<i8";
    case LEGO_DTYPE_BOOL:
        return "|b1";
    default:
        return NULL;
    }
}

/* "\x93NUMPY", version, length, and a dictionary that fills up to a multiple of 64 bytes. */
static bool make_head(struct member *member, const struct lego_io *tensor)
{
    const char *type = numpy_type(tensor->dtype);
    char text[192];
    if (!type)
        return false;
    int used =
        snprintf(text, sizeof(text), "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
    for (int d = 0; d < tensor->shape.rank; d++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, "%" PRId64 ",",
                         tensor->shape.dim[d]);
    used += snprintf(text + used, sizeof(text) - (size_t)used, "), }");
    size_t whole = (10 + (size_t)used + 1 + 63) & ~(size_t)63;
    if ((size_t)used >= sizeof(text) || whole > sizeof(member->head))
        return false;
    memset(member->head, ' ', whole);
    memcpy(member->head, "\x93NUMPY\x01\x00", 8);
    member->head[8] = (char)((whole - 10) & 0xff);
    member->head[9] = (char)((whole - 10) >> 8);
    memcpy(member->head + 10, text, (size_t)used);
    member->head[whole - 1] = '\n';
    member->head_bytes = whole;
    return true;
}

static int add_tensors(struct archive *archive, const char *folder, const struct lego_model *model,
                       const struct lego_io *tensors, bool inputs)
{
    uint32_t count = inputs ? lego_model_input_count(model) : lego_model_output_count(model);
    for (uint32_t i = 0; i < count; i++) {
        const struct lego_value *value =
            inputs ? lego_model_input(model, i) : lego_model_output(model, i);
        if (!tensors[i].data || tensors[i].shape.rank < 0)
            continue;
        if (archive->count == MAX_MEMBERS - 1)
            return LEGO_E_LIMIT;
        struct member *member = &archive->members[archive->count];
        snprintf(member->name, sizeof(member->name), "%s/%.180s.npy", folder, value->name);
        if (!make_head(member, &tensors[i]))
            return LEGO_E_UNSUPPORTED;
        member->data = tensors[i].data;
        member->bytes = tensors[i].bytes;
        archive->count++;
    }
    return LEGO_OK;
}

static uint8_t *put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *at++ = (uint8_t)(value >> (8 * i));
    return at;
}

/* What a member's local header and its entry of the directory have in common: 26 bytes. */
static uint8_t *put_common(uint8_t *at, const struct member *member)
{
    size_t bytes = member->head_bytes + member->bytes;
    at = put(at, 10, 2);       /* version 1.0 is enough to read it */
    at = put(at, 0, 4);        /* flags, stored */
    at = put(at, 0x210000, 4); /* midnight of 1980-01-01: the time is in about.json */
    at = put(at, member->crc, 4);
    at = put(at, bytes, 4);
    at = put(at, bytes, 4);
    at = put(at, strlen(member->name), 2);
    return put(at, 0, 2); /* no extra field */
}

static uint8_t *put_member(uint8_t *at, const uint8_t *start, struct member *member)
{
    member->offset = (uint32_t)(at - start);
    member->crc = (uint32_t)crc32_z(0, (const uint8_t *)member->head, member->head_bytes);
    if (member->bytes > 0)
        member->crc = (uint32_t)crc32_z(member->crc, member->data, member->bytes);
    at = put_common(put(at, 0x04034b50, 4), member);
    memcpy(at, member->name, strlen(member->name));
    at += strlen(member->name);
    memcpy(at, member->head, member->head_bytes);
    at += member->head_bytes;
    if (member->bytes > 0)
        memcpy(at, member->data, member->bytes);
    return at + member->bytes;
}

static uint8_t *put_directory(uint8_t *at, const uint8_t *start, const struct archive *archive)
{
    const uint8_t *directory = at;
    for (size_t i = 0; i < archive->count; i++) {
        const struct member *member = &archive->members[i];
        at = put(put(at, 0x02014b50, 4), 10, 2);
        at = put_common(at, member);
        at = put(put(at, 0, 2), 0, 8); /* no comment; disk 0, attributes */
        at = put(at, member->offset, 4);
        memcpy(at, member->name, strlen(member->name));
        at += strlen(member->name);
    }
    uint64_t bytes = (uint64_t)(at - directory);
    at = put(put(at, 0x06054b50, 4), 0, 4);
    at = put(put(at, archive->count, 2), archive->count, 2);
    at = put(put(at, bytes, 4), (uint64_t)(directory - start), 4);
    return put(at, 0, 2);
}

static int lay_out(struct archive *archive, uint8_t **ret_data, size_t *ret_bytes)
{
    size_t bytes = END_BYTES;
    for (size_t i = 0; i < archive->count; i++) {
        const struct member *member = &archive->members[i];
        size_t more = LOCAL_BYTES + ENTRY_BYTES + 2 * strlen(member->name) + member->head_bytes;
        if (!lego_add_size(bytes, more, &bytes) || !lego_add_size(bytes, member->bytes, &bytes) ||
            bytes > MAX_BYTES)
            return LEGO_E_LIMIT;
    }
    uint8_t *data = malloc(bytes), *at = data;
    if (!data)
        return LEGO_E_NOMEM;
    for (size_t i = 0; i < archive->count; i++)
        at = put_member(at, data, &archive->members[i]);
    put_directory(at, data, archive);
    *ret_data = data;
    *ret_bytes = bytes;
    return LEGO_OK;
}

int capture_archive(const struct capture_about *about, double confidence, uint64_t time_ns,
                    const struct lego_io *inputs, const struct lego_io *outputs, uint8_t **ret_data,
                    size_t *ret_bytes)
{
    struct archive archive = {.members = calloc(MAX_MEMBERS, sizeof(*archive.members))};
    if (!archive.members)
        return LEGO_E_NOMEM;
    struct member *first = &archive.members[archive.count++];
    char text[32] = "null";
    if (confidence >= 0)
        snprintf(text, sizeof(text), "%.4f", confidence);
    snprintf(first->name, sizeof(first->name), "about.json");
    /* Names of models need no escapes: letters, digits, ".", "_" and "-". */
    int bytes = snprintf(
        first->head, sizeof(first->head),
        "{\"model\": \"%s\", \"version\": \"%s\", \"time_ns\": %" PRIu64
        ", \"confidence_percent\": %s, \"queue_ns\": %" PRIu64 ", \"infer_ns\": %" PRIu64 "}\n",
        about->name, about->version, time_ns, text, about->queue_ns, about->infer_ns);
    first->head_bytes = (size_t)bytes < sizeof(first->head) ? (size_t)bytes : 0;
    int status = add_tensors(&archive, "inputs", about->model, inputs, true);
    if (status == LEGO_OK)
        status = add_tensors(&archive, "outputs", about->model, outputs, false);
    if (status == LEGO_OK)
        status = lay_out(&archive, ret_data, ret_bytes);
    free(archive.members);
    return status;
}

static double row_confidence(const float *row, size_t classes)
{
    double sum = 0, largest = -INFINITY, exponentials = 0;
    bool distribution = true;
    for (size_t i = 0; i < classes; i++) {
        sum += (double)row[i];
        distribution = distribution && row[i] >= 0 && row[i] <= 1;
        if ((double)row[i] > largest)
            largest = (double)row[i];
    }
    if (distribution && fabs(sum - 1) < 1e-3)
        return 100 * largest;
    for (size_t i = 0; i < classes; i++)
        exponentials += exp((double)row[i] - largest);
    return 100 / exponentials;
}

double capture_confidence(const struct lego_io *output)
{
    const int rank = output->shape.rank;
    size_t classes = rank >= 1 ? (size_t)output->shape.dim[rank - 1] : 0;
    if (output->dtype != LEGO_DTYPE_FLOAT32 || !output->data || classes < 2)
        return -1;
    double lowest = 100;
    const float *data = output->data;
    for (size_t at = 0; at + classes <= output->bytes / sizeof(float); at += classes) {
        double confidence = row_confidence(data + at, classes);
        if (!(confidence >= lowest)) /* NaN is none at all */
            lowest = isnan(confidence) ? 0 : confidence;
    }
    return lowest;
}
