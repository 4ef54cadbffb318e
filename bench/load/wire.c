/* wire.c - sockets and TLS, and waiting for them. */
#include "bench/load/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/load/client.h"
#include "bench/load/load.h"
#include "bench/load/target.h"

struct wire {
	struct client *cl;
	const struct wire_ops *ops;
	void *arg;
	gnutls_session_t tls;
	int fd;
	bool broken;
	bool wants_out; /* epoll tells us when it can be written */
	struct buf out;
	size_t sent;
};

/* --- Connections ------------------------------------------------------------------- */

static int dial(struct client *cl)
{
	int fd = socket(cl->address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 10};
	int one = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, cl->address->ai_addr, cl->address->ai_addrlen) == 0)
		return fd;
	close(fd);
	return -1;
}

/* GnuTLS wants bytes: out of what one recv() brought for several records. */
static ssize_t pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct wire *w = arg;
	struct client *cl = w->cl;

	if (!cl->raw_n) {
		gnutls_transport_set_errno(w->tls, EAGAIN);
		return -1;
	}
	n = n < cl->raw_n ? n : cl->raw_n;
	memcpy(p, cl->raw, n);
	cl->raw += n;
	cl->raw_n -= n;
	return (ssize_t)n;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct wire *w = arg;
	ssize_t sent = send(w->fd, p, n, MSG_NOSIGNAL);

	if (sent < 0)
		gnutls_transport_set_errno(w->tls, errno);
	return sent;
}

static void pull_from_memory(struct wire *w)
{
	gnutls_transport_set_ptr(w->tls, w);
	gnutls_transport_set_pull_function(w->tls, pull);
	gnutls_transport_set_push_function(w->tls, push);
}

static int handshake(struct wire *w)
{
	gnutls_datum_t alpn = {(unsigned char *)w->ops->alpn,
			       w->ops->alpn ? (unsigned)strlen(w->ops->alpn) : 0};
	int rc;

	if (gnutls_init(&w->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL))
		return -1;
	gnutls_set_default_priority(w->tls);
	gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, w->cl->target->credentials);
	gnutls_transport_set_int(w->tls, w->fd);
	if (w->ops->alpn)
		gnutls_alpn_set_protocols(w->tls, &alpn, 1, GNUTLS_ALPN_MANDATORY);
	do
		rc = gnutls_handshake(w->tls);
	while (rc == GNUTLS_E_INTERRUPTED);
	pull_from_memory(w);
	return rc;
}

struct wire *wire_open(struct client *cl, const struct wire_ops *ops, void *arg, const char **why)
{
	struct wire *w = calloc(1, sizeof(*w));
	struct epoll_event ev = {.events = EPOLLIN};
	int rc;

	if (!w)
		weft_fatal("no memory");
	*w = (struct wire){.cl = cl, .ops = ops, .arg = arg, .fd = dial(cl)};
	rc = w->fd < 0 ? 0 : handshake(w);
	if (why)
		*why = rc < 0 ? gnutls_strerror(rc) : strerror(errno);
	if (w->fd < 0 || rc < 0) {
		wire_close(w);
		return NULL;
	}
	fcntl(w->fd, F_SETFL, O_NONBLOCK);
	ev.data.ptr = w;
	epoll_ctl(cl->epoll, EPOLL_CTL_ADD, w->fd, &ev);
	return w;
}

void wire_close(struct wire *w)
{
	if (!w)
		return;
	if (w->tls)
		gnutls_deinit(w->tls);
	if (w->fd >= 0)
		close(w->fd);
	buf_free(&w->out);
	free(w);
}

static void broke(struct wire *w)
{
	if (w->broken)
		return;
	w->broken = true;
	epoll_ctl(w->cl->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	w->ops->broke(w->arg);
}

/* --- Sending ------------------------------------------------------------------------ */

static void want_out(struct wire *w, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0u), .data.ptr = w};

	if (w->wants_out == want)
		return;
	w->wants_out = want;
	epoll_ctl(w->cl->epoll, EPOLL_CTL_MOD, w->fd, &ev);
}

/* Write what is left; false: the connection is broken. */
static bool send_more(struct wire *w)
{
	while (w->sent < w->out.n) {
		ssize_t n = gnutls_record_send(w->tls, w->out.p + w->sent, w->out.n - w->sent);

		if (n == GNUTLS_E_INTERRUPTED)
			continue;
		if (n == GNUTLS_E_AGAIN) {
			want_out(w, true);
			return true;
		}
		if (n < 0)
			return false;
		w->sent += (size_t)n;
	}
	want_out(w, false);
	return true;
}

struct buf *wire_out(struct wire *w)
{
	if (wire_sent(w))
		w->out.n = w->sent = 0;
	return &w->out;
}

void wire_send(struct wire *w)
{
	w->cl->expecting = true;
	if (!w->broken && !send_more(w))
		shutdown(w->fd, SHUT_RDWR); /* it is told by client_turn() */
}

bool wire_sent(const struct wire *w)
{
	return w->sent == w->out.n;
}

/* --- Receiving ---------------------------------------------------------------------- */

/* Open the records that came.  GnuTLS also asks to be called again behind a message
 * of its own, a ticket for instance. */
static void decrypt(struct wire *w)
{
	ssize_t n = 0;

	while (!w->broken && (n != GNUTLS_E_AGAIN || w->cl->raw_n)) {
		n = gnutls_record_recv(w->tls, w->ops->room(w->arg), WIRE_ROOM);
		if (n > 0) {
			w->cl->received += (uint64_t)n;
			w->ops->received(w->arg, (size_t)n);
		} else if (n == 0 || gnutls_error_is_fatal((int)n)) {
			broke(w);
		}
	}
}

/* Read what is there; epoll tells of what did not fit. */
static void receive(struct wire *w)
{
	struct client *cl = w->cl;
	ssize_t n;

	weft_assert(!cl->raw_n); /* no call from within an answer */
	n = recv(w->fd, cl->bytes, sizeof(cl->bytes), 0);
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			broke(w);
		return;
	}
	cl->raw = cl->bytes;
	cl->raw_n = (size_t)n;
	decrypt(w);
	cl->raw_n = 0;
}

#define AWAKE_NS 1000000 /* a shorter wait is spent awake */

/* Wait for up to wait_ns.  To wake a core that sleeps takes longer, on a virtual
 * machine, than to answer a request, and that is not what is to be measured: so who
 * has just asked, or did not wait for long the last time, waits awake, giving way to
 * all others.  Long waits are slept through: the core belongs to who works. */
static int wait_for_events(struct client *cl, struct epoll_event *ev, int n, int64_t wait_ns)
{
	int64_t from = now_ns(), awake = cl->expecting ? AWAKE_NS : 0, spent = 0;
	int got;

	while (!(got = epoll_wait(cl->epoll, ev, n, 0)) && spent < wait_ns && spent < awake) {
		sched_yield();
		spent = now_ns() - from;
	}
	if (!got && spent < wait_ns) {
		struct timespec rest = {.tv_sec = (wait_ns - spent) / 1000000000,
					.tv_nsec = (wait_ns - spent) % 1000000000};

		got = epoll_pwait2(cl->epoll, ev, n, &rest, NULL);
	}
	cl->expecting = got && now_ns() - from < AWAKE_NS;
	return got;
}

void wires_turn(struct client *cl, int64_t wait_ns)
{
	struct epoll_event ev[256];
	int n = wait_for_events(cl, ev, countof(ev), wait_ns);

	for (int i = 0; i < n; i++) {
		struct wire *w = ev[i].data.ptr;

		if ((ev[i].events & EPOLLOUT) && !send_more(w))
			broke(w);
		else if (ev[i].events & ~(uint32_t)EPOLLOUT)
			receive(w);
	}
}
