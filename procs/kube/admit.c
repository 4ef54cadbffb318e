/* admit.c - what the admission plugins of a stock cluster add to new objects. */
#include "weft/kube.h"

/* --- Pods --------------------------------------------------------------------------- */

static const char token_path[] = "/var/run/secrets/kubernetes.io/serviceaccount";
static const char token_prefix[] = "kube-api-access-";

/* {KEY: inner} */
static value wrap(zone *z, const char *key, value inner)
{
	value v = v_map();

	v_set(z, &v, key, inner);
	return v;
}

/* [{"key": KEY, "path": KEY}] of the ConfigMap that each namespace has. */
static value root_ca(zone *z)
{
	value item = v_map(), items = v_array(), map = v_map();

	v_set(z, &item, "key", v_cstr("ca.crt"));
	v_set(z, &item, "path", v_cstr("ca.crt"));
	v_append(z, &items, item);
	v_set(z, &map, "name", v_cstr("kube-root-ca.crt"));
	v_set(z, &map, "items", items);
	return wrap(z, "configMap", map);
}

static value token(zone *z)
{
	value t = v_map();

	v_set(z, &t, "expirationSeconds", v_int(3607));
	v_set(z, &t, "path", v_cstr("token"));
	return wrap(z, "serviceAccountToken", t);
}

static value own_namespace(zone *z)
{
	value ref = v_map(), item = v_map(), items = v_array();

	v_set(z, &ref, "apiVersion", v_cstr("v1"));
	v_set(z, &ref, "fieldPath", v_cstr("metadata.namespace"));
	v_set(z, &item, "path", v_cstr("namespace"));
	v_set(z, &item, "fieldRef", ref);
	v_append(z, &items, item);
	return wrap(z, "downwardAPI", wrap(z, "items", items));
}

static value token_volume(zone *z, value name)
{
	value v = v_map(), projected = v_map(), sources = v_array();

	v_append(z, &sources, token(z));
	v_append(z, &sources, root_ca(z));
	v_append(z, &sources, own_namespace(z));
	v_set(z, &projected, "sources", sources);
	v_set(z, &projected, "defaultMode", v_int(0644));
	v_set(z, &v, "name", name);
	v_set(z, &v, "projected", projected);
	return v;
}

/* Mount the token where nothing else is; true if any container took it. */
static bool mount_token(zone *z, const value *containers, value name)
{
	bool used = false;

	v_each(c, containers) {
		bool taken = false;
		value m = v_map();

		if (!v_is_map(c))
			continue;
		v_each(have, v_get(c, "volumeMounts"))
			taken |= str_is(v_get_str(have, "mountPath"), token_path);
		if (taken)
			continue;
		v_set(z, &m, "name", name);
		v_set(z, &m, "readOnly", v_bool(true));
		v_set(z, &m, "mountPath", v_cstr(token_path));
		v_append(z, v_array_at(z, c, "volumeMounts"), m);
		used = true;
	}
	return used;
}

/* A name for the volume: from the uid if the pod has one, else any. */
static value token_name(zone *z, const value *pod, bool holes)
{
	uint8_t uid[16];
	char suffix[5];

	if (holes)
		return v_hole(z, HOLE_UID5, 0, STR("kube-api-access-"));
	if (!uid_parse(v_get_str(v_get(pod, "metadata"), "uid"), uid)) {
		int64_t now = clock_wall_ns();
		uint64_t mixed = (uint64_t)now * 0x9e3779b97f4a7c15u;

		memcpy(uid, &now, 8);
		memcpy(uid + 8, &mixed, 8);
	}
	uid_suffix5(uid, suffix);
	return v_str(zone_printf(z, "%s%.5s", token_prefix, suffix));
}

static void add_token(zone *z, value *pod, bool holes)
{
	value *spec = v_get(pod, "spec");
	value name = token_name(z, pod, holes);
	bool used = mount_token(z, v_get(spec, "initContainers"), name);

	used |= mount_token(z, v_get(spec, "containers"), name);
	if (used)
		v_append(z, v_array_at(z, spec, "volumes"), token_volume(z, name));
}

/* Does it tolerate this taint's NoExecute already? */
static bool tolerates(const value *t, const char *taint)
{
	struct str key = v_get_str(t, "key"), effect = v_get_str(t, "effect");

	return (!key.n || str_is(key, taint)) && (!effect.n || str_eq(effect, STR("NoExecute")));
}

static void add_toleration(zone *z, value *spec, const char *taint)
{
	value t = v_map();

	v_each(have, v_get(spec, "tolerations"))
		if (tolerates(have, taint))
			return;
	v_set(z, &t, "key", v_cstr(taint));
	v_set(z, &t, "operator", v_cstr("Exists"));
	v_set(z, &t, "effect", v_cstr("NoExecute"));
	v_set(z, &t, "tolerationSeconds", v_int(300));
	v_append(z, v_array_at(z, spec, "tolerations"), t);
}

/* The classes that every cluster has; others are the caller's to look up. */
static int64_t priority_of(struct str class)
{
	if (str_eq(class, STR("system-node-critical")))
		return 2000001000;
	return str_eq(class, STR("system-cluster-critical")) ? 2000000000 : 0;
}

void kube_admit_tolerations(zone *z, value *pod)
{
	value *spec = v_map_at(z, pod, "spec");

	add_toleration(z, spec, "node.kubernetes.io/not-ready");
	add_toleration(z, spec, "node.kubernetes.io/unreachable");
}

void kube_admit_pod(zone *z, value *pod, bool holes)
{
	value *spec = v_map_at(z, pod, "spec");
	struct str account = v_get_str(spec, "serviceAccountName");

	if (!account.n)
		account = STR("default");
	v_set(z, spec, "serviceAccountName", v_str(account));
	v_set(z, spec, "serviceAccount", v_str(account));
	if (v_get_bool(spec, "automountServiceAccountToken", true))
		add_token(z, pod, holes);
	kube_admit_tolerations(z, pod);
	if (v_is_null(v_get(spec, "priority")))
		v_set(z, spec, "priority",
		      v_int(priority_of(v_get_str(spec, "priorityClassName"))));
	if (!v_get_str(spec, "preemptionPolicy").n)
		v_set(z, spec, "preemptionPolicy", v_cstr("PreemptLowerPriority"));
}

/* --- Others ------------------------------------------------------------------------- */

static void add_finalizer(zone *z, value *obj, const char *name)
{
	value *list = v_array_at(z, v_map_at(z, obj, "metadata"), "finalizers");

	v_each(f, list)
		if (str_is(v_as_str(f), name))
			return;
	v_append(z, list, v_cstr(name));
}

/* A new node takes no pods until it has said that it is ready. */
static void add_not_ready(zone *z, value *node)
{
	value *taints = v_array_at(z, v_map_at(z, node, "spec"), "taints"), t = v_map();

	v_each(have, taints)
		if (str_eq(v_get_str(have, "key"), STR("node.kubernetes.io/not-ready")) &&
		    str_eq(v_get_str(have, "effect"), STR("NoSchedule")))
			return;
	v_set(z, &t, "key", v_cstr("node.kubernetes.io/not-ready"));
	v_set(z, &t, "effect", v_cstr("NoSchedule"));
	v_append(z, taints, t);
}

void kube_admit(zone *z, const struct kube_resource *r, value *obj)
{
	switch (r->type) {
	case TYPE_POD:
		kube_admit_pod(z, obj, false);
		break;
	case TYPE_NODE:
		add_not_ready(z, obj);
		break;
	case TYPE_PERSISTENTVOLUME:
		add_finalizer(z, obj, "kubernetes.io/pv-protection");
		break;
	case TYPE_PERSISTENTVOLUMECLAIM:
		add_finalizer(z, obj, "kubernetes.io/pvc-protection");
		break;
	}
}
