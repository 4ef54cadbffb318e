/*
 * object.c - objects as clients see them, put together from entry, version and
 * parts, as a tree.  (object_json.c does the same as text.)
 */
#include "object.h"

struct str object_node(const struct cache *c, const struct version *v)
{
	const struct nodeslot *slot;

	if (!v->hot.node.u)
		return (struct str){NULL, 0};
	slot = cache_nodeslot(c, v->hot.node);
	return slot ? cache_string(c, slot->name) : (struct str){NULL, 0};
}

struct hole_values object_holes(const struct cache *c, const struct entry *e,
				const struct version *v)
{
	return (struct hole_values){
		.holes = v->holes,
		.nholes = v->nholes,
		.uid = e->uid,
		.name = entry_name(e),
		.node = object_node(c, v),
	};
}

value kube_part(zone *z, const struct cache *c, const struct entry *e, const struct version *v,
		enum part part)
{
	struct str bytes = cache_part(c, v, part);
	struct hole_values h = object_holes(c, e, v);
	value out;

	if (!bytes.n || v_decode(z, bytes, &out) != WEFT_OK)
		return v_null();
	v_fill(z, &out, &h);
	return out;
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
static value identity(zone *z, const struct cache *c, const struct entry *e,
		      const struct version *v)
{
	struct str ns = cache_ns(c, e);
	char uid[37];
	value m = v_map();

	v_set(z, &m, "name", v_str(entry_name(e)));
	if (ns.n)
		v_set(z, &m, "namespace", v_str(ns));
	uid_format(e->uid, uid);
	v_set(z, &m, "uid", v_str(zone_str(z, (struct str){uid, 36})));
	v_set(z, &m, "resourceVersion", v_str(zone_printf(z, "%llu", (unsigned long long)v->rv)));
	if (v->generation)
		v_set(z, &m, "generation", v_uint(v->generation));
	v_set(z, &m, "creationTimestamp", time_value(z, e->created_s));
	if (v->deletion_s) {
		v_set(z, &m, "deletionTimestamp", time_value(z, v->deletion_s));
		if (v->grace_s >= 0)
			v_set(z, &m, "deletionGracePeriodSeconds", v_int(v->grace_s));
	}
	return m;
}

static value metadata(zone *z, const struct cache *c, const struct entry *e,
		      const struct version *v)
{
	value m = identity(z, c, e, v);
	value labels = kube_part(z, c, e, v, PART_LABELS);
	value rest = kube_part(z, c, e, v, PART_META);

	if (v_len(&labels))
		v_set(z, &m, "labels", labels);
	add_members(z, &m, &rest);
	return m;
}

static void add_spec(zone *z, const struct cache *c, const struct entry *e,
		     const struct version *v, value *obj)
{
	value spec = kube_part(z, c, e, v, PART_SPEC);
	struct str node = object_node(c, v);

	if (e->type == TYPE_POD && node.n) {
		if (!v_is_map(&spec))
			spec = v_map();
		v_set(z, &spec, "nodeName", v_str(node));
	}
	if (!v_is_null(&spec))
		v_set(z, obj, "spec", spec);
}

value kube_object(zone *z, const struct cache *c, const struct kube_resource *r,
		  const struct entry *e, const struct version *v, bool copy)
{
	const struct kube_resource *stored = r->stored_version ? r : kube_by_type(e->type);
	value obj = v_map(), status, rest;

	if (!stored)
		stored = r;
	v_set(z, &obj, "apiVersion", v_cstr(stored->api_version));
	v_set(z, &obj, "kind", v_cstr(stored->kind));
	v_set(z, &obj, "metadata", metadata(z, c, e, v));
	add_spec(z, c, e, v, &obj);
	status = kube_part(z, c, e, v, PART_STATUS);
	if (!v_is_null(&status))
		v_set(z, &obj, "status", status);
	rest = kube_part(z, c, e, v, PART_REST);
	add_members(z, &obj, &rest);
	if (stored != r && kube_convert(z, stored, r, &obj) == WEFT_OK) {
		v_set(z, &obj, "apiVersion", v_cstr(r->api_version));
		v_set(z, &obj, "kind", v_cstr(r->kind));
	}
	return copy ? v_copy(z, &obj) : obj;
}
