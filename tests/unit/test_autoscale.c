/* test_autoscale.c - how many processes a load gets: fixed loads, loads that come and
 * go, and random ones, over hours that pass in no time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "procs/supervisor/autoscale.h"
#include "tests/unit/suite.h"

#define MS INT64_C(1000000)

static const struct autoscale_rules rules = {
	.up_age_ms = 1000, .up_after_ms = 3000, .calm_age_ms = 100, .down_after_ms = 60000};

static struct autoscale a;
static int64_t now;
static uint32_t count;
static unsigned changes;

static void begin(uint32_t min, uint32_t max)
{
	a = (struct autoscale){.min = min, .max = max};
	now = 1000 * MS;
	count = min;
	changes = 0;
}

static void look(int64_t age_ms)
{
	uint32_t next = autoscale_judge(&a, &rules, count, age_ms, now);

	/* Check notes each assertion, which is too slow for days of seconds. */
	if (next < a.min || next > a.max || next > count + 1 || next + 1 < count)
		ck_abort_msg("from %u to %u processes, of %u to %u", count, next, a.min, a.max);
	changes += next != count;
	count = next;
	now += 1000 * MS;
}

static void looks(int n, int64_t age_ms)
{
	while (n-- > 0)
		look(age_ms);
}

START_TEST(work_that_waits_gets_one_more_at_a_time)
{
	begin(1, 4);
	looks(3, 1000);
	ck_assert_uint_eq(count, 1);
	look(1000);
	ck_assert_uint_eq(count, 2);
	looks(9 + 2, 5000);
	ck_assert_uint_eq(count, 2);
	look(5000);
	ck_assert_uint_eq(count, 3);
	looks(100, 5000);
	ck_assert_uint_eq(count, 4);
}
END_TEST

START_TEST(a_burst_and_what_lies_between_change_nothing)
{
	begin(1, 4);
	for (int i = 0; i < 100; i++) {
		looks(3, 4000);
		look(999);
	}
	ck_assert_uint_eq(changes, 0);
	begin(1, 4);
	count = 3;
	looks(10000, 101);
	ck_assert_uint_eq(changes, 0);
}
END_TEST

START_TEST(calm_gets_one_fewer_after_a_while)
{
	begin(1, 4);
	count = 3;
	looks(60, 0);
	ck_assert_uint_eq(count, 3);
	look(100);
	ck_assert_uint_eq(count, 2);
	looks(59, 0);
	look(101); /* counts from the beginning again */
	looks(59, 0);
	ck_assert_uint_eq(count, 2);
	looks(1000, 0);
	ck_assert_uint_eq(count, 1);
}
END_TEST

/* Three hold it and are calm, two are not enough: for a day. */
START_TEST(a_load_on_the_edge_does_not_flap)
{
	unsigned later = 0;

	begin(1, 4);
	for (int i = 0; i < 24 * 3600; i++) {
		look(count >= 3 ? 0 : 3000);
		if (i == 12 * 3600)
			later = changes;
	}
	ck_assert_uint_le(changes, 2 + 2 * 28);	    /* not 2,800 */
	ck_assert_uint_le(changes - later, 2 * 12); /* once an hour and back */
}
END_TEST

/* After a day of that, a load that has really gone is believed in the end, and the next
 * one sooner. */
START_TEST(patience_is_forgotten)
{
	begin(1, 4);
	for (int i = 0; i < 24 * 3600; i++)
		look(count >= 3 ? 0 : 3000);
	ck_assert_uint_eq(a.patience, AUTOSCALE_PATIENCE_MAX);
	looks(3 * 65 * 60, 0);
	ck_assert_uint_eq(count, 1);
	for (int day = 0; day < 6; day++) {
		looks(24 * 3600, 0);
		looks(20, 3000);
		ck_assert_uint_gt(count, 1);
	}
	looks(24 * 3600, 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_le(a.patience, 2);
}
END_TEST

START_TEST(what_was_seen_before_is_forgotten)
{
	begin(1, 4);
	looks(3, 2000);
	autoscale_unsettle(&a, &rules, now);
	looks(9 + 3, 2000);
	ck_assert_uint_eq(count, 1);
	look(2000);
	ck_assert_uint_eq(count, 2);
}
END_TEST

/* A queue that is served: what comes and what each process does in a second, at random.
 * Within its bounds, it has as many as the load needs and no more, but for the moments in
 * which fewer are tried. */
START_TEST(random_loads_get_what_they_need)
{
	unsigned seed =
		getenv("WEFT_SEED") ? (unsigned)atol(getenv("WEFT_SEED")) : (unsigned)time(NULL);

	printf("seed %u\n", seed);
	fflush(stdout);
	for (int round = 0; round < 200; round++) {
		int each = 100 + (int)(rand_r(&seed) % 900);
		int need = 1 + (int)(rand_r(&seed) % 6);
		/* Some way from a whole number of processes. */
		int load = each * (need - 1) + each * (20 + (int)(rand_r(&seed) % 60)) / 100;
		int64_t waiting = 0;
		int wrong = 0; /* seconds of the second half */

		begin(1, 6);
		count = 1 + rand_r(&seed) % 6;
		for (int s = 0; s < 4 * 3600; s++) {
			int64_t noise = (int64_t)(rand_r(&seed) % 21) - 10,
				take = each * (int64_t)count;

			waiting += load + load * noise / 100;
			waiting -= waiting < take ? waiting : take;
			look(waiting * 1000 / take);
			wrong += s >= 2 * 3600 && (int)count != need && (int)count != need + 1;
		}
		ck_assert_msg(wrong < 6 * 36, "%d s without %d processes of %d/s for %d/s", wrong,
			      need, each, load);
		ck_assert_uint_le(changes, 4 * 12);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("autoscale");
	TCase *tc = tcase_create("autoscale");

	tcase_add_test(tc, work_that_waits_gets_one_more_at_a_time);
	tcase_add_test(tc, a_burst_and_what_lies_between_change_nothing);
	tcase_add_test(tc, calm_gets_one_fewer_after_a_while);
	tcase_add_test(tc, a_load_on_the_edge_does_not_flap);
	tcase_add_test(tc, patience_is_forgotten);
	tcase_add_test(tc, what_was_seen_before_is_forgotten);
	tcase_add_test(tc, random_loads_get_what_they_need);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
