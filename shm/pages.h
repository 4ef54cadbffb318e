/*
 * pages.h - whether a segment grows by huge pages or by small ones.
 *
 * A huge page is the better one, where it does not cost much more to have.  On a virtual
 * machine it may: the host takes back what is free in large pieces, and whoever uses such
 * a piece next pays a fault in the host for each 4 KiB, six times what small pages cost
 * that were in use a moment ago.  So what pages cost is measured as they are taken: after
 * a huge one that was slow small ones are taken, for longer each time, until one of
 * these is slow, too.
 */
#ifndef WEFT_SHM_PAGES_H
#define WEFT_SHM_PAGES_H

#include "weft/segment.h"

#define PAGES_SLOW_NS	2000000 /* for SEG_HUGE bytes; at hand they take 0.4 to 1.0 ms */
#define PAGES_SMALL_MIN 4u	/* steps, after the first slow huge page */
#define PAGES_SMALL_MAX 64u

/* The next ones are to be huge. */
static inline bool pages_huge(const struct seg_pages *p)
{
	return !p->small;
}

/* A step of `bytes`, SEG_HUGE or more, was taken as pages_huge() said, as far as the kernel
 * let it; it took the thread `ns` of CPU. */
static inline void pages_took(struct seg_pages *p, uint64_t bytes, int64_t ns)
{
	bool slow = ns * (int64_t)SEG_HUGE > PAGES_SLOW_NS * (int64_t)bytes;

	if (p->small) {
		p->small = slow ? 0 : p->small - 1;
	} else if (!slow) {
		p->last = 0;
	} else {
		p->small = p->last ? 2 * p->last : PAGES_SMALL_MIN;
		p->small = p->small < PAGES_SMALL_MAX ? p->small : PAGES_SMALL_MAX;
		p->last = p->small;
	}
}

#endif
