/* default_other.c - defaults of the other groups that depend on other fields. */
#include <ctype.h>

#include "procs/kube/default.h"
#include "weft/kube.h"

/* --- apps ------------------------------------------------------------------------ */

void default_deployment_strategy(zone *z, value *v)
{
	value *rolling;

	if (!v_get_str(v, "type").n)
		v_set(z, v, "type", v_cstr("RollingUpdate"));
	if (!str_eq(v_get_str(v, "type"), STR("RollingUpdate")))
		return;
	rolling = v_map_at(z, v, "rollingUpdate");
	default_str(z, rolling, "maxUnavailable", "25%");
	default_str(z, rolling, "maxSurge", "25%");
}

void default_daemonset_strategy(zone *z, value *v)
{
	value *rolling;

	if (!v_get_str(v, "type").n)
		v_set(z, v, "type", v_cstr("RollingUpdate"));
	if (!str_eq(v_get_str(v, "type"), STR("RollingUpdate")))
		return;
	rolling = v_map_at(z, v, "rollingUpdate");
	default_int(z, rolling, "maxUnavailable", 1);
	default_int(z, rolling, "maxSurge", 0);
}

void default_statefulset_spec(zone *z, value *v)
{
	value *strategy = v_map_at(z, v, "updateStrategy"), *rolling;

	if (!v_get_str(strategy, "type").n) {
		v_set(z, strategy, "type", v_cstr("RollingUpdate"));
		v_map_at(z, strategy, "rollingUpdate");
	}
	rolling = v_get(strategy, "rollingUpdate");
	if (str_eq(v_get_str(strategy, "type"), STR("RollingUpdate")) && v_is_map(rolling)) {
		default_int(z, rolling, "partition", 0);
		default_int(z, rolling, "maxUnavailable", 1);
	}
	v_each(claim, v_get(v, "volumeClaimTemplates")) {
		if (!v_is_map(claim))
			continue;
		v_set(z, claim, "kind", v_cstr("PersistentVolumeClaim"));
		v_set(z, claim, "apiVersion", v_cstr("v1"));
	}
}

/* --- batch ------------------------------------------------------------------------- */

void default_job(zone *z, value *v)
{
	value *spec = v_map_at(z, v, "spec");
	const value *labels = v_path(spec, "template.metadata.labels");

	if (v_is_null(v_get(spec, "parallelism")))
		default_int(z, spec, "completions", 1);
	default_int(z, spec, "parallelism", 1);
	default_int(z, spec, "backoffLimit",
		    v_is_null(v_get(spec, "backoffLimitPerIndex")) ? 6 : INT32_MAX);
	default_str(z, spec, "completionMode", "NonIndexed");
	default_bool(z, spec, "suspend", false);
	default_str(z, spec, "podReplacementPolicy",
		    v_is_null(v_get(spec, "podFailurePolicy")) ? "TerminatingOrFailed" : "Failed");
	default_bool(z, spec, "manualSelector", false);
	if (v_len(labels) && !v_len(v_path(v, "metadata.labels"))) {
		value copy = v_copy(z, labels);

		v_set(z, v_map_at(z, v, "metadata"), "labels", copy);
	}
}

/* --- autoscaling -------------------------------------------------------------------- */

/* The CPU target moves into an annotation when other metrics are asked for. */
void default_hpa_v1_spec(zone *z, value *v)
{
	const value *annotations = v_path(v, "metadata.annotations");

	if (!v_get(annotations, "autoscaling.alpha.kubernetes.io/metrics"))
		default_int(z, v_map_at(z, v, "spec"), "targetCPUUtilizationPercentage", 80);
}

void default_hpa_v2_spec(zone *z, value *v)
{
	value target = v_map(), resource = v_map(), metric = v_map(), metrics = v_array();

	if (v_len(v_get(v, "metrics")))
		return;
	v_set(z, &target, "type", v_cstr("Utilization"));
	v_set(z, &target, "averageUtilization", v_int(80));
	v_set(z, &resource, "name", v_cstr("cpu"));
	v_set(z, &resource, "target", target);
	v_set(z, &metric, "type", v_cstr("Resource"));
	v_set(z, &metric, "resource", resource);
	v_append(z, &metrics, metric);
	v_set(z, v, "metrics", metrics);
}

static value scaling_policy(zone *z, const char *type, int n)
{
	value p = v_map();

	v_set(z, &p, "type", v_cstr(type));
	v_set(z, &p, "value", v_int(n));
	v_set(z, &p, "periodSeconds", v_int(15));
	return p;
}

static void scaling_rules(zone *z, value *behavior, const char *direction, bool up)
{
	value *rules = v_map_at(z, behavior, direction), list = v_array();

	default_str(z, rules, "selectPolicy", "Max");
	if (up)
		default_int(z, rules, "stabilizationWindowSeconds", 0);
	if (!v_is_null(v_get(rules, "policies")))
		return;
	if (up)
		v_append(z, &list, scaling_policy(z, "Pods", 4));
	v_append(z, &list, scaling_policy(z, "Percent", 100));
	v_set(z, rules, "policies", list);
}

void default_hpa_behavior(zone *z, value *v)
{
	scaling_rules(z, v, "scaleUp", true);
	scaling_rules(z, v, "scaleDown", false);
}

/* --- Others ------------------------------------------------------------------------- */

void default_network_policy_spec(zone *z, value *v)
{
	value types = v_array();

	if (v_len(v_get(v, "policyTypes")))
		return;
	v_append(z, &types, v_cstr("Ingress"));
	if (v_len(v_get(v, "egress")))
		v_append(z, &types, v_cstr("Egress"));
	v_set(z, v, "policyTypes", types);
}

void default_rbac_subject(zone *z, value *v)
{
	struct str kind = v_get_str(v, "kind");

	if (str_eq(kind, STR("User")) || str_eq(kind, STR("Group")))
		default_str(z, v, "apiGroup", "rbac.authorization.k8s.io");
}

void default_csi_driver_spec(zone *z, value *v)
{
	if (!v_len(v_get(v, "volumeLifecycleModes")))
		v_append(z, v_array_at(z, v, "volumeLifecycleModes"), v_cstr("Persistent"));
}

static struct str lower(zone *z, struct str s)
{
	char *p = zone_alloc(z, s.n + 1);

	for (uint32_t i = 0; i < s.n; i++)
		p[i] = (char)tolower((unsigned char)s.p[i]);
	return (struct str){p, s.n};
}

void default_crd(zone *z, value *v)
{
	value *spec = v_map_at(z, v, "spec"), *names = v_map_at(z, spec, "names"), *status;
	struct str kind = v_get_str(names, "kind");

	if (kind.n && !v_get_str(names, "singular").n)
		v_set(z, names, "singular", v_str(lower(z, kind)));
	if (kind.n && !v_get_str(names, "listKind").n)
		v_set(z, names, "listKind", v_str(zone_printf(z, STR_FMT "List", STR_ARG(kind))));
	if (v_is_null(v_get(spec, "conversion")))
		v_set(z, v_map_at(z, spec, "conversion"), "strategy", v_cstr("None"));
	status = v_map_at(z, v, "status");
	if (v_len(v_get(status, "storedVersions")))
		return;
	v_each(version, v_path(v, "spec.versions"))
		if (v_get_bool(version, "storage", false)) {
			v_append(z, v_array_at(z, status, "storedVersions"),
				 v_str(v_get_str(version, "name")));
			break;
		}
}
