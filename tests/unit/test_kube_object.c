/* test_kube_object.c - objects into parts and out again, and what the store
 * reads off them. */
#include "kube_cache.h"

/* --- Random objects --------------------------------------------------------------- */

static struct str random_text(zone *z)
{
	static const char *const words[] = {"",
					    "a",
					    "web",
					    "nginx:1.14.2",
					    "\"quoted\"\n",
					    "ü",
					    "a longer text of more than thirty-one bytes"};

	return zone_str(z, str_of(words[rand() % (int)countof(words)]));
}

static value random_value(zone *z, int depth)
{
	value v;

	switch (rand() % (depth ? 7 : 4)) {
	case 0:
		return v_int(rand() % 200000 - 100000);
	case 1:
		return v_bool(rand() & 1);
	case 2:
		return v_float((rand() % 1000) / 8.0 + 0.0625);
	case 3:
		return v_str(random_text(z));
	case 4:
		v = v_array();
		for (int n = rand() % 4; n > 0; n--)
			v_append(z, &v, random_value(z, depth - 1));
		return v;
	}
	v = v_map();
	for (int n = rand() % 5; n > 0; n--)
		v_setn(z, &v, zone_printf(z, "k%d", rand() % 50), random_value(z, depth - 1));
	return v;
}

static value random_labels(zone *z)
{
	value v = v_map();

	for (int n = 1 + rand() % 5; n > 0; n--)
		v_setn(z, &v, zone_printf(z, "l%d", rand() % 20), v_str(random_text(z)));
	return v;
}

static value random_object(zone *z, uint16_t type, int number)
{
	const struct kube_resource *r = kube_by_type(type);
	value obj = v_map(), *m;

	v_set(z, &obj, "apiVersion", v_cstr(r->api_version));
	v_set(z, &obj, "kind", v_cstr(r->kind));
	m = v_map_at(z, &obj, "metadata");
	v_set(z, m, "name", v_str(zone_printf(z, "o%d", number)));
	if (r->namespaced)
		v_set(z, m, "namespace", v_cstr("default"));
	if (rand() & 1)
		v_set(z, m, "labels", random_labels(z));
	if (rand() & 1)
		v_set(z, m, "annotations", random_labels(z));
	if (rand() & 1) {
		value list = v_array();

		v_append(z, &list, v_cstr("example.com/f"));
		v_set(z, m, "finalizers", list);
	}
	if (rand() % 4)
		v_set(z, &obj, "spec", random_value(z, 4));
	if (rand() % 4)
		v_set(z, &obj, "status", random_value(z, 4));
	if (rand() & 1)
		v_set(z, &obj, "data", random_value(z, 2));
	return obj;
}

static void drop_from_system(value *obj)
{
	static const char *const members[] = {"uid", "resourceVersion", "generation",
					      "creationTimestamp"};
	value *m = v_get(obj, "metadata");

	for (size_t i = 0; i < countof(members); i++)
		ck_assert_msg(v_del(m, members[i]), "no metadata.%s", members[i]);
}

static void print_both(const value *a, const value *b)
{
	struct buf x = {0};

	json_encode(&x, a, NULL);
	buf_putc(&x, '\n');
	json_encode(&x, b, NULL);
	fprintf(stderr, "%.*s\n", (int)x.n, x.p);
	buf_free(&x);
}

static void assert_same(const value *a, const value *b)
{
	if (v_equal(a, b))
		return;
	print_both(a, b);
	ck_abort_msg("differ");
}

static struct kube_texts texts;

/* The JSON of an object says what its tree says. */
static void assert_json(struct shelf *s, const struct entry *e, const value *tree)
{
	const struct kube_resource *r = kube_by_type(e->type);
	struct buf b = {0};
	struct json_notes notes = {0};
	struct err err = {0};
	value back;

	kept_free(&texts.objects); /* of another cluster, perhaps */
	kube_object_json(&b, s->c, r, e, shelf_newest(s, e), true, NULL);
	for (int i = 0; i < 3; i++) { /* anew, and from what is kept */
		struct buf again = {0};

		kube_object_json(&again, s->c, r, e, shelf_newest(s, e), true, &texts);
		ck_assert(str_eq(buf_str(&again), buf_str(&b)));
		buf_free(&again);
	}
	ck_assert_msg(json_decode(s->z, buf_str(&b), &back, &notes, &err) == 0, "%s: %.*s", err.msg,
		      (int)b.n, b.p);
	ck_assert_uint_eq(notes.nduplicate, 0);
	assert_same(&back, tree);
	b.n = 0;
	kube_object_json(&b, s->c, r, e, shelf_newest(s, e), false, &texts);
	ck_assert_int_eq(json_decode(s->z, buf_str(&b), &back, NULL, &err), 0);
	ck_assert_ptr_null(v_get(&back, "kind"));
	ck_assert_uint_eq(v_len(&back) + 2, v_len(tree));
	buf_free(&b);
}

START_TEST(random_objects_come_out_as_they_went_in)
{
	static const uint16_t types[] = {TYPE_POD, TYPE_CONFIGMAP, TYPE_NODE, TYPE_DEPLOYMENT};
	struct shelf s = shelf_open();

	srand(facts_seed());
	for (int i = 0; i < 3000; i++) {
		uint16_t type = types[rand() % (int)countof(types)];
		value obj = random_object(s.z, type, i), tree;
		const struct entry *e = shelf_put(&s, type, &obj, STR(""));

		tree = kube_object(s.z, s.c, kube_by_type(type), e, shelf_newest(&s, e),
				   rand() & 1);
		assert_json(&s, e, &tree);
		drop_from_system(&tree);
		assert_same(&obj, &tree);
		if (i % 50 == 0)
			zone_reset(s.z);
	}
	shelf_close(&s);
}
END_TEST

static void assert_says(struct shelf *s, const struct entry *e, const char *what)
{
	for (int i = 0; i < 4; i++) {
		struct buf b = {0};

		kube_object_json(&b, s->c, kube_by_type(e->type), e, shelf_newest(s, e), i & 1,
				 &texts);
		buf_putc(&b, '\0');
		ck_assert_msg(strstr(b.p, what), "%s", b.p);
		buf_free(&b);
	}
}

static value config(struct shelf *s, const char *what)
{
	value v = facts_json(s->z, "{\"metadata\":{\"name\":\"c\",\"namespace\":\"n\"}}");

	v_set(s->z, v_map_at(s->z, &v, "data"), "what", v_cstr(what));
	return v;
}

static void shelf_change(struct shelf *s, const struct entry *e, const value *obj)
{
	struct version_in in = {.grace_s = -1};
	struct kube_parts parts;
	struct version *v;

	kube_split(s->z, obj, &parts);
	shelf_in(s, e->type, &parts, (1u << PART_COUNT) - 1, NULL, 0, &in);
	ck_assert_int_eq(cw_prepare_update(s->w, (struct entry *)e, ++s->rv, &in, &v), 0);
	cw_publish(s->w, v);
	cw_commit_rv(s->w, s->rv);
	kube_parts_free(&parts);
}

/* What is kept of one version is not shown for another: of the same object, or one that
 * another generation gave the same number. */
START_TEST(kept_objects_are_of_one_version)
{
	struct shelf one = shelf_open_as(1), two = shelf_open_as(2);
	value first = config(&one, "first"), second = config(&one, "second");
	value other = config(&two, "other");
	const struct entry *e = shelf_put(&one, TYPE_CONFIGMAP, &first, STR(""));
	const struct entry *o = shelf_put(&two, TYPE_CONFIGMAP, &other, STR(""));

	ck_assert_uint_eq(shelf_newest(&one, e)->rv, shelf_newest(&two, o)->rv);
	for (int i = 0; i < 3; i++) {
		assert_says(&one, e, "\"first\"");
		assert_says(&two, o, "\"other\"");
		ck_assert_uint_gt(texts.objects.size, 0);
	}
	shelf_change(&one, e, &second);
	assert_says(&one, e, "\"second\"");
	kube_texts_free(&texts);
	shelf_close(&one);
	shelf_close(&two);
}
END_TEST

START_TEST(only_what_changed_is_encoded)
{
	struct shelf s = shelf_open();

	srand(facts_seed());
	for (int i = 0; i < 2000; i++) {
		value obj = random_object(s.z, TYPE_POD, i), tree;
		const struct entry *e = shelf_put(&s, TYPE_POD, &obj, STR(""));
		const struct version *v = shelf_newest(&s, e);
		struct kube_parts parts;
		uint32_t mask;

		tree = kube_object(s.z, s.c, kube_by_type(TYPE_POD), e, v, true);
		kube_split_changed(s.z, s.c, e, v, &tree, &parts, &mask);
		ck_assert_uint_eq(mask, 0);
		ck_assert_uint_eq(parts.present, 0);
		kube_parts_free(&parts);
		v_set(s.z, &tree, "status", facts_json(s.z, "{\"phase\":\"Changed\"}"));
		v_del(&tree, "data");
		kube_split_changed(s.z, s.c, e, v, &tree, &parts, &mask);
		ck_assert_uint_eq(parts.present, 1u << PART_STATUS);
		ck_assert_uint_eq(mask,
				  1u << PART_STATUS | (v_get(&obj, "data") ? 1u << PART_REST : 0));
		kube_parts_free(&parts);
		if (i % 50 == 0)
			zone_reset(s.z);
	}
	shelf_close(&s);
}
END_TEST

/* --- A pod of a template ------------------------------------------------------------ */

static const char pod_json[] =
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web-1\",\"namespace\":"
	"\"default\",\"annotations\":{\"controller.kubernetes.io/pod-deletion-cost\":\"-5\"},"
	"\"finalizers\":[\"a/b\"],\"ownerReferences\":["
	"{\"kind\":\"X\",\"uid\":\"00000000-0000-0000-0000-000000000001\"},"
	"{\"kind\":\"Y\",\"uid\":\"strange\"},"
	"{\"kind\":\"Z\",\"uid\":\"00000000-0000-0000-0000-000000000002\",\"controller\":true}]},"
	"\"spec\":{\"hostNetwork\":true,\"schedulingGates\":[{\"name\":\"g\"}],\"containers\":[]},"
	"\"status\":{\"phase\":\"Running\",\"conditions\":["
	"{\"type\":\"Initialized\",\"status\":\"False\"},"
	"{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2023-11-14T22:13:20Z\"}],"
	"\"containerStatuses\":[{\"restartCount\":2},{\"restartCount\":40}]}}";

static int project(zone *z, uint16_t type, const value *obj, struct version_in *in)
{
	struct kube_parts parts;
	struct str part[PART_COUNT];
	int err;

	kube_split(z, obj, &parts);
	for (int i = 0; i < PART_COUNT; i++)
		part[i] = zone_str(z, buf_str(&parts.part[i]));
	kube_parts_free(&parts);
	err = kube_project(z, type, part, NULL, 0, in);
	return err;
}

static bool is_plain(const char *spec)
{
	zone *z = zone_new();
	value pod = facts_json(z, zone_printf(z, "{\"spec\":%s}", spec).p);
	struct version_in in = {0};

	ck_assert_int_eq(project(z, TYPE_POD, &pod, &in), 0);
	zone_free(z);
	return in.hot.flags & HOT_PLAIN;
}

/* Who keeps nobody away and goes before nobody. */
START_TEST(which_pods_are_plain)
{
	ck_assert(is_plain("{\"priority\":0,\"hostNetwork\":true}"));
	ck_assert(is_plain("{\"affinity\":{\"podAffinity\":{}}}"));
	ck_assert(is_plain("{\"affinity\":{\"podAntiAffinity\":{\"preferredDuringScheduling"
			   "IgnoredDuringExecution\":[{\"weight\":1}]}}}"));
	ck_assert(is_plain("{\"affinity\":{\"podAntiAffinity\":{\"requiredDuringScheduling"
			   "IgnoredDuringExecution\":[]}}}"));
	ck_assert(!is_plain("{\"affinity\":{\"podAntiAffinity\":{\"requiredDuringScheduling"
			    "IgnoredDuringExecution\":[{\"topologyKey\":\"zone\"}]}}}"));
	ck_assert(!is_plain("{\"priority\":1}"));
	ck_assert(!is_plain("{\"priority\":-1}"));
}
END_TEST

START_TEST(what_the_store_reads_off_a_pod)
{
	zone *z = zone_new();
	value pod = facts_json(z, pod_json);
	struct version_in in = {.flags = VERSION_MEMORY | VERSION_OWNED};

	ck_assert_int_eq(project(z, TYPE_POD, &pod, &in), 0);
	ck_assert_uint_eq(in.hot.phase, POD_RUNNING);
	ck_assert_uint_eq(in.hot.flags, HOT_READY | HOT_GATED | HOT_HOSTNET | HOT_PLAIN);
	ck_assert_uint_eq(in.hot.ready_since_s, 1700000000);
	ck_assert_uint_eq(in.hot.restarts, 42);
	ck_assert_int_eq(in.hot.deletion_cost, -5);
	ck_assert_uint_eq(in.flags, VERSION_MEMORY | VERSION_OWNED | VERSION_FINALIZERS);
	ck_assert_uint_eq(in.nowners, 2);
	ck_assert(in.has_controller);
	ck_assert_uint_eq(in.owner_uids[0][15], 2);
	ck_assert_uint_eq(in.owner_uids[1][15], 1);
	ck_assert_uint_eq(in.node.n, 0);
	v_set(z, v_get(&pod, "spec"), "nodeName", v_cstr("n1"));
	ck_assert_int_eq(project(z, TYPE_POD, &pod, &in), 0);
	ck_assert_text(in.node, "n1");
	ck_assert(in.hot.flags & HOT_SCHEDULED);
	v_del(v_get(&pod, "spec"), "nodeName");
	in.node = STR("n2");
	ck_assert_int_eq(project(z, TYPE_POD, &pod, &in), 0);
	ck_assert_text(in.node, "n2");
	ck_assert(in.hot.flags & HOT_SCHEDULED);
	zone_free(z);
}
END_TEST

START_TEST(deletion_costs)
{
	static const struct {
		const char *text;
		int32_t cost;
	} facts[] = {
		{"0", 0},
		{"7", 7},
		{"-7", -7},
		{"+7", 0},
		{"07", 0},
		{"-", 0},
		{"", 0},
		{"7x", 0},
		{"-0", 0},
		{"2147483647", INT32_MAX},
		{"2147483648", 0},
		{"-2147483648", INT32_MIN},
		{"99999999999", 0},
	};
	zone *z = zone_new();
	value pod = facts_json(z, pod_json);
	struct version_in in = {0};

	for (size_t i = 0; i < countof(facts); i++) {
		v_set(z, v_path(&pod, "metadata.annotations"),
		      "controller.kubernetes.io/pod-deletion-cost", v_cstr(facts[i].text));
		ck_assert_int_eq(project(z, TYPE_POD, &pod, &in), 0);
		ck_assert_msg(in.hot.deletion_cost == facts[i].cost, "'%s' is %d", facts[i].text,
			      in.hot.deletion_cost);
	}
	zone_free(z);
}
END_TEST

START_TEST(what_the_store_reads_off_others)
{
	zone *z = zone_new();
	value rs = facts_json(z, "{\"spec\":{\"replicas\":0}}");
	value job = facts_json(z, "{\"spec\":{\"parallelism\":9}}");
	value none = facts_json(z, "{\"spec\":{}}");
	value node = facts_json(z, "{\"spec\":{\"unschedulable\":true},\"status\":{\"conditions\":["
				   "{\"type\":\"Ready\",\"status\":\"True\"}]}}");
	struct version_in in = {0};

	ck_assert_int_eq(project(z, TYPE_REPLICASET, &rs, &in), 0);
	ck_assert_uint_eq(in.hot.replicas, 0);
	ck_assert_int_eq(project(z, TYPE_JOB, &job, &in), 0);
	ck_assert_uint_eq(in.hot.replicas, 9);
	ck_assert_int_eq(project(z, TYPE_REPLICASET, &none, &in), 0);
	ck_assert_uint_eq(in.hot.replicas, 1);
	ck_assert_int_eq(project(z, TYPE_NODE, &node, &in), 0);
	ck_assert_uint_eq(in.hot.flags, HOT_READY | HOT_UNSCHEDULABLE);
	zone_free(z);
}
END_TEST

/* Parts with holes: time, count and address from the version, name and node
 * from the object. */
START_TEST(holes_are_filled)
{
	static const uint32_t holes[] = {1700000000, 0x0a000001, 5};
	struct shelf s = shelf_open();
	zone *z = s.z;
	value obj = facts_json(
		z, "{\"metadata\":{},\"spec\":{},\"status\":{\"conditions\":["
		   "{\"type\":\"Ready\",\"status\":\"True\"}],\"containerStatuses\":[{}]}}");
	value *status = v_get(&obj, "status"), out;
	struct version_in in = {.node = STR("node-1")};
	const struct version *v;
	const struct entry *e;
	struct kube_parts parts;

	v_set(z, v_at(v_get(status, "conditions"), 0), "lastTransitionTime",
	      v_hole(z, HOLE_TIME, 0, STR("")));
	v_set(z, status, "podIP", v_hole(z, HOLE_IPV4, 1, STR("")));
	v_set(z, v_at(v_get(status, "containerStatuses"), 0), "restartCount",
	      v_hole(z, HOLE_UINT, 2, STR("")));
	v_set(z, v_get(&obj, "spec"), "hostname", v_hole(z, HOLE_NAME, 0, STR("h-")));
	kube_split(z, &obj, &parts);
	e = shelf_add(&s, TYPE_POD, STR("default"), STR("p"), &parts, &in, holes, 3);
	kube_parts_free(&parts);
	v = shelf_newest(&s, e);
	ck_assert_uint_eq(v->hot.ready_since_s, 1700000000);
	ck_assert_uint_eq(v->hot.restarts, 5);
	out = kube_object(z, s.c, kube_by_type(TYPE_POD), e, v, false);
	ck_assert_text(v_as_str(v_path(&out, "status.podIP")), "10.0.0.1");
	ck_assert_text(v_as_str(v_path(&out, "spec.hostname")), "h-p");
	ck_assert_text(v_as_str(v_path(&out, "spec.nodeName")), "node-1");
	ck_assert_text(v_get_str(v_at(v_path(&out, "status.conditions"), 0), "lastTransitionTime"),
		       "2023-11-14T22:13:20Z");
	assert_json(&s, e, &out);
	shelf_close(&s);
}
END_TEST

START_TEST(a_pods_node_is_no_change_of_its_spec)
{
	struct shelf s = shelf_open();
	value pod = facts_json(s.z, pod_json), out;
	const struct entry *e = shelf_put(&s, TYPE_POD, &pod, STR("node-1"));
	const struct version *v = shelf_newest(&s, e);
	struct str spec = cache_part(s.c, v, PART_SPEC);
	struct kube_parts parts;
	uint32_t mask;

	ck_assert_ptr_null(memmem(spec.p, spec.n, "nodeName", 8));
	out = kube_object(s.z, s.c, kube_by_type(TYPE_POD), e, v, false);
	assert_json(&s, e, &out);
	kube_split_changed(s.z, s.c, e, v, &out, &parts, &mask);
	ck_assert_uint_eq(mask, 0);
	v_set(s.z, v_get(&out, "spec"), "hostNetwork", v_bool(false));
	kube_split_changed(s.z, s.c, e, v, &out, &parts, &mask);
	ck_assert_uint_eq(mask, 1u << PART_SPEC);
	ck_assert_ptr_null(memmem(parts.part[PART_SPEC].p, parts.part[PART_SPEC].n, "nodeName", 8));
	kube_parts_free(&parts);
	shelf_close(&s);
}
END_TEST

/* One that names its node itself keeps it in the spec, once. */
START_TEST(a_pod_made_with_a_node)
{
	struct shelf s = shelf_open();
	value pod = facts_json(s.z, pod_json), out;
	const struct entry *e;

	v_set(s.z, v_get(&pod, "spec"), "nodeName", v_cstr("node-2"));
	e = shelf_put(&s, TYPE_POD, &pod, STR(""));
	out = kube_object(s.z, s.c, kube_by_type(TYPE_POD), e, shelf_newest(&s, e), false);
	ck_assert_text(v_as_str(v_path(&out, "spec.nodeName")), "node-2");
	assert_json(&s, e, &out);
	shelf_close(&s);
}
END_TEST

START_TEST(a_terminating_object)
{
	struct shelf s = shelf_open();
	value pod = facts_json(s.z, pod_json), out;
	struct version_in in = {.deletion_s = 1700000030, .grace_s = 30};
	struct kube_parts parts;
	const struct entry *e;

	kube_split(s.z, &pod, &parts);
	e = shelf_add(&s, TYPE_POD, STR("default"), STR("web-1"), &parts, &in, NULL, 0);
	kube_parts_free(&parts);
	out = kube_object(s.z, s.c, kube_by_type(TYPE_POD), e, shelf_newest(&s, e), false);
	ck_assert_text(v_as_str(v_path(&out, "metadata.deletionTimestamp")),
		       "2023-11-14T22:13:50Z");
	ck_assert_int_eq(v_as_int(v_path(&out, "metadata.deletionGracePeriodSeconds"), -1), 30);
	assert_json(&s, e, &out);
	shelf_close(&s);
}
END_TEST

/* --- Bytes that nobody should write ------------------------------------------------- */

START_TEST(malformed_parts_are_refused)
{
	zone *z = zone_new();
	value pod = facts_json(z, pod_json);
	struct version_in in = {0}, before = in;
	struct kube_parts parts;

	srand(facts_seed());
	kube_split(z, &pod, &parts);
	for (int round = 0; round < 50000; round++) {
		struct str part[PART_COUNT];
		int which = rand() % PART_COUNT;
		struct buf bad = {0};

		for (int i = 0; i < PART_COUNT; i++)
			part[i] = buf_str(&parts.part[i]);
		if (!part[which].n)
			continue;
		buf_addstr(&bad, part[which]);
		if (rand() & 1)
			bad.n = (size_t)rand() % bad.n;
		for (int n = rand() % 4; n > 0 && bad.n; n--)
			bad.p[(size_t)rand() % bad.n] = (char)rand();
		part[which] = buf_str(&bad);
		(void)kube_project(z, TYPE_POD, part, NULL, 0, &in); /* no crash */
		buf_free(&bad);
		zone_reset(z);
	}
	for (size_t cut = 1; cut < parts.part[PART_STATUS].n; cut++) {
		struct str part[PART_COUNT] = {
			[PART_STATUS] = {parts.part[PART_STATUS].p, (uint32_t)cut}};

		in = before;
		ck_assert_int_eq(kube_project(z, TYPE_POD, part, NULL, 0, &in), WEFT_EINVAL);
		ck_assert_int_eq(memcmp(&in, &before, sizeof in), 0);
	}
	kube_parts_free(&parts);
	zone_free(z);
}
END_TEST

START_TEST(parts_too_deep_are_refused)
{
	char bytes[VALUE_DEPTH_MAX + 2];
	struct str part[PART_COUNT] = {{NULL, 0}};
	struct version_in in = {0};
	zone *z = zone_new();

	memset(bytes, 0x91, sizeof bytes);
	bytes[VALUE_DEPTH_MAX] = 1;
	part[PART_SPEC] = (struct str){bytes, VALUE_DEPTH_MAX + 1};
	ck_assert_int_eq(kube_project(z, TYPE_POD, part, NULL, 0, &in), 0);
	bytes[VALUE_DEPTH_MAX] = (char)0x91;
	bytes[VALUE_DEPTH_MAX + 1] = 1;
	part[PART_SPEC].n++;
	ck_assert_int_eq(kube_project(z, TYPE_POD, part, NULL, 0, &in), WEFT_EINVAL);
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_object");
	TCase *tc = tcase_create("object");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, random_objects_come_out_as_they_went_in);
	tcase_add_test(tc, kept_objects_are_of_one_version);
	tcase_add_test(tc, only_what_changed_is_encoded);
	tcase_add_test(tc, what_the_store_reads_off_a_pod);
	tcase_add_test(tc, which_pods_are_plain);
	tcase_add_test(tc, deletion_costs);
	tcase_add_test(tc, what_the_store_reads_off_others);
	tcase_add_test(tc, holes_are_filled);
	tcase_add_test(tc, a_pods_node_is_no_change_of_its_spec);
	tcase_add_test(tc, a_pod_made_with_a_node);
	tcase_add_test(tc, a_terminating_object);
	tcase_add_test(tc, malformed_parts_are_refused);
	tcase_add_test(tc, parts_too_deep_are_refused);
	suite_add_tcase(s, tc);
	return facts_main(s);
}
