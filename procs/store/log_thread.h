/*
 * log_thread.h - a thread that appends batches, so that the next batch is
 * prepared while the last one is synced.
 *
 * One batch at a time: submit, go on with other work, look with done() (or wait
 * for the eventfd), and only then submit the next.  Between log_thread_start() and
 * log_thread_stop() the log is touched through this alone.
 */
#ifndef WEFT_STORE_LOG_THREAD_H
#define WEFT_STORE_LOG_THREAD_H

#include "procs/store/log.h"

struct log_thread;

/* While the submitter's own thread appends, fn(arg) is called from the log's thread
 * every so often: a disk that stands still is no submitter that does. */
struct log_beat {
	int64_t every_ns;
	void (*fn)(void *arg);
	void *arg;
};

/* `bell` (an eventfd, or -1) is written when the thread is done with a batch; `beat`
 * may be NULL. */
int log_thread_start(struct log_thread **out, struct log *log, int bell,
		     const struct log_beat *beat, struct err *e);
/* Waits for the batch under way. */
void log_thread_stop(struct log_thread *t);

/* Append `b` as log_append(); it belongs to the thread until done() says so.
 * `wait`: the caller has nothing else to do.  Then, if the append before took less than
 * a millisecond and the log is free, the caller's own thread does it, which saves two
 * hand-overs; done() is true when this returns, and no bell is rung. */
void log_thread_submit(struct log_thread *t, struct buf *b, uint64_t first_rv, uint64_t last_rv,
		       uint64_t rv_limit, bool wait);
bool log_thread_busy(const struct log_thread *t); /* a batch was submitted and not collected */
/* True once for each batch, when it is done: *rc is log_append()'s result. */
bool log_thread_done(struct log_thread *t, int *rc, struct err *e);
/* Block until the batch under way is done. */
void log_thread_wait(struct log_thread *t);

/* Whether it waits for the next batch awake, if that is likely to come soon. */
void log_thread_hurry(struct log_thread *t, bool hurry);

/* Segments that hold nothing after `rv` may go, when there is time. */
void log_thread_cut(struct log_thread *t, uint64_t rv);

#endif
