/* supervisor.c - the supervisor's life: make everything, loop, stop in order. */
#include "procs/supervisor/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "weft/fault.h"
#include "weft/json.h"

#define IDLE_MAX_NS INT64_C(1000000000)
#define RETIRE_NS   INT64_C(20000000) /* nobody rings when he has left an old generation */

int supervisor_watch(struct supervisor *s, int fd, enum source from, uint32_t slot)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uint64_t)from << 32 | slot};

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? weft_code_from_errno(errno) : 0;
}

void supervisor_changed(struct supervisor *s)
{
	uint64_t one = 1;

	atomic_fetch_add_explicit(&s->control->changes, 1, memory_order_release);
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (child_alive(&s->child[i]) && write(PROC_BELL_FD(i), &one, sizeof(one)) < 0)
			continue; /* rung already */
}

/* A signal for the whole group, and the same passed on by a script, are one wish. */
#define ASKED_ONCE_NS INT64_C(1000000000)

void supervisor_stop(struct supervisor *s, int exit_status)
{
	if (s->stop && proc_mono_ns() - s->asked_ns < ASKED_ONCE_NS)
		return;
	if (s->stop) {
		/* Asked again: whoever is left has no more time. */
		for (uint32_t i = 0; i < PROC_SLOTS; i++)
			s->child[i].kill_ns = 0;
		return;
	}
	s->stop = STOP_CONTROLLERS;
	s->asked_ns = proc_mono_ns();
	s->exit_status = exit_status;
	atomic_store_explicit(&s->control->stopping, 1, memory_order_release);
	supervisor_changed(s);
	logs_say(s, LOG_INFO, "stopping");
}

/* --- Making ------------------------------------------------------------------------- */

static int make_bells(struct err *e)
{
	for (int slot = 0; slot <= PROC_SLOTS; slot++) {
		int bell = bell_create(e);

		if (bell < 0)
			return err_wrap(e, "doorbells");
		if (bell == PROC_BELL_FD(slot))
			continue;
		if (dup2(bell, PROC_BELL_FD(slot)) < 0) {
			close(bell);
			return err_errno(e, errno, "doorbell %d", PROC_BELL_FD(slot));
		}
		close(bell);
	}
	/* The supervisor's bell is for its children, too. */
	return 0;
}

static int make_control(struct supervisor *s, struct err *e)
{
	size_t bytes = align_up(sizeof(struct control), (size_t)4096);
	struct buf json = {0};
	char name[SEG_NAME_MAX];
	int rc;

	rc = seg_sweep("/weft.", ".control");
	if (rc)
		logs_say(s, LOG_INFO, "removed the shared memory of %d clusters that were killed",
			 rc);
	proc_name_control(name, s->dir.cluster);
	rc = seg_create(&s->control_seg, name, SEG_CONTROL, proc_layout_control(), bytes, bytes, e);
	if (rc)
		return err_wrap(e, "control segment");
	seg_hold(&s->control_seg);
	s->control = (struct control *)s->control_seg.base;
	s->control->cluster_hash = s->dir.cluster;
	snprintf(s->control->data_dir, sizeof(s->control->data_dir), "%s", s->dir.path);
	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		uint64_t word = SHARD_WORD(1, s->config.count[k]);

		atomic_store(&s->control->maps[k].now, word);
		atomic_store(&s->control->maps[k].next, word);
		s->control->maps[k].min = s->config.bounds[k].min;
		s->control->maps[k].max = s->config.bounds[k].max;
	}
	json_encode(&json, &s->config.all, NULL);
	if (json.n > sizeof(s->control->config)) {
		rc = err_set(e, WEFT_ETOOBIG, "the configuration is too long (%zu bytes of %zu)",
			     json.n, sizeof(s->control->config));
	} else {
		memcpy(s->control->config, json.p, json.n);
		s->control->config_len = (uint32_t)json.n;
	}
	buf_free(&json);
	return rc;
}

static int make_loop(struct supervisor *s, struct err *e)
{
	sigset_t set;

	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0)
		return err_errno(e, errno, "epoll");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return err_errno(e, errno, "signalfd");
	if (supervisor_watch(s, s->signals, FROM_SIGNALS, 0) ||
	    supervisor_watch(s, SUPERVISOR_BELL_FD, FROM_BELL, 0))
		return err_errno(e, errno, "watch descriptors");
	return 0;
}

static int make_all(struct supervisor *s, const char *data, struct err *e)
{
	int rc = datadir_take(&s->dir, data, e);

	if (rc)
		return rc;
	weft_raise_descriptors(); /* 128 bells, pipes, pidfds, clients' sockets */
	rc = make_bells(e);
	if (!rc)
		rc = logs_open(s, e);
	if (!rc)
		rc = make_control(s, e);
	if (!rc)
		rc = make_loop(s, e);
	if (!rc)
		rc = scale_open(s, e);
	return rc;
}

static void unmake_all(struct supervisor *s)
{
	scale_close(s);
	if (s->signals >= 0)
		close(s->signals);
	if (s->epoll >= 0)
		close(s->epoll);
	if (s->control)
		seg_close(&s->control_seg);
	for (int slot = 0; slot <= PROC_SLOTS; slot++)
		close(PROC_BELL_FD(slot));
	if (s->log >= 0)
		close(s->log);
	datadir_leave(&s->dir);
	config_free(&s->config);
}

/* --- The loop ----------------------------------------------------------------------- */

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info))
		supervisor_stop(s, 0);
}

static void dispatch(struct supervisor *s, uint64_t data)
{
	struct child *c = &s->child[(uint32_t)data % PROC_SLOTS];

	switch ((enum source)(data >> 32)) {
	case FROM_SIGNALS:
		take_signals(s);
		break;
	case FROM_BELL:
		bell_clear(SUPERVISOR_BELL_FD);
		break;
	case FROM_SOCKET:
		scale_accept(s);
		break;
	case FROM_CLIENT:
		scale_read(s, (int)(uint32_t)data);
		break;
	case FROM_PIDFD:
		child_ended(s, c);
		break;
	case FROM_LOG:
		logs_read(s, c);
		break;
	}
}

/* When a child has to be looked at again though nobody rings; else `idle_ns`. */
static int64_t next_look(const struct child *c, int64_t idle_ns)
{
	if (c->state == CHILD_WAITING && c->next_ns < idle_ns)
		return c->next_ns;
	if (c->state == CHILD_RUNNING && c->hastes && c->calm_ns < idle_ns)
		return c->calm_ns;
	if (c->state == CHILD_STOPPING && !c->killed && c->kill_ns < idle_ns)
		return c->kill_ns;
	return idle_ns;
}

/* Whoever is ready, drained or ended rings; the rest is heartbeats, and what has a time
 * of its own. */
static int tick_ms(const struct supervisor *s)
{
	int64_t look_ns = s->now + s->idle_ns;

	if (s->old_generation && RETIRE_NS < s->idle_ns)
		look_ns = s->now + RETIRE_NS;
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		look_ns = next_look(&s->child[i], look_ns);
	return look_ns > s->now ? (int)((look_ns - s->now + 999999) / 1000000) : 0;
}

/* Often enough for heartbeats, and for queues by which processes are scaled. */
static int64_t idle_ns(const struct supervisor *s)
{
	int64_t ns = s->config.stall_ms * 1000000 / 4;

	if (scale_automatic(s) && s->config.autoscale.up_after_ms * 500000 < ns)
		ns = s->config.autoscale.up_after_ms * 500000;
	return ns < IDLE_MAX_NS ? ns : IDLE_MAX_NS;
}

static void loop(struct supervisor *s)
{
	struct epoll_event events[32];
	int n;

	fault_process(FAULT_SUPERVISOR, 0, 0);
	s->now = s->last_tick_ns = proc_mono_ns();
	s->idle_ns = idle_ns(s);
	child_start(s, PROC_STORE, 0);
	while (s->stop <= STOP_STORE) {
		n = epoll_wait(s->epoll, events, countof(events), tick_ms(s));
		s->now = proc_mono_ns();
		for (int i = 0; i < n; i++)
			dispatch(s, events[i].data.u64);
		watch_tick(s);
	}
}

int supervisor_run(struct config *config, const char *data)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct err e = {0};
	int status = 1;

	if (!s)
		weft_fatal("out of memory");
	s->config = *config;
	s->epoll = s->signals = s->socket = s->log = -1;
	s->dir.fd = s->dir.lock_fd = -1;
	if (make_all(s, data, &e)) {
		fprintf(stderr, "weft: %s\n", e.msg);
	} else {
		logs_say(s, LOG_INFO, "starting on '%s' (cluster %016llx)", s->dir.path,
			 (unsigned long long)s->dir.cluster);
		loop(s);
		status = s->exit_status;
		logs_say(s, LOG_INFO, "stopped");
	}
	unmake_all(s);
	free(s);
	return status;
}
