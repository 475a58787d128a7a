/*
 * legonet capture list, export: what the agent has kept of inferences (capture.folder), to look at
 * and to calibrate with.
 */
#include "agent/cli/capture_record.h"
#include "agent/cli/commands.h"
#include "agent/cli/options.h"
#include "agent/cli/output.h"
#include "codec/base/file_out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_FOLDER "/var/lib/legonet/capture"

struct capture_options {
    const char *model, *output;
    double below;
    uint64_t last;
    bool outputs, json;
};

#define OPTION(field) .offset = offsetof(struct capture_options, field)

static const struct cli_option OPTIONS[] = {
    {.name = "model",
     .letter = 'm',
     .type = CLI_STRING,
     OPTION(model),
     .value = "NAME",
     .help = "only records of this model"},
    {.name = "below",
     .type = CLI_DOUBLE,
     OPTION(below),
     .value = "PERCENT",
     .otherwise = "101",
     .min = 0,
     .max = 101,
     .help = "only those whose likeliest class has less than so many percent"},
    {.name = "last",
     .letter = 'n',
     .type = CLI_UINT,
     OPTION(last),
     .value = "N",
     .otherwise = "1000000",
     .min = 1,
     .max = 1000000,
     .help = "only the last N of them"},
    {.name = "output",
     .letter = 'o',
     .type = CLI_STRING,
     OPTION(output),
     .value = "DIR",
     .help = "export: the folder that the arrays go to; it is made"},
    {.name = "outputs",
     .type = CLI_FLAG,
     OPTION(outputs),
     .value = NULL,
     .help = "export: what was answered, too"},
    {.name = "json", .type = CLI_FLAG, OPTION(json), .value = NULL, .help = "list: as JSON"},
    CLI_OPTIONS_END,
};

static const struct cli_spec SPEC = {
    .command = "capture",
    .arguments = "list|export [FOLDER]",
    .about =
        "What the agent has kept of its inferences in FOLDER (capture.folder of its "
        "configuration;\n"
        "default: " DEFAULT_FOLDER "). list shows the records, the oldest first. export writes\n"
        "their inputs as RECORD.NAME.npy, which 'legonet run --input', 'legonet infer' and\n"
        "'legonet compress --calibrate' take; other tools read a record as it is (numpy.load).",
    .options = OPTIONS,
    .min_positional = 1,
    .max_positional = 2,
};

static int is_record(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 4 && !strcmp(entry->d_name + length - 4, ".npz");
}

/* "2026-11-25T12:00:00.123Z". */
static void format_time(uint64_t ns, char *text, size_t bytes)
{
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm utc = {0};
    char date[32] = "";
    if (gmtime_r(&seconds, &utc))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, bytes, "%s.%03uZ", date, (unsigned)(ns / 1000000 % 1000));
}

static bool is_wanted(const struct capture_options *options, const struct capture_record *record)
{
    return (!options->model || !strcmp(options->model, record->model)) &&
           (options->below > 100 ||
            (record->confidence >= 0 && record->confidence < options->below));
}

/* ---- list ---- */

static void list_line(const char *name, const struct capture_record *record)
{
    char when[64], percent[16] = "-";
    format_time(record->time_ns, when, sizeof(when));
    if (record->confidence >= 0)
        snprintf(percent, sizeof(percent), "%.1f %%", record->confidence);
    printf("%s  %-20s %7s  %8s  %10zu  %s\n", when, record->model, record->version, percent,
           record->bytes, name);
}

static int list_json(json_t *list, const char *name, const struct capture_record *record)
{
    char when[64];
    json_t *members = json_array();
    format_time(record->time_ns, when, sizeof(when));
    for (size_t i = 0; i < record->member_count; i++)
        json_array_append_new(members, json_string(record->members[i].name));
    json_t *entry =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:o}", "file", name, "time", when, "model",
                  record->model, "version", record->version, "confidence_percent",
                  record->confidence >= 0 ? cli_json_real(record->confidence) : json_null(),
                  "bytes", (json_int_t)record->bytes, "members", members);
    return json_array_append_new(list, entry) == 0 ? LEGO_OK : LEGO_E_NOMEM;
}

/* ---- export ---- */

/* "inputs/x.npy" -> "x": a file of that name stays in the folder. */
static void plain_name(const char *member, char *name, size_t bytes)
{
    const char *start = strchr(member, '/');
    snprintf(name, bytes, "%s", start ? start + 1 : member);
    for (char *at = name; *at; at++)
        if (*at == '/' || *at == '.')
            *at = at[0] == '.' && !strcmp(at, ".npy") ? '.' : '_';
}

static int export_member(const char *folder, const char *record_name,
                         const struct capture_member *member, struct lego_diag *diag)
{
    char path[PATH_MAX], name[256];
    plain_name(member->name, name, sizeof(name));
    int length = (int)strlen(record_name) - 4; /* without .npz */
    if (snprintf(path, sizeof(path), "%s/%.*s.%s", folder, length, record_name, name) >=
        (int)sizeof(path))
        return lego_fail(diag, LEGO_E_LIMIT, "%s: the path is too long", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return lego_fail_errno(diag, errno, "%s", path);
    int error = file_write_all(fd, member->data, member->bytes);
    if (close(fd) != 0 && !error)
        error = errno;
    return error ? lego_fail_errno(diag, error, "%s", path) : LEGO_OK;
}

static int export_record(const struct capture_options *options, const char *name,
                         const struct capture_record *record, struct lego_diag *diag)
{
    int status = LEGO_OK;
    for (size_t i = 0; status == LEGO_OK && i < record->member_count; i++) {
        const char *member = record->members[i].name;
        if (!strncmp(member, "inputs/", 7) || (options->outputs && !strncmp(member, "outputs/", 8)))
            status = export_member(options->output, name, &record->members[i], diag);
    }
    return status;
}

/* ---- both ---- */

struct work {
    const struct capture_options *options;
    const char *folder;
    bool exports;
    json_t *list;
    size_t done, broken;
};

static int do_record(struct work *work, const char *name, bool only_look, bool *ret_wanted,
                     struct lego_diag *diag)
{
    char path[PATH_MAX];
    struct capture_record record;
    snprintf(path, sizeof(path), "%s/%s", work->folder, name);
    int status = capture_record_read(path, &record, diag);
    *ret_wanted = status == LEGO_OK && is_wanted(work->options, &record);
    if (*ret_wanted && !only_look) {
        if (work->exports)
            status = export_record(work->options, name, &record, diag);
        else if (work->list)
            status = list_json(work->list, name, &record);
        else
            list_line(name, &record);
        work->done++;
    }
    capture_record_clear(&record);
    return status;
}

/* One that is no record is named and left out: the ring may have removed it meanwhile, too. */
static int do_all(struct work *work, struct dirent **entries, int count, struct lego_diag *diag)
{
    uint64_t left = work->options->last;
    int first = count, status = LEGO_OK;
    bool wanted;
    while (first > 0 && left > 0) {
        struct lego_diag ignored = LEGO_DIAG_INIT;
        do_record(work, entries[--first]->d_name, true, &wanted, &ignored);
        left -= wanted;
    }
    for (int i = first; status == LEGO_OK && i < count; i++) {
        status = do_record(work, entries[i]->d_name, false, &wanted, diag);
        if (status == LEGO_E_FORMAT || status == LEGO_E_NOT_FOUND) {
            fprintf(stderr, "legonet capture: %s\n", lego_diag_text(diag, status));
            *diag = (struct lego_diag)LEGO_DIAG_INIT;
            work->broken += status == LEGO_E_FORMAT;
            status = LEGO_OK;
        }
    }
    return status;
}

static int run(struct work *work, struct lego_diag *diag)
{
    struct dirent **entries;
    if (work->exports && mkdir(work->options->output, 0777) != 0 && errno != EEXIST)
        return lego_fail_errno(diag, errno, "%s", work->options->output);
    int count = scandir(work->folder, &entries, is_record, alphasort);
    if (count < 0)
        return lego_fail_errno(diag, errno, "%s", work->folder);
    int status = do_all(work, entries, count, diag);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return status;
}

static int work_on(const struct capture_options *options, const struct cli_list *words)
{
    struct lego_diag diag = LEGO_DIAG_INIT;
    struct work work = {.options = options,
                        .folder = words->count > 1 ? words->items[1] : DEFAULT_FOLDER,
                        .exports = !strcmp(words->items[0], "export")};
    if (!work.exports && strcmp(words->items[0], "list"))
        return cli_usage(&SPEC, "want list or export, not \"%s\"", words->items[0]);
    if (work.exports && !options->output)
        return cli_usage(&SPEC, "export needs --output");
    if (!work.exports && (options->output || options->outputs))
        return cli_usage(&SPEC, "--output and --outputs go with export");
    if (options->json && !work.exports)
        work.list = json_array();
    int status = run(&work, &diag);
    if (status != LEGO_OK) {
        json_decref(work.list);
        return cli_fail_diag(SPEC.command, status, &diag);
    }
    if (work.list)
        return cli_print_json(SPEC.command, work.list);
    if (work.exports)
        printf("%zu records to %s\n", work.done, options->output);
    return cli_finish(SPEC.command, work.broken ? CLI_FAILED : CLI_DONE);
}

int cmd_capture(int argc, char **argv)
{
    struct capture_options options = {0};
    struct cli_list words;
    int code = cli_parse(&SPEC, argc, argv, &options, &words);
    if (code != CLI_GO_ON)
        return code;
    code = work_on(&options, &words);
    cli_list_clear(&words);
    return code;
}
