/*
 * chain.h - the store's private hash tables over shared structures.
 *
 * Interned blobs and label sets are looked up by the store alone, so their
 * tables live in its private memory; only the links between the members of a
 * bucket (a `hash_next` in each) lie in the arena.  Linear hashing: the table
 * grows by one bucket for each member beyond one a bucket, so no insert ever
 * pays for a whole rehash.  When private memory for growing is refused, chains
 * get longer and nothing else happens.
 */
#ifndef WEFT_SHM_CHAIN_H
#define WEFT_SHM_CHAIN_H

#include "weft/base.h"

struct chain_table {
	char *base;	    /* of the cache segment */
	size_t next_offset; /* of the member's uint32_t hash_next */
	uint64_t (*hash_of)(const char *base, uint32_t ref);
	uint32_t *bucket;    /* head of each chain, 0: empty */
	uint32_t buckets;    /* in use */
	uint32_t cap;	     /* allocated */
	uint32_t level_mask; /* buckets of the last whole doubling, minus 1 */
	uint64_t members;
};

/* WEFT_ENOMEM when the first buckets cannot be allocated. */
int chain_init(struct chain_table *t, char *base, size_t next_offset,
	       uint64_t (*hash_of)(const char *base, uint32_t ref));
void chain_free(struct chain_table *t);

/* The first candidate for `hash`, and the one after `ref`; 0 at the end.
 * Candidates share a bucket only: the caller compares. */
uint32_t chain_first(const struct chain_table *t, uint64_t hash);
uint32_t chain_next(const struct chain_table *t, uint32_t ref);

/* Ask for the bucket of `hash` to be brought into the CPU's cache. */
void chain_prefetch(const struct chain_table *t, uint64_t hash);

void chain_insert(struct chain_table *t, uint64_t hash, uint32_t ref);
/* `ref` must be a member. */
void chain_remove(struct chain_table *t, uint64_t hash, uint32_t ref);

#endif
