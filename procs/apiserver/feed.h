/*
 * feed.h - what all watches that asked for the same share.
 *
 * A watch that has seen all changes is idle and lies in its feed.  The follower
 * reads each new change once, makes its text once for each feed that it concerns,
 * and gives that to the feed's idle watches.  A watch whose client is slower
 * than that leaves the feed, reads the journal for itself, and comes back.  So a
 * change costs one encoding for each feed, and for each watch what TLS and the
 * socket cost; feeds of other names or other nodes are not even looked at.
 */
#ifndef WEFT_APISERVER_FEED_H
#define WEFT_APISERVER_FEED_H

#include "procs/apiserver/item.h"

struct watch;

struct feed {
	struct feed *next; /* of its place in the table */
	zone *z;
	struct str key; /* what its watches have asked for */
	struct form form;
	struct filter filter;
	struct watch *idle; /* have seen all up to api->followed */
	uint32_t holders;
	struct buf chunk; /* changes of the present step */
	struct feed *fresh_next;
	bool fresh;		 /* there are some */
	struct filter_last last; /* of the present step, */
	uint64_t step;		 /* if this is api->step */
};

/* The feed of q's options, made if there is none; held until feed_leave().
 * NULL: an error was answered. */
struct feed *feed_join(struct request *q);
void feed_leave(struct api *api, struct feed *f);

/* What a change is to this feed, as a watch event's text (objects may come into
 * its selection, or leave it): false if nothing, and nothing was added.  `last`: as
 * filter_matches(). */
bool feed_print(struct api *api, const struct feed *f, struct filter_last *last, struct buf *out,
		const struct version *v, bool columns);

/* Fetch what looking at the records behind the i-th of n will touch. */
void feed_fetch(const struct cache *c, const struct version *const *v, int n, int i);

/* Read the journal for some milliseconds; idle watches get what concerns them.  True: up to
 * its end. */
bool feed_follow(struct api *api);

/* For watch.c: one idle watch gets a chunk of changes after api->followed; if it
 * cannot take it now it is no longer idle. */
void watch_push(struct watch *w, const struct buf *chunk);
struct watch *watch_next_idle(const struct watch *w);
/* Every watch looks for itself. */
void watch_wake_all(struct api *api);

#endif
