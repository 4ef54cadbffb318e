/* validate_volume.c - a pod's volumes, and what containers may ask for. */
#include "procs/kube/validate.h"

/* --- Paths and modes ---------------------------------------------------------------- */

/* A path inside a volume. */
static void check_inner_path(struct validation *v, const struct at *at, struct str s)
{
	if (!s.n) {
		bad_required(v, at, NULL);
		return;
	}
	if (s.p[0] == '/')
		bad_invalid(v, at, SHOW(s), "must be a relative path");
	if (has_backstep(s))
		bad_invalid(v, at, SHOW(s), "must not contain '..'");
	else if (has_prefix(s, ".."))
		bad_invalid(v, at, SHOW(s), "must not start with '..'");
}

static void check_mode(struct validation *v, const struct at *at, const value *map, const char *key)
{
	const value *m = v_get(map, key);

	if (v_as_int(m, 0) < 0 || v_as_int(m, 0) > 0777)
		bad_invalid(v, FIELD(at, key), m,
			    "must be a number between 0 and 0777 (octal), both inclusive");
}

static void check_items(struct validation *v, const struct at *at, const value *source)
{
	uint32_t i = 0;

	v_each(item, v_get(source, "items")) {
		const struct at *place = INDEX(FIELD(at, "items"), i++);

		check_required(v, place, item, "key");
		check_inner_path(v, FIELD(place, "path"), v_get_str(item, "path"));
		check_mode(v, place, item, "mode");
	}
}

/* --- Sources ------------------------------------------------------------------------ */

typedef void source_fn(struct validation *v, const struct at *at, const value *s);

static void check_empty_dir(struct validation *v, const struct at *at, const value *s)
{
	int64_t n;

	if (kube_quantity_milli(v_get(s, "sizeLimit"), &n) && n < 0)
		bad_forbidden(v, FIELD(at, "sizeLimit"),
			      "SizeLimit field must be a valid resource quantity");
}

static void check_host_path(struct validation *v, const struct at *at, const value *s)
{
	struct str path = v_get_str(s, "path");

	if (!path.n) {
		bad_required(v, FIELD(at, "path"), NULL);
		return;
	}
	if (has_backstep(path))
		bad_invalid(v, FIELD(at, "path"), SHOW(path), "must not contain '..'");
	check_one_of(v, at, s, "type",
		     LIST("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File",
			  "FileOrCreate", "Socket"));
}

static void check_secret(struct validation *v, const struct at *at, const value *s)
{
	check_required(v, at, s, "secretName");
	check_mode(v, at, s, "defaultMode");
	check_items(v, at, s);
}

static void check_config_map(struct validation *v, const struct at *at, const value *s)
{
	check_required(v, at, s, "name");
	check_mode(v, at, s, "defaultMode");
	check_items(v, at, s);
}

static void check_claim(struct validation *v, const struct at *at, const value *s)
{
	check_required(v, at, s, "claimName");
}

static void check_nfs(struct validation *v, const struct at *at, const value *s)
{
	check_required(v, at, s, "server");
	if (check_required(v, at, s, "path") && v_get_str(s, "path").p[0] != '/')
		bad_invalid(v, FIELD(at, "path"), v_get(s, "path"), "must be an absolute path");
}

static void check_csi(struct validation *v, const struct at *at, const value *s)
{
	check_required(v, at, s, "driver");
}

static void check_downward_items(struct validation *v, const struct at *at, const value *s)
{
	v_each(item, v_get(s, "items")) {
		const value *field = v_get(item, "fieldRef");
		const value *resource = v_get(item, "resourceFieldRef");

		check_inner_path(v, FIELD(at, "path"), v_get_str(item, "path"));
		if (v_is_map(field) && v_is_map(resource))
			bad_invalid(v, at, &empty_text,
				    "fieldRef and resourceFieldRef can not be specified "
				    "simultaneously");
		if (v_is_map(field))
			check_field_ref(v, FIELD(at, "fieldRef"), field, true);
		else if (v_is_map(resource))
			check_resource_ref(v, FIELD(at, "resourceFieldRef"), resource, true);
		else
			bad_required(v, at, "one of fieldRef and resourceFieldRef is required");
		check_mode(v, at, item, "mode");
	}
}

static void check_downward(struct validation *v, const struct at *at, const value *s)
{
	check_mode(v, at, s, "defaultMode");
	check_downward_items(v, at, s);
}

static void check_token(struct validation *v, const struct at *at, const struct at *projected,
			const value *t)
{
	int64_t n = v_get_int(t, "expirationSeconds", 3600);

	if (n < 600)
		bad_invalid(v, FIELD(at, "expirationSeconds"), v_get(t, "expirationSeconds"),
			    "may not specify a duration less than 10 minutes");
	else if (n > UINT32_MAX)
		bad_invalid(v, FIELD(at, "expirationSeconds"), v_get(t, "expirationSeconds"),
			    "may not specify a duration larger than 2^32 seconds");
	check_inner_path(v, FIELD(projected, "path"), v_get_str(t, "path"));
}

/* Paths of a projection's files so far. */
struct paths {
	struct str list[128];
	uint32_t n;
};

/* Note a path; false if it was there already. */
static bool add_path(struct paths *p, struct str path)
{
	for (uint32_t i = 0; i < p->n; i++)
		if (str_eq(p->list[i], path))
			return false;
	if (p->n < countof(p->list))
		p->list[p->n++] = path;
	return true;
}

static bool add_paths(struct paths *p, const value *items)
{
	bool fresh = true;

	v_each(item, items)
		if (v_get_str(item, "path").n)
			fresh &= add_path(p, v_get_str(item, "path"));
	return fresh;
}

static void check_projected(struct validation *v, const struct at *at, const value *s)
{
	struct paths paths = {.n = 0};
	uint32_t i = 0;

	check_mode(v, at, s, "defaultMode");
	v_each(source, v_get(s, "sources")) {
		const struct at *place = INDEX(FIELD(at, "sources"), i++);
		const value *secret = v_get(source, "secret"), *map = v_get(source, "configMap");
		const value *token = v_get(source, "serviceAccountToken");
		const value *down = v_get(source, "downwardAPI");

		if (v_is_map(secret)) {
			check_required(v, FIELD(place, "secret"), secret, "name");
			check_items(v, FIELD(place, "secret"), secret);
		}
		if (v_is_map(map)) {
			check_required(v, FIELD(place, "configMap"), map, "name");
			check_items(v, FIELD(place, "configMap"), map);
		}
		if (v_is_map(down))
			check_downward_items(v, FIELD(place, "downwardAPI"), down);
		if (v_is_map(token))
			check_token(v, FIELD(place, "serviceAccountToken"), at, token);
		if (!add_paths(&paths, v_get(secret, "items")) ||
		    !add_paths(&paths, v_get(map, "items")) ||
		    !add_paths(&paths, v_get(down, "items")))
			bad_invalid(v, at, &empty_text, "conflicting duplicate paths");
	}
}

/* In Kubernetes' order: of several, all but the first are one too many. */
static const struct {
	const char *name;
	source_fn *check;
} sources[] = {
	{"emptyDir", check_empty_dir},
	{"hostPath", check_host_path},
	{"gitRepo", NULL},
	{"gcePersistentDisk", NULL},
	{"awsElasticBlockStore", NULL},
	{"secret", check_secret},
	{"nfs", check_nfs},
	{"iscsi", NULL},
	{"glusterfs", NULL},
	{"flocker", NULL},
	{"persistentVolumeClaim", check_claim},
	{"rbd", NULL},
	{"cinder", NULL},
	{"cephfs", NULL},
	{"quobyte", NULL},
	{"downwardAPI", check_downward},
	{"fc", NULL},
	{"azureFile", NULL},
	{"vsphereVolume", NULL},
	{"configMap", check_config_map},
	{"portworxVolume", NULL},
	{"azureDisk", NULL},
	{"storageos", NULL},
	{"photonPersistentDisk", NULL},
	{"projected", check_projected},
	{"scaleIO", NULL},
	{"csi", check_csi},
	{"ephemeral", NULL},
	{"image", NULL},
};

static void check_source(struct validation *v, const struct at *at, const value *volume)
{
	uint32_t n = 0;

	for (size_t i = 0; i < countof(sources); i++) {
		const value *s = v_get(volume, sources[i].name);

		if (!v_is_map(s))
			continue;
		if (n++)
			bad_forbidden(v, FIELD(at, sources[i].name),
				      "may not specify more than 1 volume type");
		else if (sources[i].check)
			sources[i].check(v, FIELD(at, sources[i].name), s);
	}
	if (!n)
		bad_required(v, at, "must specify a volume type");
}

void check_volumes(struct validation *v, const struct at *list, const value *spec)
{
	const value *volumes = v_get(spec, "volumes");

	for (uint32_t i = 0; i < v_len(volumes); i++) {
		const value *vol = v_at(volumes, i);
		const struct at *at = INDEX(list, i);
		struct str name = v_get_str(vol, "name");

		check_source(v, at, vol);
		if (v_get(vol, "name") && !v_is_str(v_get(vol, "name")))
			continue; /* a hole: its name is made when it is read */
		if (!check_required(v, at, vol, "name") ||
		    !check_name(v, FIELD(at, "name"), name, names_label))
			continue;
		for (uint32_t k = 0; k < i; k++)
			if (str_eq(v_get_str(v_at(volumes, k), "name"), name)) {
				bad_duplicate(v, FIELD(at, "name"), SHOW(name));
				break;
			}
	}
}

/* --- Resources ------------------------------------------------------------- */

static bool is_huge(struct str name)
{
	return has_prefix(name, "hugepages-");
}

static bool is_standard(struct str name)
{
	return str_eq(name, STR("cpu")) || str_eq(name, STR("memory")) ||
	       str_eq(name, STR("ephemeral-storage")) || is_huge(name);
}

/* Can more be asked for in sum than there is? */
static bool may_overcommit(struct str name)
{
	return !memchr(name.p, '/', name.n) && !is_huge(name);
}

static void check_resource_name(struct validation *v, const struct at *at, struct str name)
{
	bool qualified = name.n && memchr(name.p, '/', name.n);

	if (!check_name(v, at, name, names_qualified)) {
		if (qualified)
			bad_invalid(v, at, SHOW(name),
				    "doesn't follow extended resource name standard");
		return;
	}
	if (!qualified && !is_standard(name)) {
		bad_invalid(v, at, SHOW(name),
			    "must be a standard resource type or fully qualified");
		bad_invalid(v, at, SHOW(name), "must be a standard resource for containers");
	}
}

static void check_amounts(struct validation *v, const struct at *list, const value *amounts)
{
	v_each_kv(kv, amounts) {
		struct str name = v_as_str(&kv->key);
		const struct at *at = KEY(list, name);
		int64_t n = 0;

		check_resource_name(v, at, name);
		kube_quantity_milli(&kv->val, &n);
		if (n < 0)
			bad_invalid(v, at, &kv->val, "must be greater than or equal to 0");
		else if (name.n && memchr(name.p, '/', name.n) && n % 1000)
			bad_invalid(v, at, &kv->val, "must be an integer");
	}
}

static void check_request(struct validation *v, const struct at *at, const value *limits,
			  struct str name, const value *request)
{
	const value *limit = v_getn(limits, name);
	int64_t want = 0, most = 0;

	kube_quantity_milli(request, &want);
	if (!limit) {
		if (!may_overcommit(name))
			bad_required(v, FIELD(at, "limits"),
				     "Limit must be set for non overcommitable resources");
		return;
	}
	kube_quantity_milli(limit, &most);
	if (want != most && !may_overcommit(name))
		bad_invalid(v, FIELD(at, "requests"), request,
			    "must be equal to " STR_FMT " limit of " STR_FMT, STR_ARG(name),
			    STR_ARG(v_as_str(limit)));
	else if (want > most)
		bad_invalid(v, FIELD(at, "requests"), request,
			    "must be less than or equal to " STR_FMT " limit of " STR_FMT,
			    STR_ARG(name), STR_ARG(v_as_str(limit)));
}

static bool has_huge(const value *amounts)
{
	v_each_kv(kv, amounts)
		if (is_huge(v_as_str(&kv->key)))
			return true;
	return false;
}

static bool has_plain(const value *amounts)
{
	return v_get(amounts, "cpu") || v_get(amounts, "memory");
}

static void check_claims(struct validation *v, const struct at *at, const value *resources,
			 const value *claims)
{
	uint32_t i = 0;

	v_each(c, v_get(resources, "claims")) {
		bool known = false;
		struct str name = v_get_str(c, "name");

		v_each(have, claims)
			known |= str_eq(v_get_str(have, "name"), name);
		if (!known)
			bad_not_found(v, INDEX(FIELD(at, "claims"), i), name,
				      v_len(claims) ? "must be one of the names in "
						      "pod.spec.resourceClaims"
						    : "must be one of the names in "
						      "pod.spec.resourceClaims which is empty");
		i++;
	}
}

void check_resources(struct validation *v, const struct at *at, const value *resources,
		     const value *claims)
{
	const value *limits = v_get(resources, "limits"), *requests = v_get(resources, "requests");

	check_amounts(v, FIELD(at, "limits"), limits);
	check_amounts(v, FIELD(at, "requests"), requests);
	v_each_kv(kv, requests)
		check_request(v, at, limits, v_as_str(&kv->key), &kv->val);
	if ((has_huge(limits) || has_huge(requests)) && !has_plain(limits) && !has_plain(requests))
		bad_forbidden(v, at, "HugePages require cpu or memory");
	check_claims(v, at, resources, claims);
}
