/*
 * recover.h - a data directory, and the cache made from it.
 *
 *   DIR/weft-data     which format and which cluster this is
 *   DIR/log-data/     the log
 *   DIR/checkpoint/   LMDB: the objects at some resourceVersion
 *
 * Recovery: the checkpoint's objects, then the log's records after its
 * resourceVersion.  The new generation begins above every resourceVersion that
 * was ever given out.
 */
#ifndef WEFT_STORE_RECOVER_H
#define WEFT_STORE_RECOVER_H

#include "procs/store/log.h"
#include "procs/store/store.h"

#define DATA_FORMAT	1
#define DATA_FILE	"weft-data"
#define DATA_LOG	"log-data"
#define DATA_CHECKPOINT "checkpoint"

/* Read (first start: make) the file that names format and cluster.
 * WEFT_ELAYOUT for another format, WEFT_ECORRUPT for what cannot be read. */
int data_identify(struct files *fs, uint8_t cluster_id[16], struct err *e);

struct recovery {
	struct store *s;	  /* initialised by recover() */
	struct cache_writer *w;	  /* out */
	struct log *log;	  /* in: opened, not replayed; out: ready to append */
	const char *checkpoint;	  /* directory, NULL: none */
	const char *segment_name; /* of the new generation */
	uint32_t generation;
	uint8_t cluster_id[16];
	struct cache_options options;
	/* Called before anything is made: which types are kept in memory only.  May
	 * be NULL. */
	void (*configure)(void *arg, struct store *s);
	void *arg;
	uint64_t checkpoint_rv, batches, records; /* out: for the log line */
};

/* Fill s and w.  Errors name file and offset, and what to do.  A checkpoint
 * without any log is gone on from: whoever moved a damaged log away wants that. */
int recover(struct recovery *r, struct err *e);

/* If rc is WEFT_ECORRUPT, adds to *e what to do about a damaged log. */
void advise_on_log(struct err *e, int rc);

#endif
