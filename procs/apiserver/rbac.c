/*
 * rbac.c - rules from the Roles, ClusterRoles and bindings in the cache.
 */
#include <xxhash.h>
#include "procs/apiserver/rbac.h"

/* --- What everybody may ------------------------------------------------------------- */

/* Paths that every authenticated user may read (system:discovery). */
static const char *const discovery_paths[] = {
	"/api",
	"/api/*",
	"/apis",
	"/apis/*",
	"/healthz",
	"/livez",
	"/openapi",
	"/openapi/*",
	"/readyz",
	"/version",
	"/version/",
	"/.well-known/openid-configuration",
	"/openid/v1/jwks",
};

static bool path_matches(struct str pattern, struct str path)
{
	if (pattern.n && pattern.p[pattern.n - 1] == '*')
		return path.n >= pattern.n - 1 && !memcmp(path.p, pattern.p, pattern.n - 1);
	return str_eq(pattern, path);
}

/* Asking about oneself (system:basic-user). */
static bool about_oneself(const struct access *a)
{
	return str_eq(a->verb, STR("create")) &&
	       (str_eq(a->resource, STR("selfsubjectaccessreviews")) ||
		str_eq(a->resource, STR("selfsubjectrulesreviews")) ||
		str_eq(a->resource, STR("selfsubjectreviews")));
}

static bool allowed_to_all(const struct user *u, const struct access *a)
{
	if (u->anonymous)
		return false;
	if (a->resource.n)
		return about_oneself(a);
	for (size_t i = 0; i < countof(discovery_paths); i++)
		if (str_eq(a->verb, STR("get")) &&
		    path_matches(str_of(discovery_paths[i]), a->path))
			return true;
	return false;
}

/* --- Rules -------------------------------------------------------------------------- */

static bool has(const value *list, struct str word)
{
	v_each(el, list)
		if (str_eq(v_as_str(el), word))
			return true;
	return false;
}

static bool has_or_all(const value *list, struct str word)
{
	return has(list, STR("*")) || has(list, word);
}

static bool resource_matches(zone *z, const value *list, const struct access *a)
{
	struct str full = a->resource;

	if (a->sub.n)
		full = zone_printf(z, STR_FMT "/" STR_FMT, STR_ARG(a->resource), STR_ARG(a->sub));
	if (has_or_all(list, full))
		return true;
	return a->sub.n && has(list, zone_printf(z, "*/" STR_FMT, STR_ARG(a->sub)));
}

static bool rule_allows(zone *z, const value *rule, const struct access *a)
{
	const value *names = v_get(rule, "resourceNames");

	if (!has_or_all(v_get(rule, "verbs"), a->verb))
		return false;
	if (!a->resource.n) {
		v_each(el, v_get(rule, "nonResourceURLs"))
			if (path_matches(v_as_str(el), a->path))
				return true;
		return false;
	}
	return has_or_all(v_get(rule, "apiGroups"), a->group) &&
	       resource_matches(z, v_get(rule, "resources"), a) &&
	       (!v_len(names) || (a->name.n && has(names, a->name)));
}

/* --- Bindings ----------------------------------------------------------------------- */

static bool subject_is(zone *z, const value *s, const struct user *u)
{
	struct str kind = v_get_str(s, "kind"), name = v_get_str(s, "name");

	if (str_eq(kind, STR("User")))
		return str_eq(name, u->name);
	if (str_eq(kind, STR("Group"))) {
		for (uint32_t i = 0; i < u->ngroups; i++)
			if (str_eq(u->groups[i], name))
				return true;
		return false;
	}
	return str_eq(kind, STR("ServiceAccount")) &&
	       str_eq(u->name, zone_printf(z, "system:serviceaccount:" STR_FMT ":" STR_FMT,
					   STR_ARG(v_get_str(s, "namespace")), STR_ARG(name)));
}

/* The rules of the role that a binding names; NULL if it is not there. */
static const value *role_rules(struct api *api, zone *z, const value *binding, struct str ns)
{
	struct cache *c = api_cache(api);
	const value *ref = v_get(binding, "roleRef");
	bool cluster = str_eq(v_get_str(ref, "kind"), STR("ClusterRole"));
	uint16_t type = cluster ? TYPE_CLUSTERROLE : TYPE_ROLE;
	const struct entry *e = cache_find(c, type, cluster ? STR("") : ns, v_get_str(ref, "name"));
	const struct version *v = e ? cache_live(c, e) : NULL;
	value rest;

	if (!v)
		return NULL;
	rest = kube_part(z, c, e, v, PART_REST);
	return v_get(v_new(z, rest), "rules");
}

/* Calls `take` for each rule that binds u in `ns` (or cluster-wide: ns empty)
 * until it returns true. */
static bool each_rule(struct api *api, zone *z, const struct user *u, uint16_t type, struct str ns,
		      bool (*take)(void *arg, const value *rule), void *arg)
{
	struct cache *c = api_cache(api);
	struct str in = type == TYPE_ROLEBINDING ? ns : (struct str){NULL, 0};
	struct cache_iter it;
	const struct entry *e;

	cache_iter_init(&it, c, type, in, STR(""), (struct str){NULL, 0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(c, e);
		bool mine = false;
		value rest;

		if (!v)
			continue;
		rest = kube_part(z, c, e, v, PART_REST);
		v_each(s, v_get(&rest, "subjects"))
			mine |= subject_is(z, s, u);
		if (!mine)
			continue;
		v_each(rule, role_rules(api, z, &rest, ns))
			if (take(arg, rule))
				return true;
	}
	return false;
}

struct question {
	zone *z;
	const struct access *a;
};

static bool take_allows(void *arg, const value *rule)
{
	struct question *qu = arg;

	return rule_allows(qu->z, rule, qu->a);
}

static bool rules_allow(struct api *api, zone *z, const struct user *u, const struct access *a)
{
	struct question qu = {z, a};
	struct cache *c = api_cache(api);
	bool yes;

	cache_lock(c);
	yes = each_rule(api, z, u, TYPE_CLUSTERROLEBINDING, STR(""), take_allows, &qu) ||
	      (a->ns.n && each_rule(api, z, u, TYPE_ROLEBINDING, a->ns, take_allows, &qu));
	cache_unlock(c);
	return yes;
}

/* --- What was granted --------------------------------------------------------------- */

/* Reading the rules costs more than a small request does otherwise, and clients ask
 * for the same over and over: what was granted last is kept, as 128 bits of its
 * digest, until a role or a binding changes.  Only what holds for every name. */
static XXH128_hash_t digest_of(const struct user *u, const struct access *a)
{
	const struct str texts[] = {u->name, a->verb, a->group, a->resource,
				    a->sub,  a->ns,   a->path};
	struct buf b = {0};
	XXH128_hash_t h;

	for (size_t i = 0; i < countof(texts) + u->ngroups; i++) {
		struct str s = i < countof(texts) ? texts[i] : u->groups[i - countof(texts)];

		buf_add(&b, &s.n, sizeof(s.n));
		buf_addstr(&b, s);
	}
	h = XXH3_128bits(b.p, b.n);
	buf_free(&b);
	return h;
}

void rbac_changed(struct api *api)
{
	memset(api->granted, 0, sizeof(api->granted));
}

bool rbac_allows(struct api *api, zone *z, const struct user *u, const struct access *a)
{
	struct access any = *a;
	XXH128_hash_t h, *known;

	if (u->masters || allowed_to_all(u, a))
		return true;
	any.name = STR("");
	if (any.resource.n)
		any.path = STR("");
	h = digest_of(u, &any);
	known = &api->granted[h.low64 % GRANTS_KNOWN];
	if (XXH128_isEqual(*known, h))
		return true;
	if (rules_allow(api, z, u, &any)) {
		*known = h;
		return true;
	}
	return a->name.n && rules_allow(api, z, u, a);
}

/* --- All rules of a user ------------------------------------------------------------ */

struct collection {
	zone *z;
	value resource, path;
};

static bool take_collect(void *arg, const value *rule)
{
	struct collection *col = arg;
	bool paths = v_len(v_get(rule, "nonResourceURLs")) > 0;

	v_append(col->z, paths ? &col->path : &col->resource, v_copy(col->z, rule));
	return false;
}

static value all_of(zone *z, const char *const *keys)
{
	value rule = v_map();

	for (; *keys; keys++)
		v_append(z, v_array_at(z, &rule, *keys), v_cstr("*"));
	return rule;
}

void rbac_rules(struct api *api, zone *z, const struct user *u, struct str ns, value *status)
{
	static const char *const resource_keys[] = {"verbs", "apiGroups", "resources", NULL};
	static const char *const path_keys[] = {"verbs", "nonResourceURLs", NULL};
	struct collection col = {z, v_array(), v_array()};
	struct cache *c = api_cache(api);

	if (u->masters) {
		v_append(z, &col.resource, all_of(z, resource_keys));
		v_append(z, &col.path, all_of(z, path_keys));
	}
	cache_lock(c);
	each_rule(api, z, u, TYPE_CLUSTERROLEBINDING, STR(""), take_collect, &col);
	each_rule(api, z, u, TYPE_ROLEBINDING, ns, take_collect, &col);
	cache_unlock(c);
	v_set(z, status, "resourceRules", col.resource);
	v_set(z, status, "nonResourceRules", col.path);
}
