/* Random numbers, guarded buffers, comparisons and the report. */
#include "tests/kernels/harness.h"

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CANARY = 0xa5 };

static uint64_t rng_state;
static char case_text[256];
static struct check_report report;

const uint32_t check_sizes[] = {1,  2,  3,  4,  5,  7,  8,  9,  13, 15, 16,
                                17, 23, 29, 31, 32, 33, 53, 64, 65, 101};
const size_t check_size_count = sizeof(check_sizes) / sizeof(check_sizes[0]);

void rng_seed(uint64_t seed)
{
    rng_state = seed;
}

/* splitmix64 */
uint32_t rng_next(void)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

uint32_t rng_below(uint32_t n)
{
    return (uint32_t)(((uint64_t)rng_next() * n) >> 32);
}

float rng_float(void)
{
    return (float)(int32_t)rng_next() * 0x1p-31f;
}

static float extreme(void)
{
    static const float values[] = {INFINITY, -INFINITY, NAN,    0.0f,  -0.0f,  FLT_MIN / 8,
                                   -FLT_MIN, 1e30f,     -1e30f, 88.0f, -88.0f, 100.0f,
                                   -104.0f,  1.0f,      -1.0f,  6.0f,  -3.0f,  0x1p-149f};
    return values[rng_below(sizeof(values) / sizeof(values[0]))];
}

void fill_floats(float *x, size_t n, enum fill fill)
{
    for (size_t i = 0; i < n; i++) {
        float value = rng_float();
        if (fill == FILL_WIDE)
            value = ldexpf(value * 100.0f, -(int)(rng_below(4) ? rng_below(12) : rng_below(150)));
        else if (fill == FILL_EXTREME && rng_below(8) == 0)
            value = extreme();
        x[i] = value;
    }
}

void *guard_alloc(struct guard *guard, size_t bytes, size_t align, enum guard_side side)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + align + page - 1) / page * page;

    guard->bytes = bytes;
    guard->map_bytes = inner + 2 * page;
    guard->map = mmap(NULL, guard->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guard->map == MAP_FAILED ||
        mprotect(guard->map + page, inner, PROT_READ | PROT_WRITE) != 0) {
        perror("mmap");
        exit(2);
    }
    memset(guard->map + page, CANARY, inner);
    guard->data = guard->map + page;
    if (side == GUARD_END)
        guard->data += (inner - bytes) / align * align;
    return guard->data;
}

void guard_free(struct guard *guard)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *end = guard->map + guard->map_bytes - page;

    for (unsigned char *p = guard->map + page; p < end; p++) {
        if (p == guard->data)
            p += guard->bytes;
        if (p < end && *p != CANARY) {
            check_fail("wrote %td bytes from the buffer's start (%zu bytes)", p - guard->data,
                       guard->bytes);
            break;
        }
    }
    munmap(guard->map, guard->map_bytes);
}

void check_case(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(case_text, sizeof(case_text), format, args);
    va_end(args);
    report.cases++;
    report.failed_case = false;
}

void check_fail(const char *format, ...)
{
    va_list args;

    if (report.failed_case)
        return;
    report.failed_case = true;
    if (report.failures++ >= 5)
        return;
    printf("FAIL %s (%s): %s: ", report.name, report.isa, case_text);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static bool close_enough(float got, float expected, double allowed)
{
    if (isnan(expected) || isnan(got))
        return isnan(expected) && isnan(got);
    if (got == expected)
        return true;
    if (isinf(expected) || isinf(got))
        return false;
    return fabs((double)got - expected) <= allowed;
}

void check_compare(const struct check_entry *entry, const float *got, const float *expected,
                   const float *scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double magnitude = scale ? scale[i] : fabsf(expected[i]);
        double allowed = entry->tolerance > 0 ? entry->tolerance * magnitude + 0x1p-148 : 0.0;
        if (!close_enough(got[i], expected[i], allowed)) {
            check_fail("element %zu of %zu is %.9g (%a), not %.9g (%a); allowed %.3g", i, n, got[i],
                       got[i], expected[i], expected[i], allowed);
            return;
        }
    }
}

/* A kernel that leaves its buffers ends here: say which, then end. */
static void on_fault(int number)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "FAIL %s (%s): %s: signal %d\n", report.name,
                          report.isa, case_text, number);

    if (write(STDOUT_FILENO, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

void check_catch_faults(void)
{
    struct sigaction action = {.sa_handler = on_fault};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
}

struct check_report *check_begin(const char *name, const char *isa)
{
    report = (struct check_report){.name = name, .isa = isa};
    snprintf(case_text, sizeof(case_text), "start");
    return &report;
}
