/*
 * table.h - the checkpoint's tables in LMDB: all objects as they were at one
 * resourceVersion.
 *
 *   objects   key: type (big-endian), namespace "/" name; value: a row
 *   blobs     key: XXH3 of the bytes; value: count of rows, bytes
 *   meta      format, cluster, state (rv and number of objects)
 *
 * A part that several objects share lies in `blobs` once; others lie in their
 * row.  Which it is was decided when the row was written, and both are always
 * right.  Rows end in an XXH3 of their own, so that a flipped bit is found.
 *
 * A transaction takes the tables from one resourceVersion to another: all of it
 * is there, or nothing.  LMDB's codes become weft's here.
 */
#ifndef WEFT_CHECKPOINT_TABLE_H
#define WEFT_CHECKPOINT_TABLE_H

#include "weft/cache.h"
#include "weft/cache_write.h"

struct table;

/* --- For the store ----------------------------------------------------------------- */

/* The resourceVersion of the checkpoint in `dir`; 0 if there is none. */
int table_peek_rv(const char *dir, uint64_t *rv, struct err *e);
/* Put every object into the cache with cw_restore().  Those of a type whose bit is
 * set in memory_types become VERSION_MEMORY: the configuration has changed.  WEFT_ECORRUPT with
 * file and key for anything that does not check out, WEFT_ELAYOUT for another format or cluster,
 * WEFT_ENOMEM when the cache is too small. */
int table_load(const char *dir, struct cache_writer *w, const uint8_t cluster_id[16],
	       const uint64_t *memory_types, uint64_t *rv, struct err *e);

/* --- For the checkpoint process ----------------------------------------------------- */

/* Open (first time: make) the tables in `dir`. */
int table_open(struct table **out, const char *dir, const uint8_t cluster_id[16], struct err *e);
void table_close(struct table *t);
uint64_t table_rv(const struct table *t);      /* of the last commit */
uint64_t table_objects(const struct table *t); /* rows at the last commit */

void table_set_map(struct table *t, size_t bytes); /* see follow_set_map() */

/* One transaction at a time: begin, put and remove, commit or abort.  After an
 * error only abort is left.  WEFT_EAGAIN from any of them: the map was full and
 * has been made larger; abort and do the same again. */
int table_begin(struct table *t, struct err *e);
/* The state of an object; inside a read section of `c`.  LMDB may have to read
 * from the disk meanwhile. */
int table_put(struct table *t, const struct cache *c, const struct entry *o,
	      const struct version *v, struct err *e);
/* Absent is success. */
int table_remove(struct table *t, uint16_t type, struct str ns, struct str name, struct err *e);
/* Bring the tables to a whole state, met in key order: begin, one call for each
 * object, end.  What is as it should be is not written; rows of objects that
 * were not met are removed. */
int table_scan_begin(struct table *t, struct err *e);
int table_scan_put(struct table *t, const struct cache *c, const struct entry *o,
		   const struct version *v, struct err *e);
int table_scan_end(struct table *t, struct err *e);
int table_commit(struct table *t, uint64_t rv, struct err *e);
void table_abort(struct table *t);

#endif
