/*
 * hist.h - a log-linear histogram of durations in nanoseconds: 64 buckets for
 * each power of two, so a value is kept to 1.6 percent, from 1 ns to hours, in
 * constant time and space.
 */
#ifndef LOAD_HIST_H
#define LOAD_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6
#define HIST_SUB      (1u << HIST_SUB_BITS)
#define HIST_BUCKETS  ((64 - HIST_SUB_BITS) * HIST_SUB)

struct hist {
	uint64_t n, max;
	double sum;
	uint64_t bucket[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t ns);
void hist_merge(struct hist *into, const struct hist *from);
/* The upper edge of the bucket that holds the value which `share` (0..1) of all
 * do not exceed, at most the largest value; 0 if there is none. */
uint64_t hist_at(const struct hist *h, double share);

#endif
