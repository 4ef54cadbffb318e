/* labelset.c - objects by exact labels, per type and namespace. */
#include "shm/cache_priv.h"

static const struct list_fields in_space = LIST_FIELDS(struct labelset, next, prev);
static const struct list_fields in_set = LIST_FIELDS(struct entry, set_next, set_prev);

static struct labelset *set_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

static struct space *space_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

/* Namespace and labels are interned: their references stand for them. */
static uint64_t hash_set(uint16_t type, uint32_t ns, uint32_t labels)
{
	uint64_t h = ((uint64_t)ns << 32 | labels) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= (h >> 29) + type * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}

static uint64_t hash_of_set(const char *base, uint32_t ref)
{
	const struct labelset *s = ref_ptr(base, ref);

	return hash_set(s->type, s->ns.u, s->labels.u);
}

int labelset_init(struct cache_writer *w)
{
	return chain_init(&w->labelsets, w->base, offsetof(struct labelset, hash_next),
			  hash_of_set);
}

/* --- Spaces ----------------------------------------------------------------- */

static uint32_t space_get(struct cache_writer *w, uint16_t type, uint32_t ns)
{
	struct space_key key = {type, blob_str(w->base, ns)};
	uint32_t hash = cache_hash_space(type, key.ns);
	uint32_t ref = hash_find(w->base, &w->h->by_space, hash, match_space, &key);
	struct space *s;

	if (ref) {
		space_at(w, ref)->refcount++;
		return ref;
	}
	ref = arena_alloc(w->arena, sizeof(*s), ARENA_INDEX);
	if (!ref)
		return 0;
	s = space_at(w, ref);
	memset(s, 0, sizeof(*s));
	s->ns.u = ns;
	s->type = type;
	s->refcount = 1;
	if (hash_insert(&w->by_space, hash, ref)) {
		arena_free(w->arena, ref, sizeof(*s), ARENA_INDEX);
		return 0;
	}
	blob_hold(w, ns);
	return ref;
}

static void space_drop(struct cache_writer *w, uint32_t ref)
{
	struct space *s = space_at(w, ref);
	bool removed;

	if (--s->refcount)
		return;
	removed = hash_remove(&w->by_space, cache_hash_space(s->type, blob_str(w->base, s->ns.u)),
			      ref);
	weft_assert(removed);
	blob_drop(w, s->ns.u);
	retire(w, ref, sizeof(*s), ARENA_INDEX);
}

/* --- Sets -------------------------------------------------------------------- */

static uint32_t set_new(struct cache_writer *w, uint16_t type, uint32_t ns, uint32_t labels)
{
	uint32_t space = space_get(w, type, ns), ref;
	struct labelset *s;

	if (!space)
		return 0;
	ref = arena_alloc(w->arena, sizeof(*s), ARENA_INDEX);
	if (!ref) {
		space_drop(w, space);
		return 0;
	}
	s = set_at(w, ref);
	memset(s, 0, sizeof(*s));
	s->labels.u = labels;
	s->type = type;
	s->ns.u = ns;
	s->space = space;
	blob_hold(w, labels);
	chain_insert(&w->labelsets, hash_set(type, ns, labels), ref);
	list_push(w->base, &space_at(w, space)->first, ref, in_space);
	return ref;
}

uint32_t labelset_get(struct cache_writer *w, uint16_t type, uint32_t ns, uint32_t labels)
{
	uint64_t hash = hash_set(type, ns, labels);
	uint32_t ref = chain_first(&w->labelsets, hash);

	for (; ref; ref = chain_next(&w->labelsets, ref)) {
		const struct labelset *s = set_at(w, ref);

		if (s->labels.u == labels && s->ns.u == ns && s->type == type)
			break;
	}
	if (!ref)
		ref = set_new(w, type, ns, labels);
	if (ref)
		set_at(w, ref)->refcount++;
	return ref;
}

/* Members hold their set by their newest version, so it is empty at 0. */
void labelset_drop(struct cache_writer *w, uint32_t ref)
{
	struct labelset *s = set_at(w, ref);

	if (--s->refcount)
		return;
	chain_remove(&w->labelsets, hash_set(s->type, s->ns.u, s->labels.u), ref);
	list_remove(w->base, &space_at(w, s->space)->first, ref, in_space);
	space_drop(w, s->space);
	blob_drop(w, s->labels.u);
	retire(w, ref, sizeof(*s), ARENA_INDEX);
}

/* --- Membership ---------------------------------------------------------------- */

static void count_live(struct labelset *s, uint32_t by)
{
	/* Relaxed: a number for estimates, nothing is reached through it. */
	prcu_set_relaxed(&s->count, prcu_own(&s->count) + by);
}

void labelset_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		      const struct version *v)
{
	uint32_t from = old ? old->part[PART_LABELS] : 0, to = v->part[PART_LABELS];
	uint32_t ref = ref_of(w->base, e);

	if (from != to) {
		if (from) {
			prcu_assign(&set_at(w, from)->left, /* [cache.R7] */
				    prcu_own(&set_at(w, from)->left) + 1);
			list_remove(w->base, &set_at(w, from)->first, ref, in_set);
			count_live(set_at(w, from), UINT32_MAX);
		}
		list_push(w->base, &set_at(w, to)->first, ref, in_set);
		count_live(set_at(w, to), 1);
	}
	if (v->flags & VERSION_TOMBSTONE)
		count_live(set_at(w, to), UINT32_MAX);
}

void labelset_unlink(struct cache_writer *w, struct entry *e, const struct version *tombstone)
{
	list_remove(w->base, &set_at(w, tombstone->part[PART_LABELS])->first, ref_of(w->base, e),
		    in_set);
}
