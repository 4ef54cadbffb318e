/* node.c - the node process: attach, and hand what comes to pods.c and
 * register.c. */
#include "procs/node/node.h"

#include "procs/lib/mains.h"

static void on_work(void *arg, uint16_t type, struct u32s entries)
{
	struct node *self = arg;
	struct cache *c = proc_cache(self->proc);
	const struct entry *e;

	self->c = c;
	if (type == TYPE_POD) {
		for (uint32_t i = 0; i < entries.n; i++)
			pods_queue(self, entries.p[i]);
		return;
	}
	cache_lock(c);
	for (uint32_t i = 0; i < entries.n; i++) {
		e = proc_work_entry(self->proc, TYPE_NODE, entries.p[i]);
		if (e)
			kubelets_look(self, e);
	}
	cache_unlock(c);
	zone_reset(self->z);
}

#define RENEW_NS INT64_C(10000000000) /* looking at all pods takes a while */

/* From what pods show, which is to be added, and what is on its way to the store. */
static void renew_addresses(struct node *self)
{
	struct str cidr = v_as_str(v_path(proc_config(self->proc), "pods.cidr"));

	addresses_free(&self->addresses);
	if (addresses_init(&self->addresses, cidr.n ? cidr : STR("127.128.0.0/9"),
			   proc_shard(self->proc), proc_shards(self->proc)))
		weft_fatal("pods.cidr is no range of addresses: " STR_FMT, STR_ARG(cidr));
	for (const struct asked *a = self->asked; a; a = a->next)
		for (uint32_t i = 0; i < a->n; i++)
			if (a->pods[i].ip)
				address_mark(&self->addresses, a->pods[i].ip, a->pods[i].holder);
	self->none_free = false;
	self->renewed_ns = clock_mono_ns();
}

/* Once all pods have been looked at, or addresses are given above what any of them shows. */
static void leave_addresses(struct node *self)
{
	addresses_leave(&self->addresses, &proc_own(self->proc)->bequest, proc_epoch(self->proc));
}

/* None is free, but a pod may have one that shows it no longer: what told that it went was
 * let go before we came to it, or somebody has changed its status. */
static void find_free_addresses(struct node *self, int64_t now_ns)
{
	if (!self->none_free || now_ns < self->renewed_ns + RENEW_NS)
		return;
	renew_addresses(self);
	pods_mark_addresses(self);
	leave_addresses(self);
}

/* At our start: has a predecessor left from where on addresses are free, whatever pods show? */
static bool is_successor(struct node *self)
{
	uint64_t left = atomic_load_explicit(&proc_own(self->proc)->bequest, memory_order_relaxed);

	return !self->registered && addresses_above(&self->addresses, left, proc_epoch(self->proc));
}

static void on_resync(void *arg)
{
	struct node *self = arg;
	struct cache *c = proc_cache(self->proc);

	self->c = c;
	renew_addresses(self);
	if (is_successor(self))
		pods_walk(self);
	else
		pods_resync(self);
	leave_addresses(self);
	cache_lock(c);
	kubelets_resync(self);
	cache_unlock(c);
	zone_reset(self->z);
	if (!self->registered)
		kubelets_register(self);
	self->registered = true;
}

/* Timers of pods run on wall time, the loop on monotonic time. */
static int64_t on_turn(void *arg, int64_t now_ns)
{
	struct node *self = arg;
	int64_t due_ms, left_ms, next_ns;

	self->c = proc_cache(self->proc);
	if (pods_walk_on(self))
		addresses_known(&self->addresses);
	due_ms = pods_turn(self);
	find_free_addresses(self, now_ns);
	next_ns = kubelets_turn(self, now_ns);
	if (self->walking && self->walk_ns < next_ns)
		next_ns = self->walk_ns;
	if (!self->ready && kubelets_registered(self)) {
		self->ready = true;
		proc_ready(self->proc);
	}
	if (!due_ms)
		return next_ns;
	left_ms = due_ms == 1 ? 0 : due_ms - clock_wall_ns() / 1000000;
	if (left_ms < 0)
		left_ms = 0;
	return now_ns + left_ms * 1000000 < next_ns ? now_ns + left_ms * 1000000 : next_ns;
}

int node_main(void)
{
	struct node self = {.proc = proc_start(PROC_NODE), .z = zone_new()};
	struct proc_handlers handlers = {
		.on_work = on_work,
		.on_resync = on_resync,
		.on_turn = on_turn,
		.arg = &self,
		.ready_later = true,
	};

	self.rules = v_path(proc_config(self.proc), "nodes.rules");
	return proc_run(self.proc, &handlers);
}
