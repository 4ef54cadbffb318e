/*
 * arena.h - memory inside the cache segment.
 *
 * References are 32-bit offsets in 16-byte units from the segment's base, so
 * 64 GiB are reachable and the cache may be mapped anywhere.  0 is "none".
 * Typed: a reference to an entry and one to a version do not mix.
 *
 * Size classes: multiples of 16 up to 256, then four steps to each doubling,
 * up to ARENA_ALLOC_MAX; each class takes 64 KiB pages (larger classes bigger
 * runs) and knows its free blocks, which are not touched: 4 bytes of the store's own
 * memory for each.  Only the store calls anything here; there are no locks.
 */
#ifndef WEFT_ARENA_H
#define WEFT_ARENA_H

#include "weft/segment.h"

#define ARENA_UNIT	16
#define ARENA_ALLOC_MAX (16u << 20)

/* DEFINE_REF(entry) makes `entry_ref`, a typed 32-bit reference. */
#define DEFINE_REF(name)    \
	typedef struct {    \
		uint32_t u; \
	} name##_ref

/* base + ref; `ref` must not be 0. */
#define ref_ptr(base, ref) ((void *)((char *)(base) + (uint64_t)(ref)*ARENA_UNIT))
#define ref_of(base, ptr)  ((uint32_t)(((const char *)(ptr) - (const char *)(base)) / ARENA_UNIT))

/* What a block is for: memory is counted by these (`weft top`). */
#define ARENA_USES(X)              \
	X(ENTRY, "entries")        \
	X(VERSION, "versions")     \
	X(BLOB, "blobs")           \
	X(INDEX, "indexes")        \
	X(JOURNAL, "journal")      \
	X(AGGREGATE, "aggregates") \
	X(OTHER, "other")

enum arena_use {
#define X(n, s) ARENA_##n,
	ARENA_USES(X)
#undef X
		ARENA_USE_COUNT
};

const char *arena_use_name(enum arena_use use);

/* Statistics in shared memory: written by the store, read racily by tools;
 * a torn sum is off by one allocation, which no reader minds. */
struct arena_stats {
	_Atomic uint64_t used[ARENA_USE_COUNT];	 /* bytes, rounded to class */
	_Atomic uint64_t count[ARENA_USE_COUNT]; /* live blocks */
	_Atomic uint64_t reserved;		 /* bytes taken from the segment */
};

struct arena; /* the store's private handle: free lists, growth */

/* Manage [start, size_max) of `seg`.  `stats` lies in the segment's header. */
int arena_open(struct arena **out, struct seg *seg, uint64_t start, struct arena_stats *stats,
	       struct err *e);
void arena_close(struct arena *a);

/* A block of at least `n` bytes, not zeroed, 16-byte aligned (64 for n >= 64
 * that are multiples of 64).  0 when memory is out: the caller refuses the
 * write and everything stays as it was. */
uint32_t arena_alloc(struct arena *a, size_t n, enum arena_use use);

/* A block of `n` bytes will soon be asked for: have it brought into the CPU's cache. */
void arena_ahead(struct arena *a, size_t n);

/* Give back a block of `n` bytes (as asked for).  Immediately reusable: call
 * it only after a grace period, for what readers could reach. */
void arena_free(struct arena *a, uint32_t ref, size_t n, enum arena_use use);

/* Keep `bytes` of the segment back from now on: arena_alloc() fails rather than
 * take them into use.  They are reserved together with what it does take, so
 * after arena_keep_back(a, 0) they are there, whatever the machine has left. */
void arena_keep_back(struct arena *a, uint64_t bytes);

/* Bytes that a request for `n` really takes. */
size_t arena_class_size(size_t n);

/* Fail the k-th allocation from now (0 = next), once; -1 for never.  Tests. */
void arena_fail_after(struct arena *a, int64_t k);

#endif
