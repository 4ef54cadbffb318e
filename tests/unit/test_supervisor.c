/* test_supervisor.c - a real supervisor over small processes of the test's own
 * (this very executable, by its title): start, death, stalls, generations,
 * scaling, and what a dead supervisor leaves. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_store.h"
#include "procs/lib/mains.h"
#include "procs/supervisor/commands.h"
#include "procs/supervisor/supervisor.h"
#include "tests/unit/suite.h"
#include "weft/json.h"

/* --- The processes ------------------------------------------------------------------ */

static void nap(long ms)
{
	usleep((useconds_t)ms * 1000);
}

/* Say once that the replicaset's first incarnation is in the way. */
static void accuse(const struct control *control, struct proc_segment *own)
{
	const char *what = getenv("WEFT_TEST_ACCUSE");

	for (uint32_t i = 0; what && i < PROC_SLOTS; i++) {
		const struct slot *s = &control->slots[i];

		if (atomic_load(&s->state) != SLOT_RUNNING || s->kind != PROC_REPLICASET)
			continue;
		if (atomic_exchange(*what == 's' ? &own->stalled_slot : &own->hostile_slot,
				    PROC_WHO(i, 1)) != PROC_WHO(i, 1))
			proc_tell_supervisor();
	}
}

int store_main(void)
{
	static struct fake_store f;
	struct proc *p = proc_start(PROC_STORE);
	const char *deaf = getenv("WEFT_TEST_DEAF");

	fake_store_make(&f, proc_control(p), proc_own(p));
	proc_ready(p);
	while (!proc_stopping(p)) {
		f.deaf = deaf && access(deaf, F_OK) == 0;
		fake_store_turn(&f);
		accuse(proc_control(p), proc_own(p));
		proc_beat(p);
		nap(1);
	}
	return 0;
}

/* Keeps a request in flight, and counts the lost ones as errors do. */
static struct proc *self;

static bool is_there(const char *variable)
{
	const char *path = getenv(variable);

	return path && access(path, F_OK) == 0;
}

/* Says that work waits, while a file is there and there are fewer than three of us; with
 * another file, that it waits since before we started, and once that is gone as with the
 * first. */
static void pretend_to_be_late(void)
{
	struct proc_counters *n = proc_counters(self);
	bool behind = is_there("WEFT_TEST_BEHIND");
	bool busy = is_there("WEFT_TEST_BUSY") || (getenv("WEFT_TEST_BEHIND") && !behind);
	bool late = busy && proc_shards(self) < 3;

	atomic_store(&n->queue, behind);
	atomic_store(&n->queue_age_ms, behind ? 1000000 : late ? 500 : 0);
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void pin(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
}

/* Once: much to do, and no heartbeat before it is done, on the core where others run. */
static void toil(void)
{
	static bool done;
	int64_t end = cpu_ns() + 250000000;

	if (done || !getenv("WEFT_TEST_TOIL"))
		return;
	done = true;
	pin();
	while (cpu_ns() < end)
		;
}

static int64_t keep_asking(void *arg, int64_t now)
{
	struct msg m = {.kind = MSG_remove, .remove = {.name = STR("a")}};

	toil();
	pretend_to_be_late();

	if (!proc_in_flight(self))
		proc_send(self, &m, NULL, NULL);
	return now + 2000000;
}

/* New shards are not ready while the file is there. */
static void start_late(void)
{
	const char *late = getenv("WEFT_TEST_LATE");

	while (late && proc_shard(self) && access(late, F_OK) == 0 && !proc_stopping(self)) {
		proc_beat(self);
		nap(2);
	}
}

#define BEQUEST UINT64_C(0x123456789abcdef)

/* Each shows what it was left, and leaves a bit more to the next. */
static void inherit(void)
{
	struct proc_segment *own = proc_own(self);
	uint64_t was = atomic_load(&own->bequest);

	atomic_store(&proc_counters(self)->watches, was);
	atomic_store(&own->bequest, was ? was + 1 : BEQUEST);
}

static int small_main(enum proc_kind kind)
{
	struct proc_handlers h = {.on_turn = keep_asking};
	const char *bad = getenv("WEFT_TEST_BAD");

	self = proc_start(kind);
	inherit();
	start_late();
	if (bad && strcmp(bad, proc_kind_info(kind)->name) == 0) {
		log_error("this cannot work");
		return getenv("WEFT_TEST_HOPELESS") ? 2 : 3;
	}
	if (getenv("WEFT_TEST_SILENT") && kind == PROC_DEPLOYMENT) {
		proc_ready(self);
		proc_beat_ahead(self, INT64_C(10000000000));
		nap(2500);
		proc_beat(self);
	}
	if (kind == PROC_APISERVER)
		atomic_store(&proc_own(self)->listen_port, 4242);
	log_info("hello \"from\" %s", proc_kind_info(kind)->name);
	return proc_run(self, &h);
}

int apiserver_main(void)
{
	return small_main(PROC_APISERVER);
}

int deployment_main(void)
{
	return small_main(PROC_DEPLOYMENT);
}

int replicaset_main(void)
{
	return small_main(PROC_REPLICASET);
}

/* --- A cluster ---------------------------------------------------------------------- */

static char dir[64];
static pid_t supervisor;
static int out;
static struct view view;

static pid_t start(const char *text, int *output)
{
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct config c;
		struct err e = {0};
		int quiet = open("/dev/null", O_WRONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Check's own handler ends the whole group, from a child of ours too
		 * that is told to stop before it has become another program. */
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		dup2(ends[1], STDOUT_FILENO);
		dup2(quiet, STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		if (config_read(&c, "test", str_of(text), &e))
			_exit(9);
		_exit(supervisor_run(&c, dir));
	}
	close(ends[1]);
	*output = ends[0];
	return pid;
}

static bool wait_until(bool (*cond)(void), int ms)
{
	for (int64_t end = proc_mono_ns() + ms * INT64_C(1000000); proc_mono_ns() < end; nap(2))
		if (cond())
			return true;
	return false;
}

static char ready_line[256];

static void start_ready(const char *text)
{
	struct err e = {0};
	ssize_t n;

	supervisor = start(text, &out);
	n = read(out, ready_line, sizeof(ready_line) - 1);
	ck_assert_msg(n > 0, "the supervisor did not become ready");
	ready_line[n] = 0;
	ck_assert_msg(view_open(&view, dir, &e) == 0, "%s", e.msg);
}

static int end(int sig)
{
	int status;

	kill(supervisor, sig);
	ck_assert_int_eq(waitpid(supervisor, &status, 0), supervisor);
	supervisor = 0;
	close(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void setup(void)
{
	strcpy(dir, "/tmp/weft-test-XXXXXX");
	ck_assert(mkdtemp(dir));
}

static void teardown(void)
{
	static const char *const names[] = {"lock",    "log",  "log.1",
					    "version", "pids", "control.sock"};
	char path[128];

	if (supervisor)
		end(SIGTERM);
	view_close(&view);
	for (size_t i = 0; i < countof(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static struct view_row *row(enum proc_kind kind, uint32_t shard)
{
	view_read(&view);
	for (uint32_t i = 0; i < view.nrows; i++)
		if (view.row[i].kind == (uint32_t)kind && view.row[i].shard == shard)
			return &view.row[i];
	return NULL;
}

static bool everybody_runs(void)
{
	view_read(&view);
	for (uint32_t i = 0; i < view.nrows; i++)
		if (view.row[i].state != SLOT_RUNNING)
			return false;
	return view.nrows >= 4 && atomic_load(&view.control->store_up);
}

static int segments_left(void)
{
	char command[128];
	FILE *f;
	int n = -1;

	snprintf(command, sizeof(command), "ls /dev/shm | grep -c 'weft.%016llx'",
		 (unsigned long long)view.dir.cluster);
	f = popen(command, "r");
	if (!f || fscanf(f, "%d", &n) != 1)
		n = -1;
	if (f)
		pclose(f);
	return n;
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(starts_says_ready_and_stops)
{
	char expect[600];
	pid_t child;

	start_ready("");
	snprintf(expect, sizeof(expect), "ready https://127.0.0.1:4242 %s/kubeconfig\n",
		 view.dir.path);
	ck_assert_str_eq(ready_line, expect);
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(view.nrows, 4);
	child = row(PROC_REPLICASET, 0)->pid;
	ck_assert_int_eq(kill(child, 0), 0);
	ck_assert_int_eq(end(SIGTERM), 0);
	ck_assert_int_eq(kill(child, 0), -1);
	ck_assert_int_eq(segments_left(), 0);
}
END_TEST

/* A signal for the whole group, and the same passed on: nobody is killed for that. */
START_TEST(asked_twice_at_once_is_asked_once)
{
	char command[128];

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	kill(supervisor, SIGTERM);
	nap(1);
	ck_assert_int_eq(end(SIGTERM), 0);
	snprintf(command, sizeof(command), "grep -q 'does not stop' %s/log", dir);
	ck_assert_int_ne(system(command), 0);
}
END_TEST

START_TEST(two_on_one_directory_do_not_go)
{
	struct datadir d;
	struct err e = {0};
	char expect[256];

	start_ready("");
	ck_assert_int_eq(datadir_take(&d, dir, &e), WEFT_EBUSY);
	snprintf(
		expect, sizeof(expect),
		"another weft (pid %d) runs on '%s': stop it, or name another directory with --data",
		(int)supervisor, dir);
	ck_assert_str_eq(e.msg, expect);
	datadir_leave(&d);
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_int_gt(segments_left(), 0);
}
END_TEST

static bool deployment_is_back(void)
{
	struct view_row *r = row(PROC_DEPLOYMENT, 0);

	return r && r->restarts > 0 && r->state == SLOT_RUNNING;
}

START_TEST(a_killed_process_is_back_at_once)
{
	pid_t before;
	int64_t since;

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	before = row(PROC_DEPLOYMENT, 0)->pid;
	since = proc_mono_ns();
	kill(before, SIGKILL);
	ck_assert(wait_until(deployment_is_back, 2000));
	ck_assert_int_lt((proc_mono_ns() - since) / 1000000, 500);
	ck_assert_int_ne(row(PROC_DEPLOYMENT, 0)->pid, before);
	ck_assert_uint_eq(row(PROC_DEPLOYMENT, 0)->incarnation, 2);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 0);
}
END_TEST

/* What the replicaset process was left. */
static uint64_t left_to(uint32_t shard)
{
	struct view_row *r = row(PROC_REPLICASET, shard);

	for (uint32_t i = 0; r && i < view_counter_count(); i++)
		if (strcmp(view_counter_name(i), "watches") == 0)
			return r->counter[i];
	return UINT64_MAX;
}

static uint32_t lives; /* the killed one's so far */

static bool next_one_runs(void)
{
	struct view_row *r = row(PROC_REPLICASET, 0);

	return r && r->incarnation == lives && r->state == SLOT_RUNNING;
}

static void scale_replicasets(uint32_t count)
{
	struct buf answer = {0};
	struct err e = {0};

	ck_assert_msg(scale_request(&view.dir, "replicaset", count, &answer, &e) == 0, "%s", e.msg);
	buf_free(&answer);
}

/* One word, to each successor; nothing to whoever gets the slot of one that was told to stop. */
START_TEST(a_process_leaves_a_word_to_its_successor)
{
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(left_to(0), 0);
	for (lives = 2; lives <= 4; lives++) {
		kill(row(PROC_REPLICASET, 0)->pid, SIGKILL);
		ck_assert(wait_until(next_one_runs, 5000));
		ck_assert_uint_eq(left_to(0), BEQUEST + lives - 2);
	}
	for (int i = 0; i < 2; i++) {
		scale_replicasets(2);
		ck_assert_uint_eq(left_to(1), 0);
		scale_replicasets(1);
		ck_assert(wait_until(everybody_runs, 3000));
	}
}
END_TEST

static bool generation_two(void)
{
	struct view_row *a = row(PROC_REPLICASET, 0), *b = row(PROC_DEPLOYMENT, 0);

	return a && b && a->generation == 2 && b->generation == 2 && everybody_runs();
}

static bool no_old_cache(void)
{
	char name[SEG_NAME_MAX], path[128];

	proc_name_cache(name, view.dir.cluster, 1);
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	return access(path, F_OK) < 0;
}

START_TEST(a_killed_store_comes_back_with_the_next_generation)
{
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(atomic_load(&view.control->generation), 1);
	kill(row(PROC_STORE, 0)->pid, SIGKILL);
	ck_assert(wait_until(generation_two, 3000));
	ck_assert(wait_until(no_old_cache, 2000));
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 0);
}
END_TEST

START_TEST(all_killed_at_once_come_back)
{
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	view_read(&view);
	for (uint32_t i = 0; i < view.nrows; i++)
		kill(view.row[i].pid, SIGKILL);
	nap(20);
	ck_assert(wait_until(everybody_runs, 5000));
	ck_assert_uint_eq(atomic_load(&view.control->generation), 2);
}
END_TEST

static bool replicaset_is_back(void)
{
	struct view_row *r = row(PROC_REPLICASET, 0);

	return r && r->restarts > 0 && r->state == SLOT_RUNNING;
}

START_TEST(a_stopped_process_is_replaced)
{
	start_ready("supervisor: {stallAfter: 1s}");
	ck_assert(wait_until(everybody_runs, 3000));
	kill(row(PROC_REPLICASET, 0)->pid, SIGSTOP);
	ck_assert(wait_until(replicaset_is_back, 4000));
	ck_assert_uint_eq(row(PROC_DEPLOYMENT, 0)->restarts, 0);
}
END_TEST

START_TEST(who_said_that_it_will_be_silent_is_left_alone)
{
	setenv("WEFT_TEST_SILENT", "1", 1);
	start_ready("supervisor: {stallAfter: 1s}");
	nap(3500);
	ck_assert_uint_eq(row(PROC_DEPLOYMENT, 0)->restarts, 0);
	ck_assert(wait_until(everybody_runs, 3000));
	kill(row(PROC_DEPLOYMENT, 0)->pid, SIGSTOP);
	ck_assert(wait_until(deployment_is_back, 4000));
}
END_TEST

/* The supervisor's word for when a process of `kind` has shown life, which says now that it will
 * be silent for `ahead_ns`. */
static int64_t counted_from(enum proc_kind kind, int64_t ahead_ns)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct proc_segment *seg = calloc(1, sizeof(*seg));
	struct child *c;
	int64_t from;

	s->control = calloc(1, sizeof(*s->control));
	s->started = s->serving = true;
	s->now = s->last_tick_ns = 7;
	c = &s->child[kind == PROC_STORE ? STORE_SLOT : STORE_SLOT + 1];
	c->kind = kind;
	c->state = CHILD_RUNNING;
	c->has_segments = true;
	c->proc.base = (char *)seg;
	atomic_store(&seg->heartbeat_ns, s->now + ahead_ns);
	watch_tick(s);
	from = c->beat_seen_ns - s->now;
	free(s->control);
	free(seg);
	free(s);
	return from;
}

/* Whatever a process writes there, it is looked after within ten minutes, or one. */
START_TEST(a_silence_that_is_promised_has_a_bound)
{
	const int64_t second = 1000000000, for_ever = INT64_MAX / 2;

	ck_assert_int_eq(counted_from(PROC_DEPLOYMENT, -5), 0);
	ck_assert_int_eq(counted_from(PROC_DEPLOYMENT, 59 * second), 59 * second);
	ck_assert_int_eq(counted_from(PROC_DEPLOYMENT, 61 * second), 60 * second);
	ck_assert_int_eq(counted_from(PROC_DEPLOYMENT, for_ever), 60 * second);
	ck_assert_int_eq(counted_from(PROC_STORE, 599 * second), 599 * second);
	ck_assert_int_eq(counted_from(PROC_STORE, for_ever), 600 * second);
}
END_TEST

static pid_t start_hog(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin();
	for (;;)
		;
}

/* All children toil at once, with a niceness of 10, beside two that have none. */
START_TEST(who_waits_for_a_core_is_not_taken_for_dead)
{
	pid_t hogs[2] = {start_hog(), start_hog()};

	setenv("WEFT_TEST_TOIL", "1", 1);
	start_ready("supervisor: {stallAfter: 500ms}");
	nap(4000);
	for (int i = 0; i < 2; i++) {
		kill(hogs[i], SIGKILL);
		waitpid(hogs[i], NULL, 0);
	}
	ck_assert(wait_until(everybody_runs, 10000));
	ck_assert_uint_eq(row(PROC_DEPLOYMENT, 0)->restarts, 0);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 0);
	kill(row(PROC_REPLICASET, 0)->pid, SIGSTOP);
	ck_assert(wait_until(replicaset_is_back, 3000));
}
END_TEST

static int nicer_than_we(void)
{
	return getpriority(PRIO_PROCESS, (id_t)row(PROC_REPLICASET, 0)->pid) -
	       getpriority(PRIO_PROCESS, 0);
}

static pid_t killed;

static bool successor_hastes(void)
{
	pid_t pid = (pid_t)row(PROC_REPLICASET, 0)->pid;

	return pid != killed && kill(pid, 0) == 0 && nicer_than_we() <= 0;
}

static bool is_nice(void)
{
	return nicer_than_we() == proc_kind_info(PROC_REPLICASET)->nice;
}

/* Not so one that is started for the first time; those who may not be less nice are at least
 * not nicer than we. */
START_TEST(who_is_started_again_goes_first_for_a_while)
{
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert(is_nice());
	killed = (pid_t)row(PROC_REPLICASET, 0)->pid;
	kill(killed, SIGKILL);
	ck_assert(wait_until(successor_hastes, 3000));
	ck_assert(wait_until(replicaset_is_back, 3000));
	ck_assert(wait_until(is_nice, 3000));
}
END_TEST

/* The supervisor's process for replicaset/0, whether or not its slot says so; 0: none. */
static pid_t replicaset_process(void)
{
	char path[64], title[32];
	int pid, found = 0;
	FILE *children, *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
	children = fopen(path, "re");
	while (children && !found && fscanf(children, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
		f = fopen(path, "re");
		if (f && fgets(title, sizeof(title), f) && !strcmp(title, "weft: replicaset/0"))
			found = pid;
		if (f)
			fclose(f);
	}
	if (children)
		fclose(children);
	return found;
}

static bool a_successor_is_there(void)
{
	pid_t pid = replicaset_process();

	return pid && pid != killed;
}

/* Before, it would not see what its predecessor has written.  But it is there, and may end as
 * any other. */
START_TEST(a_successor_waits_until_all_that_was_left_is_written)
{
	char deaf[96];
	int fd;

	snprintf(deaf, sizeof(deaf), "%s-deaf", dir);
	setenv("WEFT_TEST_DEAF", deaf, 1);
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	fd = open(deaf, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	nap(100);
	killed = (pid_t)row(PROC_REPLICASET, 0)->pid;
	kill(killed, SIGKILL);
	ck_assert(wait_until(a_successor_is_there, 2000));
	nap(_i ? 0 : 2000);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->state, SLOT_DEAD);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->incarnation, 1);
	if (_i) {
		killed = replicaset_process();
		kill(killed, SIGKILL);
		nap(500);
		ck_assert_uint_eq(row(PROC_REPLICASET, 0)->state, SLOT_DEAD);
	}
	unlink(deaf);
	ck_assert(wait_until(replicaset_is_back, 3000));
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 1 + (unsigned)_i);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->incarnation, 2);
}
END_TEST

START_TEST(whom_the_store_accuses_is_replaced_once)
{
	static const char *const what[] = {"stalled", "hostile"};

	for (int i = 0; i < 2; i++) {
		setenv("WEFT_TEST_ACCUSE", what[i], 1);
		start_ready("");
		ck_assert(wait_until(replicaset_is_back, 4000));
		nap(300);
		ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 1);
		ck_assert_uint_eq(row(PROC_DEPLOYMENT, 0)->restarts, 0);
		ck_assert_int_eq(end(SIGTERM), 0);
		view_close(&view);
	}
}
END_TEST

START_TEST(whoever_always_ends_is_started_more_and_more_seldom)
{
	uint32_t restarts;

	setenv("WEFT_TEST_BAD", "deployment", 1);
	start_ready("");
	nap(1500);
	restarts = row(PROC_DEPLOYMENT, 0)->restarts;
	ck_assert_uint_ge(restarts, 3);
	ck_assert_uint_le(restarts, 8);
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->state, SLOT_RUNNING);
}
END_TEST

START_TEST(what_cannot_start_at_all_ends_the_supervisor)
{
	int status;

	setenv("WEFT_TEST_BAD", "apiserver", 1);
	setenv("WEFT_TEST_HOPELESS", "1", 1);
	supervisor = start("", &out);
	ck_assert_int_eq(waitpid(supervisor, &status, 0), supervisor);
	supervisor = 0;
	close(out);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

static pid_t orphan;
static bool orphan_is_gone(void)
{
	return kill(orphan, 0) < 0;
}

START_TEST(a_killed_supervisor_leaves_nothing_behind_for_the_next)
{
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	orphan = row(PROC_REPLICASET, 0)->pid;
	ck_assert_int_eq(end(SIGKILL), -SIGKILL);
	ck_assert(wait_until(orphan_is_gone, 2000));
	ck_assert_int_gt(segments_left(), 0);
	view_close(&view);
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_int_eq(end(SIGTERM), 0);
	ck_assert_int_eq(segments_left(), 0);
}
END_TEST

/* Whoever has the directory is alone on it: no store finishes a write there. */
START_TEST(what_a_killed_supervisor_started_has_ended_when_the_next_begins)
{
	struct pollfd gone[PROC_SLOTS];
	struct err e = {0};
	struct datadir d;
	uint32_t n;

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	for (n = 0; n < view.nrows; n++)
		gone[n] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, view.row[n].pid, 0),
					  .events = POLLIN};
	end(SIGKILL);
	ck_assert_msg(datadir_take(&d, dir, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(poll(gone, n, 0), (int)n);
	while (n)
		close(gone[--n].fd);
	datadir_leave(&d);
}
END_TEST

START_TEST(scaling_changes_the_map_while_running)
{
	struct buf answer = {0};
	struct err e = {0};
	uint64_t word;

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_msg(scale_request(&view.dir, "replicaset", 3, &answer, &e) == 0, "%s", e.msg);
	ck_assert(str_eq(buf_str(&answer), STR("replicaset has 3 processes now")));
	word = atomic_load(&view.control->maps[PROC_REPLICASET].now);
	ck_assert_uint_eq(SHARD_EPOCH(word), 2);
	ck_assert_uint_eq(SHARD_COUNT(word), 3);
	ck_assert_ptr_nonnull(row(PROC_REPLICASET, 2));
	answer.n = 0;
	ck_assert_msg(scale_request(&view.dir, "replicaset", 1, &answer, &e) == 0, "%s", e.msg);
	ck_assert(str_eq(buf_str(&answer), STR("replicaset has 1 process now")));
	word = atomic_load(&view.control->maps[PROC_REPLICASET].now);
	ck_assert_uint_eq(SHARD_EPOCH(word), 3);
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(view.nrows, 4);
	ck_assert_int_eq(scale_request(&view.dir, "store", 2, &answer, &e), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "there is always one store");
	ck_assert_int_eq(scale_request(&view.dir, "etcd", 2, &answer, &e), WEFT_EINVAL);
	ck_assert_int_eq(scale_request(&view.dir, "gc", 1, &answer, &e), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "gc is not part of this build");
	buf_free(&answer);
}
END_TEST

static struct buf said;
static struct err refused;

/* Ask for `count` replicaset processes; the answer is not waited for. */
static int ask(uint32_t count)
{
	int fd = scale_ask(&view.dir, "replicaset", count, &refused);

	ck_assert_msg(fd >= 0, "%s", refused.msg);
	return fd;
}

static int answered(int fd)
{
	said.n = 0;
	return scale_answer(&view.dir, fd, &said, &refused);
}

/* As on a busy machine, where clients do not get to their request at once. */
START_TEST(a_client_may_take_its_time_to_ask)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	const char line[] = "scale replicaset 1\n";
	char text[64] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control.sock", view.dir.fd);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	nap(300);
	ck_assert_int_eq(send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL), sizeof(line) - 1);
	ck_assert_int_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
	ck_assert_str_eq(text, "ok replicaset has 1 process now\n");
	close(fd);
}
END_TEST

static uint64_t map_word(void)
{
	return atomic_load(&view.control->maps[PROC_REPLICASET].now);
}

static uint64_t next_word(void)
{
	return atomic_load(&view.control->maps[PROC_REPLICASET].next);
}

static uint32_t replicasets(void)
{
	uint32_t n = 0;

	view_read(&view);
	for (uint32_t i = 0; i < view.nrows; i++)
		n += view.row[i].kind == PROC_REPLICASET;
	return n;
}

/* A file that holds something up while it is there. */
static char held[96];
static void hold(const char *variable)
{
	int fd;

	snprintf(held, sizeof(held), "%s-held", dir);
	setenv(variable, held, 1);
	fd = open(held, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static bool is_fencing(void)
{
	return next_word() != map_word();
}

static bool second_starts(void)
{
	struct view_row *r = row(PROC_REPLICASET, 1);

	return r && r->pid > 1 && r->state == SLOT_STARTING;
}

static bool second_starts_again(void)
{
	return second_starts() && row(PROC_REPLICASET, 1)->incarnation > 1;
}

START_TEST(one_that_still_stops_is_started_again)
{
	static const uint32_t counts[] = {3, 1, 3, 2, 3, 0, 2, 1, 3};

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	for (size_t i = 0; i < countof(counts); i++) {
		int fd = ask(counts[i]);

		ck_assert_msg(answered(fd) == 0, "%s", refused.msg);
		ck_assert_uint_eq(SHARD_COUNT(map_word()), counts[i]);
	}
	ck_assert(wait_until(everybody_runs, 4000));
	ck_assert_uint_eq(replicasets(), 3);
}
END_TEST

START_TEST(a_wish_takes_the_place_of_the_one_before)
{
	int first, second;

	hold("WEFT_TEST_LATE");
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	first = ask(3);
	ck_assert(wait_until(second_starts, 2000));
	second = ask(1);
	ck_assert_int_eq(answered(first), WEFT_EINVAL);
	ck_assert_str_eq(refused.msg,
			 "somebody else asked for 1 processes of replicaset meanwhile");
	ck_assert_msg(answered(second) == 0, "%s", refused.msg);
	ck_assert_uint_eq(map_word(), SHARD_WORD(1, 1));
	ck_assert(wait_until(everybody_runs, 4000));
	ck_assert_uint_eq(replicasets(), 1);
	unlink(held);
}
END_TEST

START_TEST(a_shard_killed_at_its_start_holds_nothing_up)
{
	int fd;

	hold("WEFT_TEST_LATE");
	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	fd = ask(2);
	ck_assert(wait_until(second_starts, 2000));
	kill(row(PROC_REPLICASET, 1)->pid, SIGKILL);
	ck_assert(wait_until(second_starts_again, 2000));
	kill(row(PROC_REPLICASET, 0)->pid, SIGKILL); /* and one of the old map */
	ck_assert_uint_eq(map_word(), SHARD_WORD(1, 1));
	unlink(held);
	ck_assert_msg(answered(fd) == 0, "%s", refused.msg);
	ck_assert_uint_eq(map_word(), SHARD_WORD(2, 2));
	ck_assert(wait_until(everybody_runs, 3000));
}
END_TEST

/* Between the two steps of a change: the store has to confirm, and cannot. */
static int begin_fencing(void)
{
	int fd;

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	kill(row(PROC_STORE, 0)->pid, SIGSTOP);
	fd = ask(2);
	ck_assert(wait_until(is_fencing, 3000));
	ck_assert_uint_eq(map_word(), SHARD_WORD(1, 1));
	ck_assert_uint_eq(next_word(), SHARD_WORD(2, 2));
	return fd;
}

START_TEST(a_store_killed_between_the_steps_confirms_the_change)
{
	int fd = begin_fencing();

	kill(row(PROC_STORE, 0)->pid, SIGKILL);
	ck_assert_msg(answered(fd) == 0, "%s", refused.msg);
	ck_assert_uint_eq(map_word(), SHARD_WORD(2, 2));
	ck_assert(wait_until(generation_two, 3000));
}
END_TEST

START_TEST(shards_killed_between_the_steps_come_back)
{
	int fd = begin_fencing();

	kill(row(PROC_REPLICASET, 0)->pid, SIGKILL);
	kill(row(PROC_REPLICASET, 1)->pid, SIGKILL);
	nap(100);
	ck_assert_uint_eq(map_word(), SHARD_WORD(1, 1));
	kill(row(PROC_STORE, 0)->pid, SIGCONT);
	ck_assert_msg(answered(fd) == 0, "%s", refused.msg);
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(map_word(), SHARD_WORD(2, 2));
	ck_assert_uint_eq(row(PROC_REPLICASET, 0)->restarts, 1);
}
END_TEST

START_TEST(another_wish_between_the_steps_is_the_next_change)
{
	int first = begin_fencing(), second = ask(3);

	ck_assert_int_eq(answered(first), WEFT_EINVAL);
	ck_assert_uint_eq(next_word(), SHARD_WORD(2, 2));
	kill(row(PROC_STORE, 0)->pid, SIGCONT);
	ck_assert_msg(answered(second) == 0, "%s", refused.msg);
	ck_assert_uint_eq(map_word(), SHARD_WORD(3, 3));
}
END_TEST

START_TEST(a_supervisor_killed_between_the_steps_begins_anew)
{
	close(begin_fencing());
	ck_assert_int_eq(end(SIGKILL), -SIGKILL);
	view_close(&view);
	start_ready("processes: {replicaset: 2}");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_uint_eq(map_word(), SHARD_WORD(1, 2));
	ck_assert_uint_eq(replicasets(), 2);
}
END_TEST

START_TEST(as_many_as_may_be_run_at_once)
{
	static const char *const kinds[] = {"apiserver", "deployment", "replicaset"};
	struct buf text = {0};

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_int_eq(scale_request(&view.dir, "replicaset", 33, &text, &refused), WEFT_EINVAL);
	ck_assert_str_eq(refused.msg, "at most 32 processes of a kind");
	for (size_t i = 0; i < countof(kinds); i++)
		ck_assert_msg(scale_request(&view.dir, kinds[i], 32, &text, &refused) == 0, "%s",
			      refused.msg);
	ck_assert_uint_eq(replicasets(), 32);
	buf_free(&text);
}
END_TEST

static bool three_replicasets(void)
{
	return SHARD_COUNT(map_word()) == 3 && everybody_runs();
}

static bool one_replicaset(void)
{
	return SHARD_COUNT(map_word()) == 1 && everybody_runs();
}

#define BOUNDS                                        \
	"processes: {replicaset: {min: 1, max: 4}}\n" \
	"autoscale: {upAge: 200ms, upAfter: 100ms, calmAge: 50ms, downAfter: 300ms}"

START_TEST(a_kind_with_bounds_follows_its_queue)
{
	struct buf text = {0};

	hold("WEFT_TEST_BUSY");
	start_ready(BOUNDS);
	ck_assert(wait_until(three_replicasets, 5000));
	nap(150);
	ck_assert_uint_eq(SHARD_COUNT(map_word()), 3);
	ck_assert_uint_eq(SHARD_COUNT(atomic_load(&view.control->maps[PROC_DEPLOYMENT].now)), 1);
	ck_assert_int_eq(scale_request(&view.dir, "replicaset", 5, &text, &refused), WEFT_EINVAL);
	ck_assert_str_eq(refused.msg, "replicaset is scaled by itself, from 1 to 4 processes");
	unlink(held);
	ck_assert(wait_until(one_replicaset, 5000));
	nap(1000);
	ck_assert_uint_eq(replicasets(), 1);
	buf_free(&text);
}
END_TEST

START_TEST(looking_at_all_objects_is_no_reason_for_more_processes)
{
	hold("WEFT_TEST_BEHIND");
	start_ready(BOUNDS);
	nap(1500);
	ck_assert_uint_eq(SHARD_COUNT(map_word()), 1);
	unlink(held);
	ck_assert(wait_until(three_replicasets, 5000));
}
END_TEST

START_TEST(output_goes_into_the_log_as_json)
{
	struct str needle =
		STR("\"level\":\"info\",\"message\":\"hello \\\"from\\\" replicaset\"}");
	struct buf text = {0};
	char path[128];
	FILE *f;
	int ch;

	start_ready("");
	ck_assert(wait_until(everybody_runs, 3000));
	ck_assert_int_eq(end(SIGTERM), 0);
	snprintf(path, sizeof(path), "%s/log", dir);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while ((ch = getc(f)) != EOF)
		buf_putc(&text, (char)ch);
	fclose(f);
	ck_assert_ptr_nonnull(memmem(text.p, text.n, needle.p, needle.n));
	ck_assert_ptr_nonnull(memmem(text.p, text.n, "\"process\":\"replicaset/0\"", 24));
	buf_free(&text);
}
END_TEST

START_TEST(a_directory_of_another_version_is_refused)
{
	struct datadir d;
	struct err e = {0};
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/version", dir);
	f = fopen(path, "w");
	fputs("99\n", f);
	fclose(f);
	ck_assert_int_eq(datadir_take(&d, dir, &e), WEFT_ELAYOUT);
	ck_assert_msg(strstr(e.msg, "is of version '99'"), "%s", e.msg);
	close(d.lock_fd);
	close(d.fd);
	ck_assert_int_ne(datadir_take(&d, "/proc/nothing/here", &e), 0);
	ck_assert_int_ne(view_open(&view, "/nowhere", &e), 0);
	ck_assert_msg(strstr(e.msg, "weft up --data /nowhere"), "%s", e.msg);
}
END_TEST

/* --- */

static int play(const char *title)
{
	const char *name = title + 6;
	int kind = proc_kind_by_name((struct str){name, (uint32_t)strcspn(name, "/")});

	return kind < 0 || !proc_kind_info((enum proc_kind)kind)->main
		       ? 2
		       : proc_kind_info((enum proc_kind)kind)->main();
}

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tc;

	/* Without exit handlers: a leak checker's tracer may wait for ever in a
	 * process that is being killed. */
	if (strncmp(argv[0], "weft: ", 6) == 0)
		_exit(play(argv[0]));
	suite = suite_create("supervisor");
	tc = tcase_create("supervisor");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, starts_says_ready_and_stops);
	tcase_add_test(tc, asked_twice_at_once_is_asked_once);
	tcase_add_test(tc, two_on_one_directory_do_not_go);
	tcase_add_test(tc, a_killed_process_is_back_at_once);
	tcase_add_test(tc, a_process_leaves_a_word_to_its_successor);
	tcase_add_test(tc, a_killed_store_comes_back_with_the_next_generation);
	tcase_add_test(tc, all_killed_at_once_come_back);
	tcase_add_test(tc, a_stopped_process_is_replaced);
	tcase_add_test(tc, who_said_that_it_will_be_silent_is_left_alone);
	tcase_add_test(tc, a_silence_that_is_promised_has_a_bound);
	tcase_add_test(tc, who_waits_for_a_core_is_not_taken_for_dead);
	tcase_add_test(tc, who_is_started_again_goes_first_for_a_while);
	tcase_add_loop_test(tc, a_successor_waits_until_all_that_was_left_is_written, 0, 2);
	tcase_add_test(tc, whom_the_store_accuses_is_replaced_once);
	tcase_add_test(tc, whoever_always_ends_is_started_more_and_more_seldom);
	tcase_add_test(tc, what_cannot_start_at_all_ends_the_supervisor);
	tcase_add_test(tc, a_killed_supervisor_leaves_nothing_behind_for_the_next);
	tcase_add_test(tc, what_a_killed_supervisor_started_has_ended_when_the_next_begins);
	tcase_add_test(tc, scaling_changes_the_map_while_running);
	tcase_add_test(tc, a_client_may_take_its_time_to_ask);
	tcase_add_test(tc, one_that_still_stops_is_started_again);
	tcase_add_test(tc, a_wish_takes_the_place_of_the_one_before);
	tcase_add_test(tc, a_shard_killed_at_its_start_holds_nothing_up);
	tcase_add_test(tc, a_store_killed_between_the_steps_confirms_the_change);
	tcase_add_test(tc, shards_killed_between_the_steps_come_back);
	tcase_add_test(tc, another_wish_between_the_steps_is_the_next_change);
	tcase_add_test(tc, a_supervisor_killed_between_the_steps_begins_anew);
	tcase_add_test(tc, as_many_as_may_be_run_at_once);
	tcase_add_test(tc, a_kind_with_bounds_follows_its_queue);
	tcase_add_test(tc, looking_at_all_objects_is_no_reason_for_more_processes);
	tcase_add_test(tc, output_goes_into_the_log_as_json);
	tcase_add_test(tc, a_directory_of_another_version_is_refused);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
