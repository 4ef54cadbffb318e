/* test_bind.c - binds of several senders, each of whom knows the others' late: by node, by
 * namespace, by what is kept apart; all or none; and binds of those who are no schedulers. */
#include "store_rig.h"
#include "weft/place.h"
#include "weft/proc.h"

static struct files *fs;
static struct rig rig;

static void set_up(void)
{
	rig_set_seed();
	fs = file_sim_new();
	memset(&rig, 0, sizeof(rig));
	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
}

static void tear_down(void)
{
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
}

/* --- Senders ------------------------------------------------------------------------ */

static const struct msg_reply *do_as(uint16_t slot, struct msg *m)
{
	struct caller who = {.port = slot, .incarnation = 1, .slot = slot, .kind = PROC_SCHEDULER};

	msg_request(m)->seq = ++rig.seq;
	store_apply(&rig.s, &who, m);
	commit_drain(&rig.c);
	return &rig.last;
}

static void make_pod(const char *ns, const char *name, const char *spec)
{
	struct msg m = rig_create(TYPE_POD, ns, name);

	m.create.spec = rig_part(spec);
	ck_assert_int_eq(do_as(1, &m)->status, WEFT_OK);
}

/* A request to bind some pods "NS/NAME" to nodes; kept until the next but seven. */
struct bind {
	uint32_t entries[4], node_of[4];
	uint64_t rvs[4];
	struct msg m;
};

static struct msg *bind_of(uint64_t seen, int n, const char *const pods[], const char *nodes)
{
	static struct bind some[8];
	static int at;
	struct bind *b = &some[at++ % 8];

	for (int i = 0; i < n; i++) {
		const char *slash = strchr(pods[i], '/');
		struct str ns = {pods[i], (uint32_t)(slash - pods[i])};
		const struct entry *e = cw_find(rig.s.w, TYPE_POD, ns, str_of(slash + 1));

		ck_assert_ptr_nonnull(e);
		b->entries[i] = cache_entry_ref(rig.s.c, e).u;
		b->rvs[i] = cw_newest(rig.s.w, e)->rv;
		b->node_of[i] = (uint32_t)i;
	}
	b->m = (struct msg){.kind = MSG_bind_many,
			    .bind_many = {.nodes = rig_part(nodes),
					  .entries = {b->entries, (uint32_t)n},
					  .rvs = {b->rvs, (uint32_t)n},
					  .node_of = {b->node_of, (uint32_t)n},
					  .seen = seen}};
	return &b->m;
}

static struct msg *bind_one(uint64_t seen, const char *pod, const char *nodes)
{
	return bind_of(seen, 1, &pod, nodes);
}

static bool has_node(const char *ns, const char *name)
{
	return rig_get(&rig, TYPE_POD, ns, name)->hot.node.u != 0;
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(a_node_that_others_bound_to_is_skipped)
{
	const char *const both[] = {"a/two", "a/three"};
	uint64_t seen;

	make_pod("a", "one", "{}");
	make_pod("a", "two", "{}");
	make_pod("a", "three", "{}");
	seen = rig.s.rv;
	ck_assert_uint_eq(do_as(5, bind_one(seen, "a/one", "['n0']"))->done, 1);
	ck_assert_uint_eq(do_as(6, bind_of(seen, 2, both, "['n0','n1']"))->done, 1);
	ck_assert_uint_eq(rig.last.skipped.n, 1);
	ck_assert_uint_eq(rig.skipped[0], 0);
	ck_assert(has_node("a", "three"));
	/* As of now it knows. */
	ck_assert_uint_eq(do_as(6, bind_one(rig.s.rv, "a/two", "['n0']"))->done, 1);
}
END_TEST

/* One's own binds since do not hide those of others. */
START_TEST(own_binds_do_not_hide_those_of_others)
{
	uint64_t guard = place_namespace(STR("a")), seen;
	struct msg *m;

	for (int i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		make_pod("a", name, "{}");
	}
	seen = rig.s.rv;
	ck_assert_uint_eq(do_as(5, bind_one(seen, "a/p0", "['n0']"))->done, 1);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "a/p1", "['n1']"))->done, 1);
	m = bind_one(seen, "a/p2", "['n2']");
	m->bind_many.guards = (struct u64s){&guard, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 0);
	m = bind_one(rig.s.rv, "a/p2", "['n2']");
	m->bind_many.guards = (struct u64s){&guard, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 1);
}
END_TEST

START_TEST(guards_are_namespaces_that_others_bound_in)
{
	uint64_t guards[2] = {place_namespace(STR("b")), 0}, seen;
	struct msg *m;

	make_pod("a", "one", "{}");
	make_pod("a", "two", "{}");
	make_pod("a-b", "three", "{}");
	make_pod("b", "four", "{}");
	seen = rig.s.rv;
	ck_assert_uint_eq(do_as(5, bind_one(seen, "a-b/three", "['n0']"))->done, 1);
	m = bind_one(seen, "a/one", "['n1']");
	m->bind_many.guards = (struct u64s){guards, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 1);
	ck_assert_uint_eq(do_as(5, bind_one(seen, "b/four", "['n2']"))->done, 1);
	m = bind_one(seen, "a/two", "['n3']");
	m->bind_many.guards = (struct u64s){guards, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 0);
	guards[1] = PLACE_ANYWHERE;
	m->bind_many.guards = (struct u64s){guards + 1, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 0);
	m->bind_many.seen = rig.s.rv;
	ck_assert_uint_eq(do_as(6, m)->done, 1);
}
END_TEST

START_TEST(what_is_kept_apart_keeps_others_off)
{
	uint64_t guard = place_namespace(STR("a")), mark = place_apart(STR("b")), seen;
	struct msg *m;

	make_pod("a", "lonely", "{}");
	make_pod("a", "one", "{}");
	make_pod("b", "two", "{}");
	make_pod("b", "three", "{}");
	seen = rig.s.rv;
	m = bind_one(seen, "a/lonely", "['n0']");
	m->bind_many.guards = (struct u64s){&guard, 1};
	m->bind_many.marks = (struct u64s){&mark, 1};
	ck_assert_uint_eq(do_as(5, m)->done, 1);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "a/one", "['n1']"))->done, 1);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/two", "['n2']"))->done, 0);
	ck_assert_uint_eq(do_as(5, bind_one(seen, "b/two", "['n2']"))->done, 1);
	mark = PLACE_APART_ALL;
	make_pod("a", "lonelier", "{}");
	m = bind_one(rig.s.rv, "a/lonelier", "['n4']");
	m->bind_many.guards = (struct u64s){&guard, 1};
	m->bind_many.marks = (struct u64s){&mark, 1};
	seen = rig.s.rv;
	ck_assert_uint_eq(do_as(5, m)->done, 1);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/three", "['n5']"))->done, 0);
}
END_TEST

START_TEST(with_guards_all_are_bound_or_none)
{
	const char *const both[] = {"a/two", "a/three"};
	uint64_t guard = place_namespace(STR("b")), seen;
	struct msg *m;

	make_pod("a", "one", "{}");
	make_pod("a", "two", "{}");
	make_pod("a", "three", "{}");
	seen = rig.s.rv;
	ck_assert_uint_eq(do_as(5, bind_one(seen, "a/one", "['n0']"))->done, 1);
	m = bind_of(seen, 2, both, "['n1','n0']"); /* one of their nodes */
	m->bind_many.guards = (struct u64s){&guard, 1};
	ck_assert_uint_eq(do_as(6, m)->done, 0);
	ck_assert_uint_eq(rig.last.skipped.n, 2);
	/* One that is gone takes nobody with it. */
	m->bind_many.seen = rig.s.rv;
	{
		struct msg gone = rig_remove(TYPE_POD, "a", "three");

		gone.remove.grace = 0;
		ck_assert_int_eq(do_as(1, &gone)->status, WEFT_OK);
	}
	ck_assert_uint_eq(do_as(6, m)->done, 1);
	ck_assert(has_node("a", "two"));
}
END_TEST

/* Nor are some of them bound when memory runs out in their middle. */
START_TEST(with_guards_none_is_bound_without_memory)
{
	const char *const both[] = {"a/one", "a/two"};
	uint64_t guard = place_namespace(STR("b"));
	struct err e = {0};
	struct msg *m;

	make_pod("a", "one", "{}");
	make_pod("a", "two", "{}");
	for (int64_t k = 0; rig.last.done != 2; k++) {
		ck_assert_int_lt(k, 50);
		m = bind_of(rig.s.rv, 2, both, "['n1','n0']");
		m->bind_many.guards = (struct u64s){&guard, 1};
		arena_fail_after(cw_arena(rig.s.w), k);
		do_as(6, m);
		arena_fail_after(cw_arena(rig.s.w), -1);
		ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		ck_assert(rig.last.done == 2 || rig.last.done == 0);
		ck_assert_uint_eq(rig.last.skipped.n, 2 - rig.last.done);
		ck_assert(has_node("a", "one") == (rig.last.done == 2));
	}
	ck_assert(has_node("a", "two"));
}
END_TEST

/* Clients bind through the API, or make pods that have a node. */
START_TEST(binds_of_other_clients_count)
{
	static const char lonely[] =
		"{'affinity':{'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':"
		"[{'topologyKey':'zone'}]}}}";
	struct msg m = {
		.kind = MSG_update,
		.update = {
			.type = TYPE_POD, .ns = STR("a"), .name = STR("one"), .node = STR("n0")}};
	struct msg many = {.kind = MSG_create_many,
			   .create_many = {.type = TYPE_POD,
					   .ns = STR("a"),
					   .prefix = STR("m-"),
					   .count = 2,
					   .spec = rig_part("{'nodeName':'n2'}")}};
	uint64_t seen;

	make_pod("a", "one", "{}");
	make_pod("a", "lonely", lonely);
	for (int i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		make_pod("b", name, "{}");
	}
	seen = rig.s.rv;
	ck_assert_int_eq(do_as(1, &m)->status, WEFT_OK);
	make_pod("a", "pinned", "{'nodeName':'n1'}");
	ck_assert_int_eq(do_as(1, &many)->status, WEFT_OK);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/p0", "['n0']"))->done, 0);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/p1", "['n1']"))->done, 0);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/p2", "['n2']"))->done, 0);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/p3", "['n3']"))->done, 1);
	/* What it would keep off is not looked at: everything. */
	seen = rig.s.rv;
	m.update.name = STR("lonely");
	m.update.node = STR("n5");
	ck_assert_int_eq(do_as(1, &m)->status, WEFT_OK);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "b/p0", "['n6']"))->done, 0);
	ck_assert_uint_eq(do_as(6, bind_one(rig.s.rv, "b/p0", "['n6']"))->done, 1);
}
END_TEST

/* A dry run, a write that changes nothing and a status keep nobody off. */
START_TEST(what_binds_nothing_counts_for_nothing)
{
	struct msg m = {.kind = MSG_update,
			.update = {.type = TYPE_POD,
				   .ns = STR("a"),
				   .name = STR("one"),
				   .node = STR("n0"),
				   .dry_run = true}};
	struct msg pod = rig_create(TYPE_POD, "a", "tried");
	uint64_t seen;

	make_pod("a", "one", "{}");
	make_pod("a", "two", "{}");
	seen = rig.s.rv;
	ck_assert_int_eq(do_as(1, &m)->status, WEFT_OK);
	pod.create.spec = rig_part("{'nodeName':'n0'}");
	pod.create.dry_run = true;
	ck_assert_int_eq(do_as(1, &pod)->status, WEFT_OK);
	m.update = (struct msg_update){.type = TYPE_POD,
				       .ns = STR("a"),
				       .name = STR("one"),
				       .mask = 1u << PART_STATUS,
				       .status = rig_part("{'phase':'Pending'}")};
	ck_assert_int_eq(do_as(1, &m)->status, WEFT_OK);
	ck_assert_uint_eq(do_as(6, bind_one(seen, "a/two", "['n0']"))->done, 1);
}
END_TEST

/* However many: one knows of them. */
START_TEST(own_binds_are_in_nobodys_way)
{
	uint64_t seen;
	char name[16];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		make_pod("a", name, "{}");
	}
	seen = rig.s.rv;
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "a/p%d", i);
		ck_assert_uint_eq(do_as(6, bind_one(seen, name, "['n0']"))->done, 1);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bind");
	TCase *t = tcase_create("bind");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_node_that_others_bound_to_is_skipped);
	tcase_add_test(t, own_binds_do_not_hide_those_of_others);
	tcase_add_test(t, guards_are_namespaces_that_others_bound_in);
	tcase_add_test(t, what_is_kept_apart_keeps_others_off);
	tcase_add_test(t, with_guards_all_are_bound_or_none);
	tcase_add_test(t, with_guards_none_is_bound_without_memory);
	tcase_add_test(t, binds_of_other_clients_count);
	tcase_add_test(t, what_binds_nothing_counts_for_nothing);
	tcase_add_test(t, own_binds_are_in_nobodys_way);
	suite_add_tcase(s, t);
	return rig_run(s);
}
