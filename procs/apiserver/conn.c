/*
 * conn.c - one connection: bytes in, bytes out, open and close.
 *
 * GnuTLS reads from and writes to memory here, never the socket: its records
 * come from what one recv() brought for all of them, and go into what one send()
 * takes away.  Both pieces belong to all connections together, as only one is
 * served at a time.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "procs/apiserver/conns.h"

#define RECORD_MAX  16384      /* bytes of one TLS record */
#define BUFFER_KEPT CONN_PIECE /* a larger one is not used again */

/* --- Out ---------------------------------------------------------------------------- */

/* Nothing goes in either direction any more. */
static void fail(struct conn *c)
{
	c->broken = c->end = true;
}

/* How much of it the socket took. */
static size_t send_some(struct conn *c, const char *p, size_t n)
{
	size_t sent = 0;

	while (sent < n && !c->broken) {
		ssize_t r = send(c->fd, p + sent, n - sent, MSG_NOSIGNAL);

		if (r >= 0)
			sent += (size_t)r;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			break;
		else if (errno != EINTR)
			fail(c);
	}
	if (sent)
		conns_moved(c);
	return sent;
}

static void send_or_keep(struct conn *c, const char *p, size_t n)
{
	size_t sent = c->out.n ? 0 : send_some(c, p, n);

	if (sent < n && !c->broken)
		buf_add(&c->out, p + sent, n - sent);
}

bool conn_drained(struct conn *c)
{
	if (!c->out.n)
		return true;
	c->out_at += send_some(c, c->out.p + c->out_at, c->out.n - c->out_at);
	if (c->out_at < c->out.n && !c->broken)
		return false;
	buf_free(&c->out);
	c->out_at = 0;
	return true;
}

/* GnuTLS has a record to send. */
static ssize_t tls_push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct conn *c = arg;

	buf_add(&c->all->wire, p, n);
	return (ssize_t)n;
}

static void send_wire(struct conn *c)
{
	struct buf *wire = &c->all->wire;

	if (wire->n)
		send_or_keep(c, wire->p, wire->n);
	wire->n = 0;
}

void conn_write(struct conn *c, const void *p, size_t n)
{
	if (c->broken || c->fd < 0)
		return;
	if (!c->tls) {
		send_or_keep(c, p, n);
		return;
	}
	for (size_t at = 0; at < n;) {
		size_t part = n - at < RECORD_MAX ? n - at : RECORD_MAX;
		ssize_t r = gnutls_record_send(c->tls, (const char *)p + at, part);

		if (r <= 0) {
			fail(c);
			break;
		}
		at += (size_t)r;
	}
	send_wire(c);
}

/* --- In ----------------------------------------------------------------------------- */

/* GnuTLS wants bytes of the wire. */
static ssize_t tls_pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct conn *c = arg;
	struct conns *all = c->all;

	if (!all->raw_n) {
		gnutls_transport_set_errno(c->tls, EAGAIN);
		return -1;
	}
	if (n > all->raw_n)
		n = all->raw_n;
	memcpy(p, all->raw, n);
	all->raw += n;
	all->raw_n -= n;
	return (ssize_t)n;
}

static bool harmless(ssize_t code)
{
	return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED ||
	       code == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

/* To be read from again once an edge says so; the end is read even then. */
static void no_more(struct conn *c)
{
	c->readable = c->hup;
}

/* What Go says to those who forget the s of https. */
static void greet_plain_client(struct conn *c)
{
	static const char text[] = "HTTP/1.0 400 Bad Request\r\n\r\n"
				   "Client sent an HTTP request to an HTTPS server.\n";

	send_or_keep(c, text, sizeof(text) - 1);
	conn_finish(c);
}

/* False: it is not done, or failed. */
static bool shake_hands(struct conn *c)
{
	int code;

	do
		code = gnutls_handshake(c->tls);
	while (code < 0 && code != GNUTLS_E_AGAIN && harmless(code));
	if (code < 0 && !harmless(code))
		gnutls_alert_send_appropriate(c->tls, code);
	send_wire(c);
	if (code == GNUTLS_E_AGAIN)
		return false;
	c->handshaking = false;
	if (code)
		fail(c);
	return !code;
}

/* GnuTLS also asks to be called again behind a message of its own, such as a change
 * of keys. */
static void decrypt(struct conn *c)
{
	ssize_t r;

	for (;;) {
		buf_reserve(&c->in, RECORD_MAX);
		r = gnutls_record_recv(c->tls, c->in.p + c->in.n, RECORD_MAX);
		if (r > 0)
			c->in.n += (size_t)r;
		else if (!harmless(r) || (r == GNUTLS_E_AGAIN && !c->all->raw_n))
			break;
	}
	if (r == 0)
		c->end = true;
	else if (!harmless(r))
		fail(c);
	if (c->all->wire.n) /* an alert, a key update */
		send_wire(c);
}

static void take_raw(struct conn *c, size_t n)
{
	struct conns *all = c->all;

	if (!c->tls) {
		buf_add(&c->in, all->pool, n);
		return;
	}
	if (!c->greeted && *all->pool >= 'A' && *all->pool <= 'Z') {
		greet_plain_client(c);
		return;
	}
	c->greeted = true;
	all->raw = all->pool;
	all->raw_n = n;
	if (!c->handshaking || shake_hands(c))
		decrypt(c);
	all->raw_n = 0;
}

/* The input is used up: an idle connection needs no buffer. */
static void give_back(struct conn *c)
{
	struct conns *all = c->all;

	c->in.n = c->in_at = 0;
	if (all->spare.cap || c->in.cap > BUFFER_KEPT)
		buf_free(&c->in);
	else
		all->spare = c->in;
	c->in = (struct buf){0};
}

bool conn_read(struct conn *c)
{
	struct conns *all = c->all;
	size_t before = c->in.n;
	ssize_t n;

	if (!c->readable || c->end || c->fd < 0)
		return false;
	if (!c->in.cap) {
		c->in = all->spare;
		all->spare = (struct buf){0};
	}
	do {
		n = recv(c->fd, all->pool, sizeof(all->pool), 0);
		if (n <= 0)
			break;
		conns_moved(c);
		take_raw(c, (size_t)n);
	} while (c->in.n == before && n == sizeof(all->pool) && !c->end && !c->lingering);
	if (n == 0)
		c->end = true;
	else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		fail(c);
	else if (n < 0)
		c->readable = errno == EINTR;
	else if (n < (ssize_t)sizeof(all->pool))
		no_more(c);
	if (!c->in.n)
		give_back(c);
	return c->in.n > before || c->end;
}

void conn_took(struct conn *c, size_t n)
{
	c->in_at += n;
	if (c->in_at == c->in.n)
		give_back(c);
}

/* --- Open and close ----------------------------------------------------------------- */

void conn_again(struct conn *c)
{
	struct conns *all = c->all;

	if (c->again || c->fd < 0)
		return;
	c->again = true;
	c->again_next = NULL;
	*all->again_end = c;
	all->again_end = &c->again_next;
}

void conn_drop(struct conn *c)
{
	struct conns *all = c->all;

	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	all->n--;
	conns_unlink(c);
	all->ops->closed(c);
	c->newer = all->dead;
	all->dead = c;
}

void conn_finish(struct conn *c)
{
	if (c->fd < 0 || c->lingering)
		return;
	if (c->tls && !c->handshaking && !c->broken) {
		gnutls_bye(c->tls, GNUTLS_SHUT_WR);
		send_wire(c);
	}
	c->lingering = true;
	conn_again(c);
}

/* Answered: send what is left, and read until the client closes, too. */
static void linger(struct conn *c)
{
	if (!conn_drained(c))
		return;
	if (!c->broken)
		shutdown(c->fd, SHUT_WR);
	while (!c->end && c->readable) {
		ssize_t n = recv(c->fd, c->all->pool, sizeof(c->all->pool), 0);

		c->end = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
		c->readable = n > 0;
	}
	if (c->end)
		conn_drop(c);
}

void conn_proceed(struct conn *c)
{
	if (c->fd < 0)
		return;
	if (c->handshaking && !c->lingering) {
		conn_read(c);
		if (c->end)
			conn_drop(c);
		if (c->fd < 0 || c->handshaking)
			return;
	}
	if (c->lingering)
		linger(c);
	else
		c->all->ops->proceed(c);
}

/* In the order of our liking. */
static const gnutls_datum_t spoken[] = {{(unsigned char *)"h2", 2},
					{(unsigned char *)"http/1.1", 8}};

bool conn_speaks(const struct conn *c, const char *protocol)
{
	gnutls_datum_t chosen;

	return c->tls && !gnutls_alpn_get_selected_protocol(c->tls, &chosen) &&
	       chosen.size == strlen(protocol) && !memcmp(chosen.data, protocol, chosen.size);
}

static int start_tls(struct conn *c)
{
	struct conns *all = c->all;

	if (gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL))
		return WEFT_ENOMEM;
	if (gnutls_priority_set(c->tls, all->priority) ||
	    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, all->cred) ||
	    gnutls_alpn_set_protocols(c->tls, spoken, countof(spoken),
				      GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE))
		return WEFT_ESYS;
	gnutls_certificate_server_set_request(c->tls, GNUTLS_CERT_REQUEST);
	gnutls_transport_set_ptr(c->tls, c);
	gnutls_transport_set_pull_function(c->tls, tls_pull);
	gnutls_transport_set_push_function(c->tls, tls_push);
	c->handshaking = true;
	return WEFT_OK;
}

void conn_free(struct conn *c)
{
	if (c->tls)
		gnutls_deinit(c->tls);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

void conn_new(struct conns *all, int fd, bool plain)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	struct conn *c = calloc(1, all->ops->size);
	int one = 1;

	weft_assert(c);
	*c = (struct conn){.all = all, .fd = fd, .moved_ns = all->now_ns};
	ev.data.ptr = c;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if ((!plain && start_tls(c)) || epoll_ctl(all->epoll, EPOLL_CTL_ADD, fd, &ev)) {
		close(fd);
		conn_free(c);
		return;
	}
	all->n++;
	conns_link(c);
	all->ops->opened(c, plain);
}
