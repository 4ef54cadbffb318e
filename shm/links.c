/*
 * links.c - dependents by owner.
 *
 * The owner that controls an object is its `owner`; the object is in that
 * owner's list (`first`, `sib_next`).  Each further owner is reached by an
 * edge, which is in that owner's `edges` list and in the dependent's own
 * `own_edges` chain.  Owners that do not exist are not linked.
 *
 * For a new object that has a controller and nothing else `owner` is set when
 * it is prepared (nobody follows it before the object is published); any other
 * change waits in the link queue until its version is published.
 */
#include <stdlib.h>

#include "shm/cache_priv.h"

#define LINKS_FIRST 64u

static const struct list_fields siblings = LIST_FIELDS(struct entry, sib_next, sib_prev);
static const struct list_fields edge_list = LIST_FIELDS(struct edge, next, prev);

static struct edge *edge_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

/* --- The link queue ----------------------------------------------------------- */

int links_init(struct cache_writer *w)
{
	w->links.item = malloc(LINKS_FIRST * sizeof(*w->links.item));
	w->links.mask = LINKS_FIRST - 1;
	return w->links.item ? WEFT_OK : WEFT_ENOMEM;
}

static int queue_reserve(struct link_queue *q)
{
	uint64_t cap = q->mask + 1;
	struct link_change *bigger;

	if (q->tail - q->head < cap)
		return WEFT_OK;
	bigger = malloc(2 * cap * sizeof(*bigger));
	if (!bigger)
		return WEFT_ENOMEM;
	for (uint64_t i = q->head; i != q->tail; i++)
		bigger[i & (2 * cap - 1)] = q->item[i & q->mask];
	free(q->item);
	q->item = bigger;
	q->mask = 2 * cap - 1;
	return WEFT_OK;
}

/* --- Edges --------------------------------------------------------------------- */

/* Free edges that nobody has seen. */
static void free_edges(struct cache_writer *w, uint32_t ref)
{
	while (ref) {
		uint32_t next = edge_at(w, ref)->dep_next;

		arena_free(w->arena, ref, sizeof(struct edge), ARENA_INDEX);
		ref = next;
	}
}

static void link_edges(struct cache_writer *w, struct entry *e, uint32_t ref)
{
	e->own_edges = ref;
	for (; ref; ref = edge_at(w, ref)->dep_next)
		list_push(w->base, &entry_at(w, edge_at(w, ref)->owner.u)->edges, ref, edge_list);
}

static void unlink_edges(struct cache_writer *w, struct entry *e)
{
	uint32_t ref = e->own_edges;

	e->own_edges = 0;
	while (ref) {
		struct edge *g = edge_at(w, ref);
		uint32_t next = g->dep_next;

		list_remove(w->base, &entry_at(w, g->owner.u)->edges, ref, edge_list);
		retire(w, ref, sizeof(*g), ARENA_INDEX);
		ref = next;
	}
}

/* The owner is gone: take an edge out of its dependent's chain. */
static void forget_edge(struct cache_writer *w, uint32_t ref)
{
	uint32_t *at = &entry_at(w, edge_at(w, ref)->dependent.u)->own_edges;

	while (*at != ref)
		at = &edge_at(w, *at)->dep_next;
	*at = edge_at(w, ref)->dep_next;
	retire(w, ref, sizeof(struct edge), ARENA_INDEX);
}

/* --- Preparing ------------------------------------------------------------------ */

/* The entry that `uid` names if it may get dependents, else NULL. */
static struct entry *owner_of_uid(struct cache_writer *w, const uint8_t uid[16])
{
	return cw_find_uid(w, uid);
}

/* True if `e`, with nothing prepared, is linked to exactly these owners already
 * and may stay so. */
static bool same_owners(const struct cache_writer *w, const struct entry *e,
			const struct version_in *in)
{
	uint32_t owner = prcu_own(&e->owner);

	if (e->own_edges)
		return false;
	if (in->nowners == 0)
		return !owner;
	return in->nowners == 1 && in->has_controller && owner &&
	       memcmp(entry_at(w, owner)->uid, in->owner_uids[0], 16) == 0 &&
	       is_live(head_of(w, entry_at(w, owner)));
}

static int resolve_edges(struct cache_writer *w, struct entry *e, const struct version_in *in,
			 uint32_t *out)
{
	uint32_t chain = 0;

	for (int i = in->nowners - 1; i >= (in->has_controller ? 1 : 0); i--) {
		struct entry *owner = owner_of_uid(w, in->owner_uids[i]);
		uint32_t ref;

		if (!owner)
			continue;
		ref = arena_alloc(w->arena, sizeof(struct edge), ARENA_INDEX);
		if (!ref) {
			free_edges(w, chain);
			return WEFT_ENOMEM;
		}
		*edge_at(w, ref) = (struct edge){.dependent = {ref_of(w->base, e)},
						 .dep_next = chain,
						 .owner = {ref_of(w->base, owner)}};
		chain = ref;
	}
	*out = chain;
	return WEFT_OK;
}

static int resolve_controller(struct cache_writer *w, const struct version_in *in, uint32_t *out)
{
	struct entry *owner;

	*out = 0;
	if (!in->has_controller || in->nowners == 0)
		return WEFT_OK;
	owner = owner_of_uid(w, in->owner_uids[0]);
	if (!owner)
		return WEFT_OK;
	if (counts_reserve(w, owner))
		return WEFT_ENOMEM;
	*out = ref_of(w->base, owner);
	return WEFT_OK;
}

int links_prepare(struct cache_writer *w, struct entry *e, struct version *v,
		  const struct version_in *in)
{
	bool first = v->flags & VERSION_FIRST;
	struct link_change change = {.version = ref_of(w->base, v)};

	if (!first && !(in->mask & 1u << PART_META))
		return WEFT_OK;
	if (!e->pending && same_owners(w, e, in))
		return WEFT_OK;
	if (queue_reserve(&w->links) || resolve_controller(w, in, &change.owner) ||
	    resolve_edges(w, e, in, &change.edges))
		return WEFT_ENOMEM;
	if (first && !change.edges)
		prcu_set_relaxed(&e->owner, change.owner); /* nobody follows it yet */
	else
		w->links.item[w->links.tail++ & w->links.mask] = change;
	return WEFT_OK;
}

void links_abort(struct cache_writer *w, struct version *v)
{
	struct link_queue *q = &w->links;
	struct link_change *last = &q->item[(q->tail - 1) & q->mask];

	if (q->head == q->tail || last->version != ref_of(w->base, v))
		return;
	free_edges(w, last->edges);
	q->tail--;
}

/* --- Publishing ------------------------------------------------------------------ */

static void set_owner(struct cache_writer *w, struct entry *e, uint32_t from, uint32_t to)
{
	uint32_t ref = ref_of(w->base, e);

	if (from) {
		struct counts *c = ref_ptr(w->base, prcu_own(&entry_at(w, from)->counts));

		prcu_assign(&c->left, prcu_own(&c->left) + 1); /* [cache.R8] */
		list_remove(w->base, &entry_at(w, from)->first, ref, siblings);
	}
	prcu_assign(&e->owner, to);
	if (to)
		list_push(w->base, &entry_at(w, to)->first, ref, siblings);
}

static const struct link_change *take_change(struct cache_writer *w, const struct version *v)
{
	struct link_queue *q = &w->links;
	const struct link_change *front = &q->item[q->head & q->mask];

	if (q->head == q->tail || front->version != ref_of(w->base, v))
		return NULL;
	q->head++;
	return front;
}

void links_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		   const struct version *v)
{
	const struct link_change *change = take_change(w, v);
	uint32_t from = prcu_own(&e->owner), to = change ? change->owner : from;

	if (change) {
		unlink_edges(w, e);
		link_edges(w, e, change->edges);
	}
	if (v->flags & VERSION_FIRST && to)
		set_owner(w, e, 0, to);
	else if (from != to)
		set_owner(w, e, from, to);
	if (from == to) {
		counts_change(w, to, e->type, old, v, v->rv);
	} else {
		counts_change(w, from, e->type, old, NULL, v->rv);
		counts_change(w, to, e->type, NULL, v, v->rv);
	}
}

/* --- Reclaiming -------------------------------------------------------------------- */

void links_unlink(struct cache_writer *w, struct entry *e)
{
	uint32_t owner = prcu_own(&e->owner), ref;

	if (owner)
		list_remove(w->base, &entry_at(w, owner)->first, ref_of(w->base, e), siblings);
	unlink_edges(w, e);
	ref = prcu_own(&e->edges);
	prcu_assign(&e->edges, 0);
	while (ref) {
		uint32_t next = prcu_own(&edge_at(w, ref)->next);

		forget_edge(w, ref);
		ref = next;
	}
	if (!prcu_own(&e->first)) {
		retire_entry(w, e);
		return;
	}
	/* Its dependents lead to it for a while yet, its last version goes now. */
	prcu_assign(&e->newest, 0); /* [cache.R1] */
	e->sib_prev = w->dissolving;
	w->dissolving = ref_of(w->base, e);
}

void links_dissolve(struct cache_writer *w, uint32_t max)
{
	while (w->dissolving && max) {
		struct entry *owner = entry_at(w, w->dissolving);
		uint32_t ref = prcu_own(&owner->first);

		for (; ref && max; max--) {
			struct entry *e = entry_at(w, ref);

			list_remove(w->base, &owner->first, ref, siblings);
			prcu_assign(&e->owner, 0);
			ref = prcu_own(&owner->first);
		}
		if (ref)
			return;
		w->dissolving = owner->sib_prev;
		retire_entry(w, owner);
	}
}

/* --- Restoring ---------------------------------------------------------------------- */

static int note_unresolved(struct cache_writer *w, struct entry *e, const uint8_t uid[16],
			   bool controller)
{
	struct unresolved *u;

	if (w->nunresolved == w->unresolved_cap) {
		size_t cap = w->unresolved_cap ? w->unresolved_cap * 2 : 1024;

		u = realloc(w->unresolved, cap * sizeof(*u));
		if (!u)
			return WEFT_ENOMEM;
		w->unresolved = u;
		w->unresolved_cap = cap;
	}
	u = &w->unresolved[w->nunresolved++];
	memcpy(u->uid, uid, sizeof(u->uid));
	u->dependent = ref_of(w->base, e);
	u->controller = controller;
	return WEFT_OK;
}

int links_restore(struct cache_writer *w, struct entry *e, const struct version_in *in)
{
	size_t before = w->nunresolved;

	for (int i = 0; i < in->nowners; i++) {
		if (note_unresolved(w, e, in->owner_uids[i], i == 0 && in->has_controller)) {
			w->nunresolved = before;
			return WEFT_ENOMEM;
		}
	}
	return WEFT_OK;
}

static int resolve_one(struct cache_writer *w, const struct unresolved *u)
{
	struct entry *e = entry_at(w, u->dependent), *owner = owner_of_uid(w, u->uid);
	const struct version *v = newest_of(w, e);
	struct edge *g;
	uint32_t ref;

	if (!owner)
		return WEFT_OK;
	if (u->controller) {
		if (counts_reserve(w, owner))
			return WEFT_ENOMEM;
		set_owner(w, e, 0, ref_of(w->base, owner));
		counts_change(w, prcu_own(&e->owner), e->type, NULL, v, v->rv);
		return WEFT_OK;
	}
	ref = arena_alloc(w->arena, sizeof(*g), ARENA_INDEX);
	if (!ref)
		return WEFT_ENOMEM;
	g = edge_at(w, ref);
	*g = (struct edge){.dependent = {u->dependent},
			   .dep_next = e->own_edges,
			   .owner = {ref_of(w->base, owner)}};
	e->own_edges = ref;
	list_push(w->base, &owner->edges, ref, edge_list);
	return WEFT_OK;
}

int links_restore_done(struct cache_writer *w)
{
	int err = WEFT_OK;

	for (size_t i = 0; i < w->nunresolved && !err; i++)
		err = resolve_one(w, &w->unresolved[i]);
	free(w->unresolved);
	w->unresolved = NULL;
	w->nunresolved = w->unresolved_cap = 0;
	return err;
}
