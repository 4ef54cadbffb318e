/* rank.c - which pods go first; see rank.h. */
#include "procs/replicaset/rank.h"

#include <stdlib.h>

/* Everything that decides, so that sorting follows no reference. */
struct candidate {
	uint32_t entry;
	uint32_t node;
	uint64_t rv, created_rv;
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
		.created_rv = e->created_rv,
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
		if (is_active(*v))
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
	const struct version *v;
	struct walk walk;

	walk_begin(&walk, c, owner);
	while (room && walk_next(&walk, &v)) {
		uint32_t *count;

		if (!v->hot.node.u)
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
		for (const struct entry *rs =
			     cache_first_dependent(c, cache_entry(c, (entry_ref){parent}));
		     rs && room; rs = cache_next_dependent(c, rs))
			room = crowd_add(&w, c, rs, room);
	for (uint32_t i = 0; i < all->n; i++)
		if (all->list[i].node)
			all->list[i].crowd = *crowd_at(&w, all->list[i].node);
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

/* Let the one that goes last among the first n sink to its place below i. */
static void sink(struct candidate *list, uint32_t n, uint32_t i)
{
	for (;;) {
		uint32_t last = i, l = 2 * i + 1, r = l + 1;
		struct candidate t;

		if (l < n && going_first(&list[l], &list[last]) > 0)
			last = l;
		if (r < n && going_first(&list[r], &list[last]) > 0)
			last = r;
		if (last == i)
			return;
		t = list[i];
		list[i] = list[last];
		list[last] = t;
		i = last;
	}
}

/* Bring the `count` that go first to the front, in order. */
static void select_first(struct candidate *list, uint32_t n, uint32_t count)
{
	for (uint32_t i = count / 2; i-- > 0;)
		sink(list, count, i);
	for (uint32_t i = count; i < n; i++) {
		struct candidate t = list[i];

		if (going_first(&t, &list[0]) >= 0)
			continue;
		list[i] = list[0];
		list[0] = t;
		sink(list, count, 0);
	}
	qsort(list, count, sizeof(*list), going_first);
}

/* The `count` that go first, or all; *list is the caller's to free. */
static uint32_t make_ranking(const struct cache *c, const struct entry *owner, uint32_t count,
			     uint32_t now_s, struct candidate **list)
{
	struct candidates all = {0};

	collect(&all, c, owner, now_s);
	if (count > all.n)
		count = all.n;
	if (count) {
		count_crowds(&all, c, owner);
		select_first(all.list, all.n, count);
	}
	*list = all.list;
	return count;
}

/* --- Choosing ----------------------------------------------------------------------- */

static void choice_open(struct rank_choice *out, uint32_t count)
{
	out->n = 0;
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

#define KEEP_FROM  4096u /* pods: fewer are ranked in no time */
#define KEEP_STEPS 32u	 /* a ranking is made for so many steps like this one, */
#define KEEP_PART  8u	 /* and for that part of all pods at least; */
#define KEEP_S	   5u	 /* it is kept for so long */

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

/* Is there nothing that would go before those that are left? */
static bool holds(const struct cache *c, const struct entry *owner, const struct ranking *r,
		  const struct counts_copy *counts, uint32_t now_s)
{
	const struct entry *newest = cache_first_dependent(c, owner);

	return r->at < r->n && now_s - r->made_s < KEEP_S && counts->ready == counts->active &&
	       newest && cache_entry_ref(c, newest).u == r->newest &&
	       newest->created_rv == r->newest_rv;
}

/* The one that is kept for this owner, or one to be made anew. */
static struct ranking *ranking_of(struct rankings *kept, const struct entry *owner)
{
	for (uint32_t i = 0; i < RANKINGS_KEPT; i++)
		if (memcmp(kept->kept[i].owner, owner->uid, 16) == 0)
			return &kept->kept[i];
	return &kept->kept[kept->next++ % RANKINGS_KEPT];
}

/* How many to rank, when so many are to go now. */
static uint32_t worth_ranking(uint32_t count, uint32_t active)
{
	uint32_t part = active / KEEP_PART;

	if (count >= active / KEEP_STEPS)
		return active;
	return count * KEEP_STEPS > part ? count * KEEP_STEPS : part;
}

static void remake(const struct cache *c, const struct entry *owner, uint32_t count, uint32_t now_s,
		   struct ranking *r)
{
	const struct entry *newest = cache_first_dependent(c, owner);
	struct candidate *list;
	uint32_t n = make_ranking(c, owner, count, now_s, &list);

	forget(r);
	memcpy(r->owner, owner->uid, 16);
	r->entries = malloc((n + 1) * sizeof(*r->entries));
	r->created_rv = malloc((n + 1) * sizeof(*r->created_rv));
	weft_assert(r->entries && r->created_rv);
	for (r->n = 0; r->n < n; r->n++) {
		r->entries[r->n] = list[r->n].entry;
		r->created_rv[r->n] = list[r->n].created_rv;
	}
	r->newest = newest ? cache_entry_ref(c, newest).u : 0;
	r->newest_rv = newest ? newest->created_rv : 0;
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
		if (is_active(v))
			choose(out, r->entries[r->at], v->rv);
	}
}

static void choose_kept(const struct cache *c, const struct entry *owner, uint32_t count,
			uint32_t now_s, const struct counts_copy *counts, struct rankings *kept,
			struct rank_choice *out)
{
	struct ranking *r = ranking_of(kept, owner);

	if (memcmp(r->owner, owner->uid, 16) == 0 && holds(c, owner, r, counts, now_s))
		take_next(c, owner, r, count, out);
	if (out->n == count)
		return;
	out->n = 0;
	remake(c, owner, worth_ranking(count, counts->active), now_s, r);
	take_next(c, owner, r, count, out);
}

void rank_choose(const struct cache *c, const struct entry *owner, uint32_t count, uint32_t now_s,
		 struct rankings *kept, struct rank_choice *out)
{
	struct candidate *list = NULL;
	struct counts_copy counts;
	uint32_t n;

	cache_counts(c, owner, &counts);
	choice_open(out, count);
	if (kept && counts.active >= KEEP_FROM && count < counts.active) {
		choose_kept(c, owner, count, now_s, &counts, kept, out);
		return;
	}
	n = make_ranking(c, owner, count, now_s, &list);
	for (uint32_t i = 0; i < n; i++)
		choose(out, list[i].entry, list[i].rv);
	free(list);
}

void rank_free(struct rank_choice *choice)
{
	free(choice->entries);
	free(choice->rvs);
	*choice = (struct rank_choice){0};
}
