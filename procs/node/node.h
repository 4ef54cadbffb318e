/*
 * node.h - the node process: any number of simulated kubelets.
 *
 * Pods come as work (they are bound to one of our nodes, or changed); each is
 * looked at in the cache, and what kubelet_advance() makes of it is written.
 * Pods of one kind (same spec, metadata and status) that go straight to a
 * state in which nothing more happens by itself share a plan: the status is
 * made once, with holes for addresses and times, and written for thousands at
 * a time.  All others are taken forward one by one, by timers.
 */
#ifndef WEFT_NODE_H
#define WEFT_NODE_H

#include "procs/lib/refmap.h"
#include "procs/lib/waiting.h"
#include "procs/node/address.h"
#include "procs/node/kubelet.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define PLAN_BATCH     4096u
#define PLAN_SLOTS     256u
#define PLAN_HOLES_MAX 16u

struct node;
struct known_node;

/* Pods whose status is on its way to the store, with the address that it gives each: taken,
 * though no pod in the cache shows it yet.  A list of all of them, for node.c. */
struct asked {
	struct asked *next, **from;
	uint32_t n;
	struct asked_pod {
		uint32_t entry, ip, holder; /* ip 0: none of ours */
	} * pods;
};

static inline void asked_add(struct asked **list, struct asked *a)
{
	a->next = *list;
	a->from = list;
	if (a->next)
		a->next->from = &a->next;
	*list = a;
}

static inline void asked_remove(struct asked *a)
{
	*a->from = a->next;
	if (a->next)
		a->next->from = a->from;
}

/* --- plan.c: pods of one kind, done together --------------------------------------- */

/* What a pod's kind is told by: contents, not references, which are reused. */
struct plan_key {
	uint64_t spec, meta, labels, status, ns;
};

struct plan_events {
	struct kubelet_event list[16];
	uint32_t n;
};

struct plan {
	struct plan_key key;
	bool set;	 /* the slot is in use */
	bool single;	 /* pods of this kind are to be done one by one */
	int64_t stop_ms; /* how long they take to stop */
	bool host_network;
	struct buf status;		  /* template */
	uint8_t nholes;			  /* KUBELET_HOLES, then those of the status before */
	struct plan_events starts, stops; /* what is told about each pod */
	zone *zone;			  /* their texts */
	/* Pods waiting to be written. */
	uint32_t n;
	uint32_t begun_s; /* wall: when the first of them came */
	uint32_t entries[PLAN_BATCH];
	uint64_t rvs[PLAN_BATCH];
	uint32_t holders[PLAN_BATCH]; /* of their addresses */
	uint32_t holes[PLAN_BATCH * PLAN_HOLES_MAX];
};

/* The plan for a pod's kind, made if there is none yet.  In a read section. */
struct plan *plan_for(struct node *self, const struct entry *e, const struct version *v);
/* Put a pod into its plan's batch; the batch is sent when it is full. */
void plan_add(struct node *self, struct plan *plan, const struct known_node *node,
	      const struct entry *e, const struct version *v);
/* Send what has been gathered. */
void plan_flush(struct node *self, struct plan *plan);
void plan_flush_all(struct node *self);
void plan_forget(struct node *self);

/* --- pods.c: the queue, timers, single pods ----------------------------------------- */

void pods_queue(struct node *self, uint32_t entry);
/* Forget the queue and all that is known of pods, to look at all of them: at once, or in
 * pieces, of which each comes after what is routed.  Either notes their addresses, those of
 * other shards' too, and queues our own that do not rest. */
void pods_resync(struct node *self);
void pods_walk(struct node *self);
/* The next piece, if there is a walk and it is time for one; all that is left, if a pod waits
 * for an address that is known to be free only then.  True when that was the end. */
bool pods_walk_on(struct node *self);
/* Work on the queue; returns when (wall ms) the next timer is due, 0: none. */
int64_t pods_turn(struct node *self);
void pods_tell(struct node *self, const struct entry *e, const struct known_node *node,
	       const struct kubelet_event *events, uint32_t n);
/* The pod's facts for kubelet.h, trees in self->z. */
void pods_read(struct node *self, const struct entry *e, const struct version *v, bool fill,
	       struct kubelet_pod *out);
uint32_t pods_address(struct node *self, const struct entry *e, const struct version *v);
/* The pod as the holder of an address. */
uint32_t pods_holder(const struct entry *e);
/* Note the addresses that pods show, those of other shards too. */
void pods_mark_addresses(struct node *self);
/* No address is free for the pod: it is told, and looked at again after a while; or at the end
 * of the walk, if there is one, as more may be free then. */
void pods_wait_for_address(struct node *self, const struct known_node *node, const struct entry *e);

/* --- register.c: Node objects and Leases -------------------------------------------- */

/* Those of the configuration that are ours are to be there. */
void kubelets_register(struct node *self);
/* Those that were to be are. */
bool kubelets_registered(const struct node *self);
/* All Nodes are looked at; their pods are not: pods_resync(). */
void kubelets_resync(struct node *self);
void kubelets_look(struct node *self, const struct entry *e);
/* Make Node objects, post statuses, renew Leases that are due; returns when (monotonic ns)
 * to be called again. */
int64_t kubelets_turn(struct node *self, int64_t now_ns);
/* The node, if its kubelet is ours and alive; NULL also while it is made to look dead.
 * To be forgotten when a Node may have come. */
const struct known_node *kubelets_find(struct node *self, nodeslot_ref slot);
/* Some will be asked for. */
void kubelets_prefetch(const struct node *self, const nodeslot_ref *slots, uint32_t n);

struct known_node {
	char *name;
	uint64_t hash;
	uint32_t slot;	  /* of the cache, that its Node object holds; 0: none */
	uint32_t host_ip; /* 0: not while it is there; its Node is to be made, or has gone */
	bool present, vanished;
	bool wanted;	  /* its Node object is to be made */
	bool due;	  /* it is in the list of those to be tended */
	bool asked;	  /* a request about its Node object is on its way */
	int64_t renew_ns; /* monotonic; when its Lease is due */
};

/* Where a status has the pod's address: most have the same, with a hole for it. */
struct known_address {
	uint64_t status; /* the part's hash, 0: none */
	int hole;	 /* -1: none, but `ip` */
	uint32_t ip;
};

struct lively; /* a pod that has timers */
struct timer;

struct node {
	struct proc *proc;
	const struct cache *c; /* of now */
	zone *z;
	const value *rules;
	struct addresses addresses;
	struct asked *asked; /* what gives some of them out */
	bool none_free;	     /* a pod waits for an address */
	int64_t renewed_ns;  /* monotonic: when addresses were worked out */
	struct plan *plans[PLAN_SLOTS];
	/* pods.c */
	struct proc_walk walk;
	bool walking;	 /* it has not come to its end */
	bool hurry;	 /* a pod waits for an address until it has */
	int64_t walk_ns; /* monotonic: when it may go on */
	struct known_address known_address;
	uint32_t *queue;
	uint32_t queue_n, queue_at, queue_cap;
	uint64_t queue_gone; /* places of the queue that were taken out of it */
	struct waiting waiting;
	struct timer *timers; /* a heap, soonest first */
	uint32_t ntimers, timers_cap;
	struct lively *lively; /* open addressing by created_rv */
	uint32_t lively_n, lively_cap;
	uint32_t *doomed; /* pods to be removed, one request */
	uint64_t *doomed_rvs;
	uint32_t ndoomed;
	/* register.c */
	struct addresses node_addresses;
	struct known_node *nodes;
	uint32_t nnodes, nodes_cap;
	uint32_t *node_index; /* hash table into nodes */
	uint32_t node_index_cap;
	struct refmap by_slot; /* known_node.slot -> into nodes */
	uint32_t *due;	       /* nodes whose Node object is to be made or updated */
	uint32_t ndue, due_cap;
	uint32_t nwanted;
	bool registered, ready;
	int64_t tend_ns;      /* monotonic; nobody is tended before, after an error */
	int64_t lease_due_ns; /* monotonic; nothing to renew before */
};

#endif
