/* limit.c - how fast nodes may be evicted; see limit.h. */
#include "procs/nodelifecycle/limit.h"

#define FEW	 2			/* lost nodes that never make a zone partly lost */
#define MILLI_NS INT64_C(1000000000000) /* a second, for a rate in thousandths */

enum zone_health zone_judge(const struct limits *l, uint32_t ready, uint32_t lost)
{
	if (!ready && lost)
		return ZONE_FULL;
	if (lost > FEW && (int64_t)lost * 1000 >= l->threshold_milli * ((int64_t)lost + ready))
		return ZONE_PARTIAL;
	return ZONE_NORMAL;
}

int64_t zone_rate(const struct limits *l, enum zone_health health, uint32_t nodes)
{
	if (health != ZONE_PARTIAL)
		return l->rate_milli;
	return nodes > l->large ? l->secondary_rate_milli : 0;
}

void limiter_taken(struct limiter *l, int64_t when_ns)
{
	if (l->rate_milli)
		l->at_ns = when_ns + MILLI_NS / l->rate_milli;
}

bool limiter_take(struct limiter *l, int64_t now_ns)
{
	if (!l->rate_milli || now_ns < l->at_ns)
		return false;
	limiter_taken(l, now_ns);
	return true;
}

void limiter_swap(struct limiter *l, int64_t rate_milli, int64_t now_ns)
{
	bool waits;

	if (rate_milli == l->rate_milli)
		return;
	waits = !limiter_take(l, now_ns);
	*l = limiter_make(rate_milli, now_ns);
	if (waits)
		limiter_take(l, now_ns);
}

int64_t limiter_next(const struct limiter *l)
{
	return l->rate_milli ? l->at_ns : INT64_MAX;
}
