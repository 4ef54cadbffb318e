/*
 * delete.h - DeleteOptions and deleting, also for eviction.
 */
#ifndef WEFT_APISERVER_DELETE_H
#define WEFT_APISERVER_DELETE_H

#include "procs/apiserver/write.h"

struct delete_options {
	int64_t grace; /* seconds; -1: the object's own */
	enum propagation propagation;
	bool not_orphan; /* orphanDependents: false was said */
	bool dry_run;
	bool has_rv, has_uid; /* preconditions */
	uint8_t uid[16];
	struct str rv_text, uid_text;
	uint64_t at; /* only if it is at this version: WEFT_ECONFLICT; 0: at any */
	/* What is done with the store's answer, NULL: the usual. */
	enum outcome (*answer)(struct request *q, const struct msg_reply *reply);
};

/* From q's body and query.  WEFT_EINVAL: answered. */
int delete_options_read(struct request *q, struct delete_options *o);
/* From DeleteOptions, NULL: none.  WEFT_EINVAL: answered. */
int delete_options_from(struct request *q, const value *v, struct delete_options *o);
/* Do the preconditions hold for an object of this uid at this version?  False: answered. */
bool delete_allowed(struct request *q, const struct delete_options *o, const uint8_t uid[16],
		    uint64_t rv);
/* Delete the object that q's path names. */
enum outcome delete_object(struct request *q, const struct delete_options *o);

#endif
