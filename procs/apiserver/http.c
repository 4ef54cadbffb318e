/*
 * http.c - connections, and which HTTP is spoken on them.
 */
#include <sys/epoll.h>
#include <unistd.h>
#include "procs/apiserver/http.h"
#include "procs/apiserver/protocol.h"

#define DRAIN_LEAST_NS (30 * 1000000) /* for those whose request is on its way */
#define DRAIN_MOST_NS  (1000 * 1000000)
#define PIECE_KEPT     (256u << 10) /* a larger buffer is not kept */

/* --- A connection ------------------------------------------------------------------- */

static void on_opened(struct conn *c, bool plain)
{
	/* Without TLS, on loopback: whoever can open it may do everything. */
	static const struct user local = {
		.name = STR("system:local"),
		.groups = {STR("system:masters"), STR("system:authenticated")},
		.ngroups = 2,
		.masters = true};

	if (plain)
		((struct http *)c)->peer =
			(struct peer){.checked = true, .valid = true, .user = local};
}

static void on_proceed(struct conn *c)
{
	struct http *h = (struct http *)c;

	if (!h->speaks)
		h->speaks = conn_speaks(c, "h2") ? &http2 : &http1;
	h->speaks->proceed(h);
}

static void on_closed(struct conn *c)
{
	struct http *h = (struct http *)c;

	if (h->speaks)
		h->speaks->closed(h);
	peer_free(&h->peer);
}

static bool is_patient(const struct conn *c)
{
	const struct http *h = (const struct http *)c;

	return h->speaks && h->speaks->patient(h);
}

static void say_drain(struct conn *c)
{
	struct http *h = (struct http *)c;

	if (h->speaks)
		h->speaks->drain(h);
}

/* --- All of them -------------------------------------------------------------------- */

static void on_ready(void *arg, uint32_t events)
{
	struct api *api = arg;

	api->run = true;
}

int http_start(struct api *api, int fd, bool plain, struct err *e)
{
	static const struct conn_ops ops = {.size = sizeof(struct http),
					    .opened = on_opened,
					    .proceed = on_proceed,
					    .closed = on_closed,
					    .patient = is_patient};

	if (!api->conns) {
		api->waiting_end = &api->waiting;
		if (conns_open(&api->conns, &ops, api, api->pki.server_cert.p,
			       api->pki.server_key.p, api->pki.ca_cert.p, e))
			return e->code;
		proc_watch_fd(api->p, conns_fd(api->conns), EPOLLIN, on_ready, api);
	}
	api->run = true;
	return conns_listen(api->conns, fd, plain, e);
}

void http_turn(struct api *api, int64_t now_ns)
{
	if (!api->run && !conns_waiting(api->conns) && !(api->due_ns && now_ns >= api->due_ns))
		return;
	api->run = false;
	api->due_ns = conns_turn(api->conns, now_ns);
	if (api->piece.cap > PIECE_KEPT)
		buf_free(&api->piece);
}

int64_t http_due(const struct api *api, int64_t now_ns)
{
	return conns_waiting(api->conns) ? now_ns : api->due_ns;
}

/* The kernel hands new connections to any of the processes on the port, and
 * resets those that wait for one that goes: take all that wait, close the door
 * at once, and serve whoever is in. */
void http_drain(struct api *api)
{
	int64_t began = clock_mono_ns(), now = began;

	api->draining = true;
	conns_close_doors(api->conns);
	conns_each(api->conns, say_drain);
	while (now - began < DRAIN_LEAST_NS ||
	       (api->open > api->watches && now - began < DRAIN_MOST_NS)) {
		api->run = true;
		proc_turn(api->p, 0);
		usleep(1000);
		now = clock_mono_ns();
	}
}

void http_stop(struct api *api)
{
	conns_close(api->conns);
}
