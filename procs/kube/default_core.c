/* default_core.c - defaults of the core group that depend on other fields. */
#include "procs/kube/default.h"
#include "weft/kube.h"

/* --- Containers --------------------------------------------------------------------- */

/* Does an image's name, without its registry, have only what a repository may? */
static bool is_repository(struct str s)
{
	for (uint32_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr("._-/", c))
			return false;
	}
	return s.n > 0;
}

/* The first part is a registry if it looks like a host. */
static struct str without_registry(struct str s)
{
	const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct str first = {s.p, slash ? (uint32_t)(slash - s.p) : 0};
	bool host = first.n && (memchr(first.p, '.', first.n) || memchr(first.p, ':', first.n) ||
				str_eq(first, STR("localhost")));

	for (uint32_t i = 0; i < first.n; i++)
		host |= first.p[i] >= 'A' && first.p[i] <= 'Z';
	return host ? (struct str){slash + 1, s.n - first.n - 1} : s;
}

/* Is it ":latest", in words or by saying no tag and no digest? */
static bool is_latest(struct str image)
{
	const char *at = image.n ? memchr(image.p, '@', image.n) : NULL;
	struct str name = without_registry(image), tag = {0};
	uint32_t i;

	if (at)
		name.n = (uint32_t)(at - name.p);
	for (i = name.n; i > 0 && name.p[i - 1] != '/' && name.p[i - 1] != ':'; i--)
		;
	if (i > 0 && name.p[i - 1] == ':') {
		tag = (struct str){name.p + i, name.n - i};
		name.n = i - 1;
	}
	if (!is_repository(name))
		return false;
	return tag.n ? str_eq(tag, STR("latest")) : !at;
}

static const char *pull_policy(struct str image)
{
	return is_latest(image) ? "Always" : "IfNotPresent";
}

void default_container(zone *z, value *v)
{
	default_str(z, v, "imagePullPolicy", pull_policy(v_get_str(v, "image")));
}

void default_volume(zone *z, value *v)
{
	value *image = v_get(v, "image");

	if (v_len(v) == 0 || (v_len(v) == 1 && v_get(v, "name")))
		v_set(z, v, "emptyDir", v_map());
	if (v_is_map(image))
		default_str(z, image, "pullPolicy", pull_policy(v_get_str(image, "reference")));
}

/* --- Pods --------------------------------------------------------------------------- */

void default_pod_spec(zone *z, value *v)
{
	struct str name = v_get_str(v, "serviceAccountName");

	if (!name.n)
		name = v_get_str(v, "serviceAccount");
	if (!name.n)
		return;
	v_set(z, v, "serviceAccountName", v_str(name));
	v_set(z, v, "serviceAccount", v_str(name));
}

/* Members of `from` that `to` lacks. */
static void copy_missing(zone *z, value *to, const value *from)
{
	v_each_kv(kv, from)
		if (!v_getn(to, v_as_str(&kv->key)))
			v_setn(z, to, v_as_str(&kv->key), kv->val);
}

/* What is limited and not requested is requested. */
static void requests_from_limits(zone *z, const value *containers)
{
	v_each(c, containers) {
		value *resources = v_get(c, "resources"), *limits = v_get(resources, "limits");

		if (!v_len(limits))
			continue;
		copy_missing(z, v_map_at(z, resources, "requests"), v_get(resources, "limits"));
	}
}

static void host_ports(zone *z, const value *containers)
{
	v_each(c, containers)
		v_each(p, v_get(c, "ports"))
			default_int(z, p, "hostPort", v_get_int(p, "containerPort", 0));
}

void default_pod(zone *z, value *v)
{
	value *spec = v_get(v, "spec");

	if (!v_is_map(spec))
		return;
	if (v_get_int(spec, "terminationGracePeriodSeconds", 0) < 0)
		v_set(z, spec, "terminationGracePeriodSeconds", v_int(1));
	requests_from_limits(z, v_get(spec, "containers"));
	requests_from_limits(z, v_get(spec, "initContainers"));
	default_bool(z, spec, "enableServiceLinks", true);
	if (v_get_bool(spec, "hostNetwork", false)) {
		host_ports(z, v_get(spec, "containers"));
		host_ports(z, v_get(spec, "initContainers"));
	}
}

/* podIP and podIPs say the same; podIP wins. */
void default_pod_status(zone *z, value *v)
{
	struct str ip = v_get_str(v, "podIP");
	struct str first = v_get_str(v_at(v_get(v, "podIPs"), 0), "ip");
	value list = v_array(), el = v_map();

	if (ip.n && !str_eq(ip, first)) {
		v_set(z, &el, "ip", v_str(ip));
		v_append(z, &list, el);
		v_set(z, v, "podIPs", list);
	} else if (!ip.n && first.n) {
		v_set(z, v, "podIP", v_str(first));
	}
}

void default_replication_controller(zone *z, value *v)
{
	const value *labels = v_path(v, "spec.template.metadata.labels");
	value copy;

	if (!v_is_map(labels))
		return;
	copy = v_copy(z, labels);
	if (!v_len(v_path(v, "spec.selector")))
		v_set(z, v_map_at(z, v, "spec"), "selector", copy);
	if (!v_len(v_path(v, "metadata.labels")))
		v_set(z, v_map_at(z, v, "metadata"), "labels", v_copy(z, &copy));
}

/* --- Services ----------------------------------------------------------------------- */

static void session_affinity(zone *z, value *spec)
{
	value *config, *client;

	default_str(z, spec, "sessionAffinity", "None");
	if (str_eq(v_get_str(spec, "sessionAffinity"), STR("None")))
		v_del(spec, "sessionAffinityConfig");
	if (!str_eq(v_get_str(spec, "sessionAffinity"), STR("ClientIP")))
		return;
	config = v_map_at(z, spec, "sessionAffinityConfig");
	client = v_map_at(z, config, "clientIP");
	default_int(z, client, "timeoutSeconds", 10800);
}

static void service_ports(zone *z, const value *spec)
{
	v_each(p, v_get(spec, "ports")) {
		const value *target = v_get(p, "targetPort");

		default_str(z, p, "protocol", "TCP");
		target = v_get(p, "targetPort");
		if (v_is_null(target) || v_as_int(target, -1) == 0 ||
		    (v_is_str(target) && !v_as_str(target).n))
			v_set(z, p, "targetPort", v_int(v_get_int(p, "port", 0)));
	}
}

/* One stack, IPv4; without addresses and without a selector a Service is both. */
static void ip_families(zone *z, value *spec)
{
	bool both = str_eq(v_get_str(spec, "clusterIP"), STR("None")) &&
		    !v_len(v_get(spec, "selector"));
	value families = v_array();

	default_str(z, spec, "ipFamilyPolicy", both ? "RequireDualStack" : "SingleStack");
	if (v_len(v_get(spec, "ipFamilies")))
		return;
	v_append(z, &families, v_cstr("IPv4"));
	if (both)
		v_append(z, &families, v_cstr("IPv6"));
	v_set(z, spec, "ipFamilies", families);
}

static void ingress_modes(zone *z, const value *service)
{
	v_each(in, v_path(service, "status.loadBalancer.ingress"))
		if (v_get_str(in, "ip").n)
			default_str(z, in, "ipMode", "VIP");
}

void default_service(zone *z, value *v)
{
	value *spec = v_map_at(z, v, "spec");
	struct str type;
	bool balanced;

	session_affinity(z, spec);
	default_str(z, spec, "type", "ClusterIP");
	service_ports(z, spec);
	type = v_get_str(spec, "type");
	balanced = str_eq(type, STR("LoadBalancer"));
	if (balanced || str_eq(type, STR("NodePort")) ||
	    (str_eq(type, STR("ClusterIP")) && v_len(v_get(spec, "externalIPs"))))
		default_str(z, spec, "externalTrafficPolicy", "Cluster");
	if (!str_eq(type, STR("ExternalName"))) {
		default_str(z, spec, "internalTrafficPolicy", "Cluster");
		ip_families(z, spec);
	}
	if (balanced) {
		default_bool(z, spec, "allocateLoadBalancerNodePorts", true);
		ingress_modes(z, v);
	}
}

/* --- Others ------------------------------------------------------------------------- */

static struct str base64(zone *z, struct str s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *p = zone_alloc(z, s.n / 3 * 4 + 4);
	uint32_t n = 0;

	for (uint32_t i = 0; i < s.n; i += 3) {
		uint32_t left = s.n - i, bits = (uint32_t)(uint8_t)s.p[i] << 16;

		if (left > 1)
			bits |= (uint32_t)(uint8_t)s.p[i + 1] << 8;
		if (left > 2)
			bits |= (uint8_t)s.p[i + 2];
		p[n++] = digits[bits >> 18];
		p[n++] = digits[bits >> 12 & 63];
		p[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
		p[n++] = left > 2 ? digits[bits & 63] : '=';
	}
	return (struct str){p, n};
}

/* Text given for people's sake becomes data. */
void default_secret(zone *z, value *v)
{
	const value *text = v_get(v, "stringData");
	value copy;

	if (!text)
		return;
	copy = *text;
	v_del(v, "stringData");
	v_each_kv(kv, &copy)
		v_setn(z, v_map_at(z, v, "data"), v_as_str(&kv->key),
		       v_str(base64(z, v_as_str(&kv->val))));
}

void default_namespace(zone *z, value *v)
{
	struct str name = v_get_str(v_get(v, "metadata"), "name");
	value *labels;

	if (!name.n)
		return;
	labels = v_map_at(z, v_map_at(z, v, "metadata"), "labels");
	v_set(z, labels, "kubernetes.io/metadata.name", v_str(name));
}

void default_node_status(zone *z, value *v)
{
	const value *capacity = v_get(v, "capacity");

	if (v_len(capacity) && v_is_null(v_get(v, "allocatable")))
		v_set(z, v, "allocatable", v_copy(z, capacity));
}

void default_limit_range_item(zone *z, value *v)
{
	if (!str_eq(v_get_str(v, "type"), STR("Container")))
		return;
	if (v_len(v_get(v, "max")))
		copy_missing(z, v_map_at(z, v, "default"), v_get(v, "max"));
	if (v_len(v_get(v, "default")))
		copy_missing(z, v_map_at(z, v, "defaultRequest"), v_get(v, "default"));
	if (v_len(v_get(v, "min")))
		copy_missing(z, v_map_at(z, v, "defaultRequest"), v_get(v, "min"));
}
