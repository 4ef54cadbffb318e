/*
 * http2.c - HTTP/2 on a connection: each of its streams is a request.
 *
 * nghttp2 reads and makes the frames.  It is given what was received and calls back
 * for each thing in it; it is asked for frames while the socket takes them, and asks
 * in turn for the next piece of a body, so that what waits for a slow client is one
 * piece for each stream.  It must not be called from within what it calls, so an
 * answer from elsewhere, or a stream that goes on, is noted here and sent by
 * proceed(): all that there is to say on a connection in one turn goes at once.
 */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include "procs/apiserver/protocol.h"

#define STREAMS_MAX   100	   /* open on one connection, as on kube-apiserver */
#define STREAM_WINDOW (256u << 10) /* bytes of a body that a client may send ahead */
#define WINDOW	      (1u << 20)   /* the same for all streams of a connection */
#define HEADS_MAX     (4u << 20)   /* bytes of heads of all open streams of a connection */
#define BUFFER_KEPT   4096	   /* an idle stream keeps no larger one */

/* --- Answers ------------------------------------------------------------------------ */

static bool ended(const struct request *q)
{
	return !q->stream || q->stream_ended;
}

/* Let it be asked for q's body again. */
static void resume(struct request *q)
{
	q->resume = q->http->two.resuming = true;
}

/* The next piece of a stream that has nothing left to send. */
static enum stream_state refill(struct request *q)
{
	enum stream_state state;

	q->out.n = q->sent = 0;
	if (q->idle) {
		if (q->out.cap > BUFFER_KEPT)
			buf_free(&q->out);
		return STREAM_IDLE;
	}
	state = q->stream->fill(q, q->stream_arg, &q->out);
	q->idle = state == STREAM_IDLE;
	q->stream_ended = state == STREAM_END;
	return state;
}

/* How much of q's body goes into the next frame. */
static ssize_t measure_body(nghttp2_session *s, int32_t id, uint8_t *unused, size_t room,
			    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct request *q = source->ptr;
	enum stream_state state = STREAM_MORE;
	size_t left;

	if (q->out.n == q->sent && !ended(q))
		state = refill(q);
	left = q->out.n - q->sent;
	if (state == STREAM_BROKEN)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (!left && !ended(q)) {
		if (state == STREAM_MORE) /* it has looked at much, and found nothing */
			resume(q);
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (left <= room && ended(q))
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)(left < room ? left : room);
}

/* That frame. */
static int add_body(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *head, size_t n,
		    nghttp2_data_source *source, void *arg)
{
	struct request *q = source->ptr;
	struct buf *out = &q->api->frames;

	if (out->n >= CONN_PIECE)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (q->stream)
		request_streams(q);
	buf_add(out, head, 9);
	buf_add(out, q->out.p + q->sent, n);
	q->sent += n;
	return 0;
}

/* Any other frame. */
static ssize_t add_frame(nghttp2_session *s, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct buf *out = &http_api(arg)->frames;

	if (out->n >= CONN_PIECE)
		return NGHTTP2_ERR_WOULDBLOCK;
	buf_add(out, p, n);
	return (ssize_t)n;
}

static nghttp2_nv field(const char *name, struct str value)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
			    .namelen = strlen(name),
			    .value = (uint8_t *)value.p,
			    .valuelen = value.n};
}

/* The fields of q's answer (at most LINES_MAX + 2); `text` is room for numbers. */
static size_t fields_of(struct request *q, nghttp2_nv *fields, char text[2][24])
{
	struct header lines[LINES_MAX];
	uint32_t nlines = request_lines(q, lines);
	size_t n = 0;

	snprintf(text[0], sizeof(text[0]), "%d", q->code);
	fields[n++] = field(":status", str_of(text[0]));
	for (uint32_t i = 0; i < nlines; i++)
		fields[n++] = field(lines[i].name, lines[i].value);
	if (!q->stream) {
		snprintf(text[1], sizeof(text[1]), "%zu", q->out.n);
		fields[n++] = field("content-length", str_of(text[1]));
	}
	return n;
}

/* The request has its answer. */
static void submit(struct request *q)
{
	nghttp2_nv fields[LINES_MAX + 2];
	nghttp2_data_provider body = {.source.ptr = q, .read_callback = measure_body};
	bool bare = str_eq(q->head.method, STR("HEAD")) || (!q->stream && !q->out.n);
	char text[2][24];

	q->waiting = q->idle = false;
	q->sent = 0;
	request_answers(q);
	nghttp2_submit_response(q->http->two.session, q->id, fields, fields_of(q, fields, text),
				bare ? NULL : &body);
}

static void give_up(struct request *q)
{
	q->given_up = true;
	submit(q);
}

static void reset(struct request *q, uint32_t why)
{
	nghttp2_submit_rst_stream(q->http->two.session, NGHTTP2_FLAG_NONE, q->id, why);
}

static int on_sent(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	const struct request *q = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	/* The rest of what the client sends is not wanted. */
	if (q && q->given_up && last &&
	    (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, q->id, NGHTTP2_NO_ERROR);
	return 0;
}

/* A head too large for nghttp2, say: the client is not to wait for it. */
static int on_unsendable(nghttp2_session *s, const nghttp2_frame *frame, int why, void *arg)
{
	if (frame->hd.type == NGHTTP2_HEADERS)
		nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
					  NGHTTP2_INTERNAL_ERROR);
	return 0;
}

/* --- Requests ----------------------------------------------------------------------- */

static int on_begin(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct http *h = arg;
	struct request *q;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	q = request_new(http_api(h), h);
	q->id = frame->hd.stream_id;
	q->next = h->two.open;
	q->link = &h->two.open;
	if (q->next)
		q->next->link = &q->next;
	h->two.open = q;
	nghttp2_session_set_stream_user_data(s, q->id, q);
	return 0;
}

static void forget(struct request *q)
{
	q->http->two.head_bytes -= q->head_bytes;
	*q->link = q->next;
	if (q->next)
		q->next->link = q->link;
	request_abandon(q);
}

static int on_end(nghttp2_session *s, int32_t id, uint32_t why, void *arg)
{
	struct request *q = nghttp2_session_get_stream_user_data(s, id);

	if (q)
		forget(q);
	return 0;
}

/* A field that HTTP/2 has where HTTP/1.1 has a request line. */
static void take_pseudo(struct request *q, struct str name, struct str value)
{
	if (str_eq(name, STR(":method")))
		q->head.method = value;
	else if (str_eq(name, STR(":path")))
		q->head.target = value;
	else if (str_eq(name, STR(":authority")))
		head_add(q->z, &q->head, STR("host"), value);
}

/* A copy with the NUL that nghttp2 has behind it. */
static struct str copy(zone *z, const uint8_t *p, size_t n)
{
	struct str s = zone_str(z, (struct str){(const char *)p, (uint32_t)n + 1});

	s.n--;
	return s;
}

/* False: there is no room for so much more of q's head.  What is not kept counts as
 * well: few bytes that were sent can stand for many (RFC 7541). */
static bool room_for(struct request *q, size_t n)
{
	struct http2 *two = &q->http->two;

	q->head_bytes += n;
	two->head_bytes += n;
	q->head_too_big |= q->head_bytes > HEAD_MAX || two->head_bytes > HEADS_MAX;
	return !q->head_too_big;
}

/* nghttp2 has seen to it that they are allowed, and as HTTP wants them. */
static int on_field(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t n,
		    const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct request *q = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	struct str key, text;

	if (!q || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (!room_for(q, n + value_n + 32)) /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
		return 0;
	key = copy(q->z, name, n);
	text = copy(q->z, value, value_n);
	if (key.p[0] == ':')
		take_pseudo(q, key, text);
	else
		head_add(q->z, &q->head, key, text);
	return 0;
}

/* The client waits to be told to send the body. */
static bool waits_for_go(const struct request *q)
{
	struct str go_on = STR("100-continue"), what = head_get(&q->head, "expect");

	return what.n == go_on.n && !strncasecmp(what.p, go_on.p, go_on.n);
}

/* The head is there; `whole`: there is no body. */
static void take_head(struct request *q, bool whole)
{
	struct str length = head_get(&q->head, "content-length");

	if (q->head_too_big) {
		answer_text(q, 431, STR("431 Request Header Fields Too Large"));
		give_up(q);
		return;
	}
	if (!head_target_good(q->head.target)) {
		reset(q, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	q->head.length = length.p ? strtoll(length.p, NULL, 10) : 0;
	q->head.expects = !whole && waits_for_go(q);
	request_take_head(q);
	if (request_not_worth_reading(q)) {
		request_too_big(q);
		give_up(q);
	} else if (q->head.expects) {
		nghttp2_nv go_on = field(":status", STR("100"));

		nghttp2_submit_headers(q->http->two.session, NGHTTP2_FLAG_NONE, q->id, NULL, &go_on,
				       1, NULL);
	}
}

static void handle(struct request *q)
{
	if (request_handle(q))
		submit(q);
	else
		q->waiting = true;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct request *q = nghttp2_session_get_stream_user_data(s, frame->hd.stream_id);
	bool whole = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (!q || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		take_head(q, whole);
	if (whole && q->path.p && !q->given_up)
		handle(q);
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct request *q = nghttp2_session_get_stream_user_data(s, id);

	if (!q || q->given_up)
		return 0;
	request_take_body(q, (struct str){(const char *)p, (uint32_t)n});
	if (q->got > BODY_DRAINED_MAX) {
		request_too_big(q);
		give_up(q);
	}
	return 0;
}

/* --- The connection ----------------------------------------------------------------- */

static nghttp2_session_callbacks *make_callbacks(void)
{
	nghttp2_session_callbacks *made;

	weft_assert(!nghttp2_session_callbacks_new(&made));
	nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(made, on_field);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(made, on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(made, on_unsendable);
	nghttp2_session_callbacks_set_on_stream_close_callback(made, on_end);
	nghttp2_session_callbacks_set_send_data_callback(made, add_body);
	nghttp2_session_callbacks_set_send_callback(made, add_frame);
	return made;
}

static void session_open(struct http *h)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_MAX},
	};
	static nghttp2_session_callbacks *callbacks;
	nghttp2_option *options;

	if (!callbacks)
		callbacks = make_callbacks();
	weft_assert(!nghttp2_option_new(&options));
	nghttp2_option_set_no_closed_streams(options, 1);
	/* Go takes values with blanks around them, too. */
	nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(options, 1);
	weft_assert(!nghttp2_session_server_new2(&h->two.session, callbacks, h, options));
	nghttp2_option_del(options);
	nghttp2_submit_settings(h->two.session, NGHTTP2_FLAG_NONE, settings, countof(settings));
	nghttp2_session_set_local_window_size(h->two.session, NGHTTP2_FLAG_NONE, 0, WINDOW);
}

/* Streams that have something to say again. */
static void resume_all(struct http *h)
{
	h->two.resuming = false;
	for (struct request *q = h->two.open; q; q = q->next)
		if (q->resume) {
			q->resume = false;
			nghttp2_session_resume_data(h->two.session, q->id);
		}
}

/* Sends a piece of what there is; false: there is no more, or no room. */
static bool send_piece(struct http *h)
{
	struct buf *out = &http_api(h)->frames;

	out->n = 0;
	if (nghttp2_session_send(h->two.session)) /* no memory */
		h->c.end = true;
	if (out->n)
		conn_write(&h->c, out->p, out->n);
	return out->n >= CONN_PIECE && conn_drained(&h->c);
}

/* What has come. */
static void take(struct http *h)
{
	struct str in = conn_in(&h->c);

	if (!in.n)
		return;
	if (nghttp2_session_mem_recv(h->two.session, (const uint8_t *)in.p, in.n) < 0)
		nghttp2_session_terminate_session(h->two.session, NGHTTP2_PROTOCOL_ERROR);
	conn_took(&h->c, in.n);
}

static bool over(struct http *h)
{
	return !nghttp2_session_want_read(h->two.session) &&
	       !nghttp2_session_want_write(h->two.session);
}

/* All that can be done now; false: it waits for the socket, or is over. */
static bool turn(struct http *h)
{
	take(h);
	if (h->two.resuming)
		resume_all(h);
	if (!conn_drained(&h->c))
		return false;
	if (send_piece(h))
		return true;
	if (h->c.end) {
		conn_drop(&h->c);
		return false;
	}
	if (over(h)) {
		conn_finish(&h->c);
		return false;
	}
	return h->two.resuming || (conn_drained(&h->c) && conn_read(&h->c));
}

static void proceed(struct http *h)
{
	if (!h->two.session)
		session_open(h);
	for (int run = 0; turn(h);)
		if (++run == RUN_MAX) {
			conn_again(&h->c);
			return;
		}
}

static void answer(struct request *q)
{
	if (!q->waiting)
		return;
	submit(q);
	conn_again(&q->http->c);
}

static bool push(struct request *q, const struct buf *chunk)
{
	struct http *h = q->http;

	if (!conn_drained(&h->c) || q->out.n - q->sent >= CHUNK_SIZE)
		return false;
	if (q->sent == q->out.n)
		q->out.n = q->sent = 0;
	buf_add(&q->out, chunk->p + CHUNK_ROOM, chunk->n - CHUNK_ROOM - 2);
	resume(q);
	conn_again(&h->c);
	return true;
}

/* Requests that come from now on are the business of another process. */
static void drain(struct http *h)
{
	nghttp2_session *s = h->two.session;

	nghttp2_submit_goaway(s, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s),
			      NGHTTP2_NO_ERROR, NULL, 0);
	conn_again(&h->c);
}

static void closed(struct http *h)
{
	while (h->two.open)
		forget(h->two.open);
	nghttp2_session_del(h->two.session);
}

static bool patient(const struct http *h)
{
	for (const struct request *q = h->two.open; q; q = q->next)
		if (q->waiting || q->idle)
			return !h->c.out.n;
	return false;
}

const struct protocol http2 = {
	.proceed = proceed,
	.answer = answer,
	.wake = resume,
	.push = push,
	.drain = drain,
	.closed = closed,
	.patient = patient,
};
