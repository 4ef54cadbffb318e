/*
 * bind.c - pods get their nodes.  Schedulers decide by what they saw some time ago; the
 * store knows who has bound where since (place.h).
 */
#include "procs/kube/peek.h"
#include "procs/store/store.h"
#include "weft/place.h"

#define NODE_NAME_MAX 253u

/* --- Places ------------------------------------------------------------------------- */

static struct binder *at_node(struct store *s, struct str node)
{
	return &s->binders.node[place_node(node) % countof(s->binders.node)];
}

static struct binder *at_space(struct store *s, uint64_t place)
{
	return &s->binders.space[place % countof(s->binders.space)];
}

/* Has anybody else been there since? */
static bool overtaken(const struct binder *b, const struct caller *who, uint64_t seen)
{
	return seen && (b->slot == who->slot ? b->others_rv : b->rv) > seen;
}

static bool space_overtaken(struct store *s, const struct caller *who, uint64_t seen,
			    uint64_t place)
{
	return overtaken(at_space(s, place), who, seen);
}

static void mark(struct binder *b, uint16_t slot, uint64_t rv)
{
	if (b->slot != slot)
		b->others_rv = b->rv;
	b->slot = slot;
	b->rv = rv;
}

/* --- Single binds ------------------------------------------------------------------- */

struct str pod_node(struct str spec)
{
	struct peek k = peek_of(peek_get(spec, STR("nodeName")));

	return peek_str(&k);
}

/* Which namespaces it closes is not looked at: that is for those who bind many. */
static bool keeps_apart(struct str spec)
{
	return peek_path(spec, "affinity.podAntiAffinity."
			       "requiredDuringSchedulingIgnoredDuringExecution")
		       .n > 0;
}

void bind_note(struct store *s, uint16_t slot, uint64_t rv, struct str ns, struct str node,
	       struct str spec)
{
	if (!node.n)
		return;
	mark(at_node(s, node), slot, rv);
	mark(at_space(s, place_namespace(ns)), slot, rv);
	mark(at_space(s, PLACE_ANYWHERE), slot, rv);
	if (keeps_apart(spec))
		mark(at_space(s, PLACE_APART_ALL), slot, rv);
}

/* --- Many --------------------------------------------------------------------------- */

static int decode_nodes(struct store *s, struct str bytes, struct str **out, uint32_t *n)
{
	value list;

	if (v_decode(s->z, bytes, &list) || !v_is_array(&list))
		return WEFT_EINVAL;
	*n = v_len(&list);
	*out = zone_alloc(s->z, (*n + 1) * sizeof(**out));
	for (uint32_t i = 0; i < *n; i++) {
		(*out)[i] = v_as_str(v_at(&list, i));
		if (!(*out)[i].n || (*out)[i].n > NODE_NAME_MAX)
			return WEFT_EINVAL;
	}
	return WEFT_OK;
}

struct target {
	struct binder *at;
	bool taken;	   /* others have bound there since */
	nodeslot_ref slot; /* once a pod of this request was bound there */
};

/* What is worked out once for a request. */
struct pass {
	struct store *s;
	const struct caller *who;
	const struct msg_bind_many *m;
	struct str *nodes;
	uint32_t nnodes;
	struct target *node; /* as many as nodes */
	/* The namespace of the pod before, as a rule also of the next. */
	string_ref ns;
	bool ns_known, ns_taken; /* others have kept it apart since */
	struct binder *ns_at;
};

static void find_nodes(struct pass *p)
{
	p->node = zone_alloc(p->s->z, (p->nnodes + 1) * sizeof(*p->node));
	for (uint32_t i = 0; i < p->nnodes; i++) {
		struct binder *at = at_node(p->s, p->nodes[i]);

		p->node[i] = (struct target){at, overtaken(at, p->who, p->m->seen), {0}};
	}
}

static void find_namespace(struct pass *p, string_ref ns)
{
	struct str name = cache_string(p->s->c, ns);

	if (p->ns_known && ns.u == p->ns.u)
		return;
	p->ns = ns;
	p->ns_known = true;
	p->ns_at = at_space(p->s, place_namespace(name));
	p->ns_taken = space_overtaken(p->s, p->who, p->m->seen, place_apart(name)) ||
		      space_overtaken(p->s, p->who, p->m->seen, PLACE_APART_ALL);
}

/* Pod i, if it is still there and waits. */
static struct entry *waiting_pod(struct pass *p, uint32_t i)
{
	const struct version *v;
	struct entry *e = entry_at_rv(p->s, TYPE_POD, p->m->entries.p[i], p->m->rvs.p[i], &v);

	return e && !v->hot.node.u && !v->deletion_s && p->m->node_of.p[i] < p->nnodes ? e : NULL;
}

static bool pod_is_taken(struct pass *p, const struct entry *e, uint32_t i)
{
	find_namespace(p, e->ns);
	return p->node[p->m->node_of.p[i]].taken || p->ns_taken;
}

/* Pods with guards were placed with each other in view: one that cannot go takes all
 * others with it. */
static bool all_is_taken(struct pass *p)
{
	if (!p->m->guards.n)
		return false;
	for (uint32_t i = 0; i < p->m->guards.n; i++)
		if (space_overtaken(p->s, p->who, p->m->seen, p->m->guards.p[i]))
			return true;
	for (uint32_t i = 0; i < p->m->entries.n; i++) {
		const struct entry *e = waiting_pod(p, i);

		if (e && pod_is_taken(p, e, i))
			return true;
	}
	return false;
}

/* Pods are placed round the nodes: each names another one. */
static void fetch_nodes(const struct pass *p, uint32_t from)
{
	struct str name[CACHE_TOGETHER];
	uint32_t n = 0;

	for (uint32_t i = from; i < p->m->entries.n && i < from + CACHE_TOGETHER; i++)
		if (p->m->node_of.p[i] < p->nnodes) {
			const struct target *t = &p->node[p->m->node_of.p[i]];

			prefetch(t->at);
			if (t->slot.u)
				cw_prefetch_slot(p->s->w, t->slot);
			else
				name[n++] = p->nodes[p->m->node_of.p[i]];
		}
	cw_prefetch_nodes(p->s->w, name, n);
}

static int bind_one(struct pass *p, struct bulk *b, struct entry *e, uint32_t node)
{
	struct target *t = &p->node[node];
	int rc;

	b->in.slot = t->slot;
	rc = bulk_status_one(p->s, b, e, p->m->holes.p, p->nodes[node], p->s->rv + 1);
	if (!rc)
		t->slot = cw_newest(p->s->w, e)->hot.node;
	return rc;
}

/* Bind what can be; fills the store's lists. */
static void bind_all(struct pass *p, struct bulk *b, struct msg_reply *r)
{
	struct store *s = p->s;
	const struct msg_bind_many *m = p->m;
	bool none = all_is_taken(p);

	for (uint32_t i = 0; i < m->entries.n; i++) {
		uint32_t node = m->node_of.p[i];
		struct entry *e;

		cache_prefetch_ahead(s->c, m->entries.p, m->entries.n, i);
		if (i % CACHE_TOGETHER == 0 && !none)
			fetch_nodes(p, i);
		e = none ? NULL : waiting_pod(p, i);
		if (!e || pod_is_taken(p, e, i) || r->status ||
		    (r->status = bind_one(p, b, e, node))) {
			buf_add(&s->skip_list, &i, sizeof(i));
			continue;
		}
		buf_add(&s->uid_list, e->uid, 16);
		buf_add(&s->number_list[0], &node, sizeof(node));
		mark(p->node[node].at, p->who->slot, s->rv);
		mark(p->ns_at, p->who->slot, s->rv);
		r->done++;
	}
}

/* Nothing was bound after all.  The marks stay: they only make others look again. */
static void take_back(const struct pass *p, struct msg_reply *r)
{
	struct store *s = p->s;

	unnote_versions(s, r->done);
	r->done = 0;
	s->uid_list.n = s->number_list[0].n = s->skip_list.n = 0;
	for (uint32_t i = 0; i < p->m->entries.n; i++)
		buf_add(&s->skip_list, &i, sizeof(i));
}

void apply_bind_many(struct store *s, const struct caller *who, const struct msg_bind_many *m,
		     struct msg_reply *r)
{
	struct pass p = {.s = s, .who = who, .m = m};
	struct rec rec = {.kind = REC_bind_many};
	struct bulk b;

	if (m->entries.n != m->rvs.n || m->entries.n != m->node_of.n || m->holes.n > UINT8_MAX ||
	    decode_nodes(s, m->nodes, &p.nodes, &p.nnodes)) {
		r->status = WEFT_EINVAL;
		return;
	}
	rec.bind_many = (struct rec_bind_many){
		.rv = s->rv + 1,
		.cause = CAUSE(who->slot, m->cause),
		.writer = who->kind,
		.nodes = m->nodes,
		.status = m->status,
		.holes = m->holes,
	};
	r->status = bulk_status_begin(s, TYPE_POD, m->status, (uint8_t)m->holes.n,
				      rec.bind_many.cause, who->kind, &b);
	if (r->status)
		return;
	s->uid_list.n = s->number_list[0].n = s->skip_list.n = 0;
	find_nodes(&p);
	bind_all(&p, &b, r);
	if (r->status && m->guards.n)
		take_back(&p, r);
	bulk_end(s, &b);
	rec.bind_many.uids = list_uids(s);
	rec.bind_many.node_of = list_numbers(&s->number_list[0]);
	r->skipped = list_numbers(&s->skip_list);
	if (!r->done)
		return;
	mark(at_space(s, PLACE_ANYWHERE), who->slot, s->rv);
	for (uint32_t i = 0; i < m->marks.n; i++)
		mark(at_space(s, m->marks.p[i]), who->slot, s->rv);
	note_record(s, &rec, store_in_memory(s, TYPE_POD));
	r->rv = rec.bind_many.rv;
}
