/*
 * quota.h - ResourceQuotas: what a namespace's objects take is reckoned with each
 * version, so that a request which would take too much is refused here, where all
 * writers meet.
 *
 * Only namespaces with a quota are reckoned, and store.quotas is NULL while none
 * has one.  What is taken follows from the objects that there are, pending ones
 * included, and the time: it is not kept on the disk.  A namespace is counted once,
 * when its quotas change or after a start; from then on each version adds what it
 * takes and gives back what the one before it took, and a version that is undone
 * does the opposite.
 *
 * status.hard and status.used are written by the store itself, in the batch that
 * changed them: whoever reads a pod reads its quota with that pod in it.
 */
#ifndef WEFT_STORE_QUOTA_H
#define WEFT_STORE_QUOTA_H

#include "procs/store/store.h"

/* A namespace may get its first quota: from now on versions are followed. */
void quotas_begin(struct store *s);
/* After recovery: find the namespaces that have quotas. */
void quotas_recover(struct store *s);
void quotas_free(struct store *s);

/* A version was noted (only to be called with s->quotas); one will be aborted, newest
 * first. */
void quotas_follow(struct store *s, const struct version *v);
void quotas_undo(struct store *s, const struct version *v);

/* May one more object with these parts be created?  WEFT_EFORBIDDEN, answered with
 * Kubernetes' words, if not. */
int quotas_check_create(struct store *s, uint16_t type, struct str ns,
			const struct str part[PART_COUNT], struct msg_reply *r);
/* How many of `count` alike may. */
uint32_t quotas_room(struct store *s, uint16_t type, struct str ns,
		     const struct str part[PART_COUNT], uint32_t count);
/* May the object become this?  Only what it takes more than before is asked for. */
int quotas_check_update(struct store *s, const struct entry *e, const struct version *old,
			const struct str part[PART_COUNT], struct msg_reply *r);

/* The batch is about to be closed: write the status of quotas whose use changed. */
void quotas_settle(struct store *s);

/* Count everything anew and compare, for tests: WEFT_ECORRUPT if they differ. */
int quotas_verify(struct store *s, struct err *e);

#endif
