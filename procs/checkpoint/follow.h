/*
 * follow.h - following the journal into the tables, without the process around
 * it.
 */
#ifndef WEFT_CHECKPOINT_FOLLOW_H
#define WEFT_CHECKPOINT_FOLLOW_H

#include "procs/checkpoint/table.h"

struct follower;

/* Errors as table_open(). */
int follow_open(struct follower **out, const char *dir, const uint8_t cluster_id[16],
		struct err *e);
void follow_close(struct follower *f);

/* Call this before each read section of a round.  It may take its time, within which the
 * round stays as it is (an open transaction), unless the journal's window passes it:
 * then everything is compared. */
void follow_between(struct follower *f, void (*between)(void *arg), void *arg);
/* Bring the tables up to a resourceVersion that the cache had during this call.
 * Read sections are short.  On error the tables are as before. */
int follow_round(struct follower *f, struct cache *c, struct err *e);
/* resourceVersion that the tables will have after the round that is being made. */
uint64_t follow_making(const struct follower *f);
/* resourceVersion that is safe in the tables. */
uint64_t follow_rv(const struct follower *f);
/* Make the map this small (if the tables fit): tests of a full one. */
void follow_set_map(struct follower *f, size_t bytes);
/* How often everything was written anew. */
uint64_t follow_scans(const struct follower *f);

#endif
