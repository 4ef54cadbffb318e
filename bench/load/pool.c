/* pool.c - requests on schedule over many connections. */
#include <stdlib.h>

#include "bench/load/load.h"

#define LATE_MAX_NS 10000000000 /* for what is open or due when the time is over */

void pool_open(struct pool *p, struct client *cl, uint32_t n)
{
	p->cl = cl;
	p->n = p->nidle = n;
	p->jobs = calloc(n, sizeof(*p->jobs));
	p->idle = calloc(n, sizeof(*p->idle));
	if (!p->jobs || !p->idle)
		weft_fatal("no memory for %u connections", n);
	for (uint32_t i = 0; i < n; i++) {
		p->jobs[i].pool = p;
		p->jobs[i].conn = must_open(cl);
		p->idle[i] = i;
	}
	/* The server's half of a handshake goes on when ours is over. */
	for (uint32_t i = 0; i < n; i++)
		http_call(cl, p->jobs[i].conn, "GET", STR("/version"), (struct str){0});
}

void pool_close(struct pool *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		conn_close(p->jobs[i].conn);
		buf_free(&p->jobs[i].path);
		buf_free(&p->jobs[i].body);
	}
	free(p->jobs);
	free(p->idle);
}

void pool_start(struct pool *p, double rate)
{
	p->rate = rate;
	p->start = now_ns();
	p->until = INT64_MAX;
	p->sent = 0;
	p->exhausted = false;
}

static bool works(const struct job *j)
{
	return j->conn && !conn_broken(j->conn);
}

/* Open the job's connection again. */
static bool revive(struct pool *p, struct job *j)
{
	if (now_ns() < p->retry)
		return false;
	conn_close(j->conn);
	j->conn = conn_open(p->cl, NULL);
	p->retry = now_ns() + (j->conn ? 0 : 1000000);
	return j->conn != NULL;
}

static void answered(void *arg, struct conn *c, const struct answer *a)
{
	struct job *j = arg;
	struct pool *p = j->pool;

	j->open = false;
	if (a->status / 100 == 2)
		meter_add(j->meter, j->intended, now_ns());
	else
		meter_error(j->meter, a->status);
	if (p->answered)
		p->answered(p, j, a);
	p->idle[p->nidle++] = (uint32_t)(j - p->jobs);
}

/* When request number `i` is due. */
static int64_t due(const struct pool *p, uint64_t i)
{
	return p->start + (int64_t)((double)i * 1e9 / p->rate);
}

/* Is there a request that is due at `now`?  Without a rate there always is. */
static bool is_due(const struct pool *p, int64_t now)
{
	int64_t at = p->rate ? due(p, p->sent) : now;

	return !p->exhausted && at <= now && at < p->until;
}

void pool_send(struct pool *p)
{
	int64_t now = now_ns();

	while (p->nidle && is_due(p, now)) {
		struct job *j = &p->jobs[p->idle[p->nidle - 1]];
		bool revived = !works(j);

		if (revived && !revive(p, j))
			return;
		j->path.n = j->body.n = 0;
		j->kind = NULL;
		if (!p->make(p, j)) {
			p->exhausted = true;
			return;
		}
		j->intended = p->rate ? due(p, p->sent) : now_ns();
		j->open = true;
		p->sent++;
		p->nidle--;
		http_send(j->conn, j->method, buf_str(&j->path), j->kind, buf_str(&j->body), NULL,
			  answered, j);
		if (revived) /* that took a while: look for answers first */
			return;
	}
}

int64_t pool_wait(const struct pool *p, int64_t most)
{
	int64_t now = now_ns(), left = most;

	if (p->retry > now)
		left = p->retry - now;
	else if (p->nidle && !p->exhausted)
		left = p->rate ? due(p, p->sent) - now : 0;
	return left < 0 ? 0 : left < most ? left : most;
}

void pool_drain(struct pool *p)
{
	int64_t until = now_ns() + LATE_MAX_NS;

	while (p->nidle < p->n && now_ns() < until)
		client_turn(p->cl, 10000000);
	for (uint32_t i = 0; i < p->n; i++)
		if (p->jobs[i].open)
			meter_error(p->jobs[i].meter, 0);
}

/* What was due and found no connection free until all waiting was over. */
static void count_unsent(struct pool *p)
{
	struct job j = {.pool = p};

	for (; p->rate && is_due(p, p->until - 1) && p->make(p, &j); p->sent++) {
		meter_error(j.meter, 0);
		j.path.n = j.body.n = 0;
	}
	buf_free(&j.path);
	buf_free(&j.body);
}

void pool_run(struct pool *p, double rate, double seconds, struct meter *m, uint32_t nmeters)
{
	int64_t now;

	pool_start(p, rate);
	p->until = p->start + (int64_t)(seconds * 1e9);
	/* Whoever was late with the last ones is charged for them, too. */
	while (((now = now_ns()) < p->until || (is_due(p, now) && now < p->until + LATE_MAX_NS)) &&
	       !interrupted() && !(p->exhausted && p->nidle == p->n)) {
		pool_send(p);
		client_turn(p->cl, pool_wait(p, 10000000));
		meters_show(m, nmeters, now_ns());
	}
	pool_drain(p);
	if (!interrupted())
		count_unsent(p);
}
