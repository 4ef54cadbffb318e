/*
 * bootstrap.c - objects that kube-apiserver makes by itself: the `kubernetes`
 * Service, the system's priority classes, the roles behind system:masters and
 * what every user may do.
 *
 * They go through the same steps as a client's POST; one that is there already
 * stays as it is, so several apiservers may do this at once.
 */
#include <stdio.h>
#include "procs/apiserver/bootstrap.h"
#include "procs/apiserver/http.h"
#include "procs/apiserver/write.h"

#define RETRY_NS (2 * INT64_C(1000000))
#define LOOK_NS	 (200 * INT64_C(1000000)) /* whether what was asked for has been made */

/* %s in a body: the first address of the Services' range. */
static const struct object {
	const char *path;
	const char *name;
	const char *body;
} objects[] = {
	{"/api/v1/namespaces/default/services", "kubernetes",
	 "{\"metadata\":{\"name\":\"kubernetes\",\"labels\":{\"component\":\"apiserver\","
	 "\"provider\":\"kubernetes\"}},\"spec\":{\"clusterIP\":\"%s\",\"ports\":[{\"name\":\"https\","
	 "\"port\":443,\"protocol\":\"TCP\",\"targetPort\":6443}]}}"},
	{"/apis/scheduling.k8s.io/v1/priorityclasses", "system-node-critical",
	 "{\"metadata\":{\"name\":\"system-node-critical\"},\"value\":2000001000,\"description\":"
	 "\"Used for system critical pods that must not be moved from their current node.\"}"},
	{"/apis/scheduling.k8s.io/v1/priorityclasses", "system-cluster-critical",
	 "{\"metadata\":{\"name\":\"system-cluster-critical\"},\"value\":2000000000,\"description\":"
	 "\"Used for system critical pods that must run in the cluster, but can be moved to another "
	 "node if necessary.\"}"},
	{"/apis/rbac.authorization.k8s.io/v1/clusterroles", "cluster-admin",
	 "{\"metadata\":{\"name\":\"cluster-admin\",\"labels\":{\"kubernetes.io/bootstrapping\":"
	 "\"rbac-defaults\"},\"annotations\":{\"rbac.authorization.kubernetes.io/autoupdate\":"
	 "\"true\"}},\"rules\":[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]},"
	 "{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}]}"},
	{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "cluster-admin",
	 "{\"metadata\":{\"name\":\"cluster-admin\",\"labels\":{\"kubernetes.io/bootstrapping\":"
	 "\"rbac-defaults\"},\"annotations\":{\"rbac.authorization.kubernetes.io/autoupdate\":"
	 "\"true\"}},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\","
	 "\"name\":\"cluster-admin\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\","
	 "\"kind\":\"Group\",\"name\":\"system:masters\"}]}"},
};

static bool is_there(struct api *api, const struct target *t, struct str name)
{
	struct cache *c = api_cache(api);
	bool yes;

	cache_lock(c);
	yes = cache_find(c, t->r->type, t->ns, name) != NULL;
	cache_unlock(c);
	return yes;
}

/* The namespace that an object goes to exists. */
static bool has_default(struct api *api)
{
	struct cache *c = api_cache(api);
	bool yes;

	cache_lock(c);
	yes = cache_find(c, TYPE_NAMESPACE, STR(""), STR("default")) != NULL;
	cache_unlock(c);
	return yes;
}

static bool store_answers(struct api *api)
{
	return atomic_load_explicit(&proc_control(api->p)->store_up, memory_order_acquire);
}

static struct str first_service_ip(struct api *api, zone *z)
{
	struct str cidr = v_as_str(v_path(proc_config(api->p), "services.cidr"));
	unsigned a = 10, b = 96, c = 0, d = 0;

	if (cidr.n)
		sscanf(zone_text(z, cidr).p, "%u.%u.%u.%u", &a, &b, &c, &d);
	return zone_printf(z, "%u.%u.%u.%u", a, b, c, d + 1);
}

static struct str body_of(struct api *api, zone *z, const struct object *o)
{
	const char *mark = strstr(o->body, "%s");
	struct str ip;

	if (!mark)
		return str_of(o->body);
	ip = first_service_ip(api, z);
	return zone_printf(z, "%.*s" STR_FMT "%s", (int)(mark - o->body), o->body, STR_ARG(ip),
			   mark + 2);
}

/* A request without a client: what it answers goes nowhere.  True: nothing is left to do, the
 * object is there or may not be made; false: the store has been asked, and may refuse. */
static bool make(struct api *api, const struct object *o)
{
	struct request *q = request_internal(api, o->path);
	value obj;
	bool done;

	route_parse(q->path, &q->t);
	weft_assert(q->t.r);
	if (is_there(api, &q->t, str_of(o->name)) ||
	    json_decode(q->z, body_of(api, q->z, o), &obj, NULL, NULL)) {
		request_answer(q);
		return true;
	}
	v_set(q->z, &obj, "kind", v_cstr(q->t.r->kind));
	v_set(q->z, &obj, "apiVersion", v_cstr(q->t.r->api_version));
	if (write_create(q, &obj, false) != ANSWERED)
		return false;
	done = q->code < 500;
	if (done && q->code >= 300)
		log_warn("%s '%s' was not made: " STR_FMT, q->t.r->kind, o->name, (int)q->out.n,
			 q->out.p ? q->out.p : "");
	request_answer(q);
	return done;
}

int64_t bootstrap_turn(struct api *api, int64_t now_ns)
{
	if (api->bootstrapped)
		return 0;
	if (!api->ready && has_default(api)) {
		api->ready = true;
		proc_ready(api->p);
	}
	if (!api->ready || !store_answers(api))
		return now_ns + RETRY_NS;
	if (now_ns < api->bootstrap_ns)
		return api->bootstrap_ns;
	api->bootstrapped = true;
	for (size_t i = 0; i < countof(objects); i++)
		api->bootstrapped &= make(api, &objects[i]);
	api->bootstrap_ns = api->bootstrapped ? 0 : now_ns + LOOK_NS;
	return api->bootstrap_ns;
}
