/* scan.c - a big list: all pods, page by page or whole, in bytes a second. */
#include <stdio.h>
#include <string.h>

#include "bench/load/load.h"

static struct scan {
	struct meter meter;
	uint64_t bytes, items;
	char next[2048];  /* continue token, escaped */
	struct buf token; /* what may be the beginning of one */
	bool page_done;
	int status;
} scan;

static const char item_key[] = "\"creationTimestamp\"";
#define ITEM_KEY_N (sizeof(item_key) - 1)

static uint64_t count_in(const char *at, size_t n)
{
	const char *end = at + n;
	uint64_t items = 0;

	while ((at = memmem(at, (size_t)(end - at), item_key, ITEM_KEY_N))) {
		at += ITEM_KEY_N;
		items++;
	}
	return items;
}

/* Items are counted by the one key that each one's metadata has and nothing else
 * does, also where it lies across two pieces. */
static void count_items(struct str piece)
{
	static char seam[2 * ITEM_KEY_N];
	static size_t before;
	size_t after = piece.n < ITEM_KEY_N - 1 ? piece.n : ITEM_KEY_N - 1;

	memcpy(seam + before, piece.p, after);
	scan.items += count_in(piece.p, piece.n) + count_in(seam, before + after);
	before = after;
	memcpy(seam, piece.p + piece.n - after, after);
}

/* A page's continue token stands in the list's metadata: first in what some
 * servers send, last in others'; either way within 4 KiB of an end. */
static void find_token(struct str text)
{
	static const char key[] = "\"continue\":\"";
	const char *at = memmem(text.p, text.n, key, sizeof(key) - 1), *end;
	size_t n = 0;

	if (!at)
		return;
	at += sizeof(key) - 1;
	end = memchr(at, '"', (size_t)(text.p + text.n - at));
	for (; end && at < end && n + 4 < sizeof(scan.next); at++)
		n += (size_t)sprintf(scan.next + n, strchr("+/=", *at) ? "%%%02X" : "%c", *at);
}

static void on_piece(void *arg, struct conn *c, struct str piece)
{
	scan.bytes += piece.n;
	count_items(piece);
	if (scan.token.n < 4096)
		buf_add(&scan.token, piece.p, piece.n < 4096 ? piece.n : 4096);
	if (opt.limit && !scan.next[0])
		find_token(piece);
}

static void on_page(void *arg, struct conn *c, const struct answer *a)
{
	scan.page_done = true;
	scan.status = a->status;
}

static bool get_page(struct client *cl, struct conn *c)
{
	struct str path = pathf("/api/v1/pods?limit=%u&continue=%s", opt.limit, scan.next);
	int64_t start = now_ns();

	if (!opt.limit)
		path = STR("/api/v1/pods");
	scan.next[0] = '\0';
	scan.token.n = 0;
	scan.page_done = false;
	http_send(c, "GET", path, NULL, (struct str){0}, on_piece, on_page, NULL);
	while (!scan.page_done && !interrupted()) {
		client_turn(cl, 100000000);
		meters_show(&scan.meter, 1, now_ns());
	}
	if (!scan.next[0])
		find_token(buf_str(&scan.token));
	if (scan.status != 200) {
		meter_error(&scan.meter, scan.status);
		return false;
	}
	meter_add(&scan.meter, start, now_ns());
	return scan.next[0] && !interrupted();
}

int run_scan(struct client *cl)
{
	struct conn *c = must_open(cl);
	char name[64];
	double seconds;

	meter_start(&scan.meter, "pages", now_ns());
	while (get_page(cl, c))
		;
	seconds = (double)(scan.meter.end - scan.meter.start) / 1e9;
	snprintf(name, sizeof(name), opt.limit ? "scan/%u" : "scan/whole", opt.limit);
	fprintf(stderr, "%s: %llu items, %.1f MB, %.2f s, %.0f items/s\n", name,
		(unsigned long long)scan.items, (double)scan.bytes / 1e6, seconds,
		(double)scan.items / seconds);
	meter_report(&scan.meter, name, (double)scan.bytes / 1e6 / seconds, "MB/s", false);
	conn_close(c);
	buf_free(&scan.token);
	return scan.meter.errors > 0;
}
