/*
 * queue.h - the controllers' work queue: which objects to look at, in which
 * order and when.  Private memory of one process; nothing here touches the
 * cache or sends anything, so a test can drive it alone.
 *
 * An item is one object, found by uid.  It is
 *   - waiting in the queue, once (QUEUE_WAITS), in one of two lines: of what has changed, and
 *     of what is looked at because everything is; each first come first served, the second
 *     one a turn in QUEUE_SECOND of them while there are both; or
 *   - in flight: requests made for it are unanswered (in_flight > 0).  What
 *     arrives for it meanwhile is noted (QUEUE_AGAIN) and queued after the last
 *     answer, so that a controller always sees its own writes; or
 *   - resting, perhaps with a timer.
 * It lives until queue_drop(): resting items keep the controller's state.
 */
#ifndef PROCS_LIB_QUEUE_H
#define PROCS_LIB_QUEUE_H

#include <sys/queue.h>

#include "weft/base.h"

#define QUEUE_SECOND	       4
#define QUEUE_BACKOFF_FIRST_MS 5
#define QUEUE_BACKOFF_MAX_MS   60000

enum queue_flag {
	QUEUE_WAITS = 1,  /* is in the queue */
	QUEUE_AGAIN = 2,  /* queue it when its requests are answered */
	QUEUE_FAILED = 4, /* one of its answers was an error */
	QUEUE_GONE = 8,	  /* drop it when its requests are answered */
	QUEUE_LATER = 16, /* waits in the second line */
};

struct queue_item {
	uint8_t uid[16];
	uint32_t entry; /* the caller's: where the object is now */
	uint32_t in_flight;
	uint16_t flags;
	uint16_t failures; /* in a row */
	uint32_t timer;	   /* place in the heap + 1; 0: none */
	int64_t timer_ns;
	int64_t waits_ns;			   /* since when it waits */
	TAILQ_ENTRY(queue_item) line;		   /* in which it waits */
	struct queue_item *same;		   /* in the hash chain */
	char state[] __attribute__((aligned(16))); /* the controller's own, zeroed at first */
};

TAILQ_HEAD(queue_line, queue_item);

struct queue {
	size_t state_size;
	struct queue_line changed, later;
	uint32_t waiting, turn;
	struct queue_item **chain; /* by uid */
	uint32_t nchain, nitems;
	struct queue_item **heap; /* of timers, earliest first */
	uint32_t nheap, cap_heap;
};

void queue_init(struct queue *q, size_t state_size);
void queue_free(struct queue *q);

/* The object's item, or NULL. */
struct queue_item *queue_find(struct queue *q, const uint8_t uid[16]);
/* The same, made if there is none. */
struct queue_item *queue_item(struct queue *q, const uint8_t uid[16]);
/* Forget an object; not while it is in flight. */
void queue_drop(struct queue *q, struct queue_item *it);

/* It has to be looked at: it has changed. */
void queue_add(struct queue *q, struct queue_item *it, int64_t now_ns);
/* The same, as everything is looked at: what changes goes before it. */
void queue_add_later(struct queue *q, struct queue_item *it, int64_t now_ns);
/* The same, before all others: for one that could not be finished. */
void queue_push_front(struct queue *q, struct queue_item *it, int64_t now_ns);
/* The first one, with its timer off; NULL if none waits. */
struct queue_item *queue_pop(struct queue *q);
/* For how long the first one has waited, of either line. */
int64_t queue_age_ns(const struct queue *q, int64_t now_ns);

/* Look at it at `when_ns` at the latest: an earlier timer stays. */
void queue_at(struct queue *q, struct queue_item *it, int64_t when_ns);
/* Queue everything whose time has come; returns when the next timer is due (0:
 * there is none). */
int64_t queue_due(struct queue *q, int64_t now_ns);

/* A request was made for it. */
void queue_sent(struct queue_item *it);
/* A request was answered.  After the last one it is queued, backed off or (true
 * is returned) dropped. */
bool queue_answered(struct queue *q, struct queue_item *it, int status, int64_t now_ns);
/* How long to back off after `failures` in a row. */
int64_t queue_backoff_ns(unsigned failures);

/* Every item; `cb` may drop the one it is called with. */
void queue_each(struct queue *q, void (*cb)(void *arg, struct queue_item *it), void *arg);

#endif
