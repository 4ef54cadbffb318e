/* fuzz_msg.c - what msg_decode() accepts can be printed, and written and read
 * again as the same. */
#include <stdlib.h>

#include "weft/msg.h"

static struct str encode(const struct msg *m)
{
	char *p = malloc(msg_size(m));
	size_t n = msg_encode(m, p);

	weft_assert(n <= msg_size(m));
	return (struct str){p, (uint32_t)n};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msg_scratch first = {0}, second = {0};
	struct buf text = {0};
	struct str once, twice;
	struct msg m, back;
	struct err e;

	if (msg_decode((struct str){(const char *)data, (uint32_t)size}, &m, &first, &e) == 0) {
		msg_print(&text, &m);
		msg_request(&m);
		once = encode(&m);
		weft_assert(msg_decode(once, &back, &second, &e) == 0);
		twice = encode(&back);
		weft_assert(str_eq(once, twice));
		free((char *)once.p);
		free((char *)twice.p);
	}
	buf_free(&first.mem);
	buf_free(&second.mem);
	buf_free(&text);
	return 0;
}
