/* http1.c - HTTP/1.1: a connection for each request that is open. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/load/client.h"
#include "bench/load/target.h"
#include "bench/load/wire.h"

/* Where in an answer the next byte stands. */
enum place {
	PLACE_HEAD,
	PLACE_BODY,
	PLACE_CHUNK_SIZE,
	PLACE_CHUNK,
	PLACE_CHUNK_END,
	PLACE_TRAILER
};

struct conn1 {
	struct conn c;
	struct wire *wire;
	struct buf in; /* what has come and is not dealt with: in.p[done..] */
	size_t done;
	enum place place;
	bool chunked, close; /* close: the server ends the connection after this answer */
	uint64_t left;	     /* bytes of the body, or of this chunk */
};

static void finish(struct conn1 *c)
{
	c->place = PLACE_HEAD;
	c->c.broken |= c->close;
	conn_finish(&c->c);
}

static struct str rest(const struct conn1 *c)
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
static bool take_head(struct conn1 *c)
{
	struct str in = rest(c), head, length;
	const char *end = memmem(in.p, in.n, "\r\n\r\n", 4);

	if (!end)
		return false;
	head = (struct str){in.p, (uint32_t)(end - in.p) + 2};
	c->c.answer = (struct answer){.status = head.n > 12 ? atoi(head.p + 9) : 0,
				      .retry_after = header(head, "retry-after:")};
	length = header(head, "content-length:");
	c->chunked = header(head, "transfer-encoding:").n == 7;
	c->close = str_eq(header(head, "connection:"), STR("close"));
	c->left = length.n ? strtoull(length.p, NULL, 10) : 0;
	c->place = c->chunked ? PLACE_CHUNK_SIZE : PLACE_BODY;
	c->c.body.n = 0;
	c->done += head.n + 2;
	return true;
}

/* Deal with up to `left` bytes of the body; a stream's go on at once. */
static void take_bytes(struct conn1 *c)
{
	struct str in = rest(c);

	in.n = in.n < c->left ? in.n : (uint32_t)c->left;
	if (conn_streams(&c->c) && in.n)
		c->c.data(c->c.arg, &c->c, in);
	else if (!conn_streams(&c->c))
		buf_addstr(&c->c.body, in);
	c->done += in.n;
	c->left -= in.n;
}

/* A body of known length: not copied, what came of it waits for the rest. */
static bool take_body(struct conn1 *c)
{
	if (conn_streams(&c->c))
		take_bytes(c);
	else if (rest(c).n >= c->left)
		c->c.answer.body = (struct str){rest(c).p, (uint32_t)c->left};
	else
		return false;
	c->done += c->c.answer.body.n;
	c->left -= c->c.answer.body.n;
	if (c->left)
		return false;
	finish(c);
	return true;
}

/* A line that ends with CR LF, taken out; false: it is not whole yet. */
static bool take_line(struct conn1 *c, struct str *line)
{
	struct str in = rest(c);
	const char *end = memchr(in.p, '\n', in.n);

	if (!end)
		return false;
	*line = (struct str){in.p, (uint32_t)(end - in.p)};
	c->done += line->n + 1;
	return true;
}

static bool take_chunk_size(struct conn1 *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	c->left = strtoull(line.p, NULL, 16);
	c->place = c->left ? PLACE_CHUNK : PLACE_TRAILER;
	return true;
}

static bool take_chunk(struct conn1 *c)
{
	take_bytes(c);
	if (!c->left)
		c->place = PLACE_CHUNK_END;
	return !c->left;
}

static bool take_chunk_end(struct conn1 *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	c->place = PLACE_CHUNK_SIZE;
	return true;
}

static bool take_trailer(struct conn1 *c)
{
	struct str line;

	if (!take_line(c, &line))
		return false;
	if (line.n <= 1) {
		c->c.answer.body = buf_str(&c->c.body);
		finish(c);
	}
	return true;
}

/* Go on with the answer as far as what has come allows. */
static void take(struct conn1 *c)
{
	static bool (*const next[])(struct conn1 *) = {
		[PLACE_HEAD] = take_head,
		[PLACE_BODY] = take_body,
		[PLACE_CHUNK_SIZE] = take_chunk_size,
		[PLACE_CHUNK] = take_chunk,
		[PLACE_CHUNK_END] = take_chunk_end,
		[PLACE_TRAILER] = take_trailer,
	};

	while (c->c.open && next[c->place](c))
		;
	if (c->done == c->in.n)
		c->in.n = c->done = 0;
}

/* --- The wire ------------------------------------------------------------------------ */

/* What has been dealt with goes, once it is most of what is kept. */
static char *room(void *arg)
{
	struct conn1 *c = arg;

	if (c->done && c->in.n - c->done < c->done) {
		memmove(c->in.p, c->in.p + c->done, c->in.n - c->done);
		c->in.n -= c->done;
		c->done = 0;
	}
	buf_reserve(&c->in, WIRE_ROOM);
	return c->in.p + c->in.n;
}

static void received(void *arg, size_t n)
{
	struct conn1 *c = arg;

	c->in.n += n;
	take(c);
}

static void broke(void *arg)
{
	struct conn1 *c = arg;

	c->place = PLACE_HEAD;
	conn_broke(&c->c);
}

static bool open1(struct conn *conn, const char **why)
{
	static const struct wire_ops ops = {.room = room, .received = received, .broke = broke};
	struct conn1 *c = (struct conn1 *)conn;

	c->wire = wire_open(conn->cl, &ops, c, why);
	return c->wire != NULL;
}

static void close1(struct conn *conn)
{
	struct conn1 *c = (struct conn1 *)conn;

	wire_close(c->wire);
	buf_free(&c->in);
}

static void send1(struct conn *conn, const struct message *m)
{
	struct conn1 *c = (struct conn1 *)conn;
	const struct target *t = conn->cl->target;
	struct buf *out = wire_out(c->wire);

	buf_printf(out,
		   "%s " STR_FMT " HTTP/1.1\r\nHost: %s:%s\r\nAccept: application/json\r\n%s%s%s",
		   m->method, STR_ARG(m->path), t->host, t->port,
		   *t->authorization ? "Authorization: " : "", t->authorization,
		   *t->authorization ? "\r\n" : "");
	if (m->kind)
		buf_printf(out, "Content-Type: %s\r\nContent-Length: %u\r\n", m->kind, m->body.n);
	buf_puts(out, "\r\n");
	buf_addstr(out, m->body);
	wire_send(c->wire);
}

const struct protocol http1 = {sizeof(struct conn1), open1, close1, send1};
