/* test_ordered.c - the ordered index against a sorted array. */
#include "tests/unit/churn.h"
#include "tests/unit/litmus.h"

#define MODEL_MAX 20000

/* Sanitizers look at what the code does, whatever the model says; and where there is one thread,
 * all that they find they find in fewer rounds.  Sizes stay where the depth of the tree is theirs. */
#define WAVE	   (SANITIZED ? 2000 : 6000) /* operations until it shrinks, or grows again */
#define CHECK_EACH (SANITIZED ? 8 : 1)	     /* that many rounds */

/* All entries that should be there, in order. */
struct model {
	uint32_t ref[MODEL_MAX];
	uint32_t n;
};

static struct world w;
static struct ordered o;
static struct model model;

/* How many of the model are <= key. */
static uint32_t model_after(const struct ordered_key *k)
{
	uint32_t lo = 0, hi = model.n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		struct ordered_key m = ordered_key_of(w.base, model.ref[mid]);

		if (ordered_key_cmp(&m, k) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void model_insert(uint32_t ref)
{
	struct ordered_key k = ordered_key_of(w.base, ref);
	uint32_t at = model_after(&k);

	ck_assert_uint_lt(model.n, MODEL_MAX);
	memmove(model.ref + at + 1, model.ref + at, (model.n++ - at) * sizeof(uint32_t));
	model.ref[at] = ref;
}

static uint32_t model_remove(uint32_t at)
{
	uint32_t ref = model.ref[at];

	memmove(model.ref + at, model.ref + at + 1, (--model.n - at) * sizeof(uint32_t));
	return ref;
}

static void check_all(void)
{
	struct ordered_pos pos;
	struct err e = {0};
	uint32_t ref, i = 0;

	ck_assert_msg(ordered_check(&o, &w.shared->root, &e) == 0, "%s", e.msg);
	ck_assert_uint_eq(ordered_items(&w.shared->root), model.n);
	ordered_seek(&pos, w.base, &w.shared->root, NULL);
	/* without an assertion for each: it writes to a file */
	while ((ref = ordered_next(&pos, w.base)) && i < model.n && ref == model.ref[i])
		i++;
	ck_assert_msg(!ref && i == model.n, "entry %u of %u is %u", i, model.n, ref);
}

static void check_seek(const struct ordered_key *k)
{
	struct ordered_pos pos;
	uint32_t at = model_after(k);

	ordered_seek(&pos, w.base, &w.shared->root, k);
	for (int i = 0; i < 5; i++, at++)
		ck_assert_uint_eq(ordered_next(&pos, w.base), at < model.n ? model.ref[at] : 0);
}

static void setup(void)
{
	seed_from_environment();
	world_open(&w, UINT64_C(1) << 30);
	ordered_init(&o, &w.m);
	model.n = 0;
}

static void teardown(void)
{
	world_close(&w);
}

/* Nothing left of the tree once everything is removed. */
static void check_nothing_left(void)
{
	check_all();
	ck_assert_uint_eq(ordered_memory(&o, &w.shared->root), 0);
	world_reclaim_all(&w);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), 0);
}

static void insert(uint32_t ref)
{
	ck_assert_int_eq(ordered_insert(&o, &w.shared->root, ref), 0);
	model_insert(ref);
}

static void remove_at(uint32_t at)
{
	uint32_t ref = model_remove(at);

	ck_assert(ordered_remove(&o, &w.shared->root, ref));
	ck_assert(!ordered_remove(&o, &w.shared->root, ref));
	world_retire_entry(&w, ref);
}

/* Up to `max` entries at once, mostly in ascending order, now and then without
 * memory for all. */
static void insert_many(uint32_t (*make)(void *arg), void *arg, uint32_t max)
{
	uint32_t refs[300], n = 1 + rng_below(max), done = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i, ref = make(arg);
		struct ordered_key k = ordered_key_of(w.base, ref), other;

		for (; at && rng_below(50); at--) {
			other = ordered_key_of(w.base, refs[at - 1]);
			if (ordered_key_cmp(&other, &k) <= 0)
				break;
			refs[at] = refs[at - 1];
		}
		refs[at] = ref;
	}
	while (done < n) {
		bool scarce = rng_below(4) == 0;
		uint32_t now;

		if (scarce)
			arena_fail_after(w.arena, rng_below(8));
		now = ordered_insert_many(&o, &w.shared->root, refs + done, n - done);
		arena_fail_after(w.arena, -1);
		ck_assert(scarce || now == n - done);
		for (uint32_t i = 0; i < now; i++)
			model_insert(refs[done + i]);
		done += now;
		if (scarce && rng_below(CHECK_EACH) == 0)
			check_all();
	}
}

/* --- Order ---------------------------------------------------------------------- */

START_TEST(order_is_that_of_one_string)
{
	static const char *const ordered[][2] = {
		{"", "z"}, /* cluster scope: "z" alone, see below */
		{"a-b", "x"}, {"a", ""},   {"a", "x"},	{"a", "x-1"},
		{"a", "x.1"}, {"a", "x1"}, {"a0", "x"}, {"ab", "a"},
	};
	struct ordered_key last = {0}, k;

	for (size_t i = 1; i < countof(ordered); i++) {
		k = (struct ordered_key){str_of(ordered[i][0]), str_of(ordered[i][1]), 0};
		ck_assert_int_lt(ordered_key_cmp(&last, &k), 0);
		last = k;
		k.created_rv = 7;
		ck_assert_int_lt(ordered_key_cmp(&last, &k), 0);
		ck_assert_int_gt(ordered_key_cmp(&k, &last), 0);
		ck_assert_int_eq(ordered_key_cmp(&k, &k), 0);
	}
}
END_TEST

/* --- Random operations ------------------------------------------------------------ */

struct shape {
	const char *what;
	const char *ns[4];
	const char *format;
	uint32_t names;
};

static const struct shape shapes[] = {
	{"pods of one template", {"default"}, "nginx-deployment-7fb96c846b-%05x", 100000},
	{"few names, many lives", {"a", "a-b", "ab", "b"}, "x%u", 40},
	{"numbers", {"kube-system", "kube-public", "k"}, "%u", 100000},
	{"cluster scope", {NULL}, "node-%u.example.org", 5000},
	{"long common beginnings",
	 {"n"},
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%u",
	 9000},
};

static uint32_t random_entry(const struct shape *s, const string_ref *ns, uint64_t rv)
{
	char name[256];

	snprintf(name, sizeof(name), s->format, rng_below(s->names));
	return world_entry(&w, ns[rng_below(4)], name, rv);
}

static void seek_at_random(const struct shape *s, const string_ref *ns)
{
	uint32_t ref = random_entry(s, ns, rng_below(2) ? 0 : UINT64_MAX);
	struct ordered_key k = ordered_key_of(w.base, ref);

	check_seek(&k);
	k.name.n = rng_below(k.name.n + 1);
	check_seek(&k);
	world_free_entry(&w, ref);
}

START_TEST(random_operations)
{
	const struct shape *s = &shapes[_i];
	string_ref ns[4] = {{0}};

	for (int i = 0; i < 4; i++)
		if (s->ns[0])
			ns[i] = world_string(&w, s->ns[i] ? s->ns[i] : s->ns[0]);
	for (uint64_t rv = 1; rv < 4 * WAVE; rv++) {
		/* grows, then shrinks, then grows again */
		uint32_t grow = rv / WAVE % 2 ? 35 : 65;

		if (rng_below(100) < grow)
			insert(random_entry(s, ns, rv));
		else if (model.n)
			remove_at(rng_below(model.n));
		if (rng_below(20) == 0)
			seek_at_random(s, ns);
		if (rv % 1000 == 0)
			check_all();
		if (rng_below(50) == 0)
			world_reclaim(&w);
	}
	while (model.n)
		remove_at(rng_below(model.n));
	check_nothing_left();
}
END_TEST

struct maker {
	const struct shape *s;
	string_ref ns[4];
	uint64_t rv;
};

static uint32_t make_random(void *arg)
{
	struct maker *m = arg;

	return random_entry(m->s, m->ns, m->rv++);
}

START_TEST(many_at_once)
{
	struct maker m = {&shapes[_i], {{0}}, 1};

	for (int i = 0; i < 4; i++)
		if (m.s->ns[0])
			m.ns[i] = world_string(&w, m.s->ns[i] ? m.s->ns[i] : m.s->ns[0]);
	for (int round = 0; round < 200; round++) {
		insert_many(make_random, &m, round % 3 ? 300 : 3);
		for (uint32_t i = rng_below(round % 20 ? 60 : 3000); i && model.n; i--)
			remove_at(rng_below(model.n));
		if (rng_below(3) == 0)
			world_reclaim(&w);
		if (model.n > MODEL_MAX - 600)
			while (model.n)
				remove_at(rng_below(model.n));
		if (round % CHECK_EACH == 0)
			check_all();
	}
	while (model.n)
		remove_at(rng_below(model.n));
	check_nothing_left();
}
END_TEST

START_TEST(ascending_runs_fill_leaves)
{
	string_ref ns = world_string(&w, "default");
	uint64_t per_entry;
	char name[64];

	for (unsigned i = 0; i < 15000; i++) {
		snprintf(name, sizeof(name), "web-%06u", i);
		insert(world_entry(&w, ns, name, i));
	}
	check_all();
	per_entry = ordered_memory(&o, &w.shared->root) / model.n;
	ck_assert_uint_le(per_entry, 14);
	while (model.n)
		remove_at(0);
	check_nothing_left();
}
END_TEST

/* --- Memory ------------------------------------------------------------------------ */

START_TEST(insert_without_memory_changes_nothing)
{
	string_ref ns[4];
	uint32_t refused = 0;

	for (int i = 0; i < 4; i++)
		ns[i] = world_string(&w, shapes[2].ns[i % 3]);
	for (uint64_t rv = 1; rv < 4000; rv++) {
		uint32_t ref = random_entry(&shapes[2], ns, rv);

		for (int64_t k = 0;; k++) {
			uint64_t used = world_used(&w, ARENA_INDEX);
			int rc;

			arena_fail_after(w.arena, k);
			rc = ordered_insert(&o, &w.shared->root, ref);
			arena_fail_after(w.arena, -1);
			if (!rc)
				break;
			refused++;
			ck_assert_int_eq(rc, WEFT_ENOMEM);
			ck_assert_uint_eq(world_used(&w, ARENA_INDEX), used);
			if (rv % (16 * CHECK_EACH) == 0 || k > 1)
				check_all();
		}
		model_insert(ref);
		world_reclaim(&w);
	}
	ck_assert_uint_gt(refused, 300);
	check_all();
}
END_TEST

START_TEST(remove_works_without_memory)
{
	string_ref ns[4];

	for (int i = 0; i < 4; i++)
		ns[i] = world_string(&w, shapes[2].ns[i % 3]);
	for (uint64_t rv = 1; rv < 4000; rv++)
		insert(random_entry(&shapes[2], ns, rv));
	while (model.n > 100) {
		arena_fail_after(w.arena, rng_below(3));
		remove_at(rng_below(model.n));
		arena_fail_after(w.arena, -1);
		if (model.n % 64 == 0)
			check_all();
	}
	/* What could not be merged then is merged by later removals. */
	while (model.n)
		remove_at(rng_below(model.n));
	check_all();
	world_reclaim_all(&w);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), ordered_memory(&o, &w.shared->root));
}
END_TEST

/* --- Readers while the writer churns ------------------------------------------------ */

/* Entries with numbers divisible by 8 are always there, the others come and go. */
#define NUMBERS 8000
#define ALWAYS	8

static uint32_t numbered[NUMBERS]; /* entry, 0: not there now */
static string_ref churn_ns;

static void put_number(struct world *world, uint32_t i)
{
	char text[32];

	snprintf(text, sizeof(text), "web-%06u", i);
	numbered[i] = world_entry(world, churn_ns, text, i);
	weft_assert(ordered_insert(&o, &world->shared->root, numbered[i]) == 0);
}

/* The entry's number, or -1 if it is not what an entry must be. */
static int64_t number_of(const struct world *world, uint32_t ref)
{
	const struct entry *e = ref_ptr(world->base, ref);
	char want[32];

	snprintf(want, sizeof(want), "web-%06u", (unsigned)e->created_rv);
	return str_eq(entry_name(e), str_of(want)) ? (int64_t)e->created_rv : -1;
}

/* From anywhere, a while: ascending, and nothing left out that is always there. */
static bool walk_a_while(struct world *world)
{
	uint32_t steps = rng_below(200) ? rng_below(300) : NUMBERS, ref = 0;
	int64_t last = (int64_t)rng_below(NUMBERS + 10) - 1, i;
	struct ordered_pos pos;
	char text[32];
	struct ordered_key k;

	snprintf(text, sizeof(text), "web-%06u", (unsigned)last);
	k = (struct ordered_key){STR("default"), str_of(text), UINT64_MAX};
	ordered_seek(&pos, world->base, &world->shared->root, last < 0 ? NULL : &k);
	for (; steps > 0 && (ref = ordered_next(&pos, world->base)); steps--) {
		i = number_of(world, ref);
		/* the number before the first one that is always there and above `last` */
		if (i <= last || i > last / ALWAYS * ALWAYS + ALWAYS)
			return false;
		last = i;
	}
	return ref || steps == 0 || last >= NUMBERS - ALWAYS;
}

static void change_numbers(struct world *world)
{
	static uint32_t calls, at, length;
	/* in waves, so that leaves fill, split, become empty and merge */
	bool want = ++calls / 30000 % 2 == 0, there;

	if (!length--) { /* runs, up or anywhere */
		at = rng_below(NUMBERS);
		length = rng_below(2) ? rng_below(300) : 0;
	}
	at = (at + 1) % NUMBERS;
	there = numbered[at] != 0;
	if (at % ALWAYS == 0 || (there == want && rng_below(3)))
		return;
	if (!there) {
		put_number(world, at);
		return;
	}
	weft_assert(ordered_remove(&o, &world->shared->root, numbered[at]));
	world_retire_entry(world, numbered[at]);
	numbered[at] = 0;
}

/* The same walk in slow motion: the writer does something after every step. */
START_TEST(iteration_goes_on_through_any_change)
{
	churn_ns = world_string(&w, "default");
	for (uint32_t i = 0; i < NUMBERS; i += ALWAYS)
		put_number(&w, i);
	for (int walk = 0; walk < (SANITIZED ? 2 : 6); walk++) {
		uint32_t always = 0, ref, changes = 1 + rng_below(SANITIZED ? 50 : 200);
		struct ordered_pos pos;
		int64_t last = -1;

		ordered_seek(&pos, w.base, &w.shared->root, NULL);
		while ((ref = ordered_next(&pos, w.base))) {
			int64_t i = number_of(&w, ref);

			ck_assert_int_gt(i, last);
			last = i;
			always += i % ALWAYS == 0;
			for (uint32_t k = 0; k < changes; k++)
				change_numbers(&w);
		}
		ck_assert_uint_eq(always, NUMBERS / ALWAYS);
		world_reclaim_all(&w);
	}
}
END_TEST

START_TEST(readers_miss_nothing)
{
	struct churn c = {.w = &w, .read_once = walk_a_while, .write_once = change_numbers};
	struct err e = {0};

	churn_ns = world_string(&w, "default");
	for (uint32_t i = 0; i < NUMBERS; i += ALWAYS)
		put_number(&w, i);
	churn(&c, (enum churn_mode)_i);
	ck_assert_msg(ordered_check(&o, &w.shared->root, &e) == 0, "%s", e.msg);
	world_reclaim_all(&w);
	ck_assert_uint_eq(world_used(&w, ARENA_INDEX), ordered_memory(&o, &w.shared->root));
}
END_TEST

#define KILLS 25

/* Readers find all that was there, whatever the writer was doing. */
START_TEST(readers_go_on_after_the_writer_was_killed)
{
	struct churn c = {.w = &w, .write_once = change_numbers};

	for (int round = 0; round < KILLS; round++) {
		churn_ns = world_string(&w, "default");
		memset(numbered, 0, sizeof(numbered));
		for (uint32_t i = 0; i < NUMBERS; i += ALWAYS)
			put_number(&w, i);
		churn_killed_writer(&c);
		for (int i = 0; i < 100; i++)
			ck_assert(walk_a_while(&w));
		teardown();
		world_open(&w, UINT64_C(1) << 30);
		ordered_init(&o, &w.m);
	}
}
END_TEST

static void cases(TCase *tc)
{
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, order_is_that_of_one_string);
	tcase_add_loop_test(tc, random_operations, 0, countof(shapes));
	tcase_add_loop_test(tc, many_at_once, 0, countof(shapes));
	tcase_add_test(tc, ascending_runs_fill_leaves);
	tcase_add_test(tc, insert_without_memory_changes_nothing);
	tcase_add_test(tc, remove_works_without_memory);
	tcase_add_test(tc, iteration_goes_on_through_any_change);
	tcase_add_test(tc, readers_go_on_after_the_writer_was_killed);
	tcase_add_loop_test(tc, readers_miss_nothing, 0, CHURN_MODES);
}

world_suite("ordered", cases)
