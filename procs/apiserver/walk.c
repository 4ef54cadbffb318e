/*
 * walk.c - the objects that a list or a watch has to look at.
 *
 * Each kubelet lists the pods of its node, and so does everybody who drains one:
 * what that costs must not grow with the cluster.  The cache knows the pods of a
 * node, in no order; they are sorted, as long as that fits a read section.  More
 * are found by the walk over all: it then meets them often enough.
 */
#include <stdlib.h>
#include "procs/apiserver/walk.h"

/* --- Places ------------------------------------------------------------------------- */

void place_set(struct place *p, struct str ns, struct str name)
{
	weft_assert(ns.n + name.n <= KEY_MAX);
	p->set = true;
	p->ns_n = ns.n;
	p->name_n = name.n;
	memcpy(p->text, ns.p, ns.n);
	memcpy(p->text + ns.n, name.p, name.n);
}

void place_at(struct place *p, const struct cache *c, const struct entry *e)
{
	place_set(p, cache_ns(c, e), entry_name(e));
}

struct str place_ns(const struct place *p)
{
	return (struct str){p->text, p->ns_n};
}

struct str place_name(const struct place *p)
{
	return (struct str){p->set ? p->text + p->ns_n : NULL, p->name_n};
}

/* --- By node ------------------------------------------------------------------------ */

static int by_key(const void *a, const void *b, void *arg)
{
	const struct entry *x = *(const struct entry *const *)a,
			   *y = *(const struct entry *const *)b;
	const struct cache *c = arg;

	return cache_key_cmp(cache_ns(c, x), entry_name(x), cache_ns(c, y), entry_name(y));
}

/* Is the pod one to look at: in the namespace, and behind `after`? */
static bool comes(const struct cache *c, const struct filter *f, const struct place *after,
		  const struct entry *pod)
{
	struct str ns = cache_ns(c, pod);

	if (f->one_ns && !str_eq(ns, f->ns))
		return false;
	return !after->set ||
	       cache_key_cmp(ns, entry_name(pod), place_ns(after), place_name(after)) > 0;
}

/* False if there are too many. */
static bool take_pods(struct walk *w, const struct cache *c, const struct filter *f,
		      const struct place *after, const struct nodeslot *node)
{
	const struct entry *pod;
	uint32_t visits = 0;

	for (pod = node ? cache_first_on_node(c, node) : NULL; pod;
	     pod = cache_next_on_node(c, pod)) {
		if (visits++ == VISITS_MAX)
			return false;
		if (comes(c, f, after, pod))
			w->pod[w->n++] = pod;
	}
	qsort_r(w->pod, w->n, sizeof(w->pod[0]), by_key, (void *)c);
	return true;
}

/* --- All ---------------------------------------------------------------------------- */

void walk_begin(struct walk *w, const struct cache *c, const struct filter *f,
		const struct place *after)
{
	w->n = w->next = 0;
	w->by_node = f->node.n && take_pods(w, c, f, after, cache_node(c, f->node));
	if (!w->by_node)
		cache_iter_init(&w->it, c, f->type, f->one_ns ? f->ns : (struct str){NULL, 0},
				place_ns(after), place_name(after));
}

const struct entry *walk_next(struct walk *w)
{
	if (!w->by_node)
		return cache_iter_next(&w->it);
	return w->next < w->n ? w->pod[w->next++] : NULL;
}
