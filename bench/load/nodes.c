/*
 * nodes.c - node churn: Nodes are deleted one after another, each made again once
 * its pods are Ready elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"
#include "weft/json.h"

static struct {
	struct meter meter;    /* from the deletion of a Node; the garbage collector of pods
				* waits for 40 s, as Kubernetes' does */
	struct meter replaced; /* from the first of its pods that is missing */
	uint64_t pods;
} nodes;

/* The answer's object, in `z`; fatal if it is none. */
static value get_object(struct client *cl, struct conn *c, zone *z, struct str path)
{
	struct answer a = http_call(cl, c, "GET", path, (struct str){0});
	value v;

	if (a.status != 200 || json_decode(z, a.body, &v, NULL, NULL))
		weft_fatal(STR_FMT ": status %d", STR_ARG(path), a.status);
	return v;
}

static int64_t pods_on(struct client *cl, struct conn *c, struct str node)
{
	zone *z = zone_new();
	value list = get_object(cl, c, z,
				pathf("/api/v1/namespaces/%s/pods?limit=1&fieldSelector="
				      "spec.nodeName%%3D" STR_FMT,
				      opt.ns, STR_ARG(node)));
	int64_t n = v_len(v_get(&list, "items"));

	/* A list by selector does not tell how many more there are: count them. */
	if (!v_path(&list, "metadata.remainingItemCount") &&
	    v_as_str(v_path(&list, "metadata.continue")).n) {
		list = get_object(cl, c, z,
				  pathf("/api/v1/namespaces/%s/pods?fieldSelector="
					"spec.nodeName%%3D" STR_FMT,
					opt.ns, STR_ARG(node)));
		n = v_len(v_get(&list, "items"));
	} else {
		n += v_as_int(v_path(&list, "metadata.remainingItemCount"), 0);
	}
	zone_free(z);
	return n;
}

static bool all_ready(struct client *cl, struct conn *c)
{
	struct buf path = {0};
	bool ok;

	deployment_path(&path, 0);
	ok = get_number(cl, c, buf_str(&path), "status.readyReplicas") == opt.replicas;
	buf_free(&path);
	return ok;
}

#define WAIT_MAX_NS (120 * INT64_C(1000000000)) /* Kubernetes takes 40 s and more */

static void wait_for(struct client *cl, struct conn *c,
		     bool (*what)(struct client *, struct conn *))
{
	int64_t until = now_ns() + WAIT_MAX_NS;

	while (!interrupted() && !what(cl, c)) {
		if (now_ns() > until)
			weft_fatal("the pods of a lost Node were not replaced in two minutes");
		client_turn(cl, 2000000);
		meters_show(&nodes.meter, 1, now_ns());
	}
}

/* The Node as one that can be created. */
static struct str fresh(zone *z, value *node)
{
	static const char *const own[] = {"uid", "resourceVersion", "creationTimestamp",
					  "managedFields"};
	struct buf text = {0};
	struct str s;

	for (uint32_t i = 0; i < countof(own); i++)
		v_del(v_get(node, "metadata"), own[i]);
	json_encode(&text, node, NULL);
	s = zone_str(z, buf_str(&text));
	buf_free(&text);
	return s;
}

static struct str lost; /* the name of the Node that is away */

static bool not_all_ready(struct client *cl, struct conn *c)
{
	return !all_ready(cl, c);
}

static bool is_empty(struct client *cl, struct conn *c)
{
	return pods_on(cl, c, lost) == 0;
}

static void lose_node(struct client *cl, struct conn *c, struct str name, int64_t due)
{
	int64_t began;
	zone *z = zone_new();
	struct str path = zone_str(z, pathf("/api/v1/nodes/" STR_FMT, STR_ARG(name)));
	value node = get_object(cl, c, z, path);

	nodes.pods += (uint64_t)pods_on(cl, c, name);
	lost = name;
	while (now_ns() < due && !interrupted())
		client_turn(cl, due - now_ns() > 0 ? due - now_ns() : 0);
	http_call(cl, c, "DELETE", path, (struct str){0});
	wait_for(cl, c, not_all_ready);
	began = now_ns();
	wait_for(cl, c, is_empty);
	wait_for(cl, c, all_ready);
	if (!interrupted()) {
		meter_add(&nodes.meter, due, now_ns());
		meter_add(&nodes.replaced, began, now_ns());
	}
	http_call(cl, c, "POST", STR("/api/v1/nodes"), fresh(z, &node));
	zone_free(z);
}

/* One Deployment, whose pods are on the Nodes; what is there already will do. */
static void there_or_made(struct client *cl, struct conn *c)
{
	struct buf path = {0};
	int64_t replicas;

	deployment_path(&path, 0);
	replicas = get_number(cl, c, buf_str(&path), "spec.replicas");
	if (replicas > 0)
		opt.replicas = (uint32_t)replicas;
	else
		free(deployments_ready(cl));
	buf_free(&path);
}

/* The first Node from number `at` on that has pods; one that was lost has none at first. */
static struct str node_with_pods(struct client *cl, struct conn *c, const value *list, uint32_t at)
{
	const value *items = v_get(list, "items");
	uint32_t n = v_len(items);

	for (uint32_t i = 0; i < n; i++) {
		struct str name = v_as_str(v_path(v_at(items, (at + i) % n), "metadata.name"));

		if (pods_on(cl, c, name))
			return name;
	}
	weft_fatal("no Node has pods of the Deployment");
}

int run_nodes(struct client *cl)
{
	struct conn *c = must_open(cl);
	zone *z = zone_new();
	struct dice dice = {opt.seed};
	uint32_t lose = opt.count;
	value list;

	opt.count = 1;
	there_or_made(cl, c);
	list = get_object(cl, c, z, STR("/api/v1/nodes"));
	meter_start(&nodes.meter, "nodes", now_ns());
	meter_start(&nodes.replaced, "replaced", now_ns());
	for (uint32_t i = 0; i < lose && !interrupted(); i++) {
		uint32_t at = dice_below(&dice, v_len(v_get(&list, "items")));
		int64_t due =
			opt.rate ? nodes.meter.start + (int64_t)(i * 1e9 / opt.rate) : now_ns();

		lose_node(cl, c, node_with_pods(cl, c, &list, at), due);
	}
	fprintf(stderr, "nodes: %llu pods lost with %u Nodes\n", (unsigned long long)nodes.pods,
		lose);
	meter_report(&nodes.meter, "nodes/lost", meter_ms(&nodes.meter, 0.5), "ms", true);
	meter_report(&nodes.replaced, "nodes/replaced", meter_ms(&nodes.replaced, 0.5), "ms", true);
	conn_close(c);
	zone_free(z);
	return 0;
}
