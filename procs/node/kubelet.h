/*
 * kubelet.h - what a kubelet does with one pod, as a function of its spec, its
 * status and the time: no process, no cache, no state of its own.
 *
 * kubelet_advance() takes a status as far as it can go at `now_ms` and says
 * when to come back.  All that it remembers is in the status (start and finish
 * times, restart counts), so a node process that is killed and started again
 * carries on.
 *
 * In symbolic mode every time "now" and every address is a hole (value.h), so
 * that the status made for one pod is the template for all pods of its kind.
 */
#ifndef WEFT_KUBELET_H
#define WEFT_KUBELET_H

#include "procs/node/behaviour.h"

enum kubelet_hole { KUBELET_POD_IP, KUBELET_HOST_IP, KUBELET_NOW, KUBELET_HOLES };

/* Something to tell about a pod or container (an Event); strings in the zone. */
struct kubelet_event {
	const char *type, *reason;
	struct str message;
	struct str field_path; /* spec.containers{name}; empty: about the pod */
};

struct kubelet_pod {
	zone *z;
	const value *spec;
	struct pod_facts facts;
	const value *rules;
	uint8_t uid[16];
	struct str name;
	uint32_t generation;
	int64_t now_ms;
	uint32_t pod_ip, host_ip; /* pod_ip is used if the status has none */
	uint32_t pull_attempts;	  /* of images that cannot be pulled, so far */
	int64_t pull_due_ms;	  /* no step with those before; out: the next */
	bool symbolic;
	/* Out: */
	value status;	      /* in too: as it was read */
	int64_t wake_ms;      /* 0: nothing will happen by itself */
	bool pull_failed;     /* an attempt was made now, and failed */
	int64_t pull_next_ms; /* its own */
	struct kubelet_event *events;
	uint32_t nevents, cap_events;
};

/* True if a pod has never been looked at: nothing but what the scheduler wrote. */
bool kubelet_is_new(const value *status);
/* Does the status show the pod's own address?  If not, kubelet_advance() adds pod_ip. */
bool kubelet_has_address(const value *status);

/* Take p->status forward; true if it changed. */
bool kubelet_advance(struct kubelet_pod *p);

/* All its containers have stopped, as it is being deleted: p->status says so. */
void kubelet_stopped(struct kubelet_pod *p);

/* How long the pod takes to stop (ms, the longest of its containers, at most
 * its grace period), and the "Killing" events for it. */
int64_t kubelet_stop(struct kubelet_pod *p, int64_t grace_s);

#endif
