/*
 * litmus.h - two threads that do one thing each at the same time, again and again: for what
 * only a fence between a store and a load keeps apart.
 */
#ifndef WEFT_TESTS_LITMUS_H
#define WEFT_TESTS_LITMUS_H

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define LITMUS_LINES 16

/* Under a sanitizer, which sees no fence, a few rounds will do. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Cache lines that one thread writes and the other one took from it: stores behind them wait. */
struct litmus_lines {
	struct {
		_Atomic uint32_t word __attribute__((aligned(64)));
	} at[LITMUS_LINES];
};

struct litmus {
	struct litmus_lines before[2]; /* before ours(), before theirs() */
	void (*ours)(void);	       /* by the calling thread */
	void (*theirs)(void);	       /* by the other one, at the same time */
	void (*judge)(void);	       /* by the calling thread, when both are done */
	uint32_t rounds;
	_Atomic uint32_t begun, done; /* rounds: we let them begin, they are done with */
};

/* On the `n`th core that we may use, so that the two are not on one. */
static inline void litmus_pin(int n)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2)
		return;
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && n-- == 0)
			CPU_SET(i, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* Until *word is `at`; another may need the core for that. */
static inline void litmus_await(_Atomic uint32_t *word, uint32_t at)
{
	for (uint32_t i = 1; atomic_load_explicit(word, memory_order_acquire) != at; i++)
		if (i % 1024 == 0)
			sched_yield();
}

/* Each is a little ahead of the other in some rounds, and both are even in others. */
static inline void litmus_skew(uint32_t n)
{
	while (n--)
		__asm__ volatile("");
}

static inline void litmus_write(struct litmus_lines *lines, uint32_t n)
{
	for (int k = 0; k < LITMUS_LINES; k++)
		atomic_store_explicit(&lines->at[k].word, n, memory_order_relaxed);
}

static inline void *litmus_thread(void *arg)
{
	struct litmus *l = arg;

	litmus_pin(1);
	for (uint32_t i = 1; i <= l->rounds; i++) {
		litmus_await(&l->begun, i);
		litmus_skew(i % 61 * 2);
		if (i & 2)
			litmus_write(&l->before[1], i);
		l->theirs();
		litmus_write(&l->before[0], i);
		atomic_store_explicit(&l->done, i, memory_order_release);
	}
	return NULL;
}

static inline void litmus_run(struct litmus *l)
{
	cpu_set_t before;
	pthread_t t;

	if (SANITIZED)
		l->rounds /= 50;
	sched_getaffinity(0, sizeof(before), &before);
	ck_assert_int_eq(pthread_create(&t, NULL, litmus_thread, l), 0);
	litmus_pin(0);
	for (uint32_t i = 1; i <= l->rounds; i++) {
		atomic_store_explicit(&l->begun, i, memory_order_release);
		litmus_skew(i % 97 * 2);
		if (i & 1)
			litmus_write(&l->before[0], i);
		l->ours();
		litmus_await(&l->done, i);
		litmus_write(&l->before[1], i);
		l->judge();
	}
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	sched_setaffinity(0, sizeof(before), &before);
}

#endif
