/*
 * route.c - from a path to what it names, and from there to a handler.
 */
#include "procs/apiserver/api.h"
#include "procs/apiserver/verbs.h"

/* --- Paths -------------------------------------------------------------------------- */

/* The next segment of *path, which is moved behind it; empty at the end. */
static struct str segment(struct str *path)
{
	const char *p = path->p, *end = path->p + path->n, *start;

	while (p < end && *p == '/')
		p++;
	start = p;
	while (p < end && *p != '/')
		p++;
	path->p = p;
	path->n = (uint32_t)(end - p);
	return (struct str){start, (uint32_t)(p - start)};
}

/* Sub-resources of a namespace, as opposed to resources in it. */
static bool namespace_sub(struct str s)
{
	return str_is(s, "status") || str_is(s, "finalize");
}

/* What lies below a group version: [watch/][namespaces/NS/]RESOURCE[/NAME[/SUB]]. */
static void parse_resource(struct str path, struct target *t)
{
	struct str first = segment(&path), name, next;
	bool in_ns = false;

	if (str_is(first, "watch")) {
		t->watch = true;
		first = segment(&path);
	}
	name = segment(&path);
	if (str_is(first, "namespaces") && name.n) {
		struct str save = path;

		next = segment(&path);
		if (next.n && !namespace_sub(next)) {
			in_ns = true;
			t->ns = name;
			first = next;
			name = segment(&path);
		} else {
			path = save;
		}
	}
	t->sub = segment(&path);
	t->rest = path;
	t->r = kube_resource(t->group, t->version, first);
	t->kind = TARGET_UNKNOWN;
	if (!t->r || (in_ns && !t->r->namespaced))
		return;
	t->name = name;
	if (!name.n) {
		t->kind = TARGET_COLLECTION;
		return;
	}
	if (t->r->namespaced && !in_ns)
		return;
	if (!t->sub.n) {
		t->kind = TARGET_OBJECT;
		return;
	}
	t->s = kube_subresource(t->r, t->sub);
	if (t->s && (t->rest.n <= 1 || str_is(t->sub, "proxy")))
		t->kind = TARGET_SUB;
}

static bool group_exists(struct str group, struct str version)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++)
		if (str_is(group, r[i].group) && (!version.n || str_is(version, r[i].version)))
			return true;
	return false;
}

static void parse_api(struct str path, struct target *t)
{
	if (t->legacy) {
		t->version = segment(&path);
		if (!t->version.n) {
			t->kind = TARGET_GROUPS;
			return;
		}
	} else {
		t->group = segment(&path);
		if (!t->group.n) {
			t->kind = TARGET_GROUPS;
			return;
		}
		if (!group_exists(t->group, STR("")))
			return;
		t->version = segment(&path);
		if (!t->version.n) {
			t->kind = TARGET_GROUP;
			return;
		}
	}
	if (!group_exists(t->group, t->version))
		t->kind = TARGET_UNKNOWN;
	else if (path.n <= 1)
		t->kind = TARGET_VERSION;
	else
		parse_resource(path, t);
}

void route_parse(struct str path, struct target *t)
{
	struct str rest = path, first = segment(&rest);

	*t = (struct target){.group = STR(""),
			     .version = STR(""),
			     .ns = STR(""),
			     .name = STR(""),
			     .sub = STR("")};
	t->legacy = str_is(first, "api");
	if (t->legacy || str_is(first, "apis"))
		parse_api(rest, t);
	else if (plain_path(path))
		t->kind = TARGET_PLAIN;
}

/* --- Handlers ----------------------------------------------------------------------- */

static bool wants_watch(const struct request *q)
{
	return q->t.watch || query_bool(&q->query, "watch");
}

/* The verb that a method means on a collection, an object or a sub-resource;
 * 0: none. */
static uint32_t verb_of(const struct request *q)
{
	static const uint32_t on_collection[] = {
		[METHOD_GET] = VERB_LIST,
		[METHOD_POST] = VERB_CREATE,
		[METHOD_DELETE] = VERB_DELETECOLLECTION,
		[METHOD_OTHER] = 0,
	};
	static const uint32_t on_object[] = {
		[METHOD_GET] = VERB_GET,     [METHOD_PUT] = VERB_UPDATE,
		[METHOD_PATCH] = VERB_PATCH, [METHOD_DELETE] = VERB_DELETE,
		[METHOD_OTHER] = 0,
	};
	static const uint32_t on_sub[] = {
		[METHOD_GET] = VERB_GET,     [METHOD_PUT] = VERB_UPDATE,
		[METHOD_PATCH] = VERB_PATCH, [METHOD_DELETE] = VERB_DELETE,
		[METHOD_POST] = VERB_CREATE, [METHOD_OTHER] = 0,
	};

	if (q->t.kind == TARGET_COLLECTION && q->method == METHOD_GET && wants_watch(q))
		return VERB_WATCH;
	if (q->t.kind == TARGET_OBJECT && q->method == METHOD_GET && q->t.watch)
		return VERB_WATCH;
	if (q->t.kind == TARGET_COLLECTION)
		return on_collection[q->method];
	return q->t.kind == TARGET_OBJECT ? on_object[q->method] : on_sub[q->method];
}

const char *request_verb(const struct request *q)
{
	static const struct {
		uint32_t verb;
		const char *name;
	} names[] = {
		{VERB_CREATE, "create"}, {VERB_DELETE, "delete"},
		{VERB_GET, "get"},	 {VERB_LIST, "list"},
		{VERB_PATCH, "patch"},	 {VERB_UPDATE, "update"},
		{VERB_WATCH, "watch"},	 {VERB_DELETECOLLECTION, "deletecollection"},
	};
	static const char *const plain[] = {
		[METHOD_GET] = "get",	  [METHOD_POST] = "post",     [METHOD_PUT] = "put",
		[METHOD_PATCH] = "patch", [METHOD_DELETE] = "delete", [METHOD_OTHER] = "other",
	};

	if (q->t.r && q->t.kind >= TARGET_COLLECTION) {
		uint32_t verb = verb_of(q);

		for (size_t i = 0; i < countof(names); i++)
			if (names[i].verb == verb)
				return names[i].name;
	}
	return plain[q->method];
}

/* Handlers of what a resource offers; the first row that fits is taken.  A NULL
 * resource, sub or a verb of 0 fits all. */
static const struct {
	const char *resource, *sub;
	uint32_t verb;
	enum outcome (*handle)(struct request *q);
} handlers[] = {
	/* kinds that are asked, not stored */
	{"selfsubjectaccessreviews", "", VERB_CREATE, review_access},
	{"subjectaccessreviews", "", VERB_CREATE, review_access},
	{"localsubjectaccessreviews", "", VERB_CREATE, review_access},
	{"selfsubjectrulesreviews", "", VERB_CREATE, review_rules},
	{"selfsubjectreviews", "", VERB_CREATE, review_self},
	{"tokenreviews", "", VERB_CREATE, review_token},
	{"bindings", "", VERB_CREATE, binding_create},
	{"componentstatuses", "", VERB_GET, component_get},
	{"componentstatuses", "", VERB_LIST, component_list},
	/* sub-resources with rules of their own */
	{"pods", "binding", VERB_CREATE, binding_create},
	{"pods", "eviction", VERB_CREATE, eviction_create},
	{"pods", "log", VERB_GET, log_get},
	{"pods", "exec", 0, streaming_refused},
	{"pods", "attach", 0, streaming_refused},
	{"pods", "portforward", 0, streaming_refused},
	{NULL, "proxy", 0, streaming_refused},
	{"serviceaccounts", "token", VERB_CREATE, token_create},
	{NULL, "scale", VERB_GET, scale_get},
	{NULL, "scale", VERB_UPDATE, scale_update},
	{NULL, "scale", VERB_PATCH, scale_patch},
	/* everything else */
	{NULL, NULL, VERB_GET, object_get},
	{NULL, "", VERB_LIST, object_list},
	{NULL, "", VERB_WATCH, object_watch},
	{NULL, "", VERB_CREATE, object_create},
	{NULL, NULL, VERB_UPDATE, object_update},
	{NULL, NULL, VERB_PATCH, object_patch},
	{NULL, "", VERB_DELETE, object_delete},
	{NULL, "", VERB_DELETECOLLECTION, object_delete_collection},
};

static enum outcome answer_not_allowed(struct request *q)
{
	value status = kube_status(q->z, 405, "MethodNotAllowed",
				   STR("the server does not allow this method on the requested "
				       "resource"));

	v_map_at(q->z, &status, "details");
	return answer_status(q, status);
}

/* Every request about these is answered with a warning. */
static const struct {
	uint16_t type; /* 0: any that is not stored */
	const char *resource, *warning;
} deprecated[] = {
	{TYPE_ENDPOINTS, "endpoints",
	 "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"},
	{0, "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"},
};

static void warn_deprecated(struct request *q)
{
	for (size_t i = 0; i < countof(deprecated); i++)
		if (deprecated[i].type == q->t.r->type &&
		    !strcmp(q->t.r->resource, deprecated[i].resource))
			answer_warn(q, str_of(deprecated[i].warning));
}

static enum outcome handle_resource(struct request *q)
{
	uint32_t verb = verb_of(q);
	uint32_t offered = q->t.s ? q->t.s->verbs : q->t.r->verbs;
	bool all_namespaces = q->t.r->namespaced && !q->t.ns.n;

	if (!(verb & offered) || (all_namespaces && !(verb & (VERB_LIST | VERB_WATCH))))
		return answer_not_allowed(q);
	for (size_t i = 0; i < countof(handlers); i++) {
		if (handlers[i].resource && strcmp(q->t.r->resource, handlers[i].resource))
			continue;
		if (handlers[i].sub && !str_is(q->t.sub, handlers[i].sub))
			continue;
		if (handlers[i].verb && handlers[i].verb != verb)
			continue;
		warn_deprecated(q);
		return handlers[i].handle(q);
	}
	return answer_not_found(q);
}

static enum outcome handle_target(struct request *q)
{
	switch (q->t.kind) {
	case TARGET_NONE:
		return answer_no_page(q);
	case TARGET_PLAIN:
		return plain_handle(q);
	case TARGET_GROUPS:
		return discovery_groups(q);
	case TARGET_GROUP:
		return discovery_group(q);
	case TARGET_VERSION:
		return discovery_version(q);
	case TARGET_UNKNOWN:
		return answer_not_found(q);
	case TARGET_COLLECTION:
	case TARGET_OBJECT:
	case TARGET_SUB:
		return handle_resource(q);
	}
	return answer_no_page(q);
}

enum outcome route_handle(struct request *q)
{
	struct str why;

	if (utf8_valid_prefix(q->path) != q->path.n || memchr(q->path.p, 0, q->path.n))
		return answer_no_page(q);
	route_parse(q->path, &q->t);
	if (!auth_identify(q))
		return answer_status(q,
				     kube_status(q->z, 401, "Unauthorized", STR("Unauthorized")));
	if (!auth_impersonate(q))
		return ANSWERED;
	if (!auth_allowed(q, &why))
		return answer_status(q, q->t.r ? kube_status_forbidden(q->z, q->t.r, q->t.name, why)
					       : kube_status(q->z, 403, "Forbidden", why));
	return handle_target(q);
}
