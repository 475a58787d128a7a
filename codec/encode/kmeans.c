#include "codec/encode/kmeans.h"
#include "codec/base/arith.h"
#include "codec/encode/random.h"

#include <float.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_VECTORS 2048 /* a task; sums over vectors are made in these pieces */
#define BLOCK         256  /* centroids that are compared at a time */

/* Centroids for the search: [block of BLOCK][dim][BLOCK], as the kernel wants them. */
struct table {
    const struct kern_table *kernels;
    uint32_t entries, dim;
    float *data;
};

static int table_create(uint32_t entries, uint32_t dim, const struct encode_workers *workers,
                        struct table *ret_table)
{
    struct table table = {
        .kernels = encode_workers_kernels(workers), .entries = entries, .dim = dim};

    table.data = calloc(lego_div_up(entries, BLOCK) * BLOCK, dim * sizeof(float));
    if (!table.data)
        return LEGO_E_NOMEM;
    *ret_table = table;
    return LEGO_OK;
}

static void table_fill(struct table *table, const float *centroids)
{
    for (uint32_t k = 0; k < table->entries; k++) {
        float *block = table->data + (size_t)(k / BLOCK) * BLOCK * table->dim;

        for (uint32_t t = 0; t < table->dim; t++)
            block[(size_t)t * BLOCK + k % BLOCK] = centroids[(size_t)k * table->dim + t];
    }
}

static uint32_t nearest(const struct table *table, const float *x, float *ret_distance)
{
    float best = FLT_MAX, distance[BLOCK];
    uint32_t best_k = 0;

    for (uint32_t first = 0; first < table->entries; first += BLOCK) {
        const uint32_t k = table->kernels->nearest_f32(
            table->dim, x, (uint32_t)lego_min_size(BLOCK, table->entries - first),
            table->data + (size_t)first * table->dim, BLOCK, distance);

        if (distance[k] < best) {
            best = distance[k];
            best_k = first + k;
        }
    }
    *ret_distance = best;
    return best_k;
}

/* One search of all vectors, by chunks. */
struct search {
    const float *vectors;
    size_t count;
    const struct table *table;
    uint32_t *index;
    float *distance;    /* NULL: not wanted */
    double *chunk_sums; /* [chunks] */
};

static void search_chunk(void *context, size_t chunk)
{
    const struct search *search = context;
    const size_t begin = chunk * CHUNK_VECTORS;
    const size_t end = lego_min_size(begin + CHUNK_VECTORS, search->count);
    double sum = 0;

    for (size_t i = begin; i < end; i++) {
        float distance;

        search->index[i] =
            nearest(search->table, search->vectors + i * search->table->dim, &distance);
        if (search->distance)
            search->distance[i] = distance;
        sum += distance;
    }
    search->chunk_sums[chunk] = sum;
}

static double sum_doubles(const double *values, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

static double search_run(struct search *search, struct encode_workers *workers)
{
    const size_t chunks = lego_div_up(search->count, CHUNK_VECTORS);

    encode_workers_run(workers, chunks, search_chunk, search);
    return sum_doubles(search->chunk_sums, chunks);
}

/* The state of one training. */
struct training {
    const float *vectors;
    size_t count;
    uint32_t dim, entries;
    struct encode_workers *workers;
    float *centroids;
    struct table table;
    uint32_t *index;  /* [count] */
    float *distance;  /* [count] */
    double *sums;     /* [chunks] */
    uint32_t *order;  /* [count] vectors by their centroid, then by number */
    uint32_t *starts; /* [entries + 1] where each centroid's run in `order` begins */
    bool reseeded;
};

static void training_clear(struct training *t)
{
    free(t->centroids);
    free(t->table.data);
    free(t->index);
    free(t->distance);
    free(t->sums);
    free(t->order);
    free(t->starts);
}

static int training_create(struct training *t, uint32_t wanted)
{
    const size_t chunks = lego_div_up(t->count, CHUNK_VECTORS);

    t->centroids = calloc(wanted, t->dim * sizeof(float));
    t->index = calloc(t->count, sizeof(*t->index));
    t->distance = calloc(t->count, sizeof(*t->distance));
    t->sums = calloc(chunks, sizeof(*t->sums));
    t->order = calloc(t->count, sizeof(*t->order));
    t->starts = calloc((size_t)wanted + 1, sizeof(*t->starts));
    if (!t->centroids || !t->index || !t->distance || !t->sums || !t->order || !t->starts)
        return LEGO_E_NOMEM;
    return LEGO_OK;
}

/* Brings each vector's distance to the nearest centroid up to date with the newest one. */
static void seed_chunk(void *context, size_t chunk)
{
    struct training *t = context;
    const float *newest = t->centroids + (size_t)(t->entries - 1) * t->dim;
    const size_t begin = chunk * CHUNK_VECTORS;
    const size_t end = lego_min_size(begin + CHUNK_VECTORS, t->count);
    double sum = 0;

    for (size_t i = begin; i < end; i++) {
        const float *x = t->vectors + i * t->dim;
        float distance = 0;

        for (uint32_t j = 0; j < t->dim; j++) {
            const float e = x[j] - newest[j];
            distance += e * e;
        }
        if (t->entries == 1 || distance < t->distance[i])
            t->distance[i] = distance;
        sum += t->distance[i];
    }
    t->sums[chunk] = sum;
}

/* The vector at which the running sum of distances passes `target`; never one at distance 0. */
static size_t seed_pick(const struct training *t, double target)
{
    const size_t chunks = lego_div_up(t->count, CHUNK_VECTORS);
    size_t pick = 0;

    for (size_t chunk = 0; chunk < chunks; chunk++) {
        if (target >= t->sums[chunk] && chunk + 1 < chunks) {
            target -= t->sums[chunk];
            continue;
        }
        const size_t end = lego_min_size((chunk + 1) * CHUNK_VECTORS, t->count);
        for (size_t i = chunk * CHUNK_VECTORS; i < end; i++) {
            if (t->distance[i] <= 0)
                continue;
            pick = i;
            target -= t->distance[i];
            if (target < 0)
                return pick;
        }
    }
    for (size_t i = t->count; t->distance[pick] <= 0 && i-- > 0;)
        pick = i; /* rounding led past the end: the last one that is not a centroid yet */
    return pick;
}

/* k-means++: each next centroid is a vector drawn with a chance of its squared distance. */
static void seed_centroids(struct training *t, uint32_t wanted, uint64_t seed)
{
    const size_t chunks = lego_div_up(t->count, CHUNK_VECTORS);
    struct encode_random random;

    encode_random_seed(&random, seed);
    size_t pick = (size_t)(encode_random_unit(&random) * (double)t->count);
    for (t->entries = 0; t->entries < wanted;) {
        memcpy(t->centroids + (size_t)t->entries * t->dim, t->vectors + pick * t->dim,
               t->dim * sizeof(float));
        t->entries++;
        encode_workers_run(t->workers, chunks, seed_chunk, t);
        const double total = sum_doubles(t->sums, chunks);
        if (!(total > 0))
            return; /* every vector is a centroid */
        pick = seed_pick(t, encode_random_unit(&random) * total);
    }
}

static void sort_by_centroid(struct training *t)
{
    memset(t->starts, 0, ((size_t)t->entries + 1) * sizeof(*t->starts));
    for (size_t i = 0; i < t->count; i++)
        t->starts[t->index[i] + 1]++;
    for (uint32_t k = 0; k < t->entries; k++)
        t->starts[k + 1] += t->starts[k];
    for (size_t i = 0; i < t->count; i++)
        t->order[t->starts[t->index[i]]++] = (uint32_t)i;
    for (uint32_t k = t->entries; k > 0; k--)
        t->starts[k] = t->starts[k - 1];
    t->starts[0] = 0;
}

static void update_centroid(void *context, size_t k)
{
    struct training *t = context;
    const uint32_t begin = t->starts[k], end = t->starts[k + 1];
    double sum[ENCODE_KMEANS_MAX_DIM] = {0};

    if (begin == end)
        return;
    for (uint32_t i = begin; i < end; i++) {
        const float *x = t->vectors + (size_t)t->order[i] * t->dim;

        for (uint32_t j = 0; j < t->dim; j++)
            sum[j] += x[j];
    }
    for (uint32_t j = 0; j < t->dim; j++)
        t->centroids[k * t->dim + j] = (float)(sum[j] / (end - begin));
}

/* A centroid that lost all its vectors starts again at the vector that is served worst. */
static void reseed_empty(struct training *t)
{
    t->reseeded = false;
    for (uint32_t k = 0; k < t->entries; k++) {
        size_t worst = 0;

        if (t->starts[k] != t->starts[k + 1])
            continue;
        for (size_t i = 1; i < t->count; i++) {
            if (t->distance[i] > t->distance[worst])
                worst = i;
        }
        if (!(t->distance[worst] > 0))
            return;
        t->distance[worst] = 0;
        memcpy(t->centroids + (size_t)k * t->dim, t->vectors + worst * t->dim,
               t->dim * sizeof(float));
        t->reseeded = true;
    }
}

static double assign_all(struct training *t)
{
    struct search search = {.vectors = t->vectors,
                            .count = t->count,
                            .table = &t->table,
                            .index = t->index,
                            .distance = t->distance,
                            .chunk_sums = t->sums};

    table_fill(&t->table, t->centroids);
    return search_run(&search, t->workers);
}

static void lloyd(struct training *t, uint32_t max_iterations, struct encode_kmeans *result)
{
    result->inertia = assign_all(t);
    for (result->iterations = 0; result->iterations < max_iterations;) {
        const double before = result->inertia;

        sort_by_centroid(t);
        encode_workers_run(t->workers, t->entries, update_centroid, t);
        reseed_empty(t);
        result->inertia = assign_all(t);
        result->iterations++;
        if (!t->reseeded && result->inertia >= before * (1 - 1e-5))
            break;
    }
}

/* Drops centroids that serve nothing. */
static void compact(struct training *t)
{
    uint32_t kept = 0;

    sort_by_centroid(t);
    for (uint32_t k = 0; k < t->entries; k++) {
        if (t->starts[k] == t->starts[k + 1])
            continue;
        memmove(t->centroids + (size_t)kept * t->dim, t->centroids + (size_t)k * t->dim,
                t->dim * sizeof(float));
        kept++;
    }
    t->entries = kept;
}

/* An even sample: one vector at a random place of each of `wanted` equal stretches. */
static float *sample_vectors(const float *vectors, size_t count, uint32_t dim, size_t wanted,
                             uint64_t seed)
{
    struct encode_random random;
    float *sample = malloc(wanted * dim * sizeof(float));

    if (!sample)
        return NULL;
    encode_random_seed(&random, ~seed);
    for (size_t i = 0; i < wanted; i++) {
        const double place = ((double)i + encode_random_unit(&random)) / (double)wanted;
        const size_t from = lego_min_size((size_t)(place * (double)count), count - 1);

        memcpy(sample + i * dim, vectors + from * dim, dim * sizeof(float));
    }
    return sample;
}

int encode_kmeans_train(const float *vectors, size_t count, uint32_t dim,
                        const struct encode_kmeans_options *options, struct encode_workers *workers,
                        struct encode_kmeans *ret_kmeans)
{
    struct training t = {.vectors = vectors, .count = count, .dim = dim, .workers = workers};
    uint32_t wanted;
    float *sample = NULL;
    int status;

    if (options->max_vectors && count > options->max_vectors) {
        t.count = options->max_vectors;
        sample = sample_vectors(vectors, count, dim, t.count, options->seed);
        if (!sample)
            return LEGO_E_NOMEM;
        t.vectors = sample;
    }
    wanted = (uint32_t)lego_min_size(options->entries, t.count);
    status = training_create(&t, wanted);
    if (status == LEGO_OK) {
        seed_centroids(&t, wanted, options->seed);
        status = table_create(t.entries, dim, workers, &t.table);
    }
    if (status == LEGO_OK) {
        struct encode_kmeans result = {0};

        lloyd(&t, options->max_iterations, &result);
        compact(&t);
        result.entries = t.entries;
        result.centroids = t.centroids;
        t.centroids = NULL;
        *ret_kmeans = result;
    }
    training_clear(&t);
    free(sample);
    return status;
}

void encode_kmeans_clear(struct encode_kmeans *kmeans)
{
    free(kmeans->centroids);
    *kmeans = (struct encode_kmeans){0};
}

int encode_kmeans_assign(const float *vectors, size_t count, uint32_t dim, const float *centroids,
                         uint32_t entries, struct encode_workers *workers, uint32_t *ret_index,
                         double *ret_inertia)
{
    struct table table = {0};
    double *sums = calloc(lego_div_up(count, CHUNK_VECTORS) + 1, sizeof(*sums));
    int status = sums ? table_create(entries, dim, workers, &table) : LEGO_E_NOMEM;

    if (status == LEGO_OK) {
        struct search search = {.vectors = vectors,
                                .count = count,
                                .table = &table,
                                .index = ret_index,
                                .chunk_sums = sums};
        table_fill(&table, centroids);
        const double inertia = search_run(&search, workers);
        if (ret_inertia)
            *ret_inertia = inertia;
    }
    free(table.data);
    free(sums);
    return status;
}
