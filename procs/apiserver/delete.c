/*
 * delete.c - DELETE of one object and of collections.
 */
#include "procs/apiserver/body.h"
#include "procs/apiserver/delete.h"
#include "procs/apiserver/item.h"
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/walk.h"

#define BATCH 512 /* objects in one request to the store */

/* --- Options ------------------------------------------------------------------------ */

static int read_policy(struct request *q, struct str text, struct delete_options *o)
{
	static const struct {
		const char *name;
		enum propagation p;
	} known[] = {
		{"Background", PROPAGATION_BACKGROUND},
		{"Foreground", PROPAGATION_FOREGROUND},
		{"Orphan", PROPAGATION_ORPHAN},
	};

	if (!text.n)
		return WEFT_OK;
	for (size_t i = 0; i < countof(known); i++) {
		if (str_is(text, known[i].name)) {
			o->propagation = known[i].p;
			return WEFT_OK;
		}
	}
	answer_bad_option(q, "DeleteOptions", "propagationPolicy", "FieldValueNotSupported",
			  zone_printf(q->z,
				      "Unsupported value: \"" STR_FMT "\": supported values: "
				      "\"Foreground\", \"Background\", \"Orphan\", \"nil\"",
				      STR_ARG(text)));
	return WEFT_EINVAL;
}

static void read_orphan(const value *v, struct delete_options *o)
{
	const value *orphan = v_get(v, "orphanDependents");

	if (!orphan || v_is_null(orphan))
		return;
	o->propagation = v_as_bool(orphan, false) ? PROPAGATION_ORPHAN : PROPAGATION_BACKGROUND;
	o->not_orphan = o->propagation == PROPAGATION_BACKGROUND;
}

/* The old and the new way to say what happens to dependents, at once. */
static bool policies_clash(struct request *q, const value *v)
{
	const value *orphan = v_get(v, "orphanDependents");
	struct str policy = v_get_str(v, "propagationPolicy");

	if (!orphan || v_is_null(orphan) || !policy.n)
		return false;
	answer_bad_option(q, "DeleteOptions", "propagationPolicy", "FieldValueInvalid",
			  zone_printf(q->z,
				      "Invalid value: \"" STR_FMT "\": orphanDependents and "
				      "deletionPropagation cannot be both set",
				      STR_ARG(policy)));
	return true;
}

static int read_dry_run(struct request *q, const value *list, struct delete_options *o)
{
	struct buf all = {0};

	o->dry_run = v_len(list) > 0;
	v_each(el, list) {
		if (str_eq(v_as_str(el), STR("All")))
			continue;
		json_encode(&all, list, NULL);
		answer_bad_option(q, "DeleteOptions", "dryRun", "FieldValueNotSupported",
				  zone_printf(q->z,
					      "Unsupported value: " STR_FMT
					      ": supported values: \"All\"",
					      STR_ARG(buf_str(&all))));
		buf_free(&all);
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}

int delete_options_from(struct request *q, const value *v, struct delete_options *o)
{
	const value *pre = v_get(v, "preconditions");
	const value *uid = v_get(pre, "uid"), *rv = v_get(pre, "resourceVersion");

	*o = (struct delete_options){.grace = v_get_int(v, "gracePeriodSeconds", -1)};
	if (read_dry_run(q, v_get(v, "dryRun"), o))
		return WEFT_EINVAL;
	read_orphan(v, o);
	if (policies_clash(q, v) || read_policy(q, v_get_str(v, "propagationPolicy"), o))
		return WEFT_EINVAL;
	o->has_rv = !v_is_null(rv);
	o->rv_text = v_as_str(rv);
	o->has_uid = !v_is_null(uid);
	o->uid_text = v_as_str(uid);
	if (o->has_uid && !uid_parse(o->uid_text, o->uid))
		memset(o->uid, 0xff, sizeof(o->uid)); /* matches nothing */
	return WEFT_OK;
}

int delete_options_read(struct request *q, struct delete_options *o)
{
	struct str why;
	int64_t grace;
	value v;

	if (q->body.n) /* then the query says nothing */
		return body_typed(q, "v1", "DeleteOptions", &v) || delete_options_from(q, &v, o)
			       ? WEFT_EINVAL
			       : WEFT_OK;
	if (query_int(q->z, &q->query, "gracePeriodSeconds", -1, &grace, &why)) {
		answer_bad_request(q, why);
		return WEFT_EINVAL;
	}
	*o = (struct delete_options){.grace = grace};
	if (query_has(&q->query, "dryRun")) {
		bool dry_run;

		if (dry_run_parse(q, &dry_run))
			return WEFT_EINVAL;
		o->dry_run |= dry_run;
	}
	return read_policy(q, query_get(&q->query, "propagationPolicy"), o);
}

/* --- One object --------------------------------------------------------------------- */

/* Kinds that are answered as they were, where others are with a Status. */
static bool returns_object(uint16_t type)
{
	static const uint16_t types[] = {
		TYPE_POD,
		TYPE_SERVICE,
		TYPE_SERVICEACCOUNT,
		TYPE_PERSISTENTVOLUME,
		TYPE_PERSISTENTVOLUMECLAIM,
		TYPE_PODTEMPLATE,
		TYPE_RESOURCEQUOTA,
		TYPE_STORAGECLASS,
		TYPE_VOLUMEATTACHMENT,
		TYPE_CSINODE,
		TYPE_CSIDRIVER,
	};

	for (size_t i = 0; i < countof(types); i++)
		if (types[i] == type)
			return true;
	return false;
}

static enum outcome answer_deleted(struct request *q, const uint8_t uid[16])
{
	value v = v_map(), details = v_map();
	char text[37];

	uid_format(uid, text);
	v_set(q->z, &details, "name", v_str(q->t.name));
	if (q->t.r->group[0])
		v_set(q->z, &details, "group", v_cstr(q->t.r->group));
	v_set(q->z, &details, "kind", v_cstr(q->t.r->resource));
	v_set(q->z, &details, "uid", v_str(zone_str(q->z, str_of(text))));
	v_set(q->z, &v, "kind", v_cstr("Status"));
	v_set(q->z, &v, "apiVersion", v_cstr("v1"));
	v_set(q->z, &v, "metadata", v_map());
	v_set(q->z, &v, "status", v_cstr("Success"));
	v_set(q->z, &v, "details", details);
	return answer_value(q, 200, &v);
}

struct deletion {
	struct delete_options o;
	struct msg m;
	uint32_t entry;
	uint64_t rv;
	uint8_t uid[16];
};

/* The finalizers that a deletion of this kind puts in by itself. */
static const char *own_finalizer(const struct request *q, const struct delete_options *o)
{
	bool orphans = q->t.r->type == TYPE_REPLICATIONCONTROLLER || q->t.r->type == TYPE_JOB;

	if (o->propagation == PROPAGATION_ORPHAN ||
	    (o->propagation == PROPAGATION_DEFAULT && orphans))
		return "orphan";
	return o->propagation == PROPAGATION_FOREGROUND ? "foregroundDeletion" : NULL;
}

/* An object as its deletion would have made it, had it begun. */
static void mark_deleted(struct request *q, const struct delete_options *o, value *obj)
{
	value *meta = v_map_at(q->z, obj, "metadata"), *spec = v_get(obj, "spec");
	const char *finalizer = own_finalizer(q, o);
	int64_t grace = 0;
	char when[21];

	if (v_get_str(meta, "deletionTimestamp").n)
		return;
	if (q->t.r->type == TYPE_POD && v_get_str(spec, "nodeName").n)
		grace = o->grace >= 0 ? o->grace
				      : v_get_int(spec, "terminationGracePeriodSeconds", 0);
	time_format((uint32_t)(clock_wall_s() + grace), when);
	v_set(q->z, meta, "deletionTimestamp", v_str(zone_str(q->z, str_of(when))));
	if (q->t.r->type == TYPE_NAMESPACE)
		v_set(q->z, v_map_at(q->z, obj, "status"), "phase", v_cstr("Terminating"));
	else
		v_set(q->z, meta, "deletionGracePeriodSeconds", v_int(grace));
	if (v_get(meta, "generation"))
		v_set(q->z, meta, "generation", v_int(v_get_int(meta, "generation", 0) + 1));
	if (finalizer)
		v_append(q->z, v_array_at(q->z, meta, "finalizers"), v_cstr(finalizer));
}

static enum outcome answer_dry_delete(struct request *q, const struct deletion *d, bool gone)
{
	value obj;

	if (gone && q->t.r->type != TYPE_POD && answer_object(q, 200, d->entry, d->rv))
		return ANSWERED;
	if (!item_read(q, 0, 0, &obj))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	mark_deleted(q, &d->o, &obj);
	return answer_made(q, 200, &obj);
}

static void on_deleted(struct request *q, void *arg, const struct msg_reply *reply)
{
	struct deletion *d = arg;
	int code = !reply->gone && d->o.not_orphan ? 202 : 200;

	/* It was deleted and made again before the store came to it: then that one is meant. */
	if (reply->status == WEFT_EUID && !d->o.has_uid) {
		if (delete_object(q, &d->o) != WAITING)
			request_answer(q);
		return;
	}
	if (d->o.answer) {
		if (d->o.answer(q, reply) != WAITING)
			request_answer(q);
		return;
	}
	if (reply->status)
		answer_store_error(q, reply->status, q->t.name, reply->message);
	else if (reply->gone && !returns_object(q->t.r->type))
		answer_deleted(q, d->uid);
	else if (d->o.dry_run)
		answer_dry_delete(q, d, reply->gone);
	else if (!answer_object(q, code, reply->entry ? reply->entry : d->entry,
				reply->rv ? reply->rv : d->rv))
		answer_deleted(q, d->uid);
	request_answer(q);
}

/* The object as it is; false: answered. */
static bool find_target(struct request *q, struct deletion *d)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	const struct version *v;

	cache_lock(c);
	e = cache_find(c, q->t.r->type, q->t.ns, q->t.name);
	v = e ? cache_live(c, e) : NULL;
	if (v) {
		d->entry = cache_entry_ref(c, e).u;
		d->rv = v->rv;
		memcpy(d->uid, e->uid, sizeof(d->uid));
	}
	cache_unlock(c);
	if (!v)
		answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	return v != NULL;
}

bool delete_allowed(struct request *q, const struct delete_options *o, const uint8_t uid[16],
		    uint64_t rv)
{
	/* Kubernetes names the kind here, not the resource. */
	struct kube_resource r = {
		.group = q->t.r->group, .resource = q->t.r->kind, .kind = q->t.r->kind};
	struct str at, why;
	char text[37];

	if (!o->has_uid && !o->has_rv)
		return true;
	at = zone_printf(q->z, "%llu", (unsigned long long)rv);
	uid_format(uid, text);
	if (o->has_uid && memcmp(o->uid, uid, sizeof(o->uid)))
		why = zone_printf(
			q->z,
			"the UID in the precondition (" STR_FMT ") does not match the UID in "
			"record (%s). The object might have been deleted and then recreated",
			STR_ARG(o->uid_text), text);
	else if (o->has_rv && !str_eq(o->rv_text, at))
		why = zone_printf(
			q->z,
			"the ResourceVersion in the precondition (" STR_FMT ") does not match the "
			"ResourceVersion in record (" STR_FMT "). The object might have been "
			"modified",
			STR_ARG(o->rv_text), STR_ARG(at));
	else
		return true;
	answer_status(q, kube_status_conflict(q->z, &r, q->t.name, why));
	return false;
}

enum outcome delete_object(struct request *q, const struct delete_options *o)
{
	struct deletion *d = zone_alloc(q->z, sizeof(*d));

	*d = (struct deletion){.o = *o};
	if (!find_target(q, d) || !delete_allowed(q, o, d->uid, d->rv) || !admit_delete(q))
		return ANSWERED;
	d->m.kind = MSG_remove;
	d->m.remove = (struct msg_remove){
		.type = q->t.r->type,
		.ns = q->t.ns,
		.name = q->t.name,
		.uid = {(const char *)d->uid, sizeof(d->uid)},
		.rv = o->has_rv ? d->rv : o->at,
		.grace = o->grace > INT32_MAX ? INT32_MAX : (int32_t)o->grace,
		.propagation = (uint8_t)o->propagation,
		.dry_run = o->dry_run,
	};
	return store_send(q, &d->m, on_deleted, d);
}

/* What surprises people who delete a Job with anything but kubectl. */
static void warn_of_orphans(struct request *q, const struct delete_options *o)
{
	if (q->t.r->type == TYPE_JOB && o->propagation == PROPAGATION_DEFAULT)
		answer_warn(q, STR("child pods are preserved by default when jobs are deleted; set "
				   "propagationPolicy=Background to remove them or set "
				   "propagationPolicy=Orphan to suppress this warning"));
}

enum outcome object_delete(struct request *q)
{
	struct delete_options o;

	if (negotiate(q, true, false) || delete_options_read(q, &o))
		return ANSWERED;
	warn_of_orphans(q, &o);
	return delete_object(q, &o);
}

/* --- Collections -------------------------------------------------------------------- */

struct purge {
	struct delete_options o;
	struct form form;
	struct filter filter;
	uint32_t *entries;
	uint64_t *rvs;
	uint32_t n, cap, sent;
	struct msg m;
};

static void purge_add(struct request *q, struct purge *p, uint32_t entry, uint64_t rv)
{
	if (p->n == p->cap) {
		uint32_t cap = p->cap ? p->cap * 2 : 64;
		uint32_t *entries = zone_alloc(q->z, cap * sizeof(*entries));
		uint64_t *rvs = zone_alloc(q->z, cap * sizeof(*rvs));

		if (p->n) {
			memcpy(entries, p->entries, p->n * sizeof(*entries));
			memcpy(rvs, p->rvs, p->n * sizeof(*rvs));
		}
		p->entries = entries;
		p->rvs = rvs;
		p->cap = cap;
	}
	p->entries[p->n] = entry;
	p->rvs[p->n++] = rv;
}

/* Note all objects concerned, and print them into the answer. */
static void purge_collect(struct request *q, struct purge *p)
{
	struct cache *c = api_cache(q->api);
	struct filter_last labels = {0};
	struct walk walk;
	const struct entry *e;

	q->out.n = 0;
	cache_lock(c);
	buf_printf(&q->out,
		   "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":"
		   "\"%llu\"},\"items\":[",
		   p->form.r->list_kind, p->form.r->api_version, (unsigned long long)cache_rv(c));
	walk_begin(&walk, c, &p->filter, NULL);
	while ((e = walk_next(&walk))) {
		const struct version *v = cache_live(c, e);

		if (!v || !filter_covers(&p->filter, c, e) ||
		    !filter_matches(&p->filter, c, e, v, &labels))
			continue;
		if (p->n)
			buf_putc(&q->out, ',');
		purge_add(q, p, cache_entry_ref(c, e).u, v->rv);
		item_add(&q->out, q->api, &p->form, e, v);
	}
	cache_unlock(c);
	buf_puts(&q->out, "]}");
}

static enum outcome purge_next(struct request *q, struct purge *p);

static void on_purged(struct request *q, void *arg, const struct msg_reply *reply)
{
	struct purge *p = arg;

	if (reply->status)
		answer_store_error(q, reply->status, STR(""), reply->message);
	else if (purge_next(q, p) == WAITING)
		return;
	request_answer(q);
}

static enum outcome purge_next(struct request *q, struct purge *p)
{
	uint32_t n = p->n - p->sent > BATCH ? BATCH : p->n - p->sent;

	if (!n || p->o.dry_run)
		return answer_json(q, 200);
	p->m.kind = MSG_delete_many;
	p->m.delete_many = (struct msg_delete_many){
		.type = p->filter.type,
		.grace = p->o.grace > INT32_MAX ? INT32_MAX : (int32_t)p->o.grace,
		.propagation = (uint8_t)p->o.propagation,
		.entries = {p->entries + p->sent, n},
		.rvs = {p->rvs + p->sent, n},
	};
	p->sent += n;
	return store_send(q, &p->m, on_purged, p);
}

enum outcome object_delete_collection(struct request *q)
{
	struct purge *p = zone_alloc(q->z, sizeof(*p));

	*p = (struct purge){0};
	if (negotiate(q, false, true) || form_parse(q, &p->form) || delete_options_read(q, &p->o) ||
	    filter_parse(q, q->z, &p->filter))
		return ANSWERED;
	purge_collect(q, p);
	return purge_next(q, p);
}
