/*
 * impersonate.c - requests in somebody else's name (kubectl --as).
 *
 * Whoever is allowed the verb "impersonate" on users, groups, serviceaccounts
 * and uids may send Impersonate-User, -Group and -Uid; the request is then
 * judged, and carried out, as that user's.
 */
#include "procs/apiserver/api.h"
#include "procs/apiserver/rbac.h"

#define SERVICE_ACCOUNT "system:serviceaccount:"

static void add_groups(const struct request *q, struct user *u)
{
	for (uint32_t i = 0; i < q->head.nlines; i++) {
		const struct head_line *line = &q->head.lines[i];

		if (head_is(line, "Impersonate-Group") && u->ngroups < GROUPS_MAX)
			u->groups[u->ngroups++] = line->value;
	}
}

/* True if q->user may impersonate this; false: answered. */
static bool may(struct request *q, const char *group, const char *resource, struct str ns,
		struct str name)
{
	struct kube_resource r = {.group = group, .resource = resource};
	struct access a = {.verb = STR("impersonate"),
			   .group = str_of(group),
			   .resource = str_of(resource),
			   .ns = ns,
			   .name = name};

	if (q->user->masters || rbac_allows(q->api, q->z, q->user, &a))
		return true;
	answer_status(q,
		      kube_status_forbidden(
			      q->z, &r, name,
			      zone_printf(q->z,
					  "User \"" STR_FMT "\" cannot impersonate resource \"%s\" "
					  "in API group \"%s\" %s" STR_FMT "%s",
					  STR_ARG(q->user->name), resource, group,
					  ns.n ? "in the namespace \"" : "at the cluster scope",
					  STR_ARG(ns), ns.n ? "\"" : "")));
	return false;
}

/* The namespace of a ServiceAccount's user name; empty if it is none. */
static struct str account_namespace(struct str name, struct str *account)
{
	struct str prefix = STR(SERVICE_ACCOUNT), rest;
	const char *colon;

	if (name.n <= prefix.n || memcmp(name.p, prefix.p, prefix.n))
		return STR("");
	rest = (struct str){name.p + prefix.n, name.n - prefix.n};
	colon = memchr(rest.p, ':', rest.n);
	if (!colon)
		return STR("");
	*account = (struct str){colon + 1, (uint32_t)(rest.p + rest.n - colon - 1)};
	return (struct str){rest.p, (uint32_t)(colon - rest.p)};
}

static bool all_allowed(struct request *q, const struct user *u)
{
	struct str account, ns = account_namespace(u->name, &account);

	if (ns.n ? !may(q, "", "serviceaccounts", ns, account)
		 : !may(q, "", "users", STR(""), u->name))
		return false;
	for (uint32_t i = 0; i < u->ngroups; i++)
		if (!may(q, "", "groups", STR(""), u->groups[i]))
			return false;
	return !u->uid.n || may(q, "authentication.k8s.io", "uids", STR(""), u->uid);
}

/* The groups that everybody of the name's kind is in. */
static void add_usual_groups(struct request *q, struct user *u)
{
	struct str account, ns = account_namespace(u->name, &account);

	u->anonymous = str_eq(u->name, STR("system:anonymous"));
	if (ns.n && !u->ngroups) {
		u->groups[u->ngroups++] = STR("system:serviceaccounts");
		u->groups[u->ngroups++] =
			zone_printf(q->z, "system:serviceaccounts:" STR_FMT, STR_ARG(ns));
	}
	if (u->ngroups < GROUPS_MAX)
		u->groups[u->ngroups++] =
			u->anonymous ? STR("system:unauthenticated") : STR("system:authenticated");
	u->masters = user_in_group(u, "system:masters");
}

bool auth_impersonate(struct request *q)
{
	struct user *u = &q->other_user;

	*u = (struct user){.name = request_header(q, "Impersonate-User"),
			   .uid = request_header(q, "Impersonate-Uid")};
	add_groups(q, u);
	if (!u->name.n && !u->uid.n && !u->ngroups)
		return true;
	if (!u->name.n) {
		answer_bad_request(q, STR("a group or uid is impersonated without a user name"));
		return false;
	}
	if (!all_allowed(q, u))
		return false;
	add_usual_groups(q, u);
	q->user = u;
	return true;
}
