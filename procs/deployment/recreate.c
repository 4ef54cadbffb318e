/* recreate.c - the Recreate strategy: nothing new before all old is gone. */
#include "procs/deployment/deployment.h"

static bool scale_down_old(struct deployment *d)
{
	bool any = false;

	each_old(rs, d)
		if (rs->replicas > 0)
			any |= scale_to(d, rs, 0);
	return any;
}

/* A pod counts until it is gone, or has finished. */
static bool old_pods_running(struct deployment *d)
{
	each_old(rs, d) {
		struct counts_copy counts;

		cache_counts(d->c, rs->e, &counts);
		if (rs->actual > 0 || counts.active > 0 || counts.terminating > 0)
			return true;
	}
	return false;
}

void rollout_recreate(struct deployment *d)
{
	revision_sync(d, false);
	if (scale_down_old(d) || old_pods_running(d)) {
		status_rollout(d);
		return;
	}
	if (!d->fresh) {
		revision_sync(d, true);
		return; /* goes on when it is there */
	}
	scale_to(d, d->fresh, d->replicas);
	if (status_complete(d, &d->status))
		revision_clean_up(d);
	status_rollout(d);
}
