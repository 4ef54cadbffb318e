/* test_burst.c - when the checkpoint waits: a burst, its end, and the bounds. */
#include "procs/checkpoint/burst.h"
#include "tests/unit/suite.h"

#define MS INT64_C(1000000)

/* From a look at `b` on, `rate` writes a second for `ms`, looked at as the process does; the
 * last answer. */
static bool go_on(struct burst *b, uint64_t rate, int64_t ms)
{
	bool busy = false;

	for (int64_t t = 0; t < ms; t += BURST_LOOK_MS)
		busy = burst_look(b, b->rv + rate * BURST_LOOK_MS / 1000,
				  b->ns + BURST_LOOK_MS * MS);
	return busy;
}

static struct burst started(void)
{
	return (struct burst){.rv = 5000000, .ns = 900000 * MS};
}

START_TEST(rest_and_little_are_no_burst)
{
	struct burst b = started();

	ck_assert(!burst_due(&b, b.ns + (BURST_LOOK_MS - 1) * MS));
	ck_assert(burst_due(&b, b.ns + BURST_LOOK_MS * MS));
	ck_assert(!go_on(&b, 0, 1000)); /* however many there were before the first look */
	ck_assert(!go_on(&b, BURST_RATE, 1000));
}
END_TEST

START_TEST(a_burst_ends_with_a_calm)
{
	struct burst b = started();

	ck_assert(go_on(&b, 2 * BURST_RATE, 200));
	ck_assert(go_on(&b, 0, BURST_CALM_MS - BURST_LOOK_MS));
	ck_assert(!go_on(&b, 0, 2 * BURST_LOOK_MS));
	ck_assert(go_on(&b, 2 * BURST_RATE, BURST_LOOK_MS));
	/* a store that has died writes nothing */
	ck_assert(!go_on(&b, 0, BURST_CALM_MS + BURST_LOOK_MS));
}
END_TEST

START_TEST(a_burst_is_waited_for_within_bounds)
{
	struct burst b = started();
	int64_t since = b.ns;

	go_on(&b, 2 * BURST_RATE, BURST_WAIT_MS - BURST_LOOK_MS);
	ck_assert(burst_may_wait(&b, 1, since));
	ck_assert(!burst_may_wait(&b, BURST_WAIT_RECORDS, since));
	go_on(&b, 2 * BURST_RATE, BURST_LOOK_MS);
	ck_assert(!burst_may_wait(&b, 1, since));
}
END_TEST

START_TEST(a_fast_one_has_wider_bounds)
{
	struct burst b = started();
	int64_t since = b.ns;

	go_on(&b, 2 * BURST_FAST, 2 * BURST_WAIT_MS);
	ck_assert(burst_may_wait(&b, BURST_WAIT_RECORDS, since));
	ck_assert(!burst_may_wait(&b, BURST_FAST_RECORDS, since));
	go_on(&b, BURST_FAST / 2, BURST_LOOK_MS);
	ck_assert(!burst_may_wait(&b, 1, since));
}
END_TEST

START_TEST(a_round_goes_on_before_the_window_passes_it)
{
	struct burst b = started();
	uint64_t at = b.rv, oldest = b.rv - 100000;

	go_on(&b, 2 * BURST_RATE, 500);
	ck_assert(!burst_presses(&b, at, oldest)); /* 20,000 of 120,000 went by */
	oldest += 95000;
	ck_assert(burst_presses(&b, at, oldest));
	ck_assert(!burst_presses(&b, at, at + 1)); /* lost: no hurry any more */
	go_on(&b, 2 * BURST_FAST, 100);
	ck_assert(!burst_presses(&b, at, oldest)); /* it will be */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("burst");
	TCase *t = tcase_create("burst");

	tcase_add_test(t, rest_and_little_are_no_burst);
	tcase_add_test(t, a_burst_ends_with_a_calm);
	tcase_add_test(t, a_burst_is_waited_for_within_bounds);
	tcase_add_test(t, a_fast_one_has_wider_bounds);
	tcase_add_test(t, a_round_goes_on_before_the_window_passes_it);
	suite_add_tcase(s, t);
	return run_suite(s);
}
