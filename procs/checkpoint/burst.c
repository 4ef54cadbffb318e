/* burst.c - what burst.h promises. */
#include "procs/checkpoint/burst.h"

static bool passed(int64_t from_ns, int64_t now_ns, int64_t ms)
{
	return now_ns - from_ns >= ms * 1000000;
}

bool burst_due(const struct burst *b, int64_t now_ns)
{
	return passed(b->ns, now_ns, BURST_LOOK_MS);
}

bool burst_look(struct burst *b, uint64_t rv, int64_t now_ns)
{
	uint64_t ms = (uint64_t)(now_ns - b->ns) / 1000000 + 1;

	b->rate = (rv - b->rv) * 1000 / ms;
	b->rv = rv;
	b->ns = now_ns;
	if (b->rate > BURST_RATE)
		b->busy_ns = now_ns;
	return b->busy_ns && !passed(b->busy_ns, now_ns, BURST_CALM_MS);
}

bool burst_may_wait(const struct burst *b, uint64_t behind, int64_t since_ns)
{
	if (b->rate > BURST_FAST)
		return behind < BURST_FAST_RECORDS;
	return behind < BURST_WAIT_RECORDS && !passed(since_ns, b->ns, BURST_WAIT_MS);
}

bool burst_presses(const struct burst *b, uint64_t at, uint64_t oldest)
{
	return b->rate <= BURST_FAST && oldest <= at && at - oldest < (b->rv - oldest) / 2;
}
