/*
 * watch.h - watches.
 */
#ifndef WEFT_APISERVER_WATCH_H
#define WEFT_APISERVER_WATCH_H

#include "procs/apiserver/api.h"

void watch_start(struct api *api);
/* Follow the journal, end what has lasted long enough; when to be called again
 * unless the cache changes (monotonic ns; 0: no watch is open). */
int64_t watch_turn(struct api *api, int64_t now_ns);
/* The cache may have been replaced: every watch looks again for itself. */
void watch_resync(struct api *api);

#endif
