/*
 * ring.h - single-producer single-consumer byte rings between processes, and
 * their doorbells.
 *
 * The two ends lie in different segments, as nobody writes another's segment:
 *   struct ring_out   in the producer's segment: head, and the bytes
 *   struct ring_in    in the consumer's segment: tail, and "I sleep"
 *
 * A record is a 32-bit length and that many bytes, padded to 8.  It becomes
 * visible by one release store of `head` after it is whole; space becomes free
 * by one release store of `tail`.  head and tail are free-running byte counts.
 * Several records may be published by one store (ring_reserve ... ring_commit).
 * A record is never cut in two: one that does not fit before the end of data
 * starts at its beginning, and the length 0xffffffff stands in its place.
 *
 * Sleeping: the consumer stores asleep, fences, looks at head once more, and
 * only then waits on its eventfd; the producer publishes, fences, and writes the
 * eventfd only if asleep is set.  A busy ring makes no system call.  A consumer
 * that follows something else of the producer's, too (the cache), says so in
 * `asleep`, and looks at that as well before it waits.
 * Orders, all in ipc/ring.c: R1/A1 head, R2/A2 tail, R3/A3 the two fences,
 * R4/A4 overflow.
 *
 * The consumer trusts nothing: a length that is 0, too large or runs past head
 * makes ring_peek() count it and return WEFT_ECORRUPT; the ring has then been
 * drained whole.  A producer may still write to a record that was peeked:
 * what has to stay as it was checked is copied before it is checked.
 */
#ifndef WEFT_RING_H
#define WEFT_RING_H

#include <stdatomic.h>
#include "weft/base.h"

/* Producer's end.  Written by the producer only. */
struct ring_out {
	_Atomic uint64_t head;	   /* bytes ever published */
	_Atomic uint64_t records;  /* ever published */
	_Atomic uint64_t full;	   /* times a record did not fit */
	_Atomic uint32_t overflow; /* times the consumer has to resync; see ring_mark_overflow */
	uint32_t size;		   /* of data, a power of two; constant */
	char data[] cache_aligned;
} cache_aligned;

enum ring_asleep {
	RING_AWAKE,
	RING_ASLEEP,	/* wake for records */
	RING_FOLLOWING, /* and for what the producer publishes elsewhere */
};

/* Consumer's end.  Written by the consumer only. */
struct ring_in {
	_Atomic uint64_t tail;	  /* bytes ever consumed */
	_Atomic uint64_t records; /* ever consumed */
	_Atomic uint64_t malformed;
	_Atomic uint32_t asleep;	/* enum ring_asleep */
	_Atomic uint32_t overflow_seen; /* the overflow count already acted on */
} cache_aligned;

/* A private handle: either end. */
struct ring {
	struct ring_out *out;
	struct ring_in *in;
	int bell;	 /* eventfd of the consumer */
	uint64_t pos;	 /* producer: reserved up to; consumer: read up to */
	uint64_t cached; /* the other side's last seen position */
	uint64_t
		mark; /* producer: start of the record reserved last; consumer: end of the one peeked */
	uint32_t pending; /* producer: records reserved and not yet committed */
	uint32_t size;	  /* private copy: the shared one is not trusted */
};

/* Bytes of a ring_out with `size` data bytes. */
size_t ring_bytes(uint32_t size);
/* Producer, before the ring is known to anyone.  `size` of 64 at least. */
void ring_init(struct ring_out *out, uint32_t size);
/* Handles; each begins where its end stands.  The consumer gives the size that
 * it expects: WEFT_ECORRUPT if the ring says otherwise.  `bell` may be -1. */
void ring_producer(struct ring *r, struct ring_out *out, const struct ring_in *in, int bell);
int ring_consumer(struct ring *r, const struct ring_out *out, struct ring_in *in, uint32_t size,
		  int bell);

/* --- Producer ---------------------------------------------------------------- */

/* Room for one record of `n` > 0 bytes; NULL when the ring is full (counted) or
 * the record is larger than half the ring.  4-byte aligned.  Not visible until
 * ring_commit(). */
void *ring_reserve(struct ring *r, uint32_t n);
/* Make the record reserved last `n` bytes long, no longer than it was; 0 takes
 * it back. */
void ring_trim(struct ring *r, uint32_t n);
/* Make everything reserved visible. */
void ring_commit(struct ring *r);
/* Wake the consumer if it sleeps; one system call at most. */
void ring_ring(struct ring *r);
/* Something was published that is not in the ring: wake the consumer if it sleeps
 * and follows that. */
void ring_ring_follower(struct ring *r);
/* reserve + copy + commit; WEFT_EFULL, WEFT_ETOOBIG. */
int ring_put(struct ring *r, struct str bytes);
/* What was dropped must be found again by looking: raises out->overflow.  The
 * consumer learns it at once with ring_ring(). */
void ring_mark_overflow(struct ring *r);
/* Bytes published but not yet consumed. */
uint64_t ring_used(const struct ring *r);

/* --- Consumer ---------------------------------------------------------------- */

/* The next record without consuming it: 1 and *bytes, 0 if empty, or
 * WEFT_ECORRUPT.  Valid until ring_release(). */
int ring_peek(struct ring *r, struct str *bytes);
/* Pass the record that was peeked; space is not yet given back. */
void ring_next(struct ring *r);
/* Give back all that was passed. */
void ring_release(struct ring *r);
/* Drop everything published so far (a damaged or orphaned ring). */
void ring_drop(struct ring *r);
/* True once after any number of ring_mark_overflow(). */
bool ring_overflowed(struct ring *r);

/* Announce sleep; false (and awake again) if there is something to read.
 * After true: wait on the eventfd, then ring_awake(). */
bool ring_sleep(struct ring *r);
/* The same, to be woken by ring_ring_follower(), too: after true look at what is
 * followed once more before waiting. */
bool ring_sleep_following(struct ring *r);
void ring_awake(struct ring *r);

/* An eventfd, non-blocking, close-on-exec off (children inherit it); a negative
 * code on error. */
int bell_create(struct err *e);
void bell_clear(int bell);

#endif
