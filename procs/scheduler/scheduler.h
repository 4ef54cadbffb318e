/*
 * scheduler.h - the scheduler: what its files share.
 *
 * Pods of one KIND (same spec, labels and namespace) ask for the same, so they
 * are scheduled as a group: nodes are filtered once for the kind, and then as
 * many of its pods are placed as fit.  Only kinds with terms about other pods
 * (affinity, spread) look at each pod by itself, as placing one changes where
 * the next may go.
 *
 *   kind.c      what a pod asks for, parsed once per kind
 *   nodes.c     nodes, what is used on them
 *   follow.c    keeping up with the cache: nodes, pods on them, pods that wait
 *   look.c      looking at everything, some at a time: nodes and their pods, pods that wait
 *   filter.c    may this kind go to that node, and if not, why
 *   terms.c     counts of matching pods by topology, for affinity and spread
 *   place.c     choosing nodes, sending binds
 *   wait.c      pods for which there is no node: why, and until when
 *   preempt.c   making room for a pod of higher priority
 *   main.c      the queue and the process
 *
 * What is used on a node counts our own binds from the moment they are sent;
 * they are told apart from others' in the journal by the table of assumed pods.
 */
#ifndef WEFT_SCHEDULER_H
#define WEFT_SCHEDULER_H

#include "procs/lib/refmap.h"
#include "procs/lib/waiting.h"
#include "weft/kube.h"
#include "weft/proc.h"

/* --- What a pod asks for -------------------------------------------------------- */

/* Resources are in thousandths, so that one unit serves cpu and bytes alike. */
struct extended {
	struct str name;
	int64_t milli;
};

struct resources {
	int64_t cpu, memory, storage; /* thousandths of a core, of a byte */
	struct extended *extended;
	uint32_t nextended;
};

struct port {
	uint32_t number;
	struct str protocol, ip;
};

/* What may give a pod that did not fit a place after all.  A kind that waits is
 * tried again when something has moved that refused it. */
enum move {
	MOVE_NODES,    /* there is a new one */
	MOVE_LABELS,   /* of a node */
	MOVE_CAPACITY, /* of a node */
	MOVE_TAINTS,   /* of a node, spec.unschedulable too */
	MOVE_GONE,     /* a pod left its node */
	MOVE_COME,     /* others bound a pod, or its labels changed */
	MOVE_REFUSED,  /* the store did not do what we asked for, for want of something */
	MOVE_COUNT
};
#define MOVES(m) (1u << (m))

struct domain {
	uint64_t hash;
	int64_t count;
};

/* Pods by domain (a value of a node label), by open addressing. */
struct domains {
	struct domain *at;
	uint32_t n, cap;
	int64_t least;	   /* the fewest in any domain; */
	uint32_t at_least; /* how many domains have so few, 0: not known */
};

enum term_type { TERM_SPREAD, TERM_AFFINITY, TERM_ANTI };

/* A term about other pods: those in `namespaces` that `selector` matches are
 * counted by the value of the node label `topology`. */
struct term {
	enum term_type type;
	bool hard;		       /* required, DoNotSchedule */
	int64_t weight;		       /* of a soft one */
	int64_t max_skew, min_domains; /* spread */
	bool matches_self;
	bool honor_affinity, honor_taints; /* spread: nodes that count as domains */
	struct kube_selector *selector;
	struct str topology;
	const value *namespaces;	   /* array of names, NULL: the pod's own */
	struct kube_selector *ns_selector; /* NULL: none */
	struct domains matching;	   /* pods that the selector matches */
	int64_t total;			   /* the same, anywhere */
	struct domains own;		   /* required anti-affinity: pods of the kind itself */
};

struct pending {
	uint32_t entry;
	uint32_t told; /* hash of what its condition was last asked to say, 0: nothing */
	uint64_t created_rv;
};

struct kind {
	uint64_t spec_hash, labels_hash, ns_hash;
	struct kind *next; /* in its hash chain */
	zone *z;
	value spec, labels;
	struct str labels_bytes;
	struct str ns;
	struct resources ask;
	int64_t score_cpu, score_memory; /* as asked, or what is assumed of one that asks nothing */
	struct port *ports;
	uint32_t nports;
	int64_t priority;
	bool may_preempt, ours; /* ours: spec.schedulerName is default-scheduler */
	bool tolerates_unschedulable;
	const value *only_nodes; /* names that node affinity pins it to, NULL: none */
	const value *preferred;	 /* terms of node affinity that only weigh, NULL: none */
	struct term *terms;
	uint32_t nterms;
	bool has_anti; /* required anti-affinity: others must keep away from its pods */
	/* Where others' binds would void ours, and ours would void others' (place.h). */
	uint64_t *guards, *marks;
	uint32_t nguards, nmarks;
	bool own_counted;    /* the terms' `own` follow on_node */
	uint64_t terms_seen; /* terms_stamp() when the counts were taken; 0: never */
	/* Nodes that the kind may go to as far as nodes alone decide it. */
	uint32_t *feasible;
	uint32_t nfeasible;
	uint64_t feasible_seen; /* self->nodes_changed when that was found */
	uint32_t *on_node;	/* pods of this kind by node: while it is queued, and as long as
				 * there is memory for it */
	uint32_t on_node_n;
	/* Its pods that wait. */
	struct pending *queue;
	uint32_t n, at, cap;
	struct waiting waiting; /* not while it is blocked: then it waits for a node, not for us */
	bool queued;		/* in self->active */
	int64_t retry_ns;	/* when its back-off is over, after it did not fit */
	int64_t backoff_ns;
	bool early; /* the last try was before that: who knows why it waits was passed over ... */
	bool owed;  /* ... and is looked at then, though nothing moves any more */
	bool blocked;
	bool for_look;	     /* they wait for what has not been looked at yet */
	uint32_t waits_for;  /* moves that may help: MOVES(...) */
	uint64_t moves_seen; /* how many there were of them when it did not fit */
	struct buf why;	     /* what its waiting pods are told */
	uint32_t tell_at;    /* in `queue`: those before it know */
	uint32_t running;    /* pods of this kind on nodes, as far as accounted */
	bool from_start;     /* all of them were accounted */
	uint64_t used;	     /* self->tick when it was last needed */
};

/* --- Nodes ------------------------------------------------------------------------ */

struct used_port {
	struct port port;
	uint32_t pods;
};

struct node {
	/* What each pod that comes or goes is reckoned with stands together. */
	bool present, unschedulable;
	bool counted;	 /* what is on it is known, up to journal_rv */
	bool ours;	 /* our shard's to go to first */
	bool avoided;	 /* has a taint with PreferNoSchedule */
	uint32_t name_n; /* bytes of `name` */
	int64_t pods, max_pods;
	int64_t score_cpu, score_memory;
	struct resources used, has;
	struct used_port *ports;
	uint32_t nports, cap_ports;
	char *name;
	uint64_t name_hash;
	zone *z;
	value labels, taints;
};

/* A pod that was promised the room that its victims leave. */
struct nomination {
	struct pending pod;
	struct kind *kind;
	uint32_t node;
};

/* A term of a running pod that keeps a kind away. */
struct against {
	const struct kind *kind;
	const struct term *term;
};

#define KIND_BUCKETS 4096u

struct scheduler {
	struct proc *proc;
	struct cache *c;
	zone *z;
	struct node *nodes;
	/* Of each of the nodes, the cache's slot that its Node object holds; 0: none.  Apart, as a
	 * pod's bind that was asked for is looked up in it and touches no node. */
	uint32_t *slot_of;
	uint32_t nnodes, nodes_cap, npresent;
	uint32_t *by_name; /* hash table into nodes, + 1 */
	uint32_t by_name_cap;
	struct refmap by_slot; /* node slot -> into nodes */
	uint64_t journal_rv;   /* accounted up to here */
	uint64_t external;     /* rises when counts by topology have to be taken anew */
	uint64_t nodes_changed, tick;
	int64_t idle_ns; /* blocked kinds are not tried before their back-off until then */
	/* look.c */
	uint32_t count_at; /* of the nodes, those before it are counted, if present */
	uint32_t ncounted; /* since all was looked at anew */
	uint32_t nshown;   /* of them, when kinds were last told that there are more */
	int64_t look_ns;   /* monotonic: when to go on */
	bool walking;	   /* over the pods, for those that wait */
	uint64_t walk_rv;  /* those created since are found in the journal */
	struct proc_walk walk;
	uint64_t looked; /* nodes, and records of the journal */
	uint64_t moved[MOVE_COUNT];
	struct kind *kinds[KIND_BUCKETS];
	uint32_t nkinds, nkept; /* nkept: those that have on_node */
	bool forgot;		/* since all was looked at, a kind that had pods running */
	struct kind **active;
	uint32_t nactive, active_cap;
	struct kind **anti; /* kinds that have required anti-affinity */
	uint32_t nanti, anti_cap;
	struct against *against; /* of the kind that is being placed */
	uint32_t nagainst, against_cap;
	struct refmap assumed; /* pods whose bind is on its way -> into nodes */
	struct refmap victims; /* pods whose deletion is on its way */
	struct nomination *nominated;
	uint32_t nnominated, nominated_cap;
	uint32_t scan_start; /* where the next sample of nodes begins */
	struct binding *binding;
	uint32_t nsent; /* requests to bind that are unanswered */
	bool begun;	/* all was looked at once */
	bool behind;	/* the journal was lost: look_begin() */
};

/* main.c */
/* How often something has moved that `mask` names. */
uint64_t moves_of(const struct scheduler *self, uint32_t mask);
/* For proc_send(), with the scheduler as `arg`: if the store refused (its disk is full), those
 * that wait are looked at again.  That a pod has changed or gone is none: the journal says it. */
void note_refusal(void *arg, const struct msg_reply *reply);
/* Put a pod into its kind's queue, if it waits for a node and is ours.  In a
 * read section. */
void queue_pod(struct scheduler *self, const struct entry *e);

/* kind.c */
/* The kind of a pod; parsed if it is new.  Never NULL.  In a read section. */
struct kind *kind_of(struct scheduler *self, const struct entry *e, const struct version *v);
/* Forget kinds that nobody has needed for long. */
void kinds_trim(struct scheduler *self);
void kinds_free(struct scheduler *self);
/* Make on_node cover all nodes; counted from the pods with its labels when it
 * was not kept before. */
void kind_keep_on_node(struct scheduler *self, struct kind *k);
/* A pod of the kind is about to be accounted: with the first of them on_node begins, so that
 * they need not be counted later (kinds with anti-affinity rely on it). */
void kind_expect_pod(struct scheduler *self, struct kind *k);
/* None of its pods waits any more: on_node goes where there is not memory for all. */
void kind_rest(struct scheduler *self, struct kind *k);
void kind_drop_on_node(struct scheduler *self, struct kind *k);
void resources_add(struct resources *to, const struct resources *what, int sign, zone *z);
void resources_read(zone *z, const value *map, struct resources *out);

/* nodes.c */
void nodes_free(struct scheduler *self);
void nodes_look(struct scheduler *self, const struct entry *e);
struct node *nodes_find(struct scheduler *self, struct str name);
struct node *nodes_of_slot(struct scheduler *self, nodeslot_ref slot);
/* nodes_account() is to come. */
static inline void nodes_prefetch(const struct scheduler *self, uint32_t node)
{
	for (size_t at = 0; at < offsetof(struct node, name); at += CACHE_LINE)
		prefetch((const char *)&self->nodes[node] + at);
}
void nodes_account(struct scheduler *self, struct node *node, struct kind *kind, int sign);
/* Of a version, or NULL: does the pod take what is its node's; may it be placed? */
bool pod_on_node(const struct version *v);
bool pod_waits(const struct version *v);

/* follow.c.  Outside read sections. */
/* What is new in the journal; a lost one sets self->behind. */
void follow(struct scheduler *self);

/* look.c.  Outside read sections. */
/* Begin to look at all anew: the nodes at once. */
void look_begin(struct scheduler *self);
/* Go on: as far as one turn may go, after a pause, and at least until there are nodes to place
 * pods on; to the end if pods may keep others away or go before them. */
void look_on(struct scheduler *self);
/* Is there more to look at?  Until then not every node may be chosen, nobody who finds none is
 * told so, and those with terms about other pods wait. */
bool is_looking(const struct scheduler *self);
/* How much is enough for a turn.  Not constant, so that a test needs no million pods. */
extern struct look_limits {
	uint32_t nodes; /* counted, that are a choice */
	uint32_t pods;	/* on nodes */
	uint32_t lanes; /* nodes that are counted together, LANES at most */
	uint32_t rest;	/* then comes a pause, so many times as long */
} look_limits;

/* filter.c */
/* Reasons are static strings, or in self->z; at most this many for one node. */
#define REASONS_MAX 8
struct reasons {
	const char *text[REASONS_MAX];
	uint32_t n;
	bool hopeless;	/* removing pods would not help */
	uint32_t waits; /* what would: MOVES(...) */
};
bool filter_static(const struct kind *kind, const struct node *node, struct reasons *why);
bool filter_fit(struct scheduler *self, const struct kind *kind, const struct node *node,
		struct reasons *why);
bool filter_terms(struct scheduler *self, struct kind *kind, const struct node *node,
		  struct reasons *why);
bool node_matches_affinity(const struct kind *kind, const struct node *node);
bool kind_tolerates(const struct kind *kind, const value *taint);
bool node_tolerated(const struct kind *kind, const struct node *node, const char *effect,
		    const char *other_effect);
/* Find the terms of running pods that concern a kind. */
void filter_find_against(struct scheduler *self, const struct kind *kind);
int64_t filter_preference(const struct kind *kind, const struct node *node);
/* Is a taint among them that only those go to who find nothing better? */
bool filter_avoided(const value *taints);

/* terms.c */
void terms_parse(struct scheduler *self, struct kind *kind);
void terms_count(struct scheduler *self, struct kind *kind);
/* A pod of `placed` went to `node` (sign 1) or left it (-1); `spread`: the same
 * for constraints of spread, which do not count pods that are on their way out. */
void terms_note(struct scheduler *self, const struct kind *placed, const struct node *node,
		int sign, int spread);
int64_t terms_at(const struct term *t, const struct node *node, bool *has_domain);
int64_t terms_least(struct term *t);
/* Pods of the kind in the node's domain: for a term with `own` counts. */
int64_t terms_own(const struct term *t, const struct node *node);
void terms_count_own(struct scheduler *self, struct kind *kind);
void terms_note_own(struct kind *kind, const struct node *node, int sign);
void terms_free(struct kind *kind);
bool terms_namespace(struct scheduler *self, const struct term *t, const struct kind *owner,
		     struct str ns);
int64_t terms_preference(const struct kind *kind, const struct node *node);

/* place.c */
/* Place what fits of a kind's waiting pods; false when the ring is full, or answers to
 * earlier binds have to come first. */
bool place_kind(struct scheduler *self, struct kind *kind);
void place_flush(struct scheduler *self);
void place_free(struct scheduler *self);
/* The pod, if it still waits for a node; else NULL. */
const struct entry *place_waiting(struct scheduler *self, const struct pending *p,
				  const struct version **v);

/* wait.c */
/* No pod of this kind fits: make room if it may, and let the others wait. */
void wait_block(struct scheduler *self, struct kind *kind, int64_t now_ns);
/* Tell pods of a blocked kind why they wait, some at a time; false while there
 * are more. */
bool wait_tell(struct scheduler *self, struct kind *kind);

/* preempt.c */
/* Delete pods of lower priority where that makes room for one of `kind`.
 * Returns how many had to go, with *node; 0 if there is no such place, or the
 * request cannot be sent now. */
uint32_t preempt_for(struct scheduler *self, struct kind *kind, const struct entry *pod,
		     struct node **node);
/* A pod that was promised a node waits while pods of lower priority are still
 * on their way out there. */
bool preempt_still_leaving(struct scheduler *self, const struct kind *kind, const struct entry *pod,
			   const struct version *v);
void nominate(struct scheduler *self, const struct pending *pod, struct kind *kind,
	      const struct node *node);
/* Keep (sign 1; then -1) room for the pods nominated that go before `kind`. */
void nominated_hold(struct scheduler *self, const struct kind *kind, int sign);

#endif
