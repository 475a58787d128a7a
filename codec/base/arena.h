/*
 * A growing arena: many small allocations, one free. Not for use by two threads at once.
 */
#ifndef LEGO_BASE_ARENA_H
#define LEGO_BASE_ARENA_H

#include <stddef.h>

struct lego_arena;

/*
 * Makes an arena that will hand out at most `limit_bytes` in all (0: no limit), so that hostile
 * input cannot make its reader eat the machine. Returns NULL when out of memory.
 */
struct lego_arena *lego_arena_create(size_t limit_bytes);

/* Frees the arena and all that it handed out; a NULL arena is ignored. */
void lego_arena_destroy(struct lego_arena *arena);

/* `count` zeroed elements of `size` bytes, aligned to 16; NULL when over the limit or out of
 * memory. */
void *lego_arena_calloc(struct lego_arena *arena, size_t count, size_t size);

/* A copy of `bytes` bytes, aligned to 16. */
void *lego_arena_memdup(struct lego_arena *arena, const void *data, size_t bytes);

/* A NUL-terminated copy of the first `length` bytes of `text`. */
char *lego_arena_strndup(struct lego_arena *arena, const char *text, size_t length);
char *lego_arena_strdup(struct lego_arena *arena, const char *text);
char *lego_arena_printf(struct lego_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes handed out so far. */
size_t lego_arena_used_bytes(const struct lego_arena *arena);

#endif
