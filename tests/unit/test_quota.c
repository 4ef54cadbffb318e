/*
 * test_quota.c - quotas in the store: what is refused, what the status says, and
 * random operations against a simple model: objects counted one by one.
 */
#include "procs/store/quota.h"
#include "store_rig.h"

static struct files *fs;
static struct rig rig;
static struct clock_page page;
static int64_t held_ns;	     /* the time that hold_time() goes back to */
static uint64_t set_back_rv; /* the last write before the clock was last set back */

static void pass_time(int64_t seconds)
{
	if (seconds < 0)
		set_back_rv = rig.s.rv;
	page.wall_offset_ns += seconds * 1000000000;
	held_ns += seconds * 1000000000;
}

/* It is the beginning of the same second as before: what outstays its grace in a test at
 * random does so by pass_time() alone, not between the model's count and the store's. */
static void hold_time(void)
{
	page.wall_offset_ns += held_ns - clock_wall_ns();
}

static void set_up(void)
{
	rig_set_seed();
	page.wall_offset_ns = 0;
	set_back_rv = 0;
	clock_set_source(&page);
	held_ns = clock_wall_ns() / 1000000000 * 1000000000;
	fs = file_sim_new();
	memset(&rig, 0, sizeof(rig));
	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
}

static void verify(void)
{
	struct err e = {0};

	ck_assert_msg(!quotas_verify(&rig.s, &e), "%s", e.msg);
	ck_assert_msg(!cw_verify(rig.s.w, &e), "%s", e.msg);
}

static void tear_down(void)
{
	verify();
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
	clock_set_source(NULL);
}

static void reopen(void)
{
	rig_kill(&rig);
	rig_must_open(&rig, fs, NULL);
}

/* --- Asking ------------------------------------------------------------------------ */

static const struct msg_reply *make(uint16_t type, const char *name, const char *spec)
{
	struct msg m = rig_create(type, "a", name);

	if (spec)
		m.create.spec = rig_part(spec);
	return rig_do(&rig, &m);
}

static const struct msg_reply *quota(const char *name, const char *hard)
{
	char text[512];

	snprintf(text, sizeof(text), "{'hard':%s}", hard);
	return make(TYPE_RESOURCEQUOTA, name, text);
}

static const struct msg_reply *drop(uint16_t type, const char *name, int grace)
{
	struct msg m = rig_remove(type, "a", name);

	m.remove.grace = grace;
	return rig_do(&rig, &m);
}

static const struct msg_reply *change(uint16_t type, const char *name, enum part part,
				      const char *text)
{
	struct msg m = {
		.kind = MSG_update,
		.update = {.type = type, .ns = STR("a"), .name = str_of(name), .mask = 1u << part}};

	*(&m.update.meta + part) = rig_part(text);
	return rig_do(&rig, &m);
}

static const struct msg_reply *to_node(const char *name)
{
	struct msg m = {
		.kind = MSG_update,
		.update = {
			.type = TYPE_POD, .ns = STR("a"), .name = str_of(name), .node = STR("n")}};

	return rig_do(&rig, &m);
}

static const struct msg_reply *make_many(uint32_t count, const char *spec)
{
	struct msg m = {.kind = MSG_create_many,
			.create_many = {.type = TYPE_POD,
					.ns = STR("a"),
					.prefix = STR("web-"),
					.count = count,
					.spec = rig_part(spec)}};

	return rig_do(&rig, &m);
}

#define OK(reply) ck_assert_msg((reply)->status == WEFT_OK, "%s", rig.message)

static void refused(const struct msg_reply *r, const char *message)
{
	ck_assert_int_eq(r->status, WEFT_EFORBIDDEN);
	ck_assert_str_eq(rig.message, message);
}

/* status.used of a quota as readers see it, e.g. "pods=1 secrets=0". */
static const char *used(const char *name)
{
	static char text[512];
	const struct entry *e = cache_find(rig.s.c, TYPE_RESOURCEQUOTA, STR("a"), str_of(name));
	const struct version *v = e ? cache_live(rig.s.c, e) : NULL;
	size_t n = 0;
	value status;

	text[0] = '\0';
	if (!v || v_decode(rig_zone, cache_part(rig.s.c, v, PART_STATUS), &status))
		return "nothing";
	v_each_kv(kv, v_get(&status, "used"))
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s" STR_FMT "=" STR_FMT,
				      n ? " " : "", STR_ARG(v_as_str(&kv->key)),
				      STR_ARG(v_as_str(&kv->val)));
	return text;
}

#define POD(resources) "{'containers':[{'name':'c','resources':" resources "}]}"
#define CPU(n)	       POD("{'requests':{'cpu':'" n "'}}")
#define PLAIN	       POD("{}")

/* --- What is refused --------------------------------------------------------------- */

START_TEST(what_would_be_too_much_is_refused)
{
	OK(quota("q", "{'pods':'2','requests.cpu':'1','count/pods':'9'}"));
	ck_assert_str_eq(used("q"), "count/pods=0 pods=0 requests.cpu=0");
	OK(make(TYPE_POD, "one", CPU("600m")));
	ck_assert_str_eq(used("q"), "count/pods=1 pods=1 requests.cpu=600m");
	refused(make(TYPE_POD, "two", CPU("600m")),
		"exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, "
		"limited: requests.cpu=1");
	ck_assert_ptr_null(rig_get(&rig, TYPE_POD, "a", "two"));
	refused(make(TYPE_POD, "two", PLAIN), "failed quota: q: must specify requests.cpu for: c");
	OK(make(TYPE_POD, "two", CPU("400m")));
	refused(make(TYPE_POD, "three", CPU("1")),
		"exceeded quota: q, requested: pods=1,requests.cpu=1, used: pods=2,requests.cpu=1, "
		"limited: pods=2,requests.cpu=1");
	OK(make(TYPE_CONFIGMAP, "free", NULL));
	OK(drop(TYPE_POD, "one", 0));
	ck_assert_str_eq(used("q"), "count/pods=1 pods=1 requests.cpu=400m");
	OK(make(TYPE_POD, "three", CPU("0.6")));
}
END_TEST

START_TEST(a_dry_run_takes_nothing)
{
	struct msg m = rig_create(TYPE_POD, "a", "dry");

	OK(quota("q", "{'pods':'1'}"));
	m.create.dry_run = true;
	OK(rig_do(&rig, &m));
	ck_assert_str_eq(used("q"), "pods=0");
	OK(make(TYPE_POD, "wet", PLAIN));
	rig_do(&rig, &m);
	ck_assert_int_eq(rig.last.status, WEFT_EFORBIDDEN);
}
END_TEST

START_TEST(of_many_as_many_are_made_as_fit)
{
	OK(quota("q", "{'pods':'5'}"));
	OK(make_many(3, PLAIN));
	make_many(4, PLAIN);
	refused(&rig.last, "exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5");
	ck_assert_uint_eq(rig.last.done, 2);
	ck_assert_uint_eq(rig.last.name.n, strlen("web-xxxxx"));
	make_many(4, PLAIN);
	ck_assert_int_eq(rig.last.status, WEFT_EFORBIDDEN);
	ck_assert_uint_eq(rig.last.done, 0);
	ck_assert_uint_eq(rig.last.rv, 0);
	ck_assert_str_eq(used("q"), "pods=5");
	reopen();
	ck_assert_str_eq(used("q"), "pods=5");
	make_many(4, PLAIN);
	ck_assert_int_eq(rig.last.status, WEFT_EFORBIDDEN);
}
END_TEST

START_TEST(the_first_of_several_quotas_speaks)
{
	OK(quota("b", "{'pods':'0'}"));
	OK(quota("a", "{'configmaps':'0','pods':'0'}"));
	refused(make(TYPE_POD, "p", PLAIN),
		"exceeded quota: a, requested: pods=1, used: pods=0, limited: pods=0");
	OK(drop(TYPE_RESOURCEQUOTA, "a", 0));
	refused(make(TYPE_POD, "p", PLAIN),
		"exceeded quota: b, requested: pods=1, used: pods=0, limited: pods=0");
	OK(make(TYPE_CONFIGMAP, "c", NULL));
	OK(drop(TYPE_RESOURCEQUOTA, "b", 0));
	OK(make(TYPE_POD, "p", PLAIN));
	ck_assert_ptr_null(rig.s.quotas);
}
END_TEST

START_TEST(only_what_an_update_adds_is_asked_for)
{
	OK(quota("q", "{'services.nodeports':'2','services':'1'}"));
	OK(make(TYPE_SERVICE, "s", "{'type':'NodePort','ports':[{'port':1},{'port':2}]}"));
	refused(change(TYPE_SERVICE, "s", PART_SPEC,
		       "{'type':'NodePort','ports':[{'port':1},{'port':2},{'port':3}]}"),
		"exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=2, "
		"limited: services.nodeports=2");
	OK(change(TYPE_RESOURCEQUOTA, "q", PART_SPEC, "{'hard':{'services.nodeports':'1'}}"));
	ck_assert_str_eq(used("q"), "services.nodeports=2");
	OK(change(TYPE_SERVICE, "s", PART_SPEC,
		  "{'type':'NodePort','ports':[{'port':1},{'port':4}]}"));
	OK(change(TYPE_SERVICE, "s", PART_SPEC, "{'type':'ClusterIP','ports':[{'port':1}]}"));
	ck_assert_str_eq(used("q"), "services.nodeports=0");
}
END_TEST

/* A pod's node makes it smaller only later; it is charged for what it has till then. */
START_TEST(a_resized_pod_takes_the_larger_of_both)
{
	OK(quota("q", "{'requests.cpu':'3'}"));
	OK(make(TYPE_POD, "p", CPU("2")));
	OK(change(TYPE_POD, "p", PART_STATUS,
		  "{'phase':'Running','containerStatuses':[{'name':'c',"
		  "'allocatedResources':{'cpu':'2'},'resources':{'requests':{'cpu':'2'}}}]}"));
	OK(change(TYPE_POD, "p", PART_SPEC, CPU("1")));
	ck_assert_str_eq(used("q"), "requests.cpu=2");
	OK(change(TYPE_POD, "p", PART_STATUS,
		  "{'phase':'Running','containerStatuses':[{'name':'c',"
		  "'allocatedResources':{'cpu':'1'},'resources':{'requests':{'cpu':'1'}}}]}"));
	ck_assert_str_eq(used("q"), "requests.cpu=1");
	refused(change(TYPE_POD, "p", PART_SPEC, CPU("4")),
		"exceeded quota: q, requested: requests.cpu=3, used: requests.cpu=1, "
		"limited: requests.cpu=3");
}
END_TEST

/* --- What does not count ----------------------------------------------------------- */

START_TEST(pods_that_have_ended_do_not_count)
{
	OK(quota("q", "{'pods':'1','count/pods':'3'}"));
	OK(make(TYPE_POD, "one", PLAIN));
	OK(change(TYPE_POD, "one", PART_STATUS, "{'phase':'Succeeded'}"));
	ck_assert_str_eq(used("q"), "count/pods=1 pods=0");
	OK(make(TYPE_POD, "two", PLAIN));
	OK(change(TYPE_POD, "two", PART_STATUS, "{'phase':'Failed'}"));
	OK(make(TYPE_POD, "three", PLAIN));
	refused(make(TYPE_POD, "four", PLAIN),
		"exceeded quota: q, requested: count/pods=1,pods=1, used: count/pods=3,pods=1, "
		"limited: count/pods=3,pods=1");
	/* A status is never refused. */
	OK(change(TYPE_POD, "one", PART_STATUS, "{'phase':'Running'}"));
	ck_assert_str_eq(used("q"), "count/pods=3 pods=2");
}
END_TEST

START_TEST(pods_that_outstay_their_grace_do_not_count)
{
	OK(quota("q", "{'pods':'1','count/pods':'9'}"));
	OK(make(TYPE_POD, "one", PLAIN));
	OK(to_node("one"));
	OK(drop(TYPE_POD, "one", 10)); /* until then, and as long again */
	ck_assert_str_eq(used("q"), "count/pods=1 pods=1");
	pass_time(19);
	ck_assert_int_eq(make(TYPE_POD, "two", PLAIN)->status, WEFT_EFORBIDDEN);
	pass_time(2);
	OK(make(TYPE_POD, "two", PLAIN));
	ck_assert_str_eq(used("q"), "count/pods=2 pods=1");
	pass_time(-10); /* it counts again */
	OK(make(TYPE_CONFIGMAP, "c", NULL));
	ck_assert_int_eq(make(TYPE_POD, "three", PLAIN)->status, WEFT_EFORBIDDEN);
	ck_assert_str_eq(used("q"), "count/pods=2 pods=2");
	pass_time(10);
	OK(drop(TYPE_POD, "one", 0));
	ck_assert_str_eq(used("q"), "count/pods=1 pods=1");
}
END_TEST

START_TEST(scopes_choose_pods)
{
	OK(make(TYPE_RESOURCEQUOTA, "short", "{'hard':{'pods':'1'},'scopes':['Terminating']}"));
	OK(make(TYPE_RESOURCEQUOTA, "long",
		"{'hard':{'pods':'1'},'scopes':['NotTerminating','BestEffort']}"));
	OK(make(TYPE_RESOURCEQUOTA, "gold",
		"{'hard':{'pods':'1'},'scopeSelector':{'matchExpressions':[{'scopeName':"
		"'PriorityClass','operator':'In','values':['gold','silver']}]}}"));
	OK(make(TYPE_POD, "job", "{'activeDeadlineSeconds':5,'containers':[{'name':'c'}]}"));
	ck_assert_str_eq(used("short"), "pods=1");
	ck_assert_str_eq(used("long"), "pods=0");
	OK(make(TYPE_POD, "lazy", PLAIN));
	refused(make(TYPE_POD, "lazier", PLAIN),
		"exceeded quota: long, requested: pods=1, used: pods=1, limited: pods=1");
	OK(make(TYPE_POD, "busy", CPU("1")));
	OK(make(TYPE_POD, "dear",
		"{'priorityClassName':'gold','containers':[{'name':'c',"
		"'resources':{'limits':{'cpu':'1'}}}]}"));
	ck_assert_str_eq(used("gold"), "pods=1");
	/* Another scope: all that it takes is new there. */
	refused(change(TYPE_POD, "busy", PART_SPEC,
		       "{'activeDeadlineSeconds':5,'containers':[{'name':'c',"
		       "'resources':{'requests':{'cpu':'1'}}}]}"),
		"exceeded quota: short, requested: pods=1, used: pods=1, limited: pods=1");
}
END_TEST

/* --- Quotas themselves ------------------------------------------------------------- */

START_TEST(a_quota_counts_what_was_there_before)
{
	OK(make_many(7, CPU("250m")));
	OK(make(TYPE_SECRET, "s", NULL));
	OK(quota("q", "{'pods':'3','cpu':'8','secrets':'2','resourcequotas':'1',"
		      "'count/leases.coordination.k8s.io':'1','example.com/none':'1'}"));
	ck_assert_str_eq(used("q"), "count/leases.coordination.k8s.io=0 cpu=1750m pods=7 "
				    "resourcequotas=1 secrets=1");
	refused(quota("r", "{}"), "exceeded quota: q, requested: resourcequotas=1, used: "
				  "resourcequotas=1, limited: resourcequotas=1");
	ck_assert_int_eq(make_many(1, CPU("1"))->status, WEFT_EFORBIDDEN);
	OK(change(TYPE_RESOURCEQUOTA, "q", PART_SPEC, "{'hard':{'pods':'9'}}"));
	ck_assert_str_eq(used("q"), "pods=7");
	make_many(5, PLAIN);
	ck_assert_uint_eq(rig.last.done, 2);
	/* Whoever writes its status is corrected in the same breath. */
	OK(change(TYPE_RESOURCEQUOTA, "q", PART_STATUS, "{'used':{'pods':'0'}}"));
	ck_assert_str_eq(used("q"), "pods=9");
}
END_TEST

/* What the log refuses was never taken; also when it was the quota itself. */
START_TEST(what_is_undone_is_given_back)
{
	OK(quota("q", "{'pods':'3'}"));
	OK(make(TYPE_POD, "one", PLAIN));
	for (int i = 0; i < 2; i++) {
		file_sim_fail_after(fs, 0, WEFT_ENOSPC);
		ck_assert_int_eq(make_many(2, PLAIN)->status, WEFT_ENOSPC);
		ck_assert_int_eq(drop(TYPE_POD, "one", 0)->status, WEFT_ENOSPC);
		ck_assert_int_eq(drop(TYPE_RESOURCEQUOTA, "q", 0)->status, WEFT_ENOSPC);
		ck_assert_int_eq(quota("r", "{'pods':'1'}")->status, WEFT_ENOSPC);
		file_sim_heal(fs);
		verify();
		OK(make(TYPE_CONFIGMAP, i ? "c" : "d", NULL));
		ck_assert_str_eq(used("q"), "pods=1");
	}
	make_many(5, PLAIN);
	ck_assert_uint_eq(rig.last.done, 2);
}
END_TEST

START_TEST(a_restart_knows_what_is_taken)
{
	OK(quota("q", "{'pods':'4','requests.cpu':'1'}"));
	OK(make_many(3, CPU("100m")));
	reopen();
	make_many(3, CPU("100m"));
	refused(&rig.last, "exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4");
	ck_assert_uint_eq(rig.last.done, 1);
	ck_assert_str_eq(used("q"), "pods=4 requests.cpu=400m");
}
END_TEST

/* --- At random --------------------------------------------------------------------- */

struct sums {
	int64_t pods, all_pods, cpu_milli, configmaps;
	bool late; /* some pod has outstayed its grace */
};

static int64_t cpu_of(const struct version *v)
{
	int64_t milli = 0;
	value spec;

	if (!v_decode(rig_zone, cache_part(rig.s.c, v, PART_SPEC), &spec))
		kube_quantity_milli(
			v_path(v_at(v_get(&spec, "containers"), 0), "resources.requests.cpu"),
			&milli);
	return milli;
}

/* One by one, by what Kubernetes' documentation says. */
static struct sums count_objects(const char *ns)
{
	struct sums n = {0};
	const struct entry *e;
	struct cache_iter it;

	cache_iter_init(&it, rig.s.c, TYPE_CONFIGMAP, str_of(ns), (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it)))
		n.configmaps += cw_newest(rig.s.w, e) != NULL;
	cache_iter_init(&it, rig.s.c, TYPE_POD, str_of(ns), (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cw_newest(rig.s.w, e);
		bool late =
			v && v->deletion_s && clock_wall_s() > v->deletion_s + (uint32_t)v->grace_s;

		n.all_pods += v != NULL;
		n.late |= late;
		if (!v || v->hot.phase == POD_SUCCEEDED || v->hot.phase == POD_FAILED || late)
			continue;
		n.pods++;
		n.cpu_milli += cpu_of(v);
	}
	return n;
}

static int64_t amount_of(const value *list, const char *name)
{
	int64_t milli = -1;

	kube_quantity_milli(v_get(list, name), &milli);
	return milli;
}

/* The status of every quota is what one counts; that time passed, or was set back, it says
 * with the namespace's next change. */
static void check_statuses(void)
{
	const struct entry *e;
	struct cache_iter it;

	cache_iter_init(&it, rig.s.c, TYPE_RESOURCEQUOTA, (struct str){0}, (struct str){0},
			(struct str){0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(rig.s.c, e);
		char ns[8];
		struct sums n;
		value status;
		value *u;

		if (!v)
			continue;
		snprintf(ns, sizeof(ns), STR_FMT, STR_ARG(cache_ns(rig.s.c, e)));
		n = count_objects(ns);
		ck_assert_int_eq(v_decode(rig_zone, cache_part(rig.s.c, v, PART_STATUS), &status),
				 0);
		u = v_get(&status, "used");
		ck_assert_int_eq(amount_of(u, "count/pods"), n.all_pods * 1000);
		ck_assert_int_eq(amount_of(u, "configmaps"), n.configmaps * 1000);
		if (n.late || v->rv <= set_back_rv)
			continue;
		ck_assert_int_eq(amount_of(u, "pods"), n.pods * 1000);
		ck_assert_int_eq(amount_of(u, "requests.cpu"), n.cpu_milli);
	}
}

/* How many such pods fit into the namespace, by the model. */
static int64_t model_room(const char *ns, int64_t cpu)
{
	struct sums n = count_objects(ns);
	int64_t room = INT32_MAX;
	const struct entry *e;
	struct cache_iter it;

	cache_iter_init(&it, rig.s.c, TYPE_RESOURCEQUOTA, str_of(ns), (struct str){0},
			(struct str){0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cw_newest(rig.s.w, e);
		int64_t by_pods, by_all, by_cpu;
		value spec, *hard;

		if (!v)
			continue;
		ck_assert_int_eq(v_decode(rig_zone, cache_part(rig.s.c, v, PART_SPEC), &spec), 0);
		hard = v_get(&spec, "hard");
		by_pods = amount_of(hard, "pods") / 1000 - n.pods;
		by_all = amount_of(hard, "count/pods") / 1000 - n.all_pods;
		by_cpu = (amount_of(hard, "requests.cpu") - n.cpu_milli) / cpu;
		room = by_pods < room ? by_pods : room;
		room = by_all < room ? by_all : room;
		room = by_cpu < room ? by_cpu : room;
	}
	return room < 0 ? 0 : room;
}

static struct str random_hard(void)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "{'hard':{'pods':'%u','count/pods':'%u','requests.cpu':'%um','configmaps':'%u'}}",
		 rnd(30), 10 + rnd(60), rnd(12000), rnd(50));
	return rig_part(text);
}

static void random_quota(void)
{
	char name[4] = {'q', (char)('0' + rnd(2)), 0};
	struct msg m = rig_create(TYPE_RESOURCEQUOTA, random_ns(), name);

	if (rnd(3) == 0) {
		m = rig_remove(TYPE_RESOURCEQUOTA, random_ns(), name);
	} else if (rnd(2)) {
		m.create.spec = random_hard();
	} else {
		m = (struct msg){.kind = MSG_update,
				 .update = {.type = TYPE_RESOURCEQUOTA,
					    .ns = str_of(random_ns()),
					    .name = str_of(name),
					    .mask = 1u << PART_SPEC,
					    .spec = random_hard()}};
	}
	rig_send(&rig, &m);
}

/* Some pods; made are exactly as many as fit. */
static void random_pods(void)
{
	const char *ns = random_ns();
	int64_t cpu = 100 + 100 * rnd(5), room = model_room(ns, cpu);
	uint32_t count = 1 + rnd(12);
	struct msg m = {.kind = MSG_create_many};
	char spec[200];

	snprintf(spec, sizeof(spec),
		 "{'containers':[{'name':'c','resources':{'requests':{'cpu':'%dm'}}}]}", (int)cpu);
	if (rnd(3) == 0) {
		m = rig_create(TYPE_POD, ns, random_name());
		m.create.spec = rig_part(spec);
		m.create.generate = true;
		count = 1;
	} else {
		m.create_many = (struct msg_create_many){.type = TYPE_POD,
							 .ns = str_of(ns),
							 .prefix = STR("w-"),
							 .count = count,
							 .spec = rig_part(spec)};
	}
	rig_do(&rig, &m);
	if (rig.last.status == WEFT_ENOSPC)
		return;
	ck_assert_uint_eq(rig.last.done, room < count ? (uint32_t)room : count);
	ck_assert_int_eq(rig.last.status, room < count ? WEFT_EFORBIDDEN : WEFT_OK);
}

static void random_step(void)
{
	hold_time();
	switch (rnd(8)) {
	case 0:
		random_quota();
		break;
	case 1:
	case 2:
		random_pods();
		break;
	case 3:
		random_one(&rig);
		break;
	default:
		random_many(&rig);
	}
}

/* Pods that random_one() and random_many() make state nothing, or too much. */
START_TEST(random_operations_keep_the_quotas)
{
	uint32_t refusals = 0;

	for (int i = 0; i < 4000; i++) {
		if (rnd(100) == 0)
			file_sim_fail_after(fs, rnd(6), WEFT_ENOSPC);
		if (rnd(40) == 0)
			pass_time((int64_t)rnd(30) - 8);
		random_step();
		refusals += rig.last.status == WEFT_EFORBIDDEN;
		if (rnd(3))
			continue;
		commit_drain(&rig.c);
		file_sim_heal(fs);
		check_statuses();
		if (i % 50 == 0)
			verify();
		if (i % 500 == 0)
			reopen();
		if (i % 20 == 0) {
			zone_reset(rig_zone);
			cw_reclaim(rig.s.w, 5000);
		}
	}
	ck_assert_uint_gt(refusals, 50);
}
END_TEST

/* The same while no time passes: the status is exact after each batch. */
START_TEST(the_status_is_that_of_the_batch)
{
	for (int i = 0; i < 2000; i++) {
		random_step();
		if (rnd(2))
			continue;
		commit_drain(&rig.c);
		check_statuses();
		if (i % 20 == 0)
			zone_reset(rig_zone);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *t = tcase_create("quota");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_would_be_too_much_is_refused);
	tcase_add_test(t, a_dry_run_takes_nothing);
	tcase_add_test(t, of_many_as_many_are_made_as_fit);
	tcase_add_test(t, the_first_of_several_quotas_speaks);
	tcase_add_test(t, only_what_an_update_adds_is_asked_for);
	tcase_add_test(t, a_resized_pod_takes_the_larger_of_both);
	tcase_add_test(t, pods_that_have_ended_do_not_count);
	tcase_add_test(t, pods_that_outstay_their_grace_do_not_count);
	tcase_add_test(t, scopes_choose_pods);
	tcase_add_test(t, a_quota_counts_what_was_there_before);
	tcase_add_test(t, what_is_undone_is_given_back);
	tcase_add_test(t, a_restart_knows_what_is_taken);
	tcase_add_test(t, random_operations_keep_the_quotas);
	tcase_add_test(t, the_status_is_that_of_the_batch);
	suite_add_tcase(s, t);
	return rig_run(s);
}
