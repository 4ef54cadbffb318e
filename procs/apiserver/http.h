/*
 * http.h - what http.c offers to code that is no handler.
 */
#ifndef WEFT_APISERVER_HTTP_H
#define WEFT_APISERVER_HTTP_H

#include "procs/apiserver/api.h"

/* Serve on a listening socket; `plain`: without TLS, everybody is the admin. */
int http_start(struct api *api, int listen_fd, bool plain, struct err *e);
/* Serve what is there. */
void http_turn(struct api *api, int64_t now_ns);
/* When to do that again (monotonic ns; 0: no wish). */
int64_t http_due(const struct api *api, int64_t now_ns);
/* Takes no more connections and serves those that are there, for a second at
 * most; watches are left as they are. */
void http_drain(struct api *api);
void http_stop(struct api *api);

/* A request that no client sent, by a member of system:masters.  Its owner
 * calls request_answer() when it is done with it, which frees it. */
struct request *request_internal(struct api *api, const char *path);

#endif
