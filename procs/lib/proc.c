/* proc.c - a process's loop: control segment, inbox, requests, descriptors,
 * heartbeat. */
#include "procs/lib/lib.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "weft/fault.h"

#define BEAT_NS		   (200 * INT64_C(1000000))  /* a heartbeat at most this often */
#define SLEEP_MAX_NS	   (2000 * INT64_C(1000000)) /* and at least this often, or sooner */
#define CPU_NS		   (500 * INT64_C(1000000))
#define RECORDS_A_TURN	   2048
#define BAD_RECORDS_LOGGED 20

/* --- Small questions ------------------------------------------------------------- */

struct cache *proc_cache(struct proc *p)
{
	return p->cache;
}

const struct control *proc_control(const struct proc *p)
{
	return p->control;
}

struct proc_segment *proc_own(struct proc *p)
{
	return p->own;
}

struct proc_counters *proc_counters(struct proc *p)
{
	return &p->own->counters;
}

uint32_t proc_slot(const struct proc *p)
{
	return p->slot;
}

uint32_t proc_shard(const struct proc *p)
{
	return p->shard;
}

uint32_t proc_shards(const struct proc *p)
{
	return SHARD_COUNT(p->map);
}

uint32_t proc_epoch(const struct proc *p)
{
	return SHARD_EPOCH(p->map);
}

uint32_t proc_generation(const struct proc *p)
{
	return p->generation;
}

const void *proc_config(const struct proc *p)
{
	return p->config;
}

bool proc_mine_uid(const struct proc *p, const uint8_t uid[16])
{
	return SHARD_COUNT(p->map) && shard_of_uid(uid, SHARD_COUNT(p->map)) == p->shard;
}

bool proc_mine_name(const struct proc *p, struct str name)
{
	return SHARD_COUNT(p->map) && shard_of_name(name, SHARD_COUNT(p->map)) == p->shard;
}

/* --- Heartbeat ---------------------------------------------------------------------- */

static void count_cpu(struct proc *p)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	atomic_store_explicit(&p->own->counters.cpu_ms,
			      (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000,
			      memory_order_relaxed);
}

void proc_beat(struct proc *p)
{
	int64_t now = proc_mono_ns();

	if (now - p->beat_ns < BEAT_NS && !p->beat_ahead)
		return;
	p->beat_ahead = false;
	p->beat_ns = now;
	atomic_store_explicit(&p->own->heartbeat_ns, now, memory_order_relaxed);
	if (now - p->cpu_ns >= CPU_NS) {
		p->cpu_ns = now;
		count_cpu(p);
	}
}

void proc_beat_beside(struct proc *p)
{
	atomic_store_explicit(&p->own->heartbeat_ns, proc_mono_ns(), memory_order_relaxed);
}

void proc_beat_ahead(struct proc *p, int64_t ns)
{
	p->beat_ns = proc_mono_ns();
	p->beat_ahead = true;
	atomic_store_explicit(&p->own->heartbeat_ns, p->beat_ns + ns, memory_order_relaxed);
}

void proc_tell_supervisor(void)
{
	uint64_t one = 1;

	if (write(SUPERVISOR_BELL_FD, &one, sizeof(one)) < 0)
		return; /* it is rung already */
}

void proc_ready(struct proc *p)
{
	/* [proc.R1] pairs with [proc.A1]: what came before (listen_port,
	 * kubeconfig) is there for whoever sees that we are ready. */
	atomic_store_explicit(&p->own->ready, 1, memory_order_release);
	proc_tell_supervisor();
}

/* --- Requests ----------------------------------------------------------------------- */

int proc_send(struct proc *p, struct msg *m, reply_cb cb, void *arg)
{
	struct msg_request *req = msg_request(m);
	size_t size;
	void *at;

	weft_assert(req);
	if (!p->store_up)
		return WEFT_EAGAIN;
	req->seq = flights_add(&p->flights, cb, arg);
	req->generation = p->generation;
	req->epoch = proc_kind_info(p->kind)->sharded ? SHARD_EPOCH(p->map) : 0;
	size = msg_size(m);
	at = size <= p->out.size / 2 - 8 ? ring_reserve(&p->out, (uint32_t)size) : NULL;
	if (!at) {
		flights_undo(&p->flights);
		proc_flush(p);
		return size <= p->out.size / 2 - 8 ? WEFT_EAGAIN : WEFT_ETOOBIG;
	}
	ring_trim(&p->out, (uint32_t)msg_encode(m, at));
	p->unpublished = true;
	atomic_fetch_add_explicit(&p->own->counters.requests, 1, memory_order_relaxed);
	return 0;
}

void proc_flush(struct proc *p)
{
	if (!p->unpublished)
		return;
	p->unpublished = false;
	fault_at(proc_flush);
	ring_commit(&p->out);
	ring_ring(&p->out);
}

bool proc_can_send(const struct proc *p, size_t bytes)
{
	uint64_t used = p->out.pos - atomic_load_explicit(&p->out.in->tail, memory_order_relaxed);

	return p->store_up && used <= p->out.size && p->out.size - used >= bytes + 16;
}

uint32_t proc_in_flight(const struct proc *p)
{
	return p->flights.open;
}

static void answer(struct proc *p, const struct flight *f, const struct msg_reply *reply)
{
	atomic_fetch_add_explicit(&p->own->counters.replies, 1, memory_order_relaxed);
	if (reply->status != WEFT_OK)
		atomic_fetch_add_explicit(&p->own->counters.errors, 1, memory_order_relaxed);
	if (f->cb)
		f->cb(f->arg, reply);
}

void proc_lose_all(struct proc *p)
{
	uint64_t last = p->flights.next;
	struct msg_reply reply = {.status = WEFT_ELOST,
				  .message = STR("the store ended before it answered")};
	struct flight f;

	while (p->flights.oldest < last && flights_take_oldest(&p->flights, &f, &reply.seq))
		answer(p, &f, &reply);
}

void proc_follow(struct proc *p, uint64_t rv)
{
	p->follows = true;
	p->followed = rv;
}

void proc_unfollow(struct proc *p)
{
	p->follows = false;
}

/* --- Inbox -------------------------------------------------------------------------- */

static void note_bad_record(struct proc *p, const char *what)
{
	atomic_fetch_add_explicit(&p->own->inbox.malformed, 1, memory_order_relaxed);
	if (p->bad_records++ < BAD_RECORDS_LOGGED)
		log_error("malformed record from store/0: %s", what);
	p->resync = true; /* it may have been work */
}

static void take_reply(struct proc *p, const struct msg_reply *reply)
{
	struct flight f;

	/* One that we do not know answers a request that was lost with an
	 * earlier store; its sender has been told. */
	fault_at(proc_reply);
	if (flights_take(&p->flights, reply->seq, &f))
		answer(p, &f, reply);
}

static void take_work(struct proc *p, const struct msg_work *work)
{
	fault_at(proc_work);
	if (work->generation != p->generation || !p->handlers || !p->handlers->on_work)
		return;
	atomic_fetch_add_explicit(&p->own->counters.work_items, work->entries.n,
				  memory_order_relaxed);
	p->handlers->on_work(p->handlers->arg, work->type, work->entries);
}

static void take_record(struct proc *p, struct str bytes)
{
	struct err e = {0};
	struct msg m;

	if (msg_decode(bytes, &m, &p->scratch, &e))
		note_bad_record(p, e.msg);
	else if (m.kind == MSG_reply)
		take_reply(p, &m.reply);
	else if (m.kind == MSG_work)
		take_work(p, &m.work);
	else
		note_bad_record(p, msg_name(m.kind));
}

/* Read up to `max` records; true if there may be more. */
static bool read_inbox(struct proc *p, int max)
{
	struct str bytes;
	int rc = 0, n;

	if (!p->inbox)
		return false;
	if (ring_overflowed(&p->in))
		p->resync = true;
	for (n = 0; n < max && (rc = ring_peek(&p->in, &bytes)) == 1; n++) {
		take_record(p, bytes);
		ring_next(&p->in);
	}
	if (rc < 0) {
		note_bad_record(p, "a length that cannot be");
		ring_drop(&p->in);
	}
	ring_release(&p->in);
	return n == max;
}

/* --- Changes of the control segment ------------------------------------------------- */

static void see_store(struct proc *p)
{
	bool up = atomic_load_explicit(&p->control->store_up, memory_order_acquire) != 0;

	if (p->store_up && !up) {
		fault_at(proc_lost);
		/* What it answered before it died is still true. */
		proc_flush(p);
		while (read_inbox(p, RECORDS_A_TURN))
			;
		p->store_up = false;
		proc_lose_all(p);
	}
	if (!p->store_up && up &&
	    p->generation == atomic_load_explicit(&p->control->generation, memory_order_acquire))
		p->store_up = true;
}

static void see_generation(struct proc *p)
{
	uint32_t now = atomic_load_explicit(&p->control->generation, memory_order_acquire);

	if (now == p->generation)
		return;
	proc_flush(p);
	while (read_inbox(p, RECORDS_A_TURN))
		;
	p->store_up = false;
	fault_at(proc_generation);
	if (proc_reattach(p, now)) {
		p->changes--; /* look again next turn */
		return;
	}
	proc_lose_all(p);
	p->resync = p->look_at_all = true;
}

static void see_map(struct proc *p)
{
	/* [control.A2] pairs with [control.R2]: under this word the store has
	 * published everything that was accepted under the one before. */
	uint64_t now = atomic_load_explicit(&p->control->maps[p->kind].now, memory_order_acquire);

	if (now == p->map)
		return;
	p->map = now;
	p->resync = p->look_at_all = true;
}

static void see_changes(struct proc *p)
{
	uint32_t changes = atomic_load_explicit(&p->control->changes, memory_order_acquire);

	if (changes == p->changes)
		return;
	p->changes = changes;
	see_generation(p);
	see_store(p);
	see_map(p);
}

/* --- Descriptors -------------------------------------------------------------------- */

int proc_watch_fd(struct proc *p, int fd, uint32_t epoll_events,
		  void (*cb)(void *arg, uint32_t events), void *arg)
{
	struct epoll_event ev = {.events = epoll_events, .data.fd = fd};
	struct watched_fd *more = realloc(p->fds, (p->nfds + 1) * sizeof(*more));

	if (!more)
		return WEFT_ENOMEM;
	p->fds = more;
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		return weft_code_from_errno(errno);
	p->fds[p->nfds++] = (struct watched_fd){.fd = fd, .cb = cb, .arg = arg};
	return 0;
}

static struct watched_fd *find_fd(struct proc *p, int fd)
{
	for (uint32_t i = 0; i < p->nfds; i++)
		if (p->fds[i].fd == fd)
			return &p->fds[i];
	return NULL;
}

void proc_unwatch_fd(struct proc *p, int fd)
{
	struct watched_fd *at = find_fd(p, fd);

	if (!at)
		return;
	epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
	*at = p->fds[--p->nfds];
}

static void dispatch(struct proc *p, const struct epoll_event *ev)
{
	struct watched_fd *at;

	if (ev->data.fd == PROC_BELL_FD(p->slot)) {
		bell_clear(ev->data.fd);
		return;
	}
	at = find_fd(p, ev->data.fd); /* gone, if an earlier callback removed it */
	if (at)
		at->cb(at->arg, ev->events);
}

/* Announce sleep; false (and awake) if there is something to look at. */
static bool fall_asleep(struct proc *p)
{
	if (!p->follows)
		return ring_sleep(&p->in);
	if (!ring_sleep_following(&p->in))
		return false;
	if (cache_rv(p->cache) == p->followed)
		return true;
	ring_awake(&p->in);
	return false;
}

struct events_come {
	int epoll;
	struct epoll_event at[32];
};

static int look_for_events(void *arg, int64_t wait_ns)
{
	struct events_come *c = arg;
	int n = epoll_wait(c->epoll, c->at, countof(c->at), (int)((wait_ns + 999999) / 1000000));

	return n < 0 ? 0 : n;
}

static void wait_and_dispatch(struct proc *p, int64_t wait_ns)
{
	struct events_come come = {.epoll = p->epoll};
	bool asleep = wait_ns > 0 && p->inbox;
	int n;

	if (asleep && !fall_asleep(p)) {
		asleep = false;
		wait_ns = 0;
	}
	if (p->handlers && p->handlers->waits_awake)
		n = awake_wait(&p->awake, look_for_events, &come, wait_ns);
	else
		n = look_for_events(&come, wait_ns);
	if (asleep)
		ring_awake(&p->in);
	for (int i = 0; i < n; i++)
		dispatch(p, &come.at[i]);
}

/* --- The loop ----------------------------------------------------------------------- */

const struct entry *proc_work_entry(struct proc *p, uint16_t type, uint32_t ref)
{
	const struct entry *e;

	if (cache_entry_checked(p->cache, ref, &e) == 0 && e->type == type)
		return e;
	p->resync = true;
	return NULL;
}

/* True if it was the first under this map or cache. */
static bool resync_if_due(struct proc *p)
{
	bool first = p->look_at_all;

	if (!p->resync)
		return false;
	p->resync = p->look_at_all = false;
	fault_at(proc_resync);
	atomic_fetch_add_explicit(&p->own->counters.resyncs, 1, memory_order_relaxed);
	if (p->handlers && p->handlers->on_resync)
		p->handlers->on_resync(p->handlers->arg);
	return first;
}

/* Has all that waits by now come later?  The age is cut to whole milliseconds. */
static bool has_caught_up(const struct proc *p, int64_t now_ns)
{
	const struct proc_counters *n = &p->own->counters;
	int64_t age_ms = (int64_t)atomic_load_explicit(&n->queue_age_ms, memory_order_relaxed) + 1;

	return !atomic_load_explicit(&n->queue, memory_order_relaxed) ||
	       now_ns - age_ms * 1000000 > p->looked_ns;
}

/* After a turn; has everything been queued in it? */
static void count_catching_up(struct proc *p, bool looked)
{
	int64_t now;

	if (!looked && !p->looked_ns)
		return;
	now = clock_mono_ns();
	if (looked)
		p->looked_ns = now;
	if (has_caught_up(p, now))
		p->looked_ns = 0;
	atomic_store_explicit(&p->own->counters.catching_up, p->looked_ns != 0,
			      memory_order_relaxed);
}

void proc_turn(struct proc *p, int64_t wait_ns)
{
	int64_t now, due = 0;
	bool more, looked;

	see_changes(p);
	looked = resync_if_due(p);
	more = read_inbox(p, RECORDS_A_TURN);
	now = clock_mono_ns();
	if (p->handlers && p->handlers->on_turn)
		due = p->handlers->on_turn(p->handlers->arg, now);
	count_catching_up(p, looked);
	proc_flush(p);
	proc_beat(p);
	if (due && due - now < wait_ns)
		wait_ns = due > now ? due - now : 0;
	if (more || p->resync || proc_stopping(p))
		wait_ns = 0;
	wait_and_dispatch(p, wait_ns);
}

/* Two looks at us may find no heartbeat, and we are not taken for dead. */
static int64_t sleep_max_ns(const struct proc *p)
{
	int64_t ns = v_as_int(v_path(p->config, "supervisor.stallAfter"), 5000) * 1000000 / 3;

	return ns < SLEEP_MAX_NS ? ns : SLEEP_MAX_NS;
}

int proc_run(struct proc *p, const struct proc_handlers *h)
{
	int64_t sleep_ns = sleep_max_ns(p);

	p->handlers = h;
	if (!h->ready_later)
		proc_ready(p);
	while (!proc_stopping(p))
		proc_turn(p, sleep_ns);
	proc_flush(p);
	return 0;
}
