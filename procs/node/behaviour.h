/*
 * behaviour.h - what a simulated container does.
 *
 * With nothing said, a container of a Job's pod succeeds at once, any other
 * becomes ready at once and runs for ever.  Annotations of the pod say
 * otherwise, then rules of the configuration (the first that matches):
 *
 *   annotation weft.dev/...   rule       meaning
 *   start: 2s                 start      from being bound to running
 *   ready: 5s                 ready      from running to ready
 *   run: 10s                  run        then the container ends; "forever"
 *   exit-code: "1"            exitCode   with which code
 *   pull: error               pull       the image cannot be pulled
 *   stop: 3s                  stop       how long it takes to stop when it is deleted
 *
 * An annotation may name one container: weft.dev/run.sidecar.
 * A rule applies to containers whose image, namespace, node (shell patterns) and
 * labels match; its times are numbers of milliseconds.
 */
#ifndef WEFT_BEHAVIOUR_H
#define WEFT_BEHAVIOUR_H

#include "weft/value.h"

#define FOREVER_MS INT64_MAX

struct behaviour {
	int64_t start_ms, ready_ms, run_ms, stop_ms;
	int exit_code;
	bool pull_fails;
};

struct pod_facts {
	const value *meta;   /* annotations, ownerReferences */
	const value *labels; /* a map or nothing */
	struct str ns, node;
};

/* `rules`: nodes.rules of the configuration, an array or nothing. */
void behaviour_of(const value *rules, const struct pod_facts *pod, const value *container,
		  struct behaviour *out);

/* "500ms", "2s", "1m30s", "2h", or "forever"; false if it is none. */
bool duration_parse(struct str text, int64_t *ms);

#endif
