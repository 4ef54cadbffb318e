/* attach.c - becoming a process of the cluster: segments, signals, the cache
 * generation of now. */
#include "procs/lib/lib.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "weft/fault.h"
#include "weft/json.h"

#define GENERATION_WAIT_NS (10 * INT64_C(1000000000))
#define TURN_LOOK_MS	   100 /* should a bell be missed */

/* --- Attaching ------------------------------------------------------------------ */

static int attach_control(struct proc *p, struct err *e)
{
	char name[SEG_NAME_MAX];
	int rc;

	proc_name_control(name, p->cluster);
	rc = seg_open(&p->control_seg, name, SEG_CONTROL, proc_layout_control(), false, e);
	if (rc)
		return err_wrap(e, "control segment");
	p->control = (const struct control *)p->control_seg.base;
	return 0;
}

/* Is it this incarnation's turn, or past it? */
static bool is_our_turn(const struct slot *slot, uint32_t incarnation)
{
	/* [control.A1] pairs with [control.R1]: the slot's fields are whole. */
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

	return state == SLOT_FREE ||
	       (state != SLOT_DEAD &&
		atomic_load_explicit(&slot->incarnation, memory_order_relaxed) >= incarnation);
}

/* The supervisor may have started us while the store still applies what our predecessor left:
 * then it rings when that is done. */
static void wait_for_turn(struct proc *p, uint32_t incarnation)
{
	struct pollfd bell = {.fd = PROC_BELL_FD(p->slot), .events = POLLIN};

	while (!is_our_turn(&p->control->slots[p->slot], incarnation))
		if (poll(&bell, 1, TURN_LOOK_MS) > 0)
			bell_clear(bell.fd);
}

static int attach_slot(struct proc *p, uint32_t incarnation, struct err *e)
{
	const struct slot *slot = &p->control->slots[p->slot];

	wait_for_turn(p, incarnation);
	if (atomic_load_explicit(&slot->state, memory_order_acquire) == SLOT_FREE ||
	    slot->kind != p->kind)
		return err_set(e, WEFT_EINVAL, "slot %u is not a %s's", p->slot,
			       proc_kind_info(p->kind)->name);
	p->shard = slot->shard;
	p->incarnation = atomic_load_explicit(&slot->incarnation, memory_order_relaxed);
	return 0;
}

/* The rings: out in our segment, in from the store's. */
static int attach_rings(struct proc *p, struct err *e)
{
	const struct slot *slot = &p->control->slots[p->slot];
	char name[SEG_NAME_MAX];
	int rc;

	proc_name_proc(name, p->cluster, p->slot, p->incarnation);
	rc = seg_open(&p->own_seg, name, SEG_PROC, proc_layout_proc(), true, e);
	if (rc)
		return err_wrap(e, "own segment");
	p->own = (struct proc_segment *)p->own_seg.base;
	if (p->kind == PROC_STORE)
		return 0;
	proc_name_inbox(name, p->cluster, p->slot, p->incarnation);
	rc = seg_open(&p->inbox_seg, name, SEG_INBOX, proc_layout_inbox(), false, e);
	if (rc)
		return err_wrap(e, "inbox");
	p->inbox = (struct inbox_segment *)p->inbox_seg.base;
	ring_producer(&p->out, &p->own->out, &p->inbox->requests, PROC_BELL_FD(STORE_SLOT));
	rc = ring_consumer(&p->in, &p->inbox->out, &p->own->inbox, slot->ring_in,
			   PROC_BELL_FD(p->slot));
	return rc ? err_set(e, rc, "inbox ring of another size") : 0;
}

static int attach_config(struct proc *p, struct err *e)
{
	struct str text = {p->control->config, p->control->config_len};
	int rc;

	p->config_zone = zone_new();
	p->config = v_new(p->config_zone, v_map());
	if (!text.n)
		return 0;
	if (text.n > sizeof(p->control->config))
		return err_set(e, WEFT_ECORRUPT, "configuration too long");
	rc = json_decode(p->config_zone, text, p->config, NULL, e);
	return rc ? err_wrap(e, "configuration") : 0;
}

static int attach_loop(struct proc *p, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = PROC_BELL_FD(p->slot)};

	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll < 0)
		return err_errno(e, errno, "epoll");
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, PROC_BELL_FD(p->slot), &ev) < 0)
		return err_errno(e, errno, "watch our bell");
	return 0;
}

int proc_attach(struct proc **out, enum proc_kind kind, uint64_t cluster, uint32_t slot,
		uint32_t incarnation, struct err *e)
{
	struct proc *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(e, WEFT_ENOMEM, "process state");
	p->kind = kind;
	p->cluster = cluster;
	p->slot = slot;
	p->epoll = -1;
	p->threads = 1; /* the loop's own reader word */
	flights_init(&p->flights);
	rc = attach_control(p, e);
	if (!rc)
		rc = attach_config(p, e);
	if (!rc)
		rc = attach_slot(p, incarnation, e);
	if (!rc)
		rc = attach_rings(p, e);
	if (!rc)
		rc = attach_loop(p, e);
	if (rc) {
		proc_detach(p);
		return rc;
	}
	clock_set_source(&p->control->clock);
	p->map = atomic_load_explicit(&p->control->maps[kind].now, memory_order_acquire);
	p->look_at_all = true;
	*out = p;
	return 0;
}

void proc_detach(struct proc *p)
{
	p->store_up = false;
	if (p->own)
		proc_lose_all(p);
	if (p->cache)
		cache_detach(p->cache);
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->config_zone)
		zone_free(p->config_zone);
	if (p->inbox)
		seg_close(&p->inbox_seg);
	if (p->own)
		seg_close(&p->own_seg);
	if (p->control) {
		clock_set_source(NULL);
		seg_close(&p->control_seg);
	}
	events_free(p->events);
	flights_free(&p->flights);
	buf_free(&p->scratch.mem);
	free(p->fds);
	free(p);
}

/* --- Starting --------------------------------------------------------------------- */

static struct proc *started; /* for the signal handler */
static volatile sig_atomic_t asked_to_stop;

/* Only a flag, and our own bell so that the loop looks at it. */
static void on_sigterm(int sig)
{
	uint64_t one = 1;
	int saved = errno;

	asked_to_stop = 1;
	if (started && write(PROC_BELL_FD(started->slot), &one, sizeof(one)) < 0)
		asked_to_stop = 1; /* the bell is rung already */
	errno = saved;
}

bool proc_stopping(const struct proc *p)
{
	return asked_to_stop != 0;
}

static void install_signals(void)
{
	struct sigaction stop = {.sa_handler = on_sigterm};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* A number from the environment that the supervisor must have set. */
static uint64_t need_env(const char *name, int base)
{
	const char *text = getenv(name);
	char *end;
	uint64_t n;

	if (!text || !*text) {
		log_error("%s is not set: this process is started by `weft up`", name);
		exit(2);
	}
	errno = 0;
	n = strtoull(text, &end, base);
	if (errno || *end) {
		log_error("%s=%s is not a number", name, text);
		exit(2);
	}
	return n;
}

/* End with the supervisor: the kernel sees to it, unless it died before. */
static void die_with_supervisor(void)
{
	const char *text = getenv("WEFT_SUPERVISOR");

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (text && (pid_t)atol(text) != getppid())
		exit(1);
}

static int attach_cache(struct proc *p, uint32_t generation, struct err *e)
{
	char name[SEG_NAME_MAX];
	int rc;

	proc_name_cache(name, p->cluster, generation);
	rc = cache_attach(&p->cache, name, &p->own->readers[0], e);
	if (rc)
		return rc;
	p->generation = generation;
	atomic_store_explicit(&p->own->generation, generation, memory_order_release);
	return 0;
}

/* Wait until the store has made a cache and we are attached to it. */
static int wait_for_cache(struct proc *p, struct err *e)
{
	int64_t until = proc_mono_ns() + GENERATION_WAIT_NS;
	struct timespec pause = {.tv_nsec = 1000000};
	uint32_t generation;
	int rc = err_set(e, WEFT_EAGAIN, "the store made no cache within 10 s");

	while (proc_mono_ns() < until && !proc_stopping(p)) {
		generation = atomic_load_explicit(&p->control->generation, memory_order_acquire);
		if (generation) {
			rc = attach_cache(p, generation, e);
			if (rc == 0)
				return 0;
			/* A newer generation may have replaced it meanwhile. */
			if (rc != WEFT_ENOENT && rc != WEFT_EAGAIN)
				return err_wrap(e, "cache");
		}
		proc_beat(p);
		nanosleep(&pause, NULL);
	}
	return rc;
}

struct proc *proc_start(enum proc_kind kind)
{
	uint64_t slot = need_env("WEFT_SLOT", 10), cluster = need_env("WEFT_CLUSTER", 16);
	uint32_t incarnation = (uint32_t)need_env("WEFT_INCARNATION", 10);
	struct proc *p;
	struct err e = {0};

	die_with_supervisor();
	if (slot >= PROC_SLOTS) {
		log_error("WEFT_SLOT=%llu is out of range", (unsigned long long)slot);
		exit(2);
	}
	if (proc_attach(&p, kind, cluster, (uint32_t)slot, incarnation, &e)) {
		log_error("cannot attach to the cluster: %s", e.msg);
		exit(1);
	}
	started = p;
	fault_process(1u << kind, p->slot, p->incarnation);
	install_signals();
	proc_beat(p);
	if (kind != PROC_STORE && wait_for_cache(p, &e)) {
		if (proc_stopping(p))
			exit(0);
		log_error("cannot attach to the cache: %s", e.msg);
		exit(1);
	}
	p->store_up = true;
	fault_at(proc_attached);
	return p;
}

/* --- A new generation --------------------------------------------------------------- */

int proc_reattach(struct proc *p, uint32_t generation)
{
	struct cache *old = p->cache;
	struct err e = {0};
	int rc = attach_cache(p, generation, &e);

	if (rc) {
		p->cache = old;
		log_warn("generation %u of the cache: %s", generation, e.msg);
		return rc;
	}
	if (old)
		cache_detach(old);
	log_debug("attached to generation %u", generation);
	return 0;
}

struct cache *proc_thread_cache(struct proc *p)
{
	static __thread uint32_t reader;
	struct cache *c;

	if (!reader)
		reader = atomic_fetch_add_explicit(&p->threads, 1, memory_order_relaxed);
	if (reader >= PRCU_READERS_MAX)
		weft_fatal("more than %d reading threads", PRCU_READERS_MAX);
	if (cache_thread(&c, p->cache, &p->own->readers[reader]))
		weft_fatal("out of memory for a thread's view of the cache");
	return c;
}
