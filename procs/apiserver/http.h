/*
 * http.h - what http.c offers to code that is no handler.
 */
#ifndef WEFT_APISERVER_HTTP_H
#define WEFT_APISERVER_HTTP_H

#include "procs/apiserver/api.h"

/* A request that no client sent, by a member of system:masters.  Its owner
 * calls request_answer() when it is done with it, which frees it. */
struct request *request_internal(struct api *api, const char *path);

#endif
