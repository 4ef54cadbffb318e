/*
 * zones.c - which nodes that are lost are tainted NoExecute, and when.
 *
 * A zone belongs to one shard, by its name, which taints its nodes one at a time, as fast as
 * the zone's limiter lets it.  (The node's own shard, by the node's name, takes the taint
 * away or changes it.)  Every shard looks at all nodes now and then, as what is done in one
 * zone depends on whether there is a zone that is not wholly lost.  When a zone becomes a
 * shard's, its nodes' taints say when the last token was used.
 */
#include <stdlib.h>

#include "procs/kube/peek.h"
#include "procs/nodelifecycle/nodelifecycle.h"

#define EXCLUDED "node.kubernetes.io/exclude-disruption"
#define AGAIN_NS INT64_C(50000000) /* after a taint that was not written */
#define ROOM	 16384
#define AWAY	 2 /* not to have looked for so many looks' time */

/* A node that is to be tainted. */
struct doomed {
	uint64_t created_rv;
	uint32_t entry;
	uint64_t noticed, pass; /* the looks in which it was first and last found lost */
	bool granted;		/* it has had its token */
	bool asked;		/* the request is on its way */
};

struct node_zone {
	char *key;
	enum zone_health health;
	uint32_t ready, lost; /* nodes, in the last look */
	struct limiter limiter;
	bool ours, taken_over; /* and its limiter has been set to what its nodes show */
	int64_t tainted_s;     /* when the last of its nodes was, as far as they show */
	struct doomed *doomed; /* by created_rv, but for those that the look under way adds */
	uint32_t ndoomed, sorted, doomed_cap;
	int64_t again_ns; /* when what was not written is tried again */
};

/* --- Zones -------------------------------------------------------------------------- */

static struct str label(struct str labels, const char *key)
{
	struct peek k = peek_of(peek_get(labels, str_of(key)));

	return peek_str(&k);
}

/* The old labels go first, as in Kubernetes. */
static struct str zone_key(zone *z, struct str labels)
{
	struct str zone = label(labels, "failure-domain.beta.kubernetes.io/zone");
	struct str region = label(labels, "failure-domain.beta.kubernetes.io/region");

	if (!zone.p)
		zone = label(labels, "topology.kubernetes.io/zone");
	if (!region.p)
		region = label(labels, "topology.kubernetes.io/region");
	if (!zone.n && !region.n)
		return STR("");
	return zone_printf(z, STR_FMT ":" STR_FMT, STR_ARG(region), STR_ARG(zone));
}

static struct node_zone *find_zone(struct zones *all, struct str key)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (str_is(key, all->zone[i].key))
			return &all->zone[i];
	return NULL;
}

static struct node_zone *want_zone(struct controller *ctl, struct zones *all, struct str key,
				   int64_t now_ns)
{
	struct node_zone *z = find_zone(all, key);

	if (z)
		return z;
	all->zone = realloc(all->zone, (all->n + 1) * sizeof(*all->zone));
	weft_assert(all->zone);
	z = &all->zone[all->n++];
	*z = (struct node_zone){.key = strndup(key.p, key.n),
				.limiter = limiter_make(all->limits.rate_milli, now_ns),
				.ours = proc_mine_name(ctl_proc(ctl), key)};
	weft_assert(z->key);
	return z;
}

/* A while after the looks at each node: when many are found lost at once, it has been written
 * of all of them. */
static int64_t next_look_ns(struct controller *ctl, int64_t now_ns)
{
	int64_t every_ns = monitor_ns(ctl);

	return now_ns + every_ns - (now_ns - every_ns / 10) % every_ns;
}

void zones_resync(struct controller *ctl)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;

	for (uint32_t i = 0; i < all->n; i++) {
		struct node_zone *z = &all->zone[i];
		bool ours = proc_mine_name(ctl_proc(ctl), str_of(z->key));

		z->taken_over &= ours;
		z->ours = ours;
		z->ndoomed = z->sorted = 0;
	}
	all->look_ns = next_look_ns(ctl, clock_mono_ns());
}

void zones_start(struct controller *ctl)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;
	const value *nodes = v_get(proc_config(ctl_proc(ctl)), "nodes");

	all->awake_ns = clock_mono_ns();
	all->limits = (struct limits){
		.rate_milli = v_get_int(nodes, "evictionRate", 100),
		.secondary_rate_milli = v_get_int(nodes, "secondaryEvictionRate", 10),
		.threshold_milli = v_get_int(nodes, "unhealthyZoneThreshold", 550),
		.large = (uint32_t)v_get_int(nodes, "largeClusterSizeThreshold", 50),
	};
}

/* --- Who is to be tainted ----------------------------------------------------------- */

/* What a node says of itself, and what was done about it. */
struct standing {
	const char *taint;    /* that it is to have; NULL: none, it is ready or has never said */
	const value *tainted; /* that it has, of those two; NULL: none */
};

static const value *evicting_taint(const value *taints)
{
	v_each(t, taints) {
		struct str key = v_get_str(t, "key");

		if (str_eq(v_get_str(t, "effect"), STR("NoExecute")) &&
		    (str_eq(key, STR(TAINT_NOT_READY)) || str_eq(key, STR(TAINT_UNREACHABLE))))
			return t;
	}
	return NULL;
}

static struct standing standing_of(struct controller *ctl, const struct entry *e,
				   const struct version *v)
{
	zone *z = ctl_zone(ctl);
	value status = kube_part(z, ctl_cache(ctl), e, v, PART_STATUS);
	value spec = kube_part(z, ctl_cache(ctl), e, v, PART_SPEC);
	const value *ready = kube_condition(v_get(&status, "conditions"), "Ready");
	struct str is = v_get_str(ready, "status");

	if (!ready || str_eq(is, STR("True")))
		return (struct standing){0};
	return (struct standing){
		.taint = str_eq(is, STR("False")) ? TAINT_NOT_READY : TAINT_UNREACHABLE,
		.tainted = evicting_taint(v_get(&spec, "taints")),
	};
}

static int by_created(const void *a, const void *b)
{
	const struct doomed *x = a, *y = b;

	return (x->created_rv > y->created_rv) - (x->created_rv < y->created_rv);
}

static struct doomed *find_doomed(struct node_zone *z, uint64_t created_rv)
{
	struct doomed key = {.created_rv = created_rv};

	return bsearch(&key, z->doomed, z->sorted, sizeof(key), by_created);
}

static void doom(struct node_zone *z, uint32_t entry, const struct entry *e, uint64_t pass)
{
	struct doomed *d = find_doomed(z, e->created_rv);

	if (d) {
		d->pass = pass;
		return;
	}
	if (z->ndoomed == z->doomed_cap) {
		z->doomed_cap = z->doomed_cap ? 2 * z->doomed_cap : 16;
		z->doomed = realloc(z->doomed, z->doomed_cap * sizeof(*z->doomed));
		weft_assert(z->doomed);
	}
	z->doomed[z->ndoomed++] = (struct doomed){
		.created_rv = e->created_rv, .entry = entry, .noticed = pass, .pass = pass};
}

static void note_tainted(struct node_zone *z, const value *taint)
{
	int64_t ns;

	if (time_parse(v_get_str(taint, "timeAdded"), &ns) == 0 && ns / 1000000000 > z->tainted_s)
		z->tainted_s = ns / 1000000000;
}

static void look_at_node(struct controller *ctl, const struct entry *e, int64_t now_ns)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;
	const struct cache *c = ctl_cache(ctl);
	const struct version *v = cache_live(c, e);
	struct str labels = v ? cache_part(c, v, PART_LABELS) : (struct str){0};
	struct standing is = {0};
	struct node_zone *z;
	bool ready;

	if (!v)
		return;
	z = want_zone(ctl, all, zone_key(ctl_zone(ctl), labels), now_ns);
	ready = v->hot.flags & HOT_READY;
	if (!ready)
		is = standing_of(ctl, e, v);
	if (!peek_get(labels, STR(EXCLUDED)).n) {
		z->ready += ready;
		z->lost += is.taint != NULL;
	}
	if (is.tainted)
		note_tainted(z, is.tainted);
	else if (is.taint && z->ours)
		doom(z, cache_entry_ref(c, e).u, e, all->pass);
}

/* Forget those that are well, gone or tainted by now; the others are in order. */
static void end_look(struct node_zone *z, uint64_t pass)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < z->ndoomed; i++)
		if (z->doomed[i].pass == pass)
			z->doomed[kept++] = z->doomed[i];
	z->ndoomed = z->sorted = kept;
	if (kept)
		qsort(z->doomed, kept, sizeof(*z->doomed), by_created);
}

/* --- How fast ----------------------------------------------------------------------- */

/* All zones that have nodes are wholly lost: it is more likely we who are cut off. */
static bool all_are_lost(const struct zones *all)
{
	bool any = false;

	for (uint32_t i = 0; i < all->n; i++) {
		const struct node_zone *z = &all->zone[i];

		any |= z->ready || z->lost;
		if ((z->ready || z->lost) &&
		    zone_judge(&all->limits, z->ready, z->lost) != ZONE_FULL)
			return false;
	}
	return any;
}

/* Somebody else, or our predecessor, may have used the token just now. */
static void take_over(struct node_zone *z, int64_t now_s, int64_t now_ns)
{
	int64_t ago_s = now_s > z->tainted_s ? now_s - z->tainted_s : 0;

	if (z->ours && !z->taken_over && z->tainted_s)
		limiter_taken(&z->limiter, now_ns - ago_s * 1000000000);
	z->taken_over = z->ours;
}

static void judge_zone(struct zones *all, struct node_zone *z)
{
	static const char *const text[] = {
		[ZONE_NORMAL] = "well", [ZONE_PARTIAL] = "partly lost", [ZONE_FULL] = "lost"};
	enum zone_health health = zone_judge(&all->limits, z->ready, z->lost);

	if (health != z->health && (z->health || health != ZONE_NORMAL))
		log_info("zone '%s' is %s: %u of %u nodes are not ready", z->key, text[health],
			 z->lost, z->ready + z->lost);
	z->health = health;
}

static void judge_zones(struct zones *all, int64_t now_s, int64_t now_ns)
{
	bool lost = all_are_lost(all);

	if (all->all_lost && !lost)
		all->back_ns = now_ns;
	for (uint32_t i = 0; i < all->n; i++) {
		struct node_zone *z = &all->zone[i];

		take_over(z, now_s, now_ns);
		judge_zone(all, z);
		limiter_swap(&z->limiter,
			     lost ? 0 : zone_rate(&all->limits, z->health, z->ready + z->lost),
			     now_ns);
	}
	all->all_lost = lost;
}

static void look_at_all(struct controller *ctl, int64_t now_ns)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;
	const struct str none = {0};
	struct cache_iter it;
	const struct entry *e;

	all->pass++;
	for (uint32_t i = 0; i < all->n; i++)
		all->zone[i].ready = all->zone[i].lost = 0;
	cache_iter_init(&it, ctl_cache(ctl), TYPE_NODE, none, none, none);
	for (uint32_t n = 1; (e = cache_iter_next(&it)); n++) {
		look_at_node(ctl, e, now_ns);
		if (n % 256 == 0)
			zone_reset(ctl_zone(ctl));
	}
	for (uint32_t i = 0; i < all->n; i++)
		end_look(&all->zone[i], all->pass);
	judge_zones(all, (int64_t)ctl_now_s(ctl), now_ns);
}

bool zones_all_lost(struct controller *ctl)
{
	return ((struct nodelifecycle *)ctl_state(ctl))->zones.all_lost;
}

void zones_awake(struct controller *ctl, int64_t now_ns)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;

	if (now_ns - all->awake_ns > AWAY * monitor_ns(ctl) || now_ns < all->back_ns)
		all->back_ns = now_ns;
	all->awake_ns = now_ns;
}

int64_t zones_back_ns(struct controller *ctl)
{
	return ((struct nodelifecycle *)ctl_state(ctl))->zones.back_ns;
}

/* --- Tainting ----------------------------------------------------------------------- */

/* A request on its way, for a node of a zone. */
struct tainting {
	struct controller *ctl;
	uint32_t zone;
	uint64_t created_rv;
};

static void undoom(struct node_zone *z, struct doomed *d)
{
	memmove(d, d + 1, (size_t)(z->doomed + z->ndoomed - d - 1) * sizeof(*d));
	z->sorted = --z->ndoomed;
}

/* What was not written (somebody else wrote to the node) is tried again, with its token. */
static void on_tainted(void *arg, const struct msg_reply *reply)
{
	struct tainting *t = arg;
	struct zones *all = &((struct nodelifecycle *)ctl_state(t->ctl))->zones;
	struct node_zone *z = &all->zone[t->zone];
	struct doomed *d = find_doomed(z, t->created_rv);

	free(t);
	if (!d)
		return;
	d->asked = false;
	if (reply->status == WEFT_OK)
		undoom(z, d);
	else
		z->again_ns = clock_mono_ns() + AGAIN_NS;
}

static void ask_for_taint(struct controller *ctl, struct node_zone *z, struct doomed *d,
			  const struct entry *e, const struct version *v, const char *key)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;
	value spec = kube_part(ctl_zone(ctl), ctl_cache(ctl), e, v, PART_SPEC);
	struct tainting *t = malloc(sizeof(*t));
	struct msg m = {.kind = MSG_update};
	struct buf bytes = {0};

	weft_assert(t);
	*t = (struct tainting){ctl, (uint32_t)(z - all->zone), d->created_rv};
	if (!v_is_map(&spec))
		spec = v_map();
	taint_add(ctl, &spec, key, "NoExecute");
	v_encode(&bytes, &spec);
	m.update = (struct msg_update){
		.type = TYPE_NODE,
		.name = entry_name(e),
		.uid = {(const char *)e->uid, 16},
		.rv = v->rv,
		.mask = 1u << PART_SPEC,
		.spec = buf_str(&bytes),
	};
	d->asked = proc_send(ctl_proc(ctl), &m, on_tainted, t) == 0;
	if (!d->asked)
		free(t);
	buf_free(&bytes);
}

/* Taint it, or forget it if that is not to be; false: it has to wait. */
static bool taint_next(struct controller *ctl, struct node_zone *z, struct doomed *d,
		       int64_t now_ns)
{
	const struct cache *c = ctl_cache(ctl);
	const struct version *v = NULL;
	const struct entry *e;
	struct standing is = {0};

	if (cache_entry_checked(c, d->entry, &e) == 0 && e->created_rv == d->created_rv)
		v = cache_live(c, e);
	if (v)
		is = standing_of(ctl, e, v);
	if (!is.taint || is.tainted) {
		undoom(z, d);
		return true;
	}
	if (!proc_can_send(ctl_proc(ctl), ROOM) ||
	    (!d->granted && !limiter_take(&z->limiter, now_ns)))
		return false;
	d->granted = true;
	ask_for_taint(ctl, z, d, e, v, is.taint);
	return d->asked;
}

/* Of those that are not under way, the one that was noticed first. */
static struct doomed *first_waiting(struct node_zone *z)
{
	struct doomed *first = NULL;

	for (uint32_t i = 0; i < z->ndoomed; i++)
		if (!z->doomed[i].asked && (!first || z->doomed[i].noticed < first->noticed))
			first = &z->doomed[i];
	return first;
}

/* Returns when there is more to do, INT64_MAX: when something changes. */
static int64_t taint_zone(struct controller *ctl, struct node_zone *z, int64_t now_ns)
{
	struct doomed *d;
	int64_t next;

	if (!z->ours)
		return INT64_MAX;
	if (now_ns < z->again_ns)
		return z->ndoomed ? z->again_ns : INT64_MAX;
	while ((d = first_waiting(z)))
		if (!taint_next(ctl, z, d, now_ns))
			break;
	if (!d)
		return INT64_MAX;
	next = d->granted ? 0 : limiter_next(&z->limiter);
	return next > now_ns ? next : now_ns + AGAIN_NS;
}

int64_t zones_turn(struct controller *ctl, int64_t now_ns)
{
	struct zones *all = &((struct nodelifecycle *)ctl_state(ctl))->zones;
	int64_t soonest;

	zones_awake(ctl, now_ns);
	if (now_ns >= all->look_ns) {
		look_at_all(ctl, now_ns);
		all->look_ns = next_look_ns(ctl, now_ns);
	}
	soonest = all->look_ns;
	for (uint32_t i = 0; i < all->n; i++) {
		int64_t next = taint_zone(ctl, &all->zone[i], now_ns);

		soonest = next < soonest ? next : soonest;
	}
	return soonest;
}
