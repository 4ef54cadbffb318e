/* test_awake.c - waiting awake: what is waited for comes once, and nobody stays awake for nothing. */
#include <stdlib.h>

#include "procs/lib/awake.h"
#include "tests/unit/suite.h"
#include "weft/proc.h"

/* Something comes at `at_ns`, counted from the first look. */
static struct {
	int64_t from, at_ns;
	int looks, sleeps;
	int64_t slept_for;
} s;

static int look(void *arg, int64_t wait_ns)
{
	int64_t now = proc_mono_ns();

	if (!s.from)
		s.from = now;
	if (!wait_ns) {
		s.looks++;
		return now - s.from >= s.at_ns ? 7 : 0;
	}
	s.sleeps++;
	s.slept_for = wait_ns;
	while (proc_mono_ns() - s.from < s.at_ns)
		if (proc_mono_ns() - now >= wait_ns)
			return 0;
	return 7;
}

static int wait_for(struct awake *a, int64_t at_ns, int64_t wait_ns)
{
	s.from = s.looks = s.sleeps = 0;
	s.at_ns = at_ns;
	return awake_wait(a, look, NULL, wait_ns);
}

START_TEST(sleeps_at_first)
{
	struct awake a = {0};

	ck_assert_int_eq(wait_for(&a, 10000, 1000000000), 7);
	ck_assert_int_eq(s.looks, 0);
	ck_assert_int_eq(s.sleeps, 1);
}
END_TEST

START_TEST(waits_awake_after_a_short_wait)
{
	struct awake a = {.expecting = true};

	ck_assert_int_eq(wait_for(&a, AWAKE_NS / 4, 1000000000), 7);
	ck_assert_int_gt(s.looks, 0);
	ck_assert(s.sleeps == 0 || !a.expecting); /* it slept: this machine was busy */
}
END_TEST

START_TEST(sleeps_in_the_end_and_expects_nothing)
{
	struct awake a = {.expecting = true};

	ck_assert_int_eq(wait_for(&a, 3 * AWAKE_NS, 1000000000), 7);
	ck_assert_int_gt(s.looks, 0);
	ck_assert(!a.expecting);
	wait_for(&a, 10, 1000000000);
	ck_assert_int_eq(s.looks, 0);
}
END_TEST

START_TEST(ends_in_time)
{
	struct awake a = {.expecting = true};

	ck_assert_int_eq(wait_for(&a, 1000000000, AWAKE_NS / 2), 0);
	ck_assert(!a.expecting);
	ck_assert_int_eq(wait_for(&a, 1000000000, 2 * AWAKE_NS), 0);
	ck_assert_int_eq(s.sleeps, 1);
	ck_assert(!a.expecting);
}
END_TEST

START_TEST(looks_once_when_it_may_not_wait)
{
	struct awake a = {.expecting = true};

	ck_assert_int_eq(wait_for(&a, 1000000000, 0), 0);
	ck_assert_int_eq(s.looks, 1);
	ck_assert_int_eq(s.sleeps, 0);
	ck_assert(a.expecting);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("awake");
	TCase *tc = tcase_create("awake");

	tcase_add_test(tc, sleeps_at_first);
	tcase_add_test(tc, waits_awake_after_a_short_wait);
	tcase_add_test(tc, sleeps_in_the_end_and_expects_nothing);
	tcase_add_test(tc, ends_in_time);
	tcase_add_test(tc, looks_once_when_it_may_not_wait);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
