/*
 * binding.c - giving a pod its node.
 */
#include "procs/apiserver/binding.h"
#include "procs/apiserver/body.h"
#include "procs/apiserver/store.h"
#include "procs/apiserver/verbs.h"

enum outcome answer_success(struct request *q, int code)
{
	value v = v_map();

	v_set(q->z, &v, "kind", v_cstr("Status"));
	v_set(q->z, &v, "apiVersion", v_cstr("v1"));
	v_set(q->z, &v, "metadata", v_map());
	v_set(q->z, &v, "status", v_cstr("Success"));
	v_set(q->z, &v, "code", v_int(code));
	return answer_value(q, code, &v);
}

struct binding {
	struct msg m;
	struct str pod, node;
};

static enum outcome answer_assigned(struct request *q, struct str pod, struct str node)
{
	static const struct kube_resource r = {.group = "", .resource = "pods/binding"};

	return answer_status(
		q, kube_status_conflict(q->z, &r, pod,
					zone_printf(q->z,
						    "pod " STR_FMT
						    " is already assigned to node \"" STR_FMT "\"",
						    STR_ARG(pod), STR_ARG(node))));
}

static void on_bound(struct request *q, void *arg, const struct msg_reply *reply)
{
	struct binding *b = arg;

	if (reply->status)
		answer_store_error(q, reply->status, b->pod, reply->message);
	else
		answer_success(q, 201);
	request_answer(q);
}

/* The pod's status once it is bound: PodScheduled is True. */
static struct str scheduled_status(struct request *q, const value *pod)
{
	value status = v_get(pod, "status") ? v_copy(q->z, v_get(pod, "status")) : v_map();
	struct buf b = {0};
	struct str out;

	kube_condition_set(q->z, v_array_at(q->z, &status, "conditions"), "PodScheduled", "True",
			   NULL, STR(""), clock_wall_s(), false);
	v_encode(&b, &status);
	out = zone_str(q->z, buf_str(&b));
	buf_free(&b);
	return out;
}

static enum outcome bind_pod(struct request *q, struct str name, const value *body)
{
	const struct kube_resource *r = kube_by_type(TYPE_POD);
	struct str node = v_as_str(v_path(body, "target.name"));
	struct binding *b = zone_alloc(q->z, sizeof(*b));
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	const struct version *v;
	struct str has;
	uint64_t rv = 0;
	value pod;

	cache_lock(c);
	e = cache_find(c, TYPE_POD, q->t.ns, name);
	v = e ? cache_live(c, e) : NULL;
	if (v) {
		pod = kube_object(q->z, c, r, e, v, true);
		rv = v->rv;
	}
	cache_unlock(c);
	if (!v)
		return answer_status(q, kube_status_not_found(q->z, r, name));
	has = v_as_str(v_path(&pod, "spec.nodeName"));
	if (has.n)
		return answer_assigned(q, name, has);
	*b = (struct binding){.pod = name, .node = node};
	b->m.kind = MSG_update;
	b->m.update = (struct msg_update){
		.type = TYPE_POD,
		.ns = q->t.ns,
		.name = name,
		.rv = rv,
		.mask = 1u << PART_STATUS,
		.status = scheduled_status(q, &pod),
		.node = node,
	};
	return store_send(q, &b->m, on_bound, b);
}

/* What is wrong with the target, in Go's words; empty if nothing is. */
static struct str bad_target(struct request *q, const value *target)
{
	struct str kind = v_get_str(target, "kind"), wrong = {"", 0};

	if (kind.n && !str_eq(kind, STR("Node")))
		wrong = zone_printf(q->z,
				    "target.kind: Unsupported value: \"" STR_FMT
				    "\": supported values: \"Node\", \"<empty>\"",
				    STR_ARG(kind));
	if (v_get_str(target, "name").n)
		return wrong;
	return wrong.n ? zone_printf(q->z, "[" STR_FMT ", target.name: Required value]",
				     STR_ARG(wrong))
		       : STR("target.name: Required value");
}

enum outcome binding_create(struct request *q)
{
	struct str name = q->t.name, wrong;
	value body;

	if (negotiate(q, false, false) || body_typed(q, "v1", "Binding", &body))
		return ANSWERED;
	if (!name.n)
		name = v_as_str(v_path(&body, "metadata.name"));
	wrong = bad_target(q, v_get(&body, "target"));
	if (wrong.n)
		return answer_plain_error(q, wrong);
	return bind_pod(q, name, &body);
}
