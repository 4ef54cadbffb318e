/*
 * test_prcu.c - grace periods across threads and processes.
 *
 * The torture is liburcu's: one writer publishes elements from a small pool,
 * and after each grace period the elements that were replaced age by one.  A
 * reader that holds an element looks how old it gets: older than one grace
 * period means that it was given up while it was held.  Every reader keeps a
 * histogram; nothing may stand beyond age 1.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/litmus.h"
#include "tests/unit/suite.h"
#include "tests/unit/world.h"

#define POOL	10
#define AGES	(POOL + 1)
#define READERS 3
#define RUN_MS	300

struct element {
	_Atomic uint32_t age; /* grace periods since it was replaced */
	_Atomic uint32_t used;
	uint64_t twice[2]; /* the same number twice, rewritten when it is reused */
};

struct torture {
	struct prcu_gp gp;
	struct prcu_reader reader[READERS];
	_Atomic(uint32_t) current; /* index of an element */
	_Atomic int stop;
	_Atomic uint32_t in_section; /* readers that wait to be killed */
	_Atomic uint64_t histogram[READERS][AGES];
	_Atomic uint64_t torn[READERS];
	struct element pool[POOL];
};

static struct torture *t;
static uint64_t grace_periods;

static void setup(void)
{
	seed_from_environment();
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(t != MAP_FAILED);
	prcu_init(&t->gp);
	ck_assert_int_eq(prcu_register_process(&t->gp, NULL), 0);
	grace_periods = 0;
}

static void setup_without_membarrier(void)
{
	setenv("WEFT_NO_MEMBARRIER", "1", 1);
	setup();
	ck_assert_uint_eq(t->gp.membarrier, 0);
}

static void teardown(void)
{
	munmap(t, sizeof(*t));
}

static bool poll_all(uint64_t target, size_t *blocker)
{
	struct prcu_reader *readers[READERS];

	for (int i = 0; i < READERS; i++)
		readers[i] = &t->reader[i];
	return prcu_poll(&t->gp, readers, READERS, target, blocker);
}

static void count(_Atomic uint64_t *counter)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + 1, memory_order_relaxed);
}

/* --- The torture ------------------------------------------------------------------ */

static void read_once(int me)
{
	struct prcu_reader *r = &t->reader[me];
	const struct element *e;
	uint32_t age;
	uint64_t first;

	prcu_read_lock(r, &t->gp);
	e = &t->pool[prcu_dereference(&t->current)];
	first = e->twice[0];
	if (rng_below(200) == 0)
		usleep(rng_below(100)); /* so that grace periods want to end meanwhile */
	else
		for (uint32_t i = rng_below(100); i > 0; i--)
			cmm_barrier();
	age = atomic_load_explicit(&e->age, memory_order_relaxed);
	if (first != e->twice[1])
		count(&t->torn[me]);
	if (rng_below(4) == 0) { /* nested */
		prcu_read_lock(r, &t->gp);
		prcu_read_unlock(r);
	}
	prcu_read_unlock(r);
	count(&t->histogram[me][age < AGES ? age : AGES - 1]);
}

static void read_until_stopped(int me)
{
	*rng_state() += (uint64_t)me * 2;
	while (!atomic_load_explicit(&t->stop, memory_order_relaxed))
		read_once(me);
}

static void *reader_thread(void *arg)
{
	read_until_stopped((int)(intptr_t)arg);
	return NULL;
}

static pid_t reader_process(int me)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (prcu_register_process(&t->gp, NULL))
		_exit(1);
	read_until_stopped(me);
	_exit(0);
}

/* Publish elements from the pool and let what they replace age, as fast as
 * readers allow, for RUN_MS. */
static void write_for_a_while(void)
{
	int64_t end = clock_mono_ns() + RUN_MS * INT64_C(1000000);
	uint64_t target, number = 0;

	while (clock_mono_ns() < end) {
		uint32_t i = 0, old = prcu_own(&t->current);
		struct element *e;

		while (i == old || t->pool[i].used)
			i++; /* the pool is larger than what can be in use */
		ck_assert_uint_lt(i, POOL);
		e = &t->pool[i];
		e->twice[0] = e->twice[1] = ++number;
		atomic_store_explicit(&e->age, 0, memory_order_relaxed);
		e->used = 1;
		prcu_assign(&t->current, i);
		target = prcu_start(&t->gp);
		while (!poll_all(target, NULL))
			usleep(1);
		grace_periods++;
		for (i = 0; i < POOL; i++) {
			uint32_t age = t->pool[i].age;

			if (!t->pool[i].used || i == prcu_own(&t->current))
				continue;
			atomic_store_explicit(&t->pool[i].age, age + 1, memory_order_relaxed);
			/* Reusable once a whole grace period has passed. */
			t->pool[i].used = 0;
		}
	}
	t->stop = 1;
}

static void judge(void)
{
	uint64_t reads = 0;

	for (int i = 0; i < READERS; i++) {
		ck_assert_uint_eq(t->torn[i], 0);
		for (int age = 0; age < AGES; age++) {
			reads += t->histogram[i][age];
			ck_assert_msg(age < 1 || !t->histogram[i][age],
				      "reader %d saw age %d %llu times", i, age,
				      (unsigned long long)t->histogram[i][age]);
		}
	}
	printf("%llu reads, %llu grace periods\n", (unsigned long long)reads,
	       (unsigned long long)grace_periods);
	ck_assert_uint_gt(reads, 100);
	ck_assert_uint_gt(grace_periods, 5);
}

START_TEST(torture_threads)
{
	pthread_t threads[READERS];

	for (int i = 0; i < READERS; i++)
		ck_assert(!pthread_create(&threads[i], NULL, reader_thread, (void *)(intptr_t)i));
	write_for_a_while();
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	judge();
}
END_TEST

START_TEST(torture_processes)
{
	pid_t pids[READERS];
	int status;

	for (int i = 0; i < READERS; i++)
		pids[i] = reader_process(i);
	write_for_a_while();
	for (int i = 0; i < READERS; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_int_eq(status, 0);
	}
	judge();
}
END_TEST

/* --- Who is waited for -------------------------------------------------------------- */

START_TEST(section_blocks_until_left)
{
	uint64_t target;
	size_t blocker = 99;

	prcu_read_lock(&t->reader[1], &t->gp);
	target = prcu_start(&t->gp);
	ck_assert(!poll_all(target, &blocker));
	ck_assert_uint_eq(blocker, 1);
	prcu_read_lock(&t->reader[1], &t->gp);
	prcu_read_unlock(&t->reader[1]);
	ck_assert_msg(!poll_all(target, &blocker), "a nested section is left, the outer is not");
	prcu_read_unlock(&t->reader[1]);
	ck_assert(poll_all(target, &blocker));
}
END_TEST

START_TEST(section_entered_later_does_not_block)
{
	uint64_t target = prcu_start(&t->gp), later;

	prcu_read_lock(&t->reader[0], &t->gp);
	ck_assert(poll_all(target, NULL));
	later = prcu_start(&t->gp);
	ck_assert_uint_gt(later, target);
	ck_assert(poll_all(target, NULL));
	ck_assert(!poll_all(later, NULL));
	prcu_read_unlock(&t->reader[0]);
}
END_TEST

/* A reader that is between loading the counter and storing its word, built by
 * hand: when it stores the old one, it is waited for, which is harmless. */
START_TEST(late_word_is_waited_for)
{
	uint64_t old = t->gp.counter, target = prcu_start(&t->gp);

	ck_assert(poll_all(target, NULL));
	t->reader[2].word = old;
	ck_assert(!poll_all(target, NULL));
	t->reader[2].word = 0;
	ck_assert(poll_all(target, NULL));
}
END_TEST

START_TEST(no_readers)
{
	uint64_t target = prcu_start(&t->gp);

	ck_assert(prcu_poll(&t->gp, NULL, 0, target, NULL));
}
END_TEST

/* A process killed inside a section blocks until somebody retires its word. */
START_TEST(killed_reader_blocks_until_retired)
{
	for (int round = 0; round < 5; round++) {
		uint64_t target;
		size_t blocker;
		pid_t pid = fork();
		int status;

		if (!pid) {
			prcu_register_process(&t->gp, NULL);
			prcu_read_lock(&t->reader[2], &t->gp);
			t->in_section = 1;
			for (;;)
				pause();
		}
		while (!t->in_section)
			usleep(100);
		t->in_section = 0;
		target = prcu_start(&t->gp);
		ck_assert(!poll_all(target, &blocker));
		kill(pid, SIGKILL);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(!poll_all(target, &blocker));
		ck_assert_uint_eq(blocker, 2);
		t->reader[2] = (struct prcu_reader){0};
		ck_assert(poll_all(target, NULL));
	}
}
END_TEST

/* --- Who enters while something is unlinked ------------------------------------------ */

static uint32_t seen;
static bool given_up;

static void enter(void)
{
	prcu_read_lock(&t->reader[0], &t->gp);
	seen = prcu_dereference(&t->current);
}

static void unlink_and_look(void)
{
	prcu_assign(&t->current, 1);
	given_up = poll_all(prcu_start(&t->gp), NULL);
}

static void judge_entry(void)
{
	ck_assert_msg(!given_up || seen, "it holds what was given up");
	prcu_read_unlock(&t->reader[0]);
	prcu_assign(&t->current, 0);
}

START_TEST(who_enters_is_seen_or_sees)
{
	struct litmus l = {
		.ours = enter, .theirs = unlink_and_look, .judge = judge_entry, .rounds = 200000};

	if (t->gp.membarrier)
		l.rounds /= 4; /* each is two calls that interrupt the other core */
	litmus_run(&l);
}
END_TEST

static void add(TCase *tc)
{
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, torture_threads);
	tcase_add_test(tc, torture_processes);
	tcase_add_test(tc, section_blocks_until_left);
	tcase_add_test(tc, section_entered_later_does_not_block);
	tcase_add_test(tc, late_word_is_waited_for);
	tcase_add_test(tc, no_readers);
	tcase_add_test(tc, killed_reader_blocks_until_retired);
	tcase_add_test(tc, who_enters_is_seen_or_sees);
}

int main(void)
{
	Suite *suite = suite_create("prcu");
	TCase *fast = tcase_create("membarrier"), *slow = tcase_create("fences");

	tcase_add_checked_fixture(fast, setup, teardown);
	tcase_add_checked_fixture(slow, setup_without_membarrier, teardown);
	add(fast);
	add(slow);
	suite_add_tcase(suite, fast);
	suite_add_tcase(suite, slow);
	return run_suite(suite);
}
