/* test_cache.c - the cache's rules, one sentence each. */
#include "cache_model.h"
#include "shm/cache_priv.h"
#include "tests/unit/suite.h"

static struct cache_writer *w;
static const struct cache *c;
static char name[SEG_NAME_MAX];
static uint64_t rv;

static void setup(void)
{
	struct cache_options opt = {.size_max = UINT64_C(1) << 30,
				    .journal_min = 4,
				    .journal_max = 64,
				    .pod_type = T_POD,
				    .node_type = T_NODE};
	uint8_t id[16] = "cluster of test";
	struct err e = {0};

	model_name(name);
	seg_unlink(name, NULL);
	if (cw_create(&w, name, 7, id, 100, &opt, &e))
		ck_abort_msg("cw_create: %s", e.msg);
	c = cw_cache(w);
	rv = 100;
}

static void teardown(void)
{
	cw_close(w);
	seg_unlink(name, NULL);
}

static void verify(void)
{
	struct err e;

	if (cw_verify(w, &e))
		ck_abort_msg("cw_verify: %s", e.msg);
}

static const uint8_t *uid(uint8_t n)
{
	static uint8_t u[16];

	memset(u, n, sizeof(u));
	return u;
}

static struct version *prepare(uint16_t type, const char *ns, const char *n, uint8_t id,
			       const struct version_in *in)
{
	struct version *v;

	ck_assert_int_eq(
		cw_prepare_create(w, type, str_of(ns), str_of(n), uid(id), 1, rv + 1, in, &v), 0);
	rv++;
	return v;
}

static void publish(struct version *v)
{
	uint64_t at = v->rv;

	cw_publish(w, v);
	cw_commit_rv(w, at);
}

static struct entry *create(uint16_t type, const char *ns, const char *n, uint8_t id)
{
	struct version_in in = {0};
	struct version *v = prepare(type, ns, n, id, &in);

	publish(v);
	return (struct entry *)cache_entry(c, v->entry);
}

static void update(struct entry *e, const struct version_in *in)
{
	struct version *v;

	ck_assert_int_eq(cw_prepare_update(w, e, ++rv, in, &v), 0);
	publish(v);
}

static void delete (struct entry *e)
{
	struct version *v;

	ck_assert_int_eq(cw_prepare_delete(w, e, ++rv, 0, 0, &v), 0);
	publish(v);
}

static void churn(int n)
{
	struct entry *e = cw_find(w, T_MAP, STR("churn"), STR("churn"));
	struct version_in in = {0};

	if (!e)
		e = create(T_MAP, "churn", "churn", 250);
	for (int i = 0; i < n; i++) {
		update(e, &in);
		cw_reclaim(w, 100);
	}
}

START_TEST(prepared_is_hidden_until_published)
{
	struct version_in in = {0};
	struct version *v = prepare(T_POD, "ns", "p", 1, &in);

	ck_assert_ptr_null(cache_find(c, T_POD, STR("ns"), STR("p")));
	ck_assert_ptr_nonnull(cw_find(w, T_POD, STR("ns"), STR("p")));
	ck_assert_ptr_eq(cw_newest(w, cache_entry(c, v->entry)), v);
	publish(v);
	ck_assert_ptr_nonnull(cache_find(c, T_POD, STR("ns"), STR("p")));
	ck_assert_uint_eq(cache_rv(c), 101);
}
END_TEST

START_TEST(a_second_of_one_key_is_refused)
{
	struct version_in in = {0};
	struct version *v, *pending = prepare(T_POD, "ns", "p", 1, &in);

	ck_assert_int_eq(
		cw_prepare_create(w, T_POD, STR("ns"), STR("p"), uid(2), 1, rv + 1, &in, &v),
		WEFT_EEXIST);
	publish(pending);
	ck_assert_int_eq(
		cw_prepare_create(w, T_POD, STR("ns"), STR("p"), uid(2), 1, rv + 1, &in, &v),
		WEFT_EEXIST);
	create(T_POD, "other", "p", 3);
	create(T_MAP, "ns", "p", 4);
}
END_TEST

START_TEST(names_have_a_limit)
{
	struct version_in in = {0};
	struct version *v;
	char longest[255];

	memset(longest, 'x', sizeof(longest));
	ck_assert_int_eq(cw_prepare_create(w, T_POD, STR("ns"), (struct str){longest, 254}, uid(1),
					   1, rv + 1, &in, &v),
			 WEFT_EINVAL);
	ck_assert_int_eq(
		cw_prepare_create(w, T_POD, STR("ns"), STR(""), uid(1), 1, rv + 1, &in, &v),
		WEFT_EINVAL);
	ck_assert_int_eq(cw_prepare_create(w, T_POD, STR("ns"), (struct str){longest, 253}, uid(1),
					   1, ++rv, &in, &v),
			 0);
	publish(v);
}
END_TEST

START_TEST(a_key_created_again_has_two_entries_for_a_while)
{
	struct entry *old = create(T_POD, "ns", "p", 1), *again;
	uint64_t before = rv;
	struct str none = {NULL, 0};
	struct cache_iter it;

	delete (old);
	ck_assert_ptr_null(cache_find(c, T_POD, STR("ns"), STR("p")));
	again = create(T_POD, "ns", "p", 2);
	ck_assert_ptr_eq(cache_find(c, T_POD, STR("ns"), STR("p")), again);
	ck_assert_ptr_null(cache_find_uid(c, uid(1)));
	ck_assert_ptr_nonnull(cache_at(c, old, before));
	ck_assert_ptr_null(cache_at(c, again, before));
	ck_assert_ptr_null(cache_at(c, old, rv));
	cache_iter_init(&it, c, T_POD, none, none, none);
	ck_assert_ptr_eq(cache_iter_next(&it), old);
	ck_assert_ptr_eq(cache_iter_next(&it), again);
	ck_assert_ptr_null(cache_iter_next(&it));
	cache_iter_init(&it, c, T_POD, none, STR("ns"), STR("p"));
	ck_assert_ptr_null(cache_iter_next(&it));
	verify();
	churn(20);
	cache_iter_init(&it, c, T_POD, none, none, none);
	ck_assert_ptr_eq(cache_iter_next(&it), again);
	ck_assert_ptr_null(cache_iter_next(&it));
	verify();
}
END_TEST

/* What was found last is remembered, but not beyond its end. */
START_TEST(an_owner_is_found_by_uid_as_long_as_it_is_there)
{
	struct entry *old = create(T_SET, "ns", "r", 1), *again;

	ck_assert_ptr_null(cw_find_uid(w, uid(2)));
	ck_assert_ptr_eq(cw_find_uid(w, uid(1)), old);
	ck_assert_ptr_eq(cw_find_uid(w, uid(1)), old);
	delete (old);
	ck_assert_ptr_null(cw_find_uid(w, uid(1)));
	churn(20); /* its memory is free */
	again = create(T_SET, "ns", "r", 2);
	ck_assert_ptr_null(cw_find_uid(w, uid(1)));
	ck_assert_ptr_eq(cw_find_uid(w, uid(2)), again);
	delete (again);
	churn(20);
	ck_assert_ptr_null(cw_find_uid(w, uid(2)));
	verify();
}
END_TEST

/* The names met from `after` on, each with a blank behind it. */
static const char *listed(uint16_t type, struct str ns, struct str after_ns, struct str after)
{
	static char text[200];
	struct cache_iter it;
	const struct entry *e;
	size_t n = 0;

	text[0] = '\0';
	cache_iter_init(&it, c, type, ns, after_ns, after);
	while ((e = cache_iter_next(&it)))
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s ", e->name);
	return text;
}

/* Whatever the guess is, the key decides, and whether the object is live. */
START_TEST(a_guess_is_checked)
{
	struct entry *e = create(T_POD, "ns", "p", 1), *o = create(T_POD, "ns", "q", 2), *again;
	uint32_t guess = cache_entry_ref(c, e).u;

	ck_assert_ptr_eq(cw_find_near(w, guess, T_POD, STR("ns"), STR("p")), e);
	ck_assert_ptr_eq(cw_find_near(w, 0, T_POD, STR("ns"), STR("p")), e);
	ck_assert_ptr_eq(cw_find_near(w, guess, T_POD, STR("ns"), STR("q")), o);
	ck_assert_ptr_null(cw_find_near(w, guess, T_POD, STR("ns2"), STR("p")));
	ck_assert_ptr_null(cw_find_near(w, guess, T_MAP, STR("ns"), STR("p")));
	delete (e);
	ck_assert_ptr_null(cw_find_near(w, guess, T_POD, STR("ns"), STR("p")));
	again = create(T_POD, "ns", "p", 3);
	ck_assert_ptr_ne(again, e);
	ck_assert_ptr_eq(cw_find_near(w, guess, T_POD, STR("ns"), STR("p")), again);
}
END_TEST

START_TEST(lists_are_in_the_order_of_keys)
{
	struct str none = {NULL, 0};

	create(T_POD, "a", "z", 1);
	create(T_POD, "a", "b", 2);
	create(T_POD, "a-b", "c", 3);
	create(T_POD, "b", "a", 4);
	create(T_NODE, "", "n2", 5);
	create(T_NODE, "", "n1", 6);
	ck_assert_str_eq(listed(T_POD, none, none, none), "c b z a ");
	ck_assert_str_eq(listed(T_POD, STR("a"), none, none), "b z ");
	ck_assert_str_eq(listed(T_POD, STR("a-b"), none, none), "c ");
	ck_assert_str_eq(listed(T_POD, STR("0"), none, none), "");
	ck_assert_str_eq(listed(T_POD, STR("a"), STR("a"), STR("b")), "z ");
	ck_assert_str_eq(listed(T_POD, STR("a"), STR("a"), STR("z")), "");
	ck_assert_str_eq(listed(T_POD, none, STR("a"), STR("b")), "z a ");
	ck_assert_str_eq(listed(T_POD, none, STR("a"), STR("bb")), "z a ");
	ck_assert_str_eq(listed(T_NODE, none, none, none), "n1 n2 ");
	ck_assert_str_eq(listed(T_NODE, STR(""), none, none), "n1 n2 ");
	ck_assert_str_eq(listed(T_NODE, STR(""), STR(""), STR("n1")), "n2 ");
	ck_assert_str_eq(listed(T_MAP, none, none, none), "");
}
END_TEST

START_TEST(updates_take_over_what_they_do_not_name)
{
	uint32_t holes[] = {11, 22, 33};
	struct version_in in = {.mask = 31, .holes = holes, .nholes = 3};
	const struct version *v;
	struct entry *e;

	in.part[PART_SPEC] = STR("spec");
	in.part[PART_LABELS] = STR("labels");
	in.part[PART_STATUS] = STR("status");
	publish(prepare(T_POD, "ns", "p", 1, &in));
	e = cw_find(w, T_POD, STR("ns"), STR("p"));
	in = (struct version_in){.mask = 1 << PART_REST};
	in.part[PART_REST] = STR("rest");
	update(e, &in);
	v = cache_live(c, e);
	ck_assert(str_eq(cache_part(c, v, PART_SPEC), STR("spec")));
	ck_assert(str_eq(cache_part(c, v, PART_LABELS), STR("labels")));
	ck_assert(str_eq(cache_part(c, v, PART_REST), STR("rest")));
	ck_assert_uint_eq(v->nholes, 3);
	ck_assert_uint_eq(v->holes[2], 33);
	in = (struct version_in){.mask = 1 << PART_STATUS | 1 << PART_LABELS};
	update(e, &in);
	v = cache_live(c, e);
	ck_assert_uint_eq(cache_part(c, v, PART_STATUS).n, 0);
	ck_assert_uint_eq(cache_part(c, v, PART_LABELS).n, 0);
	ck_assert_uint_eq(v->nholes, 0);
	verify();
}
END_TEST

START_TEST(a_deleted_object_cannot_be_written)
{
	struct entry *e = create(T_POD, "ns", "p", 1);
	struct version_in in = {0};
	struct version *v, *tombstone;

	ck_assert_int_eq(cw_prepare_delete(w, e, ++rv, 0, 0, &tombstone), 0);
	ck_assert_int_eq(cw_prepare_update(w, e, rv + 1, &in, &v), WEFT_ENOENT);
	ck_assert_int_eq(cw_prepare_delete(w, e, rv + 1, 0, 0, &v), WEFT_ENOENT);
	cw_abort(w, tombstone);
	rv--;
	update(e, &in);
	delete (e);
	ck_assert_int_eq(cw_prepare_update(w, e, rv + 1, &in, &v), WEFT_ENOENT);
}
END_TEST

START_TEST(the_journal_keeps_its_window)
{
	const struct version *v[100];

	churn(3);
	ck_assert_uint_eq(cache_oldest(c), 101);
	ck_assert_int_eq(cache_journal(c, 100, v, 100), 4);
	ck_assert_int_eq(cache_journal(c, 100, v, 2), 2);
	ck_assert_int_eq(cache_journal(c, rv, v, 2), 0);
	ck_assert_int_eq(cache_journal(c, 99, v, 2), WEFT_EGONE);
	churn(20);
	ck_assert_uint_eq(cache_oldest(c), rv - 3);
	ck_assert_int_eq(cache_journal(c, rv - 4, v, 100), 4);
	ck_assert_int_eq(cache_journal(c, rv - 5, v, 100), WEFT_EGONE);
	verify();
}
END_TEST

static void create_many(int from, int to)
{
	char n[16];

	for (int i = from; i < to; i++) {
		snprintf(n, sizeof(n), "m-%d", i);
		create(T_SET, "ns", n, (uint8_t)i);
		cw_reclaim(w, 100);
	}
}

/* Of the last `n` writes each is in the journal, none before, whenever one looks. */
static void check_window(uint64_t n)
{
	churn(2 * (int)n);
	for (int i = 0; i < 4; i++) {
		churn(1);
		ck_assert_uint_eq(cache_oldest(c), rv + 1 - n);
	}
}

/* As many changes as there are objects, between the options' bounds: 4 and 64. */
START_TEST(the_window_follows_the_number_of_objects)
{
	check_window(4);
	create_many(0, 9); /* ten with that of churn() */
	check_window(10);
	create_many(9, 64);
	check_window(64);
	verify();
}
END_TEST

/* A record whose chunk would take the place of one that is not cut yet is refused. */
START_TEST(the_journal_has_a_bound)
{
	uint64_t end = (w->cut / JOURNAL_CHUNK + JOURNAL_CHUNKS) * JOURNAL_CHUNK;
	uint32_t first;

	churn(1);
	first = prcu_own(&w->h->chunk[end / JOURNAL_CHUNK % JOURNAL_CHUNKS]);
	ck_assert_uint_ne(first, 0);
	ck_assert_int_eq(journal_reserve(w, end), WEFT_ENOMEM);
	ck_assert_uint_eq(prcu_own(&w->h->chunk[end / JOURNAL_CHUNK % JOURNAL_CHUNKS]), first);
	ck_assert_int_eq(journal_reserve(w, end - 1), 0);
	ck_assert_int_eq(journal_reserve(w, end), WEFT_ENOMEM);
}
END_TEST

START_TEST(a_reader_keeps_what_it_may_see)
{
	static struct prcu_reader reader;
	struct prcu_reader *readers[] = {&reader};
	struct cache *mine;
	const struct version *v;
	struct entry *e = create(T_POD, "ns", "p", 1);
	size_t blocker;
	int64_t since;

	ck_assert_int_eq(cache_thread(&mine, c, &reader), 0);
	cw_set_readers(w, readers, 1);
	cache_lock(mine);
	delete (e);
	v = cache_at(mine, e, 101);
	ck_assert_ptr_nonnull(v);
	churn(30);
	ck_assert_ptr_eq(cache_at(mine, e, 101), v);
	ck_assert(cw_blocker(w, &blocker, &since));
	ck_assert_uint_eq(blocker, 0);
	ck_assert_int_le(since, clock_mono_ns());
	verify();
	cache_unlock(mine);
	churn(1);
	ck_assert(!cw_blocker(w, &blocker, &since));
	churn(5);
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_ENTRY], 1);
	verify();
	cw_set_readers(w, NULL, 0);
	cache_detach(mine);
}
END_TEST

START_TEST(dependents_of_a_reclaimed_owner_have_none)
{
	struct entry *owner = create(T_SET, "ns", "rs", 9), *e;
	struct version_in in = {.nowners = 1, .has_controller = true};
	uint8_t owners[1][16];
	struct counts_copy counts;

	memcpy(owners, uid(9), 16);
	in.owner_uids = owners;
	for (uint8_t i = 10; i < 15; i++) {
		char n[8];

		snprintf(n, sizeof(n), "p%u", i);
		publish(prepare(T_POD, "ns", n, i, &in));
	}
	e = cw_find(w, T_POD, STR("ns"), STR("p12"));
	ck_assert_uint_eq(e->owner, cache_entry_ref(c, owner).u);
	cache_counts(c, owner, &counts);
	ck_assert_uint_eq(counts.total, 5);
	ck_assert_uint_eq(counts.pending, 5);
	delete (owner);
	ck_assert_uint_eq(e->owner, cache_entry_ref(c, owner).u);
	for (int i = 0; i < 20; i++) {
		churn(1);
		cw_reclaim(w, 2);
		verify();
	}
	ck_assert_uint_eq(e->owner, 0);
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_AGGREGATE], 0);
	update(e, &in); /* nothing left to count at */
	in.mask = 1 << PART_META;
	update(e, &in); /* names an owner that is not there */
	ck_assert_uint_eq(e->owner, 0);
	verify();
}
END_TEST

/* Its dependents still lead to an owner that is taken apart slowly: what its
 * newest version was must not be found there when the memory has another use. */
START_TEST(an_owner_that_is_taken_apart_shows_no_version)
{
	struct entry *owner = create(T_SET, "ns", "rs", 9), *last, *other;
	struct version_in in = {.nowners = 1, .has_controller = true}, same = {0};
	uint8_t owners[1][16];
	int seen = 0;

	other = create(T_MAP, "churn", "churn", 250);
	memcpy(owners, uid(9), 16);
	in.owner_uids = owners;
	for (uint8_t i = 10; i < 60; i++) {
		char n[8];

		snprintf(n, sizeof(n), "p%u", i);
		publish(prepare(T_POD, "ns", n, i, &in));
	}
	last = cw_find(w, T_POD, STR("ns"), STR("p10"));
	delete (owner);
	for (int i = 0; i < 1000 && last->owner; i++) {
		const struct version *v = cache_newest(c, owner);

		ck_assert(!v ||
			  (cache_entry(c, v->entry) == owner && v->flags & VERSION_TOMBSTONE));
		seen += !v;
		update(other, &same);
		cw_reclaim(w, 1);
		verify();
	}
	ck_assert_uint_eq(last->owner, 0);
	ck_assert_int_gt(seen, 10);
}
END_TEST

START_TEST(restored_objects_are_linked_at_the_end)
{
	uint8_t owners[2][16];
	struct version_in pod = {.nowners = 2, .has_controller = true, .owner_uids = owners};
	struct version_in none = {0};
	struct counts_copy counts;
	const struct version *v[4];
	struct entry *e, *rs, *map;

	memcpy(owners[0], uid(2), 16);
	memcpy(owners[1], uid(3), 16);
	pod.node = STR("n1");
	pod.hot.phase = POD_RUNNING;
	ck_assert_int_eq(cw_restore(w, T_POD, STR("ns"), STR("p"), uid(1), 5, 40, 90, &pod, &e), 0);
	ck_assert_int_eq(cw_restore(w, T_SET, STR("ns"), STR("rs"), uid(2), 5, 30, 30, &none, &rs),
			 0);
	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("m"), uid(3), 5, 20, 20, &none, &map),
			 0);
	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("m"), uid(4), 5, 20, 20, &none, &map),
			 WEFT_EEXIST);
	ck_assert_int_eq(cw_restore_done(w), 0);
	ck_assert_uint_eq(e->owner, cache_entry_ref(c, rs).u);
	ck_assert_uint_eq(e->created_rv, 40);
	ck_assert_ptr_eq(cache_entry(c, cache_first_edge(c, map)->dependent), e);
	cache_counts(c, rs, &counts);
	ck_assert_uint_eq(counts.active, 1);
	ck_assert_uint_eq(counts.scheduled, 1);
	ck_assert_uint_eq(cache_live(c, e)->rv, 90);
	ck_assert_int_eq(cache_journal(c, 100, v, 4), 0);
	ck_assert_uint_eq(cache_oldest(c), 101);
	verify();
	delete (e);
	delete (map);
	verify();
	churn(30);
	verify();
	ck_assert_uint_eq(cache_type_count(c, T_POD), 0);
}
END_TEST

START_TEST(a_reference_from_outside_is_checked)
{
	struct entry *e = create(T_POD, "ns", "p", 1);
	uint32_t ref = cache_entry_ref(c, e).u, valid = 0;
	const struct entry *found;

	ck_assert_int_eq(cache_entry_checked(c, ref, &found), 0);
	ck_assert_ptr_eq(found, e);
	for (uint32_t r = 0; r < (4u << 20) / ARENA_UNIT; r++)
		valid += cache_entry_checked(c, r, &found) == 0;
	ck_assert_uint_eq(valid, 1);
	ck_assert_int_eq(cache_entry_checked(c, UINT32_MAX, &found), WEFT_EINVAL);
	delete (e);
	churn(30);
	ck_assert_int_eq(cache_entry_checked(c, ref, &found), WEFT_EINVAL);
}
END_TEST

START_TEST(attaching_shows_the_same_cache)
{
	static struct prcu_reader reader;
	struct entry *e = create(T_POD, "ns", "p", 1);
	const struct entry *same;
	struct cache *other;
	struct err err;

	if (cache_attach(&other, name, &reader, &err))
		ck_abort_msg("%s", err.msg);
	cache_lock(other);
	same = cache_find(other, T_POD, STR("ns"), STR("p"));
	ck_assert_ptr_nonnull(same);
	ck_assert_ptr_ne(same, e);
	ck_assert_uint_eq(cache_entry_ref(other, same).u, cache_entry_ref(c, e).u);
	ck_assert_uint_eq(cache_generation(other), 7);
	ck_assert_int_eq(memcmp(cache_cluster_id(other), "cluster of test", 16), 0);
	cache_unlock(other);
	cache_detach(other);
	ck_assert_int_eq(cache_attach(&other, "/weft.no-such", &reader, &err), WEFT_ENOENT);
}
END_TEST

/* The store died in the middle of a change: readers have the state before. */
START_TEST(counts_left_half_changed_are_those_before)
{
	struct entry *owner = create(T_SET, "ns", "rs", 9);
	uint8_t owners[1][16];
	struct version_in in = {.nowners = 1, .has_controller = true, .owner_uids = owners};
	struct counts_copy copy;
	struct counts *counts;

	memcpy(owners, uid(9), 16);
	publish(prepare(T_POD, "ns", "p", 1, &in));
	counts = (struct counts *)cache_entry(c, (entry_ref){owner->counts});
	counts->slot[(counts->seq + 1) % 2].total = 77;
	cache_counts(c, owner, &copy);
	ck_assert_uint_eq(copy.total, 1);
	ck_assert_uint_eq(copy.rv, rv);
}
END_TEST

START_TEST(who_leaves_for_another_list_is_counted)
{
	struct entry *one = create(T_SET, "ns", "one", 1), *two = create(T_SET, "ns", "two", 2), *e;
	uint8_t owners[1][16];
	struct version_in in = {
		.mask = 31, .nowners = 1, .has_controller = true, .owner_uids = owners};
	const struct labelset *set;

	memcpy(owners, uid(1), 16);
	in.part[PART_LABELS] = STR("red");
	publish(prepare(T_POD, "ns", "p", 3, &in));
	e = cw_find(w, T_POD, STR("ns"), STR("p"));
	set = cache_first_labelset(c, T_POD, STR("ns"));
	ck_assert_ptr_eq(cache_first_in_set(c, set), e);
	update(e, &in); /* nothing moves */
	ck_assert_uint_eq(cache_left_owner(c, one), 0);
	ck_assert_uint_eq(cache_left_set(c, set), 0);
	memcpy(owners, uid(2), 16);
	in.part[PART_LABELS] = STR("blue");
	update(e, &in);
	ck_assert_uint_eq(cache_left_owner(c, one), 1);
	ck_assert_uint_eq(cache_left_owner(c, two), 0);
	ck_assert_uint_eq(cache_left_set(c, set), 1);
	ck_assert_ptr_eq(cache_first_dependent(c, two), e);
	ck_assert_ptr_null(cache_first_dependent(c, one));
	verify();
}
END_TEST

/* Recovery: what the log has beyond the checkpoint, below rv_start. */
START_TEST(replayed_writes_leave_no_history)
{
	struct version_in in = {.mask = 1 << PART_SPEC};
	struct entry *e, *gone;
	struct version *v;

	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("m"), uid(1), 5, 20, 20, &in, &e), 0);
	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("x"), uid(2), 5, 21, 21, &in, &gone),
			 0);
	ck_assert_int_eq(cw_restore_done(w), 0);
	in.part[PART_SPEC] = STR("later");
	ck_assert_int_eq(cw_prepare_update(w, e, 50, &in, &v), 0);
	cw_replay(w, v);
	ck_assert_int_eq(cw_prepare_delete(w, gone, 51, 0, 0, &v), 0);
	cw_replay(w, v);
	ck_assert_int_eq(cw_prepare_create(w, T_MAP, STR("ns"), STR("x"), uid(3), 6, 52, &in, &v),
			 0);
	cw_replay(w, v);
	verify();
	ck_assert_uint_eq(cache_live(c, e)->rv, 50);
	ck_assert_uint_eq(cache_live(c, e)->prev, 0);
	ck_assert_uint_eq(cache_type_count(c, T_MAP), 2);
	ck_assert_uint_eq(cache_find(c, T_MAP, STR("ns"), STR("x"))->created_rv, 52);
	churn(20);
	verify();
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_ENTRY], 3);
}
END_TEST

START_TEST(options_without_sense_are_refused)
{
	struct cache_options opt = {.pod_type = 1, .node_type = 1};
	struct cache_writer *other;
	uint8_t id[16] = {0};
	struct err e;

	ck_assert_int_eq(cw_create(&other, "/weft.test-options", 1, id, 0, &opt, &e), WEFT_EINVAL);
	opt.node_type = 2;
	opt.journal_min = 10;
	opt.journal_max = 5;
	ck_assert_int_eq(cw_create(&other, "/weft.test-options", 1, id, 0, &opt, &e), WEFT_EINVAL);
	opt.journal_max = 0;
	ck_assert_int_eq(cw_create(&other, name, 1, id, 0, &opt, &e), WEFT_EEXIST);
}
END_TEST

/* What is written while an earlier write of the object is on its way to the disk. */
START_TEST(publishing_leaves_what_was_prepared_after_it)
{
	struct version_in in = {0};
	struct entry *e = create(T_MAP, "ns", "m", 1);
	struct version *first, *second;

	ck_assert_int_eq(cw_prepare_update(w, e, rv + 1, &in, &first), 0);
	ck_assert_int_eq(cw_prepare_update(w, e, rv + 2, &in, &second), 0);
	publish(first);
	ck_assert_ptr_eq(cw_newest(w, e), second);
	ck_assert_ptr_eq(cache_newest(c, e), first);
	cw_abort(w, second);
	ck_assert_ptr_eq(cw_newest(w, e), first);
	rv++;
	verify();
}
END_TEST

/* A reader who began after a grace period did may hold what is let go before its end. */
START_TEST(what_is_let_go_in_a_grace_period_waits_for_the_next)
{
	static struct prcu_reader reader;
	struct prcu_reader *readers[] = {&reader};
	struct version_in in = {0};
	struct cache *mine;
	uint64_t entries;

	ck_assert_int_eq(cache_thread(&mine, c, &reader), 0);
	cw_set_readers(w, readers, 1);
	for (int i = 0; i < 4; i++)
		cw_reclaim(w, 100);
	entries = cache_arena_stats(c)->count[ARENA_ENTRY];
	cw_abort(w, prepare(T_MAP, "ns", "one", 1, &in));
	cw_reclaim(w, 100);
	cache_lock(mine);
	rv--;
	cw_abort(w, prepare(T_MAP, "ns", "two", 2, &in)); /* which it may have met */
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_ENTRY], entries + 2);
	for (int i = 0; i < 4; i++)
		cw_reclaim(w, 100);
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_ENTRY], entries + 1);
	cache_unlock(mine);
	for (int i = 0; i < 4; i++)
		cw_reclaim(w, 100);
	ck_assert_uint_eq(cache_arena_stats(c)->count[ARENA_ENTRY], entries);
	cw_set_readers(w, NULL, 0);
	cache_detach(mine);
}
END_TEST

/* Readers may be in the middle of the slot that counted until now. */
START_TEST(counts_are_changed_beside_those_that_count)
{
	struct entry *owner = create(T_SET, "ns", "rs", 9);
	uint8_t owners[1][16];
	struct version_in in = {.nowners = 1, .has_controller = true, .owner_uids = owners};
	const struct counts *counts;
	uint32_t seq;

	memcpy(owners, uid(9), 16);
	publish(prepare(T_POD, "ns", "p", 1, &in));
	counts = (const struct counts *)cache_entry(c, (entry_ref){owner->counts});
	seq = counts->seq;
	publish(prepare(T_POD, "ns", "q", 2, &in));
	ck_assert_uint_eq(counts->seq, seq + 1);
	ck_assert_uint_eq(counts->slot[seq % 2].total, 1);
	ck_assert_uint_eq(counts->slot[(seq + 1) % 2].total, 2);
}
END_TEST

START_TEST(what_is_restored_is_no_newer_than_the_start)
{
	struct version_in in = {0};
	struct entry *e;

	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("m"), uid(1), 5, 20, 101, &in, &e),
			 WEFT_EINVAL);
	ck_assert_int_eq(cw_restore(w, T_MAP, STR("ns"), STR("m"), uid(1), 5, 20, 100, &in, &e), 0);
	ck_assert_int_eq(cw_restore_done(w), 0);
	verify();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache");
	TCase *t = tcase_create("cache");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, prepared_is_hidden_until_published);
	tcase_add_test(t, a_second_of_one_key_is_refused);
	tcase_add_test(t, names_have_a_limit);
	tcase_add_test(t, a_key_created_again_has_two_entries_for_a_while);
	tcase_add_test(t, an_owner_is_found_by_uid_as_long_as_it_is_there);
	tcase_add_test(t, a_guess_is_checked);
	tcase_add_test(t, lists_are_in_the_order_of_keys);
	tcase_add_test(t, updates_take_over_what_they_do_not_name);
	tcase_add_test(t, a_deleted_object_cannot_be_written);
	tcase_add_test(t, the_journal_keeps_its_window);
	tcase_add_test(t, the_window_follows_the_number_of_objects);
	tcase_add_test(t, the_journal_has_a_bound);
	tcase_add_test(t, a_reader_keeps_what_it_may_see);
	tcase_add_test(t, dependents_of_a_reclaimed_owner_have_none);
	tcase_add_test(t, restored_objects_are_linked_at_the_end);
	tcase_add_test(t, a_reference_from_outside_is_checked);
	tcase_add_test(t, attaching_shows_the_same_cache);
	tcase_add_test(t, counts_left_half_changed_are_those_before);
	tcase_add_test(t, an_owner_that_is_taken_apart_shows_no_version);
	tcase_add_test(t, who_leaves_for_another_list_is_counted);
	tcase_add_test(t, replayed_writes_leave_no_history);
	tcase_add_test(t, options_without_sense_are_refused);
	tcase_add_test(t, publishing_leaves_what_was_prepared_after_it);
	tcase_add_test(t, what_is_let_go_in_a_grace_period_waits_for_the_next);
	tcase_add_test(t, counts_are_changed_beside_those_that_count);
	tcase_add_test(t, what_is_restored_is_no_newer_than_the_start);
	suite_add_tcase(s, t);
	return run_suite(s);
}
