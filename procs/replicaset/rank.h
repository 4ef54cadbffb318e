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

/* Of a live version, or NULL: does the pod count for its ReplicaSet? */
static inline bool pod_is_active(const struct version *v)
{
	return v && !v->deletion_s && !pod_has_ended(v);
}

struct rank_choice {
	uint32_t *entries; /* entry refs */
	uint64_t *rvs;	   /* their versions' resourceVersions */
	uint32_t n;
	struct ranking *from; /* the one that is kept and that they are of, or NULL */
	uint32_t from_at;     /* where they begin in it */
};

/*
 * To rank means to look at every pod.  A ReplicaSet that shrinks in many steps, as
 * in a rolling update, would look at all of them in each; so the ranking of a large
 * one is made for several steps, and kept for some seconds, as long as all its pods
 * are Ready and no new one has come: then nothing has become better to go first.
 * Where many go at once, it says who, and not in which order.
 */
#define RANKINGS_KEPT 4
struct rankings {
	struct ranking {
		uint8_t owner[16];
		uint32_t *entries;    /* in the order of going */
		uint64_t *created_rv; /* of each: tells it from another that has its place */
		uint32_t n, at;	      /* at: the next to go */
		bool any_order;	      /* it serves only as long as all of them go */
		uint64_t newest_rv;   /* created_rv of the owner's newest pod when it was made */
		uint32_t made_s;
	} kept[RANKINGS_KEPT];
	uint32_t next; /* to be given up */
};

/* Of the `surplus` active pods of `owner` that go first (all, if there are fewer), the
 * first `max`.  When all go, they come in any order.  In a read section.  `kept` may be
 * NULL: all is looked at now. */
void rank_choose(const struct cache *c, const struct entry *owner, uint32_t surplus, uint32_t max,
		 uint32_t now_s, struct rankings *kept, struct rank_choice *out);
/* All but the first `done` of them do not go yet after all. */
void rank_give_back(const struct rank_choice *choice, uint32_t done);
void rank_free(struct rank_choice *choice);
/* Give up what is too old to serve. */
void rankings_trim(struct rankings *kept, uint32_t now_s);
/* References are void (another generation of the cache), another pod has become one of an
 * owner's, or the end. */
void rankings_forget(struct rankings *kept);

#endif
