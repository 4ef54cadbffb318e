/*
 * refset.h - a set of references, in the arena: one bit for each place that a
 * reference can name; one writer, lock-free readers in any process.
 *
 * What was allocated together lies together, so the bits of a list of objects
 * share cache lines, where a look into a hash index misses for each of them.
 *
 * Bits lie in chunks of REFSET_CHUNK, made when the first bit of one is set and
 * kept: the set's memory is 1/128 of the arena that was ever in use.
 *
 * A reader that finds a reference in the set may follow it to the end of its
 * read section: the writer fills in the object before it adds the reference, and
 * frees it in a grace period after it has taken the reference out.
 */
#ifndef WEFT_SHM_REFSET_H
#define WEFT_SHM_REFSET_H

#include "shm/index.h"

#define REFSET_CHUNK  (1u << 19) /* bits: 64 KiB, for 8 MiB of arena */
#define REFSET_CHUNKS (1u << 13) /* for all that a reference can name */

/* In shared memory. */
struct refset_table {
	_Atomic uint32_t chunk[REFSET_CHUNKS]; /* uint32_t[], 0: no bit is set [refset.R1] */
};

/* The writer's private handle. */
struct refset {
	struct index_memory m;
	struct refset_table *t;
	uint32_t chunks; /* there are */
};

/* --- Readers ------------------------------------------------------------------ */

/* The word that has the bit of `ref`, NULL if there is none. */
static inline _Atomic uint32_t *refset_word(const char *base, const struct refset_table *t,
					    uint32_t ref)
{
	/* [refset.A1] pairs with [refset.R1]: the chunk is zeroed. */
	uint32_t chunk = prcu_dereference(&t->chunk[ref / REFSET_CHUNK]);

	return chunk ? (_Atomic uint32_t *)ref_ptr(base, chunk) + ref % REFSET_CHUNK / 32 : NULL;
}

/* Is `ref`, which may be anything, in the set? */
static inline bool refset_has(const char *base, const struct refset_table *t, uint32_t ref)
{
	const _Atomic uint32_t *word = refset_word(base, t, ref);

	/* [refset.A2] pairs with [refset.R2]: what `ref` leads to is whole. */
	return word && prcu_dereference(word) >> ref % 32 & 1;
}

/* Ask for what refset_has() will look at to be brought into the cache. */
static inline void refset_prefetch(const char *base, const struct refset_table *t, uint32_t ref)
{
	const _Atomic uint32_t *word = refset_word(base, t, ref);

	if (word)
		prefetch((const void *)word);
}

/* Those from *from on, in ascending order: up to `max` go to `refs`.  Returns how many, and *from
 * becomes where to go on; 0: there are no more.  What is in the set all the while is found. */
static inline uint32_t refset_walk(const char *base, const struct refset_table *t, uint64_t *from,
				   uint32_t *refs, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && *from >> 32 == 0) {
		const _Atomic uint32_t *word = refset_word(base, t, (uint32_t)*from);
		/* [refset.A2] */
		uint32_t left = word ? prcu_dereference(word) >> *from % 32 : 0;

		if (!word) {
			*from = (*from / REFSET_CHUNK + 1) * REFSET_CHUNK;
		} else if (!left) {
			*from = (*from / 32 + 1) * 32;
		} else {
			*from += (uint64_t)__builtin_ctz(left);
			refs[n++] = (uint32_t)(*from)++;
		}
	}
	return n;
}

/* --- The writer --------------------------------------------------------------- */

void refset_init(struct refset *s, struct refset_table *t, const struct index_memory *m);
/* Add `ref`, which is not in the set.  WEFT_ENOMEM: nothing has changed. */
int refset_add(struct refset *s, uint32_t ref);
/* Take out `ref`, which is in it. */
void refset_remove(struct refset *s, uint32_t ref);

/* For checks: how many there are, and the set's bytes in the arena. */
uint64_t refset_count(const struct refset *s);
uint64_t refset_memory(const struct refset *s);

#endif
