/* The order in which waiting jobs come out. */
#include "agent/service/engine.h"
#include "agent/service/queue.h"

#include <check.h>
#include <stdlib.h>

#define PEERS 3
#define JOBS  64

static struct queue queue;
static struct queue_peer peers[PEERS];
static struct inference_job jobs[JOBS];

static void set_up(void)
{
    queue_init(&queue);
    for (int i = 0; i < PEERS; i++)
        queue_peer_init(&peers[i]);
    for (int i = 0; i < JOBS; i++)
        jobs[i] = (struct inference_job){.request_id = (uint64_t)i, .body_bytes = 10};
}

static void push(int job, int peer, uint32_t priority)
{
    jobs[job].peer = &peers[peer];
    jobs[job].priority = priority;
    queue_push(&queue, &jobs[job]);
}

static void expect_order(const int *order, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct inference_job *job = queue_pop(&queue);
        ck_assert_ptr_nonnull(job);
        ck_assert_int_eq((int)job->request_id, order[i]);
        ck_assert(!job->is_waiting);
    }
    ck_assert_ptr_null(queue_pop(&queue));
    ck_assert_uint_eq(queue.jobs, 0);
    ck_assert_uint_eq(queue.bytes, 0);
}

#define EXPECT(...) \
    expect_order((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

START_TEST(one_peer_keeps_its_order)
{
    for (int i = 0; i < 4; i++)
        push(i, 0, 5);
    EXPECT(0, 1, 2, 3);
}
END_TEST

START_TEST(peers_take_turns)
{
    for (int i = 0; i < 5; i++)
        push(i, 0, 5);
    push(10, 1, 5);
    push(11, 1, 5);
    push(20, 2, 5);
    EXPECT(0, 10, 20, 1, 11, 2, 3, 4);
}
END_TEST

START_TEST(priorities_come_first)
{
    push(0, 0, 10);
    push(1, 0, 5);
    push(2, 1, 1);
    push(3, 0, 1);
    push(4, 1, 10);
    EXPECT(2, 3, 1, 0, 4);
}
END_TEST

/* A peer that comes back gets no turn for the time when it had nothing to do. */
START_TEST(a_late_peer_has_one_turn)
{
    for (int i = 0; i < 3; i++)
        push(i, 0, 5);
    ck_assert_ptr_eq(queue_pop(&queue), &jobs[0]);
    for (int i = 10; i < 13; i++)
        push(i, 1, 5);
    EXPECT(1, 10, 2, 11, 12);
}
END_TEST

static bool is_odd(const struct inference_job *job, void *context)
{
    (void)context;
    return job->request_id % 2 == 1;
}

START_TEST(jobs_are_withdrawn)
{
    for (int i = 0; i < 6; i++)
        push(i, i % 2, i < 3 ? 2 : 7); /* the odd ones are the second peer's */
    push(7, 0, 7);
    struct inference_job *taken = queue_withdraw(&queue, &peers[0], is_odd, NULL);
    ck_assert_ptr_eq(taken, &jobs[7]);
    ck_assert_ptr_null(taken->next);
    taken = queue_withdraw(&queue, NULL, is_odd, NULL);
    for (uint64_t id = 1; id <= 5; id += 2, taken = taken->next)
        ck_assert_uint_eq(taken->request_id, id);
    ck_assert_ptr_null(taken);
    ck_assert_uint_eq(queue.bytes, 30);
    EXPECT(0, 2, 4);
}
END_TEST

/* All frames of a peer are of one stream. */
static void bring(int job, int peer)
{
    static char stream[] = "s";
    jobs[job].peer = &peers[peer];
    jobs[job].stream = stream;
    jobs[job].priority = 5;
    queue_push(&queue, &jobs[job]);
}

static bool is_frame(const struct inference_job *job, void *context)
{
    (void)context;
    return job->stream != NULL;
}

static void overtake(int by, int peer, int taken)
{
    ck_assert_ptr_eq(queue_overtake(&queue, &peers[peer], is_frame, NULL), &jobs[taken]);
    ck_assert_ptr_null(jobs[taken].next);
    bring(by, peer);
}

START_TEST(who_overtakes_has_the_turn_of_the_overtaken)
{
    for (int i = 0; i < 3; i++)
        bring(i, i);
    overtake(10, 0, 0);
    overtake(11, 1, 1);
    ck_assert_ptr_eq(queue_pop(&queue), &jobs[10]);
    bring(20, 0);
    overtake(21, 1, 11);
    EXPECT(21, 2, 20);
    /* Among others of its peer, too, also where those before and after it have gone meanwhile. */
    push(30, 0, 5);
    bring(31, 0);
    push(32, 0, 5);
    overtake(33, 0, 31);
    ck_assert_ptr_eq(queue_overtake(&queue, &peers[0], is_frame, NULL), &jobs[33]);
    ck_assert_ptr_eq(queue_pop(&queue), &jobs[30]);
    ck_assert_ptr_eq(queue_pop(&queue), &jobs[32]);
    push(34, 0, 5);
    EXPECT(34);
}
END_TEST

START_TEST(a_place_that_nobody_takes_is_given_up)
{
    bring(0, 0);
    bring(1, 1);
    ck_assert_ptr_eq(queue_overtake(&queue, &peers[0], is_frame, NULL), &jobs[0]);
    EXPECT(1);
    bring(2, 1);
    bring(3, 0);
    EXPECT(2, 3);
    bring(4, 0);
    bring(5, 1);
    ck_assert_ptr_eq(queue_overtake(&queue, &peers[0], is_frame, NULL), &jobs[4]);
    ck_assert_ptr_null(queue_withdraw(&queue, &peers[0], is_frame, NULL)); /* it has gone */
    queue_peer_init(&peers[0]);
    EXPECT(5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tests = tcase_create("queue");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, one_peer_keeps_its_order);
    tcase_add_test(tests, peers_take_turns);
    tcase_add_test(tests, priorities_come_first);
    tcase_add_test(tests, a_late_peer_has_one_turn);
    tcase_add_test(tests, jobs_are_withdrawn);
    tcase_add_test(tests, who_overtakes_has_the_turn_of_the_overtaken);
    tcase_add_test(tests, a_place_that_nobody_takes_is_given_up);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
