/* apply.c - requests for one object: create and update. */
#include "procs/store/quota.h"

/* --- What several requests ask ------------------------------------------------------ */

int check_namespace(struct store *s, uint16_t type, struct str ns, struct msg_reply *r)
{
	const struct kube_resource *res = type < TYPE_MAX ? kube_by_type(type) : NULL;
	const struct version *v;
	struct entry *e;

	if (!res)
		return answer_error(s, r, WEFT_EINVAL, "no such type: %u", type);
	if (res->namespaced != (ns.n != 0))
		return answer_error(s, r, WEFT_EINVAL,
				    res->namespaced
					    ? "an empty namespace may not be set during creation"
					    : "namespace is not allowed on this type");
	if (!ns.n)
		return WEFT_OK;
	e = cw_find(s->w, TYPE_NAMESPACE, (struct str){0}, ns);
	v = e ? cw_newest(s->w, e) : NULL;
	if (!v)
		return answer_error(s, r, WEFT_ENOENT, "namespaces \"" STR_FMT "\" not found",
				    STR_ARG(ns));
	if (v->deletion_s)
		return answer_error(s, r, WEFT_EFORBIDDEN,
				    "unable to create new content in namespace " STR_FMT
				    " because it is being terminated",
				    STR_ARG(ns));
	return WEFT_OK;
}

struct entry *entry_at_rv(struct store *s, uint16_t type, uint32_t ref, uint64_t rv,
			  const struct version **live)
{
	const struct entry *e;

	if (cache_entry_checked(s->c, ref, &e) || e->type != type || e->created_rv > rv)
		return NULL;
	*live = cw_newest(s->w, e);
	return *live ? (struct entry *)e : NULL;
}

static bool namespace_finalized(struct store *s, struct str spec)
{
	value v;

	if (!spec.n || v_decode(s->z, spec, &v))
		return true;
	return v_len(v_get(&v, "finalizers")) == 0;
}

bool state_is_over(struct store *s, uint16_t type, const struct version_in *in, struct str spec)
{
	if (!in->deletion_s || in->grace_s > 0 || in->flags & VERSION_FINALIZERS)
		return false;
	return type != TYPE_NAMESPACE || namespace_finalized(s, spec);
}

static uint64_t cause_of(const struct caller *who, uint64_t rv)
{
	return CAUSE(who->slot, rv);
}

/* --- Create ------------------------------------------------------------------------- */

#define GENERATE_ATTEMPTS 8

static int create_fits(struct store *s, const struct msg_create *m, struct msg_reply *r)
{
	const struct str part[PART_COUNT] = {m->meta, m->labels, m->spec, m->status, m->rest};

	return quotas_check_create(s, m->type, m->ns, part, r);
}

/* One attempt; WEFT_EEXIST if the name is taken. */
static int create_once(struct store *s, const struct caller *who, const struct msg_create *m,
		       uint32_t attempt, struct msg_reply *r)
{
	struct rec_create rec = {
		.rv = s->rv + 1,
		.cause = cause_of(who, m->cause),
		.writer = who->kind,
		.type = m->type,
		.ns = m->ns,
		.name = m->name,
		.created_s = clock_wall_s(),
		.generation = kube_counts_generation(m->type),
		.meta = m->meta,
		.labels = m->labels,
		.spec = m->spec,
		.status = m->status,
		.rest = m->rest,
		.holes = m->holes,
	};
	char *name = zone_alloc(s->z, 64);
	uint8_t uid[16];
	struct entry *e = NULL;
	int rc;

	store_uid(s->seed, s->uids, attempt, uid);
	if (m->generate)
		rec.name = (struct str){name, store_name(m->name, uid, name)};
	rec.uid = m->uid.n ? m->uid : (struct str){(const char *)uid, sizeof(uid)};
	r->name = rec.name;
	if (s->quotas && create_fits(s, m, r))
		return r->status;
	if (m->dry_run)
		rc = cw_find(s->w, m->type, m->ns, rec.name) ? WEFT_EEXIST : WEFT_OK;
	else
		rc = make_create(s, &rec, &e);
	r->status = rc;
	if (rc)
		return rc;
	r->done = 1;
	r->rv = m->dry_run ? 0 : rec.rv;
	r->entry = e ? cache_entry_ref(s->c, e).u : 0;
	if (e && m->type == TYPE_POD)
		bind_note(s, who->slot, rec.rv, m->ns, pod_node(m->spec), m->spec);
	return WEFT_OK;
}

void apply_create(struct store *s, const struct caller *who, const struct msg_create *m,
		  struct msg_reply *r)
{
	if (check_namespace(s, m->type, m->ns, r))
		return;
	/* The log names objects by it. */
	if (m->uid.n && cw_find_uid(s->w, (const uint8_t *)m->uid.p)) {
		answer_error(s, r, WEFT_EINVAL, "another object has this uid");
		return;
	}
	s->uids++;
	for (uint32_t i = 0; i < GENERATE_ATTEMPTS; i++)
		if (create_once(s, who, m, i, r) != WEFT_EEXIST || !m->generate)
			return;
}

/* --- Update ------------------------------------------------------------------------- */

static int update_check(struct store *s, const struct msg_update *m, const struct entry *e,
			const struct version *v, struct msg_reply *r)
{
	char want[37], have[37];

	if (m->uid.n && memcmp(m->uid.p, e->uid, 16)) {
		uid_format((const uint8_t *)m->uid.p, want);
		uid_format(e->uid, have);
		return answer_error(
			s, r, WEFT_EUID,
			"Precondition failed: UID in precondition: %s, UID in object meta: %s",
			want, have);
	}
	if (m->rv && m->rv != v->rv)
		return answer_error(
			s, r, WEFT_ECONFLICT,
			"the object has been modified; please apply your changes to the "
			"latest version and try again");
	if (!m->node.n)
		return WEFT_OK;
	if (e->type != TYPE_POD)
		return answer_error(s, r, WEFT_EINVAL, "only pods have a node");
	if (v->deletion_s)
		return answer_error(s, r, WEFT_ECONFLICT,
				    "pod " STR_FMT
				    " is being deleted, cannot be assigned to a host",
				    STR_ARG(entry_name(e)));
	if (v->hot.node.u)
		return answer_error(s, r, WEFT_ECONFLICT,
				    "pod " STR_FMT " is already assigned to node \"" STR_FMT "\"",
				    STR_ARG(entry_name(e)), STR_ARG(cache_node_name(s->c, v)));
	return WEFT_OK;
}

/* The parts that really change. */
static uint32_t changed_parts(const struct store *s, const struct msg_update *m,
			      const struct version *v)
{
	const struct str part[PART_COUNT] = {m->meta, m->labels, m->spec, m->status, m->rest};
	uint32_t mask = m->mask & ((1u << PART_COUNT) - 1);

	for (int i = 0; i < PART_COUNT; i++)
		if (mask & 1u << i && str_eq(part[i], cache_part(s->c, v, (enum part)i)))
			mask &= ~(1u << i);
	if (m->mask & 1u << PART_STATUS &&
	    (m->holes.n != v->nholes ||
	     (v->nholes && memcmp(m->holes.p, v->holes, v->nholes * sizeof(uint32_t)))))
		mask |= 1u << PART_STATUS;
	return mask;
}

/* What the object would take of its namespace's quotas. */
static int update_fits(struct store *s, const struct msg_update *m, const struct entry *e,
		       const struct version *v, struct msg_reply *r)
{
	struct str part[PART_COUNT] = {m->meta, m->labels, m->spec, m->status, m->rest};

	for (int i = 0; i < PART_COUNT; i++)
		if (!(m->mask & 1u << i))
			part[i] = cache_part(s->c, v, (enum part)i);
	return quotas_check_update(s, e, v, part, r);
}

static void update_made(struct store *s, const struct entry *e, uint64_t rv, bool gone,
			struct msg_reply *r)
{
	r->rv = rv;
	r->done = 1;
	r->entry = cache_entry_ref(s->c, e).u;
	r->gone = gone;
}

void apply_update(struct store *s, const struct caller *who, const struct msg_update *m,
		  struct msg_reply *r)
{
	struct entry *e = cw_find_near(s->w, s->near, m->type, m->ns, m->name);
	const struct version *v = e ? cw_newest(s->w, e) : NULL;
	struct rec_update rec;
	struct version_in in;
	uint32_t mask;

	r->status = v ? WEFT_OK : WEFT_ENOENT;
	if (r->status || update_check(s, m, e, v, r))
		return;
	mask = changed_parts(s, m, v);
	rec = (struct rec_update){
		.rv = s->rv + 1,
		.cause = cause_of(who, m->cause),
		.writer = who->kind,
		.uid = {(const char *)e->uid, 16},
		.generation = v->generation,
		.deletion_s = v->deletion_s,
		.grace_s = v->grace_s,
		.mask = mask,
		.meta = m->meta,
		.labels = m->labels,
		.spec = m->spec,
		.status = m->status,
		.rest = m->rest,
		.holes = m->holes,
		.node = m->node,
	};
	rec.generation += (m->bump & mask) != 0;
	r->status = update_in(s, e, v, &rec, &in);
	if (r->status || (s->quotas && mask & 1u << PART_SPEC && update_fits(s, m, e, v, r)))
		return;
	if (state_is_over(s, e->type, &in,
			  mask & 1u << PART_SPEC ? m->spec : cache_part(s->c, v, PART_SPEC))) {
		struct rec_gone gone = {
			rec.rv, rec.cause, rec.writer, {(const uint8_t(*)[16])e->uid, 1}};

		if (!m->dry_run)
			r->status = make_gone(s, e, &gone);
		if (!r->status)
			update_made(s, e, m->dry_run ? v->rv : rec.rv, true, r);
	} else if (m->dry_run || (!mask && !m->node.n)) {
		update_made(s, e, v->rv, false, r);
	} else {
		r->status = make_update(s, e, &rec, &in);
		if (r->status)
			return;
		bind_note(s, who->slot, rec.rv, m->ns, m->node,
			  mask & 1u << PART_SPEC ? m->spec : cache_part(s->c, v, PART_SPEC));
		update_made(s, e, rec.rv, false, r);
	}
}
