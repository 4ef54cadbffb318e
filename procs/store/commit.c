/* commit.c - what commit.h promises. */
#include "procs/store/commit.h"
#include "procs/store/quota.h"
#include "weft/fault.h"

/* A batch of one write of one object, and of what goes with it. */
#define SMALL_REPLIES  1u
#define SMALL_VERSIONS 4u
#define SMALL_BYTES    (16u << 10)

void commit_init(struct committer *c, struct store *s, struct log_thread *log, uint64_t rv_safe,
		 const struct commit_hooks *hooks)
{
	memset(c, 0, sizeof(*c));
	c->s = s;
	c->log = log;
	c->rv_safe = rv_safe;
	c->hooks = *hooks;
	c->filling = s->batch = &c->batch[0];
	c->filled = 1;
}

void commit_free(struct committer *c)
{
	batch_free(&c->batch[0]);
	batch_free(&c->batch[1]);
	c->s->batch = NULL;
}

bool commit_full(const struct committer *c)
{
	const struct batch *b = c->filling;

	return b->log.n >= BATCH_LOG_MAX || b->nversions >= BATCH_VERSIONS_MAX ||
	       b->nreplies >= BATCH_REPLIES_MAX;
}

bool commit_idle(const struct committer *c)
{
	return !c->flying && !c->filling->nversions && !c->filling->nreplies;
}

/* Go on with the other batch; what was filled is the caller's. */
static struct batch *take_filled(struct committer *c)
{
	struct batch *b = c->filling;

	c->filling = c->s->batch = &c->batch[b == &c->batch[0]];
	c->filled++;
	return b;
}

static void batch_done(struct committer *c, struct batch *b)
{
	c->published++;
	c->hooks.published(c->hooks.arg, b);
	batch_reset(b);
}

/* Versions were prepared a batch ago: bring back what publishing touches. */
static void fetch_versions(const struct committer *c, struct version *const *v, uint32_t n)
{
	n = n < CACHE_TOGETHER ? n : CACHE_TOGETHER;
	for (uint32_t i = 0; i < n; i++) {
		prefetch(v[i]);
		prefetch((const char *)v[i] + CACHE_LINE);
	}
	for (uint32_t i = 0; i < n; i++) {
		const char *at = (const char *)cache_entry(c->s->c, v[i]->entry);

		prefetch(at);
		prefetch(at + CACHE_LINE);
		if (!(v[i]->flags & VERSION_STAYS)) {
			cw_prefetch_state(c->s->w, prcu_own(&v[i]->prev));
			cw_prefetch_place(c->s->w, v[i], 0);
		}
		c->hooks.ahead(c->hooks.arg, v[i]);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!(v[i]->flags & VERSION_STAYS))
			cw_prefetch_place(c->s->w, v[i], 1);
}

static void publish(struct committer *c, struct batch *b)
{
	for (uint32_t i = 0; i < b->nversions; i++) {
		struct version *v = b->versions[i];

		if (i % CACHE_TOGETHER == 0)
			fetch_versions(c, b->versions + i, b->nversions - i);
		c->hooks.before(c->hooks.arg, v);
		cw_publish(c->s->w, v);
		c->hooks.after(c->hooks.arg, v);
		fault_at(store_publish);
	}
	fault_at(store_rv);
	if (b->nversions)
		cw_commit_rv(c->s->w, b->last_rv);
	c->writes += b->nversions;
	c->log_bytes += b->log.n;
	batch_done(c, b);
}

/* The log refused `b`. */
static void refuse(struct committer *c, struct batch *b, int rc, const struct err *e)
{
	struct batch *next = take_filled(c);
	struct str why = str_of(e->msg[0] ? e->msg : weft_strerror(rc));

	if (!c->failing)
		log_error("the log refuses writes: " STR_FMT, STR_ARG(why));
	c->failing = true;
	fault_at(store_abort);
	batch_abort(c->s, next, rc, why);
	batch_abort(c->s, b, rc, why);
	batch_done(c, b);
	batch_done(c, next);
}

static bool needs_log(const struct committer *c, const struct batch *b)
{
	return b->durable || b->last_rv > c->rv_safe;
}

static bool is_small(const struct batch *b)
{
	return b->nreplies <= SMALL_REPLIES && b->nversions <= SMALL_VERSIONS &&
	       b->log.n <= SMALL_BYTES;
}

/* Whoever sent this, and the batch before, sends no more before it is answered, and
 * nobody else sends anything: there is nothing to do while it is synced. */
static bool is_alone(const struct committer *c, const struct batch *b)
{
	return c->prompt && c->small && is_small(b);
}

static void submit(struct committer *c, struct batch *b)
{
	static const char head[LOG_HEAD];
	bool wait = is_alone(c, b);

	if (!b->log.n)
		buf_add(&b->log, head, sizeof(head));
	c->small = is_small(b);
	c->rv_asked = b->last_rv + RV_AHEAD;
	c->flying = b;
	fault_at(store_filled);
	log_thread_submit(c->log, &b->log, b->first_rv, b->last_rv, c->rv_asked, wait);
}

static bool land(struct committer *c)
{
	struct batch *b = c->flying;
	struct err e = {0};
	int rc;

	if (!b || !log_thread_done(c->log, &rc, &e))
		return false;
	c->flying = NULL;
	if (rc) {
		refuse(c, b, rc, &e);
		return true;
	}
	if (c->failing)
		log_info("the log takes writes again");
	c->failing = false;
	c->rv_safe = c->rv_asked;
	publish(c, b);
	return true;
}

bool commit_turn(struct committer *c)
{
	bool did = land(c);
	struct batch *b;

	if (c->flying || (!c->filling->nversions && !c->filling->nreplies))
		return did;
	quotas_settle(c->s);
	b = take_filled(c);
	if (b->nversions && needs_log(c, b)) {
		submit(c, b);
		land(c);
	} else {
		publish(c, b);
	}
	return true;
}

void commit_drain(struct committer *c)
{
	while (!commit_idle(c))
		if (!commit_turn(c))
			log_thread_wait(c->log);
}

int commit_finish(struct committer *c, struct err *e)
{
	struct buf b = {0};
	int rc = WEFT_OK;

	commit_drain(c);
	buf_reserve(&b, LOG_HEAD);
	b.n = LOG_HEAD;
	memset(b.p, 0, LOG_HEAD);
	log_thread_submit(c->log, &b, c->s->rv + 1, c->s->rv, c->s->rv, false);
	while (!log_thread_done(c->log, &rc, e))
		log_thread_wait(c->log);
	buf_free(&b);
	return rc;
}
