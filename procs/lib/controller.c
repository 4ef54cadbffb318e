/* controller.c - what all controllers do: turn routed work into a queue of
 * objects, reconcile one after the other, follow the requests made for each. */
#include "procs/lib/lib.h"
#include "procs/lib/queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "weft/fault.h"
#include "weft/kube.h"

#define TURN_NS	  (2 * INT64_C(1000000)) /* then the inbox gets its turn */
#define RETRY_NS  (5 * INT64_C(1000000))
#define RING_ROOM 1024 /* bytes free before another reconcile is tried */

/* A request on its way, for which object. */
struct sent {
	struct controller *ctl;
	struct queue_item *item;
	uint64_t rv; /* of the object, when it was asked */
	reply_cb cb;
	void *arg;
	struct sent *next; /* when free */
};

struct controller {
	const struct controller_ops *ops;
	struct proc *p;
	struct queue queue;
	uint64_t resyncs, swept;
	zone *z;
	void *state;

	struct queue_item *current; /* being reconciled, or whose answer came */
	uint64_t current_rv;
	bool in_reconcile;
	bool blocked; /* the ring was full */
	struct sent *free;
};

/* --- Small questions --------------------------------------------------------- */

struct proc *ctl_proc(struct controller *ctl)
{
	return ctl->p;
}

struct cache *ctl_cache(struct controller *ctl)
{
	return ctl->p->cache;
}

void *ctl_state(struct controller *ctl)
{
	return ctl->state;
}

void *ctl_object_state(struct controller *ctl)
{
	weft_assert(ctl->current);
	return ctl->current->state;
}

void *ctl_zone(struct controller *ctl)
{
	return ctl->z;
}

uint32_t ctl_now_s(struct controller *ctl)
{
	return clock_wall_s();
}

uint64_t ctl_resyncs(struct controller *ctl)
{
	return ctl->resyncs;
}

/* --- Queueing ------------------------------------------------------------------ */

static bool mine(struct controller *ctl, const struct entry *e)
{
	if (ctl->ops->shared && ctl->ops->shared(ctl, e))
		return true;
	return ctl->ops->by_name ? proc_mine_name(ctl->p, entry_name(e))
				 : proc_mine_uid(ctl->p, e->uid);
}

static void enqueue(struct controller *ctl, const struct entry *e,
		    void (*add)(struct queue *q, struct queue_item *it, int64_t now_ns))
{
	struct queue_item *it;

	if (!mine(ctl, e) || (ctl->ops->wants && !ctl->ops->wants(ctl, e)))
		return;
	it = queue_item(&ctl->queue, e->uid);
	it->entry = cache_entry_ref(ctl->p->cache, e).u;
	add(&ctl->queue, it, clock_mono_ns());
}

void ctl_enqueue(struct controller *ctl, const struct entry *e)
{
	enqueue(ctl, e, queue_add);
}

void ctl_after(struct controller *ctl, uint64_t ms)
{
	weft_assert(ctl->current);
	queue_at(&ctl->queue, ctl->current, clock_mono_ns() + (int64_t)ms * 1000000);
}

static void take_work(struct controller *ctl, uint16_t type, const struct entry *e)
{
	if (!ctl->ops->type || type == ctl->ops->type)
		ctl_enqueue(ctl, e);
	else if (ctl->ops->map)
		ctl->ops->map(ctl, e);
}

static void on_work(void *arg, uint16_t type, struct u32s entries)
{
	struct controller *ctl = arg;
	struct cache *c = ctl->p->cache;
	const struct entry *e;

	cache_lock(c);
	for (uint32_t i = 0; i < entries.n; i++) {
		cache_prefetch_ahead(c, entries.p, entries.n, i);
		e = proc_work_entry(ctl->p, type, entries.p[i]);
		if (e)
			take_work(ctl, type, e);
	}
	cache_unlock(c);
}

/* --- Rebuilding the queue ----------------------------------------------------------- */

#define SWEEP 4096 /* items looked at in one read section */

/* Forget objects that are gone, or another shard's now. */
static void sweep_one(void *arg, struct queue_item *it)
{
	struct controller *ctl = arg;
	struct cache *c = ctl->p->cache;
	const struct entry *e;

	if (++ctl->swept % SWEEP == 0) {
		cache_unlock(c);
		proc_beat(ctl->p);
		cache_lock(c);
	}
	e = cache_find_uid(c, it->uid);
	it->entry = e ? cache_entry_ref(c, e).u : 0;
	if (e && mine(ctl, e) && cache_live(c, e))
		return;
	if (it->in_flight)
		it->flags |= QUEUE_GONE;
	else
		queue_drop(&ctl->queue, it);
}

static void enqueue_live(void *arg, const struct entry *e)
{
	struct controller *ctl = arg;

	if (cache_live(ctl->p->cache, e))
		enqueue(ctl, e, queue_add_later);
}

static void enqueue_every_type(struct controller *ctl)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++)
		if (r[i].type && r[i].stored_version)
			proc_each(ctl->p, r[i].type, enqueue_live, ctl);
}

static void on_resync(void *arg)
{
	struct controller *ctl = arg;

	ctl->resyncs++;
	cache_lock(ctl->p->cache);
	queue_each(&ctl->queue, sweep_one, ctl);
	cache_unlock(ctl->p->cache);
	if (ctl->ops->resync)
		ctl->ops->resync(ctl);
	if (ctl->ops->type)
		proc_each(ctl->p, ctl->ops->type, enqueue_live, ctl);
	else
		enqueue_every_type(ctl);
}

/* --- Reconciling -------------------------------------------------------------------- */

/* The item's entry, or NULL when it is no more. */
static const struct entry *entry_of(struct controller *ctl, struct queue_item *it)
{
	struct cache *c = ctl->p->cache;
	const struct entry *e;

	if (it->entry && !cache_entry_checked(c, it->entry, &e) && memcmp(e->uid, it->uid, 16) == 0)
		return e;
	e = cache_find_uid(c, it->uid);
	if (e)
		it->entry = cache_entry_ref(c, e).u;
	return e;
}

/* Call the controller's rules; true if the object is gone for good. */
static bool reconcile_entry(struct controller *ctl, struct queue_item *it)
{
	const struct entry *e = entry_of(ctl, it);
	const struct version *v = e ? cache_newest(ctl->p->cache, e) : NULL;
	bool gone;

	if (!v) {
		/* Its tombstone went before we saw it: what follows from that has to
		 * be found by looking. */
		ctl->p->resync |= ctl->ops->wants_gone;
		return true;
	}
	gone = (v->flags & VERSION_TOMBSTONE) != 0;
	if (gone && !ctl->ops->wants_gone)
		return true;
	ctl->current_rv = v->rv;
	fault_at(ctl_reconcile);
	ctl->ops->reconcile(ctl, e, v);
	fault_at(ctl_reconciled);
	return gone;
}

static void reconcile(struct controller *ctl, struct queue_item *it)
{
	bool gone;

	ctl->current = it;
	ctl->in_reconcile = true;
	ctl->blocked = false;
	zone_reset(ctl->z);
	cache_lock(ctl->p->cache);
	gone = reconcile_entry(ctl, it);
	cache_unlock(ctl->p->cache);
	ctl->in_reconcile = false;
	ctl->current = NULL;
	atomic_fetch_add_explicit(&ctl->p->own->counters.reconciles, 1, memory_order_relaxed);
	if (ctl->blocked)
		queue_push_front(&ctl->queue, it, clock_mono_ns());
	else if (gone && it->in_flight)
		it->flags |= QUEUE_GONE;
	else if (gone)
		queue_drop(&ctl->queue, it);
	else if (!it->in_flight)
		it->failures = 0;
}

static void count_queue(struct controller *ctl, int64_t now)
{
	struct proc_counters *n = &ctl->p->own->counters;

	atomic_store_explicit(&n->queue, ctl->queue.waiting, memory_order_relaxed);
	atomic_store_explicit(&n->queue_age_ms,
			      (uint64_t)(queue_age_ns(&ctl->queue, now) / 1000000),
			      memory_order_relaxed);
}

/* Reconcile for a while; returns when to be called again. */
static int64_t work_on_queue(struct controller *ctl, int64_t now)
{
	int64_t timer = queue_due(&ctl->queue, now), until = proc_mono_ns() + TURN_NS;
	struct queue_item *it;

	while (proc_can_send(ctl->p, RING_ROOM) && (it = queue_pop(&ctl->queue))) {
		reconcile(ctl, it);
		if (ctl->blocked || proc_mono_ns() >= until)
			break;
	}
	now = clock_mono_ns();
	timer = queue_due(&ctl->queue, now);
	count_queue(ctl, now);
	if (ctl->queue.waiting && !ctl->blocked && proc_can_send(ctl->p, RING_ROOM))
		return now;
	/* A full ring empties with answers, and those ring our bell; without
	 * any to come, try again soon. */
	if (ctl->queue.waiting && !proc_in_flight(ctl->p))
		timer = now + RETRY_NS;
	return timer;
}

static int64_t on_turn(void *arg, int64_t now)
{
	struct controller *ctl = arg;
	int64_t own = 0, next;

	if (ctl->ops->turn) {
		zone_reset(ctl->z);
		cache_lock(ctl->p->cache);
		own = ctl->ops->turn(ctl, now);
		cache_unlock(ctl->p->cache);
	}
	next = work_on_queue(ctl, now);
	return !next || (own && own < next) ? own : next;
}

/* --- Requests ----------------------------------------------------------------------- */

/* What was asked for an object that is gone was not done: no event will lead
 * there again, only a look at everything. */
static bool is_lost(const struct queue_item *it, const struct msg_reply *reply)
{
	return it->flags & QUEUE_GONE && reply->status != WEFT_EFENCED &&
	       (reply->status || reply->skipped.n);
}

static void on_reply(void *arg, const struct msg_reply *reply)
{
	struct sent *s = arg;
	struct controller *ctl = s->ctl;
	struct queue_item *it = s->item, *outer = ctl->current;
	uint64_t outer_rv = ctl->current_rv;

	ctl->blocked = false;
	if (s->cb) {
		ctl->current = it;
		ctl->current_rv = s->rv;
		s->cb(s->arg, reply);
		ctl->current = outer;
		ctl->current_rv = outer_rv;
	}
	if (it && is_lost(it, reply))
		ctl->p->resync = true;
	if (it)
		queue_answered(&ctl->queue, it, reply->status, clock_mono_ns());
	s->next = ctl->free;
	ctl->free = s;
}

static struct sent *take_sent(struct controller *ctl)
{
	struct sent *s = ctl->free;

	if (s) {
		ctl->free = s->next;
		return s;
	}
	s = malloc(sizeof(*s));
	if (!s)
		weft_fatal("out of memory for a request");
	return s;
}

int ctl_send(struct controller *ctl, struct msg *m, reply_cb cb, void *arg)
{
	struct sent *s = take_sent(ctl);
	int rc;

	*s = (struct sent){.ctl = ctl,
			   .item = ctl->current,
			   .rv = ctl->current ? ctl->current_rv : 0,
			   .cb = cb,
			   .arg = arg};
	msg_request(m)->cause = s->rv;
	rc = proc_send(ctl->p, m, on_reply, s);
	if (rc) {
		s->next = ctl->free;
		ctl->free = s;
		if (rc == WEFT_EAGAIN)
			ctl->blocked = ctl->in_reconcile;
		return rc;
	}
	if (ctl->current)
		queue_sent(ctl->current);
	return 0;
}

void ctl_event(struct controller *ctl, const struct entry *about, const char *type,
	       const char *reason, const char *fmt, ...)
{
	struct event_source source = {.component = ctl->ops->component};
	char text[1024];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(text))
		n = sizeof(text) - 1;
	proc_event(ctl->p, about, &source, type, reason, (struct str){text, (uint32_t)n});
}

/* --- The whole ---------------------------------------------------------------------- */

struct controller *controller_new(const struct controller_ops *ops, struct proc *p,
				  struct proc_handlers *handlers)
{
	struct controller *ctl = calloc(1, sizeof(*ctl));

	if (!ctl)
		weft_fatal("out of memory for a controller");
	ctl->ops = ops;
	ctl->p = p;
	ctl->z = zone_new();
	ctl->state = calloc(1, ops->state_size ? ops->state_size : 1);
	if (!ctl->state)
		weft_fatal("out of memory for the controller's state");
	queue_init(&ctl->queue, ops->object_state_size);
	*handlers = (struct proc_handlers){
		.on_work = on_work, .on_resync = on_resync, .on_turn = on_turn, .arg = ctl};
	if (ops->start)
		ops->start(ctl);
	return ctl;
}

void controller_free(struct controller *ctl)
{
	while (ctl->free) {
		struct sent *next = ctl->free->next;

		free(ctl->free);
		ctl->free = next;
	}
	queue_free(&ctl->queue);
	zone_free(ctl->z);
	free(ctl->state);
	free(ctl);
}

int controller_main(const struct controller_ops *ops)
{
	struct proc_handlers handlers;
	struct proc *p = proc_start(ops->kind);

	controller_new(ops, p, &handlers);
	return proc_run(p, &handlers);
}
