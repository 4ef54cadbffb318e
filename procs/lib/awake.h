/*
 * awake.h - waiting awake for what is likely to come at once.
 *
 * To wake a core that sleeps takes 45 us on a virtual machine, and costs the waker
 * 15; one write goes through three processes.  So who has not waited for long the last
 * time looks again and again for a while, giving way to all others, before it
 * sleeps.  Who waits for long, as all do at rest, does not.  The rule is that of
 * Linux's haltpoll governor, with one step instead of several: the last wait tells
 * what to expect of this one.  docs/decisions/0013 has the figures.
 */
#ifndef PROCS_LIB_AWAKE_H
#define PROCS_LIB_AWAKE_H

#include <stdbool.h>
#include <stdint.h>

#define AWAKE_NS 400000 /* a shorter wait is spent awake; longer ones are slept through */

/* Private to who waits; zero-initialise. */
struct awake {
	bool expecting; /* the last wait was short */
};

/* Looks for what is waited for, sleeping for up to wait_ns (0: not at all) until it
 * comes; returns how much has come, or 0. */
typedef int (*awake_look)(void *arg, int64_t wait_ns);

/* Wait for up to wait_ns; returns what `look` returned.  Blocks where `look` does. */
int awake_wait(struct awake *a, awake_look look, void *arg, int64_t wait_ns);

#endif
