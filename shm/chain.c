/* chain.c - linear hashing with embedded links, for one process alone. */
#include "shm/chain.h"

#include <stdlib.h>

#include "weft/arena.h"

#define CHAIN_FIRST 1024u

int chain_init(struct chain_table *t, char *base, size_t next_offset,
	       uint64_t (*hash_of)(const char *base, uint32_t ref))
{
	*t = (struct chain_table){.base = base,
				  .next_offset = next_offset,
				  .hash_of = hash_of,
				  .buckets = CHAIN_FIRST,
				  .cap = CHAIN_FIRST,
				  .level_mask = CHAIN_FIRST - 1};
	t->bucket = calloc(t->cap, sizeof(*t->bucket));
	return t->bucket ? WEFT_OK : WEFT_ENOMEM;
}

void chain_free(struct chain_table *t)
{
	free(t->bucket);
	t->bucket = NULL;
}

static uint32_t *next_of(const struct chain_table *t, uint32_t ref)
{
	return (uint32_t *)((char *)ref_ptr(t->base, ref) + t->next_offset);
}

/* Buckets below `buckets - (level_mask + 1)` have been split: they use one
 * more bit of the hash. */
static uint32_t *bucket_of(const struct chain_table *t, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & (t->level_mask * 2 + 1);

	if (i >= t->buckets)
		i &= t->level_mask;
	return &t->bucket[i];
}

uint32_t chain_first(const struct chain_table *t, uint64_t hash)
{
	return *bucket_of(t, hash);
}

void chain_prefetch(const struct chain_table *t, uint64_t hash)
{
	prefetch(bucket_of(t, hash));
}

uint32_t chain_next(const struct chain_table *t, uint32_t ref)
{
	return *next_of(t, ref);
}

static bool room_for_bucket(struct chain_table *t)
{
	uint32_t *bigger;

	if (t->buckets < t->cap)
		return true;
	bigger = realloc(t->bucket, (size_t)t->cap * 2 * sizeof(*bigger));
	if (!bigger)
		return false;
	t->bucket = bigger;
	t->cap *= 2;
	return true;
}

/* Add one bucket: the members of the one it splits are dealt to both. */
static void split(struct chain_table *t)
{
	uint32_t from = t->buckets - (t->level_mask + 1);
	uint32_t ref = t->bucket[from];

	t->bucket[from] = 0;
	t->bucket[t->buckets++] = 0;
	while (ref) {
		uint32_t next = *next_of(t, ref);
		uint32_t *b = bucket_of(t, t->hash_of(t->base, ref));

		*next_of(t, ref) = *b;
		*b = ref;
		ref = next;
	}
	if (t->buckets == (t->level_mask + 1) * 2)
		t->level_mask = t->level_mask * 2 + 1;
}

void chain_insert(struct chain_table *t, uint64_t hash, uint32_t ref)
{
	uint32_t *b;

	if (t->members >= t->buckets && room_for_bucket(t))
		split(t);
	b = bucket_of(t, hash);
	*next_of(t, ref) = *b;
	*b = ref;
	t->members++;
}

void chain_remove(struct chain_table *t, uint64_t hash, uint32_t ref)
{
	uint32_t *at = bucket_of(t, hash);

	while (*at != ref) {
		weft_assert(*at != 0);
		at = next_of(t, *at);
	}
	*at = *next_of(t, ref);
	t->members--;
}
