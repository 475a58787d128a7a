#include "codec/encode/kmeans.h"
#include "codec/encode/random.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *make_vectors(size_t count, uint32_t dim, uint64_t seed)
{
    struct encode_random random;
    float *vectors = malloc(count * dim * sizeof(float));

    ck_assert_ptr_nonnull(vectors);
    encode_random_seed(&random, seed);
    for (size_t i = 0; i < count * dim; i++)
        vectors[i] = (float)(encode_random_unit(&random) + encode_random_unit(&random) - 1);
    return vectors;
}

static struct encode_kmeans train(const float *vectors, size_t count, uint32_t dim,
                                  uint32_t entries, uint32_t iterations, uint32_t threads)
{
    const struct encode_kmeans_options options = {
        .entries = entries, .max_iterations = iterations, .seed = 5};
    struct encode_workers *workers = encode_workers_create(threads, NULL);
    struct encode_kmeans kmeans;

    ck_assert_ptr_nonnull(workers);
    ck_assert_int_eq(encode_kmeans_train(vectors, count, dim, &options, workers, &kmeans), LEGO_OK);
    encode_workers_destroy(workers);
    return kmeans;
}

START_TEST(the_same_bits_for_any_number_of_threads)
{
    float *vectors = make_vectors(30000, 6, 1);
    struct encode_kmeans one = train(vectors, 30000, 6, 37, 12, 1);

    for (uint32_t threads = 2; threads <= 5; threads++) {
        struct encode_kmeans more = train(vectors, 30000, 6, 37, 12, threads);

        ck_assert_uint_eq(more.entries, one.entries);
        ck_assert_mem_eq(more.centroids, one.centroids, one.entries * 6 * sizeof(float));
        ck_assert(more.inertia == one.inertia);
        encode_kmeans_clear(&more);
    }
    encode_kmeans_clear(&one);
    free(vectors);
}
END_TEST

static uint32_t nearest_by_hand(const float *x, const float *centroids, uint32_t entries,
                                uint32_t dim, float *ret_best)
{
    float best = FLT_MAX;
    uint32_t best_k = 0;

    for (uint32_t k = 0; k < entries; k++) {
        float distance = 0;
        for (uint32_t j = 0; j < dim; j++) {
            const float e = x[j] - centroids[k * dim + j];
            distance += e * e;
        }
        if (distance < best) {
            best = distance;
            best_k = k;
        }
    }
    *ret_best = best;
    return best_k;
}

START_TEST(assignment_is_to_the_nearest_and_of_equals_the_lowest)
{
    const uint32_t dims[] = {1, 3, 16, 256}, entries[] = {1, 15, 16, 17, 100};
    const uint32_t dim = dims[_i / 5], k_count = entries[_i % 5];
    float *vectors = make_vectors(333, dim, 4), *centroids = make_vectors(k_count, dim, 9);
    uint32_t index[333];
    double inertia, expected = 0;

    memcpy(centroids + (size_t)(k_count / 2) * dim, centroids, dim * sizeof(float)); /* a tie */
    ck_assert_int_eq(
        encode_kmeans_assign(vectors, 333, dim, centroids, k_count, NULL, index, &inertia),
        LEGO_OK);
    for (size_t i = 0; i < 333; i++) {
        float best;

        ck_assert_uint_eq(index[i],
                          nearest_by_hand(vectors + i * dim, centroids, k_count, dim, &best));
        expected += best;
    }
    ck_assert_double_eq_tol(inertia, expected, 1e-9 * expected);
    free(vectors);
    free(centroids);
}
END_TEST

START_TEST(lloyd_never_gets_worse)
{
    float *vectors = make_vectors(5000, 4, 3);
    double before = INFINITY;

    for (uint32_t iterations = 0; iterations < 15; iterations++) {
        struct encode_kmeans kmeans = train(vectors, 5000, 4, 40, iterations, 2);

        ck_assert_double_le(kmeans.inertia, before * (1 + 1e-7));
        ck_assert_uint_le(kmeans.iterations, iterations);
        before = kmeans.inertia;
        encode_kmeans_clear(&kmeans);
    }
    free(vectors);
}
END_TEST

/* The least inertia of all ways to split n values in two, by trying all 2^(n-1). */
static double best_split(const float *values, uint32_t n)
{
    double best = INFINITY;

    for (uint32_t mask = 0; mask < 1u << (n - 1); mask++) {
        double sum[2] = {0}, squares = 0, count[2] = {0};

        for (uint32_t i = 0; i < n; i++) {
            const int side = mask >> i & 1;
            sum[side] += values[i];
            squares += (double)values[i] * values[i];
            count[side]++;
        }
        for (int side = 0; side < 2; side++)
            squares -= count[side] > 0 ? sum[side] * sum[side] / count[side] : 0;
        best = fmin(best, squares);
    }
    return best;
}

START_TEST(small_cases_come_near_the_optimum_of_brute_force)
{
    uint32_t optimal = 0;

    for (uint64_t seed = 0; seed < 40; seed++) {
        float *values = make_vectors(12, 1, seed);
        struct encode_kmeans kmeans = train(values, 12, 1, 2, 50, 1);
        const double best = best_split(values, 12);

        ck_assert_double_ge(kmeans.inertia, best * (1 - 1e-5));
        ck_assert_double_le(kmeans.inertia, best * 3);
        optimal += kmeans.inertia <= best * (1 + 1e-5);
        encode_kmeans_clear(&kmeans);
        free(values);
    }
    ck_assert_uint_ge(optimal, 20);
}
END_TEST

START_TEST(no_more_entries_than_distinct_vectors)
{
    float vectors[300 * 2];

    for (int i = 0; i < 300; i++) {
        vectors[2 * i] = (float)(i % 7);
        vectors[2 * i + 1] = -1;
    }
    struct encode_kmeans kmeans = train(vectors, 300, 2, 256, 50, 2);
    ck_assert_uint_eq(kmeans.entries, 7);
    ck_assert(kmeans.inertia == 0);
    encode_kmeans_clear(&kmeans);

    memset(vectors, 0, sizeof(vectors));
    kmeans = train(vectors, 300, 2, 16, 50, 2);
    ck_assert_uint_eq(kmeans.entries, 1);
    ck_assert(kmeans.centroids[0] == 0);
    encode_kmeans_clear(&kmeans);

    kmeans = train(vectors, 1, 2, 65536, 50, 2);
    ck_assert_uint_eq(kmeans.entries, 1);
    encode_kmeans_clear(&kmeans);
}
END_TEST

START_TEST(every_centroid_serves_some_vector)
{
    const size_t count = 3000;
    float *vectors = make_vectors(count, 3, 8);
    uint32_t *index = malloc(count * sizeof(*index));

    for (size_t i = 0; i < count * 3; i++) /* few distinct values: many ties and empty clusters */
        vectors[i] = roundf(vectors[i] * 4);
    struct encode_kmeans kmeans = train(vectors, count, 3, 200, 30, 2);
    ck_assert_int_eq(encode_kmeans_assign(vectors, count, 3, kmeans.centroids, kmeans.entries, NULL,
                                          index, NULL),
                     LEGO_OK);
    char *used = calloc(kmeans.entries, 1);
    for (size_t i = 0; i < count; i++)
        used[index[i]] = 1;
    for (uint32_t k = 0; k < kmeans.entries; k++)
        ck_assert_int_eq(used[k], 1);
    free(used);
    free(index);
    free(vectors);
    encode_kmeans_clear(&kmeans);
}
END_TEST

START_TEST(a_sample_trains_nearly_as_well)
{
    const size_t count = 40000;
    float *vectors = make_vectors(count, 4, 21);
    uint32_t *index = malloc(count * sizeof(*index));
    struct encode_kmeans_options options = {.entries = 64, .max_iterations = 20, .seed = 1};
    double inertia[2];

    for (int sampled = 0; sampled < 2; sampled++) {
        struct encode_kmeans kmeans;

        options.max_vectors = sampled ? 8000 : 0;
        ck_assert_int_eq(encode_kmeans_train(vectors, count, 4, &options, NULL, &kmeans), LEGO_OK);
        ck_assert_int_eq(encode_kmeans_assign(vectors, count, 4, kmeans.centroids, kmeans.entries,
                                              NULL, index, &inertia[sampled]),
                         LEGO_OK);
        encode_kmeans_clear(&kmeans);
    }
    ck_assert_double_le(inertia[1], inertia[0] * 1.05);
    free(index);
    free(vectors);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kmeans");
    TCase *tests = tcase_create("kmeans");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, the_same_bits_for_any_number_of_threads);
    tcase_add_loop_test(tests, assignment_is_to_the_nearest_and_of_equals_the_lowest, 0, 20);
    tcase_add_test(tests, lloyd_never_gets_worse);
    tcase_add_test(tests, small_cases_come_near_the_optimum_of_brute_force);
    tcase_add_test(tests, no_more_entries_than_distinct_vectors);
    tcase_add_test(tests, every_centroid_serves_some_vector);
    tcase_add_test(tests, a_sample_trains_nearly_as_well);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
