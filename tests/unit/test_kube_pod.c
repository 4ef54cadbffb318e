/* test_kube_pod.c - conditions, templates, and pods made from them. */
#include "kube_cache.h"

static zone *z;

/* --- Conditions --------------------------------------------------------------------- */

static const char *text_at(const value *list, uint32_t i, const char *member)
{
	struct str s = v_get_str(v_at(list, i), member);

	return zone_printf(z, STR_FMT, STR_ARG(s)).p;
}

START_TEST(conditions_keep_their_time)
{
	value list = v_null();

	z = zone_new();
	ck_assert(
		kube_condition_set(z, &list, "Ready", "False", "Why", STR("m"), 1700000000, false));
	ck_assert(!kube_condition_set(z, &list, "Ready", "False", "Why", STR("m"), 1700000009,
				      false));
	ck_assert(
		kube_condition_set(z, &list, "Ready", "False", "New", STR("m"), 1700000009, false));
	ck_assert_str_eq(text_at(&list, 0, "lastTransitionTime"), "2023-11-14T22:13:20Z");
	ck_assert(kube_condition_set(z, &list, "Ready", "True", "", STR(""), 1700000009, false));
	ck_assert_str_eq(text_at(&list, 0, "lastTransitionTime"), "2023-11-14T22:13:29Z");
	ck_assert_ptr_null(v_get(v_at(&list, 0), "reason"));
	ck_assert_ptr_null(v_get(v_at(&list, 0), "lastUpdateTime"));
	ck_assert_uint_eq(v_len(&list), 1);
	ck_assert_ptr_eq(kube_condition(&list, "Ready"), v_at(&list, 0));
	ck_assert_ptr_null(kube_condition(&list, "Other"));
	ck_assert(kube_condition_del(&list, "Ready"));
	ck_assert(!kube_condition_del(&list, "Ready"));
	ck_assert_uint_eq(v_len(&list), 0);
	zone_free(z);
}
END_TEST

/* As in a Deployment: the one that changed last stands last. */
START_TEST(conditions_with_update_time_move_to_the_end)
{
	value list = v_array();

	z = zone_new();
	kube_condition_set(z, &list, "Progressing", "True", "A", STR(""), 1700000000, true);
	kube_condition_set(z, &list, "Available", "True", "B", STR(""), 1700000000, true);
	kube_condition_set(z, &list, "Progressing", "True", "C", STR(""), 1700000009, true);
	ck_assert_uint_eq(v_len(&list), 2);
	ck_assert_str_eq(text_at(&list, 0, "type"), "Available");
	ck_assert_str_eq(text_at(&list, 1, "type"), "Progressing");
	ck_assert_str_eq(text_at(&list, 1, "lastTransitionTime"), "2023-11-14T22:13:20Z");
	ck_assert_str_eq(text_at(&list, 1, "lastUpdateTime"), "2023-11-14T22:13:29Z");
	zone_free(z);
}
END_TEST

/* --- Templates ---------------------------------------------------------------------- */

#define TEMPLATE                                                                              \
	"{\"metadata\":{\"labels\":{\"app\":\"web\",\"b\":\"c\"}},\"spec\":{\"containers\":[" \
	"{\"name\":\"nginx\",\"image\":\"nginx:1.14.2\"}]}}"

START_TEST(template_hashes)
{
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	value a, reordered, b;
	struct str hash;

	z = zone_new();
	a = facts_json(z, TEMPLATE);
	reordered = facts_json(z, "{\"spec\":{\"containers\":[{\"image\":\"nginx:1.14.2\",\"name\":"
				  "\"nginx\"}]},\"metadata\":{\"labels\":{\"b\":\"c\",\"app\":"
				  "\"web\"}}}");
	b = facts_json(z, TEMPLATE);
	v_set(z, v_at(v_path(&b, "spec.containers"), 0), "image", v_cstr("nginx:1.16.1"));
	hash = kube_template_hash(z, &a, 0);
	ck_assert_uint_ge(hash.n, 1);
	ck_assert_uint_le(hash.n, 10);
	for (uint32_t i = 0; i < hash.n; i++)
		ck_assert(strchr(alphabet, hash.p[i]));
	ck_assert(str_eq(hash, kube_template_hash(z, &reordered, 0)));
	ck_assert(!str_eq(hash, kube_template_hash(z, &b, 0)));
	ck_assert(!str_eq(hash, kube_template_hash(z, &a, 1)));
	ck_assert(!str_eq(kube_template_hash(z, &a, 1), kube_template_hash(z, &a, 2)));
	zone_free(z);
}
END_TEST

START_TEST(template_equality)
{
	value a, b;

	z = zone_new();
	a = facts_json(z, TEMPLATE);
	b = facts_json(z, TEMPLATE);
	ck_assert(kube_templates_equal(z, &a, &b));
	v_set(z, v_path(&b, "metadata.labels"), "pod-template-hash", v_cstr("5d6f"));
	v_set(z, v_get(&b, "metadata"), "creationTimestamp", v_null());
	v_set(z, v_get(&b, "metadata"), "annotations", v_map());
	ck_assert(kube_templates_equal(z, &a, &b));
	ck_assert(v_path(&b, "metadata.labels.pod-template-hash"));
	v_set(z, v_path(&b, "metadata.labels"), "x", v_cstr("y"));
	ck_assert(!kube_templates_equal(z, &a, &b));
	b = facts_json(z, TEMPLATE);
	v_set(z, v_at(v_path(&b, "spec.containers"), 0), "image", v_cstr("other"));
	ck_assert(!kube_templates_equal(z, &a, &b));
	zone_free(z);
}
END_TEST

/* --- Pods --------------------------------------------------------------------------- */

START_TEST(pods_from_templates)
{
	struct shelf s = shelf_open();
	value rs, template, owner, pod, again;
	const struct entry *e;
	struct kube_parts a, b;

	z = s.z;
	rs = facts_json(z, "{\"metadata\":{\"name\":\"web-5d6f\",\"namespace\":\"default\"},"
			   "\"spec\":{\"replicas\":2}}");
	template = facts_json(z, TEMPLATE);
	e = shelf_put(&s, TYPE_REPLICASET, &rs, STR(""));
	owner = kube_owner_ref(z, s.c, e, true);
	ck_assert_text(v_get_str(&owner, "apiVersion"), "apps/v1");
	ck_assert_text(v_get_str(&owner, "kind"), "ReplicaSet");
	ck_assert_uint_eq(v_get_str(&owner, "uid").n, 36);
	kube_pod_from_template(z, &template, &owner, &pod);
	ck_assert_text(v_get_str(&pod, "kind"), "Pod");
	ck_assert_text(v_as_str(v_path(&pod, "metadata.generateName")), "web-5d6f-");
	ck_assert_text(v_as_str(v_path(&pod, "metadata.labels.app")), "web");
	ck_assert_ptr_nonnull(kube_controller_of(v_get(&pod, "metadata")));
	ck_assert_text(v_as_str(v_path(&pod, "spec.restartPolicy")), "Always");
	ck_assert_text(v_as_str(v_path(&pod, "spec.serviceAccountName")), "default");
	ck_assert_text(v_as_str(v_path(&pod, "status.phase")), "Pending");
	ck_assert_text(v_as_str(v_path(&pod, "status.qosClass")), "BestEffort");

	/* All pods of a template are stored as the same bytes. */
	kube_pod_from_template(z, &template, &owner, &again);
	kube_split(z, &pod, &a);
	kube_split(z, &again, &b);
	for (int i = 0; i < PART_COUNT; i++)
		ck_assert(str_eq(buf_str(&a.part[i]), buf_str(&b.part[i])));
	kube_parts_free(&a);
	kube_parts_free(&b);
	shelf_close(&s);
}
END_TEST

START_TEST(owners_that_do_not_control)
{
	struct shelf s = shelf_open();
	value rs = facts_json(s.z, "{\"metadata\":{\"name\":\"n\"}}"), owner, m = v_map(), refs;
	const struct entry *e = shelf_put(&s, TYPE_NODE, &rs, STR("n"));

	owner = kube_owner_ref(s.z, s.c, e, false);
	ck_assert_ptr_null(v_get(&owner, "controller"));
	refs = v_array();
	v_append(s.z, &refs, owner);
	v_set(s.z, &m, "ownerReferences", refs);
	ck_assert_ptr_null(kube_controller_of(&m));
	ck_assert_ptr_null(kube_controller_of(NULL));
	shelf_close(&s);
}
END_TEST

START_TEST(availability)
{
	struct version v = {.hot = {.flags = HOT_READY, .ready_since_s = 1000}};
	uint32_t wait_s;

	ck_assert(kube_pod_available(&v, 0, 1000, &wait_s));
	ck_assert(!kube_pod_available(&v, 30, 1010, &wait_s));
	ck_assert_uint_eq(wait_s, 20);
	ck_assert(kube_pod_available(&v, 30, 1030, &wait_s));
	ck_assert_uint_eq(wait_s, 0);
	ck_assert(!kube_pod_available(&v, UINT32_MAX, UINT32_MAX, &wait_s));
	ck_assert_uint_eq(wait_s, 1000);
	v.hot.ready_since_s = 0;
	ck_assert(!kube_pod_available(&v, 1, 1030, &wait_s));
	v.hot.flags = 0;
	ck_assert(!kube_pod_available(&v, 0, 1030, &wait_s));
	ck_assert_uint_eq(wait_s, 0);
}
END_TEST

START_TEST(tolerations)
{
	static const struct {
		const char *toleration, *taint;
		bool matches;
	} cases[] = {
		{"{}", "{\"key\":\"a\",\"effect\":\"NoSchedule\"}", false},
		{"{\"operator\":\"Exists\"}", "{\"key\":\"a\",\"effect\":\"NoSchedule\"}", true},
		{"{\"key\":\"a\"}", "{\"key\":\"a\",\"effect\":\"NoSchedule\"}", true},
		{"{\"key\":\"a\"}", "{\"key\":\"a\",\"value\":\"1\",\"effect\":\"NoSchedule\"}",
		 false},
		{"{\"key\":\"a\",\"value\":\"1\"}", "{\"key\":\"a\",\"value\":\"1\"}", true},
		{"{\"key\":\"b\",\"operator\":\"Exists\"}", "{\"key\":\"a\"}", false},
		{"{\"operator\":\"Exists\",\"effect\":\"NoExecute\"}",
		 "{\"key\":\"a\",\"effect\":\"NoSchedule\"}", false},
	};
	zone *z = zone_new();

	for (size_t i = 0; i < countof(cases); i++) {
		value toleration = facts_json(z, cases[i].toleration);
		value taint = facts_json(z, cases[i].taint);

		ck_assert_msg(kube_tolerates(&toleration, &taint) == cases[i].matches, "%s and %s",
			      cases[i].toleration, cases[i].taint);
	}
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_pod");
	TCase *tc = tcase_create("pod");

	tcase_add_test(tc, conditions_keep_their_time);
	tcase_add_test(tc, conditions_with_update_time_move_to_the_end);
	tcase_add_test(tc, template_hashes);
	tcase_add_test(tc, template_equality);
	tcase_add_test(tc, pods_from_templates);
	tcase_add_test(tc, owners_that_do_not_control);
	tcase_add_test(tc, availability);
	tcase_add_test(tc, tolerations);
	suite_add_tcase(s, tc);
	return facts_main(s);
}
