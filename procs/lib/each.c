/* each.c - every object of a type, and what has changed last, without holding up the store
 * or being taken for dead. */
#include "procs/lib/lib.h"

#include <stdio.h>

#include "weft/fault.h"

#define CHUNK 4096u /* objects looked at in one read section */

/* By key, the next chunk begins after this one. */
static void note_key(struct proc_walk *walk, const struct cache *c, const struct entry *e)
{
	snprintf(walk->ns, sizeof(walk->ns), STR_FMT, STR_ARG(cache_ns(c, e)));
	snprintf(walk->name, sizeof(walk->name), STR_FMT, STR_ARG(entry_name(e)));
}

/* The next objects; false at the end. */
static bool chunk(struct proc *p, uint16_t type, struct proc_walk *walk,
		  void (*cb)(void *arg, const struct entry *e), void *arg)
{
	struct cache *c = p->cache;
	const struct str none = {0};
	const struct entry *e, *last = NULL;
	struct cache_iter it;
	bool first = !walk->name[0];

	cache_lock(c);
	cache_iter_init(&it, c, type, none, first ? none : str_of(walk->ns),
			first ? none : str_of(walk->name));
	for (uint32_t n = 0; (e = cache_iter_next(&it)); n++) {
		if (n >= CHUNK && !cache_same_key(c, e, last))
			break;
		cb(arg, e);
		last = e;
	}
	if (e)
		note_key(walk, c, last);
	cache_unlock(c);
	return e != NULL;
}

/* The same among objects of all types, by where they lie. */
static bool chunk_of_all(struct proc *p, uint16_t type, struct proc_walk *walk,
			 void (*cb)(void *arg, const struct entry *e), void *arg)
{
	struct cache *c = p->cache;
	uint32_t refs[CHUNK], n;

	cache_lock(c);
	n = cache_walk(c, &walk->place, refs, CHUNK);
	for (uint32_t i = 0; i < n; i++) {
		const struct entry *e = cache_entry(c, (entry_ref){refs[i]});

		cache_prefetch_ahead(c, refs, n, i);
		if (e->type == type)
			cb(arg, e);
	}
	cache_unlock(c);
	return n != 0;
}

/* Are so many of all objects of this type that it is faster to walk over all of them? */
static bool is_most(const struct cache *c, uint16_t type)
{
	return cache_type_count(c, type) > cache_count(c) / 2;
}

bool proc_walk_next(struct proc *p, uint16_t type, struct proc_walk *walk,
		    void (*cb)(void *arg, const struct entry *e), void *arg)
{
	if (walk->begun)
		fault_at(proc_chunk);
	else
		walk->by_place = is_most(p->cache, type);
	walk->begun = true;
	return walk->by_place ? chunk_of_all(p, type, walk, cb, arg)
			      : chunk(p, type, walk, cb, arg);
}

void proc_each(struct proc *p, uint16_t type, void (*cb)(void *arg, const struct entry *e),
	       void *arg)
{
	struct proc_walk walk = {0};

	while (proc_walk_next(p, type, &walk, cb, arg))
		proc_beat(p);
}

/* --- What has changed last ----------------------------------------------------------- */

/* Of some records, those up to `rv`; how many there were. */
static int some_recent(struct cache *c, uint64_t after, uint64_t rv,
		       void (*cb)(void *arg, const struct entry *e, const struct version *v),
		       void *arg)
{
	const struct version *some[256];
	int n = cache_journal(c, after, some, (int)countof(some));

	for (int i = 0; i < n; i++) {
		prefetch(some[i]);
		prefetch(&some[i]->flags);
	}
	for (int i = 0; i < n && after + (uint64_t)i < rv; i++)
		cb(arg, cache_entry(c, some[i]->entry), some[i]);
	return n;
}

uint64_t proc_recent(struct proc *p, uint64_t rv,
		     void (*cb)(void *arg, const struct entry *e, const struct version *v),
		     void *arg)
{
	struct cache *c = p->cache;
	uint64_t begin = cache_oldest(c) - 1, at;
	int n = 1;

	if (rv > PROC_RECENT && begin < rv - PROC_RECENT)
		begin = rv - PROC_RECENT;
	at = begin;
	while (n > 0 && at < rv) {
		cache_lock(c);
		n = some_recent(c, at, rv, cb, arg);
		cache_unlock(c);
		if (n > 0)
			at += (uint64_t)n;
	}
	return n < 0 ? UINT64_MAX : begin;
}
