/*
 * kernels_bench [--only NAME] [--cpu MASK] [--json]
 *
 * Without --cpu: the machine's features one after the other, as far as they change an entry. The
 * last lines are what memcpy does here, for comparison with what moves data, and the peak of FMAs,
 * for comparison with what computes.
 */
#include "tests/kernels/bench.h"
#include "tests/kernels/bench_peak.h"
#include "tests/kernels/harness.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool json;
static bool first_line = true;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of one call: the best of five rounds of about 4 ms. */
static double measure(bench_run run, const void *entry, void *context)
{
    unsigned long calls = 1;
    double best = 0.0;

    run(entry, context);
    for (;;) {
        double start = now();
        for (unsigned long i = 0; i < calls; i++)
            run(entry, context);
        if (now() - start > 0.004)
            break;
        calls *= 2;
    }
    for (int round = 0; round < 5; round++) {
        double start = now();
        for (unsigned long i = 0; i < calls; i++)
            run(entry, context);
        double each = (now() - start) / (double)calls;
        if (round == 0 || each < best)
            best = each;
    }
    return best;
}

static void print_line(const char *name, const char *isa, const char *shape, const char *unit,
                       double rate, double ratio)
{
    if (json)
        printf("%s{\"kernel\": \"%s\", \"isa\": \"%s\", \"shape\": \"%s\", \"unit\": \"%s\", "
               "\"rate\": %.3f, \"ratio\": %.3f}",
               first_line ? "[\n" : ",\n", name, isa, shape, unit, rate, ratio);
    else
        printf("%-17s %-7s %-34s %9.2f %-8s %7.2fx\n", name, isa, shape, rate, unit, ratio);
    first_line = false;
    fflush(stdout);
}

void bench_report_share(const struct check_entry *entry, const char *shape, const char *unit,
                        double work, double share, bench_run run, void *context,
                        void *reference_context)
{
    double tested = measure(run, entry->tested, context);
    double reference = measure(run, entry->reference, reference_context) / share;

    print_line(entry->name, entry->isa, shape, unit, work / tested * 1e-9, reference / tested);
}

void bench_report(const struct check_entry *entry, const char *shape, const char *unit, double work,
                  bench_run run, void *context)
{
    bench_report_share(entry, shape, unit, work, 1.0, run, context, context);
}

float *bench_floats(size_t count)
{
    float *x = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);

    if (!x) {
        perror("kernels_bench");
        exit(2);
    }
    fill_floats(x, count, FILL_PLAIN);
    return x;
}

struct copy {
    float *from, *to;
    size_t bytes;
};

static void run_copy(const void *entry, void *context)
{
    struct copy *copy = context;

    (void)entry;
    memcpy(copy->to, copy->from, copy->bytes);
    __asm__ volatile("" : : "r"(copy->to) : "memory");
}

static void bench_memcpy(void)
{
    static const size_t kib[] = {16, 256, 65536};
    char shape[64];

    for (size_t i = 0; i < sizeof(kib) / sizeof(kib[0]); i++) {
        struct copy copy = {.bytes = kib[i] * 1024};
        copy.from = bench_floats(copy.bytes / 4);
        copy.to = bench_floats(copy.bytes / 4);
        snprintf(shape, sizeof(shape), "%zu KiB", kib[i]);
        print_line("memcpy", "libc", shape, "GB/s",
                   (double)copy.bytes / measure(run_copy, NULL, &copy) * 1e-9, 1.0);
        free(copy.from);
        free(copy.to);
    }
}

static void run_peak(const void *entry, void *context)
{
    (void)context;
    (*(const bench_peak_fn *)entry)();
}

static void bench_peak(void)
{
    const char *isa;
    bench_peak_fn peak = bench_peak_choose(&isa);
    double macs = (double)peak();

    print_line("fma", isa, "registers only", "GFLOP/s",
               2.0 * macs / measure(run_peak, &peak, NULL) * 1e-9, 1.0);
}

static void bench_table(const struct kern_table *table, const struct kern_table *before,
                        const char *only)
{
    struct kern_table reference;

    kern_init_reference(&reference);
#define KERN_ENTRY(name, type, tolerance, check)                                                   \
    if ((!only || !strcmp(only, #name)) && strcmp(table->isa.name, before->isa.name) != 0) {       \
        struct check_entry e = {#name, table->isa.name, tolerance, &table->name, &reference.name}; \
        bench_##check(&e);                                                                         \
    }
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
}

/* One feature more each time. */
static void bench_features(const char *only)
{
    struct kern_table before, table;
    uint32_t all = kern_cpu_detect(), cpu = 0;

    kern_init_reference(&before);
    for (uint32_t bit = 0; bit < 32; bit++) {
        cpu |= all & (1u << bit);
        harness_table(&table, cpu);
        bench_table(&table, &before, only);
        before = table;
    }
}

int main(int argc, char **argv)
{
    const char *only = NULL, *cpu = NULL;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json")) {
            json = true;
        } else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
            only = argv[++i];
        } else if (!strcmp(argv[i], "--cpu") && i + 1 < argc) {
            cpu = argv[++i];
        } else {
            fprintf(stderr, "usage: kernels_bench [--only NAME] [--cpu MASK] [--json]\n");
            return 2;
        }
    }
    rng_seed(1);
    if (cpu) {
        struct kern_table table, none = {0};
        uint32_t mask;
        if (!kern_cpu_parse(cpu, &mask)) {
            fprintf(stderr, "kernels_bench: unknown feature in \"%s\"\n", cpu);
            return 2;
        }
        harness_table(&table, mask);
#define KERN_ENTRY(name, ...) none.isa.name = "";
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
        bench_table(&table, &none, only);
    } else {
        bench_features(only);
    }
    bench_memcpy();
    bench_peak();
    if (json)
        printf("\n]\n");
    return 0;
}
