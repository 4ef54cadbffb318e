/*
 * test_walk.c - the walk over a node's pods gives what the walk over all gives:
 * random writes, looked at as of any resourceVersion that can still be read.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "procs/apiserver/walk.h"
#include "tests/unit/suite.h"
#include "weft/cache_write.h"
#include "weft/segment.h"

#define NODES 3
#define NAMES 300 /* in each namespace: a node has several times WALK_TOGETHER */
#define FOUND 4200

static struct cache_writer *w;
static const struct cache *c;
static char segment[64];
static uint64_t rv;
static unsigned seed;

static unsigned rnd(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void setup(void)
{
	struct cache_options opt = {.size_first = 1 << 20,
				    .journal_min = 512,
				    .journal_max = 512,
				    .pod_type = TYPE_POD,
				    .node_type = TYPE_NODE};
	const char *text = getenv("WEFT_SEED");
	struct err e = {0};

	seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)getpid();
	printf("WEFT_SEED=%u\n", seed);
	snprintf(segment, sizeof(segment), "/weft.test-walk-%d", (int)getpid());
	ck_assert_msg(!cw_create(&w, segment, 1, (const uint8_t[16]){7}, 0, &opt, &e), "%s", e.msg);
	c = cw_cache(w);
	rv = 0;
}

static void teardown(void)
{
	cw_close(w);
	seg_unlink(segment, NULL);
}

/* --- Writing ------------------------------------------------------------------------ */

static struct str node_name(unsigned node)
{
	static const char *const names[NODES + 1] = {"", "n1", "n2", "n3"};

	return str_of(names[node]);
}

static void publish(struct version *v)
{
	cw_publish(w, v);
	cw_commit_rv(w, rv);
}

static void create(struct str ns, struct str name, unsigned node)
{
	struct version_in in = {.grace_s = -1, .node = node_name(node)};
	uint8_t uid[16] = {0};
	struct version *v;

	rv++;
	memcpy(uid, &rv, sizeof(rv));
	ck_assert_int_eq(cw_prepare_create(w, TYPE_POD, ns, name, uid, 1, rv, &in, &v), 0);
	publish(v);
}

/* What becomes of a pod: it is bound if it was not, or written otherwise. */
static void update(struct entry *e)
{
	bool bound = cache_live(c, e)->hot.node.u != 0;
	struct version_in in = {.grace_s = -1, .node = node_name(bound ? 0 : rnd(NODES + 1))};
	struct version *v;

	ck_assert_int_eq(cw_prepare_update(w, e, ++rv, &in, &v), 0);
	publish(v);
}

static void delete (struct entry *e)
{
	struct version *v;

	ck_assert_int_eq(cw_prepare_delete(w, e, ++rv, 0, 0, &v), 0);
	publish(v);
}

static struct str some_ns(void)
{
	static const char *const names[] = {"a", "a-b", "b"};

	return str_of(names[rnd(3)]);
}

static struct str some_name(char text[16])
{
	snprintf(text, 16, "p%u", rnd(NAMES));
	return str_of(text);
}

static void write_one(void)
{
	char text[16];
	struct str ns = some_ns(), name = some_name(text);
	struct entry *e = cw_find(w, TYPE_POD, ns, name);

	if (!e)
		create(ns, name, rnd(NODES + 1));
	else if (rnd(3))
		update(e);
	else
		delete (e);
	if (rnd(2))
		cw_reclaim(w, 50);
}

/* --- Looking ------------------------------------------------------------------------ */

static uint32_t look(struct walk *walk, const struct filter *f, const struct place *after,
		     uint64_t at, struct str node, const struct entry **found)
{
	const struct entry *e;
	uint32_t n = 0;

	walk_begin(walk, c, f, after);
	while ((e = walk_next(walk))) {
		const struct version *v = cache_at(c, e, at);

		if (v && v->hot.node.u &&
		    str_eq(cache_string(c, cache_nodeslot(c, v->hot.node)->name), node))
			found[n++] = e;
	}
	return n;
}

/* Both walks, as of `at`; true if the one by node was taken. */
static bool compare(struct filter f, const struct place *after, uint64_t at)
{
	static const struct entry *all[FOUND], *some[FOUND];
	static struct walk walk;
	struct str node = f.node;
	uint32_t n = look(&walk, &f, after, at, node, some);
	bool by_node = walk.by_node;

	f.node = STR("");
	ck_assert_uint_eq(look(&walk, &f, after, at, node, all), n);
	ck_assert(!walk.by_node);
	ck_assert_msg(memcmp(all, some, n * sizeof(all[0])) == 0, "at %llu",
		      (unsigned long long)at);
	return by_node;
}

START_TEST(a_nodes_pods_are_those_of_all)
{
	for (int i = 0; i < 6000; i++) {
		uint64_t oldest = cache_oldest(c) - 1;
		struct filter f = {.type = TYPE_POD, .one_ns = rnd(2), .ns = some_ns()};
		struct place after = {0};
		char text[16];

		write_one();
		f.node = node_name(1 + rnd(NODES));
		if (rnd(2))
			place_set(&after, f.one_ns ? f.ns : some_ns(), some_name(text));
		ck_assert(compare(f, &after, oldest + rnd((unsigned)(rv - oldest + 1))));
	}
}
END_TEST

START_TEST(a_node_of_too_many_is_found_among_all)
{
	struct filter f = {.type = TYPE_POD, .node = STR("n1")};
	struct place after = {0};
	char text[16];

	ck_assert(compare(f, &after, rv)); /* nobody has named it */
	for (int i = 0; i <= WALK_NODE_MAX; i++) {
		if (i == WALK_NODE_MAX)
			ck_assert(compare(f, &after, rv));
		snprintf(text, sizeof(text), "p%d", i);
		create(STR("a"), str_of(text), 1);
	}
	ck_assert(!compare(f, &after, rv));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("walk");
	TCase *t = tcase_create("walk");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_nodes_pods_are_those_of_all);
	tcase_add_test(t, a_node_of_too_many_is_found_among_all);
	suite_add_tcase(s, t);
	return run_suite(s);
}
