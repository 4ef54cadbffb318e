/*
 * walk.c - the objects that a list or a watch has to look at.
 *
 * Each kubelet lists the pods of its node, and so does everybody who drains one:
 * what that costs must not grow with the cluster.  The cache knows the pods of a
 * node, in no order: the first of them are looked for, then those behind these, as
 * a piece of the answer needs few.  A node with many is found by the walk over all,
 * which then meets its pods often enough.
 */
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

/* Of one key, as after a deletion and a creation, the older first. */
static int by_key(const struct cache *c, const struct entry *a, const struct entry *b)
{
	int order = cache_key_cmp(cache_ns(c, a), entry_name(a), cache_ns(c, b), entry_name(b));

	return order ? order : (a->created_rv > b->created_rv) - (a->created_rv < b->created_rv);
}

/* Where among those that are kept, which are in order. */
static uint32_t position(const struct walk *w, const struct entry *pod)
{
	uint32_t from = 0, to = w->n;

	while (from < to) {
		uint32_t mid = (from + to) / 2;

		if (by_key(w->c, w->pod[mid], pod) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

/* Keep the first of those that come in any order. */
static void keep_first(struct walk *w, const struct entry *pod)
{
	uint32_t at;

	w->more |= w->n == WALK_TOGETHER;
	if (w->n == WALK_TOGETHER && by_key(w->c, pod, w->pod[w->n - 1]) > 0)
		return;
	at = position(w, pod);
	w->n -= w->n == WALK_TOGETHER;
	memmove(w->pod + at + 1, w->pod + at, (w->n - at) * sizeof(w->pod[0]));
	w->pod[at] = pod;
	w->n++;
}

static bool in_namespace(const struct walk *w, const struct entry *pod)
{
	return !w->f->one_ns || str_eq(cache_ns(w->c, pod), w->f->ns);
}

static bool behind(const struct cache *c, const struct place *after, const struct entry *pod)
{
	return !after || !after->set ||
	       cache_key_cmp(cache_ns(c, pod), entry_name(pod), place_ns(after),
			     place_name(after)) > 0;
}

/* Few enough to be gone over again and again in a read section? */
static bool has_few(const struct cache *c, const struct nodeslot *node)
{
	const struct entry *pod = cache_first_on_node(c, node);
	uint32_t n = 0;

	for (; pod && n <= WALK_NODE_MAX; pod = cache_next_on_node(c, pod))
		n++;
	return n <= WALK_NODE_MAX;
}

/* The first pods behind `last` or, if that is NULL, behind `after`. */
static void take_pods(struct walk *w, const struct place *after, const struct entry *last)
{
	const struct cache *c = w->c;
	const struct entry *pod;

	w->n = w->next = 0;
	w->more = false;
	for (pod = cache_first_on_node(c, w->node); pod; pod = cache_next_on_node(c, pod))
		if (in_namespace(w, pod) &&
		    (last ? by_key(c, pod, last) > 0 : behind(c, after, pod)))
			keep_first(w, pod);
}

/* --- All ---------------------------------------------------------------------------- */

void walk_begin(struct walk *w, const struct cache *c, const struct filter *f,
		const struct place *after)
{
	w->c = c;
	w->f = f;
	w->n = w->next = 0;
	w->more = false;
	w->node = f->node.n ? cache_node(c, f->node) : NULL;
	w->by_node = f->node.n && (!w->node || has_few(c, w->node));
	if (!w->by_node)
		cache_iter_init(&w->it, c, f->type, f->one_ns ? f->ns : (struct str){NULL, 0},
				after ? place_ns(after) : STR(""),
				after ? place_name(after) : (struct str){NULL, 0});
	else if (w->node)
		take_pods(w, after, NULL);
}

const struct entry *walk_next(struct walk *w)
{
	if (!w->by_node)
		return cache_iter_next(&w->it);
	if (w->next == w->n && w->more)
		take_pods(w, NULL, w->pod[w->n - 1]);
	return w->next < w->n ? w->pod[w->next++] : NULL;
}
