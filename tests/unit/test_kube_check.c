/* test_kube_check.c - what clients send: types, unknown fields, nulls, as on Kubernetes. */

#include "tests/unit/kube_cases.h"
#include "tests/unit/suite.h"
#include "weft/schema.h"

static int wrong;

static void differ(const struct kube_case *c, const char *what, struct str want, struct str got)
{
	wrong++;
	case_fail(c, what, want, got);
}

static void compare_unknown(const struct kube_case *c, const struct kube_notes *notes)
{
	for (uint32_t i = 0; i < notes->nunknown || (int)i < c->nunknown; i++) {
		struct str want = (int)i < c->nunknown ? str_of(c->unknown[i]) : STR("");
		struct str got = i < notes->nunknown ? notes->unknown[i] : STR("");

		if (!str_eq(want, got))
			differ(c, "unknown field", want, got);
	}
}

/* Everything of `want` below spec, data and the like is in `got`, and no more. */
static void compare_parts(const struct kube_case *c, const value *want, const value *got)
{
	static const char *const parts[] = {"spec", "data", "binaryData", "immutable"};

	for (size_t i = 0; i < countof(parts); i++) {
		const value *a = v_get(want, parts[i]), *b = v_get(got, parts[i]);
		struct buf x = {0}, y = {0};

		if ((v_is_null(a) && v_is_null(b)) || (a && b && v_equal(a, b)))
			continue;
		if (a)
			json_encode(&x, a, NULL);
		if (b)
			json_encode(&y, b, NULL);
		differ(c, parts[i], buf_str(&x), buf_str(&y));
		buf_free(&x);
		buf_free(&y);
	}
}

static void compare(const struct kube_case *c)
{
	zone *z = zone_new();
	struct case_result res = case_run(z, c);
	struct str refused = STR("");
	value want;

	if (res.refused.p)
		refused = kube_cannot_handle(z, res.r, res.refused);
	if (!str_eq(refused, c->code == 400 ? str_of(c->message) : STR("")))
		differ(c, "refused", str_of(c->code == 400 ? c->message : ""), refused);
	if (!res.refused.p)
		compare_unknown(c, &res.notes);
	if (c->out && !res.refused.p) {
		want = case_json(z, c, c->out);
		compare_parts(c, &want, &res.obj);
	}
	zone_free(z);
}

START_TEST(clients_are_understood_as_by_kubernetes)
{
	wrong = 0;
	ck_assert_int_gt(each_case("check", compare), 100);
	ck_assert_int_eq(wrong, 0);
}
END_TEST

/* Any tree of values is either made right or refused: made again, it stays. */
static value random_value(zone *z, unsigned *seed, int depth)
{
	static const char *const keys[] = {"spec",   "metadata", "template", "containers",
					   "name",   "labels",	 "ports",    "resources",
					   "limits", "cpu",	 "x"};
	int kind = rand_r(seed) % (depth ? 8 : 5);
	value v;

	switch (kind) {
	case 0:
		return v_null();
	case 1:
		return v_int(rand_r(seed) - RAND_MAX / 2);
	case 2:
		return v_bool(rand_r(seed) & 1);
	case 3:
		return v_float(rand_r(seed) / 3.0);
	case 4:
		return v_cstr(keys[rand_r(seed) % countof(keys)]);
	case 5:
		v = v_array();
		for (int i = rand_r(seed) % 4; i; i--)
			v_append(z, &v, random_value(z, seed, depth - 1));
		return v;
	default:
		v = v_map();
		for (int i = rand_r(seed) % 6; i; i--)
			v_set(z, &v, keys[rand_r(seed) % countof(keys)],
			      random_value(z, seed, depth - 1));
		return v;
	}
}

START_TEST(random_trees)
{
	const char *given = getenv("WEFT_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)clock_wall_ns();
	zone *z = zone_new();
	uint32_t n, good = 0;
	const struct kube_resource *all = kube_resources(&n);

	printf("WEFT_SEED=%u\n", seed);
	for (int i = 0; i < 20000; i++) {
		const struct kube_resource *r = &all[(uint32_t)rand_r(&seed) % n];
		value v = random_value(z, &seed, 6), once;
		struct kube_notes notes;
		struct kube_errors errs = {.z = z};
		struct str message;
		bool bump;

		if (!kube_check(z, r, &v, &notes, &message)) {
			once = v_copy(z, &v);
			ck_assert_int_eq(kube_check(z, r, &v, &notes, &message), 0);
			ck_assert_uint_eq(notes.nunknown, 0);
			ck_assert(v_equal(&v, &once));
			kube_default(z, r, &v);
			kube_admit(z, r, &v);
			kube_prepare(z, r, &v, NULL, STR(""), &bump);
			kube_validate(z, r, &v, NULL, STR(""), &errs);
			once = v_copy(z, &v);
			kube_prepare(z, r, &v, &once, STR(""), &bump);
			kube_validate(z, r, &v, &once, STR(""), &errs);
			good++;
		}
		if (i % 100 == 0)
			zone_reset(z);
	}
	ck_assert_uint_gt(good, 100);
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_check");
	TCase *tc = tcase_create("check");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, clients_are_understood_as_by_kubernetes);
	tcase_add_test(tc, random_trees);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
