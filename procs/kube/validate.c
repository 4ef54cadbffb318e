/* validate.c - validation of any object: metadata, required fields, and its kind's own rules. */
#include "procs/kube/validate.h"
#include "weft/schema.h"

const value empty_text = {.type = MSGPACK_OBJECT_STR, .via.str = {.size = 0, .ptr = ""}};

struct rules {
	name_check *name;      /* NULL: a subdomain */
	validate_fn *validate; /* NULL: only what the schema says */
};

static const struct rules kinds[TYPE_MAX] = {
	[TYPE_POD] = {NULL, validate_pod},
	[TYPE_PODTEMPLATE] = {NULL, validate_pod_template},
	[TYPE_REPLICASET] = {NULL, validate_replicaset},
	[TYPE_DEPLOYMENT] = {NULL, validate_deployment},
	[TYPE_DAEMONSET] = {NULL, validate_daemonset},
	[TYPE_STATEFULSET] = {NULL, validate_statefulset},
	[TYPE_REPLICATIONCONTROLLER] = {NULL, validate_replication_controller},
	[TYPE_CONTROLLERREVISION] = {NULL, validate_controller_revision},
	[TYPE_JOB] = {NULL, validate_job},
	[TYPE_CRONJOB] = {names_cron_job, validate_cronjob},
	[TYPE_NAMESPACE] = {names_label, validate_namespace},
	[TYPE_NODE] = {NULL, validate_node},
	[TYPE_SERVICE] = {names_label, validate_service},
	[TYPE_CONFIGMAP] = {NULL, validate_config_map},
	[TYPE_SECRET] = {NULL, validate_secret},
	[TYPE_SERVICEACCOUNT] = {NULL, validate_service_account},
	[TYPE_EVENT] = {NULL, validate_event},
	[TYPE_LEASE] = {NULL, validate_lease},
	[TYPE_PERSISTENTVOLUMECLAIM] = {NULL, validate_claim},
	[TYPE_PERSISTENTVOLUME] = {NULL, validate_volume},
	[TYPE_RESOURCEQUOTA] = {NULL, validate_quota},
	[TYPE_LIMITRANGE] = {NULL, validate_limit_range},
	[TYPE_PRIORITYCLASS] = {NULL, validate_priority_class},
	[TYPE_STORAGECLASS] = {NULL, validate_storage_class},
	[TYPE_PODDISRUPTIONBUDGET] = {NULL, validate_budget},
	[TYPE_ROLE] = {names_path_segment, validate_role},
	[TYPE_CLUSTERROLE] = {names_path_segment, validate_role},
	[TYPE_ROLEBINDING] = {names_path_segment, validate_role_binding},
	[TYPE_CLUSTERROLEBINDING] = {names_path_segment, validate_role_binding},
	[TYPE_HORIZONTALPODAUTOSCALER] = {NULL, validate_hpa},
	[TYPE_INGRESS] = {NULL, validate_ingress},
	[TYPE_ENDPOINTSLICE] = {NULL, validate_slice},
	[TYPE_ENDPOINTS] = {NULL, validate_endpoints},
	[TYPE_NETWORKPOLICY] = {NULL, validate_network_policy},
	[TYPE_RUNTIMECLASS] = {NULL, validate_runtime_class},
	[TYPE_INGRESSCLASS] = {NULL, validate_ingress_class},
	[TYPE_CSIDRIVER] = {NULL, validate_csi_driver},
	[TYPE_CERTIFICATESIGNINGREQUEST] = {names_any, NULL},
	[TYPE_CLUSTERTRUSTBUNDLE] = {names_any, NULL},
	[TYPE_APISERVICE] = {names_path_segment, NULL},
	[TYPE_IPADDRESS] = {names_path_segment, NULL},
};

/* --- Required fields, for kinds without rules of their own ------------------------- */

static void check_present(struct validation *v, const struct at *at, const struct kube_schema *s,
			  const value *obj);

static void check_members(struct validation *v, const struct at *at, const struct kube_schema *s,
			  const value *obj)
{
	for (uint32_t i = 0; i < s->nfields; i++) {
		const struct kube_field *f = &s->fields[i];
		const value *m = v_getn(obj, f->name);
		bool empty = v_is_null(m) || (v_is_str(m) && !v_as_str(m).n);

		if (f->required && empty &&
		    (f->type->kind == SCHEMA_STRING || f->type->kind == SCHEMA_OBJECT))
			bad_required(v, KEY(at, f->name), NULL);
	}
	v_each_kv(kv, obj) {
		struct str key = v_as_str(&kv->key);
		const struct kube_schema *member = schema_member(s, key);

		if (member && !(at->up == NULL && !at->name && str_eq(key, STR("status"))))
			check_present(v, KEY(at, key), member, &kv->val);
	}
}

static void check_present(struct validation *v, const struct at *at, const struct kube_schema *s,
			  const value *obj)
{
	uint32_t i = 0;

	if (s->kind == SCHEMA_OBJECT && v_is_map(obj))
		check_members(v, at, s, obj);
	else if (s->kind == SCHEMA_LIST)
		v_each(el, obj)
			check_present(v, INDEX(at, i++), s->item, el);
	else if (s->kind == SCHEMA_MAP)
		v_each_kv(kv, obj)
			check_present(v, KEY(at, v_as_str(&kv->key)), s->item, &kv->val);
}

/* Every field that the description requires, below spec and the like. */
static void check_required_fields(struct validation *v, const value *obj)
{
	v_each_kv(kv, obj) {
		struct str key = v_as_str(&kv->key);
		const struct kube_field *f = schema_field(v->r->schema, key);

		if (f && !str_eq(key, STR("metadata")) && !str_eq(key, STR("status")))
			check_present(v, FIELD(NULL, f->name.p), f->type, &kv->val);
	}
}

/* --- Entry point ------------------------------------------------------------------- */

void kube_validate(zone *z, const struct kube_resource *r, const value *obj, const value *old,
		   struct str sub, struct kube_errors *errs)
{
	static const struct rules plain;
	struct validation v = {.z = z, .errs = errs, .r = r};
	const struct rules *k = r->type < TYPE_MAX ? &kinds[r->type] : &plain;
	const struct at *meta = FIELD(NULL, "metadata");

	errs->z = z;
	check_metadata(&v, meta, v_get(obj, "metadata"), r->namespaced,
		       k->name ? k->name : names_subdomain);
	if (old)
		check_metadata_update(&v, meta, v_get(obj, "metadata"), v_get(old, "metadata"));
	if (k->validate)
		k->validate(&v, obj, old, sub);
	else if (!sub.n)
		check_required_fields(&v, obj);
}
