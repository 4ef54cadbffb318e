/* follow.c - keeping up with the cache through the journal. */
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"

/* --- The journal -------------------------------------------------------------------- */

static bool on_its_way_out(const struct version *v)
{
	return v && v->deletion_s;
}

/* What a pod is for its node and for the counts by topology: nothing (v NULL or
 * not on a node), or so many. */
static void account_pod(struct scheduler *self, const struct entry *e, const struct version *v,
			int sign)
{
	struct node *node = nodes_of_slot(self, v->hot.node);
	struct kind *kind;

	if (!node->counted) /* look.c comes to it, and finds the pod as it is then */
		return;
	kind = kind_of(self, e, v);
	nodes_account(self, node, kind, sign);
	terms_note(self, kind, node, sign, on_its_way_out(v) ? 0 : sign);
}

/* A pod on its node begins to leave: all that changes is that it counts no more where pods
 * are to be spread. */
static void note_leaving(struct scheduler *self, const struct entry *e, const struct version *v)
{
	if (self->nactive)
		terms_note(self, kind_of(self, e, v), nodes_of_slot(self, v->hot.node), 0,
			   on_its_way_out(v) ? -1 : 1);
}

/* The pod, whose bind we have asked for, has a node: is that as we have it in our books?
 * Others may have sent it elsewhere. */
static bool is_as_assumed(struct scheduler *self, const struct version *v)
{
	int64_t at = refmap_take(&self->assumed, v->entry.u);
	const struct node *is;
	struct kind *kind;

	if (at < 0)
		return false;
	if (self->slot_of[at] == v->hot.node.u)
		return true;
	is = nodes_of_slot(self, v->hot.node); /* may move self->nodes */
	if (is == &self->nodes[at])
		return true;
	kind = kind_of(self, cache_entry(self->c, v->entry), v);
	nodes_account(self, &self->nodes[at], kind, -1);
	terms_note(self, kind, &self->nodes[at], -1, -1);
	return false;
}

static void follow_pod(struct scheduler *self, const struct version *v, const struct version *was)
{
	const struct entry *e = cache_entry(self->c, v->entry);
	bool before = pod_on_node(was), now = pod_on_node(v), same;

	if (v->flags & VERSION_TOMBSTONE || v->deletion_s)
		refmap_take(&self->victims, v->entry.u);
	if (!before && now && is_as_assumed(self, v))
		return;
	same = before && now && v->part[PART_LABELS] == was->part[PART_LABELS] &&
	       v->part[PART_SPEC] == was->part[PART_SPEC];
	if (!before && !now)
		return;
	if (same) {
		if (on_its_way_out(v) != on_its_way_out(was))
			note_leaving(self, e, v);
		return;
	}
	if (before)
		account_pod(self, e, was, -1);
	if (now)
		account_pod(self, e, v, 1);
	self->moved[MOVE_GONE] += before;
	self->moved[MOVE_COME] += now;
}

/* Our own note that a pod is unschedulable is no news. */
static bool is_news(const struct scheduler *self, const struct version *v)
{
	return (v->flags & VERSION_FIRST) || v->writer_kind != PROC_SCHEDULER ||
	       CAUSE_SLOT(v->cause) != proc_slot(self->proc);
}

/* That a pod runs, says its node of what we have in our books already: a third of all records,
 * and neither the pod nor what it was before is touched.  A node process writes statuses
 * alone; a Node has no HOT_SCHEDULED. */
static bool is_running_as_bound(const struct version *v)
{
	return v->writer_kind == PROC_NODE && v->hot.flags & HOT_SCHEDULED &&
	       v->hot.phase == POD_RUNNING && !v->deletion_s && !(v->flags & VERSION_TOMBSTONE);
}

/* A bind that we have asked for, or another note of ours about a pod with a node. */
static bool is_our_bind(const struct scheduler *self, const struct version *v)
{
	return v->writer_kind == PROC_SCHEDULER && v->hot.node.u && !v->deletion_s &&
	       !(v->flags & VERSION_TOMBSTONE) && CAUSE_SLOT(v->cause) == proc_slot(self->proc);
}

static void follow_one(struct scheduler *self, const struct version *v)
{
	const struct entry *e = cache_entry(self->c, v->entry);
	uint32_t prev = prcu_dereference(&v->prev);

	if (is_running_as_bound(v) || (is_our_bind(self, v) && is_as_assumed(self, v)))
		return;
	if (e->type == TYPE_NODE)
		nodes_look(self, e);
	if (e->type != TYPE_POD)
		return;
	follow_pod(self, v, prev ? cache_version(self->c, (version_ref){prev}) : NULL);
	if (!v->hot.node.u && is_news(self, v))
		queue_pod(self, e);
}

/* The node that is to be reckoned with when the pod goes. */
static void fetch_node(const struct scheduler *self, const struct version *v)
{
	int64_t node =
		v->flags & VERSION_TOMBSTONE ? refmap_get(&self->by_slot, v->hot.node.u) : -1;

	if (node >= 0)
		nodes_prefetch(self, (uint32_t)node);
}

/* What follow_one() will need: the versions, then what they lead to. */
static void fetch_ahead(const struct scheduler *self, const struct version *const *some, int n)
{
	n = n < (int)CACHE_TOGETHER ? n : (int)CACHE_TOGETHER;
	for (int i = 0; i < n; i++) {
		prefetch(some[i]);
		prefetch((const char *)some[i] + CACHE_LINE);
	}
	for (int i = 0; i < n; i++) {
		if (is_running_as_bound(some[i]))
			continue;
		refmap_prefetch(&self->assumed, some[i]->entry.u);
		if (is_our_bind(self, some[i]))
			continue;
		prefetch(&cache_entry(self->c, some[i]->entry)->type);
		prefetch(cache_entry(self->c, some[i]->entry));
		prefetch(cache_version(self->c, (version_ref){prcu_dereference(&some[i]->prev)}));
		refmap_prefetch(&self->by_slot, some[i]->hot.node.u);
	}
	for (int i = 0; i < n; i++)
		fetch_node(self, some[i]);
}

/* The next of the journal; false when there is no more. */
static bool follow_some(struct scheduler *self)
{
	const struct version *some[256];
	int n;

	cache_lock(self->c);
	n = cache_journal(self->c, self->journal_rv, some, (int)countof(some));
	for (int i = 0; i < n; i++) {
		if (i % CACHE_TOGETHER == 0)
			fetch_ahead(self, some + i, n - i);
		follow_one(self, some[i]);
	}
	if (n > 0)
		self->journal_rv = some[n - 1]->rv;
	cache_unlock(self->c);
	zone_reset(self->z);
	self->behind = self->behind || n < 0;
	return n > 0;
}

void follow(struct scheduler *self)
{
	while (follow_some(self))
		;
	proc_follow(self->proc, self->journal_rv);
}
