/*
 * test_apply.c - what each request does: preconditions, deletion as Kubernetes'
 * registry has it, bulk requests, memory running out; and random requests
 * against rules that every state has to obey.
 */
#include "shm/cache_layout.h"
#include "store_rig.h"

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
	struct err e = {0};

	ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
}

static const struct msg_reply *make(uint16_t type, const char *name, const char *meta,
				    const char *spec)
{
	struct msg m = rig_create(type, type == TYPE_NAMESPACE ? "" : "a", name);

	if (meta)
		m.create.meta = rig_part(meta);
	if (spec)
		m.create.spec = rig_part(spec);
	return rig_do(&rig, &m);
}

static const struct msg_reply *drop(uint16_t type, const char *name, int grace, enum propagation p)
{
	struct msg m = rig_remove(type, type == TYPE_NAMESPACE ? "" : "a", name);

	m.remove.grace = grace;
	m.remove.propagation = (uint8_t)p;
	return rig_do(&rig, &m);
}

static struct msg update_of(uint16_t type, const char *name, enum part part, struct str bytes)
{
	struct msg m = {.kind = MSG_update,
			.update = {.type = type,
				   .ns = type == TYPE_NAMESPACE ? STR("") : STR("a"),
				   .name = str_of(name),
				   .mask = 1u << part}};

	*(&m.update.meta + part) = bytes;
	return m;
}

static const struct version *get(uint16_t type, const char *name)
{
	return rig_get(&rig, type, type == TYPE_NAMESPACE ? "" : "a", name);
}

static void bind_pod(const char *name, const char *node)
{
	struct msg m = update_of(TYPE_POD, name, PART_SPEC, (struct str){0});

	m.update.mask = 0;
	m.update.node = str_of(node);
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
}

static bool meta_has(const struct version *v, const char *word)
{
	struct str meta = cache_part(rig.s.c, v, PART_META);

	return memmem(meta.p, meta.n, word, strlen(word)) != NULL;
}

/* --- Create ---------------------------------------------------------------------- */

START_TEST(creates_and_refuses)
{
	struct msg m = rig_create(TYPE_CONFIGMAP, "nowhere", "x");

	ck_assert_int_eq(make(TYPE_CONFIGMAP, "one", NULL, NULL)->status, WEFT_OK);
	ck_assert_uint_eq(rig.last.rv, rig.s.rv);
	ck_assert_int_eq(make(TYPE_CONFIGMAP, "one", NULL, NULL)->status, WEFT_EEXIST);
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ENOENT);
	ck_assert_str_eq(rig.message, "namespaces \"nowhere\" not found");
	m = rig_create(TYPE_NODE, "a", "n");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_EINVAL);
	m = rig_create(TYPE_CONFIGMAP, "a", "two");
	m.create.dry_run = true;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_ptr_null(get(TYPE_CONFIGMAP, "two"));
	m = rig_create(TYPE_CONFIGMAP, "a", "made-");
	m.create.generate = true;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(rig.last.name.n, 10);
	ck_assert_uint_eq(get(TYPE_CONFIGMAP, "one")->generation, 0);
	ck_assert_int_eq(make(TYPE_REPLICASET, "rs", NULL, "{'replicas':3}")->status, WEFT_OK);
	ck_assert_uint_eq(get(TYPE_REPLICASET, "rs")->generation, 1);
	ck_assert_uint_eq(get(TYPE_REPLICASET, "rs")->hot.replicas, 3);
}
END_TEST

START_TEST(a_terminating_namespace_takes_nothing_new)
{
	struct msg m;

	ck_assert_int_eq(drop(TYPE_NAMESPACE, "a", -1, PROPAGATION_DEFAULT)->status, WEFT_OK);
	ck_assert(!rig.last.gone);
	ck_assert_uint_ne(get(TYPE_NAMESPACE, "a")->deletion_s, 0);
	ck_assert_int_eq(make(TYPE_CONFIGMAP, "one", NULL, NULL)->status, WEFT_EFORBIDDEN);
	ck_assert_str_eq(rig.message, "unable to create new content in namespace a because it is "
				      "being terminated");
	ck_assert(!drop(TYPE_NAMESPACE, "a", -1, PROPAGATION_DEFAULT)->gone);
	m = update_of(TYPE_NAMESPACE, "a", PART_SPEC, rig_part("{}"));
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert(rig.last.gone);
	ck_assert_ptr_null(get(TYPE_NAMESPACE, "a"));
	ck_assert_int_eq(make(TYPE_NAMESPACE, "default", NULL, NULL)->status, WEFT_OK);
	ck_assert_int_eq(drop(TYPE_NAMESPACE, "default", -1, PROPAGATION_DEFAULT)->status,
			 WEFT_EFORBIDDEN);
}
END_TEST

/* --- Update ------------------------------------------------------------------------ */

START_TEST(updates_check_their_preconditions)
{
	const struct entry *e;
	struct msg m;
	uint64_t rv;

	make(TYPE_REPLICASET, "rs", NULL, "{'replicas':1}");
	rv = rig.last.rv;
	e = cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), STR("rs"));
	m = update_of(TYPE_REPLICASET, "rs", PART_SPEC, rig_part("{'replicas':2}"));
	m.update.rv = rv - 1;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ECONFLICT);
	m.update.rv = rv;
	m.update.uid = STR("0123456789abcdef");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_EUID);
	m.update.uid = (struct str){(const char *)e->uid, 16};
	m.update.bump = 1u << PART_SPEC;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(get(TYPE_REPLICASET, "rs")->generation, 2);
	/* The same again changes nothing. */
	rv = rig.s.rv;
	m.update.rv = 0;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(rig.last.rv, rv);
	ck_assert_uint_eq(rig.s.rv, rv);
	/* Only the parts that `bump` names are counted. */
	m = update_of(TYPE_REPLICASET, "rs", PART_META, rig_part("{'annotations':{'a':'1'}}"));
	m.update.bump = 1u << PART_SPEC;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(get(TYPE_REPLICASET, "rs")->generation, 2);
	m = update_of(TYPE_REPLICASET, "rs", PART_META, rig_part("{'annotations':{'a':'2'}}"));
	m.update.bump = 1u << PART_META;
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(get(TYPE_REPLICASET, "rs")->generation, 3);
	m = update_of(TYPE_REPLICASET, "none", PART_SPEC, rig_part("{}"));
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ENOENT);
}
END_TEST

START_TEST(a_uid_that_is_given_is_kept)
{
	struct msg m = {.kind = MSG_create,
			.create = {.type = TYPE_REPLICASET,
				   .ns = STR("a"),
				   .name = STR("given"),
				   .uid = STR("0123456789abcdef")}};

	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_mem_eq(cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), STR("given"))->uid,
			 "0123456789abcdef", 16);
}
END_TEST

START_TEST(a_pod_is_bound_once)
{
	struct msg m;

	make(TYPE_POD, "p", NULL, "{'containers':[]}");
	bind_pod("p", "n1");
	ck_assert(get(TYPE_POD, "p")->hot.flags & HOT_SCHEDULED);
	m = update_of(TYPE_POD, "p", PART_SPEC, (struct str){0});
	m.update.mask = 0;
	m.update.node = STR("n2");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ECONFLICT);
	ck_assert_str_eq(rig.message, "pod p is already assigned to node \"n1\"");
	/* Its node stays with it whatever part changes. */
	m = update_of(TYPE_POD, "p", PART_STATUS, rig_part("{'phase':'Running'}"));
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert(get(TYPE_POD, "p")->hot.flags & HOT_SCHEDULED);
	ck_assert_uint_eq(get(TYPE_POD, "p")->hot.phase, POD_RUNNING);
}
END_TEST

/* --- Remove ------------------------------------------------------------------------- */

START_TEST(pods_go_gracefully)
{
	uint32_t deletion;

	make(TYPE_POD, "waiting", NULL, "{'terminationGracePeriodSeconds':30}");
	ck_assert(drop(TYPE_POD, "waiting", -1, PROPAGATION_DEFAULT)->gone);
	make(TYPE_POD, "p", NULL, "{'terminationGracePeriodSeconds':30}");
	bind_pod("p", "n1");
	ck_assert(!drop(TYPE_POD, "p", -1, PROPAGATION_DEFAULT)->gone);
	ck_assert_int_eq(get(TYPE_POD, "p")->grace_s, 30);
	ck_assert_uint_eq(get(TYPE_POD, "p")->generation, 2);
	deletion = get(TYPE_POD, "p")->deletion_s;
	/* Only a shorter period counts. */
	ck_assert_uint_eq(drop(TYPE_POD, "p", 60, PROPAGATION_DEFAULT)->done, 0);
	ck_assert_uint_eq(drop(TYPE_POD, "p", -1, PROPAGATION_DEFAULT)->done, 0);
	ck_assert(!drop(TYPE_POD, "p", 10, PROPAGATION_DEFAULT)->gone);
	ck_assert_int_eq(get(TYPE_POD, "p")->grace_s, 10);
	ck_assert_uint_eq(get(TYPE_POD, "p")->deletion_s, deletion - 20);
	ck_assert_uint_eq(get(TYPE_POD, "p")->generation, 2);
	ck_assert(drop(TYPE_POD, "p", 0, PROPAGATION_DEFAULT)->gone);
	ck_assert_ptr_null(get(TYPE_POD, "p"));
	ck_assert_int_eq(drop(TYPE_POD, "p", 0, PROPAGATION_DEFAULT)->status, WEFT_ENOENT);
}
END_TEST

START_TEST(finalizers_hold_an_object)
{
	struct msg m;

	make(TYPE_CONFIGMAP, "c", "{'finalizers':['x.io/y']}", NULL);
	ck_assert(!drop(TYPE_CONFIGMAP, "c", -1, PROPAGATION_DEFAULT)->gone);
	ck_assert_uint_ne(get(TYPE_CONFIGMAP, "c")->deletion_s, 0);
	ck_assert_int_eq(get(TYPE_CONFIGMAP, "c")->grace_s, 0);
	/* Once more: nothing new. */
	ck_assert_uint_eq(drop(TYPE_CONFIGMAP, "c", -1, PROPAGATION_DEFAULT)->done, 0);
	m = update_of(TYPE_CONFIGMAP, "c", PART_META, rig_part("{}"));
	ck_assert(rig_do(&rig, &m)->gone);
	ck_assert_ptr_null(get(TYPE_CONFIGMAP, "c"));
	/* A pod that its node has let go still waits for its finalizer. */
	make(TYPE_POD, "p", "{'finalizers':['x.io/y']}", "{'terminationGracePeriodSeconds':5}");
	bind_pod("p", "n1");
	ck_assert(!drop(TYPE_POD, "p", -1, PROPAGATION_DEFAULT)->gone);
	ck_assert(!drop(TYPE_POD, "p", 0, PROPAGATION_DEFAULT)->gone);
	ck_assert_int_eq(get(TYPE_POD, "p")->grace_s, 0);
	m = update_of(TYPE_POD, "p", PART_META, rig_part("{}"));
	ck_assert(rig_do(&rig, &m)->gone);
}
END_TEST

START_TEST(propagation_is_kept_in_finalizers)
{
	struct msg m;

	make(TYPE_REPLICASET, "f", NULL, "{}");
	ck_assert(!drop(TYPE_REPLICASET, "f", -1, PROPAGATION_FOREGROUND)->gone);
	ck_assert(meta_has(get(TYPE_REPLICASET, "f"), "foregroundDeletion"));
	ck_assert_uint_eq(get(TYPE_REPLICASET, "f")->generation, 2);
	/* The finalizer decides when nothing is said; background takes it out. */
	ck_assert(!drop(TYPE_REPLICASET, "f", -1, PROPAGATION_DEFAULT)->gone);
	ck_assert(drop(TYPE_REPLICASET, "f", -1, PROPAGATION_BACKGROUND)->gone);

	make(TYPE_REPLICASET, "o", "{'annotations':{'k':'v'}}", "{}");
	ck_assert(!drop(TYPE_REPLICASET, "o", -1, PROPAGATION_ORPHAN)->gone);
	ck_assert(meta_has(get(TYPE_REPLICASET, "o"), "orphan"));
	ck_assert(meta_has(get(TYPE_REPLICASET, "o"), "annotations"));
	m = update_of(TYPE_REPLICASET, "o", PART_META, rig_part("{'annotations':{'k':'v'}}"));
	ck_assert(rig_do(&rig, &m)->gone);

	make(TYPE_REPLICASET, "b", NULL, "{}");
	ck_assert(drop(TYPE_REPLICASET, "b", -1, PROPAGATION_DEFAULT)->gone);
	make(TYPE_JOB, "j", NULL, "{}"); /* jobs leave their pods, when nothing is said */
	ck_assert(!drop(TYPE_JOB, "j", -1, PROPAGATION_DEFAULT)->gone);
	ck_assert(meta_has(get(TYPE_JOB, "j"), "orphan"));
	make(TYPE_EVENT, "e", NULL, NULL); /* events have no dependents */
	ck_assert(drop(TYPE_EVENT, "e", -1, PROPAGATION_FOREGROUND)->gone);
}
END_TEST

/* --- Many --------------------------------------------------------------------------- */

static struct picked all_pods(void)
{
	struct picked p = {.n = 0};
	struct cache_iter it;
	const struct entry *e;

	cache_iter_init(&it, rig.s.c, TYPE_POD, STR("a"), (struct str){0}, (struct str){0});
	while (p.n < 64 && (e = cache_iter_next(&it))) {
		const struct version *v = cache_live(rig.s.c, e);

		if (!v)
			continue;
		p.entries[p.n] = cache_entry_ref(rig.s.c, e).u;
		p.rvs[p.n++] = v->rv;
	}
	return p;
}

static struct str ready_status(struct buf *out)
{
	value status, *list;

	ck_assert(!v_decode(rig_zone,
			    rig_part("{'phase':'Running','conditions':[{'type':'Ready',"
				     "'status':'True'}],'containerStatuses':[{}]}"),
			    &status));
	list = v_get(&status, "conditions");
	v_set(rig_zone, v_at(list, 0), "lastTransitionTime",
	      v_hole(rig_zone, HOLE_TIME, 1, STR("")));
	list = v_get(&status, "containerStatuses");
	v_set(rig_zone, v_at(list, 0), "restartCount", v_hole(rig_zone, HOLE_UINT, 0, STR("")));
	v_encode(out, &status);
	return buf_str(out);
}

static struct msg many_pods(uint32_t n)
{
	return (struct msg){.kind = MSG_create_many,
			    .create_many = {.type = TYPE_POD,
					    .ns = STR("a"),
					    .prefix = STR("web-"),
					    .count = n,
					    .spec = rig_part("{'containers':[],"
							     "'terminationGracePeriodSeconds':7}"),
					    .status = rig_part("{'phase':'Pending'}")}};
}

START_TEST(the_way_of_many_pods)
{
	uint32_t node_of[64], holes[128];
	struct buf status = {0};
	struct picked p, stale;
	struct msg m = many_pods(40);

	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(rig.last.done, 40);
	ck_assert_uint_eq(rig.last.rv + 39, rig.s.rv);
	p = stale = all_pods();
	ck_assert_uint_eq(p.n, 40);
	for (uint32_t i = 0; i < 64; i++) {
		node_of[i] = i % 2;
		holes[2 * i] = i;
		holes[2 * i + 1] = 1000 + i;
	}
	node_of[5] = 2; /* no such node */
	m = (struct msg){.kind = MSG_bind_many,
			 .bind_many = {.nodes = rig_part("['n0','n1']"),
				       .entries = {p.entries, 40},
				       .rvs = {p.rvs, 40},
				       .node_of = {node_of, 40}}};
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 39);
	ck_assert_uint_eq(rig.last.skipped.n, 1);
	ck_assert_uint_eq(rig.skipped[0], 5);
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 0); /* they have a node */
	p = all_pods();
	m = (struct msg){.kind = MSG_status_many,
			 .status_many = {.type = TYPE_POD,
					 .status = ready_status(&status),
					 .nholes = 2,
					 .entries = {p.entries, 40},
					 .rvs = {p.rvs, 40},
					 .holes = {holes, 80}}};
	p.rvs[7]--;
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 39);
	ck_assert_uint_eq(rig.skipped[0], 7);
	p = all_pods();
	for (uint32_t i = 0; i < 40; i++) {
		const struct entry *e = cache_entry(rig.s.c, (entry_ref){p.entries[i]});
		const struct hot *hot = &cache_newest(rig.s.c, e)->hot;

		if (i == 7)
			continue;
		ck_assert_uint_eq(hot->ready_since_s, 1000 + i);
		ck_assert_uint_eq(hot->restarts, i);
		ck_assert_uint_eq(hot->phase, POD_RUNNING);
		ck_assert_uint_eq(hot->flags & HOT_READY, HOT_READY);
		ck_assert_uint_eq(!!(hot->flags & HOT_SCHEDULED), i != 5);
	}
	m = (struct msg){.kind = MSG_delete_many,
			 .delete_many = {.type = TYPE_POD,
					 .grace = -1,
					 .entries = {stale.entries, 40},
					 .rvs = {stale.rvs, 40},
					 .exact = true}};
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 0);
	m.delete_many.exact = false;
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 40);
	ck_assert_uint_eq(all_pods().n, 39); /* the one without a node went at once */
	m.delete_many.grace = 0;
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 39);
	ck_assert_uint_eq(all_pods().n, 0);
	buf_free(&status);
}
END_TEST

/* Make `n` pods, which rise in the order of their names, but for those whose name was
 * taken; the character with which their ends begin. */
static char stretch_of_new(uint32_t n)
{
	uint32_t begin[256] = {0}, falls = 0;
	struct msg m = many_pods(n);
	const struct version *v[16];
	struct str name, last = {0};

	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(rig.last.done, n);
	for (uint64_t rv = rig.last.rv - 1; rv < rig.s.rv;) {
		int got = cache_journal(rig.s.c, rv, v, countof(v));

		ck_assert_int_gt(got, 0);
		for (int i = 0; i < got; i++, rv++) {
			name = entry_name(cache_entry(rig.s.c, v[i]->entry));
			ck_assert_uint_eq(name.n, strlen("web-") + 5);
			falls += last.n && memcmp(name.p, last.p, name.n) < 0;
			begin[(uint8_t)name.p[4]]++;
			last = name;
		}
	}
	ck_assert_uint_le(falls, n / 20);
	for (int c = 0; c < 256; c++)
		if (begin[c] > n - n / 20)
			return (char)c;
	ck_abort_msg("names from everywhere");
}

START_TEST(many_alike_get_a_stretch_of_names)
{
	char stretches[28] = "", c[2] = "";

	rig.s.stretch = 0;
	for (int i = 0; i < 27; i++) {
		c[0] = stretch_of_new(BULK_STRETCH_MIN);
		ck_assert_ptr_null(strchr(stretches, c[0]));
		strcat(stretches, c);
	}
	/* Round again, where some names are taken. */
	ck_assert_int_eq(stretch_of_new(BULK_STRETCH_MIN), stretches[0]);
	ck_assert_uint_eq(cache_type_count(rig.s.c, TYPE_POD), 28 * BULK_STRETCH_MIN);
	/* A few are anywhere, more than a stretch has room for in several. */
	ck_assert_uint_eq(bulk_sorted(&rig.s, BULK_STRETCH_MIN - 1), BULK_BY_NAME);
	ck_assert_uint_eq(bulk_sorted(&rig.s, CREATE_MANY_MAX), BULK_STRETCH + 1);
	ck_assert_uint_eq(bulk_sorted(&rig.s, CREATE_MANY_MAX), BULK_STRETCH);
}
END_TEST

START_TEST(no_owner_no_dependents)
{
	struct msg m = many_pods(3);
	const struct entry *o;

	m.create_many.owner = STR("0123456789abcdef");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ENOENT);
	make(TYPE_REPLICASET, "rs", NULL, "{}");
	o = cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), STR("rs"));
	m.create_many.owner = (struct str){(const char *)o->uid, 16};
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	drop(TYPE_REPLICASET, "rs", -1, PROPAGATION_FOREGROUND);
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_ENOENT);
	ck_assert_uint_eq(all_pods().n, 3);
}
END_TEST

/* How many objects the index by key has room for. */
static uint64_t room(void)
{
	return (uint64_t)rig.s.c->h->by_key.buckets * HASH_LOAD;
}

static void make_for(const char *set, const char *spec, uint32_t n)
{
	struct msg m = many_pods(n);

	make(TYPE_REPLICASET, set, NULL, spec);
	m.create_many.owner = (struct str){
		(const char *)cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), str_of(set))->uid, 16};
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
}

/* Sixteen times what is asked for at most, whatever else is wanted. */
START_TEST(indexes_get_room_for_what_an_owner_wants)
{
	uint64_t before;

	make_for("few", "{'replicas':100}", 100);
	before = room();
	ck_assert_uint_lt(before, 5000);
	make_for("many", "{'replicas':5000}", 1000);
	ck_assert_uint_ge(room(), 5000);
	ck_assert_uint_lt(room(), 5000 + 200);
	make_for("sky", "{'replicas':2000000000}", 1000);
	ck_assert_uint_ge(room(), 16000);
	ck_assert_uint_lt(room(), 16000 + 2000);
}
END_TEST

/* --- Memory ------------------------------------------------------------------------- */

/* Every allocation of a request fails once: it is refused, and nothing is left
 * of it. */
START_TEST(memory_runs_out)
{
	struct buf before = {0}, after = {0};
	struct err e = {0};

	for (int i = 0; i < 60; i++)
		random_request(&rig);
	commit_drain(&rig.c);
	for (int64_t k = 0; k < 150; k++) {
		struct msg m = k % 2 ? many_pods(3) : rig_create(TYPE_POD, "a", "fresh");

		dump_cache(&before, rig.s.c);
		arena_fail_after(cw_arena(rig.s.w), k / 4);
		rig_do(&rig, &m);
		arena_fail_after(cw_arena(rig.s.w), -1);
		ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		if (!rig.last.status) {
			m = rig_remove(TYPE_POD, "a", "fresh");
			if (k % 2 == 0)
				ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
			continue;
		}
		ck_assert_int_eq(rig.last.status, WEFT_ENOMEM);
		dump_cache(&after, rig.s.c);
		if (rig.last.done == 0)
			ck_assert(before.n == after.n && !memcmp(before.p, after.p, after.n));
	}
	buf_free(&before);
	buf_free(&after);
}
END_TEST

static uint32_t count_pods(void)
{
	struct cache_iter it;
	const struct entry *e;
	uint32_t n = 0;

	cache_iter_init(&it, rig.s.c, TYPE_POD, STR("a"), (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		n += cache_live(rig.s.c, e) != NULL;
	return n;
}

/* When many are made at once, those that memory suffices for are there, and the
 * others as if nobody had asked. */
START_TEST(memory_runs_out_among_many)
{
	uint32_t refused = 0, partly = 0;
	struct err e = {0};

	for (int64_t k = 0; k < 600; k += 1 + k / 100) {
		struct msg m = many_pods(200);
		uint32_t before = count_pods();
		uint64_t rv = rig.s.rv;

		arena_fail_after(cw_arena(rig.s.w), k);
		rig_do(&rig, &m);
		arena_fail_after(cw_arena(rig.s.w), -1);
		ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		ck_assert_uint_eq(rig.last.status == WEFT_OK, rig.last.done == 200);
		ck_assert_uint_eq(count_pods(), before + rig.last.done);
		ck_assert_uint_eq(rig.s.rv, rv + rig.last.done);
		refused += rig.last.status != WEFT_OK;
		partly += rig.last.status != WEFT_OK && rig.last.done;
	}
	ck_assert_uint_gt(refused, 100);
	ck_assert_uint_gt(partly, 100);
}
END_TEST

/* --- At random ---------------------------------------------------------------------- */

static void check_rules(void)
{
	for (uint32_t t = 1; t < TYPE_MAX; t++) {
		struct cache_iter it;
		const struct entry *e;

		cache_iter_init(&it, rig.s.c, (uint16_t)t, (struct str){0}, (struct str){0},
				(struct str){0});
		while ((e = cache_iter_next(&it))) {
			const struct version *v = cache_live(rig.s.c, e);

			if (!v)
				continue;
			ck_assert_uint_le(v->rv, rig.s.rv);
			/* Nobody waits who has nothing to wait for. */
			if (v->deletion_s && v->grace_s <= 0 && t != TYPE_NAMESPACE)
				ck_assert(v->flags & VERSION_FINALIZERS);
			if (v->deletion_s && v->grace_s > 0)
				ck_assert_uint_eq(t, TYPE_POD);
			ck_assert_uint_eq(!!(v->hot.flags & HOT_SCHEDULED),
					  t == TYPE_POD && v->hot.node.u);
			ck_assert_uint_eq(!!(v->flags & VERSION_MEMORY), t == TYPE_EVENT);
			ck_assert(!!v->generation == kube_counts_generation((uint16_t)t) ||
				  v->generation > 0);
		}
	}
}

START_TEST(random_requests_keep_the_rules)
{
	struct err e = {0};

	for (int i = 0; i < 3000; i++) {
		uint64_t rv = rig.s.rv;

		random_request(&rig);
		ck_assert_uint_ge(rig.s.rv, rv);
		rig.c.prompt = rnd(2);
		if (rnd(3) == 0)
			commit_turn(&rig.c);
		if (rnd(30) == 0)
			cw_reclaim(rig.s.w, 5000);
		if (i % 300 == 0) {
			commit_drain(&rig.c);
			check_rules();
			ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		}
	}
	commit_drain(&rig.c);
	ck_assert_uint_ge(rig.replies, 3000);
	check_rules();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("apply");
	TCase *t = tcase_create("apply");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, creates_and_refuses);
	tcase_add_test(t, a_terminating_namespace_takes_nothing_new);
	tcase_add_test(t, updates_check_their_preconditions);
	tcase_add_test(t, a_uid_that_is_given_is_kept);
	tcase_add_test(t, a_pod_is_bound_once);
	tcase_add_test(t, pods_go_gracefully);
	tcase_add_test(t, finalizers_hold_an_object);
	tcase_add_test(t, propagation_is_kept_in_finalizers);
	tcase_add_test(t, the_way_of_many_pods);
	tcase_add_test(t, many_alike_get_a_stretch_of_names);
	tcase_add_test(t, no_owner_no_dependents);
	tcase_add_test(t, indexes_get_room_for_what_an_owner_wants);
	tcase_add_test(t, memory_runs_out);
	tcase_add_test(t, memory_runs_out_among_many);
	tcase_add_test(t, random_requests_keep_the_rules);
	suite_add_tcase(s, t);
	return rig_run(s);
}
