/*
 * go_text.c - see go_text.h.
 */
#include "go_text.h"

#include <stdlib.h>

struct str go_quote(zone *z, struct str s)
{
	static const char escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'},
					  {'\t', 't'}, {'\r', 'r'},  {'\a', 'a'},
					  {'\b', 'b'}, {'\f', 'f'},  {'\v', 'v'}};
	struct buf b = {0};
	struct str out;

	buf_putc(&b, '"');
	for (uint32_t i = 0; i < s.n; i++) {
		size_t k = 0;

		while (k < countof(escapes) && escapes[k][0] != s.p[i])
			k++;
		if (k < countof(escapes))
			buf_printf(&b, "\\%c", escapes[k][1]);
		else if ((uint8_t)s.p[i] < 0x20 || s.p[i] == 0x7f)
			buf_printf(&b, "\\x%02x", (uint8_t)s.p[i]);
		else
			buf_putc(&b, s.p[i]);
	}
	buf_putc(&b, '"');
	out = zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}

static int by_key(const void *a, const void *b)
{
	const msgpack_object_kv *const *x = a, *const *y = b;

	return str_cmp(v_as_str(&(*x)->key), v_as_str(&(*y)->key));
}

static void print(zone *z, struct buf *b, const value *v);

static void print_map(zone *z, struct buf *b, const value *map)
{
	const msgpack_object_kv **order = zone_alloc(z, (v_len(map) + 1) * sizeof *order);
	uint32_t n = 0;

	v_each_kv(kv, map)
		order[n++] = kv;
	qsort(order, n, sizeof *order, by_key);
	buf_puts(b, "map[");
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			buf_putc(b, ' ');
		buf_addstr(b, v_as_str(&order[i]->key));
		buf_putc(b, ':');
		print(z, b, &order[i]->val);
	}
	buf_putc(b, ']');
}

static void print_array(zone *z, struct buf *b, const value *array)
{
	buf_putc(b, '[');
	for (uint32_t i = 0; i < v_len(array); i++) {
		if (i)
			buf_putc(b, ' ');
		print(z, b, v_at(array, i));
	}
	buf_putc(b, ']');
}

static void print(zone *z, struct buf *b, const value *v)
{
	if (v_is_null(v))
		buf_puts(b, "<nil>");
	else if (v_is_map(v))
		print_map(z, b, v);
	else if (v_is_array(v))
		print_array(z, b, v);
	else if (v_is_str(v))
		buf_addstr(b, v_as_str(v));
	else if (v->type == MSGPACK_OBJECT_BOOLEAN)
		buf_puts(b, v->via.boolean ? "true" : "false");
	else if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		buf_printf(b, "%llu", (unsigned long long)v->via.u64);
	else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		buf_printf(b, "%lld", (long long)v->via.i64);
	else
		buf_printf(b, "%g", v->via.f64);
}

struct str go_print(zone *z, const value *v)
{
	struct buf b = {0};
	struct str out;

	print(z, &b, v);
	out = zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}
