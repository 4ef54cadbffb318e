/*
 * table_rows.h - the rows of a checkpoint, read ahead: a thread finds and checks the next ones
 * while the last ones are put into the cache.
 */
#ifndef WEFT_CHECKPOINT_TABLE_ROWS_H
#define WEFT_CHECKPOINT_TABLE_ROWS_H

#include "procs/checkpoint/table_priv.h"

/* A row that checks out, and its key taken apart; all text is LMDB's. */
struct object {
	uint16_t type;
	struct str key, ns, name;
	struct row_view row;
};

/* Rows are taken in blocks: what some will touch is fetched while those before them are
 * put in, and a whole block gets its place in key order, which is LMDB's, at once. */
#define BLOCK_ROWS 256u
struct row_block {
	uint32_t n;
	struct object at[BLOCK_ROWS];
};

struct rows;

/* Begin to read the objects of `t` as `txn` has them, which is the thread's until rows_close();
 * its environment has MDB_NOTLS.  WEFT_ENOMEM, WEFT_ESYS: there is no thread for it. */
int rows_open(struct rows **out, const struct table *t, MDB_txn *txn, struct err *e);
/* The next block, in key order, which is the caller's until the next call; NULL: there are no
 * more.  Waits for the disk.  After the last block before it, the first error: WEFT_ECORRUPT
 * with file and key for a row that does not check out, or what table_err() or table_guarded()
 * say. */
int rows_next(struct rows *r, const struct row_block **out, struct err *e);
/* Ends the thread, wherever it is.  NULL does nothing. */
void rows_close(struct rows *r);

#endif
