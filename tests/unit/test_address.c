/* test_address.c - what a node process leaves to its successor about addresses: any number of
 * lives, each killed at some moment, against what pods show. */
#include "facts.h"
#include "procs/node/address.h"

#define CIDR  "10.0.0.0/13"
#define COUNT (1u << 19)
#define PODS  20000u
#define LIVES 60

/* What outlives a process: pods that show addresses, the word that it leaves, and the map. */
static uint32_t shown[PODS];   /* index in the range, 0: none */
static uint32_t holder[PODS];  /* the pod's number; another when it is made anew */
static uint32_t pod_of[COUNT]; /* who shows it, + 1 */
static uint32_t last_holder;
static _Atomic uint64_t word;
static uint32_t epoch, share, shares;

/* The process of now. */
static struct addresses a;
static bool walking;
static uint32_t walked, floor_was, top; /* pods looked at; the highest given or marked */

static uint32_t at_random(uint32_t n)
{
	return (uint32_t)random() % n;
}

static void mark(uint32_t pod)
{
	if (!shown[pod])
		return;
	address_mark(&a, a.first + shown[pod], holder[pod]);
	top = shown[pod] > top ? shown[pod] : top;
}

static void look_at_all(void)
{
	for (uint32_t i = 0; i < PODS; i++)
		mark(i);
	walking = false;
}

static void begin(void)
{
	uint64_t left = atomic_load(&word);

	ck_assert_int_eq(addresses_init(&a, STR(CIDR), share, shares), 0);
	walked = top = 0;
	floor_was = (uint32_t)left;
	walking = addresses_above(&a, left, epoch);
	ck_assert(!walking || left >> 32 == epoch);
	if (!walking)
		look_at_all();
	addresses_leave(&a, &word, epoch);
}

/* It says no less than all that is held, of this share, also where nobody has looked yet. */
static void judge_word(void)
{
	uint32_t least = top ? top + 1 : 0;

	if (walking && floor_was > least)
		least = floor_was;
	ck_assert_uint_eq(atomic_load(&word), (uint64_t)epoch << 32 | least);
}

static void end_walk(void)
{
	while (walked < PODS)
		mark(walked++);
	addresses_known(&a);
	walking = false;
	judge_word();
}

static void take(uint32_t pod)
{
	uint32_t ip = address_take(&a, holder[pod]), i = ip - a.first;

	if (!ip) {
		ck_assert(walking); /* there are many more than pods */
		end_walk();
		return;
	}
	ck_assert_uint_lt(i, COUNT);
	ck_assert_uint_eq(i / 256 % shares, share);
	ck_assert(!walking || i >= floor_was);
	ck_assert_msg(!pod_of[i], "%u is given to %u, and %u shows it", i, pod, pod_of[i] - 1);
	shown[pod] = i;
	pod_of[i] = pod + 1;
	top = i > top ? i : top;
}

/* Its process may not have looked at it. */
static void go(uint32_t pod)
{
	address_give(&a, a.first + shown[pod], holder[pod]);
	pod_of[shown[pod]] = 0;
	shown[pod] = 0;
	holder[pod] = ++last_holder;
}

static void step(void)
{
	uint32_t pod = at_random(PODS);

	if (shown[pod])
		go(pod);
	else
		take(pod);
	if (walking && !at_random(50))
		for (uint32_t n = 0; n < 1000 && walked < PODS; n++)
			mark(walked++);
	if (walking && walked == PODS)
		end_walk();
}

/* Another number of processes: there may be addresses of pods anywhere in our share then. */
static void reshard(void)
{
	epoch++;
	shares = 1 + at_random(3);
	share = at_random(shares);
}

static void set_up(void)
{
	srandom(facts_seed());
	for (uint32_t i = 0; i < PODS; i++)
		holder[i] = ++last_holder;
	reshard();
}

START_TEST(whoever_is_killed_leaves_above_what_nobody_has)
{
	uint32_t walks = 0, cut = 0;

	set_up();
	for (int life = 0; life < LIVES; life++) {
		begin();
		judge_word();
		walks += walking;
		for (uint32_t n = at_random(2) ? at_random(200000) : at_random(500); n; n--)
			step();
		judge_word();
		cut += walking;
		addresses_free(&a);
		if (!at_random(8))
			reshard();
	}
	ck_assert_uint_gt(walks, LIVES / 4);
	ck_assert_uint_gt(cut, 0);
}
END_TEST

/* Under a floor all above it are given, each once; then those below, too. */
START_TEST(above_the_mark_is_room_for_so_many)
{
	uint32_t n = 0;
	uint64_t left = UINT64_C(7) << 32 | (COUNT - 200000);

	ck_assert_int_eq(addresses_init(&a, STR(CIDR), 0, 1), 0);
	ck_assert(addresses_above(&a, left, 7));
	while (address_take(&a, 1))
		n++;
	ck_assert_uint_eq(n, 200000 - 1);
	address_give(&a, a.first + COUNT - 2, 1);
	ck_assert_uint_eq(address_take(&a, 1), 0);
	addresses_known(&a);
	while (address_take(&a, 1))
		n++;
	ck_assert_uint_eq(n, COUNT - 2 + 1);
	addresses_free(&a);
}
END_TEST

START_TEST(what_is_of_no_use_changes_nothing)
{
	static const uint64_t words[] = {
		0,
		UINT64_C(6) << 32 | 1000, /* of another map */
		UINT64_C(8) << 32 | 1000,
		UINT64_C(7) << 32,	   /* nothing was known yet */
		UINT64_C(7) << 32 | COUNT, /* no room */
		UINT64_C(7) << 32 | (COUNT - 65535),
		UINT64_C(7) << 32 | (COUNT + 1), /* rubbish */
		UINT64_C(7) << 32 | UINT32_MAX,
	};

	ck_assert_int_eq(addresses_init(&a, STR(CIDR), 0, 1), 0);
	for (size_t i = 0; i < countof(words); i++)
		ck_assert_msg(!addresses_above(&a, words[i], 7), "%zu", i);
	ck_assert_uint_eq(address_take(&a, 1), a.first + 1);
	ck_assert(addresses_above(&a, UINT64_C(7) << 32 | 1000, 7));
	ck_assert_uint_eq(address_take(&a, 1), a.first + 1000);
	addresses_free(&a);
}
END_TEST

/* What a client has written counts, where nobody else has it. */
START_TEST(an_address_is_noted_for_whom_it_is_free)
{
	uint32_t ip;

	ck_assert_int_eq(addresses_init(&a, STR(CIDR), 0, 1), 0);
	addresses_leave(&a, &word, 1);
	ip = address_take(&a, 1);
	address_note(&a, ip, 2);
	address_give(&a, ip, 2);
	ck_assert_uint_eq(a.held, 1);
	address_note(&a, ip + 5, 2);
	ck_assert_uint_eq(a.held, 2);
	ck_assert_uint_eq((uint32_t)atomic_load(&word), ip + 6 - a.first);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_ne(address_take(&a, 3), ip + 5);
	address_note(&a, a.first - 1, 2); /* none of ours */
	address_note(&a, 0, 2);
	ck_assert_uint_eq(a.held, 102);
	addresses_free(&a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("address");
	TCase *tc = tcase_create("address");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, whoever_is_killed_leaves_above_what_nobody_has);
	tcase_add_test(tc, above_the_mark_is_room_for_so_many);
	tcase_add_test(tc, what_is_of_no_use_changes_nothing);
	tcase_add_test(tc, an_address_is_noted_for_whom_it_is_free);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
