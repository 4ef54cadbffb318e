/* nodeslot.c - pods by the name of their node. */
#include "shm/cache_priv.h"

static const struct list_fields on_node = LIST_FIELDS(struct entry, node_next, node_prev);

static struct nodeslot *slot_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

static uint32_t slot_new(struct cache_writer *w, uint32_t hash, struct str name)
{
	uint32_t interned = blob_get(w, name), ref;
	struct nodeslot *s;

	if (!interned)
		return 0;
	ref = arena_alloc(w->arena, sizeof(*s), ARENA_INDEX);
	if (!ref)
		goto drop_name;
	s = slot_at(w, ref);
	memset(s, 0, sizeof(*s));
	s->name.u = interned;
	if (!hash_insert(&w->by_node, hash, ref))
		return ref;
	arena_free(w->arena, ref, sizeof(*s), ARENA_INDEX);
drop_name:
	blob_drop(w, interned);
	return 0;
}

uint32_t nodeslot_hold(struct cache_writer *w, uint32_t ref)
{
	slot_at(w, ref)->refcount++;
	return ref;
}

uint32_t nodeslot_get(struct cache_writer *w, struct str name)
{
	uint32_t hash = cache_hash_name(name);
	uint32_t ref = hash_find(w->base, &w->h->by_node, hash, match_node, &name);

	if (!ref)
		ref = slot_new(w, hash, name);
	return ref ? nodeslot_hold(w, ref) : 0;
}

/* Pods and the Node object hold the slot by their versions. */
void nodeslot_drop(struct cache_writer *w, uint32_t ref)
{
	struct nodeslot *s;
	bool removed;

	if (!ref)
		return;
	s = slot_at(w, ref);
	if (--s->refcount)
		return;
	removed = hash_remove(&w->by_node, cache_hash_name(blob_str(w->base, s->name.u)), ref);
	weft_assert(removed);
	blob_drop(w, s->name.u);
	retire(w, ref, sizeof(*s), ARENA_INDEX);
}

/* --- Prefetching --------------------------------------------------------------- */

void cw_prefetch_place(const struct cache_writer *w, const struct version *v, int stage)
{
	uint32_t slot = v->hot.node.u, prev = prcu_own(&v->prev), first;

	if (!slot)
		return;
	if (!stage) {
		prefetch(slot_at(w, slot));
		return;
	}
	first = prcu_own(&slot_at(w, slot)->first);
	if (first && prev && version_at(w, prev)->hot.node.u != slot)
		prefetch(&entry_at(w, first)->node_prev);
}

void cw_prefetch_nodes(const struct cache_writer *w, const struct str *name, uint32_t n)
{
	uint32_t hash[CACHE_TOGETHER], ref[CACHE_TOGETHER];

	weft_assert(n <= CACHE_TOGETHER);
	for (uint32_t i = 0; i < n; i++) {
		hash[i] = cache_hash_name(name[i]);
		hash_prefetch(w->base, &w->h->by_node, hash[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		ref[i] = hash_peek(w->base, &w->h->by_node, hash[i]);
		if (ref[i])
			prefetch(slot_at(w, ref[i]));
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t first = ref[i] ? prcu_own(&slot_at(w, ref[i])->first) : 0;

		if (ref[i])
			prefetch(ref_ptr(w->base, slot_at(w, ref[i])->name.u));
		if (first)
			prefetch(&entry_at(w, first)->node_prev);
	}
}

void cw_prefetch_slot(const struct cache_writer *w, nodeslot_ref slot)
{
	prefetch(slot_at(w, slot.u));
}

/* --- Membership ---------------------------------------------------------------- */

static bool counts_on_node(const struct version *v)
{
	return is_live(v) && v->hot.node.u && !pod_has_ended(v);
}

static void count_pod(struct nodeslot *s, uint32_t by)
{
	/* Relaxed: a number for estimates, nothing is reached through it. */
	prcu_set_relaxed(&s->count, prcu_own(&s->count) + by);
}

static void pod_publish(struct cache_writer *w, struct entry *e, const struct version *old,
			const struct version *v)
{
	uint32_t from = old ? old->hot.node.u : 0, to = v->hot.node.u;

	if (counts_on_node(old))
		count_pod(slot_at(w, from), UINT32_MAX);
	if (counts_on_node(v))
		count_pod(slot_at(w, to), 1);
	if (from == to)
		return;
	if (from)
		list_remove(w->base, &slot_at(w, from)->first, ref_of(w->base, e), on_node);
	if (to)
		list_push(w->base, &slot_at(w, to)->first, ref_of(w->base, e), on_node);
}

static void node_publish(struct cache_writer *w, struct entry *e, const struct version *v)
{
	struct nodeslot *s;

	if (!v->hot.node.u)
		return;
	s = slot_at(w, v->hot.node.u);
	prcu_assign(&s->node, is_live(v) ? ref_of(w->base, e) : 0);
}

void nodeslot_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		      const struct version *v)
{
	if (e->type == w->h->pod_type)
		pod_publish(w, e, old, v);
	else if (e->type == w->h->node_type)
		node_publish(w, e, v);
}

void nodeslot_unlink(struct cache_writer *w, struct entry *e, const struct version *tombstone)
{
	uint32_t slot = tombstone->hot.node.u;

	if (slot && e->type == w->h->pod_type)
		list_remove(w->base, &slot_at(w, slot)->first, ref_of(w->base, e), on_node);
}
