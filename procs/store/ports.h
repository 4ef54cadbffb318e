/*
 * ports.h - the store's side of every process's rings: requests in, replies and
 * work out.
 *
 * A port belongs to a slot.  Draining is fair: each turn takes from each port what
 * costs about the same (its bytes have to be read, its versions to be made), and
 * when a batch is full in the middle of a turn, the next turn begins there.
 *
 * Room in an inbox.  Replies are promised when a request is taken: it is only
 * taken while the inbox has room for its reply.  Work is sent while the inbox is
 * less than half full; beyond that it is dropped and the inbox marked, and its
 * owner looks at the cache again.  So nobody's slowness holds up the store, and
 * no reply is lost.
 */
#ifndef WEFT_STORE_PORTS_H
#define WEFT_STORE_PORTS_H

#include "procs/store/commit.h"
#include "weft/proc.h"

#define PORT_SHARDS_MAX	  128
#define PORT_TURN_COST	  32768u /* versions made, and PORT_UNIT_BYTES read cost as much as one */
#define PORT_UNIT_BYTES	  64u
#define PORT_HOSTILE	  16 /* malformed records within a second */
#define PORT_WORK_TYPES	  16
#define PORT_ROUTES_MAX	  64 /* for one type */
#define NO_ROUTES_TYPE	  UINT32_MAX
#define PORT_WORK_MESSAGE 4096u /* references in one message */

/* Objects of one type that a port has to look at, of this batch. */
struct worklist {
	uint16_t type;
	struct buf refs;
};

struct port {
	bool open;
	bool dead;    /* read to the end, then say so */
	bool routed;  /* gets work */
	bool touched; /* something was put into its inbox */
	bool dropped; /* or had no room: its inbox is marked once the batch is visible */
	uint32_t slot, kind, shard, incarnation;
	struct ring in, out;
	uint64_t owed;	     /* bytes of replies promised and not yet sent */
	uint64_t drained_at; /* dead and read to the end: batch it has to wait for, or 0 */
	int64_t bad_since;   /* monotonic */
	uint32_t bad;	     /* malformed records since then */
	struct worklist work[PORT_WORK_TYPES];
	uint32_t nwork;
};

/* What was routed in this batch: an open-addressing set of (entry, port). */
struct routed {
	uint64_t *key;
	uint64_t stamp; /* of this batch's keys */
	uint32_t n, cap;
};

/* Requests that were read and not yet done: what they will touch is fetched
 * for all of them before the first is. */
#define PORT_AHEAD	 32
#define PORT_AHEAD_BYTES (128u << 10)
struct port_ahead {
	struct msg m;
	struct buf record; /* m's strings lie here */
	struct msg_scratch scratch;
};

struct ports {
	struct store *s;
	struct committer *c;
	struct port port[PROC_SLOTS];
	uint32_t first; /* where the next turn begins */
	uint32_t generation;
	int16_t target[PROC_KIND_COUNT][PORT_SHARDS_MAX]; /* port of a shard, -1: none */
	uint32_t count[PROC_KIND_COUNT];		  /* shards, by which to route */
	uint32_t epoch[PROC_KIND_COUNT];		  /* that requests have to carry */
	struct routed routed;
	/* The routes of one type that lead anywhere: that of the version before, as a
	 * rule also of the next. */
	const struct route *routes_now[PORT_ROUTES_MAX];
	uint32_t nroutes_now;
	uint32_t follow_now;  /* and the kinds that follow it: bits */
	uint32_t routes_type; /* NO_ROUTES_TYPE: to be worked out */
	uint32_t old_owner;   /* of the version being published */
	uint32_t followed;    /* kinds whose processes find something new in the journal: bits */
	struct port_ahead ahead[PORT_AHEAD];
	struct cw_ahead fetch[PORT_AHEAD];
	uint32_t nfetch;    /* of them: all but a last one that does not name one object */
	uint64_t malformed; /* records refused */
	uint64_t hostile;   /* PROC_WHO goes on sending rubbish; 0: nobody */
	bool blocked;	    /* some port waits for room in its inbox */
};

void ports_init(struct ports *p, struct store *s, struct committer *c, uint32_t generation);
void ports_free(struct ports *p);
/* The hooks that publishing needs. */
struct commit_hooks ports_hooks(struct ports *p);

/* Take a process in.  `requests`/`in`: its ring to us and our end; `out`/`inbox`:
 * our ring to it and its end; `bell`: its eventfd or -1.  WEFT_ECORRUPT if the
 * ring is not of `size` bytes. */
int port_open(struct ports *p, uint32_t slot, uint32_t kind, uint32_t shard, uint32_t incarnation,
	      const struct ring_out *requests, struct ring_in *in, uint32_t size,
	      struct ring_out *out, const struct ring_in *inbox, int bell);
void port_close(struct ports *p, uint32_t slot);
/* Tell its process to look at the whole cache. */
void port_mark(struct ports *p, uint32_t slot);
/* Work out anew which port is which shard's: after `routed` or `dead` of a port
 * was changed. */
void ports_retarget(struct ports *p);
/* Shards of a kind from now on. */
void ports_set_map(struct ports *p, uint32_t kind, uint32_t epoch, uint32_t count);

/* Read requests into the batch; true if there were any. */
bool ports_drain(struct ports *p);
/* Announce sleep on all rings; false (and awake) if there is something. */
bool ports_sleep(struct ports *p);
void ports_awake(struct ports *p);

#endif
