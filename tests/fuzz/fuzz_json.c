/* fuzz_json.c - what json_decode() accepts is printed so that it reads back the
 * same, from the tree and from msgpack alike. */
#include "weft/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, (uint32_t)size};
	struct buf out = {0}, again = {0}, bytes = {0}, direct = {0};
	struct json_notes notes;
	zone *z = zone_new();
	struct err e;
	value v, back;

	if (json_decode(z, text, &v, &notes, &e) == WEFT_OK) {
		json_encode(&out, &v, NULL);
		weft_assert(json_decode(z, buf_str(&out), &back, &notes, &e) == WEFT_OK);
		weft_assert(notes.nduplicate == 0);
		json_encode(&again, &back, NULL);
		weft_assert(str_eq(buf_str(&out), buf_str(&again)));
		v_encode(&bytes, &v);
		weft_assert(json_from_msgpack(&direct, buf_str(&bytes), NULL) == WEFT_OK);
		weft_assert(str_eq(buf_str(&out), buf_str(&direct)));
	}
	buf_free(&out);
	buf_free(&again);
	buf_free(&bytes);
	buf_free(&direct);
	zone_free(z);
	return 0;
}
