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

/* --- Ending a pod ------------------------------------------------------------------- */

#define RING_FULL_MS 5 /* until what did not fit is asked for again */

/* How a pod is ended: what its status says first, and how much time it has. */
struct ending {
	const char *reason, *message, *phase; /* phase: NULL, as it is */
	int32_t grace;			      /* seconds; -1: its own */
	bool for_node;			      /* asked while its node is reconciled */
};

static const struct ending by_taint = {
	.reason = "DeletionByTaintManager",
	.message = "Taint manager: deleting due to NoExecute taint",
	.grace = -1,
	.for_node = true,
};
static const struct ending by_gc = {
	.reason = "DeletionByPodGC",
	.message = "PodGC: node no longer exists",
	.phase = "Failed",
};

/* A request of end_pod(); lives until its answer. */
struct ending_pod {
	struct controller *ctl;
	const struct ending *how;
	struct lost_pod pod;
};

/* The pod, if it is still there. */
static const struct entry *find_pod(const struct cache *c, const struct lost_pod *p)
{
	const struct entry *e;

	if (cache_entry_checked(c, p->entry, &e) || e->type != TYPE_POD ||
	    e->created_rv != p->created_rv || !cache_live(c, e))
		return NULL;
	return e;
}

static void remove_marked(const struct ending_pod *sent)
{
	struct cache *c = ctl_cache(sent->ctl);
	const struct entry *pod;

	cache_lock(c);
	pod = find_pod(c, &sent->pod);
	if (pod && ctl_remove(sent->ctl, pod, NULL, PROPAGATION_DEFAULT, sent->how->grace) &&
	    sent->how->for_node)
		ctl_after(sent->ctl, RING_FULL_MS);
	cache_unlock(c);
}

/* If it does not say why it goes, whoever asked asks again: the node is reconciled
 * anew, the pod of none is collected anew. */
static void on_marked(void *arg, const struct msg_reply *reply)
{
	struct ending_pod *sent = arg;

	if (!reply->status)
		remove_marked(sent);
	free(sent);
}

/* Its status as `v` has it, with the reason; then it is deleted.  What its node writes
 * meanwhile is not lost: the status is refused then. */
static int end_pod(struct controller *ctl, const struct entry *pod, const struct version *v,
		   const struct ending *how)
{
	zone *z = ctl_zone(ctl);
	value status = kube_part(z, ctl_cache(ctl), pod, v, PART_STATUS), *conditions;
	struct ending_pod *sent = malloc(sizeof(*sent));
	int rc;

	weft_assert(sent);
	if (!v_is_map(&status))
		status = v_map();
	*sent = (struct ending_pod){
		ctl,
		how,
		{.entry = cache_entry_ref(ctl_cache(ctl), pod).u, .created_rv = pod->created_rv}};
	conditions = v_array_at(z, &status, "conditions");
	kube_condition_set(z, conditions, "DisruptionTarget", "True", how->reason,
			   str_of(how->message), ctl_now_s(ctl), false);
	v_set(z, kube_condition(conditions, "DisruptionTarget"), "observedGeneration",
	      v_uint(v->generation));
	if (how->phase)
		v_set(z, &status, "phase", v_cstr(how->phase));
	rc = ctl_write_then(ctl, pod, v, &(struct parts){.status = &status}, on_marked, sent);
	if (rc)
		free(sent);
	return rc;
}

/* --- Eviction from tainted nodes ---------------------------------------------------- */

static void evict(struct look *l, const struct entry *pod, const struct version *v)
{
	static const struct event_source source = {.component = "taint-eviction-controller"};

	if (end_pod(l->ctl, pod, v, &by_taint))
		return;
	proc_event(ctl_proc(l->ctl), pod, &source, "Normal", "TaintManagerEviction",
		   zone_printf(l->z, "Marking for deletion Pod " STR_FMT "/%s",
			       STR_ARG(cache_ns(l->c, pod)), pod->name));
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
static const struct entry *still_lost(const struct cache *c, const struct lost_pod *p)
{
	const struct entry *e = find_pod(c, p);
	nodeslot_ref node = e ? cache_live(c, e)->hot.node : (nodeslot_ref){0};

	return node.u && !prcu_dereference(&cache_nodeslot(c, node)->node) ? e : NULL;
}

static void collect(struct controller *ctl, const struct entry *e)
{
	const struct version *v = cache_live(ctl_cache(ctl), e);

	if (v->hot.phase == POD_SUCCEEDED || v->hot.phase == POD_FAILED)
		ctl_remove(ctl, e, NULL, PROPAGATION_DEFAULT, by_gc.grace);
	else
		end_pod(ctl, e, v, &by_gc);
}

int64_t eviction_turn(struct controller *ctl, int64_t now_ns)
{
	struct nodelifecycle *self = ctl_state(ctl);
	int64_t soonest = 0;

	for (uint32_t i = 0; i < self->nlost;) {
		struct lost_pod *p = &self->lost[i];
		const struct entry *e = still_lost(ctl_cache(ctl), p);

		if (!e) {
			*p = self->lost[--self->nlost];
			continue;
		}
		if (p->due_ns <= now_ns) {
			if (!proc_can_send(ctl_proc(ctl), 16384))
				return now_ns + 10000000;
			collect(ctl, e);
			p->due_ns = now_ns + COLLECT_NS;
		}
		if (!soonest || p->due_ns < soonest)
			soonest = p->due_ns;
		i++;
	}
	return soonest;
}
