/* test_kube_fields.c - field selectors on objects in a cache.  (Grammar and
 * errors: test_kube_selector.c.) */
#include "kube_cache.h"

static struct shelf s;

static bool matches(const struct entry *e, const char *text)
{
	struct kube_field_selector *f;
	struct str message = STR("");

	ck_assert_msg(kube_fields_parse(s.z, kube_by_type(e->type), str_of(text), &f, &message) ==
			      0,
		      "%s: " STR_FMT, text, STR_ARG(message));
	return kube_fields_match(f, s.c, e, shelf_newest(&s, e));
}

static void check(const struct entry *e, const char *const *yes, const char *const *no)
{
	for (; *yes; yes++)
		ck_assert_msg(matches(e, *yes), "'%s' does not match", *yes);
	for (; *no; no++)
		ck_assert_msg(!matches(e, *no), "'%s' matches", *no);
}

static const struct entry *put(uint16_t type, const char *json, const char *node)
{
	value obj = facts_json(s.z, json);

	return shelf_put(&s, type, &obj, str_of(node));
}

START_TEST(pods)
{
	static const char *const yes[] = {"",
					  "metadata.name=p",
					  "metadata.namespace=default",
					  "spec.nodeName=n1",
					  "spec.nodeName!=n2,status.phase=Running",
					  "status.phase!=Succeeded,status.phase!=Failed",
					  "spec.restartPolicy=Always",
					  "spec.hostNetwork=false",
					  "status.podIP=10.0.0.1",
					  "status.nominatedNodeName=",
					  "spec.host=n1",
					  "status.podIPs!=10.0.0.1",
					  NULL};
	static const char *const no[] = {"metadata.name=q",
					 "metadata.name!=p",
					 "spec.nodeName=",
					 "spec.nodeName=n1,metadata.name=q",
					 "spec.hostNetwork=true",
					 "spec.schedulerName=x",
					 NULL};
	const struct entry *e;

	s = shelf_open();
	e = put(TYPE_POD,
		"{\"metadata\":{\"name\":\"p\",\"namespace\":\"default\"},\"spec\":"
		"{\"restartPolicy\":\"Always\"},\"status\":{\"phase\":\"Running\","
		"\"podIP\":\"10.0.0.1\"}}",
		"n1");
	check(e, yes, no);
	shelf_close(&s);
}
END_TEST

START_TEST(pods_without_a_node)
{
	static const char *const yes[] = {"spec.nodeName=", "spec.hostNetwork=true", NULL};
	static const char *const no[] = {"spec.nodeName!=", "spec.nodeName=n1", NULL};
	const struct entry *e;

	s = shelf_open();
	e = put(TYPE_POD,
		"{\"metadata\":{\"name\":\"p\",\"namespace\":\"default\"},"
		"\"spec\":{\"hostNetwork\":true}}",
		"");
	check(e, yes, no);
	shelf_close(&s);
}
END_TEST

/* What a hole stands for is matched, not the hole. */
START_TEST(addresses_from_holes)
{
	static const char *const yes[] = {"status.podIP=10.0.0.1", NULL};
	static const char *const no[] = {"status.podIP=", "status.podIP=10.0.0.2", NULL};
	static const uint32_t holes[] = {0x0a000001};
	struct version_in in = {0};
	struct kube_parts parts;
	const struct entry *e;
	value obj;

	s = shelf_open();
	obj = facts_json(s.z, "{\"metadata\":{},\"status\":{}}");
	v_set(s.z, v_get(&obj, "status"), "podIP", v_hole(s.z, HOLE_IPV4, 0, STR("")));
	kube_split(s.z, &obj, &parts);
	e = shelf_add(&s, TYPE_POD, STR("default"), STR("p"), &parts, &in, holes, 1);
	kube_parts_free(&parts);
	check(e, yes, no);
	shelf_close(&s);
}
END_TEST

START_TEST(other_kinds)
{
	static const char *const event_yes[] = {"involvedObject.name=web,involvedObject.kind=Pod",
						"reason=Started",
						"type!=Warning",
						"source=kubelet",
						"involvedObject.uid=",
						NULL};
	static const char *const event_no[] = {"involvedObject.name=x", "source=x", NULL};
	static const char *const new_yes[] = {"source=sched", "reportingComponent=sched", NULL};
	static const char *const node_yes[] = {"spec.unschedulable=false", NULL};
	static const char *const node_no[] = {"spec.unschedulable=true", NULL};
	static const char *const job_yes[] = {"status.successful=3", NULL};
	static const char *const job_no[] = {"status.successful=0", NULL};
	static const char *const none[] = {NULL};

	s = shelf_open();
	check(put(TYPE_EVENT,
		  "{\"metadata\":{\"name\":\"e\",\"namespace\":\"default\"},"
		  "\"involvedObject\":{\"kind\":\"Pod\",\"name\":\"web\"},\"reason\":"
		  "\"Started\",\"type\":\"Normal\",\"source\":{\"component\":"
		  "\"kubelet\"}}",
		  ""),
	      event_yes, event_no);
	check(put(TYPE_EVENT,
		  "{\"metadata\":{\"name\":\"f\",\"namespace\":\"default\"},"
		  "\"source\":{},\"reportingComponent\":\"sched\"}",
		  ""),
	      new_yes, none);
	check(put(TYPE_NODE, "{\"metadata\":{\"name\":\"n\"},\"spec\":{}}", "n"), node_yes,
	      node_no);
	check(put(TYPE_JOB,
		  "{\"metadata\":{\"name\":\"j\",\"namespace\":\"default\"},\"status\":"
		  "{\"succeeded\":3}}",
		  ""),
	      job_yes, job_no);
	shelf_close(&s);
}
END_TEST

START_TEST(what_is_required)
{
	const struct kube_resource *r = kube_by_type(TYPE_POD);
	struct kube_field_selector *f;
	struct str message;

	s = shelf_open();
	ck_assert_int_eq(
		kube_fields_parse(s.z, r, STR("spec.host=n1,metadata.name!=x"), &f, &message), 0);
	ck_assert_text(kube_fields_required(f, "spec.nodeName"), "n1");
	ck_assert_ptr_null(kube_fields_required(f, "metadata.name").p);
	ck_assert_ptr_null(kube_fields_required(f, "metadata.namespace").p);
	ck_assert_int_eq(kube_fields_parse(s.z, r, STR("metadata.name=a\\,b"), &f, &message), 0);
	ck_assert_text(kube_fields_required(f, "metadata.name"), "a,b");
	shelf_close(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kube_fields");
	TCase *tc = tcase_create("fields");

	tcase_add_test(tc, pods);
	tcase_add_test(tc, pods_without_a_node);
	tcase_add_test(tc, addresses_from_holes);
	tcase_add_test(tc, other_kinds);
	tcase_add_test(tc, what_is_required);
	suite_add_tcase(suite, tc);
	return facts_main(suite);
}
