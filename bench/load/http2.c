/* http2.c - HTTP/2: requests share connections, opt.streams on each, as the client
 * libraries do it. */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/client.h"
#include "bench/load/load.h"
#include "bench/load/target.h"
#include "bench/load/wire.h"

#define STREAM_WINDOW (4 << 20) /* bytes that may come unasked, as Go has it */
#define WINDOW	      (1 << 30) /* the same for the whole connection */

struct conn2 {
	struct conn c;
	struct session *s;
	struct conn2 *next, **link; /* of its session */
	int32_t id;
	char retry_after[16];
	struct buf out; /* the request's body */
	size_t sent;
};

struct session {
	struct session *next; /* of the client */
	struct client *cl;
	struct wire *wire;
	nghttp2_session *ng;
	struct conn2 *conns;
	uint32_t nconns;
	bool broken;
	char in[WIRE_ROOM];
};

/* --- What nghttp2 calls -------------------------------------------------------------- */

static ssize_t on_send(nghttp2_session *ng, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct session *s = arg;

	buf_add(wire_out(s->wire), p, n);
	return (ssize_t)n;
}

static ssize_t on_body(nghttp2_session *ng, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct conn2 *c = source->ptr;
	size_t n = c->out.n - c->sent < room ? c->out.n - c->sent : room;

	memcpy(out, c->out.p + c->sent, n);
	c->sent += n;
	if (c->sent == c->out.n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static bool is(struct str name, const uint8_t *p, size_t n)
{
	return name.n == n && !memcmp(name.p, p, n);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t n,
		     const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
	struct conn2 *c = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);

	if (!c)
		return 0;
	if (is(STR(":status"), name, n)) {
		c->c.answer = (struct answer){.status = atoi((const char *)value)};
	} else if (is(STR("retry-after"), name, n) && value_n < sizeof(c->retry_after)) {
		memcpy(c->retry_after, value, value_n);
		c->c.answer.retry_after = (struct str){c->retry_after, (uint32_t)value_n};
	}
	return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct conn2 *c = nghttp2_session_get_stream_user_data(ng, id);
	struct str piece = {(const char *)p, (uint32_t)n};

	if (c && conn_streams(&c->c))
		c->c.data(c->c.arg, &c->c, piece);
	else if (c)
		buf_addstr(&c->c.body, piece);
	return 0;
}

static int on_end(nghttp2_session *ng, int32_t id, uint32_t error, void *arg)
{
	struct conn2 *c = nghttp2_session_get_stream_user_data(ng, id);

	if (!c)
		return 0;
	if (error)
		c->c.answer = (struct answer){0};
	else
		c->c.answer.body = buf_str(&c->c.body);
	conn_finish(&c->c);
	return 0;
}

static nghttp2_session_callbacks *make_callbacks(void)
{
	nghttp2_session_callbacks *made;

	weft_assert(!nghttp2_session_callbacks_new(&made));
	nghttp2_session_callbacks_set_send_callback(made, on_send);
	nghttp2_session_callbacks_set_on_header_callback(made, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(made, on_end);
	return made;
}

/* --- Sessions ------------------------------------------------------------------------- */

static char *room(void *arg)
{
	return ((struct session *)arg)->in;
}

static void broke(void *arg)
{
	struct session *s = arg;

	s->broken = true;
	for (struct conn2 *c = s->conns; c; c = c->next)
		conn_broke(&c->c);
}

static void received(void *arg, size_t n)
{
	struct session *s = arg;

	if (!s->broken && nghttp2_session_mem_recv(s->ng, (const uint8_t *)s->in, n) < 0)
		broke(s);
}

static void session_free(struct session *s)
{
	struct session **link = &s->cl->sessions;

	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	nghttp2_session_del(s->ng);
	wire_close(s->wire);
	free(s);
}

static struct session *session_new(struct client *cl, const char **why)
{
	static const struct wire_ops ops = {
		.alpn = "h2", .room = room, .received = received, .broke = broke};
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
	};
	static nghttp2_session_callbacks *callbacks;
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		weft_fatal("no memory");
	if (!callbacks)
		callbacks = make_callbacks();
	s->cl = cl;
	s->next = cl->sessions;
	cl->sessions = s;
	weft_assert(!nghttp2_session_client_new(&s->ng, callbacks, s));
	nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, settings, countof(settings));
	nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0, WINDOW);
	s->wire = wire_open(cl, &ops, s, why);
	if (s->wire)
		return s;
	session_free(s);
	return NULL;
}

/* One with room for another request. */
static struct session *session_for(struct client *cl, const char **why)
{
	for (struct session *s = cl->sessions; s; s = s->next)
		if (!s->broken && s->nconns < opt.streams)
			return s;
	return session_new(cl, why);
}

void sessions_send(struct client *cl)
{
	for (struct session *s = cl->sessions; s; s = s->next) {
		if (s->broken || !nghttp2_session_want_write(s->ng))
			continue;
		if (nghttp2_session_send(s->ng))
			broke(s);
		else
			wire_send(s->wire);
	}
}

void sessions_free(struct client *cl)
{
	while (cl->sessions)
		session_free(cl->sessions);
}

/* --- Requests ------------------------------------------------------------------------ */

static bool open2(struct conn *conn, const char **why)
{
	struct conn2 *c = (struct conn2 *)conn;
	struct session *s = session_for(conn->cl, why);

	if (!s)
		return false;
	c->s = s;
	c->next = s->conns;
	c->link = &s->conns;
	if (c->next)
		c->next->link = &c->next;
	s->conns = c;
	s->nconns++;
	return true;
}

static void close2(struct conn *conn)
{
	struct conn2 *c = (struct conn2 *)conn;
	struct session *s = c->s;

	buf_free(&c->out);
	if (!s)
		return;
	if (conn->open && !s->broken) {
		nghttp2_session_set_stream_user_data(s->ng, c->id, NULL);
		nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, c->id, NGHTTP2_CANCEL);
	}
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (!--s->nconns)
		session_free(s);
}

static nghttp2_nv field(const char *name, struct str value)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
			    .namelen = strlen(name),
			    .value = (uint8_t *)value.p,
			    .valuelen = value.n};
}

static void send2(struct conn *conn, const struct message *m)
{
	struct conn2 *c = (struct conn2 *)conn;
	const struct target *t = conn->cl->target;
	nghttp2_data_provider body = {.source.ptr = c, .read_callback = on_body};
	char authority[sizeof(t->host) + sizeof(t->port) + 1], length[16];
	nghttp2_nv fields[8];
	size_t n = 0;

	snprintf(authority, sizeof(authority), "%s:%s", t->host, t->port);
	snprintf(length, sizeof(length), "%u", m->body.n);
	fields[n++] = field(":method", str_of(m->method));
	fields[n++] = field(":scheme", STR("https"));
	fields[n++] = field(":path", m->path);
	fields[n++] = field(":authority", str_of(authority));
	fields[n++] = field("accept", STR("application/json"));
	if (*t->authorization)
		fields[n++] = field("authorization", str_of(t->authorization));
	if (m->kind) {
		fields[n++] = field("content-type", str_of(m->kind));
		fields[n++] = field("content-length", str_of(length));
	}
	c->sent = c->out.n = c->c.body.n = 0;
	buf_addstr(&c->out, m->body);
	c->id = nghttp2_submit_request(c->s->ng, NULL, fields, n, m->kind ? &body : NULL, c);
	weft_assert(c->id > 0);
}

const struct protocol http2 = {sizeof(struct conn2), open2, close2, send2};
