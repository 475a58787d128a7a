/*
 * The JSON of preprocessing, which agents send and models carry: what is taken comes back the same.
 */
#include "agent/picture/picture.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lego_arena *arena = lego_arena_create(1u << 20);
    struct lego_preprocess first, second;
    struct lego_diag diag = LEGO_DIAG_INIT;
    char *text = NULL, *again = NULL;
    if (arena && preprocess_parse((const char *)data, size, "fuzz", arena, &first, &diag) == 0 &&
        preprocess_format(&first, &text) == 0) {
        if (preprocess_parse(text, strlen(text), "fuzz", arena, &second, &diag) != 0 ||
            preprocess_format(&second, &again) != 0 || strcmp(text, again) != 0)
            abort();
    }
    free(text);
    free(again);
    lego_arena_destroy(arena);
    return 0;
}
