/* validate_other.c - storage, roles, priorities, budgets, autoscalers. */
#include "procs/kube/validate.h"

/* --- Storage ------------------------------------------------------------------------ */

static const char *const access_modes[] = {"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce",
					   "ReadWriteOncePod", NULL};

static void check_access_modes(struct validation *v, const value *modes)
{
	v_each(m, modes) {
		bool good = false;

		for (const char *const *p = access_modes; *p; p++)
			good |= str_is(v_as_str(m), *p);
		if (!good)
			bad_supported(v, FIELD(SPEC, "accessModes"), m, access_modes);
	}
}

static bool is_positive(const value *q)
{
	int64_t n = 0;

	kube_quantity_milli(q, &n);
	return n > 0;
}

/* Of a claim that exists only its volume may change; once it is bound, its
 * size (upwards) and its class of attributes. */
static void check_claim_update(struct validation *v, const value *obj, const value *old)
{
	static const char *const free_fields[] = {"volumeName", "resources",
						  "volumeAttributesClassName"};
	value now = v_copy(v->z, v_get(obj, "spec"));
	const value *was = v_get(old, "spec");
	bool bound = is_str(v_get(old, "status"), "phase", "Bound");
	int64_t before = 0, after = 0;

	for (size_t i = 0; i < (bound ? countof(free_fields) : 1); i++) {
		const value *m = v_get(was, free_fields[i]);

		if (m)
			v_set(v->z, &now, free_fields[i], *m);
		else
			v_del(&now, free_fields[i]);
	}
	kube_quantity_milli(v_path(was, "resources.requests.storage"), &before);
	kube_quantity_milli(v_path(obj, "spec.resources.requests.storage"), &after);
	if (bound && after < before)
		bad_forbidden(v, FIELD(FIELD(FIELD(SPEC, "resources"), "requests"), "storage"),
			      "field can not be less than previous value");
	if (!v_equal(&now, was))
		bad_forbidden(v, SPEC,
			      "spec is immutable after creation except resources.requests and "
			      "volumeAttributesClassName for bound claims");
	if (v_get_str(was, "volumeName").n)
		check_immutable(v, FIELD(SPEC, "volumeName"), v_path(obj, "spec.volumeName"),
				v_get(was, "volumeName"));
}

void validate_claim(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec");
	const value *size = v_path(spec, "resources.requests.storage");
	const struct at *storage = KEY(FIELD(SPEC, "resources"), STR("storage"));

	if (str_eq(sub, STR("status")))
		return;
	if (!v_len(v_get(spec, "accessModes")))
		bad_required(v, FIELD(SPEC, "accessModes"), "at least 1 access mode is required");
	check_access_modes(v, v_get(spec, "accessModes"));
	if (!size)
		bad_required(v, storage, NULL);
	else if (!is_positive(size))
		bad_invalid(v, storage, size, "must be greater than zero");
	if (v_get_str(spec, "storageClassName").n)
		check_name(v, FIELD(SPEC, "storageClassName"), v_get_str(spec, "storageClassName"),
			   names_subdomain);
	check_one_of(v, SPEC, spec, "volumeMode", LIST("Block", "Filesystem"));
	check_selector(v, FIELD(SPEC, "selector"), v_get(spec, "selector"));
	if (old)
		check_claim_update(v, obj, old);
}

/* In Kubernetes' order. */
static const char *const volume_sources[] = {
	"hostPath",
	"gcePersistentDisk",
	"awsElasticBlockStore",
	"glusterfs",
	"flocker",
	"nfs",
	"rbd",
	"quobyte",
	"cephfs",
	"iscsi",
	"cinder",
	"fc",
	"azureFile",
	"vsphereVolume",
	"photonPersistentDisk",
	"portworxVolume",
	"azureDisk",
	"scaleIO",
	"local",
	"storageos",
	"csi",
};

static void check_volume_source(struct validation *v, const value *spec)
{
	uint32_t n = 0;

	for (size_t i = 0; i < countof(volume_sources); i++) {
		const struct at *at = FIELD(SPEC, volume_sources[i]);
		const value *s = v_get(spec, volume_sources[i]);

		if (!v_is_map(s))
			continue;
		if (n++)
			bad_forbidden(v, at, "may not specify more than 1 volume type");
		else if (!strcmp(volume_sources[i], "hostPath"))
			check_required(v, at, s, "path");
	}
	if (!n)
		bad_required(v, SPEC, "must specify a volume type");
}

void validate_volume(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *capacity = v_get(spec, "capacity");
	const value *size = v_get(capacity, "storage");
	const struct at *at = FIELD(SPEC, "capacity"), *storage = KEY(at, STR("storage"));
	int64_t n = 0;

	if (str_eq(sub, STR("status")))
		return;
	if (!v_len(v_get(spec, "accessModes")))
		bad_required(v, FIELD(SPEC, "accessModes"), NULL);
	check_access_modes(v, v_get(spec, "accessModes"));
	if (!v_len(capacity))
		bad_required(v, at, NULL);
	if (!size || v_len(capacity) > 1)
		bad_supported(v, at, v_len(capacity) ? capacity : NULL, LIST("storage"));
	else if (!is_positive(size)) {
		kube_quantity_milli(size, &n);
		if (n < 0)
			bad_invalid(v, storage,
				    &(value){.type = MSGPACK_OBJECT_NEGATIVE_INTEGER,
					     .via.i64 = n / 1000},
				    "must be a valid resource quantity");
		bad_invalid(v, storage, size, "must be greater than zero");
	}
	check_one_of(v, SPEC, spec, "persistentVolumeReclaimPolicy",
		     LIST("Delete", "Recycle", "Retain"));
	check_one_of(v, SPEC, spec, "volumeMode", LIST("Block", "Filesystem"));
	check_volume_source(v, spec);
}

void validate_storage_class(struct validation *v, const value *obj, const value *old,
			    struct str sub)
{
	static const char *const fixed[] = {"parameters", "provisioner", "reclaimPolicy",
					    "volumeBindingMode"};

	if (check_required(v, NULL, obj, "provisioner"))
		check_name(v, FIELD(NULL, "provisioner"), v_get_str(obj, "provisioner"),
			   names_qualified);
	check_one_of(v, NULL, obj, "reclaimPolicy", LIST("Delete", "Retain"));
	check_one_of(v, NULL, obj, "volumeBindingMode", LIST("Immediate", "WaitForFirstConsumer"));
	for (size_t i = 0; old && i < countof(fixed); i++)
		if (!is_same(v_get(obj, fixed[i]), v_get(old, fixed[i])))
			bad_invalid(v, FIELD(NULL, fixed[i]), NULL, "field is immutable");
}

/* --- Priorities --------------------------------------------------------------------- */

#define USER_PRIORITY_MAX 1000000000

void validate_priority_class(struct validation *v, const value *obj, const value *old,
			     struct str sub)
{
	struct str name = v_get_str(v_get(obj, "metadata"), "name");
	bool system = str_eq(name, STR("system-node-critical")) ||
		      str_eq(name, STR("system-cluster-critical"));

	if (has_prefix(name, "system-") && !system)
		bad_forbidden(v, FIELD(FIELD(NULL, "metadata"), "name"),
			      "priority class names with 'system-' prefix are reserved for system "
			      "use only. error: " STR_FMT " is not a known system priority class",
			      STR_ARG(name));
	else if (!system && v_get_int(obj, "value", 0) > USER_PRIORITY_MAX)
		bad_forbidden(v, FIELD(NULL, "value"),
			      "maximum allowed value of a user defined priority is %d",
			      USER_PRIORITY_MAX);
	check_one_of(v, NULL, obj, "preemptionPolicy", LIST("PreemptLowerPriority", "Never"));
	if (!old)
		return;
	if (v_get_int(obj, "value", 0) != v_get_int(old, "value", 0))
		bad_forbidden(v, FIELD(NULL, "value"), "may not be changed in an update.");
	check_immutable(v, FIELD(NULL, "preemptionPolicy"), v_get(obj, "preemptionPolicy"),
			v_get(old, "preemptionPolicy"));
}

void validate_budget(struct validation *v, const value *obj, const value *old, struct str sub)
{
	static const char *const fields[] = {"minAvailable", "maxUnavailable"};
	const value *spec = v_get(obj, "spec");
	value shown = v_map();

	if (str_eq(sub, STR("status")))
		return;
	if (v_get(spec, "minAvailable") && v_get(spec, "maxUnavailable")) {
		v_set(v->z, &shown, "MinAvailable", *v_get(spec, "minAvailable"));
		v_set(v->z, &shown, "Selector",
		      v_get(spec, "selector") ? *v_get(spec, "selector") : v_null());
		v_set(v->z, &shown, "MaxUnavailable", *v_get(spec, "maxUnavailable"));
		v_set(v->z, &shown, "UnhealthyPodEvictionPolicy",
		      v_get(spec, "unhealthyPodEvictionPolicy")
			      ? *v_get(spec, "unhealthyPodEvictionPolicy")
			      : v_null());
		bad_invalid(v, SPEC, &shown, "minAvailable and maxUnavailable cannot be both set");
	}
	for (size_t i = 0; i < countof(fields); i++) {
		const value *n = v_get(spec, fields[i]);

		if (v_is_str(n)) {
			if (check_name(v, FIELD(SPEC, fields[i]), v_as_str(n), names_percent) &&
			    kube_int_or_percent(n, 100, false, 0) > 100)
				bad_invalid(v, FIELD(SPEC, fields[i]), n,
					    "must not be greater than 100%%");
		} else {
			check_not_negative(v, SPEC, spec, fields[i]);
		}
	}
	check_selector(v, FIELD(SPEC, "selector"), v_get(spec, "selector"));
}

/* --- Roles ----------------------------------------------------------------- */

static void check_rule(struct validation *v, const struct at *at, const value *r, bool cluster)
{
	if (!v_len(v_get(r, "verbs")))
		bad_required(v, FIELD(at, "verbs"), NULL);
	if (v_len(v_get(r, "nonResourceURLs"))) {
		if (!cluster)
			bad_invalid(v, FIELD(at, "nonResourceURLs"), v_get(r, "nonResourceURLs"),
				    "namespaced rules cannot apply to non-resource URLs");
		else if (v_len(v_get(r, "apiGroups")) || v_len(v_get(r, "resources")) ||
			 v_len(v_get(r, "resourceNames")))
			bad_invalid(v, FIELD(at, "nonResourceURLs"), v_get(r, "nonResourceURLs"),
				    "rules cannot apply to both regular resources and non-resource "
				    "URLs");
		return;
	}
	if (!v_len(v_get(r, "apiGroups")))
		bad_required(v, FIELD(at, "apiGroups"),
			     "resource rules must supply at least one api group");
	if (!v_len(v_get(r, "resources")))
		bad_required(v, FIELD(at, "resources"),
			     "resource rules must supply at least one resource");
}

void validate_role(struct validation *v, const value *obj, const value *old, struct str sub)
{
	uint32_t i = 0;

	v_each(r, v_get(obj, "rules"))
		check_rule(v, INDEX(FIELD(NULL, "rules"), i++), r, !v->r->namespaced);
}

static void check_subject(struct validation *v, const struct at *at, const value *s)
{
	if (!check_required(v, at, s, "name"))
		return;
	if (is_str(s, "kind", "ServiceAccount")) {
		check_name(v, FIELD(at, "name"), v_get_str(s, "name"), names_subdomain);
		if (!v_get_str(s, "namespace").n && !v->r->namespaced)
			bad_required(v, FIELD(at, "namespace"), NULL);
	} else if (!is_str(s, "kind", "User") && !is_str(s, "kind", "Group")) {
		bad_supported(v, FIELD(at, "kind"), SHOW(v_get_str(s, "kind")),
			      LIST("ServiceAccount", "User", "Group"));
	}
}

static value shown_ref(zone *z, const value *ref)
{
	value shown = v_map();

	v_set(z, &shown, "APIGroup", v_str(v_get_str(ref, "apiGroup")));
	v_set(z, &shown, "Kind", v_str(v_get_str(ref, "kind")));
	v_set(z, &shown, "Name", v_str(v_get_str(ref, "name")));
	return shown;
}

void validate_role_binding(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *ref = v_get(obj, "roleRef");
	const struct at *at = FIELD(NULL, "roleRef");
	uint32_t i = 0;

	if (!is_str(ref, "apiGroup", "rbac.authorization.k8s.io"))
		bad_supported(v, FIELD(at, "apiGroup"), SHOW(v_get_str(ref, "apiGroup")),
			      LIST("rbac.authorization.k8s.io"));
	if (!is_str(ref, "kind", "ClusterRole") &&
	    !(v->r->namespaced && is_str(ref, "kind", "Role"))) {
		if (v->r->namespaced)
			bad_supported(v, FIELD(at, "kind"), SHOW(v_get_str(ref, "kind")),
				      LIST("Role", "ClusterRole"));
		else
			bad_supported(v, FIELD(at, "kind"), SHOW(v_get_str(ref, "kind")),
				      LIST("ClusterRole"));
	}
	if (check_required(v, at, ref, "name"))
		check_name(v, FIELD(at, "name"), v_get_str(ref, "name"), names_path_segment);
	v_each(s, v_get(obj, "subjects"))
		check_subject(v, INDEX(FIELD(NULL, "subjects"), i++), s);
	if (old && !v_equal(ref, v_get(old, "roleRef"))) {
		value shown = shown_ref(v->z, ref);

		bad_invalid(v, at, &shown, "field is immutable");
	}
}

/* --- HorizontalPodAutoscaler ----------------------------------------------- */

static bool scales_from_zero(const value *spec)
{
	v_each(m, v_get(spec, "metrics"))
		if (is_str(m, "type", "Object") || is_str(m, "type", "External"))
			return true;
	return false;
}

void validate_hpa(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *target = v_get(spec, "scaleTargetRef");
	const struct at *at = FIELD(SPEC, "scaleTargetRef");
	int64_t least = v_get_int(spec, "minReplicas", 1), most = v_get_int(spec, "maxReplicas", 0);

	if (str_eq(sub, STR("status")))
		return;
	check_not_negative(v, SPEC, spec, "minReplicas");
	if (!most)
		bad_required(v, FIELD(SPEC, "maxReplicas"), NULL);
	else if (most < 1)
		bad_invalid(v, FIELD(SPEC, "maxReplicas"), v_get(spec, "maxReplicas"),
			    "must be greater than 0");
	if (most < least)
		bad_invalid(v, FIELD(SPEC, "maxReplicas"), v_get(spec, "maxReplicas"),
			    "must be greater than or equal to `minReplicas`");
	if (check_required(v, at, target, "kind"))
		check_name(v, FIELD(at, "kind"), v_get_str(target, "kind"), names_path_segment);
	if (check_required(v, at, target, "name"))
		check_name(v, FIELD(at, "name"), v_get_str(target, "name"), names_path_segment);
	if (!memchr(v_get_str(target, "apiVersion").n ? v_get_str(target, "apiVersion").p : "-",
		    '/',
		    v_get_str(target, "apiVersion").n ? v_get_str(target, "apiVersion").n : 1) &&
	    !is_str(target, "apiVersion", "v1"))
		bad_invalid(v, FIELD(at, "apiVersion"), SHOW(v_get_str(target, "apiVersion")),
			    "apiVersion must specify API group");
	if (least == 0 && !scales_from_zero(spec))
		bad_forbidden(v, FIELD(SPEC, "metrics"),
			      "must specify at least one Object or External metric to support "
			      "scaling to zero replicas");
}

/* --- Small ones ------------------------------------------------------------ */

void validate_runtime_class(struct validation *v, const value *obj, const value *old,
			    struct str sub)
{
	check_name(v, FIELD(NULL, "handler"), v_get_str(obj, "handler"), names_label);
	if (old)
		check_immutable(v, FIELD(NULL, "handler"), v_get(obj, "handler"),
				v_get(old, "handler"));
}

void validate_csi_driver(struct validation *v, const value *obj, const value *old, struct str sub)
{
	static const char *const fixed[] = {"attachRequired", "volumeLifecycleModes"};
	const value *spec = v_get(obj, "spec");

	v_each(m, v_get(spec, "volumeLifecycleModes"))
		if (!str_eq(v_as_str(m), STR("Persistent")) &&
		    !str_eq(v_as_str(m), STR("Ephemeral")))
			bad_supported(v, FIELD(SPEC, "volumeLifecycleModes"), m,
				      LIST("Persistent", "Ephemeral"));
	check_one_of(v, SPEC, spec, "fsGroupPolicy",
		     LIST("ReadWriteOnceWithFSType", "File", "None"));
	for (size_t i = 0; old && i < countof(fixed); i++)
		check_immutable(v, FIELD(SPEC, fixed[i]), v_get(spec, fixed[i]),
				v_get(v_get(old, "spec"), fixed[i]));
}
