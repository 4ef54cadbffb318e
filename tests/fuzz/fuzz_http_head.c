/* fuzz_http_head.c - what is accepted of a head lies inside it, without the bytes
 * that would be something else to whoever reads it next; a body in chunks is the
 * same however it is cut.  Input: a head, and what follows it. */
#include <stdlib.h>
#include "weft/http_head.h"

static void check_inside(struct str s, struct str text)
{
	weft_assert(s.p >= text.p && s.p + s.n <= text.p + text.n);
	weft_assert(!s.n || (!memchr(s.p, '\n', s.n) && !memchr(s.p, '\0', s.n)));
}

static void check_head(zone *z, struct str text)
{
	struct head_refusal why;
	struct head h;

	if (head_parse(z, text, &h, &why)) {
		weft_assert(why.code >= 400 && why.reason);
		return;
	}
	check_inside(h.method, text);
	if (!str_eq(h.target, STR("/")))
		check_inside(h.target, text);
	for (uint32_t i = 0; i < h.nlines; i++) {
		check_inside(h.lines[i].name, text);
		check_inside(h.lines[i].value, text);
		weft_assert(!h.lines[i].value.p[h.lines[i].value.n]);
	}
	weft_assert(h.length >= -1);
	/* Two ways to say where the body ends: nothing is read behind it. */
	weft_assert(h.length >= 0 || h.close || !head_get(&h, "content-length").p);
}

/* The body, read `step` bytes at a time; how it ended. */
static enum chunks_state read_all(struct str text, uint32_t step, struct buf *body)
{
	enum chunks_state state = CHUNKS_MORE;
	struct chunks c = {0};

	while (text.n && state == CHUNKS_MORE) {
		struct str in = {text.p, text.n < step ? text.n : step}, data;
		uint32_t given = in.n;

		while ((state = chunks_take(&c, &in, &data)) == CHUNKS_DATA)
			buf_addstr(body, data);
		text.p += given - in.n;
		text.n -= given - in.n;
	}
	return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	zone *z = zone_new();
	char *exact = malloc(size ? size : 1); /* heads are changed as they are read */
	struct str text = {exact, (uint32_t)size}, rest = text;
	struct buf whole = {0}, bytes = {0};
	size_t seen = 0, n;

	memcpy(exact, data, size);
	n = head_end(text, &seen);
	if (n) {
		check_head(z, (struct str){text.p, (uint32_t)n});
		rest = (struct str){text.p + n, text.n - (uint32_t)n};
	}
	weft_assert(read_all(rest, UINT32_MAX, &whole) == read_all(rest, 1, &bytes));
	weft_assert(str_eq(buf_str(&whole), buf_str(&bytes)));
	buf_free(&whole);
	buf_free(&bytes);
	zone_free(z);
	free(exact);
	return 0;
}
