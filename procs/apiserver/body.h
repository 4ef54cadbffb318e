/*
 * body.h - what a client sent, decoded.
 */
#ifndef WEFT_APISERVER_BODY_H
#define WEFT_APISERVER_BODY_H

#include "procs/apiserver/api.h"

/* q's body (JSON, YAML or protobuf by its Content-Type) as an object of resource r in its version: decoded, its kind and
 * types checked, unknown and duplicate fields treated as fieldValidation says
 * (an error, or Warning headers).  WEFT_EINVAL: answered. */
int body_object(struct request *q, const struct kube_resource *r, value *out);
/* The same for another type ("policy/v1", "Eviction"): a sub-resource's. */
int body_typed(struct request *q, const char *api_version, const char *kind, value *out);
/* Makes once more what a patch has made: its error shows that as it was before
 * it was checked. */
struct remake {
	value (*make)(struct request *q, void *arg);
	void *arg;
};
/* What body_object() does after decoding; `patched` is NULL if no patch made it. */
int body_check(struct request *q, const struct kube_resource *r, value *obj,
	       const struct json_notes *notes, const struct remake *patched);

#endif
