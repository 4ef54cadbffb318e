/*
 * test_log.c - the log on a simulated disk: power cuts at every sync, refused
 * writes, damage, recycling.  A model holds the batches that were acknowledged.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "procs/store/log_thread.h"
#include "tests/unit/suite.h"

#define BATCHES_MAX 4096

static const uint8_t cluster[16] = "log test cluster";
/* Small ones, and some that the zeros behind a small batch do not fill. */
static const uint64_t segment_sizes[] = {LOG_SEGMENT_MIN, 10 * LOG_SEGMENT_MIN};
static uint64_t segment_size;
static unsigned seed;
static struct files *fs;

/* What must be there: body of batch i is made from its number. */
static struct {
	uint64_t acked;	   /* batches that log_append() said are safe */
	uint64_t read;	   /* batches that reading has shown */
	uint64_t first_rv; /* of the first batch still in the log */
} model;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void set_up(void)
{
	const char *text = getenv("WEFT_SEED");

	seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)getpid();
	printf("WEFT_SEED=%u\n", seed);
	fs = file_sim_new();
	segment_size = LOG_SEGMENT_MIN;
	memset(&model, 0, sizeof(model));
	model.first_rv = 1;
}

static void tear_down(void)
{
	file_sim_free(fs);
}

/* Batch `rv` holds one resourceVersion; its length and bytes follow from that. */
static void fill(struct buf *b, uint64_t rv)
{
	uint32_t n = (uint32_t)(rv * 2654435761u >> 7) % 3000;

	b->n = 0;
	buf_reserve(b, LOG_HEAD + n);
	memset(b->p, 0, LOG_HEAD);
	memset(b->p + LOG_HEAD, (int)(rv * 31 & 0xff), n);
	b->n = LOG_HEAD + n;
}

static int check_batch(void *arg, const struct log_batch *b, struct err *e)
{
	uint64_t rv = model.first_rv + model.read;
	struct buf want = {0};

	fill(&want, rv);
	ck_assert_uint_eq(b->first_rv, rv);
	ck_assert_uint_eq(b->last_rv, rv);
	ck_assert_uint_eq(b->body.n, want.n - LOG_HEAD);
	ck_assert(!memcmp(b->body.p, want.p + LOG_HEAD, b->body.n));
	buf_free(&want);
	model.read++;
	return WEFT_OK;
}

static struct log *reopen(struct log *log)
{
	struct err e = {0};
	int rc;

	log_close(log);
	rc = log_open(&log, fs, cluster, segment_size, &e);
	ck_assert_msg(!rc, "%s", e.msg);
	model.read = 0;
	model.first_rv = log_start_rv(log) + 1;
	rc = log_replay(log, check_batch, NULL, &e);
	ck_assert_msg(!rc, "%s", e.msg);
	return log;
}

static int append(struct log *log, uint64_t rv, struct err *e)
{
	struct buf b = {0};
	int rc;

	fill(&b, rv);
	rc = log_append(log, &b, rv, rv, rv, e);
	buf_free(&b);
	return rc;
}

static void check_size(void *arg, const char *name)
{
	struct err e = {0};
	uint64_t size = 0;
	int fd;

	ck_assert_int_eq(fs->ops->open(fs, name, false, &fd, &e), WEFT_OK);
	ck_assert_int_eq(fs->ops->size(fs, fd, &size, &e), WEFT_OK);
	fs->ops->close(fs, fd);
	ck_assert_uint_eq(size, segment_size);
}

/* No write went beyond what was reserved. */
static void check_sizes(void)
{
	struct err e = {0};

	ck_assert_int_eq(fs->ops->list(fs, check_size, NULL, &e), WEFT_OK);
}

START_TEST(reads_back_what_was_written)
{
	struct log *log;
	struct err e = {0};

	segment_size = segment_sizes[_i];
	log = reopen(NULL);
	for (uint64_t rv = 1; rv <= 500 * (_i ? 10u : 1u); rv++) {
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
		if (rnd(40) == 0) {
			log = reopen(log);
			ck_assert_uint_eq(model.read, rv);
			ck_assert_uint_eq(log_rv_bound(log), rv);
		}
	}
	ck_assert_uint_gt(log_segments(log), 5);
	ck_assert_uint_eq(log_bytes(log), log_segments(log) * segment_size);
	check_sizes();
	log_close(log);
}
END_TEST

/* Run until the power goes at sync k; returns the batches acknowledged. */
static uint64_t run_until_cut(uint64_t from, int64_t k)
{
	struct log *log = NULL;
	struct err e = {0};
	uint64_t rv = from;

	file_sim_cut_after(fs, k);
	if (log_open(&log, fs, cluster, segment_size, &e))
		return rv;
	model.read = 0;
	model.first_rv = log_start_rv(log) + 1;
	if (!log_replay(log, check_batch, NULL, &e)) {
		while (!append(log, rv + 1, &e)) {
			rv++;
			if (rnd(8) == 0)
				log_prepare(log);
			if (rnd(8) == 0 && rv > 40)
				log_cut(log, rv - 40, &e);
		}
	}
	log_close(log);
	ck_assert(file_sim_is_cut(fs));
	return rv;
}

START_TEST(power_cut_at_every_sync)
{
	uint64_t acked = 0;

	segment_size = segment_sizes[_i];
	for (int64_t k = 0; k < 120; k++) {
		struct log *log;
		uint64_t last;

		acked = run_until_cut(acked, k);
		file_sim_power_on(fs, (uint64_t)seed * 1000 + (uint64_t)k);
		log = reopen(NULL);
		last = model.first_rv - 1 + model.read;
		ck_assert_uint_ge(last, acked);	    /* what was acknowledged is there */
		ck_assert_uint_le(last, acked + 1); /* and at most what was under way */
		ck_assert_uint_ge(log_rv_bound(log), last);
		acked = last;
		log_close(log);
	}
}
END_TEST

START_TEST(refused_writes_leave_nothing)
{
	static const int codes[] = {WEFT_ENOSPC, WEFT_EIO};
	struct log *log = reopen(NULL);
	uint64_t acked = 0;
	struct err e = {0};

	for (int i = 0; i < 400; i++) {
		file_sim_fail_after(fs, rnd(12), codes[rnd(2)]);
		while (!append(log, acked + 1, &e))
			acked++;
		ck_assert(e.msg[0]);
		if (rnd(3))
			ck_assert_int_ne(append(log, acked + 1, &e), WEFT_OK);
		file_sim_heal(fs);
		ck_assert_msg(!append(log, acked + 1, &e), "%s", e.msg);
		acked++;
		/* The simulated disk holds few files: let go of them now and then. */
		if (rnd(5) == 0 || log_segments(log) > 20) {
			ck_assert_int_eq(log_cut(log, rnd(2) ? acked : acked / 2, &e), WEFT_OK);
			log = reopen(log);
			ck_assert_uint_eq(model.first_rv - 1 + model.read, acked);
		}
	}
	log_close(log);
}
END_TEST

static int ignore_batch(void *arg, const struct log_batch *b, struct err *e)
{
	++*(uint64_t *)arg;
	return WEFT_OK;
}

static int try_replay(uint64_t *batches, struct err *e)
{
	struct log *log;
	int rc = log_open(&log, fs, cluster, LOG_SEGMENT_MIN, e);

	*batches = 0;
	if (rc)
		return rc;
	rc = log_replay(log, ignore_batch, batches, e);
	log_close(log);
	return rc;
}

/* A flipped bit anywhere before the last batch is found, and named; in the last
 * batch it cannot be told from a write that never finished. */
START_TEST(damage_is_named)
{
	struct log *log = reopen(NULL);
	uint64_t n, batches = 0;
	struct err e = {0};

	for (uint64_t rv = 1; rv <= 100; rv++)
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
	log_close(log);
	for (int i = 0; i < 300; i++) {
		const char *name = rnd(2) ? "log-00000001" : "log-00000002";
		uint64_t off = rnd(40000);
		int rc;

		ck_assert_int_eq(file_sim_damage(fs, name, off), WEFT_OK);
		e.msg[0] = '\0';
		rc = try_replay(&n, &e);
		ck_assert_int_eq(file_sim_damage(fs, name, off), WEFT_OK);
		if (!rc) { /* padding */
			ck_assert_uint_eq(n, 100);
			continue;
		}
		ck_assert_int_eq(rc, WEFT_ECORRUPT);
		ck_assert_ptr_nonnull(strstr(e.msg, name));
		ck_assert_ptr_nonnull(strstr(e.msg, "at offset "));
	}
	ck_assert_int_eq(try_replay(&batches, &e), WEFT_OK);
	ck_assert_uint_eq(batches, 100);
}
END_TEST

START_TEST(missing_and_foreign_segments)
{
	struct log *log = reopen(NULL);
	static const uint8_t other[16] = "another cluster!";
	struct err e = {0};

	for (uint64_t rv = 1; rv <= 200; rv++)
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
	ck_assert_uint_ge(log_segments(log), 3);
	log_close(log);
	ck_assert_int_eq(log_open(&log, fs, other, LOG_SEGMENT_MIN, &e), WEFT_ELAYOUT);
	ck_assert_int_eq(fs->ops->remove(fs, "log-00000002", &e), WEFT_OK);
	ck_assert_int_eq(log_open(&log, fs, cluster, LOG_SEGMENT_MIN, &e), WEFT_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "log-00000003"));
}
END_TEST

START_TEST(a_segment_cut_short_is_no_torn_tail)
{
	struct log *log = reopen(NULL);
	struct err e = {0};

	for (uint64_t rv = 1; rv <= 5; rv++)
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
	log_close(log);
	ck_assert_int_eq(file_sim_shorten(fs, "log-00000001", LOG_SEGMENT_MIN / 2), WEFT_OK);
	ck_assert_int_eq(log_open(&log, fs, cluster, LOG_SEGMENT_MIN, &e), WEFT_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "cut short"));
}
END_TEST

START_TEST(large_batches_get_a_segment_of_their_own)
{
	struct log *log = reopen(NULL);
	struct buf b = {0};
	struct err e = {0};
	uint64_t batches;

	ck_assert_int_eq(append(log, 1, &e), WEFT_OK);
	buf_reserve(&b, 5 * LOG_SEGMENT_MIN);
	b.n = 5 * LOG_SEGMENT_MIN;
	memset(b.p, 7, b.n);
	ck_assert_int_eq(log_append(log, &b, 2, 2, 2, &e), WEFT_OK);
	ck_assert_int_eq(append(log, 3, &e), WEFT_OK);
	log_close(log);
	ck_assert_int_eq(try_replay(&batches, &e), WEFT_OK);
	ck_assert_uint_eq(batches, 3);
	buf_free(&b);
}
END_TEST

START_TEST(recycled_segments_show_nothing_of_their_past)
{
	struct log *log = reopen(NULL);
	struct err e = {0};
	uint64_t bytes;

	for (uint64_t rv = 1; rv <= 2000; rv++) {
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
		log_prepare(log);
		ck_assert_int_eq(log_cut(log, rv, &e), WEFT_OK);
		bytes = log_bytes(log);
		ck_assert_uint_le(bytes, 3 * (LOG_SEGMENT_MIN + LOG_HEAD));
		if (rnd(50) == 0) {
			log = reopen(log);
			ck_assert_uint_eq(model.first_rv - 1 + model.read, rv);
		}
	}
	log_close(log);
}
END_TEST

START_TEST(the_thread_appends_in_order)
{
	struct log *log = reopen(NULL);
	int bell = eventfd(0, EFD_NONBLOCK), rc = 0;
	struct log_thread *t;
	struct buf b = {0};
	struct err e = {0};

	ck_assert_int_eq(log_thread_start(&t, log, bell, NULL, &e), WEFT_OK);
	for (uint64_t rv = 1; rv <= 300; rv++) {
		fill(&b, rv);
		log_thread_submit(t, &b, rv, rv, rv, rv % 3 == 0);
		ck_assert(log_thread_busy(t));
		log_thread_wait(t);
		ck_assert(log_thread_done(t, &rc, &e));
		ck_assert_int_eq(rc, WEFT_OK);
		ck_assert(!log_thread_done(t, &rc, &e));
		log_thread_cut(t, rv / 2);
	}
	log_thread_stop(t);
	buf_free(&b);
	close(bell);
	log = reopen(log);
	ck_assert_uint_eq(model.first_rv - 1 + model.read, 300);
	log_close(log);
}
END_TEST

static const struct file_ops *quick;
static uint64_t put_away;

static void count_put_away(struct files *files, int fd)
{
	put_away++;
	quick->put_away(files, fd);
}

/* Full segments need no memory, neither when they are written nor after they are read. */
START_TEST(full_segments_are_put_away)
{
	struct log *log = reopen(NULL);
	struct buf b = {0};
	struct file_ops ops;
	struct err e = {0};
	uint64_t rv = 0;

	quick = fs->ops;
	ops = *quick;
	ops.put_away = count_put_away;
	fs->ops = &ops;
	put_away = 0;
	while (log_segments(log) < 4) {
		ck_assert_uint_eq(put_away, log_segments(log) ? log_segments(log) - 1 : 0);
		fill(&b, ++rv);
		ck_assert_int_eq(log_append(log, &b, rv, rv, rv, &e), WEFT_OK);
	}
	ck_assert_uint_eq(put_away, 3);
	put_away = 0;
	log = reopen(log);
	ck_assert_uint_eq(model.read, rv);
	ck_assert_uint_eq(put_away, 3);
	fs->ops = quick;
	buf_free(&b);
	log_close(log);
}
END_TEST

/* How many of the file's pages are in memory; -1: its file system has no other place. */
static int pages_in_memory(const char *path, size_t n)
{
	unsigned char in[64] = {0};
	struct statfs st;
	int fd = open(path, O_RDONLY), pages = 0;
	void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);

	ck_assert(p != MAP_FAILED && n <= sizeof(in) * 4096);
	ck_assert_int_eq(mincore(p, n, in), 0);
	ck_assert_int_eq(fstatfs(fd, &st), 0);
	for (size_t i = 0; i < n / 4096; i++)
		pages += in[i] & 1;
	munmap(p, n);
	close(fd);
	return st.f_type == TMPFS_MAGIC ? -1 : pages;
}

START_TEST(what_is_put_away_is_closed_and_leaves_memory)
{
	char dir[] = "/tmp/weft-log-XXXXXX", path[64];
	static char bytes[64 * 4096];
	struct err e = {0};
	struct files *real;
	int fd, first = -1;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x", dir);
	ck_assert_int_eq(file_dir_open(&real, dir, &e), WEFT_OK);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(real->ops->open(real, "x", true, &fd, &e), WEFT_OK);
		first = i ? first : fd;
		ck_assert_int_eq(fd, first);
		ck_assert_int_eq(real->ops->write(real, fd, bytes, sizeof(bytes), 0, &e), WEFT_OK);
		ck_assert_int_eq(real->ops->sync(real, fd, &e), WEFT_OK);
		real->ops->put_away(real, fd);
		ck_assert_int_lt(pages_in_memory(path, sizeof(bytes)), 32);
	}
	file_dir_close(real);
	unlink(path);
	rmdir(dir);
}
END_TEST

static int slow_sync(struct files *files, int fd, struct err *e)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	return quick->sync(files, fd, e);
}

static void count_beat(void *arg)
{
	atomic_fetch_add((_Atomic int *)arg, 1);
}

/* The submitter waits for a disk that stands still: that is no submitter that hangs. */
START_TEST(the_thread_beats_for_who_appends)
{
	struct log *log = reopen(NULL);
	_Atomic int beats = 0;
	struct log_beat beat = {.every_ns = 5000000, .fn = count_beat, .arg = &beats};
	struct log_thread *t;
	struct file_ops ops;
	struct buf b = {0};
	struct err e = {0};
	int rc;

	quick = fs->ops;
	ops = *quick;
	ops.sync = slow_sync;
	fs->ops = &ops;
	ck_assert_int_eq(log_thread_start(&t, log, -1, &beat, &e), WEFT_OK);
	for (uint64_t rv = 1; rv <= 2; rv++) {
		int before = atomic_load(&beats);

		fill(&b, rv);
		log_thread_submit(t, &b, rv, rv, rv, true);
		/* After a slow one, the next is not waited for. */
		ck_assert_int_eq(log_thread_done(t, &rc, &e), rv == 1);
		ck_assert_int_eq(atomic_load(&beats) - before >= 3, rv == 1);
		log_thread_wait(t);
	}
	ck_assert(log_thread_done(t, &rc, &e));
	log_thread_stop(t);
	fs->ops = quick;
	buf_free(&b);
	log_close(log);
}
END_TEST

/* A batch whose sync failed is shown to whoever reads the log next: from then on it stays. */
START_TEST(what_was_read_is_on_the_disk)
{
	struct err e = {0};

	for (uint64_t k = 0; k < 16; k++) {
		struct log *log = reopen(NULL);
		uint64_t last = model.read;

		if (!last)
			ck_assert_int_eq(append(log, ++last, &e), WEFT_OK);
		file_sim_fail_after(fs, 1, WEFT_EIO); /* it is written, and not synced */
		ck_assert_int_eq(append(log, last + 1, &e), WEFT_EIO);
		file_sim_heal(fs);
		log = reopen(log);
		ck_assert_uint_eq(model.read, last + 1);
		log_close(log);
		file_sim_power_on(fs, seed + k);
		log = reopen(NULL);
		ck_assert_uint_eq(model.read, last + 1);
		log_close(log);
	}
}
END_TEST

START_TEST(a_cut_leaves_what_comes_after_it)
{
	struct log *log = reopen(NULL);
	struct err e = {0};

	for (uint64_t rv = 1; rv <= 500; rv++)
		ck_assert_int_eq(append(log, rv, &e), WEFT_OK);
	for (uint64_t rv = 1; rv <= 500; rv++) {
		ck_assert_int_eq(log_cut(log, rv, &e), WEFT_OK);
		ck_assert_uint_le(log_start_rv(log), rv);
	}
	ck_assert_uint_eq(log_segments(log), 1);
	log_close(log);
}
END_TEST

/* A segment that has begun, and whose first batch was refused, promises nothing: the one before
 * it does, and stays. */
START_TEST(a_promise_outlives_a_segment_without_batches)
{
	struct err e = {0};
	struct buf b = {0};
	uint32_t begun = 0;

	buf_reserve(&b, LOG_SEGMENT_MIN);
	memset(b.p, 0, LOG_SEGMENT_MIN);
	b.n = LOG_SEGMENT_MIN / 3 * 2; /* one for each segment */
	for (int64_t k = 0; k < 8; k++) {
		struct log *log;

		file_sim_free(fs);
		fs = file_sim_new();
		log = reopen(NULL);
		ck_assert_int_eq(log_append(log, &b, 1, 1, 1001, &e), WEFT_OK);
		file_sim_fail_after(fs, k, WEFT_EIO);
		begun += log_append(log, &b, 2, 2, 1002, &e) && log_segments(log) == 2;
		file_sim_heal(fs);
		ck_assert_int_eq(log_cut(log, 1, &e), WEFT_OK);
		log_close(log);
		ck_assert_int_eq(log_open(&log, fs, cluster, segment_size, &e), WEFT_OK);
		ck_assert_uint_ge(log_rv_bound(log), 1001);
		log_close(log);
	}
	ck_assert_uint_ge(begun, 1);
	buf_free(&b);
}
END_TEST

/* What a disk has refused once is not tried again in the same place. */
START_TEST(a_refused_batch_ends_its_segment)
{
	struct log *log = reopen(NULL);
	struct err e = {0};

	ck_assert_int_eq(append(log, 1, &e), WEFT_OK);
	for (int64_t k = 0; k < 2; k++) {
		file_sim_fail_after(fs, k, WEFT_EIO);
		ck_assert_int_eq(append(log, 2 + (uint64_t)k, &e), WEFT_EIO);
		file_sim_heal(fs);
		ck_assert_int_eq(append(log, 2 + (uint64_t)k, &e), WEFT_OK);
		ck_assert_uint_eq(log_segments(log), 2 + (uint64_t)k);
	}
	log_close(log);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, reads_back_what_was_written, 0, countof(segment_sizes));
	tcase_add_loop_test(t, power_cut_at_every_sync, 0, countof(segment_sizes));
	tcase_add_test(t, refused_writes_leave_nothing);
	tcase_add_test(t, damage_is_named);
	tcase_add_test(t, missing_and_foreign_segments);
	tcase_add_test(t, a_segment_cut_short_is_no_torn_tail);
	tcase_add_test(t, large_batches_get_a_segment_of_their_own);
	tcase_add_test(t, recycled_segments_show_nothing_of_their_past);
	tcase_add_test(t, the_thread_appends_in_order);
	tcase_add_test(t, the_thread_beats_for_who_appends);
	tcase_add_test(t, full_segments_are_put_away);
	tcase_add_test(t, what_is_put_away_is_closed_and_leaves_memory);
	tcase_add_test(t, what_was_read_is_on_the_disk);
	tcase_add_test(t, a_cut_leaves_what_comes_after_it);
	tcase_add_test(t, a_promise_outlives_a_segment_without_batches);
	tcase_add_test(t, a_refused_batch_ends_its_segment);
	suite_add_tcase(s, t);
	return run_suite(s);
}
