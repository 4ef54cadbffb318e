/* plan.c - pods of one kind, done together; see node.h. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/node/node.h"

/* --- Keys ------------------------------------------------------------------------ */

static struct plan_key key_of(struct node *self, const struct entry *e, const struct version *v)
{
	const struct cache *c = self->c;
	struct str ns = cache_ns(c, e);

	return (struct plan_key){
		.spec = cache_part_hash(c, v, PART_SPEC),
		.meta = cache_part_hash(c, v, PART_META),
		.labels = cache_part_hash(c, v, PART_LABELS),
		.status = cache_part_hash(c, v, PART_STATUS) ^ v->generation,
		.ns = XXH3_64bits(ns.p, ns.n) ^ (uint64_t)(uint32_t)v->grace_s,
	};
}

static bool same_key(const struct plan_key *a, const struct plan_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- Making ------------------------------------------------------------------------ */

/* Holes of the status before move up, behind those that are ours. */
static void shift_holes(zone *z, value *v)
{
	if (v->type == MSGPACK_OBJECT_EXT && v->via.ext.type <= HOLE_UINT && v->via.ext.size == 1) {
		*v = v_hole(z, (enum hole_type)v->via.ext.type,
			    (uint8_t)(v->via.ext.ptr[0] + KUBELET_HOLES), (struct str){0});
		return;
	}
	v_each(el, v)
		shift_holes(z, el);
	v_each_kv(kv, v)
		shift_holes(z, &kv->val);
}

static void keep_events(struct plan *plan, struct plan_events *to, const struct kubelet_pod *p)
{
	to->n = p->nevents < countof(to->list) ? p->nevents : countof(to->list);
	for (uint32_t i = 0; i < to->n; i++) {
		to->list[i] = p->events[i];
		to->list[i].message = zone_str(plan->zone, p->events[i].message);
		to->list[i].field_path = zone_str(plan->zone, p->events[i].field_path);
	}
}

static void make(struct node *self, struct plan *plan, const struct entry *e,
		 const struct version *v)
{
	struct kubelet_pod p;

	pods_read(self, e, v, false, &p);
	p.symbolic = true;
	plan->host_network = v->hot.flags & HOT_HOSTNET;
	plan->single = v->nholes > PLAN_HOLES_MAX - KUBELET_HOLES || !kubelet_is_new(&p.status);
	if (!plan->single) {
		shift_holes(self->z, &p.status);
		kubelet_advance(&p);
		plan->single = p.wake_ms != 0;
	}
	if (!plan->single) {
		plan->nholes = KUBELET_HOLES + v->nholes;
		v_encode(&plan->status, &p.status);
		keep_events(plan, &plan->starts, &p);
	}
	p.nevents = 0;
	plan->stop_ms = kubelet_stop(&p, v->grace_s > 0 ? v->grace_s : 0);
	keep_events(plan, &plan->stops, &p);
}

static struct plan *renew(struct node *self, struct plan **slot, const struct plan_key *key)
{
	struct plan *plan = *slot;

	if (!plan) {
		plan = *slot = calloc(1, sizeof(*plan));
		weft_assert(plan);
		plan->zone = zone_new();
	}
	plan_flush(self, plan);
	zone_reset(plan->zone);
	plan->status.n = 0;
	plan->starts.n = plan->stops.n = 0;
	plan->key = *key;
	plan->set = true;
	return plan;
}

struct plan *plan_for(struct node *self, const struct entry *e, const struct version *v)
{
	struct plan_key key = key_of(self, e, v);
	struct plan **slot = &self->plans[XXH3_64bits(&key, sizeof(key)) % PLAN_SLOTS];

	if (*slot && (*slot)->set && same_key(&(*slot)->key, &key))
		return *slot;
	renew(self, slot, &key);
	make(self, *slot, e, v);
	return *slot;
}

/* --- Batches ------------------------------------------------------------------------ */

/* What a request needs to be remembered by until its reply. */
struct batch {
	struct node *self;
	struct asked asked;
	struct asked_pod pods[];
};

/* A pod that was skipped has changed meanwhile: it is looked at anew, and its
 * address is free again. */
static void give_back(struct batch *b, uint32_t i)
{
	if (b->pods[i].ip)
		address_give(&b->self->addresses, b->pods[i].ip, b->pods[i].holder);
	pods_queue(b->self, b->pods[i].entry);
}

static void on_reply(void *arg, const struct msg_reply *reply)
{
	struct batch *b = arg;

	if (reply->status == WEFT_OK) {
		for (uint32_t i = 0; i < reply->skipped.n; i++)
			if (reply->skipped.p[i] < b->asked.n)
				give_back(b, reply->skipped.p[i]);
	} else if (reply->status != WEFT_ELOST) {
		for (uint32_t i = 0; i < b->asked.n; i++)
			give_back(b, i);
	}
	asked_remove(&b->asked);
	free(b);
}

void plan_flush(struct node *self, struct plan *plan)
{
	struct batch *b;
	struct msg m = {.kind = MSG_status_many};

	if (!plan->n)
		return;
	b = malloc(sizeof(*b) + plan->n * sizeof(b->pods[0]));
	weft_assert(b);
	b->self = self;
	b->asked = (struct asked){.n = plan->n, .pods = b->pods};
	for (uint32_t i = 0; i < plan->n; i++) {
		b->pods[i].entry = plan->entries[i];
		b->pods[i].holder = plan->holders[i];
		b->pods[i].ip =
			plan->host_network ? 0 : plan->holes[i * plan->nholes + KUBELET_POD_IP];
	}
	m.status_many = (struct msg_status_many){
		.type = TYPE_POD,
		.status = buf_str(&plan->status),
		.nholes = plan->nholes,
		.entries = {plan->entries, plan->n},
		.rvs = {plan->rvs, plan->n},
		.holes = {plan->holes, plan->n * plan->nholes},
	};
	plan->n = 0;
	asked_add(&self->asked, &b->asked);
	if (proc_send(self->proc, &m, on_reply, b) == 0) {
		proc_flush(self->proc); /* the store need not wait until all are looked at */
		return;
	}
	asked_remove(&b->asked);
	for (uint32_t i = 0; i < b->asked.n; i++)
		give_back(b, i);
	free(b);
}

void plan_add(struct node *self, struct plan *plan, const struct known_node *node,
	      const struct entry *e, const struct version *v)
{
	uint32_t *holes = plan->holes + plan->n * plan->nholes;

	holes[KUBELET_HOST_IP] = node->host_ip;
	plan->holders[plan->n] = pods_holder(e);
	holes[KUBELET_POD_IP] = plan->host_network
					? holes[KUBELET_HOST_IP]
					: address_take(&self->addresses, plan->holders[plan->n]);
	if (!holes[KUBELET_POD_IP]) {
		pods_wait_for_address(self, node, e);
		return;
	}
	if (!plan->n)
		plan->begun_s = clock_wall_s();
	holes[KUBELET_NOW] = plan->begun_s;
	for (uint32_t i = 0; i < v->nholes; i++)
		holes[KUBELET_HOLES + i] = v->holes[i];
	plan->entries[plan->n] = cache_entry_ref(self->c, e).u;
	plan->rvs[plan->n++] = v->rv;
	pods_tell(self, e, node, plan->starts.list, plan->starts.n);
	if (plan->n == PLAN_BATCH)
		plan_flush(self, plan);
}

void plan_flush_all(struct node *self)
{
	for (uint32_t i = 0; i < PLAN_SLOTS; i++)
		if (self->plans[i])
			plan_flush(self, self->plans[i]);
}

/* References in waiting batches are void: a new generation of the cache. */
void plan_forget(struct node *self)
{
	for (uint32_t i = 0; i < PLAN_SLOTS; i++)
		if (self->plans[i])
			self->plans[i]->n = self->plans[i]->set = 0;
}
