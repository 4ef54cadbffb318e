/*
 * cache_model.h - a simple model of the cache, for its tests: the history of
 * all states as one array by resourceVersion, and functions that compare a
 * cache with it.
 */
#ifndef CACHE_MODEL_H
#define CACHE_MODEL_H

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "weft/cache_write.h"

enum { T_POD = 3, T_SET = 5, T_MAP = 6, T_NODE = 9 };

#define MODEL_KEYS  64
#define MODEL_NODES 4
#define MODEL_MAX   60000 /* writes */

struct mstate {
	int key;
	int before; /* index of the state before, -1: none */
	bool live, first, with_meta;
	uint64_t id, created_rv;
	uint64_t controller, other; /* ids as linked; 0: none */
	uint8_t part[PART_COUNT];   /* number in the pool of contents, 0: absent */
	uint8_t nholes;
	uint32_t holes[4];
	uint32_t generation, deletion_s;
	uint8_t phase, flags;
	int node;	   /* 0: none */
	struct version *v; /* while prepared */
};

struct model {
	struct cache_writer *w;
	const struct cache *c;
	uint64_t start, rv, prepared; /* rv_start, published, prepared */
	uint64_t last_id;
	unsigned seed;
	uint32_t journal_min;
	int head[MODEL_KEYS]; /* newest state of each key, -1: none */
	struct mstate hist[MODEL_MAX];
};

static inline unsigned rnd(struct model *m, unsigned n)
{
	return (unsigned)rand_r(&m->seed) % n;
}

static inline struct mstate *state_of(struct model *m, uint64_t rv)
{
	return &m->hist[rv - m->start];
}

/* --- Keys and contents ---------------------------------------------------------- */

static inline uint16_t key_type(int key)
{
	static const uint16_t type[] = {T_POD, T_POD, T_SET, T_MAP, T_POD, T_NODE, T_POD, T_SET};

	return type[key % 8];
}

static inline struct str key_ns(int key)
{
	static const char *ns[] = {"a", "a-b", "b"};

	return key_type(key) == T_NODE ? STR("") : str_of(ns[key / 8 % 3]);
}

static inline struct str key_name(int key, char buf[32])
{
	if (key_type(key) == T_NODE)
		snprintf(buf, 32, "node-%d", key / 8 % MODEL_NODES + 1 + key / 32 * 10);
	else
		snprintf(buf, 32, "obj-%d", key);
	return str_of(buf);
}

static inline struct str node_name(int node, char buf[32])
{
	if (!node)
		return STR("");
	snprintf(buf, 32, "node-%d", node);
	return str_of(buf);
}

static inline struct str content(int part, int number, char buf[64])
{
	if (!number)
		return STR("");
	snprintf(buf, 64, "part %d: number %d%.*s", part, number, number % 20,
		 "....................");
	return str_of(buf);
}

static inline void uid_of(uint64_t id, uint8_t uid[16])
{
	memset(uid, 0x5a, 16);
	memcpy(uid, &id, sizeof(id));
}

static inline const struct mstate *live_id(struct model *m, uint64_t id)
{
	for (int k = 0; k < MODEL_KEYS && id; k++) {
		const struct mstate *s = m->head[k] < 0 ? NULL : &m->hist[m->head[k]];

		if (s && s->live && s->id == id)
			return s;
	}
	return NULL;
}

/* --- Building one write ------------------------------------------------------------- */

struct write {
	struct version_in in;
	uint8_t uid[16], owners[2][16];
	uint64_t owner_id[2];
	char text[PART_COUNT][64], node[32], name[32];
};

static inline void choose_owners(struct model *m, struct write *x)
{
	int n = 0;

	x->in.has_controller = rnd(m, 2);
	for (int i = 0; i < 2; i++) {
		int k = (int)rnd(m, MODEL_KEYS);

		if (rnd(m, 4) == 0 && i == 1)
			continue;
		if (rnd(m, 10) == 0)
			x->owner_id[n] = UINT64_C(1) << 60; /* nobody's */
		else if (m->head[k] >= 0 && key_type(k) != T_MAP)
			x->owner_id[n] = m->hist[m->head[k]].id;
		else
			continue;
		if (n == 1 && x->owner_id[0] == x->owner_id[1])
			continue;
		uid_of(x->owner_id[n], x->owners[n]);
		n++;
	}
	x->in.nowners = (uint8_t)n;
	x->in.owner_uids = x->owners;
	if (!n)
		x->in.has_controller = false;
}

/* Random content for a write of `s`, whose fields are taken over so far. */
static inline void choose(struct model *m, struct mstate *s, struct write *x)
{
	bool pod = key_type(s->key) == T_POD;
	int node = 0;

	memset(x, 0, sizeof(*x));
	x->in.mask = rnd(m, 1 << PART_COUNT);
	if (s->first)
		x->in.mask |= 1 << PART_META;
	for (int p = 0; p < PART_COUNT; p++) {
		if (!(x->in.mask & 1 << p))
			continue;
		s->part[p] = (uint8_t)rnd(m, p == PART_LABELS ? 4 : 50);
		x->in.part[p] = content(p, s->part[p], x->text[p]);
	}
	if (s->first || x->in.mask & 1 << PART_STATUS) {
		s->nholes = (uint8_t)rnd(m, 5);
		for (int i = 0; i < s->nholes; i++)
			s->holes[i] = rnd(m, 1000000);
	}
	x->in.nholes = s->nholes;
	x->in.holes = s->holes;
	s->generation = x->in.generation = rnd(m, 100);
	s->deletion_s = x->in.deletion_s = rnd(m, 3) ? 0 : 77;
	s->phase = x->in.hot.phase = pod ? (uint8_t)rnd(m, 5) : 0;
	s->flags = x->in.hot.flags =
		pod ? (uint8_t)(rnd(m, 2) * HOT_READY | rnd(m, 2) * HOT_PLAIN) : 0;
	if (pod && (!s->node || rnd(m, 20) == 0))
		node = (int)rnd(m, MODEL_NODES + 1);
	if (node) /* none is named: the pod stays where it is */
		s->node = node;
	if (pod)
		x->in.node = node_name(s->node, x->node);
	else if (key_type(s->key) == T_NODE)
		x->in.node = key_name(s->key, x->node);
	x->in.cause = CAUSE(7, m->prepared);
	s->with_meta = x->in.mask & 1 << PART_META;
	if (s->with_meta)
		choose_owners(m, x);
}

/* Which of the owners can be linked now. */
static inline void link_owners(struct model *m, struct mstate *s, const struct write *x)
{
	int n = x->in.nowners, others = x->in.has_controller ? 1 : 0;

	if (!s->with_meta)
		return;
	s->controller = s->other = 0;
	if (x->in.has_controller && live_id(m, x->owner_id[0]))
		s->controller = x->owner_id[0];
	/* Of two owners that do not control, the model follows the last. */
	for (int i = others; i < n; i++)
		if (live_id(m, x->owner_id[i]))
			s->other = x->owner_id[i];
}

/* --- Steps -------------------------------------------------------------------------- */

static inline struct mstate *next_state(struct model *m, int key)
{
	struct mstate *s = &m->hist[m->prepared + 1 - m->start];

	ck_assert_uint_lt(m->prepared + 1 - m->start, MODEL_MAX);
	*s = (struct mstate){.key = key, .before = -1};
	if (m->head[key] >= 0)
		*s = m->hist[m->head[key]];
	s->before = m->head[key];
	s->first = s->with_meta = false;
	s->key = key;
	return s;
}

/* Prepare one random write.  Returns what the cache said; on success the
 * model follows. */
static inline int model_prepare(struct model *m)
{
	int key = (int)rnd(m, MODEL_KEYS), err;
	struct mstate *s = next_state(m, key);
	uint64_t rv = m->prepared + 1;
	struct write x;

	if (!s->live) {
		int before = s->before;

		*s = (struct mstate){.key = key,
				     .before = before,
				     .live = true,
				     .first = true,
				     .id = ++m->last_id,
				     .created_rv = rv};
		choose(m, s, &x);
		link_owners(m, s, &x);
		uid_of(s->id, x.uid);
		err = cw_prepare_create(m->w, key_type(key), key_ns(key), key_name(key, x.name),
					x.uid, 55, rv, &x.in, &s->v);
	} else if (rnd(m, 4) == 0) {
		struct entry *e = cw_find(m->w, key_type(key), key_ns(key), key_name(key, x.name));

		ck_assert_ptr_nonnull(e);
		s->live = false;
		err = cw_prepare_delete(m->w, e, rv, CAUSE(8, rv), 0, &s->v);
	} else {
		struct entry *e;

		uid_of(s->id, x.uid);
		e = cw_find_uid(m->w, x.uid);
		ck_assert_ptr_nonnull(e);
		choose(m, s, &x);
		link_owners(m, s, &x);
		err = cw_prepare_update(m->w, e, rv, &x.in, &s->v);
	}
	if (err)
		return err;
	m->prepared = rv;
	m->head[key] = (int)(rv - m->start);
	return 0;
}

static inline void model_abort(struct model *m, uint64_t down_to)
{
	for (; m->prepared > down_to; m->prepared--) {
		struct mstate *s = state_of(m, m->prepared);

		cw_abort(m->w, s->v);
		m->head[s->key] = s->before;
	}
}

static inline void model_publish(struct model *m)
{
	while (m->rv < m->prepared)
		cw_publish(m->w, state_of(m, ++m->rv)->v);
	cw_commit_rv(m->w, m->rv);
}

static inline void model_verify(struct model *m)
{
	struct err e;

	if (cw_verify(m->w, &e))
		ck_abort_msg("cw_verify at rv %" PRIu64 ": %s", m->rv, e.msg);
}

/* --- Comparing ---------------------------------------------------------------------- */

static inline void compare_version(struct model *m, const struct version *v, const struct mstate *s)
{
	char buf[64];

	ck_assert_uint_eq(v->rv - m->start, (uint64_t)(s - m->hist));
	for (int p = 0; p < PART_COUNT; p++)
		ck_assert(str_eq(cache_part(m->c, v, (enum part)p), content(p, s->part[p], buf)));
	ck_assert_uint_eq(v->nholes, s->nholes);
	ck_assert_int_eq(memcmp(v->holes, s->holes, s->nholes * 4u), 0);
	ck_assert_uint_eq(v->generation, s->generation);
	ck_assert_uint_eq(v->deletion_s, s->deletion_s);
	ck_assert_uint_eq(v->hot.phase, s->phase);
	ck_assert_int_eq(!!(v->flags & VERSION_TOMBSTONE), !s->live);
	ck_assert_int_eq(!!(v->flags & VERSION_FIRST), s->first);
}

/* The newest state of `key` at `rv`, NULL if none. */
static inline const struct mstate *model_at(struct model *m, int key, uint64_t rv)
{
	int i = m->head[key];

	while (i >= 0 && m->start + (uint64_t)i > rv)
		i = m->hist[i].before;
	return i < 0 ? NULL : &m->hist[i];
}

static inline int key_of_entry(struct model *m, const struct entry *e)
{
	char buf[32];

	for (int k = 0; k < MODEL_KEYS; k++)
		if (key_type(k) == e->type && str_eq(key_ns(k), cache_ns(m->c, e)) &&
		    str_eq(key_name(k, buf), entry_name(e)))
			return k;
	ck_abort_msg("unknown entry");
	return -1;
}

/* The objects of one type at `rv` that a walk over all shows: each once. */
static inline int count_walked(struct model *m, uint16_t type, uint64_t rv)
{
	bool seen[MODEL_KEYS] = {false};
	uint32_t refs[7], n;
	uint64_t from = 0;
	int got = 0;

	while ((n = cache_walk(m->c, &from, refs, countof(refs))))
		for (uint32_t i = 0; i < n; i++) {
			const struct entry *e = cache_entry(m->c, (entry_ref){refs[i]});
			int key = key_of_entry(m, e);

			if (e->type != type || !cache_at(m->c, e, rv))
				continue;
			ck_assert(!seen[key]);
			seen[key] = true;
			got++;
		}
	return got;
}

/* A LIST of one type at `rv`: every object once, in order, as it was. */
static inline void compare_snapshot(struct model *m, uint16_t type, uint64_t rv)
{
	struct str none = {NULL, 0};
	struct buf last = {0};
	struct cache_iter it;
	const struct entry *e;
	int want = 0, got = 0;

	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, rv);

		want += key_type(k) == type && s && s->live;
	}
	cache_iter_init(&it, m->c, type, none, none, none);
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_at(m->c, e, rv);
		struct buf key = {0};

		if (!v)
			continue;
		buf_addstr(&key, cache_ns(m->c, e));
		buf_putc(&key, '/');
		buf_addstr(&key, entry_name(e));
		ck_assert(!last.p || str_cmp(buf_str(&last), buf_str(&key)) < 0);
		buf_free(&last);
		last = key;
		compare_version(m, v, model_at(m, key_of_entry(m, e), rv));
		got++;
	}
	buf_free(&last);
	ck_assert_int_eq(got, want);
	ck_assert_int_eq(count_walked(m, type, rv), want);
	if (rv == m->rv)
		ck_assert_uint_eq(cache_type_count(m->c, type), (unsigned)want);
}

static inline void compare_found(struct model *m)
{
	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, m->rv);
		const struct entry *e;
		uint8_t uid[16];
		char buf[32];

		e = cache_find(m->c, key_type(k), key_ns(k), key_name(k, buf));
		ck_assert_int_eq(e != NULL, s && s->live);
		if (!e)
			continue;
		compare_version(m, cache_live(m->c, e), s);
		uid_of(s->id, uid);
		ck_assert_ptr_eq(cache_find_uid(m->c, uid), e);
		ck_assert_uint_eq(e->created_rv, s->created_rv);
	}
}

static inline void compare_dependents(struct model *m, const struct entry *owner, uint64_t id)
{
	struct counts_copy have, want = {0};
	int controlled = 0, named = 0;

	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, m->rv);

		if (!s || !s->live)
			continue;
		named += s->other == id;
		if (s->controller != id)
			continue;
		want.total++;
		if (key_type(k) != T_POD) {
			want.terminating += s->deletion_s != 0;
			continue;
		}
		want.succeeded += s->phase == POD_SUCCEEDED;
		want.failed += s->phase == POD_FAILED;
		if (s->phase == POD_SUCCEEDED || s->phase == POD_FAILED)
			continue;
		want.terminating += s->deletion_s != 0;
		if (s->deletion_s)
			continue;
		want.active++;
		want.ready += s->flags & HOT_READY;
		want.pending += s->phase == POD_PENDING;
		want.scheduled += s->node != 0;
	}
	for (const struct entry *e = cache_first_dependent(m->c, owner); e;
	     e = cache_next_dependent(m->c, e))
		controlled += cache_live(m->c, e) != NULL;
	ck_assert_int_eq(controlled, (int)want.total);
	for (const struct edge *g = cache_first_edge(m->c, owner); g;
	     g = cache_next_edge(m->c, g)) {
		const struct entry *e = cache_entry(m->c, g->dependent);
		const struct mstate *s = model_at(m, key_of_entry(m, e), m->rv);

		if (cache_live(m->c, e) && s->other == id)
			named--;
	}
	ck_assert_int_eq(named, 0);
	cache_counts(m->c, owner, &have);
	want.rv = have.rv;
	ck_assert_int_eq(memcmp(&have, &want, sizeof(have)), 0);
}

static inline void compare_owners(struct model *m)
{
	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, m->rv);
		char buf[32];

		if (s && s->live)
			compare_dependents(
				m, cache_find(m->c, key_type(k), key_ns(k), key_name(k, buf)),
				s->id);
	}
}

static inline void compare_nodes(struct model *m)
{
	char buf[32];

	for (int node = 1; node <= MODEL_NODES; node++) {
		const struct nodeslot *n = cache_node(m->c, node_name(node, buf));
		const struct entry *object = cache_find(m->c, T_NODE, STR(""), str_of(buf));
		int on = 0, running = 0;

		for (int k = 0; k < MODEL_KEYS; k++) {
			const struct mstate *s = model_at(m, k, m->rv);

			if (!s || !s->live || key_type(k) != T_POD || s->node != node)
				continue;
			on++;
			running += s->phase != POD_SUCCEEDED && s->phase != POD_FAILED;
		}
		if (!n) {
			ck_assert(on == 0 && !object);
			continue;
		}
		ck_assert_int_eq((int)n->count, running);
		ck_assert_uint_eq(n->node, object ? cache_entry_ref(m->c, object).u : 0);
		for (const struct entry *e = cache_first_on_node(m->c, n); e;
		     e = cache_next_on_node(m->c, e))
			on -= cache_live(m->c, e) != NULL;
		ck_assert_int_eq(on, 0);
	}
}

static inline void compare_labels(struct model *m, uint16_t type, struct str ns)
{
	int want = 0, counted = 0;

	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, m->rv);

		want += s && s->live && key_type(k) == type && str_eq(key_ns(k), ns);
	}
	for (const struct labelset *l = cache_first_labelset(m->c, type, ns); l;
	     l = cache_next_labelset(m->c, l)) {
		counted += (int)l->count;
		for (const struct entry *e = cache_first_in_set(m->c, l); e;
		     e = cache_next_in_set(m->c, e)) {
			const struct version *v = cache_live(m->c, e);

			if (!v)
				continue;
			want--;
			ck_assert(str_eq(cache_part(m->c, v, PART_LABELS),
					 cache_blob(m->c, l->labels)));
		}
	}
	ck_assert_int_eq(want, 0);
	want = 0;
	for (int k = 0; k < MODEL_KEYS; k++) {
		const struct mstate *s = model_at(m, k, m->rv);

		want += s && s->live && key_type(k) == type && str_eq(key_ns(k), ns);
	}
	ck_assert_int_eq(counted, want);
}

/* The journal from the oldest record on is the history. */
static inline void compare_journal(struct model *m)
{
	const struct version *v[7];
	uint64_t at = cache_oldest(m->c) - 1;
	int n;

	if (at > m->start)
		ck_assert_int_eq(cache_journal(m->c, at - 1, v, 7), WEFT_EGONE);
	while ((n = cache_journal(m->c, at, v, 7)) > 0) {
		for (int i = 0; i < n; i++) {
			const struct mstate *s = state_of(m, ++at);
			uint32_t prev = v[i]->prev;

			compare_version(m, v[i], s);
			ck_assert_int_eq(prev == 0, s->first);
			if (prev)
				compare_version(m, cache_version(m->c, (version_ref){prev}),
						&m->hist[s->before]);
		}
	}
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(at, m->rv);
}

static inline void model_compare(struct model *m)
{
	static const uint16_t types[] = {T_POD, T_SET, T_MAP, T_NODE};
	uint64_t oldest = cache_oldest(m->c);

	ck_assert_uint_eq(cache_rv(m->c), m->rv);
	for (size_t i = 0; i < countof(types); i++) {
		compare_snapshot(m, types[i], m->rv);
		compare_snapshot(m, types[i], oldest - 1);
		compare_snapshot(m, types[i], oldest - 1 + rnd(m, (unsigned)(m->rv + 2 - oldest)));
		for (int k = 0; k < MODEL_KEYS; k += 8)
			compare_labels(m, types[i], key_ns(k));
	}
	compare_labels(m, T_NODE, STR(""));
	compare_found(m);
	compare_owners(m);
	compare_nodes(m);
	compare_journal(m);
}

/* --- Life --------------------------------------------------------------------------- */

static inline unsigned test_seed(void)
{
	const char *env = getenv("WEFT_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)(clock_wall_ns() >> 10);

	fprintf(stderr, "WEFT_SEED=%u\n", seed);
	return seed;
}

static inline void model_name(char name[SEG_NAME_MAX])
{
	snprintf(name, SEG_NAME_MAX, "/weft.test-%d.cache", (int)getpid());
}

/* A new cache that goes on behind m->rv. */
static inline void model_create(struct model *m)
{
	struct cache_options opt = {.size_max = UINT64_C(1) << 30,
				    .journal_min = m->journal_min,
				    .journal_max = m->journal_min * 4,
				    .pod_type = T_POD,
				    .node_type = T_NODE};
	uint8_t id[16] = "a test's cluster";
	char name[SEG_NAME_MAX];
	struct err e = {0};

	model_name(name);
	seg_unlink(name, NULL);
	if (cw_create(&m->w, name, 1, id, m->rv, &opt, &e))
		ck_abort_msg("cw_create: %s", e.msg);
	m->c = cw_cache(m->w);
}

static inline struct model *model_open(unsigned seed, uint32_t journal_min)
{
	struct model *m = calloc(1, sizeof(*m));

	ck_assert_ptr_nonnull(m);
	m->journal_min = journal_min;
	m->seed = seed;
	m->start = m->rv = m->prepared = 1000;
	for (int k = 0; k < MODEL_KEYS; k++)
		m->head[k] = -1;
	model_create(m);
	return m;
}

static inline void restore_one(struct model *m, const struct mstate *s)
{
	struct write x = {0};
	struct entry *e;
	int n = 0;

	for (int p = 0; p < PART_COUNT; p++)
		x.in.part[p] = content(p, s->part[p], x.text[p]);
	x.in.nholes = s->nholes;
	x.in.holes = s->holes;
	x.in.generation = s->generation;
	x.in.deletion_s = s->deletion_s;
	x.in.hot.phase = s->phase;
	x.in.hot.flags = s->flags;
	if (key_type(s->key) == T_POD)
		x.in.node = node_name(s->node, x.node);
	else if (key_type(s->key) == T_NODE)
		x.in.node = key_name(s->key, x.node);
	x.in.has_controller = s->controller != 0;
	if (s->controller)
		uid_of(s->controller, x.owners[n++]);
	if (s->other)
		uid_of(s->other, x.owners[n++]);
	x.in.nowners = (uint8_t)n;
	x.in.owner_uids = x.owners;
	uid_of(s->id, x.uid);
	ck_assert_int_eq(cw_restore(m->w, key_type(s->key), key_ns(s->key),
				    key_name(s->key, x.name), x.uid, 55, s->created_rv,
				    m->start + (uint64_t)(s - m->hist), &x.in, &e),
			 0);
}

/* A new cache takes the place of the old, with what is live put in again. */
static inline void model_restart(struct model *m)
{
	int from = (int)rnd(m, MODEL_KEYS);

	cw_close(m->w);
	model_create(m);
	for (int i = 0; i < MODEL_KEYS; i++) {
		int k = (from + i) % MODEL_KEYS;

		if (m->head[k] >= 0 && m->hist[m->head[k]].live)
			restore_one(m, &m->hist[m->head[k]]);
	}
	ck_assert_int_eq(cw_restore_done(m->w), 0);
}

static inline void model_close(struct model *m)
{
	char name[SEG_NAME_MAX];

	model_name(name);
	cw_close(m->w);
	seg_unlink(name, NULL);
	free(m);
}

#endif
