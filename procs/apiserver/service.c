/*
 * service.c - cluster IPs and node ports of Services.
 *
 * What is taken is read from the Services themselves, so there is no second
 * truth to repair.  Two apiservers that draw the same address at the same
 * moment are possible in principle; addresses are drawn at random from a large
 * range to make it improbable.
 */
#include <arpa/inet.h>
#include <sys/random.h>
#include "procs/apiserver/write.h"

#define DEFAULT_CIDR	"10.96.0.0/12"
#define NODE_PORT_FIRST 30000
#define NODE_PORT_COUNT 2768
#define TRIES		4096

struct range {
	uint32_t base, size;
};

static struct range service_range(struct request *q)
{
	struct str cidr = v_as_str(v_path(proc_config(q->api->p), "services.cidr"));
	unsigned a = 10, b = 96, c = 0, d = 0, bits = 12;

	if (!cidr.n)
		cidr = STR(DEFAULT_CIDR);
	sscanf(zone_text(q->z, cidr).p, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &bits);
	if (bits < 8 || bits > 30)
		bits = 24;
	return (struct range){.base = a << 24 | b << 16 | c << 8 | d, .size = 1u << (32 - bits)};
}

/* --- What is taken ------------------------------------------------------------------ */

struct taken {
	uint32_t *ips;
	uint32_t nips, cap;
	uint8_t ports[NODE_PORT_COUNT];
};

static bool parse_ip(struct str text, uint32_t *ip)
{
	char copy[16];
	struct in_addr in;

	if (!text.n || text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	if (inet_pton(AF_INET, copy, &in) != 1)
		return false;
	*ip = ntohl(in.s_addr);
	return true;
}

static struct str print_ip(zone *z, uint32_t ip)
{
	return zone_printf(z, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
}

static void take_port(struct taken *t, int64_t port)
{
	if (port >= NODE_PORT_FIRST && port < NODE_PORT_FIRST + NODE_PORT_COUNT)
		t->ports[port - NODE_PORT_FIRST] = 1;
}

static void take_service(zone *z, struct taken *t, const value *spec)
{
	uint32_t ip;

	v_each(port, v_get(spec, "ports"))
		take_port(t, v_get_int(port, "nodePort", 0));
	take_port(t, v_get_int(spec, "healthCheckNodePort", 0));
	if (!parse_ip(v_get_str(spec, "clusterIP"), &ip))
		return;
	if (t->nips == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 64, *ips = zone_alloc(z, cap * sizeof(*ips));

		if (t->nips)
			memcpy(ips, t->ips, t->nips * sizeof(*ips));
		t->ips = ips;
		t->cap = cap;
	}
	t->ips[t->nips++] = ip;
}

/* All Services but the one that is being written. */
static struct taken *find_taken(struct request *q, struct str name)
{
	struct taken *t = zone_alloc(q->z, sizeof(*t));
	struct cache *c = api_cache(q->api);
	struct cache_iter it;
	const struct entry *e;

	memset(t, 0, sizeof(*t));
	cache_lock(c);
	cache_iter_init(&it, c, TYPE_SERVICE, (struct str){NULL, 0}, STR(""),
			(struct str){NULL, 0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(c, e);
		value spec;

		if (!v || (str_eq(entry_name(e), name) && str_eq(cache_ns(c, e), q->t.ns)))
			continue;
		spec = kube_part(q->z, c, e, v, PART_SPEC);
		take_service(q->z, t, &spec);
	}
	cache_unlock(c);
	return t;
}

static bool ip_taken(const struct taken *t, uint32_t ip)
{
	for (uint32_t i = 0; i < t->nips; i++)
		if (t->ips[i] == ip)
			return true;
	return false;
}

/* --- Giving ------------------------------------------------------------------------- */

static int answer_invalid(struct request *q, const struct kube_resource *r, const value *obj,
			  const char *field, struct str why)
{
	struct kube_errors errs = {.z = q->z};

	kube_error_add(&errs, str_of(field), "FieldValueInvalid", STR_FMT, STR_ARG(why));
	answer_status(q,
		      kube_status_invalid(q->z, r, v_as_str(v_path(obj, "metadata.name")), &errs));
	return WEFT_EINVAL;
}

static uint32_t draw(uint32_t n)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) < 0)
		r = (uint32_t)clock_mono_ns();
	return r % n;
}

static int give_ip(struct request *q, const struct kube_resource *r, value *obj, value *spec,
		   const struct taken *t)
{
	struct range range = service_range(q);
	struct str text = v_get_str(spec, "clusterIP");
	uint32_t ip;

	if (text.n && !parse_ip(text, &ip))
		return WEFT_OK; /* an IPv6 address, or for validation to refuse */
	if (text.n) {
		const char *why = NULL;

		if (ip_taken(t, ip))
			why = "provided IP is already allocated";
		else if (ip <= range.base || ip - range.base >= range.size - 1)
			why = "the provided network does not match the current range";
		if (!why)
			return WEFT_OK;
		return answer_invalid(q, r, obj, "spec.clusterIPs",
				      zone_printf(q->z,
						  "Invalid value: [\"" STR_FMT
						  "\"]: failed to allocate IP " STR_FMT ": %s",
						  STR_ARG(text), STR_ARG(text), why));
	}
	for (int i = 0; i < TRIES; i++) {
		ip = range.base + 2 + draw(range.size - 3);
		if (ip_taken(t, ip))
			continue;
		v_set(q->z, spec, "clusterIP", v_str(print_ip(q->z, ip)));
		return WEFT_OK;
	}
	answer_status(q, kube_status(q->z, 500, "InternalError",
				     STR("Internal error occurred: failed to allocate a serviceIP: "
					 "range is full")));
	return WEFT_EINVAL;
}

static bool wants_node_ports(const value *spec)
{
	struct str type = v_get_str(spec, "type");

	return str_eq(type, STR("NodePort")) ||
	       (str_eq(type, STR("LoadBalancer")) &&
		v_get_bool(spec, "allocateLoadBalancerNodePorts", true));
}

/* The port that an older state of the Service has for the same port. */
static int64_t former_port(const value *old, const value *port)
{
	v_each(p, v_path(old, "spec.ports"))
		if (v_get_int(p, "port", 0) == v_get_int(port, "port", 0) &&
		    str_eq(v_get_str(p, "protocol"), v_get_str(port, "protocol")))
			return v_get_int(p, "nodePort", 0);
	return 0;
}

static int give_node_ports(struct request *q, const struct kube_resource *r, value *obj,
			   const value *old, value *spec, struct taken *t)
{
	uint32_t i = 0;

	if (!wants_node_ports(spec))
		return WEFT_OK;
	v_each(port, v_get(spec, "ports")) {
		int64_t want = v_get_int(port, "nodePort", 0);
		int at;

		if (!want && old)
			want = former_port(old, port);
		for (int tries = 0; !want && tries < TRIES; tries++) {
			at = (int)draw(NODE_PORT_COUNT);
			if (!t->ports[at])
				want = NODE_PORT_FIRST + at;
		}
		at = (int)want - NODE_PORT_FIRST;
		if (at < 0 || at >= NODE_PORT_COUNT || t->ports[at])
			return answer_invalid(
				q, r, obj, zone_printf(q->z, "spec.ports[%u].nodePort", i).p,
				zone_printf(
					q->z, "Invalid value: %lld: %s", (long long)want,
					at < 0 || at >= NODE_PORT_COUNT
						? "provided port is not in the valid range. The "
						  "range of valid ports is 30000-32767"
						: "provided port is already allocated"));
		t->ports[at] = 1;
		v_set(q->z, port, "nodePort", v_int(want));
		i++;
	}
	return WEFT_OK;
}

/* An update that does not name its address keeps it. */
static void keep_ip(zone *z, value *spec, const value *old)
{
	struct str had = v_as_str(v_path(old, "spec.clusterIP"));

	if (had.n && !v_get_str(spec, "clusterIP").n)
		v_set(z, spec, "clusterIP", v_str(had));
}

int service_allocate(struct request *q, const struct kube_resource *r, value *obj, const value *old)
{
	value *spec = v_map_at(q->z, obj, "spec");
	struct taken *t;
	struct str ip;

	if (str_eq(v_get_str(spec, "type"), STR("ExternalName")))
		return WEFT_OK;
	if (old)
		keep_ip(q->z, spec, old);
	t = find_taken(q, v_as_str(v_path(obj, "metadata.name")));
	spec = v_map_at(q->z, obj, "spec");
	if (!str_eq(v_get_str(spec, "clusterIP"), STR("None")) && give_ip(q, r, obj, spec, t))
		return WEFT_EINVAL;
	ip = v_get_str(spec, "clusterIP");
	if (ip.n) {
		value ips = v_array();

		v_append(q->z, &ips, v_str(ip));
		if (v_len(v_get(spec, "clusterIPs")) < 2)
			v_set(q->z, spec, "clusterIPs", ips);
	}
	return give_node_ports(q, r, obj, old, spec, t);
}
