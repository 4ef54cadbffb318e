/*
 * verbs.h - the handlers of resources, for route.c's table.  Each takes a
 * request whose target is known and allowed; see api.h for what it returns.
 */
#ifndef WEFT_APISERVER_VERBS_H
#define WEFT_APISERVER_VERBS_H

#include "procs/apiserver/api.h"

enum outcome object_get(struct request *q);		  /* get.c */
enum outcome object_list(struct request *q);		  /* list.c */
enum outcome object_watch(struct request *q);		  /* watch.c */
enum outcome object_create(struct request *q);		  /* write.c */
enum outcome object_update(struct request *q);		  /* write.c */
enum outcome object_patch(struct request *q);		  /* patch.c */
enum outcome object_delete(struct request *q);		  /* delete.c */
enum outcome object_delete_collection(struct request *q); /* delete.c */
enum outcome scale_get(struct request *q);		  /* scale.c */
enum outcome scale_update(struct request *q);
enum outcome scale_patch(struct request *q);
enum outcome binding_create(struct request *q);	 /* binding.c */
enum outcome eviction_create(struct request *q); /* eviction.c */
enum outcome log_get(struct request *q);	 /* log.c */
/* Look after logs that are followed; when to be called again (monotonic ns; 0: none is). */
int64_t log_turn(struct api *api, int64_t now_ns);
enum outcome streaming_refused(struct request *q); /* log.c: exec, attach, proxy ... */
enum outcome token_create(struct request *q);	   /* token.c */
enum outcome review_access(struct request *q);	   /* review.c */
enum outcome review_rules(struct request *q);
enum outcome review_self(struct request *q);
enum outcome review_token(struct request *q);
enum outcome component_get(struct request *q); /* plain.c */
enum outcome component_list(struct request *q);

/* "get", "list", "deletecollection" ...; for what is no resource the method. */
const char *request_verb(const struct request *q);

#endif
