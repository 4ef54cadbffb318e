/* blob.c - interned, reference-counted bytes. */
#include "shm/cache_priv.h"

static uint64_t blob_hash_of(const char *base, uint32_t ref)
{
	return blob_at(base, ref)->hash;
}

int blob_init(struct cache_writer *w)
{
	return chain_init(&w->blobs, w->base, offsetof(struct blob, hash_next), blob_hash_of);
}

static size_t blob_size(uint32_t n)
{
	return offsetof(struct blob, bytes) + n;
}

static uint32_t blob_lookup(const struct cache_writer *w, uint64_t hash, struct str bytes)
{
	for (uint32_t ref = chain_first(&w->blobs, hash); ref; ref = chain_next(&w->blobs, ref)) {
		const struct blob *b = blob_at(w->base, ref);

		if (b->hash == hash && str_eq(bytes, (struct str){b->bytes, b->n}))
			return ref;
	}
	return 0;
}

static uint32_t blob_make(struct cache_writer *w, uint64_t hash, struct str bytes)
{
	uint32_t ref;
	struct blob *b;

	if (blob_size(bytes.n) > ARENA_ALLOC_MAX)
		return 0;
	ref = arena_alloc(w->arena, blob_size(bytes.n), ARENA_BLOB);
	if (!ref)
		return 0;
	b = ref_ptr(w->base, ref);
	*b = (struct blob){.hash = hash, .refcount = 1, .n = bytes.n};
	if (bytes.n)
		memcpy(b->bytes, bytes.p, bytes.n);
	return ref;
}

uint32_t blob_get(struct cache_writer *w, struct str bytes)
{
	uint64_t hash = cache_hash_bytes(bytes);
	uint32_t ref = blob_lookup(w, hash, bytes);

	if (ref) {
		blob_hold(w, ref);
		return ref;
	}
	ref = blob_make(w, hash, bytes);
	if (ref)
		chain_insert(&w->blobs, hash, ref);
	return ref;
}

uint32_t blob_new(struct cache_writer *w, struct str bytes)
{
	return blob_make(w, 0, bytes);
}

void blob_drop(struct cache_writer *w, uint32_t ref)
{
	struct blob *b;

	if (!ref)
		return;
	b = ref_ptr(w->base, ref);
	weft_debug_assert(b->refcount > 0);
	if (--b->refcount)
		return;
	if (b->hash)
		chain_remove(&w->blobs, b->hash, ref);
	retire(w, ref, blob_size(b->n), ARENA_BLOB);
}

blob_ref cw_blob(struct cache_writer *w, struct str bytes)
{
	uint32_t ref = blob_get(w, bytes);

	w->blobs_held += ref != 0;
	return (blob_ref){ref};
}

void cw_blob_drop(struct cache_writer *w, blob_ref b)
{
	w->blobs_held -= b.u != 0;
	blob_drop(w, b.u);
}
