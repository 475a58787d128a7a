#include "agent/service/log.h"

#include "agent/service/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOG_RATE_PER_SECOND 100
#define LOG_BURST           500
#define LOG_TEXT_BYTES      4000
#define LOG_RECORD_BYTES    (2 * LOG_TEXT_BYTES + 1024) /* escapes and fields included */

static atomic_int threshold = LOG_LEVEL_INFO;
static atomic_int form = LOG_FORMAT_AUTO;
static int journal = -1;

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

void log_set_format(enum log_format format)
{
    atomic_store(&form, (int)format);
}

/* JOURNAL_STREAM is inherited, stderr may have been turned elsewhere since: systemd.exec(5). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat info;
    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

void log_open(const char *journal_socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    log_close();
    if (!stderr_is_journal() || strlen(journal_socket) >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, journal_socket, strlen(journal_socket));
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (journal >= 0 && connect(journal, (struct sockaddr *)&address, sizeof(address)) != 0)
        log_close(); /* as a line it comes to the journal, too */
}

void log_close(void)
{
    if (journal >= 0)
        close(journal);
    journal = -1;
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

/* A record in the making; what does not fit is cut off. */
struct record {
    char text[LOG_RECORD_BYTES];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void put(struct record *record, const char *format,
                                                      ...)
{
    size_t room = sizeof(record->text) - record->used;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(record->text + record->used, room, format, arguments);
    va_end(arguments);
    if (bytes > 0)
        record->used += (size_t)bytes < room ? (size_t)bytes : room - 1;
}

/* A field of a record: `name` in the journal, `key` in JSON. */
struct field {
    const char *name, *key;
    char text[24];
    const char *value; /* NULL: left out */
};

static size_t make_fields(const struct log_subject *subject, struct field fields[5])
{
    fields[0] = (struct field){"LEGONET_EVENT", "event", "", subject->event};
    fields[1] = (struct field){"LEGONET_MODEL", "model", "", subject->model};
    fields[2] = (struct field){"LEGONET_VERSION", "version", "", NULL};
    fields[3] = (struct field){"LEGONET_CLIENT_PID", "client_pid", "", NULL};
    fields[4] = (struct field){"LEGONET_CLIENT_UID", "client_uid", "", NULL};
    snprintf(fields[2].text, sizeof(fields[2].text), "%" PRIu64, subject->version);
    snprintf(fields[3].text, sizeof(fields[3].text), "%" PRId64, subject->pid);
    snprintf(fields[4].text, sizeof(fields[4].text), "%" PRIu32, subject->uid ? *subject->uid : 0);
    fields[2].value = subject->version ? fields[2].text : NULL;
    fields[3].value = subject->pid ? fields[3].text : NULL;
    fields[4].value = subject->uid ? fields[4].text : NULL;
    return 5;
}

static const char *const priorities[] = {"3", "4", "6", "7"}; /* syslog's */
static const char *const level_names[] = {"error", "warning", "info", "debug"};

/* No value holds a line feed: each is a line of its own. */
static void make_native(struct record *record, enum log_level level,
                        const struct log_subject *subject, const char *text)
{
    struct field fields[5];
    size_t count = subject ? make_fields(subject, fields) : 0;
    put(record, "PRIORITY=%s\nSYSLOG_IDENTIFIER=legonetd\n", priorities[level]);
    for (size_t i = 0; i < count; i++)
        if (fields[i].value)
            put(record, "%s=%s\n", fields[i].name, fields[i].value);
    put(record, "MESSAGE=%s\n", text);
}

static void put_json(struct record *record, const char *text)
{
    put(record, "\"");
    for (; *text;
         text++) /* what is no ASCII is as good as the peer has sent it: not all is UTF-8 */
        put(record, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text & 0x80 ? '?' : *text);
    put(record, "\"");
}

static void make_json(struct record *record, enum log_level level,
                      const struct log_subject *subject, const char *text)
{
    struct field fields[5];
    size_t count = subject ? make_fields(subject, fields) : 0;
    struct timespec now;
    struct tm utc;
    char date[32] = "";
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    put(record, "{\"time\":\"%s.%06ldZ\",\"level\":\"%s\"", date, now.tv_nsec / 1000,
        level_names[level]);
    for (size_t i = 0; i < count; i++)
        if (fields[i].value) {
            put(record, ",\"%s\":", fields[i].key);
            put_json(record, fields[i].value);
        }
    put(record, ",\"message\":");
    put_json(record, text);
    put(record, "}\n");
}

static void make_line(struct record *record, enum log_level level, const char *text)
{
    if (!isatty(STDERR_FILENO))
        put(record, "<%s>%s\n", priorities[level], text);
    else if (level == LOG_LEVEL_INFO)
        put(record, "%s\n", text);
    else
        put(record, "%s: %s\n", level_names[level], text);
}

static bool write_stderr(const struct record *record)
{
    struct pollfd stderr_poll = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&stderr_poll, 1, 0) == 1 &&
           write(STDERR_FILENO, record->text, record->used) == (ssize_t)record->used;
}

/* False where the record is lost. */
static bool put_record(enum log_level level, const struct log_subject *subject, const char *text)
{
    struct record record = {.used = 0};
    enum log_format format = (enum log_format)atomic_load(&form);
    if (format == LOG_FORMAT_JSON) {
        make_json(&record, level, subject, text);
        return write_stderr(&record);
    }
    if (format == LOG_FORMAT_AUTO && journal >= 0) {
        make_native(&record, level, subject, text);
        if (send(journal, record.text, record.used, MSG_NOSIGNAL) == (ssize_t)record.used)
            return true;
        if (errno == EAGAIN)
            return false;
        record.used = 0; /* the journal is not there: stderr may be */
    }
    make_line(&record, level, text);
    return write_stderr(&record);
}

void log_about(enum log_level level, const struct log_subject *subject, const char *format, ...)
{
    if ((int)level > atomic_load(&threshold))
        return;
    char text[LOG_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';

    pthread_mutex_lock(&bucket.mutex);
    if (!take_token()) {
        bucket.dropped++;
    } else {
        if (bucket.dropped > 0) {
            char note[64];
            snprintf(note, sizeof(note), "%" PRIu64 " log records were dropped", bucket.dropped);
            if (put_record(LOG_LEVEL_WARNING, NULL, note))
                bucket.dropped = 0;
        }
        bucket.dropped += !put_record(level, subject, text);
    }
    pthread_mutex_unlock(&bucket.mutex);
}
