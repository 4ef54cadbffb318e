/* route.c - what route.h promises. */
#include "procs/store/route.h"

#include <stdlib.h>

/* --- Once for each batch ----------------------------------------------------------- */

/* A key is the batch's stamp, the reference, and the port; one with another
 * stamp is a free place, so that nothing is cleared between batches. */
#define STAMP_SHIFT 40
#define STAMP_MAX   (UINT64_C(1) << (64 - STAMP_SHIFT))
_Static_assert(PROC_SLOTS <= 256, "a port fits in eight bits");

/* Where the keys of an object begin: those of all ports are near each other. */
static uint32_t ref_slot(const struct routed *r, uint32_t ref)
{
	return home_of(ref, r->cap);
}

static bool is_free(const struct routed *r, uint64_t key)
{
	return key >> STAMP_SHIFT != r->stamp;
}

static void routed_put(struct routed *r, uint64_t key)
{
	uint32_t i = ref_slot(r, (uint32_t)(key >> 8));

	while (!is_free(r, r->key[i]))
		i = (i + 1) & (r->cap - 1);
	r->key[i] = key;
}

static void routed_grow(struct routed *r)
{
	struct routed old = *r;

	r->cap = old.cap ? 2 * old.cap : 1024;
	r->key = calloc(r->cap, sizeof(*r->key));
	weft_assert(r->key);
	r->stamp = old.stamp ? old.stamp : 1; /* 0 is what calloc() left */
	for (uint32_t i = 0; i < old.cap; i++)
		if (!is_free(&old, old.key[i]))
			routed_put(r, old.key[i]);
	free(old.key);
}

/* True if (ref, port) is new in this batch. */
static bool routed_add(struct routed *r, uint32_t ref, uint32_t port)
{
	uint64_t key;
	uint32_t i;

	if (2 * r->n >= r->cap)
		routed_grow(r);
	key = r->stamp << STAMP_SHIFT | (uint64_t)ref << 8 | port;
	for (i = ref_slot(r, ref); !is_free(r, r->key[i]); i = (i + 1) & (r->cap - 1))
		if (r->key[i] == key)
			return false;
	r->key[i] = key;
	r->n++;
	return true;
}

static void routed_clear(struct routed *r)
{
	r->n = 0;
	if (!r->cap || ++r->stamp < STAMP_MAX)
		return;
	memset(r->key, 0, r->cap * sizeof(*r->key));
	r->stamp = 1;
}

void route_ahead(void *ports, const struct version *v)
{
	struct routed *r = &((struct ports *)ports)->routed;

	if (r->cap)
		prefetch(&r->key[ref_slot(r, v->entry.u)]);
}

/* --- Collecting --------------------------------------------------------------------- */

static void send_work(struct ports *p, struct port *t, struct worklist *l)
{
	struct msg m = {.kind = MSG_work,
			.work = {p->generation,
				 l->type,
				 {(const uint32_t *)l->refs.p, (uint32_t)(l->refs.n / 4)}}};

	l->refs.n = 0;
	if (ring_used(&t->out) + t->owed + msg_size(&m) < t->out.size / 2 && port_send(t, &m))
		return;
	t->dropped = t->touched = true;
}

static struct worklist *port_list(struct ports *p, struct port *t, uint16_t type)
{
	struct worklist *l;

	for (uint32_t i = 0; i < t->nwork; i++)
		if (t->work[i].type == type)
			return &t->work[i];
	if (t->nwork == PORT_WORK_TYPES) {
		l = &t->work[0]; /* make room: what it holds goes now */
		if (l->refs.n)
			send_work(p, t, l);
	} else {
		l = &t->work[t->nwork++];
	}
	l->type = type;
	return l;
}

static void add_work(struct ports *p, uint32_t port, const struct entry *e)
{
	uint32_t ref = cache_entry_ref(p->s->c, e).u;
	struct port *t = &p->port[port];
	struct worklist *l;

	if (!routed_add(&p->routed, ref, port))
		return;
	l = port_list(p, t, e->type);
	buf_add(&l->refs, &ref, sizeof(ref));
	if (l->refs.n >= PORT_WORK_MESSAGE * sizeof(ref))
		send_work(p, t, l);
}

static void to_shard(struct ports *p, uint32_t kind, uint32_t shard, const struct entry *e)
{
	int port = shard < PORT_SHARDS_MAX ? p->target[kind][shard] : -1;

	if (port >= 0)
		add_work(p, (uint32_t)port, e);
}

static void to_uid(struct ports *p, uint32_t kind, const struct entry *of, const struct entry *e)
{
	if (p->count[kind])
		to_shard(p, kind, shard_of_uid(of->uid, p->count[kind]), e);
}

static void to_name(struct ports *p, uint32_t kind, struct str name, const struct entry *e)
{
	if (p->count[kind])
		to_shard(p, kind, shard_of_name(name, p->count[kind]), e);
}

static void to_all(struct ports *p, uint32_t kind, const struct entry *e)
{
	for (uint32_t i = 0; i < p->count[kind]; i++)
		to_shard(p, kind, i, e);
}

/* --- The table ---------------------------------------------------------------------- */

static const struct entry *owner_of_type(const struct ports *p, uint32_t ref, uint16_t type)
{
	const struct entry *o = ref ? cache_entry(p->s->c, (entry_ref){ref}) : NULL;

	return o && (!type || o->type == type) ? o : NULL;
}

static void to_controllers(struct ports *p, const struct route *r, const struct entry *e)
{
	const struct entry *now = owner_of_type(p, prcu_own(&e->owner), r->owner);
	const struct entry *old = owner_of_type(p, p->old_owner, r->owner);

	if (now)
		to_uid(p, r->kind, now, now);
	if (old && old != now)
		to_uid(p, r->kind, old, old);
}

static bool part_changed(const struct ports *p, const struct version *v, enum part part)
{
	uint32_t prev = prcu_own(&v->prev);

	return !prev || cache_version(p->s->c, (version_ref){prev})->part[part] != v->part[part];
}

static void to_relabelled(struct ports *p, const struct route *r, const struct entry *e,
			  const struct version *v)
{
	const struct entry *o = owner_of_type(p, prcu_own(&e->owner), r->owner);

	/* What a controller made for itself has the labels that it wants. */
	if (v->flags & VERSION_FIRST && v->writer_kind == r->kind)
		return;
	if (o && part_changed(p, v, PART_LABELS))
		to_uid(p, r->kind, o, e);
}

/* To the shard of the node that the version names.  With one shard the name is not
 * fetched. */
static void to_node(struct ports *p, uint32_t kind, const struct version *v, const struct entry *e)
{
	if (p->count[kind] == 1)
		to_shard(p, kind, 0, e);
	else
		to_name(p, kind, cache_node_name(p->s->c, v), e);
}

static bool is_going(const struct ports *p, const struct entry *e)
{
	const struct version *v = cache_newest(p->s->c, e);

	return !v || v->flags & VERSION_TOMBSTONE || v->deletion_s;
}

/* Most objects have one owner that is well: nothing to look at. */
static void to_collector(struct ports *p, const struct route *r, const struct entry *e,
			 const struct version *v)
{
	const struct entry *owner = owner_of_type(p, prcu_own(&e->owner), 0);
	const struct entry *old = owner_of_type(p, p->old_owner, 0);
	bool going = v->flags & VERSION_TOMBSTONE || v->deletion_s;
	bool owns = prcu_own(&e->first) || prcu_own(&e->edges);

	if (v->flags & VERSION_TOMBSTONE && owns)
		to_all(p, r->kind, e);
	else if (going && (owns || v->flags & VERSION_FINALIZERS))
		to_uid(p, r->kind, e, e);
	else if (!going && v->flags & VERSION_OWNED &&
		 ((owner && is_going(p, owner)) ||
		  ((!owner || e->own_edges) && part_changed(p, v, PART_META))))
		to_uid(p, r->kind, e, e);
	if (old && going && is_going(p, old))
		to_uid(p, r->kind, old, old);
}

static void route_one(struct ports *p, const struct route *r, const struct entry *e,
		      const struct version *v)
{
	bool gone = v->flags & VERSION_TOMBSTONE, going = gone || v->deletion_s;

	switch ((enum route_how)r->how) {
	case ROUTE_SELF:
		to_uid(p, r->kind, e, e);
		break;
	case ROUTE_CONTROLLER:
		to_controllers(p, r, e);
		break;
	case ROUTE_ORPHAN:
		if (!prcu_own(&e->owner))
			to_all(p, r->kind, e);
		break;
	case ROUTE_ON_NODE:
		/* What it made of many alike it does not look at again. */
		if (v->hot.node.u && (going || !v->nholes || v->writer_kind != r->kind))
			to_node(p, r->kind, v, e);
		break;
	case ROUTE_LOST:
		if (v->hot.node.u && !gone &&
		    !prcu_own(&cache_nodeslot(p->s->c, v->hot.node)->node))
			to_node(p, r->kind, v, e);
		break;
	case ROUTE_NODE_SELF:
		to_name(p, r->kind, entry_name(e), e);
		break;
	case ROUTE_ALL:
		to_all(p, r->kind, e);
		break;
	case ROUTE_RELABELLED:
		to_relabelled(p, r, e, v);
		break;
	case ROUTE_OWNED:
		to_collector(p, r, e, v);
		break;
	case ROUTE_FOLLOW: /* find_routes() */
		break;
	}
}

void route_before(void *ports, const struct version *v)
{
	struct ports *p = ports;

	p->old_owner = prcu_own(&cache_entry(p->s->c, v->entry)->owner);
}

static void find_routes(struct ports *p, uint16_t type)
{
	p->nroutes_now = p->follow_now = 0;
	p->routes_type = type;
	for (uint32_t i = 0; i < proc_route_count; i++) {
		const struct route *r = &proc_routes[i];

		if ((r->type && r->type != type) || !p->count[r->kind])
			continue;
		if (r->how == ROUTE_FOLLOW) {
			p->follow_now |= 1u << r->kind;
			continue;
		}
		weft_assert(p->nroutes_now < PORT_ROUTES_MAX);
		p->routes_now[p->nroutes_now++] = r;
	}
}

void route_after(void *ports, const struct version *v)
{
	struct ports *p = ports;
	const struct entry *e = cache_entry(p->s->c, v->entry);

	if (p->routes_type != e->type)
		find_routes(p, e->type);
	p->followed |= p->follow_now;
	for (uint32_t i = 0; i < p->nroutes_now; i++)
		route_one(p, p->routes_now[i], e, v);
}

void route_flush(struct ports *p)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct port *t = &p->port[i];

		for (uint32_t k = 0; k < t->nwork; k++)
			if (t->work[k].refs.n)
				send_work(p, t, &t->work[k]);
	}
	routed_clear(&p->routed);
}
