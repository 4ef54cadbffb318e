/*
 * write.h - creating and changing objects.
 *
 * A change is made from the newest state, sent with that state's
 * resourceVersion, and made again from the next one when somebody was faster,
 * unless the client named a version itself.
 */
#ifndef WEFT_APISERVER_WRITE_H
#define WEFT_APISERVER_WRITE_H

#include "procs/apiserver/store.h"

/* Makes *obj (a whole object of resource r, checked) from `old`, which may be
 * changed.  WEFT_EINVAL: an error was answered. */
typedef int (*change_make)(struct request *q, void *arg, value *old, value *obj);
/* The answer after a change: the object is `entry` at `rv`; entry 0: nothing of it was stored
 * (a dry run, or the change ended it).  `made` is what the change made of it, in the version of
 * the change's resource: what to answer, too, when what was stored has gone from the cache. */
typedef enum outcome (*change_answer)(struct request *q, uint32_t entry, uint64_t rv, value *made);

struct change {
	const struct kube_resource *r; /* in whose version `make` works */
	struct str ns, name;
	struct str sub; /* "" or the sub-resource that is written */
	change_make make;
	void *arg;
	change_answer answer; /* NULL: the object itself */
	bool reads_only;      /* `make` leaves `old` as it is */
	bool once;	      /* a conflict is answered, not tried again */
	bool or_create;	      /* if it is not there, create what `make` makes of {} */
	bool dry_run;
	int64_t until_ns; /* so long it is made again when somebody was faster */
	bool *asked;	  /* to be set when the store is */

	/* turn.c */
	struct turn *turn;
	struct request *q;
	enum outcome (*begin)(struct request *q, struct change *ch);
	struct change *behind;
};

/* `ch` lives as long as q. */
enum outcome write_change(struct request *q, struct change *ch);
/* The object that `ch` is about, as it is now; {} if it is not there. */
value write_state(struct request *q, const struct change *ch);
/* Create `obj` (checked, of q's resource). */
enum outcome write_create(struct request *q, value *obj, bool dry_run);

/* A body's resourceVersion: "" and "0" stand for whatever is there. */
bool names_version(struct str rv);
/* Body and path name one object, and `obj` was made from `old` (or does not say):
 * WEFT_EINVAL: answered. */
int check_identity(struct request *q, const struct change *ch, const value *obj, const value *old);

/* --- Admission (admit.c) ------------------------------------------------------------ */

/* What has to be right, and is added, before an object of the stored resource r
 * is validated; `old` is NULL on create.  WEFT_EINVAL: answered. */
int admit(struct request *q, const struct kube_resource *r, value *obj, const value *old,
	  struct str sub);
/* False (and answered): this object may not be deleted. */
bool admit_delete(struct request *q);
/* Addresses and ports of a Service (service.c).  WEFT_EINVAL: answered. */
int service_allocate(struct request *q, const struct kube_resource *r, value *obj,
		     const value *old);

#endif
