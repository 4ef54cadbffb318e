/* watch_stream.c - a watch of the API, line by line. */
#include <stdio.h>
#include <string.h>

#include "bench/load/load.h"
#include "weft/json.h"

static void line_done(struct watch *w, struct str line, int64_t now)
{
	if (line.n)
		w->event(w, line, now);
}

/* Lines that come in one piece, as most do, are not copied. */
static void on_piece(void *arg, struct conn *c, struct str piece)
{
	struct watch *w = arg;
	int64_t now = now_ns();
	const char *end;

	while (piece.n && (end = memchr(piece.p, '\n', piece.n))) {
		struct str line = {piece.p, (uint32_t)(end - piece.p)};

		piece.p += line.n + 1;
		piece.n -= line.n + 1;
		if (!w->line.n) {
			line_done(w, line, now);
			continue;
		}
		buf_addstr(&w->line, line);
		line_done(w, buf_str(&w->line), now);
		w->line.n = 0;
	}
	buf_addstr(&w->line, piece);
}

static void on_end(void *arg, struct conn *c, const struct answer *a)
{
	struct watch *w = arg;

	w->ended = true;
}

/* The resourceVersion of a list of one, quoted as it stands. */
static bool version_of(struct client *cl, struct conn *c, const char *path, char *out, size_t size)
{
	struct answer a = http_call(cl, c, "GET", pathf("%s?limit=1", path), (struct str){0});
	zone *z = zone_new();
	bool ok = false;
	value v;

	if (a.status == 200 && !json_decode(z, a.body, &v, NULL, NULL)) {
		struct str rv = v_as_str(v_path(&v, "metadata.resourceVersion"));

		snprintf(out, size, STR_FMT, STR_ARG(rv));
		ok = rv.n > 0;
	}
	zone_free(z);
	return ok;
}

bool watch_open(struct watch *w, struct client *cl, const char *path, const char *query)
{
	char rv[32];

	w->conn = conn_open(cl, NULL);
	w->ended = false;
	w->line.n = 0;
	if (!w->conn || !version_of(cl, w->conn, path, rv, sizeof(rv)))
		return false;
	http_send(w->conn, "GET",
		  pathf("%s?watch=1&resourceVersion=%s&timeoutSeconds=3600%s", path, rv, query),
		  NULL, (struct str){0}, on_piece, on_end, w);
	return true;
}

void watch_close(struct watch *w)
{
	conn_close(w->conn);
	buf_free(&w->line);
	w->conn = NULL;
}
