/*
 * test_fault.c - points of fault.h: nothing at all in ordinary builds; in fault
 * builds what the file says, the same again from the same seed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "weft/fault.h"

#ifndef WEFT_FAULTS

START_TEST(a_point_is_nothing)
{
	errno = EINTR;
	fault_at(store_append);
	ck_assert(!fault_fails(memory_arena));
	ck_assert_int_eq(errno, EINTR);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, a_point_is_nothing);
}

#else

static struct fault_slot *point(enum fault f)
{
	return (struct fault_slot *)((char *)fault_file() + FAULT_SLOTS_AT) + f;
}

static void set(enum fault f, enum fault_action action, uint32_t arg, uint32_t times)
{
	struct fault_slot *s = point(f);

	s->chance = UINT32_MAX;
	s->kinds = 1;
	s->arg = arg;
	atomic_store(&s->skip, 0);
	atomic_store(&s->times, times);
	atomic_store(&s->action, action);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void set_up(void)
{
	ck_assert_ptr_nonnull(fault_file());
	for (int f = 0; f < FAULT_COUNT; f++) {
		set((enum fault)f, FAULT_NONE, 0, 0);
		atomic_store(&point((enum fault)f)->hits, 0);
		atomic_store(&point((enum fault)f)->fired, 0);
	}
	fault_file()->seed = 7;
	fault_process(1, 3, 1);
}

START_TEST(names_are_in_the_file)
{
	ck_assert_uint_eq(atomic_load(&fault_file()->magic), FAULT_MAGIC);
	ck_assert_uint_eq(fault_file()->count, FAULT_COUNT);
	ck_assert_str_eq(point(FAULT_store_append)->name, "store_append");
}
END_TEST

START_TEST(passes_are_counted)
{
	fault_at(store_append);
	fault_at(store_append);
	ck_assert_uint_eq(atomic_load(&point(FAULT_store_append)->hits), 2);
	ck_assert_uint_eq(atomic_load(&point(FAULT_store_append)->fired), 0);
}
END_TEST

START_TEST(fails_with_its_errno_as_often_as_set)
{
	set(FAULT_disk_sync, FAULT_FAIL, EIO, 2);
	atomic_store(&point(FAULT_disk_sync)->skip, 1);
	ck_assert(!fault_fails(disk_sync));
	for (int i = 0; i < 2; i++) {
		errno = 0;
		ck_assert(fault_fails(disk_sync));
		ck_assert_int_eq(errno, EIO);
	}
	ck_assert(!fault_fails(disk_sync));
	ck_assert_uint_eq(atomic_load(&point(FAULT_disk_sync)->fired), 2);
}
END_TEST

START_TEST(other_kinds_pass)
{
	set(FAULT_disk_sync, FAULT_FAIL, EIO, FAULT_FOR_EVER);
	fault_process(2, 3, 1);
	ck_assert(!fault_fails(disk_sync));
	ck_assert_uint_eq(atomic_load(&point(FAULT_disk_sync)->hits), 0);
}
END_TEST

/* What one process does at a point with an even chance, as bits. */
static uint64_t draw(uint32_t incarnation)
{
	int to[2];
	uint64_t bits = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(to), 0);
	pid = fork();
	if (!pid) {
		fault_process(1, 3, incarnation);
		for (int i = 0; i < 64; i++)
			bits = bits << 1 | fault_fails(ring_full);
		_exit(write(to[1], &bits, sizeof(bits)) != sizeof(bits));
	}
	ck_assert_int_eq(read(to[0], &bits, sizeof(bits)), sizeof(bits));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(to[0]);
	close(to[1]);
	return bits;
}

START_TEST(chance_follows_from_the_seed)
{
	uint64_t first;

	set(FAULT_ring_full, FAULT_FAIL, 0, FAULT_FOR_EVER);
	point(FAULT_ring_full)->chance = UINT32_MAX / 2;
	first = draw(1);
	ck_assert_uint_eq(draw(1), first);
	ck_assert_uint_ne(draw(2), first);
	ck_assert_int_gt(__builtin_popcountll(first), 10);
	ck_assert_int_lt(__builtin_popcountll(first), 54);
	fault_file()->seed = 8;
	ck_assert_uint_ne(draw(1), first);
}
END_TEST

START_TEST(kill_and_stop)
{
	int status;
	pid_t pid;

	set(FAULT_store_append, FAULT_KILL, 0, 1);
	set(FAULT_store_written, FAULT_STOP, 0, 1);
	pid = fork();
	if (!pid) {
		fault_at(store_written);
		fault_at(store_append);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
END_TEST

START_TEST(wait_yield_and_hold)
{
	int64_t from = now_ns();
	pid_t pid;

	set(FAULT_ring_sleep, FAULT_WAIT, 20000, 1);
	fault_at(ring_sleep);
	ck_assert_int_ge(now_ns() - from, 20000000);
	set(FAULT_ring_sleep, FAULT_YIELD, 100, 50);
	for (int i = 0; i < 60; i++)
		fault_at(ring_sleep);
	ck_assert_uint_eq(atomic_load(&point(FAULT_ring_sleep)->fired), 51);
	set(FAULT_rcu_section, FAULT_HOLD, 0, FAULT_FOR_EVER);
	pid = fork();
	if (!pid) {
		fault_at(rcu_section);
		_exit(0);
	}
	usleep(20000);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	set(FAULT_rcu_section, FAULT_NONE, 0, 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, names_are_in_the_file);
	tcase_add_test(t, passes_are_counted);
	tcase_add_test(t, fails_with_its_errno_as_often_as_set);
	tcase_add_test(t, other_kinds_pass);
	tcase_add_test(t, chance_follows_from_the_seed);
	tcase_add_test(t, kill_and_stop);
	tcase_add_test(t, wait_yield_and_hold);
}

/* The file has to be there before main(): run again with one. */
static void give_file(char **argv)
{
	char path[] = "/tmp/weft-fault-XXXXXX";
	int fd;

	if (fault_file())
		return;
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, FAULT_FILE_BYTES))
		exit(1);
	setenv("WEFT_FAULT_FILE", path, 1);
	execv("/proc/self/exe", argv);
	exit(1);
}

#endif

int main(int argc, char **argv)
{
	Suite *s = suite_create("fault");
	TCase *t = tcase_create("fault");

#ifdef WEFT_FAULTS
	give_file(argv);
	unlink(getenv("WEFT_FAULT_FILE"));
#endif
	add_tests(t);
	suite_add_tcase(s, t);
	return run_suite(s);
}
