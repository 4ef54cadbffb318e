/*
 * plain.c - fixed paths: version, health, metrics, the index, component
 * statuses.
 */
#include <sys/utsname.h>
#include "procs/apiserver/api.h"
#include "procs/apiserver/openapi.h"
#include "procs/apiserver/token.h"
#include "procs/apiserver/verbs.h"

/* --- Version ------------------------------------------------------------------------ */

/* The Kubernetes whose API is served. */
#define KUBE_MAJOR "1"
#define KUBE_MINOR "37"

static enum outcome version_get(struct request *q)
{
	static const char *const fields[][2] = {
		{"major", KUBE_MAJOR},
		{"minor", KUBE_MINOR},
		{"emulationMajor", KUBE_MAJOR},
		{"emulationMinor", KUBE_MINOR},
		{"minCompatibilityMajor", KUBE_MAJOR},
		{"minCompatibilityMinor", "36"},
		{"gitVersion", "v" KUBE_MAJOR "." KUBE_MINOR ".0+weft"},
		{"gitCommit", ""},
		{"gitTreeState", ""},
		{"buildDate", "1970-01-01T00:00:00Z"},
		{"goVersion", ""},
		{"compiler", "cc " __VERSION__},
	};
	struct utsname u;
	value v = v_map();

	if (negotiate(q, false, false))
		return ANSWERED;
	q->pretty = true;
	for (size_t i = 0; i < countof(fields); i++)
		v_set(q->z, &v, fields[i][0], v_cstr(fields[i][1]));
	v_set(q->z, &v, "platform",
	      v_str(uname(&u) ? STR("linux")
			      : zone_printf(q->z, "linux/%s",
					    strcmp(u.machine, "x86_64") ? u.machine : "amd64")));
	return answer_value(q, 200, &v);
}

/* --- Health ------------------------------------------------------------------------- */

static bool store_up(const struct api *api)
{
	const struct control *ctl = proc_control(api->p);

	return atomic_load_explicit(&ctl->store_up, memory_order_acquire) != 0;
}

static bool always(const struct api *api)
{
	return true;
}

static bool not_stopping(const struct api *api)
{
	return !proc_stopping(api->p);
}

/* Checks by the names under which Kubernetes' users know them. */
static const struct check {
	const char *name;
	bool (*good)(const struct api *api);
	bool live, ready;
} checks[] = {
	{"ping", always, true, true},
	{"log", always, true, true},
	{"etcd", store_up, false, true},
	{"informer-sync", always, false, true},
	{"shutdown", not_stopping, false, true},
};

static bool named(struct str path, const char *word)
{
	return str_is(path, word);
}

static bool excluded(struct request *q, const char *name)
{
	for (uint32_t i = 0; i < q->query.n; i++)
		if (str_eq(q->query.list[i].key, STR("exclude")) &&
		    str_is(q->query.list[i].value, name))
			return true;
	return false;
}

static enum outcome health_get(struct request *q)
{
	struct str path = q->path, what = {path.p + 1, path.n - 1};
	const char *slash;
	struct str only = {NULL, 0};
	struct buf b = {0};
	bool good = true, found = false;

	slash = memchr(what.p, '/', what.n);
	if (slash) {
		only = (struct str){slash + 1, what.n - (uint32_t)(slash + 1 - what.p)};
		what.n = (uint32_t)(slash - what.p);
	}
	for (size_t i = 0; i < countof(checks); i++) {
		const struct check *c = &checks[i];
		bool ok;

		if ((named(what, "livez") && !c->live) || (only.n && !named(only, c->name)))
			continue;
		if (!only.n && named(what, "healthz") && !strcmp(c->name, "informer-sync"))
			continue;
		found = true;
		if (excluded(q, c->name)) {
			buf_printf(&b, "[+]%s excluded: ok\n", c->name);
			continue;
		}
		ok = c->good(q->api);
		good &= ok;
		buf_printf(&b, ok ? "[+]%s ok\n" : "[-]%s failed: reason withheld\n", c->name);
	}
	if (!found) {
		buf_free(&b);
		return answer_no_page(q);
	}
	if (good && (only.n || !query_has(&q->query, "verbose"))) {
		answer_text(q, 200, STR("ok"));
	} else {
		buf_printf(&b, STR_FMT " check %s\n", STR_ARG(what), good ? "passed" : "failed");
		answer_text(q, good ? 200 : 500, buf_str(&b));
	}
	buf_free(&b);
	return ANSWERED;
}

/* --- Metrics ------------------------------------------------------------------------ */

static enum outcome metrics_get(struct request *q)
{
	static const char *const methods[] = {
		[METHOD_GET] = "GET",	  [METHOD_POST] = "POST",     [METHOD_PUT] = "PUT",
		[METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE", [METHOD_OTHER] = "OTHER",
	};
	struct api *api = q->api;
	const struct proc_counters *n = proc_counters(api->p);
	struct cache *c = api_cache(api);

	q->out.n = 0;
	buf_puts(&q->out, "# HELP apiserver_request_total Requests answered, by method and class "
			  "of code.\n# TYPE apiserver_request_total counter\n");
	for (size_t m = 0; m < countof(methods); m++)
		for (size_t k = 1; k < 6; k++)
			if (api->requests[m][k])
				buf_printf(&q->out,
					   "apiserver_request_total{verb=\"%s\",code=\"%zuxx\"} "
					   "%llu\n",
					   methods[m], k, (unsigned long long)api->requests[m][k]);
#define X(name, text)                                                           \
	buf_printf(&q->out,                                                     \
		   "# HELP weft_" #name " %s\n# TYPE weft_" #name " untyped\n"  \
		   "weft_" #name "{process=\"apiserver\",shard=\"%u\"} %llu\n", \
		   text, proc_shard(api->p),                                    \
		   (unsigned long long)atomic_load_explicit(&n->name, memory_order_relaxed));
	PROC_COUNTERS(X)
#undef X
	buf_puts(&q->out, "# HELP apiserver_storage_objects Objects stored, by resource.\n"
			  "# TYPE apiserver_storage_objects gauge\n");
	cache_lock(c);
	uint32_t nres;
	const struct kube_resource *r = kube_resources(&nres);
	for (uint32_t i = 0; i < nres; i++)
		if (r[i].type && r[i].stored_version)
			buf_printf(&q->out, "apiserver_storage_objects{resource=\"%s%s%s\"} %llu\n",
				   r[i].resource, r[i].group[0] ? "." : "", r[i].group,
				   (unsigned long long)cache_type_count(c, r[i].type));
	buf_printf(&q->out,
		   "# HELP weft_resource_version Newest resourceVersion.\n"
		   "# TYPE weft_resource_version counter\nweft_resource_version %llu\n",
		   (unsigned long long)cache_rv(c));
	cache_unlock(c);
	q->code = 200;
	q->content_type = "text/plain; version=0.0.4; charset=utf-8";
	return ANSWERED;
}

/* --- The table of paths ------------------------------------------------------------- */

static enum outcome index_get(struct request *q);

static const struct {
	const char *path;
	bool below; /* paths below it too */
	bool open;  /* to anybody */
	enum outcome (*get)(struct request *q);
} paths[] = {
	{"/", false, false, index_get},
	{"/.well-known/openid-configuration", false, false, openid_configuration},
	{"/healthz", true, true, health_get},
	{"/livez", true, true, health_get},
	{"/metrics", false, false, metrics_get},
	{"/openapi/v2", false, false, openapi_v2_get},
	{"/openapi/v3", true, false, openapi_v3_get},
	{"/openid/v1/jwks", false, false, openid_keys},
	{"/readyz", true, true, health_get},
	{"/version", false, true, version_get},
	{"/version/", false, true, version_get},
};

static int path_find(struct str path)
{
	for (size_t i = 0; i < countof(paths); i++) {
		struct str p = str_of(paths[i].path);

		if (str_eq(path, p))
			return (int)i;
		if (paths[i].below && path.n > p.n && !memcmp(path.p, p.p, p.n) &&
		    path.p[p.n] == '/')
			return (int)i;
	}
	return -1;
}

bool plain_path(struct str path)
{
	return path_find(path) >= 0;
}

bool plain_public(struct str path)
{
	int i = path_find(path);

	return i >= 0 && paths[i].open;
}

enum outcome plain_handle(struct request *q)
{
	if (q->method != METHOD_GET)
		return answer_status(q, kube_status_method_not_allowed(q->z, NULL, q->verb_name));
	return paths[path_find(q->path)].get(q);
}

static void add_path(zone *z, value *list, struct str path)
{
	v_append(z, list, v_str(path));
}

/* All paths that there are. */
static enum outcome index_get(struct request *q)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	const char *group = NULL, *version = NULL;
	value v = v_map(), list = v_array();

	if (negotiate(q, false, false))
		return ANSWERED;
	add_path(q->z, &list, STR("/api"));
	add_path(q->z, &list, STR("/api/v1"));
	add_path(q->z, &list, STR("/apis"));
	for (uint32_t i = 0; i < n; i++) {
		if (!r[i].group[0])
			continue;
		if (!group || strcmp(group, r[i].group)) {
			add_path(q->z, &list, zone_printf(q->z, "/apis/%s", r[i].group));
			version = NULL;
		}
		if (!version || strcmp(version, r[i].version))
			add_path(q->z, &list,
				 zone_printf(q->z, "/apis/%s/%s", r[i].group, r[i].version));
		group = r[i].group;
		version = r[i].version;
	}
	for (size_t i = 1; i < countof(paths); i++)
		add_path(q->z, &list, str_of(paths[i].path));
	v_set(q->z, &v, "paths", list);
	return answer_value(q, 200, &v);
}

/* --- Component statuses ------------------------------------------------------------- */

static value component(zone *z, bool with_type, bool healthy)
{
	value v = v_map(), cond = v_map(), list = v_array();

	if (with_type) {
		v_set(z, &v, "kind", v_cstr("ComponentStatus"));
		v_set(z, &v, "apiVersion", v_cstr("v1"));
	}
	v_set(z, v_map_at(z, &v, "metadata"), "name", v_cstr("etcd-0"));
	v_set(z, &cond, "type", v_cstr("Healthy"));
	v_set(z, &cond, "status", v_cstr(healthy ? "True" : "False"));
	v_set(z, &cond, "message", v_cstr(healthy ? "ok" : "the store is being restarted"));
	v_append(z, &list, cond);
	v_set(z, &v, "conditions", list);
	return v;
}

enum outcome component_get(struct request *q)
{
	value v;

	if (negotiate(q, false, false))
		return ANSWERED;
	if (!str_eq(q->t.name, STR("etcd-0")))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	v = component(q->z, true, store_up(q->api));
	return answer_value(q, 200, &v);
}

enum outcome component_list(struct request *q)
{
	value v = v_map(), items = v_array();

	if (negotiate(q, false, false))
		return ANSWERED;
	v_append(q->z, &items, component(q->z, false, store_up(q->api)));
	v_set(q->z, &v, "kind", v_cstr("ComponentStatusList"));
	v_set(q->z, &v, "apiVersion", v_cstr("v1"));
	v_set(q->z, &v, "metadata", v_map());
	v_set(q->z, &v, "items", items);
	return answer_value(q, 200, &v);
}
