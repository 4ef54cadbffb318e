/*
 * apply_many.c - bulk requests: create from a template, set statuses.
 * What the objects have in common is checked, interned and projected once; each
 * object then costs its version, its place in the indexes, and 16 to 40 bytes
 * of log.
 */
#include "procs/store/quota.h"

/* --- Create ------------------------------------------------------------------------- */

#define NAME_ATTEMPTS_MAX 64u
#define EXPECT_TIMES	  16u
#define EXPECT_MAX	  (1u << 20)

/* The owner is there and stays, or nothing is made. */
static int check_owner(struct store *s, struct str uid, struct msg_reply *r)
{
	const struct version *v = NULL;
	struct entry *e;

	if (!uid.n)
		return WEFT_OK;
	e = cw_find_uid(s->w, (const uint8_t *)uid.p);
	if (e)
		v = cw_newest(s->w, e);
	if (!v)
		return answer_error(s, r, WEFT_ENOENT, "the owner is gone");
	if (v->deletion_s)
		return answer_error(s, r, WEFT_ENOENT, "the owner is being deleted");
	return WEFT_OK;
}

/* What the owner will want besides soon follows: the indexes get the room now, while little in
 * them has to be moved for it; so much that it takes less time than what is asked for. */
static void expect_rest(struct store *s, struct str uid, uint16_t type, uint32_t count)
{
	struct entry *e = uid.n ? cw_find_uid(s->w, (const uint8_t *)uid.p) : NULL;
	const struct version *v = e ? cw_newest(s->w, e) : NULL;
	uint64_t rest, most = (uint64_t)count * EXPECT_TIMES;
	struct counts_copy have;

	if (!v || v->hot.replicas <= count)
		return;
	cache_counts(s->c, e, &have);
	rest = v->hot.replicas > have.total ? v->hot.replicas - have.total : 0;
	most = most < EXPECT_MAX ? most : EXPECT_MAX;
	cw_expect(s->w, type, rest < most ? rest : most);
}

/* Object i under the first of its names that is free. */
static int create_one(struct store *s, const struct rec_create_many *rec, struct bulk *b,
		      uint32_t i)
{
	int rc = WEFT_EEXIST;

	for (uint32_t k = 0; rc == WEFT_EEXIST && k < NAME_ATTEMPTS_MAX; k++) {
		rc = bulk_create_one(s, rec, b, i, k);
		if (!rc && k) {
			buf_add(&s->number_list[0], &i, sizeof(i));
			buf_add(&s->number_list[0], &k, sizeof(k));
		}
	}
	return rc;
}

/* Objects from number `made` on were unmade. */
static void forget_attempts(struct store *s, uint32_t made)
{
	struct buf *again = &s->number_list[0];

	while (again->n && ((const uint32_t *)(again->p + again->n))[-2] >= made)
		again->n -= 2 * sizeof(uint32_t);
}

/* A template may name a node. */
static void note_bound(struct store *s, const struct caller *who, const struct msg_create_many *m,
		       uint64_t rv)
{
	if (m->type == TYPE_POD)
		bind_note(s, who->slot, rv, m->ns, pod_node(m->spec), m->spec);
}

/* How many the namespace's quotas let be made. */
static uint32_t count_allowed(struct store *s, const struct msg_create_many *m)
{
	const struct str part[PART_COUNT] = {m->meta, m->labels, m->spec, m->status, m->rest};

	return s->quotas ? quotas_room(s, m->type, m->ns, part, m->count) : m->count;
}

/* The first one that was not made because of a quota, as if it had a name. */
static void refuse_next(struct store *s, const struct msg_create_many *m, struct msg_reply *r)
{
	const struct str part[PART_COUNT] = {m->meta, m->labels, m->spec, m->status, m->rest};
	char *name = zone_alloc(s->z, 64);
	uint8_t uid[16];

	store_uid(s->seed, ++s->uids, 0, uid);
	if (quotas_check_create(s, m->type, m->ns, part, r))
		r->name = (struct str){name, store_name(m->prefix, uid, name)};
}

void apply_create_many(struct store *s, const struct caller *who, const struct msg_create_many *m,
		       struct msg_reply *r)
{
	struct rec rec = {.kind = REC_create_many};
	struct rec_create_many *c = &rec.create_many;
	uint8_t seed[16];
	struct bulk b;

	*c = (struct rec_create_many){
		.rv = s->rv + 1,
		.cause = CAUSE(who->slot, m->cause),
		.writer = who->kind,
		.type = m->type,
		.ns = m->ns,
		.prefix = m->prefix,
		.count = m->count,
		.seed = {(const char *)seed, sizeof(seed)},
		.created_s = clock_wall_s(),
		.generation = kube_counts_generation(m->type),
		.meta = m->meta,
		.labels = m->labels,
		.spec = m->spec,
		.status = m->status,
		.rest = m->rest,
	};
	if (m->count > CREATE_MANY_MAX) {
		answer_error(s, r, WEFT_ETOOBIG, "%u objects at once, at most %u", m->count,
			     CREATE_MANY_MAX);
		return;
	}
	if (check_namespace(s, m->type, m->ns, r) || check_owner(s, m->owner, r))
		return;
	c->count = count_allowed(s, m);
	c->sorted = bulk_sorted(s, c->count);
	expect_rest(s, m->owner, m->type, c->count);
	store_uid(s->seed, ++s->uids, 0, seed);
	r->status = bulk_create_begin(s, c, &b);
	if (r->status)
		return;
	s->number_list[0].n = 0;
	while (r->done < c->count && !r->status) {
		r->status = create_one(s, c, &b, r->done);
		r->done += !r->status;
	}
	if (bulk_create_list(s, c, &b) < r->done) {
		r->status = WEFT_ENOMEM;
		forget_attempts(s, r->done = b.made);
	}
	bulk_end(s, &b);
	c->of = r->done < c->count ? c->count : 0;
	c->count = r->done;
	c->again = list_numbers(&s->number_list[0]);
	if (r->done) {
		note_record(s, &rec, store_in_memory(s, m->type));
		note_bound(s, who, m, c->rv + r->done - 1);
		r->rv = c->rv;
	}
	if (!r->status && r->done < m->count)
		refuse_next(s, m, r);
}

/* --- Status ------------------------------------------------------------------------- */

void apply_status_many(struct store *s, const struct caller *who, const struct msg_status_many *m,
		       struct msg_reply *r)
{
	struct rec rec = {.kind = REC_status_many};
	struct buf *holes = &s->number_list[0];
	struct bulk b;

	if (m->entries.n != m->rvs.n || m->holes.n != (uint64_t)m->entries.n * m->nholes ||
	    !m->status.n) {
		r->status = WEFT_EINVAL;
		return;
	}
	rec.status_many = (struct rec_status_many){
		.rv = s->rv + 1,
		.cause = CAUSE(who->slot, m->cause),
		.writer = who->kind,
		.status = m->status,
		.nholes = m->nholes,
	};
	r->status = bulk_status_begin(s, m->type, m->status, m->nholes, rec.status_many.cause,
				      who->kind, &b);
	if (r->status)
		return;
	s->uid_list.n = holes->n = s->skip_list.n = 0;
	for (uint32_t i = 0; i < m->entries.n; i++) {
		const uint32_t *own = m->holes.p + (size_t)i * m->nholes;
		const struct version *v;
		struct entry *e;

		cache_prefetch_ahead(s->c, m->entries.p, m->entries.n, i);
		e = entry_at_rv(s, m->type, m->entries.p[i], m->rvs.p[i], &v);
		if (!e || v->rv != m->rvs.p[i] || r->status ||
		    (r->status = bulk_status_one(s, &b, e, own, (struct str){0}, s->rv + 1))) {
			buf_add(&s->skip_list, &i, sizeof(i));
			continue;
		}
		buf_add(&s->uid_list, e->uid, 16);
		if (m->nholes)
			buf_add(holes, own, m->nholes * sizeof(*own));
		r->done++;
	}
	bulk_end(s, &b);
	rec.status_many.uids = list_uids(s);
	rec.status_many.holes = list_numbers(holes);
	r->skipped = list_numbers(&s->skip_list);
	if (r->done) {
		note_record(s, &rec, store_in_memory(s, m->type));
		r->rv = rec.status_many.rv;
	}
}
