/*
 * bench_json.c - JSON in (a Deployment, a list of pods) and out (stored pods
 * with their holes filled, as LISTs and watches print them), by CPU time.
 *
 * usage: bench_json [RUNS]
 */
#include "bench/bench.h"

static const char deployment[] =
	"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"nginx-deployment\","
	"\"namespace\":\"default\",\"labels\":{\"app\":\"nginx\"},\"annotations\":{"
	"\"kubernetes.io/change-cause\":\"first\"}},\"spec\":{\"replicas\":3,\"selector\":{"
	"\"matchLabels\":{\"app\":\"nginx\"}},\"strategy\":{\"type\":\"RollingUpdate\","
	"\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":1}},\"template\":{\"metadata\":{"
	"\"labels\":{\"app\":\"nginx\"}},\"spec\":{\"containers\":[{\"name\":\"nginx\",\"image\":"
	"\"nginx:1.14.2\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}],\"resources\":{"
	"\"limits\":{\"cpu\":\"500m\",\"memory\":\"128Mi\"},\"requests\":{\"cpu\":\"250m\",\"memory\":"
	"\"64Mi\"}},\"readinessProbe\":{\"httpGet\":{\"path\":\"/healthz\",\"port\":80},"
	"\"initialDelaySeconds\":5,\"periodSeconds\":10},\"env\":[{\"name\":\"MODE\",\"value\":"
	"\"production\"},{\"name\":\"LIMIT\",\"value\":\"100\"}],\"imagePullPolicy\":\"IfNotPresent\"}],"
	"\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":"
	"\"ClusterFirst\",\"schedulerName\":\"default-scheduler\"}}}}";

/* The status of a running pod as its template holds it: holes for what differs. */
static value pod_status(zone *z)
{
	static const char *const types[] = {"PodReadyToStartContainers", "Initialized", "Ready",
					    "ContainersReady", "PodScheduled"};
	value s = v_map(), *c;

	v_set(z, &s, "phase", v_cstr("Running"));
	for (size_t i = 0; i < countof(types); i++) {
		c = v_append(z, v_array_at(z, &s, "conditions"), v_map());
		v_set(z, c, "type", v_cstr(types[i]));
		v_set(z, c, "status", v_cstr("True"));
		v_set(z, c, "lastProbeTime", v_null());
		v_set(z, c, "lastTransitionTime", v_hole(z, HOLE_TIME, 0, STR("")));
	}
	v_set(z, &s, "hostIP", v_hole(z, HOLE_IPV4, 1, STR("")));
	v_set(z, &s, "podIP", v_hole(z, HOLE_IPV4, 2, STR("")));
	v_set(z, &s, "startTime", v_hole(z, HOLE_TIME, 0, STR("")));
	c = v_append(z, v_array_at(z, &s, "containerStatuses"), v_map());
	v_set(z, c, "name", v_cstr("nginx"));
	v_set(z, c, "ready", v_bool(true));
	v_set(z, c, "restartCount", v_int(0));
	v_set(z, c, "image", v_cstr("nginx:1.14.2"));
	v_set(z, c, "containerID", v_hole(z, HOLE_UID64, 0, STR("weft://")));
	v_set(z, v_map_at(z, v_map_at(z, c, "state"), "running"), "startedAt",
	      v_hole(z, HOLE_TIME, 0, STR("")));
	v_set(z, &s, "qosClass", v_cstr("Burstable"));
	return s;
}

static value deployment_value(zone *z)
{
	value v;

	if (json_decode(z, str_of(deployment), &v, NULL, NULL))
		weft_fatal("the Deployment does not parse");
	return v;
}

/* A stored pod: what its template shares, in msgpack. */
static void stored_pod(struct buf *out)
{
	zone *z = zone_new();
	value d = deployment_value(z), pod = v_map();

	v_set(z, &pod, "spec", *v_path(&d, "spec.template.spec"));
	v_set(z, &pod, "status", pod_status(z));
	v_encode(out, &pod);
	zone_free(z);
}

/* MB a second, and of one pod after another into one buffer, as a LIST is; anew
 * for each (`texts` is NULL), or from the text that the pods share. */
static void run_out(struct bench *speed, struct bench *pods, struct kept *texts)
{
	enum { N = 50000 };
	uint32_t numbers[] = {1700000000, 0x0a000001, 0x0a010203};
	uint8_t uid[16] = {1, 2, 3};
	struct hole_values h = {.holes = numbers,
				.nholes = 3,
				.uid = uid,
				.name = STR("nginx-deployment-66b6c48dd5-abcde"),
				.node = STR("node-1")};
	struct buf pod = {0}, out = {0};
	double start, bytes = 0;

	stored_pod(&pod);
	start = bench_cpu();
	for (int i = 0; i < N; i++) {
		if (out.n > 1 << 20) {
			bytes += (double)out.n;
			out.n = 0;
		}
		uid[0]++;
		numbers[0] += (uint32_t)i & 1;
		if (json_from_shared(texts, &out, buf_str(&pod), 1, &h))
			weft_fatal("a stored pod cannot be printed");
	}
	start = bench_cpu() - start;
	bench_add(speed, (bytes + (double)out.n) / start / 1e6);
	bench_add(pods, N / start / 1e3);
	buf_free(&pod);
	buf_free(&out);
}

/* Thousand Deployments a second. */
static double run_in(void)
{
	enum { N = 30000 };
	zone *z = zone_new();
	double start = bench_cpu();

	for (int i = 0; i < N; i++) {
		deployment_value(z);
		zone_reset(z);
	}
	start = bench_cpu() - start;
	zone_free(z);
	return N / start / 1e3;
}

/* MB a second of a list of 10,000. */
static double run_in_list(void)
{
	zone *z = zone_new();
	struct buf text = {0};
	struct err e;
	double start;
	value v;

	buf_puts(&text, "{\"items\":[");
	for (int i = 0; i < 10000; i++)
		buf_printf(&text, "%s%s", i ? "," : "", deployment);
	buf_puts(&text, "]}");
	start = bench_cpu();
	if (json_decode(z, buf_str(&text), &v, NULL, &e))
		weft_fatal("%s", e.msg);
	start = bench_cpu() - start;
	zone_free(z);
	start = (double)text.n / start / 1e6;
	buf_free(&text);
	return start;
}

int main(int argc, char **argv)
{
	struct bench out = {.name = "json-out",
			    .unit = "MB/s",
			    .what = "stored pods printed as JSON, holes filled"};
	struct bench pods = {.name = "json-out-pods",
			     .unit = "k pods/s",
			     .what = "the same in pods (spec and status)"};
	struct bench shared = {.name = "json-shared",
			       .unit = "MB/s",
			       .what = "stored pods printed from the text of their template"};
	struct bench shared_pods = {
		.name = "json-shared-pods", .unit = "k pods/s", .what = "the same in pods"};
	static struct kept texts;
	struct bench in = {.name = "json-in",
			   .unit = "k Deployments/s",
			   .what = "a Deployment of 1.2 KB from JSON to a tree"};
	struct bench list = {.name = "json-in-list",
			     .unit = "MB/s",
			     .what = "a list of 10,000 Deployments from JSON to a tree"};

	for (int n = bench_runs(argc, argv, 5); n > 0; n--) {
		run_out(&out, &pods, NULL);
		run_out(&shared, &shared_pods, &texts);
		bench_add(&in, run_in());
		bench_add(&list, run_in_list());
	}
	bench_report(&out);
	bench_report(&pods);
	bench_report(&shared);
	bench_report(&shared_pods);
	bench_report(&in);
	bench_report(&list);
	return 0;
}
