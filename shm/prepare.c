/* prepare.c - building entries and versions that nobody sees yet. */
#include "shm/cache_priv.h"

/* --- Finding, pending included ------------------------------------------------ */

struct key {
	uint16_t type;
	struct str ns, name;
};

static inline bool head_is_live(const char *base, const struct entry *e)
{
	uint32_t ref = e->pending ? e->pending : prcu_own(&e->newest);

	return ref && is_live(ref_ptr(base, ref));
}

static inline bool match_key(const char *base, uint32_t ref, const void *key)
{
	const struct entry *e = ref_ptr(base, ref);
	const struct key *k = key;

	return e->name_len == k->name.n && memcmp(e->name, k->name.p, k->name.n) == 0 &&
	       e->type == k->type && str_eq(blob_str(base, e->ns.u), k->ns) &&
	       head_is_live(base, e);
}

static inline bool match_uid(const char *base, uint32_t ref, const void *key)
{
	const struct entry *e = ref_ptr(base, ref);

	return memcmp(e->uid, key, sizeof(e->uid)) == 0 && head_is_live(base, e);
}

static uint32_t find_key(const struct cache_writer *w, uint32_t hash, const struct key *key)
{
	return hash_find(w->base, &w->h->by_key, hash, match_key, key);
}

struct entry *cw_find(struct cache_writer *w, uint16_t type, struct str ns, struct str name)
{
	struct key key = {type, ns, name};
	uint32_t ref = find_key(w, cache_hash_key(type, ns, name), &key);

	return ref ? entry_at(w, ref) : NULL;
}

struct entry *cw_find_near(struct cache_writer *w, uint32_t guess, uint16_t type, struct str ns,
			   struct str name)
{
	const struct key key = {type, ns, name};

	if (guess && match_key(w->base, guess, &key))
		return entry_at(w, guess);
	return cw_find(w, type, ns, name);
}

struct entry *cw_find_uid(struct cache_writer *w, const uint8_t uid[16])
{
	uint32_t ref = w->found_uid;

	if (ref && match_uid(w->base, ref, uid))
		return entry_at(w, ref);
	w->found_uid = ref = hash_find(w->base, &w->h->by_uid, cache_hash_uid(uid), match_uid, uid);
	return ref ? entry_at(w, ref) : NULL;
}

const struct version *cw_newest(struct cache_writer *w, const struct entry *e)
{
	const struct version *v = head_of(w, e);

	return is_live(v) ? v : NULL;
}

/* --- Entries ---------------------------------------------------------------------- */

static void remove_from(struct hash *h, uint32_t hash, uint32_t ref)
{
	bool removed = hash_remove(h, hash, ref);

	weft_assert(removed);
}

static uint32_t key_hash(const struct cache_writer *w, const struct entry *e)
{
	return cache_hash_key(e->type, blob_str(w->base, e->ns.u), entry_name(e));
}

static void prefetch_indexes(const struct cache_writer *w, uint32_t key, uint32_t uid)
{
	hash_prefetch(w->base, &w->h->by_key, key);
	hash_prefetch(w->base, &w->h->by_uid, uid);
}

void cw_ahead_new(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
		  const uint8_t uid[16])
{
	prefetch_indexes(w, cache_hash_key(type, ns, name), cache_hash_uid(uid));
}

/* `listed`: in the ordered index, too; else that is cw_list()'s. */
static int entry_index(struct cache_writer *w, struct entry *e, uint32_t hash, bool listed)
{
	uint32_t ref = ref_of(w->base, e);

	if (refset_add(&w->entries, ref))
		return WEFT_ENOMEM;
	if (hash_insert(&w->by_key, hash, ref))
		goto no_key;
	if (hash_insert(&w->by_uid, cache_hash_uid(e->uid), ref))
		goto no_uid;
	if (listed && ordered_insert(&w->ordered, &w->h->types[e->type].objects, ref))
		goto no_order;
	return WEFT_OK;

no_order:
	remove_from(&w->by_uid, cache_hash_uid(e->uid), ref);
no_uid:
	remove_from(&w->by_key, hash, ref);
no_key:
	refset_remove(&w->entries, ref);
	return WEFT_ENOMEM;
}

void entry_prefetch_indexes(const struct cache_writer *w, const struct entry *e)
{
	prefetch_indexes(w, key_hash(w, e), cache_hash_uid(e->uid));
}

/* True if it was in the ordered index, too. */
static bool unindex(struct cache_writer *w, struct entry *e)
{
	uint32_t ref = ref_of(w->base, e), key = key_hash(w, e), uid = cache_hash_uid(e->uid);

	if (w->found_uid == ref)
		w->found_uid = 0;
	refset_remove(&w->entries, ref);
	remove_from(&w->by_key, key, ref);
	remove_from(&w->by_uid, uid, ref);
	return ordered_remove(&w->ordered, &w->h->types[e->type].objects, ref);
}

void entry_unindex(struct cache_writer *w, struct entry *e)
{
	bool listed = unindex(w, e);

	weft_assert(listed);
}

void entry_discard(struct cache_writer *w, struct entry *e)
{
	unindex(w, e); /* cw_list() may not have come to it */
	retire_entry(w, e);
}

static uint32_t entry_alloc(struct cache_writer *w, uint16_t type, uint32_t ns, struct str name,
			    const uint8_t uid[16], uint32_t created_s, uint64_t created_rv)
{
	size_t size = offsetof(struct entry, name) + name.n + 1;
	uint32_t ref = arena_alloc(w->arena, size, ARENA_ENTRY);
	struct entry *e;

	if (!ref)
		return 0;
	e = entry_at(w, ref);
	memset(e, 0, offsetof(struct entry, name));
	memcpy(e->uid, uid, sizeof(e->uid));
	e->created_rv = created_rv;
	e->created_s = created_s;
	e->type = type;
	e->name_len = (uint8_t)name.n;
	e->ns.u = ns;
	memcpy(e->name, name.p, name.n);
	e->name[name.n] = '\0';
	return ref;
}

int entry_new(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
	      const uint8_t uid[16], uint32_t created_s, uint64_t created_rv, bool listed,
	      struct entry **out)
{
	struct key key = {type, ns, name};
	uint32_t hash, interned = 0, ref;
	int err = WEFT_ENOMEM;

	if (name.n == 0 || name.n > 253 || type >= CACHE_TYPES_MAX)
		return WEFT_EINVAL;
	hash = cache_hash_key(type, ns, name);
	prefetch_indexes(w, hash, cache_hash_uid(uid));
	/* Everything else comes first, while the index slots are on their way. */
	if (ns.n) {
		interned = blob_get(w, ns);
		if (!interned)
			return WEFT_ENOMEM;
	}
	ref = entry_alloc(w, type, interned, name, uid, created_s, created_rv);
	if (!ref)
		goto no_entry;
	if (find_key(w, hash, &key)) {
		err = WEFT_EEXIST;
		goto exists;
	}
	if (entry_index(w, entry_at(w, ref), hash, listed)) {
		retire_entry(w, entry_at(w, ref)); /* readers may have met it */
		return WEFT_ENOMEM;
	}
	*out = entry_at(w, ref);
	return WEFT_OK;

exists:
	arena_free(w->arena, ref, entry_size(entry_at(w, ref)), ARENA_ENTRY);
no_entry:
	blob_drop(w, interned);
	return err;
}

/* --- Versions ----------------------------------------------------------------------- */

/* What both refer to is held once for both, and passed on from the older to the
 * younger: most updates change one part, and so touch what that one counts. */
void version_drop_refs(struct cache_writer *w, const struct version *v, const struct version *other)
{
	for (int p = 0; p < PART_COUNT; p++) {
		if (other && other->part[p] == v->part[p])
			continue;
		if (p != PART_LABELS)
			blob_drop(w, v->part[p]);
		else if (v->part[p])
			labelset_drop(w, v->part[p]);
	}
	if (!other || other->hot.node.u != v->hot.node.u)
		nodeslot_drop(w, v->hot.node.u);
}

static uint32_t version_alloc(struct cache_writer *w, uint8_t nholes)
{
	return arena_alloc(w->arena, sizeof(struct version) + nholes * sizeof(uint32_t),
			   ARENA_VERSION);
}

/* A part as `in` has it, held; false: no memory. */
static bool take_part(struct cache_writer *w, const struct version_in *in, int p, uint32_t *out)
{
	*out = in->part_ref[p].u;
	if (*out) {
		blob_hold(w, *out);
		return true;
	}
	if (in->part[p].n == 0)
		return true;
	/* What an object says in fields of its own is seldom said by another. */
	*out = p == PART_REST ? blob_new(w, in->part[p]) : blob_get(w, in->part[p]);
	return *out != 0;
}

static bool take_labels(struct cache_writer *w, const struct entry *e, const struct version_in *in,
			uint32_t *out)
{
	uint32_t labels;

	if (!take_part(w, in, PART_LABELS, &labels))
		return false;
	*out = labelset_get(w, e->type, e->ns.u, labels);
	blob_drop(w, labels);
	return *out != 0;
}

/* What the version before has: passed on, see version_drop_refs(). */
static void inherit(const struct version *prev, struct version *v)
{
	memcpy(v->part, prev->part, sizeof(v->part));
	v->hot.node = prev->hot.node;
}

/* Part p anew; what it was if that is what it becomes. */
static bool take_anew(struct cache_writer *w, const struct entry *e, const struct version_in *in,
		      int p, struct version *v)
{
	uint32_t before = v->part[p], now = 0;
	bool taken = p == PART_LABELS ? take_labels(w, e, in, &now) : take_part(w, in, p, &now);

	if (!taken)
		return false;
	v->part[p] = now;
	if (now == before && p == PART_LABELS)
		labelset_drop(w, now);
	else if (now == before)
		blob_drop(w, now);
	return true;
}

static bool take_node(struct cache_writer *w, const struct version_in *in, struct version *v)
{
	uint32_t before = v->hot.node.u;

	if (!in->node.n || (before && match_node(w->base, before, &in->node)))
		return true;
	v->hot.node.u = in->slot.u ? nodeslot_hold(w, in->slot.u) : nodeslot_get(w, in->node);
	return v->hot.node.u;
}

/* Fill in all that is counted; on false v refers to what was taken so far. */
static bool take_refs(struct cache_writer *w, const struct entry *e, const struct version_in *in,
		      const struct version *prev, struct version *v)
{
	if (prev)
		inherit(prev, v);
	for (int p = 0; p < PART_COUNT; p++)
		if ((!prev || in->mask & 1u << p) && !take_anew(w, e, in, p, v))
			return false;
	return take_node(w, in, v);
}

static const struct version *before(const struct cache_writer *w, const struct version *v)
{
	uint32_t prev = prcu_own(&v->prev);

	return prev ? version_at(w, prev) : NULL;
}

void version_free(struct cache_writer *w, struct version *v)
{
	version_drop_refs(w, v, before(w, v));
	arena_free(w->arena, ref_of(w->base, v), version_size(v), ARENA_VERSION);
}

int version_new(struct cache_writer *w, struct entry *e, const struct version *prev, uint64_t rv,
		const struct version_in *in, struct version **out)
{
	bool own_holes = !prev || in->mask & 1u << PART_STATUS;
	const uint32_t *holes = own_holes ? in->holes : prev->holes;
	uint8_t nholes = own_holes ? in->nholes : prev->nholes;
	uint32_t ref = version_alloc(w, nholes);
	struct version *v;

	if (!ref)
		return WEFT_ENOMEM;
	v = version_at(w, ref);
	*v = (struct version){
		.rv = rv,
		.cause = in->cause,
		.entry = {ref_of(w->base, e)},
		.generation = in->generation,
		.deletion_s = in->deletion_s,
		.grace_s = in->grace_s,
		.hot = in->hot,
		.flags = in->flags & (VERSION_FINALIZERS | VERSION_OWNED | VERSION_MEMORY),
		.nholes = nholes,
		.writer_kind = in->writer_kind,
	};
	v->hot.node.u = 0;
	if (nholes)
		memcpy(v->holes, holes, nholes * sizeof(*holes));
	if (prev)
		prcu_set_relaxed(&v->prev, ref_of(w->base, prev)); /* not visible yet */
	else
		v->flags |= VERSION_FIRST;
	if (!take_refs(w, e, in, prev, v)) {
		version_free(w, v);
		return WEFT_ENOMEM;
	}
	*out = v;
	return WEFT_OK;
}

/* Is `v` in the same lists and counts as `prev`?  Then publishing it touches neither
 * these nor `prev`. */
static bool stays(const struct cache_writer *w, const struct entry *e, const struct version *prev,
		  const struct version *v, const struct version_in *in)
{
	return !(in->mask & 1u << PART_META) && e->type != w->h->node_type &&
	       v->part[PART_LABELS] == prev->part[PART_LABELS] &&
	       v->hot.node.u == prev->hot.node.u && v->hot.phase == prev->hot.phase &&
	       !((v->hot.flags ^ prev->hot.flags) & HOT_PLAIN) &&
	       counts_of_state(w->h, e->type, v) == counts_of_state(w->h, e->type, prev);
}

/* --- The three kinds of write ------------------------------------------------------- */

static void make_pending(struct cache_writer *w, struct entry *e, struct version *v)
{
	e->pending = ref_of(w->base, v);
	w->unpublished++;
}

static int prepare_create(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
			  const uint8_t uid[16], uint32_t created_s, uint64_t rv,
			  const struct version_in *in, struct version **out)
{
	struct entry *e;
	struct version *v;
	int err;

	if (journal_reserve(w, rv))
		return WEFT_ENOMEM;
	err = entry_new(w, type, ns, name, uid, created_s, rv, !in->unlisted, &e);
	if (err)
		return err;
	err = version_new(w, e, NULL, rv, in, &v);
	if (err)
		goto no_version;
	err = links_prepare(w, e, v, in);
	if (err)
		goto no_links;
	make_pending(w, e, v);
	*out = v;
	return WEFT_OK;

no_links:
	version_free(w, v);
no_version:
	entry_discard(w, e);
	return err;
}

static int prepare_update(struct cache_writer *w, struct entry *e, uint64_t rv,
			  const struct version_in *in, struct version **out)
{
	const struct version *prev = cw_newest(w, e);
	struct version *v;

	if (!prev)
		return WEFT_ENOENT;
	if (journal_reserve(w, rv) || version_new(w, e, prev, rv, in, &v))
		return WEFT_ENOMEM;
	if (links_prepare(w, e, v, in)) {
		version_free(w, v);
		return WEFT_ENOMEM;
	}
	if (stays(w, e, prev, v, in))
		v->flags |= VERSION_STAYS;
	make_pending(w, e, v);
	*out = v;
	return WEFT_OK;
}

static int prepare_delete(struct cache_writer *w, struct entry *e, uint64_t rv, uint64_t cause,
			  uint16_t writer_kind, struct version **out)
{
	const struct version *prev = cw_newest(w, e);
	struct version *v;
	uint32_t ref;

	if (!prev)
		return WEFT_ENOENT;
	if (journal_reserve(w, rv))
		return WEFT_ENOMEM;
	ref = version_alloc(w, prev->nholes);
	if (!ref)
		return WEFT_ENOMEM;
	v = version_at(w, ref);
	memcpy(v, prev, version_size(prev));
	v->rv = rv;
	v->cause = cause;
	v->writer_kind = writer_kind;
	v->flags = (uint8_t)((prev->flags & ~(VERSION_FIRST | VERSION_STAYS)) | VERSION_TOMBSTONE);
	prcu_set_relaxed(&v->prev, ref_of(w->base, prev)); /* not visible yet */
	make_pending(w, e, v);
	*out = v;
	return WEFT_OK;
}

uint32_t cw_list(struct cache_writer *w, uint16_t type, const entry_ref *entry, uint32_t n)
{
	_Static_assert(sizeof(*entry) == sizeof(uint32_t), "a reference is its number");
	uint32_t done = ordered_insert_many(&w->ordered, &w->h->types[type].objects,
					    (const uint32_t *)entry, n);

	w->starving |= done < n;
	return done;
}

/* --- With memory kept back or without ----------------------------------------------- */

/* An ordinary write's result: whether memory suffices is what reclaiming goes by. */
static int outcome(struct cache_writer *w, int err)
{
	w->starving = err == WEFT_ENOMEM;
	return err;
}

/* A write that helps to empty the cache may use what is kept back. */
static int outcome_kept(struct cache_writer *w, int err)
{
	arena_keep_back(w->arena, KEPT_FOR_DELETION);
	w->starving |= err == WEFT_ENOMEM;
	return err;
}

int cw_prepare_create(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
		      const uint8_t uid[16], uint32_t created_s, uint64_t rv,
		      const struct version_in *in, struct version **out)
{
	return outcome(w, prepare_create(w, type, ns, name, uid, created_s, rv, in, out));
}

int cw_prepare_update(struct cache_writer *w, struct entry *e, uint64_t rv,
		      const struct version_in *in, struct version **out)
{
	if (!in->deletion_s)
		return outcome(w, prepare_update(w, e, rv, in, out));
	arena_keep_back(w->arena, 0);
	return outcome_kept(w, prepare_update(w, e, rv, in, out));
}

int cw_prepare_delete(struct cache_writer *w, struct entry *e, uint64_t rv, uint64_t cause,
		      uint16_t writer_kind, struct version **out)
{
	arena_keep_back(w->arena, 0);
	return outcome_kept(w, prepare_delete(w, e, rv, cause, writer_kind, out));
}
