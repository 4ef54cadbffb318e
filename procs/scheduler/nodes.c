/* nodes.c - nodes and what is used on them. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/scheduler/scheduler.h"

/* --- Tables ------------------------------------------------------------------------ */

static uint32_t *name_slot(struct scheduler *self, uint64_t hash, struct str name)
{
	uint32_t mask = self->by_name_cap - 1, i = (uint32_t)hash & mask;

	for (; self->by_name[i]; i = (i + 1) & mask) {
		struct node *n = &self->nodes[self->by_name[i] - 1];

		if (n->name_hash == hash && str_eq(str_of(n->name), name))
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
		weft_assert(self->nodes);
	}
	n = &self->nodes[self->nnodes++];
	*n = (struct node){.name = strndup(name.p, name.n),
			   .name_hash = XXH3_64bits(name.p, name.n),
			   .z = zone_new()};
	weft_assert(n->name);
	*name_slot(self, n->name_hash, name) = self->nnodes;
	return n;
}

static void grow_slots(struct scheduler *self)
{
	uint32_t old = self->by_slot_cap, *keys = self->by_slot_key, *nodes = self->by_slot;

	self->by_slot_cap = old ? old * 2 : 256;
	self->by_slot_key = calloc(self->by_slot_cap, sizeof(*keys));
	self->by_slot = calloc(self->by_slot_cap, sizeof(*nodes));
	weft_assert(self->by_slot_key && self->by_slot);
	for (uint32_t i = 0; i < old; i++) {
		uint32_t at = keys[i] * 2654435761u & (self->by_slot_cap - 1);

		if (!keys[i])
			continue;
		while (self->by_slot_key[at])
			at = (at + 1) & (self->by_slot_cap - 1);
		self->by_slot_key[at] = keys[i];
		self->by_slot[at] = nodes[i];
	}
	free(keys);
	free(nodes);
}

struct node *nodes_of_slot(struct scheduler *self, nodeslot_ref slot)
{
	uint32_t at;
	struct node *n;

	if (self->by_slot_n * 2 >= self->by_slot_cap)
		grow_slots(self);
	at = slot.u * 2654435761u & (self->by_slot_cap - 1);
	for (; self->by_slot_key[at]; at = (at + 1) & (self->by_slot_cap - 1))
		if (self->by_slot_key[at] == slot.u) {
			n = &self->nodes[self->by_slot[at] - 1];
			if (str_eq(str_of(n->name),
				   cache_string(self->c, cache_nodeslot(self->c, slot)->name)))
				return n;
			break; /* the reference means another node by now */
		}
	n = want(self, cache_string(self->c, cache_nodeslot(self->c, slot)->name));
	if (!self->by_slot_key[at])
		self->by_slot_n++;
	self->by_slot_key[at] = slot.u;
	self->by_slot[at] = (uint32_t)(n - self->nodes) + 1;
	return n;
}

/* --- Accounting -------------------------------------------------------------------------- */

bool pod_on_node(const struct version *v)
{
	return v && !(v->flags & VERSION_TOMBSTONE) && v->hot.node.u &&
	       v->hot.phase != POD_SUCCEEDED && v->hot.phase != POD_FAILED;
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
			n->ports[n->nports++] = (struct used_port){
				.port = {p->number, zone_str(n->z, p->protocol), zone_str(n->z, p->ip)}};
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

	if (kind->has_anti)
		kind_keep_on_node(self, kind);
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

/* --- Node objects ---------------------------------------------------------------------------- */

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
	self->moved[MOVE_CAPACITY] += was->max_pods != n->max_pods ||
				      !same_resources(&was->has, &n->has);
}

static void read_node(struct scheduler *self, struct node *n, const struct entry *e,
		      const struct version *v)
{
	struct node was = *n;
	value spec = kube_part(self->z, self->c, e, v, PART_SPEC);
	value status = kube_part(self->z, self->c, e, v, PART_STATUS);
	value labels = kube_part(self->z, self->c, e, v, PART_LABELS);
	const value *allocatable = v_get(&status, "allocatable");
	int64_t milli;

	n->z = zone_new();
	n->labels = v_copy(n->z, &labels);
	n->taints = v_get(&spec, "taints") ? v_copy(n->z, v_get(&spec, "taints")) : v_array();
	n->unschedulable = v_get_bool(&spec, "unschedulable", false);
	if (!v_len(allocatable))
		allocatable = v_get(&status, "capacity");
	n->has = (struct resources){0};
	resources_read(n->z, allocatable, &n->has);
	n->max_pods = kube_quantity_milli(v_get(allocatable, "pods"), &milli) ? milli / 1000 : 0;
	n->used = (struct resources){0};
	resources_add(&n->used, &was.used, 1, n->z);
	for (uint32_t i = 0; i < n->nports; i++) {
		n->ports[i].port.protocol = zone_str(n->z, n->ports[i].port.protocol);
		n->ports[i].port.ip = zone_str(n->z, n->ports[i].port.ip);
	}
	n->present = true;
	n->ours = proc_mine_name(self->proc, entry_name(e));
	note_moves(self, &was, n);
	zone_free(was.z);
}

void nodes_look(struct scheduler *self, const struct entry *e)
{
	const struct version *v = cache_live(self->c, e);
	struct node *n = want(self, entry_name(e));

	self->npresent -= n->present;
	if (v)
		read_node(self, n, e, v);
	else
		n->present = false;
	self->npresent += n->present;
	self->nodes_changed++;
	for (uint32_t i = 0; i < self->nanti; i++)
		self->anti[i]->own_counted = false;
}

/* --- Following ---------------------------------------------------------------------------------- */

static bool on_its_way_out(const struct version *v)
{
	return v && v->deletion_s;
}

/* What a pod is for its node and for the counts by topology: nothing (v NULL or
 * not on a node), or so many. */
static void account_pod(struct scheduler *self, const struct entry *e, const struct version *v,
			int sign)
{
	struct kind *kind = kind_of(self, e, v);
	struct node *node = nodes_of_slot(self, v->hot.node);

	nodes_account(self, node, kind, sign);
	terms_note(self, kind, node, sign, on_its_way_out(v) ? 0 : sign);
}

/* The pod, whose bind we have asked for, has a node: is that as we have it in our books?
 * Others may have sent it elsewhere. */
static bool is_as_assumed(struct scheduler *self, const struct version *v)
{
	int64_t at = refset_take(&self->assumed, v->entry.u);
	struct kind *kind;

	if (at < 0 || nodes_of_slot(self, v->hot.node) - self->nodes == at)
		return at >= 0;
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
		refset_del(&self->victims, v->entry.u);
	if (!before && now && is_as_assumed(self, v))
		return;
	same = before && now && v->part[PART_LABELS] == was->part[PART_LABELS] &&
	       v->part[PART_SPEC] == was->part[PART_SPEC];
	if ((!before && !now) || (same && on_its_way_out(v) == on_its_way_out(was)))
		return;
	if (before)
		account_pod(self, e, was, -1);
	if (now)
		account_pod(self, e, v, 1);
	self->moved[MOVE_GONE] += before && !same;
	self->moved[MOVE_COME] += now && !same;
}

void nodes_follow(struct scheduler *self)
{
	const struct version *some[256];
	int n;

	while ((n = cache_journal(self->c, self->journal_rv, some, (int)countof(some))) > 0) {
		for (int i = 0; i < n; i++) {
			uint32_t prev = prcu_dereference(&some[i]->prev);

			if (cache_entry(self->c, some[i]->entry)->type != TYPE_POD)
				continue;
			follow_pod(self, some[i],
				   prev ? cache_version(self->c, (version_ref){prev}) : NULL);
		}
		self->journal_rv = some[n - 1]->rv;
	}
	if (n < 0)
		self->behind = true;
}

static void forget_all(struct scheduler *self)
{
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct node *n = &self->nodes[i];

		n->used = (struct resources){0};
		n->score_cpu = n->score_memory = n->pods = 0;
		n->nports = 0;
		n->present = false;
	}
	for (uint32_t i = 0; i < KIND_BUCKETS; i++)
		for (struct kind *k = self->kinds[i]; k; k = k->next) {
			k->n = k->at = k->tell_at = 0;
			k->running = 0;
			k->terms_seen = k->feasible_seen = 0;
			k->own_counted = false;
			free(k->on_node);
			k->on_node = NULL;
		}
	refset_clear(&self->assumed);
	refset_clear(&self->victims);
	self->nnominated = 0;
	if (self->by_slot_cap)
		memset(self->by_slot_key, 0, self->by_slot_cap * sizeof(*self->by_slot_key));
	self->by_slot_n = self->npresent = 0;
	self->external++;
	self->behind = false;
}

static void read_live(void *arg, const struct entry *e)
{
	struct scheduler *self = arg;

	if (cache_live(self->c, e))
		nodes_look(self, e);
}

/* As the pod was at journal_rv: what came later is in the journal. */
static void account_then(void *arg, const struct entry *e)
{
	struct scheduler *self = arg;
	const struct version *v = cache_at(self->c, e, self->journal_rv);

	if (pod_on_node(v))
		nodes_account(self, nodes_of_slot(self, v->hot.node), kind_of(self, e, v), 1);
	if (++self->looked % 4096 == 0)
		zone_reset(self->z);
}

/* All anew from the cache, at one resourceVersion.  If the journal's window passes it
 * meanwhile, nodes_follow() says so, and it is done again. */
void nodes_rebuild(struct scheduler *self)
{
	forget_all(self);
	self->journal_rv = cache_rv(self->c);
	proc_each(self->proc, TYPE_NODE, read_live, self);
	proc_each(self->proc, TYPE_POD, account_then, self);
}

void nodes_free(struct scheduler *self)
{
	for (uint32_t i = 0; i < self->nnodes; i++) {
		free(self->nodes[i].name);
		free(self->nodes[i].ports);
		zone_free(self->nodes[i].z);
	}
	free(self->nodes);
	free(self->by_name);
	free(self->by_slot);
	free(self->by_slot_key);
}
