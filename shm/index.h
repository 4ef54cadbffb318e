/*
 * index.h - what the cache's indexes share: where their memory comes from and
 * how what readers may still look at is given back.
 */
#ifndef WEFT_SHM_INDEX_H
#define WEFT_SHM_INDEX_H

#include "weft/arena.h"
#include "weft/prcu.h"

/* The writer's private handle on memory for indexes.  `retire` takes a block
 * that is unlinked but may still be read: it calls arena_free(arena, ref, n,
 * ARENA_INDEX) once a grace period that starts after the call has passed.  It
 * must not fail and must not call back into an index. */
struct index_memory {
	struct arena *arena;
	char *base; /* of the segment */
	void (*retire)(void *ctx, uint32_t ref, size_t n);
	void *ctx;
};

static inline uint32_t index_alloc(const struct index_memory *m, size_t n)
{
	return arena_alloc(m->arena, n, ARENA_INDEX);
}

/* For a block that no reader has seen. */
static inline void index_free(const struct index_memory *m, uint32_t ref, size_t n)
{
	arena_free(m->arena, ref, n, ARENA_INDEX);
}

static inline void index_retire(const struct index_memory *m, uint32_t ref, size_t n)
{
	m->retire(m->ctx, ref, n);
}

#endif
