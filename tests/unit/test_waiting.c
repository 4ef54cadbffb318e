/* test_waiting.c - for how long the first of a queue has waited: what is said against
 * the time of each item, over random comings and takings. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "procs/lib/waiting.h"
#include "tests/unit/suite.h"

#define ITEMS 200000

static unsigned seed;
static int64_t came[ITEMS];

static int below(int n)
{
	return (int)(rand_r(&seed) % (unsigned)n);
}

START_TEST(nobody_waits)
{
	struct waiting w = {0};

	ck_assert_int_eq(waiting_look(&w, 0, 0, 5), 0);
	ck_assert_int_eq(waiting_look(&w, 7, 7, 9), 0);
}
END_TEST

START_TEST(one_that_is_not_taken_gets_older)
{
	struct waiting w = {0};

	ck_assert_int_eq(waiting_look(&w, 0, 1, 100), 0);
	ck_assert_int_eq(waiting_look(&w, 0, 5, 150), 50);
	ck_assert_int_eq(waiting_look(&w, 0, 5, 300), 200);
	/* The first is gone; the next came between 100 and 150. */
	ck_assert_int_eq(waiting_look(&w, 1, 5, 400), 300);
	ck_assert_int_eq(waiting_look(&w, 5, 5, 500), 0);
	ck_assert_int_eq(waiting_look(&w, 5, 6, 600), 0);
}
END_TEST

/* Never too little; and too much by no more than it took to take as many items as were
 * there at once. */
START_TEST(what_is_said_bounds_the_truth)
{
	struct waiting w = {0};
	uint64_t head = 0, tail = 0;
	int64_t now = 1000, slowest = 0;

	while (tail + 64 < ITEMS) {
		int64_t said, truth;

		now += 1 + below(20);
		for (int n = below(40); n > 0; n--)
			came[tail++] = now;
		for (int n = below(below(9) ? 40 : 400); n > 0 && head < tail; n--) {
			slowest = now - came[head] > slowest ? now - came[head] : slowest;
			head++;
		}
		said = waiting_look(&w, head, tail, now);
		truth = head < tail ? now - came[head] : 0;
		ck_assert_int_ge(said, truth);
		ck_assert_int_le(said, truth + slowest + 20);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("waiting");
	TCase *tc = tcase_create("waiting");

	seed = getenv("WEFT_SEED") ? (unsigned)atol(getenv("WEFT_SEED")) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	tcase_add_test(tc, nobody_waits);
	tcase_add_test(tc, one_that_is_not_taken_gets_older);
	tcase_add_test(tc, what_is_said_bounds_the_truth);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
