/*
 * autoscale.h - how many processes of a kind there should be, by how long work waits
 * for them: within the bounds that the configuration sets, one at a time.
 *
 * One more, when something waits for `up_age_ms` and has done so at each look for
 * `up_after_ms`; one fewer, when nothing has waited longer than `calm_age_ms` for
 * `down_after_ms`.  Between the two ages nothing changes.  After a change everybody looks at
 * all its objects: what waits until those are worked off, and for a while after, says
 * nothing.  One fewer is on probation for ten times as long as it took to decide: if one more
 * is needed again within that time, deciding takes twice as long from then on, else half as
 * long again.  So a load that N processes hold and N - 1 do not, or not always, costs a few
 * changes and no more.
 */
#ifndef PROCS_SUPERVISOR_AUTOSCALE_H
#define PROCS_SUPERVISOR_AUTOSCALE_H

#include "weft/base.h"

#define AUTOSCALE_PATIENCE_MAX 64 /* times down_after_ms */
#define AUTOSCALE_PROBATION    10 /* times that */
#define AUTOSCALE_SETTLE       3  /* times up_after_ms */

struct autoscale_rules {
	int64_t up_age_ms, up_after_ms;
	int64_t calm_age_ms, down_after_ms;
};

/* Of one kind; all zero at first, but for the bounds. */
struct autoscale {
	uint32_t min, max;	/* 0, 0: its number is set by hand alone */
	int64_t late_since_ns;	/* something has waited too long at each look since; 0: not now */
	int64_t calm_since_ns;	/* nothing has; 0: not now */
	int64_t settled_ns;	/* from then on it means something that work waits */
	int64_t fewer_since_ns; /* when there was last one fewer, while that is on probation; 0 */
	uint32_t patience;	/* times down_after_ms before there is one fewer; 0: 1 */
};

/* `age_ms`: how long the oldest item of any of the `count` processes has waited.  Returns how
 * many there should be. */
uint32_t autoscale_judge(struct autoscale *a, const struct autoscale_rules *r, uint32_t count,
			 int64_t age_ms, int64_t now_ns);
/* What was seen so far says nothing any more: the number was changed, the store was away, or
 * all objects are being looked at. */
void autoscale_unsettle(struct autoscale *a, const struct autoscale_rules *r, int64_t now_ns);

#endif
