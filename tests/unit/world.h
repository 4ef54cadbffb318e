/*
 * world.h - a small world for the tests of shm/: a segment with an arena,
 * indexes, grace periods and reader words in it, and entries made from names.
 * One writer; readers are threads or forked processes that use `shared` alone.
 */
#ifndef WEFT_TESTS_WORLD_H
#define WEFT_TESTS_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "shm/hash.h"
#include "shm/ordered.h"
#include "shm/refset.h"
#include "tests/unit/suite.h"

#define WORLD_READERS  8
#define WORLD_COUNTERS 64

/* At the beginning of the segment. */
struct shared {
	struct seg_header header;
	struct arena_stats stats;
	struct prcu_gp gp;
	struct hash_table table;
	struct refset_table set;
	struct ordered_root root;
	_Atomic int stop;
	_Atomic uint64_t counter[WORLD_COUNTERS];
	struct prcu_reader reader[WORLD_READERS];
};

struct retired {
	uint32_t ref;
	enum arena_use use;
	size_t n;
};

struct world {
	struct seg seg;
	struct arena *arena;
	struct shared *shared;
	char *base;
	struct index_memory m;
	size_t nreaders;
	struct retired *waiting, *passing; /* for the next, in the running grace period */
	size_t nwaiting, cap_waiting, npassing, cap_passing;
	uint64_t target; /* of the running grace period, 0: none */
};

/* --- Seeds -------------------------------------------------------------------- */

static inline uint64_t *rng_state(void)
{
	static __thread uint64_t state = 88172645463325252u;

	return &state;
}

static inline uint64_t rng(void)
{
	uint64_t *s = rng_state();

	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * UINT64_C(2685821657736338717);
}

static inline uint32_t rng_below(uint32_t n)
{
	return (uint32_t)((rng() >> 32) * n >> 32);
}

/* Seed from WEFT_SEED or the clock, printed so that a run can be repeated. */
static inline void seed_from_environment(void)
{
	const char *env = getenv("WEFT_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)clock_wall_ns();

	printf("WEFT_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	*rng_state() = XXH3_64bits(&seed, sizeof(seed)) | 1;
}

/* --- Giving back after a grace period -------------------------------------------- */

static inline void world_retire_as(struct world *w, uint32_t ref, size_t n, enum arena_use use)
{
	if (w->nwaiting == w->cap_waiting) {
		w->cap_waiting = w->cap_waiting ? 2 * w->cap_waiting : 256;
		w->waiting = realloc(w->waiting, w->cap_waiting * sizeof(*w->waiting));
	}
	w->waiting[w->nwaiting++] = (struct retired){ref, use, n};
}

static inline void world_retire(void *ctx, uint32_t ref, size_t n)
{
	world_retire_as(ctx, ref, n, ARENA_INDEX);
}

static inline bool world_poll(struct world *w)
{
	struct prcu_reader *readers[WORLD_READERS];

	for (size_t i = 0; i < w->nreaders; i++)
		readers[i] = &w->shared->reader[i];
	return prcu_poll(&w->shared->gp, readers, w->nreaders, w->target, NULL);
}

/* Free what a grace period has passed for, begin the next.  Never waits. */
static inline void world_reclaim(struct world *w)
{
	struct retired *swap = w->passing;
	size_t cap = w->cap_passing;

	if (w->target && !world_poll(w))
		return;
	for (size_t i = 0; i < w->npassing; i++) {
		/* rubbish, so that a reader that is still there notices */
		memset(ref_ptr(w->base, w->passing[i].ref), 0xdb, w->passing[i].n);
		arena_free(w->arena, w->passing[i].ref, w->passing[i].n, w->passing[i].use);
	}
	w->target = prcu_start(&w->shared->gp);
	w->passing = w->waiting;
	w->npassing = w->nwaiting;
	w->cap_passing = w->cap_waiting;
	w->waiting = swap;
	w->nwaiting = 0;
	w->cap_waiting = cap;
}

/* Free everything: all readers are gone. */
static inline void world_reclaim_all(struct world *w)
{
	while (w->npassing + w->nwaiting)
		world_reclaim(w);
}

/* --- Opening and closing ------------------------------------------------------------ */

static inline void world_open(struct world *w, uint64_t size_max)
{
	uint64_t start = align_up(sizeof(struct shared), (size_t)4096);
	struct err e = {0};
	char name[SEG_NAME_MAX];

	memset(w, 0, sizeof(*w));
	snprintf(name, sizeof(name), "/weft.test-%d.world", (int)getpid());
	ck_assert_msg(seg_create(&w->seg, name, SEG_CACHE, 1, start, size_max, &e) == 0, "%s",
		      e.msg);
	seg_unlink(name, NULL); /* forked readers have the mapping */
	w->base = w->seg.base;
	w->shared = (struct shared *)w->base;
	ck_assert_int_eq(arena_open(&w->arena, &w->seg, start, &w->shared->stats, &e), 0);
	prcu_init(&w->shared->gp);
	ck_assert_int_eq(prcu_register_process(&w->shared->gp, &e), 0);
	w->m = (struct index_memory){w->arena, w->base, world_retire, w};
}

static inline void world_close(struct world *w)
{
	free(w->waiting);
	free(w->passing);
	arena_close(w->arena);
	seg_close(&w->seg);
}

static inline uint64_t world_used(const struct world *w, enum arena_use use)
{
	return w->shared->stats.used[use];
}

/* --- Entries ------------------------------------------------------------------------ */

static inline string_ref world_string(struct world *w, const char *text)
{
	uint32_t n = (uint32_t)strlen(text);
	uint32_t ref = arena_alloc(w->arena, sizeof(struct blob) + n, ARENA_OTHER);
	struct blob *b;

	weft_assert(ref);
	b = ref_ptr(w->base, ref);
	*b = (struct blob){.n = n};
	memcpy(b->bytes, text, n);
	return (string_ref){ref};
}

static inline size_t entry_bytes(size_t name_len)
{
	return sizeof(struct entry) + name_len + 1;
}

static inline uint32_t world_entry(struct world *w, string_ref ns, const char *name, uint64_t rv)
{
	size_t n = strlen(name);
	uint32_t ref = arena_alloc(w->arena, entry_bytes(n), ARENA_ENTRY);
	struct entry *e;

	weft_assert(ref);
	e = ref_ptr(w->base, ref);
	memset(e, 0, sizeof(*e));
	e->ns = ns;
	e->created_rv = rv;
	e->name_len = (uint8_t)n;
	memcpy(e->name, name, n + 1);
	return ref;
}

static inline void world_free_entry(struct world *w, uint32_t ref)
{
	const struct entry *e = ref_ptr(w->base, ref);

	arena_free(w->arena, ref, entry_bytes(e->name_len), ARENA_ENTRY);
}

/* Through a grace period. */
static inline void world_retire_entry(struct world *w, uint32_t ref)
{
	const struct entry *e = ref_ptr(w->base, ref);

	world_retire_as(w, ref, entry_bytes(e->name_len), ARENA_ENTRY);
}

/* --- Running ------------------------------------------------------------------------ */

#define world_suite(name, cases)                   \
	int main(void)                             \
	{                                          \
		Suite *suite = suite_create(name); \
		TCase *tc = tcase_create(name);    \
		tcase_set_timeout(tc, 60);         \
		cases(tc);                         \
		suite_add_tcase(suite, tc);        \
		return run_suite(suite);           \
	}

#endif
