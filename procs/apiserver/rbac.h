/*
 * rbac.h - may a user do this?  By the Roles and bindings in the cache.
 */
#ifndef WEFT_APISERVER_RBAC_H
#define WEFT_APISERVER_RBAC_H

#include "procs/apiserver/api.h"

/* What somebody wants to do: to a resource, or (resource empty) to a path. */
struct access {
	struct str verb;
	struct str group, resource, sub, ns, name;
	struct str path;
};

/* True for members of system:masters, for what every authenticated user may
 * do (discovery, asking about oneself), and for what a rule grants. */
bool rbac_allows(struct api *api, zone *z, const struct user *u, const struct access *a);

/* A role or a binding has changed. */
void rbac_changed(struct api *api);

/* resourceRules and nonResourceRules of a SelfSubjectRulesReview into *status. */
void rbac_rules(struct api *api, zone *z, const struct user *u, struct str ns, value *status);

#endif
