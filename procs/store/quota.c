/* quota.c - what quota.h promises. */
#include "procs/store/quota_priv.h"

#include <stdlib.h>
#include <xxhash.h>

/* --- Namespaces -------------------------------------------------------------------- */

/* Where the namespace is, or belongs. */
static uint32_t ns_place(const struct quotas *q, struct str name)
{
	uint32_t low = 0, high = q->n;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (str_cmp(q->list[mid]->name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct quota_ns *ns_find(const struct quotas *q, struct str name)
{
	uint32_t i = ns_place(q, name);

	return i < q->n && str_eq(q->list[i]->name, name) ? q->list[i] : NULL;
}

static void *must(void *p)
{
	weft_assert(p);
	return p;
}

static struct quota_ns *ns_add(struct quotas *q, struct str name)
{
	uint32_t i = ns_place(q, name);
	struct quota_ns *ns = must(calloc(1, sizeof(*ns)));
	char *copy = must(malloc(name.n + 1));

	memcpy(copy, name.p, name.n);
	ns->name = (struct str){copy, name.n};
	ns->z = zone_new();
	if (q->n == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 8;
		q->list = must(realloc(q->list, q->cap * sizeof(*q->list)));
	}
	memmove(q->list + i + 1, q->list + i, (q->n - i) * sizeof(*q->list));
	q->list[i] = ns;
	q->n++;
	return ns;
}

static void ns_forget_due(struct quota_ns *ns)
{
	for (uint32_t i = 0; i < ns->ndue; i++)
		free(ns->due[i].take);
	ns->ndue = 0;
}

static void ns_free(struct quota_ns *ns)
{
	ns_forget_due(ns);
	free(ns->due);
	zone_free(ns->z);
	free((char *)ns->name.p);
	free(ns);
}

static void ns_drop(struct quotas *q, uint32_t i)
{
	ns_free(q->list[i]);
	q->n--;
	memmove(q->list + i, q->list + i + 1, (q->n - i) * sizeof(*q->list));
	q->known = false;
}

/* A quota of this namespace came, went or changed. */
static void ns_stale(struct quotas *q, struct str name)
{
	struct quota_ns *ns = ns_find(q, name);

	if (!ns)
		ns = ns_add(q, name);
	ns->stale = q->changed = true;
	q->known = false;
}

/* Objects of one namespace come in a row.  What `last` says of a namespace without
 * quotas stays right: it is forgotten when any quota changes. */
static struct quota_ns *ns_of(const struct store *s, string_ref ns)
{
	struct quotas *q = s->quotas;

	if (!q->known || q->last_ns != ns.u) {
		q->last = ns_find(q, cache_string(s->c, ns));
		q->last_ns = ns.u;
		q->known = true;
	}
	return q->last;
}

void quotas_begin(struct store *s)
{
	if (s->quotas)
		return;
	s->quotas = must(calloc(1, sizeof(*s->quotas)));
	s->quotas->z = zone_new();
}

void quotas_free(struct store *s)
{
	struct quotas *q = s->quotas;

	if (!q)
		return;
	while (q->n)
		ns_drop(q, q->n - 1);
	zone_free(q->z);
	free(q->list);
	free(q);
	s->quotas = NULL;
}

void quotas_recover(struct store *s)
{
	const struct entry *e;
	struct cache_iter it;

	cache_iter_init(&it, s->c, TYPE_RESOURCEQUOTA, (struct str){0}, (struct str){0},
			(struct str){0});
	while ((e = cache_iter_next(&it))) {
		if (!cw_newest(s->w, e))
			continue;
		quotas_begin(s);
		ns_stale(s->quotas, cache_ns(s->c, e));
	}
}

/* --- Charges ----------------------------------------------------------------------- */

/* Until when a pod is charged that is being deleted; UINT32_MAX: until it is gone. */
static uint32_t due_of(const struct version *v)
{
	uint64_t at = (uint64_t)v->deletion_s + (uint32_t)(v->grace_s < 0 ? 0 : v->grace_s);

	if (!v->deletion_s || v->grace_s < 0 || at > UINT32_MAX)
		return UINT32_MAX;
	return (uint32_t)at;
}

static uint64_t hash_of(struct str bytes)
{
	return bytes.n ? XXH3_64bits(bytes.p, bytes.n) : 0;
}

/* Objects of one key are charged alike.  Most kinds are only counted; what is stored
 * knows its hash. */
static uint64_t key_of(const struct kube_charged *o, uint64_t meta, uint64_t spec, uint64_t status)
{
	uint64_t of[4] = {o->type | (uint64_t)o->over << 16};

	if (o->type == TYPE_POD || o->type == TYPE_SERVICE || o->type == TYPE_PERSISTENTVOLUMECLAIM)
		of[1] = spec;
	if (o->type == TYPE_POD || o->type == TYPE_PERSISTENTVOLUMECLAIM)
		of[2] = status;
	if (o->type == TYPE_PERSISTENTVOLUMECLAIM)
		of[3] = meta;
	return XXH3_64bits(of, sizeof(of)) | 1;
}

static struct kube_amount use_of(const struct kube_uses *uses, struct str name)
{
	for (uint32_t i = 0; i < uses->n; i++)
		if (str_eq(uses->list[i].name, name))
			return uses->list[i].amount;
	return (struct kube_amount){0};
}

static void charge_make(struct store *s, struct quota_ns *ns, const struct kube_charged *o,
			struct charge *c)
{
	zone *z = s->quotas->z;
	struct kube_uses uses;

	kube_quota_uses(z, o, &uses);
	if (!c->take)
		c->take = zone_alloc(ns->z, ns->nresources * sizeof(*c->take));
	memset(c->take, 0, ns->nresources * sizeof(*c->take));
	c->lacking = false;
	for (uint32_t i = 0; i < ns->nquotas; i++) {
		const struct quota *q = &ns->quotas[i];

		if (!kube_quota_in_scope(z, &q->spec, o))
			continue;
		for (uint32_t k = q->first; k < q->first + q->n; k++)
			c->take[k] = use_of(&uses, ns->resources[k].name);
		if (o->type == TYPE_POD)
			c->lacking |= kube_quota_missing(z, v_get(&q->spec, "hard"), o).n != 0;
	}
	zone_reset(z);
}

static const struct charge *charge_of(struct store *s, struct quota_ns *ns,
				      const struct kube_charged *o, uint64_t key)
{
	struct charge *c = &ns->charges[(key >> 1) % CHARGES];

	if (c->key == key)
		return c;
	charge_make(s, ns, o, c);
	c->key = key;
	return c;
}

const struct charge *charge_of_version(struct store *s, struct quota_ns *ns, uint16_t type,
				       const struct version *v, bool over)
{
	struct kube_charged o = {.type = type,
				 .over = over,
				 .meta = cache_part(s->c, v, PART_META),
				 .spec = cache_part(s->c, v, PART_SPEC),
				 .status = cache_part(s->c, v, PART_STATUS)};

	return charge_of(s, ns, &o,
			 key_of(&o, cache_part_hash(s->c, v, PART_META),
				cache_part_hash(s->c, v, PART_SPEC),
				cache_part_hash(s->c, v, PART_STATUS)));
}

const struct charge *charge_of_parts(struct store *s, struct quota_ns *ns,
				     const struct kube_charged *o)
{
	return charge_of(s, ns, o,
			 key_of(o, hash_of(o->meta), hash_of(o->spec), hash_of(o->status)));
}

/* --- Pods that outstay their grace ------------------------------------------------- */

static uint32_t due_place(const struct quota_ns *ns, uint32_t at_s)
{
	uint32_t low = 0, high = ns->ndue;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (ns->due[mid].at_s < at_s)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct due *due_at(struct quota_ns *ns, uint32_t at_s)
{
	uint32_t i = due_place(ns, at_s);

	if (i < ns->ndue && ns->due[i].at_s == at_s)
		return &ns->due[i];
	if (ns->ndue == ns->due_cap) {
		ns->due_cap = ns->due_cap ? 2 * ns->due_cap : 8;
		ns->due = must(realloc(ns->due, ns->due_cap * sizeof(*ns->due)));
	}
	memmove(ns->due + i + 1, ns->due + i, (ns->ndue - i) * sizeof(*ns->due));
	ns->ndue++;
	ns->due[i] = (struct due){.at_s = at_s,
				  .take = must(calloc(ns->nresources, sizeof(struct kube_amount)))};
	return &ns->due[i];
}

static void due_remove(struct quota_ns *ns, uint32_t i)
{
	free(ns->due[i].take);
	ns->ndue--;
	memmove(ns->due + i, ns->due + i + 1, (ns->ndue - i) * sizeof(*ns->due));
}

static void add_take(const struct quota_ns *ns, struct kube_amount *to,
		     const struct kube_amount *take, int64_t times)
{
	for (uint32_t i = 0; i < ns->nresources; i++)
		kube_amount_add(&to[i], take[i], times);
}

static void use(struct quota_ns *ns, const struct kube_amount *take, int64_t times)
{
	for (uint32_t i = 0; i < ns->nresources; i++)
		kube_amount_add(&ns->resources[i].used, take[i], times);
}

/* Time goes on.  Set back, it makes pods count again that were over. */
static void due_pass(struct quotas *q, struct quota_ns *ns, uint32_t now_s)
{
	if (now_s < ns->now_s)
		ns->stale = q->changed = true;
	ns->now_s = now_s;
	while (!ns->stale && ns->ndue && ns->due[0].at_s < now_s) {
		use(ns, ns->due[0].take, -1);
		due_remove(ns, 0);
		ns->dirty = q->changed = true;
	}
}

/* --- Reckoning --------------------------------------------------------------------- */

bool pod_is_over(const struct quota_ns *ns, const struct version *v)
{
	return pod_has_ended(v) || due_of(v) < ns->now_s;
}

/* A pod on its way out gives back later what it does not take when it is over. */
static void reckon_due(struct store *s, struct quota_ns *ns, const struct version *v, int64_t times)
{
	struct due *d = due_at(ns, due_of(v));

	add_take(ns, d->take, charge_of_version(s, ns, TYPE_POD, v, false)->take, times);
	add_take(ns, d->take, charge_of_version(s, ns, TYPE_POD, v, true)->take, -times);
	d->pods += (uint32_t)times;
	if (!d->pods)
		due_remove(ns, (uint32_t)(d - ns->due));
}

/* The state `v` of an object is there (times 1) or no more (-1). */
static void reckon(struct store *s, struct quota_ns *ns, uint16_t type, const struct version *v,
		   int64_t times)
{
	bool over = type == TYPE_POD && pod_is_over(ns, v);

	use(ns, charge_of_version(s, ns, type, v, over)->take, times);
	if (type == TYPE_POD && !over && due_of(v) != UINT32_MAX)
		reckon_due(s, ns, v, times);
}

static void quota_changed(struct store *s, const struct entry *e, const struct version *v,
			  const struct version *old)
{
	struct quota_ns *ns = ns_find(s->quotas, cache_ns(s->c, e));

	if (ns && old && !(v->flags & VERSION_TOMBSTONE) &&
	    v->part[PART_SPEC] == old->part[PART_SPEC])
		ns->dirty = s->quotas->changed = true; /* its status may be another's */
	else
		ns_stale(s->quotas, cache_ns(s->c, e));
}

/* From the state before `v` to `v` (times 1), or back (-1). */
static void step(struct store *s, const struct version *v, int64_t times)
{
	const struct entry *e = cache_entry(s->c, v->entry);
	uint32_t prev = v->flags & VERSION_FIRST ? 0 : prcu_own(&v->prev);
	const struct version *old = prev ? cache_version(s->c, (version_ref){prev}) : NULL;
	struct quota_ns *ns;

	if (!e->ns.u)
		return;
	if (e->type == TYPE_RESOURCEQUOTA) {
		quota_changed(s, e, v, old);
		return;
	}
	ns = ns_of(s, e->ns);
	if (!ns || ns->stale || !(ns->types >> e->type & 1))
		return;
	if (old)
		reckon(s, ns, e->type, old, -times);
	if (!(v->flags & VERSION_TOMBSTONE))
		reckon(s, ns, e->type, v, times);
	ns->dirty = s->quotas->changed = true;
}

void quotas_follow(struct store *s, const struct version *v)
{
	if (!s->quotas->settling)
		step(s, v, 1);
}

/* What was settled with the batch may have been the end of the last quota. */
void quotas_undo(struct store *s, const struct version *v)
{
	if (!s->quotas && cache_entry(s->c, v->entry)->type == TYPE_RESOURCEQUOTA)
		quotas_begin(s);
	if (s->quotas)
		step(s, v, -1);
}

/* --- Counting a namespace ---------------------------------------------------------- */

static void read_quota(struct store *s, struct quota_ns *ns, const struct entry *e,
		       const struct version *v)
{
	struct quota *q = &ns->quotas[ns->nquotas++];
	struct str bytes = zone_str(ns->z, cache_part(s->c, v, PART_SPEC));

	*q = (struct quota){.name = zone_str(ns->z, entry_name(e)), .first = ns->nresources};
	if (!bytes.n || v_decode(ns->z, bytes, &q->spec))
		q->spec = v_null();
	q->n = v_len(v_get(&q->spec, "hard"));
	ns->nresources += q->n;
}

static int compare_resources(const void *a, const void *b)
{
	return str_cmp(((const struct resource *)a)->name, ((const struct resource *)b)->name);
}

static void read_resources(struct quota_ns *ns, const struct quota *q)
{
	struct resource *r = &ns->resources[q->first];

	v_each_kv(kv, v_get(&q->spec, "hard")) {
		*r = (struct resource){.name = v_as_str(&kv->key), .hard = kv->val};
		r->type = kube_quota_type(r->name);
		if (!kube_amount(&kv->val, &r->limit))
			r->type = 0;
		ns->types |= r->type ? UINT64_C(1) << r->type : 0;
		r++;
	}
	qsort(&ns->resources[q->first], q->n, sizeof(*r), compare_resources);
}

/* The quotas that there are now, with nothing taken. */
static void read_quotas(struct store *s, struct quota_ns *ns)
{
	const struct entry *e;
	const struct version *v;
	struct cache_iter it;
	uint32_t n = 0;

	zone_reset(ns->z);
	ns_forget_due(ns);
	memset(ns->charges, 0, sizeof(ns->charges));
	ns->types = 0;
	ns->nquotas = ns->nresources = 0;
	cache_iter_init(&it, s->c, TYPE_RESOURCEQUOTA, ns->name, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		n += cw_newest(s->w, e) != NULL;
	ns->quotas = zone_alloc(ns->z, (n + 1) * sizeof(*ns->quotas));
	cache_iter_init(&it, s->c, TYPE_RESOURCEQUOTA, ns->name, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		if ((v = cw_newest(s->w, e)))
			read_quota(s, ns, e, v);
	ns->resources = zone_alloc(ns->z, (ns->nresources + 1) * sizeof(*ns->resources));
	for (uint32_t i = 0; i < ns->nquotas; i++)
		read_resources(ns, &ns->quotas[i]);
}

static void count_type(struct store *s, struct quota_ns *ns, uint16_t type)
{
	const struct entry *e;
	const struct version *v;
	struct cache_iter it;

	cache_iter_init(&it, s->c, type, ns->name, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		if ((v = cw_newest(s->w, e)))
			reckon(s, ns, type, v, 1);
}

struct quota_ns *ns_settle(struct store *s, struct quota_ns *ns)
{
	due_pass(s->quotas, ns, clock_wall_s());
	if (!ns->stale)
		return ns;
	read_quotas(s, ns);
	if (!ns->nquotas) {
		ns_drop(s->quotas, ns_place(s->quotas, ns->name));
		return NULL;
	}
	for (uint16_t t = 0; t < TYPE_MAX; t++)
		if (ns->types >> t & 1)
			count_type(s, ns, t);
	ns->stale = false;
	ns->dirty = s->quotas->changed = true;
	return ns;
}

/* --- Verifying --------------------------------------------------------------------- */

static int ns_verify(struct store *s, struct quota_ns *ns, struct err *e)
{
	kube_milli *was;
	uint32_t n;
	int rc = WEFT_OK;

	due_pass(s->quotas, ns, clock_wall_s());
	if (ns->stale)
		return WEFT_OK;
	n = ns->nresources;
	was = must(calloc(n + 1, sizeof(*was)));
	for (uint32_t i = 0; i < n; i++)
		was[i] = ns->resources[i].used.milli;
	ns->stale = true;
	ns = ns_settle(s, ns);
	for (uint32_t i = 0; i < n && !rc; i++)
		if (!ns || ns->nresources != n || ns->resources[i].used.milli != was[i])
			rc = err_set(e, WEFT_ECORRUPT,
				     "quota: what is taken of resource %u of a namespace is not "
				     "what its objects take",
				     i);
	free(was);
	return rc;
}

int quotas_verify(struct store *s, struct err *e)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; s->quotas && i < s->quotas->n && !rc; i++)
		rc = ns_verify(s, s->quotas->list[i], e);
	return rc;
}
