/*
 * test_apiserver.c - the pure parts of the API server: paths, options, Accept,
 * continue tokens, printing.
 */
#include <stdlib.h>
#include "procs/apiserver/api.h"
#include "procs/apiserver/options.h"
#include "tests/unit/suite.h"

static zone *z;

static void setup(void)
{
	z = zone_new();
}

static void teardown(void)
{
	zone_free(z);
}

#define ck_str(s, text) \
	ck_assert_msg(str_eq((s), str_of(text)), "'" STR_FMT "' is not '%s'", STR_ARG(s), text)

/* --- Paths -------------------------------------------------------------------------- */

static const struct {
	const char *path;
	enum target_kind kind;
	const char *resource, *ns, *name, *sub;
} paths[] = {
	{"/nope", TARGET_NONE, NULL, "", "", ""},
	{"/", TARGET_PLAIN, NULL, "", "", ""},
	{"/healthz", TARGET_PLAIN, NULL, "", "", ""},
	{"/livez/ping", TARGET_PLAIN, NULL, "", "", ""},
	{"/openapi/v3/apis/apps/v1", TARGET_PLAIN, NULL, "", "", ""},
	{"/api", TARGET_GROUPS, NULL, "", "", ""},
	{"/apis/", TARGET_GROUPS, NULL, "", "", ""},
	{"/apis/apps", TARGET_GROUP, NULL, "", "", ""},
	{"/apis/nope", TARGET_NONE, NULL, "", "", ""},
	{"/apis/nope/v1/x", TARGET_NONE, NULL, "", "", ""},
	{"/apis/apps/v1", TARGET_VERSION, NULL, "", "", ""},
	{"/apis/apps/v9", TARGET_UNKNOWN, NULL, "", "", ""},
	{"/api/v1/nope", TARGET_UNKNOWN, NULL, "", "", ""},
	{"/api/v1/pods", TARGET_COLLECTION, "pods", "", "", ""},
	{"/api/v1/pods/x", TARGET_UNKNOWN, "pods", "", "x", ""},
	{"/api/v1/namespaces", TARGET_COLLECTION, "namespaces", "", "", ""},
	{"/api/v1/namespaces/a", TARGET_OBJECT, "namespaces", "", "a", ""},
	{"/api/v1/namespaces/a/status", TARGET_SUB, "namespaces", "", "a", "status"},
	{"/api/v1/namespaces/a/finalize", TARGET_SUB, "namespaces", "", "a", "finalize"},
	{"/api/v1/namespaces/a/pods", TARGET_COLLECTION, "pods", "a", "", ""},
	{"/api/v1/namespaces/a/pods/b", TARGET_OBJECT, "pods", "a", "b", ""},
	{"/api/v1/namespaces/a/pods/b/log", TARGET_SUB, "pods", "a", "b", "log"},
	{"/api/v1/namespaces/a/pods/b/nope", TARGET_UNKNOWN, "pods", "a", "b", "nope"},
	{"/api/v1/namespaces/a/nodes", TARGET_UNKNOWN, "nodes", "a", "", ""},
	{"/api/v1/nodes/n/proxy/x/y", TARGET_SUB, "nodes", "", "n", "proxy"},
	{"/api/v1/watch/namespaces/a/pods", TARGET_COLLECTION, "pods", "a", "", ""},
	{"/apis/apps/v1/namespaces/a/deployments/d/scale", TARGET_SUB, "deployments", "a", "d",
	 "scale"},
	{"//api//v1//pods//", TARGET_COLLECTION, "pods", "", "", ""},
};

START_TEST(paths_name_what_they_say)
{
	struct target t;

	route_parse(str_of(paths[_i].path), &t);
	ck_assert_msg(t.kind == paths[_i].kind, "%s: kind %d", paths[_i].path, t.kind);
	if (!paths[_i].resource)
		return;
	ck_assert_ptr_nonnull(t.r);
	ck_assert_str_eq(t.r->resource, paths[_i].resource);
	ck_str(t.ns, paths[_i].ns);
	ck_str(t.name, paths[_i].name);
	ck_str(t.sub, paths[_i].sub);
}
END_TEST

/* Any bytes are a path: nothing is read outside them. */
START_TEST(random_paths_are_harmless)
{
	static const char *const words[] = {"/",    "api", "apis",   "v1",    "apps", "namespaces",
					    "pods", "x",   "status", "watch", "%2f",  "."};
	const char *seed = getenv("WEFT_SEED");
	unsigned s = seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)clock_wall_ns();
	struct buf b = {0};
	struct target t;

	printf("seed %u\n", s);
	for (int i = 0; i < 20000; i++) {
		char *exact;

		b.n = 0;
		for (int n = rand_r(&s) % 12; n > 0; n--) {
			buf_puts(&b, words[rand_r(&s) % countof(words)]);
			if (rand_r(&s) % 3)
				buf_putc(&b, '/');
		}
		exact = malloc(b.n ? b.n : 1); /* a sanitizer sees reads beyond it */
		memcpy(exact, b.p ? b.p : "", b.n);
		route_parse((struct str){exact, (uint32_t)b.n}, &t);
		free(exact);
	}
	buf_free(&b);
}
END_TEST

/* --- Options ------------------------------------------------------------------------ */

START_TEST(options_are_decoded)
{
	struct query q;
	struct str why;
	int64_t n;

	query_parse(z, STR("a=1&b=x%2Cy+z&c&&d=%zz&watch=true&e=%"), &q);
	ck_assert_int_eq(q.n, 6);
	ck_str(query_get(&q, "b"), "x,y z");
	ck_str(query_get(&q, "d"), "%zz");
	ck_str(query_get(&q, "e"), "%");
	ck_assert(query_has(&q, "c") && !query_has(&q, "f"));
	ck_assert(query_bool(&q, "watch") && !query_bool(&q, "f"));
	ck_assert_int_eq(query_int(z, &q, "a", 7, &n, &why), WEFT_OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(query_int(z, &q, "f", 7, &n, &why), WEFT_OK);
	ck_assert_int_eq(n, 7);
	ck_assert_int_eq(query_int(z, &q, "watch", 7, &n, &why), WEFT_EINVAL);
	ck_str(why, "strconv.ParseInt: parsing \"true\": invalid syntax");
	query_parse(z, STR(""), &q);
	ck_assert_int_eq(q.n, 0);
}
END_TEST

struct clauses {
	int n;
	char text[256];
};

static bool note_clause(void *arg, const struct accept *a)
{
	struct clauses *c = arg;
	size_t at = strlen(c->text);

	c->n++;
	snprintf(c->text + at, sizeof(c->text) - at, "[" STR_FMT "|" STR_FMT "|" STR_FMT "]",
		 STR_ARG(a->type), STR_ARG(a->as), STR_ARG(a->group));
	return false;
}

START_TEST(accept_is_cut_into_clauses)
{
	struct clauses c = {0};

	accept_each(STR("application/json;as=Table;v=v1;g=meta.k8s.io, application/yaml ;q=0.9"),
		    note_clause, &c);
	ck_assert_str_eq(c.text, "[application/json|Table|meta.k8s.io][application/yaml||]");
	c = (struct clauses){0};
	accept_each(STR(" "), note_clause, &c);
	ck_assert_str_eq(c.text, "[*/*||]");
	c = (struct clauses){0};
	accept_each(STR(",;,=;="), note_clause, &c);
	ck_assert_int_eq(c.n, 3);
}
END_TEST

/* --- Continue tokens ---------------------------------------------------------------- */

START_TEST(tokens_come_back)
{
	static const struct continue_at cases[] = {
		{42, STR("default"), STR("web-1"), 17},
		{1, STR(""), STR("n"), -1},
		{0, STR("a"), STR("b"), 0}, /* at whatever is newest */
	};
	struct continue_at out;
	struct str why, token;

	for (size_t i = 0; i < countof(cases); i++) {
		token = continue_encode(z, &cases[i]);
		ck_assert_int_eq(continue_decode(z, token, &out, &why), WEFT_OK);
		ck_assert_uint_eq(out.rv, cases[i].rv);
		ck_assert_int_eq(out.left, cases[i].left);
		ck_assert(str_eq(out.ns, cases[i].ns) && str_eq(out.name, cases[i].name));
	}
}
END_TEST

START_TEST(damaged_tokens_are_refused)
{
	struct continue_at at = {7, STR("ns"), STR("name"), 3}, out;
	struct str token = continue_encode(z, &at), why;
	char text[256];

	ck_assert_int_eq(continue_decode(z, STR("abc"), &out, &why), WEFT_EINVAL);
	ck_assert_int_eq(continue_decode(z, STR("!"), &out, &why), WEFT_EINVAL);
	for (uint32_t n = 0; n < token.n; n++) /* cut at any place: refused or sane */
		if (!continue_decode(z, (struct str){token.p, n}, &out, &why))
			ck_assert(out.name.n > 0);
	for (uint32_t i = 0; i < token.n; i++) {
		memcpy(text, token.p, token.n);
		text[i] ^= 1;
		if (!continue_decode(z, (struct str){text, token.n}, &out, &why))
			ck_assert(out.name.n > 0 && out.ns.n + out.name.n <= KEY_MAX);
	}
}
END_TEST

/* A key longer than any object's does not reach the buffers that hold keys. */
START_TEST(long_tokens_are_refused)
{
	static char name[2 * KEY_MAX];
	struct continue_at at = {7, STR("ns"), {name, sizeof(name)}, 3}, out;
	struct str why;

	memset(name, 'n', sizeof(name));
	ck_assert_int_eq(continue_decode(z, continue_encode(z, &at), &out, &why), WEFT_EINVAL);
}
END_TEST

/* --- Printing ----------------------------------------------------------------------- */

START_TEST(json_is_indented)
{
	struct buf b = {0};

	json_indent(&b, STR("{\"a\":[1,{\"b\":\"x,{\\\"\"}],\"c\":{},\"d\":[]}"));
	buf_putc(&b, '\0');
	ck_assert_str_eq(b.p,
			 "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\"\"\n    }\n  ],\n"
			 "  \"c\": {},\n  \"d\": []\n}");
	b.n = 0;
	json_indent(&b, STR("{\"cut")); /* not JSON: no harm */
	buf_free(&b);
}
END_TEST

START_TEST(keys_are_sorted_below_too)
{
	struct buf b = {0};
	value v;

	ck_assert_int_eq(json_decode(z, STR("{\"b\":[{\"z\":1,\"y\":2}],\"a\":1}"), &v, NULL, NULL),
			 WEFT_OK);
	value_sort_keys(&v);
	json_encode(&b, &v, NULL);
	buf_putc(&b, '\0');
	ck_assert_str_eq(b.p, "{\"a\":1,\"b\":[{\"y\":2,\"z\":1}]}");
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("apiserver");
	TCase *tc = tcase_create("pure");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, paths_name_what_they_say, 0, countof(paths));
	tcase_add_test(tc, random_paths_are_harmless);
	tcase_add_test(tc, options_are_decoded);
	tcase_add_test(tc, accept_is_cut_into_clauses);
	tcase_add_test(tc, tokens_come_back);
	tcase_add_test(tc, damaged_tokens_are_refused);
	tcase_add_test(tc, long_tokens_are_refused);
	tcase_add_test(tc, json_is_indented);
	tcase_add_test(tc, keys_are_sorted_below_too);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
