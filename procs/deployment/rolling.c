/* rolling.c - the RollingUpdate strategy. */
#include "procs/deployment/deployment.h"

static bool reconcile_fresh(struct deployment *d)
{
	struct replicaset *rs = d->fresh;

	if (rs->replicas == d->replicas)
		return false;
	if (rs->replicas > d->replicas)
		return scale_to(d, rs, d->replicas);
	return scale_to(d, rs, scale_fresh_size(d, rs));
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t available_of(const struct replicaset *rs)
{
	return least(rs->available, rs->replicas);
}

/* As far as it is sure: a ReplicaSet that has not yet seen its new size may have
 * lost pods since it said how many are available. */
static int64_t surely_available(const struct replicaset *rs)
{
	bool current = v_get_int(&rs->status, "observedGeneration", 0) >= rs->v->generation;

	return current ? available_of(rs) : 0;
}

/* Replicas of old ReplicaSets that are not available serve nobody: they go
 * first, up to `max`. */
static int64_t remove_unhealthy(struct deployment *d, int64_t max)
{
	int64_t removed = 0;

	each_old(rs, d) {
		int64_t n;

		if (removed >= max)
			break;
		if (rs->replicas <= available_of(rs))
			continue;
		n = least(max - removed, rs->replicas - available_of(rs));
		scale_to(d, rs, rs->replicas - n);
		removed += n;
	}
	return removed;
}

/* As many available ones as may go without falling under the minimum. */
static int64_t scale_down_old(struct deployment *d, int64_t min_available)
{
	int64_t available = 0, may_go, removed = 0;

	each_rs(rs, d)
		available += surely_available(rs);
	may_go = available - min_available;
	if (may_go <= 0)
		return 0;
	each_old(rs, d) {
		int64_t n;

		if (removed >= may_go)
			break;
		if (!rs->replicas)
			continue;
		n = least(rs->replicas, may_go - removed);
		scale_to(d, rs, rs->replicas - n);
		removed += n;
	}
	return removed;
}

static bool reconcile_old(struct deployment *d)
{
	int64_t min_available = d->replicas - d->max_unavailable;
	int64_t fresh_unavailable = d->fresh->replicas - surely_available(d->fresh);
	int64_t may_go;

	if (!scale_sum(d, true))
		return false;
	may_go = scale_sum(d, false) - min_available - fresh_unavailable;
	if (may_go <= 0)
		return false;
	return remove_unhealthy(d, may_go) + scale_down_old(d, min_available) > 0;
}

void rollout_rolling(struct deployment *d)
{
	revision_sync(d, true);
	if (!d->fresh || !d->fresh->e)
		return; /* created now; the rollout goes on when it is there */
	if (!reconcile_fresh(d) && !reconcile_old(d) && status_complete(d, &d->status))
		revision_clean_up(d);
	status_rollout(d);
}
