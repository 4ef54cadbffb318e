/* rank.c - which pods go first; see rank.h. */
#include "procs/replicaset/rank.h"

#include <stdlib.h>

/* Everything that decides, so that sorting follows no reference. */
struct candidate {
	uint64_t first; /* what decides first, see below */
	uint64_t uid;
	uint32_t ready_since_s;
	uint32_t created_s;
	uint16_t restarts;
	uint8_t ready_age, age; /* orders of magnitude */
	uint32_t entry, node;
	uint64_t rv, created_rv;
};

/* Rules 1 to 5 as one number; the more crowded a node, the smaller it is. */
#define FIRST_ASSIGNED	(UINT64_C(1) << 63)
#define FIRST_PHASE(x)	((uint64_t)(x) << 61)
#define FIRST_READY	(UINT64_C(1) << 60)
#define FIRST_COST(x)	((uint64_t)((int64_t)(x)-INT32_MIN) << 28)
#define FIRST_UNCROWDED ((UINT64_C(1) << 28) - 1)

struct candidates {
	struct candidate *list;
	uint32_t n, cap;
};

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
		.created_rv = e->created_rv,
		.ready_since_s = v->hot.ready_since_s,
		.created_s = e->created_s,
		.first = (v->hot.node.u ? FIRST_ASSIGNED : 0) |
			 FIRST_PHASE(phase_order[v->hot.phase]) |
			 (v->hot.flags & HOT_READY ? FIRST_READY : 0) |
			 FIRST_COST(v->hot.deletion_cost) | FIRST_UNCROWDED,
		.restarts = v->hot.restarts,
		.ready_age = magnitude(now_s, v->hot.ready_since_s),
		.age = magnitude(now_s, e->created_s),
	};
	memcpy(&p->uid, e->uid, sizeof(p->uid));
}

/* --- Walking ------------------------------------------------------------------------ */

/* All active pods of an owner.  Each leads to the next, but their states lie
 * anywhere: those of some are fetched together. */
#define WALK 32
struct walk {
	const struct cache *c;
	const struct entry *next, *some[WALK];
	uint32_t n, at;
};

static void walk_begin(struct walk *w, const struct cache *c, const struct entry *owner)
{
	*w = (struct walk){.c = c, .next = cache_first_dependent(c, owner)};
}

static void walk_fetch(struct walk *w)
{
	for (w->n = w->at = 0; w->next && w->n < WALK;
	     w->next = cache_next_dependent(w->c, w->next)) {
		w->some[w->n++] = w->next;
		prefetch(cache_newest(w->c, w->next));
	}
}

static const struct entry *walk_next(struct walk *w, const struct version **v)
{
	for (;;) {
		if (w->at == w->n)
			walk_fetch(w);
		if (!w->n)
			return NULL;
		*v = cache_live(w->c, w->some[w->at++]);
		if (pod_is_active(*v))
			return w->some[w->at - 1];
	}
}

static void collect(struct candidates *all, const struct cache *c, const struct entry *owner,
		    uint32_t now_s)
{
	const struct version *v;
	const struct entry *e;
	struct walk w;

	walk_begin(&w, c, owner);
	while ((e = walk_next(&w, &v)))
		add(all, c, e, v, now_s);
}

/* --- Crowding: related pods by node ------------------------------------------------ */

/* Open addressing from nodeslot reference to number of pods. */
struct crowd {
	uint32_t *node, *count;
	uint32_t mask, room; /* for so many nodes more */
};

static uint32_t *crowd_at(struct crowd *w, uint32_t node)
{
	uint32_t i = (node * 2654435761u) & w->mask;

	while (w->node[i] && w->node[i] != node)
		i = (i + 1) & w->mask;
	w->node[i] = node;
	return &w->count[i];
}

static void crowd_open(struct crowd *w, uint32_t pods)
{
	uint32_t size = 64;

	while (size < pods * 2 && size < 1u << 20)
		size *= 2;
	w->node = calloc(size, sizeof(*w->node));
	w->count = calloc(size, sizeof(*w->count));
	weft_assert(w->node && w->count);
	w->mask = size - 1;
	w->room = size / 2;
}

static void crowd_add(struct crowd *w, uint32_t node)
{
	uint32_t *count;

	if (!node || !w->room)
		return;
	count = crowd_at(w, node);
	w->room -= *count == 0;
	(*count)++;
}

static void crowd_add_all(struct crowd *w, const struct cache *c, const struct entry *rs)
{
	const struct version *v;
	struct walk walk;

	walk_begin(&walk, c, rs);
	while (walk_next(&walk, &v))
		crowd_add(w, v->hot.node.u);
}

static void crowd_add_siblings(struct crowd *w, const struct cache *c, const struct entry *owner)
{
	uint32_t parent = prcu_dereference(&owner->owner);

	if (!parent)
		return;
	for (const struct entry *rs = cache_first_dependent(c, cache_entry(c, (entry_ref){parent}));
	     rs; rs = cache_next_dependent(c, rs))
		if (rs != owner)
			crowd_add_all(w, c, rs);
}

/* Pods of all ReplicaSets of the same Deployment count, so that a scale-down
 * leaves the whole of it spread. */
static void count_crowds(struct candidates *all, const struct cache *c, const struct entry *owner)
{
	struct crowd w;

	crowd_open(&w, all->n < 65536 ? all->n + 4096 : 1u << 19);
	for (uint32_t i = 0; i < all->n; i++)
		crowd_add(&w, all->list[i].node);
	crowd_add_siblings(&w, c, owner);
	for (uint32_t i = 0; i < all->n; i++)
		if (all->list[i].node)
			all->list[i].first -= *crowd_at(&w, all->list[i].node);
	free(w.node);
	free(w.count);
}

/* --- Order -------------------------------------------------------------------------- */

#define DECIDE(x, y)    \
	if ((x) != (y)) \
	return (x) < (y) ? -1 : 1

static int going_first(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;

	DECIDE(a->first, b->first);
	if (a->first & FIRST_READY && a->ready_since_s != b->ready_since_s) {
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

static void swap(struct candidate *a, struct candidate *b)
{
	struct candidate t = *a;

	*a = *b;
	*b = t;
}

/* Bring what goes before one of them to the front, and that one behind; returns its place.
 * uids are random, so by one of them that one is, too, whatever order they come in. */
static uint32_t partition(struct candidate *list, uint32_t n)
{
	struct candidate *last = &list[n - 1];
	uint32_t before = 0;

	swap(&list[list[n / 2].uid % n], last);
	for (uint32_t i = 0; i < n - 1; i++)
		if (going_first(&list[i], last) < 0)
			swap(&list[i], &list[before++]);
	swap(&list[before], last);
	return before;
}

/* Bring the `count` that go first to the front, in any order (Hoare's FIND). */
static void select_first(struct candidate *list, uint32_t n, uint32_t count)
{
	while (n > 1 && count && count < n) {
		uint32_t place = partition(list, n);

		if (place >= count) {
			n = place;
			continue;
		}
		list += place + 1;
		n -= place + 1;
		count -= place + 1;
	}
}

/* The `count` that go first, if not all, in order or (`any_order`) not. *list is the caller's
 * to free. */
static uint32_t make_ranking(const struct cache *c, const struct entry *owner, uint32_t count,
			     bool any_order, uint32_t now_s, struct candidate **list)
{
	struct candidates all = {0};

	collect(&all, c, owner, now_s);
	*list = all.list;
	if (count >= all.n && any_order)
		return all.n;
	if (count > all.n)
		count = all.n;
	if (!count)
		return 0;
	count_crowds(&all, c, owner);
	select_first(all.list, all.n, count);
	if (!any_order)
		qsort(all.list, count, sizeof(*all.list), going_first);
	return count;
}

/* --- Choosing ----------------------------------------------------------------------- */

static void choice_open(struct rank_choice *out, uint32_t count)
{
	out->entries = malloc((count + 1) * sizeof(*out->entries));
	out->rvs = malloc((count + 1) * sizeof(*out->rvs));
	weft_assert(out->entries && out->rvs);
}

static void choose(struct rank_choice *out, uint32_t entry, uint64_t rv)
{
	out->entries[out->n] = entry;
	out->rvs[out->n++] = rv;
}

/* --- Rankings that are kept --------------------------------------------------------- */

#define KEEP_FROM 4096u /* pods: fewer are ranked in no time */
/* A ranking is made for so many steps like this one, and for that part of all pods at least.
 * If so many steps would take all pods, it is for this one alone and has no order. */
#define KEEP_STEPS 32u
#define KEEP_PART  8u
#define KEEP_S	   5u /* for how long it is kept */

static void forget(struct ranking *r)
{
	free(r->entries);
	free(r->created_rv);
	*r = (struct ranking){0};
}

void rankings_trim(struct rankings *kept, uint32_t now_s)
{
	for (uint32_t i = 0; i < RANKINGS_KEPT; i++)
		if (kept->kept[i].entries && now_s - kept->kept[i].made_s >= KEEP_S)
			forget(&kept->kept[i]);
}

void rankings_forget(struct rankings *kept)
{
	for (uint32_t i = 0; i < RANKINGS_KEPT; i++)
		forget(&kept->kept[i]);
}

static uint64_t newest_rv(const struct cache *c, const struct entry *owner)
{
	const struct entry *newest = cache_first_dependent(c, owner);

	return newest ? newest->created_rv : 0;
}

/* Is there nothing that would go before those that are left? */
static bool holds(const struct cache *c, const struct entry *owner, const struct ranking *r,
		  const struct counts_copy *counts, uint32_t surplus, uint32_t now_s)
{
	if (r->at >= r->n || now_s - r->made_s >= KEEP_S || newest_rv(c, owner) > r->newest_rv)
		return false;
	if (surplus >= counts->active)
		return true;
	return counts->ready == counts->active && (!r->any_order || surplus >= r->n - r->at);
}

/* The one that is kept for this owner, or one to be made anew; NULL if that is not worth it. */
static struct ranking *ranking_of(struct rankings *kept, const struct entry *owner, uint32_t active)
{
	for (uint32_t i = 0; kept && i < RANKINGS_KEPT; i++)
		if (memcmp(kept->kept[i].owner, owner->uid, 16) == 0)
			return &kept->kept[i];
	return kept && active >= KEEP_FROM ? &kept->kept[kept->next++ % RANKINGS_KEPT] : NULL;
}

/* How many to rank, when so many are to go now. */
static uint32_t worth_ranking(uint32_t surplus, uint32_t active)
{
	uint32_t part = active / KEEP_PART;

	if (surplus >= active / KEEP_STEPS)
		return surplus;
	return surplus * KEEP_STEPS > part ? surplus * KEEP_STEPS : part;
}

static void remake(const struct cache *c, const struct entry *owner, uint32_t surplus,
		   uint32_t active, uint32_t now_s, struct ranking *r)
{
	bool any_order = surplus >= active / KEEP_STEPS;
	uint64_t newest = newest_rv(c, owner);
	struct candidate *list;
	uint32_t n =
		make_ranking(c, owner, worth_ranking(surplus, active), any_order, now_s, &list);

	forget(r);
	memcpy(r->owner, owner->uid, 16);
	r->entries = malloc((n + 1) * sizeof(*r->entries));
	r->created_rv = malloc((n + 1) * sizeof(*r->created_rv));
	weft_assert(r->entries && r->created_rv);
	for (r->n = 0; r->n < n; r->n++) {
		r->entries[r->n] = list[r->n].entry;
		r->created_rv[r->n] = list[r->n].created_rv;
	}
	r->any_order = any_order;
	r->newest_rv = newest;
	r->made_s = now_s;
	free(list);
}

/* The next ones that are still there and as they were. */
static void take_next(const struct cache *c, const struct entry *owner, struct ranking *r,
		      uint32_t count, struct rank_choice *out)
{
	uint32_t parent = cache_entry_ref(c, owner).u;

	for (; r->at < r->n && out->n < count; r->at++) {
		const struct version *v;
		const struct entry *e;

		cache_prefetch_ahead(c, r->entries, r->n, r->at);
		if (cache_entry_checked(c, r->entries[r->at], &e) ||
		    e->created_rv != r->created_rv[r->at] || prcu_dereference(&e->owner) != parent)
			continue;
		v = cache_live(c, e);
		if (pod_is_active(v))
			choose(out, r->entries[r->at], v->rv);
	}
}

static void choose_kept(const struct cache *c, const struct entry *owner, uint32_t surplus,
			uint32_t max, uint32_t now_s, const struct counts_copy *counts,
			struct ranking *r, struct rank_choice *out)
{
	if (memcmp(r->owner, owner->uid, 16) == 0 && holds(c, owner, r, counts, surplus, now_s)) {
		out->from_at = r->at;
		take_next(c, owner, r, max, out);
	}
	if (out->n < max) {
		out->n = out->from_at = 0;
		remake(c, owner, surplus, counts->active, now_s, r);
		take_next(c, owner, r, max, out);
	}
	out->from = r;
}

void rank_choose(const struct cache *c, const struct entry *owner, uint32_t surplus, uint32_t max,
		 uint32_t now_s, struct rankings *kept, struct rank_choice *out)
{
	struct candidate *list;
	struct counts_copy counts;
	struct ranking *r;
	uint32_t n;

	*out = (struct rank_choice){0};
	cache_counts(c, owner, &counts);
	max = max < surplus ? max : surplus;
	max = max < counts.active ? max : counts.active;
	choice_open(out, max);
	r = ranking_of(kept, owner, counts.active);
	if (r) {
		choose_kept(c, owner, surplus, max, now_s, &counts, r, out);
		return;
	}
	n = make_ranking(c, owner, surplus, surplus >= counts.active, now_s, &list);
	for (uint32_t i = 0; i < n && out->n < max; i++)
		choose(out, list[i].entry, list[i].rv);
	free(list);
}

void rank_give_back(const struct rank_choice *choice, uint32_t done)
{
	struct ranking *r = choice->from;

	if (!r || done >= choice->n)
		return;
	for (r->at = choice->from_at; r->entries[r->at] != choice->entries[done]; r->at++)
		;
}

void rank_free(struct rank_choice *choice)
{
	free(choice->entries);
	free(choice->rvs);
	*choice = (struct rank_choice){0};
}
