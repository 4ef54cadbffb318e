/*
 * write.c - create and update.
 *
 * body -> checked against the schema (body.c) -> converted to the stored
 * version -> defaults -> admission -> the strategy step -> validation -> parts
 * -> the store -> the object as it then is in the cache.
 */
#include <sys/random.h>
#include "procs/apiserver/body.h"
#include "procs/apiserver/item.h"
#include "procs/apiserver/turn.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/write.h"
#include "weft/fault.h"

/* Others may be faster for so long: as long as kube-apiserver gives a request. */
#define TRY_NS (60 * INT64_C(1000000000))

static const struct kube_resource *stored_of(const struct kube_resource *r)
{
	return kube_by_type(r->type);
}

static struct str object_name(const value *obj)
{
	return v_as_str(v_path(obj, "metadata.name"));
}

/* --- Parts -------------------------------------------------------------------------- */

/* A part's bytes, in the request's zone. */
static struct str part_of(struct request *q, const struct kube_parts *parts, enum part p)
{
	return parts->part[p].n ? zone_str(q->z, buf_str(&parts->part[p])) : STR("");
}

/* --- Steps that create and update share --------------------------------------------- */

/* `obj` in r's version becomes what is to be stored.  *bump: see
 * kube_prepare(). */
static int make_storable(struct request *q, const struct kube_resource *r, value *obj,
			 const value *old, struct str sub, bool *bump)
{
	const struct kube_resource *stored = stored_of(r);
	struct kube_errors errs = {.z = q->z};
	struct str name;

	kube_default(q->z, r, obj);
	if (r != stored && kube_convert(q->z, r, stored, obj)) {
		answer_bad_request(q, zone_printf(q->z, "the object cannot be converted to %s",
						  stored->api_version));
		return WEFT_EINVAL;
	}
	kube_prepare(q->z, stored, obj, old, sub, bump);
	if (admit(q, stored, obj, old, sub))
		return WEFT_EINVAL;
	kube_validate(q->z, stored, obj, old, sub, &errs);
	if (!errs.n)
		return WEFT_OK;
	name = object_name(obj);
	answer_status(q, kube_status_invalid(q->z, stored, name, &errs));
	return WEFT_EINVAL;
}

/* The answer to a dry run: as if it had been stored. */
static enum outcome answer_dry(struct request *q, int code, const struct kube_resource *r,
			       value *obj)
{
	const struct kube_resource *stored = stored_of(r);

	if (r != stored)
		(void)kube_convert(q->z, stored, r, obj);
	return answer_made(q, code, obj);
}

/* --- Create ------------------------------------------------------------------------- */

#define GENERATE_ATTEMPTS 8

struct create {
	struct msg m;
	value body; /* as it came */
	value obj;  /* as it is to be stored */
	uint8_t uid[16];
	uint32_t attempts;
	bool dry_run;
};

static enum outcome create_attempt(struct request *q, struct create *cr);

/* A uid, and a name for an object that has only a generateName: what follows
 * (the selector of a Job) is made from them. */
static void add_identity(struct request *q, struct create *cr)
{
	value *meta = v_map_at(q->z, &cr->obj, "metadata");
	struct str prefix = v_get_str(meta, "generateName");
	char text[37], name[64];

	weft_assert(getrandom(cr->uid, sizeof(cr->uid), 0) == sizeof(cr->uid));
	cr->uid[6] = (uint8_t)((cr->uid[6] & 0x0f) | 0x40);
	cr->uid[8] = (uint8_t)((cr->uid[8] & 0x3f) | 0x80);
	uid_format(cr->uid, text);
	v_set(q->z, meta, "uid", v_str(zone_str(q->z, str_of(text))));
	if (v_get_str(meta, "name").n || !prefix.n)
		return;
	uid_suffix5(cr->uid, name);
	v_set(q->z, meta, "name",
	      v_str(zone_printf(q->z, "%.*s%.5s", prefix.n < 58 ? (int)prefix.n : 58, prefix.p,
				name)));
}

static void set_version(struct request *q, value *obj, uint64_t rv)
{
	v_set(q->z, v_map_at(q->z, obj, "metadata"), "resourceVersion",
	      v_str(zone_printf(q->z, "%llu", (unsigned long long)rv)));
}

/* What was asked for, made now: a dry run, or it has gone again. */
static enum outcome answer_asked(struct request *q, struct create *cr)
{
	char when[21];

	time_format(clock_wall_s(), when);
	v_set(q->z, v_map_at(q->z, &cr->obj, "metadata"), "creationTimestamp",
	      v_str(zone_str(q->z, str_of(when))));
	return answer_dry(q, 201, q->t.r, &cr->obj);
}

static void on_created(struct request *q, void *arg, const struct msg_reply *reply)
{
	struct create *cr = arg;

	if (reply->status == WEFT_EEXIST && !object_name(&cr->body).n &&
	    cr->attempts < GENERATE_ATTEMPTS) {
		if (create_attempt(q, cr) == WAITING)
			return;
	} else if (reply->status) {
		answer_store_error(q, reply->status, cr->m.create.name, reply->message);
	} else if (cr->dry_run) {
		answer_asked(q, cr);
	} else if (!answer_object(q, 201, reply->entry, reply->rv)) {
		set_version(q, &cr->obj, reply->rv);
		answer_asked(q, cr);
	}
	request_answer(q);
}

/* The namespace of body and path agree; the body's is set. */
static int settle_namespace(struct request *q, value *obj)
{
	value *meta = v_map_at(q->z, obj, "metadata");
	struct str ns = v_get_str(meta, "namespace");

	if (ns.n && !str_eq(ns, q->t.ns)) {
		answer_bad_request(q, STR("the namespace of the provided object does not match the "
					  "namespace sent on the request"));
		return WEFT_EINVAL;
	}
	if (q->t.ns.n)
		v_set(q->z, meta, "namespace", v_str(q->t.ns));
	return WEFT_OK;
}

static enum outcome create_attempt(struct request *q, struct create *cr)
{
	struct str rv = v_as_str(v_path(&cr->body, "metadata.resourceVersion"));
	struct kube_parts parts = {0};
	bool bump;

	cr->obj = object_name(&cr->body).n ? cr->body : v_copy(q->z, &cr->body);
	cr->attempts++;
	add_identity(q, cr);
	if (make_storable(q, q->t.r, &cr->obj, NULL, STR(""), &bump))
		return ANSWERED;
	if (rv.n && q->method == METHOD_POST && !cr->dry_run)
		return answer_plain_error(q,
					  STR("resourceVersion should not be set on objects to be "
					      "created"));
	kube_split(q->z, &cr->obj, &parts);
	cr->m.kind = MSG_create;
	cr->m.create = (struct msg_create){
		.type = q->t.r->type,
		.ns = q->t.ns,
		.name = object_name(&cr->obj),
		.uid = {(const char *)cr->uid, sizeof(cr->uid)},
		.meta = part_of(q, &parts, PART_META),
		.labels = part_of(q, &parts, PART_LABELS),
		.spec = part_of(q, &parts, PART_SPEC),
		.status = part_of(q, &parts, PART_STATUS),
		.rest = part_of(q, &parts, PART_REST),
		.dry_run = cr->dry_run,
	};
	kube_parts_free(&parts);
	return store_send(q, &cr->m, on_created, cr);
}

enum outcome write_create(struct request *q, value *obj, bool dry_run)
{
	struct create *cr = zone_alloc(q->z, sizeof(*cr));

	if (settle_namespace(q, obj))
		return ANSWERED;
	*cr = (struct create){.body = *obj, .dry_run = dry_run};
	return create_attempt(q, cr);
}

enum outcome object_create(struct request *q)
{
	value obj;
	bool dry_run;

	if (negotiate(q, true, false) || dry_run_parse(q, &dry_run) || body_object(q, q->t.r, &obj))
		return ANSWERED;
	return write_create(q, &obj, dry_run);
}

/* --- Change ------------------------------------------------------------------------- */

/* The state that a change starts from. */
struct base {
	value obj;    /* in the version of the change's resource; becomes what it makes */
	value stored; /* in the stored version; stays */
	uint64_t rv;
	uint32_t entry;
};

static int read_base(struct request *q, const struct change *ch, struct base *b)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	const struct version *v;

	cache_lock(c);
	e = cache_find(c, ch->r->type, ch->ns, ch->name);
	v = e ? cache_live(c, e) : NULL;
	if (v) {
		b->stored = kube_object(q->z, c, stored_of(ch->r), e, v, true);
		b->obj = ch->reads_only && ch->r == stored_of(ch->r)
				 ? b->stored
				 : kube_object(q->z, c, ch->r, e, v, true);
		b->rv = v->rv;
		b->entry = cache_entry_ref(c, e).u;
	}
	cache_unlock(c);
	return v ? WEFT_OK : WEFT_ENOENT;
}

value write_state(struct request *q, const struct change *ch)
{
	struct base b = {.obj = v_map()};

	(void)read_base(q, ch, &b);
	return b.obj;
}

/* The change on its way to the store. */
struct changing {
	struct change *ch;
	struct msg m;
	value obj; /* stored version */
	struct base base;
};

/* What the change made of the object, in the version of its resource, at `rv` (0: it has none). */
static value *made_of(struct request *q, struct changing *cg, uint64_t rv)
{
	const struct change *ch = cg->ch;

	if (rv)
		set_version(q, &cg->obj, rv);
	if (ch->r != stored_of(ch->r))
		(void)kube_convert(q->z, stored_of(ch->r), ch->r, &cg->obj);
	return &cg->obj;
}

/* The object as it is stored.  Or what the change made of it, if that was not stored (a dry
 * run; it ended the object, whose last finalizer went), or was and has gone since. */
static enum outcome change_done(struct request *q, struct changing *cg, uint64_t rv, bool ended)
{
	struct change *ch = cg->ch;
	uint32_t entry = ended || ch->dry_run ? 0 : cg->base.entry;
	uint64_t at = entry || ended ? rv : 0;

	if (ch->answer)
		return ch->answer(q, entry, rv, made_of(q, cg, at));
	if (entry && answer_object(q, 200, entry, rv))
		return ANSWERED;
	return answer_made(q, 200, made_of(q, cg, at));
}

static enum outcome change_attempt(struct request *q, struct change *ch);
static enum outcome change_go(struct request *q, struct change *ch);

static enum outcome answer_too_late(struct request *q)
{
	struct str why = STR("Timeout: request did not complete within the allotted timeout");
	value status = kube_status(q->z, 504, "Timeout", why);

	v_map_at(q->z, &status, "details");
	return answer_status(q, status);
}

static void on_changed(struct request *q, void *arg, const struct msg_reply *reply)
{
	struct changing *cg = arg;
	bool overtaken = (reply->status == WEFT_ECONFLICT && !cg->ch->once) ||
			 (reply->status == WEFT_ENOENT && cg->ch->or_create);
	enum outcome how;

	if (overtaken && clock_mono_ns() < cg->ch->until_ns) {
		if (change_go(q, cg->ch) != WAITING)
			request_answer(q);
		return;
	}
	turn_over(q->api, cg->ch);
	if (overtaken)
		how = answer_too_late(q);
	else if (reply->status)
		how = answer_store_error(q, reply->status, cg->ch->name, reply->message);
	else
		how = change_done(q, cg, reply->rv, reply->gone);
	if (how != WAITING)
		request_answer(q);
}

/* Which parts of `obj` differ from what is stored; false if it changed
 * meanwhile. */
static bool split_change(struct request *q, struct changing *cg, struct kube_parts *parts,
			 uint32_t *mask)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	const struct version *v = NULL;

	cache_lock(c);
	if (!cache_entry_checked(c, cg->base.entry, &e))
		v = cache_live(c, e);
	if (v && v->rv == cg->base.rv)
		kube_split_changed(q->z, c, e, v, &cg->obj, parts, mask);
	else
		v = NULL;
	cache_unlock(c);
	return v != NULL;
}

static enum outcome send_change(struct request *q, struct changing *cg, bool bump)
{
	struct change *ch = cg->ch;
	struct kube_parts parts = {0};
	uint32_t mask = 0;
	enum outcome how;
	bool *asked;

	fault_at(api_made);
	if (!split_change(q, cg, &parts, &mask)) /* changed or gone: from the start */
		return change_attempt(q, ch);
	if (!mask) { /* nothing changed: nothing is written */
		kube_parts_free(&parts);
		return change_done(q, cg, cg->base.rv, false);
	}
	cg->m.kind = MSG_update;
	cg->m.update = (struct msg_update){
		.type = ch->r->type,
		.ns = ch->ns,
		.name = ch->name,
		.rv = cg->base.rv,
		.mask = mask,
		.meta = part_of(q, &parts, PART_META),
		.labels = part_of(q, &parts, PART_LABELS),
		.spec = part_of(q, &parts, PART_SPEC),
		.status = part_of(q, &parts, PART_STATUS),
		.rest = part_of(q, &parts, PART_REST),
		.bump = bump ? mask & ~(1u << PART_STATUS) : 0,
		.dry_run = ch->dry_run,
	};
	kube_parts_free(&parts);
	asked = ch->asked;
	*asked = true;
	how = store_send(q, &cg->m, on_changed, cg);
	if (how != WAITING) /* it is away */
		*asked = false;
	return how;
}

static enum outcome create_instead(struct request *q, struct change *ch)
{
	value nothing = v_map(), obj;

	if (!ch->or_create)
		return answer_status(q, kube_status_not_found(q->z, ch->r, ch->name));
	if (ch->make(q, ch->arg, &nothing, &obj))
		return ANSWERED;
	return write_create(q, &obj, ch->dry_run);
}

static enum outcome change_attempt(struct request *q, struct change *ch)
{
	struct changing *cg = zone_alloc(q->z, sizeof(*cg));
	bool bump = false;

	*cg = (struct changing){.ch = ch};
	if (read_base(q, ch, &cg->base))
		return create_instead(q, ch);
	if (ch->make(q, ch->arg, &cg->base.obj, &cg->obj) ||
	    make_storable(q, ch->r, &cg->obj, &cg->base.stored, ch->sub, &bump))
		return ANSWERED;
	return send_change(q, cg, bump);
}

/* One attempt; the turn is over unless the store has been asked.  (If it has, q may
 * have ended already.) */
static enum outcome change_go(struct request *q, struct change *ch)
{
	struct api *api = q->api;
	bool asked = false;
	enum outcome how;

	ch->asked = &asked;
	how = change_attempt(q, ch);
	if (!asked)
		turn_over(api, ch);
	return how;
}

enum outcome write_change(struct request *q, struct change *ch)
{
	ch->until_ns = clock_mono_ns() + TRY_NS;
	return turn_begin(q, ch, change_go) ? change_go(q, ch) : WAITING;
}

/* --- Update ------------------------------------------------------------------------- */

static bool is_number(struct str s)
{
	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

bool names_version(struct str rv)
{
	return rv.n && !str_eq(rv, STR("0"));
}

/* Kubernetes names the resource here, not the kind. */
static void answer_needs_version(struct request *q, const struct change *ch)
{
	struct kube_resource r = {.group = ch->r->group, .kind = ch->r->resource};
	struct kube_errors errs = {.z = q->z};

	kube_error_add(&errs, STR("metadata.resourceVersion"), "FieldValueInvalid",
		       "Invalid value: 0: must be specified for an update");
	answer_status(q, kube_status_invalid(q->z, &r, ch->name, &errs));
}

/* Body and path are about one object, and body and `old` about one state. */
int check_identity(struct request *q, const struct change *ch, const value *obj, const value *old)
{
	const value *meta = v_get(obj, "metadata"), *was = v_get(old, "metadata");
	struct str name = v_get_str(meta, "name"), ns = v_get_str(meta, "namespace");
	struct str rv = v_get_str(meta, "resourceVersion"), uid = v_get_str(meta, "uid");

	if (!str_eq(name, ch->name)) {
		answer_bad_request(
			q,
			name.n ? zone_printf(q->z,
					     "the name of the object (" STR_FMT
					     ") does not match the name on the URL (" STR_FMT ")",
					     STR_ARG(name), STR_ARG(ch->name))
			       : zone_printf(q->z,
					     "the name of the object (" STR_FMT
					     " based on URL) was undeterminable: name must be "
					     "provided",
					     STR_ARG(ch->name)));
		return WEFT_EINVAL;
	}
	if (ns.n && !str_eq(ns, ch->ns)) {
		answer_bad_request(q, STR("the namespace of the provided object does not match the "
					  "namespace sent on the request"));
		return WEFT_EINVAL;
	}
	if (uid.n && !str_eq(uid, v_get_str(was, "uid"))) {
		answer_store_error(q, WEFT_EUID, ch->name,
				   zone_printf(q->z,
					       "StorageError: invalid object, Code: 4, Key: "
					       "/registry/%s/" STR_FMT "%s" STR_FMT
					       ", ResourceVersion: 0, AdditionalErrorMsg: "
					       "Precondition failed: UID in precondition: " STR_FMT
					       ", UID in object meta: " STR_FMT,
					       ch->r->resource, STR_ARG(ch->ns),
					       ch->ns.n ? "/" : "", STR_ARG(ch->name), STR_ARG(uid),
					       STR_ARG(v_get_str(was, "uid"))));
		return WEFT_EINVAL;
	}
	if (!was)
		return WEFT_OK;
	if (!is_number(rv)) {
		answer_plain_error(q, zone_printf(q->z,
						  "strconv.ParseUint: parsing \"" STR_FMT
						  "\": invalid syntax",
						  STR_ARG(rv)));
		return WEFT_EINVAL;
	}
	if (!names_version(rv) && kube_update_needs_version(ch->r->type)) {
		answer_needs_version(q, ch);
		return WEFT_EINVAL;
	}
	if (names_version(rv) && !str_eq(rv, v_get_str(was, "resourceVersion"))) {
		answer_store_error(q, WEFT_ECONFLICT, ch->name, STR(""));
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}

struct update {
	struct change ch;
	value body;
};

static int make_update(struct request *q, void *arg, value *old, value *obj)
{
	struct update *u = arg;

	*obj = v_copy(q->z, &u->body);
	if (check_identity(q, &u->ch, obj, old))
		return WEFT_EINVAL;
	if (u->ch.ns.n)
		v_set(q->z, v_map_at(q->z, obj, "metadata"), "namespace", v_str(u->ch.ns));
	return WEFT_OK;
}

enum outcome object_update(struct request *q)
{
	struct update *u = zone_alloc(q->z, sizeof(*u));

	*u = (struct update){.ch = {.r = q->t.r,
				    .ns = q->t.ns,
				    .name = q->t.name,
				    .sub = q->t.sub,
				    .make = make_update,
				    .arg = u,
				    .reads_only = true}};
	if (negotiate(q, true, false) || dry_run_parse(q, &u->ch.dry_run) ||
	    body_object(q, q->t.r, &u->body))
		return ANSWERED;
	u->ch.once = names_version(v_as_str(v_path(&u->body, "metadata.resourceVersion")));
	u->ch.or_create = !q->t.sub.n && kube_creates_on_update(q->t.r->type);
	return write_change(q, &u->ch);
}
