/* nodes.c - nodes and what is used on them. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/kube/peek.h"
#include "procs/scheduler/scheduler.h"

/* --- Tables ------------------------------------------------------------------------ */

static uint32_t *name_slot(struct scheduler *self, uint64_t hash, struct str name)
{
	uint32_t mask = self->by_name_cap - 1, i = (uint32_t)hash & mask;

	for (; self->by_name[i]; i = (i + 1) & mask) {
		struct node *n = &self->nodes[self->by_name[i] - 1];

		if (n->name_hash == hash && str_is(name, n->name))
			break;
	}
	return &self->by_name[i];
}

struct node *nodes_find(struct scheduler *self, struct str name)
{
	uint32_t at;

	if (!self->by_name_cap)
		return NULL;
	at = *name_slot(self, XXH3_64bits(name.p, name.n), name);
	return at ? &self->nodes[at - 1] : NULL;
}

static void grow_names(struct scheduler *self)
{
	free(self->by_name);
	self->by_name_cap = self->by_name_cap ? self->by_name_cap * 2 : 64;
	self->by_name = calloc(self->by_name_cap, sizeof(*self->by_name));
	weft_assert(self->by_name);
	for (uint32_t i = 0; i < self->nnodes; i++)
		*name_slot(self, self->nodes[i].name_hash, str_of(self->nodes[i].name)) = i + 1;
}

static struct node *want(struct scheduler *self, struct str name)
{
	struct node *n = nodes_find(self, name);

	if (n)
		return n;
	if (self->nnodes * 2 >= self->by_name_cap)
		grow_names(self);
	if (self->nnodes == self->nodes_cap) {
		self->nodes_cap = self->nodes_cap ? self->nodes_cap * 2 : 64;
		self->nodes = realloc(self->nodes, self->nodes_cap * sizeof(*self->nodes));
		self->slot_of = realloc(self->slot_of, self->nodes_cap * sizeof(*self->slot_of));
		weft_assert(self->nodes && self->slot_of);
	}
	self->slot_of[self->nnodes] = 0;
	n = &self->nodes[self->nnodes++];
	*n = (struct node){.name_n = (uint32_t)name.n,
			   .name = strndup(name.p, name.n),
			   .name_hash = XXH3_64bits(name.p, name.n),
			   .z = zone_new_small()};
	weft_assert(n->name);
	*name_slot(self, n->name_hash, name) = self->nnodes;
	return n;
}

/* The reference may mean another node by now, but not while the Node object holds it. */
static bool has_slot(const struct scheduler *self, const struct node *n, nodeslot_ref slot)
{
	return self->slot_of[n - self->nodes] == slot.u ||
	       str_is(cache_string(self->c, cache_nodeslot(self->c, slot)->name), n->name);
}

struct node *nodes_of_slot(struct scheduler *self, nodeslot_ref slot)
{
	int64_t at = refmap_get(&self->by_slot, slot.u);
	struct node *n;

	if (at >= 0 && has_slot(self, &self->nodes[at], slot))
		return &self->nodes[at];
	n = want(self, cache_string(self->c, cache_nodeslot(self->c, slot)->name));
	refmap_put(&self->by_slot, slot.u, (uint32_t)(n - self->nodes));
	return n;
}

/* --- Accounting --------------------------------------------------------------------- */

bool pod_on_node(const struct version *v)
{
	return v && !(v->flags & VERSION_TOMBSTONE) && v->hot.node.u && !pod_has_ended(v);
}

bool pod_waits(const struct version *v)
{
	return v && !v->hot.node.u && !v->deletion_s && !(v->hot.flags & HOT_GATED) &&
	       !pod_has_ended(v);
}

static void account_ports(struct node *n, const struct kind *k, int sign)
{
	for (uint32_t i = 0; i < k->nports; i++) {
		const struct port *p = &k->ports[i];
		uint32_t at = 0;

		while (at < n->nports && (n->ports[at].port.number != p->number ||
					  !str_eq(n->ports[at].port.protocol, p->protocol) ||
					  !str_eq(n->ports[at].port.ip, p->ip)))
			at++;
		if (at == n->nports && sign > 0) {
			if (n->nports == n->cap_ports) {
				n->cap_ports = n->cap_ports ? n->cap_ports * 2 : 4;
				n->ports = realloc(n->ports, n->cap_ports * sizeof(*n->ports));
				weft_assert(n->ports);
			}
			n->ports[n->nports++] =
				(struct used_port){.port = {p->number, zone_str(n->z, p->protocol),
							    zone_str(n->z, p->ip)}};
		}
		if (at == n->nports)
			continue;
		n->ports[at].pods += (uint32_t)sign;
		if (!n->ports[at].pods)
			n->ports[at] = n->ports[--n->nports];
	}
}

void nodes_account(struct scheduler *self, struct node *node, struct kind *kind, int sign)
{
	uint32_t i = (uint32_t)(node - self->nodes);

	kind_expect_pod(self, kind);
	resources_add(&node->used, &kind->ask, sign, node->z);
	node->score_cpu += sign * kind->score_cpu;
	node->score_memory += sign * kind->score_memory;
	node->pods += sign;
	kind->running += (uint32_t)sign;
	if (kind->nports)
		account_ports(node, kind, sign);
	if (kind->on_node && i < kind->on_node_n)
		kind->on_node[i] += (uint32_t)sign;
	if (kind->own_counted)
		terms_note_own(kind, node, sign);
}

/* --- Node objects ------------------------------------------------------------------- */

static bool same_resources(const struct resources *a, const struct resources *b)
{
	if (a->cpu != b->cpu || a->memory != b->memory || a->storage != b->storage ||
	    a->nextended != b->nextended)
		return false;
	for (uint32_t i = 0; i < a->nextended; i++)
		if (!str_eq(a->extended[i].name, b->extended[i].name) ||
		    a->extended[i].milli != b->extended[i].milli)
			return false;
	return true;
}

/* What may help pods that wait: a change for the worse wakes none. */
static void note_moves(struct scheduler *self, const struct node *was, const struct node *n)
{
	self->moved[MOVE_NODES] += !was->present;
	self->moved[MOVE_LABELS] += !v_equal(&was->labels, &n->labels);
	self->moved[MOVE_TAINTS] += (was->unschedulable && !n->unschedulable) ||
				    (v_len(&was->taints) && !v_equal(&was->taints, &n->taints));
	self->moved[MOVE_CAPACITY] +=
		was->max_pods != n->max_pods || !same_resources(&was->has, &n->has);
}

/* May a kind go to it now that could not before, or the other way round, as far as nodes
 * alone decide it?  (A Node's status says something new all the time.) */
static bool differs(const struct node *was, const struct node *n)
{
	return !was->present || was->unschedulable != n->unschedulable ||
	       !v_equal(&was->labels, &n->labels) || !v_equal(&was->taints, &n->taints);
}

/* What it has for pods, of a status that says much more. */
static value allocatable_of(struct scheduler *self, const struct version *v)
{
	struct str status = cache_part(self->c, v, PART_STATUS);
	value out;

	if (!v_decode(self->z, peek_get(status, STR("allocatable")), &out) && v_len(&out))
		return out;
	return v_decode(self->z, peek_get(status, STR("capacity")), &out) ? v_null() : out;
}

/* True if it differs from before. */
static bool read_node(struct scheduler *self, struct node *n, const struct entry *e,
		      const struct version *v)
{
	bool different;
	struct node was = *n;
	value spec = kube_part(self->z, self->c, e, v, PART_SPEC);
	value labels = kube_part(self->z, self->c, e, v, PART_LABELS);
	value allocatable = allocatable_of(self, v);
	int64_t milli;

	n->z = zone_new_small();
	n->labels = v_copy(n->z, &labels);
	n->taints = v_get(&spec, "taints") ? v_copy(n->z, v_get(&spec, "taints")) : v_array();
	n->avoided = filter_avoided(&n->taints);
	n->unschedulable = v_get_bool(&spec, "unschedulable", false);
	n->has = (struct resources){0};
	resources_read(n->z, &allocatable, &n->has);
	n->max_pods = kube_quantity_milli(v_get(&allocatable, "pods"), &milli) ? milli / 1000 : 0;
	n->used = (struct resources){0};
	resources_add(&n->used, &was.used, 1, n->z);
	for (uint32_t i = 0; i < n->nports; i++) {
		n->ports[i].port.protocol = zone_str(n->z, n->ports[i].port.protocol);
		n->ports[i].port.ip = zone_str(n->z, n->ports[i].port.ip);
	}
	n->present = true;
	n->ours = proc_mine_name(self->proc, entry_name(e));
	note_moves(self, &was, n);
	different = differs(&was, n);
	zone_free(was.z);
	return different;
}

void nodes_look(struct scheduler *self, const struct entry *e)
{
	const struct version *v = cache_live(self->c, e);
	struct node *n = want(self, entry_name(e));
	bool different = n->present;

	self->npresent -= n->present;
	if (v)
		different = read_node(self, n, e, v);
	else
		n->present = false;
	self->slot_of[n - self->nodes] = v ? v->hot.node.u : 0;
	if (n->present && !n->counted && (uint32_t)(n - self->nodes) < self->count_at)
		self->count_at = (uint32_t)(n - self->nodes);
	self->npresent += n->present;
	if (!different)
		return;
	self->nodes_changed++;
	for (uint32_t i = 0; i < self->nanti; i++)
		self->anti[i]->own_counted = false;
}

void nodes_free(struct scheduler *self)
{
	for (uint32_t i = 0; i < self->nnodes; i++) {
		free(self->nodes[i].name);
		free(self->nodes[i].ports);
		zone_free(self->nodes[i].z);
	}
	free(self->nodes);
	free(self->slot_of);
	free(self->by_name);
	refmap_free(&self->by_slot);
}
