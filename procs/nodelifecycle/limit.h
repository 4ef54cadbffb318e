/*
 * limit.h - how fast nodes may be evicted, as Kubernetes' node lifecycle controller has it:
 * a function of how many nodes of a zone are lost, and a token bucket that holds one.  No
 * process, no cache.
 */
#ifndef WEFT_NODELIFECYCLE_LIMIT_H
#define WEFT_NODELIFECYCLE_LIMIT_H

#include "weft/base.h"

enum zone_health {
	ZONE_INITIAL, /* not judged yet */
	ZONE_NORMAL,
	ZONE_PARTIAL, /* more than two nodes are lost, and the threshold's share or more */
	ZONE_FULL,    /* all are */
};

/* Rates and shares are in thousandths. */
struct limits {
	int64_t rate_milli;	      /* nodes a second, of a zone that is well or wholly lost */
	int64_t secondary_rate_milli; /* of one that is partly lost and large */
	int64_t threshold_milli;      /* lost nodes that make a zone partly lost */
	uint32_t large;		      /* a zone of more nodes than these is large */
};

enum zone_health zone_judge(const struct limits *l, uint32_t ready, uint32_t lost);
/* In thousandths; 0: never. */
int64_t zone_rate(const struct limits *l, enum zone_health health, uint32_t nodes);

/* One token, which comes back after 1 / rate. */
struct limiter {
	int64_t rate_milli;
	int64_t at_ns; /* when it is there */
};

/* Full at first. */
static inline struct limiter limiter_make(int64_t rate_milli, int64_t now_ns)
{
	return (struct limiter){rate_milli, now_ns};
}

/* Take the token; false if there is none. */
bool limiter_take(struct limiter *l, int64_t now_ns);
/* It was taken then. */
void limiter_taken(struct limiter *l, int64_t when_ns);
/* Another rate: whoever waits for the token goes on waiting. */
void limiter_swap(struct limiter *l, int64_t rate_milli, int64_t now_ns);
/* When there is a token; INT64_MAX: never. */
int64_t limiter_next(const struct limiter *l);

#endif
