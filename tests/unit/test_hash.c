/* test_hash.c - the hash index against an array of what should be in it. */
#include <sys/ptrace.h>

#include "tests/unit/churn.h"
#include "tests/unit/litmus.h"

#define ITEMS	   60000
#define OPERATIONS (SANITIZED ? 60000 : 200000) /* sanitizers find in fewer what they find */

static struct world w;
static struct hash h;

/* Item i + 1 (a reference is never 0) has hash hashes[i]. */
static uint32_t hashes[ITEMS];
static bool present[ITEMS];

static bool is_key(const char *base, uint32_t ref, const void *key)
{
	(void)base;
	return ref == *(const uint32_t *)key;
}

static bool found(uint32_t i)
{
	uint32_t key = i + 1;

	return hash_find(w.base, &w.shared->table, hashes[i], is_key, &key) == key;
}

static void setup(void)
{
	seed_from_environment();
	world_open(&w, UINT64_C(1) << 30);
	ck_assert_int_eq(hash_init(&h, &w.shared->table, &w.m), 0);
	memset(present, 0, sizeof(present));
}

static void teardown(void)
{
	world_close(&w);
}

static void check_all(void)
{
	struct err e = {0};
	uint64_t n = 0;

	ck_assert_msg(hash_check(&h, &e) == 0, "%s", e.msg);
	for (uint32_t i = 0; i < ITEMS; i++) {
		if (found(i) != present[i])
			ck_abort_msg("item %u: found %d, there %d", i, found(i), present[i]);
		n += present[i];
	}
	ck_assert_uint_eq(hash_items(&w.shared->table), n);
	world_reclaim_all(&w);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), hash_memory(&h));
}

/* Without an assertion for each: it writes to a file. */
static void toggle(uint32_t i)
{
	if (present[i] ? !hash_remove(&h, hashes[i], i + 1) : hash_insert(&h, hashes[i], i + 1))
		ck_abort_msg("item %u, there %d", i, present[i]);
	present[i] = !present[i];
}

/* --- Where a hash belongs -------------------------------------------------------- */

START_TEST(bucket_follows_the_count)
{
	for (uint32_t n = 2; n < 3000; n++) {
		uint32_t hash = (uint32_t)rng(), now = hash_bucket_index(hash, n + 1);
		uint32_t before = hash_bucket_index(hash, n);

		ck_assert_uint_lt(now, n + 1);
		/* one more bucket: a hash stays, or goes from the split one to the new */
		if (now != before) {
			ck_assert_uint_eq(now, n);
			ck_assert_uint_eq(before, hash_bucket_index(n, n));
		}
	}
}
END_TEST

/* --- Random operations -------------------------------------------------------------- */

/* Hashes of 32, 12 and 3 bits: the latter make long chains. */
static const uint32_t masks[] = {UINT32_MAX, 0x00000fffu, 0x80000005u};

START_TEST(random_operations)
{
	uint32_t items = _i == 2 ? 600 : ITEMS;

	for (uint32_t i = 0; i < ITEMS; i++)
		hashes[i] = (uint32_t)(rng() >> 32) & masks[_i];
	for (int i = 0; i < OPERATIONS; i++) {
		uint32_t at = rng_below(items);

		/* mostly full, mostly empty, mostly full */
		if (present[at] == (i / (OPERATIONS * 7 / 20) % 2 == 0) && rng_below(4))
			continue;
		toggle(at);
		if (rng_below(100) == 0)
			world_reclaim(&w);
		if (i % (OPERATIONS / 4) == 0)
			check_all();
	}
	for (uint32_t i = 0; i < ITEMS; i++)
		if (present[i])
			toggle(i);
	check_all();
}
END_TEST

START_TEST(replace_takes_the_place)
{
	hashes[0] = hashes[1] = 77;
	toggle(0);
	ck_assert(hash_replace(&h, 77, 1, 2));
	ck_assert(!hash_replace(&h, 77, 1, 2));
	ck_assert(!found(0) && found(1));
	ck_assert(!hash_remove(&h, 77, 1));
	ck_assert(hash_remove(&h, 77, 2));
	ck_assert_uint_eq(hash_items(&w.shared->table), 0);
}
END_TEST

static void mark(void *ctx, uint32_t hash, uint32_t ref)
{
	bool *seen = ctx;

	ck_assert_uint_eq(hash, hashes[ref - 1]);
	ck_assert(!seen[ref - 1]);
	seen[ref - 1] = true;
}

START_TEST(each_shows_all)
{
	static bool seen[ITEMS];

	for (uint32_t i = 0; i < ITEMS; i++) {
		hashes[i] = (uint32_t)(rng() >> 32);
		toggle(i);
	}
	hash_each(&h, mark, seen);
	for (uint32_t i = 0; i < ITEMS; i++)
		ck_assert(seen[i]);
}
END_TEST

START_TEST(expecting_grows_ahead)
{
	uint32_t before;

	hash_expect(&h, ITEMS);
	before = w.shared->table.buckets;
	ck_assert_uint_ge(before * HASH_LOAD, ITEMS);
	for (uint32_t i = 0; i < ITEMS; i++) {
		hashes[i] = (uint32_t)(rng() >> 32);
		toggle(i);
	}
	ck_assert_uint_eq(w.shared->table.buckets, before);
	check_all();
}
END_TEST

START_TEST(memory_for_each_item_is_small)
{
	for (uint32_t i = 0; i < ITEMS; i++) {
		hashes[i] = (uint32_t)(rng() >> 32);
		toggle(i);
	}
	ck_assert_uint_le(hash_memory(&h) / ITEMS, 20);
}
END_TEST

/* --- Memory ------------------------------------------------------------------------- */

START_TEST(insert_without_memory_changes_nothing)
{
	uint32_t refused = 0;

	for (uint32_t i = 0; i < ITEMS; i++)
		hashes[i] = (uint32_t)(rng() >> 32);
	for (uint32_t i = 0; i < ITEMS; i++) {
		arena_fail_after(w.arena, 0);
		if (hash_insert(&h, hashes[i], i + 1)) {
			refused++;
			ck_assert(!found(i));
			arena_fail_after(w.arena, 1 + rng_below(3));
			ck_assert_int_eq(hash_insert(&h, hashes[i], i + 1), 0);
		}
		present[i] = true;
		if (i % 8000 == 0)
			check_all();
	}
	arena_fail_after(w.arena, -1);
	ck_assert_uint_gt(refused, 10);
	check_all();
}
END_TEST

START_TEST(init_without_memory)
{
	struct hash_table t;
	struct hash other;
	uint64_t used = world_used(&w, ARENA_INDEX);

	for (int64_t k = 0; k < 2; k++) {
		arena_fail_after(w.arena, k);
		ck_assert_int_eq(hash_init(&other, &t, &w.m), WEFT_ENOMEM);
		ck_assert_uint_eq(world_used(&w, ARENA_INDEX), used);
	}
}
END_TEST

/* --- Items that move while somebody looks for them ---------------------------------- */

/* A reader stops at an item of the same hash, once, while the writer goes on. */
struct stop {
	uint32_t decoy, wanted;
	void (*meanwhile)(void);
	int stops;
};

static bool stop_at_decoy(const char *base, uint32_t ref, const void *key)
{
	struct stop *s = (struct stop *)key;

	(void)base;
	if (ref == s->decoy && !s->stops++)
		s->meanwhile();
	return ref == s->wanted;
}

static void grow_by_one_round(void)
{
	hash_expect(&h, (uint64_t)w.shared->table.buckets * 2 * HASH_LOAD);
}

/* Both items go to a new bucket while the reader is between them in the old. */
START_TEST(item_that_is_split_away_is_found)
{
	struct stop s = {.decoy = 1, .wanted = 2, .meanwhile = grow_by_one_round};
	uint32_t hash = HASH_CHUNK | 5; /* in bucket 5, then in that of the next round */

	ck_assert_int_eq(hash_insert(&h, hash, 1), 0);
	ck_assert_int_eq(hash_insert(&h, hash, 2), 0);
	ck_assert_uint_eq(hash_find(w.base, &w.shared->table, hash, stop_at_decoy, &s), 2);
	ck_assert_int_gt(s.stops, 0);
	ck_assert_uint_ge(w.shared->table.buckets, 2 * HASH_CHUNK);
}
END_TEST

static void remove_first_in_chain(void)
{
	ck_assert(hash_remove(&h, 5, 1));
}

/* The item leaves the overflow bucket for the first one, which the reader has
 * behind it. */
START_TEST(item_that_moves_forward_in_its_chain_is_found)
{
	struct stop s = {.decoy = 1, .wanted = HASH_SLOTS + 1, .meanwhile = remove_first_in_chain};

	for (uint32_t ref = 1; ref <= HASH_SLOTS + 1; ref++)
		ck_assert_int_eq(hash_insert(&h, 5, ref), 0);
	ck_assert_uint_eq(hash_find(w.base, &w.shared->table, 5, stop_at_decoy, &s), s.wanted);
	ck_assert_int_eq(s.stops, 1);
	ck_assert_uint_eq(w.shared->table.buckets, HASH_CHUNK);
}
END_TEST

/* --- A writer that goes one instruction at a time ------------------------------------- */

#define STAYING 3
#define LEAVING (HASH_SLOTS + 2) /* so that both buckets overflow */

static bool is_ref(const char *base, uint32_t ref, const void *key)
{
	return ref == *(const uint32_t *)key;
}

/* Items 1 to LEAVING go to the bucket that comes next, the others stay in the first. */
static uint32_t hash_of_split(uint32_t ref)
{
	return ref <= LEAVING ? HASH_CHUNK : 0;
}

static void all_are_found(int step)
{
	for (uint32_t i = 1; i <= STAYING + LEAVING; i++)
		ck_assert_msg(hash_find(w.base, &w.shared->table, hash_of_split(i), is_ref, &i) ==
				      i,
			      "item %u is away after step %d", i, step);
}

static void split_once_traced(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	raise(SIGSTOP);
	hash_expect(&h, HASH_CHUNK * HASH_LOAD + 1 - hash_items(&w.shared->table));
	_exit(0);
}

/* On x86 stores are seen in the order in which they are made, so these are all states that a
 * reader can meet. */
START_TEST(no_step_of_a_split_hides_an_item)
{
	int status, steps = 0;
	pid_t pid;

	if (SANITIZED) /* which would add steps of its own, ten times as many */
		return;
	for (uint32_t i = 1; i <= STAYING + LEAVING; i++)
		ck_assert_int_eq(hash_insert(&h, hash_of_split(i), i), 0);
	pid = fork();
	if (!pid)
		split_once_traced();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		printf("nobody may be traced here\n");
		return;
	}
	for (; WIFSTOPPED(status); steps++) {
		all_are_found(steps);
		ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	}
	printf("%d steps\n", steps);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(w.shared->table.buckets, HASH_CHUNK + 1);
	all_are_found(steps);
}
END_TEST

/* --- Readers while the writer churns ------------------------------------------------ */

#define STABLE	3000 /* items that are always there */
#define CHURNED 6000 /* items that come and go, with numbers behind those */

static uint32_t churned[CHURNED]; /* entry, 0: not there now */
static uint32_t churn_mask;

static uint32_t number_hash(uint32_t i)
{
	return (uint32_t)XXH3_64bits(&i, sizeof(i)) & churn_mask;
}

static bool is_numbered(const char *base, uint32_t ref, const void *key)
{
	const struct entry *e = ref_ptr(base, ref);
	char want[16];

	snprintf(want, sizeof(want), "item-%u", *(const uint32_t *)key);
	return str_eq(entry_name(e), str_of(want));
}

static bool look_up_one(struct world *world)
{
	uint32_t i = rng_below(STABLE + CHURNED);
	uint32_t ref =
		hash_find(world->base, &world->shared->table, number_hash(i), is_numbered, &i);
	const struct entry *e;

	if (!ref)
		return i >= STABLE;
	e = ref_ptr(world->base, ref);
	return is_numbered(world->base, ref, &i) && e->created_rv == i && e->name[e->name_len] == 0;
}

static uint32_t put_numbered(struct world *world, uint32_t i)
{
	char text[16];
	uint32_t ref;

	snprintf(text, sizeof(text), "item-%u", i);
	ref = world_entry(world, (string_ref){0}, text, i);
	weft_assert(hash_insert(&h, number_hash(i), ref) == 0);
	return ref;
}

static void toggle_one(struct world *world)
{
	static uint32_t calls;
	uint32_t i = rng_below(CHURNED);
	/* waves: so that buckets split, fill and become empty */
	bool there = churned[i] != 0, want = ++calls / 20000 % 2 == 0;

	if (there == want && rng_below(3))
		return;
	if (there) {
		weft_assert(hash_remove(&h, number_hash(STABLE + i), churned[i]));
		world_retire_entry(world, churned[i]);
		churned[i] = 0;
	} else {
		churned[i] = put_numbered(world, STABLE + i);
	}
}

static void churn_with(uint32_t mask, enum churn_mode mode)
{
	struct churn c = {.w = &w, .read_once = look_up_one, .write_once = toggle_one};
	struct err e = {0};

	churn_mask = mask;
	for (uint32_t i = 0; i < STABLE; i++)
		put_numbered(&w, i);
	churn(&c, mode);
	ck_assert_msg(hash_check(&h, &e) == 0, "%s", e.msg);
	world_reclaim_all(&w);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), hash_memory(&h));
}

START_TEST(readers_miss_nothing)
{
	churn_with(UINT32_MAX, (enum churn_mode)_i);
}
END_TEST

/* Few hashes: long chains, and items move within them all the time. */
START_TEST(readers_miss_nothing_in_chains)
{
	churn_with(0x3ff, (enum churn_mode)_i);
}
END_TEST

#define KILLS 25

/* Readers find all that was there, whatever the writer was doing. */
START_TEST(readers_go_on_after_the_writer_was_killed)
{
	struct churn c = {.w = &w, .write_once = toggle_one};

	churn_mask = _i ? 0x3ff : UINT32_MAX;
	for (int round = 0; round < KILLS; round++) {
		for (uint32_t i = 0; i < STABLE; i++)
			put_numbered(&w, i);
		churn_killed_writer(&c);
		for (uint32_t i = 0; i < STABLE; i++)
			weft_assert(hash_find(w.base, &w.shared->table, number_hash(i), is_numbered,
					      &i));
		for (int i = 0; i < CHURNED; i++)
			weft_assert(look_up_one(&w));
		teardown();
		world_open(&w, UINT64_C(1) << 30);
		ck_assert_int_eq(hash_init(&h, &w.shared->table, &w.m), 0);
	}
}
END_TEST

static void cases(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, bucket_follows_the_count);
	tcase_add_loop_test(tc, random_operations, 0, countof(masks));
	tcase_add_test(tc, replace_takes_the_place);
	tcase_add_test(tc, each_shows_all);
	tcase_add_test(tc, expecting_grows_ahead);
	tcase_add_test(tc, memory_for_each_item_is_small);
	tcase_add_test(tc, insert_without_memory_changes_nothing);
	tcase_add_test(tc, init_without_memory);
	tcase_add_test(tc, item_that_is_split_away_is_found);
	tcase_add_test(tc, item_that_moves_forward_in_its_chain_is_found);
	tcase_add_test(tc, no_step_of_a_split_hides_an_item);
	tcase_add_loop_test(tc, readers_go_on_after_the_writer_was_killed, 0, 2);
	tcase_add_loop_test(tc, readers_miss_nothing, 0, CHURN_MODES);
	tcase_add_loop_test(tc, readers_miss_nothing_in_chains, 0, CHURN_MODES);
}

world_suite("hash", cases)
