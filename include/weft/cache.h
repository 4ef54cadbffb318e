/*
 * cache.h - the object cache: what readers may do.  (The store's side is
 * cache_write.h.)
 *
 * An ENTRY is an object's stable identity: type, namespace, name, uid,
 * creation time.  A VERSION is one immutable state of it.  entry->newest leads
 * to the newest published version; a version's `prev` to the one before it.
 *
 * resourceVersions are dense: each write in the whole cache gets the next one.
 * The JOURNAL is therefore an array of version references indexed by
 * resourceVersion; entry, operation and old version are reached from there.
 *
 * What a reader may assume inside one read section (cache_lock/unlock):
 *  1. Everything reachable from a reference loaded in the section stays as it
 *     is until the section ends, except the fields marked "moving".
 *  2. A version is complete when its reference is visible.
 *  3. cache_rv() = S implies that all writes with rv <= S are visible, through
 *     every index.
 *  4. For oldest-1 <= S <= cache_rv(), cache_at(entry, S) is the state of that
 *     entry at S: taking all entries of a type at one S is a consistent LIST.
 *  5. An index may show an entry that has no version yet (newest == 0) or
 *     whose newest version is a tombstone.  cache_find() hides both;
 *     iterators and lists show them, so that snapshots can be read.
 *
 * All read functions are lock-free, make no system call and do not block.
 */
#ifndef WEFT_CACHE_H
#define WEFT_CACHE_H

#include "weft/arena.h"
#include "weft/prcu.h"

DEFINE_REF(entry);
DEFINE_REF(version);
DEFINE_REF(blob);
DEFINE_REF(string);
DEFINE_REF(labelset);
DEFINE_REF(nodeslot);
DEFINE_REF(edge);

/* --- Shared structures ------------------------------------------------------ */

/* Interned, reference-counted bytes.  Constant while reachable, except
 * `refcount` and `hash_next` (the store's own).  `bytes` is one msgpack value,
 * see object.h for the extension types that make it a template. */
struct blob {
	uint64_t hash; /* XXH3 of bytes; 0: not interned, one object's own */
	uint32_t refcount;
	uint32_t hash_next;
	uint32_t n;
	char bytes[];
};

/* An object's content is kept in parts, so that what many objects have in
 * common is stored once. */
enum part {
	PART_META,   /* metadata without what entry and version hold and labels */
	PART_LABELS, /* metadata.labels */
	PART_SPEC,
	PART_STATUS,
	PART_REST, /* all other top-level fields: data, rules, subjects ... */
	PART_COUNT
};

enum version_flag {
	VERSION_TOMBSTONE = 1,	/* the object is gone with this version */
	VERSION_FINALIZERS = 2, /* metadata.finalizers is not empty */
	VERSION_OWNED = 4,	/* metadata.ownerReferences is not empty */
	VERSION_FIRST = 8,	/* created by this version: ADDED */
	VERSION_MEMORY = 16,	/* not durable (durability: memory) */
	VERSION_STAYS = 32,	/* store's own, until it is published: see stays() */
};

enum pod_phase { POD_PENDING, POD_RUNNING, POD_SUCCEEDED, POD_FAILED, POD_UNKNOWN };

enum hot_flag {
	HOT_READY = 1,	       /* pod: condition Ready is True; node: Ready is True */
	HOT_SCHEDULED = 2,     /* pod: has a node */
	HOT_GATED = 4,	       /* pod: spec.schedulingGates not empty */
	HOT_UNSCHEDULABLE = 8, /* node: spec.unschedulable */
	HOT_HOSTNET = 16,      /* pod: spec.hostNetwork */
	HOT_PLAIN = 32,	       /* pod: keeps nobody away (required podAntiAffinity), and its
				* priority is 0; of one that an older weft wrote nobody knows */
};

/* What controllers read all the time, extracted by the store from the parts
 * at each write (see object_project() in object.h). */
struct hot {
	nodeslot_ref node;	/* pod: its node; node: itself */
	uint32_t ready_since_s; /* pod: lastTransitionTime of Ready, wall seconds */
	uint32_t replicas;	/* spec.replicas / spec.parallelism, 1 if absent */
	int32_t deletion_cost;	/* pod: controller.kubernetes.io/pod-deletion-cost */
	uint16_t restarts;	/* pod: sum of container restartCounts, saturating */
	uint8_t phase;		/* pod: enum pod_phase */
	uint8_t flags;		/* enum hot_flag */
};

/* One immutable state of an object.  Constant once published, but for `prev`
 * (moving: the store sets it to 0 when what it leads to leaves the journal's
 * window). */
struct version {
	uint64_t rv;
	uint64_t cause; /* CAUSE(writer's slot, rv of what it acted on) */
	entry_ref entry;
	_Atomic uint32_t prev;	   /* version_ref */
	uint32_t part[PART_COUNT]; /* blob_ref; [PART_LABELS]: labelset_ref */
	uint32_t generation;	   /* metadata.generation */
	uint32_t deletion_s;	   /* metadata.deletionTimestamp, wall s; 0: none */
	int32_t grace_s;	   /* metadata.deletionGracePeriodSeconds; -1: none */
	struct hot hot;
	uint8_t flags; /* enum version_flag */
	uint8_t nholes;
	uint16_t writer_kind; /* enum proc_kind of the writer */
	uint32_t holes[];     /* values for PART_STATUS's holes */
};

#define CAUSE(slot, rv) (((uint64_t)(slot) << 48) | ((rv)&UINT64_C(0xffffffffffff)))
#define CAUSE_SLOT(c)	((uint16_t)((c) >> 48))
#define CAUSE_RV(c)	((c)&UINT64_C(0xffffffffffff))

/* Has the pod's work ended, well or not?  It takes nothing of its node then, and nobody places,
 * starts or counts it. */
static inline bool pod_has_ended(const struct version *v)
{
	return v->hot.phase == POD_SUCCEEDED || v->hot.phase == POD_FAILED;
}

/* Dependents by state, kept by the store with each dependent's write.  Only
 * dependents that name this object as their controller are counted, and only
 * pods have states besides `total` and `terminating`. */
struct counts_slot {
	_Atomic uint64_t rv;	      /* of the last change */
	_Atomic uint32_t total;	      /* live dependents, terminating ones included */
	_Atomic uint32_t active;      /* pods: not Succeeded, not Failed, not terminating */
	_Atomic uint32_t ready;	      /* pods: active and Ready */
	_Atomic uint32_t terminating; /* deletion time set; pods: not Succeeded, not Failed */
	_Atomic uint32_t pending;     /* pods: active and Pending */
	_Atomic uint32_t succeeded;
	_Atomic uint32_t failed;
	_Atomic uint32_t scheduled; /* pods: active with a node */
};

/* Moving.  slot[seq % 2] is what counts.  The store writes the other slot whole
 * [cache.R5] and then makes it the one that counts [cache.R6]; so a store that
 * stops at any point leaves counts that can be read, and a copy is whole if
 * `seq` is the same before and after. */
struct counts {
	_Atomic uint32_t seq;
	_Atomic uint32_t left; /* how often a dependent went to another owner [cache.R8] */
	struct counts_slot slot[2];
};

/* An object's identity.  Constant while reachable, except the fields marked
 * moving, which the store writes with release stores. */
struct entry {
	uint8_t uid[16];
	_Atomic uint32_t newest; /* moving; version_ref [cache.R1] */
	uint32_t pending;	 /* store's own: newest prepared version */
	uint64_t created_rv;
	uint32_t created_s;	    /* metadata.creationTimestamp */
	_Atomic uint32_t owner;	    /* moving; entry_ref of the controller, if it exists */
	_Atomic uint32_t sib_next;  /* moving; next dependent of the same owner */
	uint32_t sib_prev;	    /* store's own */
	_Atomic uint32_t first;	    /* moving; first dependent (entry_ref) */
	_Atomic uint32_t edges;	    /* moving; further dependents (edge_ref) */
	_Atomic uint32_t node_next; /* moving; next pod on the same node */
	uint32_t node_prev;
	_Atomic uint32_t set_next; /* moving; next object of the same label set */
	uint32_t set_prev;
	_Atomic uint32_t counts; /* moving; struct counts, 0 until first needed */
	uint32_t own_edges;	 /* store's own; edges to owners that do not control it */
	/* What finding by key looks at, in one cache line with most names. */
	uint16_t type;	      /* see kube.h */
	uint8_t name_len;     /* <= 253 */
	_Atomic uint8_t live; /* moving; `newest` is there and no tombstone [cache.R9] */
	string_ref ns;	      /* 0: cluster-scoped */
	char name[];	      /* name_len bytes and a NUL */
};

/* A dependent that names the owner without being controlled by it. */
struct edge {
	entry_ref dependent;
	_Atomic uint32_t next;
	uint32_t prev;	   /* store's own */
	uint32_t dep_next; /* store's own; next edge of the same dependent */
	entry_ref owner;
};

/* All objects of one (type, namespace) with exactly these labels: the index by
 * label.  A selector is matched once per label set, not once per object. */
struct labelset {
	blob_ref labels; /* 0: no labels */
	uint16_t type;
	uint16_t pad;
	string_ref ns;
	_Atomic uint32_t first; /* moving; entry_ref */
	_Atomic uint32_t count; /* moving; live objects */
	_Atomic uint32_t left;	/* moving; how often a member went to another set [cache.R7] */
	_Atomic uint32_t next;	/* moving; next label set of this (type, ns) */
	uint32_t prev;		/* store's own */
	uint32_t refcount;	/* store's own */
	uint32_t hash_next;
	uint32_t space; /* store's own: what `next` belongs to */
};

/* The pods that name a node, whether or not a Node object exists. */
struct nodeslot {
	string_ref name;
	_Atomic uint32_t first; /* moving; entry_ref of a pod */
	_Atomic uint32_t count; /* moving; pods that are not Succeeded/Failed */
	_Atomic uint32_t node;	/* moving; entry_ref of the Node object, or 0 */
	uint32_t refcount;	/* store's own */
};

/* --- A process's view -------------------------------------------------------- */

struct cache; /* private handle: mapping plus where this thread's reader word is */

/* Map the cache segment `name` read-only and register for RCU.  Errors as
 * seg_open().  `reader` lies in the caller's proc segment; a process that
 * reads from several threads makes one handle per thread with cache_thread(). */
int cache_attach(struct cache **out, const char *name, struct prcu_reader *reader, struct err *e);
int cache_thread(struct cache **out, const struct cache *of, struct prcu_reader *reader);
void cache_detach(struct cache *c);

void cache_lock(struct cache *c);
void cache_unlock(struct cache *c);

/* Newest published resourceVersion. */
uint64_t cache_rv(const struct cache *c);
/* Oldest resourceVersion whose journal record is still there.  A watch from
 * rv (exclusive) can be served iff rv + 1 >= cache_oldest(). */
uint64_t cache_oldest(const struct cache *c);
/* Which generation this is (rises with each recovery of the store). */
uint32_t cache_generation(const struct cache *c);
/* The cluster's random 16 bytes, the same for all generations. */
const uint8_t *cache_cluster_id(const struct cache *c);
const struct arena_stats *cache_arena_stats(const struct cache *c);

/* Everything below is called inside a read section; results live as long as
 * it does. */

/* The live object with this key, or NULL.  `ns` empty for cluster scope. */
const struct entry *cache_find(const struct cache *c, uint16_t type, struct str ns,
			       struct str name);
const struct entry *cache_find_uid(const struct cache *c, const uint8_t uid[16]);

const struct version *cache_newest(const struct cache *c,
				   const struct entry *e); /* NULL: none yet */
/* State at `rv`; NULL if it did not exist then (tombstones are NULL too). */
const struct version *cache_at(const struct cache *c, const struct entry *e, uint64_t rv);
/* Newest version unless tombstone. */
const struct version *cache_live(const struct cache *c, const struct entry *e);

const struct entry *cache_entry(const struct cache *c, entry_ref r);
const struct version *cache_version(const struct cache *c, version_ref r);
entry_ref cache_entry_ref(const struct cache *c, const struct entry *e);
version_ref cache_version_ref(const struct cache *c, const struct version *v);
/* Checks a reference that came from outside or another read section: WEFT_EINVAL unless an
 * entry lies there that is in the indexes now.  It may be without a version yet, or with a
 * tombstone (rule 5), and another object's than before. */
int cache_entry_checked(const struct cache *c, uint32_t ref, const struct entry **out);

/* Let the memory be fetched that cache_entry_checked(ref) and a look at the newest
 * version will need: stage 0, then, when that is there, stage 1.  Only a hint; `ref`
 * may be anything. */
void cache_prefetch(const struct cache *c, uint32_t ref, int stage);
/* The same in a loop over references: called for each i, before refs[i] is looked at;
 * a group of them is fetched together (shm/README.md says why). */
#define CACHE_TOGETHER 16u /* also what the store publishes, or cuts, at a time */
static inline void cache_prefetch_ahead(const struct cache *c, const uint32_t *refs, uint32_t n,
					uint32_t i)
{
	uint32_t end = n - i < CACHE_TOGETHER ? n : i + CACHE_TOGETHER;

	if (i % CACHE_TOGETHER)
		return;
	for (int stage = 0; stage < 2; stage++)
		for (uint32_t k = i; k < end; k++)
			cache_prefetch(c, refs[k], stage);
}

/* References to the entries of all types from *from on, 0 at first, by where they lie: up to `max`
 * go to `refs`.  Returns how many, and *from becomes where to go on, in this section or a later
 * one; 0: there are no more.  Each that is there all the while is shown once; rule 5 holds. */
uint32_t cache_walk(const struct cache *c, uint64_t *from, uint32_t *refs, uint32_t max);

struct str cache_blob(const struct cache *c, blob_ref r); /* empty for 0 */
struct str cache_string(const struct cache *c, string_ref r);
/* The msgpack bytes of a part (labels included), empty if absent. */
struct str cache_part(const struct cache *c, const struct version *v, enum part part);
/* XXH3 of a part's bytes, 0 if it is absent (or PART_REST, which is not interned):
 * tells contents, where a reference may mean something else later. */
static inline uint64_t cache_part_hash(const struct cache *c, const struct version *v,
				       enum part part)
{
	struct str bytes = cache_part(c, v, part);

	return bytes.n ? ((const struct blob *)(bytes.p - offsetof(struct blob, bytes)))->hash : 0;
}
struct str cache_ns(const struct cache *c, const struct entry *e);
static inline struct str entry_name(const struct entry *e)
{
	return (struct str){e->name, e->name_len};
}

/* --- Ordered iteration (LIST) ------------------------------------------------ */

/* A place in an ordered index (see shm/ordered.h, whose own it is): the way
 * down to a leaf, and what that leaf had when it was reached. */
#define ORDERED_DEPTH  12
#define ORDERED_FANOUT 62
struct ordered_pos {
	const void *node[ORDERED_DEPTH]; /* from the top to the leaf */
	uint16_t at[ORDERED_DEPTH];	 /* slot in each, but for the leaf */
	int depth;			 /* nodes in use, 0: at the end */
	uint16_t n, next;		 /* entries of the leaf, the next one */
	uint32_t ref[ORDERED_FANOUT];
};

/* Objects of a type in key order (namespace "/" name as one string, byte-wise,
 * as etcd has them: "a-b/x" before "a/x"), within one namespace or over all.  A read section bounds how long a position lives: to
 * continue in a later section, init again with the last key. */
struct cache_iter {
	const struct cache *c;
	uint16_t type;
	bool one_ns;
	struct str ns;
	struct ordered_pos pos; /* implementation's own */
};

/* Start after (after_ns, after_name), or at the beginning when after_name.p is
 * NULL.  ns.p == NULL: all namespaces. */
void cache_iter_init(struct cache_iter *it, const struct cache *c, uint16_t type, struct str ns,
		     struct str after_ns, struct str after_name);
const struct entry *cache_iter_next(struct cache_iter *it); /* NULL at the end */
/* The order of keys: <0, 0, >0. */
int cache_key_cmp(struct str ns_a, struct str name_a, struct str ns_b, struct str name_b);
/* Two objects of one key, as after a deletion and a creation: a walk that will
 * go on behind the last key must not stop between them. */
bool cache_same_key(const struct cache *c, const struct entry *a, const struct entry *b);

/* --- Lists ------------------------------------------------------------------- */

/* A walk that stands on a member while it goes to another list goes on there.
 * Who has to see all members asks how many have left for another list, before
 * the walk and after it: equal, and none was missed (cache_left_owner(),
 * cache_left_set()).  Pods do not change their node. */

/* Dependents controlled by `owner`, newest first; also shows ones that have
 * just been deleted (check cache_live). */
const struct entry *cache_first_dependent(const struct cache *c, const struct entry *owner);
const struct entry *cache_next_dependent(const struct cache *c, const struct entry *dep);
uint32_t cache_left_owner(const struct cache *c, const struct entry *owner);
/* Dependents that name `owner` without being controlled by it. */
const struct edge *cache_first_edge(const struct cache *c, const struct entry *owner);
const struct edge *cache_next_edge(const struct cache *c, const struct edge *edge);

const struct nodeslot *cache_node(const struct cache *c, struct str name); /* NULL: never named */
const struct nodeslot *cache_nodeslot(const struct cache *c, nodeslot_ref r);
/* The name of the node that v's pod is on, or that v is of; empty: none. */
struct str cache_node_name(const struct cache *c, const struct version *v);
/* The pods of a node, in no order; also shows ones that were deleted, for as long as
 * cache_iter_next() shows them: taken at one S, they are a consistent LIST. */
const struct entry *cache_first_on_node(const struct cache *c, const struct nodeslot *n);
const struct entry *cache_next_on_node(const struct cache *c, const struct entry *pod);

const struct labelset *cache_first_labelset(const struct cache *c, uint16_t type, struct str ns);
const struct labelset *cache_next_labelset(const struct cache *c, const struct labelset *s);
const struct entry *cache_first_in_set(const struct cache *c, const struct labelset *s);
const struct entry *cache_next_in_set(const struct cache *c, const struct entry *e);
uint32_t cache_left_set(const struct cache *c, const struct labelset *s);

/* A consistent copy of the counters (all 0 if the object never had
 * dependents), as of `rv`; tried again while the store changes them twice
 * in the time that copying takes. */
struct counts_copy {
	uint64_t rv;
	uint32_t total, active, ready, terminating, pending, succeeded, failed, scheduled;
};
void cache_counts(const struct cache *c, const struct entry *owner, struct counts_copy *out);

/* Number of live objects of a type, O(1). */
uint64_t cache_type_count(const struct cache *c, uint16_t type);
/* Of all types, in a microsecond. */
uint64_t cache_count(const struct cache *c);
/* Are all live pods HOT_PLAIN?  O(1); as of cache_rv() or later. */
bool cache_all_plain(const struct cache *c);

/* --- Journal ------------------------------------------------------------------- */

/* Up to `max` versions with resourceVersion > after, in order.  Returns how
 * many (0: nothing new) or WEFT_EGONE.  The old state of each is its `prev`
 * (0 when it is VERSION_FIRST). */
int cache_journal(const struct cache *c, uint64_t after, const struct version **out, int max);

#endif
