/*
 * refmap.h - a number for each of some references into the cache (an entry's, a node
 * slot's).  Private memory, open addressing; zero-initialise.
 *
 * A reference may come to name something else: what is noted here under it is the
 * caller's to check.
 */
#ifndef PROCS_LIB_REFMAP_H
#define PROCS_LIB_REFMAP_H

#include "weft/base.h"

struct refmap_at {
	uint32_t ref; /* 0: free */
	uint32_t number;
};

/* To go through all: each of the `cap` places of `at` that is not free. */
struct refmap {
	struct refmap_at *at;
	uint32_t n, cap;
};

/* What is noted for `ref`; -1: nothing, as always for 0. */
int64_t refmap_get(const struct refmap *m, uint32_t ref);
static inline bool refmap_has(const struct refmap *m, uint32_t ref)
{
	return refmap_get(m, ref) >= 0;
}
/* Note `number` for `ref`, which is not 0, instead of what may be noted already. */
void refmap_put(struct refmap *m, uint32_t ref, uint32_t number);
/* Forget `ref`; returns what was noted for it, -1: nothing. */
int64_t refmap_take(struct refmap *m, uint32_t ref);
void refmap_clear(struct refmap *m); /* forget all; the memory is kept */
void refmap_free(struct refmap *m);  /* forget all, and may be used again */

/* refmap_get(m, ref) and the like are to come. */
static inline void refmap_prefetch(const struct refmap *m, uint32_t ref)
{
	if (m->cap)
		prefetch(&m->at[home_of(ref, m->cap)]);
}

#endif
