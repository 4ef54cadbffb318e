/* log_thread.c - what log_thread.h promises. */
#include "procs/store/log_thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "procs/lib/awake.h"
#include "weft/fault.h"
#include "weft/proc.h"

#define QUICK_NS 1000000 /* after an append of less than this, the next one is waited for */

enum job_state { JOB_NONE, JOB_SUBMITTED, JOB_DONE };

/* `lock` guards everything below it; who has set `working` has the log and, while the
 * state is JOB_SUBMITTED, the job's fields. */
struct log_thread {
	struct log *log;
	int bell;
	pthread_t thread;
	int64_t beat_ns;
	void (*beat)(void *arg);
	void *beat_arg;
	bool busy;		 /* the submitter's own */
	struct awake awake;	 /* the thread's own */
	_Atomic uint32_t orders; /* given so far: a hint to who waits awake */
	uint32_t seen;		 /* of them, by the thread */
	_Atomic bool hurry;
	pthread_mutex_t lock;
	pthread_cond_t ordered; /* for the thread: look at `orders` */
	pthread_cond_t done;	/* a job is, or `working` is over */
	enum job_state state;
	bool working; /* somebody is at the log, without the lock */
	bool tidy;    /* a spare segment is wanted */
	bool stop;
	uint64_t cut_rv, cut_done;
	struct buf *b;
	uint64_t first_rv, last_rv, rv_limit;
	int rc;
	struct err err;
	int64_t took_ns; /* by the last one */
};

/* Append what was submitted; `working` is ours. */
static void job_do(struct log_thread *t)
{
	struct err e = {0};
	int64_t from = proc_mono_ns();
	int rc;

	fault_at(store_append);
	rc = log_append(t->log, t->b, t->first_rv, t->last_rv, t->rv_limit, &e);
	fault_at(store_synced);
	pthread_mutex_lock(&t->lock);
	t->rc = rc;
	t->err = e;
	t->took_ns = proc_mono_ns() - from;
	t->state = JOB_DONE;
	pthread_cond_broadcast(&t->done);
	pthread_mutex_unlock(&t->lock);
}

static void ring_bell(const struct log_thread *t)
{
	uint64_t one = 1;

	if (t->bell >= 0 && write(t->bell, &one, sizeof(one)) != sizeof(one))
		log_debug("the store's own bell is full"); /* it rings already */
}

/* What can be done when no batch waits: spare segments, and letting go of old
 * ones.  A failure is tried again with the next batch. */
static void housekeeping(struct log_thread *t, uint64_t cut_rv)
{
	struct err e = {0};

	log_prepare(t->log);
	if (log_cut(t->log, cut_rv, &e))
		log_warn("cannot recycle the log: %s", e.msg);
}

/* There is something for the thread to look at; `lock` is held. */
static void order(struct log_thread *t)
{
	atomic_fetch_add_explicit(&t->orders, 1, memory_order_relaxed);
	pthread_cond_broadcast(&t->ordered);
}

/* With the lock held.  Beats for the submitter while that is at the log. */
static void wait_for(struct log_thread *t, pthread_cond_t *what)
{
	int64_t until = proc_mono_ns() + t->beat_ns;
	struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

	if (pthread_cond_clockwait(what, &t->lock, CLOCK_MONOTONIC, &at) && t->working && t->beat)
		t->beat(t->beat_arg);
}

/* Looks at `orders` without the lock: a hint, what was ordered is read under it. */
static int look_for_orders(void *arg, int64_t wait_ns)
{
	struct log_thread *t = arg;

	if (!wait_ns)
		return atomic_load_explicit(&t->orders, memory_order_relaxed) != t->seen;
	pthread_mutex_lock(&t->lock);
	while (atomic_load_explicit(&t->orders, memory_order_relaxed) == t->seen)
		wait_for(t, &t->ordered);
	pthread_mutex_unlock(&t->lock);
	return 1;
}

static void wait_for_orders(struct log_thread *t)
{
	if (atomic_load_explicit(&t->hurry, memory_order_relaxed))
		awake_wait(&t->awake, look_for_orders, t, INT64_MAX);
	else
		look_for_orders(t, INT64_MAX);
}

/* With the lock held, but not while the log is worked at. */
static void work_begin(struct log_thread *t)
{
	t->working = true;
	pthread_mutex_unlock(&t->lock);
}

static void work_end(struct log_thread *t)
{
	pthread_mutex_lock(&t->lock);
	t->working = false;
	pthread_cond_broadcast(&t->done);
}

static void *log_thread_main(void *arg)
{
	struct log_thread *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->stop || t->state == JOB_SUBMITTED) {
		t->seen = atomic_load_explicit(&t->orders, memory_order_relaxed);
		if (t->working) {
			wait_for(t, &t->done);
		} else if (t->state == JOB_SUBMITTED) {
			work_begin(t);
			job_do(t);
			ring_bell(t);
			log_prepare(t->log);
			work_end(t);
		} else if (t->tidy || t->cut_rv != t->cut_done) {
			uint64_t rv = t->cut_done = t->cut_rv;

			t->tidy = false;
			work_begin(t);
			housekeeping(t, rv);
			work_end(t);
		} else {
			pthread_mutex_unlock(&t->lock);
			wait_for_orders(t);
			pthread_mutex_lock(&t->lock);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int log_thread_start(struct log_thread **out, struct log *log, int bell,
		     const struct log_beat *beat, struct err *e)
{
	struct log_thread *t = calloc(1, sizeof(*t));
	int rc;

	weft_assert(t);
	t->log = log;
	t->bell = bell;
	t->beat_ns = beat ? beat->every_ns : 1000000000;
	t->beat = beat ? beat->fn : NULL;
	t->beat_arg = beat ? beat->arg : NULL;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->ordered, NULL);
	pthread_cond_init(&t->done, NULL);
	rc = pthread_create(&t->thread, NULL, log_thread_main, t);
	if (rc) {
		free(t);
		return err_errno(e, rc, "start the log's thread");
	}
	*out = t;
	return WEFT_OK;
}

void log_thread_stop(struct log_thread *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	order(t);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->ordered);
	pthread_cond_destroy(&t->done);
	free(t);
}

/* The caller may append it: the log is free, and the disk quick. */
static bool do_here(const struct log_thread *t)
{
	return !t->working && t->took_ns < QUICK_NS;
}

static void job_do_here(struct log_thread *t)
{
	work_begin(t);
	job_do(t);
	work_end(t);
	if (log_wants_spare(t->log)) {
		t->tidy = true;
		order(t);
	}
}

void log_thread_submit(struct log_thread *t, struct buf *b, uint64_t first_rv, uint64_t last_rv,
		       uint64_t rv_limit, bool wait)
{
	weft_assert(!t->busy);
	t->busy = true;
	pthread_mutex_lock(&t->lock);
	t->b = b;
	t->first_rv = first_rv;
	t->last_rv = last_rv;
	t->rv_limit = rv_limit;
	t->state = JOB_SUBMITTED;
	if (wait && do_here(t))
		job_do_here(t);
	else
		order(t);
	pthread_mutex_unlock(&t->lock);
}

bool log_thread_busy(const struct log_thread *t)
{
	return t->busy;
}

bool log_thread_done(struct log_thread *t, int *rc, struct err *e)
{
	bool done;

	if (!t->busy)
		return false;
	pthread_mutex_lock(&t->lock);
	done = t->state == JOB_DONE;
	if (done) {
		*rc = t->rc;
		*e = t->err;
		t->state = JOB_NONE;
	}
	pthread_mutex_unlock(&t->lock);
	t->busy = !done;
	return done;
}

void log_thread_wait(struct log_thread *t)
{
	pthread_mutex_lock(&t->lock);
	while (t->state == JOB_SUBMITTED)
		pthread_cond_wait(&t->done, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

void log_thread_hurry(struct log_thread *t, bool hurry)
{
	atomic_store_explicit(&t->hurry, hurry, memory_order_relaxed);
}

void log_thread_cut(struct log_thread *t, uint64_t rv)
{
	pthread_mutex_lock(&t->lock);
	if (rv > t->cut_rv) {
		t->cut_rv = rv;
		order(t);
	}
	pthread_mutex_unlock(&t->lock);
}
