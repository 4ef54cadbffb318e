/* test_queue.c - the controllers' work queue, alone and against a model. */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/queue.h"
#include "tests/unit/suite.h"

#define MS INT64_C(1000000)

static struct queue q;

static void setup(void)
{
	queue_init(&q, sizeof(int));
}

static void teardown(void)
{
	queue_free(&q);
}

static struct queue_item *item(unsigned n)
{
	uint8_t uid[16] = {0};

	memcpy(uid, &n, sizeof(n));
	memcpy(uid + 8, &n, sizeof(n));
	return queue_item(&q, uid);
}

START_TEST(first_come_first_served_and_once)
{
	queue_add(&q, item(1), 10);
	queue_add(&q, item(2), 20);
	queue_add(&q, item(1), 30);
	ck_assert_uint_eq(q.waiting, 2);
	ck_assert_int_eq(queue_age_ns(&q, 110), 100);
	ck_assert_ptr_eq(queue_pop(&q), item(1));
	ck_assert_ptr_eq(queue_pop(&q), item(2));
	ck_assert_ptr_null(queue_pop(&q));
	ck_assert_int_eq(queue_age_ns(&q, 110), 0);
	queue_add(&q, item(3), 40);
	ck_assert_ptr_eq(queue_pop(&q), item(3));
}
END_TEST

/* After a start everything waits to be looked at, and what changes then does not come last. */
START_TEST(what_changes_goes_before_what_is_looked_at_anyway)
{
	for (unsigned i = 1; i <= 100; i++)
		queue_add_later(&q, item(i), i);
	queue_add(&q, item(200), 300);
	queue_add(&q, item(50), 301);
	queue_add_later(&q, item(200), 302);
	ck_assert_uint_eq(q.waiting, 101);
	ck_assert_int_eq(queue_age_ns(&q, 401), 400);
	ck_assert_ptr_eq(queue_pop(&q), item(200));
	ck_assert_ptr_eq(queue_pop(&q), item(50));
	for (unsigned i = 1; i <= 100; i++)
		if (i != 50)
			ck_assert_ptr_eq(queue_pop(&q), item(i));
	ck_assert_ptr_null(queue_pop(&q));
}
END_TEST

START_TEST(what_is_looked_at_anyway_has_its_turns)
{
	for (unsigned i = 1; i <= 100; i++)
		queue_add_later(&q, item(i), 0);
	for (unsigned i = 0; i < 4 * QUEUE_SECOND; i++) {
		queue_add(&q, item(1000 + i), 0);
		queue_pop(&q);
	}
	ck_assert_uint_eq(q.waiting, 100);
	for (unsigned i = 1; i <= 4; i++)
		ck_assert(!(item(i)->flags & QUEUE_WAITS));
	queue_drop(&q, item(50));
	ck_assert_uint_eq(q.waiting, 99);
}
END_TEST

START_TEST(work_that_arrives_in_flight_comes_after_the_answer)
{
	struct queue_item *it = item(1);

	queue_add(&q, it, 0);
	queue_pop(&q);
	queue_sent(it);
	queue_sent(it);
	queue_add(&q, it, 1);
	ck_assert_ptr_null(queue_pop(&q));
	ck_assert(!queue_answered(&q, it, WEFT_OK, 2));
	ck_assert_ptr_null(queue_pop(&q));
	ck_assert(!queue_answered(&q, it, WEFT_OK, 3));
	ck_assert_ptr_eq(queue_pop(&q), it);
	ck_assert_ptr_null(queue_pop(&q));
}
END_TEST

START_TEST(success_without_news_leaves_it_resting)
{
	struct queue_item *it = item(1);

	queue_sent(it);
	queue_answered(&q, it, WEFT_OK, 0);
	ck_assert_ptr_null(queue_pop(&q));
	ck_assert_int_eq(queue_due(&q, INT64_MAX), 0);
}
END_TEST

START_TEST(errors_back_off_and_success_forgets_them)
{
	struct queue_item *it = item(1);
	int64_t now = 0, expect = 5 * MS;

	for (int i = 0; i < 20; i++) {
		queue_sent(it);
		queue_answered(&q, it, WEFT_ENOMEM, now);
		ck_assert_int_eq(queue_due(&q, now + expect - 1), now + expect);
		now += expect;
		queue_due(&q, now);
		ck_assert_ptr_eq(queue_pop(&q), it);
		expect = 2 * expect < 60000 * MS ? 2 * expect : 60000 * MS;
	}
	queue_sent(it);
	queue_answered(&q, it, WEFT_OK, now);
	ck_assert_uint_eq(it->failures, 0);
	ck_assert_int_eq(queue_backoff_ns(1), 5 * MS);
	ck_assert_int_eq(queue_backoff_ns(2), 10 * MS);
	ck_assert_int_eq(queue_backoff_ns(65535), 60000 * MS);
}
END_TEST

START_TEST(conflict_comes_back_at_once_and_fenced_does_not)
{
	struct queue_item *it = item(1);

	queue_sent(it);
	queue_answered(&q, it, WEFT_ECONFLICT, 0);
	ck_assert_ptr_eq(queue_pop(&q), it);
	queue_sent(it);
	queue_answered(&q, it, WEFT_EFENCED, 0);
	ck_assert_ptr_null(queue_pop(&q));
	queue_sent(it);
	queue_answered(&q, it, WEFT_ELOST, 0);
	ck_assert_ptr_eq(queue_pop(&q), it);
}
END_TEST

START_TEST(timers_keep_the_earliest)
{
	struct queue_item *it = item(1);

	queue_at(&q, it, 100);
	queue_at(&q, it, 200);
	ck_assert_int_eq(queue_due(&q, 99), 100);
	queue_at(&q, it, 50);
	ck_assert_int_eq(queue_due(&q, 49), 50);
	ck_assert_int_eq(queue_due(&q, 50), 0);
	ck_assert_ptr_eq(queue_pop(&q), it);
}
END_TEST

START_TEST(popping_turns_the_timer_off)
{
	struct queue_item *it = item(1);

	queue_at(&q, it, 100);
	queue_add(&q, it, 0);
	queue_pop(&q);
	ck_assert_int_eq(queue_due(&q, 1000), 0);
	ck_assert_ptr_null(queue_pop(&q));
}
END_TEST

START_TEST(what_is_gone_is_dropped_after_its_last_answer)
{
	struct queue_item *it = item(7);

	queue_sent(it);
	queue_sent(it);
	it->flags |= QUEUE_GONE;
	ck_assert(!queue_answered(&q, it, WEFT_OK, 0));
	ck_assert(queue_answered(&q, it, WEFT_ENOENT, 0));
	ck_assert_uint_eq(q.nitems, 0);
}
END_TEST

START_TEST(dropping_unlinks_from_everywhere)
{
	queue_add(&q, item(1), 0);
	queue_add(&q, item(2), 0);
	queue_add(&q, item(3), 0);
	queue_at(&q, item(3), 5);
	queue_at(&q, item(2), 6);
	queue_drop(&q, item(3));
	queue_add(&q, item(4), 0);
	ck_assert_ptr_eq(queue_pop(&q), item(1));
	ck_assert_ptr_eq(queue_pop(&q), item(2));
	ck_assert_ptr_eq(queue_pop(&q), item(4));
	ck_assert_ptr_null(queue_pop(&q));
	ck_assert_uint_eq(q.nheap, 0);
}
END_TEST

static void drop_even(void *arg, struct queue_item *it)
{
	if (*(int *)it->state % 2 == 0)
		queue_drop(&q, it);
}

/* As when another process takes half of what waits; by the square of their number it
 * would last for minutes. */
START_TEST(dropping_costs_the_same_however_many_wait)
{
	const unsigned n = 400000;

	for (unsigned i = 0; i < n; i++) {
		struct queue_item *it = item(i * 2654435761u);

		*(int *)it->state = (int)i;
		queue_add(&q, it, i);
	}
	queue_each(&q, drop_even, NULL);
	ck_assert_uint_eq(q.waiting, n / 2);
	ck_assert_uint_eq(q.nitems, n / 2);
	ck_assert_int_eq(queue_age_ns(&q, n), n - 1);
	for (unsigned i = 1; i < n; i += 2)
		ck_assert_int_eq(*(int *)queue_pop(&q)->state, (int)i);
	ck_assert_ptr_null(queue_pop(&q));
}
END_TEST

START_TEST(dropped_and_made_anew_it_comes_as_the_new_one)
{
	queue_add(&q, item(1), 0);
	queue_add(&q, item(2), 0);
	queue_drop(&q, item(2));
	*(int *)item(2)->state = 7;
	ck_assert_uint_eq(q.waiting, 1);
	queue_add(&q, item(2), 5);
	ck_assert_ptr_eq(queue_pop(&q), item(1));
	ck_assert_int_eq(queue_age_ns(&q, 10), 5);
	ck_assert_int_eq(*(int *)queue_pop(&q)->state, 7);
	queue_add(&q, item(3), 0);
	queue_push_front(&q, item(4), 0);
	queue_drop(&q, item(3));
	queue_drop(&q, item(4));
	ck_assert_ptr_null(queue_pop(&q));
	queue_add(&q, item(5), 0);
	queue_add(&q, item(6), 0);
	queue_drop(&q, item(6)); /* and ends with one that was dropped */
}
END_TEST

START_TEST(state_lives_as_long_as_the_item)
{
	*(int *)item(1)->state = 42;
	for (unsigned i = 2; i < 5000; i++)
		ck_assert_int_eq(*(int *)item(i)->state, 0);
	ck_assert_int_eq(*(int *)item(1)->state, 42);
	queue_drop(&q, item(1));
	ck_assert_int_eq(*(int *)item(1)->state, 0);
}
END_TEST

/* --- Random operations against a model ---------------------------------------------- */

#define N 64

struct model {
	bool waits, later, again, failed;
	unsigned in_flight, failures;
	int64_t timer;	/* 0: none */
	uint64_t order; /* when it was queued */
};

static struct model m[N];
static uint64_t order, turn;

static void model_wait(struct model *it, bool later)
{
	if (it->in_flight) {
		it->again = true;
	} else if (!it->waits || (it->later && !later)) {
		it->waits = true;
		it->later = later;
		it->again = false;
		it->order = ++order;
	}
}

static void model_add(struct model *it)
{
	model_wait(it, false);
}

static void model_due(int64_t now)
{
	for (;;) {
		int best = -1;

		for (int i = 0; i < N; i++)
			if (m[i].timer && m[i].timer <= now &&
			    (best < 0 || m[i].timer < m[best].timer))
				best = i;
		if (best < 0)
			return;
		m[best].timer = 0;
		model_add(&m[best]);
	}
}

static void model_answered(struct model *it, int status, int64_t now)
{
	it->again |= status == WEFT_ECONFLICT;
	it->failed |= status == WEFT_ENOMEM;
	if (--it->in_flight)
		return;
	if (it->failed) {
		int64_t at = now + queue_backoff_ns(++it->failures);

		it->failed = it->again = false;
		if (!it->timer || at < it->timer)
			it->timer = at;
		return;
	}
	it->failures = 0;
	if (it->again)
		model_add(it);
}

static unsigned model_waiting(void)
{
	unsigned n = 0;

	for (int i = 0; i < N; i++)
		n += m[i].waits;
	return n;
}

static void check_pop(void)
{
	struct queue_item *it = queue_pop(&q);
	int first[2] = {-1, -1}, best;

	for (int i = 0; i < N; i++)
		if (m[i].waits &&
		    (first[m[i].later] < 0 || m[i].order < m[first[m[i].later]].order))
			first[m[i].later] = i;
	best = first[0] < 0 || (first[1] >= 0 && ++turn % QUEUE_SECOND == 0) ? first[1] : first[0];
	if (best < 0) {
		ck_assert_ptr_null(it);
		return;
	}
	ck_assert_ptr_eq(it, item((unsigned)best));
	m[best].waits = false;
	m[best].timer = 0;
	for (long n = random() % 3; n > 0; n--) {
		queue_sent(it);
		m[best].in_flight++;
	}
}

static void random_step(int64_t now)
{
	static const int statuses[] = {WEFT_OK, WEFT_OK, WEFT_ECONFLICT, WEFT_ENOMEM, WEFT_EFENCED};
	unsigned i = (unsigned)random() % N;
	int64_t at;
	int status;

	switch (random() % 7) {
	case 4:
		queue_add_later(&q, item(i), now);
		model_wait(&m[i], true);
		break;
	case 0:
		queue_add(&q, item(i), now);
		model_add(&m[i]);
		break;
	case 1:
		/* Times never equal, so that the order is certain. */
		at = now + random() % 50 * MS + i + 1;
		queue_at(&q, item(i), at);
		if (!m[i].timer || at < m[i].timer)
			m[i].timer = at;
		break;
	case 2:
		if (!m[i].in_flight)
			break;
		status = statuses[random() % 5];
		queue_answered(&q, item(i), status, now + i + 1);
		model_answered(&m[i], status, now + i + 1);
		break;
	case 3:
		if (m[i].in_flight || random() % 4)
			break;
		queue_drop(&q, item(i));
		m[i] = (struct model){0};
		break;
	default:
		check_pop();
	}
}

START_TEST(agrees_with_a_model)
{
	const char *text = getenv("WEFT_SEED");
	unsigned seed = text ? (unsigned)atoi(text) : (unsigned)clock_mono_ns();
	int64_t now = 1000 * MS;

	printf("seed %u\n", seed);
	fflush(stdout);
	srandom(seed);
	memset(m, 0, sizeof(m));
	for (int step = 0; step < 200000; step++) {
		random_step(now);
		if (random() % 4 == 0) {
			now += random() % 20 * MS;
			queue_due(&q, now);
			model_due(now);
		}
	}
	ck_assert_uint_eq(q.waiting, model_waiting());
	for (unsigned i = 0; i < N; i++) {
		ck_assert_uint_eq(item(i)->in_flight, m[i].in_flight);
		ck_assert_uint_eq(item(i)->failures, m[i].failures);
		ck_assert_int_eq(item(i)->timer ? item(i)->timer_ns : 0, m[i].timer);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("queue");
	TCase *tc = tcase_create("queue");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, first_come_first_served_and_once);
	tcase_add_test(tc, what_changes_goes_before_what_is_looked_at_anyway);
	tcase_add_test(tc, what_is_looked_at_anyway_has_its_turns);
	tcase_add_test(tc, work_that_arrives_in_flight_comes_after_the_answer);
	tcase_add_test(tc, success_without_news_leaves_it_resting);
	tcase_add_test(tc, errors_back_off_and_success_forgets_them);
	tcase_add_test(tc, conflict_comes_back_at_once_and_fenced_does_not);
	tcase_add_test(tc, timers_keep_the_earliest);
	tcase_add_test(tc, popping_turns_the_timer_off);
	tcase_add_test(tc, what_is_gone_is_dropped_after_its_last_answer);
	tcase_add_test(tc, dropping_unlinks_from_everywhere);
	tcase_add_test(tc, dropping_costs_the_same_however_many_wait);
	tcase_add_test(tc, dropped_and_made_anew_it_comes_as_the_new_one);
	tcase_add_test(tc, state_lives_as_long_as_the_item);
	tcase_add_test(tc, agrees_with_a_model);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
