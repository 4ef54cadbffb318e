/*
 * waiting.h - for how long the first item of a queue has waited, where a time for
 * each would cost too much memory.  (The controllers' queue has one for each: queue.h.)
 *
 * Items are numbered as they come: `head` is the first that waits, `tail` the next to
 * come.  Whoever looks at both once a turn knows of every item a turn in which it was
 * there; one such mark at a time is remembered.  What is said is never less than the
 * truth, and at most the time more in which as many items were taken.
 */
#ifndef PROCS_LIB_WAITING_H
#define PROCS_LIB_WAITING_H

#include "weft/base.h"

struct waiting {
	uint64_t mark; /* those below were there at mark_ns */
	int64_t mark_ns;
	int64_t since_ns; /* the first has waited since then at the most; 0: none waits */
};

/* Once a turn, after items have come and been taken; returns the age of the first. */
static inline int64_t waiting_look(struct waiting *w, uint64_t head, uint64_t tail, int64_t now_ns)
{
	if (head == tail) {
		w->since_ns = 0;
		return 0;
	}
	if (w->since_ns && head < w->mark)
		return now_ns - w->since_ns;
	w->since_ns = w->since_ns ? w->mark_ns : now_ns;
	w->mark = tail;
	w->mark_ns = now_ns;
	return now_ns - w->since_ns;
}

#endif
