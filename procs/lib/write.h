/*
 * write.h - what controllers write most: parts of an object that they have read
 * and changed, and the end of one.
 */
#ifndef PROCS_LIB_WRITE_H
#define PROCS_LIB_WRITE_H

#include "weft/proc.h"
#include "weft/value.h"

/* Parts to write; NULL: stays as it is. */
struct parts {
	const value *meta, *spec, *status;
	bool bump; /* a changed spec raises metadata.generation */
};

/* Write parts of `e`, as ctl_send().  `v`: only if that is still its newest
 * version (WEFT_ECONFLICT if not); NULL: whatever it is by then.  Nothing is
 * sent if there is no part. */
int ctl_write(struct controller *ctl, const struct entry *e, const struct version *v,
	      const struct parts *parts);
/* The same, and cb(arg, reply) as ctl_send() calls it; there is a part. */
int ctl_write_then(struct controller *ctl, const struct entry *e, const struct version *v,
		   const struct parts *parts, reply_cb cb, void *arg);
/* Delete `e`, as ctl_send(), with `grace` seconds (< 0: its own). */
int ctl_remove(struct controller *ctl, const struct entry *e, const struct version *v,
	       enum propagation propagation, int32_t grace);

#endif
