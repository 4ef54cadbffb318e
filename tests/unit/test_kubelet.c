/* test_kubelet.c - lives of simulated pods under a clock of the test's own, what
 * containers are told to do, and addresses. */
#include "facts.h"
#include "procs/node/address.h"
#include "procs/node/kubelet.h"
#include "weft/kube.h"

#define START_MS INT64_C(1700000000000)

/* A pod and all that a kubelet knows of it between two looks. */
struct life {
	zone *z;
	struct kubelet_pod p;
	value spec, meta;
	int64_t now_ms;
	uint32_t attempts;
	int steps, events;
	char told[4096]; /* reasons, in order */
};

static void begin_life(struct life *l, const char *spec, const char *annotations)
{
	value m = v_map();

	*l = (struct life){.z = zone_new(), .now_ms = START_MS};
	l->spec = facts_json(l->z, spec);
	v_set(l->z, &m, "annotations", facts_json(l->z, annotations));
	l->meta = m;
	l->p = (struct kubelet_pod){.z = l->z,
				    .spec = &l->spec,
				    .name = STR("web"),
				    .generation = 1,
				    .pod_ip = 0x0a000001,
				    .host_ip = 0x7f000001,
				    .facts = {.meta = &l->meta, .ns = STR("default")},
				    .status = v_map()};
	v_set(l->z, &l->p.status, "phase", v_cstr("Pending"));
}

/* One look.  A second one at the same time finds nothing to do: what a kubelet
 * writes brings the pod back to it. */
static void look(struct life *l)
{
	l->p.now_ms = l->now_ms;
	l->p.pull_attempts = l->attempts;
	l->p.pull_failed = false;
	l->p.nevents = 0;
	l->steps += kubelet_advance(&l->p);
	l->attempts += l->p.pull_failed;
	for (uint32_t i = 0; i < l->p.nevents; i++) {
		strcat(l->told, l->p.events[i].reason);
		strcat(l->told, " ");
	}
	l->events += (int)l->p.nevents;
	ck_assert_msg(!kubelet_advance(&l->p), "looking again changes something");
}

/* Go on from step to step until `ms` after the start. */
static void live(struct life *l, int64_t ms)
{
	for (int looks = 0;; looks++) {
		ck_assert_msg(looks < 1000, "no end of steps");
		look(l);
		if (!l->p.wake_ms || l->p.wake_ms > START_MS + ms)
			break;
		ck_assert_msg(l->p.wake_ms > l->now_ms, "woken in the past");
		l->now_ms = l->p.wake_ms;
	}
	l->now_ms = START_MS + ms;
}

static void is_at(struct life *l, const char *path, const char *wanted)
{
	ck_assert_text(v_as_str(v_path(&l->p.status, path)), wanted);
}

static const value *container(struct life *l, const char *list, uint32_t i)
{
	return v_at(v_get(&l->p.status, list), i);
}

static const char *condition(struct life *l, const char *type)
{
	const value *c = kube_condition(v_get(&l->p.status, "conditions"), type);

	return zone_printf(l->z, STR_FMT, STR_ARG(v_get_str(c, "status"))).p;
}

static void end_life(struct life *l)
{
	zone_free(l->z);
}

#define ONE "\"containers\":[{\"name\":\"c\",\"image\":\"nginx\"}]"

START_TEST(runs_for_ever)
{
	struct life l;

	begin_life(&l, "{\"restartPolicy\":\"Always\"," ONE "}", "{}");
	live(&l, 3600000);
	is_at(&l, "phase", "Running");
	is_at(&l, "podIP", "10.0.0.1");
	ck_assert_int_eq(l.steps, 1);
	ck_assert_int_eq(l.p.wake_ms, 0);
	ck_assert_str_eq(condition(&l, "Ready"), "True");
	ck_assert_str_eq(l.told, "Pulled Created Started ");
	end_life(&l);
}
END_TEST

START_TEST(starts_and_gets_ready_in_its_time)
{
	struct life l;

	begin_life(&l, "{\"restartPolicy\":\"Always\"," ONE "}",
		   "{\"weft.dev/start\":\"2s\",\"weft.dev/ready\":\"3s\"}");
	live(&l, 1999);
	is_at(&l, "phase", "Pending");
	live(&l, 2000);
	is_at(&l, "phase", "Running");
	ck_assert_str_eq(condition(&l, "Ready"), "False");
	live(&l, 5000);
	ck_assert_str_eq(condition(&l, "Ready"), "True");
	end_life(&l);
}
END_TEST

START_TEST(ends_as_its_policy_says)
{
	static const struct {
		const char *policy, *code, *phase;
		int restarts; /* after 60 s: at once, then after 10, 20 s ... */
	} cases[] = {{"Never", "0", "Succeeded", 0},	 {"Never", "1", "Failed", 0},
		     {"OnFailure", "0", "Succeeded", 0}, {"OnFailure", "1", "Running", 3},
		     {"Always", "0", "Running", 3},	 {"Always", "1", "Running", 3}};

	for (size_t i = 0; i < countof(cases); i++) {
		char spec[256], how[128];
		struct life l;

		snprintf(spec, sizeof(spec), "{\"restartPolicy\":\"%s\"," ONE "}", cases[i].policy);
		snprintf(how, sizeof(how),
			 "{\"weft.dev/run\":\"1s\",\"weft.dev/exit-code\":\"%s\"}", cases[i].code);
		begin_life(&l, spec, how);
		live(&l, 60000);
		is_at(&l, "phase", cases[i].phase);
		ck_assert_int_eq(
			v_get_int(container(&l, "containerStatuses", 0), "restartCount", -1),
			cases[i].restarts);
		end_life(&l);
	}
}
END_TEST

START_TEST(crashes_with_growing_back_off)
{
	static const int at_s[] = {0, 10, 30, 70, 150, 310, 610, 910}; /* restarts, about */
	struct life l;

	begin_life(&l, "{\"restartPolicy\":\"Always\"," ONE "}",
		   "{\"weft.dev/run\":\"10ms\",\"weft.dev/exit-code\":\"2\"}");
	for (size_t i = 1; i < countof(at_s); i++) {
		live(&l, at_s[i] * 1000 - 500);
		ck_assert_int_eq(
			v_get_int(container(&l, "containerStatuses", 0), "restartCount", -1),
			(int)i);
		ck_assert_text(v_as_str(v_path(container(&l, "containerStatuses", 0),
					       "state.waiting.reason")),
			       "CrashLoopBackOff");
		ck_assert_int_eq(v_as_int(v_path(container(&l, "containerStatuses", 0),
						 "lastState.terminated.exitCode"),
					  0),
				 2);
	}
	end_life(&l);
}
END_TEST

#define INIT                                                                                       \
	"{\"restartPolicy\":\"%s\",\"initContainers\":[{\"name\":\"a\",\"image\":\"i\"},"          \
	"{\"name\":\"s\",\"image\":\"i\",\"restartPolicy\":\"Always\"},{\"name\":\"b\",\"image\":" \
	"\"i\"}]," ONE "}"

START_TEST(init_containers_run_in_order)
{
	char spec[512];
	struct life l;

	snprintf(spec, sizeof(spec), INIT, "Always");
	begin_life(&l, spec, "{\"weft.dev/run.a\":\"1s\",\"weft.dev/run.b\":\"2s\"}");
	live(&l, 999);
	ck_assert_ptr_nonnull(v_path(container(&l, "initContainerStatuses", 0), "state.running"));
	ck_assert_ptr_null(v_path(container(&l, "initContainerStatuses", 1), "state.running"));
	live(&l, 1001);
	ck_assert_ptr_nonnull(v_path(container(&l, "initContainerStatuses", 1), "state.running"));
	ck_assert_ptr_nonnull(v_path(container(&l, "initContainerStatuses", 2), "state.running"));
	ck_assert_str_eq(condition(&l, "Initialized"), "False");
	is_at(&l, "phase", "Pending");
	live(&l, 4000);
	is_at(&l, "phase", "Running");
	ck_assert_str_eq(condition(&l, "Initialized"), "True");
	ck_assert_str_eq(condition(&l, "Ready"), "True");
	ck_assert_ptr_nonnull(v_path(container(&l, "initContainerStatuses", 1), "state.running"));
	end_life(&l);
}
END_TEST

START_TEST(a_failed_init_container)
{
	char spec[512];
	struct life l;

	snprintf(spec, sizeof(spec), INIT, "Never");
	begin_life(&l, spec, "{\"weft.dev/run.a\":\"1s\",\"weft.dev/exit-code.a\":\"1\"}");
	live(&l, 5000);
	is_at(&l, "phase", "Failed");
	ck_assert_int_eq(l.p.wake_ms, 0);
	end_life(&l);
	snprintf(spec, sizeof(spec), INIT, "OnFailure");
	begin_life(&l, spec, "{\"weft.dev/run.a\":\"1s\",\"weft.dev/exit-code.a\":\"1\"}");
	live(&l, 25000);
	is_at(&l, "phase", "Pending");
	ck_assert_int_eq(v_get_int(container(&l, "initContainerStatuses", 0), "restartCount", 0),
			 2);
	end_life(&l);
}
END_TEST

START_TEST(sidecars_end_with_the_pod)
{
	char spec[512];
	struct life l;

	snprintf(spec, sizeof(spec), INIT, "Never");
	begin_life(&l, spec, "{\"weft.dev/run.c\":\"1s\"}");
	live(&l, 5000);
	is_at(&l, "phase", "Succeeded");
	ck_assert_text(v_as_str(v_path(container(&l, "initContainerStatuses", 1),
				       "state.terminated.reason")),
		       "Completed");
	end_life(&l);
}
END_TEST

START_TEST(images_that_cannot_be_pulled)
{
	struct life l;

	begin_life(&l,
		   "{\"restartPolicy\":\"Always\",\"containers\":[{\"name\":\"c\",\"image\":\"x\"},"
		   "{\"name\":\"d\",\"image\":\"y\"}]}",
		   "{\"weft.dev/pull\":\"error\"}");
	look(&l);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_text(v_as_str(v_path(container(&l, "containerStatuses", i),
					       "state.waiting.reason")),
			       "ErrImagePull");
	live(&l, 2000);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_text(v_as_str(v_path(container(&l, "containerStatuses", i),
					       "state.waiting.reason")),
			       "ImagePullBackOff");
	live(&l, 600000);
	is_at(&l, "phase", "Pending");
	ck_assert_int_ge(l.attempts, 4);
	ck_assert_int_le(l.attempts, 8); /* at 0, 11, 32, 73, 154, 315 s */
	end_life(&l);
}
END_TEST

START_TEST(a_deadline_passes)
{
	struct life l;

	begin_life(&l, "{\"restartPolicy\":\"Always\",\"activeDeadlineSeconds\":5," ONE "}", "{}");
	live(&l, 4999);
	is_at(&l, "phase", "Running");
	live(&l, 5000);
	is_at(&l, "phase", "Failed");
	is_at(&l, "reason", "DeadlineExceeded");
	ck_assert_int_eq(
		v_as_int(v_path(container(&l, "containerStatuses", 0), "state.terminated.exitCode"),
			 0),
		137);
	end_life(&l);
}
END_TEST

START_TEST(readiness_gates)
{
	struct life l;

	begin_life(
		&l,
		"{\"restartPolicy\":\"Always\",\"readinessGates\":[{\"conditionType\":\"ok\"}]," ONE
		"}",
		"{}");
	live(&l, 1000);
	ck_assert_str_eq(condition(&l, "Ready"), "False");
	ck_assert_str_eq(condition(&l, "ContainersReady"), "True");
	v_append(l.z, v_get(&l.p.status, "conditions"),
		 facts_json(l.z, "{\"type\":\"ok\",\"status\":\"True\"}"));
	live(&l, 2000);
	ck_assert_str_eq(condition(&l, "Ready"), "True");
	ck_assert_str_eq(condition(&l, "ok"), "True");
	end_life(&l);
}
END_TEST

START_TEST(stops)
{
	struct life l;

	begin_life(&l, "{\"restartPolicy\":\"Always\"," ONE "}", "{\"weft.dev/stop\":\"40s\"}");
	ck_assert_int_eq(kubelet_stop(&l.p, 30), 0); /* nothing runs yet */
	live(&l, 0);
	l.p.nevents = 0;
	ck_assert_int_eq(kubelet_stop(&l.p, 30), 30000);
	ck_assert_int_eq(kubelet_stop(&l.p, 60), 40000);
	ck_assert_str_eq(l.p.events[0].reason, "Killing");
	kubelet_stopped(&l.p);
	is_at(&l, "phase", "Succeeded");
	ck_assert_str_eq(condition(&l, "Ready"), "False");
	end_life(&l);
}
END_TEST

/* With holes for what differs, a status is the same for all pods of a kind. */
START_TEST(symbolic_statuses_are_filled_in)
{
	struct life a, b;
	uint32_t holes[KUBELET_HOLES] = {0x0a000001, 0x7f000001, (uint32_t)(START_MS / 1000)};
	struct hole_values h = {.holes = holes, .nholes = KUBELET_HOLES, .name = STR("web")};

	begin_life(&a, "{\"restartPolicy\":\"Always\"," ONE "}", "{}");
	begin_life(&b, "{\"restartPolicy\":\"Always\"," ONE "}", "{}");
	memset(b.p.uid, 7, 16);
	memset(a.p.uid, 7, 16);
	h.uid = a.p.uid;
	a.p.symbolic = true;
	a.p.now_ms = b.p.now_ms = START_MS;
	kubelet_advance(&a.p);
	kubelet_advance(&b.p);
	v_fill(a.z, &a.p.status, &h);
	ck_assert(v_equal(&a.p.status, &b.p.status));
	end_life(&a);
	end_life(&b);
}
END_TEST

/* --- What containers do ------------------------------------------------------------- */

START_TEST(durations)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {{"0", 0},
		    {"500ms", 500},
		    {"2s", 2000},
		    {"1m30s", 90000},
		    {"2h", 7200000},
		    {"1.5s", 1500},
		    {"forever", FOREVER_MS},
		    {"1500us", 1}};
	static const char *const bad[] = {"", "5", "s", "5x", "1m30", "-1s", ".s", "1..5s"};
	int64_t ms;

	for (size_t i = 0; i < countof(good); i++) {
		ck_assert_msg(duration_parse(str_of(good[i].text), &ms), "%s", good[i].text);
		ck_assert_int_eq(ms, good[i].ms);
	}
	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(!duration_parse(str_of(bad[i]), &ms), "%s", bad[i]);
}
END_TEST

START_TEST(rules_and_annotations)
{
	zone *z = zone_new();
	value rules = facts_json(
		z, "[{\"image\":\"nginx:*\",\"labels\":{\"app\":\"slow\"},\"ready\":5000},"
		   "{\"namespace\":\"bad\",\"exitCode\":3,\"run\":100},"
		   "{\"image\":\"nginx:1.161\",\"pull\":\"error\"}]");
	value meta = facts_json(
		z, "{\"annotations\":{\"weft.dev/ready.b\":\"1s\",\"weft.dev/run\":\"9s\"}}");
	value job = facts_json(z, "{\"ownerReferences\":[{\"kind\":\"Job\",\"controller\":true}]}");
	value labels = facts_json(z, "{\"app\":\"slow\"}"), none = v_map();
	value a = facts_json(z, "{\"name\":\"a\",\"image\":\"nginx:1\"}");
	value b = facts_json(z, "{\"name\":\"b\",\"image\":\"nginx:1\"}");
	value wrong = facts_json(z, "{\"name\":\"a\",\"image\":\"nginx:1.161\"}");
	struct pod_facts pod = {.meta = &none, .labels = &labels, .ns = STR("default")};
	struct behaviour is;

	behaviour_of(&rules, &pod, &a, &is);
	ck_assert_int_eq(is.ready_ms, 5000);
	ck_assert_int_eq(is.run_ms, FOREVER_MS);
	pod.meta = &meta;
	behaviour_of(&rules, &pod, &b, &is);
	ck_assert_int_eq(is.ready_ms, 1000);
	ck_assert_int_eq(is.run_ms, 9000);
	pod = (struct pod_facts){.meta = &none, .labels = &none, .ns = STR("bad")};
	behaviour_of(&rules, &pod, &wrong, &is);
	ck_assert_int_eq(is.exit_code, 3); /* the first rule that matches */
	ck_assert(!is.pull_fails);
	pod.ns = STR("default");
	behaviour_of(&rules, &pod, &wrong, &is);
	ck_assert(is.pull_fails);
	pod.meta = &job;
	behaviour_of(NULL, &pod, &a, &is);
	ck_assert_int_eq(is.run_ms, 0);
	zone_free(z);
}
END_TEST

/* --- Addresses ---------------------------------------------------------------------- */

/* The address that is missing comes (back), whatever others have made of the status; one that
 * is there stays. */
static void comes_to_have(const char *status, const char *host, const char *pod)
{
	struct life l;
	value has;

	begin_life(&l, "{\"containers\":[{\"name\":\"a\",\"image\":\"nginx:1\"}]}", "{}");
	has = facts_json(l.z, status);
	v_each_kv(kv, &has)
		v_setn(l.z, &l.p.status, v_as_str(&kv->key), kv->val);
	look(&l);
	is_at(&l, "hostIP", host);
	is_at(&l, "podIP", pod);
	zone_free(l.z);
}

START_TEST(addresses_that_are_missing_come)
{
	comes_to_have("{}", "127.0.0.1", "10.0.0.1");
	comes_to_have("{\"hostIP\":\"1.2.3.4\"}", "1.2.3.4", "10.0.0.1");
	comes_to_have("{\"hostIP\":\"1.2.3.4\",\"podIP\":\"\"}", "1.2.3.4", "10.0.0.1");
	comes_to_have("{\"podIP\":\"fd00::1\"}", "127.0.0.1", "fd00::1");
	comes_to_have("{\"hostIP\":\"1.2.3.4\",\"podIP\":\"5.6.7.8\"}", "1.2.3.4", "5.6.7.8");
}
END_TEST

/* A plan gives each pod an address: not to one that has one. */
START_TEST(a_pod_with_an_address_is_not_new)
{
	zone *z = zone_new();
	value none = v_map(), host = facts_json(z, "{\"hostIP\":\"1.2.3.4\",\"podIP\":\"\"}");
	value own = facts_json(z, "{\"podIP\":\"5.6.7.8\"}"), hole = v_map();

	v_set(z, &hole, "podIP", v_hole(z, HOLE_IPV4, KUBELET_POD_IP, (struct str){0}));
	ck_assert(kubelet_is_new(&none));
	ck_assert(kubelet_is_new(&host));
	ck_assert(!kubelet_is_new(&own));
	ck_assert(!kubelet_is_new(&hole));
	zone_free(z);
}
END_TEST

/* Pods that come and go use the same addresses again, after a while: each that was ever used
 * takes memory. */
START_TEST(addresses_are_used_again)
{
	static uint32_t ips[1000];
	struct addresses a;
	uint32_t least = UINT32_MAX, most = 0;

	ck_assert_int_eq(addresses_init(&a, STR("10.0.0.0/9"), 1, 2), 0);
	for (uint32_t i = 0; i < 1000000; i++) {
		uint32_t *ip = &ips[i % countof(ips)];

		if (*ip)
			address_give(&a, *ip, i + 1 - countof(ips));
		*ip = address_take(&a, i + 1);
		ck_assert_uint_ne(*ip, 0);
		least = *ip < least ? *ip : least;
		most = *ip > most ? *ip : most;
	}
	ck_assert_uint_gt(most - least, 100000);
	ck_assert_uint_lt(most - least, 200000);
	addresses_free(&a);
}
END_TEST

START_TEST(addresses_are_given_once)
{
	struct addresses a[3];
	uint8_t *owner = calloc(4096, 1);
	uint32_t held[4096], by[4096], n = 0, pod = 0;

	srandom(facts_seed());
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(addresses_init(&a[i], STR("10.1.0.0/20"), i, 3), 0);
	for (int step = 0; step < 200000; step++) {
		uint32_t share = (uint32_t)random() % 3, ip;

		if (n && random() % 2) {
			uint32_t k = (uint32_t)random() % n;

			ip = held[k];
			address_give(&a[owner[ip & 4095] - 1], ip,
				     pod + 1 + (uint32_t)random() % 9);
			if (random() % 2) /* somebody who had it long ago, or never */
				continue;
			address_give(&a[owner[ip & 4095] - 1], ip, by[k]);
			owner[ip & 4095] = 0;
			held[k] = held[--n];
			by[k] = by[n];
			continue;
		}
		ip = address_take(&a[share], ++pod);
		if (!ip)
			continue;
		ck_assert_uint_eq(ip >> 12, 0x0a010000u >> 12);
		ck_assert_msg(!owner[ip & 4095], "%x is given twice", ip);
		ck_assert_uint_ne(ip & 4095, 0);
		ck_assert_uint_ne(ip & 4095, 4095);
		owner[ip & 4095] = (uint8_t)(share + 1);
		by[n] = pod;
		held[n++] = ip;
	}
	for (uint32_t i = 0; i < 3; i++) {
		while (address_take(&a[i], ++pod))
			n++;
		addresses_free(&a[i]);
	}
	ck_assert_uint_eq(n, 4094); /* all of them in the end */
	free(owner);
}
END_TEST

START_TEST(odd_ranges)
{
	static const char *const bad[] = {"",	 "10.0.0.0", "10.0.0.0/3", "10.0.0.0/31",
					  "x/8", "0.0.0.0/8"};
	struct addresses a;

	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(addresses_init(&a, str_of(bad[i]), 0, 1) == WEFT_EINVAL, "%s",
			      bad[i]);
	ck_assert_uint_eq(address_parse(STR("1.2.3.4")), 0x01020304);
	ck_assert_uint_eq(address_parse(STR("1.2.3")), 0);
	ck_assert_uint_eq(address_parse(STR("1.2.3.4.5.6.7.8.9")), 0);
}
END_TEST

/* --- Addresses of nodes --------------------------------------------------------------- */

#define HOSTS_MAX 15000u

/* Nodes, each known to the process of one share, and what their statuses show. */
struct hosts {
	struct addresses a[3];
	uint32_t n, ip[HOSTS_MAX];
};

static uint32_t share_of(uint32_t host, uint32_t shares)
{
	return (host * 2654435761u >> 16) % shares;
}

/* Processes of so many shares start: each marks what all nodes show. */
static void start_shares(struct hosts *h, uint32_t shares)
{
	for (uint32_t share = 0; share < shares; share++) {
		ck_assert_int_eq(addresses_init(&h->a[share], STR(NODES_CIDR), share, shares), 0);
		for (uint32_t i = 0; i < h->n; i++)
			address_mark(&h->a[share], h->ip[i], i + 1);
	}
}

/* All that are there keep what they show, and there are `n` then. */
static void serve_hosts(struct hosts *h, uint32_t shares, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t was = h->ip[i];

		h->ip[i] = address_settle(&h->a[share_of(i, shares)], 0, was, i + 1);
		ck_assert_uint_eq(h->ip[i], was ? was : h->ip[i]);
	}
	h->n = n;
	for (uint32_t share = 0; share < shares; share++)
		addresses_free(&h->a[share]);
}

static void are_distinct(const struct hosts *h)
{
	uint8_t *seen = calloc(1 << 22, 1);

	for (uint32_t i = 0; i < h->n; i++) {
		ck_assert_uint_eq(h->ip[i] >> 22, 0x7f400000 >> 22);
		ck_assert_msg(!seen[h->ip[i] & 0x3fffff]++, "%x is given twice", h->ip[i]);
	}
	free(seen);
}

/* Whatever their names, and however often the number of processes changes. */
START_TEST(nodes_have_addresses_of_their_own)
{
	static struct hosts h;

	start_shares(&h, 3);
	serve_hosts(&h, 3, 10000);
	are_distinct(&h);
	start_shares(&h, 2);
	serve_hosts(&h, 2, 12000);
	start_shares(&h, 3);
	serve_hosts(&h, 3, HOSTS_MAX);
	are_distinct(&h);
}
END_TEST

START_TEST(a_node_has_what_its_status_shows)
{
	struct addresses a;
	uint32_t ip, other;

	ck_assert_int_eq(addresses_init(&a, STR(NODES_CIDR), 0, 1), 0);
	ip = address_settle(&a, 0, 0, 1);
	ck_assert_uint_ne(ip, 0);
	ck_assert_uint_eq(address_settle(&a, ip, 0, 1), ip);
	ck_assert_uint_eq(address_settle(&a, ip, ip, 1), ip);
	ck_assert_uint_eq(a.held, 1);
	other = address_settle(&a, ip, ip + 7, 1); /* somebody wrote it: the first is free again */
	ck_assert_uint_eq(other, ip + 7);
	ck_assert_uint_eq(a.held, 1);
	ck_assert_uint_eq(address_settle(&a, other, 0x0a000001, 1), 0x0a000001); /* none of ours */
	ck_assert_uint_eq(a.held, 0);
	addresses_free(&a);
}
END_TEST

static void shows(const char *status, uint32_t ip)
{
	zone *z = zone_new();
	value v = facts_json(z, status);
	struct buf bytes = {0};

	v_encode(&bytes, &v);
	ck_assert_uint_eq(address_of_node(buf_str(&bytes)), ip);
	buf_free(&bytes);
	zone_free(z);
}

START_TEST(addresses_in_statuses_of_nodes)
{
	shows("{}", 0);
	shows("{\"addresses\":3}", 0);
	shows("{\"addresses\":[]}", 0);
	shows("{\"addresses\":[7,{\"type\":\"InternalIP\"}]}", 0);
	shows("{\"addresses\":[{\"type\":\"Hostname\",\"address\":\"1.2.3.4\"}]}", 0);
	shows("{\"phase\":\"x\",\"addresses\":["
	      "{\"type\":\"ExternalIP\",\"address\":\"1.1.1.1\"},"
	      "{\"type\":\"InternalIP\",\"address\":\"fd00::1\"},"
	      "{\"address\":\"1.2.3.4\",\"type\":\"InternalIP\"},"
	      "{\"type\":\"InternalIP\",\"address\":\"2.2.2.2\"}]}",
	      0x01020304);
	ck_assert_uint_eq(address_of_node((struct str){0}), 0);
}
END_TEST

/* However many are held, as long as the range has one. */
START_TEST(rounds_grow_with_what_is_held)
{
	struct addresses a;
	uint32_t none = 0;

	ck_assert_int_eq(addresses_init(&a, STR("10.0.0.0/9"), 1, 2), 0);
	for (uint32_t i = 0; i < 200000; i++)
		none += !address_take(&a, i + 1);
	ck_assert_uint_eq(none, 0);
	addresses_free(&a);
}
END_TEST

/* Also when a round becomes as long as the range, which is no multiple of the shares. */
START_TEST(addresses_are_of_ones_own_share)
{
	static uint32_t ips[8000];
	uint32_t first = 0, n = 0, wrong = 0;
	struct addresses a;

	ck_assert_int_eq(addresses_init(&a, STR("10.0.0.0/14"), 1, 3), 0);
	for (uint32_t i = 0; i < 1000000; i++) {
		uint32_t ip = address_take(&a, 1);

		wrong += !ip || (ip - 0x0a000000u) / 256 % 3 != 1;
		if (n == 4000 + i / 250) {
			address_give(&a, ips[first], 1);
			first = (first + 1) % countof(ips);
			n--;
		}
		ips[(first + n++) % countof(ips)] = ip;
	}
	ck_assert_uint_eq(wrong, 0);
	addresses_free(&a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kubelet");
	TCase *tc = tcase_create("lives");

	tcase_add_test(tc, runs_for_ever);
	tcase_add_test(tc, starts_and_gets_ready_in_its_time);
	tcase_add_test(tc, ends_as_its_policy_says);
	tcase_add_test(tc, crashes_with_growing_back_off);
	tcase_add_test(tc, init_containers_run_in_order);
	tcase_add_test(tc, a_failed_init_container);
	tcase_add_test(tc, sidecars_end_with_the_pod);
	tcase_add_test(tc, images_that_cannot_be_pulled);
	tcase_add_test(tc, a_deadline_passes);
	tcase_add_test(tc, readiness_gates);
	tcase_add_test(tc, stops);
	tcase_add_test(tc, symbolic_statuses_are_filled_in);
	suite_add_tcase(s, tc);
	tc = tcase_create("behaviour");
	tcase_add_test(tc, durations);
	tcase_add_test(tc, rules_and_annotations);
	suite_add_tcase(s, tc);
	tc = tcase_create("addresses");
	tcase_add_test(tc, addresses_are_given_once);
	tcase_add_test(tc, addresses_that_are_missing_come);
	tcase_add_test(tc, a_pod_with_an_address_is_not_new);
	tcase_add_test(tc, nodes_have_addresses_of_their_own);
	tcase_add_test(tc, a_node_has_what_its_status_shows);
	tcase_add_test(tc, addresses_in_statuses_of_nodes);
	tcase_add_test(tc, addresses_are_used_again);
	tcase_add_test(tc, odd_ranges);
	tcase_add_test(tc, rounds_grow_with_what_is_held);
	tcase_add_test(tc, addresses_are_of_ones_own_share);
	suite_add_tcase(s, tc);
	return facts_main(s);
}
