/*
 * scheduler_fakes.h - what stands in for procs/lib where a test drives schedulers itself and
 * all see the same cache.
 */
#ifndef WEFT_TESTS_SCHEDULER_FAKES_H
#define WEFT_TESTS_SCHEDULER_FAKES_H

#include "weft/proc.h"

static struct cache *cache;

struct cache *proc_cache(struct proc *p)
{
	return cache;
}

void proc_each(struct proc *p, uint16_t type, void (*cb)(void *arg, const struct entry *e),
	       void *arg)
{
	const struct str none = {0};
	const struct entry *e;
	struct cache_iter it;

	cache_lock(cache);
	cache_iter_init(&it, cache, type, none, none, none);
	while ((e = cache_iter_next(&it)))
		cb(arg, e);
	cache_unlock(cache);
}

/* A few at a time. */
bool proc_walk_next(struct proc *p, uint16_t type, struct proc_walk *walk,
		    void (*cb)(void *arg, const struct entry *e), void *arg)
{
	uint32_t refs[16], n;

	cache_lock(cache);
	n = cache_walk(cache, &walk->place, refs, countof(refs));
	for (uint32_t i = 0; i < n; i++)
		if (cache_entry(cache, (entry_ref){refs[i]})->type == type)
			cb(arg, cache_entry(cache, (entry_ref){refs[i]}));
	cache_unlock(cache);
	return n != 0;
}

/* Few: the walk has to find the others. */
uint64_t proc_recent(struct proc *p, uint64_t rv,
		     void (*cb)(void *arg, const struct entry *e, const struct version *v),
		     void *arg)
{
	const struct version *some[16];
	uint64_t begin = cache_oldest(cache) - 1;
	int n;

	if (rv > countof(some) && begin < rv - countof(some))
		begin = rv - countof(some);
	cache_lock(cache);
	n = cache_journal(cache, begin, some, (int)(rv - begin));
	for (int i = 0; i < n; i++)
		cb(arg, cache_entry(cache, some[i]->entry), some[i]);
	cache_unlock(cache);
	return n < 0 ? UINT64_MAX : begin;
}

static void (*meanwhile)(void); /* once, between two parts of a look */

void proc_beat(struct proc *p)
{
	void (*once)(void) = meanwhile;

	meanwhile = NULL;
	if (once)
		once();
}

void proc_follow(struct proc *p, uint64_t rv)
{
}

void proc_flush(struct proc *p)
{
}

static unsigned failures_told; /* so far */

void proc_event(struct proc *p, const struct entry *about, const struct event_source *source,
		const char *type, const char *reason, struct str message)
{
	failures_told += strcmp(reason, "FailedScheduling") == 0;
}

#endif
