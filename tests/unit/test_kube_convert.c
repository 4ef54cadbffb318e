/* test_kube_convert.c - what is written in one version and read in another, as on Kubernetes. */

#include "tests/unit/kube_cases.h"
#include "tests/unit/suite.h"

static int wrong;

/* JSON inside an annotation: compared as values. */
static bool same_text(zone *z, const value *a, const value *b)
{
	value x, y;

	if (str_eq(v_as_str(a), v_as_str(b)))
		return true;
	return !json_decode(z, v_as_str(a), &x, NULL, NULL) &&
	       !json_decode(z, v_as_str(b), &y, NULL, NULL) && v_equal(&x, &y);
}

static bool same(zone *z, const value *a, const value *b)
{
	if (v_is_map(a) && v_is_map(b)) {
		if (v_len(a) != v_len(b))
			return false;
		v_each_kv(kv, a) {
			const value *other = v_getn(b, v_as_str(&kv->key));

			if (!other || !same(z, &kv->val, other))
				return false;
		}
		return true;
	}
	return v_is_str(a) && v_is_str(b) ? same_text(z, a, b) : v_equal(a, b);
}

static void compare(const struct kube_case *c)
{
	zone *z = zone_new();
	struct case_result res = case_run(z, c);
	struct str sub;
	const struct kube_resource *to = case_resource(c, c->as, &sub);
	const struct kube_resource *stored = kube_by_type(to->type);
	value want = case_json(z, c, c->out);
	struct buf got = {0};

	ck_assert_uint_eq(res.errors.n, 0);
	ck_assert_int_eq(kube_convert(z, res.r, stored, &res.obj), 0);
	ck_assert_int_eq(kube_convert(z, stored, to, &res.obj), 0);
	v_del(v_get(&res.obj, "metadata"), "uid");
	if (!same(z, &want, &res.obj)) {
		json_encode(&got, &res.obj, NULL);
		case_fail(c, "differs", str_of(c->out), buf_str(&got));
		wrong++;
	}
	buf_free(&got);
	zone_free(z);
}

START_TEST(versions_agree_with_kubernetes)
{
	wrong = 0;
	ck_assert_int_ge(each_case("convert", compare), 10);
	ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(kinds_do_not_mix)
{
	zone *z = zone_new();
	value v = v_map();

	ck_assert_int_eq(kube_convert(z, kube_by_type(TYPE_POD), kube_by_type(TYPE_NODE), &v),
			 WEFT_EINVAL);
	ck_assert_int_eq(kube_convert(z, kube_by_type(TYPE_POD), kube_by_type(TYPE_POD), &v), 0);
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_convert");
	TCase *tc = tcase_create("convert");

	tcase_add_test(tc, versions_agree_with_kubernetes);
	tcase_add_test(tc, kinds_do_not_mix);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
