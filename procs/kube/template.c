/*
 * template.c - pod templates: whether two are equal, and their hash.
 */
#include "weft/kube.h"

#include <stdlib.h>

#define HASH_LABEL "pod-template-hash"

/* --- Equality -------------------------------------------------------------------- */

/* The metadata of a template without the hash label, and without members that
 * say nothing. */
static value bare_metadata(zone *z, const value *metadata)
{
	value out = v_map(), labels = v_map();

	v_each_kv(kv, v_get(metadata, "labels"))
		if (!str_eq(v_as_str(&kv->key), STR(HASH_LABEL)))
			v_setn(z, &labels, v_as_str(&kv->key), kv->val);
	v_each_kv(kv, metadata) {
		bool empty = v_is_null(&kv->val) || (v_is_map(&kv->val) && !v_len(&kv->val));

		if (!empty && !str_eq(v_as_str(&kv->key), STR("labels")))
			v_setn(z, &out, v_as_str(&kv->key), kv->val);
	}
	if (v_len(&labels))
		v_set(z, &out, "labels", labels);
	return out;
}

bool kube_templates_equal(zone *z, const value *a, const value *b)
{
	value meta_a = bare_metadata(z, v_get(a, "metadata"));
	value meta_b = bare_metadata(z, v_get(b, "metadata"));

	return v_equal(&meta_a, &meta_b) && v_equal(v_get(a, "spec"), v_get(b, "spec"));
}

/* --- Hash ------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const msgpack_object_kv *x = a, *y = b;

	return str_cmp(v_as_str(&x->key), v_as_str(&y->key));
}

/* Bring every map below into the order of its keys. */
static void sort_maps(value *v)
{
	v_each(el, v)
		sort_maps(el);
	v_each_kv(kv, v)
		sort_maps(&kv->val);
	if (v_is_map(v) && v_len(v) > 1)
		qsort(v->via.map.ptr, v->via.map.size, sizeof *v->via.map.ptr, by_key);
}

static uint32_t fnv1a(uint32_t h, const void *p, size_t n)
{
	for (const uint8_t *b = p; n--; b++)
		h = (h ^ *b) * 16777619u;
	return h;
}

/* The number's decimal digits, each replaced by a character of an alphabet
 * without vowels, so that no words come out. */
static struct str safe_text(zone *z, uint32_t h)
{
	static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
	struct str digits = zone_printf(z, "%u", h);
	char *out = zone_alloc(z, digits.n);

	for (uint32_t i = 0; i < digits.n; i++)
		out[i] = alphabet[(uint8_t)digits.p[i] % (sizeof alphabet - 1)];
	return (struct str){out, digits.n};
}

struct str kube_template_hash(zone *z, const value *template, int64_t collision_count)
{
	value canonical = v_copy(z, template);
	uint8_t count[8];
	struct buf b = {0};
	uint32_t h;

	sort_maps(&canonical);
	v_encode(&b, &canonical);
	h = fnv1a(2166136261u, b.p, b.n);
	buf_free(&b);
	if (collision_count > 0) {
		for (int i = 0; i < 8; i++)
			count[i] = (uint8_t)((uint64_t)collision_count >> (8 * i));
		h = fnv1a(h, count, sizeof count);
	}
	return safe_text(z, h);
}
