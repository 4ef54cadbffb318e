/* test_kube_validate.c - what is refused and how it is said, as on Kubernetes. */

#include "tests/unit/kube_cases.h"
#include "tests/unit/suite.h"

static int wrong;

static struct str cause_line(zone *z, const struct kube_cause *c)
{
	return zone_printf(z, STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(c->reason),
			   STR_ARG(c->field.n ? c->field : STR("-")), STR_ARG(c->message));
}

/* Where `mark` begins, or the end. */
static uint32_t find(struct str s, const char *mark)
{
	const char *p = memmem(s.p, s.n, mark, strlen(mark));

	return p ? (uint32_t)(p - s.p) : s.n;
}

/* Some messages end in a difference between two Go structs, or show a list of
 * them; what is around that has to be the same. */
static bool same_cause(struct str want, struct str got)
{
	uint32_t a = find(want, "[{"), b = find(got, "[{");

	want.n = find(want, "\\n@@") < want.n ? find(want, "\\n@@") : find(want, "\\n ");
	if (a < want.n && a == b && !memcmp(want.p, got.p, a)) {
		a = find(want, "}]: ");
		b = find(got, "}]: ");
		want = (struct str){want.p + a, want.n - a};
		got = (struct str){got.p + b, got.n - b};
	}
	return str_eq(want, got);
}

/* One cause: the whole message is known, not only the set of causes. */
static void compare_message(zone *z, const struct kube_case *c, const struct case_result *res)
{
	struct str name = v_get_str(v_get(&res->obj, "metadata"), "name"), got;
	value status;

	if (c->ncause != 1 || res->errors.n != 1 || strstr(c->message, "\\n") ||
	    strstr(c->message, "[{"))
		return;
	status = kube_status_invalid(z, res->r, name, &res->errors);
	got = v_get_str(&status, "message");
	ck_assert_int_eq(v_get_int(&status, "code", 0), c->code);
	if (str_eq(got, str_of(c->message)))
		return;
	wrong++;
	case_fail(c, "message", str_of(c->message), got);
}

static void compare(const struct kube_case *c)
{
	zone *z = zone_new();
	struct case_result res = case_run(z, c);
	bool met[CASE_LINES] = {false};
	int before = wrong;

	if (c->code == 403 || c->code == 400) {
		zone_free(z);
		return;
	}
	for (uint32_t i = 0; i < res.errors.n; i++) {
		struct str got = cause_line(z, &res.errors.list[i]);
		int k = 0;

		while (k < c->ncause && (met[k] || !same_cause(str_of(c->cause[k]), got)))
			k++;
		if (k < c->ncause) {
			met[k] = true;
			continue;
		}
		wrong++;
		printf("  too much: " STR_FMT "\n", STR_ARG(got));
	}
	for (int k = 0; k < c->ncause; k++)
		if (!met[k]) {
			wrong++;
			printf("  missing:  %s\n", c->cause[k]);
		}
	if (res.refused.p) {
		wrong++;
		printf("  refused: " STR_FMT "\n", STR_ARG(res.refused));
	}
	compare_message(z, c, &res);
	if (wrong > before)
		printf("in case \"%s\"\n", c->name);
	zone_free(z);
}

START_TEST(statuses_of_one_object)
{
	zone *z = zone_new();
	const struct kube_resource *d = kube_by_type(TYPE_DEPLOYMENT);
	const struct kube_resource *n = kube_by_type(TYPE_NODE);
	static const char *const want[] = {
		"deployments.apps \"x\" not found",
		"nodes \"x\" not found",
		"deployments.apps \"x\" already exists",
		"Operation cannot be fulfilled on nodes \"x\": why",
		"deployments.apps \"x\" is forbidden: why",
		"nodes is forbidden: why",
		"the server could not find the requested resource",
		"the server does not allow this method on the requested resource",
	};
	value got[] = {
		kube_status_not_found(z, d, STR("x")),
		kube_status_not_found(z, n, STR("x")),
		kube_status_already_exists(z, d, STR("x")),
		kube_status_conflict(z, n, STR("x"), STR("why")),
		kube_status_forbidden(z, d, STR("x"), STR("why")),
		kube_status_forbidden(z, n, STR(""), STR("why")),
		kube_status_not_found(z, NULL, STR("x")),
		kube_status_method_not_allowed(z, NULL, STR("put")),
	};

	for (size_t i = 0; i < countof(want); i++)
		ck_assert_msg(str_eq(v_get_str(&got[i], "message"), str_of(want[i])), "%s",
			      want[i]);
	ck_assert(str_eq(v_get_str(v_get(&got[0], "details"), "group"), STR("apps")));
	ck_assert(str_eq(v_get_str(v_get(&got[0], "details"), "kind"), STR("deployments")));
	ck_assert(!v_get(v_get(&got[1], "details"), "group"));
	ck_assert_int_eq(v_get_int(&got[3], "code", 0), 409);
	zone_free(z);
}
END_TEST

START_TEST(creates_are_refused_as_on_kubernetes)
{
	wrong = 0;
	ck_assert_int_gt(each_case("validate", compare), 150);
	ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(updates_are_refused_as_on_kubernetes)
{
	wrong = 0;
	ck_assert_int_gt(each_case("update", compare), 20);
	ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(annotations_have_a_size)
{
	zone *z = zone_new();
	struct kube_case c = {.name = "size"};
	struct kube_errors errs = {.z = z};
	value obj = case_json(z, &c, "{\"metadata\":{\"name\":\"x\",\"namespace\":\"default\"}}");
	static char text[256 * 1024 + 1];
	value *annotations = v_map_at(z, v_get(&obj, "metadata"), "annotations");

	memset(text, 'a', sizeof(text) - 1);
	v_set(z, annotations, "k", v_str((struct str){text, sizeof(text) - 2}));
	kube_validate(z, kube_by_type(TYPE_CONFIGMAP), &obj, NULL, STR(""), &errs);
	ck_assert_uint_eq(errs.n, 0);
	v_set(z, annotations, "k", v_str((struct str){text, sizeof(text) - 1}));
	kube_validate(z, kube_by_type(TYPE_CONFIGMAP), &obj, NULL, STR(""), &errs);
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_msg(
		str_eq(errs.list[0].message, STR("Too long: may not be more than 262144 bytes")),
		STR_FMT, STR_ARG(errs.list[0].message));
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_validate");
	TCase *tc = tcase_create("validate");

	tcase_add_test(tc, creates_are_refused_as_on_kubernetes);
	tcase_add_test(tc, updates_are_refused_as_on_kubernetes);
	tcase_add_test(tc, statuses_of_one_object);
	tcase_add_test(tc, annotations_have_a_size);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
