/*
 * commit.h - from prepared to published: batches on their way through the log.
 *
 * Two batches: one is filled while the other is synced.  They are published in
 * order, and everything about a batch (versions, replies, work for others)
 * comes into sight only when it is durable:
 *
 *   fill      store_apply() into c->filling
 *   submit    to the log's thread, when that is free; a batch in which nothing
 *             has to be durable skips this, but not its turn.  A small write of
 *             somebody who writes alone and waits for the answer is appended by
 *             the store's own thread
 *   publish   every version in resourceVersion order, then the cache's rv, then
 *             hooks->published (replies, work, bells)
 *   or abort  when the log refused it: the batch being filled was built on it,
 *             so both are undone, newest first, and all their replies say why
 *
 * resourceVersions of writes that are not logged are not lost either: they are
 * only given out below a limit that is in the log (rv_safe), and a restart goes
 * on above it.
 */
#ifndef WEFT_STORE_COMMIT_H
#define WEFT_STORE_COMMIT_H

#include "procs/store/log_thread.h"
#include "procs/store/store.h"

#define BATCH_LOG_MAX	   (8u << 20) /* bytes; a batch is full at any of these */
#define BATCH_VERSIONS_MAX 65536u
#define BATCH_REPLIES_MAX  32768u
#define RV_AHEAD	   10000u /* how far memory writes may run ahead of the log */

struct commit_hooks {
	/* `v` will be published soon: its memory is there. */
	void (*ahead)(void *arg, const struct version *v);
	/* Around cw_publish() of each version; `before` sees the entry as it was. */
	void (*before)(void *arg, const struct version *v);
	void (*after)(void *arg, const struct version *v);
	/* The batch is visible, or was aborted: send its replies. */
	void (*published)(void *arg, struct batch *b);
	void *arg;
};

struct committer {
	struct store *s;
	struct log_thread *log;
	struct commit_hooks hooks;
	struct batch batch[2];
	struct batch *filling, *flying; /* flying: NULL if none */
	uint64_t rv_safe, rv_asked;	/* durable limit; the one under way */
	uint64_t filled, published;	/* batches begun, batches done with */
	uint64_t writes, log_bytes;	/* totals */
	bool failing;			/* the log refused the last batch */
	bool small;			/* the last batch that was logged */
	/* A client waits: an API server has sent something since the loop, whose this
	 * is too, said that it was long ago. */
	bool prompt;
};

void commit_init(struct committer *c, struct store *s, struct log_thread *log, uint64_t rv_safe,
		 const struct commit_hooks *hooks);
void commit_free(struct committer *c);

/* Nothing more should be put into the batch now. */
bool commit_full(const struct committer *c);
/* Do what can be done without waiting, but for the disk when somebody writes alone;
 * true if anything was. */
bool commit_turn(struct committer *c);
/* Nothing is prepared, under way or unanswered. */
bool commit_idle(const struct committer *c);
/* Wait until commit_idle().  For the end, and tests. */
void commit_drain(struct committer *c);
/* The end: the log learns that no resourceVersion was given beyond the last. */
int commit_finish(struct committer *c, struct err *e);

#endif
