/*
 * patch.h - patches as they are sent.
 */
#ifndef WEFT_APISERVER_PATCH_H
#define WEFT_APISERVER_PATCH_H

#include "procs/apiserver/write.h"

enum patch_form { PATCH_NO_FORM, PATCH_JSON, PATCH_JSON_MERGE, PATCH_STRATEGIC };

struct patch {
	enum patch_form form;
	value body;
	struct json_notes notes;
};

/* q's body by its Content-Type.  WEFT_EINVAL: answered (415, 400). */
int patch_read(struct request *q, struct patch *p);
/* Apply it to *obj, of resource r's version.  WEFT_EINVAL: answered. */
int patch_apply(struct request *q, const struct kube_resource *r, const struct patch *p,
		value *obj);

#endif
