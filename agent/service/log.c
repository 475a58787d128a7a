#include "agent/service/log.h"

#include "agent/service/clock.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_RATE_PER_SECOND 100
#define LOG_BURST           500
#define LOG_LINE_BYTES      4000

static atomic_int threshold = LOG_LEVEL_INFO;

static struct {
    pthread_mutex_t mutex;
    uint64_t tokens_at_ns; /* when the bucket was last filled */
    uint64_t tokens;
    uint64_t dropped;
} bucket = {.mutex = PTHREAD_MUTEX_INITIALIZER, .tokens = LOG_BURST};

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

/* Takes one token. */
static bool take_token(void)
{
    uint64_t now = clock_ns();
    uint64_t fresh = (now - bucket.tokens_at_ns) / (1000000000u / LOG_RATE_PER_SECOND);
    if (fresh > 0) {
        bucket.tokens = bucket.tokens + fresh > LOG_BURST ? LOG_BURST : bucket.tokens + fresh;
        bucket.tokens_at_ns = now;
    }
    if (bucket.tokens == 0)
        return false;
    bucket.tokens--;
    return true;
}

static void put_line(enum log_level level, char *text, size_t length)
{
    static const char *const journal_prefix[] = {"<3>", "<4>", "<6>", "<7>"};
    static const char *const terminal_prefix[] = {"error: ", "warning: ", "", "debug: "};
    char line[LOG_LINE_BYTES + 16];
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    const char *prefix = isatty(STDERR_FILENO) ? terminal_prefix[level] : journal_prefix[level];
    int bytes = snprintf(line, sizeof(line), "%s%.*s\n", prefix, (int)length, text);
    struct pollfd stderr_poll = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&stderr_poll, 1, 0) != 1 || write(STDERR_FILENO, line, (size_t)bytes) != bytes)
        bucket.dropped++;
}

void log_write(enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load(&threshold))
        return;
    char text[LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t used = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;

    pthread_mutex_lock(&bucket.mutex);
    if (!take_token()) {
        bucket.dropped++;
    } else {
        if (bucket.dropped > 0) {
            char note[64];
            int bytes = snprintf(note, sizeof(note), "%llu log records were dropped",
                                 (unsigned long long)bucket.dropped);
            bucket.dropped = 0;
            put_line(LOG_LEVEL_WARNING, note, (size_t)bytes);
        }
        put_line(level, text, used);
    }
    pthread_mutex_unlock(&bucket.mutex);
}
