/*
 * churn.h - readers that check all they see while a writer changes everything:
 * as threads (what ThreadSanitizer watches), as processes, and as processes
 * that are killed wherever they are and started again.
 */
#ifndef WEFT_TESTS_CHURN_H
#define WEFT_TESTS_CHURN_H

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/world.h"

#define CHURN_READERS 2
#define CHURN_MS      300

enum churn_mode { CHURN_THREADS, CHURN_PROCESSES, CHURN_KILLED, CHURN_MODES };

struct churn {
	struct world *w;
	/* Looks at something, inside a read section.  False: saw what must not be. */
	bool (*read_once)(struct world *w);
	/* Changes something. */
	void (*write_once)(struct world *w);
	pthread_t threads[CHURN_READERS];
	pid_t pids[CHURN_READERS];
	uint64_t reads, kills;
};

/* shared->counter: reads, and reads that saw what must not be, of reader i */
#define CHURN_READS(i) (2 * (i))
#define CHURN_WRONG(i) (2 * (i) + 1)

struct churn_reader {
	struct churn *c;
	int me;
};

static inline void churn_read(struct churn *c, int me)
{
	struct shared *sh = c->w->shared;
	bool right;

	*rng_state() += (uint64_t)clock_mono_ns() * 2 + (uint64_t)me * 2;
	while (!atomic_load_explicit(&sh->stop, memory_order_relaxed)) {
		prcu_read_lock(&sh->reader[me], &sh->gp);
		right = c->read_once(c->w);
		prcu_read_unlock(&sh->reader[me]);
		atomic_fetch_add_explicit(&sh->counter[CHURN_READS(me)], 1, memory_order_relaxed);
		if (!right)
			atomic_fetch_add(&sh->counter[CHURN_WRONG(me)], 1);
	}
}

static inline void *churn_thread(void *arg)
{
	struct churn_reader *r = arg;

	churn_read(r->c, r->me);
	return NULL;
}

static inline void churn_fork(struct churn *c, int me)
{
	c->pids[me] = fork();
	if (c->pids[me])
		return;
	/* What the writer keeps to itself is not ours to see. */
	c->w->arena = NULL;
	if (prcu_register_process(&c->w->shared->gp, NULL))
		_exit(1);
	churn_read(c, me);
	_exit(0);
}

static inline void churn_kill(struct churn *c, int me)
{
	int status;

	kill(c->pids[me], SIGKILL);
	ck_assert_int_eq(waitpid(c->pids[me], &status, 0), c->pids[me]);
	c->w->shared->reader[me] = (struct prcu_reader){0};
	c->kills++;
	churn_fork(c, me);
}

static inline void churn_write(struct churn *c, enum churn_mode mode)
{
	int64_t end = clock_mono_ns() + CHURN_MS * INT64_C(1000000), next_kill = 0, now;

	while ((now = clock_mono_ns()) < end) {
		for (int i = 0; i < 20; i++)
			c->write_once(c->w);
		world_reclaim(c->w);
		if (mode == CHURN_KILLED && now > next_kill) {
			churn_kill(c, (int)rng_below(CHURN_READERS));
			next_kill = clock_mono_ns() + rng_below(10) * 1000000;
		}
	}
	c->w->shared->stop = 1;
}

/* Let a writer process run and kill it wherever it is.  It must not call
 * ck_assert: each call is a message in a file that it shares with us, and half
 * a message would be left there (weft_assert does).  What only it knew
 * (free lists, what was to be freed) is lost: nobody may write any more. */
static inline void churn_killed_writer(struct churn *c)
{
	struct shared *sh = c->w->shared;
	int status;
	pid_t pid = fork();

	if (!pid) {
		*rng_state() += (uint64_t)getpid() * 2;
		for (;;) {
			for (int i = 0; i < 20; i++)
				c->write_once(c->w);
			world_reclaim(c->w);
			atomic_fetch_add(&sh->counter[0], 1);
		}
	}
	while (!atomic_load(&sh->counter[0]))
		usleep(100);
	usleep(rng_below(2000));
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* Run it; every read must have been right. */
static inline void churn(struct churn *c, enum churn_mode mode)
{
	struct churn_reader readers[CHURN_READERS];
	struct shared *sh = c->w->shared;
	int status;

	c->w->nreaders = CHURN_READERS;
	for (int i = 0; i < CHURN_READERS; i++) {
		readers[i] = (struct churn_reader){c, i};
		if (mode == CHURN_THREADS)
			ck_assert(!pthread_create(&c->threads[i], NULL, churn_thread, &readers[i]));
		else
			churn_fork(c, i);
	}
	churn_write(c, mode);
	for (int i = 0; i < CHURN_READERS; i++) {
		if (mode == CHURN_THREADS) {
			pthread_join(c->threads[i], NULL);
		} else {
			ck_assert_int_eq(waitpid(c->pids[i], &status, 0), c->pids[i]);
			ck_assert_int_eq(status, 0);
		}
		ck_assert_uint_eq(sh->counter[CHURN_WRONG(i)], 0);
		c->reads += sh->counter[CHURN_READS(i)];
	}
	printf("%llu reads, %llu readers killed\n", (unsigned long long)c->reads,
	       (unsigned long long)c->kills);
	ck_assert_uint_gt(c->reads, 100);
}

#endif
