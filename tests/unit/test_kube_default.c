/* test_kube_default.c - what is stored when little is said, as on Kubernetes. */

#include "tests/unit/kube_cases.h"
#include "tests/unit/suite.h"

/* Replace `n` bytes after each `prefix`. */
static void blank(char *text, const char *prefix, size_t n, const char *with)
{
	for (char *p = text; (p = strstr(p, prefix)); p += strlen(prefix))
		memcpy(p + strlen(prefix), with, n);
}

/* As tests/parity/record writes an object. */
static value as_recorded(zone *z, const struct kube_case *c, const value *obj)
{
	struct buf b = {0};
	char now[24];
	value out;

	json_encode(&b, obj, NULL);
	buf_putc(&b, 0);
	blank(b.p, "kube-api-access-", 5, "?????");
	time_format(clock_wall_s(), now);
	for (char *p; (p = strstr(b.p, now));) {
		memcpy(p, "NOW", 3);
		memmove(p + 3, p + 20, strlen(p + 20) + 1);
	}
	out = case_json(z, c, b.p);
	buf_free(&b);
	v_del(v_get(&out, "metadata"), "uid");
	return out;
}

static int differences;

/* Say where two values differ. */
static void explain(const char *path, const value *want, const value *got)
{
	struct buf a = {0}, b = {0};
	char sub[512];

	if (v_is_map(want) && v_is_map(got)) {
		v_each_kv(kv, want) {
			snprintf(sub, sizeof(sub), "%s." STR_FMT, path,
				 STR_ARG(v_as_str(&kv->key)));
			explain(sub, &kv->val, v_getn(got, v_as_str(&kv->key)));
		}
		v_each_kv(kv, got)
			if (!v_getn(want, v_as_str(&kv->key))) {
				snprintf(sub, sizeof(sub), "%s." STR_FMT, path,
					 STR_ARG(v_as_str(&kv->key)));
				explain(sub, NULL, &kv->val);
			}
		return;
	}
	if (v_is_array(want) && v_is_array(got) && v_len(want) == v_len(got)) {
		for (uint32_t i = 0; i < v_len(want); i++) {
			snprintf(sub, sizeof(sub), "%s[%u]", path, i);
			explain(sub, v_at(want, i), v_at(got, i));
		}
		return;
	}
	if (want && got && v_equal(want, got))
		return;
	differences++;
	if (want)
		json_encode(&a, want, NULL);
	if (got)
		json_encode(&b, got, NULL);
	printf("  %s: want " STR_FMT ", got " STR_FMT "\n", path, STR_ARG(buf_str(&a)),
	       STR_ARG(buf_str(&b)));
	buf_free(&a);
	buf_free(&b);
}

static void compare(const struct kube_case *c)
{
	zone *z = zone_new();
	struct case_result res;
	value want, got;
	int before = differences;

	if (!c->out) {
		zone_free(z);
		return;
	}
	res = case_run(z, c);
	if (res.refused.p)
		case_fail(c, "refused", STR(""), res.refused);
	want = case_json(z, c, c->out);
	got = as_recorded(z, c, &res.obj);
	explain("", &want, &got);
	for (uint32_t i = 0; i < res.errors.n; i++, differences++)
		case_fail(c, "invalid", res.errors.list[i].field, res.errors.list[i].message);
	if (differences > before)
		printf("in case \"%s\" (%s)\n", c->name, c->to);
	zone_free(z);
}

START_TEST(defaults_are_those_of_kubernetes)
{
	differences = 0;
	ck_assert_int_gt(each_case("default", compare), 30);
	ck_assert_int_eq(differences, 0);
}
END_TEST

START_TEST(what_was_stored_changes_as_on_kubernetes)
{
	differences = 0;
	ck_assert_int_gt(each_case("update", compare), 5);
	ck_assert_int_eq(differences, 0);
}
END_TEST

START_TEST(defaults_are_set_once)
{
	zone *z = zone_new();
	const struct kube_resource *r = kube_by_type(TYPE_DEPLOYMENT);
	struct kube_case c = {.name = "twice"};
	value obj = case_json(z, &c,
			      "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"a\","
			      "\"image\":\"x:1\",\"ports\":[{\"containerPort\":80}]}]}}}}");
	value copy;

	kube_default(z, r, &obj);
	copy = v_copy(z, &obj);
	kube_default(z, r, &obj);
	ck_assert(v_equal(&obj, &copy));
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_default");
	TCase *tc = tcase_create("default");

	tcase_add_test(tc, defaults_are_those_of_kubernetes);
	tcase_add_test(tc, what_was_stored_changes_as_on_kubernetes);
	tcase_add_test(tc, defaults_are_set_once);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
