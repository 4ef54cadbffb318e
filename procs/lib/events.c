/*
 * events.c - recording Events as client-go's recorder does.
 *
 * Three small caches by hash, in this order, as in client-go's correlator:
 *   alike     many Events of one object that differ only in their message:
 *             from the tenth within ten minutes on they become one,
 *             "(combined from similar events): ..."
 *   known     the same Event again: its count rises
 *   talkers   one object may make 25 in a row and one every five minutes then
 * Above them a token bucket for the process, so that a burst over many objects
 * never floods the store; a process that follows a dead one begins with little in it.
 * What falls out of a cache makes a new Event; what is not sent is lost: Events are
 * for people.
 */
#include "procs/lib/lib.h"

#include <stdlib.h>
#include <xxhash.h>

#include "weft/kube.h"

#define WAYS		   4
#define SETS		   1024 /* 4,096 of each, as in client-go */
#define ALIKE_MAX	   10
#define ALIKE_NS	   (600 * INT64_C(1000000000))
#define TALK_BURST	   25.0
#define TALK_PER_NS	   (1.0 / 300e9)
#define PER_SECOND_DEFAULT 2000
#define BURST_DEFAULT	   5000
#define BURST_AGAIN	   50.0
#define NAME_MAX_OBJECT	   236 /* "." and 16 digits still fit 253 */

struct bucket {
	double tokens;
	int64_t at_ns; /* monotonic, roughly */
};

struct alike {
	uint64_t key;
	uint64_t used;
	int64_t last_ns;
	uint32_t n;
	uint64_t messages[ALIKE_MAX];
};

struct known {
	uint64_t key;
	uint64_t used;
	uint64_t suffix; /* of its name */
	uint32_t count;
	uint32_t first_s;
};

struct talker {
	uint64_t key;
	uint64_t used;
	struct bucket bucket;
};

struct events {
	struct bucket bucket;
	double per_ns, burst;
	uint64_t clock; /* rises with each use, for the oldest of a set */
	zone *z;
	struct buf rest;
	struct alike alike[SETS][WAYS];
	struct known known[SETS][WAYS];
	struct talker talkers[SETS][WAYS];
};

/* One Event on its way to becoming a request. */
struct event_in {
	const struct entry *about;
	const struct version *v;
	const struct event_source *source;
	const char *type, *reason;
	struct str message;
	uint32_t now_s;
};

/* --- Token buckets ---------------------------------------------------------------- */

static bool bucket_has(struct bucket *b, double burst, double per_ns, int64_t now)
{
	if (!b->at_ns)
		b->tokens = burst;
	else if (now > b->at_ns)
		b->tokens += (double)(now - b->at_ns) * per_ns;
	b->at_ns = now;
	if (b->tokens > burst)
		b->tokens = burst;
	return b->tokens >= 1;
}

static bool bucket_take(struct bucket *b, double burst, double per_ns, int64_t now)
{
	if (!bucket_has(b, burst, per_ns, now))
		return false;
	b->tokens -= 1;
	return true;
}

/* --- Caches ------------------------------------------------------------------------- */

/* The way of a set that holds `key`, else the one used longest ago, emptied.
 * All three structures begin with key and used. */
static void *cache_slot(struct events *ev, void *set, size_t size, uint64_t key)
{
	struct way {
		uint64_t key, used;
	};
	struct way *at, *oldest = NULL;

	for (int i = 0; i < WAYS; i++) {
		at = (void *)((char *)set + (size_t)i * size);
		if (at->key == key) {
			oldest = at;
			break;
		}
		if (!oldest || at->used < oldest->used)
			oldest = at;
	}
	if (oldest->key != key) {
		memset(oldest, 0, size);
		oldest->key = key;
	}
	oldest->used = ++ev->clock;
	return oldest;
}

static uint64_t hash_add(uint64_t seed, struct str s)
{
	return XXH3_64bits_withSeed(s.p ? s.p : "", s.n, seed + s.n) | 1;
}

/* Object and source, which every key begins with. */
static uint64_t key_of_source(const struct event_in *in)
{
	uint64_t h = XXH3_64bits(in->about->uid, 16);

	h = hash_add(h, str_of(in->source->component));
	return hash_add(h, in->source->host);
}

/* --- What a recorder decides -------------------------------------------------------- */

/* Combine it with many like it; true if that was done. */
static bool combine(struct events *ev, const struct event_in *in, uint64_t key, int64_t now)
{
	uint64_t message = hash_add(0, in->message);
	struct alike *a = cache_slot(ev, ev->alike[key % SETS], sizeof(*a), key);
	uint32_t i;

	if (now - a->last_ns > ALIKE_NS)
		a->n = 0;
	a->last_ns = now;
	for (i = 0; i < a->n && a->messages[i] != message; i++)
		;
	if (i == a->n)
		a->messages[a->n++] = message;
	if (a->n < ALIKE_MAX)
		return false;
	a->n--;
	return true;
}

#define KV(k, v) ((msgpack_object_kv){v_cstr(k), v})

static value time_value(struct events *ev, uint32_t s)
{
	char text[21];

	time_format(s, text);
	return v_str(zone_str(ev->z, str_of(text)));
}

static value involved_object(struct events *ev, const struct cache *c, const struct event_in *in)
{
	const struct kube_resource *r = kube_by_type(in->about->type);
	msgpack_object_kv field[7];
	uint32_t n = 0;
	char uid[37];

	uid_format(in->about->uid, uid);
	field[n++] = KV("apiVersion", v_cstr(r->api_version));
	if (in->source->field_path.n)
		field[n++] = KV("fieldPath", v_str(in->source->field_path));
	field[n++] = KV("kind", v_cstr(r->kind));
	field[n++] = KV("name", v_str(entry_name(in->about)));
	if (in->about->ns.u)
		field[n++] = KV("namespace", v_str(cache_ns(c, in->about)));
	field[n++] = KV("resourceVersion",
			v_str(zone_printf(ev->z, "%llu", (unsigned long long)in->v->rv)));
	field[n++] = KV("uid", v_str(zone_str(ev->z, str_of(uid))));
	return v_map_of(ev->z, field, n);
}

static value source_of(struct events *ev, const struct event_in *in)
{
	const msgpack_object_kv field[] = {
		KV("component", v_cstr(in->source->component)),
		KV("host", v_str(in->source->host)),
	};

	return v_map_of(ev->z, field, in->source->host.n ? 2 : 1);
}

/* Its fields in their order, so that nothing is looked for: bursts are many Events. */
static void encode_event(struct events *ev, const struct cache *c, const struct event_in *in,
			 const struct known *k)
{
	const msgpack_object_kv field[] = {
		KV("count", v_uint(k->count)),
		KV("eventTime", v_null()),
		KV("firstTimestamp", time_value(ev, k->first_s)),
		KV("involvedObject", involved_object(ev, c, in)),
		KV("lastTimestamp", time_value(ev, in->now_s)),
		KV("message", v_str(in->message)),
		KV("reason", v_cstr(in->reason)),
		KV("reportingComponent", v_cstr(in->source->component)),
		KV("reportingInstance", v_str(in->source->host)),
		KV("source", source_of(ev, in)),
		KV("type", v_cstr(in->type)),
	};
	value o = v_map_of(ev->z, field, countof(field));

	ev->rest.n = 0;
	v_encode(&ev->rest, &o);
}

/* --- Sending ------------------------------------------------------------------------ */

/* An update that may find its Event gone: then it is created. */
struct recreate {
	struct proc *p;
	uint64_t cause;
	struct str ns, name, rest; /* in bytes */
	char bytes[];
};

static int send_create(struct proc *p, struct str ns, struct str name, struct str rest,
		       uint64_t cause)
{
	struct msg m = {
		.kind = MSG_create,
		.create = {
			.cause = cause, .type = TYPE_EVENT, .ns = ns, .name = name, .rest = rest}};

	return proc_send(p, &m, NULL, NULL);
}

static void updated(void *arg, const struct msg_reply *reply)
{
	struct recreate *r = arg;

	if (reply->status == WEFT_ENOENT)
		send_create(r->p, r->ns, r->name, r->rest, r->cause);
	free(r);
}

static struct str put_bytes(char **at, struct str s)
{
	struct str copy = {*at, s.n};

	memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

static void send_update(struct proc *p, struct str ns, struct str name, struct str rest,
			uint64_t cause)
{
	struct recreate *r = malloc(sizeof(*r) + ns.n + name.n + rest.n);
	struct msg m = {.kind = MSG_update,
			.update = {.cause = cause,
				   .type = TYPE_EVENT,
				   .ns = ns,
				   .name = name,
				   .mask = 1u << PART_REST,
				   .rest = rest}};
	char *at;

	if (!r)
		return;
	at = r->bytes;
	r->p = p;
	r->cause = cause;
	r->ns = put_bytes(&at, ns);
	r->name = put_bytes(&at, name);
	r->rest = put_bytes(&at, rest);
	if (proc_send(p, &m, updated, r))
		free(r);
}

static struct str event_name(struct events *ev, const struct event_in *in, uint64_t suffix)
{
	struct str name = entry_name(in->about);

	if (name.n > NAME_MAX_OBJECT)
		name.n = NAME_MAX_OBJECT;
	return zone_printf(ev->z, STR_FMT ".%016llx", STR_ARG(name), (unsigned long long)suffix);
}

static void send_event(struct proc *p, const struct event_in *in, const struct known *k)
{
	struct events *ev = p->events;
	struct str ns = in->about->ns.u ? cache_ns(p->cache, in->about) : STR("default");
	struct str name = event_name(ev, in, k->suffix);

	encode_event(ev, p->cache, in, k);
	if (k->count == 1)
		send_create(p, ns, name, buf_str(&ev->rest), in->v->rv);
	else
		send_update(p, ns, name, buf_str(&ev->rest), in->v->rv);
}

/* --- Recording ---------------------------------------------------------------------- */

/* The burst is the slot's, whoever is in it: a successor has much to do at once, and the store
 * with it, and Events of all that would stand in front. */
static struct bucket first_bucket(const struct proc *p, double burst)
{
	if (p->incarnation == 1 || burst < BURST_AGAIN)
		return (struct bucket){0};
	return (struct bucket){BURST_AGAIN, clock_mono_rough_ns()};
}

static struct events *events_new(struct proc *p)
{
	const value *rate = v_path(p->config, "events.perSecond");
	const value *burst = v_path(p->config, "events.burst");

	p->events = calloc(1, sizeof(*p->events));
	if (!p->events)
		weft_fatal("out of memory for the events recorder");
	p->events->per_ns = (double)v_as_int(rate, PER_SECOND_DEFAULT) / 1e9;
	p->events->burst = (double)v_as_int(burst, BURST_DEFAULT);
	p->events->bucket = first_bucket(p, p->events->burst);
	p->events->z = zone_new();
	return p->events;
}

static struct events *events_of(struct proc *p)
{
	return p->events ? p->events : events_new(p);
}

bool proc_event_room(struct proc *p)
{
	struct events *ev = events_of(p);

	return bucket_has(&ev->bucket, ev->burst, ev->per_ns, clock_mono_rough_ns());
}

void events_free(struct events *ev)
{
	if (!ev)
		return;
	zone_free(ev->z);
	buf_free(&ev->rest);
	free(ev);
}

static void record(struct proc *p, struct event_in *in)
{
	struct events *ev = events_of(p);
	int64_t now = clock_wall_ns(), rough = clock_mono_rough_ns();
	uint64_t source, key;
	struct talker *talker;
	struct known *k;

	if (!bucket_take(&ev->bucket, ev->burst, ev->per_ns, rough))
		return;
	zone_reset(ev->z);
	source = key_of_source(in);
	key = hash_add(hash_add(source, str_of(in->type)), str_of(in->reason));
	if (combine(ev, in, key, now))
		in->message = zone_printf(ev->z, "(combined from similar events): " STR_FMT,
					  STR_ARG(in->message));
	else
		key = hash_add(hash_add(key, in->source->field_path), in->message);
	in->now_s = (uint32_t)(now / 1000000000);
	k = cache_slot(ev, ev->known[key % SETS], sizeof(*k), key);
	if (!k->count++) {
		k->suffix = (uint64_t)now;
		k->first_s = in->now_s;
	}
	talker = cache_slot(ev, ev->talkers[source % SETS], sizeof(*talker), source);
	if (bucket_take(&talker->bucket, TALK_BURST, TALK_PER_NS, rough))
		send_event(p, in, k);
}

void proc_event(struct proc *p, const struct entry *about, const struct event_source *source,
		const char *type, const char *reason, struct str message)
{
	struct event_in in = {.about = about,
			      .v = cache_newest(p->cache, about),
			      .source = source,
			      .type = type,
			      .reason = reason,
			      .message = message};

	if (in.v && kube_by_type(about->type))
		record(p, &in);
}
