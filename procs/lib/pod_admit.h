/*
 * pod_admit.h - admission of pods that controllers make: what the API server
 * looks up for a client's pod (procs/apiserver/admit.c) has to hold for these too.
 */
#ifndef WEFT_POD_ADMIT_H
#define WEFT_POD_ADMIT_H

#include "weft/kube.h"

/* Look up the ServiceAccount and PriorityClass of a pod template and set its
 * spec.priority, spec.preemptionPolicy and (a default) spec.priorityClassName.
 * `prefix` is the name that a refusal speaks of.  WEFT_EFORBIDDEN with *message
 * in Kubernetes' words, in the zone.  In a read section. */
int pod_admit(zone *z, const struct cache *c, struct str ns, struct str prefix, value *template,
	      struct str *message);

#endif
