#include "agent/service/answer.h"

#include "codec/base/arith.h"

#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 sequence at `text`, 0 where there is none. */
static size_t sequence_length(const unsigned char *text)
{
    size_t length = text[0] < 0x80             ? 1
                    : (text[0] & 0xe0) == 0xc0 ? 2
                    : (text[0] & 0xf0) == 0xe0 ? 3
                    : (text[0] & 0xf8) == 0xf0 ? 4
                                               : 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates and what is past U+10FFFF. */
    if ((length == 2 && text[0] < 0xc2) || (length == 3 && text[0] == 0xe0 && text[1] < 0xa0) ||
        (length == 3 && text[0] == 0xed && text[1] > 0x9f) ||
        (length == 4 && text[0] == 0xf0 && text[1] < 0x90) ||
        (length == 4 && (text[0] > 0xf4 || (text[0] == 0xf4 && text[1] > 0x8f))))
        return 0;
    return length;
}

static void clean(char *text)
{
    while (*text) {
        size_t length = sequence_length((const unsigned char *)text);
        if (length == 0)
            *text = '?';
        text += lego_max_size(length, 1);
    }
}

uint8_t *answer_error_frame(uint64_t id, int status, const char *text, size_t *ret_frame_bytes)
{
    char copy[LEGO_DIAG_BYTES];
    uint8_t *frame = NULL;
    Legonet__Response response = LEGONET__RESPONSE__INIT;
    snprintf(copy, sizeof(copy), "%s", text);
    clean(copy);
    response.id = id;
    response.status = ipc_status_to_wire(status);
    response.message = copy;
    if (ipc_frame_pack(&response.base, SIZE_MAX, &frame, ret_frame_bytes, NULL) != LEGO_OK)
        return NULL;
    return frame;
}
