/* fuzz_value.c - what v_decode() accepts can be copied, printed, and written
 * and read again as the same. */
#include "weft/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, (uint32_t)size};
	struct buf out = {0}, json = {0}, again = {0};
	zone *z = zone_new();
	value v, copy;

	if (v_decode(z, bytes, &v) == WEFT_OK) {
		copy = v_copy(z, &v);
		v_encode(&out, &copy);
		weft_assert(v_decode(z, buf_str(&out), &v) == WEFT_OK);
		v_encode(&again, &v);
		weft_assert(str_eq(buf_str(&out), buf_str(&again)));
		weft_assert(json_from_msgpack(&json, bytes, NULL) == WEFT_OK);
	} else {
		weft_assert(json_from_msgpack(&json, bytes, NULL) != WEFT_OK);
	}
	buf_free(&out);
	buf_free(&again);
	buf_free(&json);
	zone_free(z);
	return 0;
}
