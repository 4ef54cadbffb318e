/* sync.c - one reconcile of a Deployment: read, let the rules decide, write. */
#include "procs/deployment/deployment.h"

#include <stdlib.h>

#include "procs/lib/mains.h"
#include "procs/lib/write.h"

struct deployment_controller {
	struct claims claims;
};

/* --- Reading --------------------------------------------------------------------- */

static void read_replicaset(struct deployment *d, struct replicaset *rs, const struct entry *e,
			    const struct version *v)
{
	*rs = (struct replicaset){
		.e = e,
		.v = v,
		.meta = kube_part(d->z, d->c, e, v, PART_META),
		.spec = kube_part(d->z, d->c, e, v, PART_SPEC),
		.status = kube_part(d->z, d->c, e, v, PART_STATUS),
	};
	if (!v_is_map(&rs->meta))
		rs->meta = v_map();
	rs->replicas = v_get_int(&rs->spec, "replicas", 1);
	rs->actual = v_get_int(&rs->status, "replicas", 0);
	rs->ready = v_get_int(&rs->status, "readyReplicas", 0);
	rs->available = v_get_int(&rs->status, "availableReplicas", 0);
	rs->terminating = v_get_int(&rs->status, "terminatingReplicas", 0);
}

static int oldest_first(const void *pa, const void *pb)
{
	const struct replicaset *a = pa, *b = pb;

	return a->e->created_rv < b->e->created_rv ? -1 : 1;
}

static void read_replicasets(struct deployment *d)
{
	uint32_t cap = 0;

	for (const struct entry *e = cache_first_dependent(d->c, d->e); e;
	     e = cache_next_dependent(d->c, e)) {
		const struct version *v = cache_live(d->c, e);

		if (!v || e->type != TYPE_REPLICASET)
			continue;
		if (d->n == cap) {
			struct replicaset *more;

			cap = cap ? cap * 2 : 16;
			more = zone_alloc(d->z, cap * sizeof(*more));
			if (d->n)
				memcpy(more, d->list, d->n * sizeof(*more));
			d->list = more;
		}
		read_replicaset(d, &d->list[d->n++], e, v);
	}
	if (d->n)
		qsort(d->list, d->n, sizeof(*d->list), oldest_first);
}

/* maxSurge rounds up, maxUnavailable down; both 0 would never move, so one pod
 * may then be missing. */
static void read_strategy(struct deployment *d)
{
	const value *rolling = v_path(&d->spec, "strategy.rollingUpdate");
	struct str type = v_as_str(v_path(&d->spec, "strategy.type"));

	d->recreate = str_eq(type, STR("Recreate"));
	if (d->recreate || !d->replicas)
		return;
	d->max_surge = kube_int_or_percent(v_get(rolling, "maxSurge"), d->replicas, true, 0);
	d->max_unavailable =
		kube_int_or_percent(v_get(rolling, "maxUnavailable"), d->replicas, false, 0);
	if (d->max_surge < 0)
		d->max_surge = 0;
	if (d->max_unavailable < 0 || (!d->max_unavailable && !d->max_surge))
		d->max_unavailable = 1;
	if (d->max_unavailable > d->replicas)
		d->max_unavailable = d->replicas;
}

static void read_deployment(struct deployment *d)
{
	d->meta = kube_part(d->z, d->c, d->e, d->v, PART_META);
	d->spec = kube_part(d->z, d->c, d->e, d->v, PART_SPEC);
	d->status = kube_part(d->z, d->c, d->e, d->v, PART_STATUS);
	if (!v_is_map(&d->meta))
		d->meta = v_map();
	if (!v_is_map(&d->status))
		d->status = v_map();
	d->new_status = v_copy(d->z, &d->status);
	d->replicas = v_get_int(&d->spec, "replicas", 1);
	d->paused = v_get_bool(&d->spec, "paused", false);
	d->now_s = ctl_now_s(d->ctl);
	read_strategy(d);
	read_replicasets(d);
}

/* --- Writing ---------------------------------------------------------------------- */

struct asked {
	struct controller *ctl;
	struct deployment_state *state;
	entry_ref deployment;
	long long replicas;
	char name[256];
};

static void on_created(void *arg, const struct msg_reply *reply)
{
	struct asked *a = arg;
	struct cache *c = ctl_cache(a->ctl);

	a->state->create_error[0] = 0;
	switch (reply->status) {
	case WEFT_OK:
		a->state->created = true;
		if (!a->replicas)
			break;
		cache_lock(c);
		ctl_event(a->ctl, cache_entry(c, a->deployment), "Normal", "ScalingReplicaSet",
			  "Scaled up replica set %s from 0 to %lld", a->name, a->replicas);
		cache_unlock(c);
		break;
	case WEFT_EEXIST:
		a->state->collided = true;
		break;
	case WEFT_ELOST:
	case WEFT_EFENCED:
	case WEFT_ENOENT:
		break;
	default:
		snprintf(a->state->create_error, sizeof(a->state->create_error), STR_FMT,
			 STR_ARG(reply->message));
	}
	free(a);
}

static void create_replicaset(struct deployment *d, struct replicaset *rs)
{
	struct asked *a = malloc(sizeof(*a));
	struct str name = v_get_str(&rs->meta, "name");
	struct buf meta = {0}, labels = {0}, spec = {0}, status = {0};
	value zero = v_map();
	struct msg m = {.kind = MSG_create};

	weft_assert(a);
	*a = (struct asked){.ctl = d->ctl,
			    .state = d->state,
			    .deployment = cache_entry_ref(d->c, d->e),
			    .replicas = rs->replicas};
	snprintf(a->name, sizeof(a->name), STR_FMT, STR_ARG(name));
	v_del(&rs->meta, "name");
	v_set(d->z, &zero, "replicas", v_int(0));
	v_encode(&meta, &rs->meta);
	v_encode(&labels, &rs->labels);
	v_encode(&spec, &rs->spec);
	v_encode(&status, &zero);
	m.create = (struct msg_create){
		.type = TYPE_REPLICASET,
		.ns = cache_ns(d->c, d->e),
		.name = name,
		.meta = buf_str(&meta),
		.labels = buf_str(&labels),
		.spec = buf_str(&spec),
		.status = buf_str(&status),
	};
	if (ctl_send(d->ctl, &m, on_created, a))
		free(a);
	buf_free(&meta);
	buf_free(&labels);
	buf_free(&spec);
	buf_free(&status);
}

static void update_deployment(struct deployment *d)
{
	struct parts parts = {
		.meta = d->meta_changed ? &d->meta : NULL,
		.status = v_equal(&d->status, &d->new_status) ? NULL : &d->new_status,
	};

	ctl_write(d->ctl, d->e, d->v, &parts);
}

static void write_back(struct deployment *d)
{
	if (d->fresh == &d->made)
		create_replicaset(d, d->fresh);
	each_rs(rs, d) {
		struct parts parts = {.meta = &rs->meta, .spec = &rs->spec, .bump = true};

		if (rs->deleted)
			ctl_remove(d->ctl, rs->e, rs->v, PROPAGATION_BACKGROUND, -1);
		else if (rs->changed)
			ctl_write(d->ctl, rs->e, rs->v, &parts);
	}
	update_deployment(d);
}

/* --- Reconcile ---------------------------------------------------------------------- */

/* What became of the last attempt to create the new ReplicaSet. */
static void note_attempt(struct deployment *d)
{
	if (d->state->collided) {
		v_set(d->z, &d->new_status, "collisionCount",
		      v_int(v_get_int(&d->new_status, "collisionCount", 0) + 1));
		d->state->collided = false;
	}
	if (d->state->create_error[0] && status_has_deadline(d))
		status_condition(d, "Progressing", "False", "ReplicaSetCreateError",
				 str_of(d->state->create_error));
}

static void follow_size(struct deployment *d)
{
	scale_proportionally(d);
	if (d->paused)
		revision_clean_up(d);
	status_calculate(d);
}

static void decide(struct deployment *d)
{
	note_attempt(d);
	if (d->v->deletion_s) {
		revision_sync(d, false);
		status_calculate(d);
		return;
	}
	status_paused_conditions(d);
	revision_sync(d, false);
	if (d->paused || scale_wanted(d))
		follow_size(d);
	else if (d->recreate)
		rollout_recreate(d);
	else
		rollout_rolling(d);
}

static void reconcile(struct controller *ctl, const struct entry *e, const struct version *v)
{
	struct deployment_controller *self = ctl_state(ctl);
	struct deployment d = {
		.ctl = ctl,
		.c = ctl_cache(ctl),
		.z = ctl_zone(ctl),
		.e = e,
		.v = v,
		.state = ctl_object_state(ctl),
	};
	struct kube_selector *selector = claim_selector_of(ctl, e, v);

	if (!selector)
		return;
	if (kube_selector_empty(selector)) {
		ctl_event(
			ctl, e, "Warning", "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.");
		return;
	}
	if (claim_reconcile(ctl, &self->claims, &d.state->claims, TYPE_REPLICASET, e, v, selector))
		return; /* looked at again with the replies */
	read_deployment(&d);
	decide(&d);
	write_back(&d);
}

static void map(struct controller *ctl, const struct entry *rs)
{
	struct deployment_controller *self = ctl_state(ctl);

	claim_map(ctl, &self->claims, TYPE_DEPLOYMENT, claim_selector_of, rs);
}

int deployment_main(void)
{
	static const struct controller_ops ops = {
		.kind = PROC_DEPLOYMENT,
		.component = "deployment-controller",
		.type = TYPE_DEPLOYMENT,
		.reconcile = reconcile,
		.map = map,
		.state_size = sizeof(struct deployment_controller),
		.object_state_size = sizeof(struct deployment_state),
	};

	return controller_main(&ops);
}
