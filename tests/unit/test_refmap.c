/* test_refmap.c - against a table of all references there are. */
#include "procs/lib/refmap.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/suite.h"

#define REFS  600u
#define STEPS 200000

static int64_t model[REFS + 1];

/* References into the arena are far apart, and neighbours alike. */
static uint32_t ref_of_number(uint32_t i)
{
	return i * 16;
}

static void is_as_model(const struct refmap *m)
{
	uint32_t n = 0, seen = 0;

	for (uint32_t i = 1; i <= REFS; i++) {
		ck_assert_int_eq(refmap_get(m, ref_of_number(i)), model[i]);
		ck_assert(refmap_has(m, ref_of_number(i)) == (model[i] >= 0));
		n += model[i] >= 0;
	}
	for (uint32_t i = 0; i < m->cap; i++)
		if (m->at[i].ref) {
			ck_assert_int_eq(model[m->at[i].ref / 16], m->at[i].number);
			seen++;
		}
	ck_assert_uint_eq(m->n, n);
	ck_assert_uint_eq(seen, n);
}

static void forget_model(void)
{
	for (uint32_t i = 0; i <= REFS; i++)
		model[i] = -1;
}

START_TEST(random_operations)
{
	const char *given = getenv("WEFT_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_mono_ns();
	struct refmap m = {0};

	printf("seed %u\n", seed);
	forget_model();
	for (int step = 0; step < STEPS; step++) {
		uint32_t i = 1 + (uint32_t)rand_r(&seed) % REFS, number = (uint32_t)rand_r(&seed);
		int what = rand_r(&seed) % 1000;

		if (what == 0) {
			refmap_clear(&m);
			forget_model();
		} else if (what < 500) {
			refmap_put(&m, ref_of_number(i), number);
			model[i] = number;
		} else {
			ck_assert_int_eq(refmap_take(&m, ref_of_number(i)), model[i]);
			model[i] = -1;
		}
		if (step % 500 == 0)
			is_as_model(&m);
	}
	refmap_free(&m);
	forget_model();
	is_as_model(&m);
}
END_TEST

START_TEST(nothing_in_an_empty_one)
{
	struct refmap m = {0};

	refmap_prefetch(&m, 16);
	refmap_clear(&m);
	ck_assert(!refmap_has(&m, 16) && !refmap_has(&m, 0));
	ck_assert_int_eq(refmap_take(&m, 16), -1);
	refmap_put(&m, 16, UINT32_MAX);
	ck_assert_int_eq(refmap_get(&m, 16), UINT32_MAX);
	ck_assert_int_eq(refmap_get(&m, 0), -1);
	refmap_free(&m);
	ck_assert_int_eq(refmap_get(&m, 16), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("refmap");
	TCase *tc = tcase_create("refmap");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, random_operations);
	tcase_add_test(tc, nothing_in_an_empty_one);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
