/*
 * table_others.c - columns of the remaining groups: network, storage, rights,
 * certificates, admission, flow control.
 */
#include "table_print.h"

/* --- Network ------------------------------------------------------------------------ */

#define SHOWN 3

/* " + 2 more..." after what is shown of `total`. */
static value shown_of(const struct row *row, struct joined *j, uint32_t total, const char *none)
{
	bool empty = !j->n;
	struct str text = join_done(row->z, j);

	if (empty)
		return cell_cstr(none);
	if (total <= SHOWN)
		return cell_of(text);
	return cell_of(zone_printf(row->z, STR_FMT " + %u more...", STR_ARG(text), total - SHOWN));
}

static value ingress_hosts(const struct row *row, const struct column *c)
{
	const value *rules = v_path(row->obj, "spec.rules");
	struct joined j = {.separator = ","};
	bool more = false;

	v_each(rule, rules) {
		struct str host = v_get_str(rule, "host");

		more |= j.n == SHOWN;
		if (!more && host.n)
			join_add(&j, host);
	}
	return shown_of(row, &j, more ? v_len(rules) : 0, "*");
}

static value ingress_address(const struct row *row, const struct column *c)
{
	return cell_of(balancer_addresses(row));
}

static value ingress_ports(const struct row *row, const struct column *c)
{
	return cell_cstr(v_len(v_path(row->obj, "spec.tls")) ? "80, 443" : "80");
}

static const struct column ingress_columns[] = {
	COLUMN_NAME,
	COLUMN("Class", cell_text, "spec.ingressClassName", "<none>"),
	COLUMN("Hosts", ingress_hosts, NULL, NULL),
	COLUMN("Address", ingress_address, NULL, NULL),
	COLUMN("Ports", ingress_ports, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* The name, marked when the annotation `path` makes it the default. */
static value name_or_default(const struct row *row, const struct column *c)
{
	struct str name = v_as_str(v_path(row->obj, "metadata.name"));
	struct str mark = v_get_str(v_path(row->obj, "metadata.annotations"), c->path);

	if (!str_eq(mark, STR("true")))
		return cell_of(name);
	return cell_of(zone_printf(row->z, STR_FMT " (default)", STR_ARG(name)));
}

static value ingress_parameters(const struct row *row, const struct column *c)
{
	const value *p = v_path(row->obj, "spec.parameters");
	struct str group = v_get_str(p, "apiGroup");

	if (!v_is_map(p))
		return cell_cstr("<none>");
	return cell_of(zone_printf(row->z, STR_FMT "%s" STR_FMT "/" STR_FMT,
				   STR_ARG(v_get_str(p, "kind")), v_get(p, "apiGroup") ? "." : "",
				   STR_ARG(group), STR_ARG(v_get_str(p, "name"))));
}

static const struct column ingress_class_columns[] = {
	{"Name", "string", "name", 0, name_or_default,
	 "ingressclass.kubernetes.io/is-default-class", NULL},
	COLUMN("Controller", cell_text, "spec.controller", ""),
	COLUMN("Parameters", ingress_parameters, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

static value slice_ports(const struct row *row, const struct column *c)
{
	const value *ports = v_get(row->obj, "ports");
	struct joined j = {.separator = ","};

	v_each(p, ports) {
		if (j.n == SHOWN)
			break;
		if (v_is_int(v_get(p, "port")))
			join_add(&j,
				 zone_printf(row->z, "%lld", (long long)v_get_int(p, "port", 0)));
		else
			join_add(&j, v_get(p, "name") ? v_get_str(p, "name") : STR("*"));
	}
	return shown_of(row, &j, v_len(ports), "<unset>");
}

static value slice_endpoints(const struct row *row, const struct column *c)
{
	struct joined j = {.separator = ","};
	uint32_t total = 0;

	v_each(endpoint, v_get(row->obj, "endpoints")) {
		v_each(address, v_get(endpoint, "addresses")) {
			if (j.n < SHOWN)
				join_add(&j, v_as_str(address));
			total++;
		}
	}
	return shown_of(row, &j, total, "<unset>");
}

static const struct column slice_columns[] = {
	COLUMN_NAME,
	COLUMN("AddressType", cell_text, "addressType", ""),
	COLUMN("Ports", slice_ports, NULL, NULL),
	COLUMN("Endpoints", slice_endpoints, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

static const struct column network_policy_columns[] = {
	COLUMN_NAME,
	COLUMN("Pod-Selector", cell_selector, "spec.podSelector", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column service_cidr_columns[] = {
	COLUMN_NAME,
	COLUMN("CIDRs", cell_join, "spec.cidrs", ""),
	COLUMN_AGE,
	COLUMN_END,
};

/* "services/default/kubernetes": what the address belongs to. */
static value address_parent(const struct row *row, const struct column *c)
{
	const value *ref = v_path(row->obj, "spec.parentRef");
	struct str group = v_get_str(ref, "group"), ns = v_get_str(ref, "namespace");

	if (!v_is_map(ref))
		return cell_cstr("<none>");
	return cell_of(zone_printf(row->z, STR_FMT "%s" STR_FMT "%s" STR_FMT "/" STR_FMT,
				   STR_ARG(v_get_str(ref, "resource")), group.n ? "." : "",
				   STR_ARG(group), ns.n ? "/" : "", STR_ARG(ns),
				   STR_ARG(v_get_str(ref, "name"))));
}

/* Kubernetes gives rows an age that no column is defined for. */
static const struct column address_columns[] = {
	COLUMN_NAME,
	COLUMN("ParentRef", address_parent, NULL, NULL),
	{"Age", NULL, "", 0, cell_age, NULL, NULL},
	COLUMN_END,
};

/* --- Storage ------------------------------------------------------------------------ */

static const struct column storage_class_columns[] = {
	{"Name", "string", "name", 0, name_or_default,
	 "storageclass.kubernetes.io/is-default-class", NULL},
	COLUMN("Provisioner", cell_text, "provisioner", ""),
	COLUMN("ReclaimPolicy", cell_text, "reclaimPolicy", "Delete"),
	COLUMN("VolumeBindingMode", cell_text, "volumeBindingMode", "Immediate"),
	COLUMN("AllowVolumeExpansion", cell_bool, "allowVolumeExpansion", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column attributes_class_columns[] = {
	COLUMN_NAME,
	COLUMN("DriverName", cell_text, "driverName", ""),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column attachment_columns[] = {
	COLUMN_NAME,
	{"Attacher", "string", "name", 0, cell_text, "spec.attacher", ""},
	COLUMN("PV", cell_text, "spec.source.persistentVolumeName", ""),
	COLUMN("Node", cell_text, "spec.nodeName", ""),
	COLUMN_BOOL("Attached", cell_bool, "status.attached", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column csi_node_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Drivers", cell_count, "spec.drivers", NULL),
	COLUMN_AGE,
	COLUMN_END,
};

static value csi_tokens(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "spec.tokenRequests");
	struct joined j = {.separator = ","};

	if (!v_is_array(list))
		return cell_cstr("<unset>");
	v_each(t, list)
		join_add(&j, v_get_str(t, "audience"));
	return cell_of(join_done(row->z, &j));
}

static const struct column csi_driver_columns[] = {
	COLUMN_NAME,
	COLUMN_BOOL("AttachRequired", cell_bool, "spec.attachRequired", "true"),
	COLUMN_BOOL("PodInfoOnMount", cell_bool, "spec.podInfoOnMount", NULL),
	COLUMN_BOOL("StorageCapacity", cell_bool, "spec.storageCapacity", NULL),
	COLUMN("TokenRequests", csi_tokens, NULL, NULL),
	COLUMN_BOOL("RequiresRepublish", cell_bool, "spec.requiresRepublish", NULL),
	COLUMN("Modes", cell_join, "spec.volumeLifecycleModes", "<none>"),
	COLUMN_AGE,
	COLUMN_END,
};

/* --- Rights ------------------------------------------------------------------------- */

static value role_ref(const struct row *row, const struct column *c)
{
	const value *ref = v_get(row->obj, "roleRef");

	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT, STR_ARG(v_get_str(ref, "kind")),
				   STR_ARG(v_get_str(ref, "name"))));
}

/* Subjects of kind `path`. */
static value subjects(const struct row *row, const struct column *c)
{
	bool accounts = strcmp(c->path, "ServiceAccount") == 0;
	struct joined j = {.separator = ", "};

	v_each(s, v_get(row->obj, "subjects")) {
		struct str name = v_get_str(s, "name");

		if (!str_is(v_get_str(s, "kind"), c->path))
			continue;
		join_add(&j,
			 accounts ? zone_printf(row->z, STR_FMT "/" STR_FMT,
						STR_ARG(v_get_str(s, "namespace")), STR_ARG(name))
				  : name);
	}
	return cell_of(join_done(row->z, &j));
}

static const struct column binding_columns[] = {
	COLUMN_NAME,
	COLUMN("Role", role_ref, NULL, NULL),
	COLUMN_AGE,
	COLUMN_WIDE("Users", subjects, "User", NULL),
	COLUMN_WIDE("Groups", subjects, "Group", NULL),
	COLUMN_WIDE("ServiceAccounts", subjects, "ServiceAccount", NULL),
	COLUMN_END,
};

/* --- Certificates ------------------------------------------------------------------- */

static value csr_duration(const struct row *row, const struct column *c)
{
	const value *s = v_path(row->obj, "spec.expirationSeconds");

	return v_is_int(s) ? cell_of(human_duration(row->z, v_as_int(s, 0))) : cell_cstr("<none>");
}

static value csr_condition(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "status.conditions");
	const char *state = "Pending";

	if (v_is_array(list) && kube_condition(list, "Denied"))
		state = "Denied";
	else if (v_is_array(list) && kube_condition(list, "Approved"))
		state = "Approved";
	return cell_of(
		zone_printf(row->z, "%s%s%s", state,
			    v_is_array(list) && kube_condition(list, "Failed") ? ",Failed" : "",
			    v_as_str(v_path(row->obj, "status.certificate")).n ? ",Issued" : ""));
}

static const struct column csr_columns[] = {
	COLUMN_NAME,
	COLUMN_AGE,
	COLUMN("SignerName", cell_text, "spec.signerName", "<none>"),
	COLUMN("Requestor", cell_text, "spec.username", ""),
	COLUMN("RequestedDuration", csr_duration, NULL, NULL),
	COLUMN("Condition", csr_condition, NULL, NULL),
	COLUMN_END,
};
static const struct column trust_bundle_columns[] = {
	COLUMN_NAME,
	COLUMN("SignerName", cell_text, "spec.signerName", "<none>"),
	COLUMN_END,
};

/* The last condition among those that end a request. */
static value request_state(const struct row *row, const struct column *c)
{
	struct str state = STR("Pending");

	v_each(condition, v_path(row->obj, "status.conditions")) {
		struct str type = v_get_str(condition, "type");

		if (str_eq(type, STR("Issued")) || str_eq(type, STR("Denied")) ||
		    str_eq(type, STR("Failed")))
			state = type;
	}
	return cell_of(state);
}

static const struct column pod_certificate_columns[] = {
	COLUMN_NAME,
	COLUMN("PodName", cell_text, "spec.podName", ""),
	COLUMN("ServiceAccountName", cell_text, "spec.serviceAccountName", ""),
	COLUMN("NodeName", cell_text, "spec.nodeName", ""),
	COLUMN("SignerName", cell_text, "spec.signerName", ""),
	COLUMN("State", request_state, NULL, NULL),
	COLUMN("UnverifiedUserAnnotations", cell_labels, "spec.unverifiedUserAnnotations", NULL),
	COLUMN_END,
};

/* --- Admission ------------------------------------------------------------- */

static value param_kind(const struct row *row, const struct column *c)
{
	const value *kind = v_path(row->obj, "spec.paramKind");

	if (!v_is_map(kind))
		return cell_cstr("<unset>");
	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT,
				   STR_ARG(v_get_str(kind, "apiVersion")),
				   STR_ARG(v_get_str(kind, "kind"))));
}

static value param_ref(const struct row *row, const struct column *c)
{
	const value *ref = v_path(row->obj, "spec.paramRef");
	struct str name = v_get_str(ref, "name"), ns = v_get_str(ref, "namespace");

	if (!name.n && v_is_map(v_get(ref, "selector"))) {
		const struct column selector = {.path = "spec.paramRef.selector"};

		return cell_selector(row, &selector);
	}
	if (!name.n)
		return cell_cstr("<unset>");
	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT, STR_ARG(ns.n ? ns : STR("*")),
				   STR_ARG(name)));
}

static const struct column webhook_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Webhooks", cell_count, "webhooks", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column validating_policy_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Validations", cell_count, "spec.validations", NULL),
	COLUMN("ParamKind", param_kind, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column mutating_policy_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Mutations", cell_count, "spec.mutations", NULL),
	COLUMN("ParamKind", param_kind, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column policy_binding_columns[] = {
	COLUMN_NAME,
	COLUMN("PolicyName", cell_text, "spec.policyName", ""),
	COLUMN("ParamRef", param_ref, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* --- Flow control, scheduling and other small ones ------------------------- */

static value flow_missing(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "status.conditions");
	const value *dangling = v_is_array(list) ? kube_condition(list, "Dangling") : NULL;

	return dangling ? cell_of(v_get_str(dangling, "status")) : cell_cstr("?");
}

static const struct column flow_columns[] = {
	COLUMN_NAME,
	COLUMN("PriorityLevel", cell_text, "spec.priorityLevelConfiguration.name", ""),
	COLUMN("MatchingPrecedence", cell_int, "spec.matchingPrecedence", NULL),
	COLUMN("DistinguisherMethod", cell_text, "spec.distinguisherMethod.type", "<none>"),
	COLUMN_AGE,
	COLUMN("MissingPL", flow_missing, NULL, NULL),
	COLUMN_END,
};

static value level_number(const struct row *row, const struct column *c)
{
	const value *v = v_path(row->obj, c->path);

	return v_is_int(v) ? v_int(v_as_int(v, 0)) : cell_cstr("<none>");
}

#define QUEUING "spec.limited.limitResponse.queuing."

static const struct column level_columns[] = {
	COLUMN_NAME,
	COLUMN("Type", cell_text, "spec.type", ""),
	COLUMN("NominalConcurrencyShares", level_number, "spec.limited.nominalConcurrencyShares",
	       NULL),
	COLUMN("Queues", level_number, QUEUING "queues", NULL),
	COLUMN("HandSize", level_number, QUEUING "handSize", NULL),
	COLUMN("QueueLengthLimit", level_number, QUEUING "queueLengthLimit", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column priority_columns[] = {
	COLUMN_NAME,
	COLUMN_INT("Value", cell_int, "value", NULL),
	COLUMN_BOOL("Global-Default", cell_bool, "globalDefault", NULL),
	COLUMN_AGE,
	COLUMN("PreemptionPolicy", cell_text, "preemptionPolicy", ""),
	COLUMN_END,
};
static const struct column lease_columns[] = {
	COLUMN_NAME,
	COLUMN("Holder", cell_text, "spec.holderIdentity", ""),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column runtime_class_columns[] = {
	COLUMN_NAME,
	COLUMN("Handler", cell_text, "handler", ""),
	COLUMN_AGE,
	COLUMN_END,
};

static value crd_versions(const struct row *row, const struct column *c)
{
	const value *versions = v_path(row->obj, "spec.versions");
	struct str *list = zone_alloc(row->z, (v_len(versions) + 1) * sizeof *list);
	struct joined j = {.separator = ","};
	uint32_t n = 0;

	v_each(v, versions)
		if (v_get_bool(v, "served", false))
			list[n++] = zone_printf(row->z, STR_FMT "%s", STR_ARG(v_get_str(v, "name")),
						v_get_bool(v, "storage", false) ? "(storage)" : "");
	sort_texts(list, n);
	for (uint32_t i = 0; i < n; i++)
		join_add(&j, list[i]);
	return cell_of(join_done(row->z, &j));
}

static value crd_established(const struct row *row, const struct column *c)
{
	return v_bool(is_condition_true(v_path(row->obj, "status.conditions"), "Established"));
}

static const struct column crd_columns[] = {
	COLUMN_NAME,
	COLUMN("Scope", cell_text, "spec.scope", ""),
	COLUMN("Versions", crd_versions, NULL, NULL),
	{"Created At", "date", "", 0, cell_created, NULL, NULL},
	COLUMN_WIDE("Group", cell_text, "spec.group", ""),
	COLUMN_WIDE("Kind", cell_text, "spec.names.kind", ""),
	COLUMN_WIDE("ShortNames", cell_join, "spec.names.shortNames", ""),
	{"Established", "boolean", "", 1, crd_established, NULL, NULL},
	COLUMN_END,
};

static value apiservice_service(const struct row *row, const struct column *c)
{
	const value *s = v_path(row->obj, "spec.service");

	if (!v_is_map(s))
		return cell_cstr("Local");
	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT, STR_ARG(v_get_str(s, "namespace")),
				   STR_ARG(v_get_str(s, "name"))));
}

static value apiservice_available(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "status.conditions");
	const value *available = v_is_array(list) ? kube_condition(list, "Available") : NULL;
	struct str status = v_get_str(available, "status"), reason = v_get_str(available, "reason");

	if (!available)
		return cell_cstr("Unknown");
	if (str_eq(status, STR("True")) || !reason.n)
		return cell_of(status);
	return cell_of(
		zone_printf(row->z, STR_FMT " (" STR_FMT ")", STR_ARG(status), STR_ARG(reason)));
}

static const struct column apiservice_columns[] = {
	COLUMN_NAME,
	COLUMN("Service", apiservice_service, NULL, NULL),
	COLUMN("Available", apiservice_available, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

static value migration_resource(const struct row *row, const struct column *c)
{
	const value *r = v_path(row->obj, "spec.resource");
	struct str group = v_get_str(r, "group");

	return cell_of(zone_printf(row->z, STR_FMT "%s" STR_FMT, STR_ARG(v_get_str(r, "resource")),
				   group.n ? "." : "", STR_ARG(group)));
}

static value migration_status(const struct row *row, const struct column *c)
{
	struct str state = STR("Unknown");

	v_each(condition, v_path(row->obj, "status.conditions")) {
		struct str type = v_get_str(condition, "type");

		if (str_eq(v_get_str(condition, "status"), STR("True")) &&
		    (str_eq(type, STR("Running")) || str_eq(type, STR("Failed")) ||
		     str_eq(type, STR("Succeeded"))))
			state = type;
	}
	return cell_of(state);
}

static const struct column migration_columns[] = {
	{"Name", "string", "", 0, cell_name, NULL, NULL},
	COLUMN("Resource", migration_resource, NULL, NULL),
	COLUMN("Status", migration_status, NULL, NULL),
	COLUMN_END,
};

#define ADMISSION "admissionregistration.k8s.io"
#define RBAC	  "rbac.authorization.k8s.io"
#define FLOW	  "flowcontrol.apiserver.k8s.io"

const struct table table_others[] = {
	{"networking.k8s.io", "Ingress", ingress_columns},
	{"networking.k8s.io", "IngressClass", ingress_class_columns},
	{"networking.k8s.io", "NetworkPolicy", network_policy_columns},
	{"networking.k8s.io", "ServiceCIDR", service_cidr_columns},
	{"networking.k8s.io", "IPAddress", address_columns},
	{"discovery.k8s.io", "EndpointSlice", slice_columns},
	{"storage.k8s.io", "StorageClass", storage_class_columns},
	{"storage.k8s.io", "VolumeAttributesClass", attributes_class_columns},
	{"storage.k8s.io", "VolumeAttachment", attachment_columns},
	{"storage.k8s.io", "CSINode", csi_node_columns},
	{"storage.k8s.io", "CSIDriver", csi_driver_columns},
	{RBAC, "RoleBinding", binding_columns},
	{RBAC, "ClusterRoleBinding", binding_columns},
	{"certificates.k8s.io", "CertificateSigningRequest", csr_columns},
	{"certificates.k8s.io", "ClusterTrustBundle", trust_bundle_columns},
	{"certificates.k8s.io", "PodCertificateRequest", pod_certificate_columns},
	{ADMISSION, "MutatingWebhookConfiguration", webhook_columns},
	{ADMISSION, "ValidatingWebhookConfiguration", webhook_columns},
	{ADMISSION, "ValidatingAdmissionPolicy", validating_policy_columns},
	{ADMISSION, "MutatingAdmissionPolicy", mutating_policy_columns},
	{ADMISSION, "ValidatingAdmissionPolicyBinding", policy_binding_columns},
	{ADMISSION, "MutatingAdmissionPolicyBinding", policy_binding_columns},
	{FLOW, "FlowSchema", flow_columns},
	{FLOW, "PriorityLevelConfiguration", level_columns},
	{"scheduling.k8s.io", "PriorityClass", priority_columns},
	{"coordination.k8s.io", "Lease", lease_columns},
	{"node.k8s.io", "RuntimeClass", runtime_class_columns},
	{"apiextensions.k8s.io", "CustomResourceDefinition", crd_columns},
	{"apiregistration.k8s.io", "APIService", apiservice_columns},
	{"storagemigration.k8s.io", "StorageVersionMigration", migration_columns},
	{NULL, NULL, NULL},
};
