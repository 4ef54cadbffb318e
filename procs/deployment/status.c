/* status.c - a Deployment's status and conditions. */
#include "procs/deployment/deployment.h"

static int64_t count(const value *status, const char *key)
{
	return v_get_int(status, key, 0);
}

const char *status_reason(const value *status, const char *type)
{
	const value *condition = kube_condition(v_get(status, "conditions"), type);
	static char reason[64];
	struct str text = v_get_str(condition, "reason");

	snprintf(reason, sizeof(reason), STR_FMT, STR_ARG(text));
	return condition ? reason : "";
}

static bool reason_is(const value *status, const char *type, const char *reason)
{
	return strcmp(status_reason(status, type), reason) == 0;
}

bool status_has_deadline(struct deployment *d)
{
	return v_get_int(&d->spec, "progressDeadlineSeconds", INT32_MAX) != INT32_MAX;
}

/* --- Conditions --------------------------------------------------------------------- */

static value make_condition(struct deployment *d, const char *type, const char *status,
			    const char *reason, struct str message, struct str transition)
{
	value condition = v_map();
	char now[21];
	struct str now_text;

	time_format(d->now_s, now);
	now_text = zone_str(d->z, str_of(now));
	v_set(d->z, &condition, "type", v_cstr(type));
	v_set(d->z, &condition, "status", v_cstr(status));
	v_set(d->z, &condition, "lastUpdateTime", v_str(now_text));
	v_set(d->z, &condition, "lastTransitionTime", v_str(transition.n ? transition : now_text));
	v_set(d->z, &condition, "reason", v_cstr(reason));
	v_set(d->z, &condition, "message", v_str(message));
	return condition;
}

/* Put a condition at the end of the list, in place of the one of its type. */
static void replace_condition(struct deployment *d, const char *type, value condition)
{
	value *conditions = v_array_at(d->z, &d->new_status, "conditions");

	kube_condition_del(conditions, type);
	v_append(d->z, conditions, condition);
}

void status_condition(struct deployment *d, const char *type, const char *status,
		      const char *reason, struct str message)
{
	value *old = kube_condition(v_get(&d->new_status, "conditions"), type);
	bool same_status = old && str_is(v_get_str(old, "status"), status);
	struct str transition = {0};

	if (same_status && str_is(v_get_str(old, "reason"), reason))
		return;
	if (same_status)
		transition = v_get_str(old, "lastTransitionTime");
	replace_condition(d, type, make_condition(d, type, status, reason, message, transition));
}

void status_paused_conditions(struct deployment *d)
{
	bool told = reason_is(&d->new_status, "Progressing", "DeploymentPaused");

	if (!status_has_deadline(d) ||
	    reason_is(&d->new_status, "Progressing", "ProgressDeadlineExceeded"))
		return;
	if (d->paused && !told)
		status_condition(d, "Progressing", "Unknown", "DeploymentPaused",
				 STR("Deployment is paused"));
	else if (!d->paused && told)
		status_condition(d, "Progressing", "Unknown", "DeploymentResumed",
				 STR("Deployment is resumed"));
}

/* --- Counters ----------------------------------------------------------------------- */

/* Counters that are 0 are left out, as Go's omitempty does. */
static void set_count(struct deployment *d, const char *key, int64_t n)
{
	if (n)
		v_set(d->z, &d->new_status, key, v_int(n));
	else
		v_del(&d->new_status, key);
}

void status_calculate(struct deployment *d)
{
	int64_t total = 0, actual = 0, ready = 0, available = 0, terminating = 0;

	each_rs(rs, d) {
		total += rs->replicas;
		actual += rs->actual;
		ready += rs->ready;
		available += rs->available;
		terminating += rs->terminating;
	}
	set_count(d, "observedGeneration", d->v->generation);
	set_count(d, "replicas", actual);
	set_count(d, "updatedReplicas", d->fresh && d->fresh->e ? d->fresh->actual : 0);
	set_count(d, "readyReplicas", ready);
	set_count(d, "availableReplicas", available);
	set_count(d, "unavailableReplicas", total > available ? total - available : 0);
	v_set(d->z, &d->new_status, "terminatingReplicas", v_int(terminating));
	if (available >= d->replicas - d->max_unavailable)
		status_condition(d, "Available", "True", "MinimumReplicasAvailable",
				 STR("Deployment has minimum availability."));
	else
		status_condition(d, "Available", "False", "MinimumReplicasUnavailable",
				 STR("Deployment does not have minimum availability."));
}

bool status_complete(struct deployment *d, const value *status)
{
	return count(status, "updatedReplicas") == d->replicas &&
	       count(status, "replicas") == d->replicas &&
	       count(status, "availableReplicas") == d->replicas &&
	       count(status, "observedGeneration") >= d->v->generation;
}

static bool is_progressing(struct deployment *d)
{
	const value *was = &d->status, *now = &d->new_status;

	return count(now, "updatedReplicas") > count(was, "updatedReplicas") ||
	       count(now, "replicas") - count(now, "updatedReplicas") <
		       count(was, "replicas") - count(was, "updatedReplicas") ||
	       count(now, "readyReplicas") > count(was, "readyReplicas") ||
	       count(now, "availableReplicas") > count(was, "availableReplicas");
}

/* --- Progress ----------------------------------------------------------------------- */

/* Seconds until the deadline of the Progressing condition; INT64_MAX if none
 * runs, 0 or less when it has passed. */
static int64_t deadline_left(struct deployment *d)
{
	const value *condition = kube_condition(v_get(&d->new_status, "conditions"), "Progressing");
	int64_t deadline = v_get_int(&d->spec, "progressDeadlineSeconds", INT32_MAX);
	int64_t updated_ns;

	if (!condition || !status_has_deadline(d) ||
	    time_parse(v_get_str(condition, "lastUpdateTime"), &updated_ns) != 0)
		return INT64_MAX;
	return updated_ns / 1000000000 + deadline - d->now_s;
}

static bool timed_out(struct deployment *d)
{
	if (!kube_condition(v_get(&d->new_status, "conditions"), "Progressing") ||
	    reason_is(&d->new_status, "Progressing", "NewReplicaSetAvailable"))
		return false;
	return reason_is(&d->new_status, "Progressing", "ProgressDeadlineExceeded") ||
	       deadline_left(d) < 0;
}

static struct str subject(struct deployment *d, const char *what)
{
	if (d->fresh && d->fresh->e)
		return zone_printf(d->z, "ReplicaSet \"%s\" %s", d->fresh->e->name, what);
	return zone_printf(d->z, "Deployment \"%s\" %s", d->e->name, what);
}

/* While a rollout goes on, each step renews lastUpdateTime, from which the
 * deadline runs. */
static void note_progress(struct deployment *d)
{
	value *old = kube_condition(v_get(&d->new_status, "conditions"), "Progressing");
	struct str transition = {0};

	if (old && str_eq(v_get_str(old, "status"), STR("True")))
		transition = v_get_str(old, "lastTransitionTime");
	replace_condition(d, "Progressing",
			  make_condition(d, "Progressing", "True", "ReplicaSetUpdated",
					 subject(d, "is progressing."), transition));
}

static void update_progress(struct deployment *d)
{
	bool done = count(&d->new_status, "replicas") == count(&d->new_status, "updatedReplicas") &&
		    reason_is(&d->new_status, "Progressing", "NewReplicaSetAvailable");

	if (!status_has_deadline(d)) {
		kube_condition_del(v_get(&d->new_status, "conditions"), "Progressing");
		return;
	}
	if (done)
		return;
	if (status_complete(d, &d->new_status))
		status_condition(d, "Progressing", "True", "NewReplicaSetAvailable",
				 subject(d, "has successfully progressed."));
	else if (is_progressing(d))
		note_progress(d);
	else if (timed_out(d))
		status_condition(d, "Progressing", "False", "ProgressDeadlineExceeded",
				 subject(d, "has timed out progressing."));
}

/* --- Failures ----------------------------------------------------------------------- */

/* The ReplicaFailure of the new ReplicaSet, or else of an old one. */
static const value *find_failure(struct deployment *d)
{
	const value *failure = NULL;

	if (d->fresh)
		failure = kube_condition(v_get(&d->fresh->status, "conditions"), "ReplicaFailure");
	each_old(rs, d)
		if (!failure)
			failure =
				kube_condition(v_get(&rs->status, "conditions"), "ReplicaFailure");
	return failure;
}

static void update_failure(struct deployment *d)
{
	const value *failure = find_failure(d);
	struct str reason;

	if (!failure) {
		kube_condition_del(v_get(&d->new_status, "conditions"), "ReplicaFailure");
		return;
	}
	reason = v_get_str(failure, "reason");
	status_condition(d, "ReplicaFailure",
			 zone_printf(d->z, STR_FMT, STR_ARG(v_get_str(failure, "status"))).p,
			 zone_printf(d->z, STR_FMT, STR_ARG(reason)).p,
			 v_get_str(failure, "message"));
}

/* Nothing happens to a stuck rollout, so nobody would look at it when its
 * deadline passes. */
static void ask_for_deadline(struct deployment *d)
{
	int64_t left = deadline_left(d);

	if (left == INT64_MAX || status_complete(d, &d->new_status) ||
	    reason_is(&d->new_status, "Progressing", "ProgressDeadlineExceeded") ||
	    reason_is(&d->new_status, "Progressing", "NewReplicaSetAvailable"))
		return;
	ctl_after(d->ctl, left < 0 ? 1000 : (uint64_t)(left + 1) * 1000);
}

void status_rollout(struct deployment *d)
{
	status_calculate(d);
	update_progress(d);
	update_failure(d);
	ask_for_deadline(d);
}
