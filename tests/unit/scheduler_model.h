/*
 * scheduler_model.h - nodes, kinds of pods and pods at random, and what Kubernetes' rules say
 * of a pod that goes to a node after those that were placed before it: a model that does not
 * share a line with the scheduler.
 */
#ifndef WEFT_TESTS_SCHEDULER_MODEL_H
#define WEFT_TESTS_SCHEDULER_MODEL_H

#include "facts.h"
#include "weft/cache.h"

#define NODES  12
#define KINDS  10
#define PODS   160
#define GROUPS 4

struct model_node {
	int cpu, pods, zone;			/* zone -1: no label */
	bool tainted, avoided, cordoned, there; /* avoided: only if there is no other */
};

struct model_kind {
	int cpu, port, group;
	int selects_zone; /* -1: any */
	int apart;	  /* 0 no, 1 by host, 2 by zone: from its own group */
	int together;	  /* group to be in a zone with, -1: none */
	int spread;	  /* 0 no, 1 by host, 2 by zone */
	bool tolerates;
};

static struct model_node nodes[NODES];
static struct model_kind kinds[KINDS];
static struct {
	int kind, node;	 /* -1: waits */
	bool gone, over; /* over: failed before it had a node */
	const struct entry *e;
} pods[PODS];
static int npods;

static inline int domain(int node, int how)
{
	return how == 1 ? node : nodes[node].zone;
}

/* Pods of a group in a node's domain. */
static inline int count_in(int group, int node, int how)
{
	int n = 0;

	for (int i = 0; i < npods; i++)
		n += !pods[i].gone && pods[i].node >= 0 && kinds[pods[i].kind].group == group &&
		     nodes[pods[i].node].there && domain(pods[i].node, how) >= 0 &&
		     domain(pods[i].node, how) == domain(node, how);
	return n;
}

static inline bool eligible(const struct model_kind *k, int n)
{
	return nodes[n].there && (k->selects_zone < 0 || nodes[n].zone == k->selects_zone) &&
	       domain(n, k->spread) >= 0;
}

/* Pods of the kind's group in the domain, on nodes that count for the kind. */
static inline int spread_count(const struct model_kind *k, int node)
{
	int n = 0;

	for (int i = 0; i < npods; i++)
		n += !pods[i].gone && pods[i].node >= 0 && kinds[pods[i].kind].group == k->group &&
		     eligible(k, pods[i].node) &&
		     domain(pods[i].node, k->spread) == domain(node, k->spread);
	return n;
}

static inline bool spread_allows(const struct model_kind *k, int node)
{
	int least = 1 << 30;

	if (!k->spread)
		return true;
	if (domain(node, k->spread) < 0)
		return false;
	for (int n = 0; n < NODES; n++)
		if (eligible(k, n) && spread_count(k, n) < least)
			least = spread_count(k, n);
	return spread_count(k, node) + 1 - least <= 1;
}

static inline bool together_allows(const struct model_kind *k, int node)
{
	int anywhere = 0;

	if (k->together < 0)
		return true;
	for (int i = 0; i < npods; i++)
		anywhere += !pods[i].gone && pods[i].node >= 0 &&
			    kinds[pods[i].kind].group == k->together && nodes[pods[i].node].there &&
			    nodes[pods[i].node].zone >= 0;
	return nodes[node].zone >= 0 &&
	       (count_in(k->together, node, 2) > 0 || (!anywhere && k->together == k->group));
}

static inline bool others_allow(const struct model_kind *k, int node)
{
	for (int i = 0; i < npods; i++) {
		const struct model_kind *other = &kinds[pods[i].kind];

		if (!pods[i].gone && pods[i].node >= 0 && other->apart &&
		    other->group == k->group && domain(node, other->apart) >= 0 &&
		    domain(pods[i].node, other->apart) == domain(node, other->apart))
			return false;
	}
	return true;
}

static inline bool may_go(const struct model_kind *k, int node)
{
	const struct model_node *n = &nodes[node];
	int cpu = 0, count = 0;

	if (!n->there || n->cordoned || (n->tainted && !k->tolerates) ||
	    (k->selects_zone >= 0 && n->zone != k->selects_zone))
		return false;
	for (int i = 0; i < npods; i++) {
		if (pods[i].gone || pods[i].node != node)
			continue;
		cpu += kinds[pods[i].kind].cpu;
		count++;
		if (k->port && kinds[pods[i].kind].port == k->port)
			return false;
	}
	if (cpu + k->cpu > n->cpu || count + 1 > n->pods)
		return false;
	if (k->apart && domain(node, k->apart) >= 0 && count_in(k->group, node, k->apart))
		return false;
	return spread_allows(k, node) && together_allows(k, node) && others_allow(k, node);
}

/* --- As objects --------------------------------------------------------------------- */

static zone *model_zone;

static const char *const keys[] = {"", "kubernetes.io/hostname", "zone"};

static inline value node_object(int i)
{
	const struct model_node *n = &nodes[i];
	struct buf b = {0};
	value v;

	buf_printf(&b,
		   "{\"metadata\":{\"name\":\"n%d\",\"labels\":{\"kubernetes.io/hostname\":\"n%d\"",
		   i, i);
	if (n->zone >= 0)
		buf_printf(&b, ",\"zone\":\"z%d\"", n->zone);
	buf_puts(&b, "}},\"spec\":{");
	if (n->cordoned)
		buf_puts(&b, "\"unschedulable\":true");
	if (n->tainted || n->avoided)
		buf_printf(&b, "%s\"taints\":[{\"key\":\"t\",\"effect\":\"%s\"}]",
			   n->cordoned ? "," : "", n->tainted ? "NoSchedule" : "PreferNoSchedule");
	buf_printf(&b,
		   "},\"status\":{\"phase\":\"Running\",\"allocatable\":{\"cpu\":\"%d\","
		   "\"memory\":\"64Gi\",\"pods\":\"%d\"}}}",
		   n->cpu, n->pods);
	buf_putc(&b, 0);
	v = facts_json(model_zone, zone_str(model_zone, buf_str(&b)).p);
	buf_free(&b);
	return v;
}

static inline void add_affinity(struct buf *b, const struct model_kind *k)
{
	const char *required = "\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{"
			       "\"labelSelector\":{\"matchLabels\":{\"app\":\"g";

	buf_puts(b, ",\"affinity\":{\"x\":0");
	if (k->apart)
		buf_printf(b, ",\"podAntiAffinity%s%d\"}},\"topologyKey\":\"%s\"}]}", required,
			   k->group, keys[k->apart]);
	if (k->together >= 0)
		buf_printf(b, ",\"podAffinity%s%d\"}},\"topologyKey\":\"zone\"}]}", required,
			   k->together);
	buf_puts(b, "}");
}

static inline value pod_object(int i)
{
	const struct model_kind *k = &kinds[pods[i].kind];
	struct buf b = {0};
	value v;

	buf_printf(
		&b,
		"{\"metadata\":{\"name\":\"p%d\",\"namespace\":\"d\",\"labels\":{\"app\":\"g%d\"}},"
		"\"spec\":{\"schedulerName\":\"default-scheduler\",\"containers\":[{\"name\":\"c\","
		"\"resources\":{\"requests\":{\"cpu\":\"%d\"}}",
		i, k->group, k->cpu);
	if (k->port)
		buf_printf(&b, ",\"ports\":[{\"hostPort\":%d,\"protocol\":\"TCP\"}]", k->port);
	buf_puts(&b, "}]");
	if (k->selects_zone >= 0)
		buf_printf(&b, ",\"nodeSelector\":{\"zone\":\"z%d\"}", k->selects_zone);
	if (k->tolerates)
		buf_puts(&b, ",\"tolerations\":[{\"key\":\"t\",\"operator\":\"Exists\"}]");
	if (k->spread)
		buf_printf(&b,
			   ",\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"%s\","
			   "\"whenUnsatisfiable\":\"DoNotSchedule\",\"labelSelector\":"
			   "{\"matchLabels\":{\"app\":\"g%d\"}}}]",
			   keys[k->spread], k->group);
	add_affinity(&b, k);
	buf_printf(&b, "},\"status\":{\"phase\":\"%s\"}}", pods[i].over ? "Failed" : "Pending");
	buf_putc(&b, 0);
	v = facts_json(model_zone, zone_str(model_zone, buf_str(&b)).p);
	buf_free(&b);
	return v;
}

/* --- At random ---------------------------------------------------------------------- */

static inline int one_in(int n)
{
	return random() % n == 0;
}

static inline struct model_node random_node(void)
{
	return (struct model_node){.cpu = 2 + (int)(random() % 14),
				   .pods = 3 + (int)(random() % 12),
				   .zone = (int)(random() % 4) - 1,
				   .tainted = one_in(6),
				   .avoided = one_in(6),
				   .cordoned = one_in(10),
				   .there = true};
}

static inline void make_kinds(bool terms)
{
	for (int i = 0; i < KINDS; i++)
		kinds[i] = (struct model_kind){
			.cpu = 1 + (int)(random() % 4),
			.port = one_in(6) ? 8000 + (int)(random() % 2) : 0,
			.group = (int)(random() % GROUPS),
			.selects_zone = one_in(4) ? (int)(random() % 3) : -1,
			.apart = terms && one_in(5) ? 1 + (int)(random() % 2) : 0,
			.together = terms && one_in(5) ? (int)(random() % GROUPS) : -1,
			.spread = terms && one_in(3) ? 1 + (int)(random() % 2) : 0,
			.tolerates = one_in(3)};
}

#endif
