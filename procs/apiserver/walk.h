/*
 * walk.h - the objects that a list or a watch has to look at, in the order of
 * their keys, over as many short read sections as it takes.
 */
#ifndef WEFT_APISERVER_WALK_H
#define WEFT_APISERVER_WALK_H

#include "procs/apiserver/item.h"

#define VISITS_MAX 4096 /* objects looked at in one read section */

/* An object's key, kept between read sections; zero-initialise: before all. */
struct place {
	bool set;
	uint32_t ns_n, name_n;
	char text[KEY_MAX];
};

void place_set(struct place *p, struct str ns, struct str name);
void place_at(struct place *p, const struct cache *c, const struct entry *e);
struct str place_ns(const struct place *p);
struct str place_name(const struct place *p); /* .p == NULL: before all */

#define WALK_TOGETHER 128  /* pods of a node that are put in order at once */
#define WALK_NODE_MAX 2048 /* with more its pods are looked for among all */

/* Good within one read section. */
struct walk {
	const struct cache *c;
	const struct filter *f;
	bool by_node;
	struct cache_iter it;	     /* unless by_node */
	const struct nodeslot *node; /* by_node: whose pods; NULL: nobody ever named it */
	uint32_t n, next;
	bool more;				/* than are in `pod` */
	const struct entry *pod[WALK_TOGETHER]; /* the next ones, in order */
};

/* Begin behind `after`, NULL: at the start.  `f` lives as long as the walk.  The walk gives
 * every object that `f` may select at any resourceVersion that can still be read, and
 * others: those of the namespace, or, when a node is asked for that has few pods, this
 * node's. */
void walk_begin(struct walk *w, const struct cache *c, const struct filter *f,
		const struct place *after);
const struct entry *walk_next(struct walk *w); /* NULL at the end */

#endif
