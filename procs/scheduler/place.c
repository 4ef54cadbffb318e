/* place.c - choosing nodes, sending binds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"
#include "weft/place.h"

#define BIND_BATCH    16384u
#define BIND_FIRST    2048u	   /* so many are enough while the store has none of ours to do */
#define BIND_NAMES    (512u << 10) /* bytes of names in a batch, but for the last */
#define BIND_ROOM     (16 * BIND_BATCH + BIND_NAMES + (64u << 10)) /* a full batch fits */
#define TURN_MAX      16384u /* pods of one kind placed before others have a turn */
#define SAMPLE_MIN    100u
#define STRANGER_COST 0.1
#define NAMES_AHEAD   8u
#define NAME_HEAD     3u /* bytes of msgpack before a name, at most */

/* --- Binds -------------------------------------------------------------------------- */

/* Places, each once; too many are everywhere. */
#define PLACES_MAX 32
struct places {
	uint64_t at[PLACES_MAX];
	uint32_t n;
};

/* Pods that get the same new status, to be sent as one.  Those of kinds with guards go
 * together, so that all are bound or none; others by themselves. */
struct binding {
	bool guarded;
	struct places guards, marks;
	uint64_t status_hash; /* of their status before */
	struct buf status;
	uint32_t n, bytes; /* bytes: of the nodes' names, as they are sent */
	uint32_t entries[BIND_BATCH];
	uint64_t rvs[BIND_BATCH];
	uint32_t node_of[BIND_BATCH];	 /* index into `used` */
	uint32_t *used, nused, used_cap; /* nodes, by index */
	uint32_t *use_of, use_cap;	 /* node -> its place in `used` + 1 */
};

/* What was sent, until the reply. */
struct sent {
	struct scheduler *self;
	uint32_t n;
	struct {
		uint32_t entry, node;
	} pods[];
};

/* It did not go there after all. */
static void undo(struct sent *s, uint32_t i)
{
	struct scheduler *self = s->self;
	const struct entry *e;
	const struct version *v = NULL;

	/* All may have been looked at anew since, and the pod have been sent elsewhere. */
	if (refmap_get(&self->assumed, s->pods[i].entry) != s->pods[i].node)
		return;
	refmap_take(&self->assumed, s->pods[i].entry);
	cache_lock(self->c);
	if (cache_entry_checked(self->c, s->pods[i].entry, &e) == 0 && e->type == TYPE_POD)
		v = cache_newest(self->c, e);
	if (v) {
		struct kind *kind = kind_of(self, e, v);
		struct node *node = &self->nodes[s->pods[i].node];

		nodes_account(self, node, kind, -1);
		terms_note(self, kind, node, -1, -1);
		queue_pod(self, e);
	} else {
		self->behind = true; /* what it took is no longer known: build anew */
	}
	self->moved[MOVE_GONE]++;
	cache_unlock(self->c);
}

static void on_bound(void *arg, const struct msg_reply *reply)
{
	struct sent *s = arg;

	s->self->nsent--;
	if (reply->status == WEFT_OK)
		for (uint32_t i = 0; i < reply->skipped.n; i++) {
			if (reply->skipped.p[i] < s->n)
				undo(s, reply->skipped.p[i]);
		}
	else if (reply->status == WEFT_ELOST)
		s->self->behind = true; /* whatever came of it */
	else
		for (uint32_t i = 0; i < s->n; i++)
			undo(s, i);
	free(s);
}

/* The names of nodes that were used together lie anywhere: one after the other they would be
 * waited for. */
static void fetch_names(const struct scheduler *self, const struct binding *b, uint32_t i)
{
	if (i + 2 * NAMES_AHEAD < b->nused)
		prefetch(&self->nodes[b->used[i + 2 * NAMES_AHEAD]].name);
	if (i + NAMES_AHEAD < b->nused)
		prefetch(self->nodes[b->used[i + NAMES_AHEAD]].name);
}

static value node_names(struct scheduler *self, const struct binding *b)
{
	value names = v_array_of(self->z, NULL, b->nused);

	for (uint32_t i = 0; i < b->nused; i++) {
		fetch_names(self, b, i);
		*v_at(&names, i) = v_cstr(self->nodes[b->used[i]].name);
	}
	return names;
}

static void tell_bound(struct scheduler *self, const struct binding *b)
{
	struct event_source source = {.component = "default-scheduler"};

	for (uint32_t i = 0; i < b->n && proc_event_room(self->proc); i++) {
		const struct entry *e = cache_entry(self->c, (entry_ref){b->entries[i]});
		char text[700];

		snprintf(text, sizeof(text), "Successfully assigned " STR_FMT "/%s to %s",
			 STR_ARG(cache_ns(self->c, e)), e->name,
			 self->nodes[b->used[b->node_of[i]]].name);
		proc_event(self->proc, e, &source, "Normal", "Scheduled", str_of(text));
	}
}

void place_flush(struct scheduler *self)
{
	struct binding *b = self->binding;
	uint32_t now = clock_wall_s();
	struct msg m = {.kind = MSG_bind_many};
	struct buf names = {0};
	struct sent *s;
	value list;

	if (!b || !b->n)
		return;
	s = malloc(sizeof(*s) + b->n * sizeof(s->pods[0]));
	weft_assert(s);
	s->self = self;
	s->n = b->n;
	for (uint32_t i = 0; i < b->n; i++) {
		s->pods[i].entry = b->entries[i];
		s->pods[i].node = b->used[b->node_of[i]];
	}
	list = node_names(self, b);
	v_encode(&names, &list);
	m.bind_many = (struct msg_bind_many){
		.nodes = buf_str(&names),
		.entries = {b->entries, b->n},
		.rvs = {b->rvs, b->n},
		.node_of = {b->node_of, b->n},
		.status = buf_str(&b->status),
		.holes = {&now, 1},
		.seen = self->journal_rv,
	};
	m.bind_many.guards = (struct u64s){b->guards.at, b->guards.n};
	m.bind_many.marks = (struct u64s){b->marks.at, b->marks.n};
	if (proc_send(self->proc, &m, on_bound, s)) {
		for (uint32_t i = 0; i < s->n; i++)
			undo(s, i);
		free(s);
	} else {
		self->nsent++;
		proc_flush(self->proc); /* the store need not wait until all are placed */
		tell_bound(self, b);
	}
	for (uint32_t i = 0; i < b->nused; i++)
		b->use_of[b->used[i]] = 0;
	b->n = b->nused = b->bytes = 0;
	buf_free(&names);
}

void place_free(struct scheduler *self)
{
	struct binding *b = self->binding;

	if (!b)
		return;
	buf_free(&b->status);
	free(b->used);
	free(b->use_of);
	free(b);
}

/* The status of a pod that has a node: what it was, and PodScheduled True (at
 * the time in hole 0). */
static void make_status(struct scheduler *self, struct binding *b, const struct entry *e,
			const struct version *v)
{
	zone *z = self->z;
	value status = kube_part(z, self->c, e, v, PART_STATUS), condition = v_map();
	value *conditions;

	if (!v_is_map(&status))
		status = v_map();
	conditions = v_array_at(z, &status, "conditions");
	kube_condition_del(conditions, "PodScheduled");
	v_set(z, &condition, "lastProbeTime", v_null());
	v_set(z, &condition, "lastTransitionTime", v_hole(z, HOLE_TIME, 0, (struct str){0}));
	v_set(z, &condition, "status", v_cstr("True"));
	v_set(z, &condition, "type", v_cstr("PodScheduled"));
	v_append(z, conditions, condition);
	v_del(&status, "nominatedNodeName");
	b->status.n = 0;
	v_encode(&b->status, &status);
}

static uint32_t use_node(struct scheduler *self, struct binding *b, uint32_t node)
{
	if (node >= b->use_cap) {
		b->use_of = realloc(b->use_of, self->nodes_cap * sizeof(*b->use_of));
		weft_assert(b->use_of);
		memset(b->use_of + b->use_cap, 0,
		       (self->nodes_cap - b->use_cap) * sizeof(*b->use_of));
		b->use_cap = self->nodes_cap;
	}
	if (b->use_of[node])
		return b->use_of[node] - 1;
	if (b->nused == b->used_cap) {
		b->used_cap = b->used_cap ? b->used_cap * 2 : 64;
		b->used = realloc(b->used, b->used_cap * sizeof(*b->used));
		weft_assert(b->used);
	}
	b->used[b->nused] = node;
	b->bytes += self->nodes[node].name_n + NAME_HEAD;
	b->use_of[node] = ++b->nused;
	return b->nused - 1;
}

static uint64_t status_hash(struct scheduler *self, const struct version *v)
{
	return cache_part_hash(self->c, v, PART_STATUS) ^ v->generation ^ (v->nholes ? v->rv : 0);
}

static bool is_guarded(const struct kind *kind)
{
	return kind->nguards != 0;
}

static void add_places(struct places *to, const uint64_t *places, uint32_t n, uint64_t everywhere)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;

		while (k < to->n && to->at[k] != places[i] && to->at[k] != everywhere)
			k++;
		if (k == PLACES_MAX)
			*to = (struct places){{everywhere}, 1};
		else if (k == to->n)
			to->at[to->n++] = places[i];
	}
}

static bool is_full(const struct scheduler *self, const struct binding *b)
{
	uint32_t max = self->nsent || b->guarded ? BIND_BATCH : BIND_FIRST;

	return b->n >= max || b->bytes >= BIND_NAMES;
}

/* Can the pod go into the request that is being filled? */
static bool joins(struct scheduler *self, const struct kind *kind, const struct version *v)
{
	const struct binding *b = self->binding;

	return !b || !b->n ||
	       (!is_full(self, b) && b->guarded == is_guarded(kind) &&
		b->status_hash == status_hash(self, v));
}

static void bind_pod(struct scheduler *self, struct kind *kind, const struct entry *e,
		     const struct version *v, uint32_t node)
{
	struct binding *b = self->binding;

	if (!b) {
		b = self->binding = calloc(1, sizeof(*b));
		weft_assert(b);
	}
	if (!joins(self, kind, v))
		place_flush(self);
	if (!b->n) {
		b->guarded = is_guarded(kind);
		b->guards.n = b->marks.n = 0;
		b->status_hash = status_hash(self, v);
		make_status(self, b, e, v);
	}
	b->entries[b->n] = cache_entry_ref(self->c, e).u;
	b->rvs[b->n] = v->rv;
	b->node_of[b->n++] = use_node(self, b, node);
	refmap_put(&self->assumed, cache_entry_ref(self->c, e).u, node);
	nodes_account(self, &self->nodes[node], kind, 1);
	terms_note(self, kind, &self->nodes[node], 1, 1);
}

/* --- The queue of a kind ------------------------------------------------------------ */

/* The next pods: what looking at them needs is fetched together. */
static void fetch_ahead(struct scheduler *self, const struct kind *k)
{
	uint32_t end = k->n - k->at < CACHE_TOGETHER ? k->n : k->at + CACHE_TOGETHER;

	if (k->at % CACHE_TOGETHER)
		return;
	for (uint32_t i = k->at; i < end; i++)
		refmap_prefetch(&self->assumed, k->queue[i].entry);
	for (int stage = 0; stage < 2; stage++)
		for (uint32_t i = k->at; i < end; i++)
			cache_prefetch(self->c, k->queue[i].entry, stage);
}

const struct entry *place_waiting(struct scheduler *self, const struct pending *p,
				  const struct version **v)
{
	const struct entry *e;

	if (cache_entry_checked(self->c, p->entry, &e) || e->type != TYPE_POD ||
	    e->created_rv != p->created_rv || refmap_has(&self->assumed, p->entry))
		return NULL;
	*v = cache_live(self->c, e);
	return pod_waits(*v) ? e : NULL;
}

/* --- Scores ------------------------------------------------------------------------- */

/* Less is better (what another shard goes to first costs a little, so that they are
 * seldom at one node together): how full the node would be, how uneven, how many of this
 * kind it has, and what the pod prefers. */
static double cost(const struct kind *k, const struct node *n, uint32_t index, int64_t preference)
{
	double cpu = n->has.cpu ? (double)(n->score_cpu + k->score_cpu) / (double)n->has.cpu : 1;
	double memory =
		n->has.memory ? (double)(n->score_memory + k->score_memory) / (double)n->has.memory
			      : 1;
	double full = (cpu + memory) / 2, uneven = fabs(cpu - memory) / 2;
	double pods = n->max_pods ? (double)n->pods / (double)n->max_pods : 1;
	double same = k->on_node && index < k->on_node_n ? k->on_node[index] : 0;

	return full + uneven + 0.1 * pods + 0.02 * same - 0.02 * (double)preference +
	       (n->ours ? 0 : STRANGER_COST);
}

struct choice {
	double cost;
	uint32_t node;
};

/* A heap of nodes, the least cost on top.  Below each stand four, in one cache line: half as
 * many levels as with two. */
#define HEAP_BELOW 4u
_Static_assert(HEAP_BELOW * sizeof(struct choice) == CACHE_LINE, "those below are a line");

/* Room for n, so that those below each begin a line. */
static struct choice *heap_new(uint32_t n)
{
	size_t size = (n + HEAP_BELOW) * sizeof(struct choice);
	struct choice *line = aligned_alloc(CACHE_LINE, align_up(size, CACHE_LINE));

	weft_assert(line);
	return line + HEAP_BELOW - 1;
}

static void heap_free(struct choice *heap)
{
	free(heap - (HEAP_BELOW - 1));
}

/* The least of those that stand from `at` below one, which is less than n.  Which of two is less
 * is anybody's guess, so that is reckoned and no branch. */
static uint32_t least_of(const struct choice *heap, uint32_t n, uint32_t at)
{
	uint32_t a = at, b = at + 2;

	if (at + HEAP_BELOW <= n) {
		a += heap[a + 1].cost < heap[a].cost;
		b += heap[b + 1].cost < heap[b].cost;
		return heap[b].cost < heap[a].cost ? b : a;
	}
	for (b = at + 1; b < n; b++)
		if (heap[b].cost < heap[a].cost)
			a = b;
	return a;
}

static void sift_down(struct choice *heap, uint32_t n, uint32_t i)
{
	struct choice down = heap[i];

	for (uint32_t least; HEAP_BELOW * i + 1 < n; i = least) {
		least = least_of(heap, n, HEAP_BELOW * i + 1);
		if (!(heap[least].cost < down.cost))
			break;
		heap[i] = heap[least];
	}
	heap[i] = down;
}

/* --- Nodes for a kind --------------------------------------------------------------- */

static void find_feasible(struct scheduler *self, struct kind *k)
{
	if (k->feasible && k->feasible_seen == self->nodes_changed)
		return;
	free(k->feasible);
	k->feasible = malloc((self->nnodes + 1) * sizeof(*k->feasible));
	weft_assert(k->feasible);
	k->nfeasible = 0;
	for (uint32_t i = 0; i < self->nnodes; i++)
		if (self->nodes[i].present && self->nodes[i].counted &&
		    filter_static(k, &self->nodes[i], NULL))
			k->feasible[k->nfeasible++] = i;
	k->feasible_seen = self->nodes_changed;
}

/* As kube-scheduler does: with many nodes, a sample is enough. */
static uint32_t sample_size(uint32_t nodes)
{
	uint32_t percent = nodes < 5625 ? 50 - nodes / 125 : 5, n = nodes * percent / 100;

	return n < SAMPLE_MIN ? SAMPLE_MIN : n;
}

/* The next of the kind's nodes that have room, as a heap: a sample, and two for each pod that
 * waits.  *seen: nodes looked at so far, of nfeasible. */
static uint32_t next_nodes(struct scheduler *self, struct kind *k, struct choice *heap,
			   uint32_t *seen)
{
	uint64_t want = sample_size(k->nfeasible) + 2 * (uint64_t)(k->n - k->at);
	uint32_t n = 0;

	while (*seen < k->nfeasible && n < want) {
		uint32_t at = k->feasible[(self->scan_start + (*seen)++) % k->nfeasible];
		struct node *node = &self->nodes[at];

		if (filter_fit(self, k, node, NULL))
			heap[n++] =
				(struct choice){cost(k, node, at, filter_preference(k, node)), at};
	}
	for (uint32_t i = (n + HEAP_BELOW - 2) / HEAP_BELOW; i-- > 0;)
		sift_down(heap, n, i);
	return n;
}

/* The least of those below the top is next, or the top again. */
static void fetch_next_node(const struct scheduler *self, const struct choice *heap, uint32_t n)
{
	if (n > 1)
		nodes_prefetch(self, heap[least_of(heap, n, 1)].node);
}

/* The best node again and again; returns how many of them still have room. */
static uint32_t fill_nodes(struct scheduler *self, struct kind *k, struct choice *heap, uint32_t n,
			   uint32_t *placed)
{
	while (n && k->at < k->n && *placed < TURN_MAX) {
		struct node *node = &self->nodes[heap[0].node];
		const struct version *v;
		const struct entry *e;

		fetch_ahead(self, k);
		fetch_next_node(self, heap, n);
		e = place_waiting(self, &k->queue[k->at++], &v);
		if (!e)
			continue;
		bind_pod(self, k, e, v, heap[0].node);
		(*placed)++;
		if (filter_fit(self, k, node, NULL))
			heap[0].cost = cost(k, node, heap[0].node, filter_preference(k, node));
		else
			heap[0] = heap[--n];
		sift_down(heap, n, 0);
	}
	return n;
}

/* All pods of a kind without terms. */
static bool place_group(struct scheduler *self, struct kind *k, uint32_t *placed)
{
	struct choice *heap = heap_new(k->nfeasible);
	uint32_t n, seen = 0;

	do {
		n = next_nodes(self, k, heap, &seen);
		n = fill_nodes(self, k, heap, n, placed);
	} while (!n && seen < k->nfeasible);
	self->scan_start += seen;
	heap_free(heap);
	return n > 0;
}

/* The best node for one pod, -1 if there is none. */
static int64_t choose(struct scheduler *self, struct kind *k)
{
	uint32_t want = sample_size(k->nfeasible), seen = 0, i;
	double best_cost = 0;
	int64_t best = -1;

	for (i = 0; i < k->nfeasible && seen < want; i++) {
		uint32_t at = k->feasible[(self->scan_start + i) % k->nfeasible];
		struct node *node = &self->nodes[at];
		double c;

		if (!filter_fit(self, k, node, NULL) || !filter_terms(self, k, node, NULL))
			continue;
		seen++;
		c = cost(k, node, at, filter_preference(k, node) + terms_preference(k, node));
		if (best < 0 || c < best_cost) {
			best = at;
			best_cost = c;
		}
	}
	self->scan_start += i;
	return best;
}

static bool place_singly(struct scheduler *self, struct kind *k, uint32_t *placed)
{
	terms_count(self, k);
	while (k->at < k->n && *placed < TURN_MAX) {
		const struct version *v;
		const struct entry *e = place_waiting(self, &k->queue[k->at], &v);
		int64_t node;

		if (!e) {
			k->at++;
			continue;
		}
		if (is_guarded(k) && !joins(self, k, v))
			return true; /* when those before it are answered */
		node = choose(self, k);
		if (node < 0)
			return false;
		k->at++;
		bind_pod(self, k, e, v, (uint32_t)node);
		(*placed)++;
	}
	return true;
}

/* --- A kind's turn ------------------------------------------------------------------ */

/* What a kind with guards is placed by must not be taken back later: no bind is under way,
 * but those that are sent together with its own. */
static bool may_place(struct scheduler *self, const struct kind *k)
{
	struct binding *b = self->binding;

	if (is_guarded(k) && b && b->n && !b->guarded)
		place_flush(self);
	return proc_can_send(self->proc, BIND_ROOM) && !(is_guarded(k) && self->nsent);
}

/* The request that is being filled depends on what this kind depends on. */
static void guard_binding(struct scheduler *self, const struct kind *k)
{
	struct binding *b = self->binding;

	if (!b || !b->n || !is_guarded(k))
		return;
	add_places(&b->guards, k->guards, k->nguards, PLACE_ANYWHERE);
	add_places(&b->marks, k->marks, k->nmarks, PLACE_APART_ALL);
}

bool place_kind(struct scheduler *self, struct kind *k)
{
	uint32_t placed = 0;
	bool room;

	if (!may_place(self, k))
		return false;
	k->for_look = k->nterms && is_looking(self);
	if (k->for_look)
		return true;
	kind_keep_on_node(self, k);
	find_feasible(self, k);
	filter_find_against(self, k);
	nominated_hold(self, k, 1);
	if (k->nterms || self->nagainst)
		room = place_singly(self, k, &placed);
	else
		room = place_group(self, k, &placed);
	guard_binding(self, k);
	if (placed)
		k->backoff_ns = 0;
	k->blocked = false;
	if (k->at < k->n && !room) {
		k->for_look = is_looking(self);
		if (!k->for_look)
			wait_block(self, k, clock_mono_ns());
	}
	nominated_hold(self, k, -1);
	if (k->at == k->n)
		k->at = k->n = k->tell_at = 0;
	return true;
}
