/*
 * request.c - the life of a request, whichever way it comes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "procs/apiserver/http.h"
#include "procs/apiserver/protocol.h"
#include "procs/apiserver/token.h"
#include "weft/fault.h"

#define REQUESTS_KEPT 256	   /* free ones, with their zone */
#define BUFFER_KEPT   (256u << 10) /* larger buffers are not kept */

/* --- Begin and end ------------------------------------------------------------------ */

struct request *request_new(struct api *api, struct http *h)
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
	q->http = h;
	q->peer = h ? &h->peer : NULL;
	api->open++;
	q->body.n = q->out.n = 0;
	q->began_ns = clock_mono_ns();
	return q;
}

static void buf_trim(struct buf *b)
{
	if (b->cap > BUFFER_KEPT)
		buf_free(b);
}

static void stream_close(struct request *q)
{
	if (q->stream && q->stream->close)
		q->stream->close(q, q->stream_arg);
	q->stream = NULL;
}

void request_free(struct request *q)
{
	struct api *api = q->api;

	stream_close(q);
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

void request_abandon(struct request *q)
{
	stream_close(q);
	q->http = NULL;
	if (!q->in_flight)
		request_free(q);
	else if (q->user == &q->peer->user) /* it goes on without its connection */
		q->user = user_copy(q->z, q->user);
}

struct request *request_internal(struct api *api, const char *path)
{
	static const struct user self = {.name = STR("system:apiserver"),
					 .groups = {STR("system:masters")},
					 .ngroups = 1,
					 .masters = true};
	struct request *q = request_new(api, NULL);

	q->path = str_of(path);
	q->method = METHOD_POST;
	q->user = &self;
	return q;
}

/* --- What came ---------------------------------------------------------------------- */

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
		if (str_is(name, names[i]))
			return (enum method)i;
	return METHOD_OTHER;
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

void request_take_head(struct request *q)
{
	q->verb_name = q->head.method;
	q->method = method_of(q->verb_name);
	set_target(q, q->head.target);
}

void request_take_body(struct request *q, struct str data)
{
	q->got += data.n;
	if (q->too_big || q->body.n + data.n > BODY_MAX) {
		q->too_big = true;
		q->body.n = 0;
		return;
	}
	buf_add(&q->body, data.p, data.n);
}

bool request_not_worth_reading(const struct request *q)
{
	return q->head.length > BODY_DRAINED_MAX || (q->head.length > BODY_MAX && q->head.expects);
}

/* --- What goes ---------------------------------------------------------------------- */

enum outcome request_too_big(struct request *q)
{
	struct str why = zone_printf(q->z, "Request entity too large: limit is %u", BODY_MAX);

	return answer_status(q, kube_status(q->z, 413, "RequestEntityTooLarge", why));
}

bool request_handle(struct request *q)
{
	enum outcome how = q->too_big ? request_too_big(q) : route_handle(q);

	return how != WAITING || q->answered;
}

void request_answer(struct request *q)
{
	q->answered = true;
	if (q->http)
		q->http->speaks->answer(q);
	else if (!q->in_flight)
		request_free(q);
}

void request_answers(struct request *q)
{
	struct api *api = q->api;
	unsigned class = (unsigned)q->code / 100;

	q->answered = true;
	api->requests[q->method][class < 6 ? class : 0]++;
	atomic_fetch_add_explicit(&proc_counters(api->p)->http_requests, 1, memory_order_relaxed);
	fault_at(api_answer);
}

void request_streams(const struct request *q)
{
	fault_at(api_stream);
}

/* "Mon, 02 Jan 2006 15:04:05 GMT", made once a second. */
static struct str date_now(void)
{
	static char text[32];
	static size_t n;
	static uint32_t made_s;
	uint32_t now_s = clock_wall_s();
	time_t t = now_s;
	struct tm tm;

	if (now_s != made_s) {
		made_s = now_s;
		n = strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
	}
	return (struct str){text, (uint32_t)n};
}

uint32_t request_lines(const struct request *q, struct header *lines)
{
	uint32_t n = 0;

	lines[n++] = (struct header){"Date", date_now()};
	lines[n++] = (struct header){
		"Content-Type", str_of(q->content_type ? q->content_type : "application/json")};
	lines[n++] = (struct header){"Cache-Control", q->cacheable ? STR("public, immutable")
								   : STR("no-cache, private")};
	for (uint32_t i = 0; i < q->nheaders; i++)
		lines[n++] = q->headers[i];
	return n;
}

/* --- Streams ------------------------------------------------------------------------ */

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

void stream_wake(struct request *q)
{
	if (!q->http || !q->idle)
		return;
	q->idle = false;
	q->http->speaks->wake(q);
	conn_again(&q->http->c);
}

bool stream_push(struct request *q, const struct buf *chunk)
{
	return q->http && q->idle && q->http->speaks->push(q, chunk);
}
