/*
 * Logging to stderr, one line a record, with sd-daemon priority prefixes unless stderr is a
 * terminal. Any thread. Bounded: about 100 records a second, what is over is counted and said; a
 * record that stderr cannot take at once is dropped, so that no caller ever blocks.
 */
#ifndef LEGO_SERVICE_LOG_H
#define LEGO_SERVICE_LOG_H

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARNING = 1,
    LOG_LEVEL_INFO = 2,
    LOG_LEVEL_DEBUG = 3,
};

/* Records above this level are not written; LOG_LEVEL_INFO at first. */
void log_set_level(enum log_level level);

/* Control characters in the text come out as "?": peers choose some of it. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
