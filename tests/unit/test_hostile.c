/*
 * test_hostile.c - the store under requests that are well formed and false: it
 * goes on, its cache is sound, it recovers what it has written, and what it
 * holds can be printed.
 */
#include "store_rig.h"
#include "tests/fault/hostile.h"
#include "weft/proc.h"

static struct files *fs;
static struct rig rig;
static struct hostile hostile;

static void set_up(void)
{
	rig_set_seed();
	fs = file_sim_new();
	memset(&rig, 0, sizeof(rig));
	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	memset(&hostile, 0, sizeof(hostile));
	hostile.random = rig_seed;
}

static void tear_down(void)
{
	hostile_free(&hostile);
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
}

static void look_around(void)
{
	hostile.c = rig.s.c;
	hostile.nknown = 0;
	for (uint16_t t = 1; t < TYPE_MAX; t++)
		hostile_look(&hostile, t);
}

/* As it would come out of a ring: encoded, and decoded from a copy. */
static void send_false(void)
{
	static struct msg_scratch scratch;
	struct msg m, copy;
	struct err e = {0};
	char *p;

	hostile_message(&hostile, &m);
	p = malloc(msg_size(&m));
	if (!msg_decode((struct str){p, (uint32_t)msg_encode(&m, p)}, &copy, &scratch, &e) &&
	    msg_request(&copy)) {
		struct caller who = {3, 1, 3, PROC_REPLICASET};

		store_apply(&rig.s, &who, &copy);
	}
	free(p);
}

START_TEST(the_store_goes_on)
{
	struct err e = {0};

	for (int round = 0; round < 60; round++) {
		look_around();
		for (int i = 0; i < 50; i++) {
			send_false();
			random_request(&rig);
			if (rnd(4) == 0)
				commit_turn(&rig.c);
		}
		commit_drain(&rig.c);
		cw_reclaim(rig.s.w, 10000);
		if (round % 10 == 9)
			ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
	}
}
END_TEST

START_TEST(what_it_wrote_is_recovered)
{
	struct buf before = {0}, after = {0};
	struct err e = {0};

	for (int round = 0; round < 6; round++) {
		look_around();
		for (int i = 0; i < 200; i++)
			send_false();
		commit_drain(&rig.c);
		dump_cache(&before, rig.s.c);
		rig_kill(&rig);
		ck_assert_msg(!rig_open(&rig, fs, NULL, &e), "%s", e.msg);
		dump_cache(&after, rig.s.c);
		ck_assert_uint_eq(before.n, after.n);
		ck_assert(!memcmp(before.p, after.p, before.n));
	}
	buf_free(&before);
	buf_free(&after);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hostile");
	TCase *t = tcase_create("hostile");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_store_goes_on);
	tcase_add_test(t, what_it_wrote_is_recovered);
	suite_add_tcase(s, t);
	return rig_run(s);
}
