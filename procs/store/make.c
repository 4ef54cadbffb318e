/* make.c - versions from records: the same for a request and for replay. */
#include "procs/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "procs/store/log.h"
#include "procs/store/quota.h"

/* --- Noting what was made -------------------------------------------------------- */

void note_version(struct store *s, struct version *v)
{
	struct batch *b = s->batch;

	s->rv = v->rv;
	if (!b) {
		cw_replay(s->w, v);
		return;
	}
	if (b->nversions == b->versions_cap) {
		b->versions_cap = b->versions_cap ? 2 * b->versions_cap : 256;
		b->versions = realloc(b->versions, b->versions_cap * sizeof(*b->versions));
		weft_assert(b->versions);
	}
	if (!b->nversions)
		b->first_rv = v->rv;
	b->last_rv = v->rv;
	b->versions[b->nversions++] = v;
	if (s->quotas)
		quotas_follow(s, v);
}

void unnote_versions(struct store *s, uint32_t n)
{
	struct batch *b = s->batch;

	for (; n; n--) {
		quotas_undo(s, b->versions[--b->nversions]);
		cw_abort(s->w, b->versions[b->nversions]);
		b->last_rv = --s->rv;
	}
}

void note_record(struct store *s, const struct rec *r, bool memory)
{
	static const char head[LOG_HEAD];
	struct batch *b = s->batch;

	if (!b || memory)
		return;
	if (!b->log.n)
		buf_add(&b->log, head, sizeof(head));
	rec_encode(&b->log, r);
	b->durable = true;
}

/* --- Names ------------------------------------------------------------------------ */

/* Random uids as RFC 4122 has them (version 4). */
void store_uid(const uint8_t seed[16], uint64_t i, uint32_t k, uint8_t out[16])
{
	struct {
		uint8_t seed[16];
		uint64_t i, k;
	} in = {.i = i, .k = k};
	XXH128_hash_t h;

	memcpy(in.seed, seed, sizeof(in.seed));
	h = XXH3_128bits(&in, sizeof(in));
	memcpy(out, &h, 16);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

#define GENERATED_PREFIX_MAX 58u

uint32_t store_name(struct str prefix, const uint8_t uid[16], char out[64])
{
	uint32_t n = prefix.n < GENERATED_PREFIX_MAX ? prefix.n : GENERATED_PREFIX_MAX;

	if (n)
		memcpy(out, prefix.p, n);
	uid_suffix5(uid, out + n);
	return n + 5;
}

/* --- One object --------------------------------------------------------------------- */

int make_create(struct store *s, const struct rec_create *r, struct entry **out)
{
	struct rec rec = {.kind = REC_create, .create = *r};
	bool memory = store_in_memory(s, r->type);
	struct version_in in = {
		.mask = (1u << PART_COUNT) - 1,
		.part = {r->meta, r->labels, r->spec, r->status, r->rest},
		.holes = r->holes.p,
		.nholes = (uint8_t)r->holes.n,
		.cause = r->cause,
		.writer_kind = r->writer,
		.generation = r->generation,
		.grace_s = -1,
		.flags = memory ? VERSION_MEMORY : 0,
		.node = r->type == TYPE_NODE ? r->name : (struct str){0},
	};
	struct version *v;
	int rc;

	if (r->holes.n > UINT8_MAX)
		return WEFT_EINVAL;
	rc = kube_project(s->z, r->type, in.part, in.holes, in.nholes, &in);
	if (!rc)
		rc = cw_prepare_create(s->w, r->type, r->ns, r->name, (const uint8_t *)r->uid.p,
				       r->created_s, r->rv, &in, &v);
	if (rc)
		return rc;
	if (out)
		*out = (struct entry *)cache_entry(s->c, v->entry);
	if (r->type == TYPE_RESOURCEQUOTA && s->batch)
		quotas_begin(s);
	note_record(s, &rec, memory);
	note_version(s, v);
	return WEFT_OK;
}

/* A version_in that changes nothing. */
static struct version_in in_like(const struct version *old, uint64_t cause, uint16_t writer)
{
	return (struct version_in){
		.cause = cause,
		.writer_kind = writer,
		.generation = old->generation,
		.deletion_s = old->deletion_s,
		.grace_s = old->grace_s,
		.flags = old->flags & (VERSION_FINALIZERS | VERSION_OWNED | VERSION_MEMORY),
		.hot = old->hot,
	};
}

#define PROJECTED (1u << PART_META | 1u << PART_SPEC | 1u << PART_STATUS)

int update_in(struct store *s, const struct entry *e, const struct version *old,
	      const struct rec_update *r, struct version_in *in)
{
	const struct str part[PART_COUNT] = {r->meta, r->labels, r->spec, r->status, r->rest};
	bool status = r->mask & 1u << PART_STATUS;
	struct str all[PART_COUNT];
	int rc;

	if (r->holes.n > UINT8_MAX)
		return WEFT_EINVAL;
	*in = in_like(old, r->cause, r->writer);
	in->mask = r->mask;
	in->generation = r->generation;
	in->deletion_s = r->deletion_s;
	in->grace_s = r->grace_s;
	in->holes = status ? r->holes.p : old->holes;
	in->nholes = status ? (uint8_t)r->holes.n : old->nholes;
	if (r->node.n) {
		in->node = r->node;
		in->hot.flags |= HOT_SCHEDULED;
	}
	memcpy(in->part, part, sizeof(in->part));
	if (!(r->mask & PROJECTED))
		return kube_parts_valid(part, r->mask) ? WEFT_OK : WEFT_EINVAL;
	for (int i = 0; i < PART_COUNT; i++)
		all[i] = r->mask & 1u << i ? part[i] : cache_part(s->c, old, (enum part)i);
	rc = kube_project(s->z, e->type, all, in->holes, in->nholes, in);
	in->hot.flags |= old->hot.flags & HOT_SCHEDULED; /* it stays on its node */
	return rc;
}

int make_update(struct store *s, struct entry *e, const struct rec_update *r,
		const struct version_in *in)
{
	struct rec rec = {.kind = REC_update, .update = *r};
	struct version *v;
	int rc = cw_prepare_update(s->w, e, r->rv, in, &v);

	if (rc)
		return rc;
	note_record(s, &rec, in->flags & VERSION_MEMORY);
	note_version(s, v);
	return WEFT_OK;
}

int make_one_gone(struct store *s, struct entry *e, uint64_t rv, const struct rec_gone *r)
{
	struct version *v;
	int rc = cw_prepare_delete(s->w, e, rv, r->cause, r->writer, &v);

	if (!rc)
		note_version(s, v);
	return rc;
}

int make_gone(struct store *s, struct entry *e, const struct rec_gone *r)
{
	struct rec rec = {.kind = REC_gone, .gone = *r};
	int rc = make_one_gone(s, e, r->rv, r);

	if (!rc)
		note_record(s, &rec, store_in_memory(s, e->type));
	return rc;
}

int make_one_mark(struct store *s, struct entry *e, uint64_t rv, const struct rec_mark_many *r,
		  uint32_t deletion_s, int32_t grace_s)
{
	const struct version *old = cw_newest(s->w, e);
	struct version_in in = in_like(old, r->cause, r->writer);
	struct version *v;
	int rc;

	in.generation += !old->deletion_s && old->generation;
	in.deletion_s = deletion_s;
	in.grace_s = grace_s;
	rc = cw_prepare_update(s->w, e, rv, &in, &v);
	if (!rc)
		note_version(s, v);
	return rc;
}

/* --- Replay ------------------------------------------------------------------------- */

struct replay {
	struct store *s;
	struct err *e;
	const char *what;
};

/* The live object of a uid; NULL (and an error) if there is none. */
static struct entry *replay_find(struct replay *p, const void *uid)
{
	struct entry *e = cw_find_uid(p->s->w, uid);
	char text[37];

	if (!e) {
		uid_format(uid, text);
		err_set(p->e, WEFT_ECORRUPT, "record '%s' is about object %s, which is not there",
			p->what, text);
	}
	return e;
}

/* The same for one of many: what the next of them lead to is fetched together. */
static struct entry *replay_find_next(struct replay *p, const struct uids *uids, uint32_t i)
{
	if (i % CACHE_TOGETHER == 0)
		cw_ahead_uids(p->s->w, uids->p + i, uids->n - i);
	return replay_find(p, uids->p[i]);
}

static int replay_create(struct replay *p, const struct rec_create *r)
{
	return r->rv <= p->s->replay_after ? WEFT_OK : make_create(p->s, r, NULL);
}

static int replay_update(struct replay *p, const struct rec_update *r)
{
	struct version_in in;
	struct entry *e;
	int rc;

	if (r->rv <= p->s->replay_after)
		return WEFT_OK;
	e = r->uid.n ? replay_find(p, r->uid.p) : NULL;
	if (!e)
		return WEFT_ECORRUPT;
	rc = update_in(p->s, e, cw_newest(p->s->w, e), r, &in);
	return rc ? rc : make_update(p->s, e, r, &in);
}

static int replay_gone(struct replay *p, const struct rec_gone *r)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; !rc && i < r->uids.n; i++) {
		struct entry *e;

		if (r->rv + i <= p->s->replay_after)
			continue;
		e = replay_find_next(p, &r->uids, i);
		rc = e ? make_one_gone(p->s, e, r->rv + i, r) : WEFT_ECORRUPT;
	}
	return rc;
}

static int replay_create_many(struct replay *p, const struct rec_create_many *r)
{
	uint32_t again = 0, made;
	struct bulk b;
	int rc;

	if (r->rv + r->count - 1 <= p->s->replay_after)
		return WEFT_OK;
	if (!r->seed.n || r->count > CREATE_MANY_MAX || r->of > CREATE_MANY_MAX)
		return WEFT_ECORRUPT;
	rc = bulk_create_begin(p->s, r, &b);
	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < r->count; i++) {
		uint32_t attempt = 0;

		if (again + 1 < r->again.n && r->again.p[again] == i) {
			attempt = r->again.p[again + 1];
			again += 2;
		}
		if (r->rv + i > p->s->replay_after)
			rc = bulk_create_one(p->s, r, &b, i, attempt);
	}
	made = b.made;
	if (!rc && bulk_create_list(p->s, r, &b) < made)
		rc = WEFT_ENOMEM;
	bulk_end(p->s, &b);
	return rc;
}

/* `slots`: of the nodes to which pods of this record have gone. */
static int replay_bind(struct replay *p, struct bulk *b, const struct rec_bind_many *r, uint32_t i,
		       const value *nodes, nodeslot_ref *slots)
{
	uint32_t node = r->node_of.p[i];
	struct entry *e = replay_find_next(p, &r->uids, i);
	int rc;

	if (!e || node >= v_len(nodes))
		return WEFT_ECORRUPT;
	b->in.slot = slots[node];
	rc = bulk_status_one(p->s, b, e, r->holes.p, v_as_str(v_at(nodes, node)), r->rv + i);
	if (!rc)
		slots[node] = cw_newest(p->s->w, e)->hot.node;
	return rc;
}

static int replay_bind_many(struct replay *p, const struct rec_bind_many *r)
{
	nodeslot_ref *slots;
	struct bulk b;
	value nodes;
	int rc;

	if (r->node_of.n != r->uids.n || r->holes.n > UINT8_MAX ||
	    v_decode(p->s->z, r->nodes, &nodes))
		return WEFT_ECORRUPT;
	slots = zone_alloc(p->s->z, (v_len(&nodes) + 1) * sizeof(*slots));
	memset(slots, 0, (v_len(&nodes) + 1) * sizeof(*slots));
	rc = bulk_status_begin(p->s, TYPE_POD, r->status, (uint8_t)r->holes.n, r->cause, r->writer,
			       &b);
	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < r->uids.n; i++) {
		if (r->rv + i > p->s->replay_after)
			rc = replay_bind(p, &b, r, i, &nodes, slots);
	}
	bulk_end(p->s, &b);
	return rc;
}

static int replay_status_many(struct replay *p, const struct rec_status_many *r)
{
	struct entry *e = NULL;
	bool begun = false;
	struct bulk b;
	int rc = WEFT_OK;

	if (r->holes.n != (uint64_t)r->uids.n * r->nholes)
		return WEFT_ECORRUPT;
	for (uint32_t i = 0; !rc && i < r->uids.n; i++) {
		if (r->rv + i <= p->s->replay_after)
			continue;
		e = replay_find_next(p, &r->uids, i);
		if (!e)
			rc = WEFT_ECORRUPT;
		else if (!begun)
			rc = bulk_status_begin(p->s, e->type, r->status, r->nholes, r->cause,
					       r->writer, &b);
		begun = begun || (e && !rc);
		if (!rc)
			rc = bulk_status_one(p->s, &b, e, r->holes.p + (size_t)i * r->nholes,
					     (struct str){0}, r->rv + i);
	}
	if (begun)
		bulk_end(p->s, &b);
	return rc;
}

static int replay_mark_many(struct replay *p, const struct rec_mark_many *r)
{
	int rc = WEFT_OK;

	if (r->deletion_s.n != r->uids.n || r->grace_s.n != r->uids.n)
		return WEFT_ECORRUPT;
	for (uint32_t i = 0; !rc && i < r->uids.n; i++) {
		struct entry *e;

		if (r->rv + i <= p->s->replay_after)
			continue;
		e = replay_find_next(p, &r->uids, i);
		rc = e ? make_one_mark(p->s, e, r->rv + i, r, r->deletion_s.p[i],
				       (int32_t)r->grace_s.p[i])
		       : WEFT_ECORRUPT;
	}
	return rc;
}

int replay_record(struct store *s, const struct rec *r, struct err *e)
{
	struct replay p = {s, e, rec_name(r->kind)};
	int rc = WEFT_ECORRUPT;

	if (e)
		e->msg[0] = '\0';
	switch (r->kind) {
#define REC(nm, num)                          \
	case num:                             \
		rc = replay_##nm(&p, &r->nm); \
		break;
#define FIELD(kind, field)
#define END(nm)
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	zone_reset(s->z);
	if (rc && (!e || !e->msg[0]))
		err_set(e, rc, "record '%s' cannot be replayed: %s", p.what, weft_strerror(rc));
	return rc;
}
