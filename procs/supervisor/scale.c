/*
 * scale.c - changing the number of a kind's processes while they run.
 *
 * Each turn brings a kind nearer to the number that is wanted, whatever has died or been
 * asked for meanwhile.  More: the new ones start first (under the old map nothing is
 * theirs), then the map changes.  Fewer: the map changes first, then the surplus is told
 * to stop.  The map changes in the two steps that struct shard_map describes; between
 * them it cannot be changed again, but what is wanted can.
 *
 * Clients ask over DATA/control.sock: one line "scale KIND COUNT", one line of
 * answer, "ok ..." or "error ...".
 */
#include "procs/supervisor/supervisor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "weft/fault.h"

#define SCALE_MAX      32
#define CLIENT_WAIT_MS 30000
#define START_TRIES    3
#define ANSWER_NS      (20 * INT64_C(1000000000)) /* then a client is told how things stand */

/* --- The socket ------------------------------------------------------------------- */

/* Through /proc, as a socket's own path may be 107 bytes at most. */
static int socket_address(const struct datadir *d, struct sockaddr_un *at)
{
	*at = (struct sockaddr_un){.sun_family = AF_UNIX};
	return snprintf(at->sun_path, sizeof(at->sun_path), "/proc/self/fd/%d/control.sock", d->fd);
}

int scale_open(struct supervisor *s, struct err *e)
{
	struct sockaddr_un at;

	for (int k = 0; k < PROC_KIND_COUNT; k++)
		s->scaling[k] = (struct scaling){.count = s->config.count[k],
						 .client = -1,
						 .autoscale = {.min = s->config.bounds[k].min,
							       .max = s->config.bounds[k].max}};
	socket_address(&s->dir, &at);
	s->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->socket < 0)
		return err_errno(e, errno, "control socket");
	if (bind(s->socket, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(s->socket, 8) < 0)
		return err_errno(e, errno, "control socket in '%s'", s->dir.path);
	return supervisor_watch(s, s->socket, FROM_SOCKET, 0);
}

void scale_close(struct supervisor *s)
{
	if (s->socket < 0)
		return;
	close(s->socket);
	unlinkat(s->dir.fd, "control.sock", 0);
	s->socket = -1;
}

static void answer(int client, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void answer(int client, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	if (client < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (send(client, text, (size_t)n, MSG_NOSIGNAL) < 0)
		errno = 0; /* whoever asked has gone */
	close(client);
}

/* --- Changes under way -------------------------------------------------------------- */

static uint64_t map_now(const struct supervisor *s, int kind)
{
	return atomic_load_explicit(&s->control->maps[kind].now, memory_order_relaxed);
}

static uint64_t map_next(const struct supervisor *s, int kind)
{
	return atomic_load_explicit(&s->control->maps[kind].next, memory_order_relaxed);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* How many have to be there if `count` are wanted: whom the map names, whom the one
 * names that is on its way, and whom the one after that will. */
static uint32_t needed(const struct supervisor *s, int kind, uint32_t count)
{
	return larger(larger(SHARD_COUNT(map_now(s, kind)), SHARD_COUNT(map_next(s, kind))), count);
}

/* One that was told to stop is in the way of its successor until it has ended. */
static void start_missing(struct supervisor *s, int kind, uint32_t count)
{
	for (uint32_t shard = 0; shard < count; shard++)
		if (!child_find(s, (enum proc_kind)kind, shard))
			child_start(s, (enum proc_kind)kind, shard);
}

static void stop_surplus(struct supervisor *s, int kind, uint32_t count)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct child *c = &s->child[i];

		if (c->state == CHILD_FREE || (int)c->kind != kind || c->shard < count)
			continue;
		if (child_alive(c))
			child_stop(s, c, 3000);
		else
			child_free(s, c);
	}
}

/* What a process does once, at its start (a node process registers its nodes), is done
 * under the map that it began with; one that cannot start is not waited for. */
static bool is_past_start(const struct child *c)
{
	return c->has_run || c->failures > START_TRIES;
}

/* Those of the next map run, and nobody of this one is at its start. */
static bool may_change(struct supervisor *s, int kind, uint32_t count)
{
	for (uint32_t shard = 0; shard < needed(s, kind, count); shard++) {
		const struct child *c = child_find(s, (enum proc_kind)kind, shard);

		if (!c || (shard < count ? c->state != CHILD_RUNNING : !is_past_start(c)))
			return false;
	}
	return true;
}

/* Step 1: the store is to refuse the old epoch. */
static void fence(struct supervisor *s, int kind, struct scaling *sc)
{
	uint64_t next = SHARD_WORD(SHARD_EPOCH(map_now(s, kind)) + 1, sc->count);

	/* [control.R2] pairs with [control.A2]. */
	atomic_store_explicit(&s->control->maps[kind].next, next, memory_order_release);
	fault_at(super_fence);
	sc->state = SCALE_FENCING;
	supervisor_changed(s);
}

/* Has the store published everything of the old epoch? */
static bool fenced(struct supervisor *s, int kind)
{
	const struct child *store = watch_store(s);
	const struct proc_segment *seg = child_segment(store);

	if (!proc_kind_info((enum proc_kind)kind)->sharded)
		return true;
	return store->state == CHILD_RUNNING &&
	       atomic_load_explicit(&seg->epochs[kind], memory_order_acquire) ==
		       SHARD_EPOCH(map_next(s, kind));
}

/* Step 2: everybody acts under the new map. */
static void finish(struct supervisor *s, int kind, struct scaling *sc)
{
	struct shard_map *map = &s->control->maps[kind];
	const char *name = proc_kind_info((enum proc_kind)kind)->name;
	uint32_t count = SHARD_COUNT(map_next(s, kind));

	fault_at(super_map);
	/* [control.R2] pairs with [control.A2]. */
	atomic_store_explicit(&map->now, map_next(s, kind), memory_order_release);
	fault_at(super_mapped);
	supervisor_changed(s);
	logs_say(s, LOG_INFO, "%s has %u process%s now", name, count, count == 1 ? "" : "es");
	/* Another number may have been asked for meanwhile. */
	sc->state = count == sc->count ? SCALE_NONE : SCALE_STARTING;
}

/* Once nothing is left to be done, or late: whoever asked does not wait for ever, though the
 * change is still wanted. */
static void tell(struct supervisor *s, int kind, struct scaling *sc)
{
	const char *name = proc_kind_info((enum proc_kind)kind)->name;

	if (sc->client < 0)
		return;
	if (sc->state == SCALE_NONE)
		answer(sc->client, "ok %s has %u process%s now\n", name, sc->count,
		       sc->count == 1 ? "" : "es");
	else if (s->now - sc->asked_ns >= ANSWER_NS)
		answer(sc->client,
		       "error %s does not have %u processes after %d s (see "
		       "`weft status` and DATA/log); it will as soon as it can\n",
		       name, sc->count, (int)(ANSWER_NS / 1000000000));
	else
		return;
	sc->client = -1;
}

/* Bring a kind nearer to what is wanted. */
static void tick_kind(struct supervisor *s, int kind)
{
	struct scaling *sc = &s->scaling[kind];

	start_missing(s, kind, needed(s, kind, sc->count));
	if (sc->state == SCALE_FENCING && fenced(s, kind))
		finish(s, kind, sc);
	if (sc->state == SCALE_NONE && SHARD_COUNT(map_now(s, kind)) != sc->count)
		sc->state = SCALE_STARTING;
	if (sc->state == SCALE_STARTING && SHARD_COUNT(map_now(s, kind)) == sc->count)
		finish(s, kind, sc); /* as it was, after all */
	if (sc->state == SCALE_STARTING && may_change(s, kind, sc->count)) {
		fence(s, kind, sc);
		if (fenced(s, kind))
			finish(s, kind, sc);
	}
	stop_surplus(s, kind, needed(s, kind, sc->count));
	tell(s, kind, sc);
}

/* --- By themselves ------------------------------------------------------------------ */

/* What its processes say of their queues. */
struct queues {
	int64_t age_ms;	  /* how long the oldest item of any has waited */
	bool catching_up; /* one works off what a new map or cache had it look at */
};

static struct queues queues_of(struct supervisor *s, int kind)
{
	struct queues q = {0};

	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		const struct child *c = &s->child[i];
		const struct proc_counters *n;
		int64_t age_ms;

		if ((int)c->kind != kind || c->state != CHILD_RUNNING)
			continue;
		n = &child_segment(c)->counters;
		age_ms = (int64_t)atomic_load_explicit(&n->queue_age_ms, memory_order_relaxed);
		q.age_ms = age_ms > q.age_ms ? age_ms : q.age_ms;
		q.catching_up |= atomic_load_explicit(&n->catching_up, memory_order_relaxed) != 0;
	}
	return q;
}

/* What waits for a store that is away says nothing of those who wait for it, nor does what
 * waits only because everything is looked at. */
static void judge(struct supervisor *s, int kind)
{
	struct scaling *sc = &s->scaling[kind];
	struct queues q = queues_of(s, kind);
	uint32_t count = sc->count;

	if (sc->state != SCALE_NONE || !atomic_load(&s->control->store_up) || q.catching_up) {
		autoscale_unsettle(&sc->autoscale, &s->config.autoscale, s->now);
		return;
	}
	sc->count = autoscale_judge(&sc->autoscale, &s->config.autoscale, count, q.age_ms, s->now);
	if (sc->count != count)
		logs_say(s, LOG_INFO, "%s: work has waited %lld ms, so from %u to %u processes",
			 proc_kind_info((enum proc_kind)kind)->name, (long long)q.age_ms, count,
			 sc->count);
}

bool scale_automatic(const struct supervisor *s)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		if (s->scaling[k].autoscale.max)
			return true;
	return false;
}

/* --- Each turn ---------------------------------------------------------------------- */

/* All are, but the store, which starts before everybody else. */
static bool is_scaled(int kind)
{
	return kind != PROC_STORE && proc_kind_info((enum proc_kind)kind)->main;
}

void scale_tick(struct supervisor *s)
{
	for (int k = 0; s->started && !s->stop && k < PROC_KIND_COUNT; k++) {
		if (!is_scaled(k))
			continue;
		if (s->scaling[k].autoscale.max)
			judge(s, k);
		tick_kind(s, k);
	}
}

/* --- Asking for one ----------------------------------------------------------------- */

/* Is there a slot for each, while old and new ones run beside each other, and as many
 * as scale themselves? */
static bool slots_suffice(const struct supervisor *s, int kind, uint32_t count)
{
	uint32_t sum = 1;

	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		const struct scaling *sc = &s->scaling[k];

		if (is_scaled(k))
			sum += needed(s, k,
				      larger(k == kind ? count : sc->count, sc->autoscale.max));
	}
	return sum <= PROC_SLOTS;
}

static bool within_bounds(const struct supervisor *s, int kind, uint32_t count)
{
	const struct autoscale *a = &s->scaling[kind].autoscale;

	return !a->max || (count >= a->min && count <= a->max);
}

static void begin(struct supervisor *s, int kind, uint32_t count, int client)
{
	struct scaling *sc = &s->scaling[kind];

	answer(sc->client, "error somebody else asked for %u processes of %s meanwhile\n", count,
	       proc_kind_info((enum proc_kind)kind)->name);
	sc->count = count;
	sc->client = client;
	sc->asked_ns = s->now;
	if (sc->state == SCALE_NONE)
		sc->state = SCALE_STARTING; /* to be answered, even if there is nothing to do */
	tick_kind(s, kind);
}

static void request(struct supervisor *s, char *line, int client)
{
	char name[32];
	unsigned count;
	int kind;

	if (sscanf(line, "scale %31s %u", name, &count) != 2) {
		answer(client, "error '%.40s' is not a request\n", line);
		return;
	}
	kind = proc_kind_by_name(str_of(name));
	if (kind < 0)
		answer(client, "error there is no process '%s' (see `weft status`)\n", name);
	else if (kind == PROC_STORE || kind == PROC_CHECKPOINT)
		answer(client, "error there is always one %s\n", name);
	else if (count > SCALE_MAX)
		answer(client, "error at most %d processes of a kind\n", SCALE_MAX);
	else if (!proc_kind_info((enum proc_kind)kind)->main)
		answer(client, "error %s is not part of this build\n", name);
	else if (!s->started || s->stop)
		answer(client, "error the cluster is starting or stopping: try again\n");
	else if (!within_bounds(s, kind, count))
		answer(client, "error %s is scaled by itself, from %u to %u processes\n", name,
		       s->scaling[kind].autoscale.min, s->scaling[kind].autoscale.max);
	else if (!slots_suffice(s, kind, count))
		answer(client,
		       "error there are not so many slots: at most %d processes of all kinds\n",
		       PROC_SLOTS);
	else
		begin(s, kind, count, client);
}

/* Nobody is waited for: a client has its line ready with the connection, or soon. */
void scale_accept(struct supervisor *s)
{
	int client;

	while ((client = accept4(s->socket, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		if (supervisor_watch(s, client, FROM_CLIENT, (uint32_t)client))
			close(client);
}

void scale_read(struct supervisor *s, int client)
{
	char line[128];
	ssize_t n = recv(client, line, sizeof(line) - 1, MSG_DONTWAIT);

	epoll_ctl(s->epoll, EPOLL_CTL_DEL, client, NULL);
	if (n <= 0) {
		close(client);
		return;
	}
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	request(s, line, client);
}

/* --- The client's side -------------------------------------------------------------- */

/* Connect and ask; the descriptor on which the answer will come, < 0: a WEFT_ code. */
int scale_ask(const struct datadir *d, const char *kind, uint32_t count, struct err *e)
{
	struct timeval wait = {.tv_sec = CLIENT_WAIT_MS / 1000};
	struct sockaddr_un at;
	char text[64];
	int fd, n;

	socket_address(d, &at);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	n = snprintf(text, sizeof(text), "scale %.31s %u\n", kind, count);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	    send(fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		return fd;
	n = err_errno(e, errno, "reach the supervisor of '%s'", d->path);
	close(fd);
	return n;
}

int scale_answer(const struct datadir *d, int fd, struct buf *out, struct err *e)
{
	char text[512];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	close(fd);
	if (n <= 0)
		return err_set(e, WEFT_EAGAIN, "the supervisor of '%s' does not answer", d->path);
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	if (strncmp(text, "ok ", 3) != 0)
		return err_set(e, WEFT_EINVAL, "%s", strncmp(text, "error ", 6) ? text : text + 6);
	buf_puts(out, text + 3);
	return 0;
}

int scale_request(const struct datadir *d, const char *kind, uint32_t count, struct buf *out,
		  struct err *e)
{
	int fd = scale_ask(d, kind, count, e);

	return fd < 0 ? fd : scale_answer(d, fd, out, e);
}
