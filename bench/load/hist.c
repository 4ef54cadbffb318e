/* hist.c - a log-linear histogram. */
#include "bench/load/hist.h"

/* Values below HIST_SUB have a bucket each; above, the highest bit picks the
 * row and the HIST_SUB_BITS below it the place in it. */
static uint32_t bucket_of(uint64_t v)
{
	uint32_t shift;

	if (v < HIST_SUB)
		return (uint32_t)v;
	shift = 63 - (uint32_t)__builtin_clzll(v) - HIST_SUB_BITS;
	return (shift + 1) * HIST_SUB + (uint32_t)(v >> shift) - HIST_SUB;
}

/* The largest value of a bucket. */
static uint64_t edge_of(uint32_t bucket)
{
	uint32_t row = bucket / HIST_SUB;

	if (row == 0)
		return bucket;
	return ((uint64_t)(bucket % HIST_SUB + HIST_SUB + 1) << (row - 1)) - 1;
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->n++;
	h->sum += (double)ns;
	h->max = ns > h->max ? ns : h->max;
	h->bucket[bucket_of(ns)]++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	into->n += from->n;
	into->sum += from->sum;
	into->max = from->max > into->max ? from->max : into->max;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

uint64_t hist_at(const struct hist *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->n + 0.9999), seen = 0;

	for (uint32_t i = 0; h->n && i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want && seen)
			return edge_of(i) < h->max ? edge_of(i) : h->max;
	}
	return h->max;
}
