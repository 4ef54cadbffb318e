/*
 * supervisor.h - the supervisor's own state, shared by its files:
 *   datadir.c     the data directory: lock, version, what a dead one left
 *   child.c       segments, fork and exec, the end of a process
 *   watch.c       what has to be done now: readiness, stalls, restarts, generations
 *   scale.c       shard maps, and the socket over which they are changed
 *   autoscale.c   how many processes a kind needs
 *   logs.c        the children's output
 *   supervisor.c  the loop, start and stop
 *
 * One thread.  It reads little of what its children write (heartbeat, ready,
 * generations), never waits for one, and survives any of them.
 */
#ifndef PROCS_SUPERVISOR_SUPERVISOR_H
#define PROCS_SUPERVISOR_SUPERVISOR_H

#include <sys/types.h>

#include "procs/supervisor/config.h"

/* --- Data directory (datadir.c) ------------------------------------------------ */

struct datadir {
	char path[512]; /* absolute */
	int fd;
	int lock_fd;
	uint64_t cluster; /* hash of the path: in the segments' names */
};

/* The directory to use when none is named. */
int datadir_default(char out[512], struct err *e);
/* Find an existing directory and its cluster; for tools. */
int datadir_find(struct datadir *d, const char *path, struct err *e);
/* True if a supervisor holds its lock. */
bool datadir_in_use(const struct datadir *d);
/* Make it if needed, take its lock for as long as we live, check its version,
 * remove what a dead supervisor left: processes, segments, socket.
 * WEFT_EBUSY when another supervisor runs on it. */
int datadir_take(struct datadir *d, const char *path, struct err *e);
/* Before we end in order. */
void datadir_leave(struct datadir *d);

struct supervisor;
/* Note who runs, for datadir_take() of a later supervisor. */
void datadir_note_children(struct supervisor *s);

/* --- Children -------------------------------------------------------------------- */

enum child_state {
	CHILD_FREE,	/* no process belongs here */
	CHILD_STARTING, /* runs, is not ready */
	CHILD_RUNNING,
	CHILD_STOPPING, /* was told to stop, and will not be replaced */
	CHILD_DRAINING, /* ended; the store applies what it left; its successor may be there */
	CHILD_WAITING,	/* ended; its successor starts at `next_ns` */
};

struct child {
	enum child_state state;
	enum proc_kind kind;
	uint32_t slot, shard, incarnation;
	pid_t pid; /* 0: none */
	int pidfd;
	struct seg proc, inbox;
	bool has_segments;
	int log_fd;
	struct buf line;   /* what came of the next log line */
	bool was_ready;	   /* this incarnation */
	bool has_run;	   /* this one or one before */
	bool killed;	   /* by us, for a reason that was logged */
	bool late;	   /* not drained for long, which was logged */
	unsigned failures; /* short lives in a row */
	int64_t started_ns, ended_ns, next_ns, kill_ns;
	int64_t beat, beat_seen_ns; /* last heartbeat, and when we saw it change */
	int64_t core_wait_ns;	    /* while it is silent: what it had waited for a core; else 0 */
	bool hastes;		    /* it was started again, and goes first */
	int64_t calm_ns;	    /* when that ends, once it is ready */
};

/* Whom the store found in one read section for long (PROC_WHO), since when we know, and what
 * it had waited for a core by then. */
struct accused {
	uint64_t who; /* 0: nobody */
	int64_t since_ns, core_wait_ns;
};

/* How many processes of a kind there are to be (scale.c). */
enum scale_state {
	SCALE_NONE,	/* the map is as wanted */
	SCALE_STARTING, /* those of the next map are not all ready */
	SCALE_FENCING,	/* the next map is out, the store has not confirmed it */
};
struct scaling {
	enum scale_state state;
	uint32_t count;	  /* wanted */
	int client;	  /* who waits for the answer; -1: nobody */
	int64_t asked_ns; /* since when */
	struct autoscale autoscale;
};

enum stop_phase { STOP_NOT, STOP_CONTROLLERS, STOP_APISERVER, STOP_CHECKPOINT, STOP_STORE };

struct supervisor {
	struct config config;
	struct datadir dir;
	struct seg control_seg;
	struct control *control;
	struct child child[PROC_SLOTS];
	struct accused accused;
	struct scaling scaling[PROC_KIND_COUNT];

	int epoll, signals, socket, log;
	int64_t log_bytes;
	int64_t now, last_tick_ns;
	int64_t idle_ns;	 /* between two looks when nobody rings */
	uint32_t old_generation; /* whose name is still there; 0: none */
	bool started;		 /* everybody was started once */
	bool serving;		 /* the ready line was printed */
	enum stop_phase stop;
	int exit_status;
	int64_t asked_ns; /* when it was asked to stop */
	bool pids_changed;
	bool quiet; /* tests: nothing to the terminal */
};

/* Everything that has a descriptor in the loop. */
enum source { FROM_SIGNALS, FROM_BELL, FROM_SOCKET, FROM_CLIENT, FROM_PIDFD, FROM_LOG };

/* --- supervisor.c ------------------------------------------------------------------- */

/* The whole life: returns the exit status.  `config` is taken over. */
int supervisor_run(struct config *config, const char *data);
int supervisor_watch(struct supervisor *s, int fd, enum source from, uint32_t slot);
/* Publish a change of the control segment: raise `changes`, ring all bells. */
void supervisor_changed(struct supervisor *s);
/* Begin to stop in order. */
void supervisor_stop(struct supervisor *s, int exit_status);

/* --- child.c ------------------------------------------------------------------------ */

/* Start a process of `kind`; false if there is no free slot now. */
bool child_start(struct supervisor *s, enum proc_kind kind, uint32_t shard);
/* Start the next incarnation in the child's slot. */
void child_restart(struct supervisor *s, struct child *c);
/* Its pidfd says that it ended. */
void child_ended(struct supervisor *s, struct child *c);
/* It goes first no longer, none of its threads. */
void child_calm(struct child *c);
/* Nobody follows it. */
void child_free(struct supervisor *s, struct child *c);
void child_signal(struct supervisor *s, struct child *c, int sig);
/* Ask it to stop, and kill it `within_ms` later. */
void child_stop(struct supervisor *s, struct child *c, int64_t within_ms);
/* Is there a process?  In CHILD_DRAINING that is its successor, which waits for its turn. */
bool child_alive(const struct child *c);
struct child *child_find(struct supervisor *s, enum proc_kind kind, uint32_t shard);
const struct proc_segment *child_segment(const struct child *c);
/* "replicaset/1" */
const char *child_name(const struct child *c, char out[32]);

/* --- watch.c ------------------------------------------------------------------------ */

/* Look at everything once. */
void watch_tick(struct supervisor *s);
struct child *watch_store(struct supervisor *s);

/* --- scale.c ------------------------------------------------------------------------ */

int scale_open(struct supervisor *s, struct err *e);
void scale_close(struct supervisor *s);
/* A client has connected. */
void scale_accept(struct supervisor *s);
/* It has sent its line, or gone. */
void scale_read(struct supervisor *s, int client);
/* Bring every kind nearer to the number that is wanted of it. */
void scale_tick(struct supervisor *s);
/* Is there a kind that is scaled by itself? */
bool scale_automatic(const struct supervisor *s);
/* Ask the supervisor of `d` for `count` processes of a kind, by its name; returns a
 * descriptor for scale_answer(), or a WEFT_ code. */
int scale_ask(const struct datadir *d, const char *kind, uint32_t count, struct err *e);
/* Wait for the answer, which goes to `answer`; closes the descriptor. */
int scale_answer(const struct datadir *d, int fd, struct buf *answer, struct err *e);
/* Both. */
int scale_request(const struct datadir *d, const char *kind, uint32_t count, struct buf *answer,
		  struct err *e);

/* --- logs.c ------------------------------------------------------------------------- */

int logs_open(struct supervisor *s, struct err *e);
/* Read what a child wrote; at its end the rest is flushed and the descriptor closed. */
void logs_read(struct supervisor *s, struct child *c);
void logs_end(struct supervisor *s, struct child *c);
/* The supervisor's own line. */
void logs_say(struct supervisor *s, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
