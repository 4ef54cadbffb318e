/*
 * main.c - the checkpoint process: it follows the journal and brings LMDB up to
 * date.
 *
 * Each round takes what changed since the last commit into one transaction, so
 * that the tables go from one resourceVersion to another.  An object that
 * changed often is written once, in its last state, and rows go in key order:
 * a round's changes are collected first, sorted, and then written.
 *
 * When the journal's window has passed us by, or the store has made a new
 * generation, all objects are compared with the tables, at one resourceVersion,
 * and the differences written in one transaction.
 */
#include <stdio.h>
#include <stdlib.h>

#include "procs/checkpoint/follow.h"
#include "weft/proc.h"
#include "weft/value.h"

#define ROUND_MS	 1000 /* between rounds, when little changes */
#define ROUND_MAX_NS	(60 * INT64_C(1000000000)) /* a large transaction on a slow disk */
#define RETRY_MS	 5000 /* after an error */

struct main {
	struct proc *p;
	struct follower *f;
	int64_t next_ns;
};

static const char *checkpoint_dir(const struct main *m)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/checkpoint", proc_control(m->p)->data_dir);
	return path;
}

static int64_t on_turn(void *arg, int64_t now_ns)
{
	struct main *m = arg;
	struct err e = {0};
	bool more = false;
	int rc;

	if (now_ns < m->next_ns)
		return m->next_ns;
	proc_beat_ahead(m->p, ROUND_MAX_NS);
	rc = follow_round(m->f, proc_cache(m->p), &more, &e);
	proc_beat(m->p);
	if (rc)
		log_error("checkpoint: %s", e.msg);
	/* [checkpoint.R1] The commit is done: the store may recycle the log up to here. */
	atomic_store_explicit(&proc_counters(m->p)->checkpoint_rv, follow_rv(m->f),
			      memory_order_release);
	m->next_ns = now_ns + (rc ? RETRY_MS : more ? 0 : ROUND_MS) * INT64_C(1000000);
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
	struct proc_handlers h = {.on_work = on_work, .on_resync = on_resync, .on_turn = on_turn,
				  .arg = &m};
	struct err e = {0};
	int status;

	if (follow_open(&m.f, checkpoint_dir(&m), cache_cluster_id(proc_cache(m.p)), &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	status = proc_run(m.p, &h);
	if (follow_round(m.f, proc_cache(m.p), &(bool){false}, &e))
		log_warn("checkpoint: %s", e.msg);
	follow_close(m.f);
	return status;
}
