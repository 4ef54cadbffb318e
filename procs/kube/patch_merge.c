/*
 * patch_merge.c - JSON merge patch (RFC 7386): members are set, null removes.
 */
#include "weft/kube.h"

/* A patch's members as they are when there is nothing to merge them with:
 * nulls say nothing.  Lists are taken as they are. */
static value without_nulls(zone *z, const value *patch)
{
	value out = v_map();

	if (!v_is_map(patch))
		return *patch;
	v_each_kv(kv, patch)
		if (!v_is_null(&kv->val))
			v_setn(z, &out, v_as_str(&kv->key), without_nulls(z, &kv->val));
	return out;
}

/* What was null in the object stays null unless the patch names it. */
static value merge(zone *z, const value *obj, const value *patch)
{
	value out;

	if (!v_is_map(patch))
		return *patch;
	if (!v_is_map(obj))
		return without_nulls(z, patch);
	out = v_map_of(z, obj->via.map.ptr, obj->via.map.size);
	v_each_kv(kv, patch) {
		struct str key = v_as_str(&kv->key);

		if (v_is_null(&kv->val))
			v_deln(&out, key);
		else
			v_setn(z, &out, key, merge(z, v_getn(obj, key), &kv->val));
	}
	return out;
}

int kube_patch_merge(zone *z, value *obj, const value *patch, struct str *message)
{
	if (!v_is_map(patch) && !v_is_array(patch)) {
		*message = STR("Invalid JSON Patch");
		return WEFT_EINVAL;
	}
	*obj = merge(z, obj, patch);
	return WEFT_OK;
}
