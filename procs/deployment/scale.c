/* scale.c - sizes of ReplicaSets: events, annotations, proportions. */
#include "procs/deployment/deployment.h"

#include <math.h>
#include <stdlib.h>

static bool set_number(struct deployment *d, value *annotations, const char *key, int64_t n)
{
	struct str text = zone_printf(d->z, "%lld", (long long)n);

	if (str_eq(v_get_str(annotations, key), text))
		return false;
	v_set(d->z, annotations, key, v_str(text));
	return true;
}

bool scale_set_annotations(struct deployment *d, struct replicaset *rs)
{
	value *annotations = v_map_at(d->z, &rs->meta, "annotations");
	bool desired = set_number(d, annotations, ANNOTATION_DESIRED, d->replicas);
	bool max = set_number(d, annotations, ANNOTATION_MAX, d->replicas + d->max_surge);

	return desired || max;
}

/* An annotation's number, -1 if it is not there. */
static int64_t annotated(const struct replicaset *rs, const char *key)
{
	struct str text = v_get_str(v_get(&rs->meta, "annotations"), key);
	char number[24];

	if (!text.n || text.n >= sizeof(number))
		return -1;
	memcpy(number, text.p, text.n);
	number[text.n] = 0;
	return strtoll(number, NULL, 10);
}

bool scale_to(struct deployment *d, struct replicaset *rs, int64_t replicas)
{
	int64_t before = rs->replicas;

	if (scale_set_annotations(d, rs))
		rs->changed = true;
	if (before == replicas)
		return false;
	rs->replicas = replicas;
	rs->changed = true;
	v_set(d->z, &rs->spec, "replicas", v_int(replicas));
	ctl_event(d->ctl, d->e, "Normal", "ScalingReplicaSet",
		  "Scaled %s replica set %s from %lld to %lld", replicas > before ? "up" : "down",
		  rs->e->name, (long long)before, (long long)replicas);
	return true;
}

int64_t scale_sum(struct deployment *d, bool old_only)
{
	int64_t sum = 0;

	each_rs(rs, d)
		if (!old_only || rs != d->fresh)
			sum += rs->replicas;
	return sum;
}

int64_t scale_fresh_size(struct deployment *d, const struct replicaset *fresh)
{
	int64_t total = scale_sum(d, false), max = d->replicas + d->max_surge, more;

	if (d->recreate)
		return d->replicas;
	if (total >= max)
		return fresh->replicas;
	more = max - total;
	if (more > d->replicas - fresh->replicas)
		more = d->replicas - fresh->replicas;
	return fresh->replicas + more;
}

bool scale_wanted(struct deployment *d)
{
	each_rs(rs, d) {
		int64_t desired = annotated(rs, ANNOTATION_DESIRED);

		if (rs->replicas > 0 && desired >= 0 && desired != d->replicas)
			return true;
	}
	return false;
}

/* --- Proportions ------------------------------------------------------------------- */

static bool is_saturated(struct deployment *d)
{
	struct replicaset *rs = d->fresh;

	return rs && annotated(rs, ANNOTATION_DESIRED) == d->replicas &&
	       rs->replicas == d->replicas && rs->available == d->replicas;
}

/* What a ReplicaSet would gain or lose if it kept its share of the maximum. */
static int64_t fraction(struct deployment *d, const struct replicaset *rs)
{
	int64_t before = annotated(rs, ANNOTATION_MAX);

	if (!d->replicas)
		return -rs->replicas;
	if (before <= 0)
		before = v_get_int(&d->status, "replicas", 0);
	if (!before)
		return 0;
	return llround((double)rs->replicas * (double)(d->replicas + d->max_surge) /
		       (double)before) -
	       rs->replicas;
}

static int64_t proportion(struct deployment *d, const struct replicaset *rs, int64_t to_add,
			  int64_t added)
{
	int64_t share, allowed = to_add - added;

	if (!rs->replicas || !to_add || to_add == added)
		return 0;
	share = fraction(d, rs);
	if (to_add > 0)
		return share < allowed ? share : allowed;
	return share > allowed ? share : allowed;
}

/* Larger first; among equals the newer first when growing, the older first
 * when shrinking. */
static int bigger_newer(const void *pa, const void *pb)
{
	const struct replicaset *a = *(struct replicaset *const *)pa;
	const struct replicaset *b = *(struct replicaset *const *)pb;

	if (a->replicas != b->replicas)
		return a->replicas > b->replicas ? -1 : 1;
	return a->e->created_rv > b->e->created_rv ? -1 : 1;
}

static int bigger_older(const void *pa, const void *pb)
{
	const struct replicaset *a = *(struct replicaset *const *)pa;
	const struct replicaset *b = *(struct replicaset *const *)pb;

	if (a->replicas != b->replicas)
		return a->replicas > b->replicas ? -1 : 1;
	return a->e->created_rv < b->e->created_rv ? -1 : 1;
}

static void spread(struct deployment *d, struct replicaset **active, uint32_t n)
{
	int64_t allowed = d->replicas > 0 ? d->replicas + d->max_surge : 0;
	int64_t to_add = allowed - scale_sum(d, false), added = 0;
	int64_t *size = zone_alloc(d->z, (n + 1) * sizeof(*size));

	qsort(active, n, sizeof(*active), to_add > 0 ? bigger_newer : bigger_older);
	for (uint32_t i = 0; i < n; i++) {
		int64_t share = proportion(d, active[i], to_add, added);

		size[i] = active[i]->replicas + share;
		added += share;
	}
	if (n && to_add)
		size[0] += to_add - added;
	for (uint32_t i = 0; i < n; i++)
		scale_to(d, active[i], size[i] > 0 ? size[i] : 0);
}

void scale_proportionally(struct deployment *d)
{
	struct replicaset **active = zone_alloc(d->z, (d->n + 1) * sizeof(*active));
	struct replicaset *only = NULL;
	uint32_t n = 0;

	each_rs(rs, d)
		if (rs->replicas > 0)
			active[n++] = rs;
	if (n == 1)
		only = active[0];
	else if (n == 0)
		only = d->fresh ? d->fresh : d->n ? &d->list[d->n - 1] : NULL;
	if (only) /* also one of the right size: it may not be noted yet */
		scale_to(d, only, d->replicas);
	if (only || !n)
		return;
	if (is_saturated(d)) {
		each_old(rs, d)
			if (rs->replicas > 0)
				scale_to(d, rs, 0);
		return;
	}
	if (!d->recreate)
		spread(d, active, n);
}
