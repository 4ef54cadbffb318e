/*
 * test_ring.c - rings: against a model, with states that only a dead, stopped
 * or hostile other side leaves behind, between processes and between threads.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ipc_random.h"
#include "litmus.h"
#include "weft/ring.h"

#define SIZE 4096u

/* Both ends as they lie in memory that two processes share. */
struct pair {
	struct ring_in in;
	_Atomic uint64_t note; /* from one process to the other */
	struct ring_out out;
};

static struct pair *pair;
static int bell;
static struct ring prod, cons;

static void set_up(void)
{
	pair = mmap(NULL, sizeof(*pair) + SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	ck_assert_ptr_ne(pair, MAP_FAILED);
	bell = bell_create(NULL);
	ck_assert_int_ge(bell, 0);
	ring_init(&pair->out, SIZE);
	ring_producer(&prod, &pair->out, &pair->in, bell);
	ck_assert_int_eq(ring_consumer(&cons, &pair->out, &pair->in, SIZE, bell), WEFT_OK);
}

static void tear_down(void)
{
	munmap(pair, sizeof(*pair) + SIZE);
	close(bell);
}

/* A record says its number in its first 8 bytes, and repeats a byte made from
 * it up to its end. */
static void write_record(char *p, uint32_t n, uint64_t number)
{
	memcpy(p, &number, sizeof(number));
	memset(p + 8, (int)(number * 7), n - 8);
}

static uint64_t check_record(struct str s)
{
	uint64_t number = 0;
	bool whole = s.n >= 8;

	if (whole)
		memcpy(&number, s.p, sizeof(number));
	for (uint32_t i = 8; i < s.n; i++)
		whole &= (uint8_t)s.p[i] == (uint8_t)(number * 7);
	ck_assert(whole);
	return number;
}

static bool put_record(struct ring *r, uint32_t n, uint64_t number)
{
	char *p = ring_reserve(r, n);

	if (p)
		write_record(p, n, number);
	return p != NULL;
}

/* Waits up to 10 s; false means that nobody rang. */
static bool wait_bell(void)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};
	int n = poll(&fd, 1, 10000);

	bell_clear(bell);
	return n == 1;
}

/* --- One process ---------------------------------------------------------------- */

START_TEST(random_against_a_model)
{
	uint64_t put = 0, committed = 0, got = 0;
	struct str s;

	for (int i = 0; i < 100000; i++) {
		switch (rnd(5)) {
		case 0:
		case 1:
			put += put_record(&prod, 8 + rnd(rnd(20) ? 100 : 2000), put);
			break;
		case 2:
			ring_commit(&prod);
			committed = put;
			break;
		default:
			for (uint32_t n = rnd(10); n && got < committed; n--, got++) {
				ck_assert_int_eq(ring_peek(&cons, &s), 1);
				ck_assert_uint_eq(check_record(s), got);
				ring_next(&cons);
			}
			if (got == committed)
				ck_assert_int_eq(ring_peek(&cons, &s), 0);
			if (rnd(2))
				ring_release(&cons);
		}
	}
	ck_assert_uint_gt(committed, 1000);
	ck_assert_uint_eq(atomic_load(&pair->out.records), committed);
	ck_assert_uint_eq(atomic_load(&pair->in.records), got);
	ck_assert_uint_eq(atomic_load(&pair->in.malformed), 0);
}
END_TEST

START_TEST(full_and_too_big)
{
	char big[SIZE] = {0};
	struct str s;
	int n = 0;

	ck_assert_int_eq(ring_put(&prod, (struct str){big, SIZE / 2}), WEFT_ETOOBIG);
	ck_assert_int_eq(ring_put(&prod, (struct str){big, SIZE / 2 - 4}), WEFT_OK);
	ck_assert_int_eq(ring_put(&prod, (struct str){big, SIZE / 2 - 4}), WEFT_OK);
	ck_assert_uint_eq(ring_used(&prod), SIZE);
	ck_assert_int_eq(ring_put(&prod, (struct str){big, 1}), WEFT_EFULL);
	ck_assert_uint_eq(atomic_load(&pair->out.full), 1);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ring_next(&cons);
	ck_assert_int_eq(ring_put(&prod, (struct str){big, 1}),
			 WEFT_EFULL); /* not yet given back */
	ring_release(&cons);
	while (ring_put(&prod, (struct str){big, 100}) == WEFT_OK)
		n++;
	ck_assert_int_eq(n, (int)(SIZE / 2 / 104));
}
END_TEST

START_TEST(trimmed_and_taken_back)
{
	struct str s;
	char *p;

	p = ring_reserve(&prod, 500);
	memcpy(p, "0123456789", 10);
	ring_trim(&prod, 10);
	ck_assert_ptr_nonnull(ring_reserve(&prod, 1000));
	ring_trim(&prod, 0);
	p = ring_reserve(&prod, 3);
	memcpy(p, "abc", 3);
	ring_commit(&prod);
	ck_assert_uint_eq(ring_used(&prod), 16 + 8);
	ck_assert_uint_eq(atomic_load(&pair->out.records), 2);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ck_str_is(s, "0123456789");
	ring_next(&cons);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ck_str_is(s, "abc");
	ring_next(&cons);
	ck_assert_int_eq(ring_peek(&cons, &s), 0);
}
END_TEST

/* The record that was taken back had wrapped: only the unused end stays. */
START_TEST(taken_back_at_the_end)
{
	char big[SIZE] = {0};
	struct str s;

	ck_assert_int_eq(ring_put(&prod, (struct str){big, 2000}), WEFT_OK);
	ck_assert_int_eq(ring_put(&prod, (struct str){big, 1900}), WEFT_OK);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ring_peek(&cons, &s), 1);
		ring_next(&cons);
	}
	ring_release(&cons);
	ck_assert_ptr_nonnull(ring_reserve(&prod, 1000));
	ring_trim(&prod, 0);
	ring_commit(&prod);
	ck_assert_int_eq(ring_peek(&cons, &s), 0);
	ck_assert(ring_sleep(&cons));
	ring_awake(&cons);
	ck_assert_int_eq(ring_put(&prod, STR("after")), WEFT_OK);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ck_str_is(s, "after");
}
END_TEST

/* What a producer had not committed when it died is not there, and the next
 * one goes on where the last commit ended. */
START_TEST(half_written_is_invisible)
{
	struct ring next;
	struct str s;

	ck_assert_int_eq(ring_put(&prod, STR("whole")), WEFT_OK);
	memset(ring_reserve(&prod, 100), 0xee, 50);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ring_next(&cons);
	ck_assert_int_eq(ring_peek(&cons, &s), 0);
	ring_producer(&next, &pair->out, &pair->in, bell);
	ck_assert_int_eq(ring_put(&next, STR("next")), WEFT_OK);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ck_str_is(s, "next");
}
END_TEST

START_TEST(consumer_starts_where_it_stood)
{
	struct ring again;
	struct str s;

	ring_put(&prod, STR("one"));
	ring_put(&prod, STR("two"));
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ring_next(&cons);
	ring_release(&cons);
	ck_assert_int_eq(ring_consumer(&again, &pair->out, &pair->in, SIZE, bell), WEFT_OK);
	ck_assert_int_eq(ring_peek(&again, &s), 1);
	ck_str_is(s, "two");
}
END_TEST

/* --- A hostile producer ------------------------------------------------------------ */

/* After damage the ring is empty, the damage counted, and a good record passes. */
static void expect_corrupt(int line)
{
	struct str s;

	ck_assert_msg(ring_peek(&cons, &s) == WEFT_ECORRUPT, "line %d", line);
	ck_assert_msg(atomic_load(&pair->in.malformed) == 1, "line %d", line);
	atomic_store(&pair->out.head, (atomic_load(&pair->out.head) + 7) & ~7ull);
	ring_drop(&cons);
	ring_producer(&prod, &pair->out, &pair->in, bell);
	ck_assert_int_eq(ring_put(&prod, STR("good")), WEFT_OK);
	ck_assert_msg(ring_peek(&cons, &s) == 1, "line %d", line);
	ck_str_is(s, "good");
	ring_next(&cons);
	ring_release(&cons);
	atomic_store(&pair->in.malformed, 0);
}

static uint32_t *word_at(uint64_t pos)
{
	return (uint32_t *)(pair->out.data + (pos & (SIZE - 1)));
}

/* Lets the consumer find `length` with `bytes` behind it published. */
static void damage(uint32_t length, uint64_t bytes)
{
	uint64_t head = atomic_load(&pair->out.head);

	*word_at(head) = length;
	atomic_store(&pair->out.head, head + bytes);
}

START_TEST(bad_lengths)
{
	static const uint32_t lengths[] = {0,	 13,	     100,	 SIZE / 2,
					   SIZE, 0x7fffffff, 0xfffffff8, 0xfffffffe};

	for (size_t i = 0; i < countof(lengths); i++) {
		damage(lengths[i], 16);
		expect_corrupt(__LINE__);
	}
}
END_TEST

START_TEST(bad_heads)
{
	damage(4, 4); /* half a record's alignment */
	expect_corrupt(__LINE__);
	damage(4, SIZE + 8); /* further than the ring is long */
	expect_corrupt(__LINE__);
	damage(4, 1ull << 63);
	expect_corrupt(__LINE__);
	damage(4, (uint64_t)-8); /* backwards */
	expect_corrupt(__LINE__);
}
END_TEST

/* What comes after a head with half an alignment is found where a producer may put it. */
START_TEST(half_a_head_is_rounded_down)
{
	struct str s;

	damage(4, 12);
	ck_assert_int_eq(ring_peek(&cons, &s), WEFT_ECORRUPT);
	ck_assert_uint_eq(atomic_load(&pair->in.tail), 8);
	atomic_store(&pair->out.head, 8);
	ring_producer(&prod, &pair->out, &pair->in, bell);
	ck_assert_int_eq(ring_put(&prod, STR("good")), WEFT_OK);
	ck_assert_int_eq(ring_peek(&cons, &s), 1);
	ck_str_is(s, "good");
}
END_TEST

START_TEST(bad_skips)
{
	/* At the start of data there is nothing to skip. */
	damage(0xffffffff, SIZE);
	expect_corrupt(__LINE__);
	/* To behind the head. */
	damage(0xffffffff, 16);
	expect_corrupt(__LINE__);
	/* A record that is cut by the end of data. */
	while ((atomic_load(&pair->out.head) & (SIZE - 1)) != SIZE - 16)
		ring_put(&prod, STR("good")), ring_drop(&cons);
	damage(40, 48);
	expect_corrupt(__LINE__);
}
END_TEST

START_TEST(wrong_size)
{
	struct ring r;

	ck_assert_int_eq(ring_consumer(&r, &pair->out, &pair->in, 2 * SIZE, bell), WEFT_ECORRUPT);
	pair->out.size = 2 * SIZE; /* later, too: nobody looks at it again */
	ck_assert_int_eq(ring_put(&prod, STR("x")), WEFT_OK);
	ck_assert_uint_eq(cons.size, SIZE);
}
END_TEST

/* Random words anywhere in the producer's end: never more than a refusal. */
START_TEST(random_damage)
{
	struct str s;

	for (int i = 0; i < 100000; i++) {
		uint64_t head = atomic_load(&pair->out.head);
		int rc;

		if (rnd(4))
			put_record(&prod, 8 + rnd(100), 1);
		ring_commit(&prod);
		*word_at(rnd64() & ~3ull) = rnd(3) ? (uint32_t)rnd_sized() : 0xffffffff;
		if (rnd(8) == 0)
			atomic_store(&pair->out.head, head + rnd_sized());
		while ((rc = ring_peek(&cons, &s)) == 1) {
			ck_assert(s.p >= pair->out.data);
			ck_assert(s.p + s.n <= pair->out.data + SIZE);
			ring_next(&cons);
		}
		ring_release(&cons);
		ring_producer(&prod, &pair->out, &pair->in, bell);
		prod.pos &= ~7ull;
	}
}
END_TEST

/* A tail that makes no sense only fills the ring for its own consumer. */
START_TEST(hostile_consumer)
{
	static const uint64_t tails[] = {1 << 20, (uint64_t)-1, 1ull << 63};
	char big[1000] = {0};

	for (size_t i = 0; i < countof(tails); i++) {
		atomic_store(&pair->in.tail, tails[i]);
		ring_producer(&prod, &pair->out, &pair->in, bell);
		for (int k = 0; k < 10; k++)
			ring_put(&prod, (struct str){big, sizeof(big)});
		ck_assert_int_eq(ring_put(&prod, (struct str){big, sizeof(big)}), WEFT_EFULL);
	}
}
END_TEST

/* --- Overflow ----------------------------------------------------------------------- */

START_TEST(overflow_is_seen_once)
{
	ck_assert(!ring_overflowed(&cons));
	ring_mark_overflow(&prod);
	ring_mark_overflow(&prod);
	ck_assert(!ring_sleep(&cons));
	ck_assert(ring_overflowed(&cons));
	ck_assert(!ring_overflowed(&cons));
	ck_assert(ring_sleep(&cons));
	ring_awake(&cons);
	ring_mark_overflow(&prod);
	ck_assert(ring_overflowed(&cons));
}
END_TEST

START_TEST(bell_rings_only_for_sleepers)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};

	ring_put(&prod, STR("x"));
	ring_ring(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	ck_assert(!ring_sleep(&cons)); /* there is something to read */
	ring_drop(&cons);
	ck_assert(ring_sleep(&cons));
	ring_put(&prod, STR("x"));
	ring_ring(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 1);
	bell_clear(bell);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	ring_awake(&cons);
	ring_ring(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
}
END_TEST

START_TEST(followers_hear_of_what_is_elsewhere)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};

	ck_assert(ring_sleep(&cons));
	ring_ring_follower(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 0); /* it waits for records alone */
	ring_awake(&cons);
	ck_assert(ring_sleep_following(&cons));
	ring_ring_follower(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 1);
	bell_clear(bell);
	ring_put(&prod, STR("x"));
	ring_ring(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 1);
	bell_clear(bell);
	ring_awake(&cons);
	ring_ring_follower(&prod);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	ck_assert(!ring_sleep_following(&cons));
}
END_TEST

/* --- Two processes ------------------------------------------------------------------ */

static void stream_for_ever(void)
{
	for (uint64_t i = 0;;) {
		bool put = put_record(&prod, 8 + (uint32_t)(i * 31 % 300), i);

		i += put;
		ring_commit(&prod);
		ring_ring(&prod);
		if (!put)
			sched_yield();
	}
}

static uint64_t drain(uint64_t expected)
{
	struct str s;
	int rc;

	while ((rc = ring_peek(&cons, &s)) == 1) {
		ck_assert_uint_eq(check_record(s), expected++);
		ring_next(&cons);
	}
	ck_assert_int_eq(rc, 0);
	ring_release(&cons);
	return expected;
}

static void reap(pid_t pid, int signal)
{
	kill(pid, signal);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* Killed at any moment: all that is visible is whole and in order. */
START_TEST(producer_killed_at_random)
{
	for (int i = 0; i < 30; i++) {
		uint64_t got = 0, until = 200 + rnd(1000);
		pid_t pid = fork();

		if (!pid)
			stream_for_ever();
		for (; got < until; got = drain(got))
			sched_yield();
		reap(pid, SIGKILL);
		drain(got);
		ring_producer(&prod, &pair->out, &pair->in, bell);
		ck_assert_int_eq(ring_put(&prod, STR("successor")), WEFT_OK);
		ring_drop(&cons);
		ring_producer(&prod, &pair->out, &pair->in, bell);
	}
}
END_TEST

/* Does the first `steps` steps of putting two records; returns how many of them
 * are visible then. */
static int put_in_steps(int steps)
{
	char *p = NULL;

	for (int step = 0; step < steps; step++) {
		switch (step) {
		case 0:
		case 5:
			p = ring_reserve(&prod, 40);
			break;
		case 1:
		case 6:
			memset(p, 0xee, 20);
			break;
		case 2:
		case 7:
			write_record(p, 30, step / 5);
			break;
		case 3:
		case 8:
			ring_trim(&prod, 30);
			break;
		case 4:
		case 9:
			ring_commit(&prod);
			break;
		}
	}
	return steps / 5;
}

START_TEST(producer_killed_at_each_step)
{
	for (int steps = 0; steps <= 10; steps++) {
		pid_t pid = fork();

		if (!pid) {
			put_in_steps(steps);
			raise(SIGKILL);
		}
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		ck_assert_uint_eq(drain(0), (uint64_t)(steps / 5));
		ring_producer(&prod, &pair->out, &pair->in, bell);
	}
}
END_TEST

/* Reads until number `last` has come; notes how often it had to rebuild. */
static void consume_until(uint64_t last)
{
	uint64_t next = 0, number = 0;
	struct str s;

	while (number != last) {
		while (ring_peek(&cons, &s) == 1) {
			number = check_record(s);
			if (number < next)
				_exit(1);
			next = number + 1;
			ring_next(&cons);
		}
		ring_release(&cons);
		if (ring_overflowed(&cons))
			atomic_fetch_add(&pair->note, 1);
		if (number != last && ring_sleep(&cons)) {
			if (!wait_bell())
				_exit(2);
			ring_awake(&cons);
		}
	}
	_exit(0);
}

/* A consumer that is stopped costs records, never time; it learns that once
 * when it goes on. */
START_TEST(stopped_consumer)
{
	enum { LAST = 1000000 };
	uint64_t dropped = 0;
	pid_t pid = fork();
	int status;

	if (!pid)
		consume_until(LAST);
	kill(pid, SIGSTOP);
	for (uint64_t i = 1; i < 5000; i++) {
		dropped += !put_record(&prod, 20, i);
		ring_commit(&prod);
		ring_ring(&prod);
	}
	ck_assert_uint_gt(dropped, 0);
	ring_mark_overflow(&prod);
	ring_ring(&prod);
	kill(pid, SIGCONT);
	while (!put_record(&prod, 20, LAST))
		sched_yield();
	ring_commit(&prod);
	ring_ring(&prod);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(atomic_load(&pair->note), 1);
}
END_TEST

/* Two rings, one each way; each side sleeps between any two records, so that
 * one lost wake-up stops both. */
START_TEST(no_wake_up_is_lost)
{
	enum { ROUNDS = 20000 };
	struct pair *back = mmap(NULL, sizeof(*back) + SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int bells[2] = {bell, bell_create(NULL)}, status;
	struct ring rx, tx;
	struct str s;
	pid_t pid;
	bool child;

	ring_init(&back->out, SIZE);
	pid = fork();
	child = pid == 0;
	ring_producer(&tx, child ? &back->out : &pair->out, child ? &back->in : &pair->in,
		      bells[child]);
	ring_consumer(&rx, child ? &pair->out : &back->out, child ? &pair->in : &back->in, SIZE,
		      bells[!child]);
	bell = bells[!child];
	for (uint64_t i = 0; i < ROUNDS; i++) {
		if (!child) {
			put_record(&tx, 16, i);
			ring_commit(&tx);
			ring_ring(&tx);
		}
		for (uint64_t spin = i % 64 * 8; spin; spin--)
			__asm__ volatile("");
		while (ring_peek(&rx, &s) == 0) {
			if (!ring_sleep(&rx))
				continue;
			if (!wait_bell())
				child ? _exit(3) : ck_abort_msg("nobody rang in round %d", (int)i);
			ring_awake(&rx);
		}
		if (child && check_record(s) != i)
			_exit(4);
		ck_assert_uint_eq(check_record(s), i);
		ring_next(&rx);
		ring_release(&rx);
		if (child) {
			put_record(&tx, 16, i);
			ring_commit(&tx);
			ring_ring(&tx);
		}
	}
	if (child)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	munmap(back, sizeof(*back) + SIZE);
	close(bells[1]);
	bell = bells[0];
}
END_TEST

/* A word beside the rings, one each way, that each side follows; as above. */
START_TEST(no_follower_is_forgotten)
{
	enum { ROUNDS = 20000 };
	struct shared {
		_Atomic uint64_t word[2];
		struct pair back;
	};
	struct shared *all = mmap(NULL, sizeof(*all) + SIZE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pair *back = &all->back;
	int bells[2] = {bell, bell_create(NULL)}, status;
	struct ring rx, tx;
	pid_t pid;
	bool child;

	ring_init(&back->out, SIZE);
	pid = fork();
	child = pid == 0;
	ring_producer(&tx, child ? &back->out : &pair->out, child ? &back->in : &pair->in,
		      bells[child]);
	ring_consumer(&rx, child ? &pair->out : &back->out, child ? &pair->in : &back->in, SIZE,
		      bells[!child]);
	bell = bells[!child];
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		_Atomic uint64_t *mine = &all->word[child], *other = &all->word[!child];

		if (!child) {
			atomic_store_explicit(mine, i, memory_order_release);
			ring_ring_follower(&tx);
		}
		for (uint64_t spin = i % 64 * 8; spin; spin--)
			__asm__ volatile("");
		while (atomic_load_explicit(other, memory_order_acquire) != i) {
			ck_assert(ring_sleep_following(&rx));
			if (atomic_load_explicit(other, memory_order_acquire) != i && !wait_bell())
				child ? _exit(3) : ck_abort_msg("nobody rang in round %d", (int)i);
			ring_awake(&rx);
		}
		if (child) {
			atomic_store_explicit(mine, i, memory_order_release);
			ring_ring_follower(&tx);
		}
	}
	if (child)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	munmap(all, sizeof(*all) + SIZE);
	close(bells[1]);
	bell = bells[0];
}
END_TEST

/* --- Two threads: the same code where ThreadSanitizer can see it -------------------- */

#define THREAD_RECORDS 30000

static void *produce_thread(void *arg)
{
	for (uint64_t i = 0; i < THREAD_RECORDS;) {
		if (put_record(&prod, 8 + (uint32_t)(i % 90), i))
			i++;
		else
			sched_yield();
		if (i % 3 == 0 || i == THREAD_RECORDS) {
			ring_commit(&prod);
			ring_ring(&prod);
		}
		if (i % 1000 == 0)
			ring_mark_overflow(&prod);
	}
	return NULL;
}

START_TEST(two_threads)
{
	uint64_t got = 0, overflows = 0;
	pthread_t t;

	ck_assert_int_eq(pthread_create(&t, NULL, produce_thread, NULL), 0);
	while (got < THREAD_RECORDS) {
		sched_yield();
		got = drain(got);
		overflows += ring_overflowed(&cons);
		if (got < THREAD_RECORDS && ring_sleep(&cons)) {
			ck_assert(wait_bell());
			ring_awake(&cons);
		}
	}
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_uint_gt(overflows, 0);
}
END_TEST

/* --- Who goes to sleep while the other writes ---------------------------------------- */

static bool sleeps;

static void write_one(void)
{
	ring_put(&prod, STR("x"));
	ring_ring(&prod);
}

static void go_to_sleep(void)
{
	sleeps = ring_sleep(&cons);
}

static void follow_to_sleep(void)
{
	sleeps = ring_sleep_following(&cons);
}

static void overflow(void)
{
	ring_mark_overflow(&prod);
	ring_ring(&prod);
}

/* A sleeper has heard the bell; then there is nothing left to read. */
static void judge_sleep(void)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};

	ck_assert_msg(!sleeps || poll(&fd, 1, 0) == 1, "it sleeps, and nobody has rung");
	bell_clear(bell);
	ring_awake(&cons);
	ring_drop(&cons);
	ring_overflowed(&cons);
}

START_TEST(either_sees_the_other)
{
	static void (*const pairs[][2])(void) = {
		{write_one, go_to_sleep}, {write_one, follow_to_sleep}, {overflow, go_to_sleep}};
	struct litmus l = {.ours = pairs[_i][0],
			   .theirs = pairs[_i][1],
			   .judge = judge_sleep,
			   .rounds = 200000};

	litmus_run(&l);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, random_against_a_model);
	tcase_add_test(tc, full_and_too_big);
	tcase_add_test(tc, trimmed_and_taken_back);
	tcase_add_test(tc, taken_back_at_the_end);
	tcase_add_test(tc, half_written_is_invisible);
	tcase_add_test(tc, consumer_starts_where_it_stood);
	tcase_add_test(tc, bad_lengths);
	tcase_add_test(tc, bad_heads);
	tcase_add_test(tc, half_a_head_is_rounded_down);
	tcase_add_test(tc, bad_skips);
	tcase_add_test(tc, wrong_size);
	tcase_add_test(tc, random_damage);
	tcase_add_test(tc, hostile_consumer);
	tcase_add_test(tc, overflow_is_seen_once);
	tcase_add_test(tc, bell_rings_only_for_sleepers);
	tcase_add_test(tc, followers_hear_of_what_is_elsewhere);
	tcase_add_test(tc, producer_killed_at_random);
	tcase_add_test(tc, producer_killed_at_each_step);
	tcase_add_test(tc, stopped_consumer);
	tcase_add_test(tc, no_wake_up_is_lost);
	tcase_add_test(tc, no_follower_is_forgotten);
	tcase_add_test(tc, two_threads);
	tcase_add_loop_test(tc, either_sees_the_other, 0, 3);
}

int main(void)
{
	return run_tests("ring", add);
}
