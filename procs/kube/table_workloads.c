/*
 * table_workloads.c - columns of kinds that run pods, and of what scales,
 * budgets and revises them.
 */
#include "table_print.h"

#include <ctype.h>

/* "2/3": ready of wanted replicas. */
static value ready_of(const struct row *row, const struct column *c)
{
	return cell_of(zone_printf(row->z, "%lld/%lld",
				   (long long)v_as_int(v_path(row->obj, "status.readyReplicas"), 0),
				   (long long)v_as_int(v_path(row->obj, "spec.replicas"), 0)));
}

#define COLUMNS_CONTAINERS(spec)                                \
	COLUMN_WIDE("Containers", cell_containers, spec, NULL), \
		COLUMN_WIDE("Images", cell_images, spec, NULL)

static const struct column deployment_columns[] = {
	COLUMN_NAME,
	COLUMN("Ready", ready_of, NULL, NULL),
	COLUMN("Up-to-date", cell_int, "status.updatedReplicas", NULL),
	COLUMN("Available", cell_int, "status.availableReplicas", NULL),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_WIDE("Selector", cell_selector, "spec.selector", NULL),
	COLUMN_END,
};

static const struct column replicaset_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Desired", cell_int, "spec.replicas", NULL),
	COLUMN_INT("Current", cell_int, "status.replicas", NULL),
	COLUMN_INT("Ready", cell_int, "status.readyReplicas", NULL),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_WIDE("Selector", cell_selector, "spec.selector", NULL),
	COLUMN_END,
};

static const struct column rc_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Desired", cell_int, "spec.replicas", NULL),
	COLUMN_INT("Current", cell_int, "status.replicas", NULL),
	COLUMN_INT("Ready", cell_int, "status.readyReplicas", NULL),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_WIDE("Selector", cell_labels, "spec.selector", NULL),
	COLUMN_END,
};

static const struct column statefulset_columns[] = {
	COLUMN_NAME, COLUMN("Ready", ready_of, NULL, NULL),
	COLUMN_AGE,  COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_END,
};

static const struct column daemonset_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Desired", cell_int, "status.desiredNumberScheduled", NULL),
	COLUMN_INT("Current", cell_int, "status.currentNumberScheduled", NULL),
	COLUMN_INT("Ready", cell_int, "status.numberReady", NULL),
	COLUMN_INT("Up-to-date", cell_int, "status.updatedNumberScheduled", NULL),
	COLUMN_INT("Available", cell_int, "status.numberAvailable", NULL),
	COLUMN("Node Selector", cell_labels, "spec.template.spec.nodeSelector", NULL),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_WIDE("Selector", cell_selector, "spec.selector", NULL),
	COLUMN_END,
};

/* --- Jobs --------------------------------------------------------------------------- */

static value job_status(const struct row *row, const struct column *c)
{
	/* The first that holds; NULL stands for a job that is being deleted. */
	static const struct {
		const char *condition, *text;
	} states[] = {
		{"Complete", "Complete"},
		{"Failed", "Failed"},
		{NULL, "Terminating"},
		{"Suspended", "Suspended"},
		{"FailureTarget", "FailureTarget"},
		{"SuccessCriteriaMet", "SuccessCriteriaMet"},
	};
	const value *conditions = v_path(row->obj, "status.conditions");

	for (size_t i = 0; i < countof(states); i++)
		if (states[i].condition ? is_condition_true(conditions, states[i].condition)
					: v_path(row->obj, "metadata.deletionTimestamp") != NULL)
			return cell_cstr(states[i].text);
	return cell_cstr("Running");
}

static value job_completions(const struct row *row, const struct column *c)
{
	const value *wanted = v_path(row->obj, "spec.completions");
	long long done = v_as_int(v_path(row->obj, "status.succeeded"), 0);
	long long parallel = v_as_int(v_path(row->obj, "spec.parallelism"), 0);

	if (v_is_int(wanted))
		return cell_of(
			zone_printf(row->z, "%lld/%lld", done, (long long)v_as_int(wanted, 0)));
	if (parallel > 1)
		return cell_of(zone_printf(row->z, "%lld/1 of %lld", done, parallel));
	return cell_of(zone_printf(row->z, "%lld/1", done));
}

static value job_duration(const struct row *row, const struct column *c)
{
	int64_t start = timestamp_s(v_path(row->obj, "status.startTime"));
	int64_t end = timestamp_s(v_path(row->obj, "status.completionTime"));

	if (!start)
		return cell_cstr("");
	return cell_of(human_duration(row->z, (end ? end : (int64_t)row->now_s) - start));
}

static const struct column job_columns[] = {
	COLUMN_NAME,
	COLUMN("Status", job_status, NULL, NULL),
	COLUMN("Completions", job_completions, NULL, NULL),
	COLUMN("Duration", job_duration, NULL, NULL),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.template.spec"),
	COLUMN_WIDE("Selector", cell_selector, "spec.selector", NULL),
	COLUMN_END,
};

static const struct column cronjob_columns[] = {
	COLUMN_NAME,
	COLUMN("Schedule", cell_text, "spec.schedule", ""),
	COLUMN("Timezone", cell_text, "spec.timeZone", "<none>"),
	COLUMN_BOOL("Suspend", cell_bool_text, "spec.suspend", "<unset>"),
	COLUMN_INT("Active", cell_count, "status.active", NULL),
	COLUMN("Last Schedule", cell_since, "status.lastScheduleTime", "<none>"),
	COLUMN_AGE,
	COLUMNS_CONTAINERS("spec.jobTemplate.spec.template.spec"),
	COLUMN_WIDE("Selector", cell_selector, "spec.jobTemplate.spec.selector", NULL),
	COLUMN_END,
};

/* --- Autoscalers -------------------------------------------------------------------- */

#define METRICS_SHOWN 2

static const struct metric_kind {
	const char *type, *member;
	const char *named; /* member that leads: "cpu: 10%/50%" */
	bool utilization;  /* else an absolute value */
	const char *average_note;
} metric_kinds[] = {
	{"External", "external", NULL, false, " (avg)"},
	{"Object", "object", NULL, false, " (avg)"},
	{"Pods", "pods", NULL, false, ""},
	{"Resource", "resource", "name", true, ""},
	{"ContainerResource", "containerResource", "name", true, ""},
};

static struct str percentage(zone *z, const value *v, const char *absent)
{
	return v_is_int(v) ? zone_printf(z, "%lld%%", (long long)v_as_int(v, 0)) : str_of(absent);
}

/* A quantity as it is printed; "0" for one that is missing in a status. */
static struct str amount(const value *v)
{
	struct str s = v_as_str(v);

	return s.n ? s : STR("0");
}

static struct str metric(zone *z, const struct metric_kind *k, const value *spec,
			 const value *status)
{
	const value *target = v_get(v_get(spec, k->member), "target");
	const value *of = v_get(status, k->member), *is = v_get(of, "current");
	struct str name = v_get_str(v_get(spec, k->member), k->named ? k->named : "");
	struct str current = STR("<unknown>"), wanted;
	const char *note = "";

	if (v_get(target, "averageValue")) {
		wanted = amount(v_get(target, "averageValue"));
		note = k->average_note;
		if (of && (v_get(is, "averageValue") || !*note))
			current = amount(v_get(is, "averageValue"));
	} else if (k->utilization) {
		wanted = percentage(z, v_get(target, "averageUtilization"), "<auto>");
		current = percentage(z, v_get(is, "averageUtilization"), "<unknown>");
	} else {
		wanted = amount(v_get(target, "value"));
		if (of)
			current = amount(v_get(is, "value"));
	}
	return zone_printf(z, STR_FMT "%s" STR_FMT "/" STR_FMT "%s", STR_ARG(name),
			   name.n ? ": " : "", STR_ARG(current), STR_ARG(wanted), note);
}

static value hpa_targets(const struct row *row, const struct column *c)
{
	const value *specs = v_path(row->obj, "spec.metrics");
	const value *statuses = v_path(row->obj, "status.currentMetrics");
	struct joined j = {.separator = ", "};
	struct str text;

	if (!v_len(specs))
		return cell_cstr("<none>");
	for (uint32_t i = 0; i < v_len(specs) && i < METRICS_SHOWN; i++) {
		const value *spec = v_at(specs, i);
		size_t k = 0;

		while (k < countof(metric_kinds) &&
		       !str_is(v_get_str(spec, "type"), metric_kinds[k].type))
			k++;
		join_add(&j, k < countof(metric_kinds)
				     ? metric(row->z, &metric_kinds[k], spec, v_at(statuses, i))
				     : STR("<unknown type>"));
	}
	text = join_done(row->z, &j);
	if (v_len(specs) > METRICS_SHOWN)
		text = zone_printf(row->z, STR_FMT " + %u more...", STR_ARG(text),
				   v_len(specs) - METRICS_SHOWN);
	return cell_of(text);
}

static value hpa_reference(const struct row *row, const struct column *c)
{
	const value *ref = v_path(row->obj, "spec.scaleTargetRef");

	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT, STR_ARG(v_get_str(ref, "kind")),
				   STR_ARG(v_get_str(ref, "name"))));
}

static const struct column hpa_columns[] = {
	COLUMN_NAME,
	COLUMN("Reference", hpa_reference, NULL, NULL),
	COLUMN("Targets", hpa_targets, NULL, NULL),
	COLUMN("MinPods", cell_text, "spec.minReplicas", "<unset>"),
	COLUMN("MaxPods", cell_int, "spec.maxReplicas", NULL),
	COLUMN("Replicas", cell_int, "status.currentReplicas", NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* --- Budgets, revisions ------------------------------------------------------------- */

static const struct column pdb_columns[] = {
	COLUMN_NAME,
	COLUMN("Min Available", cell_text, "spec.minAvailable", "N/A"),
	COLUMN("Max Unavailable", cell_text, "spec.maxUnavailable", "N/A"),
	COLUMN_INT("Allowed Disruptions", cell_int, "status.disruptionsAllowed", NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* "deployment.apps/web": what the revision belongs to. */
static value revision_controller(const struct row *row, const struct column *c)
{
	const value *ref = kube_controller_of(v_get(row->obj, "metadata"));
	struct str api = v_get_str(ref, "apiVersion"), kind = v_get_str(ref, "kind"), text;
	const char *slash = api.n ? memchr(api.p, '/', api.n) : NULL;
	int group = slash ? (int)(slash - api.p) : 0;
	char *p;

	if (!ref)
		return cell_cstr("<none>");
	text = zone_printf(row->z, STR_FMT "%s%.*s/" STR_FMT, STR_ARG(kind), group ? "." : "",
			   group, api.p, STR_ARG(v_get_str(ref, "name")));
	p = (char *)text.p; /* just made, in the zone */
	for (uint32_t i = 0; i < kind.n; i++)
		p[i] = (char)tolower((unsigned char)p[i]);
	return cell_of(text);
}

static const struct column revision_columns[] = {
	COLUMN_NAME,
	COLUMN("Controller", revision_controller, NULL, NULL),
	COLUMN("Revision", cell_int, "revision", NULL),
	COLUMN_AGE,
	COLUMN_END,
};

const struct table table_workloads[] = {
	{"apps", "Deployment", deployment_columns},
	{"apps", "ReplicaSet", replicaset_columns},
	{"apps", "StatefulSet", statefulset_columns},
	{"apps", "DaemonSet", daemonset_columns},
	{"apps", "ControllerRevision", revision_columns},
	{"", "ReplicationController", rc_columns},
	{"batch", "Job", job_columns},
	{"batch", "CronJob", cronjob_columns},
	{"autoscaling", "HorizontalPodAutoscaler", hpa_columns},
	{"policy", "PodDisruptionBudget", pdb_columns},
	{NULL, NULL, NULL},
};
