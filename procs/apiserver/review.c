/*
 * review.c - questions about users: who am I, may I, is this token good.
 */
#include "procs/apiserver/body.h"
#include "procs/apiserver/rbac.h"
#include "procs/apiserver/token.h"
#include "procs/apiserver/verbs.h"

static value strings_of(zone *z, const struct str *list, uint32_t n)
{
	value v = v_array();

	for (uint32_t i = 0; i < n; i++)
		v_append(z, &v, v_str(list[i]));
	return v;
}

static value user_value(zone *z, const struct user *u)
{
	value v = v_map();

	v_set(z, &v, "username", v_str(u->name));
	if (u->uid.n)
		v_set(z, &v, "uid", v_str(u->uid));
	v_set(z, &v, "groups", strings_of(z, u->groups, u->ngroups));
	if (u->pod_name.n) {
		value *extra = v_map_at(z, &v, "extra");

		v_set(z, extra, "authentication.kubernetes.io/pod-name",
		      strings_of(z, &u->pod_name, 1));
		v_set(z, extra, "authentication.kubernetes.io/pod-uid",
		      strings_of(z, &u->pod_uid, 1));
	}
	return v;
}

/* Checks the body and gives back what was asked, ready for its status. */
static int read_review(struct request *q, value *v)
{
	if (negotiate(q, false, false) || body_object(q, q->t.r, v))
		return WEFT_EINVAL;
	v_map_at(q->z, v, "metadata");
	return WEFT_OK;
}

enum outcome review_self(struct request *q)
{
	value v;

	if (read_review(q, &v))
		return ANSWERED;
	v_set(q->z, v_map_at(q->z, &v, "status"), "userInfo", user_value(q->z, q->user));
	return answer_value(q, 201, &v);
}

enum outcome review_token(struct request *q)
{
	struct token *t;
	struct str token, why = STR(""), audience = STR("https://kubernetes.default.svc");
	value v, status = v_map();

	if (read_review(q, &v))
		return ANSWERED;
	token = v_as_str(v_path(&v, "spec.token"));
	t = token_check(q->api, token, &why);
	if (t) {
		v_set(q->z, &status, "authenticated", v_bool(true));
		v_set(q->z, &status, "user", user_value(q->z, user_copy(q->z, &t->user)));
		v_set(q->z, &status, "audiences", strings_of(q->z, &audience, 1));
	} else {
		v_set(q->z, &status, "user", v_map());
		v_set(q->z, &status, "error",
		      v_str(zone_printf(q->z, "[invalid bearer token, " STR_FMT "]",
					STR_ARG(why))));
	}
	token_drop(t);
	v_set(q->z, &v, "status", status);
	return answer_value(q, 201, &v);
}

/* --- May somebody do this ----------------------------------------------------------- */

static void read_access(const value *spec, struct access *a)
{
	const value *r = v_get(spec, "resourceAttributes"),
		    *n = v_get(spec, "nonResourceAttributes");

	*a = (struct access){
		.verb = v_get_str(r ? r : n, "verb"),
		.group = v_get_str(r, "group"),
		.resource = v_get_str(r, "resource"),
		.sub = v_get_str(r, "subresource"),
		.ns = v_get_str(r, "namespace"),
		.name = v_get_str(r, "name"),
		.path = v_get_str(n, "path"),
	};
}

static void read_user(zone *z, const value *spec, struct user *u)
{
	*u = (struct user){.name = v_get_str(spec, "user"), .uid = v_get_str(spec, "uid")};
	v_each(g, v_get(spec, "groups"))
		if (u->ngroups < GROUPS_MAX)
			u->groups[u->ngroups++] = v_as_str(g);
	u->masters = user_in_group(u, "system:masters");
}

enum outcome review_access(struct request *q)
{
	bool self = !strcmp(q->t.r->resource, "selfsubjectaccessreviews");
	struct kube_errors errs = {.z = q->z};
	struct access a;
	struct user u;
	value v, status = v_map(), *spec;
	bool allowed;

	if (read_review(q, &v))
		return ANSWERED;
	spec = v_map_at(q->z, &v, "spec");
	if (!v_get(spec, "resourceAttributes") && !v_get(spec, "nonResourceAttributes"))
		kube_error_add(&errs, STR("spec"), "FieldValueInvalid",
			       "Invalid value: null: exactly one of nonResourceAttributes or "
			       "resourceAttributes must be specified");
	if (errs.n) {
		struct kube_resource group = *q->t.r;
		value status;

		group.kind = "";
		status = kube_status_invalid(q->z, &group, STR(""), &errs);
		v_del(v_get(&status, "details"), "kind");
		return answer_status(q, status);
	}
	read_access(spec, &a);
	if (self)
		u = *q->user;
	else
		read_user(q->z, spec, &u);
	allowed = rbac_allows(q->api, q->z, &u, &a);
	v_set(q->z, &status, "allowed", v_bool(allowed));
	v_set(q->z, &v, "status", status);
	return answer_value(q, 201, &v);
}

enum outcome review_rules(struct request *q)
{
	value v, status = v_map();
	struct str ns;

	if (read_review(q, &v))
		return ANSWERED;
	ns = v_as_str(v_path(&v, "spec.namespace"));
	if (!ns.n)
		return answer_bad_request(q, STR("no namespace on request"));
	rbac_rules(q->api, q->z, q->user, ns, &status);
	v_set(q->z, &status, "incomplete", v_bool(false));
	v_set(q->z, &v, "status", status);
	return answer_value(q, 201, &v);
}
