/*
 * collect.c - pods of nodes that do not exist.
 *
 * They are left alone for a while, as the node may still come, and then failed and
 * deleted; again and again, until they go or the node comes.
 */
#include <stdlib.h>

#include "procs/lib/write.h"
#include "procs/nodelifecycle/nodelifecycle.h"

#define QUARANTINE_NS INT64_C(40000000000) /* before they go, */
#define AGAIN_NS      INT64_C(20000000000) /* and again, if they are still there */
#define RING_ROOM     16384		   /* bytes free before another is asked for */
#define RING_FULL_NS  INT64_C(10000000)

static const struct ending by_gc = {
	.reason = "DeletionByPodGC",
	.message = "PodGC: node no longer exists",
	.phase = "Failed",
};

static struct lost_pods *lost_of(struct controller *ctl)
{
	return &((struct nodelifecycle *)ctl_state(ctl))->lost;
}

/* --- Which -------------------------------------------------------------------------- */

/* A place for what is noted of `entry`. */
static struct lost_pod *place_for(struct lost_pods *lost, uint32_t entry)
{
	int64_t at = refmap_get(&lost->by_entry, entry);

	if (at >= 0)
		return &lost->pod[at];
	if (lost->n == lost->cap) {
		lost->cap = lost->cap ? lost->cap * 2 : 64;
		lost->pod = realloc(lost->pod, lost->cap * sizeof(*lost->pod));
		weft_assert(lost->pod);
	}
	refmap_put(&lost->by_entry, entry, lost->n);
	lost->pod[lost->n] = (struct lost_pod){.entry = entry};
	return &lost->pod[lost->n++];
}

static void forget(struct lost_pods *lost, uint32_t i)
{
	struct lost_pod last = lost->pod[--lost->n];

	refmap_take(&lost->by_entry, lost->pod[i].entry);
	if (i == lost->n)
		return;
	lost->pod[i] = last;
	refmap_put(&lost->by_entry, last.entry, i);
}

static void note_due(struct lost_pods *lost, int64_t due_ns)
{
	if (!lost->due_ns || due_ns < lost->due_ns)
		lost->due_ns = due_ns;
}

void collect_note(struct controller *ctl, const struct entry *pod)
{
	struct lost_pods *lost = lost_of(ctl);
	struct lost_pod *p = place_for(lost, cache_entry_ref(ctl_cache(ctl), pod).u);

	if (p->created_rv == pod->created_rv)
		return;
	p->created_rv = pod->created_rv;
	p->due_ns = clock_mono_ns() + QUARANTINE_NS;
	note_due(lost, p->due_ns);
}

void collect_node_gone(struct controller *ctl, const struct entry *node)
{
	const struct cache *c = ctl_cache(ctl);
	const struct nodeslot *slot = cache_node(c, entry_name(node));

	for (const struct entry *pod = slot ? cache_first_on_node(c, slot) : NULL; pod;
	     pod = cache_next_on_node(c, pod))
		if (cache_live(c, pod))
			collect_note(ctl, pod);
}

/* The slot of the pod's node, if there is no such node. */
static const struct nodeslot *missing_node(const struct cache *c, const struct entry *pod)
{
	const struct version *v = cache_live(c, pod);
	const struct nodeslot *slot = v && v->hot.node.u ? cache_nodeslot(c, v->hot.node) : NULL;

	return slot && !prcu_dereference(&slot->node) ? slot : NULL;
}

static void note_if_lost(void *arg, const struct entry *pod)
{
	struct controller *ctl = arg;
	const struct cache *c = ctl_cache(ctl);
	const struct nodeslot *slot = missing_node(c, pod);

	if (slot && proc_mine_name(ctl_proc(ctl), cache_string(c, slot->name)))
		collect_note(ctl, pod);
}

/* Those that were noted before are due when they were. */
static void keep_due(struct lost_pods *lost, const struct lost_pods *before)
{
	for (uint32_t i = 0; i < before->n; i++) {
		const struct lost_pod *was = &before->pod[i];
		int64_t at = refmap_get(&lost->by_entry, was->entry);

		if (at < 0 || lost->pod[at].created_rv != was->created_rv)
			continue;
		lost->pod[at].due_ns = was->due_ns;
		note_due(lost, was->due_ns);
	}
}

void collect_resync(struct controller *ctl)
{
	struct lost_pods *lost = lost_of(ctl), before = *lost;

	*lost = (struct lost_pods){0};
	proc_each(ctl_proc(ctl), TYPE_POD, note_if_lost, ctl);
	keep_due(lost, &before);
	free(before.pod);
	refmap_free(&before.by_entry);
}

/* --- Collecting --------------------------------------------------------------------- */

static void collect(struct controller *ctl, const struct entry *pod)
{
	const struct version *v = cache_live(ctl_cache(ctl), pod);

	if (pod_has_ended(v))
		ctl_remove(ctl, pod, NULL, PROPAGATION_DEFAULT, by_gc.grace);
	else
		end_pod(ctl, pod, v, &by_gc);
}

int64_t collect_turn(struct controller *ctl, int64_t now_ns)
{
	struct lost_pods *lost = lost_of(ctl);
	const struct cache *c = ctl_cache(ctl);

	if (lost->due_ns > now_ns)
		return lost->due_ns;
	lost->due_ns = 0;
	for (uint32_t i = 0; i < lost->n;) {
		struct lost_pod *p = &lost->pod[i];
		const struct entry *pod = find_pod(c, p->entry, p->created_rv);

		if (!pod || !missing_node(c, pod)) {
			forget(lost, i);
			continue;
		}
		if (p->due_ns <= now_ns) {
			if (!proc_can_send(ctl_proc(ctl), RING_ROOM))
				return lost->due_ns = now_ns + RING_FULL_NS;
			collect(ctl, pod);
			p->due_ns = now_ns + AGAIN_NS;
		}
		note_due(lost, p->due_ns);
		i++;
	}
	return lost->due_ns;
}
