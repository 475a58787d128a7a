/* The table's first filling, and the names of CPU features. */
#include "codec/kernels/ref/ref.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *text;
    uint32_t bit;
} cpu_names[] = {
#define KERN_CPU(name, bit, text) {text, KERN_CPU_##name},
#include "codec/kernels/cpu.def"
#undef KERN_CPU
};

enum { CPU_NAMES = sizeof(cpu_names) / sizeof(cpu_names[0]) };

void kern_init_reference(struct kern_table *table)
{
    table->cpu = 0;
#define KERN_ENTRY(name, type, ...) \
    table->name = kern_ref_##name;  \
    table->isa.name = KERN_REFERENCE;
#include "codec/kernels/kernels.def"
#undef KERN_ENTRY
}

/* The bits of one word of a mask; false where it is no word. */
static bool cpu_word(const char *word, size_t length, uint32_t *ret_bits)
{
    if ((length == 4 && !memcmp(word, "none", 4)) || (length == 1 && *word == 'c')) {
        *ret_bits = 0;
        return true;
    }
    if (length == 3 && !memcmp(word, "all", 3)) {
        *ret_bits = (uint32_t)KERN_CPU_ALL;
        return true;
    }
    for (size_t i = 0; i < CPU_NAMES; i++) {
        if (strlen(cpu_names[i].text) == length && !memcmp(cpu_names[i].text, word, length)) {
            *ret_bits = cpu_names[i].bit;
            return true;
        }
    }
    return false;
}

bool kern_cpu_parse(const char *text, uint32_t *ret_mask)
{
    uint32_t mask = *text == '-' ? (uint32_t)KERN_CPU_ALL : 0;

    for (;;) {
        bool remove = *text == '-';
        uint32_t bits;
        text += remove;
        size_t length = strcspn(text, ",");
        if (!cpu_word(text, length, &bits))
            return false;
        mask = remove ? mask & ~bits : mask | bits;
        text += length;
        if (!*text)
            break;
        text++;
    }
    *ret_mask = mask;
    return true;
}

const char *kern_cpu_format(uint32_t cpu, char *buffer, size_t bytes)
{
    size_t used = 0;

    snprintf(buffer, bytes, "c");
    for (size_t i = 0; i < CPU_NAMES; i++) {
        if (!(cpu & cpu_names[i].bit) || used >= bytes)
            continue;
        used += (size_t)snprintf(buffer + used, bytes - used, "%s%s", used ? "," : "",
                                 cpu_names[i].text);
    }
    return buffer;
}
