#include "agent/service/cpus.h"

#include "agent/service/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "0-1" or "2,3": false where it is no such list. */
static bool parse_word(const char *word, size_t length, cpu_set_t *ret_set)
{
    const char *at = word, *end = word + length;
    CPU_ZERO(ret_set);
    while (at < end) {
        char *rest;
        if (!isdigit((unsigned char)*at))
            return false;
        unsigned long first = strtoul(at, &rest, 10), last = first;
        if (rest < end && *rest == '-' && isdigit((unsigned char)rest[1]))
            last = strtoul(rest + 1, &rest, 10);
        if (first > last || last >= CPU_SETSIZE || rest > end || (rest < end && *rest != ','))
            return false;
        for (unsigned long cpu = first; cpu <= last; cpu++)
            CPU_SET(cpu, ret_set);
        at = rest + (rest < end);
    }
    return length > 0 && word[length - 1] != ',';
}

/* The next word from *at on; 0: there is none. */
static size_t next_word(const char **at)
{
    *at += strspn(*at, " ");
    return strcspn(*at, " ");
}

int cpus_check(const char *text, struct lego_diag *diag)
{
    cpu_set_t wanted, here, both;
    if (sched_getaffinity(0, sizeof(here), &here) != 0)
        return lego_fail_errno(diag, errno, "engines.cpus");
    for (size_t length; (length = next_word(&text)); text += length) {
        if (!parse_word(text, length, &wanted))
            return lego_fail(diag, LEGO_E_CONFIG,
                             "engines.cpus: \"%.*s\" is no list of cores, as 0-1 or 2,3",
                             (int)length, text);
        CPU_AND(&both, &wanted, &here);
        if (CPU_COUNT(&both) == 0)
            return lego_fail(diag, LEGO_E_CONFIG,
                             "engines.cpus: the agent may not run on any core of \"%.*s\"",
                             (int)length, text);
    }
    return LEGO_OK;
}

/* False where none are configured. */
static bool find(const char *text, uint32_t engine, cpu_set_t *ret_set)
{
    uint32_t count = 0, index = 0;
    const char *at = text;
    for (size_t length; (length = next_word(&at)); at += length)
        count++;
    at = text;
    for (size_t length; (length = next_word(&at)); at += length)
        if (index++ == engine % count)
            return parse_word(at, length, ret_set);
    return false;
}

bool cpus_enter(const char *text, uint32_t engine, cpu_set_t *ret_before)
{
    cpu_set_t set;
    if (!find(text, engine, &set) ||
        (ret_before && sched_getaffinity(0, sizeof(*ret_before), ret_before) != 0))
        return false;
    if (sched_setaffinity(0, sizeof(set), &set) == 0)
        return true;
    log_warning("engine %u cannot keep to its cores (engines.cpus): %s", engine, strerror(errno));
    return false;
}

void cpus_leave(const cpu_set_t *before)
{
    if (sched_setaffinity(0, sizeof(*before), before) != 0)
        log_warning("the loader cannot leave an engine's cores: %s", strerror(errno));
}
