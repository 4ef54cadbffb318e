/* main.c - the scheduler's queue and its process. */
#include <stdlib.h>

#include "procs/lib/mains.h"
#include "procs/scheduler/scheduler.h"

#define FLUSH_NS   INT64_C(300000000000) /* pods that wait are tried again at the latest */
#define IDLE_NS	   INT64_C(10000000) /* ... and while nothing else is to be done, at the earliest */
#define IDLE_SHARE 20

uint64_t moves_of(const struct scheduler *self, uint32_t mask)
{
	uint64_t sum = 0;

	for (int i = 0; i < MOVE_COUNT; i++)
		if (mask & MOVES(i))
			sum += self->moved[i];
	return sum;
}

void note_refusal(void *arg, const struct msg_reply *reply)
{
	static const int others[] = {WEFT_OK, WEFT_ENOENT, WEFT_EUID, WEFT_ECONFLICT, WEFT_ELOST};
	struct scheduler *self = arg;

	for (size_t i = 0; i < countof(others); i++)
		if (reply->status == others[i])
			return;
	self->moved[MOVE_REFUSED]++;
}

/* --- The queue ---------------------------------------------------------------------- */

static void activate(struct scheduler *self, struct kind *k)
{
	if (k->queued)
		return;
	if (self->nactive == self->active_cap) {
		self->active_cap = self->active_cap ? self->active_cap * 2 : 64;
		self->active = realloc(self->active, self->active_cap * sizeof(*self->active));
		weft_assert(self->active);
	}
	self->active[self->nactive++] = k;
	k->queued = true;
}

/* After a restart: what was promised is in the pod's status. */
static void remember_nomination(struct scheduler *self, struct kind *k, const struct entry *e,
				const struct version *v)
{
	value status = kube_part(self->z, self->c, e, v, PART_STATUS);
	struct str name = v_get_str(&status, "nominatedNodeName");
	struct node *node = name.n ? nodes_find(self, name) : NULL;

	if (node)
		nominate(self, &k->queue[k->n], k, node);
}

void queue_pod(struct scheduler *self, const struct entry *e)
{
	const struct version *v = cache_live(self->c, e);
	struct kind *k;

	if (!pod_waits(v) || !proc_mine_uid(self->proc, e->uid))
		return;
	k = kind_of(self, e, v);
	if (!k->ours)
		return;
	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 64;
		k->queue = realloc(k->queue, k->cap * sizeof(*k->queue));
		weft_assert(k->queue);
	}
	k->queue[k->n] = (struct pending){.entry = cache_entry_ref(self->c, e).u,
					  .created_rv = e->created_rv};
	if (v->writer_kind == PROC_SCHEDULER && !(v->flags & VERSION_FIRST))
		remember_nomination(self, k, e, v);
	k->n++;
	activate(self, k);
}

static void on_resync(void *arg)
{
	struct scheduler *self = arg;

	self->c = proc_cache(self->proc);
	self->begun = true;
	look_begin(self);
}

/* --- The turn ----------------------------------------------------------------------- */

static int by_priority(const void *pa, const void *pb)
{
	const struct kind *a = *(struct kind *const *)pa, *b = *(struct kind *const *)pb;

	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	return a->queue[a->at].created_rv < b->queue[b->at].created_rv ? -1 : 1;
}

static void drop_idle(struct scheduler *self)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < self->nactive; i++) {
		struct kind *k = self->active[i];

		if (k->at < k->n) {
			self->active[kept++] = k;
			continue;
		}
		k->queued = k->blocked = false;
		k->terms_seen = 0;
		k->retry_ns = 0;
		k->n = k->at = k->tell_at = 0;
		kind_rest(self, k);
	}
	self->nactive = kept;
}

/* Every kind that has pods waits for room. */
static bool is_idle(const struct scheduler *self)
{
	for (uint32_t i = 0; i < self->nactive; i++)
		if (!self->active[i]->blocked)
			return false;
	return true;
}

/* When a blocked kind is tried again whatever happens. */
static int64_t flush_ns(const struct kind *k)
{
	return k->owed ? k->retry_ns : k->retry_ns + FLUSH_NS;
}

/* When something changed, not before its back-off if there are others to place (KEP-5142);
 * else after a long time. */
static bool is_due(const struct scheduler *self, const struct kind *k, bool idle, int64_t now_ns)
{
	if (!k->blocked || now_ns >= flush_ns(k))
		return true;
	return (idle || now_ns >= k->retry_ns) && k->moves_seen != moves_of(self, k->waits_for);
}

/* When a kind wants its next turn; 0: when something happens, or more has been looked at. */
static int64_t next_turn(const struct scheduler *self, const struct kind *k, int64_t now_ns)
{
	if (k->at == k->n)
		return 0;
	if (!k->blocked)
		return k->for_look ? 0 : now_ns;
	if (k->moves_seen == moves_of(self, k->waits_for))
		return flush_ns(k);
	return self->idle_ns < k->retry_ns ? self->idle_ns : k->retry_ns;
}

/* False: the ring is full.  *early grows by what a try before the back-off took. */
static bool try_kind(struct scheduler *self, struct kind *k, int64_t now_ns, int64_t *early)
{
	int64_t start = clock_mono_ns();
	bool room;

	k->early = now_ns < k->retry_ns;
	room = place_kind(self, k);
	if (k->early)
		*early += clock_mono_ns() - start;
	return room;
}

/* Place what can be placed, and tell; false when the ring is full, or there is more to tell.
 * *next becomes when the next turn is wanted, 0: when something happens. */
static bool place_all(struct scheduler *self, bool idle, int64_t now_ns, int64_t *early,
		      int64_t *next)
{
	for (uint32_t i = 0; i < self->nactive; i++) {
		struct kind *k = self->active[i];
		int64_t due;

		k->used = self->tick;
		if ((is_due(self, k, idle, now_ns) && !try_kind(self, k, now_ns, early)) ||
		    !wait_tell(self, k))
			return false;
		due = next_turn(self, k, now_ns);
		if (due && (!*next || due < *next))
			*next = due;
	}
	return true;
}

static int64_t schedule(struct scheduler *self, int64_t now_ns)
{
	int64_t next = 0, early = 0;
	bool idle, done;

	drop_idle(self);
	if (self->nactive > 1)
		qsort(self->active, self->nactive, sizeof(*self->active), by_priority);
	idle = now_ns >= self->idle_ns && is_idle(self);
	if (idle) /* before the kinds say when they want their next turn */
		self->idle_ns = now_ns + IDLE_NS;
	done = place_all(self, idle, now_ns, &early, &next);
	/* Trying before the back-off takes one part in IDLE_SHARE of the time. */
	if (early * IDLE_SHARE > IDLE_NS)
		self->idle_ns = now_ns + early * IDLE_SHARE;
	return done ? next : now_ns + 1000000;
}

/* Pods that wait for us to look at them; those for which there is no node do not. */
static void count_queue(struct scheduler *self, int64_t now_ns)
{
	struct proc_counters *n = proc_counters(self->proc);
	uint64_t pods = 0;
	int64_t oldest = 0;

	for (uint32_t i = 0; i < self->nactive; i++) {
		struct kind *k = self->active[i];
		uint32_t end = k->blocked ? k->at : k->n;
		int64_t age = waiting_look(&k->waiting, k->at, end, now_ns);

		pods += end - k->at;
		oldest = age > oldest ? age : oldest;
	}
	atomic_store_explicit(&n->queue, pods, memory_order_relaxed);
	atomic_store_explicit(&n->queue_age_ms, (uint64_t)oldest / 1000000, memory_order_relaxed);
}

static int64_t on_turn(void *arg, int64_t now_ns)
{
	struct scheduler *self = arg;
	int64_t next;

	/* The store has us look at everything once it knows of us; that is soon, and once is enough. */
	if (!self->begun)
		return 0;
	self->c = proc_cache(self->proc);
	self->tick++;
	follow(self);
	if (self->behind)
		look_begin(self);
	look_on(self);
	if (self->behind)
		return now_ns;
	cache_lock(self->c);
	next = schedule(self, now_ns);
	place_flush(self);
	cache_unlock(self->c);
	count_queue(self, clock_mono_ns());
	kinds_trim(self);
	zone_reset(self->z);
	return is_looking(self) && (!next || self->look_ns < next) ? self->look_ns : next;
}

static void scheduler_free(struct scheduler *self)
{
	place_free(self);
	kinds_free(self);
	nodes_free(self);
	free(self->active);
	free(self->anti);
	free(self->against);
	free(self->nominated);
	refmap_free(&self->assumed);
	refmap_free(&self->victims);
	zone_free(self->z);
}

int scheduler_main(void)
{
	int status;
	struct scheduler self = {.proc = proc_start(PROC_SCHEDULER), .z = zone_new()};
	struct proc_handlers handlers = {.on_resync = on_resync, .on_turn = on_turn, .arg = &self};

	status = proc_run(self.proc, &handlers);
	scheduler_free(&self);
	return status;
}
