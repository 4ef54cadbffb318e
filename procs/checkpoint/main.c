/*
 * main.c - the checkpoint process: it follows the journal and brings LMDB up to
 * date.
 *
 * Each round takes what changed since the last commit into one transaction, so
 * that the tables go from one resourceVersion to another.  An object that
 * changed often is written once, in its last state, and rows go in key order:
 * a round's changes are collected first, sorted, and then written.
 *
 * While a burst of writes goes on, a round waits for its end, within bounds, also when
 * it has begun: the log has it all, the burst needs the CPU, and most of what it writes
 * first is soon replaced.
 *
 * When the journal's window has passed us by, or the store has made a new
 * generation, all objects are compared with the tables, at one resourceVersion,
 * and the differences written in one transaction.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <stdlib.h>
#include <time.h>

#include "procs/checkpoint/follow.h"
#include "weft/fault.h"
#include "weft/proc.h"
#include "weft/value.h"

#define ROUND_MS   1000	  /* between rounds, when little changes */
#define RETRY_MS   5000	  /* after an error */
#define BUSY_MS	   100	  /* between looks at a burst */
#define BUSY_RATE  20000  /* writes a second that make one */
#define CALM_MS	   400	  /* without as many: it is over */
#define LOST_RATE  500000 /* writes a second at which the journal outruns a round */
#define FAR_BEHIND 16384  /* writes: the next round follows at once */
/* For how long after the last round a burst may put the next one off, and for how many
 * writes, which a start would have to replay; beyond that a burst of LOST_RATE alone. */
#define WAIT_MS	     5000
#define WAIT_RECORDS (UINT64_C(4) << 20)
#define NICENESS     5 /* what it does can wait: the store and the controllers go first */
#define ROUND_MAX_NS (60 * INT64_C(1000000000)) /* a large transaction on a slow disk */

struct main {
	struct proc *p;
	struct follower *f;
	int64_t next_ns;
	int64_t round_ns; /* when the tables were last up to date, or a round ended */
	uint64_t seen_rv; /* at the last look */
	int64_t seen_ns;
	uint64_t rate;	 /* writes a second then */
	int64_t busy_ns; /* the last look at which a burst was going on */
};

static const char *checkpoint_dir(const struct main *m)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/checkpoint", proc_control(m->p)->data_dir);
	return path;
}

static bool passed(int64_t from_ns, int64_t now_ns, int64_t ms)
{
	return now_ns - from_ns >= ms * 1000000;
}

/* Is a burst going on, or not long over? */
static bool is_busy(struct main *m, uint64_t rv, int64_t now_ns)
{
	uint64_t ms = (uint64_t)(now_ns - m->seen_ns) / 1000000 + 1;

	m->rate = (rv - m->seen_rv) * 1000 / ms;
	m->seen_rv = rv;
	m->seen_ns = now_ns;
	if (m->rate > BUSY_RATE)
		m->busy_ns = now_ns;
	return !passed(m->busy_ns, now_ns, CALM_MS);
}

/* Is it better to wait for a burst's end? */
static bool may_wait(struct main *m, uint64_t rv, int64_t now_ns)
{
	if (!is_busy(m, rv, now_ns))
		return false;
	return m->rate > LOST_RATE ||
	       (rv - follow_rv(m->f) < WAIT_RECORDS && !passed(m->round_ns, now_ns, WAIT_MS));
}

/* A burst begins while a round is being made. */
static void give_way(void *arg)
{
	const struct timespec pause = {.tv_nsec = BUSY_MS * 1000000};
	struct main *m = arg;

	if (!passed(m->seen_ns, clock_mono_ns(), BUSY_MS))
		return;
	while (!proc_stopping(m->p) && may_wait(m, cache_rv(proc_cache(m->p)), clock_mono_ns())) {
		nanosleep(&pause, NULL);
		proc_beat_ahead(m->p, ROUND_MAX_NS);
	}
}

/* The store may recycle the log up to here. */
static void tell_rv(struct main *m)
{
	struct proc_segment *own = proc_own(m->p);
	uint64_t rv = follow_rv(m->f);

	atomic_store_explicit(&proc_counters(m->p)->checkpoint_rv, rv, memory_order_relaxed);
	atomic_store_explicit(&own->safe_rv_inverted, ~rv, memory_order_relaxed);
	/* [checkpoint.R1] The commit is done. */
	atomic_store_explicit(&own->safe_rv, rv, memory_order_release);
}

static int round_now(struct main *m)
{
	struct err e = {0};
	int rc;

	proc_beat_ahead(m->p, ROUND_MAX_NS);
	rc = follow_round(m->f, proc_cache(m->p), &e);
	proc_beat(m->p);
	if (rc)
		log_error("checkpoint: %s", e.msg);
	/* LMDB goes on no more, as after its last page could not be written: a new
	 * process opens the tables anew. */
	if (rc == WEFT_ECORRUPT)
		exit(1);
	fault_at(check_committed);
	tell_rv(m);
	m->round_ns = clock_mono_ns();
	return rc;
}

/* While nothing is to be written, we look when the loop wakes anyway. */
static int64_t on_turn(void *arg, int64_t now_ns)
{
	struct main *m = arg;
	uint64_t rv = cache_rv(proc_cache(m->p));
	int64_t wait_ms = ROUND_MS;

	if (rv == follow_rv(m->f)) {
		m->round_ns = now_ns;
		if (rv == m->seen_rv)
			return 0;
	}
	if (now_ns < m->next_ns)
		return m->next_ns;
	if (may_wait(m, rv, now_ns))
		wait_ms = BUSY_MS;
	else if (round_now(m))
		wait_ms = RETRY_MS;
	else if (cache_rv(proc_cache(m->p)) - follow_rv(m->f) > FAR_BEHIND)
		wait_ms = 0;
	m->next_ns = clock_mono_ns() + wait_ms * 1000000;
	return m->next_ns;
}

static void on_work(void *arg, uint16_t type, struct u32s entries)
{
}

static void on_resync(void *arg)
{
}

int checkpoint_main(void)
{
	struct main m = {.p = proc_start(PROC_CHECKPOINT)};
	struct proc_handlers h = {
		.on_work = on_work, .on_resync = on_resync, .on_turn = on_turn, .arg = &m};
	struct err e = {0};
	int status;

	setpriority(PRIO_PROCESS, 0, NICENESS);
	if (follow_open(&m.f, checkpoint_dir(&m), cache_cluster_id(proc_cache(m.p)), &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	follow_between(m.f, give_way, &m);
	status = proc_run(m.p, &h);
	if (follow_round(m.f, proc_cache(m.p), &e))
		log_warn("checkpoint: %s", e.msg);
	follow_close(m.f);
	return status;
}
