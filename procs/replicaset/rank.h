/*
 * rank.h - which pods of a ReplicaSet go first when there are too many.
 *
 * The documented ranking, first difference decides; earlier in the list goes
 * first:
 *   1. without a node before with one
 *   2. Pending before Unknown before Running
 *   3. not Ready before Ready
 *   4. lower controller.kubernetes.io/pod-deletion-cost
 *   5. more pods of the same controller on its node
 *   6. Ready for a shorter time
 *   7. more container restarts
 *   8. created later
 * Times are compared by order of magnitude (powers of two of the age), then by
 * uid, so that repeated scaling does not always hit the same node.
 */
#ifndef WEFT_RANK_H
#define WEFT_RANK_H

#include "weft/cache.h"

struct rank_choice {
	uint32_t *entries; /* entry refs */
	uint64_t *rvs;	   /* their versions' resourceVersions */
	uint32_t n;
};

/* The `count` active pods of `owner` that go first.  In a read section.  Time
 * grows with the number of pods, not with its square. */
void rank_choose(const struct cache *c, const struct entry *owner, uint32_t count, uint32_t now_s,
		 struct rank_choice *out);
void rank_free(struct rank_choice *choice);

#endif
