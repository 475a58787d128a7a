/*
 * Logging, one record a call, in one of three forms: to the journal with fields, by systemd's
 * native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL); to stderr as lines with sd-daemon
 * priority prefixes, or plain ones on a terminal; to stderr as JSON, an object a line. Any thread.
 * Bounded: about 100 records a second, what is over is counted and said; a record that cannot be
 * taken at once is dropped, so that no caller ever blocks.
 */
#ifndef LEGO_SERVICE_LOG_H
#define LEGO_SERVICE_LOG_H

#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARNING = 1,
    LOG_LEVEL_INFO = 2,
    LOG_LEVEL_DEBUG = 3,
};

enum log_format {
    LOG_FORMAT_AUTO = 0, /* the journal with fields where stderr is it, else lines */
    LOG_FORMAT_TEXT = 1, /* lines */
    LOG_FORMAT_JSON = 2, /* JSON on stderr */
};

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

/* What a record is about, for those who filter records; fields that are NULL or 0 are left out. */
struct log_subject {
    const char *event; /* a word for machines; legonetd(8) lists them */
    const char *model;
    uint64_t version;
    int64_t pid; /* of a client */
    const uint32_t *uid;
};

/* Connects to the journal's socket where the environment's JOURNAL_STREAM says that stderr is the
 * journal's; else records go to stderr. Before other threads are started. */
void log_open(const char *journal_socket);
void log_close(void);

/* Records above this level are not written; LOG_LEVEL_INFO at first. LOG_FORMAT_AUTO at first. */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);

/* Control characters in the text come out as "?": peers choose some of it. */
void log_about(enum log_level level, const struct log_subject *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_write(level, ...) log_about(level, NULL, __VA_ARGS__)
#define log_error(...)        log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...)      log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)         log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)        log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
