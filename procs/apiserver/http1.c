/*
 * http1.c - HTTP/1.1 on a connection.
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
#include "procs/apiserver/protocol.h"

#define RECORD 16384 /* head and body go as one up to this */

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
	struct header lines[LINES_MAX];
	uint32_t n = request_lines(q, lines);

	buf_puts(out, q->head.http10 ? "HTTP/1.0 " : "HTTP/1.1 ");
	add_number(out, (size_t)q->code);
	buf_putc(out, ' ');
	buf_puts(out, reason_of(q->code));
	buf_add(out, "\r\n", 2);
	for (uint32_t i = 0; i < n; i++)
		add_line(out, lines[i].name, lines[i].value);
	if (h->one.last && !q->head.http10)
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

/* --- Answers ------------------------------------------------------------------------ */

static void send_chunk(struct http *h, const struct buf *chunk)
{
	request_streams(h->one.q);
	if (h->one.q->head.http10) /* all that comes until the end */
		conn_write(&h->c, chunk->p + CHUNK_ROOM, chunk->n - CHUNK_ROOM - 2);
	else
		conn_write(&h->c, chunk->p, chunk->n);
}

/* The request has its answer: send the head, with what of the body fits. */
static void start_answer(struct http *h)
{
	struct request *q = h->one.q;
	struct buf *first = &q->api->piece;
	size_t room;

	h->one.last |= q->api->draining;
	request_answers(q);
	first->n = 0;
	add_head(h, q, first);
	if (str_eq(q->head.method, STR("HEAD")))
		q->out.n = 0;
	room = first->n < RECORD ? RECORD - first->n : 0;
	q->sent = q->stream ? 0 : q->out.n < room ? q->out.n : room;
	buf_add(first, q->out.p, q->sent);
	conn_write(&h->c, first->p, first->n);
	h->one.phase = q->stream ? PHASE_STREAMING : PHASE_SENDING;
	q->idle = false;
}

static bool finish(struct http *h)
{
	conn_finish(&h->c);
	return false;
}

/* The answer is on its way: what next? */
static bool request_done(struct http *h)
{
	request_free(h->one.q);
	h->one.q = NULL;
	h->one.phase = PHASE_HEAD;
	if (h->one.last)
		return finish(h);
	if (++h->one.run < RUN_MAX)
		return true;
	conn_again(&h->c);
	return false;
}

/* What is wrong with HTTP itself is told in plain text, as Go does. */
static bool refuse(struct http *h, int code, const char *reason)
{
	static const char lines[] =
		"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
	struct buf *out = &http_api(h)->piece;
	char status[128];

	snprintf(status, sizeof(status), "%d %s%s%s", code, reason_of(code),
		 *reason && code != 501 ? ": " : "", code == 501 ? "" : reason);
	out->n = 0;
	buf_printf(out, "HTTP/1.1 %s\r\n%s%s", status, lines, code == 501 ? reason : status);
	conn_write(&h->c, out->p, out->n);
	return finish(h);
}

/* --- Steps: what can be done now; false: wait --------------------------------------- */

/* The rest of the body will not be read: it is too big, or `wrong`. */
static bool give_up_body(struct http *h, const char *wrong)
{
	h->one.last = true;
	if (wrong)
		answer_bad_request(h->one.q, str_of(wrong));
	else
		request_too_big(h->one.q);
	start_answer(h);
	return true;
}

static bool take_head(struct http *h, size_t n)
{
	struct request *q = request_new(http_api(h), h);
	struct str text = conn_in(&h->c);
	struct head_refusal why;
	int ret;

	text.n = (uint32_t)n;
	text = zone_str(q->z, text);
	conn_took(&h->c, n);
	h->one = (struct http1){.q = q, .phase = PHASE_BODY, .run = h->one.run};
	ret = head_parse(q->z, text, &q->head, &why);
	if (ret) {
		h->one.q = NULL;
		request_free(q);
		return refuse(h, why.code, why.reason);
	}
	request_take_head(q);
	h->one.last = q->head.close;
	h->one.left = q->head.length > 0 ? (uint64_t)q->head.length : 0;
	if (request_not_worth_reading(q))
		return give_up_body(h, NULL);
	if (q->head.expects && !conn_in(&h->c).n)
		conn_write(&h->c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return true;
}

static bool step_head(struct http *h)
{
	struct str in = conn_in(&h->c);
	size_t n = head_end(in, &h->one.seen);

	if (n)
		return take_head(h, n);
	if (in.n >= HEAD_MAX)
		return refuse(h, 431, "");
	if (conn_read(&h->c) && conn_in(&h->c).n > in.n)
		return true;
	return h->c.end ? finish(h) : false;
}

/* What has come of a body whose length is known; true: all. */
static bool take_counted(struct http *h)
{
	struct str in = conn_in(&h->c);

	if (in.n > h->one.left)
		in.n = (uint32_t)h->one.left;
	request_take_body(h->one.q, in);
	h->one.left -= in.n;
	if (in.n)
		conn_took(&h->c, in.n);
	return !h->one.left;
}

static enum chunks_state take_chunks(struct http *h)
{
	struct str in = conn_in(&h->c), data;
	uint32_t before = in.n;
	enum chunks_state state;

	while ((state = chunks_take(&h->one.chunks, &in, &data)) == CHUNKS_DATA)
		request_take_body(h->one.q, data);
	if (before)
		conn_took(&h->c, before - in.n);
	return state;
}

static bool handle(struct http *h)
{
	h->one.phase = PHASE_HANDLING;
	if (request_handle(h->one.q)) {
		start_answer(h);
		return true;
	}
	h->one.phase = PHASE_WAITING;
	return false;
}

static bool step_body(struct http *h)
{
	struct request *q = h->one.q;
	enum chunks_state state = CHUNKS_END;
	uint32_t n;

	if (q->head.length < 0)
		state = take_chunks(h);
	else if (!take_counted(h))
		state = CHUNKS_MORE;
	if (state == CHUNKS_END)
		return handle(h);
	if (state == CHUNKS_BAD || (q->head.length < 0 && q->got > BODY_DRAINED_MAX))
		return give_up_body(h, h->one.chunks.wrong);
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
	struct request *q = h->one.q;
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
	struct request *q = h->one.q;
	struct buf *piece = &q->api->piece;
	enum stream_state state;

	chunk_begin(piece);
	state = next_piece(q, piece);
	if (state == STREAM_BROKEN) {
		conn_drop(&h->c);
		return false;
	}
	q->dry = piece->n == CHUNK_ROOM;
	if (!q->dry) {
		chunk_end(piece);
		if (state == STREAM_END && !q->head.http10)
			buf_add(piece, "0\r\n\r\n", 5);
		send_chunk(h, piece);
	} else if (state == STREAM_END && !q->head.http10) {
		conn_write(&h->c, "0\r\n\r\n", 5);
	}
	q->idle = state == STREAM_IDLE;
	q->stream_ended = state == STREAM_END;
	return true;
}

static bool step_stream(struct http *h)
{
	struct request *q = h->one.q;

	if (h->c.broken || (h->c.hup && (q->idle || q->dry))) {
		conn_drop(&h->c);
		return false;
	}
	if (!conn_drained(&h->c))
		return false;
	if (q->stream_ended)
		return request_done(h);
	if (q->idle)
		return false;
	if (h->one.run++ < RUN_MAX)
		return send_more(h);
	conn_again(&h->c);
	return false;
}

static bool (*const steps[])(struct http *h) = {
	[PHASE_HEAD] = step_head,    [PHASE_BODY] = step_body,	  [PHASE_HANDLING] = step_wait,
	[PHASE_WAITING] = step_wait, [PHASE_SENDING] = step_send, [PHASE_STREAMING] = step_stream,
};

/* --- The protocol ------------------------------------------------------------------- */

static void proceed(struct http *h)
{
	h->one.run = 0;
	while (steps[h->one.phase](h))
		;
}

static void answer(struct request *q)
{
	struct http *h = q->http;

	if (h->one.phase != PHASE_WAITING)
		return;
	start_answer(h);
	proceed(h);
}

static void wake(struct request *q)
{
}

static bool push(struct request *q, const struct buf *chunk)
{
	struct http *h = q->http;

	if (!conn_drained(&h->c))
		return false;
	send_chunk(h, chunk);
	if (h->c.broken)
		conn_again(&h->c);
	return true;
}

/* The next answer is the last one. */
static void drain(struct http *h)
{
}

static void closed(struct http *h)
{
	if (h->one.q)
		request_abandon(h->one.q);
	h->one.q = NULL;
}

static bool patient(const struct http *h)
{
	return h->one.phase == PHASE_WAITING ||
	       (h->one.phase == PHASE_STREAMING && h->one.q->idle && !h->c.out.n);
}

const struct protocol http1 = {
	.proceed = proceed,
	.answer = answer,
	.wake = wake,
	.push = push,
	.drain = drain,
	.closed = closed,
	.patient = patient,
};
