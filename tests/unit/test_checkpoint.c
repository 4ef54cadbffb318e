/*
 * test_checkpoint.c - the tables in LMDB against the cache: following, losing
 * the journal, a full map, damage; and recovery from tables and log together.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "procs/checkpoint/follow.h"
#include "procs/checkpoint/table_priv.h"
#include "store_rig.h"

static struct files *fs;
static char dir[64];
static struct prcu_reader reader;

static void set_up(void)
{
	rig_set_seed();
	fs = file_sim_new();
	strcpy(dir, "/tmp/weft-checkpoint-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	memset(&reader, 0, sizeof(reader));
}

static void tear_down(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	unlink(path);
	rmdir(dir);
	file_sim_free(fs);
	if (rig_zone)
		zone_free(rig_zone);
	rig_zone = NULL;
}

static struct cache *attach(struct rig *rig)
{
	struct prcu_reader *readers[] = {&reader};
	struct cache *c;
	struct err e = {0};

	ck_assert_msg(!cache_attach(&c, rig->name, &reader, &e), "%s", e.msg);
	cw_set_readers(rig->s.w, readers, 1);
	return c;
}

static void follow(struct follower *f, struct cache *c)
{
	struct err e = {0};
	int rc = follow_round(f, c, &e);

	ck_assert_msg(!rc, "%s", e.msg);
	ck_assert_uint_eq(follow_rv(f), cache_rv(c));
}

static void churn(struct rig *rig, int n)
{
	for (int i = 0; i < n; i++) {
		random_request(rig);
		if (rnd(8) == 0)
			commit_drain(&rig->c);
		if (rnd(16) == 0)
			cw_reclaim(rig->s.w, 10000);
	}
	commit_drain(&rig->c);
}

/* Recover from the tables and the log, and compare. */
static void check_recovery(struct rig *rig, const char *what)
{
	struct buf before = {0}, after = {0};

	dump_cache(&before, rig->s.c);
	rig_kill(rig);
	rig_must_open(rig, fs, dir);
	dump_cache(&after, rig->s.c);
	ck_assert_msg(before.n == after.n && !memcmp(before.p, after.p, after.n),
		      "%s: recovered state differs", what);
	buf_free(&before);
	buf_free(&after);
}

START_TEST(follows_and_recovers)
{
	struct follower *f = NULL;
	struct cache *c = NULL;
	struct rig rig = {0};
	struct err e = {0};

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	for (int k = 0; k < 30; k++) {
		if (!c)
			c = attach(&rig);
		if (!f)
			ck_assert_msg(!follow_open(&f, dir, rig_cluster, &e), "%s", e.msg);
		churn(&rig, 10 + (int)rnd(60));
		follow(f, c);
		ck_assert_int_eq(log_cut(rig.log, follow_rv(f), &e), WEFT_OK);
		if (rnd(2))
			churn(&rig, (int)rnd(40)); /* the log's tail */
		if (rnd(3))
			continue;
		cache_detach(c);
		c = NULL;
		if (rnd(2)) {
			follow_close(f);
			f = NULL;
		}
		check_recovery(&rig, "tables and tail");
	}
	if (c)
		cache_detach(c);
	follow_close(f);
	check_recovery(&rig, "at the end");
	ck_assert_uint_gt(rig.r.checkpoint_rv, 0);
	rig_kill(&rig);
}
END_TEST

/* There are some dozen sections: one for each type at least. */
static void churn_between(void *arg)
{
	if (!rnd(16))
		churn(arg, (int)rnd(rnd(8) ? 20 : 400));
}

/* A round that stands still while others write is of one resourceVersion all the same, or
 * is given up: the tables are as before then, and the next one is made as ever. */
START_TEST(others_write_between_sections)
{
	struct rig rig = {0};
	int gone = 0;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	for (int k = 0; k < 20; k++) {
		struct cache *c = attach(&rig);
		struct follower *f;
		struct err e = {0};
		uint64_t rv, before;
		int rc;

		ck_assert_msg(!follow_open(&f, dir, rig_cluster, &e), "%s", e.msg);
		follow_between(f, churn_between, &rig);
		churn(&rig, 10 + (int)rnd(60));
		rv = follow_rv(f);
		before = cache_rv(c);
		rc = follow_round(f, c, &e);
		if (rc) {
			ck_assert_int_eq(rc, WEFT_EGONE);
			ck_assert_uint_eq(follow_rv(f), rv);
			gone++;
			follow_between(f, NULL, NULL);
			follow(f, c);
		}
		ck_assert_uint_ge(follow_rv(f), before);
		ck_assert_int_eq(log_cut(rig.log, follow_rv(f), &e), WEFT_OK);
		follow_close(f);
		cache_detach(c);
		check_recovery(&rig, "writes between sections");
	}
	ck_assert_int_lt(gone, 20);
	rig_kill(&rig);
}
END_TEST

START_TEST(compares_when_the_journal_has_moved_on)
{
	struct follower *f;
	struct cache *c;
	struct rig rig = {0};
	struct err e = {0};
	uint64_t scans;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	churn(&rig, 200);
	follow(f, c);
	scans = follow_scans(f);
	while (cache_oldest(c) <= follow_rv(f) + 1)
		churn(&rig, 200);
	follow(f, c);
	ck_assert_uint_eq(follow_scans(f), scans + 1);
	ck_assert_int_eq(log_cut(rig.log, follow_rv(f), &e), WEFT_OK);
	cache_detach(c);
	follow_close(f);
	check_recovery(&rig, "after a scan");
	rig_kill(&rig);
}
END_TEST

/* A row for each object, a blob for what is shared, counts that fit. */
START_TEST(blobs_are_counted)
{
	struct follower *f;
	struct cache *c;
	struct rig rig = {0};
	struct err e = {0};
	struct table *t;
	MDB_stat blobs;
	struct msg m = {.kind = MSG_create_many,
			.create_many = {.type = TYPE_POD,
					.ns = STR("a"),
					.prefix = STR("p-"),
					.count = 500,
					.spec = random_spec(),
					.labels = rig_part("{'app':'web'}")}};

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	ck_assert_uint_eq(rig_do(&rig, &m)->done, 500);
	follow(f, c);
	for (int k = 0; k < 2; k++) {
		follow_close(f);
		ck_assert_int_eq(table_open(&t, dir, rig_cluster, &e), WEFT_OK);
		ck_assert_uint_eq(table_objects(t), k ? 3 : 503);
		ck_assert_int_eq(table_begin(t, &e), WEFT_OK);
		ck_assert_int_eq(mdb_stat(t->txn, t->blobs, &blobs), 0);
		if (k)
			ck_assert_uint_le(blobs.ms_entries, 2); /* the namespaces' */
		else
			ck_assert_uint_ge(blobs.ms_entries, 2);
		table_close(t);
		ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
		if (!k) {
			struct cache_iter it;
			const struct entry *o;
			struct msg d;

			cache_iter_init(&it, rig.s.c, TYPE_POD, STR("a"), (struct str){0},
					(struct str){0});
			while ((o = cache_iter_next(&it))) {
				d = rig_remove(TYPE_POD, "a", o->name);
				rig_send(&rig, &d);
			}
			commit_drain(&rig.c);
			follow(f, c);
		}
	}
	follow_close(f);
	cache_detach(c);
	rig_kill(&rig);
}
END_TEST

START_TEST(a_full_map_grows)
{
	struct follower *f;
	struct cache *c;
	struct rig rig = {0};
	struct err e = {0};
	struct table *t;
	struct buf big = {0};
	value v = v_map();
	char *text = malloc(200000);

	ck_assert_int_eq(table_open(&t, dir, rig_cluster, &e), WEFT_OK);
	table_close(t);
	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	follow_set_map(f, 1 << 20);
	memset(text, 'x', 200000);
	rig_part("{}");
	v_set(rig_zone, &v, "data", v_str((struct str){text, 200000}));
	v_encode(&big, &v);
	for (int i = 0; i < 40; i++) {
		char name[16];
		struct msg m;

		snprintf(name, sizeof(name), "big-%d", i);
		m = rig_create(TYPE_CONFIGMAP, "a", name);
		m.create.rest = buf_str(&big);
		big.p[big.n - 1] = (char)('a' + i);
		ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
	}
	follow(f, c);
	cache_detach(c);
	follow_close(f);
	check_recovery(&rig, "after growing");
	rig_kill(&rig);
	buf_free(&big);
	free(text);
}
END_TEST

/* Bits flipped in the pages of rows and blobs are found and named.  LMDB's own
 * page structure has no checksum, so a child looks: what it must never do is to
 * come up with other content. */
START_TEST(damage_is_found)
{
	struct buf before = {0};
	struct rig rig = {0};
	struct err e = {0};
	struct follower *f;
	struct cache *c;
	char path[128];
	struct stat st;
	int fd, found = 0;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	churn(&rig, 400);
	follow(f, c);
	follow_close(f);
	cache_detach(c);
	dump_cache(&before, rig.s.c);
	rig_kill(&rig);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	for (int i = 0; i < 60; i++) {
		off_t at = (off_t)rnd((unsigned)st.st_size);
		char byte, bad;
		int status;
		pid_t pid;

		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		bad = (char)(byte ^ (1 << rnd(8)));
		ck_assert_int_eq(pwrite(fd, &bad, 1, at), 1);
		fflush(NULL);
		pid = fork();
		if (!pid) {
			struct buf after = {0};
			int rc = rig_open(&rig, fs, dir, &e);

			if (rc)
				_exit(e.msg[0] && rc != WEFT_OK ? 1 : 3);
			dump_cache(&after, rig.s.c);
			seg_unlink(rig.name, NULL);
			_exit(after.n == before.n && !memcmp(after.p, before.p, after.n) ? 0 : 2);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status))
			ck_assert_msg(WEXITSTATUS(status) <= 1, "bit at %ld: status %d", (long)at,
				      WEXITSTATUS(status));
		snprintf(rig.name, sizeof(rig.name), "/weft.rig-%d.%u", pid, rig.generation + 1);
		seg_unlink(rig.name, NULL); /* of a child that LMDB took down */
		found += WIFEXITED(status) && WEXITSTATUS(status) == 1;
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	ck_assert_int_gt(found, 0);
	ck_assert_int_eq(ftruncate(fd, st.st_size / 4096 / 2 * 4096), 0);
	ck_assert_int_eq(rig_open(&rig, fs, dir, &e), WEFT_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "data.mdb"));
	ck_assert_ptr_nonnull(strstr(e.msg, "restore the data directory"));
	close(fd);
	buf_free(&before);
}
END_TEST

#define DB_ENTRIES 32 /* where a database's number of rows stands behind its name */

/* How many rows there are is LMDB's own word for it, and no checksum's. */
START_TEST(a_number_of_blobs_that_cannot_be_is_found)
{
	struct rig rig = {0};
	struct follower *f;
	struct err e = {0};
	struct cache *c;
	char path[128], *map, *at;
	const uint64_t lie = UINT64_C(1) << 59;
	struct stat st;
	int fd;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	churn(&rig, 100);
	follow(f, c);
	follow_close(f);
	cache_detach(c);
	rig_kill(&rig);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fstat(fd, &st), 0);
	map = at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	while ((at = memmem(at, (size_t)(map + st.st_size - at), "blobs", 5))) {
		at += 5;
		memcpy(at + DB_ENTRIES, &lie, sizeof(lie));
	}
	munmap(map, (size_t)st.st_size);
	close(fd);
	ck_assert_int_eq(rig_open(&rig, fs, dir, &e), WEFT_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "data.mdb"));
}
END_TEST

START_TEST(another_cluster_and_no_database)
{
	static const uint8_t other[16] = "someone else's..";
	char path[128];
	struct table *t;
	struct err e = {0};
	uint64_t rv;
	FILE *out;

	ck_assert_int_eq(table_peek_rv(dir, &rv, &e), WEFT_OK);
	ck_assert_uint_eq(rv, 0);
	ck_assert_int_eq(table_open(&t, dir, rig_cluster, &e), WEFT_OK);
	table_close(t);
	ck_assert_int_eq(table_open(&t, dir, other, &e), WEFT_ELAYOUT);
	ck_assert_ptr_nonnull(strstr(e.msg, "another cluster"));
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	out = fopen(path, "w");
	for (int i = 0; i < 1000; i++)
		fputs("no database ", out);
	fclose(out);
	ck_assert_int_eq(table_peek_rv(dir, &rv, &e), WEFT_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, dir));
	ck_assert_int_eq(table_open(&t, dir, rig_cluster, &e), WEFT_ECORRUPT);
}
END_TEST

struct overtaking {
	struct rig *rig;
	struct cache *c;
	struct follower *f;
	bool done;
};

static void overtake(void *arg)
{
	struct overtaking *o = arg;

	while (!o->done && cache_oldest(o->c) <= follow_making(o->f) + 1)
		churn(o->rig, 100);
	o->done = true;
}

/* What it has collected may have been freed. */
START_TEST(a_round_that_the_window_has_passed_is_begun_anew)
{
	struct rig rig = {0};
	struct err e = {0};
	struct overtaking o = {.rig = &rig};
	uint64_t scans;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	o.c = attach(&rig);
	ck_assert_int_eq(follow_open(&o.f, dir, rig_cluster, &e), WEFT_OK);
	follow(o.f, o.c);
	churn(&rig, 50);
	scans = follow_scans(o.f);
	follow_between(o.f, overtake, &o);
	follow(o.f, o.c);
	ck_assert(o.done);
	ck_assert_uint_eq(follow_scans(o.f), scans + 1);
	ck_assert_int_eq(log_cut(rig.log, follow_rv(o.f), &e), WEFT_OK);
	cache_detach(o.c);
	follow_close(o.f);
	check_recovery(&rig, "after the window had passed");
	rig_kill(&rig);
}
END_TEST

static void make(struct rig *rig, uint16_t type, const char *name)
{
	struct msg m = rig_create(type, "a", name);

	ck_assert_int_eq(rig_do(rig, &m)->status, WEFT_OK);
}

#define SECTION 256 /* of follow.c */

/* Its last is the first of the next section, if nobody looks at the key. */
START_TEST(a_key_created_again_is_not_torn_between_sections)
{
	struct rig rig = {0};
	struct err e = {0};
	struct follower *f;
	struct cache *c;
	char name[16];

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	while (cache_oldest(c) <= 1)
		churn(&rig, 100);
	make(&rig, TYPE_SECRET, "once");
	for (int i = 0; i < SECTION / 2; i++) {
		struct msg m;

		snprintf(name, sizeof(name), "twice-%03d", i);
		make(&rig, TYPE_SECRET, name);
		m = rig_remove(TYPE_SECRET, "a", name);
		ck_assert_int_eq(rig_do(&rig, &m)->status, WEFT_OK);
		make(&rig, TYPE_SECRET, name);
	}
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	follow(f, c);
	ck_assert_uint_eq(follow_scans(f), 1);
	ck_assert_int_eq(log_cut(rig.log, follow_rv(f), &e), WEFT_OK);
	follow_close(f);
	cache_detach(c);
	check_recovery(&rig, "keys created again");
	rig_kill(&rig);
}
END_TEST

static void make_event(struct rig *rig)
{
	static int made;
	char name[16];

	snprintf(name, sizeof(name), "event-%d", made++);
	make(rig, TYPE_EVENT, name);
}

static uint64_t rows(void)
{
	struct err e = {0};
	struct table *t;
	uint64_t n;

	ck_assert_int_eq(table_open(&t, dir, rig_cluster, &e), WEFT_OK);
	n = table_objects(t);
	table_close(t);
	return n;
}

/* The tables have the durable objects alone, whether they are followed or compared. */
START_TEST(what_is_in_memory_only_has_no_row)
{
	struct rig rig = {0};
	struct err e = {0};
	struct cache *c;

	rig_must_open(&rig, fs, dir);
	rig_namespace(&rig, "a");
	c = attach(&rig);
	for (uint64_t scans = 0; scans < 2; scans++) {
		struct follower *f;

		ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
		make(&rig, TYPE_CONFIGMAP, scans ? "two" : "one");
		make_event(&rig);
		while (scans && cache_oldest(c) <= follow_rv(f) + 1) {
			make_event(&rig);
			cw_reclaim(rig.s.w, 10000);
		}
		follow(f, c);
		ck_assert_uint_eq(follow_scans(f), scans);
		follow_close(f);
		ck_assert_uint_eq(rows(), 2 + scans);
	}
	cache_detach(c);
	rig_kill(&rig);
}
END_TEST

/* The log is lost: what it may have given out is not given out again, by this start or the next,
 * and what is written from then on is there. */
START_TEST(a_lost_log_has_its_resource_versions)
{
	const uint64_t skip = 10000000; /* RV_SKIP of recover.c */
	struct rig rig = {0};
	struct err e = {0};
	struct follower *f;
	struct cache *c;
	uint64_t at, last;

	rig_must_open(&rig, fs, dir);
	rig_world(&rig);
	c = attach(&rig);
	ck_assert_int_eq(follow_open(&f, dir, rig_cluster, &e), WEFT_OK);
	make(&rig, TYPE_CONFIGMAP, "one");
	follow(f, c);
	at = follow_rv(f);
	follow_close(f);
	cache_detach(c);
	make(&rig, TYPE_CONFIGMAP, "lost");
	rig_kill(&rig);
	file_sim_free(fs);
	fs = file_sim_new();
	rig_must_open(&rig, fs, dir);
	ck_assert_uint_eq(rig.s.rv, at + skip);
	ck_assert_uint_eq(cache_rv(rig.s.c), at + skip);
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_CONFIGMAP, "a", "one"));
	make(&rig, TYPE_CONFIGMAP, "two");
	last = rig.last.rv;
	ck_assert_uint_eq(last, at + skip + 1);
	rig_kill(&rig);
	rig_must_open(&rig, fs, dir);
	ck_assert_uint_ge(rig.s.rv, last);
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_CONFIGMAP, "a", "one"));
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_CONFIGMAP, "a", "two"));
	rig_kill(&rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("checkpoint");
	TCase *t = tcase_create("checkpoint");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, follows_and_recovers);
	tcase_add_test(t, others_write_between_sections);
	tcase_add_test(t, compares_when_the_journal_has_moved_on);
	tcase_add_test(t, blobs_are_counted);
	tcase_add_test(t, a_full_map_grows);
	tcase_add_test(t, damage_is_found);
	tcase_add_test(t, a_number_of_blobs_that_cannot_be_is_found);
	tcase_add_test(t, another_cluster_and_no_database);
	tcase_add_test(t, a_round_that_the_window_has_passed_is_begun_anew);
	tcase_add_test(t, a_key_created_again_is_not_torn_between_sections);
	tcase_add_test(t, what_is_in_memory_only_has_no_row);
	tcase_add_test(t, a_lost_log_has_its_resource_versions);
	suite_add_tcase(s, t);
	return rig_run(s);
}
