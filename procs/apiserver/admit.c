/*
 * admit.c - what kube-apiserver's admission plugins do on a stock cluster:
 * NamespaceLifecycle, ServiceAccount, Priority, DefaultTolerationSeconds and
 * the allocation of Services' addresses.
 */
#include "procs/apiserver/write.h"

static bool live_part(struct request *q, uint16_t type, struct str ns, struct str name,
		      uint32_t *deletion_s)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	const struct version *v;

	cache_lock(c);
	e = cache_find(c, type, ns, name);
	v = e ? cache_live(c, e) : NULL;
	if (v && deletion_s)
		*deletion_s = v->deletion_s;
	cache_unlock(c);
	return v != NULL;
}

/* --- Namespaces --------------------------------------------------------------------- */

static int admit_namespace(struct request *q, const struct kube_resource *r, const value *obj)
{
	const struct kube_resource *ns = kube_by_type(TYPE_NAMESPACE);
	uint32_t deletion_s = 0;
	value status, *details, cause = v_map();

	if (!r->namespaced)
		return WEFT_OK;
	if (!live_part(q, TYPE_NAMESPACE, STR(""), q->t.ns, &deletion_s)) {
		answer_status(q, kube_status_not_found(q->z, ns, q->t.ns));
		return WEFT_EINVAL;
	}
	if (!deletion_s)
		return WEFT_OK;
	status = kube_status_forbidden(
		q->z, r, v_as_str(v_path(obj, "metadata.name")),
		zone_printf(q->z,
			    "unable to create new content in namespace " STR_FMT
			    " because it is being terminated",
			    STR_ARG(q->t.ns)));
	details = v_map_at(q->z, &status, "details");
	v_set(q->z, &cause, "reason", v_cstr("NamespaceTerminating"));
	v_set(q->z, &cause, "message",
	      v_str(zone_printf(q->z, "namespace " STR_FMT " is being terminated",
				STR_ARG(q->t.ns))));
	v_set(q->z, &cause, "field", v_cstr("metadata.namespace"));
	v_append(q->z, v_array_at(q->z, details, "causes"), cause);
	answer_status(q, status);
	return WEFT_EINVAL;
}

bool admit_delete(struct request *q)
{
	static const char *const immortal[] = {"default", "kube-system", "kube-public"};

	if (q->t.r->type != TYPE_NAMESPACE)
		return true;
	for (size_t i = 0; i < countof(immortal); i++) {
		if (!str_is(q->t.name, immortal[i]))
			continue;
		answer_status(q, kube_status_forbidden(q->z, q->t.r, q->t.name,
						       STR("this namespace may not be deleted")));
		return false;
	}
	return true;
}

/* --- Pods --------------------------------------------------------------------------- */

static void pod_forbidden(struct request *q, const value *pod, struct str why)
{
	answer_status(q, kube_status_forbidden(q->z, kube_by_type(TYPE_POD),
					       v_as_str(v_path(pod, "metadata.name")), why));
}

static int admit_service_account(struct request *q, const value *pod)
{
	struct str name = v_as_str(v_path(pod, "spec.serviceAccountName"));

	if (!name.n || live_part(q, TYPE_SERVICEACCOUNT, q->t.ns, name, NULL))
		return WEFT_OK;
	pod_forbidden(q, pod,
		      zone_printf(q->z,
				  "error looking up service account " STR_FMT "/" STR_FMT
				  ": serviceaccount \"" STR_FMT "\" not found",
				  STR_ARG(q->t.ns), STR_ARG(name), STR_ARG(name)));
	return WEFT_EINVAL;
}

struct class
{
	bool found;
	int64_t value;
	struct str policy;
};

static struct class class_of(zone *z, const value *obj)
{
	return (struct class){.found = true,
			      .value = v_get_int(obj, "value", 0),
			      .policy = zone_str(z, v_get_str(obj, "preemptionPolicy"))};
}

/* The PriorityClass of this name; without a name the default one, if any. */
static struct class find_class(struct request *q, struct str name, struct str *default_name)
{
	static const struct {
		const char *name;
		int64_t value;
	} built_in[] = {
		{"system-cluster-critical", 2000000000},
		{"system-node-critical", 2000001000},
	};
	const struct kube_resource *r = kube_by_type(TYPE_PRIORITYCLASS);
	struct cache *c = api_cache(q->api);
	struct class best = {0};
	struct cache_iter it;
	const struct entry *e;

	cache_lock(c);
	cache_iter_init(&it, c, TYPE_PRIORITYCLASS, (struct str){NULL, 0}, STR(""),
			(struct str){NULL, 0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(c, e);
		value obj;

		if (!v || (name.n && !str_eq(name, entry_name(e))))
			continue;
		obj = kube_object(q->z, c, r, e, v, false);
		if (!name.n && !v_get_bool(&obj, "globalDefault", false))
			continue;
		best = class_of(q->z, &obj);
		*default_name = zone_str(q->z, entry_name(e));
		break;
	}
	cache_unlock(c);
	for (size_t i = 0; i < countof(built_in) && !best.found && name.n; i++)
		if (str_is(name, built_in[i].name))
			best = (struct class){true, built_in[i].value, STR("")};
	return best;
}

static int admit_priority(struct request *q, value *pod)
{
	value *spec = v_map_at(q->z, pod, "spec");
	struct str name = v_get_str(spec, "priorityClassName"), used = name;
	struct class class = find_class(q, name, &used);

	if (name.n && !class.found) {
		pod_forbidden(q, pod,
			      zone_printf(q->z, "no PriorityClass with name " STR_FMT " was found",
					  STR_ARG(name)));
		return WEFT_EINVAL;
	}
	if (v_get(spec, "priority") && v_get_int(spec, "priority", 0) != class.value) {
		pod_forbidden(
			q, pod,
			zone_printf(q->z,
				    "the integer value of priority (%lld) must not be provided "
				    "in pod spec; priority admission controller computed %lld "
				    "from the given PriorityClass name",
				    (long long)v_get_int(spec, "priority", 0),
				    (long long)class.value));
		return WEFT_EINVAL;
	}
	if (class.found && used.n)
		v_set(q->z, spec, "priorityClassName", v_str(used));
	v_set(q->z, spec, "priority", v_int(class.value));
	if (!v_get(spec, "preemptionPolicy"))
		v_set(q->z, spec, "preemptionPolicy",
		      v_str(class.policy.n ? class.policy : STR("PreemptLowerPriority")));
	return WEFT_OK;
}

static int admit_new_pod(struct request *q, value *pod)
{
	if (admit_priority(q, pod))
		return WEFT_EINVAL;
	kube_admit(q->z, kube_by_type(TYPE_POD), pod);
	return admit_service_account(q, pod);
}

/* What no update can change stays when it is left out. */
static int admit_old_pod(struct request *q, value *pod, const value *old)
{
	static const char *const kept[] = {"priority", "preemptionPolicy"};
	value *spec = v_map_at(q->z, pod, "spec");
	const value *was = v_get(old, "spec");

	for (size_t i = 0; i < countof(kept); i++)
		if (!v_get(spec, kept[i]) && v_get(was, kept[i]))
			v_set(q->z, spec, kept[i], *v_get(was, kept[i]));
	kube_admit_tolerations(q->z, pod);
	return WEFT_OK;
}

/* --- Signing requests --------------------------------------------------------------- */

/* Who asks is never taken from the body. */
static void admit_signing_request(struct request *q, value *obj)
{
	value *spec = v_map_at(q->z, obj, "spec"), groups = v_array();

	v_set(q->z, spec, "username", v_str(q->user->name));
	for (uint32_t i = 0; i < q->user->ngroups; i++)
		v_append(q->z, &groups, v_str(q->user->groups[i]));
	v_set(q->z, spec, "groups", groups);
	if (q->user->uid.n)
		v_set(q->z, spec, "uid", v_str(q->user->uid));
	else
		v_del(spec, "uid");
	v_del(spec, "extra");
}

/* --- Quotas ------------------------------------------------------------------------- */

/* Requests that may be more than limits are no error, but hardly meant. */
static void warn_of_quota(struct request *q, const value *obj)
{
	static const struct {
		const char *request, *limit,
			*other; /* `other`: what the request may be called, too */
	} pairs[] = {
		{"requests.cpu", "limits.cpu", "cpu"},
		{"requests.memory", "limits.memory", "memory"},
		{"requests.storage", "limits.storage", NULL},
		{"requests.ephemeral-storage", "limits.ephemeral-storage", NULL},
	};
	const value *hard = v_path(obj, "spec.hard");

	for (size_t i = 0; i < countof(pairs); i++) {
		const char *name = pairs[i].request;
		struct kube_amount request, limit;

		if (!v_get(hard, name) && pairs[i].other)
			name = pairs[i].other;
		if (!kube_amount(v_get(hard, name), &request) ||
		    !kube_amount(v_get(hard, pairs[i].limit), &limit) ||
		    request.milli <= limit.milli)
			continue;
		answer_warn(q, zone_printf(q->z,
					   "ResourceQuota %s (" STR_FMT
					   ") should be less than %s (" STR_FMT ")",
					   name, STR_ARG(v_get_str(hard, name)), pairs[i].limit,
					   STR_ARG(v_get_str(hard, pairs[i].limit))));
	}
}

/* --- All ---------------------------------------------------------------------------- */

int admit(struct request *q, const struct kube_resource *r, value *obj, const value *old,
	  struct str sub)
{
	if (!old && admit_namespace(q, r, obj))
		return WEFT_EINVAL;
	if (r->type == TYPE_POD)
		return old ? admit_old_pod(q, obj, old) : admit_new_pod(q, obj);
	if (!old)
		kube_admit(q->z, r, obj);
	if (r->type == TYPE_CERTIFICATESIGNINGREQUEST && !old)
		admit_signing_request(q, obj);
	if (r->type == TYPE_RESOURCEQUOTA && !old)
		warn_of_quota(q, obj);
	if (r->type == TYPE_SERVICE && !sub.n)
		return service_allocate(q, r, obj, old);
	return WEFT_OK;
}
