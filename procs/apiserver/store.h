/*
 * store.h - requests to the store on behalf of HTTP requests.
 */
#ifndef WEFT_APISERVER_STORE_H
#define WEFT_APISERVER_STORE_H

#include "procs/apiserver/api.h"

/* Takes the store's answer; ends with request_answer(), or sends again. */
typedef void (*store_cb)(struct request *q, void *arg, const struct msg_reply *reply);

/* Send `m` (whose strings live as long as q does); waits for room in the ring.
 * WAITING, or ANSWERED with 503 when the store is away.  `cb` is told WEFT_EAGAIN when it went
 * away, or came back with another generation of the cache, while `m` waited. */
enum outcome store_send(struct request *q, const struct msg *m, store_cb cb, void *arg);
/* Send what waited for room; called once per turn. */
void store_turn(struct api *api);
/* dryRun, which must be All if it is given, and a look at fieldManager;
 * WEFT_EINVAL: answered. */
int dry_run_parse(struct request *q, bool *dry_run);

#endif
