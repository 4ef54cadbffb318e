/*
 * bootstrap.h - objects that every cluster has.
 */
#ifndef WEFT_APISERVER_BOOTSTRAP_H
#define WEFT_APISERVER_BOOTSTRAP_H

#include "procs/apiserver/api.h"

/* Makes what is missing, once the store and the namespaces are there; called
 * once per turn.  Returns when to be called again (monotonic ns; 0: done). */
int64_t bootstrap_turn(struct api *api, int64_t now_ns);

#endif
