/* preempt.c - making room for a pod of higher priority. */
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"

#define CANDIDATES_MIN	 100u /* nodes with an offer that are enough to choose from, */
#define CANDIDATES_SHARE 10   /* or this share of all */
#define SEND_ROOM	 (256u << 10)

struct victim {
	const struct entry *e;
	const struct version *v;
	struct kind *kind;
	bool stays;
};

/* What a node would have to give up. */
struct offer {
	struct node *node;
	struct victim *victims;
	uint32_t n;
	int64_t highest, sum; /* priorities of the victims */
	uint64_t newest;      /* created_rv of the oldest among those of the highest priority */
};

/* --- An offer --------------------------------------------------------------------- */

/* More important first: higher priority, then older. */
static int important_first(const void *pa, const void *pb)
{
	const struct victim *a = pa, *b = pb;

	if (a->kind->priority != b->kind->priority)
		return a->kind->priority > b->kind->priority ? -1 : 1;
	return a->e->created_rv < b->e->created_rv ? -1 : 1;
}

/* Pods of lower priority on the node that are not on their way out. */
static void collect(struct scheduler *self, const struct kind *kind, struct offer *o)
{
	const struct nodeslot *slot = cache_node(self->c, str_of(o->node->name));
	uint32_t cap = 0;

	o->n = 0;
	for (const struct entry *e = slot ? cache_first_on_node(self->c, slot) : NULL; e;
	     e = cache_next_on_node(self->c, e)) {
		const struct version *v = cache_live(self->c, e);
		struct kind *k;

		if (!pod_on_node(v) || v->deletion_s ||
		    refmap_has(&self->victims, cache_entry_ref(self->c, e).u))
			continue;
		k = kind_of(self, e, v);
		if (k->priority >= kind->priority)
			continue;
		if (o->n == cap) {
			struct victim *more;

			cap = cap ? cap * 2 : 16;
			more = zone_alloc(self->z, cap * sizeof(*more));
			if (o->n)
				memcpy(more, o->victims, o->n * sizeof(*more));
			o->victims = more;
		}
		o->victims[o->n++] = (struct victim){e, v, k, false};
	}
	if (o->n)
		qsort(o->victims, o->n, sizeof(*o->victims), important_first);
}

static void take(struct scheduler *self, struct node *node, struct kind *kind, int sign)
{
	nodes_account(self, node, kind, sign);
	terms_note(self, kind, node, sign, sign);
}

static bool fits(struct scheduler *self, struct kind *kind, const struct node *node)
{
	return filter_fit(self, kind, node, NULL) && filter_terms(self, kind, node, NULL);
}

/* Without all of them the pod has to fit; then as many stay as can, the most
 * important first.  The node's account is as before afterwards. */
static bool choose_victims(struct scheduler *self, struct kind *kind, struct offer *o)
{
	uint32_t kept = 0;
	bool ok;

	for (uint32_t i = 0; i < o->n; i++)
		take(self, o->node, o->victims[i].kind, -1);
	ok = fits(self, kind, o->node);
	for (uint32_t i = 0; i < o->n; i++) {
		struct victim *v = &o->victims[i];

		take(self, o->node, v->kind, 1);
		v->stays = !ok || fits(self, kind, o->node);
		if (!v->stays)
			take(self, o->node, v->kind, -1);
	}
	for (uint32_t i = 0; i < o->n; i++) {
		if (o->victims[i].stays)
			continue;
		take(self, o->node, o->victims[i].kind, 1);
		o->victims[kept++] = o->victims[i];
	}
	o->n = kept;
	return ok && kept;
}

static void weigh(struct offer *o)
{
	o->highest = o->victims[0].kind->priority;
	o->newest = o->victims[0].e->created_rv;
	o->sum = 0;
	for (uint32_t i = 0; i < o->n; i++)
		o->sum += o->victims[i].kind->priority + INT64_C(0x80000000);
}

/* Lower highest priority, then lower sum, fewer victims, younger ones. */
static bool better(const struct offer *a, const struct offer *b)
{
	if (a->highest != b->highest)
		return a->highest < b->highest;
	if (a->sum != b->sum)
		return a->sum < b->sum;
	if (a->n != b->n)
		return a->n < b->n;
	return a->newest > b->newest;
}

/* --- Eviction ----------------------------------------------------------------------- */

/* What was asked of the store, until its reply. */
struct evicting {
	struct scheduler *self;
	uint64_t created_rv; /* of the first */
	uint32_t n;
	uint32_t entries[];
};

static struct evicting *evicting_new(struct scheduler *self, const struct victim *victims,
				     uint32_t n)
{
	struct evicting *sent = malloc(sizeof(*sent) + n * sizeof(sent->entries[0]));

	weft_assert(sent);
	*sent = (struct evicting){.self = self, .created_rv = victims[0].e->created_rv, .n = n};
	for (uint32_t i = 0; i < n; i++)
		sent->entries[i] = cache_entry_ref(self->c, victims[i].e).u;
	return sent;
}

static void on_marked(void *arg, const struct msg_reply *reply);

/* Its status says why it goes. */
static void mark(struct scheduler *self, const struct victim *victim)
{
	zone *z = self->z;
	value status = kube_part(z, self->c, victim->e, victim->v, PART_STATUS);
	struct evicting *sent = evicting_new(self, victim, 1);
	struct buf bytes = {0};
	struct msg m = {.kind = MSG_update};

	kube_disruption_set(z, &status, "PreemptionByScheduler",
			    "default-scheduler: preempting to accommodate a higher priority pod",
			    clock_wall_s(), victim->v->generation);
	v_encode(&bytes, &status);
	m.update = (struct msg_update){
		.type = TYPE_POD,
		.ns = cache_ns(self->c, victim->e),
		.name = entry_name(victim->e),
		.uid = {(const char *)victim->e->uid, 16},
		.rv = victim->v->rv,
		.mask = 1u << PART_STATUS,
		.status = buf_str(&bytes),
	};
	if (proc_send(self->proc, &m, on_marked, sent))
		free(sent);
	buf_free(&bytes);
}

/* Its node wrote a status meanwhile: that stays, with our condition. */
static void mark_again(const struct evicting *sent)
{
	struct scheduler *self = sent->self;
	struct victim victim = {0};
	const struct entry *e;

	cache_lock(self->c);
	if (!cache_entry_checked(self->c, sent->entries[0], &e) &&
	    e->created_rv == sent->created_rv)
		victim = (struct victim){.e = e, .v = cache_live(self->c, e)};
	if (victim.v)
		mark(self, &victim);
	cache_unlock(self->c);
}

static void on_marked(void *arg, const struct msg_reply *reply)
{
	struct evicting *sent = arg;

	if (reply->status == WEFT_ECONFLICT)
		mark_again(sent);
	free(sent);
}

/* What was not deleted is no victim; who waits for its place chooses again. */
static void on_evicted(void *arg, const struct msg_reply *reply)
{
	struct evicting *sent = arg;

	if (reply->status && reply->status != WEFT_ELOST)
		for (uint32_t i = 0; i < sent->n; i++)
			refmap_take(&sent->self->victims, sent->entries[i]);
	note_refusal(sent->self, reply);
	free(sent);
}

static bool delete_victims(struct scheduler *self, const struct offer *o)
{
	struct evicting *sent = evicting_new(self, o->victims, o->n);
	uint64_t *rvs = zone_alloc(self->z, o->n * sizeof(*rvs));
	struct msg m = {.kind = MSG_delete_many};

	for (uint32_t i = 0; i < o->n; i++)
		rvs[i] = o->victims[i].v->rv;
	m.delete_many = (struct msg_delete_many){
		.type = TYPE_POD,
		.grace = -1,
		.entries = {sent->entries, o->n},
		.rvs = {rvs, o->n},
	};
	if (proc_send(self->proc, &m, on_evicted, sent)) {
		self->moved[MOVE_REFUSED]++;
		free(sent);
		return false;
	}
	for (uint32_t i = 0; i < o->n; i++)
		refmap_put(&self->victims, sent->entries[i], 0);
	return true;
}

static bool evict(struct scheduler *self, const struct entry *pod, const struct offer *o)
{
	static const struct event_source source = {.component = "default-scheduler"};
	char uid[37];

	if (!proc_can_send(self->proc, SEND_ROOM)) {
		self->moved[MOVE_REFUSED]++;
		return false;
	}
	uid_format(pod->uid, uid);
	for (uint32_t i = 0; i < o->n; i++) {
		mark(self, &o->victims[i]);
		proc_event(
			self->proc, o->victims[i].e, &source, "Normal", "Preempted",
			zone_printf(self->z, "Preempted by pod %s on node %s", uid, o->node->name));
	}
	return delete_victims(self, o);
}

bool preempt_still_leaving(struct scheduler *self, const struct kind *kind, const struct entry *pod,
			   const struct version *v)
{
	value status = kube_part(self->z, self->c, pod, v, PART_STATUS);
	struct str name = v_get_str(&status, "nominatedNodeName");
	const struct nodeslot *slot = name.n ? cache_node(self->c, name) : NULL;

	for (const struct entry *e = slot ? cache_first_on_node(self->c, slot) : NULL; e;
	     e = cache_next_on_node(self->c, e)) {
		const struct version *other = cache_live(self->c, e);

		if (pod_on_node(other) &&
		    (other->deletion_s ||
		     refmap_has(&self->victims, cache_entry_ref(self->c, e).u)) &&
		    kind_of(self, e, other)->priority < kind->priority)
			return true;
	}
	return false;
}

uint32_t preempt_for(struct scheduler *self, struct kind *kind, const struct entry *pod,
		     struct node **node)
{
	uint32_t enough = self->npresent / CANDIDATES_SHARE, found = 0;
	struct offer best = {0};

	if (enough < CANDIDATES_MIN)
		enough = CANDIDATES_MIN;
	for (uint32_t i = 0; i < kind->nfeasible && found < enough; i++) {
		struct offer o = {.node = &self->nodes[kind->feasible[i]]};

		collect(self, kind, &o);
		if (!o.n || !choose_victims(self, kind, &o))
			continue;
		weigh(&o);
		if (!found++ || better(&o, &best))
			best = o;
	}
	if (!found || !evict(self, pod, &best))
		return 0;
	*node = best.node;
	return best.n;
}

/* --- Nominations -------------------------------------------------------------------- */

void nominate(struct scheduler *self, const struct pending *pod, struct kind *kind,
	      const struct node *node)
{
	struct nomination n = {*pod, kind, (uint32_t)(node - self->nodes)};

	for (uint32_t i = 0; i < self->nnominated; i++)
		if (self->nominated[i].pod.entry == pod->entry) {
			self->nominated[i] = n;
			return;
		}
	if (self->nnominated == self->nominated_cap) {
		self->nominated_cap = self->nominated_cap ? self->nominated_cap * 2 : 16;
		self->nominated =
			realloc(self->nominated, self->nominated_cap * sizeof(*self->nominated));
		weft_assert(self->nominated);
	}
	self->nominated[self->nnominated++] = n;
}

/* It still waits, and for the same. */
static bool stands(struct scheduler *self, const struct nomination *n)
{
	const struct version *v;
	const struct entry *e = place_waiting(self, &n->pod, &v);

	return e && kind_of(self, e, v) == n->kind;
}

void nominated_hold(struct scheduler *self, const struct kind *kind, int sign)
{
	for (uint32_t i = 0; i < self->nnominated;) {
		struct nomination *n = &self->nominated[i];

		if (sign > 0 && !stands(self, n)) {
			*n = self->nominated[--self->nnominated];
			continue;
		}
		if (n->kind != kind && n->kind->priority >= kind->priority)
			nodes_account(self, &self->nodes[n->node], n->kind, sign);
		i++;
	}
}
