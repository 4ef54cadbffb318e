/*
 * watchers.c - many watchers of one object: how long after a write was due each
 * of them sees it.  The object carries the time at which its write was due.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"

static struct {
	struct meter meters[3];
	struct watch *watches;
	struct pool writer, others;
	uint64_t nonce;
} watchers;

enum { SEEN, WRITTEN, OTHER };

static void on_event(struct watch *w, struct str line, int64_t now)
{
	static const char key[] = "\"due\":\"";
	const char *at = memmem(line.p, line.n, key, sizeof(key) - 1);

	if (at)
		meter_add(&watchers.meters[SEEN], atoll(at + sizeof(key) - 1), now);
}

/* When the request that is being made is due, as pool_send() counts it. */
static int64_t due_now(const struct pool *p)
{
	return p->start + (int64_t)((double)p->sent * 1e9 / p->rate);
}

static bool make_write(struct pool *p, struct job *j)
{
	j->method = "PATCH";
	j->kind = "application/merge-patch+json";
	j->meter = &watchers.meters[WRITTEN];
	buf_printf(&j->path, "/api/v1/namespaces/%s/configmaps/watched", opt.ns);
	buf_printf(&j->body, "{\"data\":{\"due\":\"%lld\"}}", (long long)due_now(p));
	return true;
}

/* In the same namespace but of another kind, so that no watcher is sent it. */
static bool make_other(struct pool *p, struct job *j)
{
	uint64_t n = watchers.nonce++;

	j->method = "PATCH";
	j->kind = "application/merge-patch+json";
	j->meter = &watchers.meters[OTHER];
	buf_printf(&j->path, "/api/v1/namespaces/%s/secrets/other-%llu", opt.ns,
		   (unsigned long long)(n % 100));
	buf_printf(&j->body, "{\"metadata\":{\"annotations\":{\"n\":\"%llu\"}}}",
		   (unsigned long long)n);
	return true;
}

static void make_objects(struct client *cl)
{
	struct conn *c = must_open(cl);

	http_call(cl, c, "POST", pathf("/api/v1/namespaces/%s/configmaps", opt.ns),
		  STR("{\"metadata\":{\"name\":\"watched\"}}"));
	for (uint32_t i = 0; i < 100; i++)
		http_call(cl, c, "POST", pathf("/api/v1/namespaces/%s/secrets", opt.ns),
			  pathf("{\"metadata\":{\"name\":\"other-%u\"}}", i));
	conn_close(c);
}

static void open_watchers(struct client *cl)
{
	char path[256];

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps", opt.ns);
	watchers.watches = calloc(opt.watchers, sizeof(*watchers.watches));
	for (uint32_t i = 0; i < opt.watchers; i++) {
		struct watch *w = &watchers.watches[i];

		w->event = on_event;
		if (!watch_open(w, cl, path, "&fieldSelector=metadata.name%3Dwatched"))
			weft_fatal("watcher %u cannot be opened", i);
	}
}

static void turn(struct client *cl)
{
	if (opt.writes)
		pool_send(&watchers.others);
	pool_send(&watchers.writer);
	client_turn(cl, pool_wait(opt.writes ? &watchers.others : &watchers.writer,
				  pool_wait(&watchers.writer, 10000000)));
	meters_show(watchers.meters, opt.writes ? 3 : 2, now_ns());
}

static void run_for(struct client *cl, double seconds)
{
	int64_t until = now_ns() + (int64_t)(seconds * 1e9);

	while (now_ns() < until && !interrupted())
		turn(cl);
}

static void start_meters(void)
{
	static const char *const names[] = {"seen", "written", "others"};

	for (uint32_t i = 0; i < countof(names); i++)
		meter_start(&watchers.meters[i], names[i], now_ns());
}

static uint32_t count_ended(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < opt.watchers; i++)
		n += watchers.watches[i].ended;
	return n;
}

int run_watch(struct client *cl)
{
	struct meter *seen = &watchers.meters[SEEN];
	uint64_t expected;
	char name[64];

	opt.rate = opt.rate ? opt.rate : 5;
	make_objects(cl);
	open_watchers(cl);
	watchers.writer.make = make_write;
	watchers.others.make = make_other;
	pool_open(&watchers.writer, cl, 1);
	if (opt.writes)
		pool_open(&watchers.others, cl, 16);
	start_meters();
	pool_start(&watchers.writer, opt.rate);
	pool_start(&watchers.others, opt.writes);
	run_for(cl, 1); /* warm */
	start_meters();
	run_for(cl, opt.seconds);
	watchers.writer.exhausted = watchers.others.exhausted = true;
	run_for(cl, 1); /* what is on its way */
	expected = watchers.meters[WRITTEN].hist.n * opt.watchers;
	if (seen->hist.n < expected) /* what was never seen is worse than late */
		seen->errors = expected - seen->hist.n;
	snprintf(name, sizeof(name), "watch/%u%s", opt.watchers, opt.writes ? "/writes" : "");
	meter_report(seen, name, meter_ms(seen, 0.99), "ms", true);
	if (opt.writes)
		fprintf(stderr, "others: %.0f/s\n", meter_rate(&watchers.meters[OTHER]));
	if (count_ended() || seen->hist.n < expected * 0.98)
		fprintf(stderr, "%llu of %llu events seen, %u watches ended\n",
			(unsigned long long)seen->hist.n, (unsigned long long)expected,
			count_ended());
	return count_ended() > 0;
}
