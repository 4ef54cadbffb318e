/* preempt.c - making room for a pod of higher priority. */
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"

#define VICTIMS_MAX 64u

struct victim {
	const struct entry *e;
	const struct version *v;
	struct kind *kind;
};

/* What a node would have to give up. */
struct offer {
	const struct node *node;
	struct victim victims[VICTIMS_MAX];
	uint32_t n;
	int64_t highest, sum; /* priorities of the victims */
};

static int lowest_first(const void *pa, const void *pb)
{
	const struct victim *a = pa, *b = pb;

	if (a->kind->priority != b->kind->priority)
		return a->kind->priority < b->kind->priority ? -1 : 1;
	return a->e->created_rv > b->e->created_rv ? -1 : 1;
}

static void collect(struct scheduler *self, const struct kind *kind, const struct node *node,
		    struct offer *o)
{
	const struct nodeslot *slot = cache_node(self->c, str_of(node->name));

	o->n = 0;
	for (const struct entry *e = slot ? cache_first_on_node(self->c, slot) : NULL;
	     e && o->n < VICTIMS_MAX; e = cache_next_on_node(self->c, e)) {
		const struct version *v = cache_live(self->c, e);
		struct kind *k;

		if (!pod_on_node(v) || v->deletion_s)
			continue;
		k = kind_of(self, e, v);
		if (k->priority < kind->priority)
			o->victims[o->n++] = (struct victim){e, v, k};
	}
	qsort(o->victims, o->n, sizeof(*o->victims), lowest_first);
}

/* Take victims away, lowest priority first, until the pod fits; true if it
 * does.  The node's account is as before afterwards. */
static bool fits_without(struct scheduler *self, struct kind *kind, struct node *node,
			 struct offer *o)
{
	uint32_t taken = 0;
	bool fits = false;

	while (taken < o->n && !fits) {
		nodes_account(self, node, o->victims[taken].kind, -1);
		terms_note(self, o->victims[taken++].kind, node, -1);
		fits = filter_fit(self, kind, node, NULL) && filter_terms(self, kind, node, NULL);
	}
	o->highest = INT64_MIN;
	o->sum = 0;
	for (uint32_t i = 0; i < taken; i++) {
		nodes_account(self, node, o->victims[i].kind, 1);
		terms_note(self, o->victims[i].kind, node, 1);
		o->sum += o->victims[i].kind->priority;
		if (o->victims[i].kind->priority > o->highest)
			o->highest = o->victims[i].kind->priority;
	}
	o->n = taken;
	return fits;
}

/* Lower highest priority, then lower sum, then fewer victims. */
static bool better(const struct offer *a, const struct offer *b)
{
	if (a->highest != b->highest)
		return a->highest < b->highest;
	if (a->sum != b->sum)
		return a->sum < b->sum;
	return a->n < b->n;
}

static void evict(struct scheduler *self, const struct entry *pod, const struct offer *o)
{
	struct event_source source = {.component = "default-scheduler"};
	uint32_t entries[VICTIMS_MAX];
	uint64_t rvs[VICTIMS_MAX];
	struct msg m = {.kind = MSG_delete_many};
	char uid[37];

	uid_format(pod->uid, uid);
	for (uint32_t i = 0; i < o->n; i++) {
		entries[i] = cache_entry_ref(self->c, o->victims[i].e).u;
		rvs[i] = o->victims[i].v->rv;
		proc_event(self->proc, o->victims[i].e, &source, "Normal", "Preempted",
			   zone_printf(self->z, "Preempted by pod %s on node %s", uid,
				       o->node->name));
	}
	m.delete_many = (struct msg_delete_many){
		.type = TYPE_POD,
		.grace = -1,
		.entries = {entries, o->n},
		.rvs = {rvs, o->n},
	};
	proc_send(self->proc, &m, NULL, NULL);
}

/* A pod that was promised a node waits while victims of lower priority are
 * still on their way out there. */
static bool still_leaving(struct scheduler *self, const struct kind *kind, const struct entry *pod)
{
	const struct version *v = cache_live(self->c, pod);
	value status = kube_part(self->z, self->c, pod, v, PART_STATUS);
	struct str name = v_get_str(&status, "nominatedNodeName");
	const struct nodeslot *slot = name.n ? cache_node(self->c, name) : NULL;

	for (const struct entry *e = slot ? cache_first_on_node(self->c, slot) : NULL; e;
	     e = cache_next_on_node(self->c, e)) {
		const struct version *other = cache_live(self->c, e);

		if (pod_on_node(other) && other->deletion_s &&
		    kind_of(self, e, other)->priority < kind->priority)
			return true;
	}
	return false;
}

const struct node *preempt_for(struct scheduler *self, struct kind *kind, const struct entry *pod,
			       struct str *message)
{
	struct offer *best = NULL, *o = zone_alloc(self->z, 2 * sizeof(*o));

	*message = (struct str){0};
	if (still_leaving(self, kind, pod)) {
		*message = STR("not eligible due to a terminating pod on the nominated node.");
		return NULL;
	}
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct node *node = &self->nodes[i];
		struct offer *now = best == &o[0] ? &o[1] : &o[0];
		struct reasons why = {.n = 0};

		if (!node->present || !filter_static(self, kind, node, &why))
			continue;
		now->node = node;
		collect(self, kind, node, now);
		if (!now->n || !fits_without(self, kind, node, now))
			continue;
		if (!best || better(now, best))
			best = now;
	}
	if (!best)
		return NULL;
	evict(self, pod, best);
	return best->node;
}
