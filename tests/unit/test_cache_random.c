/* test_cache_random.c - random writes against the model, with everything that
 * readers can ask compared. */
#include "cache_model.h"
#include "tests/unit/suite.h"

static void one_batch(struct model *m)
{
	uint64_t published = m->rv;

	for (unsigned n = rnd(m, 8) + 1; n; n--)
		ck_assert_int_eq(model_prepare(m), 0);
	if (rnd(m, 4) == 0)
		model_abort(m, published + rnd(m, (unsigned)(m->prepared - published + 1)));
	if (rnd(m, 8) == 0)
		model_verify(m);
	model_publish(m);
	while (rnd(m, 2))
		cw_reclaim(m->w, rnd(m, 50));
}

START_TEST(random_writes_match_the_model)
{
	struct model *m = model_open(test_seed(), 200);

	for (int i = 0; i < 4000; i++) {
		one_batch(m);
		if (i % 20 == 0) {
			model_compare(m);
			model_verify(m);
		}
	}
	model_close(m);
}
END_TEST

START_TEST(restored_is_as_it_was)
{
	struct model *m = model_open(test_seed(), 30);

	for (int life = 0; life < 30; life++) {
		for (unsigned n = rnd(m, 60); n; n--)
			one_batch(m);
		model_restart(m);
		model_compare(m);
		model_verify(m);
	}
	model_close(m);
}
END_TEST

/* Delete all, let the window pass: what is left is what an empty cache has. */
START_TEST(nothing_is_left_behind)
{
	struct model *m = model_open(test_seed(), 50);
	const struct arena_stats *stats = cache_arena_stats(m->c);

	for (int i = 0; i < 500; i++)
		one_batch(m);
	for (int k = 0; k < MODEL_KEYS; k++) {
		struct mstate *s = next_state(m, k);
		char buf[32];

		if (!s->live)
			continue;
		s->live = false;
		ck_assert_int_eq(
			cw_prepare_delete(m->w,
					  cw_find(m->w, key_type(k), key_ns(k), key_name(k, buf)),
					  ++m->prepared, 0, 0, &s->v),
			0);
		m->head[k] = (int)(m->prepared - m->start);
	}
	model_publish(m);
	/* The window stays journal_min long, so it takes that many more writes. */
	for (int i = 0; i < 60; i++) {
		uint8_t uid[16];
		struct mstate *s = next_state(m, 3);
		struct version_in in = {0};
		char buf[32];

		uid_of(++m->last_id, uid);
		if (i % 2 == 0)
			ck_assert_int_eq(cw_prepare_create(m->w, T_MAP, key_ns(3), key_name(3, buf),
							   uid, 1, ++m->prepared, &in, &s->v),
					 0);
		else
			ck_assert_int_eq(
				cw_prepare_delete(m->w,
						  cw_find(m->w, T_MAP, key_ns(3), key_name(3, buf)),
						  ++m->prepared, 0, 0, &s->v),
				0);
		model_publish(m);
	}
	for (int i = 0; i < 10; i++)
		cw_reclaim(m->w, 1000);
	model_verify(m);
	ck_assert_uint_eq(stats->count[ARENA_AGGREGATE], 0);
	ck_assert_uint_le(stats->count[ARENA_ENTRY], 26);
	ck_assert_uint_le(stats->count[ARENA_VERSION], 51);
	ck_assert_uint_eq(stats->count[ARENA_BLOB], 1); /* the namespace */
	model_close(m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_random");
	TCase *t = tcase_create("cache_random");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, random_writes_match_the_model);
	tcase_add_test(t, restored_is_as_it_was);
	tcase_add_test(t, nothing_is_left_behind);
	suite_add_tcase(s, t);
	return run_suite(s);
}
