/*
 * replicaset.c - the ReplicaSet controller.
 *
 * One reconcile adopts and releases, then creates or deletes what the counts
 * kept by the store say is missing or too many, and brings the status up to
 * date.  It reads no pod unless it has to choose which to delete, or
 * minReadySeconds makes availability a matter of time.
 *
 * Creation starts slowly, as Kubernetes' does: one pod, then twice as many with
 * every success, so that a pod that cannot be created costs one refusal and
 * not a thousand.  What a quota has refused is tried again after a back-off, and
 * when the quota has room.
 */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/claim.h"
#include "procs/lib/mains.h"
#include "procs/lib/pod_admit.h"
#include "procs/lib/write.h"
#include "procs/replicaset/rank.h"

#define BATCH_MAX     65536u /* pods asked for in one request */
#define DELETE_BATCH  8192u  /* pods named in one request */
#define DELETE_MAX    65536u /* and in those of one reconcile */
#define REFUSED_MS    20u    /* until admission is asked again, doubling, */
#define REFUSED_TWICE 6u     /* so many times */
#define EVENTS_MAX    25u    /* per request: Kubernetes' recorder drops the rest */

/* Kept for each ReplicaSet between reconciles. */
struct rs_state {
	struct claim_state claims;
	uint32_t batch;	  /* pods of the next create request; 0: start at 1 */
	bool failed;	  /* the last create or delete was refused */
	uint8_t refusals; /* by admission, in a row */
	bool odd_labels;  /* a dependent may lack labels of the template */
	char reason[16];  /* of the failure: FailedCreate, FailedDelete */
	char message[512];
};

struct rs_controller {
	struct claims claims;
	struct rankings rankings;
	uint64_t resyncs;      /* when they were begun */
	struct claim *refused; /* ReplicaSets whose pods a quota has refused */
	uint32_t nrefused, refused_cap;
};

/* What one reconcile knows. */
struct rs {
	struct controller *ctl;
	const struct cache *c;
	zone *z;
	const struct entry *e;
	const struct version *v;
	struct rs_state *state;
	value spec, status;
	uint32_t replicas;
	uint32_t min_ready_s;
	struct counts_copy counts;
};

/* --- Creating ------------------------------------------------------------------- */

/* Names of the pods that a request made: they have the resourceVersions
 * [first, first + done). */
static void tell_created(struct controller *ctl, const struct entry *e, uint64_t first,
			 uint32_t done)
{
	const struct version *made[EVENTS_MAX];
	int n = cache_journal(ctl_cache(ctl), first - 1, made,
			      (int)(done < EVENTS_MAX ? done : EVENTS_MAX));

	for (int i = 0; i < n; i++)
		ctl_event(ctl, e, "Normal", "SuccessfulCreate", "Created pod: %s",
			  cache_entry(ctl_cache(ctl), made[i]->entry)->name);
}

struct asked {
	struct controller *ctl;
	struct rs_state *state;
	entry_ref rs;
	uint32_t count;
	bool is_delete;
};

static void fail(struct controller *ctl, struct rs_state *state, const struct entry *e,
		 bool is_delete, struct str message)
{
	const char *reason = is_delete ? "FailedDelete" : "FailedCreate";

	state->failed = true;
	state->batch = 0;
	snprintf(state->reason, sizeof(state->reason), "%s", reason);
	snprintf(state->message, sizeof(state->message), STR_FMT, STR_ARG(message));
	ctl_event(ctl, e, "Warning", reason, "Error %s: " STR_FMT,
		  is_delete ? "deleting" : "creating", STR_ARG(message));
}

/* --- Refusals ------------------------------------------------------------------- */

static bool in_refused(const struct rs_controller *self, struct claim r)
{
	for (uint32_t i = 0; i < self->nrefused; i++)
		if (self->refused[i].object.u == r.object.u &&
		    self->refused[i].created_rv == r.created_rv)
			return true;
	return false;
}

static void note_refused(struct rs_controller *self, const struct cache *c, const struct entry *e)
{
	struct claim r = {cache_entry_ref(c, e), e->created_rv};

	if (in_refused(self, r))
		return;
	if (self->nrefused == self->refused_cap) {
		self->refused_cap = self->refused_cap ? 2 * self->refused_cap : 16;
		self->refused = realloc(self->refused, self->refused_cap * sizeof(r));
		weft_assert(self->refused);
	}
	self->refused[self->nrefused++] = r;
}

/* Is less taken than there is, of every resource?  Of one that is gone as well. */
static bool has_room(zone *z, const struct cache *c, const struct entry *quota)
{
	const struct version *v = cache_live(c, quota);
	value status = v ? kube_part(z, c, quota, v, PART_STATUS) : v_null();
	struct kube_amount hard, used;

	v_each_kv(kv, v_get(&status, "hard"))
		if (kube_amount(&kv->val, &hard) &&
		    kube_amount(v_getn(v_get(&status, "used"), v_as_str(&kv->key)), &used) &&
		    used.milli >= hard.milli)
			return false;
	return true;
}

/* A quota has changed: those in its namespace that it may have refused try again. */
static void wake_refused(struct controller *ctl, const struct entry *quota)
{
	struct rs_controller *self = ctl_state(ctl);
	const struct cache *c = ctl_cache(ctl);
	uint32_t kept = 0;

	if (!self->nrefused || !has_room(ctl_zone(ctl), c, quota))
		return;
	for (uint32_t i = 0; i < self->nrefused; i++) {
		struct claim r = self->refused[i];
		const struct entry *e;

		if (cache_entry_checked(c, r.object.u, &e) || e->created_rv != r.created_rv)
			continue;
		if (e->ns.u == quota->ns.u)
			ctl_enqueue(ctl, e);
		else
			self->refused[kept++] = r;
	}
	self->nrefused = kept;
}

static bool namespace_is_going(const struct cache *c, const struct entry *e)
{
	const struct entry *ns = cache_find(c, TYPE_NAMESPACE, (struct str){0}, cache_ns(c, e));
	const struct version *v = ns ? cache_live(c, ns) : NULL;

	return !v || v->deletion_s;
}

/* What may not be: the store says why, of which pod. */
static void forbidden(struct asked *a, const struct entry *e, const struct msg_reply *reply)
{
	const struct cache *c = ctl_cache(a->ctl);
	char text[sizeof(a->state->message)];
	int n;

	if (namespace_is_going(c, e))
		return;
	n = snprintf(text, sizeof(text), "pods \"" STR_FMT "\" is forbidden: " STR_FMT,
		     STR_ARG(reply->name), STR_ARG(reply->message));
	if (n >= (int)sizeof(text))
		n = sizeof(text) - 1;
	note_refused(ctl_state(a->ctl), c, e);
	fail(a->ctl, a->state, e, a->is_delete, (struct str){text, (uint32_t)n});
}

/* --- Requests ------------------------------------------------------------------- */

/* The reply to a create or delete request.  The library keeps the object's
 * state and its entry while requests for it are unanswered. */
static void on_answer(void *arg, const struct msg_reply *reply)
{
	struct asked *a = arg;
	struct cache *c = ctl_cache(a->ctl);
	const struct entry *e;

	cache_lock(c);
	e = cache_entry(c, a->rs);
	if (!a->is_delete && reply->done)
		tell_created(a->ctl, e, reply->rv, reply->done);
	switch (reply->status) {
	case WEFT_OK:
		a->state->failed = false;
		break;
	case WEFT_EFORBIDDEN:
		forbidden(a, e, reply);
		break;
	case WEFT_ELOST:
	case WEFT_EFENCED:
	case WEFT_ENOENT: /* we or our namespace are on the way out */
		break;
	default:
		fail(a->ctl, a->state, e, a->is_delete,
		     reply->message.n ? reply->message : str_of(weft_strerror(reply->status)));
	}
	cache_unlock(c);
	free(a);
}

static int send_asked(struct rs *rs, struct msg *m, uint32_t count, bool is_delete)
{
	struct asked *a = malloc(sizeof(*a));
	int ret;

	weft_assert(a);
	*a = (struct asked){.ctl = rs->ctl,
			    .state = rs->state,
			    .rs = cache_entry_ref(rs->c, rs->e),
			    .count = count,
			    .is_delete = is_delete};
	ret = ctl_send(rs->ctl, m, on_answer, a);
	if (ret)
		free(a);
	return ret;
}

/* Kubernetes names a pod after its ReplicaSet, as far as the name fits. */
static struct str pod_prefix(struct rs *rs)
{
	struct str name = entry_name(rs->e);

	return zone_printf(rs->z, STR_FMT "-", STR_ARG(name));
}

/* What is missing may come: nobody tells us, so it is looked for again. */
static void refused(struct rs *rs, struct str message)
{
	uint8_t n = rs->state->refusals;

	if (n < REFUSED_TWICE)
		rs->state->refusals++;
	ctl_after(rs->ctl, REFUSED_MS << n);
	/* The account of a new namespace is on its way. */
	if (n > 2 || clock_wall_s() > rs->e->created_s + 1)
		fail(rs->ctl, rs->state, rs->e, false, message);
}

static int create_pods(struct rs *rs, uint32_t missing)
{
	value template = v_copy(rs->z, v_get(&rs->spec, "template"));
	struct str message;
	uint32_t batch = rs->state->batch ? rs->state->batch : 1;
	value owner = kube_owner_ref(rs->z, rs->c, rs->e, true);
	struct kube_parts parts;
	struct msg m = {.kind = MSG_create_many};
	value pod;
	int ret;

	if (pod_admit(rs->z, rs->c, cache_ns(rs->c, rs->e), pod_prefix(rs), &template, &message)) {
		refused(rs, message);
		return 0;
	}
	rs->state->refusals = 0;
	if (batch > missing)
		batch = missing;
	kube_pod_from_template(rs->z, &template, &owner, &pod);
	kube_split(rs->z, &pod, &parts);
	m.create_many = (struct msg_create_many){
		.type = TYPE_POD,
		.ns = cache_ns(rs->c, rs->e),
		.prefix = pod_prefix(rs),
		.count = batch,
		.meta = buf_str(&parts.part[PART_META]),
		.labels = buf_str(&parts.part[PART_LABELS]),
		.spec = buf_str(&parts.part[PART_SPEC]),
		.status = buf_str(&parts.part[PART_STATUS]),
		.rest = buf_str(&parts.part[PART_REST]),
		.owner = {(const char *)rs->e->uid, 16},
	};
	ret = send_asked(rs, &m, batch, false);
	kube_parts_free(&parts);
	if (!ret)
		rs->state->batch = batch >= BATCH_MAX / 2 ? BATCH_MAX : batch * 2;
	return ret;
}

/* --- Deleting --------------------------------------------------------------------- */

static int delete_refs(struct rs *rs, const uint32_t *entries, const uint64_t *rvs, uint32_t n)
{
	struct msg m = {.kind = MSG_delete_many};

	m.delete_many = (struct msg_delete_many){
		.type = TYPE_POD,
		.grace = -1,
		.propagation = PROPAGATION_DEFAULT,
		.entries = {entries, n},
		.rvs = {rvs, n},
	};
	return send_asked(rs, &m, n, true);
}

static struct rankings *rankings_now(struct rs *rs)
{
	struct rs_controller *self = ctl_state(rs->ctl);

	if (self->resyncs != ctl_resyncs(rs->ctl))
		rankings_forget(&self->rankings);
	self->resyncs = ctl_resyncs(rs->ctl);
	return &self->rankings;
}

static int delete_pods(struct rs *rs, uint32_t surplus)
{
	struct rank_choice choice;
	uint32_t done = 0;
	int ret = 0;

	rank_choose(rs->c, rs->e, surplus, DELETE_MAX, ctl_now_s(rs->ctl), rankings_now(rs),
		    &choice);
	while (done < choice.n) {
		uint32_t n = choice.n - done < DELETE_BATCH ? choice.n - done : DELETE_BATCH;

		ret = delete_refs(rs, choice.entries + done, choice.rvs + done, n);
		if (ret)
			break;
		for (uint32_t k = done; k < done + n && k < EVENTS_MAX; k++)
			ctl_event(rs->ctl, rs->e, "Normal", "SuccessfulDelete", "Deleted pod: %s",
				  cache_entry(rs->c, (entry_ref){choice.entries[k]})->name);
		done += n;
	}
	rank_give_back(&choice, done);
	rank_free(&choice);
	return ret;
}

/* --- Status ------------------------------------------------------------------------ */

/* Only with minReadySeconds is it a matter of each pod's age. */
static uint32_t count_available(struct rs *rs)
{
	uint32_t available = 0, now = ctl_now_s(rs->ctl), soonest = UINT32_MAX;

	if (!rs->min_ready_s)
		return rs->counts.ready;
	for (const struct entry *e = cache_first_dependent(rs->c, rs->e); e;
	     e = cache_next_dependent(rs->c, e)) {
		const struct version *v = cache_live(rs->c, e);
		uint32_t wait = 0;

		if (!v || v->deletion_s || !(v->hot.flags & HOT_READY))
			continue;
		if (kube_pod_available(v, rs->min_ready_s, now, &wait))
			available++;
		else if (wait && wait < soonest)
			soonest = wait;
	}
	if (soonest != UINT32_MAX)
		ctl_after(rs->ctl, (uint64_t)soonest * 1000);
	return available;
}

/* Pods that carry all labels of the template.  Those that we made do; only
 * after adoption may there be others. */
static uint32_t count_labelled(struct rs *rs)
{
	const value *labels = v_path(&rs->spec, "template.metadata.labels");
	struct kube_selector *selector;
	uint32_t n = 0, odd = 0, last_set = UINT32_MAX;
	bool last = false;

	if (!rs->state->odd_labels)
		return rs->counts.active;
	selector = kube_selector_from_map(rs->z, labels);
	for (const struct entry *e = cache_first_dependent(rs->c, rs->e); e;
	     e = cache_next_dependent(rs->c, e)) {
		const struct version *v = cache_live(rs->c, e);

		if (!pod_is_active(v))
			continue;
		if (v->part[PART_LABELS] != last_set) {
			last_set = v->part[PART_LABELS];
			last = kube_selector_match(selector, cache_part(rs->c, v, PART_LABELS));
		}
		n += last;
		odd += !last;
	}
	rs->state->odd_labels = odd > 0;
	return n;
}

/* A count that Kubernetes leaves out of the status when it is 0. */
static void set_count(struct rs *rs, value *status, const char *key, uint32_t n)
{
	if (n)
		v_set(rs->z, status, key, v_uint(n));
	else
		v_del(status, key);
}

static void set_failure(struct rs *rs, value *status)
{
	value *conditions;

	if (!rs->state->failed) {
		kube_condition_del(v_get(status, "conditions"), "ReplicaFailure");
		if (!v_len(v_get(status, "conditions")))
			v_del(status, "conditions");
		return;
	}
	conditions = v_array_at(rs->z, status, "conditions");
	if (!kube_condition(conditions, "ReplicaFailure"))
		kube_condition_set(rs->z, conditions, "ReplicaFailure", "True", rs->state->reason,
				   str_of(rs->state->message), ctl_now_s(rs->ctl), false);
}

static int update_status(struct rs *rs)
{
	value status = v_copy(rs->z, &rs->status);

	if (!v_is_map(&status))
		status = v_map();
	v_set(rs->z, &status, "replicas", v_uint(rs->counts.active));
	set_count(rs, &status, "fullyLabeledReplicas", count_labelled(rs));
	set_count(rs, &status, "readyReplicas", rs->counts.ready);
	set_count(rs, &status, "availableReplicas", count_available(rs));
	v_set(rs->z, &status, "terminatingReplicas", v_uint(rs->counts.terminating));
	v_set(rs->z, &status, "observedGeneration", v_uint(rs->v->generation));
	set_failure(rs, &status);
	if (v_equal(&status, &rs->status))
		return 0;
	return ctl_write(rs->ctl, rs->e, NULL, &(struct parts){.status = &status});
}

/* --- Reconcile ---------------------------------------------------------------------- */

static int manage(struct rs *rs)
{
	if (rs->v->deletion_s)
		return 0;
	if (rs->counts.active < rs->replicas)
		return create_pods(rs, rs->replicas - rs->counts.active);
	rs->state->batch = 0;
	if (rs->counts.active > rs->replicas)
		return delete_pods(rs, rs->counts.active - rs->replicas);
	rs->state->failed = false;
	rankings_trim(rankings_now(rs), ctl_now_s(rs->ctl));
	return 0;
}

static void reconcile(struct controller *ctl, const struct entry *e, const struct version *v)
{
	struct rs_controller *self = ctl_state(ctl);
	struct rs rs = {
		.ctl = ctl,
		.c = ctl_cache(ctl),
		.z = ctl_zone(ctl),
		.e = e,
		.v = v,
		.state = ctl_object_state(ctl),
	};
	struct kube_selector *selector = claim_selector_of(ctl, e, v);
	int claimed;

	if (!selector)
		return; /* validation lets none through; nothing can be done for it */
	if (!rs.state->claims.resyncs)
		rs.state->odd_labels = true;
	claimed = claim_reconcile(ctl, &self->claims, &rs.state->claims, TYPE_POD, e, v, selector);
	if (claimed) {
		rs.state->odd_labels = true;
		rankings_forget(&self->rankings);
		return; /* looked at again with the replies */
	}
	rs.spec = kube_part(rs.z, rs.c, e, v, PART_SPEC);
	rs.status = kube_part(rs.z, rs.c, e, v, PART_STATUS);
	rs.replicas = v->hot.replicas;
	rs.min_ready_s = (uint32_t)v_get_int(&rs.spec, "minReadySeconds", 0);
	cache_counts(rs.c, e, &rs.counts);
	if (manage(&rs) == 0)
		update_status(&rs);
}

static void map(struct controller *ctl, const struct entry *other)
{
	struct rs_controller *self = ctl_state(ctl);

	if (other->type == TYPE_RESOURCEQUOTA)
		wake_refused(ctl, other);
	else
		claim_map(ctl, &self->claims, TYPE_REPLICASET, claim_selector_of, other);
}

int replicaset_main(void)
{
	static const struct controller_ops ops = {
		.kind = PROC_REPLICASET,
		.component = "replicaset-controller",
		.type = TYPE_REPLICASET,
		.reconcile = reconcile,
		.map = map,
		.state_size = sizeof(struct rs_controller),
		.object_state_size = sizeof(struct rs_state),
	};

	return controller_main(&ops);
}
