/*
 * log.h - the log: an append-only sequence of checksummed batches.
 *
 * The log lies in segment files "log-<number>" of one directory.  A segment is
 * reserved in full before it is used and, once a checkpoint covers it, becomes
 * a "spare-<number>" that a later segment is made from.
 *
 *   segment   head (64 bytes), then batches back to back, then anything
 *   batch     head (64 bytes), body, padding to 64
 *
 * Every batch has a sequence number; they are dense.  A head names its segment,
 * so that what a recycled file held before is never taken for the present.  A
 * batch whose head and body check out (XXH3) is whole.  One batch is in flight
 * at a time: the next is written after the sync of the one before.
 *
 * Reading.  The last segment ends at its last whole batch: what follows is the
 * torn tail of a batch that nobody was told of.  If anything later is whole
 * after all, then what lies between is damage, and opening stops, naming file
 * and offset.  An earlier segment ends where the next one's first sequence
 * number says; what it holds from there on was refused by an error when it was
 * written, and is void.
 *
 * Errors of writing.  After a failed append the batch is void: the next append
 * begins a new segment with the same sequence number.  Until that has
 * succeeded, a crash may bring the failed batch back: its outcome is unknown.
 *
 * One thread at a time calls these functions.  All may block on the disk.
 */
#ifndef WEFT_STORE_LOG_H
#define WEFT_STORE_LOG_H

#include "procs/store/file.h"

#define LOG_HEAD	    64u /* bytes to leave free at the start of a batch's buffer */
#define LOG_SEGMENT_MIN	    (64u << 10)
#define LOG_SEGMENT_DEFAULT (16u << 20)

struct log;

/* A whole batch as it is read back.  `rv_limit`: no resourceVersion above it
 * was given to anybody before the next batch was durable. */
struct log_batch {
	uint64_t seq, first_rv, last_rv, rv_limit;
	struct str body;  /* 64-byte aligned */
	const char *file; /* for messages */
	uint64_t off;
};

typedef int (*log_batch_fn)(void *arg, const struct log_batch *b, struct err *e);

/* Find the log in `fs`; an empty directory is an empty log.  WEFT_ECORRUPT for
 * damaged or missing segments, WEFT_ELAYOUT for another format or cluster. */
int log_open(struct log **out, struct files *fs, const uint8_t cluster_id[16],
	     uint64_t segment_size, struct err *e);
void log_close(struct log *log);

/* No resourceVersion above this was ever given out: the last batch's rv_limit,
 * known before the log is read (void batches may make it higher). */
uint64_t log_rv_bound(const struct log *log);

/* Call `fn` for each batch in order, once, before anything is appended; its
 * error ends the reading.  WEFT_ECORRUPT for damage. */
int log_replay(struct log *log, log_batch_fn fn, void *arg, struct err *e);

/* The log holds every logged write after this resourceVersion. */
uint64_t log_start_rv(const struct log *log);

/* Append one batch and sync it.  The body begins at b->p + LOG_HEAD; the head
 * is filled in here.  On error nothing was appended (see above). */
int log_append(struct log *log, struct buf *b, uint64_t first_rv, uint64_t last_rv,
	       uint64_t rv_limit, struct err *e);

/* Let go of segments that hold nothing after `rv`, the one in use excepted. */
int log_cut(struct log *log, uint64_t rv, struct err *e);

/* Make a spare segment if the one in use is half full and there is none, so
 * that the next append does not have to. */
void log_prepare(struct log *log);
bool log_wants_spare(const struct log *log); /* log_prepare() would make one */

/* Bytes in all segments; segments in use. */
uint64_t log_bytes(const struct log *log);
uint32_t log_segments(const struct log *log);

#endif
