/* fuzz_yaml.c - what yaml_decode() accepts is written so that it reads back as
 * the same JSON. */
#include "weft/json.h"

static void count_line(void *arg, struct str path, unsigned line)
{
	weft_assert(line > 0);
	(void)path;
	++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, (uint32_t)size};
	struct buf out = {0}, json = {0}, again = {0};
	struct json_notes notes;
	zone *z = zone_new();
	unsigned keys = 0;
	struct err e;
	value v, back;

	if (yaml_decode(z, text, &v, &notes, &e) == WEFT_OK) {
		weft_assert(yaml_decode_lines(z, text, &back, count_line, &keys, &e) == WEFT_OK);
		weft_assert(v_equal(&v, &back));
		json_encode(&json, &v, NULL);
		yaml_encode(&out, &v);
		weft_assert(yaml_decode(z, buf_str(&out), &back, &notes, &e) == WEFT_OK);
		json_encode(&again, &back, NULL);
		weft_assert(str_eq(buf_str(&json), buf_str(&again)));
	}
	buf_free(&out);
	buf_free(&json);
	buf_free(&again);
	zone_free(z);
	return 0;
}
