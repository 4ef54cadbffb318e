/*
 * object.c - objects as clients see them, put together from entry, version and
 * parts, as a tree.  (object_json.c does the same as text.)
 */
#include "object.h"

struct hole_values object_holes(const struct cache *c, const struct entry *e,
				const struct version *v)
{
	return (struct hole_values){
		.holes = v->holes,
		.nholes = v->nholes,
		.uid = e->uid,
		.name = entry_name(e),
		.node = cache_node_name(c, v),
	};
}

/* An object that is being put together. */
struct making {
	zone *z;
	const struct cache *c;
	const struct entry *e;
	const struct version *v;
	struct hole_values holes;
	bool copy; /* what points into the cache */
};

static struct str kept(const struct making *m, struct str s)
{
	return m->copy ? zone_str(m->z, s) : s;
}

/* The tree's strings lie in what is decoded: copying that is cheaper than copying
 * the tree. */
static value part_of(const struct making *m, enum part part)
{
	struct str bytes = kept(m, cache_part(m->c, m->v, part));
	value out;

	if (!bytes.n || v_decode(m->z, bytes, &out) != WEFT_OK)
		return v_null();
	v_fill(m->z, &out, &m->holes);
	return out;
}

value kube_part(zone *z, const struct cache *c, const struct entry *e, const struct version *v,
		enum part part)
{
	struct making m = {z, c, e, v, object_holes(c, e, v), false};

	return part_of(&m, part);
}

static value time_value(zone *z, uint32_t wall_s)
{
	char text[21];

	time_format(wall_s, text);
	return v_str(zone_str(z, (struct str){text, 20}));
}

/* All members of `from` into `to`. */
static void add_members(zone *z, value *to, const value *from)
{
	v_each_kv(kv, from)
		v_setn(z, to, v_as_str(&kv->key), kv->val);
}

/* The members of metadata that entry and version hold. */
static value identity(const struct making *m)
{
	struct str ns = cache_ns(m->c, m->e);
	const struct version *v = m->v;
	zone *z = m->z;
	value out = v_map();
	char uid[37];

	v_set(z, &out, "name", v_str(kept(m, entry_name(m->e))));
	if (ns.n)
		v_set(z, &out, "namespace", v_str(kept(m, ns)));
	uid_format(m->e->uid, uid);
	v_set(z, &out, "uid", v_str(zone_str(z, (struct str){uid, 36})));
	v_set(z, &out, "resourceVersion", v_str(zone_printf(z, "%llu", (unsigned long long)v->rv)));
	if (v->generation)
		v_set(z, &out, "generation", v_uint(v->generation));
	v_set(z, &out, "creationTimestamp", time_value(z, m->e->created_s));
	if (v->deletion_s) {
		v_set(z, &out, "deletionTimestamp", time_value(z, v->deletion_s));
		if (v->grace_s >= 0)
			v_set(z, &out, "deletionGracePeriodSeconds", v_int(v->grace_s));
	}
	return out;
}

static value metadata(const struct making *m)
{
	value out = identity(m), labels = part_of(m, PART_LABELS), rest = part_of(m, PART_META);

	if (v_len(&labels))
		v_set(m->z, &out, "labels", labels);
	add_members(m->z, &out, &rest);
	return out;
}

static void add_spec(const struct making *m, value *obj)
{
	value spec = part_of(m, PART_SPEC);
	struct str node = cache_node_name(m->c, m->v);

	if (m->e->type == TYPE_POD && node.n) {
		if (!v_is_map(&spec))
			spec = v_map();
		v_set(m->z, &spec, "nodeName", v_str(kept(m, node)));
	}
	if (!v_is_null(&spec))
		v_set(m->z, obj, "spec", spec);
}

value kube_object(zone *z, const struct cache *c, const struct kube_resource *r,
		  const struct entry *e, const struct version *v, bool copy)
{
	const struct kube_resource *stored = r->stored_version ? r : kube_by_type(e->type);
	struct making m = {z, c, e, v, object_holes(c, e, v), copy};
	value obj = v_map(), status, rest;

	if (!stored)
		stored = r;
	v_set(z, &obj, "apiVersion", v_cstr(stored->api_version));
	v_set(z, &obj, "kind", v_cstr(stored->kind));
	v_set(z, &obj, "metadata", metadata(&m));
	add_spec(&m, &obj);
	status = part_of(&m, PART_STATUS);
	if (!v_is_null(&status))
		v_set(z, &obj, "status", status);
	rest = part_of(&m, PART_REST);
	add_members(z, &obj, &rest);
	if (stored != r && kube_convert(z, stored, r, &obj) == WEFT_OK) {
		v_set(z, &obj, "apiVersion", v_cstr(r->api_version));
		v_set(z, &obj, "kind", v_cstr(r->kind));
	}
	return obj;
}
