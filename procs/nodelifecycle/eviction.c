/* eviction.c - pods leave nodes that are tainted NoExecute, or do not exist. */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/write.h"
#include "procs/nodelifecycle/nodelifecycle.h"

#define QUARANTINE_NS INT64_C(40000000000) /* before pods of a node that is not there go, */
#define COLLECT_NS    INT64_C(20000000000) /* and again, if they are still there */

/* --- Tolerations -------------------------------------------------------------------- */

/* Seconds that a pod tolerates a taint: -1 for ever, 0 not at all; of several
 * tolerations the shortest. */
static int64_t tolerated_s(const value *spec, const value *taint)
{
	int64_t shortest = -1;
	bool any = false;

	v_each(t, v_get(spec, "tolerations")) {
		int64_t s;

		if (!kube_tolerates(t, taint))
			continue;
		any = true;
		s = v_get_int(t, "tolerationSeconds", -1);
		if (v_get(t, "tolerationSeconds") && s < 0)
			s = 0;
		if (s >= 0 && (shortest < 0 || s < shortest))
			shortest = s;
	}
	return any ? shortest : 0;
}

static int64_t taint_time_s(const value *taint, int64_t otherwise)
{
	int64_t ns;

	return time_parse(v_get_str(taint, "timeAdded"), &ns) == 0 ? ns / 1000000000 : otherwise;
}

/* When (wall seconds) a pod has to leave: INT64_MAX never. */
static int64_t leaves_at(struct look *l, const value *spec)
{
	int64_t soonest = INT64_MAX, now = ctl_now_s(l->ctl);

	v_each(taint, v_get(&l->spec, "taints")) {
		int64_t s, at;

		if (!str_eq(v_get_str(taint, "effect"), STR("NoExecute")))
			continue;
		s = tolerated_s(spec, taint);
		if (s < 0)
			continue;
		at = s ? taint_time_s(taint, now) + s : now;
		if (at < soonest)
			soonest = at;
	}
	return soonest;
}

/* --- Requests ----------------------------------------------------------------------- */

static void set_disruption(struct controller *ctl, value *status, const struct version *v,
			   const char *reason, const char *message)
{
	zone *z = ctl_zone(ctl);
	value *conditions = v_array_at(z, status, "conditions");

	kube_condition_set(z, conditions, "DisruptionTarget", "True", reason, str_of(message),
			   ctl_now_s(ctl), false);
	v_set(z, kube_condition(conditions, "DisruptionTarget"), "observedGeneration",
	      v_uint(v->generation));
}

/* --- Eviction from tainted nodes ---------------------------------------------------- */

static void evict(struct look *l, const struct entry *pod, const struct version *v)
{
	static const struct event_source source = {.component = "taint-eviction-controller"};
	value status = kube_part(l->z, l->c, pod, v, PART_STATUS);

	set_disruption(l->ctl, &status, v, "DeletionByTaintManager",
		       "Taint manager: deleting due to NoExecute taint");
	proc_event(ctl_proc(l->ctl), pod, &source, "Normal", "TaintManagerEviction",
		   zone_printf(l->z, "Marking for deletion Pod " STR_FMT "/%s",
			       STR_ARG(cache_ns(l->c, pod)), pod->name));
	if (ctl_write(l->ctl, pod, NULL, &(struct parts){.status = &status}) == 0)
		ctl_remove(l->ctl, pod, NULL, PROPAGATION_DEFAULT, -1);
}

static bool has_no_execute(const value *taints)
{
	v_each(taint, taints)
		if (str_eq(v_get_str(taint, "effect"), STR("NoExecute")))
			return true;
	return false;
}

void eviction_run(struct look *l)
{
	const struct nodeslot *slot = cache_node(l->c, entry_name(l->e));
	int64_t now = ctl_now_s(l->ctl), soonest = INT64_MAX;

	if (!slot || !has_no_execute(v_get(&l->spec, "taints")))
		return;
	for (const struct entry *pod = cache_first_on_node(l->c, slot); pod;
	     pod = cache_next_on_node(l->c, pod)) {
		const struct version *v = cache_live(l->c, pod);
		value spec;
		int64_t at;

		if (!v || v->deletion_s)
			continue;
		spec = kube_part(l->z, l->c, pod, v, PART_SPEC);
		at = leaves_at(l, &spec);
		if (at <= now)
			evict(l, pod, v);
		else if (at < soonest)
			soonest = at;
	}
	if (soonest != INT64_MAX)
		ctl_after(l->ctl, (uint64_t)(soonest - now) * 1000);
}

/* --- Pods of nodes that do not exist ------------------------------------------------ */

void eviction_note_lost(struct controller *ctl, const struct entry *pod, int64_t now_ns)
{
	struct nodelifecycle *self = ctl_state(ctl);

	if (self->nlost == self->lost_cap) {
		self->lost_cap = self->lost_cap ? self->lost_cap * 2 : 64;
		self->lost = realloc(self->lost, self->lost_cap * sizeof(*self->lost));
		weft_assert(self->lost);
	}
	self->lost[self->nlost++] = (struct lost_pod){cache_entry_ref(ctl_cache(ctl), pod).u,
						      pod->created_rv, now_ns + QUARANTINE_NS};
}

void eviction_node_gone(struct controller *ctl, const struct entry *node)
{
	const struct cache *c = ctl_cache(ctl);
	const struct nodeslot *slot = cache_node(c, entry_name(node));

	for (const struct entry *pod = slot ? cache_first_on_node(c, slot) : NULL; pod;
	     pod = cache_next_on_node(c, pod))
		if (cache_live(c, pod))
			eviction_note_lost(ctl, pod, clock_mono_ns());
}

/* The pod, if it is still there and its node still is not. */
static const struct entry *still_lost(struct controller *ctl, const struct lost_pod *p,
				      const struct version **v)
{
	const struct cache *c = ctl_cache(ctl);
	const struct entry *e;

	if (cache_entry_checked(c, p->entry, &e) || e->type != TYPE_POD ||
	    e->created_rv != p->created_rv)
		return NULL;
	*v = cache_live(c, e);
	if (!*v || !(*v)->hot.node.u || prcu_dereference(&cache_nodeslot(c, (*v)->hot.node)->node))
		return NULL;
	return e;
}

static void collect(struct controller *ctl, const struct entry *e, const struct version *v)
{
	value status = kube_part(ctl_zone(ctl), ctl_cache(ctl), e, v, PART_STATUS);

	if (v->hot.phase != POD_SUCCEEDED && v->hot.phase != POD_FAILED) {
		set_disruption(ctl, &status, v, "DeletionByPodGC", "PodGC: node no longer exists");
		v_set(ctl_zone(ctl), &status, "phase", v_cstr("Failed"));
		if (ctl_write(ctl, e, NULL, &(struct parts){.status = &status}))
			return;
	}
	ctl_remove(ctl, e, NULL, PROPAGATION_DEFAULT, 0);
}

int64_t eviction_turn(struct controller *ctl, int64_t now_ns)
{
	struct nodelifecycle *self = ctl_state(ctl);
	int64_t soonest = 0;

	for (uint32_t i = 0; i < self->nlost;) {
		struct lost_pod *p = &self->lost[i];
		const struct version *v = NULL;
		const struct entry *e = still_lost(ctl, p, &v);

		if (!e) {
			*p = self->lost[--self->nlost];
			continue;
		}
		if (p->due_ns <= now_ns) {
			if (!proc_can_send(ctl_proc(ctl), 16384))
				return now_ns + 10000000;
			collect(ctl, e, v);
			p->due_ns = now_ns + COLLECT_NS;
		}
		if (!soonest || p->due_ns < soonest)
			soonest = p->due_ns;
		i++;
	}
	return soonest;
}
