/* validate_network.c - Services, EndpointSlices, Ingresses. */
#include "procs/kube/validate.h"

/* --- Service ------------------------------------------------------------------------ */

static value shown_port(zone *z, const value *p)
{
	value shown = v_map();

	v_set(z, &shown, "Name", v_cstr(""));
	v_set(z, &shown, "Protocol", v_str(v_get_str(p, "protocol")));
	v_set(z, &shown, "AppProtocol", v_null());
	v_set(z, &shown, "Port", v_int(v_get_int(p, "port", 0)));
	v_set(z, &shown, "TargetPort", v_int(0));
	v_set(z, &shown, "NodePort", v_int(0));
	return shown;
}

static void check_port_once(struct validation *v, const struct at *at, const value *ports,
			    uint32_t i)
{
	const value *p = v_at(ports, i);
	value shown = shown_port(v->z, p);

	for (uint32_t k = 0; k < i; k++) {
		const value *other = v_at(ports, k);

		if (v_get_int(other, "port", 0) == v_get_int(p, "port", 0) &&
		    str_eq(v_get_str(other, "protocol"), v_get_str(p, "protocol"))) {
			bad_duplicate(v, at, &shown);
			return;
		}
	}
}

static void check_port_name(struct validation *v, const struct at *at, const value *ports,
			    uint32_t i)
{
	struct str name = v_get_str(v_at(ports, i), "name");

	if (!name.n) {
		if (v_len(ports) > 1)
			bad_required(v, FIELD(at, "name"), NULL);
		return;
	}
	check_name(v, FIELD(at, "name"), name, names_label);
	for (uint32_t k = 0; k < i; k++)
		if (str_eq(v_get_str(v_at(ports, k), "name"), name)) {
			bad_duplicate(v, FIELD(at, "name"), SHOW(name));
			return;
		}
}

static bool is_type(const value *spec, const char *type)
{
	return is_str(spec, "type", type);
}

static void check_service_ports(struct validation *v, const value *spec)
{
	const value *ports = v_get(spec, "ports");
	bool headless = is_str(spec, "clusterIP", "None");

	if (!v_len(ports) && !headless && !is_type(spec, "ExternalName"))
		bad_required(v, FIELD(SPEC, "ports"), NULL);
	for (uint32_t i = 0; i < v_len(ports); i++) {
		const value *p = v_at(ports, i);
		const struct at *at = INDEX(FIELD(SPEC, "ports"), i);

		check_port_name(v, at, ports, i);
		check_port(v, FIELD(at, "port"), v_get(p, "port"));
		check_one_of(v, at, p, "protocol", LIST("SCTP", "TCP", "UDP"));
		check_port(v, FIELD(at, "targetPort"), v_get(p, "targetPort"));
		if (is_type(spec, "ClusterIP") && v_get_int(p, "nodePort", 0))
			bad_forbidden(v, FIELD(at, "nodePort"),
				      "may not be used when `type` is 'ClusterIP'");
		check_port_once(v, at, ports, i);
	}
}

static void check_affinity(struct validation *v, const value *spec)
{
	const value *client = v_path(spec, "sessionAffinityConfig.clientIP");
	const value *seconds = v_get(client, "timeoutSeconds");
	const struct at *at = FIELD(FIELD(SPEC, "sessionAffinityConfig"), "clientIP");

	check_one_of(v, SPEC, spec, "sessionAffinity", LIST("ClientIP", "None"));
	if (is_str(spec, "sessionAffinity", "ClientIP") &&
	    (v_as_int(seconds, 0) <= 0 || v_as_int(seconds, 0) > 86400))
		bad_invalid(v, FIELD(at, "timeoutSeconds"), seconds,
			    "must be greater than 0 and less than 86400");
}

static void check_addresses(struct validation *v, const value *spec)
{
	struct str ip = v_get_str(spec, "clusterIP");
	const struct at *place = INDEX(FIELD(SPEC, "clusterIPs"), 0);
	uint32_t i = 0;

	if (str_eq(ip, STR("None"))) {
		if (is_type(spec, "NodePort") || is_type(spec, "LoadBalancer"))
			bad_invalid(v, place, SHOW(ip),
				    "may not be set to 'None' for " STR_FMT " services",
				    STR_ARG(v_get_str(spec, "type")));
	} else if (ip.n && is_type(spec, "ExternalName")) {
		bad_forbidden(v, FIELD(SPEC, "clusterIPs"),
			      "may not be set when `type` is 'ExternalName'");
	} else if (ip.n) {
		check_name(v, place, ip, names_ip);
	}
	v_each(e, v_get(spec, "externalIPs")) {
		const struct at *at = INDEX(FIELD(SPEC, "externalIPs"), i++);

		if (check_name(v, at, v_as_str(e), names_ip) && has_prefix(v_as_str(e), "127."))
			bad_invalid(v, at, e,
				    "may not be in the loopback range (127.0.0.0/8, ::1/128)");
	}
}

static void check_policies(struct validation *v, const value *spec)
{
	bool outside = is_type(spec, "NodePort") || is_type(spec, "LoadBalancer") ||
		       v_len(v_get(spec, "externalIPs"));
	const value *policy = v_get(spec, "externalTrafficPolicy");
	const struct at *ranges = FIELD(SPEC, "LoadBalancerSourceRanges");
	uint32_t i = 0;

	if (v_get_str(spec, "externalTrafficPolicy").n && !outside)
		bad_invalid(v, FIELD(SPEC, "externalTrafficPolicy"), policy,
			    "may only be set for externally-accessible services");
	else
		check_one_of(v, SPEC, spec, "externalTrafficPolicy", LIST("Cluster", "Local"));
	check_one_of(v, SPEC, spec, "internalTrafficPolicy", LIST("Cluster", "Local"));
	if (v_len(v_get(spec, "loadBalancerSourceRanges")) && !is_type(spec, "LoadBalancer"))
		bad_forbidden(v, ranges, "may only be used when `type` is 'LoadBalancer'");
	v_each(r, v_get(spec, "loadBalancerSourceRanges"))
		check_name(v, INDEX(ranges, i++), v_as_str(r), names_cidr);
}

/* A Service keeps its address as long as it has one. */
static void check_service_update(struct validation *v, const value *spec, const value *was)
{
	struct str ip = v_get_str(spec, "clusterIP"), had = v_get_str(was, "clusterIP");

	if (is_type(spec, "ExternalName") || is_type(was, "ExternalName") || !had.n ||
	    str_eq(ip, had))
		return;
	bad_invalid(v, INDEX(FIELD(SPEC, "clusterIPs"), 0), v_get(spec, "clusterIPs"),
		    "may not change once set");
}

void validate_service(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec");
	struct str name = v_get_str(spec, "externalName");

	if (str_eq(sub, STR("status")))
		return;
	check_service_ports(v, spec);
	check_labels(v, FIELD(SPEC, "selector"), v_get(spec, "selector"));
	check_one_of(v, SPEC, spec, "type",
		     LIST("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"));
	check_affinity(v, spec);
	check_addresses(v, spec);
	check_policies(v, spec);
	if (is_type(spec, "ExternalName")) {
		if (!name.n)
			bad_required(v, FIELD(SPEC, "externalName"), NULL);
		else
			check_name(v, FIELD(SPEC, "externalName"), name, names_subdomain);
	}
	if (old)
		check_service_update(v, spec, v_get(old, "spec"));
}

/* --- EndpointSlice ------------------------------------------------------------------ */

static void check_slice_ports(struct validation *v, const value *ports)
{
	uint32_t i = 0;

	v_each(p, ports) {
		const struct at *at = INDEX(FIELD(NULL, "ports"), i++);

		if (v_get_str(p, "name").n)
			check_name(v, FIELD(at, "name"), v_get_str(p, "name"), names_label);
		check_one_of(v, at, p, "protocol", LIST("SCTP", "TCP", "UDP"));
	}
}

void validate_slice(struct validation *v, const value *obj, const value *old, struct str sub)
{
	bool names = is_str(obj, "addressType", "FQDN");
	uint32_t i = 0;

	if (check_required(v, NULL, obj, "addressType"))
		check_one_of(v, NULL, obj, "addressType", LIST("FQDN", "IPv4", "IPv6"));
	v_each(e, v_get(obj, "endpoints")) {
		const struct at *at = FIELD(INDEX(FIELD(NULL, "endpoints"), i++), "addresses");
		uint32_t k = 0;

		if (!v_len(v_get(e, "addresses")))
			bad_required(v, at, NULL);
		v_each(a, v_get(e, "addresses"))
			check_name(v, INDEX(at, k++), v_as_str(a),
				   names ? names_subdomain : names_ip);
	}
	check_slice_ports(v, v_get(obj, "ports"));
	if (old && !str_eq(v_get_str(obj, "addressType"), v_get_str(old, "addressType")))
		bad_invalid(v, FIELD(NULL, "addressType"), NULL, "field is immutable");
}

/* --- Endpoints ------------------------------------------------------------- */

static void check_endpoint_addresses(struct validation *v, const struct at *at, const value *list)
{
	uint32_t i = 0;

	v_each(a, list) {
		const struct at *place = FIELD(INDEX(at, i++), "ip");
		struct str ip = v_get_str(a, "ip");

		if (!check_name(v, place, ip, names_ip))
			bad_invalid(v, place, SHOW(ip), "must be a valid IP address");
		else if (has_prefix(ip, "127."))
			bad_invalid(v, place, SHOW(ip),
				    "may not be in the loopback range (127.0.0.0/8, ::1/128)");
	}
}

void validate_endpoints(struct validation *v, const value *obj, const value *old, struct str sub)
{
	uint32_t i = 0;

	v_each(s, v_get(obj, "subsets")) {
		const struct at *at = INDEX(FIELD(NULL, "subsets"), i++);
		uint32_t k = 0;

		if (!v_len(v_get(s, "addresses")) && !v_len(v_get(s, "notReadyAddresses")))
			bad_required(v, at, "must specify `addresses` or `notReadyAddresses`");
		check_endpoint_addresses(v, FIELD(at, "addresses"), v_get(s, "addresses"));
		check_endpoint_addresses(v, FIELD(at, "notReadyAddresses"),
					 v_get(s, "notReadyAddresses"));
		v_each(p, v_get(s, "ports")) {
			const struct at *place = INDEX(FIELD(at, "ports"), k++);

			if (v_get_str(p, "name").n)
				check_name(v, FIELD(place, "name"), v_get_str(p, "name"),
					   names_label);
			else if (v_len(v_get(s, "ports")) > 1)
				bad_required(v, FIELD(place, "name"), NULL);
			check_port(v, FIELD(place, "port"), v_get(p, "port"));
			check_one_of(v, place, p, "protocol", LIST("SCTP", "TCP", "UDP"));
		}
	}
}

/* --- NetworkPolicy --------------------------------------------------------- */

static void check_peer(struct validation *v, const struct at *at, const value *p)
{
	const value *block = v_get(p, "ipBlock");

	if (!v_get(p, "podSelector") && !v_get(p, "namespaceSelector") && !block)
		bad_required(v, at, "must specify a peer");
	check_selector(v, FIELD(at, "podSelector"), v_get(p, "podSelector"));
	check_selector(v, FIELD(at, "namespaceSelector"), v_get(p, "namespaceSelector"));
	if (block && (v_get(p, "podSelector") || v_get(p, "namespaceSelector")))
		bad_forbidden(v, at, "may not specify both ipBlock and another peer");
	if (block && check_required(v, FIELD(at, "ipBlock"), block, "cidr"))
		check_name(v, FIELD(FIELD(at, "ipBlock"), "cidr"), v_get_str(block, "cidr"),
			   names_cidr);
}

static void check_policy_rules(struct validation *v, const value *spec, const char *list,
			       const char *peers)
{
	uint32_t i = 0;

	v_each(r, v_get(spec, list)) {
		const struct at *at = INDEX(FIELD(SPEC, list), i++);
		uint32_t k = 0;

		v_each(p, v_get(r, "ports")) {
			const struct at *place = INDEX(FIELD(at, "ports"), k++);

			check_one_of(v, place, p, "protocol", LIST("SCTP", "TCP", "UDP"));
			if (v_get(p, "port"))
				check_port(v, FIELD(place, "port"), v_get(p, "port"));
		}
		k = 0;
		v_each(p, v_get(r, peers))
			check_peer(v, INDEX(FIELD(at, peers), k++), p);
	}
}

void validate_network_policy(struct validation *v, const value *obj, const value *old,
			     struct str sub)
{
	const value *spec = v_get(obj, "spec");
	uint32_t i = 0;

	check_selector(v, FIELD(SPEC, "podSelector"), v_get(spec, "podSelector"));
	check_policy_rules(v, spec, "ingress", "from");
	check_policy_rules(v, spec, "egress", "to");
	v_each(t, v_get(spec, "policyTypes")) {
		if (!str_eq(v_as_str(t), STR("Ingress")) && !str_eq(v_as_str(t), STR("Egress")))
			bad_supported(v, INDEX(FIELD(SPEC, "policyTypes"), i), t,
				      LIST("Ingress", "Egress"));
		i++;
	}
}

/* --- Ingress --------------------------------------------------------------- */

static void check_backend(struct validation *v, const struct at *at, const value *b)
{
	const value *service = v_get(b, "service"), *port = v_get(service, "port");
	const struct at *place = FIELD(at, "service");

	if (v_is_map(v_get(b, "resource"))) {
		if (v_is_map(service))
			bad_invalid(v, at, &empty_text,
				    "cannot set both resource and service backends");
		return;
	}
	if (!v_is_map(service)) {
		bad_invalid(v, at, &empty_text, "resource or service backend is required");
		return;
	}
	if (check_required(v, place, service, "name"))
		check_name(v, FIELD(place, "name"), v_get_str(service, "name"), names_label);
	if (!v_get_str(port, "name").n && !v_get_int(port, "number", 0))
		bad_required(v, at, "port name or number is required");
	else if (v_get_str(port, "name").n)
		check_name(v, FIELD(FIELD(place, "port"), "name"), v_get_str(port, "name"),
			   names_port);
	else
		check_port(v, FIELD(FIELD(place, "port"), "number"), v_get(port, "number"));
}

static void check_path(struct validation *v, const struct at *at, const value *p)
{
	struct str path = v_get_str(p, "path");

	if (check_required(v, at, p, "pathType") &&
	    check_one_of(v, at, p, "pathType", LIST("Exact", "ImplementationSpecific", "Prefix"))) {
		if ((path.n || !is_str(p, "pathType", "ImplementationSpecific")) &&
		    !has_prefix(path, "/"))
			bad_invalid(v, FIELD(at, "path"), SHOW(path), "must be an absolute path");
	}
	check_backend(v, FIELD(at, "backend"), v_get(p, "backend"));
}

static void check_host(struct validation *v, const struct at *at, struct str host)
{
	if (has_prefix(host, "*."))
		host = (struct str){host.p + 2, host.n - 2};
	if (host.n)
		check_name(v, at, host, names_subdomain);
}

void validate_ingress(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *rules = v_get(spec, "rules");
	uint32_t i = 0;

	if (str_eq(sub, STR("status")))
		return;
	if (!v_len(rules) && v_is_null(v_get(spec, "defaultBackend")))
		bad_invalid(v, SPEC, NULL, "either `defaultBackend` or `rules` must be specified");
	if (v_is_map(v_get(spec, "defaultBackend")))
		check_backend(v, FIELD(SPEC, "defaultBackend"), v_get(spec, "defaultBackend"));
	v_each(r, rules) {
		const struct at *at = INDEX(FIELD(SPEC, "rules"), i++);
		const struct at *http = FIELD(at, "http");
		uint32_t k = 0;

		check_host(v, FIELD(at, "host"), v_get_str(r, "host"));
		if (v_is_map(v_get(r, "http")) && !v_len(v_path(r, "http.paths")))
			bad_required(v, FIELD(http, "paths"), NULL);
		v_each(p, v_path(r, "http.paths"))
			check_path(v, INDEX(FIELD(http, "paths"), k++), p);
	}
}

void validate_ingress_class(struct validation *v, const value *obj, const value *old,
			    struct str sub)
{
	const value *controller = v_path(obj, "spec.controller");
	struct str s = v_as_str(controller);
	const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct texts t = {.n = 0};

	if (!s.n) {
		bad_required(v, FIELD(SPEC, "controller"), NULL);
		return;
	}
	if (slash)
		names_subdomain(&t, (struct str){s.p, (uint32_t)(slash - s.p)});
	if (!slash || t.n || slash + 1 == s.p + s.n)
		bad_invalid(v, FIELD(SPEC, "controller"), controller,
			    "must be a domain-prefixed path (such as \"acme.io/foo\")");
	if (old)
		check_immutable(v, FIELD(SPEC, "controller"), controller,
				v_path(old, "spec.controller"));
}
