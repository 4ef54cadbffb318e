/*
 * http.c - HTTP on a connection, and the life of a request.
 *
 * A connection is in one phase, and each phase has one step, which does what can
 * be done now: proceed() takes steps until one has to wait (for bytes, for the
 * socket, for the store).
 *
 *	HEAD -> BODY -> HANDLING -> SENDING -> HEAD ...
 *	                   |  \------> STREAMING --^
 *	                   \-> WAITING (for the store) -> SENDING or STREAMING
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include "procs/apiserver/conn.h"
#include "procs/apiserver/http.h"
#include "procs/apiserver/token.h"
#include "weft/fault.h"

#define BODY_DRAINED_MAX (64u << 20)	/* bytes of a body too big that are still read */
#define REQUESTS_KEPT	 256		/* free ones, with their zone */
#define DRAIN_LEAST_NS	 (30 * 1000000) /* for those whose request is on its way */
#define DRAIN_MOST_NS	 (1000 * 1000000)
#define BUFFER_KEPT	 (256u << 10) /* larger buffers are not kept */
#define RUN_MAX		 16	      /* requests or chunks of one connection in a row */
#define RECORD		 16384	      /* head and body go as one up to this */

enum phase {
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_HANDLING,
	PHASE_WAITING,
	PHASE_SENDING,
	PHASE_STREAMING
};

struct http {
	struct conn c; /* first */
	struct peer peer;
	enum phase phase;
	struct request *q; /* from BODY on */
	size_t seen;	   /* HEAD: how far its end was looked for */
	uint64_t left;	   /* BODY: bytes that are still to come */
	struct chunks chunks;
	uint64_t got; /* BODY: bytes that came */
	bool last;    /* no request after this one */
	bool idle;    /* STREAMING: nothing to say until stream_wake() */
	unsigned run;
};

/* --- Requests ----------------------------------------------------------------------- */

static struct request *request_new(struct api *api)
{
	struct request *q = api->free;

	if (q) {
		zone *z = q->z;

		api->free = q->next;
		api->nfree--;
		*q = (struct request){.z = z, .body = q->body, .out = q->out};
	} else {
		q = calloc(1, sizeof(*q));
		weft_assert(q);
		q->z = zone_new();
	}
	q->api = api;
	api->open++;
	q->body.n = q->out.n = 0;
	q->began_ns = clock_mono_ns();
	return q;
}

/* "/api/v1/pods?limit=3": text that lives as long as q. */
static void set_target(struct request *q, struct str text)
{
	const char *mark = memchr(text.p, '?', text.n);

	q->path = text;
	if (mark)
		q->path.n = (uint32_t)(mark - text.p);
	q->path = url_decode(q->z, q->path, false);
	if (mark)
		query_parse(q->z, (struct str){mark + 1, text.n - (uint32_t)(mark + 1 - text.p)},
			    &q->query);
}

static void buf_trim(struct buf *b)
{
	if (b->cap > BUFFER_KEPT)
		buf_free(b);
}

static void request_free(struct request *q)
{
	struct api *api = q->api;

	api->open--;
	token_drop(q->token);
	buf_trim(&q->body);
	buf_trim(&q->out);
	if (api->nfree >= REQUESTS_KEPT) {
		buf_free(&q->body);
		buf_free(&q->out);
		zone_free(q->z);
		free(q);
		return;
	}
	zone_reset(q->z);
	q->next = api->free;
	api->free = q;
	api->nfree++;
}

struct request *request_internal(struct api *api, const char *path)
{
	static const struct user self = {.name = STR("system:apiserver"),
					 .groups = {STR("system:masters")},
					 .ngroups = 1,
					 .masters = true};
	struct request *q = request_new(api);

	q->path = str_of(path);
	q->method = METHOD_POST;
	q->user = &self;
	return q;
}

struct str request_header(const struct request *q, const char *name)
{
	struct str v = head_get(&q->head, name);

	return v.p ? v : (struct str){"", 0};
}

gnutls_session_t request_tls(const struct request *q)
{
	return q->http ? q->http->c.tls : NULL;
}

static enum method method_of(struct str name)
{
	static const char *const names[] = {
		[METHOD_GET] = "GET",	  [METHOD_POST] = "POST",     [METHOD_PUT] = "PUT",
		[METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE",
	};

	for (size_t i = 0; i < countof(names); i++)
		if (str_eq(name, str_of(names[i])))
			return (enum method)i;
	return METHOD_OTHER;
}

/* --- Heads of answers --------------------------------------------------------------- */

static const char *reason_of(int code)
{
	static const struct {
		int code;
		const char *reason;
	} reasons[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{304, "Not Modified"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{409, "Conflict"},
		{410, "Gone"},
		{413, "Request Entity Too Large"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{422, "Unprocessable Entity"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < countof(reasons); i++)
		if (reasons[i].code == code)
			return reasons[i].reason;
	return "";
}

/* "Mon, 02 Jan 2006 15:04:05 GMT", made once a second. */
static const char *date_now(void)
{
	static char text[32];
	static uint32_t made_s;
	uint32_t now_s = clock_wall_s();
	time_t t = now_s;
	struct tm tm;

	if (now_s != made_s) {
		made_s = now_s;
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
	}
	return text;
}

static void add_number(struct buf *out, size_t n)
{
	char text[20], *at = text + sizeof(text);

	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(out, at, (size_t)(text + sizeof(text) - at));
}

static void add_line(struct buf *out, const char *name, struct str value)
{
	buf_puts(out, name);
	buf_add(out, ": ", 2);
	buf_addstr(out, value);
	buf_add(out, "\r\n", 2);
}

/* The head of q's answer; a body that is streamed has no length. */
static void add_head(struct http *h, struct request *q, struct buf *out)
{
	buf_puts(out, q->head.http10 ? "HTTP/1.0 " : "HTTP/1.1 ");
	add_number(out, (size_t)q->code);
	buf_putc(out, ' ');
	buf_puts(out, reason_of(q->code));
	buf_add(out, "\r\n", 2);
	add_line(out, "Date", str_of(date_now()));
	add_line(out, "Content-Type",
		 str_of(q->content_type ? q->content_type : "application/json"));
	add_line(out, "Cache-Control",
		 q->cacheable ? STR("public, immutable") : STR("no-cache, private"));
	for (uint32_t i = 0; i < q->nheaders; i++)
		add_line(out, q->headers[i].name, q->headers[i].value);
	if (h->last && !q->head.http10)
		add_line(out, "Connection", STR("close"));
	if (!q->stream) {
		buf_puts(out, "Content-Length: ");
		add_number(out, q->out.n);
		buf_add(out, "\r\n", 2);
	} else if (!q->head.http10) {
		add_line(out, "Transfer-Encoding", STR("chunked"));
	}
	buf_add(out, "\r\n", 2);
}

static void count_answer(struct request *q)
{
	struct api *api = q->api;
	unsigned class = (unsigned)q->code / 100;

	api->requests[q->method][class < 6 ? class : 0]++;
	atomic_fetch_add_explicit(&proc_counters(api->p)->http_requests, 1, memory_order_relaxed);
}

/* --- Chunks ------------------------------------------------------------------------- */

/* A chunk is made in place behind room for its size: eight digits, zeros in
 * front, and the end of the line. */

void chunk_begin(struct buf *out)
{
	out->n = 0;
	buf_add(out, "00000000\r\n", CHUNK_ROOM);
}

void chunk_end(struct buf *out)
{
	char digits[9];

	snprintf(digits, sizeof(digits), "%08x", (uint32_t)(out->n - CHUNK_ROOM));
	memcpy(out->p, digits, 8);
	buf_add(out, "\r\n", 2);
}

static void send_chunk(struct http *h, const struct buf *chunk)
{
	fault_at(api_stream);
	if (h->q->head.http10) /* all that comes until the end */
		conn_write(&h->c, chunk->p + CHUNK_ROOM, chunk->n - CHUNK_ROOM - 2);
	else
		conn_write(&h->c, chunk->p, chunk->n);
}

/* --- Answers ------------------------------------------------------------------------ */

/* The request has its answer: send the head, with what of the body fits. */
static void start_answer(struct http *h)
{
	struct request *q = h->q;
	struct buf *first = &q->api->piece;
	size_t room;

	q->answered = true;
	h->last |= q->api->draining;
	count_answer(q);
	fault_at(api_answer);
	first->n = 0;
	add_head(h, q, first);
	if (str_eq(q->head.method, STR("HEAD")))
		q->out.n = 0;
	room = first->n < RECORD ? RECORD - first->n : 0;
	q->sent = q->stream ? 0 : q->out.n < room ? q->out.n : room;
	buf_add(first, q->out.p, q->sent);
	conn_write(&h->c, first->p, first->n);
	h->phase = q->stream ? PHASE_STREAMING : PHASE_SENDING;
	h->idle = false;
}

static void stream_close(struct request *q)
{
	if (q->stream && q->stream->close)
		q->stream->close(q, q->stream_arg);
	q->stream = NULL;
}

static bool finish(struct http *h)
{
	conn_finish(&h->c);
	return false;
}

/* The answer is on its way: what next? */
static bool request_done(struct http *h)
{
	struct request *q = h->q;

	h->q = NULL;
	stream_close(q);
	request_free(q);
	h->phase = PHASE_HEAD;
	if (h->last)
		return finish(h);
	if (++h->run < RUN_MAX)
		return true;
	conn_again(&h->c);
	return false;
}

/* What is wrong with HTTP itself is told in plain text, as Go does. */
static bool refuse(struct http *h, int code, const char *reason)
{
	static const char lines[] =
		"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
	struct buf *out = &((struct api *)conns_arg(h->c.all))->piece;
	char status[128];

	snprintf(status, sizeof(status), "%d %s%s%s", code, reason_of(code),
		 *reason && code != 501 ? ": " : "", code == 501 ? "" : reason);
	out->n = 0;
	buf_printf(out, "HTTP/1.1 %s\r\n%s%s", status, lines, code == 501 ? reason : status);
	conn_write(&h->c, out->p, out->n);
	return finish(h);
}

static enum outcome answer_too_big(struct request *q)
{
	struct str why = zone_printf(q->z, "Request entity too large: limit is %u", BODY_MAX);

	return answer_status(q, kube_status(q->z, 413, "RequestEntityTooLarge", why));
}

/* --- Steps: what can be done now; false: wait --------------------------------------- */

/* A body that is not worth reading to its end.  Most that are too big are read
 * and forgotten, as many clients read no answer before they have sent all; one
 * that asks first need not send anything. */
static bool not_worth_reading(const struct request *q)
{
	return q->head.length > BODY_DRAINED_MAX || (q->head.length > BODY_MAX && q->head.expects);
}

/* The rest of the body will not be read: it is too big, or `wrong`. */
static bool give_up_body(struct http *h, const char *wrong)
{
	h->last = true;
	if (wrong)
		answer_bad_request(h->q, str_of(wrong));
	else
		answer_too_big(h->q);
	start_answer(h);
	return true;
}

static bool take_head(struct http *h, size_t n)
{
	struct api *api = conns_arg(h->c.all);
	struct request *q = request_new(api);
	struct str text = conn_in(&h->c);
	struct head_refusal why;
	int ret;

	text.n = (uint32_t)n;
	text = zone_str(q->z, text);
	conn_took(&h->c, n);
	h->seen = 0;
	ret = head_parse(q->z, text, &q->head, &why);
	if (ret) {
		request_free(q);
		return refuse(h, why.code, why.reason);
	}
	q->http = h;
	q->peer = &h->peer;
	q->verb_name = q->head.method;
	q->method = method_of(q->verb_name);
	set_target(q, q->head.target);
	h->q = q;
	h->last = q->head.close;
	h->left = q->head.length > 0 ? (uint64_t)q->head.length : 0;
	h->got = 0;
	h->chunks = (struct chunks){0};
	h->phase = PHASE_BODY;
	if (not_worth_reading(q))
		return give_up_body(h, NULL);
	if (q->head.expects && !conn_in(&h->c).n)
		conn_write(&h->c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return true;
}

static bool step_head(struct http *h)
{
	struct str in = conn_in(&h->c);
	size_t n = head_end(in, &h->seen);

	if (n)
		return take_head(h, n);
	if (in.n >= HEAD_MAX)
		return refuse(h, 431, "");
	if (conn_read(&h->c) && conn_in(&h->c).n > in.n)
		return true;
	return h->c.end ? finish(h) : false;
}

static void keep_body(struct request *q, struct str data)
{
	if (q->too_big || q->body.n + data.n > BODY_MAX) {
		q->too_big = true;
		q->body.n = 0;
		return;
	}
	buf_add(&q->body, data.p, data.n);
}

/* What has come of a body whose length is known; true: all. */
static bool take_counted(struct http *h)
{
	struct str in = conn_in(&h->c);

	if (in.n > h->left)
		in.n = (uint32_t)h->left;
	keep_body(h->q, in);
	h->left -= in.n;
	if (in.n)
		conn_took(&h->c, in.n);
	return !h->left;
}

static enum chunks_state take_chunks(struct http *h)
{
	struct str in = conn_in(&h->c), data;
	uint32_t before = in.n;
	enum chunks_state state;

	while ((state = chunks_take(&h->chunks, &in, &data)) == CHUNKS_DATA) {
		h->got += data.n;
		keep_body(h->q, data);
	}
	if (before)
		conn_took(&h->c, before - in.n);
	return state;
}

static bool handle(struct http *h)
{
	struct request *q = h->q;
	enum outcome how;

	h->phase = PHASE_HANDLING;
	how = q->too_big ? answer_too_big(q) : route_handle(q);
	h->phase = PHASE_WAITING;
	if (how == WAITING && !q->answered)
		return false;
	start_answer(h);
	return true;
}

static bool step_body(struct http *h)
{
	enum chunks_state state = CHUNKS_END;
	uint32_t n;

	if (h->q->head.length < 0)
		state = take_chunks(h);
	else if (!take_counted(h))
		state = CHUNKS_MORE;
	if (state == CHUNKS_END)
		return handle(h);
	if (state == CHUNKS_BAD || h->got > BODY_DRAINED_MAX)
		return give_up_body(h, h->chunks.wrong);
	n = conn_in(&h->c).n;
	if (conn_read(&h->c) && conn_in(&h->c).n > n)
		return true;
	if (h->c.end) /* the client went in the middle of it */
		conn_drop(&h->c);
	return false;
}

static bool step_wait(struct http *h)
{
	return false;
}

static bool step_send(struct http *h)
{
	struct request *q = h->q;
	size_t n = q->out.n - q->sent;

	if (!conn_drained(&h->c))
		return false;
	if (!n || h->c.broken)
		return request_done(h);
	if (n > CONN_PIECE)
		n = CONN_PIECE;
	conn_write(&h->c, q->out.p + q->sent, n);
	q->sent += n;
	return true;
}

/* The next piece of a stream; what its handler has put into q->out goes first. */
static enum stream_state next_piece(struct request *q, struct buf *piece)
{
	size_t n = q->out.n - q->sent;

	if (!n)
		return q->stream->fill(q, q->stream_arg, piece);
	if (n > CHUNK_SIZE)
		n = CHUNK_SIZE;
	buf_add(piece, q->out.p + q->sent, n);
	q->sent += n;
	if (q->sent == q->out.n)
		q->out.n = q->sent = 0;
	return STREAM_MORE;
}

static bool send_more(struct http *h)
{
	struct request *q = h->q;
	struct buf *piece = &q->api->piece;
	enum stream_state state;

	chunk_begin(piece);
	state = next_piece(q, piece);
	if (state == STREAM_BROKEN) {
		conn_drop(&h->c);
		return false;
	}
	if (piece->n > CHUNK_ROOM) {
		chunk_end(piece);
		if (state == STREAM_END && !q->head.http10)
			buf_add(piece, "0\r\n\r\n", 5);
		send_chunk(h, piece);
	} else if (state == STREAM_END && !q->head.http10) {
		conn_write(&h->c, "0\r\n\r\n", 5);
	}
	h->idle = state == STREAM_IDLE;
	q->stream_ended = state == STREAM_END;
	return true;
}

static bool step_stream(struct http *h)
{
	if (h->c.broken || (h->c.hup && h->idle)) {
		conn_drop(&h->c);
		return false;
	}
	if (!conn_drained(&h->c))
		return false;
	if (h->q->stream_ended)
		return request_done(h);
	if (h->idle)
		return false;
	if (h->run++ < RUN_MAX)
		return send_more(h);
	conn_again(&h->c);
	return false;
}

static bool (*const steps[])(struct http *h) = {
	[PHASE_HEAD] = step_head,    [PHASE_BODY] = step_body,	  [PHASE_HANDLING] = step_wait,
	[PHASE_WAITING] = step_wait, [PHASE_SENDING] = step_send, [PHASE_STREAMING] = step_stream,
};

static void proceed(struct conn *c)
{
	struct http *h = (struct http *)c;

	h->run = 0;
	while (steps[h->phase](h))
		;
}

void request_answer(struct request *q)
{
	struct http *h = q->http;

	q->answered = true;
	if (h && h->phase == PHASE_WAITING) {
		start_answer(h);
		proceed(&h->c);
	} else if (!h && !q->in_flight) {
		stream_close(q);
		request_free(q);
	}
}

/* --- Streams ------------------------------------------------------------------------ */

void stream_wake(struct request *q)
{
	if (!q->http || !q->http->idle)
		return;
	q->http->idle = false;
	conn_again(&q->http->c);
}

bool stream_push(struct request *q, const struct buf *chunk)
{
	struct http *h = q->http;

	if (!h || !h->idle || !conn_drained(&h->c))
		return false;
	send_chunk(h, chunk);
	if (h->c.broken)
		conn_again(&h->c);
	return true;
}

/* --- Connections -------------------------------------------------------------------- */

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

static void on_closed(struct conn *c)
{
	struct http *h = (struct http *)c;
	struct request *q = h->q;

	if (q) {
		stream_close(q);
		q->http = NULL;
		if (!q->in_flight)
			request_free(q);
		else if (q->user == &h->peer.user) /* it goes on without its client */
			q->user = user_copy(q->z, q->user);
	}
	h->q = NULL;
	peer_free(&h->peer);
}

static bool is_patient(const struct conn *c)
{
	const struct http *h = (const struct http *)c;

	return h->phase == PHASE_WAITING || (h->phase == PHASE_STREAMING && h->idle && !c->out.n);
}

static void on_ready(void *arg, uint32_t events)
{
	struct api *api = arg;

	api->run = true;
}

int http_start(struct api *api, int fd, bool plain, struct err *e)
{
	static const struct conn_ops ops = {.size = sizeof(struct http),
					    .opened = on_opened,
					    .proceed = proceed,
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
	buf_trim(&api->piece);
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
