/*
 * get.c - one object.
 */
#include "procs/apiserver/item.h"
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"

enum outcome object_get(struct request *q)
{
	struct cache *c = api_cache(q->api);
	struct form f;
	const struct entry *e;
	const struct version *v;
	uint64_t want;

	if (negotiate(q, true, false) || form_parse(q, &f) || options_version(q, false, &want))
		return ANSWERED;
	q->out.n = 0;
	cache_lock(c);
	e = cache_find(c, q->t.r->type, q->t.ns, q->t.name);
	v = e ? cache_live(c, e) : NULL;
	if (v)
		item_add_whole(&q->out, q->api, &f, e, v, true);
	cache_unlock(c);
	if (!v)
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	return answer_json(q, 200);
}
