/* test_refset.c - the set of references against an array of what should be in it. */
#include "tests/unit/churn.h"

#define REFS	 20000
#define CHURNED	 2000
#define BLOCK	 112
#define PER_TURN 64 /* looks in one read section */

static struct world w;
static struct refset set;

static uint32_t refs[REFS];
static bool present[REFS];

static bool has(uint32_t ref)
{
	return refset_has(w.base, &w.shared->set, ref);
}

/* Near each other, and a few in far chunks: the first and the last there are. */
static void draw_refs(void)
{
	uint32_t near = 1 + rng_below(4 * REFSET_CHUNK);

	for (uint32_t i = 0; i < REFS; i++) {
		refs[i] = near + 7 * i;
		present[i] = false;
	}
	refs[1] = 0;
	refs[2] = UINT32_MAX;
	refs[3] = UINT32_MAX - REFSET_CHUNK;
}

static void setup(void)
{
	seed_from_environment();
	world_open(&w, UINT64_C(1) << 30);
	refset_init(&set, &w.shared->set, &w.m);
	draw_refs();
}

static void teardown(void)
{
	world_close(&w);
}

static void toggle(uint32_t i)
{
	if (present[i])
		refset_remove(&set, refs[i]);
	else
		ck_assert_int_eq(refset_add(&set, refs[i]), 0);
	present[i] = !present[i];
}

static bool is_present(uint32_t ref)
{
	uint32_t near = (ref - refs[0]) / 7;

	for (uint32_t i = 1; i < 4; i++)
		if (refs[i] == ref)
			return present[i];
	return near < REFS && refs[near] == ref && present[near];
}

/* A walk shows what is there, in order and no more than was asked for at a time. */
static void check_walk(uint64_t n)
{
	uint32_t some[100], got, max = 1 + rng_below(100);
	uint64_t from = 0, before = 0;

	while ((got = refset_walk(w.base, &w.shared->set, &from, some, max))) {
		ck_assert_uint_le(got, max);
		for (uint32_t i = 0; i < got; i++, n--) {
			ck_assert_uint_ge(some[i], before);
			ck_assert(is_present(some[i]));
			before = some[i] + UINT64_C(1);
		}
	}
	ck_assert_uint_eq(n, 0);
}

static void check_all(void)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < REFS; i++) {
		ck_assert_int_eq(has(refs[i]), present[i]);
		n += present[i];
	}
	for (uint32_t i = 4; i < REFS; i++)
		ck_assert(!has(refs[i] + 1 + rng_below(6)));
	ck_assert_uint_eq(refset_count(&set), n);
	check_walk(n);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), refset_memory(&set));
}

START_TEST(random_operations)
{
	check_all();
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < REFS; i++)
			toggle(rng_below(REFS));
		for (uint32_t i = 1; i < 4; i++)
			toggle(i);
		check_all();
	}
}
END_TEST

START_TEST(add_without_memory_changes_nothing)
{
	arena_fail_after(w.arena, 0);
	ck_assert_int_eq(refset_add(&set, refs[5]), WEFT_ENOMEM);
	check_all();
	toggle(5);
	arena_fail_after(w.arena, 0);
	toggle(5);
	toggle(5); /* the chunk is there */
	arena_fail_after(w.arena, -1);
	check_all();
}
END_TEST

/* --- Readers beside the writer -------------------------------------------------- */

/* Blocks that say which they are while they are in the set; then they are given back,
 * and used by others. */
static uint64_t *block_at(const struct world *world, uint32_t ref)
{
	return ref_ptr(world->base, ref);
}

static bool look_at_some(struct world *world)
{
	uint32_t held[PER_TURN], n = 0;
	uint64_t top = atomic_load_explicit(&world->shared->header.size, memory_order_acquire);

	for (uint32_t i = 0; i < PER_TURN; i++) {
		uint32_t ref = rng_below((uint32_t)(top / ARENA_UNIT));

		if (refset_has(world->base, &world->shared->set, ref))
			held[n++] = ref;
	}
	/* What was there stays until the section ends. */
	for (uint32_t i = 0; i < n; i++)
		if (*block_at(world, held[i]) != held[i])
			return false;
	return true;
}

/* So does what a walk finds. */
static bool look_at_all(struct world *world)
{
	uint32_t held[CHURNED], n;
	uint64_t from = 0;

	n = refset_walk(world->base, &world->shared->set, &from, held, CHURNED);
	for (uint32_t i = 0; i < n; i++)
		if (*block_at(world, held[i]) != held[i])
			return false;
	return true;
}

static bool look(struct world *world)
{
	return rng_below(64) ? look_at_some(world) : look_at_all(world);
}

static void toggle_block(struct world *world)
{
	static uint32_t blocks[CHURNED];
	uint32_t i = rng_below(CHURNED);

	if (blocks[i]) {
		refset_remove(&set, blocks[i]);
		world_retire_as(world, blocks[i], BLOCK, ARENA_ENTRY);
		blocks[i] = 0;
		return;
	}
	blocks[i] = arena_alloc(world->arena, BLOCK, ARENA_ENTRY);
	weft_assert(blocks[i]);
	*block_at(world, blocks[i]) = blocks[i];
	weft_assert(refset_add(&set, blocks[i]) == 0);
}

START_TEST(what_readers_find_is_whole)
{
	struct churn c = {.w = &w, .read_once = look, .write_once = toggle_block};

	churn(&c, (enum churn_mode)_i);
	world_reclaim_all(&w);
	ck_assert_uint_eq(refset_count(&set) * BLOCK, world_used(&w, ARENA_ENTRY));
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), refset_memory(&set));
}
END_TEST

static void cases(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, random_operations);
	tcase_add_test(tc, add_without_memory_changes_nothing);
	tcase_add_loop_test(tc, what_readers_find_is_whole, 0, CHURN_MODES);
}

world_suite("refset", cases)
