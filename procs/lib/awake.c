/* awake.c - what awake.h promises. */
#include "procs/lib/awake.h"

#include <sched.h>

#include "weft/proc.h"

int awake_wait(struct awake *a, awake_look look, void *arg, int64_t wait_ns)
{
	int64_t from, until, now;
	int n = 0;

	if (wait_ns <= 0)
		return look(arg, 0);
	from = now = proc_mono_ns();
	until = from + (wait_ns < AWAKE_NS ? wait_ns : AWAKE_NS);
	while (a->expecting && now < until && !(n = look(arg, 0))) {
		sched_yield();
		now = proc_mono_ns();
	}
	if (!n && now - from < wait_ns)
		n = look(arg, wait_ns - (now - from));
	a->expecting = n && proc_mono_ns() - from < AWAKE_NS;
	return n;
}
