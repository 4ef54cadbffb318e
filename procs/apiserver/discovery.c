/*
 * discovery.c - which groups, versions and resources there are: the legacy
 * lists, and the aggregated form that newer clients read in one request.
 */
#include <gnutls/crypto.h>
#include "procs/apiserver/api.h"

/* --- Resources in order ------------------------------------------------------------- */

/* Order in which groups are offered to people who name a resource without its
 * group; those not named follow by name. */
static const char *const group_order[] = {
	"apiregistration.k8s.io",
	"apps",
	"events.k8s.io",
	"authentication.k8s.io",
	"authorization.k8s.io",
	"autoscaling",
	"batch",
	"certificates.k8s.io",
	"networking.k8s.io",
	"policy",
	"rbac.authorization.k8s.io",
	"storage.k8s.io",
	"admissionregistration.k8s.io",
	"apiextensions.k8s.io",
	"scheduling.k8s.io",
	"coordination.k8s.io",
	"node.k8s.io",
	"discovery.k8s.io",
	"flowcontrol.apiserver.k8s.io",
	"storagemigration.k8s.io",
};

static size_t group_rank(const char *group)
{
	for (size_t i = 0; i < countof(group_order); i++)
		if (!strcmp(group_order[i], group))
			return i;
	return countof(group_order);
}

#define GROUPS_LIMIT   64
#define VERSIONS_LIMIT 8

struct group {
	const char *name;
	const char *versions[VERSIONS_LIMIT]; /* the preferred one first */
	uint32_t nversions;
};

static struct group *group_at(struct group *groups, uint32_t *n, const char *name)
{
	for (uint32_t i = 0; i < *n; i++)
		if (!strcmp(groups[i].name, name))
			return &groups[i];
	weft_assert(*n < GROUPS_LIMIT);
	groups[*n] = (struct group){.name = name};
	return &groups[(*n)++];
}

static void group_add_version(struct group *g, const char *version)
{
	for (uint32_t i = 0; i < g->nversions; i++)
		if (!strcmp(g->versions[i], version))
			return;
	weft_assert(g->nversions < VERSIONS_LIMIT);
	/* All are generally available, so a higher number is preferred. */
	memmove(&g->versions[1], &g->versions[0], g->nversions * sizeof(g->versions[0]));
	g->versions[0] = version;
	g->nversions++;
}

static int by_rank(const void *a, const void *b)
{
	const struct group *x = a, *y = b;
	size_t rx = group_rank(x->name), ry = group_rank(y->name);

	return rx != ry ? (rx > ry) - (rx < ry) : strcmp(x->name, y->name);
}

static uint32_t groups_all(struct group groups[GROUPS_LIMIT])
{
	uint32_t nres, n = 0;
	const struct kube_resource *r = kube_resources(&nres);

	for (uint32_t i = 0; i < nres; i++)
		group_add_version(group_at(groups, &n, r[i].group), r[i].version);
	qsort(groups, n, sizeof(*groups), by_rank);
	return n;
}

static value strings(zone *z, const char *const *list)
{
	value out = v_array();

	for (; list && *list; list++)
		v_append(z, &out, v_cstr(*list));
	return out;
}

static value verbs_of(zone *z, uint32_t mask)
{
	static const struct {
		uint32_t verb;
		const char *name;
	} names[] = {
		{VERB_CREATE, "create"},
		{VERB_DELETE, "delete"},
		{VERB_DELETECOLLECTION, "deletecollection"},
		{VERB_GET, "get"},
		{VERB_LIST, "list"},
		{VERB_PATCH, "patch"},
		{VERB_UPDATE, "update"},
		{VERB_WATCH, "watch"},
	};
	value out = v_array();

	for (size_t i = 0; i < countof(names); i++)
		if (mask & names[i].verb)
			v_append(z, &out, v_cstr(names[i].name));
	return out;
}

/* --- Legacy discovery --------------------------------------------------------------- */

static value group_version(zone *z, const char *group, const char *version)
{
	value v = v_map();

	v_set(z, &v, "groupVersion", v_str(zone_printf(z, "%s/%s", group, version)));
	v_set(z, &v, "version", v_cstr(version));
	return v;
}

static value group_value(zone *z, const struct group *g)
{
	value v = v_map(), versions = v_array();

	v_set(z, &v, "name", v_cstr(g->name));
	for (uint32_t i = 0; i < g->nversions; i++)
		v_append(z, &versions, group_version(z, g->name, g->versions[i]));
	v_set(z, &v, "versions", versions);
	v_set(z, &v, "preferredVersion", group_version(z, g->name, g->versions[0]));
	return v;
}

/* What identifies how a resource is stored; equal hashes mean the same form. */
static struct str storage_hash(zone *z, const struct kube_resource *r)
{
	const struct kube_resource *stored = kube_by_type(r->type);
	struct str text = zone_printf(z, "%s/%s/%s", stored->group, stored->version, stored->kind);
	unsigned char sum[32];
	gnutls_datum_t in = {sum, 8}, b64 = {0};
	struct str out;

	weft_assert(!gnutls_hash_fast(GNUTLS_DIG_SHA256, text.p, text.n, sum));
	weft_assert(!gnutls_base64_encode2(&in, &b64));
	out = zone_str(z, (struct str){(char *)b64.data, b64.size});
	gnutls_free(b64.data);
	return out;
}

static value resource_value(zone *z, const struct kube_resource *r)
{
	value v = v_map();

	v_set(z, &v, "name", v_cstr(r->resource));
	v_set(z, &v, "singularName", v_cstr(r->singular));
	v_set(z, &v, "namespaced", v_bool(r->namespaced));
	v_set(z, &v, "kind", v_cstr(r->kind));
	v_set(z, &v, "verbs", verbs_of(z, r->verbs));
	if (r->short_names && *r->short_names)
		v_set(z, &v, "shortNames", strings(z, r->short_names));
	if (r->categories && *r->categories)
		v_set(z, &v, "categories", strings(z, r->categories));
	if (r->type)
		v_set(z, &v, "storageVersionHash", v_str(storage_hash(z, r)));
	return v;
}

static bool in_other_version(const struct kube_resource *r, const struct kube_subresource *s)
{
	return s->group && s->version &&
	       (strcmp(s->group, r->group) || strcmp(s->version, r->version));
}

static value sub_value(zone *z, const struct kube_resource *r, const struct kube_subresource *s)
{
	value v = v_map();

	v_set(z, &v, "name", v_str(zone_printf(z, "%s/%s", r->resource, s->name)));
	v_set(z, &v, "singularName", v_cstr(""));
	v_set(z, &v, "namespaced", v_bool(r->namespaced));
	if (in_other_version(r, s)) {
		v_set(z, &v, "group", v_cstr(s->group));
		v_set(z, &v, "version", v_cstr(s->version));
	}
	v_set(z, &v, "kind", v_cstr(s->kind));
	v_set(z, &v, "verbs", verbs_of(z, s->verbs));
	return v;
}

/* Where clients find this server, by their address. */
static value server_addresses(struct request *q)
{
	value list = v_array(), one = v_map();

	v_set(q->z, &one, "clientCIDR", v_cstr("0.0.0.0/0"));
	v_set(q->z, &one, "serverAddress", v_cstr(q->api->address));
	v_append(q->z, &list, one);
	return list;
}

static enum outcome legacy_versions(struct request *q)
{
	value v = v_map(), versions = v_array();

	v_append(q->z, &versions, v_cstr("v1"));
	v_set(q->z, &v, "kind", v_cstr("APIVersions"));
	v_set(q->z, &v, "versions", versions);
	v_set(q->z, &v, "serverAddressByClientCIDRs", server_addresses(q));
	return answer_value(q, 200, &v);
}

static enum outcome legacy_groups(struct request *q)
{
	struct group groups[GROUPS_LIMIT];
	uint32_t n = groups_all(groups);
	value v = v_map(), list = v_array();

	v_set(q->z, &v, "kind", v_cstr("APIGroupList"));
	v_set(q->z, &v, "apiVersion", v_cstr("v1"));
	for (uint32_t i = 0; i < n; i++)
		if (groups[i].name[0])
			v_append(q->z, &list, group_value(q->z, &groups[i]));
	v_set(q->z, &v, "groups", list);
	return answer_value(q, 200, &v);
}

enum outcome discovery_group(struct request *q)
{
	struct group groups[GROUPS_LIMIT];
	uint32_t n = groups_all(groups);

	if (negotiate(q, false, false))
		return ANSWERED;
	for (uint32_t i = 0; i < n; i++) {
		value v = v_map(), g;

		if (!str_is(q->t.group, groups[i].name))
			continue;
		g = group_value(q->z, &groups[i]);
		v_set(q->z, &v, "kind", v_cstr("APIGroup"));
		v_set(q->z, &v, "apiVersion", v_cstr("v1"));
		v_each_kv(kv, &g)
			v_setn(q->z, &v, v_as_str(&kv->key), kv->val);
		return answer_value(q, 200, &v);
	}
	return answer_not_found(q);
}

enum outcome discovery_version(struct request *q)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	value v = v_map(), list = v_array();

	if (negotiate(q, false, false))
		return ANSWERED;
	v_set(q->z, &v, "kind", v_cstr("APIResourceList"));
	if (!q->t.legacy)
		v_set(q->z, &v, "apiVersion", v_cstr("v1"));
	v_set(q->z, &v, "groupVersion",
	      v_str(q->t.legacy ? q->t.version
				: zone_printf(q->z, STR_FMT "/" STR_FMT, STR_ARG(q->t.group),
					      STR_ARG(q->t.version))));
	for (uint32_t i = 0; i < n; i++) {
		if (!str_is(q->t.group, r[i].group) || !str_is(q->t.version, r[i].version))
			continue;
		v_append(q->z, &list, resource_value(q->z, &r[i]));
		for (uint32_t s = 0; s < r[i].nsubs; s++)
			v_append(q->z, &list, sub_value(q->z, &r[i], &r[i].subs[s]));
	}
	v_set(q->z, &v, "resources", list);
	return answer_value(q, 200, &v);
}

/* --- Aggregated discovery ----------------------------------------------------------- */

/* Group and version are left empty where they are the resource's own. */
static value response_kind(zone *z, const char *group, const char *version, const char *kind)
{
	value v = v_map();

	v_set(z, &v, "group", v_cstr(group));
	v_set(z, &v, "version", v_cstr(version));
	v_set(z, &v, "kind", v_cstr(kind));
	return v;
}

static value aggregated_subs(zone *z, const struct kube_resource *r)
{
	value list = v_array();

	for (uint32_t i = 0; i < r->nsubs; i++) {
		const struct kube_subresource *s = &r->subs[i];
		bool other = in_other_version(r, s);
		value v = v_map();

		v_set(z, &v, "subresource", v_cstr(s->name));
		v_set(z, &v, "responseKind",
		      response_kind(z, other ? s->group : "", other ? s->version : "", s->kind));
		v_set(z, &v, "verbs", verbs_of(z, s->verbs));
		v_append(z, &list, v);
	}
	return list;
}

static value aggregated_resource(zone *z, const struct kube_resource *r)
{
	value v = v_map();

	v_set(z, &v, "resource", v_cstr(r->resource));
	v_set(z, &v, "responseKind", response_kind(z, "", "", r->kind));
	v_set(z, &v, "scope", v_cstr(r->namespaced ? "Namespaced" : "Cluster"));
	v_set(z, &v, "singularResource", v_cstr(r->singular));
	v_set(z, &v, "verbs", verbs_of(z, r->verbs));
	if (r->short_names && *r->short_names)
		v_set(z, &v, "shortNames", strings(z, r->short_names));
	if (r->categories && *r->categories)
		v_set(z, &v, "categories", strings(z, r->categories));
	if (r->nsubs)
		v_set(z, &v, "subresources", aggregated_subs(z, r));
	return v;
}

static value aggregated_version(zone *z, const char *group, const char *version)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	value v = v_map(), list = v_array();

	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(r[i].group, group) && !strcmp(r[i].version, version))
			v_append(z, &list, aggregated_resource(z, &r[i]));
	v_set(z, &v, "version", v_cstr(version));
	v_set(z, &v, "resources", list);
	v_set(z, &v, "freshness", v_cstr("Current"));
	return v;
}

/* Items are groups; /api has the core group alone, /apis the others. */
static enum outcome aggregated(struct request *q, const char *version)
{
	struct group groups[GROUPS_LIMIT];
	uint32_t n = groups_all(groups);
	value v = v_map(), items = v_array();
	zone *z = q->z;

	for (uint32_t i = 0; i < n; i++) {
		value g = v_map(), meta = v_map(), versions = v_array();

		if (q->t.legacy != !groups[i].name[0])
			continue;
		if (groups[i].name[0])
			v_set(z, &meta, "name", v_cstr(groups[i].name));
		for (uint32_t k = 0; k < groups[i].nversions; k++)
			v_append(z, &versions,
				 aggregated_version(z, groups[i].name, groups[i].versions[k]));
		v_set(z, &g, "metadata", meta);
		v_set(z, &g, "versions", versions);
		v_append(z, &items, g);
	}
	v_set(z, &v, "kind", v_cstr("APIGroupDiscoveryList"));
	v_set(z, &v, "apiVersion", v_str(zone_printf(z, "apidiscovery.k8s.io/%s", version)));
	v_set(z, &v, "metadata", v_map());
	v_set(z, &v, "items", items);
	answer_value(q, 200, &v);
	q->content_type =
		strcmp(version, "v2")
			? "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
			: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
	answer_header(q, "Vary", STR("Accept"));
	return ANSWERED;
}

/* The form of the first clause that is understood: "v2", "v2beta1", or "" for
 * the legacy one. */
static bool take_discovery(void *arg, const struct accept *a)
{
	const char **version = arg;

	if (!str_eq(a->type, STR("application/json")) && !str_eq(a->type, STR("*/*")) &&
	    !str_eq(a->type, STR("application/yaml")))
		return false;
	if (!a->as.n) {
		*version = "";
		return true;
	}
	if (!str_eq(a->as, STR("APIGroupDiscoveryList")) ||
	    !str_eq(a->group, STR("apidiscovery.k8s.io")))
		return false;
	*version = str_eq(a->version, STR("v2"))	? "v2"
		   : str_eq(a->version, STR("v2beta1")) ? "v2beta1"
							: NULL;
	return *version != NULL;
}

enum outcome discovery_groups(struct request *q)
{
	const char *version = "";

	if (accept_each(request_header(q, "Accept"), take_discovery, &version) && version[0]) {
		q->pretty = query_bool(&q->query, "pretty");
		return aggregated(q, version);
	}
	if (negotiate(q, false, false))
		return ANSWERED;
	return q->t.legacy ? legacy_versions(q) : legacy_groups(q);
}
