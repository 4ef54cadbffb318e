/* default.c - the walk that sets defaults, and the table of what it sets. */
#include <stdlib.h>

#include "procs/kube/default.h"
#include "weft/kube.h"
#include "weft/schema.h"

/* --- The table ------------------------------------------------------------------- */

/* clang-format off */
#define STRING(f, s) {f, PRESET_STR, s, 0}
#define INT(f, n) {f, PRESET_INT, NULL, n}
#define BOOL(f, b) {f, PRESET_BOOL, NULL, b}
#define MAP(f) {f, PRESET_MAP, NULL, 0}
#define PRESETS(...) .presets = (const struct preset[]){__VA_ARGS__, {0}}
/* clang-format on */

#define FILE_MODE 0644
#define WEBHOOK                                                               \
	STRING("failurePolicy", "Fail"), STRING("matchPolicy", "Equivalent"), \
		MAP("namespaceSelector"), MAP("objectSelector"), INT("timeoutSeconds", 10)

const struct type_defaults kube_type_defaults[S_COUNT] = {
	/* core */
	[S_CORE_V1_REPLICATIONCONTROLLER] = {.set = default_replication_controller},
	[S_CORE_V1_VOLUME] = {.set = default_volume},
	[S_CORE_V1_CONTAINER] = {PRESETS(STRING("terminationMessagePath", "/dev/termination-log"),
					 STRING("terminationMessagePolicy", "File")),
				 .set = default_container},
	[S_CORE_V1_EPHEMERALCONTAINER] = {PRESETS(STRING("terminationMessagePath",
							 "/dev/termination-log"),
						  STRING("terminationMessagePolicy", "File")),
					  .set = default_container},
	[S_CORE_V1_SERVICE] = {.set = default_service},
	[S_CORE_V1_POD] = {.set = default_pod},
	[S_CORE_V1_PODSTATUS] = {.set = default_pod_status},
	[S_CORE_V1_PODSPEC] = {PRESETS(STRING("dnsPolicy", "ClusterFirst"),
				       STRING("restartPolicy", "Always"), MAP("securityContext"),
				       INT("terminationGracePeriodSeconds", 30),
				       STRING("schedulerName", "default-scheduler")),
			       .set = default_pod_spec},
	[S_CORE_V1_PROBE] = {PRESETS(INT("timeoutSeconds", 1), INT("periodSeconds", 10),
				     INT("successThreshold", 1), INT("failureThreshold", 3))},
	[S_CORE_V1_HTTPGETACTION] = {PRESETS(STRING("path", "/"), STRING("scheme", "HTTP"))},
	[S_CORE_V1_SECRETVOLUMESOURCE] = {PRESETS(INT("defaultMode", FILE_MODE))},
	[S_CORE_V1_CONFIGMAPVOLUMESOURCE] = {PRESETS(INT("defaultMode", FILE_MODE))},
	[S_CORE_V1_DOWNWARDAPIVOLUMESOURCE] = {PRESETS(INT("defaultMode", FILE_MODE))},
	[S_CORE_V1_PROJECTEDVOLUMESOURCE] = {PRESETS(INT("defaultMode", FILE_MODE))},
	[S_CORE_V1_SERVICEACCOUNTTOKENPROJECTION] = {PRESETS(INT("expirationSeconds", 3600))},
	[S_CORE_V1_HOSTPATHVOLUMESOURCE] = {PRESETS(STRING("type", ""))},
	[S_CORE_V1_OBJECTFIELDSELECTOR] = {PRESETS(STRING("apiVersion", "v1"))},
	[S_CORE_V1_SECRET] = {PRESETS(STRING("type", "Opaque")), .set = default_secret},
	[S_CORE_V1_PERSISTENTVOLUMESPEC] = {PRESETS(
		STRING("persistentVolumeReclaimPolicy", "Retain"),
		STRING("volumeMode", "Filesystem"))},
	[S_CORE_V1_PERSISTENTVOLUMESTATUS] = {PRESETS(STRING("phase", "Pending"))},
	[S_CORE_V1_PERSISTENTVOLUMECLAIMSPEC] = {PRESETS(STRING("volumeMode", "Filesystem"))},
	[S_CORE_V1_PERSISTENTVOLUMECLAIMSTATUS] = {PRESETS(STRING("phase", "Pending"))},
	[S_CORE_V1_ENDPOINTPORT] = {PRESETS(STRING("protocol", "TCP"))},
	[S_CORE_V1_NAMESPACE] = {.set = default_namespace},
	[S_CORE_V1_NAMESPACESTATUS] = {PRESETS(STRING("phase", "Active"))},
	[S_CORE_V1_NODESTATUS] = {.set = default_node_status},
	[S_CORE_V1_LIMITRANGEITEM] = {.set = default_limit_range_item},
	/* apps */
	[S_APPS_V1_DEPLOYMENTSPEC] = {PRESETS(INT("replicas", 1), MAP("strategy"),
					      INT("revisionHistoryLimit", 10),
					      INT("progressDeadlineSeconds", 600))},
	[S_APPS_V1_DEPLOYMENTSTRATEGY] = {.set = default_deployment_strategy},
	[S_APPS_V1_DAEMONSETSPEC] = {PRESETS(MAP("updateStrategy"),
					     INT("revisionHistoryLimit", 10))},
	[S_APPS_V1_DAEMONSETUPDATESTRATEGY] = {.set = default_daemonset_strategy},
	[S_APPS_V1_STATEFULSETSPEC] = {PRESETS(STRING("podManagementPolicy", "OrderedReady"),
					       MAP("updateStrategy"),
					       MAP("persistentVolumeClaimRetentionPolicy"),
					       INT("replicas", 1), INT("revisionHistoryLimit", 10)),
				       .set = default_statefulset_spec},
	[S_APPS_V1_STATEFULSETPERSISTENTVOLUMECLAIMRETENTIONPOLICY] = {PRESETS(
		STRING("whenDeleted", "Retain"), STRING("whenScaled", "Retain"))},
	[S_APPS_V1_REPLICASETSPEC] = {PRESETS(INT("replicas", 1))},
	/* batch */
	[S_BATCH_V1_JOB] = {.set = default_job},
	[S_BATCH_V1_CRONJOBSPEC] = {PRESETS(
		STRING("concurrencyPolicy", "Allow"), BOOL("suspend", false),
		INT("successfulJobsHistoryLimit", 3), INT("failedJobsHistoryLimit", 1))},
	[S_BATCH_V1_PODFAILUREPOLICYONPODCONDITIONSPATTERN] = {PRESETS(STRING("status", "True"))},
	/* autoscaling */
	[S_AUTOSCALING_V1_HORIZONTALPODAUTOSCALERSPEC] = {PRESETS(INT("minReplicas", 1))},
	[S_AUTOSCALING_V1_HORIZONTALPODAUTOSCALER] = {.set = default_hpa_v1_spec},
	[S_AUTOSCALING_V2_HORIZONTALPODAUTOSCALERSPEC] = {PRESETS(INT("minReplicas", 1)),
							  .set = default_hpa_v2_spec},
	[S_AUTOSCALING_V2_HORIZONTALPODAUTOSCALERBEHAVIOR] = {.set = default_hpa_behavior},
	/* admissionregistration */
	[S_ADMISSIONREGISTRATION_V1_VALIDATINGWEBHOOK] = {PRESETS(WEBHOOK)},
	[S_ADMISSIONREGISTRATION_V1_MUTATINGWEBHOOK] = {PRESETS(
		WEBHOOK, STRING("reinvocationPolicy", "Never"))},
	[S_ADMISSIONREGISTRATION_V1_RULEWITHOPERATIONS] = {PRESETS(STRING("scope", "*"))},
	[S_ADMISSIONREGISTRATION_V1_NAMEDRULEWITHOPERATIONS] = {PRESETS(STRING("scope", "*"))},
	[S_ADMISSIONREGISTRATION_V1_SERVICEREFERENCE] = {PRESETS(INT("port", 443))},
	[S_ADMISSIONREGISTRATION_V1_VALIDATINGADMISSIONPOLICYSPEC] = {PRESETS(
		STRING("failurePolicy", "Fail"))},
	[S_ADMISSIONREGISTRATION_V1_MUTATINGADMISSIONPOLICYSPEC] = {PRESETS(
		STRING("failurePolicy", "Fail"))},
	[S_ADMISSIONREGISTRATION_V1_MATCHRESOURCES] = {PRESETS(STRING("matchPolicy", "Equivalent"),
							       MAP("namespaceSelector"),
							       MAP("objectSelector"))},
	/* others */
	[S_APIREGISTRATION_V1_SERVICEREFERENCE] = {PRESETS(INT("port", 443))},
	[S_APIEXTENSIONS_V1_SERVICEREFERENCE] = {PRESETS(INT("port", 443))},
	[S_APIEXTENSIONS_V1_CUSTOMRESOURCEDEFINITION] = {.set = default_crd},
	[S_AUTHENTICATION_V1_TOKENREQUESTSPEC] = {PRESETS(INT("expirationSeconds", 3600))},
	[S_DISCOVERY_V1_ENDPOINTPORT] = {PRESETS(STRING("name", ""), STRING("protocol", "TCP"))},
	[S_FLOWCONTROL_V1_FLOWSCHEMASPEC] = {PRESETS(INT("matchingPrecedence", 1000))},
	[S_FLOWCONTROL_V1_EXEMPTPRIORITYLEVELCONFIGURATION] = {PRESETS(
		INT("nominalConcurrencyShares", 0), INT("lendablePercent", 0))},
	[S_FLOWCONTROL_V1_LIMITEDPRIORITYLEVELCONFIGURATION] = {PRESETS(
		INT("nominalConcurrencyShares", 30), INT("lendablePercent", 0))},
	[S_FLOWCONTROL_V1_QUEUINGCONFIGURATION] = {PRESETS(INT("handSize", 8), INT("queues", 64),
							   INT("queueLengthLimit", 50))},
	[S_NETWORKING_V1_NETWORKPOLICYPORT] = {PRESETS(STRING("protocol", "TCP"))},
	[S_NETWORKING_V1_NETWORKPOLICYSPEC] = {.set = default_network_policy_spec},
	[S_NETWORKING_V1_INGRESSCLASSPARAMETERSREFERENCE] = {PRESETS(STRING("scope", "Cluster"))},
	[S_RBAC_V1_ROLEREF] = {PRESETS(STRING("apiGroup", "rbac.authorization.k8s.io"))},
	[S_RBAC_V1_SUBJECT] = {.set = default_rbac_subject},
	[S_SCHEDULING_V1_PRIORITYCLASS] = {PRESETS(
		STRING("preemptionPolicy", "PreemptLowerPriority"))},
	[S_STORAGE_V1_STORAGECLASS] = {PRESETS(STRING("reclaimPolicy", "Delete"),
					       STRING("volumeBindingMode", "Immediate"))},
	[S_STORAGE_V1_CSIDRIVERSPEC] = {PRESETS(BOOL("attachRequired", true),
						BOOL("podInfoOnMount", false),
						BOOL("storageCapacity", false),
						STRING("fsGroupPolicy", "ReadWriteOnceWithFSType"),
						BOOL("requiresRepublish", false),
						BOOL("seLinuxMount", false),
						BOOL("preventPodSchedulingIfMissing", false)),
					.set = default_csi_driver_spec},
};

/* --- The walk ---------------------------------------------------------------------- */

static const struct type_defaults *defaults_of(const struct kube_schema *s)
{
	uint32_t n;
	const struct kube_schema *first = kube_schemas(&n);

	return s >= first && s < first + n ? &kube_type_defaults[s - first] : NULL;
}

static value preset_value(const struct preset *p)
{
	switch (p->kind) {
	case PRESET_STR:
		return v_cstr(p->text);
	case PRESET_INT:
		return v_int(p->number);
	case PRESET_BOOL:
		return v_bool(p->number);
	case PRESET_MAP:
		break;
	}
	return v_map();
}

/* A schema's default is a JSON scalar. */
static value json_scalar(const char *json)
{
	size_t n = strlen(json);

	if (json[0] == '"')
		return v_str((struct str){json + 1, (uint32_t)n - 2});
	if (!strcmp(json, "true") || !strcmp(json, "false"))
		return v_bool(json[0] == 't');
	return v_int(strtoll(json, NULL, 10));
}

static bool is_zero_json(const char *json)
{
	return !strcmp(json, "0") || !strcmp(json, "\"\"") || !strcmp(json, "false");
}

/* What a field that is always stored holds when nothing was given. */
static value empty_value(const struct kube_field *f)
{
	if (f->mode == MODE_NULL)
		return v_null();
	switch (f->type->kind) {
	case SCHEMA_STRING:
		return v_cstr("");
	case SCHEMA_BOOL:
		return v_bool(false);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_DOUBLE:
	case SCHEMA_INT_OR_STRING:
		return v_int(0);
	case SCHEMA_QUANTITY:
		return v_cstr("0");
	case SCHEMA_OBJECT:
		return v_map();
	default:
		return v_null();
	}
}

static void schema_defaults(zone *z, const struct kube_schema *s, value *v)
{
	for (uint32_t i = 0; i < s->nfields; i++) {
		const struct kube_field *f = &s->fields[i];

		if (!f->default_json && f->mode != MODE_ZERO && f->mode != MODE_NULL)
			continue;
		if (!v_is_null(v_getn(v, f->name)))
			continue;
		if (f->default_json && !(f->mode == MODE_OMIT && is_zero_json(f->default_json)))
			v_setn(z, v, f->name, json_scalar(f->default_json));
		else if (f->mode != MODE_OMIT)
			v_setn(z, v, f->name, empty_value(f));
	}
}

static void fill(zone *z, const struct kube_schema *s, value *v)
{
	const struct type_defaults *d;

	if (s->kind == SCHEMA_LIST) {
		v_each(el, v)
			fill(z, s->item, el);
		return;
	}
	if (!v_is_map(v) || (s->kind != SCHEMA_OBJECT && s->kind != SCHEMA_MAP))
		return;
	d = s->kind == SCHEMA_OBJECT ? defaults_of(s) : NULL;
	for (const struct preset *p = d ? d->presets : NULL; p && p->field; p++)
		if (v_is_null(v_get(v, p->field)))
			v_set(z, v, p->field, preset_value(p));
	if (d && d->set)
		d->set(z, v);
	schema_defaults(z, s, v);
	v_each_kv(kv, v) {
		const struct kube_schema *member = schema_member(s, v_as_str(&kv->key));

		if (member && (v_is_map(&kv->val) || v_is_array(&kv->val)))
			fill(z, member, &kv->val);
	}
}

void kube_default_as(zone *z, const struct kube_schema *schema, value *obj)
{
	fill(z, schema, obj);
}

void kube_default(zone *z, const struct kube_resource *r, value *obj)
{
	fill(z, r->schema, obj);
}

void kube_default_template(zone *z, value *template)
{
	uint32_t n;

	fill(z, &kube_schemas(&n)[S_CORE_V1_PODTEMPLATESPEC], template);
}
