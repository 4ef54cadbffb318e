/* fuzz_patch.c - a patch of any form changes the object or leaves it as it was;
 * a merge patch applied twice does no more than applied once.  Input: how (one
 * byte), then JSON: [object, patch]. */
#include "weft/json.h"
#include "weft/kube.h"

static int apply(zone *z, uint8_t how, value *obj, const value *patch)
{
	struct str message;

	switch (how % 4) {
	case 0:
		return kube_patch_json(z, obj, patch, &message);
	case 1:
		return kube_patch_merge(z, obj, patch, &message);
	case 2:
		return kube_patch_strategic(z, kube_by_type(TYPE_POD), obj, patch, &message);
	}
	return kube_patch_strategic(z, kube_by_type(TYPE_DEPLOYMENT), obj, patch, &message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	zone *z = zone_new();
	value both, obj, before, once;
	struct buf out = {0};

	if (size < 2 ||
	    json_decode(z, (struct str){(const char *)data + 1, (uint32_t)size - 1}, &both, NULL,
			NULL) != WEFT_OK ||
	    !v_is_array(&both) || v_len(&both) != 2 || !v_is_map(v_at(&both, 0)))
		goto out;
	obj = *v_at(&both, 0);
	before = v_copy(z, &obj);
	if (apply(z, data[0], &obj, v_at(&both, 1)) != WEFT_OK) {
		weft_assert(v_equal(&obj, &before));
		goto out;
	}
	weft_assert(v_equal(v_at(&both, 0), &before));
	v_encode(&out, &obj);
	if (data[0] % 4 == 1) {
		once = v_copy(z, &obj);
		weft_assert(apply(z, 1, &obj, v_at(&both, 1)) == WEFT_OK);
		weft_assert(v_equal(&obj, &once));
	}
out:
	buf_free(&out);
	zone_free(z);
	return 0;
}
