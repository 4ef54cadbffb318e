/*
 * kube_cache.h - a cache with Kubernetes' objects in it, for the tests of
 * procs/kube: put an object in, look at what comes out.
 */
#ifndef WEFT_TESTS_KUBE_CACHE_H
#define WEFT_TESTS_KUBE_CACHE_H

#include <unistd.h>

#include "facts.h"
#include "weft/kube.h"
#include "weft/segment.h"

struct shelf {
	struct cache_writer *w;
	const struct cache *c;
	uint64_t rv;
	char name[64];
	zone *z;
};

static inline struct shelf shelf_open_as(uint32_t generation)
{
	struct cache_options opt = {.size_max = 1ull << 30,
				    .size_first = 1 << 20,
				    .pod_type = TYPE_POD,
				    .node_type = TYPE_NODE};
	uint8_t id[16] = {7};
	struct shelf s = {.z = zone_new()};
	struct err e = {0};

	snprintf(s.name, sizeof s.name, "/weft.test-kube-%d-%u", (int)getpid(), generation);
	ck_assert_msg(cw_create(&s.w, s.name, generation, id, 100, &opt, &e) == 0, "%s", e.msg);
	s.c = cw_cache(s.w);
	s.rv = 100;
	return s;
}

static inline struct shelf shelf_open(void)
{
	return shelf_open_as(1);
}

static inline void shelf_close(struct shelf *s)
{
	cw_close(s->w);
	seg_unlink(s->name, NULL);
	zone_free(s->z);
}

/* What the store does with parts: project, and take what it says. */
static inline void shelf_in(struct shelf *s, uint16_t type, struct kube_parts *parts, uint32_t mask,
			    const uint32_t *holes, uint8_t nholes, struct version_in *in)
{
	in->mask = mask;
	in->holes = holes;
	in->nholes = nholes;
	for (int i = 0; i < PART_COUNT; i++)
		in->part[i] = buf_str(&parts->part[i]);
	ck_assert_int_eq(kube_project(s->z, type, in->part, holes, nholes, in), 0);
}

static inline const struct entry *shelf_add(struct shelf *s, uint16_t type, struct str ns,
					    struct str name, struct kube_parts *parts,
					    struct version_in *in, const uint32_t *holes,
					    uint8_t nholes)
{
	uint8_t uid[16] = {0};
	struct version *v;

	in->grace_s = in->deletion_s ? in->grace_s : -1;
	shelf_in(s, type, parts, (1u << PART_COUNT) - 1, holes, nholes, in);
	memcpy(uid, &s->rv, sizeof s->rv);
	uid[15] = 1;
	ck_assert_int_eq(cw_prepare_create(s->w, type, ns, name, uid, 1700000000, ++s->rv, in, &v),
			 0);
	cw_publish(s->w, v);
	cw_commit_rv(s->w, s->rv);
	return cache_find(s->c, type, ns, name);
}

/* An object as it stands, on `node` if that is not empty. */
static inline const struct entry *shelf_put(struct shelf *s, uint16_t type, const value *obj,
					    struct str node)
{
	const value *m = v_get(obj, "metadata");
	struct version_in in = {.node = node, .generation = 3};
	struct kube_parts parts;
	const struct entry *e;

	kube_split(s->z, obj, &parts);
	e = shelf_add(s, type, v_get_str(m, "namespace"), v_get_str(m, "name"), &parts, &in, NULL,
		      0);
	kube_parts_free(&parts);
	return e;
}

static inline const struct version *shelf_newest(struct shelf *s, const struct entry *e)
{
	return cache_live(s->c, e);
}

#endif
