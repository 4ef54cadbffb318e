/* validate_core.c - core kinds without pods: data, namespaces, nodes, events, leases. */
#include "procs/kube/scalar.h"
#include "procs/kube/validate.h"
#include "weft/json.h"

#define DATA_MAX (1024 * 1024)

/* --- ConfigMap, Secret -------------------------------------------------------------- */

static void check_keys(struct validation *v, const struct at *at, const value *data)
{
	v_each_kv(kv, data)
		check_name(v, KEY(at, v_as_str(&kv->key)), v_as_str(&kv->key), names_config_key);
}

/* What was made immutable stays so, with all that it has. */
static void check_frozen(struct validation *v, const value *obj, const value *old,
			 const char *const *fields)
{
	if (!old || !v_get_bool(old, "immutable", false))
		return;
	if (!v_get_bool(obj, "immutable", false))
		bad_forbidden(v, FIELD(NULL, "immutable"),
			      "field is immutable when `immutable` is set");
	for (; *fields; fields++) {
		const value *a = v_get(obj, *fields), *b = v_get(old, *fields);

		if ((v_len(a) || v_len(b)) && !(a && b && v_equal(a, b)))
			bad_forbidden(v, FIELD(NULL, *fields),
				      "field is immutable when `immutable` is set");
	}
}

static uint64_t text_size(const value *data)
{
	uint64_t n = 0;

	v_each_kv(kv, data)
		n += v_as_str(&kv->val).n;
	return n;
}

/* Bytes behind base64. */
static uint64_t bytes_size(const value *data)
{
	uint64_t n = 0;

	v_each_kv(kv, data) {
		struct str s = v_as_str(&kv->val);

		n += (uint64_t)s.n / 4 * 3;
		for (uint32_t i = s.n; i > 0 && s.p[i - 1] == '='; i--)
			n--;
	}
	return n;
}

void validate_config_map(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *data = v_get(obj, "data"), *binary = v_get(obj, "binaryData");

	check_keys(v, FIELD(NULL, "data"), data);
	check_keys(v, FIELD(NULL, "binaryData"), binary);
	v_each_kv(kv, data)
		if (v_getn(binary, v_as_str(&kv->key)))
			bad_invalid(v, KEY(FIELD(NULL, "data"), v_as_str(&kv->key)),
				    SHOW(v_as_str(&kv->key)),
				    "duplicate of key present in binaryData");
	if (text_size(data) + bytes_size(binary) > DATA_MAX)
		kube_error_add(v->errs, STR("[]"), "FieldValueTooLong",
			       "Too long: may not be more than %d bytes", DATA_MAX);
	check_frozen(v, obj, old, LIST("data", "binaryData"));
}

/* The keys that a Secret of a type must have. */
static const struct {
	const char *type;
	const char *keys[3];
} secret_types[] = {
	{"kubernetes.io/tls", {"tls.crt", "tls.key"}},
	{"kubernetes.io/dockercfg", {".dockercfg"}},
	{"kubernetes.io/dockerconfigjson", {".dockerconfigjson"}},
	{"kubernetes.io/ssh-auth", {"ssh-privatekey"}},
};

/* Credentials for registries are JSON. */
static void check_registry(struct validation *v, const struct at *data, const value *obj,
			   const char *key)
{
	static const value redacted = {.type = MSGPACK_OBJECT_STR,
				       .via.str = {26, "<secret contents redacted>"}};
	struct str text = scalar_base64_bytes(v->z, v_get_str(v_get(obj, "data"), key));
	struct err e;
	value out;

	if (!v_get(v_get(obj, "data"), key) || !json_decode(v->z, text, &out, NULL, &e))
		return;
	if (!text.n)
		bad_invalid(v, KEY(data, str_of(key)), &redacted, "unexpected end of JSON input");
	else if (!strchr("{[\"0123456789-tfn \t\r\n", text.p[0]))
		bad_invalid(v, KEY(data, str_of(key)), &redacted,
			    "invalid character '%c' looking for beginning of value", text.p[0]);
	else
		bad_invalid(v, KEY(data, str_of(key)), &redacted, "%s", e.msg);
}

static void check_secret_type(struct validation *v, const value *obj)
{
	const struct at *data = FIELD(NULL, "data");
	const value *have = v_get(obj, "data");

	for (size_t i = 0; i < countof(secret_types); i++) {
		if (!is_str(obj, "type", secret_types[i].type))
			continue;
		for (const char *const *k = secret_types[i].keys; *k; k++)
			if (!v_get(have, *k))
				bad_required(v, KEY(data, str_of(*k)), NULL);
	}
	if (is_str(obj, "type", "kubernetes.io/dockercfg"))
		check_registry(v, data, obj, ".dockercfg");
	if (is_str(obj, "type", "kubernetes.io/dockerconfigjson"))
		check_registry(v, data, obj, ".dockerconfigjson");
	if (is_str(obj, "type", "kubernetes.io/basic-auth") && !v_get(have, "username") &&
	    !v_get(have, "password")) {
		bad_required(v, KEY(data, STR("username")), NULL);
		bad_required(v, KEY(data, STR("password")), NULL);
	}
	if (is_str(obj, "type", "kubernetes.io/service-account-token") &&
	    !v_get_str(v_path(obj, "metadata.annotations"), "kubernetes.io/service-account.name").n)
		bad_required(v,
			     KEY(FIELD(FIELD(NULL, "metadata"), "annotations"),
				 STR("kubernetes.io/service-account.name")),
			     NULL);
}

void validate_secret(struct validation *v, const value *obj, const value *old, struct str sub)
{
	check_keys(v, FIELD(NULL, "data"), v_get(obj, "data"));
	if (bytes_size(v_get(obj, "data")) > DATA_MAX)
		bad_too_long(v, FIELD(NULL, "data"), DATA_MAX);
	check_secret_type(v, obj);
	if (old)
		check_immutable(v, FIELD(NULL, "type"), v_get(obj, "type"), v_get(old, "type"));
	check_frozen(v, obj, old, LIST("data"));
}

void validate_service_account(struct validation *v, const value *obj, const value *old,
			      struct str sub)
{
}

/* --- Namespace ---------------------------------------------------------------------- */

void validate_namespace(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const struct at *at = FIELD(SPEC, "finalizers");

	v_each(f, v_path(obj, "spec.finalizers")) {
		struct str s = v_as_str(f);

		check_name(v, at, s, names_qualified);
		if (!(s.n && memchr(s.p, '/', s.n)) && !str_eq(s, STR("kubernetes")) &&
		    !str_eq(s, STR("orphan")) && !str_eq(s, STR("foregroundDeletion")))
			bad_invalid(v, at, f,
				    "name is neither a standard finalizer name nor is it fully "
				    "qualified");
	}
}

/* --- Node ------------------------------------------------------------------ */

static value shown_taint(zone *z, const value *t)
{
	value shown = v_map();

	v_set(z, &shown, "Key", v_str(v_get_str(t, "key")));
	v_set(z, &shown, "Value", v_str(v_get_str(t, "value")));
	v_set(z, &shown, "Effect", v_str(v_get_str(t, "effect")));
	v_set(z, &shown, "TimeAdded", v_null());
	return shown;
}

static void check_taint_once(struct validation *v, const struct at *at, const value *taints,
			     uint32_t i)
{
	const value *t = v_at(taints, i);
	value shown = shown_taint(v->z, t);

	for (uint32_t k = 0; k < i; k++) {
		const value *other = v_at(taints, k);

		if (!str_eq(v_get_str(other, "key"), v_get_str(t, "key")) ||
		    !str_eq(v_get_str(other, "effect"), v_get_str(t, "effect")))
			continue;
		bad_duplicate(v, at, &shown);
		v->errs->list[v->errs->n - 1].message =
			zone_printf(v->z, STR_FMT ": taints must be unique by key and effect pair",
				    STR_ARG(v->errs->list[v->errs->n - 1].message));
		return;
	}
}

static void check_taints(struct validation *v, const value *taints)
{
	const struct at *list = FIELD(FIELD(NULL, "metadata"), "taints");

	for (uint32_t i = 0; i < v_len(taints); i++) {
		const value *t = v_at(taints, i);
		const struct at *at = INDEX(list, i);

		check_name(v, FIELD(at, "key"), v_get_str(t, "key"), names_qualified);
		check_name(v, FIELD(at, "value"), v_get_str(t, "value"), names_label_value);
		if (check_required(v, at, t, "effect"))
			check_one_of(v, at, t, "effect",
				     LIST("NoSchedule", "PreferNoSchedule", "NoExecute"));
		check_taint_once(v, at, taints, i);
	}
}

static void check_capacity(struct validation *v, const struct at *at, const value *amounts)
{
	v_each_kv(kv, amounts) {
		int64_t n = 0;

		kube_quantity_milli(&kv->val, &n);
		if (n < 0)
			bad_invalid(
				v,
				FIELD(at,
				      zone_printf(v->z, STR_FMT, STR_ARG(v_as_str(&kv->key))).p),
				&kv->val, "must be greater than or equal to 0");
	}
}

/* The pod ranges of a node are given once. */
static void check_cidrs_kept(struct validation *v, const value *obj, const value *old)
{
	const value *was = v_path(old, "spec.podCIDRs"), *now = v_path(obj, "spec.podCIDRs");

	if (v_len(was) && !(now && v_equal(now, was)))
		bad_forbidden(v, FIELD(SPEC, "podCIDRs"),
			      "node updates may not change podCIDR except from \"\" to valid");
	if (v_get_str(v_get(old, "spec"), "providerID").n &&
	    !str_eq(v_get_str(v_get(old, "spec"), "providerID"),
		    v_get_str(v_get(obj, "spec"), "providerID")))
		bad_forbidden(v, FIELD(SPEC, "providerID"),
			      "node updates may not change providerID except from \"\" to valid");
}

void validate_node(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *cidrs = v_get(spec, "podCIDRs");
	const struct at *status = FIELD(NULL, "status");
	uint32_t i = 0;

	check_taints(v, v_get(spec, "taints"));
	check_capacity(v, FIELD(status, "capacity"), v_path(obj, "status.capacity"));
	v_each(c, cidrs)
		check_name(v, INDEX(FIELD(SPEC, "podCIDRs"), i++), v_as_str(c), names_cidr);
	if (old && !sub.n)
		check_cidrs_kept(v, obj, old);
}

/* --- Events ---------------------------------------------------------------- */

/* What a client of events.k8s.io has to say. */
static void check_new_event(struct validation *v, const value *obj)
{
	struct str type = v_get_str(obj, "type");

	if (v_is_null(v_get(obj, "eventTime")))
		bad_required(v, FIELD(NULL, "eventTime"), NULL);
	if (check_required(v, NULL, obj, "reportingController"))
		check_name(v, FIELD(NULL, "reportingController"),
			   v_get_str(obj, "reportingController"), names_qualified);
	if (check_required(v, NULL, obj, "reportingInstance") &&
	    v_get_str(obj, "reportingInstance").n > 128)
		bad_invalid(v, FIELD(NULL, "reportingInstance"), &empty_text,
			    "can have at most 128 characters");
	if (check_required(v, NULL, obj, "action") && v_get_str(obj, "action").n > 128)
		bad_invalid(v, FIELD(NULL, "action"), &empty_text,
			    "can have at most 128 characters");
	if (check_required(v, NULL, obj, "reason") && v_get_str(obj, "reason").n > 128)
		bad_invalid(v, FIELD(NULL, "reason"), &empty_text,
			    "can have at most 128 characters");
	if (v_get_str(obj, "note").n > 1024)
		bad_invalid(v, FIELD(NULL, "message"), &empty_text,
			    "can have at most 1024 characters");
	if (!str_eq(type, STR("Normal")) && !str_eq(type, STR("Warning")))
		bad_invalid(v, FIELD(NULL, "type"), &empty_text, "has invalid value: " STR_FMT,
			    STR_ARG(type));
}

void validate_event(struct validation *v, const value *obj, const value *old, struct str sub)
{
	bool core = !*v->r->group;
	const value *about = v_get(obj, core ? "involvedObject" : "regarding");
	struct str ns = v_get_str(about, "namespace");
	struct str own = v_get_str(v_get(obj, "metadata"), "namespace");

	if (ns.n ? !str_eq(ns, own)
		 : !str_eq(own, STR("default")) && !str_eq(own, STR("kube-system")))
		bad_invalid(v, FIELD(FIELD(NULL, "involvedObject"), "namespace"), SHOW(ns),
			    "does not match event.namespace");
	if (core || old)
		return;
	if (!v_is_null(v_get(obj, "eventTime"))) {
		check_new_event(v, obj);
		return;
	}
	bad_required(v, FIELD(NULL, "eventTime"), NULL);
	if (!is_str(obj, "type", "Normal") && !is_str(obj, "type", "Warning"))
		bad_invalid(v, FIELD(NULL, "type"), &empty_text, "has invalid value: " STR_FMT,
			    STR_ARG(v_get_str(obj, "type")));
}

/* --- Lease ----------------------------------------------------------------- */

void validate_lease(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const value *spec = v_get(obj, "spec"), *seconds = v_get(spec, "leaseDurationSeconds");
	const value *holder = v_get(spec, "holderIdentity");

	if (!v_is_null(seconds) && v_as_int(seconds, 1) <= 0)
		bad_invalid(v, FIELD(SPEC, "leaseDurationSeconds"), seconds,
			    "must be greater than 0");
	check_not_negative(v, SPEC, spec, "leaseTransitions");
	if (v_is_str(holder) && !v_as_str(holder).n && v_get_str(spec, "strategy").n)
		bad_invalid(v, FIELD(SPEC, "holderIdentity"), holder, "must not be empty");
}

/* --- Limits ---------------------------------------------------------------- */

/* Of two bounds of a resource, the first may not be above the second. */
static void check_order(struct validation *v, const struct at *at, const value *item,
			const char *low, const char *high, const char *low_text,
			const char *high_text)
{
	v_each_kv(kv, v_get(item, low)) {
		const value *most = v_getn(v_get(item, high), v_as_str(&kv->key));
		int64_t a = 0, b = 0;

		if (!most)
			continue;
		kube_quantity_milli(&kv->val, &a);
		kube_quantity_milli(most, &b);
		if (a > b)
			bad_invalid(v, KEY(FIELD(at, low), v_as_str(&kv->key)), &kv->val,
				    "%s value " STR_FMT " is greater than %s value " STR_FMT,
				    low_text, STR_ARG(v_as_str(&kv->val)), high_text,
				    STR_ARG(v_as_str(most)));
	}
}

void validate_limit_range(struct validation *v, const value *obj, const value *old, struct str sub)
{
	uint32_t i = 0;

	v_each(item, v_path(obj, "spec.limits")) {
		const struct at *at = INDEX(FIELD(SPEC, "limits"), i++);

		check_name(v, FIELD(at, "type"), v_get_str(item, "type"), names_qualified);
		check_order(v, at, item, "min", "max", "min", "max");
		check_order(v, at, item, "min", "defaultRequest", "min", "default request");
		check_order(v, at, item, "defaultRequest", "max", "default request", "max");
		check_order(v, at, item, "defaultRequest", "default", "default request",
			    "default limit");
		check_order(v, at, item, "default", "max", "default", "max");
	}
}
