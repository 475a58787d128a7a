/*
 * kernels_check [--seed N] [--only NAME] [--cpu MASK]
 *
 * Checks every entry of the table under every subset of this machine's CPU features that changes
 * it, or under one mask. Exit status 0: all hold; 1: a kernel fails; 2: bad usage.
 */
#include "tests/kernels/harness.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES = 0
#define KERN_ENTRY(...) +1
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
};

enum { MASKS = 32 };

/* Each ISA that an entry was checked on, so that a mask that changes nothing costs nothing. */
static const char *checked[ENTRIES][MASKS];

static bool check_is_new(size_t entry, const char *isa)
{
    for (size_t i = 0; i < MASKS; i++) {
        if (!checked[entry][i]) {
            checked[entry][i] = isa;
            return true;
        }
        if (!strcmp(checked[entry][i], isa))
            return false;
    }
    return true;
}

static unsigned long check_table(const struct kern_table *table, uint64_t seed, const char *only)
{
    struct kern_table reference;
    unsigned long failures = 0;
    size_t entry = 0;

    kern_init_reference(&reference);
#define KERN_ENTRY(name, type, tolerance, check)                                                   \
    if ((!only || !strcmp(only, #name)) && check_is_new(entry, table->isa.name)) {                 \
        struct check_entry e = {#name, table->isa.name, tolerance, &table->name, &reference.name}; \
        struct check_report *report = check_begin(#name, table->isa.name);                         \
        rng_seed(seed);                                                                            \
        check_##check(&e);                                                                         \
        printf("%s %-18s %-8s %lu cases\n", report->failures ? "FAIL" : "ok  ", #name,             \
               table->isa.name, report->cases);                                                    \
        failures += report->failures;                                                              \
    }                                                                                              \
    entry++;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
    return failures;
}

/* What a person may write in LEGO_CPU. */
static unsigned long check_masks(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint32_t mask;
        const char *formatted;
    } cases[] = {
        {"avx2", true, KERN_CPU_AVX2, "avx2"},
        {"avx2,avx512", true, KERN_CPU_AVX2 | KERN_CPU_AVX512, "avx2,avx512"},
        {"c", true, 0, "c"},
        {"none", true, 0, "c"},
        {"none,neon", true, KERN_CPU_NEON, "neon"},
        {"all,-all", true, 0, "c"},
        {"neon,dotprod,-neon", true, KERN_CPU_DOTPROD, "dotprod"},
        {"", false, 0, NULL},
        {"avx", false, 0, NULL},
        {"avx22", false, 0, NULL},
        {"avx2,", false, 0, NULL},
        {",avx2", false, 0, NULL},
        {"-", false, 0, NULL},
        {"avx2 ", false, 0, NULL},
    };
    unsigned long failures = 0;
    uint32_t mask;
    char text[64], tight[6];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        mask = 12345;
        bool ok = kern_cpu_parse(cases[i].text, &mask);
        bool right = ok == cases[i].ok && mask == (ok ? cases[i].mask : 12345);
        if (right && ok)
            right = !strcmp(kern_cpu_format(mask, text, sizeof(text)), cases[i].formatted);
        if (!right) {
            printf("FAIL mask \"%s\"\n", cases[i].text);
            failures++;
        }
    }
    if (!kern_cpu_parse("-avx512", &mask) || mask != ~(uint32_t)KERN_CPU_AVX512 ||
        strcmp(kern_cpu_format(KERN_CPU_AVX2 | KERN_CPU_AVX512, tight, sizeof(tight)), "avx2,")) {
        printf("FAIL masks: removal from all, cut text\n");
        failures++;
    }
    return failures;
}

/* The subsets of the machine's features. */
static unsigned long check_subsets(uint64_t seed, const char *only)
{
    uint32_t all = kern_cpu_detect(), subset = 0;
    unsigned long failures = 0;

    do {
        struct kern_table table;
        harness_table(&table, subset);
        failures += check_table(&table, seed, only);
        subset = (subset - all) & all;
    } while (subset != 0);
    return failures;
}

static int usage(void)
{
    fprintf(stderr, "usage: kernels_check [--seed N] [--only NAME] [--cpu MASK]\n");
    return 2;
}

static bool entry_exists(const char *name)
{
#define KERN_ENTRY(entry, ...) \
    if (!strcmp(name, #entry)) \
        return true;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
    return false;
}

int main(int argc, char **argv)
{
    const char *only = NULL, *cpu = NULL;
    uint64_t seed = 1;
    char text[64];

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            return usage();
        if (!strcmp(argv[i], "--seed"))
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--only"))
            only = argv[i + 1];
        else if (!strcmp(argv[i], "--cpu"))
            cpu = argv[i + 1];
        else
            return usage();
    }
    if (only && !entry_exists(only)) {
        fprintf(stderr, "kernels_check: no kernel \"%s\"\n", only);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    check_catch_faults();
    printf("seed %llu, cpu %s\n", (unsigned long long)seed,
           kern_cpu_format(kern_cpu_detect(), text, sizeof(text)));
    unsigned long failures = check_masks();
    if (cpu) {
        struct kern_table table;
        uint32_t mask;
        if (!kern_cpu_parse(cpu, &mask))
            return usage();
        harness_table(&table, mask);
        failures += check_table(&table, seed, only);
    } else {
        failures += check_subsets(seed, only);
    }
    printf("%lu failures\n", failures);
    return failures != 0;
}
