/* main.c - the node lifecycle controller's process. */
#include "procs/lib/mains.h"
#include "procs/lib/write.h"
#include "procs/nodelifecycle/nodelifecycle.h"

#define MONITOR_MS 5000
#define DEFAULT_MS 20 /* until the namespace of nodes' Events is looked for again */

static void write_back(struct look *l)
{
	struct parts parts = {
		.spec = l->spec_changed ? &l->spec : NULL,
		.status = l->status_changed ? &l->status : NULL,
	};

	ctl_write(l->ctl, l->e, l->v, &parts);
}

int64_t monitor_ns(struct controller *ctl)
{
	int64_t grace_ms = v_as_int(v_path(proc_config(ctl_proc(ctl)), "nodes.grace"), 50000);

	return (grace_ms / 4 < MONITOR_MS ? grace_ms / 4 + 1 : MONITOR_MS) * 1000000;
}

/* All nodes are looked at in the same moment, so that they wake us once. */
static uint64_t next_look_ms(struct controller *ctl)
{
	int64_t every_ns = monitor_ns(ctl);

	return (uint64_t)(every_ns - clock_mono_ns() % every_ns) / 1000000 + 1;
}

/* Events of nodes are in `default`, which at the very first start comes when nodes do. */
static void tell_registered(struct look *l)
{
	struct controller *ctl = l->ctl;
	const char *name = l->e->name;

	if (!cache_find(l->c, TYPE_NAMESPACE, (struct str){0}, STR("default"))) {
		ctl_after(ctl, DEFAULT_MS);
		return;
	}
	ctl_event(ctl, l->e, "Normal", "RegisteredNode",
		  "Node %s event: Registered Node %s in Controller", name, name);
	l->state->told = true;
}

static int64_t turn(struct controller *ctl, int64_t now_ns)
{
	int64_t pods = collect_turn(ctl, now_ns), zones = zones_turn(ctl, now_ns);

	return pods && pods < zones ? pods : zones;
}

static void reconcile(struct controller *ctl, const struct entry *e, const struct version *v)
{
	struct look l = {
		.ctl = ctl,
		.c = ctl_cache(ctl),
		.z = ctl_zone(ctl),
		.e = e,
		.v = v,
		.state = ctl_object_state(ctl),
	};

	if (v->flags & VERSION_TOMBSTONE) {
		ctl_event(ctl, e, "Normal", "RemovingNode",
			  "Node %s event: Removing Node %s from Controller", e->name, e->name);
		collect_node_gone(ctl, e);
		return;
	}
	if (!l.state->told)
		tell_registered(&l);
	l.spec = kube_part(l.z, l.c, e, v, PART_SPEC);
	l.status = kube_part(l.z, l.c, e, v, PART_STATUS);
	if (!v_is_map(&l.spec))
		l.spec = v_map();
	if (!v_is_map(&l.status))
		l.status = v_map();
	health_check(&l);
	taints_update(&l);
	write_back(&l);
	ctl_after(ctl, next_look_ms(ctl));
	eviction_run(&l);
}

static void map(struct controller *ctl, const struct entry *pod)
{
	if (pod->type == TYPE_POD)
		collect_note(ctl, pod);
}

static void resync(struct controller *ctl)
{
	zones_resync(ctl);
	collect_resync(ctl);
}

int nodelifecycle_main(void)
{
	static const struct controller_ops ops = {
		.kind = PROC_NODELIFECYCLE,
		.component = "node-controller",
		.type = TYPE_NODE,
		.by_name = true,
		.reconcile = reconcile,
		.wants_gone = true,
		.map = map,
		.start = zones_start,
		.resync = resync,
		.turn = turn,
		.state_size = sizeof(struct nodelifecycle),
		.object_state_size = sizeof(struct node_state),
	};

	return controller_main(&ops);
}
