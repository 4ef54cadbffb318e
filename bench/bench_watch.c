/*
 * bench_watch.c - how soon one write is seen by many watchers over TLS, while
 * nothing else happens and while other objects are written all the time.
 *
 *   bench_watch [WATCHERS] [SECONDS] [WRITES A SECOND] [KUBECONFIG]
 *
 * Default: 1,000 watchers, 5 s, 10,000/s, a cluster of its own.  The time runs from
 * before the write is sent until a watcher's event has been decrypted, the client's
 * own work included; all watchers are served by one thread of the client.  Beside it
 * stands what the sockets alone take in the same minute: another process sends as many
 * bytes to as many connections, without TLS, and they are read.
 */
#include <pthread.h>
#include <sys/epoll.h>

#include "https.h"

#define NS	"/api/v1/namespaces/bench-watch/configmaps"
#define OTHER	"/api/v1/namespaces/bench-watch-other/configmaps"
#define PAUSE_S 0.05 /* between two writes that are watched */
#define OTHERS	100  /* objects that are written meanwhile */
#define LOADERS 8    /* connections that do so */
#define EVENTS	256

static char text[801]; /* an object is 1 KB */

static void make_object(struct buf *out, const char *name, uint64_t n)
{
	out->n = 0;
	buf_printf(out, "{\"metadata\":{\"name\":\"%s\"},\"data\":{\"n\":\"%llu\",\"text\":\"%s\"}}",
		   name, (unsigned long long)n, text);
}

static void put(struct https_conn *c, const char *path, const char *name, uint64_t n)
{
	struct buf body = {0}, full = {0};

	make_object(&body, name, n);
	buf_printf(&full, "%s/%s", path, name);
	https_send(c, "PUT", full.p, body.p, body.n);
	buf_free(&body);
	buf_free(&full);
}

/* --- Other writes ------------------------------------------------------------------------ */

static _Atomic int load_rate; /* a second; 0: none */
static _Atomic int load_end;
static _Atomic uint64_t load_done, load_failed;

/* Answers that have come whole. */
static int take_answers(struct https_conn *c)
{
	int n = 0, code;
	long length;
	size_t head, at = 0;

	https_receive(c);
	for (;;) {
		struct buf rest = {c->in.p + at, c->in.n - at, 0};

		head = https_head(&rest, &code, &length);
		if (!head || rest.n < head + (size_t)length)
			break;
		at += head + (size_t)length;
		load_failed += code != 200;
		n++;
	}
	memmove(c->in.p, c->in.p + at, c->in.n - at);
	c->in.n -= at;
	return n;
}

/* Writes at the set rate, without waiting for answers (up to 64 on each connection). */
static void *load(void *arg)
{
	struct https_conn c[LOADERS];
	int open[LOADERS] = {0};
	double due = 0;
	uint64_t n = 0;
	char name[32];

	for (int i = 0; i < LOADERS; i++)
		https_open(&c[i]);
	while (!load_end) {
		double now = bench_now();

		if (!load_rate) {
			due = now;
			usleep(1000);
			continue;
		}
		for (int i = 0; i < LOADERS; i++) {
			if (open[i])
				open[i] -= take_answers(&c[i]);
			for (; due < now && open[i] < 64; open[i]++, n++, due += 1.0 / load_rate) {
				snprintf(name, sizeof(name), "other-%d", (int)(n % OTHERS));
				put(&c[i], OTHER, name, n);
			}
		}
		if (due < now - 1)
			due = now - 1; /* it cannot be kept up: what is done is told */
		load_done = n;
		usleep(300);
	}
	for (int i = 0; i < LOADERS; i++)
		https_close(&c[i]);
	return NULL;
}

/* --- Watchers ------------------------------------------------------------------------------ */

static int nwatchers = 1000, epoll_fd;
static struct https_conn *watcher;
static double sent_at;
static uint64_t sent, seen;
static float *took; /* of each event, ms */
static size_t ntook, took_max;

static void open_watchers(void)
{
	watcher = calloc((size_t)nwatchers, sizeof(*watcher));
	epoll_fd = epoll_create1(0);
	for (int i = 0; i < nwatchers; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		https_open(&watcher[i]);
		https_send(&watcher[i], "GET", NS "?watch=1", NULL, 0);
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watcher[i].fd, &ev);
	}
}

/* The events that one watcher got: each line with the number of the last write. */
static void take_events(struct https_conn *c)
{
	char number[32], *end;

	https_receive(c);
	snprintf(number, sizeof(number), "\"n\":\"%llu\"", (unsigned long long)sent);
	while (c->in.n && (end = memchr(c->in.p, '\n', c->in.n))) {
		size_t n = (size_t)(end + 1 - c->in.p);

		if (sent && memmem(c->in.p, n, number, strlen(number))) {
			seen++;
			if (ntook < took_max)
				took[ntook++] = (float)((bench_now() - sent_at) * 1000);
		}
		memmove(c->in.p, c->in.p + n, c->in.n - n);
		c->in.n -= n;
	}
}

static void serve(int wait_ms)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(epoll_fd, ev, EVENTS, wait_ms);

	for (int i = 0; i < n; i++)
		take_events(&watcher[ev[i].data.u32]);
}

static int by_time(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* Write now and then for `seconds`, each time until all have seen it. */
static void measure(struct https_conn *writer, double seconds, const char *name, double target)
{
	struct bench p50 = {.name = name, .unit = "ms (median)", .goal = BENCH_LOWER};
	struct bench p99 = {.name = name, .unit = "ms (99th percentile)", .goal = BENCH_LOWER,
			    .target = target};
	double end = bench_now() + seconds, cpu[2] = {0}, bytes;
	uint64_t before = load_done, lost = 0;

	ntook = 0;
	https_usage("apiserver/0", &cpu[0], &bytes);
	while (bench_now() < end) {
		double next = bench_now() + PAUSE_S;

		seen = 0;
		sent++;
		writer->in.n = 0;
		sent_at = bench_now();
		put(writer, NS, "seen", sent);
		while (seen < (uint64_t)nwatchers && bench_now() < sent_at + 5)
			serve(1);
		lost += (uint64_t)nwatchers - seen;
		if (https_answer(writer) != 200)
			die("a write failed: %s", writer->in.p);
		while (bench_now() < next)
			serve(1);
	}
	qsort(took, ntook, sizeof(*took), by_time);
	if (!ntook)
		die("nobody saw anything");
	bench_add(&p50, took[ntook / 2]);
	bench_add(&p99, took[ntook - 1 - ntook / 100]);
	bench_report(&p50);
	bench_report(&p99);
	if (https_usage("apiserver/0", &cpu[1], &bytes))
		printf("  %.1f us of the API server's CPU for each event\n",
		       (cpu[1] - cpu[0]) / (double)ntook * 1e6);
	if (load_rate)
		printf("  meanwhile %.0f other writes a second, %llu failed\n",
		       (double)(load_done - before) / seconds, (unsigned long long)load_failed);
	if (lost)
		printf("  %llu EVENTS WERE NOT SEEN\n", (unsigned long long)lost);
}

/* --- The sockets alone ------------------------------------------------------------------------- */

#define RECORD_BYTES 1450 /* of an event under TLS */

/* Sends a record to each connection whenever a byte comes through `go`. */
static void send_records(int door, int go)
{
	int *fd = calloc((size_t)nwatchers, sizeof(*fd)), one = 1;
	char record[RECORD_BYTES] = {0}, byte;

	for (int i = 0; i < nwatchers; i++) {
		fd[i] = accept(door, NULL, NULL);
		setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	while (read(go, &byte, 1) == 1)
		for (int i = 0; i < nwatchers; i++)
			if (send(fd[i], record, sizeof(record), MSG_NOSIGNAL) < 0)
				_exit(1);
	_exit(0);
}

/* Read what is there; how many records became whole. */
static int take_records(int epoll, int *got, const int *fd)
{
	static char pool[HTTPS_PIECE];
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(epoll, ev, EVENTS, 1), whole = 0;

	for (int i = 0; i < n; i++) {
		uint32_t k = ev[i].data.u32;
		ssize_t r = recv(fd[k], pool, sizeof(pool), 0);

		got[k] += r > 0 ? (int)r : 0;
		if (got[k] < RECORD_BYTES)
			continue;
		got[k] -= RECORD_BYTES;
		whole++;
		if (ntook < took_max)
			took[ntook++] = (float)((bench_now() - sent_at) * 1000);
	}
	return whole;
}

static void measure_sockets(double seconds)
{
	struct bench p99 = {.name = "watch: the sockets alone", .unit = "ms (99th percentile)",
			    .goal = BENCH_LOWER};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int *fd = calloc((size_t)nwatchers, sizeof(*fd)), *got = calloc((size_t)nwatchers, sizeof(*got));
	int door = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), go[2];
	double end = bench_now() + seconds;
	socklen_t n = sizeof(at);
	pid_t pid;

	if (bind(door, (struct sockaddr *)&at, n) || listen(door, nwatchers) ||
	    getsockname(door, (struct sockaddr *)&at, &n) || pipe(go))
		die("no socket");
	pid = fork();
	if (!pid) {
		close(go[1]);
		send_records(door, go[0]);
	}
	for (int i = 0; i < nwatchers; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		fd[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd[i], (struct sockaddr *)&at, n))
			die("no connection");
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd[i], &ev);
	}
	ntook = 0;
	while (bench_now() < end) {
		int whole = 0;

		sent_at = bench_now();
		if (write(go[1], "x", 1) != 1)
			die("no pipe");
		while (whole < nwatchers && bench_now() < sent_at + 5)
			whole += take_records(epoll, got, fd);
		usleep((unsigned)(PAUSE_S * 1e6));
	}
	close(go[1]);
	waitpid(pid, NULL, 0);
	qsort(took, ntook, sizeof(*took), by_time);
	bench_add(&p99, took[ntook - 1 - ntook / 100]);
	bench_report(&p99);
	for (int i = 0; i < nwatchers; i++)
		close(fd[i]);
	close(door);
	close(epoll);
	free(fd);
	free(got);
}

static void prepare(struct https_conn *c)
{
	static const char *const paths[] = {"bench-watch", "bench-watch-other"};
	struct buf body = {0};
	char name[64];

	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "{\"metadata\":{\"name\":\"%s\"}}", paths[i]);
		https_ask(c, "POST", "/api/v1/namespaces", name);
	}
	make_object(&body, "seen", 0);
	for (int i = 0; https_ask(c, "POST", NS, body.p) >= 404 && i < 50; i++)
		usleep(100000); /* until its namespace is there */
	for (int i = 0; i < OTHERS; i++) {
		snprintf(name, sizeof(name), "other-%d", i);
		make_object(&body, name, 0);
		https_ask(c, "POST", OTHER, body.p);
	}
	buf_free(&body);
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? atof(argv[2]) : 5;
	int rate = argc > 3 ? atoi(argv[3]) : 10000;
	struct https_conn writer;
	pthread_t loader;
	char name[64];

	if (argc > 1)
		nwatchers = atoi(argv[1]);
	took_max = (size_t)(seconds / PAUSE_S + 2) * (size_t)nwatchers;
	took = calloc(took_max, sizeof(*took));
	if (argc > 4)
		https_use_kubeconfig(argv[4]);
	else
		https_start("");
	https_open(&writer);
	prepare(&writer);
	open_watchers();
	for (double until = bench_now() + 1; bench_now() < until;)
		serve(10);
	pthread_create(&loader, NULL, load, NULL);
	snprintf(name, sizeof(name), "watch: a write seen by %d", nwatchers);
	measure(&writer, seconds, name, 5);
	measure_sockets(seconds / 2);
	load_rate = rate;
	snprintf(name, sizeof(name), "watch: the same, %d writes/s go on", rate);
	usleep(500000);
	measure(&writer, seconds, name, 10);
	load_end = 1;
	pthread_join(loader, NULL);
	https_ask(&writer, "DELETE", "/api/v1/namespaces/bench-watch", NULL);
	https_ask(&writer, "DELETE", "/api/v1/namespaces/bench-watch-other", NULL);
	return 0;
}
