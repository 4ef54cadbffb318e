/* cache.c - readers: everything here is lock-free and writes nothing shared. */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "shm/cache_layout.h"
#include "weft/fault.h"

/* --- Hashes of keys ---------------------------------------------------------------- */

uint64_t cache_hash_bytes(struct str bytes)
{
	uint64_t hash = XXH3_64bits(bytes.p, bytes.n);

	return hash ? hash : 1; /* 0 is for what is not interned */
}

uint32_t cache_hash_uid(const uint8_t uid[16])
{
	return (uint32_t)XXH3_64bits(uid, 16);
}

uint32_t cache_hash_name(struct str name)
{
	return (uint32_t)XXH3_64bits(name.p, name.n);
}

static uint64_t hash_scope(uint16_t type, struct str ns)
{
	return XXH3_64bits_withSeed(ns.n ? ns.p : "", ns.n, type);
}

uint32_t cache_hash_space(uint16_t type, struct str ns)
{
	return (uint32_t)hash_scope(type, ns);
}

uint32_t cache_hash_key(uint16_t type, struct str ns, struct str name)
{
	return (uint32_t)XXH3_64bits_withSeed(name.p, name.n, hash_scope(type, ns));
}

/* --- Attaching ---------------------------------------------------------------------- */

uint32_t cache_layout_signature(void)
{
	static const uint64_t words[] = {
		sizeof(struct cache_header),
		offsetof(struct cache_header, gp),
		offsetof(struct cache_header, rv),
		offsetof(struct cache_header, stats),
		offsetof(struct cache_header, by_key),
		offsetof(struct cache_header, types),
		offsetof(struct cache_header, chunk),
		offsetof(struct cache_header, entries),
		REFSET_CHUNK,
		CACHE_TYPES_MAX,
		JOURNAL_CHUNK,
		JOURNAL_CHUNKS,
		ARENA_UNIT,
		ARENA_USE_COUNT,
		PART_COUNT,
		HASH_SLOTS,
		HASH_CHUNK,
		ORDERED_FANOUT,
		sizeof(struct entry),
		offsetof(struct entry, newest),
		offsetof(struct entry, owner),
		offsetof(struct entry, counts),
		offsetof(struct entry, live),
		offsetof(struct entry, name),
		sizeof(struct version),
		offsetof(struct version, part),
		offsetof(struct version, hot),
		sizeof(struct hot),
		offsetof(struct blob, bytes),
		sizeof(struct edge),
		sizeof(struct labelset),
		sizeof(struct nodeslot),
		sizeof(struct space),
		sizeof(struct counts),
	};

	return seg_signature(words, countof(words));
}

int cache_attach(struct cache **out, const char *name, struct prcu_reader *reader, struct err *e)
{
	struct cache *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return err_set(e, WEFT_ENOMEM, "cache handle");
	err = seg_open(&c->seg, name, SEG_CACHE, cache_layout_signature(), false, e);
	if (err)
		goto fail;
	c->attached = true;
	c->base = c->seg.base;
	c->h = (struct cache_header *)c->base;
	c->reader = reader;
	err = prcu_register_process(&c->h->gp, e);
	if (err)
		goto fail;
	*out = c;
	return WEFT_OK;
fail:
	cache_detach(c);
	return err;
}

int cache_thread(struct cache **out, const struct cache *of, struct prcu_reader *reader)
{
	struct cache *c = malloc(sizeof(*c));

	if (!c)
		return WEFT_ENOMEM;
	*c = (struct cache){.base = of->base, .h = of->h, .reader = reader};
	*out = c;
	return WEFT_OK;
}

void cache_detach(struct cache *c)
{
	if (!c)
		return;
	if (c->attached)
		seg_close(&c->seg);
	free(c);
}

void cache_lock(struct cache *c)
{
	if (c->reader)
		prcu_read_lock(c->reader, &c->h->gp);
	fault_at(rcu_section);
}

void cache_unlock(struct cache *c)
{
	if (c->reader)
		prcu_read_unlock(c->reader);
}

uint64_t cache_rv(const struct cache *c)
{
	/* [cache.A2] pairs with [cache.R2]: all writes up to it are visible. */
	return prcu_dereference(&c->h->rv);
}

uint64_t cache_oldest(const struct cache *c)
{
	/* [cache.A3] pairs with [cache.R3]. */
	return prcu_dereference(&c->h->oldest);
}

uint32_t cache_generation(const struct cache *c)
{
	return c->h->generation;
}

const uint8_t *cache_cluster_id(const struct cache *c)
{
	return c->h->cluster_id;
}

const struct arena_stats *cache_arena_stats(const struct cache *c)
{
	return &c->h->stats;
}

/* --- References --------------------------------------------------------------------- */

const struct entry *cache_entry(const struct cache *c, entry_ref r)
{
	return ref_ptr(c->base, r.u);
}

const struct version *cache_version(const struct cache *c, version_ref r)
{
	return ref_ptr(c->base, r.u);
}

entry_ref cache_entry_ref(const struct cache *c, const struct entry *e)
{
	return (entry_ref){ref_of(c->base, e)};
}

version_ref cache_version_ref(const struct cache *c, const struct version *v)
{
	return (version_ref){ref_of(c->base, v)};
}

static const struct entry *entry_or_null(const struct cache *c, uint32_t ref)
{
	return ref ? ref_ptr(c->base, ref) : NULL;
}

int cache_entry_checked(const struct cache *c, uint32_t ref, const struct entry **out)
{
	if (!refset_has(c->base, &c->h->entries, ref))
		return WEFT_EINVAL;
	*out = ref_ptr(c->base, ref);
	return WEFT_OK;
}

void cache_prefetch(const struct cache *c, uint32_t ref, int stage)
{
	const char *e = ref_ptr(c->base, ref), *v;

	if (stage == 0) {
		prefetch(e);
		prefetch(e + CACHE_LINE);
		refset_prefetch(c->base, &c->h->entries, ref);
	} else if (refset_has(c->base, &c->h->entries, ref)) {
		v = ref_ptr(c->base, prcu_own(&((const struct entry *)e)->newest));
		prefetch(v);
		prefetch(v + CACHE_LINE);
	}
}

uint32_t cache_walk(const struct cache *c, uint64_t *from, uint32_t *refs, uint32_t max)
{
	return refset_walk(c->base, &c->h->entries, from, refs, max);
}

struct str cache_blob(const struct cache *c, blob_ref r)
{
	return blob_str(c->base, r.u);
}

struct str cache_string(const struct cache *c, string_ref r)
{
	return blob_str(c->base, r.u);
}

struct str cache_ns(const struct cache *c, const struct entry *e)
{
	return blob_str(c->base, e->ns.u);
}

struct str cache_part(const struct cache *c, const struct version *v, enum part part)
{
	const struct labelset *s;

	if (part != PART_LABELS)
		return blob_str(c->base, v->part[part]);
	s = ref_ptr(c->base, v->part[PART_LABELS]);
	return blob_str(c->base, s->labels.u);
}

/* --- States ------------------------------------------------------------------------- */

const struct version *cache_newest(const struct cache *c, const struct entry *e)
{
	/* [cache.A1] pairs with [cache.R1]: the version is whole. */
	uint32_t ref = prcu_dereference(&e->newest);

	return ref ? ref_ptr(c->base, ref) : NULL;
}

static const struct version *previous(const struct cache *c, const struct version *v)
{
	uint32_t ref = prcu_dereference(&v->prev);

	return ref ? ref_ptr(c->base, ref) : NULL;
}

static const struct version *unless_gone(const struct version *v)
{
	return v && !(v->flags & VERSION_TOMBSTONE) ? v : NULL;
}

const struct version *cache_at(const struct cache *c, const struct entry *e, uint64_t rv)
{
	const struct version *v = cache_newest(c, e);

	while (v && v->rv > rv)
		v = previous(c, v);
	return unless_gone(v);
}

/* Without a look at its newest version, which is one more wait for memory.
 * [cache.A9] pairs with [cache.R9]: that version is there. */
static inline bool is_live(const struct entry *e)
{
	return prcu_dereference(&e->live);
}

const struct version *cache_live(const struct cache *c, const struct entry *e)
{
	return is_live(e) ? unless_gone(cache_newest(c, e)) : NULL;
}

/* --- Finding ------------------------------------------------------------------------ */

struct live_key {
	uint16_t type;
	struct str ns, name;
};

static inline bool match_live_key(const char *base, uint32_t ref, const void *key)
{
	const struct entry *e = ref_ptr(base, ref);
	const struct live_key *k = key;

	return e->name_len == k->name.n && e->type == k->type && is_live(e) &&
	       memcmp(e->name, k->name.p, k->name.n) == 0 && str_eq(blob_str(base, e->ns.u), k->ns);
}

static inline bool match_live_uid(const char *base, uint32_t ref, const void *key)
{
	const struct entry *e = ref_ptr(base, ref);

	return memcmp(e->uid, key, sizeof(e->uid)) == 0 && is_live(e);
}

const struct entry *cache_find(const struct cache *c, uint16_t type, struct str ns, struct str name)
{
	struct live_key key = {type, ns, name};

	return entry_or_null(c, hash_find(c->base, &c->h->by_key, cache_hash_key(type, ns, name),
					  match_live_key, &key));
}

const struct entry *cache_find_uid(const struct cache *c, const uint8_t uid[16])
{
	return entry_or_null(
		c, hash_find(c->base, &c->h->by_uid, cache_hash_uid(uid), match_live_uid, uid));
}

uint64_t cache_type_count(const struct cache *c, uint16_t type)
{
	return type < CACHE_TYPES_MAX ? prcu_own(&c->h->types[type].count) : 0;
}

bool cache_all_plain(const struct cache *c)
{
	/* [cache.A10] pairs with [cache.R10]. */
	return !atomic_load_explicit(&c->h->unplain, memory_order_acquire);
}

uint64_t cache_count(const struct cache *c)
{
	uint64_t n = 0;

	for (uint16_t type = 0; type < CACHE_TYPES_MAX; type++)
		n += cache_type_count(c, type);
	return n;
}

/* --- Iterating ---------------------------------------------------------------------- */

void cache_iter_init(struct cache_iter *it, const struct cache *c, uint16_t type, struct str ns,
		     struct str after_ns, struct str after_name)
{
	struct ordered_key from = {after_ns, after_name, UINT64_MAX};

	*it = (struct cache_iter){.c = c, .type = type, .one_ns = ns.p != NULL, .ns = ns};
	if (type >= CACHE_TYPES_MAX)
		return;
	if (!after_name.p)
		from = (struct ordered_key){ns, STR(""), 0};
	ordered_seek(&it->pos, c->base, &c->h->types[type].objects,
		     after_name.p || it->one_ns ? &from : NULL);
}

/* The rest of an entry to come, and its newest version: ordered_next() has had
 * its first line fetched by now. */
static void iter_ahead(const struct cache_iter *it)
{
	uint32_t at = it->pos.next + ORDERED_AHEAD / 2u;
	const struct entry *e;
	const char *v;

	if (at >= it->pos.n || !it->pos.ref[at])
		return;
	e = ref_ptr(it->c->base, it->pos.ref[at]);
	v = ref_ptr(it->c->base, prcu_own(&e->newest));
	prefetch((const char *)e + CACHE_LINE);
	prefetch(v);
	prefetch(v + CACHE_LINE);
}

const struct entry *cache_iter_next(struct cache_iter *it)
{
	const struct entry *e = entry_or_null(it->c, ordered_next(&it->pos, it->c->base));

	iter_ahead(it);

	if (!e || (it->one_ns && !str_eq(cache_ns(it->c, e), it->ns)))
		return NULL;
	return e;
}

int cache_key_cmp(struct str ns_a, struct str name_a, struct str ns_b, struct str name_b)
{
	struct ordered_key a = {ns_a, name_a, 0}, b = {ns_b, name_b, 0};

	return str_eq(ns_a, ns_b) ? str_cmp(name_a, name_b) : ordered_key_cmp(&a, &b);
}

bool cache_same_key(const struct cache *c, const struct entry *a, const struct entry *b)
{
	return str_eq(entry_name(a), entry_name(b)) && str_eq(cache_ns(c, a), cache_ns(c, b));
}

/* --- Lists -------------------------------------------------------------------------- */

static const struct entry *follow(const struct cache *c, const _Atomic uint32_t *link)
{
	return entry_or_null(c, prcu_dereference(link));
}

const struct entry *cache_first_dependent(const struct cache *c, const struct entry *owner)
{
	return follow(c, &owner->first);
}

const struct entry *cache_next_dependent(const struct cache *c, const struct entry *dep)
{
	return follow(c, &dep->sib_next);
}

uint32_t cache_left_owner(const struct cache *c, const struct entry *owner)
{
	uint32_t ref = prcu_dereference(&owner->counts);

	/* [cache.A8] pairs with [cache.R8]: a walk that followed a member into
	 * another list had to read its new link, and that was stored later. */
	return ref ? prcu_dereference(&((const struct counts *)ref_ptr(c->base, ref))->left) : 0;
}

static const struct edge *follow_edge(const struct cache *c, const _Atomic uint32_t *link)
{
	uint32_t ref = prcu_dereference(link);

	return ref ? ref_ptr(c->base, ref) : NULL;
}

const struct edge *cache_first_edge(const struct cache *c, const struct entry *owner)
{
	return follow_edge(c, &owner->edges);
}

const struct edge *cache_next_edge(const struct cache *c, const struct edge *edge)
{
	return follow_edge(c, &edge->next);
}

const struct nodeslot *cache_node(const struct cache *c, struct str name)
{
	uint32_t ref = hash_find(c->base, &c->h->by_node, cache_hash_name(name), match_node, &name);

	return ref ? ref_ptr(c->base, ref) : NULL;
}

const struct nodeslot *cache_nodeslot(const struct cache *c, nodeslot_ref r)
{
	return ref_ptr(c->base, r.u);
}

struct str cache_node_name(const struct cache *c, const struct version *v)
{
	if (!v->hot.node.u)
		return (struct str){NULL, 0};
	return cache_string(c, cache_nodeslot(c, v->hot.node)->name);
}

const struct entry *cache_first_on_node(const struct cache *c, const struct nodeslot *n)
{
	return follow(c, &n->first);
}

const struct entry *cache_next_on_node(const struct cache *c, const struct entry *pod)
{
	return follow(c, &pod->node_next);
}

static const struct labelset *follow_set(const struct cache *c, const _Atomic uint32_t *link)
{
	uint32_t ref = prcu_dereference(link);

	return ref ? ref_ptr(c->base, ref) : NULL;
}

const struct labelset *cache_first_labelset(const struct cache *c, uint16_t type, struct str ns)
{
	struct space_key key = {type, ns};
	uint32_t ref =
		hash_find(c->base, &c->h->by_space, cache_hash_space(type, ns), match_space, &key);
	const struct space *s;

	if (!ref)
		return NULL;
	s = ref_ptr(c->base, ref);
	return follow_set(c, &s->first);
}

const struct labelset *cache_next_labelset(const struct cache *c, const struct labelset *s)
{
	return follow_set(c, &s->next);
}

const struct entry *cache_first_in_set(const struct cache *c, const struct labelset *s)
{
	return follow(c, &s->first);
}

const struct entry *cache_next_in_set(const struct cache *c, const struct entry *e)
{
	return follow(c, &e->set_next);
}

uint32_t cache_left_set(const struct cache *c, const struct labelset *s)
{
	return prcu_dereference(&s->left); /* [cache.A7] pairs with [cache.R7] */
}

/* --- Counts ------------------------------------------------------------------------- */

/* How often a copy is tried.  Each failure means that the store has made two
 * changes meanwhile: no store does that a thousand times in a row to a reader
 * who runs, and for one who is stopped again and again a copy that mixes two
 * states is better than none. */
#define COUNTS_TRIES 1000

static void copy_counts(const struct counts_slot *c, struct counts_copy *out)
{
	/* [cache.A5] pairs with [cache.R5]. */
	*out = (struct counts_copy){
		.total = prcu_dereference(&c->total),
		.active = prcu_dereference(&c->active),
		.ready = prcu_dereference(&c->ready),
		.terminating = prcu_dereference(&c->terminating),
		.pending = prcu_dereference(&c->pending),
		.succeeded = prcu_dereference(&c->succeeded),
		.failed = prcu_dereference(&c->failed),
		.scheduled = prcu_dereference(&c->scheduled),
		.rv = prcu_dereference(&c->rv),
	};
}

void cache_counts(const struct cache *c, const struct entry *owner, struct counts_copy *out)
{
	uint32_t ref = prcu_dereference(&owner->counts), seq;
	const struct counts *counts;

	*out = (struct counts_copy){0};
	if (!ref)
		return;
	counts = ref_ptr(c->base, ref);
	for (int i = 0; i < COUNTS_TRIES; i++) {
		seq = prcu_dereference(&counts->seq); /* [cache.A6] pairs with [cache.R6] */
		copy_counts(&counts->slot[seq % 2], out);
		if (likely_true(seq == prcu_own(&counts->seq)))
			return;
	}
}

/* --- Journal ------------------------------------------------------------------------ */

int cache_journal(const struct cache *c, uint64_t after, const struct version **out, int max)
{
	uint64_t rv = cache_rv(c);
	int n = 0;

	if (after + 1 < cache_oldest(c))
		return WEFT_EGONE;
	for (uint64_t r = after + 1; r <= rv && n < max; r++) {
		/* [cache.A4] pairs with [cache.R4]: reserved before r was published. */
		const uint32_t *chunk =
			ref_ptr(c->base,
				prcu_dereference(&c->h->chunk[r / JOURNAL_CHUNK % JOURNAL_CHUNKS]));

		out[n++] = ref_ptr(c->base, chunk[r % JOURNAL_CHUNK]);
	}
	return n;
}
