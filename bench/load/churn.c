/*
 * churn.c - Deployments scaled up and down at random, at a set rate, while the
 * watches of their ReplicaSets and pods show what each controller does.  The
 * longest time in which one did nothing is what a client sees of its death.
 * Deployments that are there already are taken as they are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"

enum { SCALED, DEPLOYMENT, REPLICASET, SCHEDULER, NODE, METERS };

static const char *const names[METERS] = {"scaled", "deployment", "replicaset", "scheduler",
					  "node"};

static struct {
	struct pool pool;
	struct meter meters[METERS];
	struct dice dice;
	uint32_t *replicas; /* of each Deployment, as asked for */
	bool up;	    /* that was the last change */
} churn;

/* Up and down in turn, or none would come for as long as chance has it; between half of what
 * was asked for and as much more. */
static uint32_t next_scale(uint32_t now)
{
	uint32_t least = opt.replicas / 2 + 1, most = opt.replicas + opt.replicas / 2;
	bool up = (churn.up = !churn.up) ? now < most : now <= least;

	return up ? now + 1 + dice_below(&churn.dice, most - now)
		  : least + dice_below(&churn.dice, now - least);
}

static bool make_scale(struct pool *p, struct job *j)
{
	uint32_t *replicas;

	j->key = dice_below(&churn.dice, opt.count);
	replicas = &churn.replicas[j->key];
	*replicas = next_scale(*replicas);
	j->method = "PATCH";
	j->kind = "application/merge-patch+json";
	j->meter = &churn.meters[SCALED];
	deployment_path(&j->path, j->key);
	buf_printf(&j->body, "{\"spec\":{\"replicas\":%u}}", *replicas);
	return true;
}

static bool has(struct str line, const char *text)
{
	return memmem(line.p, line.n, text, strlen(text)) != NULL;
}

static void count(int which, int64_t now)
{
	meter_add(&churn.meters[which], now, now);
}

/* A ReplicaSet whose status is behind its spec has just been changed by the
 * deployment controller, any other by its own. */
static void on_replicaset(struct watch *w, struct str line, int64_t now)
{
	if (number_after(line, "\"generation\":") != number_after(line, "\"observedGeneration\":"))
		count(DEPLOYMENT, now);
}

static void on_pod(struct watch *w, struct str line, int64_t now)
{
	if (has(line, "\"deletionTimestamp\""))
		return;
	if (has(line, "\"type\":\"ADDED\""))
		count(REPLICASET, now);
	else if (has(line, "\"phase\":\"Running\""))
		count(NODE, now);
	else if (has(line, "\"nodeName\""))
		count(SCHEDULER, now);
}

static void open_watch(struct watch *w, struct client *cl, const char *group, const char *kind,
		       void (*event)(struct watch *, struct str, int64_t))
{
	char path[256];

	snprintf(path, sizeof(path), "%s/namespaces/%s/%s", group, opt.ns, kind);
	w->event = event;
	if (!watch_open(w, cl, path, ""))
		weft_fatal("cannot watch %s", kind);
}

/* The Deployments as they are, or made. */
static void there_or_made(struct client *cl)
{
	struct conn *c = must_open(cl);
	uint32_t there = 0;

	churn.replicas = calloc(opt.count, sizeof(*churn.replicas));
	for (uint32_t i = 0; i < opt.count; i++) {
		struct buf path = {0};

		deployment_path(&path, i);
		churn.replicas[i] = (uint32_t)get_number(cl, c, buf_str(&path), "spec.replicas");
		there += churn.replicas[i] > 0;
		buf_free(&path);
	}
	conn_close(c);
	if (there == opt.count)
		return;
	free(deployments_ready(cl));
	for (uint32_t i = 0; i < opt.count; i++)
		churn.replicas[i] = opt.replicas;
}

static void report(void)
{
	for (uint32_t i = 0; i < METERS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "churn/%s", names[i]);
		if (i == SCALED || !opt.blind)
			meter_report(&churn.meters[i], name, (double)churn.meters[i].gap / 1e6,
				     "ms", true);
	}
}

int run_churn(struct client *cl)
{
	struct watch pods = {0}, sets = {0};

	opt.rate = opt.rate ? opt.rate : 50;
	churn.dice.state = opt.seed;
	there_or_made(cl);
	churn.pool.make = make_scale;
	pool_open(&churn.pool, cl, 8);
	if (!opt.blind) {
		open_watch(&sets, cl, "/apis/apps/v1", "replicasets", on_replicaset);
		open_watch(&pods, cl, "/api/v1", "pods", on_pod);
	}
	for (uint32_t i = 0; i < METERS; i++)
		meter_start(&churn.meters[i], names[i], now_ns());
	pool_run(&churn.pool, opt.rate, opt.seconds, churn.meters, METERS);
	report();
	pool_close(&churn.pool);
	watch_close(&pods);
	watch_close(&sets);
	free(churn.replicas);
	return 0;
}
