/*
 * claim.h - how a controller comes to own what its selector matches: adoption
 * of orphans, release of dependents that stopped matching.
 *
 * Kubernetes lists every object of the namespace at each reconcile to find
 * both.  Here the store says which objects became orphans or were relabelled
 * (ROUTE_ORPHAN, ROUTE_RELABELLED); map() notes them as candidates for the
 * owner concerned, and only the first reconcile after a resync looks at all
 * dependents and at all objects in matching label sets.  A reconcile's cost
 * follows what changed, not how many dependents there are.
 */
#ifndef WEFT_CLAIM_H
#define WEFT_CLAIM_H

#include "weft/kube.h"
#include "weft/proc.h"

struct claim {
	entry_ref object;
	uint64_t created_rv; /* tells the object from a later one at its place */
};

struct claim_list {
	uint8_t owner[16];
	struct claim *list; /* NULL: the place is free */
	uint32_t n, cap;
};

/* Candidates of each owner of this process: open addressing by uid.  Private to
 * the controller; zero-initialise. */
struct claims {
	struct claim_list *owners;
	uint32_t n, cap;
};

/* Kept per owner in the controller's object state. */
struct claim_state {
	uint64_t resyncs; /* ctl_resyncs() + 1 at the last full look; 0: never */
};

/* An owner's selector (in ctl_zone), NULL if it has none. */
typedef struct kube_selector *(*claim_selector)(struct controller *ctl, const struct entry *owner,
						const struct version *v);

/* The usual one: spec.selector, a LabelSelector. */
struct kube_selector *claim_selector_of(struct controller *ctl, const struct entry *owner,
					const struct version *v);

/* map() for a controller: notes `other` as a candidate and queues the owners
 * of type `owner_type` concerned. */
void claim_map(struct controller *ctl, struct claims *claims, uint16_t owner_type,
	       claim_selector selector_of, const struct entry *other);

/* Called first in reconcile: adopts and releases what has to be.  Dependents
 * are of `type`.  Adoption needs an owner that is not being deleted.  Returns
 * the number of requests sent (each is looked at again after its reply), or
 * WEFT_EAGAIN when the ring is full: the object then comes back. */
int claim_reconcile(struct controller *ctl, struct claims *claims, struct claim_state *state,
		    uint16_t type, const struct entry *owner, const struct version *v,
		    const struct kube_selector *selector);

#endif
