/*
 * patch_strategic.c - Kubernetes' strategic merge patch: maps are merged, and
 * lists too where the schema gives them a merge key or says that their scalars
 * are a set.  Directives in the patch change that:
 *
 *   $patch: replace | delete             of the map (list element) it stands in
 *   $retainKeys: [...]                   all other members of the map go
 *   $deleteFromPrimitiveList/f: [...]    these scalars leave the list f
 *   $setElementOrder/f: [...]            the order of the list f
 */
#include "go_text.h"
#include "weft/kube.h"
#include "weft/schema.h"

#define DIRECTIVE   "$patch"
#define RETAIN_KEYS "$retainKeys"
#define DELETE_FROM "$deleteFromPrimitiveList/"
#define SET_ORDER   "$setElementOrder/"

struct merging {
	zone *z;
	struct str *message;
};

/* How a list is merged, from the schema of its field. */
struct list_rules {
	bool merge;
	const char *key; /* NULL: a set of scalars */
	const struct kube_schema *item;
};

static int merge_map(struct merging *m, value *into, value *patch, const struct kube_schema *s);

/* --- Errors ------------------------------------------------------------------------ */

#define BAD(m, code, ...) (*(m)->message = zone_printf((m)->z, __VA_ARGS__), code)

static int no_merge_key(struct merging *m, const value *map, const char *key)
{
	struct str text = go_print(m->z, map);

	return BAD(m, WEFT_ESYS, "map: " STR_FMT " does not contain declared merge key: %s",
		   STR_ARG(text), key);
}

static int bad_directive(struct merging *m, const value *directive, const value *map)
{
	struct str d = go_print(m->z, directive), text = go_print(m->z, map);

	return BAD(m, WEFT_ESYS, "unknown patch type: " STR_FMT " in map: " STR_FMT, STR_ARG(d),
		   STR_ARG(text));
}

static const char *go_type(const value *v)
{
	return v_is_map(v)			   ? "map[string]interface {}"
	       : v_is_array(v)			   ? "[]interface {}"
	       : v_is_str(v)			   ? "string"
	       : v_is_null(v)			   ? "<nil>"
	       : v->type == MSGPACK_OBJECT_BOOLEAN ? "bool"
	       : v_is_int(v)			   ? "int64"
						   : "float64";
}

static int bad_type(struct merging *m, const char *expected, const value *v)
{
	return BAD(m, WEFT_ESYS, "expected a %s, but received a %s", expected, go_type(v));
}

/* --- Small helpers ------------------------------------------------------------------ */

static bool has_prefix(struct str s, const char *prefix, struct str *rest)
{
	uint32_t n = (uint32_t)strlen(prefix);

	if (s.n < n || memcmp(s.p, prefix, n) != 0)
		return false;
	*rest = (struct str){s.p + n, s.n - n};
	return true;
}

static bool is_directive(const value *v, const char *word)
{
	return v_is_str(v) && str_is(v_as_str(v), word);
}

/* What is new in the object carries no directives: a map with $patch is left
 * out (false). */
static bool remove_directives(value *v)
{
	if (v_is_map(v) && v_get(v, DIRECTIVE))
		return false;
	for (uint32_t i = 0; v_is_map(v) && i < v_len(v);) {
		if (remove_directives(&v->via.map.ptr[i].val))
			i++;
		else
			v_deln(v, v_as_str(&v->via.map.ptr[i].key));
	}
	for (uint32_t i = 0; v_is_array(v) && i < v_len(v);) {
		if (remove_directives(v_at(v, i)))
			i++;
		else
			v_remove(v, i);
	}
	return true;
}

static void discard_nulls(value *v)
{
	for (uint32_t i = 0; v_is_map(v) && i < v_len(v);) {
		msgpack_object_kv *kv = &v->via.map.ptr[i];

		if (v_is_null(&kv->val)) {
			v_deln(v, v_as_str(&kv->key));
			continue;
		}
		discard_nulls(&kv->val);
		i++;
	}
	v_each(el, v)
		discard_nulls(el);
}

static struct list_rules rules_of(const struct kube_schema *s, struct str name)
{
	const struct kube_field *f = s ? schema_field(s, name) : NULL;

	if (!f)
		return (struct list_rules){.merge = false};
	return (struct list_rules){f->patch & PATCH_MERGE, f->merge_key, f->type->item};
}

/* --- Lists: finding and ordering ---------------------------------------------------- */

/* Where an element equal to `v` (by the merge key, if there is one) stands;
 * -1 if nowhere. */
static int64_t index_of(const value *list, const value *v, const char *key)
{
	for (uint32_t i = 0; i < v_len(list); i++) {
		const value *el = v_at(list, i);

		if (key ? v_get(el, key) && v_equal(v_get(el, key), v_get(v, key)) : v_equal(el, v))
			return i;
	}
	return -1;
}

/* Every element is a map with the merge key. */
static int check_keys(struct merging *m, const value *list, const char *key)
{
	v_each(el, list) {
		if (!v_is_map(el))
			return bad_type(m, "map[string]interface {}", el);
		if (!v_get(el, key))
			return no_merge_key(m, el, key);
	}
	return WEFT_OK;
}

/* Stable; an element that `order` does not know goes before the one before it. */
static void sort_by(value *list, const value *order, const char *key)
{
	for (uint32_t i = 1; i < v_len(list); i++) {
		for (uint32_t at = i; at > 0; at--) {
			value *a = v_at(list, at - 1), *b = v_at(list, at), t;
			int64_t ia = index_of(order, a, key), ib = index_of(order, b, key);

			if (ia >= 0 && ib >= 0 && ib >= ia)
				break;
			t = *a;
			*a = *b;
			*b = t;
		}
	}
}

/* The elements that `wanted` names in its order, and the others where they
 * stood relative to those in the original list. */
static int order_list(struct merging *m, const value *merged, const value *wanted,
		      const value *original, const char *key, value *out)
{
	value named = v_array(), others = v_array();
	uint32_t i = 0, k = 0;

	if (key && (check_keys(m, merged, key) != WEFT_OK || check_keys(m, wanted, key) != WEFT_OK))
		return WEFT_ESYS;
	v_each(el, merged)
		v_append(m->z, index_of(wanted, el, key) >= 0 ? &named : &others, *el);
	sort_by(&named, wanted, key);
	sort_by(&others, original, key);
	*out = v_array();
	while (i < v_len(&others) || k < v_len(&named)) {
		bool take_other = k == v_len(&named);

		if (!take_other && i < v_len(&others)) {
			int64_t io = index_of(original, v_at(&others, i), key);
			int64_t in = index_of(original, v_at(&named, k), key);

			take_other = io >= 0 && in >= 0 && io < in;
		}
		v_append(m->z, out, take_other ? *v_at(&others, i++) : *v_at(&named, k++));
	}
	return WEFT_OK;
}

/* --- Lists: merging ----------------------------------------------------------------- */

/* All elements of both lists are of one type, which is no list. */
static int check_elements(struct merging *m, const value *a, const value *b, const value **first)
{
	const value *const lists[] = {a, b};

	*first = NULL;
	for (int i = 0; i < 2; i++) {
		v_each(el, lists[i]) {
			if (!*first && v_is_array(el))
				return BAD(m, WEFT_ECONFLICT, "lists of lists are not supported");
			if (!*first)
				*first = el;
			if (strcmp(go_type(*first), go_type(el)) != 0) {
				struct str ta = go_print(m->z, a), tb = go_print(m->z, b);

				return BAD(m, WEFT_ESYS,
					   "list element types are not identical: [" STR_FMT
					   " " STR_FMT "]",
					   STR_ARG(ta), STR_ARG(tb));
			}
		}
	}
	return WEFT_OK;
}

static void delete_matching(value *list, const value *el, const char *key)
{
	int64_t i;

	while ((i = index_of(list, el, key)) >= 0)
		v_remove(list, (uint32_t)i);
}

/* Elements with a directive do their work and are left out of *rest. */
static int apply_special(struct merging *m, value *original, const value *patch, const char *key,
			 value *rest)
{
	bool replace = false;

	*rest = v_array();
	v_each(el, patch) {
		const value *directive = v_get(el, DIRECTIVE);

		if (!directive) {
			v_append(m->z, rest, *el);
		} else if (is_directive(directive, "delete")) {
			if (!v_get(el, key))
				return no_merge_key(m, el, key);
			delete_matching(original, el, key);
		} else if (is_directive(directive, "replace")) {
			replace = true;
		} else if (is_directive(directive, "merge")) {
			return BAD(m, WEFT_ESYS,
				   "merging lists cannot yet be specified in the patch");
		} else {
			return bad_directive(m, directive, el);
		}
	}
	if (replace) {
		*original = *rest;
		*rest = v_array();
	}
	return WEFT_OK;
}

static int merge_elements(struct merging *m, value *original, value *patch,
			  const struct list_rules *rules)
{
	v_each(el, patch) {
		int64_t i;
		int err;

		if (!v_get(el, rules->key))
			return no_merge_key(m, el, rules->key);
		i = index_of(original, el, rules->key);
		if (i < 0) {
			v_append(m->z, original, *el);
			continue;
		}
		err = merge_map(m, v_at(original, (uint32_t)i), el, rules->item);
		if (err)
			return err;
	}
	return WEFT_OK;
}

static value union_of(zone *z, const value *a, const value *b)
{
	value out = v_array();

	v_each(el, a)
		if (index_of(&out, el, NULL) < 0)
			v_append(z, &out, *el);
	v_each(el, b)
		if (index_of(&out, el, NULL) < 0)
			v_append(z, &out, *el);
	return out;
}

static int merge_list(struct merging *m, value *into, const value *patch,
		      const struct list_rules *rules)
{
	value original = v_array_of(m->z, into->via.array.ptr, into->via.array.size);
	value rest = *patch, merged;
	const value *first;
	int err;

	if (!rules->merge) {
		*into = *patch;
		return WEFT_OK;
	}
	if (!v_len(into) && !v_len(patch))
		return WEFT_OK;
	err = check_elements(m, into, patch, &first);
	if (err)
		return err;
	if (!v_is_map(first)) {
		merged = union_of(m->z, into, patch);
		return order_list(m, &merged, patch, into, NULL, into);
	}
	if (!rules->key)
		return BAD(m, WEFT_ESYS, "cannot merge lists without merge key for %s",
			   rules->item && rules->item->go_name ? rules->item->go_name : "");
	err = apply_special(m, &original, patch, rules->key, &rest);
	if (err)
		return err;
	merged = v_array_of(m->z, original.via.array.ptr, original.via.array.size);
	err = merge_elements(m, &merged, &rest, rules);
	if (err)
		return err;
	return order_list(m, &merged, &rest, &original, rules->key, into);
}

static void delete_from(value *list, const value *gone)
{
	v_each(el, gone)
		delete_matching(list, el, NULL);
}

/* --- $setElementOrder --------------------------------------------------------------- */

static bool same_element(const value *a, const value *b, const char *key)
{
	return key ? v_get(a, key) && v_equal(v_get(a, key), v_get(b, key)) : v_equal(a, b);
}

/* The patch's elements come in the order that the directive gives. */
static int check_order(struct merging *m, const value *patch, const value *order, const char *key)
{
	uint32_t at = 0;

	if (!v_len(order) || !v_len(patch))
		return WEFT_OK;
	v_each(el, patch) {
		if (key && v_get(el, DIRECTIVE))
			continue;
		while (at < v_len(order) && !same_element(el, v_at(order, at), key))
			at++;
		if (at++ == v_len(order)) {
			struct str a = go_print(m->z, patch), b = go_print(m->z, order);

			return BAD(m, WEFT_ESYS,
				   "The order in patch list:\n" STR_FMT
				   "\n doesn't match $setElementOrder list:\n" STR_FMT "\n",
				   STR_ARG(a), STR_ARG(b));
		}
	}
	return WEFT_OK;
}

/* One $setElementOrder/name: merge the list and put it in order.  The list's
 * own patch is used up with it. */
static int set_order(struct merging *m, value *into, value *patch, struct str name,
		     const value *order, const struct kube_schema *s)
{
	struct list_rules rules = rules_of(s, name);
	value *list = v_getn(into, name), *change = v_getn(patch, name);
	value original = list ? *list : v_array(), merged = original, ordered;
	const value *first;
	int err;

	if (!v_is_array(order))
		return bad_type(m, "[]interface {}", order);
	if (list && !v_is_array(list))
		return bad_type(m, "[]interface {}", list);
	if (change && !v_is_array(change))
		return bad_type(m, "[]interface {}", change);
	err = check_order(m, change, order, rules.key);
	if (err || (!list && !change))
		return err;
	err = check_elements(m, list, change, &first);
	if (err)
		return err;
	if (!first)
		return BAD(m, WEFT_ESYS, "no elements in any of the given slices");
	if (change && !list) {
		remove_directives(change);
		merged = *change;
	} else if (change) {
		err = merge_list(m, &merged, change, &rules);
		if (err)
			return err;
	}
	err = order_list(m, &merged, order, &original, rules.key, &ordered);
	if (err)
		return err;
	v_setn(m->z, into, name, ordered);
	v_deln(patch, name);
	return WEFT_OK;
}

static int apply_orders(struct merging *m, value *into, value *patch, const struct kube_schema *s)
{
	struct str name;

	for (uint32_t i = 0; i < v_len(patch);) {
		msgpack_object_kv kv = patch->via.map.ptr[i];
		int err;

		if (!has_prefix(v_as_str(&kv.key), SET_ORDER, &name)) {
			i++;
			continue;
		}
		v_deln(patch, v_as_str(&kv.key));
		err = set_order(m, into, patch, name, &kv.val, s);
		if (err)
			return err;
		i = 0; /* members have moved */
	}
	return WEFT_OK;
}

/* --- $retainKeys ----------------------------------------------------------- */

static int retain_keys(struct merging *m, value *into, value *patch)
{
	value *found = v_get(patch, RETAIN_KEYS), keep;
	struct str rest;

	if (!found)
		return WEFT_OK;
	keep = *found;
	v_del(patch, RETAIN_KEYS);
	if (!v_is_array(&keep))
		return BAD(m, WEFT_EINVAL, "invalid patch format of retainKeys");
	v_each_kv(kv, patch) {
		struct str key = v_as_str(&kv->key);

		if (!v_is_null(&kv->val) && !has_prefix(key, DELETE_FROM, &rest) &&
		    !has_prefix(key, SET_ORDER, &rest) && index_of(&keep, &kv->key, NULL) < 0)
			return BAD(m, WEFT_EINVAL, "invalid patch format of retainKeys");
	}
	for (uint32_t i = 0; i < v_len(into);) {
		if (index_of(&keep, &into->via.map.ptr[i].key, NULL) >= 0)
			i++;
		else
			v_deln(into, v_as_str(&into->via.map.ptr[i].key));
	}
	return WEFT_OK;
}

/* --- Maps ------------------------------------------------------------------ */

static int merge_member(struct merging *m, value *into, struct str key, value *patch,
			const struct kube_schema *s)
{
	const struct kube_field *f = s ? schema_field(s, key) : NULL;
	struct list_rules rules = rules_of(s, key);
	value *is;

	if (v_is_null(patch)) {
		v_deln(into, key);
		return WEFT_OK;
	}
	is = v_getn(into, key);
	if (v_is_map(is) && v_is_map(patch) && !(f && f->patch & PATCH_REPLACE))
		return merge_map(m, is, patch, s ? schema_member(s, key) : NULL);
	if (v_is_array(is) && v_is_array(patch))
		return merge_list(m, is, patch, &rules);
	if (v_is_map(is) && v_is_map(patch)) {
		*is = *patch;
		return WEFT_OK;
	}
	discard_nulls(patch);
	if (remove_directives(patch))
		v_setn(m->z, into, key, *patch);
	else
		v_deln(into, key);
	return WEFT_OK;
}

static int merge_map(struct merging *m, value *into, value *patch, const struct kube_schema *s)
{
	const value *directive = v_get(patch, DIRECTIVE);
	struct str name;
	int err;

	if (is_directive(directive, "replace")) {
		v_del(patch, DIRECTIVE);
		*into = *patch;
		return WEFT_OK;
	}
	if (is_directive(directive, "delete")) {
		*into = v_map();
		return WEFT_OK;
	}
	if (directive)
		return bad_directive(m, directive, patch);
	err = retain_keys(m, into, patch);
	if (!err)
		err = apply_orders(m, into, patch, s);
	for (uint32_t i = 0; !err && i < v_len(patch); i++) {
		msgpack_object_kv *kv = &patch->via.map.ptr[i];
		struct str key = v_as_str(&kv->key);

		if (!has_prefix(key, DELETE_FROM, &name))
			err = merge_member(m, into, key, &kv->val, s);
		else if (v_is_null(&kv->val))
			v_deln(into, name);
		else if (v_is_array(v_getn(into, name)))
			delete_from(v_getn(into, name), &kv->val);
	}
	return err;
}

int kube_patch_strategic(zone *z, const struct kube_resource *r, value *obj, const value *patch,
			 struct str *message)
{
	struct merging m = {z, message};
	value into = v_copy(z, obj), change = v_copy(z, patch);
	int err;

	if (!v_is_map(patch))
		return BAD(&m, WEFT_EINVAL, "invalid JSON document");
	err = merge_map(&m, &into, &change, r->schema);
	if (!err)
		*obj = into;
	return err;
}
