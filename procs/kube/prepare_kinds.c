/* prepare_kinds.c - strategy steps that only one kind has. */
#include <stdlib.h>

#include "procs/kube/prepare.h"

/* --- Pods --------------------------------------------------------------------------- */

/* Sums of what a pod's containers ask for, of what counts for its class. */
struct demand {
	int64_t cpu, memory; /* thousandths */
	bool has_cpu, has_memory;
};

static void add_demand(struct demand *d, const value *list)
{
	int64_t n;

	if (kube_quantity_milli(v_get(list, "cpu"), &n) && n > 0) {
		d->cpu += n;
		d->has_cpu = true;
	}
	if (kube_quantity_milli(v_get(list, "memory"), &n) && n > 0) {
		d->memory += n;
		d->has_memory = true;
	}
}

/* Add one container; false if it does not limit both. */
static bool add_resources(struct demand *requests, struct demand *limits, const value *resources)
{
	struct demand own = {0};

	add_demand(requests, v_get(resources, "requests"));
	add_demand(limits, v_get(resources, "limits"));
	add_demand(&own, v_get(resources, "limits"));
	return own.has_cpu && own.has_memory;
}

static const char *qos_class(const value *spec)
{
	static const char *const lists[] = {"containers", "initContainers"};
	struct demand requests = {0}, limits = {0};
	const value *whole = v_get(spec, "resources");
	bool guaranteed = true;

	if (v_is_map(whole))
		guaranteed = add_resources(&requests, &limits, whole);
	else
		for (size_t i = 0; i < countof(lists); i++)
			v_each(c, v_get(spec, lists[i]))
				guaranteed &=
					add_resources(&requests, &limits, v_get(c, "resources"));
	if (!requests.has_cpu && !requests.has_memory && !limits.has_cpu && !limits.has_memory)
		return "BestEffort";
	if (guaranteed && requests.has_cpu && requests.has_memory && requests.cpu == limits.cpu &&
	    requests.memory == limits.memory)
		return "Guaranteed";
	return "Burstable";
}

/* A pod behind gates says so from the start. */
static void gated_condition(zone *z, value *obj)
{
	value c = v_map();
	char now[21];

	if (!v_len(v_path(obj, "spec.schedulingGates")))
		return;
	time_format(clock_wall_s(), now);
	v_set(z, &c, "type", v_cstr("PodScheduled"));
	v_set(z, &c, "status", v_cstr("False"));
	v_set(z, &c, "lastProbeTime", v_null());
	v_set(z, &c, "lastTransitionTime", v_str(zone_str(z, str_of(now))));
	v_set(z, &c, "reason", v_cstr("SchedulingGated"));
	v_set(z, &c, "message", v_cstr("Scheduling is blocked due to non-empty scheduling gates"));
	v_append(z, v_array_at(z, v_get(obj, "status"), "conditions"), c);
}

/* Keys whose value the pod itself has join the selector. */
static void merge_label_keys(zone *z, value *term, const char *keys, const char *operator,
			     const value * labels)
{
	v_each(key, v_get(term, keys)) {
		const value *mine = v_getn(labels, v_as_str(key));
		value expr = v_map(), values = v_array();

		if (!mine || !v_is_map(v_get(term, "labelSelector")))
			continue;
		v_append(z, &values, *mine);
		v_set(z, &expr, "key", *key);
		v_set(z, &expr, "operator", v_cstr(operator));
		v_set(z, &expr, "values", values);
		v_append(z, v_array_at(z, v_get(term, "labelSelector"), "matchExpressions"), expr);
	}
}

static void merge_term(zone *z, value *term, const value *labels)
{
	merge_label_keys(z, term, "matchLabelKeys", "In", labels);
	merge_label_keys(z, term, "mismatchLabelKeys", "NotIn", labels);
}

static void merge_selectors(zone *z, value *obj)
{
	static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};
	const value *labels = v_path(obj, "metadata.labels"), *spec = v_get(obj, "spec");

	v_each(c, v_get(spec, "topologySpreadConstraints"))
		merge_label_keys(z, c, "matchLabelKeys", "In", labels);
	for (size_t i = 0; i < countof(kinds); i++) {
		const value *a = v_get(v_get(spec, "affinity"), kinds[i]);

		v_each(t, v_get(a, "requiredDuringSchedulingIgnoredDuringExecution"))
			merge_term(z, t, labels);
		v_each(t, v_get(a, "preferredDuringSchedulingIgnoredDuringExecution"))
			merge_term(z, v_get(t, "podAffinityTerm"), labels);
	}
}

void prepare_pod_create(zone *z, value *obj)
{
	value *status = v_set(z, obj, "status", v_map());

	v_set(z, status, "phase", v_cstr("Pending"));
	gated_condition(z, obj);
	merge_selectors(z, obj);
	v_set(z, v_get(obj, "status"), "qosClass", v_cstr(qos_class(v_get(obj, "spec"))));
}

void prepare_pod_status(zone *z, value *obj, const value *old)
{
	value *meta = v_get(obj, "metadata");

	prepare_take(z, meta, v_get(old, "metadata"), "ownerReferences");
	prepare_take(z, meta, v_get(old, "metadata"), "deletionTimestamp");
	if (!v_get_str(v_get(obj, "status"), "qosClass").n)
		prepare_take(z, v_map_at(z, obj, "status"), v_get(old, "status"), "qosClass");
}

static void take_resources(zone *z, value *spec, const value *from, const char *list)
{
	v_each(c, v_get(spec, list)) {
		v_each(n, v_get(from, list)) {
			if (!str_eq(v_get_str(n, "name"), v_get_str(c, "name")))
				continue;
			prepare_take(z, c, n, "resources");
			prepare_take(z, c, n, "resizePolicy");
		}
	}
}

void prepare_pod_resize(zone *z, value *obj, const value *old)
{
	value spec = v_copy(z, v_get(old, "spec"));

	take_resources(z, &spec, v_get(obj, "spec"), "containers");
	take_resources(z, &spec, v_get(obj, "spec"), "initContainers");
	prepare_take(z, &spec, v_get(obj, "spec"), "resources");
	v_set(z, obj, "spec", spec);
	prepare_take(z, obj, old, "status");
}

/* --- Core --------------------------------------------------------------------------- */

void prepare_namespace_create(zone *z, value *obj)
{
	value *list = v_array_at(z, v_map_at(z, obj, "spec"), "finalizers");

	v_each(f, list)
		if (str_eq(v_as_str(f), STR("kubernetes")))
			return;
	v_append(z, list, v_cstr("kubernetes"));
}

void prepare_namespace_update(zone *z, value *obj, const value *old)
{
	prepare_take(z, v_map_at(z, obj, "spec"), v_get(old, "spec"), "finalizers");
}

void prepare_secret_update(zone *z, value *obj, const value *old)
{
	if (!v_get_str(obj, "type").n)
		prepare_take(z, obj, old, "type");
}

/* What belongs to the type that the Service no longer has goes, unless the
 * client changed it at the same time. */
static void drop_if_kept(value *spec, const value *was, const char *key)
{
	const value *a = v_get(spec, key), *b = v_get(was, key);

	if (a && b && v_equal(a, b))
		v_del(spec, key);
}

static bool is_type(const value *spec, const char *type)
{
	return str_is(v_get_str(spec, "type"), type);
}

static bool has_node_ports(const value *spec)
{
	return is_type(spec, "NodePort") || is_type(spec, "LoadBalancer");
}

void prepare_service_update(zone *z, value *obj, const value *old)
{
	value *spec = v_get(obj, "spec"), *was = v_get(old, "spec");
	bool balanced = is_type(spec, "LoadBalancer");
	uint32_t i = 0;

	if (is_type(spec, "ExternalName") && !is_type(was, "ExternalName")) {
		drop_if_kept(spec, was, "clusterIP");
		drop_if_kept(spec, was, "clusterIPs");
		drop_if_kept(spec, was, "ipFamilies");
		drop_if_kept(spec, was, "ipFamilyPolicy");
		drop_if_kept(spec, was, "internalTrafficPolicy");
	}
	if (has_node_ports(was) && !has_node_ports(spec)) {
		v_each(p, v_get(spec, "ports"))
			drop_if_kept(p, v_at(v_get(was, "ports"), i++), "nodePort");
		if (!v_len(v_get(spec, "externalIPs")))
			drop_if_kept(spec, was, "externalTrafficPolicy");
	}
	if (is_type(was, "LoadBalancer") && !balanced) {
		drop_if_kept(spec, was, "healthCheckNodePort");
		drop_if_kept(spec, was, "allocateLoadBalancerNodePorts");
		drop_if_kept(spec, was, "loadBalancerClass");
	}
	if (is_type(was, "ExternalName") && !is_type(spec, "ExternalName"))
		drop_if_kept(spec, was, "externalName");
}

static void set_now(zone *z, value *status)
{
	char now[21];

	time_format(clock_wall_s(), now);
	v_set(z, status, "lastPhaseTransitionTime", v_str(zone_str(z, str_of(now))));
}

void prepare_volume_create(zone *z, value *obj)
{
	set_now(z, v_map_at(z, obj, "status"));
}

void prepare_volume_status(zone *z, value *obj, const value *old)
{
	value *now = v_map_at(z, obj, "status"), *was = v_get(old, "status");
	struct str time = v_get_str(now, "lastPhaseTransitionTime");

	if (str_eq(v_get_str(now, "phase"), v_get_str(was, "phase"))) {
		if (!time.n)
			prepare_take(z, now, was, "lastPhaseTransitionTime");
	} else if (!time.n || str_eq(time, v_get_str(was, "lastPhaseTransitionTime"))) {
		set_now(z, now);
	}
}

/* --- Workloads ---------------------------------------------------------------------- */

void prepare_deployment_status(zone *z, value *obj, const value *old)
{
	prepare_take(z, v_get(obj, "metadata"), v_get(old, "metadata"), "labels");
}

/* A count of template changes that older clients read. */
#define TEMPLATE_GENERATION "deprecated.daemonset.template.generation"

static int64_t template_generation(const value *obj)
{
	struct str s = v_get_str(v_path(obj, "metadata.annotations"), TEMPLATE_GENERATION);
	char digits[21] = "";

	if (s.n && s.n < sizeof(digits))
		memcpy(digits, s.p, s.n);
	return strtoll(digits, NULL, 10);
}

static void set_template_generation(zone *z, value *obj, int64_t n)
{
	value *annotations = v_map_at(z, v_map_at(z, obj, "metadata"), "annotations");

	v_set(z, annotations, TEMPLATE_GENERATION, v_str(zone_printf(z, "%lld", (long long)n)));
}

void prepare_daemonset_create(zone *z, value *obj)
{
	int64_t n = template_generation(obj);

	set_template_generation(z, obj, n < 1 ? 1 : n);
}

void prepare_daemonset_update(zone *z, value *obj, const value *old)
{
	bool same = v_equal(v_path(obj, "spec.template"), v_path(old, "spec.template"));

	set_template_generation(z, obj, template_generation(old) + !same);
}

void prepare_daemonset_status(zone *z, value *obj, const value *old)
{
	set_template_generation(z, obj, template_generation(old));
}

/* Labels by which a Job finds its pods, and the selector that says so. */
void prepare_job_create(zone *z, value *obj)
{
	value *spec = v_map_at(z, obj, "spec");
	value *labels, uid = v_str(v_get_str(v_get(obj, "metadata"), "uid"));
	value name = v_str(v_get_str(v_get(obj, "metadata"), "name"));

	if (v_get_bool(spec, "manualSelector", false) || !v_as_str(&uid).n)
		return;
	labels = v_map_at(z, v_map_at(z, v_map_at(z, spec, "template"), "metadata"), "labels");
	v_set(z, labels, "batch.kubernetes.io/controller-uid", uid);
	v_set(z, labels, "batch.kubernetes.io/job-name", name);
	v_set(z, labels, "controller-uid", uid);
	v_set(z, labels, "job-name", name);
	labels = v_map_at(z, v_map_at(z, spec, "selector"), "matchLabels");
	v_set(z, labels, "batch.kubernetes.io/controller-uid", uid);
	if (!v_len(v_path(obj, "metadata.labels"))) {
		value copy = v_copy(z, v_path(obj, "spec.template.metadata.labels"));

		v_set(z, v_map_at(z, obj, "metadata"), "labels", copy);
	}
}

void prepare_csr_update(zone *z, value *obj, const value *old)
{
	prepare_take(z, obj, old, "spec");
}
