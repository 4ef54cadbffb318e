/*
 * prepare.c - the strategy step of a write: what a client may not set is put
 * right, and metadata.generation counted.
 *
 * Most kinds follow one rule, told by a row of the table; few have a function.
 */
#include "procs/kube/prepare.h"
#include "weft/schema.h"

enum {
	GENERATION = 1,	 /* metadata.generation is 1 when made, and counts changes */
	OWN_META = 2,	 /* a status write leaves metadata as it was */
	KEEP_STATUS = 4, /* a status that comes with a create is kept */
};

struct strategy {
	uint8_t flags;
	const char *const *counted; /* paths whose change counts; NULL: "spec" */
	void (*create)(zone *z, value *obj);
	void (*update)(zone *z, value *obj, const value *old);
	void (*status)(zone *z, value *obj, const value *old);
};

/* clang-format off */
#define PATHS(...) (const char *const[]){__VA_ARGS__, NULL}
/* clang-format on */

static const struct strategy strategies[TYPE_MAX] = {
	[TYPE_POD] = {.flags = GENERATION,
		      .create = prepare_pod_create,
		      .status = prepare_pod_status},
	[TYPE_PODTEMPLATE] = {.flags = GENERATION, .counted = PATHS("template")},
	[TYPE_REPLICATIONCONTROLLER] = {.flags = GENERATION},
	[TYPE_NAMESPACE] = {.create = prepare_namespace_create, .update = prepare_namespace_update},
	[TYPE_NODE] = {.flags = KEEP_STATUS},
	[TYPE_SECRET] = {.update = prepare_secret_update},
	[TYPE_SERVICE] = {.update = prepare_service_update},
	[TYPE_PERSISTENTVOLUME] = {.create = prepare_volume_create,
				   .status = prepare_volume_status},
	[TYPE_DEPLOYMENT] = {.flags = GENERATION,
			     .counted = PATHS("spec", "metadata.annotations"),
			     .status = prepare_deployment_status},
	[TYPE_REPLICASET] = {.flags = GENERATION},
	[TYPE_STATEFULSET] = {.flags = GENERATION},
	[TYPE_DAEMONSET] = {.flags = GENERATION,
			    .create = prepare_daemonset_create,
			    .update = prepare_daemonset_update,
			    .status = prepare_daemonset_status},
	[TYPE_JOB] = {.flags = GENERATION, .create = prepare_job_create},
	[TYPE_CRONJOB] = {.flags = GENERATION},
	[TYPE_HORIZONTALPODAUTOSCALER] = {.flags = GENERATION},
	[TYPE_PODDISRUPTIONBUDGET] = {.flags = GENERATION},
	[TYPE_INGRESS] = {.flags = GENERATION},
	[TYPE_INGRESSCLASS] = {.flags = GENERATION},
	[TYPE_NETWORKPOLICY] = {.flags = GENERATION},
	[TYPE_ENDPOINTSLICE] = {.flags = GENERATION,
				.counted = PATHS("addressType", "endpoints", "ports",
						 "metadata.labels")},
	[TYPE_PRIORITYCLASS] = {.flags = GENERATION, .counted = PATHS("-")},
	[TYPE_FLOWSCHEMA] = {.flags = GENERATION | OWN_META},
	[TYPE_PRIORITYLEVELCONFIGURATION] = {.flags = GENERATION | OWN_META},
	[TYPE_MUTATINGADMISSIONPOLICY] = {.flags = GENERATION},
	[TYPE_MUTATINGADMISSIONPOLICYBINDING] = {.flags = GENERATION},
	[TYPE_VALIDATINGADMISSIONPOLICY] = {.flags = GENERATION | OWN_META},
	[TYPE_VALIDATINGADMISSIONPOLICYBINDING] = {.flags = GENERATION},
	[TYPE_MUTATINGWEBHOOKCONFIGURATION] = {.flags = GENERATION, .counted = PATHS("webhooks")},
	[TYPE_VALIDATINGWEBHOOKCONFIGURATION] = {.flags = GENERATION, .counted = PATHS("webhooks")},
	[TYPE_CUSTOMRESOURCEDEFINITION] = {.flags = GENERATION},
	[TYPE_CERTIFICATESIGNINGREQUEST] = {.update = prepare_csr_update},
	[TYPE_PODCERTIFICATEREQUEST] = {.flags = OWN_META},
	[TYPE_SERVICECIDR] = {.flags = OWN_META},
	[TYPE_CSINODE] = {.flags = OWN_META},
	[TYPE_VOLUMEATTACHMENT] = {.flags = OWN_META},
	[TYPE_STORAGEVERSIONMIGRATION] = {.flags = OWN_META},
};

/* Kinds that a PUT may create, and kinds whose PUT must name a resourceVersion. */
static const uint16_t creates_on_update[] = {
	TYPE_LEASE,	  TYPE_ENDPOINTS,	   TYPE_EVENT, TYPE_LIMITRANGE,
	TYPE_SERVICE,	  TYPE_RUNTIMECLASS,	   TYPE_ROLE,  TYPE_ROLEBINDING,
	TYPE_CLUSTERROLE, TYPE_CLUSTERROLEBINDING,
};
static const uint16_t needs_version[] = {
	TYPE_MUTATINGADMISSIONPOLICY,
	TYPE_MUTATINGADMISSIONPOLICYBINDING,
	TYPE_VALIDATINGADMISSIONPOLICY,
	TYPE_VALIDATINGADMISSIONPOLICYBINDING,
	TYPE_MUTATINGWEBHOOKCONFIGURATION,
	TYPE_VALIDATINGWEBHOOKCONFIGURATION,
	TYPE_CLUSTERTRUSTBUNDLE,
	TYPE_PODCERTIFICATEREQUEST,
	TYPE_LEASE,
	TYPE_RUNTIMECLASS,
	TYPE_PODDISRUPTIONBUDGET,
	TYPE_CSIDRIVER,
	TYPE_CSINODE,
	TYPE_CSISTORAGECAPACITY,
	TYPE_VOLUMEATTACHMENT,
	TYPE_STORAGEVERSIONMIGRATION,
	TYPE_CUSTOMRESOURCEDEFINITION,
	TYPE_APISERVICE,
};

static bool is_one_of(uint16_t type, const uint16_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == type)
			return true;
	return false;
}

bool kube_counts_generation(uint16_t type)
{
	return type < TYPE_MAX && strategies[type].flags & GENERATION;
}

bool kube_creates_on_update(uint16_t type)
{
	return is_one_of(type, creates_on_update, countof(creates_on_update));
}

bool kube_update_needs_version(uint16_t type)
{
	return is_one_of(type, needs_version, countof(needs_version));
}

/* --- Members ---------------------------------------------------------------------- */

void prepare_take(zone *z, value *obj, const value *old, const char *key)
{
	const value *was = v_get(old, key);

	if (was)
		v_set(z, obj, key, *was);
	else
		v_del(obj, key);
}

static bool is_nothing(const value *v)
{
	return v_is_null(v) || ((v_is_map(v) || v_is_array(v)) && !v_len(v));
}

static bool differ(const value *a, const value *b)
{
	if (is_nothing(a) || is_nothing(b))
		return is_nothing(a) != is_nothing(b);
	return !v_equal(a, b);
}

/* Did anything change that metadata.generation counts? */
static bool is_counted(const struct strategy *s, const value *obj, const value *old)
{
	static const char *const spec[] = {"spec", NULL};

	for (const char *const *p = s->counted ? s->counted : spec; *p; p++)
		if (differ(v_path(obj, *p), v_path(old, *p)))
			return true;
	return false;
}

static bool has_status(const struct kube_resource *r)
{
	return kube_subresource(r, STR("status")) != NULL;
}

/* An empty status, with what is always in it. */
static void reset_status(zone *z, const struct kube_resource *r, value *obj)
{
	const struct kube_schema *s = schema_member(r->schema, STR("status"));

	if (!s)
		return;
	kube_default_as(z, s, v_set(z, obj, "status", v_map()));
}

/* --- Metadata ----------------------------------------------------------------------- */

static void new_metadata(zone *z, const struct strategy *s, value *obj)
{
	static const char *const not_yours[] = {
		"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
		"resourceVersion",   "selfLink",	  "managedFields",
		"generation",
	};
	value *meta = v_map_at(z, obj, "metadata");

	for (size_t i = 0; i < countof(not_yours); i++)
		v_del(meta, not_yours[i]);
	if (s->flags & GENERATION)
		v_set(z, meta, "generation", v_int(1));
}

/* What only the system changes stays as it was. */
static void kept_metadata(zone *z, value *obj, const value *old)
{
	value *meta = v_map_at(z, obj, "metadata");
	const value *was = v_get(old, "metadata");

	if (!v_get_str(meta, "uid").n)
		prepare_take(z, meta, was, "uid");
	prepare_take(z, meta, was, "creationTimestamp");
	prepare_take(z, meta, was, "generation");
	prepare_take(z, meta, was, "selfLink");
	prepare_take(z, meta, was, "managedFields");
	if (v_get_str(was, "deletionTimestamp").n) {
		prepare_take(z, meta, was, "deletionTimestamp");
		if (v_is_null(v_get(meta, "deletionGracePeriodSeconds")))
			prepare_take(z, meta, was, "deletionGracePeriodSeconds");
	}
}

/* --- Subresources ------------------------------------------------------------------- */

static void update_main(zone *z, const struct kube_resource *r, const struct strategy *s,
			value *obj, const value *old)
{
	if (has_status(r))
		prepare_take(z, obj, old, "status");
	if (s->update)
		s->update(z, obj, old);
}

static void update_status(zone *z, const struct kube_resource *r, const struct strategy *s,
			  value *obj, const value *old)
{
	static const char *const metadata[] = {"deletionTimestamp", "labels", "annotations",
					       "finalizers", "ownerReferences"};

	prepare_take(z, obj, old, "spec");
	if (s->flags & OWN_META)
		for (size_t i = 0; i < countof(metadata); i++)
			prepare_take(z, v_get(obj, "metadata"), v_get(old, "metadata"),
				     metadata[i]);
	if (s->status)
		s->status(z, obj, old);
}

/* All of the old object but one list of its spec. */
static void update_only(zone *z, value *obj, const value *old, const char *list)
{
	value spec = v_copy(z, v_get(old, "spec"));

	prepare_take(z, &spec, v_get(obj, "spec"), list);
	v_set(z, obj, "spec", spec);
	prepare_take(z, obj, old, "status");
	v_each_kv(kv, v_get(old, "metadata"))
		if (!str_eq(v_as_str(&kv->key), STR("resourceVersion")))
			v_setn(z, v_get(obj, "metadata"), v_as_str(&kv->key), kv->val);
}

static void update_ephemeral(zone *z, const struct kube_resource *r, const struct strategy *s,
			     value *obj, const value *old)
{
	update_only(z, obj, old, "ephemeralContainers");
}

static void update_resize(zone *z, const struct kube_resource *r, const struct strategy *s,
			  value *obj, const value *old)
{
	prepare_pod_resize(z, obj, old);
}

static void update_finalize(zone *z, const struct kube_resource *r, const struct strategy *s,
			    value *obj, const value *old)
{
	prepare_take(z, obj, old, "status");
}

/* A signing request is approved by its conditions alone. */
static void update_approval(zone *z, const struct kube_resource *r, const struct strategy *s,
			    value *obj, const value *old)
{
	value status = v_is_map(v_get(old, "status")) ? v_copy(z, v_get(old, "status")) : v_map();

	prepare_take(z, &status, v_get(obj, "status"), "conditions");
	v_set(z, obj, "status", status);
	prepare_take(z, obj, old, "spec");
}

static const struct {
	const char *sub;
	void (*update)(zone *z, const struct kube_resource *r, const struct strategy *s, value *obj,
		       const value *old);
} updates[] = {
	{"", update_main},
	{"status", update_status},
	{"ephemeralcontainers", update_ephemeral},
	{"resize", update_resize},
	{"finalize", update_finalize},
	{"approval", update_approval},
};

/* --- Entry point -------------------------------------------------------------------- */

void kube_prepare(zone *z, const struct kube_resource *r, value *obj, const value *old,
		  struct str sub, bool *bump)
{
	static const struct strategy plain;
	const struct strategy *s = r->type < TYPE_MAX ? &strategies[r->type] : &plain;

	*bump = false;
	if (!old) {
		new_metadata(z, s, obj);
		if (has_status(r) && !(s->flags & KEEP_STATUS))
			reset_status(z, r, obj);
		if (s->create)
			s->create(z, obj);
		*bump = s->flags & GENERATION;
		return;
	}
	kept_metadata(z, obj, old);
	for (size_t i = 0; i < countof(updates); i++)
		if (str_is(sub, updates[i].sub))
			updates[i].update(z, r, s, obj, old);
	if (!(s->flags & GENERATION) || str_eq(sub, STR("status")) || !is_counted(s, obj, old))
		return;
	*bump = true;
	v_set(z, v_get(obj, "metadata"), "generation",
	      v_int(v_get_int(v_get(old, "metadata"), "generation", 0) + 1));
}
