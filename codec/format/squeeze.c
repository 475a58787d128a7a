/* Context mixing and binary arithmetic coding. FORMAT.md, section 3a. */
#include "codec/format/squeeze.h"
#include "codec/format/squeeze_primer.h"

#include "codec/base/status.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ORDERS      4 /* contexts of 0 to 3 bytes */
#define INPUTS      (ORDERS + 2)
#define SLOTS       65536u
#define MOST        2047 /* of a logit, in 256ths */
#define COUNT_LIMIT 30
#define RATE        1 /* of the mixture, over 2^14 */
#define LEAST_P     64u
#define LEAST_SLOT  32
#define MATCH_MOST  31
#define MATCH_LONG  8

/* What is known of a bit in a context. */
struct slot {
    uint16_t one; /* probability of a 1, over 2^16 */
    uint16_t count;
};

struct model {
    struct slot slots[ORDERS][SLOTS];
    struct slot match_slots[MATCH_MOST + 1][2];
    uint32_t last_at[SLOTS]; /* 1 + where the byte behind these three stands */
    int32_t weights[3][INPUTS];
    int16_t logits[4096]; /* of probabilities over 2^12 */
    const uint8_t *past;  /* the bytes before the one in the making */
    size_t at;
    size_t match_at; /* of the byte that is expected */
    uint32_t match_bytes;
};

static uint32_t probability(int32_t logit)
{
    /* 65536 / (1 + exp(-(i - 16) / 2)) */
    static const uint32_t curve[33] = {
        22,    36,    60,    98,    162,   267,   439,   720,   1179,  1921,  3108,
        4971,  7812,  11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565,
        62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514};
    const int32_t x = (logit > MOST ? MOST : logit < -MOST ? -MOST : logit) + MOST + 1;
    const uint32_t i = (uint32_t)x >> 7, part = (uint32_t)x & 127;

    return (curve[i] * (128 - part) + curve[i + 1] * part) >> 7;
}

/* What a bit is predicted from, and how. */
struct prediction {
    struct slot *slots[ORDERS];
    struct slot *match; /* NULL: nothing is expected */
    int32_t inputs[INPUTS], *weights;
    uint32_t one; /* probability of a 1, over 2^16 */
};

static uint32_t context_slot(const struct model *m, uint32_t order, uint32_t partial)
{
    uint32_t x = order << 24;

    for (uint32_t i = 0; i < order && i < m->at; i++)
        x += (uint32_t)m->past[m->at - 1 - i] << (8 * i);
    x *= 0x9e3779b1u;
    x = ((x ^ x >> 15) + partial) * 0x85ebca6bu;
    return x >> 16;
}

static int32_t logit_of(const struct model *m, const struct slot *slot, int32_t unknown)
{
    return slot->count > 0 ? m->logits[slot->one >> 4] : unknown;
}

/* `partial`: 1, then the bits of the byte so far; `bit`: the one wanted, 7 to 0. */
static void predict(struct model *m, uint32_t partial, int bit, struct prediction *p)
{
    int64_t sum = 0;
    uint32_t set = 0;

    p->match = NULL;
    for (uint32_t o = 0; o < ORDERS; o++) {
        p->slots[o] = &m->slots[o][context_slot(m, o, partial)];
        p->inputs[o] = logit_of(m, p->slots[o], 0);
    }
    p->inputs[ORDERS] = 0;
    if (m->match_bytes > 0 && (m->past[m->match_at] | 256u) >> (bit + 1) == partial) {
        const uint32_t bytes = m->match_bytes < MATCH_MOST ? m->match_bytes : MATCH_MOST;
        const uint32_t one = m->past[m->match_at] >> bit & 1;

        p->match = &m->match_slots[bytes][one];
        p->inputs[ORDERS] = logit_of(m, p->match, one ? 256 : -256);
        set = p->inputs[ORDERS] == 0 ? 0 : m->match_bytes < MATCH_LONG ? 1 : 2;
    }
    p->inputs[ORDERS + 1] = 64;
    p->weights = m->weights[set];
    for (int i = 0; i < INPUTS; i++)
        sum += (int64_t)p->weights[i] * p->inputs[i];
    sum >>= 16;
    p->one = probability((int32_t)(sum > MOST ? MOST : sum < -MOST ? -MOST : sum));
    if (p->one < LEAST_P)
        p->one = LEAST_P;
    if (p->one > 65536 - LEAST_P)
        p->one = 65536 - LEAST_P;
}

static void learn_slot(struct slot *slot, int32_t bit)
{
    /* 65536 / (count + 1.4) */
    const int32_t rate = 655360 / (10 * slot->count + 14);
    const int32_t one = slot->one + (int32_t)((((int64_t)bit << 16) - slot->one) * rate >> 16);

    slot->one = (uint16_t)(one < LEAST_SLOT           ? LEAST_SLOT
                           : one > 65535 - LEAST_SLOT ? 65535 - LEAST_SLOT
                                                      : one);
    slot->count += slot->count < COUNT_LIMIT;
}

static void learn(const struct prediction *p, int32_t bit)
{
    const int64_t error = ((int64_t)bit << 16) - p->one;

    for (int i = 0; i < INPUTS; i++)
        p->weights[i] += (int32_t)(p->inputs[i] * error * RATE >> 14);
    for (int o = 0; o < ORDERS; o++)
        learn_slot(p->slots[o], bit);
    if (p->match)
        learn_slot(p->match, bit);
}

static uint32_t *last_at(struct model *m)
{
    return &m->last_at[context_slot(m, 3, 0)];
}

/* Before a byte: looks for where the three before it stood last. */
static void begin_byte(struct model *m)
{
    if (m->at < 3)
        return;
    if (m->match_bytes == 0 && *last_at(m) > 0) {
        m->match_at = *last_at(m) - 1;
        m->match_bytes = 1;
    }
    *last_at(m) = (uint32_t)m->at + 1;
}

/* After a byte, which is the last of `past` now. */
static void end_byte(struct model *m)
{
    if (m->match_bytes > 0) {
        const bool right = m->past[m->match_at] == m->past[m->at];
        m->match_bytes = right ? m->match_bytes + 1 : 0;
        m->match_at++;
    }
    m->at++;
}

/* The arithmetic coder's interval, and its bytes. */
struct coder {
    uint32_t low, high;
    uint32_t code;       /* undoing */
    const uint8_t *from; /* undoing */
    uint8_t *to;         /* squeezing */
    size_t at, bytes;    /* of those bytes */
    bool full;
};

static uint32_t split(const struct coder *c, uint32_t one)
{
    return c->low + (uint32_t)((uint64_t)(c->high - c->low) * one >> 16);
}

static uint32_t next_byte(struct coder *c)
{
    return c->at++ < c->bytes ? c->from[c->at - 1] : 0;
}

static void put_byte(struct coder *c, uint32_t byte)
{
    c->full = c->full || c->at == c->bytes;
    if (!c->full)
        c->to[c->at++] = (uint8_t)byte;
}

static void narrow(struct coder *c, uint32_t middle, bool one)
{
    if (one)
        c->high = middle;
    else
        c->low = middle + 1;
    while (((c->low ^ c->high) & 0xff000000u) == 0) {
        if (c->to)
            put_byte(c, c->high >> 24);
        else
            c->code = c->code << 8 | next_byte(c);
        c->low <<= 8;
        c->high = c->high << 8 | 255;
    }
}

/* As few bytes as name a number of the interval, where zeros follow them. */
static void finish(struct coder *c)
{
    for (uint32_t count = 0; count <= 4; count++) {
        const uint64_t unit = UINT64_C(1) << (32 - 8 * count);
        const uint64_t number = (c->low + unit - 1) / unit * unit;

        if (number > c->high)
            continue;
        for (uint32_t i = 0; i < count; i++)
            put_byte(c, (uint32_t)(number >> (24 - 8 * i)));
        return;
    }
}

/* One byte of the past: coded, or read from what was coded, or (no coder) only learnt. */
static void do_byte(struct model *m, struct coder *c, uint8_t *byte)
{
    const uint32_t known = *byte;
    uint32_t partial = 1;

    begin_byte(m);
    for (int bit = 7; bit >= 0; bit--) {
        struct prediction p;
        predict(m, partial, bit, &p);
        uint32_t one = known >> bit & 1;
        if (c) {
            const uint32_t middle = split(c, p.one);
            if (!c->to)
                one = c->code <= middle;
            narrow(c, middle, one);
        }
        learn(&p, (int32_t)one);
        partial = partial * 2 + one;
    }
    *byte = (uint8_t)partial;
    end_byte(m);
}

static void start_model(struct model *m, uint8_t *past)
{
    memset(m, 0, sizeof(*m));
    m->past = past;
    for (uint32_t i = 0; i < ORDERS * SLOTS; i++)
        m->slots[i / SLOTS][i % SLOTS].one = 32768;
    for (uint32_t i = 0; i < 2 * (MATCH_MOST + 1); i++)
        m->match_slots[i / 2][i % 2].one = 32768;
    for (uint32_t i = 0; i < 3 * INPUTS; i++)
        m->weights[i / INPUTS][i % INPUTS] = 19660; /* 0.3 */
    int32_t logit = -MOST;
    for (uint32_t i = 0; i < 4096; i++) {
        while (logit < MOST && probability(logit) < 16 * i + 8)
            logit++;
        m->logits[i] = (int16_t)logit;
    }
    memcpy(past, squeeze_primer, SQUEEZE_PRIMER_BYTES);
    for (uint32_t i = 0; i < SQUEEZE_PRIMER_BYTES; i++)
        do_byte(m, NULL, &past[i]);
}

/* Squeezes or undoes, by which of the coder's ends is there. */
static int run(struct coder *c, uint8_t *data, size_t bytes)
{
    struct model *m = malloc(sizeof(*m));
    uint8_t *past = calloc(1, SQUEEZE_PRIMER_BYTES + bytes);
    const int status = m && past && bytes <= SQUEEZE_MAX_BYTES ? LEGO_OK : LEGO_E_NOMEM;

    if (status == LEGO_OK) {
        start_model(m, past);
        for (int i = 0; i < 4 && !c->to; i++)
            c->code = c->code << 8 | next_byte(c);
        if (c->to)
            memcpy(past + SQUEEZE_PRIMER_BYTES, data, bytes);
        for (size_t i = 0; i < bytes; i++)
            do_byte(m, c, &past[SQUEEZE_PRIMER_BYTES + i]);
        if (c->to)
            finish(c);
        else
            memcpy(data, past + SQUEEZE_PRIMER_BYTES, bytes);
    }
    free(m);
    free(past);
    return status;
}

int squeeze(const uint8_t *data, size_t bytes, uint8_t *ret_squeezed, size_t capacity,
            size_t *ret_bytes)
{
    struct coder c = {.high = UINT32_MAX, .to = ret_squeezed, .bytes = capacity};
    const int status = run(&c, (uint8_t *)(uintptr_t)data, bytes);

    if (status != LEGO_OK)
        return status;
    if (c.full)
        return LEGO_E_LIMIT;
    *ret_bytes = c.at;
    return LEGO_OK;
}

int squeeze_undo(const uint8_t *squeezed, size_t squeezed_bytes, uint8_t *ret_data, size_t bytes)
{
    struct coder c = {.high = UINT32_MAX, .from = squeezed, .bytes = squeezed_bytes};
    const int status = run(&c, ret_data, bytes);

    return status == LEGO_OK && c.at < squeezed_bytes ? LEGO_E_FORMAT : status;
}
