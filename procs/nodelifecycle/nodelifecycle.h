/*
 * nodelifecycle.h - nodes that are lost, and their pods: what its files share.
 *
 *   health.c     Leases that are no longer renewed: conditions become Unknown,
 *                pods are marked not ready
 *   taints.c     taints that follow from conditions
 *   zones.c      when a lost node gets its NoExecute taint: so many a second in a zone
 *   limit.c      how many
 *   eviction.c   pods leave nodes with NoExecute taints that they do not
 *                tolerate, or no longer
 *   collect.c    pods of nodes that do not exist
 *   main.c       the process
 */
#ifndef WEFT_NODELIFECYCLE_H
#define WEFT_NODELIFECYCLE_H

#include "procs/lib/refmap.h"
#include "procs/nodelifecycle/limit.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define TAINT_NOT_READY	  "node.kubernetes.io/not-ready"
#define TAINT_UNREACHABLE "node.kubernetes.io/unreachable"

/* Kept for each node. */
struct node_state {
	uint64_t lease_rv, status_hash; /* of the Lease and the status, as last seen */
	int64_t renewed_ns;		/* monotonic: when one of them was last seen to change */
	bool told;			/* its registration */
};

/* Pods of nodes that do not exist. */
struct lost_pods {
	struct lost_pod {
		uint32_t entry;
		uint64_t created_rv;
		int64_t due_ns; /* monotonic: when it is to go */
	} * pod;
	uint32_t n, cap;
	struct refmap by_entry; /* which of them */
	int64_t due_ns;		/* the first of them; 0: none */
};

/* How a pod is made to go: what its status says first, and how much time it has. */
struct ending {
	const char *reason, *message, *phase; /* phase: NULL, as it is */
	int32_t grace;			      /* seconds; -1: its own */
	bool for_node;			      /* asked for while its node is reconciled */
	void (*tell)(struct controller *ctl, const struct entry *pod); /* once it is marked */
};

/* zones.c */
struct zones {
	struct node_zone *zone;
	uint32_t n;
	struct limits limits;
	uint64_t pass;	  /* looks at all nodes */
	int64_t look_ns;  /* when the next one is due */
	bool all_lost;	  /* every node of every zone was lost at the last look */
	int64_t awake_ns; /* when we last looked at anything */
	int64_t back_ns;  /* when all were no longer lost, or we were back; 0: never */
};

struct nodelifecycle {
	struct lost_pods lost;
	struct zones zones;
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
void zones_start(struct controller *ctl);
void zones_resync(struct controller *ctl);
/* Taint whose turn it is; returns when to be called again. */
int64_t zones_turn(struct controller *ctl, int64_t now_ns);
/* All nodes of all zones are lost: it is more likely we who are cut off, and nobody is
 * evicted. */
bool zones_all_lost(struct controller *ctl);
/* When (monotonic) that ended, or when we were back from being stopped, or behind a clock
 * that was set: no node's silence before counts.  0: never. */
int64_t zones_back_ns(struct controller *ctl);
/* Something is about to be looked at: by these calls it is known when we were away. */
void zones_awake(struct controller *ctl, int64_t now_ns);
/* How often nodes are looked at: well within their grace period. */
int64_t monitor_ns(struct controller *ctl);
/* Into spec.taints, with the time of now. */
void taint_add(struct controller *ctl, value *spec, const char *key, const char *effect);

/* eviction.c */

/* Its status as `v` has it, with the reason; then the pod is deleted.  What its node writes
 * meanwhile is not lost: our status is refused then (and the node reconciled anew).  Errors
 * as ctl_send(). */
int end_pod(struct controller *ctl, const struct entry *pod, const struct version *v,
	    const struct ending *how);
/* The pod that this was, if it is still there. */
const struct entry *find_pod(const struct cache *c, uint32_t entry, uint64_t created_rv);

/* collect.c */

/* The pod names a node that is not there. */
void collect_note(struct controller *ctl, const struct entry *pod);
/* The node is gone: so do its pods. */
void collect_node_gone(struct controller *ctl, const struct entry *node);
/* All pods are looked at: who waits for being collected is known from nothing else. */
void collect_resync(struct controller *ctl);
int64_t collect_turn(struct controller *ctl, int64_t now_ns);

#endif
