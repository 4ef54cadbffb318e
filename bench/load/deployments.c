/*
 * deployments.c - Deployments through their life: created, rolled to another
 * template, scaled down (100,000 and more to ten, fewer to a tenth) and up again, deleted in the
 * foreground; each change timed from when it was due until the cluster has
 * brought it about.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"
#include "weft/json.h"

enum step { STEP_CREATE, STEP_ROLL, STEP_DOWN, STEP_UP, STEP_DELETE, STEPS };

static const char *const step_names[STEPS] = {"create", "roll", "down", "up", "delete"};

static struct {
	struct pool pool;
	struct meter meter;
	struct deployment *list;
	enum step step;
	uint32_t next, waiting, image;
} run;

/* --- What the API is told ----------------------------------------------------------- */

void deployment_path(struct buf *out, uint32_t i)
{
	buf_printf(out, "/apis/apps/v1/namespaces/%s/deployments/d-%u", opt.ns, i);
}

static uint32_t scaled_down(void)
{
	return opt.replicas >= 100000 ? 10 : opt.replicas / 10;
}

static void patch_replicas(struct job *j, uint32_t replicas)
{
	j->method = "PATCH";
	j->kind = "application/merge-patch+json";
	buf_printf(&j->body, "{\"spec\":{\"replicas\":%u}}", replicas);
}

static void make_create(struct job *j, struct deployment *d)
{
	j->method = "POST";
	j->kind = "application/json";
	j->path.n = 0;
	buf_printf(&j->path, "/apis/apps/v1/namespaces/%s/deployments", opt.ns);
	deployment_body(&j->body, j->key, opt.replicas, run.image);
	d->replicas = opt.replicas;
}

static void make_roll(struct job *j, struct deployment *d)
{
	j->method = "PATCH";
	j->kind = "application/strategic-merge-patch+json";
	buf_printf(&j->body,
		   "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"nginx\","
		   "\"image\":\"nginx:1.%u\"}]}}}}",
		   run.image);
}

static void make_down(struct job *j, struct deployment *d)
{
	patch_replicas(j, d->replicas = scaled_down());
}

static void make_up(struct job *j, struct deployment *d)
{
	patch_replicas(j, d->replicas = opt.replicas);
}

static void make_delete(struct job *j, struct deployment *d)
{
	j->method = "DELETE";
	j->kind = "application/json";
	buf_puts(&j->body, "{\"propagationPolicy\":\"Foreground\"}");
}

static bool make(struct pool *p, struct job *j)
{
	static void (*const makers[STEPS])(struct job *, struct deployment *) = {
		make_create, make_roll, make_down, make_up, make_delete,
	};
	static struct meter sent;

	if (run.next == opt.count)
		return false;
	j->key = run.next++;
	run.list[j->key].intended =
		p->rate ? p->start + (int64_t)((double)p->sent * 1e9 / p->rate) : now_ns();
	j->meter = &sent; /* what counts is when it has been brought about */
	deployment_path(&j->path, j->key);
	makers[run.step](j, &run.list[j->key]);
	return true;
}

/* What it has become may be told before the answer says which generation that is. */
static void look(struct deployment *d)
{
	const struct deployment_seen *s = &d->last;
	bool done = run.step == STEP_DELETE ? s->gone
					    : s->generation >= d->generation && deployment_done(s);

	if (!d->waiting || !d->answered || !done)
		return;
	d->waiting = false;
	run.waiting--;
	meter_add(&run.meter, d->intended, d->last_ns);
}

static void answered(struct pool *p, struct job *j, const struct answer *a)
{
	struct deployment *d = &run.list[j->key];

	if (a->status / 100 == 2) {
		d->generation = (uint64_t)number_after(a->body, "\"generation\":");
		d->answered = true;
		look(d);
		return;
	}
	weft_fatal("d-%u: %s: status %d: " STR_FMT, j->key, step_names[run.step], a->status,
		   STR_ARG(a->body));
}

/* --- What it tells ------------------------------------------------------------------ */

struct deployment_seen deployment_event(struct str line)
{
	struct deployment_seen s = {.i = UINT32_MAX};
	zone *z = zone_new();
	value v, *o, *status;
	struct str name;

	if (json_decode(z, line, &v, NULL, NULL))
		weft_fatal("a watch's event is no JSON");
	o = v_get(&v, "object");
	status = v_get(o, "status");
	name = v_as_str(v_path(o, "metadata.name"));
	if (name.n > 2 && memcmp(name.p, "d-", 2) == 0)
		s.i = (uint32_t)strtoul(zone_printf(z, STR_FMT, STR_ARG(name)).p + 2, NULL, 10);
	s.gone = str_eq(v_get_str(&v, "type"), STR("DELETED"));
	s.generation = (uint64_t)v_as_int(v_path(o, "metadata.generation"), 0);
	s.wanted = (uint32_t)v_as_int(v_path(o, "spec.replicas"), 0);
	s.observed = (uint64_t)v_get_int(status, "observedGeneration", 0);
	s.replicas = (uint32_t)v_get_int(status, "replicas", 0);
	s.updated = (uint32_t)v_get_int(status, "updatedReplicas", 0);
	s.ready = (uint32_t)v_get_int(status, "readyReplicas", 0);
	s.available = (uint32_t)v_get_int(status, "availableReplicas", 0);
	zone_free(z);
	return s;
}

bool deployment_done(const struct deployment_seen *s)
{
	return s->observed >= s->generation && s->replicas == s->wanted &&
	       s->updated == s->wanted && s->ready == s->wanted && s->available == s->wanted;
}

static void on_event(struct watch *w, struct str line, int64_t now)
{
	struct deployment_seen s = deployment_event(line);
	struct deployment *d = s.i < opt.count ? &run.list[s.i] : NULL;

	if (!d)
		return;
	d->last = s;
	d->last_ns = now;
	look(d);
}

/* --- The steps ---------------------------------------------------------------------- */

static void run_step(struct client *cl, enum step step)
{
	run.step = step;
	run.next = 0;
	run.waiting = opt.count;
	run.image++;
	for (uint32_t i = 0; i < opt.count; i++) {
		run.list[i].waiting = true;
		run.list[i].answered = false;
		run.list[i].last = (struct deployment_seen){0};
	}
	pool_start(&run.pool, opt.rate);
	meter_start(&run.meter, step_names[step], run.pool.start);
	while ((run.waiting || run.pool.nidle < run.pool.n) && !interrupted()) {
		pool_send(&run.pool);
		client_turn(cl, pool_wait(&run.pool, 10000000));
		meters_show(&run.meter, 1, now_ns());
	}
}

static void report_step(void)
{
	double pods = run.step == STEP_DOWN || run.step == STEP_UP ? opt.replicas - scaled_down()
								   : opt.replicas;
	double seconds = (double)(run.meter.end - run.meter.start) / 1e9;
	char name[64];

	snprintf(name, sizeof(name), "%s/%ux%u", step_names[run.step], opt.count, opt.replicas);
	meter_report(&run.meter, name, pods * opt.count / seconds, "pods/s", false);
}

static bool step_by_name(const char *name, enum step *out)
{
	for (uint32_t i = 0; i < STEPS; i++)
		if (strcmp(step_names[i], name) == 0) {
			*out = (enum step)i;
			return true;
		}
	return false;
}

static void open_all(struct client *cl, struct watch *w)
{
	char path[256];

	snprintf(path, sizeof(path), "/apis/apps/v1/namespaces/%s/deployments", opt.ns);
	run.list = calloc(opt.count, sizeof(*run.list));
	run.pool.make = make;
	run.pool.answered = answered;
	run.image = 13; /* the first step's is 14, unless that changes what another run made */
	pool_open(&run.pool, cl, opt.connections < opt.count ? opt.connections : opt.count);
	w->event = on_event;
	if (!watch_open(w, cl, path, ""))
		weft_fatal("cannot watch Deployments");
}

struct deployment *deployments_ready(struct client *cl)
{
	struct watch w = {0};

	open_all(cl, &w);
	run_step(cl, STEP_CREATE);
	pool_close(&run.pool);
	watch_close(&w);
	return run.list;
}

int run_deployments(struct client *cl)
{
	const char *given = strcmp(opt.ops, "get,create,patch,update,delete,list") == 0
				    ? "create,roll,down,up,delete"
				    : opt.ops;
	char *steps = strdup(given), *save;
	struct watch w = {0};
	enum step step;

	open_all(cl, &w);
	for (char *name = strtok_r(steps, ",", &save); name && !interrupted();
	     name = strtok_r(NULL, ",", &save)) {
		if (!step_by_name(name, &step))
			weft_fatal("'%s' is no step", name);
		run.image += run.image == 13 && step != STEP_CREATE;
		run_step(cl, step);
		report_step();
	}
	pool_close(&run.pool);
	watch_close(&w);
	free(steps);
	free(run.list);
	return interrupted();
}
