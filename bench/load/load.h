/*
 * load.h - what the scenarios share: what was asked for, meters that keep
 * latencies and show progress, and the pool that sends requests on schedule.
 */
#ifndef LOAD_H
#define LOAD_H

#include "bench/dice.h"
#include "bench/load/hist.h"
#include "bench/load/http.h"

/* What was asked for on the command line; see usage() in main.c. */
struct options {
	const char *kubeconfig, *json, *ops, *ns, *label;
	uint64_t seed;
	double rate;	  /* a second; 0: as fast as it goes */
	double seconds;	  /* for each measurement */
	uint32_t streams; /* requests that share a connection, over HTTP/2; 0: HTTP/1.1 */
	uint32_t connections, objects, watchers, limit, count, replicas, bytes;
	double writes; /* other writes a second, while watchers are measured */
	double target; /* of the figure, for the ratio */
	bool keep;     /* leave what was made */
	bool blind;    /* watch nothing */
};
extern struct options opt;

/* A scenario: measures, reports; returns the exit status. */
struct scenario {
	const char *name, *what;
	int (*run)(struct client *cl);
	bool reads; /* only that: it needs no namespace of its own */
};
extern const struct scenario scenarios[];
extern const uint32_t scenario_count;

int run_api(struct client *cl);
int run_watch(struct client *cl);
int run_scan(struct client *cl);
int run_deployments(struct client *cl);
int run_churn(struct client *cl);
int run_nodes(struct client *cl);

int64_t now_ns(void); /* monotonic */
/* The number that stands behind `key` in a text; -1: no such key. */
long number_after(struct str text, const char *key);
/* SIGINT or SIGTERM came: finish. */
bool interrupted(void);

/* Which of several operations is next, each with its weight. */
#define MIX_MAX 8
struct mix {
	uint32_t weight[MIX_MAX], sum;
};
/* "get=6+patch=2" (a name alone: 1), of `n` names; `text` is cut up.  The name that is not
 * among them, or NULL. */
const char *mix_parse(struct mix *m, char *text, const char *const *names, uint32_t n);
uint32_t mix_draw(const struct mix *m, struct dice *d);

/* --- Meters ------------------------------------------------------------------------- */

#define METER_SECONDS 3600

/* One kind of thing that is counted and timed. */
struct meter {
	const char *name;
	struct hist hist;
	uint64_t errors;
	int error_status;	      /* HTTP's, of the last one */
	int64_t start, end;	      /* of the measurement; end: of what came last */
	int64_t gap;		      /* the longest time in which nothing came */
	uint32_t each[METER_SECONDS]; /* done in each second */
	uint64_t shown;
};

void meter_start(struct meter *m, const char *name, int64_t now);
/* One was done at `now` that was meant to begin at `intended`. */
void meter_add(struct meter *m, int64_t intended, int64_t now);
void meter_error(struct meter *m, int status);
/* A line on stderr about what the meters counted since the last one: once a
 * second, when called often. */
void meters_show(struct meter *m, uint32_t n, int64_t now);
/* Done in a second, from the start to the last one. */
double meter_rate(const struct meter *m);
/* The summary: one line, and JSON.  `figure` in `unit` is what counts, e.g. the
 * rate or a percentile; with `lower`, less of it is better. */
void meter_report(const struct meter *m, const char *name, double figure, const char *unit,
		  bool lower);
static inline double meter_ms(const struct meter *m, double share)
{
	return (double)hist_at(&m->hist, share) / 1e6;
}

/* --- The pool: requests on schedule ------------------------------------------------- */

/* A request to make and what to do with its answer. */
struct job {
	struct pool *pool;
	struct conn *conn;
	int64_t intended;
	struct buf path, body;
	const char *method, *kind;
	struct meter *meter;
	uint32_t key, what; /* the maker's own */
	bool open;	    /* sent, and not answered */
};

struct pool {
	struct client *cl;
	struct job *jobs; /* one a connection */
	uint32_t n, nidle;
	uint32_t *idle;
	double rate;
	int64_t start, until; /* what is due in between is sent */
	uint64_t sent;
	/* Fill in path, body, method, kind and meter; false: there is nothing
	 * (more) to do. */
	bool (*make)(struct pool *p, struct job *j);
	/* May be NULL. */
	void (*answered)(struct pool *p, struct job *j, const struct answer *a);
	void *arg;
	bool exhausted;
	int64_t retry; /* when to try to connect again */
};

/* Opens `n` connections; each has had an answer, so that what follows pays for requests alone. */
void pool_open(struct pool *p, struct client *cl, uint32_t n);
void pool_close(struct pool *p);
/* The schedule begins now, at `rate` requests a second (0: each connection
 * sends its next when it has its answer). */
void pool_start(struct pool *p, double rate);
/* Send what is due and has a connection free.  Each request's latency counts
 * from when it was due, whether or not it could be sent then: a server that
 * stands still for a second is charged for all requests of that second. */
void pool_send(struct pool *p);
/* Until what is due next, at most `most` ns. */
int64_t pool_wait(const struct pool *p, int64_t most);
/* Take answers until no request is open, for 10 s at most; what is open then is an error. */
void pool_drain(struct pool *p);
/* For `seconds`: start, send, show meters, drain.  What was due in that time and could not even
 * be sent is an error, too. */
void pool_run(struct pool *p, double rate, double seconds, struct meter *m, uint32_t nmeters);

/* --- Deployments ------------------------------------------------------------------- */

/* What an event of a watch says of a Deployment. */
struct deployment_seen {
	uint32_t i; /* UINT32_MAX: it is none of ours */
	bool gone;
	uint64_t generation, observed;
	uint32_t wanted, replicas, updated, ready, available;
};

/* Deployments "d-0"... of the run and what is known of them. */
struct deployment {
	int64_t intended;  /* when its change was due */
	uint32_t replicas; /* wanted */
	bool waiting;	   /* for that change to be brought about */
	bool answered;	   /* and which generation it made is known: */
	uint64_t generation;
	struct deployment_seen last; /* event since the step began, */
	int64_t last_ns;	     /* and when it came */
};
void deployment_path(struct buf *out, uint32_t i);
void deployment_body(struct buf *out, uint32_t i, uint32_t replicas, uint32_t image);
/* Creates opt.count of opt.replicas each and waits until all are Ready. */
struct deployment *deployments_ready(struct client *cl);

struct deployment_seen deployment_event(struct str line);
/* All that it wants is there, of its newest template, and Ready. */
bool deployment_done(const struct deployment_seen *s);

/* --- Watches ------------------------------------------------------------------------ */

/* A watch: calls `event` with each line of its stream. */
struct watch {
	struct conn *conn;
	struct buf line;
	void (*event)(struct watch *w, struct str line, int64_t now);
	void *arg;
	bool ended;
};

/* Begins at the version that `path` is at now; path has no query. */
bool watch_open(struct watch *w, struct client *cl, const char *path, const char *query);
void watch_close(struct watch *w);

/* --- What is made before and removed after ------------------------------------------ */

/* A connection that has to be there. */
struct conn *must_open(struct client *cl);
/* Make the namespace opt.ns; wait until a ServiceAccount is in it. */
void make_namespace(struct client *cl);
void remove_namespace(struct client *cl);
/* The number at `path` in an object, 0 if it is not there. */
int64_t get_number(struct client *cl, struct conn *c, struct str path, const char *member);
struct str pathf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
