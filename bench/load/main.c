/*
 * main.c - `load SCENARIO`: synthetic load on a cluster through its API, weft's
 * or any other's.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load/load.h"
#include "weft/json.h"

const struct scenario scenarios[] = {
	{"api",
	 "requests one by one: --ops get,create,patch,update,delete,list, or a mix: get=6+patch=2",
	 run_api, false},
	{"watch",
	 "--watchers of one object, written --rate times a second; --writes others meanwhile",
	 run_watch, false},
	{"scan", "a list of all pods, in pages of --limit (0: whole)", run_scan, true},
	{"deployments",
	 "--count Deployments of --replicas through --ops create,roll,down,up,delete",
	 run_deployments, false},
	{"churn",
	 "--count Deployments scaled at random, --rate times a second; gaps in what comes of it",
	 run_churn, false},
	{"nodes", "--count Nodes deleted, --rate a second, until their pods run elsewhere",
	 run_nodes, false},
};
const uint32_t scenario_count = countof(scenarios);

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

bool interrupted(void)
{
	return stop;
}

struct conn *must_open(struct client *cl)
{
	const char *why;
	struct conn *c = conn_open(cl, &why);

	if (!c)
		weft_fatal("cannot connect: %s", why);
	return c;
}

int64_t get_number(struct client *cl, struct conn *c, struct str path, const char *member)
{
	struct answer a = http_call(cl, c, "GET", path, (struct str){0});
	zone *z = zone_new();
	int64_t n = 0;
	value v;

	if (a.status == 200 && !json_decode(z, a.body, &v, NULL, NULL))
		n = v_as_int(v_path(&v, member), 0);
	zone_free(z);
	return n;
}

static int get_status(struct client *cl, struct conn *c, struct str path)
{
	return http_call(cl, c, "GET", path, (struct str){0}).status;
}

void make_namespace(struct client *cl)
{
	struct conn *c = must_open(cl);
	struct str account = pathf("/api/v1/namespaces/%s/serviceaccounts/default", opt.ns);
	int64_t until = now_ns() + 30000000000;
	struct answer a;

	a = http_call(cl, c, "POST", STR("/api/v1/namespaces"),
		      pathf("{\"metadata\":{\"name\":\"%s\"}}", opt.ns));
	if (a.status != 201 && a.status != 409)
		weft_fatal("cannot make namespace %s: status %d", opt.ns, a.status);
	while (get_status(cl, c, account) != 200 && now_ns() < until)
		client_turn(cl, 20000000);
	conn_close(c);
}

/* And wait until it is gone, for a while: what comes next is not to be measured
 * while the cluster still clears away what was made here. */
void remove_namespace(struct client *cl)
{
	struct timespec pause = {.tv_nsec = 20000000};
	int64_t until = now_ns() + 10000000000;
	char path[128];
	struct conn *c;

	if (opt.keep)
		return;
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", opt.ns);
	c = must_open(cl);
	http_call(cl, c, "DELETE", str_of(path), (struct str){0});
	while (!interrupted() && now_ns() < until && get_status(cl, c, str_of(path)) == 200)
		nanosleep(&pause, NULL);
	conn_close(c);
}

/* --- The command line --------------------------------------------------------------- */

static const struct flag {
	const char *name, *what;
	char type; /* s, d: double, u: number, U: wide number, b: set */
	void *at;
} flags[] = {
	{"kubeconfig", "of the cluster (default: $KUBECONFIG)", 's', &opt.kubeconfig},
	{"seed", "what is random follows from it", 'U', &opt.seed},
	{"rate", "a second, whatever the server does; 0: as fast as it goes", 'd', &opt.rate},
	{"seconds", "for each measurement", 'd', &opt.seconds},
	{"connections", "kept open", 'u', &opt.connections},
	{"streams", "of them that share one, over HTTP/2; 0: none, over HTTP/1.1", 'u',
	 &opt.streams},
	{"objects", "that exist and are read and changed", 'u', &opt.objects},
	{"bytes", "of data in each object", 'u', &opt.bytes},
	{"ops", "what to do, in turn", 's', &opt.ops},
	{"watchers", "watches open", 'u', &opt.watchers},
	{"writes", "other writes a second, while watchers are measured", 'd', &opt.writes},
	{"limit", "of a page; 0: the whole list", 'u', &opt.limit},
	{"count", "Deployments (or Nodes)", 'u', &opt.count},
	{"replicas", "of each Deployment", 'u', &opt.replicas},
	{"namespace", "to work in", 's', &opt.ns},
	{"label", "goes before the figures' names", 's', &opt.label},
	{"target", "of the figure", 'd', &opt.target},
	{"keep", "leave what was made", 'b', &opt.keep},
	{"blind", "watch nothing: load alone", 'b', &opt.blind},
};

static int usage(void)
{
	fprintf(stderr, "usage: load SCENARIO [--OPTION VALUE ...]\n\nscenarios:\n");
	for (uint32_t i = 0; i < scenario_count; i++)
		fprintf(stderr, "  %-12s %s\n", scenarios[i].name, scenarios[i].what);
	fprintf(stderr, "\noptions:\n");
	for (uint32_t i = 0; i < countof(flags); i++)
		fprintf(stderr, "  --%-12s %s\n", flags[i].name, flags[i].what);
	fprintf(stderr, "\nProgress goes to stderr, a line for each figure to stdout; with\n"
			"WEFT_BENCH_JSON=FILE also JSON.\n");
	return 2;
}

static bool set_flag(const struct flag *f, const char *text)
{
	char *end = "";

	switch (f->type) {
	case 's':
		*(const char **)f->at = text;
		break;
	case 'b':
		*(bool *)f->at = true;
		break;
	case 'd':
		*(double *)f->at = strtod(text, &end);
		break;
	case 'u':
		*(uint32_t *)f->at = (uint32_t)strtoul(text, &end, 10);
		break;
	case 'U':
		*(uint64_t *)f->at = strtoull(text, &end, 10);
		break;
	}
	return !*end;
}

static bool read_flags(int argc, char **argv)
{
	struct option longs[countof(flags) + 1] = {0};
	int i;

	for (uint32_t k = 0; k < countof(flags); k++)
		longs[k] = (struct option){flags[k].name, flags[k].type != 'b', NULL, 0};
	while (getopt_long(argc, argv, "", longs, &i) == 0)
		if (!set_flag(&flags[i], optarg))
			return false;
	return optind == argc && optopt == 0;
}

static const struct scenario *find_scenario(const char *name)
{
	for (uint32_t i = 0; name && i < scenario_count; i++)
		if (strcmp(scenarios[i].name, name) == 0)
			return &scenarios[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct scenario *s = find_scenario(argv[1]);
	struct client *cl;
	int status;

	weft_raise_descriptors();
	opt.kubeconfig = getenv("KUBECONFIG");
	if (!s || !read_flags(argc - 1, argv + 1) || !opt.kubeconfig || !opt.connections)
		return usage();
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	opt.seed += !opt.seed;
	fprintf(stderr, "load %s: seed %llu\n", s->name, (unsigned long long)opt.seed);
	cl = client_new(target_open(opt.kubeconfig));
	if (!s->reads)
		make_namespace(cl);
	status = s->run(cl);
	if (!s->reads)
		remove_namespace(cl);
	client_free(cl);
	return status;
}
