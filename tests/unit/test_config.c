/* test_config.c - configuration files: defaults, forms of values, errors with
 * their line. */
#include <stdio.h>
#include <stdlib.h>

#include "procs/supervisor/config.h"
#include "tests/unit/suite.h"
#include "weft/json.h"

static struct config c;
static struct err e;

static int read_text(const char *text)
{
	e = (struct err){0};
	return config_read(&c, "weft.yaml", str_of(text), &e);
}

static int64_t number(const char *path)
{
	return v_as_int(v_path(&c.all, path), -1);
}

static void refused(const char *text, const char *message)
{
	ck_assert_msg(read_text(text) == WEFT_EINVAL, "accepted: %s", text);
	ck_assert_str_eq(e.msg, message);
	config_free(&c);
}

START_TEST(nothing_said_gives_the_defaults)
{
	ck_assert_int_eq(read_text(""), 0);
	ck_assert_int_eq(number("nodes.count"), 3);
	ck_assert_int_eq(number("cache.max"), INT64_C(16) << 30);
	ck_assert_int_eq(number("nodes.lease"), 10000);
	ck_assert(str_eq(v_get_str(&c.all, "listen"), STR("127.0.0.1:6443")));
	ck_assert(str_eq(v_get_str(v_get(&c.all, "durability"), "leases.coordination.k8s.io"),
			 STR("memory")));
	ck_assert_uint_eq(c.count[PROC_STORE], 1);
	ck_assert_uint_eq(c.count[PROC_REPLICASET], 1);
	ck_assert_int_eq(c.stall_ms, 5000);
	config_free(&c);
}
END_TEST

START_TEST(what_is_said_is_taken)
{
	ck_assert_msg(read_text("# a comment\n"
				"data: /srv/weft\n"
				"listen: '[::1]:0'\n"
				"processes:\n"
				"  replicaset: 4\n"
				"nodes:\n"
				"  count: 1000\n"
				"  cpu: 8\n"
				"  lease: 1m\n"
				"  evictionRate: 0.25\n"
				"  labels:\n"
				"    kubernetes.io/arch: amd64\n"
				"    tier: 2\n"
				"  rules:\n"
				"  - image: 'nginx:*'\n"
				"    ready: 1.5s\n"
				"  - pull: error\n"
				"    labels: {app: bad}\n"
				"cache: {max: 1Gi}\n"
				"durability:\n"
				"  configmaps: memory\n"
				"  leases.coordination.k8s.io: sync\n"
				"supervisor:\n") == 0,
		      "%s", e.msg);
	ck_assert(str_eq(c.data, STR("/srv/weft")));
	ck_assert_uint_eq(c.count[PROC_REPLICASET], 4);
	ck_assert_int_eq(number("nodes.count"), 1000);
	ck_assert_int_eq(number("nodes.lease"), 60000);
	ck_assert_int_eq(number("nodes.evictionRate"), 250);
	ck_assert_int_eq(number("nodes.secondaryEvictionRate"), 10);
	ck_assert_int_eq(number("cache.max"), 1 << 30);
	ck_assert(str_eq(v_as_str(v_path(&c.all, "nodes.cpu")), STR("8")));
	ck_assert(str_eq(v_get_str(v_path(&c.all, "nodes.labels"), "kubernetes.io/arch"),
			 STR("amd64")));
	ck_assert(str_eq(v_get_str(v_path(&c.all, "nodes.labels"), "tier"), STR("2")));
	ck_assert_int_eq(v_get_int(v_at(v_path(&c.all, "nodes.rules"), 0), "ready", 0), 1500);
	ck_assert(str_eq(v_get_str(v_get(&c.all, "durability"), "configmaps"), STR("memory")));
	ck_assert(str_eq(v_get_str(v_get(&c.all, "durability"), "leases.coordination.k8s.io"),
			 STR("sync")));
	ck_assert(str_eq(v_get_str(v_get(&c.all, "durability"), "events"), STR("memory")));
	config_free(&c);
}
END_TEST

START_TEST(processes_may_have_bounds)
{
	ck_assert_msg(read_text("processes:\n"
				"  replicaset: {min: 2, max: 5}\n"
				"  gc: 3\n"
				"autoscale: {upAge: 200ms}\n") == 0,
		      "%s", e.msg);
	ck_assert_uint_eq(c.count[PROC_REPLICASET], 2);
	ck_assert_uint_eq(c.bounds[PROC_REPLICASET].min, 2);
	ck_assert_uint_eq(c.bounds[PROC_REPLICASET].max, 5);
	ck_assert_uint_eq(c.count[PROC_GC], 3);
	ck_assert_uint_eq(c.bounds[PROC_GC].max, 0);
	ck_assert_int_eq(c.autoscale.up_age_ms, 200);
	ck_assert_int_eq(c.autoscale.up_after_ms, 3000);
	ck_assert_int_eq(c.autoscale.calm_age_ms, 100);
	ck_assert_int_eq(c.autoscale.down_after_ms, 60000);
	config_free(&c);
	refused("processes:\n  gc: {min: 1}\n",
		"weft.yaml:2: processes.gc: bounds are two whole numbers, such as {min: 1, max: 4}");
	refused("processes:\n  gc: {min: 1, max: 4, most: 2}\n",
		"weft.yaml:2: processes.gc: 'most' is neither min nor max");
	refused("processes:\n  gc: {min: 0, max: 4}\n",
		"weft.yaml:2: processes.gc: bounds from 0 to 4 are not within 1 and 32");
	refused("processes:\n  gc: {min: 3, max: 2}\n",
		"weft.yaml:2: processes.gc: bounds from 3 to 2 are not within 1 and 32");
	refused("processes:\n  apiserver: {min: 1, max: 2}\n",
		"weft.yaml:2: processes.apiserver: a number is expected here: it is not scaled by "
		"itself");
	refused("processes: {gc: many}\n",
		"weft.yaml:1: processes.gc: 'many' is not a whole number");
	refused("processes: {gc: 32, node: 32, scheduler: 32, replicaset: {min: 1, max: 32}}\n",
		"weft.yaml: processes: 134 in all, at most 128 can run");
	refused("autoscale: {calmAge: 1s}\n",
		"weft.yaml: autoscale.calmAge is not less than autoscale.upAge");
}
END_TEST

START_TEST(unknown_keys_are_refused_with_their_line)
{
	refused("data: /x\nnodes:\n  count: 3\n  cuont: 4\n",
		"weft.yaml:4: unknown key 'nodes.cuont'; did you mean 'nodes.count'? (see `weft help "
		"config`)");
	refused("nodes:\n  rules:\n  - image: x\n    colour: red\n",
		"weft.yaml:4: unknown key 'nodes.rules[0].colour' (see `weft help config`)");
	refused("processes:\n  etcd: 1\n",
		"weft.yaml:2: unknown key 'processes.etcd' (see `weft help config`)");
}
END_TEST

START_TEST(wrong_values_are_refused_with_their_line)
{
	refused("nodes:\n  count: many\n",
		"weft.yaml:2: nodes.count: 'many' is not a whole number");
	refused("nodes:\n  count: -1\n",
		"weft.yaml:2: nodes.count: -1 is out of range (0 to 1000000)");
	refused("nodes:\n  cpu: banana\n",
		"weft.yaml:2: nodes.cpu: 'banana' is not a quantity, such as 4 or 256Gi");
	refused("nodes: {memory: 0}\n",
		"weft.yaml:1: nodes.memory: '0' is not a quantity, such as 4 or 256Gi");
	refused("durability:\n  podz: memory\n",
		"weft.yaml:2: durability.podz: there is no such resource (plural.group, such as pods "
		"or deployments.apps)");
	refused("\n\nlisten: somewhere\n",
		"weft.yaml:3: listen: 'somewhere' is not an address and port, such as 127.0.0.1:6443");
	refused("listen: 127.0.0.1:70000\n",
		"weft.yaml:1: listen: '127.0.0.1:70000' is not an address and port, such as "
		"127.0.0.1:6443");
	refused("pods: {cidr: 10.0.0.0}\n",
		"weft.yaml:1: pods.cidr: '10.0.0.0' is not a range of IPv4 addresses, such as "
		"127.128.0.0/9");
	refused("cache:\n  max: 1 potato\n",
		"weft.yaml:2: cache.max: '1 potato' is not a size, such as 64Mi");
	refused("nodes: {lease: soon}\n",
		"weft.yaml:1: nodes.lease: 'soon' is not a time, such as 10s");
	refused("nodes: {evictionRate: fast}\n",
		"weft.yaml:1: nodes.evictionRate: 'fast' is not a number, such as 0.1");
	refused("nodes: {unhealthyZoneThreshold: 1.5}\n",
		"weft.yaml:1: nodes.unhealthyZoneThreshold: 1500 thousandths is out of range (0 to 1000)");
	refused("durability: {events: maybe}\n",
		"weft.yaml:1: durability.events: 'maybe' is none of sync|memory");
	refused("nodes: 3\n", "weft.yaml:1: nodes: a section is expected here");
	refused("data: [a, b]\n", "weft.yaml:1: data: a single value is expected here");
	refused("processes: {store: 2}\n",
		"weft.yaml:1: processes.store: 2 is out of range (1 to 1)");
	refused("cache: {journalMin: 2000000}\n",
		"weft.yaml: cache.journalMin is larger than cache.journalMax");
}
END_TEST

START_TEST(what_is_no_yaml_is_refused)
{
	ck_assert_int_eq(read_text("nodes: [1,\n"), WEFT_EINVAL);
	ck_assert_msg(strstr(e.msg, "weft.yaml: ") == e.msg && strstr(e.msg, "line"), "%s", e.msg);
	config_free(&c);
	ck_assert_int_eq(read_text("just words\n"), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "weft.yaml:1: keys and values are expected");
	config_free(&c);
}
END_TEST

START_TEST(options_override_the_file)
{
	ck_assert_int_eq(read_text("nodes: {count: 5}\n"), 0);
	ck_assert_int_eq(config_set(&c, "--nodes", "nodes.count", "7", &e), 0);
	ck_assert_int_eq(number("nodes.count"), 7);
	ck_assert_int_eq(config_set(&c, "--nodes", "nodes.count", "x", &e), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "--nodes: 'x' is not a whole number");
	ck_assert_int_eq(config_set(&c, "--listen", "listen", "0.0.0.0:0", &e), 0);
	config_free(&c);
}
END_TEST

START_TEST(the_printed_file_is_the_default_configuration)
{
	struct buf printed = {0}, a = {0}, b = {0};

	config_print(&printed);
	buf_putc(&printed, 0);
	ck_assert_int_eq(read_text(""), 0);
	json_encode(&a, &c.all, NULL);
	config_free(&c);
	ck_assert_msg(read_text(printed.p) == 0, "%s", e.msg);
	json_encode(&b, &c.all, NULL);
	config_free(&c);
	ck_assert_uint_eq(a.n, b.n);
	buf_free(&printed);
	buf_free(&a);
	buf_free(&b);
}
END_TEST

/* The page has each key with its default, as the table does. */
static void in_page(void *page, const char *path, const char *absent, const char *help)
{
	char row[512];

	snprintf(row, sizeof(row), "| `%s` | %s%s%s | %s", path, absent ? "`" : "",
		 absent ? (*absent ? absent : "\"\"") : "", absent ? "`" : "", help);
	ck_assert_msg(strstr(page, row) != NULL, "docs/configuration.md lacks: %s", row);
}

START_TEST(the_documentation_has_every_key)
{
	FILE *f = fopen("docs/configuration.md", "re");
	struct buf page = {0};
	int ch;

	ck_assert_msg(f != NULL, "run from the top of the tree");
	while ((ch = getc(f)) != EOF)
		buf_putc(&page, (char)ch);
	buf_putc(&page, 0);
	fclose(f);
	config_each_key(in_page, page.p);
	buf_free(&page);
}
END_TEST

START_TEST(addresses_split)
{
	struct str host;
	uint16_t port;

	ck_assert(config_listen_split(STR("127.0.0.1:6443"), &host, &port));
	ck_assert(str_eq(host, STR("127.0.0.1")));
	ck_assert_uint_eq(port, 6443);
	ck_assert(config_listen_split(STR("[::1]:1"), &host, &port));
	ck_assert(str_eq(host, STR("::1")));
	ck_assert(!config_listen_split(STR("127.0.0.1"), &host, &port));
	ck_assert(!config_listen_split(STR("127.0.0.1:"), &host, &port));
	ck_assert(!config_listen_split(STR("127.0.0.1:x"), &host, &port));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");

	tcase_add_test(tc, nothing_said_gives_the_defaults);
	tcase_add_test(tc, what_is_said_is_taken);
	tcase_add_test(tc, processes_may_have_bounds);
	tcase_add_test(tc, unknown_keys_are_refused_with_their_line);
	tcase_add_test(tc, wrong_values_are_refused_with_their_line);
	tcase_add_test(tc, what_is_no_yaml_is_refused);
	tcase_add_test(tc, options_override_the_file);
	tcase_add_test(tc, the_printed_file_is_the_default_configuration);
	tcase_add_test(tc, the_documentation_has_every_key);
	tcase_add_test(tc, addresses_split);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
