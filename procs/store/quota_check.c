/* quota_check.c - what quotas refuse, in Kubernetes' words. */
#include "procs/store/quota_priv.h"

/* What is asked for, in a namespace whose quotas are about it. */
struct asked {
	struct quota_ns *ns;
	struct kube_charged o;
	const struct charge *charge;
	const struct kube_amount *before; /* what the object takes already, or NULL */
};

static bool ask(struct store *s, uint16_t type, struct str ns_name,
		const struct str part[PART_COUNT], struct asked *a)
{
	struct quota_ns *ns = ns_find(s->quotas, ns_name);

	ns = ns ? ns_settle(s, ns) : NULL;
	if (!ns || type >= TYPE_MAX || !(ns->types >> type & 1))
		return false;
	*a = (struct asked){.ns = ns,
			    .o = {.type = type,
				  .meta = part[PART_META],
				  .spec = part[PART_SPEC],
				  .status = part[PART_STATUS]}};
	a->charge = charge_of_parts(s, ns, &a->o);
	return true;
}

static struct kube_amount wanted(const struct asked *a, uint32_t i)
{
	struct kube_amount more = a->charge->take[i];

	if (a->before)
		more.milli -= a->before[i].milli;
	return more;
}

static bool exceeds(const struct asked *a, uint32_t i)
{
	const struct resource *r = &a->ns->resources[i];
	struct kube_amount more = wanted(a, i);

	return r->type && more.milli > 0 && r->used.milli + more.milli > r->limit.milli;
}

/* "cpu=1,pods=1": of what is exceeded. */
static struct str list_exceeded(zone *z, const struct asked *a, const struct quota *q,
				struct str (*amount)(zone *, const struct asked *, uint32_t))
{
	struct str text = {0};

	for (uint32_t i = q->first; i < q->first + q->n; i++)
		if (exceeds(a, i))
			text = zone_printf(z, STR_FMT "%s" STR_FMT "=" STR_FMT, STR_ARG(text),
					   text.n ? "," : "", STR_ARG(a->ns->resources[i].name),
					   STR_ARG(amount(z, a, i)));
	return text;
}

static struct str print_wanted(zone *z, const struct asked *a, uint32_t i)
{
	return kube_amount_print(z, wanted(a, i));
}

static struct str print_used(zone *z, const struct asked *a, uint32_t i)
{
	return kube_amount_print(z, a->ns->resources[i].used);
}

static struct str print_hard(zone *z, const struct asked *a, uint32_t i)
{
	struct str text = STR("");

	kube_quantity_canonical(z, &a->ns->resources[i].hard, &text);
	return text;
}

static int refuse(struct msg_reply *r, struct str message)
{
	r->message = message;
	r->status = WEFT_EFORBIDDEN;
	return r->status;
}

static int check_stated(struct store *s, const struct asked *a, struct msg_reply *r)
{
	if (!a->charge->lacking)
		return WEFT_OK;
	for (uint32_t i = 0; i < a->ns->nquotas; i++) {
		const struct quota *q = &a->ns->quotas[i];
		struct str missing;

		if (!kube_quota_in_scope(s->z, &q->spec, &a->o))
			continue;
		missing = kube_quota_missing(s->z, v_get(&q->spec, "hard"), &a->o);
		if (missing.n)
			return refuse(r, zone_printf(s->z, "failed quota: " STR_FMT ": " STR_FMT,
						     STR_ARG(q->name), STR_ARG(missing)));
	}
	return WEFT_OK;
}

static int check_limits(struct store *s, const struct asked *a, struct msg_reply *r)
{
	for (uint32_t i = 0; i < a->ns->nquotas; i++) {
		const struct quota *q = &a->ns->quotas[i];
		struct str more = list_exceeded(s->z, a, q, print_wanted);

		if (more.n)
			return refuse(r,
				      zone_printf(s->z,
						  "exceeded quota: " STR_FMT ", requested: " STR_FMT
						  ", used: " STR_FMT ", limited: " STR_FMT,
						  STR_ARG(q->name), STR_ARG(more),
						  STR_ARG(list_exceeded(s->z, a, q, print_used)),
						  STR_ARG(list_exceeded(s->z, a, q, print_hard))));
	}
	return WEFT_OK;
}

int quotas_check_create(struct store *s, uint16_t type, struct str ns,
			const struct str part[PART_COUNT], struct msg_reply *r)
{
	struct asked a;

	if (!ask(s, type, ns, part, &a))
		return WEFT_OK;
	return check_stated(s, &a, r) ? r->status : check_limits(s, &a, r);
}

uint32_t quotas_room(struct store *s, uint16_t type, struct str ns,
		     const struct str part[PART_COUNT], uint32_t count)
{
	struct asked a;

	if (!ask(s, type, ns, part, &a))
		return count;
	if (a.charge->lacking)
		return 0;
	for (uint32_t i = 0; i < a.ns->nresources && count; i++) {
		const struct resource *r = &a.ns->resources[i];
		__int128 free = r->limit.milli - r->used.milli, each = a.charge->take[i].milli;

		if (!r->type || each <= 0)
			continue;
		if (free < each)
			return 0;
		if (free / each < count)
			count = (uint32_t)(free / each);
	}
	return count;
}

static bool takes_more(const struct asked *a)
{
	for (uint32_t i = 0; i < a->ns->nresources; i++)
		if (wanted(a, i).milli > 0)
			return true;
	return false;
}

int quotas_check_update(struct store *s, const struct entry *e, const struct version *old,
			const struct str part[PART_COUNT], struct msg_reply *r)
{
	struct kube_amount *take;
	struct asked a;
	size_t bytes;

	if (!ask(s, e->type, cache_ns(s->c, e), part, &a))
		return WEFT_OK;
	a.o.over = e->type == TYPE_POD && pod_is_over(a.ns, old);
	bytes = a.ns->nresources * sizeof(*take);
	take = zone_alloc(s->z, bytes);
	memcpy(take, charge_of_version(s, a.ns, e->type, old, a.o.over)->take, bytes);
	a.before = take;
	a.charge = charge_of_parts(s, a.ns, &a.o);
	if (!takes_more(&a))
		return WEFT_OK;
	return check_stated(s, &a, r) ? r->status : check_limits(s, &a, r);
}
