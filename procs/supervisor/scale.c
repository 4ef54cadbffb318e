/*
 * scale.c - changing the number of a kind's processes while they run.
 *
 * More: the new ones start first (under the old map nothing is theirs), then
 * the map changes.  Fewer: the map changes first, then the surplus is told to
 * stop.  The map changes in the two steps that struct shard_map describes.
 *
 * Clients ask over DATA/control.sock: one line "scale KIND COUNT", one line of
 * answer, "ok ..." or "error ...".
 */
#include "procs/supervisor/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "weft/fault.h"

#define SCALE_MAX 32
#define CLIENT_WAIT_MS 30000

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
		s->scaling[k].client = -1;
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

/* --- Changes under way ---------------------------------------------------------------- */

static uint64_t map_now(const struct supervisor *s, int kind)
{
	return atomic_load_explicit(&s->control->maps[kind].now, memory_order_relaxed);
}

static bool all_ready(struct supervisor *s, int kind, uint32_t count)
{
	for (uint32_t shard = 0; shard < count; shard++) {
		const struct child *c = child_find(s, (enum proc_kind)kind, shard);

		if (!c || c->state != CHILD_RUNNING)
			return false;
	}
	return true;
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
	uint64_t next = atomic_load_explicit(&s->control->maps[kind].next, memory_order_relaxed);

	if (!proc_kind_info((enum proc_kind)kind)->sharded)
		return true;
	return store->state == CHILD_RUNNING &&
	       atomic_load_explicit(&seg->epochs[kind], memory_order_acquire) ==
		       SHARD_EPOCH(next);
}

/* Step 2: everybody acts under the new map. */
static void finish(struct supervisor *s, int kind, struct scaling *sc)
{
	struct shard_map *map = &s->control->maps[kind];
	const char *name = proc_kind_info((enum proc_kind)kind)->name;

	fault_at(super_map);
	/* [control.R2] pairs with [control.A2]. */
	atomic_store_explicit(&map->now, atomic_load(&map->next), memory_order_release);
	fault_at(super_mapped);
	supervisor_changed(s);
	stop_surplus(s, kind, sc->count);
	logs_say(s, LOG_INFO, "%s has %u process%s now", name, sc->count,
		 sc->count == 1 ? "" : "es");
	answer(sc->client, "ok %s has %u process%s now\n", name, sc->count,
	       sc->count == 1 ? "" : "es");
	*sc = (struct scaling){.client = -1};
}

static void tick_kind(struct supervisor *s, int kind)
{
	struct scaling *sc = &s->scaling[kind];

	if (sc->state == SCALE_STARTING && all_ready(s, kind, sc->count))
		fence(s, kind, sc);
	if (sc->state == SCALE_FENCING && fenced(s, kind))
		finish(s, kind, sc);
}

void scale_tick(struct supervisor *s)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		if (s->scaling[k].state != SCALE_NONE)
			tick_kind(s, k);
}

bool scale_busy(const struct supervisor *s)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		if (s->scaling[k].state != SCALE_NONE)
			return true;
	return false;
}

/* --- Asking for one ------------------------------------------------------------------------- */

static void begin(struct supervisor *s, int kind, uint32_t count, int client)
{
	struct scaling *sc = &s->scaling[kind];

	*sc = (struct scaling){.state = SCALE_STARTING, .count = count, .client = client};
	s->config.count[kind] = count;
	for (uint32_t shard = 0; shard < count; shard++)
		if (!child_find(s, (enum proc_kind)kind, shard) &&
		    !child_start(s, (enum proc_kind)kind, shard)) {
			answer(client, "error no slot left for another process\n");
			*sc = (struct scaling){.client = -1};
			return;
		}
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
	else if (s->scaling[kind].state != SCALE_NONE)
		answer(client, "error %s is being scaled: try again\n", name);
	else
		begin(s, kind, count, client);
}

void scale_accept(struct supervisor *s)
{
	char line[128];
	int client;
	ssize_t n;

	while ((client = accept4(s->socket, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct pollfd ready = {.fd = client, .events = POLLIN};

		/* Clients send their line with the connection: nobody is waited for. */
		n = poll(&ready, 1, 50) == 1 ? recv(client, line, sizeof(line) - 1, MSG_DONTWAIT)
					     : -1;
		if (n <= 0) {
			close(client);
			continue;
		}
		line[n] = 0;
		line[strcspn(line, "\n")] = 0;
		request(s, line, client);
	}
}

/* --- The client's side ------------------------------------------------------------------------ */

int scale_request(const struct datadir *d, const char *kind, uint32_t count, struct buf *out,
		  struct err *e)
{
	struct timeval wait = {.tv_sec = CLIENT_WAIT_MS / 1000};
	struct sockaddr_un at;
	char text[512];
	ssize_t n;
	int fd, rc = 0;

	socket_address(d, &at);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	n = snprintf(text, sizeof(text), "scale %s %u\n", kind, count);
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
		rc = err_errno(e, errno, "reach the supervisor of '%s'", d->path);
		goto out;
	}
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0) {
		rc = err_set(e, WEFT_EAGAIN, "the supervisor of '%s' does not answer", d->path);
		goto out;
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	if (strncmp(text, "ok ", 3) == 0)
		buf_puts(out, text + 3);
	else
		rc = err_set(e, WEFT_EINVAL, "%s", strncmp(text, "error ", 6) ? text : text + 6);
out:
	close(fd);
	return rc;
}
