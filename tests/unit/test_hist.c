/* test_hist.c - the benchmarks' histogram against sorted values. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/load/hist.h"
#include "tests/unit/suite.h"

#define VALUES 20000

static uint64_t values[VALUES];

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Of any order of magnitude from 1 ns to hours. */
static uint64_t some_value(void)
{
	return ((uint64_t)random() << 15 ^ (uint64_t)random()) >> (random() % 44);
}

static void within(const struct hist *h, double share)
{
	uint32_t i = (uint32_t)(share * VALUES + 0.9999);
	uint64_t want = values[i ? i - 1 : 0], got = hist_at(h, share);

	ck_assert_msg(got >= want && (double)got <= (double)want * (1 + 1.0 / HIST_SUB),
		      "at %g: %llu for %llu", share, (unsigned long long)got,
		      (unsigned long long)want);
}

START_TEST(keeps_every_percentile_to_its_width)
{
	static struct hist h;

	for (int i = 0; i < VALUES; i++)
		hist_add(&h, values[i] = some_value());
	qsort(values, VALUES, sizeof(values[0]), by_size);
	for (int i = 0; i <= 1000; i++)
		within(&h, i / 1000.0);
	ck_assert_uint_eq(h.n, VALUES);
	ck_assert_uint_eq(hist_at(&h, 1), values[VALUES - 1]);
}
END_TEST

START_TEST(holds_the_ends)
{
	static struct hist h;

	ck_assert_uint_eq(hist_at(&h, 0.5), 0);
	hist_add(&h, 0);
	ck_assert_uint_eq(hist_at(&h, 1), 0);
	hist_add(&h, UINT64_MAX);
	ck_assert_uint_eq(hist_at(&h, 0.5), 0);
	ck_assert_uint_eq(hist_at(&h, 1), UINT64_MAX);
}
END_TEST

START_TEST(merges_to_what_one_would_hold)
{
	static struct hist a, b, all;

	for (int i = 0; i < VALUES; i++) {
		uint64_t v = some_value();

		hist_add(i % 3 ? &a : &b, v);
		hist_add(&all, v);
	}
	hist_merge(&a, &b);
	ck_assert_uint_eq(a.n, all.n);
	for (int i = 0; i <= 100; i++)
		ck_assert_uint_eq(hist_at(&a, i / 100.0), hist_at(&all, i / 100.0));
}
END_TEST

int main(void)
{
	const char *given = getenv("WEFT_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	Suite *s = suite_create("hist");
	TCase *tc = tcase_create("hist");

	printf("WEFT_SEED=%u\n", seed);
	srandom(seed);
	tcase_add_test(tc, keeps_every_percentile_to_its_width);
	tcase_add_test(tc, holds_the_ends);
	tcase_add_test(tc, merges_to_what_one_would_hold);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
