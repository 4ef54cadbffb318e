/*
 * lib.h - what the files of this folder share: a process's private state.
 *
 * One thread, the one that runs the loop, owns everything here; the only
 * exceptions are the reader words, which proc_thread_cache() hands out.
 */
#ifndef PROCS_LIB_LIB_H
#define PROCS_LIB_LIB_H

#include <stdatomic.h>

#include "procs/lib/awake.h"
#include "weft/proc.h"
#include "weft/value.h"

/* Requests in flight, indexed by seq & (cap - 1): the window oldest..newest. */
struct flight {
	reply_cb cb;
	void *arg;
	bool open; /* sent, unanswered */
};

struct flights {
	struct flight *at;
	uint64_t cap;	 /* a power of two */
	uint64_t oldest; /* nothing below is open */
	uint64_t next;	 /* seq of the next request */
	uint32_t open;
};

void flights_init(struct flights *f);
void flights_free(struct flights *f);
/* Note a request; returns its seq. */
uint64_t flights_add(struct flights *f, reply_cb cb, void *arg);
/* The newest one was not sent after all. */
void flights_undo(struct flights *f);
/* Take out the request `seq`; false if none is open under it. */
bool flights_take(struct flights *f, uint64_t seq, struct flight *out);
/* Take out the oldest open one; false if there is none. */
bool flights_take_oldest(struct flights *f, struct flight *out, uint64_t *seq);

struct watched_fd {
	int fd;
	void (*cb)(void *arg, uint32_t events);
	void *arg;
};

struct events; /* recorder, events.c */

struct proc {
	enum proc_kind kind;
	uint32_t slot, shard, incarnation;
	uint64_t cluster;

	struct seg control_seg, own_seg, inbox_seg;
	const struct control *control;
	struct proc_segment *own;
	struct inbox_segment *inbox; /* mapped read-only */
	zone *config_zone;
	value *config;

	struct cache *cache;
	uint32_t generation;
	uint64_t map;	  /* the shard map's word that we act under */
	uint32_t changes; /* the control segment's, last seen */
	bool store_up;
	_Atomic uint32_t threads; /* reader words handed out */

	struct ring out, in;
	struct flights flights;
	struct msg_scratch scratch;
	bool unpublished; /* records reserved since the last flush */

	bool follows;	   /* the cache: proc_follow() */
	uint64_t followed; /* resourceVersion up to which it has looked */

	int epoll;
	struct awake awake;
	struct watched_fd *fds;
	uint32_t nfds;

	const struct proc_handlers *handlers;
	bool resync;	      /* due */
	bool look_at_all;     /* the next one is the first under this map or cache */
	int64_t looked_ns;    /* when such a one had queued everything; 0: that is worked off */
	int64_t beat_ns;      /* last heartbeat */
	bool beat_ahead;      /* it stands for a while to come */
	int64_t cpu_ns;	      /* when cpu_ms was counted */
	uint32_t bad_records; /* logged so far */

	struct events *events;
};

/* Our part of proc_start() that a test can do with segments of its own:
 * attach as slot `slot` of `cluster`; waits until it is that incarnation's.  WEFT_* with a
 * message. */
int proc_attach(struct proc **out, enum proc_kind kind, uint64_t cluster, uint32_t slot,
		uint32_t incarnation, struct err *e);
void proc_detach(struct proc *p);
/* Attach to this generation of the cache in place of the one before; on an
 * error the old one stays. */
int proc_reattach(struct proc *p, uint32_t generation);
/* Nobody will answer what is in flight now: WEFT_ELOST for each. */
void proc_lose_all(struct proc *p);

/* The controller that controller_main() runs, and the handlers to run it with. */
struct controller *controller_new(const struct controller_ops *ops, struct proc *p,
				  struct proc_handlers *handlers);
/* Nothing may be in flight: proc_lose_all() before. */
void controller_free(struct controller *ctl);

void events_free(struct events *ev);

#endif
