/*
 * nodelifecycle.h - nodes that are lost, and their pods: what its files share.
 *
 *   health.c     Leases that are no longer renewed: conditions become Unknown,
 *                pods are marked not ready
 *   taints.c     taints that follow from conditions
 *   eviction.c   pods leave nodes with NoExecute taints that they do not
 *                tolerate, or no longer; pods of nodes that do not exist
 *   main.c       the process
 */
#ifndef WEFT_NODELIFECYCLE_H
#define WEFT_NODELIFECYCLE_H

#include "weft/kube.h"
#include "weft/proc.h"

/* Kept for each node. */
struct node_state {
	uint64_t lease_rv, status_hash; /* of the Lease and the status, as last seen */
	int64_t renewed_ns;		/* monotonic: when one of them was last seen to change */
	bool told;			/* its registration */
};

struct lost_pod {
	uint32_t entry;
	uint64_t created_rv;
	int64_t due_ns;
};

struct nodelifecycle {
	struct lost_pod *lost;
	uint32_t nlost, lost_cap;
	uint32_t nodes, nodes_lost; /* at the last count, for the limits of eviction */
	int64_t counted_ns;
};

/* One look at a node. */
struct look {
	struct controller *ctl;
	const struct cache *c;
	zone *z;
	const struct entry *e;
	const struct version *v;
	struct node_state *state;
	value meta, spec, status;
	bool spec_changed, status_changed;
};

void health_check(struct look *l);
void taints_update(struct look *l);
/* Evict what is due; the next is asked for with ctl_after(). */
void eviction_run(struct look *l);
/* Too many nodes are lost at once: the fault is more likely ours. */
bool eviction_suspended(struct controller *ctl);
void eviction_note_lost(struct controller *ctl, const struct entry *pod, int64_t now_ns);
int64_t eviction_turn(struct controller *ctl, int64_t now_ns);
/* The node is gone: its pods are lost. */
void eviction_node_gone(struct controller *ctl, const struct entry *node);

#endif
