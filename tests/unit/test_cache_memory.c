/* test_cache_memory.c - memory running out at every allocation: the write is
 * refused, and the cache is as it was. */
#include "cache_model.h"

/* Let the k-th allocation of each write fail, for k = 0, 1, 2 ... until the
 * write gets through; verify after each refusal. */
static void prepare_against_failures(struct model *m)
{
	for (int64_t k = 0;; k++) {
		unsigned seed = m->seed;
		uint64_t id = m->last_id;
		int err;

		arena_fail_after(cw_arena(m->w), k);
		err = model_prepare(m);
		arena_fail_after(cw_arena(m->w), -1);
		if (!err)
			return;
		ck_assert_int_eq(err, WEFT_ENOMEM);
		ck_assert_int_lt(k, 64);
		model_verify(m);
		m->seed = seed; /* the same write again */
		m->last_id = id;
	}
}

START_TEST(every_allocation_may_fail)
{
	struct model *m = model_open(test_seed(), 30);

	for (int i = 0; i < 300; i++) {
		uint64_t published = m->rv;

		for (unsigned n = rnd(m, 4) + 1; n; n--)
			prepare_against_failures(m);
		if (rnd(m, 4) == 0)
			model_abort(m, published + rnd(m, (unsigned)(m->prepared - published + 1)));
		/* Nothing from here on may need memory. */
		arena_fail_after(cw_arena(m->w), 0);
		model_publish(m);
		cw_reclaim(m->w, 1 + rnd(m, 20));
		cw_reclaim(m->w, 1 + rnd(m, 20));
		arena_fail_after(cw_arena(m->w), -1);
		if (i % 10 == 0)
			model_compare(m);
	}
	model_verify(m);
	model_close(m);
}
END_TEST

/* A segment that is full refuses writes, serves reads, and takes writes again
 * once something has been deleted and the window has passed it. */
START_TEST(a_full_segment_recovers)
{
	struct cache_options opt = {.size_max = UINT64_C(4) << 20,
				    .journal_min = 16,
				    .journal_max = 16,
				    .pod_type = T_POD,
				    .node_type = T_NODE};
	struct version_in in = {.mask = 1 << PART_SPEC};
	uint8_t id[16] = {0}, uid[16];
	struct cache_writer *w;
	struct version *v;
	uint64_t rv = 0;
	int n, err;
	char name[SEG_NAME_MAX], text[2000], obj[32];
	struct err e;

	model_name(name);
	seg_unlink(name, NULL);
	if (cw_create(&w, name, 1, id, 0, &opt, &e))
		ck_abort_msg("cw_create: %s", e.msg);
	in.part[PART_SPEC] = (struct str){text, sizeof(text)};
	for (n = 0;; n++) {
		memset(text, 'x', sizeof(text));
		snprintf(text, sizeof(text), "%d", n);
		snprintf(obj, sizeof(obj), "obj-%d", n);
		uid_of((uint64_t)n + 1, uid);
		err = cw_prepare_create(w, T_MAP, STR("ns"), str_of(obj), uid, 1, rv + 1, &in, &v);
		if (err)
			break;
		cw_publish(w, v);
		cw_commit_rv(w, ++rv);
		cw_reclaim(w, 100);
	}
	ck_assert_int_eq(err, WEFT_ENOMEM);
	ck_assert_int_gt(n, 500);
	ck_assert_ptr_nonnull(cache_find(cw_cache(w), T_MAP, STR("ns"), STR("obj-17")));
	if (cw_verify(w, &e))
		ck_abort_msg("full: %s", e.msg);
	/* Even a delete needs a little; a cache that is quite full gets there by
	 * shedding what the window holds. */
	for (int i = 0; i < n; i++) {
		struct entry *victim;

		snprintf(obj, sizeof(obj), "obj-%d", i);
		victim = cw_find(w, T_MAP, STR("ns"), str_of(obj));
		if (cw_prepare_delete(w, victim, rv + 1, 0, 0, &v) == 0) {
			cw_publish(w, v);
			cw_commit_rv(w, ++rv);
		}
		cw_reclaim(w, 100);
	}
	ck_assert_uint_lt(cache_type_count(cw_cache(w), T_MAP), 5);
	if (cw_verify(w, &e))
		ck_abort_msg("emptied: %s", e.msg);
	uid_of(1u << 30, uid);
	ck_assert_int_eq(cw_prepare_create(w, T_MAP, STR("ns"), STR("again"), uid, 1, rv + 1, &in, &v),
			 0);
	cw_abort(w, v);
	cw_close(w);
	seg_unlink(name, NULL);
}
END_TEST

START_TEST(creating_a_cache_may_fail)
{
	struct cache_options opt = {.size_max = 4096, .pod_type = 1, .node_type = 2};
	struct cache_writer *w;
	uint8_t id[16] = {0};
	char name[SEG_NAME_MAX];
	struct err e;

	model_name(name);
	seg_unlink(name, NULL);
	ck_assert_int_ne(cw_create(&w, name, 1, id, 0, &opt, &e), 0);
	opt.size_max = UINT64_C(1) << 30;
	ck_assert_int_eq(cw_create(&w, name, 1, id, 0, &opt, &e), 0); /* nothing was left */
	cw_close(w);
	seg_unlink(name, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_memory");
	TCase *t = tcase_create("cache_memory");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_allocation_may_fail);
	tcase_add_test(t, a_full_segment_recovers);
	tcase_add_test(t, creating_a_cache_may_fail);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed;
}
