/* test_limit.c - how fast lost nodes may be evicted: Kubernetes' rules. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "procs/nodelifecycle/limit.h"
#include "tests/unit/suite.h"

#define S INT64_C(1000000000)

static unsigned seed;

static const struct limits defaults = {
	.rate_milli = 100, .secondary_rate_milli = 10, .threshold_milli = 550, .large = 50};

/* As ComputeZoneState() and its tests have it. */
START_TEST(a_zone_is_judged_by_its_lost_nodes)
{
	static const struct {
		uint32_t ready, lost;
		enum zone_health health;
	} cases[] = {
		{0, 0, ZONE_NORMAL},   {3, 0, ZONE_NORMAL},    {1, 1, ZONE_NORMAL},
		{1, 2, ZONE_NORMAL}, /* two are few, whatever their share */
		{3, 3, ZONE_NORMAL}, /* half of them */
		{2, 3, ZONE_PARTIAL},  {45, 55, ZONE_PARTIAL}, {46, 54, ZONE_NORMAL},
		{1, 99, ZONE_PARTIAL}, {0, 1, ZONE_FULL},      {0, 5000, ZONE_FULL},
	};

	for (size_t i = 0; i < countof(cases); i++)
		ck_assert_msg(zone_judge(&defaults, cases[i].ready, cases[i].lost) ==
				      cases[i].health,
			      "%u ready, %u lost", cases[i].ready, cases[i].lost);
}
END_TEST

START_TEST(only_large_zones_go_on_when_partly_lost)
{
	ck_assert_int_eq(zone_rate(&defaults, ZONE_NORMAL, 3), 100);
	ck_assert_int_eq(zone_rate(&defaults, ZONE_FULL, 3), 100);
	ck_assert_int_eq(zone_rate(&defaults, ZONE_PARTIAL, 50), 0);
	ck_assert_int_eq(zone_rate(&defaults, ZONE_PARTIAL, 51), 10);
}
END_TEST

START_TEST(the_first_goes_at_once_and_the_next_has_to_wait)
{
	struct limiter l = limiter_make(100, 7 * S);

	ck_assert_int_eq(limiter_next(&l), 7 * S);
	ck_assert(limiter_take(&l, 7 * S));
	ck_assert(!limiter_take(&l, 7 * S));
	ck_assert_int_eq(limiter_next(&l), 17 * S);
	ck_assert(!limiter_take(&l, 17 * S - 1));
	ck_assert(limiter_take(&l, 17 * S));
	/* It holds one: a long time without any is no claim to several. */
	ck_assert(limiter_take(&l, 1000 * S));
	ck_assert(!limiter_take(&l, 1000 * S));
}
END_TEST

START_TEST(none_go_at_rate_nought)
{
	struct limiter l = limiter_make(0, 0);

	ck_assert(!limiter_take(&l, 1000 * S));
	ck_assert_int_eq(limiter_next(&l), INT64_MAX);
	limiter_taken(&l, 5 * S);
	ck_assert_int_eq(limiter_next(&l), INT64_MAX);
}
END_TEST

START_TEST(another_rate_grants_nothing_to_those_who_wait)
{
	struct limiter l = limiter_make(100, 0);

	limiter_swap(&l, 10, S);
	ck_assert(limiter_take(&l, S)); /* it was there, and is */
	limiter_swap(&l, 100, 2 * S);
	ck_assert_int_eq(limiter_next(&l), 12 * S);
	limiter_swap(&l, 100, 3 * S); /* the same rate: nothing changes */
	ck_assert_int_eq(limiter_next(&l), 12 * S);
	limiter_swap(&l, 0, 4 * S);
	ck_assert_int_eq(limiter_next(&l), INT64_MAX);
	limiter_swap(&l, 100, 5 * S); /* after none at all: one has to wait */
	ck_assert_int_eq(limiter_next(&l), 15 * S);
}
END_TEST

START_TEST(one_who_takes_over_waits_for_the_rest_of_the_time)
{
	struct limiter l = limiter_make(100, 20 * S);

	limiter_taken(&l, 14 * S);
	ck_assert(!limiter_take(&l, 20 * S));
	ck_assert_int_eq(limiter_next(&l), 24 * S);
}
END_TEST

/* Whatever happens to the rate, two tokens are never nearer to each other than the fastest
 * rate since the first of them says. */
START_TEST(random_rates_are_never_exceeded)
{
	static const int64_t rates[] = {0, 10, 100, 250, 1000};
	struct limiter l = limiter_make(1000, 0);
	int64_t now = 0, last = -1000 * S, fastest = 1000;

	for (int i = 0; i < 100000; i++) {
		now += rand_r(&seed) % (2 * (int)(S / 1000)) * 1000;
		if (rand_r(&seed) % 50 == 0) {
			int64_t rate = rates[rand_r(&seed) % countof(rates)];

			limiter_swap(&l, rate, now);
			fastest = rate > fastest ? rate : fastest;
		}
		if (!limiter_take(&l, now))
			continue;
		ck_assert_int_ge(now - last, 1000 * S / fastest);
		last = now;
		fastest = l.rate_milli;
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("limit");
	TCase *tc = tcase_create("limit");

	seed = getenv("WEFT_SEED") ? (unsigned)atol(getenv("WEFT_SEED")) : (unsigned)time(NULL);
	printf("seed %u\n", seed);
	fflush(stdout);
	tcase_add_test(tc, a_zone_is_judged_by_its_lost_nodes);
	tcase_add_test(tc, only_large_zones_go_on_when_partly_lost);
	tcase_add_test(tc, the_first_goes_at_once_and_the_next_has_to_wait);
	tcase_add_test(tc, none_go_at_rate_nought);
	tcase_add_test(tc, another_rate_grants_nothing_to_those_who_wait);
	tcase_add_test(tc, one_who_takes_over_waits_for_the_rest_of_the_time);
	tcase_add_test(tc, random_rates_are_never_exceeded);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
