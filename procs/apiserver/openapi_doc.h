/*
 * openapi_doc.h - schemas and paths as OpenAPI values, for both versions.
 */
#ifndef WEFT_APISERVER_OPENAPI_DOC_H
#define WEFT_APISERVER_OPENAPI_DOC_H

#include "procs/apiserver/api.h"
#include "weft/schema.h"

enum openapi { OPENAPI_V2, OPENAPI_V3 };

/* A document in the making; what is made lives in the zone. */
struct doc {
	zone *z;
	enum openapi version;
	bool *wanted;	  /* by index into kube_schemas(): referred to so far */
	bool special[16]; /* by enum schema_kind: Quantity, Time ... */
};

struct doc doc_new(zone *z, enum openapi version);
/* Paths of the resources of a group version (group NULL: of all) into *paths. */
void doc_add_paths(struct doc *d, const char *group, const char *version, value *paths);
/* All schemas that were referred to, and what they refer to. */
value doc_schemas(struct doc *d);

#endif
