/* child.c - one process after another in a slot: segments, fork and exec, end. */
#include "procs/supervisor/supervisor.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "weft/fault.h"

#define SHORT_LIFE_NS	 INT64_C(1000000000)
#define BACKOFF_FIRST_NS (50 * INT64_C(1000000))
#define BACKOFF_MAX_NS	 (10 * INT64_C(1000000000))
#define HASTE		 10 /* niceness less than the supervisor's */

const char *child_name(const struct child *c, char out[32])
{
	snprintf(out, 32, "%s/%u", proc_kind_info(c->kind)->name, c->shard);
	return out;
}

bool child_alive(const struct child *c)
{
	return c->pid != 0;
}

struct child *child_find(struct supervisor *s, enum proc_kind kind, uint32_t shard)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (s->child[i].state != CHILD_FREE && s->child[i].kind == kind &&
		    s->child[i].shard == shard)
			return &s->child[i];
	return NULL;
}

const struct proc_segment *child_segment(const struct child *c)
{
	return c->has_segments ? (const struct proc_segment *)c->proc.base : NULL;
}

void child_signal(struct supervisor *s, struct child *c, int sig)
{
	/* The pidfd names exactly this process, whatever became of its pid. */
	if (child_alive(c) && c->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

static void set_slot_state(struct supervisor *s, struct child *c, enum slot_state state)
{
	/* [control.R1] pairs with [control.A1]. */
	atomic_store_explicit(&s->control->slots[c->slot].state, state, memory_order_release);
}

void child_stop(struct supervisor *s, struct child *c, int64_t within_ms)
{
	if (!child_alive(c) || c->state == CHILD_STOPPING)
		return;
	c->state = CHILD_STOPPING;
	set_slot_state(s, c, SLOT_STOPPING);
	c->kill_ns = s->now + within_ms * 1000000;
	/* A stopped process must be able to see the signal. */
	child_signal(s, c, SIGTERM);
	child_signal(s, c, SIGCONT);
}

/* --- Segments ------------------------------------------------------------------- */

static void drop_segments(struct supervisor *s, struct child *c)
{
	struct err e;

	if (!c->has_segments)
		return;
	c->has_segments = false;
	seg_unlink(c->proc.name, &e);
	seg_close(&c->proc);
	if (c->kind == PROC_STORE)
		return;
	seg_unlink(c->inbox.name, &e);
	seg_close(&c->inbox);
}

static int make_segments(struct supervisor *s, struct child *c, struct err *e)
{
	const struct proc_kind_info *k = proc_kind_info(c->kind);
	char name[SEG_NAME_MAX];
	size_t bytes = proc_segment_bytes(k->ring_out);
	int rc;

	proc_name_proc(name, s->dir.cluster, c->slot, c->incarnation);
	rc = seg_create(&c->proc, name, SEG_PROC, proc_layout_proc(), bytes, bytes, e);
	if (rc)
		return rc;
	ring_init(&((struct proc_segment *)c->proc.base)->out, k->ring_out);
	if (c->kind == PROC_STORE) {
		c->has_segments = true;
		return 0;
	}
	bytes = inbox_segment_bytes(k->ring_in);
	proc_name_inbox(name, s->dir.cluster, c->slot, c->incarnation);
	rc = seg_create(&c->inbox, name, SEG_INBOX, proc_layout_inbox(), bytes, bytes, e);
	if (rc) {
		seg_unlink(c->proc.name, NULL);
		seg_close(&c->proc);
		return rc;
	}
	ring_init(&((struct inbox_segment *)c->inbox.base)->out, k->ring_in);
	c->has_segments = true;
	return 0;
}

/* What the dead incarnation left to the next one; see struct proc_segment. */
static uint64_t bequest_of(const struct child *c)
{
	const struct proc_segment *own = child_segment(c);

	return own ? atomic_load_explicit(&own->bequest, memory_order_relaxed) : 0;
}

/* Before the slot is published, as the rest of the segment. */
static void bequeath(struct child *c, uint64_t bequest)
{
	atomic_store_explicit(&((struct proc_segment *)c->proc.base)->bequest, bequest,
			      memory_order_relaxed);
}

/* --- Who goes first ----------------------------------------------------------------- */

/* In the new process.  One that is started again is behind all others, and on a machine that is
 * busy gets little of a core: until it works it goes first, where that is allowed (to root, and
 * with CAP_SYS_NICE), and else at least is not nice yet. */
static void set_niceness(const struct child *c)
{
	(void)!nice(c->hastes ? -HASTE : proc_kind_info(c->kind)->nice);
}

void child_calm(struct child *c)
{
	int niceness = getpriority(PRIO_PROCESS, 0) + proc_kind_info(c->kind)->nice;
	char path[64];
	struct dirent *task;
	DIR *tasks;

	c->hastes = false;
	/* The pid is this process's until its end has been seen. */
	snprintf(path, sizeof(path), "/proc/%d/task", (int)c->pid);
	tasks = opendir(path);
	while (tasks && (task = readdir(tasks)))
		if (atoi(task->d_name) > 0)
			setpriority(PRIO_PROCESS, (id_t)atoi(task->d_name), niceness);
	if (tasks)
		closedir(tasks);
}

/* --- fork and exec ------------------------------------------------------------------ */

/* In the new process, between fork and exec. */
static _Noreturn void become(struct supervisor *s, struct child *c, uint32_t incarnation,
			     pid_t parent, int output)
{
	char title[48], name[32], slot[16], number[16], cluster[24], supervisor[16];
	char *argv[] = {title, NULL};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Ctrl-C, and whatever else is sent to the whole group, is the
	 * supervisor's to handle. */
	setpgid(0, 0);
	set_niceness(c);
	/* Until exec, a handler of our parent's would run here. */
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	snprintf(title, sizeof(title), "weft: %s", child_name(c, name));
	snprintf(slot, sizeof(slot), "%u", c->slot);
	snprintf(number, sizeof(number), "%u", incarnation);
	snprintf(cluster, sizeof(cluster), "%016llx", (unsigned long long)s->dir.cluster);
	snprintf(supervisor, sizeof(supervisor), "%d", (int)parent);
	fault_at(super_child);
	setenv("WEFT_SLOT", slot, 1);
	setenv("WEFT_INCARNATION", number, 1);
	setenv("WEFT_CLUSTER", cluster, 1);
	setenv("WEFT_SUPERVISOR", supervisor, 1);
	setenv("WEFT_LOG", zone_printf(s->config.z, STR_FMT, STR_ARG(s->config.log_level)).p, 0);
	execv("/proc/self/exe", argv);
	dprintf(STDERR_FILENO, "error cannot run /proc/self/exe: %s\n", strerror(errno));
	_exit(127);
}

/* Start the process that will be this incarnation of the child: it waits until the slot is. */
static int spawn(struct supervisor *s, struct child *c, uint32_t incarnation, struct err *e)
{
	pid_t parent = getpid(), pid;
	int output[2];

	c->hastes = c->has_run;

	if (fault_fails(descriptor_pipe) || pipe2(output, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	pid = fault_fails(process_fork) ? -1 : fork();
	if (pid < 0) {
		int saved = errno;

		close(output[0]);
		close(output[1]);
		return err_errno(e, saved, "fork");
	}
	if (pid == 0)
		become(s, c, incarnation, parent, output[1]);
	c->pid = pid;
	fault_at(super_forked);
	close(output[1]);
	fcntl(output[0], F_SETFL, O_NONBLOCK);
	c->log_fd = output[0];
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	supervisor_watch(s, c->log_fd, FROM_LOG, c->slot);
	if (c->pidfd >= 0)
		supervisor_watch(s, c->pidfd, FROM_PIDFD, c->slot);
	s->pids_changed = true;
	return 0;
}

/* Fill in the control segment's slot; the state comes last. */
static void publish_slot(struct supervisor *s, struct child *c)
{
	struct slot *slot = &s->control->slots[c->slot];

	fault_at(super_segments);
	slot->kind = c->kind;
	slot->shard = c->shard;
	slot->ring_out = proc_kind_info(c->kind)->ring_out;
	slot->ring_in = proc_kind_info(c->kind)->ring_in;
	atomic_store_explicit(&slot->started_ns, s->now, memory_order_relaxed);
	atomic_store_explicit(&slot->incarnation, c->incarnation, memory_order_relaxed);
	/* [control.R1] pairs with [control.A1]. */
	atomic_store_explicit(&slot->state, SLOT_STARTING, memory_order_release);
	fault_at(super_slot);
}

static void put_off_restart(struct supervisor *s, struct child *c, const struct err *e)
{
	char name[32];

	logs_say(s, LOG_ERROR, "cannot start %s: %s; trying again in a second", child_name(c, name),
		 e->msg);
	c->killed = child_alive(c); /* it waits for an incarnation that will not be */
	child_signal(s, c, SIGKILL);
	c->state = CHILD_WAITING;
	c->next_ns = s->now + 1000000000;
	set_slot_state(s, c, SLOT_DEAD);
	supervisor_changed(s);
}

void child_restart(struct supervisor *s, struct child *c)
{
	uint64_t bequest = bequest_of(c);
	struct err e = {0};

	drop_segments(s, c);
	c->incarnation++;
	c->state = CHILD_STARTING;
	c->late = false;
	c->beat = c->core_wait_ns = 0;
	c->started_ns = c->beat_seen_ns = s->now;
	if (make_segments(s, c, &e) || (bequeath(c, bequest), publish_slot(s, c),
					!child_alive(c) && spawn(s, c, c->incarnation, &e))) {
		put_off_restart(s, c, &e);
		return;
	}
	atomic_store_explicit(&s->control->slots[c->slot].pid, c->pid, memory_order_relaxed);
	supervisor_changed(s);
}

/* What takes a process longest before it can look at anything, it does while the store applies
 * what its predecessor left.  If it cannot be started now, it is when it is its turn. */
static void spawn_ahead(struct supervisor *s, struct child *c)
{
	struct err e;

	if (c->state == CHILD_DRAINING && s->now >= c->next_ns)
		spawn(s, c, c->incarnation + 1, &e);
}

bool child_start(struct supervisor *s, enum proc_kind kind, uint32_t shard)
{
	uint32_t i = kind == PROC_STORE ? STORE_SLOT : STORE_SLOT + 1;
	struct child *c;

	while (i < PROC_SLOTS && s->child[i].state != CHILD_FREE)
		i++;
	if (i == PROC_SLOTS)
		return false;
	c = &s->child[i];
	/* Incarnations of a slot rise through all who ever had it. */
	*c = (struct child){.kind = kind,
			    .shard = shard,
			    .slot = i,
			    .pidfd = -1,
			    .log_fd = -1,
			    .incarnation = c->incarnation};
	atomic_store_explicit(&s->control->slots[i].restarts, 0, memory_order_relaxed);
	child_restart(s, c);
	return true;
}

/* --- The end of a process ----------------------------------------------------------- */

void child_free(struct supervisor *s, struct child *c)
{
	set_slot_state(s, c, SLOT_FREE);
	drop_segments(s, c);
	buf_free(&c->line);
	c->state = CHILD_FREE;
	supervisor_changed(s);
}

static void tell_end(struct supervisor *s, struct child *c, int status)
{
	char name[32];

	child_name(c, name);
	if (c->state == CHILD_STOPPING)
		logs_say(s, LOG_INFO, "%s (pid %d) stopped", name, (int)c->pid);
	else if (WIFSIGNALED(status))
		logs_say(s, c->killed ? LOG_INFO : LOG_WARN, "%s (pid %d) was killed by signal %d",
			 name, (int)c->pid, WTERMSIG(status));
	else
		logs_say(s, LOG_WARN, "%s (pid %d) ended with status %d", name, (int)c->pid,
			 WEXITSTATUS(status));
}

/* The first restart is at once; after short lives there is a pause. */
static void plan_restart(struct supervisor *s, struct child *c)
{
	int64_t pause = BACKOFF_FIRST_NS;

	if (c->was_ready && s->now - c->started_ns >= SHORT_LIFE_NS)
		c->failures = 0;
	for (unsigned i = 1; i < c->failures && pause < BACKOFF_MAX_NS; i++)
		pause *= 2;
	if (pause > BACKOFF_MAX_NS)
		pause = BACKOFF_MAX_NS;
	c->next_ns = c->failures ? s->now + pause : s->now;
	c->failures++;
	c->was_ready = false;
	atomic_fetch_add_explicit(&s->control->slots[c->slot].restarts, 1, memory_order_relaxed);
}

/* Can nothing good come of starting it again?  Only before the cluster serves:
 * later, what it needs may come back. */
static bool hopeless(struct supervisor *s, struct child *c, int status)
{
	if (s->serving || c->killed)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == PROC_EXIT_HOPELESS)
		return true;
	/* A crash of the store while it reads what is on disk would come again. */
	return c->kind == PROC_STORE && !s->started &&
	       !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void store_ended(struct supervisor *s)
{
	char name[SEG_NAME_MAX];
	struct err e;

	atomic_store_explicit(&s->control->store_up, 0, memory_order_release);
	/* One that it was about to make. */
	proc_name_cache(name, s->dir.cluster, atomic_load(&s->control->generation) + 1);
	seg_unlink(name, &e);
}

void child_ended(struct supervisor *s, struct child *c)
{
	enum child_state was = c->state;
	char name[32];
	int status;

	if (!child_alive(c) || waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	logs_read(s, c);
	logs_end(s, c);
	tell_end(s, c, status);
	fault_at(super_ended);
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->pidfd = -1;
	c->pid = 0;
	atomic_store_explicit(&s->control->slots[c->slot].pid, 0, memory_order_relaxed);
	set_slot_state(s, c, SLOT_DEAD);
	if (c->kind == PROC_STORE)
		store_ended(s);
	if (was == CHILD_STOPPING || s->stop) {
		child_free(s, c);
		return;
	}
	plan_restart(s, c);
	if (hopeless(s, c, status)) {
		logs_say(s, LOG_ERROR, "%s cannot start; its last words are in %s/log",
			 child_name(c, name), s->dir.path);
		supervisor_stop(s, 1);
	}
	c->killed = false;
	if (was == CHILD_DRAINING || was == CHILD_WAITING)
		return; /* it was not its turn yet */
	c->ended_ns = s->now;
	c->state = c->kind == PROC_STORE ? CHILD_WAITING : CHILD_DRAINING;
	supervisor_changed(s);
	spawn_ahead(s, c);
}
