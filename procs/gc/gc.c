/*
 * gc.c - the garbage collector.
 *
 * Kubernetes' collector builds a graph of all objects from watches.  Here the
 * graph is in the cache: every object knows its dependents, and the store says
 * which objects deserve a look (ROUTE_OWNED).  What is done with an object:
 *
 *   gone, with dependents         each dependent is looked at (in bulk)
 *   deleting, foregroundDeletion  dependents are deleted; the finalizer goes
 *                                 when none that blocks is left
 *   deleting, orphan              dependents lose their reference to it, then
 *                                 the finalizer goes
 *   live, with owners             deleted if no owner is left, else it loses its
 *                                 references to those that are gone
 *   an Event                      deleted events.ttl after its last write
 *   deleting, a volume or claim   its protection finalizer goes when nothing
 *                                 uses it
 */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/mains.h"
#include "procs/lib/write.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define BATCH	      4096u
#define LOOK_AGAIN_MS 1000 /* while a dependent blocks that is not ours to follow */

/* What one reconcile gathers. */
struct pass {
	struct controller *ctl;
	const struct cache *c;
	zone *z;
	/* Objects to be deleted with one request. */
	uint16_t type;
	uint8_t propagation;
	uint32_t n, entries[BATCH];
	uint64_t rvs[BATCH];
	bool full; /* the ring is: the rest comes later */
	/* The verdict on the last object: most dependents have equal metadata. */
	uint64_t last_meta;
	string_ref last_ns;
	struct verdict {
		uint32_t solid, gone, waiting; /* owners */
	} last;
};

/* --- Owners of an object ---------------------------------------------------------- */

static bool has_finalizer(const value *meta, const char *name)
{
	v_each(f, v_get(meta, "finalizers"))
		if (str_is(v_as_str(f), name))
			return true;
	return false;
}

/* The kind that a reference names, NULL if nobody serves it. */
static const struct kube_resource *kind_of(const value *ref)
{
	struct str api = v_get_str(ref, "apiVersion"), group = {0}, version = api;
	const char *slash = api.n ? memchr(api.p, '/', api.n) : NULL;

	if (slash) {
		group = (struct str){api.p, (uint32_t)(slash - api.p)};
		version = (struct str){slash + 1, api.n - group.n - 1};
	}
	return kube_by_kind(group, version, v_get_str(ref, "kind"));
}

/* As users read it: why an owner of another namespace is none. */
static void tell_wrong_namespace(struct pass *p, const struct entry *e, const value *ref)
{
	struct str ns = cache_ns(p->c, e);

	ctl_event(p->ctl, e, "Warning", "OwnerRefInvalidNamespace",
		  "ownerRef [" STR_FMT "/" STR_FMT ", namespace: " STR_FMT ", name: " STR_FMT
		  ", uid: " STR_FMT "] does not exist in namespace \"" STR_FMT "\"",
		  STR_ARG(v_get_str(ref, "apiVersion")), STR_ARG(v_get_str(ref, "kind")),
		  STR_ARG(ns), STR_ARG(v_get_str(ref, "name")), STR_ARG(v_get_str(ref, "uid")),
		  STR_ARG(ns));
}

enum owner_state { OWNER_SOLID, OWNER_GONE, OWNER_WAITING };

static enum owner_state owner_state(struct pass *p, const struct entry *e, const value *ref)
{
	const struct kube_resource *kind = kind_of(ref);
	const struct entry *owner;
	const struct version *v;
	uint8_t uid[16];
	value meta;

	/* It may exist somewhere else: it counts as there. */
	if (!kind)
		return OWNER_SOLID;
	if (!uid_parse(v_get_str(ref, "uid"), uid))
		return OWNER_GONE;
	owner = cache_find_uid(p->c, uid);
	v = owner ? cache_live(p->c, owner) : NULL;
	/* One of another namespace, kind or name is as good as none. */
	if (!v || owner->type != kind->type || !str_eq(entry_name(owner), v_get_str(ref, "name")))
		return OWNER_GONE;
	if (owner->ns.u && owner->ns.u != e->ns.u) {
		if (e->ns.u)
			tell_wrong_namespace(p, e, ref);
		return e->ns.u ? OWNER_GONE : OWNER_SOLID;
	}
	if (!v->deletion_s || !(v->flags & VERSION_FINALIZERS))
		return OWNER_SOLID;
	meta = kube_part(p->z, p->c, owner, v, PART_META);
	return has_finalizer(&meta, "foregroundDeletion") ? OWNER_WAITING : OWNER_SOLID;
}

static struct verdict judge(struct pass *p, const struct entry *e, const struct version *v)
{
	uint64_t hash = cache_part_hash(p->c, v, PART_META);
	struct verdict verdict = {0};
	value meta;

	if (hash && hash == p->last_meta && e->ns.u == p->last_ns.u)
		return p->last;
	meta = kube_part(p->z, p->c, e, v, PART_META);
	v_each(ref, v_get(&meta, "ownerReferences")) {
		switch (owner_state(p, e, ref)) {
		case OWNER_SOLID:
			verdict.solid++;
			break;
		case OWNER_GONE:
			verdict.gone++;
			break;
		case OWNER_WAITING:
			verdict.waiting++;
			break;
		}
	}
	p->last_meta = hash;
	p->last_ns = e->ns;
	p->last = verdict;
	return verdict;
}

/* --- Requests ----------------------------------------------------------------------- */

/* What has changed meanwhile was left alone; its change need not lead here. */
static void on_deleted(void *arg, const struct msg_reply *reply)
{
	if (reply->skipped.n)
		ctl_after(arg, 1);
}

static void flush(struct pass *p)
{
	struct msg m = {.kind = MSG_delete_many};

	if (!p->n)
		return;
	m.delete_many = (struct msg_delete_many){
		.type = p->type,
		.grace = -1,
		.propagation = p->propagation,
		.exact = true,
		.entries = {p->entries, p->n},
		.rvs = {p->rvs, p->n},
	};
	p->n = 0;
	if (ctl_send(p->ctl, &m, on_deleted, p->ctl))
		p->full = true;
}

static void delete (struct pass *p, const struct entry *e, const struct version *v,
		    uint8_t propagation)
{
	if (p->n == BATCH || (p->n && (p->type != e->type || p->propagation != propagation)))
		flush(p);
	if (p->full)
		return;
	p->type = e->type;
	p->propagation = propagation;
	p->entries[p->n] = cache_entry_ref(p->c, e).u;
	p->rvs[p->n++] = v->rv;
}

/* Nobody may have changed the object meanwhile. */
static int write_meta(struct pass *p, const struct entry *e, const struct version *v,
		      const value *meta)
{
	int ret = ctl_write(p->ctl, e, v, &(struct parts){.meta = meta});

	if (ret)
		p->full = true;
	return ret;
}

/* Take references out of ownerReferences: those in `state`, or the one to
 * `owner` if that is not NULL. */
static void drop_refs(struct pass *p, const struct entry *e, const struct version *v,
		      const struct entry *owner)
{
	value meta = kube_part(p->z, p->c, e, v, PART_META);
	value *refs = v_get(&meta, "ownerReferences");
	char uid[37] = "";

	if (owner)
		uid_format(owner->uid, uid);
	for (uint32_t i = 0; i < v_len(refs);) {
		const value *ref = v_at(refs, i);
		bool out = owner ? str_is(v_get_str(ref, "uid"), uid)
				 : owner_state(p, e, ref) != OWNER_SOLID;

		if (out)
			v_remove(refs, i);
		else
			i++;
	}
	if (!v_len(refs))
		v_del(&meta, "ownerReferences");
	write_meta(p, e, v, &meta);
}

static void drop_finalizer(struct pass *p, const struct entry *e, const struct version *v,
			   const char *name)
{
	value meta = kube_part(p->z, p->c, e, v, PART_META);
	value *finalizers = v_get(&meta, "finalizers");

	for (uint32_t i = 0; i < v_len(finalizers);) {
		if (str_is(v_as_str(v_at(finalizers, i)), name))
			v_remove(finalizers, i);
		else
			i++;
	}
	if (!v_len(finalizers))
		v_del(&meta, "finalizers");
	write_meta(p, e, v, &meta);
}

/* --- An object and its owners ------------------------------------------------------- */

static bool owns_anything(const struct entry *e)
{
	return prcu_dereference(&e->first) || prcu_dereference(&e->edges);
}

/* How it is to be deleted: as its finalizers say that somebody asked for. */
static uint8_t own_propagation(struct pass *p, const struct entry *e, const struct version *v)
{
	value meta;

	if (!(v->flags & VERSION_FINALIZERS))
		return PROPAGATION_BACKGROUND;
	meta = kube_part(p->z, p->c, e, v, PART_META);
	if (has_finalizer(&meta, "orphan"))
		return PROPAGATION_ORPHAN;
	if (has_finalizer(&meta, "foregroundDeletion"))
		return PROPAGATION_FOREGROUND;
	return PROPAGATION_BACKGROUND;
}

static const struct entry *edge_dependent(struct pass *p, const struct edge *edge)
{
	return cache_entry(p->c, edge->dependent);
}

static bool is_waiting(struct pass *p, const struct entry *e)
{
	const struct version *v = cache_live(p->c, e);
	value meta;

	if (!v || !v->deletion_s || !(v->flags & VERSION_FINALIZERS))
		return false;
	meta = kube_part(p->z, p->c, e, v, PART_META);
	return has_finalizer(&meta, "foregroundDeletion");
}

/* A dependent waits for its own dependents: they may go round in a circle. */
static bool owns_waiting(struct pass *p, const struct entry *owner)
{
	for (const struct entry *e = cache_first_dependent(p->c, owner); e;
	     e = cache_next_dependent(p->c, e))
		if (is_waiting(p, e))
			return true;
	for (const struct edge *edge = cache_first_edge(p->c, owner); edge;
	     edge = cache_next_edge(p->c, edge))
		if (is_waiting(p, edge_dependent(p, edge)))
			return true;
	return false;
}

/* Its owners wait for it no more, which opens a circle; false if they did not. */
static bool unblock(struct pass *p, const struct entry *e, const struct version *v)
{
	value meta = kube_part(p->z, p->c, e, v, PART_META);
	bool changed = false;

	v_each(ref, v_get(&meta, "ownerReferences")) {
		if (!v_get_bool(ref, "blockOwnerDeletion", false))
			continue;
		v_set(p->z, ref, "blockOwnerDeletion", v_bool(false));
		changed = true;
	}
	if (changed)
		write_meta(p, e, v, &meta);
	return changed;
}

static void look_at_owners(struct pass *p, const struct entry *e, const struct version *v)
{
	struct verdict verdict = judge(p, e, v);

	if (v->deletion_s || !(v->flags & VERSION_OWNED))
		return;
	if (verdict.solid) {
		if (verdict.gone || verdict.waiting)
			drop_refs(p, e, v, NULL);
	} else if (verdict.waiting && owns_anything(e)) {
		if (!owns_waiting(p, e) || !unblock(p, e, v))
			delete (p, e, v, PROPAGATION_FOREGROUND);
	} else if (verdict.waiting || verdict.gone) {
		delete (p, e, v, own_propagation(p, e, v));
	}
}

/* --- An object and its dependents --------------------------------------------------- */

/* `all`, or those of our shard. */
static void look_at_dependent(struct pass *p, const struct entry *e, bool all)
{
	const struct version *v = cache_live(p->c, e);

	if (v && !v->deletion_s && (all || proc_mine_uid(ctl_proc(p->ctl), e->uid)))
		look_at_owners(p, e, v);
}

static void look_at_dependents(struct pass *p, const struct entry *owner, bool all)
{
	for (const struct entry *e = cache_first_dependent(p->c, owner); e && !p->full;
	     e = cache_next_dependent(p->c, e))
		look_at_dependent(p, e, all);
	for (const struct edge *edge = cache_first_edge(p->c, owner); edge && !p->full;
	     edge = cache_next_edge(p->c, edge))
		look_at_dependent(p, edge_dependent(p, edge), all);
	flush(p);
}

static void queue_heir(struct pass *p, const struct entry *e)
{
	const struct version *v = cache_live(p->c, e);

	if (v && !v->deletion_s)
		ctl_enqueue(p->ctl, e); /* if it is ours */
}

/* Who is gone leads all shards to his dependents, each to its own.  Those that are left
 * when the ring was full are looked at for themselves: the object that is gone is forgotten
 * before there is room again. */
static void look_at_heirs(struct pass *p, const struct entry *owner)
{
	look_at_dependents(p, owner, false);
	if (!p->full)
		return;
	for (const struct entry *e = cache_first_dependent(p->c, owner); e;
	     e = cache_next_dependent(p->c, e))
		queue_heir(p, e);
	for (const struct edge *edge = cache_first_edge(p->c, owner); edge;
	     edge = cache_next_edge(p->c, edge))
		queue_heir(p, edge_dependent(p, edge));
}

static bool blocks(struct pass *p, const struct entry *owner, const struct entry *e,
		   const struct version *v)
{
	value meta = kube_part(p->z, p->c, e, v, PART_META);
	char uid[37];

	uid_format(owner->uid, uid);
	v_each(ref, v_get(&meta, "ownerReferences"))
		if (str_is(v_get_str(ref, "uid"), uid))
			return v_get_bool(ref, "blockOwnerDeletion", false);
	return false;
}

/* Some dependent that is still there keeps the owner from going. */
static bool is_blocked(struct pass *p, const struct entry *owner)
{
	for (const struct entry *e = cache_first_dependent(p->c, owner); e;
	     e = cache_next_dependent(p->c, e)) {
		const struct version *v = cache_live(p->c, e);

		if (v && blocks(p, owner, e, v))
			return true;
	}
	for (const struct edge *edge = cache_first_edge(p->c, owner); edge;
	     edge = cache_next_edge(p->c, edge)) {
		const struct version *v = cache_live(p->c, edge_dependent(p, edge));

		if (v && blocks(p, owner, edge_dependent(p, edge), v))
			return true;
	}
	return false;
}

/* With a million dependents this is asked often while they go: the counts
 * answer it, and only when some are not on their way out are all looked at. */
static void foreground(struct pass *p, const struct entry *e, const struct version *v)
{
	bool others = prcu_dereference(&e->edges) != 0;
	struct counts_copy counts;

	cache_counts(p->c, e, &counts);
	if ((counts.total && counts.total == counts.terminating && !others) || is_blocked(p, e)) {
		if (counts.total != counts.terminating || others)
			look_at_dependents(p, e, true);
		ctl_after(p->ctl, LOOK_AGAIN_MS);
		return;
	}
	drop_finalizer(p, e, v, "foregroundDeletion");
}

static void orphan(struct pass *p, const struct entry *owner, const struct version *ov)
{
	uint32_t left = 0;

	for (const struct entry *e = cache_first_dependent(p->c, owner); e && !p->full;
	     e = cache_next_dependent(p->c, e)) {
		const struct version *v = cache_live(p->c, e);

		if (!v)
			continue;
		left++;
		drop_refs(p, e, v, owner);
	}
	for (const struct edge *edge = cache_first_edge(p->c, owner); edge && !p->full;
	     edge = cache_next_edge(p->c, edge)) {
		const struct version *v = cache_live(p->c, edge_dependent(p, edge));

		if (!v)
			continue;
		left++;
		drop_refs(p, edge_dependent(p, edge), v, owner);
	}
	if (left)
		ctl_after(p->ctl, 1); /* with the answers */
	else if (!p->full)
		drop_finalizer(p, owner, ov, "orphan");
}

/* --- Events ------------------------------------------------------------------------- */

/* A time of an Event in wall seconds, 0 if absent. */
static uint32_t event_time(const value *of, const char *field)
{
	int64_t ns;

	return time_parse(v_get_str(of, field), &ns) ? 0 : (uint32_t)(ns / 1000000000);
}

/* When an Event was last written, in wall seconds. */
static uint32_t event_written(struct pass *p, const struct entry *e, const struct version *v)
{
	value rest = kube_part(p->z, p->c, e, v, PART_REST);
	uint32_t times[] = {event_time(&rest, "lastTimestamp"), event_time(&rest, "eventTime"),
			    event_time(v_get(&rest, "series"), "lastObservedTime")};
	uint32_t written = e->created_s;

	for (size_t i = 0; i < countof(times); i++)
		if (times[i] > written)
			written = times[i];
	return written;
}

/* An Event is for reading soon after: it goes events.ttl after its last write.  Most are
 * young, and are not read for that. */
static void expire(struct pass *p, const struct entry *e, const struct version *v)
{
	int64_t ttl_ms = v_as_int(v_path(proc_config(ctl_proc(p->ctl)), "events.ttl"), 3600000);
	int64_t spared_ms = (int64_t)ctl_now_s(p->ctl) * 1000 - ttl_ms; /* since then */
	int64_t left_ms = (int64_t)e->created_s * 1000 - spared_ms;
	struct msg m = {.kind = MSG_remove,
			.remove = {.type = TYPE_EVENT,
				   .ns = cache_ns(p->c, e),
				   .name = entry_name(e),
				   .uid = {(const char *)e->uid, 16},
				   .rv = v->rv}};

	if (left_ms <= 0)
		left_ms = (int64_t)event_written(p, e, v) * 1000 - spared_ms;
	if (left_ms > 0)
		ctl_after(p->ctl, (uint64_t)left_ms);
	else
		ctl_send(p->ctl, &m, NULL, NULL);
}

/* --- Volumes and claims ------------------------------------------------------------- */

static bool mounts(const value *volume, struct str pod, struct str claim)
{
	struct str name = v_as_str(v_path(volume, "persistentVolumeClaim.claimName"));
	struct str own = v_get_str(volume, "name");

	if (name.n)
		return str_eq(name, claim);
	/* A claim made for the pod is called POD-VOLUME. */
	return v_get(volume, "ephemeral") && claim.n == pod.n + 1 + own.n &&
	       !memcmp(claim.p, pod.p, pod.n) && claim.p[pod.n] == '-' &&
	       !memcmp(claim.p + pod.n + 1, own.p, own.n);
}

/* Does a pod that a node has seen use the claim `e`? */
static bool claim_is_used(struct pass *p, const struct entry *e)
{
	struct cache_iter it;
	const struct entry *pod;

	cache_iter_init(&it, p->c, TYPE_POD, cache_ns(p->c, e), STR(""), (struct str){NULL, 0});
	while ((pod = cache_iter_next(&it))) {
		const struct version *v = cache_live(p->c, pod);
		value spec;

		if (!v || !(v->hot.flags & HOT_SCHEDULED))
			continue;
		spec = kube_part(p->z, p->c, pod, v, PART_SPEC);
		v_each(volume, v_get(&spec, "volumes"))
			if (mounts(volume, entry_name(pod), entry_name(e)))
				return true;
	}
	return false;
}

static bool volume_is_bound(struct pass *p, const struct entry *e, const struct version *v)
{
	value status = kube_part(p->z, p->c, e, v, PART_STATUS);

	return str_eq(v_get_str(&status, "phase"), STR("Bound"));
}

static void unprotect(struct pass *p, const struct entry *e, const struct version *v,
		      const value *meta)
{
	bool claim = e->type == TYPE_PERSISTENTVOLUMECLAIM;
	const char *name = claim ? "kubernetes.io/pvc-protection" : "kubernetes.io/pv-protection";

	if (!has_finalizer(meta, name))
		return;
	if (claim ? claim_is_used(p, e) : volume_is_bound(p, e, v))
		ctl_after(p->ctl, LOOK_AGAIN_MS);
	else
		drop_finalizer(p, e, v, name);
}

/* --- Reconcile ---------------------------------------------------------------------- */

static void reconcile(struct controller *ctl, const struct entry *e, const struct version *v)
{
	static struct pass pass; /* large, and one at a time */
	struct pass *p = &pass;
	value meta;

	p->ctl = ctl;
	p->c = ctl_cache(ctl);
	p->z = ctl_zone(ctl);
	p->n = 0;
	p->full = false;
	p->last_meta = 0;
	if (v->flags & VERSION_TOMBSTONE) {
		look_at_heirs(p, e);
		return;
	}
	if (e->type == TYPE_EVENT && !(v->flags & VERSION_OWNED)) {
		expire(p, e, v);
		return;
	}
	if (!v->deletion_s) {
		look_at_owners(p, e, v);
		flush(p);
		return;
	}
	if (!(v->flags & VERSION_FINALIZERS))
		return;
	meta = kube_part(p->z, p->c, e, v, PART_META);
	if (has_finalizer(&meta, "orphan"))
		orphan(p, e, v);
	else if (has_finalizer(&meta, "foregroundDeletion"))
		foreground(p, e, v);
	else if (e->type == TYPE_PERSISTENTVOLUMECLAIM || e->type == TYPE_PERSISTENTVOLUME)
		unprotect(p, e, v, &meta);
}

/* As the store's route: most objects have one owner that is well. */
static bool wants(struct controller *ctl, const struct entry *e)
{
	const struct cache *c = ctl_cache(ctl);
	const struct version *v = cache_newest(c, e), *ov;
	uint32_t owner;

	if (!v)
		return false;
	if (v->flags & VERSION_TOMBSTONE)
		return owns_anything(e);
	if (v->deletion_s)
		return v->flags & VERSION_FINALIZERS;
	if (e->type == TYPE_EVENT)
		return true;
	if (!(v->flags & VERSION_OWNED))
		return false;
	owner = prcu_dereference(&e->owner);
	ov = owner && !e->own_edges ? cache_newest(c, cache_entry(c, (entry_ref){owner})) : NULL;
	return !ov || ov->flags & VERSION_TOMBSTONE || ov->deletion_s;
}

/* An object that is gone belongs to every shard: each has dependents of its own. */
static bool shared(struct controller *ctl, const struct entry *e)
{
	const struct version *v = cache_newest(ctl_cache(ctl), e);

	return v && v->flags & VERSION_TOMBSTONE;
}

int gc_main(void)
{
	static const struct controller_ops ops = {
		.kind = PROC_GC,
		.component = "garbage-collector-controller",
		.reconcile = reconcile,
		.wants_gone = true,
		.wants = wants,
		.shared = shared,
	};

	return controller_main(&ops);
}
