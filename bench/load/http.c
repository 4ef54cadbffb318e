/* http.c - an HTTP/1.1 client for load. */
#include "bench/load/http.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/load/load.h"
#include "bench/load/target.h"

#define RECORD (16 << 10)  /* TLS: no record has more */
#define WIRE   (256 << 10) /* bytes that are received at once */

/* Where in an answer the next byte stands. */
enum place {
	PLACE_HEAD,
	PLACE_BODY,
	PLACE_CHUNK_SIZE,
	PLACE_CHUNK,
	PLACE_CHUNK_END,
	PLACE_TRAILER
};

struct conn {
	struct client *cl;
	gnutls_session_t tls;
	int fd;
	bool broken, open; /* open: a request is */
	bool wants_out;	   /* epoll tells us when it can be written */
	struct buf out;
	size_t sent;
	struct buf in; /* what has come and is not dealt with: in.p[done..] */
	size_t done;
	struct buf body; /* of a chunked answer that is no stream */
	enum place place;
	bool chunked, close; /* close: the server ends the connection after this answer */
	uint64_t left;	     /* bytes of the body, or of this chunk */
	struct answer answer;
	data_cb data;
	answer_cb cb;
	void *arg;
};

struct client {
	const struct target *target;
	struct addrinfo *address;
	int epoll;
	uint64_t received;
	/* What came through the socket and GnuTLS has not taken yet: wire[0..], of the
	 * connection that is being received from. */
	const char *raw;
	size_t raw_n;
	char wire[WIRE];
};

struct client *client_new(const struct target *t)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct client *cl = calloc(1, sizeof(*cl));

	if (!cl)
		weft_fatal("no memory");
	cl->target = t;
	cl->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (cl->epoll < 0 || getaddrinfo(t->host, t->port, &hints, &cl->address))
		weft_fatal("cannot resolve %s", t->host);
	return cl;
}

void client_free(struct client *cl)
{
	freeaddrinfo(cl->address);
	close(cl->epoll);
	free(cl);
}

uint64_t client_received(const struct client *cl)
{
	return cl->received;
}

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
	struct conn *c = arg;
	struct client *cl = c->cl;

	if (!cl->raw_n) {
		gnutls_transport_set_errno(c->tls, EAGAIN);
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
	struct conn *c = arg;
	ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);

	if (sent < 0)
		gnutls_transport_set_errno(c->tls, errno);
	return sent;
}

static void pull_from_memory(struct conn *c)
{
	gnutls_transport_set_ptr(c->tls, c);
	gnutls_transport_set_pull_function(c->tls, pull);
	gnutls_transport_set_push_function(c->tls, push);
}

static int handshake(struct conn *c)
{
	int rc;

	if (gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL))
		return -1;
	gnutls_set_default_priority(c->tls);
	gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->cl->target->credentials);
	gnutls_transport_set_int(c->tls, c->fd);
	do
		rc = gnutls_handshake(c->tls);
	while (rc == GNUTLS_E_INTERRUPTED);
	pull_from_memory(c);
	return rc;
}

struct conn *conn_open(struct client *cl, const char **why)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN};
	int rc;

	if (!c)
		weft_fatal("no memory");
	c->cl = cl;
	c->fd = dial(cl);
	rc = c->fd < 0 ? 0 : handshake(c);
	if (why)
		*why = rc < 0 ? gnutls_strerror(rc) : strerror(errno);
	if (c->fd < 0 || rc < 0) {
		conn_close(c);
		return NULL;
	}
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	ev.data.ptr = c;
	epoll_ctl(cl->epoll, EPOLL_CTL_ADD, c->fd, &ev);
	return c;
}

void conn_close(struct conn *c)
{
	if (!c)
		return;
	if (c->tls)
		gnutls_deinit(c->tls);
	if (c->fd >= 0)
		close(c->fd);
	buf_free(&c->out);
	buf_free(&c->in);
	buf_free(&c->body);
	free(c);
}

bool conn_broken(const struct conn *c)
{
	return c->broken;
}

/* The request, if one is open, is answered with `answer`. */
static void finish(struct conn *c)
{
	if (!c->open)
		return;
	c->open = false;
	c->place = PLACE_HEAD;
	c->broken |= c->close;
	c->cb(c->arg, c, &c->answer);
}

static void broke(struct conn *c)
{
	c->broken = true;
	epoll_ctl(c->cl->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	c->answer = (struct answer){0};
	finish(c);
}

/* --- Sending ------------------------------------------------------------------------ */

static void want_out(struct conn *c, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0u), .data.ptr = c};

	if (c->wants_out == want)
		return;
	c->wants_out = want;
	epoll_ctl(c->cl->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Write what is left; false: the connection is broken. */
static bool send_more(struct conn *c)
{
	while (c->sent < c->out.n) {
		ssize_t n = gnutls_record_send(c->tls, c->out.p + c->sent, c->out.n - c->sent);

		if (n == GNUTLS_E_INTERRUPTED)
			continue;
		if (n == GNUTLS_E_AGAIN) {
			want_out(c, true);
			return true;
		}
		if (n < 0)
			return false;
		c->sent += (size_t)n;
	}
	want_out(c, false);
	return true;
}

void http_send(struct conn *c, const char *method, struct str path, const char *kind,
	       struct str body, data_cb data, answer_cb cb, void *arg)
{
	const struct target *t = c->cl->target;

	weft_assert(!c->open && !c->broken);
	c->out.n = c->sent = 0;
	buf_printf(&c->out,
		   "%s " STR_FMT " HTTP/1.1\r\nHost: %s:%s\r\nAccept: application/json\r\n%s",
		   method, STR_ARG(path), t->host, t->port, t->authorization);
	if (kind)
		buf_printf(&c->out, "Content-Type: %s\r\nContent-Length: %u\r\n", kind, body.n);
	buf_puts(&c->out, "\r\n");
	buf_addstr(&c->out, body);
	c->open = true;
	c->data = data;
	c->cb = cb;
	c->arg = arg;
	if (!send_more(c))
		shutdown(c->fd, SHUT_RDWR); /* it is told by client_turn() */
}

/* --- Receiving ---------------------------------------------------------------------- */

static struct str rest(const struct conn *c)
{
	return (struct str){c->in.p + c->done, (uint32_t)(c->in.n - c->done)};
}

/* The value of header `name` (lower case, with its colon); empty if absent. */
static struct str header(struct str head, const char *name)
{
	const char *end = head.p + head.n, *line = head.p;
	size_t n = strlen(name);

	while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
		const char *stop = memchr(line, '\r', (size_t)(end - line));

		if (!stop || (size_t)(stop - line) < n || strncasecmp(line, name, n) != 0)
			continue;
		for (line += n; line < stop && *line == ' ';)
			line++;
		return (struct str){line, (uint32_t)(stop - line)};
	}
	return (struct str){0};
}

/* Read an answer's head; false: it is not whole yet. */
static bool take_head(struct conn *c)
{
	struct str in = rest(c), head, length;
	const char *end = memmem(in.p, in.n, "\r\n\r\n", 4);

	if (!end)
		return false;
	head = (struct str){in.p, (uint32_t)(end - in.p) + 2};
	c->answer = (struct answer){.status = head.n > 12 ? atoi(head.p + 9) : 0,
				    .retry_after = header(head, "retry-after:")};
	length = header(head, "content-length:");
	c->chunked = header(head, "transfer-encoding:").n == 7;
	c->close = str_eq(header(head, "connection:"), STR("close"));
	c->left = length.n ? strtoull(length.p, NULL, 10) : 0;
	c->place = c->chunked ? PLACE_CHUNK_SIZE : PLACE_BODY;
	c->body.n = 0;
	c->done += head.n + 2;
	return true;
}

static bool is_stream(const struct conn *c)
{
	return c->data && c->answer.status / 100 == 2;
}

/* Deal with up to `left` bytes of the body; a stream's go on at once. */
static void take_bytes(struct conn *c)
{
	struct str in = rest(c);

	in.n = in.n < c->left ? in.n : (uint32_t)c->left;
	if (is_stream(c) && in.n)
		c->data(c->arg, c, in);
	else if (!is_stream(c))
		buf_addstr(&c->body, in);
	c->done += in.n;
	c->left -= in.n;
}

/* A body of known length: not copied, what came of it waits for the rest. */
static bool take_body(struct conn *c)
{
	if (is_stream(c))
		take_bytes(c);
	else if (rest(c).n >= c->left)
		c->answer.body = (struct str){rest(c).p, (uint32_t)c->left};
	else
		return false;
	c->done += c->answer.body.n;
	c->left -= c->answer.body.n;
	if (c->left)
		return false;
	finish(c);
	return true;
}

/* A line that ends with CR LF, taken out; false: it is not whole yet. */
static bool take_line(struct conn *c, struct str *line)
{
	struct str in = rest(c);
	const char *end = memchr(in.p, '\n', in.n);

	if (!end)
		return false;
	*line = (struct str){in.p, (uint32_t)(end - in.p)};
	c->done += line->n + 1;
	return true;
}

static bool take_chunk_size(struct conn *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	c->left = strtoull(line.p, NULL, 16);
	c->place = c->left ? PLACE_CHUNK : PLACE_TRAILER;
	return true;
}

static bool take_chunk(struct conn *c)
{
	take_bytes(c);
	if (!c->left)
		c->place = PLACE_CHUNK_END;
	return !c->left;
}

static bool take_chunk_end(struct conn *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	c->place = PLACE_CHUNK_SIZE;
	return true;
}

static bool take_trailer(struct conn *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	if (line.n <= 1) {
		c->answer.body = buf_str(&c->body);
		finish(c);
	}
	return true;
}

/* Go on with the answer as far as what has come allows. */
static void take(struct conn *c)
{
	static bool (*const next[])(struct conn *) = {
		[PLACE_HEAD] = take_head,
		[PLACE_BODY] = take_body,
		[PLACE_CHUNK_SIZE] = take_chunk_size,
		[PLACE_CHUNK] = take_chunk,
		[PLACE_CHUNK_END] = take_chunk_end,
		[PLACE_TRAILER] = take_trailer,
	};

	while (c->open && next[c->place](c))
		;
	if (c->done == c->in.n)
		c->in.n = c->done = 0;
}

/* What has been dealt with goes, once it is most of what is kept. */
static void make_room(struct conn *c)
{
	if (c->done && c->in.n - c->done < c->done) {
		memmove(c->in.p, c->in.p + c->done, c->in.n - c->done);
		c->in.n -= c->done;
		c->done = 0;
	}
	buf_reserve(&c->in, RECORD);
}

/* Open the records that came. */
static void decrypt(struct conn *c)
{
	ssize_t n = 0;

	while (!c->broken && n != GNUTLS_E_AGAIN) {
		make_room(c);
		n = gnutls_record_recv(c->tls, c->in.p + c->in.n, RECORD);
		if (n > 0) {
			c->in.n += (size_t)n;
			c->cl->received += (uint64_t)n;
			take(c);
		} else if (n == 0 || gnutls_error_is_fatal((int)n)) {
			broke(c);
		}
	}
}

/* Read what is there; epoll tells of what did not fit. */
static void receive(struct conn *c)
{
	struct client *cl = c->cl;
	ssize_t n;

	weft_assert(!cl->raw_n); /* no call from within an answer */
	n = recv(c->fd, cl->wire, sizeof(cl->wire), 0);
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			broke(c);
		return;
	}
	cl->raw = cl->wire;
	cl->raw_n = (size_t)n;
	decrypt(c);
	cl->raw_n = 0;
}

/* Wait awake, giving way to all others: on a virtual machine it takes longer to
 * wake a core that sleeps than to answer a request, and a thread that is woken may
 * have to wait for its waker's core.  Neither is what is to be measured. */
static int wait_awake(struct client *cl, struct epoll_event *ev, int n, int64_t wait_ns)
{
	int64_t until = now_ns() + wait_ns;
	int got;

	while (!(got = epoll_wait(cl->epoll, ev, n, 0)) && now_ns() < until)
		sched_yield();
	return got;
}

void client_turn(struct client *cl, int64_t wait_ns)
{
	struct epoll_event ev[256];
	int n = wait_awake(cl, ev, countof(ev), wait_ns);

	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if ((ev[i].events & EPOLLOUT) && !send_more(c))
			broke(c);
		else if (ev[i].events & ~(uint32_t)EPOLLOUT)
			receive(c);
	}
}

/* --- One call ----------------------------------------------------------------------- */

struct call {
	bool answered;
	struct answer answer;
	struct buf body;
};

static void called(void *arg, struct conn *c, const struct answer *a)
{
	struct call *call = arg;

	call->answered = true;
	call->answer = *a;
	call->body.n = 0;
	buf_addstr(&call->body, a->body);
	call->answer.body = buf_str(&call->body);
}

struct answer http_call(struct client *cl, struct conn *c, const char *method, struct str path,
			struct str body)
{
	static struct call call;
	bool patch = strcmp(method, "PATCH") == 0;

	call.answered = false;
	http_send(c, method, path,
		  !body.n ? NULL
		  : patch ? "application/merge-patch+json"
			  : "application/json",
		  body, NULL, called, &call);
	while (!call.answered)
		client_turn(cl, 100000000);
	return call.answer;
}
