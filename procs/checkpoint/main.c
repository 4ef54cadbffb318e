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
#include <stdlib.h>
#include <time.h>

#include "procs/checkpoint/burst.h"
#include "procs/checkpoint/follow.h"
#include "weft/fault.h"
#include "weft/proc.h"
#include "weft/value.h"

#define ROUND_MS     1000			/* between rounds, when little changes */
#define RETRY_MS     5000			/* after an error */
#define FAR_BEHIND   16384			/* writes: the next round follows at once */
#define ROUND_MAX_NS (60 * INT64_C(1000000000)) /* a large transaction on a slow disk */

struct main {
	struct proc *p;
	struct follower *f;
	int64_t next_ns;
	int64_t round_ns; /* when the tables were last up to date, or a round ended */
	struct burst burst;
};

static const char *checkpoint_dir(const struct main *m)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/checkpoint", proc_control(m->p)->data_dir);
	return path;
}

/* Is it better to wait for a burst's end? */
static bool may_wait(struct main *m, int64_t now_ns)
{
	uint64_t rv = cache_rv(proc_cache(m->p));

	return burst_look(&m->burst, rv, now_ns) &&
	       burst_may_wait(&m->burst, rv - follow_rv(m->f), m->round_ns);
}

/* A burst may begin while a round is being made. */
static void give_way(void *arg)
{
	const struct timespec pause = {.tv_nsec = BURST_LOOK_MS * 1000000};
	struct main *m = arg;

	if (!burst_due(&m->burst, clock_mono_ns()))
		return;
	while (!proc_stopping(m->p) && may_wait(m, clock_mono_ns()) &&
	       !burst_presses(&m->burst, follow_making(m->f), cache_oldest(proc_cache(m->p)))) {
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
	if (rc == WEFT_EGONE)
		log_info("checkpoint: %s", e.msg);
	else if (rc)
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
	int rc;

	if (rv == follow_rv(m->f)) {
		m->round_ns = now_ns;
		if (rv == m->burst.rv)
			return 0;
	}
	if (now_ns < m->next_ns)
		return m->next_ns;
	if (may_wait(m, now_ns))
		wait_ms = BURST_LOOK_MS;
	else if ((rc = round_now(m)))
		wait_ms = rc == WEFT_EGONE ? BURST_LOOK_MS : RETRY_MS;
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

	if (follow_open(&m.f, checkpoint_dir(&m), cache_cluster_id(proc_cache(m.p)), &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	follow_between(m.f, give_way, &m);
	m.burst = (struct burst){.rv = cache_rv(proc_cache(m.p)), .ns = clock_mono_ns()};
	status = proc_run(m.p, &h);
	if (follow_round(m.f, proc_cache(m.p), &e))
		log_warn("checkpoint: %s", e.msg);
	follow_close(m.f);
	return status;
}
