/* cache_write.c - the writer: opening, publishing, aborting, restoring. */
#include <stdlib.h>

#include "shm/cache_priv.h"

/* --- Opening -------------------------------------------------------------------- */

#define SIZE_MAX_DEFAULT    (UINT64_C(16) << 30)
#define SIZE_FIRST_DEFAULT  (UINT64_C(2) << 20)
#define JOURNAL_MIN_DEFAULT 65536u
#define JOURNAL_MAX_DEFAULT 524288u

static int take_options(struct cache_writer *w, const struct cache_options *opt, struct err *e)
{
	struct cache_options *o = &w->opt;

	if (opt)
		*o = *opt;
	if (!o->size_max)
		o->size_max = SIZE_MAX_DEFAULT;
	if (!o->size_first)
		o->size_first = SIZE_FIRST_DEFAULT;
	if (o->size_first < sizeof(struct cache_header))
		o->size_first = align_up(sizeof(struct cache_header), (size_t)4096);
	if (!o->journal_max)
		o->journal_max = JOURNAL_MAX_DEFAULT;
	if (!o->journal_min)
		o->journal_min =
			o->journal_max < JOURNAL_MIN_DEFAULT ? o->journal_max : JOURNAL_MIN_DEFAULT;
	if (o->journal_min > o->journal_max ||
	    o->journal_max > (uint64_t)JOURNAL_CHUNK * JOURNAL_CHUNKS / 2)
		return err_set(e, WEFT_EINVAL, "journal of %u to %u records", o->journal_min,
			       o->journal_max);
	if (!o->pod_type || !o->node_type || o->pod_type == o->node_type)
		return err_set(e, WEFT_EINVAL, "pod_type %u and node_type %u", o->pod_type,
			       o->node_type);
	return WEFT_OK;
}

static void init_header(struct cache_writer *w, uint32_t generation, const uint8_t cluster_id[16],
			uint64_t rv_start)
{
	struct cache_header *h = w->h;

	memcpy(h->cluster_id, cluster_id, sizeof(h->cluster_id));
	h->generation = generation;
	h->pod_type = w->opt.pod_type;
	h->node_type = w->opt.node_type;
	prcu_init(&h->gp);
	atomic_init(&h->rv, rv_start);
	atomic_init(&h->oldest, rv_start + 1);
	w->rv_start = w->published = rv_start;
	w->cut = rv_start + 1;
	w->first_chunk = w->next_chunk = w->cut / JOURNAL_CHUNK;
}

static void retire_index(void *ctx, uint32_t ref, size_t n)
{
	retire(ctx, ref, n, ARENA_INDEX);
}

static int init_indexes(struct cache_writer *w)
{
	struct index_memory m = {w->arena, w->base, retire_index, w};
	struct cache_header *h = w->h;

	ordered_init(&w->ordered, &m);
	refset_init(&w->entries, &h->entries, &m);
	if (retire_init(w) || links_init(w) || blob_init(w) || labelset_init(w) ||
	    hash_init(&w->by_key, &h->by_key, &m) || hash_init(&w->by_uid, &h->by_uid, &m) ||
	    hash_init(&w->by_node, &h->by_node, &m) || hash_init(&w->by_space, &h->by_space, &m))
		return WEFT_ENOMEM;
	return WEFT_OK;
}

int cw_create(struct cache_writer **out, const char *name, uint32_t generation,
	      const uint8_t cluster_id[16], uint64_t rv_start, const struct cache_options *opt,
	      struct err *e)
{
	struct cache_writer *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return err_set(e, WEFT_ENOMEM, "cache writer");
	w->seg.fd = -1;
	err = take_options(w, opt, e);
	if (err)
		goto fail;
	err = seg_create(&w->seg, name, SEG_CACHE, cache_layout_signature(), w->opt.size_first,
			 w->opt.size_max, e);
	if (err)
		goto fail;
	w->base = w->seg.base;
	w->h = (struct cache_header *)w->base;
	w->c = (struct cache){.base = w->base, .h = w->h};
	init_header(w, generation, cluster_id, rv_start);
	err = arena_open(&w->arena, &w->seg, align_up(sizeof(*w->h), (size_t)4096), &w->h->stats,
			 e);
	if (err)
		goto fail;
	err = init_indexes(w);
	if (err) {
		err_set(e, err, "indexes of cache '%s'", name);
		goto fail;
	}
	if (w->opt.grow_ahead && seg_grow_ahead(&w->seg, e))
		log_warn("%s", e ? e->msg : "memory is not reserved ahead");
	arena_keep_back(w->arena, KEPT_FOR_DELETION);
	*out = w;
	return WEFT_OK;
fail:
	if (w->base)
		seg_unlink(name, NULL);
	cw_close(w);
	return err;
}

void cw_close(struct cache_writer *w)
{
	if (!w)
		return;
	chain_free(&w->blobs);
	chain_free(&w->labelsets);
	free(w->retire.item);
	free(w->links.item);
	free(w->unresolved);
	free(w->readers);
	if (w->arena)
		arena_close(w->arena);
	if (w->base)
		seg_close(&w->seg);
	free(w);
}

const struct cache *cw_cache(const struct cache_writer *w)
{
	return &w->c;
}

struct arena *cw_arena(struct cache_writer *w)
{
	return w->arena;
}

void cw_expect(struct cache_writer *w, uint16_t type, uint64_t n)
{
	hash_expect(&w->by_key, n);
	hash_expect(&w->by_uid, n);
}

/* --- Prefetching ------------------------------------------------------------------ */

void cw_prefetch_state(struct cache_writer *w, uint32_t version)
{
	if (version)
		cw_prefetch_lines(w, version);
}

void cw_ahead_key(struct cw_ahead *a, uint16_t type, struct str ns, struct str name,
		  struct str bytes, uint32_t own)
{
	a->hash = cache_hash_key(type, ns, name);
	a->bytes_hash = bytes.n ? cache_hash_bytes(bytes) : 0;
	a->own = own;
	a->ref = 0;
}

static void ahead_buckets(struct cache_writer *w, const struct cw_ahead *a)
{
	hash_prefetch(w->base, &w->h->by_key, a->hash);
	if (a->bytes_hash)
		chain_prefetch(&w->blobs, a->bytes_hash);
	arena_ahead(w->arena, sizeof(struct version));
	if (a->own)
		arena_ahead(w->arena, offsetof(struct blob, bytes) + a->own);
}

static void ahead_entry(struct cache_writer *w, struct cw_ahead *a)
{
	uint32_t blob = a->bytes_hash ? chain_first(&w->blobs, a->bytes_hash) : 0;

	a->ref = hash_peek(w->base, &w->h->by_key, a->hash);
	if (a->ref)
		cw_prefetch_entry(w, a->ref);
	if (blob)
		prefetch(ref_ptr(w->base, blob));
}

static uint32_t ahead_version(const struct cache_writer *w, const struct cw_ahead *a)
{
	const struct entry *e = entry_at(w, a->ref);

	if (!a->ref)
		return 0;
	return e->pending ? e->pending : prcu_own(&e->newest);
}

static void ahead_parts(struct cache_writer *w, const struct version *v)
{
	for (int p = 0; p < PART_COUNT; p++)
		if (v->part[p])
			prefetch(ref_ptr(w->base, v->part[p]));
}

static void ahead_versions(struct cache_writer *w, const struct cw_ahead *a, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t version = ahead_version(w, &a[i]);

		if (version)
			cw_prefetch_lines(w, version);
	}
}

void cw_ahead_fetch(struct cache_writer *w, struct cw_ahead *a, uint32_t n)
{
	uint32_t version;

	for (uint32_t i = 0; i < n; i++)
		ahead_buckets(w, &a[i]);
	for (uint32_t i = 0; i < n; i++)
		ahead_entry(w, &a[i]);
	ahead_versions(w, a, n);
	for (uint32_t i = 0; i < n; i++) {
		version = ahead_version(w, &a[i]);
		if (version)
			ahead_parts(w, version_at(w, version));
	}
}

void cw_ahead_uids(struct cache_writer *w, const uint8_t (*uid)[16], uint32_t n)
{
	struct cw_ahead a[CACHE_TOGETHER];

	n = n < CACHE_TOGETHER ? n : CACHE_TOGETHER;
	for (uint32_t i = 0; i < n; i++) {
		a[i].hash = cache_hash_uid(uid[i]);
		hash_prefetch(w->base, &w->h->by_uid, a[i].hash);
		arena_ahead(w->arena, sizeof(struct version));
	}
	for (uint32_t i = 0; i < n; i++) {
		a[i].ref = hash_peek(w->base, &w->h->by_uid, a[i].hash);
		if (a[i].ref)
			cw_prefetch_entry(w, a[i].ref);
	}
	ahead_versions(w, a, n);
}

/* --- Publishing and aborting ------------------------------------------------------- */

static bool is_unplain(const struct cache_writer *w, const struct entry *e, const struct version *v)
{
	return is_live(v) && e->type == w->h->pod_type && !(v->hot.flags & HOT_PLAIN);
}

/* Pods that may keep others away, or go before them. */
static void count_unplain(struct cache_writer *w, const struct entry *e, const struct version *old,
			  const struct version *v)
{
	_Atomic uint64_t *count = &w->h->unplain;
	bool was = is_unplain(w, e, old), is = is_unplain(w, e, v);

	/* [cache.R10] pairs with [cache.A10]: who sees the cache's rv sees the count. */
	if (was != is)
		atomic_store_explicit(count, prcu_own(count) + is - was, memory_order_release);
}

static void count_object(struct cache_writer *w, const struct entry *e, const struct version *old,
			 const struct version *v)
{
	_Atomic uint64_t *count = &w->h->types[e->type].count;

	count_unplain(w, e, old, v);
	/* Relaxed: nothing is reached through the number. */
	if (!old) {
		prcu_set_relaxed(count, prcu_own(count) + 1);
		w->objects++;
	} else if (v->flags & VERSION_TOMBSTONE) {
		prcu_set_relaxed(count, prcu_own(count) - 1);
		w->objects--;
	}
}

/* Let `v` be the newest state of its entry, in every list and count. */
static void show(struct cache_writer *w, struct entry *e, const struct version *old,
		 struct version *v)
{
	bool stays = v->flags & VERSION_STAYS;

	v->flags &= (uint8_t)~VERSION_STAYS;
	prcu_assign(&e->newest, ref_of(w->base, v)); /* [cache.R1] */
	if (stays)
		return;
	if (prcu_own(&e->live) != is_live(v))
		prcu_assign(&e->live, is_live(v)); /* [cache.R9] */
	labelset_publish(w, e, old, v);
	nodeslot_publish(w, e, old, v);
	links_publish(w, e, old, v);
	count_object(w, e, old, v);
}

void cw_publish(struct cache_writer *w, struct version *v)
{
	struct entry *e = entry_at(w, v->entry.u);
	uint32_t ref = ref_of(w->base, v);

	/* A gap would be a record that leads readers anywhere. */
	weft_assert(v->rv == w->published + 1 && prcu_own(&v->prev) == prcu_own(&e->newest));
	w->published = v->rv;
	journal_put(w, v->rv, ref);
	show(w, e, newest_of(w, e), v);
	if (e->pending == ref)
		e->pending = 0;
	w->unpublished--;
}

void cw_replay(struct cache_writer *w, struct version *v)
{
	struct entry *e = entry_at(w, v->entry.u);

	weft_assert(v->rv < w->cut && e->pending == ref_of(w->base, v));
	show(w, e, newest_of(w, e), v);
	e->pending = 0;
	w->unpublished--;
	record_cut(w, v);
}

void cw_commit_rv(struct cache_writer *w, uint64_t rv)
{
	weft_assert(rv >= prcu_own(&w->h->rv) && rv <= w->published);
	prcu_assign(&w->h->rv, rv); /* [cache.R2] */
}

void cw_abort(struct cache_writer *w, struct version *v)
{
	struct entry *e = entry_at(w, v->entry.u);
	uint32_t prev = prcu_own(&v->prev);
	bool first = v->flags & VERSION_FIRST;

	weft_assert(e->pending == ref_of(w->base, v));
	links_abort(w, v);
	e->pending = prev == prcu_own(&e->newest) ? 0 : prev;
	version_free(w, v);
	if (first)
		entry_discard(w, e);
	w->unpublished--;
}

/* --- Restoring ---------------------------------------------------------------------- */

int cw_restore(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
	       const uint8_t uid[16], uint32_t created_s, uint64_t created_rv, uint64_t rv,
	       const struct version_in *in, struct entry **out)
{
	struct version *v;
	struct entry *e;
	int err;

	if (rv > w->rv_start)
		return WEFT_EINVAL;
	err = entry_new(w, type, ns, name, uid, created_s, created_rv, !in->unlisted, &e);
	if (err)
		return err;
	err = version_new(w, e, NULL, rv, in, &v);
	if (err)
		goto no_version;
	err = links_restore(w, e, in);
	if (err)
		goto no_links;
	/* An object restored in a later state was not created by this version. */
	if (rv != created_rv)
		v->flags &= (uint8_t)~VERSION_FIRST;
	show(w, e, NULL, v);
	*out = e;
	return WEFT_OK;

no_links:
	version_free(w, v);
no_version:
	entry_discard(w, e);
	return err;
}

int cw_restore_done(struct cache_writer *w)
{
	return links_restore_done(w);
}

/* --- Readers ------------------------------------------------------------------------ */

void cw_set_readers(struct cache_writer *w, struct prcu_reader *const *readers, size_t n)
{
	struct prcu_reader **copy = NULL;

	if (n) {
		copy = malloc(n * sizeof(*copy));
		if (!copy)
			weft_fatal("no memory for %zu reader words", n);
		memcpy(copy, readers, n * sizeof(*copy));
	}
	free(w->readers);
	w->readers = copy;
	w->nreaders = n;
}
