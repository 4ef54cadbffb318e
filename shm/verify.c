/*
 * verify.c - every invariant of the cache, checked by walking all of it.
 *
 * One walk over the key index finds every entry; from there all that entries,
 * versions and lists hold is counted, and compared with what the indexes, the
 * reference counts and the arena say.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "shm/cache_priv.h"

/* References met on the walk, with repetitions; sorted to count them. */
struct refs {
	uint32_t *ref;
	size_t n, cap;
};

struct verify {
	struct cache_writer *w;
	struct err *e;
	int code; /* the first thing found */
	struct refs entries, blobs, own_blobs, sets, slots, spaces, edges;
	uint64_t bytes[ARENA_USE_COUNT];
	uint64_t live, unpublished, versions, unplain;
	uint64_t in_sets, on_nodes, owned, edges_listed; /* members that lists should have */
};

#define bad(v, ...) \
	((v)->code = (v)->code ? (v)->code : err_set((v)->e, WEFT_ECORRUPT, __VA_ARGS__))

static void refs_add(struct refs *r, uint32_t ref)
{
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 256;
		r->ref = realloc(r->ref, r->cap * sizeof(*r->ref));
		if (!r->ref)
			weft_fatal("no memory to verify the cache");
	}
	r->ref[r->n++] = ref;
}

static int compare_refs(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void refs_sort(struct refs *r)
{
	if (r->n)
		qsort(r->ref, r->n, sizeof(*r->ref), compare_refs);
}

/* How often `ref` was met; `r` is sorted. */
static uint32_t refs_count(const struct refs *r, uint32_t ref)
{
	size_t low = 0, high = r->n;
	uint32_t n = 0;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (r->ref[mid] < ref)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < r->n && r->ref[low] == ref; low++)
		n++;
	return n;
}

static void add_bytes(struct verify *v, enum arena_use use, size_t n)
{
	v->bytes[use] += arena_class_size(n);
}

/* --- Entries and versions -------------------------------------------------------- */

static struct refs *refs_of_part(struct verify *v, int p, uint32_t ref)
{
	if (p == PART_LABELS)
		return &v->sets;
	return blob_at(v->w->base, ref)->hash ? &v->blobs : &v->own_blobs;
}

static void check_version(struct verify *v, struct entry *e, uint32_t ref)
{
	struct version *x = version_at(v->w, ref);
	const struct version *prev =
		prcu_own(&x->prev) ? version_at(v->w, prcu_own(&x->prev)) : NULL;

	if (x->entry.u != ref_of(v->w->base, e))
		bad(v, "version %" PRIu64 " belongs to another entry than '%s'", x->rv, e->name);
	/* What the one before has, too, is held once for both. */
	for (int p = 0; p < PART_COUNT; p++)
		if (x->part[p] && !(prev && prev->part[p] == x->part[p]))
			refs_add(refs_of_part(v, p, x->part[p]), x->part[p]);
	if (x->hot.node.u && !(prev && prev->hot.node.u == x->hot.node.u))
		refs_add(&v->slots, x->hot.node.u);
	add_bytes(v, ARENA_VERSION, version_size(x));
	v->versions++;
}

static void check_history(struct verify *v, struct entry *e)
{
	uint32_t newest = prcu_own(&e->newest), ref = e->pending ? e->pending : newest;
	uint64_t below = UINT64_MAX;
	bool pending = e->pending != 0;

	if (e->pending == newest)
		bad(v, "'%s': pending is published or nothing is there", e->name);
	while (ref) {
		struct version *x = version_at(v->w, ref);
		uint32_t prev = prcu_own(&x->prev);

		pending = pending && ref != newest;
		v->unpublished += pending;
		if (x->rv >= below)
			bad(v, "'%s': version %" PRIu64 " is not older than %" PRIu64, e->name,
			    x->rv, below);
		if (!pending && x->rv >= v->w->cut && !prev != !!(x->flags & VERSION_FIRST) &&
		    x->rv > v->w->rv_start)
			bad(v, "'%s': version %" PRIu64 " in the window lacks its old state",
			    e->name, x->rv);
		if (!pending && x->rv < v->w->cut && prev)
			bad(v, "'%s': version %" PRIu64 " is not cut", e->name, x->rv);
		below = x->rv;
		check_version(v, e, ref);
		ref = prev;
	}
}

/* What a published state makes the entry a member of. */
static void count_memberships(struct verify *v, const struct entry *e)
{
	const struct version *x = newest_of(v->w, e);
	uint32_t owner = prcu_own(&e->owner);

	if (prcu_own(&e->live) != is_live(x))
		bad(v, "'%s': live is %d", e->name, prcu_own(&e->live));
	if (!x)
		return;
	v->live += is_live(x);
	v->unplain += is_live(x) && e->type == v->w->h->pod_type && !(x->hot.flags & HOT_PLAIN);
	v->in_sets++;
	v->on_nodes += e->type == v->w->h->pod_type && x->hot.node.u;
	v->owned += owner != 0;
	for (uint32_t ref = e->own_edges; ref;) {
		struct edge *g = ref_ptr(v->w->base, ref);

		if (g->dependent.u != ref_of(v->w->base, e))
			bad(v, "'%s': an edge of another dependent in its chain", e->name);
		refs_add(&v->edges, ref);
		add_bytes(v, ARENA_INDEX, sizeof(*g));
		ref = g->dep_next;
	}
}

static void check_entry(struct verify *v, uint32_t ref)
{
	struct entry *e = entry_at(v->w, ref);

	add_bytes(v, ARENA_ENTRY, entry_size(e));
	if (!refset_has(v->w->base, &v->w->h->entries, ref))
		bad(v, "'%s' is not in the set of entries", e->name);
	if (e->ns.u)
		refs_add(&v->blobs, e->ns.u);
	if (prcu_own(&e->counts))
		add_bytes(v, ARENA_AGGREGATE, sizeof(struct counts));
	check_history(v, e);
	count_memberships(v, e);
}

static void add_entry(void *ctx, uint32_t hash, uint32_t ref)
{
	struct verify *v = ctx;
	struct entry *e = entry_at(v->w, ref);

	if (hash != cache_hash_key(e->type, blob_str(v->w->base, e->ns.u), entry_name(e)))
		bad(v, "key index: '%s' under a wrong hash", e->name);
	refs_add(&v->entries, ref);
}

static void check_uid_item(void *ctx, uint32_t hash, uint32_t ref)
{
	struct verify *v = ctx;

	if (hash != cache_hash_uid(entry_at(v->w, ref)->uid) || refs_count(&v->entries, ref) != 1)
		bad(v, "uid index: '%s' does not belong there", entry_at(v->w, ref)->name);
}

static void check_entries(struct verify *v)
{
	struct cache_writer *w = v->w;

	hash_each(&w->by_key, add_entry, v);
	refs_sort(&v->entries);
	hash_each(&w->by_uid, check_uid_item, v);
	if (hash_items(&w->h->by_uid) != v->entries.n ||
	    hash_items(&w->h->by_key) != v->entries.n || refset_count(&w->entries) != v->entries.n)
		bad(v, "key index has %zu entries, uid index %" PRIu64 ", their set %" PRIu64,
		    v->entries.n, hash_items(&w->h->by_uid), refset_count(&w->entries));
	for (size_t i = 0; i < v->entries.n; i++)
		check_entry(v, v->entries.ref[i]);
	if (v->unplain != prcu_own(&w->h->unplain))
		bad(v, "%" PRIu64 " pods are not plain, counted %" PRIu64, v->unplain,
		    prcu_own(&w->h->unplain));
	if (v->live != w->objects || v->unpublished != w->unpublished)
		bad(v,
		    "%" PRIu64 " live and %" PRIu64 " prepared, counted %" PRIu64 " and %" PRIu64,
		    v->live, v->unpublished, w->objects, w->unpublished);
}

static void check_types(struct verify *v)
{
	struct cache_writer *w = v->w;
	uint64_t ordered = 0, live = 0;

	for (int t = 0; t < CACHE_TYPES_MAX; t++) {
		struct type_head *head = &w->h->types[t];
		struct ordered_pos pos;
		uint32_t ref;

		v->bytes[ARENA_INDEX] += ordered_memory(&w->ordered, &head->objects);
		live += prcu_own(&head->count);
		ordered += ordered_items(&head->objects);
		if (!v->code)
			v->code = ordered_check(&w->ordered, &head->objects, v->e);
		ordered_seek(&pos, w->base, &head->objects, NULL);
		while ((ref = ordered_next(&pos, w->base)))
			if (entry_at(w, ref)->type != t || refs_count(&v->entries, ref) != 1)
				bad(v, "ordered index of type %d: a stranger", t);
	}
	if (ordered != v->entries.n || live != v->live)
		bad(v, "ordered indexes have %" PRIu64 " entries, the key index %zu", ordered,
		    v->entries.n);
}

/* --- Lists -------------------------------------------------------------------------- */

/* Walk a list of entries; every member must satisfy `belongs`. */
static uint64_t check_list(struct verify *v, const char *what, uint32_t ref, struct list_fields f,
			   uint32_t home,
			   bool (*belongs)(struct verify *, struct entry *, uint32_t))
{
	uint32_t before = 0;
	uint64_t n = 0;

	for (; ref && !v->code; ref = prcu_own(list_next_field(v->w->base, ref, f))) {
		if (refs_count(&v->entries, ref) != 1)
			return bad(v, "%s leads to an entry that is gone", what), n;
		if (*list_prev_field(v->w->base, ref, f) != before)
			bad(v, "%s: '%s' has a wrong link back", what, entry_at(v->w, ref)->name);
		if (!belongs(v, entry_at(v->w, ref), home))
			bad(v, "%s: '%s' does not belong there", what, entry_at(v->w, ref)->name);
		before = ref;
		n++;
	}
	return n;
}

static bool in_this_set(struct verify *v, struct entry *e, uint32_t set)
{
	const struct version *x = newest_of(v->w, e);

	return x && x->part[PART_LABELS] == set;
}

static bool on_this_node(struct verify *v, struct entry *e, uint32_t slot)
{
	const struct version *x = newest_of(v->w, e);

	return x && e->type == v->w->h->pod_type && x->hot.node.u == slot;
}

static bool of_this_owner(struct verify *v, struct entry *e, uint32_t owner)
{
	return prcu_own(&e->owner) == owner && newest_of(v->w, e);
}

/* The counters of an owner are the sums over its dependents. */
static void check_counts(struct verify *v, struct entry *owner)
{
	uint32_t ref = prcu_own(&owner->counts), want[COUNTS_KINDS] = {0};
	struct counts *counts;
	struct counts_slot *c;

	if (!ref) {
		if (prcu_own(&owner->first))
			bad(v, "'%s' has dependents but no counts", owner->name);
		return;
	}
	counts = ref_ptr(v->w->base, ref);
	c = &counts->slot[prcu_own(&counts->seq) % 2];
	for (uint32_t d = prcu_own(&owner->first); d;) {
		struct entry *e = entry_at(v->w, d);
		uint32_t in = counts_of_state(v->w->h, e->type, newest_of(v->w, e));

		for (int i = 0; i < COUNTS_KINDS; i++)
			want[i] += in >> i & 1;
		d = prcu_own(&e->sib_next);
	}
	for (int i = 0; i < COUNTS_KINDS; i++)
		if (prcu_own(&(&c->total)[i]) != want[i])
			bad(v, "'%s': counter %d is %u, should be %u", owner->name, i,
			    prcu_own(&(&c->total)[i]), want[i]);
}

static void check_edges(struct verify *v, struct entry *owner)
{
	uint32_t before = 0;

	for (uint32_t ref = prcu_own(&owner->edges); ref && !v->code;) {
		struct edge *g = ref_ptr(v->w->base, ref);

		if (g->owner.u != ref_of(v->w->base, owner) || g->prev != before ||
		    refs_count(&v->edges, ref) != 1)
			bad(v, "'%s': its edges do not fit together", owner->name);
		v->edges_listed++;
		before = ref;
		ref = prcu_own(&g->next);
	}
}

static uint64_t check_dependents(struct verify *v, uint32_t owner)
{
	return check_list(v, "owner's list", prcu_own(&entry_at(v->w, owner)->first),
			  LIST_FIELDS(struct entry, sib_next, sib_prev), owner, of_this_owner);
}

static void check_owners(struct verify *v)
{
	struct cache_writer *w = v->w;
	uint64_t owned = 0;

	refs_sort(&v->edges);
	for (size_t i = 0; i < v->entries.n && !v->code; i++) {
		owned += check_dependents(v, v->entries.ref[i]);
		check_edges(v, entry_at(w, v->entries.ref[i]));
		if (!v->code)
			check_counts(v, entry_at(w, v->entries.ref[i]));
	}
	/* Owners that are gone lose their dependents bit by bit, uncounted. */
	for (uint32_t ref = w->dissolving; ref; ref = entry_at(w, ref)->sib_prev) {
		owned += check_dependents(v, ref);
		add_bytes(v, ARENA_ENTRY, entry_size(entry_at(w, ref)));
		add_bytes(v, ARENA_AGGREGATE, sizeof(struct counts));
		if (entry_at(w, ref)->ns.u)
			refs_add(&v->blobs, entry_at(w, ref)->ns.u);
	}
	if (owned != v->owned || v->edges_listed != v->edges.n)
		bad(v, "%" PRIu64 " dependents in lists of %" PRIu64 ", %" PRIu64 " edges of %zu",
		    owned, v->owned, v->edges_listed, v->edges.n);
	for (uint64_t i = w->links.head; i != w->links.tail; i++)
		for (uint32_t ref = w->links.item[i & w->links.mask].edges; ref;) {
			add_bytes(v, ARENA_INDEX, sizeof(struct edge));
			ref = ((struct edge *)ref_ptr(w->base, ref))->dep_next;
		}
}

static void check_slot(void *ctx, uint32_t hash, uint32_t ref)
{
	struct verify *v = ctx;
	struct nodeslot *s = ref_ptr(v->w->base, ref);
	uint32_t running = 0;

	refs_add(&v->blobs, s->name.u);
	add_bytes(v, ARENA_INDEX, sizeof(*s));
	if (hash != cache_hash_name(blob_str(v->w->base, s->name.u)) ||
	    s->refcount != refs_count(&v->slots, ref))
		bad(v, "node slot '%s': wrong hash or %u references",
		    blob_at(v->w->base, s->name.u)->bytes, s->refcount);
	v->on_nodes -=
		check_list(v, "node's list", prcu_own(&s->first),
			   LIST_FIELDS(struct entry, node_next, node_prev), ref, on_this_node);
	for (uint32_t p = prcu_own(&s->first); p && !v->code;
	     p = prcu_own(&entry_at(v->w, p)->node_next)) {
		const struct version *x = newest_of(v->w, entry_at(v->w, p));

		running +=
			is_live(x) && x->hot.phase != POD_SUCCEEDED && x->hot.phase != POD_FAILED;
	}
	if (running != prcu_own(&s->count))
		bad(v, "a node slot counts %u pods of %u", prcu_own(&s->count), running);
}

static void check_set(struct verify *v, uint32_t ref, uint32_t space)
{
	struct labelset *s = ref_ptr(v->w->base, ref);
	uint32_t live = 0;

	if (s->labels.u)
		refs_add(&v->blobs, s->labels.u);
	add_bytes(v, ARENA_INDEX, sizeof(*s));
	if (s->space != space || s->refcount != refs_count(&v->sets, ref))
		bad(v, "a label set has %u references or a wrong space", s->refcount);
	v->in_sets -= check_list(v, "label set", prcu_own(&s->first),
				 LIST_FIELDS(struct entry, set_next, set_prev), ref, in_this_set);
	for (uint32_t m = prcu_own(&s->first); m && !v->code;
	     m = prcu_own(&entry_at(v->w, m)->set_next))
		live += is_live(newest_of(v->w, entry_at(v->w, m)));
	if (live != prcu_own(&s->count))
		bad(v, "a label set counts %u objects of %u", prcu_own(&s->count), live);
}

static void check_space(void *ctx, uint32_t hash, uint32_t ref)
{
	struct verify *v = ctx;
	struct space *s = ref_ptr(v->w->base, ref);
	uint32_t sets = 0;

	if (s->ns.u)
		refs_add(&v->blobs, s->ns.u);
	add_bytes(v, ARENA_INDEX, sizeof(*s));
	for (uint32_t set = prcu_own(&s->first); set; sets++) {
		check_set(v, set, ref);
		set = prcu_own(&((struct labelset *)ref_ptr(v->w->base, set))->next);
	}
	if (hash != cache_hash_space(s->type, blob_str(v->w->base, s->ns.u)) || sets != s->refcount)
		bad(v, "a space has %u label sets of %u", sets, s->refcount);
	refs_add(&v->spaces, sets);
}

static void check_memberships(struct verify *v)
{
	uint64_t sets = 0;

	refs_sort(&v->sets);
	refs_sort(&v->slots);
	hash_each(&v->w->by_node, check_slot, v);
	hash_each(&v->w->by_space, check_space, v);
	for (size_t i = 0; i < v->spaces.n; i++)
		sets += v->spaces.ref[i];
	if (v->on_nodes || v->in_sets || sets != v->w->labelsets.members)
		bad(v,
		    "members that are in no list: %" PRIu64 " of nodes, %" PRIu64 " of label sets",
		    v->on_nodes, v->in_sets);
}

/* --- Blobs, journal, memory --------------------------------------------------------- */

static void check_blobs(struct verify *v)
{
	struct chain_table *t = &v->w->blobs;
	uint64_t held = 0, found = 0, met = 0;

	refs_sort(&v->blobs);
	for (uint32_t i = 0; i < t->buckets; i++) {
		for (uint32_t ref = t->bucket[i]; ref; ref = chain_next(t, ref)) {
			const struct blob *b = blob_at(v->w->base, ref);
			uint32_t used = refs_count(&v->blobs, ref);

			add_bytes(v, ARENA_BLOB, offsetof(struct blob, bytes) + b->n);
			if (b->refcount < used || b->refcount == 0 ||
			    b->hash != cache_hash_bytes((struct str){b->bytes, b->n}))
				bad(v, "a blob has %u references of %u", b->refcount, used);
			held += b->refcount - used;
			met += used;
			found++;
		}
	}
	if (found != t->members || met != v->blobs.n || held != v->w->blobs_held)
		bad(v, "%" PRIu64 " references to blobs from outside, not %" PRIu64, held,
		    v->w->blobs_held);
}

/* Blobs that are not interned are found through those that have them alone. */
static void check_own_blobs(struct verify *v)
{
	struct refs *r = &v->own_blobs;

	refs_sort(r);
	for (size_t i = 0; i < r->n; i += refs_count(r, r->ref[i])) {
		const struct blob *b = blob_at(v->w->base, r->ref[i]);

		add_bytes(v, ARENA_BLOB, offsetof(struct blob, bytes) + b->n);
		if (b->refcount != refs_count(r, r->ref[i]))
			bad(v, "a blob of its own has %u references", b->refcount);
	}
}

static void check_journal(struct verify *v)
{
	struct cache_writer *w = v->w;
	uint64_t rv = prcu_own(&w->h->rv), oldest = prcu_own(&w->h->oldest);

	if (w->cut > oldest || oldest > rv + 1)
		bad(v, "journal: cut %" PRIu64 ", oldest %" PRIu64 ", rv %" PRIu64, w->cut, oldest,
		    rv);
	for (uint64_t r = w->cut; r <= rv && !v->code; r++) {
		const struct version *x = version_at(w, journal_get(w, r));

		if (x->rv != r || refs_count(&v->entries, x->entry.u) != 1)
			bad(v, "journal: record %" PRIu64 " is of version %" PRIu64, r, x->rv);
	}
	for (uint64_t n = w->first_chunk; n < w->next_chunk; n++)
		add_bytes(v, ARENA_JOURNAL, JOURNAL_CHUNK * sizeof(uint32_t));
}

static void check_memory(struct verify *v)
{
	struct cache_writer *w = v->w;
	struct retire_queue *q = &w->retire;

	for (uint64_t i = q->head; i != q->tail; i++) {
		struct retired r = q->item[i & q->mask];

		add_bytes(v, (enum arena_use)(r.size_use & 7), r.size_use >> 3);
	}
	v->bytes[ARENA_INDEX] += hash_memory(&w->by_key) + hash_memory(&w->by_uid) +
				 hash_memory(&w->by_node) + hash_memory(&w->by_space) +
				 refset_memory(&w->entries);
	for (int use = 0; use < ARENA_USE_COUNT; use++)
		if (prcu_own(&w->h->stats.used[use]) != v->bytes[use])
			bad(v, "%s: %" PRIu64 " bytes in use, %" PRIu64 " accounted for",
			    arena_use_name((enum arena_use)use), prcu_own(&w->h->stats.used[use]),
			    v->bytes[use]);
}

static void check_hashes(struct verify *v)
{
	const struct hash *all[] = {&v->w->by_key, &v->w->by_uid, &v->w->by_node, &v->w->by_space};

	for (size_t i = 0; i < countof(all) && !v->code; i++)
		v->code = hash_check(all[i], v->e);
}

int cw_verify(struct cache_writer *w, struct err *e)
{
	static void (*const checks[])(struct verify *) = {
		check_hashes,  check_entries, check_types,     check_owners, check_memberships,
		check_journal, check_blobs,   check_own_blobs, check_memory,
	};
	struct verify v = {.w = w, .e = e};

	/* Each relies on what the ones before have found sound. */
	for (size_t i = 0; i < countof(checks) && !v.code; i++)
		checks[i](&v);
	free(v.entries.ref);
	free(v.blobs.ref);
	free(v.own_blobs.ref);
	free(v.sets.ref);
	free(v.slots.ref);
	free(v.spaces.ref);
	free(v.edges.ref);
	return v.code;
}
