/*
 * proc.h - what all weft's processes share: the table of process kinds, the
 * control segment, being a child of the supervisor, talking to the store, and
 * the controllers' work queue.
 *
 * Segments.  "/weft.<cluster>.control" is written by the supervisor, and
 * "...cache.<generation>" by the store.  Each running process has a slot; its
 * proc segment "...proc.<slot>.<incarnation>" is written by it, its inbox
 * "...inbox.<slot>.<incarnation>" by the store.  The supervisor creates both
 * (and initialises the rings in them) anew for each incarnation, before it
 * makes the slot SLOT_STARTING and starts the process.
 *
 * Doorbells.  The supervisor makes one eventfd per slot before it forks
 * anybody; every child inherits all of them as descriptors
 * PROC_BELL_FD(slot).  The store's bell is that of its slot (STORE_SLOT).
 * After each change of the control segment the supervisor raises `changes` and
 * rings every bell.  Its own bell is PROC_BELL_FD(PROC_SLOTS): a process rings
 * it when the supervisor should look at its segment (ready, made_generation,
 * drained, epochs, stalled_slot, hostile_slot).
 *
 * Death of the store.  The supervisor sets store_up = 0 and starts a new one,
 * which makes the next generation of the cache from log and checkpoint.  It
 * goes on with each process's rings where the old one stopped, but drops
 * requests of an earlier generation without a reply: their senders have been
 * told WEFT_ELOST.  When it serves it sets made_generation; the supervisor then
 * publishes `generation`, store_up = 1, and removes the old generation's name
 * once everybody has attached to the new one.
 */
#ifndef WEFT_PROC_H
#define WEFT_PROC_H

#include "weft/cache.h"
#include "weft/msg.h"
#include "weft/ring.h"

/* --- Process kinds --------------------------------------------------------------- */

/* X(NAME, name, default count, ring_out bytes, ring_in (inbox) bytes, sharded, nice)
 * in the order of starting.  A kind with count 0 by default is off.  Its main
 * is `name`_main() (procs/lib/mains.h).  Owners are spread over the processes
 * of a sharded kind, and its requests carry the epoch of its shard map; the
 * others' carry 0.  A record takes at most half a ring.  `nice` is added to the
 * supervisor's own niceness: what waits for the store gives way to it. */
#define PROC_KINDS(X)                                                      \
	X(STORE, store, 1, 64 << 10, 64 << 10, false, 0)                   \
	X(CHECKPOINT, checkpoint, 1, 64 << 10, 64 << 10, false, 10)        \
	X(APISERVER, apiserver, 1, 4 << 20, 256 << 10, false, 0)           \
	X(NAMESPACE, namespace, 1, 256 << 10, 256 << 10, true, 10)         \
	X(DEPLOYMENT, deployment, 1, 2 << 20, 256 << 10, true, 10)         \
	X(REPLICASET, replicaset, 1, 2 << 20, 512 << 10, true, 10)         \
	X(SCHEDULER, scheduler, 1, 4 << 20, 1 << 20, true, 10)             \
	X(NODE, node, 1, 1 << 20, 4 << 20, true, 10)                       \
	X(NODELIFECYCLE, nodelifecycle, 1, 512 << 10, 512 << 10, true, 10) \
	X(GC, gc, 1, 1 << 20, 1 << 20, true, 10)                           \
	X(LOAD, load, 0, 4 << 20, 1 << 20, false, 0)

enum proc_kind {
#define X(N, n, c, o, i, s, p) PROC_##N,
	PROC_KINDS(X)
#undef X
		PROC_KIND_COUNT
};

struct proc_kind_info {
	const char *name;
	uint32_t default_count;
	uint32_t ring_out, ring_in;
	bool sharded;
	int nice;
	int (*main)(void); /* after the process title is set; NULL: not built in */
};
const struct proc_kind_info *proc_kind_info(enum proc_kind k); /* static, never NULL */
int proc_kind_by_name(struct str name);			       /* -1: none */

#define PROC_SLOTS	   128
#define STORE_SLOT	   0
#define PROC_BELL_FD(slot) (100 + (int)(slot))
#define SUPERVISOR_BELL_FD PROC_BELL_FD(PROC_SLOTS)

/* --- Control segment (written by the supervisor) ------------------------------------ */

enum slot_state {
	SLOT_FREE,
	SLOT_STARTING, /* segments exist; the process may not have attached */
	SLOT_RUNNING,  /* it said that it is ready */
	SLOT_DEAD,     /* it ended; its ring is to be drained by the store */
	SLOT_STOPPING, /* told to stop */
};

/* Fields other than `state`, `pid`, `restarts` and `start_ticks` change only while the
 * state is SLOT_FREE or SLOT_DEAD; state is stored last, with release ([control.R1]/[control.A1]). */
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
 * epoch with a new count, in two steps, so that nobody acts under the new map
 * while something accepted under the old one is not yet visible:
 *   1. The supervisor stores `next`.  The store from then on routes by it and
 *      refuses requests of any other epoch (WEFT_EFENCED); when everything
 *      that it accepted before is published, it says so in its
 *      proc_segment.epochs[kind].
 *   2. The supervisor stores `now`.  Processes use only that one; on a change
 *      they rebuild their queues.
 * Each word is (epoch << 32 | count), so both are read at once; epochs start
 * at 1 ([control.R2]/[control.A2]). */
struct shard_map {
	_Atomic uint64_t now;
	_Atomic uint64_t next;
	/* Within which the supervisor changes the count by itself (constant); 0, 0: not. */
	uint32_t min, max;
};
#define SHARD_EPOCH(word)	 ((uint32_t)((word) >> 32))
#define SHARD_COUNT(word)	 ((uint32_t)(word))
#define SHARD_WORD(epoch, count) ((uint64_t)(epoch) << 32 | (uint32_t)(count))

struct control {
	struct seg_header header;
	uint64_t cluster_hash; /* in the segments' names */
	char data_dir[512];
	struct clock_page clock;
	_Atomic uint32_t generation; /* of the cache to attach to; 0: none yet */
	_Atomic uint32_t store_up;   /* 1: the store answers */
	_Atomic uint32_t stopping;   /* 1: the cluster is being stopped, in order, by SIGTERM */
	_Atomic uint32_t changes;    /* rises with each change of slots or maps */
	struct shard_map maps[PROC_KIND_COUNT];
	struct slot slots[PROC_SLOTS];
	/* The configuration, as JSON text, for children (constant). */
	uint32_t config_len;
	char config[64 << 10];
};

/* --- A process's own segment -------------------------------------------------------- */

/* X(name, "what it counts") */
#define PROC_COUNTERS(X)                                           \
	X(requests, "requests sent to the store")                  \
	X(replies, "replies received")                             \
	X(errors, "replies that were errors")                      \
	X(work_items, "work items received")                       \
	X(reconciles, "objects reconciled")                        \
	X(resyncs, "rebuilds of the queue from the cache")         \
	X(queue, "objects waiting in the queue now")               \
	X(queue_age_ms, "how long the oldest has waited")          \
	X(catching_up, "1: a new map or cache had it look at all") \
	X(http_requests, "HTTP requests answered")                 \
	X(watches, "open watches")                                 \
	X(cpu_ms, "CPU time used")                                 \
	X(batches, "store: batches committed")                     \
	X(writes, "store: versions written")                       \
	X(log_bytes, "store: bytes logged")                        \
	X(malformed, "store: records refused")                     \
	X(reclaimed, "store: blocks freed")                        \
	X(grace_age_ms, "store: age of the running grace period")  \
	X(checkpoint_rv, "checkpoint: resourceVersion reached")

struct proc_counters {
#define X(n, t) _Atomic uint64_t n;
	PROC_COUNTERS(X)
#undef X
};

/* One process: a slot and which of its incarnations; never 0. */
#define PROC_WHO(slot, incarnation) ((uint64_t)(incarnation) << 32 | ((uint32_t)(slot) + 1))
#define PROC_WHO_SLOT(who)	    ((uint32_t)(who)-1)
#define PROC_WHO_INCARNATION(who)   ((uint32_t)((who) >> 32))

/* Written by its process only. */
struct proc_segment {
	struct seg_header header;
	/* proc_mono_ns(), at least every second; in the future: see proc_beat_ahead() */
	_Atomic int64_t heartbeat_ns;
	_Atomic uint32_t ready;	      /* 1: serving ([proc.R1]/[proc.A1]) */
	_Atomic uint32_t generation;  /* of the cache that it has attached */
	_Atomic uint32_t listen_port; /* apiserver */
	/* Store only: generation that it has made; whom it found stalled in a
	 * read section, and who went on writing rubbish (PROC_WHO; the
	 * supervisor ends that process, its successor is not meant). */
	_Atomic uint32_t made_generation;
	_Atomic uint64_t stalled_slot;
	_Atomic uint64_t hostile_slot;
	/* Store only: the epoch of each kind's shard map that is in force, see
	 * struct shard_map. */
	_Atomic uint32_t epochs[PROC_KIND_COUNT];
	/* Checkpoint only: up to where the tables are on the disk, and the same
	 * inverted.  The log is cut by it: rubbish must not pass for it. */
	_Atomic uint64_t safe_rv, safe_rv_inverted;
	/* What the process leaves to its successor, for whom the supervisor copies it,
	 * unread, before that one attaches; 0: nothing, also where the copy was lost or
	 * another shard had the slot before.  It is true at each moment, as is what of it
	 * a request depends on before that is flushed: its process may be killed at any. */
	_Atomic uint64_t bequest;
	struct proc_counters counters;
	struct ring_in inbox; /* our end of the inbox ring */
	struct prcu_reader readers[PRCU_READERS_MAX];
	struct ring_out out; /* requests to the store; last */
};

/* Written by the store only. */
struct inbox_segment {
	struct seg_header header;
	struct ring_in requests; /* the store's end of the process's ring */
	/* The process's incarnation, once it is SLOT_DEAD, its ring was read to
	 * the end, and everything in it is published or refused. */
	_Atomic uint32_t drained;
	/* The store's own: the incarnation that it routes work to.  When it
	 * begins to, it marks the inbox as overflowed: what was published
	 * before was routed to nobody, and the process looks for itself. */
	uint32_t opened;
	struct ring_out out; /* replies and work; last */
};

/* --- Segments: names, layouts, sizes ------------------------------------------------ */

/* "/weft.<16 hex of cluster>." and what follows; `out` holds SEG_NAME_MAX bytes. */
void proc_name_prefix(char *out, uint64_t cluster);
void proc_name_control(char *out, uint64_t cluster);
void proc_name_cache(char *out, uint64_t cluster, uint32_t generation);
void proc_name_proc(char *out, uint64_t cluster, uint32_t slot, uint32_t incarnation);
void proc_name_inbox(char *out, uint64_t cluster, uint32_t slot, uint32_t incarnation);

/* Layout signatures, for seg_create() and seg_open(). */
uint32_t proc_layout_control(void);
uint32_t proc_layout_proc(void);
uint32_t proc_layout_inbox(void);

/* Bytes of a proc or inbox segment whose ring has `ring` data bytes. */
size_t proc_segment_bytes(uint32_t ring);
size_t inbox_segment_bytes(uint32_t ring);

/* CLOCK_MONOTONIC in ns, whatever the virtual clock says: for heartbeats. */
int64_t proc_mono_ns(void);

/* --- Routing ------------------------------------------------------------------------ */

enum route_how {
	ROUTE_SELF,	  /* the object itself, to the shard of its uid */
	ROUTE_CONTROLLER, /* its controller's entry (of type `owner`), to that one's shard */
	ROUTE_ORPHAN,	  /* the object itself, to all shards, if it has no controller */
	ROUTE_ON_NODE,	  /* pods with a node: the pod, to the shard of its node's name */
	ROUTE_NODE_SELF,  /* Node objects and Leases: to the shard of their name */
	ROUTE_LOST,	  /* pods on a node that does not exist: to the shard of its name */
	ROUTE_ALL,	  /* the object itself, to all shards */
	ROUTE_RELABELLED, /* the object itself, to the shard of its controller (of type `owner`),
			    * when its labels changed */
	ROUTE_OWNED,	  /* what the garbage collector has to look at: the object itself, if it
			    * is going and has dependents or finalizers, or has an owner that is
			    * not there or going; its owner, if that waits for it to go; to all
			    * shards, if it is gone and has dependents, which are theirs */
	ROUTE_FOLLOW,	  /* nothing: all shards find it in the journal (proc_follow()), and are
			    * woken by each batch that has such a change */
};

/* Who looks at what: the one table from which the store routes. */
struct route {
	uint8_t kind; /* enum proc_kind */
	uint8_t how;
	uint16_t type;	/* 0: every type */
	uint16_t owner; /* ROUTE_CONTROLLER, ROUTE_RELABELLED */
};
extern const struct route proc_routes[];
extern const uint32_t proc_route_count;

/* Which of `count` shards a uid or a node name belongs to. */
uint32_t shard_of_uid(const uint8_t uid[16], uint32_t count);
uint32_t shard_of_name(struct str name, uint32_t count);

/* --- Being a process ---------------------------------------------------------------- */

struct proc; /* this process */

/* Exit status of a process that would fail in the same way if it were started
 * again: a port in use, damaged data.  Before the cluster first serves, the
 * supervisor then gives up; later it tries again all the same. */
#define PROC_EXIT_HOPELESS 2

/* Attach to everything: control, own segment, inbox, bells; wait up to 10 s for
 * a cache generation.  Slot and cluster come from the environment
 * (WEFT_SLOT, WEFT_CLUSTER).  Installs SIGTERM as "stop" (SIGINT is ignored:
 * Ctrl-C at a terminal is the supervisor's to handle), asks the kernel to end us
 * with the supervisor.  Exits with a message on failure.  The store gets no
 * inbox and no cache, and runs its own loop: see proc_beat(). */
struct proc *proc_start(enum proc_kind kind);

struct cache *proc_cache(struct proc *p); /* current generation; replaced when that changes */
/* A handle for the calling thread, which is not the one that runs the loop, on
 * the generation of now.  When on_resync says that the generation changed, the
 * thread detaches it (cache_detach) and asks again; it keeps its reader word. */
struct cache *proc_thread_cache(struct proc *p);
/* Our segment: for what only one kind writes (listen_port, made_generation...). */
struct proc_segment *proc_own(struct proc *p);
const struct control *proc_control(const struct proc *p);
struct proc_counters *proc_counters(struct proc *p);
uint32_t proc_slot(const struct proc *p);
uint32_t proc_shard(const struct proc *p);
uint32_t proc_shards(const struct proc *p); /* of our kind, now */
uint32_t proc_epoch(const struct proc *p);  /* of our kind's shard map, now */
uint32_t proc_generation(const struct proc *p);
/* Configuration as a value, e.g. v_path(proc_config(p), "nodes.count"). */
const void *proc_config(const struct proc *p); /* const value * (value.h) */
/* True if `uid` (or the node name) is ours under the current map. */
bool proc_mine_uid(const struct proc *p, const uint8_t uid[16]);
bool proc_mine_name(const struct proc *p, struct str name);

typedef void (*reply_cb)(void *arg, const struct msg_reply *reply);

/* Send a request; seq, generation and epoch are filled in here.  `cb` is called
 * once from the loop: with the store's reply, or with status WEFT_ELOST when
 * the store died before it answered.  WEFT_EAGAIN when the ring is full or the
 * store is away (try again when proc_can_send() says so), WEFT_ETOOBIG.  `cb`
 * may be NULL.  Records become visible at the end of the loop's turn, or at
 * proc_flush(). */
int proc_send(struct proc *p, struct msg *m, reply_cb cb, void *arg);
void proc_flush(struct proc *p);
/* At least `bytes` are free in the ring to the store, and the store answers. */
bool proc_can_send(const struct proc *p, size_t bytes);
uint32_t proc_in_flight(const struct proc *p);

/* The process has looked at the journal up to `rv`: from now on the loop turns when
 * the cache has anything newer that one of its kind's ROUTE_FOLLOW names. */
void proc_follow(struct proc *p, uint64_t rv);
void proc_unfollow(struct proc *p);

struct proc_handlers {
	/* Work routed to us: entry refs of the current generation.  What they
	 * named may be gone since: cache_entry_checked() them.  Called outside
	 * read sections. */
	void (*on_work)(void *arg, uint16_t type, struct u32s entries);
	/* Rebuild everything from the cache: at start (as soon as the store routes
	 * work to us), after an inbox overflow, a new generation or a new shard
	 * map. */
	void (*on_resync)(void *arg);
	/* Once per turn of the loop, after messages; returns the monotonic ns at
	 * which it wants to be called again at the latest (0: no wish). */
	int64_t (*on_turn)(void *arg, int64_t now_ns);
	void *arg;
	/* It calls proc_ready() itself, when it has done what it does once, at its
	 * start: until then its kind's shards do not change. */
	bool ready_later;
	/* Somebody waits for each of its answers: it waits awake where a wait is likely
	 * to be short (procs/lib/awake.h).  Not for those that many work items wait
	 * for: what they spend awake would be missing elsewhere. */
	bool waits_awake;
};

/* For on_work, in a read section: the entry that `ref` names.  NULL if it was reused before
 * we came to it: what it stood for has to be found by looking, so on_resync is called soon. */
const struct entry *proc_work_entry(struct proc *p, uint16_t type, uint32_t ref);

/* For on_resync: call `cb` for every object of `type`, in no order, as cache_iter shows
 * them.  Not within a read section: each has some thousand objects, with a heartbeat
 * between two.  What comes or goes meanwhile may be seen or not, and is routed. */
void proc_each(struct proc *p, uint16_t type, void (*cb)(void *arg, const struct entry *e),
	       void *arg);

/* The same in pieces, for who has other work between two: how far it has come, {0} at first.
 * Of one type, and of one generation of the cache: begun anew when that changes. */
struct proc_walk {
	bool begun;
	bool by_place;	/* over all types, by where objects lie; else by key */
	uint64_t place; /* where to go on */
	char ns[256], name[256];
};
/* The next some thousand objects; false when there are no more.  Not within a read section. */
bool proc_walk_next(struct proc *p, uint16_t type, struct proc_walk *walk,
		    void (*cb)(void *arg, const struct entry *e), void *arg);

/* For on_resync of who is awaited: what has changed last, before a look at all comes to it.  Calls
 * `cb` for the versions of the journal's last PROC_RECENT records up to `rv`, in order and in read
 * sections of some hundred.  Not within one.  Returns after which resourceVersion it began;
 * UINT64_MAX if the window has passed that, and some or all were left out. */
#define PROC_RECENT 16384u
uint64_t proc_recent(struct proc *p, uint64_t rv,
		     void (*cb)(void *arg, const struct entry *e, const struct version *v),
		     void *arg);

/* Extra descriptors in the loop. */
int proc_watch_fd(struct proc *p, int fd, uint32_t epoll_events,
		  void (*cb)(void *arg, uint32_t events), void *arg);
void proc_unwatch_fd(struct proc *p, int fd);

/* Say "ready" (unless ready_later), then run until told to stop; returns the exit status.  Keeps the
 * heartbeat, reads the inbox, re-attaches when the generation changes. */
int proc_run(struct proc *p, const struct proc_handlers *h);
/* One turn of that loop, which waits for `wait_ns` at most (0: not at all): for
 * what has to be finished after proc_run() has returned. */
void proc_turn(struct proc *p, int64_t wait_ns);
void proc_ready(struct proc *p); /* earlier than proc_run, where that matters */
bool proc_stopping(const struct proc *p);
/* For a loop of one's own (the store): keep the heartbeat and the CPU counter;
 * call it at least every second, it costs one clock reading. */
void proc_beat(struct proc *p);
/* One heartbeat for the next `ns`: before work that cannot stop for one, such as
 * recovery or a large transaction's sync.  The next proc_beat() ends it. */
void proc_beat_ahead(struct proc *p, int64_t ns);
/* One heartbeat from another thread, which knows that the loop waits for something
 * outside of the process. */
void proc_beat_beside(struct proc *p);
/* Ring the supervisor's bell, see the top of this file. */
void proc_tell_supervisor(void);

/* --- Controllers -------------------------------------------------------------------- */

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
	const char *component; /* of its Events: "replicaset-controller" */
	uint16_t type;	       /* of the objects that are reconciled; 0: of every type */
	bool by_name; /* objects belong to the shard of their name (nodes), not of their uid */
	/* In a read section; true: this object concerns every shard.  May be NULL. */
	bool (*shared)(struct controller *ctl, const struct entry *e);
	/* Called in a read section, with a live object (or, if wants_gone, also
	 * with one that has just gone). */
	void (*reconcile)(struct controller *ctl, const struct entry *e, const struct version *v);
	bool wants_gone;
	/* A cheap look before an object of `type` is queued, in a read section;
	 * false: it needs nothing now.  May be NULL. */
	bool (*wants)(struct controller *ctl, const struct entry *e);
	/* Work of other types: call ctl_enqueue() for the objects it concerns.
	 * In a read section.  NULL: such work is dropped. */
	void (*map)(struct controller *ctl, const struct entry *other);
	void (*start)(struct controller *ctl); /* once; may be NULL */
	/* At start and whenever the queue is rebuilt, not in a read section: what was
	 * remembered of objects is to be taken anew.  May be NULL. */
	void (*resync)(struct controller *ctl);
	/* Once per turn of the loop, in a read section; returns the monotonic ns
	 * at which it wants to be called again at the latest (0: no wish).  For what
	 * no object asks for: sent with proc_send(), and asked for again if that was
	 * refused.  May be NULL. */
	int64_t (*turn)(struct controller *ctl, int64_t now_ns);
	size_t state_size; /* private state, ctl_state() */
	/* Kept for each object between reconciles; zeroed at first.  Does not move,
	 * and lives at least until all requests for the object are answered. */
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
/* How often the queue was rebuilt from the cache: object state that stands for
 * events seen since the last rebuild is void when this has risen. */
uint64_t ctl_resyncs(struct controller *ctl);

void ctl_enqueue(struct controller *ctl, const struct entry *e);
/* Look at the current object again after `ms` at the latest. */
void ctl_after(struct controller *ctl, uint64_t ms);

/* Requests on behalf of the current object: its rv becomes the cause.  When the
 * ring is full they return WEFT_EAGAIN and the object comes back.  `cb` may be
 * NULL; it runs before the object is queued again. */
int ctl_send(struct controller *ctl, struct msg *m, reply_cb cb, void *arg);
/* An Event about `about`, as Kubernetes' recorder makes them: the same reason
 * and message are counted up in one Event, many like ones are combined, and a
 * burst is cut off (client-go's limits, and the process's own, events.perSecond).
 * type: "Normal", "Warning".  In a read section. */
void ctl_event(struct controller *ctl, const struct entry *about, const char *type,
	       const char *reason, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The same for processes that are not controllers. */
struct event_source {
	const char *component; /* "default-scheduler", "kubelet" */
	struct str host;       /* the kubelet's node; empty: none */
	struct str field_path; /* of involvedObject: "spec.containers{nginx}"; may be empty */
};
void proc_event(struct proc *p, const struct entry *about, const struct event_source *source,
		const char *type, const char *reason, struct str message);
/* Is there room for an Event now, or is a burst being cut off?  For those who tell
 * something about each of many objects: before the message is made. */
bool proc_event_room(struct proc *p);

#endif
