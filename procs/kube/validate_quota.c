/* validate_quota.c - ResourceQuotas: which resources, how many, in which scopes. */
#include "procs/kube/validate.h"

#define SPEC FIELD(NULL, "spec")

/* --- Resources --------------------------------------------------------------------- */

/* Which scopes may be set on a quota that limits the resource. */
enum about {
	ABOUT_NOTHING = 0,
	ABOUT_PODS = 1,	   /* how many */
	ABOUT_COMPUTE = 2, /* what they ask for */
	ABOUT_CLAIMS = 4,
};

static const struct standard {
	const char *name;
	bool whole; /* counted, not measured */
	enum about about;
} standard[] = {
	{"pods", true, ABOUT_PODS},
	{"services", true, ABOUT_NOTHING},
	{"replicationcontrollers", true, ABOUT_NOTHING},
	{"resourcequotas", true, ABOUT_NOTHING},
	{"secrets", true, ABOUT_NOTHING},
	{"configmaps", true, ABOUT_NOTHING},
	{"persistentvolumeclaims", true, ABOUT_CLAIMS},
	{"services.nodeports", true, ABOUT_NOTHING},
	{"services.loadbalancers", true, ABOUT_NOTHING},
	{"cpu", false, ABOUT_COMPUTE},
	{"memory", false, ABOUT_COMPUTE},
	{"ephemeral-storage", false, ABOUT_NOTHING},
	{"requests.cpu", false, ABOUT_COMPUTE},
	{"requests.memory", false, ABOUT_COMPUTE},
	{"requests.storage", false, ABOUT_CLAIMS},
	{"requests.ephemeral-storage", false, ABOUT_NOTHING},
	{"limits.cpu", false, ABOUT_COMPUTE},
	{"limits.memory", false, ABOUT_COMPUTE},
	{"limits.ephemeral-storage", false, ABOUT_NOTHING},
};

static const struct standard *find_standard(struct str name)
{
	static const struct standard huge_pages = {"", false, ABOUT_NOTHING};

	for (size_t i = 0; i < countof(standard); i++)
		if (str_is(name, standard[i].name))
			return &standard[i];
	return has_prefix(name, "hugepages-") || has_prefix(name, "requests.hugepages-")
		       ? &huge_pages
		       : NULL;
}

static bool has_domain(struct str name)
{
	return name.n && memchr(name.p, '/', name.n);
}

/* Is it counted in whole numbers?  Extended resources are, "count/" among them. */
static bool is_whole(struct str name)
{
	const struct standard *s = find_standard(name);

	if (s || !has_domain(name))
		return s && s->whole;
	return !memmem(name.p, name.n, "kubernetes.io/", 14) && !has_prefix(name, "requests.");
}

static void check_resource(struct validation *v, const struct at *at, struct str name)
{
	bool good = check_name(v, at, name, names_qualified);

	if (has_domain(name) || find_standard(name))
		return;
	if (good && !str_eq(name, STR("storage")))
		bad_invalid(v, at, SHOW(name),
			    "must be a standard resource type or fully qualified");
	bad_invalid(v, at, SHOW(name), "must be a standard resource for quota");
}

static void check_amounts(struct validation *v, const struct at *at, const value *list)
{
	v_each_kv(kv, list) {
		struct str name = v_as_str(&kv->key);
		struct kube_amount a = {0};

		check_resource(v, KEY(at, name), name);
		kube_amount(&kv->val, &a);
		if (a.milli < 0)
			bad_invalid(v, KEY(at, name), &kv->val,
				    "must be greater than or equal to 0");
		if (a.milli % 1000 && is_whole(name))
			bad_invalid(v, KEY(at, name), &kv->val, "must be an integer");
	}
}

/* --- Scopes ------------------------------------------------------------------------ */

static const struct scope {
	const char *name;
	int about;	/* which resources may be limited in it */
	bool no_values; /* it is or it is not */
	const char *opposite;
} scopes[] = {
	{"Terminating", ABOUT_PODS | ABOUT_COMPUTE, true, "NotTerminating"},
	{"NotTerminating", ABOUT_PODS | ABOUT_COMPUTE, true, NULL},
	{"BestEffort", ABOUT_PODS, true, "NotBestEffort"},
	{"NotBestEffort", ABOUT_PODS | ABOUT_COMPUTE, true, NULL},
	{"PriorityClass", ABOUT_PODS | ABOUT_COMPUTE, false, NULL},
	{"CrossNamespacePodAffinity", ABOUT_PODS | ABOUT_COMPUTE, true, NULL},
	{"VolumeAttributesClass", ABOUT_CLAIMS, false, NULL},
};

static const struct scope *find_scope(struct str name)
{
	for (size_t i = 0; i < countof(scopes); i++)
		if (str_is(name, scopes[i].name))
			return &scopes[i];
	return NULL;
}

/* Every standard resource of the quota is one that the scope may be set on. */
static void check_fit(struct validation *v, const struct at *at, const value *hard,
		      const struct scope *scope, const value *shown)
{
	v_each_kv(kv, hard) {
		const struct standard *s = find_standard(v_as_str(&kv->key));

		if (s && scope && !(s->about & scope->about))
			bad_invalid(v, at, shown, "unsupported scope applied to resource");
	}
}

/* No scope beside its opposite.  `names` are strings. */
static void check_conflicts(struct validation *v, const struct at *at, const value *names,
			    const value *shown)
{
	for (size_t i = 0; i < countof(scopes); i++) {
		bool has = false, opposite = false;

		v_each(name, names) {
			has |= str_is(v_as_str(name), scopes[i].name);
			opposite |=
				scopes[i].opposite && str_is(v_as_str(name), scopes[i].opposite);
		}
		if (has && opposite)
			bad_invalid(v, at, shown, "conflicting scopes");
	}
}

static void check_scopes(struct validation *v, const value *spec)
{
	const struct at *at = FIELD(SPEC, "scopes");
	const value *list = v_get(spec, "scopes");

	v_each(name, list) {
		const struct scope *scope = find_scope(v_as_str(name));

		if (!scope)
			bad_invalid(v, at, list, "unsupported scope");
		check_fit(v, at, v_get(spec, "hard"), scope, list);
	}
	check_conflicts(v, at, list, list);
}

/* A scope selector as Go prints its structs. */
static value show_selector(zone *z, const value *selector)
{
	value shown = v_map(), list = v_array();

	v_each(e, v_get(selector, "matchExpressions")) {
		value one = v_map(), *values = v_get(e, "values");

		v_set(z, &one, "ScopeName", v_str(v_get_str(e, "scopeName")));
		v_set(z, &one, "Operator", v_str(v_get_str(e, "operator")));
		v_set(z, &one, "Values", values ? *values : v_null());
		v_append(z, &list, one);
	}
	v_set(z, &shown, "MatchExpressions", list);
	return shown;
}

static void check_operator(struct validation *v, const struct at *at, const value *e,
			   const struct scope *scope)
{
	struct str op = v_get_str(e, "operator");
	const value *values = v_get(e, "values");

	if (scope && scope->no_values && !str_eq(op, STR("Exists")))
		bad_invalid(v, FIELD(at, "operator"), SHOW(op),
			    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
			    "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
			    "ResourceQuotaScopeNotBestEffort or "
			    "ResourceQuotaScopeCrossNamespacePodAffinity");
	if (str_eq(op, STR("In")) || str_eq(op, STR("NotIn"))) {
		if (!v_len(values))
			bad_required(v, FIELD(at, "values"),
				     "must be at least one value when `operator` is 'In' or "
				     "'NotIn' for scope selector");
	} else if (str_eq(op, STR("Exists")) || str_eq(op, STR("DoesNotExist"))) {
		if (v_len(values))
			bad_invalid(v, FIELD(at, "values"), values,
				    "must be no value when `operator` is 'Exist' or "
				    "'DoesNotExist' for scope selector");
	} else {
		bad_invalid(v, FIELD(at, "operator"), SHOW(op), "not a valid selector operator");
	}
}

static void check_scope_selector(struct validation *v, const value *spec)
{
	const value *selector = v_get(spec, "scopeSelector");
	const struct at *at = FIELD(FIELD(SPEC, "scopeSelector"), "matchExpressions");
	value shown = show_selector(v->z, selector), names = v_array();

	v_each(e, v_get(selector, "matchExpressions")) {
		struct str name = v_get_str(e, "scopeName");
		const struct scope *scope = find_scope(name);

		if (!scope)
			bad_invalid(v, FIELD(at, "scopeName"), SHOW(name), "unsupported scope");
		check_fit(v, at, v_get(spec, "hard"), scope, &shown);
		check_operator(v, at, e, scope);
		v_append(v->z, &names, v_str(name));
	}
	check_conflicts(v, at, &names, v_get(spec, "scopes"));
}

/* --- The kind ---------------------------------------------------------------------- */

static bool all_in(const value *a, const value *b)
{
	v_each(x, a) {
		bool found = false;

		v_each(y, b)
			found |= v_equal(x, y);
		if (!found)
			return false;
	}
	return true;
}

/* Scopes are a set, and stay as they are. */
static void check_same_scopes(struct validation *v, const value *obj, const value *old)
{
	const value *now = v_path(obj, "spec.scopes"), *was = v_path(old, "spec.scopes");

	if (!all_in(now, was) || !all_in(was, now))
		bad_invalid(v, FIELD(SPEC, "scopes"), now, "field is immutable");
}

void validate_quota(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec");

	if (str_eq(sub, STR("status"))) {
		check_amounts(v, FIELD(FIELD(NULL, "status"), "hard"), v_path(obj, "status.hard"));
		check_amounts(v, FIELD(FIELD(NULL, "status"), "used"), v_path(obj, "status.used"));
		return;
	}
	check_amounts(v, FIELD(SPEC, "hard"), v_get(spec, "hard"));
	check_scopes(v, spec);
	check_scope_selector(v, spec);
	if (old)
		check_same_scopes(v, obj, old);
}
