/*
 * burst.h - whether the checkpoint should wait for a burst of writes to end.  Numbers
 * in, an answer out; times are monotonic ns.
 */
#ifndef WEFT_CHECKPOINT_BURST_H
#define WEFT_CHECKPOINT_BURST_H

#include <stdbool.h>
#include <stdint.h>

#define BURST_LOOK_MS 100    /* between looks */
#define BURST_RATE    20000  /* writes a second that make one */
#define BURST_CALM_MS 400    /* without as many: it is over */
#define BURST_FAST    500000 /* writes a second at which the window mostly passes a round */
/* For how long after the tables were up to date a burst may put a round off, and for how
 * many writes, which a start would have to replay. */
#define BURST_WAIT_MS	   5000
#define BURST_WAIT_RECORDS (UINT64_C(4) << 20)
/* In a fast one a round would come to nothing: only so many. */
#define BURST_FAST_RECORDS (UINT64_C(16) << 20)

/* The last look.  rv and ns are to be set before the first. */
struct burst {
	uint64_t rv;
	int64_t ns;
	uint64_t rate;	 /* writes a second before it */
	int64_t busy_ns; /* the last look at which a burst was going on */
};

/* Is it time to look again? */
bool burst_due(const struct burst *b, int64_t now_ns);
/* Look: is one going on, or not long over? */
bool burst_look(struct burst *b, uint64_t rv, int64_t now_ns);
/* One is: should what is `behind` by so many writes, and was up to date at since_ns, wait? */
bool burst_may_wait(const struct burst *b, uint64_t behind, int64_t since_ns);
/* Should a round that has been begun, of resourceVersion `at`, go on so as not to be lost?  The
 * journal goes from `oldest` to b->rv, and half of what is before `at` has gone. */
bool burst_presses(const struct burst *b, uint64_t at, uint64_t oldest);

#endif
