/* kind.c - what a pod asks for, parsed once for all pods of its kind. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/scheduler/scheduler.h"

#define KINDS_MAX     8192u
#define ON_NODE_BYTES (UINT64_C(16) << 20) /* for all on_node together */
#define SCORE_CPU     100		   /* milli, of a container that asks for none */
#define SCORE_MEMORY  (INT64_C(200) * 1024 * 1024 * 1000)

/* --- Resources ------------------------------------------------------------------- */

static struct extended *find_extended(struct resources *r, struct str name)
{
	for (uint32_t i = 0; i < r->nextended; i++)
		if (str_eq(r->extended[i].name, name))
			return &r->extended[i];
	return NULL;
}

static struct extended *want_extended(struct resources *r, struct str name, zone *z)
{
	struct extended *have = find_extended(r, name), *grown;

	if (have)
		return have;
	grown = zone_alloc(z, (r->nextended + 1) * sizeof(*grown));
	if (r->nextended)
		memcpy(grown, r->extended, r->nextended * sizeof(*grown));
	r->extended = grown;
	grown[r->nextended] = (struct extended){zone_str(z, name), 0};
	return &grown[r->nextended++];
}

void resources_add(struct resources *to, const struct resources *what, int sign, zone *z)
{
	to->cpu += sign * what->cpu;
	to->memory += sign * what->memory;
	to->storage += sign * what->storage;
	for (uint32_t i = 0; i < what->nextended; i++)
		want_extended(to, what->extended[i].name, z)->milli +=
			sign * what->extended[i].milli;
}

void resources_read(zone *z, const value *map, struct resources *out)
{
	v_each_kv(kv, map) {
		struct str name = v_as_str(&kv->key);
		int64_t milli;

		if (!kube_quantity_milli(&kv->val, &milli))
			continue;
		if (str_eq(name, STR("cpu")))
			out->cpu = milli;
		else if (str_eq(name, STR("memory")))
			out->memory = milli;
		else if (str_eq(name, STR("ephemeral-storage")))
			out->storage = milli;
		else if (!str_eq(name, STR("pods")))
			want_extended(out, name, z)->milli = milli;
	}
}

static void raise_to(struct resources *to, const struct resources *least, zone *z)
{
	if (to->cpu < least->cpu)
		to->cpu = least->cpu;
	if (to->memory < least->memory)
		to->memory = least->memory;
	if (to->storage < least->storage)
		to->storage = least->storage;
	for (uint32_t i = 0; i < least->nextended; i++) {
		struct extended *e = want_extended(to, least->extended[i].name, z);

		if (e->milli < least->extended[i].milli)
			e->milli = least->extended[i].milli;
	}
}

static bool is_sidecar(const value *container)
{
	return str_eq(v_get_str(container, "restartPolicy"), STR("Always"));
}

/* A pod needs the sum of its containers and sidecars; while an init container
 * runs, what that one needs and the sidecars started before it. */
static void read_requests(struct kind *k)
{
	struct resources sidecars = {0}, most = {0};

	v_each(c, v_get(&k->spec, "initContainers")) {
		struct resources r = {0};

		resources_read(k->z, v_path(c, "resources.requests"), &r);
		if (is_sidecar(c)) {
			resources_add(&sidecars, &r, 1, k->z);
			raise_to(&most, &sidecars, k->z);
		} else {
			resources_add(&r, &sidecars, 1, k->z);
			raise_to(&most, &r, k->z);
		}
	}
	v_each(c, v_get(&k->spec, "containers")) {
		struct resources r = {0};

		resources_read(k->z, v_path(c, "resources.requests"), &r);
		resources_add(&k->ask, &r, 1, k->z);
		k->score_cpu += r.cpu ? r.cpu : SCORE_CPU;
		k->score_memory += r.memory ? r.memory : SCORE_MEMORY;
	}
	resources_add(&k->ask, &sidecars, 1, k->z);
	raise_to(&k->ask, &most, k->z);
	if (v_get(&k->spec, "overhead")) {
		struct resources r = {0};

		resources_read(k->z, v_get(&k->spec, "overhead"), &r);
		resources_add(&k->ask, &r, 1, k->z);
	}
}

static void read_ports(struct kind *k)
{
	v_each(c, v_get(&k->spec, "containers"))
		v_each(p, v_get(c, "ports")) {
			int64_t number = v_get_int(p, "hostPort", 0);
			struct port *grown;

			if (number <= 0)
				continue;
			grown = zone_alloc(k->z, (k->nports + 1) * sizeof(*grown));
			if (k->nports)
				memcpy(grown, k->ports, k->nports * sizeof(*grown));
			grown[k->nports++] = (struct port){.number = (uint32_t)number,
							   .protocol = v_get_str(p, "protocol"),
							   .ip = v_get_str(p, "hostIP")};
			k->ports = grown;
		}
}

/* spec.unschedulable counts as a taint that may be tolerated. */
static bool tolerates_unschedulable(const struct kind *k)
{
	value taint = v_map();

	v_set(k->z, &taint, "key", v_cstr("node.kubernetes.io/unschedulable"));
	v_set(k->z, &taint, "effect", v_cstr("NoSchedule"));
	return kind_tolerates(k, &taint);
}

/* Node names that one term's matchFields allow, NULL: any. */
static const value *names_of_term(const value *term)
{
	v_each(r, v_get(term, "matchFields"))
		if (str_eq(v_get_str(r, "key"), STR("metadata.name")) &&
		    str_eq(v_get_str(r, "operator"), STR("In")))
			return v_get(r, "values");
	return NULL;
}

/* All node names that required affinity allows, if each of its terms names some. */
static const value *pinned_nodes(const struct kind *k)
{
	const value *terms = v_path(&k->spec, "affinity.nodeAffinity."
					      "requiredDuringSchedulingIgnoredDuringExecution."
					      "nodeSelectorTerms");
	value names = v_array();

	v_each(term, terms) {
		const value *some = names_of_term(term);

		if (!some)
			return NULL;
		v_each(name, some)
			v_append(k->z, &names, *name);
	}
	return v_len(&names) ? v_new(k->z, names) : NULL;
}

/* --- Kinds -------------------------------------------------------------------------- */

static struct kind *parse(struct scheduler *self, const struct entry *e, const struct version *v)
{
	struct kind *k = calloc(1, sizeof(*k));
	value tree;

	weft_assert(k);
	k->from_start = !self->forgot;
	k->z = zone_new();
	k->ns = zone_str(k->z, cache_ns(self->c, e));
	k->labels_bytes = zone_str(k->z, cache_part(self->c, v, PART_LABELS));
	tree = kube_part(self->z, self->c, e, v, PART_SPEC);
	k->spec = v_copy(k->z, &tree);
	tree = kube_part(self->z, self->c, e, v, PART_LABELS);
	k->labels = v_copy(k->z, &tree);
	k->priority = v_get_int(&k->spec, "priority", 0);
	k->may_preempt = !str_eq(v_get_str(&k->spec, "preemptionPolicy"), STR("Never"));
	k->ours = str_eq(v_get_str(&k->spec, "schedulerName"), STR("default-scheduler"));
	k->tolerates_unschedulable = tolerates_unschedulable(k);
	k->only_nodes = pinned_nodes(k);
	k->preferred = v_path(
		&k->spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
	read_requests(k);
	read_ports(k);
	terms_parse(self, k);
	return k;
}

struct kind *kind_of(struct scheduler *self, const struct entry *e, const struct version *v)
{
	struct str ns = cache_ns(self->c, e);
	uint64_t spec = cache_part_hash(self->c, v, PART_SPEC);
	uint64_t labels = cache_part_hash(self->c, v, PART_LABELS);
	uint64_t ns_hash = XXH3_64bits(ns.p, ns.n);
	struct kind **at = &self->kinds[(spec ^ labels * 31 ^ ns_hash * 17) % KIND_BUCKETS], *k;

	for (k = *at; k; k = k->next)
		if (k->spec_hash == spec && k->labels_hash == labels && k->ns_hash == ns_hash)
			goto found;
	k = parse(self, e, v);
	k->spec_hash = spec;
	k->labels_hash = labels;
	k->ns_hash = ns_hash;
	k->next = *at;
	*at = k;
	self->nkinds++;
	if (k->has_anti) {
		if (self->nanti == self->anti_cap) {
			self->anti_cap = self->anti_cap ? self->anti_cap * 2 : 16;
			self->anti = realloc(self->anti, self->anti_cap * sizeof(*self->anti));
			weft_assert(self->anti);
		}
		self->anti[self->nanti++] = k;
	}
found:
	k->used = self->tick;
	return k;
}

static void count_own(struct scheduler *self, struct kind *k)
{
	for (const struct labelset *set = cache_first_labelset(self->c, TYPE_POD, k->ns); set;
	     set = cache_next_labelset(self->c, set)) {
		if (!str_eq(cache_blob(self->c, set->labels), k->labels_bytes))
			continue;
		for (const struct entry *e = cache_first_in_set(self->c, set); e;
		     e = cache_next_in_set(self->c, e)) {
			const struct version *v = cache_live(self->c, e);
			const struct node *node;
			uint32_t i;

			if (!pod_on_node(v))
				continue;
			node = nodes_of_slot(self, v->hot.node); /* may move self->nodes */
			i = (uint32_t)(node - self->nodes);
			if (i < k->on_node_n)
				k->on_node[i]++;
		}
		return;
	}
}

/* Is there room for on_node of `more` kinds than have it? */
static bool room_on_node(const struct scheduler *self, uint32_t more)
{
	return (self->nkept + more) * (uint64_t)self->nodes_cap * sizeof(uint32_t) <= ON_NODE_BYTES;
}

void kind_keep_on_node(struct scheduler *self, struct kind *k)
{
	bool fresh = !k->on_node;

	if (k->on_node && k->on_node_n >= self->nnodes)
		return;
	k->on_node = realloc(k->on_node, self->nodes_cap * sizeof(*k->on_node));
	weft_assert(k->on_node);
	if (fresh) {
		k->on_node_n = 0;
		self->nkept++;
	}
	memset(k->on_node + k->on_node_n, 0,
	       (self->nodes_cap - k->on_node_n) * sizeof(*k->on_node));
	k->on_node_n = self->nodes_cap;
	if (fresh && !k->has_anti && (k->running || !k->from_start))
		count_own(self, k);
}

void kind_expect_pod(struct scheduler *self, struct kind *k)
{
	if (k->has_anti || k->on_node || (k->from_start && !k->running && room_on_node(self, 1)))
		kind_keep_on_node(self, k);
}

void kind_drop_on_node(struct scheduler *self, struct kind *k)
{
	self->nkept -= k->on_node != NULL;
	free(k->on_node);
	k->on_node = NULL;
}

void kind_rest(struct scheduler *self, struct kind *k)
{
	if (!k->has_anti && (!k->running || !room_on_node(self, 0)))
		kind_drop_on_node(self, k);
}

static void kind_free(struct kind *k)
{
	terms_free(k);
	buf_free(&k->why);
	free(k->feasible);
	free(k->on_node);
	free(k->queue);
	zone_free(k->z);
	free(k);
}

static void forget_anti(struct scheduler *self, const struct kind *k)
{
	for (uint32_t i = 0; i < self->nanti; i++)
		if (self->anti[i] == k) {
			self->anti[i] = self->anti[--self->nanti];
			return;
		}
}

/* Kinds with anti-affinity stay while pods of theirs run: others are kept away
 * from these. */
static bool may_go(const struct scheduler *self, const struct kind *k)
{
	return !k->queued && !(k->has_anti && k->running) && k->used + 1000 < self->tick;
}

void kinds_trim(struct scheduler *self)
{
	if (self->nkinds < KINDS_MAX || self->tick % 64)
		return;
	for (uint32_t i = 0; i < KIND_BUCKETS; i++)
		for (struct kind **at = &self->kinds[i], *k; (k = *at);) {
			if (!may_go(self, k)) {
				at = &k->next;
				continue;
			}
			*at = k->next;
			if (k->has_anti)
				forget_anti(self, k);
			if (k->running)
				self->forgot = true;
			kind_drop_on_node(self, k);
			kind_free(k);
			self->nkinds--;
		}
}

void kinds_free(struct scheduler *self)
{
	for (uint32_t i = 0; i < KIND_BUCKETS; i++)
		for (struct kind *k = self->kinds[i], *next; k; k = next) {
			next = k->next;
			kind_free(k);
		}
}
