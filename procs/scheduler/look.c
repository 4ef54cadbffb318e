/* look.c - looking at everything, when the scheduler starts or has lost the journal.
 *
 * Nodes are looked at first and at once.  The pods on a node are a consistent list at
 * journal_rv, so nodes are counted one after the other, and pods are placed on those
 * that are while others are not yet.  Pods that wait are found in the journal, which
 * has the newest, and then by a walk over all. */
#include "procs/scheduler/scheduler.h"

#define LANES 16u /* nodes whose lists are followed together */

struct look_limits look_limits = {.nodes = 100, .pods = 8192, .lanes = LANES, .rest = 1};

/* --- Beginning anew ----------------------------------------------------------------- */

static void forget_all(struct scheduler *self)
{
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct node *n = &self->nodes[i];

		n->used = (struct resources){0};
		n->score_cpu = n->score_memory = n->pods = 0;
		n->nports = 0;
		n->present = n->counted = false;
		self->slot_of[i] = 0;
	}
	for (uint32_t i = 0; i < KIND_BUCKETS; i++)
		for (struct kind *k = self->kinds[i]; k; k = k->next) {
			k->n = k->at = k->tell_at = 0;
			k->running = 0;
			k->terms_seen = k->feasible_seen = 0;
			k->own_counted = false;
			k->from_start = true;
			kind_drop_on_node(self, k);
		}
	refmap_clear(&self->assumed);
	refmap_clear(&self->victims);
	self->nnominated = 0;
	for (uint32_t i = 0; i < self->nactive; i++)
		self->active[i]->queued = false;
	self->nactive = 0;
	refmap_clear(&self->by_slot);
	self->npresent = self->count_at = self->ncounted = self->nshown = 0;
	self->external++;
	self->behind = self->forgot = false;
}

static void read_live(void *arg, const struct entry *e)
{
	struct scheduler *self = arg;

	if (cache_live(self->c, e))
		nodes_look(self, e);
	if (++self->looked % 64 == 0)
		zone_reset(self->z);
}

/* A pod that was created a moment ago, and may wait. */
static void queue_if_new(void *arg, const struct entry *e, const struct version *v)
{
	struct scheduler *self = arg;

	if (v->flags & VERSION_FIRST && e->type == TYPE_POD)
		queue_pod(self, e);
	if (++self->looked % 64 == 0)
		zone_reset(self->z);
}

/* At one resourceVersion.  If the journal's window passes it meanwhile, follow() says so, and
 * it is done again. */
void look_begin(struct scheduler *self)
{
	cache_lock(self->c);
	place_flush(self);
	cache_unlock(self->c);
	forget_all(self);
	self->journal_rv = cache_rv(self->c);
	proc_each(self->proc, TYPE_NODE, read_live, self);
	zone_reset(self->z);
	self->walk = (struct proc_walk){0};
	self->walking = true;
	/* Those are most of the pods that wait; the walk finds the others. */
	self->walk_rv = proc_recent(self->proc, self->journal_rv, queue_if_new, self);
}

/* --- Counting ----------------------------------------------------------------------- */

/* A list of pods that is being followed. */
struct lane {
	uint32_t node;
	const struct entry *e; /* the next pod, NULL: there are no more */
};

static bool all_counted(const struct scheduler *self)
{
	return self->count_at >= self->nnodes;
}

/* The lists of the next nodes; returns how many. */
static uint32_t open_lanes(struct scheduler *self, struct lane *lane)
{
	uint32_t n = 0;

	for (; n < look_limits.lanes && !all_counted(self); self->count_at++) {
		const struct node *node = &self->nodes[self->count_at];
		const struct nodeslot *slot;

		if (!node->present || node->counted)
			continue;
		slot = cache_node(self->c, (struct str){node->name, node->name_n});
		lane[n++] = (struct lane){self->count_at,
					  slot ? cache_first_on_node(self->c, slot) : NULL};
	}
	return n;
}

/* What the next look at each will need is fetched for all together. */
static void fetch_lanes(const struct scheduler *self, const struct lane *lane, uint32_t n)
{
	for (int stage = 0; stage < 2; stage++)
		for (uint32_t i = 0; i < n; i++)
			if (lane[i].e)
				cache_prefetch(self->c, cache_entry_ref(self->c, lane[i].e).u,
					       stage);
}

/* The pod as it was at journal_rv, as what came later is in the journal. */
static void count_pod(struct scheduler *self, const struct lane *lane)
{
	const struct version *v = cache_at(self->c, lane->e, self->journal_rv);

	if (pod_on_node(v))
		nodes_account(self, &self->nodes[lane->node], kind_of(self, lane->e, v), 1);
}

/* Each list by one pod; returns how many pods those were. */
static uint32_t advance_lanes(struct scheduler *self, struct lane *lane, uint32_t n)
{
	uint32_t pods = 0;

	fetch_lanes(self, lane, n);
	for (uint32_t i = 0; i < n; i++) {
		if (!lane[i].e)
			continue;
		count_pod(self, &lane[i]);
		lane[i].e = cache_next_on_node(self->c, lane[i].e);
		pods++;
	}
	return pods;
}

/* The next few nodes; returns how many pods were looked at. */
static uint32_t count_some(struct scheduler *self)
{
	struct lane lane[LANES];
	uint32_t n, pods = 0, more;

	cache_lock(self->c);
	n = open_lanes(self, lane);
	while ((more = advance_lanes(self, lane, n)))
		pods += more;
	cache_unlock(self->c);
	for (uint32_t i = 0; i < n; i++)
		self->nodes[lane[i].node].counted = true;
	self->ncounted += n;
	zone_reset(self->z);
	return pods;
}

/* Which nodes a kind may go to is found for each kind, so not for every few nodes. */
static void show_counted(struct scheduler *self)
{
	if (self->ncounted == self->nshown ||
	    (!all_counted(self) && self->ncounted < 2 * self->nshown))
		return;
	self->nshown = self->ncounted;
	self->nodes_changed++;
}

/* --- Pods that wait ----------------------------------------------------------------- */

static void queue_if_older(void *arg, const struct entry *e)
{
	struct scheduler *self = arg;

	if (e->created_rv <= self->walk_rv)
		queue_pod(self, e);
}

/* --- The turn ----------------------------------------------------------------------- */

bool is_looking(const struct scheduler *self)
{
	return self->walking || !all_counted(self);
}

static void count_on(struct scheduler *self, bool to_the_end)
{
	uint32_t pods = 0;

	while (!all_counted(self) &&
	       (to_the_end || self->ncounted < look_limits.nodes || pods < look_limits.pods)) {
		pods += count_some(self);
		proc_beat(self->proc);
	}
	show_counted(self);
}

static void walk_on(struct scheduler *self, bool to_the_end)
{
	do {
		self->walking =
			proc_walk_next(self->proc, TYPE_POD, &self->walk, queue_if_older, self);
		zone_reset(self->z);
		proc_beat(self->proc);
	} while (to_the_end && self->walking);
}

void look_on(struct scheduler *self)
{
	/* Who keeps others away, or goes before them, may be anywhere. */
	bool to_the_end = !cache_all_plain(self->c);
	int64_t start = clock_mono_ns(), end;

	if (!is_looking(self) ||
	    (!to_the_end && start < self->look_ns && self->ncounted >= look_limits.nodes))
		return;
	count_on(self, to_the_end);
	if (self->walking)
		walk_on(self, to_the_end);
	end = clock_mono_ns();
	self->look_ns = end + (end - start) * look_limits.rest;
	/* What was counted may not have been as it was at journal_rv. */
	self->behind = cache_oldest(self->c) > self->journal_rv + 1;
}
