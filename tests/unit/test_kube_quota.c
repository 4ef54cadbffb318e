/*
 * test_kube_quota.c - what objects take of quotas, by cases that Kubernetes' own
 * evaluators decide so.
 */
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "weft/json.h"
#include "weft/kube.h"

static zone *z;

static void set_up(void)
{
	z = zone_new();
}

static void tear_down(void)
{
	zone_free(z);
}

/* msgpack of a JSON-like text with ' for ". */
static struct str part(const char *text)
{
	struct buf json = {0}, out = {0};
	struct err e = {0};
	struct str s;
	value v;

	if (!text)
		return (struct str){0};
	for (; *text; text++)
		buf_putc(&json, *text == '\'' ? '"' : *text);
	ck_assert_msg(!json_decode(z, buf_str(&json), &v, NULL, &e), "%s", e.msg);
	v_encode(&out, &v);
	s = zone_str(z, buf_str(&out));
	buf_free(&json);
	buf_free(&out);
	return s;
}

static int compare(const void *a, const void *b)
{
	return str_cmp(((const struct kube_use *)a)->name, ((const struct kube_use *)b)->name);
}

/* "a=1 b=2": what is taken, but for the count of the objects themselves. */
static const char *uses(const struct kube_charged *o)
{
	struct str text = {0};
	struct kube_uses l;

	kube_quota_uses(z, o, &l);
	qsort(l.list, l.n, sizeof(*l.list), compare);
	for (uint32_t i = 0; i < l.n; i++)
		if (!memmem(l.list[i].name.p, l.list[i].name.n, "count/", 6))
			text = zone_printf(z, STR_FMT "%s" STR_FMT "=" STR_FMT, STR_ARG(text),
					   text.n ? " " : "", STR_ARG(l.list[i].name),
					   STR_ARG(kube_amount_print(z, l.list[i].amount)));
	return text.n ? text.p : "";
}

static const struct {
	const char *name;
	uint16_t type;
	bool over;
	const char *meta, *spec, *status, *uses;
} cases[] = {
	{"a pod that states nothing", TYPE_POD, false, NULL, "{'containers':[{'name':'c'}]}", NULL,
	 "pods=1"},
	{"one that is over", TYPE_POD, true, NULL,
	 "{'containers':[{'name':'c','resources':{'requests':{'cpu':'1'}}}]}", NULL, ""},
	{"containers add up", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'cpu':'1','memory':'1Gi'},"
	 "'limits':{'cpu':'2'}}},{'name':'b','resources':{'requests':{'cpu':'500m'},"
	 "'limits':{'cpu':'1','ephemeral-storage':'1G'}}}]}",
	 NULL,
	 "cpu=1500m limits.cpu=3 limits.ephemeral-storage=1G memory=1Gi pods=1 requests.cpu=1500m "
	 "requests.memory=1Gi"},
	{"init containers one after the other, beside sidecars", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'cpu':'1'}}}],"
	 "'initContainers':[{'name':'i','resources':{'requests':{'cpu':'2'}}},"
	 "{'name':'s','restartPolicy':'Always','resources':{'requests':{'cpu':'300m'}}},"
	 "{'name':'j','resources':{'requests':{'cpu':'1900m'}}}]}",
	 NULL, "cpu=2200m pods=1 requests.cpu=2200m"},
	{"a sidecar runs beside the others", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'cpu':'1'}}}],"
	 "'initContainers':[{'name':'s','restartPolicy':'Always',"
	 "'resources':{'requests':{'cpu':'300m'}}}]}",
	 NULL, "cpu=1300m pods=1 requests.cpu=1300m"},
	{"overhead, and of limits only where there are any", TYPE_POD, false, NULL,
	 "{'overhead':{'cpu':'100m','memory':'8Mi'},'containers':[{'name':'a',"
	 "'resources':{'requests':{'cpu':'1'},'limits':{'cpu':'2'}}}]}",
	 NULL,
	 "cpu=1100m limits.cpu=2100m memory=8Mi pods=1 requests.cpu=1100m requests.memory=8Mi"},
	{"the pod's own amounts", TYPE_POD, false, NULL,
	 "{'resources':{'requests':{'cpu':'5'},'limits':{'cpu':'6'}},'containers':[{'name':'a',"
	 "'resources':{'requests':{'cpu':'1','memory':'1Mi'}}}]}",
	 NULL, "cpu=5 limits.cpu=6 memory=1Mi pods=1 requests.cpu=5 requests.memory=1Mi"},
	{"huge pages and extended resources", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'hugepages-2Mi':'4Mi',"
	 "'example.com/gpu':'2','kubernetes.io/odd':'1'},'limits':{'example.com/gpu':'2'}}}]}",
	 NULL, "hugepages-2Mi=4Mi pods=1 requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi"},
	{"what its node has given it, if that is more", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'cpu':'1'},'limits':{'cpu':'1'}}}]}",
	 "{'containerStatuses':[{'name':'a','allocatedResources':{'cpu':'2'},"
	 "'resources':{'requests':{'cpu':'1500m'},'limits':{'cpu':'3'}}}]}",
	 "cpu=2 limits.cpu=3 pods=1 requests.cpu=2"},
	{"what it cannot be given does not count", TYPE_POD, false, NULL,
	 "{'containers':[{'name':'a','resources':{'requests':{'cpu':'9'}}}]}",
	 "{'conditions':[{'type':'PodResizePending','status':'True','reason':'Infeasible'}],"
	 "'containerStatuses':[{'name':'a','allocatedResources':{'cpu':'2'},"
	 "'resources':{'requests':{'cpu':'2'}}}]}",
	 "cpu=2 pods=1 requests.cpu=2"},
	{"a Service", TYPE_SERVICE, false, NULL, "{'type':'ClusterIP','ports':[{'port':1}]}", NULL,
	 "services=1 services.loadbalancers=0 services.nodeports=0"},
	{"its node ports", TYPE_SERVICE, false, NULL,
	 "{'type':'NodePort','ports':[{'port':1},{'port':2}]}", NULL,
	 "services=1 services.loadbalancers=0 services.nodeports=2"},
	{"a load balancer has them, too", TYPE_SERVICE, false, NULL,
	 "{'type':'LoadBalancer','ports':[{'port':1},{'port':2}]}", NULL,
	 "services=1 services.loadbalancers=1 services.nodeports=2"},
	{"unless it wants none", TYPE_SERVICE, false, NULL,
	 "{'type':'LoadBalancer','allocateLoadBalancerNodePorts':false,"
	 "'ports':[{'port':1},{'port':2,'nodePort':30000}]}",
	 NULL, "services=1 services.loadbalancers=1 services.nodeports=1"},
	{"a claim, in whole bytes", TYPE_PERSISTENTVOLUMECLAIM, false, NULL,
	 "{'storageClassName':'gold','resources':{'requests':{'storage':'1500m'}}}", NULL,
	 "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 "
	 "gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 "
	 "requests.storage=2"},
	{"its class as it was once named, and what it has", TYPE_PERSISTENTVOLUMECLAIM, false,
	 "{'annotations':{'volume.beta.kubernetes.io/storage-class':'tin'}}",
	 "{'storageClassName':'gold','resources':{'requests':{'storage':'1Gi'}}}",
	 "{'allocatedResources':{'storage':'2Gi'}}",
	 "persistentvolumeclaims=1 requests.storage=2Gi "
	 "tin.storageclass.storage.k8s.io/persistentvolumeclaims=1 "
	 "tin.storageclass.storage.k8s.io/requests.storage=2Gi"},
	{"kinds with a name of old", TYPE_SECRET, false, NULL, NULL, NULL, "secrets=1"},
	{"and without", TYPE_DEPLOYMENT, false, NULL, NULL, NULL, ""},
};

static struct kube_charged charged(uint16_t type, bool over, const char *meta, const char *spec,
				   const char *status)
{
	return (struct kube_charged){.type = type,
				     .over = over,
				     .meta = part(meta),
				     .spec = part(spec),
				     .status = part(status)};
}

START_TEST(what_objects_take)
{
	for (size_t i = 0; i < countof(cases); i++) {
		struct kube_charged o = charged(cases[i].type, cases[i].over, cases[i].meta,
						cases[i].spec, cases[i].status);
		const char *got = uses(&o);

		ck_assert_msg(!strcmp(got, cases[i].uses), "%s: %s, not %s", cases[i].name, got,
			      cases[i].uses);
	}
}
END_TEST

START_TEST(every_object_is_counted_but_events)
{
	struct kube_charged job = {.type = TYPE_JOB}, event = {.type = TYPE_EVENT};
	struct kube_charged pod = charged(TYPE_POD, true, NULL, "{}", NULL);
	struct kube_uses l;

	kube_quota_uses(z, &job, &l);
	ck_assert_uint_eq(l.n, 1);
	ck_assert(str_eq(l.list[0].name, STR("count/jobs.batch")));
	kube_quota_uses(z, &pod, &l);
	ck_assert_uint_eq(l.n, 1);
	ck_assert(str_eq(l.list[0].name, STR("count/pods")));
	kube_quota_uses(z, &event, &l);
	ck_assert_uint_eq(l.n, 0);
}
END_TEST

START_TEST(whose_resources_they_are)
{
	static const struct {
		const char *name;
		uint16_t type;
	} facts[] = {
		{"pods", TYPE_POD},
		{"requests.cpu", TYPE_POD},
		{"hugepages-1Gi", TYPE_POD},
		{"requests.hugepages-1Gi", TYPE_POD},
		{"requests.example.com/gpu", TYPE_POD},
		{"requests.deviceclass.resource.kubernetes.io/gpu", TYPE_POD},
		{"example.com/gpu", 0},
		{"requests.storage", TYPE_PERSISTENTVOLUMECLAIM},
		{"x.storageclass.storage.k8s.io/requests.storage", TYPE_PERSISTENTVOLUMECLAIM},
		{"services.nodeports", TYPE_SERVICE},
		{"replicationcontrollers", TYPE_REPLICATIONCONTROLLER},
		{"count/pods", TYPE_POD},
		{"count/deployments.apps", TYPE_DEPLOYMENT},
		{"count/deployments", 0},
		{"count/horizontalpodautoscalers.autoscaling", TYPE_HORIZONTALPODAUTOSCALER},
		{"count/leases.coordination.k8s.io", TYPE_LEASE},
		{"count/events", 0},
		{"count/events.events.k8s.io", 0},
		{"count/nodes", 0},
		{"count/foos.example.com", 0},
	};

	for (size_t i = 0; i < countof(facts); i++)
		ck_assert_msg(kube_quota_type(str_of(facts[i].name)) == facts[i].type,
			      "%s is of %u", facts[i].name, kube_quota_type(str_of(facts[i].name)));
}
END_TEST

#define SELECTS(scope, op, values)                                                       \
	"{'scopeSelector':{'matchExpressions':[{'scopeName':'" scope "','operator':'" op \
	"','values':" values "}]}}"

START_TEST(scopes)
{
	static const char plain[] = "{'containers':[{'name':'c'}]}";
	static const char gold[] =
		"{'priorityClassName':'gold','activeDeadlineSeconds':0,"
		"'containers':[{'name':'c','resources':{'limits':{'cpu':'1'}}}]}";
	static const char near[] = "{'affinity':{'podAntiAffinity':{'preferredDuringScheduling"
				   "IgnoredDuringExecution':[{'podAffinityTerm':{"
				   "'namespaceSelector':{}}}]}}}";
	static const char claim[] = "{'volumeAttributesClassName':'fast'}";
	static const struct {
		uint16_t type;
		const char *quota, *spec;
		bool in;
	} facts[] = {
		{TYPE_POD, "{}", plain, true},
		{TYPE_SECRET, "{}", plain, true},
		{TYPE_SECRET, "{'scopes':['BestEffort']}", plain, false},
		{TYPE_POD, "{'scopes':['BestEffort']}", plain, true},
		{TYPE_POD, "{'scopes':['BestEffort']}", gold, false},
		{TYPE_POD, "{'scopes':['NotBestEffort']}", gold, true},
		{TYPE_POD, "{'scopes':['Terminating']}", gold, true},
		{TYPE_POD, "{'scopes':['Terminating']}", plain, false},
		{TYPE_POD, "{'scopes':['NotTerminating','BestEffort']}", plain, true},
		{TYPE_POD, "{'scopes':['NotTerminating','NotBestEffort']}", plain, false},
		{TYPE_POD, "{'scopes':['PriorityClass']}", gold, true},
		{TYPE_POD, "{'scopes':['PriorityClass']}", plain, false},
		{TYPE_POD, SELECTS("PriorityClass", "In", "['gold','tin']"), gold, true},
		{TYPE_POD, SELECTS("PriorityClass", "In", "['tin']"), gold, false},
		{TYPE_POD, SELECTS("PriorityClass", "NotIn", "['tin']"), gold, true},
		{TYPE_POD, SELECTS("PriorityClass", "NotIn", "['gold']"), gold, false},
		{TYPE_POD, SELECTS("PriorityClass", "NotIn", "['gold']"), plain, true},
		{TYPE_POD, SELECTS("PriorityClass", "DoesNotExist", "[]"), plain, true},
		{TYPE_POD, SELECTS("PriorityClass", "DoesNotExist", "[]"), gold, false},
		{TYPE_POD, "{'scopes':['CrossNamespacePodAffinity']}", near, true},
		{TYPE_POD, "{'scopes':['CrossNamespacePodAffinity']}", plain, false},
		{TYPE_PERSISTENTVOLUMECLAIM, SELECTS("VolumeAttributesClass", "In", "['fast']"),
		 claim, true},
		{TYPE_PERSISTENTVOLUMECLAIM, SELECTS("VolumeAttributesClass", "In", "['slow']"),
		 claim, false},
		{TYPE_PERSISTENTVOLUMECLAIM, "{'scopes':['Terminating']}", claim, false},
	};

	for (size_t i = 0; i < countof(facts); i++) {
		struct kube_charged o = charged(facts[i].type, false, NULL, facts[i].spec, NULL);
		value quota;

		ck_assert_int_eq(v_decode(z, part(facts[i].quota), &quota), WEFT_OK);
		ck_assert_msg(kube_quota_in_scope(z, &quota, &o) == facts[i].in, "%s of %s",
			      facts[i].spec, facts[i].quota);
	}
}
END_TEST

START_TEST(what_has_to_be_stated)
{
	static const char pod[] =
		"{'containers':[{'name':'b'},{'name':'a','resources':{'requests':{'cpu':'1'}}}],"
		"'initContainers':[{'name':'i','resources':{'limits':{'memory':'1'}}}]}";
	struct kube_charged o = charged(TYPE_POD, false, NULL, pod, NULL);
	struct kube_charged whole = charged(TYPE_POD, false, NULL,
					    "{'resources':{'limits':{'cpu':'1'}},"
					    "'containers':[{'name':'b'}]}",
					    NULL);
	struct str text;
	value hard;

	ck_assert_int_eq(v_decode(z,
				  part("{'requests.cpu':'1','limits.memory':'1','pods':'2',"
				       "'requests.ephemeral-storage':'1'}"),
				  &hard),
			 WEFT_OK);
	text = kube_quota_missing(z, &hard, &o);
	ck_assert_msg(str_eq(text, STR("must specify limits.memory for: a,b; requests.cpu for: "
				       "b,i")),
		      STR_FMT, STR_ARG(text));
	ck_assert_uint_eq(kube_quota_missing(z, &hard, &whole).n, 0);
}
END_TEST

START_TEST(amounts_add_up_in_the_form_of_the_first)
{
	struct kube_amount sum = {0}, a;
	value gi = v_cstr("1Gi"), mega = v_cstr("1M"), large = v_cstr("8Ei");

	ck_assert(kube_amount(&gi, &a));
	kube_amount_add(&sum, a, 3);
	ck_assert(str_eq(kube_amount_print(z, sum), STR("3Gi")));
	kube_amount_add(&sum, a, -3);
	ck_assert(str_eq(kube_amount_print(z, sum), STR("0")));
	ck_assert(kube_amount(&mega, &a));
	kube_amount_add(&sum, a, 1);
	ck_assert(str_eq(kube_amount_print(z, sum), STR("1M")));
	ck_assert(kube_amount(&large, &a));
	kube_amount_add(&sum, a, 1000000000);
	kube_amount_add(&sum, a, -1000000000);
	ck_assert(str_eq(kube_amount_print(z, sum), STR("1M")));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube quota");
	TCase *t = tcase_create("quota");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_objects_take);
	tcase_add_test(t, every_object_is_counted_but_events);
	tcase_add_test(t, whose_resources_they_are);
	tcase_add_test(t, scopes);
	tcase_add_test(t, what_has_to_be_stated);
	tcase_add_test(t, amounts_add_up_in_the_form_of_the_first);
	suite_add_tcase(s, t);
	return run_suite(s);
}
