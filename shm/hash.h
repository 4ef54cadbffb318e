/*
 * hash.h - an index from a 32-bit hash to references, in the arena: one
 * writer, lock-free readers in any process.
 *
 * Linear hashing over buckets of one cache line.  A bucket has seven slots of
 * {hash:32, ref:32} and leads to an overflow bucket when they are full.  The
 * table grows by one bucket at a time, as items are inserted: bucket i of N
 * gives about half of its items to bucket N.  There is never a resize that
 * stops anybody.  It does not shrink: its memory follows the largest number of
 * items there ever were (about 18 bytes each).
 *
 * Buckets lie in chunks of HASH_CHUNK; a directory of chunk references, itself
 * replaced by a larger one when it is full, makes finding a bucket O(1).
 *
 * The table knows hashes and references only.  Several items may have the same
 * hash; the caller's match() tells them apart.  Nothing stops the same
 * (hash, ref) from being inserted twice; the caller does not do that.
 *
 * Writer and readers.  All is written by the writer alone.
 *  - An item is inserted by one store into an empty slot, removed by one store
 *    of 0: a reader sees it whole or not at all.
 *  - An item that moves is stored at its new place first, then the reader's
 *    ground changes (`buckets` for a move to another bucket, the bucket's
 *    `moves` for a move within its chain), and only then the old slot is
 *    cleared.  A reader that has found nothing looks whether either has
 *    changed since it began, and if so begins again.  It may meet an item
 *    twice, and never misses one that was there all the time.
 *  - A writer that dies at any point leaves a table that readers can go on
 *    using for ever: nobody waits for it.
 *  - An unlinked overflow bucket or directory goes to index_memory.retire().
 *
 * Memory.  Only hash_insert() and hash_expect() allocate.  hash_insert()
 * either works or returns WEFT_ENOMEM and has changed nothing; to make a
 * publish that cannot fail, insert when the write is prepared (readers must
 * tolerate an item that is not published yet) and remove when it is aborted.
 * A table that cannot grow for want of memory gets slower, not wrong.
 */
#ifndef WEFT_SHM_HASH_H
#define WEFT_SHM_HASH_H

#include "shm/index.h"

#define HASH_SLOTS 7
#define HASH_CHUNK 256u /* buckets in a chunk: 16 KiB */
#define HASH_LOAD  4u	/* items for each bucket, on average, before the table grows */

struct hash_bucket {
	_Atomic uint64_t slot[HASH_SLOTS]; /* hash << 32 | ref; 0: empty [hash.R2] */
	_Atomic uint32_t next;		   /* overflow bucket, 0: none [hash.R3] */
	_Atomic uint32_t moves; /* first bucket of a chain: counts moves in it [hash.R4] */
};

_Static_assert(sizeof(struct hash_bucket) == CACHE_LINE, "a bucket is a cache line");

/* In shared memory. */
struct hash_table {
	_Atomic uint32_t buckets; /* N, only grows [hash.R1] */
	_Atomic uint32_t dir;	  /* uint32_t[] of chunk references [hash.R5] */
	_Atomic uint64_t items;	  /* live items; relaxed, for statistics */
} cache_aligned;

/* The writer's private handle. */
struct hash {
	struct index_memory m;
	struct hash_table *t;
	uint32_t dir_cap; /* chunk references that the directory has room for */
	uint32_t chunks;  /* chunks there are */
};

/* --- Readers ------------------------------------------------------------------ */

/* The bucket of `hash` when there are `n` >= 2: the low bits that cover n, one
 * less when that bucket is not there yet. */
static inline uint32_t hash_bucket_index(uint32_t hash, uint32_t n)
{
	uint32_t mask = UINT32_MAX >> __builtin_clz(n - 1);
	uint32_t i = hash & mask;

	return i < n ? i : i & (mask >> 1);
}

/* `n` was loaded from t->buckets before. */
static inline struct hash_bucket *hash_bucket_at(const char *base, const struct hash_table *t,
						 uint32_t i)
{
	/* [hash.A5] pairs with [hash.R5].  The directory is at least as new as
	 * the N that the caller has loaded, so it covers bucket i. */
	const uint32_t *dir = ref_ptr(base, prcu_dereference(&t->dir));

	return (struct hash_bucket *)ref_ptr(base, dir[i / HASH_CHUNK]) + i % HASH_CHUNK;
}

/* Ask for the bucket of `hash` to be brought into the cache: for callers that
 * look up several keys at once. */
static inline void hash_prefetch(const char *base, const struct hash_table *t, uint32_t hash)
{
	uint32_t n = prcu_dereference(&t->buckets);

	prefetch(hash_bucket_at(base, t, hash_bucket_index(hash, n)));
}

/* The first item under `hash` in its bucket, overflow aside, or 0: a guess, for
 * prefetching. */
static inline uint32_t hash_peek(const char *base, const struct hash_table *t, uint32_t hash)
{
	uint32_t n = prcu_dereference(&t->buckets);
	const struct hash_bucket *b = hash_bucket_at(base, t, hash_bucket_index(hash, n));

	for (int i = 0; i < HASH_SLOTS; i++) {
		uint64_t s = prcu_dereference(&b->slot[i]);

		if (s >> 32 == hash && (uint32_t)s)
			return (uint32_t)s;
	}
	return 0;
}

/* Whether the item `ref` is the one that `key` names. */
typedef bool hash_match_fn(const char *base, uint32_t ref, const void *key);

/* The first reference under `hash` for which match() says so, or 0.  Inside a
 * read section (the writer needs none).  `match` should be a static inline
 * function: it is then inlined, too. */
static inline __attribute__((always_inline)) uint32_t hash_find(const char *base,
								const struct hash_table *t,
								uint32_t hash, hash_match_fn *match,
								const void *key)
{
	const struct hash_bucket *first, *b;
	uint32_t n, moves, next;

	do {
		n = prcu_dereference(&t->buckets); /* [hash.A1] pairs with [hash.R1] */
		first = b = hash_bucket_at(base, t, hash_bucket_index(hash, n));
		moves = prcu_dereference(&first->moves); /* [hash.A4] pairs with [hash.R4] */
		for (;;) {
			for (int i = 0; i < HASH_SLOTS; i++) {
				/* [hash.A2] pairs with [hash.R2] */
				uint64_t s = prcu_dereference(&b->slot[i]);

				if (s >> 32 == hash && (uint32_t)s && match(base, (uint32_t)s, key))
					return (uint32_t)s;
			}
			next = prcu_dereference(&b->next); /* [hash.A3] pairs with [hash.R3] */
			if (!next)
				break;
			b = ref_ptr(base, next);
		}
		/* Had an item left a slot before we read it, then the count that
		 * was changed before that is visible now. */
	} while (likely_false(n != prcu_own(&t->buckets) || moves != prcu_own(&first->moves)));
	return 0;
}

static inline uint64_t hash_items(const struct hash_table *t)
{
	return prcu_own(&t->items);
}

/* --- The writer --------------------------------------------------------------- */

/* Make an empty table in `t` (shared memory, any content).  WEFT_ENOMEM. */
int hash_init(struct hash *h, struct hash_table *t, const struct index_memory *m);

/* Put (hash, ref) in, visible at once.  0, or WEFT_ENOMEM with nothing
 * changed.  Amortized O(1); one call splits at most two buckets. */
int hash_insert(struct hash *h, uint32_t hash, uint32_t ref);

/* Take (hash, ref) out; false if it was not there.  Never fails otherwise. */
bool hash_remove(struct hash *h, uint32_t hash, uint32_t ref);

/* Let (hash, from) become (hash, to) by one store; false if it was not there. */
bool hash_replace(struct hash *h, uint32_t hash, uint32_t from, uint32_t to);

/* Grow now for `more` further items, as far as memory allows. */
void hash_expect(struct hash *h, uint64_t more);

/* Call fn for every item (the writer only, which changes nothing meanwhile). */
void hash_each(const struct hash *h, void (*fn)(void *ctx, uint32_t hash, uint32_t ref), void *ctx);

/* Bytes that the table has from the arena, by walking it (for leak checks). */
uint64_t hash_memory(const struct hash *h);

/* Check every invariant: each item once, in its own bucket, counts right.
 * WEFT_ECORRUPT with the first thing found. */
int hash_check(const struct hash *h, struct err *e);

#endif
