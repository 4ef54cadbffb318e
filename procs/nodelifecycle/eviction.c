/* eviction.c - pods leave nodes that are tainted NoExecute; how a pod is made to go. */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/write.h"
#include "procs/nodelifecycle/nodelifecycle.h"

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

/* A request of end_pod(); lives until its answer. */
struct end_request {
	struct controller *ctl;
	const struct ending *how;
	uint32_t entry;
	uint64_t created_rv;
};

const struct entry *find_pod(const struct cache *c, uint32_t entry, uint64_t created_rv)
{
	const struct entry *e;

	if (cache_entry_checked(c, entry, &e) || e->type != TYPE_POD ||
	    e->created_rv != created_rv || !cache_live(c, e))
		return NULL;
	return e;
}

static void remove_marked(const struct end_request *sent, const struct entry *pod)
{
	const struct ending *how = sent->how;
	int rc = ctl_remove(sent->ctl, pod, NULL, PROPAGATION_DEFAULT, how->grace);

	if (!rc && how->tell)
		how->tell(sent->ctl, pod);
	if (rc && how->for_node)
		ctl_after(sent->ctl, RING_FULL_MS);
}

/* If its status was refused, whoever asked asks again: the node is reconciled anew, the
 * pod of none is collected anew. */
static void on_marked(void *arg, const struct msg_reply *reply)
{
	struct end_request *sent = arg;
	struct cache *c = ctl_cache(sent->ctl);
	const struct entry *pod;

	/* When the store is lost there may be no cache to look into. */
	if (!reply->status) {
		cache_lock(c);
		pod = find_pod(c, sent->entry, sent->created_rv);
		if (pod)
			remove_marked(sent, pod);
		cache_unlock(c);
	}
	free(sent);
}

int end_pod(struct controller *ctl, const struct entry *pod, const struct version *v,
	    const struct ending *how)
{
	zone *z = ctl_zone(ctl);
	value status = kube_part(z, ctl_cache(ctl), pod, v, PART_STATUS);
	struct end_request *sent = malloc(sizeof(*sent));
	int rc;

	weft_assert(sent);
	*sent = (struct end_request){ctl, how, cache_entry_ref(ctl_cache(ctl), pod).u,
				     pod->created_rv};
	kube_disruption_set(z, &status, how->reason, how->message, ctl_now_s(ctl), v->generation);
	if (how->phase)
		v_set(z, &status, "phase", v_cstr(how->phase));
	rc = ctl_write_then(ctl, pod, v, &(struct parts){.status = &status}, on_marked, sent);
	if (rc)
		free(sent);
	return rc;
}

/* --- Eviction from tainted nodes ---------------------------------------------------- */

static void tell_evicted(struct controller *ctl, const struct entry *pod)
{
	static const struct event_source source = {.component = "taint-eviction-controller"};

	proc_event(ctl_proc(ctl), pod, &source, "Normal", "TaintManagerEviction",
		   zone_printf(ctl_zone(ctl), "Marking for deletion Pod " STR_FMT "/%s",
			       STR_ARG(cache_ns(ctl_cache(ctl), pod)), pod->name));
}

static const struct ending by_taint = {
	.reason = "DeletionByTaintManager",
	.message = "Taint manager: deleting due to NoExecute taint",
	.grace = -1,
	.for_node = true,
	.tell = tell_evicted,
};

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
			end_pod(l->ctl, pod, v, &by_taint);
		else if (at < soonest)
			soonest = at;
	}
	if (soonest != INT64_MAX)
		ctl_after(l->ctl, (uint64_t)(soonest - now) * 1000);
}
