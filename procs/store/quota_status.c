/* quota_status.c - the status of quotas, written with the batch that changed it. */
#include "procs/store/quota_priv.h"
#include "weft/proc.h"

static struct str status_of(struct store *s, const struct quota_ns *ns, const struct quota *q)
{
	value status = v_map(), hard = v_map(), used = v_map();
	struct buf out = {0};
	struct str bytes;

	for (uint32_t i = q->first; i < q->first + q->n; i++) {
		const struct resource *r = &ns->resources[i];

		v_setn(s->z, &hard, r->name, r->hard);
		if (r->type)
			v_setn(s->z, &used, r->name, v_str(kube_amount_print(s->z, r->used)));
	}
	if (q->n) {
		v_set(s->z, &status, "hard", hard);
		v_set(s->z, &status, "used", used);
	}
	v_encode(&out, &status);
	bytes = zone_str(s->z, buf_str(&out));
	buf_free(&out);
	return bytes;
}

static int write_status(struct store *s, const struct quota_ns *ns, const struct quota *q)
{
	struct entry *e = cw_find(s->w, TYPE_RESOURCEQUOTA, ns->name, q->name);
	const struct version *v = e ? cw_newest(s->w, e) : NULL;
	struct str status = status_of(s, ns, q);
	struct rec_update rec;
	struct version_in in;
	int rc;

	if (!v || str_eq(status, cache_part(s->c, v, PART_STATUS)))
		return WEFT_OK;
	rec = (struct rec_update){
		.rv = s->rv + 1,
		.cause = CAUSE(STORE_SLOT, s->rv),
		.writer = PROC_STORE,
		.uid = {(const char *)e->uid, 16},
		.generation = v->generation,
		.deletion_s = v->deletion_s,
		.grace_s = v->grace_s,
		.mask = 1u << PART_STATUS,
		.status = status,
	};
	rc = update_in(s, e, v, &rec, &in);
	return rc ? rc : make_update(s, e, &rec, &in);
}

/* What cannot be written for want of memory is tried again with the next batch. */
static void write_statuses(struct store *s, struct quota_ns *ns)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; i < ns->nquotas && !rc; i++)
		rc = write_status(s, ns, &ns->quotas[i]);
	ns->dirty = rc != WEFT_OK;
	zone_reset(s->z);
}

static void settle_all(struct store *s, struct quotas *q)
{
	q->settling = true;
	q->changed = false;
	for (uint32_t i = q->n; i > 0; i--) {
		struct quota_ns *ns = q->list[i - 1];

		if (!ns->stale && !ns->dirty)
			continue;
		ns = ns_settle(s, ns);
		if (ns)
			write_statuses(s, ns);
	}
	q->changed = false;
	for (uint32_t i = 0; i < q->n; i++)
		q->changed |= q->list[i]->dirty;
	q->settling = false;
}

void quotas_settle(struct store *s)
{
	struct quotas *q = s->quotas;

	if (!q)
		return;
	if (q->changed)
		settle_all(s, q);
	if (!q->n)
		quotas_free(s);
}
