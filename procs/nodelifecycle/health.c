/* health.c - is a node alive? */
#include "procs/lib/write.h"
#include "procs/nodelifecycle/nodelifecycle.h"

#define LEASE_NS STR("kube-node-lease")

static const char *const watched[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};

/* What changes while a kubelet lives: its Lease, and the Node's status when
 * somebody else than we wrote it.  We go by when we saw them change, not by what
 * time they say: clocks may be wrong. */
static bool shows_life(struct look *l)
{
	const struct entry *lease = cache_find(l->c, TYPE_LEASE, LEASE_NS, entry_name(l->e));
	const struct version *v = lease ? cache_live(l->c, lease) : NULL;
	uint64_t rv = v ? v->rv : 0, status = cache_part_hash(l->c, l->v, PART_STATUS);
	bool alive = rv != l->state->lease_rv ||
		     (status != l->state->status_hash && l->v->writer_kind != PROC_NODELIFECYCLE);

	l->state->lease_rv = rv;
	l->state->status_hash = status;
	return alive;
}

static bool has_posted(struct look *l)
{
	return kube_condition(v_get(&l->status, "conditions"), "Ready") != NULL;
}

/* One that has never said whether it is ready has longer, from its creation on. */
static int64_t first_sign_ns(struct look *l, int64_t now)
{
	if (has_posted(l) || l->state->lease_rv)
		return now;
	return now - ((int64_t)ctl_now_s(l->ctl) - l->e->created_s) * 1000000000;
}

static bool is_stale(struct look *l)
{
	const value *nodes = v_get(proc_config(ctl_proc(l->ctl)), "nodes");
	int64_t grace_ms = has_posted(l) ? v_get_int(nodes, "grace", 50000)
					 : v_get_int(nodes, "startupGrace", 60000);
	int64_t now = clock_mono_ns(), back_ns;
	bool first = !l->state->renewed_ns;

	zones_awake(l->ctl, now);
	back_ns = zones_back_ns(l->ctl);
	if (shows_life(l) && !first)
		l->state->renewed_ns = now;
	else if (first)
		l->state->renewed_ns = first_sign_ns(l, now);
	/* What was missed when all were lost, or when we were away, was not their fault. */
	if (l->state->renewed_ns < back_ns)
		l->state->renewed_ns = back_ns;
	return now - l->state->renewed_ns > grace_ms * 1000000;
}

static void set_unknown(struct look *l)
{
	value *conditions = v_array_at(l->z, &l->status, "conditions");

	for (size_t i = 0; i < countof(watched); i++) {
		const value *old = kube_condition(conditions, watched[i]);
		value beat = old && v_get(old, "lastHeartbeatTime")
				     ? *v_get(old, "lastHeartbeatTime")
				     : v_null();
		bool posted = v_as_str(&beat).n > 0;

		if (old && str_eq(v_get_str(old, "status"), STR("Unknown")))
			continue;
		kube_condition_set(l->z, conditions, watched[i], "Unknown",
				   posted ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
				   posted ? STR("Kubelet stopped posting node status.")
					  : STR("Kubelet never posted node status."),
				   ctl_now_s(l->ctl), false);
		v_set(l->z, kube_condition(conditions, watched[i]), "lastHeartbeatTime", beat);
		l->status_changed = true;
	}
}

/* --- Pods of a node that is lost ---------------------------------------------------- */

static void mark_pod(struct look *l, const struct entry *pod, const struct version *v)
{
	value status = kube_part(l->z, l->c, pod, v, PART_STATUS);
	value *conditions = v_get(&status, "conditions");
	value *ready = kube_condition(conditions, "Ready");
	char now[21];

	if (!ready || !str_eq(v_get_str(ready, "status"), STR("True")))
		return;
	time_format(ctl_now_s(l->ctl), now);
	v_set(l->z, ready, "status", v_cstr("False"));
	v_set(l->z, ready, "lastTransitionTime", v_str(zone_str(l->z, str_of(now))));
	if (ctl_write(l->ctl, pod, v, &(struct parts){.status = &status}) == 0)
		ctl_event(l->ctl, pod, "Warning", "NodeNotReady", "Node is not ready");
}

static void mark_pods(struct look *l)
{
	const struct nodeslot *slot = cache_node(l->c, entry_name(l->e));

	for (const struct entry *pod = slot ? cache_first_on_node(l->c, slot) : NULL; pod;
	     pod = cache_next_on_node(l->c, pod)) {
		const struct version *v = cache_live(l->c, pod);

		if (v && v->hot.flags & HOT_READY)
			mark_pod(l, pod, v);
	}
}

static bool ready_is_not_true(const struct look *l)
{
	const value *ready = kube_condition(v_get(&l->status, "conditions"), "Ready");

	return ready && !str_eq(v_get_str(ready, "status"), STR("True"));
}

void health_check(struct look *l)
{
	bool stale = is_stale(l), was_ready = l->v->hot.flags & HOT_READY;

	if (stale)
		set_unknown(l);
	if (stale && was_ready)
		ctl_event(l->ctl, l->e, "Normal", "NodeNotReady",
			  "Node %s status is now: NodeNotReady", l->e->name);
	if (ready_is_not_true(l))
		mark_pods(l);
}
