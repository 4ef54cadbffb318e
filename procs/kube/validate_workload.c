/* validate_workload.c - what has a pod template: apps, batch, replication controllers. */
#include <unistd.h>

#include "procs/kube/validate.h"

/* --- Common parts ------------------------------------------------------------------- */

static bool is_empty_selector(const value *s)
{
	return !v_len(v_get(s, "matchLabels")) && !v_len(v_get(s, "matchExpressions"));
}

/* The selector must pick the template's own pods. */
static void check_selects_template(struct validation *v, const value *selector,
				   const value *template)
{
	const struct at *at = FIELD(FIELD(FIELD(SPEC, "template"), "metadata"), "labels");
	const value *labels = v_path(template, "metadata.labels");
	struct kube_selector *parsed;
	struct str message;

	if (kube_selector_from(v->z, selector, &parsed, &message))
		return;
	if (v_is_null(selector) || kube_selector_empty(parsed) ||
	    !kube_selector_match_value(parsed, labels))
		bad_invalid(v, at, v_len(labels) ? labels : NULL,
			    "`selector` does not match template `labels`");
}

static bool is_valid_selector(struct validation *v, const struct at *at, const value *s)
{
	uint32_t before = v->errs->n;

	check_selector(v, at, s);
	return v->errs->n == before;
}

/* Nothing but pods that are restarted for ever makes sense. */
static void check_long_running(struct validation *v, const value *template, const char *kind)
{
	const struct at *at = FIELD(FIELD(SPEC, "template"), "spec");
	const value *spec = v_get(template, "spec");

	if (!is_str(spec, "restartPolicy", "Always"))
		bad_supported(v, FIELD(at, "restartPolicy"), v_get(spec, "restartPolicy"),
			      LIST("Always"));
	if (!v_is_null(v_get(spec, "activeDeadlineSeconds")))
		bad_forbidden(v, FIELD(at, "activeDeadlineSeconds"),
			      "activeDeadlineSeconds in %s is not Supported", kind);
}

/* Selector, template and numbers of a Deployment or a ReplicaSet. */
static void check_replicated(struct validation *v, const value *spec)
{
	const value *selector = v_get(spec, "selector"), *template = v_get(spec, "template");
	const struct at *at = FIELD(SPEC, "selector");
	bool good = true;

	check_not_negative(v, SPEC, spec, "replicas");
	check_not_negative(v, SPEC, spec, "minReadySeconds");
	if (v_is_null(selector)) {
		bad_required(v, at, NULL);
	} else {
		good = is_valid_selector(v, at, selector);
		if (!good)
			bad_invalid(v, at, selector, "invalid label selector");
		else if (is_empty_selector(selector))
			bad_invalid(v, at, selector, "empty selector is invalid for deployment");
	}
	if (good && (v_is_null(selector) || !is_empty_selector(selector)))
		check_selects_template(v, selector, template);
	check_template(v, FIELD(SPEC, "template"), template);
	check_long_running(v, template, "ReplicaSet");
}

static void check_selector_kept(struct validation *v, const value *obj, const value *old)
{
	if (old)
		check_immutable(v, FIELD(SPEC, "selector"), v_path(obj, "spec.selector"),
				v_path(old, "spec.selector"));
}

/* Every number of a status counts something. */
static void check_counts(struct validation *v, const value *obj)
{
	const struct at *at = FIELD(NULL, "status");

	v_each_kv(kv, v_get(obj, "status")) {
		struct str key = v_as_str(&kv->key);

		if (v_is_int(&kv->val) && v_as_int(&kv->val, 0) < 0)
			bad_invalid(v, FIELD(at, zone_printf(v->z, STR_FMT, STR_ARG(key)).p),
				    &kv->val, "must be greater than or equal to 0");
	}
}

/* status[less] <= status[more]; `shown` is how the message calls the latter. */
static void check_at_most(struct validation *v, const value *obj, const char *less,
			  const char *more, const char *shown)
{
	const value *s = v_get(obj, "status");

	if (v_get_int(s, less, 0) > v_get_int(s, more, 0))
		bad_invalid(v, FIELD(FIELD(NULL, "status"), less), v_get(s, less),
			    "cannot be greater than %s", shown);
}

/* A number or a percentage. */
static bool check_int_or_percent(struct validation *v, const struct at *at, const value *n)
{
	if (v_is_null(n))
		return true;
	if (v_is_str(n))
		return check_name(v, at, v_as_str(n), names_percent);
	if (v_as_int(n, 0) >= 0)
		return true;
	bad_invalid(v, at, n, "must be greater than or equal to 0");
	return false;
}

static void check_at_most_all(struct validation *v, const struct at *at, const value *n)
{
	if (v_is_str(n) && kube_int_or_percent(n, 100, false, 0) > 100)
		bad_invalid(v, at, n, "must not be greater than 100%%");
}

static bool is_zero(const value *n)
{
	return kube_int_or_percent(n, 100, true, 0) == 0;
}

/* --- Deployment --------------------------------------------------------------------- */

static value shown_strategy(zone *z, const value *s)
{
	value shown = v_map();

	v_set(z, &shown, "Type", v_str(v_get_str(s, "type")));
	v_set(z, &shown, "RollingUpdate", v_null());
	return shown;
}

static void check_rolling(struct validation *v, const struct at *at, const value *r)
{
	const value *surge = v_get(r, "maxSurge"), *unavailable = v_get(r, "maxUnavailable");
	bool good = check_int_or_percent(v, FIELD(at, "maxUnavailable"), unavailable);

	good &= check_int_or_percent(v, FIELD(at, "maxSurge"), surge);
	if (!good)
		return;
	if (is_zero(surge) && is_zero(unavailable))
		bad_invalid(v, FIELD(at, "maxUnavailable"), unavailable,
			    "may not be 0 when `maxSurge` is 0");
	check_at_most_all(v, FIELD(at, "maxUnavailable"), unavailable);
}

static void check_strategy(struct validation *v, const value *s)
{
	const struct at *at = FIELD(SPEC, "strategy");
	value shown = shown_strategy(v->z, s);

	if (is_str(s, "type", "Recreate")) {
		if (!v_is_null(v_get(s, "rollingUpdate")))
			bad_forbidden(v, FIELD(at, "rollingUpdate"),
				      "may not be specified when strategy `type` is 'Recreate'");
	} else if (is_str(s, "type", "RollingUpdate")) {
		check_rolling(v, FIELD(at, "rollingUpdate"), v_get(s, "rollingUpdate"));
	} else {
		bad_supported(v, at, &shown, LIST("Recreate", "RollingUpdate"));
	}
}

static void check_deployment_status(struct validation *v, const value *obj, const value *old)
{
	check_counts(v, obj);
	check_at_most(v, obj, "updatedReplicas", "replicas", "status.replicas");
	check_at_most(v, obj, "readyReplicas", "replicas", "status.replicas");
	check_at_most(v, obj, "availableReplicas", "replicas", "status.replicas");
	check_at_most(v, obj, "availableReplicas", "readyReplicas", "readyReplicas");
	if (v_path(old, "status.collisionCount") &&
	    v_as_int(v_path(obj, "status.collisionCount"), -1) <
		    v_as_int(v_path(old, "status.collisionCount"), 0))
		bad_invalid(v, FIELD(FIELD(NULL, "status"), "collisionCount"),
			    v_path(obj, "status.collisionCount"), "cannot be decremented");
}

void validate_deployment(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *deadline = v_get(spec, "progressDeadlineSeconds");

	if (str_eq(sub, STR("status"))) {
		check_deployment_status(v, obj, old);
		return;
	}
	check_replicated(v, spec);
	check_strategy(v, v_get(spec, "strategy"));
	check_not_negative(v, SPEC, spec, "revisionHistoryLimit");
	check_not_negative(v, SPEC, spec, "progressDeadlineSeconds");
	if (v_is_int(deadline) && v_as_int(deadline, 0) <= v_get_int(spec, "minReadySeconds", 0))
		bad_invalid(v, FIELD(SPEC, "progressDeadlineSeconds"), deadline,
			    "must be greater than minReadySeconds");
	check_selector_kept(v, obj, old);
}

/* --- ReplicaSet, ReplicationController ---------------------------------------------- */

static void check_replicaset_status(struct validation *v, const value *obj)
{
	static const char *const parts[] = {"fullyLabeledReplicas", "readyReplicas",
					    "availableReplicas"};

	check_counts(v, obj);
	for (size_t i = 0; i < countof(parts); i++)
		check_at_most(v, obj, parts[i], "replicas", "status.replicas");
	check_at_most(v, obj, "availableReplicas", "readyReplicas", "readyReplicas");
}

void validate_replicaset(struct validation *v, const value *obj, const value *old, struct str sub)
{
	if (str_eq(sub, STR("status"))) {
		check_replicaset_status(v, obj);
		return;
	}
	check_replicated(v, v_get(obj, "spec"));
	check_selector_kept(v, obj, old);
}

void validate_replication_controller(struct validation *v, const value *obj, const value *old,
				     struct str sub)
{
	const value *spec = v_get(obj, "spec"), *selector = v_get(spec, "selector");
	const value *template = v_get(spec, "template");

	if (str_eq(sub, STR("status"))) {
		check_replicaset_status(v, obj);
		return;
	}
	check_not_negative(v, SPEC, spec, "minReadySeconds");
	check_not_negative(v, SPEC, spec, "replicas");
	if (!v_len(selector))
		bad_required(v, FIELD(SPEC, "selector"), NULL);
	check_labels(v, FIELD(SPEC, "selector"), selector);
	if (v_is_null(template)) {
		bad_required(v, FIELD(SPEC, "template"), NULL);
		return;
	}
	if (v_len(selector) && !kube_selector_match_value(kube_selector_from_map(v->z, selector),
							  v_path(template, "metadata.labels")))
		bad_invalid(v, FIELD(FIELD(FIELD(SPEC, "template"), "metadata"), "labels"),
			    v_path(template, "metadata.labels"),
			    "`selector` does not match template `labels`");
	check_template(v, FIELD(SPEC, "template"), template);
	check_long_running(v, template, "ReplicationController");
}

/* --- DaemonSet ---------------------------------------------------------------------- */

static void check_daemon_rolling(struct validation *v, const struct at *at, const value *r)
{
	const value *surge = v_get(r, "maxSurge"), *unavailable = v_get(r, "maxUnavailable");

	if (!check_int_or_percent(v, FIELD(at, "maxUnavailable"), unavailable) ||
	    !check_int_or_percent(v, FIELD(at, "maxSurge"), surge))
		return;
	check_at_most_all(v, FIELD(at, "maxUnavailable"), unavailable);
	check_at_most_all(v, FIELD(at, "maxSurge"), surge);
	if (!is_zero(surge) && !is_zero(unavailable))
		bad_invalid(v, FIELD(at, "maxSurge"), surge,
			    "may not be set when maxUnavailable is non-zero");
	else if (is_zero(surge) && is_zero(unavailable))
		bad_required(v, FIELD(at, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
}

void validate_daemonset(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *selector = v_get(spec, "selector");
	const value *template = v_get(spec, "template"), *s = v_get(spec, "updateStrategy");
	const struct at *at = FIELD(SPEC, "updateStrategy");
	value shown = shown_strategy(v->z, s);

	if (str_eq(sub, STR("status"))) {
		check_counts(v, obj);
		return;
	}
	if (is_valid_selector(v, FIELD(SPEC, "selector"), selector)) {
		if (v_is_null(selector) || !is_empty_selector(selector))
			check_selects_template(v, selector, template);
		else
			bad_invalid(v, FIELD(SPEC, "selector"), selector,
				    "empty selector is invalid for daemonset");
	}
	check_template(v, FIELD(SPEC, "template"), template);
	check_long_running(v, template, "DaemonSet");
	check_not_negative(v, SPEC, spec, "minReadySeconds");
	check_not_negative(v, SPEC, spec, "revisionHistoryLimit");
	if (is_str(s, "type", "RollingUpdate"))
		check_daemon_rolling(v, FIELD(at, "rollingUpdate"), v_get(s, "rollingUpdate"));
	else if (!is_str(s, "type", "OnDelete"))
		bad_supported(v, at, &shown, LIST("RollingUpdate", "OnDelete"));
	check_selector_kept(v, obj, old);
}

/* --- StatefulSet ----------------------------------------------------------- */

static void check_set_strategy(struct validation *v, const value *s)
{
	const struct at *at = FIELD(SPEC, "updateStrategy");
	const value *rolling = v_get(s, "rollingUpdate"), *most = v_get(rolling, "maxUnavailable");
	value shown = shown_strategy(v->z, s);

	if (is_str(s, "type", "RollingUpdate")) {
		check_not_negative(v, FIELD(at, "rollingUpdate"), rolling, "partition");
		if (!check_int_or_percent(v, FIELD(FIELD(at, "rollingUpdate"), "maxUnavailable"),
					  most))
			return;
		if (!v_is_null(most) && is_zero(most))
			bad_invalid(v, FIELD(FIELD(at, "rollingUpdate"), "maxUnavailable"), most,
				    "cannot be 0");
	} else if (is_str(s, "type", "OnDelete")) {
		if (!v_is_null(rolling))
			bad_invalid(v, FIELD(at, "rollingUpdate"), rolling,
				    "only allowed for updateStrategy 'RollingUpdate'");
	} else if (v_get_str(s, "type").n) {
		bad_invalid(v, at, &shown, "must be 'RollingUpdate' or 'OnDelete'");
	} else {
		bad_required(v, at, NULL);
	}
}

static void check_set_status(struct validation *v, const value *obj)
{
	static const char *const parts[] = {"readyReplicas", "currentReplicas", "updatedReplicas",
					    "availableReplicas"};

	check_counts(v, obj);
	for (size_t i = 0; i < countof(parts); i++)
		check_at_most(v, obj, parts[i], "replicas", "status.replicas");
	check_at_most(v, obj, "availableReplicas", "readyReplicas", "status.readyReplicas");
}

/* Only a few fields of a StatefulSet may change. */
static void check_set_update(struct validation *v, const value *obj, const value *old)
{
	static const char *const fixed[] = {"selector", "serviceName", "podManagementPolicy",
					    "volumeClaimTemplates"};
	static const char *const free_fields[] = {
		"selector",
		"serviceName",
		"podManagementPolicy",
		"volumeClaimTemplates",
		"replicas",
		"ordinals",
		"template",
		"updateStrategy",
		"revisionHistoryLimit",
		"persistentVolumeClaimRetentionPolicy",
		"minReadySeconds",
	};
	value now = v_copy(v->z, v_get(obj, "spec"));
	const value *was = v_get(old, "spec");

	for (size_t i = 0; i < countof(fixed); i++)
		check_immutable(v, FIELD(SPEC, fixed[i]), v_get(v_get(obj, "spec"), fixed[i]),
				v_get(was, fixed[i]));
	for (size_t i = 0; i < countof(free_fields); i++) {
		const value *m = v_get(was, free_fields[i]);

		if (m)
			v_set(v->z, &now, free_fields[i], *m);
		else
			v_del(&now, free_fields[i]);
	}
	if (!v_equal(&now, was))
		bad_forbidden(v, SPEC,
			      "updates to statefulset spec for fields other than 'replicas', "
			      "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
			      "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
			      "forbidden");
}

void validate_statefulset(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *selector = v_get(spec, "selector");
	const value *template = v_get(spec, "template");
	const value *retain = v_get(spec, "persistentVolumeClaimRetentionPolicy");
	const struct at *keep = FIELD(SPEC, "persistentVolumeClaimRetentionPolicy");
	const value *pod = v_get(template, "spec");

	if (str_eq(sub, STR("status"))) {
		check_set_status(v, obj);
		return;
	}
	if (!is_str(spec, "podManagementPolicy", "OrderedReady") &&
	    !is_str(spec, "podManagementPolicy", "Parallel"))
		bad_invalid(v, FIELD(SPEC, "podManagementPolicy"),
			    v_get(spec, "podManagementPolicy"),
			    "must be 'OrderedReady' or 'Parallel'");
	check_set_strategy(v, v_get(spec, "updateStrategy"));
	check_one_of(v, keep, retain, "whenDeleted", LIST("Retain", "Delete"));
	check_one_of(v, keep, retain, "whenScaled", LIST("Retain", "Delete"));
	check_not_negative(v, SPEC, spec, "replicas");
	check_not_negative(v, SPEC, spec, "minReadySeconds");
	check_not_negative(v, FIELD(SPEC, "ordinals"), v_get(spec, "ordinals"), "start");
	if (v_get_str(spec, "serviceName").n)
		check_name(v, FIELD(SPEC, "serviceName"), v_get_str(spec, "serviceName"),
			   names_label);
	if (v_is_null(selector))
		bad_required(v, FIELD(SPEC, "selector"), NULL);
	else if (is_valid_selector(v, FIELD(SPEC, "selector"), selector) &&
		 is_empty_selector(selector))
		bad_invalid(v, FIELD(SPEC, "selector"), selector,
			    "empty selector is invalid for statefulset");
	if (v_is_null(selector) || !is_empty_selector(selector))
		check_selects_template(v, selector, template);
	check_template(v, FIELD(SPEC, "template"), template);
	if (!is_str(pod, "restartPolicy", "Always"))
		bad_supported(v, FIELD(FIELD(FIELD(SPEC, "template"), "spec"), "restartPolicy"),
			      v_get(pod, "restartPolicy"), LIST("Always"));
	if (old)
		check_set_update(v, obj, old);
}

void validate_controller_revision(struct validation *v, const value *obj, const value *old,
				  struct str sub)
{
	check_not_negative(v, NULL, obj, "revision");
	if (v_is_null(v_get(obj, "data")))
		bad_required(v, FIELD(NULL, "data"), "data is mandatory");
	if (old)
		check_immutable(v, FIELD(NULL, "data"), v_get(obj, "data"), v_get(old, "data"));
}

/* --- Jobs ------------------------------------------------------------------ */

static void check_job_spec(struct validation *v, const struct at *at, const value *spec)
{
	static const char *const numbers[] = {"parallelism",
					      "completions",
					      "activeDeadlineSeconds",
					      "backoffLimit",
					      "ttlSecondsAfterFinished",
					      "backoffLimitPerIndex",
					      "maxFailedIndexes"};
	const value *pod = v_path(spec, "template.spec");
	const struct at *policy = FIELD(FIELD(FIELD(at, "template"), "spec"), "restartPolicy");

	for (size_t i = 0; i < countof(numbers); i++)
		check_not_negative(v, at, spec, numbers[i]);
	check_one_of(v, at, spec, "completionMode", LIST("NonIndexed", "Indexed"));
	if (is_str(spec, "completionMode", "Indexed") && v_is_null(v_get(spec, "completions")))
		bad_required(v, FIELD(at, "completions"), "when completion mode is Indexed");
	check_one_of(v, at, spec, "podReplacementPolicy", LIST("Failed", "TerminatingOrFailed"));
	check_template(v, FIELD(at, "template"), v_get(spec, "template"));
	if (is_str(pod, "restartPolicy", "Always"))
		bad_required(v, policy, "valid values: \"OnFailure\", \"Never\"");
}

static void check_job_update(struct validation *v, const value *obj, const value *old)
{
	const value *now = v_get(obj, "spec"), *was = v_get(old, "spec");
	bool suspended =
		v_get_bool(was, "suspend", false) && v_is_null(v_path(old, "status.startTime"));
	static const char *const fixed[] = {"completionMode", "podFailurePolicy",
					    "backoffLimitPerIndex", "managedBy", "successPolicy"};

	if (!is_str(now, "completionMode", "Indexed") ||
	    !is_same(v_get(now, "completions"), v_get(now, "parallelism")))
		check_immutable(v, FIELD(SPEC, "completions"), v_get(now, "completions"),
				v_get(was, "completions"));
	check_immutable(v, FIELD(SPEC, "selector"), v_get(now, "selector"), v_get(was, "selector"));
	if (!suspended)
		check_immutable(v, FIELD(SPEC, "template"), v_get(now, "template"),
				v_get(was, "template"));
	for (size_t i = 0; i < countof(fixed); i++)
		check_immutable(v, FIELD(SPEC, fixed[i]), v_get(now, fixed[i]),
				v_get(was, fixed[i]));
}

void validate_job(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *selector = v_get(spec, "selector");

	if (str_eq(sub, STR("status")))
		return;
	if (v_is_null(selector))
		bad_required(v, FIELD(SPEC, "selector"), NULL);
	else
		check_selector(v, FIELD(SPEC, "selector"), selector);
	if (!old && !v_get_bool(spec, "manualSelector", false) && v_is_map(selector) &&
	    v_len(v_get(selector, "matchLabels")) != 1)
		bad_invalid(v, FIELD(SPEC, "selector"), selector, "`selector` not auto-generated");
	check_selects_template(v, selector, v_get(spec, "template"));
	check_job_spec(v, SPEC, spec);
	if (old)
		check_job_update(v, obj, old);
}

static bool is_schedule_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && strchr("*/,-?@ #", c));
}

/* Five fields, or a name such as "@daily". */
static void check_schedule(struct validation *v, const value *spec)
{
	struct str s = v_get_str(spec, "schedule");
	const struct at *at = FIELD(SPEC, "schedule");
	uint32_t fields = 0;
	bool good = true;

	if (!s.n) {
		bad_required(v, at, NULL);
		return;
	}
	for (uint32_t i = 0; i < s.n; i++) {
		fields += s.p[i] != ' ' && (i == 0 || s.p[i - 1] == ' ');
		good &= is_schedule_char(s.p[i]);
	}
	if (s.p[0] == '@')
		return;
	if (has_prefix(s, "TZ=") || has_prefix(s, "CRON_TZ="))
		bad_invalid(v, at, SHOW(s),
			    "cannot use TZ or CRON_TZ in schedule, use timeZone field "
			    "instead");
	else if (fields != 5)
		bad_invalid(v, at, SHOW(s), "expected exactly 5 fields, found %u: [" STR_FMT "]",
			    fields, STR_ARG(s));
	else if (!good)
		bad_invalid(v, at, SHOW(s), "failed to parse: " STR_FMT, STR_ARG(s));
}

#define ZONES "/usr/share/zoneinfo"

/* A name of the system's list of zones; without that list, any may be right. */
static void check_time_zone(struct validation *v, const value *spec)
{
	struct str name = v_get_str(spec, "timeZone");
	const struct at *at = FIELD(SPEC, "timeZone");

	if (v_is_null(v_get(spec, "timeZone")) || access(ZONES, R_OK))
		return;
	if (!name.n)
		bad_invalid(v, at, SHOW(name), "timeZone must be nil or non-empty string");
	else if (str_eq(name, STR("Local")))
		bad_invalid(v, at, SHOW(name),
			    "timeZone must be an explicit time zone as defined in "
			    "https://www.iana.org/time-zones");
	else if (has_backstep(name) || name.p[0] == '/' ||
		 access(zone_printf(v->z, ZONES "/" STR_FMT, STR_ARG(name)).p, R_OK))
		bad_invalid(v, at, SHOW(name), "unknown time zone " STR_FMT, STR_ARG(name));
}

void validate_cronjob(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec");

	if (str_eq(sub, STR("status")))
		return;
	check_schedule(v, spec);
	check_time_zone(v, spec);
	check_not_negative(v, SPEC, spec, "startingDeadlineSeconds");
	check_one_of(v, SPEC, spec, "concurrencyPolicy", LIST("Allow", "Forbid", "Replace"));
	check_not_negative(v, SPEC, spec, "successfulJobsHistoryLimit");
	check_not_negative(v, SPEC, spec, "failedJobsHistoryLimit");
	check_job_spec(v, FIELD(FIELD(SPEC, "jobTemplate"), "spec"),
		       v_path(spec, "jobTemplate.spec"));
}
