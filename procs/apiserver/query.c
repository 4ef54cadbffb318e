/*
 * query.c - the options in a request's query string.
 */
#include <stdlib.h>
#include "procs/apiserver/api.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct str url_decode(zone *z, struct str s, bool plus)
{
	char *out = zone_alloc(z, s.n + 1);
	uint32_t n = 0;

	for (uint32_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			out[n++] = (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
			i += 2;
		} else {
			out[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
		}
	}
	out[n] = '\0';
	return (struct str){out, n};
}

void query_parse(zone *z, struct str text, struct query *out)
{
	const char *at = text.p, *end = text.p + text.n;
	uint32_t pairs = 1;

	*out = (struct query){0};
	for (uint32_t i = 0; i < text.n; i++)
		pairs += text.p[i] == '&';
	out->list = zone_alloc(z, pairs * sizeof(*out->list));
	while (at < end) {
		const char *amp = memchr(at, '&', (size_t)(end - at));
		const char *stop = amp ? amp : end;
		const char *eq = memchr(at, '=', (size_t)(stop - at));
		const char *key_end = eq ? eq : stop;
		const char *value = eq ? eq + 1 : stop;

		if (stop > at)
			out->list[out->n++] = (struct param){
				url_decode(z, (struct str){at, (uint32_t)(key_end - at)}, true),
				url_decode(z, (struct str){value, (uint32_t)(stop - value)}, true),
			};
		at = stop + 1;
	}
}

struct str query_get(const struct query *q, const char *key)
{
	struct str k = str_of(key);

	for (uint32_t i = 0; i < q->n; i++)
		if (str_eq(q->list[i].key, k))
			return q->list[i].value;
	return (struct str){NULL, 0};
}

bool query_has(const struct query *q, const char *key)
{
	return query_get(q, key).p != NULL;
}

bool query_bool(const struct query *q, const char *key)
{
	struct str v = query_get(q, key);

	return v.p && !str_eq(v, STR("0")) && !str_eq(v, STR("false"));
}

int query_int(zone *z, const struct query *q, const char *key, int64_t absent, int64_t *out,
	      struct str *message)
{
	struct str v = query_get(q, key);
	char *end;

	*out = absent;
	if (!v.n)
		return WEFT_OK;
	errno = 0;
	*out = strtoll(v.p, &end, 10);
	if (*end || end == v.p || v.p[0] == ' ') {
		*message = zone_printf(
			z, "strconv.ParseInt: parsing \"" STR_FMT "\": invalid syntax", STR_ARG(v));
		return WEFT_EINVAL;
	}
	if (errno == ERANGE) {
		*message = zone_printf(
			z, "strconv.ParseInt: parsing \"" STR_FMT "\": value out of range",
			STR_ARG(v));
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}
