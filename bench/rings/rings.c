/*
 * rings.c - load through the rings, as a controller puts it on the store: a process
 * of the cluster, started by its supervisor, whose requests are creates, updates and
 * deletes of ConfigMaps, or with `replicas` of Deployments, which updates scale, and lookups
 * in the cache.
 *
 * The executable build/bench/weft is weft with this process in it; a configuration
 * with `processes: {load: 1}` starts it, and WEFT_LOAD in the environment of `weft up`
 * says what to do ("mix=update=6+create=1 objects=100000 rate=0 seconds=5 seed=1").
 * When it has measured it tells its figures (WEFT_BENCH_JSON) and rests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"
#include "kube_types.h"
#include "procs/lib/mains.h"
#include "weft/cache.h"
#include "weft/json.h"
#include "weft/kube.h"

#define FLIGHT (1u << 14) /* requests open at most; a power of two */
#define TURN   512	  /* made in a turn of the loop at most */
#define RECORD 4096	  /* room for one */

enum op { OP_CREATE, OP_UPDATE, OP_DELETE, OP_FIND, OPS };
static const char *const op_names[OPS] = {"create", "update", "delete", "find"};

enum phase { PHASE_NAMESPACE, PHASE_FILL, PHASE_RUN, PHASE_DRAIN, PHASE_DONE };

/* A request that is open: what it was and when it was due. */
struct request {
	uint8_t op;
	int64_t intended;
};

static struct rings {
	struct proc *p;
	enum phase phase;
	struct mix mix;
	uint32_t objects, bytes;
	uint16_t type;
	struct meter meters[OPS];
	struct request open[FLIGHT];
	uint64_t sent, asked, filled, failed; /* asked: of the store */
	uint32_t made, gone;		      /* "c-N" created and deleted */
	int64_t start;
	struct dice dice;
	char *value;
	struct kube_parts parts; /* of the last Deployment that was asked for */
} r;

/* --- What is asked for -------------------------------------------------------------- */

static void parse_mix(char *text)
{
	const char *unknown = mix_parse(&r.mix, text, op_names, OPS);

	if (unknown)
		weft_fatal("WEFT_LOAD: '%s' is no operation", unknown);
}

static void parse_one(char *key)
{
	char *text = strchr(key, '=');

	if (!text)
		weft_fatal("WEFT_LOAD: '%s' has no value", key);
	*text++ = '\0';
	if (strcmp(key, "mix") == 0)
		parse_mix(text);
	else if (strcmp(key, "objects") == 0)
		r.objects = (uint32_t)atoi(text);
	else if (strcmp(key, "replicas") == 0)
		opt.replicas = (uint32_t)atoi(text);
	else if (strcmp(key, "bytes") == 0)
		r.bytes = (uint32_t)atoi(text);
	else if (strcmp(key, "rate") == 0)
		opt.rate = atof(text);
	else if (strcmp(key, "seconds") == 0)
		opt.seconds = atof(text);
	else if (strcmp(key, "seed") == 0)
		opt.seed = strtoull(text, NULL, 10);
	else if (strcmp(key, "target") == 0)
		opt.target = atof(text);
	else
		weft_fatal("WEFT_LOAD: there is no '%s'", key);
}

static void parse(const char *text)
{
	char *copy = strdup(text ? text : "mix=update"), *save;

	opt.replicas = 0;
	r.objects = 100000;
	r.bytes = 300;
	for (char *one = strtok_r(copy, " ", &save); one; one = strtok_r(NULL, " ", &save))
		parse_one(one);
	free(copy);
	if (!r.mix.sum)
		r.mix.sum = r.mix.weight[OP_UPDATE] = 1;
	r.dice.state = opt.seed + !opt.seed;
	opt.connections = 1;
	r.type = opt.replicas ? TYPE_DEPLOYMENT : TYPE_CONFIGMAP;
}

/* --- Requests ----------------------------------------------------------------------- */

static struct str name_of(const char *prefix, uint32_t i)
{
	return pathf("%s-%07u", prefix, i);
}

/* {"data": {"v": `bytes` bytes}} as msgpack; the first ones differ each time. */
static struct str next_value(void)
{
	static const char head[] = "\x81\xa4"
				   "data\x81\xa1"
				   "v\xda";
	size_t n = sizeof(head) - 1;

	if (!r.value) {
		r.value = malloc(n + 2 + r.bytes + 20);
		memcpy(r.value, head, n);
		r.value[n] = (char)(r.bytes >> 8);
		r.value[n + 1] = (char)r.bytes;
		memset(r.value + n + 2, 'x', r.bytes + 20);
	}
	snprintf(r.value + n + 2, 17, "%016llx", (unsigned long long)r.sent);
	r.value[n + 2 + 16] = 'x';
	return (struct str){r.value, (uint32_t)n + 2 + r.bytes};
}

static void on_reply(void *arg, const struct msg_reply *reply)
{
	struct request *q = arg;

	if (r.phase < PHASE_RUN) {
		r.filled++;
		return;
	}
	if (reply->status)
		meter_error(&r.meters[q->op], reply->status);
	else
		meter_add(&r.meters[q->op], q->intended, now_ns());
}

/* The spec of Deployment number `i`, with the defaults that the API server would have set. */
static struct str next_spec(uint32_t i)
{
	zone *z = zone_new();
	struct buf text = {0};
	value obj;

	deployment_body(&text, i, opt.replicas / 2 + dice_below(&r.dice, opt.replicas) + 1, 14);
	weft_assert(!json_decode(z, buf_str(&text), &obj, NULL, NULL));
	kube_default(z, kube_by_type(TYPE_DEPLOYMENT), &obj);
	kube_parts_free(&r.parts);
	kube_split(z, &obj, &r.parts);
	zone_free(z);
	buf_free(&text);
	return buf_str(&r.parts.part[PART_SPEC]);
}

/* `number` tells them all apart, `i` those of a prefix. */
static void make_create(struct msg *m, const char *prefix, uint32_t i, uint32_t number)
{
	m->kind = MSG_create;
	m->create.type = r.type;
	m->create.ns = STR("default");
	m->create.name = name_of(prefix, i);
	if (opt.replicas)
		m->create.spec = next_spec(number);
	else
		m->create.rest = next_value();
}

static void make_update(struct msg *m)
{
	uint32_t i = dice_below(&r.dice, r.objects);

	m->kind = MSG_update;
	m->update.type = r.type;
	m->update.ns = STR("default");
	m->update.name = name_of("ring", i);
	m->update.mask = 1u << (opt.replicas ? PART_SPEC : PART_REST);
	if (opt.replicas) {
		m->update.spec = next_spec(i);
		m->update.bump = m->update.mask;
	} else {
		m->update.rest = next_value();
	}
}

static void make_remove(struct msg *m)
{
	m->kind = MSG_remove;
	m->remove.type = r.type;
	m->remove.ns = STR("default");
	m->remove.name = name_of("c", r.gone++);
}

/* A lookup in the cache is over at once. */
static void find(int64_t intended)
{
	struct cache *c = proc_cache(r.p);
	bool found;

	cache_lock(c);
	found = cache_find(c, r.type, STR("default"),
			   name_of("ring", dice_below(&r.dice, r.objects))) != NULL;
	cache_unlock(c);
	if (found)
		meter_add(&r.meters[OP_FIND], intended, now_ns());
	else
		meter_error(&r.meters[OP_FIND], WEFT_ENOENT);
}

static enum op choose(void)
{
	enum op op = mix_draw(&r.mix, &r.dice);

	/* Only what was created is deleted, in the same order as it was. */
	return op == OP_DELETE && r.gone == r.made ? OP_CREATE : (enum op)op;
}

static bool send_one(struct msg *m, enum op op, int64_t intended)
{
	struct request *q = &r.open[r.asked % FLIGHT];

	*q = (struct request){(uint8_t)op, intended};
	if (proc_send(r.p, m, on_reply, q))
		return false;
	r.asked++;
	r.sent++;
	return true;
}

static bool can_send(void)
{
	return proc_in_flight(r.p) < FLIGHT && proc_can_send(r.p, RECORD + r.bytes);
}

static void do_one(int64_t intended)
{
	enum op op = choose();
	struct msg m = {0};

	switch (op) {
	case OP_FIND:
		find(intended);
		r.sent++;
		return;
	case OP_CREATE:
		make_create(&m, "c", r.made, r.objects + r.made);
		r.made++;
		break;
	case OP_UPDATE:
		make_update(&m);
		break;
	default:
		make_remove(&m);
		break;
	}
	send_one(&m, op, intended);
}

/* --- Phases ------------------------------------------------------------------------- */

/* The store refuses objects of a namespace that is not there yet. */
static void await_namespace(void)
{
	struct cache *c = proc_cache(r.p);

	cache_lock(c);
	if (cache_find(c, TYPE_NAMESPACE, STR(""), STR("default")))
		r.phase = PHASE_FILL;
	cache_unlock(c);
}

static void fill(void)
{
	struct msg m;

	for (int i = 0; i < TURN && r.sent < r.objects && can_send(); i++) {
		m = (struct msg){0};
		make_create(&m, "ring", (uint32_t)r.sent, (uint32_t)r.sent);
		send_one(&m, OP_CREATE, 0);
	}
	if (r.filled < r.objects)
		return;
	r.phase = PHASE_RUN;
	r.sent = 0;
	r.start = now_ns();
	for (uint32_t i = 0; i < OPS; i++)
		meter_start(&r.meters[i], op_names[i], r.start);
}

static void run(int64_t now)
{
	for (int i = 0; i < TURN && can_send(); i++) {
		int64_t due =
			opt.rate ? r.start + (int64_t)((double)r.sent * 1e9 / opt.rate) : now_ns();

		if (due > now && opt.rate)
			break;
		do_one(due);
	}
	if (now > r.start + (int64_t)(opt.seconds * 1e9))
		r.phase = PHASE_DRAIN;
}

static void report(void)
{
	for (uint32_t i = 0; i < OPS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "rings/%s", op_names[i]);
		if (r.mix.weight[i])
			meter_report(&r.meters[i], name, meter_rate(&r.meters[i]), "/s", false);
	}
	r.phase = PHASE_DONE;
}

static int64_t on_turn(void *arg, int64_t now)
{
	switch (r.phase) {
	case PHASE_NAMESPACE:
		await_namespace();
		return now + 10000000;
	case PHASE_FILL:
		fill();
		break;
	case PHASE_RUN:
		run(now_ns());
		break;
	case PHASE_DRAIN:
		if (!proc_in_flight(r.p))
			report();
		break;
	case PHASE_DONE:
		return 0;
	}
	meters_show(r.meters, r.phase == PHASE_RUN ? OPS : 0, now_ns());
	/* When the ring is full there is nothing to do before the next reply. */
	return can_send() && !opt.rate ? now : now + 100000;
}

int load_main(void)
{
	const struct proc_handlers handlers = {.on_turn = on_turn};

	parse(getenv("WEFT_LOAD"));
	r.p = proc_start(PROC_LOAD);
	return proc_run(r.p, &handlers);
}
