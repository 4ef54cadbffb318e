/* test_cache_memory.c - memory running out at every allocation: the write is
 * refused, and the cache is as it was. */
#include "cache_model.h"
#include "tests/unit/suite.h"

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

/* --- A full segment --------------------------------------------------------------- */

struct full {
	struct cache_writer *w;
	uint64_t rv;
	int n; /* objects obj-0 ... obj-(n-1) */
	char name[SEG_NAME_MAX];
};

static void publish_at(struct full *f, struct version *v)
{
	cw_publish(f->w, v);
	cw_commit_rv(f->w, ++f->rv);
	cw_reclaim(f->w, 100);
}

static struct str obj_name(int i, char buf[32])
{
	snprintf(buf, 32, "obj-%d", i);
	return str_of(buf);
}

static int create_big(struct full *f, int i)
{
	struct version_in in = {.mask = 1 << PART_SPEC};
	char text[2000], obj[32];
	uint8_t uid[16];
	struct version *v;
	int err;

	memset(text, 'x', sizeof(text));
	snprintf(text, sizeof(text), "%d", i);
	in.part[PART_SPEC] = (struct str){text, sizeof(text)};
	uid_of((uint64_t)i + 1, uid);
	err = cw_prepare_create(f->w, T_MAP, STR("ns"), obj_name(i, obj), uid, 1, f->rv + 1, &in,
				&v);
	if (!err)
		publish_at(f, v);
	return err;
}

static void full_open(struct full *f)
{
	/* The window is longer than all that this test writes. */
	struct cache_options opt = {
		.size_max = UINT64_C(4) << 20, .pod_type = T_POD, .node_type = T_NODE};
	uint8_t id[16] = {0};
	struct err e;
	int err;

	*f = (struct full){0};
	model_name(f->name);
	seg_unlink(f->name, NULL);
	if (cw_create(&f->w, f->name, 1, id, 0, &opt, &e))
		ck_abort_msg("cw_create: %s", e.msg);
	while (!(err = create_big(f, f->n)))
		f->n++;
	ck_assert_int_eq(err, WEFT_ENOMEM);
	ck_assert_int_gt(f->n, 500);
}

static void full_close(struct full *f)
{
	struct err e;

	if (cw_verify(f->w, &e))
		ck_abort_msg("%s", e.msg);
	cw_close(f->w);
	seg_unlink(f->name, NULL);
}

START_TEST(a_full_segment_can_be_read)
{
	struct full f;

	full_open(&f);
	ck_assert_ptr_nonnull(cache_find(cw_cache(f.w), T_MAP, STR("ns"), STR("obj-17")));
	full_close(&f);
}
END_TEST

/* Every deletion works at once, though each needs a little memory itself; and
 * what they free is there for new objects, however long the window is. */
START_TEST(a_full_segment_can_be_emptied)
{
	struct version_in terminating = {.deletion_s = 1};
	struct version *v;
	struct full f;
	char obj[32];

	full_open(&f);
	for (int i = 0; i < f.n; i++) {
		struct entry *e = cw_find(f.w, T_MAP, STR("ns"), obj_name(i, obj));

		ck_assert_int_eq(cw_prepare_update(f.w, e, f.rv + 1, &terminating, &v), 0);
		publish_at(&f, v);
		ck_assert_int_eq(cw_prepare_delete(f.w, e, f.rv + 1, 0, 0, &v), 0);
		publish_at(&f, v);
	}
	ck_assert_uint_eq(cache_type_count(cw_cache(f.w), T_MAP), 0);
	for (int i = 0; i < 5; i++)
		cw_reclaim(f.w, UINT32_MAX);
	for (int i = 0; i < f.n / 2; i++)
		ck_assert_int_eq(create_big(&f, f.n + i), 0);
	full_close(&f);
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

	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_allocation_may_fail);
	tcase_add_test(t, a_full_segment_can_be_read);
	tcase_add_test(t, a_full_segment_can_be_emptied);
	tcase_add_test(t, creating_a_cache_may_fail);
	suite_add_tcase(s, t);
	return run_suite(s);
}
