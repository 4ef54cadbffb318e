/* table_priv.h - what table.c (writing), table_load.c and table_rows.c share. */
#ifndef WEFT_CHECKPOINT_TABLE_PRIV_H
#define WEFT_CHECKPOINT_TABLE_PRIV_H

#include <lmdb.h>

#include "procs/checkpoint/row.h"
#include "procs/checkpoint/table.h"

#define TABLE_FORMAT  1u
#define TABLE_KEY_MAX 512

/* How a transaction changes the count of a blob. */
struct delta {
	uint64_t id; /* 0: free slot */
	int64_t change;
	uint64_t count; /* before */
	bool met;	/* it is there, with the right bytes */
};

struct table {
	char dir[512];
	MDB_env *env;
	MDB_dbi objects, blobs, meta;
	MDB_txn *txn;
	uint64_t rv, count; /* at the last commit */
	uint64_t txn_count; /* rows, as of this transaction */
	bool grow;	    /* the map was full */
	/* Where the last row was written: the next one is near, as they come in
	 * key order, and LMDB need not search from the root. */
	MDB_cursor *at;
	struct buf row;
	MDB_cursor *scan;    /* at the first row that the scan has not passed */
	bool scan_end;	     /* there is none */
	struct buf stale;    /* keys to remove: u32 length and bytes, each */
	struct delta *delta; /* open addressing */
	uint32_t ndelta, delta_cap;
};

static inline struct str val_str(const MDB_val *v)
{
	return (struct str){v->mv_data, (uint32_t)v->mv_size};
}

int table_code(int mdb_rc);
/* 0, or the code with "checkpoint 'dir': what: LMDB's words". */
int table_err(const struct table *t, int mdb_rc, const char *what, struct err *e);
int table_env(struct table *t, const char *dir, unsigned flags, struct err *e);
int table_get_meta(struct table *t, MDB_txn *txn, const char *name, void *out, size_t n,
		   struct err *e);
int table_get_state(struct table *t, MDB_txn *txn, struct err *e);
int table_check_meta(struct table *t, MDB_txn *txn, const uint8_t cluster_id[16], struct err *e);
/* fn(arg, key, value) for all of one of the tables, in key order, until one is not 0: that, or
 * what table_err() says. */
int table_each(const struct table *t, MDB_txn *txn, MDB_dbi dbi,
	       int (*fn)(void *arg, const MDB_val *key, const MDB_val *v), void *arg,
	       struct err *e);
/* WEFT_ECORRUPT, with the object that `key` names. */
int table_bad_row(const struct table *t, struct str key, const char *why, struct err *e);
/* fn(arg), which reads the mapped file of `dir` in this thread, while table_load() or
 * table_peek_rv() watch: a page that lies behind the end of a file cut short, or that the disk does
 * not give, is a SIGBUS, and here WEFT_ECORRUPT. */
int table_guarded(const char *dir, int (*fn)(void *arg), void *arg, struct err *e);

#endif
