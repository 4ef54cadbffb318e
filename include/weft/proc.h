/*
 * proc.h - what all weft's processes share: the table of process kinds, the
 * control segment, being a child of the supervisor, talking to the store, and
 * the controllers' work queue.
 *
 * Segments.  "/weft.<cluster>.control" is written by the supervisor.  Each
 * running process has a slot; its proc segment "...proc.<slot>" is written by
 * it, its inbox "...inbox.<slot>" by the store.  The supervisor creates both
 * anew for each incarnation, before it starts the process.
 *
 * Doorbells.  The supervisor makes one eventfd per slot before it forks
 * anybody; every child inherits all of them as descriptors
 * PROC_BELL_FD(slot).  The store's bell is that of its slot (STORE_SLOT).
 */
#ifndef WEFT_PROC_H
#define WEFT_PROC_H

#include "weft/cache.h"
#include "weft/msg.h"
#include "weft/ring.h"

/* --- Process kinds --------------------------------------------------------------- */

/* X(NAME, "name", default count, ring_out bytes, ring_in (inbox) bytes) in the
 * order of starting.  A kind with count 0 by default is off. */
#define PROC_KINDS(X)                                                        \
	X(STORE, "store", 1, 0, 0)                                           \
	X(CHECKPOINT, "checkpoint", 1, 64 << 10, 64 << 10)                   \
	X(APISERVER, "apiserver", 1, 8 << 20, 1 << 20)                       \
	X(NAMESPACE, "namespace", 1, 1 << 20, 256 << 10)                     \
	X(DEPLOYMENT, "deployment", 1, 4 << 20, 256 << 10)                   \
	X(REPLICASET, "replicaset", 1, 4 << 20, 1 << 20)                     \
	X(SCHEDULER, "scheduler", 1, 4 << 20, 4 << 20)                       \
	X(NODE, "node", 1, 4 << 20, 4 << 20)                                 \
	X(NODELIFECYCLE, "nodelifecycle", 1, 1 << 20, 1 << 20)               \
	X(GC, "gc", 1, 4 << 20, 4 << 20)

enum proc_kind {
#define X(N, n, c, o, i) PROC_##N,
	PROC_KINDS(X)
#undef X
	PROC_KIND_COUNT
};

struct proc_kind_info {
	const char *name;
	uint32_t default_count;
	uint32_t ring_out, ring_in;
	int (*main)(void); /* after the process title is set */
};
const struct proc_kind_info *proc_kind_info(enum proc_kind k);
int proc_kind_by_name(struct str name); /* -1: none */

#define PROC_SLOTS 128
#define STORE_SLOT 0
#define PROC_BELL_FD(slot) (100 + (slot))

/* --- Control segment (written by the supervisor) ------------------------------------ */

enum slot_state {
	SLOT_FREE,
	SLOT_STARTING, /* segments exist; the process may not have attached */
	SLOT_RUNNING,  /* it said that it is ready */
	SLOT_DEAD,     /* it ended; its ring is to be drained by the store */
	SLOT_STOPPING, /* told to stop */
};

/* Fields other than `state` are constant while state is not SLOT_FREE; state is
 * stored last, with release ([control.R1]/[control.A1]). */
struct slot {
	_Atomic uint32_t state;
	uint32_t kind;
	uint32_t shard;
	_Atomic uint32_t incarnation; /* rises with each start in this slot */
	_Atomic int32_t pid;
	uint32_t ring_out, ring_in;
	_Atomic uint32_t restarts;
	uint64_t start_ticks; /* /proc/PID/stat field 22: against pid reuse */
	_Atomic int64_t started_ns;
};

/* Owners are spread over a kind's shards by hash of uid.  A change is a new
 * epoch with a new count. `epoch` is stored last ([control.R2]/[control.A2]). */
struct shard_map {
	_Atomic uint32_t epoch; /* starts at 1 */
	_Atomic uint32_t count;
};

struct control {
	struct seg_header header;
	uint64_t cluster_hash;	   /* in the segments' names */
	char data_dir[512];
	struct clock_page clock;
	_Atomic uint32_t generation; /* of the cache to attach to; 0: none yet */
	_Atomic uint32_t store_up;   /* 1: the store answers */
	_Atomic uint32_t stopping;
	_Atomic uint32_t changes;    /* rises with each change of slots or maps */
	struct shard_map maps[PROC_KIND_COUNT];
	struct slot slots[PROC_SLOTS];
	/* The configuration, as JSON text, for children (constant). */
	uint32_t config_len;
	char config[64 << 10];
};

/* --- A process's own segment --------------------------------------------------------- */

/* X(name, "what it counts") */
#define PROC_COUNTERS(X)                                                     \
	X(requests, "requests sent to the store")                            \
	X(replies, "replies received")                                       \
	X(errors, "replies that were errors")                                \
	X(work_items, "work items received")                                 \
	X(reconciles, "objects reconciled")                                  \
	X(resyncs, "rebuilds of the queue from the cache")                   \
	X(queue, "objects waiting in the queue now")                         \
	X(queue_age_ms, "how long the oldest has waited")                    \
	X(http_requests, "HTTP requests answered")                           \
	X(watches, "open watches")                                           \
	X(cpu_ms, "CPU time used")                                           \
	X(batches, "store: batches committed")                               \
	X(writes, "store: versions written")                                 \
	X(log_bytes, "store: bytes logged")                                  \
	X(malformed, "store: records refused")                               \
	X(reclaimed, "store: blocks freed")                                  \
	X(grace_age_ms, "store: age of the running grace period")            \
	X(checkpoint_rv, "checkpoint: resourceVersion reached")

struct proc_counters {
#define X(n, t) _Atomic uint64_t n;
	PROC_COUNTERS(X)
#undef X
};

/* Written by its process only. */
struct proc_segment {
	struct seg_header header;
	_Atomic int64_t heartbeat_ns;	/* monotonic; at least every second */
	_Atomic uint32_t ready;		/* 1: serving ([proc.R1]/[proc.A1]) */
	_Atomic uint32_t generation;	/* of the cache that it has attached */
	_Atomic uint32_t listen_port;	/* apiserver */
	/* Store only: generation that it has made; a slot it found stalled in a
	 * read section (slot + 1; 0: none), a slot that wrote rubbish. */
	_Atomic uint32_t made_generation;
	_Atomic uint32_t stalled_slot;
	_Atomic uint32_t hostile_slot;
	struct proc_counters counters;
	struct ring_in inbox;		/* our end of the inbox ring */
	struct prcu_reader readers[PRCU_READERS_MAX];
	struct ring_out out;		/* requests to the store; last */
};

/* Written by the store only. */
struct inbox_segment {
	struct seg_header header;
	struct ring_in requests;	/* the store's end of the process's ring */
	_Atomic uint32_t drained;	/* incarnation whose ring was applied to the end */
	struct ring_out out;		/* replies and work; last */
};

/* --- Routing ------------------------------------------------------------------------------ */

enum route_how {
	ROUTE_SELF,	   /* the object itself, to the shard of its uid */
	ROUTE_CONTROLLER,  /* its controller's entry (of type `owner`), to that one's shard */
	ROUTE_ORPHAN,	   /* the object itself, to all shards, if it has no controller */
	ROUTE_UNSCHEDULED, /* pods without a node, live: the pod, to the shard of its uid */
	ROUTE_ON_NODE,	   /* pods with a node: the pod, to the shard of its node's name */
	ROUTE_NODE_SELF,   /* Node objects and Leases: to the shard of their name */
	ROUTE_ALL,	   /* the object itself, to all shards */
	ROUTE_DELETING,	   /* the object itself if it has a deletionTimestamp or is gone */
	ROUTE_OWNED,	   /* the object itself if it has ownerReferences, or dependents and is going or gone */
};

/* Who looks at what: the one table from which the store routes. */
struct route {
	uint8_t kind; /* enum proc_kind */
	uint8_t how;
	uint16_t type;	/* 0: every type */
	uint16_t owner; /* ROUTE_CONTROLLER */
};
extern const struct route proc_routes[];
extern const uint32_t proc_route_count;

/* Which of `count` shards a uid or a node name belongs to. */
uint32_t shard_of_uid(const uint8_t uid[16], uint32_t count);
uint32_t shard_of_name(struct str name, uint32_t count);

/* --- Being a process ------------------------------------------------------------------------ */

struct proc; /* this process */

/* Attach to everything: control, own segment, inbox, bells; wait up to 10 s for
 * a cache generation.  Slot and cluster come from the environment
 * (WEFT_SLOT, WEFT_CLUSTER).  Installs SIGTERM/SIGINT as "stop", asks the
 * kernel to end us with the supervisor.  Exits with a message on failure. */
struct proc *proc_start(enum proc_kind kind);

struct cache *proc_cache(struct proc *p);	/* current generation; changes, see on_generation */
struct cache *proc_thread_cache(struct proc *p); /* a handle for one more reading thread */
const struct control *proc_control(const struct proc *p);
struct proc_counters *proc_counters(struct proc *p);
uint32_t proc_slot(const struct proc *p);
uint32_t proc_shard(const struct proc *p);
uint32_t proc_shards(const struct proc *p);	/* of our kind, now */
/* Configuration as a value, e.g. v_path(proc_config(p), "nodes.count"). */
const void *proc_config(const struct proc *p);	/* const value * (value.h) */
/* True if `uid` (or the node name) is ours under the current map. */
bool proc_mine_uid(const struct proc *p, const uint8_t uid[16]);
bool proc_mine_name(const struct proc *p, struct str name);

typedef void (*reply_cb)(void *arg, const struct msg_reply *reply);

/* Send a request; seq, generation and epoch are filled in here.  `cb` is called
 * once from the loop: with the store's reply, or with status WEFT_ELOST when
 * the store died before it answered.  WEFT_EAGAIN when the ring is full (try
 * again after proc_can_send()), WEFT_ETOOBIG.  Records become visible at the
 * end of the loop's turn, or at proc_flush(). */
int proc_send(struct proc *p, struct msg *m, reply_cb cb, void *arg);
void proc_flush(struct proc *p);
/* At least `bytes` are free in the ring to the store. */
bool proc_can_send(const struct proc *p, size_t bytes);
uint32_t proc_in_flight(const struct proc *p);

struct proc_handlers {
	/* Work routed to us: entry refs of the current generation, unchecked by
	 * the library beyond bounds.  Called outside read sections. */
	void (*on_work)(void *arg, uint16_t type, struct u32s entries);
	/* Rebuild everything from the cache: at start, after an inbox overflow, a
	 * new generation or a new shard map. */
	void (*on_resync)(void *arg);
	/* Once per turn of the loop, after messages; returns the monotonic ns at
	 * which it wants to be called again at the latest (0: no wish). */
	int64_t (*on_turn)(void *arg, int64_t now_ns);
	void *arg;
};

/* Extra descriptors in the loop. */
int proc_watch_fd(struct proc *p, int fd, uint32_t epoll_events,
		  void (*cb)(void *arg, uint32_t events), void *arg);
void proc_unwatch_fd(struct proc *p, int fd);

/* Say "ready", then run until told to stop; returns the exit status.  Keeps the
 * heartbeat, reads the inbox, re-attaches when the generation changes. */
int proc_run(struct proc *p, const struct proc_handlers *h);
void proc_ready(struct proc *p); /* earlier than proc_run, where that matters */
bool proc_stopping(const struct proc *p);

/* --- Controllers ------------------------------------------------------------------------------ */

/*
 * A controller is its rules: reconcile() looks at one object in the cache and
 * asks for the next step towards what it should be.  The library keeps the
 * queue: an object is in it once, however often it was routed; it is not
 * reconciled again while requests made for it are unanswered (so a controller
 * reads its own writes); when a reply is an error the object comes back after a
 * back-off (5 ms doubling to 60 s, reset by success); WEFT_ECONFLICT comes back at once,
 * WEFT_EFENCED not at all.
 */
struct controller;

struct controller_ops {
	enum proc_kind kind;
	uint16_t type; /* of the objects that are reconciled */
	/* Called in a read section, with a live object (or, if wants_gone, also
	 * with one that has just gone). */
	void (*reconcile)(struct controller *ctl, const struct entry *e, const struct version *v);
	bool wants_gone;
	/* Work of other types: call ctl_enqueue() for the objects it concerns.
	 * In a read section.  NULL: such work is dropped. */
	void (*map)(struct controller *ctl, const struct entry *other);
	void (*start)(struct controller *ctl); /* once; may be NULL */
	size_t state_size;		       /* private state, ctl_state() */
	/* Kept for each object between reconciles; zeroed at first. */
	size_t object_state_size;
};

/* Attach, run, stop: the whole main of a controller. */
int controller_main(const struct controller_ops *ops);

struct proc *ctl_proc(struct controller *ctl);
struct cache *ctl_cache(struct controller *ctl);
void *ctl_state(struct controller *ctl);
void *ctl_object_state(struct controller *ctl); /* of the object being reconciled */
/* A zone for this reconcile; reset before the next. (zone *, value.h) */
void *ctl_zone(struct controller *ctl);
uint32_t ctl_now_s(struct controller *ctl); /* wall clock */

void ctl_enqueue(struct controller *ctl, const struct entry *e);
/* Look at the current object again after `ms` at the latest. */
void ctl_after(struct controller *ctl, uint64_t ms);

/* Requests on behalf of the current object: its rv becomes the cause.  When the
 * ring is full they return WEFT_EAGAIN and the object comes back.  `cb` may be
 * NULL; it runs before the object is queued again. */
int ctl_send(struct controller *ctl, struct msg *m, reply_cb cb, void *arg);
/* An Event about `about`, as Kubernetes' recorder makes them: same reason and
 * message are counted up in one Event.  type: "Normal", "Warning". */
void ctl_event(struct controller *ctl, const struct entry *about, const char *type,
	       const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The same for processes that are not controllers; `component` as in
 * source.component ("default-scheduler", "kubelet" with a host). */
void proc_event(struct proc *p, struct cache *c, const struct entry *about, const char *component,
		struct str host, const char *type, const char *reason, struct str message);

#endif
