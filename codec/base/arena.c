#include "codec/base/arena.h"
#include "codec/base/arith.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN 16
#define CHUNK_BYTES ((size_t)64 << 10)

/* Chunks form a list, newest first; a request larger than a chunk gets one of its own size. */
struct chunk {
    struct chunk *next;
    size_t used_bytes, size_bytes;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

struct lego_arena {
    struct chunk *head;
    size_t used_bytes, limit_bytes;
};

struct lego_arena *lego_arena_create(size_t limit_bytes)
{
    struct lego_arena *arena = calloc(1, sizeof *arena);
    if (arena)
        arena->limit_bytes = limit_bytes ? limit_bytes : SIZE_MAX;
    return arena;
}

void lego_arena_destroy(struct lego_arena *arena)
{
    if (!arena)
        return;
    for (struct chunk *chunk = arena->head, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

static struct chunk *add_chunk(struct lego_arena *arena, size_t least_bytes)
{
    size_t size = lego_max_size(least_bytes, CHUNK_BYTES), total;
    if (!lego_add_size(size, sizeof(struct chunk), &total))
        return NULL;
    struct chunk *chunk = malloc(total);
    if (!chunk)
        return NULL;
    chunk->used_bytes = 0;
    chunk->size_bytes = size;
    /* A chunk made for one large request goes second, so that the open one keeps serving small
     * ones. */
    if (arena->head && least_bytes > CHUNK_BYTES) {
        chunk->next = arena->head->next;
        arena->head->next = chunk;
    } else {
        chunk->next = arena->head;
        arena->head = chunk;
    }
    return chunk;
}

static void *arena_alloc(struct lego_arena *arena, size_t bytes)
{
    size_t rounded, used;
    if (!lego_align_up(bytes ? bytes : 1, ARENA_ALIGN, &rounded) ||
        !lego_add_size(arena->used_bytes, rounded, &used) || used > arena->limit_bytes)
        return NULL;
    struct chunk *chunk = arena->head;
    if (!chunk || chunk->size_bytes - chunk->used_bytes < rounded) {
        chunk = add_chunk(arena, rounded);
        if (!chunk)
            return NULL;
    }
    void *memory = chunk->data + chunk->used_bytes;
    chunk->used_bytes += rounded;
    arena->used_bytes = used;
    return memory;
}

void *lego_arena_calloc(struct lego_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!lego_mul_size(count, size, &bytes))
        return NULL;
    void *memory = arena_alloc(arena, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void *lego_arena_memdup(struct lego_arena *arena, const void *data, size_t bytes)
{
    void *memory = arena_alloc(arena, bytes);
    if (memory && bytes)
        memcpy(memory, data, bytes);
    return memory;
}

char *lego_arena_strndup(struct lego_arena *arena, const char *text, size_t length)
{
    size_t bytes;
    char *copy = lego_add_size(length, 1, &bytes) ? arena_alloc(arena, bytes) : NULL;
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *lego_arena_strdup(struct lego_arena *arena, const char *text)
{
    return lego_arena_strndup(arena, text, strlen(text));
}

char *lego_arena_printf(struct lego_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : arena_alloc(arena, (size_t)length + 1);
    if (text) {
        va_start(args, format);
        vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    return text;
}

size_t lego_arena_used_bytes(const struct lego_arena *arena)
{
    return arena->used_bytes;
}
