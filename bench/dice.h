/*
 * dice.h - numbers that look random and follow from a seed alone.
 */
#ifndef WEFT_DICE_H
#define WEFT_DICE_H

#include <stdint.h>
#include <stdlib.h>

struct dice {
	uint64_t state; /* not 0 */
};

/* xorshift64* (Vigna 2016) */
static inline uint64_t dice_next(struct dice *d)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return d->state * UINT64_C(2685821657736338717);
}

static inline uint32_t dice_below(struct dice *d, uint32_t n)
{
	return (uint32_t)((dice_next(d) >> 32) * n >> 32);
}

/* WEFT_BENCH_SEED, or 1; never 0. */
static inline uint64_t bench_seed(void)
{
	const char *text = getenv("WEFT_BENCH_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 1;

	return seed + !seed;
}

#endif
