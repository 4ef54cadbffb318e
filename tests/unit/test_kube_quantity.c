/* test_kube_quantity.c - quantities against values that Kubernetes printed. */
#include "facts.h"
#include "weft/kube.h"

static zone *z;

/* Written, and what came back; "!" where it was refused. */
static void check_fact(char **column)
{
	value v = v_cstr(column[0]);
	struct str out;

	if (strcmp(column[1], "!") == 0) {
		ck_assert_msg(!kube_quantity_canonical(z, &v, &out), "'%s' is taken", column[0]);
		return;
	}
	ck_assert_msg(kube_quantity_canonical(z, &v, &out), "'%s' is refused", column[0]);
	ck_assert_msg(str_eq(out, str_of(column[1])), "'%s' is '" STR_FMT "', not '%s'", column[0],
		      STR_ARG(out), column[1]);
}

START_TEST(canonical_text_is_that_of_kubernetes)
{
	z = zone_new();
	ck_assert_int_ge(facts_read("tests/parity/quantities.tsv", check_fact), 100);
	zone_free(z);
}
END_TEST

START_TEST(thousandths)
{
	static const struct {
		const char *text;
		int64_t milli;
	} facts[] = {
		{"0", 0},
		{"1", 1000},
		{"100m", 100},
		{"1.5", 1500},
		{"0.0001", 1},
		{"-0.0001", -1},
		{"1Ki", 1024000},
		{"0.5Gi", 536870912000},
		{"2e3", 2000000},
		{"1e-3", 1},
		{"-2", -2000},
		{"1E", INT64_MAX},
		{"9Ei", INT64_MAX},
		{"9007199254740993", 9007199254740993000},
		{"1e100", INT64_MAX},
		{"0e100", 0},
	};

	z = zone_new();
	for (size_t i = 0; i < countof(facts); i++) {
		value v = v_cstr(facts[i].text);
		int64_t milli;

		ck_assert(kube_quantity_milli(&v, &milli));
		ck_assert_msg(milli == facts[i].milli, "%s is %lld", facts[i].text,
			      (long long)milli);
	}
	zone_free(z);
}
END_TEST

START_TEST(numbers_are_quantities)
{
	value i = v_int(2), f = v_float(0.5), b = v_bool(true);
	struct str out;
	int64_t milli;

	z = zone_new();
	ck_assert(kube_quantity_canonical(z, &i, &out));
	ck_assert_text(out, "2");
	ck_assert(kube_quantity_canonical(z, &f, &out));
	ck_assert_text(out, "500m");
	ck_assert(!kube_quantity_canonical(z, &b, &out));
	ck_assert(!kube_quantity_milli(NULL, &milli));
	zone_free(z);
}
END_TEST

/* Printing what was printed changes nothing, and nothing crashes. */
START_TEST(random_texts_settle)
{
	static const char alphabet[] = "0123456789012345678900000.-+eEmknuKMGi";

	srand(facts_seed());
	z = zone_new();
	for (int round = 0; round < 200000; round++) {
		char text[16];
		uint32_t n = 1 + (uint32_t)(rand() % 14);
		struct str once, twice;
		value v, w;

		for (uint32_t i = 0; i < n; i++)
			text[i] = alphabet[rand() % (int)(sizeof alphabet - 1)];
		v = v_str((struct str){text, n});
		if (!kube_quantity_canonical(z, &v, &once))
			continue;
		w = v_str(once);
		ck_assert_msg(kube_quantity_canonical(z, &w, &twice) && str_eq(once, twice),
			      "'%.*s': '" STR_FMT "'", (int)n, text, STR_ARG(once));
		if (round % 1000 == 0)
			zone_reset(z);
	}
	zone_free(z);
}
END_TEST

START_TEST(percentages)
{
	value quarter = v_cstr("25%"), three = v_int(3), bad = v_cstr("25"), worse = v_cstr("x%");

	ck_assert_int_eq(kube_int_or_percent(&quarter, 10, true, 7), 3);
	ck_assert_int_eq(kube_int_or_percent(&quarter, 10, false, 7), 2);
	ck_assert_int_eq(kube_int_or_percent(&quarter, 1000000000, true, 7), 250000000);
	ck_assert_int_eq(kube_int_or_percent(&three, 10, false, 7), 3);
	ck_assert_int_eq(kube_int_or_percent(NULL, 10, false, 7), 7);
	ck_assert_int_eq(kube_int_or_percent(&bad, 10, false, 7), -1);
	ck_assert_int_eq(kube_int_or_percent(&worse, 10, false, 7), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_quantity");
	TCase *tc = tcase_create("quantity");

	tcase_add_test(tc, canonical_text_is_that_of_kubernetes);
	tcase_add_test(tc, thousandths);
	tcase_add_test(tc, numbers_are_quantities);
	tcase_add_test(tc, random_texts_settle);
	tcase_add_test(tc, percentages);
	suite_add_tcase(s, tc);
	return facts_main(s);
}
