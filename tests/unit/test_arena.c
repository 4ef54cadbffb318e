/* test_arena.c - the arena against a list of live blocks. */
#include "tests/unit/world.h"

#define BLOCKS 4000

struct block {
	uint32_t ref;
	size_t n;
	enum arena_use use;
	uint64_t mark;
};

static struct world w;
static struct block blocks[BLOCKS];

static void setup(void)
{
	seed_from_environment();
	world_open(&w, UINT64_C(1) << 30);
	memset(blocks, 0, sizeof(blocks));
}

static void teardown(void)
{
	world_close(&w);
}

/* --- Size classes --------------------------------------------------------------- */

START_TEST(classes_waste_little)
{
	size_t last = 0;

	for (size_t n = 1; n <= ARENA_ALLOC_MAX; n += n < 5000 ? 1 : n / 97) {
		size_t size = arena_class_size(n);

		ck_assert_uint_ge(size, n);
		ck_assert_uint_ge(size, last);
		ck_assert_uint_eq(size % ARENA_UNIT, 0);
		ck_assert_uint_eq(arena_class_size(size), size);
		if (n > 256)
			ck_assert_uint_le(size - n, n / 4);
		else
			ck_assert_uint_lt(size - n, ARENA_UNIT);
		last = size;
	}
	ck_assert_uint_eq(arena_class_size(0), ARENA_UNIT);
	ck_assert_uint_eq(arena_class_size(ARENA_ALLOC_MAX), ARENA_ALLOC_MAX);
}
END_TEST

/* --- Random operations ----------------------------------------------------------- */

static size_t random_size(void)
{
	switch (rng_below(10)) {
	case 0:
		return rng_below(200000);
	case 1:
		return 64 * (1 + rng_below(100));
	case 2:
		return rng_below(9000);
	default:
		return 1 + rng_below(400);
	}
}

/* Both ends of a block say whose it is. */
static void mark(const struct block *b)
{
	char *p = ref_ptr(w.base, b->ref);

	memset(p, (int)(b->mark & 0xff), b->n);
}

static void check_mark(const struct block *b)
{
	const char *p = ref_ptr(w.base, b->ref);

	for (size_t i = 0; i < b->n; i += b->n / 7 + 1)
		ck_assert_int_eq(p[i], (char)(b->mark & 0xff));
	if (b->n)
		ck_assert_int_eq(p[b->n - 1], (char)(b->mark & 0xff));
}

static void allocate(struct block *b)
{
	b->n = random_size();
	b->use = (enum arena_use)rng_below(ARENA_USE_COUNT);
	b->mark = rng();
	b->ref = arena_alloc(w.arena, b->n, b->use);
	ck_assert(b->ref);
	if (b->n >= 64 && b->n % 64 == 0)
		ck_assert_uint_eq((uint64_t)b->ref * ARENA_UNIT % 64, 0);
	ck_assert_uint_le((uint64_t)b->ref * ARENA_UNIT + b->n, w.shared->header.size);
	mark(b);
}

static void release(struct block *b)
{
	check_mark(b);
	arena_free(w.arena, b->ref, b->n, b->use);
	b->ref = 0;
}

static void check_statistics(void)
{
	uint64_t used[ARENA_USE_COUNT] = {0}, count[ARENA_USE_COUNT] = {0}, all = 0;

	for (int i = 0; i < BLOCKS; i++)
		if (blocks[i].ref) {
			used[blocks[i].use] += arena_class_size(blocks[i].n);
			count[blocks[i].use]++;
		}
	for (int u = 0; u < ARENA_USE_COUNT; u++) {
		ck_assert_uint_eq(w.shared->stats.used[u], used[u]);
		ck_assert_uint_eq(w.shared->stats.count[u], count[u]);
		all += used[u];
	}
	ck_assert_uint_ge(w.shared->stats.reserved, all);
	ck_assert_uint_le(w.shared->stats.reserved, w.shared->header.size);
}

START_TEST(random_operations)
{
	for (int i = 0; i < 60000; i++) {
		struct block *b = &blocks[rng_below(BLOCKS)];

		if (b->ref)
			release(b);
		else
			allocate(b);
		if (i % 5000 == 0)
			check_statistics();
	}
	for (int i = 0; i < BLOCKS; i++)
		if (blocks[i].ref)
			release(&blocks[i]);
	check_statistics();
}
END_TEST

START_TEST(freed_memory_is_used_again)
{
	uint64_t reserved;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < BLOCKS; i++) {
			blocks[i] = (struct block){.n = 300, .mark = (uint64_t)i};
			blocks[i].ref = arena_alloc(w.arena, 300, ARENA_ENTRY);
			ck_assert(blocks[i].ref);
			mark(&blocks[i]);
		}
		if (!round)
			reserved = w.shared->stats.reserved;
		ck_assert_uint_eq(w.shared->stats.reserved, reserved);
		for (int i = 0; i < BLOCKS; i++)
			release(&blocks[i]);
	}
}
END_TEST

/* --- Running out -------------------------------------------------------------------- */

START_TEST(out_of_address_space)
{
	struct world small;
	uint32_t last = 0, ref;
	uint64_t n = 0;

	world_open(&small, 3 << 20);
	while ((ref = arena_alloc(small.arena, 1000, ARENA_OTHER))) {
		last = ref;
		n++;
	}
	ck_assert_uint_gt(n * 1024, 2 << 20);
	ck_assert_uint_eq(small.shared->stats.count[ARENA_OTHER], n);
	ck_assert_uint_eq(arena_alloc(small.arena, ARENA_ALLOC_MAX, ARENA_OTHER), 0);
	/* what is given back serves the next */
	arena_free(small.arena, last, 1000, ARENA_OTHER);
	ck_assert_uint_eq(arena_alloc(small.arena, 1000, ARENA_OTHER), last);
	ck_assert_uint_eq(arena_alloc(small.arena, 1000, ARENA_OTHER), 0);
	world_close(&small);
}
END_TEST

START_TEST(fails_when_told)
{
	for (int64_t k = 0; k < 5; k++) {
		arena_fail_after(w.arena, k);
		for (int64_t i = 0; i < 8; i++)
			ck_assert_int_eq(!arena_alloc(w.arena, 100, ARENA_OTHER), i == k);
	}
	arena_fail_after(w.arena, 0);
	arena_fail_after(w.arena, -1);
	ck_assert(arena_alloc(w.arena, 100, ARENA_OTHER));
}
END_TEST

START_TEST(refuses_what_is_too_large)
{
	ck_assert_uint_eq(arena_alloc(w.arena, ARENA_ALLOC_MAX + 1, ARENA_OTHER), 0);
	ck_assert_uint_eq(arena_alloc(w.arena, SIZE_MAX, ARENA_OTHER), 0);
	ck_assert(arena_alloc(w.arena, ARENA_ALLOC_MAX, ARENA_OTHER));
}
END_TEST

START_TEST(opens_only_inside_a_writable_segment)
{
	struct seg read_only = w.seg;
	struct arena_stats stats;
	struct err e = {0};
	struct arena *a;

	read_only.writable = false;
	ck_assert_int_eq(arena_open(&a, &read_only, 4096, &stats, &e), WEFT_EINVAL);
	ck_assert_int_eq(arena_open(&a, &w.seg, 8, &stats, &e), WEFT_EINVAL);
	ck_assert_int_eq(arena_open(&a, &w.seg, w.seg.size_max, &stats, &e), WEFT_EINVAL);
	ck_assert(!a);
}
END_TEST

START_TEST(uses_have_names)
{
	ck_assert_str_eq(arena_use_name(ARENA_ENTRY), "entries");
	for (int u = 0; u < ARENA_USE_COUNT; u++)
		ck_assert(arena_use_name((enum arena_use)u)[0]);
}
END_TEST

static void cases(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, classes_waste_little);
	tcase_add_test(tc, random_operations);
	tcase_add_test(tc, freed_memory_is_used_again);
	tcase_add_test(tc, out_of_address_space);
	tcase_add_test(tc, fails_when_told);
	tcase_add_test(tc, refuses_what_is_too_large);
	tcase_add_test(tc, opens_only_inside_a_writable_segment);
	tcase_add_test(tc, uses_have_names);
}

world_suite("arena", cases)
