/*
 * table_core.c - columns of the core group's kinds.
 */
#include "table_print.h"

#include <ctype.h>

/* --- Nodes ------------------------------------------------------------------------- */

static value node_status(const struct row *row, const struct column *c)
{
	const value *ready = kube_condition(v_path(row->obj, "status.conditions"), "Ready");
	const char *state = "Unknown";

	if (ready)
		state = str_eq(v_get_str(ready, "status"), STR("True")) ? "Ready" : "NotReady";
	return cell_of(zone_printf(row->z, "%s%s", state,
				   v_as_bool(v_path(row->obj, "spec.unschedulable"), false)
					   ? ",SchedulingDisabled"
					   : ""));
}

#define ROLE_PREFIX "node-role.kubernetes.io/"

static value node_roles(const struct row *row, const struct column *c)
{
	const value *labels = v_path(row->obj, "metadata.labels");
	struct str *roles = zone_alloc(row->z, (v_len(labels) + 1) * sizeof *roles);
	uint32_t n = 0, prefix = sizeof ROLE_PREFIX - 1;

	v_each_kv(kv, labels) {
		struct str key = v_as_str(&kv->key), v = v_as_str(&kv->val);

		if (key.n > prefix && memcmp(key.p, ROLE_PREFIX, prefix) == 0)
			roles[n++] = (struct str){key.p + prefix, key.n - prefix};
		else if (str_eq(key, STR("kubernetes.io/role")) && v.n)
			roles[n++] = v;
	}
	return n ? cell_of(join_set(row->z, roles, n)) : cell_cstr("<none>");
}

/* The node's address of type `path`. */
static value node_address(const struct row *row, const struct column *c)
{
	v_each(a, v_path(row->obj, "status.addresses"))
		if (str_is(v_get_str(a, "type"), c->path))
			return cell_of(v_get_str(a, "address"));
	return cell_cstr("<none>");
}

/* As cell_text, but an empty string is absent too. */
static value non_empty(const struct row *row, const struct column *c)
{
	struct str s = v_as_str(v_path(row->obj, c->path));

	return s.n ? cell_of(s) : cell_cstr(c->absent);
}

static value node_kernel(const struct row *row, const struct column *c)
{
	struct str kernel = v_as_str(v_path(row->obj, "status.nodeInfo.kernelVersion"));
	struct str arch = v_as_str(v_path(row->obj, "status.nodeInfo.architecture"));

	if (!kernel.n)
		kernel = STR("<unknown>");
	if (!arch.n)
		return cell_of(kernel);
	return cell_of(
		zone_printf(row->z, STR_FMT " (" STR_FMT ")", STR_ARG(kernel), STR_ARG(arch)));
}

static const struct column node_columns[] = {
	COLUMN_NAME,
	COLUMN("Status", node_status, NULL, NULL),
	COLUMN("Roles", node_roles, NULL, NULL),
	COLUMN_AGE,
	COLUMN("Version", cell_text, "status.nodeInfo.kubeletVersion", ""),
	COLUMN_WIDE("Internal-IP", node_address, "InternalIP", NULL),
	COLUMN_WIDE("External-IP", node_address, "ExternalIP", NULL),
	COLUMN_WIDE("OS-Image", non_empty, "status.nodeInfo.osImage", "<unknown>"),
	COLUMN_WIDE("Kernel-Version", node_kernel, NULL, NULL),
	COLUMN_WIDE("Container-Runtime", non_empty, "status.nodeInfo.containerRuntimeVersion",
		    "<unknown>"),
	COLUMN_END,
};

/* --- Services, endpoints ------------------------------------------------------------ */

static value service_ip(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "spec.clusterIPs");
	struct str ip = v_as_str(v_path(row->obj, "spec.clusterIP"));

	if (v_len(list))
		return cell_of(v_as_str(v_at(list, 0)));
	return ip.n ? cell_of(ip) : cell_cstr("<none>");
}

static value service_external(const struct row *row, const struct column *c)
{
	struct str type = v_as_str(v_path(row->obj, "spec.type"));
	const value *ips = v_path(row->obj, "spec.externalIPs");
	bool balanced = str_eq(type, STR("LoadBalancer"));
	struct joined j = {.separator = ","};
	struct str given = balanced ? balancer_addresses(row) : STR("");

	if (str_eq(type, STR("ExternalName")))
		return cell_of(v_as_str(v_path(row->obj, "spec.externalName")));
	if (!balanced && !str_eq(type, STR("ClusterIP")) && !str_eq(type, STR("NodePort")))
		return cell_cstr("<unknown>");
	if (given.n)
		join_add(&j, given);
	v_each(ip, ips)
		join_add(&j, v_as_str(ip));
	if (!j.n)
		return cell_cstr(balanced ? "<pending>" : "<none>");
	return cell_of(join_done(row->z, &j));
}

static value service_ports(const struct row *row, const struct column *c)
{
	struct joined j = {.separator = ","};

	v_each(p, v_path(row->obj, "spec.ports")) {
		long long port = v_get_int(p, "port", 0), node = v_get_int(p, "nodePort", 0);
		struct str protocol = v_get_str(p, "protocol");

		join_add(&j,
			 node > 0 ? zone_printf(row->z, "%lld:%lld/" STR_FMT, port, node,
						STR_ARG(protocol))
				  : zone_printf(row->z, "%lld/" STR_FMT, port, STR_ARG(protocol)));
	}
	return j.n ? cell_of(join_done(row->z, &j)) : cell_cstr("<none>");
}

static const struct column service_columns[] = {
	COLUMN_NAME,
	COLUMN("Type", cell_text, "spec.type", ""),
	COLUMN("Cluster-IP", service_ip, NULL, NULL),
	COLUMN("External-IP", service_external, NULL, NULL),
	COLUMN("Port(s)", service_ports, NULL, NULL),
	COLUMN_AGE,
	COLUMN_WIDE("Selector", cell_labels, "spec.selector", NULL),
	COLUMN_END,
};

#define ENDPOINTS_SHOWN 3

/* Shows the first few, counts the rest. */
static struct str join_some(zone *z, struct joined *j, uint32_t total)
{
	struct str text = join_done(z, j);

	if (total <= ENDPOINTS_SHOWN)
		return text;
	return zone_printf(z, STR_FMT " + %u more...", STR_ARG(text), total - ENDPOINTS_SHOWN);
}

static void add_address(zone *z, struct joined *j, struct str ip, const value *port)
{
	bool v6 = ip.n && memchr(ip.p, ':', ip.n);

	if (j->n == ENDPOINTS_SHOWN)
		return;
	if (!port)
		join_add(j, ip);
	else
		join_add(j, zone_printf(z, "%s" STR_FMT "%s:%lld", v6 ? "[" : "", STR_ARG(ip),
					v6 ? "]" : "", (long long)v_get_int(port, "port", 0)));
}

static value endpoints(const struct row *row, const struct column *c)
{
	const value *subsets = v_get(row->obj, "subsets");
	struct joined j = {.separator = ","};
	uint32_t total = 0;

	if (!v_len(subsets))
		return cell_cstr("<none>");
	v_each(subset, subsets) {
		const value *addresses = v_get(subset, "addresses");
		const value *ports = v_get(subset, "ports");

		for (uint32_t i = 0; i < (v_len(ports) ? v_len(ports) : 1); i++) {
			total += v_len(addresses);
			v_each(a, addresses)
				add_address(row->z, &j, v_get_str(a, "ip"),
					    v_len(ports) ? v_at(ports, i) : NULL);
		}
	}
	return cell_of(join_some(row->z, &j, total));
}

static const struct column endpoints_columns[] = {
	COLUMN_NAME,
	COLUMN("Endpoints", endpoints, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* --- Events ------------------------------------------------------------------------- */

static struct str first_seen(const struct row *row)
{
	const value *first = v_get(row->obj, "firstTimestamp");

	return human_since(row, timestamp_s(first) ? first : v_get(row->obj, "eventTime"));
}

static value event_first(const struct row *row, const struct column *c)
{
	return cell_of(first_seen(row));
}

static value event_last(const struct row *row, const struct column *c)
{
	const value *last = v_get(row->obj, "lastTimestamp"), *series = v_get(row->obj, "series");

	if (v_is_map(series))
		return cell_of(human_since(row, v_get(series, "lastObservedTime")));
	return cell_of(timestamp_s(last) ? human_since(row, last) : first_seen(row));
}

static value event_count(const struct row *row, const struct column *c)
{
	const value *series = v_get(row->obj, "series");
	int64_t n = v_get_int(row->obj, "count", 0);

	if (v_is_map(series))
		return v_int(v_get_int(series, "count", 0));
	return v_int(n ? n : 1);
}

static value event_object(const struct row *row, const struct column *c)
{
	struct str kind = v_as_str(v_path(row->obj, "involvedObject.kind"));
	struct str name = v_as_str(v_path(row->obj, "involvedObject.name"));
	struct str text = zone_printf(row->z, STR_FMT "%s" STR_FMT, STR_ARG(kind),
				      name.n ? "/" : "", STR_ARG(name));
	char *p = (char *)text.p; /* just made, in the zone */

	for (uint32_t i = 0; i < kind.n; i++)
		p[i] = (char)tolower((unsigned char)p[i]);
	return cell_of(text);
}

static value event_source(const struct row *row, const struct column *c)
{
	struct str component = v_as_str(v_path(row->obj, "source.component"));
	struct str host = v_as_str(v_path(row->obj, "source.host"));

	if (!component.n)
		component = v_get_str(row->obj, "reportingComponent");
	if (!host.n)
		host = v_get_str(row->obj, "reportingInstance");
	if (!host.n)
		return cell_of(component);
	return cell_of(
		zone_printf(row->z, STR_FMT ", " STR_FMT, STR_ARG(component), STR_ARG(host)));
}

static value event_message(const struct row *row, const struct column *c)
{
	struct str s = v_get_str(row->obj, "message");

	while (s.n && isspace((unsigned char)s.p[0]))
		s.p++, s.n--;
	while (s.n && isspace((unsigned char)s.p[s.n - 1]))
		s.n--;
	return cell_of(s);
}

static const struct column event_columns[] = {
	COLUMN("Last Seen", event_last, NULL, NULL),
	COLUMN("Type", cell_text, "type", ""),
	COLUMN("Reason", cell_text, "reason", ""),
	COLUMN("Object", event_object, NULL, NULL),
	COLUMN_WIDE("Subobject", cell_text, "involvedObject.fieldPath", ""),
	COLUMN_WIDE("Source", event_source, NULL, NULL),
	COLUMN("Message", event_message, NULL, NULL),
	COLUMN_WIDE("First Seen", event_first, NULL, NULL),
	COLUMN_WIDE("Count", event_count, NULL, NULL),
	{"Name", "string", "name", 1, cell_name, NULL, NULL},
	COLUMN_END,
};

/* --- Volumes --------------------------------------------------------------- */

static value access_modes(const struct row *row, const struct column *c)
{
	static const struct {
		const char *mode, *sign;
	} modes[] = {
		{"ReadWriteOnce", "RWO"},
		{"ReadOnlyMany", "ROX"},
		{"ReadWriteMany", "RWX"},
		{"ReadWriteOncePod", "RWOP"},
	};
	struct joined j = {.separator = ","};

	for (size_t i = 0; i < countof(modes); i++) {
		bool found = false;

		v_each(m, v_path(row->obj, c->path))
			found |= str_is(v_as_str(m), modes[i].mode);
		if (found)
			join_add(&j, str_of(modes[i].sign));
	}
	return cell_of(join_done(row->z, &j));
}

/* Phase, but Terminating once it is being deleted. */
static value volume_phase(const struct row *row, const struct column *c)
{
	if (v_path(row->obj, "metadata.deletionTimestamp"))
		return cell_cstr("Terminating");
	return cell_of(v_as_str(v_path(row->obj, "status.phase")));
}

static value volume_class(const struct row *row, const struct column *c)
{
	const value *beta = v_get(v_path(row->obj, "metadata.annotations"),
				  "volume.beta.kubernetes.io/storage-class");

	return cell_of(v_as_str(beta ? beta : v_path(row->obj, "spec.storageClassName")));
}

static value volume_claim(const struct row *row, const struct column *c)
{
	const value *ref = v_path(row->obj, "spec.claimRef");

	if (!v_is_map(ref))
		return cell_cstr("");
	return cell_of(zone_printf(row->z, STR_FMT "/" STR_FMT,
				   STR_ARG(v_get_str(ref, "namespace")),
				   STR_ARG(v_get_str(ref, "name"))));
}

/* A bound claim shows what it got: `path` below status, else nothing. */
static value claim_capacity(const struct row *row, const struct column *c)
{
	if (!v_as_str(v_path(row->obj, "spec.volumeName")).n)
		return cell_cstr("");
	return cell_text(row, c);
}

static value claim_modes(const struct row *row, const struct column *c)
{
	if (!v_as_str(v_path(row->obj, "spec.volumeName")).n)
		return cell_cstr("");
	return access_modes(row, c);
}

static const struct column pv_columns[] = {
	COLUMN_NAME,
	COLUMN("Capacity", cell_text, "spec.capacity.storage", "0"),
	COLUMN("Access Modes", access_modes, "spec.accessModes", NULL),
	COLUMN("Reclaim Policy", cell_text, "spec.persistentVolumeReclaimPolicy", ""),
	COLUMN("Status", volume_phase, NULL, NULL),
	COLUMN("Claim", volume_claim, NULL, NULL),
	COLUMN("StorageClass", volume_class, NULL, NULL),
	COLUMN("VolumeAttributesClass", cell_text, "spec.volumeAttributesClassName", "<unset>"),
	COLUMN("Reason", cell_text, "status.reason", ""),
	COLUMN_AGE,
	COLUMN_WIDE("VolumeMode", cell_text, "spec.volumeMode", "<unset>"),
	COLUMN_END,
};

static const struct column pvc_columns[] = {
	COLUMN_NAME,
	COLUMN("Status", volume_phase, NULL, NULL),
	COLUMN("Volume", cell_text, "spec.volumeName", ""),
	COLUMN("Capacity", claim_capacity, "status.capacity.storage", "0"),
	COLUMN("Access Modes", claim_modes, "status.accessModes", NULL),
	COLUMN("StorageClass", volume_class, NULL, NULL),
	COLUMN("VolumeAttributesClass", cell_text, "spec.volumeAttributesClassName", "<unset>"),
	COLUMN_AGE,
	COLUMN_WIDE("VolumeMode", cell_text, "spec.volumeMode", "<unset>"),
	COLUMN_END,
};

/* --- Quotas ---------------------------------------------------------------- */

/* "cpu: 1/2, pods: 3/10" of the limits (path not NULL) or of the rest. */
static value quota(const struct row *row, const struct column *c)
{
	const value *hard = v_path(row->obj, "status.hard");
	struct str *names = zone_alloc(row->z, (v_len(hard) + 1) * sizeof *names);
	struct joined j = {.separator = ", "};
	uint32_t n = 0;

	v_each_kv(kv, hard) {
		struct str key = v_as_str(&kv->key);

		if ((key.n > 7 && memcmp(key.p, "limits.", 7) == 0) == (c->path != NULL))
			names[n++] = key;
	}
	sort_texts(names, n);
	for (uint32_t i = 0; i < n; i++) {
		struct str used = v_as_str(v_getn(v_path(row->obj, "status.used"), names[i]));

		if (!used.n)
			used = STR("0");
		join_add(&j,
			 zone_printf(row->z, STR_FMT ": " STR_FMT "/" STR_FMT, STR_ARG(names[i]),
				     STR_ARG(used), STR_ARG(v_as_str(v_getn(hard, names[i])))));
	}
	return cell_of(join_done(row->z, &j));
}

static const struct column quota_columns[] = {
	COLUMN_NAME,
	COLUMN("Request", quota, NULL, NULL),
	COLUMN("Limit", quota, "limits", NULL),
	COLUMN_AGE,
	COLUMN_END,
};

/* --- Small ones ------------------------------------------------------------ */

static value configmap_data(const struct row *row, const struct column *c)
{
	int64_t n = v_len(v_get(row->obj, "data"));

	return v_int(n + v_len(v_get(row->obj, "binaryData")));
}

static const struct column configmap_columns[] = {
	COLUMN_NAME,
	COLUMN("Data", configmap_data, NULL, NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column namespace_columns[] = {
	COLUMN_NAME,
	COLUMN("Status", cell_text, "status.phase", ""),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column secret_columns[] = {
	COLUMN_NAME,
	COLUMN("Type", cell_text, "type", ""),
	COLUMN("Data", cell_count, "data", NULL),
	COLUMN_AGE,
	COLUMN_END,
};
static const struct column service_account_columns[] = {COLUMN_NAME, COLUMN_AGE, COLUMN_END};
static const struct column pod_template_columns[] = {
	COLUMN_NAME,
	COLUMN("Containers", cell_containers, "template.spec", NULL),
	COLUMN("Images", cell_images, "template.spec", NULL),
	COLUMN("Pod Labels", cell_labels, "template.metadata.labels", NULL),
	COLUMN_END,
};

/* The message (error) of the condition Healthy. */
static value component_part(const struct row *row, const struct column *c)
{
	const value *healthy = kube_condition(v_get(row->obj, "conditions"), "Healthy");

	return cell_of(v_get_str(healthy, c->path));
}

static value component_status(const struct row *row, const struct column *c)
{
	const value *healthy = kube_condition(v_get(row->obj, "conditions"), "Healthy");
	struct str s = v_get_str(healthy, "status");

	return cell_cstr(str_eq(s, STR("True"))	   ? "Healthy"
			 : str_eq(s, STR("False")) ? "Unhealthy"
						   : "Unknown");
}

static const struct column component_columns[] = {
	COLUMN_NAME,
	COLUMN("Status", component_status, NULL, NULL),
	COLUMN("Message", component_part, "message", NULL),
	COLUMN("Error", component_part, "error", NULL),
	COLUMN_END,
};

const struct table table_core[] = {
	{"", "Pod", table_pod_columns},
	{"", "Node", node_columns},
	{"", "Service", service_columns},
	{"", "Endpoints", endpoints_columns},
	{"", "Event", event_columns},
	{"events.k8s.io", "Event", event_columns},
	{"", "PersistentVolume", pv_columns},
	{"", "PersistentVolumeClaim", pvc_columns},
	{"", "ResourceQuota", quota_columns},
	{"", "ConfigMap", configmap_columns},
	{"", "Namespace", namespace_columns},
	{"", "Secret", secret_columns},
	{"", "ServiceAccount", service_account_columns},
	{"", "PodTemplate", pod_template_columns},
	{"", "ComponentStatus", component_columns},
	{NULL, NULL, NULL},
};
