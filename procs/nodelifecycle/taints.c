/* taints.c - taints that follow from a node's conditions. */
#include "procs/nodelifecycle/nodelifecycle.h"

/* A taint with effect NoSchedule while a condition has a status.  Those of Ready also come
 * with NoExecute, but not at once: zones.c. */
static const struct {
	const char *condition, *status, *key;
	bool evicts;
} rules[] = {
	{"Ready", "False", TAINT_NOT_READY, true},
	{"Ready", "Unknown", TAINT_UNREACHABLE, true},
	{"MemoryPressure", "True", "node.kubernetes.io/memory-pressure", false},
	{"DiskPressure", "True", "node.kubernetes.io/disk-pressure", false},
	{"PIDPressure", "True", "node.kubernetes.io/pid-pressure", false},
	{"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", false},
};

#define UNSCHEDULABLE "node.kubernetes.io/unschedulable"

static int64_t find(const value *taints, const char *key, const char *effect)
{
	for (uint32_t i = 0; i < v_len(taints); i++)
		if (str_is(v_get_str(v_at(taints, i), "key"), key) &&
		    str_is(v_get_str(v_at(taints, i), "effect"), effect))
			return i;
	return -1;
}

static void want(struct look *l, const char *key, const char *effect, bool there)
{
	int64_t at = find(v_get(&l->spec, "taints"), key, effect);

	if (there == (at >= 0))
		return;
	l->spec_changed = true;
	if (there) {
		taint_add(l->ctl, &l->spec, key, effect);
		return;
	}
	v_remove(v_get(&l->spec, "taints"), (uint32_t)at);
	if (!v_len(v_get(&l->spec, "taints")))
		v_del(&l->spec, "taints");
}

static bool evicts_already(struct look *l)
{
	for (size_t i = 0; i < countof(rules); i++)
		if (rules[i].evicts &&
		    find(v_get(&l->spec, "taints"), rules[i].key, "NoExecute") >= 0)
			return true;
	return false;
}

void taint_add(struct controller *ctl, value *spec, const char *key, const char *effect)
{
	zone *z = ctl_zone(ctl);
	value taint = v_map();
	char now[21];

	time_format(ctl_now_s(ctl), now);
	v_set(z, &taint, "effect", v_cstr(effect));
	v_set(z, &taint, "key", v_cstr(key));
	v_set(z, &taint, "timeAdded", v_str(zone_str(z, str_of(now))));
	v_append(z, v_array_at(z, spec, "taints"), taint);
}

/* A node that has one of the taints that evict keeps one, the one that is right, while it
 * is not ready; whether it gets one is for its zone to say. */
void taints_update(struct look *l)
{
	bool evicts = evicts_already(l) && !zones_all_lost(l->ctl);

	for (size_t i = 0; i < countof(rules); i++) {
		const value *condition =
			kube_condition(v_get(&l->status, "conditions"), rules[i].condition);
		bool holds = condition && str_is(v_get_str(condition, "status"), rules[i].status);

		want(l, rules[i].key, "NoSchedule", holds);
		if (rules[i].evicts)
			want(l, rules[i].key, "NoExecute", holds && evicts);
	}
	want(l, UNSCHEDULABLE, "NoSchedule", v_get_bool(&l->spec, "unschedulable", false));
}
