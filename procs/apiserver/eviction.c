/*
 * eviction.c - deleting a pod if its disruption budget allows it: the budget is
 * written, then the pod's status, which says why it goes, and then it goes.
 */
#include <stdlib.h>
#include "procs/apiserver/binding.h"
#include "procs/apiserver/body.h"
#include "procs/apiserver/delete.h"
#include "procs/apiserver/item.h"
#include "procs/apiserver/verbs.h"

#define ANEW_NS INT64_C(10000000000) /* so long an eviction is begun anew */

struct eviction {
	const value *options; /* deleteOptions of the body */
	bool dry_run;
	bool pending;	  /* the pod has not run yet, so no budget was asked */
	int64_t until_ns; /* monotonic: until then it is begun anew when the pod has changed */
	struct delete_options o;
	struct change budget;
};

static enum outcome begin(struct request *q, struct eviction *ev);

/* --- Budgets ------------------------------------------------------------------------ */

/* Names of the budgets that cover the pod: how many, and the first. */
static uint32_t find_budgets(struct request *q, const value *labels, struct str *name)
{
	const struct kube_resource *r = kube_by_type(TYPE_PODDISRUPTIONBUDGET);
	struct cache *c = api_cache(q->api);
	struct cache_iter it;
	const struct entry *e;
	uint32_t n = 0;

	cache_lock(c);
	cache_iter_init(&it, c, TYPE_PODDISRUPTIONBUDGET, q->t.ns, STR(""), (struct str){NULL, 0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(c, e);
		struct kube_selector *s = NULL;
		struct str why;
		value obj;

		if (!v)
			continue;
		obj = kube_object(q->z, c, r, e, v, true);
		if (kube_selector_from(q->z, v_path(&obj, "spec.selector"), &s, &why) || !s ||
		    !kube_selector_match_value(s, labels))
			continue;
		if (!n++)
			*name = zone_str(q->z, entry_name(e));
	}
	cache_unlock(c);
	return n;
}

static enum outcome answer_too_many(struct request *q, struct str budget, const value *pdb)
{
	zone *z = q->z;
	value status = kube_status(z, 429, "TooManyRequests",
				   STR("Cannot evict pod as it would violate the pod's disruption "
				       "budget."));
	value *details = v_map_at(z, &status, "details"), cause = v_map();

	v_set(z, &cause, "reason", v_cstr("DisruptionBudget"));
	v_set(z, &cause, "message",
	      v_str(zone_printf(z,
				"The disruption budget " STR_FMT
				" needs %lld healthy pods and has %lld currently",
				STR_ARG(budget),
				(long long)v_as_int(v_path(pdb, "status.desiredHealthy"), 0),
				(long long)v_as_int(v_path(pdb, "status.currentHealthy"), 0))));
	v_append(z, v_array_at(z, details, "causes"), cause);
	return answer_status(q, status);
}

/* One disruption fewer is allowed now, and the pod is noted. */
static int make_disruption(struct request *q, void *arg, value *old, value *obj)
{
	struct eviction *ev = arg;
	value *status = v_map_at(q->z, old, "status");
	int64_t allowed = v_get_int(status, "disruptionsAllowed", 0);
	char now[21];

	if (allowed <= 0 || v_get_int(status, "observedGeneration", 0) <
				    v_as_int(v_path(old, "metadata.generation"), 0)) {
		answer_too_many(q, ev->budget.name, old);
		return WEFT_EINVAL;
	}
	v_set(q->z, status, "disruptionsAllowed", v_int(allowed - 1));
	time_format(clock_wall_s(), now);
	v_setn(q->z, v_map_at(q->z, v_map_at(q->z, old, "status"), "disruptedPods"), q->t.name,
	       v_str(zone_str(q->z, str_of(now))));
	*obj = *old;
	return WEFT_OK;
}

/* --- The pod ------------------------------------------------------------------------ */

/* Pods that do not run may go without asking a budget. */
static bool runs(const value *pod)
{
	struct str phase = v_as_str(v_path(pod, "status.phase"));

	return !str_eq(phase, STR("Succeeded")) && !str_eq(phase, STR("Failed")) &&
	       !str_eq(phase, STR("Pending")) && !v_path(pod, "metadata.deletionTimestamp");
}

/* It has changed, and may run by now. */
static enum outcome begin_anew(struct request *q, struct eviction *ev)
{
	if (clock_mono_ns() < ev->until_ns)
		return begin(q, ev);
	return answer_store_error(q, WEFT_ECONFLICT, q->t.name, STR(""));
}

static enum outcome on_deleted(struct request *q, const struct msg_reply *reply)
{
	struct eviction *ev = q->next_step;

	if (reply->status == WEFT_ECONFLICT && ev->pending && !ev->o.has_rv)
		return begin_anew(q, ev);
	if (reply->status)
		return answer_store_error(q, reply->status, q->t.name, reply->message);
	return answer_success(q, 201);
}

/* Do the preconditions that say something hold? */
static bool may_mark(struct request *q, const struct eviction *ev, const value *pod)
{
	struct str rv = v_as_str(v_path(pod, "metadata.resourceVersion"));
	struct delete_options o = ev->o;
	uint8_t uid[16];

	o.has_rv &= o.rv_text.n > 0;
	o.has_uid &= o.uid_text.n > 0;
	weft_assert(uid_parse(v_as_str(v_path(pod, "metadata.uid")), uid));
	return delete_allowed(q, &o, uid, strtoull(zone_text(q->z, rv).p, NULL, 10));
}

/* Not of one that has begun to run: its budget is asked first. */
static int make_mark(struct request *q, void *arg, value *old, value *obj)
{
	struct eviction *ev = arg;

	if (!may_mark(q, ev, old))
		return WEFT_EINVAL;
	if (!ev->pending || !runs(old))
		kube_disruption_set(q->z, v_map_at(q->z, old, "status"), "EvictionByEvictionAPI",
				    "Eviction API: evicting", clock_wall_s(), 0);
	*obj = *old;
	return WEFT_OK;
}

/* It is marked, and a version that the client named is that one now. */
static enum outcome then_delete(struct request *q, uint32_t entry, uint64_t rv, value *made)
{
	struct eviction *ev = q->next_step;
	value pod;

	if (ev->pending && item_read(q, entry, rv, &pod) && runs(&pod))
		return begin_anew(q, ev);
	ev->o.at = ev->pending ? rv : 0;
	if (ev->o.has_rv)
		ev->o.rv_text = zone_printf(q->z, "%llu", (unsigned long long)rv);
	return delete_object(q, &ev->o);
}

static enum outcome end_pod(struct request *q, struct eviction *ev)
{
	struct change *mark = zone_alloc(q->z, sizeof(*mark));

	if (delete_options_from(q, ev->options, &ev->o))
		return ANSWERED;
	ev->o.dry_run = ev->dry_run;
	ev->o.answer = on_deleted;
	if (ev->dry_run)
		return delete_object(q, &ev->o);
	*mark = (struct change){.r = q->t.r,
				.ns = q->t.ns,
				.name = q->t.name,
				.sub = STR("status"),
				.make = make_mark,
				.arg = ev,
				.answer = then_delete};
	return write_change(q, mark);
}

/* The budget has been written. */
static enum outcome then_end_pod(struct request *q, uint32_t entry, uint64_t rv, value *made)
{
	return end_pod(q, q->next_step);
}

/* --- The request -------------------------------------------------------------------- */

/* The pod as it is now; also when it has changed meanwhile. */
static enum outcome begin(struct request *q, struct eviction *ev)
{
	struct str budget = STR("");
	uint32_t budgets = 0;
	value pod;

	if (!item_read(q, 0, 0, &pod))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	ev->pending = str_eq(v_as_str(v_path(&pod, "status.phase")), STR("Pending"));
	if (runs(&pod))
		budgets = find_budgets(q, v_path(&pod, "metadata.labels"), &budget);
	if (budgets > 1)
		return answer_status(
			q,
			kube_status(q->z, 500, "",
				    STR("This pod has more than one PodDisruptionBudget, which the "
					"eviction subresource does not support.")));
	if (!budgets)
		return end_pod(q, ev);
	ev->budget = (struct change){.r = kube_by_type(TYPE_PODDISRUPTIONBUDGET),
				     .ns = q->t.ns,
				     .name = budget,
				     .sub = STR("status"),
				     .make = make_disruption,
				     .arg = ev,
				     .answer = then_end_pod,
				     .dry_run = ev->dry_run};
	return write_change(q, &ev->budget);
}

enum outcome eviction_create(struct request *q)
{
	struct eviction *ev = zone_alloc(q->z, sizeof(*ev));
	value body;

	*ev = (struct eviction){.until_ns = clock_mono_ns() + ANEW_NS};
	q->next_step = ev;
	if (negotiate(q, false, false) || body_typed(q, "policy/v1", "Eviction", &body) ||
	    dry_run_parse(q, &ev->dry_run))
		return ANSWERED;
	if (!str_eq(v_as_str(v_path(&body, "metadata.name")), q->t.name))
		return answer_bad_request(
			q, STR("name in URL does not match name in Eviction object"));
	ev->options = v_get(&body, "deleteOptions");
	ev->dry_run |= v_len(v_get(ev->options, "dryRun")) > 0;
	return begin(q, ev);
}
