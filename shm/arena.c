/* arena.c - memory inside the cache segment: what arena.h promises. */
#include "weft/arena.h"
#include "weft/fault.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SMALL_MAX     256u /* classes up to here are multiples of ARENA_UNIT */
#define SMALL_CLASSES (SMALL_MAX / ARENA_UNIT)
#define STEPS	      4	 /* classes to each doubling above */
#define DOUBLINGS     16 /* 256 bytes to 16 MiB */
#define CLASSES	      (SMALL_CLASSES + STEPS * DOUBLINGS)
#define RUN_BYTES     (64u << 10) /* taken from the segment at once ... */
#define RUN_CLASS_MAX (8u << 10)  /* ... by classes up to here; larger ones take a block */
#define RUN_ALIGN     4096u
#define FETCH_BLOCKS  64u		  /* fetched before they are used, at most ... */
#define FETCH_BYTES   512u		  /* ... and so much of each */
#define REACH_MAX     (UINT64_C(1) << 36) /* what a reference can name */

_Static_assert(ARENA_ALLOC_MAX == SMALL_MAX << DOUBLINGS, "classes cover what may be asked for");

/* One size class: free blocks first, the one freed last first of all, then what is
 * left of the newest run. */
struct size_class {
	uint32_t *free; /* has room for all blocks that there are: freeing needs no memory */
	uint32_t nfree;
	uint32_t blocks, room;
	uint32_t fetched; /* so many of the blocks that come next */
	uint64_t bump, bump_end;
};

struct arena {
	struct seg *seg;
	struct arena_stats *stats;
	uint64_t top; /* nothing above has been taken from the segment */
	uint64_t limit;
	uint64_t kept;	 /* bytes above top that must be reserved, but not taken */
	int64_t fail_in; /* allocations until one fails, -1: none does */
	struct size_class classes[CLASSES];
};

const char *arena_use_name(enum arena_use use)
{
	static const char *const names[] = {
#define X(n, s) [ARENA_##n] = s,
		ARENA_USES(X)
#undef X
	};

	weft_assert((size_t)use < countof(names));
	return names[use];
}

/* --- Size classes ------------------------------------------------------------- */

/* The position of the leading bit of n - 1, less the bits that tell STEPS
 * apart: classes around n > SMALL_MAX are multiples of 1 << step_shift(n). */
static unsigned step_shift(size_t n)
{
	return 63 - (unsigned)__builtin_clzll(n - 1) - 2;
}

static unsigned class_of(size_t n)
{
	unsigned shift;

	if (n <= SMALL_MAX)
		return n ? (unsigned)((n - 1) / ARENA_UNIT) : 0;
	shift = step_shift(n);
	return SMALL_CLASSES + (shift - 6) * STEPS + (unsigned)((n - 1) >> shift) - STEPS;
}

size_t arena_class_size(size_t n)
{
	if (n <= SMALL_MAX)
		return n ? align_up(n, (size_t)ARENA_UNIT) : ARENA_UNIT;
	return align_up(n, (size_t)1 << step_shift(n));
}

/* --- Statistics -------------------------------------------------------------------- */

/* One writer: no atomic addition needed. */
static void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

static void account(struct arena *a, enum arena_use use, uint64_t bytes, uint64_t blocks)
{
	stat_add(&a->stats->used[use], bytes);
	stat_add(&a->stats->count[use], blocks);
}

/* --- Taking memory from the segment ---------------------------------------------- */

/* Make [0, to) of the segment usable.  Asks for more than that, so that it is
 * seldom needed, but is content with it. */
static bool reserve_to(struct arena *a, uint64_t to)
{
	struct seg_header *h = seg_header(a->seg);
	uint64_t size = atomic_load_explicit(&h->size, memory_order_relaxed);
	uint64_t next = seg_next(size), want;

	if (to <= size)
		return true;
	if (to > a->limit)
		return false;
	want = align_up(to > next ? to : next, (uint64_t)RUN_ALIGN);
	if (want > a->limit)
		want = a->limit;
	return seg_grow(a->seg, want, NULL) == 0 ||
	       seg_grow(a->seg, align_up(to, (uint64_t)RUN_ALIGN), NULL) == 0;
}

/* Room to note `n` blocks more once they are free. */
static bool make_room(struct size_class *c, uint32_t n)
{
	uint32_t room = 2 * c->room > c->blocks + n ? 2 * c->room : c->blocks + n;
	uint32_t *free;

	if (c->blocks + n <= c->room)
		return true;
	free = realloc(c->free, room * sizeof(*free));
	if (!free)
		return false;
	c->free = free;
	c->room = room;
	return true;
}

/* Give class `c` a new run of blocks of `size` bytes. */
static bool take_run(struct arena *a, struct size_class *c, size_t size)
{
	uint64_t run = size <= RUN_CLASS_MAX ? RUN_BYTES : align_up(size, (size_t)RUN_ALIGN);
	uint32_t n = (uint32_t)(run / size);

	if (!make_room(c, n) || !reserve_to(a, a->top + run + a->kept))
		return false;
	c->blocks += n;
	c->bump = a->top;
	c->bump_end = a->top + n * size;
	a->top += run;
	stat_add(&a->stats->reserved, run);
	return true;
}

/* --- Allocation --------------------------------------------------------------------- */

static bool must_fail(struct arena *a)
{
	return likely_false(a->fail_in >= 0) && a->fail_in-- == 0;
}

/* Where the block lies that comes after `i` others; what is there may be another's
 * when there is none. */
static uint64_t next_block(const struct size_class *c, uint32_t i, size_t size)
{
	return i < c->nfree ? (uint64_t)c->free[c->nfree - 1 - i] * ARENA_UNIT
			    : c->bump + (i - c->nfree) * size;
}

static void fetch_next(struct arena *a, struct size_class *c, size_t size)
{
	const char *p;

	if (c->fetched == FETCH_BLOCKS)
		return;
	p = a->seg->base + next_block(c, c->fetched++, size);
	for (size_t i = 0; i < size && i < FETCH_BYTES; i += CACHE_LINE)
		prefetch(p + i);
}

void arena_ahead(struct arena *a, size_t n)
{
	if (n <= ARENA_ALLOC_MAX)
		fetch_next(a, &a->classes[class_of(n)], arena_class_size(n));
}

uint32_t arena_alloc(struct arena *a, size_t n, enum arena_use use)
{
	size_t size = arena_class_size(n);
	struct size_class *c;
	uint32_t ref;

	if (n > ARENA_ALLOC_MAX || must_fail(a) || fault_fails(memory_arena))
		return 0;
	c = &a->classes[class_of(n)];
	if (c->nfree) {
		ref = c->free[--c->nfree];
	} else {
		if (c->bump == c->bump_end && !take_run(a, c, size))
			return 0;
		ref = (uint32_t)(c->bump / ARENA_UNIT);
		c->bump += size;
	}
	c->fetched -= c->fetched > 0;
	if (!c->fetched)
		fetch_next(a, c, size);
	account(a, use, size, 1);
	return ref;
}

void arena_free(struct arena *a, uint32_t ref, size_t n, enum arena_use use)
{
	struct size_class *c;

	weft_assert(ref && n <= ARENA_ALLOC_MAX && (uint64_t)ref * ARENA_UNIT < a->top);
	c = &a->classes[class_of(n)];
	weft_assert(c->nfree < c->blocks);
	c->free[c->nfree++] = ref;
	c->fetched = 0;
	account(a, use, -(uint64_t)arena_class_size(n), -UINT64_C(1));
}

/* --- Opening ------------------------------------------------------------------------ */

int arena_open(struct arena **out, struct seg *seg, uint64_t start, struct arena_stats *stats,
	       struct err *e)
{
	struct arena *a;

	*out = NULL;
	if (!seg->writable || start < sizeof(struct seg_header) || start >= seg->size_max)
		return err_set(e, WEFT_EINVAL, "arena in segment '%s': starts at %llu", seg->name,
			       (unsigned long long)start);
	a = calloc(1, sizeof(*a));
	if (!a)
		return err_set(e, WEFT_ENOMEM, "arena in segment '%s': out of memory", seg->name);
	a->seg = seg;
	a->stats = stats;
	a->top = align_up(start, (uint64_t)RUN_ALIGN);
	a->limit = seg->size_max < REACH_MAX ? seg->size_max : REACH_MAX;
	a->fail_in = -1;
	*out = a;
	return 0;
}

void arena_close(struct arena *a)
{
	for (size_t i = 0; a && i < CLASSES; i++)
		free(a->classes[i].free);
	free(a);
}

void arena_keep_back(struct arena *a, uint64_t bytes)
{
	a->kept = bytes;
}

void arena_fail_after(struct arena *a, int64_t k)
{
	a->fail_in = k;
}
