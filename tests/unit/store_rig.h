/*
 * store_rig.h - a store without processes, for tests: a log on a simulated
 * disk, its thread, a cache generation, and requests made by hand or at random.
 */
#ifndef STORE_RIG_H
#define STORE_RIG_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "procs/store/commit.h"
#include "procs/store/recover.h"
#include "tests/unit/suite.h"
#include "weft/json.h"

struct rig {
	struct files *fs;
	const char *checkpoint; /* directory, NULL: none */
	uint32_t generation;
	char name[SEG_NAME_MAX];
	struct log *log;
	struct log_thread *thread;
	struct store s;
	struct committer c;
	struct recovery r;
	uint64_t seq;
	struct msg_reply last; /* reply to the last request; message kept below */
	char message[512], made[256];
	uint32_t skipped[1024];
	uint32_t replies, errors;
	bool lost; /* a batch was aborted */
};

static const uint8_t rig_cluster[16] = "store test rig!!";
static unsigned rig_seed;

static inline unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&rig_seed) % n;
}

static inline void rig_set_seed(void)
{
	const char *text = getenv("WEFT_SEED");

	rig_seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)getpid();
	printf("WEFT_SEED=%u\n", rig_seed);
	fflush(stdout);
}

/* --- Opening and closing ----------------------------------------------------------- */

static inline void rig_none(void *arg, const struct version *v)
{
}

static inline void rig_published(void *arg, struct batch *b)
{
	struct rig *rig = arg;

	for (uint32_t i = 0; i < b->nreplies; i++) {
		const struct waiting *w = &b->replies[i];

		rig->replies++;
		rig->errors += w->status != 0;
		rig->lost |= w->status == WEFT_EIO || w->status == WEFT_ENOSPC;
		snprintf(rig->message, sizeof(rig->message), "%.*s", (int)w->message_n,
			 b->text.p ? b->text.p + w->message_at : "");
		snprintf(rig->made, sizeof(rig->made), "%.*s", (int)w->name_n,
			 b->text.p ? b->text.p + w->name_at : "");
		if (w->skipped_n)
			memcpy(rig->skipped, b->text.p + w->skipped_at,
			       (w->skipped_n < 1024 ? w->skipped_n : 1024) * 4);
		rig->last = (struct msg_reply){
			.seq = w->seq,
			.status = w->status,
			.rv = w->rv,
			.entry = w->entry,
			.done = w->done,
			.gone = w->gone,
			.name = str_of(rig->made),
			.message = str_of(rig->message),
			.skipped = {rig->skipped, w->skipped_n},
		};
	}
}

/* A new generation from what the disk has. */
static inline int rig_open(struct rig *rig, struct files *fs, const char *checkpoint, struct err *e)
{
	struct commit_hooks hooks = {rig_none, rig_none, rig_none, rig_published, rig};
	uint32_t generation = rig->generation + 1;
	int rc;

	memset(rig, 0, sizeof(*rig));
	rig->fs = fs;
	rig->checkpoint = checkpoint;
	rig->generation = generation;
	snprintf(rig->name, sizeof(rig->name), "/weft.rig-%d.%u", getpid(), generation);
	seg_unlink(rig->name, NULL); /* of a test that was ended and had our pid */
	rc = log_open(&rig->log, fs, rig_cluster, LOG_SEGMENT_MIN, e);
	if (rc)
		return rc;
	rig->r = (struct recovery){
		.s = &rig->s,
		.log = rig->log,
		.checkpoint = checkpoint,
		.segment_name = rig->name,
		.generation = generation,
		.options = {.pod_type = TYPE_POD,
			    .node_type = TYPE_NODE,
			    .size_max = 1u << 30,
			    .journal_min = 512,
			    .journal_max = 1024},
	};
	memcpy(rig->r.cluster_id, rig_cluster, 16);
	rc = recover(&rig->r, e);
	if (rc) {
		log_close(rig->log);
		return rc;
	}
	ck_assert_int_eq(log_thread_start(&rig->thread, rig->log, -1, NULL, e), WEFT_OK);
	commit_init(&rig->c, &rig->s, rig->thread, rig->s.rv, &hooks);
	return WEFT_OK;
}

/* As a kill -9 leaves it: nothing is finished. */
static inline void rig_kill(struct rig *rig)
{
	log_thread_stop(rig->thread);
	commit_free(&rig->c);
	store_free(&rig->s);
	log_close(rig->log);
	cw_close(rig->r.w);
	seg_unlink(rig->name, NULL);
}

static inline void rig_must_open(struct rig *rig, struct files *fs, const char *checkpoint)
{
	struct err e = {0};
	int rc = rig_open(rig, fs, checkpoint, &e);

	ck_assert_msg(!rc, "%s", e.msg);
	rc = cw_verify(rig->s.w, &e);
	ck_assert_msg(!rc, "%s", e.msg);
}

/* --- Requests ----------------------------------------------------------------------- */

/* Apply, without waiting for the log. */
static inline void rig_send(struct rig *rig, struct msg *m)
{
	struct caller who = {.port = 7, .incarnation = 1, .slot = 7, .kind = 5};

	msg_request(m)->seq = ++rig->seq;
	store_apply(&rig->s, &who, m);
}

/* Apply and wait for the reply. */
static inline const struct msg_reply *rig_do(struct rig *rig, struct msg *m)
{
	rig_send(rig, m);
	commit_drain(&rig->c);
	ck_assert_uint_eq(rig->last.seq, rig->seq);
	return &rig->last;
}

static zone *rig_zone;

/* msgpack of a JSON-like text with ' for ". */
static inline struct str rig_part(const char *text)
{
	struct buf json = {0}, out = {0};
	struct err e = {0};
	struct str s;
	value v;

	if (!rig_zone)
		rig_zone = zone_new();
	for (; *text; text++)
		buf_putc(&json, *text == '\'' ? '"' : *text);
	ck_assert_msg(!json_decode(rig_zone, buf_str(&json), &v, NULL, &e), "%s", e.msg);
	v_encode(&out, &v);
	s = zone_str(rig_zone, buf_str(&out));
	buf_free(&json);
	buf_free(&out);
	return s;
}

static inline struct msg rig_create(uint16_t type, const char *ns, const char *name)
{
	return (struct msg){.kind = MSG_create,
			    .create = {.type = type, .ns = str_of(ns), .name = str_of(name)}};
}

static inline struct msg rig_remove(uint16_t type, const char *ns, const char *name)
{
	return (struct msg){
		.kind = MSG_remove,
		.remove = {.type = type, .ns = str_of(ns), .name = str_of(name), .grace = -1}};
}

static inline void rig_namespace(struct rig *rig, const char *name)
{
	struct msg m = rig_create(TYPE_NAMESPACE, "", name);

	m.create.spec = rig_part("{'finalizers':['kubernetes']}");
	m.create.status = rig_part("{'phase':'Active'}");
	ck_assert_int_eq(rig_do(rig, &m)->status, WEFT_OK);
}

static inline const struct version *rig_get(struct rig *rig, uint16_t type, const char *ns,
					    const char *name)
{
	const struct entry *e = cw_find(rig->s.w, type, str_of(ns), str_of(name));

	return e ? cw_newest(rig->s.w, e) : NULL;
}

/* --- What is there, as text --------------------------------------------------------- */

static inline void dump_object(struct buf *out, const struct cache *c, const struct entry *e,
			       const struct version *v)
{
	const struct entry *owner;
	char uid[37];

	uid_format(e->uid, uid);
	buf_printf(out,
		   "%u/" STR_FMT "/%s %s c%u,%" PRIu64 " rv%" PRIu64 " by%" PRIx64
		   ",%u g%u d%u,%d f%u",
		   e->type, STR_ARG(cache_ns(c, e)), e->name, uid, e->created_s, e->created_rv,
		   v->rv, v->cause, v->writer_kind, v->generation, v->deletion_s, v->grace_s,
		   v->flags & ~VERSION_FIRST);
	buf_printf(out, " hot%u,%u,%d,%u,%u,%u", v->hot.ready_since_s, v->hot.replicas,
		   v->hot.deletion_cost, v->hot.restarts, v->hot.phase, v->hot.flags);
	if (v->hot.node.u)
		buf_printf(out, " on " STR_FMT,
			   STR_ARG(cache_string(c, cache_nodeslot(c, v->hot.node)->name)));
	/* An owner that is gone may stay linked for a while. */
	owner = prcu_own(&e->owner) ? cache_entry(c, (entry_ref){prcu_own(&e->owner)}) : NULL;
	if (owner && cache_live(c, owner)) {
		uid_format(owner->uid, uid);
		buf_printf(out, " of %s", uid);
	}
	for (int i = 0; i < v->nholes; i++)
		buf_printf(out, " h%u", v->holes[i]);
	for (int p = 0; p < PART_COUNT; p++) {
		struct str s = cache_part(c, v, (enum part)p);

		buf_printf(out, " %d:", p);
		for (uint32_t i = 0; i < s.n; i++)
			buf_printf(out, "%02x", (uint8_t)s.p[i]);
	}
	buf_putc(out, '\n');
}

/* Every durable object as it is published. */
static inline void dump_cache(struct buf *out, const struct cache *c)
{
	out->n = 0;
	for (uint32_t t = 1; t < TYPE_MAX; t++) {
		struct cache_iter it;
		const struct entry *e;

		cache_iter_init(&it, c, (uint16_t)t, (struct str){0}, (struct str){0},
				(struct str){0});
		while ((e = cache_iter_next(&it))) {
			const struct version *v = cache_live(c, e);

			if (v && !(v->flags & VERSION_MEMORY))
				dump_object(out, c, e, v);
		}
	}
	buf_putc(out, '\0');
}

/* --- At random ---------------------------------------------------------------------- */

#define RIG_NS 3

static inline const char *random_ns(void)
{
	static const char *const ns[RIG_NS] = {"a", "a-b", "b"};

	return ns[rnd(RIG_NS)];
}

static inline uint16_t random_type(void)
{
	static const uint16_t type[] = {TYPE_POD,	TYPE_POD,   TYPE_REPLICASET,
					TYPE_CONFIGMAP, TYPE_EVENT, TYPE_JOB};

	return type[rnd(6)];
}

static inline const char *random_name(void)
{
	static char name[4][16];
	static int at;

	at = (at + 1) % 4;
	snprintf(name[at], sizeof(name[at]), "obj-%u", rnd(40));
	return name[at];
}

static inline struct str random_status(void)
{
	static const char *const text[] = {
		"{'phase':'Pending'}",
		("{'phase':'Running','conditions':[{'type':'Ready','status':'True',"
		 "'lastTransitionTime':'2026-01-02T03:04:05Z'}]}"),
		"{'phase':'Succeeded'}",
		"{'phase':'Failed','containerStatuses':[{'restartCount':3}]}",
	};

	return rig_part(text[rnd(4)]);
}

static inline struct str random_meta(struct rig *rig)
{
	const struct entry *o =
		cw_find(rig->s.w, TYPE_REPLICASET, str_of(random_ns()), str_of(random_name()));
	char text[400], uid[37];

	if (rnd(3) == 0)
		return rig_part(rnd(2) ? "{'finalizers':['x.io/y']}" : "{'annotations':{'a':'b'}}");
	if (!o || rnd(3) == 0)
		return (struct str){0};
	uid_format(o->uid, uid);
	snprintf(text, sizeof(text),
		 "{'ownerReferences':[{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'%s',"
		 "'uid':'%s','controller':true,'blockOwnerDeletion':true}]}",
		 o->name, uid);
	return rig_part(text);
}

static inline struct str random_spec(void)
{
	char text[200];

	snprintf(
		text, sizeof(text),
		"{'replicas':%u,'terminationGracePeriodSeconds':%u,'containers':[{'image':'i%u'}]}",
		rnd(5), rnd(3) * 10, rnd(3));
	return rig_part(text);
}

/* Some live pods (or objects of a type) as a bulk request names them. */
struct picked {
	uint32_t entries[64];
	uint64_t rvs[64];
	uint32_t n;
};

static inline struct picked random_pick(struct rig *rig, uint16_t type)
{
	struct picked p = {.n = 0};
	struct cache_iter it;
	const struct entry *e;
	bool all = rnd(4) == 0;

	cache_iter_init(&it, rig->s.c, type, (struct str){0}, (struct str){0}, (struct str){0});
	while (p.n < 64 && (e = cache_iter_next(&it))) {
		const struct version *v = cache_live(rig->s.c, e);

		if (!v || !(all || rnd(3) == 0))
			continue;
		p.entries[p.n] = cache_entry_ref(rig->s.c, e).u;
		p.rvs[p.n++] = v->rv - (rnd(10) == 0);
	}
	return p;
}

static inline void random_many(struct rig *rig)
{
	struct picked p = random_pick(rig, TYPE_POD);
	uint32_t node_of[64], holes[64];
	struct msg m = {0};
	unsigned what = rnd(4);

	for (uint32_t i = 0; i < 64; i++) {
		node_of[i] = rnd(3);
		holes[i] = rnd(100000);
	}
	if (what == 0) {
		m.kind = MSG_create_many;
		m.create_many = (struct msg_create_many){.type = TYPE_POD,
							 .ns = str_of(random_ns()),
							 .prefix = STR("web-"),
							 .count = rnd(20),
							 .meta = random_meta(rig),
							 .labels = rig_part("{'app':'web'}"),
							 .spec = random_spec(),
							 .status = random_status()};
	} else if (what == 1) {
		m.kind = MSG_bind_many;
		m.bind_many = (struct msg_bind_many){.nodes = rig_part("['n0','n1','n2']"),
						     .entries = {p.entries, p.n},
						     .rvs = {p.rvs, p.n},
						     .node_of = {node_of, p.n}};
		if (rnd(2))
			m.bind_many.status = random_status();
	} else if (what == 2) {
		m.kind = MSG_status_many;
		m.status_many = (struct msg_status_many){.type = TYPE_POD,
							 .status = random_status(),
							 .nholes = 1,
							 .entries = {p.entries, p.n},
							 .rvs = {p.rvs, p.n},
							 .holes = {holes, p.n}};
	} else {
		m.kind = MSG_delete_many;
		m.delete_many = (struct msg_delete_many){.type = TYPE_POD,
							 .grace = rnd(2) ? -1 : (int)rnd(20),
							 .propagation = (uint8_t)rnd(4),
							 .exact = rnd(2),
							 .entries = {p.entries, p.n},
							 .rvs = {p.rvs, p.n}};
	}
	rig_send(rig, &m);
}

static inline void random_one(struct rig *rig)
{
	const char *ns = random_ns(), *name = random_name();
	uint16_t type = random_type();
	struct msg m;

	switch (rnd(3)) {
	case 0:
		m = rig_create(type, ns, name);
		m.create.meta = random_meta(rig);
		m.create.spec = random_spec();
		m.create.status = random_status();
		m.create.labels = rnd(2) ? rig_part("{'app':'x'}") : (struct str){0};
		m.create.generate = rnd(5) == 0;
		break;
	case 1:
		m = (struct msg){.kind = MSG_update,
				 .update = {.type = type,
					    .ns = str_of(ns),
					    .name = str_of(name),
					    .mask = rnd(32),
					    .bump = rnd(2) ? 1u << PART_SPEC : 0}};
		m.update.meta = random_meta(rig);
		m.update.spec = random_spec();
		m.update.status = random_status();
		m.update.rest = rnd(2) ? rig_part("{'data':{'k':'v'}}") : (struct str){0};
		if (type == TYPE_POD && rnd(3) == 0)
			m.update.node = STR("n1");
		break;
	default:
		m = rig_remove(type, ns, name);
		m.remove.grace = rnd(2) ? -1 : (int)rnd(20);
		m.remove.propagation = (uint8_t)rnd(4);
	}
	rig_send(rig, &m);
}

/* One request, in the batch; not committed. */
static inline void random_request(struct rig *rig)
{
	if (rnd(4))
		random_one(rig);
	else
		random_many(rig);
	if (rig_zone && rnd(16) == 0)
		zone_reset(rig_zone);
}

static inline void rig_world(struct rig *rig)
{
	rig_namespace(rig, "a");
	rig_namespace(rig, "a-b");
	rig_namespace(rig, "b");
}

static inline int rig_run(Suite *s)
{

	return run_suite(s);
}

#endif
