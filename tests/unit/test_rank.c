/* test_rank.c - which pods go first, against the documented ranking written down
 * once more, slowly. */
#include "kube_cache.h"
#include "procs/replicaset/rank.h"

#define NOW	 1700100000u
#define PODS_MAX 60

static struct shelf shelf;

static int one_in(int n)
{
	return random() % n == 0;
}

static const char *const phases[] = {"Pending", "Running",   "Running",
				     "Unknown", "Succeeded", "Failed"};

/* Some age in seconds, of any order of magnitude. */
static uint32_t some_age(void)
{
	return (uint32_t)random() % (1u << random() % 17);
}

/* Since when a pod is ready.  Two that became so in the same second are told apart by their
 * restarts, others of one magnitude by their uid (as Kubernetes does it): three pods of
 * both sorts can stand in a circle, where no order is right.  So in one round all of a
 * magnitude are of the same second, and in the next all are of different ones. */
static struct {
	bool alike;
	int n;
	uint32_t taken[PODS_MAX];
} ready;

static bool is_taken(uint32_t age)
{
	for (int i = 0; i < ready.n; i++)
		if (ready.taken[i] == age)
			return true;
	return false;
}

static uint32_t ready_age(void)
{
	uint32_t age;

	if (ready.alike)
		return (1u << random() % 17) / 2;
	do
		age = some_age();
	while (is_taken(age));
	return ready.taken[ready.n++] = age;
}

static value owner_of(const struct entry *rs)
{
	value refs = v_array();

	v_append(shelf.z, &refs, kube_owner_ref(shelf.z, shelf.c, rs, true));
	return refs;
}

static void add_pod(const struct entry *rs, int i)
{
	zone *z = shelf.z;
	char node[16] = "", since[21];
	value obj = v_map(), *meta = v_map_at(z, &obj, "metadata"), *status;
	struct version_in in = {.generation = 1, .grace_s = -1};
	struct kube_parts parts;
	uint8_t uid[16];
	struct version *v;

	time_format(NOW - ready_age(), since);
	v_set(z, meta, "ownerReferences", owner_of(rs));
	if (one_in(4))
		v_set(z, v_map_at(z, meta, "annotations"),
		      "controller.kubernetes.io/pod-deletion-cost",
		      v_cstr(one_in(2) ? "-5" : "100"));
	status = v_map_at(z, &obj, "status");
	v_set(z, status, "phase", v_cstr(phases[random() % countof(phases)]));
	v_set(z, status, "conditions",
	      facts_json(
		      z,
		      zone_printf(
			      z,
			      "[{\"type\":\"Ready\",\"status\":\"%s\",\"lastTransitionTime\":\"%s\"}]",
			      one_in(3) ? "False" : "True", since)
			      .p));
	v_set(z, status, "containerStatuses",
	      facts_json(z, zone_printf(z, "[{\"name\":\"c\",\"restartCount\":%d}]",
					(int)(random() % 3))
				    .p));
	if (!one_in(6))
		snprintf(node, sizeof(node), "n%d", (int)(random() % 5));
	kube_split(z, &obj, &parts);
	in.node = str_of(node);
	if (one_in(8)) {
		in.deletion_s = NOW;
		in.grace_s = 30;
	}
	shelf_in(&shelf, TYPE_POD, &parts, (1u << PART_COUNT) - 1, NULL, 0, &in);
	for (int k = 0; k < 16; k++)
		uid[k] = (uint8_t)random();
	ck_assert_int_eq(cw_prepare_create(shelf.w, TYPE_POD, STR("d"), zone_printf(z, "p%d", i),
					   uid, NOW - some_age(), ++shelf.rv, &in, &v),
			 0);
	cw_publish(shelf.w, v);
	cw_commit_rv(shelf.w, shelf.rv);
	kube_parts_free(&parts);
}

/* --- The ranking, slowly ------------------------------------------------------------ */

static bool is_active(const struct version *v)
{
	return !v->deletion_s && v->hot.phase != POD_SUCCEEDED && v->hot.phase != POD_FAILED;
}

static int crowd(const struct entry *deployment, nodeslot_ref node)
{
	int n = 0;

	for (const struct entry *rs = cache_first_dependent(shelf.c, deployment); rs;
	     rs = cache_next_dependent(shelf.c, rs))
		for (const struct entry *e = cache_first_dependent(shelf.c, rs); e;
		     e = cache_next_dependent(shelf.c, e)) {
			const struct version *v = cache_live(shelf.c, e);

			n += is_active(v) && v->hot.node.u == node.u;
		}
	return n;
}

static int magnitude(uint32_t then)
{
	int m = 0;

	for (uint32_t age = NOW - then; age; age /= 2)
		m++;
	return m;
}

static int differ(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int phase_place(const struct version *v)
{
	return v->hot.phase == POD_PENDING ? 0 : v->hot.phase == POD_UNKNOWN ? 1 : 2;
}

/* Less than 0: `a` goes before `b`. */
static int order(const struct entry *deployment, const struct entry *a, const struct entry *b)
{
	const struct version *va = cache_live(shelf.c, a), *vb = cache_live(shelf.c, b);
	bool ready_a = va->hot.flags & HOT_READY, ready_b = vb->hot.flags & HOT_READY;
	uint64_t ua, ub;
	int d;

	memcpy(&ua, a->uid, 8);
	memcpy(&ub, b->uid, 8);
	if ((d = differ(va->hot.node.u != 0, vb->hot.node.u != 0)) ||
	    (d = differ(phase_place(va), phase_place(vb))) || (d = differ(ready_a, ready_b)) ||
	    (d = differ(va->hot.deletion_cost, vb->hot.deletion_cost)))
		return d;
	if (va->hot.node.u &&
	    (d = differ(crowd(deployment, vb->hot.node), crowd(deployment, va->hot.node))))
		return d;
	if (ready_a && va->hot.ready_since_s != vb->hot.ready_since_s)
		return (d = differ(magnitude(va->hot.ready_since_s),
				   magnitude(vb->hot.ready_since_s)))
			       ? d
			       : (ua < ub ? -1 : 1);
	if ((d = differ(vb->hot.restarts, va->hot.restarts)))
		return d;
	if (a->created_s != b->created_s &&
	    (d = differ(magnitude(a->created_s), magnitude(b->created_s))))
		return d;
	return ua < ub ? -1 : 1;
}

static const struct entry *put_owned(uint16_t type, const char *name, const struct entry *owner)
{
	value obj =
		facts_json(shelf.z, zone_printf(shelf.z,
						"{\"metadata\":{\"name\":\"%s\","
						"\"namespace\":\"d\"},\"spec\":{\"replicas\":1}}",
						name)
					    .p);

	if (owner)
		v_set(shelf.z, v_get(&obj, "metadata"), "ownerReferences", owner_of(owner));
	return shelf_put(&shelf, type, &obj, (struct str){0});
}

static void round_of(int round)
{
	const struct entry *deployment =
		put_owned(TYPE_DEPLOYMENT, zone_printf(shelf.z, "d%d", round).p, NULL);
	const struct entry *rs[2];
	struct rank_choice choice;
	int n = (int)(random() % PODS_MAX), active = 0;
	uint32_t want = (uint32_t)random() % (PODS_MAX + 5);

	ready.alike = round % 2;
	ready.n = 0;
	for (int i = 0; i < 2; i++)
		rs[i] = put_owned(TYPE_REPLICASET, zone_printf(shelf.z, "rs%d-%d", round, i).p,
				  deployment);
	for (int i = 0; i < n; i++)
		add_pod(rs[random() % 2], round * 1000 + i);
	for (const struct entry *e = cache_first_dependent(shelf.c, rs[0]); e;
	     e = cache_next_dependent(shelf.c, e))
		active += is_active(cache_live(shelf.c, e));
	rank_choose(shelf.c, rs[0], want, UINT32_MAX, NOW, NULL, &choice);
	ck_assert_uint_eq(choice.n, want < (uint32_t)active ? want : (uint32_t)active);
	for (uint32_t i = 0; i < choice.n; i++) {
		const struct entry *e = cache_entry(shelf.c, (entry_ref){choice.entries[i]});
		int before = 0;

		ck_assert_uint_eq(choice.rvs[i], cache_live(shelf.c, e)->rv);
		for (const struct entry *o = cache_first_dependent(shelf.c, rs[0]); o;
		     o = cache_next_dependent(shelf.c, o))
			before += o != e && is_active(cache_live(shelf.c, o)) &&
				  order(deployment, o, e) < 0;
		ck_assert_msg(before == (int)i || want >= (uint32_t)active,
			      "pod %s is chosen as number %u, not %d", e->name, i, before);
	}
	rank_free(&choice);
}

START_TEST(ranks_as_documented)
{
	srandom(facts_seed());
	shelf = shelf_open();
	for (int round = 0; round < 150; round++)
		round_of(round);
	shelf_close(&shelf);
}
END_TEST

/* --- Rankings that are kept --------------------------------------------------------- */

#define MANY 6000

static const struct entry *put_pod(const struct entry *rs, int i, bool ready)
{
	zone *z = shelf.z;
	value obj = facts_json(
		z,
		zone_printf(z,
			    "{\"metadata\":{},\"status\":{\"phase\":\"Running\",\"conditions\":[{"
			    "\"type\":\"Ready\",\"status\":\"%s\","
			    "\"lastTransitionTime\":\"2023-11-16T00:00:00Z\"}]}}",
			    ready ? "True" : "False")
			.p);
	struct version_in in = {.generation = 1, .grace_s = -1};
	struct kube_parts parts;
	uint8_t uid[16];
	struct version *v;

	v_set(z, v_get(&obj, "metadata"), "ownerReferences", owner_of(rs));
	in.node = zone_printf(z, "n%d", i % 50);
	kube_split(z, &obj, &parts);
	shelf_in(&shelf, TYPE_POD, &parts, (1u << PART_COUNT) - 1, NULL, 0, &in);
	for (int k = 0; k < 16; k++)
		uid[k] = (uint8_t)random();
	ck_assert_int_eq(cw_prepare_create(shelf.w, TYPE_POD, STR("d"), zone_printf(z, "m%d", i),
					   uid, NOW - 1000, ++shelf.rv, &in, &v),
			 0);
	cw_publish(shelf.w, v);
	cw_commit_rv(shelf.w, shelf.rv);
	kube_parts_free(&parts);
	return cache_entry(shelf.c, v->entry);
}

static void delete_entry(const struct entry *e)
{
	struct version *v;

	ck_assert_int_eq(cw_prepare_delete(shelf.w, (struct entry *)e, ++shelf.rv, 0, 0, &v), 0);
	cw_publish(shelf.w, v);
	cw_commit_rv(shelf.w, shelf.rv);
}

/* Who goes now: those of the kept ranking, or of one made anew. */
static void check_choice(const struct entry *rs, struct rankings *kept, uint32_t now_s, bool anew)
{
	struct rank_choice choice, fresh;

	rank_choose(shelf.c, rs, 40, UINT32_MAX, now_s, kept, &choice);
	rank_choose(shelf.c, rs, 40, UINT32_MAX, now_s, NULL, &fresh);
	ck_assert_uint_eq(choice.n, 40);
	for (uint32_t i = 0; i < choice.n; i++) {
		const struct entry *e = cache_entry(shelf.c, (entry_ref){choice.entries[i]});

		ck_assert(!anew || choice.entries[i] == fresh.entries[i]);
		ck_assert_ptr_nonnull(cache_live(shelf.c, e)); /* nobody goes twice */
		delete_entry(e);
	}
	rank_free(&choice);
	rank_free(&fresh);
}

START_TEST(a_ranking_serves_until_something_changes)
{
	const struct entry *rs, *sick;
	struct rankings kept = {0};
	struct rank_choice choice;
	uint32_t first;

	srandom(facts_seed());
	shelf = shelf_open();
	rs = put_owned(TYPE_REPLICASET, "rs", NULL);
	for (int i = 0; i < MANY; i++)
		put_pod(rs, i, true);
	check_choice(rs, &kept, NOW, true);
	first = kept.kept[0].at;
	for (int i = 0; i < 6; i++)
		check_choice(rs, &kept, NOW + 1, false);
	ck_assert_uint_eq(kept.kept[0].at, first * 7); /* one ranking for all */
	put_pod(rs, MANY, true);
	check_choice(rs, &kept, NOW + 2, true);	    /* a new pod may go first */
	check_choice(rs, &kept, NOW + 2 + 5, true); /* too old */
	sick = put_pod(rs, MANY + 1, false);
	rank_choose(shelf.c, rs, 1, UINT32_MAX, NOW + 8, &kept, &choice);
	ck_assert_uint_eq(choice.n, 1);
	ck_assert_uint_eq(choice.entries[0], cache_entry_ref(shelf.c, sick).u);
	rank_free(&choice);
	rankings_forget(&kept);
	shelf_close(&shelf);
}
END_TEST

static uint32_t active(const struct entry *rs)
{
	struct counts_copy counts;

	cache_counts(shelf.c, rs, &counts);
	return counts.active;
}

/* Take all that are too many away in steps of 1000, of which every third is refused. */
static void shrink(const struct entry *rs, uint32_t to, struct rankings *kept)
{
	struct rank_choice choice;

	for (int step = 0; active(rs) > to; step++) {
		rank_choose(shelf.c, rs, active(rs) - to, 1000, NOW, kept, &choice);
		ck_assert_uint_gt(choice.n, 0);
		ck_assert_uint_le(choice.n, 1000);
		for (uint32_t i = 0; i < choice.n && step % 3 != 1; i++)
			delete_entry(cache_entry(shelf.c, (entry_ref){choice.entries[i]}));
		rank_give_back(&choice, step % 3 != 1 ? choice.n : 0);
		rank_free(&choice);
	}
}

/* Those that stay are those that an order of all would leave; one ranking was made. */
static void check_shrinking(uint32_t to)
{
	const struct entry *rs =
		put_owned(TYPE_REPLICASET, zone_printf(shelf.z, "to%u", to).p, NULL);
	struct rankings kept = {0};
	struct rank_choice all;

	for (int i = 0; i < MANY; i++)
		put_pod(rs, (int)to * MANY + i, true);
	rank_choose(shelf.c, rs, MANY - 1, UINT32_MAX, NOW, NULL, &all);
	shrink(rs, to, &kept);
	ck_assert_uint_eq(active(rs), to);
	for (uint32_t i = 0; to && i < all.n; i++) {
		const struct entry *e;
		bool left =
			!cache_entry_checked(shelf.c, all.entries[i], &e) && cache_live(shelf.c, e);

		ck_assert_msg(left == (i >= MANY - to), "to %u: number %u of those that go", to, i);
	}
	ck_assert_uint_eq(kept.next, 1);
	rank_free(&all);
	rankings_forget(&kept);
}

START_TEST(who_stays_is_the_same_however_many_go_at_once)
{
	static const uint32_t to[] = {0, 1, 10, MANY / 32, MANY / 2, MANY - 200};

	srandom(facts_seed());
	shelf = shelf_open();
	for (size_t i = 0; i < countof(to); i++)
		check_shrinking(to[i]);
	shelf_close(&shelf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rank");
	TCase *tc = tcase_create("rank");

	tcase_add_test(tc, ranks_as_documented);
	tcase_add_test(tc, who_stays_is_the_same_however_many_go_at_once);
	tcase_add_test(tc, a_ranking_serves_until_something_changes);
	suite_add_tcase(s, tc);
	return facts_main(s);
}
