/*
 * pod.c - rules about pods and their owners that controllers share.
 */
#include "weft/kube.h"

value kube_owner_ref(zone *z, const struct cache *c, const struct entry *e, bool controller)
{
	const struct kube_resource *r = kube_by_type(e->type);
	char uid[37];
	value ref = v_map();

	uid_format(e->uid, uid);
	v_set(z, &ref, "apiVersion", v_cstr(r->api_version));
	v_set(z, &ref, "kind", v_cstr(r->kind));
	v_set(z, &ref, "name", v_str(zone_str(z, entry_name(e))));
	v_set(z, &ref, "uid", v_str(zone_str(z, (struct str){uid, 36})));
	if (controller) {
		v_set(z, &ref, "controller", v_bool(true));
		v_set(z, &ref, "blockOwnerDeletion", v_bool(true));
	}
	return ref;
}

const value *kube_controller_of(const value *metadata)
{
	v_each(ref, v_get(metadata, "ownerReferences"))
		if (v_get_bool(ref, "controller", false))
			return ref;
	return NULL;
}

static value metadata_from(zone *z, const value *template, const value *owner)
{
	static const char *const taken[] = {"labels", "annotations", "finalizers"};
	const value *from = v_get(template, "metadata");
	struct str name = v_get_str(owner, "name");
	value m = v_map(), refs = v_array();

	v_set(z, &m, "generateName", v_str(zone_printf(z, STR_FMT "-", STR_ARG(name))));
	for (size_t i = 0; i < countof(taken); i++)
		if (v_len(v_get(from, taken[i])))
			v_set(z, &m, taken[i], v_copy(z, v_get(from, taken[i])));
	v_append(z, &refs, *owner);
	v_set(z, &m, "ownerReferences", refs);
	return m;
}

void kube_pod_from_template(zone *z, const value *template, const value *owner, value *pod)
{
	const struct kube_resource *r = kube_by_type(TYPE_POD);
	const value *spec = v_get(template, "spec");
	value *status;
	bool bump;

	*pod = v_map();
	v_set(z, pod, "apiVersion", v_cstr(r->api_version));
	v_set(z, pod, "kind", v_cstr(r->kind));
	v_set(z, pod, "metadata", metadata_from(z, template, owner));
	v_set(z, pod, "spec", spec ? v_copy(z, spec) : v_map());
	kube_default(z, r, pod);
	kube_admit_pod(z, pod, true);
	kube_prepare(z, r, pod, NULL, STR(""), &bump);
	status = v_map_at(z, pod, "status");
	if (!v_get(status, "phase"))
		v_set(z, status, "phase", v_cstr("Pending"));
}

bool kube_pod_available(const struct version *v, uint32_t min_ready_s, uint32_t now_s,
			uint32_t *wait_s)
{
	uint64_t from = (uint64_t)v->hot.ready_since_s + min_ready_s;

	*wait_s = 0;
	if (!(v->hot.flags & HOT_READY))
		return false;
	if (!min_ready_s)
		return true;
	if (!v->hot.ready_since_s)
		return false;
	if (from > now_s)
		*wait_s = (uint32_t)(from - now_s);
	return from <= now_s;
}

bool kube_tolerates(const value *toleration, const value *taint)
{
	struct str effect = v_get_str(toleration, "effect"), key = v_get_str(toleration, "key");

	if (effect.n && !str_eq(effect, v_get_str(taint, "effect")))
		return false;
	if (key.n && !str_eq(key, v_get_str(taint, "key")))
		return false;
	if (str_eq(v_get_str(toleration, "operator"), STR("Exists")))
		return true;
	return key.n && str_eq(v_get_str(toleration, "value"), v_get_str(taint, "value"));
}
