/*
 * remove.c - deletion, as Kubernetes' registry does it (BeforeDelete and what
 * follows it), for one object and for many.
 *
 * What happens to an object is worked out first, without changing anything
 * (struct verdict), and then made.  A pod on a node is deleted gracefully: it
 * gets a deletion time, and goes when its node asks again with grace 0.  An
 * object with finalizers gets a deletion time and goes with its last finalizer.
 * A namespace also waits until spec.finalizers is empty.
 */
#include "procs/store/store.h"

#define FINALIZER_ORPHAN     STR("orphan")
#define FINALIZER_FOREGROUND STR("foregroundDeletion")

struct options {
	int32_t grace; /* < 0: the object's own */
	enum propagation propagation;
	uint32_t now_s;
};

struct verdict {
	bool mark; /* a new version with what follows; else untouched */
	bool gone; /* after that */
	uint32_t deletion_s;
	int32_t grace_s;
	uint32_t mask; /* parts that change: META, STATUS */
	struct str meta, status;
	bool graceful;
};

/* --- Finalizers --------------------------------------------------------------------- */

/* Kinds whose dependents stay when nothing is said. */
static bool orphans_by_default(uint16_t type)
{
	return type == TYPE_REPLICATIONCONTROLLER || type == TYPE_JOB;
}

static bool has_finalizer(const value *list, struct str name)
{
	v_each(f, list)
		if (str_eq(v_as_str(f), name))
			return true;
	return false;
}

/* What is asked for, or else what the finalizers say, or else the default. */
static bool wants_orphan(uint16_t type, enum propagation p, const value *finalizers)
{
	if (p != PROPAGATION_DEFAULT)
		return p == PROPAGATION_ORPHAN;
	if (has_finalizer(finalizers, FINALIZER_ORPHAN))
		return true;
	if (has_finalizer(finalizers, FINALIZER_FOREGROUND))
		return false;
	return orphans_by_default(type);
}

static bool wants_foreground(enum propagation p, const value *finalizers)
{
	if (p != PROPAGATION_DEFAULT)
		return p == PROPAGATION_FOREGROUND;
	return has_finalizer(finalizers, FINALIZER_FOREGROUND) &&
	       !has_finalizer(finalizers, FINALIZER_ORPHAN);
}

static void set_meta(struct store *s, struct verdict *d, const value *meta)
{
	struct buf out = {0};

	v_encode(&out, meta);
	d->meta = zone_str(s->z, buf_str(&out));
	d->mask |= 1u << PART_META;
	buf_free(&out);
}

/* Put the garbage collector's finalizers in or take them out; returns whether
 * any finalizer is left. */
static bool settle_finalizers(struct store *s, uint16_t type, const struct version *v,
			      enum propagation p, struct verdict *d)
{
	bool had = v->flags & VERSION_FINALIZERS, orphan, foreground;
	value meta = v_map(), list = v_array(), *old;

	if (type == TYPE_EVENT)
		return had;
	if (!had && p != PROPAGATION_ORPHAN && p != PROPAGATION_FOREGROUND &&
	    !(p == PROPAGATION_DEFAULT && orphans_by_default(type)))
		return false;
	if (cache_part(s->c, v, PART_META).n &&
	    (v_decode(s->z, cache_part(s->c, v, PART_META), &meta) || !v_is_map(&meta)))
		return had;
	old = v_get(&meta, "finalizers");
	orphan = wants_orphan(type, p, old);
	foreground = wants_foreground(p, old);
	v_each(f, old)
		if (!str_eq(v_as_str(f), FINALIZER_ORPHAN) &&
		    !str_eq(v_as_str(f), FINALIZER_FOREGROUND))
			v_append(s->z, &list, *f);
	if (orphan)
		v_append(s->z, &list, v_str(FINALIZER_ORPHAN));
	if (foreground)
		v_append(s->z, &list, v_str(FINALIZER_FOREGROUND));
	if (orphan == has_finalizer(old, FINALIZER_ORPHAN) &&
	    foreground == has_finalizer(old, FINALIZER_FOREGROUND))
		return v_len(&list) != 0;
	if (v_len(&list))
		v_set(s->z, &meta, "finalizers", list);
	else
		v_del(&meta, "finalizers");
	set_meta(s, d, &meta);
	return v_len(&list) != 0;
}

/* --- Grace -------------------------------------------------------------------------- */

/* spec.terminationGracePeriodSeconds, remembered for the spec looked at last:
 * pods of one template come together. */
static int32_t pod_own_grace(struct store *s, const struct version *v)
{
	value spec;

	if (s->grace_spec != v->part[PART_SPEC] || !s->grace_spec) {
		s->grace_of_spec = 0;
		if (!v_decode(s->z, cache_part(s->c, v, PART_SPEC), &spec))
			s->grace_of_spec =
				(int32_t)v_get_int(&spec, "terminationGracePeriodSeconds", 0);
		s->grace_spec = v->part[PART_SPEC];
	}
	return s->grace_of_spec;
}

static int32_t pod_grace(struct store *s, const struct version *v, const struct options *o)
{
	int32_t grace = o->grace >= 0 ? o->grace : pod_own_grace(s, v);

	if (!v->hot.node.u || pod_has_ended(v))
		return 0;
	return grace < 0 ? 1 : grace;
}

/* The graceful part.  False: nothing is to be done, a deletion is under way. */
static bool begin_graceful(struct store *s, const struct entry *e, const struct version *v,
			   const struct options *o, struct verdict *d)
{
	if (e->type != TYPE_POD)
		return true;
	if (!v->deletion_s) {
		d->grace_s = pod_grace(s, v, o);
		d->deletion_s = o->now_s + (uint32_t)d->grace_s;
		d->mark = d->graceful = true;
		return true;
	}
	if (v->grace_s <= 0)
		return true;
	if (o->grace < 0 || o->grace >= v->grace_s)
		return false;
	d->deletion_s = v->deletion_s - (uint32_t)v->grace_s + (uint32_t)o->grace;
	d->grace_s = o->grace;
	d->mark = d->graceful = true;
	return true;
}

static void set_terminating(struct store *s, const struct version *v, struct verdict *d)
{
	struct buf out = {0};
	value status = v_map();

	if (cache_part(s->c, v, PART_STATUS).n &&
	    (v_decode(s->z, cache_part(s->c, v, PART_STATUS), &status) || !v_is_map(&status)))
		status = v_map();
	v_set(s->z, &status, "phase", v_cstr("Terminating"));
	v_encode(&out, &status);
	d->status = zone_str(s->z, buf_str(&out));
	d->mask |= 1u << PART_STATUS;
	buf_free(&out);
}

/* --- The verdict -------------------------------------------------------------------- */

/* A namespace ends by its own rules until its content is gone. */
static bool judge_namespace(struct store *s, const struct version *v, const struct options *o,
			    struct verdict *d)
{
	struct version_in in = {.deletion_s = v->deletion_s, .grace_s = 0};

	if (v->deletion_s)
		return !state_is_over(s, TYPE_NAMESPACE, &in, cache_part(s->c, v, PART_SPEC));
	settle_finalizers(s, TYPE_NAMESPACE, v, o->propagation, d);
	set_terminating(s, v, d);
	d->mark = true;
	d->deletion_s = o->now_s;
	d->grace_s = -1;
	return true;
}

static void judge(struct store *s, const struct entry *e, const struct version *v,
		  const struct options *o, struct verdict *d)
{
	bool held;

	*d = (struct verdict){.deletion_s = v->deletion_s, .grace_s = v->grace_s};
	if (e->type == TYPE_NAMESPACE && judge_namespace(s, v, o, d))
		return;
	if (!begin_graceful(s, e, v, o, d))
		return;
	held = settle_finalizers(s, e->type, v, o->propagation, d);
	if (!d->graceful && held) {
		if (!d->deletion_s || d->deletion_s > o->now_s)
			d->deletion_s = o->now_s;
		d->grace_s = 0;
	}
	d->mark = d->mark || d->mask || d->deletion_s != v->deletion_s || d->grace_s != v->grace_s;
	d->gone = !held && !(d->graceful && d->grace_s > 0);
}

/* --- One object --------------------------------------------------------------------- */

static int remove_check(struct store *s, const struct msg_remove *m, const struct entry *e,
			const struct version *v, struct msg_reply *r)
{
	char want[37], have[37];

	if (m->uid.n && memcmp(m->uid.p, e->uid, 16)) {
		uid_format((const uint8_t *)m->uid.p, want);
		uid_format(e->uid, have);
		return answer_error(
			s, r, WEFT_EUID,
			"the UID in the precondition (%s) does not match the UID in record "
			"(%s). The object might have been deleted and then recreated",
			want, have);
	}
	if (m->rv && m->rv != v->rv)
		return answer_error(
			s, r, WEFT_ECONFLICT,
			"the ResourceVersion in the precondition (%llu) does not match the "
			"ResourceVersion in record (%llu). The object might have been "
			"modified",
			(unsigned long long)m->rv, (unsigned long long)v->rv);
	if (e->type == TYPE_NAMESPACE &&
	    (str_eq(entry_name(e), STR("default")) || str_eq(entry_name(e), STR("kube-system")) ||
	     str_eq(entry_name(e), STR("kube-public"))))
		return answer_error(s, r, WEFT_EFORBIDDEN, "this namespace may not be deleted");
	return WEFT_OK;
}

static int mark_object(struct store *s, const struct caller *who, uint64_t cause, struct entry *e,
		       const struct version *v, const struct verdict *d)
{
	struct rec_update rec = {
		.rv = s->rv + 1,
		.cause = CAUSE(who->slot, cause),
		.writer = who->kind,
		.uid = {(const char *)e->uid, 16},
		.generation = v->generation + (!v->deletion_s && v->generation),
		.deletion_s = d->deletion_s,
		.grace_s = d->grace_s,
		.mask = d->mask,
		.meta = d->meta,
		.status = d->status,
	};
	struct version_in in;
	int rc = update_in(s, e, v, &rec, &in);

	return rc ? rc : make_update(s, e, &rec, &in);
}

static int end_object(struct store *s, const struct caller *who, uint64_t cause, struct entry *e)
{
	struct rec_gone rec = {
		s->rv + 1, CAUSE(who->slot, cause), who->kind, {(const uint8_t(*)[16])e->uid, 1}};

	return make_gone(s, e, &rec);
}

void apply_remove(struct store *s, const struct caller *who, const struct msg_remove *m,
		  struct msg_reply *r)
{
	struct options o = {m->grace, (enum propagation)m->propagation, clock_wall_s()};
	struct entry *e = cw_find_near(s->w, s->near, m->type, m->ns, m->name);
	const struct version *v = e ? cw_newest(s->w, e) : NULL;
	struct verdict d;

	r->status = v ? WEFT_OK : WEFT_ENOENT;
	if (r->status || remove_check(s, m, e, v, r))
		return;
	judge(s, e, v, &o, &d);
	r->rv = v->rv;
	if (d.mark && !m->dry_run)
		r->status = mark_object(s, who, m->cause, e, v, &d);
	if (d.gone && !m->dry_run && !r->status)
		r->status = end_object(s, who, m->cause, e);
	if (r->status)
		return;
	if ((d.mark || d.gone) && !m->dry_run)
		r->rv = s->rv;
	r->gone = d.gone;
	r->done = d.mark || d.gone;
	r->entry = cache_entry_ref(s->c, e).u;
}

/* --- Many --------------------------------------------------------------------------- */

/* Objects in a row that fare alike become one record. */
struct run {
	enum { RUN_NONE, RUN_GONE, RUN_MARK } kind;
	uint64_t rv; /* of the first */
	uint64_t cause;
	uint16_t writer;
	bool memory;
};

static void run_end(struct store *s, struct run *run)
{
	struct rec rec = {0};

	if (run->kind == RUN_GONE) {
		rec.kind = REC_gone;
		rec.gone = (struct rec_gone){run->rv, run->cause, run->writer, list_uids(s)};
		note_record(s, &rec, run->memory);
	} else if (run->kind == RUN_MARK) {
		rec.kind = REC_mark_many;
		rec.mark_many = (struct rec_mark_many){run->rv,
						       run->cause,
						       run->writer,
						       list_uids(s),
						       list_numbers(&s->number_list[0]),
						       list_numbers(&s->number_list[1])};
		note_record(s, &rec, run->memory);
	}
	run->kind = RUN_NONE;
	s->uid_list.n = s->number_list[0].n = s->number_list[1].n = 0;
}

static int run_gone(struct store *s, struct run *run, struct entry *e)
{
	struct rec_gone rec = {.cause = run->cause, .writer = run->writer};
	uint8_t uid[16];
	int rc;

	if (run->kind == RUN_MARK)
		run_end(s, run);
	memcpy(uid, e->uid, sizeof(uid));
	rc = make_one_gone(s, e, s->rv + 1, &rec);
	if (rc)
		return rc;
	if (run->kind == RUN_NONE)
		run->rv = s->rv;
	run->kind = RUN_GONE;
	buf_add(&s->uid_list, uid, sizeof(uid));
	return WEFT_OK;
}

static int run_mark(struct store *s, struct run *run, struct entry *e, const struct verdict *d)
{
	struct rec_mark_many rec = {.cause = run->cause, .writer = run->writer};
	int rc;

	if (run->kind == RUN_GONE)
		run_end(s, run);
	rc = make_one_mark(s, e, s->rv + 1, &rec, d->deletion_s, d->grace_s);
	if (rc)
		return rc;
	if (run->kind == RUN_NONE)
		run->rv = s->rv;
	run->kind = RUN_MARK;
	buf_add(&s->uid_list, e->uid, 16);
	buf_add(&s->number_list[0], &d->deletion_s, 4);
	buf_add(&s->number_list[1], &d->grace_s, 4);
	return WEFT_OK;
}

/* As apply_remove(), but a pod that goes at once does so in one step: the
 * version in between would only be seen by watchers, for no time. */
static int delete_one(struct store *s, const struct caller *who, uint64_t cause,
		      const struct options *o, struct run *run, struct entry *e,
		      const struct version *v)
{
	struct verdict d;

	judge(s, e, v, o, &d);
	if (d.gone)
		return run_gone(s, run, e);
	if (!d.mark)
		return WEFT_OK;
	if (!d.mask)
		return run_mark(s, run, e, &d);
	run_end(s, run);
	return mark_object(s, who, cause, e, v, &d);
}

void apply_delete_many(struct store *s, const struct caller *who, const struct msg_delete_many *m,
		       struct msg_reply *r)
{
	struct options o = {m->grace, (enum propagation)m->propagation, clock_wall_s()};
	struct run run = {.cause = CAUSE(who->slot, m->cause),
			  .writer = who->kind,
			  .memory = store_in_memory(s, m->type)};
	uint64_t first = s->rv + 1;

	if (m->entries.n != m->rvs.n || m->type == TYPE_NAMESPACE) {
		r->status = WEFT_EINVAL;
		return;
	}
	s->skip_list.n = 0;
	run_end(s, &run);
	for (uint32_t i = 0; i < m->entries.n; i++) {
		const struct version *v;
		struct entry *e;
		int rc = WEFT_OK;

		cache_prefetch_ahead(s->c, m->entries.p, m->entries.n, i);
		e = entry_at_rv(s, m->type, m->entries.p[i], m->rvs.p[i], &v);
		if (e && !(m->exact && v->rv != m->rvs.p[i]) && !r->status)
			rc = delete_one(s, who, m->cause, &o, &run, e, v);
		else
			rc = WEFT_ENOENT;
		if (rc)
			buf_add(&s->skip_list, &i, sizeof(i));
		else
			r->done++;
		if (rc == WEFT_ENOMEM)
			r->status = rc;
	}
	run_end(s, &run);
	r->rv = s->rv >= first ? first : 0;
	r->skipped = list_numbers(&s->skip_list);
}
