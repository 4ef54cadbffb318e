/* rank.c - which pods go first; see rank.h. */
#include "procs/replicaset/rank.h"

#include <stdlib.h>

/* Everything that decides, so that sorting follows no reference. */
struct candidate {
	uint32_t entry;
	uint32_t node;
	uint64_t rv;
	uint64_t uid;
	uint32_t ready_since_s;
	uint32_t created_s;
	uint32_t crowd; /* related pods on the same node */
	int32_t cost;
	uint16_t restarts;
	uint8_t phase; /* order of going: Pending, Unknown, Running */
	bool assigned, ready;
	uint8_t ready_age, age; /* orders of magnitude */
};

struct candidates {
	struct candidate *list;
	uint32_t n, cap;
};

static bool is_active(const struct version *v)
{
	return v && !v->deletion_s && v->hot.phase != POD_SUCCEEDED && v->hot.phase != POD_FAILED;
}

/* floor(log2(age)), so that ages that are alike compare as equal. */
static uint8_t magnitude(uint32_t now_s, uint32_t then_s)
{
	uint32_t age = now_s > then_s ? now_s - then_s : 0;

	return age ? (uint8_t)(32 - __builtin_clz(age)) : 0;
}

static void add(struct candidates *all, const struct cache *c, const struct entry *e,
		const struct version *v, uint32_t now_s)
{
	static const uint8_t phase_order[] = {
		[POD_PENDING] = 0, [POD_UNKNOWN] = 1, [POD_RUNNING] = 2};
	struct candidate *p;

	if (all->n == all->cap) {
		all->cap = all->cap ? all->cap * 2 : 256;
		all->list = realloc(all->list, all->cap * sizeof(*all->list));
		weft_assert(all->list);
	}
	p = &all->list[all->n++];
	*p = (struct candidate){
		.entry = cache_entry_ref(c, e).u,
		.node = v->hot.node.u,
		.rv = v->rv,
		.ready_since_s = v->hot.ready_since_s,
		.created_s = e->created_s,
		.cost = v->hot.deletion_cost,
		.restarts = v->hot.restarts,
		.phase = phase_order[v->hot.phase],
		.assigned = v->hot.node.u != 0,
		.ready = v->hot.flags & HOT_READY,
		.ready_age = magnitude(now_s, v->hot.ready_since_s),
		.age = magnitude(now_s, e->created_s),
	};
	memcpy(&p->uid, e->uid, sizeof(p->uid));
}

static void collect(struct candidates *all, const struct cache *c, const struct entry *owner,
		    uint32_t now_s)
{
	for (const struct entry *e = cache_first_dependent(c, owner); e;
	     e = cache_next_dependent(c, e)) {
		const struct version *v = cache_live(c, e);

		if (is_active(v))
			add(all, c, e, v, now_s);
	}
}

/* --- Crowding: related pods by node ------------------------------------------------ */

/* Open addressing from nodeslot reference to number of pods. */
struct crowd {
	uint32_t *node, *count;
	uint32_t mask;
};

static uint32_t *crowd_at(struct crowd *w, uint32_t node)
{
	uint32_t i = (node * 2654435761u) & w->mask;

	while (w->node[i] && w->node[i] != node)
		i = (i + 1) & w->mask;
	w->node[i] = node;
	return &w->count[i];
}

static uint32_t crowd_grow(struct crowd *w, uint32_t pods)
{
	uint32_t size = 64;

	while (size < pods * 2 && size < 1u << 20)
		size *= 2;
	w->node = calloc(size, sizeof(*w->node));
	w->count = calloc(size, sizeof(*w->count));
	weft_assert(w->node && w->count);
	w->mask = size - 1;
	return size / 2;
}

static uint32_t crowd_add(struct crowd *w, const struct cache *c, const struct entry *owner,
			  uint32_t room)
{
	for (const struct entry *e = cache_first_dependent(c, owner); e && room;
	     e = cache_next_dependent(c, e)) {
		const struct version *v = cache_live(c, e);
		uint32_t *count;

		if (!is_active(v) || !v->hot.node.u)
			continue;
		count = crowd_at(w, v->hot.node.u);
		room -= *count == 0;
		(*count)++;
	}
	return room;
}

/* Pods of all ReplicaSets of the same Deployment count, so that a scale-down
 * leaves the whole of it spread. */
static void count_crowds(struct candidates *all, const struct cache *c, const struct entry *owner)
{
	uint32_t parent = prcu_dereference(&owner->owner), room;
	struct crowd w;

	room = crowd_grow(&w, all->n < 65536 ? all->n + 4096 : 1u << 19);
	if (!parent)
		crowd_add(&w, c, owner, room);
	else
		for (const struct entry *rs = cache_first_dependent(c, cache_entry(c, (entry_ref){parent}));
		     rs && room; rs = cache_next_dependent(c, rs))
			room = crowd_add(&w, c, rs, room);
	for (uint32_t i = 0; i < all->n; i++)
		if (all->list[i].node)
			all->list[i].crowd = *crowd_at(&w, all->list[i].node);
	free(w.node);
	free(w.count);
}

/* --- Order --------------------------------------------------------------------------- */

#define DECIDE(x, y)                                                                               \
	if ((x) != (y))                                                                            \
	return (x) < (y) ? -1 : 1

static int going_first(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;

	DECIDE(a->assigned, b->assigned);
	DECIDE(a->phase, b->phase);
	DECIDE(a->ready, b->ready);
	DECIDE(a->cost, b->cost);
	DECIDE(b->crowd, a->crowd);
	if (a->ready && b->ready && a->ready_since_s != b->ready_since_s) {
		DECIDE(a->ready_age, b->ready_age);
		DECIDE(a->uid, b->uid);
	}
	DECIDE(b->restarts, a->restarts);
	if (a->created_s != b->created_s) {
		DECIDE(a->age, b->age);
	}
	DECIDE(a->uid, b->uid);
	return 0;
}

void rank_choose(const struct cache *c, const struct entry *owner, uint32_t count, uint32_t now_s,
		 struct rank_choice *out)
{
	struct candidates all = {0};

	collect(&all, c, owner, now_s);
	if (count < all.n) {
		count_crowds(&all, c, owner);
		qsort(all.list, all.n, sizeof(*all.list), going_first);
	} else {
		count = all.n;
	}
	out->n = count;
	out->entries = malloc((count + 1) * sizeof(*out->entries));
	out->rvs = malloc((count + 1) * sizeof(*out->rvs));
	weft_assert(out->entries && out->rvs);
	for (uint32_t i = 0; i < count; i++) {
		out->entries[i] = all.list[i].entry;
		out->rvs[i] = all.list[i].rv;
	}
	free(all.list);
}

void rank_free(struct rank_choice *choice)
{
	free(choice->entries);
	free(choice->rvs);
	*choice = (struct rank_choice){0};
}
