/*
 * test_store_recovery.c - what a store has acknowledged is there again, exactly,
 * whenever the power goes; replay makes the state that was there; a disk that
 * refuses writes is survived.
 */
#include "store_rig.h"

static struct files *fs;

static void set_up(void)
{
	rig_set_seed();
	fs = file_sim_new();
}

static void tear_down(void)
{
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
}

static void check_same(const struct buf *a, const struct buf *b)
{
	const char *x = a->p, *y = b->p;

	if (a->n == b->n && !memcmp(a->p, b->p, a->n))
		return;
	while (*x && *x == *y)
		x++, y++;
	while (x > a->p && x[-1] != '\n')
		x--, y--;
	ck_abort_msg("differs:\nis:        %.600s\nshould be: %.600s", x, y);
}

START_TEST(replay_equals_the_state_before)
{
	struct buf before = {0}, after = {0};
	struct rig rig = {0};
	struct err e = {0};

	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	for (int round = 0; round < 12; round++) {
		uint64_t rv;

		for (int i = 0; i < 120; i++) {
			random_request(&rig);
			rig.c.prompt = rnd(2);
			if (rnd(4) == 0)
				commit_turn(&rig.c);
			if (rnd(20) == 0)
				cw_reclaim(rig.s.w, 10000);
		}
		commit_drain(&rig.c);
		ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		dump_cache(&before, rig.s.c);
		rv = rig.s.rv;
		if (rnd(2))
			ck_assert_int_eq(commit_finish(&rig.c, &e), WEFT_OK);
		rig_kill(&rig);
		rig_must_open(&rig, fs, NULL);
		dump_cache(&after, rig.s.c);
		check_same(&after, &before);
		ck_assert_uint_ge(rig.s.rv, rv);
		ck_assert_uint_eq(cache_rv(rig.s.c), rig.s.rv);
	}
	ck_assert_uint_gt(before.n, 1000);
	rig_kill(&rig);
	buf_free(&before);
	buf_free(&after);
}
END_TEST

/* Run until the power goes at sync k.  `acked` is the state of the last batch
 * that was acknowledged, `flying` the one that was under way, if any. */
static void run_until_cut(struct rig *rig, struct buf *acked, struct buf *flying)
{
	dump_cache(acked, rig->s.c);
	while (!file_sim_is_cut(fs)) {
		unsigned n = 1 + rnd(6);

		for (unsigned i = 0; i < n; i++)
			random_request(rig);
		rig->lost = false;
		commit_drain(&rig->c);
		if (!rig->lost)
			dump_cache(acked, rig->s.c);
	}
	/* Aborted cleanly: readers see what was acknowledged. */
	dump_cache(flying, rig->s.c);
	check_same(flying, acked);
}

START_TEST(power_cut_at_every_sync)
{
	struct buf acked = {0}, none = {0}, now = {0}, again = {0};
	struct rig rig = {0};
	struct err e = {0};

	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	for (int k = 0; k < 60; k++) {
		uint64_t rv = rig.s.rv;

		file_sim_cut_after(fs, (int64_t)rnd(12));
		run_until_cut(&rig, &acked, &none);
		rig_kill(&rig);
		file_sim_power_on(fs, rig_seed + (unsigned)k);
		rig_must_open(&rig, fs, NULL);
		ck_assert_uint_ge(rig.s.rv, rv);
		dump_cache(&now, rig.s.c);
		/* The batch that was under way is there whole or not at all: then
		 * a second recovery shows the same. */
		rig_kill(&rig);
		rig_must_open(&rig, fs, NULL);
		dump_cache(&again, rig.s.c);
		check_same(&again, &now);
		if (rig.r.batches == 0 && k > 0)
			check_same(&now, &acked);
	}
	ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
	rig_kill(&rig);
	buf_free(&acked);
	buf_free(&none);
	buf_free(&now);
	buf_free(&again);
}
END_TEST

/* Of many that memory did not suffice for, those that were made are the ones that
 * come back, under their names. */
START_TEST(a_part_of_many_comes_back)
{
	struct buf before = {0}, after = {0};
	struct rig rig = {0};
	uint32_t partly = 0;

	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	for (int64_t k = 0; k < 42; k++) {
		struct msg m = {.kind = MSG_create_many,
				.create_many = {.type = TYPE_POD,
						.ns = STR("a"),
						.prefix = STR("web-"),
						.count = k < 40 ? 50 : BULK_STRETCH_MIN}};

		arena_fail_after(cw_arena(rig.s.w), k < 40 ? 3 * k : 9000);
		rig_do(&rig, &m);
		arena_fail_after(cw_arena(rig.s.w), -1);
		partly += rig.last.status == WEFT_ENOMEM && rig.last.done;
		dump_cache(&before, rig.s.c);
		rig_kill(&rig);
		rig_must_open(&rig, fs, NULL);
		dump_cache(&after, rig.s.c);
		check_same(&after, &before);
	}
	ck_assert_uint_gt(partly, 12);
	rig_kill(&rig);
	buf_free(&before);
	buf_free(&after);
}
END_TEST

/* --- Names from a stretch: part of the log's format --------------------------------- */

/* A store that replays into an empty cache. */
static void replay_begin(struct store *s)
{
	const struct cache_options options = {.pod_type = TYPE_POD,
					      .node_type = TYPE_NODE,
					      .size_max = 1u << 30,
					      .journal_min = 512,
					      .journal_max = 1024};
	struct cache_writer *w;
	struct err e = {0};
	char name[SEG_NAME_MAX];

	snprintf(name, sizeof(name), "/weft.replay-%d", getpid());
	seg_unlink(name, NULL);
	ck_assert_int_eq(cw_create(&w, name, 1, rig_cluster, 1000000, &options, &e), WEFT_OK);
	seg_unlink(name, NULL);
	store_init(s, w);
	s->rv = 5;
}

static void replay_end(struct store *s)
{
	struct cache_writer *w = s->w;

	store_free(s);
	cw_close(w);
}

static int replay_stretch(struct store *s, unsigned sorted, uint32_t count, uint32_t of)
{
	struct rec r = {.kind = REC_create_many};
	struct err e = {0};

	r.create_many = (struct rec_create_many){
		.rv = s->rv + 1,
		.type = TYPE_POD,
		.ns = STR("a"),
		.prefix = STR("web-"),
		.count = count,
		.seed = {"sixteen bytes...", 16},
		.sorted = (uint8_t)sorted,
		.of = of,
	};
	return replay_record(s, &r, &e);
}

START_TEST(names_of_a_stretch_stay_what_they_are)
{
	static const struct {
		const char *name, *uid;
	} want[] = {
		{"web-62222", "09d9d4e0-e8bf-4364-9a4e-b482520dfd38"},
		{"web-6222l", "f97b91d6-3445-4672-bb66-31e35f51f0da"},
		{"web-6222s", "c47aec75-81bf-43c1-9c75-afe49b08e700"},
	};
	struct cache_iter it;
	struct store s;
	char uid[37];

	replay_begin(&s);
	ck_assert_int_eq(replay_stretch(&s, 5, countof(want), 200000), WEFT_OK);
	cache_iter_init(&it, s.c, TYPE_POD, STR("a"), STR(""), (struct str){NULL, 0});
	for (size_t i = 0; i < countof(want); i++) {
		const struct entry *e = cache_iter_next(&it);

		ck_assert_ptr_nonnull(e);
		uid_format(e->uid, uid);
		ck_assert_str_eq(e->name, want[i].name);
		ck_assert_str_eq(uid, want[i].uid);
	}
	replay_end(&s);
}
END_TEST

START_TEST(a_stretch_that_does_not_exist_is_damage)
{
	struct store s;

	replay_begin(&s);
	ck_assert_int_eq(replay_stretch(&s, 29, 1, 0), WEFT_ECORRUPT);
	ck_assert_int_eq(replay_stretch(&s, 255, 1, 0), WEFT_ECORRUPT);
	ck_assert_int_eq(replay_stretch(&s, 2, 0, 0), WEFT_ECORRUPT);
	ck_assert_int_eq(replay_stretch(&s, 2, 1, CREATE_MANY_MAX + 1), WEFT_ECORRUPT);
	/* The last stretch, with room for so many. */
	ck_assert_int_eq(replay_stretch(&s, 28, 1, 66431), WEFT_ECORRUPT);
	ck_assert_int_eq(replay_stretch(&s, 28, 1, 66430), WEFT_OK);
	replay_end(&s);
}
END_TEST

/* Each acknowledged create is there after the cut, each refused one is not seen
 * by readers before it. */
START_TEST(acknowledged_is_there)
{
	struct rig rig = {0};
	uint32_t made = 0;
	char name[32];

	rig_must_open(&rig, fs, NULL);
	rig_namespace(&rig, "a");
	for (int k = 0; k < 80; k++) {
		struct msg m;
		bool extra;

		file_sim_cut_after(fs, (int64_t)rnd(4));
		for (;;) {
			snprintf(name, sizeof(name), "c-%u", made);
			m = rig_create(TYPE_CONFIGMAP, "a", name);
			if (rig_do(&rig, &m)->status)
				break;
			made++;
		}
		ck_assert_int_eq(rig.last.status, WEFT_EIO);
		ck_assert_ptr_null(rig_get(&rig, TYPE_CONFIGMAP, "a", name));
		rig_kill(&rig);
		file_sim_power_on(fs, rig_seed + (unsigned)k);
		rig_must_open(&rig, fs, NULL);
		for (uint32_t i = 0; i < made; i++) {
			snprintf(name, sizeof(name), "c-%u", i);
			ck_assert_ptr_nonnull(rig_get(&rig, TYPE_CONFIGMAP, "a", name));
		}
		snprintf(name, sizeof(name), "c-%u", made);
		extra = rig_get(&rig, TYPE_CONFIGMAP, "a", name) != NULL;
		made += extra;
	}
	rig_kill(&rig);
}
END_TEST

START_TEST(a_full_disk_refuses_writes_and_recovers)
{
	static const int codes[] = {WEFT_ENOSPC, WEFT_EIO};
	struct buf before = {0}, after = {0};
	struct rig rig = {0};
	struct err e = {0};

	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	for (int k = 0; k < 40; k++) {
		struct msg m = rig_create(TYPE_CONFIGMAP, "a", "probe");

		for (int i = 0; i < 10; i++)
			random_request(&rig);
		commit_drain(&rig.c);
		dump_cache(&before, rig.s.c);
		file_sim_fail_after(fs, 0, codes[k % 2]);
		for (int i = 0; i < 10; i++) {
			random_request(&rig);
			rig.c.prompt = k % 4 < 2;
			commit_turn(&rig.c);
		}
		ck_assert_int_eq(rig_do(&rig, &m)->status, codes[k % 2]);
		ck_assert(rig.message[0]);
		dump_cache(&after, rig.s.c);
		check_same(&after, &before);
		ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
		file_sim_heal(fs);
		ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
		m = rig_remove(TYPE_CONFIGMAP, "a", "probe");
		ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
		dump_cache(&before, rig.s.c);
		if (k % 5 == 0) {
			rig_kill(&rig);
			rig_must_open(&rig, fs, NULL);
			dump_cache(&after, rig.s.c);
			check_same(&after, &before);
		}
	}
	rig_kill(&rig);
	buf_free(&before);
	buf_free(&after);
}
END_TEST

/* resourceVersions of writes that were not logged are not given out again. */
START_TEST(memory_writes_keep_their_resource_versions)
{
	struct rig rig = {0};
	uint64_t seen = 0;
	char name[32];

	rig_must_open(&rig, fs, NULL);
	rig_namespace(&rig, "a");
	for (int k = 0; k < 3; k++) {
		uint64_t syncs = file_sim_syncs(fs);

		for (int i = 0; i < 200; i++) {
			struct msg m = rig_create(TYPE_EVENT, "a", name);

			snprintf(name, sizeof(name), "e-%d", i);
			m.create.name = str_of(name);
			ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
			ck_assert_uint_gt(rig.last.rv, seen);
			seen = rig.last.rv;
		}
		ck_assert_uint_le(file_sim_syncs(fs) - syncs, 4);
		rig_kill(&rig);
		rig_must_open(&rig, fs, NULL);
		ck_assert_uint_ge(rig.s.rv, seen);
		ck_assert_ptr_null(rig_get(&rig, TYPE_EVENT, "a", "e-1"));
	}
	rig_kill(&rig);
}
END_TEST

START_TEST(a_damaged_log_stops_the_start)
{
	struct rig rig = {0};
	struct err e = {0};
	struct msg m;

	rig_must_open(&rig, fs, NULL);
	rig_namespace(&rig, "a");
	m = rig_create(TYPE_CONFIGMAP, "a", "one");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	rig_kill(&rig);
	ck_assert_int_eq(file_sim_damage(fs, "log-00000001", 64 + 64 + 20), WEFT_OK);
	ck_assert_int_eq(rig_open(&rig, fs, NULL, &e), WEFT_ECORRUPT);
	ck_assert_msg(strstr(e.msg, "'log-00000001' is damaged at offset 64"), "%s", e.msg);
}
END_TEST

START_TEST(identity_of_a_data_directory)
{
	uint8_t id[16], again[16];
	struct err e = {0};
	int fd;

	ck_assert_int_eq(data_identify(fs, id, &e), WEFT_OK);
	ck_assert_int_eq(data_identify(fs, again, &e), WEFT_OK);
	ck_assert(!memcmp(id, again, 16));
	ck_assert_int_eq(fs->ops->open(fs, DATA_FILE, true, &fd, &e), WEFT_OK);
	ck_assert_int_eq(fs->ops->write(fs, fd, "weft data 9\ncluster 00\n", 23, 0, &e), WEFT_OK);
	ck_assert_int_eq(data_identify(fs, id, &e), WEFT_ELAYOUT);
	ck_assert_ptr_nonnull(strstr(e.msg, "format 9"));
	ck_assert_int_eq(fs->ops->write(fs, fd, "rubbish here", 12, 0, &e), WEFT_OK);
	ck_assert_int_eq(data_identify(fs, id, &e), WEFT_ECORRUPT);
}
END_TEST

/* Events one after the other until one is refused, `n` at most; returns the last one's
 * resourceVersion. */
static uint64_t make_events(struct rig *rig, const char *prefix, uint32_t n)
{
	uint64_t seen = 0;
	char name[32];

	for (uint32_t i = 0; i < n; i++) {
		struct msg m;

		snprintf(name, sizeof(name), "%s-%u", prefix, i);
		m = rig_create(TYPE_EVENT, "a", name);
		if (rig_do(rig, &m)->status)
			break;
		seen = rig->last.rv;
	}
	return seen;
}

/* ... and are not given out beyond what the log has taken, though it was asked for more. */
START_TEST(memory_writes_stay_below_what_the_log_has_promised)
{
	struct rig rig = {0};
	uint64_t seen;
	struct msg m;

	rig_must_open(&rig, fs, NULL);
	rig_namespace(&rig, "a");
	make_events(&rig, "early", RV_AHEAD - 20);
	file_sim_fail_after(fs, 0, WEFT_EIO);
	m = rig_create(TYPE_CONFIGMAP, "a", "refused");
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_EIO);
	seen = make_events(&rig, "late", 100);
	ck_assert_uint_gt(seen, RV_AHEAD - 20);
	file_sim_heal(fs);
	rig_kill(&rig);
	rig_must_open(&rig, fs, NULL);
	ck_assert_uint_ge(rig.s.rv, seen);
	rig_kill(&rig);
}
END_TEST

/* Its first file is missing: nothing leads from the checkpoint, here none, to what is left. */
START_TEST(a_log_that_begins_too_late_stops_the_start)
{
	struct rig rig = {0};
	struct err e = {0};
	struct buf text = {0};
	struct msg m;

	rig_must_open(&rig, fs, NULL);
	rig_namespace(&rig, "a");
	buf_puts(&text, "{'data':{'k':'");
	for (uint32_t i = 0; i < LOG_SEGMENT_MIN; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, "'}}");
	buf_putc(&text, '\0');
	m = rig_create(TYPE_CONFIGMAP, "a", "big");
	m.create.rest = rig_part(text.p);
	ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	ck_assert_uint_eq(log_segments(rig.log), 2);
	rig_kill(&rig);
	ck_assert_int_eq(fs->ops->remove(fs, "log-00000001", &e), WEFT_OK);
	ck_assert_int_eq(rig_open(&rig, fs, NULL, &e), WEFT_ECORRUPT);
	ck_assert_msg(strstr(e.msg, "begins after resourceVersion 1"), "%s", e.msg);
	buf_free(&text);
}
END_TEST

/* A checkpoint may end in the middle of a record of many. */
START_TEST(of_a_record_what_the_checkpoint_has_is_left_out)
{
	static uint8_t uids[2][16];
	struct rec r = {.kind = REC_gone};
	struct cache_iter it;
	struct err e = {0};
	struct store s;

	replay_begin(&s);
	s.replay_after = s.rv + 2;
	ck_assert_int_eq(replay_stretch(&s, 5, 3, 200000), WEFT_OK);
	ck_assert_uint_eq(cache_type_count(s.c, TYPE_POD), 1);
	cache_iter_init(&it, s.c, TYPE_POD, STR("a"), STR(""), (struct str){NULL, 0});
	memcpy(uids[1], cache_iter_next(&it)->uid, 16); /* the first has gone already */
	s.replay_after = s.rv + 1;
	r.gone = (struct rec_gone){.rv = s.rv + 1, .uids = {(const uint8_t(*)[16])uids, 2}};
	ck_assert_msg(!replay_record(&s, &r, &e), "%s", e.msg);
	ck_assert_uint_eq(cache_type_count(s.c, TYPE_POD), 0);
	replay_end(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("store_recovery");
	TCase *t = tcase_create("recovery");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, replay_equals_the_state_before);
	tcase_add_test(t, power_cut_at_every_sync);
	tcase_add_test(t, a_part_of_many_comes_back);
	tcase_add_test(t, names_of_a_stretch_stay_what_they_are);
	tcase_add_test(t, a_stretch_that_does_not_exist_is_damage);
	tcase_add_test(t, acknowledged_is_there);
	tcase_add_test(t, a_full_disk_refuses_writes_and_recovers);
	tcase_add_test(t, memory_writes_keep_their_resource_versions);
	tcase_add_test(t, a_damaged_log_stops_the_start);
	tcase_add_test(t, identity_of_a_data_directory);
	tcase_add_test(t, memory_writes_stay_below_what_the_log_has_promised);
	tcase_add_test(t, a_log_that_begins_too_late_stops_the_start);
	tcase_add_test(t, of_a_record_what_the_checkpoint_has_is_left_out);
	suite_add_tcase(s, t);
	return rig_run(s);
}
