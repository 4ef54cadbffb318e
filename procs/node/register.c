/* register.c - Node objects, their conditions and Leases. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <xxhash.h>

#include "procs/node/node.h"

#define LEASE_NS      "kube-node-lease"
#define LEASE_SECONDS 40
#define RENEW_BATCH   256 /* Leases renewed in one turn */
#define RENEW_EARLY \
	10 /* a Lease that is due within this part of its period is renewed with others */
#define TEND_ROOM     16384 /* bytes free in the ring before another node is tended */
#define TEND_AGAIN_NS INT64_C(10000000)
#define VANISH	      "weft.dev/vanish"

/* --- The table of known nodes ------------------------------------------------------ */

static uint32_t *index_at(struct node *self, uint64_t hash, struct str name)
{
	uint32_t mask = self->node_index_cap - 1, i = (uint32_t)hash & mask;

	for (; self->node_index[i]; i = (i + 1) & mask) {
		struct known_node *n = &self->nodes[self->node_index[i] - 1];

		if (n->hash == hash && str_is(name, n->name))
			break;
	}
	return &self->node_index[i];
}

static void grow_index(struct node *self)
{
	free(self->node_index);
	self->node_index_cap = self->node_index_cap ? self->node_index_cap * 2 : 64;
	self->node_index = calloc(self->node_index_cap, sizeof(*self->node_index));
	weft_assert(self->node_index);
	for (uint32_t i = 0; i < self->nnodes; i++)
		*index_at(self, self->nodes[i].hash, str_of(self->nodes[i].name)) = i + 1;
}

static struct known_node *find_node(struct node *self, struct str name)
{
	uint32_t at = self->node_index_cap ? *index_at(self, XXH3_64bits(name.p, name.n), name) : 0;

	return at ? &self->nodes[at - 1] : NULL;
}

static struct known_node *want_node(struct node *self, struct str name)
{
	struct known_node *n = find_node(self, name);

	if (n)
		return n;
	if (self->nnodes * 2 >= self->node_index_cap)
		grow_index(self);
	if (self->nnodes == self->nodes_cap) {
		self->nodes_cap = self->nodes_cap ? self->nodes_cap * 2 : 64;
		self->nodes = realloc(self->nodes, self->nodes_cap * sizeof(*self->nodes));
		weft_assert(self->nodes);
	}
	n = &self->nodes[self->nnodes++];
	*n = (struct known_node){.name = strndup(name.p, name.n),
				 .hash = XXH3_64bits(name.p, name.n)};
	weft_assert(n->name);
	*index_at(self, n->hash, name) = self->nnodes;
	return n;
}

/* Another node may have got the slot that this one had, and this one that of another. */
static void set_slot(struct node *self, struct known_node *n, uint32_t slot)
{
	uint32_t number = (uint32_t)(n - self->nodes);

	if (n->slot && refmap_get(&self->by_slot, n->slot) == number)
		refmap_take(&self->by_slot, n->slot);
	n->slot = slot;
	if (slot)
		refmap_put(&self->by_slot, slot, number);
}

static bool is_alive(const struct known_node *n)
{
	return n && n->present && !n->vanished;
}

/* By its slot, which means this node while the Node object holds it, as far as we have
 * seen (what was missed comes with a resync); the name lies where nobody has looked for a while. */
const struct known_node *kubelets_find(struct node *self, nodeslot_ref slot)
{
	int64_t at = refmap_get(&self->by_slot, slot.u);
	const struct known_node *n = at >= 0 ? &self->nodes[at] : NULL;
	struct str name;

	if (!n) {
		name = cache_string(self->c, cache_nodeslot(self->c, slot)->name);
		n = proc_mine_name(self->proc, name) ? find_node(self, name) : NULL;
	}
	return is_alive(n) ? n : NULL;
}

void kubelets_prefetch(const struct node *self, const nodeslot_ref *slots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		refmap_prefetch(&self->by_slot, slots[i].u);
	for (uint32_t i = 0; i < n; i++) {
		int64_t at = refmap_get(&self->by_slot, slots[i].u);

		if (at >= 0)
			prefetch(&self->nodes[at]);
	}
}

/* --- Addresses ---------------------------------------------------------------------- */

/* A node as the holder of an address, ours or another shard's. */
static uint32_t holder_of(uint64_t hash)
{
	return (uint32_t)hash | 1;
}

/* `shown` by its status, 0: nothing is. */
static void settle_address(struct node *self, struct known_node *n, uint32_t shown)
{
	n->host_ip = address_settle(&self->node_addresses, n->host_ip, shown, holder_of(n->hash));
}

static void give_address(struct node *self, struct known_node *n)
{
	address_give(&self->node_addresses, n->host_ip, holder_of(n->hash));
	n->host_ip = 0;
}

static uint32_t address_shown(struct node *self, const struct version *v)
{
	return address_of_node(cache_part(self->c, v, PART_STATUS));
}

/* Those that Nodes show, other shards' too, as these may lie in our share; and of our own, what
 * is on its way to the store. */
static void renew_node_addresses(struct node *self)
{
	struct addresses *a = &self->node_addresses;
	struct cache_iter it;
	const struct entry *e;

	addresses_free(a);
	weft_assert(!addresses_init(a, STR(NODES_CIDR), proc_shard(self->proc),
				    proc_shards(self->proc)));
	cache_iter_init(&it, self->c, TYPE_NODE, (struct str){0}, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(self->c, e);
		struct str name = entry_name(e);

		if (v)
			address_mark(a, address_shown(self, v),
				     holder_of(XXH3_64bits(name.p, name.n)));
	}
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct known_node *n = &self->nodes[i];

		if (n->asked)
			address_mark(a, n->host_ip, holder_of(n->hash));
		else
			n->host_ip = 0;
	}
}

/* --- Status ------------------------------------------------------------------------- */

static const struct {
	const char *type, *status, *reason, *message;
} conditions[] = {
	{"MemoryPressure", "False", "KubeletHasSufficientMemory",
	 "kubelet has sufficient memory available"},
	{"DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
	{"PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
	{"Ready", "True", "KubeletReady", "kubelet is posting ready status"},
};

static void set_conditions(zone *z, value *status)
{
	value *list = v_array_at(z, status, "conditions");
	char now[21];
	struct str text;

	time_format(clock_wall_s(), now);
	text = zone_str(z, str_of(now));
	for (size_t i = 0; i < countof(conditions); i++) {
		value *condition;

		kube_condition_set(z, list, conditions[i].type, conditions[i].status,
				   conditions[i].reason, str_of(conditions[i].message),
				   clock_wall_s(), false);
		condition = kube_condition(list, conditions[i].type);
		v_set(z, condition, "lastHeartbeatTime", v_str(text));
	}
}

static void set_capacity(struct node *self, value *status)
{
	static const struct {
		const char *resource, *setting, *otherwise;
	} kinds[] = {
		{"cpu", "nodes.cpu", "32"},
		{"ephemeral-storage", "nodes.ephemeralStorage", "1Ti"},
		{"memory", "nodes.memory", "256Gi"},
		{"pods", "nodes.pods", "110"},
	};
	value map = v_map();

	for (size_t i = 0; i < countof(kinds); i++) {
		const value *set = v_path(proc_config(self->proc), kinds[i].setting);
		struct str text = v_as_str(set);

		if (v_is_int(set))
			text = zone_printf(self->z, "%lld", (long long)v_as_int(set, 0));
		v_set(self->z, &map, kinds[i].resource,
		      v_str(text.n ? text : str_of(kinds[i].otherwise)));
	}
	if (!v_get(status, "capacity"))
		v_set(self->z, status, "capacity", map);
	if (!v_get(status, "allocatable"))
		v_set(self->z, status, "allocatable", v_copy(self->z, v_get(status, "capacity")));
}

static void set_addresses(zone *z, value *status, const struct known_node *n)
{
	value list = v_array(), internal = v_map(), host = v_map();
	uint32_t ip = n->host_ip;

	if (v_len(v_get(status, "addresses")))
		return;
	v_set(z, &internal, "type", v_cstr("InternalIP"));
	v_set(z, &internal, "address",
	      v_str(zone_printf(z, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
				ip & 255)));
	v_set(z, &host, "type", v_cstr("Hostname"));
	v_set(z, &host, "address", v_cstr(n->name));
	if (ip)
		v_append(z, &list, internal);
	v_append(z, &list, host);
	v_set(z, status, "addresses", list);
}

/* An id that is always the same for one node. */
static value stable_id(zone *z, struct str name, uint64_t salt, bool dashes)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(name.p, name.n, salt);
	uint8_t uid[16];
	char text[37];

	memcpy(uid, &h, 16);
	uid_format(uid, text);
	if (dashes)
		return v_str(zone_str(z, str_of(text)));
	return v_str(zone_printf(z, "%016llx%016llx", (unsigned long long)h.high64,
				 (unsigned long long)h.low64));
}

static void set_info(struct node *self, value *status, struct str name)
{
	zone *z = self->z;
	value info = v_map();
	struct utsname u;

	if (v_get(v_get(status, "nodeInfo"), "kubeletVersion"))
		return;
	uname(&u);
	v_set(z, &info, "architecture", v_cstr("amd64"));
	v_set(z, &info, "bootID", stable_id(z, name, 1, true));
	v_set(z, &info, "containerRuntimeVersion", v_cstr("weft://simulated"));
	v_set(z, &info, "kernelVersion", v_str(zone_str(z, str_of(u.release))));
	v_set(z, &info, "kubeProxyVersion", v_cstr(""));
	v_set(z, &info, "kubeletVersion", v_cstr("v1.37.2"));
	v_set(z, &info, "machineID", stable_id(z, name, 2, false));
	v_set(z, &info, "operatingSystem", v_cstr("linux"));
	v_set(z, &info, "osImage", v_cstr("weft"));
	v_set(z, &info, "systemUUID", stable_id(z, name, 3, true));
	v_set(z, status, "nodeInfo", info);
}

/* What a kubelet posts when it finds its Node without it. */
static void fill_status(struct node *self, value *status, const struct known_node *n)
{
	value endpoint = v_map();

	set_addresses(self->z, status, n);
	set_capacity(self, status);
	set_conditions(self->z, status);
	if (!v_get(status, "daemonEndpoints")) {
		v_set(self->z, &endpoint, "Port", v_int(10250));
		v_set(self->z, v_map_at(self->z, status, "daemonEndpoints"), "kubeletEndpoint",
		      endpoint);
	}
	set_info(self, status, str_of(n->name));
}

/* --- Node objects: made, and kept alive --------------------------------------------- */

/* A request about the Node object of self->nodes[node]. */
struct tending {
	struct node *self;
	uint32_t node;
};

static void tend_later(struct node *self, struct known_node *n)
{
	if (n->due || n->asked)
		return;
	if (self->ndue == self->due_cap) {
		self->due_cap = self->due_cap ? self->due_cap * 2 : 64;
		self->due = realloc(self->due, self->due_cap * sizeof(*self->due));
		weft_assert(self->due);
	}
	n->due = true;
	self->due[self->ndue++] = (uint32_t)(n - self->nodes);
}

static void want(struct node *self, struct known_node *n, bool wanted)
{
	self->nwanted += (uint32_t)wanted - n->wanted;
	n->wanted = wanted;
}

/* Whatever was refused or lost is tried again, as long as the node is ours. */
static void on_tended(void *arg, const struct msg_reply *reply)
{
	struct tending *t = arg;
	struct node *self = t->self;
	struct known_node *n = &self->nodes[t->node];

	free(t);
	n->asked = false;
	if (reply->status == WEFT_OK || reply->status == WEFT_EEXIST) {
		want(self, n, false);
		return;
	}
	if (!n->present)
		give_address(self, n);
	if (reply->status != WEFT_ECONFLICT)
		self->tend_ns = clock_mono_ns() + TEND_AGAIN_NS;
	tend_later(self, n);
}

static void ask(struct node *self, struct known_node *n, struct msg *m)
{
	struct tending *t = malloc(sizeof(*t));

	weft_assert(t);
	*t = (struct tending){self, (uint32_t)(n - self->nodes)};
	n->asked = proc_send(self->proc, m, on_tended, t) == 0;
	if (n->asked)
		return;
	free(t);
	tend_later(self, n);
}

static void create_node(struct node *self, struct known_node *n)
{
	zone *z = self->z;
	struct str name = str_of(n->name);
	value obj = v_map(), *labels;
	struct kube_parts parts;
	struct msg m = {.kind = MSG_create};

	labels = v_map_at(z, v_map_at(z, &obj, "metadata"), "labels");
	v_set(z, labels, "beta.kubernetes.io/arch", v_cstr("amd64"));
	v_set(z, labels, "beta.kubernetes.io/os", v_cstr("linux"));
	v_set(z, labels, "kubernetes.io/arch", v_cstr("amd64"));
	v_set(z, labels, "kubernetes.io/hostname", v_str(name));
	v_set(z, labels, "kubernetes.io/os", v_cstr("linux"));
	v_each_kv(kv, v_path(proc_config(self->proc), "nodes.labels"))
		v_setn(z, labels, v_as_str(&kv->key), kv->val);
	v_set(z, &obj, "spec", v_map());
	settle_address(self, n, 0);
	fill_status(self, v_map_at(z, &obj, "status"), n);
	kube_split(z, &obj, &parts);
	m.create = (struct msg_create){
		.type = TYPE_NODE,
		.name = name,
		.meta = buf_str(&parts.part[PART_META]),
		.labels = buf_str(&parts.part[PART_LABELS]),
		.spec = buf_str(&parts.part[PART_SPEC]),
		.status = buf_str(&parts.part[PART_STATUS]),
	};
	ask(self, n, &m);
	kube_parts_free(&parts);
}

static void post_status(struct node *self, struct known_node *n, const struct entry *e,
			const struct version *v)
{
	value status = kube_part(self->z, self->c, e, v, PART_STATUS);
	struct buf bytes = {0};
	struct msg m = {.kind = MSG_update};

	if (!v_is_map(&status))
		status = v_map();
	fill_status(self, &status, n);
	v_encode(&bytes, &status);
	m.update = (struct msg_update){
		.type = TYPE_NODE,
		.name = entry_name(e),
		.uid = {(const char *)e->uid, 16},
		.rv = v->rv,
		.mask = 1u << PART_STATUS,
		.status = buf_str(&bytes),
	};
	ask(self, n, &m);
	buf_free(&bytes);
}

static void tend(struct node *self, struct known_node *n)
{
	const struct entry *e = cache_find(self->c, TYPE_NODE, (struct str){0}, str_of(n->name));
	const struct version *v = e ? cache_live(self->c, e) : NULL;

	if (v || !proc_mine_name(self->proc, str_of(n->name)))
		want(self, n, false);
	if (n->wanted)
		create_node(self, n);
	else if (v && n->present && !n->vanished && !(v->hot.flags & HOT_READY))
		post_status(self, n, e, v);
}

/* Returns when to go on, 0: there is nothing to do. */
static int64_t tend_all(struct node *self, int64_t now_ns)
{
	uint32_t done = 0;

	while (done < self->ndue && now_ns >= self->tend_ns &&
	       proc_can_send(self->proc, TEND_ROOM)) {
		struct known_node *n = &self->nodes[self->due[done++]];

		n->due = false;
		tend(self, n);
		zone_reset(self->z);
	}
	self->ndue -= done;
	if (done)
		memmove(self->due, self->due + done, self->ndue * sizeof(*self->due));
	return self->ndue ? now_ns + TEND_AGAIN_NS : 0; /* replies wake us before */
}

/* The nodes of the configuration come up once in a process's life, those that are its own
 * at its start: one that is deleted later stays away. */
void kubelets_register(struct node *self)
{
	int64_t count = v_as_int(v_path(proc_config(self->proc), "nodes.count"), 3);
	struct str prefix = v_as_str(v_path(proc_config(self->proc), "nodes.prefix"));
	char name[256];

	for (int64_t i = 0; i < count; i++) {
		struct known_node *n;

		snprintf(name, sizeof(name), STR_FMT "%lld",
			 STR_ARG(prefix.n ? prefix : STR("node-")), (long long)i);
		if (!proc_mine_name(self->proc, str_of(name)))
			continue;
		n = want_node(self, str_of(name));
		if (n->present)
			continue;
		want(self, n, true);
		tend_later(self, n);
	}
}

bool kubelets_registered(const struct node *self)
{
	return self->registered && !self->nwanted;
}

/* --- Looking at Nodes --------------------------------------------------------------- */

/* A node that is there (again): its pods are looked at. */
static void queue_pods(struct node *self, struct str name)
{
	const struct nodeslot *slot = cache_node(self->c, name);

	for (const struct entry *pod = slot ? cache_first_on_node(self->c, slot) : NULL; pod;
	     pod = cache_next_on_node(self->c, pod))
		if (cache_live(self->c, pod))
			pods_queue(self, cache_entry_ref(self->c, pod).u);
}

/* Returns true if it is there and was not before. */
static bool learn_node(struct node *self, const struct entry *e)
{
	const struct version *v = cache_live(self->c, e);
	struct str name = entry_name(e);
	struct known_node *n;
	bool was_alive;
	value meta;

	if (!proc_mine_name(self->proc, name))
		return false;
	/* What told of it may be older than another Node of this name. */
	if (!v && (e = cache_find(self->c, TYPE_NODE, (struct str){0}, name)))
		v = cache_live(self->c, e);
	n = want_node(self, name);
	was_alive = is_alive(n);
	n->present = v != NULL;
	set_slot(self, n, v ? v->hot.node.u : 0);
	if (!v && !n->asked)
		give_address(self, n);
	if (!v)
		return false;
	settle_address(self, n, address_shown(self, v));
	meta = kube_part(self->z, self->c, e, v, PART_META);
	n->vanished = str_eq(v_get_str(v_get(&meta, "annotations"), VANISH), STR("true"));
	if (n->vanished)
		return false;
	if (!was_alive)
		n->renew_ns = self->lease_due_ns = 0;
	if (!(v->hot.flags & HOT_READY))
		tend_later(self, n);
	return !was_alive;
}

void kubelets_look(struct node *self, const struct entry *e)
{
	if (learn_node(self, e))
		queue_pods(self, entry_name(e));
}

void kubelets_resync(struct node *self)
{
	struct cache_iter it;
	const struct entry *e;

	for (uint32_t i = 0; i < self->nnodes; i++) {
		self->nodes[i].present = false;
		self->nodes[i].slot = 0;
	}
	refmap_clear(&self->by_slot);
	renew_node_addresses(self);
	cache_iter_init(&it, self->c, TYPE_NODE, (struct str){0}, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		learn_node(self, e);
}

/* --- Leases ------------------------------------------------------------------------- */

static value lease_spec(zone *z, const struct known_node *n)
{
	value spec = v_map();
	char now[28];

	time_format_micro(clock_wall_ns(), now);
	v_set(z, &spec, "holderIdentity", v_cstr(n->name));
	v_set(z, &spec, "leaseDurationSeconds", v_int(LEASE_SECONDS));
	v_set(z, &spec, "renewTime", v_str(zone_str(z, str_of(now))));
	return spec;
}

static int create_lease(struct node *self, const struct known_node *n, struct str spec)
{
	const struct entry *node = cache_find(self->c, TYPE_NODE, (struct str){0}, str_of(n->name));
	struct buf meta = {0};
	struct msg m = {.kind = MSG_create};
	value refs = v_array(), tree = v_map(), owner;
	int ret;

	if (node) {
		owner = kube_owner_ref(self->z, self->c, node, false);
		v_append(self->z, &refs, owner);
		v_set(self->z, &tree, "ownerReferences", refs);
		v_encode(&meta, &tree);
	}
	m.create = (struct msg_create){
		.type = TYPE_LEASE,
		.ns = STR(LEASE_NS),
		.name = str_of(n->name),
		.meta = buf_str(&meta),
		.spec = spec,
	};
	ret = proc_send(self->proc, &m, NULL, NULL);
	buf_free(&meta);
	return ret;
}

static int renew(struct node *self, struct known_node *n)
{
	value spec = lease_spec(self->z, n);
	struct buf bytes = {0};
	struct msg m = {.kind = MSG_update};
	int ret;

	v_encode(&bytes, &spec);
	if (!cache_find(self->c, TYPE_LEASE, STR(LEASE_NS), str_of(n->name))) {
		ret = create_lease(self, n, buf_str(&bytes));
		buf_free(&bytes);
		return ret;
	}
	m.update = (struct msg_update){
		.type = TYPE_LEASE,
		.ns = STR(LEASE_NS),
		.name = str_of(n->name),
		.mask = 1u << PART_SPEC,
		.spec = buf_str(&bytes),
	};
	ret = proc_send(self->proc, &m, NULL, NULL);
	buf_free(&bytes);
	return ret;
}

/* Often enough not to be taken for lost, whatever the configuration says. */
static int64_t renew_every_ns(struct node *self)
{
	int64_t lease_ms = v_as_int(v_path(proc_config(self->proc), "nodes.lease"), 10000);
	int64_t grace_ms = v_as_int(v_path(proc_config(self->proc), "nodes.grace"), 50000);

	if (lease_ms > grace_ms / 4)
		lease_ms = grace_ms / 4;
	return (lease_ms > 1 ? lease_ms : 1) * 1000000;
}

/* Returns when the next one is due. */
static int64_t renew_all(struct node *self, int64_t now_ns)
{
	int64_t every_ns = renew_every_ns(self), early_ns = every_ns / RENEW_EARLY;
	int64_t soonest = now_ns + every_ns;
	uint32_t renewed = 0;

	if (now_ns < self->lease_due_ns)
		return self->lease_due_ns;
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct known_node *n = &self->nodes[i];

		if (!n->present || n->vanished)
			continue;
		if (n->renew_ns <= now_ns + early_ns && renewed < RENEW_BATCH &&
		    renew(self, n) == 0) {
			/* The first spreads them over the period. */
			n->renew_ns = now_ns +
				      (n->renew_ns ? every_ns
						   : (int64_t)(n->hash % (uint64_t)every_ns) + 1);
			renewed++;
		}
		if (n->renew_ns < soonest)
			soonest = n->renew_ns;
	}
	zone_reset(self->z);
	self->lease_due_ns = soonest <= now_ns ? now_ns + TEND_AGAIN_NS : soonest;
	return self->lease_due_ns;
}

int64_t kubelets_turn(struct node *self, int64_t now_ns)
{
	struct cache *c = proc_cache(self->proc);
	int64_t again, lease;

	cache_lock(c);
	again = tend_all(self, now_ns);
	lease = renew_all(self, now_ns);
	cache_unlock(c);
	return again && again < lease ? again : lease;
}
