/*
 * cache_load.h - pods of a template, as the store writes them for controllers,
 * scheduler and nodes: create, bind, status.  For the benchmarks of the cache.
 */
#ifndef CACHE_LOAD_H
#define CACHE_LOAD_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "weft/cache_write.h"

#define LOAD_POD   1
#define LOAD_NODE  2
#define LOAD_SET   3
#define LOAD_BATCH 500 /* writes prepared, then published */
#define LOAD_HOLES 6   /* addresses and times in a status */

struct load {
	struct cache_writer *w;
	char name[SEG_NAME_MAX];
	uint32_t pods, nodes;
	uint64_t rv;
	uint32_t *entry; /* of each pod */
	char (*node_name)[16];
	uint8_t owner[1][16];
	blob_ref meta, labels, spec, bound, running;
	struct version *batch[LOAD_BATCH];
	uint32_t nbatch;
};

static inline void load_check(int err, const char *what)
{
	if (err)
		weft_fatal("%s: %s", what, weft_strerror(err));
}

static inline void load_publish(struct load *l)
{
	for (uint32_t i = 0; i < l->nbatch; i++)
		cw_publish(l->w, l->batch[i]);
	l->nbatch = 0;
	cw_commit_rv(l->w, l->rv);
	cw_reclaim(l->w, 4 * LOAD_BATCH);
}

static inline void load_prepared(struct load *l, struct version *v)
{
	l->batch[l->nbatch++] = v;
	if (l->nbatch == LOAD_BATCH)
		load_publish(l);
}

/* A splitmix step: uids and name suffixes that look random. */
static inline uint64_t load_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline struct str load_pod_name(uint32_t i, char buf[48])
{
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
	uint64_t r =
		i * UINT64_C(4000000007) % UINT64_C(10460353203); /* 27 to the 7th: no name twice */
	int n = snprintf(buf, 48, "nginx-deployment-66b6c48dd5-");

	for (int k = 0; k < 7; k++, r /= 27)
		buf[n++] = letters[r % 27];
	return (struct str){buf, (uint32_t)n};
}

static inline void load_owner(struct load *l)
{
	struct version_in in = {0};
	struct version *v;

	memset(l->owner[0], 0xee, 16);
	load_check(cw_prepare_create(l->w, LOAD_SET, STR("default"),
				     STR("nginx-deployment-66b6c48dd5"), l->owner[0], 1, ++l->rv,
				     &in, &v),
		   "create the owner");
	load_prepared(l, v);
}

static inline void load_nodes(struct load *l)
{
	for (uint32_t i = 0; i < l->nodes; i++) {
		struct version_in in = {0};
		uint64_t uid[2] = {load_mix(i), ~load_mix(i)};
		struct version *v;

		snprintf(l->node_name[i], sizeof(l->node_name[i]), "node-%05u", i);
		in.node = str_of(l->node_name[i]);
		load_check(cw_prepare_create(l->w, LOAD_NODE, STR(""), in.node, (uint8_t *)uid, 1,
					     ++l->rv, &in, &v),
			   "create a node");
		load_prepared(l, v);
	}
}

static inline blob_ref load_blob(struct load *l, char fill, uint32_t n)
{
	char bytes[1024];
	blob_ref b;

	memset(bytes, fill, sizeof(bytes));
	b = cw_blob(l->w, (struct str){bytes, n});
	load_check(b.u ? WEFT_OK : WEFT_ENOMEM, "intern a blob");
	return b;
}

static inline void load_open(struct load *l, uint32_t pods, uint32_t nodes)
{
	struct cache_options opt = {.pod_type = LOAD_POD, .node_type = LOAD_NODE};
	uint8_t id[16] = {0};
	struct err e;

	memset(l, 0, sizeof(*l));
	l->pods = pods;
	l->nodes = nodes;
	l->entry = calloc(pods, sizeof(*l->entry));
	l->node_name = calloc(nodes, sizeof(*l->node_name));
	if (!l->entry || !l->node_name)
		weft_fatal("no memory for the load");
	snprintf(l->name, sizeof(l->name), "/weft.bench-%d.cache", (int)getpid());
	if (cw_create(&l->w, l->name, 1, id, 0, &opt, &e))
		weft_fatal("%s", e.msg);
	seg_unlink(l->name, NULL); /* the mapping is enough */
	l->meta = load_blob(l, 'm', 300);
	l->labels = load_blob(l, 'l', 60);
	l->spec = load_blob(l, 's', 900);
	l->bound = load_blob(l, 'b', 200);
	l->running = load_blob(l, 'r', 700);
	load_owner(l);
	load_nodes(l);
	load_publish(l);
}

/* --- The three writes of a pod ---------------------------------------------------- */

static inline void load_create(struct load *l)
{
	struct version_in in = {.mask = 1 << PART_META | 1 << PART_LABELS | 1 << PART_SPEC,
				.flags = VERSION_OWNED,
				.owner_uids = l->owner,
				.nowners = 1,
				.has_controller = true};

	in.part_ref[PART_META] = l->meta;
	in.part_ref[PART_LABELS] = l->labels;
	in.part_ref[PART_SPEC] = l->spec;
	for (uint32_t i = 0; i < l->pods; i++) {
		uint64_t uid[2] = {load_mix(i + (UINT64_C(1) << 40)), load_mix(~(uint64_t)i)};
		struct version *v;
		char name[48];

		load_check(cw_prepare_create(l->w, LOAD_POD, STR("default"), load_pod_name(i, name),
					     (uint8_t *)uid, 1, ++l->rv, &in, &v),
			   "create a pod");
		l->entry[i] = v->entry.u;
		load_prepared(l, v);
	}
	load_publish(l);
}

/* The entry of pod i, checked as the store checks what it gets from others. */
static inline struct entry *load_entry(struct load *l, uint32_t i)
{
	const struct entry *e;

	load_check(cache_entry_checked(cw_cache(l->w), l->entry[i], &e), "find a pod");
	return (struct entry *)e;
}

static inline void load_update(struct load *l, uint32_t i, const struct version_in *in)
{
	struct version *v;

	load_check(cw_prepare_update(l->w, load_entry(l, i), ++l->rv, in, &v), "update a pod");
	load_prepared(l, v);
}

/* Before the write to pod i of them all. */
static inline void load_ahead(struct load *l, uint32_t i)
{
	cache_prefetch_ahead(cw_cache(l->w), l->entry, l->pods, i);
}

static inline void load_bind(struct load *l)
{
	struct version_in in = {.mask = 1 << PART_STATUS, .flags = VERSION_OWNED};

	in.part_ref[PART_STATUS] = l->bound;
	in.hot.flags = HOT_SCHEDULED;
	for (uint32_t i = 0; i < l->pods; i++) {
		in.node = str_of(l->node_name[i % l->nodes]);
		load_ahead(l, i);
		load_update(l, i, &in);
	}
	load_publish(l);
}

static inline void load_status(struct load *l)
{
	uint32_t holes[LOAD_HOLES] = {0};
	struct version_in in = {.mask = 1 << PART_STATUS,
				.flags = VERSION_OWNED,
				.holes = holes,
				.nholes = LOAD_HOLES};

	in.part_ref[PART_STATUS] = l->running;
	in.hot.flags = HOT_SCHEDULED | HOT_READY;
	in.hot.phase = POD_RUNNING;
	for (uint32_t i = 0; i < l->pods; i++) {
		in.node = str_of(l->node_name[i % l->nodes]);
		holes[0] = i;
		load_ahead(l, i);
		load_update(l, i, &in);
	}
	load_publish(l);
}

static inline uint32_t load_some(const struct load *l, uint32_t n)
{
	return (uint32_t)(load_mix(n) % l->pods);
}

/* Before the n-th write to some pod. */
static inline void load_some_ahead(struct load *l, uint32_t n)
{
	uint32_t some[CACHE_TOGETHER];

	if (n % CACHE_TOGETHER)
		return;
	for (uint32_t k = 0; k < CACHE_TOGETHER; k++)
		some[k] = l->entry[load_some(l, n + k)];
	cache_prefetch_ahead(cw_cache(l->w), some, CACHE_TOGETHER, 0);
}

/* As many status writes again, each of some pod: memory is met in no order. */
static inline void load_random(struct load *l)
{
	uint32_t holes[LOAD_HOLES] = {0};
	struct version_in in = {.mask = 1 << PART_STATUS,
				.flags = VERSION_OWNED,
				.holes = holes,
				.nholes = LOAD_HOLES};

	in.part_ref[PART_STATUS] = l->running;
	in.hot.flags = HOT_SCHEDULED | HOT_READY;
	in.hot.phase = POD_RUNNING;
	for (uint32_t n = 0; n < l->pods; n++) {
		uint32_t i = load_some(l, n);

		load_some_ahead(l, n);
		in.node = str_of(l->node_name[i % l->nodes]);
		holes[0] = n;
		load_update(l, i, &in);
	}
	load_publish(l);
}

static inline void load_delete(struct load *l)
{
	for (uint32_t i = 0; i < l->pods; i++) {
		struct version *v;

		load_ahead(l, i);
		load_check(cw_prepare_delete(l->w, load_entry(l, i), ++l->rv, 0, 0, &v),
			   "delete a pod");
		load_prepared(l, v);
	}
	load_publish(l);
}

/* Let everything that the window no longer needs be freed. */
static inline void load_settle(struct load *l)
{
	for (int i = 0; i < 4; i++)
		cw_reclaim(l->w, UINT32_MAX);
}

static inline void load_close(struct load *l)
{
	cw_close(l->w);
	free(l->entry);
	free(l->node_name);
}

#endif
