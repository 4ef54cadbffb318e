/* log_thread.c - what log_thread.h promises. */
#include "procs/store/log_thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "procs/lib/awake.h"
#include "weft/fault.h"

enum job_state { JOB_NONE, JOB_SUBMITTED, JOB_DONE };

/* `lock` guards everything below it; the job's fields are the thread's while
 * the state is JOB_SUBMITTED. */
struct log_thread {
	struct log *log;
	int bell;
	pthread_t thread;
	bool busy;		 /* the submitter's own */
	struct awake awake;	 /* the thread's own */
	_Atomic uint32_t orders; /* given so far: a hint to who waits awake */
	uint32_t seen;		 /* of them, by the thread */
	_Atomic bool hurry;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum job_state state;
	bool stop;
	uint64_t cut_rv, cut_done;
	struct buf *b;
	uint64_t first_rv, last_rv, rv_limit;
	int rc;
	struct err err;
};

static void job_finish(struct log_thread *t, int rc, const struct err *e)
{
	uint64_t one = 1;

	fault_at(store_synced);
	pthread_mutex_lock(&t->lock);
	t->rc = rc;
	t->err = *e;
	t->state = JOB_DONE;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
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
	pthread_cond_broadcast(&t->changed);
}

/* Looks at `orders` without the lock: a hint, what was ordered is read under it. */
static int look_for_orders(void *arg, int64_t wait_ns)
{
	struct log_thread *t = arg;

	if (!wait_ns)
		return atomic_load_explicit(&t->orders, memory_order_relaxed) != t->seen;
	pthread_mutex_lock(&t->lock);
	while (atomic_load_explicit(&t->orders, memory_order_relaxed) == t->seen)
		pthread_cond_wait(&t->changed, &t->lock);
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

static void *log_thread_main(void *arg)
{
	struct log_thread *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->stop || t->state == JOB_SUBMITTED) {
		t->seen = atomic_load_explicit(&t->orders, memory_order_relaxed);
		if (t->state == JOB_SUBMITTED) {
			struct err e = {0};

			pthread_mutex_unlock(&t->lock);
			fault_at(store_append);
			job_finish(
				t,
				log_append(t->log, t->b, t->first_rv, t->last_rv, t->rv_limit, &e),
				&e);
			log_prepare(t->log);
			pthread_mutex_lock(&t->lock);
		} else if (t->cut_rv != t->cut_done) {
			uint64_t rv = t->cut_done = t->cut_rv;

			pthread_mutex_unlock(&t->lock);
			housekeeping(t, rv);
			pthread_mutex_lock(&t->lock);
		} else {
			pthread_mutex_unlock(&t->lock);
			wait_for_orders(t);
			pthread_mutex_lock(&t->lock);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

int log_thread_start(struct log_thread **out, struct log *log, int bell, struct err *e)
{
	struct log_thread *t = calloc(1, sizeof(*t));
	int rc;

	weft_assert(t);
	t->log = log;
	t->bell = bell;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
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
	pthread_cond_destroy(&t->changed);
	free(t);
}

void log_thread_submit(struct log_thread *t, struct buf *b, uint64_t first_rv, uint64_t last_rv,
		       uint64_t rv_limit)
{
	weft_assert(!t->busy);
	t->busy = true;
	pthread_mutex_lock(&t->lock);
	t->b = b;
	t->first_rv = first_rv;
	t->last_rv = last_rv;
	t->rv_limit = rv_limit;
	t->state = JOB_SUBMITTED;
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
		pthread_cond_wait(&t->changed, &t->lock);
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
