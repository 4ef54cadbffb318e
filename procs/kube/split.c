/*
 * split.c - objects cut into the parts that the cache stores.
 */
#include "object.h"

#include <stdlib.h>

bool object_meta_elsewhere(struct str key)
{
	static const char *const elsewhere[] = {
		"name",
		"namespace",
		"uid",
		"resourceVersion",
		"generation",
		"creationTimestamp",
		"deletionTimestamp",
		"deletionGracePeriodSeconds",
		"labels",
	};

	for (size_t i = 0; i < countof(elsewhere); i++)
		if (str_is(key, elsewhere[i]))
			return true;
	return false;
}

static int by_key(const void *a, const void *b)
{
	const msgpack_object_kv *x = a, *y = b;

	return str_cmp(v_as_str(&x->key), v_as_str(&y->key));
}

/* A copy with members in the order of their keys, as Go prints maps: equal
 * sets of labels then have equal bytes and are stored once. */
static value sorted(zone *z, const value *map)
{
	value out;

	if (!v_is_map(map) || v_len(map) < 2)
		return *map;
	out = v_map_of(z, map->via.map.ptr, map->via.map.size);
	qsort(out.via.map.ptr, out.via.map.size, sizeof *out.via.map.ptr, by_key);
	return out;
}

static value cut_meta(zone *z, const value *metadata)
{
	value out = v_map();

	v_each_kv(kv, metadata) {
		struct str key = v_as_str(&kv->key);

		if (object_meta_elsewhere(key) || v_is_null(&kv->val))
			continue;
		if (str_eq(key, STR("annotations")))
			v_setn(z, &out, key, sorted(z, &kv->val));
		else
			v_setn(z, &out, key, kv->val);
	}
	return v_len(&out) ? out : v_null();
}

static value cut_rest(zone *z, const value *obj)
{
	static const char *const not_rest[] = {"apiVersion", "kind", "metadata", "spec", "status"};
	value out = v_map();

	v_each_kv(kv, obj) {
		struct str key = v_as_str(&kv->key);
		size_t i = 0;

		while (i < countof(not_rest) && !str_is(key, not_rest[i]))
			i++;
		if (i == countof(not_rest))
			v_setn(z, &out, key, kv->val);
	}
	return v_len(&out) ? out : v_null();
}

static value or_null(const value *v)
{
	return v ? *v : v_null();
}

/* Each part as a value, null where there is none. */
static void cut(zone *z, const value *obj, value part[PART_COUNT])
{
	const value *metadata = v_get(obj, "metadata");
	const value *labels = v_get(metadata, "labels");

	part[PART_META] = cut_meta(z, metadata);
	part[PART_LABELS] = v_len(labels) ? sorted(z, labels) : v_null();
	part[PART_SPEC] = or_null(v_get(obj, "spec"));
	part[PART_STATUS] = or_null(v_get(obj, "status"));
	part[PART_REST] = cut_rest(z, obj);
}

static void encode(struct kube_parts *out, enum part i, const value *v)
{
	if (v_is_null(v))
		return;
	v_encode(&out->part[i], v);
	out->present |= 1u << i;
}

void kube_split(zone *z, const value *obj, struct kube_parts *out)
{
	value part[PART_COUNT];

	memset(out, 0, sizeof *out);
	cut(z, obj, part);
	for (int i = 0; i < PART_COUNT; i++)
		encode(out, i, &part[i]);
}

/* A pod's node stands in its version, not in the stored spec: take it out of
 * the new spec too, unless the pod was made with it or it names another one. */
static void leave_out_node(zone *z, const struct cache *c, const struct version *old,
			   const value *old_spec, value *spec)
{
	struct str node = cache_node_name(c, old);
	value out = v_map();

	if (!node.n || v_get(old_spec, "nodeName") || !str_eq(v_get_str(spec, "nodeName"), node))
		return;
	v_each_kv(kv, spec)
		if (!str_eq(v_as_str(&kv->key), STR("nodeName")))
			v_setn(z, &out, v_as_str(&kv->key), kv->val);
	*spec = out;
}

/* Encodes the new part; false if it says what the old one did. */
static bool part_differs(zone *z, const struct cache *c, const struct entry *e,
			 const struct version *old, enum part i, value *part,
			 struct kube_parts *out)
{
	value was;

	encode(out, i, part);
	if (str_eq(buf_str(&out->part[i]), cache_part(c, old, i)))
		return false; /* as a rule; nothing has to be decoded */
	was = kube_part(z, c, e, old, i);
	if (i == PART_SPEC && e->type == TYPE_POD) {
		leave_out_node(z, c, old, &was, part);
		out->part[i].n = 0;
		encode(out, i, part);
	}
	return !v_equal(&was, part);
}

void kube_split_changed(zone *z, const struct cache *c, const struct entry *e,
			const struct version *old, const value *obj, struct kube_parts *out,
			uint32_t *mask)
{
	value part[PART_COUNT];

	memset(out, 0, sizeof *out);
	*mask = 0;
	cut(z, obj, part);
	for (int i = 0; i < PART_COUNT; i++) {
		if (part_differs(z, c, e, old, i, &part[i], out)) {
			*mask |= 1u << i;
			continue;
		}
		buf_free(&out->part[i]);
		out->present &= ~(1u << i);
	}
}

void kube_parts_free(struct kube_parts *p)
{
	for (int i = 0; i < PART_COUNT; i++)
		buf_free(&p->part[i]);
	p->present = 0;
}
