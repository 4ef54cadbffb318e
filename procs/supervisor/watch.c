/* watch.c - what has to be done now: each turn of the loop looks at every
 * child once, by a table of what may follow from its state. */
#include "procs/supervisor/supervisor.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include "weft/fault.h"

#define DRAIN_WARN_NS	 INT64_C(1000000000)
#define START_SILENCE_NS (30 * INT64_C(1000000000)) /* before the first heartbeat */
#define HASTE_NS	 INT64_C(300000000) /* after a process that was started again is ready */
#define OUR_PAUSE_NS	 INT64_C(500000000) /* beyond two looks */

struct child *watch_store(struct supervisor *s)
{
	return &s->child[STORE_SLOT];
}

static bool store_up(const struct supervisor *s)
{
	return atomic_load_explicit(&s->control->store_up, memory_order_relaxed) != 0;
}

/* --- Generations of the cache ---------------------------------------------------- */

static void unlink_generation(struct supervisor *s, uint32_t generation)
{
	char name[SEG_NAME_MAX];
	struct err e;

	if (!generation)
		return;
	proc_name_cache(name, s->dir.cluster, generation);
	if (seg_unlink(name, &e))
		logs_say(s, LOG_WARN, "%s", e.msg);
}

/* The store has made a new generation: everybody may have it. */
static void publish_generation(struct supervisor *s)
{
	struct child *c = watch_store(s);
	const struct proc_segment *seg = child_segment(c);
	uint32_t now = atomic_load(&s->control->generation), made;

	if (!child_alive(c) || !seg)
		return;
	made = atomic_load_explicit(&seg->made_generation, memory_order_acquire);
	if (made <= now)
		return;
	unlink_generation(s, s->old_generation);
	s->old_generation = now;
	fault_at(super_generation);
	atomic_store_explicit(&s->control->generation, made, memory_order_release);
	fault_at(super_generation_half);
	atomic_store_explicit(&s->control->store_up, 1, memory_order_release);
	supervisor_changed(s);
	if (now)
		logs_say(s, LOG_INFO, "the store serves generation %u of the cache", made);
}

/* Nobody looks at the old generation any more: its memory may go. */
static void retire_generation(struct supervisor *s)
{
	uint32_t now = atomic_load(&s->control->generation);

	if (!s->old_generation)
		return;
	for (uint32_t i = STORE_SLOT + 1; i < PROC_SLOTS; i++) {
		const struct proc_segment *seg = child_segment(&s->child[i]);

		if (seg && s->child[i].state == CHILD_RUNNING &&
		    atomic_load_explicit(&seg->generation, memory_order_acquire) != now)
			return;
	}
	unlink_generation(s, s->old_generation);
	s->old_generation = 0;
}

static void start_everybody(struct supervisor *s)
{
	if (s->started || s->stop || !atomic_load(&s->control->generation))
		return;
	s->started = true;
	for (int k = PROC_STORE + 1; k < PROC_KIND_COUNT; k++) {
		const struct proc_kind_info *info = proc_kind_info((enum proc_kind)k);

		if (!info->main && s->config.count[k])
			logs_say(s, LOG_INFO, "%s is not part of this build", info->name);
	}
	scale_tick(s);
}

/* --- Stalls ------------------------------------------------------------------------- */

/* Time without a core is no fault of the process; it is looked at from this part of the limit
 * on, as reading it costs something. */
#define STARVED_PART 4

static void end_stalled(struct supervisor *s, struct child *c, const char *why)
{
	char name[32];

	if (c->killed)
		return;
	c->killed = true;
	logs_say(s, LOG_WARN, "%s (pid %d) %s: killing it", child_name(c, name), (int)c->pid, why);
	child_signal(s, c, SIGKILL);
}

static int64_t limit_ns(const struct supervisor *s)
{
	return s->config.stall_ms * 1000000;
}

/* How long a process may say that it will be silent: for the longest work that
 * there is (procs/store/main.c, procs/checkpoint/main.c), whatever it writes. */
static int64_t silence_max(const struct child *c)
{
	return (c->kind == PROC_STORE ? 600 : 60) * INT64_C(1000000000);
}

/* When a heartbeat that we see now counts as beaten. */
static int64_t beaten_at(const struct supervisor *s, const struct child *c, int64_t beat)
{
	if (beat <= s->now)
		return s->now;
	return beat - s->now < silence_max(c) ? beat : s->now + silence_max(c);
}

/* For how long a process has been ready to run and had no core since it was started; 0 if
 * this kernel does not say.  Field 2 of /proc/PID/schedstat: of its first thread, which is the
 * one that has a heartbeat. */
static int64_t core_wait_ns(pid_t pid)
{
	char path[32];
	long long waited = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*d %lld", &waited) != 1)
		waited = 0;
	fclose(f);
	return waited;
}

/* What it waited for a core since the last look is not silence. */
static void put_off(struct supervisor *s, struct child *c, int64_t limit)
{
	int64_t wait, more;

	if (s->now - c->beat_seen_ns < limit / STARVED_PART)
		return;
	wait = core_wait_ns(c->pid);
	more = c->core_wait_ns ? wait - c->core_wait_ns : 0;
	if (more > s->now - c->beat_seen_ns)
		more = s->now - c->beat_seen_ns;
	c->core_wait_ns = wait;
	c->beat_seen_ns += more;
}

static void check_heartbeat(struct supervisor *s, struct child *c)
{
	const struct proc_segment *seg = child_segment(c);
	int64_t beat = atomic_load_explicit(&seg->heartbeat_ns, memory_order_relaxed);
	int64_t limit = beat ? limit_ns(s) : START_SILENCE_NS;
	char why[64];

	if (beat != c->beat || s->now - s->last_tick_ns > 2 * s->idle_ns + OUR_PAUSE_NS) {
		/* It lives, and may have said for how long it will be silent; or we
		 * did not look ourselves, and cannot say. */
		c->beat = beat;
		c->beat_seen_ns = beaten_at(s, c, beat);
		c->core_wait_ns = 0;
		return;
	}
	put_off(s, c, limit);
	if (s->now - c->beat_seen_ns <= limit)
		return;
	snprintf(why, sizeof(why), "showed no life for %.1f s",
		 (double)(s->now - c->beat_seen_ns) / 1e9);
	end_stalled(s, c, why);
}

/* The store says that somebody is in its way. */
static struct child *find_accused(struct supervisor *s, uint64_t who)
{
	struct child *c;

	if (!who || PROC_WHO_SLOT(who) >= PROC_SLOTS)
		return NULL;
	c = &s->child[PROC_WHO_SLOT(who)];
	/* While it drains, its process is its successor. */
	return c->incarnation == PROC_WHO_INCARNATION(who) && child_alive(c) &&
			       c->state != CHILD_DRAINING && c->kind != PROC_STORE
		       ? c
		       : NULL;
}

/* It has to be in the way for a part of the limit more, not counting time without a core. */
static void check_stalled(struct supervisor *s, uint64_t who)
{
	struct child *c = find_accused(s, who);
	struct accused *a = &s->accused;
	int64_t wait, limit = limit_ns(s) / STARVED_PART;

	if (!c) {
		a->who = 0;
		return;
	}
	wait = core_wait_ns(c->pid);
	if (a->who != who)
		*a = (struct accused){who, s->now, wait};
	if (s->now - a->since_ns - (wait - a->core_wait_ns) >= limit)
		end_stalled(s, c, "keeps the store from freeing memory");
}

static void check_store_reports(struct supervisor *s)
{
	const struct proc_segment *seg = child_segment(watch_store(s));
	struct child *c;

	if (!seg || !child_alive(watch_store(s)))
		return;
	check_stalled(s, atomic_load_explicit(&seg->stalled_slot, memory_order_relaxed));
	c = find_accused(s, atomic_load_explicit(&seg->hostile_slot, memory_order_relaxed));
	if (c)
		end_stalled(s, c, "goes on writing malformed requests");
}

/* --- Children, by their state ------------------------------------------------------- */

static void tick_starting(struct supervisor *s, struct child *c)
{
	char name[32];

	check_heartbeat(s, c);
	/* [proc.A1] pairs with [proc.R1]: all that makes it ready is there. */
	if (!atomic_load_explicit(&child_segment(c)->ready, memory_order_acquire))
		return;
	c->state = CHILD_RUNNING;
	c->was_ready = c->has_run = true;
	c->calm_ns = s->now + HASTE_NS;
	/* [control.R1] pairs with [control.A1]. */
	atomic_store_explicit(&s->control->slots[c->slot].state, SLOT_RUNNING,
			      memory_order_release);
	supervisor_changed(s);
	logs_say(s, LOG_INFO, "%s (pid %d) is ready after %.0f ms", child_name(c, name),
		 (int)c->pid, (double)(s->now - c->started_ns) / 1e6);
}

static void tick_running(struct supervisor *s, struct child *c)
{
	check_heartbeat(s, c);
	if (c->hastes && s->now >= c->calm_ns)
		child_calm(c);
}

static void tick_stopping(struct supervisor *s, struct child *c)
{
	char name[32];

	if (s->now < c->kill_ns || c->killed)
		return;
	c->killed = true;
	logs_say(s, LOG_WARN, "%s (pid %d) does not stop: killing it", child_name(c, name),
		 (int)c->pid);
	child_signal(s, c, SIGKILL);
}

static void tick_waiting(struct supervisor *s, struct child *c)
{
	if (!s->stop && s->now >= c->next_ns && !c->killed)
		child_restart(s, c);
}

/* Its successor may look at things when the store has applied what it left, however
 * long that takes: before, it would not see its predecessor's last writes, and
 * do the same again.  A store that is away will drop it with the old
 * generation, and one that hangs is ended. */
static void tick_draining(struct supervisor *s, struct child *c)
{
	const struct inbox_segment *inbox = (const struct inbox_segment *)c->inbox.base;
	bool drained =
		!c->has_segments || !store_up(s) ||
		atomic_load_explicit(&inbox->drained, memory_order_acquire) == c->incarnation;
	char name[32];

	if (drained) {
		c->state = CHILD_WAITING;
		tick_waiting(s, c);
		return;
	}
	if (c->late || s->now - c->ended_ns < DRAIN_WARN_NS)
		return;
	c->late = true;
	logs_say(s, LOG_WARN, "waiting for the store to write what %s left", child_name(c, name));
}

static void (*const ticks[])(struct supervisor *s, struct child *c) = {
	[CHILD_FREE] = NULL,
	[CHILD_STARTING] = tick_starting,
	[CHILD_RUNNING] = tick_running,
	[CHILD_STOPPING] = tick_stopping,
	[CHILD_DRAINING] = tick_draining,
	[CHILD_WAITING] = tick_waiting,
};
static_assert(countof(ticks) == CHILD_WAITING + 1, "every state has its row");

/* --- Readiness of the whole --------------------------------------------------------- */

static void say_ready(struct supervisor *s)
{
	struct str listen = v_get_str(&s->config.all, "listen"), host;
	const struct child *c = child_find(s, PROC_APISERVER, 0);
	uint16_t port;

	if (s->serving || !c || c->state != CHILD_RUNNING)
		return;
	s->serving = true;
	if (!config_listen_split(listen, &host, &port))
		host = STR("127.0.0.1");
	port = (uint16_t)atomic_load(&child_segment(c)->listen_port);
	logs_say(s, LOG_INFO, "serving on port %u", port);
	if (s->quiet)
		return;
	if (memchr(host.p, ':', host.n))
		printf("ready https://[" STR_FMT "]:%u %s/kubeconfig\n", STR_ARG(host), port,
		       s->dir.path);
	else
		printf("ready https://" STR_FMT ":%u %s/kubeconfig\n", STR_ARG(host), port,
		       s->dir.path);
	fflush(stdout);
}

/* --- Stopping in order -------------------------------------------------------------- */

static bool in_phase(const struct child *c, enum stop_phase phase)
{
	switch (phase) {
	case STOP_CONTROLLERS:
		return proc_kind_info(c->kind)->sharded;
	case STOP_APISERVER:
		return c->kind == PROC_APISERVER;
	case STOP_CHECKPOINT:
		return c->kind == PROC_CHECKPOINT;
	default:
		return c->kind == PROC_STORE;
	}
}

/* Tell those of this phase to stop; true while any of them lives. */
static bool stop_phase(struct supervisor *s)
{
	int64_t within = s->stop == STOP_STORE ? s->config.stop_ms : 3000;
	bool any = false;

	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct child *c = &s->child[i];

		if (c->state == CHILD_FREE || !in_phase(c, s->stop))
			continue;
		if (!child_alive(c)) {
			child_free(s, c);
			continue;
		}
		child_stop(s, c, within);
		any = true;
	}
	return any;
}

static void tick_stop(struct supervisor *s)
{
	while (s->stop && s->stop <= STOP_STORE && !stop_phase(s))
		s->stop++;
}

void watch_tick(struct supervisor *s)
{
	fault_clock(&s->control->clock);
	tick_stop(s);
	publish_generation(s);
	retire_generation(s);
	start_everybody(s);
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		if (s->child[i].pidfd < 0) /* out of descriptors: look ourselves */
			child_ended(s, &s->child[i]);
		if (ticks[s->child[i].state])
			ticks[s->child[i].state](s, &s->child[i]);
	}
	check_store_reports(s);
	scale_tick(s);
	say_ready(s);
	if (s->pids_changed)
		datadir_note_children(s);
	s->pids_changed = false;
	s->last_tick_ns = s->now;
}
