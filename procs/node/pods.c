/* pods.c - the queue of pods, their timers, and those done one by one. */
#include <stdio.h>
#include <stdlib.h>

#include "procs/kube/peek.h"
#include "procs/node/node.h"

#define TURN_MAX    8192u /* pods looked at in one turn of the loop */
#define SECTION_MAX 512u  /* and in one read section */
#define DOOMED_MAX  4096u
#define SEND_ROOM   (384u << 10) /* a full batch fits */
#define ADDRESS_MS  2000	 /* until a pod that found no address tries again */
#define WALK_REST   2		 /* a walk pauses for so many times as long as it took */

/* A pod that is taken forward one by one.  `key` is its created_rv, which no
 * other object of this generation has. */
struct lively {
	uint64_t key;	  /* 0: free */
	uint64_t sent_rv; /* a status for this version is on its way */
	int64_t wake_ms;
	uint32_t pull_attempts;
	int64_t pull_due_ms;
	bool stop_told;
};

struct timer {
	int64_t due_ms;
	uint64_t key;
	uint32_t entry;
};

/* --- The queue ------------------------------------------------------------------- */

void pods_queue(struct node *self, uint32_t entry)
{
	if (self->queue_n == self->queue_cap) {
		self->queue_cap = self->queue_cap ? self->queue_cap * 2 : 1024;
		self->queue = realloc(self->queue, self->queue_cap * sizeof(*self->queue));
		weft_assert(self->queue);
	}
	self->queue[self->queue_n++] = entry;
}

/* --- Lively pods ------------------------------------------------------------------- */

static struct lively *find_lively(struct node *self, uint64_t key)
{
	uint32_t mask = self->lively_cap - 1, i;

	if (!self->lively_cap)
		return NULL;
	for (i = home_of(key, self->lively_cap); self->lively[i].key; i = (i + 1) & mask)
		if (self->lively[i].key == key)
			return &self->lively[i];
	return NULL;
}

static struct lively *put_lively(struct lively *table, uint32_t cap, uint64_t key)
{
	uint32_t mask = cap - 1, i = home_of(key, cap);

	while (table[i].key)
		i = (i + 1) & mask;
	table[i].key = key;
	return &table[i];
}

static void grow_lively(struct node *self)
{
	uint32_t cap = self->lively_cap ? self->lively_cap * 2 : 256;
	struct lively *table = calloc(cap, sizeof(*table));

	weft_assert(table);
	for (uint32_t i = 0; i < self->lively_cap; i++)
		if (self->lively[i].key)
			*put_lively(table, cap, self->lively[i].key) = self->lively[i];
	free(self->lively);
	self->lively = table;
	self->lively_cap = cap;
}

static struct lively *want_lively(struct node *self, uint64_t key)
{
	struct lively *l = find_lively(self, key);

	if (l)
		return l;
	if (self->lively_n * 2 >= self->lively_cap)
		grow_lively(self);
	self->lively_n++;
	return put_lively(self->lively, self->lively_cap, key);
}

/* Take it out and close the gap, so that those behind it are still found. */
static void drop_lively(struct node *self, uint64_t key)
{
	struct lively *l = find_lively(self, key);
	uint32_t mask = self->lively_cap - 1, i;

	if (!l)
		return;
	l->key = 0;
	self->lively_n--;
	for (i = (uint32_t)(l - self->lively + 1) & mask; self->lively[i].key; i = (i + 1) & mask) {
		struct lively moved = self->lively[i];

		self->lively[i].key = 0;
		*put_lively(self->lively, self->lively_cap, moved.key) = moved;
	}
}

/* --- Timers ------------------------------------------------------------------------- */

static void swap_timers(struct node *self, uint32_t a, uint32_t b)
{
	struct timer t = self->timers[a];

	self->timers[a] = self->timers[b];
	self->timers[b] = t;
}

static void add_timer(struct node *self, const struct entry *e, int64_t due_ms)
{
	uint32_t i = self->ntimers++;

	if (self->ntimers > self->timers_cap) {
		self->timers_cap = self->timers_cap ? self->timers_cap * 2 : 256;
		self->timers = realloc(self->timers, self->timers_cap * sizeof(*self->timers));
		weft_assert(self->timers);
	}
	self->timers[i] = (struct timer){due_ms, e->created_rv, cache_entry_ref(self->c, e).u};
	for (; i && self->timers[i].due_ms < self->timers[(i - 1) / 2].due_ms; i = (i - 1) / 2)
		swap_timers(self, i, (i - 1) / 2);
}

static struct timer pop_timer(struct node *self)
{
	struct timer top = self->timers[0];
	uint32_t i = 0, n = --self->ntimers;

	self->timers[0] = self->timers[n];
	for (;;) {
		uint32_t least = i, l = 2 * i + 1, r = l + 1;

		if (l < n && self->timers[l].due_ms < self->timers[least].due_ms)
			least = l;
		if (r < n && self->timers[r].due_ms < self->timers[least].due_ms)
			least = r;
		if (least == i)
			return top;
		swap_timers(self, i, least);
		i = least;
	}
}

/* Be called for this pod at `due_ms`; an earlier timer of it is void. */
static void wake_at(struct node *self, const struct entry *e, struct lively *l, int64_t due_ms)
{
	if (l->wake_ms == due_ms)
		return;
	l->wake_ms = due_ms;
	add_timer(self, e, due_ms);
}

/* --- Reading ------------------------------------------------------------------------ */

void pods_read(struct node *self, const struct entry *e, const struct version *v, bool fill,
	       struct kubelet_pod *out)
{
	const struct cache *c = self->c;
	zone *z = self->z;
	struct str status = cache_part(c, v, PART_STATUS);
	value *trees = zone_alloc(z, 3 * sizeof(*trees));

	trees[0] = kube_part(z, c, e, v, PART_SPEC);
	trees[1] = kube_part(z, c, e, v, PART_META);
	trees[2] = kube_part(z, c, e, v, PART_LABELS);
	*out = (struct kubelet_pod){
		.z = z,
		.spec = &trees[0],
		.rules = self->rules,
		.name = entry_name(e),
		.generation = v->generation,
		.now_ms = clock_wall_ns() / 1000000,
		.facts = {.meta = &trees[1],
			  .labels = &trees[2],
			  .ns = cache_ns(c, e),
			  .node = cache_node_name(self->c, v)},
		.status = v_map(),
	};
	memcpy(out->uid, e->uid, 16);
	if (fill)
		out->status = kube_part(z, c, e, v, PART_STATUS);
	else if (status.n)
		v_decode(z, status, &out->status);
	if (!v_is_map(&out->status))
		out->status = v_map();
}

/* Read where it is stored, as a text or as a hole. */
static struct known_address find_address(struct str status, uint64_t hash)
{
	struct peek k = peek_of(peek_get(status, STR("podIP")));
	struct known_address a = {.status = hash, .hole = -1};
	struct mp_item it;

	if (!peek_item(&k, &it))
		return a;
	if (it.type == MSGPACK_OBJECT_STR)
		a.ip = address_parse((struct str){it.p, it.n});
	else if (it.type == MSGPACK_OBJECT_EXT && it.ext == HOLE_IPV4 && it.n == 1)
		a.hole = (uint8_t)*it.p;
	return a;
}

/* The pod's own address, 0 if it has none.  This is done for every pod that goes, and for
 * all when shards have changed. */
uint32_t pods_address(struct node *self, const struct entry *e, const struct version *v)
{
	uint64_t status = cache_part_hash(self->c, v, PART_STATUS);
	struct known_address *a = &self->known_address;

	if (v->hot.flags & HOT_HOSTNET || !status)
		return 0;
	if (a->status != status)
		*a = find_address(cache_part(self->c, v, PART_STATUS), status);
	if (a->hole < 0)
		return a->ip;
	return a->hole < v->nholes ? v->holes[a->hole] : 0;
}

uint32_t pods_holder(const struct entry *e)
{
	uint32_t holder = (uint32_t)e->created_rv;

	return holder ? holder : 1;
}

void pods_tell(struct node *self, const struct entry *e, const struct known_node *node,
	       const struct kubelet_event *events, uint32_t n)
{
	if (!n || !proc_event_room(self->proc))
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct event_source source = {.component = "kubelet",
					      .host = str_of(node->name),
					      .field_path = events[i].field_path};

		proc_event(self->proc, e, &source, events[i].type, events[i].reason,
			   events[i].message);
	}
}

/* --- One pod ------------------------------------------------------------------------ */

struct sent {
	struct node *self;
	struct asked asked;
	struct asked_pod pod;
	uint64_t key;
};

static void on_status(void *arg, const struct msg_reply *reply)
{
	struct sent *s = arg;
	struct lively *l = find_lively(s->self, s->key);

	if (reply->status == WEFT_ELOST)
		goto out; /* everything is looked at anew */
	if (l)
		l->sent_rv = 0;
	if (reply->status == WEFT_OK && !reply->skipped.n)
		goto out;
	address_give(&s->self->addresses, s->pod.ip, s->pod.holder);
	pods_queue(s->self, s->pod.entry);
out:
	asked_remove(&s->asked);
	free(s);
}

static int send_status(struct node *self, const struct entry *e, const struct version *v,
		       const value *status, uint32_t fresh_ip)
{
	uint32_t entry = cache_entry_ref(self->c, e).u;
	struct sent *s = malloc(sizeof(*s));
	struct buf bytes = {0};
	struct msg m = {.kind = MSG_status_many};
	int ret;

	weft_assert(s);
	*s = (struct sent){
		.self = self, .pod = {entry, fresh_ip, pods_holder(e)}, .key = e->created_rv};
	s->asked = (struct asked){.n = 1, .pods = &s->pod};
	asked_add(&self->asked, &s->asked);
	v_encode(&bytes, status);
	m.status_many = (struct msg_status_many){
		.type = TYPE_POD,
		.status = buf_str(&bytes),
		.entries = {&entry, 1},
		.rvs = {&v->rv, 1},
	};
	ret = proc_send(self->proc, &m, on_status, s);
	buf_free(&bytes);
	if (ret) {
		asked_remove(&s->asked);
		free(s);
	}
	return ret;
}

void pods_wait_for_address(struct node *self, const struct known_node *node, const struct entry *e)
{
	const struct kubelet_event none = {
		"Warning", "FailedCreatePodSandBox",
		STR("Failed to create pod sandbox: no address of pods.cidr is free"), STR("")};

	if (self->walking) {
		self->hurry = true;
		pods_queue(self, cache_entry_ref(self->c, e).u);
		return;
	}
	self->none_free = true;
	pods_tell(self, e, node, &none, 1);
	wake_at(self, e, want_lively(self, e->created_rv), clock_wall_ns() / 1000000 + ADDRESS_MS);
}

static void advance(struct node *self, const struct known_node *node, const struct entry *e,
		    const struct version *v)
{
	struct lively *l = want_lively(self, e->created_rv);
	struct kubelet_pod p;
	uint32_t fresh_ip = 0;

	if (l->sent_rv == v->rv)
		return; /* comes back with the reply or its own write */
	pods_read(self, e, v, true, &p);
	p.host_ip = node->host_ip;
	if (!(v->hot.flags & HOT_HOSTNET) && !kubelet_has_address(&p.status)) {
		p.pod_ip = fresh_ip = address_take(&self->addresses, pods_holder(e));
		if (!fresh_ip) {
			pods_wait_for_address(self, node, e);
			return;
		}
	}
	p.pull_attempts = l->pull_attempts;
	p.pull_due_ms = l->pull_due_ms;
	if (kubelet_advance(&p)) {
		if (send_status(self, e, v, &p.status, fresh_ip)) {
			address_give(&self->addresses, fresh_ip, pods_holder(e));
			pods_queue(self, cache_entry_ref(self->c, e).u);
			return;
		}
		l->sent_rv = v->rv;
		l->pull_attempts += p.pull_failed;
		l->pull_due_ms = p.pull_due_ms;
		pods_tell(self, e, node, p.events, p.nevents);
	} else {
		address_give(&self->addresses, fresh_ip, pods_holder(e));
	}
	if (p.wake_ms)
		wake_at(self, e, l, p.wake_ms);
	else if (!l->sent_rv)
		drop_lively(self, e->created_rv);
}

/* --- Removal ------------------------------------------------------------------------ */

struct removal {
	struct node *self;
	uint32_t n, entries[];
};

/* Those that were skipped have changed, and come for that. */
static void on_removal(void *arg, const struct msg_reply *reply)
{
	struct removal *r = arg;

	/* When the store was lost, everything is looked at anew. */
	if (reply->status != WEFT_OK && reply->status != WEFT_ELOST)
		for (uint32_t i = 0; i < r->n; i++)
			pods_queue(r->self, r->entries[i]);
	free(r);
}

static struct removal *removal_new(struct node *self)
{
	size_t bytes = self->ndoomed * sizeof(*self->doomed);
	struct removal *r = malloc(sizeof(*r) + bytes);

	weft_assert(r);
	*r = (struct removal){self, self->ndoomed};
	memcpy(r->entries, self->doomed, bytes);
	return r;
}

static void flush_doomed(struct node *self)
{
	struct msg m = {.kind = MSG_delete_many};
	struct removal *r;

	if (!self->ndoomed)
		return;
	m.delete_many = (struct msg_delete_many){
		.type = TYPE_POD,
		.grace = 0,
		.propagation = PROPAGATION_BACKGROUND,
		.entries = {self->doomed, self->ndoomed},
		.rvs = {self->doomed_rvs, self->ndoomed},
	};
	r = removal_new(self);
	if (proc_send(self->proc, &m, on_removal, r)) {
		for (uint32_t i = 0; i < r->n; i++)
			pods_queue(self, r->entries[i]);
		free(r);
	}
	self->ndoomed = 0;
}

static void doom(struct node *self, const struct entry *e, const struct version *v)
{
	if (!self->doomed) {
		self->doomed = malloc(DOOMED_MAX * sizeof(*self->doomed));
		self->doomed_rvs = malloc(DOOMED_MAX * sizeof(*self->doomed_rvs));
		weft_assert(self->doomed && self->doomed_rvs);
	}
	self->doomed[self->ndoomed] = cache_entry_ref(self->c, e).u;
	self->doomed_rvs[self->ndoomed++] = v->rv;
	if (self->ndoomed == DOOMED_MAX)
		flush_doomed(self);
}

/* Somebody holds the pod after its containers have stopped: it shows that they
 * have. */
static void show_stopped(struct node *self, const struct entry *e, const struct version *v)
{
	struct lively *l = want_lively(self, e->created_rv);
	struct kubelet_pod p;

	if (l->sent_rv == v->rv)
		return;
	pods_read(self, e, v, true, &p);
	kubelet_stopped(&p);
	if (send_status(self, e, v, &p.status, 0))
		pods_queue(self, cache_entry_ref(self->c, e).u);
	else
		l->sent_rv = v->rv;
}

static void remove_stopped(struct node *self, const struct entry *e, const struct version *v)
{
	bool held = v->flags & VERSION_FINALIZERS;

	if (held && !pod_has_ended(v))
		show_stopped(self, e, v);
	else if (!held || v->grace_s)
		doom(self, e, v);
}

/* Containers that take their time to stop: told once, removed when they have. */
static void stop_slowly(struct node *self, const struct known_node *node, const struct entry *e,
			const struct version *v)
{
	struct lively *l = want_lively(self, e->created_rv);
	struct kubelet_pod p;
	int64_t stop_ms, due_ms;

	pods_read(self, e, v, true, &p);
	stop_ms = kubelet_stop(&p, v->grace_s > 0 ? v->grace_s : 0);
	due_ms = ((int64_t)v->deletion_s - (v->grace_s > 0 ? v->grace_s : 0)) * 1000 + stop_ms;
	if (!l->stop_told)
		pods_tell(self, e, node, p.events, p.nevents);
	l->stop_told = true;
	if (p.now_ms < due_ms)
		wake_at(self, e, l, due_ms);
	else
		remove_stopped(self, e, v);
}

static void terminate(struct node *self, const struct known_node *node, const struct entry *e,
		      const struct version *v)
{
	struct plan *plan;

	if (pod_has_ended(v)) {
		remove_stopped(self, e, v);
		return;
	}
	plan = plan_for(self, e, v);
	if (plan->stop_ms) {
		stop_slowly(self, node, e, v);
		return;
	}
	pods_tell(self, e, node, plan->stops.list, plan->stops.n);
	remove_stopped(self, e, v);
}

static void forget(struct node *self, const struct entry *e, const struct version *v)
{
	uint32_t ip = pods_address(self, e, v);

	if (ip)
		address_give(&self->addresses, ip, pods_holder(e));
	drop_lively(self, e->created_rv);
}

/* --- The turn ----------------------------------------------------------------------- */

/* Nothing is to be done for the pod until somebody else changes it: it has ended, or is what a
 * plan made of it. */
static bool rests(const struct version *v)
{
	return !v->deletion_s && !(v->flags & VERSION_TOMBSTONE) &&
	       (pod_has_ended(v) || (v->writer_kind == PROC_NODE && v->nholes >= KUBELET_HOLES));
}

/* Clients, too, write addresses into statuses. */
static void note_address(struct node *self, const struct entry *e, const struct version *v)
{
	uint32_t ip = pods_address(self, e, v);

	if (ip)
		address_note(&self->addresses, ip, pods_holder(e));
}

static void look(struct node *self, uint32_t ref)
{
	const struct entry *e;
	const struct version *v;
	const struct known_node *node;
	struct plan *plan;

	if (cache_entry_checked(self->c, ref, &e) || e->type != TYPE_POD)
		return;
	v = cache_newest(self->c, e);
	if (!v || !v->hot.node.u)
		return;
	if (v->flags & VERSION_TOMBSTONE) {
		forget(self, e, v);
		return;
	}
	node = kubelets_find(self, v->hot.node);
	if (!node)
		return;
	if (v->deletion_s) {
		terminate(self, node, e, v);
		return;
	}
	if (v->writer_kind != PROC_NODE)
		note_address(self, e, v);
	if (rests(v))
		return;
	plan = v->hot.phase == POD_PENDING ? plan_for(self, e, v) : NULL;
	if (plan && !plan->single)
		plan_add(self, plan, node, e, v);
	else
		advance(self, node, e, v);
}

/* What look() needs of the pods that come next. */
static void fetch_ahead(struct node *self)
{
	nodeslot_ref slots[CACHE_TOGETHER];
	uint32_t n = 0;

	cache_prefetch_ahead(self->c, self->queue, self->queue_n, self->queue_at);
	if (self->queue_at % CACHE_TOGETHER)
		return;
	for (uint32_t i = self->queue_at; i < self->queue_n && n < CACHE_TOGETHER; i++) {
		const struct entry *e;
		const struct version *v = NULL;

		if (!cache_entry_checked(self->c, self->queue[i], &e))
			v = cache_newest(self->c, e);
		slots[n++] = v ? v->hot.node : (nodeslot_ref){0};
	}
	kubelets_prefetch(self, slots, n);
}

static int64_t run_timers(struct node *self)
{
	int64_t now_ms = clock_wall_ns() / 1000000;

	while (self->ntimers && self->timers[0].due_ms <= now_ms) {
		struct timer t = pop_timer(self);
		struct lively *l = find_lively(self, t.key);

		if (!l || l->wake_ms != t.due_ms)
			continue;
		l->wake_ms = 0;
		pods_queue(self, t.entry);
	}
	return self->ntimers ? self->timers[0].due_ms : 0;
}

/* Make room for others where those were that have been looked at. */
static void close_gap(struct node *self)
{
	if (!self->queue_at || (self->queue_at < self->queue_n && self->queue_at <= 65536))
		return;
	self->queue_n -= self->queue_at;
	memmove(self->queue, self->queue + self->queue_at, self->queue_n * sizeof(*self->queue));
	self->queue_gone += self->queue_at;
	self->queue_at = 0;
}

static void count_queue(struct node *self)
{
	struct proc_counters *n = proc_counters(self->proc);
	int64_t age = waiting_look(&self->waiting, self->queue_gone + self->queue_at,
				   self->queue_gone + self->queue_n, clock_mono_ns());

	atomic_store_explicit(&n->queue, self->queue_n - self->queue_at, memory_order_relaxed);
	atomic_store_explicit(&n->queue_age_ms, (uint64_t)age / 1000000, memory_order_relaxed);
}

int64_t pods_turn(struct node *self)
{
	struct cache *c = proc_cache(self->proc);
	int64_t due = run_timers(self);
	uint32_t done = 0;

	while (self->queue_at < self->queue_n && done < TURN_MAX && !self->hurry &&
	       proc_can_send(self->proc, SEND_ROOM)) {
		cache_lock(c);
		for (uint32_t i = 0; i < SECTION_MAX && self->queue_at < self->queue_n;
		     i++, done++) {
			fetch_ahead(self);
			look(self, self->queue[self->queue_at++]);
		}
		cache_unlock(c);
		zone_reset(self->z);
	}
	plan_flush_all(self);
	flush_doomed(self);
	close_gap(self);
	count_queue(self);
	if (self->queue_n) /* a full ring empties with replies, and these wake us */
		return proc_can_send(self->proc, SEND_ROOM) ? 1 : clock_wall_ns() / 1000000 + 5;
	return self->ntimers ? self->timers[0].due_ms : due;
}

/* What the pod is now; NULL if it has no node. */
static const struct version *mark_address(struct node *self, const struct entry *e)
{
	const struct version *v = cache_live(self->c, e);
	uint32_t ip;

	if (!v || !v->hot.node.u)
		return NULL;
	ip = pods_address(self, e, v);
	if (ip)
		address_mark(&self->addresses, ip, pods_holder(e));
	return v;
}

static void mark_pod(void *arg, const struct entry *e)
{
	mark_address(arg, e);
}

void pods_mark_addresses(struct node *self)
{
	proc_each(self->proc, TYPE_POD, mark_pod, self);
}

/* --- A look at all ------------------------------------------------------------------- */

static void forget_all(struct node *self)
{
	self->queue_gone += self->queue_n;
	self->queue_n = self->queue_at = self->ntimers = self->ndoomed = 0;
	free(self->lively);
	self->lively = NULL;
	self->lively_n = self->lively_cap = 0;
	plan_forget(self);
	self->walking = self->hurry = false;
}

/* Note the address of every pod, as those of other shards may lie in our share after a
 * change of their number; and look at the pods of our nodes. */
static void take_pod(void *arg, const struct entry *e)
{
	struct node *self = arg;
	const struct version *v = mark_address(self, e);

	if (v && !rests(v) && proc_mine_name(self->proc, cache_node_name(self->c, v)))
		pods_queue(self, cache_entry_ref(self->c, e).u);
}

void pods_resync(struct node *self)
{
	forget_all(self);
	proc_each(self->proc, TYPE_POD, take_pod, self);
}

/* A pod that was given a node, or is to go, a moment ago: who follows a dead process has these to
 * do before the walk comes to them. */
static void queue_if_new(void *arg, const struct entry *e, const struct version *v)
{
	struct node *self = arg;

	if (e->type == TYPE_POD && v->hot.node.u && v->writer_kind != PROC_NODE &&
	    v == cache_newest(self->c, e) &&
	    proc_mine_name(self->proc, cache_node_name(self->c, v)))
		pods_queue(self, cache_entry_ref(self->c, e).u);
}

void pods_walk(struct node *self)
{
	forget_all(self);
	proc_recent(self->proc, cache_rv(self->c), queue_if_new, self);
	self->walk = (struct proc_walk){0};
	self->walking = true;
}

bool pods_walk_on(struct node *self)
{
	int64_t start = clock_mono_ns(), end;

	if (!self->walking || (!self->hurry && start < self->walk_ns))
		return false;
	do {
		self->walking = proc_walk_next(self->proc, TYPE_POD, &self->walk, take_pod, self);
		proc_beat(self->proc);
	} while (self->walking && self->hurry);
	end = clock_mono_ns();
	self->walk_ns = end + WALK_REST * (end - start);
	if (self->walking)
		return false;
	self->hurry = false;
	return true;
}
