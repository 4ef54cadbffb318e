/*
 * deployment.h - the Deployment controller: what its files share.
 *
 * One reconcile (sync.c) reads the Deployment and its ReplicaSets into a
 * `struct deployment`, lets the rules change the trees in it (revision.c: the
 * new ReplicaSet and revisions; rolling.c and recreate.c: the strategies;
 * scale.c: scaling and proportions; status.c: status and conditions), and
 * then writes back each object whose tree has changed.  So every rule reads
 * like Kubernetes' own, and what it decides goes out as one write per object.
 */
#ifndef WEFT_DEPLOYMENT_H
#define WEFT_DEPLOYMENT_H

#include <stdio.h>

#include "procs/lib/claim.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define ANNOTATION_REVISION "deployment.kubernetes.io/revision"
#define ANNOTATION_HISTORY  "deployment.kubernetes.io/revision-history"
#define ANNOTATION_DESIRED  "deployment.kubernetes.io/desired-replicas"
#define ANNOTATION_MAX	    "deployment.kubernetes.io/max-replicas"
#define LABEL_TEMPLATE_HASH "pod-template-hash"

/* A ReplicaSet of the Deployment, as read and as it is to be. */
struct replicaset {
	const struct entry *e; /* NULL: to be created */
	const struct version *v;
	value meta, spec, status, labels;
	int64_t replicas; /* spec.replicas; follows the rules' decisions */
	int64_t actual, ready, available, terminating; /* status */
	bool changed;				       /* meta or spec differ from v */
	bool deleted;				       /* to be deleted */
};

/* Kept for each Deployment between reconciles. */
struct deployment_state {
	struct claim_state claims;
	bool created;		/* the new ReplicaSet has just been made */
	bool collided;		/* its name was taken: try another hash */
	char create_error[512]; /* why it could not be made; empty: it could */
};

struct deployment {
	struct controller *ctl;
	const struct cache *c;
	zone *z;
	const struct entry *e;
	const struct version *v;
	value meta, spec, status; /* status: as it was read */
	value new_status;	  /* as it is to be */
	bool meta_changed;
	int64_t replicas, max_surge, max_unavailable;
	bool paused, recreate;
	uint32_t now_s;
	/* All ReplicaSets, oldest first; `fresh` is the one of the current
	 * template or NULL. */
	struct replicaset *list;
	uint32_t n;
	struct replicaset *fresh;
	struct replicaset made; /* room for one that is to be created */
	struct deployment_state *state;
};

/* Iterates over old ReplicaSets (all but the one of the current template). */
#define each_old(rs, d)                                                        \
	for (struct replicaset *rs = (d)->list; rs < (d)->list + (d)->n; rs++) \
		if (rs != (d)->fresh)
#define each_rs(rs, d) for (struct replicaset *rs = (d)->list; rs < (d)->list + (d)->n; rs++)

/* revision.c */
/* Find the ReplicaSet of the current template and bring its annotations and
 * the revisions up to date; with `create`, prepare one when there is none
 * (d->fresh->e == NULL). */
void revision_sync(struct deployment *d, bool create);
int64_t revision_of(const value *meta);
/* Delete old ReplicaSets beyond revisionHistoryLimit. */
void revision_clean_up(struct deployment *d);

/* scale.c */
/* Set a ReplicaSet's size, its annotations, and tell about it. */
bool scale_to(struct deployment *d, struct replicaset *rs, int64_t replicas);
/* How large the new ReplicaSet may be now. */
int64_t scale_fresh_size(struct deployment *d, const struct replicaset *fresh);
/* The Deployment's size was changed since its ReplicaSets were last scaled. */
bool scale_wanted(struct deployment *d);
/* Spread a new size over the ReplicaSets in proportion. */
void scale_proportionally(struct deployment *d);
int64_t scale_sum(struct deployment *d, bool old_only);
bool scale_set_annotations(struct deployment *d, struct replicaset *rs);

/* rolling.c, recreate.c */
void rollout_rolling(struct deployment *d);
void rollout_recreate(struct deployment *d);

/* status.c */
/* Counters and the Available condition, from the ReplicaSets. */
void status_calculate(struct deployment *d);
/* The same with the progress conditions of a rollout; asks to be called again
 * when the deadline will pass. */
void status_rollout(struct deployment *d);
bool status_complete(struct deployment *d, const value *status);
void status_paused_conditions(struct deployment *d);
/* Set or replace a condition as Kubernetes does: same status and reason: left
 * as it is; same status: lastTransitionTime kept. */
void status_condition(struct deployment *d, const char *type, const char *status,
		      const char *reason, struct str message);
bool status_has_deadline(struct deployment *d);
const char *status_reason(const value *status, const char *type);

#endif
