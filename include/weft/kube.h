/*
 * kube.h - Kubernetes' model, without any process in it: resources, schema,
 * defaults, validation, patches, selectors, quantities, tables, and objects
 * as they go into the cache and come out of it.
 *
 * One schema (procs/kube/schema/, made from the published API description) is
 * the source of types.  Everything that can follow from it does; code per kind
 * exists only for what no description holds (defaults set by code, validation
 * rules, table columns), as tables of small functions per kind.
 *
 * All functions work on values (value.h); what they make lives in the zone.
 * Nothing here blocks or keeps state; all tables are constant.
 */
#ifndef WEFT_KUBE_H
#define WEFT_KUBE_H

#include "weft/cache.h"
#include "weft/cache_write.h"
#include "weft/json.h"
#include "weft/value.h"

/* TYPE_POD, TYPE_REPLICASET, TYPE_NODE ...: `enum kube_type`, one for each
 * stored kind.  Numbers are permanent (they are in logs and checkpoints): they
 * come from the id column of procs/kube/schema/resources.tsv. */
#include "kube_types.h" /* generated */

/* --- Resources ----------------------------------------------------------------- */

enum kube_verb {
	VERB_CREATE = 1,
	VERB_DELETE = 2,
	VERB_DELETECOLLECTION = 4,
	VERB_GET = 8,
	VERB_LIST = 16,
	VERB_PATCH = 32,
	VERB_UPDATE = 64,
	VERB_WATCH = 128,
};

struct kube_schema; /* a type: its fields; see the schema section */

struct kube_subresource {
	const char *name; /* "status", "scale" */
	const char *kind;
	const char *group, *version; /* of `kind`; NULL: the parent's */
	uint32_t verbs;
};

/* One (group, version, resource).  Several versions of one kind share `type`
 * and are converted to the stored version at the edge. */
struct kube_resource {
	uint16_t type; /* 0: not stored (reviews, bindings) */
	bool namespaced;
	bool stored_version;
	const char *group; /* "" for core */
	const char *version;
	const char *resource; /* "deployments" */
	const char *singular;
	const char *kind;
	const char *list_kind;
	const char *api_version;	/* "apps/v1" */
	const char *const *short_names; /* NULL-terminated */
	const char *const *categories;
	uint32_t verbs;
	const struct kube_subresource *subs;
	uint32_t nsubs;
	const struct kube_schema *schema;
};

const struct kube_resource *kube_resources(uint32_t *n); /* all, by group, version, name */
const struct kube_resource *kube_resource(struct str group, struct str version,
					  struct str resource);
const struct kube_resource *kube_by_kind(struct str group, struct str version, struct str kind);
const struct kube_resource *kube_by_type(uint16_t type); /* its stored version */
const struct kube_subresource *kube_subresource(const struct kube_resource *r, struct str name);
/* True for resources whose writes are not made durable by default (Lease, Event). */
bool kube_type_in_memory(uint16_t type);

/* --- Errors as Kubernetes reports them --------------------------------------------- */

/* A cause of an Invalid status: "spec.replicas", FieldValueInvalid, message. */
struct kube_cause {
	struct str field, reason, message;
};
struct kube_errors {
	zone *z;
	struct kube_cause *list;
	uint32_t n, cap;
};
void kube_error_add(struct kube_errors *e, struct str field, const char *reason, const char *fmt,
		    ...) __attribute__((format(printf, 4, 5)));

/* metav1.Status values with Kubernetes' code, reason ("": none), message and details.
 * `r` may be NULL where the resource is unknown. */
value kube_status(zone *z, int code, const char *reason, struct str message);
value kube_status_not_found(zone *z, const struct kube_resource *r, struct str name);
value kube_status_already_exists(zone *z, const struct kube_resource *r, struct str name);
value kube_status_conflict(zone *z, const struct kube_resource *r, struct str name, struct str why);
value kube_status_invalid(zone *z, const struct kube_resource *r, struct str name,
			  const struct kube_errors *errs);
value kube_status_bad_request(zone *z, struct str message);
value kube_status_expired(zone *z, struct str message);
value kube_status_forbidden(zone *z, const struct kube_resource *r, struct str name,
			    struct str why);
value kube_status_method_not_allowed(zone *z, const struct kube_resource *r, struct str verb);

/* --- Schema ------------------------------------------------------------------------- */

/* What a client sent, made right by the schema: field types are checked (a
 * wrong one is an error with Go's words), fields that the schema does not know
 * are removed and noted ("spec.containers[0].foo"), null members are dropped as
 * Go does, members that say nothing (an explicit 0 where 0 is never stored) too,
 * quantities, times and base64 are brought into canonical form.  Changes *obj in
 * place.  WEFT_EINVAL with *message on a wrong type; then *obj is of no use. */
struct kube_notes {
	struct str *unknown;
	uint32_t nunknown;
};
int kube_check(zone *z, const struct kube_resource *r, value *obj, struct kube_notes *notes,
	       struct str *message);
/* The same for a type by itself (Scale, Eviction, DeleteOptions ...; schema.h). */
int kube_check_as(zone *z, const struct kube_schema *schema, value *obj, struct kube_notes *notes,
		  struct str *message);
/* How kube-apiserver reports it: `Pod in version "v1" cannot be handled as a Pod: WHY`. */
struct str kube_cannot_handle(zone *z, const struct kube_resource *r, struct str why);

/* Fill in every default that Kubernetes' API machinery would.  `obj` is a
 * whole object. */
void kube_default(zone *z, const struct kube_resource *r, value *obj);
/* Only what the schema itself says: fields that are always stored, and its
 * defaults. */
void kube_default_as(zone *z, const struct kube_schema *schema, value *obj);
/* The defaults of a pod template ({metadata, spec}), as inside a workload. */
void kube_default_template(zone *z, value *template);

/* What admission does to a new pod on a stock cluster: default service account
 * and its projected token volume (with HOLE_UID5 in the volume's name when
 * `holes`, so that pods share it; else the name comes from metadata.uid),
 * tolerations for not-ready and unreachable, and priority.  A priority class
 * other than the two built-in ones is looked up by the caller, who sets
 * spec.priority and spec.preemptionPolicy before. */
void kube_admit_pod(zone *z, value *pod, bool holes);
/* The part of it that an update of a pod is put through, too. */
void kube_admit_tolerations(zone *z, value *pod);
/* The same for a new object of any kind (pods without holes): nodes get the
 * taint not-ready, volumes and claims their finalizers. */
void kube_admit(zone *z, const struct kube_resource *r, value *obj);

/* Validation; errors are added.  `old` is NULL on create.  `sub` is "" or the
 * subresource that is written ("status"). */
void kube_validate(zone *z, const struct kube_resource *r, const value *obj, const value *old,
		   struct str sub, struct kube_errors *errs);

/* The strategy step of a create or update: what a client may not set is reset
 * (status on create; metadata of the system; status on update, spec on a status
 * update).  The caller has set metadata.uid before a create (a Job's selector
 * holds it).  *bump is set when metadata.generation has to rise; it is counted
 * in *obj already.  *obj may share parts with *old afterwards.
 * The order of a write: kube_check, kube_default, kube_admit (create),
 * kube_prepare, kube_validate. */
void kube_prepare(zone *z, const struct kube_resource *r, value *obj, const value *old,
		  struct str sub, bool *bump);
/* Is metadata.generation 1 on create, and counted? */
bool kube_counts_generation(uint16_t type);
/* May a PUT of an absent object create it?  Must a PUT name a resourceVersion? */
bool kube_creates_on_update(uint16_t type);
bool kube_update_needs_version(uint16_t type);

/* Between versions of one kind (HorizontalPodAutoscaler v1 and v2, Event). */
int kube_convert(zone *z, const struct kube_resource *from, const struct kube_resource *to,
		 value *obj);

/* A body of type application/vnd.kubernetes.protobuf: the envelope and the
 * object in it, as the value that the same object's JSON would be (before
 * kube_check()).  WEFT_EINVAL with *message for anything malformed, and for
 * kinds that the schema does not have. */
int kube_protobuf_decode(zone *z, struct str bytes, value *out, struct str *message);

/* --- Patches ------------------------------------------------------------------------ */

/* Each leaves the result in *obj, which is as it was after an error:
 * WEFT_EINVAL    the patch is malformed (400 BadRequest)
 * WEFT_ECONFLICT it does not apply, or a JSON patch's test failed (422)
 * WEFT_ESYS      a merge that makes no sense, which Kubernetes answers with 500
 * with *message in Kubernetes' words. */
int kube_patch_json(zone *z, value *obj, const value *patch, struct str *message);
int kube_patch_merge(zone *z, value *obj, const value *patch, struct str *message);
int kube_patch_strategic(zone *z, const struct kube_resource *r, value *obj, const value *patch,
			 struct str *message);

/* --- Selectors ---------------------------------------------------------------------- */

struct kube_selector; /* parsed, in a zone */

/* A query's labelSelector ("app=nginx,tier in (a,b),!x"); empty matches all. */
int kube_selector_parse(zone *z, struct str text, struct kube_selector **out, struct str *message);
/* A LabelSelector object (matchLabels, matchExpressions); NULL matches nothing,
 * {} everything. */
int kube_selector_from(zone *z, const value *label_selector, struct kube_selector **out,
		       struct str *message);
/* A plain map of labels, as Services and ReplicationControllers have; empty or
 * NULL matches all. */
struct kube_selector *kube_selector_from_map(zone *z, const value *map);
/* `labels` are stored msgpack bytes (PART_LABELS). */
bool kube_selector_match(const struct kube_selector *s, struct str labels);
bool kube_selector_match_value(const struct kube_selector *s, const value *labels);
bool kube_selector_empty(const struct kube_selector *s);
struct str kube_selector_print(zone *z, const struct kube_selector *s); /* canonical text */

/* A query's fieldSelector; WEFT_EINVAL with Kubernetes' message for fields that
 * the kind does not offer. */
struct kube_field_selector;
int kube_fields_parse(zone *z, const struct kube_resource *r, struct str text,
		      struct kube_field_selector **out, struct str *message);
bool kube_fields_match(const struct kube_field_selector *s, const struct cache *c,
		       const struct entry *e, const struct version *v);
/* Set when the selector pins metadata.name / metadata.namespace / spec.nodeName. */
struct str kube_fields_required(const struct kube_field_selector *s, const char *field);

/* --- Quantities, int-or-string ------------------------------------------------------ */

/* "100m", "1Gi", "1e3", 0.5: in thousandths (rounded up, saturating); false if
 * malformed. */
bool kube_quantity_milli(const value *v, int64_t *milli);
/* The canonical text, as Kubernetes prints it back ("1000m" -> "1"). */
bool kube_quantity_canonical(zone *z, const value *v, struct str *out);
/* An amount to reckon with: exact, in thousandths; `form` is how it was written
 * (powers of ten, of two, or an exponent), and so how a sum of such is. */
typedef __int128 kube_milli __attribute__((aligned(8))); /* as zones give it */
struct kube_amount {
	kube_milli milli;
	uint8_t form;
};
bool kube_amount(const value *v, struct kube_amount *out); /* false if malformed */
/* a += b * times; a zero takes the form of what is added to it. */
void kube_amount_add(struct kube_amount *a, struct kube_amount b, int64_t times);
struct str kube_amount_print(zone *z, struct kube_amount a); /* canonical */
/* maxSurge and the like: a number, or a percentage of `total` rounded up or
 * down; -1 if malformed. */
int64_t kube_int_or_percent(const value *v, int64_t total, bool round_up, int64_t absent);

/* --- Objects in and out of the cache ------------------------------------------------ */

/* The whole object as a client sees it in the version of `r`: apiVersion, kind,
 * metadata in full, holes filled.  Call inside a read section; strings of the
 * result that point into the cache are copied if `copy`. */
value kube_object(zone *z, const struct cache *c, const struct kube_resource *r,
		  const struct entry *e, const struct version *v, bool copy);
/* What was printed last and will be again: whole objects, and the parts that many
 * share.  Zero to begin with. */
struct kube_texts {
	struct kept objects, parts; /* kube_texts_free() */
	uint64_t spec;		    /* hash of the spec that was asked about last: */
	bool spec_names_node;
};
void kube_texts_free(struct kube_texts *texts);
/* The same as JSON, straight from the stored parts. `with_type`: print
 * apiVersion and kind (items of a typed list carry none).  `texts` are of one cluster
 * (its generations are told apart), and may be NULL. */
void kube_object_json(struct buf *out, const struct cache *c, const struct kube_resource *r,
		      const struct entry *e, const struct version *v, bool with_type,
		      struct kube_texts *texts);
/* One part as a tree (holes filled); null if the object has nothing in it. */
value kube_part(zone *z, const struct cache *c, const struct entry *e, const struct version *v,
		enum part part);

/* An object cut into parts, encoded.  buf_free() each with kube_parts_free().
 * Labels and annotations are put in the order of their keys. */
struct kube_parts {
	struct buf part[PART_COUNT];
	uint32_t present; /* mask of non-empty ones */
};
void kube_split(zone *z, const value *obj, struct kube_parts *out);
/* The same, and only what differs from version `old` is encoded: *mask says
 * which parts changed.  A pod's spec.nodeName that is the node it has already
 * is no change. */
void kube_split_changed(zone *z, const struct cache *c, const struct entry *e,
			const struct version *old, const value *obj, struct kube_parts *out,
			uint32_t *mask);
void kube_parts_free(struct kube_parts *p);

/* Are the parts of `mask` what can be stored: absent, or well-formed msgpack? */
bool kube_parts_valid(const struct str part[PART_COUNT], uint32_t mask);
/* What the store derives from a new version's parts: in->hot, the flags
 * FINALIZERS and OWNED, owner uids.  Parts are stored msgpack; `status_holes`
 * fill the status.  A pod's in->node is only overwritten when its spec names a
 * node (else the caller's stands, and HOT_SCHEDULED follows it); a Node's is
 * the caller's.  Malformed parts give WEFT_EINVAL, *in is as it was; parts that
 * are not in in->mask (if that is not 0) are stored already and not checked
 * again.  Arrays set in *in live in the zone, strings point into the parts. */
int kube_project(zone *z, uint16_t type, const struct str part[PART_COUNT],
		 const uint32_t *status_holes, uint8_t nholes, struct version_in *in);

/* --- Pods and workloads: rules shared by controllers and API server ----------------- */

/* A pod made from a template (spec.template of a workload): metadata and spec
 * as a controller creates them, defaulted and admitted, with holes, and a
 * fresh Pending status.  `owner` is the ownerReference to put in. */
void kube_pod_from_template(zone *z, const value *template, const value *owner, value *pod);
/* {apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true} */
value kube_owner_ref(zone *z, const struct cache *c, const struct entry *e, bool controller);
/* The ownerReference with controller: true, or NULL. */
const value *kube_controller_of(const value *metadata);
/* FNV-1a over the canonical template, in Kubernetes' safe alphabet. */
struct str kube_template_hash(zone *z, const value *template, int64_t collision_count);
/* Template equality ignoring the pod-template-hash label. */
bool kube_templates_equal(zone *z, const value *a, const value *b);
/* Pod's Ready since at least min_ready_s; *wait_s: seconds until it will be, if
 * it is only too young. */
bool kube_pod_available(const struct version *v, uint32_t min_ready_s, uint32_t now_s,
			uint32_t *wait_s);
/* Does a toleration match a taint?  An empty effect or key matches any. */
bool kube_tolerates(const value *toleration, const value *taint);
/* Find / set a condition in a list of {type, status, reason, message,
 * lastTransitionTime, lastUpdateTime?}.  Set keeps lastTransitionTime when
 * status does not change; returns true if anything changed.  With update_time
 * (Deployments) a changed condition moves to the end of the list, as there.
 * Strings are borrowed. */
value *kube_condition(const value *conditions, const char *type);
bool kube_condition_set(zone *z, value *conditions, const char *type, const char *status,
			const char *reason, struct str message, uint32_t now_s, bool update_time);
bool kube_condition_del(value *conditions, const char *type);
/* Into a pod's status (whatever it was before): DisruptionTarget, so this pod is made to
 * go.  generation: of the pod, 0: not said.  Strings are borrowed. */
void kube_disruption_set(zone *z, value *status, const char *reason, const char *message,
			 uint32_t now_s, uint32_t generation);

/* --- Quotas ------------------------------------------------------------------------- */

/* An object as a quota sees it; parts as they are stored. */
struct kube_charged {
	uint16_t type;
	bool over; /* a pod that has succeeded, failed, or outstayed its grace */
	struct str meta, spec, status;
};
/* What an object takes of one resource ("pods", "requests.cpu", "count/jobs.batch"). */
struct kube_use {
	struct str name;
	struct kube_amount amount;
};
struct kube_uses {
	struct kube_use *list;
	uint32_t n, cap;
};
/* Everything that the object takes, as Kubernetes' evaluators have it. */
void kube_quota_uses(zone *z, const struct kube_charged *o, struct kube_uses *out);
/* The type whose objects take of this resource; 0: no type is known to. */
uint16_t kube_quota_type(struct str resource);
/* Is the object in all scopes of a quota's spec? */
bool kube_quota_in_scope(zone *z, const value *quota_spec, const struct kube_charged *o);
/* Kubernetes wants every container of a pod to state cpu and memory when those are
 * limited: what is not stated, as "must specify limits.cpu for: a,b; ...".  Empty
 * if nothing is missing.  `hard` is the quota's. */
struct str kube_quota_missing(zone *z, const value *hard, const struct kube_charged *o);

/* --- Tables (kubectl get) ----------------------------------------------------------- */

/* meta.k8s.io/v1 Table: column definitions, and one row's cells, as Kubernetes'
 * printers give them.  Kinds without columns of their own get Name and Created
 * At.  `r` and `obj` are best of the stored version, whatever the client asked
 * for: others are converted first, and columns are the same. */
value kube_table_columns(zone *z, const struct kube_resource *r);
value kube_table_cells(zone *z, const struct kube_resource *r, const value *obj, uint32_t now_s);

#endif
