/*
 * quota.c - what objects take of a ResourceQuota, and which of them it is about.
 *
 * Pods and claims take what they ask for, Services their ports; of any other
 * kind each object counts as one.  Amounts of a pod are the most of what its
 * spec asks for and of what its status says that it has been given, so that a
 * pod that shrinks is charged until its node has made it smaller.
 */
#include "weft/kube.h"

/* --- Lists of amounts -------------------------------------------------------------- */

static struct kube_use *find_use(const struct kube_uses *l, struct str name)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (str_eq(l->list[i].name, name))
			return &l->list[i];
	return NULL;
}

/* The entry of this name, made as 0 if there is none. */
static struct kube_use *use_at(zone *z, struct kube_uses *l, struct str name)
{
	struct kube_use *u = find_use(l, name), *list;

	if (u)
		return u;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 8;
		list = zone_alloc(z, l->cap * sizeof(*list));
		if (l->n)
			memcpy(list, l->list, l->n * sizeof(*list));
		l->list = list;
	}
	u = &l->list[l->n++];
	*u = (struct kube_use){.name = name};
	return u;
}

static void add_use(zone *z, struct kube_uses *l, struct str name, struct kube_amount a)
{
	kube_amount_add(&use_at(z, l, name)->amount, a, 1);
}

static void add_count(zone *z, struct kube_uses *l, struct str name, int64_t n)
{
	add_use(z, l, name, (struct kube_amount){.milli = (__int128)n * 1000});
}

static void add_uses(zone *z, struct kube_uses *to, const struct kube_uses *from)
{
	for (uint32_t i = 0; i < from->n; i++)
		add_use(z, to, from->list[i].name, from->list[i].amount);
}

/* Of each the larger one. */
static void max_uses(zone *z, struct kube_uses *to, const struct kube_uses *from)
{
	for (uint32_t i = 0; i < from->n; i++) {
		bool is_new = !find_use(to, from->list[i].name);
		struct kube_use *u = use_at(z, to, from->list[i].name);

		if (is_new || from->list[i].amount.milli > u->amount.milli)
			u->amount = from->list[i].amount;
	}
}

/* A map of names to quantities. */
static struct kube_uses read_uses(zone *z, const value *map)
{
	struct kube_uses l = {0};
	struct kube_amount a;

	v_each_kv(kv, map)
		if (kube_amount(&kv->val, &a))
			add_use(z, &l, v_as_str(&kv->key), a);
	return l;
}

/* --- Names ------------------------------------------------------------------------- */

#define REQUESTS    "requests."
#define HUGEPAGES   "hugepages-"
#define DEVICECLASS "deviceclass.resource.kubernetes.io/"
#define BY_CLASS    ".storageclass.storage.k8s.io/"

static bool begins(struct str s, const char *with)
{
	size_t n = strlen(with);

	return s.n >= n && !memcmp(s.p, with, n);
}

static bool ends(struct str s, const char *with)
{
	size_t n = strlen(with);

	return s.n >= n && !memcmp(s.p + s.n - n, with, n);
}

static bool contains(struct str s, const char *text)
{
	return s.n && memmem(s.p, s.n, text, strlen(text));
}

/* Kubernetes' own resources have no domain, or its own. */
static bool is_native(struct str name)
{
	return !contains(name, "/") || contains(name, "kubernetes.io/");
}

static bool is_extended(struct str name)
{
	return begins(name, DEVICECLASS) || (!is_native(name) && !begins(name, REQUESTS));
}

/* "count/jobs.batch"; Events have never been counted. */
static uint16_t counted_type(struct str name)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++) {
		struct str rest = name;
		uint32_t len = (uint32_t)strlen(r[i].resource);

		if (!r[i].type || !r[i].namespaced || r[i].type == TYPE_EVENT ||
		    !begins(rest, r[i].resource))
			continue;
		rest = (struct str){rest.p + len, rest.n - len};
		if (!r[i].group[0]
			    ? !rest.n
			    : begins(rest, ".") &&
				      str_is((struct str){rest.p + 1, rest.n - 1}, r[i].group))
			return r[i].type;
	}
	return 0;
}

uint16_t kube_quota_type(struct str name)
{
	static const struct {
		const char *name;
		uint16_t type;
	} known[] = {
		{"pods", TYPE_POD},
		{"cpu", TYPE_POD},
		{"memory", TYPE_POD},
		{"ephemeral-storage", TYPE_POD},
		{"requests.cpu", TYPE_POD},
		{"requests.memory", TYPE_POD},
		{"requests.ephemeral-storage", TYPE_POD},
		{"limits.cpu", TYPE_POD},
		{"limits.memory", TYPE_POD},
		{"limits.ephemeral-storage", TYPE_POD},
		{"services", TYPE_SERVICE},
		{"services.nodeports", TYPE_SERVICE},
		{"services.loadbalancers", TYPE_SERVICE},
		{"persistentvolumeclaims", TYPE_PERSISTENTVOLUMECLAIM},
		{"requests.storage", TYPE_PERSISTENTVOLUMECLAIM},
		{"configmaps", TYPE_CONFIGMAP},
		{"secrets", TYPE_SECRET},
		{"replicationcontrollers", TYPE_REPLICATIONCONTROLLER},
		{"resourcequotas", TYPE_RESOURCEQUOTA},
	};

	for (size_t i = 0; i < countof(known); i++)
		if (str_is(name, known[i].name))
			return known[i].type;
	if (begins(name, "count/"))
		return counted_type((struct str){name.p + 6, name.n - 6});
	if (ends(name, BY_CLASS "persistentvolumeclaims") ||
	    ends(name, BY_CLASS "requests.storage"))
		return TYPE_PERSISTENTVOLUMECLAIM;
	if (begins(name, HUGEPAGES) || begins(name, REQUESTS HUGEPAGES) ||
	    begins(name, REQUESTS DEVICECLASS) || (begins(name, REQUESTS) && !is_native(name)))
		return TYPE_POD;
	return 0;
}

/* "count/jobs.batch" of a type; both names of a kind that has two groups are the
 * stored one's. */
static struct str count_name(zone *z, uint16_t type)
{
	const struct kube_resource *r = kube_by_type(type);

	return zone_printf(z, "count/%s%s%s", r->resource, r->group[0] ? "." : "", r->group);
}

/* --- Pods: what they ask for ------------------------------------------------------- */

struct pod {
	zone *z;
	value spec, status;
	bool infeasible; /* its node cannot give what it asks for now */
};

static const value *container_status(const struct pod *p, struct str name)
{
	static const char *const lists[] = {"containerStatuses", "initContainerStatuses"};

	for (size_t i = 0; i < countof(lists); i++)
		v_each(c, v_get(&p->status, lists[i]))
			if (str_eq(v_get_str(c, "name"), name))
				return c;
	return NULL;
}

/* A container's amounts: as asked for, as its node has set aside, as it has. */
typedef const value *(*amounts_fn)(const struct pod *p, const value *container);

static const value *asked_requests(const struct pod *p, const value *c)
{
	return v_path(c, "resources.requests");
}

static const value *allocated_requests(const struct pod *p, const value *c)
{
	const value *list = v_get(container_status(p, v_get_str(c, "name")), "allocatedResources");

	return list || p->infeasible ? list : asked_requests(p, c);
}

static const value *actual_requests(const struct pod *p, const value *c)
{
	const value *list = v_path(container_status(p, v_get_str(c, "name")), "resources.requests");

	return list ? list : allocated_requests(p, c);
}

static const value *asked_limits(const struct pod *p, const value *c)
{
	return v_path(c, "resources.limits");
}

static const value *actual_limits(const struct pod *p, const value *c)
{
	const value *list = v_path(container_status(p, v_get_str(c, "name")), "resources.limits");

	return list || p->infeasible ? list : asked_limits(p, c);
}

/* All containers run together; init containers before them, one after the
 * other, each beside the sidecars that were started before it. */
static struct kube_uses sum_containers(const struct pod *p, amounts_fn amounts)
{
	struct kube_uses sum = {0}, sidecars = {0}, most = {0};

	v_each(c, v_get(&p->spec, "containers")) {
		struct kube_uses own = read_uses(p->z, amounts(p, c));

		add_uses(p->z, &sum, &own);
	}
	v_each(c, v_get(&p->spec, "initContainers")) {
		struct kube_uses own = read_uses(p->z, amounts(p, c));

		if (str_eq(v_get_str(c, "restartPolicy"), STR("Always"))) {
			add_uses(p->z, &sum, &own);
			add_uses(p->z, &sidecars, &own);
			max_uses(p->z, &most, &sidecars);
		} else {
			add_uses(p->z, &own, &sidecars);
			max_uses(p->z, &most, &own);
		}
	}
	max_uses(p->z, &sum, &most);
	return sum;
}

static bool for_whole_pods(struct str name)
{
	return str_eq(name, STR("cpu")) || str_eq(name, STR("memory")) || begins(name, HUGEPAGES);
}

static bool states_whole(const value *list)
{
	v_each_kv(kv, list)
		if (for_whole_pods(v_as_str(&kv->key)))
			return true;
	return false;
}

/* Amounts that the pod states for itself stand for those of its containers. */
static void take_whole(const struct pod *p, struct kube_uses *l, const char *which)
{
	struct kube_uses whole = read_uses(p->z, v_get(v_get(&p->spec, "resources"), which));

	for (uint32_t i = 0; i < whole.n; i++)
		if (for_whole_pods(whole.list[i].name))
			use_at(p->z, l, whole.list[i].name)->amount = whole.list[i].amount;
}

static struct kube_uses pod_requests(const struct pod *p)
{
	struct kube_uses l = {0}, overhead = read_uses(p->z, v_get(&p->spec, "overhead"));
	static const amounts_fn all[] = {asked_requests, actual_requests, allocated_requests};

	for (size_t i = p->infeasible; i < countof(all); i++) {
		struct kube_uses one = sum_containers(p, all[i]);

		max_uses(p->z, &l, &one);
	}
	take_whole(p, &l, "requests");
	add_uses(p->z, &l, &overhead);
	return l;
}

static struct kube_uses pod_limits(const struct pod *p)
{
	struct kube_uses l = {0}, overhead = read_uses(p->z, v_get(&p->spec, "overhead"));
	static const amounts_fn all[] = {asked_limits, actual_limits};

	for (size_t i = p->infeasible; i < countof(all); i++) {
		struct kube_uses one = sum_containers(p, all[i]);

		max_uses(p->z, &l, &one);
	}
	take_whole(p, &l, "limits");
	for (uint32_t i = 0; i < overhead.n; i++) {
		struct kube_use *u = find_use(&l, overhead.list[i].name);

		if (u && u->amount.milli)
			kube_amount_add(&u->amount, overhead.list[i].amount, 1);
	}
	return l;
}

/* How a pod's requests and limits are called in quotas. */
static void add_requests(zone *z, struct kube_uses *out, const struct kube_uses *requests)
{
	for (uint32_t i = 0; i < requests->n; i++) {
		const struct kube_use *u = &requests->list[i];
		struct str name = u->name;
		bool native = str_eq(name, STR("cpu")) || str_eq(name, STR("memory")) ||
			      str_eq(name, STR("ephemeral-storage")) || begins(name, HUGEPAGES);

		if (native)
			add_use(z, out, name, u->amount);
		if (native || is_extended(name))
			add_use(z, out, zone_printf(z, REQUESTS STR_FMT, STR_ARG(name)), u->amount);
	}
}

static void add_limits(zone *z, struct kube_uses *out, const struct kube_uses *limits)
{
	static const char *const names[] = {"cpu", "memory", "ephemeral-storage"};

	for (size_t i = 0; i < countof(names); i++) {
		const struct kube_use *u = find_use(limits, str_of(names[i]));

		if (u)
			add_use(z, out, zone_printf(z, "limits.%s", names[i]), u->amount);
	}
}

static void decode(zone *z, struct str bytes, value *out)
{
	if (!bytes.n || v_decode(z, bytes, out))
		*out = v_null();
}

static struct pod read_pod(zone *z, const struct kube_charged *o)
{
	struct pod p = {.z = z};
	const value *pending;

	decode(z, o->spec, &p.spec);
	decode(z, o->status, &p.status);
	pending = kube_condition(v_get(&p.status, "conditions"), "PodResizePending");
	p.infeasible = str_eq(v_get_str(pending, "reason"), STR("Infeasible"));
	return p;
}

static void use_pod(zone *z, const struct kube_charged *o, struct kube_uses *out)
{
	struct pod p;
	struct kube_uses l;

	if (o->over)
		return;
	p = read_pod(z, o);
	add_count(z, out, STR("pods"), 1);
	l = pod_requests(&p);
	add_requests(z, out, &l);
	l = pod_limits(&p);
	add_limits(z, out, &l);
}

/* --- Services and claims ----------------------------------------------------------- */

static void use_service(zone *z, const struct kube_charged *o, struct kube_uses *out)
{
	value spec;
	struct str type;
	uint32_t ports = 0;
	bool balanced, all;

	decode(z, o->spec, &spec);
	type = v_get_str(&spec, "type");
	balanced = str_eq(type, STR("LoadBalancer"));
	all = !balanced || v_get_bool(&spec, "allocateLoadBalancerNodePorts", true);
	v_each(p, v_get(&spec, "ports"))
		ports += all || v_get_int(p, "nodePort", 0);
	add_count(z, out, STR("services"), 1);
	add_count(z, out, STR("services.loadbalancers"), balanced);
	add_count(z, out, STR("services.nodeports"),
		  balanced || str_eq(type, STR("NodePort")) ? ports : 0);
}

static struct str storage_class(const value *meta, const value *spec)
{
	const value *old =
		v_get(v_get(meta, "annotations"), "volume.beta.kubernetes.io/storage-class");

	return old ? v_as_str(old) : v_get_str(spec, "storageClassName");
}

static void use_claim(zone *z, const struct kube_charged *o, struct kube_uses *out)
{
	struct kube_amount size, allocated;
	value meta, spec, status;
	struct str class;

	decode(z, o->meta, &meta);
	decode(z, o->spec, &spec);
	decode(z, o->status, &status);
	class = storage_class(&meta, &spec);
	add_count(z, out, STR("persistentvolumeclaims"), 1);
	if (class.n)
		add_count(z, out,
			  zone_printf(z, STR_FMT BY_CLASS "persistentvolumeclaims", STR_ARG(class)),
			  1);
	if (!kube_amount(v_path(&spec, "resources.requests.storage"), &size))
		return;
	if (kube_amount(v_path(&status, "allocatedResources.storage"), &allocated) &&
	    allocated.milli > size.milli)
		size = allocated;
	size.milli = (size.milli + 999) / 1000 * 1000; /* whole bytes */
	add_use(z, out, STR("requests.storage"), size);
	if (class.n)
		add_use(z, out, zone_printf(z, STR_FMT BY_CLASS "requests.storage", STR_ARG(class)),
			size);
}

/* Kinds that are counted by a name of their own, too. */
static void use_named(zone *z, const struct kube_charged *o, struct kube_uses *out)
{
	add_count(z, out, str_of(kube_by_type(o->type)->resource), 1);
}

void kube_quota_uses(zone *z, const struct kube_charged *o, struct kube_uses *out)
{
	static void (*const evaluators[TYPE_MAX])(zone *, const struct kube_charged *,
						  struct kube_uses *) = {
		[TYPE_POD] = use_pod,
		[TYPE_SERVICE] = use_service,
		[TYPE_PERSISTENTVOLUMECLAIM] = use_claim,
		[TYPE_CONFIGMAP] = use_named,
		[TYPE_SECRET] = use_named,
		[TYPE_REPLICATIONCONTROLLER] = use_named,
		[TYPE_RESOURCEQUOTA] = use_named,
	};

	*out = (struct kube_uses){0};
	if (!o->type || o->type >= TYPE_MAX || o->type == TYPE_EVENT)
		return;
	add_count(z, out, count_name(z, o->type), 1);
	if (evaluators[o->type])
		evaluators[o->type](z, o, out);
}

/* --- Scopes ------------------------------------------------------------------------ */

/* What a scope selector's requirement is about: the names that an object has. */
struct names {
	struct str list[3];
	uint32_t n;
};

static void add_name(struct names *l, struct str name)
{
	if (name.n)
		l->list[l->n++] = name;
}

static bool has_value(const value *values, struct str name)
{
	v_each(v, values)
		if (str_eq(v_as_str(v), name))
			return true;
	return false;
}

static bool names_match(const value *requirement, const struct names *l)
{
	struct str op = v_get_str(requirement, "operator");
	const value *values = v_get(requirement, "values");

	if (str_eq(op, STR("Exists")))
		return l->n != 0;
	if (!l->n)
		return str_eq(op, STR("NotIn")) || str_eq(op, STR("DoesNotExist"));
	for (uint32_t i = 0; i < l->n; i++)
		if ((str_eq(op, STR("In")) && has_value(values, l->list[i])) ||
		    (str_eq(op, STR("NotIn")) && !has_value(values, l->list[i])))
			return true;
	return false;
}

/* Any cpu or memory makes a pod more than best effort. */
static bool states_any(const value *resources)
{
	static const char *const lists[] = {"requests", "limits"}, *const names[] = {"cpu",
										     "memory"};
	struct kube_amount a;

	for (size_t i = 0; i < countof(lists); i++)
		for (size_t k = 0; k < countof(names); k++)
			if (kube_amount(v_get(v_get(resources, lists[i]), names[k]), &a) && a.milli)
				return true;
	return false;
}

static bool is_best_effort(const struct pod *p)
{
	static const char *const lists[] = {"containers", "initContainers"};
	struct str class = v_get_str(&p->status, "qosClass");

	if (class.n)
		return str_eq(class, STR("BestEffort"));
	if (v_get(&p->spec, "resources"))
		return !states_any(v_get(&p->spec, "resources"));
	for (size_t i = 0; i < countof(lists); i++)
		v_each(c, v_get(&p->spec, lists[i]))
			if (states_any(v_get(c, "resources")))
				return false;
	return true;
}

static bool term_crosses(const value *term)
{
	return v_len(v_get(term, "namespaces")) || v_is_map(v_get(term, "namespaceSelector"));
}

static bool crosses_namespaces(const struct pod *p)
{
	static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};

	for (size_t i = 0; i < countof(kinds); i++) {
		const value *a = v_get(v_get(&p->spec, "affinity"), kinds[i]);

		v_each(t, v_get(a, "requiredDuringSchedulingIgnoredDuringExecution"))
			if (term_crosses(t))
				return true;
		v_each(t, v_get(a, "preferredDuringSchedulingIgnoredDuringExecution"))
			if (term_crosses(v_get(t, "podAffinityTerm")))
				return true;
	}
	return false;
}

static bool has_deadline(const struct pod *p)
{
	return v_get_int(&p->spec, "activeDeadlineSeconds", -1) >= 0;
}

static bool pod_in_scope(zone *z, const struct kube_charged *o, const value *requirement)
{
	struct str scope = v_get_str(requirement, "scopeName");
	struct pod p = read_pod(z, o);
	struct names class = {0};

	if (str_eq(scope, STR("Terminating")))
		return has_deadline(&p);
	if (str_eq(scope, STR("NotTerminating")))
		return !has_deadline(&p);
	if (str_eq(scope, STR("BestEffort")))
		return is_best_effort(&p);
	if (str_eq(scope, STR("NotBestEffort")))
		return !is_best_effort(&p);
	if (str_eq(scope, STR("CrossNamespacePodAffinity")))
		return crosses_namespaces(&p);
	add_name(&class, v_get_str(&p.spec, "priorityClassName"));
	return str_eq(scope, STR("PriorityClass")) && names_match(requirement, &class);
}

static bool claim_in_scope(zone *z, const struct kube_charged *o, const value *requirement)
{
	struct names classes = {0};
	value spec, status;

	if (!str_eq(v_get_str(requirement, "scopeName"), STR("VolumeAttributesClass")))
		return false;
	decode(z, o->spec, &spec);
	decode(z, o->status, &status);
	add_name(&classes, v_get_str(&spec, "volumeAttributesClassName"));
	add_name(&classes, v_get_str(&status, "currentVolumeAttributesClassName"));
	add_name(&classes,
		 v_as_str(v_path(&status, "modifyVolumeStatus.targetVolumeAttributesClassName")));
	return names_match(requirement, &classes);
}

/* Kinds that know no scopes are in none. */
static bool in_scope(zone *z, const struct kube_charged *o, const value *requirement)
{
	if (o->type == TYPE_POD)
		return pod_in_scope(z, o, requirement);
	return o->type == TYPE_PERSISTENTVOLUMECLAIM && claim_in_scope(z, o, requirement);
}

bool kube_quota_in_scope(zone *z, const value *spec, const struct kube_charged *o)
{
	v_each(scope, v_get(spec, "scopes")) {
		value exists = v_map();

		v_set(z, &exists, "scopeName", *scope);
		v_set(z, &exists, "operator", v_cstr("Exists"));
		if (!in_scope(z, o, &exists))
			return false;
	}
	v_each(requirement, v_path(spec, "scopeSelector.matchExpressions"))
		if (!in_scope(z, o, requirement))
			return false;
	return true;
}

/* --- What has to be stated --------------------------------------------------------- */

/* In the order of their names. */
static const struct stated {
	const char *resource, *list, *name;
} stated[] = {
	{"cpu", "requests", "cpu"},
	{"limits.cpu", "limits", "cpu"},
	{"limits.memory", "limits", "memory"},
	{"memory", "requests", "memory"},
	{"requests.cpu", "requests", "cpu"},
	{"requests.memory", "requests", "memory"},
};

static int compare_names(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Names of the containers that do not state it, each once, in order. */
static struct str missing_in(zone *z, const struct pod *p, const struct stated *s)
{
	static const char *const lists[] = {"containers", "initContainers"};
	struct str *names, text = {0};
	uint32_t n = 0;

	names = zone_alloc(z, (v_len(v_get(&p->spec, lists[0])) + v_len(v_get(&p->spec, lists[1])) +
			       1) * sizeof(*names));
	for (size_t i = 0; i < countof(lists); i++)
		v_each(c, v_get(&p->spec, lists[i]))
			if (!v_get(v_get(v_get(c, "resources"), s->list), s->name))
				names[n++] = v_get_str(c, "name");
	qsort(names, n, sizeof(*names), compare_names);
	for (uint32_t i = 0; i < n; i++)
		if (!i || !str_eq(names[i], names[i - 1]))
			text = zone_printf(z, STR_FMT "%s" STR_FMT, STR_ARG(text),
					   text.n ? "," : "", STR_ARG(names[i]));
	return text;
}

struct str kube_quota_missing(zone *z, const value *hard, const struct kube_charged *o)
{
	struct pod p = read_pod(z, o);
	struct str text = {0};

	if (states_whole(v_path(&p.spec, "resources.requests")) ||
	    states_whole(v_path(&p.spec, "resources.limits")))
		return text;
	for (size_t i = 0; i < countof(stated); i++) {
		struct str names;

		if (!v_get(hard, stated[i].resource))
			continue;
		names = missing_in(z, &p, &stated[i]);
		if (names.n)
			text = zone_printf(z, STR_FMT "%s%s for: " STR_FMT, STR_ARG(text),
					   text.n ? "; " : "must specify ", stated[i].resource,
					   STR_ARG(names));
	}
	return text;
}
